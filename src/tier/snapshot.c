/* snapshot: a copy of the data directory while it is in use, that a daemon starts from.
 *
 * The L2 writer makes a whole sweep, so that L2 has all that was acknowledged before, and hands out
 * a view of it; what is copied of L2 is that view, with its checkpoint. So the copy needs no
 * journal. A database that lives in the data directory is copied after it: an event that has left
 * L2 is there. What L3 has that the view has not, and what another L3 may have when the copy is
 * used one day, is joined at its start: the copy does not say which L3 its marks are for, nor that
 * it is complete, so every cart is written to L3 once more. */
#include "tier/tier_int.h"

#include <stdio.h>

#define PATH_BYTES 4096
#define SQLITE_URL "sqlite:"
#define L2_FOLDER  "l2"

struct target {
    struct tier_job *job;
    const char *dir;
    bool made; /* by us: what is in it is ours to remove */
    bool has_files;
};

static int fail(struct tier_job *job, int rc, const char *path, const char *words)
{
    if (rc != CE_STOPPED)
        snprintf(job->message, sizeof job->message, "%.340s: %.160s", path, words);
    return rc;
}

/* False: too long. */
static bool path_in(const char *dir, const char *name, char path[PATH_BYTES])
{
    int len = snprintf(path, PATH_BYTES, "%s/%s", dir, name);
    return len > 0 && len < PATH_BYTES;
}

/* ---- the directory ---- */

static void note_file(void *arg, const char *name)
{
    (void)name;
    ((struct target *)arg)->has_files = true;
}

static int sync_parent(const struct env *env, const char *dir)
{
    char parent[PATH_BYTES];
    size_t len = strlen(dir);
    while (len > 1 && dir[len - 1] == '/')
        len--;
    while (len > 1 && dir[len - 1] != '/')
        len--;
    snprintf(parent, sizeof parent, "%.*s", (int)len, dir);
    return env->dir_sync(env->ctx, parent);
}

static int make_dir(struct target *target)
{
    const struct env *env = target->job->tier->config.env;
    const char *dir = target->dir;
    int rc = env->dir_list(env->ctx, dir, note_file, target);
    if (rc == 0 && target->has_files)
        return fail(target->job, CE_INVAL, dir, "is not empty");
    if (rc && rc != CE_NOTFOUND)
        return fail(target->job, rc, dir, "is no directory, or can't be read");
    bool missing = rc == CE_NOTFOUND;
    rc = env->dir_make(env->ctx, dir);
    target->made = rc == 0 && missing;
    if (rc == 0)
        rc = sync_parent(env, dir);
    return rc ? fail(target->job, rc, dir, "can't be made") : 0;
}

static void remove_file(void *arg, const char *name)
{
    struct target *target = arg;
    const struct env *env = target->job->tier->config.env;
    char path[PATH_BYTES];
    if (path_in(target->dir, name, path) && env->file_remove(env->ctx, path))
        log_warn("tier", "snapshot: %s stays", path);
}

/* Half a copy must not look like one. */
static void take_back(struct target *target)
{
    const struct env *env = target->job->tier->config.env;
    char path[PATH_BYTES];
    struct target inside = {.job = target->job, .dir = path};
    if (path_in(target->dir, L2_FOLDER, path) &&
        env->dir_list(env->ctx, path, remove_file, &inside) == 0 && env->dir_remove(env->ctx, path))
        log_warn("tier", "snapshot: %s stays", path);
    int rc = env->dir_list(env->ctx, target->dir, remove_file, target);
    if (rc == 0 && target->made)
        rc = env->dir_remove(env->ctx, target->dir);
    if (rc && rc != CE_NOTFOUND)
        log_warn("tier", "snapshot: %s stays", target->dir);
}

/* ---- L2 ---- */

static int await_view(struct tier_job *job, struct l2_view **view)
{
    int rc, wait_rc = 0;
    orders_ask_view(job->tier);
    drain_kick(job->tier);
    while (!orders_take_view(job->tier, wait_rc != 0, view, &rc) && wait_rc == 0)
        wait_rc = job_sleep(job, JOB_LOOK_MS);
    return wait_rc ? wait_rc : rc;
}

static int step(void *ctx, uint64_t carts)
{
    return job_pace(ctx, carts);
}

static int copy_l2(struct target *target)
{
    struct tier_job *job = target->job;
    struct l2 *l2 = job->tier->l2;
    struct l2_view *view = NULL;
    char path[PATH_BYTES];
    int rc = path_in(target->dir, L2_FOLDER, path) ? await_view(job, &view) : CE_INVAL;
    if (rc)
        return fail(job, rc, target->dir, "L2 can't be written, and so not be copied");
    rc = l2_copy(l2, view, path, step, job);
    l2_view_drop(l2, &view);
    if (rc == 0)
        rc = job->tier->config.env->dir_sync(job->tier->config.env->ctx, path);
    return rc ? fail(job, rc, path, err_text(rc)) : 0;
}

/* ---- L3 ---- */

/* The name of the database's file in the data directory; NULL: it lives elsewhere. */
static const char *name_of_l3(const struct tier *tier)
{
    const char *url = tier->l3_url, *dir = tier->config.data_dir;
    if (!url)
        return NULL;
    url += strncmp(url, L3_FIXED, strlen(L3_FIXED)) == 0 ? strlen(L3_FIXED) : 0;
    if (strncmp(url, SQLITE_URL, strlen(SQLITE_URL)) != 0)
        return NULL;
    url += strlen(SQLITE_URL);
    if (strncmp(url, dir, strlen(dir)) != 0 || url[strlen(dir)] != '/')
        return NULL;
    const char *name = url + strlen(dir) + 1;
    return *name && !strchr(name, '/') ? name : NULL;
}

static int go_on(void *ctx)
{
    return job_sleep(ctx, 0);
}

static int copy_l3(struct target *target, const char *name)
{
    struct tier_job *job = target->job;
    const struct env *env = job->tier->config.env;
    struct l3 *l3 = NULL;
    char path[PATH_BYTES];
    if (!path_in(target->dir, name, path))
        return fail(job, CE_INVAL, target->dir, "the path is too long");
    int rc = l3_open(job->tier->l3_url, &l3, job->message, sizeof job->message);
    if (rc)
        return rc;
    rc = l3_copy(l3, path, go_on, job);
    if (rc)
        fail(job, rc, path, l3_message(l3));
    l3_close(&l3);
    if (rc == 0 && (rc = env->file_flush(env->ctx, path)) != 0)
        fail(job, rc, path, err_text(rc));
    return rc;
}

/* ---- all of it ---- */

static int fill_dir(struct target *target)
{
    const struct env *env = target->job->tier->config.env;
    const char *l3_name = name_of_l3(target->job->tier);
    int rc = copy_l2(target);
    if (rc == 0 && l3_name)
        rc = copy_l3(target, l3_name);
    if (rc == 0 && (rc = env->dir_sync(env->ctx, target->dir)) != 0)
        fail(target->job, rc, target->dir, err_text(rc));
    if (rc == 0)
        rc = job_stat(target->job, "carts", target->job->carts);
    return rc ? rc : job_stat(target->job, "database", l3_name != NULL);
}

int job_snapshot(struct tier_job *job)
{
    struct target target = {.job = job, .dir = job->path};
    if (job->path[0] != '/')
        return fail(job, CE_INVAL, job->path, "is no absolute path");
    int rc = make_dir(&target);
    if (rc)
        return rc;
    rc = fill_dir(&target);
    if (rc)
        take_back(&target);
    log_info("tier", "snapshot in %s: %s", job->path, rc ? err_text(rc) : "done");
    return rc;
}

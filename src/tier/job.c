/* job: what an operator wants done with all carts, while they are served. One job at a time, on a
 * thread of its own, at a set rate; what it finds are lines that the asker takes. */
#include "tier/tier_int.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static const struct {
    int (*run)(struct tier_job *job);
    bool needs_l3;
} rows[TIER_JOB_KINDS_] = {
#define X(name, word, needs) [TIER_JOB_##name] = {job_##word, needs},
    TIER_JOBS(X)
#undef X
};

void jobs_init(struct tier *tier)
{
    lock_init(&tier->jobs.lock, LOCK_OPERATOR);
    cond_init(&tier->jobs.cond);
}

void jobs_fini(struct tier *tier)
{
    MUST(!tier->jobs.job);
    cond_fini(&tier->jobs.cond);
    lock_fini(&tier->jobs.lock);
}

/* ---- the asker ---- */

static void free_job(struct tier_job *job)
{
    buf_free(&job->lines);
    buf_free(&job->keys);
    buf_free(&job->cursor);
    free(job);
}

static int refusal(const struct tier *tier, enum tier_job_kind kind)
{
    int rc = atomic_load(&tier->refused);
    return rc == 0 && rows[kind].needs_l3 && !tier->l3_url ? CE_NOTSAFE : rc;
}

int tier_job_start(struct tier *tier, const struct tier_job_config *config, struct tier_job **out)
{
    struct jobs *jobs = &tier->jobs;
    int rc = refusal(tier, config->kind);
    MUST(config->carts_per_s >= 1 && config->carts_per_s <= TIER_JOB_RATE_MAX);
    struct tier_job *job = rc ? NULL : calloc(1, sizeof *job);
    if (!job)
        return rc ? rc : CE_NOMEM;
    job->tier = tier;
    job->config = *config;
    MUST(config->dir.len < sizeof job->path);
    if (config->dir.len)
        memcpy(job->path, config->dir.bytes, config->dir.len);
    lock_take(&jobs->lock);
    if (jobs->stopping)
        rc = CE_STOPPED;
    else if (jobs->job)
        rc = CE_BUSY;
    else
        jobs->job = job;
    cond_wake_all(&jobs->cond);
    lock_drop(&jobs->lock);
    if (rc)
        free_job(job);
    else
        *out = job;
    return rc;
}

bool tier_job_take(struct tier_job *job, struct buf *out, int *rc, const char **message)
{
    struct jobs *jobs = &job->tier->jobs;
    lock_take(&jobs->lock);
    bool told = job->lines.len > 0;
    int put_rc = buf_append(out, job->lines.bytes, job->lines.len);
    job->lines.len = 0;
    bool over = job->over;
    job->waits = !over;
    *rc = job->rc ? job->rc : put_rc;
    if (told)
        cond_wake_all(&jobs->cond); /* it may wait for room */
    lock_drop(&jobs->lock);
    *message = job->message;
    return over;
}

void tier_job_leave(struct tier_job **job)
{
    struct tier_job *gone = *job;
    struct jobs *jobs = &gone->tier->jobs;
    *job = NULL;
    lock_take(&jobs->lock);
    MUST(!gone->waits || gone->over);
    bool over = gone->over;
    gone->left = true; /* then its thread frees it */
    cond_wake_all(&jobs->cond);
    lock_drop(&jobs->lock);
    if (over)
        free_job(gone);
}

/* ---- the job ---- */

/* What `wake` is owed is given without the lock. */
static void drop_and_wake(struct tier_job *job)
{
    bool wakes = job->waits;
    job->waits = false;
    lock_drop(&job->tier->jobs.lock);
    if (wakes)
        job->config.wake(job->config.ctx);
}

static bool is_unwanted_locked(const struct tier_job *job)
{
    return job->left || job->tier->jobs.stopping;
}

static int put_line(struct tier_job *job, const char *line)
{
    struct jobs *jobs = &job->tier->jobs;
    lock_take(&jobs->lock);
    while (job->lines.len >= TIER_JOB_LINES_MAX && !is_unwanted_locked(job))
        cond_wait(&jobs->cond, &jobs->lock, 0);
    int rc = is_unwanted_locked(job) ? CE_STOPPED : buf_printf(&job->lines, "%s\r\n", line);
    drop_and_wake(job);
    return rc;
}

int job_tell(struct tier_job *job, const char *format, ...)
{
    char line[JOB_LINE_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    return put_line(job, line);
}

int job_stat(struct tier_job *job, const char *name, uint64_t value)
{
    return job_tell(job, "STAT %s %llu", name, (unsigned long long)value);
}

int job_sleep(struct tier_job *job, unsigned ms)
{
    const struct env *env = job->tier->config.env;
    struct jobs *jobs = &job->tier->jobs;
    uint64_t now_ms = env_mono_ms(env), until_ms = now_ms + ms;
    lock_take(&jobs->lock);
    while (now_ms < until_ms && !is_unwanted_locked(job)) {
        cond_wait(&jobs->cond, &jobs->lock, (unsigned)(until_ms - now_ms));
        now_ms = env_mono_ms(env);
    }
    int rc = is_unwanted_locked(job) ? CE_STOPPED : 0;
    lock_drop(&jobs->lock);
    return rc;
}

/* Tells how far it is, also while it waits: an asker that has gone is noticed so. */
static int rest_until(struct tier_job *job, uint64_t due_ms)
{
    const struct env *env = job->tier->config.env;
    uint64_t now_ms = env_mono_ms(env);
    int rc = 0;
    do {
        uint64_t rest_ms = due_ms > now_ms ? due_ms - now_ms : 0;
        rc = job_sleep(job, (unsigned)(rest_ms < TIER_JOB_TICK_MS ? rest_ms : TIER_JOB_TICK_MS));
        now_ms = env_mono_ms(env);
        if (rc == 0 && now_ms >= job->told_ms + TIER_JOB_TICK_MS) {
            job->told_ms = now_ms;
            rc = job_tell(job, "INFO %llu carts", (unsigned long long)job->carts);
        }
    } while (rc == 0 && now_ms < due_ms);
    return rc;
}

int job_pace(struct tier_job *job, size_t carts)
{
    job->carts += carts;
    return rest_until(job, job->began_ms + job->carts * 1000 / job->config.carts_per_s);
}

static void note_key(void *arg, struct slice key)
{
    struct tier_job *job = arg;
    job->no_memory |= keys_add(&job->keys, key) != 0;
}

int job_each_cart(struct tier_job *job, int (*each)(struct tier_job *job, struct slice key))
{
    size_t count = 1;
    int rc = 0;
    job->cursor.len = 0;
    while (rc == 0 && count) {
        job->keys.len = 0;
        rc = l2_cart_keys(job->tier->l2, &job->cursor, JOB_STEP_CARTS, note_key, job, &count);
        if (job->no_memory)
            rc = CE_NOMEM;
        struct slice rest = buf_slice(&job->keys), key;
        while (rc == 0 && keys_next(&rest, &key))
            rc = each(job, key);
        if (rc == 0)
            rc = job_pace(job, count);
    }
    return rc;
}

/* ---- resync ---- */

/* Its mark reaches L2 first, and then write-behind: a crash in between forgets nothing. */
static int mark_cart(struct tier_job *job, struct slice key)
{
    int rc = 0;
    while (rc == 0 && orders_bytes(job->tier) > ORDERS_BYTES_MAX) {
        drain_kick(job->tier);
        rc = job_sleep(job, JOB_LOOK_MS);
    }
    return rc ? rc : orders_give(job->tier, ORDER_MARK, key, 0);
}

/* Over when L2 has all marks: what write-behind does then, nothing can make it forget. */
int job_resync(struct tier_job *job)
{
    struct tier *tier = job->tier;
    int rc = job_each_cart(job, mark_cart);
    drain_kick(tier);
    while (rc == 0 && orders_pending(tier))
        rc = job_sleep(job, JOB_LOOK_MS);
    return rc ? rc : job_stat(job, "carts", job->carts);
}

/* ---- the thread ---- */

static void run_job(struct tier_job *job)
{
    struct jobs *jobs = &job->tier->jobs;
    job->began_ms = job->told_ms = env_mono_ms(job->tier->config.env);
    int rc = 0;
    while (rc == 0 && !catchup_is_over(job->tier)) /* after a start L2 lacks what the journal has */
        rc = job_sleep(job, JOB_LOOK_MS);
    if (rc == 0)
        rc = rows[job->config.kind].run(job);
    lock_take(&jobs->lock);
    job->rc = rc;
    job->over = true;
    jobs->job = NULL;
    bool left = job->left, wakes = job->waits;
    job->waits = false;
    struct tier_job_config config = job->config; /* once it is over, it is the asker's */
    lock_drop(&jobs->lock);
    if (left)
        free_job(job);
    else if (wakes)
        config.wake(config.ctx);
}

static void *run_jobs(void *arg)
{
    struct tier *tier = arg;
    struct jobs *jobs = &tier->jobs;
    struct tier_job *job;
    thread_give_way();
    do {
        lock_take(&jobs->lock);
        while (!jobs->job && !jobs->stopping)
            cond_wait(&jobs->cond, &jobs->lock, 0);
        job = jobs->job;
        lock_drop(&jobs->lock);
        if (job)
            run_job(job);
    } while (job);
    return NULL;
}

int jobs_start(struct tier *tier)
{
    if (tier->jobs.started)
        return 0;
    int rc = thread_start(&tier->jobs.thread, "operator", run_jobs, tier);
    tier->jobs.started = rc == 0;
    return rc;
}

void jobs_quiet(struct tier *tier)
{
    lock_take(&tier->jobs.lock);
    tier->jobs.stopping = true;
    cond_wake_all(&tier->jobs.cond);
    lock_drop(&tier->jobs.lock);
}

void jobs_stop(struct tier *tier)
{
    jobs_quiet(tier);
    if (tier->jobs.started)
        MUST(pthread_join(tier->jobs.thread, NULL) == 0);
    tier->jobs.started = false;
}

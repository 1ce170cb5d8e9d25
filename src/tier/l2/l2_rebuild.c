/* A damaged database is moved aside and begun anew; then follows l2_salvage.c.
 *
 * The new one is made beside it, with a note of where the old one goes, and both are renamed: a
 * crash at any point is finished at the next open. */
#include "tier/l2/l2_int.h"

#include <inttypes.h>
#include <stdio.h>

#define NAME_BYTES_MAX 64

static int path_of(const struct l2 *l2, const char *suffix, char path[L2_PATH_MAX])
{
    int len = snprintf(path, L2_PATH_MAX, "%s%s", l2->path, suffix);
    return len < 0 || len >= L2_PATH_MAX ? CE_NODISK : 0;
}

/* An empty database with the note. */
static int make_new(struct l2 *l2, const char *path, const char *aside)
{
    char *error = NULL;
    struct l2_dbkey dbkey;
    leveldb_destroy_db(l2->options, path, &error);
    if (error)
        leveldb_free(error); /* opening it will tell */
    error = NULL;
    leveldb_options_set_create_if_missing(l2->options, 1);
    leveldb_t *db = leveldb_open(l2->options, path, &error);
    if (error)
        return l2_tell_error(error);
    l2_dbkey_meta(&dbkey, L2_SALVAGE_NOTE);
    leveldb_options_set_create_if_missing(l2->options, 0);
    leveldb_put(db, l2->write_options, dbkey.bytes, dbkey.len, aside, strlen(aside), &error);
    leveldb_close(db);
    return l2_tell_error(error);
}

int l2_begin_anew(struct l2 *l2)
{
    char fresh[L2_PATH_MAX], aside[L2_PATH_MAX], name[NAME_BYTES_MAX];
    const struct env *env = l2->env;
    snprintf(name, sizeof name, ".broken-%" PRIu64, env_wall_us(env) / 1000);
    int rc = path_of(l2, ".new", fresh);
    if (rc == 0)
        rc = path_of(l2, name, aside);
    if (rc == 0)
        rc = make_new(l2, fresh, aside);
    if (rc == 0)
        rc = env->file_rename(env->ctx, l2->path, aside);
    if (rc == 0)
        rc = env->file_rename(env->ctx, fresh, l2->path);
    if (rc == 0)
        l2->io_errors = 0; /* of those files */
    atomic_fetch_add_explicit(&l2->rebuilds, rc == 0, memory_order_relaxed);
    log_error("l2", "moved aside to %s: %s", aside, err_text(rc));
    return rc ? CE_NODISK : 0;
}

/* A crash between the two renames: the old one has gone, the new one has not come. */
int l2_finish_rename(struct l2 *l2, bool *finished)
{
    char fresh[L2_PATH_MAX], *error = NULL;
    const struct env *env = l2->env;
    struct l2_listing there, here;
    *finished = false;
    int rc = path_of(l2, ".new", fresh);
    if (rc == 0)
        rc = l2_look(l2, fresh, &there);
    if (rc || !there.has_current)
        return rc;
    rc = l2_look(l2, l2->path, &here);
    if (rc || here.has_current || here.has_data)
        return rc;
    log_warn("l2", "going on with %s", fresh);
    leveldb_destroy_db(l2->options, l2->path, &error); /* LevelDB's lock and log, if it was tried */
    if (error)
        leveldb_free(error); /* then the rename tells */
    rc = env->file_rename(env->ctx, fresh, l2->path);
    *finished = rc == 0;
    return rc ? CE_NODISK : 0;
}

/* A damaged database is moved aside and begun anew; what of it can still be read is brought over.
 *
 * The new one is made beside it, with a note of where the old one goes, and both are renamed: a
 * crash at any point is finished at the next open. LevelDB's repair may bring back what was
 * replaced, when what replaced it is damaged: so a cart that was salvaged is kept apart from those
 * that are known to be the newest ('S', not 'C'), and whoever reads it joins it with what L3 has.
 */
#include "tier/l2/l2_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define BATCH_BYTES    (1u << 20)
#define NAME_BYTES_MAX 64
#define ASIDE_MAX      1000 /* that were moved aside one after the other, and none salvaged */
#define GONE_TEXT      "NotFound: " /* so LevelDB begins */

/* Facts about the old database that do not hold for the new one. */
static const char *const not_taken[] = {"complete", "checkpoint", L2_SALVAGE_NOTE};

struct salvage {
    struct l2 *l2;
    leveldb_t *from;
    leveldb_readoptions_t *read;
    leveldb_writebatch_t *batch;
    size_t bytes;
    uint64_t carts, lost;
    bool is_older; /* than what was brought over already, and replaces none of it */
};

/* ---- new beside old ---- */

static int path_of(const struct l2 *l2, const char *suffix, char path[L2_PATH_MAX])
{
    int len = snprintf(path, L2_PATH_MAX, "%s%s", l2->path, suffix);
    return len < 0 || len >= L2_PATH_MAX ? CE_NODISK : 0;
}

static int take_error(char *error)
{
    if (!error)
        return 0;
    int rc = l2_error_code(error);
    log_error("l2", "%s", error);
    leveldb_free(error);
    return rc;
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
        return take_error(error);
    l2_dbkey_meta(&dbkey, L2_SALVAGE_NOTE);
    leveldb_options_set_create_if_missing(l2->options, 0);
    leveldb_put(db, l2->write_options, dbkey.bytes, dbkey.len, aside, strlen(aside), &error);
    leveldb_close(db);
    return take_error(error);
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

/* ---- what can still be read ---- */

static int flush(struct salvage *salvage)
{
    char *error = NULL;
    leveldb_write(salvage->l2->db, salvage->l2->write_options, salvage->batch, &error);
    leveldb_writebatch_clear(salvage->batch);
    salvage->bytes = 0;
    return take_error(error);
}

/* CE_NOTFOUND, CE_CORRUPT, CE_IO. */
static int find_key(leveldb_t *db, const leveldb_readoptions_t *read, const char *bytes, size_t len)
{
    char *error = NULL;
    size_t value_len;
    char *value = leveldb_get(db, read, bytes, len, &value_len, &error);
    bool found = value;
    leveldb_free(value);
    return error ? take_error(error) : found ? 0 : CE_NOTFOUND;
}

static int put(struct salvage *salvage, char kind, struct slice dbkey, struct slice value)
{
    char bytes[L2_DBKEY_MAX];
    memcpy(bytes, dbkey.bytes, dbkey.len);
    bytes[0] = kind;
    int rc = salvage->is_older ? find_key(salvage->l2->db, salvage->read, bytes, dbkey.len)
                               : CE_NOTFOUND;
    if (rc != CE_NOTFOUND)
        return rc;
    leveldb_writebatch_put(salvage->batch, bytes, dbkey.len, (const char *)value.bytes, value.len);
    salvage->bytes += dbkey.len + value.len;
    return salvage->bytes < BATCH_BYTES ? 0 : flush(salvage);
}

/* 0: the old database has the cart itself, and what it had salvaged before is older. CE_NOTFOUND:
 * it has not, or not any more. CE_IO and the like: not now. */
static int find_cart(const struct salvage *salvage, struct slice dbkey)
{
    char bytes[L2_DBKEY_MAX];
    memcpy(bytes, dbkey.bytes, dbkey.len);
    bytes[0] = L2_CART;
    int rc = find_key(salvage->from, salvage->read, bytes, dbkey.len);
    return rc == CE_CORRUPT ? CE_NOTFOUND : rc;
}

static int take_cart(struct salvage *salvage, struct slice dbkey, struct slice value)
{
    struct l2_cart cart;
    struct slice key = slice_from(dbkey, L2_KEY_HEAD);
    int rc = dbkey.bytes[0] == L2_SALVAGED ? find_cart(salvage, dbkey) : CE_NOTFOUND;
    if (rc != CE_NOTFOUND)
        return rc;
    if (l2_record_decode(key, value, &cart)) {
        salvage->lost++;
        return 0;
    }
    salvage->carts++;
    return put(salvage, L2_SALVAGED, dbkey, value);
}

static bool is_taken(struct slice dbkey)
{
    for (size_t i = 0; i < sizeof not_taken / sizeof *not_taken; i++)
        if (slice_eq(slice_from(dbkey, 1), slice_str(not_taken[i])))
            return false;
    return true;
}

/* Marks and ends of lives come with the carts, when they are no longer kept apart. */
static int take(struct salvage *salvage, struct slice dbkey, struct slice value)
{
    if (dbkey.len <= 1 || dbkey.len > L2_DBKEY_MAX)
        return 0;
    switch (dbkey.bytes[0]) {
    case L2_CART:
    case L2_SALVAGED: return dbkey.len > L2_KEY_HEAD ? take_cart(salvage, dbkey, value) : 0;
    case L2_META: return is_taken(dbkey) ? put(salvage, L2_META, dbkey, value) : 0;
    case L2_EVENTS: return put(salvage, L2_EVENTS, dbkey, value);
    default: return 0;
    }
}

/* Damage is what repair leaves out, and a folder that somebody took away holds nothing; a disk that
 * fails may work again, so that is an error. */
static int take_disk_error(char *error)
{
    bool is_gone = error && strncmp(error, GONE_TEXT, strlen(GONE_TEXT)) == 0;
    int rc = take_error(error);
    return is_gone || rc == CE_CORRUPT ? 0 : rc;
}

static char *iter_error(const leveldb_iterator_t *iter)
{
    char *error = NULL;
    leveldb_iter_get_error(iter, &error);
    return error;
}

static int take_all(struct salvage *salvage)
{
    int rc = 0;
    leveldb_iterator_t *iter = leveldb_create_iterator(salvage->from, salvage->read);
    for (leveldb_iter_seek_to_first(iter); rc == 0 && leveldb_iter_valid(iter);
         leveldb_iter_next(iter)) {
        size_t key_len, len;
        const char *key = leveldb_iter_key(iter, &key_len);
        const char *value = leveldb_iter_value(iter, &len);
        rc = take(salvage, slice_of(key, key_len), slice_of(value, len));
    }
    if (rc == 0)
        rc = take_disk_error(iter_error(iter));
    leveldb_iter_destroy(iter);
    return rc;
}

/* Opens what was moved aside, after LevelDB's repair; *from stays NULL when there is nothing to be
 * had. CE_NODISK, CE_IO: not now. */
static int open_aside(struct l2 *l2, const char *aside, leveldb_t **from)
{
    char *error = NULL;
    struct l2_logs logs;
    int rc = l2_find_logs(l2, aside, &logs);
    if (rc == 0)
        rc = l2_cut_torn_log(l2, aside);
    if (rc)
        return rc;
    leveldb_repair_db(l2->options, aside, &error);
    bool failed = error;
    rc = take_disk_error(error);
    int logs_rc = l2_check_logs(l2, aside, &logs);
    rc = rc ? rc : logs_rc;
    if (failed || rc)
        return rc;
    leveldb_t *opened = leveldb_open(l2->options, aside, &error);
    if (!error)
        *from = opened;
    return take_disk_error(error);
}

/* The path in the note of a database; empty when it has none. */
static int read_note(leveldb_t *db, const leveldb_readoptions_t *read, char path[L2_PATH_MAX])
{
    struct l2_dbkey dbkey;
    char *error = NULL;
    size_t len;
    path[0] = 0;
    l2_dbkey_meta(&dbkey, L2_SALVAGE_NOTE);
    char *note = leveldb_get(db, read, dbkey.bytes, dbkey.len, &len, &error);
    if (note && len < L2_PATH_MAX) {
        memcpy(path, note, len);
        path[len] = 0;
    }
    leveldb_free(note);
    return take_error(error);
}

static int drop_note(struct l2 *l2)
{
    struct l2_dbkey dbkey;
    char *error = NULL;
    l2_dbkey_meta(&dbkey, L2_SALVAGE_NOTE);
    leveldb_delete(l2->db, l2->write_options, dbkey.bytes, dbkey.len, &error);
    return take_error(error);
}

/* A note that is damaged names nothing. */
static int read_next(const struct salvage *salvage, char next[L2_PATH_MAX])
{
    int rc = read_note(salvage->from, salvage->read, next);
    return rc == CE_CORRUPT ? 0 : rc;
}

/* *aside becomes the one that it was to be salvaged from itself, or empty. */
static int salvage_from(struct l2 *l2, char aside[L2_PATH_MAX], bool is_older)
{
    char next[L2_PATH_MAX] = "";
    struct salvage salvage = {.l2 = l2, .read = leveldb_readoptions_create(), .is_older = is_older};
    leveldb_readoptions_set_verify_checksums(salvage.read, 1);
    leveldb_readoptions_set_fill_cache(salvage.read, 0);
    salvage.batch = leveldb_writebatch_create();
    int rc = open_aside(l2, aside, &salvage.from);
    if (rc == 0 && salvage.from)
        rc = take_all(&salvage);
    if (rc == 0)
        rc = flush(&salvage);
    if (rc == 0 && salvage.from)
        rc = read_next(&salvage, next);
    if (salvage.from)
        leveldb_close(salvage.from);
    leveldb_writebatch_destroy(salvage.batch);
    leveldb_readoptions_destroy(salvage.read);
    log_error("l2", "%s: %" PRIu64 " carts salvaged, %" PRIu64 " records unreadable: %s", aside,
              salvage.carts, salvage.lost, err_text(rc));
    memcpy(aside, next, sizeof next);
    return rc;
}

/* ---- at every open ---- */

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

/* Whether there are carts that are kept apart. */
static int note_salvaged(struct l2 *l2)
{
    const char first = L2_SALVAGED;
    leveldb_iterator_t *iter = leveldb_create_iterator(l2->db, l2->scan_options);
    leveldb_iter_seek(iter, &first, 1);
    bool found = leveldb_iter_valid(iter) && l2_iter_key(iter).bytes[0] == L2_SALVAGED;
    int rc = take_error(iter_error(iter));
    leveldb_iter_destroy(iter);
    atomic_store(&l2->has_salvaged, found);
    return found ? 0 : rc;
}

/* What was moved aside may have been waiting for a salvage itself: then that comes next. */
int l2_finish_salvage(struct l2 *l2)
{
    char aside[L2_PATH_MAX];
    int rc = read_note(l2->db, l2->get_options, aside);
    bool any = rc == 0 && aside[0];
    for (unsigned i = 0; i < ASIDE_MAX && rc == 0 && aside[0]; i++)
        rc = salvage_from(l2, aside, i > 0);
    if (rc == 0 && any)
        rc = drop_note(l2);
    return rc ? rc : note_salvaged(l2);
}

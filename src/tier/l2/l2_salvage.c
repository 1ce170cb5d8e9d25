/* What can be read of a database that was moved aside is brought over into the one that took its
 * place.
 *
 * LevelDB's own repair leaves out what the disk did not let it read or write, and tells nobody. So
 * its files are read here, through env, and not changed: each row whose sum is good, from whatever
 * file. An error of the disk ends that, and it begins anew at the next open; so does a crash. Only
 * what can't be read in L2_IO_TRIES tries is taken for damage.
 *
 * Of several rows with one key the newest holds: LevelDB numbers them, and beside a row that was
 * taken its number is noted ('Q'), until all files are through. But the newest may be what is
 * damaged, and what comes in its place was replaced: so a cart that was salvaged is kept apart from
 * those that are known to be the newest ('S', not 'C'), and whoever reads it joins it with what L3
 * has. */
#include "tier/l2/l2_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define ASIDE_MAX    1000 /* that were moved aside one after the other, and none salvaged */
#define PART_BYTES   4096 /* of a file that can't be read as a whole */
#define HOLE_MAX     (16u << 20)
#define BATCH_BYTES  (1u << 20)
#define PENDING_BITS 4096
#define NOTE_BYTES   9 /* number, and whether there is a value */

/* Facts about the old database that do not hold for the new one. */
static const char *const not_taken[] = {"complete", "checkpoint"};

struct salvage {
    struct l2 *l2;
    const char *aside;
    leveldb_writeoptions_t *write; /* not synced: what is not whole begins anew */
    leveldb_writebatch_t *batch;
    size_t batch_bytes;
    uint64_t pending[PENDING_BITS / 64]; /* a bit for each key in the batch; some share one */
    char next[L2_PATH_MAX];              /* what the old one was to be salvaged from itself */
    uint64_t next_number;
    bool is_older;  /* than what was brought over already, and replaces none of it */
    bool is_second; /* walk: of the carts that the old one had salvaged */
    bool wants_second;
    bool takes_holes; /* the disk had its time */
    uint64_t carts, lost;
    int rc;
};

struct note_key {
    size_t len;
    char bytes[L2_DBKEY_MAX + 1];
};

struct note {
    uint64_t number;
    bool is_there;  /* there is a note */
    bool has_value; /* of a row with a value */
};

/* ---- notes ---- */

static struct note_key note_key_of(char kind, struct slice dbkey)
{
    struct note_key key = {.len = dbkey.len + 1, .bytes = {L2_NOTE, kind}};
    memcpy(key.bytes + 2, dbkey.bytes + 1, dbkey.len - 1);
    return key;
}

/* What was taken of this key, as of a row of that kind. */
static int read_note(const struct salvage *salvage, char kind, struct slice dbkey,
                     struct note *note)
{
    const struct note_key key = note_key_of(kind, dbkey);
    char *error = NULL;
    size_t len;
    *note = (struct note){0};
    char *value =
        leveldb_get(salvage->l2->db, salvage->l2->get_options, key.bytes, key.len, &len, &error);
    if (value && len == NOTE_BYTES)
        *note = (struct note){l2_u64((uint8_t *)value), true, value[NOTE_BYTES - 1]};
    leveldb_free(value);
    return l2_tell_error(error);
}

static void write_note(const struct salvage *salvage, const struct l2_row *row)
{
    const struct note_key key = note_key_of((char)row->key.bytes[0], row->key);
    char value[NOTE_BYTES];
    for (int i = 0; i < 8; i++)
        value[i] = (char)(row->number >> (8 * i));
    value[NOTE_BYTES - 1] = !row->is_gone;
    leveldb_writebatch_put(salvage->batch, key.bytes, key.len, value, sizeof value);
}

/* ---- rows ---- */

static int has_key(struct l2 *l2, const struct l2_dbkey *key, bool *has)
{
    char *error = NULL;
    size_t len;
    char *value = leveldb_get(l2->db, l2->get_options, key->bytes, key->len, &len, &error);
    *has = value;
    leveldb_free(value);
    return l2_tell_error(error);
}

/* Where a row goes. */
static struct l2_dbkey place_of(const struct l2_row *row)
{
    struct l2_dbkey place = {.len = row->key.len};
    memcpy(place.bytes, row->key.bytes, row->key.len);
    if (place.bytes[0] == L2_CART)
        place.bytes[0] = L2_SALVAGED;
    return place;
}

/* Whether the row is the newest so far; `same` is what was taken of its key. A cart that was
 * salvaged before is older than the cart itself. */
static int is_wanted(const struct salvage *salvage, const struct l2_row *row,
                     const struct l2_dbkey *place, const struct note *same, bool *wanted)
{
    struct note cart = {0};
    bool here = false;
    int rc = salvage->is_second ? read_note(salvage, L2_CART, row->key, &cart) : 0;
    if (rc == 0 && salvage->is_older && !same->is_there)
        rc = has_key(salvage->l2, place, &here);
    *wanted = !here && !cart.has_value && !(same->is_there && same->number >= row->number);
    return rc;
}

static int flush(struct salvage *salvage)
{
    char *error = NULL;
    leveldb_write(salvage->l2->db, salvage->write, salvage->batch, &error);
    leveldb_writebatch_clear(salvage->batch);
    salvage->batch_bytes = 0;
    memset(salvage->pending, 0, sizeof salvage->pending);
    return l2_tell_error(error);
}

/* What the batch has of a key can't be read yet. */
static int make_readable(struct salvage *salvage, struct slice key)
{
    size_t bit = hash_64(key) % PENDING_BITS;
    uint64_t *word = &salvage->pending[bit / 64], mask = 1ull << bit % 64;
    int rc = *word & mask ? flush(salvage) : 0;
    *word |= mask;
    return rc;
}

static int put(struct salvage *salvage, const struct l2_row *row)
{
    const struct l2_dbkey place = place_of(row);
    struct note same;
    bool wanted = false;
    int rc = make_readable(salvage, row->key);
    if (rc == 0)
        rc = read_note(salvage, (char)row->key.bytes[0], row->key, &same);
    if (rc == 0)
        rc = is_wanted(salvage, row, &place, &same, &wanted);
    if (rc || !wanted)
        return rc;
    salvage->carts += !same.is_there && place.bytes[0] == L2_SALVAGED;
    write_note(salvage, row);
    if (row->is_gone)
        leveldb_writebatch_delete(salvage->batch, place.bytes, place.len);
    else
        leveldb_writebatch_put(salvage->batch, place.bytes, place.len,
                               (const char *)row->value.bytes, row->value.len);
    salvage->batch_bytes += row->key.len + row->value.len;
    return salvage->batch_bytes < BATCH_BYTES ? 0 : flush(salvage);
}

static int take_cart(struct salvage *salvage, const struct l2_row *row)
{
    struct l2_cart cart;
    if (row->key.len <= L2_KEY_HEAD)
        return 0;
    if (!row->is_gone && l2_record_decode(slice_from(row->key, L2_KEY_HEAD), row->value, &cart)) {
        salvage->lost++;
        return 0;
    }
    return put(salvage, row);
}

/* Where the old one was to be salvaged from itself; it is the new one's, too, until that is done.
 */
static void take_next(struct salvage *salvage, const struct l2_row *row)
{
    size_t len = row->is_gone || row->value.len >= L2_PATH_MAX ? 0 : row->value.len;
    if (row->number < salvage->next_number)
        return;
    salvage->next_number = row->number;
    memcpy(salvage->next, row->value.bytes, len);
    salvage->next[len] = 0;
}

static int take_meta(struct salvage *salvage, const struct l2_row *row)
{
    struct slice name = slice_from(row->key, 1);
    if (slice_eq(name, slice_str(L2_SALVAGE_NOTE))) {
        take_next(salvage, row);
        return 0;
    }
    for (size_t i = 0; i < sizeof not_taken / sizeof *not_taken; i++)
        if (slice_eq(name, slice_str(not_taken[i])))
            return 0;
    return put(salvage, row);
}

/* Marks and ends of lives come with the carts, when they are no longer kept apart. */
static int take(void *arg, const struct l2_row *row)
{
    struct salvage *salvage = arg;
    if (row->key.len <= 1 || row->key.len > L2_DBKEY_MAX)
        return 0;
    char kind = (char)row->key.bytes[0];
    salvage->wants_second |= kind == L2_SALVAGED;
    if (salvage->is_second != (kind == L2_SALVAGED))
        return 0;
    switch (kind) {
    case L2_CART:
    case L2_SALVAGED: return take_cart(salvage, row);
    case L2_META: return take_meta(salvage, row);
    case L2_EVENTS: return put(salvage, row);
    default: return 0;
    }
}

/* ---- files ---- */

/* What can be read of a file that can't be read as a whole, with zeros in its holes: no sum of
 * LevelDB's holds over those. */
static int read_around(const struct salvage *salvage, const char *path, struct buf *file)
{
    const struct env *env = salvage->l2->env;
    size_t hole = 0, before = 0;
    file->len = 0;
    do {
        before = file->len;
        int rc = env->file_read_part(env->ctx, path, before, PART_BYTES, file);
        if (rc == CE_NOMEM || buf_reserve(file, PART_BYTES))
            return CE_NOMEM;
        hole = rc ? hole + PART_BYTES : 0;
        if (rc) {
            memset(file->bytes + before, 0, PART_BYTES);
            file->len = before + PART_BYTES;
        }
    } while (file->len == before + PART_BYTES && hole < HOLE_MAX);
    return 0;
}

static int read_file(const struct salvage *salvage, const char *path, struct buf *file)
{
    const struct env *env = salvage->l2->env;
    int rc = env->file_read(env->ctx, path, file);
    if (rc == CE_NOTFOUND)
        return 0;
    if (rc)
        log_error("l2", "%s: %s", path, err_text(rc));
    return rc == CE_IO && salvage->takes_holes ? read_around(salvage, path, file) : rc;
}

/* True for "<number>.<suffix>". */
static bool is_named(const char *name, const char *suffix)
{
    uint64_t number;
    int end = 0;
    return sscanf(name, "%" SCNu64 "%n", &number, &end) == 1 && name[end] == '.' &&
           strcmp(name + end + 1, suffix) == 0;
}

static void take_file(void *arg, const char *name)
{
    struct salvage *salvage = arg;
    char path[L2_PATH_MAX];
    struct buf file = {0};
    bool is_log = is_named(name, "log"), is_table = is_named(name, "ldb") || is_named(name, "sst");
    if (salvage->rc || (!is_log && !is_table) ||
        snprintf(path, sizeof path, "%s/%s", salvage->aside, name) >= L2_PATH_MAX)
        return;
    int rc = read_file(salvage, path, &file);
    if (rc == 0)
        rc = (is_log ? l2_log_each : l2_table_each)(buf_slice(&file), take, salvage);
    salvage->rc = rc;
    buf_free(&file);
}

/* A folder that somebody took away holds nothing. */
static int take_files(struct salvage *salvage)
{
    const struct env *env = salvage->l2->env;
    int rc = env->dir_list(env->ctx, salvage->aside, take_file, salvage);
    if (rc == CE_NOTFOUND || (rc == CE_IO && salvage->takes_holes))
        rc = 0;
    if (rc == 0)
        rc = salvage->rc;
    return rc ? rc : flush(salvage);
}

/* ---- all of it ---- */

static int erase(struct l2 *l2, const leveldb_writeoptions_t *write, struct slice key)
{
    char *error = NULL;
    leveldb_delete(l2->db, write, (const char *)key.bytes, key.len, &error);
    return l2_tell_error(error);
}

/* Ends a scan: how it went. */
static int end_iter(leveldb_iterator_t *iter)
{
    char *error = NULL;
    leveldb_iter_get_error(iter, &error);
    leveldb_iter_destroy(iter);
    return l2_tell_error(error);
}

/* Removes what was written, all but the path of what is to be salvaged, or the notes only. */
static int clean(struct l2 *l2, const leveldb_writeoptions_t *write, bool notes_only)
{
    const char first = notes_only ? L2_NOTE : 0;
    struct l2_dbkey path;
    int rc = 0;
    l2_dbkey_meta(&path, L2_SALVAGE_NOTE);
    leveldb_iterator_t *iter = leveldb_create_iterator(l2->db, l2->scan_options);
    leveldb_iter_seek(iter, &first, 1);
    for (; rc == 0 && leveldb_iter_valid(iter); leveldb_iter_next(iter)) {
        struct slice key = l2_iter_key(iter);
        if (notes_only && key.bytes[0] != L2_NOTE)
            break;
        if (!slice_eq(key, slice_of(path.bytes, path.len)))
            rc = erase(l2, write, key);
    }
    int iter_rc = end_iter(iter);
    return rc ? rc : iter_rc;
}

/* *aside becomes what is to be salvaged next, or empty. */
static int salvage_one(struct salvage *salvage, char aside[L2_PATH_MAX])
{
    salvage->aside = aside;
    salvage->next[0] = 0;
    salvage->next_number = salvage->carts = salvage->lost = 0;
    salvage->wants_second = salvage->is_second = false;
    int rc = take_files(salvage);
    if (rc == 0 && salvage->wants_second) {
        salvage->is_second = true;
        rc = take_files(salvage);
    }
    if (rc == 0)
        rc = clean(salvage->l2, salvage->write, true);
    log_error("l2", "%s: %" PRIu64 " carts salvaged, %" PRIu64 " records unreadable: %s", aside,
              salvage->carts, salvage->lost, err_text(rc));
    memcpy(aside, salvage->next, L2_PATH_MAX);
    salvage->is_older = true;
    return rc;
}

/* The path of what is to be salvaged; empty when there is none. */
static int read_path(struct l2 *l2, char path[L2_PATH_MAX])
{
    struct l2_dbkey dbkey;
    char *error = NULL;
    size_t len;
    path[0] = 0;
    l2_dbkey_meta(&dbkey, L2_SALVAGE_NOTE);
    char *note = leveldb_get(l2->db, l2->get_options, dbkey.bytes, dbkey.len, &len, &error);
    if (note && len < L2_PATH_MAX) {
        memcpy(path, note, len);
        path[len] = 0;
    }
    leveldb_free(note);
    return l2_tell_error(error);
}

/* Not before all that was brought over is in tables, which are synced. */
static int drop_path(struct l2 *l2)
{
    static const char behind_all[] = "\xff";
    struct l2_dbkey path;
    leveldb_compact_range(l2->db, behind_all, 1, behind_all, 1);
    l2_dbkey_meta(&path, L2_SALVAGE_NOTE);
    return erase(l2, l2->write_options, slice_of(path.bytes, path.len));
}

/* What was moved aside may have been waiting for a salvage itself: then that comes next. */
static int salvage_all(struct salvage *salvage, char aside[L2_PATH_MAX])
{
    int rc = clean(salvage->l2, salvage->write, false);
    for (unsigned i = 0; i < ASIDE_MAX && rc == 0 && aside[0]; i++)
        rc = salvage_one(salvage, aside);
    return rc ? rc : drop_path(salvage->l2);
}

static int begin_salvage(struct l2 *l2, char aside[L2_PATH_MAX])
{
    struct salvage *salvage = calloc(1, sizeof *salvage);
    if (!salvage)
        return CE_NOMEM;
    salvage->l2 = l2;
    salvage->takes_holes = l2->io_errors >= L2_IO_TRIES;
    salvage->write = leveldb_writeoptions_create();
    salvage->batch = leveldb_writebatch_create();
    int rc = salvage_all(salvage, aside);
    leveldb_writebatch_destroy(salvage->batch);
    leveldb_writeoptions_destroy(salvage->write);
    free(salvage);
    return rc;
}

/* Whether there are carts that are kept apart. */
static int find_salvaged(struct l2 *l2)
{
    const char first = L2_SALVAGED;
    leveldb_iterator_t *iter = leveldb_create_iterator(l2->db, l2->scan_options);
    leveldb_iter_seek(iter, &first, 1);
    bool found = leveldb_iter_valid(iter) && l2_iter_key(iter).bytes[0] == L2_SALVAGED;
    int rc = end_iter(iter);
    atomic_store(&l2->has_salvaged, found);
    return found ? 0 : rc;
}

int l2_finish_salvage(struct l2 *l2)
{
    char aside[L2_PATH_MAX];
    int rc = read_path(l2, aside);
    if (rc == 0 && aside[0])
        rc = begin_salvage(l2, aside);
    return rc ? rc : find_salvaged(l2);
}

/* l2_int: what the files of this room share.
 *
 * A cart record, numbers little-endian: format u8 | boot u64 | actor u64 | l3 revision u32 |
 * lsn u64 | record bytes u32 | sum u64 | state. sum = XXH3(state, seed XXH3(what is before the sum,
 * seed XXH3(cart key))), so a record is only good under its own key. */
#ifndef TIER_L2_L2_INT_H
#define TIER_L2_L2_INT_H

#include "tier/l2/l2.h"

#include <leveldb/c.h>
#include <pthread.h>

#define L2_MAGIC        0x4c324442u
#define L2_BATCH_MAGIC  0x4c324254u
#define L2_RECORD_BYTES 41 /* before the state */
#define L2_PATH_MAX     4096

enum l2_kind {
    L2_CART = 'C',
    L2_MARK = 'D',
    L2_META = 'M',
    L2_SALVAGED = 'S',
    L2_NOTE = 'Q', /* of a salvage that is not over */
};

#define L2_SALVAGE_NOTE "salvage" /* name of a value: the path of what was moved aside */

#define L2_KEY_HEAD  5 /* kind and ring hash */
#define L2_LIST_HEAD 9 /* list and number */
#define L2_NAME_MAX  L2_KEY_MAX
#define L2_DBKEY_MAX (L2_LIST_HEAD + L2_KEY_MAX)

struct l2_dbkey {
    size_t len;
    char bytes[L2_DBKEY_MAX];
};

struct l2 {
    unsigned magic;
    const struct env *env;
    char *path;
    bool keep_damaged;
    leveldb_options_t *options;
    leveldb_cache_t *cache;
    leveldb_filterpolicy_t *filter;
    leveldb_readoptions_t *get_options;
    leveldb_readoptions_t *scan_options; /* does not wash the block cache out */
    leveldb_writeoptions_t *write_options;

    pthread_rwlock_t lock; /* of db: read to use it, write to close and open it */
    leveldb_t *db;         /* NULL when it could not be opened again */
    bool broken;           /* the writer's own: a write failed since it was opened */

    struct lock views_lock; /* LOCK_L2_VIEWS, for who holds the lock above for reading */
    struct l2_view *views;

    uint64_t settled_bytes; /* the writer's own: bytes_written at the last l2_settle */

    unsigned io_errors; /* the writer's own: opens in a row that ended with one */

    bool renewed; /* the writer's own: it took the place of a damaged one, not open yet */

    _Atomic unsigned opened;   /* how often; names the database that `damaged` is about */
    _Atomic bool damaged;      /* something in it could not be read */
    _Atomic bool has_salvaged; /* carts that are kept apart */

    _Atomic uint64_t gets;
    _Atomic uint64_t hits;
    _Atomic uint64_t writes;
    _Atomic uint64_t carts_written;
    _Atomic uint64_t bytes_written;
    _Atomic uint64_t errors;
    _Atomic uint64_t reopens;
    _Atomic uint64_t rebuilds;
};

struct l2_batch {
    unsigned magic;
    leveldb_writebatch_t *writes;
    struct buf record;    /* the cart being put */
    struct l2_dbkey last; /* of a cart */
    size_t bytes;
    uint64_t carts;
};

/* ---- l2_record.c: bytes ------------------------------------------------------------------------
 */

void l2_dbkey_cart(struct l2_dbkey *dbkey, enum l2_kind kind, struct slice key);
void l2_dbkey_entry(struct l2_dbkey *dbkey, enum l2_list list, uint64_t number, struct slice key);
/* Takes such a key apart. False: it is none that this room has written. */
bool l2_dbkey_take_entry(struct slice dbkey, uint64_t *number, struct slice *key);
void l2_dbkey_meta(struct l2_dbkey *dbkey, const char *name);
/* Replaces what is in `out`. */
int l2_record_encode(struct slice key, const struct l2_cart *cart, struct buf *out) MUST_USE;
/* out->state points into `record`. CE_CORRUPT. */
int l2_record_decode(struct slice key, struct slice record, struct l2_cart *out) MUST_USE;

/* ---- l2.c
 * ---------------------------------------------------------------------------------------- */

/* The code for a LevelDB error text. CE_CORRUPT: the database is damaged. CE_IO: the disk failed,
 * for a moment or for good. Others say nothing against the files; CE_BUSY, of this room only: they
 * are there, and not to be had. */
int l2_error_code(const char *text);
/* Its code, after it was logged and freed; 0 for NULL. */
int l2_tell_error(char *error) MUST_USE;
/* Logs, counts and frees `error`, returns its code, CE_IO for CE_BUSY; 0 for NULL. */
int l2_take_error(struct l2 *l2, char *error) MUST_USE;

/* What of a database is in a directory; nothing when there is none. CE_IO. */
struct l2_listing {
    bool has_current;
    bool has_data;
};
int l2_look(const struct l2 *l2, const char *path, struct l2_listing *listing) MUST_USE;

/* Opening needs room, and without it there would be no database to read from. */
bool l2_disk_is_full(const struct l2 *l2);

/* Damage was met in the database as it was opened the n-th time. */
void l2_note_damage(struct l2 *l2, unsigned opened);

/* Read lock; CE_IO when there is no database at the moment, and then no lock. */
int l2_enter(struct l2 *l2) MUST_USE;
void l2_leave(struct l2 *l2);
/* Writer: closes the database and opens it again. */
int l2_reopen(struct l2 *l2) MUST_USE;

/* ---- l2_read.c, l2_batch.c: for whoever copies ------------------------------------------------
 */

struct slice l2_iter_key(const leveldb_iterator_t *iter);
struct slice l2_iter_value(const leveldb_iterator_t *iter);
/* To the first key behind `dbkey`. */
void l2_seek_behind(leveldb_iterator_t *iter, struct slice dbkey);
/* Ends a scan: how it went. */
int l2_end_iter(struct l2 *l2, leveldb_iterator_t *iter) MUST_USE;
/* An entry as it stands in another database. */
void l2_batch_raw(struct l2_batch *batch, struct slice dbkey, struct slice value);

/* ---- l2_log.c, l2_table.c: LevelDB's files --------------------------------------------------- */

#define L2_ROW_GONE 0 /* type of a row without a value; LevelDB's */

struct l2_row {
    uint64_t number; /* a higher one replaces a lower one with the same key */
    bool is_gone;    /* a deletion */
    struct slice key, value;
};
/* Non-zero ends the walk. What the slices of a row point to is the caller's. */
typedef int l2_row_fn(void *arg, const struct l2_row *row);

/* Calls `each` for the rows of a file whose sums are good, in no order; returns what that returns
 * when it is not 0. CE_NOMEM. */
int l2_log_each(struct slice log, l2_row_fn *each, void *arg) MUST_USE;
int l2_table_each(struct slice table, l2_row_fn *each, void *arg) MUST_USE;

static inline uint32_t l2_u32(const uint8_t *bytes)
{
    return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static inline uint64_t l2_u64(const uint8_t *bytes)
{
    return l2_u32(bytes) | (uint64_t)l2_u32(bytes + 4) << 32;
}

/* LevelDB's check sum. */
uint32_t l2_sum(struct slice bytes);

/* ---- l2_rebuild.c, l2_salvage.c: start-up, or the writer with no reader inside ----------------
 */

/* l2_copy.c: all views lose their snapshots, for the database is about to be closed. Under the lock
 * for writing, or before anybody else knows it. */
void l2_views_end(struct l2 *l2);

/* The closed database is moved aside; an empty one that knows of it takes its place. CE_NODISK. */
int l2_begin_anew(struct l2 *l2) MUST_USE;
/* Before an open: a move that a crash has cut in two is finished. CE_NODISK, CE_IO. */
int l2_finish_rename(struct l2 *l2, bool *finished) MUST_USE;
/* After an open: brings over what can be read of a database that was moved aside. CE_CORRUPT: the
 * one that was opened is damaged itself; else as l2_error_code. */
int l2_finish_salvage(struct l2 *l2) MUST_USE;

#endif

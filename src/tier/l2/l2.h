/* l2: LevelDB on local disk. Survives a restart and holds what does not fit in memory. Never on the
 * reply path: one thread writes (WriteBatch, each synced: leveldb#193), pool threads read.
 *
 * Keys: 'C' be32(ring hash) key -> cart record; 'D' be32(ring hash) key -> "" = L3 is older than
 * L2; 'S' as 'C', salvaged from a damaged database; 'M' name -> daemon's own values; 'E' and 'X'
 * be64(number) key -> entries of two lists in order of their numbers (enum l2_list). be32(ring
 * hash) first, so that an arc of the ring is one range (cluster-notes 2.6). A cart record = format,
 * boot id, actor, l3 revision, place of its newest journal record, XXH3 of the rest, state. A
 * directory that does not open is moved aside to <path>.broken-<time> and a new one is begun. */
#ifndef TIER_L2_L2_H
#define TIER_L2_L2_H

#include "base/base.h"

#define L2_KEY_MAX 250
#define L2_IO_TRIES                                                                                \
    20 /* opens in a row that an I/O error ends: then what can't be read is damage */

struct l2;

struct l2_config {
    const struct env *env;
    const char *path;
    size_t write_buffer_bytes; /* default 8 MiB */
    size_t cache_bytes;        /* block cache; default 8 MiB */
    bool keep_damaged;         /* what is damaged stays, and is CE_CORRUPT */
    unsigned *io_errors;       /* opens in a row that ended with one, 0 at first; kept by the caller
                                  from try to try. NULL: this is the only one */
};

/* A cart as L2 holds it. */
struct l2_cart {
    uint64_t boot; /* process that minted `actor` */
    uint64_t actor;
    uint32_t l3_rev;
    uint32_t record_bytes; /* its newest journal record: size, 0 = none, ... */
    uint64_t lsn;          /* ... and end */
    struct slice state;
};

/* Opens or makes the database; *moved_aside tells that a damaged one was set aside. An I/O error is
 * no damage: it may pass, so try again after a pause; after L2_IO_TRIES it is. A full disk, a lock
 * held by another process, missing rights or descriptors never are. CE_NODISK, CE_IO, CE_NOMEM,
 * with keep_damaged CE_CORRUPT. Start-up thread. */
int l2_open(const struct l2_config *config, struct l2 **l2, bool *moved_aside) MUST_USE;
void l2_close(struct l2 **l2);

/* Reads a cart; `storage` is cleared and owns the bytes that out->state points to. CE_NOTFOUND,
 * CE_CORRUPT (checksum), CE_IO, CE_NOMEM. Any thread but workers: it blocks. */
int l2_get(struct l2 *l2, struct slice key, struct buf *storage, struct l2_cart *out) MUST_USE;

/* A small value of the daemon's own, as l2_get. */
int l2_meta_get(struct l2 *l2, const char *name, struct buf *storage) MUST_USE;

/* ---- writing: one thread ---- */

struct l2_batch;
int l2_batch_new(struct l2_batch **batch) MUST_USE;
void l2_batch_free(struct l2_batch **batch);
int l2_batch_put(struct l2_batch *batch, struct slice key, const struct l2_cart *cart) MUST_USE;
void l2_batch_delete(struct l2_batch *batch, struct slice key); /* the cart and its marker */
void l2_batch_mark(struct l2_batch *batch, struct slice key);   /* L3 is older */
void l2_batch_unmark(struct l2_batch *batch, struct slice key); /* L3 has it */
void l2_batch_meta(struct l2_batch *batch, const char *name, struct slice value);
void l2_batch_meta_delete(struct l2_batch *batch, const char *name);

/* Lists in order of a number, then of the key: events that L3 lacks, by journal position; ends of
 * lives, by second. */
enum l2_list { L2_EVENTS = 'E', L2_EXPIRIES = 'X' };
void l2_batch_enter(struct l2_batch *batch, enum l2_list list, uint64_t number, struct slice key,
                    struct slice value);
void l2_batch_leave(struct l2_batch *batch, enum l2_list list, uint64_t number, struct slice key);
/* Forgets all that was put in. */
void l2_batch_clear(struct l2_batch *batch);
/* Gives the memory of an empty batch back; one that is not empty stays as it is. */
void l2_batch_shrink(struct l2_batch *batch);
size_t l2_batch_bytes(const struct l2_batch *batch);

/* Writes all of the batch, synced, and clears it on success. On an error LevelDB refuses for good
 * (cluster-notes 6): the database is closed and reopened before the next try. CE_NODISK, CE_IO. */
int l2_batch_commit(struct l2 *l2, struct l2_batch *batch) MUST_USE;

/* Nothing is to be written for a while: what is in LevelDB's write buffer, if that is much, goes
 * into a table and the memory back; a restart then has less to read. Waits for the disk. What fails
 * is told by the next commit. The writer. */
void l2_settle(struct l2 *l2);

/* Whether the cart is marked. CE_IO, CE_CORRUPT, CE_NOMEM. */
int l2_is_marked(struct l2 *l2, struct slice key, bool *marked) MUST_USE;

/* Calls `each` for up to `max` marked keys behind `*cursor` (raw bytes, empty = from the start) and
 * moves the cursor; *count = how many, 0 at the end. `each` copies the key and does not call l2.
 * CE_IO, CE_CORRUPT, CE_NOMEM. */
int l2_marks(struct l2 *l2, struct buf *cursor, size_t max,
             void (*each)(void *arg, struct slice key), void *arg, size_t *count) MUST_USE;

/* As l2_marks, of the keys of all carts, in ring order. */
int l2_cart_keys(struct l2 *l2, struct buf *cursor, size_t max,
                 void (*each)(void *arg, struct slice key), void *arg, size_t *count) MUST_USE;

/* Where a walk through a list goes on: behind this entry; all zero is in front of the first. A new
 * walk from the front meets what LevelDB keeps of deleted entries (cluster-notes 6): go on from
 * where the last one ended. */
struct l2_place {
    uint64_t number;
    size_t key_len;
    uint8_t key[L2_KEY_MAX];
};

/* Calls `each` for up to `max` entries behind *place with numbers up to `number_max`, until it
 * returns false, and moves *place behind the last that it took (true). *count = how many it took.
 * `each` copies and does not call l2. CE_IO, CE_CORRUPT. */
int l2_walk(struct l2 *l2, enum l2_list list, struct l2_place *place, uint64_t number_max,
            size_t max,
            bool (*each)(void *arg, uint64_t number, struct slice key, struct slice value),
            void *arg, size_t *count) MUST_USE;

/* Calls `each` for every cart in ring order until it returns non-zero; returns that. A record that
 * fails its checksum is passed with state.bytes == NULL. For verify and rebuilds; blocks. `each`
 * does not call l2. CE_IO, CE_CORRUPT. */
int l2_each(struct l2 *l2, int (*each)(void *arg, struct slice key, const struct l2_cart *cart),
            void *arg) MUST_USE;

/* ---- copying ---- */

/* What the database holds at this moment, whatever is written later. Owner: caller, until
 * l2_view_drop. The writer. CE_IO, CE_NOMEM. */
struct l2_view;
int l2_view_take(struct l2 *l2, struct l2_view **view) MUST_USE;
/* Takes and nulls. Any thread. */
void l2_view_drop(struct l2 *l2, struct l2_view **view);
/* Makes a database of its own at `path` (a directory that is missing) with what the view has, but
 * for the values "complete" and "l3"; all of it is synced, its directory is not. Calls `step` after
 * each part with how many carts it had; returns what that returns when it is not 0. CE_BUSY: the
 * database was closed since. CE_NODISK, CE_IO, CE_CORRUPT, CE_NOMEM; what was written stays. Any
 * thread but workers and the writer. */
int l2_copy(struct l2 *l2, const struct l2_view *view, const char *path,
            int (*step)(void *ctx, uint64_t carts), void *ctx) MUST_USE;

/* ---- damage ---- */

/* True since something was met that cannot be read. Any thread, lock-free. */
bool l2_is_damaged(const struct l2 *l2);
/* Moves the damaged database aside, begins a new one and brings over what can be read; readers wait
 * meanwhile. Carts of it are salvaged: kept apart, as they may be older than what was damaged, or
 * than what L3 has. Values of the daemon's own stay but for "complete" and "checkpoint". CE_NODISK:
 * there is none until a commit or this succeeds. The writer. */
int l2_rebuild(struct l2 *l2) MUST_USE;

/* True while there are salvaged carts. Any thread, lock-free. */
bool l2_has_salvaged(const struct l2 *l2);
/* As l2_get, of a salvaged cart. */
int l2_salvaged_get(struct l2 *l2, struct slice key, struct buf *storage,
                    struct l2_cart *out) MUST_USE;
/* The cart is known by now. */
void l2_batch_unsalvage(struct l2_batch *batch, struct slice key);
/* As l2_marks, of salvaged carts. None from the start on: there are no more. */
int l2_salvaged(struct l2 *l2, struct buf *cursor, size_t max,
                void (*each)(void *arg, struct slice key), void *arg, size_t *count) MUST_USE;

#define L2_STATS(X)                                                                                \
    X(l2_gets, "reads")                                                                            \
    X(l2_hits, "reads that found the cart")                                                        \
    X(l2_writes, "batches written")                                                                \
    X(l2_carts_written, "carts written")                                                           \
    X(l2_bytes_written, "bytes handed to LevelDB")                                                 \
    X(l2_errors, "failed calls")                                                                   \
    X(l2_reopens, "times the database was closed and opened again")                                \
    X(l2_rebuilds, "times a damaged database was moved aside and begun anew")                      \
    X(l2_salvaged, "1 while carts of it are kept apart")
/* One of them. */
uint64_t l2_bytes_written(const struct l2 *l2);
void l2_stats(const struct l2 *l2, const struct stat_sink *sink);

#endif

/* l1: memory. A hash table in stripes, each with a lock, an eviction queue and a list of what L2
 * does not have yet. Answers now or misses, never waits for anything but a stripe's lock, which no
 * one holds over a syscall.
 *
 * Functions ending in _locked MUST be called between l1_lock and l1_unlock of the same hash. An
 * item pointer is valid until the lock is dropped or the same key is put or removed.
 * Eviction (SIEVE, one bit set per hit; while stripes hold few items, what was not used for
 * longest): plain and absent items are dropped, carts only when clean (promise 5: L1 eviction only
 * demotes). */
#ifndef TIER_L1_L1_H
#define TIER_L1_L1_H

#include "base/base.h"

#define L1_STRIPES 1024 /* power of two */
#define L1_KEY_MAX 250

enum l1_kind {
    L1_PLAIN,  /* a memcached item */
    L1_CART,   /* a cart state */
    L1_ABSENT, /* this cart is known to be in no tier; no value */
};

struct l1;

/* The mark that its owner sets on a plain item that was asked for: evictions of others are counted.
 */
#define L1_MARK_FETCHED 1
/* The mark that its owner sets on a cart when it is taken: the other tiers know that L3 lacks it.
 */
#define L1_MARK_BEHIND 2

/* What a plain item carries. */
struct l1_plain {
    uint64_t cas;
    uint32_t flags;
    uint32_t exptime_s; /* seconds on the cmd clock; 0 = never */
    uint32_t stored_s;  /* for flush_all */
    uint32_t used_s;    /* last asked for */
};

/* What a cart carries beside its state; goes to L2 with it. */
struct l1_cart {
    uint64_t actor;        /* whose dots this process makes on this cart; 0 = not minted yet */
    uint64_t lsn;          /* end of the last journal record that changed it; of an absent item
                              since when, in ms */
    uint32_t l3_rev;       /* revision of its row in L3 as far as known; 0 = none */
    uint32_t record_bytes; /* size of that record; 0 = there is none to read */
};

struct l1_item {
    struct l1_item *_next, *_older, *_newer;
    uint32_t value_bytes;
    uint8_t key_bytes;
    uint8_t kind; /* enum l1_kind */
    uint8_t _bits;
    uint8_t marks; /* the owner's own; but see L1_MARK_... */
    union {
        struct l1_plain plain;
        struct l1_cart cart;
    };
    uint8_t _bytes[]; /* key, then value */
};

static inline struct slice l1_key(const struct l1_item *item)
{
    return slice_of(item->_bytes, item->key_bytes);
}

static inline uint8_t *l1_value(struct l1_item *item)
{
    return item->_bytes + item->key_bytes;
}

static inline struct slice l1_value_slice(const struct l1_item *item)
{
    return slice_of(item->_bytes + item->key_bytes, item->value_bytes);
}

/* bytes_max counts items, tables and allocator overhead. CE_NOMEM. */
int l1_new(size_t bytes_max, struct l1 **l1) MUST_USE;
void l1_free(struct l1 **l1);

/* Changes the limit (cache_memlimit); evicts down to it as it can, which may take seconds. */
void l1_limit_set(struct l1 *l1, size_t bytes_max);
size_t l1_limit(const struct l1 *l1);
/* The bytes that count against it. */
size_t l1_used(const struct l1 *l1);

/* memcached's -M: a plain item is evicted only when `alive` says that it is dead; when that leaves
 * no room, l1_room refuses. Before the first thread. `alive` is called under a stripe's lock. */
void l1_keep(struct l1 *l1, bool (*alive)(void *ctx, const struct l1_item *item), void *ctx);

/* Makes an item of `bytes` (key and value; overhead is added here) fit under the limit by evicting
 * from all stripes in turn. MUST NOT hold a stripe. Cheap when there is room. CE_NOMEM when
 * everything left is dirty or pinned, or when no eviction could make that much room. What threads
 * put at the same moment is not reserved: 64 KiB are kept free for it, the next call gets the rest
 * back. */
int l1_room(struct l1 *l1, size_t bytes) MUST_USE;

void l1_lock(struct l1 *l1, uint64_t hash);
void l1_unlock(struct l1 *l1, uint64_t hash);
/* Both stripes, which may be the same one. */
void l1_lock_both(struct l1 *l1, uint64_t hash_a, uint64_t hash_b);
void l1_unlock_both(struct l1 *l1, uint64_t hash_a, uint64_t hash_b);

/* The item or NULL. `hash` = hash_64(key) here and everywhere. Counts as a use for eviction. */
struct l1_item *l1_find_locked(struct l1 *l1, uint64_t hash, struct slice key);

#define L1_FORESEEN_MAX 16
/* These keys will be looked for at once: brings near the CPU what there will be to look at. `count`
 * <= L1_FORESEEN_MAX. A hint: takes no lock, waits for nothing, changes nothing. */
void l1_foresee(struct l1 *l1, const uint64_t *hashes, unsigned count);

/* Makes or resizes the item of a key: kind, room for a value of value_bytes. A value that was there
 * keeps its bytes as far as they fit; the caller fills the rest. When the key had an item, its
 * plain/cart part and dirtiness are kept if the kind is the same, and zeroed if not (MUST NOT
 * change the kind of a dirty cart). A new item has the part zeroed. CE_NOMEM (malloc failed), the
 * old item is then untouched; making an item smaller never fails. */
int l1_put_locked(struct l1 *l1, uint64_t hash, struct slice key, enum l1_kind kind,
                  size_t value_bytes, struct l1_item **item) MUST_USE;

/* MUST NOT be a dirty cart. A pinned one is the caller's risk: see l1_unpin. */
void l1_remove_locked(struct l1 *l1, uint64_t hash, struct l1_item *item);

/* Marks a cart as newer than L2. Idempotent. CE_NOMEM: call l1_dirty_reserve_locked first. */
void l1_dirty_locked(struct l1 *l1, uint64_t hash, struct l1_item *item);
/* L2 has exactly this state of a cart. Under its stripe's lock. */
bool l1_is_clean(const struct l1_item *item);
/* Marks every cart, and takes L1_MARK_BEHIND away. CE_NOMEM: only some. No lock held. */
int l1_dirty_all(struct l1 *l1) MUST_USE;
/* Guarantees that two l1_dirty_locked on this stripe will not need memory: a change of two carts
 * may have both there. */
int l1_dirty_reserve_locked(struct l1 *l1, uint64_t hash) MUST_USE;

/* ---- for the L2 writer (one thread) ---- */

/* Looks at up to `max` places in the list of a stripe's dirty carts, from the from-th on, and calls
 * `each` under the stripe's lock (copy, do not block) for those that l1_dirty_take would take.
 * Returns at how many; fewer than max: that was the end. Takes only move places to the front. */
uint32_t l1_dirty_look(struct l1 *l1, unsigned stripe, uint32_t from, uint32_t max,
                       void (*each)(void *arg, uint64_t hash, struct slice key), void *arg);

/* Takes a dirty cart of this hash: calls `each` under the stripe's lock (copy, do not block), marks
 * it clean but pinned (not evictable) until l1_unpin. One that became dirty again while pinned is
 * left for after its unpin. CE_NOTFOUND: there is none; or what `each` returned: it stays dirty. */
int l1_dirty_take(struct l1 *l1, uint64_t hash,
                  int (*each)(void *arg, uint64_t hash, struct l1_item *item), void *arg) MUST_USE;

/* The state taken before is safe in L2 (ok) or was not written: then it is dirty again, without
 * L1_MARK_BEHIND. Finds the item by key; gone is fine only when ok. */
void l1_unpin(struct l1 *l1, uint64_t hash, struct slice key, bool ok);

/* Number of carts that L2 does not have yet: dirty or pinned. Lock-free. */
uint64_t l1_dirty_count(const struct l1 *l1);
/* About what they take: so many of what a cart in memory takes on average. Lock-free; adds up all
 * stripes. */
uint64_t l1_dirty_bytes(const struct l1 *l1);

/* ---- whole-table ---- */

#define L1_WALK_BUCKETS 64
/* Walks all items, some at a time: hands those of at most L1_WALK_BUCKETS buckets (with an item in
 * each, on average) to `each` under their stripe's lock, and returns where to go on; begins with 0,
 * and 0 is returned at the end. An item that is there from begin to end is met exactly once,
 * however the table grows meanwhile; one that comes or goes may be met. `each` MUST NOT block or
 * touch L1. */
uint64_t l1_walk(struct l1 *l1, uint64_t from, void (*each)(void *arg, const struct l1_item *item),
                 void *arg);

/* When the plain item was stored that has been here longest (of those that are the oldest of their
 * stripe), in seconds of l1_plain; UINT32_MAX when there is none. Takes every stripe in turn. */
uint32_t l1_oldest_s(struct l1 *l1);

/* Whether a cart of this hash may have been in L1 and is not any more, or was noted. False is sure
 * for who holds its stripe's lock and found no item. Any thread. */
bool l1_may_have_left(const struct l1 *l1, uint64_t hash);
/* A cart of this hash is somewhere else, though it was never here. Any thread. */
void l1_note_left(struct l1 *l1, uint64_t hash);

/* Moves items together when so much memory is in holes between them that it pays, and gives back
 * what that frees. For quiet times: each item that is moved costs some 0.3 us, under its stripe's
 * lock. Asks `go_on` before each, and ends when it says no; the next call goes on there. One thread
 * at a time, without a lock. */
void l1_tidy(struct l1 *l1, bool (*go_on)(void *ctx), void *ctx);

#define L1_STATS(X)                                                                                \
    X(bytes, "bytes used by items, tables and overhead")                                           \
    X(curr_items, "items now")                                                                     \
    X(total_items, "items ever stored")                                                            \
    X(evictions, "plain items dropped for room")                                                   \
    X(evicted_unfetched, "of them never asked for")                                                \
    X(evicted_nonzero, "of them with an end of life of their own")                                 \
    X(cart_demotions, "clean carts dropped from memory; L2 has them")                              \
    X(curr_carts, "carts in memory now")                                                           \
    X(dirty_carts, "carts that L2 does not have yet")                                              \
    X(plain_bytes, "bytes of plain items: key, value and head")                                    \
    X(cart_bytes, "bytes of carts, the same")                                                      \
    X(hash_bytes, "bytes of the hash tables, and of what says which carts left")                   \
    X(heap_bytes, "memory taken for items of up to 64 KiB, holes between them included")           \
    X(heap_holes_bytes, "of it in no item; what is much is won back when clients are quiet")       \
    X(limit_maxbytes, "-m in bytes")
void l1_stats(const struct l1 *l1, const struct stat_sink *sink);

#endif

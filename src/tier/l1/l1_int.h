/* l1_int: what the files of this room share. */
#ifndef TIER_L1_L1_INT_H
#define TIER_L1_L1_INT_H

#include "tier/l1/l1.h"

#define L1_MAGIC      0x4c314d21u
#define L1_LINE_BYTES 64 /* of the CPU cache: stripes must not share one */

enum l1_bit {
    L1_VISITED = 1, /* found since the hand last came by */
    L1_DIRTY = 2,   /* L2 does not have it: its hash is in the stripe's dirty list */
    L1_PINNED = 4,  /* the L2 writer has it in hand */
    L1_EPOCH = 8,   /* from here on up: the epoch in which the item was last used */
};

#define L1_EPOCHS (256 / L1_EPOCH) /* that can be told apart */

/* What must not be dropped. */
#define L1_HELD (L1_DIRTY | L1_PINNED)

/* The `_older` of an item that stands in no queue. */
#define L1_UNQUEUED ((struct l1_item *)1)

static inline bool l1_is_queued(const struct l1_item *item)
{
    return item->_older != L1_UNQUEUED;
}

/* Written under the stripe's lock, read without. */
struct l1_counts {
    _Atomic uint64_t items, carts, stored, evictions, unfetched, nonzero, demotions;
    _Atomic uint64_t plain_bytes, cart_bytes, buckets;
};

struct l1_stripe {
    _Alignas(L1_LINE_BYTES) struct lock lock;
    struct l1_item **buckets;        /* its first group; see l1_bucket_at */
    uint32_t buckets_mask;           /* number of buckets - 1, a power of two - 1 */
    uint32_t count;                  /* items of all kinds */
    struct l1_item *oldest, *newest; /* the queue */
    struct l1_item *hand;            /* next to be looked at; NULL = the oldest */
    uint64_t *dirty;                 /* hashes, one for each dirty cart, oldest first */
    uint32_t dirty_count, dirty_cap; /* dirty_cap >= dirty_count + pinned, so that a failed */
    uint32_t pinned;                 /* write can always be remembered */
    struct l1_counts counts;
};

/* l1_left.c */
struct l1_left {
    _Atomic uint64_t *words;
    unsigned lines_log2;
    _Atomic uint64_t lines; /* that have a bit set */
};

struct l1 {
    unsigned magic;
    _Atomic size_t limit;
    _Atomic unsigned cursor;                              /* stripe that l1_room goes on with */
    _Atomic unsigned epoch;                               /* counts parts of the limit asked for */
    bool (*alive)(void *ctx, const struct l1_item *item); /* l1_keep; NULL = evict as needed */
    void *alive_ctx;
    _Alignas(L1_LINE_BYTES) _Atomic size_t used;
    _Atomic size_t asked;  /* bytes asked for in this epoch */
    _Atomic uint64_t held; /* carts that are dirty or pinned */
    struct l1_left left;
    size_t holes_left;      /* bytes, by l1_tidy when it last went through all; its own */
    size_t tidy_chunk;      /* where l1_tidy goes on, too */
    struct l1_item **table; /* behind this; L1_TABLE_BYTES of addresses, memory as far as the
                               stripes' groups go */
    struct l1_stripe stripes[L1_STRIPES];
};

static inline struct l1_stripe *l1_stripe_of(struct l1 *l1, uint64_t hash)
{
    return &l1->stripes[hash >> 54]; /* 64 - log2(L1_STRIPES) */
}
_Static_assert(L1_STRIPES == 1 << 10, "l1_stripe_of takes the top 10 bits");

static inline struct l1_stripe *l1_stripe_locked(struct l1 *l1, uint64_t hash)
{
    MUST_OBJ(l1, L1_MAGIC);
    struct l1_stripe *stripe = l1_stripe_of(l1, hash);
    MUST(lock_held(&stripe->lock));
    return stripe;
}

/* All buckets are in one table that never moves: first a group of each stripe, a line of the CPU
 * cache, then the next group of each, and so on. So a stripe grows where it is, and who holds no
 * lock may look at a bucket (l1_foresee). */
#define L1_GROUP_BUCKETS (L1_LINE_BYTES / sizeof(struct l1_item *))
#define L1_GROUPS_MAX    (1u << 16) /* of a stripe; with more items chains grow longer */
#define L1_TABLE_BYTES   ((size_t)L1_GROUPS_MAX * L1_STRIPES * L1_LINE_BYTES)

static inline struct l1_item **l1_bucket_at(const struct l1_stripe *stripe, size_t index)
{
    size_t in_group = index % L1_GROUP_BUCKETS;
    return &stripe->buckets[(index - in_group) * L1_STRIPES + in_group];
}

static inline struct l1_item **l1_bucket_of(const struct l1_stripe *stripe, uint64_t hash)
{
    return l1_bucket_at(stripe, hash & stripe->buckets_mask);
}

static inline void l1_count(_Atomic uint64_t *counter, int64_t change)
{
    uint64_t now = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, now + (uint64_t)change, memory_order_relaxed);
}

/* The item is used now; `mark` is L1_VISITED or nothing. A line of memory that says so already is
 * not written to: workers that read the same item would take it from each other. */
static inline void l1_stamp(const struct l1 *l1, struct l1_item *item, unsigned mark)
{
    unsigned epoch = atomic_load_explicit(&l1->epoch, memory_order_relaxed) % L1_EPOCHS;
    uint8_t bits = (uint8_t)((item->_bits | mark) % L1_EPOCH + epoch * L1_EPOCH);
    if (item->_bits != bits)
        item->_bits = bits;
}

static inline uint64_t l1_counted(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

/* ---- l1_mem.c: the allocator; replace this file to replace it ----------------------------- */

/* NULL when there is none. */
void *l1_mem_new(size_t bytes);
/* NULL is fine. */
void l1_mem_free(void *mem);
/* Bytes that may be written. */
size_t l1_mem_usable(void *mem);
/* What a piece costs, the allocator's own bytes included. */
size_t l1_mem_cost(void *mem);
/* Whether these addresses, of a piece, may be read even when it was freed meanwhile. */
bool l1_mem_stays(const void *mem);

/* Addresses without memory behind them; NULL when there are none. */
void *l1_mem_reserve(size_t bytes);
/* The first `bytes` of them get memory, zeroed where it is new. False when there is none. Any
 * thread, again and again. */
bool l1_mem_commit(void *addresses, size_t bytes);
void l1_mem_unreserve(void *addresses, size_t bytes);

/* A piece from the heap that `mem`, which is of one, is from. NULL when there is none. */
void *l1_mem_new_beside(void *mem, size_t bytes);
/* Memory taken for pieces, but for those of the C library; what of it is in no piece. */
size_t l1_mem_held(void);
size_t l1_mem_holes(void);

/* A span: at a multiple of its size. NULL when there is none. Any thread. */
#define L1_SPAN_BYTES ((size_t)256 << 10)
struct l1_span {
    struct l1_heap *_Atomic heap; /* whose blocks it holds; NULL: of none. Under that one's lock */
    uint64_t leaves;              /* nothing is to be taken from it. Under its heap's lock */
};
struct l1_span *l1_span_take(void);
void l1_span_give(struct l1_span *span);

/* Spans are in chunks, numbered by address; memory comes and goes by chunks. How many were ever
 * used. */
#define L1_CHUNK_SPANS 8
#define L1_CHUNK_BYTES (L1_CHUNK_SPANS * L1_SPAN_BYTES)
size_t l1_chunks(void);
/* From now on no span is taken from this chunk, and its memory stays. Returns how many spans are
 * taken already: with 0 nothing has changed; they may be given back meanwhile. One chunk at a time,
 * until l1_chunk_stay: then they are not to be touched any more, for its memory goes, if it is
 * wholly free. */
unsigned l1_chunk_leave(size_t chunk, struct l1_span *spans[L1_CHUNK_SPANS]);
void l1_chunk_stay(void);

/* ---- l1_heap.c: any thread ---------------------------------------------------------------- */

#define L1_HEAP_ROWS      11 /* of bins: one for small blocks, one for each power of two */
#define L1_HEAP_BINS      32 /* in a row */
#define L1_HEAP_BINS_LOG2 5

struct l1_heap {
    struct lock lock;     /* LOCK_L1_HEAP */
    uint32_t rows_map;    /* rows that have a block */
    uint32_t whole_spans; /* spans that are one free block */
    _Atomic size_t taken; /* bytes of blocks that are taken; written under the lock */
    uint32_t bins_map[L1_HEAP_ROWS];
    struct block *bins[L1_HEAP_ROWS][L1_HEAP_BINS];
};

void l1_heap_init(struct l1_heap *heap);
/* NULL when there is no span to be had. `bytes` MUST be at most a quarter of a span. */
void *l1_heap_new(struct l1_heap *heap, size_t bytes);
/* From the heap that `mem` came from. */
void *l1_heap_new_beside(void *mem, size_t bytes);
/* Back to the heap that it came from. */
void l1_heap_free(void *mem);
size_t l1_heap_usable(void *mem);

/* Bytes of a span that are in no piece. */
size_t l1_heap_free_bytes(struct l1_span *span);
/* From now on its heap takes nothing from this span. Returns how many pieces are taken already:
 * with 0 nothing has changed. */
#define L1_SPAN_PIECES (L1_SPAN_BYTES / 32)
size_t l1_heap_leave(struct l1_span *span, void *pieces[L1_SPAN_PIECES]);
/* The heap may take from it again, if it still has it. */
void l1_heap_stay(struct l1_span *span);

/* ---- l1.c --------------------------------------------------------------------------------- */

/* An item without what the allocator adds. */
static inline size_t l1_item_bytes(size_t key_bytes, size_t value_bytes)
{
    return offsetof(struct l1_item, _bytes) + key_bytes + value_bytes;
}

/* What the piece of a cart has beyond its need. The first `cadd` to a line that was set takes 15 to
 * 17 bytes, and moving the cart for them would be a quarter of the whole command, for the piece it
 * goes to and what is beside both are far away in memory (doc/bench/tried.md). */
#define L1_CART_SLACK_BYTES 24

/* What is asked for when an item of this kind gets a new piece. */
static inline size_t l1_piece_bytes(enum l1_kind kind, size_t key_bytes, size_t value_bytes)
{
    return l1_item_bytes(key_bytes, value_bytes) + (kind == L1_CART ? L1_CART_SLACK_BYTES : 0);
}

/* l1_mem_new, l1_mem_new_beside and l1_mem_free, counted in l1->used. */
void *l1_take_mem(struct l1 *l1, size_t bytes);
void *l1_take_mem_beside(struct l1 *l1, void *other, size_t bytes);
void l1_give_mem(struct l1 *l1, void *mem);

/* The item of *slot is moved to `moved`, another piece, with so many bytes of it. */
void l1_move(struct l1 *l1, struct l1_stripe *stripe, struct l1_item **slot, struct l1_item *moved,
             size_t bytes);

/* Where the pointer to an item stands in its chain; where it would stand (holding NULL) when there
 * is none. */
struct l1_item **l1_slot(const struct l1_stripe *stripe, uint64_t hash, struct slice key);

/* Takes an item out of its chain and counts, and frees it. MUST NOT be queued or held. */
void l1_drop(struct l1 *l1, struct l1_stripe *stripe, struct l1_item **slot);

/* ---- l1_left.c ---------------------------------------------------------------------------- */

/* CE_NOMEM. */
int l1_left_init(struct l1_left *left, size_t bytes_max) MUST_USE;
void l1_left_fini(struct l1_left *left);
size_t l1_left_bytes(const struct l1_left *left);

/* ---- l1_evict.c --------------------------------------------------------------------------- */

void l1_queue_add(struct l1_stripe *stripe, struct l1_item *item); /* as the newest */
/* These two do nothing with an item that is in no queue. */
void l1_queue_remove(struct l1_stripe *stripe, struct l1_item *item);
/* `moved` is a copy of `item`, which is about to be freed. */
void l1_queue_move(struct l1_stripe *stripe, const struct l1_item *item, struct l1_item *moved);

/* ---- l1_dirty.c --------------------------------------------------------------------------- */

/* Ends the pin of an item that is not dirty: it may be evicted again. */
void l1_release(struct l1 *l1, struct l1_stripe *stripe, struct l1_item *item);

#endif

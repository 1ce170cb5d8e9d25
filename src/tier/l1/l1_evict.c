/* l1_evict: what goes when memory is full. SIEVE: new items enter a queue at one end, a hand walks
 * it from the oldest on; an item found since the hand last came by is let off once, any other is
 * dropped. Dirty and pinned carts must not go: the hand takes those it meets out of the queue, and
 * they come back as the newest when L2 has them, so an empty queue is the proof that nothing can
 * go. Until the hand meets it a cart stays where it is, however often it changes and is written:
 * its neighbours are anywhere in memory, and a change should wait for no memory but its cart's.
 *
 * l1_room goes round the stripes, first looking at a few items in each, so that all stripes age
 * alike; only when a whole round was not enough does it empty stripes.
 *
 * Large items are few in a stripe, often one: the oldest of its stripe may then be the newest of
 * all. So while stripes hold few items, l1_room looks at the items of several and drops those that
 * were not used for the longest time, in epochs: parts of the limit that were asked for since. */
#include "tier/l1/l1_int.h"

#define ROUND_STEPS 32 /* items the hand looks at in one stripe in the first round */

/* Stripes that one l1_room looks through when live plain items are kept: what there is to find may
 * be little, and looking at everything for each refused item would cost more than the item. */
#define KEEP_STRIPES 64

/* A stripe with fewer items does not age like the others; so many stripes tell how it is. */
#define SPARSE_ITEMS    16
#define DENSITY_STRIPES 8

/* Items among which the one is sought that was not used for longest. It is in the younger half of
 * all once in 2^16 times. */
#define SAMPLE_ITEMS 16

/* Epochs in which the limit is asked for once. Items of up to L1_EPOCHS differ in age; hardly one
 * stays so long without being used. */
#define EPOCHS_IN_LIMIT 16

/* Of an item: struct, allocator's head and rounding, slack. */
#define ITEM_OVERHEAD_BYTES (sizeof(struct l1_item) + 32 + L1_CART_SLACK_BYTES)

/* Kept free for what grows beside items (tables, lists) and for items that other threads put
 * between their l1_room and ours. A sixteenth of small memories. */
#define SPARE_BYTES ((size_t)64 << 10)

/* How much the limit is lowered at a time. */
#define LIMIT_STEP_BYTES ((size_t)1 << 20)

/* ---- the queue ---------------------------------------------------------------------------- */

void l1_queue_add(struct l1_stripe *stripe, struct l1_item *item)
{
    MUST(!(item->_bits & L1_HELD));
    item->_newer = NULL;
    item->_older = stripe->newest;
    if (stripe->newest)
        stripe->newest->_newer = item;
    else
        stripe->oldest = item;
    stripe->newest = item;
}

void l1_queue_remove(struct l1_stripe *stripe, struct l1_item *item)
{
    if (!l1_is_queued(item))
        return;
    if (stripe->hand == item)
        stripe->hand = item->_newer;
    if (item->_older)
        item->_older->_newer = item->_newer;
    else
        stripe->oldest = item->_newer;
    if (item->_newer)
        item->_newer->_older = item->_older;
    else
        stripe->newest = item->_older;
    item->_older = L1_UNQUEUED;
    item->_newer = NULL;
}

void l1_queue_move(struct l1_stripe *stripe, const struct l1_item *item, struct l1_item *moved)
{
    if (!l1_is_queued(item))
        return;
    if (stripe->hand == item)
        stripe->hand = moved;
    if (moved->_older)
        moved->_older->_newer = moved;
    else
        stripe->oldest = moved;
    if (moved->_newer)
        moved->_newer->_older = moved;
    else
        stripe->newest = moved;
}

/* ---- eviction ----------------------------------------------------------------------------- */

static bool fits(const struct l1 *l1, size_t bytes)
{
    size_t limit = atomic_load_explicit(&l1->limit, memory_order_relaxed);
    size_t used = atomic_load_explicit(&l1->used, memory_order_relaxed);
    return bytes <= limit && used <= limit - bytes;
}

static void count_eviction(struct l1_stripe *stripe, const struct l1_item *item)
{
    l1_count(&stripe->counts.evictions, 1);
    if (!(item->marks & L1_MARK_FETCHED))
        l1_count(&stripe->counts.unfetched, 1);
    if (item->plain.exptime_s)
        l1_count(&stripe->counts.nonzero, 1);
}

static void evict(struct l1 *l1, struct l1_stripe *stripe, struct l1_item *item)
{
    MUST(!(item->_bits & L1_HELD));
    if (item->kind == L1_PLAIN)
        count_eviction(stripe, item);
    if (item->kind == L1_CART)
        l1_count(&stripe->counts.demotions, 1);
    struct l1_item **slot = l1_slot(stripe, hash_64(l1_key(item)), l1_key(item));
    MUST(*slot == item);
    l1_queue_remove(stripe, item);
    l1_drop(l1, stripe, slot);
}

static bool is_kept(const struct l1 *l1, const struct l1_item *item)
{
    return l1->alive && item->kind == L1_PLAIN && l1->alive(l1->alive_ctx, item);
}

/* Lets the hand look at one item; false when the queue is empty. */
static bool move_hand(struct l1 *l1, struct l1_stripe *stripe)
{
    struct l1_item *item = stripe->hand ? stripe->hand : stripe->oldest;
    if (!item)
        return false;
    stripe->hand = item->_newer;
    if (item->_bits & L1_HELD)
        l1_queue_remove(stripe, item);
    else if (item->_bits & L1_VISITED)
        item->_bits &= (uint8_t)~L1_VISITED;
    else if (!is_kept(l1, item))
        evict(l1, stripe, item);
    return true;
}

/* Ends: a step takes an item out of the queue or clears a bit that nobody can set while we hold the
 * lock; when items are kept, steps_max ends it. */
static void sweep(struct l1 *l1, struct l1_stripe *stripe, unsigned steps_max, size_t bytes)
{
    lock_take(&stripe->lock);
    for (unsigned steps = 0; steps < steps_max && !fits(l1, bytes); steps++)
        if (!move_hand(l1, stripe))
            break;
    lock_drop(&stripe->lock);
}

static bool sweep_round(struct l1 *l1, unsigned stripes, unsigned steps_max, size_t bytes)
{
    unsigned start = atomic_load_explicit(&l1->cursor, memory_order_relaxed);
    for (unsigned i = 0; i < stripes; i++) {
        if (fits(l1, bytes))
            return true;
        unsigned at = (start + i) % L1_STRIPES;
        sweep(l1, &l1->stripes[at], steps_max, bytes);
        atomic_store_explicit(&l1->cursor, (at + 1) % L1_STRIPES, memory_order_relaxed);
    }
    return fits(l1, bytes);
}

static bool make_room(struct l1 *l1, size_t bytes)
{
    if (l1->alive)
        return fits(l1, bytes) || sweep_round(l1, KEEP_STRIPES, ROUND_STEPS, bytes);
    return fits(l1, bytes) || sweep_round(l1, L1_STRIPES, ROUND_STEPS, bytes) ||
           sweep_round(l1, L1_STRIPES, UINT32_MAX, bytes);
}

/* ---- few items in a stripe ---------------------------------------------------------------- */

/* Two threads may end one epoch twice: no harm. */
static void pass_time(struct l1 *l1, size_t bytes)
{
    size_t limit = atomic_load_explicit(&l1->limit, memory_order_relaxed);
    size_t asked = atomic_fetch_add_explicit(&l1->asked, bytes, memory_order_relaxed);
    if (asked + bytes <= limit / EPOCHS_IN_LIMIT)
        return;
    atomic_store_explicit(&l1->asked, 0, memory_order_relaxed);
    atomic_fetch_add_explicit(&l1->epoch, 1, memory_order_relaxed);
}

static bool is_sparse(const struct l1 *l1)
{
    unsigned start = atomic_load_explicit(&l1->cursor, memory_order_relaxed);
    uint64_t items = 0;
    for (unsigned i = 0; i < DENSITY_STRIPES; i++)
        items += l1_counted(&l1->stripes[(start + i) % L1_STRIPES].counts.items);
    return items < DENSITY_STRIPES * SPARSE_ITEMS;
}

/* How long an item was not used; of two in one epoch, one that was never hit comes first. */
static unsigned idleness(const struct l1 *l1, const struct l1_item *item)
{
    unsigned epoch = atomic_load_explicit(&l1->epoch, memory_order_relaxed);
    unsigned idle = (epoch - item->_bits / L1_EPOCH) % L1_EPOCHS;
    return 2 * idle + !(item->_bits & L1_VISITED);
}

/* Adds the items of a stripe to a sample; returns how many. */
static unsigned look(const struct l1 *l1, struct l1_stripe *stripe, unsigned *idlest)
{
    unsigned seen = 0;
    lock_take(&stripe->lock);
    for (const struct l1_item *item = stripe->oldest; item && seen < ROUND_STEPS;
         item = item->_newer) {
        unsigned idle = item->_bits & L1_HELD ? 0 : idleness(l1, item);
        *idlest = idle > *idlest ? idle : *idlest;
        seen++;
    }
    lock_drop(&stripe->lock);
    return seen;
}

/* Drops what is as idle as that while there is no room; returns how many. */
static unsigned drop_idle(struct l1 *l1, struct l1_stripe *stripe, unsigned idlest, size_t bytes)
{
    unsigned dropped = 0;
    lock_take(&stripe->lock);
    struct l1_item *item = stripe->oldest;
    for (unsigned seen = 0; item && seen < ROUND_STEPS && !fits(l1, bytes); seen++) {
        struct l1_item *newer = item->_newer;
        if (!(item->_bits & L1_HELD) && idleness(l1, item) >= idlest) {
            evict(l1, stripe, item);
            dropped++;
        }
        item = newer;
    }
    lock_drop(&stripe->lock);
    return dropped;
}

/* False when there was nothing to drop. */
static bool drop_of_sample(struct l1 *l1, size_t bytes)
{
    unsigned start = atomic_load_explicit(&l1->cursor, memory_order_relaxed);
    unsigned stripes = 0, seen = 0, idlest = 0, dropped = 0;
    for (; stripes < L1_STRIPES && seen < SAMPLE_ITEMS; stripes++)
        seen += look(l1, &l1->stripes[(start + stripes) % L1_STRIPES], &idlest);
    atomic_store_explicit(&l1->cursor, (start + stripes) % L1_STRIPES, memory_order_relaxed);
    for (unsigned i = 0; i < stripes; i++)
        dropped += drop_idle(l1, &l1->stripes[(start + i) % L1_STRIPES], idlest, bytes);
    return dropped > 0;
}

/* Ends: each turn but the last drops an item. */
static void drop_idlest(struct l1 *l1, size_t bytes)
{
    while (!fits(l1, bytes) && is_sparse(l1) && drop_of_sample(l1, bytes)) {
    }
}

/* ---- room --------------------------------------------------------------------------------- */

static size_t spare_bytes(const struct l1 *l1)
{
    size_t part = atomic_load_explicit(&l1->limit, memory_order_relaxed) / 16;
    return part < SPARE_BYTES ? part : SPARE_BYTES;
}

int l1_room(struct l1 *l1, size_t bytes)
{
    MUST_OBJ(l1, L1_MAGIC);
    size_t limit = atomic_load_explicit(&l1->limit, memory_order_relaxed);
    size_t extra = ITEM_OVERHEAD_BYTES + spare_bytes(l1);
    /* What can never fit must not empty the memory first. */
    if (bytes > limit || extra > limit - bytes)
        return CE_NOMEM;
    pass_time(l1, bytes);
    if (!l1->alive)
        drop_idlest(l1, bytes + extra);
    return make_room(l1, bytes + extra) ? 0 : CE_NOMEM;
}

/* In steps: who puts an item meanwhile evicts down to the limit himself, and should not have to do
 * all of it. What is dirty goes later, through l1_room. */
void l1_limit_set(struct l1 *l1, size_t bytes_max)
{
    MUST_OBJ(l1, L1_MAGIC);
    bool going = true;
    while (going) {
        size_t used = atomic_load_explicit(&l1->used, memory_order_relaxed);
        bool is_last = used <= bytes_max || used - bytes_max <= LIMIT_STEP_BYTES;
        size_t limit = is_last ? bytes_max : used - LIMIT_STEP_BYTES;
        atomic_store_explicit(&l1->limit, limit, memory_order_relaxed);
        going = make_room(l1, 0) && !is_last;
    }
    atomic_store_explicit(&l1->limit, bytes_max, memory_order_relaxed);
}

void l1_keep(struct l1 *l1, bool (*alive)(void *ctx, const struct l1_item *item), void *ctx)
{
    MUST_OBJ(l1, L1_MAGIC);
    l1->alive = alive;
    l1->alive_ctx = ctx;
}

size_t l1_used(const struct l1 *l1)
{
    return atomic_load_explicit(&l1->used, memory_order_relaxed);
}

size_t l1_limit(const struct l1 *l1)
{
    return atomic_load_explicit(&l1->limit, memory_order_relaxed);
}

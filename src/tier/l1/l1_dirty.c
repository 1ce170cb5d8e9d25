/* l1_dirty: which carts L2 does not have yet. A dirty cart has one entry, its hash, in its stripe's
 * list; the L2 writer takes carts off it and holds them pinned until they are on disk.
 * A cart that changes meanwhile is dirty and pinned at once, and is taken again only after its
 * unpin, so a cart is in flight once at most. */
#include "tier/l1/l1_int.h"

#define DIRTY_CAP_MIN 8

int l1_dirty_reserve_locked(struct l1 *l1, uint64_t hash)
{
    struct l1_stripe *stripe = l1_stripe_locked(l1, hash);
    if (stripe->dirty_count + stripe->pinned + 1 < stripe->dirty_cap)
        return 0;
    uint32_t cap = stripe->dirty_cap ? stripe->dirty_cap * 2 : DIRTY_CAP_MIN;
    uint64_t *grown = l1_take_mem(l1, cap * sizeof(*grown));
    if (!grown)
        return CE_NOMEM;
    if (stripe->dirty_count > 0)
        memcpy(grown, stripe->dirty, stripe->dirty_count * sizeof(*grown));
    l1_give_mem(l1, stripe->dirty);
    stripe->dirty = grown;
    stripe->dirty_cap = cap;
    return 0;
}

/* The item is held, and counted. */
static void add_dirty(struct l1_stripe *stripe, uint64_t hash, struct l1_item *item)
{
    MUST(stripe->dirty_count + stripe->pinned < stripe->dirty_cap);
    stripe->dirty[stripe->dirty_count++] = hash;
    item->_bits |= L1_DIRTY;
}

void l1_dirty_locked(struct l1 *l1, uint64_t hash, struct l1_item *item)
{
    struct l1_stripe *stripe = l1_stripe_locked(l1, hash);
    MUST(item->kind == L1_CART);
    if (item->_bits & L1_DIRTY)
        return;
    if (!(item->_bits & L1_PINNED))
        atomic_fetch_add_explicit(&l1->held, 1, memory_order_relaxed);
    add_dirty(stripe, hash, item);
}

bool l1_is_clean(const struct l1_item *item)
{
    return !(item->_bits & L1_HELD);
}

static int dirty_stripe(struct l1 *l1, struct l1_stripe *stripe)
{
    for (uint32_t i = 0; i <= stripe->buckets_mask; i++) {
        for (struct l1_item *item = *l1_bucket_at(stripe, i); item; item = item->_next) {
            uint64_t hash = hash_64(l1_key(item));
            if (item->kind != L1_CART)
                continue;
            item->marks &= (uint8_t)~L1_MARK_BEHIND;
            if (l1_dirty_reserve_locked(l1, hash))
                return CE_NOMEM;
            l1_dirty_locked(l1, hash, item);
        }
    }
    return 0;
}

int l1_dirty_all(struct l1 *l1)
{
    int rc = 0;
    MUST_OBJ(l1, L1_MAGIC);
    for (unsigned i = 0; i < L1_STRIPES && rc == 0; i++) {
        lock_take(&l1->stripes[i].lock);
        rc = dirty_stripe(l1, &l1->stripes[i]);
        lock_drop(&l1->stripes[i].lock);
    }
    return rc;
}

uint64_t l1_dirty_count(const struct l1 *l1)
{
    return l1_counted(&l1->held);
}

uint64_t l1_dirty_bytes(const struct l1 *l1)
{
    uint64_t carts = 0, bytes = 0;
    for (unsigned i = 0; i < L1_STRIPES; i++) {
        carts += l1_counted(&l1->stripes[i].counts.carts);
        bytes += l1_counted(&l1->stripes[i].counts.cart_bytes);
    }
    return carts ? l1_dirty_count(l1) * (bytes / carts) : 0;
}

/* ---- the L2 writer ------------------------------------------------------------------------ */

/* A dirty cart of this hash that is not in flight, or NULL. Keys that share a hash have an entry
 * each; which entry stands for which key does not matter. */
static struct l1_item *find_dirty(const struct l1_stripe *stripe, uint64_t hash)
{
    struct l1_item *item = *l1_bucket_of(stripe, hash);
    while (item && ((item->_bits & L1_HELD) != L1_DIRTY || hash_64(l1_key(item)) != hash))
        item = item->_next;
    return item;
}

static void pin(struct l1_stripe *stripe, struct l1_item *item)
{
    item->_bits = (uint8_t)((item->_bits & ~L1_DIRTY) | L1_PINNED);
    stripe->pinned++;
}

/* Of `count` carts that are looked at next, as many as can be foreseen at once. */
static void foresee(struct l1 *l1, const uint64_t *hashes, uint32_t count)
{
    l1_foresee(l1, hashes, count < L1_FORESEEN_MAX ? count : L1_FORESEEN_MAX);
}

uint32_t l1_dirty_look(struct l1 *l1, unsigned stripe_index, uint32_t from, uint32_t max,
                       void (*each)(void *arg, uint64_t hash, struct slice key), void *arg)
{
    MUST_OBJ(l1, L1_MAGIC);
    MUST(stripe_index < L1_STRIPES);
    struct l1_stripe *stripe = &l1->stripes[stripe_index];
    uint32_t looked = 0;
    lock_take_first(&stripe->lock);
    for (; looked < max && from + looked < stripe->dirty_count; looked++) {
        const uint64_t *next = &stripe->dirty[from + looked];
        if (looked % L1_FORESEEN_MAX == 0)
            foresee(l1, next, stripe->dirty_count - from - looked);
        uint64_t hash = *next;
        const struct l1_item *item = find_dirty(stripe, hash);
        if (item)
            each(arg, hash, l1_key(item));
    }
    lock_drop(&stripe->lock);
    return looked;
}

static void leave_list(struct l1_stripe *stripe, uint64_t hash)
{
    uint32_t at = 0;
    while (stripe->dirty[at] != hash)
        MUST(++at < stripe->dirty_count);
    stripe->dirty_count--;
    memmove(stripe->dirty + at, stripe->dirty + at + 1,
            (stripe->dirty_count - at) * sizeof(*stripe->dirty));
}

int l1_dirty_take(struct l1 *l1, uint64_t hash,
                  int (*each)(void *arg, uint64_t hash, struct l1_item *item), void *arg)
{
    MUST_OBJ(l1, L1_MAGIC);
    struct l1_stripe *stripe = l1_stripe_of(l1, hash);
    lock_take_first(&stripe->lock);
    struct l1_item *item = find_dirty(stripe, hash);
    int rc = item ? each(arg, hash, item) : CE_NOTFOUND;
    if (rc == 0) {
        leave_list(stripe, hash);
        pin(stripe, item);
    }
    lock_drop(&stripe->lock);
    return rc;
}

static void drop_pin(struct l1_stripe *stripe, struct l1_item *item)
{
    MUST(item->_bits & L1_PINNED && stripe->pinned > 0);
    item->_bits &= (uint8_t)~L1_PINNED;
    stripe->pinned--;
}

void l1_release(struct l1 *l1, struct l1_stripe *stripe, struct l1_item *item)
{
    drop_pin(stripe, item);
    atomic_fetch_sub_explicit(&l1->held, 1, memory_order_relaxed);
    if (!l1_is_queued(item))
        l1_queue_add(stripe, item);
}

static void unpin(struct l1 *l1, struct l1_stripe *stripe, uint64_t hash, struct l1_item *item,
                  bool ok)
{
    bool dirty_again = (item->_bits & L1_DIRTY) != 0;
    if (!ok)
        item->marks &= (uint8_t)~L1_MARK_BEHIND;
    if (ok && !dirty_again) {
        l1_release(l1, stripe, item);
        return;
    }
    drop_pin(stripe, item);
    if (!dirty_again)
        add_dirty(stripe, hash, item);
}

/* A stripe whose carts are all clean keeps no list: after a burst that would be memory for each. */
static void drop_empty_list(struct l1 *l1, struct l1_stripe *stripe)
{
    if (stripe->dirty_count > 0 || stripe->pinned > 0)
        return;
    l1_give_mem(l1, stripe->dirty);
    stripe->dirty = NULL;
    stripe->dirty_cap = 0;
}

void l1_unpin(struct l1 *l1, uint64_t hash, struct slice key, bool ok)
{
    l1_lock(l1, hash);
    struct l1_stripe *stripe = l1_stripe_of(l1, hash);
    struct l1_item *item = *l1_slot(stripe, hash, key);
    bool pinned = item && (item->_bits & L1_PINNED);
    MUST(pinned || ok); /* a state that is neither in memory nor in L2 is lost */
    if (pinned)
        unpin(l1, stripe, hash, item, ok);
    drop_empty_list(l1, stripe);
    l1_unlock(l1, hash);
}

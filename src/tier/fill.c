/* fill: read-through. A miss in L1 is asked of L2, then L3, on a small pool of threads; all who ask
 * for one cart at the same time share one query.
 *
 * A cart that only L3 had is journaled as a whole and made dirty when it enters L1: the records of
 * its later changes are small steps, and a replay needs what they build on. "No tier has it" enters
 * L1 as an absent item, so the request that waited finds an answer there, and a flood of unknown
 * keys is not a flood of queries. */
#include "tier/tier_int.h"

#include <stdlib.h>

#define uthash_fatal(text) must_fail(__FILE__, __LINE__, __func__, text)
#include <uthash.h>

struct fill {
    struct fill *next; /* queue */
    struct tier_wait *waits;
    UT_hash_handle hh;
    size_t key_bytes;
    uint8_t key[L1_KEY_MAX];
};

/* ---- asking ---- */

static struct fill *join_or_queue(struct fills *fills, struct slice key)
{
    struct fill *fill = NULL;
    HASH_FIND(hh, fills->table, key.bytes, key.len, fill);
    if (fill) {
        atomic_fetch_add(&fills->joined, 1);
        return fill;
    }
    fill = calloc(1, sizeof *fill);
    if (!fill)
        return NULL;
    memcpy(fill->key, key.bytes, key.len);
    fill->key_bytes = key.len;
    HASH_ADD_KEYPTR(hh, fills->table, fill->key, fill->key_bytes, fill);
    *fills->queue_tail = fill;
    fills->queue_tail = &fill->next;
    cond_wake(&fills->cond);
    return fill;
}

int tier_fill(struct tier *tier, struct slice key, struct tier_wait *wait)
{
    struct fills *fills = &tier->fills;
    int rc = atomic_load(&tier->refused);
    if (rc)
        return rc;
    MUST(key.len >= 1 && key.len <= L1_KEY_MAX);
    atomic_fetch_add(&fills->asked, 1);
    lock_take(&fills->lock);
    struct fill *fill = NULL;
    if (fills->stopping)
        rc = CE_STOPPED;
    else if (fills->waiting >= TIER_FILL_WAITERS_MAX)
        rc = CE_BUSY;
    else if (!(fill = join_or_queue(fills, key)))
        rc = CE_NOMEM;
    if (fill) {
        wait->_next = fill->waits;
        fill->waits = wait;
        fills->waiting++;
    }
    lock_drop(&fills->lock);
    return rc;
}

/* ---- reading ---- */

static int read_l3(struct tier *tier, struct l3 **l3, struct slice key, struct buf *storage,
                   struct l2_cart *cart)
{
    char message[256];
    int rc = *l3 ? 0 : l3_open(tier->l3_url, l3, message, sizeof message);
    if (rc) {
        log_error("tier", "database: %s", message);
        return CE_DB;
    }
    storage->len = 0;
    atomic_fetch_add(&tier->fills.l3_loads, 1);
    uint32_t rev = 0;
    rc = l3_load(*l3, key, storage, &rev);
    if (rc == 0)
        rc = tier->config.value->check(buf_slice(storage));
    if (rc && rc != CE_NOTFOUND) {
        log_error("tier", "reading a cart from the database: %s",
                  rc == CE_CORRUPT ? "its image is corrupt" : l3_message(*l3));
        l3_close(l3); /* a fresh connection next time */
    }
    *cart = (struct l2_cart){.l3_rev = rev, .state = buf_slice(storage)};
    return rc;
}

/* What L3 has joined with what was salvaged from a damaged L2: either may be the older. */
static int read_joined(struct tier *tier, struct l3 **l3, struct slice key, struct buf *storage,
                       struct l2_cart *cart)
{
    struct l2_cart salvaged;
    struct buf apart = {0}, joined = {0};
    int found = l2_salvaged_get(tier->l2, key, &apart, &salvaged);
    if (found == 0)
        found = tier->config.value->check(salvaged.state);
    int rc = found == CE_NOTFOUND || found == 0 ? CE_NOTFOUND : found;
    if (tier->l3_url && rc == CE_NOTFOUND)
        rc = read_l3(tier, l3, key, storage, cart);
    if (rc == CE_NOTFOUND && found == 0) {
        *cart = (struct l2_cart){.l3_rev = 0};
        rc = buf_append(&joined, salvaged.state.bytes, salvaged.state.len);
    } else if (rc == 0 && found == 0) {
        rc = tier->config.value->merge(cart->state, salvaged.state, &joined);
    }
    if (rc == 0 && found == 0) {
        buf_free(storage);
        *storage = joined;
        cart->state = buf_slice(storage);
    } else {
        buf_free(&joined);
    }
    buf_free(&apart);
    return rc;
}

int fill_read(struct tier *tier, struct l3 **l3, struct slice key, struct buf *storage,
              struct l2_cart *cart, bool *from_l3)
{
    *from_l3 = false;
    int rc = l2_get(tier->l2, key, storage, cart);
    if (rc == 0)
        rc = tier->config.value->check(cart->state);
    if (rc == 0) {
        atomic_fetch_add(&tier->fills.l2_loads, 1);
        return 0;
    }
    if (rc != CE_NOTFOUND) /* what L3 has may be older */
        return rc;
    *from_l3 = true;
    if (l2_has_salvaged(tier->l2))
        return read_joined(tier, l3, key, storage, cart);
    if (atomic_load(&tier->l2_complete) || !tier->l3_url)
        return CE_NOTFOUND;
    return read_l3(tier, l3, key, storage, cart);
}

/* ---- entering L1 ---- */

static int put_absent(struct tier *tier, uint64_t hash, struct slice key)
{
    struct l1_item *item;
    return l1_put_locked(tier->l1, hash, key, L1_ABSENT, 0, &item);
}

static int put_from_l2(struct tier *tier, uint64_t hash, struct slice key,
                       const struct l2_cart *cart)
{
    struct l1_item *item;
    if (l1_put_locked(tier->l1, hash, key, L1_CART, cart->state.len, &item))
        return CE_NOMEM;
    memcpy(l1_value(item), cart->state.bytes, cart->state.len);
    /* An actor of an earlier process is never used again. */
    item->cart.actor = cart->boot == tier->boot ? cart->actor : 0;
    item->cart.l3_rev = cart->l3_rev;
    if (cart->lsn <= journal_end(tier->journal)) { /* else the journal was lost and began anew */
        item->cart.lsn = cart->lsn;
        item->cart.record_bytes = cart->record_bytes;
    }
    return 0;
}

static int put_from_l3(struct tier *tier, uint64_t hash, struct slice key,
                       const struct l2_cart *cart)
{
    struct l1_item *item;
    int rc = tier_put_state_locked(tier, hash, key, 0, cart->state);
    if (rc == 0 && tier_find_locked(tier, hash, key, &item) == TIER_HERE)
        item->cart.l3_rev = cart->l3_rev;
    return rc;
}

/* ---- asking and waiting, for background threads ---- */

struct blocking_wait {
    struct tier_wait wait;
    struct lock lock;
    struct cond cond;
    bool done;
    int rc;
};

static void wake_blocked(struct tier_wait *wait, int rc)
{
    struct blocking_wait *blocked = (struct blocking_wait *)wait;
    lock_take(&blocked->lock);
    blocked->done = true;
    blocked->rc = rc;
    cond_wake(&blocked->cond);
    lock_drop(&blocked->lock);
}

static void blocked_init(struct blocking_wait *blocked)
{
    *blocked = (struct blocking_wait){.wait = {.done = wake_blocked}};
    lock_init(&blocked->lock, LOCK_MAILBOX);
    cond_init(&blocked->cond);
}

static int blocked_end(struct blocking_wait *blocked)
{
    lock_take(&blocked->lock);
    while (!blocked->done)
        cond_wait(&blocked->cond, &blocked->lock, 0);
    lock_drop(&blocked->lock);
    cond_fini(&blocked->cond);
    lock_fini(&blocked->lock);
    return blocked->rc;
}

static bool is_in_l1(struct tier *tier, struct slice key)
{
    struct l1_item *item;
    uint64_t hash = hash_64(key);
    l1_lock(tier->l1, hash);
    bool known = tier_find_locked(tier, hash, key, &item) != TIER_ASK;
    l1_unlock(tier->l1, hash);
    return known;
}

int fill_now(struct tier *tier, struct slice key)
{
    if (is_in_l1(tier, key))
        return 0;
    struct blocking_wait blocked;
    blocked_init(&blocked);
    int rc = tier_fill(tier, key, &blocked.wait);
    if (rc)
        wake_blocked(&blocked.wait, rc); /* nobody else will */
    return blocked_end(&blocked);
}

/* Until the L2 writer has written something, or has failed. A sweep begins with mending L2. */
int fill_wait_sweep(struct tier *tier)
{
    struct blocking_wait blocked;
    blocked_init(&blocked);
    tier_wait_room(tier, &blocked.wait);
    return blocked_end(&blocked);
}

/* Memory is full of carts that L2 does not have yet: their turn first. */
int fill_wait_room(struct tier *tier, size_t bytes)
{
    int rc = 0;
    while (rc == 0 && l1_room(tier->l1, bytes))
        rc = fill_wait_sweep(tier);
    return rc;
}

/* ---- one read-through ---- */

static int load(struct tier *tier, struct l3 **l3, struct slice key, struct buf *storage)
{
    struct l2_cart cart;
    struct l1_item *item;
    bool from_l3;
    uint64_t hash = hash_64(key);
    int late = catchup_await(tier, hash);
    if (late)
        return late;
    int found = fill_read(tier, l3, key, storage, &cart, &from_l3);
    while (found == CE_CORRUPT && l2_is_damaged(tier->l2) && fill_wait_sweep(tier) == 0)
        found = fill_read(tier, l3, key, storage, &cart, &from_l3);
    if (found != 0 && found != CE_NOTFOUND)
        return found;
    int rc = fill_wait_room(tier, key.len + (found == 0 ? cart.state.len : 0));
    if (rc)
        return rc;
    l1_lock(tier->l1, hash);
    /* Nobody changes a cart that is not in L1, so what L1 has by now can only be this or newer. */
    if (tier_find_locked(tier, hash, key, &item) == TIER_ASK) {
        if (found == CE_NOTFOUND)
            rc = put_absent(tier, hash, key);
        else
            rc =
                from_l3 ? put_from_l3(tier, hash, key, &cart) : put_from_l2(tier, hash, key, &cart);
    }
    l1_unlock(tier->l1, hash);
    return rc;
}

/* ---- the pool ---- */

static struct fill *next_fill(struct fills *fills)
{
    lock_take(&fills->lock);
    while (!fills->queue && !fills->stopping)
        cond_wait(&fills->cond, &fills->lock, 0);
    struct fill *fill = fills->queue;
    if (fill) {
        fills->queue = fill->next;
        if (!fills->queue)
            fills->queue_tail = &fills->queue;
    }
    lock_drop(&fills->lock);
    return fill;
}

/* Answers everybody who waits for it; frees it. */
static void finish(struct fills *fills, struct fill *fill, int rc)
{
    unsigned count = 0;
    lock_take(&fills->lock);
    HASH_DEL(fills->table, fill);
    for (struct tier_wait *wait = fill->waits; wait; wait = wait->_next)
        count++;
    fills->waiting -= count;
    lock_drop(&fills->lock);
    if (rc)
        atomic_fetch_add(&fills->errors, 1);
    for (struct tier_wait *wait = fill->waits, *next; wait; wait = next) {
        next = wait->_next; /* done() may free or reuse the wait */
        wait->done(wait, rc);
    }
    free(fill);
}

static void *run_fill(void *arg)
{
    struct tier *tier = arg;
    struct fills *fills = &tier->fills;
    struct buf storage = {0};
    struct l3 *l3 = NULL;
    struct fill *fill;
    while ((fill = next_fill(fills))) {
        /* `stopping` is only looked at for what has not begun. */
        lock_take(&fills->lock);
        bool stopping = fills->stopping;
        lock_drop(&fills->lock);
        struct slice key = slice_of(fill->key, fill->key_bytes);
        int rc = stopping ? CE_STOPPED : 0;
        /* It may have come since the miss that asked for it. */
        if (rc == 0 && !is_in_l1(tier, key))
            rc = load(tier, &l3, key, &storage);
        finish(fills, fill, rc);
    }
    if (l3)
        l3_close(&l3);
    buf_free(&storage);
    return NULL;
}

int fill_start(struct tier *tier)
{
    for (unsigned i = 0; i < TIER_FILL_THREADS; i++) {
        char name[] = "fill-0";
        name[5] = (char)('0' + i);
        if (thread_start(&tier->fills.threads[i], name, run_fill, tier))
            return CE_NOMEM;
        tier->fills.threads_count++;
    }
    return 0;
}

void fill_stop(struct tier *tier)
{
    struct fills *fills = &tier->fills;
    lock_take(&fills->lock);
    fills->stopping = true;
    cond_wake_all(&fills->cond);
    lock_drop(&fills->lock);
    for (unsigned i = 0; i < fills->threads_count; i++)
        pthread_join(fills->threads[i], NULL);
    fills->threads_count = 0;
}

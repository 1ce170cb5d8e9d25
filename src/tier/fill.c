/* fill: read-through. A miss in L1 is asked of L2, then L3, on small pools of threads, one for
 * each; all who ask for one cart at the same time share one query.
 *
 * Queries to L3 are limited: so many a second, and as many at once as it has threads. Who is beyond
 * that waits for his turn in the order in which he came, at most l3_wait_ms, and is then refused
 * (CE_BUSY). What L2 has does not wait with them.
 *
 * A cart that only L3 had is journaled as a whole and made dirty when it enters L1: the records of
 * its later changes are small steps, and a replay needs what they build on. "No tier has it" enters
 * L1 as an absent item, so the request that waited finds an answer there. While L2 may lack what L3
 * has, such an item holds for FILL_ABSENT_MS: somebody else may have made the cart since. */
#include "tier/tier_int.h"

#include <stdio.h>
#include <stdlib.h>

/* Out of memory is answered, not fatal. */
#define HASH_NONFATAL_OOM          1
#define uthash_nonfatal_oom(entry) ((entry)->key_bytes = 0)
#include <uthash.h>

struct fill {
    struct fill *next;    /* queue */
    uint64_t l3_until_ms; /* it waits for its turn with L3 until then; 0 = L2 comes first */
    struct tier_wait *waits;
    UT_hash_handle hh;
    size_t key_bytes;
    uint8_t key[L1_KEY_MAX];
};

/* ---- asking ---- */

static void queue_push(struct fill_queue *queue, struct fill *fill)
{
    fill->next = NULL;
    *queue->tail = fill;
    queue->tail = &fill->next;
}

static struct fill *queue_pop(struct fill_queue *queue)
{
    struct fill *fill = queue->head;
    if (fill) {
        queue->head = fill->next;
        if (!queue->head)
            queue->tail = &queue->head;
    }
    return fill;
}

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
    HASH_ADD_KEYPTR(hh, fills->table, fill->key, key.len, fill);
    if (fill->key_bytes == 0) {
        free(fill);
        return NULL;
    }
    queue_push(&fills->l2_queue, fill);
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

/* ---- entering L1 ---- */

static int put_absent(struct tier *tier, uint64_t hash, struct slice key)
{
    struct l1_item *item;
    int rc = l1_put_locked(tier->l1, hash, key, L1_ABSENT, 0, &item);
    if (rc == 0)
        item->cart.lsn = env_mono_ms(tier->config.env); /* since when, see tier_find_locked */
    return rc;
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

/* What was found, or that nothing was, enters L1. What comes from an L2 that has been begun anew
 * since is not in L2 any more. `mends`: from before it was read. */
static int enter(struct tier *tier, struct slice key, int found, const struct l2_cart *cart,
                 bool from_l3, unsigned mends)
{
    struct l1_item *item;
    uint64_t hash = hash_64(key);
    if (found != 0 && found != CE_NOTFOUND)
        return found;
    int rc = fill_wait_room(tier, key.len + (found == 0 ? cart->state.len : 0));
    if (rc)
        return rc;
    l1_lock(tier->l1, hash);
    /* Nobody changes a cart that is not in L1, so what L1 has by now can only be this or newer. */
    if (tier_find_locked(tier, hash, key, &item) == TIER_ASK) {
        if (found == CE_NOTFOUND)
            rc = put_absent(tier, hash, key);
        else
            rc = from_l3 || drain_has_mended(tier, mends) ? put_from_l3(tier, hash, key, cart)
                                                          : put_from_l2(tier, hash, key, cart);
    }
    l1_unlock(tier->l1, hash);
    return rc;
}

/* *ask_l3: L2 does not have it, and L3 may. */
static int load_from_l2(struct tier *tier, struct slice key, struct buf *storage, bool *ask_l3)
{
    struct l2_cart cart;
    int late = catchup_await(tier, hash_64(key));
    if (late)
        return late;
    unsigned mends = drain_mends(tier);
    int found = fill_read_l2(tier, key, storage, &cart);
    while (found == CE_CORRUPT && l2_is_damaged(tier->l2) && fill_wait_sweep(tier) == 0)
        found = fill_read_l2(tier, key, storage, &cart);
    *ask_l3 = found == CE_NOTFOUND && fill_may_be_beyond_l2(tier);
    return *ask_l3 ? 0 : enter(tier, key, found, &cart, false, mends);
}

/* L2 once more first: it may have been begun anew while this waited for its turn. */
static int load_from_l3(struct tier *tier, struct l3 **l3, struct slice key, struct buf *storage)
{
    struct l2_cart cart;
    bool from_l3;
    int late = catchup_await(tier, hash_64(key));
    if (late)
        return late;
    unsigned mends = drain_mends(tier);
    int found = fill_read(tier, l3, key, storage, &cart, &from_l3);
    return enter(tier, key, found, &cart, from_l3, mends);
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

/* ---- the turn with L3 ---- */

/* False: the pool ends. */
static bool wait_for_l3(struct tier *tier, struct fill *fill)
{
    struct fills *fills = &tier->fills;
    fill->l3_until_ms = env_mono_ms(tier->config.env) + tier->config.l3_wait_ms;
    lock_take(&fills->lock);
    bool goes_on = !fills->stopping;
    if (goes_on) {
        queue_push(&fills->l3_queue, fill);
        cond_wake(&fills->l3_cond);
        cond_wake(&fills->cond); /* who waits there must know until when */
    }
    lock_drop(&fills->lock);
    return goes_on;
}

/* Whose time is over. All wait equally long, so it is the first. */
static struct fill *take_overdue_locked(struct tier *tier, uint64_t now_ms)
{
    struct fills *fills = &tier->fills;
    if (!fills->l3_queue.head || fills->l3_queue.head->l3_until_ms >= now_ms)
        return NULL;
    fills->refused++;
    return queue_pop(&fills->l3_queue);
}

/* Takes one query out of the budget; else how many ms until there is one. */
static unsigned spend_locked(struct tier *tier, uint64_t now_ms)
{
    struct fill_budget *budget = &tier->fills.budget;
    uint64_t rate = tier->config.l3_reads_max; /* thousandths of a query for each ms */
    uint64_t most = rate * FILL_BURST_MS > FILL_QUERY ? rate * FILL_BURST_MS : FILL_QUERY;
    uint64_t passed_ms = now_ms - budget->at_ms;
    if (rate == 0)
        return 0;
    if (passed_ms > FILL_QUERY) /* a long time: all of it */
        passed_ms = FILL_QUERY;
    budget->at_ms = now_ms;
    budget->credit += passed_ms * rate;
    if (budget->credit > most)
        budget->credit = most;
    if (budget->credit < FILL_QUERY)
        return (unsigned)((FILL_QUERY - budget->credit + rate - 1) / rate);
    budget->credit -= FILL_QUERY;
    return 0;
}

/* The next whose turn it is; *rc: what it is answered without a query. NULL: the pool ends. */
static struct fill *next_for_l3(struct tier *tier, int *rc)
{
    struct fills *fills = &tier->fills;
    struct fill *fill = NULL;
    *rc = 0;
    lock_take(&fills->lock);
    while (!fill && (fills->l3_queue.head || !fills->stopping)) {
        uint64_t now_ms = env_mono_ms(tier->config.env);
        unsigned wait_ms = 0;
        if (fills->stopping)
            *rc = CE_STOPPED;
        else if ((fill = take_overdue_locked(tier, now_ms)))
            *rc = CE_BUSY;
        else if (fills->l3_queue.head)
            wait_ms = spend_locked(tier, now_ms);
        if (!fill && fills->l3_queue.head && wait_ms == 0)
            fill = queue_pop(&fills->l3_queue);
        else if (!fill)
            cond_wait(&fills->l3_cond, &fills->lock, wait_ms);
    }
    lock_drop(&fills->lock);
    return fill;
}

static void *run_l3_fill(void *arg)
{
    struct tier *tier = arg;
    struct buf storage = {0};
    struct l3 *l3 = NULL;
    struct fill *fill;
    int rc;
    while ((fill = next_for_l3(tier, &rc))) {
        if (rc == 0)
            rc = load_from_l3(tier, &l3, slice_of(fill->key, fill->key_bytes), &storage);
        finish(&tier->fills, fill, rc);
    }
    if (l3)
        l3_close(&l3);
    buf_free(&storage);
    return NULL;
}

/* ---- the pool of L2 ---- */

/* Also answers those whose time is over while all who ask L3 are held up there. */
static struct fill *next_for_l2(struct tier *tier, int *rc)
{
    struct fills *fills = &tier->fills;
    struct fill *fill = NULL;
    *rc = 0;
    lock_take(&fills->lock);
    while (!fill && (fills->l2_queue.head || !fills->stopping)) {
        uint64_t now_ms = env_mono_ms(tier->config.env);
        const struct fill *first = fills->l3_queue.head;
        if ((fill = queue_pop(&fills->l2_queue)))
            *rc = fills->stopping ? CE_STOPPED : 0;
        else if ((fill = take_overdue_locked(tier, now_ms)))
            *rc = CE_BUSY;
        else
            cond_wait(&fills->cond, &fills->lock,
                      first ? (unsigned)(first->l3_until_ms + 1 - now_ms) : 0);
    }
    lock_drop(&fills->lock);
    return fill;
}

static void *run_l2_fill(void *arg)
{
    struct tier *tier = arg;
    struct buf storage = {0};
    struct fill *fill;
    int rc;
    while ((fill = next_for_l2(tier, &rc))) {
        struct slice key = slice_of(fill->key, fill->key_bytes);
        bool ask_l3 = false;
        /* It may have come since the miss that asked for it. */
        if (rc == 0 && !is_in_l1(tier, key))
            rc = load_from_l2(tier, key, &storage, &ask_l3);
        if (!ask_l3)
            finish(&tier->fills, fill, rc);
        else if (!wait_for_l3(tier, fill))
            finish(&tier->fills, fill, CE_STOPPED);
    }
    buf_free(&storage);
    return NULL;
}

/* ---- life ---- */

void fill_init(struct tier *tier)
{
    struct fills *fills = &tier->fills;
    lock_init(&fills->lock, LOCK_FILL);
    cond_init(&fills->cond);
    cond_init(&fills->l3_cond);
    fills->l2_queue.tail = &fills->l2_queue.head;
    fills->l3_queue.tail = &fills->l3_queue.head;
}

void fill_fini(struct tier *tier)
{
    lock_fini(&tier->fills.lock);
    cond_fini(&tier->fills.cond);
    cond_fini(&tier->fills.l3_cond);
}

static int start_pool(struct tier *tier, struct fill_pool *pool, const char *name,
                      void *(*run)(void *arg))
{
    for (unsigned i = pool->count; i < TIER_FILL_THREADS; i++) {
        char numbered[16];
        snprintf(numbered, sizeof numbered, "%s-%u", name, i);
        if (thread_start(&pool->threads[i], numbered, run, tier))
            return CE_NOMEM;
        pool->count++;
    }
    return 0;
}

static void join_pool(struct fill_pool *pool)
{
    for (unsigned i = 0; i < pool->count; i++)
        pthread_join(pool->threads[i], NULL);
    pool->count = 0;
}

int fill_start(struct tier *tier)
{
    int rc = start_pool(tier, &tier->fills.l2_pool, "fill", run_l2_fill);
    return rc ? rc : start_pool(tier, &tier->fills.l3_pool, "fill-l3", run_l3_fill);
}

void fill_stop(struct tier *tier)
{
    struct fills *fills = &tier->fills;
    lock_take(&fills->lock);
    fills->stopping = true;
    cond_wake_all(&fills->cond);
    cond_wake_all(&fills->l3_cond);
    lock_drop(&fills->lock);
    join_pool(&fills->l2_pool);
    join_pool(&fills->l3_pool);
}

/* waits: who waits until L3 has a version of a cart.
 *
 * A wait is entered in the list first; then L3 is asked, once, on a thread of its own. What
 * write-behind commits from then on it tells (sql_waits_flushed), so nothing is missed in between,
 * and the number of queries is that of the waits. */
#include "tier/tier_int.h"

#include <utlist.h>

void sql_waits_init(struct tier *tier)
{
    lock_init(&tier->sql_waits.lock, LOCK_OPERATOR);
    cond_init(&tier->sql_waits.cond);
}

void sql_waits_fini(struct tier *tier)
{
    MUST(!tier->sql_waits.list);
    cond_fini(&tier->sql_waits.cond);
    lock_fini(&tier->sql_waits.lock);
}

/* ---- asking ---- */

static int refusal_locked(const struct tier *tier)
{
    if (tier->sql_waits.stopping)
        return CE_STOPPED;
    return atomic_load(&tier->sql_waits.count) >= TIER_SQL_WAITS_MAX ? CE_BUSY : 0;
}

int tier_sql_wait(struct tier *tier, struct tier_sql_wait *wait)
{
    struct sql_waits *of = &tier->sql_waits;
    int rc = tier->l3_url ? atomic_load(&tier->refused) : CE_NOTSAFE;
    if (rc)
        return rc;
    MUST(wait->key.len >= 1 && wait->key.len <= L1_KEY_MAX);
    wait->_hash = hash_64(wait->key);
    wait->_looked = false;
    wait->_until_ms = env_mono_ms(tier->config.env) + wait->timeout_ms;
    lock_take(&of->lock);
    rc = refusal_locked(tier);
    if (rc == 0) {
        wait->_number = ++of->numbers;
        DL_APPEND2(of->list, wait, _prev, _next);
        atomic_fetch_add(&of->count, 1);
        cond_wake(&of->cond);
    }
    lock_drop(&of->lock);
    return rc;
}

/* ---- answering ---- */

static void take_out_locked(struct sql_waits *of, struct tier_sql_wait *wait,
                            struct tier_sql_wait **out)
{
    DL_DELETE2(of->list, wait, _prev, _next);
    atomic_fetch_sub(&of->count, 1);
    wait->_next = *out;
    *out = wait;
}

static void answer(struct tier_sql_wait *list, int rc)
{
    for (struct tier_sql_wait *wait = list, *next; wait; wait = next) {
        next = wait->_next; /* done() may free the wait */
        wait->done(wait, rc);
    }
}

/* L3 has `version`. Waits up to number_max have been looked for then. */
static void settle(struct tier *tier, struct slice key, uint64_t version, uint64_t number_max)
{
    struct sql_waits *of = &tier->sql_waits;
    struct tier_sql_wait *wait, *next, *ready = NULL;
    uint64_t hash = hash_64(key);
    lock_take(&of->lock);
    DL_FOREACH_SAFE2(of->list, wait, next, _next)
    {
        if (wait->_hash != hash || !slice_eq(wait->key, key))
            continue;
        wait->_looked |= wait->_number <= number_max;
        wait->found = version;
        if (version >= wait->version)
            take_out_locked(of, wait, &ready);
    }
    lock_drop(&of->lock);
    answer(ready, 0);
}

void sql_waits_flushed(struct tier *tier, struct slice key, struct slice state)
{
    if (atomic_load(&tier->sql_waits.count))
        settle(tier, key, tier->config.value->version(state), 0);
}

/* ---- the thread ---- */

/* The key of the first whose row was not looked at; false: there is none. */
static bool next_key_locked(const struct sql_waits *of, uint8_t key[L1_KEY_MAX], size_t *key_bytes)
{
    const struct tier_sql_wait *wait;
    DL_FOREACH2(of->list, wait, _next)
    {
        if (wait->_looked)
            continue;
        memcpy(key, wait->key.bytes, wait->key.len);
        *key_bytes = wait->key.len;
        return true;
    }
    return false;
}

/* The version that L3 has; 0: no row. */
static int look(struct tier *tier, struct l3 **l3, struct slice key, struct buf *image,
                uint64_t *version)
{
    char message[256];
    uint32_t rev;
    *version = 0;
    int rc = *l3 ? 0 : l3_open(tier->l3_url, l3, message, sizeof message);
    if (rc)
        return CE_DB; /* write-behind tells the log */
    rc = l3_load(*l3, key, image, &rev);
    if (rc == CE_NOTFOUND)
        return 0;
    if (rc) {
        l3_close(l3);
        return rc;
    }
    if (tier->config.value->check(buf_slice(image)) == 0) /* else nothing is known of it */
        *version = tier->config.value->version(buf_slice(image));
    return 0;
}

/* Each is looked for once at least, however short its time. */
static void end_late_locked(struct tier *tier, bool failed, struct tier_sql_wait **late)
{
    struct sql_waits *of = &tier->sql_waits;
    struct tier_sql_wait *wait, *next;
    uint64_t now_ms = env_mono_ms(tier->config.env);
    DL_FOREACH_SAFE2(of->list, wait, next, _next)
    {
        if (wait->_until_ms <= now_ms && (wait->_looked || failed))
            take_out_locked(of, wait, late);
    }
}

/* While clients are busy a cart waits long for more of its changes, in memory and in the queue for
 * L3. Not one that somebody waits for: once a second what is in memory goes to L2, and such carts
 * to the front. */
static void hurry_locked(struct tier *tier)
{
    struct sql_waits *of = &tier->sql_waits;
    const struct tier_sql_wait *wait;
    uint64_t now_ms = env_mono_ms(tier->config.env);
    if (!of->list || now_ms - of->hurried_ms < SQL_WAITS_HURRY_MS)
        return;
    of->hurried_ms = now_ms;
    if (l1_dirty_count(tier->l1))
        drain_kick(tier);
    DL_FOREACH2(of->list, wait, _next)
    down_hurry(tier, wait->key);
}

/* Until the first of them is over, or to be hurried; 0: there is none. */
static unsigned sleep_ms_locked(const struct tier *tier)
{
    const struct tier_sql_wait *wait;
    uint64_t until_ms = UINT64_MAX, now_ms = env_mono_ms(tier->config.env);
    DL_FOREACH2(tier->sql_waits.list, wait, _next)
    {
        if (wait->_until_ms < until_ms)
            until_ms = wait->_until_ms;
    }
    if (until_ms == UINT64_MAX)
        return 0;
    if (until_ms > now_ms + SQL_WAITS_HURRY_MS)
        return SQL_WAITS_HURRY_MS;
    return until_ms > now_ms ? (unsigned)(until_ms - now_ms) : 1;
}

/* Looks at L3 for one who waits. True: there may be more to do at once. */
static bool look_for_one(struct tier *tier, struct l3 **l3, struct buf *image, bool *failed)
{
    struct sql_waits *of = &tier->sql_waits;
    uint8_t key[L1_KEY_MAX];
    size_t key_bytes;
    uint64_t version;
    lock_take(&of->lock);
    bool found = !of->stopping && next_key_locked(of, key, &key_bytes);
    uint64_t number_max = of->numbers;
    lock_drop(&of->lock);
    if (!found)
        return false;
    *failed = look(tier, l3, slice_of(key, key_bytes), image, &version) != 0;
    if (!*failed)
        settle(tier, slice_of(key, key_bytes), version, number_max);
    return !*failed;
}

static void *run_waits(void *arg)
{
    struct tier *tier = arg;
    struct sql_waits *of = &tier->sql_waits;
    struct buf image = {0};
    struct l3 *l3 = NULL;
    bool stopping = false, failed;
    thread_background();
    while (!stopping) {
        struct tier_sql_wait *late = NULL;
        failed = false;
        while (look_for_one(tier, &l3, &image, &failed))
            ;
        lock_take(&of->lock);
        end_late_locked(tier, failed, &late);
        hurry_locked(tier);
        uint8_t key[L1_KEY_MAX];
        size_t key_bytes;
        bool more = next_key_locked(of, key, &key_bytes);
        if (!late && !of->stopping && (failed || !more)) {
            unsigned ms = sleep_ms_locked(tier);
            bool soon = failed && (ms == 0 || ms > SQL_WAITS_RETRY_MS);
            cond_wait(&of->cond, &of->lock, soon ? SQL_WAITS_RETRY_MS : ms);
        }
        stopping = of->stopping;
        lock_drop(&of->lock);
        answer(late, CE_NOT_STORED);
    }
    if (l3)
        l3_close(&l3);
    buf_free(&image);
    return NULL;
}

int sql_waits_start(struct tier *tier)
{
    if (tier->sql_waits.started)
        return 0;
    int rc = thread_start(&tier->sql_waits.thread, "sql-waits", run_waits, tier);
    tier->sql_waits.started = rc == 0;
    return rc;
}

void sql_waits_quiet(struct tier *tier)
{
    struct sql_waits *of = &tier->sql_waits;
    struct tier_sql_wait *wait, *next, *all = NULL;
    lock_take(&of->lock);
    of->stopping = true;
    DL_FOREACH_SAFE2(of->list, wait, next, _next)
    take_out_locked(of, wait, &all);
    cond_wake(&of->cond);
    lock_drop(&of->lock);
    answer(all, CE_STOPPED);
}

void sql_waits_stop(struct tier *tier)
{
    sql_waits_quiet(tier);
    if (tier->sql_waits.started)
        MUST(pthread_join(tier->sql_waits.thread, NULL) == 0);
    tier->sql_waits.started = false;
}

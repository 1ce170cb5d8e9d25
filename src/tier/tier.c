/* tier: opens and ends the tiers in the right order, and the calls of the reply path. */
#include "tier/tier_int.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- open ---- */

static char *join_path(const char *dir, const char *name)
{
    size_t len = strlen(dir) + strlen(name) + 2;
    char *path = malloc(len);
    if (path)
        snprintf(path, len, "%s/%s", dir, name);
    return path;
}

static int make_journal(struct tier *tier)
{
    struct journal_config config = {.env = tier->config.env,
                                    .dir = tier->journal_dir,
                                    .history_bytes = tier->config.history_bytes,
                                    .advanced = tier->config.advanced,
                                    .ctx = tier->config.ctx};
    return journal_new(&config, &tier->journal);
}

/* A database that is down stops nothing; one that nobody can ever reach is a mistake to be told. */
static int check_l3_url(struct tier *tier, char *message, size_t message_bytes)
{
    struct l3 *l3 = NULL;
    int rc = tier->l3_url ? l3_open(tier->l3_url, &l3, message, message_bytes) : 0;
    if (l3)
        l3_close(&l3);
    if (rc && rc != CE_INVAL)
        log_warn("tier", "database: %s; serving without it, trying again", message);
    return rc == CE_INVAL ? rc : 0;
}

static int open_parts(struct tier *tier, const char **what)
{
    int rc;
    *what = "memory";
    tier->journal_dir = join_path(tier->config.data_dir, "journal");
    tier->l2_path = join_path(tier->config.data_dir, "l2");
    tier->l3_url = tier->config.l3_url ? strdup(tier->config.l3_url) : NULL;
    if (!tier->journal_dir || !tier->l2_path || (tier->config.l3_url && !tier->l3_url) ||
        (tier->l3_url && l3_mask_url(tier->l3_url, &tier->l3_name)))
        return CE_NOMEM;
    if ((rc = l1_new(tier->config.l1_bytes_max, &tier->l1)) ||
        (rc = l2_batch_new(&tier->drain.batch)))
        return rc;
    *what = "journal";
    if ((rc = make_journal(tier)))
        return rc;
    *what = "data directory";
    rc = start_open_dir(tier);
    if (rc && !start_may_pass(rc))
        return rc;
    *what = "write-behind";
    return tier->l3_url ? down_new(tier) : 0;
}

static void free_parts(struct tier *tier)
{
    down_stop(tier);
    if (tier->l2)
        l2_close(&tier->l2);
    if (tier->l1)
        l1_free(&tier->l1);
    if (tier->drain.batch)
        l2_batch_free(&tier->drain.batch);
    buf_free(&tier->drain.gather);
    buf_free(&tier->drain.leaves);
    buf_free(&tier->drain.leaving);
    events_fini(tier);
    reap_fini(tier);
    reap_l3_fini(tier);
    absent_fini(tier);
    inbox_fini(tier);
    orders_fini(tier);
    sql_waits_fini(tier);
    jobs_fini(tier);
    trim_fini(tier);
    lock_fini(&tier->room_lock);
    lock_fini(&tier->drain.lock);
    cond_fini(&tier->drain.cond);
    fill_fini(tier);
    history_fini(tier);
    start_fini(tier);
    catchup_fini(tier);
    if (tier->dir_fd >= 0 && tier->config.env->file_close(tier->config.env->ctx, tier->dir_fd))
        log_warn("tier", "closing %s failed", tier->config.data_dir);
    free(tier->journal_dir);
    free(tier->l2_path);
    free(tier->l3_url);
    buf_free(&tier->l3_name);
    tier->magic = 0;
    free(tier);
}

int tier_open(const struct tier_config *config, struct tier **out, char *message,
              size_t message_bytes)
{
    const char *what;
    struct tier *tier = calloc(1, sizeof *tier);
    if (!tier)
        return CE_NOMEM;
    tier->magic = TIER_MAGIC;
    tier->config = *config;
    tier->dir_fd = -1;
    tier->boot = env_random_u64(config->env);
    lock_init(&tier->room_lock, LOCK_ROOM);
    lock_init(&tier->drain.lock, LOCK_L2_QUEUE);
    cond_init(&tier->drain.cond);
    fill_init(tier);
    history_init(tier);
    events_init(tier);
    reap_init(tier);
    reap_l3_init(tier);
    absent_init(tier);
    inbox_init(tier);
    orders_init(tier);
    sql_waits_init(tier);
    jobs_init(tier);
    trim_init(tier);
    start_init(tier);
    catchup_init(tier);
    int rc = open_parts(tier, &what);
    bool told = rc == 0 && (rc = check_l3_url(tier, message, message_bytes)) != 0;
    if (rc && !told)
        snprintf(message, message_bytes, "%s in %s: %s", what, config->data_dir,
                 rc == CE_BUSY ? "another cartd uses it" : err_text(rc));
    if (rc) {
        if (tier->journal && journal_stop(&tier->journal, 0))
            log_debug("tier", "journal not started"); /* nothing was appended */
        free_parts(tier);
        return rc;
    }
    *out = tier;
    return 0;
}

/* ---- stop ---- */

static int first_error(int a, int b)
{
    return a ? a : b;
}

/* Everything into L2, by the calling thread. */
static int sweep_stopped(struct tier *tier)
{
    drain_stop(tier);
    return tier->replayed ? drain_sweep(tier) : 0;
}

/* Write-behind needs the others: a conflict is joined in L1 and comes back by way of L2. */
static int empty_behind(struct tier *tier, unsigned timeout_ms)
{
    int rc = drain_start(tier);
    if (rc == 0)
        rc = behind_drain(tier->down.behinds, tier->down.count, timeout_ms);
    drain_stop(tier); /* before what it tells of its carts goes away */
    down_stop(tier);
    return first_error(rc, sweep_stopped(tier)); /* and the marks of what L3 has by now */
}

void tier_quiet(struct tier *tier)
{
    MUST_OBJ(tier, TIER_MAGIC);
    jobs_quiet(tier);
    sql_waits_quiet(tier);
}

int tier_stop(struct tier **out, unsigned timeout_ms)
{
    struct tier *tier = *out;
    MUST_OBJ(tier, TIER_MAGIC);
    *out = NULL;
    start_stop(tier);
    inbox_stop(tier);
    absent_stop(tier);
    reap_l3_stop(tier);
    jobs_stop(tier);
    sql_waits_stop(tier);
    trim_stop(tier);
    reap_stop(tier);
    catchup_stop(tier, timeout_ms);
    int rc = sweep_stopped(tier);
    if (tier->down.count && tier->replayed)
        rc = first_error(rc, empty_behind(tier, timeout_ms));
    fill_stop(tier);
    history_stop(tier);
    rc = first_error(rc, journal_stop(&tier->journal, timeout_ms));
    free_parts(tier);
    return rc;
}

/* ---- the reply path ---- */

struct l1 *tier_l1(struct tier *tier)
{
    return tier->l1;
}

struct journal *tier_journal(struct tier *tier)
{
    return tier->journal;
}

/* While L2 has all that L3 has, nobody but this process makes carts. */
static bool absence_holds(struct tier *tier, const struct l1_item *item)
{
    if (atomic_load_explicit(&tier->l2_complete, memory_order_relaxed) || !tier->l3_url)
        return true;
    return env_mono_ms(tier->config.env) - item->cart.lsn < FILL_ABSENT_MS;
}

enum tier_found tier_find_any_locked(struct tier *tier, uint64_t hash, struct slice key,
                                     struct l1_item **item)
{
    *item = l1_find_locked(tier->l1, hash, key);
    if (!*item || (*item)->kind == L1_PLAIN) /* a cache item, from before the key was a cart's */
        return TIER_ASK;
    if ((*item)->kind == L1_CART)
        return TIER_HERE;
    return absence_holds(tier, *item) ? TIER_NONE : TIER_ASK;
}

enum tier_found tier_find_locked(struct tier *tier, uint64_t hash, struct slice key,
                                 struct l1_item **item)
{
    *item = NULL; /* what of the journal is in L1 by now is not the whole */
    if (!tier_is_serving(tier))
        return TIER_ASK;
    enum tier_found found = tier_find_any_locked(tier, hash, key, item);
    return !*item && absent_is_sure(tier, hash) ? TIER_NONE : found;
}

/* The item of a change while it is put. */
struct growth {
    struct l1_item *item;
    bool was_here;
    uint32_t old_bytes;
};

/* Room for the new state, while the old one stays readable in front of it. */
static int grow_locked(struct tier *tier, const struct tier_change *change, struct growth *growth)
{
    struct l1_item **item = &growth->item;
    growth->was_here = tier_find_locked(tier, change->hash, change->key, item) == TIER_HERE;
    growth->old_bytes = growth->was_here ? (*item)->value_bytes : 0;
    if (l1_dirty_reserve_locked(tier->l1, change->hash))
        return CE_NOMEM;
    if (growth->was_here && growth->old_bytes >= change->state.len)
        return 0;
    return l1_put_locked(tier->l1, change->hash, change->key, L1_CART, change->state.len, item);
}

/* The journal refused: as it was before. */
static void shrink_back_locked(struct tier *tier, const struct tier_change *change,
                               struct growth *growth)
{
    if (growth->was_here)
        growth->item->value_bytes = growth->old_bytes;
    else
        l1_remove_locked(tier->l1, change->hash, growth->item);
}

static void changed_locked(struct tier *tier, uint64_t hash, struct l1_item *item,
                           struct tier_link newest)
{
    item->cart.lsn = newest.lsn;
    item->cart.record_bytes = newest.bytes;
    l1_dirty_locked(tier->l1, hash, item);
    drain_dirty(tier);
}

static void fill_locked(struct tier *tier, const struct tier_change *change, struct growth *growth,
                        struct tier_link newest)
{
    struct slice state = change->state;
    if (growth->item->value_bytes > state.len) /* smaller never fails */
        MUST(l1_put_locked(tier->l1, change->hash, change->key, L1_CART, state.len,
                           &growth->item) == 0);
    memcpy(l1_value(growth->item), state.bytes, state.len);
    growth->item->cart.actor = change->actor;
    changed_locked(tier, change->hash, growth->item, newest);
}

/* Whatever can fail comes first, then the journal, then what can't fail. */
static int put_locked(struct tier *tier, const struct tier_change *changes, size_t count,
                      uint8_t type, struct slice record, enum ack_level level, uint64_t *lsn)
{
    struct growth growth[2];
    size_t grown = 0;
    int rc = level > ACK_RAM && journal_failed(tier->journal) ? CE_NODISK : 0;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        rc = grow_locked(tier, &changes[i], &growth[i]);
        grown += rc == 0;
    }
    if (rc == 0)
        rc = journal_append(tier->journal, type, record, level, lsn);
    for (size_t i = 0; i < grown; i++) {
        if (rc)
            shrink_back_locked(tier, &changes[i], &growth[i]);
        else
            fill_locked(tier, &changes[i], &growth[i],
                        (struct tier_link){*lsn, journal_record_bytes(record.len)});
    }
    return rc;
}

int tier_put_locked(struct tier *tier, uint64_t hash, struct slice key, uint64_t actor,
                    struct slice state, uint8_t type, struct slice record, enum ack_level level,
                    uint64_t *lsn)
{
    struct tier_change change = {.hash = hash, .key = key, .actor = actor, .state = state};
    return put_locked(tier, &change, 1, type, record, level, lsn);
}

int tier_edit_locked(struct tier *tier, uint64_t hash, struct l1_item *item,
                     const struct tier_edit *edit, uint8_t type, struct slice record,
                     enum ack_level level, uint64_t *lsn)
{
    struct l1 *l1 = tier->l1;
    uint32_t old_bytes = item->value_bytes;
    MUST(item->kind == L1_CART);
    if (l1_dirty_reserve_locked(l1, hash))
        return CE_NOMEM;
    if (edit->bytes > old_bytes &&
        l1_put_locked(l1, hash, l1_key(item), L1_CART, edit->bytes, &item))
        return CE_NOMEM;
    int rc = journal_append(tier->journal, type, record, level, lsn);
    if (rc) {
        item->value_bytes = old_bytes;
        return rc;
    }
    edit->run(edit->arg, l1_value(item));
    if (edit->bytes < old_bytes) /* smaller never fails */
        MUST(l1_put_locked(l1, hash, l1_key(item), L1_CART, edit->bytes, &item) == 0);
    changed_locked(tier, hash, item, (struct tier_link){*lsn, journal_record_bytes(record.len)});
    return 0;
}

int tier_put_both_locked(struct tier *tier, const struct tier_change changes[2], uint8_t type,
                         struct slice record, enum ack_level level, uint64_t *lsn)
{
    MUST(!slice_eq(changes[0].key, changes[1].key));
    return put_locked(tier, changes, 2, type, record, level, lsn);
}

int tier_put_state_locked(struct tier *tier, uint64_t hash, struct slice key, uint64_t actor,
                          struct slice state)
{
    struct buf record = {0};
    struct l1_item *item;
    uint64_t lsn;
    tier_find_locked(tier, hash, key, &item);
    int rc = tier_head_put(key, tier_newest_of(item), &record);
    if (rc == 0)
        rc = buf_append(&record, state.bytes, state.len);
    if (rc == 0)
        rc = tier_put_locked(tier, hash, key, actor, state, tier->config.state_record,
                             buf_slice(&record), ACK_RAM, &lsn);
    buf_free(&record);
    return rc;
}

/* ---- waiting for memory ---- */

void tier_wait_room(struct tier *tier, struct tier_wait *wait)
{
    lock_take(&tier->room_lock);
    bool open = tier->room_open;
    if (open) {
        wait->_next = tier->room_waits;
        tier->room_waits = wait;
    }
    lock_drop(&tier->room_lock);
    if (open)
        drain_kick(tier);
    else
        wait->done(wait, CE_NOMEM); /* stopping: nobody makes room any more */
}

/* ---- stats ---- */

uint64_t tier_behind_age_ms(const struct tier *tier)
{
    uint64_t behind_ms = behind_age_ms(tier->down.behinds, tier->down.count);
    uint64_t drain_ms = tier->down.count ? drain_age_ms(tier) : 0;
    return behind_ms > drain_ms ? behind_ms : drain_ms;
}

void tier_behind_tell(const struct tier *tier, const struct stat_sink *sink)
{
    MUST_OBJ(tier, TIER_MAGIC);
    if (tier->down.count)
        behind_tell(tier->down.behinds, tier->down.count, sink);
}

static bool journal_is_late(struct tier *tier)
{
    uint64_t end = journal_end(tier->journal);
    return journal_failed(tier->journal) ||
           (end > JOURNAL_LATE_BYTES &&
            !journal_reached(tier->journal, end - JOURNAL_LATE_BYTES, ACK_SYNC));
}

/* The drain writes at once from 1 / DRAIN_MEMORY_PART of memory on. */
static bool l2_is_late(struct tier *tier)
{
    lock_take(&tier->room_lock);
    bool waits = tier->room_waits != NULL;
    lock_drop(&tier->room_lock);
    return waits || l1_dirty_bytes(tier->l1) > 2 * (l1_limit(tier->l1) / DRAIN_MEMORY_PART);
}

static const char *bottleneck(struct tier *tier)
{
    if (!tier_is_serving(tier))
        return "start";
    if (journal_is_late(tier))
        return "journal";
    if (l2_is_late(tier))
        return "l2";
    return behind_is_late(tier->down.behinds, tier->down.count) ? "l3" : "none";
}

void tier_stats(struct tier *tier, const struct stat_sink *sink)
{
    struct fills *of = &tier->fills;
    uint64_t fills = atomic_load(&of->asked), fills_joined = atomic_load(&of->joined);
    uint64_t l2_loads = atomic_load(&of->l2_loads), l3_loads = atomic_load(&of->l3_loads);
    uint64_t fill_errors = atomic_load(&of->errors);
    uint64_t drain_errors = atomic_load(&tier->drain.errors);
    uint64_t drain_delay_ms = atomic_load(&tier->drain.delay_ms);
    uint64_t drain_pending = l1_dirty_count(tier->l1);
    uint64_t carts_expired = atomic_load(&tier->events.expired);
    uint64_t events_pending = atomic_load(&tier->events.pending);
    uint64_t reap_checks = atomic_load(&tier->reap.checks);
    uint64_t catchup_left = atomic_load(&tier->catchup.left);
    uint64_t inbox_done = atomic_load(&tier->inbox.done);
    uint64_t inbox_failed = atomic_load(&tier->inbox.failed);
    uint64_t inbox_waiting = atomic_load(&tier->inbox.waiting);
    uint64_t inbox_errors = atomic_load(&tier->inbox.errors);
    uint64_t l2_max_bytes = tier->config.l2_bytes_max;
    uint64_t l2_cart_bytes = atomic_load(&tier->trim.cart_bytes);
    uint64_t l2_trimmed = atomic_load(&tier->trim.trimmed);
    uint64_t l2_complete = atomic_load(&tier->l2_complete);
    uint64_t sql_waiting = atomic_load(&tier->sql_waits.count);
    uint64_t carts_served = tier_is_serving(tier);
    lock_take(&of->lock);
    uint64_t fill_waiting = of->waiting, l3_refused = of->refused;
    lock_drop(&of->lock);
#define X(name, what) stat_u64(sink, #name, name);
    TIER_STATS(X)
#undef X
    stat_text(sink, "bottleneck", bottleneck(tier));
    l1_stats(tier->l1, sink);
    journal_stats(tier->journal, sink);
    if (tier_is_serving(tier)) /* else there may be no L2 yet */
        l2_stats(tier->l2, sink);
    if (tier->down.count)
        behind_stats(tier->down.behinds, tier->down.count, sink);
}

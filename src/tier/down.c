/* down: what write-behind asks of the tiers. It is given the states that L2 has, never L1's: L2 has
 * only what the journal has synced, so L3 can never know of an operation that a crash takes back.
 */
#include "tier/tier_int.h"

/* From L1, when its cart is clean: then L2 has the same. CE_NOTFOUND: L2 must be asked. */
static int snapshot_l1(struct tier *tier, struct slice key, struct buf *state, uint32_t *l3_rev)
{
    struct l1_item *item;
    uint64_t hash = hash_64(key);
    int rc = CE_NOTFOUND;
    l1_lock(tier->l1, hash);
    if (tier_find_locked(tier, hash, key, &item) == TIER_HERE && l1_is_clean(item)) {
        rc = buf_append(state, l1_value(item), item->value_bytes);
        *l3_rev = item->cart.l3_rev;
    }
    l1_unlock(tier->l1, hash);
    return rc;
}

static int snapshot(void *ctx, struct slice key, struct buf *state, uint32_t *l3_rev)
{
    struct tier *tier = down_tier(ctx);
    struct l2_cart cart = {.l3_rev = 0};
    struct buf storage = {0};
    int rc = snapshot_l1(tier, key, state, l3_rev);
    if (rc != CE_NOTFOUND)
        return rc;
    rc = l2_get(tier->l2, key, &storage, &cart);
    if (rc == 0)
        rc = buf_append(state, cart.state.bytes, cart.state.len);
    /* The revision that this state covers; L1's may belong to a state that L2 has not yet. */
    *l3_rev = cart.l3_rev;
    buf_free(&storage);
    return rc;
}

static int row(void *ctx, struct slice key, struct slice state, struct buf *arena,
               struct l3_cart *out)
{
    struct tier *tier = down_tier(ctx);
    return tier->config.value->row(key, state, arena, out);
}

static void flushed(void *ctx, struct slice key, struct slice state, uint32_t rev)
{
    struct tier *tier = down_tier(ctx);
    struct l1_item *item;
    uint64_t hash = hash_64(key);
    l1_lock(tier->l1, hash);
    if (tier_find_locked(tier, hash, key, &item) == TIER_HERE)
        item->cart.l3_rev = rev; /* goes to L2 with the next change */
    l1_unlock(tier->l1, hash);
    drain_unmark(tier, key, state);
    sql_waits_flushed(tier, key, state);
}

/* Mostly the row is our own older one, whose revision L2 did not hear of: nothing to join. Either
 * way the cart becomes dirty, so that state and revision reach L2 together and from there L3. */
static int join_locked(struct tier *tier, uint64_t hash, struct slice key, struct l1_item *item,
                       struct slice image, uint32_t rev)
{
    const struct tier_value *value = tier->config.value;
    struct buf joined = {0};
    int rc = l1_dirty_reserve_locked(tier->l1, hash);
    if (rc == 0 && image.len && !value->covers(l1_value_slice(item), image)) {
        rc = value->merge(l1_value_slice(item), image, &joined);
        if (rc == 0)
            rc = tier_put_state_locked(tier, hash, key, item->cart.actor, buf_slice(&joined));
        if (rc == 0)
            MUST(tier_find_locked(tier, hash, key, &item) == TIER_HERE);
    }
    if (rc == 0) {
        item->cart.l3_rev = rev;
        l1_dirty_locked(tier->l1, hash, item);
    }
    buf_free(&joined);
    return rc;
}

int down_merge(struct tier *tier, struct slice key, struct slice image, uint32_t rev)
{
    struct l1_item *item;
    uint64_t hash = hash_64(key);
    int rc = image.len ? tier->config.value->check(image) : 0; /* empty: the row is gone */
    if (rc == CE_CORRUPT) { /* nothing can be joined with it, and a cart of ours must not wait */
        log_warn("tier",
                 "the column image of cart %.*s was changed by somebody else and is no "
                 "cart; the row is written anew",
                 (int)key.len, (const char *)key.bytes);
        image.len = 0;
        rc = 0;
    }
    if (rc == 0)
        rc = fill_now(tier, key);
    if (rc == 0)
        rc = l1_room(tier->l1, 2 * (key.len + image.len));
    if (rc)
        return rc;
    l1_lock(tier->l1, hash);
    if (tier_find_locked(tier, hash, key, &item) == TIER_HERE)
        rc = join_locked(tier, hash, key, item, image, rev);
    else
        rc = CE_BUSY; /* evicted again in between: write-behind comes back */
    l1_unlock(tier->l1, hash);
    drain_kick(tier);
    return rc;
}

static int merge(void *ctx, struct slice key, struct slice image, uint32_t rev)
{
    return down_merge(down_tier(ctx), key, image, rev);
}

/* ---- connections ---- */

/* The bits of the hash that no table of a connection uses. */
static unsigned lane_of(const struct down *down, struct slice key)
{
    return (unsigned)((hash_64(key) >> 40) % down->count);
}

void down_add(struct tier *tier, struct slice key, uint64_t since_ms)
{
    if (tier->down.count)
        behind_add(tier->down.behinds[lane_of(&tier->down, key)], key, since_ms);
}

void down_hurry(struct tier *tier, struct slice key)
{
    if (tier->down.count)
        behind_hurry(tier->down.behinds[lane_of(&tier->down, key)], key);
}

void down_events_add(struct tier *tier, uint64_t number_min, size_t count)
{
    if (tier->down.count)
        behind_events_add(tier->down.behinds[0], number_min, count);
}

static void add_marked(void *arg, struct slice key)
{
    struct down_lane *lane = arg;
    struct down *down = &lane->tier->down;
    unsigned number = lane_of(down, key);
    if (lane == &down->lanes[number])
        behind_add(down->behinds[number], key, env_mono_ms(lane->tier->config.env));
}

/* As the L2 writer sees it: the journal grows fast. */
static void look_at_journal(struct down_lane *lane)
{
    uint64_t now_ms = env_mono_ms(lane->tier->config.env);
    uint64_t passed_ms = now_ms - lane->looked_ms;
    if (passed_ms < DRAIN_DELAY_MS)
        return;
    uint64_t end = journal_end(lane->tier->journal);
    lane->grows = (end - lane->end) * DRAIN_DELAY_MS / passed_ms > DRAIN_QUIET_BYTES;
    lane->busy_ms = lane->grows ? now_ms : lane->busy_ms;
    lane->looked_ms = now_ms;
    lane->end = end;
}

/* Clients are not over with as long as L2 lacks changes of theirs: with what it has now many carts
 * would be written, and once more when it has all. */
static bool is_busy(void *ctx, size_t *coming)
{
    struct down_lane *lane = ctx;
    look_at_journal(lane);
    *coming = l1_dirty_count(lane->tier->l1) / lane->tier->down.count;
    uint64_t lacks_since_ms = atomic_load(&lane->tier->drain.waiting_since_ms);
    return lane->grows || (lacks_since_ms && lacks_since_ms <= lane->busy_ms);
}

static int refill(void *ctx, size_t max)
{
    struct down_lane *lane = ctx;
    size_t count = 0;
    int rc = l2_marks(lane->tier->l2, &lane->refill_cursor, max, add_marked, lane, &count);
    if (rc)
        return rc;
    if (count == 0) {
        lane->refill_cursor.len = 0;
        return CE_NOTFOUND;
    }
    return 0;
}

void down_resume(struct tier *tier)
{
    for (unsigned i = 0; i < tier->down.count; i++)
        behind_missed(tier->down.behinds[i]); /* nobody is kept waiting while they are read */
    down_events_add(tier, 0, 0);              /* how many there are is found out by reading them */
}

static void init_owner(struct tier *tier, struct down_lane *lane)
{
    lane->tier = tier;
    lane->owner = (struct behind_owner){.ctx = lane,
                                        .busy = is_busy,
                                        .snapshot = snapshot,
                                        .row = row,
                                        .merge = merge,
                                        .flushed = flushed,
                                        .refill = refill,
                                        .events = events_read,
                                        .events_back = events_back,
                                        .event_row = events_row,
                                        .event_done = events_done};
}

/* What was configured, or the usual. */
static unsigned given(unsigned value, unsigned usual)
{
    return value ? value : usual;
}

int down_new(struct tier *tier)
{
    const struct tier_config *asked = &tier->config;
    struct down *down = &tier->down;
    unsigned most = l3_connections_max(tier->l3_url);
    unsigned count = given(asked->l3_connections, 1);
    count = count < most ? count : most;
    struct behind_config config = {.env = asked->env,
                                   .url = tier->l3_url,
                                   .delay_ms = asked->l3_delay_ms,
                                   .cart_us = BEHIND_CART_US * count,
                                   .delay_max_ms = BEHIND_DELAY_MAX_MS,
                                   .hot_ms = BEHIND_HOT_MS,
                                   .batch_max = given(asked->l3_batch, BEHIND_BATCH_MAX),
                                   .queue_max = BEHIND_QUEUE_MAX / count};
    int rc = 0;
    while (rc == 0 && down->count < count) {
        struct down_lane *lane = &down->lanes[down->count];
        init_owner(tier, lane);
        config.owner = &lane->owner;
        rc = behind_new(&config, &down->behinds[down->count]);
        down->count += rc == 0;
    }
    return rc;
}

int down_start(struct tier *tier)
{
    struct down *down = &tier->down;
    int rc = 0;
    while (rc == 0 && down->started < down->count) {
        rc = behind_start(down->behinds[down->started]);
        down->started += rc == 0;
    }
    return rc;
}

void down_stop(struct tier *tier)
{
    struct down *down = &tier->down;
    for (unsigned i = 0; i < down->count; i++) {
        behind_stop(&down->behinds[i]);
        buf_free(&down->lanes[i].refill_cursor);
    }
    down->count = 0;
}

/* reap: carts whose life has ended are ended, though nobody touches them.
 *
 * L2 has an entry for every cart with a life that ends: second, cart's key. The L2 writer makes it
 * in the batch of the state, so a cart that L2 has is found, whether L1 has it or not. An entry
 * says only when to look: its cart may have changed since. Far-off ends are entered earlier than
 * they are, by up to a quarter of what is left, so a sliding life has some ten entries, not one for
 * each change; when such an entry comes, the cart is entered again.
 *
 * A thread looks every second for entries that have come. When L2 and L1 say that the cart's life
 * has ended, the owner ends it by a step as a client's (tier_config.expire). Then the entry goes
 * back to the L2 writer, which drops it and enters the cart again from what L2 has then. What could
 * not be done keeps its entry, and is met again; so a life never ends without one. */
#include "tier/tier_int.h"

#define US_PER_S         1000000
#define GRAIN_PART       4 /* an end is entered early by at most this part of what is left */
#define LEAVES_BYTES_MAX (1u << 20) /* of entries that L2 has not dropped yet; then they wait */

void reap_init(struct tier *tier)
{
    turns_init(&tier->reap.turns);
    lock_init(&tier->reap.lock, LOCK_L2_QUEUE);
    lock_init(&tier->reap.end_lock, LOCK_FILL);
    tier->reap.low_s = tier->reap.batch_low_s = UINT64_MAX;
}

void reap_fini(struct tier *tier)
{
    buf_free(&tier->reap.found);
    buf_free(&tier->reap.salvage_cursor);
    lock_fini(&tier->reap.end_lock);
    lock_fini(&tier->reap.lock);
    turns_fini(&tier->reap.turns);
}

/* ---- entries: the L2 writer ---- */

static uint64_t choose_second(uint64_t expiry_us, uint64_t now_us)
{
    uint64_t now_s = now_us / US_PER_S;
    uint64_t end_s = expiry_us / US_PER_S + (expiry_us % US_PER_S != 0);
    uint64_t grain_s = 1;
    if (end_s <= now_s)
        return now_s + 1;
    while (grain_s * 2 <= (end_s - now_s) / GRAIN_PART)
        grain_s *= 2;
    return end_s - end_s % grain_s;
}

void reap_enter(struct tier *tier, struct slice key, struct slice state)
{
    uint64_t expiry_us = tier->config.value->expiry_us(state);
    if (expiry_us == 0)
        return;
    uint64_t second = choose_second(expiry_us, env_wall_us(tier->config.env));
    l2_batch_enter(tier->drain.batch, L2_EXPIRIES, second, key, slice_of(NULL, 0));
    if (second < tier->reap.batch_low_s)
        tier->reap.batch_low_s = second;
}

/* The walk may be further already. */
void reap_committed(struct tier *tier)
{
    struct reap *reap = &tier->reap;
    lock_take(&reap->lock);
    if (reap->batch_low_s < reap->low_s)
        reap->low_s = reap->batch_low_s;
    lock_drop(&reap->lock);
    reap->batch_low_s = UINT64_MAX;
}

static int enter_one(void *arg, struct slice key, const struct l2_cart *cart)
{
    struct tier *tier = arg;
    if (cart->state.bytes && tier->config.value->check(cart->state) == 0)
        reap_enter(tier, key, cart->state);
    if (l2_batch_bytes(tier->drain.batch) < DRAIN_BATCH_BYTES)
        return 0;
    return l2_batch_commit(tier->l2, tier->drain.batch);
}

int reap_enter_all(struct tier *tier)
{
    struct buf value = {0};
    int rc = l2_meta_get(tier->l2, "expiries", &value);
    buf_free(&value);
    if (rc != CE_NOTFOUND)
        return rc;
    rc = l2_each(tier->l2, enter_one, tier);
    if (rc)
        return rc;
    l2_batch_meta(tier->drain.batch, "expiries", slice_str("1"));
    return l2_batch_commit(tier->l2, tier->drain.batch);
}

/* ---- the reaper ---- */

/* Reads L2 only: most entries that come are of carts that live on, and need no place in memory.
 * What L2 lacks while it is not complete only L3 may know. */
static bool may_have_ended(struct tier *tier, struct slice key, struct buf *storage)
{
    const struct tier_value *value = tier->config.value;
    struct l2_cart cart;
    int rc = l2_get(tier->l2, key, storage, &cart);
    if (rc == CE_NOTFOUND)
        return tier->l3_url && !atomic_load(&tier->l2_complete);
    if (rc || value->check(cart.state))
        return false;
    uint64_t expiry_us = value->expiry_us(cart.state);
    return expiry_us && expiry_us <= env_wall_us(tier->config.env);
}

/* A cart's end is asked for by two threads, and one may ask at a time. */
int reap_end(struct tier *tier, struct slice key)
{
    int rc = fill_now(tier, key);
    if (rc)
        return rc;
    lock_take(&tier->reap.end_lock);
    rc = tier->config.expire(tier->config.ctx, key);
    lock_drop(&tier->reap.end_lock);
    return rc;
}

void reap_meet_again(struct tier *tier, uint64_t second)
{
    struct reap *reap = &tier->reap;
    lock_take(&reap->lock);
    if (second < reap->low_s)
        reap->low_s = second;
    lock_drop(&reap->lock);
}

static int look_at(struct tier *tier, uint64_t second, struct slice key, struct buf *storage)
{
    int rc = 0;
    if (may_have_ended(tier, key, storage))
        rc = reap_end(tier, key);
    atomic_fetch_add(&tier->reap.checks, 1);
    if (rc)
        reap_meet_again(tier, second);
    else
        drain_leave(tier, L2_EXPIRIES, second, key);
    return rc;
}

static bool note_found(void *arg, uint64_t number, struct slice key, struct slice record)
{
    struct buf *found = arg;
    uint8_t key_bytes = (uint8_t)key.len;
    (void)record;
    if (buf_reserve(found, sizeof number + 1 + key.len))
        return false;
    memcpy(found->bytes + found->len, &number, sizeof number);
    found->bytes[found->len + sizeof number] = key_bytes;
    memcpy(found->bytes + found->len + sizeof number + 1, key.bytes, key.len);
    found->len += sizeof number + 1 + key.len;
    return true;
}

/* Gathers entries that have come; the walk goes on where it was, or at a new entry before that. */
static int find(struct tier *tier)
{
    struct reap *reap = &tier->reap;
    uint64_t now_s = env_wall_us(tier->config.env) / US_PER_S;
    size_t count;
    lock_take(&reap->lock);
    uint64_t low_s = reap->low_s;
    reap->low_s = UINT64_MAX;
    lock_drop(&reap->lock);
    if (low_s <= reap->place.number)
        reap->place = (struct l2_place){.number = low_s};
    reap->found.len = 0;
    return l2_walk(tier->l2, L2_EXPIRIES, &reap->place, now_s, REAP_TURN_MAX, note_found,
                   &reap->found, &count);
}

static void turn(struct tier *tier)
{
    struct reap *reap = &tier->reap;
    struct buf storage = {0};
    if (drain_leaves_bytes(tier) > LEAVES_BYTES_MAX)
        return;
    int failed = find(tier);
    struct slice rest = buf_slice(&reap->found);
    while (rest.len && !turns_end(&reap->turns)) {
        uint64_t second;
        memcpy(&second, rest.bytes, sizeof second);
        struct slice key = slice_of(rest.bytes + sizeof second + 1, rest.bytes[sizeof second]);
        rest = slice_from(rest, sizeof second + 1 + key.len);
        int rc = look_at(tier, second, key, &storage);
        failed = rc ? rc : failed;
    }
    buf_free(&storage);
    if (failed && !reap->told)
        log_warn("tier", "ending carts whose life has ended: %s; trying again", err_text(failed));
    reap->told = failed != 0;
}

/* ---- carts that were salvaged from a damaged L2 ---- */

static void note_key(void *arg, struct slice key)
{
    (void)note_found(arg, 0, key, slice_of(NULL, 0)); /* else it is met again */
}

/* A fill joins them with what L3 has, and the L2 writer writes them as they are then. */
static void salvage_turn(struct tier *tier)
{
    struct reap *reap = &tier->reap;
    size_t count = 0;
    if (l2_is_damaged(tier->l2))
        drain_kick(tier);
    if (!l2_has_salvaged(tier->l2))
        return;
    reap->found.len = 0;
    int rc =
        l2_salvaged(tier->l2, &reap->salvage_cursor, REAP_TURN_MAX, note_key, &reap->found, &count);
    if (count == 0)
        reap->salvage_cursor.len = 0;
    struct slice rest = buf_slice(&reap->found);
    while (rc == 0 && rest.len && !turns_end(&reap->turns)) {
        struct slice key =
            slice_of(rest.bytes + sizeof(uint64_t) + 1, rest.bytes[sizeof(uint64_t)]);
        rest = slice_from(rest, sizeof(uint64_t) + 1 + key.len);
        rc = fill_now(tier, key);
    }
    if (rc)
        log_warn("tier", "salvaged carts: %s; trying again", err_text(rc));
}

static void *run_reap(void *arg)
{
    struct tier *tier = arg;
    thread_give_way();
    bool go = !turns_end(&tier->reap.turns);
    while (go) {
        if (tier_is_serving(tier)) {
            turn(tier);
            salvage_turn(tier);
        }
        go = turns_rest(&tier->reap.turns, REAP_TURN_MS);
    }
    return NULL;
}

int reap_start(struct tier *tier)
{
    return turns_start(&tier->reap.turns, "reaper", run_reap, tier);
}

void reap_stop(struct tier *tier)
{
    turns_stop(&tier->reap.turns);
}

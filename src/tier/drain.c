/* drain: the L2 writer. Takes dirty carts out of L1 and writes them to LevelDB in synced batches.
 *
 * A sweep: note the journal's end E -> take dirty carts of each stripe (pinned meanwhile) ->
 * journal synced at least as far as what was taken -> batch of states and marks -> unpin, tell
 * write-behind -> after the last stripe: checkpoint = E, older journal segments may go. Whoever
 * changed a cart before E did so under its stripe's lock and marked it dirty there, so the sweep
 * meets it. Failure: what was taken is dirty again, the checkpoint stays, retry after
 * DRAIN_RETRY_MS. */
#include "tier/tier_int.h"

#include <stdlib.h>

/* A cart in `gather`; key and state follow. */
struct taken {
    uint64_t hash;
    uint64_t actor;
    uint64_t lsn;
    uint32_t record_bytes;
    uint32_t l3_rev;
    uint32_t state_bytes;
    uint16_t key_bytes;
    bool is_marked; /* in L2 already */
};

static int take_one(void *arg, uint64_t hash, struct l1_item *item)
{
    struct buf *gather = arg;
    struct slice key = l1_key(item), state = l1_value_slice(item);
    struct taken taken = {.hash = hash,
                          .actor = item->cart.actor,
                          .lsn = item->cart.lsn,
                          .record_bytes = item->cart.record_bytes,
                          .l3_rev = item->cart.l3_rev,
                          .state_bytes = (uint32_t)state.len,
                          .key_bytes = (uint16_t)key.len,
                          .is_marked = item->marks & L1_MARK_BEHIND};
    if (buf_reserve(gather, sizeof taken + key.len + state.len))
        return CE_NOMEM;
    memcpy(gather->bytes + gather->len, &taken, sizeof taken);
    memcpy(gather->bytes + gather->len + sizeof taken, key.bytes, key.len);
    memcpy(gather->bytes + gather->len + sizeof taken + key.len, state.bytes, state.len);
    gather->len += sizeof taken + key.len + state.len;
    item->marks |= L1_MARK_BEHIND; /* comes off when the batch is not written */
    return 0;
}

/* Steps through `gather`; false at the end. */
static bool next_taken(struct slice *rest, struct taken *taken, struct slice *key,
                       struct slice *state)
{
    if (rest->len == 0)
        return false;
    memcpy(taken, rest->bytes, sizeof *taken);
    *key = slice_of(rest->bytes + sizeof *taken, taken->key_bytes);
    *state = slice_of(key->bytes + key->len, taken->state_bytes);
    *rest = slice_from(*rest, sizeof *taken + key->len + state->len);
    return true;
}

static void unpin_taken(struct tier *tier, bool ok)
{
    struct slice rest = buf_slice(&tier->drain.gather), key, state;
    struct taken taken;
    uint64_t since_ms = atomic_load(&tier->drain.waiting_since_ms);
    since_ms = since_ms ? since_ms : env_mono_ms(tier->config.env);
    while (next_taken(&rest, &taken, &key, &state)) {
        if (ok) /* first, so that at every instant some count shows the cart */
            down_add(tier, key, since_ms);
        l1_unpin(tier->l1, taken.hash, key, ok);
    }
    tier->drain.gather.len = 0;
    buf_shrink(&tier->drain.gather, 2 * DRAIN_BATCH_BYTES);
}

static void set_room_open(struct tier *tier, bool open)
{
    lock_take(&tier->room_lock);
    tier->room_open = open;
    lock_drop(&tier->room_lock);
}

/* Everyone who waits for memory looks again, or gives up. */
static void wake_room(struct tier *tier, int rc)
{
    lock_take(&tier->room_lock);
    struct tier_wait *waits = tier->room_waits;
    tier->room_waits = NULL;
    lock_drop(&tier->room_lock);
    for (struct tier_wait *wait = waits, *next; wait; wait = next) {
        next = wait->_next;
        wait->done(wait, rc);
    }
}

static int fill_batch(struct tier *tier)
{
    struct slice rest = buf_slice(&tier->drain.gather), key, state;
    struct taken taken;
    events_to_batch(tier); /* whoever made one of these states had queued its event before */
    while (next_taken(&rest, &taken, &key, &state)) {
        struct l2_cart cart = {.boot = tier->boot,
                               .actor = taken.actor,
                               .l3_rev = taken.l3_rev,
                               .record_bytes = taken.record_bytes,
                               .lsn = taken.lsn,
                               .state = state};
        if (l2_batch_put(tier->drain.batch, key, &cart))
            return CE_NOMEM;
        reap_enter(tier, key, state);
        if (l2_has_salvaged(tier->l2))
            l2_batch_unsalvage(tier->drain.batch, key);
        if (tier->l3_url && !taken.is_marked)
            l2_batch_mark(tier->drain.batch, key);
    }
    return 0;
}

/* Writes what was gathered (and what else is in the batch). */
static int commit_gathered(struct tier *tier)
{
    int rc = 0;
    bool more = tier->drain.gather.len || tier->drain.leaving.len || events_wait(tier);
    if (more && tier->replayed) /* L2 is never ahead of what the journal would survive with */
        rc = journal_flush(tier->journal, ACK_SYNC, JOURNAL_WAIT_MS);
    if (rc == 0)
        rc = fill_batch(tier);
    if (rc == 0 && l2_batch_bytes(tier->drain.batch))
        rc = l2_batch_commit(tier->l2, tier->drain.batch);
    if (rc == 0) {
        tier->drain.leaving.len = 0;
        reap_committed(tier);
        events_committed(tier);
        orders_committed(tier);
    } else {
        /* The next sweep puts it in again, but for unmarks: the mark of a cart that L3 has costs
         * writing it once more. */
        l2_batch_clear(tier->drain.batch);
    }
    unpin_taken(tier, rc == 0);
    wake_room(tier, rc ? CE_NOMEM : 0);
    return rc;
}

/* ---- the order of a sweep ---- */

/* A dirty cart; `ring` is where it stands in L2. */
struct due {
    uint64_t hash;
    uint32_t ring;
};

static void note_key(void *arg, uint64_t hash, struct slice key)
{
    struct drain *drain = arg;
    uint8_t key_bytes = (uint8_t)key.len;
    struct buf *keys = &drain->keys;
    if (buf_reserve(keys, sizeof hash + 1 + key.len)) {
        drain->no_memory = true;
        return;
    }
    memcpy(keys->bytes + keys->len, &hash, sizeof hash);
    keys->bytes[keys->len + sizeof hash] = key_bytes;
    memcpy(keys->bytes + keys->len + sizeof hash + 1, key.bytes, key.len);
    keys->len += sizeof hash + 1 + key.len;
}

/* Without the stripe's lock: the place on the ring is not found at once. */
static int note_due(struct drain *drain)
{
    struct slice rest = buf_slice(&drain->keys);
    while (rest.len) {
        struct due due = {.ring = 0};
        memcpy(&due.hash, rest.bytes, sizeof due.hash);
        struct slice key = slice_of(rest.bytes + sizeof due.hash + 1, rest.bytes[sizeof due.hash]);
        due.ring = hash_ring(key);
        if (buf_append(&drain->due, &due, sizeof due))
            return CE_NOMEM;
        rest = slice_from(rest, sizeof due.hash + 1 + key.len);
    }
    drain->keys.len = 0;
    return drain->no_memory ? CE_NOMEM : 0;
}

static int look_at_stripe(struct tier *tier, unsigned stripe)
{
    struct drain *drain = &tier->drain;
    uint32_t at = 0, looked;
    int rc = 0;
    do {
        looked = l1_dirty_look(tier->l1, stripe, at, DRAIN_STRIPE_CARTS, note_key, drain);
        at += looked;
        rc = note_due(drain);
    } while (rc == 0 && looked == DRAIN_STRIPE_CARTS);
    return rc;
}

static int order_by_ring(const void *a, const void *b)
{
    const struct due *one = a;
    const struct due *two = b;
    return (one->ring > two->ring) - (one->ring < two->ring);
}

/* The carts that are taken next: they stand anywhere in memory. */
static void foresee_due(const struct tier *tier, const struct due *due, size_t count)
{
    uint64_t hashes[L1_FORESEEN_MAX];
    unsigned next = count < L1_FORESEEN_MAX ? (unsigned)count : L1_FORESEEN_MAX;
    for (unsigned i = 0; i < next; i++)
        hashes[i] = due[i].hash;
    l1_foresee(tier->l1, hashes, next);
}

/* Writes what was noted in the order in which L2 keeps it: what LevelDB then writes overlaps with
 * little of what it has, and is merged with little of it. */
static int write_due(struct tier *tier)
{
    struct due *due = (struct due *)(void *)tier->drain.due.bytes;
    size_t count = tier->drain.due.len / sizeof *due;
    int rc = 0;
    if (count)
        qsort(due, count, sizeof *due, order_by_ring);
    for (size_t i = 0; i < count && rc == 0; i++) {
        if (i % L1_FORESEEN_MAX == 0)
            foresee_due(tier, due + i, count - i);
        rc = l1_dirty_take(tier->l1, due[i].hash, take_one, &tier->drain.gather);
        if (rc == CE_NOTFOUND)
            rc = 0; /* gone, or one that shares its hash was taken for it */
        if (rc == 0 && tier->drain.gather.len >= DRAIN_BATCH_BYTES)
            rc = commit_gathered(tier);
    }
    tier->drain.due.len = 0;
    return rc;
}

static int sweep_stripes(struct tier *tier)
{
    struct drain *drain = &tier->drain;
    int rc = 0;
    drain->no_memory = false;
    for (unsigned stripe = 0; stripe < L1_STRIPES && rc == 0; stripe++) {
        rc = look_at_stripe(tier, stripe);
        bool is_much = drain->due.len >= DRAIN_DUE_BYTES || stripe == L1_STRIPES - 1;
        if (rc == 0 && is_much)
            rc = write_due(tier);
    }
    buf_free(&drain->keys);
    buf_free(&drain->due);
    return rc;
}

/* ---- marks ---- */

void drain_unmark(struct tier *tier, struct slice key, struct slice state)
{
    struct unmark *unmark = malloc(sizeof *unmark + key.len);
    if (!unmark)
        return; /* the mark stays: the cart is written to L3 once more after a restart */
    unmark->state_hash = hash_64(state);
    unmark->key_bytes = (uint8_t)key.len;
    memcpy(unmark->key, key.bytes, key.len);
    lock_take(&tier->drain.lock);
    unmark->next = tier->drain.unmarks;
    tier->drain.unmarks = unmark;
    if (atomic_load(&tier->drain.idle))
        cond_wake(&tier->drain.cond);
    lock_drop(&tier->drain.lock);
}

/* A cart that is clean in L1 is the same in L2. One that is not will be written again, and keeps
 * its mark until then. */
static bool takes_unmark(struct tier *tier, struct slice key, uint64_t state_hash,
                         struct buf *storage)
{
    struct l2_cart cart;
    struct l1_item *item;
    uint64_t hash = hash_64(key);
    l1_lock(tier->l1, hash);
    bool here = tier_find_locked(tier, hash, key, &item) == TIER_HERE;
    bool same = here && l1_is_clean(item) && hash_64(l1_value_slice(item)) == state_hash;
    if (same)
        item->marks &= (uint8_t)~L1_MARK_BEHIND;
    l1_unlock(tier->l1, hash);
    if (here)
        return same;
    return l2_get(tier->l2, key, storage, &cart) == 0 && hash_64(cart.state) == state_hash;
}

/* Puts the unmarks into the batch in front of this sweep's states, whose marks then win. Only a
 * state that is still the same in L2 loses its mark (I9). */
static void batch_unmarks(struct tier *tier)
{
    struct buf storage = {0};
    lock_take(&tier->drain.lock);
    struct unmark *list = tier->drain.unmarks;
    tier->drain.unmarks = NULL;
    lock_drop(&tier->drain.lock);
    for (struct unmark *unmark = list, *next; unmark; unmark = next) {
        struct slice key = slice_of(unmark->key, unmark->key_bytes);
        next = unmark->next;
        if (takes_unmark(tier, key, unmark->state_hash, &storage))
            l2_batch_unmark(tier->drain.batch, key);
        free(unmark);
    }
    buf_free(&storage);
}

/* ---- entries of lists that may go ---- */

void drain_leave(struct tier *tier, enum l2_list list, uint64_t number, struct slice key)
{
    struct leave leave = {.number = number, .list = (uint8_t)list, .key_bytes = (uint8_t)key.len};
    struct buf *leaves = &tier->drain.leaves;
    lock_take(&tier->drain.lock);
    /* Without memory the entry stays, and is met again after a restart. */
    if (buf_reserve(leaves, sizeof leave + key.len) == 0) {
        memcpy(leaves->bytes + leaves->len, &leave, sizeof leave);
        memcpy(leaves->bytes + leaves->len + sizeof leave, key.bytes, key.len);
        leaves->len += sizeof leave + key.len;
    }
    if (atomic_load(&tier->drain.idle))
        cond_wake(&tier->drain.cond);
    lock_drop(&tier->drain.lock);
}

size_t drain_leaves_bytes(struct tier *tier)
{
    lock_take(&tier->drain.lock);
    size_t bytes = tier->drain.leaves.len;
    lock_drop(&tier->drain.lock);
    return bytes;
}

/* Takes over what may go, unless the last of it is still to be written. */
static void take_leaves(struct drain *drain)
{
    if (drain->leaving.len)
        return;
    lock_take(&drain->lock);
    buf_swap(&drain->leaves, &drain->leaving);
    lock_drop(&drain->lock);
}

/* The cart as the reaper saw it: what L2 has, and of a cart that has left L2 what L1 has. CE_BUSY:
 * only L3 knows. */
static int find_state(struct tier *tier, struct slice key, struct buf *storage,
                      struct l2_cart *cart)
{
    struct l1_item *item;
    uint64_t hash = hash_64(key);
    int rc = l2_get(tier->l2, key, storage, cart);
    if (rc == 0)
        rc = tier->config.value->check(cart->state);
    if (rc != CE_NOTFOUND || !fill_may_be_beyond_l2(tier))
        return rc;
    storage->len = 0;
    l1_lock(tier->l1, hash);
    enum tier_found found = tier_find_locked(tier, hash, key, &item);
    if (found == TIER_HERE) {
        struct slice state = l1_value_slice(item);
        rc = buf_append(storage, state.bytes, state.len);
        cart->state = buf_slice(storage);
    }
    l1_unlock(tier->l1, hash);
    return found == TIER_ASK ? CE_BUSY : rc;
}

/* False: what came of the cart can't be told now. */
static bool enter_again(struct tier *tier, struct slice key, struct buf *storage)
{
    struct l2_cart cart;
    int rc = find_state(tier, key, storage, &cart);
    if (rc == 0)
        reap_enter(tier, key, cart.state);
    return rc == 0 || rc == CE_NOTFOUND || rc == CE_CORRUPT;
}

/* In front of this sweep's states, whose entries then win. The cart of an end of life is entered
 * again from what L2 has: whatever came of it, L2 never has a life that ends and no entry for it.
 */
static void batch_leaves(struct tier *tier)
{
    struct buf storage = {0};
    take_leaves(&tier->drain);
    struct slice rest = buf_slice(&tier->drain.leaving);
    while (rest.len) {
        struct leave leave;
        memcpy(&leave, rest.bytes, sizeof leave);
        struct slice key = slice_of(rest.bytes + sizeof leave, leave.key_bytes);
        rest = slice_from(rest, sizeof leave + key.len);
        if (leave.list == L2_EXPIRIES && !enter_again(tier, key, &storage)) {
            reap_meet_again(tier, leave.number);
            continue;
        }
        l2_batch_leave(tier->drain.batch, (enum l2_list)leave.list, leave.number, key);
    }
    buf_free(&storage);
}

/* ---- a damaged L2 ---- */

/* What L1 has is the newest, and what L2 had of it may be what is damaged: it is written again.
 * First, so that none of it leaves L1 meanwhile. */
int drain_mend(struct tier *tier)
{
    if (!l2_is_damaged(tier->l2))
        return 0;
    log_error("tier",
              "%s is damaged; it is moved aside and begun anew, with what of it can be "
              "read, the journal and the database",
              tier->l2_path);
    atomic_fetch_add(&tier->drain.mends, 1); /* odd until it is over */
    int rc = l1_dirty_all(tier->l1);
    if (rc == 0 && tier->l3_url)
        atomic_store(&tier->l2_complete, false);
    if (rc == 0) {
        catchup_reload(tier);
        rc = l2_rebuild(tier->l2);
        tier->drain.mended |= rc == 0;
    }
    atomic_fetch_add(&tier->drain.mends, 1);
    return rc;
}

unsigned drain_mends(struct tier *tier)
{
    return atomic_load(&tier->drain.mends);
}

bool drain_has_mended(struct tier *tier, unsigned before)
{
    return before % 2 || before != drain_mends(tier);
}

/* ---- the sweep ---- */

static int sweep(struct tier *tier)
{
    bool is_whole = tier->replayed && catchup_is_over(tier);
    uint64_t end = journal_end(tier->journal);
    int rc = drain_mend(tier);
    if (rc) {
        atomic_fetch_add(&tier->drain.errors, 1);
        wake_room(tier, rc);
        return rc;
    }
    batch_unmarks(tier);
    batch_leaves(tier);
    orders_to_batch(tier);
    rc = sweep_stripes(tier);
    if (rc == 0 && is_whole && (end != tier->drain.checkpoint || tier->drain.mended))
        l2_batch_meta(tier->drain.batch, "checkpoint", slice_of(&end, sizeof end));
    if (rc == 0)
        rc = commit_gathered(tier);
    if (rc) {
        atomic_fetch_add(&tier->drain.errors, 1);
        if (rc == CE_NODISK && tier->replayed)
            journal_shed(tier->journal);
        return rc;
    }
    if (is_whole) {
        tier->drain.checkpoint = end;
        tier->drain.mended = false;
        journal_release(tier->journal, end);
    }
    return 0;
}

int drain_sweep(struct tier *tier)
{
    uint64_t begun_ms = env_mono_ms(tier->config.env);
    orders_sweep_begins(tier);
    int rc = sweep(tier);
    orders_sweep_ended(tier, rc);
    if (rc == 0) /* what waits now has come since */
        atomic_store(&tier->drain.waiting_since_ms, l1_dirty_count(tier->l1) ? begun_ms : 0);
    return rc;
}

/* ---- the thread ---- */

void drain_kick(struct tier *tier)
{
    lock_take(&tier->drain.lock);
    tier->drain.kicked = true;
    cond_wake(&tier->drain.cond);
    lock_drop(&tier->drain.lock);
}

/* Something waits for L2 since then, unless something older does. */
static void note_waiting(struct tier *tier, uint64_t since_ms)
{
    uint64_t nothing = 0;
    atomic_compare_exchange_strong(&tier->drain.waiting_since_ms, &nothing, since_ms);
}

void drain_dirty(struct tier *tier)
{
    if (!atomic_load(&tier->drain.idle))
        return;
    lock_take(&tier->drain.lock);
    note_waiting(tier, env_mono_ms(tier->config.env));
    atomic_store(&tier->drain.idle, false);
    cond_wake(&tier->drain.cond);
    lock_drop(&tier->drain.lock);
}

uint64_t drain_age_ms(const struct tier *tier)
{
    if (l1_dirty_count(tier->l1) == 0)
        return 0;
    uint64_t since_ms = atomic_load(&tier->drain.waiting_since_ms);
    uint64_t now_ms = since_ms ? env_mono_ms(tier->config.env) : 0;
    return now_ms > since_ms ? now_ms - since_ms : 1;
}

/* The more carts are dirty, the longer they wait for more changes of the same carts, so that
 * writing takes a bounded part of the time, however busy the clients are. Without L3 nobody waits
 * for L2: it only has to come before the journal is too long. */
static uint64_t delay_now_ms(const struct tier *tier)
{
    if (tier->down.count == 0)
        return DRAIN_DELAY_MAX_MS;
    uint64_t delay_ms = DRAIN_DELAY_MS + l1_dirty_count(tier->l1) * DRAIN_CART_US / 1000;
    return delay_ms < DRAIN_DELAY_MAX_MS ? delay_ms : DRAIN_DELAY_MAX_MS;
}

size_t drain_journal_bytes_max(const struct tier *tier)
{
    size_t bytes = l1_limit(tier->l1) / DRAIN_JOURNAL_PART;
    bytes = bytes < DRAIN_JOURNAL_MAX ? bytes : DRAIN_JOURNAL_MAX;
    return bytes > DRAIN_JOURNAL_MIN ? bytes : DRAIN_JOURNAL_MIN;
}

/* The journal must stay short, and memory must not fill with what cannot be evicted. */
static bool is_pressed(const struct tier *tier, uint64_t end)
{
    return (catchup_is_over(tier) &&
            end - tier->drain.checkpoint > drain_journal_bytes_max(tier)) ||
           l1_dirty_bytes(tier->l1) > l1_limit(tier->l1) / DRAIN_MEMORY_PART;
}

/* Lets changes gather, a step at a time, until the delay is over, the clients have become quiet, or
 * it is time for another reason. */
static void let_gather(struct tier *tier)
{
    struct drain *drain = &tier->drain;
    uint64_t waited_ms = 0, before, end = journal_end(tier->journal);
    do {
        before = end;
        cond_wait(&drain->cond, &drain->lock, DRAIN_DELAY_MS);
        waited_ms += DRAIN_DELAY_MS;
        end = journal_end(tier->journal);
        atomic_store(&drain->delay_ms, waited_ms);
    } while (!drain->stopping && !drain->kicked && waited_ms < delay_now_ms(tier) &&
             end - before > DRAIN_QUIET_BYTES && !is_pressed(tier, end));
}

static bool is_work(const struct tier *tier)
{
    const struct drain *drain = &tier->drain;
    return drain->stopping || drain->kicked || drain->unmarks || drain->leaves.len ||
           !atomic_load(&drain->idle) || l1_dirty_count(tier->l1) > 0;
}

static bool is_quiet(void *ctx)
{
    struct tier *tier = ctx;
    lock_take(&tier->drain.lock);
    bool quiet = !is_work(tier);
    lock_drop(&tier->drain.lock);
    return quiet;
}

/* Clients have been quiet for a while: memory that writing needs, or has left, is given back. */
static void settle(struct tier *tier)
{
    lock_drop(&tier->drain.lock);
    buf_free(&tier->drain.gather);
    l2_batch_shrink(tier->drain.batch);
    l2_settle(tier->l2);
    l1_tidy(tier->l1, is_quiet, tier);
    lock_take(&tier->drain.lock);
}

/* Sleeps until there is something to do, then lets it gather for a while. False: stop. */
static bool wait_for_work(struct tier *tier, bool failed)
{
    struct drain *drain = &tier->drain;
    unsigned settle_ms = DRAIN_SETTLE_MS;
    lock_take(&drain->lock);
    atomic_store(&drain->idle, true);
    while (!failed && !is_work(tier)) {
        if (cond_wait(&drain->cond, &drain->lock, settle_ms) || settle_ms == 0)
            continue;
        settle(tier);
        settle_ms = 0;
    }
    atomic_store(&drain->idle, false);
    if (l1_dirty_count(tier->l1))
        note_waiting(tier, env_mono_ms(tier->config.env));
    if (failed && !drain->stopping && !drain->kicked)
        cond_wait(&drain->cond, &drain->lock, DRAIN_RETRY_MS);
    else if (!drain->stopping && !drain->kicked)
        let_gather(tier);
    drain->kicked = false;
    bool go = !drain->stopping;
    lock_drop(&drain->lock);
    return go;
}

static void *run_drain(void *arg)
{
    struct tier *tier = arg;
    thread_give_way();
    bool failed = false, told = false;
    while (wait_for_work(tier, failed)) {
        int rc = drain_sweep(tier);
        failed = rc != 0;
        if (failed && !told)
            log_error("tier",
                      "writing to L2 failed: %s; carts stay in memory and the journal, "
                      "trying again",
                      err_text(rc));
        if (!failed && told)
            log_info("tier", "writing to L2 works again");
        told = failed;
    }
    return NULL;
}

int drain_start(struct tier *tier)
{
    if (tier->drain.started)
        return 0;
    tier->drain.stopping = false;
    int rc = thread_start(&tier->drain.thread, "l2-writer", run_drain, tier);
    tier->drain.started = rc == 0;
    set_room_open(tier, rc == 0);
    return rc;
}

void drain_stop(struct tier *tier)
{
    if (!tier->drain.started)
        return;
    lock_take(&tier->drain.lock);
    tier->drain.stopping = true;
    cond_wake(&tier->drain.cond);
    lock_drop(&tier->drain.lock);
    pthread_join(tier->drain.thread, NULL);
    tier->drain.started = false;
    set_room_open(tier, false);
    wake_room(tier, CE_NOMEM);
}

/* ---- another database ---- */

static int mark_one(void *arg, struct slice key, const struct l2_cart *cart)
{
    struct tier *tier = arg;
    (void)cart;
    l2_batch_mark(tier->drain.batch, key);
    if (l2_batch_bytes(tier->drain.batch) < DRAIN_BATCH_BYTES)
        return 0;
    return l2_batch_commit(tier->l2, tier->drain.batch);
}

int drain_mark_all(struct tier *tier)
{
    struct buf marked_for = {0};
    int rc = l2_meta_get(tier->l2, "l3", &marked_for);
    bool same = rc == 0 && slice_eq(buf_slice(&marked_for), buf_slice(&tier->l3_name));
    buf_free(&marked_for);
    if (same)
        return 0;
    rc = l2_each(tier->l2, mark_one, tier);
    if (rc)
        return rc;
    l2_batch_meta(tier->drain.batch, "l3", buf_slice(&tier->l3_name));
    return l2_batch_commit(tier->l2, tier->drain.batch);
}

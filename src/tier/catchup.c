/* catchup: what the journal has and L2 lacks, brought together cart by cart while clients are
 * served.
 *
 * The start reads the journal once and keeps the records that L2 may lack where they were read, in
 * a chain per cart (by the hash of its key), the last first. Then carts are served: a thread takes
 * chain after chain, applies it to what L2 has and puts the cart into L1, dirty. A request for a
 * cart whose chain is still to come is a miss in L1, and its fill waits until the thread has taken
 * that chain, which it does first. So nobody ever sees a cart without its records, and the start
 * takes a time that grows with the journal's bytes only, not with reads of L2.
 *
 * Until the last chain is done L2's checkpoint stays where it was: a crash meanwhile begins all
 * anew, and a record that a state has already is passed over. When L2 turns out to be damaged, the
 * journal is read again from its very begin, and all carts that it knows wait once more.
 *
 * Keys that share a hash share a chain; its records are applied in order, each to its own cart. */
#include "tier/tier_int.h"

#include <stdlib.h>

#define CHAINS_CAP_MIN   65536
#define RECORDS_CHUNK    65536 /* records that get memory at once: 2 MiB */
#define RETRY_MS         500
#define RECORDS_BYTES(n) (2 * (n)) /* kept of so much journal: each record has a head in memory */
#define RECORDS_MAX      ((size_t)UINT32_MAX)

/* A record, where journal_replay has left it. Records have numbers; 0 = none. */
struct late_record {
    const uint8_t *payload; /* a tier_head and the body */
    uint64_t end_lsn;
    uint32_t payload_bytes;
    uint32_t record_bytes;
    uint32_t other; /* of the same chain: the one before; while it is applied the one behind */
    uint8_t type;
};

/* A place in `chains`; last 0 = free. The hash is the end of that of a key. */
struct late_chain {
    uint32_t hash;
    uint32_t last; /* a record, or CHAIN_DONE */
};

#define CHAIN_DONE UINT32_MAX

struct late_wait {
    struct late_wait *next;
    uint64_t hash;
    bool done;
    int rc;
};

void catchup_init(struct tier *tier)
{
    lock_init(&tier->catchup.lock, LOCK_L2_QUEUE);
    cond_init(&tier->catchup.cond);
    cond_init(&tier->catchup.answered);
}

void catchup_forget(struct tier *tier)
{
    struct catchup *catchup = &tier->catchup;
    for (size_t i = 0; i < catchup->chunk_count; i++)
        huge_free(catchup->chunks[i], RECORDS_CHUNK * sizeof **catchup->chunks);
    free(catchup->chunks);
    huge_free(catchup->chains, catchup->chains_cap * sizeof *catchup->chains);
    catchup->chunks = NULL;
    catchup->chains = NULL;
    catchup->chunk_count = catchup->records_count = catchup->kept_bytes = 0;
    catchup->chains_cap = catchup->chains_used = catchup->new_count = 0;
    atomic_store(&catchup->left, 0);
    if (tier->journal)
        journal_forget_read(tier->journal);
}

void catchup_fini(struct tier *tier)
{
    catchup_forget(tier);
    if (tier->catchup.l3)
        l3_close(&tier->catchup.l3);
    cond_fini(&tier->catchup.answered);
    cond_fini(&tier->catchup.cond);
    lock_fini(&tier->catchup.lock);
}

/* ---- chains ---- */

static struct late_record *record_at(const struct catchup *catchup, uint32_t number)
{
    return &catchup->chunks[number / RECORDS_CHUNK][number % RECORDS_CHUNK];
}

/* The chain of a hash, or the free place where it would stand. There is always a free one. */
static struct late_chain *find_chain(struct late_chain *chains, size_t cap, uint32_t hash)
{
    size_t at = hash & (cap - 1);
    while (chains[at].last && chains[at].hash != hash)
        at = (at + 1) & (cap - 1);
    return &chains[at];
}

static bool is_late(const struct late_chain *chain)
{
    return chain->last && chain->last != CHAIN_DONE;
}

static int reserve_chains(struct catchup *catchup, size_t more)
{
    if ((catchup->chains_used + more) * 2 < catchup->chains_cap)
        return 0;
    size_t cap = catchup->chains_cap ? catchup->chains_cap * 2 : CHAINS_CAP_MIN;
    struct late_chain *chains = huge_new(cap * sizeof *chains);
    if (!chains)
        return CE_NOMEM;
    for (size_t i = 0; i < catchup->chains_cap; i++) {
        if (catchup->chains[i].last)
            *find_chain(chains, cap, catchup->chains[i].hash) = catchup->chains[i];
    }
    huge_free(catchup->chains, catchup->chains_cap * sizeof *catchup->chains);
    catchup->chains = chains;
    catchup->chains_cap = cap;
    return 0;
}

/* Brings the newest records into their chains: a batch at a time, for each place is far away in
 * memory, and was prefetched when its record came. */
static int link_new(struct catchup *catchup)
{
    if (reserve_chains(catchup, LATE_NEW_MAX))
        return CE_NOMEM;
    uint32_t number = (uint32_t)(catchup->records_count - catchup->new_count);
    for (size_t i = 0; i < catchup->new_count; i++) {
        uint32_t hash = catchup->new_hashes[i];
        struct late_chain *chain = find_chain(catchup->chains, catchup->chains_cap, hash);
        catchup->chains_used += chain->last == 0;
        record_at(catchup, ++number)->other = is_late(chain) ? chain->last : 0;
        *chain = (struct late_chain){hash, number};
    }
    catchup->new_count = 0;
    return 0;
}

static int reserve_record(struct catchup *catchup)
{
    size_t chunk = (catchup->records_count + 1) / RECORDS_CHUNK, count = catchup->chunk_count;
    if (chunk < count)
        return 0;
    struct late_record **chunks = realloc(catchup->chunks, (count + 1) * sizeof *chunks);
    if (!chunks)
        return CE_NOMEM;
    catchup->chunks = chunks;
    chunks[count] = huge_new(RECORDS_CHUNK * sizeof **chunks);
    catchup->chunk_count += chunks[count] != NULL;
    return chunks[count] ? 0 : CE_NOMEM;
}

static int keep_record(struct catchup *catchup, uint64_t key_hash, struct late_record record)
{
    uint32_t hash = (uint32_t)key_hash;
    if (catchup->records_count + 1 >= RECORDS_MAX || reserve_record(catchup))
        return CE_NOMEM;
    if (catchup->new_count == LATE_NEW_MAX && link_new(catchup))
        return CE_NOMEM;
    if (catchup->chains)
        __builtin_prefetch(&catchup->chains[hash & (catchup->chains_cap - 1)], 1);
    catchup->new_hashes[catchup->new_count++] = hash;
    *record_at(catchup, (uint32_t)++catchup->records_count) = record;
    catchup->kept_bytes += sizeof record + record.record_bytes;
    return 0;
}

/* ---- one chain ---- */

/* What a cart's records are applied to, and what came of it. */
struct late_cart {
    struct slice key;
    struct buf state;      /* as it is now */
    uint64_t base_hash;    /* of what L1 had of it; 0 = nothing */
    uint32_t l3_rev;       /* of what was found */
    struct tier_link link; /* of the newest record that changed it; bytes 0 = none did */
};

static int make_room(struct tier *tier, size_t bytes)
{
    if (tier->catchup.started)
        return fill_wait_room(tier, bytes);
    /* The start itself: there is no L2 writer yet. */
    return l1_room(tier->l1, bytes) ? drain_sweep(tier) : 0;
}

static uint64_t base_hash_of(const struct l1_item *item)
{
    return hash_64(l1_value_slice(item)) | 1;
}

static int read_l1(struct tier *tier, struct late_cart *cart)
{
    struct l1_item *item;
    uint64_t hash = hash_64(cart->key);
    l1_lock(tier->l1, hash);
    int rc = 0;
    bool here = tier_find_any_locked(tier, hash, cart->key, &item) == TIER_HERE;
    if (here) {
        struct slice state = l1_value_slice(item);
        rc = buf_append(&cart->state, state.bytes, state.len);
        cart->base_hash = base_hash_of(item);
        cart->l3_rev = item->cart.l3_rev;
    }
    l1_unlock(tier->l1, hash);
    return rc ? rc : here ? 0 : CE_NOTFOUND;
}

/* The newest state that any tier has; empty when none has one. */
static int read_base(struct tier *tier, struct late_cart *cart, uint8_t first_type)
{
    struct buf storage = {0};
    struct l2_cart found;
    bool from_l3;
    cart->state.len = 0;
    cart->base_hash = 0;
    cart->l3_rev = 0;
    cart->link = (struct tier_link){0, 0};
    int rc = read_l1(tier, cart);
    if (rc != CE_NOTFOUND)
        return rc;
    rc = fill_read(tier, &tier->catchup.l3, cart->key, &storage, &found, &from_l3);
    if (rc == 0)
        rc = buf_append(&cart->state, found.state.bytes, found.state.len);
    if (rc == 0)
        cart->l3_rev = found.l3_rev;
    buf_free(&storage);
    if (rc == CE_CORRUPT && l2_is_damaged(tier->l2))
        return CE_IO; /* it is mended first */
    if (rc == CE_DB && first_type == tier->config.state_record)
        return 0; /* builds on nothing; what the database has is joined when it answers */
    return rc == CE_NOTFOUND ? 0 : rc;
}

static int put_item_locked(struct tier *tier, uint64_t hash, const struct late_cart *cart)
{
    struct l1_item *item;
    struct slice state = buf_slice(&cart->state);
    bool here = tier_find_any_locked(tier, hash, cart->key, &item) == TIER_HERE;
    if (cart->base_hash != (here ? base_hash_of(item) : 0))
        return CE_BUSY;
    int rc = l1_dirty_reserve_locked(tier->l1, hash);
    if (rc == 0)
        rc = l1_put_locked(tier->l1, hash, cart->key, L1_CART, state.len, &item);
    if (rc)
        return rc;
    memcpy(l1_value(item), state.bytes, state.len);
    item->cart.l3_rev = cart->l3_rev;
    if (item->cart.lsn < cart->link.lsn) {
        item->cart.lsn = cart->link.lsn;
        item->cart.record_bytes = cart->link.bytes;
    }
    l1_dirty_locked(tier->l1, hash, item);
    drain_dirty(tier);
    return 0;
}

/* CE_BUSY: somebody changed it meanwhile; then it was in L1 before, and is to be read again. */
static int put_cart(struct tier *tier, const struct late_cart *cart)
{
    uint64_t hash = hash_64(cart->key);
    int rc = make_room(tier, cart->key.len + cart->state.len);
    if (rc)
        return rc;
    l1_lock(tier->l1, hash);
    rc = put_item_locked(tier, hash, cart);
    l1_unlock(tier->l1, hash);
    return rc;
}

static struct tier_replayed open_record(const struct late_record *record)
{
    struct slice body = slice_of(record->payload, record->payload_bytes);
    struct tier_head head;
    MUST(tier_head_take(&body, &head)); /* as when it was kept */
    return (struct tier_replayed){
        .type = record->type, .key = head.key, .body = body, .end_lsn = record->end_lsn};
}

/* Applies the records of the chain's next cart; *at moves behind them. */
static int replay_cart(struct tier *tier, uint32_t *at, struct late_cart *cart, struct buf *after)
{
    const struct catchup *catchup = &tier->catchup;
    const struct late_record *record = record_at(catchup, *at);
    struct tier_replayed replayed = open_record(record);
    uint32_t next = *at;
    cart->key = replayed.key;
    int rc = read_base(tier, cart, record->type);
    while (rc == 0 && slice_eq(replayed.key, cart->key)) {
        after->len = 0;
        rc = tier->start.replay(tier->start.arg, &replayed, buf_slice(&cart->state), after);
        if (rc == 0 && after->len) {
            struct buf before = cart->state;
            cart->state = *after;
            *after = before;
            cart->link = (struct tier_link){record->end_lsn, record->record_bytes};
        }
        next = record->other;
        if (next == 0)
            break;
        record = record_at(catchup, next);
        replayed = open_record(record);
    }
    if (rc == 0 && cart->link.bytes)
        rc = put_cart(tier, cart);
    if (rc == 0)
        *at = next;
    return rc == CE_BUSY ? 0 : rc;
}

/* Turns a chain round: what began with its last record begins with its first, or back. What each
 * record says is far away in memory, and soon wanted. */
static uint32_t turn_chain(const struct catchup *catchup, uint32_t at)
{
    uint32_t turned = 0;
    while (at) {
        struct late_record *record = record_at(catchup, at);
        uint32_t other = record->other;
        __builtin_prefetch(record->payload);
        record->other = turned;
        turned = at;
        at = other;
    }
    return turned;
}

static int replay_chain(struct tier *tier, uint32_t last)
{
    struct late_cart cart = {.base_hash = 0};
    struct buf after = {0};
    uint32_t first = turn_chain(&tier->catchup, last);
    int rc = 0;
    for (uint32_t at = first; at && rc == 0;)
        rc = replay_cart(tier, &at, &cart, &after);
    if (rc)
        turn_chain(&tier->catchup, first); /* as it was, for the next try */
    buf_free(&cart.state);
    buf_free(&after);
    return rc;
}

/* ---- the start ---- */

/* More than is kept in memory: all of it at once, while nobody is served. */
static int replay_all(struct tier *tier)
{
    struct catchup *catchup = &tier->catchup;
    int rc = link_new(catchup);
    catchup->whole = true;
    for (size_t i = 0; i < catchup->chains_cap && rc == 0; i++) {
        if (is_late(&catchup->chains[i]))
            rc = replay_chain(tier, catchup->chains[i].last);
    }
    if (rc == 0)
        catchup_forget(tier);
    return rc;
}

static int note_part(struct tier *tier, uint8_t type, struct slice payload, uint64_t end_lsn,
                     uint32_t record_bytes)
{
    struct tier_head head;
    struct buf nothing = {0};
    struct slice body = payload;
    if (tier_head_take(&body, &head))
        return keep_record(&tier->catchup, hash_64(head.key),
                           (struct late_record){.payload = payload.bytes,
                                                .end_lsn = end_lsn,
                                                .payload_bytes = (uint32_t)payload.len,
                                                .record_bytes = record_bytes,
                                                .type = type});
    const struct tier_replayed broken = {.type = type, .body = payload, .end_lsn = end_lsn};
    return tier->start.replay(tier->start.arg, &broken, slice_of(NULL, 0), &nothing);
}

/* Of a longer journal than L2 should ever lack half of L1's memory is kept, for L1 is empty yet. */
static size_t kept_bytes_max(const struct tier *tier)
{
    size_t usual = RECORDS_BYTES(drain_journal_bytes_max(tier)), half = l1_limit(tier->l1) / 2;
    return half > usual ? half : usual;
}

int catchup_note(void *arg, uint8_t type, struct slice payload, uint64_t end_lsn)
{
    struct tier *tier = arg;
    uint32_t bytes = journal_record_bytes(payload.len);
    uint64_t len = 0;
    int rc = 0;
    if (!tier->catchup.started && tier->catchup.kept_bytes > kept_bytes_max(tier))
        rc = replay_all(tier);
    if (rc)
        return rc;
    if (type != tier->config.pair_record || !varint_take(&payload, &len) || len > payload.len)
        return note_part(tier, type, payload, end_lsn, bytes);
    rc = note_part(tier, type, slice_of(payload.bytes, len), end_lsn, bytes);
    return rc ? rc : note_part(tier, type, slice_from(payload, len), end_lsn, bytes);
}

/* ---- asking ---- */

bool catchup_is_over(const struct tier *tier)
{
    return !atomic_load(&tier->catchup.running);
}

static bool is_late_locked(const struct catchup *catchup, uint64_t hash)
{
    if (!atomic_load(&catchup->running))
        return false;
    return catchup->reload || catchup->reloading ||
           is_late(find_chain(catchup->chains, catchup->chains_cap, (uint32_t)hash));
}

int catchup_await(struct tier *tier, uint64_t hash)
{
    struct catchup *catchup = &tier->catchup;
    struct late_wait wait = {.hash = hash};
    if (!atomic_load(&catchup->running))
        return 0;
    lock_take(&catchup->lock);
    if (is_late_locked(catchup, hash) && catchup->stopping) {
        wait.rc = CE_STOPPED;
    } else if (is_late_locked(catchup, hash)) {
        wait.next = catchup->waits;
        catchup->waits = &wait;
        cond_wake(&catchup->cond);
        while (!wait.done)
            cond_wait(&catchup->answered, &catchup->lock, 0);
    }
    lock_drop(&catchup->lock);
    return wait.rc;
}

void catchup_reload(struct tier *tier)
{
    struct catchup *catchup = &tier->catchup;
    lock_take(&catchup->lock);
    if (atomic_load(&catchup->running))
        catchup->reload = true;
    cond_wake(&catchup->cond);
    lock_drop(&catchup->lock);
}

/* ---- the thread ---- */

static void answer_locked(struct catchup *catchup, struct late_wait *wait, int rc)
{
    wait->rc = rc;
    wait->done = true;
    cond_wake_all(&catchup->answered);
}

/* The lock is dropped meanwhile; the chains are this thread's to change. */
static int do_chain_locked(struct tier *tier, struct late_chain *chain)
{
    struct catchup *catchup = &tier->catchup;
    if (!is_late(chain))
        return 0;
    lock_drop(&catchup->lock);
    int rc = replay_chain(tier, chain->last);
    lock_take(&catchup->lock);
    if (rc == 0) {
        chain->last = CHAIN_DONE;
        atomic_fetch_sub(&catchup->left, 1);
    } else if (!catchup->told) {
        log_error("tier", "records of the journal can't be applied now: %s; trying again",
                  err_text(rc));
        catchup->told = true;
    }
    return rc;
}

/* The lock is dropped meanwhile: until it is over every cart is late, so nobody looks at chains. */
static int do_reload_locked(struct tier *tier)
{
    struct catchup *catchup = &tier->catchup;
    catchup->reload = false;
    catchup->reloading = true;
    lock_drop(&catchup->lock);
    catchup_forget(tier);
    int rc = journal_reread(tier->journal, catchup->end_lsn, catchup_note, tier);
    if (rc == 0)
        rc = link_new(catchup);
    atomic_store(&catchup->left, catchup->chains_used);
    lock_take(&catchup->lock);
    catchup->reloading = false;
    catchup->reload |= rc != 0;
    catchup->cursor = 0;
    return rc;
}

/* The next thing to do; *rc is what came of it. False when all is done. */
static bool step_locked(struct tier *tier, int *rc)
{
    struct catchup *catchup = &tier->catchup;
    *rc = catchup->reload ? do_reload_locked(tier) : 0;
    struct late_wait *wait = catchup->waits;
    if (wait) {
        catchup->waits = wait->next;
        if (*rc == 0)
            *rc = do_chain_locked(
                tier, find_chain(catchup->chains, catchup->chains_cap, (uint32_t)wait->hash));
        answer_locked(catchup, wait, *rc);
        *rc = 0; /* told to whoever asked */
        return true;
    }
    while (*rc == 0 && catchup->cursor < catchup->chains_cap &&
           !is_late(&catchup->chains[catchup->cursor]))
        catchup->cursor++;
    if (*rc == 0 && catchup->cursor == catchup->chains_cap)
        return false;
    if (*rc == 0)
        *rc = do_chain_locked(tier, &catchup->chains[catchup->cursor]);
    return true;
}

static void end_locked(struct tier *tier)
{
    struct catchup *catchup = &tier->catchup;
    for (struct late_wait *wait = catchup->waits, *next; wait; wait = next) {
        next = wait->next;
        answer_locked(catchup, wait, catchup->stopping ? CE_STOPPED : 0);
    }
    catchup->waits = NULL;
    if (catchup->stopping)
        return; /* what is left stays in the journal, in front of L2's checkpoint */
    catchup_forget(tier);
    atomic_store(&catchup->running, false);
    cond_wake_all(&catchup->answered);
}

static void *run_catchup(void *arg)
{
    struct tier *tier = arg;
    struct catchup *catchup = &tier->catchup;
    int rc;
    thread_background();
    lock_take(&catchup->lock);
    while (!catchup->stopping && step_locked(tier, &rc)) {
        if (rc && !catchup->stopping && !catchup->waits)
            cond_wait(&catchup->cond, &catchup->lock, RETRY_MS);
    }
    end_locked(tier);
    lock_drop(&catchup->lock);
    drain_kick(tier); /* the checkpoint may move on */
    return NULL;
}

/* A cart that L1 has is served at once: no record of it may be left for the thread. */
int catchup_read(struct tier *tier)
{
    return tier->catchup.whole ? replay_all(tier) : link_new(&tier->catchup);
}

void catchup_begin(struct tier *tier)
{
    tier->catchup.end_lsn = journal_end(tier->journal);
    atomic_store(&tier->catchup.left, tier->catchup.chains_used);
    atomic_store(&tier->catchup.running, tier->catchup.chains_used > 0);
    if (tier->catchup.chains_used == 0)
        catchup_forget(tier); /* segments were read all the same */
}

int catchup_start(struct tier *tier)
{
    struct catchup *catchup = &tier->catchup;
    if (!atomic_load(&catchup->running) || catchup->started)
        return 0;
    catchup->started = true;
    int rc = thread_start(&catchup->thread, "catchup", run_catchup, tier);
    if (rc) /* else the thread looks at it */
        catchup->started = false;
    return rc;
}

void catchup_stop(struct tier *tier, unsigned timeout_ms)
{
    struct catchup *catchup = &tier->catchup;
    if (!catchup->started)
        return;
    uint64_t end_ms = env_mono_ms(tier->config.env) + timeout_ms;
    lock_take(&catchup->lock);
    for (uint64_t now_ms = env_mono_ms(tier->config.env);
         atomic_load(&catchup->running) && now_ms < end_ms; now_ms = env_mono_ms(tier->config.env))
        cond_wait(&catchup->answered, &catchup->lock, (unsigned)(end_ms - now_ms));
    catchup->stopping = true;
    cond_wake(&catchup->cond);
    lock_drop(&catchup->lock);
    MUST(pthread_join(catchup->thread, NULL) == 0);
    catchup->started = false;
}

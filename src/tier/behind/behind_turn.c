/* One turn of write-behind: take due carts into flight, ask the owner for their states, write them
 * in one transaction, settle each cart's fate, refill.
 *
 * Failures. The connection is closed after any of them and opened again by the next turn. While
 * nothing has succeeded since (`streak`), every try is preceded by a pause. A failed batch of n is
 * tried again in parts of n/8, so that a poison cart is alone after four failures at most; it is
 * parked, and the rest goes on in full batches. Whether a cart that failed alone is poison or the
 * database was down is not known then: the first success after failures recalls all parked carts.
 * A parked cart is written alone and its failure, when the database works otherwise, delays nobody.
 */
#include "tier/behind/behind_int.h"

#include <stdio.h>
#include <stdlib.h>

uint64_t behind_pause_ms(const struct behind *behind, unsigned repeats, uint64_t first_ms,
                         uint64_t max_ms)
{
    uint64_t pause_ms = first_ms;
    for (unsigned i = 1; i < repeats && pause_ms < max_ms; i++)
        pause_ms *= 2;
    if (pause_ms > max_ms)
        pause_ms = max_ms;
    return pause_ms - env_random_u64(behind->env) % (pause_ms / 2 + 1);
}

/* ---- the database's health ----------------------------------------------------------- */

void behind_note_error(struct behind *behind, const char *words)
{
    lock_take(&behind->lock);
    snprintf(behind->last_error, sizeof behind->last_error, "%s", words);
    lock_drop(&behind->lock);
}

/* A parked cart that fails while others succeed tells nothing about the database. */
static void note_failure(struct behind *behind, const char *words, bool is_cart_to_blame)
{
    behind_stat_count(behind, BEHIND_STAT_behind_errors);
    behind_note_error(behind, words);
    if (!is_cart_to_blame) {
        if (behind->streak++ == 0)
            log_warn("behind", "database: %s; carts wait, trying again", words);
        uint64_t pause_ms =
            behind_pause_ms(behind, behind->streak, BEHIND_BACKOFF_FIRST_MS, BEHIND_BACKOFF_MAX_MS);
        lock_take(&behind->lock);
        behind->failing = true;
        behind->retry_at_ms = env_mono_ms(behind->env) + pause_ms;
        lock_drop(&behind->lock);
    }
    l3_close(&behind->l3);
}

static void note_success(struct behind *behind)
{
    behind_stat_count(behind, BEHIND_STAT_behind_batches);
    if (behind->streak == 0)
        return;
    log_info("behind", "database: works again after %u failures", behind->streak);
    behind->streak = 0;
    lock_take(&behind->lock);
    behind->failing = false;
    behind_queue_recall(&behind->queue, env_mono_ms(behind->env));
    lock_drop(&behind->lock);
}

/* True when there is a connection to work with. */
static bool connect_database(struct behind *behind)
{
    lock_take(&behind->lock);
    bool too_early = env_mono_ms(behind->env) < behind->retry_at_ms;
    lock_drop(&behind->lock);
    if (too_early)
        return false;
    if (behind->l3)
        return true;
    char message[BEHIND_MESSAGE_MAX] = "";
    int err = behind->open(behind->url, &behind->l3, message, sizeof message);
    if (err)
        note_failure(behind, message, false);
    return !err;
}

/* ---- take-off ------------------------------------------------------------------------ */

static void take_off_locked(struct behind *behind, size_t at, struct behind_entry *entry,
                            uint64_t now_ms)
{
    struct behind_item *item = &behind->items[at];
    item->entry = entry;
    item->version = entry->version;
    item->fate = BEHIND_FATE_BACK;
    entry->joins = false;
    entry->due_ms = entry->due_ms ? now_ms : 0;
    behind_queue_fly(&behind->queue, entry);
}

/* New carts need room, and what finds none is looked for in L2. */
static bool is_nearly_full_locked(const struct behind *behind)
{
    return behind_queue_count(&behind->queue) >= behind->queue_max - behind->queue_max / 8;
}

/* How long after its change the head waits for more of them while clients are busy: the more carts
 * wait or are on their way here, the more one writing of them all costs, and the less often it
 * shall be. */
static uint64_t patience_ms_locked(const struct behind *behind)
{
    if (!behind->busy || is_nearly_full_locked(behind))
        return 0;
    uint64_t carts = behind->queue.counts[BEHIND_QUEUED] + behind->coming;
    uint64_t ms = carts * behind->cart_us / 1000;
    return ms < behind->delay_max_ms ? ms : behind->delay_max_ms;
}

uint64_t behind_due_ms_locked(const struct behind *behind, const struct behind_entry *queued)
{
    uint64_t patient_ms = queued->since_ms + behind->delay_ms + patience_ms_locked(behind);
    return queued->due_ms && patient_ms > queued->due_ms ? patient_ms : queued->due_ms;
}

/* A drain ignores the delay, but not the time that a joined state needs to reach L2. */
static uint64_t due_ms_locked(const struct behind *behind, const struct behind_entry *queued)
{
    if (queued->joins)
        return queued->due_ms;
    return behind->drains || behind->run ? 0 : behind_due_ms_locked(behind, queued);
}

/* Carts that are neighbours in the database go together: a page of it is written once for all of
 * its carts. So all that are due become a run; the others wait behind it. */
static void begin_run_locked(struct behind *behind, uint64_t now_ms)
{
    const struct behind_entry *entry = behind->queue.places[BEHIND_QUEUED];
    size_t due = 0;
    if (behind->run || behind->queue.counts[BEHIND_QUEUED] <= behind->batch_max)
        return;
    for (; entry && due_ms_locked(behind, entry) <= now_ms; entry = entry->next)
        due++;
    if (due <= behind->batch_max)
        return;
    behind->run = due;
    behind->run_since_ms = behind_queue_oldest(&behind->queue);
    behind_queue_sort(&behind->queue, due);
}

/* A cart of the run that has been merged meanwhile has to wait after all. */
static bool leaves_run_locked(struct behind *behind, struct behind_entry *head, uint64_t now_ms)
{
    if (!behind->run || !head->joins || head->due_ms <= now_ms)
        return false;
    behind->run--;
    behind_queue_back(&behind->queue, head, head->due_ms);
    return true;
}

/* The next cart whose time has come, NULL when there is none. */
static struct behind_entry *next_due_locked(struct behind *behind, uint64_t now_ms)
{
    struct behind_entry *const *head = &behind->queue.places[BEHIND_QUEUED];
    while (*head && leaves_run_locked(behind, *head, now_ms))
        ;
    if (!*head || due_ms_locked(behind, *head) > now_ms)
        return NULL;
    begin_run_locked(behind, now_ms);
    while (*head && leaves_run_locked(behind, *head, now_ms))
        ;
    return *head && due_ms_locked(behind, *head) <= now_ms ? *head : NULL;
}

/* Fills items with carts whose time has come; returns how many. */
static size_t take_due(struct behind *behind)
{
    size_t count = 0;
    lock_take(&behind->lock);
    uint64_t now_ms = env_mono_ms(behind->env);
    while (count < behind->limit && !behind->stopping) {
        struct behind_entry *head = next_due_locked(behind, now_ms);
        if (!head)
            break;
        behind->run -= behind->run > 0;
        take_off_locked(behind, count++, head, now_ms);
    }
    lock_drop(&behind->lock);
    return count;
}

static size_t take_parked(struct behind *behind)
{
    lock_take(&behind->lock);
    struct behind_entry *head = behind->queue.places[BEHIND_PARKED];
    uint64_t now_ms = env_mono_ms(behind->env);
    bool takes = head && head->due_ms <= now_ms && !behind->stopping;
    if (takes)
        take_off_locked(behind, 0, head, now_ms);
    lock_drop(&behind->lock);
    return takes;
}

/* ---- in flight ----------------------------------------------------------------------- */

static void blame_cart(struct behind_item *item, const char *words)
{
    const struct behind_entry *entry = item->entry;
    item->fate = BEHIND_FATE_PARK;
    log_write(entry->failures == 0 ? LOG_WARN : LOG_DEBUG, "behind", "cart %.*s set aside: %s",
              (int)entry->key_len, (const char *)entry->key, words);
}

/* Asks the owner what to write. False when there is nothing to write; the fate says why. */
static bool describe_cart(struct behind *behind, struct behind_item *item)
{
    const struct behind_owner *owner = behind->owner;
    struct slice key = behind_key(item->entry);
    uint32_t l3_rev = 0;
    item->cart = (struct l3_cart){0};
    int err = owner->snapshot(owner->ctx, key, &item->state, &l3_rev);
    if (err == CE_NOTFOUND) {
        item->fate = BEHIND_FATE_DONE;
        return false;
    }
    if (!err)
        err = owner->row(owner->ctx, key, buf_slice(&item->state), &item->arena, &item->cart);
    if (err)
        blame_cart(item, err_text(err));
    item->cart.key = key;
    /* What we wrote ourselves while the owner took the state is newer than what it knew then. */
    item->cart.rev = l3_rev > item->entry->rev ? l3_rev : item->entry->rev;
    return !err;
}

static int order_by_key(const void *a, const void *b)
{
    const struct behind_item *const *one = a;
    const struct behind_item *const *two = b;
    return slice_cmp((*one)->cart.key, (*two)->cart.key);
}

/* Turns items into rows, by key; returns how many. Items beyond the limit of bytes stay BACK. */
static size_t collect_rows(struct behind *behind, size_t count)
{
    size_t rows = 0;
    size_t bytes = 0;
    for (size_t i = 0; i < count && bytes < BEHIND_BATCH_BYTES; i++) {
        struct behind_item *item = &behind->items[i];
        if (describe_cart(behind, item))
            behind->rows[rows++] = item;
        bytes += item->state.len + item->arena.len;
    }
    qsort(behind->rows, rows, sizeof(struct behind_item *), order_by_key);
    for (size_t i = 0; i < rows; i++)
        behind->carts[i] = behind->rows[i]->cart;
    return rows;
}

/* Somebody else wrote the row: join theirs into ours. A row that is gone is revision 0 of nothing.
 */
static void resolve_conflict(struct behind *behind, struct behind_item *item)
{
    const struct behind_owner *owner = behind->owner;
    if (!behind->l3) /* lost since the flush: will be a conflict again */
        return;
    behind_stat_count(behind, BEHIND_STAT_behind_conflicts);
    uint32_t rev = 0;
    int err = l3_load(behind->l3, item->cart.key, &behind->image, &rev);
    if (err == CE_NOTFOUND) {
        behind->image.len = 0;
        rev = 0;
    } else if (err) {
        blame_cart(item, l3_message(behind->l3));
        note_failure(behind, l3_message(behind->l3), false);
        return;
    }
    err = owner->merge(owner->ctx, item->cart.key, buf_slice(&behind->image), rev);
    behind->image.len = 0;
    buf_shrink(&behind->image, BEHIND_BUFFER_KEEP);
    if (err) {
        blame_cart(item, err_text(err));
        return;
    }
    item->fate = BEHIND_FATE_AGAIN;
    item->entry->rev = 0; /* the row may be gone or older: what the owner knows now counts */
}

static void take_outcomes(struct behind *behind, size_t rows)
{
    const struct behind_owner *owner = behind->owner;
    for (size_t i = 0; i < rows; i++) {
        struct behind_item *item = behind->rows[i];
        switch (behind->carts[i].outcome) {
        case L3_DONE:
            item->fate = BEHIND_FATE_DONE;
            item->entry->rev = behind->carts[i].rev;
            behind_stat_count(behind, BEHIND_STAT_behind_flushed);
            owner->flushed(owner->ctx, item->cart.key, buf_slice(&item->state),
                           behind->carts[i].rev);
            break;
        case L3_CONFLICT: resolve_conflict(behind, item); break;
        case L3_FAILED: blame_cart(item, "not written"); break;
        }
    }
}

/* The next batches are parts of this one, until the cart that failed is alone. */
static void take_failure(struct behind *behind, size_t rows, bool was_parked)
{
    const char *words = l3_message(behind->l3);
    if (rows == 1) {
        blame_cart(behind->rows[0], words);
        behind->limit = behind->batch_max;
        behind->suspects = 0;
    } else {
        behind->limit = rows / BEHIND_SHRINK ? rows / BEHIND_SHRINK : 1;
        behind->suspects = rows;
    }
    note_failure(behind, words, was_parked && behind->streak == 0);
}

static void clear_suspects(struct behind *behind, size_t count)
{
    behind->suspects -= behind->suspects < count ? behind->suspects : count;
    if (behind->suspects == 0)
        behind->limit = behind->batch_max;
}

/* ---- landing ------------------------------------------------------------------------- */

static void settle_done_locked(struct behind *behind, struct behind_item *item, uint64_t now_ms)
{
    struct behind_entry *entry = item->entry;
    bool keeps = behind->busy && behind->hot_ms && !behind->drains;
    if (entry->version == item->version && !keeps) {
        behind_queue_remove(&behind->queue, entry);
        return;
    }
    entry->since_ms = now_ms;
    entry->failures = 0;
    if (entry->version == item->version)
        behind_queue_warm(&behind->queue, entry, now_ms + behind->hot_ms);
    else if (keeps)
        behind_queue_heat(&behind->queue, entry, now_ms + behind->hot_ms);
    else
        behind_queue_back(&behind->queue, entry, now_ms + behind->delay_ms);
}

/* The joined state is on its way to where snapshot() reads. */
static void settle_again_locked(struct behind *behind, struct behind_entry *entry, uint64_t now_ms)
{
    unsigned wait_ms = behind->delay_ms > BEHIND_JOIN_MS ? behind->delay_ms : BEHIND_JOIN_MS;
    behind_queue_back(&behind->queue, entry, now_ms + wait_ms);
    entry->joins = true;
}

static void settle_locked(struct behind *behind, struct behind_item *item, uint64_t now_ms)
{
    struct behind_entry *entry = item->entry;
    switch (item->fate) {
    case BEHIND_FATE_DONE: settle_done_locked(behind, item, now_ms); break;
    case BEHIND_FATE_BACK:
        behind->run += behind->run > 0;
        behind_queue_front(&behind->queue, entry);
        break;
    case BEHIND_FATE_AGAIN: settle_again_locked(behind, entry, now_ms); break;
    case BEHIND_FATE_PARK:
        entry->failures++;
        behind_queue_park(&behind->queue, entry,
                          now_ms + behind_pause_ms(behind, entry->failures, BEHIND_PARK_FIRST_MS,
                                                   BEHIND_PARK_MAX_MS));
        break;
    }
}

/* Last in flight first, so that those that go back in front keep their order. */
static void settle(struct behind *behind, size_t count)
{
    uint64_t now_ms = env_mono_ms(behind->env);
    lock_take(&behind->lock);
    for (size_t i = count; i-- > 0;)
        settle_locked(behind, &behind->items[i], now_ms);
    lock_drop(&behind->lock);
    for (size_t i = 0; i < count; i++) {
        struct behind_item *item = &behind->items[i];
        item->entry = NULL;
        item->state.len = 0;
        item->arena.len = 0;
        buf_shrink(&item->state, BEHIND_BUFFER_KEEP);
        buf_shrink(&item->arena, BEHIND_BUFFER_KEEP);
    }
}

static void fly(struct behind *behind, size_t count, bool was_parked)
{
    if (count == 0)
        return;
    size_t rows = collect_rows(behind, count);
    if (rows > 0 && l3_flush(behind->l3, behind->carts, rows)) {
        take_failure(behind, rows, was_parked);
    } else {
        if (rows > 0)
            note_success(behind);
        clear_suspects(behind, count);
        take_outcomes(behind, rows);
    }
    settle(behind, count);
}

/* ---- refill -------------------------------------------------------------------------- */

static bool wants_refill_locked(const struct behind *behind)
{
    return behind->overflow && behind->queue.counts[BEHIND_QUEUED] < behind->queue_max / 2 &&
           behind_queue_count(&behind->queue) < behind->queue_max;
}

/* Room for keys from a scan of the marks, which begins or goes on; 0 = not now. */
static size_t begin_refill(struct behind *behind)
{
    lock_take(&behind->lock);
    bool wants = wants_refill_locked(behind) && env_mono_ms(behind->env) >= behind->refill_at_ms;
    size_t room = wants ? behind->queue_max - behind_queue_count(&behind->queue) : 0;
    if (wants && !behind->scanning) {
        behind->scanning = true;
        behind->dropped_at_scan = behind->dropped;
    }
    lock_drop(&behind->lock);
    return room;
}

/* The scan has seen all marks. A key dropped since it began may have its mark behind the cursor, so
 * only a scan without drops ends the overflow. */
static void clear_overflow(struct behind *behind)
{
    lock_take(&behind->lock);
    behind->scanning = false;
    behind->overflow = behind->dropped != behind->dropped_at_scan;
    if (behind->overflow) /* no memory, perhaps: not again at once */
        behind->refill_at_ms = env_mono_ms(behind->env) + BEHIND_BACKOFF_FIRST_MS;
    behind_stat_set(behind, BEHIND_STAT_behind_overflow, behind->overflow);
    lock_drop(&behind->lock);
}

static void refill(struct behind *behind)
{
    size_t room = begin_refill(behind);
    if (room == 0)
        return;
    int err = behind->owner->refill(behind->owner->ctx, room);
    if (err == CE_NOTFOUND) {
        clear_overflow(behind);
    } else if (err) {
        log_warn("behind", "reading the marks of L2: %s", err_text(err));
        behind->refill_at_ms = env_mono_ms(behind->env) + BEHIND_BACKOFF_MAX_MS;
    }
}

/* ---- the turn ------------------------------------------------------------------------ */

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void publish_locked(struct behind *behind)
{
    const struct behind_queue *queue = &behind->queue;
    size_t count = behind_queue_count(queue);
    uint64_t oldest_ms = behind_queue_oldest(queue);
    if (behind->run)
        oldest_ms = earlier(oldest_ms, behind->run_since_ms);
    atomic_store_explicit(&behind->oldest_ms, oldest_ms, memory_order_relaxed);
    behind_stat_set(behind, BEHIND_STAT_behind_queue, count);
    behind_stat_set(behind, BEHIND_STAT_behind_parked, queue->counts[BEHIND_PARKED]);
    behind_stat_set(behind, BEHIND_STAT_behind_events_parked, behind->events.parked);
    if (count == 0 && !behind->overflow && !behind->events.more)
        cond_wake_all(&behind->idle);
}

/* When there is something to do, UINT64_MAX = never. */
static uint64_t next_work_at_locked(const struct behind *behind)
{
    const struct behind_entry *queued = behind->queue.places[BEHIND_QUEUED];
    const struct behind_entry *parked = behind->queue.places[BEHIND_PARKED];
    uint64_t at_ms = UINT64_MAX;
    if (queued)
        at_ms = due_ms_locked(behind, queued);
    if ((queued || behind->queue.counts[BEHIND_HOT]) && behind->busy)
        at_ms = earlier(at_ms, env_mono_ms(behind->env) + BEHIND_LOOK_MS);
    if (parked)
        at_ms = earlier(at_ms, parked->due_ms);
    if (at_ms < behind->retry_at_ms)
        at_ms = behind->retry_at_ms;
    if (behind->queue.places[BEHIND_WARM])
        at_ms = earlier(at_ms, behind->queue.places[BEHIND_WARM]->due_ms);
    if (wants_refill_locked(behind))
        at_ms = earlier(at_ms, behind->refill_at_ms);
    return earlier(at_ms, behind_events_at_locked(behind));
}

/* Hot carts wait as long as clients are busy and there is room for new ones. */
static void look_at_clients(struct behind *behind)
{
    size_t coming = 0;
    bool busy = behind->owner->busy(behind->owner->ctx, &coming);
    lock_take(&behind->lock);
    behind->busy = busy;
    behind->coming = coming;
    bool all = !busy || behind->drains || is_nearly_full_locked(behind);
    uint64_t now_ms = env_mono_ms(behind->env);
    if (behind->run == 0)
        behind_queue_cool(&behind->queue, all ? UINT64_MAX : now_ms, behind->delay_ms);
    else if (all) /* what is in front of a run would be of it */
        behind_queue_cool_all(&behind->queue, behind->delay_ms);
    behind_queue_forget_warm(&behind->queue, now_ms, all);
    lock_drop(&behind->lock);
}

unsigned behind_turn(struct behind *behind)
{
    MUST_OBJ(behind, BEHIND_MAGIC);
    look_at_clients(behind);
    if (connect_database(behind)) {
        behind_events_turn(behind); /* first, so that L3 has what a cart was before what it is */
        if (behind->l3)
            fly(behind, take_due(behind), false);
        if (behind->l3)
            fly(behind, take_parked(behind), true);
    }
    refill(behind);
    lock_take(&behind->lock);
    publish_locked(behind);
    uint64_t now_ms = env_mono_ms(behind->env);
    uint64_t at_ms = next_work_at_locked(behind);
    lock_drop(&behind->lock);
    if (at_ms == UINT64_MAX)
        return BEHIND_IDLE;
    return at_ms > now_ms ? (unsigned)(at_ms - now_ms) : 0;
}

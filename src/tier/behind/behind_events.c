/* Events on their way to L3: never coalesced, in order, each at least once. They wait in L2, not in
 * memory: a turn reads the next ones, inserts them in one transaction and says that they may go.
 *
 * Failures. Events have a backoff of their own, so that they never delay carts. A batch that fails
 * is tried in smaller parts; an event that fails alone, or that the database refuses by itself, is
 * passed over and met again by a new walk, 1 s doubling to 60 s later. */
#include "tier/behind/behind_int.h"

#include <stdlib.h>

int behind_events_init(struct behind_events *events)
{
    events->items = calloc(BEHIND_EVENTS_MAX, sizeof *events->items);
    events->rows = calloc(BEHIND_EVENTS_MAX, sizeof *events->rows);
    events->back_to = UINT64_MAX;
    events->parked_from = UINT64_MAX;
    events->limit = BEHIND_EVENTS_MAX;
    return events->items && events->rows ? 0 : CE_NOMEM;
}

void behind_events_fini(struct behind_events *events)
{
    for (size_t i = 0; events->items && i < BEHIND_EVENTS_MAX; i++) {
        buf_free(&events->items[i].key);
        buf_free(&events->items[i].record);
        buf_free(&events->items[i].arena);
    }
    free(events->items);
    free(events->rows);
}

static uint64_t count_waiting(const struct behind *behind)
{
    return atomic_load_explicit(&behind->stats[BEHIND_STAT_behind_events_waiting],
                                memory_order_relaxed);
}

void behind_events_add(struct behind *behind, uint64_t number_min, size_t count)
{
    MUST_OBJ(behind, BEHIND_MAGIC);
    lock_take(&behind->lock);
    struct behind_events *events = &behind->events;
    events->more = true;
    if (number_min < events->back_to)
        events->back_to = number_min;
    behind_stat_set(behind, BEHIND_STAT_behind_events_waiting, count_waiting(behind) + count);
    behind->woken = true;
    cond_wake(&behind->work);
    lock_drop(&behind->lock);
}

/* ---- what failed --------------------------------------------------------------------- */

static void park(struct behind *behind, const struct behind_event *item, const char *words)
{
    struct behind_events *events = &behind->events;
    log_write(events->parkings == 0 ? LOG_WARN : LOG_DEBUG, "behind",
              "event of cart %.*s set aside: %s", (int)item->key.len, (const char *)item->key.bytes,
              words);
    if (events->parked == 0) {
        events->parkings++;
        events->parked_due_ms =
            env_mono_ms(behind->env) +
            behind_pause_ms(behind, events->parkings, BEHIND_PARK_FIRST_MS, BEHIND_PARK_MAX_MS);
    }
    if (item->number < events->parked_from)
        events->parked_from = item->number;
    events->parked++;
}

/* The walk begins again at `number` and counts anew what it parks from there on. */
static void walk_back(struct behind *behind, uint64_t number)
{
    struct behind_events *events = &behind->events;
    if (number <= events->parked_from) {
        events->parked_from = UINT64_MAX;
        events->parked = 0;
    }
    behind->owner->events_back(behind->owner->ctx, number);
}

/* The transaction failed: the same events again after a pause, fewer at a time; one that was alone
 * is passed over. */
static void take_failure(struct behind *behind, size_t count)
{
    struct behind_events *events = &behind->events;
    const char *words = l3_message(behind->l3);
    behind_stat_count(behind, BEHIND_STAT_behind_errors);
    behind_note_error(behind, words);
    if (events->streak++ == 0)
        log_warn("behind", "database: %s; events wait, trying again", words);
    if (count == 1) {
        park(behind, &events->items[0], words);
        events->limit = BEHIND_EVENTS_MAX;
    } else {
        walk_back(behind, events->items[0].number);
        events->limit = count / BEHIND_SHRINK ? count / BEHIND_SHRINK : 1;
    }
    uint64_t pause_ms =
        behind_pause_ms(behind, events->streak, BEHIND_BACKOFF_FIRST_MS, BEHIND_BACKOFF_MAX_MS);
    lock_take(&behind->lock);
    events->retry_at_ms = env_mono_ms(behind->env) + pause_ms;
    lock_drop(&behind->lock);
    l3_close(&behind->l3);
}

/* ---- a batch ------------------------------------------------------------------------- */

static bool take_event(void *arg, uint64_t number, struct slice key, struct slice record)
{
    struct behind_events *events = arg;
    if (events->taken && events->taken_bytes + record.len > BEHIND_BATCH_BYTES)
        return false;
    struct behind_event *item = &events->items[events->taken];
    item->number = number;
    item->key.len = item->record.len = 0;
    events->no_memory = buf_append(&item->key, key.bytes, key.len) ||
                        buf_append(&item->record, record.bytes, record.len);
    if (events->no_memory)
        return false;
    events->taken++;
    events->taken_bytes += record.len;
    return true;
}

/* Where the walk begins again: at events older than where it was, and at parked ones. */
static void go_back(struct behind *behind)
{
    struct behind_events *events = &behind->events;
    lock_take(&behind->lock);
    uint64_t back_to = events->back_to;
    events->back_to = UINT64_MAX;
    lock_drop(&behind->lock);
    if (events->parked && env_mono_ms(behind->env) >= events->parked_due_ms &&
        events->parked_from < back_to)
        back_to = events->parked_from;
    if (back_to != UINT64_MAX)
        walk_back(behind, back_to);
}

static void end_walk(struct behind *behind)
{
    struct behind_events *events = &behind->events;
    if (events->parked == 0)
        events->parkings = 0;
    lock_take(&behind->lock);
    if (events->back_to == UINT64_MAX) {
        events->more = false;
        behind_stat_set(behind, BEHIND_STAT_behind_events_waiting, events->parked);
    }
    lock_drop(&behind->lock);
}

/* Describes what was taken; what can't be described is parked. Returns how many rows there are. */
static size_t describe(struct behind *behind, const struct behind_event **items)
{
    struct behind_events *events = &behind->events;
    size_t rows = 0;
    for (size_t i = 0; i < events->taken; i++) {
        struct behind_event *item = &events->items[i];
        item->arena.len = 0;
        events->rows[rows] = (struct l3_event){.key = buf_slice(&item->key)};
        int err =
            behind->owner->event_row(behind->owner->ctx, buf_slice(&item->key),
                                     buf_slice(&item->record), &item->arena, &events->rows[rows]);
        if (err)
            park(behind, item, err_text(err));
        else
            items[rows++] = item;
    }
    return rows;
}

static void take_outcomes(struct behind *behind, const struct behind_event **items, size_t rows)
{
    const struct behind_owner *owner = behind->owner;
    struct behind_events *events = &behind->events;
    size_t done = 0;
    for (size_t i = 0; i < rows; i++) {
        if (events->rows[i].outcome != L3_DONE) {
            park(behind, items[i], "refused by the database");
            continue;
        }
        behind_stat_count(behind, BEHIND_STAT_behind_events);
        owner->event_done(owner->ctx, items[i]->number, buf_slice(&items[i]->key));
        done++;
    }
    lock_take(&behind->lock);
    uint64_t waiting = count_waiting(behind);
    behind_stat_set(behind, BEHIND_STAT_behind_events_waiting, waiting > done ? waiting - done : 1);
    lock_drop(&behind->lock);
}

static void put(struct behind *behind)
{
    const struct behind_event *items[BEHIND_EVENTS_MAX];
    struct behind_events *events = &behind->events;
    size_t rows = describe(behind, items);
    if (rows && l3_put_events(behind->l3, events->rows, rows)) {
        take_failure(behind, events->taken);
        return;
    }
    if (rows && events->streak) {
        events->streak = 0;
        events->parked_due_ms = env_mono_ms(behind->env); /* the database was to blame, perhaps */
    }
    take_outcomes(behind, items, rows);
    if ((events->limit *= 2) > BEHIND_EVENTS_MAX)
        events->limit = BEHIND_EVENTS_MAX;
}

/* ---- the turn ------------------------------------------------------------------------ */

uint64_t behind_events_at_locked(const struct behind *behind)
{
    const struct behind_events *events = &behind->events;
    uint64_t at_ms = UINT64_MAX;
    if (events->parked)
        at_ms = events->parked_due_ms;
    if (events->more && events->retry_at_ms < at_ms)
        at_ms = events->retry_at_ms;
    return at_ms < behind->retry_at_ms ? behind->retry_at_ms : at_ms;
}

void behind_events_turn(struct behind *behind)
{
    struct behind_events *events = &behind->events;
    lock_take(&behind->lock);
    bool due = behind_events_at_locked(behind) <= env_mono_ms(behind->env) && !behind->stopping;
    lock_drop(&behind->lock);
    if (!due)
        return;
    go_back(behind);
    events->taken = events->taken_bytes = 0;
    events->no_memory = false;
    size_t count;
    int err = behind->owner->events(behind->owner->ctx, events->limit, take_event, events, &count);
    if (!err && count == 0 && events->no_memory)
        err = CE_NOMEM;
    if (err) {
        log_warn("behind", "reading the events of L2: %s", err_text(err));
        lock_take(&behind->lock);
        events->retry_at_ms = env_mono_ms(behind->env) + BEHIND_BACKOFF_MAX_MS;
        lock_drop(&behind->lock);
    } else if (count == 0) {
        end_walk(behind);
    } else {
        put(behind);
    }
    for (size_t i = 0; i < events->taken; i++) {
        events->items[i].record.len = events->items[i].arena.len = 0;
        buf_shrink(&events->items[i].record, BEHIND_BUFFER_KEEP);
        buf_shrink(&events->items[i].arena, BEHIND_BUFFER_KEEP);
    }
}

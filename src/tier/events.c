/* events: what happened to carts, on its way to L2 and from there to L3.
 *
 * An event is made under its cart's stripe together with the step that it tells of, and waits here
 * until the L2 writer takes it: with the batch that has the state after the step, or an earlier
 * one. The journal has the step, not the event, since a replay of the step finds the state before
 * it and makes the event again, under the same number: the end of the step's record. So L2 has it
 * once, and a crash never has the step without it.
 *
 * In L2: number, cart's key -> kind u8 | time u64 | state. */
#include "tier/tier_int.h"

#include <stdlib.h>

#define RECORD_HEAD 9

struct tier_event {
    struct tier_event *next;
    uint64_t lsn;
    size_t record_bytes;
    uint8_t key_bytes;
    uint8_t bytes[]; /* key, record */
};

void events_init(struct tier *tier)
{
    lock_init(&tier->events.lock, LOCK_L2_QUEUE);
    tier->events.queue_tail = &tier->events.queue;
    tier->events.batch_tail = &tier->events.batch;
}

static void free_list(struct tier_event *list)
{
    for (struct tier_event *event = list, *next; event; event = next) {
        next = event->next;
        free(event);
    }
}

void events_fini(struct tier *tier)
{
    free_list(tier->events.queue);
    free_list(tier->events.batch);
    lock_fini(&tier->events.lock);
}

static size_t event_bytes(const struct tier_event *event)
{
    return sizeof *event + event->key_bytes + event->record_bytes;
}

/* ---- made with a step ---- */

static int reserve_bytes(struct events *events, size_t bytes)
{
    lock_take(&events->lock);
    /* One always fits, however long. */
    bool fits = events->bytes == 0 || events->bytes + bytes <= TIER_EVENTS_BYTES_MAX;
    if (fits)
        events->bytes += bytes;
    lock_drop(&events->lock);
    return fits ? 0 : CE_NOMEM;
}

static void give_back_bytes(struct events *events, size_t bytes)
{
    lock_take(&events->lock);
    events->bytes -= bytes;
    lock_drop(&events->lock);
}

int tier_event_new(struct tier *tier, enum tier_event_kind kind, struct slice key, uint64_t at_us,
                   struct slice state, struct tier_event **out)
{
    size_t bytes = sizeof **out + key.len + RECORD_HEAD + state.len;
    *out = NULL;
    if (reserve_bytes(&tier->events, bytes))
        return CE_NOMEM;
    struct tier_event *event = malloc(bytes);
    if (!event) {
        give_back_bytes(&tier->events, bytes);
        return CE_NOMEM;
    }
    event->next = NULL;
    event->key_bytes = (uint8_t)key.len;
    event->record_bytes = RECORD_HEAD + state.len;
    uint8_t *record = event->bytes + key.len;
    memcpy(event->bytes, key.bytes, key.len);
    record[0] = (uint8_t)kind;
    memcpy(record + 1, &at_us, sizeof at_us);
    if (state.len)
        memcpy(record + RECORD_HEAD, state.bytes, state.len);
    *out = event;
    return 0;
}

void tier_event_settle(struct tier *tier, struct tier_event **settled, int rc, uint64_t lsn)
{
    struct tier_event *event = *settled;
    struct events *events = &tier->events;
    *settled = NULL;
    if (!event)
        return;
    if (rc == 0)
        atomic_fetch_add(&events->expired, 1);
    if (rc || !tier->l3_url) {
        give_back_bytes(events, event_bytes(event));
        free(event);
        return;
    }
    event->lsn = lsn;
    lock_take(&events->lock);
    *events->queue_tail = event;
    events->queue_tail = &event->next;
    lock_drop(&events->lock);
    atomic_fetch_add(&events->pending, 1);
}

int tier_replay_event(struct tier *tier, enum tier_event_kind kind, struct slice key,
                      uint64_t at_us, struct slice state, uint64_t lsn)
{
    struct tier_event *event;
    int rc = tier_event_new(tier, kind, key, at_us, state, &event);
    if (rc) { /* more than may wait: L2 first */
        rc = tier->catchup.started ? fill_wait_sweep(tier) : drain_sweep(tier);
        if (rc == 0)
            rc = tier_event_new(tier, kind, key, at_us, state, &event);
    }
    if (rc == 0)
        tier_event_settle(tier, &event, 0, lsn);
    return rc;
}

/* ---- the L2 writer ---- */

bool events_wait(struct tier *tier)
{
    return atomic_load(&tier->events.pending) > 0;
}

/* A failed commit leaves its events here, for the next batch. */
void events_to_batch(struct tier *tier)
{
    struct events *events = &tier->events;
    lock_take(&events->lock);
    if (events->queue) {
        *events->batch_tail = events->queue;
        events->batch_tail = events->queue_tail;
        events->queue = NULL;
        events->queue_tail = &events->queue;
    }
    lock_drop(&events->lock);
    for (struct tier_event *event = events->batch; event; event = event->next)
        l2_batch_enter(tier->drain.batch, L2_EVENTS, event->lsn,
                       slice_of(event->bytes, event->key_bytes),
                       slice_of(event->bytes + event->key_bytes, event->record_bytes));
}

void events_committed(struct tier *tier)
{
    struct events *events = &tier->events;
    uint64_t lsn_min = UINT64_MAX;
    size_t bytes = 0, count = 0;
    for (struct tier_event *event = events->batch; event; event = event->next) {
        bytes += event_bytes(event);
        lsn_min = event->lsn < lsn_min ? event->lsn : lsn_min;
        count++;
    }
    if (count == 0)
        return;
    free_list(events->batch);
    events->batch = NULL;
    events->batch_tail = &events->batch;
    give_back_bytes(events, bytes);
    down_events_add(tier, lsn_min, count); /* first: at every instant some count shows the event */
    atomic_fetch_sub(&events->pending, count);
}

/* ---- what write-behind asks for ---- */

int events_read(void *ctx, size_t max,
                bool (*take)(void *arg, uint64_t number, struct slice key, struct slice record),
                void *arg, size_t *count)
{
    struct tier *tier = down_tier(ctx);
    return l2_walk(tier->l2, L2_EVENTS, &tier->events.place, UINT64_MAX, max, take, arg, count);
}

void events_back(void *ctx, uint64_t number)
{
    struct l2_place *place = &down_tier(ctx)->events.place;
    if (number <= place->number)
        *place = (struct l2_place){.number = number};
}

int events_row(void *ctx, struct slice key, struct slice record, struct buf *arena,
               struct l3_event *out)
{
    const struct tier_value *value = down_tier(ctx)->config.value;
    uint64_t at_us;
    if (record.len < RECORD_HEAD || record.bytes[0] != TIER_EVENT_EXPIRED)
        return CE_CORRUPT;
    memcpy(&at_us, record.bytes + 1, sizeof at_us);
    struct slice state = slice_from(record, RECORD_HEAD);
    int rc = value->check(state);
    if (rc)
        return rc;
    return value->event((enum tier_event_kind)record.bytes[0], key, at_us, state, arena, out);
}

void events_done(void *ctx, uint64_t number, struct slice key)
{
    drain_leave(down_tier(ctx), L2_EVENTS, number, key);
}

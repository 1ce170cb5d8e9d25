/* The part of behind_world that has events. */
#include "lib/behind_world.h"

#include <check.h>

void world_happen(uint32_t number)
{
    struct world *world = world_get();
    ck_assert_uint_lt(number, WORLD_EVENTS_MAX);
    world->events[number].held = true;
    behind_events_add(world->behind, number, 1);
}

void world_happen_all(uint32_t from, uint32_t to)
{
    for (uint32_t number = from; number < to; number++)
        world_happen(number);
}

static uint32_t number_of(const struct l3_event *event)
{
    uint32_t number;
    ck_assert_uint_eq(event->payload.len, sizeof number);
    memcpy(&number, event->payload.bytes, sizeof number);
    return number;
}

int world_put_events(struct l3_event *events, size_t count)
{
    struct world *world = world_get();
    if (world->event_batches_count < WORLD_TIMES_MAX)
        world->event_batches[world->event_batches_count] = count;
    world->event_batches_count++;
    bool fails = world->events_refused;
    for (size_t i = 0; i < count; i++)
        fails |= number_of(&events[i]) == world->poison_event;
    for (size_t i = 0; i < count && !fails; i++) {
        uint32_t number = number_of(&events[i]);
        events[i].outcome = number == world->bad_event ? L3_FAILED : L3_DONE;
        if (number == world->bad_event)
            continue;
        if (world->events[number].rows++ == 0) /* else: the id is there already */
            world->events[number].order = ++world->events_inserted;
    }
    return fails ? CE_DB : 0;
}

int world_read_events(void *ctx, size_t max,
                      bool (*take)(void *arg, uint64_t number, struct slice key,
                                   struct slice record),
                      void *arg, size_t *count)
{
    struct world *world = world_get();
    char storage[WORLD_KEY_MAX];
    (void)ctx;
    *count = 0;
    for (uint32_t at = world->events_at; at < WORLD_EVENTS_MAX && *count < max; at++) {
        if (!world->events[at].held)
            continue;
        if (!take(arg, at, world_key(at % WORLD_CARTS_MAX, storage), slice_of(&at, sizeof at)))
            break;
        world->events_at = at + 1;
        ++*count;
    }
    return 0;
}

void world_events_back(void *ctx, uint64_t number)
{
    struct world *world = world_get();
    (void)ctx;
    if (number < world->events_at)
        world->events_at = (uint32_t)number;
}

int world_event_row(void *ctx, struct slice key, struct slice record, struct buf *arena,
                    struct l3_event *out)
{
    (void)ctx;
    ck_assert_uint_eq(arena->len, 0);
    ck_assert_int_eq(buf_append(arena, record.bytes, record.len), 0);
    *out = (struct l3_event){.type = "cart.expired", .key = key, .payload = buf_slice(arena)};
    uint32_t number = number_of(out);
    return number == world_get()->corrupt_event ? CE_CORRUPT : 0;
}

void world_event_done(void *ctx, uint64_t number, struct slice key)
{
    struct world *world = world_get();
    (void)ctx, (void)key;
    ck_assert_uint_gt(world->events[number].rows, 0);
    if (!world->events_stay)
        world->events[number].held = false;
}

void world_expect_events_in_l3(uint32_t from, uint32_t to)
{
    struct world *world = world_get();
    for (uint32_t number = from; number < to; number++) {
        ck_assert_msg(world->events[number].rows > 0, "event %u is not in L3", number);
        ck_assert_msg(!world->events[number].held, "event %u is still in L2", number);
    }
}

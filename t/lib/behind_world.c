#include "lib/behind_world.h"

#include "tier/l3/l3_int.h"

#include <check.h>
#include <stdio.h>

#define TURNS_MAX 200000
#define FIRST_MS  1000000

static struct world the_world;
static struct world *const world = &the_world;

struct world *world_get(void)
{
    return world;
}

static uint64_t now_ms(void *ctx)
{
    (void)ctx;
    return world->now_ms;
}

uint64_t world_draw(void)
{
    world->random ^= world->random << 13;
    world->random ^= world->random >> 7;
    world->random ^= world->random << 17;
    return world->random;
}

static uint64_t draw_random(void *ctx)
{
    (void)ctx;
    return world_draw();
}

static bool fault(void)
{
    return world->fault_percent && world_draw() % 100 < world->fault_percent;
}

struct slice world_key(uint32_t cart, char storage[WORLD_KEY_MAX])
{
    return slice_of(storage, (size_t)snprintf(storage, WORLD_KEY_MAX, "cart:%06u", cart));
}

static uint32_t cart_of(struct slice key)
{
    uint32_t cart = WORLD_NO_CART;
    ck_assert(slice_starts(key, slice_str("cart:")));
    ck_assert(num_u32(slice_from(key, 5), &cart));
    ck_assert_uint_lt(cart, WORLD_CARTS_MAX);
    return cart;
}

static uint64_t mask_of(struct slice state)
{
    uint64_t mask = 0;
    if (state.len == 0)
        return 0;
    ck_assert_uint_ge(state.len, sizeof mask);
    memcpy(&mask, state.bytes, sizeof mask);
    return mask;
}

/* ---- the fake database ----------------------------------------------------- */

static int fail_fake(struct l3 *l3, const char *words)
{
    snprintf(l3->message, sizeof l3->message, "%s", words);
    return CE_DB;
}

static int open_fake(struct l3 *l3, const char *where)
{
    (void)where;
    if (world->opens < WORLD_TIMES_MAX)
        world->open_ms[world->opens] = world->now_ms;
    world->opens++;
    return world->down || fault() ? fail_fake(l3, "down") : 0;
}

static void close_fake(struct l3 *l3)
{
    (void)l3;
}

static bool has_cart(const struct l3_cart *carts, size_t count, uint32_t cart)
{
    for (size_t i = 0; i < count; i++) {
        if (cart_of(carts[i].key) == cart)
            return true;
    }
    return false;
}

static void write_row(struct l3_cart *cart)
{
    uint32_t number = cart_of(cart->key);
    struct world_row *row = &world->rows[number];
    cart->outcome = L3_CONFLICT;
    if (row->present != (cart->rev > 0) || (row->present && row->rev != cart->rev))
        return;
    if (number == world->bad_row) {
        cart->outcome = L3_FAILED;
        return;
    }
    *row = (struct world_row){true, mask_of(cart->image), cart->rev + 1};
    cart->outcome = L3_DONE;
}

static int flush_fake(struct l3 *l3, struct l3_cart *carts, size_t count)
{
    if (world->batches_count < WORLD_TIMES_MAX)
        world->batches[world->batches_count] = count;
    world->batches_count++;
    if (world->during_flush)
        world->during_flush();
    bool has_poison = has_cart(carts, count, world->poison);
    if (has_poison && count == 1 && world->alones < WORLD_TIMES_MAX)
        world->alone_ms[world->alones++] = world->now_ms;
    if (has_poison || world->read_only || fault())
        return fail_fake(l3, "refused");
    for (size_t i = 0; i < count; i++)
        write_row(&carts[i]);
    if (world->lost_replies > 0) {
        world->lost_replies--;
        return fail_fake(l3, "timeout");
    }
    return fault() ? fail_fake(l3, "timeout") : 0;
}

static int put_events_fake(struct l3 *l3, struct l3_event *events, size_t count)
{
    int err = world_put_events(events, count);
    return err ? fail_fake(l3, "events refused") : 0;
}

static int load_fake(struct l3 *l3, struct slice key, struct buf *image, uint32_t *rev)
{
    uint32_t cart = cart_of(key);
    const struct world_row *row = &world->rows[cart];
    if (cart == world->bad_load || fault())
        return fail_fake(l3, "unreadable");
    if (!row->present)
        return CE_NOTFOUND;
    *rev = row->rev;
    return buf_append(image, &row->mask, sizeof row->mask);
}

static int open_fake_l3(const char *url, struct l3 **l3, char *message, size_t message_bytes)
{
    static const struct l3_driver driver = {.open = open_fake,
                                            .close = close_fake,
                                            .flush = flush_fake,
                                            .load = load_fake,
                                            .put_events = put_events_fake};
    return l3_open_driver(&driver, url, l3, message, message_bytes);
}

void world_write_foreign(uint32_t cart, uint64_t mask)
{
    struct world_row *row = &world->rows[cart];
    *row = (struct world_row){true, row->mask | mask, row->rev + 1};
}

/* ---- the fake owner -------------------------------------------------------- */

void world_change(uint32_t cart, uint64_t mask)
{
    char key[WORLD_KEY_MAX];
    struct world_held *held = &world->held[cart];
    held->present = true;
    held->marked = true;
    held->mask |= mask;
    behind_add(world->behind, world_key(cart, key), env_mono_ms(world->behind->env));
}

/* The state that a merge made reaches L2. */
static void land_joined(struct world_held *held)
{
    held->mask |= held->joined_mask;
    held->l3_rev = held->joined_rev;
    held->joined_at_ms = 0;
    held->joined_mask = 0;
}

static bool are_busy(void *ctx, size_t *coming)
{
    (void)ctx;
    *coming = world->coming;
    return world->busy;
}

static int snapshot_cart(void *ctx, struct slice key, struct buf *state, uint32_t *l3_rev)
{
    (void)ctx;
    uint32_t cart = cart_of(key);
    struct world_held *held = &world->held[cart];
    if (held->joined_at_ms && held->joined_at_ms <= world->now_ms)
        land_joined(held);
    if (cart == world->bad_cart && world->snapshot_err)
        return world->snapshot_err;
    if (fault())
        return CE_IO;
    if (!held->present)
        return CE_NOTFOUND;
    ck_assert_int_eq(buf_append(state, &held->mask, sizeof held->mask), 0);
    ck_assert_int_eq(buf_reserve(state, world->pad_bytes), 0);
    memset(state->bytes + state->len, 0, world->pad_bytes);
    state->len += world->pad_bytes;
    *l3_rev = held->l3_rev;
    return 0;
}

static int describe_cart(void *ctx, struct slice key, struct slice state, struct buf *arena,
                         struct l3_cart *out)
{
    (void)ctx;
    uint32_t cart = cart_of(key);
    if (cart == world->bad_cart && world->row_err)
        return world->row_err;
    if (fault())
        return CE_CORRUPT;
    ck_assert_uint_eq(arena->len, 0);
    ck_assert_int_eq(buf_append(arena, &key.len, sizeof key.len), 0);
    out->image = state;
    return 0;
}

static int merge_cart(void *ctx, struct slice key, struct slice image, uint32_t rev)
{
    (void)ctx;
    uint32_t cart = cart_of(key);
    if (cart == world->bad_cart && world->merge_err)
        return world->merge_err;
    if (fault())
        return CE_BUSY;
    struct world_held *held = &world->held[cart];
    if (held->joined_at_ms == 0)
        held->joined_at_ms = world->now_ms + world->join_ms;
    held->joined_mask |= mask_of(image);
    held->joined_rev = rev;
    if (world->join_ms == 0)
        land_joined(held);
    return 0;
}

static void note_flushed(void *ctx, struct slice key, struct slice state, uint32_t rev)
{
    (void)ctx;
    struct world_held *held = &world->held[cart_of(key)];
    world->flushed_calls++;
    held->l3_rev = rev;
    if (held->mask == mask_of(state))
        held->marked = false;
}

static int refill_marks(void *ctx, size_t max)
{
    (void)ctx;
    world->refills++;
    if (fault())
        return CE_IO;
    char key[WORLD_KEY_MAX];
    int result = CE_NOTFOUND;
    for (size_t added = 0; world->cursor < WORLD_CARTS_MAX; world->cursor++) {
        if (!world->held[world->cursor].marked)
            continue;
        if (added++ == max) {
            result = 0;
            break;
        }
        behind_add(world->behind, world_key(world->cursor, key), env_mono_ms(world->behind->env));
    }
    if (world->after_refill)
        world->after_refill();
    if (result == CE_NOTFOUND)
        world->cursor = 0;
    return result;
}

/* ---- fixture --------------------------------------------------------------- */

void world_remake(const struct env *env, size_t batch_max, unsigned delay_ms)
{
    behind_stop(&world->behind);
    struct behind_config config = {.env = env,
                                   .queue_max = BEHIND_QUEUE_MAX,
                                   .hot_ms = WORLD_HOT_MS,
                                   .owner = &world->owner,
                                   .url = "fake:",
                                   .delay_ms = delay_ms,
                                   .batch_max = batch_max};
    ck_assert_int_eq(behind_new(&config, &world->behind), 0);
    world->behind->open = open_fake_l3;
}

void world_set_up(void)
{
    memset(world, 0, sizeof *world);
    world->now_ms = FIRST_MS;
    world->random = 88172645463325252ull;
    world->poison = world->bad_load = world->bad_row = world->bad_cart = WORLD_NO_CART;
    world->poison_event = world->bad_event = world->corrupt_event = UINT32_MAX;
    world->owner = (struct behind_owner){.busy = are_busy,
                                         .snapshot = snapshot_cart,
                                         .row = describe_cart,
                                         .merge = merge_cart,
                                         .flushed = note_flushed,
                                         .refill = refill_marks,
                                         .events = world_read_events,
                                         .events_back = world_events_back,
                                         .event_row = world_event_row,
                                         .event_done = world_event_done};
    world->env = (struct env){.mono_ms = now_ms, .random_u64 = draw_random};
    world_remake(&world->env, BEHIND_BATCH_MAX, WORLD_DELAY_MS);
    log_level_set(LOG_ERROR);
}

void world_tear_down(void)
{
    behind_stop(&world->behind);
}

static void note_stat(void *ctx, const char *name, uint64_t value)
{
    const char *wanted = *(const char **)ctx;
    if (strcmp(name, wanted) == 0)
        *(uint64_t *)((const char **)ctx)[1] = value;
}

static void pass_text(void *ctx, const char *name, const char *value)
{
    (void)ctx, (void)name, (void)value;
}

static void pass_number(void *ctx, const char *name, uint64_t value)
{
    (void)ctx, (void)name, (void)value;
}

struct found_text {
    const char *name;
    bool found;
    char value[BEHIND_MESSAGE_MAX];
};

static void note_text(void *ctx, const char *name, const char *value)
{
    struct found_text *wanted = ctx;
    if (strcmp(name, wanted->name) != 0)
        return;
    wanted->found = true;
    snprintf(wanted->value, sizeof wanted->value, "%s", value);
}

const char *world_stat_text(const char *name)
{
    static struct found_text wanted;
    wanted = (struct found_text){.name = name};
    struct stat_sink sink = {.u64 = pass_number, .text = note_text, .ctx = &wanted};
    behind_tell(&world->behind, 1, &sink);
    ck_assert_msg(wanted.found, "no stat %s", name);
    return wanted.value;
}

uint64_t world_stat(const char *name)
{
    uint64_t value = UINT64_MAX;
    const void *ctx[] = {name, &value};
    struct stat_sink sink = {.u64 = note_stat, .text = pass_text, .ctx = ctx};
    behind_tell(&world->behind, 1, &sink);
    ck_assert_msg(value != UINT64_MAX, "no stat %s", name);
    return value;
}

/* Turns, with the clock moving as they ask, until the clock is at `until_ms`. */
static void run_until(uint64_t until_ms)
{
    for (int turns = 0; world->now_ms <= until_ms; turns++) {
        ck_assert_int_lt(turns, TURNS_MAX);
        unsigned wait_ms = behind_turn(world->behind);
        if (wait_ms == BEHIND_IDLE || world->now_ms + wait_ms > until_ms)
            break;
        world->now_ms += wait_ms;
    }
    world->now_ms = until_ms;
}

void world_run_for(uint64_t ms)
{
    run_until(world->now_ms + ms);
}

uint64_t world_run_dry(void)
{
    uint64_t begin_ms = world->now_ms;
    for (int turns = 0; turns < TURNS_MAX; turns++) {
        unsigned wait_ms = behind_turn(world->behind);
        if (wait_ms == BEHIND_IDLE)
            return world->now_ms - begin_ms;
        world->now_ms += wait_ms;
    }
    ck_abort_msg("does not come to rest");
    return 0;
}

void world_expect_in_l3(uint32_t cart)
{
    const struct world_row *row = &world->rows[cart];
    const struct world_held *held = &world->held[cart];
    ck_assert_msg(row->present && row->mask == held->mask, "cart %u: L3 %llx, L2 %llx", cart,
                  (unsigned long long)row->mask, (unsigned long long)held->mask);
    ck_assert_msg(!held->marked, "cart %u is still marked", cart);
    ck_assert_uint_eq(row->rev, held->l3_rev);
}

void world_expect_all_in_l3(uint32_t from, uint32_t to)
{
    for (uint32_t cart = from; cart < to; cart++)
        world_expect_in_l3(cart);
}

void world_change_all(uint32_t from, uint32_t to)
{
    for (uint32_t cart = from; cart < to; cart++)
        world_change(cart, 1);
}

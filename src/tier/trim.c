/* trim: keeps L2 within its bound. Carts that L3 has in exactly L2's state, and that were not
 * changed for longest, leave L2, and come back by read-through.
 *
 * A pass counts the carts' bytes by age. When they are more than the bound, the next pass lets the
 * oldest go, until a tenth of the bound is free. A cart goes only when it has no mark and its row
 * in L3 was read and is the same; the L2 writer looks once more at mark and state, and says in the
 * same batch that L2 is not complete any more. So at every instant, and whatever crashes, each cart
 * is in L2 or in L3. That a cart is in memory is no reason to keep it: it is served from there. */
#include "tier/tier_int.h"

#define KEEP_PARTS 9 /* of 10: what is left of the bound after a trim */
#define LOOK_MS    1000
#define STEP_MS    2  /* rest after each JOB_STEP_CARTS */
#define CART_EXTRA 64 /* bytes of a record beside key and state, about */
#define US_PER_S   1000000

void trim_init(struct tier *tier)
{
    turns_init(&tier->trim.turns);
}

void trim_fini(struct tier *tier)
{
    struct trim *trim = &tier->trim;
    buf_free(&trim->keys);
    buf_free(&trim->cursor);
    buf_free(&trim->storage);
    buf_free(&trim->image);
    turns_fini(&trim->turns);
}

/* ---- how old ---- */

/* As of the beginning of the pass; four to each doubling of the seconds. */
static unsigned age_of(const struct trim *trim, uint64_t updated_us)
{
    uint64_t age_s = trim->began_us > updated_us ? (trim->began_us - updated_us) / US_PER_S : 0;
    unsigned doublings = 0;
    while (doublings < TRIM_AGES / 4 - 1 && age_s + 4 >= 8ull << doublings)
        doublings++;
    unsigned part = (unsigned)((age_s + 4) >> doublings) - 4;
    return 4 * doublings + (part < 4 ? part : 3);
}

/* The last moment that has at least this age. */
static uint64_t moment_of(const struct trim *trim, unsigned age)
{
    uint64_t age_us = ((4ull + age % 4) << age / 4) * US_PER_S - 4ull * US_PER_S;
    return trim->began_us > age_us ? trim->began_us - age_us : 0;
}

/* All carts of the oldest ages go, and of one age as many as are still too much. */
static void choose(struct trim *trim, uint64_t bytes_max)
{
    uint64_t keep = bytes_max / 10 * KEEP_PARTS;
    uint64_t much = trim->bytes > bytes_max ? trim->bytes - keep : 0;
    unsigned age = TRIM_AGES - 1;
    while (age > 0 && trim->ages[age] < much)
        much -= trim->ages[age--];
    trim->all_until_us = age + 1 < TRIM_AGES ? moment_of(trim, age + 1) : 0;
    trim->some_until_us = moment_of(trim, age);
    trim->some_bytes = much;
}

/* ---- may it go? ---- */

/* Its row in L3 is what L2 has. */
static int is_in_l3(struct tier *tier, struct slice key, struct slice state, bool *is)
{
    struct trim *trim = &tier->trim;
    char message[256];
    uint32_t rev;
    *is = false;
    int rc = trim->l3 ? 0 : l3_open(tier->l3_url, &trim->l3, message, sizeof message);
    if (rc)
        return CE_DB;
    rc = l3_load(trim->l3, key, &trim->image, &rev);
    *is = rc == 0 && slice_eq(buf_slice(&trim->image), state);
    if (rc == 0 || rc == CE_NOTFOUND)
        return 0;
    l3_close(&trim->l3);
    return rc;
}

static int let_go(struct tier *tier, struct slice key, struct slice state, bool *goes)
{
    bool marked = false;
    *goes = false;
    if (orders_bytes(tier) > ORDERS_BYTES_MAX) /* then in the next pass */
        return 0;
    int rc = l2_is_marked(tier->l2, key, &marked);
    if (rc == 0 && !marked)
        rc = is_in_l3(tier, key, state, goes);
    if (rc == 0 && *goes)
        rc = orders_give(tier, ORDER_DROP, key, hash_64(state));
    return rc;
}

/* ---- a pass ---- */

static int look_at(struct tier *tier, struct slice key)
{
    struct trim *trim = &tier->trim;
    struct l2_cart cart;
    bool goes = false;
    int rc = l2_get(tier->l2, key, &trim->storage, &cart);
    if (rc == CE_NOTFOUND || rc == CE_CORRUPT) /* gone, or L2 is mended as a whole */
        return 0;
    if (rc || tier->config.value->check(cart.state))
        return rc;
    uint64_t bytes = key.len + cart.state.len + CART_EXTRA;
    uint64_t updated_us = tier->config.value->updated_us(cart.state);
    bool is_one_of_some = updated_us > trim->all_until_us;
    if (!is_one_of_some || (trim->some_bytes && updated_us <= trim->some_until_us))
        rc = let_go(tier, key, cart.state, &goes);
    if (goes && is_one_of_some)
        trim->some_bytes -= bytes < trim->some_bytes ? bytes : trim->some_bytes;
    if (goes)
        return rc;
    trim->bytes += bytes;
    trim->ages[age_of(trim, updated_us)] += bytes;
    return rc;
}

static void note_key(void *arg, struct slice key)
{
    struct trim *trim = arg;
    (void)!keys_add(&trim->keys, key); /* else it is met in the next pass */
}

static int pass(struct tier *tier)
{
    struct trim *trim = &tier->trim;
    size_t count = 1;
    int rc = 0;
    trim->bytes = 0;
    trim->began_us = env_wall_us(tier->config.env);
    trim->written = l2_bytes_written(tier->l2);
    trim->cursor.len = 0;
    memset(trim->ages, 0, sizeof trim->ages);
    while (rc == 0 && count && turns_rest(&trim->turns, STEP_MS)) {
        trim->keys.len = 0;
        rc = l2_cart_keys(tier->l2, &trim->cursor, JOB_STEP_CARTS, note_key, trim, &count);
        struct slice rest = buf_slice(&trim->keys), key;
        while (rc == 0 && keys_next(&rest, &key))
            rc = look_at(tier, key);
    }
    drain_kick(tier);
    if (rc == 0 && count == 0) {
        atomic_store(&trim->cart_bytes, trim->bytes);
        choose(trim, tier->config.l2_bytes_max);
    }
    return rc;
}

/* ---- the thread ---- */

/* What was written since the last pass may have been new. */
static bool is_due(struct tier *tier, bool counted)
{
    const struct trim *trim = &tier->trim;
    uint64_t grown = l2_bytes_written(tier->l2) - trim->written;
    return !counted || trim->some_bytes || trim->bytes + grown > tier->config.l2_bytes_max;
}

static void *run_trim(void *arg)
{
    struct tier *tier = arg;
    struct trim *trim = &tier->trim;
    bool counted = false, told = false;
    thread_give_way();
    do {
        bool goes = catchup_is_over(tier) && is_due(tier, counted);
        int rc = goes ? pass(tier) : 0;
        if (rc && !told)
            log_warn("tier", "keeping L2 within its bound: %s; trying again", err_text(rc));
        told = rc != 0;
        counted |= goes;
        counted &= rc == 0;
    } while (turns_rest(&trim->turns, LOOK_MS));
    if (trim->l3)
        l3_close(&trim->l3);
    return NULL;
}

int trim_start(struct tier *tier)
{
    bool wanted = tier->config.l2_bytes_max;
    return wanted ? turns_start(&tier->trim.turns, "trimmer", run_trim, tier) : 0;
}

void trim_stop(struct tier *tier)
{
    turns_stop(&tier->trim.turns);
}

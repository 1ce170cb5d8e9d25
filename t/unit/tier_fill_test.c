/* A cart on its way from L2 into L1, and L2 is begun anew meanwhile. */
#include "cmd/cmd.h"
#include "suite.h"
#include "tier/l2/l2_int.h"
#include "tier/tier_int.h"

#include <check.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#define L1_BYTES (64u << 20)
#define WAIT_MS  60000

static char dir[64];
static struct tier *tier;
static _Atomic bool damages; /* the next check of a state comes when L2 has been begun anew */

static void advanced(void *ctx)
{
    (void)ctx;
}

static int expire(void *ctx, struct slice key)
{
    (void)ctx, (void)key;
    return 0;
}

static int replay(void *arg, const struct tier_replayed *record, struct slice state,
                  struct buf *after)
{
    (void)arg, (void)record, (void)state, (void)after;
    return 0;
}

/* Who fills has read the state and not yet put it. */
static int check(struct slice state)
{
    (void)state;
    if (!atomic_exchange(&damages, false))
        return 0;
    l2_note_damage(tier->l2, atomic_load(&tier->l2->opened));
    drain_kick(tier);
    while (l2_is_damaged(tier->l2))
        sched_yield();
    return 0;
}

static uint64_t expiry_us(struct slice state)
{
    (void)state;
    return 0;
}

static const struct tier_value value = {.check = check, .expiry_us = expiry_us};

static void open_tier(void)
{
    char message[256];
    const struct tier_config config = {.env = env_real(),
                                       .data_dir = dir,
                                       .l1_bytes_max = L1_BYTES,
                                       .value = &value,
                                       .state_record = CMD_RECORD_STATE,
                                       .pair_record = CMD_RECORD_PAIR,
                                       .advanced = advanced,
                                       .expire = expire};
    ck_assert_int_eq(tier_open(&config, &tier, message, sizeof message), 0);
    ck_assert_int_eq(tier_start(tier, replay, NULL), 0);
}

static void set_up(void)
{
    log_level_set(LOG_ERROR - 1);
    snprintf(dir, sizeof dir, "/tmp/tier_fill.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    open_tier();
}

static void tear_down(void)
{
    char command[96];
    ck_assert_int_eq(tier_stop(&tier, WAIT_MS), 0);
    snprintf(command, sizeof command, "rm -r %s", dir);
    ck_assert_int_eq(system(command), 0);
}

static void put_cart(struct slice key)
{
    uint64_t hash = hash_64(key);
    l1_lock(tier_l1(tier), hash);
    ck_assert_int_eq(tier_put_state_locked(tier, hash, key, 1, slice_str("state")), 0);
    l1_unlock(tier_l1(tier), hash);
}

/* Else L1 takes it for clean, may drop it, and L3 does not hear of it. */
START_TEST(a_cart_that_comes_from_an_l2_begun_anew_is_written_to_the_new_one)
{
    struct slice key = slice_str("cart:a");
    struct buf storage = {0};
    struct l2_cart cart;
    put_cart(key);
    ck_assert_int_eq(tier_stop(&tier, WAIT_MS), 0);
    open_tier();
    atomic_store(&damages, true);
    ck_assert_int_eq(fill_now(tier, key), 0);
    ck_assert(!atomic_load(&damages));
    while (l1_dirty_count(tier_l1(tier)) > 0)
        sched_yield();
    ck_assert_int_eq(l2_get(tier->l2, key, &storage, &cart), 0);
    ck_assert(slice_eq(cart.state, slice_str("state")));
    buf_free(&storage);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tier_fill");
    TCase *fills = tcase_create("fills");
    tcase_add_checked_fixture(fills, set_up, tear_down);
    tcase_set_timeout(fills, 60);
    tcase_add_test(fills, a_cart_that_comes_from_an_l2_begun_anew_is_written_to_the_new_one);
    suite_add_tcase(suite, fills);
    return suite_run(suite);
}

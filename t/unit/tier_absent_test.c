/* Carts that are in no tier are known without asking, and no cart that is in one is called absent.
 */
#include "suite.h"
#include "tier_rig.h"

#include "tier/l2/l2_int.h"

#include <sched.h>
#include <stdio.h>

#define CARTS (2 * ABSENT_TURN_KEYS + 1) /* more than one look at L2's keys finds */

static struct tier_rig rig;
static const char *const a_state = "state";

static void set_up(void)
{
    tier_rig_set_up(&rig);
}

static void tear_down(void)
{
    tier_rig_tear_down(&rig);
}

static void wait_for_keys(void)
{
    while (!atomic_load(&rig.tier->absent.knows_l2))
        sched_yield();
}

static enum tier_found find(const char *key)
{
    struct l1_item *item;
    uint64_t hash = hash_64(slice_str(key));
    l1_lock(tier_l1(rig.tier), hash);
    enum tier_found found = tier_find_locked(rig.tier, hash, slice_str(key), &item);
    l1_unlock(tier_l1(rig.tier), hash);
    return found;
}

static const char *name_of(unsigned cart)
{
    static char name[16];
    snprintf(name, sizeof name, "cart:%u", cart);
    return name;
}

static void put_carts(void)
{
    for (unsigned cart = 0; cart < CARTS; cart++)
        tier_rig_put(&rig, name_of(cart), slice_str(a_state));
    tier_rig_drain(&rig);
}

static void expect_found(enum tier_found right)
{
    for (unsigned cart = 0; cart < CARTS; cart++)
        ck_assert_int_eq(find(name_of(cart)), right);
}

/* Of so many that are new hardly any is asked for. */
static void expect_new_ones_absent(void)
{
    unsigned asked = 0;
    for (unsigned cart = CARTS; cart < 2 * CARTS; cart++)
        asked += find(name_of(cart)) == TIER_ASK;
    ck_assert_uint_le(asked, CARTS / 50);
}

START_TEST(a_new_cart_is_asked_of_nobody)
{
    tier_rig_open(&rig);
    wait_for_keys();
    ck_assert_int_eq(find("cart:a"), TIER_NONE);
    tier_rig_put(&rig, "cart:a", slice_str(a_state));
    ck_assert_int_eq(find("cart:a"), TIER_HERE);
}
END_TEST

START_TEST(a_cart_that_was_evicted_is_asked_for)
{
    tier_rig_open(&rig);
    wait_for_keys();
    put_carts();
    expect_found(TIER_HERE);
    l1_limit_set(tier_l1(rig.tier), 0);
    expect_found(TIER_ASK);
    expect_new_ones_absent();
    l1_limit_set(tier_l1(rig.tier), (size_t)64 << 20);
    ck_assert_int_eq(fill_now(rig.tier, slice_str(name_of(7))), 0);
    ck_assert_int_eq(find(name_of(7)), TIER_HERE);
}
END_TEST

/* A reload of the buckets may make a cart's key one of the cache, and a cart's again. */
START_TEST(a_cart_whose_item_became_another_is_asked_for)
{
    struct l1_item *item;
    struct slice key = slice_str("cart:a");
    uint64_t hash = hash_64(key);
    tier_rig_open(&rig);
    wait_for_keys();
    tier_rig_put(&rig, "cart:a", slice_str(a_state));
    tier_rig_drain(&rig);
    l1_lock(tier_l1(rig.tier), hash);
    ck_assert_int_eq(l1_put_locked(tier_l1(rig.tier), hash, key, L1_PLAIN, 0, &item), 0);
    l1_remove_locked(tier_l1(rig.tier), hash, item);
    l1_unlock(tier_l1(rig.tier), hash);
    ck_assert_int_eq(find("cart:a"), TIER_ASK);
}
END_TEST

START_TEST(what_l2_had_at_the_start_is_asked_for)
{
    tier_rig_open(&rig);
    put_carts();
    tier_rig_close(&rig);
    tier_rig_open(&rig);
    ck_assert_int_eq(find(name_of(0)), TIER_ASK); /* before all keys were seen, and after */
    wait_for_keys();
    expect_found(TIER_ASK);
    expect_new_ones_absent();
}
END_TEST

/* What is in no L2 any more may be among what was salvaged. */
START_TEST(what_may_have_been_salvaged_is_asked_for)
{
    tier_rig_open(&rig);
    wait_for_keys();
    atomic_store(&rig.tier->l2->has_salvaged, true);
    ck_assert_int_eq(find("cart:new"), TIER_ASK);
    atomic_store(&rig.tier->l2->has_salvaged, false);
    ck_assert_int_eq(find("cart:new"), TIER_NONE);
}
END_TEST

/* L3 may have carts that L2 has not. */
START_TEST(what_only_l3_may_have_is_asked_for)
{
    static char url[] = "sqlite:unused";
    tier_rig_open(&rig);
    wait_for_keys();
    rig.tier->l3_url = url;
    atomic_store(&rig.tier->l2_complete, false);
    ck_assert_int_eq(find("cart:new"), TIER_ASK);
    atomic_store(&rig.tier->l2_complete, true);
    ck_assert_int_eq(find("cart:new"), TIER_NONE);
    rig.tier->l3_url = NULL;
}
END_TEST

/* What only the journal has is neither in L1 nor in L2 yet. */
START_TEST(what_the_journal_may_have_is_asked_for)
{
    tier_rig_open(&rig);
    wait_for_keys();
    atomic_store(&rig.tier->catchup.running, true);
    ck_assert_int_eq(find("cart:new"), TIER_ASK);
    atomic_store(&rig.tier->catchup.running, false);
    ck_assert_int_eq(find("cart:new"), TIER_NONE);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tier_absent");
    TCase *absent = tcase_create("absent");
    tcase_add_checked_fixture(absent, set_up, tear_down);
    tcase_set_timeout(absent, 60);
    tcase_add_test(absent, a_new_cart_is_asked_of_nobody);
    tcase_add_test(absent, a_cart_that_was_evicted_is_asked_for);
    tcase_add_test(absent, a_cart_whose_item_became_another_is_asked_for);
    tcase_add_test(absent, what_l2_had_at_the_start_is_asked_for);
    tcase_add_test(absent, what_may_have_been_salvaged_is_asked_for);
    tcase_add_test(absent, what_only_l3_may_have_is_asked_for);
    tcase_add_test(absent, what_the_journal_may_have_is_asked_for);
    suite_add_tcase(suite, absent);
    return suite_run(suite);
}

/* Carts on their way into L1 around an L2 that is begun anew. */
#include "cart_kit.h"
#include "suite.h"
#include "tier_rig.h"

static struct tier_rig rig;
static _Atomic bool damages; /* the next check of a state comes when L2 has been begun anew */

static void set_up(void)
{
    tier_rig_set_up(&rig);
}

static void tear_down(void)
{
    tier_rig_tear_down(&rig);
}

/* Who fills has read the state and not yet put it. */
static int check(struct slice state)
{
    (void)state;
    if (atomic_exchange(&damages, false))
        tier_rig_damage(&rig);
    return 0;
}

/* Else L1 takes it for clean, may drop it, and L3 does not hear of it. */
START_TEST(a_cart_that_comes_from_an_l2_begun_anew_is_written_to_the_new_one)
{
    rig.value.check = check;
    tier_rig_open(&rig);
    tier_rig_put(&rig, "cart:a", slice_str("state"));
    tier_rig_close(&rig);
    tier_rig_open(&rig);
    atomic_store(&damages, true);
    ck_assert_int_eq(fill_now(rig.tier, slice_str("cart:a")), 0);
    ck_assert(!atomic_load(&damages));
    tier_rig_drain(&rig);
    ck_assert(tier_rig_is_in_l2(&rig, "cart:a", slice_str("state")));
}
END_TEST

/* Either may be the older: here each has a line that the other lacks. */
START_TEST(what_was_salvaged_is_joined_with_what_l3_has)
{
    struct kit salvaged, in_l3;
    kit_init(&salvaged, 1ull << 32);
    kit_init(&in_l3, 2ull << 32);
    ck_assert_int_eq(kit_add(&salvaged, "A", 1), 0);
    ck_assert_int_eq(kit_add(&in_l3, "B", 2), 0);
    tier_rig_use_l3(&rig);
    tier_rig_put_into_l3(&rig, "cart:a", kit_state(&in_l3));
    tier_rig_put_into_l2(&rig, "cart:a", kit_state(&salvaged));
    tier_rig_open(&rig);
    tier_rig_damage(&rig);
    ck_assert_int_eq(fill_now(rig.tier, slice_str("cart:a")), 0);
    tier_rig_drain(&rig);
    ck_assert_int_eq(kit_merge(&in_l3, &salvaged), 0);
    ck_assert(tier_rig_is_in_l2(&rig, "cart:a", kit_state(&in_l3)));
    tier_rig_close(&rig);
    kit_fini(&salvaged);
    kit_fini(&in_l3);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tier_fill");
    TCase *fills = tcase_create("fills");
    tcase_add_checked_fixture(fills, set_up, tear_down);
    tcase_set_timeout(fills, 60);
    tcase_add_test(fills, a_cart_that_comes_from_an_l2_begun_anew_is_written_to_the_new_one);
    tcase_add_test(fills, what_was_salvaged_is_joined_with_what_l3_has);
    suite_add_tcase(suite, fills);
    return suite_run(suite);
}

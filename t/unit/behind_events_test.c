/* behind: events on their way to a database that fails on demand. */
#include "lib/behind_world.h"
#include "lib/suite.h"

#include <check.h>

static struct world *world;

static void set_up(void)
{
    world_set_up();
    world = world_get();
}

START_TEST(events_go_at_once_in_order_and_leave)
{
    world_happen_all(3, 3 + BEHIND_EVENTS_MAX + 5);
    ck_assert_uint_eq(world_stat("behind_events_waiting"), BEHIND_EVENTS_MAX + 5);
    ck_assert_uint_eq(world_run_dry(), 0);
    world_expect_events_in_l3(3, 3 + BEHIND_EVENTS_MAX + 5);
    for (uint32_t i = 0; i < BEHIND_EVENTS_MAX + 5; i++)
        ck_assert_uint_eq(world->events[3 + i].order, i + 1);
    ck_assert_uint_eq(world->event_batches_count, 2);
    ck_assert_uint_eq(world->event_batches[0], BEHIND_EVENTS_MAX);
    ck_assert_uint_eq(world_stat("behind_events"), BEHIND_EVENTS_MAX + 5);
    ck_assert_uint_eq(world_stat("behind_events_waiting"), 0);
    ck_assert_uint_eq(world_stat("behind_batches"), 0); /* of carts */
}
END_TEST

START_TEST(an_event_from_before_the_walk_is_met)
{
    world_happen(100);
    world_run_dry();
    world_happen(50); /* two carts' steps reach L2 in another order than the journal */
    world_run_dry();
    world_expect_events_in_l3(50, 51);
    world_expect_events_in_l3(100, 101);
}
END_TEST

START_TEST(what_is_still_in_l2_is_not_written_again_and_again)
{
    world->events_stay = true;
    world_happen_all(1, 4);
    world_run_dry();
    ck_assert_uint_eq(world->event_batches_count, 1);
    world_happen(5);
    world_run_dry();
    ck_assert_uint_eq(world->event_batches_count, 2);
    ck_assert_uint_eq(world->event_batches[1], 1);
}
END_TEST

START_TEST(an_outage_loses_none_and_delays_no_cart)
{
    world->events_refused = true;
    world_happen_all(1, 41);
    world_change(7, 1);
    world_run_for(30000);
    world_expect_in_l3(7);
    ck_assert_uint_gt(world->event_batches_count, 3);
    ck_assert_uint_lt(world->event_batches_count, 40); /* it backs off */
    ck_assert_uint_eq(world_stat("behind_events"), 0);
    world_change(8, 1);
    world_run_for(WORLD_DELAY_MS + 1);
    world_expect_in_l3(8);
    world->events_refused = false;
    ck_assert_uint_le(world_run_dry(), BEHIND_BACKOFF_MAX_MS + BEHIND_PARK_MAX_MS);
    world_expect_events_in_l3(1, 41);
    for (uint32_t i = 1; i < 41; i++)
        ck_assert_uint_eq(world->events[i].rows, 1);
    ck_assert_uint_eq(world_stat("behind_events_parked"), 0);
    ck_assert_uint_eq(world_stat("behind_events_waiting"), 0);
}
END_TEST

static void expect_rest_without(uint32_t odd_one)
{
    world_happen_all(1, 200);
    world_change(7, 1);
    world_run_for(20000);
    world_expect_in_l3(7);
    world_expect_events_in_l3(1, odd_one);
    world_expect_events_in_l3(odd_one + 1, 200);
    ck_assert_uint_eq(world->events[odd_one].rows, 0);
    ck_assert(world->events[odd_one].held);
    ck_assert_uint_eq(world_stat("behind_events_parked"), 1);
    world_run_for(60000);
    size_t tries = world->event_batches_count;
    world_run_for(10 * BEHIND_PARK_MAX_MS);
    ck_assert_uint_le(world->event_batches_count - tries, 21);
    world_happen_all(200, 210); /* later ones do not wait for it */
    world_run_for(1000);
    world_expect_events_in_l3(200, 210);
    world->poison_event = world->bad_event = world->corrupt_event = UINT32_MAX;
    world_run_for(BEHIND_PARK_MAX_MS);
    world_expect_events_in_l3(odd_one, odd_one + 1);
    ck_assert_uint_eq(world_run_dry(), 0);
    ck_assert_uint_eq(world_stat("behind_events_parked"), 0);
}

START_TEST(a_poison_event_is_passed_over)
{
    world->poison_event = 77;
    expect_rest_without(77);
}
END_TEST

START_TEST(an_event_refused_by_itself_is_passed_over)
{
    world->bad_event = 77;
    expect_rest_without(77);
    ck_assert_uint_eq(world_stat("behind_errors"), 0);
}
END_TEST

START_TEST(a_corrupt_event_is_passed_over)
{
    world->corrupt_event = 77;
    expect_rest_without(77);
}
END_TEST

START_TEST(a_drain_waits_for_events)
{
    world_happen(1);
    ck_assert_int_eq(behind_drain(&world->behind, 1, 0), CE_BUSY);
    world_run_dry();
    ck_assert_int_eq(behind_drain(&world->behind, 1, 0), 0);
    world->bad_event = 2;
    world_happen(2);
    world_run_for(100);
    world->bad_event = UINT32_MAX;
    ck_assert_int_eq(behind_drain(&world->behind, 1, 0), CE_BUSY); /* and tries those set aside */
    world_run_for(1);
    world_expect_events_in_l3(2, 3);
}
END_TEST

static Suite *make_suite(void)
{
    Suite *suite = suite_create("behind_events");
    TCase *tcase = tcase_create("turns");
    tcase_add_checked_fixture(tcase, set_up, world_tear_down);
    tcase_add_test(tcase, events_go_at_once_in_order_and_leave);
    tcase_add_test(tcase, an_event_from_before_the_walk_is_met);
    tcase_add_test(tcase, what_is_still_in_l2_is_not_written_again_and_again);
    tcase_add_test(tcase, an_outage_loses_none_and_delays_no_cart);
    tcase_add_test(tcase, a_poison_event_is_passed_over);
    tcase_add_test(tcase, an_event_refused_by_itself_is_passed_over);
    tcase_add_test(tcase, a_corrupt_event_is_passed_over);
    tcase_add_test(tcase, a_drain_waits_for_events);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return suite_run(make_suite());
}

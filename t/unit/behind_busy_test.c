/* behind: how long carts wait for more changes while clients are busy, on a fake clock. */
#include "lib/behind_world.h"
#include "lib/suite.h"

#include <check.h>

static struct world *world;

static void set_up(void)
{
    world_set_up();
    world = world_get();
}

/* Those that L2 lacks will wait, too: with the first ones of them it would begin far too early. */
START_TEST(the_more_carts_wait_or_come_the_longer_up_to_a_bound)
{
    static const struct {
        uint32_t carts, coming;
        unsigned wait_ms;
    } table[] = {{1, 0, 10}, {5, 0, 50}, {5, 3, 80}, {10, 0, 100}, {5, 10, 100}, {15, 0, 100}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        world_remake(&world->env, 10, WORLD_DELAY_MS);
        world->behind->cart_us = 10000;
        world->behind->delay_max_ms = 100;
        world->busy = true;
        world->coming = table[i].coming;
        world_change_all(0, table[i].carts);
        uint64_t due_ms = world->now_ms + WORLD_DELAY_MS + table[i].wait_ms;
        ck_assert_uint_eq(behind_turn(world->behind), BEHIND_LOOK_MS); /* are they still busy? */
        world->now_ms = due_ms - 1;
        ck_assert_uint_eq(behind_turn(world->behind), 1);
        world->now_ms += 1;
        behind_turn(world->behind);
        behind_turn(world->behind); /* the second batch of a run does not wait again */
        world_expect_all_in_l3(0, table[i].carts);
    }
}
END_TEST

START_TEST(nobody_waits_for_clients_that_have_become_quiet)
{
    world_remake(&world->env, 10, WORLD_DELAY_MS);
    world->behind->cart_us = 1000000;
    world->behind->delay_max_ms = 40000;
    world->busy = true;
    world_change_all(0, 30);
    world_run_for(20000);
    ck_assert_uint_eq(world->batches_count, 0);
    world->busy = false;
    world_run_for(BEHIND_LOOK_MS);
    world_expect_all_in_l3(0, 30);
}
END_TEST

START_TEST(a_queue_that_is_nearly_full_waits_for_nobody)
{
    world_remake(&world->env, 10, WORLD_DELAY_MS);
    world->behind->cart_us = 1000000;
    world->behind->delay_max_ms = 40000;
    world->behind->queue_max = 40;
    world->busy = true;
    world_change_all(0, 34);
    world_run_for(2 * WORLD_DELAY_MS);
    ck_assert_uint_eq(world->batches_count, 0);
    world_change(34, 1);
    world_run_for(2 * WORLD_DELAY_MS);
    world_expect_all_in_l3(0, 34);
    ck_assert_uint_eq(world_stat("behind_overflow"), 0);
}
END_TEST

static void expect_in_time(void)
{
    ck_assert(!behind_is_late(&world->behind, 1));
}

/* Carts that wait for more changes as they shall are no reason to call the database slow. */
START_TEST(patience_is_not_lateness)
{
    world_remake(&world->env, 10, WORLD_DELAY_MS);
    world->behind->cart_us = 1000000;
    world->behind->delay_max_ms = 40000;
    world->busy = true;
    world_change_all(0, 30);
    world_run_for(30000);
    ck_assert(!behind_is_late(&world->behind, 1));
    world->now_ms += BEHIND_LATE_MS + WORLD_DELAY_MS;
    ck_assert(!behind_is_late(&world->behind, 1));
    world->now_ms += 1; /* no turn came */
    ck_assert(behind_is_late(&world->behind, 1));
    behind_turn(world->behind); /* ten of them */
    world->now_ms += 1;
    ck_assert(behind_is_late(&world->behind, 1));
    world_run_dry();
    ck_assert(!behind_is_late(&world->behind, 1));
    world->during_flush = expect_in_time;
    world_change_all(0, 10);
    world_run_for(60000);
    world_expect_all_in_l3(0, 10);
}
END_TEST

/* A minute is a minute from the change on, wherever it was spent; the usual delay is for the queue.
 */
START_TEST(what_a_cart_waited_for_l2_counts)
{
    char key[WORLD_KEY_MAX];
    world_remake(&world->env, 10, WORLD_DELAY_MS);
    world->behind->cart_us = 1000000000;
    world->behind->delay_max_ms = 60000;
    world->behind->hot_ms = 60000;
    world->busy = true;
    for (int again = 0; again < 2; again++) { /* then the cart is hot */
        uint64_t changed_ms = world->now_ms;
        world->now_ms += 40000;
        world->held[1] = (struct world_held){.present = true, .marked = true, .mask = 1 + again};
        behind_add(world->behind, world_key(1, key), changed_ms);
        ck_assert_uint_eq(behind_age_ms(&world->behind, 1), 40000);
        world_run_for(19999);
        ck_assert_uint_ne(world->rows[1].mask, world->held[1].mask);
        world_run_for(1 + WORLD_DELAY_MS);
        ck_assert_uint_eq(world->rows[1].mask, world->held[1].mask);
    }
    uint64_t now_ms = world->now_ms;
    behind_add(world->behind, world_key(1, key), now_ms - 100000); /* L2 did not come on */
    world_run_for(0);
    ck_assert_uint_eq(world->rows[1].rev, 3);
}
END_TEST

START_TEST(a_hot_cart_is_written_seldom_while_clients_are_busy)
{
    world->busy = true;
    world_change(1, 1);
    world_run_for(WORLD_DELAY_MS);
    world_expect_in_l3(1);
    for (int i = 1; i <= 10; i++) { /* once a second */
        world->now_ms += i == 1 ? 0 : 1000;
        world_change(1, 1ull << i);
        world_run_for(0);
    }
    ck_assert_uint_eq(world->batches_count, 1);
    ck_assert_uint_eq(world_stat("behind_queue"), 1);
    ck_assert_uint_eq(behind_age_ms(&world->behind, 1), 9000);
    world_run_for(WORLD_HOT_MS - 9000 + BEHIND_LOOK_MS);
    ck_assert_uint_eq(world->batches_count, 2);
    world_expect_in_l3(1);
    world_change(2, 1); /* another is written as soon as ever */
    world_run_for(WORLD_DELAY_MS);
    world_expect_in_l3(2);
}
END_TEST

/* It would sleep until the parked one is tried again, a minute later. */
/* More than a batch of each kind, so that they could become one run. */
START_TEST(hot_carts_neither_wait_for_new_ones_nor_take_them_along)
{
    world_remake(&world->env, 10, WORLD_DELAY_MS);
    world->busy = true;
    world_change_all(0, 12);
    world_run_for(WORLD_DELAY_MS);
    world_expect_all_in_l3(0, 12);
    for (uint32_t i = 0; i < 12; i++)
        world_change(i, 2);
    world->behind->cart_us = 1000000;
    world->behind->delay_max_ms = WORLD_HOT_MS;
    world_run_for(WORLD_HOT_MS / 2);
    world_change_all(100, 112);
    world_run_for(WORLD_HOT_MS / 2 + WORLD_DELAY_MS);
    world_expect_all_in_l3(0, 12);
    for (uint32_t i = 100; i < 112; i++)
        ck_assert(!world->rows[i].present);
    world_run_for(WORLD_HOT_MS / 2);
    world_expect_all_in_l3(100, 112);
}
END_TEST

START_TEST(a_cart_that_becomes_hot_is_looked_at_while_another_is_parked)
{
    world->busy = true;
    world->poison = 2;
    world_change_all(1, 3);
    world_run_for(4 * WORLD_DELAY_MS);
    world_expect_in_l3(1);
    ck_assert_uint_eq(world_stat("behind_parked"), 1);
    world->behind->woken = false;
    world_change(1, 2);
    ck_assert(world->behind->woken);
}
END_TEST

START_TEST(a_cart_that_somebody_waits_for_is_the_next)
{
    world->busy = true;
    world_change(1, 1);
    world_run_for(WORLD_DELAY_MS);
    world_change(1, 2);                          /* hot */
    world_change(2, 1);                          /* queued */
    for (unsigned cart = 1; cart <= 3; cart++) { /* the last is not known at all */
        char key[WORLD_KEY_MAX];
        behind_hurry(world->behind, world_key(cart, key));
    }
    behind_turn(world->behind);
    world_expect_in_l3(1);
    world_expect_in_l3(2);
    ck_assert_uint_eq(world_stat("behind_queue"), 0);
}
END_TEST

START_TEST(a_hot_cart_waits_no_longer_when_clients_become_quiet)
{
    world->busy = true;
    world_change_all(1, 3);
    world_run_for(WORLD_DELAY_MS);
    world_change(1, 2);
    world_run_for(2000);
    ck_assert_uint_eq(world->batches_count, 1);
    world->busy = false;
    world_run_for(BEHIND_LOOK_MS);
    ck_assert_uint_eq(world->batches_count, 2);
    world_expect_in_l3(1);
    ck_assert_uint_eq(HASH_COUNT(world->behind->queue.table), 0); /* no warm ones are kept */
    world_change(1, 4);
    world_run_for(WORLD_DELAY_MS);
    world_expect_in_l3(1);
}
END_TEST

START_TEST(a_drain_waits_for_no_hot_cart)
{
    world->busy = true;
    world_change(1, 1);
    world_run_for(WORLD_DELAY_MS);
    world_change(1, 2);
    world_run_for(1000);
    ck_assert_int_eq(behind_drain(&world->behind, 1, 0), CE_BUSY);
    world->behind->drains++;
    behind_turn(world->behind);
    world->behind->drains--;
    world_expect_in_l3(1);
}
END_TEST

START_TEST(warm_carts_make_room_for_others)
{
    world->busy = true;
    world->behind->queue_max = 6;
    world_change_all(0, 2);
    world_run_for(2 * WORLD_DELAY_MS);
    world_change_all(2, 4);
    world_run_for(2 * WORLD_DELAY_MS);
    world_change_all(4, 9); /* five that wait, two or four that are warm */
    ck_assert_uint_eq(world_stat("behind_overflow"), 0);
    ck_assert_uint_le(HASH_COUNT(world->behind->queue.table), 6);
    world_change(9, 1);
    world_change(10, 1); /* the seventh that waits */
    ck_assert_uint_eq(world_stat("behind_overflow"), 1);
    world_run_dry();
    world_expect_all_in_l3(0, 11);
}
END_TEST

static Suite *make_suite(void)
{
    Suite *suite = suite_create("behind_busy");
    TCase *tcase = tcase_create("turns");
    tcase_add_checked_fixture(tcase, set_up, world_tear_down);
    tcase_add_test(tcase, the_more_carts_wait_or_come_the_longer_up_to_a_bound);
    tcase_add_test(tcase, nobody_waits_for_clients_that_have_become_quiet);
    tcase_add_test(tcase, a_queue_that_is_nearly_full_waits_for_nobody);
    tcase_add_test(tcase, patience_is_not_lateness);
    tcase_add_test(tcase, what_a_cart_waited_for_l2_counts);
    tcase_add_test(tcase, a_hot_cart_is_written_seldom_while_clients_are_busy);
    tcase_add_test(tcase, hot_carts_neither_wait_for_new_ones_nor_take_them_along);
    tcase_add_test(tcase, a_cart_that_becomes_hot_is_looked_at_while_another_is_parked);
    tcase_add_test(tcase, a_cart_that_somebody_waits_for_is_the_next);
    tcase_add_test(tcase, a_hot_cart_waits_no_longer_when_clients_become_quiet);
    tcase_add_test(tcase, a_drain_waits_for_no_hot_cart);
    tcase_add_test(tcase, warm_carts_make_room_for_others);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return suite_run(make_suite());
}

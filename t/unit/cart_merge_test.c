/* Merging copies: cart-model section 3, the counter-examples that other designs fail, pruning. */
#include "cart_kit.h"

static struct kit a, b, c;

static void setup(void)
{
    kit_init(&a, 1ull << 32);
    kit_init(&b, 2ull << 32);
    kit_init(&c, 3ull << 32);
    a.step.fold = b.step.fold = c.step.fold = CART_FOLD_OWN;
}

static void teardown(void)
{
    kit_fini(&a);
    kit_fini(&b);
    kit_fini(&c);
}

static void expect_equal(void)
{
    ck_assert_int_eq(kit_merge(&b, &a), 0);
    ck_assert_int_eq(kit_merge(&a, &b), 0);
    ck_assert(slice_eq(kit_state(&a), kit_state(&b)));
}

START_TEST(concurrent_adds_sum_up)
{
    kit_add(&a, "l", 2);
    kit_add(&b, "l", 3);
    kit_add(&b, "m", 1);
    ck_assert_int_eq(kit_merge(&a, &b), 0);
    ck_assert_int_eq(kit_qty(&a, "l"), 5);
    ck_assert_int_eq(kit_qty(&a, "m"), 1);
    ck_assert_uint_eq(kit_summary(&a).version, 3);
    expect_equal();
}
END_TEST

START_TEST(an_add_survives_a_concurrent_remove)
{
    kit_add(&a, "l", 2);
    kit_merge(&b, &a);
    kit_remove(&a, "l");
    kit_add(&b, "l", 3);
    kit_merge(&a, &b);
    ck_assert_int_eq(kit_qty(&a, "l"), 3);
    expect_equal();
}
END_TEST

START_TEST(a_removed_line_does_not_come_back)
{
    kit_add(&a, "l", 2);
    kit_merge(&b, &a);
    kit_merge(&c, &a);
    kit_remove(&a, "l");
    kit_merge(&a, &b);
    kit_merge(&a, &c);
    ck_assert_int_eq(kit_qty(&a, "l"), 0);
    kit_merge(&b, &a);
    ck_assert_int_eq(kit_qty(&b, "l"), 0);
}
END_TEST

/* The smallest history that a baseline carried by the last writer gets wrong. */
START_TEST(a_set_consumes_the_add_it_saw)
{
    kit_add(&a, "l", 1);
    kit_set(&a, "l", 5);
    b.step.now_us += 60000000; /* a fast clock is no argument for a remove */
    kit_remove(&b, "l");
    kit_merge(&a, &b);
    ck_assert_int_eq(kit_qty(&a, "l"), 5);
}
END_TEST

START_TEST(of_two_sets_the_later_wins_and_adds_stay)
{
    kit_add(&a, "l", 1);
    kit_merge(&b, &a);
    kit_set(&a, "l", 5);
    b.step.now_us += 9000000;
    kit_set(&b, "l", 7);
    kit_add(&b, "l", 2);
    kit_merge(&a, &b);
    ck_assert_int_eq(kit_qty(&a, "l"), 9);
    expect_equal();
}
END_TEST

START_TEST(debts_do_not_swallow_the_next_add)
{
    kit_add(&a, "l", 3);
    kit_merge(&b, &a);
    kit_add(&a, "l", -2);
    kit_add(&b, "l", -2);
    kit_merge(&a, &b);
    ck_assert_int_eq(kit_qty(&a, "l"), 0);
    ck_assert_uint_eq(kit_summary(&a).lines, 0);
    kit_add(&a, "l", 1);
    ck_assert_int_eq(kit_qty(&a, "l"), 1);
    expect_equal();
}
END_TEST

/* Removing the line that one of two concurrent writers saw must not depend on the order of merges,
 * also not for the fields of the line. */
START_TEST(fields_of_a_line_merge_in_any_order)
{
    struct cart_op op = {.kind = CART_ADD, .flags = CART_OP_PRICE, .line = slice_str("l"), .n = 1};
    struct kit left, right;
    op.price = 100;
    a.step.now_us += 60000000;
    kit_op(&a, op);
    kit_merge(&b, &a);
    kit_remove(&b, "l");
    op.price = 50;
    kit_op(&c, op);
    kit_init(&left, 9);
    kit_init(&right, 9);
    kit_merge(&left, &a);
    kit_merge(&left, &c);
    ck_assert_int_eq(kit_line(&left, "l").price, 100);
    kit_merge(&left, &b);
    kit_merge(&right, &b);
    kit_merge(&right, &c);
    kit_merge(&right, &a);
    ck_assert(slice_eq(kit_state(&left), kit_state(&right)));
    ck_assert_int_eq(kit_line(&left, "l").price, 50);
    kit_fini(&left);
    kit_fini(&right);
}
END_TEST

START_TEST(the_latest_check_wins)
{
    kit_add(&a, "l", 1);
    kit_merge(&b, &a);
    struct cart_op op = {.kind = CART_CHECK, .line = slice_str("l"), .n = 0};
    kit_op(&a, op);
    b.step.now_us += 5000000;
    op.n = 1;
    kit_op(&b, op);
    kit_merge(&a, &b);
    ck_assert(kit_line(&a, "l").checked);
    expect_equal();
}
END_TEST

START_TEST(a_check_does_not_bring_a_removed_line_back)
{
    kit_add(&a, "l", 1);
    kit_merge(&b, &a);
    kit_remove(&a, "l");
    kit_op(&b, (struct cart_op){.kind = CART_CHECK, .line = slice_str("l"), .n = 0});
    kit_merge(&a, &b);
    ck_assert_uint_eq(kit_summary(&a).lines, 0);
    kit_add(&a, "l", 4);
    ck_assert(kit_line(&a, "l").checked);
    expect_equal();
}
END_TEST

START_TEST(life_and_currency_merge_by_the_latest)
{
    memcpy(a.step.currency, "EUR", 4);
    kit_add(&a, "l", 1);
    kit_merge(&b, &a);
    a.step.life = CART_LIFE_FIXED;
    a.step.life_us = KIT_START_US + 1000000000;
    kit_add(&a, "l", 1);
    b.step.now_us += 9000000;
    b.step.life = CART_LIFE_FIXED;
    b.step.life_us = KIT_START_US + 3000000000;
    kit_add(&b, "l", 1);
    kit_merge(&a, &b);
    ck_assert_uint_eq(kit_summary(&a).expiry_us, KIT_START_US + 3000000000);
    ck_assert_str_eq(kit_summary(&a).currency, "EUR");
    expect_equal();
}
END_TEST

START_TEST(old_states_and_repeats_change_nothing)
{
    struct kit old;
    kit_init(&old, 9);
    kit_add(&a, "l", 1);
    kit_merge(&old, &a);
    kit_set(&a, "l", 4);
    kit_remove(&a, "l");
    kit_add(&a, "m", 2);
    kit_merge(&b, &a);
    kit_merge(&b, &old);
    kit_merge(&b, &a);
    ck_assert(slice_eq(kit_state(&a), kit_state(&b)));
    ck_assert(cart_covers(kit_state(&a), kit_state(&old)));
    ck_assert(!cart_covers(kit_state(&old), kit_state(&a)));
    ck_assert(cart_covers(kit_state(&a), slice_of(NULL, 0)));
    ck_assert(!cart_covers(slice_of(NULL, 0), kit_state(&a)));
    kit_fini(&old);
}
END_TEST

START_TEST(an_older_actor_joins_in_the_middle)
{
    for (uint64_t i = 0; i < 6; i++) {
        a.step.actor = (i % 2 ? 100 - i : i + 1) << 32;
        a.step.token = slice_str(i % 2 ? "x" : "y");
        kit_add(&a, "l", i % 2 ? 2 : 1);
        a.step.actor = (50 + i) << 32;
        kit_add(&a, i % 2 ? "m" : "n", 1);
    }
    ck_assert_int_eq(kit_qty(&a, "l"), 3);
    ck_assert_int_eq(kit_qty(&a, "m") + kit_qty(&a, "n"), 6);
    ck_assert_uint_eq(cart_seq(kit_state(&a), 1ull << 32), 1);
    ck_assert_uint_eq(cart_seq(kit_state(&a), 2ull << 32), 0);
    a.step.actor = 7;
    kit_remove(&a, "gone"); /* joins for nothing, and leaves again */
    ck_assert_uint_eq(cart_seq(kit_state(&a), 7), 0);
}
END_TEST

START_TEST(old_actors_without_events_are_pruned)
{
    uint64_t version = 0;
    for (uint64_t i = 1; i <= 3 * CART_ACTORS_MAX; i++) {
        a.step.actor = i << 32;
        kit_set(&a, i % 10 == 5 ? "old" : "new", (int64_t)i);
        ck_assert_uint_eq(kit_summary(&a).version, ++version);
    }
    int actors = 0;
    for (uint64_t i = 1; i <= 3 * CART_ACTORS_MAX; i++)
        actors += cart_seq(kit_state(&a), i << 32) > 0;
    ck_assert_int_eq(actors, CART_ACTORS_MAX);
    ck_assert_int_eq(kit_qty(&a, "old"), 95);
    ck_assert_int_eq(kit_qty(&a, "new"), 96);
    kit_merge(&b, &a);
    ck_assert_uint_eq(kit_summary(&b).version, version);
}
END_TEST

START_TEST(actors_in_use_are_not_pruned)
{
    char line[8] = "l00";
    for (uint64_t i = 1; i <= 2 * CART_ACTORS_MAX; i++) {
        a.step.actor = i << 32;
        line[1] = (char)('0' + i / 10);
        line[2] = (char)('0' + i % 10);
        kit_add(&a, line, 1);
    }
    ck_assert_uint_eq(kit_summary(&a).lines, 2 * CART_ACTORS_MAX);
    ck_assert_uint_eq(cart_seq(kit_state(&a), 1ull << 32), 1);
    kit_op(&a, (struct cart_op){.kind = CART_CLEAR});
    ck_assert_uint_eq(cart_seq(kit_state(&a), 1ull << 32), 1); /* it made the cart exist */
    ck_assert_uint_eq(cart_seq(kit_state(&a), 2ull << 32), 0);
}
END_TEST

START_TEST(alone_all_adds_of_a_line_fold)
{
    a.step.fold = CART_FOLD_ALONE;
    kit_add(&a, "l", 1);
    size_t one = a.state.len;
    for (int i = 0; i < 100; i++) {
        char token[8] = {(char)('A' + i / 10), (char)('A' + i % 10)};
        a.step.token = slice_str(i % 2 ? token : "");
        kit_add(&a, "l", 1);
    }
    a.step.now_us += 2 * CART_TOKEN_LIFE_US;
    kit_add(&a, "l", 1);
    ck_assert_int_eq(kit_qty(&a, "l"), 102);
    ck_assert_uint_le(a.state.len, one + 12); /* greater numbers, no more entries */
}
END_TEST

START_TEST(with_peers_own_adds_fold_beyond_the_constant)
{
    for (int i = 0; i < 300; i++)
        kit_add(&a, "l", 1);
    ck_assert_int_eq(kit_qty(&a, "l"), 300);
    ck_assert_uint_le(a.state.len, 100 + CART_FOLD_MAX * 5);
    kit_add(&b, "l", 1);
    kit_merge(&b, &a);
    for (int i = 0; i < 300; i++)
        kit_add(&b, "l", 1);
    ck_assert_int_eq(kit_qty(&b, "l"), 601); /* a's entries are a's to fold */
    kit_merge(&a, &b);
    ck_assert_int_eq(kit_qty(&a, "l"), 601);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        concurrent_adds_sum_up,
        an_add_survives_a_concurrent_remove,
        a_removed_line_does_not_come_back,
        a_set_consumes_the_add_it_saw,
        of_two_sets_the_later_wins_and_adds_stay,
        debts_do_not_swallow_the_next_add,
        fields_of_a_line_merge_in_any_order,
        the_latest_check_wins,
        a_check_does_not_bring_a_removed_line_back,
        life_and_currency_merge_by_the_latest,
        old_states_and_repeats_change_nothing,
        an_older_actor_joins_in_the_middle,
        old_actors_without_events_are_pruned,
        actors_in_use_are_not_pruned,
        alone_all_adds_of_a_line_fold,
        with_peers_own_adds_fold_beyond_the_constant,
    };
    return kit_main("cart_merge", tests, sizeof(tests) / sizeof(*tests), setup, teardown);
}

/* Tokens: a retry answers as the first time, at one copy and across copies. */
#include "cart/cart_int.h"
#include "cart_kit.h"

static struct kit a, b;

static void setup(void)
{
    kit_init(&a, 1ull << 32);
    kit_init(&b, 2ull << 32);
    a.step.fold = b.step.fold = CART_FOLD_OWN;
}

static void teardown(void)
{
    kit_fini(&a);
    kit_fini(&b);
}

START_TEST(a_retry_answers_as_the_first_time)
{
    struct cart_op op = {.kind = CART_ADD, .line = slice_str("l"), .n = 2};
    op.flags = CART_OP_PRICE;
    op.price = 50;
    a.step.token = slice_str("t1");
    ck_assert_int_eq(kit_op(&a, op), 0);
    struct cart_result first = a.result;
    ck_assert(!first.repeated);
    kit_set(&a, "l", 9);
    kit_add(&a, "m", 1);
    a.step.token = slice_str("t1");
    ck_assert_int_eq(kit_op(&a, op), 0);
    ck_assert(a.result.repeated);
    ck_assert(!a.result.changed);
    ck_assert_int_eq(a.result.line_qty, 2);
    ck_assert_uint_eq(a.result.summary.version, first.summary.version);
    ck_assert_uint_eq(a.result.summary.cas, first.summary.cas);
    ck_assert_uint_eq(a.result.summary.lines, 1);
    ck_assert_uint_eq(a.result.summary.qty, 2);
    ck_assert(a.result.summary.checked_amount_known);
    ck_assert_int_eq(a.result.summary.checked_amount, 100);
    ck_assert_int_eq(kit_qty(&a, "l"), 9);
}
END_TEST

START_TEST(a_retry_with_other_arguments_is_refused)
{
    ck_assert_int_eq(kit_add_token(&a, "l", 2, "t"), 0);
    ck_assert_int_eq(kit_add_token(&a, "l", 3, "t"), CE_TOKEN_REUSED);
    ck_assert_int_eq(kit_add_token(&a, "m", 2, "t"), CE_TOKEN_REUSED);
    memcpy(a.step.currency, "EUR", 4);
    ck_assert_int_eq(kit_add_token(&a, "l", 2, "t"), CE_TOKEN_REUSED);
    a.step.life = CART_LIFE_FIXED; /* counted from now, so it may differ */
    a.step.life_us = a.step.now_us + 77;
    ck_assert_int_eq(kit_add_token(&a, "l", 2, "t"), 0);
    ck_assert(a.result.repeated);
}
END_TEST

START_TEST(the_arguments_are_those_asked_for_not_the_clamped_ones)
{
    struct cart_op op = {.kind = CART_ADD, .line = slice_str("l"), .n = 2000};
    op.flags = CART_OP_CLAMP;
    for (int i = 0; i < 2; i++) {
        a.step.token = slice_str("t");
        ck_assert_int_eq(kit_op(&a, op), 0);
        ck_assert_int_eq(a.result.repeated, i);
        ck_assert_int_eq(a.result.line_qty, 999);
    }
}
END_TEST

START_TEST(a_refused_step_does_not_use_its_token)
{
    ck_assert_int_eq(kit_add_token(&a, "l", 5000, "t"), CE_QTY_LIMIT);
    ck_assert_int_eq(kit_add_token(&a, "l", 5, "t"), 0);
    ck_assert(!a.result.repeated);
}
END_TEST

START_TEST(a_token_with_nothing_to_do_is_known_too)
{
    ck_assert_int_eq(kit_add_token(&a, "l", -1, "t"), 0);
    ck_assert(a.result.changed);
    ck_assert(!a.result.summary.exists);
    ck_assert_uint_eq(a.result.summary.version, 1);
    ck_assert(!kit_summary(&a).exists);
    kit_add(&a, "l", 3);
    ck_assert_int_eq(kit_add_token(&a, "l", -1, "t"), 0);
    ck_assert(a.result.repeated);
    ck_assert(!a.result.summary.exists);
    ck_assert_uint_eq(a.result.summary.cas, 0);
    ck_assert_int_eq(kit_qty(&a, "l"), 3);
}
END_TEST

START_TEST(after_ten_minutes_a_token_is_new)
{
    kit_add_token(&a, "l", 1, "t");
    kit_add_token(&a, "l", 2, "u");
    a.step.now_us = KIT_START_US + CART_TOKEN_LIFE_US;
    ck_assert_int_eq(kit_add_token(&a, "l", 1, "t"), 0);
    ck_assert(a.result.repeated); /* exactly as old as it may be */
    a.step.now_us = KIT_START_US + CART_TOKEN_LIFE_US + 1;
    ck_assert_int_eq(kit_add_token(&a, "l", 1, "t"), 0);
    ck_assert(!a.result.repeated);
    ck_assert_int_eq(kit_qty(&a, "l"), 4);
    ck_assert_int_eq(kit_add_token(&a, "l", 2, "u"), 0);
    ck_assert(!a.result.repeated);
    size_t with_tokens = a.state.len;
    a.step.now_us += 2 * CART_TOKEN_LIFE_US;
    kit_add(&a, "l", 1);
    ck_assert_uint_lt(a.state.len + 40, with_tokens);
    ck_assert_int_eq(kit_qty(&a, "l"), 7);
}
END_TEST

START_TEST(a_retry_survives_the_end_of_the_cart)
{
    kit_add_token(&a, "l", 2, "t");
    kit_op(&a, (struct cart_op){.kind = CART_FORGET});
    ck_assert_int_eq(kit_add_token(&a, "l", 2, "t"), 0);
    ck_assert(a.result.repeated);
    ck_assert(a.result.summary.exists); /* as it was the first time */
    ck_assert_int_eq(kit_qty(&a, "l"), 0);
}
END_TEST

START_TEST(a_retry_elsewhere_counts_once)
{
    kit_add_token(&a, "l", 2, "t");
    kit_add_token(&b, "l", 2, "t"); /* b has not heard of it */
    ck_assert(!b.result.repeated);
    ck_assert_int_eq(kit_merge(&a, &b), 0);
    ck_assert_int_eq(kit_qty(&a, "l"), 2);
    ck_assert_int_eq(kit_merge(&b, &a), 0);
    ck_assert(slice_eq(kit_state(&a), kit_state(&b)));
    kit_add(&b, "l", 1);
    ck_assert_int_eq(kit_qty(&b, "l"), 3);
    ck_assert_int_eq(kit_merge(&a, &b), 0);
    ck_assert_int_eq(kit_qty(&a, "l"), 3);
    kit_add_token(&a, "l", 2, "t");
    ck_assert(a.result.repeated);
    ck_assert_uint_eq(a.result.summary.version, 1); /* the smallest dot answers */
}
END_TEST

START_TEST(the_retry_of_a_removed_add_stays_away)
{
    kit_add_token(&a, "l", 2, "t");
    kit_add_token(&b, "l", 2, "t");
    kit_remove(&a, "l");
    kit_merge(&a, &b);
    ck_assert_int_eq(kit_qty(&a, "l"), 0);
}
END_TEST

START_TEST(a_partition_longer_than_a_token_lives_does_not_double)
{
    kit_add_token(&a, "l", 2, "t");
    kit_add_token(&b, "l", 2, "t");
    a.step.now_us += 3 * CART_TOKEN_LIFE_US;
    kit_add(&a, "x", 1); /* a forgets t */
    b.step.now_us = a.step.now_us;
    kit_add(&b, "y", 1); /* b too */
    kit_merge(&a, &b);
    ck_assert_int_eq(kit_qty(&a, "l"), 2);
}
END_TEST

START_TEST(a_token_used_again_later_counts_again)
{
    kit_add_token(&a, "l", 2, "t");
    kit_merge(&b, &a);
    a.step.now_us += 3 * CART_TOKEN_LIFE_US;
    kit_add_token(&a, "l", 2, "t");
    ck_assert_int_eq(kit_qty(&a, "l"), 4);
    kit_merge(&b, &a);
    ck_assert_int_eq(kit_qty(&b, "l"), 4);
}
END_TEST

START_TEST(own_adds_with_tokens_fold_when_the_tokens_are_gone)
{
    char token[8];
    for (int i = 0; i < CART_FOLD_MAX; i++) {
        token[0] = (char)('A' + i);
        token[1] = 0;
        kit_add_token(&a, "l", 1, token);
    }
    a.step.now_us += 2 * CART_TOKEN_LIFE_US;
    b.step.now_us = a.step.now_us;
    kit_add_token(&a, "l", 5, "t"); /* carries the others */
    kit_add_token(&b, "l", 5, "t");
    ck_assert_int_eq(kit_qty(&a, "l"), CART_FOLD_MAX + 5);
    ck_assert_uint_lt(a.state.len, 200);
    /* The retry with the smaller dot hides the other, but not what that one carries. */
    kit_merge(&b, &a);
    ck_assert_int_eq(kit_qty(&b, "l"), CART_FOLD_MAX + 5);
    b.step.actor = 0;
    struct kit early;
    kit_init(&early, 3);
    early.step.now_us = a.step.now_us;
    early.step.fold = CART_FOLD_OWN;
    kit_add_token(&early, "l", 5, "t");
    kit_merge(&early, &a);
    ck_assert_int_eq(kit_qty(&early, "l"), CART_FOLD_MAX + 5);
    kit_add(&early, "m", 1);
    ck_assert_int_eq(kit_qty(&early, "l"), CART_FOLD_MAX + 5);
    early.step.now_us += 3 * CART_TOKEN_LIFE_US; /* also when nothing tells of the token any more */
    kit_op(&early, (struct cart_op){.kind = CART_CHECK, .line = slice_str("l"), .n = 1});
    kit_add(&early, "m", 1);
    ck_assert_int_eq(kit_qty(&early, "l"), CART_FOLD_MAX + 5);
    kit_merge(&a, &early);
    ck_assert(slice_eq(kit_state(&a), kit_state(&early))); /* the drop spreads */
    kit_fini(&early);
}
END_TEST

/* Filling a cart with so many takes a while: the count is all that is looked at. */
static int add_with_tokens_there(uint64_t tokens, const char *token)
{
    struct cart_op op = {.kind = CART_ADD, .line = slice_str("l"), .n = 1};
    struct cart_step step = a.step;
    step.token = slice_str(token);
    step.ops = &op;
    step.ops_count = 1;
    ck_assert_int_eq(cart_load(a.cart, kit_state(&a)), 0);
    a.cart->head.tokens = tokens;
    return cart_apply(a.cart, &step, &a.result);
}

START_TEST(too_many_tokens_are_refused)
{
    kit_add_token(&a, "l", 1, "t");
    ck_assert_int_eq(add_with_tokens_there(CART_TOKENS_MAX, "u"), CE_BUSY);
    ck_assert_int_eq(add_with_tokens_there(CART_TOKENS_MAX, "t"), 0);
    ck_assert(a.result.repeated);
    ck_assert_int_eq(add_with_tokens_there(CART_TOKENS_MAX, ""), 0);
    ck_assert_int_eq(add_with_tokens_there(CART_TOKENS_MAX - 1, "u"), 0);
    a.step.now_us = KIT_START_US + CART_TOKEN_LIFE_US + 1; /* one expires */
    ck_assert_int_eq(add_with_tokens_there(CART_TOKENS_MAX, "u"), 0);
}
END_TEST

START_TEST(tokens_of_several_actors_are_found)
{
    char token[8] = "t00";
    for (int i = 0; i < 40; i++) {
        token[1] = (char)('0' + i / 10);
        token[2] = (char)('0' + i % 10);
        struct kit *kit = i % 3 ? &a : &b;
        ck_assert_int_eq(kit_add_token(kit, "l", i + 1, token), 0);
        if (i % 7 == 0)
            ck_assert_int_eq(kit_merge(&a, &b), 0);
        if (i % 11 == 0)
            ck_assert_int_eq(kit_merge(&b, &a), 0);
    }
    ck_assert_int_eq(kit_merge(&a, &b), 0);
    for (int i = 0; i < 40; i++) {
        token[1] = (char)('0' + i / 10);
        token[2] = (char)('0' + i % 10);
        ck_assert_int_eq(kit_add_token(&a, "l", i + 1, token), 0);
        ck_assert(a.result.repeated);
    }
    ck_assert_int_eq(kit_qty(&a, "l"), 40 * 41 / 2);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        a_retry_answers_as_the_first_time,
        a_retry_with_other_arguments_is_refused,
        the_arguments_are_those_asked_for_not_the_clamped_ones,
        a_refused_step_does_not_use_its_token,
        a_token_with_nothing_to_do_is_known_too,
        after_ten_minutes_a_token_is_new,
        a_retry_survives_the_end_of_the_cart,
        a_retry_elsewhere_counts_once,
        the_retry_of_a_removed_add_stays_away,
        a_partition_longer_than_a_token_lives_does_not_double,
        a_token_used_again_later_counts_again,
        own_adds_with_tokens_fold_when_the_tokens_are_gone,
        too_many_tokens_are_refused,
        tokens_of_several_actors_are_found,
    };
    return kit_main("cart_token", tests, sizeof(tests) / sizeof(*tests), setup, teardown);
}

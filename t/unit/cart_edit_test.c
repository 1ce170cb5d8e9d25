/* A step done in place: which steps are, and that the outcome is that of cart_apply (edit_check).
 */
#include "cart/cart_int.h"
#include "cart_kit.h"
#include "lib/edit_check.h"
#include "lib/suite.h"

#include <stdio.h>
#include <stdlib.h>

static struct kit kit;

static void setup(void)
{
    kit_init(&kit, 7ull << 32);
    kit.step.fold = CART_FOLD_ALONE;
    kit.limits.qty_max = CART_QTY_HARD;
    ck_assert_int_eq(kit_add(&kit, "milk", 2), 0);
    ck_assert_int_eq(kit_set(&kit, "bread", 3), 0);
}

static void teardown(void)
{
    kit_fini(&kit);
}

static struct cart_op op_of(enum cart_op_kind kind, const char *line, int64_t n)
{
    return (struct cart_op){.kind = kind, .line = slice_str(line), .n = n};
}

static enum edit_verdict check_op(struct cart_op op)
{
    struct cart_step step = kit.step;
    step.ops = &op;
    step.ops_count = 1;
    return edit_check(kit_state(&kit), &step);
}

/* It is done in place, and so it is done. */
static void edit(struct cart_op op)
{
    ck_assert_int_eq(check_op(op), EDIT_SAME);
    ck_assert_int_eq(kit_op(&kit, op), 0);
}

START_TEST(an_add_to_an_added_line)
{
    edit(op_of(CART_ADD, "milk", 1));
    edit(op_of(CART_ADD, "milk", -1));
    ck_assert_int_eq(kit_qty(&kit, "milk"), 2);
}
END_TEST

START_TEST(an_add_to_a_set_line_and_again)
{
    edit(op_of(CART_ADD, "bread", 4));
    edit(op_of(CART_ADD, "bread", 5));
    edit(op_of(CART_ADD, "bread", -11));
    ck_assert_int_eq(kit_qty(&kit, "bread"), 1);
}
END_TEST

START_TEST(a_set_of_any_line)
{
    edit(op_of(CART_SET, "milk", 9));
    edit(op_of(CART_SET, "bread", 9));
    edit(op_of(CART_ADD, "bread", 1));
    edit(op_of(CART_SET, "bread", 9));
    ck_assert_int_eq(kit_qty(&kit, "bread"), 9);
}
END_TEST

START_TEST(a_line_that_is_made)
{
    struct cart_op op = op_of(CART_ADD, "eggs", 6);
    op.flags = CART_OP_PRICE;
    op.price = 250;
    edit(op);
    edit(op_of(CART_SET, "salt", 1));
    ck_assert_int_eq(kit_summary(&kit).lines, 4);
}
END_TEST

START_TEST(numbers_that_become_longer_and_shorter)
{
    static const int64_t qtys[] = {63, 64, 65, 8191, 8192, 1000000, 8191, 64, 63, 1};
    for (size_t i = 0; i < sizeof qtys / sizeof *qtys; i++) {
        edit(op_of(CART_SET, "milk", qtys[i]));
        edit(op_of(CART_ADD, "bread", qtys[i] - kit_qty(&kit, "bread")));
    }
}
END_TEST

/* Past a seq of 128 the vector is longer, and after hours so is the age of what was long ago. */
START_TEST(an_actor_and_a_clock_that_move_on)
{
    for (int i = 0; i < 300; i++) {
        edit(op_of(CART_ADD, i % 3 ? "milk" : "bread", 1));
        kit.step.now_us += (uint64_t)i * i * 1000;
    }
    ck_assert_int_eq(kit_summary(&kit).version, 302);
}
END_TEST

START_TEST(another_actor_and_another_process)
{
    ck_assert_int_eq(kit_add(&kit, "bread", 1), 0);
    kit.step.actor = 9ull << 32;
    /* Its first event is a new place in the vector. */
    ck_assert_int_eq(check_op(op_of(CART_ADD, "milk", 1)), EDIT_NOT);
    ck_assert_int_eq(kit_add(&kit, "salt", 1), 0);
    edit(op_of(CART_ADD, "milk", 1));
    edit(op_of(CART_ADD, "bread", 1));
    /* The older actor is in front of the SET that the younger one made. */
    edit(op_of(CART_SET, "bread", 2));
    kit.step.actor = 7ull << 32;
    ck_assert_int_eq(check_op(op_of(CART_ADD, "bread", 1)), EDIT_NOT);
}
END_TEST

START_TEST(prices_and_checks)
{
    struct cart_op op = op_of(CART_SET, "milk", 1);
    op.flags = CART_OP_PRICE;
    op.price = 199;
    /* The line has none yet: cart_apply's. */
    ck_assert_int_eq(check_op(op), EDIT_NOT);
    ck_assert_int_eq(kit_op(&kit, op), 0);
    op.price = 300000;
    edit(op);
    op.kind = CART_ADD;
    op.price = 7; /* an ADD keeps the price that is there */
    edit(op);
    ck_assert_int_eq(kit_line(&kit, "milk").price, 300000);
    op.flags = CART_OP_CHECKED;
    edit(op);
    ck_assert_int_eq(kit_summary(&kit).checked_lines, 1);
    edit(op_of(CART_SET, "milk", 4)); /* a SET leaves it as it is */
    ck_assert_int_eq(kit_summary(&kit).checked_lines, 1);
    edit(op_of(CART_ADD, "milk", 4)); /* an ADD checks it again */
    ck_assert_int_eq(kit_summary(&kit).checked_lines, 2);
}
END_TEST

START_TEST(a_line_with_shop_and_ext_keeps_them)
{
    struct cart_op op = op_of(CART_ADD, "tea", 1);
    op.flags = CART_OP_SHOP | CART_OP_EXT;
    op.shop = slice_str("north");
    op.ext = slice_str("{\"gift\":true}");
    ck_assert_int_eq(check_op(op), EDIT_NOT);
    ck_assert_int_eq(kit_op(&kit, op), 0);
    edit(op_of(CART_ADD, "tea", 1));
    edit(op_of(CART_SET, "tea", 200));
    ck_assert(slice_eq(kit_line(&kit, "tea").ext, op.ext));
    ck_assert(slice_eq(kit_line(&kit, "tea").shop, op.shop));
}
END_TEST

START_TEST(a_sliding_life_slides)
{
    kit.step.life = CART_LIFE_SLIDING;
    kit.step.life_us = 3600ull * 1000000;
    ck_assert_int_eq(check_op(op_of(CART_ADD, "milk", 1)), EDIT_NOT);
    ck_assert_int_eq(kit_add(&kit, "milk", 1), 0);
    kit.step.life_us = 0;
    uint64_t expiry_us = kit_summary(&kit).expiry_us;
    edit(op_of(CART_ADD, "milk", 1));
    ck_assert_uint_gt(kit_summary(&kit).expiry_us, expiry_us);
    kit.step.now_us += 3600ull * 1000000;
    ck_assert_int_eq(check_op(op_of(CART_ADD, "milk", 1)), EDIT_NOT); /* it has ended */
}
END_TEST

START_TEST(a_clock_that_jumps_back)
{
    kit.step.now_us -= 1000000000;
    edit(op_of(CART_ADD, "milk", 1));
    edit(op_of(CART_SET, "bread", 1));
    edit(op_of(CART_SET, "eggs", 1));
}
END_TEST

/* What has more to it than a line and the front. */
START_TEST(all_else_is_left_to_cart_apply)
{
    static const enum cart_op_kind kinds[] = {CART_REMOVE, CART_CHECK,  CART_SWAP,  CART_CLEAR,
                                              CART_RETAIN, CART_FORGET, CART_TOUCH, CART_MOVE};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct cart_op op = op_of(kinds[i], "milk", 1);
        op.new_line = slice_str("eggs");
        ck_assert_int_eq(check_op(op), EDIT_NOT);
    }
    ck_assert_int_eq(check_op(op_of(CART_ADD, "milk", -2)), EDIT_NOT); /* removes it */
    ck_assert_int_eq(check_op(op_of(CART_SET, "milk", 0)), EDIT_NOT);
    ck_assert_int_eq(check_op(op_of(CART_ADD, "milk", INT32_MAX)), EDIT_NOT);
    ck_assert_int_eq(check_op(op_of(CART_ADD, "bad line", 1)), EDIT_NOT);
}
END_TEST

/* ---- tokens ---- */

static void edit_token(struct cart_op op, const char *token)
{
    kit.step.token = slice_str(token);
    edit(op);
    kit.step.token = slice_str("");
}

START_TEST(a_new_token_joins_the_others)
{
    edit_token(op_of(CART_ADD, "milk", 1), "t1");
    edit_token(op_of(CART_SET, "bread", 7), "t2");
    edit_token(op_of(CART_ADD, "eggs", 1), "t3");
    ck_assert_int_eq(kit_add_token(&kit, "milk", 1, "t1"), 0);
    ck_assert(kit.result.repeated && kit.result.line_qty == 3);
    ck_assert_int_eq(kit_qty(&kit, "milk"), 3);
}
END_TEST

/* What is behind the line moves by other lengths than the ids, in other directions, too. */
START_TEST(tokens_move_with_lines_that_become_longer_and_shorter)
{
    static const int64_t qtys[] = {1, 64, 8192, 1000000, 64, 1, 8192, 1};
    char token[16];
    for (size_t i = 0; i < sizeof qtys / sizeof *qtys; i++) {
        snprintf(token, sizeof token, "t%zu", i);
        edit_token(op_of(CART_SET, "milk", qtys[i]), token);
        edit(op_of(CART_SET, "bread", qtys[i]));
    }
    ck_assert_int_eq(kit_add_token(&kit, "milk", 1, "t3"), CE_TOKEN_REUSED);
}
END_TEST

START_TEST(a_known_token_is_left_to_cart_apply)
{
    edit_token(op_of(CART_ADD, "milk", 1), "t1");
    kit.step.token = slice_str("t1");
    ck_assert_int_eq(check_op(op_of(CART_ADD, "milk", 1)), EDIT_NOT);
    ck_assert_int_eq(check_op(op_of(CART_ADD, "milk", 2)), EDIT_NOT);
    kit.step.token = slice_str("t2");
    ck_assert_int_eq(check_op(op_of(CART_ADD, "milk", 1)), EDIT_SAME);
    struct cart_op op = op_of(CART_ADD, "milk", 1);
    char text[1000];
    memset(text, 'x', sizeof text);
    op.ext = slice_of(text, sizeof text); /* without its flag; it would need room */
    ck_assert_int_eq(check_op(op), EDIT_NOT);
    kit.step.args = slice_str("what was asked for");
    ck_assert_int_eq(check_op(op_of(CART_ADD, "milk", 1)), EDIT_NOT);
}
END_TEST

START_TEST(tokens_that_expire_are_left_to_cart_apply)
{
    uint64_t first_us = kit.step.now_us;
    edit_token(op_of(CART_ADD, "milk", 1), "t1");
    edit_token(op_of(CART_ADD, "milk", 1), "t2");
    kit.step.now_us = first_us + CART_TOKEN_LIFE_US;
    ck_assert_int_eq(check_op(op_of(CART_ADD, "milk", 1)), EDIT_SAME);
    kit.step.now_us++;
    ck_assert_int_eq(check_op(op_of(CART_ADD, "milk", 1)), EDIT_NOT);
    ck_assert_int_eq(kit_add(&kit, "milk", 1), 0); /* the first is gone */
    kit.step.now_us = first_us + CART_TOKEN_LIFE_US + 1000000;
    edit_token(op_of(CART_ADD, "milk", 1), "t3");
}
END_TEST

START_TEST(limits_are_left_to_cart_apply)
{
    kit.limits.qty_max = 5;
    edit(op_of(CART_ADD, "milk", 3));
    ck_assert_int_eq(check_op(op_of(CART_ADD, "milk", 1)), EDIT_NOT);
    edit(op_of(CART_ADD, "milk", -1));
    kit.limits.lines_max = 2;
    ck_assert_int_eq(check_op(op_of(CART_ADD, "eggs", 1)), EDIT_NOT);
    kit.limits.lines_max = 3;
    ck_assert_int_eq(check_op(op_of(CART_ADD, "eggs", 1)), EDIT_SAME);
    kit.limits.state_bytes_max = 10;
    ck_assert_int_eq(check_op(op_of(CART_ADD, "eggs", 1)), EDIT_NOT);
    ck_assert_int_eq(check_op(op_of(CART_ADD, "milk", -1)), EDIT_SAME);
}
END_TEST

START_TEST(an_amount_that_leaves_int64_is_left_to_cart_apply)
{
    struct cart_op op = op_of(CART_ADD, "gold", 1);
    op.flags = CART_OP_PRICE;
    op.price = INT64_MAX;
    edit(op);
    ck_assert_int_eq(check_op(op_of(CART_ADD, "gold", 1)), EDIT_NOT);
}
END_TEST

START_TEST(a_cart_that_is_none_yet_is_left_to_cart_apply)
{
    kit.state.len = 0;
    ck_assert_int_eq(check_op(op_of(CART_ADD, "milk", 1)), EDIT_NOT);
}
END_TEST

START_TEST(damage_is_left_to_cart_apply)
{
    for (size_t i = 0; i < kit.state.len; i++) {
        size_t len = kit.state.len;
        kit.state.len = i; /* cut short anywhere: never read behind it (ASan) */
        check_op(op_of(CART_ADD, "milk", 1));
        kit.state.len = len;
    }
}
END_TEST

/* As if so many steps had come with a token in the last instant. */
static void give_tokens(size_t count)
{
    struct cart *cart = kit.cart;
    struct cart_token token = {.id = 1, .dot = {.actor = 0, .seq = 1}, .version = 1};
    struct buf ids = {0};
    struct slice state;
    uint8_t record[CART_EDIT_RECORD_MAX];
    MUST(cart_load(cart, kit_state(&kit)) == 0);
    token.time_us = cart->head.last_token_us = cart->head.stamp_us;
    cart->tail.len = cart->tail_gap = 0;
    for (cart->head.tokens = 0; cart->head.tokens < count; cart->head.tokens++) {
        size_t len = cart_token_put(record, &cart->head, cart_actors(cart)[0], &token);
        MUST(buf_append(&cart->tail, record, len) == 0);
        MUST(buf_append(&ids, &token.id, sizeof token.id) == 0);
    }
    cart->ids_at = cart->tail.len;
    MUST(buf_append(&cart->tail, ids.bytes, ids.len) == 0 && cart_store(cart, &state) == 0);
    kit.state.len = 0;
    MUST(buf_append(&kit.state, state.bytes, state.len) == 0);
    buf_free(&ids);
}

START_TEST(more_tokens_than_a_cart_may_have_are_left_to_cart_apply)
{
    give_tokens(CART_TOKENS_MAX - 1);
    kit.step.token = slice_str("t");
    ck_assert_int_eq(check_op(op_of(CART_ADD, "milk", 1)), EDIT_SAME);
    kit.step.token = slice_str("");
    give_tokens(CART_TOKENS_MAX);
    ck_assert_int_eq(check_op(op_of(CART_ADD, "milk", 1)), EDIT_SAME);
    kit.step.token = slice_str("t");
    ck_assert_int_eq(check_op(op_of(CART_ADD, "milk", 1)), EDIT_NOT);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        an_add_to_an_added_line,
        an_add_to_a_set_line_and_again,
        a_set_of_any_line,
        a_line_that_is_made,
        numbers_that_become_longer_and_shorter,
        an_actor_and_a_clock_that_move_on,
        another_actor_and_another_process,
        prices_and_checks,
        a_line_with_shop_and_ext_keeps_them,
        a_sliding_life_slides,
        a_clock_that_jumps_back,
        all_else_is_left_to_cart_apply,
        a_new_token_joins_the_others,
        tokens_move_with_lines_that_become_longer_and_shorter,
        a_known_token_is_left_to_cart_apply,
        tokens_that_expire_are_left_to_cart_apply,
        more_tokens_than_a_cart_may_have_are_left_to_cart_apply,
        limits_are_left_to_cart_apply,
        an_amount_that_leaves_int64_is_left_to_cart_apply,
        a_cart_that_is_none_yet_is_left_to_cart_apply,
        damage_is_left_to_cart_apply,
    };
    return kit_main("cart_edit", tests, sizeof tests / sizeof *tests, setup, teardown);
}

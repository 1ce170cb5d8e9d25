/* The history of a cart as a document, byte for byte. */
#include "cart_kit.h"

static struct kit kit;
static struct buf out;

static void setup(void)
{
    kit_init(&kit, 1);
    out = (struct buf){0};
    ck_assert_int_eq(cart_history_begin(slice_str("cart:a"), &out), 0);
}

static void teardown(void)
{
    kit_fini(&kit);
    buf_free(&out);
}

static void expect(bool complete, const char *want)
{
    ck_assert_int_eq(cart_history_end(complete, &out), 0);
    ck_assert_int_eq(buf_append(&out, "", 1), 0);
    ck_assert_str_eq((const char *)out.bytes, want);
}

static void add(struct cart_step step, struct cart_op *ops, size_t count, size_t max)
{
    step.actor = 0x0123456789abcdefu;
    step.now_us = 1790000000123999;
    step.ops = ops;
    step.ops_count = count;
    ck_assert_int_eq(cart_history_step(&step, 7, max, &out), 0);
}

#define FRONT "{\"cart\":\"cart:a\",\"history\":["
#define ABOUT "{\"version\":7,\"time\":1790000000123,\"actor\":\"0123456789abcdef\","
#define USER  FRONT ABOUT "\"cause\":\"user\","

START_TEST(a_history_without_entries)
{
    expect(false, FRONT "],\"complete\":false}");
}
END_TEST

START_TEST(each_kind_of_operation)
{
    const struct slice line = slice_str("a"), ext = slice_str("{}"), shop = slice_str("s");
    struct cart_op ops[] = {
        {.kind = CART_ADD, .line = line, .n = -2, .flags = CART_OP_PRICE, .price = INT64_MAX},
        {.kind = CART_SET,
         .line = line,
         .flags = CART_OP_SHOP | CART_OP_EXT | CART_OP_CHECKED,
         .shop = shop,
         .ext = ext},
        {.kind = CART_REMOVE, .line = line},
        {.kind = CART_CHECK, .n = 1},
        {.kind = CART_CHECK, .line = line},
        {.kind = CART_SWAP, .line = line, .new_line = slice_str("b"), .n = 3},
        {.kind = CART_CLEAR, .n = CART_SCOPE_ALL},
        {.kind = CART_CLEAR, .n = CART_SCOPE_CHECKED},
        {.kind = CART_CLEAR, .n = CART_SCOPE_UNCHECKED},
        {.kind = CART_RETAIN},
        {.kind = CART_FORGET},
        {.kind = CART_TOUCH},
    };
    add((struct cart_step){0}, ops, sizeof ops / sizeof *ops, 64);
    expect(true, USER "\"ops\":["
                      "{\"op\":\"add\",\"line\":\"a\",\"qty\":-2,\"price\":9223372036854775807},"
                      "{\"op\":\"set\",\"line\":\"a\",\"qty\":0,\"checked\":false,\"shop\":\"s\","
                      "\"ext\":\"{}\"},"
                      "{\"op\":\"remove\",\"line\":\"a\"},"
                      "{\"op\":\"check\",\"checked\":true},"
                      "{\"op\":\"check\",\"line\":\"a\",\"checked\":false},"
                      "{\"op\":\"swap\",\"line\":\"a\",\"new_line\":\"b\",\"qty\":3},"
                      "{\"op\":\"clear\",\"scope\":\"all\"},"
                      "{\"op\":\"clear\",\"scope\":\"checked\"},"
                      "{\"op\":\"clear\",\"scope\":\"unchecked\"},"
                      "{\"op\":\"retain\"},{\"op\":\"forget\"},{\"op\":\"touch\"}]}],"
                      "\"complete\":true}");
}
END_TEST

START_TEST(what_is_no_text_is_base64_too)
{
    struct cart_op op = {.kind = CART_ADD, .line = slice_str("\xff\""), .n = 1};
    op.flags = CART_OP_EXT;
    op.ext = slice_of((const uint8_t *)"\x80", 1);
    add((struct cart_step){.token = slice_str("\xfe")}, &op, 1, 64);
    expect(true, USER "\"token\":\"\xEF\xBF\xBD\",\"token_b64\":\"/g==\",\"ops\":[{\"op\":\"add\","
                      "\"line\":\"\xEF\xBF\xBD\\\"\",\"line_b64\":\"/yI=\",\"qty\":1,"
                      "\"ext_b64\":\"gA==\"}]}],\"complete\":true}");
}
END_TEST

START_TEST(what_a_step_gives_a_cart)
{
    struct cart_op op = {.kind = CART_TOUCH};
    add((struct cart_step){.currency = "EUR", .life = CART_LIFE_SLIDING, .life_us = 90000000}, &op,
        1, 64);
    add((struct cart_step){.life = CART_LIFE_FIXED, .life_us = 1800000000000000}, &op, 1, 64);
    add((struct cart_step){.life = CART_LIFE_NONE}, &op, 1, 64);
#define TOUCH "\"ops\":[{\"op\":\"touch\"}]}"
    expect(true, USER "\"currency\":\"EUR\",\"life\":90," TOUCH "," ABOUT
                      "\"cause\":\"user\",\"expires\":1800000000000," TOUCH "," ABOUT
                      "\"cause\":\"user\",\"life\":0," TOUCH "],\"complete\":true}");
}
END_TEST

START_TEST(causes)
{
    struct cart_op op = {.kind = CART_TOUCH};
    add((struct cart_step){.clamped = true}, &op, 1, 64);
    add((struct cart_step){.cause = CART_BY_MERGE, .clamped = true}, &op, 1, 64);
    add((struct cart_step){.cause = CART_BY_EXPIRY}, &op, 1, 64);
    add((struct cart_step){.cause = CART_BY_ADMIN, .expired = true}, &op, 1, 64);
    expect(true, FRONT ABOUT "\"cause\":\"clamp\",\"clamped\":true," TOUCH "," ABOUT
                             "\"cause\":\"merge\",\"clamped\":true," TOUCH "," ABOUT
                             "\"cause\":\"expiry\"," TOUCH "," ABOUT
                             "\"cause\":\"admin\",\"expired\":true," TOUCH "],\"complete\":true}");
}
END_TEST

START_TEST(a_step_of_too_many_operations_is_cut)
{
    struct cart_op ops[] = {{.kind = CART_FORGET}, {.kind = CART_TOUCH}, {.kind = CART_RETAIN}};
    add((struct cart_step){0}, ops, 3, 1);
    expect(true, USER "\"ops\":[{\"op\":\"forget\"}],\"ops_left_out\":2}],\"complete\":true}");
}
END_TEST

START_TEST(a_join_tells_no_lines)
{
    kit.step.now_us = 1790000000123999;
    ck_assert_int_eq(
        kit_op(&kit, (struct cart_op){.kind = CART_ADD, .line = slice_str("a"), .n = 1}), 0);
    ck_assert_int_eq(cart_history_join(kit_state(&kit), &out), 0);
    expect(true, FRONT "{\"version\":1,\"time\":1790000000123,\"cause\":\"merge\","
                       "\"ops\":[{\"op\":\"join\"}]}],\"complete\":true}");
}
END_TEST

/* What came of a step goes with it through the journal, and the ops keep what was applied. */
START_TEST(what_came_of_a_step_is_told_of_its_bytes)
{
    struct cart_op op = {
        .kind = CART_ADD, .line = slice_str("a"), .n = 5000, .flags = CART_OP_CLAMP};
    struct cart_op back_ops[CART_STEP_OPS_MAX];
    struct cart_step back;
    struct buf bytes = {0};
    kit.step.life = CART_LIFE_FIXED;
    kit.step.life_us = kit.step.now_us + 1;
    ck_assert_int_eq(kit_op(&kit, op), 0);
    struct cart_step step = kit.step;
    step.now_us += 2; /* its life has ended */
    step.ops = &op;
    step.ops_count = 1;
    ck_assert_int_eq(cart_load(kit.cart, kit_state(&kit)), 0);
    ck_assert_int_eq(cart_apply(kit.cart, &step, &kit.result), 0);
    ck_assert_int_eq(cart_step_encode(&step, &bytes), 0);
    ck_assert_int_eq(cart_step_decode(buf_slice(&bytes), back_ops, &back), 0);
    ck_assert(back.clamped && back.expired);
    ck_assert_int_eq(back.cause, CART_BY_USER);
    ck_assert_int_eq(back_ops[0].n, 999);
    buf_free(&bytes);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        a_history_without_entries,
        each_kind_of_operation,
        what_is_no_text_is_base64_too,
        what_a_step_gives_a_cart,
        causes,
        a_step_of_too_many_operations_is_cut,
        a_join_tells_no_lines,
        what_came_of_a_step_is_told_of_its_bytes,
    };
    return kit_main("cart_history", tests, sizeof tests / sizeof *tests, setup, teardown);
}

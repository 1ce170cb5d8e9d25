/* One cart made part of another: each policy with lines that one or both have, and what is cut off
 * where limits would be passed. Every plan is then applied: it must never be refused. */
#include "cart_kit.h"

#include <stdio.h>
#include <string.h>

static struct kit src, dst;
static struct cart_absorb absorb;
static struct cart_op ops[CART_STEP_OPS_MAX];

static void setup(void)
{
    kit_init(&src, 7ull << 32);
    kit_init(&dst, 9ull << 32);
}

static void teardown(void)
{
    kit_fini(&src);
    kit_fini(&dst);
}

/* Plans, and applies the plan to dst. */
static int join(enum cart_policy policy)
{
    size_t count = 0;
    absorb = (struct cart_absorb){.dst = kit_state(&dst),
                                  .src = kit_state(&src),
                                  .policy = policy,
                                  .now_us = dst.step.now_us,
                                  .limits = &dst.limits};
    int err = cart_absorb(&absorb, ops, &count, dst.step.currency);
    if (err || count == 0)
        return err;
    ck_assert_int_eq(kit_run(&dst, ops, count), 0);
    return 0;
}

static void put(struct kit *kit, const char *line, int64_t n, int64_t price)
{
    struct cart_op op = {.kind = CART_SET, .line = slice_str(line), .n = n, .price = price};
    op.flags = price >= 0 ? CART_OP_PRICE : 0;
    ck_assert_int_eq(kit_op(kit, op), 0);
}

static void uncheck(struct kit *kit, const char *line)
{
    ck_assert_int_eq(kit_op(kit, (struct cart_op){.kind = CART_CHECK, .line = slice_str(line)}), 0);
}

/* Lines as "a=1 b=2- c=3@7 ": a minus is unchecked, behind the @ stands the price. */
static int print_line(void *arg, const struct cart_line *line)
{
    struct buf *out = arg;
    int err = buf_printf(out, "%.*s=%ld%s", (int)line->line.len, line->line.bytes, (long)line->qty,
                         line->checked ? "" : "-");
    if (!err && line->has_price)
        err = buf_printf(out, "@%lld", (long long)line->price);
    return err ? err : buf_append(out, " ", 1);
}

static void expect(const char *want)
{
    struct buf text = {0};
    ck_assert_int_eq(cart_lines(kit_state(&dst), dst.step.now_us, print_line, &text), 0);
    ck_assert_int_eq(buf_append(&text, "", 1), 0);
    ck_assert_str_eq((char *)text.bytes, want);
    buf_free(&text);
}

static void expect_cut(uint32_t skipped, uint32_t clamped)
{
    ck_assert_uint_eq(absorb.skipped, skipped);
    ck_assert_uint_eq(absorb.clamped, clamped);
}

/* ---- policies ---- */

static void expect_policy(enum cart_policy policy, const char *more, const char *fewer)
{
    for (int guest = 5; guest >= 1; guest -= 4) {
        teardown();
        setup();
        kit_set(&src, "here", 2);
        kit_set(&src, "both", guest);
        kit_set(&dst, "both", 3);
        kit_set(&dst, "there", 1);
        ck_assert_int_eq(join(policy), 0);
        expect(guest == 5 ? more : fewer);
        expect_cut(0, 0);
    }
}

START_TEST(each_policy)
{
    expect_policy(CART_POLICY_MAX, "both=5 there=1 here=2 ", "both=3 there=1 here=2 ");
    expect_policy(CART_POLICY_SUM, "both=8 there=1 here=2 ", "both=4 there=1 here=2 ");
    expect_policy(CART_POLICY_SRC, "both=5 there=1 here=2 ", "both=1 there=1 here=2 ");
    expect_policy(CART_POLICY_DST, "both=3 there=1 ", "both=3 there=1 ");
    expect_policy(CART_POLICY_REPLACE, "here=2 both=5 ", "here=2 both=1 ");
}
END_TEST

START_TEST(an_empty_source_changes_nothing)
{
    for (int policy = 0; policy < CART_POLICIES_COUNT; policy++) {
        teardown();
        setup();
        kit_set(&dst, "a", 3);
        ck_assert_int_eq(join(policy), 0);
        kit_set(&src, "b", 1);
        kit_remove(&src, "b");
        ck_assert_int_eq(join(policy), 0);
        expect("a=3 ");
        ck_assert_uint_eq(kit_summary(&dst).version, 1);
    }
}
END_TEST

START_TEST(an_empty_destination_takes_all)
{
    for (int policy = 0; policy < CART_POLICIES_COUNT; policy++) {
        teardown();
        setup();
        put(&src, "b", 2, 7);
        put(&src, "a", 1, -1);
        uncheck(&src, "a");
        ck_assert_int_eq(join(policy), 0);
        expect("b=2@7 a=1- ");
    }
}
END_TEST

START_TEST(what_has_expired_counts_as_empty)
{
    src.step.life = CART_LIFE_FIXED;
    src.step.life_us = src.step.now_us + 1;
    kit_set(&src, "a", 1);
    kit_set(&dst, "b", 1);
    dst.step.now_us += 1000000;
    ck_assert_int_eq(join(CART_POLICY_REPLACE), 0);
    expect("b=1 ");
    teardown();
    setup();
    kit_set(&src, "a", 2);
    dst.step.life = CART_LIFE_FIXED;
    dst.step.life_us = dst.step.now_us + 1;
    kit_set(&dst, "a", 5);
    ck_assert_int_eq(join(CART_POLICY_SUM), 0);
    expect("a=2 ");
}
END_TEST

/* ---- fields ---- */

START_TEST(the_price_that_a_line_has_stays)
{
    put(&src, "a", 5, 70);
    put(&src, "b", 5, 80);
    put(&src, "c", 5, -1);
    put(&dst, "a", 1, 7);
    put(&dst, "b", 1, -1);
    put(&dst, "c", 1, 9);
    ck_assert_int_eq(join(CART_POLICY_MAX), 0);
    expect("a=5@7 b=5@80 c=5@9 ");
}
END_TEST

START_TEST(a_source_that_wins_brings_its_price)
{
    put(&src, "a", 5, 70);
    put(&src, "c", 5, -1);
    put(&dst, "a", 1, 7);
    put(&dst, "c", 1, 9);
    ck_assert_int_eq(join(CART_POLICY_SRC), 0);
    expect("a=5@70 c=5@9 ");
}
END_TEST

START_TEST(nothing_of_a_replaced_line_stays)
{
    put(&src, "c", 5, -1);
    uncheck(&src, "c");
    put(&dst, "c", 1, 9);
    put(&dst, "a", 1, 9);
    ck_assert_int_eq(join(CART_POLICY_REPLACE), 0);
    expect("c=5- ");
}
END_TEST

START_TEST(a_line_that_grows_is_checked_when_one_was)
{
    put(&src, "a", 5, -1);
    put(&src, "b", 5, -1);
    put(&src, "c", 5, -1);
    uncheck(&src, "a");
    uncheck(&src, "c");
    put(&dst, "a", 1, -1);
    put(&dst, "b", 1, -1);
    put(&dst, "c", 1, -1);
    uncheck(&dst, "b");
    uncheck(&dst, "c");
    ck_assert_int_eq(join(CART_POLICY_MAX), 0);
    expect("a=5 b=5 c=5- ");
}
END_TEST

START_TEST(two_currencies_are_refused)
{
    memcpy(src.step.currency, "EUR", 4);
    put(&src, "a", 1, 1);
    memcpy(dst.step.currency, "USD", 4);
    put(&dst, "a", 1, 1);
    ck_assert_int_eq(join(CART_POLICY_MAX), CE_CURRENCY);
    kit_remove(&src, "a"); /* without a line there is nothing of that currency */
    ck_assert_int_eq(join(CART_POLICY_MAX), 0);
    teardown();
    setup();
    memcpy(src.step.currency, "EUR", 4);
    put(&src, "a", 1, 1);
    ck_assert_int_eq(join(CART_POLICY_MAX), 0);
    ck_assert_str_eq(kit_summary(&dst).currency, "EUR");
}
END_TEST

/* ---- limits ---- */

START_TEST(quantities_are_cut)
{
    src.limits.qty_max = 2000;
    kit_set(&src, "a", 2000);
    kit_set(&src, "b", 999);
    kit_set(&src, "c", 1);
    kit_set(&dst, "b", 1);
    kit_set(&dst, "c", 998);
    ck_assert_int_eq(join(CART_POLICY_SUM), 0);
    expect("b=999 c=999 a=999 ");
    expect_cut(0, 2);
}
END_TEST

START_TEST(the_oldest_lines_of_the_source_find_no_room)
{
    dst.limits.lines_max = 3;
    kit_set(&src, "old", 1);
    kit_set(&src, "both", 2);
    kit_set(&src, "older", 1);
    kit_set(&src, "new", 1);
    kit_set(&dst, "both", 1);
    kit_set(&dst, "own", 1);
    ck_assert_int_eq(join(CART_POLICY_MAX), 0);
    expect("both=2 own=1 new=1 ");
    expect_cut(2, 0);
}
END_TEST

START_TEST(an_ext_that_is_too_long_is_dropped_and_counted_once)
{
    char ext[401];
    memset(ext, 'e', sizeof ext);
    dst.limits.ext_bytes_max = 400;
    struct cart_op op = {.kind = CART_SET,
                         .line = slice_str("a"),
                         .n = 999,
                         .flags = CART_OP_EXT,
                         .ext = slice_of(ext, 400)};
    ck_assert_int_eq(kit_op(&src, op), 0);
    op.line = slice_str("b");
    op.ext.len = 401;
    ck_assert_int_eq(kit_op(&src, op), 0);
    dst.limits.qty_max = 998;
    ck_assert_int_eq(join(CART_POLICY_MAX), 0);
    ck_assert_uint_eq(kit_line(&dst, "a").ext.len, 400);
    ck_assert_uint_eq(kit_line(&dst, "b").ext.len, 0);
    expect_cut(0, 2);
}
END_TEST

/* A state that is full takes no new line, and no ext for an old one. */
START_TEST(bytes_are_not_passed)
{
    char ext[500];
    memset(ext, 'e', sizeof ext);
    struct cart_op op = {
        .kind = CART_SET, .n = 1, .flags = CART_OP_EXT, .ext = slice_of(ext, sizeof ext)};
    op.line = slice_str("a");
    ck_assert_int_eq(kit_op(&src, op), 0);
    op.line = slice_str("z");
    ck_assert_int_eq(kit_op(&src, op), 0);
    kit_set(&dst, "a", 1);
    op.line = slice_str("b");
    ck_assert_int_eq(kit_op(&dst, op), 0);
    for (int policy = 0; policy < CART_POLICY_REPLACE; policy++) {
        bool wants = policy == CART_POLICY_SUM || policy == CART_POLICY_SRC;
        dst.limits.state_bytes_max = 500;
        ck_assert_int_eq(join(policy), 0);
        expect("a=1 b=1 ");
        ck_assert_uint_eq(kit_line(&dst, "a").ext.len, 0);
        expect_cut(policy == CART_POLICY_DST ? 0 : 1, wants);
    }
}
END_TEST

START_TEST(tokens_take_no_room)
{
    char token[16];
    dst.limits.state_bytes_max = 1024;
    dst.step.fold = CART_FOLD_ALONE;
    for (int i = 0; i < 300; i++) {
        snprintf(token, sizeof token, "token%d", i);
        ck_assert_int_eq(kit_add_token(&dst, "a", 1, token), 0);
        dst.step.now_us -= 1000000;
    }
    ck_assert_uint_gt(dst.state.len, 2048);
    kit_set(&src, "b", 1);
    ck_assert_int_eq(join(CART_POLICY_MAX), 0);
    expect("a=300 b=1 ");
    expect_cut(0, 0);
}
END_TEST

START_TEST(amounts_stay_in_int64)
{
    put(&src, "a", 1, INT64_MAX);
    put(&src, "c", 1, -1);
    put(&dst, "b", 1, 1);
    ck_assert_int_eq(join(CART_POLICY_MAX), 0);
    expect("b=1@1 c=1 ");
    expect_cut(1, 0);
    put(&src, "a", 1, INT64_MAX - 1);
    ck_assert_int_eq(join(CART_POLICY_MAX), 0);
    expect_cut(0, 0);
    ck_assert_int_eq(kit_qty(&dst, "a"), 1);
    ck_assert_int_eq(join(CART_POLICY_SUM), 0); /* a and c twice: a has no room */
    expect_cut(0, 1);
    ck_assert_int_eq(kit_qty(&dst, "a"), 1);
    kit_remove(&src, "a");
    put(&src, "b", 1, 2);
    ck_assert_int_eq(join(CART_POLICY_SRC), 0);
    expect_cut(0, 1);
    ck_assert_int_eq(kit_line(&dst, "b").price, 1);
}
END_TEST

/* A price that a line gets counts for all of its quantity. */
START_TEST(a_first_price_counts_for_what_was_there)
{
    put(&src, "a", 4, INT64_MAX / 4);
    put(&dst, "a", 1, -1);
    put(&dst, "b", 1, 4);
    ck_assert_int_eq(join(CART_POLICY_MAX), 0);
    expect("a=1 b=1@4 ");
    expect_cut(0, 1);
    ck_assert_int_eq(kit_remove(&dst, "b"), 0);
    ck_assert_int_eq(join(CART_POLICY_MAX), 0);
    ck_assert_int_eq(kit_qty(&dst, "a"), 4);
}
END_TEST

/* All lines at once: one by one they take seconds. */
static void fill(struct kit *kit, char first)
{
    static char keys[CART_LINES_HARD][8];
    for (int i = 0; i < CART_LINES_HARD; i++) {
        snprintf(keys[i], sizeof keys[i], "%c%d", first, i);
        ops[i] = (struct cart_op){.kind = CART_SET, .line = slice_str(keys[i]), .n = 1};
    }
    kit->limits.lines_max = CART_LINES_HARD;
    ck_assert_int_eq(kit_run(kit, ops, CART_LINES_HARD), 0);
}

START_TEST(the_largest_carts)
{
    fill(&src, 'g');
    fill(&dst, 'u');
    ck_assert_int_eq(join(CART_POLICY_MAX), 0);
    expect_cut(CART_LINES_HARD, 0);
    ck_assert_int_eq(join(CART_POLICY_REPLACE), 0);
    expect_cut(0, 0);
    ck_assert_int_eq(kit_qty(&dst, "g0"), 1);
    ck_assert_uint_eq(kit_summary(&dst).lines, CART_LINES_HARD);
}
END_TEST

/* ---- what is left behind ---- */

START_TEST(a_moved_cart_leads_on_and_remembers_its_tokens)
{
    struct cart_op add = {.kind = CART_ADD, .line = slice_str("a"), .n = 1};
    struct cart_op move = {.kind = CART_MOVE, .new_line = slice_str("cart:u1")};
    ck_assert_int_eq(kit_add_token(&src, "a", 1, "t1"), 0);
    ck_assert_int_eq(kit_op(&src, move), 0);
    struct cart_summary summary = kit_summary(&src);
    ck_assert(!summary.exists && summary.lines == 0);
    ck_assert(slice_eq(summary.moved_to, slice_str("cart:u1")));
    struct cart_step step = src.step;
    step.ops = &add;
    step.ops_count = 1;
    ck_assert_int_eq(cart_load(src.cart, kit_state(&src)), 0);
    ck_assert_int_eq(cart_repeat(src.cart, &step, &src.result), CE_NOTFOUND);
    step.token = slice_str("t1");
    ck_assert_int_eq(cart_repeat(src.cart, &step, &src.result), 0);
    ck_assert(src.result.repeated && src.result.line_qty == 1 && src.result.summary.version == 1);
    step.token = slice_str("t2");
    ck_assert_int_eq(cart_repeat(src.cart, &step, &src.result), CE_NOTFOUND);
    step.token = slice_str("t1");
    add.n = 2;
    ck_assert_int_eq(cart_repeat(src.cart, &step, &src.result), CE_TOKEN_REUSED);
    ck_assert_int_eq(kit_add(&src, "b", 1), 0); /* whoever writes here makes it a cart again */
    ck_assert_uint_eq(kit_summary(&src).moved_to.len, 0);
    ck_assert(kit_summary(&src).exists);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {each_policy,
                                  an_empty_source_changes_nothing,
                                  an_empty_destination_takes_all,
                                  what_has_expired_counts_as_empty,
                                  the_price_that_a_line_has_stays,
                                  a_source_that_wins_brings_its_price,
                                  nothing_of_a_replaced_line_stays,
                                  a_line_that_grows_is_checked_when_one_was,
                                  two_currencies_are_refused,
                                  quantities_are_cut,
                                  the_oldest_lines_of_the_source_find_no_room,
                                  an_ext_that_is_too_long_is_dropped_and_counted_once,
                                  bytes_are_not_passed,
                                  tokens_take_no_room,
                                  amounts_stay_in_int64,
                                  a_first_price_counts_for_what_was_there,
                                  the_largest_carts,
                                  a_moved_cart_leads_on_and_remembers_its_tokens};
    return kit_main("cart_absorb", tests, sizeof(tests) / sizeof(*tests), setup, teardown);
}

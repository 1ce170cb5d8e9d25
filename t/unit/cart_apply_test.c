/* Operations on one copy of a cart: cart-model section 2, limits, life, conditions. */
#include "cart_kit.h"

static struct kit kit;

static void setup(void)
{
    kit_init(&kit, 7ull << 32);
}

static void teardown(void)
{
    kit_fini(&kit);
}

static struct cart_op op_of(enum cart_op_kind kind, const char *line, int64_t n)
{
    return (struct cart_op){.kind = kind, .line = slice_str(line), .n = n};
}

static struct cart_op priced(enum cart_op_kind kind, const char *line, int64_t n, int64_t price)
{
    struct cart_op op = op_of(kind, line, n);
    op.flags = CART_OP_PRICE;
    op.price = price;
    return op;
}

static int swap(const char *line, const char *new_line)
{
    struct cart_op op = op_of(CART_SWAP, line, 0);
    op.new_line = slice_str(new_line);
    return kit_op(&kit, op);
}

static int check_line(const char *line, int64_t checked)
{
    return kit_op(&kit, op_of(CART_CHECK, line, checked));
}

/* Lines as "a=1 b=2 ", in their order. */
static int print_line(void *arg, const struct cart_line *line)
{
    return buf_printf(arg, "%.*s=%ld ", (int)line->line.len, line->line.bytes, (long)line->qty);
}

static void expect_lines(const char *want)
{
    struct buf text = {0};
    ck_assert_int_eq(cart_lines(kit_state(&kit), kit.step.now_us, print_line, &text), 0);
    ck_assert_int_eq(buf_append(&text, "", 1), 0);
    ck_assert_str_eq((char *)text.bytes, want);
    buf_free(&text);
}

/* ---- adding, setting, removing ----------------------------------------------------------------
 */

START_TEST(add_makes_line_and_cart)
{
    ck_assert_int_eq(kit_add(&kit, "SKU-1;red", 2), 0);
    ck_assert(kit.result.changed);
    ck_assert_int_eq(kit.result.line_qty, 2);
    struct cart_summary summary = kit_summary(&kit);
    ck_assert(summary.exists);
    ck_assert_uint_eq(summary.version, 1);
    ck_assert_uint_ne(summary.cas, 0);
    ck_assert_uint_eq(summary.lines, 1);
    ck_assert_uint_eq(summary.qty, 2);
    ck_assert_uint_eq(summary.checked_lines, 1);
    struct cart_line line = kit_line(&kit, "SKU-1;red");
    ck_assert(line.checked);
    ck_assert(!line.has_price);
    ck_assert_uint_eq(line.added_us, KIT_START_US);
    ck_assert(slice_eq(cart_line_sku(line.line), slice_str("SKU-1")));
    ck_assert(slice_eq(cart_line_sku(slice_str("plain")), slice_str("plain")));
}
END_TEST

/* The bytes of a line with a short key are fewer than those of a long key. */
START_TEST(a_key_may_be_longer_than_another_line)
{
    char key[CART_LINE_KEY_MAX + 1] = {0};
    kit_add(&kit, "a", 1);
    for (size_t len = 1; len <= CART_LINE_KEY_MAX; len++) {
        key[len - 1] = 'x';
        ck_assert_int_eq(kit_remove(&kit, key), 0);
        ck_assert_int_eq(kit_add(&kit, key, 2), 0);
        ck_assert_int_eq(kit_qty(&kit, key), 2);
        ck_assert_int_eq(kit_remove(&kit, key), 0);
    }
    expect_lines("a=1 ");
}
END_TEST

START_TEST(add_sums_up_and_takes_away)
{
    kit_add(&kit, "a", 2);
    kit_add(&kit, "a", 3);
    ck_assert_int_eq(kit.result.line_qty, 5);
    kit_add(&kit, "a", -4);
    ck_assert_int_eq(kit_qty(&kit, "a"), 1);
    kit_add(&kit, "a", -1);
    ck_assert_int_eq(kit.result.line_qty, 0);
    struct cart_summary summary = kit_summary(&kit);
    ck_assert_uint_eq(summary.lines, 0);
    ck_assert_uint_eq(summary.version, 4);
    ck_assert(summary.exists); /* an emptied cart is still there */
}
END_TEST

START_TEST(removing_nothing_makes_nothing)
{
    ck_assert_int_eq(kit_remove(&kit, "a"), 0);
    ck_assert_int_eq(kit_add(&kit, "a", -1), 0);
    ck_assert_int_eq(kit_add(&kit, "a", 0), 0);
    ck_assert_int_eq(kit_set(&kit, "a", 0), 0);
    ck_assert_int_eq(kit_op(&kit, op_of(CART_CLEAR, "", CART_SCOPE_ALL)), 0);
    ck_assert_int_eq(kit_op(&kit, op_of(CART_FORGET, "", 0)), 0);
    ck_assert(!kit.result.changed);
    ck_assert_uint_eq(kit.state.len, 0);
    kit_add(&kit, "b", 1);
    uint64_t version = kit_summary(&kit).version;
    kit_remove(&kit, "a");
    ck_assert(!kit.result.changed);
    ck_assert_uint_eq(kit_summary(&kit).version, version);
}
END_TEST

START_TEST(set_is_exact_and_always_a_write)
{
    kit_add(&kit, "a", 9);
    kit_set(&kit, "a", 4);
    ck_assert_int_eq(kit_qty(&kit, "a"), 4);
    kit_set(&kit, "a", 4);
    ck_assert(kit.result.changed);
    ck_assert_uint_eq(kit_summary(&kit).version, 3);
    kit_add(&kit, "a", 0);
    ck_assert(kit.result.changed);
    ck_assert_int_eq(kit_qty(&kit, "a"), 4);
    kit_set(&kit, "a", 0);
    expect_lines("");
}
END_TEST

START_TEST(bad_arguments_are_refused)
{
    char long_line[130];
    memset(long_line, 'x', sizeof(long_line));
    long_line[129] = 0;
    ck_assert_int_eq(kit_add(&kit, long_line, 1), CE_BAD_LINE);
    long_line[128] = 0;
    ck_assert_int_eq(kit_add(&kit, long_line, 1), 0);
    const char *bad[] = {"", "a b", "\x7f", "a\n", "\x01"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        ck_assert_int_eq(kit_add(&kit, bad[i], 1), CE_BAD_LINE);
        ck_assert_int_eq(swap(long_line, bad[i]), CE_BAD_LINE);
    }
    ck_assert_int_eq(kit_set(&kit, "a", -1), CE_BAD_QTY);
    ck_assert_int_eq(kit_set(&kit, "a", (int64_t)INT32_MAX + 1), CE_BAD_QTY);
    ck_assert_int_eq(kit_add(&kit, "a", (int64_t)INT32_MAX + 1), CE_BAD_QTY);
    ck_assert_int_eq(kit_add(&kit, "a", -(int64_t)INT32_MAX - 1), CE_BAD_QTY);
    ck_assert_int_eq(kit_op(&kit, priced(CART_ADD, "a", 1, -1)), CE_BAD_QTY);
    ck_assert_int_eq(check_line(long_line, 2), CE_BAD_QTY);
    struct cart_op op = op_of(CART_ADD, "a", 1);
    op.flags = CART_OP_SHOP;
    op.shop = slice_of(long_line, CART_SHOP_MAX + 1);
    ck_assert_int_eq(kit_op(&kit, op), CE_BAD_FLAG);
    op.flags = CART_OP_EXT;
    kit.limits.ext_bytes_max = 10;
    op.ext = slice_of(long_line, 11);
    ck_assert_int_eq(kit_op(&kit, op), CE_SIZE_LIMIT);
    kit.step.token = slice_of(long_line, CART_TOKEN_MAX + 1);
    ck_assert_int_eq(kit_add(&kit, "a", 1), CE_BAD_FLAG);
    ck_assert_uint_eq(kit_summary(&kit).lines, 1);
}
END_TEST

/* ---- limits -----------------------------------------------------------------------------------
 */

START_TEST(quantity_limit_refuses_or_clamps)
{
    kit.limits.qty_max = 10;
    ck_assert_int_eq(kit_add(&kit, "a", 11), CE_QTY_LIMIT);
    ck_assert_int_eq(kit_set(&kit, "a", 11), CE_QTY_LIMIT);
    struct cart_op op = op_of(CART_ADD, "a", 25);
    op.flags = CART_OP_CLAMP;
    ck_assert_int_eq(kit_run(&kit, &op, 1), 0);
    ck_assert(kit.result.clamped);
    ck_assert_int_eq(op.n, 10); /* resolved, for the journal */
    ck_assert_int_eq(kit_qty(&kit, "a"), 10);
    op.n = 1;
    kit_run(&kit, &op, 1);
    ck_assert_int_eq(op.n, 0);
    ck_assert_int_eq(kit_qty(&kit, "a"), 10);
    op.kind = CART_SET;
    op.n = 99;
    kit_run(&kit, &op, 1);
    ck_assert_int_eq(op.n, 10);
    ck_assert_int_eq(kit_add(&kit, "a", -3), 0);
    ck_assert(!kit.result.clamped);
}
END_TEST

START_TEST(a_line_beyond_the_limit_can_be_taken_back)
{
    kit_set(&kit, "a", 500);
    kit.limits.qty_max = 10;
    ck_assert_int_eq(kit_add(&kit, "a", 1), CE_QTY_LIMIT);
    ck_assert_int_eq(kit_add(&kit, "a", -1), 0);
    ck_assert_int_eq(kit_qty(&kit, "a"), 499);
    struct cart_op op = op_of(CART_ADD, "a", 5);
    op.flags = CART_OP_CLAMP;
    ck_assert_int_eq(kit_op(&kit, op), 0);
    ck_assert_int_eq(kit_qty(&kit, "a"), 499); /* an add never takes away */
}
END_TEST

START_TEST(line_limit_counts_visible_lines)
{
    kit.limits.lines_max = 2;
    kit_add(&kit, "a", 1);
    kit_add(&kit, "b", 1);
    struct cart_op op = op_of(CART_ADD, "c", 1);
    op.flags = CART_OP_CLAMP;
    ck_assert_int_eq(kit_op(&kit, op), CE_LINE_LIMIT);
    ck_assert_int_eq(kit_add(&kit, "a", 1), 0);
    struct cart_op batch[] = {op_of(CART_ADD, "b", 1), op_of(CART_ADD, "c", 1),
                              op_of(CART_ADD, "a", 1)};
    ck_assert_int_eq(kit_run(&kit, batch, 3), CE_LINE_LIMIT);
    ck_assert_uint_eq(kit.result.failed_index, 1);
    /* What counts is the cart after the step: a document may replace all lines. */
    struct cart_op document[] = {op_of(CART_SET, "x", 1), op_of(CART_SET, "y", 1),
                                 op_of(CART_RETAIN, "", 0)};
    ck_assert_int_eq(kit_run(&kit, document, 3), 0);
    expect_lines("x=1 y=1 ");
}
END_TEST

START_TEST(size_and_amount_limits)
{
    kit.limits.state_bytes_max = 60;
    ck_assert_int_eq(kit_add(&kit, "a-line-key-of-some-length", 1), 0);
    ck_assert_int_eq(kit_add(&kit, "b-line-key-of-some-length", 1), CE_SIZE_LIMIT);
    ck_assert_int_eq(kit_remove(&kit, "a-line-key-of-some-length"), 0);
    kit.limits.state_bytes_max = 1 << 20;
    ck_assert_int_eq(kit_op(&kit, priced(CART_ADD, "a", 1, INT64_MAX)), 0);
    ck_assert_int_eq(kit_add(&kit, "a", 1), CE_QTY_LIMIT);
    ck_assert_int_eq(kit_op(&kit, priced(CART_ADD, "b", 1, 1)), CE_QTY_LIMIT);
    ck_assert_int_eq(kit_summary(&kit).amount, INT64_MAX);
}
END_TEST

/* ---- fields of a line -------------------------------------------------------------------------
 */

START_TEST(first_price_stays_until_the_line_goes)
{
    kit_op(&kit, priced(CART_ADD, "a", 1, 100));
    kit_op(&kit, priced(CART_ADD, "a", 1, 999));
    ck_assert_int_eq(kit_line(&kit, "a").price, 100);
    kit_op(&kit, priced(CART_SET, "a", 3, 250));
    ck_assert_int_eq(kit_line(&kit, "a").price, 250);
    kit_set(&kit, "a", 1);
    ck_assert_int_eq(kit_line(&kit, "a").price, 250);
    kit_remove(&kit, "a");
    kit_op(&kit, priced(CART_ADD, "a", 2, 7));
    ck_assert_int_eq(kit_line(&kit, "a").price, 7);
    ck_assert_int_eq(kit_summary(&kit).amount, 14);
}
END_TEST

START_TEST(amounts_are_unknown_while_a_price_is)
{
    kit_op(&kit, priced(CART_ADD, "a", 2, 100));
    kit_add(&kit, "b", 1);
    struct cart_summary summary = kit_summary(&kit);
    ck_assert(!summary.amount_known);
    ck_assert(!summary.checked_amount_known);
    check_line("b", 0);
    summary = kit_summary(&kit);
    ck_assert(!summary.amount_known);
    ck_assert(summary.checked_amount_known);
    ck_assert_int_eq(summary.checked_amount, 200);
    kit_op(&kit, priced(CART_ADD, "b", 1, 5));
    ck_assert_int_eq(kit_summary(&kit).amount, 210);
}
END_TEST

START_TEST(shop_and_ext_are_kept_until_given_again)
{
    struct cart_op op = op_of(CART_ADD, "a", 1);
    op.flags = CART_OP_SHOP | CART_OP_EXT;
    op.shop = slice_str("s1");
    op.ext = slice_str("{\"x\":1}");
    kit_op(&kit, op);
    kit_add(&kit, "a", 1);
    kit_set(&kit, "a", 5);
    ck_assert(slice_eq(kit_line(&kit, "a").shop, op.shop));
    ck_assert(slice_eq(kit_line(&kit, "a").ext, op.ext));
    op.flags = CART_OP_SHOP;
    op.shop = slice_of(NULL, 0);
    kit_op(&kit, op);
    ck_assert_uint_eq(kit_line(&kit, "a").shop.len, 0);
    ck_assert_uint_eq(kit_line(&kit, "a").ext.len, 7);
}
END_TEST

START_TEST(checking_lines)
{
    kit_add(&kit, "a", 1);
    kit_add(&kit, "b", 2);
    ck_assert_int_eq(check_line("a", 0), 0);
    ck_assert_int_eq(kit.result.line_qty, 1);
    ck_assert(!kit_line(&kit, "a").checked);
    ck_assert_uint_eq(kit_summary(&kit).checked_qty, 2);
    kit_set(&kit, "a", 3);
    ck_assert(!kit_line(&kit, "a").checked); /* a set leaves it */
    kit_add(&kit, "a", 1);
    ck_assert(kit_line(&kit, "a").checked); /* an add checks again */
    ck_assert_int_eq(check_line("", 0), 0);
    ck_assert_uint_eq(kit_summary(&kit).checked_lines, 0);
    ck_assert_int_eq(check_line("", 1), 0);
    ck_assert_uint_eq(kit_summary(&kit).checked_lines, 2);
    ck_assert_int_eq(check_line("c", 1), CE_NOTFOUND);
    ck_assert_uint_eq(kit.result.summary.lines, 2); /* of now */
    struct cart_op op = op_of(CART_SET, "c", 1);
    op.flags = CART_OP_CHECKED;
    kit_op(&kit, op);
    ck_assert(!kit_line(&kit, "c").checked);
}
END_TEST

START_TEST(check_all_of_no_cart_is_not_found)
{
    ck_assert_int_eq(check_line("", 1), CE_NOTFOUND);
    kit_add(&kit, "a", 1);
    kit_remove(&kit, "a");
    ck_assert_int_eq(check_line("", 1), 0);
    ck_assert(!kit.result.changed);
}
END_TEST

START_TEST(lines_stand_in_order_of_adding)
{
    struct cart_op batch[] = {op_of(CART_ADD, "z", 1), op_of(CART_ADD, "m", 2),
                              op_of(CART_ADD, "a", 3), op_of(CART_ADD, "z", 1)};
    ck_assert_int_eq(kit_run(&kit, batch, 4), 0);
    expect_lines("z=2 m=2 a=3 ");
    ck_assert_uint_eq(kit_summary(&kit).version, 1); /* one step */
    kit_add(&kit, "b", 1);
    kit_add(&kit, "m", 1);
    expect_lines("z=2 m=3 a=3 b=1 ");
    kit_remove(&kit, "z");
    kit_add(&kit, "z", 1);
    expect_lines("m=3 a=3 b=1 z=1 ");
}
END_TEST

START_TEST(a_clock_that_goes_back_does_not_show)
{
    kit_add(&kit, "a", 1);
    kit.step.now_us = KIT_START_US - 5000000;
    kit_add(&kit, "b", 1);
    kit.step.now_us = 1000; /* long before 2020 */
    kit_add(&kit, "a", 1);
    ck_assert_uint_eq(kit_line(&kit, "b").added_us, KIT_START_US + 1);
    ck_assert_uint_eq(kit_line(&kit, "a").updated_us, KIT_START_US + 2);
    ck_assert_uint_eq(kit_line(&kit, "a").added_us, KIT_START_US);
}
END_TEST

START_TEST(stamps_before_2020_work)
{
    kit.step.now_us = 1000000;
    kit.step.life = CART_LIFE_FIXED;
    kit.step.life_us = 4000000;
    kit_add(&kit, "a", 1);
    ck_assert_uint_eq(kit_line(&kit, "a").added_us, 1000000);
    kit.step.now_us = 3999999;
    ck_assert(kit_summary(&kit).exists);
    kit.step.now_us = 4000000;
    ck_assert(!kit_summary(&kit).exists);
}
END_TEST

/* ---- swap, clear, retain, forget ---------------------------------------------------------------
 */

START_TEST(swap_to_an_absent_line_takes_all_along)
{
    struct cart_op op = priced(CART_ADD, "a;red", 3, 100);
    op.flags |= CART_OP_SHOP;
    op.shop = slice_str("s9");
    kit_op(&kit, op);
    check_line("a;red", 0);
    kit_add(&kit, "b", 1);
    ck_assert_int_eq(swap("a;red", "a;blue"), 0);
    ck_assert_int_eq(kit.result.line_qty, 3);
    expect_lines("b=1 a;blue=3 ");
    struct cart_line line = kit_line(&kit, "a;blue");
    ck_assert_int_eq(line.price, 100);
    ck_assert(!line.checked);
    ck_assert(slice_eq(line.shop, slice_str("s9")));
}
END_TEST

START_TEST(swap_into_a_present_line_adds_to_it)
{
    kit_op(&kit, priced(CART_ADD, "a", 3, 100));
    kit_op(&kit, priced(CART_ADD, "b", 4, 200));
    check_line("b", 0);
    ck_assert_int_eq(swap("a", "b"), 0);
    expect_lines("b=7 ");
    ck_assert_int_eq(kit_line(&kit, "b").price, 200);
    ck_assert(!kit_line(&kit, "b").checked);
    ck_assert_int_eq(swap("a", "b"), CE_NOTFOUND);
    uint64_t version = kit_summary(&kit).version;
    ck_assert_int_eq(swap("b", "b"), 0);
    ck_assert_uint_eq(kit_summary(&kit).version, version + 1);
    expect_lines("b=7 ");
}
END_TEST

START_TEST(swap_is_limited_like_an_add)
{
    kit.limits.qty_max = 5;
    kit_add(&kit, "a", 4);
    kit_add(&kit, "b", 3);
    ck_assert_int_eq(swap("a", "b"), CE_QTY_LIMIT);
    struct cart_op op = op_of(CART_SWAP, "a", 0);
    op.new_line = slice_str("b");
    op.flags = CART_OP_CLAMP;
    ck_assert_int_eq(kit_run(&kit, &op, 1), 0);
    ck_assert_int_eq(op.n, 2); /* what moved, for the journal */
    expect_lines("b=5 ");
}
END_TEST

START_TEST(clearing_by_scope)
{
    kit_add(&kit, "a", 1);
    kit_add(&kit, "b", 1);
    kit_add(&kit, "c", 1);
    check_line("b", 0);
    ck_assert_int_eq(kit_op(&kit, op_of(CART_CLEAR, "", CART_SCOPE_UNCHECKED)), 0);
    expect_lines("a=1 c=1 ");
    kit_op(&kit, op_of(CART_CLEAR, "", CART_SCOPE_UNCHECKED));
    ck_assert(!kit.result.changed);
    check_line("c", 0);
    kit_op(&kit, op_of(CART_CLEAR, "", CART_SCOPE_CHECKED));
    expect_lines("c=1 ");
    kit_op(&kit, op_of(CART_CLEAR, "", CART_SCOPE_ALL));
    expect_lines("");
    ck_assert(kit_summary(&kit).exists);
    ck_assert_int_eq(kit_op(&kit, op_of(CART_CLEAR, "", 3)), CE_BAD_FLAG);
}
END_TEST

START_TEST(retain_keeps_what_the_step_wrote)
{
    kit_add(&kit, "a", 1);
    kit_add(&kit, "b", 1);
    struct cart_op document[] = {op_of(CART_SET, "b", 5), op_of(CART_SET, "n", 2),
                                 op_of(CART_RETAIN, "", 0)};
    ck_assert_int_eq(kit_run(&kit, document, 3), 0);
    expect_lines("b=5 n=2 ");
    struct kit empty;
    kit_init(&empty, 1);
    kit_op(&empty, op_of(CART_RETAIN, "", 0));
    ck_assert(kit_summary(&empty).exists); /* a document without lines makes an empty cart */
    kit_fini(&empty);
}
END_TEST

START_TEST(forgetting_ends_the_cart)
{
    memcpy(kit.step.currency, "EUR", 4);
    kit.step.life = CART_LIFE_SLIDING;
    kit.step.life_us = 900000000;
    kit_add(&kit, "a", 1);
    ck_assert_int_eq(kit_op(&kit, op_of(CART_FORGET, "", 0)), 0);
    struct cart_summary summary = kit_summary(&kit);
    ck_assert(!summary.exists);
    ck_assert_uint_eq(summary.cas, 0);
    ck_assert_uint_eq(summary.version, 2);
    ck_assert_uint_eq(summary.expiry_us, 0);
    memcpy(kit.step.currency, "USD", 4);
    ck_assert_int_eq(kit_add(&kit, "a", 1), 0);
    ck_assert_str_eq(kit_summary(&kit).currency, "USD");
    ck_assert_uint_eq(kit_summary(&kit).version, 3);
}
END_TEST

/* ---- conditions, currency, batches -------------------------------------------------------------
 */

START_TEST(conditions_on_the_cart)
{
    kit.step.has_if_cas = true;
    kit.step.if_cas = 5;
    ck_assert_int_eq(kit_add(&kit, "a", 1), CE_EXISTS);
    ck_assert(!kit.result.summary.exists);
    kit.step.has_if_cas = true;
    kit.step.if_cas = 0;
    ck_assert_int_eq(kit_add(&kit, "a", 1), 0);
    uint64_t cas = kit.result.summary.cas;
    kit.step.has_if_cas = true;
    ck_assert_int_eq(kit_add(&kit, "a", 1), CE_EXISTS);
    ck_assert_uint_eq(kit.result.summary.cas, cas);
    ck_assert_uint_eq(kit.result.summary.version, 1);
    kit.step.has_if_cas = true;
    kit.step.if_cas = cas;
    ck_assert_int_eq(kit_add(&kit, "a", 1), 0);
    ck_assert_uint_ne(kit.result.summary.cas, cas);
}
END_TEST

START_TEST(conditions_on_the_line)
{
    struct cart_op op = op_of(CART_SET, "a", 1);
    op.flags = CART_OP_IF_PRESENT;
    ck_assert_int_eq(kit_op(&kit, op), CE_NOTFOUND);
    op.flags = CART_OP_IF_ABSENT;
    ck_assert_int_eq(kit_op(&kit, op), 0);
    ck_assert_int_eq(kit_op(&kit, op), CE_EXISTS);
    op.flags = CART_OP_IF_PRESENT;
    ck_assert_int_eq(kit_op(&kit, op), 0);
    op.kind = CART_REMOVE;
    ck_assert_int_eq(kit_op(&kit, op), 0);
    ck_assert_int_eq(kit_op(&kit, op), CE_NOTFOUND);
}
END_TEST

START_TEST(one_currency_per_cart)
{
    kit_add(&kit, "a", 1);
    ck_assert_str_eq(kit_summary(&kit).currency, "");
    memcpy(kit.step.currency, "EUR", 4);
    kit_add(&kit, "a", 1);
    ck_assert_str_eq(kit_summary(&kit).currency, "EUR");
    memcpy(kit.step.currency, "USD", 4);
    ck_assert_int_eq(kit_add(&kit, "a", 1), CE_CURRENCY);
    memcpy(kit.step.currency, "eur", 4);
    ck_assert_int_eq(kit_add(&kit, "a", 1), CE_BAD_FLAG);
    memcpy(kit.step.currency, "EUR", 4);
    ck_assert_int_eq(kit_add(&kit, "a", 1), 0);
    ck_assert_int_eq(kit_qty(&kit, "a"), 3);
}
END_TEST

START_TEST(a_batch_is_all_or_nothing)
{
    kit_add(&kit, "a", 1);
    struct cart_op batch[] = {op_of(CART_ADD, "a", 1), op_of(CART_CHECK, "gone", 1),
                              op_of(CART_ADD, "c", 1)};
    ck_assert_int_eq(kit_run(&kit, batch, 3), CE_NOTFOUND);
    ck_assert_uint_eq(kit.result.failed_index, 1);
    expect_lines("a=1 ");
    ck_assert_uint_eq(kit.result.summary.version, 1);
    struct cart_op mix[] = {op_of(CART_SET, "n", 4), op_of(CART_ADD, "n", 3),
                            op_of(CART_REMOVE, "a", 0), op_of(CART_ADD, "n", -1)};
    ck_assert_int_eq(kit_run(&kit, mix, 4), 0);
    expect_lines("n=6 ");
    ck_assert_uint_eq(kit_summary(&kit).version, 2);
    ck_assert_int_eq(kit.result.line_qty, 6);
}
END_TEST

/* ---- life -------------------------------------------------------------------------------------
 */

START_TEST(an_expired_cart_starts_anew)
{
    memcpy(kit.step.currency, "EUR", 4);
    kit.step.life = CART_LIFE_FIXED;
    kit.step.life_us = KIT_START_US + 5000000;
    kit_op(&kit, priced(CART_ADD, "a", 3, 5));
    kit.step.now_us = KIT_START_US + 4999999;
    ck_assert_int_eq(kit_qty(&kit, "a"), 3);
    kit.step.now_us = KIT_START_US + 5000000;
    ck_assert_int_eq(kit_qty(&kit, "a"), 0);
    struct cart_summary summary = kit_summary(&kit);
    ck_assert(!summary.exists);
    ck_assert_uint_eq(summary.cas, 0);
    ck_assert_int_eq(summary.amount, 0);
    ck_assert_str_eq(summary.currency, "");
    memcpy(kit.step.currency, "USD", 4);
    kit.step.has_if_cas = true;
    kit.step.if_cas = 0;
    ck_assert_int_eq(kit_add(&kit, "b", 1), 0);
    ck_assert(kit.result.expired);
    expect_lines("b=1 ");
    summary = kit_summary(&kit);
    ck_assert_uint_eq(summary.expiry_us, 0);
    ck_assert_uint_eq(summary.version, 2);
    ck_assert_str_eq(summary.currency, "USD");
}
END_TEST

START_TEST(forgetting_an_expired_cart_is_a_change)
{
    kit.step.life = CART_LIFE_FIXED;
    kit.step.life_us = KIT_START_US + 500000;
    kit_add(&kit, "a", 3);
    kit.step.life = CART_LIFE_KEEP;
    ck_assert_int_eq(kit_op(&kit, op_of(CART_FORGET, "", 0)), 0);
    ck_assert(kit.result.changed);
    ck_assert(kit.result.expired);
    struct cart_summary summary;
    cart_summary(kit_state(&kit), 0, &summary); /* also for those who do not ask the clock */
    ck_assert(!summary.exists);
    ck_assert_uint_eq(summary.expiry_us, 0);
    ck_assert_uint_eq(summary.version, 2);
    ck_assert_int_eq(kit_op(&kit, op_of(CART_FORGET, "", 0)), 0);
    ck_assert(!kit.result.changed);
}
END_TEST

START_TEST(nothing_to_do_leaves_an_expired_cart_alone)
{
    kit.step.life = CART_LIFE_FIXED;
    kit.step.life_us = KIT_START_US + 500000;
    kit_add(&kit, "a", 3);
    struct buf before = {0};
    ck_assert_int_eq(buf_append(&before, kit.state.bytes, kit.state.len), 0);
    ck_assert_int_eq(kit_remove(&kit, "a"), 0);
    ck_assert(!kit.result.changed);
    ck_assert(slice_eq(buf_slice(&before), kit_state(&kit)));
    ck_assert_int_eq(kit_op(&kit, op_of(CART_TOUCH, "", 0)), CE_NOTFOUND);
    ck_assert_int_eq(check_line("a", 1), CE_NOTFOUND);
    buf_free(&before);
}
END_TEST

START_TEST(sliding_life_slides)
{
    kit.step.life = CART_LIFE_SLIDING;
    kit.step.life_us = 10000000;
    kit_add(&kit, "a", 1);
    ck_assert_uint_eq(kit_summary(&kit).expiry_us, KIT_START_US + 10000000);
    kit.step.now_us = KIT_START_US + 8000000;
    kit_add(&kit, "a", 1);
    ck_assert_uint_eq(kit_summary(&kit).expiry_us, KIT_START_US + 18000000);
    kit.step.now_us = KIT_START_US + 9000000;
    kit.step.life = CART_LIFE_NONE;
    ck_assert_int_eq(kit_op(&kit, op_of(CART_TOUCH, "", 0)), 0);
    ck_assert(kit.result.changed);
    ck_assert_uint_eq(kit_summary(&kit).expiry_us, 0);
    ck_assert_int_eq(kit_qty(&kit, "a"), 2);
}
END_TEST

START_TEST(touch_makes_no_cart)
{
    kit.step.life = CART_LIFE_FIXED;
    kit.step.life_us = KIT_START_US * 2;
    ck_assert_int_eq(kit_op(&kit, op_of(CART_TOUCH, "", 0)), CE_NOTFOUND);
    ck_assert_uint_eq(kit.state.len, 0);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {add_makes_line_and_cart,
                                  a_key_may_be_longer_than_another_line,
                                  add_sums_up_and_takes_away,
                                  removing_nothing_makes_nothing,
                                  set_is_exact_and_always_a_write,
                                  bad_arguments_are_refused,
                                  quantity_limit_refuses_or_clamps,
                                  a_line_beyond_the_limit_can_be_taken_back,
                                  line_limit_counts_visible_lines,
                                  size_and_amount_limits,
                                  first_price_stays_until_the_line_goes,
                                  amounts_are_unknown_while_a_price_is,
                                  shop_and_ext_are_kept_until_given_again,
                                  checking_lines,
                                  check_all_of_no_cart_is_not_found,
                                  lines_stand_in_order_of_adding,
                                  a_clock_that_goes_back_does_not_show,
                                  stamps_before_2020_work,
                                  swap_to_an_absent_line_takes_all_along,
                                  swap_into_a_present_line_adds_to_it,
                                  swap_is_limited_like_an_add,
                                  clearing_by_scope,
                                  retain_keeps_what_the_step_wrote,
                                  forgetting_ends_the_cart,
                                  conditions_on_the_cart,
                                  conditions_on_the_line,
                                  one_currency_per_cart,
                                  a_batch_is_all_or_nothing,
                                  an_expired_cart_starts_anew,
                                  forgetting_an_expired_cart_is_a_change,
                                  nothing_to_do_leaves_an_expired_cart_alone,
                                  sliding_life_slides,
                                  touch_makes_no_cart};
    return kit_main("cart_apply", tests, sizeof(tests) / sizeof(*tests), setup, teardown);
}

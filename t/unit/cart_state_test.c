/* The bytes of a state and of a step: the documented form, and nothing else is accepted. */
#include "cart_kit.h"

static struct kit kit;

static void setup(void)
{
    kit_init(&kit, 0x0102030405060708ull);
}

static void teardown(void)
{
    kit_fini(&kit);
}

static void fill(void)
{
    struct cart_op op = {.kind = CART_ADD, .line = slice_str("SKU-1;red"), .n = 2};
    op.flags = CART_OP_PRICE | CART_OP_SHOP | CART_OP_EXT;
    op.price = 1999;
    op.shop = slice_str("s1");
    op.ext = slice_str("some bytes");
    memcpy(kit.step.currency, "EUR", 4);
    kit.step.life = CART_LIFE_SLIDING;
    kit.step.life_us = 3600000000;
    kit_op(&kit, op);
    kit_add(&kit, "b", 1);
    kit_set(&kit, "c", 4);
    kit_op(&kit, (struct cart_op){.kind = CART_CHECK, .line = slice_str("b"), .n = 0});
    kit_add(&kit, "c", 1);
    kit_add_token(&kit, "d", 5, "token-1");
    kit.step.actor++;
    kit_add_token(&kit, "d", 5, "token-2");
}

/* One line, one actor, 1000 us into 2020: each byte follows from the tables of doc/cart-model.md.
 */
static const uint8_t plain_state[] = {
    0xC1,                                                   /* format */
    1 | 16,                                                 /* alive, all lines are checked */
    1,                                                      /* actors */
    0x08,   0x07, 0x06, 0x05,       0x04, 0x03, 0x02, 0x01, /* id */
    1,                                                      /* seq */
    0xE8,   0x07,                                           /* greatest stamp: 1000 */
    0,      0,                                              /* meta: age, actor */
    1,      2,    10,                                       /* lines, quantity, amount */
    11,                                                     /* bytes of lines */
    10,     1,    'A',  1 | 2 | 16, /* length, key, checked + price + plain */
    0xE8,   0x07, 0,    5,          /* updated, since added, price */
    0,      1,    4,                /* actor, seq, quantity as zigzag */
};

START_TEST(a_plain_state_has_the_documented_bytes)
{
    struct cart_op op = {.kind = CART_ADD, .line = slice_str("A"), .n = 2};
    op.flags = CART_OP_PRICE;
    op.price = 5;
    kit.step.now_us = 1577836800001000;
    kit_op(&kit, op);
    struct slice want = slice_of(plain_state, sizeof(plain_state));
    ck_assert_uint_eq(kit.state.len, want.len);
    ck_assert(slice_eq(kit_state(&kit), want));
    ck_assert_int_eq(cart_check(want), 0);
}
END_TEST

/* Any one byte of the plain state that matters twice: changed, it no longer fits the rest. */
START_TEST(what_does_not_fit_is_corrupt)
{
    static const struct {
        size_t at;
        uint8_t value;
        const char *what;
    } changes[] = {
        {0, 0xC2, "format"},
        {1, 0, "dead cart, other counters"},
        {2, 2, "two actors"},
        {11, 0, "seq 0"},
        {12, 0xE7, "a line later than all"},
        {15, 1, "actor out of range"},
        {16, 2, "two lines"},
        {17, 3, "quantity"},
        {18, 11, "amount"},
        {19, 12, "bytes of lines"},
        {20, 9, "length of the line"},
        {21, 2, "length of the key"},
        {22, ' ', "a space in the key"},
        {23, 1 | 16, "no price"},
        {23, 1 | 2, "not plain"},
        {23, 2 | 16, "not checked"},
        {23, 1 | 2 | 16 | 64, "unknown flag"},
        {26, 0x7F, "added"},
        {28, 1, "actor of the entry out of range"},
        {29, 2, "event not in the vector"},
        {29, 0, "event 0"},
        {30, 6, "quantity of the entry"},
    };
    uint8_t bytes[sizeof(plain_state)];
    for (size_t i = 0; i < sizeof(changes) / sizeof(*changes); i++) {
        memcpy(bytes, plain_state, sizeof(bytes));
        bytes[changes[i].at] = changes[i].value;
        int err = cart_check(slice_of(bytes, sizeof(bytes)));
        if (changes[i].at == 26)
            ck_assert_int_eq(err, 0); /* earlier by 127 us is as good */
        else
            ck_assert_msg(err == CE_CORRUPT, "%s is accepted", changes[i].what);
    }
}
END_TEST

START_TEST(cut_or_longer_states_are_corrupt)
{
    fill();
    struct slice whole = kit_state(&kit);
    for (size_t len = 1; len < whole.len; len++) {
        ck_assert_int_eq(cart_check(slice_of(whole.bytes, len)), CE_CORRUPT);
        ck_assert_int_eq(cart_load(kit.cart, slice_of(whole.bytes, len)), CE_CORRUPT);
    }
    ck_assert_int_eq(cart_check(whole), 0);
    ck_assert_int_eq(cart_load(kit.cart, whole), 0);
    ck_assert_int_eq(buf_append(&kit.state, "", 1), 0);
    ck_assert_int_eq(cart_check(kit_state(&kit)), CE_CORRUPT);
    ck_assert_int_eq(cart_load(kit.cart, kit_state(&kit)), CE_CORRUPT);
}
END_TEST

/* A damaged state may still be a state, but then it is canonical; loaded unchecked it may end in
 * CE_CORRUPT anywhere, and in nothing worse. */
START_TEST(every_flipped_bit_is_survived)
{
    fill();
    struct cart *cart;
    struct buf json = {0};
    ck_assert_int_eq(cart_new(&cart), 0);
    for (size_t i = 0; i < kit.state.len * 8; i++) {
        kit.state.bytes[i / 8] ^= (uint8_t)(1 << i % 8);
        struct slice again, state = kit_state(&kit);
        if (cart_check(state) == 0) {
            ck_assert_int_eq(cart_load(cart, state), 0);
            ck_assert_int_eq(cart_store(cart, &again), 0);
            ck_assert(slice_eq(state, again));
        }
        if (cart_load(cart, state) == 0) {
            struct cart_op op = {.kind = CART_ADD, .line = slice_str("c"), .n = 1};
            struct cart_step step = {
                .actor = 1, .now_us = KIT_START_US, .ops = &op, .ops_count = 1};
            json.len = 0;
            (void)!cart_json(state, 0, slice_str("k"), CART_JSON_ALL, &json);
            (void)!cart_apply(cart, &step, &kit.result);
        }
        kit.state.bytes[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    buf_free(&json);
    cart_free(&cart);
}
END_TEST

START_TEST(lines_out_of_order_or_twice_are_corrupt)
{
    uint8_t bytes[64], *at = bytes;
    memcpy(at, plain_state, 20);
    at += 20;
    for (int i = 0; i < 2; i++, at += 11)
        memcpy(at, plain_state + 20, 11);
    struct slice state = slice_of(bytes, 42);
    bytes[16] = 2;
    bytes[17] = 4;
    bytes[18] = 20;
    bytes[19] = 22;
    ck_assert_int_eq(cart_check(state), CE_CORRUPT); /* A twice */
    ck_assert_int_eq(cart_load(kit.cart, slice_of(NULL, 0)), 0);
    ck_assert_int_eq(cart_merge(kit.cart, state), CE_CORRUPT);
    bytes[33] = 'B';
    ck_assert_int_eq(cart_check(state), 0); /* A, B of one step */
    bytes[22] = 'C';
    ck_assert_int_eq(cart_check(state), CE_CORRUPT); /* C before B */
}
END_TEST

START_TEST(ten_lines_take_little)
{
    kit.step.fold = CART_FOLD_ALONE;
    memcpy(kit.step.currency, "EUR", 4);
    for (int i = 0; i < 10; i++) {
        struct cart_op op = {.kind = CART_ADD, .flags = CART_OP_PRICE, .n = 1, .price = 1999};
        char line[] = "SKU-00000000";
        line[11] = (char)('0' + i);
        op.line = slice_str(line);
        kit_op(&kit, op);
    }
    ck_assert_uint_eq(kit_summary(&kit).lines, 10);
    ck_assert_uint_le(kit.state.len, 350);
}
END_TEST

START_TEST(the_empty_state)
{
    struct slice state, none = slice_of(NULL, 0);
    struct cart_summary summary = kit_summary(&kit);
    ck_assert(!summary.exists);
    ck_assert_uint_eq(summary.version, 0);
    ck_assert_uint_eq(summary.cas, 0);
    ck_assert_int_eq(cart_check(none), 0);
    ck_assert_int_eq(cart_load(kit.cart, none), 0);
    ck_assert_int_eq(cart_merge(kit.cart, none), 0);
    ck_assert_int_eq(cart_store(kit.cart, &state), 0);
    ck_assert_uint_eq(state.len, 0);
    ck_assert_uint_eq(cart_seq(none, 1), 0);
    ck_assert(cart_covers(none, none));
}
END_TEST

/* ---- steps ------------------------------------------------------------------------------------
 */

static void make_step(struct cart_step *step, struct cart_op *ops)
{
    ops[0] = (struct cart_op){.kind = CART_ADD,
                              .flags = CART_OP_PRICE | CART_OP_SHOP | CART_OP_EXT | CART_OP_CLAMP,
                              .line = slice_str("a;1"),
                              .n = -7,
                              .price = INT64_MAX,
                              .shop = slice_str("shop"),
                              .ext = slice_of("\0\xff", 2)};
    ops[1] = (struct cart_op){
        .kind = CART_SWAP, .line = slice_str("a"), .new_line = slice_str("b"), .n = 12};
    ops[2] = (struct cart_op){.kind = CART_SET,
                              .flags = CART_OP_CHECKED | CART_OP_IF_ABSENT,
                              .line = slice_str("c"),
                              .checked = true};
    ops[3] = (struct cart_op){.kind = CART_CHECK, .n = 1};
    ops[4] = (struct cart_op){.kind = CART_CLEAR, .n = CART_SCOPE_UNCHECKED};
    *step = (struct cart_step){.actor = 0xFEDCBA9876543210ull,
                               .now_us = KIT_START_US,
                               .fold = CART_FOLD_OWN,
                               .life = CART_LIFE_SLIDING,
                               .life_us = 77,
                               .currency = "CHF",
                               .token = slice_str("tok"),
                               .args_hash = 0x1122334455667788ull,
                               .has_if_cas = true,
                               .if_cas = 5,
                               .limits = &kit.limits,
                               .ops = ops,
                               .ops_count = 5};
}

START_TEST(a_step_reads_back_as_written)
{
    struct cart_op ops[5], back_ops[CART_STEP_OPS_MAX];
    struct cart_step step, back;
    struct buf bytes = {0};
    make_step(&step, ops);
    ck_assert_int_eq(cart_step_encode(&step, &bytes), 0);
    ck_assert_int_eq(cart_step_decode(buf_slice(&bytes), back_ops, &back), 0);
    ck_assert_uint_eq(back.actor, step.actor);
    ck_assert_uint_eq(back.now_us, step.now_us);
    ck_assert_int_eq(back.fold, step.fold);
    ck_assert_int_eq(back.life, step.life);
    ck_assert_uint_eq(back.life_us, step.life_us);
    ck_assert_str_eq(back.currency, "CHF");
    ck_assert(slice_eq(back.token, step.token));
    ck_assert_uint_eq(back.args_hash, step.args_hash);
    ck_assert(!back.has_if_cas);
    ck_assert_ptr_null(back.limits);
    ck_assert_uint_eq(back.ops_count, 5);
    for (size_t i = 0; i < 5; i++) {
        ck_assert_int_eq(back_ops[i].kind, ops[i].kind);
        ck_assert_int_eq(back_ops[i].n, ops[i].n);
        ck_assert_int_eq(back_ops[i].checked, ops[i].checked);
        ck_assert_int_eq(back_ops[i].price, ops[i].price);
        ck_assert(slice_eq(back_ops[i].line, ops[i].line));
        ck_assert(slice_eq(back_ops[i].new_line, ops[i].new_line));
        ck_assert(slice_eq(back_ops[i].shop, ops[i].shop));
        ck_assert(slice_eq(back_ops[i].ext, ops[i].ext));
    }
    ck_assert_uint_eq(back_ops[0].flags, ops[0].flags);
    ck_assert_uint_eq(back_ops[2].flags, CART_OP_CHECKED); /* conditions were checked once */
    buf_free(&bytes);
}
END_TEST

START_TEST(damaged_steps_are_corrupt)
{
    struct cart_op ops[5], back_ops[CART_STEP_OPS_MAX];
    struct cart_step step, back;
    struct buf bytes = {0};
    make_step(&step, ops);
    ck_assert_int_eq(cart_step_encode(&step, &bytes), 0);
    for (size_t len = 0; len < bytes.len; len++)
        ck_assert_int_eq(cart_step_decode(slice_of(bytes.bytes, len), back_ops, &back), CE_CORRUPT);
    for (size_t i = 0; i < bytes.len * 8; i++) {
        bytes.bytes[i / 8] ^= (uint8_t)(1 << i % 8);
        (void)!cart_step_decode(buf_slice(&bytes), back_ops, &back);
        bytes.bytes[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    ck_assert_int_eq(buf_append(&bytes, "", 1), 0);
    ck_assert_int_eq(cart_step_decode(buf_slice(&bytes), back_ops, &back), CE_CORRUPT);
    buf_free(&bytes);
}
END_TEST

/* What a shop allows today must not matter for what it allowed then. */
START_TEST(a_replay_checks_no_limits_and_gives_the_same_bytes)
{
    struct cart_op op = {.kind = CART_ADD, .line = slice_str("a"), .n = 5000};
    struct cart_op back_ops[CART_STEP_OPS_MAX];
    struct cart_step step = kit.step, back;
    struct buf bytes = {0};
    struct slice state;
    op.flags = CART_OP_CLAMP;
    step.token = slice_str("t");
    step.ops = &op;
    step.ops_count = 1;
    ck_assert_int_eq(cart_load(kit.cart, slice_of(NULL, 0)), 0);
    ck_assert_int_eq(cart_apply(kit.cart, &step, &kit.result), 0);
    ck_assert_int_eq(cart_store(kit.cart, &state), 0);
    ck_assert_int_eq(buf_append(&kit.state, state.bytes, state.len), 0);
    ck_assert_int_eq(cart_step_encode(&step, &bytes), 0);
    ck_assert_int_eq(cart_step_decode(buf_slice(&bytes), back_ops, &back), 0);
    ck_assert_int_eq(back_ops[0].n, 999);
    ck_assert_int_eq(cart_load(kit.cart, slice_of(NULL, 0)), 0);
    ck_assert_int_eq(cart_apply(kit.cart, &back, &kit.result), 0);
    ck_assert_int_eq(cart_store(kit.cart, &state), 0);
    ck_assert(slice_eq(state, kit_state(&kit)));
    back_ops[0].n = 2000000;
    ck_assert_int_eq(cart_load(kit.cart, slice_of(NULL, 0)), 0);
    ck_assert_int_eq(cart_apply(kit.cart, &back, &kit.result), 0);
    ck_assert_int_eq(kit.result.line_qty, 2000000);
    buf_free(&bytes);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        a_plain_state_has_the_documented_bytes,
        what_does_not_fit_is_corrupt,
        cut_or_longer_states_are_corrupt,
        every_flipped_bit_is_survived,
        lines_out_of_order_or_twice_are_corrupt,
        ten_lines_take_little,
        the_empty_state,
        a_step_reads_back_as_written,
        damaged_steps_are_corrupt,
        a_replay_checks_no_limits_and_gives_the_same_bytes,
    };
    return kit_main("cart_state", tests, sizeof(tests) / sizeof(*tests), setup, teardown);
}

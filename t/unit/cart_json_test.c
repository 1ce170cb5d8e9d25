/* Documents: what we write, byte for byte, and what we read. */
#include "cart_kit.h"

#include <stdio.h>

static struct kit kit;
static struct buf out, arena;

static void setup(void)
{
    kit_init(&kit, 1);
    out = arena = (struct buf){0};
}

static void teardown(void)
{
    kit_fini(&kit);
    buf_free(&out);
    buf_free(&arena);
}

static const char *json_of(const char *key, enum cart_json_scope scope)
{
    out.len = 0;
    ck_assert_int_eq(cart_json(kit_state(&kit), kit.step.now_us, slice_str(key), scope, &out), 0);
    ck_assert_int_eq(buf_append(&out, "", 1), 0);
    return (const char *)out.bytes;
}

/* The document with the cas of now put in for "CAS" in `want`. */
static void expect_json(const char *key, enum cart_json_scope scope, const char *want)
{
    struct buf text = {0};
    char cas[NUM_DIGITS_MAX + 1] = {0};
    num_put_u64(cas, kit_summary(&kit).cas);
    const char *gap = strstr(want, "CAS");
    ck_assert_ptr_nonnull(gap);
    ck_assert_int_eq(
        buf_printf(&text, "%.*s%s%s", (int)(gap - want), want, cas, gap + strlen("CAS")), 0);
    ck_assert_int_eq(buf_append(&text, "", 1), 0);
    ck_assert_str_eq(json_of(key, scope), (char *)text.bytes);
    buf_free(&text);
}

static void add_line(struct slice line, int64_t n, int64_t price, const char *shop,
                     struct slice ext)
{
    struct cart_op op = {.kind = CART_ADD, .line = line, .n = n, .price = price};
    op.flags = (price >= 0 ? CART_OP_PRICE : 0) | CART_OP_SHOP | CART_OP_EXT;
    op.shop = slice_str(shop);
    op.ext = ext;
    ck_assert_int_eq(kit_op(&kit, op), 0);
}

static const struct slice none;

START_TEST(the_document_of_the_protocol)
{
    memcpy(kit.step.currency, "EUR", 4);
    kit.step.now_us = 1790000000123456;
    add_line(slice_str("SKU-1;red"), 2, 1999, "s1", slice_str("{\"a\":1}"));
    expect_json("cart:u42", CART_JSON_ALL,
                "{\"cart\":\"cart:u42\",\"version\":1,\"cas\":\"CAS\",\"currency\":\"EUR\","
                "\"lines\":[{\"line\":\"SKU-1;red\",\"sku\":\"SKU-1\",\"qty\":2,\"price\":1999,"
                "\"checked\":true,\"shop\":\"s1\",\"added\":1790000000123,"
                "\"updated\":1790000000123,\"ext\":\"{\\\"a\\\":1}\"}],"
                "\"count\":1,\"qty\":2,\"amount\":3998,\"checked_qty\":2,\"checked_amount\":3998}");
}
END_TEST

START_TEST(what_is_absent_is_left_out)
{
    kit.step.now_us = 1000000;
    add_line(slice_str("a"), 1, -1, "", none);
    add_line(slice_str("b"), 3, 0, "", none);
    kit_op(&kit, (struct cart_op){.kind = CART_CHECK, .line = slice_str("a"), .n = 0});
    const char *b = "{\"line\":\"b\",\"sku\":\"b\",\"qty\":3,\"price\":0,\"checked\":true,"
                    "\"added\":2000,\"updated\":2000}";
    char want[1024];
    snprintf(
        want, sizeof(want),
        "{\"cart\":\"k\",\"version\":3,\"cas\":\"CAS\",\"lines\":[{\"line\":\"a\",\"sku\":\"a\","
        "\"qty\":1,\"checked\":false,\"added\":1000,\"updated\":3000},%s],\"count\":2,"
        "\"qty\":4,\"checked_qty\":3,\"checked_amount\":0}",
        b);
    expect_json("k", CART_JSON_ALL, want);
    snprintf(want, sizeof(want),
             "{\"cart\":\"k\",\"version\":3,\"cas\":\"CAS\",\"lines\":[%s],\"count\":2,"
             "\"qty\":4,\"checked_qty\":3,\"checked_amount\":0}",
             b);
    expect_json("k", CART_JSON_CHECKED, want);
    expect_json("k", CART_JSON_SUMMARY,
                "{\"cart\":\"k\",\"version\":3,\"cas\":\"CAS\",\"count\":2,"
                "\"qty\":4,\"checked_qty\":3,\"checked_amount\":0}");
}
END_TEST

START_TEST(an_expired_cart_has_no_lines)
{
    kit.step.life = CART_LIFE_FIXED;
    kit.step.life_us = kit.step.now_us + 1;
    add_line(slice_str("a"), 1, 5, "", none);
    ck_assert_str_eq(json_of("k", CART_JSON_ALL),
                     "{\"cart\":\"k\",\"version\":1,\"cas\":\"0\",\"lines\":[],\"count\":0,"
                     "\"qty\":0,\"amount\":0,\"checked_qty\":0,\"checked_amount\":0}");
}
END_TEST

START_TEST(text_is_escaped_and_made_utf8)
{
    struct cart_line line = {.line = slice_str("a\"\\\xC3\xA9;\xff"), .qty = 1};
    line.ext = slice_of("\0\b\t\n\v\f\r\x1f\x7f\xE2\x82\xAC", 12);
    line.shop = slice_str("\xC0\x80");
    ck_assert_int_eq(cart_line_json(&line, &out), 0);
    ck_assert_int_eq(buf_append(&out, "", 1), 0);
    ck_assert_str_eq((char *)out.bytes,
                     "{\"line\":\"a\\\"\\\\\xC3\xA9;\xEF\xBF\xBD\",\"line_b64\":\"YSJcw6k7/w==\","
                     "\"sku\":\"a\\\"\\\\\xC3\xA9\",\"qty\":1,\"checked\":false,"
                     "\"shop\":\"\xEF\xBF\xBD\xEF\xBF\xBD\",\"shop_b64\":\"wIA=\","
                     "\"added\":0,\"updated\":0,"
                     "\"ext\":\"\\u0000\\b\\t\\n\\u000b\\f\\r\\u001f\x7f\xE2\x82\xAC\"}");
}
END_TEST

START_TEST(only_strict_utf8_is_text)
{
    static const struct {
        const char *bytes;
        bool good;
    } cases[] = {
        {"\xC2\x80", true},          {"\xDF\xBF", true},
        {"\xC1\xBF", false},         {"\xE0\xA0\x80", true},
        {"\xE0\x9F\xBF", false},     {"\xED\x9F\xBF", true},
        {"\xED\xA0\x80", false},     {"\xEF\xBF\xBF", true},
        {"\xF0\x90\x80\x80", true},  {"\xF0\x8F\xBF\xBF", false},
        {"\xF4\x8F\xBF\xBF", true},  {"\xF4\x90\x80\x80", false},
        {"\xF5\x80\x80\x80", false}, {"\x80", false},
        {"\xE2\x82", false},         {"\xF0\x9F\x98", false},
        {"\xE2(\xA1", false},        {"\xFE", false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct cart_line line = {.line = slice_str("a"), .qty = 1};
        line.ext = slice_str(cases[i].bytes);
        out.len = 0;
        ck_assert_int_eq(cart_line_json(&line, &out), 0);
        ck_assert_int_eq(buf_append(&out, "", 1), 0);
        bool text = strstr((char *)out.bytes, "\"ext\":") != NULL;
        bool base64 = strstr((char *)out.bytes, "\"ext_b64\":") != NULL;
        ck_assert_msg(text == cases[i].good && base64 != text, "case %zu", i);
    }
}
END_TEST

START_TEST(strange_cart_keys)
{
    ck_assert_ptr_nonnull(strstr(json_of("cart:\xff", CART_JSON_SUMMARY),
                                 "{\"cart\":\"cart:\xEF\xBF\xBD\",\"cart_b64\":\"Y2FydDr/\","));
}
END_TEST

/* ---- reading ----------------------------------------------------------------------------------
 */

static int parse_line(const char *value, struct cart_op *op, char currency[4])
{
    *op = (struct cart_op){.line = slice_str("kept")};
    arena.len = 0;
    return cart_line_parse(slice_str(value), op, currency, &arena);
}

START_TEST(a_line_is_digits_or_an_object)
{
    struct cart_op op;
    char currency[4];
    ck_assert_int_eq(parse_line("007", &op, currency), 0);
    ck_assert_int_eq(op.kind, CART_SET);
    ck_assert_int_eq(op.n, 7);
    ck_assert_uint_eq(op.flags, 0);
    ck_assert(slice_eq(op.line, slice_str("kept")));
    ck_assert_int_eq(parse_line("{\"qty\":3,\"price\":12,\"currency\":\"EUR\",\"checked\":false,"
                                "\"shop\":\"\\u00e9\",\"ext_b64\":\"AP8=\",\"sku\":{}}",
                                &op, currency),
                     0);
    ck_assert_int_eq(op.n, 3);
    ck_assert_int_eq(op.price, 12);
    ck_assert_uint_eq(op.flags, CART_OP_PRICE | CART_OP_CHECKED | CART_OP_SHOP | CART_OP_EXT);
    ck_assert(!op.checked);
    ck_assert_str_eq(currency, "EUR");
    ck_assert(slice_eq(op.shop, slice_str("\xC3\xA9")));
    ck_assert(slice_eq(op.ext, slice_of("\0\xff", 2)));
    ck_assert(slice_eq(op.line, slice_str("kept")));
    ck_assert_int_eq(parse_line("{\"qty\":0,\"ext\":\"a\\u0000b\"}", &op, currency), 0);
    ck_assert_uint_eq(op.ext.len, 3);
    ck_assert_str_eq(currency, "");
}
END_TEST

START_TEST(what_is_no_line)
{
    static const struct {
        const char *value;
        int err;
    } cases[] = {
        {"", CE_BAD_DOC},
        {"-", CE_BAD_DOC},
        {"-1", CE_BAD_QTY},
        {"2147483647", 0},
        {"2147483648", CE_BAD_QTY},
        {"99999999999999999999999", CE_BAD_QTY},
        {"1.5", CE_BAD_DOC},
        {"[1]", CE_BAD_DOC},
        {"{}", CE_BAD_DOC},
        {"{\"qty\":1}x", CE_BAD_DOC},
        {"{\"qty\":1.0}", CE_BAD_DOC},
        {"{\"qty\":\"1\"}", CE_BAD_DOC},
        {"{\"qty\":-1}", CE_BAD_QTY},
        {"{\"qty\":2147483648}", CE_BAD_QTY},
        {"{\"qty\":99999999999999999999}", CE_BAD_QTY},
        {"{\"qty\":1,\"qty\":2}", CE_BAD_DOC},
        {"{\"qty\":1,\"price\":-1}", CE_BAD_QTY},
        {"{\"qty\":1,\"price\":1.5}", CE_BAD_DOC},
        {"{\"qty\":1,\"checked\":1}", CE_BAD_DOC},
        {"{\"qty\":1,\"shop\":1}", CE_BAD_DOC},
        {"{\"qty\":1,\"currency\":\"eur\"}", CE_BAD_DOC},
        {"{\"qty\":1,\"currency\":\"EURO\"}", CE_BAD_DOC},
        {"{\"qty\":1,\"ext_b64\":\"AP8\"}", CE_BAD_DOC},
        {"{\"qty\":1,\"ext_b64\":\"AP9=\"}", CE_BAD_DOC},
        {"{\"qty\":1,\"ext_b64\":\"A===\"}", CE_BAD_DOC},
        {"{\"qty\":1,\"ext\":\"\xff\"}", CE_BAD_DOC},
    };
    struct cart_op op;
    char currency[4];
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        ck_assert_msg(parse_line(cases[i].value, &op, currency) == cases[i].err, "%s",
                      cases[i].value);
}
END_TEST

START_TEST(depth_is_bounded)
{
    enum { DEPTH = 100000 };
    struct buf deep = {0};
    struct cart_op op;
    char currency[4];
    ck_assert_int_eq(buf_append_str(&deep, "{\"qty\":1,\"x\":"), 0);
    for (int i = 0; i < DEPTH; i++)
        ck_assert_int_eq(buf_append(&deep, "[", 1), 0);
    for (int i = 0; i < DEPTH; i++)
        ck_assert_int_eq(buf_append(&deep, "]", 1), 0);
    ck_assert_int_eq(buf_append(&deep, "}", 1), 0);
    ck_assert_int_eq(cart_line_parse(buf_slice(&deep), &op, currency, &arena), CE_BAD_DOC);
    buf_free(&deep);
}
END_TEST

static struct cart_op ops[CART_STEP_OPS_MAX];

static int parse_doc(struct slice value, size_t *count, char currency[4])
{
    arena.len = 0;
    return cart_doc_parse(value, ops, count, currency, &arena);
}

START_TEST(a_document_we_wrote_can_be_written_back)
{
    struct kit twin;
    size_t count;
    memcpy(kit.step.currency, "CHF", 4);
    add_line(slice_str("a;x/y"), 2, 10, "s", slice_of("\0\xff\x80", 3));
    add_line(slice_str("b\xff"), 3, -1, "\xfe", slice_str("\xE2\x82\xAC"));
    add_line(slice_str("c"), 1, INT64_MAX / 4, "", none);
    kit_op(&kit, (struct cart_op){.kind = CART_CHECK, .line = slice_str("c"), .n = 0});
    struct slice json = slice_str(json_of("k", CART_JSON_ALL));
    kit_init(&twin, 2);
    kit_add(&twin, "gone", 1);
    ck_assert_int_eq(parse_doc(json, &count, twin.step.currency), 0);
    ck_assert_uint_eq(count, 4);
    ck_assert_int_eq(ops[3].kind, CART_RETAIN);
    ck_assert_int_eq(kit_run(&twin, ops, count), 0);
    const char *const names[] = {"a;x/y", "b\xff", "c"};
    ck_assert_uint_eq(kit_summary(&twin).lines, 3);
    ck_assert_str_eq(kit_summary(&twin).currency, "CHF");
    for (int i = 0; i < 3; i++) {
        struct cart_line want = kit_line(&kit, names[i]), have = kit_line(&twin, names[i]);
        ck_assert_int_eq(have.qty, want.qty);
        ck_assert_int_eq(have.price, want.price);
        ck_assert_int_eq(have.has_price, want.has_price);
        ck_assert_int_eq(have.checked, want.checked);
        ck_assert(slice_eq(have.shop, want.shop));
        ck_assert(slice_eq(have.ext, want.ext));
    }
    kit_fini(&twin);
}
END_TEST

START_TEST(what_is_no_document)
{
    static const struct {
        const char *value;
        int err;
    } cases[] = {
        {"{\"lines\":[]}", 0},
        {"{\"lines\":[],\"other\":[[]]}", 0},
        {"7", CE_BAD_DOC},
        {"", CE_BAD_DOC},
        {"{}", CE_BAD_DOC},
        {"[]", CE_BAD_DOC},
        {"{\"lines\":{}}", CE_BAD_DOC},
        {"{\"lines\":[1]}", CE_BAD_DOC},
        {"{\"lines\":[{\"line\":\"a\"}]}", CE_BAD_DOC},
        {"{\"lines\":[{\"qty\":1}]}", CE_BAD_DOC},
        {"{\"lines\":[{\"line\":\"a\",\"qty\":1},{\"line\":\"a\",\"qty\":1}]}", CE_BAD_DOC},
        {"{\"lines\":[{\"line\":\"a\",\"qty\":1},{\"line_b64\":\"YQ==\",\"qty\":1}]}", CE_BAD_DOC},
        {"{\"lines\":[{\"line\":\"a b\",\"qty\":1}]}", CE_BAD_LINE},
        {"{\"lines\":[{\"line\":\"\",\"qty\":1}]}", CE_BAD_LINE},
        {"{\"lines\":[{\"line\":\"a\",\"qty\":-1}]}", CE_BAD_QTY},
        {"{\"lines\":[],\"currency\":5}", CE_BAD_DOC},
    };
    size_t count;
    char currency[4];
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        ck_assert_msg(parse_doc(slice_str(cases[i].value), &count, currency) == cases[i].err, "%s",
                      cases[i].value);
}
END_TEST

START_TEST(a_document_has_a_thousand_lines_at_most)
{
    struct buf text = {0};
    size_t count;
    char currency[4];
    ck_assert_int_eq(buf_append_str(&text, "{\"lines\":["), 0);
    for (int i = 0; i < CART_LINES_HARD; i++)
        ck_assert_int_eq(buf_printf(&text, "{\"line\":\"l%d\",\"qty\":1},", i), 0);
    text.bytes[text.len - 1] = ']';
    ck_assert_int_eq(buf_append(&text, "}", 1), 0);
    ck_assert_int_eq(parse_doc(buf_slice(&text), &count, currency), 0);
    ck_assert_uint_eq(count, CART_LINES_HARD + 1);
    ck_assert_int_eq(kit_run(&kit, ops, count), CE_LINE_LIMIT);
    kit.limits.lines_max = CART_LINES_HARD;
    ck_assert_int_eq(kit_run(&kit, ops, count), 0);
    ck_assert_uint_eq(kit_summary(&kit).lines, CART_LINES_HARD);
    text.len -= 2;
    ck_assert_int_eq(buf_append_str(&text, ",{\"line\":\"one-more\",\"qty\":1}]}"), 0);
    ck_assert_int_eq(parse_doc(buf_slice(&text), &count, currency), CE_LINE_LIMIT);
    buf_free(&text);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        the_document_of_the_protocol,
        what_is_absent_is_left_out,
        an_expired_cart_has_no_lines,
        text_is_escaped_and_made_utf8,
        only_strict_utf8_is_text,
        strange_cart_keys,
        a_line_is_digits_or_an_object,
        what_is_no_line,
        depth_is_bounded,
        a_document_we_wrote_can_be_written_back,
        what_is_no_document,
        a_document_has_a_thousand_lines_at_most,
    };
    return kit_main("cart_json", tests, sizeof(tests) / sizeof(*tests), setup, teardown);
}

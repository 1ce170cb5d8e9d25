/* The rules of doc/rescue.md, a row each, and the memory of values. */
#include "rescue/rescue.h"
#include "suite.h"

#include <stdio.h>
#include <stdlib.h>

#define REFUSED NULL /* CE_BAD_DOC */

struct row {
    const char *base, *mine, *theirs, *want;
};

static void check_rows(const struct row *rows, size_t count)
{
    struct rescue *rescue;
    struct buf out = {0};
    ck_assert_int_eq(rescue_new(&rescue), 0);
    for (size_t i = 0; i < count; i++) {
        const struct row *row = &rows[i];
        out.len = 0;
        ck_assert_int_eq(buf_append_str(&out, "before"), 0);
        int rc = rescue_merge(rescue, slice_str(row->base), slice_str(row->mine),
                              slice_str(row->theirs), &out);
        ck_assert_int_eq(buf_append(&out, "", 1), 0);
        ck_assert_msg(rc == (row->want ? 0 : CE_BAD_DOC), "row %zu: rc %d", i, rc);
        ck_assert_msg(strcmp((char *)out.bytes + 6, row->want ? row->want : "") == 0, "row %zu: %s",
                      i, (char *)out.bytes);
    }
    buf_free(&out);
    rescue_free(&rescue);
}
#define CHECK_ROWS(rows) check_rows(rows, sizeof(rows) / sizeof *(rows))

START_TEST(maps_merge_by_key)
{
    static const struct row rows[] = {
        /* what one side left is the other's, byte for byte */
        {"{ \"a\":1}", "{\"a\" : 2}", "{ \"a\":1}", "{\"a\" : 2}"},
        {"{ \"a\":1}", "{ \"a\":1}", "{\"a\" : 2}", "{\"a\" : 2}"},
        /* both add: theirs first, ours behind */
        {"{}", "{\"a\":1}", "{\"b\":2}", "{\"b\":2,\"a\":1}"},
        {"{\"x\":0}", "{\"x\":0,\"a\":1}", "{\"x\":0,\"b\":2}", "{\"x\":0,\"b\":2,\"a\":1}"},
        /* both change the same: the last writer */
        {"{\"a\":1}", "{\"a\":2}", "{\"a\":3}", "{\"a\":2}"},
        {"{\"a\":1,\"b\":1}", "{\"a\":2,\"b\":1}", "{\"a\":1,\"b\":2}", "{\"a\":2,\"b\":2}"},
        /* removed here, as it was there: gone; changed there: it stays */
        {"{\"a\":1,\"b\":1}", "{\"b\":1}", "{\"a\":1,\"b\":2}", "{\"b\":2}"},
        {"{\"a\":1,\"b\":1}", "{\"b\":1}", "{\"a\":5,\"b\":1}", "{\"a\":5,\"b\":1}"},
        {"{\"a\":1,\"b\":1}", "{\"a\":1,\"b\":2}", "{\"b\":1}", "{\"b\":2}"},
        {"{\"a\":1,\"b\":1}", "{\"a\":5,\"b\":1}", "{\"b\":1}", "{\"b\":1,\"a\":5}"},
        /* both remove */
        {"{\"a\":1,\"b\":1}", "{\"b\":1,\"c\":1}", "{\"b\":1,\"d\":1}",
         "{\"b\":1,\"d\":1,\"c\":1}"},
        /* inner maps; an empty map that PHP wrote as a list */
        {"{\"i\":[]}", "{\"i\":{\"a\":1}}", "{\"i\":{\"b\":1}}", "{\"i\":{\"b\":1,\"a\":1}}"},
        {"{\"i\":{\"a\":1}}", "{\"i\":[]}", "{\"i\":{\"a\":1,\"b\":2}}", "{\"i\":{\"b\":2}}"},
        {"{\"i\":{\"a\":1}}", "{\"i\":{\"a\":1},\"t\":1}", "{\"i\":[]}", "{\"i\":[],\"t\":1}"},
        /* there was nothing */
        {"", "{\"a\":1}", "{\"b\":2}", "{\"b\":2,\"a\":1}"},
        /* reals and large integers keep their text */
        {"{\"p\":1.10}", "{\"p\":1.10,\"a\":1}", "{\"p\":2.50,\"n\":9223372036854775808}",
         "{\"p\":2.50,\"n\":9223372036854775808,\"a\":1}"},
        /* how it is written says nothing: spaces, order, escapes */
        {"{\"a\":{\"x\":\"\\u00e9/\",\"y\":1},\"b\":1}",
         "{\"a\": {\"y\": 1, \"x\": \"\xc3\xa9\\/\"}, \"b\": 2}", "{\"b\":1}", "{\"b\":2}"},
        {"{\"\\ud83d\\ude00\":1,\"b\":1}", "{\"b\":2}", "{\"\xf0\x9f\x98\x80\":1,\"b\":1}",
         "{\"b\":2}"},
        {"{}", "{\"\\u0061\":1}", "{\"a\":2}", "{\"a\":1}"},
    };
    CHECK_ROWS(rows);
}
END_TEST

START_TEST(quantities_merge_by_their_change)
{
    static const struct row rows[] = {
        {"{\"qty\":1}", "{\"qty\":2}", "{\"qty\":4}", "{\"qty\":5}"},
        {"{\"qty\":5}", "{\"qty\":3}", "{\"qty\":4}", "{\"qty\":2}"},
        /* two have done the same: it was done twice */
        {"{\"qty\":1}", "{\"qty\":2}", "{\"qty\":2}", "{\"qty\":3}"},
        {"", "{\"qty\":1}", "{\"qty\":1}", "{\"qty\":2}"},
        /* never below 0; the line stays */
        {"{\"qty\":5}", "{\"qty\":1}", "{\"qty\":2}", "{\"qty\":0}"},
        /* strings of digits, as forms send them; the last writer's form */
        {"{\"quantity\":\"1\"}", "{\"quantity\":\"2\"}", "{\"quantity\":\"4\"}",
         "{\"quantity\":\"5\"}"},
        {"{\"quantity\":1}", "{\"quantity\":\"2\"}", "{\"quantity\":4}", "{\"quantity\":\"5\"}"},
        /* a map of quantities */
        {"{\"quantities\":{\"a\":1}}", "{\"quantities\":{\"a\":2,\"b\":1}}",
         "{\"quantities\":{\"a\":2}}", "{\"quantities\":{\"a\":3,\"b\":1}}"},
        /* not an integer, not a quantity: the last writer */
        {"{\"qty\":1.5}", "{\"qty\":2.5}", "{\"qty\":3.5}", "{\"qty\":2.5}"},
        {"{\"qty\":\"01\"}", "{\"qty\":\"02\"}", "{\"qty\":\"03\"}", "{\"qty\":\"02\"}"},
        {"{\"price\":1}", "{\"price\":2}", "{\"price\":4}", "{\"price\":2}"},
        {"{\"amount\":1,\"total\":1}", "{\"amount\":2,\"total\":2}", "{\"amount\":4,\"total\":4}",
         "{\"amount\":2,\"total\":2}"},
        /* more than 64 bits hold */
        {"{\"qty\":0}", "{\"qty\":9223372036854775807}", "{\"qty\":1}",
         "{\"qty\":9223372036854775807}"},
        {"{\"qty\":-9223372036854775808}", "{\"qty\":1}", "{\"qty\":2}", "{\"qty\":1}"},
    };
    CHECK_ROWS(rows);
}
END_TEST

START_TEST(lists_merge_by_identity)
{
    static const struct row rows[] = {
        {"[{\"sku\":\"a\",\"qty\":1}]", "[{\"sku\":\"a\",\"qty\":1},{\"sku\":\"b\",\"qty\":1}]",
         "[{\"sku\":\"a\",\"qty\":1},{\"sku\":\"c\",\"qty\":1}]",
         "[{\"sku\":\"a\",\"qty\":1},{\"sku\":\"c\",\"qty\":1},{\"sku\":\"b\",\"qty\":1}]"},
        {"[{\"sku\":\"a\",\"qty\":1}]", "[{\"sku\":\"a\",\"qty\":2}]",
         "[{\"sku\":\"z\",\"qty\":1},{\"sku\":\"a\",\"qty\":2}]",
         "[{\"sku\":\"z\",\"qty\":1},{\"sku\":\"a\",\"qty\":3}]"},
        {"[{\"id\":1},{\"id\":2}]", "[{\"id\":2}]", "[{\"id\":1},{\"id\":2},{\"id\":3}]",
         "[{\"id\":2},{\"id\":3}]"},
        /* the first sort of identity that is each element's own: id is not */
        {"[{\"id\":1,\"sku\":\"a\"}]", "[{\"id\":1,\"sku\":\"a\"},{\"id\":1,\"sku\":\"b\"}]",
         "[{\"id\":1,\"sku\":\"a\"},{\"id\":1,\"sku\":\"c\"}]",
         "[{\"id\":1,\"sku\":\"a\"},{\"id\":1,\"sku\":\"c\"},{\"id\":1,\"sku\":\"b\"}]"},
        /* both have counted on to the same id: both stay */
        {"[]", "[{\"id\":1,\"sku\":\"a\"}]", "[{\"id\":1,\"sku\":\"b\"}]",
         "[{\"id\":1,\"sku\":\"b\"},{\"id\":1,\"sku\":\"a\"}]"},
        /* no identity: the whole list is one value */
        {"[1]", "[1,2]", "[1,3]", "[1,2]"},
        {"[{\"n\":1}]", "[{\"n\":2}]", "[{\"n\":3}]", "[{\"n\":2}]"},
        {"{\"c\":[\"x\"],\"a\":1}", "{\"c\":[\"x\",\"y\"],\"a\":1}", "{\"c\":[\"x\"],\"a\":2}",
         "{\"c\":[\"x\",\"y\"],\"a\":2}"},
    };
    CHECK_ROWS(rows);
}
END_TEST

#define LINE(sku, qty) "a:2:{s:3:\"sku\";s:1:\"" sku "\";s:3:\"qty\";i:" qty ";}"

START_TEST(php_arrays_merge)
{
    static const struct row rows[] = {
        {"a:1:{s:1:\"a\";i:1;}", "a:2:{s:1:\"a\";i:1;s:1:\"b\";d:0.10000000000000001;}",
         "a:2:{s:1:\"a\";i:2;i:7;b:1;}",
         "a:3:{s:1:\"a\";i:2;i:7;b:1;s:1:\"b\";d:0.10000000000000001;}"},
        /* a list of lines, numbered anew */
        {"a:2:{i:0;" LINE("a", "1") "i:1;" LINE("b", "1") "}",
         "a:2:{i:0;" LINE("b", "1") "i:1;" LINE("c", "1") "}",
         "a:3:{i:0;" LINE("a", "1") "i:1;" LINE("b", "3") "i:2;" LINE("d", "1") "}",
         "a:3:{i:0;" LINE("b", "3") "i:1;" LINE("d", "1") "i:2;" LINE("c", "1") "}"},
        /* a list from which an element was taken is a map */
        {"a:2:{i:0;" LINE("a", "1") "i:1;" LINE("b", "1") "}", "a:1:{i:1;" LINE("b", "1") "}",
         "a:2:{i:0;" LINE("a", "1") "i:1;" LINE("b", "4") "}", "a:1:{i:1;" LINE("b", "4") "}"},
        /* ... where both have added under the same number, both stay */
        {"a:1:{i:1;" LINE("b", "1") "}", "a:2:{i:1;" LINE("b", "1") "i:2;" LINE("c", "1") "}",
         "a:2:{i:1;" LINE("b", "1") "i:2;" LINE("d", "1") "}",
         "a:3:{i:1;" LINE("b", "1") "i:2;" LINE("d", "1") "i:3;" LINE("c", "1") "}"},
        /* ... and the same line there is one line */
        {"a:1:{i:1;" LINE("b", "1") "}", "a:2:{i:1;" LINE("b", "1") "i:2;" LINE("c", "1") "}",
         "a:2:{i:1;" LINE("b", "1") "i:2;" LINE("c", "1") "}",
         "a:2:{i:1;" LINE("b", "1") "i:2;" LINE("c", "2") "}"},
        {"a:0:{}", "a:1:{s:3:\"qty\";s:1:\"9\";}", "a:1:{s:3:\"qty\";s:1:\"3\";}",
         "a:1:{s:3:\"qty\";s:2:\"12\";}"},
        /* a serialised array within a string, as WooCommerce's sessions have */
        {"a:1:{s:4:\"cart\";s:22:\"a:1:{s:3:\"qty\";i:1;}  \";}",
         "a:1:{s:4:\"cart\";s:20:\"a:1:{s:3:\"qty\";i:2;}\";}",
         "a:1:{s:4:\"cart\";s:20:\"a:1:{s:3:\"qty\";i:3;}\";}",
         "a:1:{s:4:\"cart\";s:20:\"a:1:{s:3:\"qty\";i:2;}\";}"}, /* base is not one: last writer */
        {"a:1:{s:4:\"cart\";s:20:\"a:1:{s:3:\"qty\";i:8;}\";}",
         "a:1:{s:4:\"cart\";s:20:\"a:1:{s:3:\"qty\";i:9;}\";}",
         "a:1:{s:4:\"cart\";s:21:\"a:1:{s:3:\"qty\";i:13;}\";}",
         "a:1:{s:4:\"cart\";s:21:\"a:1:{s:3:\"qty\";i:14;}\";}"},
        {"a:1:{s:4:\"cart\";s:2:\"[]\";}", "a:1:{s:4:\"cart\";s:7:\"{\"a\":1}\";}",
         "a:1:{s:4:\"cart\";s:7:\"{\"b\":2}\";}", "a:1:{s:4:\"cart\";s:13:\"{\"b\":2,\"a\":1}\";}"},
    };
    CHECK_ROWS(rows);
}
END_TEST

START_TEST(php_sessions_merge)
{
    static const struct row rows[] = {
        {"user|i:7;cart|a:1:{s:1:\"a\";i:1;}", "user|i:7;cart|a:2:{s:1:\"a\";i:1;s:1:\"b\";i:1;}",
         "user|i:7;cart|a:2:{s:1:\"a\";i:1;s:1:\"c\";i:1;}seen|N;",
         "user|i:7;cart|a:3:{s:1:\"a\";i:1;s:1:\"c\";i:1;s:1:\"b\";i:1;}seen|N;"},
        {"", "a|i:1;", "b|i:2;", "b|i:2;a|i:1;"},
    };
    CHECK_ROWS(rows);
}
END_TEST

START_TEST(other_shapes_are_refused)
{
    static const struct row rows[] = {
        {"{}", "{}", "", REFUSED},
        {"{}", "{} x", "{}", REFUSED},
        {"{}", "{\"a\":1,}", "{}", REFUSED},
        {"{}", "{\"a\":01}", "{}", REFUSED},
        {"{}", "{\"a\":1.}", "{}", REFUSED},
        {"{}", "{\"a\":\"\\x\"}", "{}", REFUSED},
        {"{}", "{\"a\":\"\n\"}", "{}", REFUSED},
        {"{}", "{\"a\":\"\\u12g4\"}", "{}", REFUSED},
        {"{}", "{\"a\":tru}", "{}", REFUSED},
        {"{}", "{a:1}", "{}", REFUSED},
        {"{}", "{\"a\":1", "{}", REFUSED},
        {"{}", "[1", "[]", REFUSED},
        {"1", "2", "3", REFUSED},
        {"{}", "[1]", "{\"a\":1}", REFUSED},                      /* a list and a map */
        {"{}", "a:0:{}", "{}", REFUSED},                          /* two formats */
        {"{\"a\":1}", "{\"a\":1,\"a\":2}", "{\"b\":1}", REFUSED}, /* a name twice */
        {"a:0:{}", "O:8:\"stdClass\":0:{}", "a:0:{}", REFUSED},
        {"a:0:{}", "a:1:{i:0;O:8:\"stdClass\":0:{}}", "a:0:{}", REFUSED},
        {"a:0:{}", "a:2:{i:0;a:0:{}i:1;R:2;}", "a:0:{}", REFUSED},
        {"a:0:{}", "a:2:{i:0;i:1;}", "a:0:{}", REFUSED},
        {"a:0:{}", "a:1:{i:0;i:1;i:1;i:1;}", "a:0:{}", REFUSED},
        {"a:0:{}", "a:1:{i:0;i:01;}", "a:0:{}", REFUSED},
        {"a:0:{}", "a:1:{i:0;i:+1;}", "a:0:{}", REFUSED},
        {"a:0:{}", "a:1:{i:0;b:2;}", "a:0:{}", REFUSED},
        {"a:0:{}", "a:1:{i:0;d:x;}", "a:0:{}", REFUSED},
        {"a:0:{}", "a:1:{i:0;s:9:\"ab\";}", "a:0:{}", REFUSED},
        {"a:0:{}", "a:1:{i:0;s:-1:\"\";}", "a:0:{}", REFUSED},
        {"a:0:{}", "a:1:{d:1;i:0;}", "a:0:{}", REFUSED},
        {"a:0:{}", "a:-1:{}", "a:0:{}", REFUSED},
        {"a:0:{}", "a:1:{i:0;N}", "a:0:{}", REFUSED},
        {"a|N;", "a|N;|N;", "a|N;", REFUSED},
        {"a|N;", "a|N;b", "a|N;", REFUSED},
    };
    CHECK_ROWS(rows);
}
END_TEST

/* `count` times what opens, then what closes. */
static int merge_repeated(const char *open, const char *inner, const char *close, size_t count)
{
    struct rescue *rescue;
    struct buf text = {0}, out = {0};
    ck_assert_int_eq(rescue_new(&rescue), 0);
    for (size_t i = 0; i < count; i++)
        ck_assert_int_eq(buf_append_str(&text, open), 0);
    ck_assert_int_eq(buf_append_str(&text, inner), 0);
    for (size_t i = 0; i < count; i++)
        ck_assert_int_eq(buf_append_str(&text, close), 0);
    int rc = rescue_merge(rescue, slice_str(""), buf_slice(&text), buf_slice(&text), &out);
    buf_free(&text);
    buf_free(&out);
    rescue_free(&rescue);
    return rc;
}

static int merge_long(const char *before, size_t len, const char *behind)
{
    struct rescue *rescue;
    struct buf text = {0}, out = {0};
    ck_assert_int_eq(rescue_new(&rescue), 0);
    ck_assert_int_eq(buf_append_str(&text, before), 0);
    size_t fill = len - strlen(before) - strlen(behind);
    ck_assert_int_eq(buf_reserve(&text, len), 0);
    memset(text.bytes + text.len, 'x', fill);
    text.len += fill;
    ck_assert_int_eq(buf_append_str(&text, behind), 0);
    int rc = rescue_merge(rescue, slice_str(""), buf_slice(&text), buf_slice(&text), &out);
    buf_free(&text);
    buf_free(&out);
    rescue_free(&rescue);
    return rc;
}

START_TEST(limits_hold)
{
    ck_assert_int_eq(merge_repeated("[", "", "]", RESCUE_DEPTH_MAX), 0);
    ck_assert_int_eq(merge_repeated("[", "", "]", RESCUE_DEPTH_MAX + 1), CE_BAD_DOC);
    ck_assert_int_eq(merge_repeated("a:1:{i:0;", "N;", "}", RESCUE_DEPTH_MAX), 0);
    ck_assert_int_eq(merge_repeated("a:1:{i:0;", "N;", "}", RESCUE_DEPTH_MAX + 1), CE_BAD_DOC);
    ck_assert_int_eq(merge_long("{\"a\":\"", RESCUE_BYTES_MAX, "\"}"), 0);
    ck_assert_int_eq(merge_long("{\"a\":\"", RESCUE_BYTES_MAX + 1, "\"}"), CE_BAD_DOC);
}
END_TEST

static int merge_list_of(size_t elements)
{
    struct rescue *rescue;
    struct buf text = {0}, out = {0};
    ck_assert_int_eq(rescue_new(&rescue), 0);
    ck_assert_int_eq(buf_reserve(&text, 2 * elements), 0);
    for (size_t i = 0; i < elements; i++, text.len += 2)
        memcpy(text.bytes + text.len, i ? ",1" : "[1", 2);
    ck_assert_int_eq(buf_append_str(&text, "]"), 0);
    int rc = rescue_merge(rescue, slice_str(""), buf_slice(&text), buf_slice(&text), &out);
    ck_assert(rc || slice_eq(buf_slice(&out), buf_slice(&text)));
    buf_free(&text);
    buf_free(&out);
    rescue_free(&rescue);
    return rc;
}

START_TEST(nodes_have_a_limit)
{
    ck_assert_int_eq(merge_list_of(RESCUE_NODES_MAX - 1), 0); /* and the list itself */
    ck_assert_int_eq(merge_list_of(RESCUE_NODES_MAX), CE_BAD_DOC);
}
END_TEST

/* ---- what a client knows ---- */

START_TEST(a_client_knows_the_last_keys_for_a_while)
{
    struct rescue_seen seen = {0};
    uint64_t cas = 99;
    ck_assert(!rescue_seen_find(&seen, 0, 5, &cas));
    for (uint64_t key = 0; key < RESCUE_SEEN_MAX; key++)
        rescue_seen_put(&seen, key, key + 100, 5);
    rescue_seen_put(&seen, 3, 0, 6); /* the same key again takes no other's place */
    for (uint64_t key = 0; key < RESCUE_SEEN_MAX; key++) {
        ck_assert(rescue_seen_find(&seen, key, 5 + RESCUE_SEEN_S, &cas));
        ck_assert_uint_eq(cas, key == 3 ? 0 : key + 100);
        ck_assert(rescue_seen_find(&seen, key, 6 + RESCUE_SEEN_S, &cas) == (key == 3));
    }
    rescue_seen_put(&seen, RESCUE_SEEN_MAX, 7, 7);
    ck_assert(!rescue_seen_find(&seen, 0, 7, &cas)); /* the oldest made room */
    ck_assert(rescue_seen_find(&seen, 1, 7, &cas));
    rescue_seen_drop(&seen, 1);
    rescue_seen_drop(&seen, 1);
    ck_assert(!rescue_seen_find(&seen, 1, 7, &cas));
    ck_assert(rescue_seen_find(&seen, RESCUE_SEEN_MAX, 7, &cas));
}
END_TEST

/* ---- recent values ---- */

START_TEST(a_value_is_found_by_key_and_cas)
{
    struct rescue_recent *recent;
    struct buf out = {0};
    ck_assert_int_eq(rescue_recent_new(1 << 20, &recent), 0);
    rescue_recent_keep(recent, 7, 1, slice_str("one"));
    rescue_recent_keep(recent, 7, 2, slice_str("two"));
    rescue_recent_keep(recent, 7, 2, slice_str("not again"));
    ck_assert_int_eq(rescue_recent_find(recent, 7, 2, &out), 0);
    ck_assert(slice_eq(buf_slice(&out), slice_str("two")));
    ck_assert_int_eq(rescue_recent_find(recent, 7, 1, &out), 0);
    ck_assert(slice_eq(buf_slice(&out), slice_str("one")));
    ck_assert_int_eq(rescue_recent_find(recent, 7, 3, &out), CE_NOTFOUND);
    ck_assert_int_eq(rescue_recent_find(recent, 8, 1, &out), CE_NOTFOUND);
    buf_free(&out);
    rescue_recent_free(&recent);
}
END_TEST

START_TEST(the_oldest_make_room_and_the_limit_holds)
{
    enum { VALUES = 4000, LEN = 1000, LIMIT = 1 << 20 };
    struct rescue_recent *recent;
    struct buf out = {0};
    char value[LEN];
    unsigned kept = 0;
    bool fits = true;
    memset(value, 'v', sizeof value);
    ck_assert_int_eq(rescue_recent_new(LIMIT, &recent), 0);
    for (uint64_t cas = 1; cas <= VALUES; cas++) {
        rescue_recent_keep(recent, 7, cas, slice_of(value, LEN));
        fits = fits && rescue_recent_find(recent, 7, cas, &out) == 0 &&
               rescue_recent_bytes(recent) <= LIMIT;
    }
    ck_assert(fits);
    for (uint64_t cas = 1; cas <= VALUES; cas++)
        kept += rescue_recent_find(recent, 7, cas, &out) == 0;
    ck_assert_uint_ge(kept * LEN, LIMIT / 2);
    ck_assert_int_eq(rescue_recent_find(recent, 7, 1, &out), CE_NOTFOUND);
    buf_free(&out);
    rescue_recent_free(&recent);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("rescue");
    TCase *rules = tcase_create("rules"), *recent = tcase_create("recent");
    tcase_add_test(rules, maps_merge_by_key);
    tcase_add_test(rules, quantities_merge_by_their_change);
    tcase_add_test(rules, lists_merge_by_identity);
    tcase_add_test(rules, php_arrays_merge);
    tcase_add_test(rules, php_sessions_merge);
    tcase_add_test(rules, other_shapes_are_refused);
    tcase_add_test(rules, limits_hold);
    tcase_add_test(rules, nodes_have_a_limit);
    tcase_add_test(recent, a_client_knows_the_last_keys_for_a_while);
    tcase_add_test(recent, a_value_is_found_by_key_and_cas);
    tcase_add_test(recent, the_oldest_make_room_and_the_limit_holds);
    suite_add_tcase(suite, rules);
    suite_add_tcase(suite, recent);
    return suite_run(suite);
}

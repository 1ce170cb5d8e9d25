/* proto_glance: the key of each of many requests in a buffer, and never a byte behind its end. */
#include "proto/proto.h"
#include "lib/suite.h"

#include <stdlib.h>

/* Glances at `text` in memory of exactly its size. */
static bool glance(struct slice text, bool is_binary, size_t *used, char key_text[64])
{
    uint8_t *copy = malloc(text.len + !text.len);
    ck_assert_ptr_nonnull(copy);
    if (text.len)
        memcpy(copy, text.bytes, text.len);
    struct slice in = slice_of(copy, text.len), key = slice_of(NULL, 0);
    bool whole = proto_glance(&in, is_binary, &key);
    *used = whole ? text.len - in.len : 0;
    ck_assert_uint_lt(key.len, 64);
    if (whole && key.len)
        memcpy(key_text, key.bytes, key.len);
    key_text[whole ? key.len : 0] = 0;
    free(copy);
    return whole;
}

START_TEST(the_key_of_a_line_is_its_second_word)
{
    static const struct {
        const char *line, *key;
    } table[] = {
        {"get a\r\n", "a"},
        {"get key other\r\n", "key"},
        {"gets key\n", "key"},
        {"mg key v t\r\n", "key"},
        {"set key 0 0 1\r\n", "key"},
        {"cadd cart:1 SKU-1 2 P5\r\n", "cart:1"},
        {"replace 8 0 0 1\r\n", "8"},
        {"cgetcget9 key\r\n", ""}, /* no command with a key is so long */
        {"version\r\n", ""},
        {"mn\r\n", ""},
        {"get  key\r\n", ""}, /* not worth a second look */
        {"\r\n", ""},
        {"\n", ""},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct slice line = slice_str(table[i].line);
        char key[64];
        size_t used;
        for (size_t len = 0; len < line.len; len++)
            ck_assert(!glance(slice_of(line.bytes, len), false, &used, key));
        ck_assert(glance(line, false, &used, key));
        ck_assert_uint_eq(used, line.len);
        ck_assert_str_eq(key, table[i].key);
    }
}
END_TEST

START_TEST(lines_are_stepped_over_one_by_one)
{
    struct slice in = slice_str("get one\r\nset two 0 0 5\r\nvalue\r\nget three\r\nget fo"), key;
    static const char *const keys[] = {"one", "two", "", "three"};
    for (unsigned i = 0; i < 4; i++) {
        ck_assert(proto_glance(&in, false, &key));
        ck_assert(slice_eq(key, slice_str(keys[i])));
    }
    ck_assert(!proto_glance(&in, false, &key));
}
END_TEST

/* A SET: head, 8 bytes of extras, key, value. */
START_TEST(a_binary_key_stands_behind_the_extras)
{
    uint8_t bytes[24 + 8 + 3 + 5 + 24] = {0x80, 0x01, 0, 3, 8, [11] = 16};
    struct slice whole = slice_of(bytes, sizeof bytes), first = slice_of(bytes, 40);
    char key[64];
    size_t used;
    memcpy(bytes + 32, "key", 3);
    bytes[40] = 0x80;
    for (size_t len = 0; len < 35; len++)
        ck_assert(!glance(slice_of(bytes, len), true, &used, key));
    for (size_t len = 35; len < first.len; len++) { /* the value is still to come */
        ck_assert(glance(slice_of(bytes, len), true, &used, key));
        ck_assert_uint_eq(used, len);
    }
    ck_assert(glance(whole, true, &used, key));
    ck_assert_uint_eq(used, 40);
    ck_assert_str_eq(key, "key");
    ck_assert(glance(slice_from(whole, used), true, &used, key));
    ck_assert_uint_eq(used, 24);
    ck_assert_str_eq(key, "");
}
END_TEST

START_TEST(lengths_that_do_not_add_up_are_passed_over)
{
    uint8_t bytes[40] = {0x80, 0x01, 0, 3, 8, [8] = 0xff, 0xff, 0xff, 0xff};
    char key[64];
    size_t used;
    ck_assert(glance(slice_of(bytes, sizeof bytes), true, &used, key));
    ck_assert_uint_eq(used, sizeof bytes);
    bytes[2] = 0xff; /* a key longer than what there is */
    ck_assert(!glance(slice_of(bytes, sizeof bytes), true, &used, key));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("proto_glance");
    TCase *tests = tcase_create("glance");
    tcase_add_test(tests, the_key_of_a_line_is_its_second_word);
    tcase_add_test(tests, lines_are_stepped_over_one_by_one);
    tcase_add_test(tests, a_binary_key_stands_behind_the_extras);
    tcase_add_test(tests, lengths_that_do_not_add_up_are_passed_over);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}

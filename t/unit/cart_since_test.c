/* What changed since a version (cget N): for every version of a history, the lines written after it
 * and the keys of all, from which a reader with the document of that version makes the one of now.
 */
#include "cart_kit.h"

#include <jansson.h>
#include <string.h>

#define STEPS 60

static struct kit kit;

static void setup(void)
{
    kit_init(&kit, 7ull << 32);
}

static void teardown(void)
{
    kit_fini(&kit);
}

static json_t *parse(const struct buf *text)
{
    json_error_t error;
    json_t *document =
        json_loadb((const char *)text->bytes, text->len, JSON_REJECT_DUPLICATES, &error);
    ck_assert_msg(document != NULL, "%s", error.text);
    return document;
}

static json_t *read_since(uint64_t version)
{
    struct buf text = {0};
    ck_assert_int_eq(
        cart_json_since(kit_state(&kit), kit.step.now_us, slice_str("cart:u1"), version, &text), 0);
    json_t *document = parse(&text);
    buf_free(&text);
    return document;
}

static json_t *read_all(void)
{
    struct buf text = {0};
    ck_assert_int_eq(
        cart_json(kit_state(&kit), kit.step.now_us, slice_str("cart:u1"), CART_JSON_ALL, &text), 0);
    json_t *document = parse(&text);
    buf_free(&text);
    return document;
}

static const json_t *find_line(const json_t *document, const char *key)
{
    const json_t *lines = json_object_get(document, "lines");
    for (size_t i = 0; i < json_array_size(lines); i++) {
        const json_t *line = json_array_get(lines, i);
        if (strcmp(json_string_value(json_object_get(line, "line")), key) == 0)
            return line;
    }
    return NULL;
}

/* `old` and what changed make `now`. */
static void expect_update(const json_t *old, const json_t *changes, json_t *now)
{
    const json_t *keys = json_object_get(changes, "keys");
    json_t *made = json_deep_copy(changes), *lines = json_array();
    for (size_t i = 0; i < json_array_size(keys); i++) {
        const char *key = json_string_value(json_array_get(keys, i));
        const json_t *line = find_line(changes, key);
        line = line ? line : find_line(old, key);
        ck_assert_msg(line != NULL, "nobody says what %s is", key);
        json_array_append_new(lines, json_deep_copy(line));
    }
    json_object_set_new(made, "lines", lines);
    json_object_del(made, "keys");
    json_object_del(made, "since");
    ck_assert(json_equal(made, now));
    json_decref(made);
}

static void step(unsigned number)
{
    char line[2] = {(char)('a' + number * 7 % 5), 0}, other[2] = {(char)('a' + number * 3 % 5), 0};
    struct cart_op op = {.kind = CART_ADD, .line = slice_str(line), .n = 1};
    switch (number % 6) {
    case 1: op.kind = CART_REMOVE; break;
    case 2:
        op.kind = CART_SET;
        op.n = number;
        break;
    case 3: op = (struct cart_op){.kind = CART_CHECK, .n = number % 4 == 3}; break;
    case 4:
        op.kind = CART_SWAP;
        op.new_line = slice_str(other);
        break;
    default: break;
    }
    if (kit_op(&kit, op)) /* of a line that is not there */
        ck_assert_int_eq(kit_add(&kit, line, 1), 0);
}

START_TEST(every_version_of_a_history)
{
    json_t *documents[STEPS + 1] = {0};
    for (unsigned i = 0; i < STEPS; i++) {
        step(i);
        uint64_t version = kit_summary(&kit).version;
        ck_assert_uint_le(version, STEPS);
        json_decref(documents[version]);
        documents[version] = read_all();
    }
    uint64_t last = kit_summary(&kit).version;
    ck_assert_uint_gt(last, STEPS / 2);
    for (uint64_t version = 1; version < last; version++) {
        json_t *changes = read_since(version);
        ck_assert_int_eq(json_integer_value(json_object_get(changes, "since")),
                         (json_int_t)version);
        expect_update(documents[version], changes, documents[last]);
        json_decref(changes);
    }
    for (size_t i = 0; i <= STEPS; i++)
        json_decref(documents[i]);
}
END_TEST

static void expect_whole(uint64_t version)
{
    json_t *told = read_since(version), *whole = read_all();
    ck_assert(json_equal(told, whole));
    json_decref(told);
    json_decref(whole);
}

START_TEST(a_version_that_is_none_gives_the_whole_document)
{
    kit_add(&kit, "a", 1);
    kit_add(&kit, "b", 1);
    expect_whole(0);
    expect_whole(3);
    expect_whole(UINT64_MAX);
}
END_TEST

START_TEST(actors_that_came_one_after_the_other)
{
    kit_add(&kit, "a", 1);
    kit_add(&kit, "b", 1);
    json_t *old = read_all();
    kit.step.actor = 8ull << 32; /* minted in a later second */
    kit_add(&kit, "c", 1);
    kit_add(&kit, "a", 1);
    json_t *changes = read_since(2), *now = read_all();
    ck_assert_uint_eq(json_array_size(json_object_get(changes, "lines")), 2);
    expect_update(old, changes, now);
    json_decref(changes);
    changes = read_since(3);
    ck_assert_uint_eq(json_array_size(json_object_get(changes, "lines")), 1);
    json_decref(changes);
    json_decref(now);
    json_decref(old);
}
END_TEST

START_TEST(histories_that_may_have_run_side_by_side)
{
    struct kit other;
    kit_init(&other, 7ull << 32 | 1); /* minted in the same second */
    kit_add(&kit, "a", 1);
    kit_add(&other, "b", 1);
    ck_assert_int_eq(kit_merge(&kit, &other), 0);
    expect_whole(1);
    kit_fini(&other);
}
END_TEST

START_TEST(a_key_that_is_no_text_gives_the_whole_document)
{
    kit_add(&kit, "a", 1);
    kit_add(&kit, "\xff", 1);
    expect_whole(1);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        every_version_of_a_history, a_version_that_is_none_gives_the_whole_document,
        actors_that_came_one_after_the_other, histories_that_may_have_run_side_by_side,
        a_key_that_is_no_text_gives_the_whole_document};
    return kit_main("cart_since", tests, sizeof(tests) / sizeof(*tests), setup, teardown);
}

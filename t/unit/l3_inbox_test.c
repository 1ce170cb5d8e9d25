/* l3: rows of the inbox are taken once, in their order, and settled. */
#include "lib/l3_fixture.h"
#include "lib/suite.h"

#include <stdio.h>

static struct l3_inbox_row rows[L3_INBOX_ROWS_MAX];
static size_t count;

static void put(const char *values)
{
    char sql[512];
    snprintf(sql, sizeof sql, "INSERT INTO cart_inbox (cart_id, command, token) VALUES %s", values);
    execute_raw(sql);
}

static void take(size_t max, size_t wanted)
{
    ck_assert_msg(l3_inbox_take(l3, T0_US, rows, max, &count) == 0, "%s", l3_message(l3));
    ck_assert_uint_eq(count, wanted);
}

static void check_row(size_t at, const char *key, const char *command, const char *token)
{
    ck_assert(slice_eq(buf_slice(&rows[at].key), slice_str(key)));
    ck_assert(slice_eq(buf_slice(&rows[at].command), slice_str(command)));
    ck_assert(slice_eq(buf_slice(&rows[at].token), slice_str(token)));
    ck_assert_int_eq(rows[at].fate, L3_INBOX_OPEN);
}

static void free_rows(void)
{
    for (size_t i = 0; i < L3_INBOX_ROWS_MAX; i++) {
        buf_free(&rows[i].key);
        buf_free(&rows[i].command);
        buf_free(&rows[i].token);
    }
}

START_TEST(a_row_is_taken_once_in_its_order)
{
    open_l3();
    take(10, 0);
    put("('cart:b', 'cadd X 1', NULL), ('cart:a', 'cdel', 't'), ('cart:c', 'cclr', '')");
    take(2, 2);
    check_row(0, "cart:b", "cadd X 1", "");
    check_row(1, "cart:a", "cdel", "t");
    ck_assert_int_lt(rows[0].id, rows[1].id);
    ck_assert_uint_eq(rows[0].taken_us, T0_US);
    expect("SELECT cart_id, status, $time(taken_at) FROM cart_inbox WHERE taken_at IS NOT NULL "
           "ORDER BY id",
           "cart:b|taken|" T0_TEXT "\ncart:a|taken|" T0_TEXT "\n");
    take(10, 1);
    check_row(0, "cart:c", "cclr", "");
    take(10, 0);
}
END_TEST

START_TEST(what_was_taken_and_not_settled_is_found_again)
{
    open_l3();
    put("('cart:a', 'cadd X 1', NULL), ('cart:b', 'cadd Y 1', 't')");
    take(10, 2);
    int64_t first = rows[0].id, second = rows[1].id;
    put("('cart:new', 'cdel', NULL)");
    ck_assert_int_eq(l3_inbox_left(l3, 0, rows, 1, &count), 0);
    ck_assert_uint_eq(count, 1);
    check_row(0, "cart:a", "cadd X 1", "");
    ck_assert_int_eq(rows[0].id, first);
    ck_assert_uint_eq(rows[0].taken_us / 1000000, T0_US / 1000000);
    ck_assert_int_eq(l3_inbox_left(l3, first, rows, 10, &count), 0);
    ck_assert_uint_eq(count, 1);
    check_row(0, "cart:b", "cadd Y 1", "t");
    ck_assert_int_eq(l3_inbox_left(l3, second, rows, 10, &count), 0);
    ck_assert_uint_eq(count, 0);
}
END_TEST

START_TEST(done_rows_go_failed_ones_stay_with_a_reason_open_ones_as_they_are)
{
    open_l3();
    put("('cart:1', 'cdel', NULL), ('cart:2', 'cdel', NULL), ('cart:3', 'cdel', NULL)");
    take(10, 3);
    rows[0].fate = L3_INBOX_DONE;
    rows[2].fate = L3_INBOX_FAILED;
    snprintf(rows[2].reason, sizeof rows[2].reason, "it isn't there");
    ck_assert_msg(l3_inbox_settle(l3, rows, 3) == 0, "%s", l3_message(l3));
    expect("SELECT cart_id, status, reason FROM cart_inbox ORDER BY id",
           "cart:2|taken|~\ncart:3|failed|it isn't there\n");
    take(10, 0);
    execute_raw("UPDATE cart_inbox SET status = 'new' WHERE cart_id = 'cart:3'");
    take(10, 1);
    ck_assert_int_eq(l3_inbox_settle(l3, rows, 1), 0); /* nothing to settle */
    expect("SELECT cart_id, status FROM cart_inbox ORDER BY id", "cart:2|taken\ncart:3|taken\n");
}
END_TEST

START_TEST(keys_are_read_as_cartd_writes_them)
{
    static const char *const values[] = {"(X'636172743aff', 'cdel', NULL)",
                                         "('\\x636172743aff', 'cdel', NULL)",
                                         "('\\\\x636172743aff', 'cdel', NULL)"};
    open_l3();
    put(values[kind]);
    put("('cart:\xc3\xa9', 'cdel', NULL)");
    take(10, 2);
    check_row(0, "cart:\xff", "cdel", "");
    check_row(1, "cart:\xc3\xa9", "cdel", "");
}
END_TEST

START_TEST(a_command_comes_cut_and_an_odd_key_as_it_stands)
{
    static char sql[2 * L3_INBOX_COMMAND_CHARS];
    open_l3();
    put(kind == ON_MYSQL ? "('\\\\xzz', 'cdel', NULL)" : "('\\xzz', 'cdel', NULL)");
    size_t len = (size_t)snprintf(sql, sizeof sql,
                                  "INSERT INTO cart_inbox (cart_id, command) "
                                  "VALUES ('cart:1', '");
    memset(sql + len, 'x', L3_INBOX_COMMAND_CHARS + 9);
    strcpy(sql + len + L3_INBOX_COMMAND_CHARS + 9, "')");
    execute_raw(sql);
    take(10, 2);
    check_row(0, "\\xzz", "cdel", "");
    ck_assert_uint_eq(rows[1].command.len, L3_INBOX_COMMAND_CHARS + 1);
}
END_TEST

static void add_kind(Suite *suite, const struct kind_case *on)
{
    TCase *tcase = tcase_create(on->name);
    tcase_add_checked_fixture(tcase, on->set_up, tear_down);
    tcase_add_checked_fixture(tcase, NULL, free_rows);
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, a_row_is_taken_once_in_its_order);
    tcase_add_test(tcase, what_was_taken_and_not_settled_is_found_again);
    tcase_add_test(tcase, done_rows_go_failed_ones_stay_with_a_reason_open_ones_as_they_are);
    tcase_add_test(tcase, keys_are_read_as_cartd_writes_them);
    tcase_add_test(tcase, a_command_comes_cut_and_an_odd_key_as_it_stands);
    suite_add_tcase(suite, tcase);
}

int main(void)
{
    return run_on_all_kinds("l3_inbox", add_kind, NULL);
}

/* l3: a call of SQLite's for memory, or to the file, fails. Whatever was being done, the lock that
 * all writers of the file share is free again, for other connections of this program, too. */
#include "lib/fail_nth.h"
#include "lib/l3_fixture.h"
#include "lib/suite.h"

#include <errno.h>

#define CARTS 3

static sqlite3 *other; /* another connection of this program, as that of the inbox */
static struct l3_inbox_row row;
static uint32_t rev;

static void set_up_other(void)
{
    set_up();
    open_l3();
    other = open_raw();
    ck_assert_int_eq(sqlite3_busy_timeout(other, 0), SQLITE_OK); /* don't wait here */
}

static void tear_down_other(void)
{
    fail_nth_disarm();
    buf_free(&row.key);
    buf_free(&row.command);
    buf_free(&row.token);
    ck_assert_int_eq(sqlite3_close(other), SQLITE_OK);
    tear_down();
}

/* ---- what is tried: all transactions ---- */

static int flush_carts(void)
{
    static const char *const keys[CARTS] = {"cart:1", "cart:2", "cart:3"};
    struct l3_line line = make_line("A", (int64_t)rev + 1);
    struct l3_cart carts[CARTS];
    for (int i = 0; i < CARTS; i++)
        carts[i] = make_cart(keys[i], rev, &line, 1);
    int err = l3_flush(l3, carts, CARTS);
    rev += !err && carts[0].outcome == L3_DONE;
    return err;
}

static int put_event(void)
{
    struct l3_event event = {.id = "00000000-0000-8000-8000-00000000000a",
                             .type = "cart.expired",
                             .key = slice_str("cart:1"),
                             .payload = slice_str("{}")};
    return l3_put_events(l3, &event, 1);
}

static int take_and_settle(void)
{
    size_t count = 0;
    int err = l3_inbox_take(l3, T0_US, &row, 1, &count);
    row.fate = L3_INBOX_DONE;
    return err || count == 0 ? err : l3_inbox_settle(l3, &row, 1);
}

static int open_and_flush(void)
{
    char message[256] = "";
    l3_close(&l3);
    int err = l3_open(url, &l3, message, sizeof message);
    return err ? err : flush_carts();
}

/* ---- trying ---- */

static void expect_free(const char *when, int nth)
{
    ck_assert_msg(sqlite3_exec(other, "BEGIN IMMEDIATE; ROLLBACK", NULL, NULL, NULL) == SQLITE_OK,
                  "%s, call %d (%s): %s", when, nth, fail_nth_last(), sqlite3_errmsg(other));
}

/* Each call in turn fails, once or with all behind it; it does so in the closing, too. */
static void fail_each(uint32_t kinds, int lasting, int (*work)(void))
{
    bool hit = true;
    for (int nth = 1; hit; nth++) {
        if (!l3)
            open_l3();
        execute_raw("INSERT INTO cart_inbox (cart_id, command) VALUES ('cart:1', 'cdel')");
        fail_nth_arm(kinds, nth, lasting, EIO, NULL);
        int err = work();
        hit = fail_nth_disarm() > 0;
        if (err)
            expect_free("after the error", nth);
        fail_nth_arm(kinds, 1, lasting, EIO, NULL);
        if (err)
            l3_close(&l3);
        fail_nth_disarm();
        expect_free("at the end", nth);
    }
    ck_assert_int_eq(work(), 0);
}

static void fail_each_of_all(uint32_t kinds, int lasting)
{
    fail_each(kinds, lasting, flush_carts);
    fail_each(kinds, lasting, put_event);
    fail_each(kinds, lasting, take_and_settle);
}

START_TEST(memory_that_fails_leaves_no_lock)
{
    fail_each_of_all(FAIL_IN(SQL_MEMORY), 0);
}
END_TEST

START_TEST(memory_that_goes_on_failing_leaves_no_lock)
{
    fail_each_of_all(FAIL_IN(SQL_MEMORY), 1);
}
END_TEST

START_TEST(memory_that_fails_while_opening_leaves_no_lock)
{
    fail_each(FAIL_IN(SQL_MEMORY), 1, open_and_flush);
}
END_TEST

START_TEST(a_file_that_fails_leaves_no_lock)
{
    fail_each_of_all(FAIL_IN(SQL_FILE), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("l3_fault");
    TCase *tcase = tcase_create("sqlite");
    tcase_add_checked_fixture(tcase, set_up_other, tear_down_other);
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, memory_that_fails_leaves_no_lock);
    tcase_add_test(tcase, memory_that_goes_on_failing_leaves_no_lock);
    tcase_add_test(tcase, memory_that_fails_while_opening_leaves_no_lock);
    tcase_add_test(tcase, a_file_that_fails_leaves_no_lock);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}

/* l3: events in the outbox, and a database that was made before there was one. */
#include "lib/l3_fixture.h"
#include "lib/suite.h"

static struct l3_event make_event(const char *id, const char *payload)
{
    struct l3_event event = {.type = "cart.expired",
                             .key = slice_str("cart:u1"),
                             .payload = slice_str(payload),
                             .version = 42,
                             .created_us = T0_US,
                             .outcome = L3_CONFLICT};
    memcpy(event.id, id, strlen(id) + 1);
    return event;
}

START_TEST(all_columns_of_an_event_are_written)
{
    open_l3();
    struct l3_event events[] = {make_event("b", "{\"qty\":3,\"count\":1,\"lines\":[7]}"),
                                make_event("a", "{}")};
    events[1].key = slice_of("cart:\xff", 6);
    ck_assert_int_eq(l3_put_events(l3, events, 2), 0);
    ck_assert_int_eq(events[0].outcome, L3_DONE);
    ck_assert_int_eq(events[1].outcome, L3_DONE);
    expect("SELECT id, aggregatetype, aggregateid, type, payload, version, created_at "
           "FROM cart_event WHERE id = 'b'",
           "b|cart|cart:u1|cart.expired|{\"qty\":3,\"count\":1,\"lines\":[7]}|42|" T0_TEXT "\n");
    expect("SELECT id FROM cart_event ORDER BY rowid", "b\na\n"); /* in their order */
    expect("SELECT typeof(aggregateid) FROM cart_event WHERE id = 'a'", "blob\n");
    expect("SELECT cart_id, type, version, lines_count, qty, amount, lines FROM cart_events"
           " WHERE event_id = 'b'",
           "cart:u1|cart.expired|42|1|3|~|[7]\n");
}
END_TEST

START_TEST(an_event_is_there_once_and_stays_as_it_was)
{
    open_l3();
    struct l3_event event = make_event("a", "{}");
    ck_assert_int_eq(l3_put_events(l3, &event, 1), 0);
    struct l3_event again[] = {make_event("a", "{\"other\":1}"), make_event("b", "{}")};
    ck_assert_int_eq(l3_put_events(l3, again, 2), 0);
    ck_assert_int_eq(again[0].outcome, L3_DONE);
    expect("SELECT id, payload FROM cart_event ORDER BY id", "a|{}\nb|{}\n");
}
END_TEST

START_TEST(one_that_is_refused_does_not_stop_the_others)
{
    char long_text[4001];
    memset(long_text, 'x', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = '\0';
    open_l3_watched();
    sqlite3_limit(inner, SQLITE_LIMIT_LENGTH, 2000);
    struct l3_event events[] = {make_event("a", "{}"), make_event("b", long_text),
                                make_event("c", "{}")};
    ck_assert_int_eq(l3_put_events(l3, events, 3), 0);
    ck_assert_int_eq(events[0].outcome, L3_DONE);
    ck_assert_int_eq(events[1].outcome, L3_FAILED);
    ck_assert_int_eq(events[2].outcome, L3_DONE);
    expect("SELECT id FROM cart_event ORDER BY rowid", "a\nc\n");
}
END_TEST

START_TEST(a_failed_transaction_writes_none)
{
    open_l3_watched();
    sqlite3_busy_timeout(inner, 0);
    sqlite3 *other = open_raw();
    ck_assert_int_eq(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    struct l3_event events[] = {make_event("a", "{}"), make_event("b", "{}")};
    ck_assert_int_eq(l3_put_events(l3, events, 2), CE_DB);
    ck_assert_int_eq(events[0].outcome, L3_FAILED);
    ck_assert_int_eq(events[1].outcome, L3_FAILED);
    sqlite3_close(other);
    expect("SELECT count(*) FROM cart_event", "0\n");
    ck_assert_int_eq(l3_put_events(l3, events, 2), 0);
    expect("SELECT count(*) FROM cart_event", "2\n");
}
END_TEST

START_TEST(an_error_of_the_disk_takes_all_back)
{
    open_l3_watched();
    struct l3_event events[] = {make_event("a", "{}"), make_event("b", "{}")};
    execute_raw("CREATE TRIGGER fails BEFORE INSERT ON cart_event WHEN new.id = 'b'"
                " BEGIN SELECT raise(ROLLBACK, 'no'); END");
    ck_assert_int_eq(l3_put_events(l3, events, 2), CE_DB);
    ck_assert_int_eq(events[0].outcome, L3_FAILED);
    expect("SELECT count(*) FROM cart_event", "0\n");
}
END_TEST

START_TEST(a_database_of_version_1_is_brought_up_to_date)
{
    execute_raw(l3_sqlite_schema_step(1));
    execute_raw("INSERT INTO cart VALUES ('cart:old', 0, '', 1, '5', 0, 0, 0, 0, 0, '" T0_TEXT
                "', NULL, 7, x'01')");
    open_l3();
    expect("SELECT version FROM schema_version", "2\n");
    expect("SELECT cart_id, rev FROM cart", "cart:old|7\n");
    struct l3_event event = make_event("a", "{}");
    ck_assert_int_eq(l3_put_events(l3, &event, 1), 0);
    expect("SELECT count(*) FROM cart_events", "1\n");
}
END_TEST

static Suite *make_suite(void)
{
    Suite *suite = suite_create("l3_event");
    TCase *tcase = tcase_create("sqlite");
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, all_columns_of_an_event_are_written);
    tcase_add_test(tcase, an_event_is_there_once_and_stays_as_it_was);
    tcase_add_test(tcase, one_that_is_refused_does_not_stop_the_others);
    tcase_add_test(tcase, a_failed_transaction_writes_none);
    tcase_add_test(tcase, an_error_of_the_disk_takes_all_back);
    tcase_add_test(tcase, a_database_of_version_1_is_brought_up_to_date);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return suite_run(make_suite());
}

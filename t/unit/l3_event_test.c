/* l3: events in the outbox, and a database that was made before there was one. */
#include "lib/l3_fixture.h"
#include "lib/suite.h"

#define A "00000000-0000-8000-8000-00000000000a" /* as all ids: UUIDs */
#define B "00000000-0000-8000-8000-00000000000b"
#define C "00000000-0000-8000-8000-00000000000c"

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

#define VIEW(lines)                                                                                \
    "SELECT cart_id, type, version, lines_count, qty, amount, " lines                              \
    " FROM cart_events WHERE event_id = '" B "'"

START_TEST(all_columns_of_an_event_are_written)
{
    open_l3();
    struct l3_event events[] = {make_event(B, "{\"qty\":3,\"count\":1,\"lines\":[7]}"),
                                make_event(A, "{}")};
    events[1].key = slice_of("cart:\xff", 6);
    ck_assert_int_eq(l3_put_events(l3, events, 2), 0);
    ck_assert_int_eq(events[0].outcome, L3_DONE);
    ck_assert_int_eq(events[1].outcome, L3_DONE);
    expect("SELECT id, aggregatetype, aggregateid, type, payload, version, $time(created_at) "
           "FROM cart_event WHERE id = '" B "'",
           B "|cart|cart:u1|cart.expired|{\"qty\":3,\"count\":1,\"lines\":[7]}|42|" T0_TEXT "\n");
    if (kind == ON_SQLITE) {
        expect("SELECT id FROM cart_event ORDER BY rowid", B "\n" A "\n"); /* in their order */
        expect("SELECT typeof(aggregateid) FROM cart_event WHERE id = '" A "'", "blob\n");
    } else {
        expect("SELECT aggregateid FROM cart_event WHERE id = '" A "'", "\\x636172743aff\n");
    }
    expect(kind == ON_MYSQL ? VIEW("`lines`") : VIEW("lines"),
           "cart:u1|cart.expired|42|1|3|~|[7]\n");
}
END_TEST

START_TEST(an_event_is_there_once_and_stays_as_it_was)
{
    open_l3();
    struct l3_event event = make_event(A, "{}");
    ck_assert_int_eq(l3_put_events(l3, &event, 1), 0);
    struct l3_event again[] = {make_event(A, "{\"other\":1}"), make_event(B, "{}")};
    ck_assert_int_eq(l3_put_events(l3, again, 2), 0);
    ck_assert_int_eq(again[0].outcome, L3_DONE);
    expect("SELECT id, payload FROM cart_event ORDER BY id", A "|{}\n" B "|{}\n");
}
END_TEST

START_TEST(one_that_is_refused_does_not_stop_the_others)
{
    char long_text[4001];
    memset(long_text, 'x', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = '\0';
    open_l3_watched();
    sqlite3_limit(inner, SQLITE_LIMIT_LENGTH, 2000);
    struct l3_event events[] = {make_event(A, "{}"), make_event(B, long_text), make_event(C, "{}")};
    ck_assert_int_eq(l3_put_events(l3, events, 3), 0);
    ck_assert_int_eq(events[0].outcome, L3_DONE);
    ck_assert_int_eq(events[1].outcome, L3_FAILED);
    ck_assert_int_eq(events[2].outcome, L3_DONE);
    expect("SELECT id FROM cart_event ORDER BY rowid", A "\n" C "\n");
}
END_TEST

static void make_trigger(void)
{
    if (kind == ON_PGSQL) {
        execute_raw("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                    "RAISE EXCEPTION 'not this one'; END $$");
        execute_raw("CREATE TRIGGER refuses BEFORE INSERT ON cart_event FOR EACH ROW "
                    "WHEN (new.id = '" B "') EXECUTE FUNCTION refuse()");
    } else {
        execute_raw("CREATE TRIGGER refuses BEFORE INSERT ON cart_event FOR EACH ROW "
                    "IF new.id = '" B "' THEN SIGNAL SQLSTATE '45000' "
                    "SET MESSAGE_TEXT = 'not this one'; END IF");
    }
}

START_TEST(one_that_a_server_refuses_does_not_stop_the_others)
{
    open_l3();
    make_trigger();
    struct l3_event events[] = {make_event(A, "{}"), make_event(B, "{}"), make_event(C, "{}")};
    ck_assert_msg(l3_put_events(l3, events, 3) == 0, "%s", l3_message(l3));
    ck_assert_int_eq(events[0].outcome, L3_DONE);
    ck_assert_int_eq(events[1].outcome, L3_FAILED);
    ck_assert_int_eq(events[2].outcome, L3_DONE);
    expect("SELECT id FROM cart_event ORDER BY id", A "\n" C "\n");
}
END_TEST

START_TEST(a_failed_transaction_writes_none)
{
    open_l3_watched();
    sqlite3_busy_timeout(inner, 0);
    sqlite3 *other = open_raw();
    ck_assert_int_eq(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    struct l3_event events[] = {make_event(A, "{}"), make_event(B, "{}")};
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
    struct l3_event events[] = {make_event(A, "{}"), make_event(B, "{}")};
    execute_raw("CREATE TRIGGER fails BEFORE INSERT ON cart_event WHEN new.id = '" B "'"
                " BEGIN SELECT raise(ROLLBACK, 'no'); END");
    ck_assert_int_eq(l3_put_events(l3, events, 2), CE_DB);
    ck_assert_int_eq(events[0].outcome, L3_FAILED);
    expect("SELECT count(*) FROM cart_event", "0\n");
}
END_TEST

static void make_version_1(void)
{
    if (kind == ON_MYSQL) {
        for (const char *const *sql = l3_mysql_schema_step(1); *sql; sql++)
            execute_raw(*sql);
    } else {
        execute_raw(kind == ON_PGSQL ? l3_pgsql_schema_step(1) : l3_sqlite_schema_step(1));
    }
}

START_TEST(a_database_of_version_1_is_brought_up_to_date)
{
    make_version_1();
    execute_raw("INSERT INTO cart VALUES ('cart:old', 0, '', 1, '5', 0, 0, 0, 0, 0, "
                "'2023-11-14 22:13:20', NULL, 7, '')");
    open_l3();
    expect("SELECT version FROM schema_version", "4\n");
    expect("SELECT cart_id, rev FROM cart", "cart:old|7\n");
    struct l3_event event = make_event(A, "{}");
    ck_assert_int_eq(l3_put_events(l3, &event, 1), 0);
    expect("SELECT count(*) FROM cart_events", "1\n");
}
END_TEST

static void add_kind(Suite *suite, const struct kind_case *on)
{
    TCase *tcase = tcase_create(on->name);
    tcase_add_checked_fixture(tcase, on->set_up, tear_down);
    tcase_add_test(tcase, all_columns_of_an_event_are_written);
    tcase_add_test(tcase, an_event_is_there_once_and_stays_as_it_was);
    tcase_add_test(tcase, a_database_of_version_1_is_brought_up_to_date);
    if (on->set_up == set_up) {
        tcase_add_test(tcase, one_that_is_refused_does_not_stop_the_others);
        tcase_add_test(tcase, a_failed_transaction_writes_none);
        tcase_add_test(tcase, an_error_of_the_disk_takes_all_back);
    } else {
        tcase_add_test(tcase, one_that_a_server_refuses_does_not_stop_the_others);
    }
    suite_add_tcase(suite, tcase);
}

int main(void)
{
    return run_on_all_kinds("l3_event", add_kind, NULL);
}

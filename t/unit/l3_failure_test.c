/* l3: opening, and what happens when the database or its disk fails. */
#include "lib/l3_fixture.h"
#include "lib/suite.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- failures -------------------------------------------------------------- */

/* Writes 20 carts of 20 kB, which the caller has made impossible, then possible. */
static void check_full(void (*make_space)(void))
{
    static uint8_t image[20000];
    static char keys[20][24];
    struct l3_cart carts[20];
    struct l3_line line = make_line("A", 1);
    for (int i = 0; i < 20; i++) {
        snprintf(keys[i], sizeof keys[i], "cart:%02d", i);
        carts[i] = make_cart(keys[i], 0, &line, 1);
        carts[i].image = slice_of(image, sizeof image);
    }
    for (int try = 0; try < 2; try++) {
        ck_assert_int_eq(l3_flush(l3, carts, 20), CE_NODISK);
        ck_assert_str_ne(l3_message(l3), "");
        for (int i = 0; i < 20; i++) {
            ck_assert_int_eq(carts[i].outcome, L3_FAILED);
            ck_assert_uint_eq(carts[i].rev, 0);
        }
    }
    make_space();
    expect("SELECT cart_id FROM cart", "cart:before\n");
    expect("SELECT count(*) FROM cart_line", "0\n");
    ck_assert_msg(l3_flush(l3, carts, 20) == 0, "%s", l3_message(l3));
    expect("SELECT count(*) FROM cart", "21\n");
    expect("SELECT count(*) FROM cart_line", "20\n");
    expect("PRAGMA integrity_check", "ok\n");
}

static void lift_page_limit(void)
{
    query_on(inner, "PRAGMA max_page_count=100000");
}

START_TEST(a_full_database_is_no_disk)
{
    open_l3_watched();
    flush_one(make_cart("cart:before", 0, NULL, 0), L3_DONE);
    query_on(inner, "PRAGMA max_page_count=20");
    check_full(lift_page_limit);
}
END_TEST

static void lift_file_limit(void)
{
    suite_limit_files(RLIM_INFINITY);
}

START_TEST(a_failing_write_is_no_disk)
{
    open_l3();
    flush_one(make_cart("cart:before", 0, NULL, 0), L3_DONE);
    suite_limit_files(200000);
    check_full(lift_file_limit);
}
END_TEST

/* No row of a line called poison can be written. */
static void make_poison(void)
{
    if (kind == ON_SQLITE) {
        execute_raw("CREATE TRIGGER t BEFORE INSERT ON cart_line WHEN new.line = 'poison' BEGIN"
                    " SELECT RAISE(ABORT, 'no poison here'); END");
    } else if (kind == ON_PGSQL) {
        execute_raw("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                    "RAISE EXCEPTION 'no poison here'; END $$");
        execute_raw("CREATE TRIGGER t BEFORE INSERT ON cart_line FOR EACH ROW "
                    "WHEN (new.line = 'poison') EXECUTE FUNCTION refuse()");
    } else {
        execute_raw("CREATE TRIGGER t BEFORE INSERT ON cart_line FOR EACH ROW "
                    "IF new.line = 'poison' THEN SIGNAL SQLSTATE '45000' "
                    "SET MESSAGE_TEXT = 'no poison here'; END IF");
    }
}

START_TEST(a_row_that_fails_rolls_the_batch_back)
{
    open_l3();
    flush_one(make_cart("cart:1", 0, NULL, 0), L3_DONE);
    make_poison();
    struct l3_line lines[] = {make_line("A", 1), make_line("poison", 1)};
    struct l3_cart carts[] = {make_cart("cart:1", 1, lines, 1), make_cart("cart:2", 0, lines, 2),
                              make_cart("cart:3", 0, lines, 1)};
    ck_assert_int_eq(l3_flush(l3, carts, 3), CE_DB);
    ck_assert_str_eq(l3_message(l3), "no poison here");
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(carts[i].outcome, L3_FAILED);
    ck_assert_uint_eq(carts[0].rev, 1);
    expect("SELECT cart_id, rev FROM cart", "cart:1|1\n");
    expect("SELECT count(*) FROM cart_line", "0\n");
    carts[1].lines_count = 1;
    ck_assert_int_eq(l3_flush(l3, carts, 3), 0); /* the connection is still good */
    expect("SELECT count(*) FROM cart", "3\n");
}
END_TEST

START_TEST(a_locked_database_is_an_error_and_no_more)
{
    open_l3_watched();
    ck_assert_str_eq(query_on(inner, "PRAGMA busy_timeout"), "5000\n");
    sqlite3_busy_timeout(inner, 0); /* don't wait here */
    sqlite3 *other = open_raw();
    ck_assert_int_eq(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    struct l3_cart cart = make_cart("cart:1", 0, NULL, 0);
    ck_assert_int_eq(l3_flush(l3, &cart, 1), CE_DB);
    ck_assert_str_eq(l3_message(l3),
                     "database is locked: another program holds the lock of the file");
    sqlite3_close(other);
    flush_one(cart, L3_DONE);
}
END_TEST

START_TEST(a_commit_is_synced)
{
    open_l3_watched();
    ck_assert_str_eq(query_on(inner, "PRAGMA journal_mode"), "wal\n");
    ck_assert_str_eq(query_on(inner, "PRAGMA synchronous"), "2\n"); /* FULL */
    ck_assert_str_eq(query_on(inner, "PRAGMA foreign_keys"), "0\n");
}
END_TEST

START_TEST(a_crash_loses_no_commit)
{
    struct l3_line line = make_line("A", 1);
    pid_t child = fork();
    if (child == 0) {
        open_l3();
        struct l3_cart cart = make_cart("cart:1", 0, &line, 1);
        int err = l3_flush(l3, &cart, 1);
        _exit(err ? 1 : 0); /* nothing is closed */
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    open_l3();
    flush_one(make_cart("cart:1", 1, &line, 1), L3_DONE);
    expect("SELECT rev FROM cart", "2\n");
}
END_TEST

/* ---- opening --------------------------------------------------------------- */

static void expect_refused(const char *what, int err, const char *words)
{
    char message[256] = "";
    ck_assert_int_eq(l3_open(what, &l3, message, sizeof message), err);
    ck_assert_ptr_null(l3);
    ck_assert_msg(strstr(message, words) != NULL, "\"%s\" says \"%s\"", what, message);
}

START_TEST(bad_urls_are_refused)
{
    expect_refused("", CE_INVAL, "known: sqlite:");
    expect_refused("sqlite", CE_INVAL, "known: sqlite:");
    expect_refused("sqlit:x", CE_INVAL, "known: sqlite:");
    expect_refused("sqlite:", CE_INVAL, "path");
    expect_refused("sqlite::memory:", CE_DB, "write-ahead log");
    char message[256];
    ck_assert_int_eq(l3_open("other://user:secret@host", &l3, message, sizeof message), CE_INVAL);
    ck_assert_ptr_null(strstr(message, "secret"));
    char missing[160];
    snprintf(missing, sizeof missing, "sqlite:%s/no/such/place", dir);
    expect_refused(missing, CE_DB, "unable to open");
}
END_TEST

/* What is wrong with a URL is said without its password. */
static void expect_secret(const char *what, int err, const char *words)
{
    char message[256] = "";
    ck_assert_int_eq(l3_open(what, &l3, message, sizeof message), err);
    ck_assert_ptr_null(l3);
    ck_assert_msg(strstr(message, words) != NULL, "\"%s\" says \"%s\"", what, message);
    ck_assert_msg(strstr(message, "secret") == NULL, "\"%s\" says \"%s\"", what, message);
}

START_TEST(bad_urls_of_servers_are_refused_without_their_password)
{
    expect_secret("postgresql://u:secret%zz@h/d", CE_INVAL, "percent");
    expect_secret("postgresql://u:secret@[h/d", CE_INVAL, "URL");
    expect_secret("postgres://u:secret@h/d?nonsense=1", CE_INVAL, "parameter");
    expect_secret("postgresql://u:secret@127.0.0.1:1/d", CE_DB, "refused");
    expect_secret("mysql:u:secret@h/d", CE_INVAL, "//USER");
    expect_secret("mysql://u:secret%z@h/d", CE_INVAL, "//USER");
    expect_secret("mysql://u:secret@h/d?nonsense=1", CE_INVAL, "//USER");
    expect_secret("mysql://u:secret@h:port/d", CE_INVAL, "port");
    expect_secret("mariadb://u:secret@127.0.0.1:1/d", CE_DB, "connect");
}
END_TEST

START_TEST(a_password_is_masked_and_put_in)
{
    static const char *const masked[][2] = {
        {"sqlite:/a:b@c", "sqlite:/a:b@c"},
        {"postgresql://u:secret@h1:1,h2:2/d?x=1", "postgresql://u:***@h1:1,h2:2/d?x=1"},
        {"mysql://u:se:cr@et@h/d", "mysql://u:***@h/d"},
        {"mysql://u@h:3306/d", "mysql://u@h:3306/d"},
        {"postgresql:///d?user=u&password=secret&x=1", "postgresql:///d?user=u&password=***&x=1"},
    };
    struct buf out = {0};
    for (size_t i = 0; i < sizeof masked / sizeof masked[0]; i++) {
        out.len = 0;
        ck_assert_int_eq(l3_mask_url(masked[i][0], &out), 0);
        ck_assert(slice_eq(buf_slice(&out), slice_str(masked[i][1])));
    }
    out.len = 0;
    ck_assert_int_eq(l3_put_password("mysql://u@h:1/d", slice_str("a%@/"), &out), 0);
    ck_assert(slice_eq(buf_slice(&out), slice_str("mysql://u:%61%25%40%2f@h:1/d")));
    ck_assert_int_eq(l3_put_password("mysql://u:p@h/d", slice_str("a"), &out), CE_INVAL);
    ck_assert_int_eq(l3_put_password("mysql://h/d", slice_str("a"), &out), CE_INVAL);
    ck_assert_int_eq(l3_put_password("sqlite:x", slice_str("a"), &out), CE_INVAL);
    buf_free(&out);
}
END_TEST

START_TEST(a_relative_path_is_fine)
{
    ck_assert_int_eq(chdir(dir), 0);
    char message[256];
    ck_assert_int_eq(l3_open("sqlite:carts.db", &l3, message, sizeof message), 0);
    flush_one(make_cart("cart:1", 0, NULL, 0), L3_DONE);
    expect("SELECT count(*) FROM cart", "1\n");
    ck_assert_int_eq(chdir("/"), 0);
}
END_TEST

START_TEST(the_schema_is_made_once)
{
    open_l3();
    l3_close(&l3);
    open_l3();
    expect("SELECT version FROM schema_version", "4\n");
    if (kind != ON_SQLITE)
        return;
    expect("SELECT name FROM sqlite_master WHERE type IN ('table', 'index') AND sql IS NOT NULL"
           " ORDER BY 1",
           "cart\ncart_event\ncart_event_aggregateid\ncart_inbox\ncart_inbox_status\ncart_line\n"
           "cart_line_sku\nschema_version\nsqlite_sequence\n");
}
END_TEST

static void write_and_read(void)
{
    struct l3_line line = make_line("A", 1);
    flush_one(make_cart("cart:1", 0, &line, 1), L3_DONE);
    expect("SELECT cart_id, sku, qty FROM cart_report", "cart:1|A|1\n");
    struct l3_event event = {.id = "00000000-0000-8000-8000-00000000000a",
                             .type = "cart.expired",
                             .key = slice_str("cart:1"),
                             .payload = slice_str("{\"qty\":3}")};
    ck_assert_int_eq(l3_put_events(l3, &event, 1), 0);
    expect("SELECT cart_id, qty FROM cart_events", "cart:1|3\n");
    struct l3_inbox_row row = {0};
    size_t count;
    execute_raw("INSERT INTO cart_inbox (cart_id, command) VALUES ('cart:1', 'cdel')");
    ck_assert_int_eq(l3_inbox_take(l3, T0_US, &row, 1, &count), 0);
    ck_assert_uint_eq(count, 1);
    row.fate = L3_INBOX_DONE;
    ck_assert_int_eq(l3_inbox_settle(l3, &row, 1), 0);
    expect("SELECT id FROM cart_inbox", "");
    buf_free(&row.key);
    buf_free(&row.command);
    buf_free(&row.token);
}

START_TEST(a_schema_made_by_hand_is_taken_as_it_is)
{
    static const char *const files[] = {"contrib/sql/sqlite.sql", "contrib/sql/postgresql.sql",
                                        "contrib/sql/mysql.sql"};
    char fixed[sizeof url + 8], message[256] = "";
    snprintf(fixed, sizeof fixed, L3_FIXED "%s", url);
    expect_refused(fixed, CE_DB, "contrib/sql");
    execute_file(files[kind]);
    ck_assert_msg(l3_open(fixed, &l3, message, sizeof message) == 0, "%s", message);
    write_and_read();
    l3_close(&l3);
    open_l3(); /* nothing is left to be done */
}
END_TEST

START_TEST(a_newer_schema_is_refused)
{
    open_l3();
    flush_one(make_cart("cart:1", 0, NULL, 0), L3_DONE);
    l3_close(&l3);
    execute_raw("UPDATE schema_version SET version=5");
    expect_refused(url, CE_DB, "version 5");
    expect("SELECT schema_version.version, cart.rev FROM schema_version, cart", "5|1\n");
    execute_raw(kind == ON_SQLITE ? "UPDATE schema_version SET version='x'"
                                  : "UPDATE schema_version SET version=0");
    expect_refused(url, CE_DB, "schema_version");
    if (kind == ON_MYSQL) /* none is what an interrupted start leaves: it goes on from there */
        return;
    execute_raw("DELETE FROM schema_version");
    expect_refused(url, CE_DB, "schema_version");
}
END_TEST

START_TEST(foreign_tables_are_left_alone)
{
    execute_raw("CREATE TABLE cart_line (mine INT)");
    execute_raw("INSERT INTO cart_line VALUES (7)");
    expect_refused(url, CE_DB, kind == ON_MYSQL ? "Unknown column" : "already exists");
    expect("SELECT mine FROM cart_line", "7\n");
    if (kind == ON_SQLITE) /* no half of a schema */
        expect("SELECT count(*) FROM sqlite_master", "1\n");
    if (kind == ON_PGSQL)
        expect("SELECT to_regclass('cart')", "~\n");
}
END_TEST

START_TEST(another_encoding_is_refused)
{
    execute_raw("PRAGMA encoding='UTF-16le'; CREATE TABLE x (y)");
    expect_refused(url, CE_DB, "UTF-8");
}
END_TEST

START_TEST(a_file_that_is_no_database_is_left_alone)
{
    static const char text[] = "Dear diary, this is certainly not a database. It is long enough to "
                               "have a header of a hundred bytes, but not that one.\n";
    FILE *file = fopen(path, "w");
    ck_assert_uint_eq(fwrite(text, 1, sizeof text, file), sizeof text);
    ck_assert_int_eq(fclose(file), 0);
    expect_refused(url, CE_DB, "not a database");
    char read[sizeof text + 1];
    file = fopen(path, "r");
    ck_assert_uint_eq(fread(read, 1, sizeof read, file), sizeof text);
    ck_assert_int_eq(fclose(file), 0);
    ck_assert_mem_eq(read, text, sizeof text);
}
END_TEST

static sqlite3 *rival;

static int let_go(unsigned type, void *ctx, void *statement, void *text)
{
    (void)type;
    (void)ctx;
    (void)statement;
    if (strncmp(text, "BEGIN IMMEDIATE", 15) == 0) {
        sqlite3_close(rival);
        rival = NULL;
    }
    return 0;
}

static int watch_connection(sqlite3 *db, const char **error, const void *api)
{
    (void)error;
    (void)api;
    return sqlite3_trace_v2(db, SQLITE_TRACE_STMT, let_go, NULL);
}

START_TEST(opening_waits_for_a_rival)
{
    rival = open_raw(); /* a new file, locked until somebody waits for the lock */
    ck_assert_int_eq(sqlite3_exec(rival, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_auto_extension((void (*)(void))watch_connection);
    open_l3();
    sqlite3_reset_auto_extension();
    ck_assert_ptr_null(rival);
    flush_one(make_cart("cart:1", 0, NULL, 0), L3_DONE);
}
END_TEST

static void *open_and_flush(void *arg)
{
    char key[16];
    char message[256] = "";
    struct l3 *own = NULL;
    snprintf(key, sizeof key, "cart:%d", *(int *)arg);
    struct l3_cart cart = make_cart(key, 0, NULL, 0);
    int err = l3_open(url, &own, message, sizeof message);
    if (!err)
        err = l3_flush(own, &cart, 1);
    if (err)
        fprintf(stderr, "%s\n", own ? l3_message(own) : message);
    l3_close(&own);
    return err ? (void *)1 : NULL;
}

START_TEST(several_may_open_at_once)
{
    enum { COUNT = 16 };
    pthread_t threads[COUNT];
    int numbers[COUNT];
    for (int i = 0; i < COUNT; i++) {
        numbers[i] = i;
        ck_assert_int_eq(pthread_create(&threads[i], NULL, open_and_flush, &numbers[i]), 0);
    }
    for (int i = 0; i < COUNT; i++) {
        void *result;
        ck_assert_int_eq(pthread_join(threads[i], &result), 0);
        ck_assert_ptr_null(result);
    }
    expect("SELECT count(*) FROM cart", "16\n");
}
END_TEST

/* ---- the dispatch ---------------------------------------------------------- */

static int open_fake(struct l3 *fake, const char *where)
{
    snprintf(fake->message, sizeof fake->message, "%s is down", where);
    return strcmp(where, "bad") == 0 ? CE_DB : 0;
}

static void close_fake(struct l3 *fake)
{
    (void)fake;
}

/* Claims success for the first cart before it fails. */
static int flush_fake(struct l3 *fake, struct l3_cart *carts, size_t count)
{
    (void)fake;
    for (size_t i = 0; i < count; i++)
        carts[i].outcome = L3_DONE;
    return CE_DB;
}

START_TEST(a_failed_flush_has_no_outcome)
{
    static const struct l3_driver driver = {
        .open = open_fake, .close = close_fake, .flush = flush_fake};
    char message[256];
    ck_assert_int_eq(l3_open_driver(&driver, "bad", &l3, message, sizeof message), CE_DB);
    ck_assert_str_eq(message, "bad is down");
    ck_assert_int_eq(l3_open_driver(&driver, "good", &l3, message, sizeof message), 0);
    struct l3_cart carts[] = {make_cart("cart:1", 4, NULL, 0), make_cart("cart:2", 0, NULL, 0)};
    ck_assert_int_eq(l3_flush(l3, carts, 2), CE_DB);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(carts[i].outcome, L3_FAILED);
    ck_assert_uint_eq(carts[0].rev, 4);
}
END_TEST

static int closes;

static void close_and_count(struct l3 *fake)
{
    (void)fake;
    closes++;
}

static int flush_and_lose(struct l3 *fake, struct l3_cart *carts, size_t count)
{
    (void)carts, (void)count;
    ck_assert_int_eq(closes, 0);
    fake->is_lost = true;
    return l3_fail(fake, CE_NOMEM, "neither done nor taken back");
}

START_TEST(a_transaction_that_cannot_end_ends_with_its_connection)
{
    static const struct l3_driver driver = {
        .open = open_fake, .close = close_and_count, .flush = flush_and_lose};
    char message[256];
    ck_assert_int_eq(l3_open_driver(&driver, "good", &l3, message, sizeof message), 0);
    struct l3_cart cart = make_cart("cart:1", 0, NULL, 0);
    ck_assert_int_eq(l3_flush(l3, &cart, 1), CE_NOMEM);
    ck_assert_int_eq(closes, 1);
    ck_assert_str_eq(l3_message(l3), "neither done nor taken back");
    struct buf image = {0};
    uint32_t rev;
    size_t count;
    struct l3_inbox_row row = {0};
    struct l3_event event = {0};
    ck_assert_int_eq(l3_flush(l3, &cart, 1), CE_DB); /* and nothing reaches the driver */
    ck_assert_int_eq(l3_put_events(l3, &event, 1), CE_DB);
    ck_assert_int_eq(l3_load(l3, cart.key, &image, &rev), CE_DB);
    ck_assert_int_eq(l3_inbox_take(l3, 0, &row, 1, &count), CE_DB);
    ck_assert_int_eq(l3_inbox_left(l3, 0, &row, 1, &count), CE_DB);
    ck_assert_int_eq(l3_inbox_settle(l3, &row, 1), CE_DB);
    ck_assert_str_ne(l3_message(l3), "");
}
END_TEST

/* The server ends all connections but the one that asks for it. */
static void break_connections(void)
{
    if (kind == ON_PGSQL) {
        execute_raw("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE application_name = 'cartd'");
    } else {
        execute_raw("BEGIN NOT ATOMIC SET @ours = (SELECT max(id) FROM "
                    "information_schema.processlist WHERE id <> CONNECTION_ID() AND "
                    "db = DATABASE()); EXECUTE IMMEDIATE CONCAT('KILL ', @ours); END");
    }
}

/* Nobody knows what became of the transaction. */
START_TEST(a_connection_that_breaks_is_closed)
{
    if (kind == ON_SQLITE)
        return;
    open_l3();
    flush_one(make_cart("cart:1", 0, NULL, 0), L3_DONE);
    break_connections();
    struct l3_cart cart = make_cart("cart:1", 1, NULL, 0);
    ck_assert_int_eq(l3_flush(l3, &cart, 1), CE_DB);
    ck_assert_ptr_null(l3->conn);
    ck_assert_int_eq(l3_flush(l3, &cart, 1), CE_DB);
    l3_close(&l3);
    open_l3();
    flush_one(cart, L3_DONE);
}
END_TEST

static void flush_pair(const char *one, const char *two)
{
    static const struct l3_driver driver = {
        .open = open_fake, .close = close_fake, .flush = flush_fake};
    char message[256];
    ck_assert_int_eq(l3_open_driver(&driver, "", &l3, message, sizeof message), 0);
    struct l3_cart carts[] = {make_cart(one, 0, NULL, 0), make_cart(two, 0, NULL, 0)};
    int err = l3_flush(l3, carts, 2);
    (void)err;
}

START_TEST(unsorted_keys_are_a_bug)
{
    flush_pair("cart:2", "cart:1");
}
END_TEST

START_TEST(double_keys_are_a_bug)
{
    flush_pair("cart:1", "cart:1");
}
END_TEST

static void add_sqlite(TCase *tcase)
{
    tcase_add_test(tcase, a_full_database_is_no_disk);
    tcase_add_test(tcase, a_failing_write_is_no_disk);
    tcase_add_test(tcase, a_locked_database_is_an_error_and_no_more);
    tcase_add_test(tcase, a_commit_is_synced);
    tcase_add_test(tcase, bad_urls_are_refused);
    tcase_add_test(tcase, a_relative_path_is_fine);
    tcase_add_test(tcase, another_encoding_is_refused);
    tcase_add_test(tcase, a_file_that_is_no_database_is_left_alone);
    tcase_add_test(tcase, opening_waits_for_a_rival);
}

static void add_kind(Suite *suite, const struct kind_case *on)
{
    TCase *tcase = tcase_create(on->name);
    tcase_add_checked_fixture(tcase, on->set_up, tear_down);
    tcase_add_test(tcase, a_row_that_fails_rolls_the_batch_back);
    tcase_add_test(tcase, a_connection_that_breaks_is_closed);
    tcase_add_test(tcase, a_crash_loses_no_commit);
    tcase_add_test(tcase, the_schema_is_made_once);
    tcase_add_test(tcase, a_schema_made_by_hand_is_taken_as_it_is);
    tcase_add_test(tcase, a_newer_schema_is_refused);
    tcase_add_test(tcase, foreign_tables_are_left_alone);
    tcase_add_test(tcase, several_may_open_at_once);
    if (on->set_up == set_up)
        add_sqlite(tcase);
    suite_add_tcase(suite, tcase);
}

int main(void)
{
    TCase *dispatch = tcase_create("dispatch");
    tcase_add_test(dispatch, a_failed_flush_has_no_outcome);
    tcase_add_test(dispatch, a_transaction_that_cannot_end_ends_with_its_connection);
    tcase_add_test(dispatch, bad_urls_of_servers_are_refused_without_their_password);
    tcase_add_test(dispatch, a_password_is_masked_and_put_in);
    tcase_add_test_raise_signal(dispatch, unsorted_keys_are_a_bug, SIGABRT);
    tcase_add_test_raise_signal(dispatch, double_keys_are_a_bug, SIGABRT);
    return run_on_all_kinds("l3_failure", add_kind, dispatch);
}

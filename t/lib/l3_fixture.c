#include "lib/l3_fixture.h"
#include "lib/l3_servers.h"
#include "lib/suite.h"

#include <stdio.h>
#include <stdlib.h>

char dir[64], path[96], url[192];
enum kind kind;
struct l3 *l3;

void open_l3(void)
{
    char message[256] = "";
    ck_assert_msg(l3_open(url, &l3, message, sizeof message) == 0, "%s", message);
}

void set_up(void)
{
    snprintf(dir, sizeof dir, "/tmp/l3_test.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/carts.db", dir);
    snprintf(url, sizeof url, "sqlite:%s", path);
    kind = ON_SQLITE;
}

void tear_down(void)
{
    l3_close(&l3);
    if (kind != ON_SQLITE) {
        server_drop();
        return;
    }
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", dir);
    ck_assert_int_eq(system(command), 0);
}

sqlite3 *open_raw(void)
{
    sqlite3 *db;
    ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
    return db;
}

void execute_raw(const char *sql)
{
    if (kind != ON_SQLITE) {
        server_query(sql);
        return;
    }
    sqlite3 *db = open_raw();
    char *words = NULL;
    ck_assert_msg(sqlite3_exec(db, sql, NULL, NULL, &words) == SQLITE_OK, "%s", words);
    sqlite3_close(db);
}

void execute_file(const char *file)
{
    char text[16 * 1024];
    FILE *opened = fopen(file, "r");
    ck_assert_msg(opened != NULL, "%s", file);
    size_t len = fread(text, 1, sizeof text - 1, opened);
    fclose(opened);
    text[len] = '\0';
    char *statement = text, *end;
    while ((end = strstr(statement, ";\n"))) {
        *end = '\0';
        execute_raw(statement);
        statement = end + 2;
    }
}

const char *query_on(sqlite3 *db, const char *sql)
{
    static char answer[ANSWER_MAX];
    size_t len = 0;
    sqlite3_stmt *statement;
    ck_assert_msg(sqlite3_prepare_v2(db, sql, -1, &statement, NULL) == SQLITE_OK, "%s",
                  sqlite3_errmsg(db));
    answer[0] = '\0';
    while (sqlite3_step(statement) == SQLITE_ROW) {
        int columns = sqlite3_column_count(statement);
        for (int i = 0; i < columns; i++) {
            const unsigned char *text = sqlite3_column_text(statement, i);
            len += (size_t)snprintf(answer + len, sizeof answer - len, "%s%c",
                                    text ? (const char *)text : "~", i + 1 < columns ? '|' : '\n');
            ck_assert_uint_lt(len, sizeof answer);
        }
    }
    ck_assert_int_eq(sqlite3_finalize(statement), SQLITE_OK);
    return answer;
}

/* $time(COLUMN) and $hex(COLUMN). */
static void translate(const char *sql, char *out, size_t out_bytes)
{
    static const char *const times[] = {
        "%.*s", "to_char(%.*s AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')",
        "CONCAT(REPLACE(LEFT(%.*s, 23), ' ', 'T'), 'Z')"};
    static const char *const hexes[] = {"hex(%.*s)", "upper(encode(%.*s, 'hex'))", "HEX(%.*s)"};
    size_t len = 0;
    while (*sql) {
        bool is_time = strncmp(sql, "$time(", 6) == 0;
        bool is_hex = strncmp(sql, "$hex(", 5) == 0;
        if (is_time || is_hex) {
            const char *column = strchr(sql, '(') + 1;
            int column_len = (int)strcspn(column, ")");
            const char *format = is_time ? times[kind] : hexes[kind];
            char text[256];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
            snprintf(text, sizeof text, format, column_len, column);
#pragma GCC diagnostic pop
            len += (size_t)snprintf(out + len, out_bytes - len, "%s", text);
            sql = column + column_len + 1;
        } else {
            out[len++] = *sql++;
        }
        ck_assert_uint_lt(len + 1, out_bytes);
    }
    out[len] = '\0';
}

const char *query(const char *sql)
{
    char translated[4096];
    translate(sql, translated, sizeof translated);
    if (kind != ON_SQLITE)
        return server_query(translated);
    sqlite3 *db = open_raw();
    const char *answer = query_on(db, translated);
    sqlite3_close(db);
    return answer;
}

sqlite3 *inner;

static int remember_connection(sqlite3 *db, const char **error, const void *api)
{
    (void)error;
    (void)api;
    inner = db;
    return SQLITE_OK;
}

void open_l3_watched(void)
{
    sqlite3_auto_extension((void (*)(void))remember_connection);
    open_l3();
    sqlite3_reset_auto_extension();
}

struct l3_line make_line(const char *line, int64_t qty)
{
    return (struct l3_line){.line = slice_str(line),
                            .sku = slice_of(line, strcspn(line, ";")),
                            .qty = qty,
                            .added_us = T0_US,
                            .updated_us = T0_US};
}

struct l3_cart make_cart(const char *key, uint32_t rev, const struct l3_line *lines,
                         uint32_t lines_count)
{
    return (struct l3_cart){.key = slice_str(key),
                            .rev = rev,
                            .currency = "EUR",
                            .lines = lines,
                            .lines_count = lines_count,
                            .updated_us = T0_US,
                            .image = slice_str("state")};
}

void flush_one(struct l3_cart cart, enum l3_outcome outcome)
{
    ck_assert_msg(l3_flush(l3, &cart, 1) == 0, "%s", l3_message(l3));
    ck_assert_int_eq(cart.outcome, outcome);
}

int run_on_all_kinds(const char *name, void (*add_kind)(Suite *suite, const struct kind_case *on),
                     TCase *more)
{
    static const struct kind_case kinds[] = {
        {"sqlite", set_up}, {"postgresql", set_up_pgsql}, {"mysql", set_up_mysql}};
    Suite *suite = suite_create(name);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        add_kind(suite, &kinds[i]);
    if (more)
        suite_add_tcase(suite, more);
    const char *only = getenv("CK_RUN_CASE"); /* Check runs no other case */
    if (only && strcmp(only, kinds[ON_SQLITE].name) == 0)
        return suite_run(suite);
    int status = servers_start() ? suite_run(suite) : EXIT_FAILURE;
    servers_stop();
    return status;
}

/* l3_fixture: a database of its own for each test, and the plain API of its library to look into
 * it. SQLite is a file; the servers of the others are started once by run_on_all_kinds and
 * end with the program. */
#ifndef LIB_L3_FIXTURE_H
#define LIB_L3_FIXTURE_H

#include "tier/l3/l3_int.h"

#include <check.h>
#include <sqlite3.h>

#define ANSWER_MAX (64 * 1024)
#define T0_US      1700000000123456ull /* 2023-11-14T22:13:20.123456Z */
#define T0_TEXT    "2023-11-14T22:13:20.123Z"

/* The test's directory, database file, its URL, and the connection under test. */
extern char dir[64], path[96], url[192];
extern struct l3 *l3;

/* What the current test runs on. */
enum kind { ON_SQLITE, ON_PGSQL, ON_MYSQL };
extern enum kind kind;

/* Checked fixtures; they do not open l3. */
void set_up(void);
void set_up_pgsql(void);
void set_up_mysql(void);
void tear_down(void);

/* A kind and its fixture. */
struct kind_case {
    const char *name;
    void (*set_up)(void);
};
/* All of a test's main: starts the servers, calls add_kind for each kind, runs the suite with one
 * case more, which may be NULL, and ends the servers. Returns main's status. */
int run_on_all_kinds(const char *name, void (*add_kind)(Suite *suite, const struct kind_case *on),
                     TCase *more);

void open_l3(void);
/* The same, and `inner` is the SQLite connection inside. */
void open_l3_watched(void);
extern sqlite3 *inner;

/* Another connection, without cartd: to SQLite, or one statement on any kind. In the SQL
 * $time(COLUMN) is a time as SQLite has it, $hex(COLUMN) bytes in hex digits. */
sqlite3 *open_raw(void);
void execute_raw(const char *sql);
/* All statements of a file; each ends with ';' at the end of a line. */
void execute_file(const char *file);

/* All rows as text: columns joined by '|', each row ended by '\n', NULL as '~'. Borrowed until the
 * next query. */
const char *query_on(sqlite3 *db, const char *sql);
const char *query(const char *sql);
#define expect(sql, right) ck_assert_str_eq(query(sql), (right))

/* A line and a cart with something in every column, and one flush of it. */
struct l3_line make_line(const char *line, int64_t qty);
struct l3_cart make_cart(const char *key, uint32_t rev, const struct l3_line *lines,
                         uint32_t lines_count);
void flush_one(struct l3_cart cart, enum l3_outcome outcome);

#endif

/* The MariaDB and MySQL driver: URL, connection, errors, schema. Nothing here waits without an end:
 * the library has time-outs for connecting, reading and writing, the server for statements and
 * locks. */
#ifdef HAVE_LIBMARIADB
#include "tier/l3/l3_mysql_int.h"

#include <errmsg.h>
#include <mysqld_error.h>
#include <stdio.h>
#include <stdlib.h>

#define CONNECT_TIMEOUT_S 5
#define ANSWER_TIMEOUT_S  15      /* nothing comes; above the server's limit of a statement */
#define CONFIG_GROUP      "cartd" /* of my.cnf, beside [client] */

/* Error number, what it is to cartd, and what an operator can do about it. */
#define ERRORS(X)                                                                                  \
    X(ER_OPTION_PREVENTS_STATEMENT, CE_DB, "the server is read-only (a replica?)")                 \
    X(ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION, CE_DB, "the server is read-only (a replica?)")     \
    X(ER_BAD_DB_ERROR, CE_DB, "create the database first")                                         \
    X(ER_TABLEACCESS_DENIED_ERROR, CE_DB, "give the user the rights of doc/sql.md")                \
    X(ER_DBACCESS_DENIED_ERROR, CE_DB, "give the user the rights of doc/sql.md")                   \
    X(ER_CON_COUNT_ERROR, CE_DB, "raise max_connections")                                          \
    X(ER_STATEMENT_TIMEOUT, CE_DB, "the statement took too long")                                  \
    X(ER_LOCK_WAIT_TIMEOUT, CE_DB, "somebody else holds a lock on the rows")                       \
    X(ER_NO_SUCH_TABLE, CE_DB, "a table of cartd is missing")                                      \
    X(ER_BAD_FIELD_ERROR, CE_DB, "the tables are not those of doc/sql.md")                         \
    X(CR_SSL_CONNECTION_ERROR, CE_DB,                                                              \
      "the server's certificate is not accepted (ssl-ca and ssl-verify in the URL)")               \
    X(ER_NET_PACKET_TOO_LARGE, CE_DB, "raise max_allowed_packet")                                  \
    X(ER_DISK_FULL, CE_NODISK, "the server's disk is full")                                        \
    X(ER_RECORD_FILE_FULL, CE_NODISK, "the server's disk is full")                                 \
    X(ER_OUTOFMEMORY, CE_NOMEM, "the server is out of memory")                                     \
    X(ER_LOCK_DEADLOCK, CE_DB,                                                                     \
      "three times in a row: another program writes to the tables of cartd")                       \
    X(ER_ACCESS_DENIED_ERROR, CE_DB, "the user or the password is wrong")                          \
    X(CR_SERVER_GONE_ERROR, CE_DB, "the server was stopped, or closed the connection")             \
    X(CR_SERVER_LOST, CE_DB, "the server was stopped, or does not answer")

/* ---- question and answer ------------------------------------------------------------- */

static int fail(struct l3 *l3)
{
    static const struct {
        unsigned number;
        int err;
        const char *advice;
    } errors[] = {
#define X(number, err, advice) {number, err, advice},
        ERRORS(X)
#undef X
    };
    struct mysql *my = l3->conn;
    my->error = mysql_errno(my->db);
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        if (errors[i].number != my->error)
            continue;
        snprintf(l3->message, sizeof l3->message, "%s: %s", mysql_error(my->db), errors[i].advice);
        return errors[i].err;
    }
    return l3_fail(l3, CE_DB, mysql_error(my->db));
}

static int run(struct l3 *l3, const char *sql, size_t len, MYSQL_RES **result)
{
    struct mysql *my = l3->conn;
    my->error = 0;
    if (mysql_real_query(my->db, sql, len))
        return fail(l3);
    MYSQL_RES *rows = mysql_store_result(my->db);
    if (!rows && mysql_field_count(my->db))
        return fail(l3);
    if (result)
        *result = rows;
    else
        mysql_free_result(rows);
    return 0;
}

int l3_my_query(struct l3 *l3, const char *sql, MYSQL_RES **result)
{
    return run(l3, sql, strlen(sql), result);
}

int l3_my_run(struct l3 *l3, MYSQL_RES **result)
{
    struct mysql *my = l3->conn;
    size_t len = my->sql.len;
    my->sql.len = 0;
    return run(l3, (const char *)my->sql.bytes, len, result);
}

/* The first value of the first row, "" when there is none. */
static int ask(struct l3 *l3, const char *sql, char *answer, size_t answer_bytes)
{
    MYSQL_RES *result;
    int err = l3_my_query(l3, sql, &result);
    if (err)
        return err;
    MYSQL_ROW row = mysql_fetch_row(result);
    snprintf(answer, answer_bytes, "%s", row && row[0] ? row[0] : "");
    mysql_free_result(result);
    return 0;
}

/* ---- the URL ------------------------------------------------------------------------- */

/* The parts of "//user:password@host:port/database?name=value&...", decoded in place. NULL = not
 * given: then my.cnf counts. */
struct url {
    char *user, *password, *host, *port, *database, *socket;
    char *ssl, *ssl_ca, *ssl_cert, *ssl_key, *ssl_verify;
};

static int hex_value(char digit)
{
    return digit >= '0' && digit <= '9'   ? digit - '0'
           : digit >= 'a' && digit <= 'f' ? digit - 'a' + 10
           : digit >= 'A' && digit <= 'F' ? digit - 'A' + 10
                                          : -1;
}

/* Percent signs. False when one is followed by no two hex digits, or hides a NUL. */
static bool decode(char *text)
{
    char *to = text;
    for (; text && *text; text++) {
        if (*text != '%') {
            *to++ = *text;
            continue;
        }
        int high = hex_value(text[1]);
        int low = high < 0 ? -1 : hex_value(text[2]);
        if (low < 0 || high + low == 0)
            return false;
        *to++ = (char)(high << 4 | low);
        text += 2;
    }
    if (to)
        *to = '\0';
    return true;
}

/* Ends `text` at the first of `stops` and returns what is behind it, NULL when there is none. */
static char *cut(char *text, char stop)
{
    char *end = text ? strchr(text, stop) : NULL;
    if (end)
        *end++ = '\0';
    return end;
}

static char *given(char *text)
{
    return text && *text ? text : NULL;
}

/* One name=value behind the '?'. False when it is unknown. */
static bool take_setting(struct url *url, char *setting)
{
    const struct {
        const char *name;
        char **value;
    } settings[] = {{"socket", &url->socket},   {"ssl", &url->ssl},
                    {"ssl-ca", &url->ssl_ca},   {"ssl-cert", &url->ssl_cert},
                    {"ssl-key", &url->ssl_key}, {"ssl-verify", &url->ssl_verify}};
    char *value = cut(setting, '=');
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
        if (value && strcmp(setting, settings[i].name) == 0) {
            *settings[i].value = value;
            return decode(value);
        }
    }
    return false;
}

/* False when it is none. */
static bool split_url(char *text, struct url *url)
{
    *url = (struct url){0};
    if (strncmp(text, "//", 2) != 0)
        return false;
    text += 2;
    char *settings = cut(text, '?');
    url->database = given(cut(text, '/'));
    char *at = strrchr(text, '@');
    char *host = at ? at + 1 : text;
    if (at) {
        *at = '\0';
        url->password = cut(text, ':');
        url->user = given(text);
    }
    bool is_v6 = host[0] == '[';
    char *port = is_v6 ? cut(host, ']') : cut(host, ':');
    url->host = given(is_v6 ? host + 1 : host);
    url->port = given(is_v6 && port && *port == ':' ? port + 1 : port);
    while (settings) {
        char *next = cut(settings, '&');
        if (*settings && !take_setting(url, settings))
            return false;
        settings = next;
    }
    return decode(url->user) && decode(url->password) && decode(url->host) && decode(url->database);
}

/* ---- connecting ---------------------------------------------------------------------- */

static bool is_on(const char *setting)
{
    return setting && strcmp(setting, "0") != 0 && strcmp(setting, "off") != 0;
}

static void set_options(MYSQL *db, const struct url *url)
{
    static const unsigned connect_s = CONNECT_TIMEOUT_S, answer_s = ANSWER_TIMEOUT_S;
    mysql_options(db, MYSQL_OPT_CONNECT_TIMEOUT, &connect_s);
    mysql_options(db, MYSQL_OPT_READ_TIMEOUT, &answer_s);
    mysql_options(db, MYSQL_OPT_WRITE_TIMEOUT, &answer_s);
    mysql_options(db, MYSQL_READ_DEFAULT_GROUP, CONFIG_GROUP);
    mysql_options(db, MYSQL_SET_CHARSET_NAME, "utf8mb4");
    static const unsigned off = 0;
    my_bool no = 0, yes = 1;
    mysql_options(db, MYSQL_OPT_RECONNECT, &no);
    mysql_options(db, MYSQL_OPT_LOCAL_INFILE, &off);
    if (url->ssl_ca || url->ssl_cert || url->ssl_key)
        mysql_ssl_set(db, url->ssl_key, url->ssl_cert, url->ssl_ca, NULL, NULL);
    if (is_on(url->ssl) || url->ssl_ca)
        mysql_options(db, MYSQL_OPT_SSL_ENFORCE, &yes);
    if (is_on(url->ssl_verify) || (url->ssl_ca && !url->ssl_verify))
        mysql_options(db, MYSQL_OPT_SSL_VERIFY_SERVER_CERT, &yes);
}

static int connect_server(struct l3 *l3, const struct url *url)
{
    struct mysql *my = l3->conn;
    uint32_t port = 0;
    if (url->port && (!num_u32(slice_str(url->port), &port) || port > UINT16_MAX))
        return l3_fail(l3, CE_INVAL, "mysql: the port is no number");
    my->db = mysql_init(NULL);
    if (!my->db)
        return l3_fail(l3, CE_NOMEM, err_text(CE_NOMEM));
    set_options(my->db, url);
    if (!mysql_real_connect(my->db, url->host, url->user, url->password, url->database, port,
                            url->socket, 0))
        return fail(l3);
    /* Zero of a time zone and strictness: what is written is what is read. */
    int err = l3_my_query(l3,
                          "SET SESSION sql_mode = 'STRICT_ALL_TABLES', time_zone = '+00:00', "
                          "autocommit = 0, innodb_lock_wait_timeout = 5, lock_wait_timeout = 5",
                          NULL);
    if (!err)
        err = l3_my_query(l3, "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED", NULL);
    if (!err && l3_my_query(l3, "SET SESSION max_statement_time = 10", NULL) &&
        my->error != ER_UNKNOWN_SYSTEM_VARIABLE) /* MySQL has none for writes */
        err = CE_DB;
    return err;
}

/* ---- the schema ---------------------------------------------------------------------- */

/* 0 = our tables are not there, or not all of them. */
static int read_schema_version(struct l3 *l3, uint32_t *version)
{
    char answer[NUM_DIGITS_MAX + 1];
    *version = 0;
    int err = ask(l3,
                  "SELECT count(*) FROM information_schema.tables "
                  "WHERE table_schema = DATABASE() AND table_name = 'schema_version'",
                  answer, sizeof answer);
    if (err || strcmp(answer, "0") == 0)
        return err;
    err = ask(l3, "SELECT version FROM schema_version", answer, sizeof answer);
    if (!err && answer[0] && (!num_u32(slice_str(answer), version) || *version == 0))
        err = l3_fail(l3, CE_DB, "table schema_version holds no version");
    return err;
}

static int run_step(struct l3 *l3, uint32_t version)
{
    int err = 0;
    for (const char *const *sql = l3_mysql_schema_step(version); !err && *sql; sql++)
        err = l3_my_query(l3, *sql, NULL);
    return err ? err : l3_my_query(l3, "COMMIT", NULL);
}

/* Reads the version again, under a lock: another process may have been faster. */
static int upgrade_schema(struct l3 *l3, uint32_t newest)
{
    uint32_t version = 0;
    char locked[NUM_DIGITS_MAX + 1];
    int err = ask(l3, "SELECT GET_LOCK('cartd.schema', 10)", locked, sizeof locked);
    if (!err && strcmp(locked, "1") != 0)
        err = l3_fail(l3, CE_DB, "somebody else is changing the schema");
    if (!err)
        err = l3_my_query(l3, "COMMIT", NULL); /* a snapshot from before would not show it */
    if (!err)
        err = read_schema_version(l3, &version);
    while (!err && version < newest)
        err = run_step(l3, ++version);
    return err ? err : l3_my_query(l3, "DO RELEASE_LOCK('cartd.schema')", NULL);
}

static int check_schema(struct l3 *l3)
{
    uint32_t version;
    uint32_t newest = 0;
    while (l3_mysql_schema_step(newest + 1))
        newest++;
    int err = read_schema_version(l3, &version);
    if (!err && version < newest && !l3->is_fixed)
        err = upgrade_schema(l3, newest);
    else if (!err && version != newest)
        err = l3_refuse_schema(l3, version, newest);
    /* IF NOT EXISTS has taken a table for ours that is somebody else's? */
    if (!err)
        err = l3_my_query(l3,
                          "SELECT c.image, c.rev, l.line, l.ext, e.payload, i.taken_at"
                          " FROM cart c, cart_line l, cart_event e, cart_inbox i LIMIT 0",
                          NULL);
    return err ? err : l3_my_query(l3, "COMMIT", NULL);
}

/* ---- opening ------------------------------------------------------------------------- */

int l3_my_open(struct l3 *l3, const char *where)
{
    struct mysql *my = calloc(1, sizeof *my);
    char *text = strdup(where);
    l3->conn = my;
    struct url url;
    int err = 0;
    if (!my || !text)
        err = l3_fail(l3, CE_NOMEM, err_text(CE_NOMEM));
    else if (!split_url(text, &url))
        err = l3_fail(l3, CE_INVAL, "mysql: needs //USER:PASSWORD@HOST:PORT/DATABASE?SETTINGS");
    else
        err = connect_server(l3, &url);
    free(text);
    return err ? err : check_schema(l3);
}

void l3_my_close(struct l3 *l3)
{
    struct mysql *my = l3->conn;
    if (!my)
        return;
    if (my->db)
        mysql_close(my->db);
    buf_free(&my->sql);
    buf_free(&my->text);
    free(my);
    l3->conn = NULL;
}

#endif

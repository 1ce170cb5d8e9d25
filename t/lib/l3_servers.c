/* Each server is a child that serves until its standard input ends, so it never outlives us. */
#include "lib/l3_servers.h"

#include "lib/l3_fixture.h"

#include <libpq-fe.h>
#include <mysql.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROGRAM  "t/process/databases.py" /* tests run in the top folder */
#define USER     "cartd"
#define PASSWORD "Pa55%word" /* as databases.py has it */

static struct server {
    const char *scheme;
    pid_t pid;
    int input; /* our end of its standard input */
    char url[96];
    unsigned port;
} servers[] = {{.scheme = NULL}, {.scheme = "postgresql"}, {.scheme = "mysql"}};

static char database[64];

/* ---- life ------------------------------------------------------------------ */

static void launch(struct server *server, int *output)
{
    int in[2], out[2];
    MUST(pipe(in) == 0 && pipe(out) == 0);
    server->pid = fork();
    if (server->pid == 0) {
        for (size_t i = 0; i < 3; i++) /* the other's input must not stay open in us */
            if (servers[i].input)
                close(servers[i].input);
        dup2(in[0], STDIN_FILENO);
        dup2(out[1], STDOUT_FILENO);
        close(in[0]), close(in[1]), close(out[0]), close(out[1]);
        execl("/usr/bin/python3", "python3", PROGRAM, server->scheme, (char *)NULL);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    server->input = in[1];
    *output = out[0];
}

static bool read_url(struct server *server, int output)
{
    FILE *lines = fdopen(output, "r");
    bool told = fgets(server->url, sizeof server->url, lines) != NULL;
    fclose(lines);
    server->url[strcspn(server->url, "\n")] = '\0';
    const char *colon = strrchr(server->url, ':');
    return told && colon && sscanf(colon, ":%u", &server->port) == 1;
}

bool servers_start(void)
{
    int outputs[3];
    bool all = true;
    for (int i = ON_PGSQL; i <= ON_MYSQL; i++)
        launch(&servers[i], &outputs[i]);
    for (int i = ON_PGSQL; i <= ON_MYSQL; i++)
        all = read_url(&servers[i], outputs[i]) && all;
    if (!all)
        fprintf(stderr, "a database server could not be started\n");
    return all;
}

void servers_stop(void)
{
    for (int i = ON_PGSQL; i <= ON_MYSQL; i++) {
        close(servers[i].input);
        int status;
        waitpid(servers[i].pid, &status, 0);
    }
}

/* ---- PostgreSQL ------------------------------------------------------------ */

static char answer[ANSWER_MAX];

static void add_value(size_t *len, const char *text, bool is_last)
{
    *len += (size_t)snprintf(answer + *len, sizeof answer - *len, "%s%c", text ? text : "~",
                             is_last ? '\n' : '|');
    ck_assert_uint_lt(*len, sizeof answer);
}

static const char *query_pgsql(const char *where, const char *sql)
{
    char to[192];
    size_t len = 0;
    snprintf(to, sizeof to, "%s%s", servers[ON_PGSQL].url, where);
    PGconn *conn = PQconnectdb(to);
    ck_assert_msg(PQstatus(conn) == CONNECTION_OK, "%s", PQerrorMessage(conn));
    PQclear(PQexec(conn, "SET client_min_messages = error"));
    PGresult *result = PQexec(conn, sql);
    ck_assert_msg(*PQresultErrorMessage(result) == '\0', "%s", PQresultErrorMessage(result));
    answer[0] = '\0';
    for (int row = 0; row < PQntuples(result); row++) {
        for (int i = 0; i < PQnfields(result); i++)
            add_value(&len, PQgetisnull(result, row, i) ? NULL : PQgetvalue(result, row, i),
                      i + 1 == PQnfields(result));
    }
    PQclear(result);
    PQfinish(conn);
    return answer;
}

/* ---- MariaDB --------------------------------------------------------------- */

static const char *query_mysql(const char *where, const char *sql)
{
    size_t len = 0;
    MYSQL *db = mysql_init(NULL);
    mysql_options(db, MYSQL_SET_CHARSET_NAME, "utf8mb4");
    ck_assert_msg(mysql_real_connect(db, "127.0.0.1", USER, PASSWORD, *where ? where : NULL,
                                     servers[ON_MYSQL].port, NULL, 0) != NULL,
                  "%s", mysql_error(db));
    ck_assert_msg(mysql_query(db, sql) == 0, "%s: %s", sql, mysql_error(db));
    answer[0] = '\0';
    MYSQL_RES *result = mysql_store_result(db);
    MYSQL_ROW row;
    while (result && (row = mysql_fetch_row(result))) {
        for (unsigned i = 0; i < mysql_num_fields(result); i++)
            add_value(&len, row[i], i + 1 == mysql_num_fields(result));
    }
    mysql_free_result(result);
    mysql_close(db);
    return answer;
}

/* ---- the test's database --------------------------------------------------- */

/* In PostgreSQL a schema of one database, which is made much faster than a database. */
static const char *query_server(const char *where, const char *sql)
{
    return kind == ON_PGSQL ? query_pgsql(where, sql) : query_mysql(where, sql);
}

const char *server_query(const char *sql)
{
    return query_server(database, sql);
}

static void make_database(enum kind which, const char *format, const char *what)
{
    char name[16], sql[64];
    kind = which;
    snprintf(name, sizeof name, "t%d", (int)getpid());
    snprintf(sql, sizeof sql, "CREATE %s %s", what, name);
    query_server(which == ON_PGSQL ? "postgres" : "", sql);
    snprintf(database, sizeof database, "%s%s", format, name);
    snprintf(url, sizeof url, "%s%s", servers[which].url, database);
}

void set_up_pgsql(void)
{
    make_database(ON_PGSQL, "postgres?options=-csearch_path%3D", "SCHEMA");
}

void set_up_mysql(void)
{
    make_database(ON_MYSQL, "", "DATABASE");
}

void server_drop(void)
{
    char sql[64];
    snprintf(sql, sizeof sql, kind == ON_PGSQL ? "DROP SCHEMA t%d CASCADE" : "DROP DATABASE t%d",
             (int)getpid());
    query_server(kind == ON_PGSQL ? "postgres" : "", sql);
}

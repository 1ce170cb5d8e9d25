/* l3_mysql: what its two files share: the connection (l3_mysql_conn.c), reading and writing
 * (l3_mysql.c). */
#ifndef TIER_L3_L3_MYSQL_INT_H
#define TIER_L3_L3_MYSQL_INT_H

#include "tier/l3/l3_int.h"

#ifdef HAVE_LIBMARIADB
#include <mysql.h>

struct mysql {
    MYSQL *db;       /* NULL = not connected */
    unsigned error;  /* the server's number of the last error, 0 = none */
    struct buf sql;  /* scratch: the statement to come */
    struct buf text; /* scratch: a key as it stands in the database */
};

/* Connects, makes or checks the schema. */
int l3_my_open(struct l3 *l3, const char *where);
void l3_my_close(struct l3 *l3);

/* Runs the statement in `sql` (which is emptied), or one that is given. 0: *result (NULL when not
 * wanted) is the caller's to mysql_free_result; else words and number are kept. */
int l3_my_run(struct l3 *l3, MYSQL_RES **result) MUST_USE;
int l3_my_query(struct l3 *l3, const char *sql, MYSQL_RES **result) MUST_USE;

#endif
#endif

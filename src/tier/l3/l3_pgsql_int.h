/* l3_pgsql: what its two files share: the connection (l3_pgsql_conn.c), reading and writing
 * (l3_pgsql.c). */
#ifndef TIER_L3_L3_PGSQL_INT_H
#define TIER_L3_L3_PGSQL_INT_H

#include "tier/l3/l3_int.h"

#ifdef HAVE_LIBPQ
#include <libpq-fe.h>

#define PG_PARAMS_MAX 14
#define PG_STATE_LEN  5 /* of an SQLSTATE */

struct pgsql {
    PGconn *conn;
    char state[PG_STATE_LEN + 1];     /* the SQLSTATE of the last error; "" = none */
    struct buf params[PG_PARAMS_MAX]; /* scratch: of the statement to come, in binary */
    size_t params_count;
    struct buf text; /* scratch: a key as it stands in the database */
};

/* Connects, checks that the server takes writes, makes or checks the schema. */
int l3_pg_open(struct l3 *l3, const char *where);
void l3_pg_close(struct l3 *l3);

/* Each waits for the answer as long as something moves. 0: *result (may be NULL when not wanted) is
 * the caller's to PQclear; else words and SQLSTATE are kept. */
int l3_pg_query(struct l3 *l3, const char *sql, PGresult **result) MUST_USE;
/* A prepared statement with the params gathered; they begin anew then. Rows come in binary. */
int l3_pg_run(struct l3 *l3, const char *name, PGresult **result) MUST_USE;
int l3_pg_prepare(struct l3 *l3, const char *name, const char *sql) MUST_USE;

/* True when the last error began with these characters of an SQLSTATE. */
bool l3_pg_failed_with(const struct l3 *l3, const char *state);

#endif
#endif

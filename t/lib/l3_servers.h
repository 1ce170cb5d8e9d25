/* l3_servers: the servers of PostgreSQL and MariaDB behind l3_fixture, and their plain APIs. */
#ifndef LIB_L3_SERVERS_H
#define LIB_L3_SERVERS_H

#include <stdbool.h>

/* Before the suite runs: false when one could not be started. servers_stop ends them. */
bool servers_start(void);
void servers_stop(void);

/* One statement on the test's own database, without cartd; rows as in l3_fixture.h. */
const char *server_query(const char *sql);

/* Drops the test's database. */
void server_drop(void);

#endif

/* The parts of fail_nth that reach SQLite. */
#ifndef T_LIB_FAIL_NTH_SQLITE_H
#define T_LIB_FAIL_NTH_SQLITE_H

#include "fail_nth.h"

#include <stdbool.h>

/* Counts a call; true: it must fail. */
bool fail_nth_hits(enum fail_kind kind, const char *call);
/* Before SQLite is used. */
void fail_nth_sqlite_begin(void);

#endif

/* suite: the end of every unit test's main. */
#ifndef T_LIB_SUITE_H
#define T_LIB_SUITE_H

#include <check.h>

/* Runs the suite, each test in a process of its own; prints Check's lines. Returns main's status.
 */
int suite_run(Suite *suite);

#endif

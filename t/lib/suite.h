/* suite: the end of every unit test's main. */
#ifndef T_LIB_SUITE_H
#define T_LIB_SUITE_H

#include <check.h>
#include <sys/resource.h>

/* Runs the suite, each test in a process of its own; prints Check's lines. Returns main's status.
 */
int suite_run(Suite *suite);

/* Files of this process may not grow beyond so many bytes: to who writes them that is a failing
 * disk. RLIM_INFINITY ends it; what a test says is a file, too. */
void suite_limit_files(rlim_t bytes);

#endif

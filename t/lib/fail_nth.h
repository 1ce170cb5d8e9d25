/* fail_nth: every call that may fail, made to fail once: memory, files, threads, sockets, LevelDB,
 * SQLite. A program that links it (see FAIL_NTH in Makefile.am) has its own calls of them wrapped
 * by the linker, in every build; SQLite is reached by its own seams for memory and files, libevent
 * by its for memory.
 *
 *     for (n = 1; ; n++) { fail_nth_arm(..., n, ...); call; if (fail_nth_disarm() == 0) break; }
 *
 * The switch is a struct that may be a file: with FAIL_NTH=PATH in the environment it is mapped
 * from the first instruction on, so that another process arms a whole daemon. */
#ifndef T_LIB_FAIL_NTH_H
#define T_LIB_FAIL_NTH_H

#include <stdint.h>

#define FAIL_KIND_TABLE(X)                                                                         \
    X(MEMORY)                                                                                      \
    X(FILE)   /* journal, data directory, config: everything but the two databases */              \
    X(THREAD) /* beginning one */                                                                  \
    X(SOCKET)                                                                                      \
    X(L2)         /* a call of LevelDB */                                                          \
    X(SQL_FILE)   /* SQLite's of the file system */                                                \
    X(SQL_MEMORY) /* SQLite's of memory */

enum fail_kind {
#define X(name) FAIL_##name##_BIT,
    FAIL_KIND_TABLE(X)
#undef X
        FAIL_KINDS
};
#define FAIL_IN(name) (1u << FAIL_##name##_BIT)

#define FAIL_NAME_BYTES 32

/* t/process/fail_nth.py knows this layout. */
struct fail_nth {
    _Atomic uint32_t armed;
    uint32_t kinds;     /* set of FAIL_IN */
    uint32_t lasting;   /* not only the n-th, all behind it, too */
    uint32_t error;     /* errno that files, sockets and LevelDB fail with */
    _Atomic int64_t in; /* calls until one fails */
    _Atomic uint64_t hits;
    char thread[FAIL_NAME_BYTES];      /* only those whose name begins so; "" = all */
    char last_call[FAIL_NAME_BYTES];   /* the call that failed last, */
    char last_thread[FAIL_NAME_BYTES]; /* ... and in which thread */
};

/* From now on the n-th call (1 = the next) fails. `thread`: NULL = all. */
void fail_nth_arm(uint32_t kinds, int64_t n, int lasting, int error, const char *thread);
/* Nothing fails any more; how many calls did. */
uint64_t fail_nth_disarm(void);
/* The call that failed last. */
const char *fail_nth_last(void);

#endif

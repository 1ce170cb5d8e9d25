/* fake_env: a struct env in memory. A clock that stands until it is moved, random numbers from a
 * seed, files that know what was synced, calls that fail or wait on demand. Thread safe.
 *
 * The disk is meaner than a real one: a write that fails has written a random part; a sync that
 * fails has lost what was not synced, at once or with the power (as Linux does); names last only
 * after dir_sync. */
#ifndef T_LIB_FAKE_ENV_H
#define T_LIB_FAKE_ENV_H

#include "base/base.h"

#define FAKE_CALL_TABLE(X)                                                                         \
    X(CREATE)                                                                                      \
    X(WRITE)                                                                                       \
    X(SYNC)                                                                                        \
    X(CLOSE)                                                                                       \
    X(READ)                                                                                        \
    X(READ_PART)                                                                                   \
    X(SIZE)                                                                                        \
    X(TRUNCATE)                                                                                    \
    X(RENAME)                                                                                      \
    X(REMOVE)                                                                                      \
    X(DIR_MAKE)                                                                                    \
    X(DIR_SYNC)                                                                                    \
    X(DIR_LIST)                                                                                    \
    X(DIR_FREE)                                                                                    \
    X(ANY) /* every call of the above */

enum fake_call {
#define X(name) FAKE_##name,
    FAKE_CALL_TABLE(X)
#undef X
        FAKE_CALLS
};

#define FAKE_ALWAYS UINT32_MAX

/* The countdown-th call from now on fails (1 = the next), and so do the `repeat` - 1 behind it. */
struct fake_fault {
    uint32_t countdown; /* 0 = no fault */
    uint32_t repeat;    /* FAKE_ALWAYS = until it is cleared */
    int code;
};

enum fake_crash {
    FAKE_KILL,       /* the process dies: the disk has all that was written */
    FAKE_POWER,      /* what was not synced is lost from a random place on */
    FAKE_POWER_TORN, /* ... and the end of what is left may be garbage */
};

struct fake_env;

struct fake_env *fake_env_new(uint64_t seed);
void fake_env_free(struct fake_env **fake);
const struct env *fake_env_vtable(struct fake_env *fake);

/* The clock starts at 1000 s, monotonic and wall. */
void fake_env_advance_ms(struct fake_env *fake, uint64_t ms);
void fake_env_set_wall_us(struct fake_env *fake, uint64_t wall_us);

/* What dir_free tells; UINT64_MAX at first. Nothing takes from it. */
void fake_env_set_free(struct fake_env *fake, uint64_t bytes);

void fake_env_fault(struct fake_env *fake, enum fake_call call, struct fake_fault fault);
void fake_env_clear_faults(struct fake_env *fake);
/* How many calls failed because of faults. */
uint64_t fake_env_faults_hit(struct fake_env *fake);

/* How many calls were begun. */
uint64_t fake_env_calls(struct fake_env *fake, enum fake_call call);
/* Waits until `count` calls were begun. */
void fake_env_wait_calls(struct fake_env *fake, enum fake_call call, uint64_t count);
/* Calls of this kind wait at their beginning until they are let go. Not FAKE_ANY. */
void fake_env_hold(struct fake_env *fake, enum fake_call call);
void fake_env_let_go(struct fake_env *fake, enum fake_call call);

/* From here on every call fails with CE_IO, until fake_env_boot. Held calls are let go. */
void fake_env_crash(struct fake_env *fake, enum fake_crash how);
void fake_env_boot(struct fake_env *fake);

/* For tests that mend or break files: makes or replaces one, durable. The directory is made. */
void fake_env_put_file(struct fake_env *fake, const char *path, struct slice content);
/* How many files a directory has. */
size_t fake_env_count_files(struct fake_env *fake, const char *dir);

#endif

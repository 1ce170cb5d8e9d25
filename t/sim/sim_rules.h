/* sim_rules: what a seed decides before it begins. */
#ifndef T_SIM_SIM_RULES_H
#define T_SIM_SIM_RULES_H

#include <stdbool.h>
#include <stdint.h>

#define SIM_TRACE_BYTES (64u << 10)
#define SIM_LIVES_MAX   5
#define SIM_WINDOWS_MAX 4
#define SIM_CLIENTS_MAX 4
#define SIM_LIFE_MS_MAX 9000
#define SIM_DISK_BYTES  (48u << 20)

#define SIM_FAULTS(X)                                                                              \
    X(DISK_FULL, "writes find no room")                                                            \
    X(WRITE_EIO, "writes fail, having written a part")                                             \
    X(SYNC_EIO, "syncs fail, and what they were for is lost at the next power loss")               \
    X(READ_EIO, "reads fail")                                                                      \
    X(NAME_EIO, "creating, renaming and removing files fails")                                     \
    X(DISK_SLOW, "the disk takes up to seconds")                                                   \
    X(DB_DOWN, "the database refuses connections, and cuts those there are")                       \
    X(DB_SLOW, "the database takes up to seconds")                                                 \
    X(DB_LOST, "the database does not answer whether it has committed")                            \
    X(DB_DEADLOCK, "the database takes a transaction back")                                        \
    X(DB_POISON, "the database refuses one cart")

enum sim_fault {
#define X(name, what) SIM_##name,
    SIM_FAULTS(X)
#undef X
        SIM_FAULTS_COUNT
};

struct sim_window {
    uint64_t from_us, to_us;
    unsigned per_mille; /* of the calls meanwhile */
};

struct sim_rules {
    unsigned lives;   /* that end in a crash or a stop, before the last */
    unsigned clients; /* who send requests at the same time */
    unsigned workers; /* worker threads */
    unsigned switch_per_mille;
    unsigned l1_bytes;
    bool has_fault[SIM_FAULTS_COUNT];
    bool has_jumps;  /* of the wall clock */
    bool has_filler; /* plain items that push carts out of memory */
    /* Of the life at hand: */
    unsigned life_ms;
    bool crashes, power; /* else it is stopped; power lost, else killed */
    struct sim_window windows[SIM_FAULTS_COUNT][SIM_WINDOWS_MAX];
    uint64_t jump_at_us; /* 0 = none */
    int64_t jump_us;
};

#endif

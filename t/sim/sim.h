/* sim: the whole of cartd but its sockets in one OS thread, with virtual time and one seed. See
 * README.md. All that outlives a crash (disk, database, what clients know, the seed) is in one
 * shared memory; each life of the daemon is a child process, so that a crash leaves nothing. */
#ifndef T_SIM_SIM_H
#define T_SIM_SIM_H

#include "base/base.h"

#include "sim/sim_disk.h"
#include "sim/sim_rules.h"

/* ---- sim_world.c: what outlives a crash, chance, the trace ---- */

struct sim_disk;
struct sim_db;
struct sim_shop;

struct sim {
    uint64_t seed, random;
    uint64_t hash;    /* of all that has happened */
    uint64_t mono_us; /* virtual time */
    int64_t wall_jump_us;
    unsigned life;
    struct sim_rules rules;
    uint64_t steps;              /* points at which another fiber might have run */
    uint64_t calls;              /* of disk and database */
    uint64_t crash_step;         /* the process dies there; UINT64_MAX = never */
    uint64_t crash_call;         /* or there */
    bool failed;                 /* a promise was broken */
    char reason[512];            /* which */
    size_t trace_len;            /* of all that was ever said */
    char trace[SIM_TRACE_BYTES]; /* its end, as a ring */
    struct sim_disk *disk;
    struct sim_db *db;
    struct sim_shop *shop;
    size_t used; /* of what follows */
};
extern struct sim *sim;

/* Makes the shared memory, once. */
void sim_world_make(void);
/* Empties it for another seed. */
void sim_world_begin(uint64_t seed);
/* Zeroed shared memory, never given back before the next seed. */
void *sim_alloc(size_t bytes);

uint64_t sim_random(void);
uint64_t sim_below(uint64_t limit); /* 0 when limit is 0 */
bool sim_chance(unsigned per_mille);

extern bool sim_verbose;
void sim_trace(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Goes into the hash only. */
void sim_note(uint64_t value);
/* The promise that was broken: ends the process. */
_Noreturn void sim_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Prints the last lines of the trace. */
void sim_trace_print(size_t lines);

/* How a process ended. */
enum sim_exit {
    SIM_STOPPED = 0,
    SIM_CRASHED = 40,
    SIM_CUT_OFF = 41, /* it ended by itself, but not everything was saved */
    SIM_FAILED = 42,
};
_Noreturn void sim_exit(enum sim_exit how);

/* ---- sim_rules.c: what goes wrong, and when ---- */

/* Chooses rules for a seed, and the faults and the crash of a life. */
void sim_rules_choose(void);
void sim_rules_life(bool quiet);
/* Whether a fault of this kind strikes now. */
bool sim_strikes(enum sim_fault fault);
/* The window of this kind is open, chance aside. */
bool sim_is_open(enum sim_fault fault);

/* ---- sim_fiber.c: threads as fibers of one, virtual time ---- */

void sim_fibers_begin(void);
/* Another may run, or the process may die, here. */
void sim_step(void);
/* The same in front of a call to disk or database. */
void sim_call_step(void);
/* sim_wait waits until `object` is woken, at most timeout_us (0 = for ever); false on time-out. */

/* ---- sim_disk.c: one file system; names are paths. Calls give a CE_* ---- */

void sim_disk_new(void);
int sim_file_create(const char *path, bool fresh, struct sim_file **file);
struct sim_file *sim_file_find(const char *path);
int sim_file_append(struct sim_file *file, const void *bytes, size_t len);
/* with_name: as every Linux file system does, fsync of a new file makes its name last, too. LevelDB
 * counts on that; the journal does not. */
int sim_file_sync(struct sim_file *file, bool with_name);
/* What is there of [offset, offset+len); may be less. */
int sim_file_read(struct sim_file *file, uint64_t offset, size_t len, struct slice *out);
int sim_file_truncate(const char *path, uint64_t len);
int sim_names_sync(void);
bool sim_dir_exists(const char *path);
uint64_t sim_disk_free(void);
/* In order of names; `each` must not change the disk. CE_NOTFOUND. */
int sim_dir_each(const char *dir, void (*each)(void *arg, const char *name), void *arg);
/* The power fails: what was not synced is kept, lost, or torn, sector by sector. */
void sim_disk_power_loss(void);

/* ---- the others ---- */

const struct env *sim_env(void); /* sim_env.c */
void sim_db_new(void);           /* sim_l3.c */
bool sim_db_image(const char *key, struct slice *image, bool *deleted);
unsigned sim_db_events(const char *key); /* events of this cart */

struct net;
struct net_conn;
struct net_handler;
/* sim_net.c: the room net without sockets */
struct net *sim_net_new(const struct net_handler *handler, unsigned workers);
void sim_net_stop(struct net *net); /* no more input; waits until all is answered */
/* A connection of a client, which waits for answers. */
struct net_conn *sim_net_connect(struct net *net, unsigned worker);
/* Sends one request and waits for its answer, without the last \r\n; NULL: the connection is gone.
 * Borrowed until the next call. */
const char *sim_net_ask(struct net_conn *conn, const char *request);

/* sim_shop.c: clients, and what they may see */
void sim_shop_new(void);
enum sim_end { SIM_END_STOP, SIM_END_KILL, SIM_END_POWER };
void sim_shop_crashed(enum sim_end end);
/* Sends requests until then. `finish`: only what is not answered yet, then waits for L3. */
void sim_shop_run(struct net *net, uint64_t until_us, bool finish);

/* sim_life.c: one life of the daemon, in the process that calls */
_Noreturn void sim_life(bool last);
_Noreturn void sim_life_verify(bool last);
/* Memory is within its limit. */
void sim_life_judge(void);

#endif

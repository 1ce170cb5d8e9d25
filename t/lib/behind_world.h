/* behind_world: what write-behind works between: a fake owner (L1/L2 with its marks), a fake
 * database that fails on demand, a fake clock. A cart is a set of up to 64 events, so its state is
 * a mask, merging is OR, and a lost update is a missing bit. */
#ifndef LIB_BEHIND_WORLD_H
#define LIB_BEHIND_WORLD_H

#include "tier/behind/behind_int.h"

#define WORLD_CARTS_MAX  2000
#define WORLD_TIMES_MAX  64
#define WORLD_KEY_MAX    16
#define WORLD_EVENTS_MAX 1000
#define WORLD_DELAY_MS   500
#define WORLD_HOT_MS     20000
#define WORLD_NO_CART    UINT32_MAX

struct world_row {
    bool present;
    uint64_t mask;
    uint32_t rev; /* goes on counting after the row is gone */
};

/* What L2 has, and the mark there that L3 is older. */
struct world_held {
    bool present, marked;
    uint64_t mask;
    uint32_t l3_rev;
    uint64_t joined_at_ms; /* when L2 has the joined state below; 0 = there is none */
    uint64_t joined_mask;
    uint32_t joined_rev;
};

struct world_event {
    bool held;      /* in L2 */
    unsigned rows;  /* inserts that succeeded */
    uint32_t order; /* among the first inserts of all */
};

struct world {
    uint64_t now_ms;
    uint64_t random;
    struct behind *behind;
    struct behind_owner owner;
    struct env env;
    uint32_t cursor; /* of refill */

    struct world_row rows[WORLD_CARTS_MAX]; /* the database */
    struct world_held held[WORLD_CARTS_MAX];

    struct world_event events[WORLD_EVENTS_MAX];
    uint32_t events_at; /* of the walk through them */
    uint32_t events_inserted;
    size_t event_batches[WORLD_TIMES_MAX]; /* sizes of all tried */
    size_t event_batches_count;

    bool busy;     /* the clients are */
    size_t coming; /* carts that L2 lacks */

    /* What goes wrong. */
    bool events_refused;    /* their transactions fail */
    bool events_stay;       /* L2 is slow to let them go */
    uint32_t poison_event;  /* a transaction with it fails */
    uint32_t bad_event;     /* it is refused, and the others are not */
    uint32_t corrupt_event; /* it can't be described */
    bool down;              /* open fails */
    bool read_only;         /* flush fails, whatever is in it */
    uint32_t poison;        /* flush fails with this cart in it */
    uint32_t bad_load;      /* load fails for this cart */
    uint32_t bad_row;       /* flush succeeds but for this cart */
    int lost_replies;       /* so many flushes commit and then fail */
    uint32_t bad_cart;      /* the owner's calls fail with: */
    int snapshot_err, row_err, merge_err;
    unsigned fault_percent;     /* any of the above, at random */
    size_t pad_bytes;           /* added to each state */
    uint64_t join_ms;           /* how long a joined state takes to L2 */
    void (*during_flush)(void); /* before the rows are written */
    void (*after_refill)(void);

    /* What happened; of the lists the first WORLD_TIMES_MAX. */
    size_t batches[WORLD_TIMES_MAX]; /* sizes of all tried */
    size_t batches_count;
    uint64_t open_ms[WORLD_TIMES_MAX];
    size_t opens;
    uint64_t alone_ms[WORLD_TIMES_MAX]; /* when the poison cart was tried alone */
    size_t alones;
    size_t flushed_calls, refills;
};

/* The one world of this process. */
struct world *world_get(void);

/* A checked fixture: nothing fails, nothing is held, a behind with the fake clock. */
void world_set_up(void);
void world_tear_down(void);
/* Another behind, not started. */
void world_remake(const struct env *env, size_t batch_max, unsigned delay_ms);

uint64_t world_draw(void);
struct slice world_key(uint32_t cart, char storage[WORLD_KEY_MAX]);

/* Events happen to carts [from, to): L2 has them, behind_add is called. */
void world_change(uint32_t cart, uint64_t mask);
void world_change_all(uint32_t from, uint32_t to);
/* Somebody else's write to the database. */
void world_write_foreign(uint32_t cart, uint64_t mask);

/* Turns, with the clock moving as they ask, until `ms` have gone by. */
void world_run_for(uint64_t ms);
/* Turns until nothing is left to do; returns how long that took. */
uint64_t world_run_dry(void);

/* Events happen: L2 has them, behind_events_add is called. A number is an event. */
void world_happen(uint32_t number);
void world_happen_all(uint32_t from, uint32_t to);
void world_expect_events_in_l3(uint32_t from, uint32_t to);
/* What the fake database and the fake owner do with them. */
int world_put_events(struct l3_event *events, size_t count);
int world_read_events(void *ctx, size_t max,
                      bool (*take)(void *arg, uint64_t number, struct slice key,
                                   struct slice record),
                      void *arg, size_t *count);
void world_events_back(void *ctx, uint64_t number);
int world_event_row(void *ctx, struct slice key, struct slice record, struct buf *arena,
                    struct l3_event *out);
void world_event_done(void *ctx, uint64_t number, struct slice key);

uint64_t world_stat(const char *name);
/* A figure that is text; borrowed until the next call. */
const char *world_stat_text(const char *name);
void world_expect_in_l3(uint32_t cart);
void world_expect_all_in_l3(uint32_t from, uint32_t to);

#endif

/* behind: write-behind over one connection. Knows every cart of its own whose L3 copy is older than
 * L2's, and writes them in batches: coalesced per cart, sorted by key, one transaction a batch. Its
 * queue holds keys only; the state is taken at the moment of writing. When the queue is full it
 * stops remembering and refills from the marks in L2, so the backlog is bounded by disk, not by
 * memory. Several of them may write to one database as long as no cart belongs to two.
 *
 * Happy path: behind_add(key) -> delay -> snapshot() -> l3_flush -> flushed().
 * Conflict: l3_load -> merge() -> the cart waits its delay again, so that the joined state can
 * reach where snapshot() reads. Batch fails: back off (100 ms doubling to 5 s, jitter), then
 * smaller batches down to one to find a poison cart; a cart that failed alone is parked with its
 * own backoff (1 s doubling to 60 s) and the others go on. Nothing is ever dropped.
 *
 * Events (what happened to a cart, with its lines) are not coalesced: they are read from L2 in
 * order, inserted, and leave L2 after the commit. */
#ifndef TIER_BEHIND_BEHIND_H
#define TIER_BEHIND_BEHIND_H

#include "base/base.h"
#include "tier/l3/l3.h"

#define BEHIND_QUEUE_MAX       250000 /* of all connections together */
#define BEHIND_BATCH_MAX       1000
#define BEHIND_CONNECTIONS_MAX 16
#define BEHIND_EVENTS_MAX      256 /* in one transaction */

/* What the queue needs from its owner; all are called on its write-behind thread. */
struct behind_owner {
    void *ctx;
    /* Clients change carts so fast that waiting for more changes saves writes. *coming: so many
     * carts L2 lacks, which are added when it has them. Blocks for nothing. */
    bool (*busy)(void *ctx, size_t *coming);
    /* The newest state of a cart as bytes in `state`, and the L3 revision it is based on.
     * CE_NOTFOUND when no tier has it (then the key is dropped); other errors park the cart. */
    int (*snapshot)(void *ctx, struct slice key, struct buf *state, uint32_t *l3_rev);
    /* Describes a state as a row; slices and lines may point into `state` and `arena`. */
    int (*row)(void *ctx, struct slice key, struct slice state, struct buf *arena,
               struct l3_cart *out);
    /* L3 has `image` at revision `rev`, which we did not know: join it into the cart. The row is
     * gone: empty image, rev 0. */
    int (*merge)(void *ctx, struct slice key, struct slice image, uint32_t rev);
    /* `state` is in L3 as revision `rev`. */
    void (*flushed)(void *ctx, struct slice key, struct slice state, uint32_t rev);
    /* More marked keys: calls behind_add for up to `max`; CE_NOTFOUND when there are none left.
     * Goes on where it stopped; the call after CE_NOTFOUND starts with the first mark again. */
    int (*refill)(void *ctx, size_t max);
    /* Events that L3 lacks: calls `take`, which copies, for up to `max` of them in order, until it
     * returns false; *count = how many it took. Goes on behind the last it took; events_back: at
     * `number`, unless it is not that far. event_row describes one; slices may point into `arena`,
     * key and record. event_done: it is in L3. CE_IO, CE_CORRUPT, CE_NOMEM. */
    int (*events)(void *ctx, size_t max,
                  bool (*take)(void *arg, uint64_t number, struct slice key, struct slice record),
                  void *arg, size_t *count);
    void (*events_back)(void *ctx, uint64_t number);
    int (*event_row)(void *ctx, struct slice key, struct slice record, struct buf *arena,
                     struct l3_event *out);
    void (*event_done)(void *ctx, uint64_t number, struct slice key);
};

struct behind_config {
    const struct env *env;
    const struct behind_owner *owner;
    const char *url;       /* as l3_open; the thread opens it and opens it again after failures */
    unsigned delay_ms;     /* a cart waits so long for more changes before it is written; ... */
    unsigned cart_us;      /* ... while clients are busy for each cart that waits or comes, ... */
    unsigned delay_max_ms; /* ... but no longer, and not when the queue is nearly full */
    unsigned hot_ms;       /* busy clients: a cart that changes so soon after it was written is hot,
                              and waits so long. These three from the change on */
    size_t batch_max;      /* 1..BEHIND_BATCH_MAX */
    size_t queue_max;      /* keys; 1..BEHIND_QUEUE_MAX */
};

struct behind;

int behind_new(const struct behind_config *config, struct behind **behind) MUST_USE;
/* Starts the thread. Opening the database happens there: a database that is down stops nothing. */
int behind_start(struct behind *behind) MUST_USE;

/* Somebody waits until L3 has this cart: it waits for no more changes, and is the next. Nothing
 * when it is not queued. Any thread. */
void behind_hurry(struct behind *behind, struct slice key);

/* L3 is older than the daemon for this key, whose mark MUST be in L2 already: a full queue drops
 * the key and finds it there again. since_ms: when it may have changed first (env_mono_ms).
 * Coalesces. Any thread; never blocks on the database. */
void behind_add(struct behind *behind, struct slice key, uint64_t since_ms);

/* There are marked keys, too many to be added: they are found in L2. Any thread. */
void behind_missed(struct behind *behind);

/* L2 has `count` more events for L3, none with a smaller number than number_min. Any thread. */
void behind_events_add(struct behind *behind, uint64_t number_min, size_t count);

#define BEHIND_LATE_MS 2000
/* The database does not come on: one of them failed last, or what is due has waited so much longer.
 * Any thread. */
bool behind_is_late(struct behind *const *behinds, size_t count);

/* Waits until in none of them anything is queued or in flight, without delay, at most timeout_ms in
 * all, and not at all for a thread that never began. CE_BUSY. */
int behind_drain(struct behind *const *behinds, size_t count, unsigned timeout_ms) MUST_USE;

/* Ends the thread after the transaction in flight, frees. Takes and nulls. */
void behind_stop(struct behind **behind);

/* Age of the oldest key queued in any of them in ms, 0 only when there is none. Lock-free. */
uint64_t behind_age_ms(struct behind *const *behinds, size_t count);

#define BEHIND_STATS(X)                                                                            \
    X(behind_queue, "carts waiting to be written to L3")                                           \
    X(behind_age_ms, "how long the oldest of them waits")                                          \
    X(behind_parked, "carts set aside after failing alone")                                        \
    X(behind_flushed, "carts written")                                                             \
    X(behind_batches, "transactions committed")                                                    \
    X(behind_conflicts, "rows changed by somebody else and merged")                                \
    X(behind_errors, "transactions failed")                                                        \
    X(behind_events, "events written")                                                             \
    X(behind_events_waiting, "events waiting to be written to L3, as far as known")                \
    X(behind_events_parked, "of them set aside after failing alone")                               \
    X(behind_overflow, "1 for each connection whose queue is refilled from the marks in L2")

/* Those of several connections are added up, but for the greatest age. */
void behind_stats(struct behind *const *behinds, size_t count, const struct stat_sink *sink);

/* Where the circuit breaker of a connection is; of several the worst is told. */
#define BEHIND_BREAKER_STATES(X)                                                                   \
    X(CLOSED, "closed")       /* the last try was good, or there was none */                       \
    X(HALF_OPEN, "half-open") /* it was not; the next is due, or under way */                      \
    X(OPEN, "open")           /* it was not, and the database is left alone for now */

/* For an operator: the stats above; behind_connections; behind_breaker (the words above);
 * behind_retry_ms (until the next try); behind_last_error (words of the last failure, without a
 * password, or "none"); for connection N, from 1, behind_N_queue, behind_N_flushed and
 * behind_N_errors. Names and words are the sink's for the call only. Any thread. */
void behind_tell(struct behind *const *behinds, size_t count, const struct stat_sink *sink);

#endif

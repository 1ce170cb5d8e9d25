/* tier: the three places a cart can be, as one. Lookup order l1 -> l2 -> l3, fill-up with single
 * flight, and the way down: journal, L1's dirty carts -> L2 (drain), L2 -> L3 (behind).
 *
 * What holds at every instant (each has a test):
 * - L3 never has what L2 has not, L2 never has what the journal has not synced: so what a crash
 * takes is a suffix of the journal, in every tier.
 * - A journal segment goes only when L2 has all of it; a mark in L2 (L3 is older) goes only when L3
 *   has exactly that state.
 * - L2 knows whether it is complete (holds every cart that L3 has). While it is, a miss in L2 is an
 *   answer and no query goes to L3; a new or lost L2 beside a filled L3 is not.
 * States are opaque here; `struct tier_value` says what a tier must know of them. */
#ifndef TIER_TIER_H
#define TIER_TIER_H

#include "base/base.h"
#include "tier/journal/journal.h"
#include "tier/l1/l1.h"
#include "tier/l3/l3.h"

#define TIER_FILL_WAITERS_MAX 65536 /* requests waiting for lower tiers; then CE_BUSY */
#define TIER_FILL_THREADS     2     /* for L2, and as many for L3 */
#define TIER_ROOM_WAIT_MS     1000  /* how long a write waits for memory before CE_NOMEM */

#define TIER_EVENTS_BYTES_MAX (32u << 20) /* of events that L2 does not have yet */

struct tier;

/* What happens to carts and is told to L3 as an event. The numbers are those of the records. */
enum tier_event_kind {
    TIER_EVENT_EXPIRED = 1, /* its life has ended; the state is the last it had */
};

/* What tiers need to know of a state. Any thread, several at once. */
struct tier_value {
    int (*check)(struct slice state);                              /* 0, CE_CORRUPT, CE_NOMEM */
    int (*merge)(struct slice a, struct slice b, struct buf *out); /* appends the join to out */
    bool (*covers)(struct slice a, struct slice b);                /* a has all of b */
    int (*row)(struct slice key, struct slice state, struct buf *arena, /* see behind_owner */
               struct l3_cart *out);
    uint64_t (*expiry_us)(struct slice state); /* end of its life; 0 = none */
    uint64_t (*version)(struct slice state);
    uint64_t (*updated_us)(struct slice state); /* its last change */
    /* The state has what a journal record of this cart did; `body` is without its head. */
    bool (*has)(struct slice state, uint8_t type, struct slice body);
    /* Describes what happened at at_us to a cart whose state was `state`; as `row`. */
    int (*event)(enum tier_event_kind kind, struct slice key, uint64_t at_us, struct slice state,
                 struct buf *arena, struct l3_event *out);
};

/* What came of a row of the inbox. */
enum tier_inbox_answer {
    TIER_INBOX_DONE,    /* in L1 and in the journal, now or by an earlier try */
    TIER_INBOX_REFUSED, /* row->reason says why, in words; nothing was changed */
    TIER_INBOX_LATER,   /* nothing was changed; another time it may work */
    TIER_INBOX_MISSING, /* *missing is a cart that must be in L1 first */
};

struct tier_config {
    const struct env *env;
    const char *data_dir;                           /* journal/, l2/ below it */
    const char *l3_url;                             /* NULL = none */
    unsigned l3_delay_ms, l3_batch, l3_connections; /* see behind_config; 0 = the usual */
    size_t l1_bytes_max;
    const struct tier_value *value;
    uint8_t state_record;        /* journal record type of a whole state: head (see below), state */
    uint8_t pair_record;         /* ... of two records in one: varint length of the first, both */
    uint64_t history_bytes;      /* see journal_config */
    uint64_t l2_bytes_max;       /* of carts; 0 = no bound; only with an L3 */
    void (*advanced)(void *ctx); /* the journal moved; journal thread */
    /* Ends a cart in L1 whose life has ended, if it has. 0 also when there is nothing to do; else
     * it is asked again later. The reaper's thread; blocks for nothing but a stripe. */
    int (*expire)(void *ctx, struct slice key);
    /* Does what a row of the inbox asks for, exactly once however often it is called with the same
     * row within CART_TOKEN_LIFE. The inbox's thread; blocks for nothing but a stripe. */
    enum tier_inbox_answer (*inbox)(void *ctx, struct l3_inbox_row *row, struct slice *missing);
    unsigned l3_reads_max; /* queries a second for carts that L2 does not have; 0 = no limit */
    unsigned l3_wait_ms;   /* how long one waits for its turn, then CE_BUSY */
    unsigned inbox_ms;     /* how often the inbox in L3 is looked at; 0 = never */
    void *ctx;
};

/* Opens all tiers; no thread runs yet. `message` says what failed. Start-up thread. */
int tier_open(const struct tier_config *config, struct tier **tier, char *message,
              size_t message_bytes) MUST_USE;

/* A record of the journal that a cart may lack. */
struct tier_replayed {
    uint8_t type;
    struct slice key;  /* empty: it has no head that can be read, and `body` is all of it */
    struct slice body; /* of a pair record the half that is this cart's */
    uint64_t end_lsn;
};
/* Appends to `after` what the record makes of a cart's state (empty: there is no cart), or nothing
 * when it changes nothing, as when the state has it already. Returns 0 also when the record can
 * never be applied. Errors: this cart is tried again later. May call tier_replay_event. On one
 * thread at a time, not always the same. */
typedef int tier_replay_fn(void *arg, const struct tier_replayed *record, struct slice state,
                           struct buf *after);

/* Opens L2, reads what L2 may lack of the journal, starts the journal, the L2 writer and
 * write-behind. `replay` is called now or, while carts are served, on a thread of the tier: a cart
 * whose records are still to come is filled when they have been applied. CE_NOMEM, replay's error.
 * CE_NODISK, CE_IO and CE_DB are no errors of it: until they have passed tier_fill refuses with
 * them, and a thread begins again from the start, so `replay` must pass over what it was given
 * before. */
int tier_start(struct tier *tier, tier_replay_fn *replay, void *arg) MUST_USE;

/* Workers have ended. L1 -> L2, L2 -> L3, journal: each at most timeout_ms. Takes and nulls. 0, or
 * the first error: what is not in L3 yet is in L2 or the journal and goes on at the next start. */
int tier_stop(struct tier **tier, unsigned timeout_ms) MUST_USE;

struct l1 *tier_l1(struct tier *tier);
struct journal *tier_journal(struct tier *tier);

/* ---- carts on the reply path: workers, under the stripe lock ---- */

enum tier_found {
    TIER_HERE, /* *item is a cart */
    TIER_NONE, /* no tier has it */
    TIER_ASK,  /* L1 does not know: tier_fill, then look again */
};
enum tier_found tier_find_locked(struct tier *tier, uint64_t hash, struct slice key,
                                 struct l1_item **item);

/* Where a record stands in the journal: the position behind it and its size; bytes 0 = nowhere. */
struct tier_link {
    uint64_t lsn;
    uint32_t bytes;
};
/* That of a cart's newest; `item` as tier_find_locked gave it, of any kind or NULL. */
static inline struct tier_link tier_newest_of(const struct l1_item *item)
{
    if (!item || item->kind != L1_CART || !item->cart.record_bytes)
        return (struct tier_link){0, 0};
    return (struct tier_link){item->cart.lsn, item->cart.record_bytes};
}

/* Every journal record of a cart begins with this head: whose it is, and where the cart's record
 * before it stands, so that its history can be read backwards: u8 key length, key, varint size of
 * that record (0 = none), and then varint position behind it. A pair record holds two with heads.
 */
struct tier_head {
    struct slice key;
    struct tier_link before;
};
/* Appends the head for the next record of a cart. CE_NOMEM. */
int tier_head_put(struct slice key, struct tier_link before, struct buf *record) MUST_USE;
/* Takes a head off the front; false when there is none. */
bool tier_head_take(struct slice *record, struct tier_head *out);

/* Puts a changed cart: value into L1, record into the journal (or neither), dirty. `record` is the
 * payload of journal record `type`. `*lsn` is what an acknowledgement waits for. Keeps the item's
 * l3_rev; sets its actor. CE_NOMEM, CE_NODISK, CE_BUSY, CE_STOPPED: nothing changed. */
int tier_put_locked(struct tier *tier, uint64_t hash, struct slice key, uint64_t actor,
                    struct slice state, uint8_t type, struct slice record, enum ack_level level,
                    uint64_t *lsn) MUST_USE;

/* A change of a value where it stands: makes `bytes` of what is there. */
struct tier_edit {
    size_t bytes;
    void (*run)(void *arg, uint8_t *value); /* can't fail; the value has room for both */
    void *arg;
};
/* As tier_put_locked, for `item`, a cart that tier_find_locked found under the same hold. */
int tier_edit_locked(struct tier *tier, uint64_t hash, struct l1_item *item,
                     const struct tier_edit *edit, uint8_t type, struct slice record,
                     enum ack_level level, uint64_t *lsn) MUST_USE;

/* Of a change of two carts in one record: what belongs to one of them. */
struct tier_change {
    uint64_t hash;
    struct slice key;
    uint64_t actor;
    struct slice state;
};
/* As tier_put_locked, for two carts, whose stripes are both held: both or none. */
int tier_put_both_locked(struct tier *tier, const struct tier_change changes[2], uint8_t type,
                         struct slice record, enum ack_level level, uint64_t *lsn) MUST_USE;

/* An event of the step that is about to be put. tier_event_new copies the state that was; then
 * comes tier_put_locked or tier_put_both_locked, and under the same hold of the stripe
 * tier_event_settle with its result: 0 keeps the event, which reaches L2 no later than the state
 * after the step, and from there L3 at least once. It is not journaled: a replay of the step makes
 * it again. Without L3 it is dropped. CE_NOMEM, also when TIER_EVENTS_BYTES_MAX wait for L2
 * (tier_wait_room helps). */
struct tier_event;
int tier_event_new(struct tier *tier, enum tier_event_kind kind, struct slice key, uint64_t at_us,
                   struct slice state, struct tier_event **event) MUST_USE;
/* `lsn`: end of the step's record. Takes and nulls; NULL is fine. */
void tier_event_settle(struct tier *tier, struct tier_event **event, int rc, uint64_t lsn);

/* ---- waiting, workers, no lock held ---- */

/* Embedded in the request that waits; `done` is called exactly once, on another thread. */
struct tier_wait {
    struct tier_wait *_next;
    void (*done)(struct tier_wait *wait, int rc);
};

/* Brings a cart into L1 (or the knowledge that there is none), from L2 or L3. One query for all who
 * ask at the same time. done(0), or CE_DB, CE_IO, CE_NOMEM, CE_BUSY (its turn with L3 did not come,
 * see l3_reads_max). CE_BUSY: too many wait, done won't
 * come; nor after CE_NODISK, CE_IO, CE_DB: no cart is served yet. */
int tier_fill(struct tier *tier, struct slice key, struct tier_wait *wait) MUST_USE;

/* Waits until memory was freed by writing dirty carts to L2: done(0) look again, done(CE_NOMEM)
 * after TIER_ROOM_WAIT_MS. */
void tier_wait_room(struct tier *tier, struct tier_wait *wait);

/* ---- history ---- */

#define TIER_HISTORY_WAITERS_MAX 1024 /* questions that wait; then CE_BUSY */

/* A question for what was done to a cart. `done` is called exactly once; both on the history
 * thread, or on the stopping one. */
struct tier_history {
    struct tier_history *_next;
    struct slice key; /* the asker's, until done */
    /* Given the cart's records, newest first, without their heads, until it returns non-zero:
     * positive for enough, or a negative error. May block, but all others who ask wait. */
    int (*each)(struct tier_history *history, uint8_t type, struct slice body);
    /* 0; CE_NOTFOUND: what is older is no longer kept (`each` was given all that is). Else an
     * error: CE_NODISK, CE_BUSY (the journal does not come on), CE_IO, CE_CORRUPT, CE_NOMEM,
     * CE_STOPPED. */
    void (*done)(struct tier_history *history, int rc);
};

/* Asks; what was journaled before this call is included. CE_BUSY, CE_STOPPED, and what tier_fill
 * refuses with: done won't come. Any thread, waits for nothing. */
int tier_history(struct tier *tier, struct tier_history *history) MUST_USE;

/* ---- waiting for SQL ---- */

#define TIER_SQL_WAITS_MAX 1024 /* that wait at the same time; then CE_BUSY */

/* Somebody waits until L3 has a version of a cart, or a later one. `done` is called exactly once,
 * on another thread, no lock held. */
struct tier_sql_wait {
    struct tier_sql_wait *_prev, *_next;
    uint64_t _hash, _number, _until_ms;
    bool _looked;
    struct slice key; /* the asker's, until done */
    uint64_t version;
    unsigned timeout_ms;
    uint64_t found; /* out, of rc 0: the version that L3 has */
    /* 0; CE_NOT_STORED: the time is over; CE_STOPPED. */
    void (*done)(struct tier_sql_wait *wait, int rc);
};

/* Asks. L3 is looked at once; from then on write-behind tells. CE_NOTSAFE: there is no L3; CE_BUSY,
 * CE_STOPPED, and what tier_fill refuses with: done won't come. Any thread, waits for nothing. */
int tier_sql_wait(struct tier *tier, struct tier_sql_wait *wait) MUST_USE;

/* ---- an operator's jobs: one at a time, on a thread of their own ---- */

#define TIER_JOB_PATH_MAX     1024
#define TIER_JOB_RATE_DEFAULT 1000 /* carts a second */
#define TIER_JOB_RATE_MAX     1000000
#define TIER_JOB_LINES_MAX    (256u << 10) /* bytes that were not taken; then the job waits */
#define TIER_JOB_TICK_MS      1000         /* how often a job tells how far it is */

/* Name, word, whether it needs an L3. */
#define TIER_JOBS(X)                                                                               \
    X(VERIFY, verify, false) /* do the tiers agree? "DIFF <key>: <how>" for each that differs */   \
    X(SNAPSHOT, snapshot, false) /* a copy of the data directory, in `dir` */                      \
    X(RESYNC, resync, true)      /* marks every cart of L2: write-behind writes it to L3 again */
enum tier_job_kind {
#define X(name, word, needs_l3) TIER_JOB_##name,
    TIER_JOBS(X)
#undef X
        TIER_JOB_KINDS_
};

struct tier_job_config {
    enum tier_job_kind kind;
    uint32_t carts_per_s; /* 1..TIER_JOB_RATE_MAX */
    bool repair;          /* of a verify: what differs is merged and written to all tiers */
    struct slice dir;     /* at most TIER_JOB_PATH_MAX bytes, copied; an absolute path */
    /* tier_job_take has news. The job's thread, no lock held. */
    void (*wake)(void *ctx);
    void *ctx;
};

struct tier_job;

/* Begins a job. CE_BUSY: there is one; CE_NOTSAFE: it needs an L3; CE_STOPPED, CE_NOMEM, and what
 * tier_fill refuses with. Any thread, waits for nothing. */
int tier_job_start(struct tier *tier, const struct tier_job_config *config,
                   struct tier_job **job) MUST_USE;

/* Appends the lines that the job has told since (each ended by CRLF): "INFO <how far>" at times,
 * and behind all of them "STAT <name> <number>". True: it is over, and *rc is how; its words, if
 * any, are in `message`. False: `wake` will be called once. CE_NOMEM of `out` is *rc, too. */
bool tier_job_take(struct tier_job *job, struct buf *out, int *rc, const char **message);

/* Ends a job that is not over, frees it. Takes and nulls. MUST NOT be called while `wake` is still
 * to come. Any thread, waits for nothing. */
void tier_job_leave(struct tier_job **job);

/* Ends jobs and waits for SQL, and refuses others from now on: first of all when the daemon stops,
 * so that no connection waits for them. Any thread, waits for nothing. */
void tier_quiet(struct tier *tier);

/* ---- replay ---- */

/* The event of a replayed record that ends at lsn; `state` is the one before it. For replay. */
int tier_replay_event(struct tier *tier, enum tier_event_kind kind, struct slice key,
                      uint64_t at_us, struct slice state, uint64_t lsn) MUST_USE;

/* ---- do the tiers agree? ---- */

struct tier_verify_config {
    bool repair;
    void (*tell)(void *ctx, const char *line); /* one difference */
    void *ctx;
};
struct tier_verdict {
    uint64_t records, pending; /* of the journal; of them those that L2 need not have yet */
    uint64_t carts, behind;    /* of L2; of them those that L3 need not have yet */
    uint64_t rows;             /* of L3 */
    uint64_t differences, repaired;
};
/* Looks at every record of the journal, every cart of L2 and every row of L3 in a data directory
 * that nobody uses: checksums, and that none has what another should have and lacks. Changes
 * nothing but what LevelDB does when it is opened, unless `repair`: then each cart that differs is
 * joined from all that can be read, written to L2 and marked, so that the next start writes it to
 * L3. 0 when all could be looked at; CE_BUSY (a daemon uses it), CE_CORRUPT (L2 does not open), as
 * tier_open. `message` says what failed. Blocks. */
int tier_verify(const struct tier_config *config, const struct tier_verify_config *how,
                struct tier_verdict *out, char *message, size_t message_bytes) MUST_USE;

/* How long the oldest change waits for L3, in memory or in L2, ms; 0 only when L3 has all, or there
 * is none. Lock-free. */
uint64_t tier_behind_age_ms(const struct tier *tier);
/* What behind_tell says; nothing when there is no L3. Any thread. */
void tier_behind_tell(const struct tier *tier, const struct stat_sink *sink);

#define TIER_STATS(X)                                                                              \
    X(fills, "read-throughs asked for")                                                            \
    X(fills_joined, "of them answered by another's query (single flight)")                         \
    X(l2_loads, "carts that came from L2")                                                         \
    X(l3_loads, "queries to L3")                                                                   \
    X(l3_refused, "carts that were not asked of L3 in time: as many queries as may went there")    \
    X(fill_waiting, "requests waiting for lower tiers now")                                        \
    X(fill_errors, "read-throughs that failed")                                                    \
    X(drain_errors, "failed writes to L2")                                                         \
    X(drain_pending, "carts that L2 does not have yet")                                            \
    X(drain_delay_ms, "how long the last write to L2 waited for more changes")                     \
    X(carts_expired, "carts whose life has ended")                                                 \
    X(reap_checks, "ends of lives that came and were looked at")                                   \
    X(sql_waiting, "requests that wait until SQL has a version")                                   \
    X(events_pending, "events that L2 does not have yet")                                          \
    X(catchup_left, "carts whose records of the journal are still to be applied")                  \
    X(inbox_done, "rows of cart_inbox that were done")                                             \
    X(inbox_failed, "rows of cart_inbox that were refused, with the reason in the row")            \
    X(inbox_waiting, "rows of cart_inbox that were taken and are not settled")                     \
    X(inbox_errors, "failed questions to the database about cart_inbox")                           \
    X(l2_max_bytes, "--l2-max in bytes, 0 = no bound")                                             \
    X(l2_cart_bytes, "bytes of carts in L2 when they were last counted; 0 without a bound")        \
    X(l2_trimmed, "carts that left L2 for L3 to keep it within its bound")                         \
    X(l2_complete, "1 when a miss in L2 needs no query to L3")                                     \
    X(carts_served, "0 while disk or database keep carts from being read at start-up")
/* And `bottleneck`, a word: what writing waits for, or will when it goes on so; the first of
 * start (no cart is served yet), journal (the disk refuses, or syncs slower than clients write), l2
 * (memory is full of carts that L2 does not have yet), l3 (the database does not come on), none. */
void tier_stats(struct tier *tier, const struct stat_sink *sink);

#endif

/* tier_int: what the files of tier share. */
#ifndef TIER_TIER_INT_H
#define TIER_TIER_INT_H

#include "tier/behind/behind.h"
#include "tier/l2/l2.h"
#include "tier/tier.h"

#define TIER_MAGIC          0x74696572
#define DRAIN_DELAY_MS      700          /* a dirty cart waits so long for more changes */
#define DRAIN_CART_US       200          /* ... for each dirty cart so much longer ... */
#define DRAIN_DELAY_MAX_MS  40000        /* ... but no longer, */
#define DRAIN_QUIET_BYTES   (64u << 10)  /* and not while the journal grows by less in a delay */
#define DRAIN_JOURNAL_PART  2            /* nor while the journal has such a part of memory, */
#define DRAIN_JOURNAL_MIN   (12u << 20)  /* for a start brings its carts there; at least so much */
#define DRAIN_JOURNAL_MAX   (192u << 20) /* and at most: it is read before anyone is served */
#define DRAIN_MEMORY_PART   4            /* nor while dirty carts take such a part of memory */
#define BEHIND_CART_US      300          /* the same for L3, for each cart that waits for it ... */
#define BEHIND_DELAY_MAX_MS 60000        /* ... but no longer, what it waited for L2 included; */
#define BEHIND_HOT_MS       60000        /* one that was written lately waits so long */
#define DRAIN_SETTLE_MS     600          /* nothing to write for so long: see l2_settle */
#define DRAIN_RETRY_MS      500          /* after a failed write to L2 */
#define DRAIN_BATCH_BYTES   (1u << 20)   /* of states in one L2 batch */
#define DRAIN_DUE_BYTES     (4u << 20)   /* of carts that a sweep puts in order at once */
#define DRAIN_STRIPE_CARTS  32           /* taken under one hold of a stripe's lock */
#define JOURNAL_LATE_BYTES  (2u << 20)   /* not synced: the journal is what all wait for */
#define JOURNAL_WAIT_MS     5000         /* for the sync that must come before a write to L2 */
#define HISTORY_STORAGE_MAX (1u << 20)   /* memory for a record, held back for the next question */

#define SQL_WAITS_RETRY_MS   500  /* L3 did not answer */
#define SQL_WAITS_HURRY_MS   1000 /* what somebody waits for is hurried so often */
#define TIER_JOB_MESSAGE_MAX 512
#define JOB_LINE_MAX         1024
#define JOB_LOOK_MS          20 /* how often a job looks whether others have done their part */
#define JOB_STEP_CARTS       64 /* keys taken in one look at L2 */
#define ORDERS_BYTES_MAX     (1u << 20) /* of orders that L2 has not; then jobs wait */

#define TRIM_AGES 128 /* so many ages of carts are told apart */

#define REAP_TURN_MS  1000 /* how often the reaper looks for lives that have ended ... */
#define REAP_TURN_MAX 5000 /* ... and how many it looks at each time */

#define INBOX_RETRY_MS    5000   /* after the database has failed */
#define INBOX_PATIENCE_MS 300000 /* a row that can't be done for so long has failed */
#define INBOX_TOKEN_US_MAX                                                                         \
    480000000ull /* a row taken longer ago: its token may be forgotten soon */

#define FILL_QUERY       1000 /* one of a budget */
#define FILL_BURST_MS    100  /* so long an unused budget is kept */
#define FILL_L3_PAUSE_MS 500  /* between tries to connect to a database that fails */
#define FILL_ABSENT_MS   5000 /* how long L1 knows that L3 does not have a cart */

/* Keys of L2 that are told to L1 at a time; after an error. */
#define ABSENT_TURN_KEYS 1000
#define ABSENT_RETRY_MS  1000

/* Rows of L3 are looked at for lives that have ended: how often and how many each time, how often
 * the same when one of them can't be done, and how long after the last of all the first again. */
#define REAP_L3_TURN_MS  1000
#define REAP_L3_ROWS     200
#define REAP_L3_TRIES    30
#define REAP_L3_AGAIN_MS 600000

struct fill;

/* A cart that L3 has as of now: its mark in L2 may go if L2 still has the same state. */
struct unmark {
    struct unmark *next;
    uint64_t state_hash;
    uint8_t key_bytes;
    uint8_t key[];
};

/* An entry of a list in L2 that may go. The key follows. */
struct leave {
    uint64_t number;
    uint8_t list; /* enum l2_list */
    uint8_t key_bytes;
};

struct drain {
    pthread_t thread;
    bool started;
    struct lock lock; /* LOCK_L2_QUEUE: kicked, stopping, unmarks, leaves */
    struct cond cond;
    bool kicked, stopping;
    struct unmark *unmarks;
    struct buf leaves;    /* struct leave[] with their keys */
    struct buf leaving;   /* thread's own: those in the batch */
    _Atomic bool idle;    /* the thread sleeps and wants to hear of the first dirty cart */
    struct buf gather;    /* thread's own: states on their way into a batch */
    struct buf keys, due; /* thread's own: dirty carts, while a sweep puts them in order */
    bool no_memory;
    struct l2_batch *batch;
    uint64_t checkpoint;    /* everything before it is in L2 */
    bool mended;            /* L2 was begun anew and has no checkpoint */
    _Atomic unsigned mends; /* one more when a mending begins, and when it ends */
    _Atomic uint64_t delay_ms, errors;
    _Atomic uint64_t waiting_since_ms; /* the oldest change that L2 lacks; 0 = none */
};

/* A list of keys in a buffer, each behind its length in a byte. CE_NOMEM: it is as it was. */
MUST_USE static inline int keys_add(struct buf *keys, struct slice key)
{
    MUST(key.len <= L1_KEY_MAX);
    if (buf_reserve(keys, 1 + key.len))
        return CE_NOMEM;
    keys->bytes[keys->len] = (uint8_t)key.len;
    memcpy(keys->bytes + keys->len + 1, key.bytes, key.len);
    keys->len += 1 + key.len;
    return 0;
}

/* Takes the first off; false: there is none. */
static inline bool keys_next(struct slice *keys, struct slice *key)
{
    if (keys->len == 0)
        return false;
    *key = slice_of(keys->bytes + 1, keys->bytes[0]);
    *keys = slice_from(*keys, 1 + key->len);
    return true;
}

/* events.c: what happened to carts and is on its way to L2. */
struct events {
    struct lock lock; /* LOCK_L2_QUEUE */
    struct tier_event *queue, **queue_tail;
    size_t bytes;                           /* of those in queue and batch */
    struct tier_event *batch, **batch_tail; /* the L2 writer's own: being written */
    struct l2_place place;                  /* the write-behind thread's own: how far it has read */
    _Atomic uint64_t pending, expired;
};

/* turns.c: a thread that works in turns. */
struct turns {
    pthread_t thread;
    bool started;
    struct lock lock; /* LOCK_L2_QUEUE */
    struct cond cond;
    bool stopping;
};

/* reap.c: whose life has ended. */
struct reap {
    struct turns turns;
    struct lock lock;     /* LOCK_L2_QUEUE: low_s */
    struct lock end_lock; /* LOCK_FILL: who calls config.expire */
    uint64_t low_s;       /* L2 has new entries from this second on; UINT64_MAX = none */
    uint64_t batch_low_s; /* the L2 writer's own: the same of the batch it makes */
    /* The thread's own. */
    struct l2_place place;
    struct buf found;
    struct buf salvage_cursor;
    bool told;
    _Atomic uint64_t checks;
};

/* absent.c: which carts are in no tier. */
struct absent {
    struct turns turns;
    struct buf cursor;     /* the thread's own: how far it is in L2's keys */
    _Atomic bool knows_l2; /* L1 was told of all that L2 had */
};

/* reap_l3.c: whose life has ended among the carts that only L3 has. */
struct reap_l3 {
    struct turns turns;
    /* The thread's own. */
    struct l3 *l3;
    struct buf cursor; /* the key of the last row that was looked at */
    struct buf from;   /* ... before this turn */
    struct buf found;  /* keys of carts whose life has ended */
    size_t rows;       /* looked at in this turn */
    unsigned failures; /* times that one of these rows could not be done */
    bool failing;
};

/* inbox.c: what is asked for by way of SQL. */
struct inbox_try {
    uint64_t first_ms; /* when the row was first tried; 0 = not yet */
    bool left;         /* an earlier process had taken it, and may have done it */
};

struct inbox {
    struct turns turns;
    /* The thread's own. */
    struct l3 *l3;
    struct l3_inbox_row *rows; /* L3_INBOX_ROWS_MAX */
    struct inbox_try *tries;   /* as many */
    size_t count;
    int64_t left_after; /* the last row that an earlier process had taken; -1: there are no more */
    bool failing;       /* the database; the log has it */
    _Atomic uint64_t done, failed, waiting, errors;
};

struct fill_pool {
    pthread_t threads[TIER_FILL_THREADS];
    unsigned count;
};
struct fill_queue {
    struct fill *head, **tail;
};
/* How many queries may go to L3 now, in thousandths. */
struct fill_budget {
    uint64_t credit, at_ms;
};

struct fills {
    struct fill_pool l2_pool, l3_pool;
    struct lock lock; /* LOCK_FILL */
    struct cond cond, l3_cond;
    bool stopping;
    struct fill *table;                   /* uthash by key: asked for and not yet answered */
    struct fill_queue l2_queue, l3_queue; /* L3's: by the time until which they wait */
    struct fill_budget budget;
    unsigned waiting;
    uint64_t refused;
    _Atomic uint64_t l3_pause_until_ms; /* no new connection before */
    _Atomic bool l3_failing;            /* the log has it */
    _Atomic uint64_t asked, joined, l2_loads, l3_loads, errors;
};

/* order.c: what others want the L2 writer to do, beside what it is for. */
enum order_kind {
    ORDER_DROP, /* L3 has it: it may leave L2, if it is still this state */
    ORDER_MARK, /* L3 may be older: write the cart there again */
};

/* The key follows. */
struct order {
    uint64_t state_hash;
    uint8_t kind; /* enum order_kind */
    uint8_t key_bytes;
};

struct orders {
    struct lock lock;   /* LOCK_L2_QUEUE */
    struct buf waiting; /* struct order[] with their keys */
    struct buf writing; /* the L2 writer's own: those in the batch */
    uint64_t dropping;  /* ... and carts that leave with it */
    _Atomic bool busy;  /* there are such */
    /* A view of L2 with all that there was when it was asked for. */
    enum { VIEW_NOT, VIEW_ASKED, VIEW_SWEEPS, VIEW_READY } view_state;
    struct l2_view *view;
    int view_rc;
};

/* waits.c: who waits for SQL. */
struct sql_waits {
    pthread_t thread;
    bool started;
    struct lock lock; /* LOCK_OPERATOR */
    struct cond cond;
    bool stopping;
    struct tier_sql_wait *list;
    uint64_t numbers;       /* of all that ever came */
    uint64_t hurried_ms;    /* the thread's own */
    _Atomic uint64_t count; /* of those that wait */
};

/* trim.c: L2 within its bound. */
struct trim {
    struct turns turns;
    /* The thread's own. */
    struct l3 *l3;
    struct buf keys, cursor, storage, image;
    uint64_t bytes, ages[TRIM_AGES]; /* of carts, as counted by the last pass */
    uint64_t written;                /* l2_bytes_written when it began */
    /* What goes in the next: carts that were not changed since, and of those not changed since a
     * later moment so many bytes. */
    uint64_t all_until_us, some_until_us, some_bytes;
    uint64_t began_us; /* the pass */
    _Atomic uint64_t cart_bytes, trimmed;
};

/* job.c */
struct tier_job {
    struct tier *tier;
    struct tier_job_config config;
    uint64_t carts; /* done so far */
    uint64_t began_ms, told_ms;
    struct buf keys, cursor; /* the thread's own: of one step, where the walk is */
    bool no_memory;
    void *work; /* what its function keeps */
    char path[TIER_JOB_PATH_MAX + 1];
    char message[TIER_JOB_MESSAGE_MAX];
    /* Under the lock of struct jobs. */
    struct buf lines;
    bool waits; /* `wake` is owed */
    bool over, left;
    int rc;
};

struct jobs {
    pthread_t thread;
    bool started;
    struct lock lock; /* LOCK_OPERATOR */
    struct cond cond;
    bool stopping;
    struct tier_job *job; /* that is not over */
};

struct histories {
    pthread_t thread;
    bool started;
    struct lock lock; /* LOCK_HISTORY */
    struct cond cond;
    bool stopping;
    struct tier_history *queue, **queue_tail;
    unsigned waiting;
};

#define LATE_NEW_MAX 16

/* catchup.c: records that L2 may lack, on their way into L1. */
struct catchup {
    pthread_t thread;
    bool started;
    struct lock
        lock; /* LOCK_L2_QUEUE: waits, reload, stopping, and chains for who is not the thread */
    struct cond cond;     /* to the thread: somebody waits */
    struct cond answered; /* to those who wait */
    struct late_wait *waits;
    bool reload, reloading, stopping;
    bool whole;           /* of the start: L1 has carts that lack later records, so none may wait */
    _Atomic bool running; /* there are records that are not in L1 or L2 */
    _Atomic uint64_t left;       /* chains */
    struct late_record **chunks; /* these and `chains`: huge.h */
    size_t chunk_count, records_count;
    size_t kept_bytes; /* of records, where they lie and what is known of them */
    struct late_chain *chains;
    size_t chains_cap, chains_used;
    uint32_t new_hashes[LATE_NEW_MAX]; /* of the newest records, which are in no chain yet */
    size_t new_count;
    uint64_t end_lsn; /* of the last record that an earlier process made */
    /* The thread's own. */
    size_t cursor;
    struct l3 *l3;
    bool told;
};

/* start.c: who tries again to start. */
struct starter {
    struct turns turns;
    bool read;             /* what is on disk is read; only threads may be missing */
    unsigned l2_io_errors; /* of tries in a row to open L2 */
    tier_replay_fn *replay;
    void *arg;
};

/* down.c: a connection of write-behind; a cart belongs to one by the hash of its key. */
struct down_lane {
    struct tier *tier;
    bool grows;              /* the journal, fast; its thread's own, as what follows */
    uint64_t looked_ms, end; /* when it looked at the journal's end */
    uint64_t busy_ms;        /* when it last saw it grow */
    struct buf refill_cursor;
    struct behind_owner owner;
};

struct down {
    struct down_lane lanes[BEHIND_CONNECTIONS_MAX];
    struct behind *behinds[BEHIND_CONNECTIONS_MAX]; /* of the lanes */
    unsigned count;                                 /* 0 without L3 */
    unsigned started;                               /* of them run */
};

struct tier {
    unsigned magic;
    struct tier_config config;
    char *journal_dir, *l2_path, *l3_url;
    struct buf l3_name; /* the URL without its password: what L2 remembers */
    int dir_fd;         /* keeps other daemons out of the data directory */
    uint64_t boot;      /* this process; an actor in L2 is ours only when it was minted under it */
    struct l1 *l1;
    struct l2 *l2; /* NULL until it could be opened */
    struct journal *journal;
    _Atomic int refused; /* why no cart is served yet; 0 = they are */
    bool replayed;       /* the journal was read, and its thread runs */
    struct down down;
    _Atomic bool l2_complete;
    struct drain drain;
    struct fills fills;
    struct histories histories;
    struct events events;
    struct reap reap;
    struct reap_l3 reap_l3;
    struct absent absent;
    struct inbox inbox;
    struct orders orders;
    struct sql_waits sql_waits;
    struct jobs jobs;
    struct trim trim;
    struct starter start;
    struct catchup catchup;
    struct lock room_lock; /* LOCK_ROOM */
    struct tier_wait *room_waits;
    bool room_open; /* the L2 writer runs and will answer them */
};

static inline bool tier_is_serving(const struct tier *tier)
{
    return atomic_load_explicit(&tier->refused, memory_order_acquire) == 0;
}

/* start.c */
void start_init(struct tier *tier);
void start_fini(struct tier *tier);
/* Whether what the disk or the database has refused may work later, by itself. */
bool start_may_pass(int rc);
/* Makes the data directory, keeps other daemons out of it and lists the journal; once it has
 * worked, nothing. CE_BUSY, CE_NOACCESS, CE_NOTFOUND: somebody has to mend that. */
int start_open_dir(struct tier *tier) MUST_USE;
/* Opens L2. A damaged one is begun anew, or CE_CORRUPT. */
int start_open_l2(struct tier *tier, bool mend) MUST_USE;
/* What L2 knows of the journal: see drain.checkpoint. */
int start_read_checkpoint(struct tier *tier) MUST_USE;
void start_stop(struct tier *tier); /* no more tries */

/* The item whether carts are served yet or not. */
enum tier_found tier_find_any_locked(struct tier *tier, uint64_t hash, struct slice key,
                                     struct l1_item **item);

/* catchup.c */
void catchup_init(struct tier *tier);
void catchup_fini(struct tier *tier);
/* For journal_replay, `arg` is the tier: keeps a record; when there are too many, applies all. */
int catchup_note(void *arg, uint8_t type, struct slice payload, uint64_t end_lsn);
/* All was read. When it was more than is kept, the rest is applied now. As journal_replay. */
int catchup_read(struct tier *tier) MUST_USE;
/* Drops what was kept: the journal is read from the start again. */
void catchup_forget(struct tier *tier);
/* All was noted, and the journal is started: from here on what was noted has to be waited for. */
void catchup_begin(struct tier *tier);
/* Starts the thread when there is anything to do; after the L2 writer. */
int catchup_start(struct tier *tier) MUST_USE;
/* Lets it end by itself for timeout_ms; what is left goes on at the next start. */
void catchup_stop(struct tier *tier, unsigned timeout_ms);
/* L1 or L2 have all that the journal had at the start: L2's checkpoint may move. */
bool catchup_is_over(const struct tier *tier);
/* Waits until L1 or L2 have what the journal had of a cart. CE_STOPPED, or why it can't be now: as
 * fill_read, CE_NOMEM. No lock held; blocks. */
int catchup_await(struct tier *tier, uint64_t hash) MUST_USE;
/* L2 is about to be begun anew: what the journal has of any cart is applied again. */
void catchup_reload(struct tier *tier);

/* drain.c: L1 -> L2 */
/* So much of the journal may L2 lack. */
size_t drain_journal_bytes_max(const struct tier *tier);
int drain_start(struct tier *tier) MUST_USE;
void drain_stop(struct tier *tier);
/* Writes all carts that are dirty now, and handles unmarks. The L2 writer's thread, or any one
 * thread while that one does not run. */
int drain_sweep(struct tier *tier) MUST_USE;
void drain_kick(struct tier *tier);
/* Begins a damaged L2 anew; does nothing when it is none. CE_NODISK, CE_NOMEM: again later. As
 * drain_sweep, which begins with it. */
int drain_mend(struct tier *tier) MUST_USE;
/* How long the oldest change waits for L2; 0 only when L2 has all. Lock-free. */
uint64_t drain_age_ms(const struct tier *tier);
/* For one who reads L2 and then, under its stripe's lock, puts what he has read into L1: asked
 * there, with the figure from before he read, whether L2 may have been begun anew without it. Any
 * thread. */
unsigned drain_mends(struct tier *tier);
bool drain_has_mended(struct tier *tier, unsigned before);
void drain_dirty(struct tier *tier); /* a cart became dirty; cheap; under a stripe's lock */
void drain_unmark(struct tier *tier, struct slice key, struct slice state);
/* An entry of a list in L2 may go. Of L2_EXPIRIES: its cart is looked at again first, and entered
 * anew if it still has a life that ends. Any thread. */
void drain_leave(struct tier *tier, enum l2_list list, uint64_t number, struct slice key);
/* How many bytes of them the L2 writer has not taken. */
size_t drain_leaves_bytes(struct tier *tier);
/* Marks every cart of L2 when the database is another than the marks were made for. */
int drain_mark_all(struct tier *tier) MUST_USE;

/* events.c */
void events_init(struct tier *tier);
void events_fini(struct tier *tier);
/* The L2 writer: do any wait; puts all that wait into the batch; the batch is in L2. */
bool events_wait(struct tier *tier);
void events_to_batch(struct tier *tier);
void events_committed(struct tier *tier);
/* For struct behind_owner. */
int events_read(void *ctx, size_t max,
                bool (*take)(void *arg, uint64_t number, struct slice key, struct slice record),
                void *arg, size_t *count);
void events_back(void *ctx, uint64_t number);
int events_row(void *ctx, struct slice key, struct slice record, struct buf *arena,
               struct l3_event *out);
void events_done(void *ctx, uint64_t number, struct slice key);

/* turns.c. Starting one that runs does nothing; CE_NOMEM. A stop waits for the turn to end. */
void turns_init(struct turns *turns);
void turns_fini(struct turns *turns);
int turns_start(struct turns *turns, const char *name, void *(*run)(void *arg), void *arg) MUST_USE;
void turns_stop(struct turns *turns);
/* For the thread: rests so long, 0 = not at all. False: it is to end. */
bool turns_rest(struct turns *turns, unsigned ms);
static inline bool turns_end(struct turns *turns)
{
    return !turns_rest(turns, 0);
}

/* reap.c */
void reap_init(struct tier *tier);
void reap_fini(struct tier *tier);
int reap_start(struct tier *tier) MUST_USE;
void reap_stop(struct tier *tier);
/* The L2 writer: enters the end of a cart's life into the batch; the batch is in L2. An end that is
 * over comes a second from now. */
void reap_enter(struct tier *tier, struct slice key, struct slice state);
void reap_committed(struct tier *tier);
/* Enters all carts of an L2 that was written before there were entries. Start-up thread. */
int reap_enter_all(struct tier *tier) MUST_USE;

/* An entry that could not be dealt with stays, and is met again. Any thread. */
void reap_meet_again(struct tier *tier, uint64_t second);
/* Ends the life of a cart, if it has ended. The reaper's thread, and that of reap_l3. */
int reap_end(struct tier *tier, struct slice key) MUST_USE;

/* absent.c */
void absent_init(struct tier *tier);
void absent_fini(struct tier *tier);
int absent_start(struct tier *tier) MUST_USE;
void absent_stop(struct tier *tier);
/* Under its stripe's lock, for a cart that is not in L1: whether it is in no other tier. */
bool absent_is_sure(struct tier *tier, uint64_t hash);

/* reap_l3.c */
void reap_l3_init(struct tier *tier);
void reap_l3_fini(struct tier *tier);
int reap_l3_start(struct tier *tier) MUST_USE; /* does nothing when L2 has all that L3 has */
void reap_l3_stop(struct tier *tier);

/* inbox.c */
void inbox_init(struct tier *tier);
void inbox_fini(struct tier *tier);
int inbox_start(struct tier *tier) MUST_USE; /* does nothing without L3, or when it is off */
void inbox_stop(struct tier *tier);

/* fill.c: L2, L3 -> L1 */
void fill_init(struct tier *tier);
void fill_fini(struct tier *tier);
int fill_start(struct tier *tier) MUST_USE;
void fill_stop(struct tier *tier); /* answers all who wait with CE_STOPPED */
/* As tier_fill, but blocks until the cart (or its absence) is in L1. Not for workers, and no lock
 * held. */
int fill_now(struct tier *tier, struct slice key) MUST_USE;

/* Waits for the L2 writer's next batch; until so many bytes have room in L1. CE_NOMEM, CE_STOPPED.
 * As fill_now. */
int fill_wait_sweep(struct tier *tier) MUST_USE;
int fill_wait_room(struct tier *tier, size_t bytes) MUST_USE;
/* fill_read.c: the state of a cart from L2, else L3. *from_l3 tells which; what L2 can't read L3 is
 * not asked for, which may have an older one. *l3 may be NULL and is opened when needed.
 * CE_NOTFOUND when neither has it, CE_IO, CE_CORRUPT, CE_DB, CE_NOMEM. */
int fill_read(struct tier *tier, struct l3 **l3, struct slice key, struct buf *storage,
              struct l2_cart *cart, bool *from_l3) MUST_USE;
/* The same of L2 only. */
int fill_read_l2(struct tier *tier, struct slice key, struct buf *storage,
                 struct l2_cart *cart) MUST_USE;
/* Whether a cart that L2 does not have may be in L3, or was salvaged. */
bool fill_may_be_beyond_l2(struct tier *tier);

/* Puts and journals a whole state that came from another tier: a read-through, a join. Waits for
 * nothing; as tier_put_locked. */
int tier_put_state_locked(struct tier *tier, uint64_t hash, struct slice key, uint64_t actor,
                          struct slice state) MUST_USE;

/* record.c: a cart's records, read backwards */
void history_init(struct tier *tier);
void history_fini(struct tier *tier);
/* Takes the head off a record of a cart; of a pair, off the part that is this cart's. False: it is
 * none of this cart. */
bool history_take_head(const struct tier *tier, uint8_t type, struct slice key, struct slice *body,
                       struct tier_head *head);
int history_start(struct tier *tier) MUST_USE;
void history_stop(struct tier *tier); /* answers all who wait with CE_STOPPED */

/* The ctx of struct behind_owner is a struct down_lane. */
static inline struct tier *down_tier(void *ctx)
{
    return ((struct down_lane *)ctx)->tier;
}

/* down.c: write-behind, and what it asks for. None does anything without L3. */
/* order.c */
void orders_init(struct tier *tier);
void orders_fini(struct tier *tier);
/* Any thread. Without memory the order is lost: CE_NOMEM. */
int orders_give(struct tier *tier, enum order_kind kind, struct slice key,
                uint64_t state_hash) MUST_USE;
size_t orders_bytes(struct tier *tier); /* of orders that the L2 writer has not taken */
/* Some are not in L2 yet. */
bool orders_pending(struct tier *tier);
/* The L2 writer: are there any; puts them into the batch, in front of this sweep's states; the
 * batch is in L2. */
bool orders_wait(struct tier *tier);
void orders_to_batch(struct tier *tier);
void orders_committed(struct tier *tier);
/* For one who wants a view of L2 as it is after a whole sweep. orders_take_view: false: not yet. It
 * is his then, *rc tells why there is none. `gives_up`: true, and there will be none. */
void orders_ask_view(struct tier *tier);
bool orders_take_view(struct tier *tier, bool gives_up, struct l2_view **view, int *rc);
/* The L2 writer: a sweep begins, or has ended with rc. */
void orders_sweep_begins(struct tier *tier);
void orders_sweep_ended(struct tier *tier, int rc);

/* waits.c */
void sql_waits_init(struct tier *tier);
void sql_waits_fini(struct tier *tier);
int sql_waits_start(struct tier *tier) MUST_USE;
/* Write-behind: L3 has this state now. Any thread. */
void sql_waits_flushed(struct tier *tier, struct slice key, struct slice state);
void sql_waits_quiet(struct tier *tier); /* answers all who wait with CE_STOPPED; no more */
void sql_waits_stop(struct tier *tier);

/* job.c */
void jobs_init(struct tier *tier);
void jobs_fini(struct tier *tier);
int jobs_start(struct tier *tier) MUST_USE;
void jobs_quiet(struct tier *tier); /* ends the job; no more */
void jobs_stop(struct tier *tier);
/* For those who do the work; on the jobs' thread. CE_STOPPED: nobody wants it any more; CE_NOMEM. A
 * line without its end. */
int job_tell(struct tier_job *job, const char *format, ...)
    __attribute__((format(printf, 2, 3))) MUST_USE;
int job_stat(struct tier_job *job, const char *name, uint64_t value) MUST_USE;
int job_sleep(struct tier_job *job, unsigned ms) MUST_USE;
/* So many carts more are done: keeps the rate, tells how far it is. */
int job_pace(struct tier_job *job, size_t carts) MUST_USE;
/* Calls `each` for all carts of L2, at the rate, until it returns non-zero; returns that. Those
 * that come meanwhile may be met. Also CE_IO, CE_CORRUPT. */
int job_each_cart(struct tier_job *job,
                  int (*each)(struct tier_job *job, struct slice key)) MUST_USE;
/* The rows of TIER_JOBS. */
#define X(name, word, needs_l3) int job_##word(struct tier_job *job) MUST_USE;
TIER_JOBS(X)
#undef X

/* verify.c */
/* How L3's image of a cart (empty: no row) differs from L2's state; *words NULL: not, or it is only
 * *behind: older, and marked. CE_NOMEM. */
int verify_compare(const struct tier_value *value, struct slice state, struct slice image,
                   bool marked, const char **words, bool *behind) MUST_USE;

/* trim.c; without a bound there is nothing to start */
void trim_init(struct tier *tier);
void trim_fini(struct tier *tier);
int trim_start(struct tier *tier) MUST_USE;
void trim_stop(struct tier *tier);

/* down.c: what write-behind asks for */
/* Joins an image into a cart, in memory; from there it goes to L2, and to L3 over revision `rev`.
 * Empty: nothing is joined, but all is written again. CE_BUSY: try again; CE_CORRUPT, CE_NOMEM, and
 * as fill_now. Not for workers, and no lock held. */
int down_merge(struct tier *tier, struct slice key, struct slice image, uint32_t rev) MUST_USE;
int down_new(struct tier *tier) MUST_USE;
/* Write-behind will look for what earlier processes left behind. */
void down_resume(struct tier *tier);
int down_start(struct tier *tier) MUST_USE;
void down_stop(struct tier *tier);
/* As behind_add, to the connection that the cart belongs to. */
void down_add(struct tier *tier, struct slice key, uint64_t since_ms);
/* Somebody waits until L3 has it: see behind_hurry. */
void down_hurry(struct tier *tier, struct slice key);
/* As behind_events_add. All events take one connection, so they keep their order. */
void down_events_add(struct tier *tier, uint64_t number_min, size_t count);

#endif

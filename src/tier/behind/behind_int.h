/* behind inside: the queue (behind_queue.c), one turn of the work (behind_turn.c), its part with
 * events (behind_events.c), and the thread with the public calls (behind.c). */
#ifndef TIER_BEHIND_BEHIND_INT_H
#define TIER_BEHIND_BEHIND_INT_H

#include "tier/behind/behind.h"

#include <limits.h>

/* Keys come from clients: a hash that spreads them well. Out of memory is answered, not fatal. */
#define HASH_FUNCTION(key, len, hash) (hash) = (unsigned)hash_64(slice_of((key), (len)))
#define HASH_NONFATAL_OOM             1
#define uthash_nonfatal_oom(entry)    ((entry)->version = 0)
#include <uthash.h>

#define BEHIND_MAGIC            0xbe41d0e5
#define BEHIND_MESSAGE_MAX      256
#define BEHIND_BATCH_BYTES      (8u << 20) /* states of one transaction; at least one cart goes */
#define BEHIND_BUFFER_KEEP      2048       /* bytes a cart's buffer keeps between batches */
#define BEHIND_BACKOFF_FIRST_MS 100
#define BEHIND_BACKOFF_MAX_MS   5000
#define BEHIND_PARK_FIRST_MS    1000
#define BEHIND_PARK_MAX_MS      60000
#define BEHIND_JOIN_MS          100 /* at least, from merge() to the next snapshot() */
#define BEHIND_LOOK_MS          250 /* a turn at least so often while carts wait for busy clients */
#define BEHIND_SHRINK           8   /* a failed batch is tried again in parts of this many */
#define BEHIND_IDLE             UINT_MAX /* from behind_turn: nothing to do until behind_add */

/* ---- the queue: not thread safe, callers hold the lock of struct behind -------------- */

enum behind_place {
    BEHIND_QUEUED, /* in order of due time; in front a run, in order of keys: all of it is due */
    BEHIND_HOT,    /* changed again soon after it was written; in order of due time */
    BEHIND_FLYING, /* being written by the current turn */
    BEHIND_PARKED, /* failed alone; in order of due time */
    BEHIND_WARM,   /* written lately and not changed since: waits for nothing; by time of writing */
    BEHIND_PLACES
};

struct behind_entry {
    struct behind_entry *prev, *next; /* of its place */
    UT_hash_handle hh;
    enum behind_place place;
    uint64_t version;  /* counts adds. A flight settles the adds it started with, no others */
    uint64_t since_ms; /* oldest change that may not be in L3 */
    uint64_t due_ms;   /* queued, hot: not before; 0: somebody waits for it. Flying: since when;
                          parked: next try; warm: forgotten then */
    unsigned failures; /* times failed alone */
    uint32_t rev;      /* of the row as we last wrote it; 0 = not since it was queued or merged */
    bool joins;        /* queued: merged, due_ms holds even for a drain */
    size_t key_len;
    uint8_t key[];
};

static inline struct slice behind_key(const struct behind_entry *entry)
{
    return slice_of(entry->key, entry->key_len);
}

struct behind_queue {
    struct behind_entry *table;
    struct behind_entry *places[BEHIND_PLACES];
    size_t counts[BEHIND_PLACES];
};

/* Carts that L3 lacks. */
static inline size_t behind_queue_count(const struct behind_queue *queue)
{
    return queue->counts[BEHIND_QUEUED] + queue->counts[BEHIND_HOT] + queue->counts[BEHIND_FLYING] +
           queue->counts[BEHIND_PARKED];
}

/* NULL when the key is not known. */
struct behind_entry *behind_queue_find(const struct behind_queue *queue, struct slice key);
/* A new key at the end. NULL when memory is out; nothing changed then. MUST NOT be known. */
struct behind_entry *behind_queue_push(struct behind_queue *queue, struct slice key,
                                       uint64_t since_ms, uint64_t due_ms);
/* To the front or the end of the queue, into flight, or by its new due time among the parked. */
void behind_queue_front(struct behind_queue *queue, struct behind_entry *entry);
void behind_queue_back(struct behind_queue *queue, struct behind_entry *entry, uint64_t due_ms);
/* Behind the hot ones; a cart that was written, behind the warm ones. */
void behind_queue_heat(struct behind_queue *queue, struct behind_entry *entry, uint64_t due_ms);
void behind_queue_warm(struct behind_queue *queue, struct behind_entry *entry, uint64_t due_ms);
/* Hot carts are queued, each with this delay since it changed: those that are due in front, for
 * they have waited longest; or all of them at the end. */
void behind_queue_cool(struct behind_queue *queue, uint64_t now_ms, unsigned delay_ms);
void behind_queue_cool_all(struct behind_queue *queue, unsigned delay_ms);
/* Those that are due, or all. */
void behind_queue_forget_warm(struct behind_queue *queue, uint64_t now_ms, bool all);
/* Forgets the warm cart that was written first, if there is one. */
void behind_queue_forget(struct behind_queue *queue);
void behind_queue_fly(struct behind_queue *queue, struct behind_entry *entry);
void behind_queue_park(struct behind_queue *queue, struct behind_entry *entry, uint64_t due_ms);
/* All parked carts may be tried again now. */
void behind_queue_recall(struct behind_queue *queue, uint64_t now_ms);
/* The first `count` of the queued carts are put in order of keys. */
void behind_queue_sort(struct behind_queue *queue, size_t count);
void behind_queue_remove(struct behind_queue *queue, struct behind_entry *entry);
void behind_queue_clear(struct behind_queue *queue);
/* since_ms of the oldest queued, hot or parked cart, UINT64_MAX when there is none. */
uint64_t behind_queue_oldest(const struct behind_queue *queue);

/* ---- write-behind -------------------------------------------------------------------- */

enum behind_stat {
#define X(name, what) BEHIND_STAT_##name,
    BEHIND_STATS(X)
#undef X
        BEHIND_STAT_COUNT
};

/* What becomes of a cart after its flight. */
enum behind_fate {
    BEHIND_FATE_BACK,  /* not written for no fault of its own: in front again */
    BEHIND_FATE_DONE,  /* in L3, or in no tier */
    BEHIND_FATE_AGAIN, /* merged with what L3 had: once more */
    BEHIND_FATE_PARK,  /* failed alone */
};

/* A cart in flight. */
struct behind_item {
    struct behind_entry *entry;
    uint64_t version; /* of the entry when it took off */
    enum behind_fate fate;
    struct buf state, arena;
    struct l3_cart cart; /* points into them */
};

/* An event on its way to L3. */
struct behind_event {
    uint64_t number;
    struct buf key, record, arena;
};

struct behind_events {
    /* Guarded by the lock. */
    bool more;            /* L2 may have events behind where the walk is */
    uint64_t back_to;     /* ... or from here on; UINT64_MAX = no */
    uint64_t retry_at_ms; /* not before */

    /* The write-behind thread's own. */
    struct behind_event *items; /* BEHIND_EVENTS_MAX */
    struct l3_event *rows;      /* as many */
    size_t taken, taken_bytes;  /* items of this turn */
    bool no_memory;             /* for one more item */
    size_t limit;               /* of the next turn; small after a failure */
    unsigned streak;            /* failed transactions since the last success */
    size_t parked;              /* events passed over since the walk was last there */
    uint64_t parked_from;       /* the first of them; UINT64_MAX = none */
    uint64_t parked_due_ms;     /* when the walk goes back to them */
    unsigned parkings;          /* walks in a row that left some */
};

struct behind {
    unsigned magic;
    const struct env *env;
    const struct behind_owner *owner;
    char *url;
    unsigned delay_ms, cart_us, delay_max_ms, hot_ms;
    size_t batch_max;
    size_t queue_max;
    int (*open)(const char *url, struct l3 **l3, char *message, size_t message_bytes); /* l3_open */

    struct lock lock; /* guards what follows up to events */
    struct cond work; /* the thread waits here */
    struct cond idle; /* behind_drain waits here */
    struct behind_queue queue;
    size_t run;            /* carts of the run that are left in front of the queue */
    uint64_t run_since_ms; /* of the oldest of them */
    unsigned drains;       /* behind_drain calls waiting: due times do not count */
    bool woken, stopping, overflow;
    bool busy;            /* the clients were, at the last turn */
    size_t coming;        /* carts that L2 lacked then */
    uint64_t dropped;     /* keys not taken, ever */
    uint64_t retry_at_ms; /* the database is left alone until then */
    bool failing;         /* nothing has succeeded since a failure */
    char last_error[BEHIND_MESSAGE_MAX];
    struct behind_events events;

    /* The write-behind thread's own. */
    struct l3 *l3; /* NULL = to be opened */
    struct behind_item *items;
    struct behind_item **rows; /* items that became rows, by key; parallel to carts */
    struct l3_cart *carts;
    struct buf image;         /* what l3_load reads */
    unsigned streak;          /* failures since the last success */
    size_t limit;             /* carts of the next batch; small while a poison cart is sought */
    size_t suspects;          /* carts of the failed batch that are not yet cleared */
    uint64_t refill_at_ms;    /* no refill before, after one failed */
    uint64_t dropped_at_scan; /* `dropped` when the scan of marks began */
    bool scanning;

    pthread_t thread;
    bool started;

    _Atomic uint64_t oldest_ms; /* UINT64_MAX = nothing waits */
    _Atomic uint64_t stats[BEHIND_STAT_COUNT];
};

/* One round of work: at most one batch, one parked cart and one refill. Returns the ms until there
 * is work again, 0 = at once, or BEHIND_IDLE. The thread calls it; tests do so with a fake clock.
 */
unsigned behind_turn(struct behind *behind);

/* When a queued cart has waited for more changes as long as it shall. */
uint64_t behind_due_ms_locked(const struct behind *behind, const struct behind_entry *queued);

/* first_ms doubling up to max_ms with every repeat; random between half of it and all of it, so
 * that nodes don't come back in step. */
uint64_t behind_pause_ms(const struct behind *behind, unsigned repeats, uint64_t first_ms,
                         uint64_t max_ms);

/* The words of a failure, for the stats. */
void behind_note_error(struct behind *behind, const char *words);

/* ---- events -------------------------------------------------------------------------- */

int behind_events_init(struct behind_events *events) MUST_USE;
void behind_events_fini(struct behind_events *events);
/* At most one batch, when there is a connection. */
void behind_events_turn(struct behind *behind);
/* When there is something to do, UINT64_MAX = never. */
uint64_t behind_events_at_locked(const struct behind *behind);

static inline void behind_stat_set(struct behind *behind, enum behind_stat stat, uint64_t value)
{
    atomic_store_explicit(&behind->stats[stat], value, memory_order_relaxed);
}

static inline void behind_stat_count(struct behind *behind, enum behind_stat stat)
{
    atomic_fetch_add_explicit(&behind->stats[stat], 1, memory_order_relaxed);
}

#endif

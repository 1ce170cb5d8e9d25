/* cmd_int: what the files of cmd share. */
#ifndef CMD_CMD_INT_H
#define CMD_CMD_INT_H

#include "cmd/cmd.h"
#include "cmd/item.h"
#include "proto/proto.h"
#include "rescue/rescue.h"

#define CMD_MAGIC     0x636d6421
#define SESSION_MAGIC 0x73657373

/* Counters of one worker, summed by `stats`. Names are memcached's where memcached has them. */
#define CMD_STATS(X)                                                                               \
    X(cmd_get, "keys asked for")                                                                   \
    X(cmd_set, "storage commands")                                                                 \
    X(cmd_flush, "flush_all commands")                                                             \
    X(cmd_touch, "touch and gat")                                                                  \
    X(cmd_meta, "meta commands")                                                                   \
    X(get_hits, "keys found")                                                                      \
    X(get_misses, "keys not found")                                                                \
    X(get_expired, "keys found expired")                                                           \
    X(get_flushed, "keys found flushed")                                                           \
    X(delete_hits, "")                                                                             \
    X(delete_misses, "")                                                                           \
    X(incr_hits, "")                                                                               \
    X(incr_misses, "")                                                                             \
    X(decr_hits, "")                                                                               \
    X(decr_misses, "")                                                                             \
    X(cas_hits, "")                                                                                \
    X(cas_misses, "")                                                                              \
    X(cas_badval, "")                                                                              \
    X(touch_hits, "")                                                                              \
    X(touch_misses, "")                                                                            \
    X(store_too_large, "storage commands refused for their size")                                  \
    X(store_no_memory, "storage commands refused for want of memory")                              \
    X(lru_crawler_starts, "dumps of keys")                                                         \
    X(crawler_items_checked, "keys listed by them")                                                \
    X(cart_reads, "carts read")                                                                    \
    X(cart_writes, "cart steps applied")                                                           \
    X(cart_refused, "cart steps refused")                                                          \
    X(cart_repeats, "retries answered from a token")                                               \
    X(cart_parked, "requests that waited for a lower tier or for memory")                          \
    X(rescue_merged, "sets of whole carts merged with what others wrote")                          \
    X(rescue_unmerged, "... stored as they came: base gone, or not understood")                    \
    X(held_failed, "replies replaced because the journal failed")

#define CMD_RESETS_MAX 16

/* One per worker thread; scratch memory that a request may use until it is answered. */
struct cmd_worker {
    struct cmd *cmd;
    struct cart *cart;   /* for writing */
    struct cart_op *ops; /* CART_STEP_OPS_MAX */
    struct buf text;     /* JSON on its way out, decoded ext, ... */
    struct buf key;      /* decoded base64 key */
    struct buf record;   /* journal record */
    struct cart *source; /* the other cart of a merge */
    struct rescue *rescue;
    struct buf base, theirs, merged; /* of a rescue */
    uint8_t line[CART_LINE_KEY_MAX];
    uint8_t moved_to[CART_KEY_MAX];   /* the key that a request was led to */
    uint8_t source_key[CART_KEY_MAX]; /* decoded, of a merge */
#define X(name, what) _Atomic uint64_t name;
    CMD_STATS(X)
#undef X
};

struct bucket_table;

struct cmd {
    unsigned magic;
    struct cmd_config config;
    _Atomic(const struct bucket_table *) buckets; /* buckets.c */
    struct rescue_recent *recent;                 /* what clients of rescued keys know */
    struct net *net;
    struct tier *tier;
    struct net_handler handler;
    struct cmd_worker *workers;
    struct cmd_worker reaper; /* scratch of the thread that calls cmd_expire */
    struct cmd_worker inbox;  /* ... cmd_inbox */
    uint64_t start_mono_ms, start_wall_s;
    _Atomic uint32_t now_s;         /* clock.c */
    _Atomic uint64_t next_cas;      /* of plain items */
    _Atomic uint32_t oldest_live_s; /* flush_all: plain items stored up to here are gone ... */
    _Atomic uint64_t oldest_cas;    /* ... and those with a smaller cas (same second) */
    _Atomic uint32_t flushes;       /* how many there were without a delay */
    _Atomic uint32_t flush_at_s;    /* one with a delay is due a second before this; 0 = none */
    _Atomic uint64_t replayed, replay_gaps;
    _Atomic bool crawler_off;                  /* lru_crawler disable: no dumps of keys */
    _Atomic uint64_t reset_at[CMD_RESETS_MAX]; /* stats_memcached.c: counters of other rooms */
    struct cart_op *history_ops;               /* history thread; CART_STEP_OPS_MAX */
    struct cart *replay_cart;                  /* whoever calls cmd_replay, one at a time */
    struct cart_op *replay_ops;                /* the same */
};

enum run {
    RUN_DONE,  /* answered; the request is used up */
    RUN_PARK,  /* will be run again from its start */
    RUN_FULL,  /* will be run again when output has drained */
    RUN_CLOSE, /* the connection is to be closed behind what it was answered */
};

struct session {
    unsigned magic;
    enum cmd_protocol protocol; /* of this connection; ANY until its first byte */
    unsigned worker_index;
    struct cmd *cmd;
    struct cmd_worker *worker;
    struct net_conn *conn;
    struct buf *out;
    size_t skip;            /* input bytes to throw away (a data block that was refused) */
    bool skip_line;         /* ... and all up to the next line (a line that was too long) */
    size_t get_offset;      /* where a get goes on when it is run again */
    uint64_t room_until_ms; /* a write waits for memory until then; 0 = it does not */
    int wait_rc;            /* how what it waited for ended */
    struct tier_wait wait;
    struct net_task resume;
    struct guard_login *login; /* NULL: nobody is asked who he is */
    struct guard_wait question;
    bool asked;               /* the guard: its answer is there when the request is run again */
    struct admin_work *admin; /* what the thread of net_run does, or has done, for the request */
    struct history *history;  /* what the history thread finds, or has found, for the request */
    struct sql_ask *sql_ask;  /* a cwait that waits, or has been answered */
    struct tier_job *job;     /* that it has begun and is told of */
    uint32_t dump_count;      /* keys listed so far */
    bool rescues;             /* the key at hand is of a bucket with rescue */
    uint64_t told_cas;        /* ... and this is what its reader was just told */
    bool is_whole;            /* ... and was set as a whole */
    struct rescue_seen *seen; /* what it knows of such keys; NULL: nothing yet */
};

/* session.c */
void session_handler(struct cmd *cmd, struct net_handler *handler);
enum run session_park_fill(struct session *session, struct slice key, int *error);
enum run session_park_room(struct session *session, int *error);
/* Posts the connection's resume to its worker. Any thread. */
void session_resume(struct session *session);
/* The error left by what the session waited for, once; 0 when none. */
int session_wait_error(struct session *session);
/* Ends a reply that began at `start`: it may go out when (lsn, level) is reached. */
enum run session_hold(struct session *session, size_t start, uint64_t lsn, enum ack_level level);

/* foresee.c */
/* Fetches what the first requests of `in` will look for, when there are several. A hint. */
void foresee(const struct session *session, struct slice in);
/* What the first request of each will look for. */
void foresee_inputs(void *cmd, const struct net_input *inputs, unsigned count);

/* table.c */
enum run table_run(struct session *session, const struct request *request);
/* The key as bytes: of meta and cart commands it may be base64. False: it can't be decoded. */
bool table_key(struct session *session, const struct request *request, struct slice *key);

/* reply.c: the outcome in the words of the request's dialect. RUN_DONE, or RUN_CLOSE when there is
 * no memory to answer. Silent where the request says so: noreply also about errors, as memcached.
 */
enum verdict {
    VERDICT_STORED,
    VERDICT_NOT_STORED,
    VERDICT_EXISTS,
    VERDICT_NOT_FOUND,
    VERDICT_DELETED,
    VERDICT_TOUCHED,
    VERDICT_OK,
};
enum run reply_verdict(struct session *session, const struct request *request, enum verdict verdict,
                       const struct item_view *view);
/* `done` for 0, the verdict or error of a CE_* else. `view` may be NULL. */
enum run reply_code(struct session *session, const struct request *request, enum verdict done,
                    int code, const struct item_view *view);
/* Cart commands echo their flags on errors, and q does not silence them. */
enum run reply_error(struct session *session, const struct request *request, int code);
/* A hit. Returns the rc of the append, for item_emit_fn. */
int reply_value(struct session *session, const struct request *request, struct slice key,
                const struct item_view *view, struct slice value);
enum run reply_miss(struct session *session, const struct request *request);
enum run reply_number(struct session *session, const struct request *request, uint64_t number,
                      const struct item_view *view);
enum run reply_end(struct session *session, int rc); /* rc of the last append */

/* plain.c: requests on plain items */
enum run plain_get(struct session *session, const struct request *request, struct slice key);
enum run plain_debug(struct session *session, const struct request *request, struct slice key);
enum run plain_store(struct session *session, const struct request *request, struct slice key);
enum run plain_delete(struct session *session, const struct request *request, struct slice key);
enum run plain_arith(struct session *session, const struct request *request, struct slice key);
enum run plain_touch(struct session *session, const struct request *request, struct slice key);

/* clock.c: memcached's relative seconds. The clock is read once for all requests that came
 * together; clock_now_s is for what runs on behalf of one. */
void clock_read(struct cmd *cmd);
uint32_t clock_now_s(const struct cmd *cmd);
uint32_t clock_exptime_s(const struct cmd *cmd, int64_t exptime);
/* An exptime that is so long from now. */
int64_t clock_exptime_of(const struct cmd *cmd, uint64_t life_us);
/* Unix seconds of one of these. */
uint64_t clock_wall_s(const struct cmd *cmd, uint32_t at_s);
/* A cart's end of life in wall microseconds for a memcached exptime; 0 = never. */
uint64_t clock_life_us(const struct cmd *cmd, int64_t exptime);

/* buckets.c: which rules a key has */
/* The bucket of the longest prefix of `key`, and that prefix's length; NULL: it has none. Lives as
 * long as cmd. Any thread. */
const struct cmd_bucket *buckets_find(const struct cmd *cmd, struct slice key,
                                      size_t *prefix_bytes);
/* The first table. CE_NOMEM, CE_INVAL. */
int buckets_begin(struct cmd *cmd, const struct cmd_bucket *buckets, size_t count) MUST_USE;
void buckets_free(struct cmd *cmd);
/* For `stats settings`. */
void buckets_settings(const struct cmd *cmd, const struct stat_sink *sink);

/* cart_key.c: what a key means */
enum cart_key_kind { KEY_PLAIN, KEY_CART, KEY_LINE, KEY_QTY, KEY_BAD };
struct cart_key {
    const struct cmd_bucket *bucket; /* NULL only of KEY_PLAIN, when no prefix fits */
    struct slice cart;               /* the cart's key, prefix included */
    struct slice line;               /* decoded, in the worker's scratch */
};
/* KEY_BAD: below a cart prefix, but not a cart key or path. */
enum cart_key_kind cart_key_parse(struct cmd_worker *worker, struct slice key,
                                  struct cart_key *out);

/* cart_find.c: from a key to its cart */
struct cart_found {
    uint64_t hash;
    struct l1_item *item; /* NULL when there is none; valid as state */
    struct slice state;   /* empty when there is none; valid until the stripe is dropped */
    struct cart_summary summary;
    uint64_t actor, lsn; /* as in struct l1_cart */
    struct tier_link newest;
};
/* False: L1 does not know; session_park_fill. */
bool cart_find_locked(struct tier *tier, uint64_t hash, struct slice key, uint64_t now_us,
                      struct cart_found *found);
/* The same without the summary. */
bool cart_look_locked(struct tier *tier, uint64_t hash, struct slice key, struct cart_found *found);
/* The key, in the worker's scratch, and the bucket of the cart that another became part of. `hops`:
 * how often this request was led on. CE_MERGED: it goes on and on; CE_DENIED. */
int cart_follow(struct session *session, struct slice moved_to, unsigned hops,
                enum guard_right right, struct slice *key,
                const struct cmd_bucket **bucket) MUST_USE;

struct cart_read {
    struct slice key; /* in, and that of the cart that was found */
    bool moved;       /* which is another */
    /* Under the stripe's lock: takes what it wants and returns the code. */
    int (*look)(struct cart_read *read, struct slice state, const struct cart_summary *summary,
                uint64_t now_us);
};
/* *code: what look returned, or why it was not asked; valid when RUN_DONE is returned. */
enum run cart_read_run(struct session *session, struct cart_read *read, int *code);

/* cart_write.c: the way of every cart mutation */
struct cart_write {
    struct slice key;
    const struct cmd_bucket *bucket; /* its limits, and its life for a cart that is made */
    struct cart_step step;           /* in: all but actor, now, fold, limits */
    enum ack_level level;
    bool level_given; /* by the request; else it is the bucket's */
    bool must_exist;  /* refuse with CE_NOTFOUND when there is no cart */
    bool stays;       /* means this key, also when its cart was merged into another */
    struct cart_result result;
    size_t currency_at;      /* of a batch: the operation that brought the currency */
    bool moved;              /* key is that of the cart it was merged into */
    struct tier_link before; /* where the cart's newest record is before this one */
    uint64_t lsn;            /* what the acknowledgement waits for */
};
/* *code: 0, or why it was refused (see cart_apply), valid when RUN_DONE is returned. */
enum run cart_write_run(struct session *session, struct cart_write *write, int *code);
/* The same for one who waits by himself; the session needs no more than cmd and worker. NO_CART:
 * that of write->key, which may have become another, is not in L1. */
enum cart_write_try { CART_WRITE_DONE, CART_WRITE_NO_CART, CART_WRITE_NO_ROOM };
enum cart_write_try cart_write_try(struct session *session, struct cart_write *write, int *code);
/* The parts of it. At most so much memory a step needs: */
size_t cart_write_growth_bytes(const struct cart_step *step);
void cart_write_begin(const struct session *session, struct cart_write *write);
/* It was led on to another cart: that one's rules, and the safer of both levels. */
void cart_write_led(struct cart_write *write);
/* Applies it in a scratch; `after` is the new state, when result.changed. As cart_apply. */
int cart_write_apply(struct cmd_worker *worker, struct cart *cart, struct cart_write *write,
                     const struct cart_found *found, struct slice *after) MUST_USE;
/* Answers a step whose token the cart knows. CE_NOTFOUND, as cart_repeat. */
int cart_write_repeat(struct cmd_worker *worker, struct cart_write *write,
                      const struct cart_found *found) MUST_USE;
/* Appends the payload of its journal record. CE_NOMEM. */
int cart_write_record(struct buf *record, const struct cart_write *write) MUST_USE;
/* The event of a step that dropped the lines of a cart whose life had ended, `before` being its
 * state; *event NULL when there is none. Under the stripe; then comes tier_event_settle. CE_NOMEM:
 * session_park_room. */
int cart_write_event(struct cmd_worker *worker, const struct cart_write *write, struct slice before,
                     struct tier_event **event) MUST_USE;
void cart_write_count(struct cmd_worker *worker, const struct cart_write *write, int code);

/* cart_pair.c: one cart becomes part of another */
struct cart_pair {
    struct cart_write write; /* of the destination; in: key, bucket, level, token, condition */
    struct slice source;     /* a cart key */
    enum cart_policy policy;
    uint32_t skipped, clamped; /* out: as in struct cart_absorb */
};
/* As cart_write_run. CE_MERGED: the destination became part of the source; CE_BAD_CART: the source
 * is no cart or the destination; CE_CURRENCY. */
enum run cart_pair_run(struct session *session, struct cart_pair *pair, int *code);

/* cart_path.c: carts for clients that speak only memcached */
enum run path_get(struct session *session, const struct request *request, struct slice key,
                  enum cart_key_kind kind, const struct cart_key *parsed);
enum run path_write(struct session *session, const struct request *request, enum cart_key_kind kind,
                    const struct cart_key *parsed);

/* rescue_store.c: sets of whole carts where the bucket has rescue */
#define RESCUE_TRIES_MAX 64 /* merges that others were faster than, then CE_BUSY */
struct rescue_try {
    uint64_t base_cas; /* what the client knows; 0: there was nothing */
    bool merged, unmerged;
};
/* The session has been told a value, or that there is none. */
void rescue_told(struct session *session, struct slice key, uint64_t cas, struct slice value);
void rescue_told_nothing(struct session *session, struct slice key);
/* What the request's author knows of the key, by its cas or by what the session was told; false:
 * nothing. */
bool rescue_knows(const struct session *session, const struct request *request, struct slice key,
                  struct rescue_try *try);
/* 0: worker->merged is what `theirs` becomes. CE_BAD_DOC: store `mine` as it is. CE_NOMEM. */
int rescue_value(struct session *session, struct slice key, struct rescue_try *try,
                 struct slice mine, struct slice theirs);
/* `value` was stored as it came under `cas`, or merged. Returns the cas that the client is told. */
uint64_t rescue_stored(struct session *session, struct slice key, const struct rescue_try *try,
                       struct slice value, uint64_t cas);
/* item_put for such a key. Also CE_BUSY, CE_TOO_LARGE (merged), CE_NOMEM. */
int rescue_put(struct session *session, const struct request *request, const struct item_put *put,
               struct item_view *view);
/* The session has `seen` something, and has run a request that changes, or tells, in another way
 * than as a whole value: what it knows of the key cannot be told from here. */
void rescue_changed(struct session *session, const struct request *request);

/* cart_commands.c */
enum run cart_command_run(struct session *session, const struct request *request);

/* What a command that changes one cart asks for. 0, or why it was refused. */
int cart_command_write(struct session *session, const struct request *request,
                       const struct cart_key *parsed, struct cart_write *write) MUST_USE;
/* 1 + the place of the operation of a batch that was refused; 0: it was the batch as a whole. */
uint16_t cart_command_failed_at(const struct cart_write *write, int code);

/* history.c: chst */
enum run history_run(struct session *session, const struct request *request, struct slice key);

/* admin.c: what manages the daemon: shutdown, cache_memlimit, refresh_certs, and what memcached has
 * for its own insides (slabs, lru, lru_crawler, watch) */
enum run admin_run(struct session *session, const struct request *request);
/* With -F. */
enum run admin_refuse_flush(struct session *session, const struct request *request);
/* The session ends. */
void admin_close(struct session *session);

/* operate.c: cwait; tiers, an operator's jobs */
enum run operate_wait(struct session *session, const struct request *request);
enum run operate_tiers(struct session *session, const struct request *request);
/* The session ends. */
void operate_close(struct session *session);

/* dump.c: lists keys. May be run again (RUN_FULL): goes on where it was. */
enum dump_form {
    DUMP_META,  /* lru_crawler metadump */
    DUMP_MG,    /* lru_crawler mgdump */
    DUMP_CACHE, /* stats cachedump */
};
enum { CLASS_PLAIN = 1, CLASS_CART = 2, CLASS_COUNT_ = 64 }; /* memcached has up to 63 */
/* `classes`: a set of 1 << class; limit 0 = all. */
enum run dump_run(struct session *session, enum dump_form form, uint64_t classes, uint32_t limit);

/* auth.c: who is this, and may it */
/* True: run it. False: it was answered (refused, or it logged in), or waits for the guard. */
bool auth_admits(struct session *session, const struct request *request, unsigned rights,
                 enum run *run);
/* What a request that could not be parsed is refused with, by someone who may not know more. */
int auth_bad(struct session *session, const struct request *request, int error);
/* The SASL commands. */
enum run auth_sasl(struct session *session, const struct request *request);

/* stats.c */
enum run stats_run(struct session *session, const struct request *request);
/* stats_memcached.c: what `stats` says, memcached's names first */
void stats_write_all(struct session *session, const struct stat_sink *sink);
void stats_reset(struct session *session);
/* Counts a request that could not be parsed. */
void stats_count_bad(struct session *session, const struct request *request, int error);
/* stats_classes.c: memcached's slab classes; here what plain items are, and what carts are */
void stats_write_items(struct session *session, const struct stat_sink *sink);
void stats_write_slabs(struct session *session, const struct stat_sink *sink);

/* replay.c: for struct tier_value */
bool cmd_state_has(struct slice state, uint8_t type, struct slice body);

static inline bool has_meta(const struct request *request, char letter)
{
    return (request->meta.seen & proto_flag(letter)) != 0;
}

/* Is there a cas that must match? In binary 0 means no condition. */
static inline bool has_condition(const struct request *request)
{
    if (request->binary.is)
        return request->cas != 0;
    return request->verb == VERB_CAS || has_meta(request, 'C');
}

static inline uint64_t counted(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static inline void count(_Atomic uint64_t *counter)
{
    /* One thread writes each counter. */
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1,
                          memory_order_relaxed);
}

#endif

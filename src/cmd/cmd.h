/* cmd: the table of commands and the life of a request. The only room that sees net, proto, guard,
 * cart and tier together.
 *
 * A request: bytes -> proto -> table -> handler -> reply appended to the connection's output, held
 * if it promises something that the journal has not reached yet. A handler that needs a cart that
 * is not in memory parks the connection and is run again from the start of the request when the
 * cart has come; so a handler has no effect before it has all it needs. A session belongs to its
 * connection's worker thread. */
#ifndef CMD_CMD_H
#define CMD_CMD_H

#include "base/base.h"
#include "cart/cart.h"
#include "guard/guard.h"
#include "net/net.h"
#include "tier/tier.h"

#define CMD_HISTORY_OPS_MAX 64    /* of a cart's history are told */
#define CMD_WAIT_MS_MAX     60000 /* of a cwait; who waits longer asks again */

/* Journal records of this daemon; each behind its tier_head. */
enum cmd_record {
    CMD_RECORD_STEP = 1,  /* varint seq, varint version after it, step: one step of one cart */
    CMD_RECORD_STATE = 2, /* state: join this whole state */
    CMD_RECORD_PAIR = 3,  /* varint length of the first, then two STEP payloads with their heads:
                             both or none. It has no head of its own */
};

/* What the keys of a bucket are. Only carts are kept in all tiers; the others are memcached's
 * items.
 */
#define CMD_CLASSES(X)                                                                             \
    X(CART, "cart")                                                                                \
    X(CHECKOUT, "checkout") /* lives in memory; losing it costs a computation */                   \
    X(CACHE, "cache")
enum cmd_class {
#define X(name, text) CMD_##name,
    CMD_CLASSES(X)
#undef X
};

#define CMD_PREFIXES_MAX      256  /* of all buckets */
#define CMD_PREFIX_BYTES_MAX  64   /* a key has 250 */
#define CMD_BUCKET_NAME_BYTES 32   /* at most */
#define CMD_RELOADS_MAX       1000 /* tables are kept to the end, workers may look at them */

/* The rules of all keys below its prefixes; of several prefixes that a key has, the longest
 * decides. Guests of a bucket are a struct of their own, with the same name. */
struct cmd_bucket {
    const char *name;
    const char *prefixes; /* separated by spaces, none empty; of carts without '/' */
    bool guest;           /* the carts under the bucket's guest prefixes */
    enum cmd_class class;
    struct cart_limits limits;
    enum ack_level ack; /* when the request does not say it */
    /* Of a cart, or item, that is made by a request that does not say it: */
    enum cart_life_kind life;      /* CART_LIFE_SLIDING, or _FIXED: so long after it was made */
    uint64_t life_us;              /* 0 = none */
    uint64_t redirect_life_us;     /* of what a merged cart leaves behind */
    unsigned currency_exponent;    /* digits behind the point, for those who show prices */
    enum cart_policy merge_policy; /* when a merge does not say it */
    bool rescue;                   /* plain sets of whole carts are merged */
};

struct cmd_config {
    const struct env *env;
    const struct cmd_bucket *buckets; /* copied */
    size_t buckets_count;
    size_t value_bytes_max;  /* -I */
    size_t rescue_bytes_max; /* of what clients of buckets with rescue know; beside -m */
    unsigned workers;
    const char *version;
    enum cmd_protocol { CMD_PROTOCOL_ANY, CMD_PROTOCOL_TEXT, CMD_PROTOCOL_BINARY } protocol;
    struct guard *guard;    /* outlives cmd */
    bool shutdown_allowed;  /* -A: the command `shutdown` */
    bool flush_all_refused; /* -F */
    bool evictions_refused; /* -M: no live plain item makes room for another */
    bool dump_refused;      /* -X: cachedump and metadump */
    bool tls;               /* refresh_certs has something to refresh */
    /* Emits all settings, for `stats settings`. */
    void (*settings)(void *ctx, const struct stat_sink *sink);
    void *settings_ctx;
};

struct cmd;

/* Owner: caller. CE_NOMEM, CE_INVAL (buckets). Start-up thread. */
int cmd_new(const struct cmd_config *config, struct cmd **cmd) MUST_USE;
void cmd_free(struct cmd **cmd);

/* What net calls; lives as long as cmd. */
const struct net_handler *cmd_net_handler(struct cmd *cmd);
/* What a tier must know of carts. Never freed. */
const struct tier_value *cmd_tier_value(void);
/* The tier_replay_fn of carts; `arg` is the struct cmd. A record that can't be applied is logged
 * and counted. */
int cmd_replay(void *arg, const struct tier_replayed *record, struct slice state,
               struct buf *after);

/* Other buckets from now on; workers see all of it at their next key. What would make carts
 * unreachable, or change the class of a prefix, is left as it was, with a line in the log that
 * names it. CE_NOMEM, CE_INVAL (no prefixes, or one twice), CE_BUSY (CMD_RELOADS_MAX,
 * CMD_PREFIXES_MAX): all is as before. Thread of net_run. */
int cmd_buckets_reload(struct cmd *cmd, const struct cmd_bucket *buckets, size_t count) MUST_USE;

/* For tier_config.expire: ends a cart that is in L1 and whose life has ended, by a step with cause
 * CART_BY_EXPIRY. 0 also when there is no such cart; CE_BUSY: it is not in L1; as cart_apply and
 * tier_put_locked. One thread at a time. */
int cmd_expire(struct cmd *cmd, struct slice key) MUST_USE;

/* For tier_config.inbox: does what a row of the inbox asks for, as a client's command with the
 * cause CART_BY_ADMIN and the row's token, or one made of its id. One thread at a time. */
enum tier_inbox_answer cmd_inbox(struct cmd *cmd, struct l3_inbox_row *row, struct slice *missing);

/* Hands the parts over once they exist; before the first connection. */
void cmd_attach(struct cmd *cmd, struct net *net, struct tier *tier);

#endif

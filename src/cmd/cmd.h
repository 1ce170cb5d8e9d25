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

/* Journal records of this daemon. */
enum cmd_record {
    CMD_RECORD_STEP = 1,  /* u8 key length, key, varint seq, step: one step of one cart */
    CMD_RECORD_STATE = 2, /* u8 key length, key, state: join this whole state */
};

/* Keys below `prefix` are carts with these rules. */
struct cmd_bucket {
    struct slice prefix;
    struct cart_limits limits;
    enum ack_level ack;
};

struct cmd_config {
    const struct env *env;
    struct cmd_bucket bucket; /* the cart class; buckets in plural come with the config file */
    size_t value_bytes_max;   /* -I */
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

/* Owner: caller. CE_NOMEM. Start-up thread. */
int cmd_new(const struct cmd_config *config, struct cmd **cmd) MUST_USE;
void cmd_free(struct cmd **cmd);

/* What net calls; lives as long as cmd. */
const struct net_handler *cmd_net_handler(struct cmd *cmd);
/* What a tier must know of carts. Never freed. */
const struct tier_value *cmd_tier_value(void);
/* For tier_start: applies one journal record. `arg` is the struct cmd. CE_CORRUPT never stops a
 * start: a record that can't be applied is logged and counted. */
int cmd_replay(void *arg, uint8_t type, struct slice payload, uint64_t end_lsn);

/* Hands the parts over once they exist; before the first connection. */
void cmd_attach(struct cmd *cmd, struct net *net, struct tier *tier);

#endif

/* session: one connection's requests, one after the other.
 *
 * input -> parse -> table_run -> used. A request that parks is not used up: it is parsed and run
 * again when what it waited for has come, so whatever it had parsed may move meanwhile. */
#include "cmd/cmd_int.h"

#include <stdlib.h>

/* The longest data block that is read from someone who is not known. */
#define LOGIN_BYTES_MAX (GUARD_NAME_MAX + 1 + GUARD_PASSWORD_MAX)

static int session_open(void *ctx, struct net_conn *conn, unsigned worker, void **out)
{
    struct cmd *cmd = ctx;
    struct session *session = calloc(1, sizeof *session);
    if (!session)
        return CE_NOMEM;
    session->magic = SESSION_MAGIC;
    session->cmd = cmd;
    session->worker_index = worker;
    session->worker = &cmd->workers[worker];
    session->conn = conn;
    session->out = net_out(conn);
    session->protocol = cmd->config.protocol;
    if (guard_asks(cmd->config.guard) && guard_login_new(cmd->config.guard, &session->login)) {
        free(session);
        return CE_NOMEM;
    }
    *out = session;
    return 0;
}

static void session_close(void *arg)
{
    struct session *session = arg;
    MUST_OBJ(session, SESSION_MAGIC);
    if (session->login)
        guard_login_free(&session->login);
    admin_close(session);
    operate_close(session);
    free(session->seen);
    session->magic = 0;
    free(session);
}

/* ---- waiting ---- */

static void run_resume(struct net_task *task)
{
    struct session *session = (struct session *)((char *)task - offsetof(struct session, resume));
    MUST_OBJ(session, SESSION_MAGIC);
    net_resume(session->conn);
}

void session_resume(struct session *session)
{
    MUST_OBJ(session, SESSION_MAGIC);
    session->resume.run = run_resume;
    net_post(session->cmd->net, session->worker_index, &session->resume);
}

/* On whatever thread ended the wait. */
static void wait_done(struct tier_wait *wait, int rc)
{
    struct session *session = (struct session *)((char *)wait - offsetof(struct session, wait));
    session->wait_rc = rc;
    session_resume(session);
}

enum run session_park_fill(struct session *session, struct slice key, int *error)
{
    session->wait.done = wait_done;
    *error = tier_fill(session->cmd->tier, key, &session->wait);
    if (*error)
        return RUN_DONE;
    count(&session->worker->cart_parked);
    return RUN_PARK;
}

enum run session_park_room(struct session *session, int *error)
{
    uint64_t now_ms = env_mono_ms(session->cmd->config.env);
    if (!session->room_until_ms)
        session->room_until_ms = now_ms + TIER_ROOM_WAIT_MS;
    if (now_ms >= session->room_until_ms) {
        session->room_until_ms = 0;
        *error = CE_NOMEM;
        return RUN_DONE;
    }
    session->wait.done = wait_done;
    tier_wait_room(session->cmd->tier, &session->wait);
    count(&session->worker->cart_parked);
    return RUN_PARK;
}

int session_wait_error(struct session *session)
{
    int rc = session->wait_rc;
    session->wait_rc = 0;
    if (rc)
        session->room_until_ms = 0;
    return rc;
}

enum run session_hold(struct session *session, size_t start, uint64_t lsn, enum ack_level level)
{
    if (session->out->len == start || level == ACK_RAM || lsn == 0)
        return RUN_DONE;
    if (journal_reached(tier_journal(session->cmd->tier), lsn, level))
        return RUN_DONE;
    if (net_hold(session->conn, start, lsn, (int)level) == 0)
        return RUN_DONE;
    session->out->len = start; /* a promise that can't be watched is not made */
    return RUN_CLOSE;
}

static int hold_state(void *ctx, uint64_t lsn, int level)
{
    const struct journal *journal = tier_journal(((struct cmd *)ctx)->tier);
    if (journal_reached(journal, lsn, (enum ack_level)level))
        return 0;
    return journal_failed(journal) ? CE_NODISK : 1;
}

static int hold_failed(void *ctx, struct slice reply, int code, struct buf *instead)
{
    (void)ctx;
    return proto_failed(instead, code, reply);
}

static void turn_end(void *ctx)
{
    const struct cmd *cmd = ctx;
    if (cmd->tier) /* none when the start failed: then workers end without having served */
        journal_urge(tier_journal(cmd->tier));
}

/* ---- input ---- */

static enum parse parse_one(struct session *session, struct slice in, struct request *request,
                            size_t *length, size_t *want, int *error, bool *fatal)
{
    size_t value_bytes_max = session->cmd->config.value_bytes_max;
    if (session->login && !guard_known(session->login))
        value_bytes_max = LOGIN_BYTES_MAX;
    /* A connection's first byte says what it speaks for good (memcached). */
    if (session->protocol == CMD_PROTOCOL_ANY)
        session->protocol =
            in.bytes[0] == PROTO_BINARY_MAGIC ? CMD_PROTOCOL_BINARY : CMD_PROTOCOL_TEXT;
    if (session->protocol == CMD_PROTOCOL_BINARY)
        return binary_parse(in, value_bytes_max, request, length, want, error, fatal);
    if (meta_starts(in))
        return meta_parse(in, value_bytes_max, request, length, want, error, fatal);
    if (session->get_offset)
        return text_parse_again(in, value_bytes_max, request, length, want, error, fatal);
    return text_parse(in, value_bytes_max, request, length, want, error, fatal);
}

/* What a refused storage command would have replaced must not be read any more (memcached). */
static void drop_replaced(struct session *session, const struct request *request)
{
    struct cart_key parsed;
    struct slice key;
    bool stores = request->verb == VERB_SET || request->verb == VERB_MS;
    if (stores && table_key(session, request, &key) && key.len &&
        cart_key_parse(session->worker, key, &parsed) == KEY_PLAIN)
        item_drop(session, key);
}

static enum run run_bad(struct session *session, const struct request *request, int error,
                        bool fatal)
{
    enum run run = RUN_DONE;
    error = auth_bad(session, request, error);
    stats_count_bad(session, request, error);
    if (error == CE_TOO_LARGE)
        drop_replaced(session, request);
    if (!request->noreply)
        run = reply_error(session, request, error);
    session->skip_line = fatal && error == CE_LINE_TOO_LONG;
    bool stranger = error == CE_AUTH && request->binary.is;
    return stranger || (fatal && !session->skip_line) ? RUN_CLOSE : run;
}

/* One request off the front of `in`. MORE is told by *more. */
static enum run run_one(struct session *session, struct slice in, size_t *used, size_t *want,
                        bool *more)
{
    struct request request;
    int error = 0;
    bool fatal = false;
    size_t length = 0;
    enum parse parse = parse_one(session, in, &request, &length, want, &error, &fatal);
    *more = parse == PARSE_MORE;
    if (*more)
        return RUN_DONE;
    enum run run = parse == PARSE_BAD ? run_bad(session, &request, error, fatal)
                                      : table_run(session, &request);
    if (run == RUN_PARK || run == RUN_FULL)
        return run;
    session->get_offset = 0;
    session->room_until_ms = 0;
    if (session->skip_line)
        length = 0; /* what is here of the line goes with the rest of it */
    *used = length < in.len ? length : in.len;
    session->skip = length - *used;
    return run;
}

/* Throws away what belongs to a request that was refused before it was all here: a data block of
 * known length, or the rest of a line. Returns how much of `in` that was. */
static size_t skip_refused(struct session *session, struct slice in)
{
    if (session->skip_line) {
        const uint8_t *end = in.len ? memchr(in.bytes, '\n', in.len) : NULL;
        session->skip_line = end == NULL;
        return end ? (size_t)(end - in.bytes) + 1 : in.len;
    }
    size_t len = session->skip < in.len ? session->skip : in.len;
    session->skip -= len;
    return len;
}

static enum net_next session_input(void *arg, struct slice in, size_t *used, size_t *want)
{
    struct session *session = arg;
    MUST_OBJ(session, SESSION_MAGIC);
    *used = 0;
    clock_read(session->cmd);
    for (unsigned turn = 0; turn < NET_TURN_REQUESTS; turn++) {
        size_t length = 0;
        bool more = false;
        *used += skip_refused(session, slice_from(in, *used));
        if (*used == in.len)
            return NET_MORE;
        if (turn % L1_FORESEEN_MAX == 0)
            foresee(session, slice_from(in, *used));
        if (net_out_full(session->conn))
            return NET_FULL;
        enum run run = run_one(session, slice_from(in, *used), &length, want, &more);
        *used += length;
        if (more)
            return NET_MORE;
        if (run != RUN_DONE)
            return run == RUN_PARK ? NET_PARK : run == RUN_FULL ? NET_FULL : NET_CLOSE;
    }
    return NET_YIELD;
}

void session_handler(struct cmd *cmd, struct net_handler *handler)
{
    *handler = (struct net_handler){.ctx = cmd,
                                    .conn_open = session_open,
                                    .conn_input = session_input,
                                    .foresee = foresee_inputs,
                                    .conn_close = session_close,
                                    .hold_state = hold_state,
                                    .hold_failed = hold_failed,
                                    .turn_end = turn_end};
}

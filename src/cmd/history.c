/* history: chst, the last operations of a cart. The worker only asks and answers: the history
 * thread reads the journal and writes the document. */
#include "cmd/cmd_int.h"

#include <stdlib.h>

struct history {
    struct tier_history ask; /* first: it is what is asked */
    struct session *session;
    struct buf text;
    size_t ops;     /* told so far */
    bool is_full;   /* there is more, but it is enough */
    bool from_join; /* the oldest of them: what made that state is not known */
    int rc;
    uint8_t key[L1_KEY_MAX];
};

/* ---- on the history thread ---- */

/* A step is told whole, but for one that is alone too much. */
static int add_step(struct history *history, struct slice body)
{
    struct cart_op *ops = history->session->cmd->history_ops;
    struct cart_step step;
    uint64_t seq, version;
    size_t left = CMD_HISTORY_OPS_MAX - history->ops;
    if (!varint_take(&body, &seq) || !varint_take(&body, &version) ||
        cart_step_decode(body, ops, &step))
        return CE_CORRUPT;
    history->is_full = history->ops && step.ops_count > left;
    if (history->is_full)
        return 1;
    history->from_join = false;
    int rc = cart_history_step(&step, version, left, &history->text);
    history->ops += step.ops_count < left ? step.ops_count : left;
    history->is_full = history->ops == CMD_HISTORY_OPS_MAX;
    return rc ? rc : history->is_full;
}

static int add_join(struct history *history, struct slice state)
{
    int rc = cart_check(state);
    if (rc == 0)
        rc = cart_history_join(state, &history->text);
    history->ops++;
    history->from_join = true;
    history->is_full = history->ops == CMD_HISTORY_OPS_MAX;
    return rc ? rc : history->is_full;
}

static int add_record(struct tier_history *ask, uint8_t type, struct slice body)
{
    struct history *history = (struct history *)ask;
    switch (type) {
    case CMD_RECORD_PAIR:
    case CMD_RECORD_STEP: return add_step(history, body);
    case CMD_RECORD_STATE: return add_join(history, body);
    default: return CE_CORRUPT;
    }
}

static void end_history(struct tier_history *ask, int rc)
{
    struct history *history = (struct history *)ask;
    if (rc == 0 || rc == CE_NOTFOUND)
        rc = cart_history_end(history->is_full || (rc == 0 && !history->from_join), &history->text);
    history->rc = rc;
    session_resume(history->session);
}

/* ---- on the worker ---- */

static void free_history(struct history **history)
{
    buf_free(&(*history)->text);
    free(*history);
    *history = NULL;
}

static enum run ask(struct session *session, const struct request *request, struct slice key)
{
    struct history *history = calloc(1, sizeof *history);
    if (!history)
        return reply_error(session, request, CE_NOMEM);
    memcpy(history->key, key.bytes, key.len);
    history->session = session;
    history->ask = (struct tier_history){
        .key = slice_of(history->key, key.len), .each = add_record, .done = end_history};
    session->history = history; /* before the answer may come */
    int rc = cart_history_begin(key, &history->text);
    if (rc == 0)
        rc = tier_history(session->cmd->tier, &history->ask);
    if (rc == 0)
        return RUN_PARK;
    free_history(&session->history);
    return reply_error(session, request, rc);
}

static int say(struct session *session, const struct request *request,
               const struct history *history)
{
    const struct cart_answer answer = {0};
    struct slice text = buf_slice(&history->text);
    if (history->ops && request->binary.is)
        return binary_cart_value(session->out, text, request, &answer);
    if (history->ops)
        return text_cart_value(session->out, text, request, &answer);
    if (request->binary.is)
        return binary_cart_status(session->out, "EN", request, &answer);
    return text_cart_status(session->out, "EN", request, &answer);
}

enum run history_run(struct session *session, const struct request *request, struct slice key)
{
    struct history *history = session->history;
    if (!history)
        return ask(session, request, key);
    enum run run = history->rc ? reply_error(session, request, history->rc)
                               : reply_end(session, say(session, request, history));
    free_history(&session->history);
    return run;
}

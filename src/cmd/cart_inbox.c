/* cart_inbox: what a row of the inbox asks for, done as a client's command is. The row's token
 * makes a second try, after a crash or a lost commit, find that it was done. */
#include "cmd/cmd_int.h"

#include <inttypes.h>
#include <stdio.h>

/* What the wire says with a word that is no word for a person. */
static const char *words_of(int code)
{
    static const struct {
        int code;
        const char *words;
    } rows[] = {
        {CE_UNKNOWN, "not a command of the inbox: cadd, cset, crem, cchk, cswp, cclr or cdel, "
                     "without the cart's key"},
        {CE_FORMAT, "too few or too many words for this command"},
        {CE_NOTFOUND, "NF no such line, or no such cart"},
        {CE_EXISTS, "EX the cart has changed: its cas is not the one behind V"},
        {CE_BAD_CART, "BAD_CART cart_id is no key of a cart"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].code == code)
            return rows[i].words;
    }
    const char *wire = err_wire(code), *space = strchr(wire, ' ');
    return space ? space + 1 : wire;
}

static enum tier_inbox_answer refuse(struct l3_inbox_row *row, unsigned failed_at, int code)
{
    if (failed_at)
        snprintf(row->reason, sizeof row->reason, "line %u: %s", failed_at, words_of(code));
    else
        snprintf(row->reason, sizeof row->reason, "%s", words_of(code));
    return TIER_INBOX_REFUSED;
}

/* Nothing was changed, and another time it may work. */
static bool may_pass(int code)
{
    static const int codes[] = {CE_NOMEM, CE_IO,      CE_NODISK, CE_CORRUPT,
                                CE_BUSY,  CE_NOTSAFE, CE_DB,     CE_STOPPED};
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        if (codes[i] == code)
            return true;
    }
    return false;
}

/* The row's own, or one that only this row has. False: it is none. */
static bool find_token(const struct l3_inbox_row *row, char made[CART_TOKEN_MAX + 1],
                       struct slice *token)
{
    *token = buf_slice(&row->token);
    if (token->len == 0) {
        snprintf(made, CART_TOKEN_MAX + 1, "inbox-%" PRId64, row->id);
        *token = slice_str(made);
    }
    for (size_t i = 0; i < token->len; i++) {
        if (token->bytes[i] <= ' ' || token->bytes[i] == 0x7f)
            return false;
    }
    return token->len <= CART_TOKEN_MAX;
}

/* 0, and *write is what the row asks for. */
static int prepare(struct session *session, const struct l3_inbox_row *row, struct request *request,
                   struct cart_write *write)
{
    struct cart_key parsed;
    struct slice key = buf_slice(&row->key), command = buf_slice(&row->command);
    if (key.len < 1 || key.len > PROTO_KEY_MAX ||
        cart_key_parse(session->worker, key, &parsed) != KEY_CART)
        return CE_BAD_CART;
    if (command.len > L3_INBOX_COMMAND_CHARS)
        return CE_SIZE_LIMIT;
    int code = text_inbox_command(command, request);
    if (code == 0)
        code = cart_command_write(session, request, &parsed, write);
    write->step.cause = CART_BY_ADMIN;
    write->level = ACK_SYNC; /* the row goes when it is as safe as a row */
    write->level_given = true;
    return code;
}

enum tier_inbox_answer cmd_inbox(struct cmd *cmd, struct l3_inbox_row *row, struct slice *missing)
{
    struct session session = {.cmd = cmd, .worker = &cmd->inbox};
    struct request request = {.verb = VERB_COUNT_};
    struct cart_write write = {.result.failed_index = CART_NO_OP, .currency_at = CART_NO_OP};
    char made[CART_TOKEN_MAX + 1];
    int code = prepare(&session, row, &request, &write);
    if (code == 0 && !find_token(row, made, &write.step.token)) {
        snprintf(row->reason, sizeof row->reason, "token is 1..%d bytes without spaces",
                 CART_TOKEN_MAX);
        return TIER_INBOX_REFUSED;
    }
    if (code == 0) {
        switch (cart_write_try(&session, &write, &code)) {
        case CART_WRITE_NO_CART: *missing = write.key; return TIER_INBOX_MISSING;
        case CART_WRITE_NO_ROOM: return TIER_INBOX_LATER;
        case CART_WRITE_DONE: break;
        }
    }
    if (may_pass(code))
        return TIER_INBOX_LATER;
    unsigned failed_at = request.verb == VERB_CBAT ? cart_command_failed_at(&write, code) : 0;
    return code ? refuse(row, failed_at, code) : TIER_INBOX_DONE;
}

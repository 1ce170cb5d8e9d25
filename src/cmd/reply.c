/* reply: how an outcome is said in each of the three ways of asking. What happened is decided
 * before, once for all of them. */
#include "cmd/cmd_int.h"

enum dialect { CLASSIC, META, BINARY, CART };

static enum dialect dialect_of(const struct request *request)
{
    if (request->binary.is)
        return BINARY;
    if (request->verb >= VERB_CADD && request->verb <= VERB_CDEL)
        return CART;
    return request->verb >= VERB_MN && request->verb <= VERB_ME ? META : CLASSIC;
}

enum run reply_end(struct session *session, int rc)
{
    (void)session;
    return rc ? RUN_CLOSE : RUN_DONE;
}

/* ---- meta ---- */

static struct meta_answer meta_of(const struct request *request, const struct item_view *view)
{
    bool touched = meta_before(&request->meta, 'T', 't');
    bool vivified = view->created && meta_before(&request->meta, 'N', 't');
    bool two_lives = view->created && has_meta(request, 'T');
    int64_t ttl_s = view->ttl_was_s;
    if (touched || vivified)
        ttl_s = two_lives && touched != vivified ? view->ttl_first_s : view->ttl_s;
    return (struct meta_answer){.cas = view->cas,
                                .size = view->size,
                                .flags = view->flags,
                                .ttl_s = ttl_s,
                                .idle_s = view->idle_s,
                                .fetched = view->fetched,
                                .won = view->won,
                                .stale = view->stale,
                                .sent = view->sent,
                                .created = view->created};
}

static int meta_hit(struct buf *out, const struct request *request, const struct item_view *view,
                    struct slice value)
{
    struct meta_answer answer = meta_of(request, view);
    bool known = request->verb == VERB_MG && has_meta(request, 'C') &&
                 request->cas == view->cas; /* mg with C: the client has this value */
    if (has_meta(request, 'v') && !known)
        return meta_value(out, value, request, &answer);
    return meta_status(out, "HD", request, &answer);
}

/* ---- outcomes ---- */

static const struct {
    const char *classic, *meta;
} verdicts[] = {
    [VERDICT_STORED] = {"STORED", "HD"},   [VERDICT_NOT_STORED] = {"NOT_STORED", "NS"},
    [VERDICT_EXISTS] = {"EXISTS", "EX"},   [VERDICT_NOT_FOUND] = {"NOT_FOUND", "NF"},
    [VERDICT_DELETED] = {"DELETED", "HD"}, [VERDICT_TOUCHED] = {"TOUCHED", "HD"},
    [VERDICT_OK] = {"OK", "HD"},
};

static int binary_verdict(struct buf *out, const struct request *request, enum verdict verdict,
                          const struct item_view *view)
{
    switch (verdict) {
    case VERDICT_NOT_STORED: return binary_not_stored(out, request);
    case VERDICT_EXISTS: return binary_error(out, CE_EXISTS, request);
    case VERDICT_NOT_FOUND: return binary_error(out, CE_NOTFOUND, request);
    case VERDICT_TOUCHED: return binary_touched(out, request, view->flags, view->cas);
    default: return binary_done(out, request, view->cas);
    }
}

enum run reply_verdict(struct session *session, const struct request *request, enum verdict verdict,
                       const struct item_view *view)
{
    static const struct item_view nothing = {.ttl_s = -1, .ttl_was_s = -1};
    struct buf *out = session->out;
    view = view ? view : &nothing;
    switch (dialect_of(request)) {
    case BINARY: return reply_end(session, binary_verdict(out, request, verdict, view));
    case META: {
        struct meta_answer answer = meta_of(request, view);
        return reply_end(session, meta_status(out, verdicts[verdict].meta, request, &answer));
    }
    default:
        if (request->noreply)
            return RUN_DONE;
        return reply_end(session, text_line(out, verdicts[verdict].classic));
    }
}

enum run reply_code(struct session *session, const struct request *request, enum verdict done,
                    int code, const struct item_view *view)
{
    switch (code) {
    case 0: return reply_verdict(session, request, done, view);
    case CE_NOTFOUND: return reply_verdict(session, request, VERDICT_NOT_FOUND, view);
    case CE_EXISTS: return reply_verdict(session, request, VERDICT_EXISTS, view);
    case CE_NOT_STORED: return reply_verdict(session, request, VERDICT_NOT_STORED, view);
    default: return reply_error(session, request, code);
    }
}

enum run reply_error(struct session *session, const struct request *request, int code)
{
    struct buf *out = session->out;
    switch (dialect_of(request)) {
    case BINARY: return reply_end(session, binary_error(out, code, request));
    case META: return reply_end(session, meta_error(out, code, request));
    case CART: return reply_end(session, text_cart_error(out, code, request));
    default: return request->noreply ? RUN_DONE : reply_end(session, text_error(out, code));
    }
}

int reply_value(struct session *session, const struct request *request, struct slice key,
                const struct item_view *view, struct slice value)
{
    struct buf *out = session->out;
    bool with_cas = request->verb == VERB_GETS || request->verb == VERB_GATS;
    switch (dialect_of(request)) {
    case BINARY:
        if (request->verb == VERB_TOUCH)
            return binary_touched(out, request, view->flags, view->cas);
        return binary_value(out, request, view->flags, value, view->cas);
    case META: return meta_hit(out, request, view, value);
    default: return text_value(out, key, view->flags, value, with_cas, view->cas);
    }
}

enum run reply_miss(struct session *session, const struct request *request)
{
    switch (dialect_of(request)) {
    case BINARY: return reply_end(session, binary_miss(session->out, request));
    case META: return reply_end(session, meta_status(session->out, "EN", request, NULL));
    default: return RUN_DONE; /* classic says nothing of a key it does not have */
    }
}

enum run reply_number(struct session *session, const struct request *request, uint64_t number,
                      const struct item_view *view)
{
    struct buf *out = session->out;
    char digits[NUM_DIGITS_MAX];
    switch (dialect_of(request)) {
    case BINARY: return reply_end(session, binary_number(out, request, number, view->cas));
    case META:
        return reply_end(
            session, meta_hit(out, request, view, slice_of(digits, num_put_u64(digits, number))));
    default: return request->noreply ? RUN_DONE : reply_end(session, text_number(out, number));
    }
}

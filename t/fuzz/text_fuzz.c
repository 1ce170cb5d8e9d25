/* Fuzzes text_parse (libFuzzer). Whatever the bytes are: every slice lies inside the input, what is
 * used makes sense, each prefix gives MORE or the result of the whole, and a reply to it can be
 * written. The rest of the input is parsed in turn, as on a connection. Seeds: corpus/text, words:
 * text.dict. */
#include "fuzz/parse_fuzz.h"

static void check_request(const struct request *r, struct slice in)
{
    check_inside(r->key, in, PROTO_KEY_MAX);
    check_inside(r->keys, in, PROTO_GET_LINE_MAX);
    check_inside(r->value, in, VALUE_MAX);
    check_inside(r->line, in, 128);
    check_inside(r->number, in, PROTO_LINE_MAX);
    check_inside(r->arg, in, PROTO_LINE_MAX);
    check_inside(r->cart.token, in, 32);
    check_inside(r->cart.shop, in, 32);
    check_inside(r->cart.ext_b64, in, PROTO_LINE_MAX);
    check_inside(r->cart.opaque, in, 32);
    MUST(r->cart.order_count <= sizeof r->cart.order && r->cart.price >= 0);
}

static void check_keys(struct request r, struct slice in)
{
    struct slice key;
    while (text_next_key(&r.keys, &key)) {
        check_inside(key, in, PROTO_KEY_MAX);
        MUST(key.len && !memchr(key.bytes, ' ', key.len));
    }
}

static void check_result(const struct parsed *p, struct slice in)
{
    MUST(p->result == PARSE_BAD ? p->error < 0 : p->error == 0);
    /* The last line of a connection: one without end, or an HTTP request, which is not answered. */
    MUST(!p->fatal || p->error == CE_LINE_TOO_LONG ||
         (p->error == CE_UNKNOWN && p->request.noreply));
    if (p->result == PARSE_MORE) {
        MUST(p->used == 0 && (p->want == 0 || p->want > in.len));
        MUST(in.len <= PROTO_GET_LINE_MAX + VALUE_MAX + 2);
        return;
    }
    bool too_long = p->error == CE_TOO_LARGE || p->error == CE_SIZE_LIMIT;
    MUST(p->used > 0 && (p->used <= in.len || too_long));
    MUST(p->result == PARSE_BAD || p->request.verb < VERB_COUNT_);
    check_request(&p->request, in);
    if (p->result == PARSE_OK)
        check_keys(p->request, in);
}

static void check_same_text(const struct request *a, struct slice in, const struct request *b,
                            struct slice b_in)
{
    MUST(a->noreply == b->noreply && a->cart.seen == b->cart.seen);
    MUST(!memcmp(a->cart.order, b->cart.order, sizeof a->cart.order));
    MUST(same_place(a->keys, in, b->keys, b_in) && same_place(a->line, in, b->line, b_in));
    MUST(same_place(a->number, in, b->number, b_in) && same_place(a->arg, in, b->arg, b_in));
}

static void write_replies(const struct parsed *p)
{
    struct buf out = {0};
    struct cart_answer answer = {.amount_known = true, .ack = 's', .repeated = true};
    const struct request *r = &p->request;
    int failed = 0;
    if (p->result == PARSE_BAD) {
        failed = text_cart_error(&out, p->error, r);
    } else if (p->result == PARSE_OK) {
        failed |= text_value(&out, r->key, r->flags, r->value, true, r->cas);
        failed |= text_cart_status(&out, "HD", r, &answer);
        failed |= text_cart_status(&out, "EX", r, &answer);
        failed |= text_cart_value(&out, r->value, r, &answer);
        failed |= proto_base64_decode(r->cart.ext_b64, &out);
    }
    MUST(!failed);
    buf_free(&out);
}

static void check_whole(const struct parsed *p, struct slice in)
{
    (void)in;
    write_replies(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct parse_fuzz fuzz = {.parse = text_parse,
                                           .check_result = check_result,
                                           .check_same = check_same_text,
                                           .check_whole = check_whole};
    return parse_fuzz_run(&fuzz, slice_of(data, size));
}

/* Fuzzes text_parse (libFuzzer). Whatever the bytes are: every slice lies inside the input, what is
 * used makes sense, each prefix gives MORE or the result of the whole, and a reply to it can be
 * written. The rest of the input is parsed in turn, as on a connection. Seeds: corpus/text, words:
 * text.dict. */
#include "proto/proto.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define VALUE_MAX      64
#define ALL_CUTS_BELOW 512 /* bytes; longer inputs are cut at a few places only */

struct parsed {
    enum parse result;
    struct request request;
    size_t used, want;
    int error;
    bool fatal;
};

static struct parsed parse_bytes(struct slice in)
{
    struct parsed p;
    p.result = text_parse(in, VALUE_MAX, &p.request, &p.used, &p.want, &p.error, &p.fatal);
    return p;
}

static void check_inside(struct slice part, struct slice in, size_t len_max)
{
    MUST(part.len <= len_max);
    if (part.len)
        MUST(part.bytes >= in.bytes && part.bytes + part.len <= in.bytes + in.len);
}

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
    MUST(!p->fatal || p->error == CE_LINE_TOO_LONG);
    if (p->result == PARSE_MORE) {
        MUST(p->used == 0 && (p->want == 0 || p->want > in.len));
        MUST(in.len <= PROTO_GET_LINE_MAX + VALUE_MAX + 2);
        return;
    }
    MUST(p->used > 0 && (p->used <= in.len || p->error == CE_TOO_LARGE));
    MUST(p->result == PARSE_BAD || p->request.verb < VERB_COUNT_);
    check_request(&p->request, in);
    if (p->result == PARSE_OK)
        check_keys(p->request, in);
}

static bool same_place(struct slice a, struct slice a_in, struct slice b, struct slice b_in)
{
    if (a.len != b.len)
        return false;
    return a.len == 0 || a.bytes - a_in.bytes == b.bytes - b_in.bytes;
}

static void check_same(const struct parsed *p, struct slice in, const struct parsed *q,
                       struct slice q_in)
{
    const struct request *a = &p->request, *b = &q->request;
    MUST(p->result == q->result && p->used == q->used && p->error == q->error);
    MUST(p->fatal == q->fatal && a->verb == b->verb && a->noreply == b->noreply);
    MUST(a->flags == b->flags && a->exptime == b->exptime);
    MUST(a->cas == b->cas && a->delta == b->delta && a->cart.seen == b->cart.seen);
    MUST(!memcmp(a->cart.order, b->cart.order, sizeof a->cart.order));
    MUST(same_place(a->key, in, b->key, q_in) && same_place(a->keys, in, b->keys, q_in));
    MUST(same_place(a->value, in, b->value, q_in) && same_place(a->line, in, b->line, q_in));
    MUST(same_place(a->number, in, b->number, q_in) && same_place(a->arg, in, b->arg, q_in));
}

/* A prefix in memory of exactly its size. */
static void check_prefix(struct slice in, size_t len, const struct parsed *whole)
{
    uint8_t *copy = malloc(len ? len : 1);
    MUST(copy);
    memcpy(copy, in.bytes, len);
    struct slice prefix = slice_of(copy, len);
    struct parsed p = parse_bytes(prefix);
    check_result(&p, prefix);
    if (p.result == PARSE_MORE)
        MUST(whole->result == PARSE_MORE || p.want <= whole->used);
    else
        check_same(&p, prefix, whole, in);
    if (whole->result != PARSE_MORE && len >= whole->used)
        MUST(p.result != PARSE_MORE);
    free(copy);
}

static void check_prefixes(struct slice in, const struct parsed *whole)
{
    size_t step = in.len < ALL_CUTS_BELOW ? 1 : in.len / 16;
    for (size_t len = 0; len < in.len; len += step)
        check_prefix(in, len, whole);
    if (whole->result != PARSE_MORE && whole->used <= in.len)
        check_prefix(in, whole->used, whole);
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_of(data, size);
    while (in.len) {
        struct parsed whole = parse_bytes(in);
        check_result(&whole, in);
        check_prefixes(in, &whole);
        write_replies(&whole);
        if (whole.result == PARSE_MORE || whole.fatal || whole.used >= in.len)
            break;
        in = slice_from(in, whole.used);
    }
    return 0;
}

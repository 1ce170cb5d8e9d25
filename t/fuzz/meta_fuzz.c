/* Fuzzes meta_parse (libFuzzer). Whatever the bytes are: every slice lies inside the input, what is
 * used makes sense, each prefix gives MORE or the result of the whole, flags are in order what was
 * seen, and every reply to it can be written and is well formed. The rest of the input is parsed in
 * turn, as on a connection. Seeds: corpus/meta, words: meta.dict. */
#include "fuzz/parse_fuzz.h"

static void check_order(const struct meta_flags *meta)
{
    uint64_t seen = 0;
    MUST(meta->order_count <= sizeof meta->order);
    for (size_t i = 0; i < meta->order_count; i++) {
        MUST(!(seen & proto_flag(meta->order[i])));
        seen |= proto_flag(meta->order[i]);
    }
    MUST(meta->order_count == 0 || seen == meta->seen);
}

static void check_request(const struct parsed *p, struct slice in)
{
    const struct request *r = &p->request;
    check_inside(r->key, in, PROTO_KEY_MAX);
    check_inside(r->value, in, VALUE_MAX);
    check_inside(r->meta.opaque, in, PROTO_LINE_MAX);
    check_order(&r->meta);
    MUST(!r->noreply && !r->binary.is);
    if (p->result != PARSE_OK)
        return;
    MUST(r->verb >= VERB_MN && r->verb <= VERB_ME && !r->meta.fault);
    MUST(r->verb == VERB_MN || r->key.len);
    MUST(r->meta.opaque.len < 32);
    MUST(r->verb != VERB_MS || strchr("SEAPR", r->meta.mode));
    MUST(r->verb != VERB_MA || strchr("ID", r->meta.mode));
}

static void check_result(const struct parsed *p, struct slice in)
{
    MUST(p->result == PARSE_BAD ? p->error < 0 : p->error == 0);
    MUST(p->fatal == (p->error == CE_LINE_TOO_LONG));
    if (p->result == PARSE_MORE) {
        MUST(p->used == 0 && (p->want == 0 || p->want > in.len));
        return;
    }
    MUST(p->used > 0);
    check_request(p, in);
}

static void check_same_meta(const struct request *a, struct slice in, const struct request *b,
                            struct slice b_in)
{
    (void)in, (void)b_in;
    MUST(a->vivify == b->vivify && a->initial == b->initial);
    MUST(a->meta.seen == b->meta.seen && a->meta.fault == b->meta.fault);
    MUST(!memcmp(a->meta.order, b->meta.order, sizeof a->meta.order));
}

/* A reply ends in CRLF; keys and opaques have no space, and bring in no line end. */
static void check_reply(struct buf *out, int failed)
{
    MUST(!failed);
    MUST(out->len == 0 || (out->len > 2 && !memcmp(out->bytes + out->len - 2, "\r\n", 2)));
    const uint8_t *end = out->len ? memchr(out->bytes, '\n', out->len) : NULL;
    MUST(!end || end[-1] == '\r');
    out->len = 0;
}

static void write_replies(const struct parsed *p)
{
    struct buf out = {0};
    struct meta_answer answer = {.cas = UINT64_MAX, .ttl_s = -1, .won = true, .stale = true};
    struct meta_debug debug = {.ttl_s = 1};
    const struct request *r = &p->request;
    if (p->result == PARSE_BAD) {
        check_reply(&out, meta_error(&out, p->error, r));
    } else if (p->result == PARSE_OK && r->verb == VERB_ME) {
        check_reply(&out, meta_debug(&out, r, &debug));
        check_reply(&out, meta_status(&out, "EN", r, NULL));
    } else if (p->result == PARSE_OK && r->verb != VERB_MN) {
        check_reply(&out, meta_status(&out, "HD", r, &answer));
        check_reply(&out, meta_status(&out, r->verb == VERB_MG ? "EN" : "EX", r, &answer));
        if (r->verb == VERB_MG || r->verb == VERB_MA)
            check_reply(&out, meta_value(&out, r->key, r, &answer));
    }
    buf_free(&out);
}

/* A base64 key that was let through can be decoded. */
static void decode_key(const struct parsed *p)
{
    struct buf key = {0};
    if (p->result == PARSE_OK && p->request.meta.seen & proto_flag('b'))
        MUST(proto_base64_decode(p->request.key, &key) == 0 && key.len > 0);
    buf_free(&key);
}

static void check_whole(const struct parsed *p, struct slice in)
{
    MUST(p->result != PARSE_OK || meta_starts(in));
    write_replies(p);
    decode_key(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct parse_fuzz fuzz = {.parse = meta_parse,
                                           .check_result = check_result,
                                           .check_same = check_same_meta,
                                           .check_whole = check_whole};
    return parse_fuzz_run(&fuzz, slice_of(data, size));
}

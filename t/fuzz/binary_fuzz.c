/* Fuzzes binary_parse (libFuzzer). Whatever the bytes are: every slice lies inside the input, what
 * is used is the frame, each prefix gives MORE or the result of the whole, and each reply to it is
 * a frame. The rest of the input is parsed in turn, as on a connection. Seeds: corpus/binary,
 * words: binary.dict. */
#include "fuzz/parse_fuzz.h"

#define HEADER 24

static void check_request(const struct request *r, struct slice in)
{
    check_inside(r->key, in, PROTO_KEY_MAX);
    check_inside(r->arg, in, PROTO_KEY_MAX);
    check_inside(r->value, in, PROTO_SASL_MAX);
    check_inside(r->line, in, 128);
    check_inside(r->cart.token, in, 32);
    check_inside(r->cart.shop, in, 32);
    check_inside(r->cart.ext, in, PROTO_LINE_MAX);
    MUST(r->binary.is && r->cart.price >= 0 && r->cart.order_count == 0);
}

static void check_result(const struct parsed *p, struct slice in)
{
    const struct request *r = &p->request;
    MUST(p->result == PARSE_BAD ? p->error < 0 : p->error == 0);
    check_request(r, in);
    if (p->result == PARSE_MORE) {
        MUST(p->used == 0 && (in.len ? p->want > in.len : p->want == 0));
        MUST(p->want <= HEADER + 255 + PROTO_KEY_MAX + PROTO_SASL_MAX);
        return;
    }
    if (r->noreply) {
        MUST(p->fatal && in.bytes[0] != PROTO_BINARY_MAGIC && p->used == 1);
        return;
    }
    MUST(in.len >= HEADER && r->binary.opcode == in.bytes[1]);
    MUST(p->used >= HEADER && (p->result == PARSE_BAD || p->used <= in.len));
    MUST(p->result == PARSE_BAD || (r->verb < VERB_COUNT_ && !p->fatal));
}

static void check_same_binary(const struct request *a, struct slice in, const struct request *b,
                              struct slice b_in)
{
    MUST(a->vivify == b->vivify && a->initial == b->initial && a->cart.seen == b->cart.seen);
    MUST(!memcmp(&a->binary, &b->binary, sizeof a->binary));
    MUST(same_place(a->line, in, b->line, b_in) && same_place(a->arg, in, b->arg, b_in));
}

/* Nothing, or one frame with the opcode and the opaque of the request. */
static void check_reply(struct buf *out, const struct request *r, int failed)
{
    const uint8_t *bytes = out->bytes;
    MUST(!failed);
    if (out->len == 0)
        return;
    MUST(out->len >= HEADER && bytes[0] == 0x81 && bytes[1] == r->binary.opcode);
    size_t body = (size_t)bytes[8] << 24 | (size_t)bytes[9] << 16 | (size_t)bytes[10] << 8 |
                  (size_t)bytes[11];
    size_t parts = ((size_t)bytes[2] << 8) + bytes[3] + bytes[4];
    MUST(out->len == HEADER + body && parts <= body);
    MUST(((uint32_t)bytes[12] << 24 | (uint32_t)bytes[13] << 16 | (uint32_t)bytes[14] << 8 |
          (uint32_t)bytes[15]) == r->binary.opaque);
    out->len = 0;
}

static void write_replies(const struct parsed *p)
{
    struct buf out = {0};
    const struct request *r = &p->request;
    struct cart_answer answer = {.amount_known = true, .ack = 's', .repeated = true};
    if (p->result == PARSE_BAD && !r->noreply) {
        check_reply(&out, r, binary_error(&out, p->error, r));
    } else if (p->result == PARSE_OK) {
        check_reply(&out, r, binary_done(&out, r, r->cas));
        check_reply(&out, r, binary_value(&out, r, r->flags, r->value, r->cas));
        check_reply(&out, r, binary_miss(&out, r));
        check_reply(&out, r, binary_number(&out, r, r->delta, r->cas));
        check_reply(&out, r, binary_not_stored(&out, r));
        check_reply(&out, r, binary_stat(&out, r, r->arg, r->value));
        check_reply(&out, r, binary_cart_status(&out, "EX", r, &answer));
        check_reply(&out, r, binary_cart_value(&out, r->cart.ext, r, &answer));
    }
    buf_free(&out);
}

static void check_whole(const struct parsed *p, struct slice in)
{
    (void)in;
    write_replies(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct parse_fuzz fuzz = {.parse = binary_parse,
                                           .check_result = check_result,
                                           .check_same = check_same_binary,
                                           .check_whole = check_whole};
    return parse_fuzz_run(&fuzz, slice_of(data, size));
}

/* Fuzzes what a datagram meets (libFuzzer): udp_frame_parse, then the parsers as a session picks
 * them, by the first byte of the payload and meta_starts. Whatever the bytes are: a frame is read
 * back as it was written, the payload is the rest of the datagram, and its requests hold what
 * parse_fuzz.h asks of every parser. Seeds: corpus/udp, words: udp.dict. */
#include "fuzz/parse_fuzz.h"
#include "net/net.h"

static enum parse parse_text(struct slice in, size_t value_bytes_max, struct request *request,
                             size_t *used, size_t *want, int *error, bool *fatal)
{
    return meta_starts(in) ? meta_parse(in, value_bytes_max, request, used, want, error, fatal)
                           : text_parse(in, value_bytes_max, request, used, want, error, fatal);
}

static void check_result(const struct parsed *p, struct slice in)
{
    MUST(p->result == PARSE_BAD ? p->error < 0 : p->error == 0);
    if (p->result == PARSE_MORE) {
        MUST(p->used == 0 && (p->want == 0 || p->want > in.len));
        return;
    }
    MUST(p->used > 0 || p->fatal);
    MUST(p->result == PARSE_BAD || (p->used <= in.len && p->request.verb < VERB_COUNT_));
    check_inside(p->request.key, in, PROTO_KEY_MAX);
    check_inside(p->request.value, in, in.len);
}

static void check_same_request(const struct request *a, struct slice in, const struct request *b,
                               struct slice b_in)
{
    MUST(a->noreply == b->noreply && a->binary.is == b->binary.is);
    MUST(same_place(a->keys, in, b->keys, b_in));
}

static void check_whole(const struct parsed *p, struct slice in)
{
    (void)p, (void)in;
}

/* What is written of a frame reads as that frame; what lies behind it does not matter. */
static void check_frame(const struct udp_frame *frame, struct slice payload, struct slice datagram)
{
    uint8_t copy[NET_UDP_HEAD_BYTES + 1] = {0};
    struct udp_frame again;
    struct slice rest;
    MUST(payload.bytes == datagram.bytes + NET_UDP_HEAD_BYTES);
    MUST(payload.len == datagram.len - NET_UDP_HEAD_BYTES);
    udp_frame_put(copy, frame);
    MUST(memcmp(copy, datagram.bytes, NET_UDP_HEAD_BYTES - 2) == 0);
    MUST(udp_frame_parse(slice_of(copy, sizeof copy), &again, &rest) && rest.len == 1);
    MUST(again.id == frame->id && again.index == frame->index && again.count == frame->count);
    MUST(!udp_frame_parse(slice_of(copy, NET_UDP_HEAD_BYTES), &again, &rest));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct parse_fuzz fuzz = {
        .check_result = check_result, .check_same = check_same_request, .check_whole = check_whole};
    struct slice datagram = slice_of(data, size), payload;
    struct udp_frame frame;
    bool is_frame = udp_frame_parse(datagram, &frame, &payload);
    MUST(is_frame == (size > NET_UDP_HEAD_BYTES));
    if (!is_frame)
        return 0;
    check_frame(&frame, payload, datagram);
    fuzz.parse = payload.bytes[0] == PROTO_BINARY_MAGIC ? binary_parse : parse_text;
    return parse_fuzz_run(&fuzz, payload);
}

/* binary_parse: memcached's binary protocol. A header of 24 bytes, then extras, key and value,
 * whose lengths it tells. A table says what each opcode is and what must be there.
 *
 * How it fails: as in memcached 1.6.18 a frame whose lengths can't be right ends the connection
 * behind its answer, for what follows it can't be trusted. An unknown opcode and a value that is
 * too large cost that frame only. A wrong magic ends the connection without an answer. All but too
 * large is known from the header. */
#include "proto/proto.h"
#include "proto/proto_int.h"

#define HEADER_BYTES    24
#define BATCH_VALUE_MAX (65535 + 512) /* the longest field and the others of a cbat */
#define NO_VIVIFY       0xffffffffu   /* exptime of an incr or decr that shall not create */

enum part { NONE, MAY, MUST_BE };

/* What an opcode is. Extras have `extras` bytes; those of flush may be missing. */
struct rule {
    bool known, quiet, with_key;
    uint8_t verb, extras;
    uint8_t key, value; /* enum part */
};

struct frame {
    size_t extras_len, key_len, body_len;
    const struct rule *rule;
};

#define RULE(verb, extras, key, value)                                                             \
    {                                                                                              \
        true, false, false, (verb), (extras), (key), (value)                                       \
    }
#define QUIET(verb, extras, key, value)                                                            \
    {                                                                                              \
        true, true, false, (verb), (extras), (key), (value)                                        \
    }
#define WITH_KEY(verb, extras, quiet)                                                              \
    {                                                                                              \
        true, (quiet), true, (verb), (extras), MUST_BE, NONE                                       \
    }

static const struct rule rules[256] = {
    [0x00] = RULE(VERB_GET, 0, MUST_BE, NONE),      [0x01] = RULE(VERB_SET, 8, MUST_BE, MAY),
    [0x02] = RULE(VERB_ADD, 8, MUST_BE, MAY),       [0x03] = RULE(VERB_REPLACE, 8, MUST_BE, MAY),
    [0x04] = RULE(VERB_DELETE, 0, MUST_BE, NONE),   [0x05] = RULE(VERB_INCR, 20, MUST_BE, NONE),
    [0x06] = RULE(VERB_DECR, 20, MUST_BE, NONE),    [0x07] = RULE(VERB_QUIT, 0, NONE, NONE),
    [0x08] = RULE(VERB_FLUSH_ALL, 4, NONE, NONE),   [0x09] = QUIET(VERB_GET, 0, MUST_BE, NONE),
    [0x0a] = RULE(VERB_NOOP, 0, NONE, NONE),        [0x0b] = RULE(VERB_VERSION, 0, NONE, NONE),
    [0x0c] = WITH_KEY(VERB_GET, 0, false),          [0x0d] = WITH_KEY(VERB_GET, 0, true),
    [0x0e] = RULE(VERB_APPEND, 0, MUST_BE, MAY),    [0x0f] = RULE(VERB_PREPEND, 0, MUST_BE, MAY),
    [0x10] = RULE(VERB_STATS, 0, MAY, NONE),        [0x11] = QUIET(VERB_SET, 8, MUST_BE, MAY),
    [0x12] = QUIET(VERB_ADD, 8, MUST_BE, MAY),      [0x13] = QUIET(VERB_REPLACE, 8, MUST_BE, MAY),
    [0x14] = QUIET(VERB_DELETE, 0, MUST_BE, NONE),  [0x15] = QUIET(VERB_INCR, 20, MUST_BE, NONE),
    [0x16] = QUIET(VERB_DECR, 20, MUST_BE, NONE),   [0x17] = QUIET(VERB_QUIT, 0, NONE, NONE),
    [0x18] = QUIET(VERB_FLUSH_ALL, 4, NONE, NONE),  [0x19] = QUIET(VERB_APPEND, 0, MUST_BE, MAY),
    [0x1a] = QUIET(VERB_PREPEND, 0, MUST_BE, MAY),  [0x1b] = RULE(VERB_VERBOSITY, 4, NONE, NONE),
    [0x1c] = RULE(VERB_TOUCH, 4, MUST_BE, NONE),    [0x1d] = RULE(VERB_GAT, 4, MUST_BE, NONE),
    [0x1e] = QUIET(VERB_GAT, 4, MUST_BE, NONE),     [0x20] = RULE(VERB_SASL_LIST, 0, NONE, NONE),
    [0x21] = RULE(VERB_SASL_AUTH, 0, MUST_BE, MAY), [0x22] = RULE(VERB_SASL_STEP, 0, MUST_BE, MAY),
    [0x23] = WITH_KEY(VERB_GAT, 4, false),          [0x24] = WITH_KEY(VERB_GAT, 4, true),
    [0xc0] = RULE(VERB_CADD, 8, MUST_BE, MAY),      [0xc1] = RULE(VERB_CSET, 8, MUST_BE, MAY),
    [0xc2] = RULE(VERB_CREM, 8, MUST_BE, MAY),      [0xc8] = RULE(VERB_CGET, 8, MUST_BE, MAY),
    [0xc9] = RULE(VERB_CDEL, 8, MUST_BE, MAY),      [0xd0] = QUIET(VERB_CADD, 8, MUST_BE, MAY),
    [0xd1] = QUIET(VERB_CSET, 8, MUST_BE, MAY),     [0xd2] = QUIET(VERB_CREM, 8, MUST_BE, MAY),
    [0xc3] = RULE(VERB_CCHK, 8, MUST_BE, MAY),      [0xc4] = RULE(VERB_CSWP, 8, MUST_BE, MAY),
    [0xc5] = RULE(VERB_CCLR, 8, MUST_BE, MAY),      [0xc6] = RULE(VERB_CMRG, 8, MUST_BE, MAY),
    [0xc7] = RULE(VERB_CBAT, 8, MUST_BE, MAY),      [0xd3] = QUIET(VERB_CCHK, 8, MUST_BE, MAY),
    [0xd4] = QUIET(VERB_CSWP, 8, MUST_BE, MAY),     [0xd5] = QUIET(VERB_CCLR, 8, MUST_BE, MAY),
    [0xd6] = QUIET(VERB_CMRG, 8, MUST_BE, MAY),     [0xd7] = QUIET(VERB_CBAT, 8, MUST_BE, MAY),
    [0xd8] = QUIET(VERB_CGET, 8, MUST_BE, MAY),     [0xd9] = QUIET(VERB_CDEL, 8, MUST_BE, MAY),
    [0xca] = RULE(VERB_CHST, 8, MUST_BE, MAY),      [0xda] = QUIET(VERB_CHST, 8, MUST_BE, MAY),
};

/* ---- the header ---- */

static struct frame read_header(const uint8_t *header, struct request *request)
{
    struct frame frame = {.key_len = get_be(header + 2, 2),
                          .extras_len = header[4],
                          .body_len = get_be(header + 8, 4),
                          .rule = &rules[header[1]]};
    request->cas = get_be(header + 16, 8);
    request->binary = (struct binary_head){.is = true,
                                           .opcode = header[1],
                                           .vbucket = (uint16_t)get_be(header + 6, 2),
                                           .opaque = (uint32_t)get_be(header + 12, 4)};
    if (!frame.rule->known)
        return frame;
    request->verb = frame.rule->verb;
    request->binary.quiet = frame.rule->quiet;
    request->binary.with_key = frame.rule->with_key;
    return frame;
}

static bool has_part(enum part part, size_t len)
{
    return part == MAY || (part == NONE) == (len == 0);
}

static bool fits(const struct frame *frame)
{
    const struct rule *rule = frame->rule;
    bool no_extras = rule->verb == VERB_FLUSH_ALL && frame->extras_len == 0;
    return (frame->extras_len == rule->extras || no_extras) &&
           has_part(rule->key, frame->key_len) &&
           has_part(rule->value, frame->body_len - frame->extras_len - frame->key_len);
}

/* 0, or why the frame is refused. In memcached's order. */
static int check_frame(const struct frame *frame, bool *fatal)
{
    *fatal = true;
    if (frame->extras_len + frame->key_len > frame->body_len)
        return CE_UNKNOWN;
    if (frame->key_len > PROTO_KEY_MAX)
        return CE_FORMAT;
    *fatal = false;
    if (!frame->rule->known)
        return CE_UNKNOWN;
    *fatal = !fits(frame);
    return *fatal ? CE_FORMAT : 0;
}

/* ---- the body ---- */

static bool is_cart(enum verb verb)
{
    return verb >= VERB_CADD && verb <= VERB_CDEL;
}

enum verb binary_cart_verb(uint8_t opcode)
{
    const struct rule *rule = &rules[opcode];
    return rule->known && !rule->quiet && is_cart(rule->verb) ? rule->verb : VERB_COUNT_;
}

/* How long the value of a frame may be. */
static size_t value_max(enum verb verb, size_t value_bytes_max)
{
    if (verb == VERB_CBAT)
        return value_bytes_max < BATCH_VALUE_MAX ? value_bytes_max : BATCH_VALUE_MAX;
    if (is_cart(verb))
        return PROTO_LINE_MAX;
    if (verb == VERB_SASL_AUTH || verb == VERB_SASL_STEP)
        return PROTO_SASL_MAX;
    return value_bytes_max;
}

static void read_delta(const uint8_t *extras, struct request *request)
{
    uint32_t exptime = (uint32_t)get_be(extras + 16, 4);
    request->delta = get_be(extras, 8);
    request->initial = get_be(extras + 8, 8);
    request->vivify = exptime != NO_VIVIFY;
    request->vivify_exptime = request->vivify ? exptime : 0;
}

static void read_extras(struct slice extras, struct request *request)
{
    if (extras.len == 0)
        return;
    switch (request->verb) {
    case VERB_SET:
    case VERB_ADD:
    case VERB_REPLACE:
        request->flags = (uint32_t)get_be(extras.bytes, 4);
        request->exptime = (int64_t)get_be(extras.bytes + 4, 4);
        break;
    case VERB_INCR:
    case VERB_DECR: read_delta(extras.bytes, request); break;
    case VERB_VERBOSITY: request->delta = get_be(extras.bytes, 4); break;
    default: request->exptime = (int64_t)get_be(extras.bytes, 4); break;
    }
}

static int read_body(struct slice extras, struct slice value, struct request *request)
{
    enum verb verb = request->verb;
    if (is_cart(verb))
        return binary_cart_args(extras, value, request);
    read_extras(extras, request);
    request->value = value;
    if (verb == VERB_STATS) {
        request->arg = request->key;
        request->key = slice_of(NULL, 0);
    }
    if (request->cas && (verb == VERB_SET || verb == VERB_ADD || verb == VERB_REPLACE))
        request->verb = VERB_CAS;
    return 0;
}

/* `in` holds the header. */
static enum parse read_frame(struct slice in, size_t value_bytes_max, struct request *request,
                             size_t *used, size_t *want, int *error, bool *fatal)
{
    struct frame frame = read_header(in.bytes, request);
    size_t value_at = HEADER_BYTES + frame.extras_len + frame.key_len;
    size_t end = HEADER_BYTES + frame.body_len;
    *used = end;
    *error = check_frame(&frame, fatal);
    if (*error)
        return PARSE_BAD;
    bool too_large = end - value_at > value_max(request->verb, value_bytes_max);
    size_t needed = too_large ? value_at : end; /* the key is wanted in any case */
    if (in.len < needed) {
        *want = needed;
        *used = 0;
        return PARSE_MORE;
    }
    request->key = slice_of(in.bytes + HEADER_BYTES + frame.extras_len, frame.key_len);
    *error = too_large ? CE_TOO_LARGE
                       : read_body(slice_of(in.bytes + HEADER_BYTES, frame.extras_len),
                                   slice_of(in.bytes + value_at, end - value_at), request);
    return *error ? PARSE_BAD : PARSE_OK;
}

enum parse binary_parse(struct slice in, size_t value_bytes_max, struct request *request,
                        size_t *used, size_t *want, int *error, bool *fatal)
{
    MUST(request && used && want && error && fatal);
    *request = (struct request){.verb = VERB_COUNT_, .binary.is = true};
    *used = *want = 0;
    *error = 0;
    *fatal = false;
    if (in.len == 0)
        return PARSE_MORE;
    if (in.bytes[0] != PROTO_BINARY_MAGIC) {
        request->noreply = *fatal = true;
        *used = 1;
        *error = CE_FORMAT;
        return PARSE_BAD;
    }
    if (in.len < HEADER_BYTES) {
        *want = HEADER_BYTES;
        return PARSE_MORE;
    }
    return read_frame(in, value_bytes_max, request, used, want, error, fatal);
}

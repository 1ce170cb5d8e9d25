/* binary_cart: extras and value of the cart commands in binary (doc/protocol-cart.md). Extras: the
 * number, bits, the length of the line key, the level. Value: the line key, then fields of a
 * letter, a length and bytes; the letters are those of the flags in text. As strict as text: what
 * has no meaning for a command is refused. */
#include "proto/proto.h"
#include "proto/proto_int.h"

#define FIELD_HEAD_BYTES 3  /* letter, length */
#define BATCH_HEAD_BYTES 11 /* opcode, length of the value, extras */

enum bit {
    BIT_CLAMP = 1,   /* L */
    BIT_NO_CART = 2, /* V0 */
    BIT_SUMMARY = 4, /* s */
    BIT_CHECKED = 8, /* c */
};

/* What a command takes. */
static const struct syntax {
    bool line, number, level, in_batch;
    uint16_t bits;
    const char *fields, *batch_fields;
} syntaxes[] = {
#define ROW(verb) [VERB_##verb - VERB_CADD]
    ROW(CADD) = {true, true, true, true, BIT_CLAMP | BIT_NO_CART, "IPUGET", "PUGE"},
    ROW(CSET) = {true, true, true, true, BIT_CLAMP | BIT_NO_CART, "IPUGET", "PUGE"},
    ROW(CREM) = {true, false, true, true, BIT_NO_CART, "IT", ""},
    ROW(CCHK) = {true, true, true, true, BIT_NO_CART, "IT", ""},
    ROW(CSWP) = {true, false, true, true, BIT_CLAMP | BIT_NO_CART, "IWPGET", "WPGE"},
    ROW(CCLR) = {false, false, true, true, BIT_NO_CART, "IST", "S"},
    ROW(CMRG) = {false, false, true, false, BIT_CLAMP | BIT_NO_CART, "IKMT", NULL},
    ROW(CBAT) = {false, false, true, false, BIT_NO_CART, "IUTB", NULL},
    ROW(CGET) = {false, false, false, false, BIT_SUMMARY | BIT_CHECKED, "N", NULL},
    ROW(CHST) = {false, false, false, false, 0, "", NULL},
    ROW(CDEL) = {false, false, true, false, BIT_NO_CART, "I", NULL},
#undef ROW
};

static const struct syntax *find_syntax(enum verb verb)
{
    MUST(verb >= VERB_CADD && verb <= VERB_CDEL);
    return &syntaxes[verb - VERB_CADD];
}

/* ---- extras ---- */

static bool read_bits(uint16_t bits, const struct syntax *syntax, struct request *request)
{
    struct cart_flags *flags = &request->cart;
    bool no_cart = bits & BIT_NO_CART;
    if (bits & ~syntax->bits || (no_cart && request->cas))
        return false;
    flags->seen |= bits & BIT_CLAMP ? proto_flag('L') : 0;
    flags->seen |= bits & BIT_SUMMARY ? proto_flag('s') : 0;
    flags->seen |= bits & BIT_CHECKED ? proto_flag('c') : 0;
    if (!no_cart && !request->cas)
        return true;
    flags->seen |= proto_flag('V');
    flags->if_cas = request->cas;
    return syntax->bits & BIT_NO_CART; /* a read knows no condition */
}

static bool read_level(uint8_t level, const struct syntax *syntax, struct cart_flags *flags)
{
    static const char letters[] = "rosq";
    if (level == 0)
        return true;
    if (!syntax->level || level > strlen(letters))
        return false;
    flags->seen |= proto_flag('D');
    flags->ack = (uint8_t)letters[level - 1];
    return true;
}

/* ---- fields ---- */

static bool read_price(struct slice bytes, int64_t *out)
{
    if (bytes.len != 8 || bytes.bytes[0] & 0x80)
        return false;
    *out = (int64_t)get_be(bytes.bytes, 8);
    return true;
}

static bool read_u64(struct slice bytes, size_t len, uint64_t *out)
{
    if (bytes.len != len)
        return false;
    *out = get_be(bytes.bytes, len);
    return true;
}

static bool read_new_line(struct slice bytes, struct request *request)
{
    return text_cart_text(bytes, 1, PROTO_CART_LINE_MAX, &request->arg);
}

static bool read_field(char letter, struct slice bytes, struct request *request)
{
    struct cart_flags *flags = &request->cart;
    switch (letter) {
    case 'I': return text_cart_text(bytes, 1, PROTO_TOKEN_MAX, &flags->token);
    case 'P': return read_price(bytes, &flags->price);
    case 'U': return text_cart_currency(bytes, flags->currency);
    case 'G': return text_cart_text(bytes, 0, PROTO_SHOP_MAX, &flags->shop);
    case 'E': flags->ext = bytes; return true;
    case 'T': return read_u64(bytes, 4, &flags->life_s);
    case 'S': return text_cart_scope(bytes, &flags->scope);
    case 'M': return text_cart_policy(bytes, &flags->policy);
    case 'W': return read_new_line(bytes, request);
    case 'K': request->arg = bytes; return bytes.len <= PROTO_KEY_MAX;
    case 'B': request->value = bytes; return true;
    default: MUST(letter == 'N'); return read_u64(bytes, 8, &flags->since_version);
    }
}

static bool read_fields(struct slice rest, const char *fields, struct request *request)
{
    struct cart_flags *flags = &request->cart;
    while (rest.len) {
        if (rest.len < FIELD_HEAD_BYTES)
            return false;
        char letter = (char)rest.bytes[0];
        size_t len = get_be(rest.bytes + 1, 2);
        rest = slice_from(rest, FIELD_HEAD_BYTES);
        if (len > rest.len || !letter || !strchr(fields, letter))
            return false;
        if (flags->seen & proto_flag(letter))
            return false;
        flags->seen |= proto_flag(letter);
        if (!read_field(letter, slice_of(rest.bytes, len), request))
            return false;
        rest = slice_from(rest, len);
    }
    return true;
}

/* ---- all of it ---- */

/* `*`: all lines, of cchk. */
static int read_line_key(struct slice *value, size_t len, const struct syntax *syntax,
                         struct request *request)
{
    if (len > value->len || (len && !syntax->line))
        return CE_BAD_LINE;
    struct slice key = slice_of(value->bytes, len);
    *value = slice_from(*value, len);
    if (!syntax->line || (request->verb == VERB_CCHK && slice_eq(key, slice_str("*"))))
        return 0;
    return text_cart_text(key, 1, PROTO_CART_LINE_MAX, &request->line) ? 0 : CE_BAD_LINE;
}

/* A field without which a command means nothing. */
static int check_needed(const struct request *request)
{
    if (request->verb == VERB_CSWP && !request->arg.len)
        return CE_BAD_LINE;
    if (request->verb == VERB_CMRG && !request->arg.len)
        return CE_BAD_CART;
    return request->verb == VERB_CBAT && !request->value.len ? CE_FORMAT : 0;
}

static int read_all(struct slice extras, struct slice value, const char *fields,
                    struct request *request)
{
    const struct syntax *syntax = find_syntax(request->verb);
    const uint8_t *bytes = extras.bytes;
    request->binary.number = (int32_t)(uint32_t)get_be(bytes, 4);
    int error = read_line_key(&value, bytes[6], syntax, request);
    if (error)
        return error;
    if (request->binary.number && !syntax->number)
        return CE_BAD_QTY;
    if (!read_bits((uint16_t)get_be(bytes + 4, 2), syntax, request) ||
        !read_level(bytes[7], syntax, &request->cart) || !read_fields(value, fields, request))
        return CE_BAD_FLAG;
    return check_needed(request);
}

int binary_cart_args(struct slice extras, struct slice value, struct request *request)
{
    if (request->binary.quiet)
        request->cart.seen |= proto_flag('q');
    int error = text_cart_key(request->key, request);
    return error ? error : read_all(extras, value, find_syntax(request->verb)->fields, request);
}

int binary_batch_next(struct slice *block, struct request *op)
{
    *op = (struct request){.verb = VERB_COUNT_, .binary.is = true};
    if (block->len == 0)
        return CE_NOTFOUND;
    if (block->len < BATCH_HEAD_BYTES)
        return CE_FORMAT;
    struct slice extras = slice_of(block->bytes + 3, BATCH_HEAD_BYTES - 3);
    size_t len = get_be(block->bytes + 1, 2);
    op->verb = binary_cart_verb(block->bytes[0]);
    *block = slice_from(*block, BATCH_HEAD_BYTES);
    if (op->verb == VERB_COUNT_ || !find_syntax(op->verb)->in_batch || len > block->len)
        return CE_FORMAT;
    struct slice value = slice_of(block->bytes, len);
    *block = slice_from(*block, len);
    int error = read_all(extras, value, find_syntax(op->verb)->batch_fields, op);
    bool whole = op->cart.seen & (proto_flag('V') | proto_flag('D')); /* of the batch as a whole */
    return !error && whole ? CE_BAD_FLAG : error;
}

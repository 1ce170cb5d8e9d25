/* binary_cart: extras and value of the cart commands in binary (doc/protocol-cart.md). Extras: the
 * number, bits, the length of the line key, the level. Value: the line key, then fields of a
 * letter, a length and bytes; the letters are those of the flags in text. As strict as text: what
 * has no meaning for a command is refused. */
#include "proto/proto.h"
#include "proto/proto_int.h"

#define FIELD_HEAD_BYTES 3 /* letter, length */

enum bit {
    BIT_CLAMP = 1,   /* L */
    BIT_NO_CART = 2, /* V0 */
    BIT_SUMMARY = 4, /* s */
    BIT_CHECKED = 8, /* c */
};

/* What a command takes. */
struct syntax {
    bool line, number, level;
    uint16_t bits;
    const char *fields;
};

static const struct syntax *find_syntax(enum verb verb)
{
    static const struct syntax add_set = {true, true, true, BIT_CLAMP | BIT_NO_CART, "IPUGET"};
    static const struct syntax remove = {true, false, true, BIT_NO_CART, "IT"};
    static const struct syntax forget = {false, false, true, BIT_NO_CART, "I"};
    static const struct syntax read = {false, false, false, BIT_SUMMARY | BIT_CHECKED, "N"};
    switch (verb) {
    case VERB_CADD:
    case VERB_CSET: return &add_set;
    case VERB_CREM: return &remove;
    case VERB_CDEL: return &forget;
    default: MUST(verb == VERB_CGET); return &read;
    }
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

static bool read_field(char letter, struct slice bytes, struct cart_flags *flags)
{
    switch (letter) {
    case 'I': return text_cart_text(bytes, 1, PROTO_TOKEN_MAX, &flags->token);
    case 'P': return read_price(bytes, &flags->price);
    case 'U': return text_cart_currency(bytes, flags->currency);
    case 'G': return text_cart_text(bytes, 0, PROTO_SHOP_MAX, &flags->shop);
    case 'E': flags->ext = bytes; return true;
    case 'T': return read_u64(bytes, 4, &flags->life_s);
    default: MUST(letter == 'N'); return read_u64(bytes, 8, &flags->since_version);
    }
}

static bool read_fields(struct slice rest, const struct syntax *syntax, struct cart_flags *flags)
{
    while (rest.len) {
        if (rest.len < FIELD_HEAD_BYTES)
            return false;
        char letter = (char)rest.bytes[0];
        size_t len = get_be(rest.bytes + 1, 2);
        rest = slice_from(rest, FIELD_HEAD_BYTES);
        if (len > rest.len || !letter || !strchr(syntax->fields, letter))
            return false;
        if (flags->seen & proto_flag(letter))
            return false;
        flags->seen |= proto_flag(letter);
        if (!read_field(letter, slice_of(rest.bytes, len), flags))
            return false;
        rest = slice_from(rest, len);
    }
    return true;
}

/* ---- all of it ---- */

static int read_line_key(struct slice *value, size_t len, const struct syntax *syntax,
                         struct request *request)
{
    if (len > value->len || (len && !syntax->line))
        return CE_BAD_LINE;
    if (syntax->line &&
        !text_cart_text(slice_of(value->bytes, len), 1, PROTO_CART_LINE_MAX, &request->line))
        return CE_BAD_LINE;
    *value = slice_from(*value, len);
    return 0;
}

int binary_cart_args(struct slice extras, struct slice value, struct request *request)
{
    const struct syntax *syntax = find_syntax(request->verb);
    const uint8_t *bytes = extras.bytes;
    request->binary.number = (int32_t)(uint32_t)get_be(bytes, 4);
    if (request->binary.quiet)
        request->cart.seen |= proto_flag('q');
    int error = text_cart_key(request->key, request);
    if (!error)
        error = read_line_key(&value, bytes[6], syntax, request);
    if (error)
        return error;
    if (request->binary.number && !syntax->number)
        return CE_BAD_QTY;
    if (!read_bits((uint16_t)get_be(bytes + 4, 2), syntax, request) ||
        !read_level(bytes[7], syntax, &request->cart) ||
        !read_fields(value, syntax, &request->cart))
        return CE_BAD_FLAG;
    return 0;
}

/* text_cart: the arguments and flags of the cart commands. Strict where the classic commands are
 * lenient: a flag that is unknown, malformed, repeated or without meaning for the command is
 * refused, so that nobody relies on something that does not happen. */
#include "proto/proto.h"
#include "proto/proto_int.h"

/* What a command takes: arguments behind the cart key, flags that set something, and flags that ask
 * for something back. */
struct cart_syntax {
    bool line, number;
    const char *sets;
    const char *returns;
};

#define WRITE_SETS  "IVPUGELTDbq"
#define REMOVE_SETS "IVTDbq"
#define DELETE_SETS "IVDbq"
#define READ_SETS   "scNbq" /* c: checked lines only; the cas stands in the document */

static const struct cart_syntax *find_syntax(enum verb verb)
{
    static const struct cart_syntax add_set = {true, true, WRITE_SETS, "vcntaxdlkO"};
    static const struct cart_syntax remove = {true, false, REMOVE_SETS, "vcntaxdlkO"};
    static const struct cart_syntax forget = {false, false, DELETE_SETS, "vcntadlkO"};
    static const struct cart_syntax read = {false, false, READ_SETS, "vntalkO"};
    switch (verb) {
    case VERB_CADD:
    case VERB_CSET: return &add_set;
    case VERB_CREM: return &remove;
    case VERB_CDEL: return &forget;
    default: MUST(verb == VERB_CGET); return &read;
    }
}

/* No space and no control character; bytes above 127 are the client's business. */
static bool is_plain(struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.bytes[i] <= ' ' || text.bytes[i] == 0x7f)
            return false;
    }
    return true;
}

/* ---- flags ---- */

bool text_cart_text(struct slice token, size_t len_min, size_t len_max, struct slice *out)
{
    if (token.len < len_min || token.len > len_max || !is_plain(token))
        return false;
    *out = token;
    return true;
}

static bool read_price(struct slice token, int64_t *out)
{
    uint64_t price;
    if (!num_u64(token, &price) || price > INT64_MAX)
        return false;
    *out = (int64_t)price;
    return true;
}

static bool read_life(struct slice token, uint64_t *out)
{
    uint32_t life_s; /* no longer, so that it can be counted in microseconds */
    if (!num_u32(token, &life_s))
        return false;
    *out = life_s;
    return true;
}

bool text_cart_currency(struct slice token, char currency[4])
{
    if (token.len != 3)
        return false;
    for (size_t i = 0; i < 3; i++) {
        if (token.bytes[i] < 'A' || token.bytes[i] > 'Z')
            return false;
    }
    memcpy(currency, token.bytes, 3);
    return true;
}

static bool read_ack(struct slice token, uint8_t *ack)
{
    static const char *const levels[] = {"ram", "os", "sync", "quorum"};
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++) {
        if (slice_eq(token, slice_str(levels[i]))) {
            *ack = token.bytes[0];
            return true;
        }
    }
    return false;
}

static bool read_base64(struct slice token, struct slice *out)
{
    *out = token;
    return proto_base64_valid(token);
}

/* The token behind a flag letter. */
static bool read_token(char letter, struct slice token, struct cart_flags *flags)
{
    switch (letter) {
    case 'I': return text_cart_text(token, 1, PROTO_TOKEN_MAX, &flags->token);
    case 'V': return num_u64(token, &flags->if_cas);
    case 'P': return read_price(token, &flags->price);
    case 'U': return text_cart_currency(token, flags->currency);
    case 'G': return text_cart_text(token, 0, PROTO_SHOP_MAX, &flags->shop);
    case 'E': return read_base64(token, &flags->ext_b64);
    case 'T': return read_life(token, &flags->life_s);
    case 'D': return read_ack(token, &flags->ack);
    case 'N': return num_u64(token, &flags->since_version);
    case 'O': return text_cart_text(token, 1, PROTO_OPAQUE_MAX, &flags->opaque);
    default: return token.len == 0;
    }
}

static bool holds_letter(const char *letters, char letter)
{
    return letter && strchr(letters, letter);
}

static bool read_flag(const struct cart_syntax *syntax, struct slice word, struct cart_flags *flags)
{
    char letter = (char)word.bytes[0];
    bool returns = holds_letter(syntax->returns, letter);
    if (!returns && !holds_letter(syntax->sets, letter))
        return false;
    if (flags->seen & proto_flag(letter))
        return false;
    if (!read_token(letter, slice_from(word, 1), flags))
        return false;
    flags->seen |= proto_flag(letter);
    if (returns) {
        MUST(flags->order_count < sizeof flags->order);
        flags->order[flags->order_count++] = letter;
    }
    return true;
}

/* ---- arguments ---- */

int text_cart_key(struct slice word, struct request *request)
{
    if (word.len > PROTO_KEY_MAX)
        return CE_FORMAT;
    if (!is_plain(word))
        return CE_BAD_CART;
    request->key = word;
    return 0;
}

static int read_cart_line(struct slice word, struct request *request)
{
    if (!text_cart_text(word, 1, PROTO_CART_LINE_MAX, &request->line))
        return CE_BAD_LINE;
    return 0;
}

int text_cart_args(struct slice args, struct request *request)
{
    const struct cart_syntax *syntax = find_syntax(request->verb);
    struct slice key, line, word;
    if (!text_take_word(&args, &key))
        return CE_FORMAT;
    int first = text_cart_key(key, request);
    if (syntax->line && !text_take_word(&args, &line))
        return CE_FORMAT;
    if (syntax->number && !text_take_word(&args, &request->number))
        return CE_FORMAT;
    int error = syntax->line ? read_cart_line(line, request) : 0;
    first = first ? first : error;
    while (text_take_word(&args, &word)) {
        if (!read_flag(syntax, word, &request->cart))
            first = first ? first : CE_BAD_FLAG;
    }
    return first;
}

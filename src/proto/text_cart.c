/* text_cart: the arguments and flags of the cart commands. Strict where the classic commands are
 * lenient: a flag that is unknown, malformed, repeated or without meaning for the command is
 * refused, so that nobody relies on something that does not happen. */
#include "proto/proto.h"
#include "proto/proto_int.h"

enum argument {
    NOTHING,
    LINE,
    LINE_OR_ALL, /* `*` */
    NEW_LINE,
    NUMBER,
    SOURCE, /* a cart key */
    BYTES,  /* of the data block */
};

/* What a command takes: arguments behind the cart key, flags that set something, alone, in a batch
 * and in the inbox, and flags that ask for something back. */
static const struct cart_syntax {
    enum argument arguments[2];
    const char *sets, *batch_sets, *inbox_sets, *returns;
} syntaxes[] = {
#define ROW(verb) [VERB_##verb - VERB_CADD]
    ROW(CADD) = {{LINE, NUMBER}, "IVPUGELTDbq", "PUGEL", "VPUGELT", "vcntaxdlkO"},
    ROW(CSET) = {{LINE, NUMBER}, "IVPUGELTDbq", "PUGEL", "VPUGELT", "vcntaxdlkO"},
    ROW(CREM) = {{LINE}, "IVTDbq", "", "VT", "vcntaxdlkO"},
    ROW(CCHK) = {{LINE_OR_ALL, NUMBER}, "IVTDbq", "", "VT", "vcntaxdlkO"},
    ROW(CSWP) = {{LINE, NEW_LINE}, "IVPGELTDbq", "PGEL", "VPGELT", "vcntaxdlkO"},
    ROW(CCLR) = {{NOTHING}, "IVSTDbq", "S", "VST", "vcntadlkO"},
    ROW(CMRG) = {{SOURCE}, "IVMLTDbq", NULL, NULL, "vcntadlkO"},
    ROW(CBAT) = {{BYTES}, "IVUTDbq", NULL, NULL, "vcntadlkO"},
    ROW(CGET) = {{NOTHING}, "scNbq", NULL, NULL, "vntalkO"}, /* c: checked lines only */
    ROW(CHST) = {{NOTHING}, "bq", NULL, NULL, "kO"},
    ROW(CDEL) = {{NOTHING}, "IVDbq", NULL, "V", "vcntadlkO"},
#undef ROW
};

static const struct cart_syntax *find_syntax(enum verb verb)
{
    MUST(verb >= VERB_CADD && verb <= VERB_CDEL);
    return &syntaxes[verb - VERB_CADD];
}

/* ---- flags ---- */

bool text_cart_text(struct slice token, size_t len_min, size_t len_max, struct slice *out)
{
    if (token.len < len_min || token.len > len_max || !slice_is_plain(token))
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

/* The place of a word in a list that ends with NULL; false when it is none of them. */
static bool find_word(const char *const *words, struct slice word, uint8_t *place)
{
    for (uint8_t i = 0; words[i]; i++) {
        if (slice_eq(word, slice_str(words[i]))) {
            *place = i;
            return true;
        }
    }
    return false;
}

static bool read_ack(struct slice token, uint8_t *ack)
{
    static const char *const levels[] = {"ram", "os", "sync", "quorum", NULL};
    uint8_t place;
    if (!find_word(levels, token, &place))
        return false;
    *ack = token.bytes[0];
    return true;
}

bool text_cart_scope(struct slice token, uint8_t *scope)
{
    static const char *const words[] = {"all", "checked", "unchecked", NULL};
    return find_word(words, token, scope);
}

bool text_cart_policy(struct slice token, uint8_t *policy)
{
    static const char *const words[] = {"max", "sum", "src", "dst", "replace", NULL};
    return find_word(words, token, policy);
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
    case 'S': return text_cart_scope(token, &flags->scope);
    case 'M': return text_cart_policy(token, &flags->policy);
    case 'O': return text_cart_text(token, 1, PROTO_OPAQUE_MAX, &flags->opaque);
    default: return token.len == 0;
    }
}

static bool holds_letter(const char *letters, char letter)
{
    return letter && strchr(letters, letter);
}

static bool read_flag(const char *sets, const char *returned, struct slice word,
                      struct cart_flags *flags)
{
    char letter = (char)word.bytes[0];
    bool returns = holds_letter(returned, letter);
    if (!returns && !holds_letter(sets, letter))
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
    if (!slice_is_plain(word))
        return CE_BAD_CART;
    request->key = word;
    return 0;
}

static int read_argument(enum argument argument, struct slice word, struct request *request)
{
    bool good = true;
    switch (argument) {
    case LINE:
        return text_cart_text(word, 1, PROTO_CART_LINE_MAX, &request->line) ? 0 : CE_BAD_LINE;
    case LINE_OR_ALL:
        if (slice_eq(word, slice_str("*")))
            return 0; /* no line: all */
        return read_argument(LINE, word, request);
    case NEW_LINE:
        return text_cart_text(word, 1, PROTO_CART_LINE_MAX, &request->arg) ? 0 : CE_BAD_LINE;
    case SOURCE:
        request->arg = word;
        return word.len <= PROTO_KEY_MAX && slice_is_plain(word) ? 0 : CE_BAD_CART;
    case BYTES: good = text_read_length(word, &request->value); break;
    default: request->number = word; break;
    }
    return good ? 0 : CE_FORMAT;
}

/* What stands behind the key. After an error the rest is still read; the first error counts. */
static int read_rest(const struct cart_syntax *syntax, const char *sets, const char *returns,
                     struct slice args, struct request *request)
{
    struct slice word;
    int first = 0;
    for (size_t i = 0; i < 2 && syntax->arguments[i] != NOTHING; i++) {
        if (!text_take_word(&args, &word))
            return CE_FORMAT;
        int error = read_argument(syntax->arguments[i], word, request);
        first = first ? first : error;
    }
    while (text_take_word(&args, &word)) {
        if (!read_flag(sets, returns, word, &request->cart))
            first = first ? first : CE_BAD_FLAG;
    }
    return first;
}

int text_cart_args(struct slice args, struct request *request)
{
    const struct cart_syntax *syntax = find_syntax(request->verb);
    struct slice key;
    if (!text_take_word(&args, &key))
        return CE_FORMAT;
    int first = text_cart_key(key, request);
    int error = read_rest(syntax, syntax->sets, syntax->returns, args, request);
    return error == CE_FORMAT || !first ? error : first;
}

/* ---- a batch ---- */

static struct slice take_line(struct slice *block)
{
    const uint8_t *end = memchr(block->bytes, '\n', block->len);
    size_t len = end ? (size_t)(end - block->bytes) : block->len;
    struct slice line = slice_of(block->bytes, len);
    *block = slice_from(*block, len + (end != NULL));
    if (line.len && line.bytes[line.len - 1] == '\r')
        line.len--;
    return line;
}

/* The syntax of a line that begins with its verb, NULL when that is none; the rest stays in line.
 */
static const struct cart_syntax *read_verb(struct slice *line, struct request *op)
{
    struct slice word;
    *op = (struct request){.verb = VERB_COUNT_};
    if (!text_take_word(line, &word) || memchr(line->bytes, 0, line->len))
        return NULL;
    op->verb = text_cart_verb(word);
    return op->verb == VERB_COUNT_ ? NULL : find_syntax(op->verb);
}

int text_batch_next(struct slice *block, struct request *op)
{
    *op = (struct request){.verb = VERB_COUNT_};
    if (block->len == 0)
        return CE_NOTFOUND;
    struct slice line = take_line(block);
    const struct cart_syntax *syntax = read_verb(&line, op);
    if (!syntax || !syntax->batch_sets)
        return CE_FORMAT;
    return read_rest(syntax, syntax->batch_sets, "", line, op);
}

/* ---- the inbox ---- */

int text_inbox_command(struct slice text, struct request *request)
{
    while (text.len && (text.bytes[text.len - 1] == '\n' || text.bytes[text.len - 1] == '\r' ||
                        text.bytes[text.len - 1] == ' '))
        text.len--;
    if (text.len && memchr(text.bytes, '\n', text.len)) {
        *request = (struct request){.verb = VERB_CBAT, .value = text};
        return 0;
    }
    const struct cart_syntax *syntax = read_verb(&text, request);
    if (!syntax || !syntax->inbox_sets)
        return CE_UNKNOWN;
    return read_rest(syntax, syntax->inbox_sets, "", text, request);
}

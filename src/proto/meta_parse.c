/* meta_parse: the meta commands. A verb of two letters, a key, for ms the length of its data block,
 * and flags: one letter each, some with a token right behind it. What is accepted and which error
 * wins is as in memcached 1.6.18, with the flags that came later (E, x).
 *
 * How it fails: a bad line costs that line; once the length of an ms is known, its data block too.
 * Where memcached finds an error only after it has changed something (an opaque that is too long),
 * it is found here before. */
#include "proto/proto.h"
#include "proto/proto_int.h"

#define META_WORDS_MAX  19 /* with verb and key, memcached's */
#define META_OPAQUE_MAX 31 /* with its letter 32 */
#define ASCII_END       127

/* Every letter that is a flag. S, the length of an ms in the first releases, is none any more. */
static const char flag_letters[] = "bcfhklqstuvxCDEFIJLMNOPRT";

static bool is_meta_verb(struct slice word)
{
    static const char letters[] = "gsdane";
    return word.len == 2 && word.bytes[0] == 'm' && word.bytes[1] && strchr(letters, word.bytes[1]);
}

static enum verb verb_of(uint8_t letter)
{
    switch (letter) {
    case 'g': return VERB_MG;
    case 's': return VERB_MS;
    case 'd': return VERB_MD;
    case 'a': return VERB_MA;
    case 'e': return VERB_ME;
    default: MUST(letter == 'n'); return VERB_MN;
    }
}

bool meta_starts(struct slice in)
{
    while (in.len && in.bytes[0] == ' ')
        in = slice_from(in, 1);
    if (in.len < 3 || !is_meta_verb(slice_of(in.bytes, 2)))
        return false;
    return in.bytes[2] == ' ' || in.bytes[2] == '\r' || in.bytes[2] == '\n' || in.bytes[2] == 0;
}

bool meta_before(const struct meta_flags *flags, char first, char second)
{
    if (flags->order_count < 2)
        return false;
    const char *a = memchr(flags->order, first, flags->order_count);
    const char *b = memchr(flags->order, second, flags->order_count);
    return a && b && a < b;
}

static int refuse(struct request *request, enum meta_fault fault)
{
    request->meta.fault = (uint8_t)fault;
    return CE_FORMAT;
}

/* ---- flags ---- */

static enum meta_fault read_time(struct slice token, int64_t *out)
{
    return num_i64(text_trim_number(token), out) ? META_FAULT_NONE : META_FAULT_TOKEN;
}

static enum meta_fault read_number(struct slice token, uint64_t *out, enum meta_fault fault)
{
    return num_u64(text_trim_number(token), out) ? META_FAULT_NONE : fault;
}

static enum meta_fault read_mode(struct slice token, struct meta_flags *meta)
{
    if (token.len != 1)
        return META_FAULT_MODE_LENGTH;
    meta->mode = (char)token.bytes[0];
    return META_FAULT_NONE;
}

/* What is behind a letter. Behind most, anything may stand and means nothing. */
static enum meta_fault read_token(char letter, struct slice token, struct request *request)
{
    switch (letter) {
    case 'b': return proto_base64_valid(request->key) ? META_FAULT_NONE : META_FAULT_KEY;
    case 'N': request->vivify = true; return read_time(token, &request->vivify_exptime);
    case 'T': return read_time(token, &request->exptime);
    case 'R': return read_time(token, &request->meta.recache);
    case 'C': return read_number(token, &request->cas, META_FAULT_TOKEN);
    case 'E': return read_number(token, &request->meta.new_cas, META_FAULT_TOKEN);
    case 'J': return read_number(token, &request->initial, META_FAULT_INITIAL);
    case 'D': return read_number(token, &request->delta, META_FAULT_DELTA);
    case 'M': return read_mode(token, &request->meta);
    case 'O': request->meta.opaque = token; return META_FAULT_NONE;
    case 'F':
        if (num_u32(text_trim_number(token), &request->flags))
            return META_FAULT_NONE;
        /* It has no text of its own: an earlier fault keeps its. */
        return request->meta.fault ? request->meta.fault : META_FAULT_FORMAT;
    default: return META_FAULT_NONE;
    }
}

/* A repeated or unknown letter ends the reading; else the last fault is the one told. */
static int read_flags(struct slice words, struct request *request)
{
    struct meta_flags *meta = &request->meta;
    struct slice word;
    while (text_take_word(&words, &word)) {
        char letter = (char)word.bytes[0];
        if (word.bytes[0] >= ASCII_END)
            return refuse(request, META_FAULT_DUPLICATE);
        if (!strchr(flag_letters, letter))
            return refuse(request, META_FAULT_INVALID);
        if (meta->seen & proto_flag(letter))
            return refuse(request, META_FAULT_DUPLICATE);
        meta->seen |= proto_flag(letter);
        MUST(meta->order_count < sizeof meta->order);
        meta->order[meta->order_count++] = letter;
        enum meta_fault fault = read_token(letter, slice_from(word, 1), request);
        if (fault)
            meta->fault = (uint8_t)fault;
    }
    return meta->fault ? CE_FORMAT : 0;
}

static int check_mode(struct request *request)
{
    char *mode = &request->meta.mode;
    if (request->verb == VERB_MS) {
        *mode = *mode ? *mode : 'S';
        return strchr("SEAPR", *mode) ? 0 : refuse(request, META_FAULT_MS_MODE);
    }
    if (request->verb == VERB_MA) {
        *mode = *mode == '-' ? 'D' : *mode == '+' || !*mode ? 'I' : *mode;
        return strchr("ID", *mode) ? 0 : refuse(request, META_FAULT_MA_MODE);
    }
    return 0;
}

static int check_flags(struct slice words, struct request *request)
{
    int error = read_flags(words, request);
    if (error && (request->verb == VERB_MD || request->verb == VERB_MA))
        return refuse(request, META_FAULT_EITHER);
    if (!error)
        error = check_mode(request);
    if (!error && request->meta.opaque.len > META_OPAQUE_MAX)
        error = refuse(request, META_FAULT_OPAQUE);
    return error;
}

/* ---- lines ---- */

static bool has_words(struct slice words, size_t count)
{
    struct slice word;
    while (count && text_take_word(&words, &word))
        count--;
    return count == 0;
}

static int read_key(struct slice *words, struct request *request)
{
    struct slice key;
    if (!text_take_word(words, &key))
        return CE_UNKNOWN;
    if (key.len > PROTO_KEY_MAX)
        return refuse(request, META_FAULT_FORMAT);
    request->key = key;
    return 0;
}

/* The only flag of me is a b right behind the key; all else is ignored. */
static int read_debug(struct slice words, struct request *request)
{
    struct slice word;
    if (read_key(&words, request))
        return refuse(request, META_FAULT_FORMAT);
    if (!text_take_word(&words, &word) || !slice_eq(word, slice_str("b")))
        return 0;
    request->meta.seen |= proto_flag('b');
    return proto_base64_valid(request->key) ? 0 : refuse(request, META_FAULT_FORMAT);
}

/* *with_value: the length of the data block is known, also when the flags are bad. */
static int read_words(struct slice words, struct request *request, bool *with_value)
{
    struct slice all = words, length;
    int error = read_key(&words, request);
    if (error)
        return error;
    bool is_set = request->verb == VERB_MS;
    if (is_set && !text_take_word(&words, &length))
        return refuse(request, META_FAULT_FORMAT);
    if (has_words(all, META_WORDS_MAX)) /* the verb is not among them */
        return refuse(request,
                      request->verb == VERB_MG ? META_FAULT_MG_TOO_LONG : META_FAULT_TOO_LONG);
    if (is_set && !text_read_length(length, &request->value))
        return refuse(request, META_FAULT_FORMAT);
    *with_value = is_set;
    return check_flags(words, request);
}

static int read_line(struct slice text, struct request *request, bool *with_value)
{
    struct slice verb;
    text_cut_at_nul(&text);
    if (!text_take_word(&text, &verb) || !is_meta_verb(verb))
        return CE_UNKNOWN;
    request->verb = verb_of(verb.bytes[1]);
    if (request->verb == VERB_MN)
        return 0;
    if (request->verb == VERB_ME)
        return read_debug(text, request);
    return read_words(text, request, with_value);
}

enum parse meta_parse(struct slice in, size_t value_bytes_max, struct request *request,
                      size_t *used, size_t *want, int *error, bool *fatal)
{
    MUST(request && used && want && error && fatal);
    struct slice text;
    bool with_value = false;
    *request = (struct request){.verb = VERB_COUNT_, .delta = 1};
    *used = *want = 0;
    *error = 0;
    *fatal = false;
    enum parse found = text_find_line(in, &text, used);
    if (found == PARSE_BAD) {
        *error = CE_LINE_TOO_LONG;
        *fatal = true;
    }
    if (found != PARSE_OK)
        return found;
    *error = read_line(text, request, &with_value);
    if (*error) {
        *used += with_value ? request->value.len + 2 : 0;
        request->value = slice_of(NULL, 0);
        return PARSE_BAD;
    }
    if (!with_value)
        return PARSE_OK;
    return text_take_value(in, value_bytes_max, request, used, want, error);
}

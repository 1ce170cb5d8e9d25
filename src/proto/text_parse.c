/* text_parse: the classic text protocol. A line is cut off the front of the input, its verb looked
 * up in a table, its words read by the verb's row, and for a storage command the data block is
 * taken. What is accepted, which error wins and where reading goes on after an error are those of
 * memcached 1.6.18 (doc/protocol-memcached.md says where not).
 *
 * How it fails: a bad line costs that line only, also for a storage command: its data block is then
 * read as commands, because the length can't be trusted. Two cases know the length and skip the
 * block: too large, and not followed by CRLF. */
#include "proto/proto.h"
#include "proto/proto_int.h"

#define WORDS_MAX          7               /* one more than any command takes */
#define WORDS_ANY          (UINT8_MAX - 1) /* no upper limit */
#define WORDS_LIST         UINT8_MAX       /* nor is the line cut into them: `read` does that */
#define LEADING_SPACES_MAX 100             /* before the verb of a long get line */
#define VALUE_BYTES_HARD   (INT32_MAX - 2) /* a length above it is not believed */
#define CRLF_BYTES         2

/* A command line without its verb. */
struct line {
    struct slice args;
    struct slice word[WORDS_MAX];
    size_t count;
    bool cut;     /* the line held a NUL; all from there on is ignored */
    bool checked; /* its keys were found good before */
};

struct command {
    const char *name;
    size_t name_len;
    enum verb verb;
    uint8_t words_min, words_max;
    uint8_t noreply_min; /* a last word "noreply" counts when there are so many words; 0 = never */
    int (*read)(const struct line *line, struct request *request);
};

/* Words are short: a call of memchr would cost more than the search. */
static const uint8_t *find_space(const uint8_t *at, const uint8_t *end)
{
    for (; at + WORD_BYTES <= end; at += WORD_BYTES) {
        unsigned place = word_find(word_load(at), ' ');
        if (place < WORD_BYTES)
            return at + place;
    }
    while (at < end && *at != ' ')
        at++;
    return at;
}

bool text_take_word(struct slice *rest, struct slice *word)
{
    if (rest->len == 0)
        return false;
    const uint8_t *at = rest->bytes, *end = at + rest->len;
    while (at < end && *at == ' ')
        at++;
    const uint8_t *space = find_space(at, end);
    *rest = slice_of(space, (size_t)(end - space));
    if (at == end)
        return false;
    *word = slice_of(at, (size_t)(space - at));
    return true;
}

bool text_next_key(struct slice *keys, struct slice *key)
{
    return text_take_word(keys, key);
}

/* ---- words ---- */

static bool is_white(uint8_t byte)
{
    return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

struct slice text_trim_number(struct slice word)
{
    while (word.len && is_white(word.bytes[0]))
        word = slice_from(word, 1);
    if (word.len > 1 && word.bytes[0] == '+' && word.bytes[1] != '-')
        word = slice_from(word, 1);
    for (size_t i = 0; i < word.len; i++) {
        if (is_white(word.bytes[i]))
            return slice_of(word.bytes, i);
    }
    return word;
}

#define SHORT_DIGITS_MAX 9 /* fits every kind of number */

/* Most numbers are a few digits and nothing else: read at once. */
static bool read_short(struct slice word, uint32_t *value)
{
    *value = 0;
    for (size_t i = 0; i < word.len; i++) {
        unsigned digit = (unsigned)word.bytes[i] - '0';
        if (digit > 9)
            return false;
        *value = *value * 10 + digit;
    }
    return word.len > 0;
}

static bool read_u32(struct slice word, uint32_t *value)
{
    if (word.len <= SHORT_DIGITS_MAX && read_short(word, value))
        return true;
    return num_u32(text_trim_number(word), value);
}

static bool read_i64(struct slice word, int64_t *value)
{
    uint32_t number;
    if (word.len > SHORT_DIGITS_MAX || !read_short(word, &number))
        return num_i64(text_trim_number(word), value);
    *value = number;
    return true;
}

static void trim_end(struct slice *text)
{
    while (text->len && text->bytes[text->len - 1] == ' ')
        text->len--;
}

/* Also of a line with more words than were kept. */
static struct slice last_word(const struct line *line)
{
    if (line->count < WORDS_MAX)
        return line->word[line->count - 1];
    struct slice text = line->args;
    trim_end(&text);
    size_t start = text.len;
    while (start && text.bytes[start - 1] != ' ')
        start--;
    return slice_from(text, start);
}

static int read_key(struct slice word, struct request *request)
{
    if (word.len > PROTO_KEY_MAX)
        return CE_FORMAT;
    request->key = word;
    return 0;
}

/* ---- one function for each shape of command ---- */

static int read_nothing(const struct line *line, struct request *request)
{
    (void)line;
    (void)request;
    return 0;
}

/* A key that is too long anywhere in the line fails all of it. */
static int read_key_list(struct slice keys, bool checked, struct request *request)
{
    struct slice key;
    if (!text_take_word(&keys, &key))
        return 0;
    if (read_key(key, request))
        return CE_FORMAT;
    request->keys = keys;
    while (!checked && text_take_word(&keys, &key)) {
        if (key.len > PROTO_KEY_MAX)
            return CE_FORMAT;
    }
    return 0;
}

static int read_get(const struct line *line, struct request *request)
{
    return read_key_list(line->args, line->checked, request);
}

static int read_gat(const struct line *line, struct request *request)
{
    struct slice keys = line->args, exptime;
    if (!text_take_word(&keys, &exptime) || !num_i64(text_trim_number(exptime), &request->exptime))
        return CE_EXPTIME;
    return read_key_list(keys, line->checked, request);
}

/* Leaves the length in request->value; the bytes are taken later. */
static int read_storage(const struct line *line, struct request *request)
{
    const struct slice *word = line->word;
    if (read_key(word[0], request))
        return CE_FORMAT;
    if (!read_u32(word[1], &request->flags) || !read_i64(word[2], &request->exptime) ||
        !text_read_length(word[3], &request->value))
        return CE_FORMAT;
    if (request->verb == VERB_CAS && !num_u64(text_trim_number(word[4]), &request->cas))
        return CE_FORMAT;
    return 0;
}

/* `delete k 0` is the rest of a feature memcached once had. */
static int read_delete(const struct line *line, struct request *request)
{
    bool hold_is_zero = line->count > 1 && slice_eq(line->word[1], slice_str("0"));
    size_t known = 1u + hold_is_zero + request->noreply;
    if (line->count != known)
        return CE_FORMAT;
    return read_key(line->word[0], request);
}

static int read_delta(const struct line *line, struct request *request)
{
    if (read_key(line->word[0], request))
        return CE_FORMAT;
    return num_u64(text_trim_number(line->word[1]), &request->delta) ? 0 : CE_DELTA;
}

static int read_touch(const struct line *line, struct request *request)
{
    if (read_key(line->word[0], request))
        return CE_FORMAT;
    return num_i64(text_trim_number(line->word[1]), &request->exptime) ? 0 : CE_EXPTIME;
}

static int read_flush_all(const struct line *line, struct request *request)
{
    if (line->count == request->noreply)
        return 0;
    return num_i64(text_trim_number(line->word[0]), &request->exptime) ? 0 : CE_EXPTIME;
}

static int read_verbosity(const struct line *line, struct request *request)
{
    return num_u64(text_trim_number(line->word[0]), &request->delta) ? 0 : CE_FORMAT;
}

static int read_wait(const struct line *line, struct request *request)
{
    bool good = !read_key(line->word[0], request) && num_u64(line->word[1], &request->delta) &&
                num_i64(line->word[2], &request->exptime) && request->exptime >= 0;
    return good ? 0 : CE_FORMAT;
}

/* Read by who runs it. */
static int read_rest(const struct line *line, struct request *request)
{
    struct slice rest = line->args;
    trim_end(&rest);
    if (request->noreply)
        rest.len -= strlen("noreply");
    trim_end(&rest);
    if (rest.len) {
        const uint8_t *end = rest.bytes + rest.len;
        request->arg = slice_of(line->word[0].bytes, (size_t)(end - line->word[0].bytes));
    }
    return 0;
}

/* Of the commands on slabs, only automove knows noreply. */
static int read_slabs(const struct line *line, struct request *request)
{
    request->noreply = line->count > 1 && slice_eq(line->word[0], slice_str("automove")) &&
                       slice_eq(last_word(line), slice_str("noreply"));
    return read_rest(line, request);
}

static int read_cart(const struct line *line, struct request *request)
{
    return line->cut ? CE_FORMAT : text_cart_args(line->args, request);
}

#define NAME(text) text, sizeof(text) - 1

/* In order of frequency: the search is linear. */
static const struct command commands[] = {
    {NAME("get"), VERB_GET, 1, WORDS_LIST, 0, read_get},
    {NAME("set"), VERB_SET, 4, 5, 1, read_storage},
    {NAME("cadd"), VERB_CADD, 0, WORDS_LIST, 0, read_cart},
    {NAME("cget"), VERB_CGET, 0, WORDS_LIST, 0, read_cart},
    {NAME("chst"), VERB_CHST, 0, WORDS_LIST, 0, read_cart},
    {NAME("cset"), VERB_CSET, 0, WORDS_LIST, 0, read_cart},
    {NAME("crem"), VERB_CREM, 0, WORDS_LIST, 0, read_cart},
    {NAME("cchk"), VERB_CCHK, 0, WORDS_LIST, 0, read_cart},
    {NAME("cswp"), VERB_CSWP, 0, WORDS_LIST, 0, read_cart},
    {NAME("cclr"), VERB_CCLR, 0, WORDS_LIST, 0, read_cart},
    {NAME("cmrg"), VERB_CMRG, 0, WORDS_LIST, 0, read_cart},
    {NAME("cbat"), VERB_CBAT, 0, WORDS_LIST, 0, read_cart},
    {NAME("cdel"), VERB_CDEL, 0, WORDS_LIST, 0, read_cart},
    {NAME("gets"), VERB_GETS, 1, WORDS_LIST, 0, read_get},
    {NAME("gat"), VERB_GAT, 1, WORDS_LIST, 0, read_gat},
    {NAME("gats"), VERB_GATS, 1, WORDS_LIST, 0, read_gat},
    {NAME("add"), VERB_ADD, 4, 5, 1, read_storage},
    {NAME("replace"), VERB_REPLACE, 4, 5, 1, read_storage},
    {NAME("append"), VERB_APPEND, 4, 5, 1, read_storage},
    {NAME("prepend"), VERB_PREPEND, 4, 5, 1, read_storage},
    {NAME("cas"), VERB_CAS, 5, 6, 1, read_storage},
    {NAME("delete"), VERB_DELETE, 1, 3, 2, read_delete},
    {NAME("incr"), VERB_INCR, 2, 3, 1, read_delta},
    {NAME("decr"), VERB_DECR, 2, 3, 1, read_delta},
    {NAME("touch"), VERB_TOUCH, 2, 3, 1, read_touch},
    {NAME("flush_all"), VERB_FLUSH_ALL, 0, 2, 1, read_flush_all},
    {NAME("version"), VERB_VERSION, 0, WORDS_ANY, 0, read_nothing},
    {NAME("stats"), VERB_STATS, 0, WORDS_ANY, 0, read_rest},
    {NAME("verbosity"), VERB_VERBOSITY, 1, 2, 1, read_verbosity},
    {NAME("quit"), VERB_QUIT, 0, WORDS_ANY, 0, read_nothing},
    {NAME("bget"), VERB_GET, 1, WORDS_LIST, 0, read_get},
    {NAME("cache_memlimit"), VERB_CACHE_MEMLIMIT, 1, 2, 1, read_rest},
    {NAME("lru_crawler"), VERB_LRU_CRAWLER, 1, WORDS_ANY, 0, read_rest},
    {NAME("lru"), VERB_LRU, 1, WORDS_ANY, 1, read_rest},
    {NAME("slabs"), VERB_SLABS, 1, WORDS_ANY, 0, read_slabs},
    {NAME("watch"), VERB_WATCH, 0, WORDS_ANY, 1, read_rest},
    {NAME("shutdown"), VERB_SHUTDOWN, 0, WORDS_ANY, 0, read_rest},
    {NAME("refresh_certs"), VERB_REFRESH_CERTS, 0, WORDS_ANY, 0, read_rest},
    {NAME("cwait"), VERB_CWAIT, 3, 3, 0, read_wait},
    {NAME("tiers"), VERB_TIERS, 1, WORDS_ANY, 0, read_rest},
};

static const struct command *find_command(struct slice verb)
{
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        const struct command *command = &commands[i];
        if (slice_eq(verb, slice_of(command->name, command->name_len)))
            return command;
    }
    return NULL;
}

enum verb text_cart_verb(struct slice word)
{
    const struct command *command = find_command(word);
    return command && command->read == read_cart ? command->verb : VERB_COUNT_;
}

/* ---- lines and data blocks ---- */

/* Only a get may have a line of more than PROTO_LINE_MAX bytes. */
static bool is_get_line(struct slice in)
{
    static const char *const verbs[] = {"get ", "gets ", "gat ", "gats "};
    for (size_t i = 0; i < LEADING_SPACES_MAX && in.len && in.bytes[0] == ' '; i++)
        in = slice_from(in, 1);
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        if (slice_starts(in, slice_str(verbs[i])))
            return true;
    }
    return false;
}

enum parse text_find_line(struct slice in, struct slice *text, size_t *used)
{
    size_t line_max = PROTO_LINE_MAX;
    if (in.len > PROTO_LINE_MAX && is_get_line(in))
        line_max = PROTO_GET_LINE_MAX;
    size_t look_at = in.len <= line_max ? in.len : line_max + 1;
    const uint8_t *end = look_at ? memchr(in.bytes, '\n', look_at) : NULL;
    if (!end && look_at <= line_max)
        return PARSE_MORE;
    *used = end ? (size_t)(end - in.bytes) + 1 : look_at;
    if (!end)
        return PARSE_BAD;
    size_t len = *used - 1;
    if (len && in.bytes[len - 1] == '\r')
        len--;
    *text = slice_of(in.bytes, len);
    return PARSE_OK;
}

bool text_cut_at_nul(struct slice *text)
{
    const uint8_t *nul = text->len ? memchr(text->bytes, 0, text->len) : NULL;
    if (nul)
        text->len = (size_t)(nul - text->bytes);
    return nul != NULL;
}

static int read_line(struct slice text, bool checked, struct request *request)
{
    struct line line; /* only the words that are counted are set */
    struct slice verb, rest;
    line.cut = text_cut_at_nul(&text);
    line.checked = checked;
    line.count = 0;
    if (!text_take_word(&text, &verb))
        return CE_UNKNOWN;
    const struct command *command = find_command(verb);
    if (!command)
        return CE_UNKNOWN;
    request->verb = command->verb;
    line.args = rest = text;
    size_t kept = command->words_max == WORDS_LIST ? 1 : WORDS_MAX;
    while (line.count < kept && text_take_word(&rest, &line.word[line.count]))
        line.count++;
    if (line.count < command->words_min || line.count > command->words_max)
        return CE_UNKNOWN;
    if (command->noreply_min && line.count >= command->noreply_min)
        request->noreply = slice_eq(last_word(&line), slice_str("noreply"));
    return command->read(&line, request);
}

/* The first line of an HTTP request, which a browser may have been made to send: what follows it
 * may well be commands. memcached closes on it without a word. */
static bool is_http(struct slice text)
{
    struct slice word = slice_of(NULL, 0);
    text_cut_at_nul(&text);
    while (text_take_word(&text, &word))
        ;
    return slice_starts(word, slice_str("HTTP/"));
}

static bool takes_value(enum verb verb)
{
    return verb >= VERB_SET && verb <= VERB_CAS;
}

bool text_read_length(struct slice word, struct slice *value)
{
    int64_t length;
    if (!read_i64(word, &length) || length < 0 || length > VALUE_BYTES_HARD)
        return false;
    *value = slice_of(NULL, (size_t)length);
    return true;
}

enum parse text_take_value(struct slice in, size_t value_bytes_max, struct request *request,
                           size_t *used, size_t *want, int *error)
{
    size_t start = *used, len = request->value.len;
    *used = start + len + CRLF_BYTES;
    if (len > value_bytes_max) {
        request->value = slice_of(NULL, 0);
        *error = CE_TOO_LARGE;
        return PARSE_BAD;
    }
    if (in.len < *used) {
        *want = *used;
        *used = 0;
        return PARSE_MORE;
    }
    request->value.bytes = in.bytes + start;
    if (memcmp(in.bytes + start + len, "\r\n", CRLF_BYTES) != 0) {
        *error = CE_CHUNK;
        return PARSE_BAD;
    }
    return PARSE_OK;
}

static enum parse parse_text(struct slice in, size_t value_bytes_max, bool checked,
                             struct request *request, size_t *used, size_t *want, int *error,
                             bool *fatal)
{
    MUST(request && used && want && error && fatal);
    struct slice text;
    *request = (struct request){.verb = VERB_COUNT_};
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
    *error = read_line(text, checked, request);
    bool is_batch = request->verb == VERB_CBAT;
    if (*error) {
        if (is_batch && request->value.len) /* its block holds commands: it goes with the line */
            *used += request->value.len + CRLF_BYTES;
        request->value = slice_of(NULL, 0);
        if (request->verb == VERB_COUNT_ && is_http(text))
            request->noreply = *fatal = true;
        return PARSE_BAD;
    }
    if (!takes_value(request->verb) && !is_batch)
        return PARSE_OK;
    if (is_batch && value_bytes_max > PROTO_BATCH_BYTES_MAX)
        value_bytes_max = PROTO_BATCH_BYTES_MAX;
    enum parse taken = text_take_value(in, value_bytes_max, request, used, want, error);
    if (is_batch && *error == CE_TOO_LARGE)
        *error = CE_SIZE_LIMIT;
    return taken;
}

enum parse text_parse(struct slice in, size_t value_bytes_max, struct request *request,
                      size_t *used, size_t *want, int *error, bool *fatal)
{
    return parse_text(in, value_bytes_max, false, request, used, want, error, fatal);
}

enum parse text_parse_again(struct slice in, size_t value_bytes_max, struct request *request,
                            size_t *used, size_t *want, int *error, bool *fatal)
{
    return parse_text(in, value_bytes_max, true, request, used, want, error, fatal);
}

/* work: the table of requests, for each protocol. A reply is compared with the bytes it must be
 * wherever these are known beforehand; else its framing and what it holds are checked. What is no
 * good reply is skipped up to the end of its line. */
#include "bench/load.h"

#include <stdlib.h>
#include <string.h>

#define KEY_DIGITS  8
#define FRAME_BYTES 160 /* a request or reply without its value or lines */
#define LINE_BYTES  160 /* one line of a cart in a request */
#define SKUS        100000
#define FIELDS      2 /* of a hash, for each line: name and value */
#define CRLF        "\r\n"
#define BULK_MAX    (1u << 20)
#define JSON_BYTES  100

/* ---- writing ----------------------------------------------------------------------------------
 */

static char *put(char *out, const char *text)
{
    return stpcpy(out, text);
}

static char *put_bytes(char *out, const char *bytes, size_t len)
{
    memcpy(out, bytes, len);
    return out + len;
}

static char *put_padded(char *out, uint32_t number)
{
    for (int at = KEY_DIGITS - 1; at >= 0; at--, number /= 10)
        out[at] = (char)('0' + number % 10);
    return out + KEY_DIGITS;
}

static char *put_number(char *out, uint64_t number)
{
    char digits[24];
    size_t at = sizeof digits;
    do
        digits[--at] = (char)('0' + number % 10);
    while (number /= 10);
    return put_bytes(out, digits + at, sizeof digits - at);
}

static char *put_key(char *out, const struct op *op)
{
    return put_padded(put(out, "key:"), op->key);
}

static char *put_cart(char *out, const struct op *op)
{
    return put_padded(put(out, "cart:"), op->key);
}

/* The lines of a cart differ from each other and from those of its neighbours. */
static char *put_sku(char *out, uint32_t key, uint32_t line)
{
    return put_padded(put(out, "SKU-"), (uint32_t)((key + line * 7919ull) % SKUS));
}

static char *put_ack(char *out, const struct shape *shape)
{
    switch (shape->ack) {
    case 'r': return put(out, " Dram");
    case 'o': return put(out, " Dos");
    case 's': return put(out, " Dsync");
    default: return out;
    }
}

/* ---- reading ----------------------------------------------------------------------------------
 */

/* A reply that is not the expected one: one line. */
static enum reply read_other(const char *in, size_t len, const char *miss, size_t *used)
{
    const char *end = memchr(in, '\n', len);
    if (!end)
        return REPLY_MORE;
    *used = (size_t)(end - in) + 1;
    size_t miss_len = strlen(miss);
    return miss_len && *used == miss_len && !memcmp(in, miss, miss_len) ? REPLY_MISS : REPLY_BAD;
}

static enum reply read_exact(const char *in, size_t len, const char *good, size_t good_len,
                             const char *miss, size_t *used)
{
    size_t common = len < good_len ? len : good_len;
    if (memcmp(in, good, common) != 0)
        return read_other(in, len, miss, used);
    *used = good_len;
    return len < good_len ? REPLY_MORE : REPLY_GOOD;
}

/* Takes `mark`, a number and the rest of the line off the front. False: not there, or not whole. */
static bool take_header(const char **in, const char *end, const char *mark, uint64_t *number)
{
    const char *at = *in, *line_end = memchr(at, '\n', (size_t)(end - at));
    size_t mark_len = strlen(mark);
    if (!line_end || (size_t)(line_end - at) < mark_len || memcmp(at, mark, mark_len) != 0)
        return false;
    *number = 0;
    at += mark_len;
    if (*at < '0' || *at > '9')
        return false;
    for (; *at >= '0' && *at <= '9' && *number < BULK_MAX; at++)
        *number = *number * 10 + (uint64_t)(*at - '0');
    *in = line_end + 1;
    return true;
}

static bool starts(const char *in, size_t len, const char *with)
{
    size_t with_len = strlen(with);
    return len >= with_len && memcmp(in, with, with_len) == 0;
}

/* ---- text: plain items -------------------------------------------------------------------------
 */

static size_t write_get(const struct shape *shape, const struct op *op, char *out)
{
    (void)shape;
    char *at = put(put_key(put(out, "get "), op), CRLF);
    return (size_t)(at - out);
}

static enum reply read_get(const struct shape *shape, const struct op *op, const char *in,
                           size_t len, size_t *used)
{
    char *at = put_key(put(shape->scratch, "VALUE "), op);
    at = put(put_number(put(at, " 0 "), shape->value_bytes), CRLF);
    at = put_bytes(at, shape->value, shape->value_bytes);
    at = put(at, CRLF "END" CRLF);
    return read_exact(in, len, shape->scratch, (size_t)(at - shape->scratch), "END" CRLF, used);
}

static size_t write_set(const struct shape *shape, const struct op *op, char *out)
{
    char *at = put(put_key(put(out, "set "), op), " 0 0 ");
    at = put(put_number(at, shape->value_bytes), CRLF);
    at = put(put_bytes(at, shape->value, shape->value_bytes), CRLF);
    return (size_t)(at - out);
}

static enum reply read_stored(const struct shape *shape, const struct op *op, const char *in,
                              size_t len, size_t *used)
{
    (void)shape;
    (void)op;
    return read_exact(in, len, "STORED" CRLF, 8, "", used);
}

/* ---- meta and binary: plain items ---------------------------------------------------------------
 */

static size_t write_mg(const struct shape *shape, const struct op *op, char *out)
{
    (void)shape;
    char *at = put(put_key(put(out, "mg "), op), " v" CRLF);
    return (size_t)(at - out);
}

static enum reply read_mg(const struct shape *shape, const struct op *op, const char *in,
                          size_t len, size_t *used)
{
    (void)op;
    char *at = put(put_number(put(shape->scratch, "VA "), shape->value_bytes), CRLF);
    at = put(put_bytes(at, shape->value, shape->value_bytes), CRLF);
    return read_exact(in, len, shape->scratch, (size_t)(at - shape->scratch), "EN" CRLF, used);
}

static size_t write_ms(const struct shape *shape, const struct op *op, char *out)
{
    char *at = put(put_key(put(out, "ms "), op), " ");
    at = put(put_number(at, shape->value_bytes), CRLF);
    at = put(put_bytes(at, shape->value, shape->value_bytes), CRLF);
    return (size_t)(at - out);
}

static enum reply read_done(const struct shape *shape, const struct op *op, const char *in,
                            size_t len, size_t *used)
{
    (void)shape;
    (void)op;
    return read_exact(in, len, "HD" CRLF, 4, "", used);
}

enum { BINARY_GET = 0x00, BINARY_SET = 0x01, BINARY_HEAD = 24, BINARY_MISS = 1 };

/* A header: magic, opcode, lengths, and zeros for the rest. */
static char *put_binary(char *out, unsigned char opcode, size_t key, size_t extras, size_t body)
{
    memset(out, 0, BINARY_HEAD);
    out[0] = (char)0x80;
    out[1] = (char)opcode;
    out[3] = (char)key;
    out[4] = (char)extras;
    for (size_t at = 11; at >= 8; at--, body >>= 8)
        out[at] = (char)(body & 0xff);
    return out + BINARY_HEAD;
}

#define BINARY_KEY_BYTES (sizeof "key:" - 1 + KEY_DIGITS)

static size_t write_binary_get(const struct shape *shape, const struct op *op, char *out)
{
    (void)shape;
    char *at = put_binary(out, BINARY_GET, BINARY_KEY_BYTES, 0, BINARY_KEY_BYTES);
    return (size_t)(put_key(at, op) - out);
}

static size_t write_binary_set(const struct shape *shape, const struct op *op, char *out)
{
    char *at =
        put_binary(out, BINARY_SET, BINARY_KEY_BYTES, 8, 8 + BINARY_KEY_BYTES + shape->value_bytes);
    memset(at, 0, 8); /* flags and exptime */
    at = put_bytes(put_key(at + 8, op), shape->value, shape->value_bytes);
    return (size_t)(at - out);
}

/* A whole reply of this opcode; `body` is the length that a good one has. */
static enum reply read_binary(const char *in, size_t len, unsigned char opcode, size_t body,
                              size_t *used)
{
    const unsigned char *head = (const unsigned char *)in;
    if (len < BINARY_HEAD)
        return REPLY_MORE;
    size_t total = (size_t)head[8] << 24 | head[9] << 16 | head[10] << 8 | head[11];
    *used = BINARY_HEAD + total;
    if (len < *used)
        return REPLY_MORE;
    unsigned status = (unsigned)head[6] << 8 | head[7];
    if (head[0] != 0x81 || head[1] != opcode || (status && status != BINARY_MISS))
        return REPLY_BAD;
    if (status)
        return REPLY_MISS;
    return total == body ? REPLY_GOOD : REPLY_BAD;
}

static enum reply read_binary_get(const struct shape *shape, const struct op *op, const char *in,
                                  size_t len, size_t *used)
{
    (void)op;
    enum reply reply = read_binary(in, len, BINARY_GET, 4 + shape->value_bytes, used);
    bool same =
        reply != REPLY_GOOD || !memcmp(in + BINARY_HEAD + 4, shape->value, shape->value_bytes);
    return same ? reply : REPLY_BAD;
}

static enum reply read_binary_set(const struct shape *shape, const struct op *op, const char *in,
                                  size_t len, size_t *used)
{
    (void)shape;
    (void)op;
    return read_binary(in, len, BINARY_SET, 0, used);
}

/* ---- text: carts -------------------------------------------------------------------------------
 */

static char *put_add(char *out, const struct op *op)
{
    char *at = put(put_cart(put(out, "cadd "), op), " ");
    return put(put_sku(at, op->key, op->line), " 1");
}

static size_t write_cadd(const struct shape *shape, const struct op *op, char *out)
{
    char *at = put(put_ack(put_add(out, op), shape), CRLF);
    return (size_t)(at - out);
}

static size_t write_cadd_token(const struct shape *shape, const struct op *op, char *out)
{
    char *at = put(put(put_add(out, op), " I"), shape->token);
    at = put(put_ack(put_number(at, op->number), shape), CRLF);
    return (size_t)(at - out);
}

static size_t write_cset(const struct shape *shape, const struct op *op, char *out)
{
    char *at = put(put_cart(put(out, "cset "), op), " ");
    at = put(put_sku(at, op->key, op->line), " 2 P1999 UEUR");
    at = put(put_ack(at, shape), CRLF);
    return (size_t)(at - out);
}

static size_t write_cget(const struct shape *shape, const struct op *op, char *out)
{
    (void)shape;
    char *at = put(put_cart(put(out, "cget "), op), CRLF);
    return (size_t)(at - out);
}

/* The document of this cart, with as many lines as it must have. */
static bool check_document(const struct shape *shape, const struct op *op, const char *in,
                           size_t len)
{
    static const char line[] = "\"line\":";
    char *end = put(put_cart(put(shape->scratch, "{\"cart\":\""), op), "\"");
    size_t head = (size_t)(end - shape->scratch);
    if (len < head || memcmp(in, shape->scratch, head) != 0 || in[len - 1] != '}')
        return false;
    uint32_t lines = 0;
    const char *at = in, *stop = in + len;
    while ((at = memmem(at, (size_t)(stop - at), line, sizeof line - 1))) {
        lines++;
        at += sizeof line - 1;
    }
    return lines == shape->lines;
}

static enum reply read_cget(const struct shape *shape, const struct op *op, const char *in,
                            size_t len, size_t *used)
{
    const char *at = in, *end = in + len;
    uint64_t bytes;
    if (!take_header(&at, end, "VA ", &bytes))
        return read_other(in, len, "EN" CRLF, used);
    if ((size_t)(end - at) < bytes + 2)
        return REPLY_MORE;
    *used = (size_t)(at - in) + bytes + 2;
    return memcmp(at + bytes, CRLF, 2) == 0 && check_document(shape, op, at, bytes) ? REPLY_GOOD
                                                                                    : REPLY_BAD;
}

/* ---- RESP ---------------------------------------------------------------------------------------
 */

static char *put_count(char *out, char mark, uint64_t count)
{
    *out++ = mark;
    return put(put_number(out, count), CRLF);
}

static char *put_bulk(char *out, const char *bytes, size_t len)
{
    return put(put_bytes(put_count(out, '$', len), bytes, len), CRLF);
}

static char *put_word(char *out, const char *word)
{
    return put_bulk(out, word, strlen(word));
}

static char *put_key_bulk(char *out, const struct op *op, bool cart)
{
    char key[32];
    char *end = cart ? put_cart(key, op) : put_key(key, op);
    return put_bulk(out, key, (size_t)(end - key));
}

static char *put_sku_bulk(char *out, uint32_t key, uint32_t line)
{
    char sku[32];
    char *end = put_sku(sku, key, line);
    return put_bulk(out, sku, (size_t)(end - sku));
}

static size_t write_resp_get(const struct shape *shape, const struct op *op, char *out)
{
    (void)shape;
    char *at = put_key_bulk(put_word(put_count(out, '*', 2), "GET"), op, false);
    return (size_t)(at - out);
}

static enum reply read_resp_get(const struct shape *shape, const struct op *op, const char *in,
                                size_t len, size_t *used)
{
    (void)op;
    char *end = put_bulk(shape->scratch, shape->value, shape->value_bytes);
    return read_exact(in, len, shape->scratch, (size_t)(end - shape->scratch), "$-1" CRLF, used);
}

static size_t write_resp_set(const struct shape *shape, const struct op *op, char *out)
{
    char *at = put_key_bulk(put_word(put_count(out, '*', 3), "SET"), op, false);
    at = put_bulk(at, shape->value, shape->value_bytes);
    return (size_t)(at - out);
}

static enum reply read_resp_ok(const struct shape *shape, const struct op *op, const char *in,
                               size_t len, size_t *used)
{
    (void)shape;
    (void)op;
    return read_exact(in, len, "+OK" CRLF, 5, "", used);
}

static size_t write_hincrby(const struct shape *shape, const struct op *op, char *out)
{
    (void)shape;
    char *at = put_key_bulk(put_word(put_count(out, '*', 4), "HINCRBY"), op, true);
    at = put_word(put_sku_bulk(at, op->key, op->line), "1");
    return (size_t)(at - out);
}

static enum reply read_integer(const struct shape *shape, const struct op *op, const char *in,
                               size_t len, size_t *used)
{
    (void)shape;
    (void)op;
    const char *at = in;
    uint64_t number;
    if (!take_header(&at, in + len, ":", &number))
        return read_other(in, len, "", used);
    *used = (size_t)(at - in);
    return REPLY_GOOD;
}

/* HSET of a whole cart; `json`: what an application would keep of each line, else a quantity. */
static size_t write_hset(const struct shape *shape, const struct op *op, char *out, bool json)
{
    char value[JSON_BYTES] = "2";
    char *at = put_word(put_count(out, '*', 2 + FIELDS * (uint64_t)shape->lines), "HSET");
    at = put_key_bulk(at, op, true);
    for (uint32_t line = 0; line < shape->lines; line++) {
        if (json) {
            char *end =
                put_padded(put(value, "{\"qty\":2,\"price\":1999,\"added\":17900"), op->key);
            put(end, ",\"checked\":true}");
        }
        at = put_word(put_sku_bulk(at, op->key, line), value);
    }
    return (size_t)(at - out);
}

static size_t write_hset_quantities(const struct shape *shape, const struct op *op, char *out)
{
    return write_hset(shape, op, out, false);
}

static size_t write_hset_json(const struct shape *shape, const struct op *op, char *out)
{
    return write_hset(shape, op, out, true);
}

static size_t write_hgetall(const struct shape *shape, const struct op *op, char *out)
{
    (void)shape;
    char *at = put_key_bulk(put_word(put_count(out, '*', 2), "HGETALL"), op, true);
    return (size_t)(at - out);
}

static enum reply read_hgetall(const struct shape *shape, const struct op *op, const char *in,
                               size_t len, size_t *used)
{
    (void)op;
    const char *at = in, *end = in + len;
    uint64_t items, bytes;
    if (starts(in, len, "*0" CRLF) || !take_header(&at, end, "*", &items))
        return read_other(in, len, "*0" CRLF, used);
    for (uint64_t item = 0; item < items; item++) {
        if (at == end || (*at == '$' && !memchr(at, '\n', (size_t)(end - at))))
            return REPLY_MORE;
        if (!take_header(&at, end, "$", &bytes))
            return read_other(in, len, "", used);
        if ((size_t)(end - at) < bytes + 2)
            return REPLY_MORE;
        at += bytes + 2;
    }
    *used = (size_t)(at - in);
    return items == FIELDS * (uint64_t)shape->lines ? REPLY_GOOD : REPLY_BAD;
}

/* ---- null: the request of a get; the answer is whatever one line the null server gives ----------
 */

static enum reply read_line(const struct shape *shape, const struct op *op, const char *in,
                            size_t len, size_t *used)
{
    (void)shape;
    (void)op;
    enum reply reply = read_other(in, len, "", used);
    return reply == REPLY_BAD && starts(in, len, "HD") ? REPLY_GOOD : reply;
}

/* ---- the table ----------------------------------------------------------------------------------
 */

static const struct work works[] = {
    /* protocol, name, preload, per_line, write, read */
    {"text", "get", "set", false, write_get, read_get},
    {"text", "set", "set", false, write_set, read_stored},
    {"text", "cadd", "cset", false, write_cadd, read_done},
    {"text", "cadd-token", "cset", false, write_cadd_token, read_done},
    {"text", "cset", "cset", true, write_cset, read_done},
    {"text", "cget", "cset", false, write_cget, read_cget},
    {"meta", "get", "set", false, write_mg, read_mg},
    {"meta", "set", "set", false, write_ms, read_done},
    {"binary", "get", "set", false, write_binary_get, read_binary_get},
    {"binary", "set", "set", false, write_binary_set, read_binary_set},
    {"resp", "get", "set", false, write_resp_get, read_resp_get},
    {"resp", "set", "set", false, write_resp_set, read_resp_ok},
    {"resp", "hincrby", "hset", false, write_hincrby, read_integer},
    {"resp", "hset", "hset", false, write_hset_quantities, read_integer},
    {"resp", "hgetall", "hset-json", false, write_hgetall, read_hgetall},
    {"resp", "hset-json", "hset-json", false, write_hset_json, read_integer},
    {"null", "line", "line", false, write_get, read_line},
};
#define WORKS (sizeof works / sizeof works[0])

const struct work *work_find(const char *protocol, const char *name)
{
    for (size_t i = 0; i < WORKS; i++)
        if (!strcmp(works[i].protocol, protocol) && !strcmp(works[i].name, name))
            return &works[i];
    return NULL;
}

void work_list(FILE *out)
{
    for (size_t i = 0; i < WORKS; i++)
        fprintf(out, "  --protocol %s --work %s\n", works[i].protocol, works[i].name);
}

bool shape_init(struct shape *shape, uint64_t seed)
{
    snprintf(shape->token, sizeof shape->token, "%llx-", (unsigned long long)(seed & 0xffffffff));
    shape->request_bytes_max = FRAME_BYTES + shape->value_bytes + (size_t)shape->lines * LINE_BYTES;
    shape->value = malloc(shape->value_bytes + 1);
    shape->scratch = malloc(FRAME_BYTES + shape->value_bytes);
    if (!shape->value || !shape->scratch)
        return false;
    for (uint32_t i = 0; i < shape->value_bytes; i++)
        shape->value[i] = (char)('a' + i % 26);
    return true;
}

void shape_free(struct shape *shape)
{
    free(shape->value);
    free(shape->scratch);
}

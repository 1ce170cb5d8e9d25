/* glance: which key a request will ask for, long before it is parsed. */
#include "proto/proto_int.h"

#define BINARY_HEAD_BYTES 24
#define VERB_BYTES_MAX    8 /* and a space; of commands with a key */

static bool glance_binary(struct slice *in, struct slice *key)
{
    const uint8_t *head = in->bytes;
    if (in->len < BINARY_HEAD_BYTES)
        return false;
    size_t key_at = BINARY_HEAD_BYTES + head[4], key_bytes = (size_t)head[2] << 8 | head[3];
    size_t body_bytes = (size_t)head[8] << 24 | head[9] << 16 | head[10] << 8 | head[11];
    if (key_at + key_bytes > in->len)
        return false;
    *key = slice_of(head + key_at, key_bytes);
    size_t bytes = BINARY_HEAD_BYTES + body_bytes;
    *in = slice_from(*in, bytes < in->len ? bytes : in->len);
    return true;
}

/* The first byte that is a blank or a control character, or `end`. */
static const uint8_t *word_end(const uint8_t *at, const uint8_t *end)
{
    for (; end - at >= WORD_BYTES; at += WORD_BYTES) {
        unsigned len = word_first_below(word_load(at), ' ' + 1);
        if (len < WORD_BYTES)
            return at + len;
    }
    while (at<end && * at> ' ')
        at++;
    return at;
}

/* The second word of the line, which is where all commands have a key. */
static bool glance_text(struct slice *in, struct slice *key)
{
    const uint8_t *at = in->bytes, *end = at + in->len;
    at = word_end(at, in->len < VERB_BYTES_MAX ? end : at + VERB_BYTES_MAX);
    *key = slice_of(at, 0);
    if (at < end && *at == ' ') {
        key->bytes = at + 1;
        at = word_end(at + 1, end);
        key->len = (size_t)(at - key->bytes);
    }
    if (end - at < 2 || at[0] != '\r' || at[1] != '\n') {
        at = at < end ? memchr(at, '\n', (size_t)(end - at)) : NULL;
        if (!at)
            return false;
    } else {
        at++;
    }
    *in = slice_from(*in, (size_t)(at + 1 - in->bytes));
    return true;
}

bool proto_glance(struct slice *in, bool is_binary, struct slice *key)
{
    return is_binary ? glance_binary(in, key) : glance_text(in, key);
}

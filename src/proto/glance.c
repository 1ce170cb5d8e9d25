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

/* The second word of the line, which is where all commands have a key. */
static bool glance_text(struct slice *in, struct slice *key)
{
    const uint8_t *at = in->bytes, *end = at + in->len;
    const uint8_t *verb_end = in->len <= VERB_BYTES_MAX ? end : at + VERB_BYTES_MAX + 1;
    while (at<verb_end && * at> ' ')
        at++;
    *key = slice_of(at, 0);
    if (at < end && *at == ' ') {
        key->bytes = ++at;
        while (at<end && * at> ' ')
            at++;
        key->len = (size_t)(at - key->bytes);
    }
    at = at < end ? memchr(at, '\n', (size_t)(end - at)) : NULL;
    if (!at)
        return false;
    *in = slice_from(*in, (size_t)(at + 1 - in->bytes));
    return true;
}

bool proto_glance(struct slice *in, bool is_binary, struct slice *key)
{
    return is_binary ? glance_binary(in, key) : glance_text(in, key);
}

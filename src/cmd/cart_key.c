/* cart_key: what a key means. In a bucket of class cart with the prefix `cart:`, `cart:ID` is a
 * cart, `cart:ID/LINE` one of its lines, `cart:ID/LINE/qty` that line's quantity; `/` and `%`
 * inside LINE are written %2F and %25 (cart-protocol section 2). */
#include "cmd/cmd_int.h"

static bool decode_escape(struct slice text, uint8_t *out)
{
    if (text.len < 3 || text.bytes[1] != '2')
        return false;
    if (text.bytes[2] == 'F' || text.bytes[2] == 'f')
        *out = '/';
    else if (text.bytes[2] == '5')
        *out = '%';
    else
        return false;
    return true;
}

static bool decode_line(struct cmd_worker *worker, struct slice text, struct slice *line)
{
    size_t len = 0;
    while (text.len) {
        uint8_t byte = text.bytes[0];
        size_t step = 1;
        if (byte == '%') {
            if (!decode_escape(text, &byte))
                return false;
            step = 3;
        }
        if (len == sizeof worker->line)
            return false;
        worker->line[len++] = byte;
        text = slice_from(text, step);
    }
    *line = slice_of(worker->line, len);
    return len > 0;
}

static struct slice before_slash(struct slice *rest)
{
    const uint8_t *slash = rest->len ? memchr(rest->bytes, '/', rest->len) : NULL;
    size_t len = slash ? (size_t)(slash - rest->bytes) : rest->len;
    struct slice part = slice_of(rest->bytes, len);
    *rest = slice_from(*rest, slash ? len + 1 : len);
    return part;
}

enum cart_key_kind cart_key_parse(struct cmd_worker *worker, struct slice key, struct cart_key *out)
{
    size_t prefix_bytes;
    out->bucket = buckets_find(worker->cmd, key, &prefix_bytes);
    if (!out->bucket || out->bucket->class != CMD_CART)
        return KEY_PLAIN;
    struct slice rest = key;
    out->cart = before_slash(&rest);
    out->line = slice_of(NULL, 0);
    /* A key that comes as base64 or in binary may hold any bytes; a cart's key may not. */
    if (out->cart.len <= prefix_bytes || !slice_is_plain(out->cart))
        return KEY_BAD;
    if (out->cart.len == key.len)
        return KEY_CART;
    struct slice line = before_slash(&rest);
    if (!decode_line(worker, line, &out->line))
        return KEY_BAD;
    if (out->cart.len + 1 + line.len == key.len)
        return KEY_LINE;
    return slice_eq(rest, slice_str("qty")) ? KEY_QTY : KEY_BAD;
}

/* cart_json: a cart as a JSON document (doc/cart-model.md, "The document").
 *
 * Room for the worst case is reserved line by line, so the writers below just write. Text that is
 * not UTF-8 shows with U+FFFD for each bad byte, and its exact bytes follow as base64. */
#include "cart/cart.h"

#include "cart/cart_int.h"

enum {
    ESCAPE_MAX = 6,  /* bytes a byte of text can take: \u001f */
    NAMED_MAX = 40,  /* a member's name, quotes, colon, comma, twice */
    NUMBER_MAX = 48, /* a member that is a number */
};

static inline uint8_t *put_str(uint8_t *at, const char *text)
{
    size_t len = strlen(text);
    memcpy(at, text, len);
    return at + len;
}

static uint8_t *put_escape(uint8_t *at, uint8_t byte)
{
    static const char hex[] = "0123456789abcdef";
    static const char letters[] = "btn?fr"; /* of 8 to 13; there is none for 11 */
    *at++ = '\\';
    if (byte == '"' || byte == '\\') {
        *at++ = byte;
    } else if (byte >= '\b' && byte <= '\r' && byte != '\v') {
        *at++ = (uint8_t)letters[byte - '\b'];
    } else {
        at = put_str(at, "u00");
        *at++ = (uint8_t)hex[byte >> 4];
        *at++ = (uint8_t)hex[byte & 15];
    }
    return at;
}

static bool byte_plain(uint8_t byte)
{
    return byte >= ' ' && byte < 0x80 && byte != '"' && byte != '\\';
}

static bool word_plain(uint64_t word)
{
    return !(word & WORD_HIGHS) && !word_has_below(word, ' ') && !word_has(word, '"') &&
           !word_has(word, '\\');
}

/* Length of the front that needs no escape and no look at its coding. */
static size_t plain_len(struct slice text)
{
    size_t len = 0;
    while (len + WORD_BYTES <= text.len && word_plain(word_load(text.bytes + len)))
        len += WORD_BYTES;
    if (len && text.len - len < WORD_BYTES &&
        word_plain(word_load(text.bytes + text.len - WORD_BYTES)))
        return text.len;
    while (len < text.len && byte_plain(text.bytes[len]))
        len++;
    return len;
}

/* Escaped text without quotes; tells whether it was UTF-8. */
static uint8_t *put_text(uint8_t *at, struct slice text, bool *utf8)
{
    *utf8 = true;
    while (text.len) {
        size_t len = plain_len(text);
        if (len) {
            memcpy(at, text.bytes, len);
            at += len;
            text = slice_from(text, len);
            continue;
        }
        uint8_t byte = text.bytes[0];
        len = 1;
        if (byte < 0x80) {
            at = put_escape(at, byte);
        } else if ((len = cart_utf8_len(text)) > 0) {
            memcpy(at, text.bytes, len);
            at += len;
        } else {
            at = put_str(at, "\xEF\xBF\xBD");
            *utf8 = false;
            len = 1;
        }
        text = slice_from(text, len);
    }
    return at;
}

static inline uint8_t *put_name(uint8_t *at, const char *name, const char *suffix)
{
    *at++ = '"';
    at = put_str(at, name);
    at = put_str(at, suffix);
    return put_str(at, "\":");
}

uint8_t *cart_put_b64(uint8_t *at, const char *name, struct slice bytes)
{
    at = put_name(at, name, "_b64");
    *at++ = '"';
    at += cart_base64_put(at, bytes);
    return put_str(at, "\",");
}

static inline uint8_t *put_member(uint8_t *at, const char *name, struct slice text)
{
    bool utf8;
    at = put_name(at, name, "");
    *at++ = '"';
    at = put_text(at, text, &utf8);
    at = put_str(at, "\",");
    return utf8 ? at : cart_put_b64(at, name, text);
}

uint8_t *cart_put_member(uint8_t *at, const char *name, struct slice text)
{
    return put_member(at, name, text);
}

size_t cart_member_max(struct slice text)
{
    return NAMED_MAX + (ESCAPE_MAX + 2) * text.len + 4;
}

static inline uint8_t *put_number(uint8_t *at, const char *name, uint64_t value)
{
    at = put_name(at, name, "");
    at += num_put_u64((char *)at, value);
    *at++ = ',';
    return at;
}

/* A line's key and its sku, which most often is all of it: its text is then copied, not made again.
 * The exact bytes of a sku stand in the key, so it has no base64 of its own. */
static uint8_t *put_line_key(uint8_t *at, struct slice line)
{
    bool utf8, sku_utf8;
    struct slice sku = cart_line_sku(line);
    at = put_str(at, "\"line\":\"");
    const uint8_t *text = at;
    at = put_text(at, line, &utf8);
    size_t len = (size_t)(at - text);
    at = put_str(at, "\",");
    if (!utf8)
        at = cart_put_b64(at, "line", line);
    at = put_str(at, "\"sku\":\"");
    if (sku.len == line.len) {
        memcpy(at, text, len);
        at += len;
    } else {
        at = put_text(at, sku, &sku_utf8);
    }
    return put_str(at, "\",");
}

static uint8_t *put_line(uint8_t *at, const struct cart_line *line)
{
    *at++ = '{';
    at = put_line_key(at, line->line);
    at = put_number(at, "qty", (uint64_t)line->qty);
    if (line->has_price)
        at = put_number(at, "price", (uint64_t)line->price);
    at = put_str(at, line->checked ? "\"checked\":true," : "\"checked\":false,");
    if (line->shop.len)
        at = put_member(at, "shop", line->shop);
    at = put_number(at, "added", line->added_us / 1000);
    at = put_number(at, "updated", line->updated_us / 1000);
    if (line->ext.len && cart_utf8_ok(line->ext))
        at = put_member(at, "ext", line->ext);
    else if (line->ext.len)
        at = cart_put_b64(at, "ext", line->ext);
    at[-1] = '}';
    return at;
}

static int append_line(const struct cart_line *line, bool comma, struct buf *out)
{
    size_t max = 2 * cart_member_max(line->line) + cart_member_max(line->shop) +
                 cart_member_max(line->ext) + 5 * NUMBER_MAX;
    if (buf_reserve(out, max))
        return CE_NOMEM;
    uint8_t *start = out->bytes + out->len, *at = put_line(start, line);
    if (comma)
        *at++ = ',';
    out->len += (size_t)(at - start);
    return 0;
}

int cart_line_json(const struct cart_line *line, struct buf *out)
{
    return append_line(line, false, out);
}

int cart_json_key(struct slice key, struct buf *out)
{
    bool utf8;
    if (buf_reserve(out, cart_member_max(key)))
        return CE_NOMEM;
    uint8_t *start = out->bytes + out->len, *at = start;
    *at++ = '"';
    at = put_text(at, key, &utf8);
    *at++ = '"';
    out->len += (size_t)(at - start);
    return 0;
}

struct line_sink {
    struct buf *out;
    bool checked_only;
};

static int write_line(void *arg, const struct cart_line *line)
{
    const struct line_sink *sink = arg;
    if (sink->checked_only && !line->checked)
        return 0;
    return append_line(line, true, sink->out);
}

static int write_lines(struct slice lines, bool checked_only, struct buf *out)
{
    struct line_sink sink = {out, checked_only};
    if (buf_append_str(out, "\"lines\":["))
        return CE_NOMEM;
    size_t start = out->len;
    int err = cart_lines_each(lines, write_line, &sink);
    if (err)
        return err;
    if (out->len > start)
        out->len--; /* the last comma */
    return buf_append_str(out, "],");
}

int cart_json_front(const struct cart_summary *summary, struct slice key, struct buf *out)
{
    if (buf_reserve(out, cart_member_max(key) + 4 * NUMBER_MAX))
        return CE_NOMEM;
    uint8_t *start = out->bytes + out->len, *at = start;
    *at++ = '{';
    at = put_member(at, "cart", key);
    at = put_number(at, "version", summary->version);
    at = put_str(at, "\"cas\":\"");
    at += num_put_u64((char *)at, summary->cas);
    at = put_str(at, "\",");
    if (summary->currency[0])
        at = put_member(at, "currency", slice_of(summary->currency, 3));
    out->len += (size_t)(at - start);
    return 0;
}

int cart_json_sums(const struct cart_summary *summary, struct buf *out)
{
    if (buf_reserve(out, 6 * NUMBER_MAX))
        return CE_NOMEM;
    uint8_t *start = out->bytes + out->len, *at = start;
    at = put_number(at, "count", summary->lines);
    at = put_number(at, "qty", summary->qty);
    if (summary->amount_known)
        at = put_number(at, "amount", (uint64_t)summary->amount);
    at = put_number(at, "checked_qty", summary->checked_qty);
    if (summary->checked_amount_known)
        at = put_number(at, "checked_amount", (uint64_t)summary->checked_amount);
    at[-1] = '}';
    out->len += (size_t)(at - start);
    return 0;
}

int cart_json(struct slice state, uint64_t now_us, struct slice key, enum cart_json_scope scope,
              struct buf *out)
{
    struct cart_view view;
    struct cart_summary summary;
    size_t len_before = out->len;
    cart_view_summary(state, now_us, &view, &summary);
    int err = cart_json_front(&summary, key, out);
    if (!err && scope != CART_JSON_SUMMARY)
        err = write_lines(cart_view_lines(&view, now_us), scope == CART_JSON_CHECKED, out);
    if (!err)
        err = cart_json_sums(&summary, out);
    if (err)
        out->len = len_before;
    return err;
}

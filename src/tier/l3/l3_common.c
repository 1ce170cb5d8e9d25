/* What the drivers of SQL servers share: how bytes become text columns, limits of types, and words.
 */
#include "tier/l3/l3_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define HEX_MARK       "\\x"
#define TIME_MS_MAX    253402300799999ull /* 9999-12-31T23:59:59.999Z: the last that all know */
#define PASSWORD_SHOWN "***"

/* Length of the UTF-8 character at the front of `text` (RFC 3629), 0 when it is none. */
static size_t measure_char(struct slice text)
{
    uint8_t first = text.bytes[0];
    size_t len = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    if (len == 0 || first > 0xf4 || text.len < len)
        return 0;
    for (size_t i = 1; i < len; i++) {
        if ((text.bytes[i] & 0xc0) != 0x80)
            return 0;
    }
    uint8_t second = len > 1 ? text.bytes[1] : 0;
    bool is_overlong = (first == 0xe0 && second < 0xa0) || (first == 0xf0 && second < 0x90);
    bool is_surrogate = first == 0xed && second > 0x9f;
    bool is_too_high = first == 0xf4 && second > 0x8f;
    return is_overlong || is_surrogate || is_too_high ? 0 : len;
}

bool l3_is_utf8(struct slice text)
{
    while (text.len > 0) {
        bool is_ascii = text.len >= WORD_BYTES && !(word_load(text.bytes) & WORD_HIGHS);
        size_t len = is_ascii ? WORD_BYTES : measure_char(text);
        if (len == 0)
            return false;
        text = slice_from(text, len);
    }
    return true;
}

/* Whether a text column of every server holds the bytes as they are and tells them from all others.
 * Servers refuse NUL, and some compare without spaces at the end. */
static bool is_plain(struct slice bytes)
{
    return bytes.len == 0 ||
           (!slice_starts(bytes, slice_str(HEX_MARK)) && !memchr(bytes.bytes, '\0', bytes.len) &&
            bytes.bytes[bytes.len - 1] != ' ' && l3_is_utf8(bytes));
}

int l3_put_text(struct buf *out, struct slice bytes)
{
    static const char digits[] = "0123456789abcdef";
    if (is_plain(bytes))
        return buf_append(out, bytes.bytes, bytes.len);
    if (buf_reserve(out, sizeof HEX_MARK + 2 * bytes.len))
        return CE_NOMEM;
    MUST(buf_append_str(out, HEX_MARK) == 0);
    for (size_t i = 0; i < bytes.len; i++) {
        out->bytes[out->len++] = (uint8_t)digits[bytes.bytes[i] >> 4];
        out->bytes[out->len++] = (uint8_t)digits[bytes.bytes[i] & 15];
    }
    return 0;
}

static int hex_value(uint8_t digit)
{
    return digit >= '0' && digit <= '9'   ? digit - '0'
           : digit >= 'a' && digit <= 'f' ? digit - 'a' + 10
                                          : -1;
}

int l3_take_text(struct slice text, struct buf *out)
{
    out->len = 0;
    if (!slice_starts(text, slice_str(HEX_MARK)))
        return buf_append(out, text.bytes, text.len);
    text = slice_from(text, strlen(HEX_MARK));
    if (text.len % 2 || buf_reserve(out, text.len / 2 + 1))
        return text.len % 2 ? CE_CORRUPT : CE_NOMEM;
    for (size_t i = 0; i < text.len; i += 2) {
        int high = hex_value(text.bytes[i]), low = hex_value(text.bytes[i + 1]);
        if (high < 0 || low < 0)
            return CE_CORRUPT;
        out->bytes[out->len++] = (uint8_t)(high << 4 | low);
    }
    return 0;
}

uint64_t l3_time_ms(uint64_t time_us)
{
    return time_us / 1000 < TIME_MS_MAX ? time_us / 1000 : TIME_MS_MAX;
}

int64_t l3_bigint(uint64_t value)
{
    return value > INT64_MAX ? INT64_MAX : (int64_t)value;
}

int l3_fail(struct l3 *l3, int err, const char *words)
{
    snprintf(l3->message, sizeof l3->message, "%s", words);
    return err;
}

int l3_refuse_schema(struct l3 *l3, uint32_t version, uint32_t newest)
{
    snprintf(l3->message, sizeof l3->message,
             "the schema has version %" PRIu32 ", this program knows up to %" PRIu32 "; %s",
             version, newest,
             version > newest ? "a newer program made it"
                              : "l3-migrate is off: bring it up to date with contrib/sql");
    return CE_DB;
}

int l3_take_rev(struct l3 *l3, int64_t value, uint32_t *rev)
{
    if (value < 1 || value >= UINT32_MAX)
        return l3_fail(l3, CE_INVAL, "the revision of a row is out of range");
    *rev = (uint32_t)value;
    return 0;
}

int l3_fill_inbox_row(struct l3_inbox_row *row, int64_t id, struct slice key, bool coded,
                      struct slice command, struct slice token)
{
    row->id = id;
    row->taken_us = 0;
    row->fate = L3_INBOX_OPEN;
    row->reason[0] = '\0';
    row->key.len = row->command.len = row->token.len = 0;
    int err = coded ? l3_take_text(key, &row->key) : CE_CORRUPT;
    if (err == CE_CORRUPT) { /* as it stands; who looks at the key says what is wrong with it */
        row->key.len = 0;
        err = buf_append(&row->key, key.bytes, key.len);
    }
    if (!err)
        err = buf_append(&row->command, command.bytes, command.len);
    return err ? err : buf_append(&row->token, token.bytes, token.len);
}

static int compare_key(const void *key, const void *cart)
{
    return slice_cmp(*(const struct slice *)key, ((const struct l3_cart *)cart)->key);
}

struct l3_cart *l3_find_cart(struct l3_cart *carts, size_t count, struct slice key)
{
    return bsearch(&key, carts, count, sizeof *carts, compare_key);
}

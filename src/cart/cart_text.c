/* cart_text: UTF-8 as JSON wants it, and base64 for the bytes that are none. */
#include "cart/cart.h"

#include "cart/cart_int.h"

static bool is_tail(uint8_t byte)
{
    return (byte & 0xC0) == 0x80;
}

/* Three bytes: no overlong forms (below U+0800), no surrogates. */
static bool three_ok(const uint8_t *at)
{
    if (!is_tail(at[1]) || !is_tail(at[2]))
        return false;
    return !(at[0] == 0xE0 && at[1] < 0xA0) && !(at[0] == 0xED && at[1] > 0x9F);
}

/* Four bytes: no overlong forms (below U+10000), nothing above U+10FFFF. */
static bool four_ok(const uint8_t *at)
{
    if (!is_tail(at[1]) || !is_tail(at[2]) || !is_tail(at[3]) || at[0] > 0xF4)
        return false;
    return !(at[0] == 0xF0 && at[1] < 0x90) && !(at[0] == 0xF4 && at[1] > 0x8F);
}

size_t cart_utf8_len(struct slice text)
{
    if (text.len == 0)
        return 0;
    const uint8_t *at = text.bytes;
    if (at[0] < 0x80)
        return 1;
    if (at[0] >= 0xC2 && at[0] <= 0xDF)
        return text.len >= 2 && is_tail(at[1]) ? 2 : 0;
    if (at[0] >= 0xE0 && at[0] <= 0xEF)
        return text.len >= 3 && three_ok(at) ? 3 : 0;
    if (at[0] >= 0xF0)
        return text.len >= 4 && four_ok(at) ? 4 : 0;
    return 0;
}

bool cart_utf8_ok(struct slice text)
{
    while (text.len) {
        size_t len = cart_utf8_len(text);
        if (len == 0)
            return false;
        text = slice_from(text, len);
    }
    return true;
}

/* ---- base64 -----------------------------------------------------------------------------------
 */

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

size_t cart_base64_put(uint8_t *out, struct slice bytes)
{
    size_t at = 0;
    for (size_t i = 0; i < bytes.len; i += 3) {
        size_t left = bytes.len - i;
        uint32_t group = (uint32_t)bytes.bytes[i] << 16;
        group |= left > 1 ? (uint32_t)bytes.bytes[i + 1] << 8 : 0;
        group |= left > 2 ? bytes.bytes[i + 2] : 0;
        out[at++] = (uint8_t)alphabet[group >> 18];
        out[at++] = (uint8_t)alphabet[group >> 12 & 63];
        out[at++] = left > 1 ? (uint8_t)alphabet[group >> 6 & 63] : '=';
        out[at++] = left > 2 ? (uint8_t)alphabet[group & 63] : '=';
    }
    return at;
}

static bool take_digit(uint8_t letter, uint32_t *group)
{
    const char *found = letter ? strchr(alphabet, letter) : NULL;
    if (!found)
        return false;
    *group = *group << 6 | (uint32_t)(found - alphabet);
    return true;
}

/* One group of four letters, `pad` of which are padding. */
static bool take_group(const uint8_t *text, size_t pad, uint8_t *out)
{
    uint32_t group = 0;
    for (size_t i = 0; i < 4 - pad; i++)
        if (!take_digit(text[i], &group))
            return false;
    group <<= 6 * pad;
    if (group & ((1u << (8 * pad)) - 1))
        return false; /* unused bits */
    for (size_t i = 0; i < 3 - pad; i++)
        out[i] = (uint8_t)(group >> (16 - 8 * i));
    return true;
}

bool cart_base64_take(struct slice text, uint8_t *out, size_t *out_len)
{
    *out_len = 0;
    if (text.len % 4)
        return false;
    for (size_t i = 0; i < text.len; i += 4) {
        const uint8_t *group = text.bytes + i;
        bool last = i + 4 == text.len;
        size_t pad = last && group[3] == '=' ? 1 + (group[2] == '=') : 0;
        if (!take_group(group, pad, out + *out_len))
            return false;
        *out_len += 3 - pad;
    }
    return true;
}

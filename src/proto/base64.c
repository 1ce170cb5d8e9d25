/* base64: the standard alphabet with padding, one way to write each value: wrong lengths, stray
 * characters and bits that decoding would drop are refused. */
#include "proto/proto.h"
#include "proto/proto_int.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* The six bits a character stands for, or -1. */
static int sextet_of(uint8_t byte)
{
    if (byte >= 'A' && byte <= 'Z')
        return byte - 'A';
    if (byte >= 'a' && byte <= 'z')
        return byte - 'a' + 26;
    if (byte >= '0' && byte <= '9')
        return byte - '0' + 52;
    if (byte == '+')
        return 62;
    return byte == '/' ? 63 : -1;
}

static size_t count_padding(struct slice text)
{
    if (text.len == 0 || text.bytes[text.len - 1] != '=')
        return 0;
    return text.bytes[text.len - 2] == '=' ? 2 : 1;
}

bool proto_base64_valid(struct slice text)
{
    if (text.len % 4)
        return false;
    size_t padding = count_padding(text);
    int last = 0;
    for (size_t i = 0; i < text.len - padding; i++) {
        last = sextet_of(text.bytes[i]);
        if (last < 0)
            return false;
    }
    int dropped = padding == 2 ? 0x0f : padding == 1 ? 0x03 : 0;
    return (last & dropped) == 0;
}

int proto_base64_decode(struct slice text, struct buf *out)
{
    if (!proto_base64_valid(text))
        return CE_BAD_FLAG;
    size_t bytes = text.len / 4 * 3 - count_padding(text);
    if (buf_reserve(out, bytes))
        return CE_NOMEM;
    uint32_t bits = 0;
    unsigned bits_count = 0;
    for (size_t i = 0; bytes > 0; i++) {
        bits = bits << 6 | (uint32_t)sextet_of(text.bytes[i]);
        bits_count += 6;
        if (bits_count < 8)
            continue;
        bits_count -= 8;
        out->bytes[out->len++] = (uint8_t)(bits >> bits_count);
        bytes--;
    }
    return 0;
}

int proto_base64_encode(struct slice bytes, struct buf *out)
{
    if (bytes.len > SIZE_MAX / 4 || buf_reserve(out, (bytes.len + 2) / 3 * 4))
        return CE_NOMEM;
    for (size_t i = 0; i < bytes.len; i += 3) {
        size_t group = bytes.len - i < 3 ? bytes.len - i : 3;
        uint32_t bits = (uint32_t)bytes.bytes[i] << 16;
        bits |= group > 1 ? (uint32_t)bytes.bytes[i + 1] << 8 : 0;
        bits |= group > 2 ? bytes.bytes[i + 2] : 0;
        for (size_t digit = 0; digit < 4; digit++) {
            char c = alphabet[bits >> (18 - 6 * digit) & 63];
            out->bytes[out->len++] = (uint8_t)(digit <= group ? c : '=');
        }
    }
    return 0;
}

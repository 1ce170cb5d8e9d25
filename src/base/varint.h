/* varint: LEB128, 7 bits a byte, low group first; only the shortest form is accepted, so equal
 * values have equal bytes. */
#ifndef BASE_VARINT_H
#define BASE_VARINT_H

#include "base/slice.h"
#include "base/word.h"

#define VARINT_MAX 10 /* bytes of a u64 */

static inline size_t varint_len(uint64_t value)
{
    return 1 + (63 - (unsigned)__builtin_clzll(value | 1)) / 7;
}

/* varint_put of a number of three to eight bytes: pulls groups apart, two by two. */
static inline size_t varint_put_word(uint8_t *out, uint64_t value)
{
    size_t len = varint_len(value);
    value = (value & 0x000000000fffffff) | (value & 0x00fffffff0000000) << 4;
    value = (value & 0x00003fff00003fff) | (value & 0x0fffc0000fffc000) << 2;
    value = (value & 0x007f007f007f007f) | (value & 0x3f803f803f803f80) << 1;
    value |= WORD_HIGHS & ((1ull << (8 * (len - 1))) - 1);
    memcpy(out, &value, sizeof value);
    return len;
}

/* `out` has room for VARINT_MAX, all of which may be written. Returns the length. */
static inline size_t varint_put(uint8_t *out, uint64_t value)
{
    size_t at = 0;
    if (value >> 14 && value >> 56 == 0)
        return varint_put_word(out, value);
    while (value >= 0x80) {
        out[at++] = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    out[at++] = (uint8_t)value;
    return at;
}

/* A number and its bytes, 0 when there is none: by value, so that callers keep theirs in registers.
 */
struct varint {
    uint64_t value;
    size_t bytes;
};

/* varint_take byte by byte. */
static inline struct varint varint_read_slow(struct slice in)
{
    struct varint got = {0, 0};
    for (size_t i = 0; i < in.len && i < VARINT_MAX; i++) {
        uint8_t byte = in.bytes[i];
        if (i == VARINT_MAX - 1 && byte > 1)
            return got;
        got.value |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (byte & 0x80)
            continue;
        if (byte != 0 || i == 0)
            got.bytes = i + 1;
        return got;
    }
    return got;
}

/* varint_take of a number of two to eight bytes, with eight to look at: finds the last, then pushes
 * groups together, two by two. */
static inline struct varint varint_read_word(uint64_t word, uint64_t ends)
{
    unsigned count = (unsigned)__builtin_ctzll(ends) / 8 + 1;
    word &= ends ^ (ends - 1);
    if (word >> (8 * (count - 1)) == 0)
        return (struct varint){0, 0}; /* over-long */
    word &= ~WORD_HIGHS;
    word = (word & 0x007f007f007f007f) | (word & 0x7f007f007f007f00) >> 1;
    word = (word & 0x00003fff00003fff) | (word & 0x3fff00003fff0000) >> 2;
    word = (word & 0x000000000fffffff) | (word & 0x0fffffff00000000) >> 4;
    return (struct varint){word, count};
}

/* varint_take of a number of several bytes. */
__attribute__((noinline, unused)) static struct varint varint_read_long(struct slice in)
{
    if (in.len < WORD_BYTES)
        return varint_read_slow(in);
    uint64_t word = word_load(in.bytes), ends = ~word & WORD_HIGHS;
    return ends ? varint_read_word(word, ends) : varint_read_slow(in);
}

/* Takes a number off the front of *in; false when it is cut short, over-long or above 64 bits. */
__attribute__((always_inline)) static inline bool varint_take(struct slice *in, uint64_t *out)
{
    struct varint got = {0, 1};
    if (in->len && in->bytes[0] < 0x80) /* most have one byte */
        got.value = in->bytes[0];
    else
        got = varint_read_long(*in);
    if (got.bytes == 0)
        return false;
    *out = got.value;
    *in = slice_from(*in, got.bytes);
    return true;
}

static inline uint64_t zigzag(int64_t value)
{
    return ((uint64_t)value << 1) ^ (uint64_t)(value >> 63);
}

static inline int64_t unzigzag(uint64_t value)
{
    return (int64_t)(value >> 1) ^ -(int64_t)(value & 1);
}

#endif

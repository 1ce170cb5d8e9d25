/* slice: a borrowed run of bytes. Never owns; valid as long as what it points into. */
#ifndef BASE_SLICE_H
#define BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/word.h"

struct slice {
    const uint8_t *bytes;
    size_t len;
};

static inline struct slice slice_of(const void *bytes, size_t len)
{
    return (struct slice){.bytes = bytes, .len = len};
}

static inline struct slice slice_str(const char *text)
{
    return slice_of(text, strlen(text));
}

static inline bool slice_eq(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.bytes, b.bytes, a.len) == 0);
}

/* memcmp order, the shorter first among equals. */
static inline int slice_cmp(struct slice a, struct slice b)
{
    size_t common = a.len < b.len ? a.len : b.len;
    int diff = common ? memcmp(a.bytes, b.bytes, common) : 0;
    return diff ? diff : (a.len > b.len) - (a.len < b.len);
}

static inline bool slice_starts(struct slice s, struct slice prefix)
{
    if (s.len < prefix.len || prefix.len == 0)
        return prefix.len == 0;
    return s.bytes[0] == prefix.bytes[0] && !memcmp(s.bytes, prefix.bytes, prefix.len);
}

/* No space and no control character; bytes above 127 are somebody's business. */
static inline bool slice_is_plain(struct slice s)
{
    size_t at = 0;
    for (; at + WORD_BYTES <= s.len; at += WORD_BYTES)
        if (!word_is_plain(word_load(s.bytes + at)))
            return false;
    if (at) /* the rest, and some that was looked at */
        return word_is_plain(word_load(s.bytes + s.len - WORD_BYTES));
    for (; at < s.len; at++)
        if (s.bytes[at] <= ' ' || s.bytes[at] == 0x7f)
            return false;
    return true;
}

static inline struct slice slice_from(struct slice s, size_t at)
{
    return slice_of(s.bytes + at, s.len - at);
}

#endif

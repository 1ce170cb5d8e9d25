/* word: eight bytes at once. The answers are exact. */
#ifndef BASE_WORD_H
#define BASE_WORD_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the first byte is the lowest");

#define WORD_BYTES 8
#define WORD_ONES  0x0101010101010101ull
#define WORD_HIGHS 0x8080808080808080ull

static inline uint64_t word_load(const uint8_t *bytes)
{
    uint64_t word;
    memcpy(&word, bytes, sizeof word);
    return word;
}

/* Is any byte less than `limit`, which is 1..128? */
static inline bool word_has_below(uint64_t word, uint8_t limit)
{
    return ((word - WORD_ONES * limit) & ~word & WORD_HIGHS) != 0;
}

/* Which is the first byte less than `limit`, WORD_BYTES when none is. */
static inline unsigned word_first_below(uint64_t word, uint8_t limit)
{
    uint64_t marks = (word - WORD_ONES * limit) & ~word & WORD_HIGHS;
    return marks ? (unsigned)__builtin_ctzll(marks) / 8 : WORD_BYTES;
}

static inline bool word_has(uint64_t word, uint8_t byte)
{
    return word_has_below(word ^ WORD_ONES * byte, 1);
}

/* No byte is a space or a control character. */
static inline bool word_is_plain(uint64_t word)
{
    return !word_has_below(word, ' ' + 1) && !word_has(word, 0x7f);
}

/* The place of the first `byte`; WORD_BYTES when there is none. */
static inline unsigned word_find(uint64_t word, uint8_t byte)
{
    return word_first_below(word ^ WORD_ONES * byte, 1);
}

#endif

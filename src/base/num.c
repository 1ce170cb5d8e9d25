#include "base/base.h"

bool num_u64(struct slice text, uint64_t *out)
{
    uint64_t value = 0;
    if (text.len == 0)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        unsigned digit = (unsigned)text.bytes[i] - '0';
        if (digit > 9 || value > UINT64_MAX / 10)
            return false;
        value *= 10;
        if (value > UINT64_MAX - digit)
            return false;
        value += digit;
    }
    *out = value;
    return true;
}

bool num_u32(struct slice text, uint32_t *out)
{
    uint64_t value;
    if (!num_u64(text, &value) || value > UINT32_MAX)
        return false;
    *out = (uint32_t)value;
    return true;
}

bool num_i64(struct slice text, int64_t *out)
{
    uint64_t value;
    bool negative = text.len > 0 && text.bytes[0] == '-';
    if (!num_u64(negative ? slice_from(text, 1) : text, &value))
        return false;
    if (value > (uint64_t)INT64_MAX + (negative ? 1 : 0))
        return false;
    *out = negative ? (int64_t)(0 - value) : (int64_t)value;
    return true;
}

/* The numbers 0 to 99. */
static const char pairs[] = "0001020304050607080910111213141516171819"
                            "2021222324252627282930313233343536373839"
                            "4041424344454647484950515253545556575859"
                            "6061626364656667686970717273747576777879"
                            "8081828384858687888990919293949596979899";

static size_t count_digits(uint64_t value)
{
    static const uint64_t least[] = {0,
                                     10ull,
                                     100ull,
                                     1000ull,
                                     10000ull,
                                     100000ull,
                                     1000000ull,
                                     10000000ull,
                                     100000000ull,
                                     1000000000ull,
                                     10000000000ull,
                                     100000000000ull,
                                     1000000000000ull,
                                     10000000000000ull,
                                     100000000000000ull,
                                     1000000000000000ull,
                                     10000000000000000ull,
                                     100000000000000000ull,
                                     1000000000000000000ull,
                                     10000000000000000000ull};
    /* 1233/4096 is a little more than log10(2): the count, or one too few. */
    size_t tens = (size_t)(64 - __builtin_clzll(value | 1)) * 1233 >> 12;
    return tens + (value >= least[tens]);
}

#define EIGHT_DIGITS 100000000ull

/* Eight digits with their zeros: halves, quarters and digits are split side by side in one word, by
 * multiplications that are exact for so small numbers. */
static void put_eight(char *out, uint64_t value)
{
    uint64_t halves = value / 10000 | (value % 10000) << 32;
    uint64_t hundreds = (halves * 10486 >> 20) & 0x0000007f0000007f;
    uint64_t quarters = hundreds | (halves - 100 * hundreds) << 16;
    uint64_t tens = (quarters * 103 >> 10) & 0x000f000f000f000f;
    uint64_t digits = (tens | (quarters - 10 * tens) << 8) | WORD_ONES * '0';
    memcpy(out, &digits, sizeof digits);
}

size_t num_put_u64(char *out, uint64_t value)
{
    size_t count = count_digits(value), at = count;
    if (value >= EIGHT_DIGITS) { /* a time has thirteen */
        put_eight(out + (at -= 8), value % EIGHT_DIGITS);
        value /= EIGHT_DIGITS;
    }
    for (; value >= 100; value /= 100)
        memcpy(out + (at -= 2), pairs + 2 * (value % 100), 2);
    if (value >= 10)
        memcpy(out, pairs + 2 * value, 2);
    else
        out[0] = (char)('0' + value);
    return count;
}

size_t num_put_i64(char *out, int64_t value)
{
    if (value >= 0)
        return num_put_u64(out, (uint64_t)value);
    *out = '-';
    return 1 + num_put_u64(out + 1, 0 - (uint64_t)value);
}

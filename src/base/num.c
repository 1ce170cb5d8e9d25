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

size_t num_put_u64(char *out, uint64_t value)
{
    size_t count = 1;
    for (uint64_t rest = value; rest >= 10; rest /= 10)
        count++;
    for (size_t at = count; at > 0; at--, value /= 10)
        out[at - 1] = (char)('0' + value % 10);
    return count;
}

size_t num_put_i64(char *out, int64_t value)
{
    if (value >= 0)
        return num_put_u64(out, (uint64_t)value);
    *out = '-';
    return 1 + num_put_u64(out + 1, 0 - (uint64_t)value);
}

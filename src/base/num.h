/* num: strict decimal numbers in and out. No sign but '-', no spaces, no hex; leading zeros are
 * fine (cart-protocol section 5). */
#ifndef BASE_NUM_H
#define BASE_NUM_H

#include "base/slice.h"

#define NUM_DIGITS_MAX 21 /* "-9223372036854775808" or a u64, and one to spare */

/* false when `text` is empty, holds anything but digits, or does not fit. */
bool num_u64(struct slice text, uint64_t *out);
bool num_u32(struct slice text, uint32_t *out);
/* `-?[0-9]+` within int64. */
bool num_i64(struct slice text, int64_t *out);

/* Writes digits, no terminator; returns how many (<= NUM_DIGITS_MAX). */
size_t num_put_u64(char *out, uint64_t value);
size_t num_put_i64(char *out, int64_t value);

#endif

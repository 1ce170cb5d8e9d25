/* proto_int: what the files of proto share among themselves. */
#ifndef PROTO_PROTO_INT_H
#define PROTO_PROTO_INT_H

#include "proto/proto.h"

#define PROTO_CART_LINE_MAX 128 /* bytes of a line key */
#define PROTO_TOKEN_MAX     32  /* of an idempotency token */
#define PROTO_SHOP_MAX      32  /* of a shop group */
#define PROTO_OPAQUE_MAX    32  /* of an opaque, memcached's */

/* Takes the bytes before the next space off the front of *rest, skipping leading spaces; false when
 * nothing is left. Only ' ' separates, as in memcached: a tab is part of a word. */
bool text_take_word(struct slice *rest, struct slice *word);

/* Cuts the first line off `in`: *text is without its ending, *used counts it. BAD: too long. */
enum parse text_find_line(struct slice in, struct slice *text, size_t *used) MUST_USE;

/* memcached ends a line at a NUL; whether there was one. */
bool text_cut_at_nul(struct slice *text);

/* The number in a word as strtol sees it: white space and a '+' may stand before it, and anything
 * behind white space after it. */
struct slice text_trim_number(struct slice word);

/* Reads the length of a data block; the block itself is taken by text_take_value. */
bool text_read_length(struct slice word, struct slice *value);

/* The data block behind a line of *used bytes; request->value.len is its length. */
enum parse text_take_value(struct slice in, size_t value_bytes_max, struct request *request,
                           size_t *used, size_t *want, int *error) MUST_USE;

/* Reads what follows the verb of a cart command; request->verb is set. 0, CE_FORMAT, CE_BAD_CART,
 * CE_BAD_LINE or CE_BAD_FLAG. After an error the rest of the line is still read, so that k and O
 * can be echoed; the first error counts. */
int text_cart_args(struct slice args, struct request *request) MUST_USE;

/* A cart key, a text of a flag and a currency, as all cart commands want them. */
int text_cart_key(struct slice word, struct request *request) MUST_USE;
bool text_cart_text(struct slice token, size_t len_min, size_t len_max, struct slice *out);
bool text_cart_currency(struct slice token, char currency[4]);
/* Words of the flags S and M; places as in enum cart_scope and enum cart_policy (cart). */
bool text_cart_scope(struct slice token, uint8_t *scope);
bool text_cart_policy(struct slice token, uint8_t *policy);

/* The verb of a cart command, VERB_COUNT_ when the word, or the opcode, is none. */
enum verb binary_cart_verb(uint8_t opcode);
enum verb text_cart_verb(struct slice word);

/* Reads extras and value of a binary cart command; verb, key and cas are set. 0, or the CE_*. */
int binary_cart_args(struct slice extras, struct slice value, struct request *request) MUST_USE;

/* Strict, padded, canonical base64; empty is valid. */
bool proto_base64_valid(struct slice text);

/* ---- writing, into room that was reserved ---- */

static inline void put(struct buf *out, struct slice bytes)
{
    MUST(out->cap - out->len >= bytes.len);
    if (bytes.len)
        memcpy(out->bytes + out->len, bytes.bytes, bytes.len);
    out->len += bytes.len;
}

static inline void put_text(struct buf *out, const char *text)
{
    put(out, slice_str(text));
}

static inline void put_char(struct buf *out, char c)
{
    put(out, slice_of(&c, 1));
}

static inline void put_u64(struct buf *out, uint64_t value)
{
    char digits[NUM_DIGITS_MAX];
    put(out, slice_of(digits, num_put_u64(digits, value)));
}

static inline void put_i64(struct buf *out, int64_t value)
{
    char digits[NUM_DIGITS_MAX];
    put(out, slice_of(digits, num_put_i64(digits, value)));
}

static inline void put_flag_u64(struct buf *out, char letter, uint64_t value)
{
    put_char(out, ' ');
    put_char(out, letter);
    put_u64(out, value);
}

static inline void put_flag_i64(struct buf *out, char letter, int64_t value)
{
    put_char(out, ' ');
    put_char(out, letter);
    put_i64(out, value);
}

/* The key as it was sent, marked when that is base64. */
static inline void put_flag_key(struct buf *out, struct slice key, bool base64)
{
    put_text(out, " k");
    put(out, key);
    put_text(out, base64 ? " b" : "");
}

/* ---- numbers in network byte order ---- */

static inline uint64_t get_be(const uint8_t *bytes, size_t count)
{
    uint64_t value = 0;
    for (size_t i = 0; i < count; i++)
        value = value << 8 | bytes[i];
    return value;
}

static inline void set_be(uint8_t *bytes, uint64_t value, size_t count)
{
    for (size_t i = count; i > 0; i--, value >>= 8)
        bytes[i - 1] = (uint8_t)value;
}

static inline void put_be(struct buf *out, uint64_t value, size_t count)
{
    MUST(out->cap - out->len >= count);
    set_be(out->bytes + out->len, value, count);
    out->len += count;
}

#endif

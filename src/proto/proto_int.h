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

/* Reads what follows the verb of a cart command; request->verb is set. 0, CE_FORMAT, CE_BAD_CART,
 * CE_BAD_LINE or CE_BAD_FLAG. After an error the rest of the line is still read, so that k and O
 * can be echoed; the first error counts. */
int text_cart_args(struct slice args, struct request *request) MUST_USE;

/* Strict, padded, canonical base64; empty is valid. */
bool proto_base64_valid(struct slice text);

#endif

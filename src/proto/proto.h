/* proto: bytes <-> requests and replies. Pure: no socket, no store, no clock. One thread per call;
 * no state but what the caller holds. Every slice in a request points into the input and is valid
 * as long as those bytes stay where they are. Nothing is copied. */
#ifndef PROTO_PROTO_H
#define PROTO_PROTO_H

#include "base/base.h"

#define PROTO_KEY_MAX      250        /* memcached's */
#define PROTO_LINE_MAX     8192       /* a command line other than a get; CE_LINE_TOO_LONG */
#define PROTO_GET_LINE_MAX (1u << 20) /* a get line, thousands of keys */

enum verb {
    VERB_GET,
    VERB_GETS,
    VERB_GAT,
    VERB_GATS,
    VERB_SET,
    VERB_ADD,
    VERB_REPLACE,
    VERB_APPEND,
    VERB_PREPEND,
    VERB_CAS,
    VERB_DELETE,
    VERB_INCR,
    VERB_DECR,
    VERB_TOUCH,
    VERB_FLUSH_ALL,
    VERB_VERSION,
    VERB_STATS,
    VERB_VERBOSITY,
    VERB_QUIT,
    VERB_CADD,
    VERB_CSET,
    VERB_CREM,
    VERB_CGET,
    VERB_CDEL,
    VERB_COUNT_
};

/* Flags of the cart commands (cart-protocol section 1); bit = 1 << (letter index). */
struct cart_flags {
    uint64_t seen;          /* set of letters, PROTO_FLAG('v') */
    struct slice token;     /* I */
    uint64_t if_cas;        /* V */
    int64_t price;          /* P, >= 0 */
    char currency[4];       /* U, three capital letters */
    struct slice shop;      /* G */
    struct slice ext_b64;   /* E, still base64, checked to be valid */
    uint64_t life_s;        /* T */
    uint8_t ack;            /* D: 'r' ram, 'o' os, 's' sync, 'q' quorum */
    uint64_t since_version; /* N */
    struct slice opaque;    /* O */
    char order[24];         /* return letters (v c n t a x d l, and k O) in the order asked */
    uint8_t order_count;
};

static inline uint64_t proto_flag(char letter)
{
    return 1ull << ((unsigned)letter & 63);
}

struct request {
    enum verb verb;     /* VERB_COUNT_ after BAD: unknown */
    bool noreply;       /* classic commands; it silences errors too. Carts have the flag q */
    struct slice key;   /* the (first) key; raw bytes as sent (base64 when flag b). Empty only
                           for a gat without keys, which is answered END */
    struct slice keys;  /* get family: the rest of the line behind the first key */
    struct slice value; /* storage commands: the data block */
    uint32_t flags;
    int64_t exptime; /* storage, gat, touch; the delay of flush_all */
    uint64_t cas;
    uint64_t delta;         /* incr, decr; the level of verbosity */
    struct slice line;      /* cart commands */
    struct slice number;    /* cart commands: n as sent; cmd gives it its meaning */
    struct slice arg;       /* stats: the rest of the line */
    struct cart_flags cart; /* what the line gave of flags; on cget `c` is no return letter */
};

enum parse { PARSE_OK, PARSE_MORE, PARSE_BAD };

/* Reads one request off the front of `in`. OK: *used bytes belong to it. MORE: nothing is used,
 * call again with more; *want (> in.len) tells a length without which it can't go on, 0 when
 * unknown. BAD: *error is a CE_* with a wire line, and *used bytes (the line, and a data block as
 * far as its length can be known) are to be skipped; *used may be more than in.len: skip what is
 * still to come. *fatal: the reply is the last, close. value_bytes_max: a longer data block is
 * CE_TOO_LARGE (its bytes are skipped; memcached then also drops the old value when the verb is
 * VERB_SET). After BAD the request holds what was read: verb, noreply (true: send no reply), key,
 * and for a cart command its flags, for text_cart_error. */
enum parse text_parse(struct slice in, size_t value_bytes_max, struct request *request,
                      size_t *used, size_t *want, int *error, bool *fatal) MUST_USE;

/* Takes the next key of a get line off `*keys`; false at the end. */
bool text_next_key(struct slice *keys, struct slice *key);

/* ---- replies (text). All append to `out` and can fail only with CE_NOMEM. ---- */

int text_line(struct buf *out, const char *line) MUST_USE; /* line CRLF */
int text_error(struct buf *out, int code) MUST_USE;        /* err_wire(code) CRLF */
int text_number(struct buf *out, uint64_t value) MUST_USE;
/* VALUE key flags bytes [cas]; `value` is followed by CRLF. with_cas = gets/gats. */
int text_value(struct buf *out, struct slice key, uint32_t flags, struct slice value, bool with_cas,
               uint64_t cas) MUST_USE;
int text_stat(struct buf *out, const char *name, const char *value) MUST_USE;

/* What the return flags of a cart command stand for. */
struct cart_answer {
    uint64_t version, cas;
    uint32_t lines;
    uint64_t qty;
    bool amount_known;
    int64_t amount; /* of the checked lines */
    int64_t line_qty;
    uint8_t ack;        /* letter of the level reached: r o s q */
    uint64_t behind_ms; /* l */
    bool repeated;      /* R */
};

/* HD: flags in the order asked, nothing at all with q. EX: v and c always, then k and O. EN
 * (nothing with q) and NF: k and O only, `answer` may be NULL. `status` is the two letters. */
int text_cart_status(struct buf *out, const char *status, const struct request *request,
                     const struct cart_answer *answer) MUST_USE;
/* VA <bytes> flags CRLF data CRLF. */
int text_cart_value(struct buf *out, struct slice data, const struct request *request,
                    const struct cart_answer *answer) MUST_USE;
/* The error line of a cart command with k and O echoed when they were given; q does not silence it.
 */
int text_cart_error(struct buf *out, int code, const struct request *request) MUST_USE;

/* Decodes base64 (strict, padded) onto the end of `out`. CE_BAD_FLAG, CE_NOMEM. */
int proto_base64_decode(struct slice text, struct buf *out) MUST_USE;
int proto_base64_encode(struct slice bytes, struct buf *out) MUST_USE;

#endif

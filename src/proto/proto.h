/* proto: bytes <-> requests and replies. Pure: no socket, no store, no clock. One thread per call;
 * no state but what the caller holds. Every slice in a request points into the input and is valid
 * as long as those bytes stay where they are. Nothing is copied.
 *
 * How a session picks a parser: as memcached, the first byte of a connection (of a datagram, for
 * UDP) says which protocol it speaks from then on. PROTO_BINARY_MAGIC: binary_parse for all that
 * comes. Anything else: text, where each request goes to meta_parse when meta_starts(in), to
 * text_parse when not. The replies follow: binary_* when request.binary.is, meta_* for the verbs
 * VERB_MN to VERB_ME, text_* else. */
#ifndef PROTO_PROTO_H
#define PROTO_PROTO_H

#include "base/base.h"

#define PROTO_KEY_MAX         250          /* memcached's */
#define PROTO_LINE_MAX        8192         /* a command line other than a get; CE_LINE_TOO_LONG */
#define PROTO_BATCH_BYTES_MAX (256u << 10) /* the block of a cbat; CE_SIZE_LIMIT */
#define PROTO_BATCH_OPS_MAX   250          /* operations in it; CE_SIZE_LIMIT */
#define PROTO_GET_LINE_MAX    (1u << 20)   /* a get line, thousands of keys */
#define PROTO_META_FLAGS      17           /* of a meta command, memcached's (16 of an ms) */
#define PROTO_BINARY_MAGIC    0x80         /* first byte of a binary request */
#define PROTO_SASL_MAX        16384        /* bytes of SASL data, from someone not known yet */

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
    VERB_CACHE_MEMLIMIT,
    VERB_SHUTDOWN,
    VERB_LRU_CRAWLER,
    VERB_LRU,
    VERB_SLABS,
    VERB_WATCH,
    VERB_REFRESH_CERTS,
    VERB_CWAIT,
    VERB_TIERS,
    VERB_CADD,
    VERB_CSET,
    VERB_CREM,
    VERB_CCHK,
    VERB_CSWP,
    VERB_CCLR,
    VERB_CMRG,
    VERB_CBAT,
    VERB_CGET,
    VERB_CHST,
    VERB_CDEL,
    VERB_MN, /* meta commands: meta_parse */
    VERB_MG,
    VERB_MS,
    VERB_MD,
    VERB_MA,
    VERB_ME,
    VERB_NOOP, /* binary only: binary_parse */
    VERB_SASL_LIST,
    VERB_SASL_AUTH,
    VERB_SASL_STEP,
    VERB_COUNT_
};

/* Cart commands that answer with a document, or EN. */
static inline bool proto_is_read(enum verb verb)
{
    return verb == VERB_CGET || verb == VERB_CHST;
}

/* Flags of the cart commands (cart-protocol section 1); bit = 1 << (letter index). */
struct cart_flags {
    uint64_t seen;          /* set of letters, PROTO_FLAG('v') */
    struct slice token;     /* I */
    uint64_t if_cas;        /* V */
    int64_t price;          /* P, >= 0 */
    char currency[4];       /* U, three capital letters */
    struct slice shop;      /* G */
    struct slice ext_b64;   /* E, still base64, checked to be valid */
    struct slice ext;       /* E of a binary command: the bytes themselves */
    uint64_t life_s;        /* T */
    uint8_t ack;            /* D: 'r' ram, 'o' os, 's' sync, 'q' quorum */
    uint64_t since_version; /* N */
    uint8_t scope;          /* S: 0 all, 1 checked, 2 unchecked */
    uint8_t policy;         /* M: 0 max, 1 sum, 2 src, 3 dst, 4 replace */
    uint16_t failed_at;     /* for the answer: 1 + the place of the operation of a batch; 0 none */
    struct slice opaque;    /* O */
    char order[24];         /* return letters (v c n t a x d l, and k O) in the order asked */
    uint8_t order_count;
};

static inline uint64_t proto_flag(char letter)
{
    return 1ull << ((unsigned)letter & 63);
}

/* What is wrong with a meta command: enum suffix, its reply. Some say no more than memcached does.
 */
#define META_FAULTS(X)                                                                             \
    X(FORMAT, "CLIENT_ERROR bad command line format")                                              \
    X(MG_TOO_LONG, "CLIENT_ERROR options flags are too long")                                      \
    X(TOO_LONG, "CLIENT_ERROR options flags too long")                                             \
    X(DUPLICATE, "CLIENT_ERROR duplicate flag")                                                    \
    X(INVALID, "CLIENT_ERROR invalid flag")                                                        \
    X(EITHER, "CLIENT_ERROR invalid or duplicate flag")                                            \
    X(KEY, "CLIENT_ERROR error decoding key")                                                      \
    X(TOKEN, "CLIENT_ERROR bad token in command line format")                                      \
    X(INITIAL, "CLIENT_ERROR invalid numeric initial value")                                       \
    X(DELTA, "CLIENT_ERROR invalid numeric delta value")                                           \
    X(MODE_LENGTH, "CLIENT_ERROR incorrect length for M token")                                    \
    X(MS_MODE, "CLIENT_ERROR invalid mode for ms M token")                                         \
    X(MA_MODE, "CLIENT_ERROR invalid mode for ma M token")                                         \
    X(OPAQUE, "CLIENT_ERROR opaque token too long")

enum meta_fault {
    META_FAULT_NONE,
#define X(name, wire) META_FAULT_##name,
    META_FAULTS(X)
#undef X
};

/* Flags of a meta command. Each command takes all of them and ignores those without meaning for it,
 * as memcached does. T, F, C, D, N and J are in the request itself. */
struct meta_flags {
    uint64_t seen;                /* set of letters, proto_flag('v') */
    struct slice opaque;          /* O */
    int64_t recache;              /* R, an exptime */
    uint64_t new_cas;             /* E */
    char mode;                    /* M: of ms S E A P R, of ma I D; S and I when not given */
    char order[PROTO_META_FLAGS]; /* all letters as they were given */
    uint8_t order_count;
    uint8_t fault; /* enum meta_fault, after BAD */
};

/* What only a binary request has. */
struct binary_head {
    bool is; /* the request is binary */
    bool quiet;
    bool with_key; /* GETK, GATK: the reply holds the key */
    uint8_t opcode;
    uint16_t vbucket;
    uint32_t opaque;
    int32_t number; /* cart commands: n, instead of request.number */
};

struct request {
    enum verb verb;     /* VERB_COUNT_ after BAD: unknown */
    bool noreply;       /* classic commands; it silences errors too. Carts and meta commands have
                           the flag q, binary ones binary.quiet */
    bool vivify;        /* a miss creates: mg, ma and ms with N; incr and decr in binary */
    struct slice key;   /* the (first) key; raw bytes as sent (base64 when flag b). Empty only
                           for a gat without keys, which is answered END, and where binary has
                           none. A binary key holds any bytes, so does a decoded one */
    struct slice keys;  /* get family: the rest of the line behind the first key */
    struct slice value; /* storage commands: the data block; SASL data */
    uint32_t flags;     /* F */
    int64_t exptime;    /* storage, gat, touch, T; the delay of flush_all; the ms of cwait */
    uint64_t cas;       /* VERB_CAS; C; in binary 0 = no condition */
    uint64_t delta;     /* incr, decr, ma (D, or 1); the level of verbosity; cwait: version */
    int64_t vivify_exptime; /* when vivify: N */
    uint64_t initial;       /* when vivify: J; value of the item that incr, decr, ma create */
    struct slice line;      /* cart commands */
    struct slice number;    /* cart commands: n as sent; cmd gives it its meaning */
    struct slice arg;       /* stats, tiers, cache_memlimit to refresh_certs: the rest of the line,
                               without a noreply at its end. cswp: the new line; cmrg:
                               the source, as sent */
    struct cart_flags cart; /* what the line gave of flags; on cget `c` is no return letter */
    struct meta_flags meta;
    struct binary_head binary;
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

/* The same for a line that text_parse found good and that is run again to go on with its keys: they
 * are not looked at once more. */
enum parse text_parse_again(struct slice in, size_t value_bytes_max, struct request *request,
                            size_t *used, size_t *want, int *error, bool *fatal) MUST_USE;

/* A glance at the request that `in` begins with, for what can be fetched ahead of it: the key, if
 * it has one at all, unchecked (an empty slice, or any bytes, where it has none; a data block
 * passes for requests). Steps over it, or over as much as is there; false when it is not all there.
 */
bool proto_glance(struct slice *in, bool is_binary, struct slice *key) MUST_USE;

/* Whether a text request is a meta command. False also while too little of it has come; then
 * text_parse says MORE. */
bool meta_starts(struct slice in);

/* As text_parse, for meta commands; anything else is CE_UNKNOWN. noreply stays false. After BAD
 * with CE_FORMAT meta.fault says what meta_error answers; where memcached skips the data block of
 * an ms *used counts it. CE_TOO_LARGE: memcached drops the old value, whatever the mode. */
enum parse meta_parse(struct slice in, size_t value_bytes_max, struct request *request,
                      size_t *used, size_t *want, int *error, bool *fatal) MUST_USE;

/* Whether both flags were given, `first` before `second`: what T and N do to the life of an item is
 * seen by a t or R behind them, not by one before them. */
bool meta_before(const struct meta_flags *flags, char first, char second);

/* As text_parse, for binary requests. set, add and replace with a cas are VERB_CAS (opcode tells
 * which). After BAD: answer with binary_error unless noreply, which is set when the magic is wrong:
 * then close without a word. CE_TOO_LARGE leaves VERB_SET as it is, with its key. Of a SASL
 * command, key is the mechanism and value the data; of stats, arg is the key. */
enum parse binary_parse(struct slice in, size_t value_bytes_max, struct request *request,
                        size_t *used, size_t *want, int *error, bool *fatal) MUST_USE;

/* The next operation of a cbat: verb, line, number, arg and flags of `op`. CE_NOTFOUND at the end
 * of the block; CE_FORMAT (also: no command of a batch), CE_BAD_LINE, CE_BAD_FLAG. */
int text_batch_next(struct slice *block, struct request *op) MUST_USE;
/* What a row of the inbox asks for: a cart command without its key and without I, D, b, q and flags
 * that ask for something back; or lines as of a batch, then the verb is VERB_CBAT and they are the
 * value. CE_UNKNOWN: no command that the inbox takes. As text_batch_next. */
int text_inbox_command(struct slice text, struct request *request) MUST_USE;
/* The same as text_batch_next in binary. */
int binary_batch_next(struct slice *block, struct request *op) MUST_USE;

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
    uint8_t ack;               /* letter of the level reached: r o s q */
    uint64_t behind_ms;        /* l */
    bool repeated;             /* R */
    uint32_t skipped, clamped; /* cmrg: s and z, when not 0 */
    struct slice moved_to;     /* m: the key of the cart it was merged into; empty = none */
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

/* ---- replies (meta) ---- */

/* What the return flags of a meta command stand for. */
struct meta_answer {
    uint64_t cas;    /* c; 0 for an ms that stored nothing */
    uint64_t size;   /* s, bytes of the value */
    uint32_t flags;  /* f */
    int64_t ttl_s;   /* t, -1 = no end; as of where t stands, see meta_before */
    uint64_t idle_s; /* l, as it was before this command */
    bool fetched;    /* h, as it was before this command */
    bool won;        /* W */
    bool stale;      /* X */
    bool sent;       /* Z: someone else has won before */
    bool created;    /* ma: by N; such an answer is not silenced by q (memcached 1.6.18) */
};

/* HD EN NF NS EX, with the flags that the command returns on that status, in the order asked.
 * Nothing at all for what q leaves out: EN of mg, HD of the others. `answer` may be NULL when only
 * k and O can be asked for: on EN, and for md. */
int meta_status(struct buf *out, const char *status, const struct request *request,
                const struct meta_answer *answer) MUST_USE;
/* VA <bytes> flags CRLF data CRLF: mg and ma with v. q leaves it out for ma. */
int meta_value(struct buf *out, struct slice data, const struct request *request,
               const struct meta_answer *answer) MUST_USE;
/* The error line; q does not silence it. CE_FORMAT: that of meta.fault, when there is one. */
int meta_error(struct buf *out, int code, const struct request *request) MUST_USE;

/* ME key and what is known of the item. A miss is meta_status EN. */
struct meta_debug {
    int64_t ttl_s; /* -1 = no end */
    uint64_t idle_s, cas, size;
    uint32_t slab_class;
    bool fetched;
};
int meta_debug(struct buf *out, const struct request *request,
               const struct meta_debug *debug) MUST_USE;

/* ---- replies (binary) ---- */

/* Success without a body: storage, delete, flush, noop, quit. Nothing when quiet. */
int binary_done(struct buf *out, const struct request *request, uint64_t cas) MUST_USE;
/* A hit of the get and gat family, also when quiet; with the key when with_key. */
int binary_value(struct buf *out, const struct request *request, uint32_t flags, struct slice value,
                 uint64_t cas) MUST_USE;
/* A hit of touch. */
int binary_touched(struct buf *out, const struct request *request, uint32_t flags,
                   uint64_t cas) MUST_USE;
/* A miss of get, gat and touch; nothing when quiet. Any other miss is binary_error CE_NOTFOUND. */
int binary_miss(struct buf *out, const struct request *request) MUST_USE;
/* The result of incr and decr; nothing when quiet. */
int binary_number(struct buf *out, const struct request *request, uint64_t value,
                  uint64_t cas) MUST_USE;
/* Success with a text: version, list of mechanisms, end of authentication. */
int binary_text(struct buf *out, const struct request *request, struct slice text) MUST_USE;
/* One of stats; an empty name ends them. */
int binary_stat(struct buf *out, const struct request *request, struct slice name,
                struct slice value) MUST_USE;
/* What add, replace, append and prepend answer where text says NOT_STORED. */
int binary_not_stored(struct buf *out, const struct request *request) MUST_USE;
int binary_auth_continue(struct buf *out, const struct request *request,
                         struct slice challenge) MUST_USE;
/* Status and text of a CE_*; quiet does not silence it. */
int binary_error(struct buf *out, int code, const struct request *request) MUST_USE;
/* As text_cart_status and text_cart_value: HD EX EN NF, and a document (doc/protocol-cart.md). */
int binary_cart_status(struct buf *out, const char *status, const struct request *request,
                       const struct cart_answer *answer) MUST_USE;
int binary_cart_value(struct buf *out, struct slice data, const struct request *request,
                      const struct cart_answer *answer) MUST_USE;

/* What to send instead of `reply`, a success that was written and can't be kept: the error `code`,
 * with the opaque (and key) that the success echoes. */
int proto_failed(struct buf *out, int code, struct slice reply) MUST_USE;

/* Decodes base64 (strict, padded) onto the end of `out`. CE_BAD_FLAG, CE_NOMEM. */
int proto_base64_decode(struct slice text, struct buf *out) MUST_USE;
int proto_base64_encode(struct slice bytes, struct buf *out) MUST_USE;

#endif

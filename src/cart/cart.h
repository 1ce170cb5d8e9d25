/* cart: a shopping cart as a mergeable value. Dots under a version vector: an observed-remove map
 * of additive entries. Rules: doc/cart-model.md. Pure: no clock, no lock, no socket, no disk; one
 * thread at a time per `struct cart`; the functions on bare states may run on any thread.
 *
 * A cart travels as its *state*: canonical bytes, so equal carts are equal byte for byte. Readers
 * (summary, line, JSON, covers) work on the bytes directly and never allocate more than their
 * output. Writers load a state into a `struct cart` (a reusable scratch owned by one thread), apply
 * steps or merge, and take the new state out. A step that is refused leaves the scratch undefined:
 * load again before the next use. An empty slice is the state of a cart never heard of. */
#ifndef CART_CART_H
#define CART_CART_H

#include "base/base.h"

#define CART_KEY_MAX          250     /* bytes of the key of a cart */
#define CART_LINE_KEY_MAX     128     /* bytes; no space, no control characters */
#define CART_SHOP_MAX         32      /* bytes of a shop group */
#define CART_EXT_HARD         4096    /* bytes; limits.ext_bytes_max is what is configured */
#define CART_TOKEN_MAX        32      /* bytes */
#define CART_LINES_HARD       1000    /* visible lines */
#define CART_QTY_HARD         1000000 /* per line */
#define CART_STEP_OPS_MAX     1001    /* a batch has at most 250 ops, a document one per line + 1 */
#define CART_ACTORS_MAX       32 /* beyond it, actors without a live dot are pruned, oldest first */
#define CART_FOLD_MAX         32 /* own token-free adds of a line kept apart with peers */
#define CART_TOKENS_MAX       100000 /* live tokens; beyond it CE_BUSY until the oldest expire */
#define CART_TOKEN_LIFE_US    (600ull * 1000000)
#define CART_STATE_BYTES_HARD (64u << 20) /* a longer state is CE_CORRUPT */

/* What a shop allows. Checked only when a step carries limits (a replay carries none). */
struct cart_limits {
    uint32_t lines_max;       /* 1..CART_LINES_HARD; default 200 */
    uint32_t qty_max;         /* 1..CART_QTY_HARD; default CART_QTY_HARD */
    uint32_t ext_bytes_max;   /* 0..CART_EXT_HARD; default 512 */
    uint32_t state_bytes_max; /* of its lines, without tokens; default 1 MiB */
};
#define CART_LIMITS_DEFAULT                                                                        \
    {                                                                                              \
        200, CART_QTY_HARD, 512, 1u << 20                                                          \
    }

enum cart_op_kind {
    CART_ADD = 1, /* n signed; visible + n <= 0 removes the line; absent and n <= 0: nothing */
    CART_SET,     /* n >= 0; 0 removes (absent: nothing) */
    CART_REMOVE,  /* absent: nothing */
    CART_CHECK,   /* n = 0|1; empty line = all lines; absent line: CE_NOTFOUND */
    CART_SWAP,    /* line -> new_line, the quantity moves; absent line: CE_NOTFOUND. With limits
                     what moves is written to n, which a replay takes it from */
    CART_CLEAR,   /* n = enum cart_scope */
    CART_RETAIN,  /* drops every line that no earlier op of this step wrote (replace a document);
                     makes the cart, even an empty one */
    CART_FORGET,  /* clear, and the cart no longer exists; life and currency are forgotten too. One
                     whose life has ended is forgotten, too, and that is a change */
    CART_TOUCH,   /* nothing but the step's life; makes no cart: absent cart is CE_NOTFOUND */
    CART_MOVE,    /* as FORGET, and leaves behind which cart, `new_line`, it became part of; the
                     step's life is that of this redirect */
};

enum cart_scope { CART_SCOPE_ALL, CART_SCOPE_CHECKED, CART_SCOPE_UNCHECKED };

enum cart_op_flag {
    CART_OP_PRICE = 1,       /* price given: ADD keeps a price the line has, SET replaces it */
    CART_OP_SHOP = 2,        /* shop given (may be empty) */
    CART_OP_EXT = 4,         /* ext given (may be empty) */
    CART_OP_CHECKED = 8,     /* checked given in `checked`. Without it SET leaves it as it is, true
                                on a new line, and ADD checks the line again */
    CART_OP_IF_ABSENT = 16,  /* CE_EXISTS when the line is visible */
    CART_OP_IF_PRESENT = 32, /* CE_NOTFOUND when the line is not visible */
    CART_OP_CLAMP = 64,      /* quantity above qty_max becomes qty_max instead of CE_QTY_LIMIT */
};

/* One operation. Slices are borrowed for the call. */
struct cart_op {
    enum cart_op_kind kind;
    unsigned flags; /* enum cart_op_flag */
    bool checked;
    int64_t n;
    int64_t price;                          /* minor units, >= 0 */
    struct slice line, new_line, shop, ext; /* new_line: of SWAP; of MOVE the key of a cart */
};

/* How entries of one line are folded. Part of the step, so a replay folds the same way. */
enum cart_fold {
    CART_FOLD_NONE,  /* never: for tests of I4 */
    CART_FOLD_OWN,   /* with peers: own token-free adds of a line, beyond CART_FOLD_MAX */
    CART_FOLD_ALONE, /* no peers: one linear history, so all adds of the line at once, whoever made
                        them and with or without token (the token map still remembers) */
};

enum cart_life_kind {
    CART_LIFE_KEEP,    /* as it was; a sliding life slides */
    CART_LIFE_NONE,    /* lives until it is forgotten */
    CART_LIFE_FIXED,   /* ends at life_us (absolute) */
    CART_LIFE_SLIDING, /* ends life_us after the last step */
};

/* Who wanted a step; for the history of a cart. Part of the step, without effect on the state. */
#define CART_CAUSES(X)                                                                             \
    X(USER, "user")     /* a client's operation on this cart */                                    \
    X(MERGE, "merge")   /* of two carts: cmrg */                                                   \
    X(EXPIRY, "expiry") /* its life has ended */                                                   \
    X(ADMIN, "admin")   /* somebody who manages the shop's data */
enum cart_cause {
#define X(name, text) CART_BY_##name,
    CART_CAUSES(X)
#undef X
        CART_CAUSES_COUNT
};

/* One atomic change: consumes one seq of `actor`, one version, whatever the number of ops. */
struct cart_step {
    uint64_t actor;
    uint64_t
        now_us; /* wall clock; the step's stamp is max(now_us, 1 + greatest stamp in the cart) */
    enum cart_fold fold;
    enum cart_cause cause;
    enum cart_life_kind life;
    uint64_t life_us;
    char currency[4];   /* "" = not given; else 3 capital letters, sets or must match */
    struct slice token; /* empty = none; 1..CART_TOKEN_MAX bytes */
    struct slice args;  /* what was asked for, when that is not the ops (they come of the carts) */
    /* Filled by cart_apply when limits are given; kept by replay. */
    uint64_t args_hash;
    bool clamped, expired;            /* what came of it, as in cart_result; for the history */
    bool has_if_cas;                  /* refuse with CE_EXISTS unless the cart's cas is if_cas; */
    uint64_t if_cas;                  /* 0 = only if there is no cart (not exists) */
    const struct cart_limits *limits; /* NULL = replay: all was checked before it was journaled */
    struct cart_op *ops;              /* resolved in place: clamped quantities are written back */
    size_t ops_count; /* 0..CART_STEP_OPS_MAX; without any it changes nothing, but for its token */
};

/* The figures of a cart that readers want without reading its lines. */
struct cart_summary {
    uint64_t version; /* sum of the version vector */
    uint64_t cas;     /* 63-bit hash of the version vector, never 0; 0 when !exists */
    bool exists;      /* has visible lines, or was made and not forgotten */
    bool amount_known, checked_amount_known; /* false: a price is unknown, or int64 overflow */
    uint32_t lines, qty, checked_lines, checked_qty;
    int64_t amount, checked_amount;
    char currency[4];      /* "" = none yet */
    uint64_t expiry_us;    /* 0 = none */
    uint64_t updated_us;   /* greatest stamp in the cart */
    struct slice moved_to; /* the key of the cart that this one became part of; empty = none. Points
                              into the state, or (cart_apply) into the scratch */
};

struct cart_result {
    struct cart_summary summary; /* after the step, or as the first time when repeated */
    uint64_t seq;                /* of the step's actor, when changed */
    int64_t line_qty;            /* visible quantity of the last op's line (SWAP: new_line) */
    bool changed;                /* false: nothing to journal, nothing to store */
    bool repeated;               /* the token was known; answer as the first time */
    bool clamped;                /* a quantity was clamped */
    bool expired;                /* the cart's life had ended: a change dropped its lines first */
    size_t failed_index;         /* the op that was refused, on error; CART_NO_OP: the whole step */
};
#define CART_NO_OP SIZE_MAX

struct cart;

/* A scratch for working on carts. Owner: the caller, until cart_free. CE_NOMEM. */
int cart_new(struct cart **cart) MUST_USE;
void cart_free(struct cart **cart);

/* Loads a state. CE_CORRUPT (not canonical, over a hard limit), CE_NOMEM. Cheap: checks framing,
 * not every line; cart_check() checks all. */
int cart_load(struct cart *cart, struct slice state) MUST_USE;

/* cart_summary of what the scratch holds, moved_to in bytes of its own. CE_NOMEM. */
int cart_summary_loaded(struct cart *cart, uint64_t now_us, struct cart_summary *out) MUST_USE;

/* Applies a step, all ops or none (cart-model section 2). Returns 0, or why it was refused:
 * CE_EXISTS (if_cas, IF_ABSENT), CE_NOTFOUND, CE_BAD_LINE, CE_BAD_QTY, CE_BAD_FLAG, CE_LINE_LIMIT,
 * CE_QTY_LIMIT (also: an amount would leave int64), CE_SIZE_LIMIT, CE_CURRENCY, CE_TOKEN_REUSED,
 * CE_BUSY (CART_TOKENS_MAX), CE_NOMEM. A refused step does not use up its token. On CE_EXISTS and
 * CE_NOTFOUND result->summary is that of now. A successful step that carries a token always
 * consumes a seq, even when it finds nothing to do, so that its retry is known; it makes no
 * visible cart then. Deterministic: same state and step give the same bytes. */
int cart_apply(struct cart *cart, struct cart_step *step, struct cart_result *result) MUST_USE;

/* ---- a step in place ---- */

enum {
    CART_EDIT_FRONT_MAX = 704 + CART_ACTORS_MAX * 18,
    CART_EDIT_LINE_MAX = 512,
    CART_EDIT_RECORD_MAX = 96
};

/* What a step makes of a state: a new front, one line's new bytes, the record and the id of its
 * token when it has one, all else as it was. */
struct cart_edit {
    size_t old_bytes, new_bytes; /* of the state */
    size_t front_old_bytes, front_bytes;
    size_t line_at, line_old_bytes, line_bytes;
    size_t ids_at, record_bytes; /* record_bytes 0: no token */
    uint64_t id;
    uint8_t front[CART_EDIT_FRONT_MAX], line[CART_EDIT_LINE_MAX], record[CART_EDIT_RECORD_MAX];
};

/* True when cart_apply of this step succeeds and does just that, as with most steps of a client:
 * *result is then as of cart_apply. False: anything may be, ask cart_apply; the step is as it was.
 * Any thread; never allocates. */
bool cart_edit_plan(struct slice state, struct cart_step *step, struct cart_edit *edit,
                    struct cart_result *result);
/* Does it. `state` has the bytes that it was planned for, and room for new_bytes. */
void cart_edit_do(const struct cart_edit *edit, uint8_t *state);

/* Answers a step whose token this cart knows, as cart_apply would, and changes nothing: for a cart
 * that became part of another, which is where a step without a known token goes. CE_NOTFOUND: it
 * has no token, or it is not known here. CE_TOKEN_REUSED, CE_NOMEM. */
int cart_repeat(struct cart *cart, struct cart_step *step, struct cart_result *result) MUST_USE;

/* Joins another state into this one (cart-model section 3). CE_CORRUPT, CE_NOMEM. */
int cart_merge(struct cart *cart, struct slice other) MUST_USE;

/* The canonical bytes; borrowed until the next call on this cart. CE_NOMEM. */
int cart_store(struct cart *cart, struct slice *state) MUST_USE;

/* ---- making one cart part of another ---- */

/* What becomes of a line that both have. Lines that only one has are kept, but for the last two. */
#define CART_POLICIES(X)                                                                           \
    X(MAX, "max") /* the greater quantity */                                                       \
    X(SUM, "sum")                                                                                  \
    X(SRC, "src")         /* as in the source */                                                   \
    X(DST, "dst")         /* the source is dropped, unless the destination has no lines */         \
    X(REPLACE, "replace") /* the lines of the source, and no others */
enum cart_policy {
#define X(name, text) CART_POLICY_##name,
    CART_POLICIES(X)
#undef X
        CART_POLICIES_COUNT
};

struct cart_absorb {
    struct slice dst, src; /* states */
    enum cart_policy policy;
    uint64_t now_us;
    const struct cart_limits *limits; /* of dst */
    uint32_t skipped;                 /* out: lines that found no room, the oldest of src */
    uint32_t clamped;                 /* out: lines that lost quantity or ext to a limit */
};

/* Fills ops with what makes the lines of `src` part of `dst`: none when src has no lines. They fit
 * the limits, so no step with them is refused for one, and their slices point into src. `currency`
 * is that of src. CE_CURRENCY: they have different ones. CE_CORRUPT. */
int cart_absorb(struct cart_absorb *absorb, struct cart_op *ops, size_t *ops_count,
                char currency[4]) MUST_USE;

/* ---- the step as bytes, for the journal ---- */

/* Appends the resolved step. CE_NOMEM. */
int cart_step_encode(const struct cart_step *step, struct buf *out) MUST_USE;

/* Reads a step back; its slices point into `in`. `ops` has room for CART_STEP_OPS_MAX. limits is
 * NULL and has_if_cas false afterwards: what was checked once is not checked again. CE_CORRUPT. */
int cart_step_decode(struct slice in, struct cart_op *ops, struct cart_step *step) MUST_USE;
/* Only whose step it is. False when it is none. */
bool cart_step_actor(struct slice in, uint64_t *actor);

/* The seq that `actor` has in a state, 0 if none; for the contiguity check of a replay. */
uint64_t cart_seq(struct slice state, uint64_t actor);

/* ---- readers of states ---- */

/* O(1) in the lines. `now_us` decides whether the cart has expired: then exists is false and the
 * counters are 0. MUST be a state that cart_load or cart_check accepted; empty slice: all zero. */
void cart_summary(struct slice state, uint64_t now_us, struct cart_summary *out);

/* True when `a` has seen every event of `b` (vv(b) <= vv(a)). */
bool cart_covers(struct slice a, struct slice b);

/* One visible line; slices point into the state. */
struct cart_line {
    struct slice line, shop, ext;
    int64_t qty;
    bool has_price, checked;
    int64_t price;
    uint64_t added_us, updated_us;
};

/* Part of a line key before its first ';'. */
struct slice cart_line_sku(struct slice line);

/* 0 or CE_NOTFOUND. Linear in the lines, a few ns each. CE_CORRUPT only for lines that cart_check
 * would have refused, as of cart_lines and cart_json. */
int cart_line_find(struct slice state, uint64_t now_us, struct slice line,
                   struct cart_line *out) MUST_USE;

/* Calls `each` for every visible line in order of first adding, until it returns non-zero, and
 * returns that; 0 at the end. The cart's own order of lines IS the order of first adding. */
int cart_lines(struct slice state, uint64_t now_us,
               int (*each)(void *arg, const struct cart_line *line), void *arg);

/* Checks everything: canonical form, every line, counters, limits. 0 or CE_CORRUPT. For bytes that
 * come from disk, the database or a peer. CE_NOMEM. */
int cart_check(struct slice state) MUST_USE;

/* ---- the JSON view (cart-protocol section 4) ---- */

enum cart_json_scope { CART_JSON_ALL, CART_JSON_CHECKED, CART_JSON_SUMMARY };

/* Appends the document. Always valid UTF-8 JSON: bytes of keys that are not UTF-8 become U+FFFD and
 * the exact bytes follow as "cart_b64"/"line_b64"; an ext that is not UTF-8 is "ext_b64" instead of
 * "ext". Times in ms. cas is a string of decimal digits. SUMMARY leaves "lines" out. CE_NOMEM. */
int cart_json(struct slice state, uint64_t now_us, struct slice key, enum cart_json_scope scope,
              struct buf *out) MUST_USE;

/* As cart_json of all, but "lines" has only those written after `version`; "since" says so, and
 * "keys" names all lines in their order, so that what is missing was removed. The whole document
 * where that can't be told: a version that is none of this cart, or histories that were merged. */
int cart_json_since(struct slice state, uint64_t now_us, struct slice key, uint64_t version,
                    struct buf *out) MUST_USE;

/* One line as a JSON object, the same shape as in the document. CE_NOMEM. */
int cart_line_json(const struct cart_line *line, struct buf *out) MUST_USE;

/* The history of a cart as a JSON document (doc/protocol-cart.md, chst): begin, entries with the
 * newest first, end. All append; valid UTF-8 as the document. CE_NOMEM. */
int cart_history_begin(struct slice key, struct buf *out) MUST_USE;
/* A step and the version after it, with the first ops_max of its ops. */
int cart_history_step(const struct cart_step *step, uint64_t version, size_t ops_max,
                      struct buf *out) MUST_USE;
/* A whole state that was joined into the cart. MUST be one that cart_check accepted. */
int cart_history_join(struct slice state, struct buf *out) MUST_USE;
/* `complete`: nothing older is missing, but what is left out for number. */
int cart_history_end(bool complete, struct buf *out) MUST_USE;

/* Reads what a client wrote to a line path: digits (a quantity) or a JSON object with `qty` and
 * optional price, currency, shop, checked, ext|ext_b64. Fills op (kind CART_SET, line left alone)
 * and currency; op's slices point into `arena`, which grows. CE_BAD_QTY (number out of range),
 * CE_BAD_DOC (not such a value), CE_NOMEM. */
int cart_line_parse(struct slice value, struct cart_op *op, char currency[4],
                    struct buf *arena) MUST_USE;

/* Reads a whole document: an object with "lines" (array of line objects, each with line|line_b64
 * and qty) and optional currency; unknown members are ignored (so a document we wrote can be
 * written back). Fills ops with CART_SETs and a final CART_RETAIN. Slices point into `arena`.
 * CE_BAD_DOC, CE_BAD_QTY, CE_BAD_LINE, CE_LINE_LIMIT (more than CART_LINES_HARD, or a line twice is
 * CE_BAD_DOC), CE_NOMEM. */
int cart_doc_parse(struct slice value, struct cart_op *ops, size_t *ops_count, char currency[4],
                   struct buf *arena) MUST_USE;

#endif

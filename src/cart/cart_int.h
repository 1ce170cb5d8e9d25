/* cart_int: private to the room. How a state is taken apart and put together again.
 *
 *   state = head | version vector (inside the head) | lines | token records | token ids
 *
 * A `cart_view` is a state taken apart without copying; a `struct cart` is one being worked on: the
 * head and the vector are decoded, lines and tokens stay bytes, and only the line at hand is taken
 * apart into a `cart_row`. Every parser is bounded by its slice, so bytes that passed cart_load but
 * not cart_check can give CE_CORRUPT later, and never a read out of bounds. */
#ifndef CART_CART_INT_H
#define CART_CART_INT_H

#include "cart/cart.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "fixed-size numbers are copied as is");

enum { ACTOR_BYTES_MAX = 8 + VARINT_MAX, HEAD_BYTES_MAX = 704 };
#define STAMP_EPOCH_US 1577836800000000ull /* 2020: stamps are written from here, in 7 bytes */
#define STAMP_MAX      (1ull << 62)
#define SEQ_MAX        (1ull << 48)
#define BASE_MAX       (1ull << 61)
#define ACTORS_HARD    8192 /* with SEQ_MAX and BASE_MAX: a version never leaves 63 bits */
/* |quantity| of one entry; a state has room for 2^25 entries, so no sum leaves int64. */
#define ENTRY_QTY_MAX ((int64_t)1 << 36)
#define LINE_QTY_MAX  INT32_MAX /* what a line shows at most, whatever merged */

__extension__ typedef unsigned __int128 cart_big; /* sums of int64 prices times quantities */

struct cart_actor {
    uint64_t id, seq;
};

/* An event. `actor` is a place in the version vector, so dots of one state compare as numbers. */
struct cart_dot {
    uint32_t actor;
    uint64_t seq;
};

struct cart_info {
    struct cart_dot dot;
    uint64_t updated_us, added_us;
    bool checked, has_price;
    int64_t price;
    struct slice shop, ext;
};

struct cart_entry {
    struct cart_dot dot;
    bool is_set;
    bool hidden;     /* a smaller dot stands for the same token: qty does not count */
    int64_t qty;     /* what the step said */
    int64_t carried; /* own older adds, folded into a tokened one; counts even when hidden */
    uint64_t ts_us;  /* of a SET, and of an entry with a token */
    uint64_t token;  /* id, 0 = none */
};

/* One line taken apart. Slices point into the bytes it was read from. */
struct cart_row {
    struct slice key;
    struct cart_info *infos; /* newest first; that one is shown. More than one only after a merge */
    size_t infos_count, infos_cap;
    struct cart_entry *entries; /* in order of dots */
    size_t entries_count, entries_cap;
};

struct cart_counts {
    uint64_t lines, qty, unpriced;
    cart_big amount;
};

struct cart_meta {
    uint64_t ts_us; /* 0 = never written */
    uint32_t actor; /* place in the version vector */
    bool alive, sliding;
    uint64_t expiry_us, ttl_us;
    char currency[4];
    struct slice moved_to; /* key of the cart it became part of; empty = none */
};

struct cart_head {
    uint64_t stamp_us; /* the greatest stamp in the cart */
    uint64_t base;     /* part of the version that pruned actors left behind */
    struct cart_meta meta;
    struct cart_counts all, checked; /* visible lines */
    uint64_t hidden;                 /* entries */
    uint64_t tokens, last_token_us;
};

struct cart_view {
    struct cart_head head;
    struct slice vv;
    size_t actors_count;
    uint64_t version;
    struct slice lines, recs, ids;
};

/* What dots and stamps in some bytes mean: the vector they index, and where those places are now
 * (map NULL: where they were). */
struct cart_space {
    const struct cart_actor *actors;
    size_t actors_count;
    const uint32_t *map;
    uint64_t stamp_us; /* none is later */
};

/* What a token stands for, with the answer of its first time. */
struct cart_token {
    uint64_t id; /* hash of the token's bytes, never 0 */
    struct cart_dot dot;
    uint64_t time_us;
    uint32_t args;
    uint64_t version, cas;
    uint64_t lines, qty;
    bool amount_known;
    int64_t checked_amount, line_qty;
};

/* Arrays of a merge, kept so that a warm scratch allocates nothing. */
struct cart_bufs {
    struct buf other;   /* struct cart_actor[]: the vector of the other side */
    struct buf actors;  /* struct cart_actor[]: the joined one */
    struct buf maps;    /* uint32_t[]: new places of actors; also without a merge */
    struct buf seen;    /* uint64_t[][2]: the seq each side has of each actor */
    struct buf tokens;  /* struct cart_token[] */
    struct buf refs;    /* the lines of both sides by key */
    struct buf places;  /* the joined lines in their order */
    struct buf marks;   /* what bears a token; in a swap the bytes of the old line's info */
    struct buf retries; /* struct cart_dot[]: hidden, in order */
};

#define CART_MAGIC 0xca270001u

struct cart {
    unsigned magic;
    struct cart_head head;
    struct buf actors; /* struct cart_actor[], in order of id */
    struct buf lines;
    struct buf tail; /* gap | token records | token ids; cart_store writes the front into the gap */
    size_t tail_gap, ids_at;
    struct buf moved;   /* the bytes of head.meta.moved_to */
    struct buf scratch; /* bytes of one line, or of the front */
    struct buf rebuilt; /* lines while all are rewritten */
    struct cart_row row, sides[2];
    struct cart_bufs tmp;
};

static inline struct cart_actor *cart_actors(const struct cart *cart)
{
    return (struct cart_actor *)(void *)cart->actors.bytes;
}

static inline size_t cart_actors_count(const struct cart *cart)
{
    return cart->actors.len / sizeof(struct cart_actor);
}

static inline int cart_dot_cmp(struct cart_dot a, struct cart_dot b)
{
    if (a.actor != b.actor)
        return a.actor < b.actor ? -1 : 1;
    return (a.seq > b.seq) - (a.seq < b.seq);
}

/* ---- cart_state.c: the head and the vector ----------------------------------------------------
 */

/* Takes a state apart. CE_CORRUPT. An empty slice is an empty view. */
int cart_view_open(struct slice state, struct cart_view *view) MUST_USE;

/* Takes the next actor off the bytes of a vector; false at the end and on damage. */
bool cart_actor_take(struct slice *vv, struct cart_actor *out);

/* Hash of the bytes of a version vector, never 0. */
uint64_t cart_vv_hash(struct slice vv);
uint64_t cart_vv_hash_one(struct cart_actor actor);

/* A front is: begin, the bytes of the vector, end. It has room for HEAD_BYTES_MAX and
 * ACTOR_BYTES_MAX for each actor; both return where they stopped. `flags` are those of the head. */
uint64_t cart_head_flags(const struct cart_head *head);
uint8_t *cart_head_begin(uint8_t *at, uint64_t flags, size_t actors_count);
uint8_t *cart_head_end(uint8_t *at, const struct cart_head *head, uint64_t flags, size_t lines_len,
                       size_t recs_len);

/* Counts a line in (+1) or out (-1); an invisible line counts nothing. */
void cart_head_count(struct cart_head *head, const struct cart_line *line, int sign);

/* The version and cas of the cart as it stands in the scratch. CE_NOMEM. */
int cart_version(struct cart *cart, uint64_t *version, uint64_t *cas) MUST_USE;

void cart_head_summary(const struct cart_head *head, uint64_t version, uint64_t cas,
                       uint64_t now_us, struct cart_summary *out);

bool cart_head_expired(const struct cart_head *head, uint64_t now_us);

/* Makes the head's moved_to bytes of the scratch's own. CE_NOMEM. */
int cart_own_moved(struct cart *cart) MUST_USE;

struct cart_space cart_space_of(const struct cart *cart);

/* ---- cart_line.c: lines as bytes --------------------------------------------------------------
 */

/* Takes the next line off: its bytes, and what it shows. CE_CORRUPT; MUST NOT be empty. */
int cart_line_take(struct slice *lines, struct slice *bytes, struct cart_line *out) MUST_USE;

/* The event that wrote what the line shows; `bytes` are what cart_line_take gave. False when there
 * is not exactly one. */
bool cart_line_dot(struct slice bytes, struct cart_dot *dot);

/* Finds the bytes of a line among lines. CE_NOTFOUND, CE_CORRUPT. */
int cart_line_seek(struct slice lines, struct slice key, struct slice *bytes) MUST_USE;

/* Takes one line apart. CE_CORRUPT, CE_NOMEM. */
int cart_row_read(struct slice bytes, const struct cart_space *space,
                  struct cart_row *row) MUST_USE;

/* Appends a row in its canonical bytes, and tells what it shows. CE_NOMEM. */
int cart_row_write(const struct cart_row *row, struct buf *out, struct cart_line *shows) MUST_USE;

/* A line that shows what one SET says, one ADD, or both, and has one info. */
struct cart_flat {
    struct cart_line shows;
    bool has_set, has_add;
    struct cart_entry set; /* when there is one */
    int64_t add_qty;       /* of the ADD */
    struct cart_dot dot;   /* for writing: of the info, and of the entry, or with both of the ADD */
};
/* False: the line is no such one, or damaged. `dot` is left alone. */
bool cart_flat_take(struct slice bytes, struct cart_flat *out);
/* Writes what `flat` is now, as cart_row_write would; it has both only when the SET is older. `out`
 * has room for CART_EDIT_LINE_MAX. Returns the bytes written. */
size_t cart_flat_put(const struct cart_flat *flat, uint8_t *out);

/* Empties a row (the memory stays) and names it. */
void cart_row_reset(struct cart_row *row, struct slice key);
int cart_row_add_entry(struct cart_row *row, const struct cart_entry *entry) MUST_USE;
int cart_row_add_info(struct cart_row *row, const struct cart_info *info) MUST_USE;
void cart_row_free(struct cart_row *row);

/* The order of infos: newest first. */
bool cart_info_before(const struct cart_info *a, const struct cart_info *b);

bool cart_line_key_ok(struct slice key);

/* ---- cart_token.c -----------------------------------------------------------------------------
 */

uint64_t cart_token_id(struct slice token);

/* What the token of a step that was just done stands for. */
struct cart_token cart_token_of(const struct cart_result *result, uint64_t id, struct cart_dot dot,
                                uint64_t time_us, uint64_t args_hash);

/* Of the records of an id since `since_us`, the one with the smallest dot. CE_NOTFOUND,
 * CE_CORRUPT. */
int cart_token_find(const struct cart *cart, uint64_t id, uint64_t since_us,
                    struct cart_token *out) MUST_USE;

/* Drops the records from before `before_us`. CE_CORRUPT. */
int cart_token_expire(struct cart *cart, uint64_t before_us) MUST_USE;

/* Appends a record later than all there are. CE_NOMEM. */
int cart_token_add(struct cart *cart, const struct cart_token *token) MUST_USE;

/* Whether one of these ids is it. */
bool cart_token_has(struct slice ids, uint64_t id);
/* Writes a record that follows those that `head` speaks of; `actor` is that of the token's dot.
 * `out` has room for CART_EDIT_RECORD_MAX. Returns the bytes written. */
size_t cart_token_put(uint8_t *out, const struct cart_head *head, struct cart_actor actor,
                      const struct cart_token *token);
/* The time of the oldest of a state's tokens, of which there is one. False on damage. */
bool cart_token_first_us(const struct cart_view *view, uint64_t *time_us);

/* Walks the records of one state in order. */
struct cart_token_walk {
    struct slice recs, ids;
    uint64_t time_us;
    const struct cart_space *space;
};
/* 0, CE_NOTFOUND at the end, CE_CORRUPT. */
int cart_token_next(struct cart_token_walk *walk, struct cart_token *out) MUST_USE;
struct slice cart_token_recs(const struct cart *cart);
struct slice cart_token_ids(const struct cart *cart);

/* Forgets all records; a rebuild adds them again. */
void cart_token_clear(struct cart *cart);

/* ---- cart_actors.c: the vector of a cart being worked on ---------------------------------------
 */

/* Counts the next event of `id`, which joins the vector when new. CE_SIZE_LIMIT, CE_NOMEM,
 * CE_CORRUPT. */
int cart_actor_next(struct cart *cart, uint64_t id, struct cart_dot *dot) MUST_USE;

/* Takes that back, when nothing was written with the dot. */
int cart_actor_undo(struct cart *cart, struct cart_dot dot) MUST_USE;

/* Drops the oldest actors that nothing refers to until CART_ACTORS_MAX are left, never that of
 * *keep, whose place may change. CE_NOMEM, CE_CORRUPT. */
int cart_actors_prune(struct cart *cart, struct cart_dot *keep) MUST_USE;

/* What is to become of a line when all are rewritten. */
enum cart_verdict { CART_ROW_KEEP, CART_ROW_CHANGED, CART_ROW_DROP };

/* Rewrites the lines: `edit` sees each taken apart and returns a verdict or a negative CE_*. `map`
 * gives the new place of each actor, NULL = unchanged. Counters are made anew. CE_NOMEM,
 * CE_CORRUPT. */
int cart_lines_rewrite(struct cart *cart, const uint32_t *map,
                       int (*edit)(void *arg, struct cart_row *row, const struct cart_line *line),
                       void *arg) MUST_USE;

/* ---- cart_ops.c --------------------------------------------------------------------------------
 */

/* One step on its way. */
struct cart_run {
    struct cart *cart;
    struct cart_step *step;
    struct cart_result *result;
    struct cart_dot dot;
    uint64_t stamp_us;     /* of what is written next */
    uint64_t horizon_us;   /* tokens from before it are forgotten */
    bool stamp_taken;      /* a line was made at stamp_us; the next one made is one later */
    uint64_t token;        /* id, 0 = none */
    struct cart_meta meta; /* as it will be */
    bool expired;          /* its life had ended: lines and meta are gone already */
    bool changed;
    /* The last op that made a line, that made the lines longer, and the amount greater. */
    size_t made_index, grown_index, paid_index;
};

/* Applies one op. Refusals as in cart_apply. */
int cart_op_run(struct cart_run *run, struct cart_op *op) MUST_USE;

/* ---- cart_merge.c ------------------------------------------------------------------------------
 */

/* Drops the entries that a merge found to be retries; of one that carries older adds these stay.
 * CE_NOMEM, CE_CORRUPT. */
int cart_hidden_purge(struct cart *cart) MUST_USE;

/* ---- cart_step.c -------------------------------------------------------------------------------
 */

/* Hash of what a token was used for: ops and currency as asked, not the life (it may be counted
 * from now). CE_NOMEM. */
int cart_step_args_hash(const struct cart_step *step, struct buf *scratch, uint64_t *hash) MUST_USE;

bool cart_currency_ok(const char currency[4]);

/* ---- cart_read.c -------------------------------------------------------------------------------
 */

/* cart_view_open and cart_summary in one; as the latter. */
void cart_view_summary(struct slice state, uint64_t now_us, struct cart_view *view,
                       struct cart_summary *out);
/* The lines; none when the cart's life has ended. */
struct slice cart_view_lines(const struct cart_view *view, uint64_t now_us);
/* cart_lines of such bytes. */
int cart_lines_each(struct slice lines, int (*each)(void *arg, const struct cart_line *line),
                    void *arg);

/* ---- cart_json.c: parts of the document
 * ----------------------------------------------------------
 */

/* From the brace to the currency; from the count to the brace. CE_NOMEM. */
int cart_json_front(const struct cart_summary *summary, struct slice key, struct buf *out) MUST_USE;
int cart_json_sums(const struct cart_summary *summary, struct buf *out) MUST_USE;
/* A line key as a JSON text. CE_NOMEM. */
int cart_json_key(struct slice key, struct buf *out) MUST_USE;
/* ---- cart_json.c: members of objects ------------------------------------------------------------
 */

/* Writes "name":"text", and when it is not UTF-8 "name_b64":"...", too. `at` has room for
 * cart_member_max(text); the end is returned. */
uint8_t *cart_put_member(uint8_t *at, const char *name, struct slice text);
/* The same for "name_b64":"...", alone. */
uint8_t *cart_put_b64(uint8_t *at, const char *name, struct slice bytes);
size_t cart_member_max(struct slice text);

/* ---- cart_text.c: text in and out of JSON ------------------------------------------------------
 */

bool cart_utf8_ok(struct slice text);

/* Length of the UTF-8 sequence at the front, 0 when it is none. */
size_t cart_utf8_len(struct slice text);

/* Standard alphabet, padded. `out` has room for 4 * ((len + 2) / 3). */
size_t cart_base64_put(uint8_t *out, struct slice bytes);

/* Strict: padded, no spaces, unused bits 0. `out` has room for 3 * (len / 4). */
bool cart_base64_take(struct slice text, uint8_t *out, size_t *out_len);

#endif

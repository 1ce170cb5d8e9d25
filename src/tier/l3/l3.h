/* l3: the relational truth. One table of drivers; a connection belongs to one thread at a time.
 * A cart is one row of `cart` (plain columns, its revision, its binary state in `image`) and its
 * visible lines as rows of `cart_line`. A write is guarded by compare-and-swap on the revision, so
 * any writer may flush and none can undo another (cluster-notes 5.3). Tables: doc/sql.md. */
#ifndef TIER_L3_L3_H
#define TIER_L3_L3_H

#include "base/base.h"

enum l3_cart_state { L3_ACTIVE = 0, L3_DELETED = 3 }; /* 1 frozen, 2 merged: later rooms */

struct l3_line {
    struct slice line, sku, shop, ext;
    int64_t qty;
    bool has_price, checked;
    int64_t price;
    uint64_t added_us, updated_us;
};

enum l3_outcome {
    L3_FAILED,   /* nothing is known; try again */
    L3_DONE,     /* written; `rev` is the new revision */
    L3_CONFLICT, /* the row's revision was not `rev`: l3_load, merge, try again */
};

/* One cart to write. Slices are borrowed for the call. */
struct l3_cart {
    struct slice key;
    uint32_t rev; /* in: revision expected, 0 = no row; out: the row's revision when L3_DONE */
    enum l3_cart_state state;
    uint64_t version, cas;
    char currency[4];
    uint32_t lines_count, qty, checked_qty;
    bool amount_known, checked_amount_known;
    int64_t amount, checked_amount;
    uint64_t updated_us, expires_us; /* expires 0 = never */
    struct slice image;
    const struct l3_line *lines; /* lines_count visible lines; none when deleted */
    enum l3_outcome outcome;     /* out */
};

#define L3_EVENT_ID_BYTES 37 /* a UUID as text, and its end */

/* One event: a row of the outbox `cart_event`, inserted once and never changed. Slices are borrowed
 * for the call. */
struct l3_event {
    char id[L3_EVENT_ID_BYTES]; /* the same event always has the same */
    const char *type;           /* "cart.expired" */
    struct slice key, payload;  /* the cart; a JSON document */
    uint64_t version, created_us;
    enum l3_outcome outcome; /* out: L3_DONE; L3_FAILED: the database takes all but this one */
};

#define L3_INBOX_ROWS_MAX      100   /* taken in one transaction */
#define L3_INBOX_COMMAND_CHARS 16384 /* of a longer command so many and one come */
#define L3_INBOX_REASON_BYTES  160

enum l3_inbox_fate {
    L3_INBOX_OPEN,   /* not settled yet */
    L3_INBOX_DONE,   /* the row goes */
    L3_INBOX_FAILED, /* the row stays, with the reason */
};

/* A row of the inbox `cart_inbox`: what somebody asks for by way of SQL. Owner of the buffers: the
 * caller, who begins with zeros and may use them again. */
struct l3_inbox_row {
    int64_t id;
    struct buf key, command, token; /* token empty: none was given */
    uint64_t taken_us;              /* when it was taken */
    enum l3_inbox_fate fate;
    char reason[L3_INBOX_REASON_BYTES]; /* of L3_INBOX_FAILED */
};

struct l3;

/* How many connections may usefully write to the database of this URL at the same time. */
unsigned l3_connections_max(const char *url);

/* In front of a URL: the schema is checked and never made or changed. */
#define L3_FIXED "fixed:"

/* Opens `url`: "sqlite:PATH", "postgresql://...", "mysql://...". Makes or checks the schema. A
 * server that takes no writes is refused. CE_INVAL (unknown driver, bad URL), CE_DB, CE_NODISK,
 * CE_NOMEM. `message` gets words for the operator, never a password. Blocks, but not without end: a
 * server that does not answer is an error after 15 s. */
int l3_open(const char *url, struct l3 **l3, char *message, size_t message_bytes) MUST_USE;
void l3_close(struct l3 **l3);

/* Writes all carts in one transaction; keys MUST be unique and sorted by slice_cmp. 0: committed,
 * look at each outcome. CE_DB, CE_NODISK, CE_NOMEM: nothing is known to be written (a commit may
 * have happened: then the next try is a conflict), all L3_FAILED. No transaction stays open: one
 * that can't be taken back ends with its connection, and all calls fail until l3_close. Blocks. */
int l3_flush(struct l3 *l3, struct l3_cart *carts, size_t count) MUST_USE;

/* Inserts events in their order in one transaction; one whose id is there already is done. 0:
 * committed, look at each outcome. CE_DB, CE_NODISK, CE_NOMEM: as l3_flush. Blocks. */
int l3_put_events(struct l3 *l3, struct l3_event *events, size_t count) MUST_USE;

/* Reads a cart's binary state and revision; `image` is replaced. A revision that somebody else has
 * set to none of ours is set anew first. CE_NOTFOUND, CE_DB, CE_NODISK,
 * CE_NOMEM. Blocks. */
int l3_load(struct l3 *l3, struct slice key, struct buf *image, uint32_t *rev) MUST_USE;

/* Calls `each` for every row until it returns non-zero, and returns that; 0 at the end, or as
 * l3_load. `each` may call l3_load on the same connection. For verify. */
int l3_each(struct l3 *l3,
            int (*each)(void *arg, struct slice key, uint32_t rev, struct slice image),
            void *arg) MUST_USE;

/* The same in order of keys, as the database orders them, behind the key `after`. */
int l3_each_from(struct l3 *l3, struct slice after,
                 int (*each)(void *arg, struct slice key, uint32_t rev, struct slice image),
                 void *arg) MUST_USE;

/* Takes up to `max` new rows of the inbox in order of id, so that nobody else does: they are marked
 * and their taken_us is now_us. *count = how many. CE_DB, CE_NODISK, CE_NOMEM: none counts (the
 * marks may be there: then l3_inbox_left has them). Blocks. */
int l3_inbox_take(struct l3 *l3, uint64_t now_us, struct l3_inbox_row *rows, size_t max,
                  size_t *count) MUST_USE;
/* Reads rows that were taken and never settled, with an id above `after`. As l3_inbox_take. */
int l3_inbox_left(struct l3 *l3, int64_t after, struct l3_inbox_row *rows, size_t max,
                  size_t *count) MUST_USE;
/* Deletes the rows that are done and marks those that failed, in one transaction; open ones stay as
 * they are. As l3_flush. */
int l3_inbox_settle(struct l3 *l3, const struct l3_inbox_row *rows, size_t count) MUST_USE;
/* Makes a consistent copy of the whole database in a new file, while others use it. Calls `go_on`
 * now and then; ends with CE_STOPPED when it does not return 0. CE_INVAL: not of this kind of
 * database; CE_DB, CE_NODISK: what was written stays. Blocks. */
int l3_copy(struct l3 *l3, const char *path, int (*go_on)(void *ctx), void *ctx) MUST_USE;

/* Appends the URL with "***" for its password: to show it, and to know a database by. CE_NOMEM. */
int l3_mask_url(const char *url, struct buf *out) MUST_USE;
/* Appends the URL with a password (any bytes) behind its user. CE_INVAL: it names no user, or has a
 * password already; CE_NOMEM. */
int l3_put_password(const char *url, struct slice password, struct buf *out) MUST_USE;

/* What the last failed call said, for the log. Borrowed until the next call. */
const char *l3_message(const struct l3 *l3);

#endif

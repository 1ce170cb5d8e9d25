/* item: memcached items, memory only, with memcached's own semantics; the same for all three ways
 * of asking. Private to cmd. A call takes the item's stripe once; nothing blocks. */
#ifndef CMD_ITEM_H
#define CMD_ITEM_H

#include "base/base.h"

struct cmd;
struct session;

/* What can be said of an item; times in seconds. */
struct item_view {
    uint64_t cas;
    uint32_t flags;
    size_t size;           /* bytes of the value */
    int64_t ttl_s;         /* after this command; -1 = no end */
    int64_t ttl_was_s;     /* before it */
    int64_t ttl_first_s;   /* of a created item with two lives: the one that did not last */
    uint64_t idle_s;       /* since it was asked for, before this command */
    bool fetched;          /* asked for before this command */
    bool won, stale, sent; /* meta: W, X, Z */
    bool created;          /* by this command, where a miss creates */
};

struct item_get {
    struct slice key;
    bool touch, vivify, recache, has_new_cas;
    bool wins;               /* who asks first for what is stale or near its end is told so (mg) */
    bool vivify_last;        /* with touch and vivify: a created item keeps vivify_exptime */
    bool quiet;              /* not a use: leaves `fetched` and `idle` as they are (me) */
    int64_t exptime;         /* with touch: the new life, as memcached's exptime */
    int64_t vivify_exptime;  /* with vivify: a miss makes an empty item with this life, and wins */
    int64_t recache_exptime; /* with recache: an item with less life left is won by the first */
    bool recache_sees_touch; /* compare with the new life, not with the one before */
    uint64_t new_cas;        /* with vivify */
};

/* 0: `emit` was called under the stripe's lock, its result is in *emitted. CE_NOTFOUND,
 * CE_STORE_NOMEM. */
typedef int item_emit_fn(void *ctx, const struct item_view *view, struct slice value);
int item_get(struct session *session, const struct item_get *get, item_emit_fn *emit, void *ctx,
             int *emitted) MUST_USE;

enum item_mode { ITEM_SET, ITEM_REPLACE, ITEM_ADD, ITEM_APPEND, ITEM_PREPEND };

struct item_put {
    struct slice key, value;
    enum item_mode mode;
    uint32_t flags;
    int64_t exptime, vivify_exptime;
    bool has_cas, has_new_cas;
    bool invalidate; /* with has_cas: an older cas stores too, and marks the item stale */
    bool vivify;     /* append and prepend make a missing item */
    bool is_rescue;  /* the condition is not the client's: not counted */
    uint64_t cas, new_cas;
};
/* 0, CE_NOT_STORED, CE_EXISTS (cas differs), CE_NOTFOUND (cas and no item), CE_STORE_NOMEM. view:
 * cas, size. */
int item_put(struct session *session, const struct item_put *put, struct item_view *view) MUST_USE;

struct item_delete {
    struct slice key;
    bool has_cas, has_new_cas;
    bool invalidate; /* it stays, stale, with a new cas */
    bool drop_value; /* it stays, empty */
    bool touch;
    uint64_t cas, new_cas;
    int64_t exptime; /* with touch, of an item that stays; an emptied one else has no end */
    uint32_t flags;  /* with drop_value */
};
/* 0, CE_NOTFOUND, CE_EXISTS. */
int item_delete(struct session *session, const struct item_delete *del) MUST_USE;

struct item_arith {
    struct slice key;
    bool incr, has_cas, has_new_cas, vivify, touch, vivify_last;
    uint64_t delta, cas, new_cas, initial;
    int64_t exptime, vivify_exptime;
};
/* 0 and *value, CE_NOTFOUND, CE_NON_NUMERIC, CE_EXISTS, CE_STORE_NOMEM. */
int item_arith(struct session *session, const struct item_arith *arith, struct item_view *view,
               uint64_t *value) MUST_USE;

/* A cas that no item has, and none will get. */
uint64_t item_next_cas(struct cmd *cmd);

/* Takes an item away whose replacement failed, so that nobody reads what is stale (memcached). */
void item_drop(struct session *session, struct slice key);

/* flush_all: all items stored up to now, or up to delay_s from now, are gone. Carts stay. */
void item_flush(struct cmd *cmd, int64_t delay_s);

struct l1_item;
/* Whether a plain item is neither over nor flushed. Under its stripe's lock. */
bool item_alive(const struct cmd *cmd, const struct l1_item *item);
bool item_fetched(const struct l1_item *item);

#endif

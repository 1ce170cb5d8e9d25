/* rescue_store: sets of whole carts in buckets with rescue (doc/rescue.md).
 *
 * A session remembers what it knows of a key: the cas it was told last, by a read or by its own
 * write. The value that goes with that cas is kept in a memory that all sessions share. When it
 * writes a key that has another cas by now, what it has changed is done to the value of now. After
 * that it is told a cas that no item has, under which the value as it wrote it is kept: it does not
 * know yet what was merged into it. */
#include "cmd/cmd_int.h"

#include <stdlib.h>

/* Without memory for it the session is one that never reads. */
static void remember(struct session *session, uint64_t hash, uint64_t cas)
{
    if (session->seen || (session->seen = calloc(1, sizeof *session->seen)))
        rescue_seen_put(session->seen, hash, cas, clock_now_s(session->cmd));
}

void rescue_told(struct session *session, struct slice key, uint64_t cas, struct slice value)
{
    uint64_t hash = hash_64(key);
    rescue_recent_keep(session->cmd->recent, hash, cas, value);
    remember(session, hash, cas);
}

void rescue_told_nothing(struct session *session, struct slice key)
{
    remember(session, hash_64(key), 0);
}

void rescue_changed(struct session *session, const struct request *request)
{
    struct cart_key parsed;
    struct slice key;
    if (request->verb == VERB_TOUCH || !table_key(session, request, &key) || key.len == 0)
        return;
    enum cart_key_kind kind = cart_key_parse(session->worker, key, &parsed);
    bool is_delete = request->verb == VERB_DELETE || request->verb == VERB_MD;
    if (kind == KEY_LINE || kind == KEY_QTY)
        key = parsed.cart;
    if (is_delete && (kind == KEY_PLAIN || kind == KEY_CART))
        rescue_seen_put(session->seen, hash_64(key), 0, clock_now_s(session->cmd));
    else
        rescue_seen_drop(session->seen, hash_64(key));
}

uint64_t rescue_stored(struct session *session, struct slice key, const struct rescue_try *try,
                       struct slice value, uint64_t cas)
{
    if (try->merged) {
        count(&session->worker->rescue_merged);
        cas = item_next_cas(session->cmd);
    }
    rescue_told(session, key, cas, value);
    return cas;
}

bool rescue_knows(const struct session *session, const struct request *request, struct slice key,
                  struct rescue_try *try)
{
    *try = (struct rescue_try){0};
    if (has_condition(request)) {
        try->base_cas = request->cas;
        return true;
    }
    return session->seen &&
           rescue_seen_find(session->seen, hash_64(key), clock_now_s(session->cmd), &try->base_cas);
}

/* 0: worker->merged is what `theirs` becomes. CE_BAD_DOC: not to be merged. CE_NOMEM. */
int rescue_value(struct session *session, struct slice key, struct rescue_try *try,
                 struct slice mine, struct slice theirs)
{
    struct cmd_worker *worker = session->worker;
    worker->base.len = worker->merged.len = 0;
    int rc = try->base_cas ? rescue_recent_find(session->cmd->recent, hash_64(key), try->base_cas,
                                                &worker->base)
                           : 0;
    if (rc == 0)
        rc = rescue_merge(worker->rescue, buf_slice(&worker->base), mine, theirs, &worker->merged);
    if (rc == CE_NOTFOUND)
        rc = CE_BAD_DOC;
    if (rc == CE_BAD_DOC && !try->unmerged)
        count(&worker->rescue_unmerged);
    try->merged = rc == 0;
    try->unmerged = try->unmerged || rc == CE_BAD_DOC;
    return rc;
}

/* ---- plain items ---- */

struct current {
    struct buf *value; /* only when the cas is another one */
    uint64_t base_cas, cas;
    uint32_t flags;
};

/* Under the stripe's lock; the buffer has room. */
static int copy_current(void *ctx, const struct item_view *view, struct slice value)
{
    struct current *current = ctx;
    current->cas = view->cas;
    current->flags = view->flags;
    if (view->cas == current->base_cas || value.len > RESCUE_BYTES_MAX)
        return 0;
    return buf_append(current->value, value.bytes, value.len);
}

static int look_at_current(struct session *session, struct slice key, struct current *current)
{
    struct item_get get = {.key = key, .quiet = true};
    int copied = 0;
    current->value->len = 0;
    if (buf_reserve(current->value, RESCUE_BYTES_MAX))
        return CE_NOMEM;
    int rc = item_get(session, &get, copy_current, current, &copied);
    return rc ? rc : copied;
}

/* One look and one write. *again: somebody has written in between. */
static int put_once(struct session *session, const struct item_put *put, struct rescue_try *try,
                    struct item_view *view, bool *again)
{
    struct cmd_worker *worker = session->worker;
    struct current current = {.value = &worker->theirs, .base_cas = try->base_cas};
    struct item_put now = *put;
    *again = false;
    int rc = look_at_current(session, put->key, &current);
    if (rc == CE_NOTFOUND) {
        if (put->has_cas || put->mode != ITEM_SET)
            return item_put(session, put, view);
        now.mode = ITEM_ADD;
        rc = item_put(session, &now, view);
        *again = rc == CE_NOT_STORED;
        return rc;
    }
    if (rc)
        return rc;
    if (current.cas != try->base_cas) {
        rc = current.flags == put->flags
                 ? rescue_value(session, put->key, try, put->value, buf_slice(current.value))
                 : rescue_value(session, put->key, try, put->value, slice_of(NULL, 0));
        if (rc == CE_BAD_DOC)
            return item_put(session, put, view);
        if (rc == 0 && worker->merged.len > session->cmd->config.value_bytes_max)
            rc = CE_TOO_LARGE;
        if (rc)
            return rc;
        now.value = buf_slice(&worker->merged);
    }
    now.has_cas = now.is_rescue = true;
    now.cas = current.cas;
    rc = item_put(session, &now, view);
    *again = rc == CE_EXISTS || rc == CE_NOTFOUND;
    return rc;
}

int rescue_put(struct session *session, const struct request *request, const struct item_put *put,
               struct item_view *view)
{
    struct rescue_try try;
    bool again = true;
    int rc = 0;
    bool whole = put->mode <= ITEM_REPLACE && !put->invalidate && !put->has_new_cas;
    if (!whole || !rescue_knows(session, request, put->key, &try)) {
        try = (struct rescue_try){0};
        rc = item_put(session, put, view);
    } else {
        for (unsigned i = 0; again && i < RESCUE_TRIES_MAX; i++)
            rc = put_once(session, put, &try, view, &again);
        if (again)
            return CE_BUSY;
    }
    session->is_whole = put->mode <= ITEM_ADD;
    if (rc == 0 && put->mode <= ITEM_ADD)
        view->cas = rescue_stored(session, put->key, &try, put->value, view->cas);
    return rc;
}

#include "cmd/item.h"

#include "cmd/cmd_int.h"

#include <ctype.h>

#define ITEM_SLACK_BYTES 128

/* l1_item.marks */
enum {
    MARK_FETCHED = L1_MARK_FETCHED,
    MARK_STALE = 2,
    MARK_SENT = 4,
    MARK_CHOSEN_CAS = 8, /* and how many flush_all there were then, modulo 16 */
    MARK_FLUSHES = 0xf0,
    MARK_FLUSHES_SHIFT = 4,
};

static struct l1 *l1_of(struct session *session)
{
    return tier_l1(session->cmd->tier);
}

uint64_t item_next_cas(struct cmd *cmd)
{
    return atomic_fetch_add(&cmd->next_cas, 1) + 1;
}

/* ---- what is alive ---- */

/* A flush_all with a delay takes effect one second early, as in memcached. */
static bool is_due(uint32_t flush_at_s, uint32_t now_s)
{
    return flush_at_s && flush_at_s - 1 <= now_s;
}

/* A later one takes the place of one that is not due yet. memcached also brings back what an
 * earlier one has flushed when the later one has a delay; here that stays away. */
void item_flush(struct cmd *cmd, int64_t delay_s)
{
    uint32_t now_s = clock_now_s(cmd), at_s = atomic_load(&cmd->flush_at_s);
    if (is_due(at_s, now_s) && at_s - 1 > atomic_load(&cmd->oldest_live_s))
        atomic_store(&cmd->oldest_live_s, at_s - 1);
    atomic_store(&cmd->flush_at_s, delay_s > 0 ? clock_exptime_s(cmd, delay_s) : 0);
    if (delay_s > 0)
        return;
    atomic_store(&cmd->oldest_live_s, now_s - 1);
    atomic_store(&cmd->oldest_cas, item_next_cas(cmd));
    atomic_fetch_add(&cmd->flushes, 1);
}

static unsigned flushes_mark(const struct cmd *cmd)
{
    return atomic_load_explicit(&cmd->flushes, memory_order_relaxed) << MARK_FLUSHES_SHIFT & 0xff;
}

/* A cas that a client has chosen says nothing of the order; the count of flushes at that time does.
 */
static void set_cas(struct cmd *cmd, struct l1_item *item, bool chosen, uint64_t cas)
{
    item->plain.cas = chosen ? cas : item_next_cas(cmd);
    item->marks &= MARK_FETCHED | MARK_STALE | MARK_SENT;
    if (chosen)
        item->marks |= (uint8_t)(MARK_CHOSEN_CAS | flushes_mark(cmd));
}

static bool is_flushed(const struct cmd *cmd, const struct l1_item *item, uint32_t now_s)
{
    uint32_t at_s = atomic_load_explicit(&cmd->flush_at_s, memory_order_relaxed);
    uint32_t oldest_s = atomic_load_explicit(&cmd->oldest_live_s, memory_order_relaxed);
    if (is_due(at_s, now_s) && item->plain.stored_s <= at_s - 1)
        return true;
    if (item->plain.stored_s <= oldest_s)
        return true;
    if (item->marks & MARK_CHOSEN_CAS) /* within the second of the flush */
        return item->plain.stored_s == oldest_s + 1 &&
               (item->marks & MARK_FLUSHES) != flushes_mark(cmd);
    return item->plain.cas < atomic_load_explicit(&cmd->oldest_cas, memory_order_relaxed);
}

static bool is_expired(const struct l1_item *item, uint32_t now_s)
{
    return item->plain.exptime_s && item->plain.exptime_s <= now_s;
}

bool item_alive(const struct cmd *cmd, const struct l1_item *item)
{
    uint32_t now_s = clock_now_s(cmd);
    return !is_expired(item, now_s) && !is_flushed(cmd, item, now_s);
}

bool item_fetched(const struct l1_item *item)
{
    return item->marks & MARK_FETCHED;
}

/* A reload has made this key one of a cart since the request looked at it. */
static bool is_foreign(const struct l1_item *item)
{
    return item && item->kind != L1_PLAIN;
}

/* The item if it is alive, or foreign; a dead one is removed on the way. */
static struct l1_item *find_alive(struct session *session, uint64_t hash, struct slice key)
{
    struct cmd *cmd = session->cmd;
    struct l1_item *item = l1_find_locked(l1_of(session), hash, key);
    if (!item || is_foreign(item))
        return item;
    uint32_t now_s = clock_now_s(cmd);
    bool flushed = is_flushed(cmd, item, now_s);
    if (!is_expired(item, now_s) && !flushed)
        return item;
    count(flushed ? &session->worker->get_flushed : &session->worker->get_expired);
    l1_remove_locked(l1_of(session), hash, item);
    return NULL;
}

static int64_t ttl_of(const struct cmd *cmd, const struct l1_item *item)
{
    if (item->plain.exptime_s == 0)
        return -1;
    int64_t left_s = (int64_t)item->plain.exptime_s - clock_now_s(cmd);
    return left_s > 0 ? left_s : 0; /* -1 would say no end */
}

static void describe(const struct cmd *cmd, const struct l1_item *item, struct item_view *view)
{
    view->cas = item->plain.cas;
    view->flags = item->plain.flags;
    view->size = item->value_bytes;
    view->ttl_s = ttl_of(cmd, item);
}

static void use(const struct cmd *cmd, struct l1_item *item)
{
    item->plain.used_s = clock_now_s(cmd);
    item->marks |= MARK_FETCHED;
}

/* ---- making ---- */

struct making {
    struct slice first, second; /* the value is both, one behind the other */
    uint32_t flags;
    uint32_t exptime_s;
    uint64_t cas; /* 0 = the next one */
};

/* Writes a whole new item. The parts must not lie in the item itself. */
static int make_locked(struct session *session, uint64_t hash, struct slice key,
                       const struct making *making, struct l1_item **out)
{
    struct cmd *cmd = session->cmd;
    struct l1_item *item;
    size_t total = making->first.len + making->second.len;
    if (l1_put_locked(l1_of(session), hash, key, L1_PLAIN, total, &item))
        return CE_STORE_NOMEM;
    if (making->first.len)
        memcpy(l1_value(item), making->first.bytes, making->first.len);
    if (making->second.len)
        memcpy(l1_value(item) + making->first.len, making->second.bytes, making->second.len);
    uint32_t now_s = clock_now_s(cmd);
    item->marks = 0;
    item->plain = (struct l1_plain){
        .flags = making->flags, .exptime_s = making->exptime_s, .stored_s = now_s, .used_s = now_s};
    set_cas(cmd, item, making->cas != 0, making->cas);
    *out = item;
    return 0;
}

/* A created item has had its first life, N; T gives it another one, unless N stands behind T. */
static void touch_locked(const struct cmd *cmd, struct l1_item *item, int64_t exptime,
                         bool vivify_last, struct item_view *view)
{
    uint32_t vivified_s = item->plain.exptime_s;
    item->plain.exptime_s = clock_exptime_s(cmd, exptime);
    if (!view->created)
        return;
    view->ttl_first_s = ttl_of(cmd, item);
    if (!vivify_last) {
        uint32_t touched_s = item->plain.exptime_s;
        item->plain.exptime_s = vivified_s;
        view->ttl_first_s = ttl_of(cmd, item);
        vivified_s = touched_s;
    }
    item->plain.exptime_s = vivified_s;
}

/* ---- get ---- */

/* Who is to fetch the value anew: the first that asks when it is stale or near its end. */
static void settle_win(const struct cmd *cmd, const struct item_get *get, struct l1_item *item,
                       struct item_view *view)
{
    bool sent = item->marks & MARK_SENT;
    view->stale = item->marks & MARK_STALE;
    view->sent = sent;
    view->won = view->created || (view->stale && !sent);
    uint32_t end_s = get->touch && get->recache_sees_touch ? clock_exptime_s(cmd, get->exptime)
                                                           : item->plain.exptime_s;
    if (get->recache && !sent && !view->created && end_s)
        view->won |= end_s < clock_exptime_s(cmd, get->recache_exptime);
    if (view->won)
        item->marks |= MARK_SENT;
}

static int vivify_locked(struct session *session, uint64_t hash, const struct item_get *get,
                         struct l1_item **item)
{
    struct making making = {.exptime_s = clock_exptime_s(session->cmd, get->vivify_exptime),
                            .cas = get->has_new_cas ? get->new_cas : 0};
    return make_locked(session, hash, get->key, &making, item);
}

static int get_locked(struct session *session, uint64_t hash, const struct item_get *get,
                      item_emit_fn *emit, void *ctx, int *emitted)
{
    struct cmd *cmd = session->cmd;
    struct item_view view = {0};
    struct l1_item *item = find_alive(session, hash, get->key);
    if (is_foreign(item))
        return CE_NOTFOUND;
    if (!item && !get->vivify)
        return CE_NOTFOUND;
    view.created = !item;
    if (!item && vivify_locked(session, hash, get, &item))
        return CE_STORE_NOMEM;
    view.fetched = item->marks & MARK_FETCHED;
    view.idle_s = clock_now_s(cmd) - item->plain.used_s;
    view.ttl_was_s = view.created ? -1 : ttl_of(cmd, item);
    if (get->wins)
        settle_win(cmd, get, item, &view);
    if (get->touch)
        touch_locked(cmd, item, get->exptime, get->vivify_last, &view);
    describe(cmd, item, &view);
    if (!get->quiet)
        use(cmd, item);
    *emitted = emit(ctx, &view, l1_value_slice(item));
    return 0;
}

int item_get(struct session *session, const struct item_get *get, item_emit_fn *emit, void *ctx,
             int *emitted)
{
    uint64_t hash = hash_64(get->key);
    if (get->vivify && l1_room(l1_of(session), get->key.len + ITEM_SLACK_BYTES))
        return CE_STORE_NOMEM;
    l1_lock(l1_of(session), hash);
    int rc = get_locked(session, hash, get, emit, ctx, emitted);
    l1_unlock(l1_of(session), hash);
    return rc;
}

/* ---- put ---- */

/* A cas is looked at by set and replace, and by append and prepend of what is there; add asks only
 * whether there is an item (memcached). */
static int check_cas(struct cmd_worker *worker, const struct item_put *put,
                     const struct l1_item *item, bool *stale)
{
    bool counts = put->has_cas && put->mode <= ITEM_REPLACE && !put->is_rescue; /* as memcached */
    if (!put->has_cas || item->plain.cas == put->cas) {
        if (counts)
            count(&worker->cas_hits);
        return 0;
    }
    *stale = put->mode <= ITEM_REPLACE && put->invalidate && put->cas && put->cas < item->plain.cas;
    if (counts && !*stale)
        count(&worker->cas_badval);
    return *stale ? 0 : CE_EXISTS;
}

/* 0, or why not; *stale: an older cas, and the caller allows to mark it. */
static int check_put(struct session *session, const struct item_put *put,
                     const struct l1_item *item, bool *stale)
{
    *stale = false;
    switch (put->mode) {
    case ITEM_ADD: return item ? CE_NOT_STORED : 0;
    case ITEM_REPLACE:
    case ITEM_SET:
        if (item)
            return check_cas(session->worker, put, item, stale);
        if (put->has_cas && !put->is_rescue)
            count(&session->worker->cas_misses);
        if (put->has_cas)
            return CE_NOTFOUND;
        return put->mode == ITEM_SET ? 0 : CE_NOT_STORED;
    default:
        if (item)
            return put->cas ? check_cas(session->worker, put, item, stale) : 0;
        return put->vivify ? 0 : CE_NOT_STORED;
    }
}

/* append and prepend keep flags and life. The old value moves into scratch first: making the item
 * may move it. */
static int join_locked(struct session *session, const struct item_put *put, uint64_t hash,
                       struct l1_item **item)
{
    struct buf *text = &session->worker->text;
    struct slice old = l1_value_slice(*item);
    if (old.len + put->value.len > session->cmd->config.value_bytes_max)
        return CE_NOT_STORED;
    text->len = 0;
    if (buf_append(text, old.bytes, old.len))
        return CE_STORE_NOMEM;
    bool front = put->mode == ITEM_PREPEND;
    struct making making = {.first = front ? put->value : buf_slice(text),
                            .second = front ? buf_slice(text) : put->value,
                            .flags = (*item)->plain.flags,
                            .exptime_s = (*item)->plain.exptime_s,
                            .cas = put->has_new_cas ? put->new_cas : 0};
    return make_locked(session, hash, put->key, &making, item);
}

static int put_locked(struct session *session, const struct item_put *put, uint64_t hash,
                      struct item_view *view)
{
    struct cmd *cmd = session->cmd;
    struct l1_item *item = find_alive(session, hash, put->key);
    bool joins = put->mode == ITEM_APPEND || put->mode == ITEM_PREPEND, stale;
    int rc = is_foreign(item) ? CE_NOT_STORED : check_put(session, put, item, &stale);
    if (rc)
        return rc;
    uint8_t kept_marks = stale ? (uint8_t)(MARK_STALE | (item->marks & MARK_SENT)) : 0;
    int64_t exptime = joins ? put->vivify_exptime : put->exptime;
    struct making making = {.first = put->value,
                            .flags = put->flags,
                            .exptime_s =
                                stale ? item->plain.exptime_s : clock_exptime_s(cmd, exptime),
                            .cas = put->has_new_cas ? put->new_cas : 0};
    rc = joins && item ? join_locked(session, put, hash, &item)
                       : make_locked(session, hash, put->key, &making, &item);
    if (rc)
        return rc;
    item->marks |= kept_marks;
    describe(cmd, item, view);
    return 0;
}

int item_put(struct session *session, const struct item_put *put, struct item_view *view)
{
    uint64_t hash = hash_64(put->key);
    *view = (struct item_view){0};
    if (l1_room(l1_of(session), put->key.len + put->value.len + ITEM_SLACK_BYTES)) {
        if (put->mode == ITEM_SET)
            item_drop(session, put->key);
        return CE_STORE_NOMEM;
    }
    l1_lock(l1_of(session), hash);
    int rc = put_locked(session, put, hash, view);
    l1_unlock(l1_of(session), hash);
    return rc;
}

/* ---- delete ---- */

static int delete_locked(struct session *session, const struct item_delete *del, uint64_t hash)
{
    struct cmd *cmd = session->cmd;
    struct l1_item *item = find_alive(session, hash, del->key);
    if (!item || is_foreign(item))
        return CE_NOTFOUND;
    if (del->has_cas && item->plain.cas != del->cas)
        return CE_EXISTS;
    if (!del->invalidate && !del->drop_value) {
        l1_remove_locked(l1_of(session), hash, item);
        return 0;
    }
    if (del->drop_value) {
        MUST(l1_put_locked(l1_of(session), hash, del->key, L1_PLAIN, 0, &item) == 0);
        item->plain.flags = del->flags;
        item->plain.exptime_s = 0;
    }
    if (del->touch)
        item->plain.exptime_s = clock_exptime_s(cmd, del->exptime);
    if (del->invalidate) {
        item->marks |= MARK_STALE;
        item->marks &= (uint8_t)~MARK_SENT; /* so that the next one that asks wins */
    }
    if (del->has_new_cas || del->invalidate)
        set_cas(cmd, item, del->has_new_cas, del->new_cas);
    return 0;
}

int item_delete(struct session *session, const struct item_delete *del)
{
    uint64_t hash = hash_64(del->key);
    l1_lock(l1_of(session), hash);
    int rc = delete_locked(session, del, hash);
    l1_unlock(l1_of(session), hash);
    return rc;
}

void item_drop(struct session *session, struct slice key)
{
    uint64_t hash = hash_64(key);
    l1_lock(l1_of(session), hash);
    struct l1_item *item = l1_find_locked(l1_of(session), hash, key);
    if (item && !is_foreign(item))
        l1_remove_locked(l1_of(session), hash, item);
    l1_unlock(l1_of(session), hash);
}

/* ---- incr, decr ---- */

/* As strtoull reads it (memcached): white space and a '+' may stand before the digits; white space
 * or a NUL ends them, whatever follows. */
static bool read_number(const struct l1_item *item, uint64_t *value)
{
    struct slice text = l1_value_slice(item);
    while (text.len && isspace(text.bytes[0]))
        text = slice_from(text, 1);
    if (text.len && text.bytes[0] == '+')
        text = slice_from(text, 1);
    size_t digits = 0;
    while (digits < text.len && isdigit(text.bytes[digits]))
        digits++;
    if (digits < text.len && text.bytes[digits] && !isspace(text.bytes[digits]))
        return false;
    return num_u64(slice_of(text.bytes, digits), value);
}

/* Keeps the length of the old value when the new digits are fewer, padded with spaces. */
static int write_number(struct session *session, const struct item_arith *arith, uint64_t hash,
                        struct l1_item **item, uint64_t value)
{
    char digits[NUM_DIGITS_MAX];
    size_t len = num_put_u64(digits, value);
    size_t total = len > (*item)->value_bytes ? len : (*item)->value_bytes;
    if (total != (*item)->value_bytes &&
        l1_put_locked(l1_of(session), hash, arith->key, L1_PLAIN, total, item))
        return CE_STORE_NOMEM;
    memset(l1_value(*item), ' ', total);
    memcpy(l1_value(*item), digits, len);
    set_cas(session->cmd, *item, arith->has_new_cas, arith->new_cas);
    return 0;
}

static int create_number(struct session *session, const struct item_arith *arith, uint64_t hash,
                         struct l1_item **item, uint64_t *value)
{
    char digits[NUM_DIGITS_MAX];
    struct making making = {.first = slice_of(digits, num_put_u64(digits, arith->initial)),
                            .exptime_s = clock_exptime_s(session->cmd, arith->vivify_exptime),
                            .cas = arith->has_new_cas ? arith->new_cas : 0};
    *value = arith->initial;
    return make_locked(session, hash, arith->key, &making, item);
}

static int arith_locked(struct session *session, const struct item_arith *arith, uint64_t hash,
                        struct item_view *view, uint64_t *value)
{
    struct l1_item *item = find_alive(session, hash, arith->key);
    int rc;
    if (is_foreign(item))
        return CE_NOTFOUND;
    view->created = !item;
    view->ttl_was_s = item ? ttl_of(session->cmd, item) : -1;
    if (!item && !arith->vivify)
        return CE_NOTFOUND;
    if (!item) {
        rc = create_number(session, arith, hash, &item, value);
    } else {
        if (item->value_bytes == 0)
            return CE_NON_NUMERIC; /* told before the cas is looked at (memcached) */
        if (arith->has_cas && item->plain.cas != arith->cas)
            return CE_EXISTS;
        if (!read_number(item, value))
            return CE_NON_NUMERIC;
        if (arith->incr)
            *value += arith->delta; /* wraps at 64 bits, as memcached */
        else
            *value -= *value < arith->delta ? *value : arith->delta;
        rc = write_number(session, arith, hash, &item, *value);
    }
    if (rc == 0 && arith->touch)
        touch_locked(session->cmd, item, arith->exptime, arith->vivify_last, view);
    if (rc == 0)
        describe(session->cmd, item, view);
    return rc;
}

int item_arith(struct session *session, const struct item_arith *arith, struct item_view *view,
               uint64_t *value)
{
    uint64_t hash = hash_64(arith->key);
    *view = (struct item_view){0};
    if (arith->vivify && l1_room(l1_of(session), arith->key.len + ITEM_SLACK_BYTES))
        return CE_STORE_NOMEM;
    l1_lock(l1_of(session), hash);
    int rc = arith_locked(session, arith, hash, view, value);
    l1_unlock(l1_of(session), hash);
    return rc;
}

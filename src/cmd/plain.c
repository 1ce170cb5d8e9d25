/* plain: memcached items, memory only, memcached's own semantics (doc/protocol-memcached.md). */
#include "cmd/cmd_int.h"

#include <ctype.h>

#define ARITH_DIGITS_MAX 20 /* of a u64; memcached refuses longer values */
#define ITEM_SLACK_BYTES 128

static struct l1 *l1_of(struct session *session)
{
    return tier_l1(session->cmd->tier);
}

static uint64_t next_cas(struct cmd *cmd)
{
    return atomic_fetch_add(&cmd->next_cas, 1) + 1;
}

/* ---- what is alive ---- */

void plain_flush(struct cmd *cmd, int64_t delay_s)
{
    uint32_t now_s = clock_now_s(cmd);
    uint32_t oldest_s = delay_s > 0 ? clock_exptime_s(cmd, delay_s) - 1 : now_s - 1;
    atomic_store(&cmd->oldest_live_s, oldest_s);
    atomic_store(&cmd->oldest_cas, oldest_s <= now_s ? next_cas(cmd) : 0);
}

static bool is_flushed(const struct cmd *cmd, const struct l1_item *item, uint32_t now_s)
{
    uint32_t oldest_s = atomic_load_explicit(&cmd->oldest_live_s, memory_order_relaxed);
    uint64_t oldest_cas = atomic_load_explicit(&cmd->oldest_cas, memory_order_relaxed);
    if (oldest_s == 0 || oldest_s > now_s)
        return false;
    return item->plain.stored_s <= oldest_s || (oldest_cas && item->plain.cas < oldest_cas);
}

/* The item if it is alive; a dead one is removed on the way. */
static struct l1_item *find_alive(struct session *session, uint64_t hash, struct slice key)
{
    struct cmd *cmd = session->cmd;
    struct l1_item *item = l1_find_locked(l1_of(session), hash, key);
    if (!item)
        return NULL;
    uint32_t now_s = clock_now_s(cmd);
    bool expired = item->plain.exptime_s && item->plain.exptime_s <= now_s;
    bool flushed = is_flushed(cmd, item, now_s);
    if (!expired && !flushed)
        return item;
    count(flushed ? &session->worker->get_flushed : &session->worker->get_expired);
    l1_remove_locked(l1_of(session), hash, item);
    return NULL;
}

/* ---- get ---- */

enum run plain_get(struct session *session, const struct request *request, struct slice key)
{
    struct cmd_worker *worker = session->worker;
    bool touches = request->verb == VERB_GAT || request->verb == VERB_GATS;
    bool with_cas = request->verb == VERB_GETS || request->verb == VERB_GATS;
    uint64_t hash = hash_64(key);
    int rc = 0;
    l1_lock(l1_of(session), hash);
    struct l1_item *item = find_alive(session, hash, key);
    if (item) {
        if (touches)
            item->plain.exptime_s = clock_exptime_s(session->cmd, request->exptime);
        rc = text_value(session->out, key, item->plain.flags, l1_value_slice(item), with_cas,
                        item->plain.cas);
    }
    l1_unlock(l1_of(session), hash);
    count(item ? &worker->get_hits : &worker->get_misses);
    if (touches)
        count(item ? &worker->touch_hits : &worker->touch_misses);
    return reply_end(session, rc);
}

/* ---- storage ---- */

/* May the command store, given what is there? NULL: yes; else the reply. */
static const char *refuse_store(struct session *session, const struct request *request,
                                const struct l1_item *item)
{
    struct cmd_worker *worker = session->worker;
    switch (request->verb) {
    case VERB_ADD: return item ? "NOT_STORED" : NULL;
    case VERB_REPLACE:
    case VERB_APPEND:
    case VERB_PREPEND: return item ? NULL : "NOT_STORED";
    case VERB_CAS:
        count(!item                             ? &worker->cas_misses
              : item->plain.cas == request->cas ? &worker->cas_hits
                                                : &worker->cas_badval);
        if (!item)
            return "NOT_FOUND";
        return item->plain.cas == request->cas ? NULL : "EXISTS";
    default: return NULL;
    }
}

/* append and prepend: the old value moves into scratch, and both go back. */
static int join_locked(struct session *session, const struct request *request, uint64_t hash,
                       struct l1_item *item)
{
    struct buf *text = &session->worker->text;
    struct slice old = l1_value_slice(item), more = request->value;
    bool front = request->verb == VERB_PREPEND;
    size_t total = old.len + more.len;
    if (total > session->cmd->config.value_bytes_max)
        return CE_EXISTS; /* memcached: NOT_STORED */
    text->len = 0;
    if (buf_append(text, front ? more.bytes : old.bytes, front ? more.len : old.len) ||
        buf_append(text, front ? old.bytes : more.bytes, front ? old.len : more.len) ||
        l1_put_locked(l1_of(session), hash, request->key, L1_PLAIN, total, &item))
        return CE_STORE_NOMEM;
    memcpy(l1_value(item), text->bytes, total);
    item->plain.cas = next_cas(session->cmd);
    return 0;
}

static int put_locked(struct session *session, const struct request *request, uint64_t hash)
{
    struct l1_item *item;
    if (l1_put_locked(l1_of(session), hash, request->key, L1_PLAIN, request->value.len, &item))
        return CE_STORE_NOMEM;
    memcpy(l1_value(item), request->value.bytes, request->value.len);
    item->plain = (struct l1_plain){.cas = next_cas(session->cmd),
                                    .flags = request->flags,
                                    .exptime_s = clock_exptime_s(session->cmd, request->exptime),
                                    .stored_s = clock_now_s(session->cmd)};
    return 0;
}

void plain_drop(struct session *session, struct slice key)
{
    uint64_t hash = hash_64(key);
    struct cart_key parsed;
    if (cart_key_parse(session->worker, key, &parsed) != KEY_PLAIN)
        return;
    l1_lock(l1_of(session), hash);
    struct l1_item *item = l1_find_locked(l1_of(session), hash, key);
    if (item)
        l1_remove_locked(l1_of(session), hash, item);
    l1_unlock(l1_of(session), hash);
}

enum run plain_store(struct session *session, const struct request *request)
{
    uint64_t hash = hash_64(request->key);
    bool joins = request->verb == VERB_APPEND || request->verb == VERB_PREPEND;
    int code = 0;
    if (l1_room(l1_of(session), request->key.len + request->value.len + ITEM_SLACK_BYTES)) {
        if (request->verb == VERB_SET)
            plain_drop(session, request->key);
        return reply_error(session, request, CE_STORE_NOMEM);
    }
    l1_lock(l1_of(session), hash);
    struct l1_item *item = find_alive(session, hash, request->key);
    const char *refused = refuse_store(session, request, item);
    if (!refused)
        code =
            joins ? join_locked(session, request, hash, item) : put_locked(session, request, hash);
    l1_unlock(l1_of(session), hash);
    if (code == CE_EXISTS)
        refused = "NOT_STORED";
    else if (code)
        return reply_error(session, request, code);
    return reply_line(session, request, refused ? refused : "STORED");
}

/* ---- delete, touch ---- */

enum run plain_delete(struct session *session, const struct request *request)
{
    uint64_t hash = hash_64(request->key);
    l1_lock(l1_of(session), hash);
    struct l1_item *item = find_alive(session, hash, request->key);
    if (item)
        l1_remove_locked(l1_of(session), hash, item);
    l1_unlock(l1_of(session), hash);
    count(item ? &session->worker->delete_hits : &session->worker->delete_misses);
    return reply_line(session, request, item ? "DELETED" : "NOT_FOUND");
}

enum run plain_touch(struct session *session, const struct request *request)
{
    uint64_t hash = hash_64(request->key);
    l1_lock(l1_of(session), hash);
    struct l1_item *item = find_alive(session, hash, request->key);
    if (item)
        item->plain.exptime_s = clock_exptime_s(session->cmd, request->exptime);
    l1_unlock(l1_of(session), hash);
    count(item ? &session->worker->touch_hits : &session->worker->touch_misses);
    return reply_line(session, request, item ? "TOUCHED" : "NOT_FOUND");
}

/* ---- incr, decr ---- */

/* memcached reads with strtoull: white space in front, and behind it the spaces that a decr left.
 */
static bool read_number(const struct l1_item *item, uint64_t *value)
{
    struct slice text = l1_value_slice(item);
    if (text.len > ARITH_DIGITS_MAX)
        return false;
    while (text.len && isspace(text.bytes[0]))
        text = slice_from(text, 1);
    while (text.len && isspace(text.bytes[text.len - 1]))
        text.len--;
    return num_u64(text, value);
}

/* Keeps the length of the old value when the new digits are fewer, padded with spaces. */
static int write_number(struct session *session, const struct request *request, uint64_t hash,
                        struct l1_item *item, uint64_t value)
{
    char digits[NUM_DIGITS_MAX];
    size_t len = num_put_u64(digits, value);
    size_t total = len > item->value_bytes ? len : item->value_bytes;
    if (l1_put_locked(l1_of(session), hash, request->key, L1_PLAIN, total, &item))
        return CE_STORE_NOMEM;
    memset(l1_value(item), ' ', total);
    memcpy(l1_value(item), digits, len);
    item->plain.cas = next_cas(session->cmd);
    return 0;
}

static int arith_locked(struct session *session, const struct request *request, uint64_t hash,
                        uint64_t *value)
{
    struct l1_item *item = find_alive(session, hash, request->key);
    if (!item)
        return CE_NOTFOUND;
    if (!read_number(item, value))
        return CE_NON_NUMERIC;
    if (request->verb == VERB_INCR)
        *value += request->delta; /* wraps at 64 bits, as memcached */
    else
        *value -= *value < request->delta ? *value : request->delta;
    return write_number(session, request, hash, item, *value);
}

enum run plain_arith(struct session *session, const struct request *request)
{
    struct cmd_worker *worker = session->worker;
    bool incr = request->verb == VERB_INCR;
    uint64_t hash = hash_64(request->key), value = 0;
    l1_lock(l1_of(session), hash);
    int code = arith_locked(session, request, hash, &value);
    l1_unlock(l1_of(session), hash);
    if (code == CE_NOTFOUND) {
        count(incr ? &worker->incr_misses : &worker->decr_misses);
        return reply_line(session, request, "NOT_FOUND");
    }
    if (code)
        return reply_error(session, request, code);
    count(incr ? &worker->incr_hits : &worker->decr_hits);
    return request->noreply ? RUN_DONE : reply_end(session, text_number(session->out, value));
}

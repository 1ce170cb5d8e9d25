/* cart_since: the document of what changed since a version (cget N).
 *
 * A version is the number of events that a copy has seen. While a cart has one linear history, its
 * actors come one after the other, in the order of their ids, so the event (actor, seq) made the
 * version `base + what all older actors made + seq`. */
#include "cart/cart.h"

#include "cart/cart_int.h"

#define ACTORS_TOLD (2 * CART_ACTORS_MAX) /* beyond it the whole document */

struct history {
    uint64_t before[ACTORS_TOLD]; /* the version when each actor began */
    size_t count;
    uint64_t since;
};

/* False when the actors need not have come one after the other. */
static bool read_history(const struct cart_view *view, uint64_t since, struct history *history)
{
    struct slice vv = view->vv;
    struct cart_actor actor;
    uint64_t version = view->head.base, last_second = 0;
    *history = (struct history){.since = since};
    if (view->actors_count > ACTORS_TOLD || since > view->version)
        return false;
    while (vv.len && cart_actor_take(&vv, &actor)) {
        uint64_t second = actor.id >> 32; /* of minting */
        if (second <= last_second && history->count)
            return false;
        last_second = second;
        history->before[history->count++] = version;
        version += actor.seq;
    }
    return true;
}

/* 1 newer, 0 not, -1 unknown. */
static int is_newer(const struct history *history, struct slice bytes)
{
    struct cart_dot dot;
    if (!cart_line_dot(bytes, &dot) || dot.actor >= history->count)
        return -1;
    return history->before[dot.actor] + dot.seq > history->since;
}

/* Appends the newer lines to `lines`, the keys of all to `keys`, each behind a comma. CE_EXISTS: it
 * can't be told. */
static int write_changes(const struct cart_view *view, const struct history *history,
                         struct buf *lines, struct buf *keys)
{
    struct slice rest = view->lines, bytes;
    struct cart_line line;
    int err = 0;
    while (rest.len && !err) {
        err = cart_line_take(&rest, &bytes, &line);
        if (err || line.qty == 0)
            continue;
        int newer = is_newer(history, bytes);
        if (newer < 0 || !cart_utf8_ok(line.line)) /* U+FFFD would be no name */
            return CE_EXISTS;
        if (newer)
            err = cart_line_json(&line, lines);
        if (!err && newer)
            err = buf_append(lines, ",", 1);
        if (!err)
            err = cart_json_key(line.line, keys);
        if (!err)
            err = buf_append(keys, ",", 1);
    }
    return err;
}

static int write_document(struct slice state, uint64_t now_us, struct slice key,
                          const struct history *history, const struct cart_view *view,
                          struct buf *out)
{
    struct cart_summary summary;
    struct buf keys = {0};
    cart_summary(state, now_us, &summary);
    int err = cart_json_front(&summary, key, out);
    if (!err)
        err = buf_printf(out, "\"since\":%llu,\"lines\":[", (unsigned long long)history->since);
    size_t start = out->len;
    if (!err)
        err = write_changes(view, history, out, &keys);
    if (!err && out->len > start)
        out->len--; /* the last comma */
    if (!err)
        err = buf_append_str(out, "],\"keys\":[");
    if (!err && keys.len)
        err = buf_append(out, keys.bytes, keys.len - 1);
    if (!err)
        err = buf_append_str(out, "],");
    buf_free(&keys);
    return err ? err : cart_json_sums(&summary, out);
}

int cart_json_since(struct slice state, uint64_t now_us, struct slice key, uint64_t version,
                    struct buf *out)
{
    struct cart_view view;
    struct history history;
    size_t len_before = out->len;
    MUST(cart_view_open(state, &view) == 0);
    int err = CE_EXISTS;
    if (version && !cart_head_expired(&view.head, now_us) && read_history(&view, version, &history))
        err = write_document(state, now_us, key, &history, &view, out);
    if (err)
        out->len = len_before;
    return err == CE_EXISTS ? cart_json(state, now_us, key, CART_JSON_ALL, out) : err;
}

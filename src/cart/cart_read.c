/* cart_read: questions to a state that need no scratch. They work on the bytes and allocate
 * nothing. */
#include "cart/cart.h"

#include "cart/cart_int.h"

void cart_view_summary(struct slice state, uint64_t now_us, struct cart_view *view,
                       struct cart_summary *out)
{
    MUST(cart_view_open(state, view) == 0);
    uint64_t cas = state.len ? cart_vv_hash(view->vv) : 0;
    cart_head_summary(&view->head, view->version, cas, now_us, out);
}

void cart_summary(struct slice state, uint64_t now_us, struct cart_summary *out)
{
    struct cart_view view;
    cart_view_summary(state, now_us, &view, out);
}

bool cart_covers(struct slice a, struct slice b)
{
    struct cart_view view_a, view_b;
    struct cart_actor have = {0}, want;
    MUST(cart_view_open(a, &view_a) == 0 && cart_view_open(b, &view_b) == 0);
    bool more = view_a.vv.len && cart_actor_take(&view_a.vv, &have);
    while (view_b.vv.len && cart_actor_take(&view_b.vv, &want)) {
        while (more && have.id < want.id)
            more = view_a.vv.len && cart_actor_take(&view_a.vv, &have);
        if (!more || have.id != want.id || have.seq < want.seq)
            return false;
    }
    return true;
}

uint64_t cart_seq(struct slice state, uint64_t actor)
{
    struct cart_view view;
    struct cart_actor have;
    MUST(cart_view_open(state, &view) == 0);
    while (view.vv.len && cart_actor_take(&view.vv, &have))
        if (have.id == actor)
            return have.seq;
    return 0;
}

struct slice cart_line_sku(struct slice line)
{
    const uint8_t *end = line.len ? memchr(line.bytes, ';', line.len) : NULL;
    return end ? slice_of(line.bytes, (size_t)(end - line.bytes)) : line;
}

struct slice cart_view_lines(const struct cart_view *view, uint64_t now_us)
{
    return cart_head_expired(&view->head, now_us) ? slice_of(NULL, 0) : view->lines;
}

static struct slice live_lines(struct slice state, uint64_t now_us)
{
    struct cart_view view;
    MUST(cart_view_open(state, &view) == 0);
    return cart_view_lines(&view, now_us);
}

int cart_line_find(struct slice state, uint64_t now_us, struct slice line, struct cart_line *out)
{
    struct slice bytes;
    int err = cart_line_seek(live_lines(state, now_us), line, &bytes);
    if (!err)
        err = cart_line_take(&bytes, &bytes, out);
    if (!err && out->qty == 0)
        err = CE_NOTFOUND;
    return err;
}

int cart_lines_each(struct slice lines, int (*each)(void *arg, const struct cart_line *line),
                    void *arg)
{
    struct slice bytes;
    struct cart_line line;
    while (lines.len) {
        int err = cart_line_take(&lines, &bytes, &line);
        if (!err && line.qty > 0)
            err = each(arg, &line);
        if (err)
            return err;
    }
    return 0;
}

int cart_lines(struct slice state, uint64_t now_us,
               int (*each)(void *arg, const struct cart_line *line), void *arg)
{
    return cart_lines_each(live_lines(state, now_us), each, arg);
}

/* cart_state: the head of a state, and moving whole states in and out of a scratch.
 *
 *   format, flags, number of actors, actors (u64 LE id, seq)
 *   greatest stamp; meta: its age before that stamp, actor, [expiry] [sliding life] [currency]
 *   [moved to: length (a byte), key]
 *   [base] [hidden entries]; counters of the visible lines, [of the checked ones]
 *   bytes of lines; [number of tokens, bytes of their records, age of the last]
 *
 * All numbers are varints. The counters make a summary O(1) in the lines. Loading copies lines and
 * tokens once; storing writes the front into the gap before the tokens, so a cart with very many
 * tokens is not copied a second time. */
#include "cart/cart.h"

#include <stdlib.h>

#include "cart/cart_int.h"

enum {
    STATE_FORMAT = 0xC1,
    HEAD_ALIVE = 1,
    HEAD_EXPIRY = 2,
    HEAD_SLIDING = 4,
    HEAD_CURRENCY = 8,
    HEAD_ALL_CHECKED = 16,
    HEAD_TOKENS = 32,
    HEAD_UNPRICED = 64,
    HEAD_BASE = 128,
    HEAD_HIDDEN = 256,
    HEAD_MOVED = 512,
    HEAD_FLAGS_END = 1024,
};

enum { BIG_MAX = 19 /* bytes of a 128-bit varint */, GAP_MIN = 1024 };
_Static_assert(HEAD_BYTES_MAX >=
                   1 + 16 * VARINT_MAX + 2 * (3 * VARINT_MAX + BIG_MAX) + 3 + 1 + CART_KEY_MAX,
               "each field at its longest");

static size_t put_big(uint8_t *out, cart_big value)
{
    size_t at = 0;
    for (; value >= 0x80; value >>= 7)
        out[at++] = (uint8_t)(value | 0x80);
    out[at++] = (uint8_t)value;
    return at;
}

static bool take_big(struct slice *in, cart_big *out)
{
    cart_big value = 0;
    for (size_t i = 0; i < in->len && i < BIG_MAX; i++) {
        uint8_t byte = in->bytes[i];
        if (i == BIG_MAX - 1 && byte > 3)
            return false;
        value |= (cart_big)(byte & 0x7f) << (7 * i);
        if (byte & 0x80)
            continue;
        *in = slice_from(*in, i + 1);
        *out = value;
        return byte != 0 || i == 0;
    }
    return false;
}

static bool take_stamp(struct slice *in, uint64_t *out)
{
    if (!varint_take(in, out))
        return false;
    *out += STAMP_EPOCH_US; /* earlier stamps wrap around, here and there */
    return *out <= STAMP_MAX;
}

/* A stamp written as its age before the greatest one. */
static bool take_age(struct slice *in, uint64_t stamp_us, uint64_t *out)
{
    uint64_t age;
    if (!varint_take(in, &age) || age > stamp_us)
        return false;
    *out = stamp_us - age;
    return true;
}

bool cart_actor_take(struct slice *vv, struct cart_actor *out)
{
    if (vv->len < 8)
        return false;
    memcpy(&out->id, vv->bytes, 8);
    *vv = slice_from(*vv, 8);
    return varint_take(vv, &out->seq);
}

static bool take_vector(struct slice *in, struct cart_view *view)
{
    uint64_t count, last = 0;
    if (!varint_take(in, &count) || count == 0 || count > ACTORS_HARD)
        return false;
    struct slice start = *in;
    for (uint64_t i = 0; i < count; i++) {
        struct cart_actor actor;
        if (!cart_actor_take(in, &actor) || actor.seq == 0 || actor.seq > SEQ_MAX)
            return false;
        if (i > 0 && actor.id <= last)
            return false;
        last = actor.id;
        view->version += actor.seq;
    }
    view->actors_count = count;
    view->vv = slice_of(start.bytes, start.len - in->len);
    return true;
}

bool cart_currency_ok(const char currency[4])
{
    for (int i = 0; i < 3; i++)
        if (currency[i] < 'A' || currency[i] > 'Z')
            return false;
    return currency[3] == 0;
}

static bool take_moved(struct slice *in, struct slice *key)
{
    size_t len = in->len ? in->bytes[0] : 0;
    if (len == 0 || len > CART_KEY_MAX || in->len < 1 + len)
        return false;
    *key = slice_of(in->bytes + 1, len);
    *in = slice_from(*in, 1 + len);
    return true;
}

static bool take_meta(struct slice *in, uint64_t flags, struct cart_view *view)
{
    struct cart_meta *meta = &view->head.meta;
    uint64_t actor;
    meta->alive = flags & HEAD_ALIVE;
    meta->sliding = flags & HEAD_SLIDING;
    if (!take_age(in, view->head.stamp_us, &meta->ts_us) || !varint_take(in, &actor))
        return false;
    if (actor >= view->actors_count)
        return false;
    meta->actor = (uint32_t)actor;
    if (flags & HEAD_EXPIRY && !take_stamp(in, &meta->expiry_us))
        return false;
    if (flags & HEAD_SLIDING && (!varint_take(in, &meta->ttl_us) || meta->ttl_us > STAMP_MAX / 4))
        return false;
    if (flags & HEAD_CURRENCY) {
        if (in->len < 3)
            return false;
        memcpy(meta->currency, in->bytes, 3);
        *in = slice_from(*in, 3);
        if (!cart_currency_ok(meta->currency))
            return false;
    }
    return !(flags & HEAD_MOVED) || take_moved(in, &meta->moved_to);
}

static bool take_counts(struct slice *in, uint64_t flags, struct cart_counts *counts)
{
    return varint_take(in, &counts->lines) && varint_take(in, &counts->qty) &&
           take_big(in, &counts->amount) &&
           (!(flags & HEAD_UNPRICED) || varint_take(in, &counts->unpriced));
}

static bool take_sections(struct slice *in, uint64_t flags, struct cart_view *view)
{
    uint64_t lines_len, recs_len = 0;
    struct cart_head *head = &view->head;
    if (!varint_take(in, &lines_len))
        return false;
    if (flags & HEAD_TOKENS &&
        (!varint_take(in, &head->tokens) || !varint_take(in, &recs_len) ||
         !take_age(in, head->stamp_us, &head->last_token_us) || head->tokens == 0))
        return false;
    if (lines_len > in->len || recs_len > in->len - lines_len)
        return false;
    size_t ids_len = in->len - lines_len - recs_len;
    if (ids_len % 8 || ids_len / 8 != head->tokens)
        return false;
    view->lines = slice_of(in->bytes, lines_len);
    view->recs = slice_of(in->bytes + lines_len, recs_len);
    view->ids = slice_of(in->bytes + lines_len + recs_len, ids_len);
    return true;
}

int cart_view_open(struct slice state, struct cart_view *view)
{
    *view = (struct cart_view){0};
    struct cart_head *head = &view->head;
    uint64_t flags;
    if (state.len == 0)
        return 0;
    if (state.len > CART_STATE_BYTES_HARD || state.bytes[0] != STATE_FORMAT)
        return CE_CORRUPT;
    struct slice in = slice_from(state, 1);
    if (!varint_take(&in, &flags) || flags >= HEAD_FLAGS_END || !take_vector(&in, view) ||
        !take_stamp(&in, &head->stamp_us) || !take_meta(&in, flags, view))
        return CE_CORRUPT;
    if (flags & HEAD_BASE && (!varint_take(&in, &head->base) || head->base > BASE_MAX))
        return CE_CORRUPT;
    if (flags & HEAD_HIDDEN && !varint_take(&in, &head->hidden))
        return CE_CORRUPT;
    view->version += head->base;
    if (!take_counts(&in, flags, &head->all))
        return CE_CORRUPT;
    if (flags & HEAD_ALL_CHECKED)
        head->checked = head->all;
    else if (!take_counts(&in, flags, &head->checked))
        return CE_CORRUPT;
    return take_sections(&in, flags, view) ? 0 : CE_CORRUPT;
}

uint64_t cart_vv_hash(struct slice vv)
{
    /* 63 bits: clients keep a cas in a signed long, and libmemcached has no room for 20 digits. */
    uint64_t hash = hash_64(vv) & INT64_MAX;
    return hash ? hash : 1;
}

uint64_t cart_vv_hash_one(struct cart_actor actor)
{
    uint8_t bytes[ACTOR_BYTES_MAX];
    memcpy(bytes, &actor.id, 8);
    return cart_vv_hash(slice_of(bytes, 8 + varint_put(bytes + 8, actor.seq)));
}

static void count_in(struct cart_counts *counts, const struct cart_line *line, uint64_t sign)
{
    counts->lines += sign;
    counts->qty += sign * (uint64_t)line->qty;
    if (!line->has_price)
        counts->unpriced += sign;
    else if (sign == 1)
        counts->amount += (cart_big)line->qty * (uint64_t)line->price;
    else
        counts->amount -= (cart_big)line->qty * (uint64_t)line->price;
}

void cart_head_count(struct cart_head *head, const struct cart_line *line, int sign)
{
    if (line->qty == 0)
        return;
    count_in(&head->all, line, (uint64_t)(int64_t)sign);
    if (line->checked)
        count_in(&head->checked, line, (uint64_t)(int64_t)sign);
}

bool cart_head_expired(const struct cart_head *head, uint64_t now_us)
{
    return head->meta.expiry_us && head->meta.expiry_us <= now_us;
}

static uint32_t cap_u32(uint64_t value)
{
    return value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
}

static bool show_amount(const struct cart_counts *counts, int64_t *amount)
{
    bool known = counts->unpriced == 0 && counts->amount <= INT64_MAX;
    *amount = known ? (int64_t)counts->amount : 0;
    return known;
}

void cart_head_summary(const struct cart_head *head, uint64_t version, uint64_t cas,
                       uint64_t now_us, struct cart_summary *out)
{
    *out = (struct cart_summary){.version = version,
                                 .expiry_us = head->meta.expiry_us,
                                 .updated_us = head->stamp_us,
                                 .amount_known = true,
                                 .checked_amount_known = true};
    if (cart_head_expired(head, now_us))
        return;
    out->exists = head->all.lines > 0 || head->meta.alive;
    out->moved_to = head->meta.moved_to;
    out->cas = out->exists ? cas : 0;
    out->lines = cap_u32(head->all.lines);
    out->qty = cap_u32(head->all.qty);
    out->checked_lines = cap_u32(head->checked.lines);
    out->checked_qty = cap_u32(head->checked.qty);
    out->amount_known = show_amount(&head->all, &out->amount);
    out->checked_amount_known = show_amount(&head->checked, &out->checked_amount);
    memcpy(out->currency, head->meta.currency, sizeof(out->currency));
}

struct cart_space cart_space_of(const struct cart *cart)
{
    return (struct cart_space){.actors = cart_actors(cart),
                               .actors_count = cart_actors_count(cart),
                               .stamp_us = STAMP_MAX};
}

/* ---- a scratch --------------------------------------------------------------------------------
 */

int cart_new(struct cart **cart)
{
    *cart = calloc(1, sizeof(**cart));
    if (!*cart)
        return CE_NOMEM;
    (*cart)->magic = CART_MAGIC;
    return 0;
}

void cart_free(struct cart **cart)
{
    struct cart *old = *cart;
    *cart = NULL;
    if (!old)
        return;
    MUST_OBJ(old, CART_MAGIC);
    struct cart_bufs *tmp = &old->tmp;
    struct buf *bufs[] = {&old->actors, &old->lines, &old->tail,   &old->scratch, &old->rebuilt,
                          &old->moved,  &tmp->other, &tmp->actors, &tmp->maps,    &tmp->seen,
                          &tmp->tokens, &tmp->refs,  &tmp->places, &tmp->marks,   &tmp->retries};
    for (size_t i = 0; i < sizeof(bufs) / sizeof(*bufs); i++)
        buf_free(bufs[i]);
    cart_row_free(&old->row);
    cart_row_free(&old->sides[0]);
    cart_row_free(&old->sides[1]);
    old->magic = 0;
    free(old);
}

static int load_vector(struct cart *cart, const struct cart_view *view)
{
    cart->actors.len = 0;
    if (buf_reserve(&cart->actors, view->actors_count * sizeof(struct cart_actor)))
        return CE_NOMEM;
    struct slice vv = view->vv;
    struct cart_actor actor;
    while (vv.len && cart_actor_take(&vv, &actor))
        if (buf_append(&cart->actors, &actor, sizeof(actor)))
            return CE_NOMEM;
    return 0;
}

static int load_tail(struct cart *cart, const struct cart_view *view, size_t front_len)
{
    size_t gap = front_len + front_len / 4 + GAP_MIN;
    cart->tail.len = 0;
    if (buf_reserve(&cart->tail, gap + view->recs.len + view->ids.len))
        return CE_NOMEM;
    cart->tail_gap = cart->tail.len = gap;
    if (buf_append(&cart->tail, view->recs.bytes, view->recs.len))
        return CE_NOMEM;
    cart->ids_at = cart->tail.len;
    return buf_append(&cart->tail, view->ids.bytes, view->ids.len);
}

int cart_own_moved(struct cart *cart)
{
    struct slice *key = &cart->head.meta.moved_to;
    if (key->len == 0 || key->bytes == cart->moved.bytes)
        return 0;
    cart->moved.len = 0;
    if (buf_append(&cart->moved, key->bytes, key->len))
        return CE_NOMEM;
    *key = buf_slice(&cart->moved);
    return 0;
}

int cart_load(struct cart *cart, struct slice state)
{
    MUST_OBJ(cart, CART_MAGIC);
    struct cart_view view;
    int err = cart_view_open(state, &view);
    if (err)
        return err;
    cart->head = view.head;
    cart->lines.len = 0;
    if (cart_own_moved(cart) || load_vector(cart, &view) ||
        buf_append(&cart->lines, view.lines.bytes, view.lines.len))
        return CE_NOMEM;
    return load_tail(cart, &view, state.len - view.recs.len - view.ids.len);
}

/* ---- writing ----------------------------------------------------------------------------------
 */

static size_t put_vector(uint8_t *out, const struct cart *cart)
{
    const struct cart_actor *actors = cart_actors(cart);
    uint8_t *at = out;
    for (size_t i = 0, count = cart_actors_count(cart); i < count; i++) {
        memcpy(at, &actors[i].id, 8);
        at += 8;
        at += varint_put(at, actors[i].seq);
    }
    return (size_t)(at - out);
}

int cart_version(struct cart *cart, uint64_t *version, uint64_t *cas)
{
    const struct cart_actor *actors = cart_actors(cart);
    size_t count = cart_actors_count(cart);
    cart->scratch.len = 0;
    if (buf_reserve(&cart->scratch, count * ACTOR_BYTES_MAX + 1))
        return CE_NOMEM;
    *version = cart->head.base;
    for (size_t i = 0; i < count; i++)
        *version += actors[i].seq;
    *cas = cart_vv_hash(slice_of(cart->scratch.bytes, put_vector(cart->scratch.bytes, cart)));
    return 0;
}

uint64_t cart_head_flags(const struct cart_head *head)
{
    const struct cart_meta *meta = &head->meta;
    const struct cart_counts *all = &head->all, *checked = &head->checked;
    bool same = all->lines == checked->lines && all->qty == checked->qty &&
                all->amount == checked->amount && all->unpriced == checked->unpriced;
    return (meta->alive ? HEAD_ALIVE : 0) | (meta->expiry_us ? HEAD_EXPIRY : 0) |
           (meta->sliding ? HEAD_SLIDING : 0) | (meta->currency[0] ? HEAD_CURRENCY : 0) |
           (same ? HEAD_ALL_CHECKED : 0) | (head->tokens ? HEAD_TOKENS : 0) |
           (all->unpriced || checked->unpriced ? HEAD_UNPRICED : 0) | (head->base ? HEAD_BASE : 0) |
           (head->hidden ? HEAD_HIDDEN : 0) | (meta->moved_to.len ? HEAD_MOVED : 0);
}

static uint8_t *put_counts(uint8_t *at, const struct cart_counts *counts, uint64_t flags)
{
    at += varint_put(at, counts->lines);
    at += varint_put(at, counts->qty);
    at += put_big(at, counts->amount);
    if (flags & HEAD_UNPRICED)
        at += varint_put(at, counts->unpriced);
    return at;
}

static uint8_t *put_meta(uint8_t *at, const struct cart_head *head, uint64_t flags)
{
    const struct cart_meta *meta = &head->meta;
    at += varint_put(at, head->stamp_us - meta->ts_us);
    at += varint_put(at, meta->actor);
    if (flags & HEAD_EXPIRY)
        at += varint_put(at, meta->expiry_us - STAMP_EPOCH_US);
    if (flags & HEAD_SLIDING)
        at += varint_put(at, meta->ttl_us);
    if (flags & HEAD_CURRENCY) {
        memcpy(at, meta->currency, 3);
        at += 3;
    }
    if (flags & HEAD_MOVED) {
        *at++ = (uint8_t)meta->moved_to.len;
        memcpy(at, meta->moved_to.bytes, meta->moved_to.len);
        at += meta->moved_to.len;
    }
    return at;
}

uint8_t *cart_head_begin(uint8_t *at, uint64_t flags, size_t actors_count)
{
    *at++ = STATE_FORMAT;
    at += varint_put(at, flags);
    return at + varint_put(at, actors_count);
}

uint8_t *cart_head_end(uint8_t *at, const struct cart_head *head, uint64_t flags, size_t lines_len,
                       size_t recs_len)
{
    at += varint_put(at, head->stamp_us - STAMP_EPOCH_US);
    at = put_meta(at, head, flags);
    if (flags & HEAD_BASE)
        at += varint_put(at, head->base);
    if (flags & HEAD_HIDDEN)
        at += varint_put(at, head->hidden);
    at = put_counts(at, &head->all, flags);
    if (!(flags & HEAD_ALL_CHECKED))
        at = put_counts(at, &head->checked, flags);
    at += varint_put(at, lines_len);
    if (flags & HEAD_TOKENS) {
        at += varint_put(at, head->tokens);
        at += varint_put(at, recs_len);
        at += varint_put(at, head->stamp_us - head->last_token_us);
    }
    return at;
}

static size_t put_head(uint8_t *out, const struct cart *cart)
{
    uint64_t flags = cart_head_flags(&cart->head);
    uint8_t *at = cart_head_begin(out, flags, cart_actors_count(cart));
    at += put_vector(at, cart);
    at = cart_head_end(at, &cart->head, flags, cart->lines.len, cart->ids_at - cart->tail_gap);
    return (size_t)(at - out);
}

/* Makes the gap wide enough for the front. */
static int widen_gap(struct cart *cart, size_t need)
{
    if (need <= cart->tail_gap)
        return 0;
    size_t more = need + need / 4 + GAP_MIN - cart->tail_gap;
    if (buf_reserve(&cart->tail, more))
        return CE_NOMEM;
    size_t used = cart->tail.len - cart->tail_gap;
    uint8_t *old = cart->tail.bytes + cart->tail_gap;
    memmove(old + more, old, used);
    cart->tail.len += more;
    cart->tail_gap += more;
    cart->ids_at += more;
    return 0;
}

int cart_store(struct cart *cart, struct slice *state)
{
    MUST_OBJ(cart, CART_MAGIC);
    *state = slice_of(NULL, 0);
    size_t actors_count = cart_actors_count(cart);
    if (actors_count == 0)
        return 0;
    cart->scratch.len = 0;
    if (buf_reserve(&cart->scratch, HEAD_BYTES_MAX + actors_count * ACTOR_BYTES_MAX))
        return CE_NOMEM;
    size_t head_len = put_head(cart->scratch.bytes, cart);
    size_t front_len = head_len + cart->lines.len;
    if (widen_gap(cart, front_len))
        return CE_NOMEM;
    uint8_t *front = cart->tail.bytes + cart->tail_gap - front_len;
    memcpy(front, cart->scratch.bytes, head_len);
    if (cart->lines.len)
        memcpy(front + head_len, cart->lines.bytes, cart->lines.len);
    *state = slice_of(front, front_len + cart->tail.len - cart->tail_gap);
    return 0;
}

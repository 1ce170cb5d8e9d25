/* cart_token: what the tokens of the last minutes stand for.
 *
 * Records in order of time, then their ids (8 bytes each, same order) side by side: a look-up scans
 * the ids, 64,000 of them in some 20 us, and only a retry walks to its record. A new token is later
 * than all others, so it is appended; expiry drops a prefix.
 *
 *   record: time since the record before, hash of the arguments (4 bytes),
 *           actor and kind of cas, seq, version - seq, [cas], lines, quantity, [checked amount],
 *           quantity of the line
 *
 * The id is a 64-bit hash of the token: two of n live tokens of one cart collide with a chance of
 * n^2 / 2^65, and then the hash of the arguments still tells them apart unless those are equal. */
#include "cart/cart.h"

#include "cart/cart_int.h"

enum { CAS_NONE, CAS_OF_ONE_ACTOR, CAS_GIVEN, TOKEN_AMOUNT = 4, TOKEN_SHIFT = 3 };

_Static_assert(CART_EDIT_RECORD_MAX >= 8 * VARINT_MAX + 4 + 8, "the longest record");

uint64_t cart_token_id(struct slice token)
{
    uint64_t id = hash_64(token);
    return id ? id : 1;
}

struct cart_token cart_token_of(const struct cart_result *result, uint64_t id, struct cart_dot dot,
                                uint64_t time_us, uint64_t args_hash)
{
    const struct cart_summary *summary = &result->summary;
    return (struct cart_token){.id = id,
                               .dot = dot,
                               .time_us = time_us,
                               .args = (uint32_t)args_hash,
                               .version = summary->version,
                               .cas = summary->cas,
                               .lines = summary->lines,
                               .qty = summary->qty,
                               .amount_known = summary->checked_amount_known,
                               .checked_amount = summary->checked_amount,
                               .line_qty = result->line_qty};
}

struct slice cart_token_recs(const struct cart *cart)
{
    if (cart->head.tokens == 0)
        return slice_of(NULL, 0);
    return slice_of(cart->tail.bytes + cart->tail_gap, cart->ids_at - cart->tail_gap);
}

struct slice cart_token_ids(const struct cart *cart)
{
    if (cart->head.tokens == 0)
        return slice_of(NULL, 0);
    return slice_of(cart->tail.bytes + cart->ids_at, cart->tail.len - cart->ids_at);
}

void cart_token_clear(struct cart *cart)
{
    cart->head.tokens = cart->head.last_token_us = 0;
    cart->ids_at = cart->tail.len = cart->tail_gap;
}

/* ---- walking ----------------------------------------------------------------------------------
 */

static bool take_u64(struct slice *in, uint64_t *out)
{
    if (in->len < 8)
        return false;
    memcpy(out, in->bytes, 8);
    *in = slice_from(*in, 8);
    return true;
}

static bool take_args(struct slice *in, uint32_t *out)
{
    if (in->len < 4)
        return false;
    memcpy(out, in->bytes, 4);
    *in = slice_from(*in, 4);
    return true;
}

static bool take_money(struct slice *in, int64_t *out)
{
    uint64_t value;
    if (!varint_take(in, &value) || value > INT64_MAX)
        return false;
    *out = (int64_t)value;
    return true;
}

static bool take_cas(struct slice *in, unsigned kind, struct cart_actor actor,
                     struct cart_token *out)
{
    out->cas = 0;
    if (kind == CAS_OF_ONE_ACTOR)
        out->cas = cart_vv_hash_one((struct cart_actor){actor.id, out->dot.seq});
    return kind != CAS_GIVEN || take_u64(in, &out->cas);
}

static bool take_record(struct slice *in, const struct cart_space *space, struct cart_token *out)
{
    uint64_t first, rest;
    if (!take_args(in, &out->args) || !varint_take(in, &first) || !varint_take(in, &out->dot.seq) ||
        !varint_take(in, &rest))
        return false;
    uint64_t place = first >> TOKEN_SHIFT;
    if (place >= space->actors_count || out->dot.seq == 0 ||
        out->dot.seq > space->actors[place].seq)
        return false;
    out->dot.actor = space->map ? space->map[place] : (uint32_t)place;
    out->version = out->dot.seq + rest;
    out->amount_known = first & TOKEN_AMOUNT;
    out->checked_amount = 0;
    return take_cas(in, first & 3, space->actors[place], out) && varint_take(in, &out->lines) &&
           varint_take(in, &out->qty) &&
           (!out->amount_known || take_money(in, &out->checked_amount)) &&
           take_money(in, &out->line_qty);
}

int cart_token_next(struct cart_token_walk *walk, struct cart_token *out)
{
    if (walk->ids.len == 0)
        return walk->recs.len ? CE_CORRUPT : CE_NOTFOUND;
    uint64_t later;
    if (!take_u64(&walk->ids, &out->id) || !varint_take(&walk->recs, &later))
        return CE_CORRUPT;
    walk->time_us += later;
    out->time_us = walk->time_us;
    if (walk->time_us > walk->space->stamp_us || out->id == 0)
        return CE_CORRUPT;
    return take_record(&walk->recs, walk->space, out) ? 0 : CE_CORRUPT;
}

static struct cart_token_walk walk_own(const struct cart *cart, const struct cart_space *space)
{
    return (struct cart_token_walk){.recs = cart_token_recs(cart),
                                    .ids = cart_token_ids(cart),
                                    .time_us = STAMP_EPOCH_US,
                                    .space = space};
}

/* ---- look-up ----------------------------------------------------------------------------------
 */

bool cart_token_has(struct slice ids, uint64_t id)
{
    enum { STRIDE = 8 };
    const uint8_t *at = ids.bytes;
    size_t left = ids.len / 8;
    for (; left >= STRIDE; left -= STRIDE, at += STRIDE * 8) {
        uint64_t block[STRIDE], hit = 0;
        memcpy(block, at, sizeof(block));
        for (int i = 0; i < STRIDE; i++)
            hit |= block[i] == id;
        if (hit)
            return true;
    }
    for (; left; left--, at += 8)
        if (memcmp(at, &id, 8) == 0)
            return true;
    return false;
}

bool cart_token_first_us(const struct cart_view *view, uint64_t *time_us)
{
    struct slice recs = view->recs;
    uint64_t later;
    if (!varint_take(&recs, &later) || later > view->head.stamp_us - STAMP_EPOCH_US)
        return false;
    *time_us = STAMP_EPOCH_US + later;
    return true;
}

int cart_token_find(const struct cart *cart, uint64_t id, uint64_t since_us, struct cart_token *out)
{
    if (!cart_token_has(cart_token_ids(cart), id))
        return CE_NOTFOUND;
    struct cart_space space = cart_space_of(cart);
    struct cart_token_walk walk = walk_own(cart, &space);
    struct cart_token token;
    bool found = false;
    int err;
    while (!(err = cart_token_next(&walk, &token))) {
        if (token.id != id || token.time_us < since_us ||
            (found && cart_dot_cmp(out->dot, token.dot) < 0))
            continue;
        *out = token;
        found = true;
    }
    return err == CE_NOTFOUND && found ? 0 : err;
}

/* ---- changing ---------------------------------------------------------------------------------
 */

static void drop_ids(struct cart *cart, size_t dropped)
{
    uint8_t *ids = cart->tail.bytes + cart->ids_at;
    size_t left = cart->tail.len - cart->ids_at - dropped * 8;
    memmove(ids, ids + dropped * 8, left);
    cart->tail.len -= dropped * 8;
    cart->head.tokens -= dropped;
}

int cart_token_expire(struct cart *cart, uint64_t before_us)
{
    struct cart_space space = cart_space_of(cart);
    struct cart_token_walk walk = walk_own(cart, &space);
    struct slice record = walk.recs;
    struct cart_token token;
    size_t dropped = 0;
    int err;
    while (!(err = cart_token_next(&walk, &token)) && token.time_us < before_us) {
        dropped++;
        record = walk.recs;
    }
    if (err == CE_CORRUPT || dropped == 0)
        return err == CE_NOTFOUND ? 0 : err;
    if (err == CE_NOTFOUND) {
        cart_token_clear(cart);
        return 0;
    }
    /* The first one left counts its time from the epoch; the bytes before it are free by now. */
    uint64_t later;
    uint8_t time[VARINT_MAX];
    MUST(varint_take(&record, &later));
    size_t time_len = varint_put(time, token.time_us - STAMP_EPOCH_US);
    cart->tail_gap = (size_t)(record.bytes - cart->tail.bytes) - time_len;
    memcpy(cart->tail.bytes + cart->tail_gap, time, time_len);
    drop_ids(cart, dropped);
    return 0;
}

static unsigned cas_kind(const struct cart_token *token, struct cart_actor actor)
{
    if (token->cas == 0)
        return CAS_NONE;
    actor.seq = token->dot.seq;
    return token->cas == cart_vv_hash_one(actor) ? CAS_OF_ONE_ACTOR : CAS_GIVEN;
}

size_t cart_token_put(uint8_t *out, const struct cart_head *head, struct cart_actor actor,
                      const struct cart_token *token)
{
    uint64_t from = head->tokens ? head->last_token_us : STAMP_EPOCH_US;
    unsigned kind = cas_kind(token, actor);
    unsigned flags = kind | (token->amount_known ? TOKEN_AMOUNT : 0);
    uint8_t *at = out;
    at += varint_put(at, token->time_us - from);
    memcpy(at, &token->args, 4);
    at += 4;
    at += varint_put(at, (uint64_t)token->dot.actor << TOKEN_SHIFT | flags);
    at += varint_put(at, token->dot.seq);
    at += varint_put(at, token->version - token->dot.seq);
    if (kind == CAS_GIVEN) {
        memcpy(at, &token->cas, 8);
        at += 8;
    }
    at += varint_put(at, token->lines);
    at += varint_put(at, token->qty);
    if (token->amount_known)
        at += varint_put(at, (uint64_t)token->checked_amount);
    at += varint_put(at, (uint64_t)token->line_qty);
    return (size_t)(at - out);
}

int cart_token_add(struct cart *cart, const struct cart_token *token)
{
    uint8_t record[CART_EDIT_RECORD_MAX];
    size_t record_len =
        cart_token_put(record, &cart->head, cart_actors(cart)[token->dot.actor], token);
    if (buf_reserve(&cart->tail, record_len + 8))
        return CE_NOMEM;
    uint8_t *ids = cart->tail.bytes + cart->ids_at;
    size_t ids_len = cart->tail.len - cart->ids_at;
    memmove(ids + record_len, ids, ids_len);
    memcpy(ids, record, record_len);
    memcpy(ids + record_len + ids_len, &token->id, 8);
    cart->ids_at += record_len;
    cart->tail.len += record_len + 8;
    cart->head.tokens++;
    cart->head.last_token_us = token->time_us;
    return 0;
}

/* cart_edit: the step that most clients ask for, found out on the bytes of a state: one ADD or SET
 * on a cart that is alive. It writes the front anew and one line, and adds the step's token behind
 * the others; all else stays where it is. What cart_apply and cart_store make of the same is the
 * same, byte for byte (I12).
 *
 * A line is *flat* when it shows what one SET says, one ADD, or a SET and an ADD. Nothing else
 * comes of single carts (CART_FOLD_ALONE). Whatever is not plain sailing is left to cart_apply. */
#include "cart/cart.h"

#include "cart/cart_int.h"

/* A line becomes longer by numbers only. */
enum { LINE_OLD_MAX = CART_EDIT_LINE_MAX - 128 };

/* The arguments of one op, encoded: a line key, numbers and the currency. */
enum { ARGS_BYTES_MAX = CART_LINE_KEY_MAX + 16 * VARINT_MAX };

/* What is known by now. */
struct plan {
    struct cart_view view;
    struct cart_flat flat;
    const struct cart_step *step;
    const struct cart_op *op;
    struct cart_dot dot;
    uint64_t stamp_us;
    uint64_t token;     /* id, 0 = none */
    uint64_t args_hash; /* of a step with a token */
    uint8_t *at;        /* where the next byte of the edit goes */
};

static bool step_fits(const struct cart_step *step)
{
    const unsigned flags = CART_OP_PRICE | CART_OP_CHECKED | CART_OP_CLAMP;
    const struct cart_op *op = step->ops;
    return step->ops_count == 1 && step->fold == CART_FOLD_ALONE &&
           step->token.len <= CART_TOKEN_MAX && step->life == CART_LIFE_KEEP &&
           step->life_us == 0 && !step->has_if_cas && step->now_us <= STAMP_MAX / 4 &&
           (op->kind == CART_ADD || op->kind == CART_SET) && (op->flags & ~flags) == 0 &&
           op->n <= INT32_MAX && op->n >= -INT32_MAX && op->price >= 0;
}

/* Nothing in it that the end of a step would have to settle. */
static bool head_fits(const struct cart_view *view, const struct cart_step *step)
{
    const struct cart_head *head = &view->head;
    const struct cart_meta *meta = &head->meta;
    return meta->alive && meta->moved_to.len == 0 && head->hidden == 0 &&
           view->actors_count <= CART_ACTORS_MAX && !cart_head_expired(head, step->now_us) &&
           head->stamp_us <= STAMP_MAX / 4 &&
           (!step->currency[0] || memcmp(step->currency, meta->currency, 4) == 0);
}

/* No token expires, and that of the step is new. */
static bool tokens_fit(struct plan *plan)
{
    const struct cart_step *step = plan->step;
    const struct cart_view *view = &plan->view;
    uint64_t first_us;
    plan->token = step->token.len ? cart_token_id(step->token) : 0;
    if (view->head.tokens == 0)
        return true;
    return cart_token_first_us(view, &first_us) && first_us + CART_TOKEN_LIFE_US >= step->now_us &&
           (!plan->token ||
            (view->head.tokens < CART_TOKENS_MAX && !cart_token_has(view->ids, plan->token)));
}

/* As cart_apply does, in memory of its own. */
static bool hash_args(struct plan *plan)
{
    const struct cart_step *step = plan->step;
    const struct cart_op *op = plan->op;
    uint8_t bytes[ARGS_BYTES_MAX];
    struct buf room = {.bytes = bytes, .cap = sizeof bytes};
    size_t texts_len = op->line.len + op->new_line.len + op->shop.len + op->ext.len;
    plan->args_hash = step->args_hash;
    if (!plan->token || !step->limits)
        return true;
    if (step->args.len || texts_len > CART_LINE_KEY_MAX)
        return false;
    MUST(cart_step_args_hash(step, &room, &plan->args_hash) == 0);
    MUST(room.bytes == bytes); /* there was room for all */
    return true;
}

/* Copies the vector with the step's event counted in. */
static bool put_vector(struct plan *plan)
{
    struct slice rest = plan->view.vv;
    const uint8_t *from = rest.bytes;
    struct cart_actor actor;
    for (uint32_t place = 0; cart_actor_take(&rest, &actor); place++) {
        if (actor.id != plan->step->actor)
            continue;
        size_t before = (size_t)(rest.bytes - from) - varint_len(actor.seq);
        plan->dot = (struct cart_dot){.actor = place, .seq = actor.seq + 1};
        memcpy(plan->at, from, before);
        plan->at += before;
        plan->at += varint_put(plan->at, plan->dot.seq);
        memcpy(plan->at, rest.bytes, rest.len);
        plan->at += rest.len;
        return actor.seq < SEQ_MAX;
    }
    return false;
}

/* The line, or the one that is to be made. */
static bool find_line(struct plan *plan, struct cart_edit *edit)
{
    const struct cart_op *op = plan->op;
    struct slice lines = plan->view.lines, bytes;
    int rc = cart_line_seek(lines, op->line, &bytes);
    if (rc == 0) {
        edit->line_old_bytes = bytes.len;
        edit->line_at = (size_t)(bytes.bytes - lines.bytes);
        return bytes.len <= LINE_OLD_MAX && cart_flat_take(bytes, &plan->flat);
    }
    edit->line_at = lines.len;
    edit->line_old_bytes = 0;
    plan->flat = (struct cart_flat){.shows = {.line = op->line,
                                              .checked = true,
                                              .has_price = op->flags & CART_OP_PRICE,
                                              .price = op->price,
                                              .added_us = plan->stamp_us}};
    return rc == CE_NOTFOUND && cart_line_key_ok(op->line) &&
           plan->view.head.all.lines < CART_LINES_HARD;
}

static bool entry_fits(int64_t qty)
{
    return qty != 0 && qty <= ENTRY_QTY_MAX && qty >= -ENTRY_QTY_MAX;
}

/* Does the line stay visible, flat and within the limits? */
static bool line_fits(const struct plan *plan, int64_t qty)
{
    const struct cart_op *op = plan->op;
    const struct cart_limits *limits = plan->step->limits;
    const struct cart_flat *flat = &plan->flat;
    bool made = !flat->has_set && !flat->has_add;
    bool beside_set = op->kind == CART_ADD && flat->has_set;
    if (beside_set &&
        (cart_dot_cmp(flat->set.dot, plan->dot) >= 0 || !entry_fits(flat->add_qty + op->n)))
        return false;
    return qty > 0 && qty <= LINE_QTY_MAX &&
           (flat->shows.has_price || !(op->flags & CART_OP_PRICE)) &&
           (!limits || op->n <= 0 || qty <= limits->qty_max) &&
           (!limits || !made || plan->view.head.all.lines < limits->lines_max);
}

/* What the line has and shows afterwards, and the counters. */
static bool change_line(struct plan *plan, struct cart_head *head)
{
    const struct cart_op *op = plan->op;
    struct cart_flat *flat = &plan->flat;
    struct cart_line *line = &flat->shows;
    bool add = op->kind == CART_ADD;
    int64_t qty = add ? line->qty + op->n : op->n;
    if (!line_fits(plan, qty))
        return false;
    cart_head_count(head, line, -1);
    line->qty = qty;
    if (op->flags & CART_OP_CHECKED)
        line->checked = op->checked;
    else if (add)
        line->checked = true;
    if (op->flags & CART_OP_PRICE && !add)
        line->price = op->price;
    line->updated_us = plan->stamp_us;
    flat->add_qty = add ? flat->add_qty + op->n : 0;
    flat->has_add = add;
    flat->has_set = !add || flat->has_set;
    flat->dot = plan->dot;
    cart_head_count(head, line, 1);
    return head->all.amount <= INT64_MAX;
}

static void change_head(const struct plan *plan, struct cart_head *head)
{
    struct cart_meta *meta = &head->meta;
    uint64_t expiry_us = plan->step->now_us + meta->ttl_us;
    head->stamp_us = plan->stamp_us;
    if (!meta->sliding || meta->expiry_us == expiry_us)
        return;
    meta->expiry_us = expiry_us ? expiry_us : 1; /* 0 means none */
    meta->ts_us = plan->stamp_us;
    meta->actor = plan->dot.actor;
}

static void tell(const struct plan *plan, struct slice vv, struct cart_result *result)
{
    *result = (struct cart_result){.failed_index = CART_NO_OP,
                                   .changed = true,
                                   .seq = plan->dot.seq,
                                   .line_qty = plan->flat.shows.qty};
    cart_head_summary(&plan->view.head, plan->view.version + 1, cart_vv_hash(vv),
                      plan->step->now_us, &result->summary);
}

/* What the token stands for, with the answer that a retry gets. */
static void write_token(struct plan *plan, struct cart_edit *edit, const struct cart_result *result)
{
    struct cart_head *head = &plan->view.head;
    struct cart_actor actor = {.id = plan->step->actor, .seq = plan->dot.seq};
    edit->record_bytes = 0;
    edit->id = plan->token;
    if (!plan->token)
        return;
    struct cart_token token =
        cart_token_of(result, plan->token, plan->dot, plan->stamp_us, plan->args_hash);
    edit->record_bytes = cart_token_put(edit->record, head, actor, &token);
    head->tokens++;
    head->last_token_us = plan->stamp_us;
}

/* Vector, line, token and the rest of the front: in this order, for each needs the one before it.
 */
static bool write_all(struct plan *plan, struct cart_edit *edit, struct cart_result *result)
{
    struct cart_view *view = &plan->view;
    struct cart_head *head = &view->head;
    uint8_t vector[CART_ACTORS_MAX * ACTOR_BYTES_MAX];
    plan->at = vector;
    if (!put_vector(plan) || !change_line(plan, head))
        return false;
    struct slice vv = slice_of(vector, (size_t)(plan->at - vector));
    change_head(plan, head);
    edit->line_bytes = cart_flat_put(&plan->flat, edit->line);
    size_t lines_len = view->lines.len - edit->line_old_bytes + edit->line_bytes;
    tell(plan, vv, result);
    write_token(plan, edit, result);
    uint64_t flags = cart_head_flags(head);
    plan->at = cart_head_begin(edit->front, flags, view->actors_count);
    memcpy(plan->at, vv.bytes, vv.len);
    plan->at = cart_head_end(plan->at + vv.len, head, flags, lines_len,
                             view->recs.len + edit->record_bytes);
    edit->front_bytes = (size_t)(plan->at - edit->front);
    const struct cart_limits *limits = plan->step->limits;
    uint64_t max = limits ? limits->state_bytes_max : CART_STATE_BYTES_HARD / 2;
    return lines_len <= view->lines.len || lines_len <= max;
}

bool cart_edit_plan(struct slice state, struct cart_step *step, struct cart_edit *edit,
                    struct cart_result *result)
{
    struct plan plan;
    plan.step = step;
    plan.op = step->ops;
    if (!step_fits(step) || cart_view_open(state, &plan.view) || !head_fits(&plan.view, step) ||
        !tokens_fit(&plan) || !hash_args(&plan))
        return false;
    plan.stamp_us = plan.view.head.stamp_us + 1;
    if (step->now_us > plan.stamp_us)
        plan.stamp_us = step->now_us;
    if (!find_line(&plan, edit) || !write_all(&plan, edit, result))
        return false;
    edit->front_old_bytes = (size_t)(plan.view.lines.bytes - state.bytes);
    edit->line_at += edit->front_old_bytes;
    edit->ids_at = state.len - plan.view.ids.len;
    edit->old_bytes = state.len;
    edit->new_bytes = state.len - edit->front_old_bytes + edit->front_bytes - edit->line_old_bytes +
                      edit->line_bytes + edit->record_bytes +
                      (edit->record_bytes ? sizeof edit->id : 0);
    step->args_hash = plan.args_hash;
    if (step->limits)
        step->clamped = step->expired = false;
    return true;
}

/* Bytes that stay as they are. */
struct kept {
    size_t from, len, to;
};

/* What goes up leaves from the highest on, what goes down from the lowest: so nothing is written
 * over that still has to move. */
static void move_all(uint8_t *state, const struct kept *kept, size_t count)
{
    for (size_t i = count; i > 0; i--)
        if (kept[i - 1].to > kept[i - 1].from)
            memmove(state + kept[i - 1].to, state + kept[i - 1].from, kept[i - 1].len);
    for (size_t i = 0; i < count; i++)
        if (kept[i].to < kept[i].from)
            memmove(state + kept[i].to, state + kept[i].from, kept[i].len);
}

void cart_edit_do(const struct cart_edit *edit, uint8_t *state)
{
    struct kept lines = {.from = edit->front_old_bytes,
                         .len = edit->line_at - edit->front_old_bytes,
                         .to = edit->front_bytes};
    size_t line_to = lines.to + lines.len;
    struct kept rest = {.from = edit->line_at + edit->line_old_bytes,
                        .to = line_to + edit->line_bytes};
    rest.len = edit->ids_at - rest.from;
    size_t record_to = rest.to + rest.len;
    struct kept ids = {.from = edit->ids_at,
                       .len = edit->old_bytes - edit->ids_at,
                       .to = record_to + edit->record_bytes};
    move_all(state, (struct kept[]){lines, rest, ids}, 3);
    memcpy(state, edit->front, edit->front_bytes);
    memcpy(state + line_to, edit->line, edit->line_bytes);
    if (edit->record_bytes) {
        memcpy(state + record_to, edit->record, edit->record_bytes);
        memcpy(state + ids.to + ids.len, &edit->id, sizeof edit->id);
    }
}

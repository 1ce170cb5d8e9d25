#include "edit_check.h"

enum { OPS_MAX = 8 };

/* A step of one's own, for cart_apply and cart_edit_plan write into it. */
struct trial {
    struct cart_op ops[OPS_MAX];
    struct cart_step step;
    struct cart_result result;
};

static void begin(struct trial *trial, const struct cart_step *step)
{
    trial->step = *step;
    trial->step.fold = CART_FOLD_ALONE;
    trial->step.ops = trial->ops;
    memcpy(trial->ops, step->ops, step->ops_count * sizeof *step->ops);
}

static bool same_summary(const struct cart_summary *a, const struct cart_summary *b)
{
    return a->version == b->version && a->cas == b->cas && a->exists == b->exists &&
           a->amount_known == b->amount_known && a->amount == b->amount &&
           a->checked_amount_known == b->checked_amount_known &&
           a->checked_amount == b->checked_amount && a->lines == b->lines && a->qty == b->qty &&
           a->checked_lines == b->checked_lines && a->checked_qty == b->checked_qty &&
           memcmp(a->currency, b->currency, 4) == 0 && a->expiry_us == b->expiry_us &&
           a->updated_us == b->updated_us && slice_eq(a->moved_to, b->moved_to);
}

static bool same_outcome(const struct trial *a, const struct trial *b)
{
    const struct cart_result *one = &a->result, *two = &b->result;
    return same_summary(&one->summary, &two->summary) && one->seq == two->seq &&
           one->line_qty == two->line_qty && one->changed == two->changed &&
           one->repeated == two->repeated && one->clamped == two->clamped &&
           one->expired == two->expired && one->failed_index == two->failed_index &&
           a->step.clamped == b->step.clamped && a->step.expired == b->step.expired &&
           (a->step.token.len == 0 || a->step.args_hash == b->step.args_hash) &&
           a->ops[0].n == b->ops[0].n;
}

/* In memory that has just the room it asked for. */
static bool edit_gives(struct slice state, const struct cart_edit *edit, struct slice want)
{
    size_t room = edit->new_bytes > state.len ? edit->new_bytes : state.len;
    struct buf place = {0};
    MUST(edit->old_bytes == state.len);
    MUST(buf_reserve(&place, room) == 0);
    memcpy(place.bytes, state.bytes, state.len);
    cart_edit_do(edit, place.bytes);
    bool same = slice_eq(slice_of(place.bytes, edit->new_bytes), want);
    buf_free(&place);
    return same;
}

enum edit_verdict edit_check(struct slice state, const struct cart_step *step)
{
    struct trial quick, slow;
    struct cart_edit edit;
    struct cart *cart;
    struct slice after;
    if (step->ops_count > OPS_MAX || step->ops_count == 0)
        return EDIT_NOT;
    begin(&quick, step);
    begin(&slow, step);
    if (!cart_edit_plan(state, &quick.step, &edit, &quick.result))
        return EDIT_NOT;
    MUST(cart_new(&cart) == 0);
    bool same = cart_load(cart, state) == 0 && cart_apply(cart, &slow.step, &slow.result) == 0 &&
                cart_store(cart, &after) == 0 && same_outcome(&quick, &slow) &&
                edit_gives(state, &edit, after);
    cart_free(&cart);
    return same ? EDIT_SAME : EDIT_DIFFERS;
}

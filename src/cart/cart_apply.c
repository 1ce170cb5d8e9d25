/* cart_apply: one step on a cart.
 *
 * Known token: answer as the first time. Else: condition, a life that has ended, the next event of
 * the actor, the ops in order, limits, then what belongs to the step as a whole (life, currency,
 * token, pruning). A step that finds nothing to do and has no token takes its event back. */
#include "cart/cart.h"

#include "cart/cart_int.h"

int cart_summary_loaded(struct cart *cart, uint64_t now_us, struct cart_summary *out)
{
    MUST_OBJ(cart, CART_MAGIC);
    uint64_t version = 0, cas = 0;
    if (cart_actors_count(cart) && cart_version(cart, &version, &cas))
        return CE_NOMEM;
    cart_head_summary(&cart->head, version, cas, now_us, out);
    return 0;
}

/* ---- before the ops ---------------------------------------------------------------------------
 */

static int check_step(const struct cart *cart, const struct cart_step *step)
{
    MUST(step->ops_count <= CART_STEP_OPS_MAX);
    if (step->token.len > CART_TOKEN_MAX)
        return CE_BAD_FLAG;
    if (step->currency[0] && !cart_currency_ok(step->currency))
        return CE_BAD_FLAG;
    /* Stamps near the end of time: only damaged clocks and hostile states get there. */
    bool far = step->now_us > STAMP_MAX / 4 || step->life_us > STAMP_MAX / 4 ||
               cart->head.stamp_us > STAMP_MAX - 2 * CART_STEP_OPS_MAX;
    return far ? CE_SIZE_LIMIT : 0;
}

/* The answer of the first time, for the fields a token remembers. */
static void answer_again(const struct cart_token *token, struct cart_result *result)
{
    struct cart_summary *summary = &result->summary;
    summary->version = token->version;
    summary->cas = token->cas;
    summary->exists = token->cas != 0;
    summary->lines = (uint32_t)token->lines;
    summary->qty = (uint32_t)token->qty;
    summary->checked_amount_known = token->amount_known;
    summary->checked_amount = token->checked_amount;
    result->line_qty = token->line_qty;
    result->repeated = true;
}

/* 0 = a new token; 1 = a known one, answered. */
static int check_token(struct cart_run *run)
{
    struct cart_step *step = run->step;
    struct cart_token token;
    if (step->token.len == 0)
        return 0;
    run->token = cart_token_id(step->token);
    int err = 0;
    if (step->limits && step->args.len)
        step->args_hash = hash_64(step->args);
    else if (step->limits)
        err = cart_step_args_hash(step, &run->cart->scratch, &step->args_hash);
    if (!err)
        err = cart_token_find(run->cart, run->token, run->horizon_us, &token);
    if (err)
        return err == CE_NOTFOUND ? 0 : err;
    if (token.args != (uint32_t)step->args_hash)
        return CE_TOKEN_REUSED;
    answer_again(&token, run->result);
    return 1;
}

static int check_condition(const struct cart_run *run)
{
    const struct cart_step *step = run->step;
    if (!step->has_if_cas)
        return 0;
    /* The cas of a cart that does not exist is 0. */
    return run->result->summary.cas == step->if_cas ? 0 : CE_EXISTS;
}

/* ---- after the ops ----------------------------------------------------------------------------
 */

static bool exists_after(const struct cart_run *run)
{
    return run->cart->head.all.lines > 0 || run->meta.alive;
}

static int give_currency(struct cart_run *run)
{
    const char *given = run->step->currency;
    struct cart_meta *meta = &run->meta;
    if (!given[0])
        return 0;
    if (!meta->currency[0])
        memcpy(meta->currency, given, sizeof(meta->currency));
    return memcmp(meta->currency, given, 3) == 0 ? 0 : CE_CURRENCY;
}

static void give_life(struct cart_run *run)
{
    const struct cart_step *step = run->step;
    struct cart_meta *meta = &run->meta;
    if (step->life != CART_LIFE_KEEP) {
        meta->sliding = step->life == CART_LIFE_SLIDING;
        meta->ttl_us = meta->sliding ? step->life_us : 0;
        meta->expiry_us = 0;
    }
    if (step->life == CART_LIFE_FIXED)
        meta->expiry_us = step->life_us ? step->life_us : 1; /* 0 means none */
    if (meta->sliding)
        meta->expiry_us = step->now_us + meta->ttl_us ? step->now_us + meta->ttl_us : 1;
}

static bool meta_same(const struct cart_meta *a, const struct cart_meta *b)
{
    return a->alive == b->alive && a->sliding == b->sliding && a->expiry_us == b->expiry_us &&
           a->ttl_us == b->ttl_us && slice_eq(a->moved_to, b->moved_to) &&
           memcmp(a->currency, b->currency, sizeof(a->currency)) == 0;
}

static int write_meta(struct cart_run *run)
{
    struct cart_meta *meta = &run->cart->head.meta;
    if (exists_after(run) || run->meta.moved_to.len)
        give_life(run);
    else
        run->meta = (struct cart_meta){.ts_us = meta->ts_us, .actor = meta->actor};
    if (meta_same(&run->meta, meta))
        return 0;
    *meta = run->meta;
    meta->ts_us = run->stamp_us;
    meta->actor = run->dot.actor;
    return cart_own_moved(run->cart);
}

/* Limits bind only what grows, so that a cart that a merge took beyond them can be taken back. */
static int check_limits(struct cart_run *run, const struct cart_counts *before, size_t bytes_before)
{
    const struct cart_limits *limits = run->step->limits;
    const struct cart_counts *all = &run->cart->head.all;
    size_t bytes = run->cart->lines.len;
    if (bytes > bytes_before && bytes > CART_STATE_BYTES_HARD / 2)
        return CE_SIZE_LIMIT;
    if (!limits)
        return 0;
    if (all->lines > limits->lines_max && all->lines > before->lines) {
        run->result->failed_index = run->made_index;
        return CE_LINE_LIMIT;
    }
    if (all->amount > INT64_MAX && all->amount > before->amount) {
        run->result->failed_index = run->paid_index;
        return CE_QTY_LIMIT;
    }
    run->result->failed_index = run->grown_index;
    return bytes > bytes_before && bytes > limits->state_bytes_max ? CE_SIZE_LIMIT : 0;
}

static int record_token(struct cart_run *run)
{
    if (!run->token)
        return 0;
    struct cart_token token =
        cart_token_of(run->result, run->token, run->dot, run->stamp_us, run->step->args_hash);
    return cart_token_add(run->cart, &token);
}

static int finish(struct cart_run *run)
{
    struct cart *cart = run->cart;
    int err = give_currency(run);
    if (err)
        return err;
    err = write_meta(run);
    cart->head.stamp_us = run->stamp_us;
    if (!err)
        err = cart_hidden_purge(cart);
    if (!err)
        err = cart_token_expire(cart, run->horizon_us);
    if (!err && cart->head.tokens >= CART_TOKENS_MAX && run->token)
        err = CE_BUSY;
    /* Places first, then the summary and the token that speak of them. */
    if (!err)
        err = cart_actors_prune(cart, &run->dot);
    if (!err)
        err = cart_summary_loaded(cart, run->step->now_us, &run->result->summary);
    return err ? err : record_token(run);
}

/* ---- the step ---------------------------------------------------------------------------------
 */

/* A cart whose life has ended is as empty as a new one, for this step and all later ones. */
static void drop_expired(struct cart_run *run)
{
    struct cart_head *head = &run->cart->head;
    run->cart->lines.len = 0;
    head->all = head->checked = (struct cart_counts){0};
    head->hidden = 0;
    run->meta = (struct cart_meta){.ts_us = head->meta.ts_us, .actor = head->meta.actor};
}

static int run_ops(struct cart_run *run)
{
    struct cart *cart = run->cart;
    struct cart_step *step = run->step;
    for (size_t i = 0; i < step->ops_count; i++) {
        size_t bytes = cart->lines.len;
        cart_big amount = cart->head.all.amount;
        run->result->failed_index = i;
        int err = cart_op_run(run, &step->ops[i]);
        if (err)
            return err;
        run->grown_index = cart->lines.len > bytes ? i : run->grown_index;
        run->paid_index = cart->head.all.amount > amount ? i : run->paid_index;
    }
    return 0;
}

static int run_step(struct cart_run *run)
{
    struct cart *cart = run->cart;
    run->expired = cart_head_expired(&cart->head, run->step->now_us);
    int err = cart_actor_next(cart, run->step->actor, &run->dot);
    if (err)
        return err;
    const struct cart_head before = cart->head;
    const size_t bytes_before = cart->lines.len;
    run->meta = before.meta;
    if (run->expired)
        drop_expired(run);
    const struct cart_counts counts = cart->head.all;
    const size_t bytes = cart->lines.len;
    run->stamp_us = before.stamp_us + 1;
    if (run->step->now_us > run->stamp_us)
        run->stamp_us = run->step->now_us;
    err = run_ops(run);
    if (err)
        return err;
    if (!run->changed && !run->token) {
        cart->lines.len = bytes_before; /* nothing was written over what drop_expired hid */
        cart->head = before;
        err = cart_actor_undo(cart, run->dot);
        return err ? err : cart_summary_loaded(cart, run->step->now_us, &run->result->summary);
    }
    run->result->changed = true;
    run->result->seq = run->dot.seq;
    run->result->expired = run->expired;
    err = check_limits(run, &counts, bytes);
    if (err)
        return err;
    run->result->failed_index = CART_NO_OP;
    return finish(run);
}

static struct cart_run begin(struct cart *cart, struct cart_step *step, struct cart_result *result)
{
    struct cart_run run = {.cart = cart, .step = step, .result = result};
    MUST_OBJ(cart, CART_MAGIC);
    if (step->now_us > CART_TOKEN_LIFE_US)
        run.horizon_us = step->now_us - CART_TOKEN_LIFE_US;
    *result = (struct cart_result){.failed_index = CART_NO_OP};
    return run;
}

int cart_repeat(struct cart *cart, struct cart_step *step, struct cart_result *result)
{
    struct cart_run run = begin(cart, step, result);
    int err = step->token.len > CART_TOKEN_MAX ? CE_BAD_FLAG : check_token(&run);
    if (err < 0)
        return err;
    return err ? 0 : CE_NOTFOUND;
}

/* May the answer speak of the cart as it was: of a refusal, or beside what a token remembers? */
static bool tells_before(const struct cart_step *step)
{
    bool tells = step->has_if_cas || step->token.len;
    for (size_t i = 0; i < step->ops_count && !tells; i++) {
        const struct cart_op *op = &step->ops[i];
        bool plain = op->kind == CART_ADD || op->kind == CART_SET || op->kind == CART_REMOVE;
        tells = !plain || op->flags & (CART_OP_IF_ABSENT | CART_OP_IF_PRESENT);
    }
    return tells;
}

int cart_apply(struct cart *cart, struct cart_step *step, struct cart_result *result)
{
    struct cart_run run = begin(cart, step, result);
    int err = check_step(cart, step);
    if (!err && tells_before(step))
        err = cart_summary_loaded(cart, step->now_us, &result->summary);
    if (!err)
        err = check_token(&run);
    if (err)
        return err < 0 ? err : 0;
    err = check_condition(&run);
    if (!err)
        err = run_step(&run);
    if (!err && step->limits) {
        step->clamped = result->clamped;
        step->expired = result->expired;
    }
    return err;
}

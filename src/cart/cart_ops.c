/* cart_ops: what each operation does to the lines of a cart (cart-model section 2).
 *
 * A write takes the line apart, changes the row and puts it back. All that one step writes on one
 * line is one entry and one info, both with the dot of the step. A refusal leaves the scratch half
 * done; cart_apply says so to the caller. Limits are checked only when the step carries them. */
#include "cart/cart.h"

#include "cart/cart_int.h"

/* Where a line stands among the lines. */
struct spot {
    size_t at, len;
    bool found, visible;
    struct cart_line line;
};

static int locate(struct cart *cart, struct slice key, struct spot *spot)
{
    struct slice bytes;
    *spot = (struct spot){.at = cart->lines.len};
    int err = cart_line_seek(buf_slice(&cart->lines), key, &bytes);
    if (err)
        return err == CE_NOTFOUND ? 0 : err;
    spot->at = (size_t)(bytes.bytes - cart->lines.bytes);
    spot->len = bytes.len;
    spot->found = true;
    err = cart_line_take(&bytes, &bytes, &spot->line);
    spot->visible = spot->line.qty > 0;
    return err;
}

static bool exists(const struct cart_run *run)
{
    return run->cart->head.all.lines > 0 || run->meta.alive;
}

/* Someone writes here: it is a cart, whatever it was before. */
static void come_alive(struct cart_run *run)
{
    run->changed = true;
    run->meta.alive = true;
    run->meta.moved_to = slice_of(NULL, 0);
}

static int64_t shown_qty(const struct spot *spot)
{
    return spot->visible ? spot->line.qty : 0;
}

/* Cuts the line out of the bytes; counters follow. */
static int cut_line(struct cart_run *run, const struct spot *spot)
{
    run->changed = true;
    cart_head_count(&run->cart->head, &spot->line, -1);
    return buf_splice(&run->cart->lines, spot->at, spot->len, slice_of(NULL, 0));
}

/* Puts cart->row in place of the line at `spot`; a line that was not visible goes to the end, where
 * the newest belong. */
static int put_row(struct cart_run *run, struct spot *spot)
{
    struct cart *cart = run->cart;
    struct cart_line shows;
    cart->scratch.len = 0;
    int err = cart_row_write(&cart->row, &cart->scratch, &shows);
    if (err)
        return err;
    int64_t qty = shows.qty;
    cart_head_count(&cart->head, &shows, 1);
    if (spot->found && !spot->visible) {
        err = cut_line(run, spot);
        if (err)
            return err;
        spot->at = cart->lines.len;
        spot->len = 0;
    } else if (spot->found) {
        cart_head_count(&cart->head, &spot->line, -1);
    }
    come_alive(run);
    run->result->line_qty = qty;
    return buf_splice(&cart->lines, spot->at, spot->len, buf_slice(&cart->scratch));
}

/* Takes the line at `spot` apart into cart->row; one that is not visible starts afresh, so what a
 * merge left of it is dropped like everything a step has seen. Fills *info with what was shown. */
static int open_row(struct cart_run *run, const struct spot *spot, struct slice key,
                    struct cart_info *info)
{
    struct cart *cart = run->cart;
    if (!spot->visible) {
        cart_row_reset(&cart->row, key);
        if (run->stamp_taken)
            run->stamp_us++;
        run->stamp_taken = true;
        run->made_index = run->result->failed_index;
        *info = (struct cart_info){.checked = true, .added_us = run->stamp_us};
        return 0;
    }
    struct cart_space space = cart_space_of(cart);
    struct slice bytes = slice_of(cart->lines.bytes + spot->at, spot->len);
    int err = cart_row_read(bytes, &space, &cart->row);
    if (!err && cart->row.infos_count)
        *info = cart->row.infos[0];
    else
        *info = (struct cart_info){.checked = true};
    return err;
}

/* Makes `info` the only one of the row, written by this step. */
static int write_info(struct cart_run *run, struct cart_info *info)
{
    struct cart_row *row = &run->cart->row;
    info->dot = run->dot;
    info->updated_us = run->stamp_us;
    row->infos_count = 0;
    return cart_row_add_info(row, info);
}

static void give_fields(const struct cart_op *op, bool keep_price, struct cart_info *info)
{
    if (op->flags & CART_OP_PRICE && !(keep_price && info->has_price)) {
        info->has_price = true;
        info->price = op->price;
    }
    if (op->flags & CART_OP_SHOP)
        info->shop = op->shop;
    if (op->flags & CART_OP_EXT)
        info->ext = op->ext;
}

/* ---- entries and folding ----------------------------------------------------------------------
 */

static void drop_entry(struct cart_row *row, size_t at)
{
    row->entries_count--;
    memmove(row->entries + at, row->entries + at + 1,
            (row->entries_count - at) * sizeof(*row->entries));
}

/* Puts an entry at its place in the order of dots. */
static int insert_entry(struct cart_row *row, const struct cart_entry *entry)
{
    int err = cart_row_add_entry(row, entry);
    if (err)
        return err;
    size_t at = row->entries_count - 1;
    while (at > 0 && cart_dot_cmp(row->entries[at - 1].dot, entry->dot) > 0) {
        row->entries[at] = row->entries[at - 1];
        at--;
    }
    row->entries[at] = *entry;
    return 0;
}

/* The seq of this actor's oldest event that a live token stands for; older ones are free to fold.
 */
static uint64_t first_token_seq(const struct cart_run *run)
{
    struct cart_space space = cart_space_of(run->cart);
    struct cart_token_walk walk = {.recs = cart_token_recs(run->cart),
                                   .ids = cart_token_ids(run->cart),
                                   .time_us = STAMP_EPOCH_US,
                                   .space = &space};
    struct cart_token token;
    while (!cart_token_next(&walk, &token))
        if (token.dot.actor == run->dot.actor && token.time_us >= run->horizon_us)
            return token.dot.seq;
    return UINT64_MAX;
}

static bool own_add(const struct cart_run *run, const struct cart_entry *entry)
{
    return !entry->is_set && entry->dot.actor == run->dot.actor;
}

/* Whether the own entries of the row are due to be folded, and up to which token. */
static bool fold_due(const struct cart_run *run, uint64_t *token_seq)
{
    const struct cart_row *row = &run->cart->row;
    size_t own = 0, tokened = 0;
    *token_seq = UINT64_MAX;
    for (size_t i = 0; i < row->entries_count; i++) {
        own += own_add(run, &row->entries[i]);
        tokened += own_add(run, &row->entries[i]) && row->entries[i].token;
    }
    if (own < CART_FOLD_MAX || tokened == 0)
        return own >= CART_FOLD_MAX;
    *token_seq = first_token_seq(run);
    for (size_t i = 0; i < row->entries_count; i++)
        own -= own_add(run, &row->entries[i]) && row->entries[i].token &&
               row->entries[i].dot.seq >= *token_seq;
    return own >= CART_FOLD_MAX;
}

/* Moves what the step's fold rule allows out of the row's entries into `mine`. What an entry with a
 * token takes over is carried beside its own quantity: it counts even if the entry turns out to be
 * a retry. */
static void fold(const struct cart_run *run, struct cart_entry *mine)
{
    struct cart_row *row = &run->cart->row;
    enum cart_fold rule = run->step->fold;
    uint64_t token_seq = UINT64_MAX;
    if (rule == CART_FOLD_NONE || (rule == CART_FOLD_OWN && !fold_due(run, &token_seq)))
        return;
    for (size_t i = row->entries_count; i-- > 0;) {
        const struct cart_entry *entry = &row->entries[i];
        bool own_free = own_add(run, entry) && (!entry->token || entry->dot.seq < token_seq);
        if (entry->is_set || (rule == CART_FOLD_OWN && !own_free))
            continue;
        int64_t qty = (entry->hidden ? 0 : entry->qty) + entry->carried;
        if (mine->token)
            mine->carried += qty;
        else
            mine->qty += qty;
        drop_entry(row, i);
    }
}

static bool entry_fits(const struct cart_entry *entry)
{
    return entry->qty <= ENTRY_QTY_MAX && entry->qty >= -ENTRY_QTY_MAX &&
           entry->carried <= ENTRY_QTY_MAX && entry->carried >= -ENTRY_QTY_MAX;
}

/* Adds n to the row: to what this step already wrote there, else as an entry of its own. */
static int add_entry(const struct cart_run *run, int64_t n)
{
    struct cart_row *row = &run->cart->row;
    struct cart_entry mine = {.dot = run->dot};
    if (run->token && run->step->fold != CART_FOLD_ALONE) {
        mine.token = run->token;
        mine.ts_us = run->stamp_us;
    }
    for (size_t i = 0; i < row->entries_count; i++) {
        if (cart_dot_cmp(row->entries[i].dot, run->dot) != 0)
            continue;
        mine = row->entries[i];
        drop_entry(row, i);
        break;
    }
    if (!mine.is_set)
        fold(run, &mine);
    mine.qty += n;
    if (!entry_fits(&mine))
        return CE_QTY_LIMIT;
    bool empty = !mine.is_set && mine.qty == 0 && mine.carried == 0;
    return empty ? 0 : insert_entry(row, &mine);
}

static int set_entry(const struct cart_run *run, int64_t n)
{
    struct cart_row *row = &run->cart->row;
    struct cart_entry mine = {.dot = run->dot, .is_set = true, .qty = n, .ts_us = run->stamp_us};
    row->entries_count = 0;
    return cart_row_add_entry(row, &mine);
}

/* ---- checks -----------------------------------------------------------------------------------
 */

static int check_fields(const struct cart_run *run, const struct cart_op *op)
{
    const struct cart_limits *limits = run->step->limits;
    uint32_t ext_max = limits ? limits->ext_bytes_max : CART_EXT_HARD;
    if (op->flags & CART_OP_PRICE && op->price < 0)
        return CE_BAD_QTY;
    if (op->flags & CART_OP_SHOP && op->shop.len > CART_SHOP_MAX)
        return CE_BAD_FLAG;
    if (op->flags & CART_OP_EXT && op->ext.len > ext_max)
        return CE_SIZE_LIMIT;
    return 0;
}

static int check_condition(const struct cart_op *op, const struct spot *spot)
{
    if (op->flags & CART_OP_IF_ABSENT && spot->visible)
        return CE_EXISTS;
    if (op->flags & CART_OP_IF_PRESENT && !spot->visible)
        return CE_NOTFOUND;
    return 0;
}

/* Finds the line of an op and checks all that does not depend on the kind. */
static int find_line(struct cart_run *run, const struct cart_op *op, struct spot *spot)
{
    if (!cart_line_key_ok(op->line))
        return CE_BAD_LINE;
    int err = check_fields(run, op);
    if (!err)
        err = locate(run->cart, op->line, spot);
    return err ? err : check_condition(op, spot);
}

/* Cuts `*n` down so that have + *n does not pass the limit, or refuses. */
static int limit_qty(struct cart_run *run, const struct cart_op *op, int64_t have, int64_t *n)
{
    if (!run->step->limits || *n <= 0)
        return 0;
    int64_t max = run->step->limits->qty_max;
    int64_t room = have < max ? max - have : 0;
    if (*n <= room)
        return 0;
    if (!(op->flags & CART_OP_CLAMP))
        return CE_QTY_LIMIT;
    *n = room;
    run->result->clamped = true;
    return 0;
}

/* ---- the operations ---------------------------------------------------------------------------
 */

static int remove_line(struct cart_run *run, const struct spot *spot)
{
    return spot->visible ? cut_line(run, spot) : 0;
}

static int run_add(struct cart_run *run, struct cart_op *op)
{
    struct spot spot;
    struct cart_info info;
    if (op->n > INT32_MAX || op->n < -INT32_MAX)
        return CE_BAD_QTY;
    int err = find_line(run, op, &spot);
    if (err)
        return err;
    int64_t have = shown_qty(&spot);
    err = limit_qty(run, op, have, &op->n);
    if (err)
        return err;
    if (have + op->n <= 0)
        return remove_line(run, &spot);
    err = open_row(run, &spot, op->line, &info);
    if (!err)
        err = add_entry(run, op->n);
    if (err)
        return err;
    info.checked = op->flags & CART_OP_CHECKED ? op->checked : true;
    give_fields(op, true, &info);
    err = write_info(run, &info);
    return err ? err : put_row(run, &spot);
}

static int run_set(struct cart_run *run, struct cart_op *op)
{
    struct spot spot;
    struct cart_info info;
    if (op->n > INT32_MAX || op->n < 0)
        return CE_BAD_QTY;
    int err = find_line(run, op, &spot);
    if (err)
        return err;
    err = limit_qty(run, op, 0, &op->n);
    if (err)
        return err;
    if (op->n == 0)
        return remove_line(run, &spot);
    err = open_row(run, &spot, op->line, &info);
    if (!err)
        err = set_entry(run, op->n);
    if (err)
        return err;
    if (op->flags & CART_OP_CHECKED)
        info.checked = op->checked;
    give_fields(op, false, &info);
    err = write_info(run, &info);
    return err ? err : put_row(run, &spot);
}

static int run_remove(struct cart_run *run, struct cart_op *op)
{
    struct spot spot;
    int err = find_line(run, op, &spot);
    return err ? err : remove_line(run, &spot);
}

struct check_all {
    struct cart_run *run;
    bool checked;
};

static int check_row(void *arg, struct cart_row *row, const struct cart_line *line)
{
    struct check_all *all = arg;
    struct cart_info info = {.checked = true};
    if (line->qty == 0)
        return CART_ROW_KEEP;
    if (row->infos_count)
        info = row->infos[0];
    info.checked = all->checked;
    int err = write_info(all->run, &info);
    return err ? err : CART_ROW_CHANGED;
}

static int run_check_all(struct cart_run *run, const struct cart_op *op)
{
    struct check_all all = {run, op->n != 0};
    if (!exists(run))
        return CE_NOTFOUND;
    if (run->cart->head.all.lines == 0)
        return 0;
    come_alive(run);
    return cart_lines_rewrite(run->cart, NULL, check_row, &all);
}

static int run_check(struct cart_run *run, struct cart_op *op)
{
    struct spot spot;
    struct cart_info info;
    if (op->n != 0 && op->n != 1)
        return CE_BAD_QTY;
    if (op->line.len == 0)
        return run_check_all(run, op);
    int err = find_line(run, op, &spot);
    if (err)
        return err;
    if (!spot.visible)
        return CE_NOTFOUND;
    err = open_row(run, &spot, op->line, &info);
    if (err)
        return err;
    info.checked = op->n != 0;
    err = write_info(run, &info);
    return err ? err : put_row(run, &spot);
}

/* The rest of a swap, when the old line is cut out. `info` is what it showed, in bytes of its own.
 */
static int swap_into(struct cart_run *run, const struct cart_op *op, struct cart_info *info)
{
    struct spot spot;
    struct cart_info fresh;
    int err = locate(run->cart, op->new_line, &spot);
    if (err)
        return err;
    bool was_there = spot.visible;
    if (!was_there && op->n == 0)
        return 0;
    err = open_row(run, &spot, op->new_line, &fresh);
    if (!err)
        err = add_entry(run, op->n);
    if (err)
        return err;
    if (!was_there) {
        info->added_us = fresh.added_us;
        fresh = *info;
    }
    give_fields(op, was_there, &fresh);
    err = write_info(run, &fresh);
    return err ? err : put_row(run, &spot);
}

/* Keeps the bytes that an info points to while its line is cut out; they end up in cart->tmp.marks.
 */
static int save_info(struct cart *cart, const struct spot *spot, struct cart_info *info)
{
    const struct cart_line *line = &spot->line;
    cart->tmp.marks.len = 0;
    if (buf_reserve(&cart->tmp.marks, line->shop.len + line->ext.len + 1) ||
        buf_append(&cart->tmp.marks, line->shop.bytes, line->shop.len) ||
        buf_append(&cart->tmp.marks, line->ext.bytes, line->ext.len))
        return CE_NOMEM;
    *info =
        (struct cart_info){.checked = line->checked,
                           .has_price = line->has_price,
                           .price = line->price,
                           .shop = slice_of(cart->tmp.marks.bytes, line->shop.len),
                           .ext = slice_of(cart->tmp.marks.bytes + line->shop.len, line->ext.len)};
    return 0;
}

/* A swap of a line with itself is a write that changes nothing. */
static int swap_same(struct cart_run *run, const struct cart_op *op, struct spot *spot)
{
    struct cart_info info;
    int err = open_row(run, spot, op->line, &info);
    if (err)
        return err;
    give_fields(op, false, &info);
    err = write_info(run, &info);
    return err ? err : put_row(run, spot);
}

/* A live swap moves the whole quantity and writes it, clamped, into op->n; a replay moves op->n. */
static int run_swap(struct cart_run *run, struct cart_op *op)
{
    struct spot from, into;
    struct cart_info info;
    if (!cart_line_key_ok(op->new_line))
        return CE_BAD_LINE;
    int err = find_line(run, op, &from);
    if (!err && !from.visible)
        err = CE_NOTFOUND;
    if (!err)
        err = locate(run->cart, op->new_line, &into);
    if (err)
        return err;
    if (slice_eq(op->line, op->new_line))
        return swap_same(run, op, &from);
    if (run->step->limits) {
        op->n = from.line.qty;
        err = limit_qty(run, op, shown_qty(&into), &op->n);
    }
    if (!err)
        err = save_info(run->cart, &from, &info);
    if (!err)
        err = cut_line(run, &from);
    return err ? err : swap_into(run, op, &info);
}

static int keep_unscoped(void *arg, struct cart_row *row, const struct cart_line *line)
{
    (void)row;
    bool checked = *(const int64_t *)arg == CART_SCOPE_CHECKED;
    return line->qty > 0 && line->checked == checked ? CART_ROW_DROP : CART_ROW_KEEP;
}

static void drop_all_lines(struct cart *cart)
{
    cart->lines.len = 0;
    cart->head.all = cart->head.checked = (struct cart_counts){0};
    cart->head.hidden = 0;
}

static int run_clear(struct cart_run *run, struct cart_op *op)
{
    const struct cart_head *head = &run->cart->head;
    uint64_t hit[] = {
        [CART_SCOPE_ALL] = head->all.lines,
        [CART_SCOPE_CHECKED] = head->checked.lines,
        [CART_SCOPE_UNCHECKED] = head->all.lines - head->checked.lines,
    };
    if (op->n < CART_SCOPE_ALL || op->n > CART_SCOPE_UNCHECKED)
        return CE_BAD_FLAG;
    if (hit[op->n] == 0)
        return 0;
    run->changed = true;
    if (op->n != CART_SCOPE_ALL)
        return cart_lines_rewrite(run->cart, NULL, keep_unscoped, &op->n);
    drop_all_lines(run->cart);
    return 0;
}

static int keep_written(void *arg, struct cart_row *row, const struct cart_line *line)
{
    const struct cart_run *run = arg;
    (void)line;
    for (size_t i = 0; i < row->infos_count; i++)
        if (cart_dot_cmp(row->infos[i].dot, run->dot) == 0)
            return CART_ROW_KEEP;
    return CART_ROW_DROP;
}

/* Replacing a document makes the cart, also when the document has no lines. */
static int run_retain(struct cart_run *run, struct cart_op *op)
{
    (void)op;
    come_alive(run);
    return cart_lines_rewrite(run->cart, NULL, keep_written, run);
}

static void leave_nothing(struct cart_run *run)
{
    run->changed = true;
    run->meta = (struct cart_meta){.ts_us = run->meta.ts_us, .actor = run->meta.actor};
    drop_all_lines(run->cart);
}

static int run_forget(struct cart_run *run, struct cart_op *op)
{
    (void)op;
    /* An ended cart reads as absent, and now it is. */
    if (exists(run) || run->meta.moved_to.len || run->expired)
        leave_nothing(run);
    return 0;
}

static int run_move(struct cart_run *run, struct cart_op *op)
{
    MUST(op->new_line.len && op->new_line.len <= CART_KEY_MAX);
    leave_nothing(run);
    run->meta.moved_to = op->new_line;
    return 0;
}

static int run_touch(struct cart_run *run, struct cart_op *op)
{
    (void)op;
    if (!exists(run))
        return CE_NOTFOUND;
    run->changed = true;
    return 0;
}

int cart_op_run(struct cart_run *run, struct cart_op *op)
{
    static int (*const table[])(struct cart_run *, struct cart_op *) = {
        [CART_ADD] = run_add,       [CART_SET] = run_set,       [CART_REMOVE] = run_remove,
        [CART_CHECK] = run_check,   [CART_SWAP] = run_swap,     [CART_CLEAR] = run_clear,
        [CART_RETAIN] = run_retain, [CART_FORGET] = run_forget, [CART_TOUCH] = run_touch,
        [CART_MOVE] = run_move,
    };
    MUST(op->kind >= CART_ADD && op->kind <= CART_MOVE);
    run->result->line_qty = 0;
    return table[op->kind](run, op);
}

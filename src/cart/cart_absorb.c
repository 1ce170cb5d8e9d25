/* cart_absorb: what makes one cart part of another, as operations on the other (cart-protocol
 * section 1, cmrg). A merge never fails for a limit: what is too much is cut off and counted. */
#include "cart/cart.h"

#include "cart/cart_int.h"

#define LINE_BYTES   64 /* of a line in a state, beside its texts */
#define GROWTH_BYTES 48 /* of a line that is written again: an entry, a price, later stamps */

/* One walk over the lines of the source. */
struct walk {
    struct cart_absorb *absorb;
    struct cart_op *ops;
    size_t count;
    size_t pass;    /* lines that find no room: so many of the new ones, from the oldest */
    size_t room;    /* bytes that lines may still take */
    cart_big money; /* that the amount may still grow */
    bool drops_dst; /* the lines of dst do not stay */
    uint32_t fresh; /* lines that dst has not */
};

static bool find_in_dst(const struct walk *walk, struct slice key, struct cart_line *line)
{
    const struct cart_absorb *absorb = walk->absorb;
    return !walk->drops_dst && cart_line_find(absorb->dst, absorb->now_us, key, line) == 0;
}

static int count_fresh(void *arg, const struct cart_line *line)
{
    struct walk *walk = arg;
    struct cart_line there;
    walk->fresh += !find_in_dst(walk, line->line, &there);
    return 0;
}

/* Takes so much of what is left, or nothing. */
static bool take_room(struct walk *walk, size_t bytes, cart_big money)
{
    if (bytes > walk->room || money > walk->money)
        return false;
    walk->room -= bytes;
    walk->money -= money;
    return true;
}

static cart_big amount_of(const struct cart_op *op, int64_t qty)
{
    return op->flags & CART_OP_PRICE ? (cart_big)op->price * (cart_big)qty : 0;
}

static size_t growth(struct slice before, struct slice after)
{
    return after.len > before.len ? after.len - before.len : 0;
}

/* The line as it is in the source, within the limits; *cut: not all of it. */
static struct cart_op copy_line(const struct walk *walk, const struct cart_line *line, bool *cut)
{
    const struct cart_limits *limits = walk->absorb->limits;
    struct cart_op op = {.kind = CART_SET,
                         .line = line->line,
                         .n = line->qty,
                         .flags = CART_OP_CHECKED | CART_OP_SHOP | CART_OP_EXT,
                         .checked = line->checked,
                         .shop = line->shop,
                         .ext = line->ext,
                         .price = line->price};
    op.flags |= line->has_price ? CART_OP_PRICE : 0;
    *cut = line->qty > limits->qty_max || line->ext.len > limits->ext_bytes_max;
    if (line->qty > limits->qty_max)
        op.n = limits->qty_max;
    if (line->ext.len > limits->ext_bytes_max)
        op.ext = slice_of(NULL, 0);
    return op;
}

static void add_new(struct walk *walk, const struct cart_line *line)
{
    bool cut;
    struct cart_op op = copy_line(walk, line, &cut);
    size_t bytes = LINE_BYTES + op.line.len + op.shop.len + op.ext.len;
    if (walk->pass || !take_room(walk, bytes, amount_of(&op, op.n))) {
        walk->pass -= walk->pass > 0;
        walk->absorb->skipped++;
        return;
    }
    op.kind = walk->drops_dst ? CART_SET : CART_ADD;
    walk->absorb->clamped += cut;
    walk->ops[walk->count++] = op;
}

/* As in the source, but for a price that it does not know. */
static void replace(struct walk *walk, const struct cart_line *line, const struct cart_line *there)
{
    bool cut;
    struct cart_op op = copy_line(walk, line, &cut);
    struct cart_op priced = op;
    if (!line->has_price && there->has_price) {
        priced.flags |= CART_OP_PRICE;
        priced.price = there->price;
    }
    size_t bytes = GROWTH_BYTES + growth(there->shop, op.shop) + growth(there->ext, op.ext);
    cart_big after = amount_of(&priced, op.n);
    cart_big before = there->has_price ? (cart_big)there->price * (cart_big)there->qty : 0;
    bool fits = take_room(walk, bytes, after > before ? after - before : 0);
    walk->absorb->clamped += cut || !fits;
    if (fits)
        walk->ops[walk->count++] = op;
}

/* Additions, so that what others add to the line at the same time stays. */
static void raise_to(struct walk *walk, const struct cart_line *line, const struct cart_line *there)
{
    struct cart_absorb *absorb = walk->absorb;
    int64_t sum = absorb->policy == CART_POLICY_SUM ? line->qty + there->qty : line->qty;
    int64_t goal = sum > absorb->limits->qty_max ? absorb->limits->qty_max : sum;
    struct cart_op op = {.kind = CART_ADD,
                         .line = line->line,
                         .n = goal - there->qty,
                         .flags = CART_OP_CHECKED | (line->has_price ? CART_OP_PRICE : 0),
                         .price = there->has_price ? there->price : line->price,
                         .checked = line->checked || there->checked};
    if (op.n <= 0) {
        absorb->clamped += goal < sum;
        return;
    }
    op.flags |= there->has_price ? CART_OP_PRICE : 0;
    bool fits = take_room(walk, GROWTH_BYTES, amount_of(&op, there->has_price ? op.n : goal));
    absorb->clamped += goal < sum || !fits;
    if (fits)
        walk->ops[walk->count++] = op;
}

static int add_line(void *arg, const struct cart_line *line)
{
    struct walk *walk = arg;
    struct cart_line there;
    if (!find_in_dst(walk, line->line, &there))
        add_new(walk, line);
    else if (walk->absorb->policy == CART_POLICY_SRC)
        replace(walk, line, &there);
    else
        raise_to(walk, line, &there);
    return 0;
}

/* How many of the new lines, how many bytes and how much money fit. */
static int make_room(struct walk *walk, uint32_t dst_lines)
{
    const struct cart_limits *limits = walk->absorb->limits;
    struct cart_view dst;
    int err = cart_view_open(walk->absorb->dst, &dst);
    if (err)
        return err;
    bool stays = dst_lines && !walk->drops_dst;
    size_t have = stays ? dst.lines.len : 0;
    cart_big amount = stays ? dst.head.all.amount : 0;
    uint32_t kept = stays ? dst_lines : 0;
    uint32_t free_lines = limits->lines_max > kept ? limits->lines_max - kept : 0;
    walk->pass = walk->fresh > free_lines ? walk->fresh - free_lines : 0;
    walk->room = limits->state_bytes_max > have ? limits->state_bytes_max - have : 0;
    walk->money = amount < INT64_MAX ? INT64_MAX - amount : 0;
    return 0;
}

int cart_absorb(struct cart_absorb *absorb, struct cart_op *ops, size_t *ops_count,
                char currency[4])
{
    struct cart_summary src, dst;
    struct walk walk = {
        .absorb = absorb, .ops = ops, .drops_dst = absorb->policy == CART_POLICY_REPLACE};
    cart_summary(absorb->src, absorb->now_us, &src);
    cart_summary(absorb->dst, absorb->now_us, &dst);
    absorb->skipped = absorb->clamped = 0;
    *ops_count = 0;
    currency[0] = 0;
    if (src.lines && src.currency[0] && dst.currency[0] && strcmp(src.currency, dst.currency) != 0)
        return CE_CURRENCY;
    if (src.lines == 0 || (absorb->policy == CART_POLICY_DST && dst.lines > 0))
        return 0;
    if (walk.drops_dst) /* first, so that nothing of a line that both have stays */
        ops[walk.count++] = (struct cart_op){.kind = CART_CLEAR, .n = CART_SCOPE_ALL};
    int err = cart_lines(absorb->src, absorb->now_us, count_fresh, &walk);
    if (!err)
        err = make_room(&walk, dst.lines);
    if (!err)
        err = cart_lines(absorb->src, absorb->now_us, add_line, &walk);
    if (!err && walk.count)
        memcpy(currency, src.currency, sizeof src.currency);
    *ops_count = walk.count;
    return err;
}

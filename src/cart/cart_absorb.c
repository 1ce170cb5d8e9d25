/* cart_absorb: what makes one cart part of another, as operations on the other (cart-protocol
 * section 1, cmrg). A merge never fails for a limit: what is too much is cut off and counted. */
#include "cart/cart.h"

#include "cart/cart_int.h"

#define LINE_BYTES 64 /* of a line in a state, beside its texts */

/* One walk over the lines of the source. */
struct walk {
    struct cart_absorb *absorb;
    struct cart_op *ops;
    size_t count;
    size_t pass;    /* lines that find no room: so many of the new ones, from the oldest */
    size_t room;    /* bytes that lines may still take */
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

/* The greatest quantity up to n; one that is cut is counted, once for a line. */
static int64_t clamp(struct cart_absorb *absorb, int64_t n, int64_t max)
{
    if (n <= max)
        return n;
    absorb->clamped++;
    return max > 0 ? max : 0;
}

static void take_fields(struct walk *walk, const struct cart_line *line, struct cart_op *op)
{
    op->flags |= CART_OP_CHECKED | CART_OP_SHOP | CART_OP_EXT;
    op->checked = line->checked;
    op->shop = line->shop;
    op->ext = line->ext;
    if (line->ext.len > walk->absorb->limits->ext_bytes_max) {
        op->ext = slice_of(NULL, 0);
        walk->absorb->clamped++;
    }
    if (!line->has_price)
        return;
    op->flags |= CART_OP_PRICE;
    op->price = line->price;
}

static int add_new(struct walk *walk, const struct cart_line *line)
{
    struct cart_absorb *absorb = walk->absorb;
    size_t bytes = LINE_BYTES + line->line.len + line->shop.len + line->ext.len;
    if (walk->pass || bytes > walk->room) {
        walk->pass -= walk->pass > 0;
        absorb->skipped++;
        return 0;
    }
    struct cart_op *op = &walk->ops[walk->count++];
    walk->room -= bytes;
    *op = (struct cart_op){.kind = walk->drops_dst ? CART_SET : CART_ADD, .line = line->line};
    op->n = clamp(absorb, line->qty, absorb->limits->qty_max);
    take_fields(walk, line, op);
    return 0;
}

/* Additions, so that what others add to the line at the same time stays. */
static void raise_to(struct walk *walk, const struct cart_line *line, const struct cart_line *there)
{
    struct cart_absorb *absorb = walk->absorb;
    int64_t max = absorb->limits->qty_max;
    int64_t n = absorb->policy == CART_POLICY_SUM ? clamp(absorb, line->qty, max - there->qty)
                                                  : clamp(absorb, line->qty, max) - there->qty;
    struct cart_op op = {.kind = CART_ADD,
                         .line = line->line,
                         .n = n,
                         .flags = CART_OP_CHECKED | (line->has_price ? CART_OP_PRICE : 0),
                         .price = line->price,
                         .checked = line->checked || there->checked};
    if (n > 0)
        walk->ops[walk->count++] = op;
}

static int add_line(void *arg, const struct cart_line *line)
{
    struct walk *walk = arg;
    struct cart_absorb *absorb = walk->absorb;
    struct cart_line there;
    if (!find_in_dst(walk, line->line, &there))
        return add_new(walk, line);
    if (absorb->policy != CART_POLICY_SRC) {
        raise_to(walk, line, &there);
        return 0;
    }
    struct cart_op *op = &walk->ops[walk->count++];
    *op = (struct cart_op){.kind = CART_SET, .line = line->line};
    op->n = clamp(absorb, line->qty, absorb->limits->qty_max);
    take_fields(walk, line, op);
    return 0;
}

/* How many of the new lines, and how many bytes, fit. */
static void make_room(struct walk *walk, uint32_t dst_lines)
{
    const struct cart_limits *limits = walk->absorb->limits;
    size_t have = walk->drops_dst ? 0 : walk->absorb->dst.len;
    uint32_t kept = walk->drops_dst ? 0 : dst_lines;
    uint32_t free_lines = limits->lines_max > kept ? limits->lines_max - kept : 0;
    walk->pass = walk->fresh > free_lines ? walk->fresh - free_lines : 0;
    walk->room = limits->state_bytes_max > have ? limits->state_bytes_max - have : 0;
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
    int err = cart_lines(absorb->src, absorb->now_us, count_fresh, &walk);
    make_room(&walk, dst.lines);
    if (!err)
        err = cart_lines(absorb->src, absorb->now_us, add_line, &walk);
    if (!err && walk.drops_dst)
        walk.ops[walk.count++] = (struct cart_op){.kind = CART_RETAIN};
    if (!err && walk.count)
        memcpy(currency, src.currency, sizeof src.currency);
    *ops_count = walk.count;
    return err;
}

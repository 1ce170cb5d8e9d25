/* rescue_merge: the three-way merge. What one side left as it was, byte for byte, is taken from the
 * other side as it is written; only what both have changed is looked into. */
#include "rescue/rescue_int.h"

#include <stdlib.h>

#define RESCUE_MAGIC   0x72657363
#define DOC_BYTES_KEPT 65536 /* larger scratch is given back behind a merge */

/* Members that say which element of a list this is, the best first. */
/* clang-format off */
static const char *const identities[] = {
    "line", "line_id", "lineId", "line_item_id", "lineItemId", "cart_item_id", "cartItemId",
    "item_id", "itemId", "uuid", "uid", "key", "id", "sku", "variant_id", "variantId",
    "product_id", "productId", "code",
};
/* Members that count things. Nothing that is money. */
static const char *const quantities[] = {
    "qty", "quantity", "count", "units", "pieces", "cart_qty", "cart_quantity", "item_count",
    "itemCount", "items_count", "itemsCount", "total_qty", "total_quantity", "totalQuantity",
    "total_items", "totalItems", "quantities",
};
/* clang-format on */
#define COUNT_OF(table) (sizeof(table) / sizeof *(table))

struct rescue {
    unsigned magic;
    struct doc docs[RESCUE_NEST_MAX + 1][3];
};

struct merge {
    struct rescue *rescue;
    unsigned nest;
    struct doc *base, *mine, *theirs;
    struct buf *out;
};

/* A map or list of all three, and what comes of it. */
struct three {
    enum node_kind kind;
    const struct node *base, *mine, *theirs;
    bool counts; /* its members are quantities, whatever they are called */
    int64_t next_key;
    struct writer writer;
};

static int merge_value(struct merge *merge, const struct node *base, const struct node *mine,
                       const struct node *theirs, bool counts);
static int merge_texts(struct rescue *rescue, unsigned nest, struct slice base, struct slice mine,
                       struct slice theirs, struct buf *out);

static bool same(const struct node *a, const struct node *b)
{
    return a && b && a->hash == b->hash;
}

static bool is_quantity(struct slice name)
{
    for (size_t i = 0; i < COUNT_OF(quantities); i++)
        if (slice_eq(name, slice_str(quantities[i])))
            return true;
    return false;
}

/* ---- scalars ---- */

/* theirs + (mine - base); never below 0. False: not all are numbers, or it is too large. */
static bool add_change(const struct node *base, const struct node *mine, const struct node *theirs,
                       int64_t *sum)
{
    int64_t change;
    if ((base && !base->has_number) || !mine->has_number || !theirs->has_number ||
        __builtin_sub_overflow(mine->number, base ? base->number : 0, &change) ||
        __builtin_add_overflow(theirs->number, change, sum))
        return false;
    if (*sum < 0)
        *sum = 0;
    return true;
}

/* A PHP string may hold a serialised array, or JSON. */
static bool may_nest(const struct merge *merge, const struct node *node)
{
    return merge->theirs->format != FORMAT_JSON && merge->nest < RESCUE_NEST_MAX &&
           node->is_string && node->text.len > 1 && strchr("a{[", node->text.bytes[0]) &&
           node->text.bytes[0];
}

/* Both have changed it. */
static int merge_scalar(struct merge *merge, const struct node *base, const struct node *mine,
                        const struct node *theirs, bool counts)
{
    int64_t sum;
    size_t start = merge->out->len;
    if (counts && add_change(base, mine, theirs, &sum))
        return write_number(merge->out, merge->mine->format, mine, sum);
    if (may_nest(merge, mine) && may_nest(merge, theirs)) {
        int rc = merge_texts(merge->rescue, merge->nest + 1,
                             base && base->is_string ? base->text : slice_of(NULL, 0), mine->text,
                             theirs->text, merge->out);
        if (rc != CE_BAD_DOC)
            return rc ? rc : write_as_string(merge->out, start);
    }
    return write_raw(merge->out, mine->raw);
}

/* ---- maps and lists ---- */

static bool is_list(const struct node *node)
{
    return !node || node->count == 0 || node->kind == NODE_LIST;
}

/* What the three are together. An empty one goes with either kind, since PHP writes an empty map as
 * a list; so does PHP's list from which an element was taken, which is a map. */
static bool plan(const struct merge *merge, struct three *three)
{
    const struct node *mine = three->mine, *theirs = three->theirs;
    if (mine->kind == NODE_SCALAR || theirs->kind == NODE_SCALAR)
        return false;
    if (three->base && three->base->kind == NODE_SCALAR)
        three->base = NULL;
    if (merge->theirs->format != FORMAT_JSON) {
        bool all_lists = is_list(three->base) && is_list(mine) && is_list(theirs);
        three->kind = all_lists ? NODE_LIST : NODE_MAP;
        return true;
    }
    three->kind = mine->count ? mine->kind : theirs->kind;
    if (three->base && three->base->count && three->base->kind != three->kind)
        three->base = NULL;
    return theirs->count == 0 || theirs->kind == three->kind;
}

/* The first identity that all elements of all three have, each its own. */
static bool identify(struct merge *merge, const struct three *three)
{
    for (size_t i = 0; i < COUNT_OF(identities); i++) {
        struct slice name = slice_str(identities[i]);
        if (doc_identify(merge->base, three->base, name) &&
            doc_identify(merge->mine, three->mine, name) &&
            doc_identify(merge->theirs, three->theirs, name))
            return true;
    }
    return false;
}

/* Both sides have added something under the same number, and it is not the same thing: two carts
 * that counted on from the same line. */
static bool clashes(const struct merge *merge, const struct three *three, const struct node *base,
                    const struct node *mine, const struct node *theirs)
{
    if (base || (three->kind == NODE_MAP && !theirs->has_int_key))
        return false;
    for (size_t i = 0; i < COUNT_OF(identities); i++) {
        struct slice name = slice_str(identities[i]);
        const struct node *a = doc_member(merge->mine, mine, name);
        const struct node *b = doc_member(merge->theirs, theirs, name);
        if (a && b && !same(a, b))
            return true;
    }
    return false;
}

static int64_t key_above(const struct doc *doc, const struct node *map, int64_t key)
{
    for (const struct node *child = doc_child(doc, map); child; child = doc_next(doc, child))
        if (child->has_int_key && child->key_number >= key && child->key_number < INT64_MAX)
            key = child->key_number + 1;
    return key;
}

/* A line of ours whose number is taken gets the next one. */
static int write_clashing(struct merge *merge, struct three *three, const struct node *child)
{
    int rc;
    if (three->kind == NODE_LIST) {
        rc = writer_key(&three->writer, child->key);
    } else {
        if (three->next_key == 0)
            three->next_key =
                key_above(merge->mine, three->mine, key_above(merge->theirs, three->theirs, 1));
        rc = writer_int_key(&three->writer, three->next_key++);
    }
    return rc ? rc : write_raw(merge->out, child->raw);
}

/* What they have, in their order. What only they have is gone when we took it away and they left it
 * as it was. */
static int write_theirs(struct merge *merge, struct three *three)
{
    int rc = 0;
    const struct node *child = doc_child(merge->theirs, three->theirs);
    for (; child && rc == 0; child = doc_next(merge->theirs, child)) {
        const struct node *base = doc_find(merge->base, three->base, child->key_hash);
        const struct node *mine = doc_find(merge->mine, three->mine, child->key_hash);
        if (!mine && same(base, child))
            continue;
        rc = writer_key(&three->writer, child->key);
        if (rc)
            return rc;
        if (mine && !clashes(merge, three, base, mine, child))
            rc = merge_value(merge, base, mine, child, three->counts || is_quantity(child->name));
        else
            rc = write_raw(merge->out, child->raw);
    }
    return rc;
}

/* What only we have: added, or taken away by them but changed by us. */
static int write_mine(struct merge *merge, struct three *three)
{
    int rc = 0;
    const struct node *child = doc_child(merge->mine, three->mine);
    for (; child && rc == 0; child = doc_next(merge->mine, child)) {
        const struct node *base = doc_find(merge->base, three->base, child->key_hash);
        const struct node *theirs = doc_find(merge->theirs, three->theirs, child->key_hash);
        if (theirs) {
            if (clashes(merge, three, base, child, theirs))
                rc = write_clashing(merge, three, child);
        } else if (!same(base, child)) {
            rc = writer_key(&three->writer, child->key);
            rc = rc ? rc : write_raw(merge->out, child->raw);
        }
    }
    return rc;
}

static int merge_members(struct merge *merge, struct three *three)
{
    if (three->kind == NODE_LIST && !identify(merge, three))
        return write_raw(merge->out, three->mine->raw);
    if (three->kind == NODE_MAP &&
        (!doc_sort(merge->base, three->base) || !doc_sort(merge->mine, three->mine) ||
         !doc_sort(merge->theirs, three->theirs)))
        return CE_BAD_DOC;
    three->counts = is_quantity(three->theirs->name);
    writer_begin(&three->writer, merge->out, merge->theirs->format, three->kind);
    if (three->theirs != merge->theirs->nodes && merge->theirs->format == FORMAT_SESSION)
        three->writer.format = FORMAT_PHP; /* only the root is a session */
    int rc = write_theirs(merge, three);
    rc = rc ? rc : write_mine(merge, three);
    return rc ? rc : writer_end(&three->writer);
}

/* `base` is NULL when there was none. `counts`: an integer here is a quantity. */
static int merge_value(struct merge *merge, const struct node *base, const struct node *mine,
                       const struct node *theirs, bool counts)
{
    struct three three = {.base = base, .mine = mine, .theirs = theirs};
    if (same(base, theirs))
        return write_raw(merge->out, mine->raw);
    if (same(base, mine))
        return write_raw(merge->out, theirs->raw);
    return plan(merge, &three) ? merge_members(merge, &three)
                               : merge_scalar(merge, base, mine, theirs, counts);
}

/* ---- documents ---- */

static int read_three(const struct merge *merge, struct slice base, struct slice mine,
                      struct slice theirs)
{
    int rc = doc_read(merge->mine, mine);
    rc = rc ? rc : doc_read(merge->theirs, theirs);
    if (rc == 0 && base.len)
        rc = doc_read(merge->base, base);
    if (rc)
        return rc;
    if (merge->mine->format != merge->theirs->format ||
        (base.len && merge->base->format != merge->theirs->format))
        return CE_BAD_DOC;
    return 0;
}

static int merge_texts(struct rescue *rescue, unsigned nest, struct slice base, struct slice mine,
                       struct slice theirs, struct buf *out)
{
    struct doc *docs = rescue->docs[nest];
    struct merge merge = {.rescue = rescue,
                          .nest = nest,
                          .base = &docs[0],
                          .mine = &docs[1],
                          .theirs = &docs[2],
                          .out = out};
    size_t start = out->len;
    int rc = read_three(&merge, base, mine, theirs);
    struct three three = {.base = base.len ? merge.base->nodes : NULL};
    if (rc == 0) {
        three.mine = merge.mine->nodes;
        three.theirs = merge.theirs->nodes;
        rc = plan(&merge, &three) ? 0 : CE_BAD_DOC; /* a list and a map */
    }
    if (rc == 0)
        rc = merge_value(&merge, base.len ? merge.base->nodes : NULL, three.mine, three.theirs,
                         false);
    if (rc)
        out->len = start;
    return rc;
}

static void shrink(struct rescue *rescue)
{
    for (size_t nest = 0; nest <= RESCUE_NEST_MAX; nest++)
        for (size_t i = 0; i < 3; i++)
            if (rescue->docs[nest][i].cap * sizeof(struct node) > DOC_BYTES_KEPT)
                doc_release(&rescue->docs[nest][i]);
}

int rescue_merge(struct rescue *rescue, struct slice base, struct slice mine, struct slice theirs,
                 struct buf *out)
{
    MUST_OBJ(rescue, RESCUE_MAGIC);
    int rc = merge_texts(rescue, 0, base, mine, theirs, out);
    shrink(rescue);
    return rc;
}

int rescue_new(struct rescue **out)
{
    struct rescue *rescue = calloc(1, sizeof *rescue);
    if (!rescue)
        return CE_NOMEM;
    rescue->magic = RESCUE_MAGIC;
    *out = rescue;
    return 0;
}

void rescue_free(struct rescue **out)
{
    struct rescue *rescue = *out;
    MUST_OBJ(rescue, RESCUE_MAGIC);
    *out = NULL;
    for (size_t nest = 0; nest <= RESCUE_NEST_MAX; nest++)
        for (size_t i = 0; i < 3; i++)
            doc_release(&rescue->docs[nest][i]);
    rescue->magic = 0;
    free(rescue);
}

/* cart_merge: the join of two states (cart-model section 3), and checking a state by joining it
 * with nothing.
 *
 * What one side has with a dot stays if the other side has it too or has never seen that dot. That
 * rule serves entries, infos and tokens alike, so the join is commutative, associative and
 * idempotent whatever was removed, folded or expired in between. Of the rest the greater wins.
 * Last, the entries are found that are retries of others: same token, within the life of a token,
 * and not the smallest dot. They stay, hidden, until the next step drops them. The one thing about
 * an entry that can change is that drop, when the entry carries older adds: it loses its own part,
 * and the join takes the form without it. */
#include "cart/cart.h"

#include <stdlib.h>

#include "cart/cart_int.h"

enum { LOOK_BACK_MAX = 32 }; /* retries of one token that are compared with each other */

/* One of the two states. */
struct side {
    struct cart_space space;
    struct slice lines, recs, ids;
};

struct join {
    struct cart *cart;
    struct cart_bufs *tmp;
    struct side sides[2];
};

struct ref {
    struct slice key, bytes;
    unsigned side;
};

struct place {
    struct slice key;
    uint64_t added_us;
    size_t at, len; /* in cart->rebuilt */
};

struct mark {
    uint64_t id, time_us;
    struct cart_dot dot;
};

#define BUF_ARRAY(type, buf) ((type *)(void *)(buf)->bytes)
#define BUF_COUNT(type, buf) ((buf)->len / sizeof(type))

/* ---- the vector -------------------------------------------------------------------------------
 */

static int push_actor(struct join *join, const struct cart_actor *a, const struct cart_actor *b)
{
    uint64_t seen[2] = {a ? a->seq : 0, b ? b->seq : 0};
    struct cart_actor actor = {a ? a->id : b->id, seen[0] > seen[1] ? seen[0] : seen[1]};
    if (buf_append(&join->tmp->actors, &actor, sizeof(actor)) ||
        buf_append(&join->tmp->seen, seen, sizeof(seen)))
        return CE_NOMEM;
    return 0;
}

static int join_vectors(struct join *join)
{
    const struct cart_space *a = &join->sides[0].space, *b = &join->sides[1].space;
    size_t i = 0, j = 0;
    if (buf_reserve(&join->tmp->maps, (a->actors_count + b->actors_count) * sizeof(uint32_t) + 1))
        return CE_NOMEM;
    uint32_t *map_a = BUF_ARRAY(uint32_t, &join->tmp->maps), *map_b = map_a + a->actors_count;
    while (i < a->actors_count || j < b->actors_count) {
        const struct cart_actor *next_a = i < a->actors_count ? &a->actors[i] : NULL;
        const struct cart_actor *next_b = j < b->actors_count ? &b->actors[j] : NULL;
        if (next_a && next_b && next_a->id != next_b->id) {
            if (next_a->id < next_b->id)
                next_b = NULL;
            else
                next_a = NULL;
        }
        uint32_t place = (uint32_t)BUF_COUNT(struct cart_actor, &join->tmp->actors);
        if (next_a)
            map_a[i++] = place;
        if (next_b)
            map_b[j++] = place;
        int err = push_actor(join, next_a, next_b);
        if (err)
            return err;
    }
    join->sides[0].space.map = map_a;
    join->sides[1].space.map = map_b;
    return BUF_COUNT(struct cart_actor, &join->tmp->actors) > ACTORS_HARD ? CE_CORRUPT : 0;
}

static bool side_saw(const struct join *join, unsigned side, struct cart_dot dot)
{
    return dot.seq <= BUF_ARRAY(uint64_t, &join->tmp->seen)[2 * (size_t)dot.actor + side];
}

/* ---- one line ---------------------------------------------------------------------------------
 */

static int join_entries(const struct join *join, const struct cart_row *a, const struct cart_row *b,
                        struct cart_row *out)
{
    size_t i = 0, j = 0;
    while (i < a->entries_count || j < b->entries_count) {
        int order = i == a->entries_count   ? 1
                    : j == b->entries_count ? -1
                                            : cart_dot_cmp(a->entries[i].dot, b->entries[j].dot);
        struct cart_entry entry = order <= 0 ? a->entries[i] : b->entries[j];
        if (order == 0 && b->entries[j].token == 0)
            entry = b->entries[j]; /* only a retry that was dropped loses its token */
        i += order <= 0;
        j += order >= 0;
        if (order != 0 && side_saw(join, order < 0, entry.dot))
            continue;
        entry.hidden = false;
        if (cart_row_add_entry(out, &entry))
            return CE_NOMEM;
    }
    return 0;
}

static bool row_has_info(const struct cart_row *row, struct cart_dot dot)
{
    for (size_t i = 0; i < row->infos_count; i++)
        if (cart_dot_cmp(row->infos[i].dot, dot) == 0)
            return true;
    return false;
}

static int insert_info(struct cart_row *row, const struct cart_info *info)
{
    int err = cart_row_add_info(row, info);
    if (err)
        return err;
    size_t at = row->infos_count - 1;
    for (; at > 0 && cart_info_before(info, &row->infos[at - 1]); at--)
        row->infos[at] = row->infos[at - 1];
    row->infos[at] = *info;
    return 0;
}

static int join_infos(const struct join *join, const struct cart_row *from,
                      const struct cart_row *other, unsigned other_side, struct cart_row *out)
{
    for (size_t i = 0; i < from->infos_count; i++) {
        const struct cart_info *info = &from->infos[i];
        bool both = row_has_info(other, info->dot);
        if (both ? other_side == 0 : side_saw(join, other_side, info->dot))
            continue; /* gone, or taken from the first side already */
        int err = insert_info(out, info);
        if (err)
            return err;
    }
    return 0;
}

static int mark_entries(struct buf *marks, const struct cart_row *row)
{
    for (size_t i = 0; i < row->entries_count; i++) {
        const struct cart_entry *entry = &row->entries[i];
        struct mark mark = {entry->token, entry->ts_us, entry->dot};
        if (entry->token && buf_append(marks, &mark, sizeof(mark)))
            return CE_NOMEM;
    }
    return 0;
}

/* Joins what the two sides have of a line; rows[side] is empty where one has nothing. */
static int join_row(struct join *join)
{
    struct cart_row *rows = join->cart->sides, *out = &join->cart->row;
    struct cart_line shows;
    cart_row_reset(out, rows[0].key.len ? rows[0].key : rows[1].key);
    int err = join_entries(join, &rows[0], &rows[1], out);
    if (!err)
        err = join_infos(join, &rows[0], &rows[1], 1, out);
    if (!err)
        err = join_infos(join, &rows[1], &rows[0], 0, out);
    if (!err)
        err = mark_entries(&join->tmp->marks, out);
    if (err || (out->entries_count == 0 && out->infos_count == 0))
        return err;
    struct buf *rebuilt = &join->cart->rebuilt;
    struct place place = {.key = out->key, .at = rebuilt->len};
    err = cart_row_write(out, rebuilt, &shows);
    if (err)
        return err;
    place.added_us = shows.added_us;
    place.len = rebuilt->len - place.at;
    return buf_append(&join->tmp->places, &place, sizeof(place));
}

/* ---- all lines --------------------------------------------------------------------------------
 */

static int compare_refs(const void *left, const void *right)
{
    const struct ref *a = left, *b = right;
    int order = slice_cmp(a->key, b->key);
    return order ? order : (int)a->side - (int)b->side;
}

static int compare_places(const void *left, const void *right)
{
    const struct place *a = left, *b = right;
    if (a->added_us != b->added_us)
        return a->added_us < b->added_us ? -1 : 1;
    return slice_cmp(a->key, b->key);
}

static int collect_refs(struct join *join, unsigned side)
{
    struct slice rest = join->sides[side].lines;
    struct cart_line line;
    while (rest.len) {
        struct ref ref = {.side = side};
        int err = cart_line_take(&rest, &ref.bytes, &line);
        if (err)
            return err;
        ref.key = line.line;
        if (buf_append(&join->tmp->refs, &ref, sizeof(ref)))
            return CE_NOMEM;
    }
    return 0;
}

static int join_refs(struct join *join)
{
    struct cart_row *rows = join->cart->sides;
    const struct ref *refs = BUF_ARRAY(struct ref, &join->tmp->refs);
    size_t count = BUF_COUNT(struct ref, &join->tmp->refs);
    for (size_t i = 0; i < count;) {
        struct slice key = refs[i].key;
        int last = -1;
        cart_row_reset(&rows[0], slice_of(NULL, 0));
        cart_row_reset(&rows[1], slice_of(NULL, 0));
        for (; i < count && slice_eq(refs[i].key, key); i++) {
            unsigned side = refs[i].side;
            if ((int)side == last)
                return CE_CORRUPT; /* a line twice in one state */
            last = (int)side;
            int err = cart_row_read(refs[i].bytes, &join->sides[side].space, &rows[side]);
            if (err)
                return err;
        }
        int err = join_row(join);
        if (err)
            return err;
    }
    return 0;
}

static int join_lines(struct join *join)
{
    join->cart->rebuilt.len = 0;
    int err = collect_refs(join, 0);
    if (!err)
        err = collect_refs(join, 1);
    if (err)
        return err;
    size_t count = BUF_COUNT(struct ref, &join->tmp->refs);
    if (count)
        qsort(join->tmp->refs.bytes, count, sizeof(struct ref), compare_refs);
    err = join_refs(join);
    count = BUF_COUNT(struct place, &join->tmp->places);
    if (!err && count)
        qsort(join->tmp->places.bytes, count, sizeof(struct place), compare_places);
    return err;
}

/* ---- tokens -----------------------------------------------------------------------------------
 */

static int compare_tokens(const struct cart_token *a, const struct cart_token *b)
{
    if (a->time_us != b->time_us)
        return a->time_us < b->time_us ? -1 : 1;
    if (a->id != b->id)
        return a->id < b->id ? -1 : 1;
    return cart_dot_cmp(a->dot, b->dot);
}

static int keep_token(struct join *join, const struct cart_token *token)
{
    struct mark mark = {token->id, token->time_us, token->dot};
    size_t count = BUF_COUNT(struct cart_token, &join->tmp->tokens);
    if (count &&
        compare_tokens(BUF_ARRAY(struct cart_token, &join->tmp->tokens) + count - 1, token) >= 0)
        return CE_CORRUPT;
    if (buf_append(&join->tmp->tokens, token, sizeof(*token)) ||
        buf_append(&join->tmp->marks, &mark, sizeof(mark)))
        return CE_NOMEM;
    return 0;
}

static int join_tokens(struct join *join)
{
    struct cart_token_walk walks[2];
    struct cart_token heads[2];
    int errs[2];
    for (int i = 0; i < 2; i++) {
        const struct side *side = &join->sides[i];
        walks[i] = (struct cart_token_walk){side->recs, side->ids, STAMP_EPOCH_US, &side->space};
        errs[i] = cart_token_next(&walks[i], &heads[i]);
    }
    while (errs[0] == 0 || errs[1] == 0) {
        int order = errs[0] ? 1 : errs[1] ? -1 : compare_tokens(&heads[0], &heads[1]);
        const struct cart_token *token = &heads[order > 0];
        if (order == 0 || !side_saw(join, order < 0, token->dot)) {
            int err = keep_token(join, token);
            if (err)
                return err;
        }
        if (order <= 0)
            errs[0] = cart_token_next(&walks[0], &heads[0]);
        if (order >= 0)
            errs[1] = cart_token_next(&walks[1], &heads[1]);
    }
    return errs[0] == CE_NOTFOUND && errs[1] == CE_NOTFOUND ? 0 : CE_CORRUPT;
}

/* ---- retries ----------------------------------------------------------------------------------
 */

static int compare_marks(const void *left, const void *right)
{
    const struct mark *a = left, *b = right;
    if (a->id != b->id)
        return a->id < b->id ? -1 : 1;
    int order = cart_dot_cmp(a->dot, b->dot);
    return order ? order : (a->time_us > b->time_us) - (a->time_us < b->time_us);
}

static bool near_each_other(uint64_t a, uint64_t b)
{
    return (a > b ? a - b : b - a) <= CART_TOKEN_LIFE_US;
}

/* marks[at] is a retry when a smaller dot bears the same token at about the same time. */
static bool is_retry(const struct mark *marks, size_t at)
{
    const struct mark *mark = &marks[at];
    for (size_t back = 1; back <= LOOK_BACK_MAX && back <= at; back++) {
        const struct mark *older = mark - back;
        if (older->id != mark->id)
            return false;
        if (cart_dot_cmp(older->dot, mark->dot) && near_each_other(older->time_us, mark->time_us))
            return true;
    }
    return false;
}

static int compare_dots(const void *left, const void *right)
{
    const struct cart_dot *a = left, *b = right;
    return cart_dot_cmp(*a, *b);
}

/* Collects the dots of the marks that are retries. */
static int find_retries(struct cart_bufs *tmp)
{
    const struct mark *marks = BUF_ARRAY(struct mark, &tmp->marks);
    size_t count = BUF_COUNT(struct mark, &tmp->marks);
    tmp->retries.len = 0;
    if (count < 2)
        return 0;
    qsort(tmp->marks.bytes, count, sizeof(struct mark), compare_marks);
    for (size_t i = 1; i < count; i++)
        if (is_retry(marks, i) && buf_append(&tmp->retries, &marks[i].dot, sizeof(marks[i].dot)))
            return CE_NOMEM;
    if (tmp->retries.len)
        qsort(tmp->retries.bytes, BUF_COUNT(struct cart_dot, &tmp->retries),
              sizeof(struct cart_dot), compare_dots);
    return 0;
}

static int hide_entries(void *arg, struct cart_row *row, const struct cart_line *line)
{
    const struct buf *retries = arg;
    size_t count = BUF_COUNT(struct cart_dot, retries);
    (void)line;
    for (size_t i = 0; i < row->entries_count; i++) {
        struct cart_entry *entry = &row->entries[i];
        bool has_part = !entry->is_set && (entry->token || !entry->carried);
        entry->hidden = has_part && count &&
                        bsearch(&entry->dot, retries->bytes, count, sizeof(struct cart_dot),
                                compare_dots) != NULL;
    }
    return CART_ROW_CHANGED;
}

/* What is a retry once is one for good: it goes, or what it carries stays without it. */
static int drop_hidden(void *arg, struct cart_row *row, const struct cart_line *line)
{
    size_t kept = 0;
    (void)arg;
    (void)line;
    for (size_t i = 0; i < row->entries_count; i++) {
        const struct cart_entry *entry = &row->entries[i];
        struct cart_entry rest = {.dot = entry->dot, .carried = entry->carried};
        if (!entry->hidden || entry->carried)
            row->entries[kept++] = entry->hidden ? rest : *entry;
    }
    row->entries_count = kept;
    return row->entries_count || row->infos_count ? CART_ROW_CHANGED : CART_ROW_DROP;
}

int cart_hidden_purge(struct cart *cart)
{
    return cart->head.hidden ? cart_lines_rewrite(cart, NULL, drop_hidden, NULL) : 0;
}

/* ---- putting it together ----------------------------------------------------------------------
 */

static struct cart_meta join_meta(const struct join *join, const struct cart_head *a,
                                  const struct cart_head *b)
{
    struct cart_meta first = a->meta, second = b->meta;
    if (first.ts_us)
        first.actor = join->sides[0].space.map[first.actor];
    if (second.ts_us)
        second.actor = join->sides[1].space.map[second.actor];
    if (first.ts_us == 0 && second.ts_us == 0)
        return (struct cart_meta){0};
    if (first.ts_us != second.ts_us)
        return first.ts_us > second.ts_us ? first : second;
    return first.actor >= second.actor ? first : second;
}

/* Writes the joined lines in their order over those of the scratch, and counts them. */
static int emit_lines(struct join *join)
{
    struct cart *cart = join->cart;
    const struct place *places = BUF_ARRAY(struct place, &join->tmp->places);
    size_t count = BUF_COUNT(struct place, &join->tmp->places);
    cart->lines.len = 0;
    for (size_t i = 0; i < count; i++) {
        struct slice rest = slice_of(cart->rebuilt.bytes + places[i].at, places[i].len), bytes;
        struct cart_line shows;
        int err = cart_line_take(&rest, &bytes, &shows);
        if (!err)
            err = buf_append(&cart->lines, bytes.bytes, bytes.len);
        if (err)
            return err;
        cart_head_count(&cart->head, &shows, 1);
    }
    return 0;
}

static int emit(struct join *join, const struct cart_head *other)
{
    struct cart *cart = join->cart;
    struct cart_head *head = &cart->head;
    struct cart_head joined = {
        .stamp_us = head->stamp_us > other->stamp_us ? head->stamp_us : other->stamp_us,
        .base = head->base > other->base ? head->base : other->base,
        .meta = join_meta(join, head, other),
    };
    *head = joined;
    if (cart_own_moved(cart))
        return CE_NOMEM;
    buf_swap(&cart->actors, &join->tmp->actors);
    int err = emit_lines(join);
    if (!err && join->tmp->retries.len)
        err = cart_lines_rewrite(cart, NULL, hide_entries, &join->tmp->retries);
    if (err)
        return err;
    cart_token_clear(cart);
    const struct cart_token *tokens = BUF_ARRAY(struct cart_token, &join->tmp->tokens);
    for (size_t i = 0; i < BUF_COUNT(struct cart_token, &join->tmp->tokens) && !err; i++)
        err = cart_token_add(cart, &tokens[i]);
    size_t bytes = cart->lines.len + cart->tail.len - cart->tail_gap;
    return !err && bytes > CART_STATE_BYTES_HARD - (1u << 20) ? CE_CORRUPT : err;
}

static int join_parts(struct join *join, const struct cart_head *other)
{
    int err = join_vectors(join);
    if (!err)
        err = join_lines(join);
    if (!err)
        err = join_tokens(join);
    if (!err)
        err = find_retries(join->tmp);
    return err ? err : emit(join, other);
}

static int take_actors(struct slice vv, struct buf *out)
{
    struct cart_actor actor;
    while (vv.len && cart_actor_take(&vv, &actor))
        if (buf_append(out, &actor, sizeof(actor)))
            return CE_NOMEM;
    return 0;
}

static int join_view(struct cart *cart, const struct cart_view *other)
{
    struct join join = {.cart = cart, .tmp = &cart->tmp};
    struct cart_bufs *tmp = &cart->tmp;
    struct buf *bufs[] = {&tmp->other, &tmp->actors, &tmp->maps,  &tmp->seen,   &tmp->tokens,
                          &tmp->refs,  &tmp->places, &tmp->marks, &tmp->retries};
    for (size_t i = 0; i < sizeof(bufs) / sizeof(*bufs); i++)
        bufs[i]->len = 0;
    int err = take_actors(other->vv, &tmp->other);
    if (err)
        return err;
    join.sides[0] = (struct side){.space = cart_space_of(cart),
                                  .lines = buf_slice(&cart->lines),
                                  .recs = cart_token_recs(cart),
                                  .ids = cart_token_ids(cart)};
    join.sides[1] = (struct side){.space = {.actors = BUF_ARRAY(struct cart_actor, &tmp->other),
                                            .actors_count = other->actors_count,
                                            .stamp_us = other->head.stamp_us},
                                  .lines = other->lines,
                                  .recs = other->recs,
                                  .ids = other->ids};
    return join_parts(&join, &other->head);
}

int cart_merge(struct cart *cart, struct slice other)
{
    MUST_OBJ(cart, CART_MAGIC);
    struct cart_view view;
    int err = cart_view_open(other, &view);
    if (err || other.len == 0)
        return err;
    return join_view(cart, &view);
}

/* A state is canonical when it is what remains of it after a join with nothing. */
int cart_check(struct slice state)
{
    struct cart *cart;
    struct slice again;
    int err = cart_new(&cart);
    if (err)
        return err;
    err = cart_merge(cart, state);
    if (!err)
        err = cart_store(cart, &again);
    if (!err && !slice_eq(state, again))
        err = CE_CORRUPT;
    cart_free(&cart);
    return err;
}

/* cart_actors: the version vector of a cart being worked on, and rewriting what refers to it.
 *
 * Dots name their actor by its place in the vector. Ids are minted from the clock, so a new actor
 * nearly always comes last and no place changes; when one does, lines and tokens are rewritten. */
#include "cart/cart.h"

#include "cart/cart_int.h"

#define PLACE_NONE UINT32_MAX

/* ---- rewriting --------------------------------------------------------------------------------
 */

static void count_hidden(struct cart_head *head, const struct cart_row *row)
{
    for (size_t i = 0; i < row->entries_count; i++)
        head->hidden += row->entries[i].hidden;
}

int cart_lines_rewrite(struct cart *cart, const uint32_t *map,
                       int (*edit)(void *arg, struct cart_row *row, const struct cart_line *line),
                       void *arg)
{
    struct cart_space space = cart_space_of(cart);
    struct slice rest = buf_slice(&cart->lines), bytes;
    struct cart_line line, shows;
    space.map = map;
    cart->rebuilt.len = 0;
    cart->head.all = cart->head.checked = (struct cart_counts){0};
    cart->head.hidden = 0;
    while (rest.len) {
        int err = cart_line_take(&rest, &bytes, &line);
        if (!err)
            err = cart_row_read(bytes, &space, &cart->row);
        if (err)
            return err;
        int verdict = edit ? edit(arg, &cart->row, &line) : CART_ROW_KEEP;
        if (verdict < 0)
            return verdict;
        if (verdict == CART_ROW_DROP)
            continue;
        if (cart_row_write(&cart->row, &cart->rebuilt, &shows))
            return CE_NOMEM;
        cart_head_count(&cart->head, &shows, 1);
        count_hidden(&cart->head, &cart->row);
    }
    buf_swap(&cart->lines, &cart->rebuilt);
    return 0;
}

static int rewrite_tokens(struct cart *cart, const struct cart_space *space)
{
    struct slice recs = cart_token_recs(cart), ids = cart_token_ids(cart);
    cart->rebuilt.len = 0;
    if (cart->head.tokens == 0)
        return 0;
    if (buf_append(&cart->rebuilt, recs.bytes, recs.len) ||
        buf_append(&cart->rebuilt, ids.bytes, ids.len))
        return CE_NOMEM;
    struct cart_token_walk walk = {.recs = slice_of(cart->rebuilt.bytes, recs.len),
                                   .ids = slice_of(cart->rebuilt.bytes + recs.len, ids.len),
                                   .time_us = STAMP_EPOCH_US,
                                   .space = space};
    struct cart_token token;
    int err;
    cart_token_clear(cart);
    while (!(err = cart_token_next(&walk, &token)))
        if (cart_token_add(cart, &token))
            return CE_NOMEM;
    return err == CE_NOTFOUND ? 0 : err;
}

/* Gives the actors new places: map[old], PLACE_NONE for one that goes. `actors` is the new vector,
 * in order. */
static int replace_vector(struct cart *cart, const uint32_t *map, struct slice actors)
{
    int err = cart_lines_rewrite(cart, map, NULL, NULL);
    if (err)
        return err;
    struct buf old = cart->actors;
    struct cart_space space = cart_space_of(cart);
    space.map = map;
    cart->actors = (struct buf){0};
    err = buf_append(&cart->actors, actors.bytes, actors.len);
    if (!err)
        err = rewrite_tokens(cart, &space);
    buf_free(&old);
    if (cart->head.meta.ts_us)
        cart->head.meta.actor = map[cart->head.meta.actor];
    return err;
}

/* ---- joining and leaving ----------------------------------------------------------------------
 */

static size_t find_place(const struct cart *cart, uint64_t id)
{
    const struct cart_actor *actors = cart_actors(cart);
    size_t low = 0, high = cart_actors_count(cart);
    if (high && actors[high - 1].id < id)
        return high;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (actors[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static uint32_t *reserve_map(struct cart *cart, size_t count)
{
    cart->tmp.maps.len = 0;
    if (buf_reserve(&cart->tmp.maps, count * sizeof(uint32_t) + 1))
        return NULL;
    return (uint32_t *)(void *)cart->tmp.maps.bytes;
}

/* Makes room for an actor at `place`, before older events of others. */
static int insert_actor(struct cart *cart, size_t place, uint64_t id)
{
    size_t count = cart_actors_count(cart);
    if (count >= ACTORS_HARD)
        return CE_SIZE_LIMIT;
    struct cart_actor actor = {id, 0};
    if (place == count)
        return buf_append(&cart->actors, &actor, sizeof(actor));
    uint32_t *map = reserve_map(cart, count);
    if (!map)
        return CE_NOMEM;
    for (size_t i = 0; i < count; i++)
        map[i] = (uint32_t)(i < place ? i : i + 1);
    struct buf with = {0};
    struct slice old = buf_slice(&cart->actors);
    int err = buf_append(&with, old.bytes, old.len);
    if (!err)
        err = buf_splice(&with, place * sizeof(actor), 0, slice_of(&actor, sizeof(actor)));
    if (!err)
        err = replace_vector(cart, map, buf_slice(&with));
    buf_free(&with);
    return err;
}

int cart_actor_next(struct cart *cart, uint64_t id, struct cart_dot *dot)
{
    size_t place = find_place(cart, id);
    if (place == cart_actors_count(cart) || cart_actors(cart)[place].id != id) {
        int err = insert_actor(cart, place, id);
        if (err)
            return err;
    }
    struct cart_actor *actor = &cart_actors(cart)[place];
    if (actor->seq >= SEQ_MAX)
        return CE_SIZE_LIMIT;
    *dot = (struct cart_dot){(uint32_t)place, ++actor->seq};
    return 0;
}

static int drop_marked(struct cart *cart, const uint8_t *dropped)
{
    size_t count = cart_actors_count(cart);
    const struct cart_actor *actors = cart_actors(cart);
    uint32_t *map = reserve_map(cart, count), next = 0;
    struct buf left = {0};
    if (!map)
        return CE_NOMEM;
    int err = buf_reserve(&left, cart->actors.len);
    for (size_t i = 0; i < count && !err; i++) {
        map[i] = dropped[i] ? PLACE_NONE : next++;
        if (!dropped[i])
            err = buf_append(&left, &actors[i], sizeof(*actors));
    }
    if (!err)
        err = replace_vector(cart, map, buf_slice(&left));
    buf_free(&left);
    return err;
}

int cart_actor_undo(struct cart *cart, struct cart_dot dot)
{
    size_t count = cart_actors_count(cart);
    if (--cart_actors(cart)[dot.actor].seq > 0)
        return 0;
    if (dot.actor + 1 == count) {
        cart->actors.len -= sizeof(struct cart_actor);
        return 0;
    }
    uint8_t dropped[ACTORS_HARD] = {0};
    dropped[dot.actor] = 1;
    return drop_marked(cart, dropped);
}

/* ---- pruning ----------------------------------------------------------------------------------
 */

static int mark_row(void *arg, struct cart_row *row, const struct cart_line *line)
{
    (void)line;
    uint8_t *used = arg;
    for (size_t i = 0; i < row->infos_count; i++)
        used[row->infos[i].dot.actor] = 1;
    for (size_t i = 0; i < row->entries_count; i++)
        used[row->entries[i].dot.actor] = 1;
    return CART_ROW_KEEP;
}

static int mark_used(struct cart *cart, uint8_t *used)
{
    int err = cart_lines_rewrite(cart, NULL, mark_row, used);
    if (err)
        return err;
    struct cart_space space = cart_space_of(cart);
    struct cart_token_walk walk = {.recs = cart_token_recs(cart),
                                   .ids = cart_token_ids(cart),
                                   .time_us = STAMP_EPOCH_US,
                                   .space = &space};
    struct cart_token token;
    while (!(err = cart_token_next(&walk, &token)))
        used[token.dot.actor] = 1;
    if (cart->head.meta.ts_us)
        used[cart->head.meta.actor] = 1;
    return err == CE_NOTFOUND ? 0 : err;
}

int cart_actors_prune(struct cart *cart, struct cart_dot *keep)
{
    size_t count = cart_actors_count(cart), left = count;
    if (count <= CART_ACTORS_MAX)
        return 0;
    uint8_t used[ACTORS_HARD] = {0}, dropped[ACTORS_HARD] = {0};
    int err = mark_used(cart, used);
    if (err)
        return err;
    const struct cart_actor *actors = cart_actors(cart);
    for (size_t i = 0; i < count && left > CART_ACTORS_MAX; i++) {
        if (used[i] || i == keep->actor || cart->head.base + actors[i].seq > BASE_MAX)
            continue;
        dropped[i] = 1;
        cart->head.base += actors[i].seq;
        left--;
    }
    if (left == count)
        return 0;
    err = drop_marked(cart, dropped);
    keep->actor = ((uint32_t *)(void *)cart->tmp.maps.bytes)[keep->actor];
    return err;
}

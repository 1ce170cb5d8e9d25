/* cart_line: one line as bytes.
 *
 *   length of what follows; key length (one byte), key; flags
 *   updated, updated - added, [price] [shop length, shop] [ext length, ext]
 *   PLAIN: actor, seq, quantity             one event wrote both the info and the only entry
 *   else:  visible quantity, number of infos, [dot of the one above, the other infos in full],
 *          number of entries, entries
 *
 * In a cart that no merge and no set touched every line is PLAIN. What a reader shows stands before
 * the entries, so readers never look at those. */
#include "cart/cart.h"

#include <stdlib.h>

#include "cart/cart_int.h"

enum {
    LINE_CHECKED = 1,
    LINE_PRICE = 2,
    LINE_SHOP = 4,
    LINE_EXT = 8,
    LINE_PLAIN = 16,
    LINE_SET = 32, /* only with PLAIN: the entry is a SET, its stamp that of the info */
    LINE_FLAGS_END = 64,
};

enum { ENTRY_SET = 1, ENTRY_TOKEN = 2, ENTRY_HIDDEN = 4, ENTRY_CARRIED = 8, ENTRY_SHIFT = 4 };

enum {
    INFO_BYTES_MAX = 6 * VARINT_MAX + 2 + CART_SHOP_MAX, /* without ext */
    ENTRY_BYTES_MAX = 5 * VARINT_MAX + 8,
    LINE_BYTES_MAX = 2 + CART_LINE_KEY_MAX + 4 * VARINT_MAX, /* without infos and entries */
};

bool cart_line_key_ok(struct slice key)
{
    return key.len >= 1 && key.len <= CART_LINE_KEY_MAX && slice_is_plain(key);
}

/* ---- reading ----------------------------------------------------------------------------------
 */

static bool take_bytes(struct slice *in, uint64_t len, struct slice *out)
{
    if (len > in->len)
        return false;
    *out = slice_of(in->bytes, len);
    *in = slice_from(*in, len);
    return true;
}

static bool take_key(struct slice *in, struct slice *key)
{
    if (in->len == 0)
        return false;
    size_t len = in->bytes[0];
    *in = slice_from(*in, 1);
    return take_bytes(in, len, key) && cart_line_key_ok(*key);
}

static bool take_stamp(struct slice *in, uint64_t *out)
{
    if (!varint_take(in, out))
        return false;
    *out += STAMP_EPOCH_US;
    return *out <= STAMP_MAX;
}

/* The fields of an info behind its flags, into what a line shows. */
static bool take_fields(struct slice *in, uint64_t flags, struct cart_line *line)
{
    uint64_t age, price, len;
    line->checked = flags & LINE_CHECKED;
    line->has_price = flags & LINE_PRICE;
    line->price = 0;
    line->shop = line->ext = slice_of(NULL, 0);
    if (!take_stamp(in, &line->updated_us) || !varint_take(in, &age) || age > line->updated_us)
        return false;
    line->added_us = line->updated_us - age;
    if (line->has_price) {
        if (!varint_take(in, &price) || price > INT64_MAX)
            return false;
        line->price = (int64_t)price;
    }
    if (flags & LINE_SHOP &&
        (!varint_take(in, &len) || len > CART_SHOP_MAX || !take_bytes(in, len, &line->shop)))
        return false;
    return !(flags & LINE_EXT) ||
           (varint_take(in, &len) && len <= CART_EXT_HARD && take_bytes(in, len, &line->ext));
}

static int64_t clamp_qty(int64_t sum)
{
    return sum <= 0 ? 0 : sum > LINE_QTY_MAX ? LINE_QTY_MAX : sum;
}

static bool take_qty(struct slice *in, int64_t *qty)
{
    uint64_t value;
    if (!varint_take(in, &value))
        return false;
    *qty = unzigzag(value);
    return *qty <= ENTRY_QTY_MAX && *qty >= -ENTRY_QTY_MAX;
}

/* What the body of a line shows; `in` is left behind the quantity (of PLAIN: at its dot). */
static bool take_shown(struct slice *in, uint8_t *flags, struct cart_line *line)
{
    if (!take_key(in, &line->line) || in->len == 0)
        return false;
    *flags = in->bytes[0];
    *in = slice_from(*in, 1);
    if (*flags >= LINE_FLAGS_END || !take_fields(in, *flags, line))
        return false;
    uint64_t number;
    struct slice rest = *in;
    if (*flags & LINE_PLAIN) {
        if (!varint_take(&rest, &number) || !varint_take(&rest, &number) ||
            !take_qty(&rest, &line->qty))
            return false;
        line->qty = clamp_qty(line->qty);
        return true;
    }
    if (!varint_take(in, &number) || number > LINE_QTY_MAX)
        return false;
    line->qty = (int64_t)number;
    return true;
}

/* Takes the length off the front of *lines and then the body. */
static inline bool take_body(struct slice *lines, struct slice *body)
{
    if (lines->len && lines->bytes[0] < 0x80) {
        size_t len = lines->bytes[0];
        *lines = slice_from(*lines, 1);
        return take_bytes(lines, len, body);
    }
    uint64_t len;
    return varint_take(lines, &len) && take_bytes(lines, len, body);
}

int cart_line_take(struct slice *lines, struct slice *bytes, struct cart_line *out)
{
    MUST(lines->len > 0);
    struct slice start = *lines, body;
    uint8_t flags;
    if (!take_body(lines, &body) || !take_shown(&body, &flags, out))
        return CE_CORRUPT;
    *bytes = slice_of(start.bytes, start.len - lines->len);
    return 0;
}

bool cart_line_dot(struct slice bytes, struct cart_dot *dot)
{
    struct slice body;
    struct cart_line line;
    uint8_t flags;
    uint64_t infos = 1, actor;
    if (!take_body(&bytes, &body) || !take_shown(&body, &flags, &line))
        return false;
    if (!(flags & LINE_PLAIN) && (!varint_take(&body, &infos) || infos != 1))
        return false;
    if (!varint_take(&body, &actor) || actor > UINT32_MAX || !varint_take(&body, &dot->seq))
        return false;
    dot->actor = (uint32_t)actor;
    return true;
}

/* Keys of one cart are often of one length, and differ at the end. */
static bool has_key(struct slice body, struct slice key)
{
    /* A key may be longer than all of another line. */
    if (body.len <= key.len || body.bytes[0] != key.len)
        return false;
    const uint8_t *bytes = body.bytes + 1;
    if (key.len >= WORD_BYTES &&
        word_load(bytes + key.len - WORD_BYTES) != word_load(key.bytes + key.len - WORD_BYTES))
        return false;
    return memcmp(bytes, key.bytes, key.len) == 0;
}

int cart_line_seek(struct slice lines, struct slice key, struct slice *bytes)
{
    struct slice rest = lines, body;
    while (rest.len) {
        const uint8_t *start = rest.bytes;
        if (!take_body(&rest, &body))
            return CE_CORRUPT;
        if (has_key(body, key)) {
            *bytes = slice_of(start, (size_t)(rest.bytes - start));
            return 0;
        }
    }
    return CE_NOTFOUND;
}

/* ---- a row ------------------------------------------------------------------------------------
 */

void cart_row_reset(struct cart_row *row, struct slice key)
{
    row->key = key;
    row->infos_count = row->entries_count = 0;
}

/* Room for one more element of `size` bytes in a growing array. */
static void *grow(void *array, size_t count, size_t *cap, size_t size)
{
    if (count < *cap)
        return array;
    size_t more = *cap ? *cap * 2 : 8;
    void *bigger = realloc(array, more * size);
    if (bigger)
        *cap = more;
    return bigger;
}

int cart_row_add_entry(struct cart_row *row, const struct cart_entry *entry)
{
    void *room = grow(row->entries, row->entries_count, &row->entries_cap, sizeof(*entry));
    if (!room)
        return CE_NOMEM;
    row->entries = room;
    row->entries[row->entries_count++] = *entry;
    return 0;
}

int cart_row_add_info(struct cart_row *row, const struct cart_info *info)
{
    void *room = grow(row->infos, row->infos_count, &row->infos_cap, sizeof(*info));
    if (!room)
        return CE_NOMEM;
    row->infos = room;
    row->infos[row->infos_count++] = *info;
    return 0;
}

void cart_row_free(struct cart_row *row)
{
    free(row->infos);
    free(row->entries);
    *row = (struct cart_row){0};
}

static bool take_seq(struct slice *in, uint64_t place, const struct cart_space *space,
                     struct cart_dot *dot)
{
    if (place >= space->actors_count || !varint_take(in, &dot->seq))
        return false;
    if (dot->seq == 0 || dot->seq > space->actors[place].seq)
        return false;
    dot->actor = space->map ? space->map[place] : (uint32_t)place;
    return true;
}

static bool take_dot(struct slice *in, const struct cart_space *space, struct cart_dot *dot)
{
    uint64_t place;
    return varint_take(in, &place) && take_seq(in, place, space, dot);
}

static struct cart_info info_of(const struct cart_line *line, struct cart_dot dot)
{
    return (struct cart_info){.dot = dot,
                              .updated_us = line->updated_us,
                              .added_us = line->added_us,
                              .checked = line->checked,
                              .has_price = line->has_price,
                              .price = line->price,
                              .shop = line->shop,
                              .ext = line->ext};
}

bool cart_info_before(const struct cart_info *a, const struct cart_info *b)
{
    if (a->updated_us != b->updated_us)
        return a->updated_us > b->updated_us;
    return cart_dot_cmp(a->dot, b->dot) > 0;
}

static int take_infos(struct slice *in, const struct cart_line *first,
                      const struct cart_space *space, struct cart_row *row)
{
    uint64_t count;
    struct cart_dot dot;
    struct cart_line line = *first;
    if (!varint_take(in, &count))
        return CE_CORRUPT;
    for (uint64_t i = 0; i < count; i++) {
        if (!take_dot(in, space, &dot))
            return CE_CORRUPT;
        if (i > 0) {
            if (in->len == 0 || in->bytes[0] >= LINE_PLAIN)
                return CE_CORRUPT;
            uint8_t flags = in->bytes[0];
            *in = slice_from(*in, 1);
            if (!take_fields(in, flags, &line))
                return CE_CORRUPT;
        }
        struct cart_info info = info_of(&line, dot);
        if (info.updated_us > space->stamp_us ||
            (i > 0 && !cart_info_before(&row->infos[i - 1], &info)))
            return CE_CORRUPT;
        if (cart_row_add_info(row, &info))
            return CE_NOMEM;
    }
    return 0;
}

static bool take_entry(struct slice *in, const struct cart_space *space, struct cart_entry *entry)
{
    uint64_t first;
    *entry = (struct cart_entry){0};
    if (!varint_take(in, &first) || !take_seq(in, first >> ENTRY_SHIFT, space, &entry->dot) ||
        !take_qty(in, &entry->qty))
        return false;
    entry->is_set = first & ENTRY_SET;
    entry->hidden = first & ENTRY_HIDDEN;
    if (first & ENTRY_CARRIED && !take_qty(in, &entry->carried))
        return false;
    if (first & (ENTRY_SET | ENTRY_TOKEN) &&
        (!take_stamp(in, &entry->ts_us) || entry->ts_us > space->stamp_us))
        return false;
    if (first & ENTRY_TOKEN) {
        if (in->len < 8)
            return false;
        memcpy(&entry->token, in->bytes, 8);
        *in = slice_from(*in, 8);
    }
    bool add_only = entry->hidden || entry->carried || entry->token;
    return !(entry->is_set && add_only);
}

static int take_entries(struct slice *in, const struct cart_space *space, struct cart_row *row)
{
    uint64_t count;
    struct cart_entry entry;
    if (!varint_take(in, &count))
        return CE_CORRUPT;
    for (uint64_t i = 0; i < count; i++) {
        if (!take_entry(in, space, &entry))
            return CE_CORRUPT;
        if (i > 0 && cart_dot_cmp(row->entries[i - 1].dot, entry.dot) >= 0)
            return CE_CORRUPT;
        if (cart_row_add_entry(row, &entry))
            return CE_NOMEM;
    }
    return 0;
}

static int read_plain(struct slice *in, uint8_t flags, const struct cart_line *line,
                      const struct cart_space *space, struct cart_row *row)
{
    struct cart_entry entry = {.is_set = flags & LINE_SET};
    if (!take_dot(in, space, &entry.dot) || !take_qty(in, &entry.qty) ||
        line->updated_us > space->stamp_us)
        return CE_CORRUPT;
    if (entry.is_set)
        entry.ts_us = line->updated_us;
    struct cart_info info = info_of(line, entry.dot);
    if (cart_row_add_info(row, &info) || cart_row_add_entry(row, &entry))
        return CE_NOMEM;
    return 0;
}

int cart_row_read(struct slice bytes, const struct cart_space *space, struct cart_row *row)
{
    struct slice body;
    struct cart_line line;
    uint8_t flags;
    if (!take_body(&bytes, &body) || !take_shown(&body, &flags, &line))
        return CE_CORRUPT;
    cart_row_reset(row, line.line);
    int err;
    if (flags & LINE_PLAIN) {
        err = read_plain(&body, flags, &line, space, row);
    } else {
        err = take_infos(&body, &line, space, row);
        if (!err)
            err = take_entries(&body, space, row);
    }
    return !err && body.len ? CE_CORRUPT : err;
}

/* ---- writing ----------------------------------------------------------------------------------
 */

/* The SET with the greatest (stamp, dot), and all ADDs that are no retry. */
static int64_t row_qty(const struct cart_row *row)
{
    const struct cart_entry *set = NULL;
    int64_t sum = 0;
    for (size_t i = 0; i < row->entries_count; i++) {
        const struct cart_entry *entry = &row->entries[i];
        if (!entry->is_set)
            sum += (entry->hidden ? 0 : entry->qty) + entry->carried;
        else if (!set || entry->ts_us >= set->ts_us)
            set = entry;
    }
    return clamp_qty(sum + (set ? set->qty : 0));
}

/* A row without any info (its actor was pruned elsewhere) shows this. */
static const struct cart_info info_none = {.checked = true};

static void show(const struct cart_row *row, struct cart_line *line)
{
    const struct cart_info *info = row->infos_count ? row->infos : &info_none;
    *line = (struct cart_line){.line = row->key,
                               .shop = info->shop,
                               .ext = info->ext,
                               .qty = row_qty(row),
                               .has_price = info->has_price,
                               .checked = info->checked,
                               .price = info->price,
                               .added_us = info->added_us,
                               .updated_us = info->updated_us};
}

static bool row_plain(const struct cart_row *row)
{
    if (row->infos_count != 1 || row->entries_count != 1)
        return false;
    const struct cart_entry *entry = row->entries;
    return cart_dot_cmp(entry->dot, row->infos->dot) == 0 && !entry->hidden && !entry->token &&
           !entry->carried && (!entry->is_set || entry->ts_us == row->infos->updated_us);
}

static uint8_t info_flags(const struct cart_info *info)
{
    return (uint8_t)((info->checked ? LINE_CHECKED : 0) | (info->has_price ? LINE_PRICE : 0) |
                     (info->shop.len ? LINE_SHOP : 0) | (info->ext.len ? LINE_EXT : 0));
}

static uint8_t *put_bytes(uint8_t *at, struct slice bytes)
{
    at += varint_put(at, bytes.len);
    memcpy(at, bytes.bytes, bytes.len);
    return at + bytes.len;
}

static uint8_t *put_fields(uint8_t *at, const struct cart_info *info)
{
    at += varint_put(at, info->updated_us - STAMP_EPOCH_US);
    at += varint_put(at, info->updated_us - info->added_us);
    if (info->has_price)
        at += varint_put(at, (uint64_t)info->price);
    if (info->shop.len)
        at = put_bytes(at, info->shop);
    if (info->ext.len)
        at = put_bytes(at, info->ext);
    return at;
}

static uint8_t *put_dot(uint8_t *at, struct cart_dot dot)
{
    at += varint_put(at, dot.actor);
    return at + varint_put(at, dot.seq);
}

static uint8_t *put_entry(uint8_t *at, const struct cart_entry *entry)
{
    uint64_t flags = (entry->is_set ? ENTRY_SET : 0) | (entry->token ? ENTRY_TOKEN : 0) |
                     (entry->hidden ? ENTRY_HIDDEN : 0) | (entry->carried ? ENTRY_CARRIED : 0);
    at += varint_put(at, (uint64_t)entry->dot.actor << ENTRY_SHIFT | flags);
    at += varint_put(at, entry->dot.seq);
    at += varint_put(at, zigzag(entry->qty));
    if (entry->carried)
        at += varint_put(at, zigzag(entry->carried));
    if (entry->is_set || entry->token)
        at += varint_put(at, entry->ts_us - STAMP_EPOCH_US);
    if (entry->token) {
        memcpy(at, &entry->token, 8);
        at += 8;
    }
    return at;
}

static uint8_t *put_general(uint8_t *at, const struct cart_row *row, int64_t qty)
{
    at += varint_put(at, (uint64_t)qty);
    at += varint_put(at, row->infos_count);
    for (size_t i = 0; i < row->infos_count; i++) {
        at = put_dot(at, row->infos[i].dot);
        if (i == 0)
            continue;
        *at++ = info_flags(&row->infos[i]);
        at = put_fields(at, &row->infos[i]);
    }
    at += varint_put(at, row->entries_count);
    for (size_t i = 0; i < row->entries_count; i++)
        at = put_entry(at, &row->entries[i]);
    return at;
}

static size_t row_bytes_max(const struct cart_row *row)
{
    size_t max = LINE_BYTES_MAX + INFO_BYTES_MAX + row->entries_count * ENTRY_BYTES_MAX;
    for (size_t i = 0; i < row->infos_count; i++)
        max += INFO_BYTES_MAX + row->infos[i].ext.len;
    return max;
}

int cart_row_write(const struct cart_row *row, struct buf *out, struct cart_line *shows)
{
    show(row, shows);
    if (buf_reserve(out, row_bytes_max(row) + VARINT_MAX))
        return CE_NOMEM;
    const struct cart_info *info = row->infos_count ? row->infos : &info_none;
    bool plain = row_plain(row);
    uint8_t *length = out->bytes + out->len, *body = length + VARINT_MAX, *at = body;
    *at++ = (uint8_t)row->key.len;
    memcpy(at, row->key.bytes, row->key.len);
    at += row->key.len;
    *at++ = info_flags(info) |
            (uint8_t)(plain ? LINE_PLAIN | (row->entries->is_set ? LINE_SET : 0) : 0);
    at = put_fields(at, info);
    if (plain) {
        at = put_dot(at, info->dot);
        at += varint_put(at, zigzag(row->entries->qty));
    } else {
        at = put_general(at, row, shows->qty);
    }
    size_t body_len = (size_t)(at - body);
    size_t length_len = varint_put(length, body_len);
    memmove(length + length_len, body, body_len);
    out->len += length_len + body_len;
    return 0;
}

/* ---- a flat line ------------------------------------------------------------------------------
 */

/* An entry that is just a SET or an ADD. */
static bool take_bare(struct slice *in, struct cart_flat *flat)
{
    uint64_t first;
    struct cart_entry entry = {0};
    if (!varint_take(in, &first) || !varint_take(in, &entry.dot.seq) || !take_qty(in, &entry.qty))
        return false;
    entry.dot.actor = (uint32_t)(first >> ENTRY_SHIFT);
    first &= (1u << ENTRY_SHIFT) - 1;
    if (first == 0 && !flat->has_add) {
        flat->has_add = true;
        flat->add_qty = entry.qty;
        return true;
    }
    if (first != ENTRY_SET || flat->has_set || !take_stamp(in, &entry.ts_us))
        return false;
    entry.is_set = flat->has_set = true;
    flat->set = entry;
    return true;
}

static bool take_bare_entries(struct slice *in, struct cart_flat *flat)
{
    uint64_t number, infos, entries;
    return varint_take(in, &number) && varint_take(in, &infos) && infos == 1 &&
           varint_take(in, &number) && varint_take(in, &number) && varint_take(in, &entries) &&
           (entries == 1 || entries == 2) && take_bare(in, flat) &&
           (entries == 1 || take_bare(in, flat));
}

static bool take_plain_entry(struct slice *in, uint8_t flags, struct cart_flat *flat)
{
    uint64_t actor;
    struct cart_entry entry = {.is_set = flags & LINE_SET, .ts_us = flat->shows.updated_us};
    if (!varint_take(in, &actor) || !varint_take(in, &entry.dot.seq) || !take_qty(in, &entry.qty))
        return false;
    entry.dot.actor = (uint32_t)actor;
    flat->has_set = entry.is_set;
    flat->has_add = !entry.is_set;
    if (entry.is_set)
        flat->set = entry;
    else
        flat->add_qty = entry.qty;
    return true;
}

bool cart_flat_take(struct slice bytes, struct cart_flat *out)
{
    struct slice body;
    struct cart_line *line = &out->shows;
    out->has_set = out->has_add = false;
    out->add_qty = 0;
    if (!take_body(&bytes, &body) || body.len < 2 || body.len < 2u + body.bytes[0])
        return false;
    line->line = slice_of(body.bytes + 1, body.bytes[0]);
    uint8_t flags = body.bytes[1 + line->line.len];
    body = slice_from(body, 2 + line->line.len);
    if (!take_fields(&body, flags, line))
        return false;
    bool taken =
        flags & LINE_PLAIN ? take_plain_entry(&body, flags, out) : take_bare_entries(&body, out);
    line->qty = (out->has_set ? out->set.qty : 0) + (out->has_add ? out->add_qty : 0);
    return taken && body.len == 0 && line->qty > 0 && line->qty <= LINE_QTY_MAX;
}

size_t cart_flat_put(const struct cart_flat *flat, uint8_t *out)
{
    const struct cart_line *line = &flat->shows;
    struct cart_info info = info_of(line, flat->dot);
    bool both = flat->has_set && flat->has_add;
    uint8_t *body = out + 2, *at = body; /* its length has one byte, or two */
    *at++ = (uint8_t)line->line.len;
    memcpy(at, line->line.bytes, line->line.len);
    at += line->line.len;
    *at++ = info_flags(&info) | (uint8_t)(both            ? 0
                                          : flat->has_set ? LINE_PLAIN | LINE_SET
                                                          : LINE_PLAIN);
    at = put_fields(at, &info);
    if (both) {
        struct cart_entry add = {.dot = flat->dot, .qty = flat->add_qty};
        at += varint_put(at, (uint64_t)line->qty);
        *at++ = 1;
        at = put_dot(at, flat->dot);
        *at++ = 2;
        at = put_entry(at, &flat->set);
        at = put_entry(at, &add);
    } else {
        at = put_dot(at, flat->dot);
        at += varint_put(at, zigzag(line->qty));
    }
    size_t body_len = (size_t)(at - body), length_len = varint_put(out, body_len);
    if (length_len < 2)
        memmove(out + length_len, body, body_len);
    return length_len + body_len;
}

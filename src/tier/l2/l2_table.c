/* Tables of LevelDB: the rows of all blocks that are good.
 *
 * A table is blocks, then a footer: handles (offset varint | bytes varint) of two of them, zeros,
 * magic u64. A block is entries (shared varint | rest varint | value bytes varint | rest of the key
 * | value), restarts u32 each, their count u32; behind it compression u8 | sum u32 of all before.
 * The values of the second block's entries are the handles of those that have the rows; a row's key
 * ends with its type u8 | number u56. We write none that is compressed. */
#include "tier/l2/l2_int.h"

#define FOOTER_BYTES 48u
#define MAGIC_AT     40u
#define MAGIC        0xdb4775248b80fb57ull
#define TRAIL_BYTES  5u
#define PLAIN        0 /* compression */
#define KEY_END      8u
#define KEY_MAX      (L2_DBKEY_MAX + KEY_END)

/* A walk through the entries of a block. */
struct entry {
    struct slice rest;
    uint8_t key[KEY_MAX];
    size_t key_len;
    struct slice value;
};

/* The block whose handle is taken off *in; false when it is not good. */
static bool take_block(struct slice table, struct slice *in, struct slice *block)
{
    uint64_t at, len, end = table.len - FOOTER_BYTES;
    if (!varint_take(in, &at) || !varint_take(in, &len) || at > end || len > end - at ||
        TRAIL_BYTES > end - at - len)
        return false;
    *block = slice_of(table.bytes + at, len);
    const uint8_t *trail = block->bytes + len;
    return trail[0] == PLAIN && l2_u32(trail + 1) == l2_sum(slice_of(block->bytes, len + 1));
}

static void begin_block(struct entry *entry, struct slice block)
{
    entry->key_len = 0;
    entry->rest = slice_of(block.bytes, 0);
    if (block.len < sizeof(uint32_t))
        return;
    uint64_t restarts = l2_u32(block.bytes + block.len - sizeof(uint32_t));
    uint64_t bytes = (restarts + 1) * sizeof(uint32_t);
    entry->rest.len = bytes > block.len ? 0 : block.len - bytes;
}

/* To the next entry; false behind the last. */
static bool next_entry(struct entry *entry)
{
    uint64_t shared, more, bytes;
    struct slice *rest = &entry->rest;
    if (!varint_take(rest, &shared) || !varint_take(rest, &more) || !varint_take(rest, &bytes) ||
        more > rest->len || bytes > rest->len - more || shared > entry->key_len ||
        more > KEY_MAX - shared)
        return false;
    memcpy(entry->key + shared, rest->bytes, more);
    entry->key_len = shared + more;
    entry->value = slice_of(rest->bytes + more, bytes);
    *rest = slice_from(*rest, more + bytes);
    return true;
}

static int each_of_block(struct slice block, l2_row_fn *each, void *arg)
{
    struct entry entry;
    int rc = 0;
    begin_block(&entry, block);
    while (rc == 0 && next_entry(&entry)) {
        if (entry.key_len < KEY_END)
            continue;
        size_t key_len = entry.key_len - KEY_END;
        uint64_t end = l2_u64(entry.key + key_len);
        const struct l2_row row = {.number = end >> 8,
                                   .is_gone = (end & 0xff) == L2_ROW_GONE,
                                   .key = slice_of(entry.key, key_len),
                                   .value = entry.value};
        rc = each(arg, &row);
    }
    return rc;
}

int l2_table_each(struct slice table, l2_row_fn *each, void *arg)
{
    struct slice block;
    struct entry index;
    uint64_t ignored;
    int rc = 0;
    if (table.len < FOOTER_BYTES)
        return 0;
    struct slice footer = slice_from(table, table.len - FOOTER_BYTES);
    if (l2_u64(footer.bytes + MAGIC_AT) != MAGIC || !varint_take(&footer, &ignored) ||
        !varint_take(&footer, &ignored) || !take_block(table, &footer, &block))
        return 0;
    begin_block(&index, block);
    while (rc == 0 && next_entry(&index))
        if (take_block(table, &index.value, &block))
            rc = each_of_block(block, each, arg);
    return rc;
}

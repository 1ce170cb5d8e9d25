/* Logs of LevelDB: the rows of all batches that are good.
 *
 * A log is blocks of fragments, none across two: sum u32 of the rest | length u16 | type u8 |
 * bytes, little-endian. A batch is one fragment, or a first one, middle ones and a last one: number
 * u64 of its first row | rows u32 | rows. A row: type u8 | key | value, if it has one; each with
 * its length as a varint before. A batch that a power loss has torn is none. */
#include "tier/l2/l2_int.h"

#define BLOCK_BYTES      32768u
#define HEAD_BYTES       7u
#define SUMMED_AT        6u
#define BATCH_HEAD_BYTES 12u
#define CRC32C           0x82f63b78u
#define SUM_MASK         0xa282ead8u

enum fragment { TORN = 0, WHOLE = 1, FIRST = 2, MIDDLE = 3, LAST = 4 };

uint32_t l2_sum(struct slice bytes)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < bytes.len; i++) {
        crc ^= bytes.bytes[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? CRC32C : 0);
    }
    crc = ~crc;
    return (crc >> 15 | crc << 17) + SUM_MASK;
}

/* What begins at *at, which moves behind it; behind the block when its length can't be. */
static enum fragment next_fragment(struct slice log, size_t *at, struct slice *bytes)
{
    const uint8_t *head = log.bytes + *at;
    size_t block_end = *at - *at % BLOCK_BYTES + BLOCK_BYTES;
    size_t end = log.len < block_end ? log.len : block_end;
    *bytes = slice_of(head, 0);
    if (end - *at < HEAD_BYTES) {
        *at = end;
        return MIDDLE; /* no room for a head: nothing */
    }
    size_t len = head[4] | (size_t)head[5] << 8;
    uint8_t type = head[SUMMED_AT];
    if (type < WHOLE || type > LAST || len > end - *at - HEAD_BYTES) {
        *at = end;
        return TORN;
    }
    *at += HEAD_BYTES + len;
    *bytes = slice_of(head + HEAD_BYTES, len);
    bool is_good = l2_u32(head) == l2_sum(slice_of(head + SUMMED_AT, 1 + len));
    return is_good ? (enum fragment)type : TORN;
}

/* The next good batch behind *at, which moves behind it. False: there is none, or *rc is CE_NOMEM.
 */
static bool next_batch(struct slice log, size_t *at, struct buf *batch, int *rc)
{
    bool begun = false;
    while (*at < log.len && *rc == 0) {
        struct slice bytes;
        enum fragment fragment = next_fragment(log, at, &bytes);
        bool begins = fragment == WHOLE || fragment == FIRST;
        begun = begins || (begun && fragment != TORN);
        if (begins)
            batch->len = 0;
        if (begun)
            *rc = buf_append(batch, bytes.bytes, bytes.len);
        if (*rc == 0 && begun && (fragment == WHOLE || fragment == LAST))
            return true;
    }
    return false;
}

static bool take_text(struct slice *in, struct slice *text)
{
    uint64_t len;
    if (!varint_take(in, &len) || len > in->len)
        return false;
    *text = slice_of(in->bytes, len);
    *in = slice_from(*in, len);
    return true;
}

static int each_of_batch(struct slice batch, l2_row_fn *each, void *arg)
{
    int rc = 0;
    if (batch.len < BATCH_HEAD_BYTES)
        return 0;
    struct l2_row row = {.number = l2_u64(batch.bytes)};
    struct slice rest = slice_from(batch, BATCH_HEAD_BYTES);
    for (; rest.len && rc == 0; row.number++) {
        row.is_gone = rest.bytes[0] == L2_ROW_GONE;
        row.value = slice_str("");
        rest = slice_from(rest, 1);
        if (!take_text(&rest, &row.key) || (!row.is_gone && !take_text(&rest, &row.value)))
            break;
        rc = each(arg, &row);
    }
    return rc;
}

int l2_log_each(struct slice log, l2_row_fn *each, void *arg)
{
    struct buf batch = {0};
    size_t at = 0;
    int rc = 0;
    while (rc == 0 && next_batch(log, &at, &batch, &rc))
        rc = each_of_batch(buf_slice(&batch), each, arg);
    buf_free(&batch);
    return rc;
}

/* dump: lists the keys in memory for those who look for them: `lru_crawler metadump`, `mgdump`, and
 * `stats cachedump`. Walks through L1 some buckets at a time, until the output is full or others
 * should have a turn; where it was is session->get_offset, and it is run again from there. So no
 * lock is held for long and no connection gathers output; what comes or goes meanwhile may be
 * listed or not. A line is as memcached writes it. */
#include "cmd/cmd_int.h"

#define WALKS_PER_TURN 64 /* of l1_walk; then others have a turn */

struct dump {
    struct session *session;
    enum dump_form form;
    uint64_t classes;
    uint32_t limit; /* 0 = none */
    int rc;
};

static int put_encoded(struct buf *out, struct slice key)
{
    static const char digits[] = "0123456789ABCDEF", plain[] = "-._~";
    for (size_t i = 0; i < key.len; i++) {
        uint8_t byte = key.bytes[i];
        uint8_t letter = byte | 0x20;
        bool is_plain = (letter >= 'a' && letter <= 'z') || (byte >= '0' && byte <= '9') ||
                        (byte && strchr(plain, byte));
        char code[] = {'%', digits[byte >> 4], digits[byte & 15]};
        if (is_plain ? buf_append(out, &byte, 1) : buf_append(out, code, sizeof code))
            return CE_NOMEM;
    }
    return 0;
}

/* Of a cart only key and size are known here; that it has no end and no cas is not said by it. */
static int put_meta(const struct dump *dump, const struct l1_item *item)
{
    const struct cmd *cmd = dump->session->cmd;
    struct buf *out = dump->session->out;
    bool is_plain = item->kind == L1_PLAIN;
    const struct l1_plain none = {0};
    const struct l1_plain *plain = is_plain ? &item->plain : &none;
    int64_t end_s = plain->exptime_s ? (int64_t)clock_wall_s(cmd, plain->exptime_s) : -1;
    uint64_t used_s = is_plain ? clock_wall_s(cmd, plain->used_s) : 0;
    if (buf_append_str(out, "key=") || put_encoded(out, l1_key(item)))
        return CE_NOMEM;
    return buf_printf(out, " exp=%lld la=%llu cas=%llu fetch=%s cls=%d size=%zu\n",
                      (long long)end_s, (unsigned long long)used_s, (unsigned long long)plain->cas,
                      is_plain && item_fetched(item) ? "yes" : "no",
                      is_plain ? CLASS_PLAIN : CLASS_CART,
                      sizeof *item + item->key_bytes + item->value_bytes);
}

/* A key that would end a word goes as base64. */
static int put_mg(struct buf *out, struct slice key)
{
    bool is_text = true;
    for (size_t i = 0; i < key.len; i++)
        is_text = is_text && key.bytes[i] > ' ' && key.bytes[i] != 0x7f;
    if (buf_append_str(out, "mg ") ||
        (is_text ? buf_append(out, key.bytes, key.len) : proto_base64_encode(key, out)))
        return CE_NOMEM;
    return buf_append_str(out, is_text ? "\r\n" : " b\r\n");
}

static int put_cached(const struct dump *dump, const struct l1_item *item)
{
    struct buf *out = dump->session->out;
    bool ends = item->kind == L1_PLAIN && item->plain.exptime_s;
    uint64_t end_s = ends ? clock_wall_s(dump->session->cmd, item->plain.exptime_s) : 0;
    if (buf_append_str(out, "ITEM ") || buf_append(out, item->_bytes, item->key_bytes))
        return CE_NOMEM;
    return buf_printf(out, " [%u b; %llu s]\r\n", (unsigned)item->value_bytes,
                      (unsigned long long)end_s);
}

/* Under the stripe's lock. */
static void put_item(void *arg, const struct l1_item *item)
{
    struct dump *dump = arg;
    enum l1_kind kind = item->kind;
    unsigned class = kind == L1_PLAIN ? CLASS_PLAIN : CLASS_CART;
    bool enough = dump->limit && dump->session->dump_count >= dump->limit;
    if (dump->rc || enough || kind == L1_ABSENT || !(dump->classes >> class & 1))
        return;
    if (kind == L1_PLAIN && !item_alive(dump->session->cmd, item))
        return;
    dump->session->dump_count++;
    if (dump->form != DUMP_CACHE)
        count(&dump->session->worker->crawler_items_checked);
    switch (dump->form) {
    case DUMP_META: dump->rc = put_meta(dump, item); break;
    case DUMP_MG: dump->rc = put_mg(dump->session->out, l1_key(item)); break;
    case DUMP_CACHE: dump->rc = put_cached(dump, item); break;
    }
}

static enum run end_dump(struct dump *dump)
{
    if (dump->rc == 0)
        dump->rc = text_line(dump->session->out, dump->form == DUMP_MG ? "EN" : "END");
    return reply_end(dump->session, dump->rc);
}

enum run dump_run(struct session *session, enum dump_form form, uint64_t classes, uint32_t limit)
{
    struct dump dump = {.session = session, .form = form, .classes = classes, .limit = limit};
    if (session->get_offset == 0) {
        session->dump_count = 0;
        if (form != DUMP_CACHE)
            count(&session->worker->lru_crawler_starts);
    }
    for (unsigned turn = 0; turn < WALKS_PER_TURN; turn++) {
        if (net_out_full(session->conn))
            return RUN_FULL;
        session->get_offset =
            l1_walk(tier_l1(session->cmd->tier), session->get_offset, put_item, &dump);
        bool enough = limit && session->dump_count >= limit;
        if (dump.rc || enough || session->get_offset == 0)
            return end_dump(&dump);
    }
    return RUN_FULL;
}
_Static_assert(sizeof(size_t) == sizeof(uint64_t), "get_offset holds a place of l1_walk");

/* Bytes of keys and records. */
#include "tier/l2/l2_int.h"

#define FORMAT   2
#define SUM_AT   33
#define STATE_AT L2_RECORD_BYTES

static void put_number(uint8_t *out, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        out[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t get_number(const uint8_t *in, int bytes)
{
    uint64_t value = 0;
    for (int i = bytes - 1; i >= 0; i--)
        value = value << 8 | in[i];
    return value;
}

void l2_dbkey_cart(struct l2_dbkey *dbkey, enum l2_kind kind, struct slice key)
{
    MUST(key.len > 0 && key.len <= L2_KEY_MAX);
    uint32_t hash = hash_ring(key);
    dbkey->bytes[0] = (char)kind;
    for (int i = 0; i < 4; i++)
        dbkey->bytes[1 + i] = (char)(hash >> (24 - 8 * i));
    memcpy(dbkey->bytes + L2_KEY_HEAD, key.bytes, key.len);
    dbkey->len = L2_KEY_HEAD + key.len;
}

/* Big-endian, so that the order of bytes is that of numbers. */
void l2_dbkey_entry(struct l2_dbkey *dbkey, enum l2_list list, uint64_t number, struct slice key)
{
    MUST(key.len <= L2_KEY_MAX);
    dbkey->bytes[0] = (char)list;
    for (int i = 0; i < 8; i++)
        dbkey->bytes[1 + i] = (char)(number >> (56 - 8 * i));
    if (key.len)
        memcpy(dbkey->bytes + L2_LIST_HEAD, key.bytes, key.len);
    dbkey->len = L2_LIST_HEAD + key.len;
}

bool l2_dbkey_take_entry(struct slice dbkey, uint64_t *number, struct slice *key)
{
    *number = 0;
    if (dbkey.len <= L2_LIST_HEAD || dbkey.len > L2_DBKEY_MAX)
        return false;
    for (int i = 0; i < 8; i++)
        *number = *number << 8 | dbkey.bytes[1 + i];
    *key = slice_from(dbkey, L2_LIST_HEAD);
    return true;
}

void l2_dbkey_meta(struct l2_dbkey *dbkey, const char *name)
{
    size_t len = strlen(name);
    MUST(len > 0 && len <= L2_NAME_MAX);
    dbkey->bytes[0] = L2_META;
    memcpy(dbkey->bytes + 1, name, len);
    dbkey->len = 1 + len;
}

static uint64_t sum_record(struct slice key, struct slice record)
{
    uint64_t seed = hash_64_seed(slice_of(record.bytes, SUM_AT), hash_64(key));
    return hash_64_seed(slice_from(record, STATE_AT), seed);
}

int l2_record_encode(struct slice key, const struct l2_cart *cart, struct buf *out)
{
    uint8_t head[STATE_AT] = {FORMAT};
    put_number(head + 1, cart->boot, 8);
    put_number(head + 9, cart->actor, 8);
    put_number(head + 17, cart->l3_rev, 4);
    put_number(head + 21, cart->lsn, 8);
    put_number(head + 29, cart->record_bytes, 4);
    out->len = 0;
    if (buf_append(out, head, sizeof head) || buf_append(out, cart->state.bytes, cart->state.len))
        return CE_NOMEM;
    put_number(out->bytes + SUM_AT, sum_record(key, buf_slice(out)), 8);
    return 0;
}

int l2_record_decode(struct slice key, struct slice record, struct l2_cart *out)
{
    *out = (struct l2_cart){0};
    if (record.len < STATE_AT || record.bytes[0] != FORMAT ||
        get_number(record.bytes + SUM_AT, 8) != sum_record(key, record))
        return CE_CORRUPT;
    out->boot = get_number(record.bytes + 1, 8);
    out->actor = get_number(record.bytes + 9, 8);
    out->l3_rev = (uint32_t)get_number(record.bytes + 17, 4);
    out->lsn = get_number(record.bytes + 21, 8);
    out->record_bytes = (uint32_t)get_number(record.bytes + 29, 4);
    out->state = slice_from(record, STATE_AT);
    return 0;
}

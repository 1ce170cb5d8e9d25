/* buckets: which rules a key has. A table of prefixes that never changes once it is published: a
 * reload publishes another one, and the old ones are kept to the end, because workers may be
 * looking at them. The longest prefix decides. */
#include "cmd/cmd_int.h"

#include <stdio.h>
#include <stdlib.h>

struct bucket_prefix {
    struct slice text;
    const struct cmd_bucket *bucket; /* of this table, or of an older one when it was kept */
};

/* Rows are sorted by first byte, then the longest first; those with first byte b are first[b] ..
 * first[b + 1] - 1. */
struct bucket_table {
    const struct bucket_table *older;
    unsigned age; /* how many older ones there are */
    struct cmd_bucket *buckets;
    size_t buckets_count, rows_count;
    uint16_t first[UINT8_MAX + 2];
    struct bucket_prefix rows[CMD_PREFIXES_MAX];
};

static const char *const class_names[] = {
#define X(name, text) text,
    CMD_CLASSES(X)
#undef X
};

static const char *const policy_names[] = {
#define X(name, text) text,
    CART_POLICIES(X)
#undef X
};

/* ---- looking ---- */

static const struct bucket_prefix *find_row(const struct bucket_table *table, struct slice key)
{
    if (key.len == 0)
        return NULL;
    size_t end = table->first[key.bytes[0] + 1];
    for (size_t i = table->first[key.bytes[0]]; i < end; i++)
        if (slice_starts(key, table->rows[i].text))
            return &table->rows[i];
    return NULL;
}

static const struct bucket_table *table_of(const struct cmd *cmd)
{
    return atomic_load_explicit(&cmd->buckets, memory_order_acquire);
}

const struct cmd_bucket *buckets_find(const struct cmd *cmd, struct slice key, size_t *prefix_bytes)
{
    const struct bucket_prefix *row = find_row(table_of(cmd), key);
    *prefix_bytes = row ? row->text.len : 0;
    return row ? row->bucket : NULL;
}

/* ---- making ---- */

static void free_table(const struct bucket_table *table)
{
    for (size_t i = 0; table && i < table->buckets_count; i++) {
        free((char *)table->buckets[i].name);
        free((char *)table->buckets[i].prefixes);
    }
    if (table)
        free(table->buckets);
    free((void *)table);
}

static int copy_buckets(struct bucket_table *table, const struct cmd_bucket *buckets, size_t count)
{
    table->buckets = calloc(count + 1, sizeof *buckets);
    for (size_t i = 0; table->buckets && i < count; i++) {
        struct cmd_bucket *copy = &table->buckets[i];
        *copy = buckets[i];
        table->buckets_count++;
        copy->name = strdup(buckets[i].name);
        copy->prefixes = strdup(buckets[i].prefixes);
        if (!copy->name || !copy->prefixes)
            return CE_NOMEM;
    }
    return table->buckets ? 0 : CE_NOMEM;
}

static int compare_rows(const void *left, const void *right)
{
    const struct slice *a = &((const struct bucket_prefix *)left)->text;
    const struct slice *b = &((const struct bucket_prefix *)right)->text;
    if (a->bytes[0] != b->bytes[0])
        return a->bytes[0] < b->bytes[0] ? -1 : 1;
    if (a->len != b->len)
        return a->len > b->len ? -1 : 1;
    return memcmp(a->bytes, b->bytes, a->len);
}

static void sort_rows(struct bucket_table *table)
{
    size_t at = 0;
    qsort(table->rows, table->rows_count, sizeof table->rows[0], compare_rows);
    for (unsigned byte = 0; byte <= UINT8_MAX + 1; byte++) {
        while (at < table->rows_count && table->rows[at].text.bytes[0] < byte)
            at++;
        table->first[byte] = (uint16_t)at;
    }
}

static int add_row(struct bucket_table *table, struct slice text, const struct cmd_bucket *bucket)
{
    if (table->rows_count == CMD_PREFIXES_MAX)
        return CE_BUSY;
    table->rows[table->rows_count++] = (struct bucket_prefix){.text = text, .bucket = bucket};
    return 0;
}

static int add_prefixes(struct bucket_table *table, const struct cmd_bucket *bucket)
{
    const char *at = bucket->prefixes;
    int rc = *at ? 0 : CE_INVAL;
    while (rc == 0 && *at) {
        size_t len = strcspn(at, " ");
        if (len == 0 || len > CMD_PREFIX_BYTES_MAX)
            return CE_INVAL;
        rc = add_row(table, slice_of((const uint8_t *)at, len), bucket);
        at += len + (at[len] == ' ');
    }
    return rc;
}

static int make_table(const struct cmd_bucket *buckets, size_t count, struct bucket_table **out)
{
    struct bucket_table *table = *out = calloc(1, sizeof *table);
    int rc = table ? copy_buckets(table, buckets, count) : CE_NOMEM;
    for (size_t i = 0; rc == 0 && i < count; i++)
        rc = add_prefixes(table, &table->buckets[i]);
    if (rc)
        return rc;
    sort_rows(table);
    for (size_t i = 1; i < table->rows_count; i++)
        if (slice_eq(table->rows[i - 1].text, table->rows[i].text))
            return CE_INVAL;
    return 0;
}

int buckets_begin(struct cmd *cmd, const struct cmd_bucket *buckets, size_t count)
{
    struct bucket_table *table;
    int rc = make_table(buckets, count, &table);
    if (rc) {
        free_table(table);
        return rc;
    }
    atomic_store_explicit(&cmd->buckets, table, memory_order_release);
    return 0;
}

void buckets_free(struct cmd *cmd)
{
    const struct bucket_table *table = table_of(cmd);
    while (table) {
        const struct bucket_table *older = table->older;
        free_table(table);
        table = older;
    }
    atomic_store_explicit(&cmd->buckets, NULL, memory_order_relaxed);
}

/* ---- a reload: what can't change stays ---- */

static bool are_carts(const struct bucket_prefix *row)
{
    return row && row->bucket->class == CMD_CART;
}

static bool is_row_of(const struct bucket_prefix *row, struct slice text)
{
    return row && row->text.len == text.len; /* it was found by this text */
}

/* Items become no carts and carts no items while somebody may be using them. */
static void keep_classes(struct bucket_table *table, const struct bucket_table *old)
{
    size_t left = 0;
    for (size_t i = 0; i < table->rows_count; i++) {
        struct bucket_prefix row = table->rows[i];
        const struct bucket_prefix *was = find_row(old, row.text);
        if (is_row_of(was, row.text) && was->bucket->class != row.bucket->class) {
            log_warn("cmd", "reload: class of prefix %.*s stays %s; %s needs a restart",
                     (int)row.text.len, (const char *)row.text.bytes,
                     class_names[was->bucket->class], class_names[row.bucket->class]);
            row.bucket = was->bucket;
        } else if (are_carts(was) && row.bucket->class != CMD_CART) {
            log_warn("cmd", "reload: keys below %.*s stay carts; %s needs a restart",
                     (int)row.text.len, (const char *)row.text.bytes,
                     class_names[row.bucket->class]);
            continue;
        }
        table->rows[left++] = row;
    }
    table->rows_count = left;
    sort_rows(table);
}

/* The bucket that a kept prefix belongs to by name, else what it had. */
static const struct cmd_bucket *find_heir(const struct bucket_table *table,
                                          const struct cmd_bucket *was)
{
    for (size_t i = 0; i < table->buckets_count; i++) {
        const struct cmd_bucket *bucket = &table->buckets[i];
        if (strcmp(bucket->name, was->name) == 0 && bucket->guest == was->guest &&
            bucket->class == was->class)
            return bucket;
    }
    return was;
}

/* Prefixes of carts that are gone, unless a shorter one takes their carts. */
static int keep_carts(struct bucket_table *table, const struct bucket_table *old)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < old->rows_count; i++) {
        const struct bucket_prefix *was = &old->rows[i];
        if (!are_carts(was) || are_carts(find_row(table, was->text)))
            continue;
        log_warn("cmd", "reload: prefix %.*s stays in bucket %s; taking it away needs a restart",
                 (int)was->text.len, (const char *)was->text.bytes, was->bucket->name);
        rc = add_row(table, was->text, find_heir(table, was->bucket));
    }
    sort_rows(table);
    return rc;
}

int cmd_buckets_reload(struct cmd *cmd, const struct cmd_bucket *buckets, size_t count)
{
    MUST_OBJ(cmd, CMD_MAGIC);
    const struct bucket_table *old = table_of(cmd);
    struct bucket_table *table = NULL;
    int rc = old->age < CMD_RELOADS_MAX ? make_table(buckets, count, &table) : CE_BUSY;
    if (rc == 0) {
        keep_classes(table, old);
        rc = keep_carts(table, old);
    }
    if (rc) {
        free_table(table);
        return rc;
    }
    table->older = old;
    table->age = old->age + 1;
    atomic_store_explicit(&cmd->buckets, table, memory_order_release);
    return 0;
}

/* ---- stats settings ---- */

struct naming {
    const struct stat_sink *sink;
    char name[CMD_BUCKET_NAME_BYTES + 64];
    size_t head_bytes;
};

static const char *name_of(struct naming *naming, const char *setting)
{
    snprintf(naming->name + naming->head_bytes, sizeof naming->name - naming->head_bytes, "%s",
             setting);
    return naming->name;
}

static void put_text(struct naming *naming, const char *setting, const char *text)
{
    stat_text(naming->sink, name_of(naming, setting), text);
}

static void put_u64(struct naming *naming, const char *setting, uint64_t value)
{
    stat_u64(naming->sink, name_of(naming, setting), value);
}

static void put_prefixes(struct naming *naming, const struct bucket_table *table,
                         const struct cmd_bucket *bucket)
{
    char text[CMD_PREFIXES_MAX * (CMD_PREFIX_BYTES_MAX + 1) + 1];
    size_t len = 0;
    for (size_t i = 0; i < table->rows_count; i++) {
        const struct bucket_prefix *row = &table->rows[i];
        if (row->bucket == bucket)
            len += (size_t)snprintf(text + len, sizeof text - len, "%s%.*s", len ? " " : "",
                                    (int)row->text.len, (const char *)row->text.bytes);
    }
    put_text(naming, "prefixes", text);
}

static void put_life(struct naming *naming, const struct cmd_bucket *bucket)
{
    put_u64(naming, "life", bucket->life_us / 1000000);
    if (bucket->class == CMD_CART)
        put_text(naming, "life_kind", bucket->life == CART_LIFE_FIXED ? "fixed" : "sliding");
}

static void put_cart_rules(struct naming *naming, const struct cmd_bucket *bucket)
{
    static const char *const levels[] = {[ACK_RAM] = "ram", [ACK_OS] = "os", [ACK_SYNC] = "sync"};
    put_u64(naming, "lines_max", bucket->limits.lines_max);
    put_u64(naming, "qty_max", bucket->limits.qty_max);
    put_u64(naming, "ext_bytes_max", bucket->limits.ext_bytes_max);
    put_u64(naming, "state_bytes_max", bucket->limits.state_bytes_max);
    put_text(naming, "ack", levels[bucket->ack]);
    put_u64(naming, "redirect_life", bucket->redirect_life_us / 1000000);
    put_u64(naming, "currency_exponent", bucket->currency_exponent);
    put_text(naming, "merge_policy", policy_names[bucket->merge_policy]);
}

/* A bucket of an older table has other rules than the one with its name, if there is one. */
static void put_bucket(const struct stat_sink *sink, const struct bucket_table *table,
                       const struct cmd_bucket *bucket)
{
    struct naming naming = {.sink = sink};
    bool kept = (size_t)((uintptr_t)bucket - (uintptr_t)table->buckets) >=
                table->buckets_count * sizeof *bucket;
    int len = snprintf(naming.name, sizeof naming.name, "bucket_%s%s_%s", kept ? "kept_" : "",
                       bucket->name, bucket->guest ? "guest_" : "");
    naming.head_bytes = (size_t)len;
    put_prefixes(&naming, table, bucket);
    put_life(&naming, bucket);
    if (bucket->guest)
        return; /* all else as the bucket itself */
    put_text(&naming, "class", class_names[bucket->class]);
    if (bucket->class == CMD_CART)
        put_cart_rules(&naming, bucket);
    put_text(&naming, "rescue", bucket->rescue ? "yes" : "no");
}

void buckets_settings(const struct cmd *cmd, const struct stat_sink *sink)
{
    const struct bucket_table *table = table_of(cmd);
    for (size_t i = 0; i < table->rows_count; i++) {
        bool told = false;
        for (size_t before = 0; before < i && !told; before++)
            told = table->rows[before].bucket == table->rows[i].bucket;
        if (!told)
            put_bucket(sink, table, table->rows[i].bucket);
    }
}

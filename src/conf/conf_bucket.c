/* conf_bucket: [bucket NAME] of the config file. A new setting is one row of the table: from it
 * come the file, --help, and what of it is a default that an option sets. */
#include "conf/conf_int.h"

#include <stdlib.h>

/* Which classes of buckets read a setting; in another one it would be a promise without effect. */
enum { OF_CARTS = 1 << CONF_CART, OF_ALL = ~0 };

/* name, argument, kind, field, min, max, default, classes, what it is. No default: the option of
 * the same name, of guest-... the bucket's own setting. */
#define BUCKET_TABLE(X)                                                                            \
    X("class", "CLASS", CLASS, class, 0, 0, "cart", OF_ALL,                                        \
      "what its keys are: cart; checkout or cache: items, in memory only")                         \
    X("prefixes", "LIST", PREFIXES, prefixes, 0, 0, NULL, OF_ALL,                                  \
      "what its keys begin with, separated by spaces or commas; the longest of all buckets "       \
      "decides")                                                                                   \
    X("lines-max", "N", NUMBER, lines_max, 1, CONF_LINES_HARD, NULL, OF_CARTS,                     \
      "most lines of a cart (default: the option)")                                                \
    X("qty-max", "N", NUMBER, qty_max, 1, CONF_QTY_HARD, NULL, OF_CARTS,                           \
      "largest quantity of a line (default: the option)")                                          \
    X("ext-bytes-max", "SIZE", SIZE, ext_bytes_max, 0, CONF_EXT_BYTES_HARD, "512", OF_CARTS,       \
      "longest ext of a line")                                                                     \
    X("state-bytes-max", "SIZE", SIZE, state_bytes_max, 1024, CONF_STATE_BYTES_HARD, "1m",         \
      OF_CARTS, "largest cart, in bytes of its lines")                                             \
    X("ack", "LEVEL", ACK, ack, 0, 0, NULL, OF_CARTS,                                              \
      "when a write is acknowledged: ram, os or sync (default: the option)")                       \
    X("life", "TIME", LIFE, life_s, 0, CONF_LIFE_S_MAX, NULL, OF_ALL,                              \
      "life of a new cart, or item, when the client says none: seconds, or with suffix s, m, h "   \
      "or d; 0 = no end (default: the option, items 0)")                                           \
    X("life-kind", "KIND", LIFE_KIND, life_kind, 0, 0, NULL, OF_CARTS,                             \
      "sliding: it ends so long after the last write; fixed: after the first one "                 \
      "(default: the option)")                                                                     \
    X("redirect-life", "TIME", LIFE, redirect_life_s, 1, CONF_LIFE_S_MAX, "1d", OF_CARTS,          \
      "how long a merged cart leads to the one it was merged into")                                \
    X("currency-exponent", "N", NUMBER, currency_exponent, 0, 4, "2", OF_CARTS,                    \
      "digits of prices behind the point; for those who read, cartd does not use it")              \
    X("merge-policy", "NAME", MERGE, merge_policy, 0, 0, "max", OF_CARTS,                          \
      "how a merge joins quantities when it does not say it: max, sum, src, dst or replace")       \
    X("rescue", "yes|no", FLAG, rescue, 0, 0, "no", OF_ALL,                                        \
      "plain sets of whole carts are merged with what others wrote meanwhile")                     \
    X("guest-prefixes", "LIST", PREFIXES, guest_prefixes, 0, 0, NULL, OF_CARTS,                    \
      "longer prefixes in the bucket, of guests, who have a life of their own")                    \
    X("guest-life", "TIME", LIFE, guest_life_s, 0, CONF_LIFE_S_MAX, NULL, OF_CARTS,                \
      "as life (default: that)")                                                                   \
    X("guest-life-kind", "KIND", LIFE_KIND, guest_life_kind, 0, 0, NULL, OF_CARTS,                 \
      "as life-kind (default: that)")

enum {
#define X(name, arg, kind, field, min, max, standard, classes, what) AT_##field,
    BUCKET_TABLE(X)
#undef X
        SETTINGS_COUNT
};
_Static_assert(SETTINGS_COUNT <= 32, "conf_bucket.given has a bit for each");

static const struct setting {
    struct option_row row;
    int classes;
} settings[SETTINGS_COUNT] = {
#define X(name, arg, kind, field, min, max, standard, classes, what)                               \
    {{0, name, arg, KIND_##kind, offsetof(struct conf_bucket, field), min, max, standard, what},   \
     classes},
    BUCKET_TABLE(X)
#undef X
};

static const struct setting *find_setting(const char *name)
{
    for (size_t i = 0; i < SETTINGS_COUNT; i++)
        if (strcmp(settings[i].row.name, name) == 0)
            return &settings[i];
    return NULL;
}

bool conf_bucket_has(const struct option_row *row)
{
    return find_setting(row->name) != NULL;
}

static bool is_given(const struct conf_bucket *bucket, size_t at)
{
    return bucket->given & 1u << at;
}

/* ---- making ---- */

static bool is_name(const char *name)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-";
    size_t len = strlen(name);
    return len > 0 && len <= CONF_BUCKET_NAME_BYTES_MAX && strspn(name, letters) == len;
}

static struct conf_bucket *find_bucket(const struct conf *conf, const char *name)
{
    for (size_t i = 0; i < conf->buckets_count; i++)
        if (strcmp(conf->buckets[i].name, name) == 0)
            return &conf->buckets[i];
    return NULL;
}

/* `name` must outlive conf. NULL: no memory. */
static struct conf_bucket *add_bucket(struct conf *conf, const char *name)
{
    struct conf_bucket *buckets =
        realloc(conf->buckets, (conf->buckets_count + 1) * sizeof *buckets);
    if (!buckets)
        return NULL;
    conf->buckets = buckets;
    struct conf_bucket *bucket = &buckets[conf->buckets_count++];
    *bucket = (struct conf_bucket){.name = name};
    for (size_t i = 0; i < SETTINGS_COUNT; i++)
        if (settings[i].row.standard)
            MUST(conf_set_value(bucket, &settings[i].row, settings[i].row.standard));
    return bucket;
}

/* ---- prefixes ---- */

/* The next word of a list, which spaces or commas separate; empty at its end. */
static struct slice take_word(const char **list)
{
    static const char separators[] = " ,\t";
    *list += strspn(*list, separators);
    struct slice word = slice_of((const uint8_t *)*list, strcspn(*list, separators));
    *list += word.len;
    return word;
}

static bool has_word(const char *list, struct slice wanted)
{
    struct slice word;
    while (list && (word = take_word(&list)).len)
        if (slice_eq(word, wanted))
            return true;
    return false;
}

static bool is_taken(const struct conf *conf, struct slice prefix)
{
    for (size_t i = 0; i < conf->buckets_count; i++)
        if (has_word(conf->buckets[i].prefixes, prefix) ||
            has_word(conf->buckets[i].guest_prefixes, prefix))
            return true;
    return false;
}

static size_t count_prefixes(const struct conf *conf)
{
    size_t count = 0;
    for (size_t i = 0; i < conf->buckets_count; i++) {
        const char *lists[] = {conf->buckets[i].prefixes, conf->buckets[i].guest_prefixes};
        for (size_t j = 0; j < sizeof lists / sizeof lists[0]; j++)
            while (lists[j] && take_word(&lists[j]).len)
                count++;
    }
    return count;
}

static const char *judge_prefix(const struct conf *conf, struct slice prefix)
{
    if (prefix.len > CONF_PREFIX_BYTES_MAX)
        return "has a prefix that is too long";
    for (size_t i = 0; i < prefix.len; i++)
        if (prefix.bytes[i] < ' ' || prefix.bytes[i] == 0x7f)
            return "has a prefix with a control character";
    if (is_taken(conf, prefix))
        return "has a prefix that is given twice";
    return count_prefixes(conf) < CONF_PREFIXES_MAX ? NULL : "has one prefix too many";
}

/* Given again, or on more lines, they are added. NULL, or what is wrong. */
static const char *add_prefixes(struct conf *conf, const char **field, const char *list)
{
    struct slice word = take_word(&list);
    const char *problem = word.len ? NULL : "is empty";
    for (; !problem && word.len; word = take_word(&list)) {
        struct buf text = {0};
        problem = judge_prefix(conf, word);
        if (problem)
            break;
        if (buf_printf(&text, "%s%s%.*s", *field ? *field : "", *field ? " " : "", (int)word.len,
                       (const char *)word.bytes) ||
            !(*field = conf_keep(conf, buf_slice(&text))))
            problem = "has no memory";
        buf_free(&text);
    }
    return problem;
}

bool conf_bucket_set(struct conf *conf, const char *name, const char *setting_name,
                     const char *value, const char **problem)
{
    const struct setting *setting = find_setting(setting_name);
    struct conf_bucket *bucket = find_bucket(conf, name);
    *problem = NULL;
    if (!setting)
        *problem = "is no setting of a bucket";
    else if (!is_name(name))
        *problem = "is in a bucket whose name is not 1 to 32 letters, digits and '-'";
    else if (!bucket && conf->buckets_count == CONF_BUCKETS_MAX)
        *problem = "is in one bucket too many";
    if (*problem)
        return false;
    if (!bucket) {
        const char *copy = conf_keep(conf, slice_str(name));
        bucket = copy ? add_bucket(conf, copy) : NULL;
    }
    if (!bucket)
        *problem = "has no memory";
    else if (setting->row.kind == KIND_PREFIXES)
        *problem = add_prefixes(conf, (const char **)conf_text(bucket, &setting->row), value);
    else if (!conf_set_value(bucket, &setting->row, value))
        *problem = "has a bad value";
    else
        *problem = NULL;
    if (bucket)
        bucket->given |= 1u << (setting - settings);
    return !*problem;
}

/* ---- when all is known ---- */

static void fill_in(const struct conf *conf, struct conf_bucket *bucket)
{
    for (size_t i = 0; i < SETTINGS_COUNT; i++) {
        const struct option_row *option = conf_row_of_name(slice_str(settings[i].row.name));
        bool of_carts = bucket->class == CONF_CART || i != AT_life_s; /* --life is for carts */
        if (option && !is_given(bucket, i) && of_carts)
            *conf_number(bucket, &settings[i].row) = *conf_number(conf, option);
    }
    if (!is_given(bucket, AT_guest_life_s))
        bucket->guest_life_s = bucket->life_s;
    if (!is_given(bucket, AT_guest_life_kind))
        bucket->guest_life_kind = bucket->life_kind;
}

/* A default stays, as long as nobody takes its prefix. */
static int add_standard(struct conf *conf, const char *name, const char *prefix,
                        enum conf_class class)
{
    if (is_taken(conf, slice_str(prefix)))
        return 0;
    if (find_bucket(conf, name)) {
        snprintf(conf->message, sizeof conf->message,
                 "%s: [bucket %s] needs the prefix %s; that of the default has this name",
                 conf->config_path, name, prefix);
        return CE_INVAL;
    }
    struct conf_bucket *bucket = add_bucket(conf, name);
    if (!bucket) {
        snprintf(conf->message, sizeof conf->message, "out of memory");
        return CE_NOMEM;
    }
    bucket->prefixes = prefix;
    bucket->class = class;
    return 0;
}

static int refuse(struct conf *conf, const struct conf_bucket *bucket, const char *problem,
                  struct slice what)
{
    snprintf(conf->message, sizeof conf->message, "%s: [bucket %s] %s%.*s", conf->config_path,
             bucket->name, problem, (int)what.len, (const char *)what.bytes);
    return CE_INVAL;
}

static bool begins_with(const char *list, struct slice text)
{
    struct slice word;
    while ((word = take_word(&list)).len)
        if (word.len < text.len && slice_starts(text, word))
            return true;
    return false;
}

/* A line of a cart is no key of another bucket. */
static bool is_in_cart(const struct conf *conf, struct slice prefix)
{
    bool inside = false;
    for (size_t i = 0; i < conf->buckets_count && memchr(prefix.bytes, '/', prefix.len); i++)
        inside |=
            conf->buckets[i].class == CONF_CART && begins_with(conf->buckets[i].prefixes, prefix);
    return inside;
}

static int check_prefixes(struct conf *conf, const struct conf_bucket *bucket)
{
    const char *list = bucket->prefixes, *guests = bucket->guest_prefixes;
    bool carts = bucket->class == CONF_CART;
    struct slice word;
    while ((word = take_word(&list)).len) {
        if (carts && memchr(word.bytes, '/', word.len))
            return refuse(conf, bucket, "is for carts, whose keys hold no '/': ", word);
        if (!carts && is_in_cart(conf, word))
            return refuse(conf, bucket, "has a prefix inside of a cart: ", word);
    }
    while (guests && (word = take_word(&guests)).len) {
        if (!begins_with(bucket->prefixes, word))
            return refuse(conf, bucket,
                          "has no prefix that this one of guests begins with: ", word);
        if (memchr(word.bytes, '/', word.len))
            return refuse(conf, bucket, "is for carts, whose keys hold no '/': ", word);
    }
    return 0;
}

static int check_bucket(struct conf *conf, const struct conf_bucket *bucket)
{
    for (size_t i = 0; i < SETTINGS_COUNT; i++)
        if (is_given(bucket, i) && !(settings[i].classes & 1 << bucket->class))
            return refuse(conf, bucket, "is not for carts, and can't have ",
                          slice_str(settings[i].row.name));
    if (!bucket->prefixes)
        return refuse(conf, bucket, "has no prefixes", slice_of("", 0));
    bool guests = is_given(bucket, AT_guest_life_s) || is_given(bucket, AT_guest_life_kind);
    if (guests && !bucket->guest_prefixes)
        return refuse(conf, bucket, "has a life of guests, and no guest-prefixes", slice_of("", 0));
    return check_prefixes(conf, bucket);
}

int conf_buckets_finish(struct conf *conf)
{
    int rc = add_standard(conf, "cart", "cart:", CONF_CART);
    if (rc == 0)
        rc = add_standard(conf, "checkout", "checkout:", CONF_CHECKOUT);
    for (size_t i = 0; rc == 0 && i < conf->buckets_count; i++)
        rc = check_bucket(conf, &conf->buckets[i]);
    for (size_t i = 0; rc == 0 && i < conf->buckets_count; i++)
        fill_in(conf, &conf->buckets[i]);
    return rc;
}

/* ---- --help ---- */

void conf_bucket_help(FILE *out)
{
    fprintf(out, "\nSettings of a [bucket NAME] in the file of --config:\n");
    for (size_t i = 0; i < SETTINGS_COUNT; i++) {
        const struct option_row *row = &settings[i].row;
        char left[64];
        snprintf(left, sizeof left, "%s = %s", row->name, row->arg);
        fprintf(out, "  %-31s", left);
        conf_print_wrapped(out, row->what, row->standard);
    }
}

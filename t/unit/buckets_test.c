/* buckets: which rules a key has, and what a reload may change of them. */
#include "cmd/cmd_int.h"
#include "lib/suite.h"

#include <stdio.h>

static struct cmd cmd;

/* name, prefixes, class, lines_max to tell it by */
static struct cmd_bucket bucket(const char *name, const char *prefixes, enum cmd_class class,
                                uint32_t lines_max)
{
    return (struct cmd_bucket){
        .name = name, .prefixes = prefixes, .class = class, .limits = {.lines_max = lines_max}};
}

static void start(void)
{
    const struct cmd_bucket buckets[] = {bucket("cart", "cart: basket:", CMD_CART, 1),
                                         bucket("pages", "page: cart:tmp:", CMD_CACHE, 2)};
    cmd = (struct cmd){.magic = CMD_MAGIC};
    ck_assert_int_eq(buckets_begin(&cmd, buckets, 2), 0);
}

static void stop(void)
{
    buckets_free(&cmd);
}

static const struct cmd_bucket *find(const char *key)
{
    size_t prefix_bytes;
    return buckets_find(&cmd, slice_str(key), &prefix_bytes);
}

/* 0: no bucket. */
static uint32_t lines_of(const char *key)
{
    const struct cmd_bucket *found = find(key);
    return found ? found->limits.lines_max : 0;
}

static void reload(const struct cmd_bucket *buckets, size_t count)
{
    ck_assert_int_eq(cmd_buckets_reload(&cmd, buckets, count), 0);
}

START_TEST(the_longest_prefix_decides)
{
    const struct cmd_bucket buckets[] = {
        bucket("a", "c ca cart: cart:aa", CMD_CART, 1), bucket("b", "cart:a d", CMD_CACHE, 2),
        bucket("c", "\xff\xfe", CMD_CART, 3), bucket("d", "\xff", CMD_CART, 4)};
    static const struct {
        const char *key;
        uint32_t lines_max;
        size_t prefix_bytes;
    } rows[] = {{"c", 1, 1},        {"cx", 1, 1},     {"ca", 1, 2},       {"cart", 1, 2},
                {"cart:", 1, 5},    {"cart:x", 1, 5}, {"cart:a", 2, 6},   {"cart:ab", 2, 6},
                {"cart:aab", 1, 7}, {"d", 2, 1},      {"e", 0, 0},        {"b", 0, 0},
                {"", 0, 0},         {"C", 0, 0},      {"\xff\xfe", 3, 2}, {"\xff\xfd", 4, 1}};
    stop();
    ck_assert_int_eq(buckets_begin(&cmd, buckets, 4), 0);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        size_t prefix_bytes = 99;
        buckets_find(&cmd, slice_str(rows[i].key), &prefix_bytes);
        ck_assert_msg(lines_of(rows[i].key) == rows[i].lines_max &&
                          prefix_bytes == rows[i].prefix_bytes,
                      "%s: %u, %zu", rows[i].key, lines_of(rows[i].key), prefix_bytes);
    }
}
END_TEST

START_TEST(what_is_no_table_is_refused)
{
    static char many[CMD_PREFIXES_MAX * 5 + 8], wide[CMD_PREFIX_BYTES_MAX + 2];
    size_t len = 0;
    for (unsigned i = 0; i <= CMD_PREFIXES_MAX; i++)
        len += (size_t)snprintf(many + len, sizeof many - len, "%s%u", i ? " " : "", 1000 + i);
    memset(wide, 'w', sizeof wide - 1);
    const struct {
        const char *prefixes;
        int rc;
    } rows[] = {{"", CE_INVAL},   {"a  b", CE_INVAL}, {" a", CE_INVAL}, {"a b a", CE_INVAL},
                {wide, CE_INVAL}, {wide + 1, 0},      {many, CE_BUSY},  {many + 5, 0}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct cmd_bucket buckets[] = {bucket("cart", "cart: basket:", CMD_CART, 7),
                                             bucket("x", rows[i].prefixes, CMD_CART, 8)};
        struct cmd other = {.magic = CMD_MAGIC};
        int rc = buckets_begin(&other, buckets + 1, 1);
        ck_assert_msg(rc == rows[i].rc, "%.20s: %d", rows[i].prefixes, rc);
        buckets_free(&other);
        if (rc && rc == cmd_buckets_reload(&cmd, buckets, 2))
            ck_assert_uint_eq(lines_of("cart:u1"), 1); /* all is as before */
    }
}
END_TEST

START_TEST(rules_and_new_prefixes_change)
{
    const struct cmd_bucket *before = find("cart:u1");
    const struct cmd_bucket buckets[] = {bucket("cart", "cart: basket: new:", CMD_CART, 11),
                                         bucket("pages", "cart:tmp: page: block:", CMD_CACHE, 12),
                                         bucket("guests", "cart:g:", CMD_CART, 13)};
    ck_assert_uint_eq(lines_of("new:1"), 0);
    reload(buckets, 3);
    ck_assert_uint_eq(lines_of("cart:u1"), 11);
    ck_assert_uint_eq(lines_of("new:1"), 11);
    ck_assert_uint_eq(lines_of("block:1"), 12);
    ck_assert_uint_eq(lines_of("cart:g:1"), 13);
    ck_assert_uint_eq(before->limits.lines_max, 1); /* for who still looks at it */
    ck_assert_str_eq(before->name, "cart");
}
END_TEST

START_TEST(prefixes_of_items_may_go)
{
    const struct cmd_bucket buckets[] = {bucket("cart", "cart: basket:", CMD_CART, 11)};
    reload(buckets, 1);
    ck_assert_uint_eq(lines_of("page:1"), 0);
    ck_assert_uint_eq(lines_of("cart:tmp:1"), 11);
}
END_TEST

START_TEST(the_class_of_a_prefix_stays)
{
    const struct cmd_bucket buckets[] = {bucket("cart", "cart: page:", CMD_CART, 11),
                                         bucket("pages", "basket: cart:tmp:", CMD_CHECKOUT, 12)};
    for (unsigned times = 0; times < 3; times++) {
        reload(buckets, 2);
        ck_assert_uint_eq(lines_of("cart:u1"), 11);
        ck_assert_int_eq(find("page:1")->class, CMD_CACHE);
        ck_assert_uint_eq(lines_of("page:1"), 2);
        ck_assert_int_eq(find("basket:1")->class, CMD_CART);
        ck_assert_uint_eq(lines_of("basket:1"), 1);
        ck_assert_int_eq(find("cart:tmp:1")->class, CMD_CACHE);
    }
}
END_TEST

START_TEST(a_prefix_of_carts_stays)
{
    const struct cmd_bucket buckets[] = {bucket("cart", "cart:", CMD_CART, 11)};
    const struct cmd_bucket others[] = {bucket("shop", "cart:", CMD_CART, 12)};
    reload(buckets, 1);
    ck_assert_uint_eq(lines_of("basket:1"), 11); /* its bucket has new rules */
    reload(others, 1);
    ck_assert_uint_eq(lines_of("cart:1"), 12);
    ck_assert_uint_eq(lines_of("basket:1"), 11); /* it has gone; as they were */
}
END_TEST

START_TEST(a_longer_prefix_of_carts_may_go)
{
    const struct cmd_bucket first[] = {bucket("cart", "cart: basket:", CMD_CART, 11),
                                       bucket("guests", "cart:g:", CMD_CART, 12)};
    reload(first, 2);
    ck_assert_uint_eq(lines_of("cart:g:1"), 12);
    reload(first, 1);
    ck_assert_uint_eq(lines_of("cart:g:1"), 11);
}
END_TEST

START_TEST(carts_are_not_taken_away_by_a_new_prefix)
{
    const struct cmd_bucket buckets[] = {bucket("cart", "cart: basket:", CMD_CART, 11),
                                         bucket("pages", "basket:old: page:", CMD_CACHE, 12)};
    reload(buckets, 2);
    ck_assert_uint_eq(lines_of("basket:old:1"), 11);
    ck_assert_uint_eq(lines_of("page:1"), 12);
}
END_TEST

START_TEST(reloads_are_bounded)
{
    const struct cmd_bucket buckets[] = {bucket("cart", "cart: basket:", CMD_CART, 11)};
    const struct cmd_bucket last[] = {bucket("cart", "cart: basket:", CMD_CART, 12)};
    for (unsigned i = 0; i < CMD_RELOADS_MAX; i++)
        reload(buckets, 1);
    ck_assert_int_eq(cmd_buckets_reload(&cmd, last, 1), CE_BUSY);
    ck_assert_uint_eq(lines_of("cart:1"), 11);
}
END_TEST

/* ---- stats settings ---- */

static char told[4096];

static void tell_text(void *ctx, const char *name, const char *value)
{
    (void)ctx;
    size_t len = strlen(told);
    snprintf(told + len, sizeof told - len, "%s=%s\n", name, value);
}

static void tell_u64(void *ctx, const char *name, uint64_t value)
{
    char digits[NUM_DIGITS_MAX + 1];
    digits[num_put_u64(digits, value)] = 0;
    tell_text(ctx, name, digits);
}

START_TEST(settings_tell_what_is_so_now)
{
    const struct cmd_bucket buckets[] = {
        {.name = "shop",
         .prefixes = "cart: s:",
         .limits = {.lines_max = 3, .qty_max = 4, .ext_bytes_max = 5, .state_bytes_max = 6},
         .ack = ACK_OS,
         .life = CART_LIFE_FIXED,
         .life_us = 7000000,
         .redirect_life_us = 8000000,
         .currency_exponent = 1,
         .merge_policy = CART_POLICY_DST,
         .rescue = true},
        {.name = "shop",
         .prefixes = "s:g:",
         .guest = true,
         .life = CART_LIFE_SLIDING,
         .life_us = 9000000},
        bucket("pages", "page: basket:", CMD_CACHE, 0)};
    const struct stat_sink sink = {.text = tell_text, .u64 = tell_u64};
    reload(buckets, 3);
    buckets_settings(&cmd, &sink);
    static const char *const lines[] = {"bucket_shop_prefixes=cart: s:\n",
                                        "bucket_shop_class=cart\n",
                                        "bucket_shop_lines_max=3\n",
                                        "bucket_shop_qty_max=4\n",
                                        "bucket_shop_ext_bytes_max=5\n",
                                        "bucket_shop_state_bytes_max=6\n",
                                        "bucket_shop_ack=os\n",
                                        "bucket_shop_life=7\n",
                                        "bucket_shop_life_kind=fixed\n",
                                        "bucket_shop_redirect_life=8\n",
                                        "bucket_shop_currency_exponent=1\n",
                                        "bucket_shop_merge_policy=dst\n",
                                        "bucket_shop_rescue=yes\n",
                                        "bucket_shop_guest_prefixes=s:g:\n",
                                        "bucket_shop_guest_life=9\n",
                                        "bucket_shop_guest_life_kind=sliding\n",
                                        "bucket_pages_prefixes=page:\n",
                                        "bucket_pages_class=cache\n",
                                        "bucket_kept_cart_prefixes=basket:\n",
                                        "bucket_kept_cart_lines_max=1\n"};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        ck_assert_msg(strstr(told, lines[i]) != NULL, "no %s in:\n%s", lines[i], told);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("buckets");
    TCase *tests = tcase_create("buckets");
    tcase_add_checked_fixture(tests, start, stop);
    tcase_add_test(tests, the_longest_prefix_decides);
    tcase_add_test(tests, what_is_no_table_is_refused);
    tcase_add_test(tests, rules_and_new_prefixes_change);
    tcase_add_test(tests, prefixes_of_items_may_go);
    tcase_add_test(tests, the_class_of_a_prefix_stays);
    tcase_add_test(tests, a_prefix_of_carts_stays);
    tcase_add_test(tests, a_longer_prefix_of_carts_may_go);
    tcase_add_test(tests, carts_are_not_taken_away_by_a_new_prefix);
    tcase_add_test(tests, reloads_are_bounded);
    tcase_add_test(tests, settings_tell_what_is_so_now);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}

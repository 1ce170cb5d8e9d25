/* conf: the command line, memcached's -o, the config file, and who wins. */
#include "conf/conf.h"
#include "lib/suite.h"

#include <stdlib.h>
#include <unistd.h>

#define ARGS_MAX 40

static struct conf conf;
static char path[] = "/tmp/cartd-conf-XXXXXX";

static void write_file(const char *text)
{
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

/* "a b c" as argv; @ is the file. */
static int read_line(const char *line)
{
    static char text[4096];
    static char *argv[ARGS_MAX + 1];
    int argc = 0;
    snprintf(text, sizeof text, "cartd %s", line);
    for (char *word = strtok(text, " "); word && argc < ARGS_MAX; word = strtok(NULL, " "))
        argv[argc++] = strcmp(word, "@") == 0 ? path : word;
    argv[argc] = NULL;
    return conf_read(env_real(), argc, argv, &conf);
}

static void stop(void)
{
    conf_free(&conf);
    unlink(path);
}

static void check_good(const char *line)
{
    ck_assert_msg(read_line(line) == 0, "%s: %s", line, conf.message);
}

static void check_bad(const char *line, const char *part)
{
    ck_assert_msg(read_line(line) == CE_INVAL, "%s was taken", line);
    ck_assert_msg(strstr(conf.message, part) != NULL, "%s: %s", line, conf.message);
    conf_free(&conf);
}

START_TEST(defaults_are_memcacheds_on_loopback)
{
    check_good("");
    ck_assert_str_eq(conf.listen, "127.0.0.1");
    ck_assert_uint_eq(conf.port, 11211);
    ck_assert_uint_eq(conf.udp_port, 0);
    ck_assert_uint_eq(conf.udp_answer_bytes_max, 1400);
    ck_assert_uint_eq(conf.unix_mode, 0700);
    ck_assert_uint_eq(conf.threads, 4);
    ck_assert_uint_eq(conf.megabytes, 64);
    ck_assert_uint_eq(conf.conns_max, 1024);
    ck_assert_uint_eq(conf.item_bytes_max, 1048576);
    ck_assert_uint_eq(conf.backlog, 1024);
    ck_assert_uint_eq(conf.idle_timeout_s, 0);
    ck_assert_uint_eq(conf.ack, CONF_ACK_SYNC);
    ck_assert_uint_eq(conf.protocol, CONF_PROTOCOL_AUTO);
    ck_assert(!conf.tcp_asked && !conf.tls && !conf.sasl && !conf.daemon && !conf.tls_1_3_only);
    ck_assert_ptr_null(conf.unix_path);
    ck_assert_ptr_null(conf.auth_file);
}
END_TEST

START_TEST(a_memcached_command_line_is_taken)
{
    check_good(
        "-d -m 128 -p 11300 -u memcache -l 127.0.0.1 -l ::1 -P /run/x.pid -c 2000 -t 2 -v -v "
        "-I 2m -b 64 -R 50 -f 1.25 -n 48 -C -o modern,no_lru_crawler,idle_timeout=60,"
        "hashpower=20 -F -A -a 766 -s /run/x.sock");
    ck_assert(conf.daemon && conf.flush_all_refused && conf.shutdown_allowed && conf.tcp_asked);
    ck_assert_str_eq(conf.listen, "127.0.0.1,::1");
    ck_assert_str_eq(conf.user, "memcache");
    ck_assert_str_eq(conf.pid_path, "/run/x.pid");
    ck_assert_str_eq(conf.unix_path, "/run/x.sock");
    ck_assert_uint_eq(conf.port, 11300);
    ck_assert_uint_eq(conf.item_bytes_max, 2 << 20);
    ck_assert_uint_eq(conf.verbose, 2);
    ck_assert_uint_eq(conf.idle_timeout_s, 60);
    ck_assert_uint_eq(conf.unix_mode, 0766);
    ck_assert_uint_eq(conf.ignored_count, 4);
    ck_assert_str_eq(conf.ignored_suboptions, "modern");
}
END_TEST

START_TEST(suboptions_of_tls_are_the_long_options)
{
    check_good("-Z -o ssl_chain_cert=/c,ssl_key=/k -o ssl_ca_cert=/a,ssl_verify_mode=2,"
               "ssl_ciphers=HIGH,ssl_min_version=3");
    ck_assert(conf.tls && conf.tls_1_3_only);
    ck_assert_str_eq(conf.tls_cert, "/c");
    ck_assert_str_eq(conf.tls_key, "/k");
    ck_assert_str_eq(conf.tls_ca, "/a");
    ck_assert_str_eq(conf.tls_ciphers, "HIGH");
    ck_assert_uint_eq(conf.tls_verify, 2);
}
END_TEST

START_TEST(bad_values_are_named)
{
    check_bad("-p 65536", "65536");
    check_bad("-U 65536", "udp-port");
    check_bad("-a 888", "unix-mask");
    check_bad("-a 1000", "unix-mask");
    check_bad("-B udp", "protocol");
    check_bad("-o nonsense=1", "nonsense");
    check_bad("-o idle_timeout", "idle_timeout");
    check_bad("-o idle_timeout=x", "idle_timeout=x");
    check_bad("-I 2g", "2g");
    check_bad("-I 1023", "max-item-size");
    check_bad("-t 65", "threads");
    check_bad("--udp-answer-max 63", "udp-answer-max");
    check_bad("-Z", "certificate");
    check_bad("--tls-cert /c", "-Z");
    check_bad("-Z --tls-cert /c --tls-verify 2", "tls-ca");
    check_bad("-B ascii -S", "SASL");
    check_bad("--config /nowhere/at/all", "/nowhere/at/all");
    check_bad("-Y", "auth-file");
}
END_TEST

START_TEST(the_file_gives_options_and_users)
{
    write_file("threads = 3\nlisten = 10.0.0.1\nport = 7\n"
               "[cartd]\nenable-shutdown = yes\n; a comment\n# another\nack = os\n"
               "[user shop]\npassword = $6$salt$hash/with.dots\nrights = read, write\n"
               "prefixes = cart:, session:\n"
               "[user ops]\nrights = admin\n"
               "[user sasl]\n prefixes = a b\n");
    check_good("--config @ -t 5");
    ck_assert_uint_eq(conf.threads, 5); /* the command line wins */
    ck_assert_uint_eq(conf.port, 7);
    ck_assert_str_eq(conf.listen, "10.0.0.1");
    ck_assert(conf.shutdown_allowed);
    ck_assert_uint_eq(conf.ack, CONF_ACK_OS);
    ck_assert_uint_eq(conf.users_count, 3);
    ck_assert_str_eq(conf.users[0].name, "shop");
    ck_assert_str_eq(conf.users[0].password, "$6$salt$hash/with.dots");
    ck_assert_uint_eq(conf.users[0].rights, CONF_READ | CONF_WRITE);
    ck_assert_str_eq(conf.users[0].prefixes, "cart:  session:");
    ck_assert_str_eq(conf.users[1].name, "ops");
    ck_assert_uint_eq(conf.users[1].rights, CONF_ADMIN);
    ck_assert_ptr_null(conf.users[1].password);
    ck_assert_uint_eq(conf.users[2].rights, CONF_READ | CONF_WRITE | CONF_ADMIN);
}
END_TEST

START_TEST(listen_of_the_command_line_replaces_that_of_the_file)
{
    write_file("listen = 10.0.0.1\n");
    check_good("--config @ -l 10.0.0.2 -l 10.0.0.3");
    ck_assert_str_eq(conf.listen, "10.0.0.2,10.0.0.3");
}
END_TEST

/* file, part of the message */
static const char *const bad_files[][2] = {
    {"threads = 0\n", "line 1: threads has a bad value"},
    {"\n\nport = 1\nnonsense = 2\n", "line 4: nonsense is no option"},
    {"config = /x\n", "line 1: config is no option of a file"},
    {"[user a]\nrights = fly\n", "line 2: rights"},
    {"[user a]\npasswort = x\n", "line 2: passwort"},
    {"[user a]\npassword =\n", "line 2: password"},
    {"[users]\nx = y\n", "line 2: users is no section"},
    {"no equals sign here\n", "line 1"},
};

START_TEST(a_bad_file_is_refused_with_its_line)
{
    write_file(bad_files[_i][0]);
    check_bad("--config @", bad_files[_i][1]);
}
END_TEST

START_TEST(a_bad_password_line_does_not_show_the_password)
{
    write_file("[user a]\npassword = topsecret\nrights = topsecret\n");
    ck_assert_int_eq(read_line("--config @"), CE_INVAL);
    ck_assert_ptr_null(strstr(conf.message, "topsecret"));
}
END_TEST

START_TEST(what_only_a_restart_can_change_is_named)
{
    struct conf before;
    size_t at = 0;
    check_good("-t 2 -A");
    before = conf;
    check_good("-t 3 --data /elsewhere");
    ck_assert_str_eq(conf_differs(&before, &conf, &at), "threads");
    ck_assert_str_eq(conf_differs(&before, &conf, &at), "data");
    ck_assert_str_eq(conf_differs(&before, &conf, &at), "enable-shutdown");
    ck_assert_ptr_null(conf_differs(&before, &conf, &at));
    at = 0;
    ck_assert_ptr_null(conf_differs(&before, &before, &at));
    conf_free(&before);
}
END_TEST

/* ---- [bucket NAME] ---- */

static const struct conf_bucket *bucket_named(const char *name)
{
    for (size_t i = 0; i < conf.buckets_count; i++)
        if (strcmp(conf.buckets[i].name, name) == 0)
            return &conf.buckets[i];
    ck_abort_msg("no bucket %s", name);
}

START_TEST(without_buckets_there_are_carts_and_checkouts)
{
    check_good("--qty-max 7 --lines-max 8 --ack os --life 90m --life-kind fixed");
    ck_assert_uint_eq(conf.buckets_count, 2);
    const struct conf_bucket *cart = bucket_named("cart"), *checkout = bucket_named("checkout");
    ck_assert_str_eq(cart->prefixes, "cart:");
    ck_assert_uint_eq(cart->class, CONF_CART);
    ck_assert_uint_eq(cart->qty_max, 7);
    ck_assert_uint_eq(cart->lines_max, 8);
    ck_assert_uint_eq(cart->ack, CONF_ACK_OS);
    ck_assert_uint_eq(cart->life_s, 5400);
    ck_assert_uint_eq(cart->life_kind, CONF_LIFE_FIXED);
    ck_assert_uint_eq(cart->ext_bytes_max, 512);
    ck_assert_uint_eq(cart->state_bytes_max, 1 << 20);
    ck_assert_uint_eq(cart->redirect_life_s, 86400);
    ck_assert_uint_eq(cart->currency_exponent, 2);
    ck_assert_uint_eq(cart->merge_policy, CONF_MERGE_MAX);
    ck_assert(!cart->rescue && !cart->guest_prefixes);
    ck_assert_str_eq(checkout->prefixes, "checkout:");
    ck_assert_uint_eq(checkout->class, CONF_CHECKOUT);
    ck_assert_uint_eq(checkout->life_s, 0); /* --life is for carts */
}
END_TEST

START_TEST(the_file_gives_buckets)
{
    write_file("[bucket shop]\nprefixes = basket:, b2:\n  b3:\nlines-max = 3\nqty-max = 4\n"
               "ext-bytes-max = 1k\nstate-bytes-max = 2m\nack = ram\nlife = 2d\nlife-kind = fixed\n"
               "redirect-life = 3h\ncurrency-exponent = 0\nmerge-policy = replace\nrescue = yes\n"
               "guest-prefixes = basket:g:\nguest-life = 5m\nguest-life-kind = sliding\n"
               "[bucket pages]\nclass = cache\nprefixes = page/\nlife = 6s\n");
    check_good("--config @ --qty-max 99");
    const struct conf_bucket *shop = bucket_named("shop");
    ck_assert_uint_eq(conf.buckets_count, 4); /* and the two that are always there */
    ck_assert_str_eq(shop->prefixes, "basket: b2: b3:");
    ck_assert_uint_eq(shop->lines_max, 3);
    ck_assert_uint_eq(shop->qty_max, 4);
    ck_assert_uint_eq(shop->ext_bytes_max, 1024);
    ck_assert_uint_eq(shop->state_bytes_max, 2 << 20);
    ck_assert_uint_eq(shop->ack, CONF_ACK_RAM);
    ck_assert_uint_eq(shop->life_s, 2 * 86400);
    ck_assert_uint_eq(shop->life_kind, CONF_LIFE_FIXED);
    ck_assert_uint_eq(shop->redirect_life_s, 3 * 3600);
    ck_assert_uint_eq(shop->currency_exponent, 0);
    ck_assert_uint_eq(shop->merge_policy, CONF_MERGE_REPLACE);
    ck_assert(shop->rescue);
    ck_assert_str_eq(shop->guest_prefixes, "basket:g:");
    ck_assert_uint_eq(shop->guest_life_s, 300);
    ck_assert_uint_eq(shop->guest_life_kind, CONF_LIFE_SLIDING);
    ck_assert_uint_eq(bucket_named("pages")->class, CONF_CACHE);
    ck_assert_uint_eq(bucket_named("pages")->life_s, 6);
    ck_assert_uint_eq(bucket_named("cart")->qty_max, 99);
}
END_TEST

START_TEST(what_a_bucket_leaves_out_is_filled_in)
{
    write_file("qty-max = 9\nlife = 1h\n"
               "[bucket a]\nprefixes = cart: a:\nguest-prefixes = cart:g:\n"
               "[bucket b]\nprefixes = b:\nguest-prefixes = b:g:\nlife = 7\nlife-kind = fixed\n"
               "[bucket c]\nclass = checkout\nprefixes = checkout:\n");
    check_good("--config @ --life 2h --ack os");
    ck_assert_uint_eq(conf.buckets_count, 3); /* both defaults are taken */
    const struct conf_bucket *a = bucket_named("a"), *b = bucket_named("b");
    ck_assert_uint_eq(a->qty_max, 9);
    ck_assert_uint_eq(a->lines_max, 200);
    ck_assert_uint_eq(a->ack, CONF_ACK_OS);
    ck_assert_uint_eq(a->life_s, 7200); /* the command line wins */
    ck_assert_uint_eq(a->guest_life_s, 7200);
    ck_assert_uint_eq(b->guest_life_s, 7);
    ck_assert_uint_eq(b->guest_life_kind, CONF_LIFE_FIXED);
    ck_assert_uint_eq(bucket_named("c")->life_s, 0);
}
END_TEST

/* behind "[bucket a]\nprefixes = a:\n": whether it is good */
static const struct {
    const char *line;
    bool good;
} bucket_edges[] = {
    {"lines-max = 0", false},
    {"lines-max = 1", true},
    {"lines-max = 1000", true},
    {"lines-max = 1001", false},
    {"qty-max = 0", false},
    {"qty-max = 1", true},
    {"qty-max = 1000000", true},
    {"qty-max = 1000001", false},
    {"ext-bytes-max = 0", true},
    {"ext-bytes-max = 4096", true},
    {"ext-bytes-max = 4097", false},
    {"state-bytes-max = 1023", false},
    {"state-bytes-max = 1024", true},
    {"state-bytes-max = 32m", true},
    {"state-bytes-max = 33m", false},
    {"ack = ram", true},
    {"ack = quorum", false},
    {"life = 0", true},
    {"life = 315360000", true},
    {"life = 315360001", false},
    {"life = 3650d", true},
    {"life = 3651d", false},
    {"life = d", false},
    {"life = 1.5h", false},
    {"life = -1", false},
    {"life = 1w", false},
    {"life-kind = sliding", true},
    {"life-kind = both", false},
    {"redirect-life = 0", false},
    {"redirect-life = 1", true},
    {"currency-exponent = 4", true},
    {"currency-exponent = 5", false},
    {"merge-policy = max", true},
    {"merge-policy = sum", true},
    {"merge-policy = src", true},
    {"merge-policy = dst", true},
    {"merge-policy = min", false},
    {"rescue = no", true},
    {"rescue = perhaps", false},
    {"class = checkout", true},
    {"class = session", false},
    {"guest-prefixes = a:b", true},
    {"guest-prefixes = a:b\nguest-life = 0", true},
    {"guest-prefixes = a:b\nguest-life = 3651d", false},
    {"guest-prefixes = a:b\nguest-life-kind = none", false},
    {"prefixes = 0123456789012345678901234567890123456789012345678901234567890123", true},
    {"prefixes = 01234567890123456789012345678901234567890123456789012345678901234", false},
};

START_TEST(settings_of_buckets_have_limits)
{
    char text[256], name[64];
    const char *line = bucket_edges[_i].line;
    snprintf(text, sizeof text, "[bucket a]\nprefixes = a:\n%s\n", line);
    write_file(text);
    snprintf(name, sizeof name, "%.*s", (int)strcspn(line, " "), line);
    if (bucket_edges[_i].good)
        check_good("--config @");
    else if (strchr(line, '\n'))
        check_bad("--config @", "line 4: guest-life");
    else
        check_bad("--config @", name);
}
END_TEST

/* file, part of the message: where, and what */
static const char *const bad_buckets[][2] = {
    {"[bucket a]\nlimes-max = 1\n", "line 2: limes-max is no setting of a bucket"},
    {"[bucket a]\nqty-max = 0\n", "line 2: qty-max has a bad value"},
    {"[bucket a]\nprefixes =\n", "line 2: prefixes is empty"},
    {"[bucket a]\nprefixes = , ,\n", "line 2: prefixes is empty"},
    {"[bucket a]\nqty-max = 1\n", "[bucket a] has no prefixes"},
    {"[bucket a]\nprefixes = a: b: a:\n", "line 2: prefixes has a prefix that is given twice"},
    {"[bucket a]\nprefixes = a:\n[bucket b]\nprefixes = a:\n", "line 4: prefixes has a prefix"},
    {"[bucket a]\nprefixes = a:\n[bucket b]\nprefixes = b:\nguest-prefixes = a:\n",
     "line 5: guest-prefixes has a prefix"},
    {"[bucket a]\nprefixes = a\001b\n", "line 2: prefixes has a prefix with a control"},
    {"[bucket a]\nprefixes = a/b\n", "[bucket a] is for carts, whose keys hold no '/': a/b"},
    {"[bucket a]\nprefixes = a:\nguest-prefixes = a:/\n", "hold no '/': a:/"},
    {"[bucket a]\nclass = cache\nprefixes = cart:a/\n", "inside of a cart: cart:a/"},
    {"[bucket a]\nprefixes = a:\nguest-prefixes = b:g:\n", "guests begins with: b:g:"},
    {"[bucket a]\nprefixes = a:\nguest-life = 1d\n", "[bucket a] has a life of guests"},
    {"[bucket a]\nclass = cache\nprefixes = a:\nlife-kind = fixed\n", "can't have life-kind"},
    {"[bucket a]\nclass = checkout\nprefixes = a:\nqty-max = 1\n", "can't have qty-max"},
    {"[bucket a_b]\nprefixes = a:\n", "line 2: prefixes is in a bucket whose name"},
    {"[bucket ]\nprefixes = a:\n", "line 2: prefixes is in a bucket whose name"},
    {"[bucket a23456789012345678901234567890123]\nprefixes = a:\n", "whose name"},
    {"[bucket cart]\nprefixes = a:\n", "[bucket cart] needs the prefix cart:"},
    {"[bucket]\nprefixes = a:\n", "line 2: bucket is no section"},
};

START_TEST(a_bad_bucket_is_refused_with_its_place)
{
    write_file(bad_buckets[_i][0]);
    check_bad("--config @", bad_buckets[_i][1]);
    check_bad("--config @", path);
}
END_TEST

/* `count` buckets with `each` prefixes. */
static char *make_buckets(unsigned count, unsigned each)
{
    static char text[CONF_BUCKETS_MAX * 256];
    size_t len = 0;
    for (unsigned i = 0; i < count; i++) {
        len += (size_t)snprintf(text + len, sizeof text - len, "[bucket b%u]\nprefixes =", i);
        for (unsigned j = 0; j < each; j++)
            len += (size_t)snprintf(text + len, sizeof text - len, " %u-%u", i, j);
        len += (size_t)snprintf(text + len, sizeof text - len, "\n");
    }
    return text;
}

START_TEST(as_many_buckets_as_are_allowed)
{
    write_file(make_buckets(CONF_BUCKETS_MAX, 1));
    check_good("--config @");
    ck_assert_uint_eq(conf.buckets_count, CONF_BUCKETS_MAX + 2);
}
END_TEST

START_TEST(one_bucket_more_is_refused)
{
    write_file(make_buckets(CONF_BUCKETS_MAX + 1, 1));
    check_bad("--config @", "is in one bucket too many");
}
END_TEST

START_TEST(as_many_prefixes_as_are_allowed)
{
    write_file(make_buckets(CONF_PREFIXES_MAX / 10, 10));
    check_good("--config @");
}
END_TEST

START_TEST(one_prefix_more_is_refused)
{
    write_file(make_buckets(CONF_PREFIXES_MAX / 10 + 1, 10));
    check_bad("--config @", "has one prefix too many");
}
END_TEST

START_TEST(defaults_of_buckets_need_no_restart)
{
    struct conf before;
    size_t at = 0;
    check_good("--qty-max 5");
    before = conf;
    check_good("--qty-max 6 --lines-max 7 --ack ram --life 8 --life-kind fixed");
    ck_assert_ptr_null(conf_differs(&before, &conf, &at));
    conf_free(&before);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("conf");
    TCase *tests = tcase_create("conf");
    tcase_add_checked_fixture(tests, NULL, stop);
    tcase_add_test(tests, defaults_are_memcacheds_on_loopback);
    tcase_add_test(tests, a_memcached_command_line_is_taken);
    tcase_add_test(tests, suboptions_of_tls_are_the_long_options);
    tcase_add_test(tests, bad_values_are_named);
    tcase_add_test(tests, the_file_gives_options_and_users);
    tcase_add_test(tests, listen_of_the_command_line_replaces_that_of_the_file);
    tcase_add_loop_test(tests, a_bad_file_is_refused_with_its_line, 0,
                        sizeof bad_files / sizeof bad_files[0]);
    tcase_add_test(tests, a_bad_password_line_does_not_show_the_password);
    tcase_add_test(tests, what_only_a_restart_can_change_is_named);
    tcase_add_test(tests, without_buckets_there_are_carts_and_checkouts);
    tcase_add_test(tests, the_file_gives_buckets);
    tcase_add_test(tests, what_a_bucket_leaves_out_is_filled_in);
    tcase_add_loop_test(tests, settings_of_buckets_have_limits, 0,
                        sizeof bucket_edges / sizeof bucket_edges[0]);
    tcase_add_loop_test(tests, a_bad_bucket_is_refused_with_its_place, 0,
                        sizeof bad_buckets / sizeof bad_buckets[0]);
    tcase_add_test(tests, as_many_buckets_as_are_allowed);
    tcase_add_test(tests, one_bucket_more_is_refused);
    tcase_add_test(tests, as_many_prefixes_as_are_allowed);
    tcase_add_test(tests, one_prefix_more_is_refused);
    tcase_add_test(tests, defaults_of_buckets_need_no_restart);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}

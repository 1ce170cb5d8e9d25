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
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}

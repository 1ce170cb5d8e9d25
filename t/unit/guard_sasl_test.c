/* guard: logins by SASL, with users of our own, with those of Cyrus (a sasldb in a folder of the
 * test), and with both. */
#include "lib/guard_rig.h"
#include "lib/log_heard.h"
#include "lib/suite.h"

#include <check.h>
#include <sasl/sasl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define HASH_5 "$5$abc$vfrH.CL30IAqQqJ.Ebg5ibCCqfC2cddUCFrNSsXZRQ2" /* openssl passwd -5: pass */

static struct guard_rig rig;
static struct guard_login *login;
static char folder[64];

static void set_up(void)
{
    guard_rig_open(&rig);
    rig.config.sasl = true;
    snprintf(folder, sizeof folder, "/tmp/guard_sasl_XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    ck_assert_int_eq(setenv("SASL_CONF_PATH", folder, 1), 0); /* nothing of this machine's */
}

static void remove_file(const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    unlink(path);
}

static void tear_down(void)
{
    guard_login_free(&login);
    rig_close(&rig);
    remove_file("memcached.conf");
    remove_file("sasldb2");
    ck_assert_int_eq(rmdir(folder), 0);
}

/* ---- a Cyrus that is set up ---- */

static void write_setup(const char *mechanisms)
{
    char path[128];
    snprintf(path, sizeof path, "%s/memcached.conf", folder);
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    fprintf(file, "mech_list: %s\npwcheck_method: auxprop\nauxprop_plugin: sasldb\n", mechanisms);
    fprintf(file, "sasldb_path: %s/sasldb2\n", folder);
    ck_assert_int_eq(fclose(file), 0);
}

static void set_password(sasl_conn_t *conn, const char *name, const char *password)
{
    ck_assert_int_eq(
        sasl_setpass(conn, name, password, (unsigned)strlen(password), NULL, 0, SASL_SET_CREATE),
        SASL_OK);
}

/* As saslpasswd2 -a memcached does. */
static void set_up_cyrus(const char *mechanisms)
{
    sasl_conn_t *conn = NULL;
    char longer[GUARD_NAME_MAX + 2] = {0};
    memset(longer, 'a', GUARD_NAME_MAX + 1);
    write_setup(mechanisms);
    ck_assert_int_eq(sasl_server_init(NULL, "memcached"), SASL_OK);
    ck_assert_int_eq(sasl_server_new("memcached", NULL, NULL, NULL, NULL, NULL, 0, &conn), SASL_OK);
    set_password(conn, "ann", "cyrus-ann");
    set_password(conn, "cid", "cyrus-cid");
    set_password(conn, "dan", "cyrus-dan");
    set_password(conn, "\x7f", "nobody");
    set_password(conn, longer, "nobody");
    sasl_dispose(&conn);
    sasl_server_done();
}

static void start(void)
{
    ck_assert_msg(guard_rig_start(&rig) == 0, "%s", rig.message);
    login = rig_login(&rig);
}

static void start_own(void)
{
    rig_file(&rig, "ann:one\nbob:" HASH_5 "\n");
    start();
}

static const struct guard_user mixed[] = {
    {"ann", "one", GUARD_RIGHTS_ALL, NULL},
    {"bob", HASH_5, GUARD_READ, NULL},
    {"cid", NULL, GUARD_READ, "cart:"},
};

static void start_mixed(const char *mechanisms)
{
    set_up_cyrus(mechanisms);
    rig.config.users = mixed;
    rig.config.users_count = 3;
    start();
}

/* ---- asking ---- */

static int plain(const char *as, const char *name, const char *password)
{
    char data[3 * GUARD_PASSWORD_MAX];
    int len = snprintf(data, sizeof data, "%s%c%s%c%s", as, 0, name, 0, password);
    return ask_sasl(login, "PLAIN", slice_of(data, (size_t)len));
}

static void expect_list(const char *want)
{
    struct buf list = {0};
    ck_assert_int_eq(guard_sasl_list(login, &list), 0);
    ck_assert_int_eq(buf_append(&list, "", 1), 0);
    ck_assert_str_eq((const char *)list.bytes, want);
    buf_free(&list);
}

/* In whatever order Cyrus finds its plugins. */
static void expect_plain_and_scram(void)
{
    struct buf list = {0};
    ck_assert_int_eq(guard_sasl_list(login, &list), 0);
    ck_assert_int_eq(buf_append(&list, "", 1), 0);
    ck_assert_uint_eq(list.len, sizeof "PLAIN SCRAM-SHA-256");
    ck_assert_ptr_nonnull(strstr((const char *)list.bytes, "SCRAM-SHA-256"));
    ck_assert_ptr_nonnull(strstr((const char *)list.bytes, "PLAIN"));
    ck_assert_ptr_nonnull(strchr((const char *)list.bytes, ' '));
    buf_free(&list);
}

/* The client's side of any mechanism, by Cyrus' own client. */
struct client {
    const char *name;
    sasl_secret_t *password;
    sasl_conn_t *conn;
    unsigned steps;
};

static int give_name(void *context, int id, const char **result, unsigned *len)
{
    (void)id;
    struct client *client = context;
    *result = client->name;
    if (len)
        *len = (unsigned)strlen(client->name);
    return SASL_OK;
}

static int give_password(sasl_conn_t *conn, void *context, int id, sasl_secret_t **secret)
{
    (void)conn;
    (void)id;
    *secret = ((struct client *)context)->password;
    return SASL_OK;
}

static int talk(struct client *client, const char *mechanism)
{
    const char *out = NULL, *chosen;
    unsigned len = 0;
    int rc = sasl_client_start(client->conn, mechanism, NULL, &out, &len, &chosen);
    ck_assert(rc == SASL_CONTINUE || rc == SASL_OK);
    int result = ask_sasl(login, mechanism, slice_of(out, out ? len : 0));
    while (result == GUARD_CONTINUE && client->steps < 10) {
        struct slice challenge = guard_challenge(login);
        ck_assert(!guard_known(login));
        client->steps++;
        if (rc == SASL_CONTINUE)
            rc = sasl_client_step(client->conn, (const char *)challenge.bytes,
                                  (unsigned)challenge.len, NULL, &out, &len);
        else
            out = NULL;
        result = ask_sasl(login, "", slice_of(out, out ? len : 0));
    }
    return result;
}

static int ask_client(const char *mechanism, const char *name, const char *password)
{
    struct client client = {.name = name};
    size_t len = strlen(password);
    sasl_callback_t callbacks[] = {
        {SASL_CB_USER, (int (*)(void))(void *)give_name, &client},
        {SASL_CB_AUTHNAME, (int (*)(void))(void *)give_name, &client},
        {SASL_CB_PASS, (int (*)(void))(void *)give_password, &client},
        {SASL_CB_LIST_END, NULL, NULL},
    };
    client.password = malloc(sizeof *client.password + len);
    client.password->len = len;
    memcpy(client.password->data, password, len + 1);
    ck_assert_int_eq(sasl_client_init(NULL), SASL_OK);
    ck_assert_int_eq(sasl_client_new("memcached", "host", NULL, NULL, callbacks, 0, &client.conn),
                     SASL_OK);
    int rc = talk(&client, mechanism);
    sasl_dispose(&client.conn);
    sasl_client_done();
    free(client.password);
    return rc;
}

/* ---- users of our own ---- */

START_TEST(our_own_users_need_no_setup)
{
    log_listen();
    start_own();
    ck_assert(guard_asks(rig.guard));
    ck_assert(guard_has_sasl(rig.guard));
    expect_list("PLAIN");
    ck_assert_int_eq(plain("", "ann", "one"), 0);
    ck_assert_int_eq(may(login, GUARD_ADMIN, "any"), 0);
    ck_assert_int_eq(plain("", "bob", "pass"), 0);
    ck_assert_int_eq(plain("", "bob", "pass"), 0);
    ck_assert_int_eq(plain("", "bob", "wrong"), CE_AUTH_FAILED);
    ck_assert(!guard_known(login));
    ck_assert_int_eq(may(login, GUARD_READ, "any"), CE_AUTH);
    ck_assert_int_eq(plain("", "nobody", "pass"), CE_AUTH_FAILED);
    ck_assert_int_eq(plain("", "ann", "pass"), CE_AUTH_FAILED);
    ck_assert_int_eq(ask(login, "ann", "one"), 0);
    ck_assert_uint_eq(guard_rig_stat(&rig, "auth_cmds"), 7);
    ck_assert_uint_eq(guard_rig_stat(&rig, "auth_errors"), 3);
    /* Cyrus has nothing to say. */
    ck_assert_ptr_null(strstr(log_heard(), "SASL"));
    ck_assert_ptr_nonnull(strstr(log_heard(), "login of nobody refused"));
}
END_TEST

START_TEST(our_own_users_are_not_those_of_cyrus)
{
    set_up_cyrus("plain scram-sha-256");
    start_own();
    expect_list("PLAIN");
    ck_assert_int_eq(plain("", "ann", "cyrus-ann"), CE_AUTH_FAILED);
    ck_assert_int_eq(plain("", "dan", "cyrus-dan"), CE_AUTH_FAILED);
    ck_assert_int_eq(ask_client("SCRAM-SHA-256", "dan", "cyrus-dan"), CE_AUTH_FAILED);
    ck_assert_int_eq(plain("", "ann", "one"), 0);
}
END_TEST

START_TEST(who_may_act_as_another)
{
    start_own();
    ck_assert_int_eq(plain("ann", "ann", "one"), 0);
    ck_assert_int_eq(plain("bob", "ann", "one"), CE_AUTH_FAILED);
    ck_assert_int_eq(plain("nobody", "ann", "one"), CE_AUTH_FAILED);
    ck_assert_int_eq(plain("ann", "bob", "wrong"), CE_AUTH_FAILED);
    ck_assert(!guard_known(login));
}
END_TEST

#define DATA(text)                                                                                 \
    {                                                                                              \
        text, sizeof text - 1                                                                      \
    }

static const struct {
    const char *bytes;
    size_t len;
} malformed[] = {
    DATA("ann"),          DATA("\0ann"),     DATA("\0ann\0"),        DATA("\0\0one"),
    DATA("\0ann\0one\0"), DATA("\0ann one"), DATA("\0ann\0one\0x"),  DATA("\0\0"),
    DATA("\0\0\0\0\0"),   DATA("ann\0one"),  DATA("\0\xff\xfe\0x"),  DATA("\0ann\0on"),
    DATA("ann one"),      DATA("\0 \0one"),  DATA("\0ann:one\0one"), DATA("\0ANN\0one"),
};

START_TEST(malformed_plain_is_refused)
{
    start_own();
    struct slice data = slice_of(malformed[_i].bytes, malformed[_i].len);
    ck_assert_int_eq(ask_sasl(login, "PLAIN", data), CE_AUTH_FAILED);
    ck_assert(!guard_known(login));
    ck_assert_int_eq(ask_sasl(login, "", slice_str("")), CE_AUTH_FAILED);
    ck_assert_int_eq(plain("", "ann", "one"), 0);
}
END_TEST

START_TEST(only_mechanisms_there_are)
{
    static const char *const none[] = {"LOGIN",
                                       "ANONYMOUS",
                                       "EXTERNAL",
                                       "CRAM-MD5",
                                       "XYZ",
                                       "P",
                                       "SCRAM-SHA-256",
                                       "PLAIN ",
                                       "01234567890123456789012345678901",
                                       "012345678901234567890123456789012"};
    start_own();
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        ck_assert_int_eq(ask_sasl(login, none[i], slice_of("\0ann\0one", 8)), CE_AUTH_FAILED);
    struct asker asker;
    asker_init(&asker);
    ck_assert_int_eq(
        guard_sasl(login, slice_of("PLAIN\0", 6), slice_of("\0ann\0one", 8), &asker.wait),
        CE_AUTH_FAILED);
    ck_assert_int_eq(ask_sasl(login, "plain", slice_of("\0ann\0one", 8)), 0);
}
END_TEST

START_TEST(a_step_goes_on_from_a_start)
{
    struct slice data = slice_of("\0ann\0one", 8), none = slice_str("");
    start_own();
    ck_assert_int_eq(ask_sasl(login, "", data), CE_AUTH_FAILED); /* no start */
    ck_assert_int_eq(ask_sasl(login, "PLAIN", none), GUARD_CONTINUE);
    ck_assert_uint_eq(guard_challenge(login).len, 0);
    ck_assert(!guard_known(login));
    ck_assert_int_eq(ask_sasl(login, "", data), 0);
    ck_assert(guard_known(login));
    ck_assert_int_eq(ask_sasl(login, "", data), CE_AUTH_FAILED); /* it is over */
    ck_assert(!guard_known(login));
    ck_assert_int_eq(ask_sasl(login, "PLAIN", none), GUARD_CONTINUE);
    ck_assert_int_eq(ask_sasl(login, "", slice_of("\0ann\0no", 7)), CE_AUTH_FAILED);
    ck_assert_int_eq(ask_sasl(login, "", data), CE_AUTH_FAILED);
    ck_assert_uint_eq(guard_rig_stat(&rig, "auth_cmds"), 5);
}
END_TEST

START_TEST(twice_is_as_once)
{
    struct slice none = slice_str("");
    start_own();
    ck_assert_int_eq(ask_sasl(login, "PLAIN", none), GUARD_CONTINUE);
    ck_assert_int_eq(ask_sasl(login, "PLAIN", none), GUARD_CONTINUE);
    ck_assert_int_eq(ask_sasl(login, "", slice_of("\0ann\0one", 8)), 0);
    ck_assert_int_eq(plain("", "ann", "one"), 0);
    ck_assert_int_eq(plain("", "bob", "pass"), 0);
    ck_assert_int_eq(ask_sasl(login, "PLAIN", none), GUARD_CONTINUE);
    ck_assert(!guard_known(login)); /* and so freed */
}
END_TEST

START_TEST(large_data_is_refused)
{
    size_t len = 0x10001;
    char *data = calloc(1, len);
    memset(data + 1, 'a', len - 1);
    start_own();
    struct asker asker;
    asker_init(&asker); /* never asked: one byte too much is refused at once */
    int rc = guard_sasl(login, slice_str("PLAIN"), slice_of(data, len), &asker.wait);
    ck_assert_int_eq(rc, CE_AUTH_FAILED);
    ck_assert_int_eq(ask_sasl(login, "PLAIN", slice_of(data, len - 1)), CE_AUTH_FAILED);
    data[2000] = 0; /* a name, then a password, too long */
    ck_assert_int_eq(ask_sasl(login, "PLAIN", slice_of(data, len - 1)), CE_AUTH_FAILED);
    data[4] = 0;
    ck_assert_int_eq(ask_sasl(login, "PLAIN", slice_of(data, 1900)), CE_AUTH_FAILED);
    free(data);
}
END_TEST

/* ---- users of Cyrus ---- */

START_TEST(cyrus_alone_decides)
{
    set_up_cyrus("plain scram-sha-256");
    start();
    expect_plain_and_scram();
    ck_assert_int_eq(plain("", "dan", "cyrus-dan"), 0);
    for (unsigned right = GUARD_KNOWN; right <= GUARD_ADMIN; right *= 2)
        ck_assert_int_eq(may(login, right, "any"), 0);
    ck_assert_int_eq(plain("", "dan", "cyrus-ann"), CE_AUTH_FAILED);
    ck_assert_int_eq(plain("", "nobody", "cyrus-dan"), CE_AUTH_FAILED);
    ck_assert_int_eq(plain("ann", "dan", "cyrus-dan"), CE_AUTH_FAILED);
    ck_assert_int_eq(ask(login, "dan", "cyrus-dan"), CE_AUTH_FAILED); /* only by SASL */
    ck_assert_int_eq(plain("", "dan", "cyrus-dan"), 0);
    ck_assert_int_eq(rig_reload(&rig), 0);
    ck_assert_int_eq(may(login, GUARD_ADMIN, "any"), 0);
    ck_assert_int_eq(ask_sasl(login, "ANONYMOUS", slice_str("me")), CE_AUTH_FAILED);
}
END_TEST

START_TEST(mechanisms_with_several_steps)
{
    static const char *const mechanisms[] = {"SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5",
                                             "DIGEST-MD5", "LOGIN"};
    set_up_cyrus("scram-sha-256 scram-sha-1 cram-md5 digest-md5 login");
    start();
    ck_assert_int_eq(ask_client(mechanisms[_i], "dan", "cyrus-dan"), 0);
    ck_assert_int_eq(may(login, GUARD_ADMIN, "any"), 0);
    ck_assert_int_eq(ask_client(mechanisms[_i], "dan", "wrong"), CE_AUTH_FAILED);
    ck_assert(!guard_known(login));
    ck_assert_int_eq(ask_client(mechanisms[_i], "nobody", "wrong"), CE_AUTH_FAILED);
}
END_TEST

/* Cyrus leaks such names when it is told that they are bad, which the sanitizer sees. */
START_TEST(names_too_long_or_blank_are_refused)
{
    static const char *const mechanisms[] = {"PLAIN", "LOGIN", "SCRAM-SHA-256", "CRAM-MD5"};
    static const size_t lengths[] = {GUARD_NAME_MAX + 1, 1022, 1023, 1100};
    char name[1101], data[1300];
    set_up_cyrus("plain login scram-sha-256 cram-md5");
    start();
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        memset(name, i % 2 ? ' ' : 'a', sizeof name);
        name[lengths[i]] = 0;
        ck_assert_int_eq(plain("", name, "nobody"), CE_AUTH_FAILED);
        ck_assert_int_eq(plain(name, "dan", "cyrus-dan"), CE_AUTH_FAILED);
        int len = snprintf(data, sizeof data, "n,,n=%s,r=abcdefgh", name);
        int rc = ask_sasl(login, mechanisms[2], slice_of(data, (size_t)len));
        ck_assert(rc == CE_AUTH_FAILED || rc == GUARD_CONTINUE);
        len = snprintf(data, sizeof data, "%s 0123456789abcdef0123456789abcdef", name);
        ck_assert_int_eq(ask_sasl(login, mechanisms[3], slice_str("")), GUARD_CONTINUE);
        ck_assert_int_eq(ask_sasl(login, "", slice_of(data, (size_t)len)), CE_AUTH_FAILED);
        ck_assert_int_eq(ask_sasl(login, mechanisms[1], slice_str("")), GUARD_CONTINUE);
        rc = ask_sasl(login, "", slice_str(name));
        if (rc == GUARD_CONTINUE)
            rc = ask_sasl(login, "", slice_str("nobody"));
        ck_assert_int_eq(rc, CE_AUTH_FAILED);
    }
    ck_assert_int_eq(plain("", "\x7f", "nobody"), CE_AUTH_FAILED);
    ck_assert_int_eq(plain("", "dan", "cyrus-dan"), 0);
}
END_TEST

START_TEST(anonymous_is_never_offered)
{
    set_up_cyrus("anonymous plain");
    start();
    expect_list("PLAIN");
    ck_assert_int_eq(ask_sasl(login, "ANONYMOUS", slice_str("me")), CE_AUTH_FAILED);
}
END_TEST

START_TEST(without_mechanisms_there_is_no_start)
{
    write_setup("nothing-of-this-kind");
    ck_assert_int_eq(guard_rig_start(&rig), CE_INVAL);
    ck_assert_ptr_nonnull(strstr(rig.message, "libsasl2-modules"));
    ck_assert_ptr_null(rig.guard);
}
END_TEST

START_TEST(without_plugins_there_is_no_start)
{
    ck_assert_int_eq(setenv("SASL_PATH", folder, 1), 0);
    rig_file(&rig, "ann:one\n");
    ck_assert_int_eq(guard_rig_start(&rig), CE_INVAL);
    ck_assert_ptr_nonnull(strstr(rig.message, "libsasl2-modules"));
}
END_TEST

/* ---- both ---- */

START_TEST(a_user_by_sasl_has_the_rights_given)
{
    start_mixed("plain scram-sha-256");
    expect_plain_and_scram();
    for (int i = 0; i < 2; i++) {
        int rc =
            i ? ask_client("SCRAM-SHA-256", "cid", "cyrus-cid") : plain("", "cid", "cyrus-cid");
        ck_assert_int_eq(rc, 0);
        ck_assert_int_eq(may(login, GUARD_READ, "cart:1"), 0);
        ck_assert_int_eq(may(login, GUARD_READ, "other"), CE_DENIED);
        ck_assert_int_eq(may(login, GUARD_WRITE, "cart:1"), CE_DENIED);
    }
    ck_assert_int_eq(plain("", "cid", "wrong"), CE_AUTH_FAILED);
    ck_assert_int_eq(ask(login, "cid", "cyrus-cid"), CE_AUTH_FAILED); /* only by SASL */
    ck_assert_int_eq(ask(login, "cid", ""), CE_AUTH_FAILED);
}
END_TEST

START_TEST(who_has_a_password_of_ours_needs_it)
{
    start_mixed("plain scram-sha-256");
    ck_assert_int_eq(plain("", "ann", "one"), 0);
    ck_assert_int_eq(may(login, GUARD_ADMIN, "any"), 0);
    ck_assert_int_eq(plain("", "bob", "pass"), 0);
    ck_assert_int_eq(plain("", "ann", "cyrus-ann"), CE_AUTH_FAILED);
    ck_assert_int_eq(ask_client("SCRAM-SHA-256", "ann", "cyrus-ann"), CE_AUTH_FAILED);
    ck_assert(!guard_known(login));
}
END_TEST

START_TEST(who_only_cyrus_knows_is_refused)
{
    start_mixed("plain scram-sha-256");
    ck_assert_int_eq(plain("", "dan", "cyrus-dan"), CE_AUTH_FAILED);
    ck_assert_int_eq(ask_client("SCRAM-SHA-256", "dan", "cyrus-dan"), CE_AUTH_FAILED);
    ck_assert(!guard_known(login));
}
END_TEST

START_TEST(a_reload_takes_users_by_sasl_away)
{
    start_mixed("plain");
    struct guard_login *ann = rig_login(&rig);
    ck_assert_int_eq(ask(ann, "ann", "one"), 0);
    ck_assert_int_eq(plain("", "cid", "cyrus-cid"), 0);
    ck_assert_int_eq(rig_reload(&rig), 0);
    ck_assert(guard_known(login));
    rig.config.users_count = 2;
    ck_assert_int_eq(rig_reload(&rig), 0);
    ck_assert(!guard_known(login));
    ck_assert(guard_known(ann));
    ck_assert_int_eq(plain("", "cid", "cyrus-cid"), CE_AUTH_FAILED);
    rig.config.users_count = 0; /* would let in whom Cyrus knows */
    ck_assert_int_eq(rig_reload(&rig), CE_INVAL);
    ck_assert(guard_known(ann));
    guard_login_free(&ann);
}
END_TEST

START_TEST(a_change_from_sasl_to_a_password_logs_out)
{
    struct guard_user user = {"cid", NULL, GUARD_READ, NULL};
    set_up_cyrus("plain");
    rig.config.users = &user;
    rig.config.users_count = 1;
    start();
    ck_assert_int_eq(plain("", "cid", "cyrus-cid"), 0);
    user.password = "mine";
    ck_assert_int_eq(rig_reload(&rig), 0);
    ck_assert(!guard_known(login));
    ck_assert_int_eq(plain("", "cid", "cyrus-cid"), CE_AUTH_FAILED);
    ck_assert_int_eq(plain("", "cid", "mine"), 0);
}
END_TEST

/* An exchange of before may end after: what counts is what is true at the end. */
START_TEST(a_reload_within_an_exchange)
{
    struct guard_user users[] = {{"ann", "one", GUARD_READ, NULL}, {"cid", "x", GUARD_READ, NULL}};
    set_up_cyrus("plain");
    rig.config.users = users;
    rig.config.users_count = 2;
    start();
    ck_assert_int_eq(ask_sasl(login, "PLAIN", slice_str("")), GUARD_CONTINUE);
    users[0].password = "two";
    ck_assert_int_eq(rig_reload(&rig), 0);
    ck_assert_int_eq(ask_sasl(login, "", slice_of("\0ann\0one", 8)), CE_AUTH_FAILED);
    ck_assert_int_eq(plain("", "ann", "two"), 0);
}
END_TEST

static void add_own(TCase *tests)
{
    tcase_add_test(tests, our_own_users_need_no_setup);
    tcase_add_test(tests, our_own_users_are_not_those_of_cyrus);
    tcase_add_test(tests, who_may_act_as_another);
    tcase_add_loop_test(tests, malformed_plain_is_refused, 0,
                        (int)(sizeof malformed / sizeof *malformed));
    tcase_add_test(tests, only_mechanisms_there_are);
    tcase_add_test(tests, a_step_goes_on_from_a_start);
    tcase_add_test(tests, twice_is_as_once);
    tcase_add_test(tests, large_data_is_refused);
}

static void add_cyrus(TCase *tests)
{
    tcase_add_test(tests, cyrus_alone_decides);
    tcase_add_loop_test(tests, mechanisms_with_several_steps, 0, 5);
    tcase_add_test(tests, names_too_long_or_blank_are_refused);
    tcase_add_test(tests, anonymous_is_never_offered);
    tcase_add_test(tests, without_mechanisms_there_is_no_start);
    tcase_add_test(tests, without_plugins_there_is_no_start);
    tcase_add_test(tests, a_user_by_sasl_has_the_rights_given);
    tcase_add_test(tests, who_has_a_password_of_ours_needs_it);
    tcase_add_test(tests, who_only_cyrus_knows_is_refused);
    tcase_add_test(tests, a_reload_takes_users_by_sasl_away);
    tcase_add_test(tests, a_change_from_sasl_to_a_password_logs_out);
    tcase_add_test(tests, a_reload_within_an_exchange);
}

int main(void)
{
    Suite *suite = suite_create("guard_sasl");
    TCase *tests = tcase_create("guard_sasl");
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_set_timeout(tests, 60);
    add_own(tests);
    add_cyrus(tests);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}

/* guard: who is known, who may what, reloads, the queue. Password files: guard_users_test; SASL:
 * guard_sasl_test. */
#include "lib/guard_rig.h"
#include "lib/log_heard.h"
#include "lib/suite.h"

#include <crypt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

/* Of `openssl passwd -6 -salt abc pass` and so on; bcrypt's is a vector of its first author. */
#define HASH_1 "$1$abc$iUbCWW89D2V9MXDEFGV8x0"
#define HASH_5 "$5$abc$vfrH.CL30IAqQqJ.Ebg5ibCCqfC2cddUCFrNSsXZRQ2"
#define HASH_6                                                                                     \
    "$6$abc$dCZAbKbeBK7T0hukxi7enUZp/"                                                             \
    "94Lft5t19M7i5KuPRB7fbWvBRbIYAWY22u9tH90kN7HD..U6kgPLsfSP1Rl0/"
#define HASH_2B "$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW" /* U*U */

static struct guard_rig rig;
static struct guard_login *login;

static void set_up(void)
{
    guard_rig_open(&rig);
}

static void tear_down(void)
{
    guard_login_free(&login);
    rig_close(&rig);
}

static void start(const char *file)
{
    rig_file(&rig, file);
    ck_assert_msg(guard_rig_start(&rig) == 0, "%s", rig.message);
    login = rig_login(&rig);
}

static void start_with(const struct guard_user *users, size_t count)
{
    rig.config.users = users;
    rig.config.users_count = count;
    ck_assert_msg(guard_rig_start(&rig) == 0, "%s", rig.message);
    login = rig_login(&rig);
}

static char *repeat(char what, size_t count)
{
    char *text = malloc(count + 1);
    memset(text, what, count);
    text[count] = 0;
    return text;
}

/* ---- passwords ---- */

static const struct {
    const char *hash, *password;
} hashes[] = {{HASH_1, "pass"}, {HASH_5, "pass"}, {HASH_6, "pass"}, {HASH_2B, "U*U"}};

START_TEST(each_kind_of_hash_is_verified)
{
    struct guard_user user = {"ann", hashes[_i].hash, GUARD_READ, NULL};
    bool later;
    start_with(&user, 1);
    struct slice name = slice_str("ann"), right = slice_str(hashes[_i].password);
    ck_assert_int_eq(ask_password(login, name, slice_str("wrong"), &later), CE_AUTH_FAILED);
    ck_assert(later);
    ck_assert(!guard_known(login));
    ck_assert_int_eq(ask_password(login, name, right, &later), 0);
    ck_assert(later);
    ck_assert(guard_known(login));
    /* The hash is not the password. */
    ck_assert_int_eq(ask(login, "ann", hashes[_i].hash), CE_AUTH_FAILED);
}
END_TEST

START_TEST(a_yescrypt_hash_is_verified)
{
    char setting[CRYPT_GENSALT_OUTPUT_SIZE];
    ck_assert_ptr_nonnull(crypt_gensalt_rn("$y$", 1, NULL, 0, setting, sizeof setting));
    struct guard_user user = {"ann", crypt("pass", setting), GUARD_READ, NULL};
    start_with(&user, 1);
    ck_assert_int_eq(ask(login, "ann", "pass"), 0);
    ck_assert_int_eq(ask(login, "ann", "Pass"), CE_AUTH_FAILED);
}
END_TEST

START_TEST(what_was_right_is_known_at_once)
{
    struct slice ann = slice_str("ann"), bob = slice_str("bob"), pass = slice_str("pass");
    bool later;
    start("ann:" HASH_5 "\nbob:" HASH_5 "\n");
    ck_assert_int_eq(ask_password(login, ann, pass, &later), 0);
    ck_assert(later);
    ck_assert_int_eq(ask_password(login, ann, pass, &later), 0);
    ck_assert(!later);
    ck_assert(guard_known(login));
    /* Only that name with that password. */
    ck_assert_int_eq(ask_password(login, ann, slice_str("wrong"), &later), CE_AUTH_FAILED);
    ck_assert(later);
    ck_assert_int_eq(ask_password(login, bob, pass, &later), 0);
    ck_assert(later);
    /* A reload forgets it. */
    ck_assert_int_eq(rig_reload(&rig), 0);
    ck_assert_int_eq(ask_password(login, ann, pass, &later), 0);
    ck_assert(later);
}
END_TEST

START_TEST(an_unknown_name_costs_what_a_known_one_costs)
{
    bool later;
    start("ann:" HASH_5 "\n");
    ck_assert_int_eq(ask(login, "ann", "pass"), 0);
    /* Not even with the right password of the one it is measured against. */
    for (int i = 0; i < 3; i++) {
        int rc = ask_password(login, slice_str("bob"), slice_str("pass"), &later);
        ck_assert_int_eq(rc, CE_AUTH_FAILED);
        ck_assert(later);
        ck_assert(!guard_known(login));
    }
    rig_file(&rig, "ann:clear\n");
    ck_assert_int_eq(rig_reload(&rig), 0);
    ck_assert_int_eq(ask_password(login, slice_str("bob"), slice_str("clear"), &later),
                     CE_AUTH_FAILED);
    ck_assert(!later);
}
END_TEST

START_TEST(only_the_very_password_is_right)
{
    static const char *const wrong[] = {"", "on", "onee", "One", "two", " one", "one ", "ann"};
    start("ann:one\nbob:two\nAnn:three\n");
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        ck_assert_int_eq(ask(login, "ann", "one"), 0);
        ck_assert(guard_known(login));
        ck_assert_int_eq(ask(login, "ann", wrong[i]), CE_AUTH_FAILED);
        ck_assert(!guard_known(login));
        ck_assert_int_eq(may(login, GUARD_KNOWN, ""), CE_AUTH);
    }
    ck_assert_int_eq(ask(login, "Ann", "three"), 0);
    ck_assert_int_eq(ask(login, "", ""), CE_AUTH_FAILED);
    ck_assert_int_eq(ask(login, "", "one"), CE_AUTH_FAILED);
    ck_assert_int_eq(ask(login, "nobody", "one"), CE_AUTH_FAILED);
}
END_TEST

START_TEST(an_empty_password_is_wrong_even_if_it_is_right)
{
    char hash[CRYPT_OUTPUT_SIZE];
    snprintf(hash, sizeof hash, "%s", crypt("", "$5$abc"));
    struct guard_user user = {"ann", hash, GUARD_READ, NULL};
    start_with(&user, 1);
    ck_assert_int_eq(ask(login, "ann", ""), CE_AUTH_FAILED);
}
END_TEST

START_TEST(nul_bytes_end_nothing)
{
    start("ann:one\nbob:" HASH_5 "\n");
    ck_assert_int_eq(ask_password(login, slice_of("ann\0", 4), slice_str("one"), NULL),
                     CE_AUTH_FAILED);
    ck_assert_int_eq(ask_password(login, slice_str("ann"), slice_of("one\0", 4), NULL),
                     CE_AUTH_FAILED);
    ck_assert_int_eq(ask_password(login, slice_of("\0", 1), slice_of("\0", 1), NULL),
                     CE_AUTH_FAILED);
    ck_assert_int_eq(ask_password(login, slice_str("bob"), slice_of("pass\0x", 6), NULL),
                     CE_AUTH_FAILED);
    ck_assert_int_eq(ask(login, "bob", "pass"), 0);
}
END_TEST

START_TEST(a_password_too_long_for_crypt_is_wrong)
{
    char *longest = repeat('p', GUARD_PASSWORD_MAX);
    start("ann:" HASH_5 "\n");
    ck_assert_int_eq(ask(login, "ann", longest), CE_AUTH_FAILED);
    longest[511] = 0;
    ck_assert_int_eq(ask(login, "ann", longest), CE_AUTH_FAILED);
    ck_assert_int_eq(ask(login, "ann", "pass"), 0);
    free(longest);
}
END_TEST

/* ---- rights ---- */

START_TEST(rights_are_those_given)
{
    /* Rows: what a user has; columns: known, read, write, admin. */
    static const unsigned has[] = {
        0, GUARD_READ, GUARD_WRITE, GUARD_ADMIN, GUARD_READ | GUARD_WRITE, GUARD_RIGHTS_ALL};
    static const char *const want[] = {"k...", "kr..", "k.w.", "k..a", "krw.", "krwa"};
    static const unsigned asked[] = {GUARD_KNOWN, GUARD_READ, GUARD_WRITE, GUARD_ADMIN};
    struct guard_user user = {"ann", "one", has[_i], NULL};
    start_with(&user, 1);
    for (size_t i = 0; i < 4; i++)
        ck_assert_int_eq(may(login, asked[i], "key"), CE_AUTH);
    ck_assert_int_eq(may(login, GUARD_OPEN, ""), 0);
    ck_assert_int_eq(ask(login, "ann", "one"), 0);
    for (size_t i = 0; i < 4; i++) {
        int rc = want[_i][i] == '.' ? CE_DENIED : 0;
        ck_assert_int_eq(may(login, asked[i], "key"), rc);
        ck_assert_int_eq(may(login, asked[i], ""), rc);
    }
    ck_assert_int_eq(may(login, GUARD_OPEN, "key"), 0);
    bool both = want[_i][1] == 'r' && want[_i][2] == 'w';
    ck_assert_int_eq(may(login, GUARD_READ | GUARD_WRITE, "key"), both ? 0 : CE_DENIED);
}
END_TEST

START_TEST(keys_are_those_below_the_prefixes)
{
    static const char *const inside[] = {"cart:", "cart:1", "cart:1:2", "", "stock/7", "a"};
    static const char *const outside[] = {"cart", "Cart:1", "car", "xcart:1", "stock", "A", "b"};
    struct guard_user user = {"ann", "one", GUARD_READ, "cart: stock/   a "};
    start_with(&user, 1);
    ck_assert_int_eq(ask(login, "ann", "one"), 0);
    ck_assert(guard_has_prefixes(login));
    for (size_t i = 0; i < sizeof inside / sizeof *inside; i++)
        ck_assert_int_eq(may(login, GUARD_READ, inside[i]), 0);
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++)
        ck_assert_int_eq(may(login, GUARD_READ, outside[i]), CE_DENIED);
    for (size_t i = 0; i < sizeof inside / sizeof *inside; i++)
        ck_assert_int_eq(may(login, GUARD_WRITE, inside[i]), CE_DENIED);
    ck_assert_uint_eq(guard_rig_stat(&rig, "denied_cmds"), 7 + 6);
}
END_TEST

START_TEST(no_prefix_is_all_keys)
{
    struct guard_user user = {"ann", "one", GUARD_READ, _i ? "  " : ""};
    start_with(&user, 1);
    ck_assert_int_eq(ask(login, "ann", "one"), 0);
    ck_assert(!guard_has_prefixes(login));
    ck_assert_int_eq(may(login, GUARD_READ, "any"), 0);
}
END_TEST

START_TEST(without_users_nobody_is_asked)
{
    ck_assert_int_eq(guard_rig_start(&rig), 0);
    login = rig_login(&rig);
    ck_assert(!guard_asks(rig.guard));
    ck_assert(!guard_has_sasl(rig.guard));
    ck_assert(guard_known(login));
    ck_assert_int_eq(may(login, GUARD_ADMIN, "key"), 0);
    ck_assert_int_eq(ask(login, "ann", "one"), CE_AUTH_FAILED);
    ck_assert_int_eq(ask_sasl(login, "PLAIN", slice_str("")), CE_AUTH_FAILED);
    ck_assert_int_eq(may(login, GUARD_ADMIN, "key"), 0);
}
END_TEST

/* ---- reload ---- */

START_TEST(a_reload_is_seen_by_who_is_logged_in)
{
    struct guard_user users[] = {{"ann", "one", GUARD_READ, NULL},
                                 {"bob", HASH_5, GUARD_READ, NULL},
                                 {"cid", HASH_5, GUARD_RIGHTS_ALL, "c:"},
                                 {"dan", "four", GUARD_READ, NULL}};
    static const char *const names[] = {"ann", "bob", "cid", "dan"};
    static const char *const passwords[] = {"one", "pass", "pass", "four"};
    struct guard_login *logins[4];
    start_with(users, 4);
    for (int i = 0; i < 4; i++) {
        logins[i] = rig_login(&rig);
        ck_assert_int_eq(ask(logins[i], names[i], passwords[i]), 0);
    }
    users[0].password = "new";    /* another password */
    users[1].password = HASH_6;   /* another hash */
    users[2].rights = GUARD_READ; /* other rights */
    users[2].prefixes = "d:";
    rig.config.users_count = 3; /* one less */
    ck_assert_msg(rig_reload(&rig) == 0, "%s", rig.message);
    ck_assert(!guard_known(logins[0]));
    ck_assert_int_eq(may(logins[1], GUARD_READ, "x"), CE_AUTH);
    ck_assert_int_eq(may(logins[2], GUARD_READ, "c:1"), CE_DENIED);
    ck_assert_int_eq(may(logins[2], GUARD_READ, "d:1"), 0);
    ck_assert_int_eq(may(logins[2], GUARD_WRITE, "d:1"), CE_DENIED);
    ck_assert_int_eq(may(logins[3], GUARD_KNOWN, ""), CE_AUTH);
    ck_assert_int_eq(ask(logins[0], "ann", "one"), CE_AUTH_FAILED);
    ck_assert_int_eq(ask(logins[0], "ann", "new"), 0);
    ck_assert_int_eq(ask(logins[3], "dan", "four"), CE_AUTH_FAILED);
    rig.config.users_count = 4; /* who was gone is not logged in again */
    ck_assert_int_eq(rig_reload(&rig), 0);
    ck_assert(!guard_known(logins[1]));
    ck_assert(!guard_known(logins[3]));
    ck_assert(guard_known(logins[0]));
    for (int i = 0; i < 4; i++)
        guard_login_free(&logins[i]);
}
END_TEST

START_TEST(a_bad_reload_changes_nothing)
{
    start("ann:one\n");
    ck_assert_int_eq(ask(login, "ann", "one"), 0);
    rig_file(&rig, "ann:two\nbroken\n");
    ck_assert_int_eq(rig_reload(&rig), CE_INVAL);
    ck_assert_str_eq(rig.message, "/etc/users:2: not user:password");
    ck_assert(guard_known(login));
    ck_assert_int_eq(ask(login, "ann", "two"), CE_AUTH_FAILED);
    ck_assert_int_eq(ask(login, "ann", "one"), 0);
    rig_file(&rig, "");
    ck_assert_int_eq(rig_reload(&rig), CE_INVAL);
    rig.config.users_path = "/no/such";
    ck_assert_int_eq(rig_reload(&rig), CE_NOTFOUND);
    rig.config.users_path = NULL;
    ck_assert_int_eq(rig_reload(&rig), CE_INVAL);
    ck_assert_str_eq(rig.message,
                     "users, or SASL, can only be introduced or given up by a restart");
    ck_assert_int_eq(may(login, GUARD_READ, "x"), 0);
}
END_TEST

START_TEST(an_answer_on_the_way_is_judged_by_the_new_users)
{
    struct asker asker;
    asker_init(&asker);
    start("ann:" HASH_5 "\n");
    int rc = guard_password(login, slice_str("ann"), slice_str("pass"), &asker.wait);
    ck_assert_int_eq(rc, GUARD_LATER);
    asker_wait(&asker);
    rig_file(&rig, "bob:" HASH_5 "\n");
    ck_assert_int_eq(rig_reload(&rig), 0);
    ck_assert_int_eq(guard_result(login), 0);
    ck_assert(!guard_known(login));
}
END_TEST

/* ---- the queue ---- */

#define MANY (GUARD_QUEUE_MAX + 1)

static struct asker askers[MANY + 1];
static struct guard_login *many[MANY + 1];

/* The guard's thread is held in done() of the first; the queue behind it is full. */
static void fill_queue(void)
{
    for (int i = 0; i < MANY; i++) {
        asker_init(&askers[i]);
        askers[i].held = i == 0;
        many[i] = rig_login(&rig);
        int rc = guard_password(many[i], slice_str("ann"), slice_str(i % 2 ? "pass" : "no"),
                                &askers[i].wait);
        ck_assert_int_eq(rc, GUARD_LATER);
        if (i == 0)
            asker_wait_entered(&askers[0]);
    }
}

START_TEST(a_full_queue_is_busy)
{
    start("ann:" HASH_2B "\nbob:clear\n");
    fill_queue();
    asker_init(&askers[MANY]);
    for (int i = 0; i < 2; i++) {
        int rc = guard_password(login, slice_str("ann"), slice_str("no"), &askers[MANY].wait);
        ck_assert_int_eq(rc, CE_BUSY);
    }
    ck_assert_int_eq(ask(login, "bob", "clear"), 0); /* needs no queue */
    asker_let_go(&askers[0]);
    for (int i = 0; i < MANY; i++) {
        asker_wait(&askers[i]);
        ck_assert_int_eq(guard_result(many[i]), CE_AUTH_FAILED);
        guard_login_free(&many[i]);
    }
    ck_assert_uint_eq(askers[MANY].calls, 0);
    ck_assert_uint_eq(guard_rig_stat(&rig, "auth_cmds"), MANY + 3);
    ck_assert_uint_eq(guard_rig_stat(&rig, "auth_errors"), MANY + 2);
}
END_TEST

static void *stop_guard(void *arg)
{
    guard_stop(rig.guard);
    return arg;
}

START_TEST(a_stop_answers_what_is_queued)
{
    pthread_t stopper;
    start("ann:" HASH_5 "\n");
    fill_queue();
    ck_assert_int_eq(pthread_create(&stopper, NULL, stop_guard, NULL), 0);
    for (int i = 1; i < MANY; i++) {
        asker_wait(&askers[i]);
        ck_assert_int_eq(guard_result(many[i]), CE_AUTH_FAILED);
        guard_login_free(&many[i]);
    }
    ck_assert_int_eq(ask(login, "ann", "pass"), CE_AUTH_FAILED);
    asker_let_go(&askers[0]);
    ck_assert_int_eq(pthread_join(stopper, NULL), 0);
    ck_assert_uint_eq(askers[0].calls, 1); /* it was waited for */
    guard_login_free(&many[0]);
    ck_assert_int_eq(ask(login, "ann", "pass"), CE_AUTH_FAILED);
}
END_TEST

static void close_login(struct guard_wait *wait)
{
    struct asker *asker = (struct asker *)wait;
    guard_login_free(&many[asker - askers]);
}

START_TEST(a_free_lets_logins_close_in_done)
{
    start("ann:" HASH_5 "\n");
    for (int i = 0; i < 20; i++) {
        asker_init(&askers[i]);
        askers[i].wait.done = close_login;
        many[i] = rig_login(&rig);
        int rc = guard_password(many[i], slice_str("ann"), slice_str("no"), &askers[i].wait);
        ck_assert_int_eq(rc, GUARD_LATER);
    }
    guard_login_free(&login);
    guard_free(&rig.guard);
    for (int i = 0; i < 20; i++)
        ck_assert_ptr_null(many[i]);
}
END_TEST

START_TEST(a_login_is_not_freed_with_a_question_open)
{
    start("ann:" HASH_5 "\n");
    asker_init(&askers[0]);
    askers[0].held = true;
    ck_assert_int_eq(guard_password(login, slice_str("ann"), slice_str("x"), &askers[0].wait),
                     GUARD_LATER);
    asker_init(&askers[1]);
    struct guard_login *other = rig_login(&rig);
    ck_assert_int_eq(guard_password(other, slice_str("ann"), slice_str("x"), &askers[1].wait),
                     GUARD_LATER);
    asker_wait_entered(&askers[0]);
    guard_login_free(&other); /* queued behind the first: aborts */
}
END_TEST

/* ---- threads ---- */

static _Atomic bool stopped;

static void *log_in_and_out(void *arg)
{
    const char *name = arg;
    struct guard_login *mine = rig_login(&rig);
    unsigned known = 0;
    for (unsigned i = 0; i < 300 || (!atomic_load(&stopped) && i < 100000); i++) {
        int rc = ask(mine, name, i % 8 ? "pass" : "wrong");
        ck_assert(rc == 0 || rc == CE_AUTH_FAILED);
        ck_assert(i % 8 || rc == CE_AUTH_FAILED);
        rc = may(mine, GUARD_READ, "key");
        known += rc == 0;
        ck_assert(rc == 0 || rc == CE_AUTH);
    }
    guard_login_free(&mine);
    return known ? arg : NULL;
}

START_TEST(reloads_and_logins_at_once)
{
    static char names[][4] = {"ann", "bob", "cid"};
    static const char *const files[] = {"ann:pass\nbob:" HASH_2B "\ncid:pass\n",
                                        "ann:pass\ncid:" HASH_2B "\n", "ann:pass\nbob:pass\n"};
    pthread_t threads[3];
    start(files[0]);
    log_level_set(LOG_ERROR);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, log_in_and_out, names[i]), 0);
    for (int i = 0; i < 60; i++) {
        rig_file(&rig, files[i % 3]);
        ck_assert_int_eq(rig_reload(&rig), 0);
    }
    atomic_store(&stopped, true);
    for (int i = 0; i < 3; i++) {
        void *found;
        pthread_join(threads[i], &found);
        if (i == 0)
            ck_assert_ptr_eq(found, names[0]); /* who was always there got in */
    }
}
END_TEST

/* ---- what is seen ---- */

START_TEST(failures_are_logged_without_passwords)
{
    start("ann:secret1\nbob:" HASH_5 "\n");
    log_listen();
    char name[] = "evil\r\nname\x01\xff\\";
    ck_assert_int_eq(ask(login, name, "secret2"), CE_AUTH_FAILED);
    ck_assert_int_eq(ask(login, "bob", "secret3"), CE_AUTH_FAILED);
    const char *heard = log_heard();
    ck_assert_ptr_nonnull(strstr(heard, "login of evil\\x0d\\x0aname\\x01\\xff\\x5c refused\n"));
    ck_assert_ptr_nonnull(strstr(heard, "login of bob refused\n"));
    ck_assert_ptr_null(strstr(heard, "secret"));
}
END_TEST

static unsigned count_lines(const char *text)
{
    unsigned count = 0;
    for (; (text = strchr(text, '\n')); text++)
        count++;
    return count;
}

START_TEST(failures_are_logged_a_few_times_a_second)
{
    start("ann:one\n");
    log_listen();
    for (int i = 0; i < 100; i++)
        ck_assert_int_eq(ask(login, "ann", "x"), CE_AUTH_FAILED);
    ck_assert_uint_eq(count_lines(log_heard()), 5);
    fake_env_advance_ms(rig.fake, 999);
    ck_assert_int_eq(ask(login, "ann", "x"), CE_AUTH_FAILED);
    ck_assert_uint_eq(count_lines(log_heard()), 5);
    fake_env_advance_ms(rig.fake, 1);
    ck_assert_int_eq(ask(login, "ann", "x"), CE_AUTH_FAILED);
    ck_assert_uint_eq(count_lines(log_heard()), 6);
    ck_assert_ptr_nonnull(strstr(log_heard(), "login of ann refused; 96 more before\n"));
    char *name = repeat('\n', GUARD_NAME_MAX);
    ck_assert_int_eq(ask(login, name, "x"), CE_AUTH_FAILED);
    ck_assert_ptr_nonnull(strstr(log_heard(), "\\x0a... refused\n"));
    free(name);
}
END_TEST

START_TEST(attempts_are_counted)
{
    start("ann:one\nbob:" HASH_5 "\n");
    ck_assert_int_eq(ask(login, "ann", "one"), 0);
    ck_assert_int_eq(ask(login, "ann", "two"), CE_AUTH_FAILED);
    ck_assert_int_eq(ask(login, "bob", "pass"), 0);
    ck_assert_int_eq(ask(login, "bob", "two"), CE_AUTH_FAILED);
    ck_assert_int_eq(may(login, GUARD_READ, "x"), CE_AUTH);
    ck_assert_uint_eq(guard_rig_stat(&rig, "auth_cmds"), 4);
    ck_assert_uint_eq(guard_rig_stat(&rig, "auth_errors"), 2);
    ck_assert_uint_eq(guard_rig_stat(&rig, "denied_cmds"), 0);
}
END_TEST

#define COUNT(list) (int)(sizeof(list) / sizeof *(list))

static void add_passwords(TCase *tests)
{
    tcase_add_loop_test(tests, each_kind_of_hash_is_verified, 0, COUNT(hashes));
    tcase_add_test(tests, a_yescrypt_hash_is_verified);
    tcase_add_test(tests, what_was_right_is_known_at_once);
    tcase_add_test(tests, an_unknown_name_costs_what_a_known_one_costs);
    tcase_add_test(tests, only_the_very_password_is_right);
    tcase_add_test(tests, an_empty_password_is_wrong_even_if_it_is_right);
    tcase_add_test(tests, nul_bytes_end_nothing);
    tcase_add_test(tests, a_password_too_long_for_crypt_is_wrong);
    tcase_add_loop_test(tests, rights_are_those_given, 0, 6);
    tcase_add_test(tests, keys_are_those_below_the_prefixes);
    tcase_add_loop_test(tests, no_prefix_is_all_keys, 0, 2);
    tcase_add_test(tests, without_users_nobody_is_asked);
}

static void add_life(TCase *tests)
{
    tcase_add_test(tests, a_reload_is_seen_by_who_is_logged_in);
    tcase_add_test(tests, a_bad_reload_changes_nothing);
    tcase_add_test(tests, an_answer_on_the_way_is_judged_by_the_new_users);
    tcase_add_test(tests, a_full_queue_is_busy);
    tcase_add_test(tests, a_stop_answers_what_is_queued);
    tcase_add_test(tests, a_free_lets_logins_close_in_done);
    tcase_add_test_raise_signal(tests, a_login_is_not_freed_with_a_question_open, SIGABRT);
    tcase_add_test(tests, reloads_and_logins_at_once);
    tcase_add_test(tests, failures_are_logged_without_passwords);
    tcase_add_test(tests, failures_are_logged_a_few_times_a_second);
    tcase_add_test(tests, attempts_are_counted);
}

int main(void)
{
    Suite *suite = suite_create("guard");
    TCase *tests = tcase_create("guard");
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_set_timeout(tests, 60);
    add_passwords(tests);
    add_life(tests);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}

/* guard: the password file and the users of the configuration, good and bad. Logins and rights:
 * guard_test. */
#include "lib/guard_rig.h"
#include "lib/log_heard.h"
#include "lib/suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* Of `openssl passwd -1 -salt abc pass`, and -5. */
#define HASH_1 "$1$abc$iUbCWW89D2V9MXDEFGV8x0"
#define HASH_5 "$5$abc$vfrH.CL30IAqQqJ.Ebg5ibCCqfC2cddUCFrNSsXZRQ2"

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

/* ---- the password file ---- */

START_TEST(a_file_has_users_comments_and_empty_lines)
{
    start("# who may\n\nann:one\n  \t\r\nbob:two\r\n#no:user\ncid:p:q:r\ndan:$ecret\n"
          "eve:" HASH_5 ":19000:0:\nfay:last line");
    ck_assert_int_eq(ask(login, "ann", "one"), 0);
    ck_assert_int_eq(ask(login, "bob", "two"), 0);
    ck_assert_int_eq(ask(login, "cid", "p:q:r"), 0);
    ck_assert_int_eq(ask(login, "cid", "p"), CE_AUTH_FAILED);
    ck_assert_int_eq(ask(login, "dan", "$ecret"), 0);
    ck_assert_int_eq(ask(login, "eve", "pass"), 0);
    ck_assert_int_eq(ask(login, "fay", "last line"), 0);
    ck_assert_int_eq(ask(login, "#no", "user"), CE_AUTH_FAILED);
    ck_assert_int_eq(ask(login, "fay", "last"), CE_AUTH_FAILED);
}
END_TEST

START_TEST(a_user_of_a_file_may_everything)
{
    start("ann:one\n");
    ck_assert_int_eq(ask(login, "ann", "one"), 0);
    for (unsigned right = GUARD_KNOWN; right <= GUARD_ADMIN; right *= 2)
        ck_assert_int_eq(may(login, right, "any"), 0);
    ck_assert(!guard_has_prefixes(login));
}
END_TEST

static const struct {
    const char *text, *message;
} bad_files[] = {
    {"", "/etc/users: no user in it"},
    {"\n# only\n", "/etc/users: no user in it"},
    {"ann:secret\nbob\n", "/etc/users:2: not user:password"},
    {"ann secret\n", "/etc/users:1: not user:password"},
    {"\n\n:secret\n", "/etc/users:3: no user name"},
    {"ann:\n", "/etc/users:1: user ann has an empty password"},
    {"ann:\r\n", "/etc/users:1: user ann has an empty password"},
    {"ann:secret\n#\nann:secret2\n", "/etc/users:3: user ann is there twice"},
    {"a b:secret\n", "/etc/users:1: user name a\\x20b begins with '#', or has a space, a control "
                     "character or ':' in it"},
    {" ann:secret\n", "/etc/users:1: user name \\x20ann begins with '#', or has a space, a control "
                      "character or ':' in it"},
    {"a\tb:secret\n", "/etc/users:1: user name a\\x09b begins with '#', or has a space, a control "
                      "character or ':' in it"},
    {"ann:$9$secret$secret\n",
     "/etc/users:1: the hashed password of user ann is of no kind that crypt(5) knows"},
    {"ann:$6$\x01secret\n",
     "/etc/users:1: the hashed password of user ann is of no kind that crypt(5) knows"},
    {"ann:$6$:secret\n", NULL}, /* an empty salt is one */
};

START_TEST(a_bad_file_is_refused_with_its_line)
{
    rig_file(&rig, bad_files[_i].text);
    int rc = guard_rig_start(&rig);
    if (!bad_files[_i].message) {
        ck_assert_int_eq(rc, 0);
        return;
    }
    ck_assert_int_eq(rc, CE_INVAL);
    ck_assert_ptr_null(rig.guard);
    ck_assert_str_eq(rig.message, bad_files[_i].message);
    ck_assert_ptr_null(strstr(rig.message, "secret"));
}
END_TEST

START_TEST(a_nul_byte_is_refused)
{
    static const char text[] = "ann:sec\0ret\n";
    rig_file_bytes(&rig, slice_of(text, sizeof text - 1));
    ck_assert_int_eq(guard_rig_start(&rig), CE_INVAL);
    ck_assert_str_eq(rig.message, "/etc/users:1: a NUL byte");
}
END_TEST

START_TEST(a_file_that_cannot_be_read_is_named)
{
    rig.config.users_path = "/no/such";
    ck_assert_int_eq(guard_rig_start(&rig), CE_NOTFOUND);
    ck_assert_str_eq(rig.message, "/no/such: not found");
    rig_file(&rig, "ann:one\n");
    fake_env_fault(rig.fake, FAKE_READ, (struct fake_fault){1, 1, CE_IO});
    ck_assert_int_eq(guard_rig_start(&rig), CE_IO);
    ck_assert_str_eq(rig.message, "/etc/users: input/output error");
}
END_TEST

START_TEST(the_longest_name_and_password_fit)
{
    char *name = repeat('n', GUARD_NAME_MAX), *password = repeat('p', GUARD_PASSWORD_MAX);
    struct buf text = {0};
    ck_assert_int_eq(buf_printf(&text, "%s:%s\n", name, password), 0);
    rig_file_bytes(&rig, buf_slice(&text));
    ck_assert_int_eq(guard_rig_start(&rig), 0);
    login = rig_login(&rig);
    ck_assert_int_eq(ask(login, name, password), 0);
    password[GUARD_PASSWORD_MAX - 1] = 'q';
    ck_assert_int_eq(ask(login, name, password), CE_AUTH_FAILED);
    char *longer = repeat('p', GUARD_PASSWORD_MAX + 1), *more = repeat('n', GUARD_NAME_MAX + 1);
    ck_assert_int_eq(ask(login, name, longer), CE_AUTH_FAILED);
    ck_assert_int_eq(ask(login, more, longer), CE_AUTH_FAILED);
    free(name);
    free(password);
    free(longer);
    free(more);
    buf_free(&text);
}
END_TEST

static void expect_bad(const char *name, const char *password, const char *message)
{
    struct buf text = {0};
    ck_assert_int_eq(buf_printf(&text, "%s:%s\n", name, password), 0);
    rig_file_bytes(&rig, buf_slice(&text));
    ck_assert_int_eq(guard_rig_start(&rig), CE_INVAL);
    ck_assert_str_eq(rig.message, message);
    buf_free(&text);
}

START_TEST(a_byte_more_does_not_fit)
{
    char *name = repeat('n', GUARD_NAME_MAX + 1), *password = repeat('p', GUARD_PASSWORD_MAX + 1);
    expect_bad(name, "x",
               "/etc/users:1: user name nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn... is longer than 255 "
               "bytes");
    expect_bad("ann", password, "/etc/users:1: the password of user ann is longer than 1024 bytes");
    free(name);
    free(password);
}
END_TEST

START_TEST(as_many_users_as_said_fit)
{
    struct buf text = {0};
    for (int i = 0; i < GUARD_USERS_MAX; i++)
        ck_assert_int_eq(buf_printf(&text, "user%d:word%d\n", i, i), 0);
    rig_file_bytes(&rig, buf_slice(&text));
    ck_assert_int_eq(guard_rig_start(&rig), 0);
    login = rig_login(&rig);
    for (int i = 0; i < GUARD_USERS_MAX; i += 7) {
        char name[32], password[32], other[32];
        snprintf(name, sizeof name, "user%d", i);
        snprintf(password, sizeof password, "word%d", i);
        snprintf(other, sizeof other, "word%d", i + 1);
        ck_assert_int_eq(ask(login, name, password), 0);
        ck_assert_int_eq(ask(login, name, other), CE_AUTH_FAILED);
    }
    ck_assert_int_eq(buf_append_str(&text, "one:more\n"), 0);
    rig_file_bytes(&rig, buf_slice(&text));
    ck_assert_int_eq(rig_reload(&rig), CE_INVAL);
    ck_assert_str_eq(rig.message, "/etc/users:4097: more than 4096 users");
    buf_free(&text);
}
END_TEST

START_TEST(old_hashes_are_named)
{
    log_listen();
    start("ann:" HASH_1 "\n");
    ck_assert_int_eq(ask(login, "ann", "pass"), 0);
    ck_assert_ptr_nonnull(
        strstr(log_heard(), "password of user ann is of an old kind: see crypt(5)"));
    ck_assert_ptr_null(strstr(log_heard(), "iUbCW"));
}
END_TEST

START_TEST(a_file_that_all_can_read_is_named)
{
    char path[] = "/tmp/guard_test_XXXXXX";
    int fd = mkstemp(path);
    ck_assert_int_eq((int)write(fd, "ann:one\n", 8), 8);
    ck_assert_int_eq(fchmod(fd, _i ? 0644 : 0640), 0);
    close(fd);
    log_listen();
    rig.config.env = env_real();
    rig.config.users_path = path;
    int rc = guard_rig_start(&rig);
    unlink(path);
    ck_assert_int_eq(rc, 0);
    ck_assert_int_eq(strstr(log_heard(), "can read the passwords") != NULL, _i);
}
END_TEST

/* ---- users of the configuration ---- */

static const struct {
    struct guard_user user;
    const char *message;
} bad_users[] = {
    {{"", "x", GUARD_READ, NULL}, "no user name"},
    {{"bob", "", GUARD_READ, NULL}, "user bob has an empty password"},
    {{"#b", "x", GUARD_READ, NULL},
     "user name #b begins with '#', or has a space, a control "
     "character or ':' in it"},
    {{"b:b", "x", GUARD_READ, NULL},
     "user name b:b begins with '#', or has a space, a control "
     "character or ':' in it"},
    {{"ann", "x", GUARD_READ, NULL}, "user ann is there twice"},
};

START_TEST(a_bad_user_is_named)
{
    rig_file(&rig, "ann:one\n");
    rig.config.users = &bad_users[_i].user;
    rig.config.users_count = 1;
    ck_assert_int_eq(guard_rig_start(&rig), CE_INVAL);
    ck_assert_str_eq(rig.message, bad_users[_i].message);
}
END_TEST

START_TEST(so_many_prefixes_and_so_long)
{
    struct buf text = {0};
    char *longest = repeat('k', 250), *longer = repeat('k', 251);
    for (int i = 0; i < GUARD_PREFIXES_MAX; i++)
        ck_assert_int_eq(buf_printf(&text, " p%d: ", i), 0);
    struct guard_user user = {"ann", "one", GUARD_READ, (const char *)text.bytes};
    start_with(&user, 1);
    ck_assert_int_eq(ask(login, "ann", "one"), 0);
    ck_assert_int_eq(may(login, GUARD_READ, "p63:"), 0);
    ck_assert_int_eq(may(login, GUARD_READ, "p64:"), CE_DENIED);
    ck_assert_int_eq(buf_append_str(&text, "more"), 0);
    ck_assert_int_eq(buf_append(&text, "", 1), 0);
    user.prefixes = (const char *)text.bytes;
    ck_assert_int_eq(rig_reload(&rig), CE_INVAL);
    ck_assert_str_eq(rig.message, "user ann has more than 64 key prefixes");
    user.prefixes = longest;
    ck_assert_int_eq(rig_reload(&rig), 0);
    user.prefixes = longer;
    ck_assert_int_eq(rig_reload(&rig), CE_INVAL);
    ck_assert_str_eq(rig.message, "user ann has a key prefix that is longer than a key");
    buf_free(&text);
    free(longest);
    free(longer);
}
END_TEST

START_TEST(what_was_given_is_copied)
{
    char name[] = "ann", password[] = "one", prefixes[] = "cart:";
    struct guard_user user = {name, password, GUARD_READ, prefixes};
    start_with(&user, 1);
    memset(name, 'x', 3);
    memset(password, 'x', 3);
    memset(prefixes, 'x', 5);
    ck_assert_int_eq(ask(login, "xxx", "xxx"), CE_AUTH_FAILED);
    ck_assert_int_eq(ask(login, "ann", "one"), 0);
    ck_assert_int_eq(may(login, GUARD_READ, "cart:1"), 0);
}
END_TEST

#define COUNT(list) (int)(sizeof(list) / sizeof *(list))

static void add_files(TCase *tests)
{
    tcase_add_test(tests, a_file_has_users_comments_and_empty_lines);
    tcase_add_test(tests, a_user_of_a_file_may_everything);
    tcase_add_loop_test(tests, a_bad_file_is_refused_with_its_line, 0, COUNT(bad_files));
    tcase_add_test(tests, a_nul_byte_is_refused);
    tcase_add_test(tests, a_file_that_cannot_be_read_is_named);
    tcase_add_test(tests, the_longest_name_and_password_fit);
    tcase_add_test(tests, a_byte_more_does_not_fit);
    tcase_add_test(tests, as_many_users_as_said_fit);
    tcase_add_loop_test(tests, a_file_that_all_can_read_is_named, 0, 2);
    tcase_add_test(tests, old_hashes_are_named);
    tcase_add_loop_test(tests, a_bad_user_is_named, 0, COUNT(bad_users));
    tcase_add_test(tests, so_many_prefixes_and_so_long);
    tcase_add_test(tests, what_was_given_is_copied);
}

int main(void)
{
    Suite *suite = suite_create("guard_users");
    TCase *tests = tcase_create("guard_users");
    tcase_add_checked_fixture(tests, set_up, tear_down);
    add_files(tests);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}

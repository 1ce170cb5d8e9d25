/* guard: may this be run now, and by whom. Users, their passwords, rights and key prefixes; SASL.
 *
 * Where users come from: a password file (memcached's -Y), users of the config file, and whatever
 * Cyrus SASL is set up with (memcached's -S). Authentication is asked for when any of the three is
 * given. A question that costs time (a hashed password, a SASL mechanism) is answered by the
 * guard's own thread, so that no worker waits; a right is O(1) plus the user's prefixes, and takes
 * no lock. Passwords are compared in constant time, never logged, and wiped where they were copied.
 *
 * A login belongs to one connection and to its worker's thread. */
#ifndef GUARD_GUARD_H
#define GUARD_GUARD_H

#include "base/base.h"

#define GUARD_NAME_MAX      255  /* bytes of a user's name, */
#define GUARD_PASSWORD_MAX  1024 /* and of a password */
#define GUARD_USERS_MAX     4096
#define GUARD_PREFIXES_MAX  64  /* key prefixes of one user */
#define GUARD_QUEUE_MAX     256 /* questions that wait for the guard's thread; CE_BUSY */
#define GUARD_MECHANISM_MAX 32  /* bytes of the name of a SASL mechanism (memcached) */

enum guard_right {
    GUARD_OPEN = 0,  /* version, quit, authentication: for everybody */
    GUARD_KNOWN = 1, /* for everybody who is authenticated: stats, noop */
    GUARD_READ = 2,
    GUARD_WRITE = 4,
    GUARD_ADMIN = 8, /* what touches all keys, the daemon, or others: flush_all, shutdown, ... */
};
#define GUARD_RIGHTS_ALL (GUARD_KNOWN | GUARD_READ | GUARD_WRITE | GUARD_ADMIN)

struct guard;
struct guard_login;

/* A user of the config file. All texts are copied. */
struct guard_user {
    const char *name;
    const char
        *password;   /* clear, or a crypt(5) hash, which begins with '$'; NULL = only by SASL */
    unsigned rights; /* of enum guard_right */
    const char *prefixes; /* separated by spaces; NULL or empty = all keys */
};

struct guard_config {
    const struct env *env;
    const char *users_path; /* -Y: see guard_file.c; full rights; NULL = none */
    const struct guard_user *users;
    size_t users_count;
    bool sasl; /* -S */
};

/* Reads users and file, starts the thread. `message` says what is wrong, with file and line, never
 * with a password. CE_INVAL (bad file or user), CE_NOTFOUND, CE_IO, CE_NOMEM. Start-up thread. */
int guard_new(const struct guard_config *config, struct guard **guard, char *message,
              size_t message_bytes) MUST_USE;
/* Answers what is queued with a failure, waits for what is being answered, and fails whatever is
 * asked from now on: done() is not called any more when it returns. While the workers still run, so
 * that connections can be closed. One thread at a time. */
void guard_stop(struct guard *guard);
/* Calls guard_stop. After all logins are closed, at the latest by done(). */
void guard_free(struct guard **guard);

/* Reads file and users again; on an error all stays as it was. Who is logged in keeps it if the
 * user is still there with the same password (with the new rights), and is unknown from then on if
 * not. CE_INVAL also when `sasl`, or whether there are users at all, is not as at the start. One
 * thread at a time. */
int guard_reload(struct guard *guard, const struct guard_config *config, char *message,
                 size_t message_bytes) MUST_USE;

/* Whether anybody is asked for a password at all. Never changes. Any thread. */
bool guard_asks(const struct guard *guard);
/* Whether the SASL commands exist (-S). Never changes. Any thread. */
bool guard_has_sasl(const struct guard *guard);

/* ---- one connection; its worker's thread ---- */

/* Someone unknown. CE_NOMEM. */
int guard_login_new(struct guard *guard, struct guard_login **login) MUST_USE;
/* MUST NOT be while a question is open. */
void guard_login_free(struct guard_login **login);

/* True when the user is known, or nobody is asked; one that guard_reload took away is not. */
bool guard_known(struct guard_login *login);
/* `rights`: all that are needed, of enum guard_right. 0; CE_AUTH: not authenticated; CE_DENIED: one
 * is missing, or the key (when it has bytes) is below none of the user's prefixes. */
int guard_may(struct guard_login *login, unsigned rights, struct slice key) MUST_USE;
/* Whether guard_may depends on the key; when not, one call is enough for many keys. As of the last
 * guard_may: ask after it. */
bool guard_has_prefixes(const struct guard_login *login);

/* A question that may take long. Embedded in the asker, who sets `done` and keeps it until done()
 * has been called, which is on any thread. */
struct guard_wait {
    void (*done)(struct guard_wait *wait);
    struct guard_login *_login;
    struct guard_wait *_next;
};
#define GUARD_LATER 1 /* done() will be called; ask for the result with guard_result() */

/* Logs in by name and password. 0, CE_AUTH_FAILED, CE_BUSY, CE_NOMEM at once, or GUARD_LATER. What
 * was right a moment ago (the same name and password) is known at once. On failure the login is
 * unknown. */
int guard_password(struct guard_login *login, struct slice name, struct slice password,
                   struct guard_wait *wait) MUST_USE;

/* The mechanisms, separated by spaces. CE_NOMEM. */
int guard_sasl_list(struct guard_login *login, struct buf *out) MUST_USE;
/* Starts (mechanism given) or goes on (mechanism empty). As guard_password, and GUARD_CONTINUE: the
 * challenge is in guard_challenge(). */
int guard_sasl(struct guard_login *login, struct slice mechanism, struct slice data,
               struct guard_wait *wait) MUST_USE;
#define GUARD_CONTINUE 2
struct slice guard_challenge(const struct guard_login *login);

/* What a question came to, after done(): 0, GUARD_CONTINUE, CE_AUTH_FAILED, CE_NOMEM. */
int guard_result(struct guard_login *login) MUST_USE;

#define GUARD_STATS(X)                                                                             \
    X(auth_cmds, "attempts to authenticate")                                                       \
    X(auth_errors, "of them refused")                                                              \
    X(denied_cmds, "commands refused for want of a right")
void guard_stats(const struct guard *guard, const struct stat_sink *sink);

#endif

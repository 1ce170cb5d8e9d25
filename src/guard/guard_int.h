/* guard's own: the snapshot of users, a question, the bridge to Cyrus SASL.
 *
 * A snapshot (struct guard_users) never changes once it is published, but for the memos, which are
 * written once by the guard's thread; so whoever holds a reference reads it without a lock. */
#ifndef GUARD_GUARD_INT_H
#define GUARD_GUARD_INT_H

#include "guard/guard.h"

#include <crypt.h>

#define GUARD_MAGIC       0x67756172u
#define GUARD_LOGIN_MAGIC 0x6c6f6769u
#define GUARD_KEY_BYTES   32
#define GUARD_MAC_BYTES   32      /* HMAC-SHA-256 */
#define GUARD_SLOTS       8192    /* of the table of users: a power of two, at most half full */
#define GUARD_PREFIX_MAX  250     /* a key is not longer */
#define GUARD_SASL_MAX    0x10000 /* bytes a client sends in one SASL step */
#define GUARD_PRINT_MAX   80      /* a name made printable, with its NUL */
#define GUARD_PRINT_BYTES 32      /* of the name are shown */
#define GUARD_LOGS_MAX    5       /* lines about failed logins a second */
#define GUARD_LOG_SPAN_MS 1000

/* Where to write what is wrong. */
struct guard_message {
    char *text;
    size_t bytes;
};
/* Writes it; returns `code`. */
int guard_refuse(const struct guard_message *message, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* `name` made safe to show. Returns `out`. */
const char *guard_print(struct slice name, char out[GUARD_PRINT_MAX]);

/* ---- users: guard_users.c, guard_file.c ---- */

enum guard_kind {
    GUARD_KIND_CLEAR,  /* the memo is the password */
    GUARD_KIND_HASHED, /* the memo, once set, is what was right before */
    GUARD_KIND_SASL,   /* only Cyrus knows the password */
};

struct guard_entry {
    struct slice name; /* owned */
    uint64_t slot;     /* hash of the name */
    enum guard_kind kind;
    unsigned rights;
    char *prefix_text; /* owned; what `prefixes` points into */
    struct slice *prefixes;
    size_t prefixes_count;
    char *hash;                     /* GUARD_KIND_HASHED: for crypt_r */
    uint8_t stamp[GUARD_MAC_BYTES]; /* of name and password as given: equal = not changed */
    uint8_t memo[GUARD_MAC_BYTES];  /* of name and right password; valid when memo_set */
    _Atomic bool memo_set;
};

struct guard_users {
    _Atomic unsigned refs;
    uint64_t generation;
    uint64_t seed;
    bool own;     /* users of our own were given; else Cyrus alone decides */
    bool by_sasl; /* there are users of GUARD_KIND_SASL */
    size_t count, passwords_count;
    struct guard_entry *table[GUARD_SLOTS];
    struct guard_entry *passwords[GUARD_USERS_MAX]; /* of the table those with a password */
    struct guard_entry everybody;                   /* who Cyrus accepts when it decides alone */
};

int guard_users_new(const struct env *env, bool own, struct guard_users **users) MUST_USE;
struct guard_users *guard_users_ref(struct guard_users *users);
void guard_users_drop(struct guard_users **users);
/* Adds one; `where` begins the message ("file:3: "). Before the snapshot is published. */
int guard_users_add(struct guard_users *users, const uint8_t key[GUARD_KEY_BYTES],
                    struct slice name, struct slice password, const struct guard_user *user,
                    const char *where, const struct guard_message *message) MUST_USE;
struct guard_entry *guard_users_find(struct guard_users *users, struct slice name);
bool guard_entry_allows(const struct guard_entry *entry, struct slice key);

/* Adds the users of a password file. */
int guard_file_read(const struct env *env, const char *path, struct guard_users *users,
                    const uint8_t key[GUARD_KEY_BYTES],
                    const struct guard_message *message) MUST_USE;

/* A name and a password that someone says are his. For an unknown name `entry` is another user, so
 * that the answer takes as long, and `real` is false. */
struct guard_claim {
    struct guard_entry *entry;
    bool real;
    uint8_t mac[GUARD_MAC_BYTES];
};
/* 0: right; CE_AUTH_FAILED; CE_NOMEM; GUARD_LATER: ask guard_claim_verify. Any thread. */
int guard_claim_make(struct guard_claim *claim, struct guard_users *users,
                     const uint8_t key[GUARD_KEY_BYTES], struct slice name,
                     struct slice password) MUST_USE;
/* 0 or CE_AUTH_FAILED. `password` ends with a NUL. The guard's thread. */
int guard_claim_verify(struct guard_claim *claim, const char *password,
                       struct crypt_data *crypt) MUST_USE;

/* ---- questions: guard_ask.c ---- */

struct guard_sasl_session;

/* Lives from asking until its result is fetched. */
struct guard_question {
    struct guard_wait *wait;
    struct guard_users *users; /* a reference */
    bool sasl;
    struct guard_claim claim;  /* a password */
    struct guard_entry *entry; /* who it is, when result is 0 */
    int result;
    char mechanism[GUARD_MECHANISM_MAX + 1]; /* empty: go on */
    char who[GUARD_PRINT_MAX];               /* for the log */
    size_t secret_len;
    char secret[]; /* and a NUL; wiped when answered */
};

struct guard_login {
    unsigned magic;
    struct guard *guard;
    struct guard_users *users; /* a reference, when entry is set */
    struct guard_entry *entry; /* NULL = unknown */
    struct guard_question *question;
    bool open;                          /* the guard's thread has the question and all below */
    struct guard_sasl_session *session; /* an exchange that is not over */
    struct buf challenge;
};

void guard_login_become(struct guard_login *login, struct guard_users *users,
                        struct guard_entry *entry);
void guard_login_forget(struct guard_login *login);
void *guard_run_thread(void *arg);

/* ---- Cyrus: guard_sasl.c. All on the guard's thread, or while there is none ---- */

int guard_sasl_open(struct guard *guard, const struct guard_message *message) MUST_USE;
void guard_sasl_close(struct guard *guard);
/* The mechanisms there are with these users. */
const char *guard_sasl_mechanisms(const struct guard *guard, const struct guard_users *users);
/* One step; as guard_result. */
int guard_sasl_answer(struct guard_login *login, struct guard_question *question) MUST_USE;
/* Puts one at the head of a list of those to be disposed of; empties such a list. */
void guard_sasl_leave(struct guard_sasl_session **session, struct guard_sasl_session **list);
void guard_sasl_sweep(struct guard_sasl_session *list);

struct guard {
    unsigned magic;
    const struct env *env;
    bool asks, sasl;
    uint8_t key[GUARD_KEY_BYTES]; /* of memos and stamps */
    _Atomic uint64_t generation;  /* of `users`, to notice a reload without the lock */
    _Atomic size_t logins;

    struct lock lock; /* guards what follows up to log_skipped */
    struct cond work; /* the thread waits here */
    struct guard_users *users;
    struct guard_wait *first, **end;
    size_t queued;
    struct guard_sasl_session *orphans; /* of closed connections, to be disposed of */
    bool stopping;
    uint64_t log_span_ms; /* lines of this span: */
    unsigned logged, log_skipped;

    struct crypt_data *crypt; /* the thread's */
    void *sasl_callbacks;     /* Cyrus reads them */
    char *sasl_host;
    char *sasl_own;    /* mechanisms when our own users are all there is, */
    char *sasl_cyrus;  /* and when Cyrus has a say */
    bool sasl_started; /* sasl_server_init was called */
    bool started;
    pthread_t thread;

#define X(name, what) _Atomic uint64_t name;
    GUARD_STATS(X)
#undef X
};

/* A reference to the users of now. */
struct guard_users *guard_users_now(struct guard *guard);
/* True when another line may be logged; *skipped is how many were not since the last. */
bool guard_may_log(struct guard *guard, unsigned *skipped);

#endif

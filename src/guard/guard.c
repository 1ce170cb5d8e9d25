/* guard: its life, logins and their rights, counters. */
#include "guard/guard_int.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- users: read, published, replaced ---- */

static bool has_own_users(const struct guard_config *config)
{
    return config->users_path || config->users_count > 0;
}

static int add_config_users(struct guard *guard, const struct guard_config *config,
                            struct guard_users *users, const struct guard_message *message)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < config->users_count; i++) {
        const struct guard_user *user = &config->users[i];
        struct slice password = slice_str(user->password ? user->password : "");
        rc = guard_users_add(users, guard->key, slice_str(user->name), password, user, "", message);
    }
    return rc;
}

static int check_sasl(const struct guard *guard, const struct guard_users *users,
                      const struct guard_message *message)
{
    if (!guard->sasl || *guard_sasl_mechanisms(guard, users))
        return 0;
    return guard_refuse(message, CE_INVAL,
                        "SASL (-S): there is no mechanism: install the package libsasl2-modules, "
                        "or see mech_list in memcached.conf of Cyrus SASL");
}

static int load_users(struct guard *guard, const struct guard_config *config,
                      const struct guard_message *message, struct guard_users **users)
{
    int rc = guard_users_new(guard->env, has_own_users(config), users);
    if (rc)
        return rc;
    if (config->users_path)
        rc = guard_file_read(guard->env, config->users_path, *users, guard->key, message);
    if (rc == 0)
        rc = add_config_users(guard, config, *users, message);
    if (rc == 0)
        rc = check_sasl(guard, *users, message);
    if (rc)
        guard_users_drop(users);
    return rc;
}

static void publish_users(struct guard *guard, struct guard_users *users)
{
    lock_take(&guard->lock);
    struct guard_users *old = guard->users;
    users->generation = old ? old->generation + 1 : 1;
    guard->users = users;
    atomic_store_explicit(&guard->generation, users->generation, memory_order_release);
    lock_drop(&guard->lock);
    guard_users_drop(&old);
}

struct guard_users *guard_users_now(struct guard *guard)
{
    lock_take(&guard->lock);
    struct guard_users *users = guard_users_ref(guard->users);
    lock_drop(&guard->lock);
    return users;
}

int guard_reload(struct guard *guard, const struct guard_config *config, char *message,
                 size_t message_bytes)
{
    MUST_OBJ(guard, GUARD_MAGIC);
    struct guard_message at = {message, message_bytes};
    struct guard_users *users;
    guard_refuse(&at, 0, "%s", err_text(CE_NOMEM));
    /* guard->users is written by this thread alone. */
    if (config->sasl != guard->sasl || has_own_users(config) != guard->users->own)
        return guard_refuse(&at, CE_INVAL,
                            "users, or SASL, can only be introduced or given up by a restart");
    int rc = load_users(guard, config, &at, &users);
    if (rc == 0)
        publish_users(guard, users);
    return rc;
}

/* ---- life ---- */

static void make_key(struct guard *guard)
{
    for (size_t i = 0; i < GUARD_KEY_BYTES; i += sizeof(uint64_t)) {
        uint64_t random = env_random_u64(guard->env);
        memcpy(guard->key + i, &random, sizeof random);
    }
}

static int open_guard(struct guard *guard, const struct guard_config *config,
                      const struct guard_message *message)
{
    struct guard_users *users;
    int rc = guard->sasl ? guard_sasl_open(guard, message) : 0;
    if (rc == 0)
        rc = load_users(guard, config, message, &users);
    if (rc)
        return rc;
    publish_users(guard, users);
    if (!guard->asks)
        return 0;
    rc = thread_start(&guard->thread, "guard", guard_run_thread, guard);
    guard->started = rc == 0;
    return rc;
}

int guard_new(const struct guard_config *config, struct guard **guard, char *message,
              size_t message_bytes)
{
    MUST(config->env && message_bytes > 0);
    struct guard_message at = {message, message_bytes};
    guard_refuse(&at, 0, "%s", err_text(CE_NOMEM));
    struct guard *made = calloc(1, sizeof *made);
    struct crypt_data *crypt = calloc(1, sizeof *crypt);
    if (!made || !crypt) {
        free(made);
        free(crypt);
        return CE_NOMEM;
    }
    made->magic = GUARD_MAGIC;
    made->env = config->env;
    made->crypt = crypt;
    made->sasl = config->sasl;
    made->asks = config->sasl || has_own_users(config);
    made->end = &made->first;
    lock_init(&made->lock, LOCK_GUARD);
    cond_init(&made->work);
    make_key(made);
    int rc = open_guard(made, config, &at);
    if (rc)
        guard_free(&made);
    *guard = made;
    return rc;
}

void guard_free(struct guard **guard)
{
    struct guard *old = *guard;
    *guard = NULL;
    if (!old)
        return;
    MUST_OBJ(old, GUARD_MAGIC);
    guard_stop(old);
    MUST(atomic_load_explicit(&old->logins, memory_order_acquire) == 0);
    guard_sasl_close(old);
    guard_users_drop(&old->users);
    cond_fini(&old->work);
    lock_fini(&old->lock);
    free(old->crypt);
    OPENSSL_cleanse(old, sizeof *old);
    free(old);
}

bool guard_asks(const struct guard *guard)
{
    MUST_OBJ(guard, GUARD_MAGIC);
    return guard->asks;
}

bool guard_has_sasl(const struct guard *guard)
{
    MUST_OBJ(guard, GUARD_MAGIC);
    return guard->sasl;
}

/* ---- logins ---- */

int guard_login_new(struct guard *guard, struct guard_login **login)
{
    MUST_OBJ(guard, GUARD_MAGIC);
    struct guard_login *made = calloc(1, sizeof *made);
    if (!made)
        return CE_NOMEM;
    made->magic = GUARD_LOGIN_MAGIC;
    made->guard = guard;
    atomic_fetch_add_explicit(&guard->logins, 1, memory_order_relaxed);
    *login = made;
    return 0;
}

void guard_login_become(struct guard_login *login, struct guard_users *users,
                        struct guard_entry *entry)
{
    guard_login_forget(login);
    login->users = guard_users_ref(users);
    login->entry = entry;
}

void guard_login_forget(struct guard_login *login)
{
    login->entry = NULL;
    guard_users_drop(&login->users);
}

/* The user that `entry` is now, or NULL. */
static struct guard_entry *find_same(struct guard_users *users, struct guard_entry *entry)
{
    if (!users->own)
        return &users->everybody;
    struct guard_entry *now = guard_users_find(users, entry->name);
    bool same = now && CRYPTO_memcmp(now->stamp, entry->stamp, GUARD_MAC_BYTES) == 0;
    return same ? now : NULL;
}

static void follow_reload(struct guard_login *login)
{
    struct guard_users *users = guard_users_now(login->guard);
    struct guard_entry *now = find_same(users, login->entry);
    if (now)
        guard_login_become(login, users, now);
    else
        guard_login_forget(login);
    guard_users_drop(&users);
}

/* Who it is, as of now; NULL = unknown. */
static struct guard_entry *find_user(struct guard_login *login)
{
    MUST_OBJ(login, GUARD_LOGIN_MAGIC);
    if (login->entry && login->users->generation !=
                            atomic_load_explicit(&login->guard->generation, memory_order_acquire))
        follow_reload(login);
    return login->entry;
}

bool guard_known(struct guard_login *login)
{
    return find_user(login) || !login->guard->asks;
}

int guard_may(struct guard_login *login, unsigned rights, struct slice key)
{
    struct guard_entry *entry = find_user(login);
    if (rights == GUARD_OPEN || !login->guard->asks)
        return 0;
    if (!entry)
        return CE_AUTH;
    if ((entry->rights & rights) == rights && guard_entry_allows(entry, key))
        return 0;
    atomic_fetch_add_explicit(&login->guard->denied_cmds, 1, memory_order_relaxed);
    return CE_DENIED;
}

bool guard_has_prefixes(const struct guard_login *login)
{
    MUST_OBJ(login, GUARD_LOGIN_MAGIC);
    return login->entry && login->entry->prefixes_count > 0;
}

/* ---- what is seen from outside ---- */

bool guard_may_log(struct guard *guard, unsigned *skipped)
{
    uint64_t now_ms = env_mono_ms(guard->env);
    lock_take(&guard->lock);
    if (now_ms - guard->log_span_ms >= GUARD_LOG_SPAN_MS) {
        guard->log_span_ms = now_ms;
        guard->logged = 0;
    }
    bool may = guard->logged < GUARD_LOGS_MAX;
    guard->logged += may;
    *skipped = guard->log_skipped;
    guard->log_skipped = may ? 0 : guard->log_skipped + 1;
    lock_drop(&guard->lock);
    return may;
}

void guard_stats(const struct guard *guard, const struct stat_sink *sink)
{
    MUST_OBJ(guard, GUARD_MAGIC);
#define X(name, what)                                                                              \
    stat_u64(sink, #name, atomic_load_explicit(&guard->name, memory_order_relaxed));
    GUARD_STATS(X)
#undef X
}

#include "lib/guard_rig.h"

#include <check.h>

void guard_rig_open(struct guard_rig *rig)
{
    *rig = (struct guard_rig){.fake = fake_env_new(1)};
    rig->config.env = fake_env_vtable(rig->fake);
    log_level_set(LOG_ERROR);
}

void rig_close(struct guard_rig *rig)
{
    guard_free(&rig->guard);
    fake_env_free(&rig->fake);
}

void rig_file_bytes(struct guard_rig *rig, struct slice text)
{
    fake_env_put_file(rig->fake, RIG_FILE, text);
    rig->config.users_path = RIG_FILE;
}

void rig_file(struct guard_rig *rig, const char *text)
{
    rig_file_bytes(rig, slice_str(text));
}

int guard_rig_start(struct guard_rig *rig)
{
    rig->message[0] = 0;
    return guard_new(&rig->config, &rig->guard, rig->message, sizeof rig->message);
}

int rig_reload(struct guard_rig *rig)
{
    rig->message[0] = 0;
    return guard_reload(rig->guard, &rig->config, rig->message, sizeof rig->message);
}

struct wanted {
    const char *name;
    uint64_t value;
    unsigned found;
};

static void take_u64(void *ctx, const char *name, uint64_t value)
{
    struct wanted *wanted = ctx;
    if (strcmp(name, wanted->name) == 0) {
        wanted->value = value;
        wanted->found++;
    }
}

uint64_t guard_rig_stat(struct guard_rig *rig, const char *name)
{
    struct wanted wanted = {.name = name};
    struct stat_sink sink = {.u64 = take_u64, .ctx = &wanted};
    guard_stats(rig->guard, &sink);
    ck_assert_uint_eq(wanted.found, 1);
    return wanted.value;
}

struct guard_login *rig_login(struct guard_rig *rig)
{
    struct guard_login *login;
    ck_assert_int_eq(guard_login_new(rig->guard, &login), 0);
    return login;
}

/* ---- asking ---- */

static void take_answer(struct guard_wait *wait)
{
    struct asker *asker = (struct asker *)wait; /* the first member */
    pthread_mutex_lock(&asker->mutex);
    asker->entered = true;
    pthread_cond_broadcast(&asker->cond);
    while (asker->held)
        pthread_cond_wait(&asker->cond, &asker->mutex);
    asker->calls++;
    pthread_cond_broadcast(&asker->cond);
    pthread_mutex_unlock(&asker->mutex);
}

void asker_init(struct asker *asker)
{
    *asker = (struct asker){.wait.done = take_answer};
    pthread_mutex_init(&asker->mutex, NULL);
    pthread_cond_init(&asker->cond, NULL);
}

void asker_wait(struct asker *asker)
{
    pthread_mutex_lock(&asker->mutex);
    while (asker->calls == 0)
        pthread_cond_wait(&asker->cond, &asker->mutex);
    ck_assert_uint_eq(asker->calls, 1);
    pthread_mutex_unlock(&asker->mutex);
}

void asker_wait_entered(struct asker *asker)
{
    pthread_mutex_lock(&asker->mutex);
    while (!asker->entered)
        pthread_cond_wait(&asker->cond, &asker->mutex);
    pthread_mutex_unlock(&asker->mutex);
}

void asker_let_go(struct asker *asker)
{
    pthread_mutex_lock(&asker->mutex);
    asker->held = false;
    pthread_cond_broadcast(&asker->cond);
    pthread_mutex_unlock(&asker->mutex);
}

static int wait_for(struct guard_login *login, struct asker *asker, int rc, bool *later)
{
    if (later)
        *later = rc == GUARD_LATER;
    if (rc != GUARD_LATER) {
        ck_assert_uint_eq(asker->calls, 0);
        return rc;
    }
    asker_wait(asker);
    return guard_result(login);
}

int ask_password(struct guard_login *login, struct slice name, struct slice password, bool *later)
{
    struct asker asker;
    asker_init(&asker);
    return wait_for(login, &asker, guard_password(login, name, password, &asker.wait), later);
}

int ask(struct guard_login *login, const char *name, const char *password)
{
    return ask_password(login, slice_str(name), slice_str(password), NULL);
}

int ask_sasl(struct guard_login *login, const char *mechanism, struct slice data)
{
    struct asker asker;
    asker_init(&asker);
    int rc = guard_sasl(login, slice_str(mechanism), data, &asker.wait);
    return wait_for(login, &asker, rc, NULL);
}

int may(struct guard_login *login, unsigned rights, const char *key)
{
    return guard_may(login, rights, slice_str(key));
}

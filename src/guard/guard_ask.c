/* guard_ask: questions that may take long, and the thread that answers them.
 *
 * A question is owned by its login. While login->open, the guard's thread has it, and the session
 * and challenge of the login; done() gives all that back, so nothing of them is touched after it.
 * What the login is changes only in guard_result, on the worker's thread. */
#include "guard/guard_int.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- the end of an attempt ---- */

static void log_refused(struct guard *guard, const char *who)
{
    unsigned skipped;
    if (!guard_may_log(guard, &skipped))
        return;
    if (skipped)
        log_warn("guard", "login of %s refused; %u more before", who, skipped);
    else
        log_warn("guard", "login of %s refused", who);
}

/* Counts and logs. Returns rc. */
static int end_attempt(struct guard *guard, int rc, const char *who)
{
    if (rc == GUARD_CONTINUE)
        return rc;
    atomic_fetch_add_explicit(&guard->auth_cmds, 1, memory_order_relaxed);
    if (rc == 0)
        return 0;
    atomic_fetch_add_explicit(&guard->auth_errors, 1, memory_order_relaxed);
    if (rc == CE_AUTH_FAILED)
        log_refused(guard, who);
    return rc;
}

/* ---- a question ---- */

static int make_question(struct guard_users *users, struct slice secret,
                         struct guard_question **question)
{
    struct guard_question *made = calloc(1, sizeof *made + secret.len + 1);
    if (!made)
        return CE_NOMEM;
    made->users = guard_users_ref(users);
    made->secret_len = secret.len;
    if (secret.len)
        memcpy(made->secret, secret.bytes, secret.len);
    *question = made;
    return 0;
}

static void free_question(struct guard_question **question)
{
    struct guard_question *old = *question;
    *question = NULL;
    if (!old)
        return;
    guard_users_drop(&old->users);
    OPENSSL_cleanse(old, sizeof *old + old->secret_len);
    free(old);
}

/* The question is the login's from here on; GUARD_LATER, CE_BUSY, CE_AUTH_FAILED. */
static int enqueue(struct guard_login *login, struct guard_question *question,
                   struct guard_wait *wait)
{
    struct guard *guard = login->guard;
    question->wait = wait;
    wait->_login = login;
    wait->_next = NULL;
    login->question = question;
    lock_take(&guard->lock);
    int rc = guard->stopping                   ? CE_AUTH_FAILED
             : guard->queued < GUARD_QUEUE_MAX ? GUARD_LATER
                                               : CE_BUSY;
    if (rc == GUARD_LATER) {
        login->open = true;
        *guard->end = wait;
        guard->end = &wait->_next;
        guard->queued++;
        cond_wake(&guard->work);
    }
    lock_drop(&guard->lock);
    return rc;
}

/* Gives the answer; after this the login may be gone. */
static void tell(struct guard_login *login, int result)
{
    struct guard_question *question = login->question;
    struct guard_wait *wait = question->wait;
    question->result = end_attempt(login->guard, result, question->who);
    OPENSSL_cleanse(question->secret, question->secret_len);
    login->open = false;
    wait->done(wait);
}

static void answer(struct guard_wait *wait)
{
    struct guard_login *login = wait->_login;
    struct guard_question *question = login->question;
    int result;
    if (question->sasl) {
        result = guard_sasl_answer(login, question);
    } else {
        result = guard_claim_verify(&question->claim, question->secret, login->guard->crypt);
        question->entry = question->claim.entry;
    }
    tell(login, result);
}

/* ---- the thread ---- */

static struct guard_wait *take_first_locked(struct guard *guard)
{
    MUST(lock_held(&guard->lock));
    struct guard_wait *wait = guard->first;
    if (!wait)
        return NULL;
    guard->first = wait->_next;
    if (!guard->first)
        guard->end = &guard->first;
    guard->queued--;
    return wait;
}

void *guard_run_thread(void *arg)
{
    struct guard *guard = arg;
    thread_background();
    lock_take(&guard->lock);
    while (!guard->stopping || guard->orphans) {
        struct guard_sasl_session *orphans = guard->orphans;
        struct guard_wait *wait = take_first_locked(guard);
        guard->orphans = NULL;
        if (!orphans && !wait) {
            cond_wait(&guard->work, &guard->lock, 0);
            continue;
        }
        lock_drop(&guard->lock);
        guard_sasl_sweep(orphans);
        if (wait)
            answer(wait);
        lock_take(&guard->lock);
    }
    lock_drop(&guard->lock);
    return NULL;
}

void guard_stop(struct guard *guard)
{
    MUST_OBJ(guard, GUARD_MAGIC);
    struct guard_wait *wait;
    lock_take(&guard->lock);
    guard->stopping = true;
    cond_wake(&guard->work);
    while ((wait = take_first_locked(guard))) {
        lock_drop(&guard->lock);
        tell(wait->_login, CE_AUTH_FAILED);
        lock_take(&guard->lock);
    }
    lock_drop(&guard->lock);
    if (guard->started)
        MUST(pthread_join(guard->thread, NULL) == 0);
    guard->started = false;
}

/* ---- the worker's side ---- */

/* A new attempt: who it was is forgotten, and what the last question came to. */
static void begin(struct guard_login *login)
{
    MUST_OBJ(login, GUARD_LOGIN_MAGIC);
    MUST(!login->open);
    free_question(&login->question);
    guard_login_forget(login);
    login->challenge.len = 0;
}

static int ask_later(struct guard_login *login, struct guard_question *question,
                     struct guard_wait *wait)
{
    int rc = enqueue(login, question, wait);
    if (rc == GUARD_LATER)
        return rc;
    end_attempt(login->guard, rc, question->who);
    free_question(&login->question);
    return rc;
}

/* The claim has to be verified. */
static int ask_hash(struct guard_login *login, struct guard_users *users,
                    const struct guard_claim *claim, struct slice name, struct slice password,
                    struct guard_wait *wait)
{
    struct guard_question *question;
    int rc = make_question(users, password, &question);
    if (rc)
        return rc;
    question->claim = *claim;
    guard_print(name, question->who);
    return ask_later(login, question, wait);
}

int guard_password(struct guard_login *login, struct slice name, struct slice password,
                   struct guard_wait *wait)
{
    begin(login);
    struct guard *guard = login->guard;
    struct guard_users *users = guard_users_now(guard);
    struct guard_claim claim;
    char who[GUARD_PRINT_MAX];
    int rc = guard_claim_make(&claim, users, guard->key, name, password);
    if (rc == 0)
        guard_login_become(login, users, claim.entry);
    if (rc == GUARD_LATER)
        rc = ask_hash(login, users, &claim, name, password, wait);
    else
        end_attempt(guard, rc, guard_print(name, who));
    guard_users_drop(&users);
    return rc;
}

int guard_sasl_list(struct guard_login *login, struct buf *out)
{
    MUST_OBJ(login, GUARD_LOGIN_MAGIC);
    struct guard_users *users = guard_users_now(login->guard);
    int rc = buf_append_str(out, guard_sasl_mechanisms(login->guard, users));
    guard_users_drop(&users);
    return rc;
}

static bool can_answer(const struct guard_login *login, struct slice mechanism, struct slice data)
{
    if (!login->guard->sasl || data.len > GUARD_SASL_MAX || mechanism.len > GUARD_MECHANISM_MAX)
        return false;
    if (mechanism.len == 0)
        return login->session != NULL;
    return !memchr(mechanism.bytes, 0, mechanism.len);
}

int guard_sasl(struct guard_login *login, struct slice mechanism, struct slice data,
               struct guard_wait *wait)
{
    begin(login);
    struct guard_question *question;
    if (!can_answer(login, mechanism, data))
        return end_attempt(login->guard, CE_AUTH_FAILED, "somebody by SASL");
    struct guard_users *users = guard_users_now(login->guard);
    int rc = make_question(users, data, &question);
    guard_users_drop(&users);
    if (rc)
        return rc;
    question->sasl = true;
    memcpy(question->mechanism, mechanism.bytes, mechanism.len);
    snprintf(question->who, sizeof question->who, "somebody by SASL");
    return ask_later(login, question, wait);
}

struct slice guard_challenge(const struct guard_login *login)
{
    MUST_OBJ(login, GUARD_LOGIN_MAGIC);
    MUST(!login->open);
    return buf_slice(&login->challenge);
}

int guard_result(struct guard_login *login)
{
    MUST_OBJ(login, GUARD_LOGIN_MAGIC);
    MUST(!login->open && login->question);
    struct guard_question *question = login->question;
    int result = question->result;
    if (result == 0)
        guard_login_become(login, question->users, question->entry);
    free_question(&login->question);
    return result;
}

/* Cyrus belongs to the guard's thread, so an exchange that was left is given to it. */
static void leave_session(struct guard_login *login)
{
    struct guard *guard = login->guard;
    lock_take(&guard->lock);
    guard_sasl_leave(&login->session, &guard->orphans);
    cond_wake(&guard->work);
    lock_drop(&guard->lock);
}

void guard_login_free(struct guard_login **login)
{
    struct guard_login *old = *login;
    *login = NULL;
    if (!old)
        return;
    MUST_OBJ(old, GUARD_LOGIN_MAGIC);
    MUST(!old->open);
    if (old->session)
        leave_session(old);
    struct guard *guard = old->guard;
    free_question(&old->question);
    guard_login_forget(old);
    buf_free(&old->challenge);
    old->magic = 0;
    free(old);
    atomic_fetch_sub_explicit(&guard->logins, 1, memory_order_release);
}

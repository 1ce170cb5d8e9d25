/* guard_sasl: the bridge to Cyrus SASL, whose application name is "memcached", so that what is set
 * up for memcached goes on working.
 *
 * Who decides: with users of our own, none of them by SASL, only they do; Cyrus offers PLAIN and
 * asks us. With users by SASL Cyrus does as it is set up, but whoever has a password of ours gets
 * in by that password alone, and a name that is no user of ours not at all. Without users of our
 * own Cyrus decides, and whom it accepts may do everything.
 *
 * ANONYMOUS is never offered, and no mechanism gets a security layer: memcached's protocol has no
 * place for one. */
#include "guard/guard_int.h"

#include <ctype.h>
#include <openssl/crypto.h>
#include <sasl/sasl.h>
#include <stdio.h>
#include <stdlib.h>

#define SASL_APPLICATION "memcached"
#define SASL_CALLBACKS   5
#define NOBODY           "\x7f" /* no name of a user */

typedef int sasl_proc(void); /* what sasl_callback_t holds of any callback */

struct guard_sasl_session {
    struct guard *guard;
    struct guard_question *question; /* the step that is being answered */
    struct guard_entry *approved;    /* whose password of ours was right in this step */
    bool own_only;
    sasl_conn_t *conn;
    sasl_callback_t callbacks[SASL_CALLBACKS];
    struct guard_sasl_session *next;
};

static bool is_own_only(const struct guard_users *users)
{
    return users->own && !users->by_sasl;
}

/* ---- callbacks ---- */

static int log_debugging(void *context, int level, const char *text)
{
    (void)context;
    if (level != SASL_LOG_PASS)
        log_debug("guard", "SASL: %s", text);
    return SASL_OK;
}

static int log_cyrus(void *context, int level, const char *text)
{
    unsigned skipped;
    if (level != SASL_LOG_ERR && level != SASL_LOG_WARN)
        return log_debugging(context, level, text);
    if (guard_may_log(context, &skipped))
        log_warn("guard", "SASL: %s", text);
    return SASL_OK;
}

/* What Cyrus is told where nothing is set up, or what is has no say. */
static int answer_option(void *context, const char *plugin, const char *option, const char **value,
                         unsigned *len)
{
    static const char *const own[][2] = {
        {"mech_list", "PLAIN"},
        {"pwcheck_method", "none"}, /* after check_password has said no */
        {"auxprop_plugin", "none"},
    };
    const struct guard_sasl_session *session = context;
    (void)plugin;
    for (size_t i = 0; session->own_only && i < sizeof own / sizeof *own; i++) {
        if (strcmp(option, own[i][0]) != 0)
            continue;
        *value = own[i][1];
        if (len)
            *len = (unsigned)strlen(*value);
        return SASL_OK;
    }
    return SASL_FAIL; /* as the configuration says */
}

/* A password that came in clear. What is refused here Cyrus may still accept by its own means;
 * judge_name has the last word. */
static int check_password(sasl_conn_t *conn, void *context, const char *user, const char *password,
                          unsigned password_len, struct propctx *props)
{
    struct guard_sasl_session *session = context;
    struct guard_question *question = session->question;
    struct slice name = slice_str(user);
    struct guard_claim claim;
    (void)conn;
    (void)props;
    MUST(question);
    guard_print(name, question->who);
    int rc = guard_claim_make(&claim, question->users, session->guard->key, name,
                              slice_of(password, password_len));
    if (rc == GUARD_LATER) {
        char ended[GUARD_PASSWORD_MAX + 1] = {0}; /* as it came it may have no NUL */
        memcpy(ended, password, password_len);
        rc = guard_claim_verify(&claim, ended, session->guard->crypt);
        OPENSSL_cleanse(ended, sizeof ended);
    }
    if (rc == 0)
        session->approved = claim.entry;
    return rc == 0 ? SASL_OK : rc == CE_NOMEM ? SASL_NOMEM : SASL_BADAUTH;
}

static bool is_blank(const char *name, unsigned len)
{
    unsigned i = 0;
    while (i < len && isspace((unsigned char)name[i]))
        i++;
    return i == len;
}

/* The name as it came. Cyrus and its LOGIN leak memory when one is refused as too long or empty, so
 * such a name goes on as one that nobody has, and is refused in the end. */
static int pass_name(sasl_conn_t *conn, void *context, const char *name, unsigned len,
                     unsigned flags, const char *realm, char *out, unsigned out_max,
                     unsigned *out_len)
{
    (void)conn;
    (void)context;
    (void)flags;
    (void)realm;
    if (len > GUARD_NAME_MAX || is_blank(name, len)) {
        name = NOBODY;
        len = sizeof NOBODY - 1;
    }
    MUST(len < out_max);
    memmove(out, name, len); /* they may be the same */
    out[len] = 0;
    *out_len = len;
    return SASL_OK;
}

/* ---- sessions ---- */

static void set_callbacks(struct guard_sasl_session *session)
{
    sasl_callback_t callbacks[SASL_CALLBACKS] = {
        {SASL_CB_GETOPT, (sasl_proc *)(void *)answer_option, session},
        {SASL_CB_SERVER_USERDB_CHECKPASS, (sasl_proc *)(void *)check_password, session},
        {SASL_CB_CANON_USER, (sasl_proc *)(void *)pass_name, session},
        {SASL_CB_LOG, (sasl_proc *)(void *)(session->own_only ? log_debugging : log_cyrus),
         session->guard},
        {SASL_CB_LIST_END, NULL, NULL},
    };
    memcpy(session->callbacks, callbacks, sizeof callbacks);
}

static void dispose_session(struct guard_sasl_session **session)
{
    if (*session)
        sasl_dispose(&(*session)->conn);
    free(*session);
    *session = NULL;
}

static int make_session(struct guard *guard, bool own_only, struct guard_sasl_session **session)
{
    sasl_security_properties_t security = {.security_flags = SASL_SEC_NOANONYMOUS};
    struct guard_sasl_session *made = calloc(1, sizeof *made);
    if (!made)
        return SASL_NOMEM;
    made->guard = guard;
    made->own_only = own_only;
    set_callbacks(made);
    int rc = sasl_server_new(SASL_APPLICATION, guard->sasl_host, NULL, NULL, NULL, made->callbacks,
                             0, &made->conn);
    if (rc == SASL_OK)
        rc = sasl_setprop(made->conn, SASL_SEC_PROPS, &security);
    if (rc != SASL_OK)
        dispose_session(&made);
    *session = made;
    return rc;
}

void guard_sasl_leave(struct guard_sasl_session **session, struct guard_sasl_session **list)
{
    (*session)->next = *list;
    *list = *session;
    *session = NULL;
}

void guard_sasl_sweep(struct guard_sasl_session *list)
{
    while (list) {
        struct guard_sasl_session *next = list->next;
        dispose_session(&list);
        list = next;
    }
}

/* ---- one step ---- */

/* Cyrus says that it is `name`: 0 or CE_AUTH_FAILED. */
static int judge_name(struct guard_sasl_session *session, const char *name)
{
    struct guard_question *question = session->question;
    struct guard_users *users = question->users;
    guard_print(slice_str(name), question->who);
    if (strcmp(name, NOBODY) == 0)
        return CE_AUTH_FAILED;
    if (!users->own) {
        question->entry = &users->everybody;
        return 0;
    }
    struct guard_entry *entry = guard_users_find(users, slice_str(name));
    if (!entry || (entry->kind != GUARD_KIND_SASL && entry != session->approved))
        return CE_AUTH_FAILED;
    question->entry = entry;
    return 0;
}

static int judge_step(struct guard_login *login, int rc, const char *out, unsigned out_len)
{
    const void *name = NULL;
    if (rc == SASL_CONTINUE)
        return buf_append(&login->challenge, out, out ? out_len : 0) ? CE_NOMEM : GUARD_CONTINUE;
    if (rc == SASL_NOMEM)
        return CE_NOMEM;
    if (rc != SASL_OK || sasl_getprop(login->session->conn, SASL_USERNAME, &name) != SASL_OK ||
        !name)
        return CE_AUTH_FAILED;
    return judge_name(login->session, name);
}

static int take_step(struct guard_login *login, struct guard_question *question)
{
    struct guard_sasl_session *session = login->session;
    const char *data = question->secret_len ? question->secret : NULL;
    unsigned len = (unsigned)question->secret_len;
    const char *out = NULL;
    unsigned out_len = 0;
    int rc;
    session->question = question;
    session->approved = NULL;
    if (question->mechanism[0])
        rc = sasl_server_start(session->conn, question->mechanism, data, len, &out, &out_len);
    else
        rc = sasl_server_step(session->conn, data, len, &out, &out_len);
    int result = judge_step(login, rc, out, out_len);
    session->question = NULL;
    return result;
}

int guard_sasl_answer(struct guard_login *login, struct guard_question *question)
{
    if (question->mechanism[0]) {
        dispose_session(&login->session);
        int rc = make_session(login->guard, is_own_only(question->users), &login->session);
        if (rc != SASL_OK)
            return rc == SASL_NOMEM ? CE_NOMEM : CE_AUTH_FAILED;
    }
    int result = take_step(login, question);
    if (result != GUARD_CONTINUE)
        dispose_session(&login->session);
    return result;
}

/* ---- start and end ---- */

/* The mechanisms on offer; none is no error. */
static int list_mechanisms(struct guard *guard, bool own_only, char **list)
{
    struct guard_sasl_session *session;
    const char *found = "";
    unsigned len;
    int count;
    int rc = make_session(guard, own_only, &session);
    if (rc != SASL_OK)
        return rc;
    rc = sasl_listmech(session->conn, NULL, "", " ", "", &found, &len, &count);
    *list = strdup(rc == SASL_OK ? found : "");
    dispose_session(&session);
    return *list ? SASL_OK : SASL_NOMEM;
}

/* Who this host is may need the resolver: asked once. */
static int find_host(struct guard *guard)
{
    struct guard_sasl_session *session;
    const void *host = NULL;
    int rc = make_session(guard, true, &session);
    if (rc != SASL_OK)
        return rc;
    rc = sasl_getprop(session->conn, SASL_SERVERFQDN, &host);
    if (rc == SASL_OK && host)
        guard->sasl_host = strdup(host);
    dispose_session(&session);
    return rc == SASL_OK && !guard->sasl_host ? SASL_NOMEM : rc;
}

int guard_sasl_open(struct guard *guard, const struct guard_message *message)
{
    /* Cyrus keeps the list; it looks into it as long as the library is open. */
    guard->sasl_callbacks = calloc(2, sizeof(sasl_callback_t));
    if (!guard->sasl_callbacks)
        return CE_NOMEM;
    sasl_callback_t *callbacks = guard->sasl_callbacks;
    callbacks[0] = (sasl_callback_t){SASL_CB_LOG, (sasl_proc *)(void *)log_cyrus, guard};
    callbacks[1] = (sasl_callback_t){SASL_CB_LIST_END, NULL, NULL};
    int rc = sasl_server_init(callbacks, SASL_APPLICATION);
    guard->sasl_started = rc == SASL_OK;
    if (rc == SASL_OK)
        rc = find_host(guard);
    if (rc == SASL_OK)
        rc = list_mechanisms(guard, true, &guard->sasl_own);
    if (rc == SASL_OK)
        rc = list_mechanisms(guard, false, &guard->sasl_cyrus);
    if (rc == SASL_OK)
        return 0;
    return guard_refuse(message, CE_INVAL, "SASL (-S): %s", sasl_errstring(rc, NULL, NULL));
}

void guard_sasl_close(struct guard *guard)
{
    guard_sasl_sweep(guard->orphans);
    if (guard->sasl_started)
        sasl_server_done();
    free(guard->sasl_callbacks);
    free(guard->sasl_host);
    free(guard->sasl_own);
    free(guard->sasl_cyrus);
}

const char *guard_sasl_mechanisms(const struct guard *guard, const struct guard_users *users)
{
    if (!guard->sasl)
        return "";
    return is_own_only(users) ? guard->sasl_own : guard->sasl_cyrus;
}

/* auth: who is this connection, and may it do that. Asked only where users are set up.
 *
 * Text logs in as memcached's -Y does it: a `set` of any key whose value is `user password`. Binary
 * uses SASL. The guard may need time for an answer; the request parks and is run again. */
#include "cmd/cmd_int.h"

/* A command may need more than its row in the table says. */
static unsigned rights_of(const struct request *request, unsigned rights)
{
    static const char changes[] = "TNRE";
    static const char *const open_stats[] = {"", "settings", "items", "slabs", "sizes"};
    if (request->verb == VERB_GAT || request->verb == VERB_GATS)
        return GUARD_READ | GUARD_WRITE;
    for (size_t i = 0; request->verb == VERB_MG && changes[i]; i++)
        if (has_meta(request, changes[i]))
            return GUARD_READ | GUARD_WRITE;
    if (request->verb != VERB_STATS)
        return rights;
    for (size_t i = 0; i < sizeof open_stats / sizeof open_stats[0]; i++)
        if (slice_eq(request->arg, slice_str(open_stats[i])))
            return GUARD_KNOWN;
    return GUARD_ADMIN; /* stats that show keys or peers, or change something */
}

/* All keys of a classic get: a line with a forbidden key is refused before any was read. */
static int may_keys(struct session *session, const struct request *request, unsigned rights)
{
    struct slice rest = request->keys, key;
    while (text_next_key(&rest, &key)) {
        int rc = guard_may(session->login, rights, key);
        if (rc)
            return rc;
    }
    return 0;
}

static int auth_may(struct session *session, const struct request *request, unsigned rights)
{
    struct slice key = request->key;
    bool is_item = rights & (GUARD_READ | GUARD_WRITE);
    rights = rights_of(request, rights);
    if (rights == GUARD_OPEN)
        return 0;
    if (!is_item || (request->verb != VERB_STATS && !table_key(session, request, &key)))
        key = slice_of(NULL, 0); /* none; a key that is none is refused by its handler */
    int rc = guard_may(session->login, rights, key);
    if (rc == 0 && is_item && guard_has_prefixes(session->login))
        rc = may_keys(session, request, rights);
    return rc;
}

/* ---- logging in ---- */

/* On the guard's thread. */
static void question_done(struct guard_wait *wait)
{
    session_resume((struct session *)((char *)wait - offsetof(struct session, question)));
}

/* The answer of a question that was asked before, or of the one that `ask` asks now; GUARD_LATER:
 * park. */
static int answer_of(struct session *session, const struct request *request,
                     int (*ask)(struct session *session, const struct request *request))
{
    if (session->asked) {
        session->asked = false;
        return guard_result(session->login);
    }
    session->question.done = question_done;
    int rc = ask(session, request);
    session->asked = rc == GUARD_LATER;
    return rc;
}

static bool split_login(struct slice text, struct slice *name, struct slice *password)
{
    const uint8_t *space = text.len ? memchr(text.bytes, ' ', text.len) : NULL;
    if (!space || space == text.bytes)
        return false;
    *name = slice_of(text.bytes, (size_t)(space - text.bytes));
    *password = slice_from(text, name->len + 1);
    return password->len > 0;
}

static int ask_password(struct session *session, const struct request *request)
{
    struct slice name, password;
    if (!split_login(request->value, &name, &password))
        return CE_AUTH_FORMAT;
    return guard_password(session->login, name, password, &session->question);
}

/* Always answered, whatever noreply says (memcached). */
static enum run text_login(struct session *session, const struct request *request)
{
    int rc = answer_of(session, request, ask_password);
    if (rc == GUARD_LATER)
        return RUN_PARK;
    return reply_end(session,
                     rc ? text_error(session->out, rc) : text_line(session->out, "STORED"));
}

/* Told even with noreply; memcached then closes binary connections, and not text ones. */
static enum run refuse_unknown(struct session *session, const struct request *request)
{
    struct request told = *request;
    told.noreply = false;
    enum run run = reply_error(session, &told, CE_AUTH);
    return request->binary.is ? RUN_CLOSE : run;
}

bool auth_admits(struct session *session, const struct request *request, unsigned rights,
                 enum run *run)
{
    if (!session->login)
        return true;
    int rc = auth_may(session, request, rights);
    if (rc == 0)
        return true;
    if (rc == CE_AUTH && request->verb == VERB_SET && !request->binary.is)
        *run = text_login(session, request);
    else if (rc == CE_AUTH)
        *run = refuse_unknown(session, request);
    else
        *run = reply_error(session, request, rc);
    return false;
}

int auth_bad(struct session *session, const struct request *request, int error)
{
    bool known = !session->login || guard_known(session->login);
    if (known && session->login && error == CE_TOO_LARGE)
        return auth_may(session, request, GUARD_WRITE) ? CE_DENIED : error;
    bool is_login = request->verb >= VERB_SASL_LIST && request->verb <= VERB_SASL_STEP;
    if (known || is_login || error == CE_LINE_TOO_LONG)
        return error;
    return request->verb == VERB_SET && error == CE_CHUNK ? CE_AUTH_CHUNK : CE_AUTH;
}

/* ---- SASL ---- */

static int ask_sasl(struct session *session, const struct request *request)
{
    struct slice mechanism = request->verb == VERB_SASL_AUTH ? request->key : slice_of(NULL, 0);
    return guard_sasl(session->login, mechanism, request->value, &session->question);
}

static int list_mechanisms(struct session *session, const struct request *request)
{
    struct buf *text = &session->worker->text;
    text->len = 0;
    int rc = guard_sasl_list(session->login, text);
    return rc ? rc : binary_text(session->out, request, buf_slice(text));
}

enum run auth_sasl(struct session *session, const struct request *request)
{
    struct buf *out = session->out;
    if (!session->login || !guard_has_sasl(session->cmd->config.guard))
        return reply_error(session, request, CE_UNKNOWN);
    if (request->verb == VERB_SASL_LIST)
        return reply_end(session, list_mechanisms(session, request));
    bool nameless = request->verb == VERB_SASL_AUTH && request->key.len == 0;
    if (nameless || request->key.len > GUARD_MECHANISM_MAX)
        return reply_error(session, request, CE_INVAL);
    int rc = answer_of(session, request, ask_sasl);
    switch (rc) {
    case GUARD_LATER: return RUN_PARK;
    case 0: return reply_end(session, binary_text(out, request, slice_str("Authenticated")));
    case GUARD_CONTINUE:
        return reply_end(session,
                         binary_auth_continue(out, request, guard_challenge(session->login)));
    default: return reply_error(session, request, rc);
    }
}

/* reply: the few ways a request is answered. */
#include "cmd/cmd_int.h"

enum run reply_end(struct session *session, int rc)
{
    (void)session;
    return rc ? RUN_CLOSE : RUN_DONE;
}

enum run reply_line(struct session *session, const struct request *request, const char *line)
{
    if (request->noreply)
        return RUN_DONE;
    return reply_end(session, text_line(session->out, line));
}

enum run reply_error(struct session *session, const struct request *request, int code)
{
    if (request->noreply)
        return RUN_DONE;
    return reply_end(session, text_error(session->out, code));
}

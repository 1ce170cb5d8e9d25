/* meta_reply: replies of the meta commands. Which flags a command returns depends on it and on the
 * status; they come in the order asked, then Z X W. As in text_reply, a reply is whole or not there
 * at all. */
#include "proto/proto.h"
#include "proto/proto_int.h"

#define CRLF_BYTES 2
/* " x" and a number for each flag, the key with " b", the opaque, " Z X W". */
#define META_FLAGS_BYTES_MAX (6 * (2 + NUM_DIGITS_MAX) + PROTO_KEY_MAX + PROTO_OPAQUE_MAX + 16)
#define DEBUG_BYTES_MAX      (5 * NUM_DIGITS_MAX + PROTO_KEY_MAX + 64)

/* The letters that `verb` returns with `status`. */
static const char *find_returns(enum verb verb, const char *status)
{
    bool hit = !strcmp(status, "HD");
    switch (verb) {
    case VERB_MG: return hit ? "stcflhOk" : "Ok";
    case VERB_MS: return "Okcs";
    case VERB_MA: return hit ? "ctOk" : "Ok";
    case VERB_ME: return "";
    default: MUST(verb == VERB_MD); return "Ok";
    }
}

static bool is_quiet(const struct request *request, const char *status,
                     const struct meta_answer *answer)
{
    if (!(request->meta.seen & proto_flag('q')))
        return false;
    if (request->verb == VERB_MG)
        return !strcmp(status, "EN");
    return !strcmp(status, "HD") && !(answer && answer->created);
}

static void put_return(struct buf *out, char letter, const struct request *request,
                       const struct meta_answer *answer)
{
    switch (letter) {
    case 'O':
        put_text(out, " O");
        put(out, request->meta.opaque);
        break;
    case 'k': put_flag_key(out, request->key, request->meta.seen & proto_flag('b')); break;
    case 'c': put_flag_u64(out, letter, answer->cas); break;
    case 's': put_flag_u64(out, letter, answer->size); break;
    case 'f': put_flag_u64(out, letter, answer->flags); break;
    case 't': put_flag_i64(out, letter, answer->ttl_s); break;
    case 'l': put_flag_u64(out, letter, answer->idle_s); break;
    default: MUST(letter == 'h'); put_flag_u64(out, letter, answer->fetched);
    }
}

static void put_flags(struct buf *out, const char *status, const struct request *request,
                      const struct meta_answer *answer)
{
    const char *returns = find_returns(request->verb, status);
    for (size_t i = 0; i < request->meta.order_count; i++) {
        if (strchr(returns, request->meta.order[i]))
            put_return(out, request->meta.order[i], request, answer);
    }
    if (request->verb != VERB_MG || strcmp(status, "HD") != 0)
        return;
    put_text(out, answer->sent ? " Z" : "");
    put_text(out, answer->stale ? " X" : "");
    put_text(out, answer->won ? " W" : "");
}

int meta_status(struct buf *out, const char *status, const struct request *request,
                const struct meta_answer *answer)
{
    MUST(strlen(status) == 2 && request->key.len <= PROTO_KEY_MAX);
    if (is_quiet(request, status, answer))
        return 0;
    if (buf_reserve(out, 2 + META_FLAGS_BYTES_MAX + CRLF_BYTES))
        return CE_NOMEM;
    put_text(out, status);
    put_flags(out, status, request, answer);
    put_text(out, "\r\n");
    return 0;
}

int meta_value(struct buf *out, struct slice data, const struct request *request,
               const struct meta_answer *answer)
{
    MUST(request->key.len <= PROTO_KEY_MAX);
    if (is_quiet(request, "HD", answer))
        return 0;
    size_t head = strlen("VA ") + NUM_DIGITS_MAX + META_FLAGS_BYTES_MAX + CRLF_BYTES;
    if (buf_reserve(out, head + data.len + CRLF_BYTES))
        return CE_NOMEM;
    put_text(out, "VA ");
    put_u64(out, data.len);
    put_flags(out, "HD", request, answer);
    put_text(out, "\r\n");
    put(out, data);
    put_text(out, "\r\n");
    return 0;
}

int meta_error(struct buf *out, int code, const struct request *request)
{
    static const char *const lines[] = {[META_FAULT_NONE] = NULL,
#define X(name, wire) [META_FAULT_##name] = wire,
                                        META_FAULTS(X)
#undef X
    };
    MUST(request->meta.fault < sizeof lines / sizeof lines[0]);
    if (code == CE_FORMAT && request->meta.fault)
        return text_line(out, lines[request->meta.fault]);
    return text_error(out, code);
}

static void put_field(struct buf *out, const char *name, uint64_t value)
{
    put_text(out, name);
    put_u64(out, value);
}

/* exp counts down to 0, as memcached 1.6.18 has it. */
int meta_debug(struct buf *out, const struct request *request, const struct meta_debug *debug)
{
    MUST(request->key.len <= PROTO_KEY_MAX);
    if (buf_reserve(out, DEBUG_BYTES_MAX))
        return CE_NOMEM;
    put_text(out, "ME ");
    put(out, request->key);
    put_text(out, " exp=");
    put_i64(out, debug->ttl_s < 0 ? -1 : -debug->ttl_s);
    put_field(out, " la=", debug->idle_s);
    put_field(out, " cas=", debug->cas);
    put_text(out, debug->fetched ? " fetch=yes" : " fetch=no");
    put_field(out, " cls=", debug->slab_class);
    put_field(out, " size=", debug->size);
    put_text(out, "\r\n");
    return 0;
}

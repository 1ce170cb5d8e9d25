/* text_reply: replies of the text protocol. Each function reserves the most it can need and then
 * writes; so a reply is whole or not there at all. */
#include "proto/proto.h"
#include "proto/proto_int.h"

#define CRLF_BYTES 2
/* " x" and a number for each return flag, s, z and i, the key with " b", the opaque, " m" and a key
 * in base64, " R". */
#define CART_FLAGS_BYTES_MAX                                                                       \
    (13 * (2 + NUM_DIGITS_MAX) + PROTO_KEY_MAX + PROTO_OPAQUE_MAX + 2 +                            \
     4 * (PROTO_KEY_MAX + 2) / 3 + 8)
#define VALUE_HEAD_BYTES_MAX (PROTO_KEY_MAX + 3 * (1 + NUM_DIGITS_MAX) + 16)

/* ---- classic ---- */

int text_line(struct buf *out, const char *line)
{
    struct slice text = slice_str(line);
    if (buf_reserve(out, text.len + CRLF_BYTES))
        return CE_NOMEM;
    put(out, text);
    put_text(out, "\r\n");
    return 0;
}

int text_error(struct buf *out, int code)
{
    return text_line(out, err_wire(code));
}

int text_number(struct buf *out, uint64_t value)
{
    if (buf_reserve(out, NUM_DIGITS_MAX + CRLF_BYTES))
        return CE_NOMEM;
    put_u64(out, value);
    put_text(out, "\r\n");
    return 0;
}

int text_value(struct buf *out, struct slice key, uint32_t flags, struct slice value, bool with_cas,
               uint64_t cas)
{
    MUST(key.len <= PROTO_KEY_MAX);
    if (buf_reserve(out, VALUE_HEAD_BYTES_MAX + value.len + CRLF_BYTES))
        return CE_NOMEM;
    put_text(out, "VALUE ");
    put(out, key);
    put_char(out, ' ');
    put_u64(out, flags);
    put_char(out, ' ');
    put_u64(out, value.len);
    if (with_cas) {
        put_char(out, ' ');
        put_u64(out, cas);
    }
    put_text(out, "\r\n");
    put(out, value);
    put_text(out, "\r\n");
    return 0;
}

int text_stat(struct buf *out, const char *name, const char *value)
{
    if (buf_reserve(out, strlen("STAT  \r\n") + strlen(name) + strlen(value)))
        return CE_NOMEM;
    put_text(out, "STAT ");
    put_text(out, name);
    put_char(out, ' ');
    put_text(out, value);
    put_text(out, "\r\n");
    return 0;
}

/* ---- carts ---- */

static const char *level_word(uint8_t ack)
{
    switch (ack) {
    case 'r': return "ram";
    case 'o': return "os";
    case 's': return "sync";
    default: MUST(ack == 'q'); return "quorum";
    }
}

/* k and O: they are echoed on every kind of answer. */
static void put_echo(struct buf *out, char letter, const struct request *request)
{
    if (letter == 'O') {
        put_text(out, " O");
        put(out, request->cart.opaque);
    }
    if (letter == 'k' && request->key.len)
        put_flag_key(out, request->key, request->cart.seen & proto_flag('b'));
}

static void put_echoes(struct buf *out, const struct request *request)
{
    for (size_t i = 0; i < request->cart.order_count; i++)
        put_echo(out, request->cart.order[i], request);
}

/* Which operation of a batch was refused. */
static void put_failed_at(struct buf *out, const struct request *request)
{
    if (request->cart.failed_at)
        put_flag_u64(out, 'i', request->cart.failed_at - 1u);
}

static void put_return(struct buf *out, char letter, const struct cart_answer *answer)
{
    switch (letter) {
    case 'v': put_flag_u64(out, letter, answer->version); break;
    case 'c': put_flag_u64(out, letter, answer->cas); break;
    case 'n': put_flag_u64(out, letter, answer->lines); break;
    case 't': put_flag_u64(out, letter, answer->qty); break;
    case 'x': put_flag_i64(out, letter, answer->line_qty); break;
    case 'l': put_flag_u64(out, letter, answer->behind_ms); break;
    case 'a':
        if (answer->amount_known)
            put_flag_i64(out, letter, answer->amount);
        break;
    case 'd':
        put_text(out, " d");
        put_text(out, level_word(answer->ack));
        break;
    default: break;
    }
}

/* What a client must learn also when it did not ask. */
static void put_led(struct buf *out, const struct cart_answer *answer)
{
    if (answer->skipped)
        put_flag_u64(out, 's', answer->skipped);
    if (answer->clamped)
        put_flag_u64(out, 'z', answer->clamped);
    if (!answer->moved_to.len)
        return;
    put_text(out, " m");
    MUST(proto_base64_encode(answer->moved_to, out) == 0); /* there is room */
}

static void put_flags(struct buf *out, const struct request *request,
                      const struct cart_answer *answer)
{
    for (size_t i = 0; i < request->cart.order_count; i++) {
        put_return(out, request->cart.order[i], answer);
        put_echo(out, request->cart.order[i], request);
    }
    put_led(out, answer);
    if (answer->repeated)
        put_text(out, " R");
}

/* The answers that `q` asks to leave out. */
static bool is_quiet(const char *status, const struct request *request)
{
    if (!(request->cart.seen & proto_flag('q')))
        return false;
    return !strcmp(status, "HD") || (proto_is_read(request->verb) && !strcmp(status, "EN"));
}

int text_cart_status(struct buf *out, const char *status, const struct request *request,
                     const struct cart_answer *answer)
{
    MUST(strlen(status) == 2 && request->key.len <= PROTO_KEY_MAX);
    if (is_quiet(status, request))
        return 0;
    if (buf_reserve(out, 2 + CART_FLAGS_BYTES_MAX + CRLF_BYTES))
        return CE_NOMEM;
    put_text(out, status);
    if (!strcmp(status, "HD")) {
        put_flags(out, request, answer);
    } else {
        if (!strcmp(status, "EX")) {
            put_flag_u64(out, 'v', answer->version);
            put_flag_u64(out, 'c', answer->cas);
        }
        put_failed_at(out, request);
        put_echoes(out, request);
    }
    put_text(out, "\r\n");
    return 0;
}

int text_cart_value(struct buf *out, struct slice data, const struct request *request,
                    const struct cart_answer *answer)
{
    MUST(request->key.len <= PROTO_KEY_MAX);
    size_t head = strlen("VA ") + NUM_DIGITS_MAX + CART_FLAGS_BYTES_MAX + CRLF_BYTES;
    if (buf_reserve(out, head + data.len + CRLF_BYTES))
        return CE_NOMEM;
    put_text(out, "VA ");
    put_u64(out, data.len);
    put_flags(out, request, answer);
    put_text(out, "\r\n");
    put(out, data);
    put_text(out, "\r\n");
    return 0;
}

int text_cart_error(struct buf *out, int code, const struct request *request)
{
    const char *line = err_wire(code);
    MUST(request->key.len <= PROTO_KEY_MAX);
    if (buf_reserve(out, strlen(line) + CART_FLAGS_BYTES_MAX + CRLF_BYTES))
        return CE_NOMEM;
    put_text(out, line);
    put_failed_at(out, request);
    put_echoes(out, request);
    put_text(out, "\r\n");
    return 0;
}

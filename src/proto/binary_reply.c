/* binary_reply: replies of the binary protocol: a header, extras, key and value. Status codes and
 * texts are memcached's; carts have status codes of their own. A reply is appended whole or not at
 * all. */
#include "proto/proto.h"
#include "proto/proto_int.h"

#include <stdio.h>

#define REPLY_MAGIC       0x81
#define HEADER_BYTES      24
#define FLAGS_BYTES       4
#define CART_BYTES        44 /* extras of an answer of a cart command */
#define CART_REPEATED     1
#define CART_HAS_AMOUNT   2
#define CART_CLAMPED      4
#define CART_LED_ON       8 /* to the cart in the field of the key */
#define REFUSAL_BYTES_MAX 128

enum status {
    STATUS_OK = 0x00,
    STATUS_NOT_FOUND = 0x01,
    STATUS_EXISTS = 0x02,
    STATUS_TOO_LARGE = 0x03,
    STATUS_INVALID = 0x04,
    STATUS_NOT_STORED = 0x05,
    STATUS_NON_NUMERIC = 0x06,
    STATUS_AUTH_FAILED = 0x20,
    STATUS_AUTH_CONTINUE = 0x21,
    STATUS_DENIED = 0x24, /* of Couchbase's servers: no access */
    STATUS_UNKNOWN = 0x81,
    STATUS_NO_MEMORY = 0x82,
    STATUS_INTERNAL = 0x84,
    STATUS_BUSY = 0x85,
    STATUS_TRY_AGAIN = 0x86,
    STATUS_CART = 0xc0, /* and up */
};

struct refusal {
    int code;
    uint16_t status;
    const char *text; /* NULL: as in text, without the word before it */
};

static const struct refusal refusals[] = {
    {CE_NOTFOUND, STATUS_NOT_FOUND, "Not found"},
    {CE_EXISTS, STATUS_EXISTS, "Data exists for key."},
    {CE_TOO_LARGE, STATUS_TOO_LARGE, "Too large."},
    {CE_FORMAT, STATUS_INVALID, "Invalid arguments"},
    {CE_INVAL, STATUS_INVALID, "Invalid arguments"},
    {CE_EXPTIME, STATUS_INVALID, "Invalid arguments"},
    {CE_DELTA, STATUS_INVALID, "Invalid arguments"},
    {CE_NON_NUMERIC, STATUS_NON_NUMERIC, "Non-numeric server-side value for incr or decr"},
    {CE_UNKNOWN, STATUS_UNKNOWN, "Unknown command"},
    {CE_AUTH, STATUS_AUTH_FAILED, "Auth failure."},
    {CE_AUTH_FAILED, STATUS_AUTH_FAILED, "Auth failure."},
    {CE_DENIED, STATUS_DENIED, NULL},
    {CE_UDP_TOO_LARGE, STATUS_TOO_LARGE, NULL},
    {CE_NOMEM, STATUS_NO_MEMORY, "Out of memory"},
    {CE_STORE_NOMEM, STATUS_NO_MEMORY, "Out of memory allocating item"},
    {CE_BUSY, STATUS_BUSY, NULL},
    {CE_DB, STATUS_BUSY, NULL},
    {CE_STOPPED, STATUS_BUSY, NULL},
    {CE_NOTSAFE, STATUS_TRY_AGAIN, NULL},
    {CE_BAD_CART, STATUS_CART, NULL},
    {CE_CART_VALUE, STATUS_CART, NULL},
    {CE_BAD_LINE, STATUS_CART + 1, NULL},
    {CE_BAD_QTY, STATUS_CART + 2, NULL},
    {CE_BAD_FLAG, STATUS_CART + 3, NULL},
    {CE_BAD_DOC, STATUS_CART + 4, NULL},
    {CE_LINE_LIMIT, STATUS_CART + 5, NULL},
    {CE_QTY_LIMIT, STATUS_CART + 6, NULL},
    {CE_SIZE_LIMIT, STATUS_CART + 7, NULL},
    {CE_CURRENCY, STATUS_CART + 8, NULL},
    {CE_FROZEN, STATUS_CART + 9, NULL},
    {CE_MERGED, STATUS_CART + 10, NULL},
    {CE_TOKEN_REUSED, STATUS_CART + 11, NULL},
};

/* What a reply holds; all but status may be left out. */
struct reply {
    enum status status;
    size_t extras_len; /* put by the caller, right behind the header */
    struct slice key;
    struct slice value;
    uint64_t cas;
};

static int begin(struct buf *out, const struct request *request, const struct reply *reply)
{
    size_t body = reply->extras_len + reply->key.len + reply->value.len;
    MUST(request->binary.is && reply->key.len <= UINT16_MAX && body <= UINT32_MAX);
    if (buf_reserve(out, HEADER_BYTES + body))
        return CE_NOMEM;
    put_be(out, REPLY_MAGIC, 1);
    put_be(out, request->binary.opcode, 1);
    put_be(out, reply->key.len, 2);
    put_be(out, reply->extras_len, 1);
    put_be(out, 0, 1); /* data type: raw bytes */
    put_be(out, reply->status, 2);
    put_be(out, body, 4);
    put_be(out, request->binary.opaque, 4);
    put_be(out, reply->cas, 8);
    return 0;
}

static void end(struct buf *out, const struct reply *reply)
{
    put(out, reply->key);
    put(out, reply->value);
}

static int put_reply(struct buf *out, const struct request *request, const struct reply *reply)
{
    if (begin(out, request, reply))
        return CE_NOMEM;
    end(out, reply);
    return 0;
}

static int put_refusal(struct buf *out, const struct request *request, enum status status,
                       const char *text)
{
    struct reply reply = {.status = status, .value = slice_str(text)};
    return put_reply(out, request, &reply);
}

/* ---- memcached's ---- */

int binary_done(struct buf *out, const struct request *request, uint64_t cas)
{
    struct reply reply = {.cas = cas};
    return request->binary.quiet ? 0 : put_reply(out, request, &reply);
}

static int put_item(struct buf *out, const struct request *request, uint32_t flags,
                    const struct reply *reply)
{
    if (begin(out, request, reply))
        return CE_NOMEM;
    put_be(out, flags, FLAGS_BYTES);
    end(out, reply);
    return 0;
}

int binary_value(struct buf *out, const struct request *request, uint32_t flags, struct slice value,
                 uint64_t cas)
{
    struct reply reply = {.extras_len = FLAGS_BYTES, .value = value, .cas = cas};
    if (request->binary.with_key)
        reply.key = request->key;
    return put_item(out, request, flags, &reply);
}

int binary_touched(struct buf *out, const struct request *request, uint32_t flags, uint64_t cas)
{
    struct reply reply = {.extras_len = FLAGS_BYTES, .cas = cas};
    return put_item(out, request, flags, &reply);
}

int binary_miss(struct buf *out, const struct request *request)
{
    if (request->binary.quiet)
        return 0;
    if (!request->binary.with_key)
        return put_refusal(out, request, STATUS_NOT_FOUND, "Not found");
    struct reply reply = {.status = STATUS_NOT_FOUND, .key = request->key};
    return put_reply(out, request, &reply);
}

int binary_number(struct buf *out, const struct request *request, uint64_t value, uint64_t cas)
{
    uint8_t bytes[sizeof value];
    set_be(bytes, value, sizeof bytes);
    struct reply reply = {.value = slice_of(bytes, sizeof bytes), .cas = cas};
    return request->binary.quiet ? 0 : put_reply(out, request, &reply);
}

int binary_text(struct buf *out, const struct request *request, struct slice text)
{
    struct reply reply = {.value = text};
    return put_reply(out, request, &reply);
}

int binary_stat(struct buf *out, const struct request *request, struct slice name,
                struct slice value)
{
    struct reply reply = {.key = name, .value = value};
    return put_reply(out, request, &reply);
}

int binary_not_stored(struct buf *out, const struct request *request)
{
    switch (request->verb) {
    case VERB_ADD: return binary_error(out, CE_EXISTS, request);
    case VERB_REPLACE: return binary_error(out, CE_NOTFOUND, request);
    default: return put_refusal(out, request, STATUS_NOT_STORED, "Not stored.");
    }
}

int binary_auth_continue(struct buf *out, const struct request *request, struct slice challenge)
{
    struct reply reply = {.status = STATUS_AUTH_CONTINUE, .value = challenge};
    return put_reply(out, request, &reply);
}

/* ---- errors ---- */

/* "CLIENT_ERROR " and "SERVER_ERROR " are told by the status. */
static const char *skip_kind(const char *wire)
{
    const char *space = strchr(wire, ' ');
    return space ? space + 1 : wire;
}

/* A refusal of an operation of a batch says which. */
static int put_refused_at(struct buf *out, const struct request *request, enum status status,
                          const char *text)
{
    char named[REFUSAL_BYTES_MAX];
    snprintf(named, sizeof named, "%s i%u", text, request->cart.failed_at - 1u);
    return put_refusal(out, request, status, named);
}

int binary_error(struct buf *out, int code, const struct request *request)
{
    int (*refuse)(struct buf *, const struct request *, enum status, const char *) =
        request->cart.failed_at ? put_refused_at : put_refusal;
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        const struct refusal *refusal = &refusals[i];
        if (refusal->code == code)
            return refuse(out, request, refusal->status,
                          refusal->text ? refusal->text : skip_kind(err_wire(code)));
    }
    return refuse(out, request, STATUS_INTERNAL, skip_kind(err_wire(code)));
}

/* ---- carts ---- */

static uint64_t level_of(uint8_t ack)
{
    static const char letters[] = "rosq";
    const char *at = ack ? strchr(letters, ack) : NULL;
    return at ? (uint64_t)(at - letters) + 1 : 0;
}

static uint64_t cart_bits(const struct cart_answer *answer)
{
    return (answer->repeated ? CART_REPEATED : 0) | (answer->amount_known ? CART_HAS_AMOUNT : 0) |
           (answer->clamped ? CART_CLAMPED : 0) | (answer->moved_to.len ? CART_LED_ON : 0);
}

static int put_cart(struct buf *out, const struct request *request, const struct reply *reply,
                    const struct cart_answer *answer)
{
    if (begin(out, request, reply))
        return CE_NOMEM;
    put_be(out, answer->version, 8);
    put_be(out, answer->behind_ms, 8);
    put_be(out, answer->amount_known ? (uint64_t)answer->amount : 0, 8);
    put_be(out, answer->qty, 8);
    put_be(out, answer->lines, 4);
    put_be(out, (uint64_t)answer->line_qty, 4);
    put_be(out, level_of(answer->ack), 1);
    put_be(out, cart_bits(answer), 1);
    put_be(out, answer->skipped < UINT16_MAX ? answer->skipped : UINT16_MAX, 2);
    end(out, reply);
    return 0;
}

int binary_cart_status(struct buf *out, const char *status, const struct request *request,
                       const struct cart_answer *answer)
{
    bool hit = !strcmp(status, "HD"), differs = !strcmp(status, "EX");
    bool miss_of_read = proto_is_read(request->verb) && !strcmp(status, "EN");
    MUST(hit || differs || !strcmp(status, "EN") || !strcmp(status, "NF"));
    if (request->binary.quiet && (hit || miss_of_read))
        return 0;
    if (!hit && !differs)
        return binary_error(out, CE_NOTFOUND, request);
    struct reply reply = {.extras_len = CART_BYTES, .cas = answer->cas, .key = answer->moved_to};
    if (hit)
        return put_cart(out, request, &reply, answer);
    struct cart_answer now = {.version = answer->version};
    reply.status = STATUS_EXISTS;
    reply.value = slice_str("Data exists for key.");
    return put_cart(out, request, &reply, &now);
}

int binary_cart_value(struct buf *out, struct slice data, const struct request *request,
                      const struct cart_answer *answer)
{
    struct reply reply = {
        .extras_len = CART_BYTES, .value = data, .cas = answer->cas, .key = answer->moved_to};
    return put_cart(out, request, &reply, answer);
}

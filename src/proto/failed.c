/* failed: the error in place of a success that had been written but must not be sent. */
#include "proto/proto.h"

enum { BINARY_RESPONSE_MAGIC = 0x81, BINARY_HEADER_BYTES = 24, OPCODE_AT = 1, OPAQUE_AT = 12 };

static int fail_binary(struct buf *out, int code, struct slice reply)
{
    struct request request = {.verb = VERB_COUNT_,
                              .binary = {.is = true, .opcode = reply.bytes[OPCODE_AT]}};
    for (int i = 0; i < 4; i++) /* big endian */
        request.binary.opaque = request.binary.opaque << 8 | reply.bytes[OPAQUE_AT + i];
    return binary_error(out, code, &request);
}

/* The next word of a line, without the space before it; empty at the end. */
static struct slice take_word(struct slice *line)
{
    while (line->len && line->bytes[0] == ' ')
        *line = slice_from(*line, 1);
    size_t len = 0;
    while (len < line->len && line->bytes[len] != ' ' && line->bytes[len] != '\r')
        len++;
    struct slice word = slice_of(line->bytes, len);
    *line = slice_from(*line, len);
    return word;
}

/* Key and opaque are echoed on every kind of answer (cart-protocol section 5). */
static int echo_flags(struct buf *out, struct slice line)
{
    struct slice word = take_word(&line);
    int rc = 0;
    if (!slice_eq(word, slice_str("HD")) && !slice_eq(word, slice_str("VA")))
        return 0;
    while (rc == 0 && (word = take_word(&line)).len) {
        if (word.bytes[0] != 'k' && word.bytes[0] != 'O' && word.bytes[0] != 'b')
            continue;
        rc = buf_append_str(out, " ");
        if (rc == 0)
            rc = buf_append(out, word.bytes, word.len);
    }
    return rc;
}

int proto_failed(struct buf *out, int code, struct slice reply)
{
    if (reply.len >= BINARY_HEADER_BYTES && reply.bytes[0] == BINARY_RESPONSE_MAGIC)
        return fail_binary(out, code, reply);
    int rc = buf_append_str(out, err_wire(code));
    if (rc == 0)
        rc = echo_flags(out, reply);
    return rc ? rc : buf_append_str(out, "\r\n");
}

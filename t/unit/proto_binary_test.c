/* Unit tests of the binary protocol: which frames are taken, what the others cost, and the bytes of
 * each reply. Opcodes, statuses and lengths are written out as the protocol has them; t/proto has
 * the transcripts that were replayed against memcached 1.6.18. */
#include "proto/proto.h"
#include "lib/suite.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#define VALUE_MAX 1000
#define HEADER    24

struct parsed {
    enum parse result;
    struct request request;
    size_t used, want;
    int error;
    bool fatal;
};

/* A frame under construction; lengths follow from the parts unless they are overridden. */
struct frame {
    uint8_t opcode;
    const char *extras;
    size_t extras_len;
    const char *key, *value;
    size_t value_len; /* of zeros, when value is NULL */
    uint64_t cas;
};

static uint8_t bytes[70000];
static size_t bytes_len;

static void put_number(size_t at, uint64_t value, size_t count)
{
    for (size_t i = 0; i < count; i++)
        bytes[at + i] = (uint8_t)(value >> (8 * (count - 1 - i)));
}

static void add_bytes(const void *from, size_t len)
{
    ck_assert_uint_le(bytes_len + len, sizeof bytes);
    if (from)
        memcpy(bytes + bytes_len, from, len);
    else
        memset(bytes + bytes_len, 0, len);
    bytes_len += len;
}

static struct slice build(struct frame frame)
{
    size_t key_len = frame.key ? strlen(frame.key) : 0;
    size_t value_len = frame.value ? strlen(frame.value) : frame.value_len;
    memset(bytes, 0, HEADER);
    bytes_len = HEADER;
    add_bytes(frame.extras, frame.extras_len);
    add_bytes(frame.key, key_len);
    add_bytes(frame.value, value_len);
    bytes[0] = 0x80;
    bytes[1] = frame.opcode;
    put_number(2, key_len, 2);
    bytes[4] = (uint8_t)frame.extras_len;
    bytes[5] = 0x77; /* data type: ignored */
    put_number(6, 0x1234, 2);
    put_number(8, bytes_len - HEADER, 4);
    put_number(12, 0xdeadbeef, 4);
    put_number(16, frame.cas, 8);
    return slice_of(bytes, bytes_len);
}

static struct parsed parse_bytes(struct slice in)
{
    struct parsed p;
    p.result = binary_parse(in, VALUE_MAX, &p.request, &p.used, &p.want, &p.error, &p.fatal);
    return p;
}

static struct request ok(struct frame frame)
{
    struct slice in = build(frame);
    struct parsed p = parse_bytes(in);
    ck_assert_msg(p.result == PARSE_OK, "%02x: %d", frame.opcode, p.error);
    ck_assert_uint_eq(p.used, in.len);
    ck_assert(p.error == 0 && !p.fatal && !p.request.noreply && p.request.binary.is);
    ck_assert_uint_eq(p.request.binary.opcode, frame.opcode);
    ck_assert_uint_eq(p.request.binary.opaque, 0xdeadbeef);
    ck_assert_uint_eq(p.request.binary.vbucket, 0x1234);
    return p.request;
}

static struct parsed bad(struct frame frame, int error, bool fatal)
{
    struct slice in = build(frame);
    struct parsed p = parse_bytes(in);
    ck_assert_msg(p.result == PARSE_BAD, "%02x: %d", frame.opcode, p.result);
    ck_assert_msg(p.error == error && p.fatal == fatal, "%02x: %d", frame.opcode, p.error);
    ck_assert(!p.request.noreply && p.request.binary.is);
    ck_assert_uint_eq(p.request.binary.opaque, 0xdeadbeef);
    if (!fatal)
        ck_assert_uint_eq(p.used, in.len);
    return p;
}

#define ck_slice(s, text)                                                                          \
    ck_assert_msg(slice_eq(s, slice_str(text)), "%.*s is not %s", (int)(s).len,                    \
                  (const char *)(s).bytes, text)

/* ---- memcached's opcodes ---- */

static const char zeros[256];
#define EXTRAS(n) .extras = zeros, .extras_len = (n)

/* protocol_binary.h of memcached, and what its server wants of each. */
static const struct {
    uint8_t opcode;
    enum verb verb;
    bool quiet, with_key;
    size_t extras_len;
    char key, value; /* '-' none, '?' may, '!' must */
} opcodes[] = {
    {0x00, VERB_GET, false, false, 0, '!', '-'},
    {0x01, VERB_SET, false, false, 8, '!', '?'},
    {0x02, VERB_ADD, false, false, 8, '!', '?'},
    {0x03, VERB_REPLACE, false, false, 8, '!', '?'},
    {0x04, VERB_DELETE, false, false, 0, '!', '-'},
    {0x05, VERB_INCR, false, false, 20, '!', '-'},
    {0x06, VERB_DECR, false, false, 20, '!', '-'},
    {0x07, VERB_QUIT, false, false, 0, '-', '-'},
    {0x08, VERB_FLUSH_ALL, false, false, 4, '-', '-'},
    {0x09, VERB_GET, true, false, 0, '!', '-'},
    {0x0a, VERB_NOOP, false, false, 0, '-', '-'},
    {0x0b, VERB_VERSION, false, false, 0, '-', '-'},
    {0x0c, VERB_GET, false, true, 0, '!', '-'},
    {0x0d, VERB_GET, true, true, 0, '!', '-'},
    {0x0e, VERB_APPEND, false, false, 0, '!', '?'},
    {0x0f, VERB_PREPEND, false, false, 0, '!', '?'},
    {0x10, VERB_STATS, false, false, 0, '?', '-'},
    {0x11, VERB_SET, true, false, 8, '!', '?'},
    {0x12, VERB_ADD, true, false, 8, '!', '?'},
    {0x13, VERB_REPLACE, true, false, 8, '!', '?'},
    {0x14, VERB_DELETE, true, false, 0, '!', '-'},
    {0x15, VERB_INCR, true, false, 20, '!', '-'},
    {0x16, VERB_DECR, true, false, 20, '!', '-'},
    {0x17, VERB_QUIT, true, false, 0, '-', '-'},
    {0x18, VERB_FLUSH_ALL, true, false, 4, '-', '-'},
    {0x19, VERB_APPEND, true, false, 0, '!', '?'},
    {0x1a, VERB_PREPEND, true, false, 0, '!', '?'},
    {0x1b, VERB_VERBOSITY, false, false, 4, '-', '-'},
    {0x1c, VERB_TOUCH, false, false, 4, '!', '-'},
    {0x1d, VERB_GAT, false, false, 4, '!', '-'},
    {0x1e, VERB_GAT, true, false, 4, '!', '-'},
    {0x20, VERB_SASL_LIST, false, false, 0, '-', '-'},
    {0x21, VERB_SASL_AUTH, false, false, 0, '!', '?'},
    {0x22, VERB_SASL_STEP, false, false, 0, '!', '?'},
    {0x23, VERB_GAT, false, true, 4, '!', '-'},
    {0x24, VERB_GAT, true, true, 4, '!', '-'},
};
#define OPCODES (sizeof opcodes / sizeof opcodes[0])

static struct frame right_frame(size_t i)
{
    return (struct frame){.opcode = opcodes[i].opcode,
                          EXTRAS(opcodes[i].extras_len),
                          .key = opcodes[i].key == '!' ? "key" : "",
                          .value = ""};
}

START_TEST(every_opcode)
{
    for (size_t i = 0; i < OPCODES; i++) {
        struct request r = ok(right_frame(i));
        ck_assert_int_eq(r.verb, opcodes[i].verb);
        ck_assert_int_eq(r.binary.quiet, opcodes[i].quiet);
        ck_assert_int_eq(r.binary.with_key, opcodes[i].with_key);
        ck_slice(r.key, opcodes[i].key == '!' ? "key" : "");
    }
}
END_TEST

START_TEST(wrong_parts_end_the_connection)
{
    for (size_t i = 0; i < OPCODES; i++) {
        struct frame frame = right_frame(i);
        frame.extras_len++;
        bad(frame, CE_FORMAT, true);
        frame.extras_len = opcodes[i].extras_len ? opcodes[i].extras_len - 1 : 4;
        bad(frame, CE_FORMAT, true);
        frame = right_frame(i);
        frame.key = opcodes[i].key == '!' ? "" : "key";
        opcodes[i].key == '?' ? (void)ok(frame) : (void)bad(frame, CE_FORMAT, true);
        frame = right_frame(i);
        frame.value = "v";
        opcodes[i].value == '?' ? (void)ok(frame) : (void)bad(frame, CE_FORMAT, true);
    }
}
END_TEST

START_TEST(other_opcodes_cost_their_frame)
{
    for (int opcode = 0; opcode < 256; opcode++) {
        bool known = opcode >= 0xc0 && opcode < 0xe0; /* carts have tests of their own */
        for (size_t i = 0; i < OPCODES; i++)
            known |= opcodes[i].opcode == opcode;
        if (known)
            continue;
        struct parsed p = bad(
            (struct frame){.opcode = (uint8_t)opcode, EXTRAS(3), .key = "key", .value = "value"},
            CE_UNKNOWN, false);
        ck_assert_int_eq(p.request.verb, VERB_COUNT_);
    }
}
END_TEST

START_TEST(extras_are_read)
{
    static const char set[] = "\x01\x02\x03\x04\xff\x00\x00\x01";
    struct request r =
        ok((struct frame){.opcode = 1, .extras = set, .extras_len = 8, .key = "k", .value = "val"});
    ck_assert_uint_eq(r.flags, 0x01020304);
    ck_assert_int_eq(r.exptime, 0xff000001);
    ck_slice(r.value, "val");
    static const char delta[] = "\0\0\0\0\0\0\1\2\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\x3c";
    r = ok((struct frame){.opcode = 6, .extras = delta, .extras_len = 20, .key = "k"});
    ck_assert_uint_eq(r.delta, 0x102);
    ck_assert_uint_eq(r.initial, UINT64_MAX);
    ck_assert(r.vivify);
    ck_assert_int_eq(r.vivify_exptime, 60);
    static const char no_vivify[] = "\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\5\xff\xff\xff\xff";
    r = ok((struct frame){.opcode = 5, .extras = no_vivify, .extras_len = 20, .key = "k"});
    ck_assert(!r.vivify);
    static const char number[] = "\0\0\1\0";
    struct frame touch = {.opcode = 0x1c, .extras = number, .extras_len = 4, .key = "k"};
    ck_assert_int_eq(ok(touch).exptime, 256);
    struct frame flush = {.opcode = 8, .extras = number, .extras_len = 4};
    ck_assert_int_eq(ok(flush).exptime, 256);
    flush.extras_len = 0;
    ck_assert_int_eq(ok(flush).exptime, 0);
    struct frame verbosity = {.opcode = 0x1b, .extras = number, .extras_len = 4};
    ck_assert_uint_eq(ok(verbosity).delta, 256);
}
END_TEST

START_TEST(a_cas_makes_a_store_a_cas)
{
    static const uint8_t stores[] = {1, 2, 3, 0x11, 0x12, 0x13};
    for (size_t i = 0; i < sizeof stores; i++) {
        struct frame frame = {.opcode = stores[i], EXTRAS(8), .key = "k", .cas = 1ull << 63};
        struct request r = ok(frame);
        ck_assert_int_eq(r.verb, VERB_CAS);
        ck_assert_uint_eq(r.cas, 1ull << 63);
    }
    struct frame append = {.opcode = 0x0e, .key = "k", .value = "v", .cas = 5};
    struct request r = ok(append);
    ck_assert_int_eq(r.verb, VERB_APPEND);
    ck_assert_uint_eq(r.cas, 5);
}
END_TEST

START_TEST(stats_have_an_argument_and_sasl_has_data)
{
    struct request r = ok((struct frame){.opcode = 0x10, .key = "items"});
    ck_slice(r.arg, "items");
    ck_assert_uint_eq(r.key.len, 0);
    r = ok((struct frame){.opcode = 0x21, .key = "PLAIN", .value_len = 3});
    ck_slice(r.key, "PLAIN");
    ck_assert_uint_eq(r.value.len, 3);
}
END_TEST

/* ---- lengths ---- */

START_TEST(keys_have_a_limit)
{
    char key[PROTO_KEY_MAX + 2];
    memset(key, 'k', sizeof key);
    key[PROTO_KEY_MAX] = 0;
    ck_assert_uint_eq(ok((struct frame){.opcode = 0, .key = key}).key.len, PROTO_KEY_MAX);
    key[PROTO_KEY_MAX] = 'k';
    key[PROTO_KEY_MAX + 1] = 0;
    bad((struct frame){.opcode = 0, .key = key}, CE_FORMAT, true);
    bad((struct frame){.opcode = 0x99, .key = key}, CE_FORMAT, true);
}
END_TEST

START_TEST(a_body_shorter_than_its_parts_ends_the_connection)
{
    struct slice in = build((struct frame){.opcode = 0, .key = "key"});
    bytes[11] = 2;
    struct parsed p = parse_bytes(in);
    ck_assert(p.result == PARSE_BAD && p.error == CE_UNKNOWN && p.fatal);
    in = build((struct frame){.opcode = 1, EXTRAS(8), .key = "key"});
    bytes[11] = 10;
    p = parse_bytes(in);
    ck_assert(p.result == PARSE_BAD && p.error == CE_UNKNOWN && p.fatal);
}
END_TEST

START_TEST(a_value_has_a_limit)
{
    struct frame frame = {.opcode = 1, EXTRAS(8), .key = "key", .value_len = VALUE_MAX, .cas = 3};
    ck_assert_uint_eq(ok(frame).value.len, VALUE_MAX);
    frame.value_len++;
    struct parsed p = bad(frame, CE_TOO_LARGE, false);
    ck_slice(p.request.key, "key");
    ck_assert_int_eq(p.request.verb, VERB_SET);
    ck_assert_uint_eq(p.request.value.len, 0);
}
END_TEST

/* Before the value comes, but not before the key, which a set then drops. */
START_TEST(too_large_is_known_early)
{
    struct slice in = build((struct frame){.opcode = 1, EXTRAS(8), .key = "key"});
    put_number(8, UINT32_MAX, 4);
    struct parsed p = parse_bytes(slice_of(in.bytes, HEADER + 8 + 2));
    ck_assert_int_eq(p.result, PARSE_MORE);
    ck_assert_uint_eq(p.want, HEADER + 8 + 3);
    p = parse_bytes(in);
    ck_assert_int_eq(p.error, CE_TOO_LARGE);
    ck_assert_uint_eq(p.used, HEADER + (size_t)UINT32_MAX);
    ck_slice(p.request.key, "key");
}
END_TEST

START_TEST(sasl_data_has_a_limit_of_its_own)
{
    struct slice in = build((struct frame){.opcode = 0x21, .key = "PLAIN"});
    put_number(8, 5 + PROTO_SASL_MAX, 4);
    struct parsed p;
    p.result = binary_parse(in, 1 << 20, &p.request, &p.used, &p.want, &p.error, &p.fatal);
    ck_assert_int_eq(p.result, PARSE_MORE);
    put_number(8, 5 + PROTO_SASL_MAX + 1, 4);
    p.result = binary_parse(in, 1 << 20, &p.request, &p.used, &p.want, &p.error, &p.fatal);
    ck_assert(p.result == PARSE_BAD && p.error == CE_TOO_LARGE && !p.fatal);
}
END_TEST

START_TEST(another_magic_ends_the_connection_without_a_word)
{
    for (int magic = 0; magic < 256; magic++) {
        uint8_t byte = (uint8_t)magic;
        struct parsed p = parse_bytes(slice_of(&byte, 1));
        ck_assert_int_eq(p.result, magic == 0x80 ? PARSE_MORE : PARSE_BAD);
        ck_assert_int_eq(p.fatal, magic != 0x80);
        ck_assert_int_eq(p.request.noreply, magic != 0x80);
    }
    ck_assert_int_eq(parse_bytes(slice_of(NULL, 0)).result, PARSE_MORE);
}
END_TEST

/* ---- the cut property ---- */

static struct frame cut_frame(int i)
{
    static const struct frame frames[] = {
        {.opcode = 0x0a},
        {.opcode = 0, .key = "key"},
        {.opcode = 1, EXTRAS(8), .key = "key", .value = "value"},
        {.opcode = 5, EXTRAS(20), .key = "key"},
        {.opcode = 1, EXTRAS(8), .key = "key", .value_len = VALUE_MAX + 1},
        {.opcode = 0x40, .key = "key", .value = "value"},
        {.opcode = 0x0a, .key = "key"},
        {.opcode = 0xc0, EXTRAS(8), .key = "cart:1", .value = "SKU"},
    };
    ck_assert_uint_lt((size_t)i, sizeof frames / sizeof frames[0]);
    return frames[i];
}
#define CUT_FRAMES 8

START_TEST(cutting_the_input_anywhere_changes_nothing)
{
    struct slice whole = build(cut_frame(_i));
    struct parsed all = parse_bytes(whole);
    ck_assert_int_ne(all.result, PARSE_MORE);
    bool decided = false;
    for (size_t len = 0; len <= whole.len; len++) {
        uint8_t *copy = malloc(len ? len : 1);
        ck_assert_ptr_nonnull(copy);
        memcpy(copy, whole.bytes, len);
        struct parsed p = parse_bytes(slice_of(copy, len));
        if (p.result == PARSE_MORE) {
            ck_assert(!decided && p.used == 0 && p.want <= all.used);
            ck_assert(len ? p.want > len : p.want == 0);
        } else {
            decided = true;
            ck_assert_int_eq(p.result, all.result);
            ck_assert_uint_eq(p.used, all.used);
            ck_assert_int_eq(p.error, all.error);
            ck_assert_int_eq(p.fatal, all.fatal);
            ck_assert(slice_eq(p.request.key, all.request.key));
            ck_assert(slice_eq(p.request.value, all.request.value));
            ck_assert(slice_eq(p.request.line, all.request.line));
        }
        free(copy);
    }
    ck_assert(decided);
}
END_TEST

/* ---- cart commands ---- */

#define CART_EXTRAS(text) .extras = (text), .extras_len = 8

static struct request cart_ok(uint8_t opcode, const char *extras, const void *value, size_t len)
{
    struct frame frame = {.opcode = opcode, CART_EXTRAS(extras), .key = "cart:1", .value_len = len};
    struct slice in = build(frame);
    memcpy(bytes + in.len - len, value, len);
    struct parsed p = parse_bytes(in);
    ck_assert_msg(p.result == PARSE_OK, "%02x: %d", opcode, p.error);
    ck_assert_uint_eq(p.used, in.len);
    ck_slice(p.request.key, "cart:1");
    return p.request;
}

static void cart_bad(uint8_t opcode, const char *extras, const void *value, size_t len, int error)
{
    struct frame frame = {.opcode = opcode, CART_EXTRAS(extras), .key = "cart:1", .value_len = len};
    struct slice in = build(frame);
    memcpy(bytes + in.len - len, value, len);
    uint8_t *exact = malloc(in.len); /* a sanitizer sees a read behind the end */
    ck_assert_ptr_nonnull(exact);
    memcpy(exact, in.bytes, in.len);
    struct parsed p = parse_bytes(slice_of(exact, in.len));
    free(exact);
    ck_assert_msg(p.error == error, "%02x: %d", opcode, p.error);
    ck_assert(p.result == PARSE_BAD && !p.fatal);
    ck_assert_uint_eq(p.used, in.len);
}

#define VALUE(text) (text), sizeof(text) - 1

START_TEST(cart_commands)
{
    struct request r = cart_ok(0xc0, "\xff\xff\xff\xfd\0\0\x03\0", VALUE("SKU"));
    ck_assert_int_eq(r.verb, VERB_CADD);
    ck_slice(r.line, "SKU");
    ck_assert_int_eq(r.binary.number, -3);
    ck_assert_uint_eq(r.cart.seen, 0);
    r = cart_ok(0xd1, "\0\0\0\2\0\0\1\3", VALUE("a"));
    ck_assert_int_eq(r.verb, VERB_CSET);
    ck_assert(r.binary.quiet);
    ck_assert_uint_eq(r.cart.seen, proto_flag('q') | proto_flag('D'));
    ck_assert_int_eq(r.cart.ack, 's');
    ck_assert_int_eq(cart_ok(0xc2, "\0\0\0\0\0\0\1\0", VALUE("a")).verb, VERB_CREM);
    ck_assert_int_eq(cart_ok(0xc8, "\0\0\0\0\0\0\0\0", VALUE("")).verb, VERB_CGET);
    ck_assert_int_eq(cart_ok(0xc9, "\0\0\0\0\0\0\0\0", VALUE("")).verb, VERB_CDEL);
    ck_assert_int_eq(cart_ok(0xd8, "\0\0\0\0\0\0\0\0", VALUE("")).verb, VERB_CGET);
}
END_TEST

START_TEST(all_fields_of_a_cart_write)
{
    static const char value[] = "red"
                                "I\0\3tok"
                                "P\0\x08\0\0\0\0\0\0\x07\xcf"
                                "U\0\3EUR"
                                "G\0\2s1"
                                "E\0\4\0\xff\r\n"
                                "T\0\4\0\0\x0e\x10";
    struct request r = cart_ok(0xc1, "\0\0\0\1\0\1\3\4", VALUE(value));
    const struct cart_flags *f = &r.cart;
    ck_slice(r.line, "red");
    ck_slice(f->token, "tok");
    ck_assert_int_eq(f->price, 1999);
    ck_assert_str_eq(f->currency, "EUR");
    ck_slice(f->shop, "s1");
    ck_assert(slice_eq(f->ext, slice_of("\0\xff\r\n", 4)));
    ck_assert_uint_eq(f->life_s, 3600);
    ck_assert_int_eq(f->ack, 'q');
    uint64_t seen = 0;
    for (const char *letter = "IPUGETDL"; *letter; letter++)
        seen |= proto_flag(*letter);
    ck_assert_uint_eq(f->seen, seen);
}
END_TEST

START_TEST(a_cart_cas_is_a_condition)
{
    struct frame frame = {.opcode = 0xc9, CART_EXTRAS("\0\0\0\0\0\0\0\0"), .key = "cart:1"};
    ck_assert_uint_eq(ok(frame).cart.seen, 0);
    frame.cas = 77;
    struct request r = ok(frame);
    ck_assert_uint_eq(r.cart.seen, proto_flag('V'));
    ck_assert_uint_eq(r.cart.if_cas, 77);
    frame.extras = "\0\0\0\0\0\2\0\0"; /* only if there is no cart, and a cas */
    bad(frame, CE_BAD_FLAG, false);
    frame.cas = 0;
    r = ok(frame);
    ck_assert_uint_eq(r.cart.seen, proto_flag('V'));
    ck_assert_uint_eq(r.cart.if_cas, 0);
    frame =
        (struct frame){.opcode = 0xc8, CART_EXTRAS("\0\0\0\0\0\0\0\0"), .key = "cart:1", .cas = 1};
    bad(frame, CE_BAD_FLAG, false);
}
END_TEST

START_TEST(a_cart_read_can_select)
{
    struct request r = cart_ok(0xc8, "\0\0\0\0\0\x0c\0\0", VALUE("N\0\x08\0\0\0\0\0\0\1\0"));
    ck_assert_uint_eq(r.cart.seen, proto_flag('s') | proto_flag('c') | proto_flag('N'));
    ck_assert_uint_eq(r.cart.since_version, 256);
}
END_TEST

START_TEST(malformed_cart_commands_are_refused)
{
    static const char plain[] = "\0\0\0\1\0\0\1\0";
    cart_bad(0xc0, "\0\0\0\1\0\0\0\0", VALUE(""), CE_BAD_LINE);
    cart_bad(0xc0, "\0\0\0\1\0\0\2\0", VALUE("a"), CE_BAD_LINE);
    cart_bad(0xc0, "\0\0\0\1\0\0\3\0", VALUE("a b"), CE_BAD_LINE);
    cart_bad(0xc8, "\0\0\0\0\0\0\1\0", VALUE("a"), CE_BAD_LINE);
    cart_bad(0xc2, plain, VALUE("a"), CE_BAD_QTY);
    cart_bad(0xc0, "\0\0\0\1\0\x10\1\0", VALUE("a"), CE_BAD_FLAG);
    cart_bad(0xc0, "\0\0\0\1\x80\0\1\0", VALUE("a"), CE_BAD_FLAG);
    cart_bad(0xc2, "\0\0\0\0\0\1\1\0", VALUE("a"), CE_BAD_FLAG);
    cart_bad(0xc0, "\0\0\0\1\0\0\1\5", VALUE("a"), CE_BAD_FLAG);
    cart_bad(0xc8, "\0\0\0\0\0\0\0\1", VALUE(""), CE_BAD_FLAG);
    cart_bad(0xc0, plain, VALUE("aI"), CE_BAD_FLAG);
    cart_bad(0xc0, plain, VALUE("aI\0"), CE_BAD_FLAG);
    cart_bad(0xc0, plain, VALUE("aI\0\0"), CE_BAD_FLAG);
    cart_bad(0xc0, plain, VALUE("aI\0\2x"), CE_BAD_FLAG);
    cart_bad(0xc0, plain, VALUE("aE\0\2x"), CE_BAD_FLAG);
    cart_bad(0xc0, plain, VALUE("aI\0\1xI\0\1x"), CE_BAD_FLAG);
    cart_bad(0xc0, plain, VALUE("aX\0\0"), CE_BAD_FLAG);
    cart_bad(0xc0, plain, VALUE("a\0\0\0"), CE_BAD_FLAG);
    cart_bad(0xc0, plain, VALUE("aN\0\x08\0\0\0\0\0\0\0\0"), CE_BAD_FLAG);
    cart_bad(0xc0, plain, VALUE("aP\0\x08\x80\0\0\0\0\0\0\0"), CE_BAD_FLAG);
    cart_bad(0xc0, plain, VALUE("aP\0\x04\0\0\0\0"), CE_BAD_FLAG);
    cart_bad(0xc0, plain, VALUE("aU\0\3eur"), CE_BAD_FLAG);
    cart_bad(0xc0, plain, VALUE("aT\0\2\0\0"), CE_BAD_FLAG);
    bad((struct frame){.opcode = 0xc8, CART_EXTRAS(zeros), .key = "cart: 1"}, CE_BAD_CART, false);
    bad((struct frame){.opcode = 0xc8, CART_EXTRAS(zeros)}, CE_FORMAT, true);
    bad((struct frame){.opcode = 0xc8, .key = "cart:1"}, CE_FORMAT, true);
    bad((struct frame){.opcode = 0xcf, .key = "cart:1"}, CE_UNKNOWN, false);
}
END_TEST

START_TEST(a_cart_line_key_has_a_limit)
{
    char value[129];
    memset(value, 'x', sizeof value);
    cart_ok(0xc0, "\0\0\0\1\0\0\x80\0", value, 128);
    cart_bad(0xc0, "\0\0\0\1\0\0\x81\0", value, 129, CE_BAD_LINE);
}
END_TEST

/* ---- replies ---- */

/* 81 opcode, key length, extras length, 00, status, body length, opaque, cas */
#define HEAD(opcode, key, extras, status, body)                                                    \
    "\x81" opcode "\0" key extras "\0\0" status "\0\0\0" body "\xde\xad\xbe\xef"
#define NO_CAS "\0\0\0\0\0\0\0\0"

static void check_out(struct buf *out, const char *expected, size_t len)
{
    ck_assert_uint_eq(out->len, len);
    if (len)
        ck_assert_mem_eq(out->bytes, expected, len);
    buf_free(out);
}

static struct request request_of(uint8_t opcode)
{
    for (size_t i = 0; i < OPCODES; i++) {
        if (opcodes[i].opcode == opcode)
            return ok(right_frame(i));
    }
    return ok((struct frame){.opcode = opcode, CART_EXTRAS(zeros), .key = "cart:1"});
}

/* One reply to a request with this opcode. */
#define CHECK_REPLY(opcode, call, expected)                                                        \
    do {                                                                                           \
        struct buf out = {0};                                                                      \
        struct request r = request_of(opcode);                                                     \
        ck_assert_int_eq(call, 0);                                                                 \
        check_out(&out, expected, sizeof(expected) - 1);                                           \
    } while (0)

START_TEST(success_without_a_body)
{
    CHECK_REPLY(0x01, binary_done(&out, &r, 0x0102030405060708),
                HEAD("\x01", "\0", "\0", "\0", "\0") "\1\2\3\4\5\6\7\x08");
    CHECK_REPLY(0x0a, binary_done(&out, &r, 0), HEAD("\x0a", "\0", "\0", "\0", "\0") NO_CAS);
    CHECK_REPLY(0x11, binary_done(&out, &r, 5), "");
    CHECK_REPLY(0x18, binary_done(&out, &r, 0), "");
}
END_TEST

START_TEST(hits)
{
    struct slice v = slice_str("val");
    CHECK_REPLY(0x00, binary_value(&out, &r, 0x01020304, v, 9),
                HEAD("\0", "\0", "\4", "\0", "\7") "\0\0\0\0\0\0\0\x09\1\2\3\4val");
    CHECK_REPLY(0x0d, binary_value(&out, &r, 5, v, 9),
                HEAD("\x0d", "\3", "\4", "\0", "\x0a") "\0\0\0\0\0\0\0\x09\0\0\0\5keyval");
    CHECK_REPLY(0x1e, binary_value(&out, &r, 0, slice_str(""), 0),
                HEAD("\x1e", "\0", "\4", "\0", "\4") NO_CAS "\0\0\0\0");
    CHECK_REPLY(0x1c, binary_touched(&out, &r, 7, 1),
                HEAD("\x1c", "\0", "\4", "\0", "\4") "\0\0\0\0\0\0\0\1\0\0\0\7");
}
END_TEST

START_TEST(misses)
{
    CHECK_REPLY(0x00, binary_miss(&out, &r),
                HEAD("\0", "\0", "\0", "\1", "\x09") NO_CAS "Not found");
    CHECK_REPLY(0x0c, binary_miss(&out, &r), HEAD("\x0c", "\3", "\0", "\1", "\3") NO_CAS "key");
    CHECK_REPLY(0x23, binary_miss(&out, &r), HEAD("\x23", "\3", "\0", "\1", "\3") NO_CAS "key");
    CHECK_REPLY(0x1c, binary_miss(&out, &r),
                HEAD("\x1c", "\0", "\0", "\1", "\x09") NO_CAS "Not found");
    CHECK_REPLY(0x09, binary_miss(&out, &r), "");
    CHECK_REPLY(0x0d, binary_miss(&out, &r), "");
    CHECK_REPLY(0x24, binary_miss(&out, &r), "");
}
END_TEST

START_TEST(numbers_texts_and_stats)
{
    CHECK_REPLY(0x05, binary_number(&out, &r, 0x0102030405060708, 3),
                HEAD("\5", "\0", "\0", "\0", "\x08") "\0\0\0\0\0\0\0\3\1\2\3\4\5\6\7\x08");
    CHECK_REPLY(0x15, binary_number(&out, &r, 1, 3), "");
    CHECK_REPLY(0x0b, binary_text(&out, &r, slice_str("1.6")),
                HEAD("\x0b", "\0", "\0", "\0", "\3") NO_CAS "1.6");
    CHECK_REPLY(0x10, binary_stat(&out, &r, slice_str("pid"), slice_str("12")),
                HEAD("\x10", "\3", "\0", "\0", "\5") NO_CAS "pid12");
    CHECK_REPLY(0x10, binary_stat(&out, &r, slice_str(""), slice_str("")),
                HEAD("\x10", "\0", "\0", "\0", "\0") NO_CAS);
    CHECK_REPLY(0x21, binary_auth_continue(&out, &r, slice_str("abc")),
                HEAD("\x21", "\0", "\0", "\x21", "\3") NO_CAS "abc");
    CHECK_REPLY(0x21, binary_error(&out, CE_AUTH_FAILED, &r),
                HEAD("\x21", "\0", "\0", "\x20", "\x0d") NO_CAS "Auth failure.");
}
END_TEST

START_TEST(not_stored_depends_on_the_command)
{
    CHECK_REPLY(0x12, binary_not_stored(&out, &r),
                HEAD("\x12", "\0", "\0", "\2", "\x14") NO_CAS "Data exists for key.");
    CHECK_REPLY(0x03, binary_not_stored(&out, &r),
                HEAD("\3", "\0", "\0", "\1", "\x09") NO_CAS "Not found");
    CHECK_REPLY(0x19, binary_not_stored(&out, &r),
                HEAD("\x19", "\0", "\0", "\5", "\x0b") NO_CAS "Not stored.");
}
END_TEST

/* Quiet forms answer them, too. */
START_TEST(statuses_and_texts_of_errors)
{
    static const struct {
        int code;
        uint16_t status;
        const char *text;
    } errors[] = {
        {CE_NOTFOUND, 0x01, "Not found"},
        {CE_EXISTS, 0x02, "Data exists for key."},
        {CE_TOO_LARGE, 0x03, "Too large."},
        {CE_FORMAT, 0x04, "Invalid arguments"},
        {CE_NON_NUMERIC, 0x06, "Non-numeric server-side value for incr or decr"},
        {CE_UNKNOWN, 0x81, "Unknown command"},
        {CE_NOMEM, 0x82, "Out of memory"},
        {CE_STORE_NOMEM, 0x82, "Out of memory allocating item"},
        {CE_NODISK, 0x84, "NO_DISK cannot be made as safe as asked"},
        {CE_BUSY, 0x85, "BUSY try again"},
        {CE_NOTSAFE, 0x86, "NOT_SAFE acknowledgement level not reached"},
        {CE_BAD_CART, 0xc0, "BAD_CART not a cart key"},
        {CE_BAD_LINE, 0xc1, "BAD_LINE line key is 1..128 bytes without spaces"},
        {CE_BAD_QTY, 0xc2, "BAD_QTY not a number in range"},
        {CE_BAD_FLAG, 0xc3, "BAD_FLAG unknown or malformed flag"},
        {CE_TOKEN_REUSED, 0xcb, "TOKEN_REUSED the token was used with other arguments"},
    };
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        struct buf out = {0};
        struct request r = request_of(i % 2 ? 0x11 : 0x01);
        size_t len = strlen(errors[i].text);
        ck_assert_int_eq(binary_error(&out, errors[i].code, &r), 0);
        ck_assert_uint_eq(out.len, HEADER + len);
        ck_assert_uint_eq(out.bytes[6], 0);
        ck_assert_uint_eq(out.bytes[7], errors[i].status);
        ck_assert_uint_eq(out.bytes[11], len);
        ck_assert_mem_eq(out.bytes + HEADER, errors[i].text, len);
        buf_free(&out);
    }
}
END_TEST

START_TEST(every_error_of_the_daemon_has_a_status)
{
    struct request r = request_of(0);
    for (int code = -1; code > -CE_NEG_CART_VALUE; code--) {
        struct buf out = {0};
        ck_assert_int_eq(binary_error(&out, code, &r), 0);
        ck_assert_uint_ne(out.bytes[7], 0);
        buf_free(&out);
    }
}
END_TEST

/* ---- replies of carts ---- */

static const struct cart_answer full = {.version = 18,
                                        .cas = 0x1234,
                                        .lines = 2,
                                        .qty = 3,
                                        .amount_known = true,
                                        .amount = -2,
                                        .line_qty = 5,
                                        .ack = 's',
                                        .behind_ms = 300,
                                        .repeated = true};

#define FULL_EXTRAS                                                                                \
    "\0\0\0\0\0\0\0\x12"                                                                           \
    "\0\0\0\0\0\0\x01\x2c"                                                                         \
    "\xff\xff\xff\xff\xff\xff\xff\xfe"                                                             \
    "\0\0\0\0\0\0\0\3"                                                                             \
    "\0\0\0\2"                                                                                     \
    "\0\0\0\5"                                                                                     \
    "\3\3\0\0"
#define VERSION_ONLY "\0\0\0\0\0\0\0\x12" NO_CAS NO_CAS NO_CAS "\0\0\0\0\0\0\0\0\0\0\0\0"
#define FULL_CAS     "\0\0\0\0\0\0\x12\x34"

START_TEST(cart_replies)
{
    CHECK_REPLY(0xc8, binary_cart_status(&out, "HD", &r, &full),
                HEAD("\xc8", "\0", "\x2c", "\0", "\x2c") FULL_CAS FULL_EXTRAS);
    CHECK_REPLY(0xc8, binary_cart_value(&out, slice_str("{}"), &r, &full),
                HEAD("\xc8", "\0", "\x2c", "\0", "\x2e") FULL_CAS FULL_EXTRAS "{}");
    CHECK_REPLY(0xc9, binary_cart_status(&out, "EX", &r, &full),
                HEAD("\xc9", "\0", "\x2c", "\2", "\x40") FULL_CAS VERSION_ONLY
                "Data exists for key.");
    CHECK_REPLY(0xc8, binary_cart_status(&out, "EN", &r, NULL),
                HEAD("\xc8", "\0", "\0", "\1", "\x09") NO_CAS "Not found");
    CHECK_REPLY(0xd9, binary_cart_status(&out, "NF", &r, NULL),
                HEAD("\xd9", "\0", "\0", "\1", "\x09") NO_CAS "Not found");
    CHECK_REPLY(0xd8, binary_cart_status(&out, "EN", &r, NULL), "");
    CHECK_REPLY(0xd9, binary_cart_status(&out, "HD", &r, &full), "");
    CHECK_REPLY(0xd8, binary_cart_value(&out, slice_str(""), &r, &full),
                HEAD("\xd8", "\0", "\x2c", "\0", "\x2c") FULL_CAS FULL_EXTRAS);
}
END_TEST

static void add_frames(Suite *suite)
{
    TCase *frames = tcase_create("frames");
    tcase_add_test(frames, every_opcode);
    tcase_add_test(frames, wrong_parts_end_the_connection);
    tcase_add_test(frames, other_opcodes_cost_their_frame);
    tcase_add_test(frames, extras_are_read);
    tcase_add_test(frames, a_cas_makes_a_store_a_cas);
    tcase_add_test(frames, stats_have_an_argument_and_sasl_has_data);
    tcase_add_test(frames, keys_have_a_limit);
    tcase_add_test(frames, a_body_shorter_than_its_parts_ends_the_connection);
    tcase_add_test(frames, a_value_has_a_limit);
    tcase_add_test(frames, too_large_is_known_early);
    tcase_add_test(frames, sasl_data_has_a_limit_of_its_own);
    tcase_add_test(frames, another_magic_ends_the_connection_without_a_word);
    tcase_add_loop_test(frames, cutting_the_input_anywhere_changes_nothing, 0, CUT_FRAMES);
    suite_add_tcase(suite, frames);
}

static void add_carts(Suite *suite)
{
    TCase *carts = tcase_create("carts");
    tcase_add_test(carts, cart_commands);
    tcase_add_test(carts, all_fields_of_a_cart_write);
    tcase_add_test(carts, a_cart_cas_is_a_condition);
    tcase_add_test(carts, a_cart_read_can_select);
    tcase_add_test(carts, malformed_cart_commands_are_refused);
    tcase_add_test(carts, a_cart_line_key_has_a_limit);
    suite_add_tcase(suite, carts);
}

static void add_replies(Suite *suite)
{
    TCase *replies = tcase_create("replies");
    tcase_add_test(replies, success_without_a_body);
    tcase_add_test(replies, hits);
    tcase_add_test(replies, misses);
    tcase_add_test(replies, numbers_texts_and_stats);
    tcase_add_test(replies, not_stored_depends_on_the_command);
    tcase_add_test(replies, statuses_and_texts_of_errors);
    tcase_add_test(replies, every_error_of_the_daemon_has_a_status);
    tcase_add_test(replies, cart_replies);
    suite_add_tcase(suite, replies);
}

int main(void)
{
    Suite *suite = suite_create("proto_binary");
    add_frames(suite);
    add_carts(suite);
    add_replies(suite);
    return suite_run(suite);
}

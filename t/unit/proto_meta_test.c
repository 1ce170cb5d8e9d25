/* Unit tests of the meta commands: what each line parses to, which error wins, how much of the
 * input a bad one costs, and the bytes of each reply. Expected behaviour is memcached 1.6.18's;
 * t/proto has the transcripts that were replayed against it. */
#include "proto/proto.h"
#include "lib/suite.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#define VALUE_MAX 1000

struct parsed {
    enum parse result;
    struct request request;
    size_t used, want;
    int error;
    bool fatal;
};

static struct parsed parse_bytes(struct slice in)
{
    struct parsed p;
    p.result = meta_parse(in, VALUE_MAX, &p.request, &p.used, &p.want, &p.error, &p.fatal);
    return p;
}

static struct parsed parse(const char *text)
{
    return parse_bytes(slice_str(text));
}

#define ck_slice(s, text)                                                                          \
    ck_assert_msg(slice_eq(s, slice_str(text)), "%.*s is not %s", (int)(s).len,                    \
                  (const char *)(s).bytes, text)

/* CRLF is added. Slices stay valid until the next call. */
static struct parsed parse_line(const char *line)
{
    static char text[20000];
    ck_assert_uint_lt((size_t)snprintf(text, sizeof text, "%s\r\n", line), sizeof text);
    return parse(text);
}

static struct request ok_line(const char *line)
{
    struct parsed p = parse_line(line);
    ck_assert_msg(p.result == PARSE_OK, "%s: %d fault %d", line, p.error, p.request.meta.fault);
    ck_assert_uint_eq(p.used, strlen(line) + 2);
    ck_assert(p.error == 0 && !p.fatal && !p.request.noreply && !p.request.binary.is);
    return p.request;
}

static void check_out(struct buf *out, const char *expected)
{
    ck_assert_msg(slice_eq(buf_slice(out), slice_str(expected)), "%.*s is not %s", (int)out->len,
                  (const char *)out->bytes, expected);
    buf_free(out);
}

/* What the line is answered, by the text of the answer. */
static void bad_line(const char *line, const char *answer)
{
    char expected[128];
    struct buf out = {0};
    struct parsed p = parse_line(line);
    ck_assert_msg(p.result == PARSE_BAD, "%s: %d", line, p.result);
    ck_assert_msg(p.used == strlen(line) + 2, "%s: used %zu", line, p.used);
    ck_assert(!p.fatal && !p.request.noreply && p.request.value.len == 0);
    snprintf(expected, sizeof expected, "%s\r\n", answer);
    ck_assert_int_eq(meta_error(&out, p.error, &p.request), 0);
    check_out(&out, expected);
}

/* As bad_line, for an ms that says 3 bytes of data: they are skipped with it, and their CRLF. */
static void bad_set(const char *flags, const char *answer)
{
    char text[256], expected[128];
    struct buf out = {0};
    snprintf(text, sizeof text, "ms k 3 %s\r\nabc\r\nmn\r\n", flags);
    struct parsed p = parse(text);
    ck_assert_msg(p.result == PARSE_BAD && !p.fatal, "%s: %d", flags, p.result);
    ck_assert_uint_eq(p.used, strlen(text) - 4);
    snprintf(expected, sizeof expected, "%s\r\n", answer);
    ck_assert_int_eq(meta_error(&out, p.error, &p.request), 0);
    check_out(&out, expected);
}

/* `head`, then `count` times `c`, then `tail`. */
static const char *stuffed(const char *head, char c, size_t count, const char *tail)
{
    static char text[20000];
    size_t len = strlen(head);
    ck_assert_uint_lt(len + count + strlen(tail), sizeof text);
    memcpy(text, head, len);
    memset(text + len, c, count);
    memcpy(text + len + count, tail, strlen(tail) + 1);
    return text;
}

/* ---- which lines are meta commands ---- */

START_TEST(a_session_can_tell_meta_commands)
{
    static const char *const yes[] = {"mn\r\n", "mg ",  "ms k 1", "md k\n",
                                      "ma k",   "me\r", "  mg k"};
    static const char *const no[] = {"",      "m",    "mg",  "mx k",  "mgx k",  "m g",
                                     "get k", "MG k", " mn", "mg\tk", "\x80mg "};
    for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++)
        ck_assert_msg(meta_starts(slice_str(yes[i])), "%s", yes[i]);
    for (size_t i = 0; i < sizeof no / sizeof no[0]; i++)
        ck_assert_msg(!meta_starts(slice_str(no[i])), "%s", no[i]);
    ck_assert(meta_starts(slice_of("mn\0", 3)));
    ck_assert(!meta_starts(slice_of("m\0 ", 3)));
}
END_TEST

START_TEST(verbs)
{
    ck_assert_int_eq(ok_line("mn").verb, VERB_MN);
    ck_assert_int_eq(ok_line("mn what ever T T").verb, VERB_MN);
    ck_assert_int_eq(ok_line("mg k").verb, VERB_MG);
    ck_assert_int_eq(ok_line("md k").verb, VERB_MD);
    ck_assert_int_eq(ok_line("ma k").verb, VERB_MA);
    ck_assert_int_eq(ok_line("me k").verb, VERB_ME);
    ck_slice(ok_line("  mg   key  v ").key, "key");
    bad_line("mg", "ERROR");
    bad_line("ms ", "ERROR");
    bad_line("md", "ERROR");
    bad_line("ma", "ERROR");
    bad_line("me", "CLIENT_ERROR bad command line format");
    bad_line("", "ERROR");
    bad_line("mx k", "ERROR");
    bad_line("mgx k", "ERROR");
    bad_line("get k", "ERROR");
    bad_line("mg\tk", "ERROR");
}
END_TEST

START_TEST(a_set_takes_its_data_block)
{
    struct parsed p = parse("ms key 3 T30 F7 c\r\na\nb\r\nmn\r\n");
    ck_assert_int_eq(p.result, PARSE_OK);
    ck_assert_int_eq(p.request.verb, VERB_MS);
    ck_assert_uint_eq(p.used, strlen("ms key 3 T30 F7 c\r\na\nb\r\n"));
    ck_slice(p.request.key, "key");
    ck_slice(p.request.value, "a\nb");
    ck_assert_int_eq(p.request.exptime, 30);
    ck_assert_uint_eq(p.request.flags, 7);
    ck_assert_int_eq(p.request.meta.mode, 'S');
    p = parse("ms key 0\r\n\r\n");
    ck_assert_int_eq(p.result, PARSE_OK);
    ck_assert_uint_eq(p.request.value.len, 0);
    p = parse("ms key 5\r\nab");
    ck_assert_int_eq(p.result, PARSE_MORE);
    ck_assert_uint_eq(p.want, 10 + 5 + 2);
    p = parse("ms key 3 q\r\nabcd\r\n");
    ck_assert_int_eq(p.error, CE_CHUNK);
    ck_assert_uint_eq(p.used, 12 + 3 + 2);
    ck_assert(!p.request.noreply);
}
END_TEST

START_TEST(a_data_block_has_a_limit)
{
    for (size_t len = VALUE_MAX - 1; len <= VALUE_MAX + 1; len++) {
        char text[VALUE_MAX + 64];
        size_t head = (size_t)snprintf(text, sizeof text, "ms k %zu MA\r\n", len);
        memset(text + head, 'v', len);
        memcpy(text + head + len, "\r\n", 2);
        struct parsed p = parse_bytes(slice_of(text, head + len + 2));
        ck_assert_int_eq(p.error, len > VALUE_MAX ? CE_TOO_LARGE : 0);
        ck_assert_uint_eq(p.used, head + len + 2);
        ck_slice(p.request.key, "k");
        ck_assert_uint_eq(p.request.value.len, len > VALUE_MAX ? 0 : len);
    }
    struct parsed p = parse("ms k 2147483645\r\n");
    ck_assert_int_eq(p.error, CE_TOO_LARGE);
    ck_assert_uint_eq(p.used, 17 + 2147483645u + 2);
}
END_TEST

START_TEST(a_length_that_cannot_be_trusted_skips_nothing)
{
    static const char *const lines[] = {
        "ms k",      "ms k -1",         "ms k x",          "ms k S2",
        "ms k 2x",   "ms k 2147483646", "ms k 4294967298", "ms k c 2",
        "ms k -1 Z", "ms k 2.0"};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        bad_line(lines[i], "CLIENT_ERROR bad command line format");
    bad_line("ms k 2 b c f h k l q s t u v C1 D1 F1 I J1 L M",
             "CLIENT_ERROR options flags too long");
    ck_assert_int_eq(parse("ms k +2\r\nab\r\n").result, PARSE_OK);
}
END_TEST

/* ---- flags ---- */

START_TEST(all_flags_together)
{
    struct request r = ok_line("mg a2V5 q b O123 T60 N70 R80 E9 C18446744073709551615 F4294967295 "
                               "J5 D6 MD I v t x");
    const struct meta_flags *f = &r.meta;
    const char *letters = "qbOTNRECFJDMIvtx";
    ck_slice(r.key, "a2V5");
    ck_slice(f->opaque, "123");
    ck_assert_int_eq(r.exptime, 60);
    ck_assert(r.vivify);
    ck_assert_int_eq(r.vivify_exptime, 70);
    ck_assert_int_eq(f->recache, 80);
    ck_assert_uint_eq(f->new_cas, 9);
    ck_assert_uint_eq(r.cas, UINT64_MAX);
    ck_assert_uint_eq(r.flags, UINT32_MAX);
    ck_assert_uint_eq(r.initial, 5);
    ck_assert_uint_eq(r.delta, 6);
    ck_assert_int_eq(f->mode, 'D');
    ck_assert_uint_eq(f->order_count, strlen(letters));
    ck_assert_mem_eq(f->order, letters, strlen(letters));
    uint64_t seen = 0;
    for (const char *letter = letters; *letter; letter++)
        seen |= proto_flag(*letter);
    ck_assert_uint_eq(f->seen, seen);
}
END_TEST

START_TEST(without_flags_the_defaults_stand)
{
    struct request r = ok_line("ma k");
    ck_assert_uint_eq(r.meta.seen, 0);
    ck_assert_uint_eq(r.delta, 1);
    ck_assert_uint_eq(r.initial, 0);
    ck_assert(!r.vivify);
    ck_assert_int_eq(r.meta.mode, 'I');
    ck_assert_int_eq(ok_line("mg k").exptime, 0);
}
END_TEST

START_TEST(each_letter_alone)
{
    char line[16];
    for (int c = 33; c < 256; c++) {
        bool known = c < 127 && strchr("bcfhklqstuvxCDEFIJLMNOPRT", c);
        bool number = known && strchr("CDEFJNRT", c);
        snprintf(line, sizeof line, "mg a2V5 %c%s", c, number ? "1" : c == 'M' ? "S" : "");
        if (known)
            ck_assert_uint_eq(ok_line(line).meta.seen, proto_flag((char)c));
        else
            bad_line(line, c < 127 ? "CLIENT_ERROR invalid flag" : "CLIENT_ERROR duplicate flag");
    }
}
END_TEST

START_TEST(as_many_flags_as_memcached_takes)
{
    ck_assert_uint_eq(ok_line("mg a2V5 b c f h k l q s t u v C1 D1 F1 I J1 L").meta.order_count,
                      PROTO_META_FLAGS);
    bad_line("mg a2V5 b c f h k l q s t u v C1 D1 F1 I J1 L P",
             "CLIENT_ERROR options flags are too long");
    bad_line("md a2V5 b c f h k l q s t u v C1 D1 F1 I J1 L P",
             "CLIENT_ERROR options flags too long");
    bad_line("ma a2V5 b c f h k l q s t u v C1 D1 F1 I J1 L P",
             "CLIENT_ERROR options flags too long");
    bad_line("mg k 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0",
             "CLIENT_ERROR options flags are too long");
    struct parsed p = parse("ms a2V5 1 b c f h k l q s t u v C1 D1 F1 I J1\r\nx\r\n");
    ck_assert_int_eq(p.result, PARSE_OK);
}
END_TEST

START_TEST(faults_of_a_get)
{
    bad_line("mg k v v", "CLIENT_ERROR duplicate flag");
    bad_line("mg k T1 T2", "CLIENT_ERROR duplicate flag");
    bad_line("mg k Tx", "CLIENT_ERROR bad token in command line format");
    bad_line("mg k T", "CLIENT_ERROR bad token in command line format");
    bad_line("mg k N1.5", "CLIENT_ERROR bad token in command line format");
    bad_line("mg k Rx", "CLIENT_ERROR bad token in command line format");
    bad_line("mg k C-1", "CLIENT_ERROR bad token in command line format");
    bad_line("mg k E18446744073709551616", "CLIENT_ERROR bad token in command line format");
    bad_line("mg k Dx", "CLIENT_ERROR invalid numeric delta value");
    bad_line("mg k J-1", "CLIENT_ERROR invalid numeric initial value");
    bad_line("mg k MSS", "CLIENT_ERROR incorrect length for M token");
    bad_line("mg k Fx", "CLIENT_ERROR bad command line format");
    bad_line("mg k F4294967296", "CLIENT_ERROR bad command line format");
    bad_line("mg k b", "CLIENT_ERROR error decoding key");
    bad_line(stuffed("mg k O", 'o', 32, ""), "CLIENT_ERROR opaque token too long");
    ck_assert_uint_eq(ok_line(stuffed("mg k O", 'o', 31, "")).meta.opaque.len, 31);
    ck_assert_int_eq(ok_line("mg k MX").meta.mode, 'X'); /* without meaning for mg */
    ck_assert_int_eq(ok_line("mg k T-1").exptime, -1);
    ck_assert_int_eq(ok_line("mg k T+5").exptime, 5);
}
END_TEST

START_TEST(the_last_fault_is_told_but_unknown_and_repeated_letters_end_the_reading)
{
    bad_line("mg k Tx Dx", "CLIENT_ERROR invalid numeric delta value");
    bad_line("mg k Dx Tx", "CLIENT_ERROR bad token in command line format");
    bad_line("mg k Tx Fx", "CLIENT_ERROR bad token in command line format");
    bad_line("mg k Fx Tx", "CLIENT_ERROR bad token in command line format");
    bad_line("mg k Tx Z Dx", "CLIENT_ERROR invalid flag");
    bad_line("mg k Tx v v Dx", "CLIENT_ERROR duplicate flag");
    bad_line("mg k b Tx", "CLIENT_ERROR bad token in command line format");
}
END_TEST

START_TEST(faults_of_a_set_skip_the_data_block)
{
    bad_set("Z", "CLIENT_ERROR invalid flag");
    bad_set("S3", "CLIENT_ERROR invalid flag");
    bad_set("c c", "CLIENT_ERROR duplicate flag");
    bad_set("Tx", "CLIENT_ERROR bad token in command line format");
    bad_set("Fx", "CLIENT_ERROR bad command line format");
    bad_set("b", "CLIENT_ERROR error decoding key");
    bad_set("MEE", "CLIENT_ERROR incorrect length for M token");
    bad_set("M", "CLIENT_ERROR incorrect length for M token");
    bad_set("MX", "CLIENT_ERROR invalid mode for ms M token");
    bad_set("Me", "CLIENT_ERROR invalid mode for ms M token");
    bad_set(stuffed("O", 'o', 32, ""), "CLIENT_ERROR opaque token too long");
    bad_set(stuffed("O", 'o', 32, " MX"), "CLIENT_ERROR invalid mode for ms M token");
}
END_TEST

START_TEST(md_and_ma_tell_no_more_than_memcached)
{
    static const char *const flags[] = {"Z", "v v", "Tx", "Dx", "b", "MSS", "Fx"};
    char line[32];
    for (size_t i = 0; i < 2 * sizeof flags / sizeof flags[0]; i++) {
        snprintf(line, sizeof line, "%s k %s", i % 2 ? "md" : "ma", flags[i / 2]);
        bad_line(line, "CLIENT_ERROR invalid or duplicate flag");
    }
    bad_line("ma k MX", "CLIENT_ERROR invalid mode for ma M token");
    bad_line("ma k MS", "CLIENT_ERROR invalid mode for ma M token");
    ok_line("md k MX");
    bad_line(stuffed("md k O", 'o', 32, ""), "CLIENT_ERROR opaque token too long");
    bad_line(stuffed("ma k MX O", 'o', 32, ""), "CLIENT_ERROR invalid mode for ma M token");
}
END_TEST

START_TEST(modes_of_set_and_arithmetic)
{
    static const char *const modes = "SEAPR";
    char text[32];
    for (const char *mode = modes; *mode; mode++) {
        snprintf(text, sizeof text, "ms k 1 M%c\r\nx\r\n", *mode);
        ck_assert_int_eq(parse(text).request.meta.mode, *mode);
    }
    ck_assert_int_eq(ok_line("ma k MI").meta.mode, 'I');
    ck_assert_int_eq(ok_line("ma k M+").meta.mode, 'I');
    ck_assert_int_eq(ok_line("ma k MD").meta.mode, 'D');
    ck_assert_int_eq(ok_line("ma k M-").meta.mode, 'D');
}
END_TEST

START_TEST(base64_keys)
{
    ck_slice(ok_line("mg Zm9v b").key, "Zm9v"); /* as sent: decoding is the caller's */
    bad_line("mg Zm9 b", "CLIENT_ERROR error decoding key");
    bad_line("mg Zm9v= b", "CLIENT_ERROR error decoding key");
    bad_line("mg Zh== b", "CLIENT_ERROR error decoding key"); /* bits that decoding drops */
    ck_assert(ok_line("me Zm9v b").meta.seen & proto_flag('b'));
    ck_assert_uint_eq(ok_line("me Zm9v bb").meta.seen, 0);
    ck_assert_uint_eq(ok_line("me Zm9v x b").meta.seen, 0);
    ck_assert(ok_line("me Zm9v b x y").meta.seen & proto_flag('b'));
    bad_line("me Zm9 b", "CLIENT_ERROR bad command line format");
}
END_TEST

START_TEST(keys_have_a_limit)
{
    static const char *const heads[] = {"mg ", "md ", "ma ", "me "};
    for (size_t i = 0; i < 4; i++) {
        ok_line(stuffed(heads[i], 'k', PROTO_KEY_MAX, " "));
        bad_line(stuffed(heads[i], 'k', PROTO_KEY_MAX + 1, " "),
                 "CLIENT_ERROR bad command line format");
    }
    bad_line(stuffed("ms ", 'k', PROTO_KEY_MAX + 1, " 2"), "CLIENT_ERROR bad command line format");
    struct parsed p = parse(stuffed("ms ", 'k', PROTO_KEY_MAX, " 0\r\n\r\n"));
    ck_assert_int_eq(p.result, PARSE_OK);
}
END_TEST

START_TEST(the_order_of_flags_can_be_asked)
{
    struct request r = ok_line("mg k t T30 N5");
    ck_assert(meta_before(&r.meta, 't', 'T'));
    ck_assert(!meta_before(&r.meta, 'T', 't'));
    ck_assert(!meta_before(&r.meta, 'N', 't'));
    ck_assert(!meta_before(&r.meta, 'N', 'N'));
    ck_assert(!meta_before(&r.meta, 'R', 't'));
    ck_assert(!meta_before(&r.meta, 't', 'R'));
}
END_TEST

START_TEST(a_NUL_ends_a_line_and_a_long_line_the_connection)
{
    struct parsed p = parse_bytes(slice_of("mg k\0 v v\r\n", 11));
    ck_assert_int_eq(p.result, PARSE_OK);
    ck_assert_uint_eq(p.used, 11);
    ck_assert_uint_eq(p.request.meta.seen, 0);
    p = parse(stuffed("mg k O", 'o', PROTO_LINE_MAX, "\r\n"));
    ck_assert_int_eq(p.error, CE_LINE_TOO_LONG);
    ck_assert(p.fatal);
}
END_TEST

/* ---- the cut property ---- */

START_TEST(cutting_the_input_anywhere_changes_nothing)
{
    static const char *const inputs[] = {
        "mn\r\n",
        "mg k v t Oabc\nmn\r\n",
        "ms k 3 T5 O1\r\nabc\r\nmn\r\n",
        "ms k 3 Z\r\nabc\r\n",
        "ms k 3\r\nabcd\r\n",
        "ms k 1001 c\r\nabc",
        "ms k -1\r\nabc\r\n",
        "ms k 0\n\r\n",
        "ma k N0 J13 v q\r\n",
        "me k b\r\n",
        "nonsense\r\n",
        "\r\n",
    };
    struct slice whole = slice_str(inputs[_i]);
    struct parsed all = parse_bytes(whole);
    ck_assert_int_ne(all.result, PARSE_MORE);
    bool decided = false;
    for (size_t len = 0; len <= whole.len; len++) {
        uint8_t *copy = malloc(len ? len : 1);
        ck_assert_ptr_nonnull(copy);
        memcpy(copy, whole.bytes, len);
        struct parsed p = parse_bytes(slice_of(copy, len));
        if (p.result == PARSE_MORE) {
            ck_assert(!decided && p.used == 0);
            ck_assert(p.want == 0 || (p.want > len && p.want <= all.used));
        } else {
            decided = true;
            ck_assert_int_eq(p.result, all.result);
            ck_assert_uint_eq(p.used, all.used);
            ck_assert_int_eq(p.error, all.error);
            ck_assert(slice_eq(p.request.key, all.request.key));
            ck_assert(slice_eq(p.request.value, all.request.value));
            ck_assert_mem_eq(p.request.meta.order, all.request.meta.order, PROTO_META_FLAGS);
            ck_assert_int_eq(p.request.meta.fault, all.request.meta.fault);
        }
        free(copy);
    }
    ck_assert(decided);
}
END_TEST
#define CUT_INPUTS 12

/* ---- replies ---- */

static const struct meta_answer answer = {
    .cas = 12, .size = 3, .flags = 7, .ttl_s = 60, .idle_s = 5, .fetched = true};

static void check_status(const char *line, const char *status, const struct meta_answer *a,
                         const char *expected)
{
    struct buf out = {0};
    struct request r = ok_line(line);
    ck_assert_int_eq(meta_status(&out, status, &r, a), 0);
    check_out(&out, expected);
}

static void check_value(const char *line, const char *data, const struct meta_answer *a,
                        const char *expected)
{
    struct buf out = {0};
    struct request r = ok_line(line);
    ck_assert_int_eq(meta_value(&out, slice_str(data), &r, a), 0);
    check_out(&out, expected);
}

START_TEST(hits_return_flags_in_the_order_asked)
{
    check_status("mg k", "HD", &answer, "HD\r\n");
    check_status("mg k s t c f l h O9 k", "HD", &answer, "HD s3 t60 c12 f7 l5 h1 O9 kk\r\n");
    check_status("mg k k O9 h T5 l f q c t s", "HD", &answer, "HD kk O9 h1 l5 f7 c12 t60 s3\r\n");
    check_status("mg Zm9v b k c", "HD", &answer, "HD kZm9v b c12\r\n");
    struct meta_answer forever = {.ttl_s = -1};
    check_status("mg k t h f", "HD", &forever, "HD t-1 h0 f0\r\n");
    check_value("mg k v c", "abc", &answer, "VA 3 c12\r\nabc\r\n");
    check_value("mg k v", "", &answer, "VA 0\r\n\r\n");
    check_value("ma k v t c O1 k f s", "15", &answer, "VA 2 t60 c12 O1 kk\r\n15\r\n");
    check_status("ma k t c", "HD", &answer, "HD t60 c12\r\n");
}
END_TEST

START_TEST(win_and_stale_come_last)
{
    struct meta_answer a = answer;
    a.won = true;
    check_status("mg k t", "HD", &a, "HD t60 W\r\n");
    a.stale = true;
    check_status("mg k t", "HD", &a, "HD t60 X W\r\n");
    a.won = false;
    a.sent = true;
    check_value("mg k v", "a", &a, "VA 1 Z X\r\na\r\n");
    a.stale = false;
    check_status("mg k", "HD", &a, "HD Z\r\n");
    check_status("ma k", "HD", &a, "HD\r\n");
}
END_TEST

START_TEST(misses_and_refusals_return_what_memcached_returns)
{
    struct meta_answer none = {0};
    check_status("mg k t c O1 k", "EN", NULL, "EN O1 kk\r\n");
    check_status("md k O1 k c t", "HD", NULL, "HD O1 kk\r\n");
    check_status("md k k O1", "NF", NULL, "NF kk O1\r\n");
    check_status("md k", "EX", NULL, "EX\r\n");
    check_status("ma k c t k O1", "NF", NULL, "NF kk O1\r\n");
    check_status("ma k c O1", "EX", NULL, "EX O1\r\n");
    check_status("me a2V5 b", "EN", NULL, "EN\r\n");
    struct request r = parse("ms k 3 c O1 k\r\nabc\r\n").request;
    struct buf out = {0};
    ck_assert_int_eq(meta_status(&out, "EX", &r, &none), 0);
    ck_assert_int_eq(meta_status(&out, "NS", &r, &none), 0);
    ck_assert_int_eq(meta_status(&out, "HD", &r, &answer), 0);
    check_out(&out, "EX c0 O1 kk\r\nNS c0 O1 kk\r\nHD c12 O1 kk\r\n");
    r = parse("ms k 3 s t f\r\nabc\r\n").request;
    out = (struct buf){0};
    ck_assert_int_eq(meta_status(&out, "HD", &r, &answer), 0);
    check_out(&out, "HD s3\r\n");
}
END_TEST

START_TEST(q_leaves_out_what_is_expected)
{
    struct meta_answer created = answer;
    created.created = true;
    check_status("mg k q", "EN", NULL, "");
    check_status("mg k q", "HD", &answer, "HD\r\n");
    check_value("mg k q v", "a", &answer, "VA 1\r\na\r\n");
    check_status("md k q", "HD", NULL, "");
    check_status("md k q", "NF", NULL, "NF\r\n");
    check_status("md k q", "EX", NULL, "EX\r\n");
    check_status("ma k q", "HD", &answer, "");
    check_value("ma k q v", "1", &answer, "");
    check_status("ma k q", "NF", NULL, "NF\r\n");
    check_status("ma k q N0", "HD", &created, "HD\r\n");
    check_value("ma k q v N0", "1", &created, "VA 1\r\n1\r\n");
    struct request r = parse("ms k 3 q\r\nabc\r\n").request;
    struct buf out = {0};
    ck_assert_int_eq(meta_status(&out, "HD", &r, &answer), 0);
    ck_assert_int_eq(meta_status(&out, "NS", &r, &answer), 0);
    ck_assert_int_eq(meta_error(&out, CE_STORE_NOMEM, &r), 0);
    check_out(&out, "NS\r\nSERVER_ERROR out of memory storing object\r\n");
}
END_TEST

START_TEST(the_longest_answer_fits)
{
    struct meta_answer most = {.cas = UINT64_MAX,
                               .size = UINT64_MAX,
                               .flags = UINT32_MAX,
                               .ttl_s = INT64_MIN,
                               .idle_s = UINT64_MAX,
                               .fetched = true,
                               .won = true,
                               .stale = true,
                               .sent = true};
    char line[400], expected[600];
    snprintf(line, sizeof line, "mg %0248d b s t c f l h k O%031d", 0, 0);
    snprintf(expected, sizeof expected,
             "HD s%1$s t%2$s c%1$s f4294967295 l%1$s h1 k%3$0248d b O%3$031d Z X W\r\n",
             "18446744073709551615", "-9223372036854775808", 0);
    struct request r = ok_line(line);
    for (size_t before = 0; before < 1000; before++) { /* so that no growth leaves room to spare */
        struct buf out = {0};
        ck_assert_int_eq(buf_append(&out, line, before % 100), 0);
        while (out.len < before)
            ck_assert_int_eq(buf_append_str(&out, "x"), 0);
        ck_assert_int_eq(meta_status(&out, "HD", &r, &most), 0);
        buf_drop_front(&out, before);
        check_out(&out, expected);
    }
}
END_TEST

START_TEST(debugging)
{
    struct buf out = {0};
    struct request r = ok_line("me key");
    struct meta_debug debug = {
        .ttl_s = -1, .idle_s = 4, .cas = 9, .size = 63, .slab_class = 1, .fetched = true};
    ck_assert_int_eq(meta_debug(&out, &r, &debug), 0);
    debug.ttl_s = 30;
    debug.fetched = false;
    ck_assert_int_eq(meta_debug(&out, &r, &debug), 0);
    check_out(&out, "ME key exp=-1 la=4 cas=9 fetch=yes cls=1 size=63\r\n"
                    "ME key exp=-30 la=4 cas=9 fetch=no cls=1 size=63\r\n");
}
END_TEST

static void add_lines(Suite *suite)
{
    TCase *lines = tcase_create("lines");
    tcase_add_test(lines, a_session_can_tell_meta_commands);
    tcase_add_test(lines, verbs);
    tcase_add_test(lines, a_set_takes_its_data_block);
    tcase_add_test(lines, a_data_block_has_a_limit);
    tcase_add_test(lines, a_length_that_cannot_be_trusted_skips_nothing);
    tcase_add_test(lines, base64_keys);
    tcase_add_test(lines, keys_have_a_limit);
    tcase_add_test(lines, a_NUL_ends_a_line_and_a_long_line_the_connection);
    tcase_add_loop_test(lines, cutting_the_input_anywhere_changes_nothing, 0, CUT_INPUTS);
    suite_add_tcase(suite, lines);
}

static void add_flags(Suite *suite)
{
    TCase *flags = tcase_create("flags");
    tcase_add_test(flags, all_flags_together);
    tcase_add_test(flags, without_flags_the_defaults_stand);
    tcase_add_test(flags, each_letter_alone);
    tcase_add_test(flags, as_many_flags_as_memcached_takes);
    tcase_add_test(flags, faults_of_a_get);
    tcase_add_test(flags, the_last_fault_is_told_but_unknown_and_repeated_letters_end_the_reading);
    tcase_add_test(flags, faults_of_a_set_skip_the_data_block);
    tcase_add_test(flags, md_and_ma_tell_no_more_than_memcached);
    tcase_add_test(flags, modes_of_set_and_arithmetic);
    tcase_add_test(flags, the_order_of_flags_can_be_asked);
    suite_add_tcase(suite, flags);
}

static void add_replies(Suite *suite)
{
    TCase *replies = tcase_create("replies");
    tcase_add_test(replies, hits_return_flags_in_the_order_asked);
    tcase_add_test(replies, win_and_stale_come_last);
    tcase_add_test(replies, misses_and_refusals_return_what_memcached_returns);
    tcase_add_test(replies, q_leaves_out_what_is_expected);
    tcase_add_test(replies, the_longest_answer_fits);
    tcase_add_test(replies, debugging);
    suite_add_tcase(suite, replies);
}

int main(void)
{
    Suite *suite = suite_create("proto_meta");
    add_lines(suite);
    add_flags(suite);
    add_replies(suite);
    return suite_run(suite);
}

/* Unit tests of the cart commands' arguments and flags, of base64, and of the bytes of each reply.
 */
#include "lib/proto_lines.h"
#include "lib/suite.h"

/* ---- cart commands ---- */

START_TEST(cart_arguments)
{
    struct request r = ok_line("cadd cart:u42 SKU-1;red -3");
    ck_assert_int_eq(r.verb, VERB_CADD);
    ck_slice(r.key, "cart:u42");
    ck_slice(r.line, "SKU-1;red");
    ck_slice(r.number, "-3");
    ck_assert_uint_eq(r.cart.seen, 0);
    ck_assert_uint_eq(r.cart.order_count, 0);
    r = ok_line("cset cart:u42 a junk"); /* what a number is, is not the parser's to say */
    ck_assert_int_eq(r.verb, VERB_CSET);
    ck_slice(r.number, "junk");
    r = ok_line("crem cart:u42 a");
    ck_assert_int_eq(r.verb, VERB_CREM);
    ck_slice(r.line, "a");
    ck_assert_int_eq(ok_line("cget cart:u42").verb, VERB_CGET);
    ck_assert_int_eq(ok_line("cdel cart:u42").verb, VERB_CDEL);
    ck_assert(!ok_line("cadd cart:u42 noreply 1").noreply);
}
END_TEST

START_TEST(missing_cart_arguments_are_a_format_error)
{
    static const char *const lines[] = {"cadd", "cadd cart:1", "cadd cart:1 a", "cset cart:1 a",
                                        "crem", "crem cart:1", "cget",          "cdel "};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        bad_line(lines[i], CE_FORMAT);
    ck_slice(bad_line("cadd cart:1 a", CE_FORMAT).key, "cart:1");
    bad_line("crem cart:1 a 5", CE_BAD_FLAG);
    bad_line("cget cart:1 SKU", CE_BAD_FLAG);
}
END_TEST

START_TEST(line_keys_have_a_limit)
{
    check_key("cadd cart:1 ", 127, " 1\r\n", 0);
    check_key("cadd cart:1 ", 128, " 1\r\n", 0);
    check_key("cadd cart:1 ", 129, " 1\r\n", CE_BAD_LINE);
    check_key("crem cart:1 ", 128, "\r\n", 0);
    check_key("crem cart:1 ", 129, "\r\n", CE_BAD_LINE);
    bad_line("crem cart:1 a\tb", CE_BAD_LINE);
    bad_line("crem cart:1 a\x7f", CE_BAD_LINE);
    bad_line("cdel cart:\t1", CE_BAD_CART);
    ck_slice(ok_line("crem cart:1 \xc3\xa4").line, "\xc3\xa4");
}
END_TEST

START_TEST(all_flags_of_a_write)
{
    struct request r =
        ok_line("cset Y2FydDox a 2 Itok V18446744073709551615 P1999 UEUR Gs1 EZm9v L "
                "T3600 Dquorum b q v c n t a x d l k Oop");
    const struct cart_flags *f = &r.cart;
    ck_slice(f->token, "tok");
    ck_assert_uint_eq(f->if_cas, UINT64_MAX);
    ck_assert_int_eq(f->price, 1999);
    ck_assert_str_eq(f->currency, "EUR");
    ck_slice(f->shop, "s1");
    ck_slice(f->ext_b64, "Zm9v");
    ck_assert_uint_eq(f->life_s, 3600);
    ck_assert_int_eq(f->ack, 'q');
    ck_slice(f->opaque, "op");
    ck_slice(r.key, "Y2FydDox");
    ck_assert_uint_eq(f->order_count, 10);
    ck_assert_mem_eq(f->order, "vcntaxdlkO", 10);
    for (const char *c = "IVPUGELTDbqvcntaxdlkO"; *c; c++)
        ck_assert(f->seen & proto_flag(*c));
    ck_assert(!(f->seen & proto_flag('s')));
    ck_assert(!r.noreply);
}
END_TEST

START_TEST(return_flags_keep_their_order)
{
    struct request r = ok_line("cadd cart:1 a 1 O7 l q x k I1 v");
    ck_assert_uint_eq(r.cart.order_count, 5);
    ck_assert_mem_eq(r.cart.order, "Olxkv", 5);
}
END_TEST

START_TEST(flags_of_a_read)
{
    struct request r = ok_line("cget cart:1 s c N18 v n");
    ck_assert(r.cart.seen & proto_flag('s'));
    ck_assert(r.cart.seen & proto_flag('c'));
    ck_assert_uint_eq(r.cart.since_version, 18);
    ck_assert_uint_eq(r.cart.order_count, 2); /* c selects here, it asks for nothing back */
    ck_assert_mem_eq(r.cart.order, "vn", 2);
}
END_TEST

START_TEST(flags_without_meaning_are_refused)
{
    static const char *const lines[] = {
        "cadd cart:1 a 1 s",       "cadd cart:1 a 1 N1",  "cadd cart:1 a 1 Z",
        "cadd cart:1 a 1 noreply", "cset cart:1 a 1 1",   "crem cart:1 a P1",
        "crem cart:1 a L",         "crem cart:1 a s",     "cdel cart:1 x",
        "cdel cart:1 T5",          "cget cart:1 I1",      "cget cart:1 V1",
        "cget cart:1 x",           "cget cart:1 d",       "cget cart:1 Dram",
        "cadd cart:1 a 1 \xff",    "cadd cart:1 a 1 v v", "cadd cart:1 a 1 I1 I1",
        "cget cart:1 c c"};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        bad_line(lines[i], CE_BAD_FLAG);
}
END_TEST

START_TEST(malformed_flags_are_refused)
{
    static const char *const flags[] = {"I",
                                        "V",
                                        "V-1",
                                        "Vx",
                                        "V18446744073709551616",
                                        "P",
                                        "P-1",
                                        "P1.5",
                                        "P9223372036854775808",
                                        "U",
                                        "UEU",
                                        "UEURO",
                                        "Ueur",
                                        "UE1R",
                                        "EZm9",
                                        "EZm9v=",
                                        "EZh==",
                                        "T",
                                        "T-1",
                                        "T4294967296",
                                        "D",
                                        "Dfoo",
                                        "DRAM",
                                        "Dsyncs",
                                        "O",
                                        "b1",
                                        "q1",
                                        "v1",
                                        "k1",
                                        "L1",
                                        "d1",
                                        "l1",
                                        "P+1",
                                        "T 1"};
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        char text[80];
        snprintf(text, sizeof text, "cadd cart:1 a 1 %s", flags[i]);
        bad_line(text, CE_BAD_FLAG);
    }
    ck_assert_uint_eq(ok_line("cadd cart:1 a 1 P9223372036854775807").cart.price, INT64_MAX);
    ck_assert_uint_eq(ok_line("cadd cart:1 a 1 T4294967295").cart.life_s, UINT32_MAX);
    ck_assert_uint_eq(ok_line("cadd cart:1 a 1 E G").cart.ext_b64.len, 0);
}
END_TEST

START_TEST(flag_texts_have_limits)
{
    static const struct {
        const char *head;
        size_t max;
    } flags[] = {{"cadd cart:1 a 1 I", 32}, {"cadd cart:1 a 1 O", 32}, {"cadd cart:1 a 1 G", 32}};
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        check_key(flags[i].head, flags[i].max - 1, "\r\n", 0);
        check_key(flags[i].head, flags[i].max, "\r\n", 0);
        check_key(flags[i].head, flags[i].max + 1, "\r\n", CE_BAD_FLAG);
    }
}
END_TEST

START_TEST(an_error_keeps_what_was_seen)
{
    struct request r = bad_line("cadd cart:1 a 1 Oa Z k", CE_BAD_FLAG);
    ck_assert_int_eq(r.verb, VERB_CADD);
    ck_slice(r.key, "cart:1");
    ck_assert_uint_eq(r.cart.order_count, 2);
    ck_assert_mem_eq(r.cart.order, "Ok", 2);
    ck_slice(r.cart.opaque, "a");
    r = bad_line("crem cart:1 a\tb Ox", CE_BAD_LINE);
    ck_slice(r.cart.opaque, "x");
    ck_slice(bad_line("crem cart:1 a Ox Oy", CE_BAD_FLAG).cart.opaque, "x");
    bad_line("crem cart:1 a\tb Z", CE_BAD_LINE); /* the first error counts */
}
END_TEST

/* ---- replies ---- */

static void check_out(struct buf *out, const char *expected)
{
    ck_assert_msg(is(buf_slice(out), expected), "%.*s is not %s", (int)out->len,
                  (const char *)out->bytes, expected);
    buf_free(out);
}

static const struct cart_answer answer_full = {.version = 18,
                                               .cas = UINT64_MAX,
                                               .lines = 2,
                                               .qty = 5,
                                               .amount_known = true,
                                               .amount = 3998,
                                               .line_qty = 3,
                                               .ack = 's',
                                               .behind_ms = 120};

START_TEST(classic_replies)
{
    struct buf out = {0};
    ck_assert_int_eq(text_line(&out, "STORED"), 0);
    ck_assert_int_eq(text_error(&out, CE_UNKNOWN), 0);
    ck_assert_int_eq(text_error(&out, CE_FORMAT), 0);
    ck_assert_int_eq(text_error(&out, CE_NOTFOUND), 0);
    ck_assert_int_eq(text_number(&out, UINT64_MAX), 0);
    ck_assert_int_eq(text_stat(&out, "curr_items", "5"), 0);
    check_out(&out, "STORED\r\nERROR\r\nCLIENT_ERROR bad command line format\r\nNOT_FOUND\r\n"
                    "18446744073709551615\r\nSTAT curr_items 5\r\n");
}
END_TEST

START_TEST(a_reply_without_room_leaves_nothing)
{
    struct buf out = {0};
    struct slice huge = slice_of("x", SIZE_MAX / 2);
    struct request r = ok_line("cget cart:1");
    ck_assert_int_eq(text_line(&out, "STORED"), 0);
    ck_assert_int_eq(text_value(&out, slice_str("k"), 0, huge, false, 0), CE_NOMEM);
    ck_assert_int_eq(text_cart_value(&out, huge, &r, &answer_full), CE_NOMEM);
    ck_assert_int_eq(proto_base64_encode(huge, &out), CE_NOMEM);
    check_out(&out, "STORED\r\n");
}
END_TEST

START_TEST(values)
{
    struct buf out = {0};
    ck_assert_int_eq(text_value(&out, slice_str("k"), 7, slice_str("a\r\nb"), false, 9), 0);
    ck_assert_int_eq(text_value(&out, slice_str("k"), UINT32_MAX, slice_str(""), true, UINT64_MAX),
                     0);
    check_out(&out, "VALUE k 7 4\r\na\r\nb\r\nVALUE k 4294967295 0 18446744073709551615\r\n\r\n");
}
END_TEST

START_TEST(done_answers_in_the_order_asked)
{
    struct buf out = {0};
    struct request r = ok_line("cadd cart:1 a 1 l d x a t n c v k Oq7");
    ck_assert_int_eq(text_cart_status(&out, "HD", &r, &answer_full), 0);
    check_out(&out, "HD l120 dsync x3 a3998 t5 n2 c18446744073709551615 v18 kcart:1 Oq7\r\n");
    struct cart_answer answer = answer_full;
    answer.repeated = true;
    answer.amount_known = false;
    r = ok_line("cadd cart:1 a 1 a v I1");
    ck_assert_int_eq(text_cart_status(&out, "HD", &r, &answer), 0);
    check_out(&out, "HD v18 R\r\n");
    r = ok_line("cadd Y2FydDox a 1 b k v");
    ck_assert_int_eq(text_cart_status(&out, "HD", &r, &answer_full), 0);
    check_out(&out, "HD kY2FydDox b v18\r\n");
}
END_TEST

START_TEST(levels_are_spelled_out)
{
    static const char *const words[] = {"HD dram\r\n", "HD dos\r\n", "HD dsync\r\n",
                                        "HD dquorum\r\n"};
    struct request r = ok_line("cdel cart:1 d");
    for (size_t i = 0; i < 4; i++) {
        struct buf out = {0};
        struct cart_answer answer = {.ack = (uint8_t) "rosq"[i]};
        ck_assert_int_eq(text_cart_status(&out, "HD", &r, &answer), 0);
        check_out(&out, words[i]);
    }
}
END_TEST

START_TEST(refusals_echo_only_k_and_O)
{
    struct buf out = {0};
    struct request r = ok_line("cset cart:1 a 1 V1 n k x Oz c");
    ck_assert_int_eq(text_cart_status(&out, "EX", &r, &answer_full), 0);
    ck_assert_int_eq(text_cart_status(&out, "NF", &r, NULL), 0);
    ck_assert_int_eq(text_cart_status(&out, "EN", &r, NULL), 0);
    check_out(&out,
              "EX v18 c18446744073709551615 kcart:1 Oz\r\nNF kcart:1 Oz\r\nEN kcart:1 Oz\r\n");
    r = ok_line("cset cart:1 a 1 V1");
    ck_assert_int_eq(text_cart_status(&out, "EX", &r, &(struct cart_answer){0}), 0);
    check_out(&out, "EX v0 c0\r\n");
    r = bad_line("cadd cart:1 a 1 Oa Z k q", CE_BAD_FLAG);
    ck_assert_int_eq(text_cart_error(&out, CE_BAD_FLAG, &r), 0);
    check_out(&out, "CLIENT_ERROR BAD_FLAG unknown or malformed flag Oa kcart:1\r\n");
}
END_TEST

START_TEST(q_silences_only_good_news_and_a_missing_cart)
{
    struct buf out = {0};
    struct request write = ok_line("cadd cart:1 a 1 q v"), read = ok_line("cget cart:1 q");
    ck_assert_int_eq(text_cart_status(&out, "HD", &write, &answer_full), 0);
    ck_assert_int_eq(text_cart_status(&out, "EN", &read, NULL), 0);
    check_out(&out, "");
    ck_assert_int_eq(text_cart_status(&out, "NF", &write, NULL), 0);
    ck_assert_int_eq(text_cart_status(&out, "EN", &write, NULL), 0);
    ck_assert_int_eq(text_cart_value(&out, slice_str("{}"), &read, &answer_full), 0);
    check_out(&out, "NF\r\nEN\r\nVA 2\r\n{}\r\n");
}
END_TEST

START_TEST(documents_carry_flags)
{
    struct buf out = {0};
    struct request r = ok_line("cget cart:1 v k");
    ck_assert_int_eq(text_cart_value(&out, slice_str("{\"a\":1}"), &r, &answer_full), 0);
    check_out(&out, "VA 7 v18 kcart:1\r\n{\"a\":1}\r\n");
}
END_TEST

START_TEST(the_longest_answer_fits)
{
    char line[400], expected[1000], led_to[PROTO_KEY_MAX];
    struct buf out = {0};
    struct cart_answer most = {.version = UINT64_MAX,
                               .cas = UINT64_MAX,
                               .lines = UINT32_MAX,
                               .qty = UINT64_MAX,
                               .amount_known = true,
                               .amount = INT64_MIN,
                               .line_qty = INT64_MIN,
                               .ack = 'q',
                               .behind_ms = UINT64_MAX,
                               .repeated = true,
                               .skipped = UINT32_MAX,
                               .clamped = UINT32_MAX,
                               .moved_to = slice_of(led_to, sizeof led_to)};
    char as[400]; /* 250 zero bytes are 83 groups of AAAA and one byte, AA== */
    memset(led_to, 0, sizeof led_to);
    memset(as, 'A', sizeof as);
    snprintf(line, sizeof line, "cadd %0250d a 1 b v c n t a x d l k O%032d", 0, 0);
    snprintf(expected, sizeof expected,
             "HD v%1$s c%1$s n4294967295 t%1$s a%2$s x%2$s dquorum l%1$s k%3$0250d b O%3$032d "
             "s4294967295 z4294967295 m%4$.334s== R\r\n",
             "18446744073709551615", "-9223372036854775808", 0, as);
    struct request r = ok_line(line);
    ck_assert_int_eq(text_cart_status(&out, "HD", &r, &most), 0);
    check_out(&out, expected);
}
END_TEST

/* RFC 4648, section 10. */
static const char *const base64_vectors[][2] = {{"", ""},
                                                {"f", "Zg=="},
                                                {"fo", "Zm8="},
                                                {"foo", "Zm9v"},
                                                {"foob", "Zm9vYg=="},
                                                {"fooba", "Zm9vYmE="},
                                                {"foobar", "Zm9vYmFy"},
                                                {"\xff\xfe\xfb", "//77"}};

START_TEST(base64_both_ways)
{
    for (size_t i = 0; i < sizeof base64_vectors / sizeof base64_vectors[0]; i++) {
        struct buf out = {0};
        ck_assert_int_eq(proto_base64_encode(slice_str(base64_vectors[i][0]), &out), 0);
        check_out(&out, base64_vectors[i][1]);
        ck_assert_int_eq(buf_append_str(&out, "x"), 0);
        ck_assert_int_eq(proto_base64_decode(slice_str(base64_vectors[i][1]), &out), 0);
        buf_drop_front(&out, 1);
        check_out(&out, base64_vectors[i][0]);
    }
}
END_TEST

START_TEST(base64_is_strict)
{
    static const char *const bad[] = {"Z",     "Zg",   "Zg=",  "Zg===",    "Zm9v\n", "Zm 9",
                                      "====",  "Z===", "=Zg=", "Zg==Zg==", "Zh==",   "Zm9=",
                                      "Zm8=x", "Zm-_", "Zg=g", "=="};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct buf out = {0};
        ck_assert_msg(proto_base64_decode(slice_str(bad[i]), &out) == CE_BAD_FLAG, "%s", bad[i]);
        check_out(&out, "");
    }
}
END_TEST

START_TEST(what_a_row_of_the_inbox_may_say)
{
    static const struct {
        const char *text;
        int code;
    } bad[] = {{"", CE_UNKNOWN},
               {"get cart:1", CE_UNKNOWN},
               {"cget", CE_UNKNOWN},
               {"chst", CE_UNKNOWN},
               {"cmrg cart:2", CE_UNKNOWN},
               {"cbat 7", CE_UNKNOWN},
               {"cadd a", CE_FORMAT},
               {"cadd a 1 It", CE_BAD_FLAG},
               {"cadd a 1 Dram", CE_BAD_FLAG},
               {"cadd a 1 b", CE_BAD_FLAG},
               {"cadd a 1 q", CE_BAD_FLAG},
               {"cadd a 1 x", CE_BAD_FLAG},
               {"cdel T5", CE_BAD_FLAG},
               {"crem a\tb", CE_BAD_LINE}};
    struct request r;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        ck_assert_msg(text_inbox_command(slice_str(bad[i].text), &r) == bad[i].code, "%s",
                      bad[i].text);
    ck_assert_int_eq(text_inbox_command(slice_str("cadd SKU-1 -3 P5 UEUR V7 T60 L\r\n"), &r), 0);
    ck_assert_int_eq(r.verb, VERB_CADD);
    ck_slice(r.line, "SKU-1");
    ck_slice(r.number, "-3");
    ck_assert_int_eq(r.cart.price, 5);
    ck_assert_uint_eq(r.cart.if_cas, 7);
    ck_assert_uint_eq(r.cart.life_s, 60);
    ck_assert_int_eq(text_inbox_command(slice_str("cdel V9 "), &r), 0);
    ck_assert_int_eq(r.verb, VERB_CDEL);
    ck_assert_int_eq(text_inbox_command(slice_str("cadd a 1\r\ncrem b\r\n"), &r), 0);
    ck_assert_int_eq(r.verb, VERB_CBAT);
    ck_slice(r.value, "cadd a 1\r\ncrem b");
}
END_TEST

static void add_carts(Suite *suite)
{
    TCase *carts = tcase_create("carts");
    tcase_add_test(carts, cart_arguments);
    tcase_add_test(carts, missing_cart_arguments_are_a_format_error);
    tcase_add_test(carts, what_a_row_of_the_inbox_may_say);
    tcase_add_test(carts, line_keys_have_a_limit);
    tcase_add_test(carts, all_flags_of_a_write);
    tcase_add_test(carts, return_flags_keep_their_order);
    tcase_add_test(carts, flags_of_a_read);
    tcase_add_test(carts, flags_without_meaning_are_refused);
    tcase_add_test(carts, malformed_flags_are_refused);
    tcase_add_test(carts, flag_texts_have_limits);
    tcase_add_test(carts, an_error_keeps_what_was_seen);
    suite_add_tcase(suite, carts);
}

static void add_replies(Suite *suite)
{
    TCase *replies = tcase_create("replies");
    tcase_add_test(replies, classic_replies);
    tcase_add_test(replies, values);
    tcase_add_test(replies, a_reply_without_room_leaves_nothing);
    tcase_add_test(replies, done_answers_in_the_order_asked);
    tcase_add_test(replies, levels_are_spelled_out);
    tcase_add_test(replies, refusals_echo_only_k_and_O);
    tcase_add_test(replies, q_silences_only_good_news_and_a_missing_cart);
    tcase_add_test(replies, documents_carry_flags);
    tcase_add_test(replies, the_longest_answer_fits);
    tcase_add_test(replies, base64_both_ways);
    tcase_add_test(replies, base64_is_strict);
    suite_add_tcase(suite, replies);
}

int main(void)
{
    Suite *suite = suite_create("proto_cart");
    add_carts(suite);
    add_replies(suite);
    return suite_run(suite);
}

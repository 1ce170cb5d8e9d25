/* Unit tests of proto: what each line parses to, where every limit lies, that cutting the input
 * anywhere changes nothing. Expected behaviour of the classic commands is memcached 1.6.18's;
 * t/proto has the transcripts that were replayed against it. */
#include "lib/proto_lines.h"
#include "lib/suite.h"

/* ---- the cut property ---- */

static void same_slice(struct slice a, const void *a_base, struct slice b, const void *b_base)
{
    ck_assert_uint_eq(a.len, b.len);
    if (a.bytes && b.bytes)
        ck_assert_int_eq(a.bytes - (const uint8_t *)a_base, b.bytes - (const uint8_t *)b_base);
    ck_assert_int_eq(a.bytes == NULL, b.bytes == NULL);
}

static void same_request(const struct request *a, const void *a_base, const struct request *b,
                         const void *b_base)
{
    ck_assert_int_eq(a->verb, b->verb);
    ck_assert_int_eq(a->noreply, b->noreply);
    same_slice(a->key, a_base, b->key, b_base);
    same_slice(a->keys, a_base, b->keys, b_base);
    same_slice(a->value, a_base, b->value, b_base);
    same_slice(a->line, a_base, b->line, b_base);
    same_slice(a->number, a_base, b->number, b_base);
    same_slice(a->arg, a_base, b->arg, b_base);
    ck_assert_uint_eq(a->flags, b->flags);
    ck_assert_int_eq(a->exptime, b->exptime);
    ck_assert_uint_eq(a->cas, b->cas);
    ck_assert_uint_eq(a->delta, b->delta);
    ck_assert_uint_eq(a->cart.seen, b->cart.seen);
    ck_assert_mem_eq(a->cart.order, b->cart.order, sizeof a->cart.order);
}

/* Parses every prefix from memory of exactly its size: MORE until there is enough, and from then on
 * the result of the whole. `want` never asks for more than the whole needs. */
static void check_cuts(const char *text)
{
    struct slice whole = slice_str(text);
    struct parsed all = parse_bytes(whole);
    ck_assert_int_ne(all.result, PARSE_MORE);
    bool decided = false;
    for (size_t len = 0; len <= whole.len; len++) {
        uint8_t *copy = malloc(len ? len : 1);
        ck_assert_ptr_nonnull(copy);
        memcpy(copy, whole.bytes, len);
        struct parsed p = parse_bytes(slice_of(copy, len));
        if (p.result == PARSE_MORE) {
            ck_assert_msg(!decided, "%s: MORE again at %zu", text, len);
            ck_assert_uint_eq(p.used, 0);
            ck_assert(p.want == 0 || (p.want > len && p.want <= all.used));
        } else {
            decided = true;
            ck_assert_int_eq(p.result, all.result);
            ck_assert_uint_eq(p.used, all.used);
            ck_assert_int_eq(p.error, all.error);
            ck_assert_int_eq(p.fatal, all.fatal);
            same_request(&p.request, copy, &all.request, whole.bytes);
        }
        free(copy);
    }
}

START_TEST(cutting_the_input_anywhere_changes_nothing)
{
    static const char *const inputs[] = {
        "get a\r\n",
        "get a b  c \n",
        "gat 10 a b\r\nget x\r\n",
        "set k 1 2 3\r\nabc\r\n",
        "set k 1 2 3\nabc\r\nget k\r\n",
        "set k 1 2 0\r\n\r\n",
        "set k 1 2 3\r\nabcd\r\n",
        "set k 1 2 3\r\n\r\n\r\nx",
        "set k 1 2 1001\r\nabc",
        "set k 1 2 -1\r\nabc\r\n",
        "cas k 1 2 3 4 noreply\r\na\nb\r\n",
        "incr k 1\r\n",
        "\r\n",
        "\n",
        "  \r\n",
        "nonsense and more\r\n",
        "flush_all 5 noreply\r\n",
        "cadd cart:u42 SKU-1;red 2 I1 v x k Oabc\r\n",
        "cget cart:u42 k Oabc ?\r\n",
        "quit\r\n",
    };
    check_cuts(inputs[_i]);
}
END_TEST
#define CUT_INPUTS 20

START_TEST(a_long_line_is_cut_alike)
{
    check_cuts(stuffed("set ", 'x', PROTO_LINE_MAX, ""));
    check_cuts(stuffed("set ", 'x', PROTO_LINE_MAX, "\r\nget a\r\n"));
}
END_TEST

START_TEST(a_data_block_tells_how_much_it_wants)
{
    struct parsed p = parse("set k 0 0 5\r\nab");
    ck_assert_int_eq(p.result, PARSE_MORE);
    ck_assert_uint_eq(p.want, 13 + 5 + 2);
    ck_assert_uint_eq(p.used, 0);
    p = parse("set k 0 0 5");
    ck_assert_int_eq(p.result, PARSE_MORE);
    ck_assert_uint_eq(p.want, 0);
    p = parse_bytes(slice_of(NULL, 0));
    ck_assert_int_eq(p.result, PARSE_MORE);
}
END_TEST

/* ---- lines ---- */

START_TEST(both_line_endings_end_a_line)
{
    struct parsed p = parse("get a\nget b\r\n");
    ck_assert_int_eq(p.result, PARSE_OK);
    ck_assert_uint_eq(p.used, 6);
    ck_slice(p.request.key, "a");
    p = parse("get b\r\nget a\r\n");
    ck_assert_uint_eq(p.used, 7);
    ck_slice(p.request.key, "b");
    p = parse("get b\r\r\n"); /* one CR belongs to the ending, the other to the key */
    ck_slice(p.request.key, "b\r");
}
END_TEST

START_TEST(unknown_verbs_are_ERROR)
{
    static const char *const lines[] = {
        "",     " ",    "g",      "GET a", "Get a", "gett a",          "ge a",           "\r",
        "mg a", "sets", "get\ta", "cadds", "\t",    "CADD cart:1 a 1", "cnix cart:1 a 1"};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        struct request r = bad_line(lines[i], CE_UNKNOWN);
        ck_assert_int_eq(r.verb, VERB_COUNT_);
        ck_assert(!r.noreply);
    }
}
END_TEST

START_TEST(spaces_separate_and_do_not_count)
{
    struct request r = ok_line("  get  a   b ");
    ck_slice(r.key, "a");
    struct slice key;
    ck_assert(text_next_key(&r.keys, &key));
    ck_slice(key, "b");
    ck_assert(!text_next_key(&r.keys, &key));
    ck_slice(ok_line("get a\tb").key, "a\tb");
}
END_TEST

START_TEST(a_NUL_ends_a_classic_line)
{
    struct parsed p = parse_bytes(slice_of("get a\0b c\r\n", 11));
    ck_assert_int_eq(p.result, PARSE_OK);
    ck_assert_uint_eq(p.used, 11);
    ck_slice(p.request.key, "a");
    ck_assert_uint_eq(p.request.keys.len, 0);
    p = parse_bytes(slice_of("\0get a\r\n", 8));
    ck_assert_int_eq(p.error, CE_UNKNOWN);
}
END_TEST

START_TEST(a_NUL_in_a_cart_line_is_refused)
{
    struct parsed p = parse_bytes(slice_of("cadd cart:1 a 1\0 V5\r\n", 21));
    ck_assert_int_eq(p.result, PARSE_BAD);
    ck_assert_int_eq(p.error, CE_FORMAT);
    ck_assert_uint_eq(p.used, 21);
}
END_TEST

/* The line without its '\n' may have `max` bytes. */
static void check_line_limit(const char *head, size_t max, const char *end)
{
    static char text[PROTO_GET_LINE_MAX + 16];
    for (size_t len = max - 1; len <= max + 1; len++) {
        memset(text, 'x', sizeof text);
        memcpy(text, head, strlen(head));
        memcpy(text + len - (strlen(end) - 1), end, strlen(end));
        struct parsed p = parse_bytes(slice_of(text, len + 1));
        ck_assert_int_eq(p.fatal, len > max);
        ck_assert_int_eq(p.error == CE_LINE_TOO_LONG, len > max);
        ck_assert_int_ne(p.result, PARSE_MORE);
        ck_assert_uint_eq(p.used, len > max ? max + 1 : len + 1);
    }
}

START_TEST(a_line_has_a_limit_and_a_get_line_another)
{
    check_line_limit("version ", PROTO_LINE_MAX, "\r\n");
    check_line_limit("version ", PROTO_LINE_MAX, "\n");
    check_line_limit("get ", PROTO_GET_LINE_MAX, "\r\n");
    check_line_limit("gets ", PROTO_GET_LINE_MAX, "\n");
    check_line_limit("gat 5 ", PROTO_GET_LINE_MAX, "\n");
    check_line_limit("gats 5 ", PROTO_GET_LINE_MAX, "\n");
    check_line_limit("getx ", PROTO_LINE_MAX, "\n");
    check_line_limit("cget ", PROTO_LINE_MAX, "\n");
}
END_TEST

START_TEST(a_line_without_end_is_MORE_up_to_its_limit)
{
    static char text[PROTO_LINE_MAX + 1];
    memset(text, 'x', sizeof text);
    ck_assert_int_eq(parse_bytes(slice_of(text, PROTO_LINE_MAX)).result, PARSE_MORE);
    struct parsed p = parse_bytes(slice_of(text, PROTO_LINE_MAX + 1));
    ck_assert_int_eq(p.result, PARSE_BAD);
    ck_assert(p.fatal);
    memcpy(text, "get ", 4);
    ck_assert_int_eq(parse_bytes(slice_of(text, PROTO_LINE_MAX + 1)).result, PARSE_MORE);
}
END_TEST

START_TEST(a_long_get_line_may_have_100_leading_spaces)
{
    static char text[PROTO_LINE_MAX + 1];
    for (size_t spaces = 99; spaces <= 101; spaces++) {
        memset(text, 'x', sizeof text);
        memset(text, ' ', spaces);
        memcpy(text + spaces, "get ", 4);
        struct parsed p = parse_bytes(slice_of(text, sizeof text));
        ck_assert_int_eq(p.result, spaces <= 100 ? PARSE_MORE : PARSE_BAD);
    }
}
END_TEST

START_TEST(a_get_line_holds_thousands_of_keys)
{
    static char text[PROTO_GET_LINE_MAX];
    size_t len = 0, keys = 0;
    len += (size_t)snprintf(text, sizeof text, "gets");
    for (; keys < 10000; keys++)
        len += (size_t)snprintf(text + len, sizeof text - len, " key%zu", keys);
    len += (size_t)snprintf(text + len, sizeof text - len, "\r\n");
    struct parsed p = parse_bytes(slice_of(text, len));
    ck_assert_int_eq(p.result, PARSE_OK);
    ck_assert_uint_eq(p.used, len);
    ck_slice(p.request.key, "key0");
    struct slice key = p.request.key;
    size_t seen = 1;
    while (text_next_key(&p.request.keys, &key))
        seen++;
    ck_assert_uint_eq(seen, keys);
    ck_slice(key, "key9999");
}
END_TEST

/* ---- classic commands ---- */

START_TEST(get_family)
{
    ck_assert_int_eq(ok_line("get a").verb, VERB_GET);
    ck_assert_int_eq(ok_line("gets a b").verb, VERB_GETS);
    struct request r = ok_line("gat 10 a b");
    ck_assert_int_eq(r.verb, VERB_GAT);
    ck_assert_int_eq(r.exptime, 10);
    ck_slice(r.key, "a");
    ck_slice(r.keys, " b");
    r = ok_line("gats -1 a");
    ck_assert_int_eq(r.verb, VERB_GATS);
    ck_assert_int_eq(r.exptime, -1);
    r = ok_line("get a noreply");
    ck_assert(!r.noreply);
    ck_slice(r.keys, " noreply");
    ck_assert_uint_eq(ok_line("gat 0").key.len, 0);
    bad_line("get", CE_UNKNOWN);
    bad_line("gets ", CE_UNKNOWN);
    bad_line("gat", CE_UNKNOWN);
    bad_line("gat x a", CE_EXPTIME);
    bad_line("gat a", CE_EXPTIME);
}
END_TEST

START_TEST(storage_commands)
{
    static const struct {
        const char *name;
        enum verb verb;
    } verbs[] = {{"set", VERB_SET},       {"add", VERB_ADD},         {"replace", VERB_REPLACE},
                 {"append", VERB_APPEND}, {"prepend", VERB_PREPEND}, {"cas", VERB_CAS}};
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        char text[64];
        bool cas = verbs[i].verb == VERB_CAS;
        snprintf(text, sizeof text, "%s key 7 -9 3%s\r\na\nb\r\n", verbs[i].name,
                 cas ? " 18446744073709551615" : "");
        struct parsed p = parse(text);
        ck_assert_int_eq(p.result, PARSE_OK);
        ck_assert_uint_eq(p.used, strlen(text));
        ck_assert_int_eq(p.request.verb, verbs[i].verb);
        ck_slice(p.request.key, "key");
        ck_assert_uint_eq(p.request.flags, 7);
        ck_assert_int_eq(p.request.exptime, -9);
        ck_slice(p.request.value, "a\nb");
        ck_assert_uint_eq(p.request.cas, cas ? UINT64_MAX : 0);
        ck_assert(!p.request.noreply);
        snprintf(text, sizeof text, "%s key 7 -9 3%s noreply\r\na\nb\r\n", verbs[i].name,
                 cas ? " 1" : "");
        ck_assert(parse(text).request.noreply);
        snprintf(text, sizeof text, "%s key 7 -9%s", verbs[i].name, cas ? " 1" : "");
        ck_assert_int_eq(bad_line(text, CE_UNKNOWN).verb, verbs[i].verb);
        snprintf(text, sizeof text, "%s key 7 -9 3%s noreply noreply", verbs[i].name,
                 cas ? " 1" : "");
        ck_assert(!bad_line(text, CE_UNKNOWN).noreply);
    }
}
END_TEST

START_TEST(bad_storage_lines_cost_only_the_line)
{
    static const char *const lines[] = {
        "set k x 0 1",   "set k 4294967296 0 1", "set k -1 0 1",
        "set k 1.0 0 1", "set k 0 x 1",          "set k 0 0 x",
        "set k 0 0 -1",  "set k 0 0 2147483646", "set k 0 0 4294967297",
        "cas k 0 0 1 x", "cas k 0 0 1 -1",       "set k 0x1 0 1",
        "set k + 0 1",   "set k +-1 0 1",        "set k 0 9223372036854775808 1"};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        struct request r = bad_line(lines[i], CE_FORMAT);
        ck_slice(r.key, "k");
        ck_assert_uint_eq(r.value.len, 0);
        char with_noreply[64];
        snprintf(with_noreply, sizeof with_noreply, "%s noreply", lines[i]);
        ck_assert(bad_line(with_noreply, CE_FORMAT).noreply);
    }
    ck_assert(bad_line("cas k 0 0 1 noreply", CE_FORMAT).noreply);
}
END_TEST

START_TEST(numbers_are_read_as_strtol_does)
{
    struct parsed p = parse("set k +7 \t5 2\tx\r\nab\r\n");
    ck_assert_int_eq(p.result, PARSE_OK);
    ck_assert_uint_eq(p.request.flags, 7);
    ck_assert_int_eq(p.request.exptime, 5);
    ck_slice(p.request.value, "ab");
    ck_assert_uint_eq(parse("set k 4294967295 0 0\r\n\r\n").request.flags, UINT32_MAX);
    ck_assert_uint_eq(ok_line("incr k +010").delta, 10);
}
END_TEST

START_TEST(a_data_block_has_a_limit)
{
    char text[VALUE_MAX + 64];
    for (size_t len = VALUE_MAX - 1; len <= VALUE_MAX + 1; len++) {
        size_t head = (size_t)snprintf(text, sizeof text, "set k 0 0 %zu noreply\r\n", len);
        memset(text + head, 'v', len);
        memcpy(text + head + len, "\r\n", 3);
        struct parsed p = parse_bytes(slice_of(text, head + len + 2));
        ck_assert_int_eq(p.result, len > VALUE_MAX ? PARSE_BAD : PARSE_OK);
        ck_assert_int_eq(p.error, len > VALUE_MAX ? CE_TOO_LARGE : 0);
        ck_assert_uint_eq(p.used, head + len + 2);
        ck_assert_uint_eq(p.request.value.len, len > VALUE_MAX ? 0 : len);
        ck_slice(p.request.key, "k");
        ck_assert(p.request.noreply && !p.fatal);
    }
}
END_TEST

START_TEST(too_large_is_known_before_the_data_comes)
{
    struct parsed p = parse("set k 0 0 2147483645\r\n");
    ck_assert_int_eq(p.result, PARSE_BAD);
    ck_assert_int_eq(p.error, CE_TOO_LARGE);
    ck_assert_uint_eq(p.used, 22 + 2147483645u + 2);
    ck_assert_int_eq(p.request.verb, VERB_SET);
}
END_TEST

START_TEST(a_block_not_followed_by_CRLF_is_skipped_with_two_bytes)
{
    static const char *const inputs[] = {"set k 0 0 3\r\nabcdefg\r\n", "set k 0 0 3\r\nabcd\r\n",
                                         "set k 0 0 3\r\nabc\nx\r\n", "set k 0 0 3\r\nab\r\nget"};
    for (size_t i = 0; i < sizeof inputs / sizeof inputs[0]; i++) {
        struct parsed p = parse(inputs[i]);
        ck_assert_int_eq(p.result, PARSE_BAD);
        ck_assert_int_eq(p.error, CE_CHUNK);
        ck_assert_uint_eq(p.used, 13 + 3 + 2);
    }
}
END_TEST

START_TEST(keys_have_a_limit)
{
    static const char *const lines[][2] = {{"get ", "\r\n"},
                                           {"get a b ", "\r\n"},
                                           {"gets ", " c\r\n"},
                                           {"gat 1 ", "\r\n"},
                                           {"gats 1 a ", "\r\n"},
                                           {"set ", " 0 0 1\r\nx\r\n"},
                                           {"cas ", " 0 0 1 1\r\nx\r\n"},
                                           {"add ", " 0 0 0\r\n\r\n"},
                                           {"delete ", "\r\n"},
                                           {"delete ", " noreply\r\n"},
                                           {"incr ", " 1\r\n"},
                                           {"decr ", " 1\r\n"},
                                           {"touch ", " 1\r\n"},
                                           {"cadd ", " l 1\r\n"},
                                           {"crem ", " l\r\n"},
                                           {"cget ", "\r\n"},
                                           {"cdel ", "\r\n"}};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        check_key(lines[i][0], PROTO_KEY_MAX - 1, lines[i][1], 0);
        check_key(lines[i][0], PROTO_KEY_MAX, lines[i][1], 0);
        check_key(lines[i][0], PROTO_KEY_MAX + 1, lines[i][1], CE_FORMAT);
    }
}
END_TEST

START_TEST(delete_knows_zero_and_noreply)
{
    ck_slice(ok_line("delete k").key, "k");
    ck_assert(!ok_line("delete noreply").noreply);
    ck_assert(!ok_line("delete k 0").noreply);
    ck_assert(ok_line("delete k noreply").noreply);
    ck_assert(ok_line("delete k 0 noreply").noreply);
    ck_assert(!bad_line("delete k 1", CE_FORMAT).noreply);
    ck_assert(!bad_line("delete k 00", CE_FORMAT).noreply);
    ck_assert(!bad_line("delete k 0 0", CE_FORMAT).noreply);
    ck_assert(!bad_line("delete k noreply 0", CE_FORMAT).noreply);
    ck_assert(bad_line("delete k 1 noreply", CE_FORMAT).noreply);
    ck_assert(bad_line("delete k noreply noreply", CE_FORMAT).noreply);
    bad_line("delete", CE_UNKNOWN);
    bad_line("delete k 0 0 noreply", CE_UNKNOWN);
}
END_TEST

START_TEST(incr_decr_touch)
{
    struct request r = ok_line("incr k 18446744073709551615");
    ck_assert_int_eq(r.verb, VERB_INCR);
    ck_assert_uint_eq(r.delta, UINT64_MAX);
    r = ok_line("decr k 1 noreply");
    ck_assert_int_eq(r.verb, VERB_DECR);
    ck_assert(r.noreply);
    ck_assert(!ok_line("incr k 1 junk").noreply);
    bad_line("incr k", CE_UNKNOWN);
    bad_line("incr k 1 2 3", CE_UNKNOWN);
    bad_line("incr k 18446744073709551616", CE_DELTA);
    bad_line("decr k -1", CE_DELTA);
    bad_line("incr k 1x", CE_DELTA);
    ck_assert(bad_line("incr k noreply", CE_DELTA).noreply);
    r = ok_line("touch k -5");
    ck_assert_int_eq(r.verb, VERB_TOUCH);
    ck_assert_int_eq(r.exptime, -5);
    ck_assert(ok_line("touch k 5 noreply").noreply);
    bad_line("touch k", CE_UNKNOWN);
    bad_line("touch k 1 2 3", CE_UNKNOWN);
    bad_line("touch k 1.5", CE_EXPTIME);
    bad_line("touch k +-5", CE_EXPTIME);
    ck_assert(bad_line("touch k x noreply", CE_EXPTIME).noreply);
}
END_TEST

START_TEST(flush_all_verbosity_version_stats_quit)
{
    struct request r = ok_line("flush_all");
    ck_assert_int_eq(r.verb, VERB_FLUSH_ALL);
    ck_assert(!r.noreply && r.exptime == 0);
    ck_assert_int_eq(ok_line("flush_all 9").exptime, 9);
    ck_assert(ok_line("flush_all noreply").noreply);
    r = ok_line("flush_all -1 noreply");
    ck_assert(r.noreply && r.exptime == -1);
    bad_line("flush_all x", CE_EXPTIME);
    ck_assert(bad_line("flush_all noreply noreply", CE_EXPTIME).noreply);
    bad_line("flush_all 1 2 3", CE_UNKNOWN);
    r = ok_line("verbosity 2");
    ck_assert_int_eq(r.verb, VERB_VERBOSITY);
    ck_assert_uint_eq(r.delta, 2);
    ck_assert(ok_line("verbosity 2 noreply").noreply);
    bad_line("verbosity", CE_UNKNOWN);
    bad_line("verbosity 1 2 3", CE_UNKNOWN);
    bad_line("verbosity x", CE_FORMAT);
    ck_assert(bad_line("verbosity noreply", CE_FORMAT).noreply);
    ck_assert_int_eq(ok_line("version").verb, VERB_VERSION);
    ck_assert_int_eq(ok_line("version and more").verb, VERB_VERSION);
    r = ok_line("quit noreply");
    ck_assert(r.verb == VERB_QUIT && !r.noreply);
    r = ok_line("stats");
    ck_assert(r.verb == VERB_STATS && r.arg.len == 0);
    ck_slice(ok_line("stats  cachedump 1  2 ").arg, "cachedump 1  2");
}
END_TEST

START_TEST(management_commands_leave_their_words_to_who_runs_them)
{
    static const struct {
        const char *line;
        enum verb verb;
        const char *arg;
        bool noreply;
    } rows[] = {
        {"cache_memlimit  64 ", VERB_CACHE_MEMLIMIT, "64", false},
        {"cache_memlimit 64 noreply ", VERB_CACHE_MEMLIMIT, "64", true},
        {"cache_memlimit noreply", VERB_CACHE_MEMLIMIT, "", true},
        {"cache_memlimit noreply 64", VERB_CACHE_MEMLIMIT, "noreply 64", false},
        {"shutdown", VERB_SHUTDOWN, "", false},
        {"shutdown graceful noreply", VERB_SHUTDOWN, "graceful noreply", false},
        {"lru_crawler metadump all noreply", VERB_LRU_CRAWLER, "metadump all noreply", false},
        {"lru tune 1 2 3  4", VERB_LRU, "tune 1 2 3  4", false},
        {"lru 1 2 3 4 5 6 7 8 noreply", VERB_LRU, "1 2 3 4 5 6 7 8", true},
        {"lru 1 2 3 4 5 6 noreply 8", VERB_LRU, "1 2 3 4 5 6 noreply 8", false},
        {"slabs automove 1 noreply", VERB_SLABS, "automove 1", true},
        {"slabs automove noreply", VERB_SLABS, "automove", true},
        {"slabs reassign 1 noreply", VERB_SLABS, "reassign 1 noreply", false},
        {"slabs noreply", VERB_SLABS, "noreply", false},
        {"watch", VERB_WATCH, "", false},
        {"watch noreply", VERB_WATCH, "", true},
        {"watch fetchers mutations", VERB_WATCH, "fetchers mutations", false},
        {"refresh_certs noreply", VERB_REFRESH_CERTS, "noreply", false},
        {"stats noreply", VERB_STATS, "noreply", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct request r = ok_line(rows[i].line);
        ck_assert_msg(r.verb == rows[i].verb && r.noreply == rows[i].noreply, "%s", rows[i].line);
        ck_slice(r.arg, rows[i].arg);
    }
    bad_line("cache_memlimit", CE_UNKNOWN);
    bad_line("cache_memlimit 1 2 3", CE_UNKNOWN);
    bad_line("lru", CE_UNKNOWN);
    bad_line("lru_crawler", CE_UNKNOWN);
    bad_line("slabs", CE_UNKNOWN);
    ck_assert_int_eq(ok_line("bget k").verb, VERB_GET);
}
END_TEST

static void add_lines(Suite *suite)
{
    TCase *cuts = tcase_create("cuts");
    tcase_add_loop_test(cuts, cutting_the_input_anywhere_changes_nothing, 0, CUT_INPUTS);
    tcase_add_test(cuts, a_long_line_is_cut_alike);
    tcase_add_test(cuts, a_data_block_tells_how_much_it_wants);
    suite_add_tcase(suite, cuts);
    TCase *lines = tcase_create("lines");
    tcase_add_test(lines, both_line_endings_end_a_line);
    tcase_add_test(lines, unknown_verbs_are_ERROR);
    tcase_add_test(lines, spaces_separate_and_do_not_count);
    tcase_add_test(lines, a_NUL_ends_a_classic_line);
    tcase_add_test(lines, a_NUL_in_a_cart_line_is_refused);
    tcase_add_test(lines, a_line_has_a_limit_and_a_get_line_another);
    tcase_add_test(lines, a_line_without_end_is_MORE_up_to_its_limit);
    tcase_add_test(lines, a_long_get_line_may_have_100_leading_spaces);
    tcase_add_test(lines, a_get_line_holds_thousands_of_keys);
    suite_add_tcase(suite, lines);
}

/* The keys of a long line were gone through again for each part of it. */
START_TEST(a_line_that_is_run_again_has_its_keys_looked_at_once)
{
    char line[2 * PROTO_KEY_MAX];
    struct request first, again;
    size_t used, used_again, want;
    int error;
    bool fatal;
    struct slice good = slice_str("gat 10 a bb ccc\r\nget d\r\n");
    ck_assert_int_eq(text_parse(good, 100, &first, &used, &want, &error, &fatal), PARSE_OK);
    ck_assert_int_eq(text_parse_again(good, 100, &again, &used_again, &want, &error, &fatal),
                     PARSE_OK);
    ck_assert_uint_eq(used, used_again);
    same_request(&first, good.bytes, &again, good.bytes);

    snprintf(line, sizeof line, "get a %0*d\r\n", PROTO_KEY_MAX + 1, 0);
    ck_assert_int_eq(text_parse(slice_str(line), 100, &first, &used, &want, &error, &fatal),
                     PARSE_BAD);
    ck_assert_int_eq(text_parse_again(slice_str(line), 100, &again, &used, &want, &error, &fatal),
                     PARSE_OK);
}
END_TEST

static void add_classic(Suite *suite)
{
    TCase *classic = tcase_create("classic");
    tcase_add_test(classic, get_family);
    tcase_add_test(classic, storage_commands);
    tcase_add_test(classic, bad_storage_lines_cost_only_the_line);
    tcase_add_test(classic, numbers_are_read_as_strtol_does);
    tcase_add_test(classic, a_data_block_has_a_limit);
    tcase_add_test(classic, too_large_is_known_before_the_data_comes);
    tcase_add_test(classic, a_block_not_followed_by_CRLF_is_skipped_with_two_bytes);
    tcase_add_test(classic, keys_have_a_limit);
    tcase_add_test(classic, a_line_that_is_run_again_has_its_keys_looked_at_once);
    tcase_add_test(classic, delete_knows_zero_and_noreply);
    tcase_add_test(classic, incr_decr_touch);
    tcase_add_test(classic, flush_all_verbosity_version_stats_quit);
    tcase_add_test(classic, management_commands_leave_their_words_to_who_runs_them);
    suite_add_tcase(suite, classic);
}

int main(void)
{
    Suite *suite = suite_create("proto");
    add_lines(suite);
    add_classic(suite);
    return suite_run(suite);
}

/* l3: what the SQLite driver writes is read back with the plain SQLite API, column by column. */
#include "lib/l3_fixture.h"
#include "lib/suite.h"

#include <stdio.h>
#include <stdlib.h>

#define ALL_OF_CART                                                                                \
    "SELECT cart_id, state, currency, version, cas, lines_count, qty, amount, checked_qty, "       \
    "checked_amount, $time(updated_at), $time(expires_at), rev, $hex(image) FROM cart ORDER BY "   \
    "cart_id"
#define ALL_OF_LINES                                                                               \
    "SELECT cart_id, line, sku, qty, checked, add_price, shop, $hex(ext), $time(added_at), "       \
    "$time(updated_at) FROM cart_line ORDER BY cart_id, line"

/* ---- content --------------------------------------------------------------- */

START_TEST(all_columns_are_written)
{
    open_l3();
    struct l3_line lines[] = {
        {.line = slice_str("SKU-1;red;XL"),
         .sku = slice_str("SKU-1"),
         .shop = slice_str("shop-7"),
         .ext = slice_of("\x00\xff", 2),
         .qty = 3,
         .has_price = true,
         .price = 1999,
         .checked = true,
         .added_us = T0_US - 1000000,
         .updated_us = T0_US},
        {.line = slice_str("SKU-2"),
         .sku = slice_str("SKU-2"),
         .qty = 1,
         .added_us = 0,
         .updated_us = 999},
    };
    struct l3_cart cart = {
        .key = slice_str("cart:u1"),
        .state = L3_ACTIVE,
        .version = 42,
        .cas = 1234567890123456789ull,
        .currency = "CHF",
        .lines_count = 2,
        .qty = 4,
        .checked_qty = 3,
        .amount_known = false,
        .amount = 77, /* not known: must not be written */
        .checked_amount_known = true,
        .checked_amount = 5997,
        .updated_us = T0_US,
        .expires_us = T0_US + 86400ull * 1000000,
        .image = slice_of("\x01\x00\xfe", 3),
        .lines = lines,
    };
    ck_assert_int_eq(l3_flush(l3, &cart, 1), 0);
    ck_assert_int_eq(cart.outcome, L3_DONE);
    ck_assert_uint_eq(cart.rev, 1);
    expect(ALL_OF_CART, "cart:u1|0|CHF|42|1234567890123456789|2|4|~|3|5997|" T0_TEXT
                        "|2023-11-15T22:13:20.123Z|1|0100FE\n");
    expect(ALL_OF_LINES,
           "cart:u1|SKU-1;red;XL|SKU-1|3|1|1999|shop-7|00FF|2023-11-14T22:13:19.123Z|" T0_TEXT "\n"
           "cart:u1|SKU-2|SKU-2|1|0|~|||1970-01-01T00:00:00.000Z|1970-01-01T00:00:00.000Z\n");
    if (kind == ON_SQLITE)
        expect("SELECT typeof(cart_id), typeof(cas), typeof(image), typeof(version) FROM cart",
               "text|text|blob|integer\n");

    cart.amount_known = true;
    cart.checked_amount_known = false;
    cart.expires_us = 0;
    memcpy(cart.currency, "", 1);
    cart.lines_count = 1;
    ck_assert_int_eq(l3_flush(l3, &cart, 1), 0);
    ck_assert_uint_eq(cart.rev, 2);
    expect(ALL_OF_CART, "cart:u1|0||42|1234567890123456789|1|4|77|3|~|" T0_TEXT "|~|2|0100FE\n");
    expect("SELECT line FROM cart_line", "SKU-1;red;XL\n");
}
END_TEST

START_TEST(every_field_of_a_line_is_updated)
{
    open_l3();
    struct l3_line line = make_line("L", 1);
    flush_one(make_cart("cart:1", 0, &line, 1), L3_DONE);
    uint32_t rev = 1;
    struct l3_line before = line;
#define CHANGE(change, column, right)                                                              \
    line = before;                                                                                 \
    change;                                                                                        \
    flush_one(make_cart("cart:1", rev++, &line, 1), L3_DONE);                                      \
    expect("SELECT " column " FROM cart_line", right "\n")
    CHANGE(line.sku = slice_str("other"), "sku", "other");
    CHANGE(line.qty = 7, "qty", "7");
    CHANGE(line.checked = true, "checked", "1");
    CHANGE((line.has_price = true, line.price = 0), "add_price", "0"); /* NULL -> 0 */
    CHANGE(line.has_price = false, "add_price", "~");                  /* and back */
    CHANGE(line.shop = slice_str("s"), "shop", "s");
    CHANGE(line.ext = slice_str("e"), "$hex(ext)", "65");
    CHANGE(line.added_us = 0, "$time(added_at)", "1970-01-01T00:00:00.000Z");
    CHANGE(line.updated_us = 0, "$time(updated_at)", "1970-01-01T00:00:00.000Z");
#undef CHANGE
}
END_TEST

START_TEST(only_lines_that_differ_are_touched)
{
    open_l3();
    struct l3_line lines[] = {make_line("A", 1), make_line("B", 2), make_line("C", 3),
                              make_line("E", 5)};
    flush_one(make_cart("cart:1", 0, lines, 4), L3_DONE);
    flush_one(make_cart("cart:2", 0, lines, 4), L3_DONE);
    execute_raw("CREATE TABLE seen (what TEXT);"
                "CREATE TRIGGER i AFTER INSERT ON cart_line BEGIN"
                " INSERT INTO seen VALUES ('put ' || new.cart_id || new.line); END;"
                "CREATE TRIGGER u AFTER UPDATE ON cart_line BEGIN"
                " INSERT INTO seen VALUES ('change ' || new.cart_id || new.line); END;"
                "CREATE TRIGGER d AFTER DELETE ON cart_line BEGIN"
                " INSERT INTO seen VALUES ('delete ' || old.cart_id || old.line); END;");
    /* A stays, B and E change, C goes, D comes; the order of lines does not matter. */
    struct l3_line next[] = {make_line("E", 6), make_line("D", 4), make_line("B", 9),
                             make_line("A", 1)};
    flush_one(make_cart("cart:1", 1, next, 4), L3_DONE);
    expect("SELECT what FROM seen ORDER BY what",
           "change cart:1B\nchange cart:1E\ndelete cart:1C\nput cart:1D\n");
    expect("SELECT cart_id, line, qty FROM cart_line ORDER BY 1, 2",
           "cart:1|A|1\ncart:1|B|9\ncart:1|D|4\ncart:1|E|6\n"
           "cart:2|A|1\ncart:2|B|2\ncart:2|C|3\ncart:2|E|5\n");
}
END_TEST

START_TEST(a_deleted_cart_keeps_its_row)
{
    open_l3();
    struct l3_line lines[] = {make_line("A", 1), make_line("B", 2)};
    struct l3_cart cart = make_cart("cart:1", 0, lines, 2);
    cart.qty = 3;
    cart.amount_known = true;
    cart.amount = 100;
    flush_one(cart, L3_DONE);
    struct l3_cart deleted = make_cart("cart:1", 1, NULL, 0);
    deleted.state = L3_DELETED;
    deleted.image = slice_str("tombstone");
    deleted.amount_known = true;
    flush_one(deleted, L3_DONE);
    expect("SELECT state, lines_count, qty, amount, checked_qty, rev, $hex(image) FROM cart",
           "3|0|0|0|0|2|746F6D6273746F6E65\n");
    expect("SELECT count(*) FROM cart_line", "0\n");
    /* and it can come back */
    flush_one(make_cart("cart:1", 2, lines, 2), L3_DONE);
    expect("SELECT state, lines_count, rev FROM cart", "0|2|3\n");
    expect("SELECT count(*) FROM cart_line", "2\n");
}
END_TEST

START_TEST(extreme_values_survive)
{
    open_l3();
    struct l3_line line = make_line("00123;X", 1000000);
    line.has_price = true;
    line.price = INT64_MAX;
    struct l3_cart cart = make_cart("cart:1", 0, &line, 1);
    cart.cas = UINT64_MAX;
    cart.version = UINT64_MAX; /* above SQL's BIGINT: the greatest it holds */
    cart.qty = UINT32_MAX;
    cart.amount_known = cart.checked_amount_known = true;
    cart.amount = INT64_MAX;
    cart.checked_amount = INT64_MIN;
    cart.updated_us = UINT64_MAX; /* a clock gone mad must not stop the daemon */
    cart.image = slice_of(NULL, 0);
    flush_one(cart, L3_DONE);
    expect("SELECT cas, version, qty, amount, checked_amount, length(image) FROM cart",
           "18446744073709551615|9223372036854775807|4294967295|9223372036854775807|"
           "-9223372036854775808|0\n");
    expect("SELECT line, sku, add_price FROM cart_line WHERE sku = '00123'",
           "00123;X|00123|9223372036854775807\n");
    if (kind == ON_SQLITE)
        expect("SELECT typeof(c.image), typeof(l.sku) FROM cart c, cart_line l", "blob|text\n");
    else
        expect("SELECT $time(updated_at) FROM cart", "9999-12-31T23:59:59.999Z\n");
}
END_TEST

START_TEST(keys_are_any_bytes)
{
    static const struct {
        const char *bytes;
        const char *type; /* by RFC 3629 */
    } keys[] = {
        {"plain", "text"},
        {"\xc3\xa9", "text"},         /* U+00E9 */
        {"\xe2\x82\xac", "text"},     /* U+20AC */
        {"\xf0\x9f\x9b\x92", "text"}, /* U+1F6D2 */
        {"\xf4\x8f\xbf\xbf", "text"}, /* U+10FFFF */
        {"\xed\x9f\xbf", "text"},     /* U+D7FF */
        {"\xee\x80\x80", "text"},     /* U+E000 */
        {"\x80", "blob"},             /* continuation alone */
        {"\xc3", "blob"},             /* cut short */
        {"a\xe2\x82", "blob"},        /* cut short */
        {"\xc0\xaf", "blob"},         /* overlong */
        {"\xc1\xbf", "blob"},         /* overlong */
        {"\xe0\x9f\xbf", "blob"},     /* overlong */
        {"\xf0\x8f\xbf\xbf", "blob"}, /* overlong */
        {"\xed\xa0\x80", "blob"},     /* surrogate */
        {"\xf4\x90\x80\x80", "blob"}, /* above U+10FFFF */
        {"\xf5\x80\x80\x80", "blob"}, /* above U+10FFFF */
        {"\xff", "blob"},             /* never */
        {"\xe2\x28\xa1", "blob"},     /* no continuation */
        {"ok\xf0\x9f\x9b\x92\xfe", "blob"},
    };
    open_l3();
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        struct l3_line lines[] = {make_line(keys[i].bytes, 5), make_line("other", 6)};
        flush_one(make_cart(keys[i].bytes, 0, lines, 2), L3_DONE);
        struct buf image = {0};
        uint32_t rev = 0;
        ck_assert_int_eq(l3_load(l3, slice_str(keys[i].bytes), &image, &rev), 0);
        ck_assert_uint_eq(rev, 1);
        buf_free(&image);

        char wanted[128];
        sqlite3 *db = open_raw();
        snprintf(wanted, sizeof wanted, "%s|%s|%s|1\n", keys[i].type, keys[i].type, keys[i].type);
        ck_assert_str_eq(
            query_on(db, "SELECT typeof(c.cart_id), typeof(line), typeof(sku), "
                         "CAST(c.cart_id AS BLOB) = CAST(line AS BLOB) "
                         "FROM cart c JOIN cart_line USING (cart_id) WHERE cart_line.qty = 5"),
            wanted);
        sqlite3_close(db);

        flush_one(make_cart(keys[i].bytes, 1, &lines[1], 1), L3_DONE); /* the line goes */
        expect("SELECT line FROM cart_line", "other\n");
        flush_one(make_cart(keys[i].bytes, 2, NULL, 0), L3_DONE);
        execute_raw("DELETE FROM cart");
    }
}
END_TEST

/* Text columns of servers hold text only: what is none stands in hex digits. */
START_TEST(keys_that_are_no_text_stand_in_hex)
{
    static const struct {
        struct slice key;
        const char *column;
    } keys[] = {
        {{(const uint8_t *)"plain", 5}, "plain"},
        {{(const uint8_t *)"\xc3\xa9'\"\\%_", 7}, "\xc3\xa9'\"\\%_"},
        {{(const uint8_t *)"\xf0\x9f\x9b\x92", 4}, "\xf0\x9f\x9b\x92"},
        {{(const uint8_t *)"a\xff", 2}, "\\x61ff"},
        {{(const uint8_t *)"a\0", 2}, "\\x6100"},
        {{(const uint8_t *)"a", 1}, "a"},
        {{(const uint8_t *)"A", 1}, "A"},
        {{(const uint8_t *)"a ", 2}, "\\x6120"},
        {{(const uint8_t *)"\\x6120", 6}, "\\x5c7836313230"},
    };
    enum { COUNT = sizeof keys / sizeof keys[0] };
    open_l3();
    for (uint32_t rev = 0; rev < 2; rev++) {
        for (size_t i = 0; i < COUNT; i++) {
            struct l3_line line = make_line("", (int64_t)i);
            line.line = line.sku = keys[i].key;
            struct l3_cart cart = make_cart("", rev, &line, 1);
            cart.key = keys[i].key;
            flush_one(cart, L3_DONE);
            uint32_t found = 0;
            struct buf image = {0};
            ck_assert_int_eq(l3_load(l3, keys[i].key, &image, &found), 0);
            ck_assert_uint_eq(found, rev + 1);
            buf_free(&image);
            char wanted[128], sql[128];
            snprintf(wanted, sizeof wanted, "%s|%s|%s\n", keys[i].column, keys[i].column,
                     keys[i].column);
            snprintf(sql, sizeof sql, "SELECT cart_id, line, sku FROM cart_line WHERE qty = %zu",
                     i);
            expect(sql, wanted);
        }
    }
}
END_TEST

static char longest_key[250], longest_line[128];

START_TEST(the_longest_keys_fit)
{
    open_l3();
    memset(longest_key, 0xff, sizeof longest_key);
    memset(longest_line, 0xfe, sizeof longest_line);
    struct l3_line line = make_line("", 7);
    line.line = line.sku = slice_of(longest_line, sizeof longest_line);
    struct l3_cart cart = make_cart("", 0, &line, 1);
    cart.key = slice_of(longest_key, sizeof longest_key);
    flush_one(cart, L3_DONE);
    expect("SELECT qty FROM cart_line", "7\n");
}
END_TEST

/* ---- compare and swap ------------------------------------------------------ */

START_TEST(a_conflict_changes_nothing)
{
    open_l3();
    struct l3_line line = make_line("A", 1);
    flush_one(make_cart("cart:1", 0, &line, 1), L3_DONE);
    flush_one(make_cart("cart:1", 1, &line, 1), L3_DONE);
    char carts[ANSWER_MAX / 8], lines[ANSWER_MAX / 8];
    snprintf(carts, sizeof carts, "%s", query(ALL_OF_CART));
    snprintf(lines, sizeof lines, "%s", query(ALL_OF_LINES));

    struct l3_line other[] = {make_line("A", 99), make_line("B", 1)};
    static const uint32_t wrong[] = {0, 1, 3, UINT32_MAX};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct l3_cart cart = make_cart("cart:1", wrong[i], other, 2);
        cart.image = slice_str("other");
        ck_assert_int_eq(l3_flush(l3, &cart, 1), 0);
        ck_assert_int_eq(cart.outcome, L3_CONFLICT);
        ck_assert_uint_eq(cart.rev, wrong[i]);
        expect(ALL_OF_CART, carts);
        expect(ALL_OF_LINES, lines);
    }
    flush_one(make_cart("cart:gone", 1, &line, 1), L3_CONFLICT); /* row expected, none there */
    expect(ALL_OF_CART, carts);
    expect(ALL_OF_LINES, lines);
}
END_TEST

START_TEST(a_conflict_does_not_stop_the_batch)
{
    open_l3();
    flush_one(make_cart("cart:2", 0, NULL, 0), L3_DONE);
    struct l3_cart carts[] = {make_cart("cart:1", 0, NULL, 0), make_cart("cart:2", 0, NULL, 0),
                              make_cart("cart:3", 0, NULL, 0), make_cart("cart:4", 8, NULL, 0)};
    ck_assert_int_eq(l3_flush(l3, carts, 4), 0);
    ck_assert_int_eq(carts[0].outcome, L3_DONE);
    ck_assert_int_eq(carts[1].outcome, L3_CONFLICT);
    ck_assert_int_eq(carts[2].outcome, L3_DONE);
    ck_assert_int_eq(carts[3].outcome, L3_CONFLICT);
    expect("SELECT cart_id, rev FROM cart ORDER BY 1", "cart:1|1\ncart:2|1\ncart:3|1\n");
}
END_TEST

static int commits;

static int count_commit(void *arg)
{
    (void)arg;
    commits++;
    return 0;
}

START_TEST(a_batch_is_one_transaction)
{
    enum { COUNT = 500 };
    static char keys[COUNT][24];
    static struct l3_cart carts[COUNT];
    struct l3_line lines[] = {make_line("A", 1), make_line("B", 2)};
    open_l3_watched();
    for (int i = 0; i < COUNT; i++) {
        snprintf(keys[i], sizeof keys[i], "cart:%04d", i);
        carts[i] = make_cart(keys[i], 0, lines, 2);
    }
    sqlite3_commit_hook(inner, count_commit, NULL);
    for (uint32_t rev = 1; rev <= 2; rev++) {
        ck_assert_int_eq(l3_flush(l3, carts, COUNT), 0);
        ck_assert_int_eq(commits, (int)rev);
        for (int i = 0; i < COUNT; i++) {
            ck_assert_int_eq(carts[i].outcome, L3_DONE);
            ck_assert_uint_eq(carts[i].rev, rev);
        }
    }
    expect("SELECT count(*), min(rev), max(rev) FROM cart", "500|2|2\n");
    expect("SELECT count(*), sum(qty) FROM cart_line", "1000|1500\n");
    ck_assert_int_eq(l3_flush(l3, NULL, 0), 0);
    ck_assert_int_eq(commits, 2);
}
END_TEST

/* ---- reading --------------------------------------------------------------- */

START_TEST(load_reads_image_and_revision)
{
    open_l3();
    struct buf image = {0};
    uint32_t rev = 77;
    ck_assert_int_eq(l3_load(l3, slice_str("cart:1"), &image, &rev), CE_NOTFOUND);
    ck_assert_uint_eq(rev, 77);
    struct l3_cart cart = make_cart("cart:1", 0, NULL, 0);
    cart.image = slice_of("\x00\x01", 2);
    flush_one(cart, L3_DONE);
    ck_assert_int_eq(buf_append_str(&image, "old content"), 0);
    ck_assert_int_eq(l3_load(l3, slice_str("cart:1"), &image, &rev), 0);
    ck_assert_uint_eq(rev, 1);
    ck_assert(slice_eq(buf_slice(&image), slice_of("\x00\x01", 2)));
    ck_assert_int_eq(l3_load(l3, slice_str("cart:"), &image, &rev), CE_NOTFOUND);

    /* again after closing */
    l3_close(&l3);
    ck_assert_ptr_null(l3);
    open_l3();
    ck_assert_int_eq(l3_load(l3, slice_str("cart:1"), &image, &rev), 0);
    ck_assert_uint_eq(rev, 1);
    ck_assert(slice_eq(buf_slice(&image), slice_of("\x00\x01", 2)));
    buf_free(&image);
}
END_TEST

START_TEST(a_revision_that_is_none_of_ours_is_set_anew)
{
    static const char *const revs[] = {"0", "-1", "4294967296", "4294967295"};
    open_l3();
    flush_one(make_cart("cart:1", 0, NULL, 0), L3_DONE);
    flush_one(make_cart("cart:2", 0, NULL, 0), L3_DONE);
    for (size_t i = 0; i < sizeof revs / sizeof revs[0]; i++) {
        char sql[64];
        snprintf(sql, sizeof sql, "UPDATE cart SET rev=%s WHERE cart_id='cart:1'", revs[i]);
        execute_raw(sql);
        struct buf image = {0};
        uint32_t rev;
        ck_assert_msg(l3_load(l3, slice_str("cart:1"), &image, &rev) == 0, "%s", l3_message(l3));
        ck_assert_uint_eq(rev, 2147483648);
        ck_assert(slice_eq(buf_slice(&image), slice_str("state")));
        expect("SELECT cart_id, rev FROM cart ORDER BY 1", "cart:1|2147483648\ncart:2|1\n");
        flush_one(make_cart("cart:1", 1, NULL, 0), L3_CONFLICT); /* it was never ours */
        flush_one(make_cart("cart:1", rev, NULL, 0), L3_DONE);
        buf_free(&image);
    }
}
END_TEST

struct visit {
    char seen[256];
    int answer;
};

static int visit_cart(void *arg, struct slice key, uint32_t rev, struct slice image)
{
    struct visit *visit = arg;
    size_t len = strlen(visit->seen);
    snprintf(visit->seen + len, sizeof visit->seen - len, "%.*s %u %.*s\n", (int)key.len,
             (const char *)key.bytes, rev, (int)image.len, (const char *)image.bytes);
    return visit->answer;
}

static int load_inside(void *arg, struct slice key, uint32_t rev, struct slice image)
{
    struct buf loaded = {0};
    uint32_t found = 0;
    ck_assert_int_eq(l3_load(l3, key, &loaded, &found), 0);
    ck_assert_uint_eq(found, rev);
    ck_assert(slice_eq(buf_slice(&loaded), image));
    buf_free(&loaded);
    ++*(int *)arg;
    return 0;
}

START_TEST(each_visits_many_rows_and_may_load_them)
{
    enum { COUNT = 500 };
    static char keys[COUNT][24];
    static struct l3_cart carts[COUNT];
    open_l3();
    for (int i = 0; i < COUNT; i++) {
        snprintf(keys[i], sizeof keys[i], "cart:%04d", i);
        carts[i] = make_cart(keys[i], 0, NULL, 0);
    }
    ck_assert_int_eq(l3_flush(l3, carts, COUNT), 0);
    int seen = 0;
    ck_assert_int_eq(l3_each(l3, load_inside, &seen), 0);
    ck_assert_int_eq(seen, COUNT);
}
END_TEST

START_TEST(each_visits_every_row)
{
    open_l3();
    struct visit visit = {0};
    ck_assert_int_eq(l3_each(l3, visit_cart, &visit), 0);
    ck_assert_str_eq(visit.seen, "");
    flush_one(make_cart("cart:1", 0, NULL, 0), L3_DONE);
    flush_one(make_cart("cart:2", 0, NULL, 0), L3_DONE);
    flush_one(make_cart("cart:2", 1, NULL, 0), L3_DONE);
    ck_assert_int_eq(l3_each(l3, visit_cart, &visit), 0);
    ck_assert_str_eq(visit.seen, "cart:1 1 state\ncart:2 2 state\n");
    static const int answers[] = {1, CE_STOPPED, CE_NOTFOUND}; /* even the one used inside */
    for (int i = 0; i < 3; i++) {
        visit = (struct visit){.answer = answers[i]};
        ck_assert_int_eq(l3_each(l3, visit_cart, &visit), answers[i]);
        ck_assert_str_eq(visit.seen, "cart:1 1 state\n");
    }
}
END_TEST

/* The three questions of doc/sql.md. */
START_TEST(the_report_answers_an_analyst)
{
    open_l3();
    struct l3_line lines[] = {make_line("A;red", 2), make_line("B", 1)};
    lines[0].has_price = lines[1].has_price = true;
    lines[0].price = 100;
    lines[1].price = 1000;
    flush_one(make_cart("cart:1", 0, lines, 2), L3_DONE);
    flush_one(make_cart("cart:2", 0, lines, 1), L3_DONE);
    struct l3_cart later = make_cart("cart:3", 0, lines, 1);
    later.updated_us += 86400ull * 1000000;
    memcpy(later.currency, "CHF", 4);
    flush_one(later, L3_DONE);
    struct l3_cart deleted = make_cart("cart:4", 0, NULL, 0);
    deleted.state = L3_DELETED;
    flush_one(deleted, L3_DONE);
    expect("SELECT currency, day, count(DISTINCT cart_id), sum(value) FROM cart_report"
           " GROUP BY currency, day ORDER BY day",
           "EUR|2023-11-14|2|1400\nCHF|2023-11-15|1|200\n");
    expect("SELECT cart_id, sum(value) FROM cart_report WHERE idle_hours >= 24"
           " GROUP BY cart_id ORDER BY cart_id",
           "cart:1|1200\ncart:2|200\ncart:3|200\n");
    expect("SELECT sku, count(DISTINCT cart_id), sum(qty) FROM cart_report"
           " GROUP BY sku ORDER BY sku",
           "A|3|6\nB|1|1\n");
    later = make_cart("cart:1", 1, lines, 2);
    later.updated_us = env_wall_us(env_real());
    flush_one(later, L3_DONE);
    expect("SELECT DISTINCT cart_id FROM cart_report WHERE idle_hours < 24", "cart:1\n");
}
END_TEST

static void add_kind(Suite *suite, const struct kind_case *on)
{
    TCase *tcase = tcase_create(on->name);
    tcase_add_checked_fixture(tcase, on->set_up, tear_down);
    tcase_add_test(tcase, all_columns_are_written);
    tcase_add_test(tcase, every_field_of_a_line_is_updated);
    tcase_add_test(tcase, a_deleted_cart_keeps_its_row);
    tcase_add_test(tcase, extreme_values_survive);
    tcase_add_test(tcase, the_longest_keys_fit);
    tcase_add_test(tcase, the_report_answers_an_analyst);
    tcase_add_test(tcase, a_conflict_changes_nothing);
    tcase_add_test(tcase, a_conflict_does_not_stop_the_batch);
    tcase_add_test(tcase, load_reads_image_and_revision);
    tcase_add_test(tcase, a_revision_that_is_none_of_ours_is_set_anew);
    tcase_add_test(tcase, each_visits_every_row);
    tcase_add_test(tcase, each_visits_many_rows_and_may_load_them);
    if (on->set_up == set_up) {
        tcase_add_test(tcase, only_lines_that_differ_are_touched);
        tcase_add_test(tcase, keys_are_any_bytes);
        tcase_add_test(tcase, a_batch_is_one_transaction);
    } else {
        tcase_add_test(tcase, keys_that_are_no_text_stand_in_hex);
    }
    suite_add_tcase(suite, tcase);
}

int main(void)
{
    return run_on_all_kinds("l3", add_kind, NULL);
}

/* proto_failed_test: the error in place of a held success keeps what the client matches answers by.
 */
#include "proto/proto.h"
#include "lib/suite.h"

#include <check.h>
#include <stdlib.h>

static struct buf out;

static const char *failed(const char *reply)
{
    out.len = 0;
    ck_assert_int_eq(proto_failed(&out, CE_NODISK, slice_str(reply)), 0);
    ck_assert_int_eq(buf_append(&out, "", 1), 0);
    return (const char *)out.bytes;
}

#define NO_DISK "SERVER_ERROR NO_DISK cannot be made as safe as asked"

START_TEST(a_classic_reply_becomes_the_error)
{
    ck_assert_str_eq(failed("STORED\r\n"), NO_DISK "\r\n");
    ck_assert_str_eq(failed("kept\r\n"), NO_DISK "\r\n");
    ck_assert_str_eq(failed("5\r\n"), NO_DISK "\r\n");
}
END_TEST

START_TEST(key_and_opaque_are_echoed)
{
    ck_assert_str_eq(failed("HD\r\n"), NO_DISK "\r\n");
    ck_assert_str_eq(failed("HD v7 O1 c5 kcart:u1 x3\r\n"), NO_DISK " O1 kcart:u1\r\n");
    ck_assert_str_eq(failed("HD kY2FydDox b R\r\n"), NO_DISK " kY2FydDox b\r\n");
    ck_assert_str_eq(failed("VA 1 O77\r\n5\r\n"), NO_DISK " O77\r\n");
}
END_TEST

START_TEST(a_binary_reply_keeps_opcode_and_opaque)
{
    uint8_t reply[24] = {0x81, 0x05, [12] = 0xde, 0xad, 0xbe, 0xef};
    out.len = 0;
    ck_assert_int_eq(proto_failed(&out, CE_NODISK, slice_of(reply, sizeof reply)), 0);
    ck_assert_uint_ge(out.len, 24);
    ck_assert_uint_eq(out.bytes[0], 0x81);
    ck_assert_uint_eq(out.bytes[1], 0x05);
    ck_assert_uint_ne(out.bytes[6] << 8 | out.bytes[7], 0); /* status */
    ck_assert_mem_eq(out.bytes + 12, reply + 12, 4);
    size_t body = (size_t)out.bytes[8] << 24 | (size_t)out.bytes[9] << 16 |
                  (size_t)out.bytes[10] << 8 | out.bytes[11];
    ck_assert_uint_eq(out.len, 24 + body);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("proto_failed");
    TCase *tests = tcase_create("failed");
    tcase_add_test(tests, a_classic_reply_becomes_the_error);
    tcase_add_test(tests, key_and_opaque_are_echoed);
    tcase_add_test(tests, a_binary_reply_keeps_opcode_and_opaque);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}

/* proto_lines: parsing one line and saying what must come of it, for the unit tests of proto. */
#ifndef LIB_PROTO_LINES_H
#define LIB_PROTO_LINES_H

#include "proto/proto.h"

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

static inline struct parsed parse_bytes(struct slice in)
{
    struct parsed p;
    p.result = text_parse(in, VALUE_MAX, &p.request, &p.used, &p.want, &p.error, &p.fatal);
    return p;
}

static inline struct parsed parse(const char *text)
{
    return parse_bytes(slice_str(text));
}

static inline bool is(struct slice s, const char *text)
{
    return slice_eq(s, slice_str(text));
}

#define ck_slice(s, text)                                                                          \
    ck_assert_msg(is(s, text), "%.*s is not %s", (int)(s).len, (const char *)(s).bytes, text)

/* A line (CRLF is added) that parses. Static storage: slices stay valid until the next call. */
static inline struct parsed parse_line(const char *line)
{
    static char text[20000];
    ck_assert_uint_lt((size_t)snprintf(text, sizeof text, "%s\r\n", line), sizeof text);
    return parse(text);
}

static inline struct request ok_line(const char *line)
{
    struct parsed p = parse_line(line);
    ck_assert_msg(p.result == PARSE_OK, "%s: %d error %d", line, p.result, p.error);
    ck_assert_uint_eq(p.used, strlen(line) + 2);
    ck_assert_int_eq(p.error, 0);
    return p.request;
}

static inline struct request bad_line(const char *line, int error)
{
    struct parsed p = parse_line(line);
    ck_assert_msg(p.result == PARSE_BAD && p.error == error, "%s: %d error %d", line, p.result,
                  p.error);
    ck_assert_uint_eq(p.used, strlen(line) + 2);
    ck_assert(!p.fatal);
    return p.request;
}

/* `head`, then `count` times `c`, then `tail`. */
static inline const char *stuffed(const char *head, char c, size_t count, const char *tail)
{
    static char text[20000];
    size_t len = strlen(head);
    ck_assert_uint_lt(len + count + strlen(tail), sizeof text);
    memcpy(text, head, len);
    memset(text + len, c, count);
    memcpy(text + len + count, tail, strlen(tail) + 1);
    return text;
}

/* A line with a key of `len` bytes between `head` and `tail`: `error`, or parsed when 0. */
static inline void check_key(const char *head, size_t len, const char *tail, int error)
{
    struct parsed p = parse(stuffed(head, 'k', len, tail));
    ck_assert_msg(p.error == error, "%s %zu: error %d", head, len, p.error);
    ck_assert_int_eq(p.result, error ? PARSE_BAD : PARSE_OK);
    ck_assert_uint_le(p.request.key.len, PROTO_KEY_MAX); /* a reply may echo it */
}

#endif

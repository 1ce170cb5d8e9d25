/* buf: a growable run of bytes. Embedded by value; zero-initialised is empty and valid. One thread
 * at a time. Appending can fail only with CE_NOMEM and then leaves the content as it was. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "base/must.h"
#include "base/slice.h"

struct buf {
    uint8_t *bytes;
    size_t len;
    size_t cap;
};

/* buf_reserve where there is not enough room yet. */
int buf_grow(struct buf *buf, size_t more) MUST_USE;

/* Makes room for `more` bytes behind len. */
MUST_USE static inline int buf_reserve(struct buf *buf, size_t more)
{
    return buf->cap - buf->len >= more ? 0 : buf_grow(buf, more);
}

int buf_append(struct buf *buf, const void *bytes, size_t len) MUST_USE;
int buf_append_str(struct buf *buf, const char *text) MUST_USE;
int buf_printf(struct buf *buf, const char *format, ...) MUST_USE
    __attribute__((format(printf, 2, 3)));

/* Replaces buf[at, at+old_len) by `with`; the tail moves. */
int buf_splice(struct buf *buf, size_t at, size_t old_len, struct slice with) MUST_USE;

/* Drops the first `len` bytes; the rest moves to the front. */
void buf_drop_front(struct buf *buf, size_t len);

/* Gives memory above `cap_max` back when the buffer is empty. */
void buf_shrink(struct buf *buf, size_t cap_max);

void buf_free(struct buf *buf);

static inline void buf_swap(struct buf *a, struct buf *b)
{
    struct buf old = *a;
    *a = *b;
    *b = old;
}

static inline struct slice buf_slice(const struct buf *buf)
{
    return slice_of(buf->bytes, buf->len);
}

#endif

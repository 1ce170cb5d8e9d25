#include "base/base.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define BUF_CAP_MIN 64

int buf_grow(struct buf *buf, size_t more)
{
    if (more > SIZE_MAX / 2 - buf->len)
        return CE_NOMEM;
    size_t cap = buf->cap ? buf->cap : BUF_CAP_MIN;
    while (cap - buf->len < more)
        cap *= 2;
    uint8_t *bytes = realloc(buf->bytes, cap);
    if (!bytes)
        return CE_NOMEM;
    buf->bytes = bytes;
    buf->cap = cap;
    return 0;
}

int buf_append(struct buf *buf, const void *bytes, size_t len)
{
    if (buf_reserve(buf, len))
        return CE_NOMEM;
    if (len)
        memcpy(buf->bytes + buf->len, bytes, len);
    buf->len += len;
    return 0;
}

int buf_append_str(struct buf *buf, const char *text)
{
    return buf_append(buf, text, strlen(text));
}

int buf_printf(struct buf *buf, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int need = vsnprintf(NULL, 0, format, args);
    va_end(args);
    MUST(need >= 0);
    if (buf_reserve(buf, (size_t)need + 1))
        return CE_NOMEM;
    va_start(args, format);
    vsnprintf((char *)buf->bytes + buf->len, (size_t)need + 1, format, args);
    va_end(args);
    buf->len += (size_t)need;
    return 0;
}

int buf_splice(struct buf *buf, size_t at, size_t old_len, struct slice with)
{
    MUST(at <= buf->len && old_len <= buf->len - at);
    if (with.len > old_len && buf_reserve(buf, with.len - old_len))
        return CE_NOMEM;
    size_t tail = buf->len - at - old_len;
    if (tail)
        memmove(buf->bytes + at + with.len, buf->bytes + at + old_len, tail);
    if (with.len)
        memcpy(buf->bytes + at, with.bytes, with.len);
    buf->len = at + with.len + tail;
    return 0;
}

void buf_drop_front(struct buf *buf, size_t len)
{
    MUST(len <= buf->len);
    buf->len -= len;
    if (len && buf->len)
        memmove(buf->bytes, buf->bytes + len, buf->len);
}

void buf_shrink(struct buf *buf, size_t cap_max)
{
    if (buf->len == 0 && buf->cap > cap_max)
        buf_free(buf);
}

void buf_free(struct buf *buf)
{
    free(buf->bytes);
    *buf = (struct buf){0};
}

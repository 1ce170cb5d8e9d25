#include "tier/l3/l3_int.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#define L3_MAGIC 0x13da7aba

static int open_with(const struct l3_driver *driver, const char *where, bool is_fixed,
                     struct l3 **l3, char *message, size_t message_bytes)
{
    struct l3 *opened = calloc(1, sizeof *opened);
    if (!opened) {
        snprintf(message, message_bytes, "%s", err_text(CE_NOMEM));
        return CE_NOMEM;
    }
    opened->magic = L3_MAGIC;
    opened->driver = driver;
    opened->is_fixed = is_fixed;
    int err = driver->open(opened, where);
    if (err) {
        snprintf(message, message_bytes, "%s", opened->message);
        l3_close(&opened);
        return err;
    }
    *l3 = opened;
    return 0;
}

int l3_open_driver(const struct l3_driver *driver, const char *where, struct l3 **l3, char *message,
                   size_t message_bytes)
{
    return open_with(driver, where, false, l3, message, message_bytes);
}

static int open_absent(struct l3 *l3, const char *where)
{
    (void)where;
    return l3_fail(l3, CE_INVAL,
                   "this cartd was built without the library of that database: install libpq-dev "
                   "or libmariadb-dev, then build it again");
}

static void close_absent(struct l3 *l3)
{
    (void)l3;
}

const struct l3_driver *l3_absent_driver(void)
{
    static const struct l3_driver driver = {.open = open_absent, .close = close_absent};
    return &driver;
}

/* The text behind "scheme:", or NULL when the URL has another scheme. */
static const char *match_scheme(const char *url, const char *scheme)
{
    size_t len = strlen(scheme);
    return strncmp(url, scheme, len) == 0 && url[len] == ':' ? url + len + 1 : NULL;
}

static const struct l3_driver *find_driver(const char *url, const char **where)
{
    static const struct {
        const char *scheme;
        const struct l3_driver *(*driver)(void);
    } drivers[] = {
#define X(scheme, driver) {#scheme, driver},
        L3_DRIVERS(X)
#undef X
    };
    for (size_t i = 0; i < sizeof drivers / sizeof drivers[0]; i++) {
        *where = match_scheme(url, drivers[i].scheme);
        if (*where)
            return drivers[i].driver();
    }
    return NULL;
}

static bool is_fixed(const char *url)
{
    return strncmp(url, L3_FIXED, strlen(L3_FIXED)) == 0;
}

unsigned l3_connections_max(const char *url)
{
    const char *where;
    const struct l3_driver *driver =
        find_driver(url + (is_fixed(url) ? strlen(L3_FIXED) : 0), &where);
    return driver && driver->one_writer ? 1 : UINT_MAX;
}

int l3_open(const char *url, struct l3 **l3, char *message, size_t message_bytes)
{
    MUST(url != NULL && l3 != NULL && message != NULL && message_bytes > 0);
    bool fixed = is_fixed(url);
    url += fixed ? strlen(L3_FIXED) : 0;
    const char *where;
    const struct l3_driver *driver = find_driver(url, &where);
    if (driver)
        return open_with(driver, where, fixed, l3, message, message_bytes);
    /* Only the scheme is repeated: the rest may hold a password. */
    const char *colon = strchr(url, ':');
    snprintf(message, message_bytes,
             "unknown kind of database \"%.*s\"; known:"
#define X(scheme, driver) " " #scheme ":"
             L3_DRIVERS(X)
#undef X
                 ,
             colon ? (int)(colon - url) : 0, url);
    return CE_INVAL;
}

void l3_close(struct l3 **l3)
{
    MUST(l3 != NULL);
    if (!*l3)
        return;
    MUST_OBJ(*l3, L3_MAGIC);
    (*l3)->driver->close(*l3);
    (*l3)->magic = 0;
    free(*l3);
    *l3 = NULL;
}

static void check_batch(const struct l3_cart *carts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        MUST(carts[i].key.len > 0);
        MUST(i == 0 || slice_cmp(carts[i - 1].key, carts[i].key) < 0);
        MUST(carts[i].state != L3_DELETED || carts[i].lines_count == 0);
        MUST(carts[i].lines_count == 0 || carts[i].lines != NULL);
    }
}

/* Before each call. */
static int check_open(struct l3 *l3)
{
    return l3->is_lost ? l3_fail(l3, CE_DB, "the connection was closed after a failure") : 0;
}

/* After a call that writes. What a transaction has locked would stay so for all others as long as
 * the connection is open. (Not after a read: it may be within l3_each.) */
static int end_write(struct l3 *l3, int err)
{
    if (l3->is_lost)
        l3->driver->close(l3);
    return err;
}

int l3_flush(struct l3 *l3, struct l3_cart *carts, size_t count)
{
    MUST_OBJ(l3, L3_MAGIC);
    check_batch(carts, count);
    int err = check_open(l3);
    if (!err && count)
        err = end_write(l3, l3->driver->flush(l3, carts, count));
    for (size_t i = 0; i < count; i++) {
        if (err)
            carts[i].outcome = L3_FAILED;
        else if (carts[i].outcome == L3_DONE)
            carts[i].rev++;
    }
    return err;
}

int l3_put_events(struct l3 *l3, struct l3_event *events, size_t count)
{
    MUST_OBJ(l3, L3_MAGIC);
    int err = check_open(l3);
    if (!err && count)
        err = end_write(l3, l3->driver->put_events(l3, events, count));
    for (size_t i = 0; err && i < count; i++)
        events[i].outcome = L3_FAILED;
    return err;
}

int l3_load(struct l3 *l3, struct slice key, struct buf *image, uint32_t *rev)
{
    MUST_OBJ(l3, L3_MAGIC);
    MUST(key.len > 0 && image != NULL && rev != NULL);
    image->len = 0;
    int err = check_open(l3);
    if (!err)
        err = l3->driver->load(l3, key, image, rev);
    if (err != CE_INVAL)
        return err;
    log_warn("l3", "the column rev of cart %.*s was set by somebody else; it is set anew",
             (int)key.len, (const char *)key.bytes);
    err = l3->driver->mend_rev(l3, key);
    image->len = 0;
    if (!err)
        err = l3->driver->load(l3, key, image, rev);
    return err == CE_INVAL ? CE_DB : err;
}

int l3_each(struct l3 *l3,
            int (*each)(void *arg, struct slice key, uint32_t rev, struct slice image), void *arg)
{
    return l3_each_from(l3, slice_of(NULL, 0), each, arg);
}

int l3_each_from(struct l3 *l3, struct slice after,
                 int (*each)(void *arg, struct slice key, uint32_t rev, struct slice image),
                 void *arg)
{
    MUST_OBJ(l3, L3_MAGIC);
    MUST(each != NULL);
    int err = check_open(l3);
    if (!err)
        err = l3->driver->each(l3, after, each, arg);
    return err == CE_INVAL ? CE_DB : err; /* a revision that is none of ours */
}

int l3_inbox_take(struct l3 *l3, uint64_t now_us, struct l3_inbox_row *rows, size_t max,
                  size_t *count)
{
    MUST_OBJ(l3, L3_MAGIC);
    MUST(max <= L3_INBOX_ROWS_MAX);
    *count = 0;
    int err = check_open(l3);
    if (!err && max)
        err = end_write(l3, l3->driver->inbox_take(l3, now_us, rows, max, count));
    for (size_t i = 0; !err && i < *count; i++)
        rows[i].taken_us = now_us;
    if (err)
        *count = 0;
    return err;
}

int l3_inbox_left(struct l3 *l3, int64_t after, struct l3_inbox_row *rows, size_t max,
                  size_t *count)
{
    MUST_OBJ(l3, L3_MAGIC);
    MUST(max <= L3_INBOX_ROWS_MAX);
    *count = 0;
    int err = check_open(l3);
    if (!err && max)
        err = l3->driver->inbox_left(l3, after, rows, max, count);
    if (err)
        *count = 0;
    return err;
}

int l3_inbox_settle(struct l3 *l3, const struct l3_inbox_row *rows, size_t count)
{
    MUST_OBJ(l3, L3_MAGIC);
    int err = check_open(l3);
    return err || !count ? err : end_write(l3, l3->driver->inbox_settle(l3, rows, count));
}

int l3_copy(struct l3 *l3, const char *path, int (*go_on)(void *ctx), void *ctx)
{
    MUST_OBJ(l3, L3_MAGIC);
    if (!l3->driver->copy)
        return l3_fail(l3, CE_INVAL, "databases of this kind are not copied");
    int err = check_open(l3);
    return err ? err : l3->driver->copy(l3, path, go_on, ctx);
}

const char *l3_message(const struct l3 *l3)
{
    MUST_OBJ(l3, L3_MAGIC);
    return l3->message;
}

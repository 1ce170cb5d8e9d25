/* l3 inside: what a driver is. A driver is its files l3_NAME*.c and a row of L3_DRIVERS. */
#ifndef TIER_L3_L3_INT_H
#define TIER_L3_L3_INT_H

#include "tier/l3/l3.h"

#define L3_MESSAGE_MAX 256
#define L3_REV_MEND    " SET rev = 2147483648 WHERE (rev < 1 OR rev >= 4294967295) AND cart_id = "

/* Drivers whose library was not there at build time refuse their URLs with words. */
#ifdef HAVE_LIBPQ
#define L3_PGSQL l3_pgsql_driver
#else
#define L3_PGSQL l3_absent_driver
#endif
#ifdef HAVE_LIBMARIADB
#define L3_MYSQL l3_mysql_driver
#else
#define L3_MYSQL l3_absent_driver
#endif

/* The scheme of the URL and the name of the function that returns the driver. */
#define L3_DRIVERS(X)                                                                              \
    X(sqlite, l3_sqlite_driver)                                                                    \
    X(postgresql, L3_PGSQL)                                                                        \
    X(postgres, L3_PGSQL)                                                                          \
    X(mysql, L3_MYSQL)                                                                             \
    X(mariadb, L3_MYSQL)

struct l3_driver;

struct l3 {
    unsigned magic;
    const struct l3_driver *driver;
    bool is_fixed; /* the schema is somebody else's to make and change */
    bool is_lost;  /* set by the driver: a transaction could not be ended; l3.c closes it */
    void *conn;    /* the driver's own; set by its open */
    char message[L3_MESSAGE_MAX];
};

/* The contracts are those of l3.h, narrowed: arguments are checked, results tidied up by l3.c. All
 * leave words in l3->message when they fail. */
struct l3_driver {
    bool one_writer; /* a second connection that writes would only wait for the first */
    /* `where` is the URL behind "scheme:". On an error l3->conn is NULL or closed by `close`. */
    int (*open)(struct l3 *l3, const char *where);
    void (*close)(struct l3 *l3); /* conn may be NULL */
    /* Sets outcomes (L3_DONE, L3_CONFLICT), not revisions. On an error the outcomes do not count.
     */
    int (*flush)(struct l3 *l3, struct l3_cart *carts, size_t count);
    int (*put_events)(struct l3 *l3, struct l3_event *events, size_t count);
    int (*load)(struct l3 *l3, struct slice key, struct buf *image, uint32_t *rev); /* appends */
    /* After CE_INVAL of load: gives the row a revision that can be taken and was never ours. */
    int (*mend_rev)(struct l3 *l3, struct slice key);
    int (*each)(struct l3 *l3, struct slice after,
                int (*each)(void *arg, struct slice key, uint32_t rev, struct slice image),
                void *arg);
    int (*inbox_take)(struct l3 *l3, uint64_t now_us, struct l3_inbox_row *rows, size_t max,
                      size_t *count);
    int (*inbox_left)(struct l3 *l3, int64_t after, struct l3_inbox_row *rows, size_t max,
                      size_t *count);
    int (*inbox_settle)(struct l3 *l3, const struct l3_inbox_row *rows, size_t count);
    int (*copy)(struct l3 *l3, const char *path, int (*go_on)(void *ctx), void *ctx); /* or NULL */
};

/* l3_open for a given driver; l3_open comes here, and tests that bring their own. */
int l3_open_driver(const struct l3_driver *driver, const char *where, struct l3 **l3, char *message,
                   size_t message_bytes) MUST_USE;

const struct l3_driver *l3_sqlite_driver(void);
const struct l3_driver *l3_pgsql_driver(void);
const struct l3_driver *l3_mysql_driver(void);
const struct l3_driver *l3_absent_driver(void);

/* The SQL that brings a database from schema version `version - 1` to `version`, NULL beyond the
 * newest. Steps are never edited once released, only added. */
const char *l3_sqlite_schema_step(unsigned version);
const char *l3_pgsql_schema_step(unsigned version);
/* The same as a list of statements that ends with NULL. */
const char *const *l3_mysql_schema_step(unsigned version);

/* ---- what drivers share (l3_common.c) ------------------------------------------------ */

bool l3_is_utf8(struct slice text);

/* Appends bytes as text that every server keeps and compares exactly: as they are, or, when they
 * are no UTF-8, hold a NUL, end with a space or begin with "\x": "\x" and their hex digits.
 * l3_take_text replaces `out` by the bytes again: CE_CORRUPT, CE_NOMEM. */
int l3_put_text(struct buf *out, struct slice bytes) MUST_USE;
int l3_take_text(struct slice text, struct buf *out) MUST_USE;

/* Milliseconds since 1970, at most the last of the year 9999. */
uint64_t l3_time_ms(uint64_t time_us);
/* The value, or the greatest that a BIGINT holds. */
int64_t l3_bigint(uint64_t value);

/* Keeps words, returns err. */
int l3_fail(struct l3 *l3, int err, const char *words);
/* CE_DB, and words about a schema that a newer program made, or that we may not bring up to date.
 */
int l3_refuse_schema(struct l3 *l3, uint32_t version, uint32_t newest);
/* Ours are 1.. within 32 bits; anything else was written by somebody else, and taking it as another
 * number would undo that: CE_INVAL. */
int l3_take_rev(struct l3 *l3, int64_t value, uint32_t *rev) MUST_USE;
/* The columns of the inbox as drivers read them: bounded, NULL of a token is empty. */
#define L3_INBOX_COLUMNS                                                                           \
    "id, substr(cart_id, 1, 600), substr(command, 1, 16385), coalesce(substr(token, 1, 33), '')"
/* Fills a row of the inbox. `coded`: the key is as l3_put_text wrote it. CE_NOMEM. */
int l3_fill_inbox_row(struct l3_inbox_row *row, int64_t id, struct slice key, bool coded,
                      struct slice command, struct slice token) MUST_USE;
/* The cart with this key, among those of a flush. NULL: none. */
struct l3_cart *l3_find_cart(struct l3_cart *carts, size_t count, struct slice key);

#endif

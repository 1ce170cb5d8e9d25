/* l3 inside: what a driver is. A driver is one file and one row of L3_DRIVERS. */
#ifndef TIER_L3_L3_INT_H
#define TIER_L3_L3_INT_H

#include "tier/l3/l3.h"

#define L3_MESSAGE_MAX 256

/* The scheme of the URL and the name of the function that returns the driver. */
#define L3_DRIVERS(X) X(sqlite, l3_sqlite_driver)

struct l3_driver;

struct l3 {
    unsigned magic;
    const struct l3_driver *driver;
    void *conn; /* the driver's own; set by its open */
    char message[L3_MESSAGE_MAX];
};

/* The contracts are those of l3.h, narrowed: arguments are checked, results tidied up by l3.c. All
 * leave words in l3->message when they fail. */
struct l3_driver {
    /* `where` is the URL behind "scheme:". On an error l3->conn is NULL or closed by `close`. */
    int (*open)(struct l3 *l3, const char *where);
    void (*close)(struct l3 *l3); /* conn may be NULL */
    /* Sets outcomes (L3_DONE, L3_CONFLICT), not revisions. On an error the outcomes do not count.
     */
    int (*flush)(struct l3 *l3, struct l3_cart *carts, size_t count);
    int (*put_events)(struct l3 *l3, struct l3_event *events, size_t count);
    int (*load)(struct l3 *l3, struct slice key, struct buf *image, uint32_t *rev); /* appends */
    int (*each)(struct l3 *l3,
                int (*each)(void *arg, struct slice key, uint32_t rev, struct slice image),
                void *arg);
};

/* l3_open for a given driver; l3_open comes here, and tests that bring their own. */
int l3_open_driver(const struct l3_driver *driver, const char *where, struct l3 **l3, char *message,
                   size_t message_bytes) MUST_USE;

#define X(scheme, driver) const struct l3_driver *driver(void);
L3_DRIVERS(X)
#undef X

/* The SQL that brings a database from schema version `version - 1` to `version`, NULL beyond the
 * newest. Steps are never edited once released, only added. */
const char *l3_sqlite_schema_step(unsigned version);

#endif

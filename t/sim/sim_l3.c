/* sim_l3: a database that lives beside the daemon: rows of carts with their revisions, events. It
 * takes the place of the SQLite driver, with the same contract (l3_int.h). A transaction happens at
 * one instant; what goes wrong goes wrong before it or behind it. */
#include "sim/sim.h"

#include "tier/l3/l3_int.h"

#include <stdio.h>
#include <stdlib.h>

#define ROWS_MAX   1024
#define EVENTS_MAX 1024
#define KEY_MAX    64

struct row {
    char key[KEY_MAX];
    uint32_t rev;
    bool deleted;
    uint8_t *image;
    size_t image_len, image_cap;
};

struct event {
    char id[L3_EVENT_ID_BYTES];
    char key[KEY_MAX];
};

struct sim_db {
    struct row rows[ROWS_MAX];
    unsigned row_count;
    struct event events[EVENTS_MAX];
    unsigned event_count;
    unsigned transactions;
};

/* A connection of this process. */
struct conn {
    bool cut;
};

void sim_db_new(void)
{
    sim->db = sim_alloc(sizeof *sim->db);
}

static void copy_key(char to[KEY_MAX], struct slice key)
{
    MUST(key.len < KEY_MAX);
    memcpy(to, key.bytes, key.len);
    to[key.len] = 0;
}

static struct row *find_row(const char *key)
{
    for (unsigned i = 0; i < sim->db->row_count; i++)
        if (strcmp(sim->db->rows[i].key, key) == 0)
            return &sim->db->rows[i];
    return NULL;
}

/* ---- what goes wrong ---- */

static void take_time(void)
{
    sim_call_step();
    sim_sleep_us(sim_is_open(SIM_DB_SLOW) ? sim_below(2000000) : 200 + sim_below(3000));
    sim_call_step();
}

static int fail(struct l3 *l3, const char *words)
{
    sim_trace("db %s", words);
    return l3_fail(l3, CE_DB, words);
}

static int begin(struct l3 *l3)
{
    struct conn *conn = l3->conn;
    take_time();
    if (sim_is_open(SIM_DB_DOWN))
        conn->cut = true;
    if (conn->cut)
        return fail(l3, "the connection is cut");
    return sim_strikes(SIM_DB_DEADLOCK) ? fail(l3, "deadlock: taken back") : 0;
}

static int end(struct l3 *l3)
{
    struct conn *conn = l3->conn;
    take_time();
    if (sim_is_open(SIM_DB_DOWN) || sim_strikes(SIM_DB_LOST)) {
        conn->cut = true;
        return fail(l3, "no answer to COMMIT");
    }
    return 0;
}

static bool is_poison(struct slice key)
{
    return sim_is_open(SIM_DB_POISON) && slice_eq(key, slice_str("cart:u1"));
}

/* ---- the driver ---- */

static int open_db(struct l3 *l3, const char *where)
{
    (void)where;
    l3->conn = calloc(1, sizeof(struct conn));
    if (!l3->conn)
        return l3_fail(l3, CE_NOMEM, "no memory");
    take_time();
    return sim_is_open(SIM_DB_DOWN) ? fail(l3, "connection refused") : 0;
}

static void close_db(struct l3 *l3)
{
    free(l3->conn);
    l3->conn = NULL;
}

static void set_image(struct row *row, struct slice image)
{
    if (image.len > row->image_cap) {
        row->image_cap = 2 * image.len;
        row->image = sim_alloc(row->image_cap);
    }
    if (image.len)
        memcpy(row->image, image.bytes, image.len);
    row->image_len = image.len;
}

static enum l3_outcome write_row(const struct l3_cart *cart)
{
    char key[KEY_MAX];
    copy_key(key, cart->key);
    struct row *row = find_row(key);
    if ((row ? row->rev : 0) != cart->rev)
        return L3_CONFLICT;
    if (!row) {
        MUST(sim->db->row_count < ROWS_MAX);
        row = &sim->db->rows[sim->db->row_count++];
        copy_key(row->key, cart->key);
    }
    row->rev++;
    row->deleted = cart->state == L3_DELETED;
    set_image(row, cart->image);
    return L3_DONE;
}

static int flush(struct l3 *l3, struct l3_cart *carts, size_t count)
{
    int rc = begin(l3);
    for (size_t i = 0; rc == 0 && i < count; i++)
        if (is_poison(carts[i].key))
            rc = fail(l3, "a cart is refused");
    if (rc)
        return rc;
    for (size_t i = 0; i < count; i++) {
        carts[i].outcome = write_row(&carts[i]);
        sim_trace("db %.*s rev %u: %s", (int)carts[i].key.len, (const char *)carts[i].key.bytes,
                  carts[i].rev, carts[i].outcome == L3_DONE ? "done" : "conflict");
    }
    return end(l3);
}

static void put_event(const struct l3_event *event)
{
    struct sim_db *db = sim->db;
    sim_trace("db event %s of %.*s", event->id, (int)event->key.len,
              (const char *)event->key.bytes);
    for (unsigned i = 0; i < db->event_count; i++)
        if (strcmp(db->events[i].id, event->id) == 0)
            return;
    MUST(db->event_count < EVENTS_MAX);
    struct event *made = &db->events[db->event_count++];
    snprintf(made->id, sizeof made->id, "%s", event->id);
    copy_key(made->key, event->key);
}

static int put_events(struct l3 *l3, struct l3_event *events, size_t count)
{
    int rc = begin(l3);
    if (rc)
        return rc;
    for (size_t i = 0; i < count; i++) {
        put_event(&events[i]);
        events[i].outcome = L3_DONE;
    }
    return end(l3);
}

static int load(struct l3 *l3, struct slice key, struct buf *image, uint32_t *rev)
{
    char name[KEY_MAX];
    int rc = begin(l3);
    copy_key(name, key);
    const struct row *row = rc ? NULL : find_row(name);
    if (rc || !row)
        return rc ? rc : CE_NOTFOUND;
    *rev = row->rev;
    return buf_append(image, row->image, row->image_len);
}

static const struct row *next_row(struct slice after)
{
    const struct row *next = NULL;
    for (unsigned i = 0; i < sim->db->row_count; i++) {
        const struct row *row = &sim->db->rows[i];
        if (slice_cmp(slice_str(row->key), after) > 0 && (!next || strcmp(row->key, next->key) < 0))
            next = row;
    }
    return next;
}

static int each_row(struct l3 *l3, struct slice after,
                    int (*each)(void *arg, struct slice key, uint32_t rev, struct slice image),
                    void *arg)
{
    const struct row *row;
    int rc = begin(l3);
    while (rc == 0 && (row = next_row(after))) {
        after = slice_str(row->key);
        rc = each(arg, after, row->rev, slice_of(row->image, row->image_len));
    }
    return rc;
}

/* Nobody else writes here: all revisions are ours, and the inbox is empty. */
static int mend_rev(struct l3 *l3, struct slice key)
{
    (void)key;
    return fail(l3, "a revision that nobody set");
}

static int inbox_take(struct l3 *l3, uint64_t now_us, struct l3_inbox_row *rows, size_t max,
                      size_t *count)
{
    (void)now_us, (void)rows, (void)max;
    *count = 0;
    return begin(l3);
}

static int inbox_left(struct l3 *l3, int64_t after, struct l3_inbox_row *rows, size_t max,
                      size_t *count)
{
    (void)after, (void)rows, (void)max;
    *count = 0;
    return begin(l3);
}

static int inbox_settle(struct l3 *l3, const struct l3_inbox_row *rows, size_t count)
{
    (void)rows, (void)count;
    return begin(l3);
}

/* In place of tier/l3/l3_sqlite.c. */
const struct l3_driver *l3_sqlite_driver(void)
{
    static const struct l3_driver driver = {.open = open_db,
                                            .close = close_db,
                                            .flush = flush,
                                            .put_events = put_events,
                                            .load = load,
                                            .mend_rev = mend_rev,
                                            .each = each_row,
                                            .inbox_take = inbox_take,
                                            .inbox_left = inbox_left,
                                            .inbox_settle = inbox_settle};
    return &driver;
}

/* ---- for the judge ---- */

bool sim_db_image(const char *key, struct slice *image, bool *deleted)
{
    const struct row *row = find_row(key);
    if (!row)
        return false;
    *image = slice_of(row->image, row->image_len);
    *deleted = row->deleted;
    return true;
}

unsigned sim_db_events(const char *key)
{
    unsigned count = 0;
    for (unsigned i = 0; i < sim->db->event_count; i++)
        count += strcmp(sim->db->events[i].key, key) == 0;
    return count;
}

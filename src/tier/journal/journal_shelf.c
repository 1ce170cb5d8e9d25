/* The memory that segments are read into: each once, to where its records are then used. On huge
 * pages, for a start reads hundreds of megabytes, and small pages cost more than all else of it. */
#include "tier/journal/journal_int.h"

#define SHELF_BYTES ((size_t)64 << 20) /* for several segments; what is not used costs nothing */

struct shelf {
    struct shelf *next; /* an older one */
    size_t bytes, used; /* with this head */
    uint8_t files[];
};

static int add_shelf(struct journal *journal, size_t room)
{
    size_t bytes = sizeof(struct shelf) + room;
    bytes = bytes > SHELF_BYTES ? bytes : SHELF_BYTES;
    struct shelf *shelf = huge_new(bytes);
    if (!shelf)
        return CE_NOMEM;
    *shelf = (struct shelf){journal->shelves, bytes, sizeof *shelf};
    journal->shelves = shelf;
    return 0;
}

int journal_shelf_read(struct journal *journal, const char *path, struct slice *file)
{
    const struct env *env = journal->config.env;
    struct shelf *shelf = journal->shelves;
    uint64_t bytes;
    int rc = env->file_size(env->ctx, path, &bytes);
    if (rc == 0 && (!shelf || shelf->bytes - shelf->used < bytes))
        rc = add_shelf(journal, bytes);
    if (rc)
        return rc;
    shelf = journal->shelves;
    uint8_t *at = (uint8_t *)shelf + shelf->used;
    struct buf borrowed = {.bytes = at, .cap = bytes}; /* never grows: it has room for all */
    rc = env->file_read_part(env->ctx, path, 0, bytes, &borrowed);
    MUST(borrowed.bytes == at);
    shelf->used += borrowed.len;
    *file = buf_slice(&borrowed);
    return rc;
}

void journal_forget_read(struct journal *journal)
{
    struct shelf **from = &journal->shelves;
    if (journal->reading && *from)
        from = &(*from)->next; /* the segment at hand is in it */
    for (struct shelf *shelf = *from, *next; shelf; shelf = next) {
        next = shelf->next;
        huge_free(shelf, shelf->bytes);
    }
    *from = NULL;
}

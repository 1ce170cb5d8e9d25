/* inbox: what is asked for by way of SQL. Support staff and jobs insert rows into the table
 * cart_inbox; a thread takes them, has them done as a client's commands, and settles them.
 *
 * Exactly once: a row is marked as taken before anything is done, is done by a step with a token
 * that only this row has, and leaves the table when the journal has synced that step. A crash in
 * between leaves a taken row. It is done again with the same token, which the cart knows; when it
 * was taken so long ago that the cart may have forgotten the token, nobody can tell whether it was
 * done, and the row says so instead of being done twice.
 *
 * A row that can't be done now (no memory, no disk) waits here; other rows go on, but those of the
 * same cart wait behind it. */
#include "tier/tier_int.h"

#include <stdio.h>
#include <stdlib.h>

void inbox_init(struct tier *tier)
{
    turns_init(&tier->inbox.turns);
}

void inbox_fini(struct tier *tier)
{
    struct inbox *inbox = &tier->inbox;
    for (size_t i = 0; inbox->rows && i < L3_INBOX_ROWS_MAX; i++) {
        buf_free(&inbox->rows[i].key);
        buf_free(&inbox->rows[i].command);
        buf_free(&inbox->rows[i].token);
    }
    free(inbox->rows);
    free(inbox->tries);
    turns_fini(&inbox->turns);
}

/* ---- the database ---- */

/* Told once, until it works again. */
static void note_failure(struct inbox *inbox, const char *words)
{
    atomic_fetch_add(&inbox->errors, 1);
    if (!inbox->failing)
        log_warn("inbox", "database: %s; the rows of cart_inbox wait, trying again", words);
    inbox->failing = true;
    if (inbox->l3)
        l3_close(&inbox->l3);
}

static void note_success(struct inbox *inbox)
{
    if (inbox->failing)
        log_info("inbox", "database: works again");
    inbox->failing = false;
}

static bool connect_database(struct tier *tier)
{
    struct inbox *inbox = &tier->inbox;
    char message[256] = "";
    if (!inbox->l3 && l3_open(tier->l3_url, &inbox->l3, message, sizeof message))
        note_failure(inbox, message);
    return inbox->l3 != NULL;
}

/* More rows behind those that wait; first those that an earlier process had taken. */
static int take(struct tier *tier)
{
    struct inbox *inbox = &tier->inbox;
    struct l3_inbox_row *rows = inbox->rows + inbox->count;
    size_t room = L3_INBOX_ROWS_MAX - inbox->count, count = 0;
    int rc = 0;
    bool left = inbox->left_after >= 0;
    if (room && left) {
        rc = l3_inbox_left(inbox->l3, inbox->left_after, rows, room, &count);
        if (rc == 0)
            inbox->left_after = count ? rows[count - 1].id : -1;
    }
    if (rc == 0 && room && inbox->left_after < 0) {
        left = false;
        rc = l3_inbox_take(inbox->l3, env_wall_us(tier->config.env), rows, room, &count);
    }
    for (size_t i = 0; i < count; i++)
        inbox->tries[inbox->count++] = (struct inbox_try){.left = left};
    return rc;
}

/* ---- a row ---- */

static void settle_row(struct l3_inbox_row *row, enum l3_inbox_fate fate, const char *reason)
{
    row->fate = fate;
    if (reason)
        snprintf(row->reason, sizeof row->reason, "%s", reason);
}

/* As often as a cart is missing that must be in memory: a redirect leads to another. */
static enum tier_inbox_answer do_row(struct tier *tier, struct l3_inbox_row *row)
{
    enum { TRIES_MAX = 16 }; /* it may be evicted in between */
    enum tier_inbox_answer answer = TIER_INBOX_MISSING;
    for (int tries = 0; answer == TIER_INBOX_MISSING && tries < TRIES_MAX; tries++) {
        struct slice missing = slice_of(NULL, 0);
        answer = tier->config.inbox(tier->config.ctx, row, &missing);
        if (answer == TIER_INBOX_MISSING && fill_now(tier, missing))
            answer = TIER_INBOX_LATER;
    }
    return answer;
}

/* Rows of one cart are done in their order. */
static bool waits_behind(const struct inbox *inbox, size_t at)
{
    for (size_t i = 0; i < at; i++) {
        if (inbox->rows[i].fate == L3_INBOX_OPEN &&
            slice_eq(buf_slice(&inbox->rows[i].key), buf_slice(&inbox->rows[at].key)))
            return true;
    }
    return false;
}

static void try_row(struct tier *tier, size_t at)
{
    struct inbox *inbox = &tier->inbox;
    struct l3_inbox_row *row = &inbox->rows[at];
    uint64_t now_us = env_wall_us(tier->config.env), now_ms = env_mono_ms(tier->config.env);
    struct inbox_try *try = &inbox->tries[at];
    if (try->first_ms == 0)
        try->first_ms = now_ms ? now_ms : 1;
    if (try->left && now_us > row->taken_us && now_us - row->taken_us > INBOX_TOKEN_US_MAX) {
        settle_row(row, L3_INBOX_FAILED,
                   "cartd ended while this was being done, too long ago to tell whether it was; "
                   "look at the cart, or at chst, and insert it again if it was not");
        return;
    }
    switch (do_row(tier, row)) {
    case TIER_INBOX_DONE: settle_row(row, L3_INBOX_DONE, NULL); break;
    case TIER_INBOX_REFUSED: settle_row(row, L3_INBOX_FAILED, NULL); break;
    default:
        if (now_ms - try->first_ms > INBOX_PATIENCE_MS)
            settle_row(row, L3_INBOX_FAILED,
                       "not done: cartd had no memory or no disk for it for 5 minutes; insert it "
                       "again");
    }
}

static void log_row(const struct l3_inbox_row *row)
{
    if (row->fate == L3_INBOX_FAILED)
        log_warn("inbox", "row %lld for cart %.*s failed: %s", (long long)row->id,
                 (int)row->key.len, (const char *)row->key.bytes, row->reason);
    else
        log_debug("inbox", "row %lld for cart %.*s is done", (long long)row->id, (int)row->key.len,
                  (const char *)row->key.bytes);
}

/* ---- a turn ---- */

static void try_rows(struct tier *tier)
{
    struct inbox *inbox = &tier->inbox;
    for (size_t i = 0; i < inbox->count && !turns_end(&inbox->turns); i++) {
        if (inbox->rows[i].fate != L3_INBOX_OPEN || waits_behind(inbox, i))
            continue;
        try_row(tier, i);
        if (inbox->rows[i].fate != L3_INBOX_OPEN)
            log_row(&inbox->rows[i]);
    }
}

/* Only open rows stay, in their order; buffers are swapped, not lost. */
static void drop_settled(struct inbox *inbox)
{
    size_t kept = 0;
    for (size_t i = 0; i < inbox->count; i++) {
        struct l3_inbox_row row = inbox->rows[i];
        if (row.fate != L3_INBOX_OPEN) {
            atomic_fetch_add(row.fate == L3_INBOX_DONE ? &inbox->done : &inbox->failed, 1);
            continue;
        }
        inbox->rows[i] = inbox->rows[kept];
        inbox->rows[kept] = row;
        inbox->tries[kept++] = inbox->tries[i];
    }
    inbox->count = kept;
}

/* What was done leaves the table when power loss can't undo it. */
static int settle(struct tier *tier)
{
    struct inbox *inbox = &tier->inbox;
    size_t settled = 0;
    for (size_t i = 0; i < inbox->count; i++)
        settled += inbox->rows[i].fate != L3_INBOX_OPEN;
    if (settled == 0 || journal_flush(tier->journal, ACK_SYNC, JOURNAL_WAIT_MS))
        return 0; /* the disk: another turn */
    int rc = l3_inbox_settle(inbox->l3, inbox->rows, inbox->count);
    if (rc == 0)
        drop_settled(inbox);
    return rc;
}

/* Returns how long to wait for the next one. */
static unsigned turn(struct tier *tier)
{
    struct inbox *inbox = &tier->inbox;
    if (!connect_database(tier))
        return INBOX_RETRY_MS;
    size_t before = inbox->count;
    int rc = take(tier);
    size_t taken = inbox->count - before;
    if (rc == 0) {
        try_rows(tier);
        rc = settle(tier);
    }
    atomic_store(&inbox->waiting, inbox->count);
    if (rc) {
        note_failure(inbox, l3_message(inbox->l3));
        return INBOX_RETRY_MS;
    }
    note_success(inbox);
    return taken ? 0 : tier->config.inbox_ms;
}

static void *run_inbox(void *arg)
{
    struct tier *tier = arg;
    struct inbox *inbox = &tier->inbox;
    thread_give_way();
    bool go = !turns_end(&inbox->turns);
    while (go)
        go = turns_rest(&inbox->turns, turn(tier));
    if (inbox->l3)
        l3_close(&inbox->l3);
    return NULL;
}

int inbox_start(struct tier *tier)
{
    struct inbox *inbox = &tier->inbox;
    if (!tier->l3_url || !tier->config.inbox_ms)
        return 0;
    if (!inbox->rows) /* else left by a try that failed */
        inbox->rows = calloc(L3_INBOX_ROWS_MAX, sizeof *inbox->rows);
    if (!inbox->tries)
        inbox->tries = calloc(L3_INBOX_ROWS_MAX, sizeof *inbox->tries);
    if (!inbox->rows || !inbox->tries)
        return CE_NOMEM;
    return turns_start(&inbox->turns, "inbox", run_inbox, tier);
}

void inbox_stop(struct tier *tier)
{
    turns_stop(&tier->inbox.turns);
}

/* A change of two carts in one record: both or none, whatever fails while it is put, and whichever
 * of the two L2 has already when it is replayed. */
#include "base/varint.h"
#include "cart_kit.h"
#include "cmd/cmd.h"
#include "fail_nth.h"
#include "suite.h"
#include "tier/tier_int.h"
#include "tier_rig.h"

#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define THREAD   "test"
#define L1_BYTES (64u << 20)
#define WAIT_MS  60000
#define TEXT_MAX 4096

static char dir[64];
static struct tier *tier;
static struct cmd *cmd;
static const char *const keys[2] = {"cart:a", "cart:b"};

static void open_on(const struct tier_value *value)
{
    char message[256];
    const struct tier_config config = {.env = env_real(),
                                       .data_dir = dir,
                                       .l1_bytes_max = L1_BYTES,
                                       .value = value,
                                       .state_record = CMD_RECORD_STATE,
                                       .pair_record = CMD_RECORD_PAIR,
                                       .advanced = tier_rig_ignore,
                                       .expire = tier_rig_expire_nothing};
    const struct cmd_bucket bucket = {.name = "cart", .prefixes = "cart:", .class = CMD_CART};
    const struct cmd_config cmd_config = {
        .env = env_real(), .buckets = &bucket, .buckets_count = 1, .workers = 1};
    ck_assert_int_eq(tier_open(&config, &tier, message, sizeof message), 0);
    ck_assert_int_eq(cmd_new(&cmd_config, &cmd), 0);
    cmd_attach(cmd, NULL, tier);
    ck_assert_int_eq(tier_start(tier, cmd_replay, cmd), 0);
}

static void open_all(void)
{
    open_on(cmd_tier_value());
}

static void close_all(void)
{
    ck_assert_int_eq(tier_stop(&tier, WAIT_MS), 0);
    cmd_free(&cmd);
}

static void set_up(void)
{
    snprintf(dir, sizeof dir, "/tmp/tier_pair.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    ck_assert_int_eq(pthread_setname_np(pthread_self(), THREAD), 0);
}

static void tear_down(void)
{
    char command[96];
    fail_nth_disarm();
    snprintf(command, sizeof command, "rm -r %s", dir);
    ck_assert_int_eq(system(command), 0);
}

/* ---- putting ---- */

static struct slice key_of(int side)
{
    return slice_str(keys[side]);
}

/* The state in L1 as text, '?' for a byte that was never written; "" when there is none. Borrowed
 * until the next call for this side. */
static const char *look(int side)
{
    static char texts[2][TEXT_MAX];
    struct l1_item *item;
    uint64_t hash = hash_64(key_of(side));
    l1_lock(tier_l1(tier), hash);
    bool here = tier_find_locked(tier, hash, key_of(side), &item) == TIER_HERE;
    struct slice state = here ? l1_value_slice(item) : slice_str("");
    ck_assert_uint_lt(state.len, TEXT_MAX);
    for (size_t i = 0; i < state.len; i++)
        texts[side][i] = state.bytes[i] ? (char)state.bytes[i] : '?';
    texts[side][state.len] = 0;
    l1_unlock(tier_l1(tier), hash);
    return texts[side];
}

static int put_both(const char *a, const char *b, enum ack_level level)
{
    uint64_t lsn, hash[2] = {hash_64(key_of(0)), hash_64(key_of(1))};
    const struct tier_change changes[2] = {{hash[0], key_of(0), 1, slice_str(a)},
                                           {hash[1], key_of(1), 1, slice_str(b)}};
    l1_lock_both(tier_l1(tier), hash[0], hash[1]);
    int rc = tier_put_both_locked(tier, changes, CMD_RECORD_PAIR, slice_str("record"), level, &lsn);
    l1_unlock_both(tier_l1(tier), hash[0], hash[1]);
    return rc;
}

/* Larger each time, so that both need new memory. */
static void make_text(char *text, size_t len, char letter)
{
    memset(text, letter, len);
    text[len] = 0;
}

static void put_with_each_failing(int lasting)
{
    char a[TEXT_MAX], b[TEXT_MAX];
    bool reached = true;
    int refused = 0;
    for (int n = 1; reached; n++) {
        char before[2][TEXT_MAX];
        uint64_t end = journal_end(tier_journal(tier)), dirty = l1_dirty_count(tier_l1(tier));
        strcpy(before[0], look(0));
        strcpy(before[1], look(1));
        make_text(a, strlen(before[0]) + 200, 'a');
        make_text(b, strlen(before[1]) + 200, 'b');
        fail_nth_arm(FAIL_IN(MEMORY), n, lasting, 0, THREAD);
        int rc = put_both(a, b, ACK_RAM);
        reached = fail_nth_disarm() > 0;
        ck_assert_int_eq(rc, reached ? CE_NOMEM : 0);
        ck_assert_str_eq(look(0), rc ? before[0] : a);
        ck_assert_str_eq(look(1), rc ? before[1] : b);
        if (rc) {
            refused++;
            ck_assert_uint_eq(journal_end(tier_journal(tier)), end);
            ck_assert_uint_le(l1_dirty_count(tier_l1(tier)), dirty);
        }
    }
    ck_assert_int_ge(refused, 2); /* memory for either cart */
}

START_TEST(memory_that_fails_changes_neither_of_two_carts)
{
    open_on(&tier_rig_any_value);
    put_with_each_failing(0); /* neither is there before */
    put_with_each_failing(1); /* both are */
    close_all();
}
END_TEST

START_TEST(a_journal_that_fails_changes_neither_of_two_carts)
{
    open_on(&tier_rig_any_value);
    ck_assert_int_eq(put_both("a", "b", ACK_RAM), 0);
    fail_nth_arm(FAIL_IN(FILE), 1, 1, EIO, "journal");
    ck_assert_int_ne(journal_flush(tier_journal(tier), ACK_SYNC, WAIT_MS), 0);
    ck_assert(journal_failed(tier_journal(tier)));
    ck_assert_int_eq(put_both("aa", "bb", ACK_OS), CE_NODISK);
    ck_assert_int_eq(put_both("aa", "bb", ACK_SYNC), CE_NODISK);
    ck_assert_str_eq(look(0), "a");
    ck_assert_str_eq(look(1), "b");
    ck_assert_int_eq(put_both("aaa", "bbb", ACK_RAM), 0); /* asks for nothing that failed */
    ck_assert_str_eq(look(0), "aaa");
    ck_assert_str_eq(look(1), "bbb");
    fail_nth_disarm();
    while (journal_failed(tier_journal(tier))) /* it tries again by itself */
        sched_yield();
    close_all();
}
END_TEST

/* ---- replaying ---- */

/* Appends the payload of the step that made `kit` what it is now: its first. */
static void put_step(struct buf *record, const char *key, const struct kit *kit,
                     const struct cart_step *step)
{
    uint8_t numbers[2 * VARINT_MAX];
    size_t len = varint_put(numbers, kit->result.seq);
    len += varint_put(numbers + len, kit->result.summary.version);
    ck_assert_int_eq(tier_head_put(slice_str(key), (struct tier_link){0, 0}, record), 0);
    ck_assert_int_eq(buf_append(record, numbers, len), 0);
    ck_assert_int_eq(cart_step_encode(step, record), 0);
}

struct side {
    struct kit kit;
    struct cart_op op;
    struct buf record;
};

static void make_side(struct side *side, const char *key, uint64_t actor, int64_t qty)
{
    kit_init(&side->kit, actor);
    side->op = (struct cart_op){.kind = CART_SET, .line = slice_str("A"), .n = qty};
    struct cart_step step = side->kit.step;
    step.ops = &side->op;
    step.ops_count = 1;
    ck_assert_int_eq(kit_op(&side->kit, side->op), 0);
    put_step(&side->record, key, &side->kit, &step);
}

/* A daemon that puts both and dies when the journal has them. */
static void put_and_die(struct side sides[2])
{
    struct buf pair = {0};
    uint8_t number[VARINT_MAX];
    uint64_t lsn, hash[2] = {hash_64(key_of(0)), hash_64(key_of(1))};
    struct tier_change changes[2];
    size_t len = varint_put(number, sides[0].record.len);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child) {
        int status;
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        return;
    }
    open_all();
    MUST(buf_append(&pair, number, len) == 0);
    for (int i = 0; i < 2; i++) {
        changes[i] = (struct tier_change){hash[i], key_of(i), sides[i].kit.step.actor,
                                          kit_state(&sides[i].kit)};
        MUST(buf_append(&pair, sides[i].record.bytes, sides[i].record.len) == 0);
    }
    l1_lock_both(tier_l1(tier), hash[0], hash[1]);
    MUST(tier_put_both_locked(tier, changes, CMD_RECORD_PAIR, buf_slice(&pair), ACK_SYNC, &lsn) ==
         0);
    l1_unlock_both(tier_l1(tier), hash[0], hash[1]);
    MUST(journal_flush(tier_journal(tier), ACK_SYNC, WAIT_MS) == 0);
    raise(SIGKILL);
}

/* As after a crash between two batches of a sweep. */
static void put_into_l2(const struct side *side, const char *key)
{
    char path[96];
    struct l2 *l2;
    struct l2_batch *batch;
    bool moved;
    snprintf(path, sizeof path, "%s/l2", dir);
    const struct l2_config config = {.env = env_real(), .path = path};
    const struct l2_cart cart = {.state = kit_state(&side->kit)};
    ck_assert_int_eq(l2_open(&config, &l2, &moved), 0);
    ck_assert_int_eq(l2_batch_new(&batch), 0);
    ck_assert_int_eq(l2_batch_put(batch, slice_str(key), &cart), 0);
    ck_assert_int_eq(l2_batch_commit(l2, batch), 0);
    l2_batch_free(&batch);
    l2_close(&l2);
}

static void expect_state(const struct side *side, const char *key)
{
    struct l1_item *item;
    uint64_t hash = hash_64(slice_str(key));
    ck_assert_int_eq(fill_now(tier, slice_str(key)), 0);
    l1_lock(tier_l1(tier), hash);
    ck_assert_int_eq(tier_find_locked(tier, hash, slice_str(key), &item), TIER_HERE);
    ck_assert(slice_eq(l1_value_slice(item), kit_state(&side->kit)));
    l1_unlock(tier_l1(tier), hash);
}

/* _i: which of the two L2 has, a bit each. */
START_TEST(a_pair_is_replayed_onto_whatever_l2_has_of_it)
{
    struct side sides[2] = {0};
    for (int i = 0; i < 2; i++)
        make_side(&sides[i], keys[i], (uint64_t)(i + 1) << 32, 3 + i);
    put_and_die(sides);
    for (int i = 0; i < 2; i++)
        if (_i & 1 << i)
            put_into_l2(&sides[i], keys[i]);
    for (int start = 0; start < 2; start++) { /* and once more from what that wrote */
        open_all();
        for (int i = 0; i < 2; i++)
            expect_state(&sides[i], keys[i]);
        close_all();
    }
    for (int i = 0; i < 2; i++) {
        kit_fini(&sides[i].kit);
        buf_free(&sides[i].record);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tier_pair");
    TCase *pairs = tcase_create("pairs");
    tcase_add_checked_fixture(pairs, set_up, tear_down);
    tcase_add_test(pairs, memory_that_fails_changes_neither_of_two_carts);
    tcase_add_test(pairs, a_journal_that_fails_changes_neither_of_two_carts);
    tcase_add_loop_test(pairs, a_pair_is_replayed_onto_whatever_l2_has_of_it, 0, 4);
    suite_add_tcase(suite, pairs);
    return suite_run(suite);
}

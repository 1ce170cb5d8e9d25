/* net: what is readable together is run together, and nobody gets more than a turn by it. */
#include "lib/net_rig.h"
#include "lib/suite.h"

#include <stdio.h>
#include <stdlib.h>

/* Connections that the worker has served once. */
static void connect_many(int *fds, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        fds[i] = net_rig_connect_unix();
        net_rig_say(fds[i], "e\n");
        net_rig_expect(fds[i], "ok\n");
    }
    net_rig.foreseen = net_rig.foreseen_max = net_rig.unanswered_max = 0;
}

/* All speak while the worker net_rig.stands still. */
static void echo_many(const int *fds, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        net_rig_say(fds[i], "e\n");
    sem_post(&net_rig.goes_on);
    for (unsigned i = 0; i < count; i++)
        net_rig_expect(fds[i], "ok\n");
}

static void close_many(const int *fds, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        close(fds[i]);
}

START_TEST(who_is_readable_together_is_foreseen_run_and_answered_together)
{
    int fds[3];
    connect_many(fds, 3);
    int still = net_rig_stand_still();
    echo_many(fds, 3);
    ck_assert(net_rig.foreseen == 3 && net_rig.foreseen_max == 3);
    ck_assert_uint_eq(net_rig.unanswered_max, 2);
    close_many(fds, 3);
    close(still);
}
END_TEST

START_TEST(who_leaves_a_batch_leaves_it_to_the_others)
{
    int fds[4];
    connect_many(fds, 4);
    int still = net_rig_stand_still();
    net_rig_say(fds[0], "q\n");
    net_rig_say(fds[1], "e\n");
    close(fds[2]);
    net_rig_say(fds[3], "e\n");
    sem_post(&net_rig.goes_on);
    net_rig_expect_end(fds[0]);
    net_rig_expect(fds[1], "ok\n");
    net_rig_expect(fds[3], "ok\n");
    close(fds[1]);
    close(fds[3]);
    close(still);
}
END_TEST

START_TEST(no_batch_is_larger_than_its_limit)
{
    int fds[2 * NET_BATCH_MAX];
    connect_many(fds, 2 * NET_BATCH_MAX);
    int still = net_rig_stand_still();
    echo_many(fds, 2 * NET_BATCH_MAX);
    ck_assert(net_rig.foreseen_max > 1 && net_rig.foreseen_max <= NET_BATCH_MAX);
    close_many(fds, 2 * NET_BATCH_MAX);
    close(still);
}
END_TEST

/* Between two answers to one there is one turn of another, not two. */
START_TEST(who_was_read_goes_before_who_had_a_turn)
{
    char lines[2 * (1 + 2 * NET_TURN_REQUESTS) + 1] = "s\n";
    int greedy = net_rig_connect_unix(), other;
    connect_many(&other, 1);
    for (unsigned i = 0; i < 2 * NET_TURN_REQUESTS; i++)
        strcat(lines, "e\n");
    unsigned before = atomic_load(&net_rig.echoes);
    net_rig_say(greedy, lines);
    sem_wait(&net_rig.stands);
    net_rig_say(other, "t\n");
    sem_post(&net_rig.goes_on);
    snprintf(lines, sizeof lines, "%u\n", before + NET_TURN_REQUESTS - 1);
    net_rig_expect(other, lines);
    close(greedy);
    close(other);
}
END_TEST

START_TEST(what_a_batch_has_read_is_answered_at_a_stop)
{
    int fds[3];
    pthread_t stopper;
    connect_many(fds, 3);
    int still = net_rig_stand_still();
    for (unsigned i = 0; i < 3; i++)
        net_rig_say(fds[i], i ? "e\n" : "h\n");
    net_rig_begin_stop(&stopper);
    while (!atomic_load(&net_rig.net->workers[0].mailbox.woken)) /* the stop is behind them */
        net_rig_is_silent(fds[0], 1);
    sem_post(&net_rig.goes_on);
    for (unsigned i = 1; i < 3; i++) {
        net_rig_expect(fds[i], "ok\n");
        net_rig_expect_end(fds[i]);
    }
    net_rig_reach(1); /* only now may the worker end */
    net_rig_expect(fds[0], "held\n");
    net_rig_expect_end(fds[0]);
    net_rig_expect_end(still);
    net_rig_end_stop(stopper);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("net_batch");
    TCase *cases = tcase_create("served"), *ends = tcase_create("stop");
    tcase_add_checked_fixture(cases, net_rig_set_up, net_rig_tear_down);
    tcase_add_checked_fixture(ends, net_rig_set_up, NULL);
    tcase_set_timeout(cases, WAIT_MS / 1000);
    tcase_add_test(cases, who_is_readable_together_is_foreseen_run_and_answered_together);
    tcase_add_test(cases, who_leaves_a_batch_leaves_it_to_the_others);
    tcase_add_test(cases, no_batch_is_larger_than_its_limit);
    tcase_add_test(cases, who_was_read_goes_before_who_had_a_turn);
    tcase_add_test(ends, what_a_batch_has_read_is_answered_at_a_stop);
    suite_add_tcase(suite, cases);
    suite_add_tcase(suite, ends);
    return suite_run(suite);
}

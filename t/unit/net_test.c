/* net against a handler of its own: what is held, parked, too much or too late. What is run
 * together is in net_batch_test.c. */
#include "lib/fake_env.h"
#include "lib/log_heard.h"
#include "lib/net_rig.h"
#include "lib/suite.h"
#include "net/net_int.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- holds ---- */

START_TEST(held_replies_wait_and_all_behind_them)
{
    int fd = net_rig_connect_unix();
    net_rig_say(fd, "e\nh\ne\nh\ne\n");
    net_rig_expect(fd, "ok\n");
    ck_assert(net_rig_is_silent(fd, SILENCE_MS));
    net_rig_reach(1);
    net_rig_expect(fd, "held\nok\n");
    ck_assert(net_rig_is_silent(fd, SILENCE_MS));
    net_rig_reach(2);
    net_rig_expect(fd, "held\nok\n");
    close(fd);
}
END_TEST

START_TEST(a_promise_that_fails_is_replaced)
{
    int fd = net_rig_connect_unix();
    net_rig_say(fd, "h\ne\nh\nq\n");
    ck_assert(net_rig_is_silent(fd, SILENCE_MS));
    net_rig_reach(FAIL_LSN);
    net_rig_expect(fd, "failed\nok\nfailed\n");
    net_rig_expect_end(fd);
}
END_TEST

START_TEST(no_more_than_some_replies_are_held_and_memory_comes_back)
{
    enum { REQUESTS = 3 * CONN_HOLDS_MAX };
    static char requests[2 * REQUESTS + 1];
    int fd = net_rig_connect_unix();
    for (int i = 0; i < REQUESTS; i++)
        memcpy(requests + 2 * i, "h\n", 2);
    net_rig_say(fd, requests);
    for (int i = 0; i < REQUESTS; i++) {
        if (i == (int)atomic_load(&net_rig.lsn_reached)) {
            while ((int)atomic_load(&net_rig.lsn_given) < i + CONN_HOLDS_MAX && i < REQUESTS)
                net_rig_is_silent(fd, 1);
            net_rig_reach((uint64_t)i + CONN_HOLDS_MAX);
        }
        net_rig_expect(fd, "held\n");
    }
    ck_assert_uint_eq(atomic_load(&net_rig.live_holds_max), CONN_HOLDS_MAX);
    net_rig_say(fd, "e\n");
    net_rig_expect(fd, "ok\n");
    ck_assert_uint_le(atomic_load(&net_rig.holds_cap), 256);
    close(fd);
}
END_TEST

/* Always one reply is held, so the array never becomes empty. */
START_TEST(a_stream_of_holds_needs_no_more_room)
{
    int fd = net_rig_connect_unix();
    for (uint64_t i = 1; i <= 5000; i++) {
        net_rig_say(fd, "h\n");
        if (i > 1) {
            net_rig_reach(i - 1);
            net_rig_expect(fd, "held\n");
        }
    }
    net_rig_say(fd, "e\n");
    net_rig_reach(5000);
    net_rig_expect(fd, "held\nok\n");
    ck_assert_uint_le(atomic_load(&net_rig.holds_cap), 64);
    close(fd);
}
END_TEST

/* ---- memory ---- */

START_TEST(buffers_are_given_back_after_a_burst)
{
    static char text[300001];
    int fd = net_rig_connect_unix();
    memset(text, 'e', sizeof text - 1);
    net_rig_say(fd, text);
    net_rig_say(fd, "\ne"); /* the buffer does not become empty */
    net_rig_expect(fd, "ok\n");
    net_rig_say(fd, "\n");
    net_rig_expect(fd, "ok\n");
    ck_assert_uint_le(atomic_load(&net_rig.in_cap), CONN_KEEP_BYTES);
    net_rig_say(fd, "b 3000000\n");
    net_rig_expect_bytes(fd, 3000000);
    for (int i = 0; i < 2; i++) { /* at the first one much is still expected */
        net_rig_say(fd, "e\n");
        net_rig_expect(fd, "ok\n");
    }
    ck_assert_uint_le(atomic_load(&net_rig.out_cap), CONN_KEEP_BYTES);
    close(fd);
}
END_TEST

START_TEST(who_says_nothing_has_no_buffer)
{
    int idle = net_rig_connect_unix(), fd = net_rig_connect_unix();
    for (int i = 0; i < 2; i++) { /* the second time much is expected */
        net_rig_say(idle, "b 20000\n");
        net_rig_expect_bytes(idle, 20000);
    }
    net_rig_say(fd, "e\n");
    net_rig_expect(fd, "ok\n");
    ck_assert_uint_le(atomic_load(&net_rig.idle_bytes), CONN_IDLE_BYTES);
    close(idle);
    close(fd);
}
END_TEST

/* Else it would be served for as long as what a buffer of another's size holds. */
START_TEST(who_gets_the_large_buffer_of_another_reads_no_more_at_once)
{
    static char text[150001];
    int large = net_rig_connect_unix(), fd = net_rig_connect_unix();
    net_rig_say(large, "b 3000000\n");
    net_rig_expect_bytes(large, 3000000);
    net_rig_say(large, "e\n");
    net_rig_expect(large, "ok\n");
    int stands = net_rig_stand_still();
    memset(text, 'e', sizeof text - 1);
    net_rig_say(fd, text);
    sem_post(&net_rig.goes_on);
    net_rig_say(fd, "\n");
    net_rig_expect(fd, "ok\n");
    ck_assert_uint_ge(atomic_load(&net_rig.in_cap), 3000000); /* it is that buffer */
    ck_assert_uint_le(atomic_load(&net_rig.came_max), CONN_KEEP_BYTES);
    close(stands);
    close(large);
    close(fd);
}
END_TEST

/* ---- descriptors ---- */

/* What a thread that wants descriptors takes just before each accept4, all but the last spare. */
static _Atomic bool thief_wants;
static int stolen[NET_SPARE_FDS - 1];
static _Atomic size_t stolen_count;

int accept4(int fd, struct sockaddr *restrict addr, socklen_t *restrict addr_len, int flags)
{
    if (thief_wants && stolen_count < NET_SPARE_FDS - 1) {
        int taken = open("/dev/null", O_RDONLY);
        if (taken >= 0) {
            stolen[stolen_count] = taken;
            stolen_count++;
        }
    }
    return (int)syscall(SYS_accept4, fd, addr, addr_len, flags);
}

/* No descriptor that is not taken yet may be. */
static struct rlimit leave_no_descriptor(void)
{
    struct rlimit before, now;
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    int lowest = open("/dev/null", O_RDONLY);
    ck_assert_int_ge(lowest, 0);
    close(lowest);
    now = (struct rlimit){.rlim_cur = (rlim_t)lowest, .rlim_max = before.rlim_max};
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &now), 0);
    return before;
}

START_TEST(without_descriptors_all_are_told_so_though_a_thread_takes_what_is_given_up)
{
    enum { CLIENTS = 64 };
    int fds[CLIENTS];
    char byte;
    for (int i = 0; i < CLIENTS; i++)
        fds[i] = socket(AF_UNIX, SOCK_STREAM, 0);
    log_listen();
    struct rlimit before = leave_no_descriptor();
    thief_wants = true;
    for (int i = 0; i < CLIENTS; i++) {
        net_rig_connect_unix_by(fds[i]);
        net_rig_expect(fds[i], "ERROR Too many open connections\r\n");
        ck_assert_int_eq(recv(fds[i], &byte, 1, 0), 0); /* open still, for the next one */
    }
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    thief_wants = false;
    ck_assert_uint_eq(stolen_count, NET_SPARE_FDS - 1);
    ck_assert_str_eq(log_heard(), ""); /* an empty queue is no failure: it makes no pause */
    for (size_t i = 0; i < stolen_count; i++)
        close(stolen[i]);
    for (int i = 0; i < CLIENTS; i++)
        close(fds[i]);
}
END_TEST

/* ---- time ---- */

START_TEST(who_waits_for_us_is_not_idle)
{
    int held = net_rig_connect_unix(), waits = net_rig_connect_unix(),
        idle = net_rig_connect_unix(), half = net_rig_connect_unix();
    net_rig_say(held, "h\n");
    net_rig_say(waits, "p\n");
    net_rig_say(half, "e");
    net_rig_say(idle, "e\n");
    net_rig_expect(idle, "ok\n");
    ck_assert(net_rig_is_silent(held, TICK_MS) &&
              net_rig_is_silent(waits, 0)); /* both have been run */
    fake_env_advance_ms(net_rig.fake, 1000 * NET_RIG_IDLE_S);
    ck_assert(net_rig_is_silent(idle, TICK_MS)); /* not yet */
    fake_env_advance_ms(net_rig.fake, 1000);
    net_rig_expect_end(idle);
    net_rig_expect_end(half);
    net_rig_reach(1);
    net_rig_expect(held, "held\n");
    net_rig_resume(atomic_load(&net_rig.parked));
    net_rig_expect(waits, "woken\n");
    ck_assert_uint_eq(net_rig_read_stat("idle_kicks"), 2);
    ck_assert(net_rig_is_silent(held, TICK_MS));
    fake_env_advance_ms(net_rig.fake, 1000 * NET_RIG_IDLE_S + 1000);
    net_rig_expect_end(held);
    net_rig_expect_end(waits);
}
END_TEST

/* SIGSTOP, a machine that was paused: the clock has moved on, the second of the last tick has not.
 */
START_TEST(who_spoke_in_a_pause_is_not_idle)
{
    int before = net_rig_connect_unix(), during = net_rig_connect_unix();
    net_rig_say(before, "e\n");
    net_rig_expect(before, "ok\n");
    ck_assert(net_rig_is_silent(before, TICK_MS));
    net_rig_say(during, "s\n");
    MUST(sem_wait(&net_rig.stands) == 0);
    int newcomer = net_rig_connect_unix();
    fake_env_advance_ms(net_rig.fake, 100 * 1000 * NET_RIG_IDLE_S);
    ck_assert(net_rig_is_silent(during, TICK_MS)); /* the tick is due when the worker goes on */
    sem_post(&net_rig.goes_on);
    net_rig_expect_end(before);
    net_rig_say(newcomer, "e\n");
    net_rig_expect(newcomer, "ok\n");
    net_rig_say(during, "e\n");
    net_rig_expect(during, "ok\n");
    ck_assert_uint_eq(net_rig_read_stat("idle_kicks"), 1);
}
END_TEST

/* ---- datagrams ---- */

START_TEST(the_answer_to_a_datagram_waits_too)
{
    int fd = net_rig_connect_udp(), other = net_rig_connect_udp();
    net_rig_send_datagram(fd, "h\n");
    net_rig_send_datagram(other, "p\n");
    ck_assert(net_rig_is_silent(fd, SILENCE_MS) && net_rig_is_silent(other, SILENCE_MS));
    net_rig_send_datagram(other, "e\n");
    net_rig_expect_datagram(other, "ok\n");
    net_rig_reach(1);
    net_rig_expect_datagram(fd, "held\n");
    net_rig_resume(atomic_load(&net_rig.parked));
    net_rig_expect_datagram(other, "woken\n");
    net_rig_send_datagram(fd, "h\ne\n");
    ck_assert(net_rig_is_silent(fd, SILENCE_MS));
    net_rig_reach(FAIL_LSN);
    net_rig_expect_datagram(fd, "failed\nok\n");
    ck_assert_uint_eq(net_rig_read_stat("udp_dropped"), 0);
    ck_assert_uint_eq(net_rig_read_stat("curr_connections"), 0);
}
END_TEST

START_TEST(so_many_datagrams_wait_and_no_more)
{
    int fds[20];
    for (int i = 0; i < 20; i++)
        fds[i] = net_rig_connect_udp();
    for (int i = 0; i < NET_UDP_PENDING_MAX + 50; i++)
        net_rig_send_datagram(fds[i % 20], "h\n");
    net_rig_wait_stat("udp_dropped", 50);
    ck_assert_uint_eq(atomic_load(&net_rig.lsn_given), NET_UDP_PENDING_MAX);
    net_rig_reach(NET_UDP_PENDING_MAX);
    for (int i = 0; i < NET_UDP_PENDING_MAX; i++)
        net_rig_expect_datagram(fds[i % 20], "held\n");
    for (int i = 0; i < 20; i++)
        ck_assert(net_rig_is_silent(fds[i], 0));
    net_rig_send_datagram(fds[0], "e\n");
    net_rig_expect_datagram(fds[0], "ok\n");
}
END_TEST

START_TEST(too_large_an_answer_is_replaced_or_dropped)
{
    int fd = net_rig_connect_udp();
    net_rig_send_datagram(fd, "b 1393\n");
    net_rig_expect_datagram(fd, "too large\n");
    net_rig_send_datagram(fd, "b 300000\nh\n"); /* what is behind it is not run */
    net_rig_expect_datagram(fd, "too large\n");
    ck_assert_uint_eq(atomic_load(&net_rig.lsn_given), 0);
    net_rig_send_datagram(fd, "b 9999\n");
    net_rig_wait_stat("udp_dropped", 1);
    ck_assert_uint_eq(net_rig_read_stat("udp_too_large"), 3);
    net_rig_send_datagram(fd, "e\n");
    net_rig_expect_datagram(fd, "ok\n");
}
END_TEST

/* ---- the thread of net_run ---- */

START_TEST(a_hangup_is_told)
{
    int fd = net_rig_connect_unix();
    net_rig_say(fd, "m\n");
    net_rig_expect(fd, "woken\n");
    kill(getpid(), SIGHUP);
    while (atomic_load(&net_rig.hangups) == 0)
        net_rig_is_silent(fd, 1);
    close(fd);
}
END_TEST

START_TEST(main_still_does_what_it_is_asked_while_all_stops)
{
    int fd = net_rig_connect_unix();
    net_rig_say(fd, "e\n");
    net_rig_expect(fd, "ok\n");
    net_rig_end_run();
    net_rig_say(fd, "m\ne\n"); /* nobody takes it but net_stop */
    ck_assert(net_rig_is_silent(fd, SILENCE_MS));
    ck_assert(net_stop(net_rig.net, WAIT_MS));
    net_rig_expect(fd, "woken\nok\n");
    net_rig_expect_end(fd);
    net_rig_free();
}
END_TEST

START_TEST(datagrams_that_have_come_are_answered_at_a_stop)
{
    enum { DATAGRAMS = 200 }; /* more than a worker takes in one turn */
    pthread_t stopper;
    int udp = net_rig_connect_udp();
    net_rig_stand_still();
    for (int i = 0; i < DATAGRAMS; i++)
        net_rig_send_datagram(udp, "e\n");
    net_rig_begin_stop(&stopper);
    while (access(net_rig.path, F_OK) ==
           0) /* it does not listen any more: it is about to tell the worker */
        net_rig_is_silent(udp, 1);
    ck_assert(net_rig_is_silent(udp, SILENCE_MS));
    sem_post(&net_rig.goes_on);
    for (int i = 0; i < DATAGRAMS; i++)
        net_rig_expect_datagram(udp, "ok\n");
    net_rig_end_stop(stopper);
}
END_TEST

START_TEST(a_stop_waits_for_answers_and_no_longer_than_told)
{
    int udp = net_rig_connect_udp(), fd = net_rig_connect_unix();
    net_rig_send_datagram(udp, "h\n");
    net_rig_say(fd, "h\n");
    while (atomic_load(&net_rig.lsn_given) < 2)
        net_rig_is_silent(udp, 1);
    net_rig_end_run();
    ck_assert(!net_stop(net_rig.net, SILENCE_MS)); /* what is held is cut off */
    net_rig_expect_end(fd);
    ck_assert(net_rig_is_silent(udp, 0));
    net_rig_free();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("net");
    TCase *cases = tcase_create("served"), *ends = tcase_create("stop");
    tcase_add_checked_fixture(cases, net_rig_set_up, net_rig_tear_down);
    tcase_add_checked_fixture(ends, net_rig_set_up, NULL);
    tcase_set_timeout(cases, WAIT_MS / 1000);
    tcase_add_test(cases, held_replies_wait_and_all_behind_them);
    tcase_add_test(cases, a_promise_that_fails_is_replaced);
    tcase_add_test(cases, no_more_than_some_replies_are_held_and_memory_comes_back);
    tcase_add_test(cases, a_stream_of_holds_needs_no_more_room);
    tcase_add_test(cases, buffers_are_given_back_after_a_burst);
    tcase_add_test(cases, who_says_nothing_has_no_buffer);
    tcase_add_test(cases, who_gets_the_large_buffer_of_another_reads_no_more_at_once);
    tcase_add_test(cases,
                   without_descriptors_all_are_told_so_though_a_thread_takes_what_is_given_up);
    tcase_add_test(cases, who_waits_for_us_is_not_idle);
    tcase_add_test(cases, who_spoke_in_a_pause_is_not_idle);
    tcase_add_test(cases, the_answer_to_a_datagram_waits_too);
    tcase_add_test(cases, so_many_datagrams_wait_and_no_more);
    tcase_add_test(cases, too_large_an_answer_is_replaced_or_dropped);
    tcase_add_test(cases, a_hangup_is_told);
    tcase_add_test(ends, main_still_does_what_it_is_asked_while_all_stops);
    tcase_add_test(ends, datagrams_that_have_come_are_answered_at_a_stop);
    tcase_add_test(ends, a_stop_waits_for_answers_and_no_longer_than_told);
    suite_add_tcase(suite, cases);
    suite_add_tcase(suite, ends);
    return suite_run(suite);
}

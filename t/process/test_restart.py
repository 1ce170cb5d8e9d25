"""A restart serves at once, however many carts there are, and other options keep every cart.

RESTART_CARTS: how many. RESTART_SECONDS: until the first is served; a check has a busy machine.
"""
import os
import random
import time

import pytest
from test_buckets import write_config
from waiting import wait_until

CARTS = int(os.environ.get("RESTART_CARTS", "20000"))
SERVES_SECONDS = float(os.environ.get("RESTART_SECONDS", "5"))
BATCH = 1000
SAMPLE = 500
ROUNDS = 3


def fill(server):
    with server.client() as client:
        for first in range(0, CARTS, BATCH):
            client.send("".join(f"cadd cart:r{number} SKU-{number} {1 + number % 9} Dram\r\n"
                                for number in range(first, first + BATCH)))
            assert client.lines(BATCH) == ["HD"] * BATCH
        assert client.cmd("cadd cart:last SKU-1 1 Dsync") == "HD"


def check(server, count, more=0):
    with server.client() as client:
        for number in random.Random(1).sample(range(CARTS), count):
            assert client.qty(f"cart:r{number}", f"SKU-{number}") == 1 + number % 9 + more


def seconds_to_serve(server):
    began = time.monotonic()
    server.spawn()
    wait_until(server.answers, "the daemon serves")
    with server.client() as client:
        assert client.qty("cart:r7", "SKU-7") >= 8
        assert client.cmd("cadd cart:r8 more 1 Dsync") == "HD"
    return time.monotonic() - began


def test_a_restart_serves_at_once(server):
    server.start(l3="none", m=1024)
    fill(server)
    wait_until(lambda: server.stats()["drain_pending"] == 0, "L2 has all", 600)
    assert server.stop() == 0
    stopped = seconds_to_serve(server)
    server.kill9()
    killed = seconds_to_serve(server)
    print(f"note: {CARTS} carts: first served after {stopped:.2f} s, {killed:.2f} s when killed")
    assert stopped < SERVES_SECONDS and killed < SERVES_SECONDS
    check(server, SAMPLE)


def add_to_all(server, rounds):
    """So many more of each, acknowledged."""
    with server.client() as client:
        for _ in range(rounds):
            for first in range(0, CARTS, BATCH):
                client.send("".join(f"cadd cart:r{number} SKU-{number} 1 Dram\r\n"
                                    for number in range(first, first + BATCH)))
                assert client.lines(BATCH) == ["HD"] * BATCH
        assert client.cmd("cadd cart:last SKU-1 1 Dsync") == "HD"


SMALL = {"m": 16, "t": 1}  # L2 is written while the journal is applied


@pytest.mark.parametrize("options", [{"m": 1024}, SMALL])
def test_a_kill_under_load_serves_at_once(server, options):
    """L2 lacks most of it then: each cart is right when it is first asked for, and after a kill of
    that start, too."""
    server.start(l3="none", m=options["m"])
    fill(server)
    wait_until(lambda: server.stats()["drain_pending"] == 0, "L2 has all", 600)
    add_to_all(server, ROUNDS)
    for _ in range(2):
        server.kill9()
        server.options.update(options)
        served = seconds_to_serve(server)
        if options == SMALL:
            wait_until(lambda: server.stats()["l2_carts_written"] > 0, "L2 is written")
        else:
            check(server, SAMPLE, ROUNDS)
        left = server.stats()["catchup_left"]
        print(f"note: {CARTS} carts, killed under load: first served after {served:.2f} s, "
              f"{left} left when it is killed again")
        assert served < SERVES_SECONDS
    wait_until(lambda: server.stats()["catchup_left"] == 0, "all is applied", 600)
    assert server.stats()["replay_gaps"] == 0
    check(server, SAMPLE, ROUNDS)
    assert server.stop() == 0
    server.start(**server.options)
    assert server.stats()["replayed"] == 0
    check(server, SAMPLE, ROUNDS)


MANY_ROUNDS = 16  # some 40 MB of journal with 20,000 carts, all of it written before L2 has to be


def test_more_than_is_kept_of_a_journal_is_applied_before_anyone_is_served(server):
    """Carts were in memory without their later records, and were served so."""
    server.start(l3="none", m=1024)
    fill(server)
    add_to_all(server, MANY_ROUNDS)
    server.kill9()
    server.start(l3="none", m=16)  # keeps less of a journal in memory
    check(server, SAMPLE, MANY_ROUNDS)


@pytest.mark.parametrize("end", ["stopped", "killed"])
def test_other_options_keep_every_cart(server, tmp_path, end):
    server.start()
    fill(server)
    config = write_config(tmp_path / "cartd.conf", large={"prefixes": "cart:r1", "lines-max": 7},
                          cart={"prefixes": "cart:", "life": "1h", "ack": "os"})
    for options in ({"m": 8, "t": 1}, {"m": 200, "t": 8}, {"m": 64, "config": config}):
        if end == "stopped":
            assert server.stop() == 0
        else:
            server.kill9()
        server.start(**options)
        check(server, min(CARTS, 5000))

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


def fill(server):
    with server.client() as client:
        for first in range(0, CARTS, BATCH):
            client.send("".join(f"cadd cart:r{number} SKU-{number} {1 + number % 9} Dram\r\n"
                                for number in range(first, first + BATCH)))
            assert client.lines(BATCH) == ["HD"] * BATCH
        assert client.cmd("cadd cart:last SKU-1 1 Dsync") == "HD"


def check(server, count):
    with server.client() as client:
        for number in random.Random(1).sample(range(CARTS), count):
            assert client.qty(f"cart:r{number}", f"SKU-{number}") == 1 + number % 9


def seconds_to_serve(server):
    began = time.monotonic()
    server.spawn()
    wait_until(server.answers, "the daemon serves")
    with server.client() as client:
        assert client.qty("cart:r7", "SKU-7") == 8
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

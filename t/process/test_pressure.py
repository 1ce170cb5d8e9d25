"""A tier that is slower than the load: memory stays bounded, answers come or are refused within
their time, `stats` names what is slow, and nothing that was acknowledged is lost.

PRESSURE_SECONDS: how long each load goes on when its tier is too slow.
"""
import os
import threading
import time

import faults
from daemon import instrumented
from hostile_world import Process
from waiting import wait_until

SECONDS = float(os.environ.get("PRESSURE_SECONDS", "1"))
MEGABYTES = 16
BESIDE_MEGABYTES = 128  # doc/architecture.md: what cartd takes beside -m at most
EXT = "eHh4" * 150
PIPELINED = 50
MANY, FEW = 100000, 2000  # carts of each load: more than memory has; what the database has soon
STALL_SECONDS = 1.5  # a write waits a second for room; the rest is this machine's


class Load(threading.Thread):
    """Writes large carts of its own, many at once, and knows which were taken."""

    def __init__(self, server, name, level, carts):
        super().__init__()
        self.server, self.name, self.level, self.carts = server, name, level, carts
        self.taken, self.stopping, self.error = set(), False, None

    def run(self):
        try:
            with self.server.client() as client:
                number = 0
                while not self.stopping:
                    keys = [f"cart:{self.name}.{number + each}" for each in range(PIPELINED)]
                    number = (number + PIPELINED) % self.carts
                    client.send("".join(f"cset {key} SKU 1 E{EXT} D{self.level}\r\n"
                                        for key in keys))
                    for key, answer in zip(keys, client.lines(PIPELINED)):
                        if answer == "HD":
                            self.taken.add(key)
                        else:
                            assert answer.startswith("SERVER_ERROR "), answer
        except Exception as error:  # pylint: disable=broad-except
            self.error = error


class Probe:
    """A client that does one thing after the other and measures."""

    def __init__(self, server, level):
        self.process, self.level, self.server = Process(server.process.pid), level, server
        self.slowest, self.rss, self.seen, self.held = 0.0, 0, set(), 0

    def once(self, client):
        began = time.monotonic()
        answer = client.cmd(f"cadd cart:probe SKU 1 D{self.level}")
        self.slowest = max(self.slowest, time.monotonic() - began)
        assert answer == "HD" or answer.startswith("SERVER_ERROR "), answer
        self.held += answer == "HD"
        began = time.monotonic()
        client.get("plain")
        self.slowest = max(self.slowest, time.monotonic() - began)
        self.seen.add(client.stats()["bottleneck"])
        self.rss = max(self.rss, self.process.rss())

    def watch(self, name, seconds):
        """Until it is slow, and then for some time."""
        def is_named(client):
            self.once(client)
            return name in self.seen
        with self.server.client() as client:
            wait_until(lambda: is_named(client), f"{name} is the bottleneck")
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                self.once(client)

    def check(self, name):
        print(f"note: pressure on {name}: slowest answer {self.slowest * 1000:.0f} ms, "
              f"RSS {self.rss >> 20} MiB with -m {MEGABYTES}, bottleneck {sorted(self.seen)}")
        if not instrumented():  # sanitizers have memory of their own
            assert self.rss <= (MEGABYTES + BESIDE_MEGABYTES) << 20
        assert self.slowest < STALL_SECONDS


def press(server, name, carts=MANY, level="sync"):
    """Load and probe; the carts that were taken, and how often the probe was."""
    loads = [Load(server, f"load{number}", level, carts) for number in range(2)]
    probe = Probe(server, level)
    for load in loads:
        load.start()
    try:
        probe.watch(name, SECONDS)
    finally:
        for load in loads:
            load.stopping = True
    for load in loads:
        load.join()
        if load.error:
            raise load.error
    probe.check(name)
    return [key for load in loads for key in load.taken], probe.held


def check_all(server, taken, held):
    server.wait_caught_up()
    rows = {row["cart_id"]: row["qty"] for row in server.sql("SELECT cart_id, qty FROM cart")}
    assert rows.get("cart:probe") == held
    assert [key for key in taken if rows.get(key) != 1] == []
    wait_until(lambda: server.client().stats()["bottleneck"] == "none", "nothing is slow any more")


def test_a_slow_disk_below_l2(server):
    server.start(t=2, m=MEGABYTES)
    with faults.slow_calls(server, "l2-writer", "fdatasync", 1000):
        taken, held = press(server, "l2")
    check_all(server, taken, held)


def test_a_slow_disk_below_the_journal(server):
    """Who waits for the disk waits; who does not is as fast as before."""
    server.start(t=2, m=MEGABYTES)
    with faults.slow_calls(server, "journal", "fdatasync", 3000):
        taken, held = press(server, "journal", FEW, "ram")
    check_all(server, taken, held)


def test_a_slow_database(server):
    server.start(t=2, m=MEGABYTES)
    with server.client() as client:
        assert client.cmd("cset cart:first SKU 1") == "HD"
    server.wait_caught_up()
    lock = server.hold_lock()
    taken, held = press(server, "l3", MANY if SECONDS > 10 else FEW)
    lock.close()
    check_all(server, taken, held)

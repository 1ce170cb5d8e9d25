"""cartctl snapshot: a copy of the data directory, made while it is in use, from which a daemon
starts with all that was acknowledged before."""
import os
import random
import shutil
import sqlite3
import subprocess
import threading

import books
import ctl
import faults
import pytest
from daemon import CARTD, Server
from waiting import wait_until

KEYS = [f"cart:s{number}" for number in range(300)]
PIPELINE = 50
UNVERIFIED = 3  # of cartd verify


class Adders:
    """Clients that add to carts until they are told to stop. `held`: what was acknowledged."""

    def __init__(self, server, count=3):
        self.server, self.held = server, dict.fromkeys(KEYS, 0)
        self.sent = dict(self.held)
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self.add, args=(KEYS[number::count], number))
                        for number in range(count)]
        for thread in self.threads:
            thread.start()

    def add(self, keys, seed):
        chance = random.Random(seed)
        with self.server.client() as client:
            while not self.over.is_set():
                some = chance.choices(keys, k=PIPELINE)
                for key in some:
                    self.sent[key] += 1
                client.send("".join(f"cadd {key} SKU-1 1\r\n" for key in some))
                assert client.lines(PIPELINE) == ["HD"] * PIPELINE
                for key in some:
                    self.held[key] += 1

    def stop(self):
        self.over.set()
        for thread in self.threads:
            thread.join()


@pytest.fixture(name="copy")
def make_copy(tmp_path, database):
    """A second server, whose data directory is to be the snapshot."""
    (tmp_path / "second").mkdir()
    other = Server(tmp_path / "second", None)
    yield other
    if other.process:
        assert other.stop() == 0, other.log_end()


def add_all(server, keys=KEYS):
    with server.client() as client:
        client.send("".join(f"cadd {key} SKU-1 1 P100\r\n" for key in keys))
        assert client.lines(len(keys)) == ["HD"] * len(keys)


def take(server, folder):
    status, lines, error = ctl.run(server, "snapshot", folder)
    assert status == ctl.OK, error
    return ctl.rows(lines)


def verify(folder):
    """The differences that `cartd verify` finds in a data directory that nobody uses."""
    done = subprocess.run([CARTD, "verify", folder], capture_output=True, text=True, check=False)
    assert done.returncode != UNVERIFIED, done.stderr
    return done.stdout.splitlines()[:-1]


def quantities(server):
    with server.client() as client:
        return {key: client.qty(key, "SKU-1") for key in KEYS}


@pytest.mark.parametrize("options", [{}, {"m": 8, "t": 2}])
def test_what_was_acknowledged_before_is_in_it(server, copy, options):
    server.start(**options)
    adders = Adders(server)
    try:
        wait_until(lambda: min(adders.held.values()) > 0, "every cart has something")
        before = dict(adders.held)
        take(server, copy.data)
        after = dict(adders.sent)
        wait_until(lambda: adders.held[KEYS[0]] > after[KEYS[0]], "it goes on")
    finally:
        adders.stop()
    total = dict(adders.held)
    assert quantities(server) == total
    server.kill9()
    lines = verify(copy.data)
    assert all(line.endswith("the database has a newer state than L2") for line in lines), lines
    copy.start()
    found = quantities(copy)
    books.check(copy, KEYS)
    settled = quantities(copy)
    for key in KEYS:
        assert before[key] <= found[key] <= settled[key] <= after[key], key
    copy.crash()
    assert quantities(copy) == settled


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_snapshot_can_take_the_place_of_what_it_was_taken_of(server, tmp_path, elsewhere):
    if elsewhere and not server.database:
        server.sqlite = tmp_path / "elsewhere.sqlite"
    server.start(**({"l3": f"sqlite:{server.sqlite}"} if not server.database else {}))
    add_all(server)
    server.wait_caught_up()  # nothing is marked when it is taken
    take(server, tmp_path / "snap")
    with server.client() as client:
        assert client.cmd("cdel cart:s0") == "HD"
        assert client.cmd("cadd cart:later SKU-1 1") == "HD"
    server.wait_caught_up()
    server.kill9()
    shutil.rmtree(server.data)
    os.rename(tmp_path / "snap", server.data)
    server.start(**server.options)
    if elsewhere or server.database:  # it was not put back, and what it has since is joined
        wait_until(lambda: quantities(server)["cart:s0"] == 0, "what was done since is joined")
        assert set(quantities(server).values()) == {0, 1}
    else:
        assert set(quantities(server).values()) == {1}
        with server.client() as client:
            assert client.cmd("cget cart:later") == "EN"
    books.check(server, KEYS + ["cart:later"])


def test_lives_and_events_go_with_it(server, copy):
    server.start()
    with server.client() as client:
        assert client.cmd("cadd cart:s1 SKU-1 2 T2") == "HD"
        assert client.cmd("cadd cart:s2 SKU-1 1") == "HD"
    take(server, copy.data)
    copy.start()

    def ended():
        return copy.sql("SELECT aggregateid FROM cart_event WHERE type = 'cart.expired'")

    assert wait_until(ended, "the event of the end") == [{"aggregateid": "cart:s1"}]
    with copy.client() as client:
        assert client.cmd("cget cart:s1 s") == "EN" and client.qty("cart:s2", "SKU-1") == 1
        assert client.cmd("chst cart:s2") == "EN"  # the journal stayed where it was


def test_without_a_database_and_with_one_elsewhere(server, copy, tmp_path):
    for number, l3 in enumerate(("none", f"sqlite:{tmp_path}/elsewhere.sqlite")):
        server.start(l3=l3)
        add_all(server)
        folder = tmp_path / f"snap{number}"
        assert take(server, folder) == {"carts": len(KEYS), "database": 0}
        assert sorted(os.listdir(folder)) == ["l2"]
        assert server.stop() == 0
    copy.data = folder
    copy.start(l3="none")
    assert set(quantities(copy).values()) == {2}


def test_where_it_may_not_be(server, tmp_path):
    server.start()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("x")
    (tmp_path / "file").write_text("x")
    for place, word in (("snap", "absolute"), (tmp_path / "full", "not empty"),
                        (tmp_path / "file", "no directory"), ("/proc/snap", "can't be made"),
                        (server.data, "not empty")):
        status, lines, error = ctl.run(server, "snapshot", place)
        assert (status, lines) == (ctl.FAILED, []) and word in error, error
    assert os.listdir(tmp_path / "full") == ["file"]
    (tmp_path / "empty one").mkdir()
    take(server, tmp_path / "empty one")


def test_a_full_disk_takes_it_back(server, tmp_path):
    server.start()
    keys = [f"cart:b{number}" for number in range(3000)]
    with server.client() as client:
        client.send("".join(f"cadd {key} SKU-1 1 E{'QUJD' * 100}\r\n" for key in keys))
        assert client.lines(len(keys)) == ["HD"] * len(keys)
    with faults.small_disk(tmp_path / "disk", 1) as disk:
        status, lines, error = ctl.run(server, "snapshot", disk / "snap")
        assert (status, lines) == (ctl.FAILED, []) and "disk full" in error
        assert os.listdir(disk) == []
        status, _, _ = ctl.run(server, "snapshot", disk)
        assert status == ctl.FAILED and os.listdir(disk) == []
    with faults.small_disk(tmp_path / "disk", 64) as disk:
        assert take(server, disk / "snap")["carts"] == len(keys)
        if not server.database:
            with sqlite3.connect(disk / "snap" / "cartd.sqlite") as connection:
                assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            connection.close()


def test_its_own_disk_full_is_no_snapshot(server, tmp_path):
    with faults.small_disk(server.data, 24) as disk:
        server.start()
        add_all(server)
        server.wait_caught_up()
        faults.fill(disk)
        with server.client() as client:
            wait_until(lambda: client.cmd("cadd cart:s1 SKU-1 1").startswith("SERVER_ERROR"),
                       "nothing more is taken")
        status, _, error = ctl.run(server, "snapshot", tmp_path / "snap")
        assert status == ctl.FAILED and error
        assert not (tmp_path / "snap").exists()
        faults.free(disk)
        wait_until(lambda: ctl.run(server, "snapshot", tmp_path / "snap")[0] == ctl.OK, "it works")
        assert server.stop() == 0

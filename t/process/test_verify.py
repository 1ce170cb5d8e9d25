"""`cartd verify DIR`: what differs between the tiers is told, and repaired by the merge."""
import random
import re
import shutil
import sqlite3
import subprocess

import books
import faults
import pytest
from daemon import CARTD

SAME, REPAIRED, DIFFERS, UNVERIFIED, USAGE = 0, 1, 2, 3, 64
CARTS = [f"cart:v{number}" for number in range(30)]


def verify(server, *options):
    """Its status, the keys (or parts) that differ, and the counts of its last line."""
    done = subprocess.run([CARTD, "verify", server.data, *options], capture_output=True, text=True,
                          timeout=60, check=False)
    lines = done.stdout.splitlines()
    counts = [int(number) for number in re.findall(r"\d+", lines.pop().replace("L2", ""))] \
        if lines else []
    return done.returncode, {line.rpartition(": ")[0]: line.rpartition(": ")[2]
                             for line in lines}, counts


def add_all(server, qty=1):
    with server.client() as client:
        for key in CARTS:
            assert client.cmd(f"cadd {key} SKU-1 {qty}") == "HD"


def check_all(server, qty):
    with server.client() as client:
        assert {key: client.qty(key, "SKU-1") for key in CARTS} == dict.fromkeys(CARTS, qty)
    books.check(server, CARTS)


@pytest.fixture(name="stopped")
def make_stopped(server):
    server.start()
    add_all(server)
    server.wait_caught_up()
    assert server.stop() == 0
    yield server


def test_tiers_that_agree_are_told_so(stopped):
    status, differences, counts = verify(stopped)
    assert (status, differences) == (SAME, {})
    records, pending, carts, behind, rows, found, repaired = counts
    assert (records, pending, carts, behind, rows) == (len(CARTS), 0, len(CARTS), 0, len(CARTS))
    assert (found, repaired) == (0, 0)


def test_what_a_killed_daemon_has_not_written_yet_is_no_difference(stopped):
    stopped.start()
    add_all(stopped)
    stopped.kill9()
    status, differences, counts = verify(stopped)
    assert (status, differences) == (SAME, {})
    assert counts[1] > 0
    stopped.start()
    check_all(stopped, 2)


def test_a_daemon_that_runs_is_left_alone(stopped):
    stopped.start()
    assert verify(stopped)[0] == UNVERIFIED
    check_all(stopped, 1)


@pytest.mark.parametrize("arguments", [[], ["--repair"], ["--data", "x"]])
def test_wrong_use_is_told(arguments):
    done = subprocess.run([CARTD, "verify", *arguments], capture_output=True, text=True,
                          check=False)
    assert done.returncode == USAGE and "usage" in done.stderr


def check_repair(server, wanted, qty):
    """It is found, twice; repaired; and after a start and a stop all agree."""
    for _ in range(2):
        status, differences, _ = verify(server)
        assert status == DIFFERS and differences == wanted
    status, differences, counts = verify(server, "--repair")
    assert status == REPAIRED and differences == wanted and counts[-1] == len(wanted)
    server.start()
    check_all(server, qty)
    server.wait_caught_up()
    assert server.stop() == 0
    assert verify(server)[:2] == (SAME, {})


def test_a_row_that_is_gone_is_written_again(stopped):
    with sqlite3.connect(stopped.sqlite) as connection:
        connection.execute("DELETE FROM cart WHERE cart_id = ?", (CARTS[3],))
    connection.close()
    check_repair(stopped, {CARTS[3]: "the database does not have it"}, 1)


def test_an_older_database_is_brought_up(stopped, tmp_path):
    shutil.copy(stopped.sqlite, tmp_path / "older")
    stopped.start()
    with stopped.client() as client:
        assert client.cmd(f"cadd {CARTS[5]} SKU-2 1") == "HD"
    stopped.wait_caught_up()
    assert stopped.stop() == 0
    shutil.copy(tmp_path / "older", stopped.sqlite)
    check_repair(stopped, {CARTS[5]: "the database has an older state than L2"}, 1)
    assert stopped.sql("SELECT qty FROM cart_line WHERE cart_id = ? AND sku = 'SKU-2'", CARTS[5])


def test_an_older_l2_is_brought_up(stopped, tmp_path):
    shutil.copytree(stopped.data / "l2", tmp_path / "older")
    stopped.start()
    add_all(stopped)
    stopped.wait_caught_up()
    assert stopped.stop() == 0
    stopped.forget("l2", "journal")
    shutil.copytree(tmp_path / "older", stopped.data / "l2")
    check_repair(stopped, dict.fromkeys(CARTS, "the database has a newer state than L2"), 2)


def test_a_rotten_journal_is_told(stopped):
    segment = sorted((stopped.data / "journal").glob("*"))[0]
    faults.rot(segment, random.Random(1), from_=60, to=200)
    status, differences, _ = verify(stopped)
    assert status == DIFFERS and list(differences) == ["journal"]


def test_an_l2_that_does_not_open_is_left_alone_or_rebuilt(stopped):
    (stopped.data / "l2" / "CURRENT").write_bytes(b"MANIFEST-999999\n")
    assert verify(stopped)[0] == UNVERIFIED
    assert not list(stopped.data.glob("l2.broken-*"))
    assert verify(stopped, "--repair")[0] in (SAME, REPAIRED)
    assert list(stopped.data.glob("l2.broken-*"))
    stopped.start()
    check_all(stopped, 1)

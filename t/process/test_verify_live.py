"""cartctl verify: what differs between the tiers of a daemon that serves is found, told and
repaired; what is only on its way, or changing, is not called different."""
import os
import random
import shutil
import threading
import time

import books
import ctl
import faults
import pytest
from waiting import wait_until

KEYS = [f"cart:v{number}" for number in range(200)]
ROUNDS = int(os.environ.get("VERIFY_ROUNDS", "4"))
FAST = ("--rate", 1000000)


def add_all(server, keys=KEYS, qty=1):
    with server.client() as client:
        client.send("".join(f"cadd {key} SKU-1 {qty} P100\r\n" for key in keys))
        assert client.lines(len(keys)) == ["HD"] * len(keys)


def verify(server, *options):
    """(status, {key: how it differs}, figures)"""
    status, lines, error = ctl.run(server, "verify", *FAST, *options)
    assert status in (ctl.OK, ctl.DIFFERS), error
    told = dict(line.split(": ", 1) for line in lines if ": " in line)
    return status, told, ctl.rows(line for line in lines if ": " not in line)


def change(server, statement, *parameters):
    """A DBA's hand."""
    if server.database:
        server.database.execute(statement, parameters, server.schema)
        return
    import sqlite3
    with sqlite3.connect(server.sqlite, timeout=60) as connection:
        connection.execute(statement.replace("%s", "?"), parameters)
    connection.close()


@pytest.fixture(name="full")
def make_full(server):
    server.start()
    add_all(server)
    server.wait_caught_up()
    yield server


def check_repair(server, wanted):
    """It is found, as often as one looks; repaired; and then there is nothing. (L2 hears a moment
    late that L3 has a cart; until then it may be behind.)"""
    wait_until(lambda: verify(server)[0] == ctl.DIFFERS, "it is found")
    for options in ([], ["--repair"]):
        status, told, figures = verify(server, *options)
        assert (status, told) == (ctl.DIFFERS, wanted)
        assert figures["repaired"] == (len(wanted) if options else 0)
    books.check(server, KEYS)
    wait_until(lambda: verify(server)[:2] == (ctl.OK, {}), "all agree")


def test_tiers_that_agree_are_told_so(full):
    status, told, figures = verify(full)
    assert (status, told) == (ctl.OK, {})
    assert figures == {"records": len(KEYS), "carts": len(KEYS), "behind": 0, "rows": len(KEYS),
                       "changing": 0, "differences": 0, "repaired": 0}


def test_without_a_database_the_rest_is_looked_at(server):
    server.start(l3="none")
    add_all(server)
    wait_until(lambda: server.stats()["drain_pending"] == 0, "L2 has all")
    status, _, figures = verify(server)
    assert status == ctl.OK and (figures["carts"], figures["rows"]) == (len(KEYS), 0)


def test_what_changes_meanwhile_does_not_differ(full):
    over = threading.Event()

    def add(seed):
        chance = random.Random(seed)
        with full.client() as client:
            while not over.is_set():
                key = chance.choice(KEYS)
                for command in (f"cadd {key} SKU-1 1", f"cadd {key} SKU-{seed} 1",
                                f"crem {key} SKU-{seed}", f"cdel {key}x", f"cadd {key}x SKU-1 1"):
                    assert client.cmd(command) in ("HD", "NF")

    threads = [threading.Thread(target=add, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(ROUNDS):
            status, told, figures = verify(full)
            assert (status, told, figures["differences"]) == (ctl.OK, {}, 0)
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_a_database_that_is_only_behind_does_not_differ(full):
    lock = full.hold_lock()
    add_all(full)
    wait_until(lambda: full.stats()["drain_pending"] == 0, "L2 has all")
    status, told, figures = verify(full)
    assert (status, told) == (ctl.OK, {}) and figures["behind"] == len(KEYS)
    lock.close()


def test_a_row_that_is_gone_is_written_again(full):
    change(full, "DELETE FROM cart WHERE cart_id = %s", KEYS[3])
    check_repair(full, {KEYS[3]: "the database does not have it"})


def test_an_older_row_is_brought_up(full):
    old, = full.sql(f"SELECT image, rev FROM cart WHERE cart_id = '{KEYS[5]}'")
    with full.client() as client:
        assert client.cmd(f"cadd {KEYS[5]} SKU-2 1") == "HD"
    full.wait_caught_up()
    change(full, "UPDATE cart SET image = %s, rev = %s WHERE cart_id = %s",
           bytes(old["image"]), old["rev"], KEYS[5])
    check_repair(full, {KEYS[5]: "the database has an older state than L2"})
    with full.client() as client:
        assert client.qty(KEYS[5], "SKU-2") == 1


def test_an_image_that_is_corrupt_is_replaced(full):
    change(full, "UPDATE cart SET image = %s WHERE cart_id = %s", b"\x00rot", KEYS[7])
    check_repair(full, {KEYS[7]: "its image in the database is corrupt"})


@pytest.mark.parametrize("loads", [True, False])
def test_an_older_l2_is_brought_up(full, tmp_path, loads):
    assert full.stop() == 0
    shutil.copytree(full.data / "l2", tmp_path / "older")
    full.start(**full.options)
    add_all(full, KEYS[:20])
    add_all(full, [KEYS[0] + "new"])
    full.wait_caught_up()
    assert full.stop() == 0
    full.forget("l2", "journal")
    shutil.copytree(tmp_path / "older", full.data / "l2")
    full.start(**full.options)
    if loads:  # memory has the older state, too
        with full.client() as client:
            assert client.qty(KEYS[0], "SKU-1") == 1
    wanted = dict.fromkeys(KEYS[:20], "the database has a newer state than L2")
    wanted[KEYS[0] + "new"] = "L2 should have it and does not"
    for options in ([], ["--repair"]):
        status, told, _ = verify(full, *options)
        assert (status, told) == (ctl.DIFFERS, wanted)
    with full.client() as client:
        assert {client.qty(key, "SKU-1") for key in KEYS[:20]} == {2}
        assert client.qty(KEYS[0] + "new", "SKU-1") == 1
    books.check(full, [*KEYS, KEYS[0] + "new"])
    wait_until(lambda: verify(full)[:2] == (ctl.OK, {}), "all agree")


def test_a_rotten_journal_is_told(full):
    segment = max((full.data / "journal").glob("*.log"))
    faults.rot(segment, random.Random(1), from_=60, to=200)
    status, told, _ = verify(full)
    assert status == ctl.DIFFERS
    assert set(told.values()) == {"its newest record in the journal is corrupt"}


def test_it_keeps_its_rate(full):
    began = time.monotonic()
    status, lines, _ = ctl.run(full, "verify", "--rate", 2 * len(KEYS))
    assert status == ctl.OK and ctl.rows(lines)["carts"] == len(KEYS)
    assert time.monotonic() - began >= 0.9  # half a second for carts, half a second for rows


def test_a_database_that_is_not_there_is_told(full, tmp_path):
    if full.database:
        pytest.skip("its server serves other tests, too")
    full.sqlite.rename(tmp_path / "away")
    full.sqlite.mkdir()
    status, _, error = ctl.run(full, "verify")
    assert status == ctl.FAILED and error
    full.sqlite.rmdir()
    (tmp_path / "away").rename(full.sqlite)

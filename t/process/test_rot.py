"""Bytes that change on the disk: what they do not hit is served, the rest comes from the other
tiers, and no start is refused.

FAULT_SEED draws the same damage again.
"""
import os
import random

import faults
import pytest
from shopper import CARTS, Shopper, start_cold
from waiting import wait_until

SEED = int(os.environ.get("FAULT_SEED", str(random.SystemRandom().getrandbits(32))))


def damage(server, kind, chance):
    """To L2 of a daemon that does not run: a table, the log, the list of tables, its name."""
    folder = server.data / "l2"
    if kind == "CURRENT":
        (folder / "CURRENT").write_bytes(b"MANIFEST-999999\n")
        return
    files = sorted(folder.glob({"table": "*.ldb", "log": "*.log", "MANIFEST": "MANIFEST-*"}[kind]))
    files = [file for file in files if file.stat().st_size]
    assert files, kind
    for file in files:
        faults.rot(file, chance, places=3)


def fill_tables(server, shopper, count):
    """A restart makes a table of what is in L2's log. With four LevelDB makes one of them."""
    for _ in range(count):
        with server.client() as client:
            shopper.add_all(client)
        server.wait_caught_up()
        server.restart()


@pytest.mark.parametrize("kind", ["table", *(pytest.param(kind, marks=pytest.mark.long)
                                             for kind in ("log", "MANIFEST")), "CURRENT"])
def test_a_rotten_l2_is_rebuilt_at_the_start(server, kind):
    print(f"FAULT_SEED={SEED}")
    chance = random.Random(SEED)
    shopper = Shopper(server)
    start_cold(server, shopper)
    fill_tables(server, shopper, 4)
    with server.client() as client:
        shopper.add_all(client)
    server.wait_caught_up()
    server.kill9()
    damage(server, kind, chance)
    server.start(**server.options)
    shopper.check_everywhere()
    wait_until(lambda: server.stats()["l2_salvaged"] == 0, "what was salvaged is taken over")


def test_a_rotten_l2_is_rebuilt_while_the_journal_is_applied(server):
    """It is found out by the first cart of the journal that needs what is rotten. Then the journal
    is applied from its begin, for what L2 had of it may be lost."""
    print(f"FAULT_SEED={SEED}")
    chance = random.Random(SEED)
    shopper = Shopper(server)
    start_cold(server, shopper)
    fill_tables(server, shopper, 1)
    for _ in range(2):
        with server.client() as client:
            shopper.add_all(client)
        server.kill9()
        damage(server, "table", chance)
        server.start(**server.options)
        with server.client() as client:
            shopper.check(client)
        wait_until(lambda: server.stats()["catchup_left"] == 0, "all is applied")
    assert server.stats()["replay_gaps"] == 0
    shopper.check_everywhere()


def test_a_rotten_l2_is_rebuilt_while_running(server):
    """What only L2 has is salvaged; what it has lost comes from SQL."""
    print(f"FAULT_SEED={SEED}")
    chance = random.Random(SEED)
    shopper = Shopper(server)
    start_cold(server, shopper)
    fill_tables(server, shopper, 1)
    damage(server, "table", chance)  # a file that is open
    with server.client() as client:
        shopper.add_all(client)
        shopper.check(client)
    wait_until(lambda: server.stats()["l2_rebuilds"] > 0, "it is noticed")
    wait_until(lambda: server.stats()["l2_salvaged"] == 0, "what was salvaged is taken over")
    assert list(server.data.glob("l2.broken-*"))
    shopper.check_everywhere()


def test_what_only_l2_has_is_salvaged(server):
    shopper = Shopper(server)
    start_cold(server, shopper, l3="none")
    server.kill9()
    damage(server, "CURRENT", None)
    for segment in (server.data / "journal").glob("*"):
        segment.unlink()
    server.start(**server.options)
    with server.client() as client:
        shopper.check(client)
        shopper.add_all(client)
    wait_until(lambda: server.stats()["l2_salvaged"] == 0, "what was salvaged is taken over")
    server.crash()
    with server.client() as client:
        shopper.check(client)


def test_a_start_without_l2_waits_for_the_database(server, tmp_path):
    """The journal's steps need what only SQL has by now."""
    shopper = Shopper(server)
    database = tmp_path / "sql" / "cartd.sqlite"
    database.parent.mkdir()
    server.sqlite = database
    start_cold(server, shopper, l3=f"sqlite:{database}")
    with server.client() as client:
        shopper.add_all(client)
    server.kill9()
    server.forget("l2")
    database.rename(tmp_path / "away")
    database.mkdir()
    server.start(**server.options)
    with server.client() as client:
        assert client.store("set plain 0 0", "p") == "STORED"
        assert client.cmd(f"cadd {CARTS[0]} SKU-1 1").startswith("SERVER_ERROR BUSY")
    database.rmdir()
    (tmp_path / "away").rename(database)
    wait_until(lambda: server.stats()["catchup_left"] == 0, "the journal is applied")
    shopper.check_everywhere()


@pytest.mark.long
def test_a_stop_keeps_what_of_the_journal_is_not_applied(server, tmp_path):
    shopper = Shopper(server)
    database = tmp_path / "sql" / "cartd.sqlite"
    database.parent.mkdir()
    server.sqlite = database
    start_cold(server, shopper, l3=f"sqlite:{database}")
    with server.client() as client:
        shopper.add_all(client)
    server.kill9()
    server.forget("l2")
    database.rename(tmp_path / "away")
    database.mkdir()
    server.start(**server.options)
    server.stop()
    database.rmdir()
    (tmp_path / "away").rename(database)
    server.start(**server.options)
    shopper.check_everywhere()


@pytest.mark.parametrize("tail", [b"\0" * 4096, b"garbage" * 300, b"\x10"],
                         ids=["zeros", "garbage", "a byte"])
def test_a_torn_end_of_the_journal_is_cut_off(server, tail):
    shopper = Shopper(server)
    start_cold(server, shopper)
    with server.client() as client:
        shopper.add_all(client)
    server.kill9()
    with open(sorted((server.data / "journal").glob("*.log"))[-1], "ab") as segment:
        segment.write(tail)
    server.start(**server.options)
    shopper.check_everywhere()
    assert not list((server.data / "journal").glob("*.quarantine"))


def test_rot_in_the_middle_of_the_journal_costs_only_what_it_hit(server):
    """What it hit is in L2 by then; what was acknowledged after it is replayed."""
    print(f"FAULT_SEED={SEED}")
    chance = random.Random(SEED)
    shopper = Shopper(server)
    start_cold(server, shopper)
    with server.client() as client:
        shopper.add_all(client)
        server.wait_caught_up()
        segment = sorted((server.data / "journal").glob("*.log"))[-1]
        middle = segment.stat().st_size
        shopper.add_all(client)
    server.kill9()
    faults.rot(segment, chance, places=3, from_=40, to=middle)
    server.start(**server.options)
    shopper.check_everywhere()
    assert list((server.data / "journal").glob("*.quarantine"))

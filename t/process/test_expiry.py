"""A cart whose life ends leaves as an event in SQL with all its lines, also when nobody looks."""
import json
import os
import random
import threading
import time

import books
import pytest
from waiting import wait_until

FEW_SECONDS = 8
MANY = int(os.environ.get("EXPIRY_MANY", "3000"))
WRITERS, CARTS, ROUNDS = 32, 8, 5  # around the end of a life
JITTER_SECONDS = 0.03


def events(server):
    return server.sql("SELECT * FROM cart_event ORDER BY created_at, id")


def wait_events(server, count, seconds=60):
    rows = wait_until(lambda: len(events(server)) >= count and events(server),
                      f"{count} events are in SQL", seconds)
    assert len(rows) == count, rows
    return rows


def payload_of(event):
    payload = event["payload"]
    return json.loads(payload) if isinstance(payload, str) else payload


def lines_of(event):
    document = payload_of(event)
    assert document["cart"] == event["aggregateid"]
    assert document["version"] == event["version"]
    assert document["count"] == len(document["lines"])
    return {line["line"]: line["qty"] for line in document["lines"]}


def expect_forgotten(server, keys):
    def forgotten():
        rows = {row["cart_id"]: row for row in server.sql("SELECT * FROM cart")}
        return all(key in rows and rows[key]["state"] == books.DELETED for key in keys)
    wait_until(forgotten, "the rows tell that the carts are gone")
    assert not [row for row in server.sql("SELECT * FROM cart_line") if row["cart_id"] in keys]


def test_an_expired_cart_leaves_with_all_its_lines(server):
    server.start()
    with server.client() as client:
        assert client.cmd("cadd cart:u1 SKU-1;red 2 P1999 UEUR Gs1 Eb3B0aW9ucw== T1") == "HD"
        assert client.cmd("cadd cart:u1 SKU-2 1 P5 T1") == "HD"
        before = client.cart("cart:u1")
        [event] = wait_events(server, 1, FEW_SECONDS)
        document = payload_of(event)
        expired_ms = document.pop("expired")
        assert document == before
        assert expired_ms == before["lines"][1]["updated"] + 1000
        assert event["type"] == "cart.expired" and event["aggregatetype"] == "cart"
        assert event["aggregateid"] == "cart:u1" and event["version"] == before["version"]
        assert event["created_at"] >= books.when(expired_ms)
        expect_forgotten(server, ["cart:u1"])
        [row] = server.sql("SELECT version, lines_count, expires_at FROM cart")
        assert row == {"version": before["version"] + 1, "lines_count": 0, "expires_at": None}
        assert client.cart("cart:u1") is None
        [shown] = server.sql("SELECT * FROM cart_events")
        assert (shown["cart_id"], shown["lines_count"], shown["qty"], shown["amount"]) == (
            "cart:u1", 2, 3, 4003)
        assert client.stat("carts_expired") == 1
        assert client.cmd("cadd cart:u1 SKU-3 1 x") == "HD x1"
    books.check(server, ["cart:u1"])
    server.restart()
    assert len(events(server)) == 1


def test_a_write_to_an_expired_cart_sends_the_old_lines_off(server):
    server.start()
    with server.client() as client:
        assert client.cmd("cadd cart:u1 OLD 3") == "HD"
        client.send("touch cart:u1 -1\r\ncadd cart:u1 NEW 1\r\n")
        assert client.lines(2) == ["TOUCHED", "HD"]
        assert [line["line"] for line in client.cart("cart:u1")["lines"]] == ["NEW"]
        [event] = wait_events(server, 1, FEW_SECONDS)
    assert lines_of(event) == {"OLD": 3}
    books.check(server, ["cart:u1"])


def test_an_extended_life_goes_on(server):
    server.start()
    with server.client() as client:
        for key in ("cart:slid", "cart:fixed", "cart:endless"):
            assert client.cmd(f"cadd {key} SKU-1 1 T2") == "HD"
        server.wait_caught_up()  # L2 and SQL know of the earlier end
        assert client.cmd("cadd cart:slid SKU-1 1 T3600") == "HD"
        assert client.cmd("touch cart:fixed 3600") == "TOUCHED"
        assert client.cmd("touch cart:endless 0") == "TOUCHED"
        wait_until(lambda: client.stat("reap_checks") >= 3, "the earlier ends have come")
        assert client.stat("carts_expired") == 0
    books.check(server, ["cart:slid", "cart:fixed", "cart:endless"])
    assert events(server) == []


def test_a_longer_life_ends_when_it_should(server):
    """Such ends are entered in L2 up to a quarter early, and again when that has come: one of these
    at least two seconds early."""
    server.start()
    lives = (17, 18, 19, 20)
    with server.client() as client:
        for life in lives:
            assert client.cmd(f"cadd cart:u{life} SKU-1 1 T{life}") == "HD"
        begin = time.time()
        wait_until(lambda: client.stat("carts_expired") > 0, "the first end")
        assert time.time() >= begin + lives[0] - 0.1
    wait_events(server, len(lives), lives[-1] - lives[0] + FEW_SECONDS)


def test_events_wait_while_the_database_is_locked(server):
    server.start()
    keys = [f"cart:u{number}" for number in range(100)]
    with server.client() as client:
        for key in keys:
            assert client.cmd(f"cadd {key} SKU-1 2 T1 Dram") == "HD"
        other = server.hold_lock()
        wait_until(lambda: client.stat("carts_expired") == len(keys), "all have expired")
        wait_until(lambda: client.stat("events_pending") == 0, "L2 has the events")
        for key in keys:
            assert client.cmd(f"cadd {key} SKU-2 1 x") == "HD x1"  # and carts go on
        assert client.stat("behind_events_waiting") == len(keys)
        wait_until(lambda: client.stat("behind_errors") > 0, "write-behind has tried")
        other.close()
        rows = wait_events(server, len(keys))
        assert sorted(row["aggregateid"] for row in rows) == sorted(keys)
        assert all(lines_of(row) == {"SKU-1": 2} for row in rows)
        wait_until(lambda: client.stat("behind_events_waiting") == 0, "none waits")
    books.check(server, keys)


@pytest.mark.parametrize("expired", [1, 100])
@pytest.mark.parametrize("synced", [False, True])
def test_a_kill_between_expiry_and_sql_keeps_each_event_once(server, expired, synced):
    server.start()
    keys = [f"cart:u{number}" for number in range(100)]
    with server.client() as client:
        client.send("".join(f"cadd {key} SKU-1 2 T1 Dram\r\n" for key in keys))
        assert client.lines(len(keys)) == ["HD"] * len(keys)
        wait_until(lambda: client.stat("dirty_carts") == 0, "L2 has the carts")
        other = server.hold_lock()
        wait_until(lambda: client.stat("carts_expired") >= expired, "some have expired")
        if synced:  # the journal has the steps, and L2 has not
            assert client.cmd("cadd cart:other SKU-1 1") == "HD"
    server.kill9()
    other.close()
    server.start()
    rows = wait_events(server, len(keys))
    assert sorted(row["aggregateid"] for row in rows) == sorted(keys)
    assert all(lines_of(row) == {"SKU-1": 2} for row in rows)
    expect_forgotten(server, keys)
    server.crash()  # and what is written stays once
    server.wait_caught_up()
    assert len(events(server)) == len(keys)


@pytest.mark.parametrize("end", ["kill9", "stop"])
def test_lives_end_while_the_daemon_is_down(server, end):
    server.start()
    keys = [f"cart:u{number}" for number in range(20)]
    with server.client() as client:
        for key in keys:
            assert client.cmd(f"cadd {key} SKU-1 2 T2") == "HD"
        assert client.cmd("cadd cart:stays SKU-1 1 T3600") == "HD"
        over = time.time() + 2
    getattr(server, end)()
    wait_until(lambda: time.time() > over, "their lives are over")
    assert events(server) == [] if server.database or (
        server.data / "cartd.sqlite").exists() else True
    server.start()
    rows = wait_events(server, len(keys), FEW_SECONDS)  # nobody has asked for them
    assert sorted(row["aggregateid"] for row in rows) == sorted(keys)
    wait_until(lambda: len(server.sql("SELECT * FROM cart WHERE state = 3")) == len(keys),
               "the rows tell that the carts are gone")
    books.check(server, ["cart:stays"])


def test_many_lives_end_at_once(server):
    server.start()
    keys = [f"cart:u{number}" for number in range(MANY)]
    with server.client() as client:
        client.send("".join(f"cadd {key} SKU-1 1 T1 Dram\r\n" for key in keys))
        assert client.lines(MANY) == ["HD"] * MANY
        rows = wait_events(server, MANY, FEW_SECONDS)
        assert {row["aggregateid"] for row in rows} == set(keys)
        wait_until(lambda: client.stat("behind_queue") == 0, "rows are written")
    expect_forgotten(server, keys)


def test_without_a_database_carts_expire_too(server):
    server.start(l3="none")
    with server.client() as client:
        assert client.cmd("cadd cart:u1 SKU-1 1 T1") == "HD"
        wait_until(lambda: client.stat("carts_expired") == 1, "it has expired")
        assert client.cart("cart:u1") is None
        assert client.stat("events_pending") == 0


class Writer(threading.Thread):
    """Writes a line of its own to its cart in each round, about when the cart's life ends."""

    def __init__(self, server, number, begin, seed):
        super().__init__()
        self.server, self.number, self.begin = server, number, begin
        self.random = random.Random(seed)
        self.key = f"cart:u{number % CARTS}"
        self.error = None
        self.written = []

    def run(self):
        try:
            with self.server.client() as client:
                for number in range(ROUNDS):
                    jitter = self.random.uniform(-JITTER_SECONDS, JITTER_SECONDS)
                    at = self.begin + number * (1 + JITTER_SECONDS) + jitter
                    wait_until(lambda: time.monotonic() >= at, "the end of a life")
                    line = f"w{self.number}.{number}"
                    assert client.cmd(f"cadd {self.key} {line} 1 T1 x") == "HD x1"
                    self.written.append(line)
        except Exception as error:  # told by the test
            self.error = error


def test_no_line_is_lost_when_clients_write_as_lives_end(server):
    server.start()
    begin = time.monotonic() + 0.2
    writers = [Writer(server, number, begin, number) for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.error is None, writer.error
    expect_forgotten(server, [f"cart:u{number}" for number in range(CARTS)])
    server.wait_caught_up()
    left = {f"cart:u{number}": [] for number in range(CARTS)}
    for event in events(server):
        left[event["aggregateid"]] += lines_of(event)
    for key, lines in left.items():
        written = [line for writer in writers if writer.key == key for line in writer.written]
        assert sorted(lines) == sorted(written), key  # each once, none without an event
    assert len(events(server)) > CARTS, "lives ended between writes, too"


def test_carts_that_only_sql_has_end_though_nobody_asks(server):
    server.start()
    ends = [f"cart:e{number}" for number in range(300)]
    with server.client() as client:
        for key in ends:
            assert client.cmd(f"cadd {key} SKU-1 2 T5 Dram") == "HD"
        assert client.cmd("cadd cart:stays SKU-1 1 T3600") == "HD"
        over = time.time() + 5
        wait_until(lambda: len(server.sql("SELECT cart_id FROM cart")) == len(ends) + 1,
                   "SQL has them all")
    server.kill9()
    assert events(server) == []
    server.forget("l2", "journal")
    wait_until(lambda: time.time() > over, "their lives are over")
    server.start(**server.options)
    rows = wait_events(server, len(ends))
    assert sorted(row["aggregateid"] for row in rows) == sorted(ends)
    assert all(lines_of(row) == {"SKU-1": 2} for row in rows)
    expect_forgotten(server, ends)
    assert server.stats()["l3_loads"] == len(ends)  # the one that lives was not touched

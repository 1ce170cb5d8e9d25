"""--l2-max: carts that the database has, and nobody changed for longest, leave L2 and come back
when they are asked for. No cart is ever in no tier, whatever ends when."""
import base64
import os
import random
import subprocess

import books
import pytest
from daemon import CARTD
from waiting import came_true, wait_until

MIB = 1 << 20
BOUND = 1  # MiB
ROUNDS = int(os.environ.get("TRIM_ROUNDS", "1"))
EXT = base64.b64encode(random.Random(1).randbytes(380)).decode()  # a cart is some 500 bytes
KEYS = [f"cart:m{number}" for number in range(4000)]
SMALL = {"m": 8, "l2_max": BOUND}  # neither memory nor L2 has room for all


def add_all(server, keys=KEYS, line="SKU-1"):
    with server.client() as client:
        for start in range(0, len(keys), 500):
            some = keys[start:start + 500]
            client.send("".join(f"cadd {key} {line} 1 P100 E{EXT}\r\n" for key in some))
            assert client.lines(len(some)) == ["HD"] * len(some)


def quantities(server, keys=KEYS):
    with server.client() as client:
        return {key: client.qty(key, "SKU-1") for key in keys}


def is_trimmed(server):
    stats = server.stats()
    return stats["l2_trimmed"] > 0 and 0 < stats["l2_cart_bytes"] <= BOUND * MIB


def test_without_a_database_there_is_no_bound(tmp_path):
    done = subprocess.run([CARTD, "--data", tmp_path / "x", "--l3", "none", "--l2-max", "1"],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.splitlines()[-1] == \
        "cartd: l2-max: needs a database, and --l3 is none"


def test_what_is_too_much_leaves_l2_and_comes_back(server):
    server.start(**SMALL)
    add_all(server)
    wait_until(lambda: is_trimmed(server), "L2 is within its bound")
    stats = server.stats()
    assert stats["l2_complete"] == 0 and stats["l2_max_bytes"] == BOUND * MIB
    assert set(quantities(server).values()) == {1}
    add_all(server)
    assert set(quantities(server).values()) == {2}
    books.check(server, KEYS)
    left = server.stats()["l2_trimmed"]
    wait_until(lambda: server.stats()["l2_trimmed"] > left and is_trimmed(server), "once more")
    server.crash()
    assert set(quantities(server).values()) == {2}
    server.restart(m=64)  # the bound is lifted; what had left is still found
    assert server.stats()["l2_max_bytes"] == 0
    assert set(quantities(server).values()) == {2}
    books.check(server, KEYS)


@pytest.mark.long
def test_the_oldest_go_first(server):
    server.start(**SMALL)
    add_all(server, KEYS[:1000])  # half a bound
    server.wait_caught_up()
    with server.client() as client:  # some seconds make another age
        version = client.cmd("cwait cart:none 1 4000")
        assert version == "NS v0"
    add_all(server, KEYS[1000:3000])
    wait_until(lambda: is_trimmed(server), "L2 is within its bound")
    server.restart(m=64)  # without a bound, and memory is empty
    before = server.stats()["l3_loads"]
    quantities(server, KEYS[:1000])
    old = server.stats()["l3_loads"] - before
    quantities(server, KEYS[2000:3000])
    new = server.stats()["l3_loads"] - before - old
    assert old > 990 and new < old, (old, new)


def test_what_only_l2_has_stays(server):
    server.start(**SMALL)
    add_all(server, ["cart:first"])
    server.wait_caught_up()
    lock = server.hold_lock()
    add_all(server)
    wait_until(lambda: server.stats()["l2_cart_bytes"] > BOUND * MIB, "L2 has more than its bound")
    assert not came_true(lambda: server.stats()["l2_trimmed"] > 1, 3)
    server.kill9()
    server.start(**server.options)
    assert set(quantities(server).values()) == {1}
    assert server.stats()["l2_trimmed"] <= 1
    lock.close()
    wait_until(lambda: is_trimmed(server), "L2 is within its bound")
    assert set(quantities(server).values()) == {1}
    books.check(server, [*KEYS, "cart:first"])


@pytest.mark.long
def test_a_row_that_was_deleted_keeps_its_cart_in_l2(server):
    if server.database:
        pytest.skip("the table is emptied as on SQLite")
    import sqlite3
    server.start(m=8)
    add_all(server)
    server.wait_caught_up()
    assert server.stop() == 0
    with sqlite3.connect(server.sqlite) as connection:
        connection.execute("DELETE FROM cart")
        connection.execute("DELETE FROM cart_line")
    connection.close()
    server.start(**SMALL)
    wait_until(lambda: server.stats()["l2_cart_bytes"] > BOUND * MIB, "it was counted")
    assert not came_true(lambda: server.stats()["l2_trimmed"] > 0, 3)
    assert set(quantities(server).values()) == {1}


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_a_kill_in_the_middle_of_it_loses_nothing(server, seed):
    chance = random.Random(seed)
    server.start(**SMALL)
    add_all(server)
    for number in range(3):
        goal = server.stats()["l2_trimmed"] + chance.randrange(1, 400)
        wait_until(lambda: server.stats()["l2_trimmed"] >= goal, "some have left")
        add_all(server, KEYS[number::7], "SKU-2")
        server.crash()
        assert set(quantities(server).values()) == {1}
    books.check(server, KEYS)
    carts = books.read_carts(server, KEYS)
    for number, key in enumerate(KEYS):
        wanted = sum(1 for round_ in range(3) if number >= round_ and (number - round_) % 7 == 0)
        assert sum(line["qty"] for line in carts[key]["lines"]) == 1 + wanted


def test_a_life_ends_that_only_the_database_knows(server):
    """Entries of ends come up to a quarter early: of two seconds one is the even one before it."""
    server.start(**SMALL)
    lives = (8, 9, 10, 11)
    with server.client() as client:
        for life in lives:
            assert client.cmd(f"cadd cart:short{life} SKU-1 1 T{life}") == "HD"
    server.wait_caught_up()
    add_all(server)
    wait_until(lambda: is_trimmed(server), "L2 is within its bound")

    def events():
        rows = server.sql("SELECT aggregateid FROM cart_event WHERE type = 'cart.expired'")
        return sorted(row["aggregateid"] for row in rows)

    ended = sorted(f"cart:short{life}" for life in lives)
    wait_until(lambda: len(events()) >= len(lives), "the events of their ends")
    assert events() == ended
    with server.client() as client:
        assert all(client.cmd(f"cget {key}") == "EN" for key in ended)

"""A row of cart_inbox is a command: done once, whatever ends in between, or kept with a reason."""
import json
import os
import random

import books
import pytest
from waiting import came_true, wait_until

ROUNDS = int(os.environ.get("INBOX_KILLS", "3"))
FAST = {"l3_inbox_ms": 20}


def put_all(server, orders):
    """Rows of (key, command, token), in one statement."""
    server.change("INSERT INTO cart_inbox (cart_id, command, token) VALUES "
                  + ", ".join(["(%s, %s, %s)"] * len(orders)),
                  *(column for order in orders for column in order))


def put(server, key, command, token=None):
    put_all(server, [(key, command, token)])


def rows(server):
    return server.sql("SELECT * FROM cart_inbox ORDER BY id")


def wait_empty(server):
    wait_until(lambda: not rows(server), "all rows are done")


def wait_settled(server):
    """No row is new or taken; those that failed."""
    def settled():
        return all(row["status"] == "failed" for row in rows(server))
    wait_until(settled, "all rows are settled")
    return rows(server)


def history(client, key):
    client.send(f"chst {key}\r\n")
    line = client.line()
    assert line.startswith("VA ")
    return json.loads(client.block(int(line.split(" ")[1])))["history"]


def make_triggers(server, refuse_delete):
    """Rows of the inbox can't be deleted, so what was done stays there, or they can again."""
    kind = server.database.scheme if server.database else "sqlite"
    if not refuse_delete:
        server.change("DROP TRIGGER stays" + (" ON cart_inbox" if kind == "postgresql" else ""))
    elif kind == "postgresql":
        server.change("CREATE FUNCTION stay() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                      "RAISE EXCEPTION 'it stays'; END $$")
        server.change("CREATE TRIGGER stays BEFORE DELETE ON cart_inbox FOR EACH ROW "
                      "EXECUTE FUNCTION stay()")
    elif kind == "mysql":
        server.change("CREATE TRIGGER stays BEFORE DELETE ON cart_inbox FOR EACH ROW "
                      "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'it stays'")
    else:
        server.change("CREATE TRIGGER stays BEFORE DELETE ON cart_inbox "
                      "BEGIN SELECT raise(ABORT, 'it stays'); END")


def test_each_command_does_what_it_does_for_a_client(server):
    server.start(**FAST)
    both = {}
    commands = ["cadd SKU-1;red 2 P1999 UEUR Gs1 Eb3B0aW9ucw==", "cadd SKU-2 1 P5 L",
                "cset SKU-2 9", "cadd SKU-3 4 T3600", "crem SKU-3", "cchk SKU-2 0",
                "cswp SKU-2 SKU-2;XL", "cclr Schecked",
                "cadd SKU-4 1\ncadd SKU-5 2 P7\r\ncrem SKU-4\n"]
    put_all(server, [("cart:staff", command, None) for command in commands])
    wait_empty(server)
    with server.client() as client:
        for command in commands[:-1]:
            verb, rest = command.split(" ", 1)
            assert client.cmd(f"{verb} cart:client {rest}") == "HD"
        block = commands[-1]
        client.send(f"cbat cart:client {len(block)}\r\n{block}\r\n")
        assert client.line() == "HD"
        for key in ("cart:staff", "cart:client"):
            cart = client.cart(key)
            both[key] = [{name: value for name, value in line.items()
                          if name not in ("added", "updated")} for line in cart["lines"]]
            assert cart["version"] == len(commands)
        assert both["cart:staff"] == both["cart:client"] != []
        entries = history(client, "cart:staff")
        assert {entry["cause"] for entry in entries} == {"admin"}
        assert [entry["token"] for entry in reversed(entries)] == [
            f"inbox-{number}" for number in range(1, len(commands) + 1)]
        assert client.stat("inbox_done") == len(commands)
        put(server, "cart:staff", "cdel")
        wait_empty(server)
        assert client.cart("cart:staff") is None
    books.check(server, ["cart:staff", "cart:client"])


BAD_ROWS = [
    ("no-cart", "cadd SKU-1 1", None, "BAD_CART"),
    ("cart:" + "u" * 400, "cadd SKU-1 1", None, "BAD_CART"),
    ("cart:u1", "", None, "not a command of the inbox"),
    ("cart:u1", "cget", None, "not a command of the inbox"),
    ("cart:u1", "flush_all", None, "not a command of the inbox"),
    ("cart:u1", "cmrg cart:u2", None, "not a command of the inbox"),
    ("cart:u1", "cadd SKU-1", None, "too few or too many words"),
    ("cart:u1", "cadd SKU-1 one", None, "BAD_QTY"),
    ("cart:u1", "cadd SKU-1 1 Imine", None, "BAD_FLAG"),
    ("cart:u1", "cadd SKU-1 1 Dram", None, "BAD_FLAG"),
    ("cart:u1", "cadd SKU-1 1 x", None, "BAD_FLAG"),
    ("cart:u1", "cset SKU-1 1000001", None, "QTY_LIMIT"),
    ("cart:u1", "cadd SKU-1 1 UUSD", None, "CURRENCY"),
    ("cart:u1", "cchk SKU-none 1", None, "NF no such line"),
    ("cart:none", "cdel", None, "NF no such line, or no such cart"),
    ("cart:u1", "cadd SKU-1 1 V5", None, "EX the cart has changed"),
    ("cart:u1", "cadd SKU-1 1\ncchk SKU-none 1\ncadd SKU-1 1", None, "line 2: NF"),
    ("cart:u1", "cadd SKU-1 1\nnonsense", None, "line 2: too few"),
    ("cart:u1", "cadd " + "x" * 20000 + " 1", None, "SIZE_LIMIT"),
    ("cart:u1", "cadd SKU-1 1", "with space", "token is 1..32 bytes"),
    ("cart:u1", "cadd SKU-1 3", "used", "TOKEN_REUSED"),
]


def test_a_bad_row_stays_with_its_reason_and_stops_no_other(server):
    server.start(**FAST)
    put(server, "cart:u1", "cadd SKU-1 5 P10 UEUR", "used")
    put_all(server, [row[:3] for row in BAD_ROWS])
    put(server, "cart:u1", "cadd SKU-last 1 UEUR P10")
    failed = wait_settled(server)
    assert len(failed) == len(BAD_ROWS)
    for row, (_, command, _, reason) in zip(failed, BAD_ROWS):
        assert reason in row["reason"], (command, row["reason"])
        assert row["reason"] in server.log.read_text(errors="replace")
    carts = books.check(server, ["cart:u1"])
    assert {line["line"]: line["qty"] for line in carts["cart:u1"]["lines"]} == {
        "SKU-1": 5, "SKU-last": 1}
    stats = server.stats()
    assert stats["inbox_failed"] == len(BAD_ROWS) and stats["inbox_waiting"] == 0
    server.change("UPDATE cart_inbox SET status = 'new', token = NULL WHERE id = %s",
                  failed[-2]["id"])  # mended, to be tried again
    wait_until(lambda: server.stats()["inbox_done"] == 3, "the mended row is done")


def test_a_token_is_done_once_however_many_rows_have_it(server):
    server.start(**FAST)
    put_all(server, [("cart:u1", "cadd SKU-1 2", "night-job-17")] * 3)
    wait_empty(server)
    with server.client() as client:
        assert client.cmd("cadd cart:u1 SKU-1 2 Inight-job-17 x") == "HD x2 R"
        assert client.qty("cart:u1", "SKU-1") == 2


def test_rows_of_a_cart_are_done_in_their_order(server):
    server.start(**FAST)
    put_all(server, [("cart:u1", f"cset SKU-1 {number}", None) for number in range(1, 251)])
    wait_empty(server)
    with server.client() as client:
        assert client.qty("cart:u1", "SKU-1") == 250
        assert client.cart("cart:u1")["version"] == 250


def test_a_cart_that_is_not_in_memory_and_one_that_was_merged(server):
    server.start(**FAST)
    with server.client() as client:
        assert client.cmd("cadd cart:cold SKU-1 1") == "HD"
        assert client.cmd("cadd cart:guest SKU-1 1") == "HD"
        assert client.cmd("cmrg cart:user cart:guest") == "HD"
    server.restart()
    put(server, "cart:cold", "cadd SKU-1 1")
    put(server, "cart:guest", "cadd SKU-1 1")
    wait_empty(server)
    with server.client() as client:
        assert client.qty("cart:cold", "SKU-1") == 2
        assert client.qty("cart:user", "SKU-1") == 2


@pytest.mark.parametrize("end", ["kill9", "stop"])
def test_an_end_between_doing_and_telling_does_nothing_twice(server, end):
    server.start(**FAST)
    make_triggers(server, True)
    put(server, "cart:u1", "cadd SKU-1 2")
    with server.client() as client:
        wait_until(lambda: client.stat("inbox_errors") > 0, "the row can't be deleted")
        assert client.qty("cart:u1", "SKU-1") == 2
    assert "it stays" in server.log_end()
    getattr(server, end)()
    make_triggers(server, False)
    assert [row["status"] for row in rows(server)] == ["taken"]
    server.start(**FAST)
    wait_empty(server)
    with server.client() as client:
        assert client.qty("cart:u1", "SKU-1") == 2
        assert client.cart("cart:u1")["version"] == 1
    books.check(server, ["cart:u1"])


def test_kills_at_any_time_lose_and_double_nothing(server):
    server.start(**FAST)
    chance = random.Random(7)
    keys = [f"cart:u{number}" for number in range(10)]
    wanted = dict.fromkeys(keys, 0)
    for _ in range(ROUNDS):
        adds = [(chance.choice(keys), chance.randint(1, 9)) for _ in range(60)]
        put_all(server, [(key, f"cadd SKU-1 {count}", None) for key, count in adds])
        for key, count in adds:
            wanted[key] += count
        few = chance.randint(0, 60)
        came_true(lambda: len(rows(server)) <= few, 5)
        server.crash()
    wait_empty(server)
    carts = books.check(server, keys)
    assert {key: cart["qty"] for key, cart in carts.items() if cart} == {
        key: count for key, count in wanted.items() if count}


def test_a_row_that_may_have_been_done_long_ago_is_left_to_a_person(server):
    server.start(**FAST)
    put(server, "cart:u1", "cadd SKU-1 1")
    wait_empty(server)
    assert server.stop() == 0
    put(server, "cart:u1", "cadd SKU-1 1")
    put(server, "cart:u1", "cadd SKU-2 1")
    old, new = [row["id"] for row in rows(server)]
    server.change("UPDATE cart_inbox SET status = 'taken', taken_at = '2023-11-14 22:13:20' "
                  "WHERE id = %s", old)
    server.change(f"UPDATE cart_inbox SET status = 'taken', taken_at = created_at WHERE id = {new}")
    server.start(**FAST)
    [failed] = wait_settled(server)
    assert failed["id"] == old and "too long ago to tell" in failed["reason"]
    with server.client() as client:
        assert client.qty("cart:u1", "SKU-1") == 1
        assert client.qty("cart:u1", "SKU-2") == 1


@pytest.mark.servers  # SQLite has one writer at a time
def test_rows_that_nobody_has_committed_hold_up_no_other(server):
    server.start(**FAST)
    with server.client() as client:
        assert client.cmd("cadd cart:u1 SKU-0 1") == "HD"
    books.check(server, ["cart:u1"])
    other = server.database.connect(server.schema)
    other.cursor().execute("BEGIN")
    other.cursor().execute(
        "INSERT INTO cart_inbox (cart_id, command) VALUES ('cart:u1', 'cadd SKU-1 1')")
    put(server, "cart:u1", "cadd SKU-2 1")
    wait_empty(server)
    assert server.stats()["inbox_errors"] == 0
    other.cursor().execute("COMMIT")
    other.close()
    wait_until(lambda: server.stats()["inbox_done"] == 2, "the committed row is done")


def test_it_can_be_turned_off(server):
    server.start(l3_inbox_ms=0)
    with server.client() as client:
        assert client.cmd("cadd cart:u1 SKU-0 1") == "HD"
    books.check(server, ["cart:u1"])
    put(server, "cart:u1", "cadd SKU-1 1")
    server.restart()  # both ends of a life go by
    assert [row["status"] for row in rows(server)] == ["new"]

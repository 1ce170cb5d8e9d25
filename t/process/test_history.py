"""chst tells what was done to a cart: all that was acknowledged, in order,
whatever happened since.
"""
import base64
import json
import threading

from waiting import wait_until

KEY = "cart:u42"
OPS_MAX = 64
CONNECTIONS = 8


def history(client, key=KEY):
    """The document, or None."""
    first, data = client.value(f"chst {key}")
    assert first == "EN" or data is not None, first
    if data is None:
        return None
    document = json.loads(data)
    assert document["cart"] == key
    versions = [step["version"] for step in document["history"]]
    assert versions == sorted(set(versions), reverse=True)
    return document


def ops_of(document):
    """(op, line, qty) of every operation, oldest first."""
    return [(op["op"], op.get("line"), op.get("qty"))
            for step in reversed(document["history"]) for op in step["ops"]]


def work(client):
    """One of each; what the history must say of it."""
    assert client.cmd(f"cadd {KEY} SKU-1 2 P1999 UEUR I8f3c") == "HD"
    assert client.cmd(f"cset {KEY} SKU-2 7") == "HD"
    assert client.cmd(f"cadd {KEY} SKU-2 5 L") == "HD"  # clamped by --qty-max
    assert client.cmd(f"cadd {KEY} SKU-1 2 P1999 UEUR I8f3c") == "HD R"  # not done again
    assert client.cmd(f"crem {KEY} SKU-1") == "HD"
    document = {"lines": [{"line": "a", "qty": 1}, {"line": "b", "qty": 2, "price": 5}]}
    assert client.store(f"set {KEY} 0 0", json.dumps(document)) == "STORED"
    assert client.cmd(f"cadd {KEY} a 99999999").startswith("CLIENT_ERROR")  # refused: not told
    return [(1, "user", "8f3c", [{"op": "add", "line": "SKU-1", "qty": 2, "price": 1999}]),
            (2, "user", None, [{"op": "set", "line": "SKU-2", "qty": 7}]),
            (3, "clamp", None, [{"op": "add", "line": "SKU-2", "qty": 1}]),
            (4, "user", None, [{"op": "remove", "line": "SKU-1"}]),
            (5, "user", None, [{"op": "set", "line": "a", "qty": 1},
                               {"op": "set", "line": "b", "qty": 2, "price": 5},
                               {"op": "retain"}])]


def steps_of(document):
    return [(step["version"], step["cause"], step.get("token"), step["ops"])
            for step in reversed(document["history"])]


def start(server, **options):
    server.start(qty_max=8, **options)


def demote(server, client):
    """Until no cart is in memory."""
    def pushed_out():
        for i in range(10):
            assert client.store(f"set filler{i} 0 0", b"x" * 900000) == "STORED"
        return client.stat("curr_carts") == 0
    server.wait_caught_up()
    wait_until(pushed_out, "plain items have taken the place of the carts")


def test_each_operation_is_told_as_it_was_applied(server):
    start(server)
    with server.client() as client:
        assert history(client) is None
        before = client.stat("time")
        told = work(client)
        document = history(client)
        assert steps_of(document) == told
        assert document["complete"] is True
        actors = {step["actor"] for step in document["history"]}
        assert len(actors) == 1 and len(actors.pop()) == 16
        for step in document["history"]:
            assert before * 1000 <= step["time"] <= (client.stat("time") + 1) * 1000
        assert document["history"][-1]["currency"] == "EUR"
        assert document["history"][2].get("clamped") is True


def test_a_crash_and_restarts_lose_nothing(server):
    start(server)
    with server.client() as client:
        told = work(client)
    server.crash()
    with server.client() as client:
        assert steps_of(history(client)) == told
        assert client.cmd(f"cadd {KEY} c 1") == "HD"
    told.append((6, "user", None, [{"op": "add", "line": "c", "qty": 1}]))
    for _ in range(2):
        server.restart()
        with server.client() as client:
            document = history(client)
            assert steps_of(document) == told and document["complete"] is True
            wait_until(lambda c=client: c.stat("journal_history_segments") > 0,
                       "the journal's thread has looked at what was released before the start")
            assert client.stat("journal_history_bytes") > 0
    assert len({step["actor"] for step in document["history"]}) == 2  # each process has its own


def test_a_cart_that_left_memory_keeps_its_history(server):
    start(server, m=8)
    with server.client() as client:
        told = work(client)
        demote(server, client)
        assert steps_of(history(client)) == told
        assert client.stat("curr_carts") == 0  # nobody had to bring it back for this
        assert client.cmd(f"cadd {KEY} c 1") == "HD"
        told.append((6, "user", None, [{"op": "add", "line": "c", "qty": 1}]))
        assert steps_of(history(client)) == told


def test_all_that_was_acknowledged_is_there_at_once(server):
    server.start()
    failures = []

    def write(name):
        try:
            with server.client() as client:
                for i in range(OPS_MAX // CONNECTIONS):
                    level = ["ram", "os", "sync"][i % 3]
                    assert client.cmd(f"cadd {KEY} {name} {i + 1} D{level}") == "HD"
                    mine = [op for op in ops_of(history(client)) if op[1] == name]
                    assert mine == [("add", name, n + 1) for n in range(i + 1)]
        except Exception as error:  # pylint: disable=broad-except
            failures.append(f"{name}: {error!r}")

    threads = [threading.Thread(target=write, args=(f"w{i}",)) for i in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures
    with server.client() as client:
        document = history(client)
        assert [step["version"] for step in document["history"]] == list(range(OPS_MAX, 0, -1))
        assert document["complete"] is True


def test_the_newest_64_are_told(server):
    server.start()
    with server.client() as client:
        for i in range(OPS_MAX + 6):
            assert client.cmd(f"cset {KEY} a {i + 1} Dram") == "HD"
        document = history(client)
        assert ops_of(document) == [("set", "a", n) for n in range(7, OPS_MAX + 7)]
        assert document["complete"] is True


def test_a_step_is_told_whole_or_not_at_all(server):
    server.start()

    def put(client, lines, start):
        lines = [{"line": f"l{i}", "qty": start + i} for i in range(lines)]
        assert client.store(f"set {KEY} 0 0", json.dumps({"lines": lines})) == "STORED"

    with server.client() as client:
        put(client, 30, 1)
        put(client, 30, 2)
        put(client, 30, 3)  # 31 operations each
        document = history(client)
        assert [len(step["ops"]) for step in document["history"]] == [31, 31]
        assert document["complete"] is True
        assert client.cmd(f"cadd {KEY} x 1") == "HD"
        assert client.cmd(f"cadd {KEY} x 1") == "HD"
        assert [len(step["ops"]) for step in history(client)["history"]] == [1, 1, 31, 31]
        put(client, 100, 1)
        document = history(client)
        assert [len(step["ops"]) for step in document["history"]] == [OPS_MAX]
        assert document["history"][0]["ops_left_out"] == 101 - OPS_MAX


def test_what_is_no_longer_kept_is_said(server):
    server.start()
    with server.client() as client:
        assert client.cmd(f"cadd {KEY} a 1") == "HD"
    server.restart()
    with server.client() as client:
        assert client.cmd(f"cadd {KEY} b 1") == "HD"
        assert client.cmd("cadd cart:new n 1") == "HD"
    assert server.stop() == 0
    old = sorted((server.data / "journal").glob("*.old"))
    assert old
    for path in old:
        path.unlink()
    server.start(**server.options)
    with server.client() as client:
        document = history(client)
        assert ops_of(document) == [("add", "b", 1)] and document["complete"] is False
        assert history(client, "cart:new")["complete"] is True


def test_without_history_only_what_a_restart_needs_is_kept(server):
    server.start(history_bytes=0)
    with server.client() as client:
        assert client.cmd(f"cadd {KEY} a 1") == "HD"
        assert ops_of(history(client)) == [("add", "a", 1)]
    server.restart()
    server.restart()
    with server.client() as client:
        assert client.cart(KEY)["qty"] == 1
        assert history(client) is None
        assert client.stat("journal_history_bytes") == 0


def test_a_cart_that_only_the_database_had_begins_with_a_join(server):
    server.start()
    with server.client() as client:
        assert client.cmd(f"cadd {KEY} a 1") == "HD"
    assert server.stop() == 0
    server.forget("l2", "journal")
    server.start(**server.options)
    with server.client() as client:
        assert client.cmd(f"cadd {KEY} b 1") == "HD"
        document = history(client)
        assert [(step["cause"], step["version"]) for step in document["history"]] == \
            [("user", 2), ("merge", 1)]
        assert document["history"][1]["ops"] == [{"op": "join"}]
        assert document["complete"] is False  # what made that state is not known here


def test_a_lost_l2_does_not_bring_history_back_to_life(server):
    """Its steps are long in the database, which may have forgotten by whom."""
    server.start()
    with server.client() as client:
        for i in range(3):
            assert client.cmd(f"cadd {KEY} a {i + 1}") == "HD"
    server.restart()
    assert server.stop() == 0
    server.forget("l2")
    server.start(**server.options)
    with server.client() as client:
        assert client.stat("replayed") == 0
        assert client.qty(KEY, "a") == 6


def test_keys_of_any_bytes_are_json(server):
    server.start()
    key = b"cart:\xff\"\\"
    word = base64.b64encode(key).decode()
    with server.client() as client:
        assert client.cmd(f"cadd {word} a 1 b Ix") == "HD"
        first, data = client.value(f"chst {word} b k")
        assert first.endswith(f" k{word} b")
        document = json.loads(data.decode("utf-8"))
        assert base64.b64decode(document["cart_b64"]) == key
        assert document["cart"] == "cart:\ufffd\"\\"


def test_a_merge_is_told_in_both_carts(server):
    server.start()
    with server.client() as client:
        assert client.cmd("cadd cart:guest g 2") == "HD"
        assert client.cmd(f"cadd {KEY} a 1") == "HD"
        assert client.cmd(f"cmrg {KEY} cart:guest") == "HD"
    server.crash()
    with server.client() as client:
        into, source = history(client), history(client, "cart:guest")
        assert [step["cause"] for step in into["history"]] == ["merge", "user"]
        assert [op["line"] for op in into["history"][0]["ops"]] == ["g"]
        assert [op["op"] for step in source["history"] for op in step["ops"]] == ["move", "add"]
        assert source["history"][0]["ops"][0]["new_line"] == KEY

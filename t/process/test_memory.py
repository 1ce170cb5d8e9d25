"""-m is a limit: plain items go, carts move to disk, and none is lost."""
import json

import books

CARTS = 4000
LINES = 20
EXT = "x" * 450   # 20 lines with it make 10 kB a cart, 40 MB in all: five times the memory
BATCH = 50
MEGABYTES = 8


def key_of(number):
    return f"cart:m{number}"


def document(number):
    return json.dumps({"lines": [{"line": f"SKU-{line}", "qty": 1 + (number + line) % 9,
                                  "price": number, "ext": EXT} for line in range(LINES)]})


def check_limit(client):
    stats = client.stats()
    assert int(stats["limit_maxbytes"]) == MEGABYTES << 20
    assert int(stats["bytes"]) <= int(stats["limit_maxbytes"])
    return stats


def store_carts(client):
    for first in range(0, CARTS, BATCH):
        for number in range(first, first + BATCH):
            text = document(number)
            client.send(f"set {key_of(number)} 0 0 {len(text)}\r\n{text}\r\n")
        assert client.lines(BATCH) == ["STORED"] * BATCH
        check_limit(client)


def check_carts(client, numbers):
    for number in numbers:
        lines = client.cart(key_of(number))["lines"]
        assert [line["qty"] for line in lines] == [1 + (number + line) % 9
                                                   for line in range(LINES)]
        assert {line["ext"] for line in lines} == {EXT}


def test_more_carts_than_memory_are_all_readable(server):
    server.start(m=MEGABYTES)
    with server.client() as client:
        store_carts(client)
        check_carts(client, range(CARTS))
        stats = check_limit(client)
        assert int(stats["cart_demotions"]) > 0
        assert int(stats["curr_carts"]) < CARTS / 2
        for number in range(0, CARTS, 10):
            assert client.cmd(f"cadd {key_of(number)} more 1") == "HD"
        for number in range(0, CARTS, 10):
            assert client.qty(key_of(number), "more") == 1
        check_limit(client)
    books.check(server, [key_of(number) for number in range(CARTS)])


def test_plain_items_are_evicted_and_carts_are_not(server):
    server.start(m=MEGABYTES)
    few = range(200)
    with server.client() as client:
        for number in few:
            assert client.store(f"set {key_of(number)} 0 0", document(number)) == "STORED"
        for first in range(0, 40000, 1000):
            client.send("".join(f"set plain{number} 0 0 1000\r\n{'p' * 1000}\r\n"
                                for number in range(first, first + 1000)))
            assert client.lines(1000) == ["STORED"] * 1000
            check_limit(client)
        stats = check_limit(client)
        assert int(stats["evictions"]) > 30000
        assert client.get("plain39999") == b"p" * 1000
        assert client.get("plain0") is None
        check_carts(client, few)
        check_limit(client)
    books.check(server, [key_of(number) for number in few])


def test_a_value_larger_than_memory_is_refused_and_drops_nothing(server):
    server.start(m=MEGABYTES, I="16m")
    with server.client() as client:
        assert client.store("set small 0 0", "here") == "STORED"
        answer = client.store("set large 0 0", "x" * (12 << 20))
        assert answer.startswith("SERVER_ERROR out of memory"), answer
        assert client.get("small") == b"here"
        check_limit(client)


def fill_with_items(client, exptime):
    """Stores until memory is full; the keys that were taken."""
    value = b"x" * 10000
    for number in range(3 * MEGABYTES * 100):
        answer = client.store(f"set item{number} 0 {exptime}", value)
        if answer != "STORED":
            assert answer == "SERVER_ERROR out of memory storing object"
            return number
    return None


def test_without_evictions_a_full_memory_refuses_and_keeps(server):
    server.start(m=MEGABYTES, M=True)
    with server.client() as client:
        stored = fill_with_items(client, 0)
        assert stored and stored > MEGABYTES * 50
        assert all(client.get(f"item{number}") == b"x" * 10000 for number in range(stored))
        check_limit(client)
        assert client.stat("evictions") == 0
        assert client.cmd("flush_all") == "OK"  # what is dead makes room again
        assert fill_with_items(client, 0) > stored / 2


def test_with_evictions_the_same_load_is_taken(server):
    server.start(m=MEGABYTES)
    with server.client() as client:
        assert fill_with_items(client, 0) is None
        assert client.stat("evictions") > 0

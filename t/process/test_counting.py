"""Many connections count on one line: no operation is lost, none is doubled."""
import books
import pytest
from crowd import in_threads
from wire import flags

CONNECTIONS = 64
EACH = 1000
TOKENS_EACH = 50  # a cart keeps its tokens for ten minutes, so these are fewer
QTY_MAX = {"qty_max": 1000000}
KEY, LINE = "cart:count", "SKU-1"


def check_count(server, key, line, count):
    with server.client() as client:
        assert client.qty(key, line) == count
    books.check(server, [key])


def test_64_connections_add_64000(server):
    server.start(**QTY_MAX)

    def add(_):
        with server.client() as client:
            for _ in range(EACH):
                assert client.cmd(f"cadd {KEY} {LINE} 1") == "HD"

    in_threads(CONNECTIONS, add)
    check_count(server, KEY, LINE, CONNECTIONS * EACH)


def test_64_connections_add_64000_pipelined(server):
    server.start(**QTY_MAX)
    seen = set()

    def add(_):
        with server.client() as client:
            client.send(f"cadd {KEY} {LINE} 1 x\r\n" * EACH)
            counts = [int(flags(line)["x"]) for line in client.lines(EACH)]
            assert counts == sorted(counts)
            seen.update(counts)

    in_threads(CONNECTIONS, add)
    check_count(server, KEY, LINE, CONNECTIONS * EACH)
    assert seen == set(range(1, CONNECTIONS * EACH + 1))  # every count was told to one of them


def test_repeated_tokens_count_once(server):
    server.start(**QTY_MAX)

    def add(number):
        with server.client() as client, server.client() as other:
            commands = [f"cadd {KEY} {LINE} 1 I{number}.{i}\r\n" for i in range(TOKENS_EACH)]
            client.send("".join(commands))
            other.send("".join(reversed(commands)))
            answers = client.lines(TOKENS_EACH), other.lines(TOKENS_EACH)[::-1]
            for pair in zip(*answers):
                assert sorted(pair) == ["HD", "HD R"]

    in_threads(CONNECTIONS, add)
    check_count(server, KEY, LINE, CONNECTIONS * TOKENS_EACH)


def test_a_storm_of_plus_and_minus_nets_to_nothing(server):
    server.start()
    base = 500
    with server.client() as client:
        assert client.cmd(f"cset {KEY} {LINE} {base}") == "HD"

    def storm(number):
        steps = [f"cadd {KEY} {LINE} {sign}1\r\n" for sign in ("", "-")]
        with server.client() as client:
            client.send("".join(steps[::1 if number % 2 else -1]) * (EACH // 4))
            assert set(client.lines(EACH // 4 * 2)) == {"HD"}

    in_threads(CONNECTIONS, storm)
    check_count(server, KEY, LINE, base)


def test_path_keys_and_cart_commands_count_together(server):
    server.start(**QTY_MAX)

    def add(number):
        with server.client() as client:
            for _ in range(100):
                if number % 2:
                    assert client.cmd(f"cadd {KEY} {LINE} 1") == "HD"
                else:
                    answer = client.cmd(f"incr {KEY}/{LINE}/qty 1")
                    assert answer == "NOT_FOUND" or int(answer) > 0
                    if answer == "NOT_FOUND":
                        assert client.cmd(f"cadd {KEY} {LINE} 1") == "HD"

    in_threads(16, add)
    check_count(server, KEY, LINE, 1600)


def test_two_first_adds_make_one_cart(server):
    server.start()
    keys = [f"cart:first{i}" for i in range(200)]
    with server.client() as one, server.client() as other:
        for key in keys:
            one.send(f"cadd {key} SKU-1 1 n\r\ncadd {key} SKU-3 1\r\n")
            other.send(f"cadd {key} SKU-2 1 n\r\ncadd {key} SKU-3 1\r\n")
            answers = one.lines(2) + other.lines(2)
            assert all(answer.startswith("HD") for answer in answers), answers
    for cart in books.check(server, keys).values():
        assert {line["line"]: line["qty"] for line in cart["lines"]} == {
            "SKU-1": 1, "SKU-2": 1, "SKU-3": 2}


@pytest.mark.parametrize("end", ["killed", "l2 lost"])
def test_a_removed_line_stays_away(server, end):
    server.start()

    def shop(number):
        key = f"cart:r{number}"
        with server.client() as client, server.client() as other:
            other.send(f"cadd {key} stays 1\r\n" * 200)
            for _ in range(20):
                assert client.cmd(f"cadd {key} gone 2") == "HD"
                assert client.cmd(f"crem {key} gone") == "HD"
                assert client.qty(key, "gone") == 0
            assert set(other.lines(200)) == {"HD"}

    in_threads(8, shop)
    if end == "killed":
        server.crash()
    else:
        assert server.stop() == 0
        server.forget("l2", "journal")
        server.start()
    for cart in books.check(server, [f"cart:r{number}" for number in range(8)]).values():
        assert {line["line"]: line["qty"] for line in cart["lines"]} == {"stays": 200}

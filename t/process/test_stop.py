"""SIGTERM: answers what was asked, brings all down to L2 and L3, ends with 0 within seconds."""
import signal
import time

import books
import pytest

STOP_SECONDS = 10


@pytest.mark.parametrize("with_signal", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_takes_seconds_and_leaves_nothing_behind(server, with_signal):
    server.start()
    keys = [f"cart:u{number}" for number in range(500)]
    with server.client() as client:
        client.send("".join(f"cadd {key} SKU-1 1\r\n" for key in keys))
        assert client.lines(len(keys)) == ["HD"] * len(keys)
        carts = {key: client.cart(key) for key in keys}
        began = time.monotonic()
        server.process.send_signal(with_signal)
        assert server.wait() == 0, server.log_end()
        assert time.monotonic() - began < STOP_SECONDS
        assert client.rest() == []
    assert books.differences(server, carts) == []
    server.start()
    stats = server.stats()
    assert (stats["behind_queue"], stats["dirty_carts"], stats["replayed"]) == (0, 0, 0)
    books.check(server, keys)
    assert server.stats()["l3_loads"] == 0  # L2 had them all


def test_pending_answers_are_given(server):
    server.start()
    count = 2000
    with server.client() as client:
        client.send("cadd cart:u1 SKU-1 1 Dsync\r\ncrem cart:u1 SKU-1\r\n" * (count // 2))
        answers = [client.line()]
        server.process.terminate()
        answers += client.rest()
        assert server.wait() == 0, server.log_end()
    assert answers == ["HD"] * count


def test_every_operation_that_took_effect_was_answered(server):
    server.start()
    clients = [server.client() for _ in range(20)]
    for number, client in enumerate(clients):
        client.send(f"cadd cart:u1 line{number} 1\r\n" * 500)
    clients[-1].line()
    server.process.terminate()
    answers = [len(client.rest()) for client in clients]
    answers[-1] += 1
    assert server.wait() == 0, server.log_end()
    server.start()
    with server.client() as client:
        cart = client.cart("cart:u1")
    assert {line["line"]: line["qty"] for line in cart["lines"]} == {
        f"line{number}": count for number, count in enumerate(answers) if count}


def test_an_idle_connection_does_not_hold_up_the_stop(server):
    server.start()
    with server.client() as idle, server.client() as half:
        half.send("set k 0 0 100\r\nonly half")
        assert idle.cmd("version").startswith("VERSION")
        began = time.monotonic()
        assert server.stop() == 0, server.log_end()
        assert time.monotonic() - began < STOP_SECONDS


def test_a_client_that_does_not_read_does_not_hold_up_the_stop(server):
    server.start()
    with server.client() as client, server.client() as other:
        assert other.store("set big 0 0", "x" * 500000) == "STORED"
        client.send("get big\r\n" * 200)  # 100 MB of answers that nobody takes
        assert other.cmd("cadd cart:u1 SKU-1 1") == "HD"
        began = time.monotonic()
        assert server.stop() == 0, server.log_end()
        assert time.monotonic() - began < 2 * STOP_SECONDS
    assert server.sql("SELECT qty FROM cart") == [{"qty": 1}]

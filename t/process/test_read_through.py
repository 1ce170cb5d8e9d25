"""What is not in memory comes from L2, then from the database, and once for all who ask."""
import os
import signal
import threading
import time

import pytest
from waiting import wait_until

READERS = 200
FLOOD_KEYS = int(os.environ.get("FLOOD_KEYS", "20000"))
FLOOD_CONNECTIONS = 400
FLOOD_READS_MAX = 200  # queries a second
FLOOD_WAIT_MS = 100
BURST = FLOOD_READS_MAX // 10
KEY = "cart:cold"


def fill(server):
    with server.client() as client:
        assert client.cmd(f"cadd {KEY} SKU-1;red 2 P1999 UEUR Gs1 Eb3B0aW9ucw==") == "HD"
        assert client.cmd(f"cset {KEY} SKU-2 5") == "HD"
        assert client.cmd(f"crem {KEY} SKU-2") == "HD"
        return client.cart(KEY), client.get(KEY)


def lose(server, *folders):
    assert server.stop() == 0, server.log_end()
    server.forget(*folders)
    server.start(**server.options)


def send_at_once(server, clients, text):
    """The daemon stands still until all have sent, so that all ask at the same time."""
    for client in clients:
        assert client.cmd("version").startswith("VERSION ")
    server.process.send_signal(signal.SIGSTOP)
    for client in clients:
        client.send(text)
    server.process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("folders", [["l2"], ["l2", "journal"]], ids=["l2", "l2 and journal"])
def test_a_cart_comes_back_from_the_database_as_it_was(server, folders):
    server.start()
    before = fill(server)
    lose(server, *folders)
    with server.client() as client:
        assert (client.cart(KEY), client.get(KEY)) == before
        if "journal" in folders:  # else its replay has asked too
            assert client.stat("l3_loads") == 1
        assert client.cmd(f"cadd {KEY} SKU-1;red 1 x v") == f"HD x3 v{before[0]['version'] + 1}"


def test_a_cart_comes_from_l2_without_the_database(server):
    server.start()
    before = fill(server)
    server.restart()
    with server.client() as client:
        assert (client.cart(KEY), client.get(KEY)) == before
        assert client.stat("l3_loads") == 0


def test_a_cart_comes_from_l2_when_there_is_no_database(server):
    server.start(l3="none")
    before = fill(server)
    server.restart()
    with server.client() as client:
        assert (client.cart(KEY), client.get(KEY)) == before
    assert not (server.data / "cartd.sqlite").exists()


@pytest.mark.parametrize("there", [True, False], ids=["a cart", "no cart"])
def test_many_readers_of_a_cold_cart_are_one_query(server, there):
    server.start()
    if there:
        before, _ = fill(server)
    else:
        with server.client() as client:
            assert client.cmd("cadd cart:other SKU-1 1") == "HD"  # so the database is not empty
    lose(server, "l2", "journal")
    readers = [server.client() for _ in range(READERS)]
    try:
        send_at_once(server, readers, f"cget {KEY}\r\n")
        for reader in readers:
            line = reader.line()
            assert line.startswith("VA ") if there else line == "EN"
            if there:
                reader.block(int(line.split(" ")[1]))
        assert readers[0].stat("l3_loads") == 1
        if there:
            assert readers[0].cart(KEY) == before
    finally:
        for reader in readers:
            reader.close()


def test_writers_of_a_cold_cart_add_to_what_the_database_has(server):
    server.start()
    fill(server)
    lose(server, "l2", "journal")
    writers = [server.client() for _ in range(50)]
    try:
        send_at_once(server, writers, f"cadd {KEY} SKU-1;red 1\r\n")
        assert {writer.line() for writer in writers} == {"HD"}
        assert writers[0].qty(KEY, "SKU-1;red") == 52
        assert writers[0].stat("l3_loads") == 1
    finally:
        for writer in writers:
            writer.close()


def test_a_miss_is_not_asked_for_twice(server):
    server.start()
    fill(server)
    lose(server, "l2", "journal")
    with server.client() as client:
        assert client.cart("cart:nobody") is None
        loads = client.stat("l3_loads")
        for _ in range(10):
            assert client.cart("cart:nobody") is None
        assert client.stat("l3_loads") == loads


class Flood(threading.Thread):
    """Asks for keys that nobody has, on many connections."""

    def __init__(self, server):
        super().__init__()
        self.clients = [server.client() for _ in range(FLOOD_CONNECTIONS)]
        self.answers = {}
        self.error = None

    def run(self):
        try:
            each = FLOOD_KEYS // FLOOD_CONNECTIONS
            for number, client in enumerate(self.clients):
                client.send("".join(f"cget cart:x{number}.{key}\r\n" for key in range(each)))
            for client in self.clients:
                for line in client.lines(each):
                    self.answers[line] = self.answers.get(line, 0) + 1
        except Exception as error:  # told by the test
            self.error = error
        finally:
            for client in self.clients:
                client.close()


def ask_cold(client, key):
    """The cart, or None when it could not be asked for."""
    client.send(f"cget {key}\r\n")
    line = client.line()
    if line.startswith("SERVER_ERROR BUSY"):
        return None
    assert line.startswith("VA "), line
    return client.block(int(line.split(" ")[1]))


def test_a_flood_of_unknown_keys_is_no_flood_of_queries(server):
    server.start()
    with server.client() as client:
        for number in range(3):
            assert client.cmd(f"cadd cart:cold{number} SKU-1 1") == "HD"
        assert client.cmd("cadd cart:warm SKU-1 1") == "HD"
    lose(server, "l2", "journal")
    server.restart(c=2 * FLOOD_CONNECTIONS, l3_reads_max=FLOOD_READS_MAX, l3_wait_ms=FLOOD_WAIT_MS,
                   **{name: value for name, value in server.options.items() if name == "l3"})
    with server.client() as client:
        assert client.qty("cart:warm", "SKU-1") == 1
        assert client.cmd("cadd cart:l2 SKU-1 1") == "HD"
        before, began = client.stat("l3_loads"), time.monotonic()
        flood = Flood(server)
        flood.start()
        wait_until(lambda: client.stat("l3_refused") > 0, "the flood is more than may be asked")
        for number in range(3):
            wait_until(lambda key=f"cart:cold{number}": ask_cold(client, key),
                       "a cart that the database has is answered")
            assert flood.is_alive(), "the flood is over too soon"
            assert client.qty("cart:warm", "SKU-1") == 1
            assert client.cmd("cadd cart:warm SKU-1 0") == "HD"
            assert client.qty("cart:l2", "SKU-1") == 1
        flood.join()
        loads, took = client.stat("l3_loads") - before, time.monotonic() - began
        assert flood.error is None
        assert set(flood.answers) == {"EN", "SERVER_ERROR BUSY try again"}
        assert flood.answers["EN"] <= loads <= FLOOD_READS_MAX * took + BURST + 1
        assert loads < FLOOD_KEYS / 5


@pytest.mark.servers  # in SQLite nobody can lock readers out
def test_carts_of_l2_do_not_wait_for_a_database_that_hangs(server):
    server.start()
    with server.client() as client:
        assert client.cmd("cadd cart:first SKU-1 1") == "HD"
    lose(server, "l2", "journal")
    with server.client() as client:
        assert client.qty("cart:first", "SKU-1") == 1
        assert client.cmd("cadd cart:l2 SKU-1 1") == "HD"
    server.restart(l3_wait_ms=200, l3_reads_max=0,
                   **{name: value for name, value in server.options.items() if name == "l3"})
    other = server.hold_lock()
    try:
        waiting = [server.client() for _ in range(10)]
        for number, client in enumerate(waiting):
            client.send(f"cget cart:x{number}\r\n")
        with server.client() as client:
            wait_until(lambda: client.stat("l3_refused") >= len(waiting) - 2,
                       "those behind the ones that ask are told")
            assert client.stat("fill_waiting") <= 2
            assert client.qty("cart:l2", "SKU-1") == 1
    finally:
        other.close()
    for client in waiting:
        assert client.line() in ("EN", "SERVER_ERROR BUSY try again",
                                 "SERVER_ERROR BUSY database error")
        client.close()


def test_a_cart_that_somebody_else_makes_is_seen_after_a_while(server):
    server.start()
    with server.client() as client:
        assert client.cmd(f"cadd {KEY} SKU-1 1") == "HD"
    lose(server, "l2", "journal")
    with server.client() as client:
        assert client.cart("cart:later") is None
        assert client.qty(KEY, "SKU-1") == 1
        server.wait_caught_up()
        server.change("INSERT INTO cart SELECT 'cart:later', state, currency, version, cas, "
                      "lines_count, qty, amount, checked_qty, checked_amount, updated_at, "
                      "expires_at, rev, image FROM cart WHERE cart_id = %s", KEY)
        wait_until(lambda: client.cart("cart:later"), "it is asked for again")
        assert client.qty("cart:later", "SKU-1") == 1

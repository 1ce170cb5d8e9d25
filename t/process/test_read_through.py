"""What is not in memory comes from L2, then from the database, and once for all who ask."""
import signal

import pytest

READERS = 200
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

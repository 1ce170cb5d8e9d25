"""Acknowledgement levels: what was asked is what is told, and answers keep their order."""
import random
import time

import faults
import pytest
from wire import flags

LEVELS = ("ram", "os", "sync")


@pytest.mark.parametrize("level", LEVELS)
def test_the_level_asked_for_is_told(server, level):
    server.start()
    with server.client() as client:
        assert client.cmd(f"cadd cart:u1 SKU-1 1 D{level} d") == f"HD d{level}"
        assert client.cmd(f"cset cart:u1 SKU-1 5 d D{level} x") == f"HD d{level} x5"
        assert client.cmd(f"crem cart:u1 SKU-1 D{level} d") == f"HD d{level}"


@pytest.mark.parametrize("level", LEVELS)
def test_the_option_sets_the_default(server, level):
    server.start(ack=level)
    with server.client() as client:
        assert client.cmd("cadd cart:u1 SKU-1 1 d") == f"HD d{level}"
        assert client.stats("settings")["bucket_cart_ack"] == level


def test_sync_is_the_default(server):
    server.start()
    with server.client() as client:
        assert client.cmd("cadd cart:u1 SKU-1 1 d") == "HD dsync"


def test_sync_syncs_before_it_answers(server):
    server.start()
    with server.client() as client:
        before = client.stat("journal_syncs")
        assert client.cmd("cadd cart:u1 SKU-1 1 Dsync") == "HD"
        assert client.stat("journal_syncs") > before
        assert client.stat("journal_pending_bytes") == 0


@pytest.mark.parametrize("level", ["os", "sync"])
def test_what_was_acknowledged_survives_a_kill_at_once(server, level):
    server.start()
    for number in range(1, 6):
        with server.client() as client:
            assert client.cmd(f"cadd cart:u1 SKU-1 1 D{level} x") == f"HD x{number}"
        server.crash()
    with server.client() as client:
        assert client.qty("cart:u1", "SKU-1") == 5


def test_mixed_levels_come_back_in_order(server):
    server.start()
    chance = random.Random(1)
    count = 2000
    with server.client() as client:
        assert client.store("set plain 0 0", "p") == "STORED"
        commands, wanted = [], []
        for number in range(count):
            if chance.random() < 0.1:
                commands.append("get plain\r\n")
                wanted += ["VALUE plain 0 1", "p", "END"]
            else:
                level = chance.choice(LEVELS)
                line = chance.randrange(5)
                commands.append(f"cadd cart:u{line} SKU-{line} 1 D{level} O{number} d\r\n")
                wanted.append(f"HD O{number} d{level}")
        client.send("".join(commands))
        assert client.lines(len(wanted)) == wanted


def test_levels_of_one_cart_see_each_other(server):
    server.start()
    with server.client() as client:
        client.send("".join(f"cadd cart:u1 SKU-1 1 x D{LEVELS[number % 3]}\r\n"
                            for number in range(300)))
        assert [int(flags(line)["x"]) for line in client.lines(300)] == list(range(1, 301))


def test_a_repeated_token_is_as_safe_as_the_first(server):
    server.start()
    with server.client() as client:
        assert client.cmd("cadd cart:u1 SKU-1 1 It1 Dram d") == "HD dram"
        assert client.cmd("cadd cart:u1 SKU-1 1 It1 Dsync d") == "HD dsync R"
    server.crash()
    with server.client() as client:
        assert client.qty("cart:u1", "SKU-1") == 1


def test_no_answer_comes_before_the_sync_that_it_promises(server):
    server.start(t=1)
    with server.client() as client, faults.slow_calls(server, "journal", "fdatasync", 500):
        began = time.monotonic()
        assert client.cmd("cset cart:u1 SKU-1 1 d") == "HD dsync"
        assert time.monotonic() - began >= 0.5

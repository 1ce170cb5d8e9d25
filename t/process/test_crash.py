"""The daemon is killed again and again while 16 writers write. What was acknowledged is there
exactly once; what was not is there at most once, and exactly once after a retry with its token.

Every line is written by one writer only, so its quantity is known to the last unit at every moment;
carts are shared by all writers. CRASH_ROUNDS: kills in each test; CRASH_SEED: draws the same again.
"""
import os
import random
import threading

import books
import pytest
from waiting import came_true
from wire import Client, Closed, flags

ROUNDS = int(os.environ.get("CRASH_ROUNDS", "8"))
SEED = int(os.environ.get("CRASH_SEED", str(random.SystemRandom().getrandbits(32))))
WRITERS = 16
CARTS = [f"cart:shared{i}" for i in range(10)]
ACKS_MAX = 2000  # of all writers in one round
QTY_MAX = 900


class Round:
    """Counts acknowledgements and strikes at the one drawn."""

    def __init__(self, server, acks, strike):
        self.server, self.left, self.strike = server, acks, strike
        self.lock = threading.Lock()

    def acknowledged(self):
        with self.lock:
            self.left -= 1
            if self.left == 0:
                self.strike()
            return self.left > 0


class Writer:
    """Does one operation after the other, knows what its lines hold, and what is open."""

    def __init__(self, name, seed):
        self.name = name
        self.random = random.Random(seed)
        self.held = {key: 0 for key in CARTS}
        self.open = None  # (key, command, quantity if it took effect)
        self.tokens = 0
        self.error = None

    def choose(self):
        key = self.random.choice(CARTS)
        held = self.held[key]
        kind = self.random.random()
        self.tokens += 1
        token = f"I{self.name}.{self.tokens}"
        if held >= QTY_MAX or kind < 0.05:
            return key, f"crem {key} {self.name} {token} x", 0
        if kind < 0.15:
            qty = self.random.randrange(1, 50)
            return key, f"cset {key} {self.name} {qty} {token} x", qty
        step = self.random.choice((1, 1, 1, 2))
        return key, f"cadd {key} {self.name} {step} {token} x", held + step

    def done(self, answer):
        key, command, qty = self.open
        given = flags(answer)
        assert answer.startswith("HD ") and given["x"] == str(qty), f"{command}: {answer}"
        self.held[key], self.open = qty, None
        return "R" in given

    def run(self, game):
        try:
            with Client(game.server.port) as client:
                while True:
                    self.open = self.choose()
                    answer = client.cmd(self.open[1])
                    assert not self.done(answer), f"a new token was known: {answer}"
                    if not game.acknowledged():
                        return
        except Closed:
            pass
        except Exception as error:  # pylint: disable=broad-except
            self.error = error

    def took_effect(self, client):
        """Compares all lines with what is known; whether the open operation took effect."""
        happened = None
        for key, held in self.held.items():
            found = client.qty(key, self.name)
            if self.open and self.open[0] == key:
                assert found in (held, self.open[2]), f"{key} {self.name}: {found}, {self.open}"
                happened = found != held
            else:
                assert found == held, f"{key} {self.name}: {found}, acknowledged was {held}"
        return happened

    def settle(self, client, retry):
        """After a restart: all is as known; the open operation is retried or left as it is."""
        happened = self.took_effect(client)
        if self.open is None:
            return
        key, command, qty = self.open
        changes = qty != self.held[key]
        if retry:
            known = self.done(client.cmd(command))
            assert known == happened or not changes, f"{command}: R is {known}"
            again = client.cmd(command)
            assert "R" in flags(again) and flags(again)["x"] == str(qty), again
        elif happened:
            self.held[key] = qty
        self.open = None


def play(server, writers, acks, strike):
    game = Round(server, acks, strike)
    threads = [threading.Thread(target=writer.run, args=(game,)) for writer in writers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for writer in writers:
        if writer.error:
            raise writer.error


def settle(server, writers, retry):
    with server.client() as client:
        for writer in writers:
            writer.settle(client, retry)


def restart(server, chance):
    """Now and then the daemon is killed again while it starts."""
    while chance.random() < 0.3:
        server.spawn()
        came_true(server.answers, chance.uniform(0, 0.1))
        server.kill9()
    server.start(**server.options)


@pytest.mark.parametrize("ack", ["sync", "os"])
@pytest.mark.parametrize("retry", [True, False], ids=["retried", "left"])
def test_acknowledged_operations_survive_kills_exactly_once(server, ack, retry):
    print(f"CRASH_SEED={SEED}")
    chance = random.Random(SEED)
    writers = [Writer(f"w{i}", chance.random()) for i in range(WRITERS)]
    server.start(ack=ack)
    for _ in range(ROUNDS):
        play(server, writers, chance.randrange(1, ACKS_MAX), server.kill9)
        restart(server, chance)
        settle(server, writers, retry)
    books.check(server, CARTS)
    server.restart()
    settle(server, writers, retry)
    books.check(server, CARTS)


@pytest.mark.parametrize("end", ["stopped", "killed"])
def test_nothing_is_lost_when_only_the_database_is_left(server, end):
    print(f"CRASH_SEED={SEED}")
    chance = random.Random(SEED)
    writers = [Writer(f"w{i}", chance.random()) for i in range(WRITERS)]
    server.start()
    for _ in range(max(2, ROUNDS // 2)):
        play(server, writers, chance.randrange(1, ACKS_MAX), lambda: None)
        if end == "stopped":
            assert server.stop() == 0, server.log_end()
        else:
            books.check(server, CARTS)
            server.kill9()
        server.forget("l2", "journal")
        server.start(**server.options)
        settle(server, writers, True)
        play(server, writers, chance.randrange(1, ACKS_MAX), server.kill9)
        restart(server, chance)
        settle(server, writers, True)
    books.check(server, CARTS)


def test_a_token_is_known_after_a_crash_and_after_l2_is_lost(server):
    server.start()
    command = "cadd cart:u1 SKU-1 3 Itoken-1 x"
    with server.client() as client:
        assert client.cmd(command) == "HD x3"
    server.crash()
    with server.client() as client:
        assert client.cmd(command) == "HD x3 R"
    assert server.stop() == 0
    server.forget("l2", "journal")
    server.start()
    with server.client() as client:
        assert client.cmd(command) == "HD x3 R"
        assert client.cmd("cadd cart:u1 SKU-1 4 Itoken-1").startswith("CLIENT_ERROR TOKEN_REUSED")
        assert client.qty("cart:u1", "SKU-1") == 3

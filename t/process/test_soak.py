"""Everything at once for a long time: cart operations with tokens, guests who log in, lives that
end, plain items; every round ends with a kill or a restart, and half of the time the database does
not answer. At the end nothing is lost, nothing doubled, the tiers agree, and memory and descriptors
are where they were.

SOAK_SECONDS: how long (8 minutes in check-long); SOAK_SEED draws the same again.
"""
import itertools
import os
import random
import subprocess
import threading

from daemon import CARTD
from waiting import WAIT_SECONDS, came_true, wait_until
from wire import Client, Closed, flags

SECONDS = int(os.environ.get("SOAK_SECONDS", "4"))
ROUND_SECONDS = min(30, SECONDS / 2)
SEED = int(os.environ.get("SOAK_SEED", str(random.SystemRandom().getrandbits(32))))
WRITERS = 8
SHARED = [f"cart:shared{number}" for number in range(20)]
QTY_MAX = 900
# Of each writer. A cart remembers a token for 10 minutes, in some 26 bytes: without a limit the
# carts that always change would soon be all that -m 16 has room for.
OPERATIONS_PER_SECOND = 25
RSS_SLACK_BYTES = 16 << 20
FDS_SLACK = 8  # what SQLite and LevelDB have open at one moment and not at the next


class Shopper(threading.Thread):
    """One operation after the other, each repeated with its token until it is acknowledged."""

    def __init__(self, server, name, seed):
        super().__init__()
        self.server, self.name, self.random = server, name, random.Random(seed)
        self.own = f"cart:own.{name}"
        self.held = {key: 0 for key in [*SHARED, self.own]}  # of the line that is mine
        self.ended = []  # carts with a short life
        self.numbers = itertools.count(1)
        self.plain = None
        self.stopping = False
        self.pace = threading.Event()
        self.acknowledged = self.retries = 0
        self.error = None

    # ---- operations: lines to be acknowledged in this order ----

    def add(self):
        key = self.random.choice(SHARED)
        if self.held[key] > QTY_MAX:
            yield f"crem {key} {self.name}"
            self.held[key] = 0
        else:
            yield f"cadd {key} {self.name} 1"
            self.held[key] += 1

    def set(self):
        key, qty = self.random.choice(SHARED), self.random.randrange(1, 50)
        yield f"cset {key} {self.name} {qty}"
        self.held[key] = qty

    def log_in(self):
        """A guest's cart becomes part of mine."""
        guest, qty = f"cart:guest.{self.name}.{next(self.numbers)}", self.random.randrange(1, 4)
        yield f"cset {guest} {self.name} {qty}"
        yield f"cmrg {self.own} {guest} Msum"
        self.held[self.own] += qty

    def leave(self):
        """A cart whose life ends soon."""
        key = f"cart:left.{self.name}.{next(self.numbers)}"
        yield f"cset {key} SKU 1 T{self.random.randrange(1, 4)}"
        self.ended.append(key)

    # ---- their way ----

    def choose(self):
        return self.random.choices([self.add, self.set, self.log_in, self.leave],
                                   [100, 20, 1, 1])[0]()

    def repeat(self, client, command):
        """Until it is acknowledged; returns the client, which may be another."""
        command = f"{command} I{self.name}.{next(self.numbers)}"
        while True:
            try:
                client = client or Client(self.server.port)
                answer = client.cmd(command)
                if answer.startswith("HD"):
                    self.retries += "R" in flags(answer)
                    self.acknowledged += 1
                    return client
                assert answer.startswith(("SERVER_ERROR BUSY", "SERVER_ERROR NO_MEM")), answer
            except Closed:
                client = None
                came_true(self.server.is_up.is_set, WAIT_SECONDS)

    def use_cache(self, client):
        """A plain item is what was set last, or gone."""
        key = f"plain.{self.name}"
        try:
            assert client.get(key) in (self.plain, None)
            self.plain = str(next(self.numbers)).encode()
            assert client.store(f"set {key} 0 0", self.plain) == "STORED"
            return client
        except Closed:
            self.plain = None
            return None

    def run(self):
        client = None
        try:
            while not self.stopping:
                for command in self.choose():
                    client = self.repeat(client, command)
                if self.random.random() < 0.1:
                    client = self.use_cache(client)
                self.pace.wait(1 / OPERATIONS_PER_SECOND)
        except Exception as error:  # pylint: disable=broad-except
            self.error = error
        finally:
            if client:
                client.close()


class Usage:
    """What the process has at the end of each round."""

    def __init__(self):
        self.rss, self.fds = [], []

    def look(self, pid):
        with open(f"/proc/{pid}/statm", encoding="ascii") as statm:
            self.rss.append(int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
        self.fds.append(len(os.listdir(f"/proc/{pid}/fd")))

    def check(self):
        """There are ever more carts, but no more memory for them."""
        print(f"note: soak: RSS {[rss >> 20 for rss in self.rss]} MiB, descriptors {self.fds}")
        half = len(self.rss) // 2
        assert max(self.rss[half:]) <= max(self.rss[:half]) + RSS_SLACK_BYTES
        assert max(self.fds[half:]) <= max(self.fds[:half]) + FDS_SLACK


def let_run(shoppers, seconds):
    """Time for the load; ends early when a shopper met what must not be."""
    came_true(lambda: any(shopper.error for shopper in shoppers), seconds)
    for shopper in shoppers:
        if shopper.error:
            raise shopper.error


def begin_again(server, number):
    """Kills and clean stops, with a database that answers and with one that does not."""
    server.is_up.clear()
    if number % 4 in (0, 3):
        server.kill9()
    else:
        assert server.stop() == 0, server.log_end()
    server.start(**server.options)
    server.is_up.set()


def play(server, shoppers, usage):
    """Rounds: the database answers in one half, the lock spans every second restart."""
    lock = None
    for number in range(max(1, int(SECONDS / ROUND_SECONDS))):
        for half in range(2):
            wants_lock = (half == 1) == (number % 2 == 0)
            if wants_lock and not lock:
                lock = server.hold_lock()
            elif lock and not wants_lock:
                lock.close()
                lock = None
            let_run(shoppers, ROUND_SECONDS / 2)
        usage.look(server.process.pid)
        begin_again(server, number)
    if lock:
        lock.close()


def settle(server, shoppers):
    for shopper in shoppers:
        shopper.stopping = True
    for shopper in shoppers:
        shopper.join()
        if shopper.error:
            raise shopper.error
    ended = sorted(key for shopper in shoppers for key in shopper.ended)

    def events():
        return sorted(row["aggregateid"] for row in
                      server.sql("SELECT aggregateid FROM cart_event"))
    wait_until(lambda: len(events()) >= len(ended), "the lives have ended")
    server.wait_caught_up()
    assert events() == ended


def check(server, shoppers):
    """Exactly what was acknowledged, in the daemon and in SQL."""
    rows = {(row["cart_id"], row["line"]): row["qty"]
            for row in server.sql("SELECT cart_id, line, qty FROM cart_line")}
    with server.client() as client:
        for shopper in shoppers:
            for key, held in shopper.held.items():
                assert client.qty(key, shopper.name) == held, (key, shopper.name)
                assert rows.get((key, shopper.name), 0) == held, (key, shopper.name)


def verify(server):
    options = ["--l3", server.l3_url()] if server.database else []
    done = subprocess.run([CARTD, "verify", server.data, *options], text=True, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout


def test_nothing_is_lost_or_doubled_and_nothing_grows(server):
    print(f"SOAK_SEED={SEED}")
    chance = random.Random(SEED)
    server.is_up = threading.Event()
    server.start(t=2, m=16)
    server.is_up.set()
    shoppers = [Shopper(server, f"w{number}", chance.random()) for number in range(WRITERS)]
    usage = Usage()
    try:
        for shopper in shoppers:
            shopper.start()
        play(server, shoppers, usage)
        settle(server, shoppers)
    finally:
        for shopper in shoppers:
            shopper.stopping = True
    check(server, shoppers)
    usage.check()
    print(f"note: soak: {sum(shopper.acknowledged for shopper in shoppers)} operations, "
          f"{sum(shopper.retries for shopper in shoppers)} of them known by their token")
    assert server.stop() == 0
    verify(server)

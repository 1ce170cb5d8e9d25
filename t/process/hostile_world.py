"""hostile_world: a daemon under attack, and whether it is the same afterwards.

A World is one daemon with a sentinel item, a sentinel cart and a bystander: a client with traffic
of its own that checks every byte it gets. World.check() is what must hold after each attack.
"""
import os
import re
import resource
import socket
import threading
import time

from daemon import instrumented
from waiting import came_true, wait_until
from wire import Closed

FULL = os.environ.get("HOSTILE_FULL") == "1"
ANSWER_SECONDS = 1.0   # a new connection is served within
SETTLE_SECONDS = 10    # closed connections are noticed and their memory is back within
SENTINEL, SENTINEL_VALUE = "sentinel", b"intact " * 1000
CART = "cart:sentinel"
FILES_SLACK = 8        # tables of L2, a segment of the journal, the database's own files
CALM_POLLS = 20
LOOK_BYTES = 16384  # more than one answer of `stats`
OWN_CONNECTIONS = 2    # the observer's and the bystander's
MEGABYTE = 1 << 20

# What may stay when everybody is gone. Nothing of a client, but some that the daemon's parts keep
# for the next time: L2's two write buffers of 4 MB, the journal's of 8 MB, a scratch buffer of 2
# MB for each of 4 workers, the database's cache of 2 MB, and what the C library holds back at the
# ends of its heaps.
KEPT_BYTES = 32 * MEGABYTE


def scaled(quick, full):
    """The size of a heavy attack: in every check, and in the long one."""
    return full if FULL else quick


def raise_own_fd_limit():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return max(soft, hard)


class Process:
    """What the kernel says of the daemon."""

    def __init__(self, pid):
        self.proc = f"/proc/{pid}"

    def _status(self, name):
        with open(f"{self.proc}/status", encoding="utf-8") as status:
            return int(re.search(rf"^{name}:\s+(\d+) kB", status.read(), flags=re.M)[1]) << 10

    def rss(self):
        return self._status("VmRSS")

    def rss_peak(self):
        return self._status("VmHWM")

    def forget_peak(self):
        with open(f"{self.proc}/clear_refs", "w", encoding="utf-8") as refs:
            refs.write("5")

    def cpu_seconds(self):
        with open(f"{self.proc}/stat", encoding="utf-8") as stat:
            words = stat.read().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def fds(self):
        """(sockets, other files)"""
        sockets = others = 0
        for fd in os.listdir(f"{self.proc}/fd"):
            try:
                is_socket = os.readlink(f"{self.proc}/fd/{fd}").startswith("socket:")
            except FileNotFoundError:
                continue
            sockets += is_socket
            others += not is_socket
        return sockets, others


class Bystander(threading.Thread):
    """A customer who wants nothing but his own: rounds of pipelined requests of three kinds, whose
    whole answer is known byte by byte."""
    PAUSE_SECONDS = 0.002

    def __init__(self, client):
        super().__init__(daemon=True)
        self.client = client
        self.rounds = 0
        self.error = None
        self.ending = threading.Event()
        self.carts_only = threading.Event()  # while plain items are flushed
        self.counted = 0
        self.count_anew = True
        self.qty = 0
        self.start()

    def _ask(self, request, answer):
        self.client.send(request)
        got = self.client.bytes(len(answer))
        assert got == answer.encode(), f"bystander: {got!r} instead of {answer!r}"

    def _round(self):
        self.qty = self.qty % 1000 + 1
        tag = f"{self.rounds:08d}"
        request = (f"mn\r\ncset cart:bystander SKU-1 {self.qty} x Dram\r\n"
                   f"cget cart:bystander N0 O{tag} s q\r\n")
        answer = f"MN\r\nHD x{self.qty}\r\n"
        self.client.send(request)
        got = self.client.bytes(len(answer))
        assert got == answer.encode(), f"bystander: {got!r} instead of {answer!r}"
        size, opaque = re.fullmatch(r"VA (\d+) (O\d+)", self.client.line()).groups()
        assert opaque == f"O{tag}", opaque
        assert f'"qty":{self.qty},'.encode() in self.client.block(int(size))
        if not self.carts_only.is_set():
            if self.count_anew:
                self.count_anew = False
                self.counted = 0
                self._ask("set by:count 0 0 1\r\n0\r\n", "STORED\r\n")
            self.counted += 1
            self._ask(f"set by:text 7 0 8\r\n{tag}\r\nincr by:count 1\r\nget by:text by:none\r\n",
                      f"STORED\r\n{self.counted}\r\nVALUE by:text 7 8\r\n{tag}\r\nEND\r\n")

    def run(self):
        try:
            while not self.ending.wait(self.PAUSE_SECONDS):
                self._round()
                assert not self.client.unread, self.client.unread
                self.rounds += 1
        except (AssertionError, Closed, OSError, TypeError, AttributeError) as error:
            self.error = error

    def carts_again(self):
        """Plain items too, after carts only."""
        self.count_anew = True
        self.carts_only.clear()

    def check(self):
        """It goes on, and all it ever got was right."""
        before = self.rounds
        wait_until(lambda: self.error or self.rounds >= before + 2, "the bystander is served",
                   SETTLE_SECONDS)
        if self.error:
            raise AssertionError("the bystander was disturbed") from self.error

    def stop(self):
        self.ending.set()
        self.join()
        self.client.close()


class World:
    """friend() connects a client that may do everything, stranger() one as it comes."""

    def __init__(self, server, friend=None, stranger=None):
        self.server = server
        self.friend = friend or server.client
        self.stranger = stranger or server.client
        self.process = Process(server.process.pid)
        self.clients = []
        self.patience = 10 if instrumented() else 1
        self.observer = self.friend()
        self.bystander = Bystander(self.friend())
        self.put_sentinel()
        with self.friend() as client:
            assert client.cmd(f"cset {CART} SKU-1;red 3 P1999 UEUR Itoken Gshop") == "HD"
            assert client.cmd(f"cset {CART} SKU-2 1 P5") == "HD"
            self.cart = client.cart(CART)
            assert (self.cart["qty"], self.cart["amount"]) == (4, 3 * 1999 + 5)
        wait_until(lambda: self.connections() == OWN_CONNECTIONS, "nobody else is there")
        self.note()

    def client(self):
        self.clients.append(self.stranger())
        return self.clients[-1]

    def close_clients(self):
        """Those of an attack that did not come to its end."""
        for client in self.clients:
            client.close()
        self.clients.clear()

    def put_sentinel(self):
        with self.friend() as client:
            assert client.store(f"set {SENTINEL} 5 0", SENTINEL_VALUE) == "STORED"

    def stats(self):
        return {name: int(value) for name, value in self.observer.stats().items()
                if value.isdigit()}

    def connections(self):
        return self.stats()["curr_connections"]

    # ---- before and after ----

    def note(self):
        """How it is now is how it shall be again."""
        self.conns = self.connections()
        self.sockets, self.files = self.process.fds()
        self.rss = self.process.rss()

    def check_answers(self):
        """A stranger is served at once, and the sentinels are as they were."""
        began = time.monotonic()
        with self.friend() as client:
            client.socket.settimeout(ANSWER_SECONDS * self.patience)
            client.send(f"get {SENTINEL}\r\n")
            line = client.line()
            assert line == f"VALUE {SENTINEL} 5 {len(SENTINEL_VALUE)}", f"sentinel: {line}"
            assert client.block(len(SENTINEL_VALUE)) == SENTINEL_VALUE, "the sentinel has changed"
            assert client.line() == "END", "something behind the sentinel"
            took = time.monotonic() - began
            assert took < ANSWER_SECONDS * self.patience, f"a new connection waited {took:.2f} s"
            cart = client.cart(CART)
            assert cart == self.cart, f"{cart} instead of {self.cart}"

    def check_connections(self):
        def seen():
            return self.connections(), self.process.fds()[0]
        if not came_true(lambda: seen() == (self.conns, self.sockets), SETTLE_SECONDS):
            (conns, sockets), before = seen(), (self.conns, self.sockets)
            self.note()  # so that those that follow are judged by themselves
            raise AssertionError(f"{conns} connections, {sockets} sockets; before {before}")
        files = self.process.fds()[1]
        assert files <= self.files + FILES_SLACK, f"{files} files open, before {self.files}"

    def check_memory(self, kept=KEPT_BYTES):
        if instrumented():
            return  # its allocator keeps what was freed, and finds leaks by itself
        if not came_true(lambda: self.process.rss() <= self.rss + kept, SETTLE_SECONDS):
            now, before = self.process.rss(), self.rss
            self.note()  # so that those that follow are judged by themselves
            raise AssertionError(f"memory: {before >> 10} kB before, {now >> 10} kB after, "
                                 f"{kept >> 10} kB may stay")

    def check(self):
        self.close_clients()
        assert self.server.process.poll() is None, "the daemon died"
        self.check_answers()
        self.bystander.check()
        self.check_connections()
        self.check_memory()

    def begin_peak(self):
        self.process.forget_peak()
        self.rss_begin = self.process.rss()

    def check_peak(self, bytes_max, what):
        """Since begin_peak() the daemon was never larger than then by more than so much."""
        if instrumented():
            return
        grown = self.process.rss_peak() - self.rss_begin
        assert grown <= bytes_max, f"{what}: {grown >> 10} kB, {bytes_max >> 10} kB are the limit"

    def end(self):
        self.bystander.stop()
        self.observer.close()
        assert self.bystander.error is None


# ---- clients that do not behave ----

def read_all(client, limit=1 << 30):
    """Everything until the other side closes."""
    data = bytearray(client.unread)
    client.unread = b""
    while len(data) < limit:
        try:
            part = client.socket.recv(MEGABYTE)
        except ConnectionError:
            break
        if not part:
            break
        data += part
    return bytes(data)


def exchange(world, data):
    """All that is answered to these bytes by the time nothing more can come of them."""
    with world.client() as client:
        send_all(client, data)
        try:
            client.half_close()
        except OSError:
            pass  # it has closed already
        return read_all(client)


def send_all(client, data):
    """False when the other side closed meanwhile, which is its right."""
    try:
        client.send(data)
    except Closed:
        return False
    return True


def reset(client):
    """Closes with a reset, whatever is on its way."""
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()


class Pusher(threading.Thread):
    """Sends on a client's socket from the side, until all is sent or the socket is shut."""

    def __init__(self, client, data, times=1):
        super().__init__(daemon=True)
        self.client, self.data, self.times = client, data, times
        self.start()

    def run(self):
        try:
            for _ in range(self.times):
                self.client.socket.sendall(self.data)
        except OSError:
            pass

    def cut(self):
        """Ends it, and the connection with it."""
        try:
            self.client.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.join()
        self.client.close()


def wait_read(world, count, since):
    """Until the daemon has read so many bytes more than `since`."""
    wait_until(lambda: world.stats()["bytes_read"] >= since + count, "the bytes were read")


def wait_stuck(world, name="bytes_read", seconds=20):
    """Until a counter has stood still for a while, but for what the looking costs."""
    last, calm = [-1], [0]

    def still():
        now = world.stats()[name]
        calm[0] = calm[0] + 1 if 0 <= now - last[0] < LOOK_BYTES else 0
        last[0] = now
        return calm[0] >= CALM_POLLS
    wait_until(still, f"{name} stands still", seconds * world.patience)

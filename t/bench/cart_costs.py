#!/usr/bin/python3
"""cart_costs: what the size of a cart and of a number cost, in CPU of the server.

usage: cart_costs.py [--cartd PROGRAM] [--rounds N] [--folder FOLDER]

Three pairs of requests, each measured in turns (A B A B) on one server; of each turn the ratio, of
the ratios the median. CPU is user + sys of the whole process, journal and L2 included. Depth is how
many requests are sent before the first answer is read.
"""
import argparse
import itertools
import os
import socket
import statistics
import tempfile
from types import SimpleNamespace

from servers import SERVERS, Server, cartd

ROUNDS = 7
DEPTHS = (1, 16)
TURN_CPU_SECONDS = 0.4  # a tick of the clock is 2.5 % of it
STEP_REQUESTS = 2000
SMALL, LARGE = 10, 500


def cartd_of_carts(bench, port, folder):
    return [*cartd(bench, port, folder), "--lines-max", "1000", "--qty-max", "1000000"]


SERVERS["cartd-carts"] = (cartd_of_carts, {})


class Talk:
    """One connection, whose answers are counted by their lines."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, requests, lines_each):
        self.socket.sendall(b"".join(requests))
        left = len(requests) * lines_each
        while left > 0:
            data = self.socket.recv(1 << 16)
            assert data and b"ERROR" not in data, data
            left -= data.count(b"\n")

    def fill(self, key, lines):
        for number in range(lines):
            self.ask([b"cset %s SKU-%d 3 P1999\r\n" % (key, number)], 1)


class Work:
    """A request that is made again and again: its forms in turn, and the lines of an answer."""

    def __init__(self, name, forms, lines_each=1):
        self.name, self.lines_each = name, lines_each
        self.forms = itertools.cycle(forms)

    def cost(self, server, talk, depth):
        """Microseconds of CPU for one."""
        done, begun = 0, server.cpu_seconds()
        while server.cpu_seconds() - begun < TURN_CPU_SECONDS:
            for _ in range(STEP_REQUESTS // depth):
                talk.ask(list(itertools.islice(self.forms, depth)), self.lines_each)
                done += depth
        return (server.cpu_seconds() - begun) / done * 1e6


def adds(key, lines):
    return Work(f"cadd on {lines} lines",
                [b"cadd %s SKU-%d %d\r\n" % (key, number * 7 % lines, step)
                 for step in (1, -1) for number in range(lines)])


PAIRS = [  # (one, the other, most that one may cost in terms of the other)
    (adds(b"cart:large", LARGE), adds(b"cart:small", SMALL), 2.0),
    (Work("cset to 999,999", [b"cset cart:qty a 999999\r\n"]),
     Work("cset to 1", [b"cset cart:qty a 1\r\n"]), 1.05),
    (Work("cget s", [b"cget cart:small s\r\n"], 2),
     Work("get of 100 bytes", [b"get plain\r\n"], 3), 1.3),
]


def prepare(talk):
    talk.fill(b"cart:large", LARGE)
    talk.fill(b"cart:small", SMALL)
    talk.fill(b"cart:qty", 1)
    talk.ask([b"set plain 0 0 100\r\n" + b"v" * 100 + b"\r\n"], 1)


def measure(server, rounds):
    talk = Talk(server.port)
    prepare(talk)
    for depth, (one, other, target) in itertools.product(DEPTHS, PAIRS):
        turns = [(one.cost(server, talk, depth), other.cost(server, talk, depth))
                 for _ in range(rounds)]
        ratio = statistics.median(mine / theirs for mine, theirs in turns)
        mine, theirs = (statistics.median(column) for column in zip(*turns))
        print(f"{depth:5}  {one.name:20}{mine:8.2f} us  {other.name:20}{theirs:8.2f} us "
              f"{ratio:6.2f}{target:6.2f} {'ok' if ratio <= target else '--'}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cartd", default="build/cartd", type=os.path.abspath)
    parser.add_argument("--rounds", default=ROUNDS, type=int)
    parser.add_argument("--folder", help="for the data; on a disk")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        bench = SimpleNamespace(cartd=options.cartd, folder=folder, before=(), environment={},
                                pin_server=None)
        server = Server(bench, "cartd-carts")
        try:
            measure(server, options.rounds)
        finally:
            server.stop()


if __name__ == "__main__":
    main()

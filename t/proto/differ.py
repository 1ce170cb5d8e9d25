#!/usr/bin/python3
"""differ: does cartd answer as memcached does? Sends the same random requests to both and compares
what they say, byte by byte.

usage: t/proto/differ.py [--seed N] [--commands N | --seconds N] CARTD-PORT MEMCACHED-PORT

A case is a few dozen requests on a few keys, over one text and one binary connection, in parts: a
part is sent at once, or cut at random bytes, and all its answers are read before the next part is
sent. Then comes a request whose answer can be told from all others (sync). Only these may differ:
times by CLOCK_SLACK_S, the text of version, class and size of an `me`, and the numbers of a cas:
one of the one server stands for one of the other, always the same.

The first difference is shrunk to the fewest requests that still show it, and printed.
"""
import argparse
import itertools
import random
import re
import socket
import struct
import sys
import time

import differ_tables as tables

CLOCK_SLACK_S = 2
TIME_WRAPPED = 1 << 31
ANSWER_SECONDS = 5
CASE_PARTS_MAX = 12
PART_REQUESTS_MAX = 8
REPLY_HEAD_BYTES = 24
HINT = b".  Usage: delete <key> [noreply]"
STATUS_WORDS = {b"HD", b"VA", b"EN", b"NF", b"NS", b"EX"}


class Part:
    """Requests that are sent without waiting for an answer."""

    def __init__(self, binary, requests, cut_seed):
        self.binary, self.requests, self.cut_seed = binary, requests, cut_seed

    def cut(self, data):
        rng = random.Random(self.cut_seed)
        pieces_max = rng.choice([1, 1, 3, 20])
        if self.requests and self.requests[-1].ends:
            pieces_max = 1  # what comes behind a close may take answers with it
        cuts = sorted(rng.randrange(len(data) + 1) for _ in range(pieces_max - 1))
        return [data[a:b] for a, b in itertools.pairwise([0, *cuts, len(data)]) if a < b]


class Wire:
    """A connection that is made when it is needed."""

    def __init__(self, port, binary):
        self.port, self.binary, self.socket, self.number = port, binary, None, 0

    def close(self):
        if self.socket:
            self.socket.close()
        self.socket = None

    def sync(self):
        """What to send, and what its answer ends with."""
        self.number += 1
        if self.binary:
            noop = struct.pack(">BBHBBHIIQ", 0x80, 0x0a, 0, 0, 0, 0, 0, self.number, 0)
            return noop, struct.pack(">BBHBBHIIQ", 0x81, 0x0a, 0, 0, 0, 0, 0, self.number, 0)
        mark = b"sync%d" % self.number  # the spaces are for a data block that lacks some bytes
        return b" " * tables.PAD_BYTES + b"\r\nmg %s k\r\n" % mark, b"EN k%s\r\n" % mark

    def send(self, pieces):
        if not self.socket:
            self.socket = socket.create_connection(("127.0.0.1", self.port), ANSWER_SECONDS)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for piece in pieces:
                self.socket.sendall(piece)
        except ConnectionError:
            pass  # the answer will show

    def read_until(self, end):
        """(what came, without the end; how it ended)"""
        got = b""
        while not got.endswith(end):
            try:
                data = self.socket.recv(1 << 16)
            except ConnectionError:
                data = b""
            except TimeoutError:
                self.close()
                return got, "no answer"
            if not data:
                self.close()
                return got, "closed"
            got += data
        return got[:-len(end)], "open"


# ---- comparing ----

class Comparison:
    """Tells what may differ from what may not. Remembers which cas stands for which."""

    def __init__(self):
        self.right_of, self.left_of, self.seen = {}, {}, []

    def same_cas(self, left, right):
        if left == 0 or right == 0:
            return left == right
        self.seen.append((left, right))
        return self.right_of.setdefault(left, right) == right and \
            self.left_of.setdefault(right, left) == left

    def same_word(self, left, right):
        """Words behind the status of a meta command, fields of an `me`."""
        for pattern, same in ((rb"c(\d+)", self.same_cas), (rb"cas=(\d+)", self.same_cas),
                              (rb"(?:t|l|exp=|la=)(-?\d+)", near),
                              (rb"(?:cls|size)=(\d+)", always)):
            a, b = re.fullmatch(pattern, left), re.fullmatch(pattern, right)
            if a and b and left[:a.start(1)] == right[:b.start(1)]:
                return same(int(a[1]), int(b[1]))
        return left == right

    def same_line(self, left, right):
        a, b = left.split(b" "), right.split(b" ")
        if left.startswith(b"CLIENT_ERROR"):
            return left.rstrip() == right.rstrip().removesuffix(HINT)
        if a[0] == b[0] == b"VERSION":
            return True
        if a[0] != b[0] or len(a) != len(b):
            return False
        if a[0] == b"VALUE" and len(a) == 5:
            return a[:4] == b[:4] and self.same_cas(int(a[4]), int(b[4]))
        if a[0] in STATUS_WORDS or a[0] == b"ME":
            return all([self.same_word(x, y) for x, y in zip(a, b)])  # each cas is to be seen
        return left == right

    def same_text(self, left, right):
        a, b = left.split(b"\r\n"), right.split(b"\r\n")
        return len(a) == len(b) and all([self.same_line(x, y) for x, y in zip(a, b)])

    def same_frames(self, left, right):
        a, b = list(split_frames(left)), list(split_frames(right))
        return len(a) == len(b) and all([self.same_frame(x, y) for x, y in zip(a, b)])

    def same_frame(self, left, right):
        if len(left) < REPLY_HEAD_BYTES or len(right) < REPLY_HEAD_BYTES:
            return left == right
        if left[1] == right[1] == 0x0b:  # version
            return left[2:8] == right[2:8]
        cas = (int.from_bytes(frame[16:24], "big") for frame in (left, right))
        return self.same_cas(*cas) and left[:16] == right[:16] and left[24:] == right[24:]


def always(_left, _right):
    return True


def near(left, right):
    if right >= TIME_WRAPPED:  # memcached's way to tell that the life is over
        return left == 0
    return abs(left - right) <= CLOCK_SLACK_S and (left < 0) == (right < 0)


def split_frames(data):
    while len(data) >= REPLY_HEAD_BYTES:
        size = REPLY_HEAD_BYTES + int.from_bytes(data[8:12], "big")
        yield data[:size]
        data = data[size:]
    if data:
        yield data


# ---- running ----

class Difference(Exception):
    pass


class Runner:
    def __init__(self, ports):
        self.wires = {binary: [Wire(port, binary) for port in ports] for binary in (False, True)}
        self.comparison = Comparison()
        self.counter = itertools.count()
        self.run_id = random.SystemRandom().randrange(36 ** 4)
        self.commands = 0

    def warm_up(self):
        """Uses up the first cas, which requests take for one that never is that of an item."""
        self.run_part(Part(False, [tables.Line("set <p>w 0 0 1\r\nw\r\n")], 0), self.new_prefix())

    def new_prefix(self):
        number = (self.run_id * 36 ** 5 + next(self.counter)) % 36 ** 9
        return "k" + base36(number)

    def run_case(self, parts):
        """Raises Difference."""
        prefix = self.new_prefix()
        self.comparison.seen.clear()
        for part in parts:
            self.run_part(part, prefix)

    def run_part(self, part, prefix):
        wires = self.wires[part.binary]
        places = [tables.Place(prefix, side, self.comparison.seen) for side in (0, 1)]
        ends = []
        for wire, place in zip(wires, places):
            data = b"".join(request.bytes(place) for request in part.requests)
            sync, end = wire.sync()
            if part.requests and part.requests[-1].ends:
                wire.send(part.cut(data))
            else:
                wire.send(part.cut(data + sync))
            ends.append(end)
        (left, how_left), (right, how_right) = (
            wire.read_until(end) for wire, end in zip(wires, ends))
        same = self.comparison.same_frames if part.binary else self.comparison.same_text
        silent = "no answer" in (how_left, how_right)  # of both: the request was not as intended
        if silent or how_left != how_right or not same(left, right):
            self.close()
            raise Difference(f"cartd ({how_left}):\n{show(left, part.binary)}\n"
                             f"memcached ({how_right}):\n{show(right, part.binary)}")
        if how_left != "open":
            for wire in wires:
                wire.close()
        self.commands += len(part.requests)

    def close(self):
        for wire in itertools.chain(*self.wires.values()):
            wire.close()

    def difference(self, parts):
        """None, or the text that shows it."""
        try:
            self.run_case(parts)
        except Difference as difference:
            return str(difference)
        return None


def base36(number):
    digits = ""
    for _ in range(tables.PREFIX_BYTES - 1):
        number, digit = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    return digits


def show(data, binary):
    if not binary:
        return "".join(f"    {line!r}\n" for line in re.findall(rb"[^\n]*\n|[^\n]+", data))
    return "".join(f"    {frame[:24].hex()} {frame[24:]!r}\n" for frame in split_frames(data))


def draw_case(rng):
    parts, flush = [], rng.choice(["now", "later"])
    for _ in range(rng.randrange(1, CASE_PARTS_MAX + 1)):
        binary = rng.random() < 0.3
        requests = []
        for _ in range(rng.randrange(1, PART_REQUESTS_MAX + 1)):
            request = tables.draw_request(rng, binary, flush)
            if request.first and requests:
                parts.append(Part(binary, requests, rng.random()))
                requests = []
            requests.append(request)
            if request.alone:
                break
        parts.append(Part(binary, requests, rng.random()))
    return parts


def shrink(runner, parts):
    """Leaves out what the difference does not need."""
    for at in reversed(range(len(parts))):
        fewer = parts[:at] + parts[at + 1:]
        if runner.difference(fewer):
            parts = fewer
    for part in parts:
        for at in reversed(range(len(part.requests))):
            removed = part.requests.pop(at)
            if not runner.difference(parts):
                part.requests.insert(at, removed)
    return [part for part in parts if part.requests]


def print_requests(parts):
    for part in parts:
        print("binary:" if part.binary else "text:")
        for request in part.requests:
            print(f"    {request}")


def report(runner, parts, difference):
    if not runner.difference(parts):
        print_requests(parts)
        print(f"{difference}\nIt does not come again.")
        return
    parts = shrink(runner, parts)
    print("The fewest requests that show a difference:")
    print_requests(parts)
    print(runner.difference(parts))


def main():
    parser = argparse.ArgumentParser(description="Compares the answers of two servers.")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--commands", type=int, default=sys.maxsize)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("ports", type=int, nargs=2, metavar="PORT")
    options = parser.parse_args()
    runner = Runner(options.ports)
    rng = random.Random(options.seed)
    print(f"seed {options.seed}")
    runner.warm_up()
    deadline = time.monotonic() + options.seconds
    while runner.commands < options.commands and time.monotonic() < deadline:
        parts = draw_case(rng)
        difference = runner.difference(parts)
        if difference:
            report(runner, parts, difference)
            print("0 passed, 1 failed")
            return 1
    print(f"{runner.commands} commands\n1 passed, 0 failed")
    return 0


if __name__ == "__main__":
    sys.exit(main())

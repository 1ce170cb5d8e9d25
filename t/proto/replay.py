#!/usr/bin/python3
r"""Replays golden transcripts against a server: replay.py --port N [--mode MODE] FILE...

A file holds cases. Each is replayed on a connection of its own, in one of three modes:
  whole      request by request, each reply read before the next request is sent
  bytes      the same, but every byte in a packet of its own
  pipelined  all requests of the case at once, then all replies

Head of a file, before its first case (for run, which starts the server):
  @server -F      options of cartd and memcached
  @user name:password
                  a user who may log in; with the option -S by SASL

Lines of a file:
  # text          comment; empty lines are skipped too
  --- name        a case starts
  >>> text        the client sends text CRLF
  <<< text        the server answers text CRLF
  <<<json text    the server answers a line that is this JSON document, in any spelling; version,
                  cas, added, updated, time and actor may be left out and then match anything
  === closed      the server has closed the connection (last line of a case)
  >>>bin set k=key x=00000005:00000000 v=value c=${c} o=0000002a
                  a frame of the binary protocol: the name or two hex digits of the opcode, key,
                  extras in hex, value, cas, opaque; what is left out is 0 or empty
  <<<bin get s=0001 v=Not\x20found
                  the server answers a frame; s is the status
  >>>hex 80 0a    these bytes
Consecutive `>>>` lines are one request; the `<<<` lines behind them, if any, are its reply.

In text:
  \r \n \t \0 \\ \xHH   bytes; a single \ at the end of a line: no CRLF follows
  ${3*ab}               ababab
  ${run}                letters and digits never used before, for keys and tokens
  ${c:digits} ${c:text} in a reply: digits, or anything up to the end of the line; remembered as c
  ${c:cas} ${c:8}       in a reply frame: 8 bytes, those of a cas not all 0; remembered as c
  ${c}                  what was remembered (where a request needs it, a pipeline is sent in parts)
  ${#}                  in a reply: the length in bytes of the next line, which is checked

At the end of a case the client closes its side, and whatever still comes is a failure.
"""
import argparse
import difflib
import itertools
import json
import os
import re
import selectors
import socket
import struct
import sys
import time
from typing import NamedTuple

VOLATILE = {"version", "cas", "added", "updated", "time", "actor"}
PIECE_BYTES = 1000  # bytes mode: the middle of a long request is sent in such pieces
EDGE_BYTES = 200    # ... and so many bytes at either end one by one
ESCAPES = {"r": b"\r", "n": b"\n", "t": b"\t", "0": b"\0", "\\": b"\\"}
TOKEN = re.compile(r"\$\{(?P<times>\d+)\*(?P<text>[^}]*)\}"
                   r"|\$\{(?P<take>\w+):(?P<kind>digits|text|cas|8)\}"
                   r"|\$\{(?P<give>\w+|#)\}"
                   r"|\\x(?P<hex>[0-9a-fA-F]{2})|\\(?P<escape>[rnt0\\])|(?P<char>[^\\])")
KINDS = {"digits": rb"\d+", "text": rb"[^\r\n]*", "cas": rb"(?!\0{8}).{8}",
         "8": rb".{8}"}
FRAME_HEAD_BYTES = 24
OPCODES = {name: code for code, name in enumerate(
    "get set add replace delete incr decr quit flush getq noop version getk getkq append prepend "
    "stat setq addq replaceq deleteq incrq decrq quitq flushq appendq prependq verbosity touch gat "
    "gatq - sasl-list sasl-auth sasl-step gatk gatkq".split())}
for n, verb in enumerate("cadd cset crem cchk cswp cclr cmrg cbat cget cdel chst".split()):
    OPCODES[verb], OPCODES[verb + "q"] = 0xc0 + n, 0xd0 + n
counter = itertools.count()


class Head(NamedTuple):
    options: tuple
    users: tuple


class Exchange:
    """A request and its reply, as (line number, text) as they stand in the file."""

    def __init__(self):
        self.request = []
        self.reply = []


class Case:
    def __init__(self, path, number, name):
        self.path, self.number, self.name = path, number, name
        self.exchanges = []
        self.closed = False
        self.binary = False


def fail_syntax(path, number, what):
    sys.exit(f"{path}:{number}: {what}")


def read_head(path):
    options, users = [], []
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            word, _, rest = line.rstrip("\n").partition(" ")
            if word == "---":
                break
            if word == "@server":
                options += rest.split()
            elif word == "@user":
                users.append(rest)
            elif word and not word.startswith("#"):
                fail_syntax(path, number, "not a line of a head")
    return Head(tuple(options), tuple(users))


def read_cases(path):
    cases = []
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            line = line.rstrip("\n")
            if line.startswith("--- "):
                cases.append(Case(path, number, line[4:]))
            elif not line or line.startswith(("#", "@")):
                continue
            elif not cases or cases[-1].closed:
                fail_syntax(path, number, "outside of a case")
            else:
                read_case_line(cases[-1], number, line)
    return cases


def read_case_line(case, number, line):
    if line == "=== closed":
        case.closed = True
    elif line.startswith(">>>"):
        if not case.exchanges or case.exchanges[-1].reply:
            case.exchanges.append(Exchange())
        case.exchanges[-1].request.append((number, line))
        case.binary |= line.startswith((">>>bin ", ">>>hex "))
    elif line.startswith("<<<") and case.exchanges:
        case.exchanges[-1].reply.append((number, line))
    else:
        fail_syntax(case.path, number, "not a line of a transcript")


class Text:
    """One line of a transcript: the bytes it stands for, or a regular expression for them."""

    def __init__(self, case, number, text, known):
        self.case, self.number, self.known = case, number, known
        self.ending = b"\r\n"
        if re.search(r"(?<!\\)(\\\\)*\\$", text):
            text, self.ending = text[:-1], b""
        self.parts = list(self.split(text))

    def split(self, text):
        at = 0
        while at < len(text):
            match = TOKEN.match(text, at)
            if not match:
                fail_syntax(self.case.path, self.number, f"cannot read {text[at:]!r}")
            yield match
            at = match.end()

    def literal(self, part):
        if part["times"]:
            inner = Text(self.case, self.number, part["text"], self.known)
            return inner.bytes().removesuffix(b"\r\n") * int(part["times"])
        if part["hex"]:
            return bytes.fromhex(part["hex"])
        if part["escape"]:
            return ESCAPES[part["escape"]]
        if part["char"]:
            return part["char"].encode()
        return self.known.get(part["give"])

    def needs(self):
        return {p["give"] for p in self.parts if p["give"] and p["give"] not in self.known}

    def bytes(self):
        pieces = [self.literal(part) for part in self.parts]
        if None in pieces:
            fail_syntax(self.case.path, self.number, "not known yet")
        return b"".join(pieces) + self.ending

    def pattern(self, taken):
        """`taken` are the names that this reply has remembered so far."""
        out = b""
        for part in self.parts:
            if part["take"]:
                taken.add(part["take"])
                out += b"(?P<%s>%s)" % (part["take"].encode(), KINDS[part["kind"]])
            elif part["give"] == "#":
                out += rb"(?P<len%d>\d+)" % self.number
            elif part["give"] in taken:
                out += b"(?P=%s)" % part["give"].encode()
            else:
                literal = self.literal(part)
                if literal is None:
                    fail_syntax(self.case.path, self.number, "not known yet")
                out += re.escape(literal)
        return out + self.ending

    def size(self):
        """How many bytes it stands for; None when only the reply will tell."""
        size = len(self.ending)
        for part in self.parts:
            if part["take"] and part["kind"] in ("digits", "text"):
                return None
            size += 8 if part["take"] else len(self.literal(part) or b"")
        return size

    def units(self):
        return sum((self.literal(part) or b"").count(b"\n") for part in self.parts) + \
            self.ending.count(b"\n")


class Frame:
    """A frame of the binary protocol. Its lengths follow from its parts."""

    def __init__(self, case, number, line, known):
        name, *words = line[7:].split()
        fields = dict(word.split("=", 1) for word in words)
        if set(fields) - set("kxvcos"):
            fail_syntax(case.path, number, "unknown field of a frame")

        def text(source):
            return Text(case, number, source + "\\", known)

        self.magic = 0x80 if line.startswith(">>>") else 0x81
        self.opcode = OPCODES[name] if name in OPCODES else int(name, 16)
        self.status = int(fields.get("s", "0"), 16)
        self.opaque = int(fields.get("o", "0"), 16)
        self.cas = text(fields.get("c", r"\0" * 8))
        self.extras = text(escape_hex(fields.get("x", "")))
        self.key, self.value = text(fields.get("k", "")), text(fields.get("v", ""))

    def needs(self):
        return self.cas.needs() | self.extras.needs() | self.key.needs() | self.value.needs()

    def head(self, key_len, extras_len, body_len):
        return struct.pack(">BBHBBHII", self.magic, self.opcode, key_len, extras_len, 0,
                           self.status, body_len, self.opaque)

    def bytes(self):
        parts = [part.bytes() for part in (self.extras, self.key, self.value)]
        head = self.head(len(parts[1]), len(parts[0]), sum(map(len, parts)))
        return head + self.cas.bytes() + b"".join(parts)

    def pattern(self, taken):
        """A body of a length that only the reply tells is as long as the reply says."""
        parts = [self.extras, self.key, self.value]
        sizes = [part.size() for part in parts]
        head = self.head(sizes[1], sizes[0], 0 if sizes[2] is None else sum(sizes))
        body_len = b".{4}" if sizes[2] is None else re.escape(head[8:12])
        return re.escape(head[:8]) + body_len + re.escape(head[12:]) + self.cas.pattern(taken) + \
            b"".join(part.pattern(taken) for part in parts)

    def units(self):
        return 1


def escape_hex(digits):
    """Hex digits, with blanks or colons between, as text; `${...}` stay as they are."""
    parts = re.findall(r"(\$\{[^}]*\})|([0-9a-fA-F]{2})", digits)
    return "".join(name or "\\x" + byte for name, byte in parts)


def read_text(case, number, line, known):
    """What the `>>>` or `<<<` line stands for."""
    if line[3:].startswith("bin "):
        return Frame(case, number, line, known)
    if line[3:].startswith("hex "):
        return Text(case, number, escape_hex(line[7:]) + "\\", known)
    return Text(case, number, line[4:], known)


class Reply:
    """What is expected: lines or frames to count, a pattern to match, checks on what matched."""

    def __init__(self, case, lines, known):
        self.lines, self.known, self.binary = lines, known, case.binary
        self.pattern, self.units, self.documents, self.lengths = b"", 0, {}, []
        taken = set()
        for number, line in lines:
            if line.startswith("<<<json "):
                text = Text(case, number, line[8:].replace("\\", "\\\\"), known).bytes()
                self.documents[number] = json.loads(text)
                pattern, units = rb"[^\r\n]*\r\n", 1
            else:
                text = read_text(case, number, line, known)
                pattern, units = text.pattern(taken), text.units()
                if "${#}" in line:
                    self.lengths.append(number)
            self.pattern += b"(?P<line%d>%s)" % (number, pattern)
            self.units += units
        self.taken = taken

    def check(self, got):
        """None when `got` is as expected, or what is wrong. Remembers what it takes."""
        match = re.fullmatch(self.pattern, got, re.DOTALL)
        if not match:
            return self.diff(got)
        for number, document in self.documents.items():
            wrong = compare_json(document, match[f"line{number}"])
            if wrong:
                return f"  line {number}: {wrong}\n  got {match[f'line{number}']!r}\n"
        numbers = [number for number, _ in self.lines]
        for number in self.lengths:
            following = match[f"line{numbers[numbers.index(number) + 1]}"]
            length = len(following) - 2
            if int(match[f"len{number}"]) != length:
                return f"  line {number}: the next line has {length} bytes: {following!r}\n"
        for name in self.taken:
            self.known[name] = match[name]
        return None

    def diff(self, got):
        expected = [line[4:] for _, line in self.lines]
        actual = [show(line) for line in re.findall(rb"[^\n]*\n|[^\n]+", got)]
        if self.binary:
            expected = [line[7:] for _, line in self.lines]
            actual = list(show_frames(got))
        lines = difflib.unified_diff(expected, actual, "expected", "got", lineterm="", n=2)
        return "".join(f"  {line[:300]}\n" for line in lines)


def show(line):
    """A line of a reply as it would be written in a transcript."""
    text, ending = (line[:-2], "") if line.endswith(b"\r\n") else (line, "\\")
    return text.decode("latin-1").encode("unicode_escape").decode() + ending


def show_frames(data):
    """Reply frames as they would be written in a transcript."""
    names = {code: name for name, code in OPCODES.items()}
    at = 0
    while (end := frame_end(data, at)) is not None:
        _, opcode, key_len, extras_len, _, status, _, opaque, cas = \
            struct.unpack(">BBHBBHIIQ", data[at:at + FRAME_HEAD_BYTES])
        body = data[at + FRAME_HEAD_BYTES:end]
        yield (f"{names.get(opcode, format(opcode, '02x'))} s={status:04x} o={opaque:08x} "
               f"c={cas:016x} x={body[:extras_len].hex()} k={show(body[extras_len:][:key_len])} "
               f"v={show(body[extras_len + key_len:])}")
        at = end
    if at < len(data):
        yield "rest " + data[at:].hex()


def line_end(data, start):
    return data.find(b"\n", start) + 1 or None


def frame_end(data, start):
    if len(data) < start + FRAME_HEAD_BYTES:
        return None
    end = start + FRAME_HEAD_BYTES + int.from_bytes(data[start + 8:start + 12], "big")
    return end if end <= len(data) else None


def compare_json(expected, line):
    try:
        actual = json.loads(line)
    except ValueError as error:
        return f"no JSON: {error}"
    return find_difference(expected, actual, "document")


def find_difference(expected, actual, where):
    if type(expected) is not type(actual):
        return f"{where}: {actual!r} is not {expected!r}"
    if isinstance(expected, dict):
        for name in sorted(expected.keys() | actual.keys()):
            if name not in expected and name in VOLATILE:
                continue
            if name not in actual or name not in expected:
                return f"{where}.{name} is {'missing' if name in expected else 'not expected'}"
            wrong = find_difference(expected[name], actual[name], f"{where}.{name}")
            if wrong:
                return wrong
        return None
    if isinstance(expected, list):
        if len(expected) != len(actual):
            return f"{where} has {len(actual)} members instead of {len(expected)}"
        pairs = enumerate(zip(expected, actual))
        wrong = (find_difference(e, a, f"{where}[{i}]") for i, (e, a) in pairs)
        return next((w for w in wrong if w), None)
    return None if expected == actual else f"{where}: {actual!r} is not {expected!r}"


class Client:
    def __init__(self, port, timeout_s, binary):
        self.timeout_s = timeout_s
        self.unit_end = frame_end if binary else line_end
        self.socket = socket.create_connection(("127.0.0.1", port), timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.socket, selectors.EVENT_READ)
        self.got = b""
        self.open = True

    def close(self):
        self.selector.close()
        self.socket.close()

    def exchange(self, pieces, units):
        """Sends the pieces while reading, until there are so many lines or frames; returns them."""
        pieces = list(pieces)
        deadline = time.monotonic() + self.timeout_s
        while self.open and (pieces or self.find_end(units) is None):
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if pieces else 0)
            self.selector.modify(self.socket, events)
            ready = self.selector.select(max(0, deadline - time.monotonic()))
            if not ready:
                break
            deadline = time.monotonic() + self.timeout_s
            if ready[0][1] & selectors.EVENT_READ:
                self.receive()
            elif pieces:
                self.send_piece(pieces)
        return self.take_units(units)

    def send_piece(self, pieces):
        try:
            sent = self.socket.send(pieces[0])
        except (BrokenPipeError, ConnectionResetError):
            pieces.clear()  # what was answered before may still be read
            return
        pieces[0] = pieces[0][sent:]
        if not pieces[0]:
            pieces.pop(0)

    def receive(self):
        try:
            data = self.socket.recv(1 << 20)
        except ConnectionResetError:
            data = b""
        self.got += data
        self.open = bool(data)

    def find_end(self, units):
        """Where so many lines or frames end; None when they are not all here."""
        end = 0
        for _ in range(units):
            end = self.unit_end(self.got, end)
            if end is None:
                return None
        return end

    def take_units(self, units):
        end = self.find_end(units)
        if end is None:  # closed or too late: all there is
            end = len(self.got)
        taken, self.got = self.got[:end], self.got[end:]
        return taken

    def read_to_end(self, half_close):
        """All that still comes; None when the server does not close."""
        if half_close and self.open:
            try:
                self.socket.shutdown(socket.SHUT_WR)
            except OSError:
                pass
        rest = self.exchange([], sys.maxsize)
        return None if self.open else rest


def one_by_one(data):
    return [data[i:i + 1] for i in range(len(data))]


def cut_up(data, mode):
    if mode != "bytes":
        return [data] if data else []
    if len(data) <= 2 * EDGE_BYTES + PIECE_BYTES:
        return one_by_one(data)
    middle = range(EDGE_BYTES, len(data) - EDGE_BYTES, PIECE_BYTES)
    pieces = [data[i:min(i + PIECE_BYTES, len(data) - EDGE_BYTES)] for i in middle]
    return one_by_one(data[:EDGE_BYTES]) + pieces + one_by_one(data[-EDGE_BYTES:])


def take_batch(case, exchanges, known, mode):
    """What can be sent now: one exchange, or in a pipeline all whose requests are known."""
    data, reply = b"", []
    while exchanges:
        texts = [read_text(case, number, line, known) for number, line in exchanges[0].request]
        if (data or reply) and (mode != "pipelined" or any(text.needs() for text in texts)):
            break
        data += b"".join(text.bytes() for text in texts)
        reply += exchanges.pop(0).reply
    return data, reply


def replay(case, client, mode):
    """None, or what went wrong."""
    known = {"run": f"{os.getpid():x}x{time.time_ns():x}x{next(counter):x}".encode()}
    exchanges = list(case.exchanges)
    while exchanges:
        data, lines = take_batch(case, exchanges, known, mode)
        reply = Reply(case, lines, known)
        wrong = reply.check(client.exchange(cut_up(data, mode), reply.units))
        if wrong:
            return wrong
    rest = client.read_to_end(half_close=not case.closed)
    if rest is None:
        return "  the server did not close the connection\n"
    return f"  more than expected: {rest[:300]!r}\n" if rest else None


def main():
    parser = argparse.ArgumentParser(description="Replays transcripts against a memcached server.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--mode", choices=["whole", "bytes", "pipelined"], default="whole")
    parser.add_argument("--timeout", type=float, default=5, metavar="SECONDS")
    parser.add_argument("files", nargs="+")
    options = parser.parse_args()
    passed = failed = 0
    for case in itertools.chain.from_iterable(map(read_cases, options.files)):
        client = Client(options.port, options.timeout, case.binary)
        wrong = replay(case, client, options.mode)
        client.close()
        passed, failed = passed + (not wrong), failed + bool(wrong)
        if wrong:
            print(f"FAIL {case.path}:{case.number}: {case.name} ({options.mode})\n{wrong}", end="")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())

"""hostile_attacks: attacks that take more than one burst of bytes. Each is a function of the world
that checks what it can see of its own answers; the rest is for World.check()."""
import os
import random
import struct

import hostile_rows
from hostile_rows import (GIB, INCR, NOOP, NOOP_PROBE, PROBE_OPAQUE, SET, frame, frames_of, header,
                          set_frame)
from hostile_world import (MEGABYTE, SENTINEL, Pusher, exchange, read_all, reset, scaled, send_all,
                           wait_stuck)
from waiting import wait_until
from wire import Closed

ATTACKS = []
# Printed, and shown when a test fails.
SEED = int(os.environ.get("HOSTILE_SEED", random.SystemRandom().randrange(1 << 32)))
MANY = scaled(50000, 200000)    # requests of one pipeline
CROWD = scaled(2000, 4000)      # connections at a time
ENDLESS = scaled(32, 200) * MEGABYTE


def attack(title):
    def add(function):
        function.title = title
        ATTACKS.append(function)
        return function
    return add


def each_of(rows):
    """An attack for each (title, argument...)."""
    def add(function):
        for title, *arguments in rows:
            def run(world, arguments=tuple(arguments)):
                function(world, *arguments)
            attack(title)(run)
        return function
    return add


def seeded(seed=None):
    seed = SEED if seed is None else seed
    print(f"seed {seed}")
    return random.Random(seed)


# ---- cut off, bit by bit, changed ----------------------------------------------------------------

COMMANDS = [
    ("get", b"get sentinel cart:sentinel\r\n"), ("gats", b"gats 0 h:none sentinel\r\n"),
    ("set", b"set h:cut 1 0 5\r\nhello\r\n"), ("cas", b"cas h:cut 1 0 2 77 noreply\r\nhi\r\n"),
    ("incr", b"incr h:cut 18446744073709551615\r\n"), ("touch", b"touch h:cut 100\r\n"),
    ("stats", b"stats settings\r\n"), ("verbosity", b"verbosity 0 noreply\r\n"),
    ("mg", b"mg c2VudGluZWw= b k v t s f h l O123\r\n"),
    ("ms", b"ms h:cut 5 T0 F7 c k\r\nhello\r\n"),
    ("ma", b"ma h:cut N0 J13 D20 MI t v\r\n"), ("md", b"md h:cut q I T9 O44\r\n"),
    ("cadd", b"cadd cart:cut SKU-1;red 2 P1999 UEUR Gshop EYWJj Iabc x v t a Dram\r\n"),
    ("cget", b"cget cart:sentinel s O1 k v\r\n"),
    ("set of a document", b'set cart:cut 0 0 38\r\n{"lines":[{"line":"a","qty":1}]}      \r\n'),
    ("set of a path", b"set cart:cut/a/qty 0 0 1\r\n3\r\n"),
    ("binary set", set_frame(b"h:cut", b"hello")),
    ("binary get", frame(0x0c, SENTINEL.encode())),
    ("binary incr", frame(INCR, b"h:cut", b"", struct.pack(">QQI", 1, 2, 0))),
    ("binary touch", frame(0x1c, b"h:cut", b"", bytes(4))),
    ("binary cadd", frame(0xc0, b"cart:cut", b"SKU-1I\0\3abc", struct.pack(">iHBB", 1, 0, 5, 1))),
    ("binary stat", frame(0x10, b"settings")),
]


@each_of([(f"{name} cut at each byte", data) for name, data in COMMANDS])
def cut_at_each_byte(world, data):
    for length in range(len(data)):
        assert exchange(world, data[:length]) == b"", data[:length]
    with world.client() as client:
        assert client.get("h:cut") is None and client.cmd("cget cart:cut s") == "EN"


@each_of([(f"{name} reset at each byte", data) for name, data in COMMANDS[::3]])
def reset_at_each_byte(world, data):
    for length in range(len(data) + 1):
        client = world.client()
        send_all(client, data[:length])
        reset(client)
    forget(world)


def forget(world):
    """What the commands above have made."""
    with world.client() as client:
        client.send("delete h:cut\r\ncdel cart:cut\r\n")
        client.lines(2)


def stable(answer):
    """An answer without what differs from time to time."""
    return len(answer) // 64, answer[:2]


@each_of([(f"{name} byte by byte", data) for name, data in COMMANDS])
def byte_by_byte(world, data):
    forget(world)
    at_once = exchange(world, data)
    forget(world)
    with world.client() as client:
        for byte in data:
            client.send(bytes([byte]))
        client.half_close()
        assert stable(read_all(client)) == stable(at_once)
    forget(world)


def check_frames(got, probe_needed=False):
    """All frames are whole. The last one answers the probe, or the connection was closed before."""
    found = frames_of(got)
    opaques = [each.opaque for each in found]
    if PROBE_OPAQUE in opaques or probe_needed:
        assert opaques[-1] == PROBE_OPAQUE and opaques.count(PROBE_OPAQUE) == 1, opaques
    return found


@attack("each bit of a binary set flipped")
def flip_bits(world):
    good = set_frame(b"h:flip", b"12345678")
    for bit in range(8 * len(good)):
        data = bytearray(good)
        data[bit // 8] ^= 1 << bit % 8
        got = exchange(world, bytes(data) + NOOP_PROBE)
        if bit < 8:
            assert not got.startswith(b"\x81"), (bit, got)  # it was no binary
            continue
        found = check_frames(got, probe_needed=bit >= 8 * 12)
        if bit >= 8 * 24:  # flags, time, key or value: another set, and as good
            assert [each.status for each in found] == [0, 0], (bit, found)


@attack("all 256 opcodes with random bodies")
def all_opcodes(world):
    chance = seeded()
    for opcode in range(256):
        for _ in range(scaled(3, 50)):
            extras = chance.randbytes(chance.choice([0, 4, 8, 20, chance.randrange(40)]))
            if opcode in (0x08, 0x18):
                extras = extras or b"x"  # no flush: it would be right to lose the sentinel
                extras = extras[:3]
            key = b"h:" + chance.randbytes(chance.randrange(60)) if chance.random() < .8 else b""
            value = chance.randbytes(chance.randrange(100)) if chance.random() < .5 else b""
            opaque = chance.randrange(PROBE_OPAQUE)
            got = exchange(world, frame(opcode, key, value, extras, opaque=opaque,
                                        cas=chance.choice([0, 0, chance.getrandbits(64)]))
                           + NOOP_PROBE)
            found = check_frames(got)
            assert all(each.opaque in (opaque, PROBE_OPAQUE) for each in found), found
            assert all(each.opcode == opcode for each in found if each.opaque == opaque), found
            if 0x25 <= opcode < 0x3d or 0x50 <= opcode < 0xc0 or 0xcb <= opcode < 0xd0 or \
                        opcode >= 0xdb:
                assert [each.status for each in found] == [hostile_rows.UNKNOWN, 0], found


@attack("all 256 opcodes with lengths at random")
def all_opcodes_random_lengths(world):
    chance = seeded()
    for opcode in range(256):
        lengths = [chance.choice([0, 1, 3, 250, 251, 0xffff, chance.randrange(0x10000)]),
                   chance.choice([0, 4, 8, 20, 0xff, chance.randrange(0x100)]),
                   chance.choice([0, 1, 8, 300, MEGABYTE, GIB, 0xffffffff, chance.getrandbits(32)])]
        if opcode in (0x08, 0x18):
            lengths[2] += 1  # never a flush
        got = exchange(world, header(opcode, *lengths[:2], lengths[2] & 0xffffffff)
                       + chance.randbytes(chance.randrange(400)).replace(b"\x80", b"\0"))
        for each in frames_of(got):  # what is behind the first frame does not begin one
            assert each.opcode == opcode and each.opaque == hostile_rows.OPAQUE, each


@attack("all 256 first bytes")
def all_first_bytes(world):
    for byte in range(256):
        got = exchange(world, bytes([byte]) + b"\r\nmn\r\n")
        wanted = b"" if byte == 0x80 else b"ERROR\r\n" * (2 if byte == 10 else 1) + b"MN\r\n"
        assert got == wanted, (byte, got)


@attack("random bytes")
def random_bytes(world):
    chance = seeded()
    for _ in range(scaled(200, 5000)):
        data = chance.randbytes(chance.choice([1, 10, 100, 1000, 20000]))
        if chance.random() < .3:
            data = b"\x80" + data.replace(b"\x08", b"\0").replace(b"\x18", b"\0")
        with world.client() as client:
            send_all(client, data)
            reset(client) if chance.random() < .3 else read_briefly(client)


def read_briefly(client):
    try:
        client.half_close()
        client.socket.recv(100)
    except OSError:
        pass


@attack("random words of the protocol")
def random_words(world):
    chance = seeded()
    words = (b"get gets set add cas append incr touch gat delete mg ms md ma me mn cadd cset crem "
             b"cget cdel stats verbosity version noreply h:k h:l cart:rand cart:rand/a 0 1 2 -1 "
             b"cart:rand/a/qty 4294967296 99999999999999999999 v k t c q s b T0 N0 Iabc Iabd P5 "
             b"UEUR E C0 C9 D2 J3 ME MA x n a d Dram V0 V7 YWJj O1 \0 \xff").split(b" ")
    for _ in range(scaled(300, 10000)):
        lines = (b" ".join(chance.choices(words, k=chance.randrange(1, 8)))
                 for _ in range(chance.randrange(1, 10)))
        got = exchange(world, b"\r\n".join(lines) + b"\r\n" * 3)
        assert got == b"" or got.endswith(b"\r\n"), got[-50:]
    with world.client() as client:
        client.send("verbosity 0\r\ncdel cart:rand\r\n")
        client.lines(2)


# ---- every flag ----------------------------------------------------------------------------------

META_FLAGS = "bcfhklqstuvxCDEFIJLMNOPRT"
BAD_TOKEN = "CLIENT_ERROR bad token in command line format"
NEED_TOKEN = {"T": BAD_TOKEN, "N": BAD_TOKEN, "R": BAD_TOKEN, "C": BAD_TOKEN, "E": BAD_TOKEN,
              "D": "CLIENT_ERROR invalid numeric delta value",
              "J": "CLIENT_ERROR invalid numeric initial value",
              "M": "CLIENT_ERROR incorrect length for M token", "F": hostile_rows.FORMAT,
              "b": hostile_rows.BASE64}


def meta_answer(verb, letter, token):
    """What the protocol's page says of `verb h:none <letter><token>`; None: any success."""
    if letter >= "\x7f":
        error = "CLIENT_ERROR duplicate flag"
    elif letter not in META_FLAGS:
        error = "CLIENT_ERROR invalid flag"
    elif letter == "b" or letter in NEED_TOKEN and token != "1":
        error = NEED_TOKEN[letter] if letter != "M" or len(token) != 1 else None
    elif letter == "O" and len(token) > 31:
        error = "CLIENT_ERROR opaque token too long"
    else:
        error = None
    if letter == "M" and token == "-" and verb == "ma":
        error = None
    elif letter == "M" and len(token) == 1:
        error = {"mg": None, "md": None, "ms": "CLIENT_ERROR invalid mode for ms M token",
                 "ma": "CLIENT_ERROR invalid mode for ma M token"}[verb]
    elif error and verb in ("md", "ma") and letter != "O":
        error = "CLIENT_ERROR invalid or duplicate flag"
    return error


@each_of([(f"{verb} with every flag, token {name}", verb, token)
          for verb in ("mg", "ms", "md", "ma")
          for name, token in (("none", ""), ("1", "1"), ("of a word", "word"), ("-", "-"),
                              ("of 2^64", "18446744073709551616"), ("of 5000", "t" * 5000),
                              ("of high bytes", "\xff\xfe"))])
def every_meta_flag(world, verb, token):
    letters = [chr(code) for code in range(0x21, 0x100)]
    size, block = (" 2", "hi\r\n") if verb == "ms" else ("", "")
    data = "".join(f"{verb} h:none{size} {letter}{token}\r\n{block}"
                   "delete h:none noreply\r\nmn\r\n" for letter in letters)
    answers = exchange(world, data.encode("latin-1")).decode("latin-1").split("MN\r\n")
    assert len(answers) == len(letters) + 1 and answers[-1] == ""
    for letter, answer in zip(letters, answers):
        wanted = meta_answer(verb, letter, token)
        if wanted:
            assert answer == wanted + "\r\n", f"{letter}{token[:20]}: {answer!r}, not {wanted!r}"
        else:
            assert answer[:3] in ("HD\r", "HD ", "EN\r", "EN ", "NF\r", "NF ", "NS\r", "EX\r",
                                  "VA ", ""), (letter, answer)


CART_SETS = {"cadd": "IVPUGELTDbq", "cset": "IVPUGELTDbq", "crem": "IVTDbq", "cdel": "IVDbq",
             "cget": "scNbq", "chst": "bq"}
CART_ASKS = {"cadd": "vcntaxdlkO", "cset": "vcntaxdlkO", "crem": "vcntaxdlkO", "cdel": "vcntadlkO",
             "cget": "vntalkO", "chst": "kO"}
GOOD_TOKENS = {"I": "1", "V": "1", "P": "1", "G": "1", "T": "1", "N": "1", "O": "1"}


@each_of([(f"{verb} with every flag, token {name}", verb, token) for verb in CART_SETS
          for name, token in (("none", ""), ("1", "1"), ("of 5000", "t" * 5000),
          ("\\x01", "\x01"))])
def every_cart_flag(world, verb, token):
    words = {"cadd": "SKU 0", "cset": "SKU 0", "crem": "SKU"}.get(verb, "")
    letters = [chr(code) for code in range(0x21, 0x100)]
    data = "".join(f"{verb} cart:none-{verb} {words} {letter}{token}\r\nmn\r\n"
                   for letter in letters)
    answers = exchange(world, data.encode("latin-1")).decode("latin-1").split("MN\r\n")
    assert len(answers) == len(letters) + 1 and answers[-1] == ""
    for letter, answer in zip(letters, answers):
        takes_token = GOOD_TOKENS.get(letter) == token
        takes_nothing = token == "" and letter not in "IVPUTDNO"
        known = letter in CART_SETS[verb] + CART_ASKS[verb]
        if letter == "b" and known and token == "":
            assert answer.startswith("CLIENT_ERROR BAD_CART"), answer  # cart:none is no base64
        elif known and (takes_token or takes_nothing):
            assert answer == "" or answer.startswith(("HD", "EN", "NF", "EX")), (letter, answer)
        else:
            code = "SIZE_LIMIT" if letter == "E" and known and token[:1] == "t" else "BAD_FLAG"
            assert answer.startswith(f"CLIENT_ERROR {code}"), (letter, answer)


# ---- without end ---------------------------------------------------------------------------------

@each_of([(f"a line without end of {name}", start, filler) for name, start, filler in (
    ("letters", b"", b"x"), ("spaces", b"", b" "), ("NULs", b"", b"\0"),
    ("high bytes", b"", b"\xff"),
    ("keys", b"get ", b"h:none "), ("a key", b"get ", b"k"), ("gat keys", b"gat 0 ", b"h:none "),
    ("a set key", b"set ", b"k"), ("mg flags", b"mg k ", b"v "),
    ("cadd flags", b"cadd cart:h SKU 1 ", b"v "), ("carriage returns", b"", b"\r"))])
def line_without_end(world, start, filler):
    world.begin_peak()
    piece = filler * (MEGABYTE // len(filler))
    with world.client() as client:
        client.send(start)
        for _ in range(ENDLESS // MEGABYTE):
            client.send(piece)
        assert client.line() == hostile_rows.TOO_LONG
        client.send("\r\nmn\r\n")
        assert client.line() == "MN"
    world.check_peak(8 * MEGABYTE, "a line without end")


@attack("a million empty lines, no answer read")
def empty_lines(world):
    world.begin_peak()
    client = world.client()
    pusher = Pusher(client, b"\n" * MEGABYTE)
    wait_stuck(world)
    pusher.cut()
    world.check_peak(8 * MEGABYTE, "empty lines")


@attack("an unknown binary opcode of 1 GiB, sent to its end")
def skip_a_frame(world):
    total = scaled(64 * MEGABYTE, GIB)
    world.begin_peak()
    with world.client() as client:
        client.send(header(0x50, 0, 0, total))
        for _ in range(total // MEGABYTE):
            client.send(bytes(MEGABYTE))
        client.send(NOOP_PROBE)
        client.half_close()
        found = frames_of(read_all(client))
    assert [(each.opcode, each.status) for each in found] == [(0x50, 0x81), (NOOP, 0)]
    world.check_peak(8 * MEGABYTE, "a frame that is skipped")


LONG_HEADERS = [
    ("binary set of 1 GiB", header(SET, 3, 8, GIB) + bytes(8) + b"h:k"),
    ("binary set of 0xffffffff", header(SET, 3, 8, 0xffffffff) + bytes(8) + b"h:k"),
    ("binary unknown opcode of 0xffffffff", header(0x50, 0, 0, 0xffffffff)),
    ("set of 2147483645", b"set h:k 0 0 2147483645\r\n"),
    ("ms of 1000000000", b"ms h:k 1000000000\r\n"),
    ("set of the largest size", b"set h:k 0 0 1048576\r\n"),
    ("binary set of the largest size", header(SET, 3, 8, 11 + MEGABYTE) + bytes(8) + b"h:k"),
]


@each_of([(f"100 headers of a {name}, then {then}", data, then) for name, data in LONG_HEADERS
          for then in ("nothing", "slow bytes", "a reset")])
def long_headers(world, data, then):
    world.begin_peak()
    clients = [world.client() for _ in range(100)]
    for client in clients:
        client.send(data)
    for _ in range(20 if then == "slow bytes" else 0):
        for client in clients:
            send_all(client, b"x")
    world.check_answers()
    world.check_peak(16 * MEGABYTE, "what was only announced")
    for client in clients:
        reset(client) if then == "a reset" else client.close()


# ---- pipelines -----------------------------------------------------------------------------------

def lines_of(answer):
    def read(client, count):
        wanted = b"".join(answer(number) for number in range(count))
        assert client.bytes(len(wanted)) == wanted
    return read


def frames_in_order(client, count):
    found = frames_of(client.bytes(24 * count))
    assert [(each.opaque, each.status) for each in found] == [(n, 0) for n in range(count)]


# name, request number n of the pipeline with the key in it, and how all answers are read
PIPELINES = [
    ("incr", lambda key, n: b"incr %s 1\r\n" % key, lines_of(lambda n: b"%d\r\n" % (n + 1))),
    ("get", lambda key, n: b"get h:none\r\n", lines_of(lambda n: b"END\r\n")),
    ("set", lambda key, n: b"set %s 0 0 4\r\n%04x\r\n" % (key, n & 0xffff),
     lines_of(lambda n: b"STORED\r\n")),
    ("mg", lambda key, n: b"mg h:none O%d\r\n" % n, lines_of(lambda n: b"EN O%d\r\n" % n)),
    ("cadd", lambda key, n: b"cadd cart:%s SKU 1 x\r\n" % key,
     lines_of(lambda n: b"HD x%d\r\n" % (n + 1))),
    ("cadd at level ram", lambda key, n: b"cadd cart:%s SKU 1 x Dram\r\n" % key,
     lines_of(lambda n: b"HD x%d\r\n" % (n + 1))),
    ("nonsense", lambda key, n: b"buy now\r\n", lines_of(lambda n: b"ERROR\r\n")),
    ("binary noop", lambda key, n: frame(NOOP, opaque=n), frames_in_order),
    ("binary set", lambda key, n: set_frame(key, b"v", opaque=n), frames_in_order),
]


@each_of([(f"{MANY} x {name} in one go, {how}", number, *rest, how)
          for number, (name, *rest) in enumerate(PIPELINES)
          for how in ("answers read late", "no answer read", "a reset in the middle")])
def long_pipeline(world, number, request, read, how):
    key = b"h:p%d-%d" % (number, len(how))  # its own: one may go on behind its client's end
    with world.client() as client:
        assert client.store(f"set {key.decode()} 0 0", "0") == "STORED"
    world.begin_peak()
    client = world.client()
    first = b"" if request(key, 0)[0] == 0x80 else b"mn\r\n"
    pusher = Pusher(client, first + b"".join(request(key, number) for number in range(MANY)))
    if how == "a reset in the middle":
        client.socket.recv(1000)
        reset(client)
        pusher.join()
    else:
        wait_stuck(world)
        world.check_answers()
        if how == "answers read late":
            assert client.bytes(len(first)) == first.upper()
            read(client, MANY)
        pusher.cut()
    world.check_connections()
    # 100 bytes for each may lie in the journal's buffer, until the disk has taken them.
    world.check_peak(16 * MEGABYTE + 100 * MANY, "one pipeline")
    exchange(world, b"cdel cart:%s\r\ndelete %s\r\n" % (key, key))


@attack(f"{MANY} cart writes without answers")
def quiet_cart_writes(world):
    """Nothing is answered, so nothing can be waited for but the end."""
    with world.client() as client:
        client.send(b"cadd cart:quiet SKU 1 q\r\n" * MANY)
        assert client.qty("cart:quiet", "SKU") == MANY
        assert client.cmd("cdel cart:quiet") == "HD"


@each_of([("a get of 100,000 keys that are not there", "n{:05d}", 0),
          ("a get of 100,000 keys that are there", "h:multi", 100000)])
def multi_get(world, key, hits):
    with world.client() as client:
        assert client.store("set h:multi 3 0", "hi") == "STORED"
        client.send("get " + " ".join(key.format(number) for number in range(100000)) + "\r\n")
        wait_stuck(world, "bytes_written")
        wanted = b"VALUE h:multi 3 2\r\nhi\r\n" * hits + b"END\r\n"
        assert client.bytes(len(wanted)) == wanted
        assert client.cmd("delete h:multi") == "DELETED"


# ---- crowds --------------------------------------------------------------------------------------

@each_of([(f"{CROWD} connections with {name}", data) for name, data in (
    ("nothing", b""), ("half a command", b"get senti"), ("half a header", NOOP_PROBE[:11]),
    ("half a block", b"set h:k 0 0 100\r\nabc"), ("half a cart write", b"cadd cart:sentinel SKU"))])
def half_open(world, data):
    world.begin_peak()
    clients = []
    for _ in range(CROWD):
        clients.append(world.client())
        send_all(clients[-1], data)
    wait_until(lambda: world.connections() == CROWD + world.conns, "all are connected")
    world.check_answers()
    world.check_peak(CROWD * 64 * 1024, "connections that wait")
    for client in clients:
        client.close()


@attack(f"{CROWD} connections come and go at once")
def come_and_go(world):
    for number in range(CROWD):
        client = world.client()
        reset(client) if number % 2 else client.close()


@each_of([("200 resets " + name, data) for name, data in (
    ("behind a request", b"get sentinel\r\n"),
    ("in the middle of a block", b"set h:k 0 0 99\r\nabc"),
    ("before large answers", b"get sentinel\r\n" * 500),
    ("at a cart write", b"cadd cart:r SKU 1\r\n"),
    ("at 100 cart writes", b"cadd cart:r SKU 1\r\n" * 100), ("at stats", b"stats\r\n" * 50),
    ("at cart reads", b"cget cart:sentinel\r\n" * 100), ("behind quit", b"quit\r\n"),
    ("at a binary set", set_frame(b"h:k", b"v" * 1000)[:500]))])
def resets(world, data):
    for _ in range(200):
        client = world.client()
        send_all(client, data)
        reset(client)
    with world.client() as client:
        client.send("cdel cart:r\r\n")
        client.line()


@attack("half-closed behind each kind of request")
def half_closed(world):
    for data, wanted in ((b"mn\r\n", b"MN\r\n"), (b"get h:none\r\n" * 1000, b"END\r\n" * 1000),
                         (b"cadd cart:half SKU 1 x\r\ncdel cart:half\r\n", b"HD x1\r\nHD\r\n"),
                         (b"mn\r\nset h:k 0 0 10\r\nabc", b"MN\r\n"), (b"", b"")):
        assert exchange(world, data) == wanted


@attack("half-closed, and answers never read")
def half_closed_unread(world):
    clients = [world.client() for _ in range(50)]
    for client in clients:
        send_all(client, b"get sentinel\r\n" * 400)
        client.half_close()
    world.check_answers()
    for client in clients:
        client.close()


@attack("many slow readers of 100 large values each")
def slow_readers(world):
    """What a reader costs at most: the answers kept for it (256 KiB, and the value that passed it)
    in a buffer that doubles, and its input."""
    world.begin_peak()
    with world.client() as owner:
        assert owner.store("set h:large 0 0", b"L" * 1000000) == "STORED"
    clients = [world.client() for _ in range(scaled(64, 256))]
    for client in clients:
        client.send(b"get h:large\r\n" * 100)
    wait_stuck(world, "bytes_written")
    world.check_answers()
    world.bystander.check()
    world.check_peak(len(clients) * (2 * MEGABYTE + 128 * 1024) + 4 * MEGABYTE, "slow readers")
    for client in clients:
        client.close()
    with world.client() as owner:
        assert owner.cmd("delete h:large") == "DELETED"


@attack("a storm of stats without reading")
def stats_storm(world):
    world.begin_peak()
    clients = [world.client() for _ in range(20)]
    pushers = [Pusher(client, b"stats\r\nstats settings\r\n" * 3000)
               for client in clients]
    wait_stuck(world, "bytes_written")
    world.check_answers()
    for pusher in pushers:
        pusher.cut()
    world.check_peak(20 * MEGABYTE, "stats that nobody reads")


@attack("a storm of flush_all")
def flush_storm(world):
    world.bystander.carts_only.set()
    world.bystander.check()
    with world.client() as client:
        pusher = Pusher(client, b"flush_all\r\nflush_all 0\r\nflush_all noreply\r\n" * MANY)
        assert client.lines(2 * MANY) == ["OK"] * (2 * MANY)
        pusher.join()
        assert client.get(SENTINEL) is None  # that is what was asked for
    flushes = frame(0x08) + frame(0x18) + frame(0x08, extras=bytes(4))
    got = exchange(world, flushes * 1000 + NOOP_PROBE)
    assert {each.status for each in frames_of(got)} == {0}
    world.put_sentinel()
    world.bystander.carts_again()


@attack("verbosity up and down")
def verbosity_storm(world):
    with world.client() as client:
        client.send(b"verbosity 1\r\nverbosity 0\r\n" * 1000)
        assert client.lines(2000) == ["OK"] * 2000


@attack("a cart with as many lines and tokens as it takes")
def fat_cart(world):
    with world.client() as client:
        client.send("".join(f"cset cart:fat L{number} 1 Itoken{number} E{'YWFh' * 100}\r\n"
                            for number in range(300)))
        answers = client.lines(300)
        assert answers[:200] == ["HD"] * 200
        assert all(answer.startswith("CLIENT_ERROR LINE_LIMIT") for answer in answers[200:])
        assert client.cmd("cdel cart:fat") == "HD"


@attack("answers nobody can send any more")
def closed_for_reading(world):
    for _ in range(100):
        client = world.client()
        send_all(client, b"get sentinel\r\n" * 50)
        try:
            client.socket.shutdown(0)
            client.line()
        except (Closed, OSError):
            pass
        client.close()


assert len({each.title for each in ATTACKS}) == len(ATTACKS)

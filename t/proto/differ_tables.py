"""differ_tables: random requests for differ.py, drawn from tables of good and odd words.

A request is text with places that are filled in when it is sent:
  <p>     a prefix of the keys, new for each case, so that a case finds no item of another
  <b:x>   the key <p>x in base64
  <c0>    the cas seen last in an answer, <c1> the one before it, and so on; <c0+9> nine more
  <soon>  a time as seconds since 1970 that is an hour ahead

What cartd does otherwise on purpose is never drawn. INTENDED tells how each row of the table
"Differences" in doc/protocol-memcached.md is kept out; a row that is missing here fails a test.
"""
import base64
import re
import struct
import time

PREFIX_BYTES = 10
SOON_S = 3600
PAD_BYTES = 64  # more than any data block may lack, see differ.py

INTENDED = {
    "`flush_all`": "no carts",
    "`flush_all` with a delay behind one without": "a case has the one kind or the other",
    "length of a line": "no line is long",
    "`gat`, `gats` lines": "no line is long",
    "overlong key in a get": "the first key, in a request on its own",
    "numbers beyond 32 bits": "not drawn",
    "largest value": "no value is that large",
    "wrong `delete`": "differ.py forgives the hint",
    "a minus sign before an unsigned number": "-0 is not drawn",
    "base64 keys": "right, or wrong in length",
    "key in an mg hit and an `me`": "keys are always base64 or never, and those of ma are its own",
    "`opaque token too long`": "only in md and ms",
    "flags `E`, `x`, `s` of ms, `N` of ms, `C` of mg": "not drawn",
    "HTTP": "not drawn",
    "white space that is followed by no digits": "not drawn",
    "numbers of 2^63 and more in incr, decr, ma": "not made",
    "the length that decr keeps": "arithmetic begins a part, when nobody holds an item any more",
    "a number that gets longer by incr or ma": "numbers are never stale; no h, no T with ma",
    "`t` of a life that is over": "differ.py forgives it",
    "`size` and `cls` of `me`": "differ.py forgives it",
    "binary: a value where none belongs (Touch, GAT, Stat)": "not drawn",
    "binary: unknown opcode with a key": "not drawn",
    "binary: Verbosity": "not drawn",
}

NUMBER_KEYS = ["<p>a"] * 8 + ["<p>b"] * 4 + ["<p>\xff\x01\t", "<p>" + 240 * "k"]
STALE_KEYS = ["<p>c"] * 4 + ["<p>d"]
KEYS = NUMBER_KEYS + STALE_KEYS
SHORT_KEYS = [key for key in KEYS if len(key) < 10]
LONG_KEY = "<p>" + 241 * "k"
BASE64_KEYS = ["<b:x>", "<b:x>", "<b:y>", "<b:\0 \r\n>"]
BASE64_NUMBER_KEY = "<b:n>"
EXPTIMES = ["0"] * 8 + ("100 5000 -1 2592000 2592001 -2147483648 <soon> 2147483647 +100 0100 "
                        "\t5000 x 1x 1.5 100\t").split(" ")
CLIENT_FLAGS = ["0"] * 6 + "1 42 4294967295 2147483648 +7 08 x -1 1x 0x1".split()
DELTAS = ["1"] * 4 + ("0 5 10 99 1000000 4294967296 18446744073709551616 -1 x 1x +1 01 1.5 "
                      "1\t").split(" ")
DOWN_DELTAS = DELTAS + ["18446744073709551615", "9223372036854775808"]
CASES_OF_CAS = ["<c0>"] * 6 + ["<c1>", "<c2>", "<c0+1000000000>", "0", "1", "18446744073709551615",
                               "18446744073709551616", "-1", "x", "1x", "+1"]
VALUES = ["", "a", "0", "5", "9", "10", "99", "100", "1000", "007", " 5", "5 ", "5a", "+5",
          "\t7", "5 x", "5\tx", "5\0x",
          "18446744073709551616", "9999999999", "00000000000000000005",
          "000000000000000000005", "5\r\n", "1\0", "x\r\n", "efg", "abcdefghijklmnop", "\0\xff\x80",
          "get <p>a", "5.0", "                  5", "10  "]
LARGE_VALUES = [3000 * "v", 40000 * "w"]  # only in requests without a fault: a line has its limit
TAILS = [""] * 14 + [" noreply"] * 4 + [" junk", " noreply junk", " 0", " 0 noreply", " Noreply",
                                        "  noreply  ", " 1 2 3", " "]
LINE_ENDS = ["\r\n"] * 14 + ["\n", " \r\n"]
BLOCK_ENDS = ["\r\n"] * 24 + ["\n", "", "x\r\n", "x\r\r\n", "x\n\r\n"]
LARGE_VERBS = "set add append prepend ms".split()
LENGTH_OFF = [0] * 24 + [1, -1, 2, -2, 5, -5, 20]
LENGTH_FORMS = ["{}"] * 20 + ["+{}", "0{}", "{}x", "-{}", "x", "{}\t", "{}.0"]
OPAQUES = ["1", "abc", "", 31 * "o", "\xff", "k"]
META_ANY = ["k", "q", "v", "t", "c", "f", "h", "l", "u", "O<o>"] * 3 + [
    "T<t>", "T<t>", "R<r>", "F<f>", "J<n>", "D<n>", "I", "P", "Lx/y", "vx", "tx", "qq"]
META_OWN = {
    "mg": ["v", "c", "t", "N<t>", "N<t>", "R<r>", "R<r>", "T<t>", "s", "s"],
    "ms": ["C<c>", "C<c>", "I", "I", "F<f>", "T<t>", "MA", "MP", "MR", "ME", "MS", "c"],
    "md": ["C<c>", "C<c>", "I", "I", "I", "T<t>", "s"],
    "ma": ["N<t>", "N<t>", "J<n>", "J<n>", "D<n>", "D<n>", "MI", "MD", "M+", "M-", "C<c>", "s",
           "v"],
}
META_WRONG = ["Z", "S3", "5", "\x7f", "\xff", "T", "Tx", "N", "R", "Cx", "J", "Dx", "MAB", "M",
              "Mx", "Me", "Fx", "-", "W", "X", "a"]
META_TIMES = ["0", "0", "100", "5000", "2592000", "2592001", "-1", "<soon>", "+100"]
RECACHE = ["30", "1000", "10000", "-1", "0"]
NONSENSE = ["", " ", "x", "nonsense", "GET <p>a", "get\t<p>a", "mgx <p>a", "m", "mx <p>a", "versio",
            "\0", "\xff\xfe", "noreply", "END", "VALUE <p>a 0 1", "mn\0x", "gets\0 <p>a",
            "bset <p>a"]
MUTATIONS = ["", " ", "\t", "\0", "+", "0", "9", "x", "\r", "\xff", "  "]

BINARY_STORES = [0x01, 0x11, 0x02, 0x12, 0x03, 0x13]
BINARY_JOINS = [0x0e, 0x19, 0x0f, 0x1a]
BINARY_GETS = [0x00, 0x09, 0x0c, 0x0d]
BINARY_GATS = [0x1c, 0x1d, 0x1e, 0x23, 0x24]
BINARY_ARITHS = [0x05, 0x15, 0x06, 0x16]
BINARY_DELETES = [0x04, 0x14]
BINARY_KEYS = KEYS + ["<p>\0\r\n "]
BINARY_TIMES = [0] * 6 + [100, 5000, 2592000, 2592001, 0x7fffffff]
BINARY_CAS = ["0"] * 12 + ["<c0>"] * 4 + ["<c1>", "<c0+1000000000>", "1", "18446744073709551615"]
BINARY_NUMBERS = [0, 1, 1, 5, 10, 99, 1 << 32]
BINARY_DOWN = BINARY_NUMBERS + [1 << 63, (1 << 64) - 1]
NO_VIVIFY = 0xffffffff


class Place:
    """Where a request goes: fills in what differs from case to case and from server to server."""

    def __init__(self, prefix, side, seen):
        self.prefix, self.side, self.seen = prefix, side, seen  # seen: pairs of cas, in order

    def cas(self, back, more):
        if back >= len(self.seen):
            return 1
        return self.seen[-1 - back][self.side] + more

    def fill(self, text):
        def one(match):
            word = match.group(1)
            if word == "p":
                return self.prefix
            if word == "soon":
                return str(int(time.time()) // SOON_S * SOON_S + 2 * SOON_S)
            if word.startswith("b:"):
                return base64.b64encode((self.prefix + word[2:]).encode("latin-1")).decode()
            back, _, more = word[1:].partition("+")
            return str(self.cas(int(back), int(more or 0)))

        return re.sub(r"<(p|soon|b:[^>]*|c[^>]*)>", one, text, flags=re.S)


class Line:
    """A request of the text protocols.

    first: nothing is sent before it; alone: and nothing behind it; ends: it closes the connection;
    flush: it is a flush_all, now or later.
    """
    flush = None

    def __init__(self, text, alone=False, ends=False):
        self.text, self.first, self.alone, self.ends = text, alone, alone, ends

    def bytes(self, place):
        return place.fill(self.text).encode("latin-1")

    def __str__(self):
        return repr(self.text)


class Frame:
    """A request of the binary protocol; `lengths` overrides those that follow from its parts."""
    flush = None

    def __init__(self, opcode, key="", extras=b"", value="", cas="0", lengths=None, ends=False):
        self.opcode, self.key, self.extras, self.value = opcode, key, extras, value
        self.cas, self.lengths = cas, lengths
        self.first = self.alone = self.ends = ends

    def bytes(self, place):
        key, value = (place.fill(text).encode("latin-1") for text in (self.key, self.value))
        key_len, extras_len, body_len = self.lengths or (
            len(key), len(self.extras), len(key) + len(self.extras) + len(value))
        cas = int(place.fill(self.cas)) & ((1 << 64) - 1)
        head = struct.pack(">BBHBBHIIQ", 0x80, self.opcode, key_len, extras_len, 0, 0, body_len,
                           0xabcd0000 + self.opcode, cas)
        return head + self.extras + key + value

    def __str__(self):
        lengths = f" lengths={self.lengths}" if self.lengths else ""
        return (f"bin {self.opcode:02x} k={self.key!r} x={self.extras.hex()} v={self.value!r} "
                f"c={self.cas}{lengths}")


# ---- classic ----

def draw_key(rng, keys=tuple(KEYS)):
    return LONG_KEY if rng.random() < 0.01 else rng.choice(keys)


def draw_block(rng):
    """(length, data with its end, whether it lacks bytes) of a storage command."""
    value = rng.choice(VALUES)
    size = len(value.replace("<p>", PREFIX_BYTES * "p"))
    off = rng.choice(LENGTH_OFF)
    length = rng.choice(LENGTH_FORMS).format(max(0, size + off))
    end = rng.choice(BLOCK_ENDS)
    # A get without an end becomes one with the next line, whose key may be overlong.
    return length, value + end, off > 0 or (not end and value.startswith("get"))


def draw_storage(rng):
    verb = rng.choice("set set set add replace append prepend cas cas".split())
    length, data, lacks = draw_block(rng)
    words = [verb, draw_key(rng), rng.choice(CLIENT_FLAGS), rng.choice(EXPTIMES), length]
    if verb == "cas":
        words.append(rng.choice(CASES_OF_CAS))
    tail = rng.choice(TAILS)
    if rng.random() < 0.02:
        words.pop(rng.randrange(1, len(words)))
        tail = ""  # or another word may become the length
    line = Line(" ".join(words) + tail + rng.choice(LINE_ENDS) + data)
    line.alone = lacks  # the sync may be eaten in part, nothing else
    return line


def draw_large(rng):
    verb, key, value = rng.choice(LARGE_VERBS), rng.choice(KEYS), rng.choice(LARGE_VALUES)
    words = "" if verb == "ms" else "0 0 "
    line = Line(f"{verb} {key} {words}{len(value)}\r\n{value}\r\n")
    line.first = True
    return line


def draw_get(rng):
    verb = rng.choice("get gets gat gats".split())
    words = [verb] + ([rng.choice(EXPTIMES)] if verb.startswith("gat") else [])
    count = rng.choice([1, 1, 1, 2, 3, 5, 30, 0])
    if rng.random() < 0.02:
        words.append(LONG_KEY)
    alone = words[-1] == LONG_KEY
    words += rng.choices(SHORT_KEYS if count == 30 else KEYS, k=count)
    return Line(" ".join(words) + rng.choice(LINE_ENDS), alone=alone)


def draw_arith(rng):
    verb, deltas = rng.choice([("incr", DELTAS), ("decr", DOWN_DELTAS)])
    words = [verb, draw_key(rng, NUMBER_KEYS), rng.choice(deltas)]
    line = shorten(rng, words)
    line.first = True
    return line


def draw_touch(rng):
    return shorten(rng, ["touch", draw_key(rng), rng.choice(EXPTIMES)])


def draw_delete(rng):
    return shorten(rng, ["delete", draw_key(rng)])


def draw_flush(rng):
    delay = rng.choice(["", "", " 0", " -1", " 10000", " 10000", " x"])
    line = Line("flush_all" + delay + rng.choice(TAILS) + "\r\n")
    line.flush = "later" if "10000" in delay else "now"
    return line


def draw_other(rng):
    if rng.random() < 0.05:
        return Line(rng.choice(["quit\r\n", "quit noreply\r\n"]), alone=True, ends=True)
    if rng.random() < 0.3:
        return Line("stats " + rng.choice(["reset", "nosuch"]) + rng.choice(TAILS) + "\r\n")
    return shorten(rng, rng.choice([["version"], ["verbosity", "0"], ["verbosity", "x"], ["mn"],
                                    ["verbosity", "-1"]]))


def draw_nonsense(rng):
    return Line(rng.choice(NONSENSE) + rng.choice(LINE_ENDS))


def shorten(rng, words):
    """The line; now and then a word is missing, or a byte is another."""
    if rng.random() < 0.03 and len(words) > 1:
        words = words[:-1]
    text = " ".join(words) + rng.choice(TAILS)
    return Line(mutate(rng, text) + rng.choice(LINE_ENDS))


LONG_NUMBER = re.compile(r"\d{10,}")


def mutate(rng, text):
    if rng.random() > 0.03 or "-" in text:  # a -0 is not drawn
        return text
    at = rng.randrange(len(text) + 1)
    if "<" in text[max(0, at - 6):at + 6]:  # a place stays whole
        return text
    mutated = text[:at] + rng.choice(MUTATIONS) + text[at + rng.choice([0, 1]):]
    if set(LONG_NUMBER.findall(mutated)) - set(LONG_NUMBER.findall(text)):
        return text  # it may be beyond 32 bits now
    return mutated


# ---- meta ----

def fill_flag(rng, verb, flag):
    opaques = OPAQUES + ([32 * "o"] if verb in ("md", "ms") else [])
    flag = flag.replace("<o>", rng.choice(opaques)).replace("<t>", rng.choice(META_TIMES))
    flag = flag.replace("<r>", rng.choice(RECACHE)).replace("<f>", rng.choice(CLIENT_FLAGS))
    flag = flag.replace("<n>", rng.choice(DELTAS).strip())
    return flag.replace("<c>", rng.choice(CASES_OF_CAS))


def allowed(verb, flag):
    """What cartd has from newer releases is not drawn."""
    return not (flag[0] in "Ex" or (verb == "ms" and flag[0] in "sN") or
                (verb == "mg" and flag[0] == "C"))


def draw_flags(rng, verb):
    flags = {}
    count = rng.choice([0, 1, 1, 2, 2, 3, 3, 4, 5, 6, 8, 19])
    for _ in range(count):
        table = rng.choice([META_OWN[verb], META_ANY])
        flag = fill_flag(rng, verb, rng.choice(table))
        if allowed(verb, flag):
            flags.setdefault(flag[0], flag)
    out = list(flags.values())
    if rng.random() < 0.05:
        wrong = rng.choice(META_WRONG)
        if allowed(verb, wrong):
            out.insert(rng.randrange(len(out) + 1), wrong)
    if rng.random() < 0.02 and out:
        out.append(rng.choice(out))
    if verb == "ma" and not {"MD", "M-"} & set(out):  # it may get longer
        out = [flag for flag in out if flag[0] != "T"]
    return out


def draw_meta_key(rng, verb, flags):
    """Puts in the flag b, too."""
    if verb == "ma":
        keys = NUMBER_KEYS
    else:
        keys = STALE_KEYS if any(flag[0] in "NRI" for flag in flags) else KEYS
    plain = {"N", "MA", "MP"}  # memcached forgets with these that the key was base64
    forgets = plain & {flag if flag[0] == "M" else flag[0] for flag in flags}
    if rng.random() > 0.15 or (forgets and verb != "ma"):
        return draw_key(rng, keys)
    flags.insert(rng.randrange(len(flags) + 1), "b")
    return rng.choice([BASE64_NUMBER_KEY] if verb == "ma" else BASE64_KEYS + ["abc"])


def draw_meta(rng):
    verb = rng.choice("mg mg mg ms ms md ma ma me".split())
    if verb == "me":
        key = rng.choice([draw_key(rng, STALE_KEYS), "<b:x> b", "", "abc b"])
        return Line(f"me {key}\r\n")
    flags = draw_flags(rng, verb)
    words = [verb, draw_meta_key(rng, verb, flags)]
    data, lacks = "", False
    if verb == "ms":
        length, data, lacks = draw_block(rng)
        words.append(length)
    if verb == "ms" and rng.random() < 0.02:
        words.pop()
    if words[1] in NUMBER_KEYS:  # a number that gets longer is a new item for memcached
        flags = [flag for flag in flags if flag[0] != "h"]
    line = Line(" ".join(words + flags) + rng.choice(LINE_ENDS) + data)
    line.first, line.alone = verb == "ma", lacks
    return line


# ---- binary ----

def be(number, size):
    return number.to_bytes(size, "big")


def draw_binary(rng):
    kind = rng.choice([BINARY_STORES] * 4 + [BINARY_GETS] * 3 + [BINARY_GATS] * 2 +
                      [BINARY_ARITHS] * 3 + [BINARY_JOINS] * 2 + [BINARY_DELETES, None])
    key = rng.choice(BINARY_KEYS)
    if kind is None:
        return draw_binary_other(rng)
    opcode = rng.choice(kind)
    frame = Frame(opcode, key, cas=rng.choice(BINARY_CAS))
    if kind is BINARY_STORES:
        frame.extras = be(rng.choice([0, 1, 0xffffffff]), 4) + be(rng.choice(BINARY_TIMES), 4)
    elif kind is BINARY_GATS:
        frame.extras = be(rng.choice(BINARY_TIMES), 4)
    elif kind is BINARY_ARITHS:
        frame.first, frame.key = True, rng.choice(NUMBER_KEYS)
        deltas = BINARY_DOWN if opcode & 0x0f == 0x06 else BINARY_NUMBERS
        frame.extras = (be(rng.choice(deltas), 8) + be(rng.choice(BINARY_NUMBERS), 8) +
                        be(rng.choice(BINARY_TIMES + [NO_VIVIFY] * 3), 4))
    takes_value = kind is BINARY_STORES or kind is BINARY_JOINS
    frame.value = rng.choice(VALUES) if takes_value else ""
    return break_frame(rng, frame, takes_value) if rng.random() < 0.02 else frame


def draw_binary_other(rng):
    if rng.random() < 0.2:
        delay = rng.choice([b"", be(0, 4), be(10000, 4)])
        frame = Frame(rng.choice([0x08, 0x18]), extras=delay)
        frame.flush = "later" if any(delay) else "now"
        return frame
    return rng.choice([
        Frame(0x0a), Frame(0x0b), Frame(0x10, "nosuch"), Frame(0x10, "reset"), Frame(0x25),
        Frame(0x3f, value="value"), Frame(0x20), Frame(0x21, "PLAIN", value="\0user\0password"),
        Frame(0x22, "PLAIN", value="x"), Frame(0x07, ends=True), Frame(0x17, ends=True)])


def break_frame(rng, frame, takes_value):
    """Makes it a frame that ends the connection."""
    frame.ends = frame.alone = frame.first = True
    what = rng.randrange(4)
    if what == 0:
        frame.key = rng.choice(["", LONG_KEY])
    elif what == 1:
        frame.extras = frame.extras + b"\0" if frame.extras == b"" else frame.extras[:-1]
    elif what == 2 or takes_value or frame.opcode in BINARY_GATS:
        frame.key = "<p>a"
        sizes = PREFIX_BYTES + 1, len(frame.extras)
        frame.lengths = (*sizes, sum(sizes) - 1)
    else:
        frame.value = "more"
    return frame


TEXT = [draw_storage] * 8 + [draw_get] * 6 + [draw_arith] * 4 + [
    draw_touch, draw_delete, draw_flush, draw_other, draw_nonsense, draw_large]
META = [draw_meta]


def draw_request(rng, binary, flush):
    """`flush` says which of the two kinds of a flush_all may be drawn."""
    while True:
        request = draw_binary(rng) if binary else rng.choice(rng.choice([TEXT, META]))(rng)
        if request.flush in (None, flush):
            return request

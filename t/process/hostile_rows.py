"""hostile_rows: attacks that are one burst of bytes and have one right answer."""
import re
import struct
from collections import namedtuple

# end: what comes behind the answer.
OPEN = "open"      # the connection goes on: the next command is served
CLOSED = "closed"  # the daemon closes
HUNGRY = "hungry"  # more of the same request is awaited; nothing else is answered

# answer: text lines; "..." at the end of one stands for any text. Of binary rows, (opcode, status).
Row = namedtuple("Row", "name sends answer end")

FORMAT = "CLIENT_ERROR bad command line format"
CHUNK = "CLIENT_ERROR bad data chunk"
TOO_LONG = "CLIENT_ERROR line too long"
TOO_LARGE = "SERVER_ERROR object too large for cache"
EXPTIME = "CLIENT_ERROR invalid exptime argument"
DELTA = "CLIENT_ERROR invalid numeric delta argument"

PROBE, PROBE_ANSWER = b"mn\r\n", b"MN\r\n"


def check_lines(got, wanted):
    """`got` is exactly the wanted lines."""
    pattern = b"".join(re.escape(line[:-3].encode("latin-1")) + rb"[^\r\n]*\r\n"
                       if line.endswith("...") else re.escape(line.encode("latin-1") + b"\r\n")
                       for line in wanted)
    assert re.fullmatch(pattern, got), f"{got[:300]!r} instead of {wanted}"


# ---- text ----------------------------------------------------------------------------------------

BAD_LENGTHS = ["-1", "-2147483648", "-9223372036854775808", "2147483646", "2147483647",
               "2147483648", "4294967295", "4294967296", "9223372036854775807",
               "9223372036854775808", "18446744073709551615", "18446744073709551616",
               "99999999999999999999999999", "9" * 1000, "0x10", "1e9", "5.", "five", "+-5", "++5",
               "-+5", "5k", "\xd9\xa3", "\x01", "'5'"]
ODD_LENGTHS = ["+5", "0" * 100 + "5", "5\t", "5\tx", "\t5"]
LARGE_LENGTHS = ["1048577", "1000000000", "1073741824", "2147483645"]


def shown(text):
    """As part of a name."""
    short = text.encode("unicode_escape").decode()
    return short if len(short) <= 30 else f"of {len(text)} characters, {short[:5]}..."


def length_rows():
    for length in BAD_LENGTHS:
        for verb, line in (("set", "set h:k 0 0 {}"), ("ms", "ms h:k {} c"),
                           ("cas", "cas h:k 0 0 {} 1"), ("append", "append h:k 0 0 {}"),
                           ("set noreply", "set h:k 0 0 {} noreply")):
            if verb in ("cas", "append", "set noreply") and length not in ("-1", "4294967296"):
                continue
            answer = [] if verb.endswith("noreply") else [FORMAT]
            yield Row(f"{verb} length {shown(length)}", line.format(length) + "\r\n", answer, OPEN)
    for length in ODD_LENGTHS:
        yield Row(f"set length {shown(length)}", f"set h:odd 0 0 {length}\r\nhello\r\n",
                  ["STORED"], OPEN)
        yield Row(f"ms length {shown(length)}", f"ms h:odd {length}\r\nhello\r\n", ["HD"], OPEN)
    for length in LARGE_LENGTHS:
        yield Row(f"set length {length}", f"set h:k 0 0 {length}\r\nabc", [TOO_LARGE], HUNGRY)
        yield Row(f"ms length {length}", f"ms h:k {length}\r\nabc", [TOO_LARGE], HUNGRY)
    yield Row("set noreply length 1e9 in digits", "set h:k 0 0 1000000000 noreply\r\nmn\r\n", [],
              HUNGRY)
    yield Row("ms quiet length 1e9 in digits", "ms h:k 1000000000 q\r\nmn\r\n", [TOO_LARGE], HUNGRY)
    yield Row("a block one over the limit is skipped to its end",
              "set h:k 0 0 1048577\r\n" + "x" * 1048577 + "\r\n", [TOO_LARGE], OPEN)


def line_end_rows():
    return [
        Row("LF only", "set h:k 0 0 2\nhi\r\nget h:k\n", ["STORED", "VALUE h:k 0 2", "hi", "END"],
            OPEN),
        Row("block ends in LF only", "set h:k 0 0 2\r\nhi\nget sentinel\r\n", [CHUNK, "ERROR"],
            OPEN),
        Row("block without an end", "set h:k 0 0 2\r\nhiget sentinel\r\n", [CHUNK, "ERROR"], OPEN),
        Row("CR only", "get h:none\rmn\r\n", ["END"], OPEN),
        Row("CR CR LF", "get h:none\r\r\n", ["END"], OPEN),
        Row("LF CR", "version\n\rmn\n", ["VERSION ...", "ERROR"], OPEN),
        Row("only LFs", "\n" * 1000, ["ERROR"] * 1000, OPEN),
        Row("only CRLFs", "\r\n" * 1000, ["ERROR"] * 1000, OPEN),
        Row("no line end", "version", [], HUNGRY),
        Row("a line of spaces", " " * 5000 + "\r\n", ["ERROR"], OPEN),
        Row("spaces everywhere", "   set   h:k  0  0   2   \r\nhi\r\n", ["STORED"], OPEN),
        Row("tabs for spaces", "set\th:k\t0\t0\t2\r\n", ["ERROR"], OPEN),
        Row("body shorter, then the end", "set h:k 0 0 10\r\nabc\r\n", [], HUNGRY),
        Row("body longer", "set h:k 0 0 3\r\nabcdef\r\n", [CHUNK, "ERROR"], OPEN),
        Row("body longer by commands", "set h:k 0 0 0\r\nset h:k 0 0 2\r\nhi\r\n",
            [CHUNK, "ERROR", "ERROR"], OPEN),
        Row("an empty body", "set h:k 0 0 0\r\n\r\n", ["STORED"], OPEN),
        Row("ms body longer", "ms h:k 3\r\nabcdef\r\n", [CHUNK, "ERROR"], OPEN),
        Row("a refused line's block is read as commands", "set h:k x 0 4\r\nmn\r\n", [FORMAT, "MN"],
            OPEN),
        Row("a refused ms line's block is skipped", "ms h:k 2 ?\r\nmn\r\n",
            ["CLIENT_ERROR invalid flag"], OPEN),
    ]


def nul_rows():
    return [
        Row("NUL in the verb", "ge\0t sentinel\r\n", ["ERROR"], OPEN),
        Row("NUL in a key", "get h:no\0ne sentinel\r\n", ["END"], OPEN),
        Row("NUL first", "\0get sentinel\r\n", ["ERROR"], OPEN),
        Row("NUL behind the verb", "get\0 sentinel\r\n", ["ERROR"], OPEN),
        Row("NUL in a set line", "set h:k\0 0 0 2\r\nhi\r\n", ["ERROR", "ERROR"], OPEN),
        Row("NUL behind the length", "set h:k 0 0 2\0000\r\nhi\r\n", ["STORED"], OPEN),
        Row("NUL in the block", "set h:nul 0 0 3\r\na\0b\r\nget h:nul\r\n",
            ["STORED", "VALUE h:nul 0 3", "a\0b", "END"], OPEN),
        Row("NULs for a line end", "version\0\0\0\0", [], HUNGRY),
        Row("8 k of NULs", "\0" * 8000 + "\r\n", ["ERROR"], OPEN),
        Row("NUL in a meta key", "mg h:no\0ne v\r\n", ["EN"], OPEN),
        Row("NUL for a meta key", "mg\0\r\n", ["ERROR"], OPEN),
        Row("NUL in a cart line", "cadd cart:h S\0KU 1\r\n", [FORMAT], OPEN),
        Row("NUL for a qty", "cadd cart:h SKU \0\r\n", [FORMAT], OPEN),
        Row("NUL in a path", "incr cart:h/a\0/qty 1\r\n", ["ERROR"], OPEN),
    ]


def key_rows():
    odd = "h:" + "".join(map(chr, [*range(1, 10), 11, 12, *range(14, 32), 127, *range(128, 256)]))
    return [
        Row("key of 250", f"set {'k' * 250} 0 0 1\r\nx\r\ndelete {'k' * 250}\r\n",
            ["STORED", "DELETED"], OPEN),
        Row("key of 251", f"get {'k' * 251}\r\n", [FORMAT], OPEN),
        Row("key of 251 in the middle", f"get sentinel {'k' * 251} sentinel\r\n", [FORMAT], OPEN),
        Row("set key of 251", f"set {'k' * 251} 0 0 1\r\n", [FORMAT], OPEN),
        Row("mg key of 251", f"mg {'k' * 251} v\r\n", [FORMAT], OPEN),
        Row("key of 8000", f"delete {'k' * 8000}\r\n", [FORMAT], OPEN),
        Row("key of 1 MiB in a set", f"set {'k' * 1048576} 0 0 1\r\n", [TOO_LONG], OPEN),
        Row("key of 1 MiB in a get", f"get {'k' * 1048576}\r\n", [TOO_LONG], OPEN),
        Row("key of 1 MiB in an mg", f"mg {'k' * 1048576} v\r\n", [TOO_LONG], OPEN),
        Row("key of 100 kB in a get", f"get {'k' * 100000}\r\n", [FORMAT], OPEN),
        Row("control characters and high bytes are a key",
            f"set {odd} 0 0 2\r\nhi\r\nget {odd}\r\ndelete {odd}\r\n",
            ["STORED", f"VALUE {odd} 0 2", "hi", "END", "DELETED"], OPEN),
        Row("a line of 8190 and its end", "x" * 8190 + "\r\n", ["ERROR"], OPEN),
        Row("a line of 8193", "x" * 8193 + "\r\n", [TOO_LONG], OPEN),
        Row("a get line of 1 MiB", "get " + "h:none " * 149000 + "\r\n", ["END"], OPEN),
        Row("a get line over 1 MiB", "get " + "h:none " * 150000 + "\r\n", [TOO_LONG], OPEN),
        Row("a get behind spaces", " " * 99 + "get " + "h:none " * 2000 + "\r\n", ["END"], OPEN),
    ]


def argument_rows():
    rows = [("flags -1", "set h:k -1 0 2", FORMAT),
            ("flags 2^32", "set h:k 4294967296 0 2", FORMAT),
            ("flags of a word", "set h:k f 0 2", FORMAT),
            ("exptime 2^63", "set h:k 0 9223372036854775808 2", FORMAT),
            ("exptime of a word", "set h:k 0 soon 2", FORMAT),
            ("cas -1", "cas h:k 0 0 2 -1", FORMAT),
            ("cas 2^64", "cas h:k 0 0 2 18446744073709551616", FORMAT),
            ("incr -1", "incr h:k -1", DELTA),
            ("incr 2^64", "incr h:k 18446744073709551616", DELTA),
            ("incr of a word", "incr h:k one", DELTA), ("incr of nothing", "incr h:k", "ERROR"),
            ("decr 1e3", "decr h:k 1e3", DELTA),
            ("touch of a word", "touch h:k soon", EXPTIME),
            ("touch 2^63", "touch h:k 9223372036854775808", EXPTIME),
            ("gat of a word", "gat soon h:k", EXPTIME), ("gat of nothing", "gat", "ERROR"),
            ("delete with a time", "delete h:k 5", FORMAT),
            ("delete with garbage", "delete h:k 0 later", FORMAT),
            ("flush_all of a word", "flush_all soon", EXPTIME),
            ("flush_all 2^64", "flush_all 18446744073709551616", EXPTIME),
            ("verbosity of nothing", "verbosity", "ERROR"),
            ("verbosity of a word", "verbosity loud", FORMAT),
            ("verbosity -1", "verbosity -1", FORMAT),
            ("verbosity 2^64", "verbosity 18446744073709551616", FORMAT),
            ("shutdown when it is not allowed", "shutdown", "ERROR..."),
            ("shutdown graceful when it is not allowed", "shutdown graceful", "ERROR..."),
            ("get of nothing", "get", "ERROR"), ("set of nothing", "set", "ERROR"),
            ("set with a word too many", "set h:k 0 0 2 noreply now", "ERROR"),
            ("upper case", "GET sentinel", "ERROR"),
            ("a verb of 8000", "v" * 8000, "ERROR"),
            ("format characters", "%s%n%x%s%n " * 100, "ERROR"),
            ("format characters in stats", "stats %s%n%x", "..."),
            ("stats of 8000", "stats " + "s" * 8000, "..."),
            ("a path upwards", "stats ../../../../etc/passwd", "...")]
    for name, line, answer in rows:
        yield Row(name, line + "\r\n", [answer], OPEN)
    yield Row("quit with garbage", "quit now or never\r\nversion\r\n", [], CLOSED)
    yield Row("quit in the middle", "mn\r\nquit\r\nmn\r\nset h:k 0 0 1\r\n", ["MN"], CLOSED)


STRANGERS = [
    ("HTTP", b"GET / HTTP/1.1\r\nHost: shop\r\nAccept: */*\r\n\r\n", [], CLOSED),
    ("HTTP POST", b"POST /cart HTTP/1.0\r\nContent-Length: 4\r\n\r\nflow\r\n", [], CLOSED),
    ("SMTP", b"EHLO mail.example.org\r\nMAIL FROM:<a@b.c>\r\nQUIT\r\n", ["ERROR"] * 3, OPEN),
    ("SSH", b"SSH-2.0-OpenSSH_9.2\r\n\0\0\1\x14\7\x14" + b"\xaa" * 16 + b"\r\n", ["ERROR"] * 2,
     OPEN),
    ("redis", b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n", ["ERROR"] * 7, OPEN),
    ("a TLS hello", b"\x16\x03\x01\0\xa5\1\0\0\xa1\3\3" + bytes(range(11, 43)) + b"\r\n", ["ERROR"],
     OPEN),
    ("a TLS hello and nothing more", b"\x16\x03\x01\0\xa5\1\0\0\xa1\3\3" + b"\xab" * 160, [],
     HUNGRY),
    ("PostgreSQL", b"\0\0\0\x08\x04\xd2\x16\x2f", [], HUNGRY),
    ("PROXY protocol", b"PROXY TCP4 192.0.2.1 192.0.2.2 4 5\r\n", ["ERROR"], OPEN),
    ("PROXY protocol 2", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", ["ERROR"] * 4, HUNGRY),
    ("a response's magic", b"\x81" + b"\0" * 23, [], HUNGRY),
    ("a response's magic and a line end", b"\x81" + b"\0" * 23 + b"\n", ["ERROR"], OPEN),
    ("binary inside text", b"mn\r\n\x80\0\0\1" + b"\0" * 20 + b"\r\n", ["MN", "ERROR"], OPEN),
]

BASE64 = "CLIENT_ERROR error decoding key"
META = [
    ("base64 of other letters", "mg !!! b", BASE64), ("base64 cut short", "mg YWJ b", BASE64),
    ("base64 with more behind", "mg YQ==YQ== b", BASE64),
    ("base64 of padding", "mg ==== b", BASE64),
    ("base64 with bits too many", "mg YR== b", BASE64),
    ("base64 in an me", "me !!! b", FORMAT),
    ("base64 in an md", "md !!! b", "CLIENT_ERROR invalid or duplicate flag"),
    ("base64 of a key over 250 bytes is no key", "mg " + "YWFh" * 63 + " b", FORMAT),
    ("an opaque of 31", "mg h:none O" + "o" * 31, "EN O" + "o" * 31),
    ("an opaque of 32", "mg h:none O" + "o" * 32, "CLIENT_ERROR opaque token too long"),
    ("an opaque of 4000", "mg h:none O" + "o" * 4000, "CLIENT_ERROR opaque token too long"),
    ("3000 flags of mg", "mg h:none" + " v" * 3000, "CLIENT_ERROR options flags are too long"),
    ("3000 flags of md", "md h:none" + " q" * 3000, "CLIENT_ERROR options flags too long"),
    ("18 flags", "mg h:none" + " v" * 18, "CLIENT_ERROR options flags are too long"),
    ("5000 flags are too long a line", "mg h:none" + " v" * 5000, TOO_LONG),
    ("a flag twice", "mg h:none v v", "CLIENT_ERROR duplicate flag"),
    ("mg without a key", "mg", "ERROR"), ("me without a key", "me", FORMAT),
    ("ms without a length", "ms h:k", FORMAT),
    ("ms with a flag for a length", "ms h:k T0 S2", FORMAT),
    ("mn with more", "mn " + "x" * 4000, "MN"),
    ("a time of 2^63", "mg h:none T9223372036854775808",
     "CLIENT_ERROR bad token in command line format"),
    ("a cas of 2^64", "md h:none C18446744073709551616", "CLIENT_ERROR invalid or duplicate flag"),
    ("a delta below zero", "ma h:none D-1", "CLIENT_ERROR invalid or duplicate flag"),
    ("a mode of ma that is none", "ma h:none MX", "CLIENT_ERROR invalid mode for ma M token"),
    ("a mode of two letters", "mg h:none MII", "CLIENT_ERROR incorrect length for M token"),
]


def big_cart(text):
    return f"set cart:h 0 0 {len(text)}\r\n".encode() + text + b"\r\n"


def line_doc(text):
    return f"set cart:h/SKU 0 0 {len(text)}\r\n".encode() + text + b"\r\n"


CART_LINES = [
    ("a line key of 128", "cset cart:h " + "l" * 128 + " 0", "HD"),
    ("a line key of 129", "cset cart:h " + "l" * 129 + " 0", "CLIENT_ERROR BAD_LINE..."),
    ("a line key of 8000", "cset cart:h " + "l" * 8000 + " 0", "CLIENT_ERROR BAD_LINE..."),
    ("a line key with DEL", "cset cart:h l\x7f 0", "CLIENT_ERROR BAD_LINE..."),
    ("a cart key of 250", "cget cart:" + "c" * 245, "EN"),
    ("a cart key of 251", "cget cart:" + "c" * 246, FORMAT),
    ("a cart key with a path", "cget cart:h/x", "CLIENT_ERROR BAD_CART..."),
    ("a cart key with a control character", "cget cart:\x01", "CLIENT_ERROR BAD_CART..."),
    ("a cart key in bad base64", "cget !!! b", "CLIENT_ERROR BAD_CART..."),
    ("a cart key in base64 with a control character", "cget Y2FydDoB b",
     "CLIENT_ERROR BAD_CART..."),
    ("a token of 32", "cset cart:h SKU 0 I" + "t" * 32, "HD..."),
    ("a token of 33", "cset cart:h SKU 0 I" + "t" * 33, "CLIENT_ERROR BAD_FLAG..."),
    ("an opaque of 33", "cget cart:h O" + "o" * 33, "CLIENT_ERROR BAD_FLAG..."),
    ("a cas of 2^64", "cset cart:h SKU 1 V18446744073709551616", "CLIENT_ERROR BAD_FLAG..."),
    ("a price of 2^63", "cset cart:h SKU 1 P9223372036854775808", "CLIENT_ERROR BAD_FLAG..."),
    ("a life of 2^32", "cset cart:h SKU 1 T4294967296", "CLIENT_ERROR BAD_FLAG..."),
    ("a life below zero", "cset cart:h SKU 1 T-1", "CLIENT_ERROR BAD_FLAG..."),
    ("a shop of 33", "cset cart:h SKU 1 G" + "g" * 33, "CLIENT_ERROR BAD_FLAG..."),
    ("an ext cut short", "cset cart:h SKU 1 EYWJ", "CLIENT_ERROR BAD_FLAG..."),
    ("an ext with spaces escaped", "cset cart:h SKU 1 E%20", "CLIENT_ERROR BAD_FLAG..."),
    ("an ext over the limit", "cset cart:h SKU 1 E" + "YWFh" * 171, "CLIENT_ERROR SIZE_LIMIT..."),
    ("1000 flags", "cset cart:h SKU 1" + " v" * 1000, "CLIENT_ERROR BAD_FLAG..."),
    ("5000 flags are too long a line", "cset cart:h SKU 1" + " v" * 5000, TOO_LONG),
    ("a version of a word", "cget cart:h Nnone", "CLIENT_ERROR BAD_FLAG..."),
    ("incr of a path over the limit", "incr cart:h/SKU/qty 18446744073709551615",
     "CLIENT_ERROR BAD_QTY..."),
    ("a path of escapes", "get cart:h/" + "%2F" * 60, "END"),
    ("a path with a bad escape", "incr cart:h/%zz/qty 1", "CLIENT_ERROR..."),
    ("a path with an escape cut short", "incr cart:h/a%2/qty 1", "CLIENT_ERROR..."),
]
BAD_QTYS = ["1.5", "0x1", "1e3", "+1", "--1", "-", "2147483648", "-2147483649", "9" * 20,
            "9" * 4000,
            "1_0", "one", "\x7f", "\xb2", "1,0", "NaN"]
BAD_DOCS = [
    ("1 MB of [", b"[" * 1000000), ("1 MB of {\"a\":", b'{"a":' * 200000),
    ("1 MB of [ inside", b'{"lines":' + b"[" * 1000000),
    ("a document of NULs", b"\0" * 1000), ("a NUL behind the document", b'{"lines":[]}\0'),
    ("a NUL in a text", b'{"lines":[{"line":"a\0b","qty":1}]}'),
    ("invalid UTF-8", b'{"lines":[{"line":"\xc3\x28","qty":1}]}'),
    ("overlong UTF-8", b'{"lines":[{"line":"\xc0\xaf","qty":1}]}'),
    ("half a surrogate", b'{"lines":[{"line":"\\ud800","qty":1}]}'),
    ("a member twice", b'{"lines":[],"lines":[]}'), ("a BOM", b'\xef\xbb\xbf{"lines":[]}'),
    ("a huge qty", b'{"lines":[{"line":"a","qty":' + b"9" * 100000 + b"}]}"),
    ("a qty of 1e400", b'{"lines":[{"line":"a","qty":1e400}]}'),
    ("a qty below zero", b'{"lines":[{"line":"a","qty":-1}]}'),
    ("a price of 2^63", b'{"lines":[{"line":"a","qty":1,"price":9223372036854775808}]}'),
    ("a price below zero", b'{"lines":[{"line":"a","qty":1,"price":-1}]}'),
    ("an empty line key", b'{"lines":[{"line":"","qty":1}]}'),
    ("a line key of 129", b'{"lines":[{"line":"' + b"l" * 129 + b'","qty":1}]}'),
    ("a line key with a line end", b'{"lines":[{"line":"a\\r\\nb","qty":1}]}'),
    ("a line twice", b'{"lines":[{"line":"a","qty":1},{"line":"a","qty":1}]}'),
    ("an ext of 1 MB", b'{"lines":[{"line":"a","qty":1,"ext":"' + b"e" * 1000000 + b'"}]}'),
    ("bad base64", b'{"lines":[{"line_b64":"!","qty":1}]}'),
    ("25,000 lines", b'{"lines":[' + b",".join(b'{"line":"%d","qty":1}' % i for i in range(25000))
     + b"]}"),
    ("400,000 numbers for lines", b'{"lines":[' + b"0," * 400000 + b"0]}"),
    ("90,000 members", b"{" + b",".join(b'"%d":0' % i for i in range(90000)) + b"}"),
    ("a document that is a text", b'"' + b"\\u0041" * 150000 + b'"'),
]


def cart_rows():
    for name, line, answer in CART_LINES:
        yield Row("cart: " + name, line + "\r\n", [answer], OPEN)
    for qty in BAD_QTYS:
        for verb in ("cadd", "cset"):
            yield Row(f"{verb} qty {shown(qty)}", f"{verb} cart:h SKU {qty}\r\n",
                      ["CLIENT_ERROR BAD_QTY..."], OPEN)
    for name, doc in BAD_DOCS:
        yield Row("cart document: " + name, big_cart(doc), ["CLIENT_ERROR ..."], OPEN)
        if len(doc) < 10000:
            yield Row("line document: " + name, line_doc(doc), ["CLIENT_ERROR ..."], OPEN)


def text_rows():
    yield from length_rows()
    yield from line_end_rows()
    yield from nul_rows()
    yield from key_rows()
    yield from argument_rows()
    yield from (Row("a stranger: " + name, *row) for name, *row in STRANGERS)
    yield from (Row("meta: " + name, line + "\r\n", [answer], OPEN) for name, line, answer in META)
    yield from cart_rows()


def as_bytes(sends):
    return sends.encode("latin-1") if isinstance(sends, str) else sends


# ---- binary --------------------------------------------------------------------------------------

GET, SET, ADD, INCR, QUIT, NOOP, VERSION, STAT = 0x00, 0x01, 0x02, 0x05, 0x07, 0x0a, 0x0b, 0x10
OK, TOO_LARGE_03, INVALID, UNKNOWN = 0x00, 0x03, 0x04, 0x81
HEADER = struct.Struct(">BBHBBHIIQ")
OPAQUE, PROBE_OPAQUE = 0x01020304, 0xfeedf00d

Frame = namedtuple("Frame", "opcode status opaque cas extras key value")


def header(opcode, key, extras, body, *, magic=0x80, datatype=0, vbucket=0, opaque=OPAQUE, cas=0):
    return HEADER.pack(magic, opcode, key, extras, datatype, vbucket, body, opaque, cas)


def frame(opcode, key=b"", value=b"", extras=b"", **more):
    return header(opcode, len(key), len(extras), len(extras) + len(key) + len(value), **more) \
        + extras + key + value


def set_frame(key, value, **more):
    return frame(SET, key, value, bytes(8), **more)


NOOP_PROBE = frame(NOOP, opaque=PROBE_OPAQUE)


def frames_of(data):
    """Response frames; an error when the bytes are anything else."""
    found = []
    while data:
        assert len(data) >= HEADER.size, f"{data!r} is no frame"
        magic, opcode, key, extras, datatype, status, body, opaque, cas = HEADER.unpack_from(data)
        assert (magic, datatype) == (0x81, 0) and extras + key <= body, data[:HEADER.size]
        end = HEADER.size + body
        assert len(data) >= end, f"{len(data)} of {end} bytes"
        at = HEADER.size + extras
        found.append(Frame(opcode, status, opaque, cas, data[HEADER.size:at], data[at:at + key],
                           data[at + key:end]))
        data = data[end:]
    return found


GIB = 1 << 30
BINARY_ROWS = [
    Row("binary: key longer than body", header(GET, 10, 0, 3) + b"abc", [(GET, UNKNOWN)], CLOSED),
    Row("binary: extras longer than body", header(SET, 0, 8, 3) + b"abc", [(SET, UNKNOWN)], CLOSED),
    Row("binary: key and extras longer than body", header(SET, 6, 8, 10) + b"x" * 10,
        [(SET, UNKNOWN)], CLOSED),
    Row("binary: all lengths at their limit", header(SET, 0xffff, 0xff, 0xffffffff),
        [(SET, INVALID)], CLOSED),
    Row("binary: key and extras at their limit, no body", header(SET, 0xffff, 0xff, 0),
        [(SET, UNKNOWN)], CLOSED),
    Row("binary: a sum that passes 16 bits", header(GET, 0xffff, 1, 0), [(GET, UNKNOWN)], CLOSED),
    Row("binary: a sum that is a body of 0xff", header(GET, 1, 0xff, 0xff) + b"x" * 255,
        [(GET, UNKNOWN)], CLOSED),
    Row("binary: key of 250", frame(GET, b"k" * 250), [(GET, 1)], OPEN),
    Row("binary: key of 251", frame(GET, b"k" * 251), [(GET, INVALID)], CLOSED),
    Row("binary: key of 65535", frame(GET, b"k" * 65535), [(GET, INVALID)], CLOSED),
    Row("binary: get without a key", frame(GET), [(GET, INVALID)], CLOSED),
    Row("binary: get with extras", frame(GET, b"k", extras=b"1234"), [(GET, INVALID)], CLOSED),
    Row("binary: get with a value", frame(GET, b"k", b"v"), [(GET, INVALID)], CLOSED),
    Row("binary: get with 1 GiB", header(GET, 1, 0, GIB) + b"k", [(GET, INVALID)], CLOSED),
    Row("binary: set without extras", frame(SET, b"k", b"v"), [(SET, INVALID)], CLOSED),
    Row("binary: set with 7 extras", frame(SET, b"k", b"v", bytes(7)), [(SET, INVALID)], CLOSED),
    Row("binary: set with 255 extras", frame(SET, b"k", b"v", bytes(255)), [(SET, INVALID)],
        CLOSED),
    Row("binary: set without a key", frame(SET, b"", b"v", bytes(8)), [(SET, INVALID)], CLOSED),
    Row("binary: incr with 19 extras", frame(INCR, b"k", b"", bytes(19)), [(INCR, INVALID)],
        CLOSED),
    Row("binary: incr with a value", frame(INCR, b"k", b"v", bytes(20)), [(INCR, INVALID)], CLOSED),
    Row("binary: noop with a body", frame(NOOP, b"", b"v"), [(NOOP, INVALID)], CLOSED),
    Row("binary: version with a key", frame(VERSION, b"k"), [(VERSION, INVALID)], CLOSED),
    Row("binary: stat with a key of 251", frame(STAT, b"s" * 251), [(STAT, INVALID)], CLOSED),
    Row("binary: quit", frame(QUIT) + frame(NOOP), [(QUIT, OK)], CLOSED),
    Row("binary: quit with a body", frame(QUIT, b"", b"now"), [(QUIT, INVALID)], CLOSED),
    Row("binary: set of 1 GiB", header(SET, 1, 8, GIB) + bytes(8) + b"k", [(SET, TOO_LARGE_03)],
        HUNGRY),
    Row("binary: set of 1 GiB, the key never comes", header(SET, 1, 8, GIB) + bytes(8), [], HUNGRY),
    Row("binary: set of 0xffffffff", header(SET, 1, 8, 0xffffffff) + bytes(8) + b"k" + b"v" * 9000,
        [(SET, TOO_LARGE_03)], HUNGRY),
    Row("binary: append of 0xffffffff", header(0x0e, 1, 0, 0xffffffff) + b"k" + b"v" * 9000,
        [(0x0e, TOO_LARGE_03)], HUNGRY),
    Row("binary: quiet set of 0xffffffff", header(0x11, 1, 8, 0xffffffff) + bytes(8) + b"k",
        [(0x11, TOO_LARGE_03)], HUNGRY),
    Row("binary: a value one over the limit is skipped",
        set_frame(b"h:k", b"v" * 1048577), [(SET, TOO_LARGE_03)], OPEN),
    Row("binary: an unknown opcode of 1 GiB", header(0x50, 0, 0, GIB) + b"x" * 9000,
        [(0x50, UNKNOWN)], HUNGRY),
    Row("binary: an unknown opcode of 0xffffffff", header(0x50, 0, 0, 0xffffffff),
        [(0x50, UNKNOWN)], HUNGRY),
    Row("binary: an unknown opcode with key, extras and value",
        frame(0x50, b"key", b"value", b"extra"), [(0x50, UNKNOWN)], OPEN),
    Row("binary: data type and vbucket are nobody's business",
        frame(NOOP, datatype=0xff, vbucket=0xffff), [(NOOP, OK)], OPEN),
    Row("binary: a cas of 2^64-1", set_frame(b"h:none", b"v", cas=(1 << 64) - 1), [(SET, 1)], OPEN),
    Row("binary: NULs and line ends in key and value",
        set_frame(b"h:\0\r\n \xff", b"\0\r\n") + frame(0x04, b"h:\0\r\n \xff"),
        [(SET, OK), (0x04, OK)], OPEN),
    Row("binary: a header cut short", header(NOOP, 0, 0, 0)[:23], [], HUNGRY),
    Row("binary: then a response's magic", frame(NOOP) + frame(NOOP, magic=0x81), [(NOOP, OK)],
        CLOSED),
    Row("binary: then text", frame(NOOP) + b"get sentinel\r\n", [(NOOP, OK)], CLOSED),
    Row("binary: then one byte of text", frame(NOOP) + b"g", [(NOOP, OK)], CLOSED),
    Row("binary: then NUL", frame(NOOP) + b"\0" * 24, [(NOOP, OK)], CLOSED),
    Row("binary: cart command without extras", frame(0xc0, b"cart:h", b"SKU"), [(0xc0, INVALID)],
        CLOSED),
    Row("binary: cart command without a key", frame(0xc0, b"", b"SKU", bytes(8)), [(0xc0, INVALID)],
        CLOSED),
    Row("binary: cart command with a line longer than its value",
        frame(0xc0, b"cart:h", b"S", struct.pack(">iHBB", 1, 0, 255, 0)), [(0xc0, 0xc1)], OPEN),
    Row("binary: cart command with a level that is none",
        frame(0xc0, b"cart:h", b"S", struct.pack(">iHBB", 1, 0, 1, 99)), [(0xc0, 0xc3)], OPEN),
    Row("binary: cart command with unknown bits",
        frame(0xc0, b"cart:h", b"S", struct.pack(">iHBB", 1, 0xffff, 1, 0)), [(0xc0, 0xc3)], OPEN),
    Row("binary: cart command with a field longer than its value",
        frame(0xc0, b"cart:h", b"SI\xff\xffx", struct.pack(">iHBB", 1, 0, 1, 0)), [(0xc0, 0xc3)],
        OPEN),
    Row("binary: cart command with half a field",
        frame(0xc0, b"cart:h", b"SI\0", struct.pack(">iHBB", 1, 0, 1, 0)), [(0xc0, 0xc3)], OPEN),
    Row("binary: cart command with an unknown field",
        frame(0xc0, b"cart:h", b"SZ\0\0", struct.pack(">iHBB", 1, 0, 1, 0)), [(0xc0, 0xc3)], OPEN),
    Row("binary: cart command with a price of 2^63",
        frame(0xc1, b"cart:h", b"SP\0\x08\x80" + bytes(7), struct.pack(">iHBB", 1, 0, 1, 0)),
        [(0xc1, 0xc3)], OPEN),
    Row("binary: cart command with a qty of -2^31",
        frame(0xc1, b"cart:h", b"S", struct.pack(">iHBB", -1 << 31, 0, 1, 0)), [(0xc1, 0xc2)],
        OPEN),
    Row("binary: cart command of 1 GiB", header(0xc0, 6, 8, GIB) + bytes(8) + b"cart:h",
        [(0xc0, TOO_LARGE_03)], HUNGRY),
]

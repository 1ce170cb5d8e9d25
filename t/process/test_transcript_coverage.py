"""What the transcripts of t/proto must hold: each command with each of its answers, each opcode
with each of its statuses, each error that a client can see. The tables here are those of
memcached's protocol documents; what the sources know must be in them, too."""
import re
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "t/proto"))

import differ_tables  # noqa: E402 pylint: disable=wrong-import-position
import replay  # noqa: E402 pylint: disable=wrong-import-position

FORMAT = "CLIENT_ERROR bad command line format"
CHUNK = "CLIENT_ERROR bad data chunk"
LARGE = "SERVER_ERROR object too large for cache"
EXPTIME = "CLIENT_ERROR invalid exptime argument"
DELTA = "CLIENT_ERROR invalid numeric delta argument"
NON_NUMERIC = "CLIENT_ERROR cannot increment or decrement non-numeric value"
OPAQUE = "CLIENT_ERROR opaque token too long"
EITHER = "CLIENT_ERROR invalid or duplicate flag"
DENIED = "CLIENT_ERROR unauthenticated"
NOTHING = None  # the command is sent with noreply, or q

STORAGE = ["STORED", "ERROR", FORMAT, CHUNK, LARGE, NOTHING]
CLASSIC = {
    "get": ["VALUE", "END", "ERROR", FORMAT, DENIED], "bget": ["VALUE", "END"],
    "gets": ["VALUE", "END", "ERROR", FORMAT],
    "gat": ["VALUE", "END", "ERROR", FORMAT, EXPTIME],
    "gats": ["VALUE", "END", "ERROR", FORMAT, EXPTIME],
    "set": [*STORAGE, DENIED, "CLIENT_ERROR authentication failure",
            "CLIENT_ERROR bad authentication token format",
            "CLIENT_ERROR bad command line termination"],
    "add": [*STORAGE, "NOT_STORED"], "replace": [*STORAGE, "NOT_STORED"],
    "append": [*STORAGE, "NOT_STORED"], "prepend": [*STORAGE, "NOT_STORED"],
    "cas": [*STORAGE, "EXISTS", "NOT_FOUND"],
    "delete": ["DELETED", "NOT_FOUND", "ERROR", FORMAT, NOTHING],
    "incr": [r"\d+", "NOT_FOUND", "ERROR", FORMAT, DELTA, NON_NUMERIC, NOTHING],
    "decr": [r"\d+", "NOT_FOUND", "ERROR", FORMAT, DELTA, NON_NUMERIC, NOTHING],
    "touch": ["TOUCHED", "NOT_FOUND", "ERROR", FORMAT, EXPTIME, NOTHING],
    "flush_all": ["OK", "ERROR", EXPTIME, "CLIENT_ERROR flush_all not allowed", NOTHING],
    "version": ["VERSION"], "verbosity": ["OK", "ERROR", FORMAT, NOTHING],
    "stats": ["STAT|END", "RESET", "OK", "ERROR", "CLIENT_ERROR stats cachedump not allowed"],
    "cache_memlimit": ["OK", "ERROR", "MEMLIMIT_TOO_SMALL", "MEMLIMIT_ADJUST_FAILED", NOTHING],
    "shutdown": ["ERROR: shutdown not enabled", "CLIENT_ERROR invalid shutdown mode"],
    "refresh_certs": ["Error TLS not enabled|ERROR"],
    "lru_crawler": ["OK", "ERROR", "BADCLASS", FORMAT, "ERROR metadump not allowed"],
    "lru": ["OK", "ERROR", NOTHING], "slabs": ["OK", "ERROR", FORMAT],
    "watch": ["ERROR", "WATCHER_FAILED"],
    "quit": [NOTHING],
    "cwait": ["HD", "NS", "ERROR", FORMAT, "CLIENT_ERROR BAD_CART"],  # cartd's own, in classic form
    "tiers": ["STAT", "SERVER_ERROR", "ERROR", FORMAT],
}
META = {
    "mn": ["MN"],
    "mg": ["HD", "VA", "EN", "ERROR", FORMAT, OPAQUE, "CLIENT_ERROR invalid flag",
           "CLIENT_ERROR duplicate flag", "CLIENT_ERROR error decoding key",
           "CLIENT_ERROR bad token in command line format",
           "CLIENT_ERROR invalid numeric delta value",
           "CLIENT_ERROR invalid numeric initial value",
           "CLIENT_ERROR incorrect length for M token",
           "CLIENT_ERROR options flags are too long", r"\S+.* W", r"\S+.* Z", r"\S+.* X", NOTHING],
    "ms": ["HD", "NS", "EX", "NF", "ERROR", FORMAT, OPAQUE, CHUNK, LARGE,
           "CLIENT_ERROR invalid flag", "CLIENT_ERROR duplicate flag",
           "CLIENT_ERROR error decoding key", "CLIENT_ERROR bad token in command line format",
           "CLIENT_ERROR incorrect length for M token",
           "CLIENT_ERROR invalid mode for ms M token", "CLIENT_ERROR options flags too long",
           NOTHING],
    "md": ["HD", "NF", "EX", "ERROR", FORMAT, OPAQUE, EITHER,
           "CLIENT_ERROR options flags too long", NOTHING],
    "ma": ["HD", "VA", "NF", "EX", "ERROR", FORMAT, OPAQUE, EITHER, NON_NUMERIC,
           "CLIENT_ERROR invalid mode for ma M token", "CLIENT_ERROR options flags too long",
           NOTHING],
    "me": ["ME", "EN", FORMAT],
}
META_FLAGS = {  # memcached's protocol.txt, 1.6.42
    "mg": "bcfhklOqstvENRTuC", "ms": "bcCEFIkOqsTMN", "md": "bCEIkOqTx", "ma": "bCENJDTMOqtcvk",
}
META_MODES = {"ms": "EAPRS", "ma": "ID+-"}
CART_CHANGE = ["HD", "EX", r"HD .*\bR", "CLIENT_ERROR BAD_CART", "CLIENT_ERROR BAD_FLAG", FORMAT,
               NOTHING]
CART = {  # t/proto/cart_*.txt
    **{verb: CART_CHANGE for verb in ("cadd", "cset", "crem", "cclr", "cmrg")},
    "cchk": [*CART_CHANGE, "NF", "CLIENT_ERROR BAD_QTY"], "cswp": [*CART_CHANGE, "NF"],
    "cbat": [*CART_CHANGE, r"NF i\d+", r"CLIENT_ERROR QTY_LIMIT .* i\d+",
             r"CLIENT_ERROR CURRENCY .* i\d+", r"CLIENT_ERROR BAD_QTY .* i\d+",
             "SERVER_ERROR NOT_SAFE", "CLIENT_ERROR TOKEN_REUSED", CHUNK],
    "cget": ["VA", "EN", "HD", "CLIENT_ERROR BAD_CART", "CLIENT_ERROR BAD_FLAG", FORMAT],
    "cdel": ["HD", "NF", "EX"], "chst": ["VA", "EN"],
}

CART_STATUSES = {  # beside 00, of the loud and the quiet form together
    "cadd": {0xc1, 0xc3, 0xc6}, "cset": set(), "crem": {2, 0xc3}, "cchk": {1, 0xc1, 0xc2},
    "cswp": {1, 0xc1, 0xc2}, "cclr": {0xc1, 0xc3}, "cmrg": {0xc0, 0xc3},
    "cbat": {1, 2, 4, 0x86, 0xc3}, "cget": {1, 0xc0}, "cdel": {1}, "chst": {1},
}

OK, MISS, EXISTS, TOO_LARGE, INVALID, NOT_STORED, NON_NUMBER = range(7)
REFUSED, GO_ON, UNKNOWN = 0x20, 0x21, 0x81
SET_STATUSES = {MISS, EXISTS, TOO_LARGE, INVALID}
JOIN_STATUSES = {EXISTS, TOO_LARGE, INVALID, NOT_STORED}
ARITH_STATUSES = {MISS, EXISTS, INVALID, NON_NUMBER}
DELETE_STATUSES = {MISS, EXISTS, INVALID}
BINARY = {
    **{name: {OK, MISS, INVALID} for name in "get getk touch gat gatk".split()},
    **{name: {OK, INVALID} for name in "getq getkq gatq gatkq".split()},
    **{name: SET_STATUSES | {OK} for name in ("set", "add", "replace")},
    **{name: SET_STATUSES for name in ("setq", "addq", "replaceq")},
    **{name: JOIN_STATUSES | {OK} for name in ("append", "prepend")},
    **{name: JOIN_STATUSES for name in ("appendq", "prependq")},
    **{name: ARITH_STATUSES | {OK} for name in ("incr", "decr")},
    **{name: ARITH_STATUSES for name in ("incrq", "decrq")},
    "delete": DELETE_STATUSES | {OK}, "deleteq": DELETE_STATUSES,
    "quit": {OK, INVALID}, "quitq": {INVALID}, "noop": {OK, INVALID, REFUSED},
    "version": {OK, INVALID}, "stat": {OK, MISS, INVALID, REFUSED}, "verbosity": {OK, INVALID},
    "flush": {OK, INVALID, REFUSED}, "flushq": {INVALID, REFUSED},
    "sasl-list": {OK, INVALID, UNKNOWN}, "sasl-auth": {OK, INVALID, REFUSED, GO_ON, UNKNOWN},
    "sasl-step": {OK, INVALID, REFUSED, UNKNOWN},
}
QUIET = [name for name in BINARY if name.endswith("q")]  # silent in some case

# Errors that no transcript can show, and where they are tested instead.
UNSEEN = {
    "NOMEM": "cart_nomem_test.c", "STORE_NOMEM": "test_memory.py", "DENIED": "test_auth.py",
    "UDP_TOO_LARGE": "test_udp.py", "IO": "journal_test.c", "NODISK": "journal_crash_test.c",
    "NOACCESS": "base_test.c", "CORRUPT": "l2_test.c", "DB": "l3_failure_test.c",
    "BUSY": "guard_test.c", "STOPPED": "journal_test.c", "FROZEN": "no command does that",
}


# ---- what there is -------------------------------------------------------------------------------

def all_cases():
    for path in sorted((TOP / "t/proto").glob("*.txt")):
        yield from replay.read_cases(path)


def text_of(lines):
    return [line[4:] for _, line in lines]


def all_exchanges():
    """([request lines], [reply lines]) of all cases, as they stand in the files."""
    for case in all_cases():
        for exchange in case.exchanges:
            yield text_of(exchange.request), text_of(exchange.reply)


EXCHANGES = list(all_exchanges())
REPLIES = {line for _, reply in EXCHANGES for line in reply}


def verb_of(line):
    return line.lstrip(" ").split(" ")[0].removesuffix("\\")


def is_silent(verb, line):
    quiet = "q" if verb in META or verb in CART else "noreply"
    return verb_of(line) == verb and (verb == "quit" or quiet in line.split(" ")[1:])


def has_answer(verb, answer):
    if answer is NOTHING:
        return any(is_silent(verb, line) for request, _ in EXCHANGES for line in request)
    return any(re.match(rf"(?:{answer})( |$|\$)", line)
               for request, reply in EXCHANGES if verb in map(verb_of, request)
               for line in reply)


def source(name):
    return (TOP / name).read_text(encoding="utf-8")


def frames(lines, mark):
    """(name, status) of the frames among the lines of a case."""
    for _, line in lines:
        if line.startswith(mark + "bin "):
            words = line.split()
            status = [word[2:] for word in words if word.startswith("s=")]
            yield words[1], int(status[0], 16) if status else 0


BINARY_SENT = {name for case in all_cases() for exchange in case.exchanges
               for name, _ in frames(exchange.request, ">>>")}
BINARY_TOLD = {pair for case in all_cases() for exchange in case.exchanges
               for pair in frames(exchange.reply, "<<<")}


def is_quiet(name):
    """Whether it was sent more often than it was answered."""
    for case in all_cases():
        for exchange in case.exchanges:
            sent = [word for word, _ in frames(exchange.request, ">>>")]
            told = [word for word, _ in frames(exchange.reply, "<<<")]
            if sent.count(name) > told.count(name):
                return True
    return False


# ---- text ----------------------------------------------------------------------------------------

@pytest.mark.parametrize("verb", [*CLASSIC, *META, *CART])
def test_every_answer_of_a_command_is_shown(verb):
    answers = {**CLASSIC, **META, **CART}[verb]
    missing = [answer for answer in answers if not has_answer(verb, answer)]
    assert not missing


def test_every_command_of_the_parser_is_in_the_table():
    verbs = set(re.findall(r'\{NAME\("(\w+)"\), VERB_', source("src/proto/text_parse.c")))
    assert verbs and verbs - set(CART) == set(CLASSIC)
    assert set(CART) <= {verb_of(line) for request, _ in EXCHANGES for line in request}


@pytest.mark.parametrize("verb", META_FLAGS)
def test_every_flag_of_a_meta_command_is_shown(verb):
    words = [word for request, _ in EXCHANGES for line in request if verb_of(line) == verb
             for word in line.split(" ")[2:]]
    assert set(META_FLAGS[verb]) <= {word[:1] for word in words}
    assert set(META_MODES.get(verb, "")) <= {word[1] for word in words if re.match(r"M.$", word)}


@pytest.mark.parametrize("name, wire", re.findall(
    r'X\((\w+),\s*"[^"]*",\s*"([^"]*)"\)', source("src/base/err.h")))
def test_every_error_is_shown(name, wire):
    shown = any(line == wire or line.startswith((wire + " ", wire + "$")) for line in REPLIES)
    assert shown != (name in UNSEEN), wire


@pytest.mark.parametrize("name, wire", re.findall(
    r'X\((\w+),\s*"([^"]*)"\)', source("src/proto/proto.h")))
def test_every_fault_of_a_meta_command_is_shown(name, wire):
    assert wire in REPLIES, name


# ---- binary --------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", BINARY)
def test_every_status_of_an_opcode_is_shown(name):
    assert not {status for status in BINARY[name] if (name, status) not in BINARY_TOLD}


@pytest.mark.parametrize("name", QUIET)
def test_a_quiet_opcode_is_quiet(name):
    assert is_quiet(name)


@pytest.mark.parametrize("name", CART)
def test_every_status_of_a_cart_opcode_is_shown(name):
    told = {status for verb, status in BINARY_TOLD if verb in (name, name + "q")}
    assert CART_STATUSES[name] | (set() if name == "chst" else {OK}) <= told
    assert is_quiet(name + "q")


def test_every_opcode_of_the_parser_is_in_the_table():
    codes = {int(code, 16) for code in
             re.findall(r"\[0x([0-9a-f]{2})\] = ", source("src/proto/binary_parse.c"))}
    carts = {code for code in codes if code >= 0xc0}
    names = {code: name for name, code in replay.OPCODES.items()}
    assert carts and codes - carts == {replay.OPCODES[name] for name in BINARY}
    assert {names[code] for code in carts} <= BINARY_SENT
    assert (names.get(0x25, "25"), UNKNOWN) in BINARY_TOLD


# ---- the document --------------------------------------------------------------------------------

def differences():
    """The first column of the table in the document."""
    text = source("doc/protocol-memcached.md")
    table = text[text.index("\n## Differences"):]
    rows = re.findall(r"^\| ([^|]*[^| ]) +\|.*\|$", table, re.M)
    assert rows[0] == "what" and len(rows) > 20
    return set(rows[1:])


def test_what_the_random_requests_leave_out_is_in_the_document():
    assert not set(differ_tables.INTENDED) - differences()

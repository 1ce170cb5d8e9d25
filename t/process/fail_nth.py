"""fail_nth: the switch of a cartd_failing (t/lib/fail_nth.h): which of its calls fails."""
import errno
import mmap
import os
import random
import struct

from daemon import BUILD

PROGRAM = BUILD / "t/process/cartd_failing"
# How many of the calls of an entry point are tried, or all; FAULT_SEED draws the same again.
TRIES = os.environ.get("FAIL_NTH_TRIES", "all" if os.environ.get("LONG_TESTS") else "1")
SEED = int(os.environ.get("FAULT_SEED", str(random.SystemRandom().getrandbits(32))))
# `all` means so many: more are only SQLite's for memory, which t/unit/l3_fault_test goes through.
MOST = 400
KINDS = {name: 1 << bit for bit, name in enumerate(
    ("memory", "file", "thread", "socket", "l2", "sql_file", "sql_memory"))}
ALL = sum(KINDS.values())
NEVER = 1 << 60
CHANCE = random.Random(SEED)
LAYOUT = struct.Struct("<IIIIqQ32s32s32s")  # struct fail_nth


def text(raw):
    return raw.partition(b"\0")[0].decode()


class Faults:
    def __init__(self, path):
        path.write_bytes(bytes(LAYOUT.size))
        with open(path, "r+b") as file:
            self.bytes = mmap.mmap(file.fileno(), LAYOUT.size)

    def _write(self, armed, kinds, lasting, error, left, thread):
        # the switch itself is thrown last
        self.bytes[4:LAYOUT.size] = LAYOUT.pack(0, kinds, lasting, error, left, 0,
                                                thread.encode(), b"", b"")[4:]
        self.bytes[0] = armed

    def arm(self, kinds, nth, lasting=False, error=errno.EIO, thread=""):
        """The nth call of these kinds from now on fails, in threads whose name begins so."""
        self.bytes[0] = 0
        self._write(1, kinds, lasting, error, nth, thread)

    def disarm(self):
        """Nothing fails any more; how many calls did."""
        self.bytes[0] = 0
        return self.hits()

    def hits(self):
        return LAYOUT.unpack(self.bytes[:])[5]

    def calls(self):
        """How many there were since arm(NEVER)."""
        return NEVER - LAYOUT.unpack(self.bytes[:])[4]

    def last(self):
        fields = LAYOUT.unpack(self.bytes[:])
        return f"{text(fields[7])} in {text(fields[8])}"

    def count(self, kinds, call, thread=""):
        """How many calls of these kinds `call` makes."""
        self.arm(kinds, NEVER, thread=thread)
        call()
        self.disarm()
        return self.calls()


def each(count, most=MOST):
    """Numbers of calls to let fail, of so many: all of them, or a few that are drawn."""
    tries = min(count, most if TRIES == "all" else int(TRIES))
    return sorted(CHANCE.sample(range(1, count + 1), tries))

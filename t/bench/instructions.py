#!/usr/bin/python3
"""instructions: how many instructions an operation takes in cartd, exactly and repeatably.

usage: instructions.py [--write] [--cartd PATH] [--tools DIR]

cartd runs under valgrind's callgrind with one worker; the instructions of that thread are counted,
in the process and not in the kernel. A run with operations less a run without them, divided by
their number, is the count. It is compared with doc/bench/instructions.md: one that has grown by
more than 5 % fails. --write makes that file anew.
"""
import argparse
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from servers import Broken, Server, find_program

TOP = Path(__file__).resolve().parents[2]
FILE = TOP / "doc/bench/instructions.md"
GROWTH_MAX = 1.05
OPS = 16_000
KEYS = 500
DEPTH = 16

# work of `load`: what is asked
WORKS = {
    "get": "`get`, a hit of 100 bytes",
    "set": "`set` of 100 bytes",
    "cadd": "`cadd` to a cart of 10 lines, `--ack os`",
    "cadd-token": "the same with a token, each cart has 32 in the end",
    "cget": "`cget` of 10 lines as JSON",
}

# So that the C library picks the same memcpy, memchr and memcmp on every machine.
TUNABLES = "glibc.cpu.hwcaps=" + ",".join(
    f"-{name}" for name in ("AVX512F", "AVX512VL", "AVX512BW", "AVX2", "AVX", "BMI2", "RTM", "ERMS",
                            "FSRM", "SSE4_2", "SSSE3", "AVX_Fast_Unaligned_Load"))

TEXT = """\
# Instructions per operation

Counted by `make bench-instructions` (`t/bench/instructions.py`): all that the worker thread runs in
the process for one request, {depth} of them pipelined; the kernel, and what other threads do behind
the reply, are not in it. The counts are exact: two runs differ by less than 1 %. The check fails
when one grows by more than {growth} % against this file. Who makes something dearer on purpose
writes the file anew in the same commit: `make bench-instructions`.

Counts hold for one compiler, its options and one C library:
{built}.

| work | instructions | what |
|---|---|---|
"""


def built_with(cartd):
    """Compiler, options, C library and machine, as far as they decide the counts."""
    comment = subprocess.run(["readelf", "-p", ".comment", cartd], capture_output=True, text=True,
                             check=True).stdout
    compiler = " ".join(sorted(set(re.findall(r"(?:GCC:|clang version) .*", comment))))
    version = re.search(r"\d+\.\d+\.\d+$", compiler) or re.search(r"\d+\.\d+\.\d+", compiler)
    name = "clang" if "clang" in compiler else "gcc"
    flags = re.search(r"^CFLAGS = (.*)$", (cartd.parent / "Makefile").read_text(), re.M).group(1)
    return (f"{name} {version.group() if version else 'unknown'}, `{flags}`, "
            f"{' '.join(platform.libc_ver())}, {platform.machine()}")


# ---- counting ----------------------------------------------------------------------------------

class Counter:
    """Starts cartd under callgrind, once for each run, in a folder that goes with it."""

    def __init__(self, options, folder):
        self.folder = Path(folder)
        self.cartd = options.cartd
        self.load = options.tools / "load"
        self.pin_server = None
        self.before = [find_program("valgrind", None), "--tool=callgrind", "--separate-threads=yes",
                       f"--callgrind-out-file={folder}/out"]
        self.environment = {"GLIBC_TUNABLES": TUNABLES}

    def ask(self, server, work, *options):
        done = subprocess.run([str(part) for part in (
            self.load, "--port", server.port, "--protocol", "text", "--work", work, "--keys", KEYS,
            "--conns", 1, "--depth", DEPTH, *options)], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Broken(f"{work}: {done.stderr.strip()}")

    def run(self, work):
        """Instructions of the worker in a run that fills the server and then asks for `work`."""
        server = Server(self, "cartd-os")
        try:
            for filled in ("get", "cget"):
                self.ask(server, filled, "--preload")
            for asked in WORKS:  # also what is made once, for the first of its kind
                self.ask(server, asked, "--ops", OPS + DEPTH if asked == work else DEPTH)
        finally:
            server.stop()
        return self.take_total()

    def take_total(self):
        """What the thread that runs `run_worker` has used; callgrind writes a file per thread."""
        totals = []
        for path in sorted(self.folder.glob("out*")):
            text = path.read_text()
            if "run_worker" in text:
                totals.append(int(re.search(r"^totals: (\d+)", text, re.M).group(1)))
            path.unlink()
        if len(totals) != 1:
            raise Broken(f"{len(totals)} workers in what callgrind wrote, not one")
        return totals[0]


def count_all(options):
    """{work: instructions per operation}"""
    with tempfile.TemporaryDirectory(prefix="cartd-count-", dir=options.dir) as folder:
        counter = Counter(options, folder)
        rest = counter.run(None)
        return {work: round((counter.run(work) - rest) / OPS) for work in WORKS}


# ---- the file ----------------------------------------------------------------------------------

def write_file(counts, built):
    rows = "".join(f"| {work} | {counts[work]} | {what} |\n" for work, what in WORKS.items())
    FILE.write_text(TEXT.format(depth=DEPTH, growth=round(GROWTH_MAX * 100 - 100), built=built)
                    + rows)


def read_file():
    """({work: count}, what they hold for)"""
    text = FILE.read_text()
    counts = {work: int(count) for work, count in re.findall(r"^\| ([\w-]+) \| (\d+) ", text, re.M)}
    return counts, re.search(r"one C library:\n(.*)\.$", text, re.M).group(1)


def compare(counts, built):
    """Prints a line for each work; how many have grown."""
    known, known_built = read_file()
    comparable = built == known_built
    if not comparable:
        print(f"note: instructions per operation NOT compared: this is {built}, "
              f"{FILE.relative_to(TOP)} holds for {known_built}")
    grown = 0
    for work, count in counts.items():
        ratio = count / known[work]
        bad = comparable and ratio > GROWTH_MAX
        grown += bad
        print(f"{'FAILED' if bad else 'ok':6} {work:10} {count:7} of {known[work]:7}  {ratio:.3f}")
    if grown:
        print("dearer than the file says; on purpose? make bench-instructions")
    return grown


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--write", action="store_true", help="write the file anew")
    parser.add_argument("--dir", default="/var/tmp", help="for data (/var/tmp)")
    parser.add_argument("--cartd", type=Path, default=TOP / "build/cartd", help="the daemon")
    parser.add_argument("--tools", type=Path, default=TOP / "build/t/bench", help="where load is")
    options = parser.parse_args()
    options.cartd, options.tools = options.cartd.resolve(), options.tools.resolve()
    if not find_program("valgrind", None):
        raise SystemExit("instructions: no valgrind; install it")
    try:
        counts, built = count_all(options), built_with(options.cartd)
    except Broken as problem:
        print(f"instructions: {problem}\n0 passed, 1 failed")
        return 1
    if options.write:
        write_file(counts, built)
    grown = compare(counts, built)
    print(f"{len(counts) - grown} passed, {grown} failed")
    return 1 if grown else 0


if __name__ == "__main__":
    sys.exit(main())

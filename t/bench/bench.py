#!/usr/bin/python3
"""bench: cartd beside its peers, on the same cores, in the same run, in turns.

usage: bench.py [--quick] [--only NAME,NAME] [--tsv FILE] [--cartd PATH] [--tools DIR] ...
       bench.py --compare OLD.tsv NEW.tsv

What is measured and why ratios: README.md beside this file.
"""
import argparse
import csv
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import median

import rows as table
from chart import draw
from memory import run_hits, run_weights
from servers import TICKS, Broken, Server, find_program

TOP = Path(__file__).resolve().parents[2]
LOAD_SECONDS_MAX = 180
PRELOAD_SECONDS_MAX = 1200
SETTLE_SECONDS_MAX = 300
QUIET_SECONDS = 0.6
LOAD_AVERAGE_MAX = 0.5
KEYS = {"items": 100_000, "carts": 100_000, "steady carts": 200_000, "many": 10_000_000}
MANY_NEEDS_BYTES = 9 << 30

# How long things take. cpu: what a server is to use in a run; wall: no run is longer.
# part: of the keys and operations of the rows about memory.
FULL = {"rounds": 3, "warm": 1.0, "cpu": 2.5, "wall": 12.0, "part": 1, "steady": 60, "keys": KEYS}
QUICK = {"rounds": 2, "warm": 0.25, "cpu": 0.6, "wall": 1.2, "part": 0.2, "steady": 6,
         "keys": dict(KEYS, items=50_000, carts=20_000, many=1_000_000)}

COLUMNS = ("row server work depth round ops errors seconds ops_s p50_us p90_us p99_us p999_us "
           "max_us cpu_s cpu_us_op later_us_op total_us_op load_cpu_s bytes_key hit_ratio").split()


class Bench:
    """Where everything is, and the raw rows."""

    def __init__(self, options, folder):
        self.folder = folder
        self.pace = dict(QUICK if options.quick else FULL)
        self.pace["rounds"] = options.rounds or self.pace["rounds"]
        self.conns = options.conns
        self.value_bytes = options.value_bytes
        self.cart_lines = options.cart_lines
        self.keys = dict(self.pace["keys"])
        self.summary = []  # what the chart shows
        for kind in ("items", "carts"):
            self.keys[kind] = getattr(options, kind) or self.keys[kind]
        self.cartd = options.cartd
        self.load = options.tools / "load"
        self.null = options.tools / "null_server"
        self.memcached = find_program("memcached", options.memcached)
        self.redis = find_program("redis-server", options.redis)
        self.cores = sorted(os.sched_getaffinity(0))
        self.before = []  # words in front of a server's command
        self.environment = {}
        self.raw = []
        self.seed = 0
        self.broken = False

    def missing(self, server):
        """The program that a server needs and that is not there, or None."""
        name = server.partition("-")[0]
        path = getattr(self, name)
        return None if path and Path(path).exists() else name

    def pin_server(self):
        os.sched_setaffinity(0, self.cores[:1])

    def pin_load(self):
        os.sched_setaffinity(0, self.cores[-1:])

    def keys_of(self, row, side):
        return self.keys[side.keys or row.keys]

    def ask(self, server, side, *options, keys, patience=LOAD_SECONDS_MAX):
        """Runs the load generator; its row as a dictionary, None when it only preloaded."""
        command = [self.load, "--header", "--port", server.port, "--protocol", side.protocol,
                   "--work", side.work, "--conns", self.conns, "--keys", keys,
                   "--value-bytes", self.value_bytes, "--cart-lines", side.lines or self.cart_lines,
                   "--timeout-s", patience, *options]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True,
                              preexec_fn=self.pin_load, check=False)
        if done.returncode != 0:
            raise Broken(f"{server.name}: {done.stderr.strip()}")
        lines = done.stdout.splitlines()
        if not lines:
            return None
        return {name: value if name == "work" else float(value)
                for name, value in zip(lines[0].split("\t"), lines[1].split("\t"))}

    def next_seed(self):
        self.seed += 1
        return self.seed


# ---- one row -----------------------------------------------------------------------------------

def measure(bench, row, server, side, *how):
    """One run: what the generator saw, and what the server used for it meanwhile and later."""
    before = server.cpu_seconds()
    result = bench.ask(server, side, "--depth", row.depth, "--seed", bench.next_seed(), *how,
                       keys=bench.keys_of(row, side))
    after = server.cpu_seconds()
    if row.settle and not server.settle(QUIET_SECONDS, SETTLE_SECONDS_MAX):
        print(f"  {server.name} was still busy {SETTLE_SECONDS_MAX} s after the run", flush=True)
    result["cpu_s"] = max(after - before, 1 / TICKS)
    result["cpu_us_op"] = result["cpu_s"] / result["ops"] * 1e6
    result["later_us_op"] = (server.cpu_seconds() - after) / result["ops"] * 1e6
    result["total_us_op"] = result["cpu_us_op"] + result["later_us_op"]
    return result


def choose_length(bench, row, sides):
    """Options of load for each side: enough operations to make its server work for a while."""
    warm = [measure(bench, row, *side, "--seconds", bench.pace["warm"]) for side in sides]
    if row.rate:
        peak = min(run["ops_s"] for run in warm)
        return [["--rate", int(peak * row.rate), "--seconds", row.seconds] for _ in sides]
    if row.seconds:
        return [["--seconds", bench.pace["steady"]] for _ in sides]
    lengths = [min(bench.pace["cpu"] / run["cpu_us_op"] * 1e6,
                   bench.pace["wall"] * run["ops_s"]) for run in warm]
    return [["--ops", int(ops)] for ops in lengths]


def run_row(bench, row, sides):
    """Measures in turns; {server name: [result of each round]}."""
    lengths = choose_length(bench, row, sides)
    results = defaultdict(list)
    for turn in range(bench.pace["rounds"]):
        for (server, side), how in zip(sides, lengths):
            result = measure(bench, row, server, side, *how)
            result.update(row=row.name, server=server.name, depth=row.depth, round=turn + 1)
            bench.raw.append(result)
            results[server.name].append(result)
    return [results[server.name] for server, _ in sides]


def middle(results, column):
    return median(result[column] for result in results)


def print_heading():
    print(f"{'row':14}{'CPU us/op':>9}{'peer':>8}{'ratio':>7}{'target':>8}    "
          f"{'later':>6}{'peer':>6}   "
          f"{'kop/s':>7}{'peer':>7}   {'p50 us':>7}{'peer':>7}   {'p99 us':>7}{'peer':>7}   peer")


def print_row(bench, row, ours, peer):
    def cells(column, wide, digits, scale=1.0):
        other = f"{middle(peer, column) * scale:{wide}.{digits}f}" if peer else f"{'':{wide}}"
        return f"{middle(ours, column) * scale:{wide}.{digits}f}{other}"

    ratio, verdict = "", ""
    if peer:
        value = median(a[row.metric] / b[row.metric] for a, b in zip(ours, peer))
        ratio = f"{value:.2f}"
        bench.summary.append((row.name, row.peer.server, row.metric, value, row.target))
        if row.target:
            verdict = f"{row.target:.2f} {'ok' if value <= row.target else '--'}"
    cpu = "total_us_op" if row.metric == "total_us_op" else "cpu_us_op"
    print(f"{row.name:14}{cells(cpu, 9, 2)[:9]}{cells(cpu, 8, 2)[8:]:>8}{ratio:>7}{verdict:>8}    "
          f"{cells('later_us_op', 6, 2)}   {cells('ops_s', 7, 0, 1e-3)}   "
          f"{cells('p50_us', 7, 0)}   {cells('p99_us', 7, 0)}   "
          f"{row.peer.server if row.peer else ''}", flush=True)


# ---- the groups --------------------------------------------------------------------------------

def why_not(bench, side):
    """What this side needs and this machine has not, or None."""
    missing = bench.missing(side.server)
    if missing:
        return f"no {missing}"
    if side.keys == "many" and bench.keys["many"] == KEYS["many"]:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        if free < MANY_NEEDS_BYTES:
            return f"{KEYS['many']} keys need {MANY_NEEDS_BYTES >> 30} GiB of free memory"
    return None


def run_group(bench, group, rows):
    """Starts the two servers of a group, fills them, and measures its rows."""
    sides = [side for side in (rows[0].ours, rows[0].peer) if side]
    for side in sides:
        if why_not(bench, side):
            print(f"{group}: skipped, {why_not(bench, side)}")
            return
    running = []
    try:
        for side in sides:
            running.append((Server(bench, side.server), side))
        for server, side in running:
            bench.ask(server, side, "--preload", keys=bench.keys_of(rows[0], side),
                      patience=PRELOAD_SECONDS_MAX)
        for server, side in running:
            server.settle(QUIET_SECONDS, SETTLE_SECONDS_MAX)
        for row in rows:
            print_row(bench, row, *(run_row(bench, row, running) + [None])[:2])
    except Broken as problem:
        print(f"{group}: {problem}", flush=True)
        bench.broken = True
    finally:
        for server, _ in running:
            server.stop()


def group_rows(rows):
    """Rows that share their servers, in order."""
    groups = defaultdict(list)
    for row in rows:
        groups[row.group, row.ours, row.peer].append(row)
    return groups.items()


# ---- raw rows ----------------------------------------------------------------------------------

def write_tsv(path, raw):
    with open(path, "w", newline="", encoding="ascii") as out:
        writer = csv.DictWriter(out, COLUMNS, delimiter="\t", extrasaction="ignore")
        writer.writeheader()
        for result in raw:
            writer.writerow({name: f"{value:.6g}" if isinstance(value, float) else value
                             for name, value in result.items()})


def read_tsv(path):
    """{(row, server): [results]}"""
    results = defaultdict(list)
    with open(path, newline="", encoding="ascii") as source:
        for line in csv.DictReader(source, delimiter="\t"):
            result = {name: value if name in ("row", "server", "work") else float(value)
                      for name, value in line.items() if value}
            results[result["row"], result["server"]].append(result)
    return results


COMPARED = ("cpu_us_op", "total_us_op", "ops_s", "p99_us", "bytes_key", "hit_ratio")


def compare(old_path, new_path):
    """Each row of both runs; the peers show how much of a change is the machine."""
    old, new = read_tsv(old_path), read_tsv(new_path)
    print(f"{'row':16}{'server':18}{'of':10}{'old':>12}{'new':>12}{'ratio':>7}")
    for key in old:
        for column in COMPARED:
            if key not in new or column not in old[key][0] or column not in new[key][0]:
                continue
            before, after = middle(old[key], column), middle(new[key], column)
            ratio = f"{after / before:7.2f}" if before else ""
            print(f"{key[0]:16}{key[1]:18}{column:10}{before:12.6g}{after:12.6g}{ratio}")


# ---- the command -------------------------------------------------------------------------------

def filesystem_of(folder):
    """(kind, mount point) of the file system that a folder is on."""
    found = ("", "")
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, *_ = line.split()
        if Path(folder).resolve().is_relative_to(where) and len(where) >= len(found[1]):
            found = (kind, where)
    return found


def read_options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="short runs: about 90 s for the usual")
    parser.add_argument("--only", metavar="NAMES", help="groups or rows, separated by commas")
    parser.add_argument("--list", action="store_true", help="name all groups and rows")
    parser.add_argument("--rounds", type=int, help="turns of each row (3; quick 2)")
    parser.add_argument("--tsv", metavar="FILE", help="where to write the raw rows")
    parser.add_argument("--chart", type=Path, metavar="DIR", help="where to draw ratios.svg")
    parser.add_argument("--compare", nargs=2, metavar=("OLD", "NEW"), help="two files of raw rows")
    parser.add_argument("--conns", type=int, default=50)
    parser.add_argument("--value-bytes", type=int, default=100)
    parser.add_argument("--cart-lines", type=int, default=10)
    parser.add_argument("--items", type=int, help="how many (100000; quick 50000)")
    parser.add_argument("--carts", type=int, help="how many (100000; quick 20000)")
    parser.add_argument("--dir", default="/var/tmp", help="on a disk (/var/tmp)")
    parser.add_argument("--cartd", type=Path, default=TOP / "build/cartd", help="the daemon")
    parser.add_argument("--tools", type=Path, default=TOP / "build/t/bench",
                        help="where load and null_server are")
    parser.add_argument("--memcached", help="path of another one")
    parser.add_argument("--redis", help="path of another redis-server")
    return parser.parse_args()


def check_machine(options, bench):
    kind, where = filesystem_of(options.dir)
    if kind in ("tmpfs", "ramfs"):
        raise SystemExit(f"bench: {where} is in memory ({kind}); name one on a disk with --dir")
    if not bench.load.exists():
        raise SystemExit(f"bench: {bench.load} is not built; or say --tools DIR")
    if len(bench.cores) < 2:
        print("one core only: server and generator take turns on it; ratios still hold")
    average = os.getloadavg()[0]
    if average > LOAD_AVERAGE_MAX:
        print(f"load average is {average:.1f}: the machine is not quiet, so ratios wander")
    print(f"{bench.conns} connections, {bench.value_bytes}-byte values, "
          f"{bench.keys['items']} items, {bench.keys['carts']} carts of {bench.cart_lines} lines, "
          f"{bench.pace['rounds']} rounds, data on {kind}")


def main():
    options = read_options()
    if options.list:
        table.list_rows()
        return 0
    if options.compare:
        compare(*options.compare)
        return 0
    options.cartd, options.tools = options.cartd.resolve(), options.tools.resolve()
    rows, weights, hits = table.select(options.only)
    with tempfile.TemporaryDirectory(prefix="cartd-bench-", dir=options.dir) as folder:
        bench = Bench(options, folder)
        check_machine(options, bench)
        if rows:
            print_heading()
        for (group, *_), members in group_rows(rows):
            run_group(bench, group, members)
        run_weights(bench, weights)
        run_hits(bench, hits)
    if options.tsv:
        write_tsv(options.tsv, bench.raw)
    if options.chart and bench.summary:
        draw(bench.summary, options.chart / "ratios.svg")
    return 1 if bench.broken else 0


if __name__ == "__main__":
    sys.exit(main())

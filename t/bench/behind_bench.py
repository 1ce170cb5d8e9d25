#!/usr/bin/python3
"""behind_bench: what write-behind makes of a database, beside one upsert at a time.

usage: behind_bench.py [--quick] [--only NAME,NAME] [--cartd PATH] [--tools DIR] [--write]

NAME: of --list, or the part before its "-". What each measures and why ratios: README.md beside
this file. Servers are started here, with full durability, and end with it; a database that is not
installed is skipped with a word.
"""
import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

import behind_rows
from behind_rig import Missing, Rig

TOP = Path(__file__).resolve().parents[2]
LIMITS = {"at least": lambda value, target: value >= target,
          "at most": lambda value, target: value <= target}


def read_options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the carts and operations")
    parser.add_argument("--only", metavar="NAMES", help="rows or groups of them, with commas")
    parser.add_argument("--list", action="store_true", help="name all rows")
    parser.add_argument("--write", action="store_true", help="the table into doc/bench/behind.md")
    parser.add_argument("--dir", default="/var/tmp", help="on a disk (/var/tmp)")
    parser.add_argument("--l3", action="append", default=[], metavar="NAME=VALUE",
                        help="an option of cartd more, as l3-connections=2")
    parser.add_argument("--cartd", type=Path, default=TOP / "build/cartd", help="the daemon")
    parser.add_argument("--tools", type=Path, default=TOP / "build/t/bench", help="where load is")
    return parser.parse_args()


def wanted(name, only):
    return not only or any(name == part or name.startswith(part + "-")
                           for part in only.split(","))


def run_row(options, row):
    """The result, or None when the machine lacks what is needed."""
    folder = Path(tempfile.mkdtemp(prefix="cartd-behind."))
    try:
        with Rig(folder, row.database, options) as rig:
            return row.measure(rig)
    except Missing as missing:
        print(f"{row.name:18} skipped: {missing}", flush=True)
        return None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


HEAD = """# Write-behind beside one upsert at a time

Made by `make bench-behind`; what each row measures: [t/bench/README.md](../../t/bench/README.md).
Both sides of a row ran one after the other on the same machine and the same server, which synced
every commit. What counts is the ratio: the machine moves absolute figures. {machine}.

| row | ratio | target | how it came about |
|---|---|---|---|
"""


def write_table(table, machine):
    """Rows that were not measured stay as they are."""
    path = TOP / "doc/bench/behind.md"
    old = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    old = {line.split(" ")[1]: line for line in old if line.startswith("| ")}
    lines = [table.get(row.name, old.get(row.name, "")) for row in behind_rows.ROWS]
    path.write_text(HEAD.format(machine=machine) + "".join(lines), encoding="utf-8")


def main():
    options = read_options()
    rows = [row for row in behind_rows.ROWS if wanted(row.name, options.only)]
    if options.list or not rows:
        print("\n".join(f"{row.name:18} {row.what}" for row in behind_rows.ROWS))
        return 0 if options.list else 64
    tempfile.tempdir = options.dir  # for the databases, too
    machine = f"Load average before: {os.getloadavg()[0]:.0f}, cores: {os.cpu_count()}"
    print(machine, flush=True)
    table, failed = {}, 0
    for row in rows:
        result = run_row(options, row)
        if result is None:
            continue
        ratio, words = result
        good = LIMITS[row.limit](ratio, row.target)
        failed += not good
        print(f"{row.name:18} {ratio:8.3f} {row.limit} {row.target}: "
              f"{'ok' if good else 'MISSED'}; {words}", flush=True)
        table[row.name] = f"| {row.name} | {ratio:.3g} | {row.limit} {row.target} | {words} |\n"
    if options.write:
        write_table(table, machine)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())

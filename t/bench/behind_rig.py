"""behind_rig: one cartd, one database with full durability, and the generator."""
import shutil
import subprocess
import sys
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "t/process"))
# What tests of the daemon use, too.
from daemon import Server  # noqa: E402
from waiting import wait_until  # noqa: E402

WAIT_SECONDS = 900
PROGRAMS = {"postgresql": ("pgbench",), "mysql": ("mariadbd", "mariadb-slap"), "sqlite": ()}
SCHEMA = "shop"


class Missing(Exception):
    """A program or library that is not installed here."""


def make_database(kind):
    for program in PROGRAMS[kind]:
        if not shutil.which(program, path="/usr/bin:/usr/sbin:/usr/local/bin"):
            raise Missing(f"no {program}")
    if kind == "sqlite":
        return None
    try:
        import databases  # its libraries are needed for servers only
        return databases.KINDS[kind](durable=True)
    except (ImportError, AssertionError, OSError) as error:
        raise Missing(str(error)) from error


class Rig:
    """With it: the database runs; cartd is started by start()."""

    def __init__(self, folder, kind, options):
        self.folder, self.kind = folder, kind
        self.lock = None
        self.part = 0.1 if options.quick else 1
        self.load = options.tools / "load"
        self.more = dict(option.split("=", 1) for option in options.l3)
        import daemon
        daemon.CARTD = options.cartd.resolve()
        self.database = make_database(kind)
        self.server = Server(folder, self.database)
        self.server.schema = SCHEMA

    def __enter__(self):
        if self.database:
            try:
                self.database.start()
            except BaseException:
                self.database.remove()
                raise
        return self

    def __exit__(self, *error):
        if self.server.process:
            self.server.process.kill()
            self.server.process.wait()
        if self.database:
            self.database.remove()

    def start(self, **options):
        self.server.start(m=2048, t=2, ack="os", **self.more, **options)

    def ask(self, *words):
        """Runs the generator; what it said."""
        command = [self.load, "--port", self.server.port, "--protocol", "text", "--header",
                   "--timeout-s", WAIT_SECONDS, *words]
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                              check=False)
        if done.returncode:
            raise RuntimeError(f"load: {done.stderr.strip()}")
        lines = done.stdout.splitlines()
        return dict(zip(lines[0].split("\t"), lines[1].split("\t"))) if len(lines) > 1 else {}

    def add_one(self, key):
        """One cart, as far as the database."""
        with self.server.client() as client:
            assert client.cmd(f"cadd {key} SKU-1 1") == "HD"
        self.server.wait_caught_up()

    def stat(self, name):
        return self.server.stats()[name]

    def stall(self):
        """From now on the database answers nothing; SQLite: is locked by somebody else."""
        if self.database:
            self.database.freeze()
        else:
            self.lock = self.server.hold_lock()

    def go_on(self):
        if self.database:
            self.database.thaw()
        else:
            self.lock.close()

    def wait(self, predicate, what):
        return wait_until(predicate, what, WAIT_SECONDS)

    def count(self, share, count):
        """So many of `count` in a quick run."""
        return max(int(count * share), 1)


def measure_rate(read, is_over):
    """read() is a number that grows: (how much, seconds) from its first growth until is_over()."""
    first = read()
    wait_until(lambda: read() > first, "it begins", WAIT_SECONDS)
    began, base = time.monotonic(), read()
    wait_until(is_over, "it ends", WAIT_SECONDS)
    return read() - base, time.monotonic() - began

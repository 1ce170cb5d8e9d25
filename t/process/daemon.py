"""daemon: one cartd process, its folder and its database."""
import functools
import itertools
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
from pathlib import Path

from waiting import WAIT_SECONDS, wait_until
from wire import Client, Closed

CARTD = Path(os.environ.get("CARTD", "build/cartd")).resolve()
BUILD = Path(os.environ.get("BUILD", CARTD.parent)).resolve()
STARTS_MAX = 5  # another program may take the port between our look and the daemon's


NUMBERS = itertools.count(1)


@functools.cache
def instrumented():
    """Whether the daemon is built with a sanitizer."""
    return bool(re.search(rb"lib[at]san|__asan_init|__tsan_init", CARTD.read_bytes()))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    def __init__(self, folder, database=None):
        """database: where its carts go, of databases.py; None: SQLite, in its folder."""
        self.database = database
        self.schema = f"t{next(NUMBERS)}"
        self.data = folder / "data"
        self.sqlite = self.data / "cartd.sqlite"
        self.log = folder / "cartd.log"
        self.program = CARTD
        self.port = None
        self.process = None
        self.options = {}
        self.environment = {}  # beside that of the tests
        self.l3 = None  # URL of the database, once it is made

    # ---- life ----

    def spawn(self):
        """Starts the process and does not wait for it."""
        assert self.process is None
        command = [self.program, "-p", str(self.port), "--data", str(self.data)]
        for name, value in self.options.items():
            command.append(f"-{name}" if len(name) == 1 else f"--{name}")
            if value is not True:  # a flag has none
                command.append(str(value))
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, env=os.environ | self.environment)

    def answers(self):
        """True when it serves; False as long as that may still come."""
        if self.process.poll() is not None:
            self.process = None
            raise AssertionError(f"ended while starting:\n{self.log_end()}")
        try:
            with Client(self.port) as client:
                return client.cmd("version").startswith("VERSION ")
        except Closed:
            return False

    def start(self, **options):
        """Starts with these options (short ones by letter) and waits until it serves."""
        self.options = {name.replace("_", "-"): value for name, value in options.items()}
        if self.database and "l3" not in self.options:
            self.options["l3"] = self.l3_url()
        for attempt in range(STARTS_MAX):
            if self.port is None or attempt > 0:
                self.port = free_port()
            seen = self.log_end()
            self.spawn()
            try:
                wait_until(self.answers, "the daemon serves")
                return self
            except AssertionError:
                if "in use" not in self.log_end().removeprefix(seen):
                    raise
        raise AssertionError("no free port")

    def kill9(self):
        """SIGKILL, as a crash. A daemon that died before by itself is a failure."""
        process, self.process = self.process, None
        process.kill()
        status = process.wait(WAIT_SECONDS)
        assert status == -signal.SIGKILL, f"died by itself, status {status}:\n{self.log_end()}"

    def stop(self):
        """SIGTERM; the exit status."""
        self.process.terminate()
        return self.wait()

    def wait(self):
        process, self.process = self.process, None
        try:
            return process.wait(WAIT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"did not end:\n{self.log_end()}") from None

    def restart(self, **options):
        """A clean stop and a new start; with the options of before when none are given."""
        assert self.stop() == 0, self.log_end()
        self.start(**(options or self.options))

    def crash(self):
        """SIGKILL and a new start."""
        self.kill9()
        self.start(**self.options)

    def forget(self, *folders):
        """Removes folders of a daemon that does not run."""
        assert self.process is None
        for folder in folders:
            assert (self.data / folder).is_dir()
            shutil.rmtree(self.data / folder)

    def log_end(self):
        return self.log.read_text(errors="replace")[-4000:] if self.log.exists() else ""

    # ---- its database ----

    def l3_url(self):
        if self.l3 is None:
            self.l3 = self.database.create(self.schema)
        return self.l3

    def sql(self, query, *parameters):
        """Rows as dicts; parameters are %s, in SQLite ?."""
        if self.database:
            return self.database.execute(query, parameters, self.schema)
        path = f"file:{self.sqlite}?mode=ro"
        with sqlite3.connect(path, uri=True, timeout=WAIT_SECONDS) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(query, parameters)]

    def change(self, query, *parameters):
        """As sql, of one who may write; parameters are %s in all databases."""
        if self.database:
            return self.database.execute(query, parameters, self.schema)
        connection = sqlite3.connect(self.sqlite, timeout=WAIT_SECONDS, isolation_level=None)
        try:
            return connection.execute(query.replace("%s", "?"), parameters).fetchall()
        finally:
            connection.close()

    def hold_lock(self):
        """A connection that keeps cartd from writing, until it is closed."""
        if self.database:
            return self.database.hold_lock(self.schema)
        connection = sqlite3.connect(self.sqlite, isolation_level=None)
        connection.execute("BEGIN EXCLUSIVE")
        return connection

    # ---- looking ----

    def client(self):
        return Client(self.port)

    def stats(self):
        with self.client() as client:
            return {name: int(value) for name, value in client.stats().items()
                    if value.isdigit()}

    def wait_caught_up(self):
        """Until L2 and L3 have all that was acknowledged."""
        def caught_up():
            stats = self.stats()
            return not any(stats.get(name) for name in
                           ("catchup_left", "dirty_carts", "drain_pending", "behind_queue",
                            "behind_overflow", "behind_age_ms", "events_pending",
                            "behind_events_waiting"))
        wait_until(caught_up, "L2 and L3 have everything")

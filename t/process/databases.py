#!/usr/bin/python3
"""databases: a PostgreSQL or MariaDB server of our own, in a temporary folder, never as root.

usage: databases.py postgresql|mysql     prints the URL of a server, without a database, and serves
                                         until standard input ends
"""
import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import psycopg2
import pymysql
from waiting import wait_until

USER, PASSWORD = "cartd", "Pa55%word"  # with a character that a URL must escape
ADMIN = "admin"  # of MariaDB; in PostgreSQL USER is one
PASSWORD_IN_URL = "Pa55%25word"
UNPRIVILEGED = "nobody"
STOP_SECONDS = 30


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Database:
    """A server that can be stopped, killed and started again; it keeps its port and its data."""

    scheme = None

    def __init__(self, durable=False):
        """durable: commits survive power loss, and there is memory as on a server; tests need
        neither."""
        self.durable = durable
        self.more = []  # options of the server that count from its next start
        self.folder = Path(tempfile.mkdtemp(prefix="cartd-db."))
        self.data = self.folder / "data"
        self.log = self.folder / "log"
        self.port = free_port()
        self.process = None
        self.give(self.folder)
        try:
            self.make()
        except BaseException:
            self.remove()
            raise

    @staticmethod
    def give(path):
        """To the user that the server runs as."""
        if os.getuid() == 0:
            account = pwd.getpwnam(UNPRIVILEGED)
            os.chown(path, account.pw_uid, account.pw_gid)

    def command(self, *words):
        """The words as what an unprivileged user runs."""
        words = [str(word) for word in words]
        if os.getuid() != 0:
            return words
        account = pwd.getpwnam(UNPRIVILEGED)
        return ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}",
                "--clear-groups", *words]

    def environment(self):
        """Servers that start at the same time must not meet in one folder of temporary files."""
        return dict(os.environ, TMPDIR=str(self.folder))

    def run(self, *words, **environment):
        done = subprocess.run(self.command(*words), cwd=self.folder, capture_output=True,
                              text=True, check=False, stdin=subprocess.DEVNULL,
                              env=self.environment() | environment)
        assert done.returncode == 0, f"{words[0]}: {done.stdout}{done.stderr}"

    def start(self):
        assert self.process is None
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.command(*self.server(), *self.more), cwd=self.folder, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True, env=self.environment())
        wait_until(self.answers, f"{self.scheme} serves")
        return self

    def answers(self):
        assert self.process.poll() is None, f"{self.scheme} ended:\n{self.log_end()}"
        try:
            self.execute("SELECT 1")
            return True
        except (psycopg2.Error, pymysql.Error):
            return False

    def log_end(self):
        return self.log.read_text(errors="replace")[-3000:] if self.log.exists() else ""

    def end(self, how):
        process, self.process = self.process, None
        if process:
            process.send_signal(how)
            process.wait(STOP_SECONDS)

    def stop(self):
        self.end(self.quick)

    def kill9(self):
        """As a crash; children of the server notice by themselves."""
        self.end(signal.SIGKILL)

    def pids(self):
        """The server, and its children that serve connections."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [self.process.pid, *map(int, children.read_text().split())]

    def signal_all(self, how):
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):  # a child ends when it likes
                os.kill(pid, how)

    def freeze(self):
        self.signal_all(signal.SIGSTOP)

    def thaw(self):
        self.signal_all(signal.SIGCONT)

    def remove(self):
        try:
            self.stop()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def waiting(self):
        """Ids of cartd's connections that wait for somebody's lock."""
        return [row["id"] for row in self.execute(self.waits)]

    def url(self, database=""):
        return f"{self.scheme}://{USER}:{PASSWORD_IN_URL}@127.0.0.1:{self.port}/{database}"

    def create(self, database):
        """A database of one test; execute and hold_lock need its name."""
        self.execute(f"CREATE DATABASE {database}")
        return self.url(database)

    def hold_lock(self, database):
        """A connection that keeps cartd from reading and writing until it is closed."""
        connection = self.connect(database)
        connection.cursor().execute(self.lock)
        return connection

    def execute(self, sql, parameters=(), database=None):
        """Runs one statement; rows as dicts, with all values as they are in SQLite."""
        connection = self.connect(database)
        try:
            with connection.cursor() as cursor:
                cursor.execute(sql, parameters or None)
                if cursor.description is None:
                    return []
                names = [column[0] for column in cursor.description]
                return [dict(zip(names, map(plain, row))) for row in cursor.fetchall()]
        finally:
            connection.close()


def plain(value):
    if isinstance(value, memoryview):
        return bytes(value)
    if hasattr(value, "isoformat"):
        return value.strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03d}Z"
    return value


class PostgreSQL(Database):
    scheme = "postgresql"
    quick = signal.SIGINT  # "fast shutdown"
    lock = "BEGIN; LOCK TABLE cart, cart_line, cart_event"
    waits = ("SELECT pid AS id FROM pg_stat_activity "
             "WHERE application_name = 'cartd' AND wait_event_type = 'Lock'")

    def create(self, database):
        """A schema, which is made much faster."""
        self.execute(f"CREATE SCHEMA {database}")
        return self.url(f"postgres?options=-csearch_path%3D{database}")

    @staticmethod
    def program(name):
        folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
        assert folders, "PostgreSQL is not installed"
        return folders[-1] / name

    def make(self):
        secret = self.folder / "secret"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        self.run(self.program("initdb"), "-D", self.data, "-U", USER, "-A", "scram-sha-256",
                 "--pwfile", secret, "-E", "UTF8", "--no-locale", "--no-sync")

    def server(self):
        return [self.program("postgres"), "-D", self.data, "-p", self.port, "-k", self.folder,
                "-c", "listen_addresses=127.0.0.1",
                *(["-c", "shared_buffers=512MB", "-c", "max_wal_size=4GB"] if self.durable else
                  ["-c", "shared_buffers=32MB", "-c", "fsync=off"])]

    def connect(self, database=None):
        connection = psycopg2.connect(host="127.0.0.1", port=self.port, user=USER,
                                      password=PASSWORD, dbname="postgres",
                                      options=f"-ctimezone=UTC -csearch_path={database or ''}")
        connection.autocommit = True
        return connection


class Standby(PostgreSQL):
    """Follows a server; read-only until it is promoted."""

    def __init__(self, primary):
        self.primary = primary
        super().__init__()

    def make(self):
        self.run(self.program("pg_basebackup"), "-h", "127.0.0.1", "-p", self.primary.port,
                 "-U", USER, "-D", self.data, "-R", "-c", "fast", "--no-sync", PGPASSWORD=PASSWORD)

    def promote(self):
        self.execute("SELECT pg_promote()")


class MariaDB(Database):
    scheme = "mysql"
    quick = signal.SIGTERM
    lock = "LOCK TABLES cart WRITE, cart_line WRITE, cart_event WRITE"
    waits = ("SELECT id FROM information_schema.processlist WHERE user = 'cartd' AND "
             "(state LIKE 'Waiting for%lock' OR id IN (SELECT trx_mysql_thread_id "
             "FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'))")

    def make(self):
        self.run("mariadb-install-db", "--no-defaults", f"--datadir={self.data}",
                 "--auth-root-authentication-method=normal", "--skip-test-db")
        (self.folder / "init.sql").write_text(
            f"CREATE USER IF NOT EXISTS {USER}@'%' IDENTIFIED BY '{PASSWORD}';\n"
            "GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, INDEX, CREATE VIEW, TRIGGER "
            f"ON *.* TO {USER}@'%';\n"  # not to write while the server is read-only
            f"CREATE USER IF NOT EXISTS {ADMIN}@'%' IDENTIFIED BY '{PASSWORD}';\n"
            f"GRANT ALL ON *.* TO {ADMIN}@'%' WITH GRANT OPTION;\n")

    def server(self):
        return [shutil.which("mariadbd") or "/usr/sbin/mariadbd", "--no-defaults",
                f"--datadir={self.data}", f"--port={self.port}",
                f"--socket={self.folder}/socket", "--bind-address=127.0.0.1",
                "--skip-name-resolve", f"--init-file={self.folder}/init.sql",
                f"--pid-file={self.folder}/pid", "--performance-schema=OFF",
                *(["--innodb-buffer-pool-size=512M", "--innodb-log-file-size=1G",
                   "--innodb-flush-log-at-trx-commit=1"] if self.durable else
                  ["--innodb-buffer-pool-size=32M", "--innodb-flush-log-at-trx-commit=2"])]

    def connect(self, database=None):
        return pymysql.connect(host="127.0.0.1", port=self.port, user=ADMIN, password=PASSWORD,
                               database=database, charset="utf8mb4", autocommit=True,
                               init_command="SET time_zone = '+00:00'")


KINDS = {kind.scheme: kind for kind in (PostgreSQL, MariaDB)}


def main():
    database = KINDS[sys.argv[1]]()
    try:
        database.start()
        print(database.url(), flush=True)
        sys.stdin.read()
    finally:
        database.remove()


if __name__ == "__main__":
    main()

"""servers: what the bench starts, how it is told that they are up, and what they have used."""
import getpass
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

START_SECONDS_MAX = 20
STOP_SECONDS_MAX = 30
PUT_OFF = ("catchup_left", "drain_pending", "behind_queue", "behind_overflow")
TICKS = os.sysconf("SC_CLK_TCK")
MEGABYTES = 2048
LARGE_MEGABYTES = 10240  # for ten million
SMALL_MEGABYTES = 32     # less than what is asked for


class Broken(Exception):
    """The bench cannot go on with this server or this row."""


def cartd(bench, port, folder, ack="os", l3="none", threads=1, megabytes=MEGABYTES):
    return [bench.cartd, "-p", str(port), "-l", "127.0.0.1", "-t", threads, "-m", megabytes,
            "--data", folder / "data", "--l3", l3.format(folder=folder), "--ack", ack]


def memcached(bench, port, _folder, megabytes=MEGABYTES):
    return [bench.memcached, "-u", getpass.getuser(), "-l", "127.0.0.1", "-p", str(port), "-U", "0",
            "-t", "1", "-m", megabytes]


def redis(bench, port, folder, fsync="everysec", rewrites=False):
    log = ["--appendonly", "no"] if fsync is None else ["--appendonly", "yes",
                                                        "--appendfsync", fsync]
    if not rewrites:
        log += ["--auto-aof-rewrite-percentage", "0"]
    return [bench.redis, "--bind", "127.0.0.1", "--port", str(port), "--dir", folder,
            "--save", "", "--logfile", folder / "log", *log]


def null(bench, port, _folder):
    return [bench.null, str(port), str(bench.value_bytes)]


# name: how it is started, with what
SERVERS = {
    "cartd-ram": (cartd, {"ack": "ram"}),
    "cartd-os": (cartd, {"ack": "os"}),
    "cartd-sync": (cartd, {"ack": "sync"}),
    "cartd-l3": (cartd, {"ack": "os", "l3": "sqlite:{folder}/cartd.sqlite"}),
    "cartd-2": (cartd, {"threads": 2}),
    "cartd-large": (cartd, {"megabytes": LARGE_MEGABYTES}),
    "cartd-small": (cartd, {"megabytes": SMALL_MEGABYTES}),
    "memcached": (memcached, {}),
    "memcached-small": (memcached, {"megabytes": SMALL_MEGABYTES}),
    "redis-none": (redis, {"fsync": None}),
    "redis-everysec": (redis, {"fsync": "everysec"}),
    "redis-always": (redis, {"fsync": "always"}),
    "redis-rewrites": (redis, {"fsync": "everysec", "rewrites": True}),
    "null": (null, {}),
}


def find_program(name, hint):
    return hint or shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


def find_free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """One process with a folder of its own, pinned to one core, all its threads."""

    def __init__(self, bench, name):
        self.name = name
        self.port = find_free_port()
        self.folder = Path(bench.folder) / f"{name}-{self.port}"
        self.folder.mkdir()
        make, options = SERVERS[name]
        command = [str(part) for part in
                   (*bench.before, *make(bench, self.port, self.folder, **options))]
        with open(self.folder / "output", "wb") as output:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output,
                                            stderr=output, cwd=self.folder,
                                            env=dict(os.environ, **bench.environment),
                                            preexec_fn=bench.pin_server)
        self._await_port()
        self.rss_empty = self.rss_bytes()

    def _await_port(self):
        for _ in range(START_SECONDS_MAX * 50):
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except ConnectionRefusedError:
                self.let_pass(0.02)
        self.stop()
        raise Broken(f"{self.name} does not listen after {START_SECONDS_MAX} s")

    def let_pass(self, seconds):
        """Waits for the end of the process, which must not come."""
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return
        said = (self.folder / "output").read_text(errors="replace").strip()[-400:]
        raise Broken(f"{self.name} ended with status {status}: {said}")

    def cpu_seconds(self):
        """user + sys of all threads, and of children that have ended (redis rewrites in one)."""
        stat = Path(f"/proc/{self.process.pid}/stat").read_text()
        fields = stat.rpartition(")")[2].split()
        return sum(int(field) for field in fields[11:15]) / TICKS

    def rss_bytes(self):
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise Broken(f"{self.name} has no VmRSS")

    def _has_children(self):
        pid = self.process.pid
        return bool(Path(f"/proc/{pid}/task/{pid}/children").read_text().strip())

    def _has_work(self):
        """Ours says what it has put off, which may wait for a while without using the core."""
        if not self.name.startswith("cartd"):
            return False
        with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
            connection.sendall(b"stats\r\nquit\r\n")
            reply = b"".join(iter(lambda: connection.recv(65536), b""))
        lines = (line.split() for line in reply.decode().splitlines())
        return any(int(line[2]) for line in lines if len(line) == 3 and line[1] in PUT_OFF)

    def settle(self, quiet_seconds, seconds_max):
        """Lets work that was put off be done: until it uses no more than 2 % of its core, and says
        that nothing is left: all is in L2 and L3."""
        step, quiet, waited = 0.1, 0.0, 0.0
        while quiet < quiet_seconds and waited < seconds_max:
            before = self.cpu_seconds()
            self.let_pass(step)
            busy = self.cpu_seconds() - before > 1.5 / TICKS or self._has_children()
            quiet = 0.0 if busy else quiet + step
            waited += step
            if quiet >= quiet_seconds and self._has_work():
                quiet = 0.0
        return quiet >= quiet_seconds

    def stop(self):
        for how in (signal.SIGTERM, signal.SIGKILL):
            if self.process.poll() is None:
                self.process.send_signal(how)
            try:
                self.process.wait(STOP_SECONDS_MAX)
                break
            except subprocess.TimeoutExpired:
                print(f"{self.name} does not stop within {STOP_SECONDS_MAX} s", flush=True)
        shutil.rmtree(self.folder, ignore_errors=True)

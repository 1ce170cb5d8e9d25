"""faults: disks that are full, fail or rot, and clocks that jump, for one daemon."""
import contextlib
import errno
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from waiting import wait_until

FILL_BYTES = 1 << 16


def _mount(arguments, folder):
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", *arguments, str(folder)], stderr=subprocess.PIPE, check=False)
    if done.returncode:
        pytest.skip(f"mount does not work here: {done.stderr.decode()}")


def _unmount(folder):
    subprocess.run(["umount", "-l", str(folder)], check=True)


@contextlib.contextmanager
def small_disk(folder, megabytes):
    """A disk of its own in `folder`, to be left when nothing runs on it."""
    _mount(["-t", "tmpfs", "-o", f"size={megabytes}m", "none"], folder)
    try:
        yield folder
    finally:
        _unmount(folder)


class Image:
    """A file system in a file, which can fail as a real one does: at once, for all that write."""

    def __init__(self, path, folder, megabytes):
        self.path, self.folder = path, folder
        with open(path, "wb") as image:
            image.truncate(megabytes << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", str(path)], check=True)
        self.mounted = False

    def mount(self):
        _mount(["-o", "loop", str(self.path)], self.folder)
        self.mounted = True

    def abort(self):
        """What the kernel does when it finds damage: read-only from now on."""
        subprocess.run(["mount", "-o", "remount,abort", str(self.folder)], check=False,
                       stderr=subprocess.DEVNULL)

    def unmount(self):
        if self.mounted:
            _unmount(self.folder)
        self.mounted = False


@contextlib.contextmanager
def image_disk(path, folder, megabytes):
    image = Image(path, folder, megabytes)
    image.mount()
    try:
        yield image
    finally:
        image.unmount()


def fill(folder):
    """Leaves no byte free; free(folder) gives all back."""
    for size in (FILL_BYTES, 1):
        try:
            with open(folder / "filler", "ab", buffering=0) as filler:
                while True:
                    filler.write(bytes(size))
        except OSError as error:
            assert error.errno == errno.ENOSPC


def free(folder):
    (folder / "filler").unlink()


@contextlib.contextmanager
def failing_calls(server, calls, error, when="1+"):
    """While it holds, these system calls of the daemon fail."""
    pid = server.process.pid
    log = server.log.with_suffix(".strace")
    log.write_text("")
    with open(log, "ab") as out, subprocess.Popen(
            ["strace", "-f", "-qq", "-o", "/dev/null", "-p", str(pid), "-e", f"trace={calls}",
             "-e", f"inject={calls}:error={error}:when={when}"], stderr=out) as tracer:
        try:
            wait_until(lambda: all_traced(pid), "all threads are traced")
            yield
        finally:
            tracer.send_signal(signal.SIGINT)
            tracer.wait()


def task_file(pid, task, name):
    """What /proc says of a thread; nothing of one that has ended."""
    try:
        return Path(f"/proc/{pid}/task/{task}/{name}").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


@contextlib.contextmanager
def slow_calls(server, thread, calls, delay_ms):
    """While it holds, these system calls of one thread take so much longer."""
    pid = server.process.pid
    [task] = [task for task in os.listdir(f"/proc/{pid}/task")
              if task_file(pid, task, "comm").strip() == thread]
    with subprocess.Popen(
            ["strace", "-qq", "-o", "/dev/null", "-p", task, "-e", f"trace={calls}",
             "-e", f"inject={calls}:delay_enter={delay_ms}ms"],
            stderr=subprocess.DEVNULL) as tracer:
        try:
            wait_until(lambda: is_traced(pid, task), "the thread is traced")
            yield
        finally:
            tracer.send_signal(signal.SIGINT)
            tracer.wait()


def is_traced(pid, task):
    return any(line.startswith("TracerPid:") and line.split()[1] != "0"
               for line in task_file(pid, task, "status").splitlines())


def all_traced(pid):
    return all(is_traced(pid, task) for task in os.listdir(f"/proc/{pid}/task")
               if task_file(pid, task, "status"))


FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"


class Clock:
    """The daemon's wall clock: it may jump; what counts intervals goes on."""

    def __init__(self, server, folder):
        if not os.path.exists(FAKETIME):
            pytest.skip(f"{FAKETIME} is missing")
        self.file = folder / "clock"
        self.jump(0)
        server.environment = {"LD_PRELOAD": FAKETIME, "FAKETIME_NO_CACHE": "1",
                              "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                              "FAKETIME_TIMESTAMP_FILE": str(self.file)}

    @staticmethod
    def now():
        return time.time()

    def jump(self, seconds):
        """So far from the true time."""
        new = self.file.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.rename(self.file)


def is_stopped(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        return stat.read().rpartition(")")[2].split()[0] == "T"


def rot(path, chance, places=1, from_=0, to=None):
    """Changes single bytes at random places."""
    size = path.stat().st_size
    with open(path, "r+b") as file:
        for _ in range(places):
            at = chance.randrange(from_, to or size)
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ (1 << chance.randrange(8))]))

"""hostile_flood: clients that want more than their share, in a process of their own, and what
others have to wait for meanwhile."""
import multiprocessing
import statistics
import threading
import time
from contextlib import contextmanager

from wire import Client, Closed

ROUND_TRIPS, ROUND_TRIPS_MIN = 200, 20
LOOK_SECONDS = 2  # enough of it, when a round trip takes long


def pour(port, first, data, reading):
    """Sends `data` again and again; reads what comes, or nothing at all."""
    client = Client(port)
    try:
        client.send(first)

        def drain():
            try:
                while client.socket.recv(1 << 20):
                    pass
            except OSError:
                pass
        if reading:
            threading.Thread(target=drain, daemon=True).start()
        while True:
            client.send(data)
    except (Closed, OSError):
        pass


@contextmanager
def flood(port, data, first=b"", reading=True):
    process = multiprocessing.get_context("fork").Process(
        target=pour, args=(port, first, data, reading), daemon=True)
    process.start()
    try:
        yield
    finally:
        process.kill()
        process.join()


def percentile(values, part):
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


class Waits:
    """What a client meets that asks, waits for the answer, and asks again: for each of its round
    trips the time, the processor time that the daemon spent on others meanwhile, and their
    commands. The latter two do not depend on who else uses the machine."""

    def __init__(self, client, counter):
        self.seconds, self.cpu, self.commands = [], [], []
        before = self._look(client, counter)
        end = time.monotonic() + LOOK_SECONDS
        while len(self.cpu) < ROUND_TRIPS:
            began = time.monotonic()
            if began > end and len(self.cpu) >= ROUND_TRIPS_MIN:
                break
            now = self._look(client, counter)
            self.seconds.append(time.monotonic() - began)
            self.cpu.append(now[0] - before[0])
            self.commands.append(now[1] - before[1])
            before = now

    @staticmethod
    def _look(client, counter):
        stats = client.stats()
        return float(stats["rusage_user"]) + float(stats["rusage_system"]), int(stats[counter])

    def __str__(self):
        def show(values, unit, scale):
            return f"{statistics.median(values) * scale:.2f} {unit}, " \
                   f"p90 {percentile(values, .9) * scale:.2f}, " \
                   f"p99 {percentile(values, .99) * scale:.2f}"
        return f"round trip {show(self.seconds, 'ms', 1000)}; " \
               f"processor {show(self.cpu, 'ms', 1000)}; " \
               f"others {show(self.commands, 'commands', 1)}"

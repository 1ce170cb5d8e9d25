"""Disks that are full or fail, a process that is stopped and clocks that jump: nothing that was
acknowledged is lost, reads go on, and when the fault ends all goes on by itself.
"""
import contextlib
import signal

import faults
import pytest
from shopper import CARTS, Shopper, start_cold
from waiting import wait_until


@pytest.fixture(name="disks")
def make_disks():
    """What is entered into it ends after the server; so it comes before it."""
    with contextlib.ExitStack() as stack:
        yield stack


# ---- a full disk ----

@pytest.mark.parametrize("part", ["", "journal"], ids=["all", "journal"])
def test_a_full_disk_refuses_what_it_cannot_keep_and_recovers(disks, server, part):
    shopper = Shopper(server)
    disk = disks.enter_context(faults.small_disk(server.data / part, 40))
    start_cold(server, shopper)
    faults.fill(disk)
    with server.client() as client:
        assert shopper.add_until_refused(client).startswith("SERVER_ERROR NO_DISK")
        shopper.check_readable(client)
        assert client.cmd(f"cset {CARTS[0]} memory 1 Dram d") == "HD dram"
        assert client.store("set plain 0 0", "p") == "STORED"
        assert client.get("plain") == b"p"
    faults.free(disk)
    shopper.check_everywhere()


def test_a_full_disk_below_l2_stops_nothing(disks, server):
    shopper = Shopper(server)
    disk = disks.enter_context(faults.small_disk(server.data / "l2", 40))
    start_cold(server, shopper)
    faults.fill(disk)
    with server.client() as client:
        def noticed():
            shopper.add_all(client)
            return client.stat("drain_errors") > 0
        wait_until(noticed, "the full disk is noticed")
    faults.free(disk)
    shopper.check_everywhere()


def test_a_full_disk_below_sql_stops_nothing(disks, server, tmp_path):
    shopper = Shopper(server)
    disk = disks.enter_context(faults.small_disk(tmp_path / "sql", 8))
    server.start(l3=f"sqlite:{disk}/cartd.sqlite")
    server.sqlite = disk / "cartd.sqlite"
    with server.client() as client:
        shopper.add_all(client)
        server.wait_caught_up()
        faults.fill(disk)
        for number in range(2000):  # more than fits into what sqlite has of pages
            assert client.cmd(f"cset {CARTS[number % 50]} {number}{'x' * 100} 1") == "HD"
        wait_until(lambda: client.stat("behind_errors") > 0, "the full disk is noticed")
        shopper.add_all(client)
        shopper.check(client)
    faults.free(disk)
    shopper.check_everywhere()


@pytest.mark.parametrize("part", ["", "l2", "journal"], ids=["all", "l2", "journal"])
def test_a_start_on_a_full_disk_serves_what_it_can(disks, server, part):
    shopper = Shopper(server)
    disk = disks.enter_context(faults.small_disk(server.data / part, 40))
    start_cold(server, shopper)
    with server.client() as client:
        shopper.add_all(client)
    server.kill9()
    faults.fill(disk)
    server.start(**server.options)
    with server.client() as client:
        assert client.store("set plain 0 0", "p") == "STORED"
        assert client.get("plain") == b"p"
        shopper.add_until_refused(client)
        if part == "l2":  # the journal makes room for itself, of its history
            assert client.stat("carts_served") == 0
    faults.free(disk)
    shopper.check_everywhere()
    assert server.stats()["carts_served"] == 1


def test_a_stop_while_the_disk_is_full_ends(disks, server):
    shopper = Shopper(server)
    disk = disks.enter_context(faults.small_disk(server.data, 40))
    start_cold(server, shopper)
    server.kill9()
    faults.fill(disk)
    server.start(**server.options)
    assert server.stop() == 0
    faults.free(disk)
    server.start(**server.options)
    shopper.check_everywhere()


# ---- a disk that fails ----

@pytest.mark.parametrize("calls", ["fdatasync", "pwrite64", "fdatasync,pwrite64,fsync,ftruncate"])
@pytest.mark.parametrize("error", ["EIO", "EROFS"])
def test_calls_that_fail_lose_nothing(server, calls, error):
    shopper = Shopper(server)
    start_cold(server, shopper)
    with server.client() as client:
        with faults.failing_calls(server, calls, error):
            for _ in range(4):
                for key in CARTS:
                    answer = shopper.add(client, key)
                    assert answer == "HD" or answer.startswith("SERVER_ERROR NO_DISK"), answer
            if "fdatasync" in calls:
                assert shopper.open
            shopper.check_readable(client)
        shopper.settle(client)
    shopper.check_everywhere()


@pytest.mark.parametrize("nth", [1, *(pytest.param(nth, marks=pytest.mark.long)
                                       for nth in (2, 4, 5)), 3, 6])
def test_a_sync_that_fails_once_loses_nothing(server, nth):
    shopper = Shopper(server)
    start_cold(server, shopper)
    with server.client() as client:
        with faults.failing_calls(server, "fdatasync", "EIO", f"{nth}"):
            for key in CARTS[:10]:
                shopper.add(client, key)
            shopper.settle(client)
            server.wait_caught_up()
    shopper.check_everywhere()


def test_a_file_system_that_becomes_read_only_loses_nothing(disks, server, tmp_path):
    shopper = Shopper(server)
    disk = disks.enter_context(faults.image_disk(tmp_path / "image", server.data, 64))
    start_cold(server, shopper)
    disk.abort()
    with server.client() as client:
        assert shopper.add_until_refused(client).startswith("SERVER_ERROR NO_DISK")
        shopper.check_readable(client)
        assert client.store("set plain 0 0", "p") == "STORED"
    server.kill9()
    disk.unmount()
    disk.mount()
    server.start(**server.options)
    shopper.check_everywhere()


# ---- a process that is stopped, a clock that jumps ----

def test_a_process_that_was_stopped_goes_on(server):
    shopper = Shopper(server)
    start_cold(server, shopper)
    with server.client() as client:
        server.process.send_signal(signal.SIGSTOP)
        wait_until(lambda: faults.is_stopped(server.process.pid), "it is stopped")
        client.send("".join(f"cadd {key} SKU-1 1\r\n" for key in CARTS))
        server.process.send_signal(signal.SIGCONT)
        assert client.lines(len(CARTS)) == ["HD"] * len(CARTS)
        for key in CARTS:
            shopper.held[key] += 1
    shopper.check_everywhere()


@pytest.mark.faketime
@pytest.mark.parametrize("jumps", [pytest.param((3600, 0), marks=pytest.mark.long),
                                   pytest.param((-3600, 0), marks=pytest.mark.long),
                                   (3600, -3600)])
def test_a_clock_that_jumps_loses_and_doubles_nothing(server, tmp_path, jumps):
    clock = faults.Clock(server, tmp_path)
    shopper = Shopper(server)
    start_cold(server, shopper)
    with server.client() as client:
        for seconds in jumps:
            before = shopper.tokens
            shopper.add_all(client)
            clock.jump(seconds)
            wait_until(lambda s=seconds: abs(client.stat("time") - clock.now() - s) < 60,
                       "the daemon's clock has jumped")
            if seconds < 3600:  # tokens are known for ten minutes at least
                for number, key in enumerate(CARTS):
                    token = f"Ifault.{before + 1 + number}"
                    assert client.cmd(f"cadd {key} SKU-1 1 {token}") == "HD R"
            shopper.add_all(client)
            assert client.cmd(f"cadd {CARTS[0]} gone 1") == "HD"
            assert client.cmd(f"crem {CARTS[0]} gone") == "HD"
            assert client.qty(CARTS[0], "gone") == 0
            shopper.check(client)
            server.wait_caught_up()
    shopper.check_everywhere()

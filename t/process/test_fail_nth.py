"""Every call that can fail fails once, and once for good: in a start, a stop, each command, each
thread behind the replies and in verify. No crash, no leak (with a sanitizer), the client had a
code, and nothing that was acknowledged is lost or doubled.

FAIL_NTH_TRIES: how many calls of each entry point are tried, `all` for each of them, which is what
LONG_TESTS (check-long) means, too.
"""
import errno
import itertools
import json
import os
import shutil
import subprocess

import books
import ctl
import fail_nth
import pytest
from daemon import free_port
from fail_nth import ALL, CHANCE, KINDS, each
from waiting import WAIT_SECONDS, wait_until
from wire import Client, Closed

CARTS = [f"cart:n{number}" for number in range(8)]
NUMBERS = itertools.count(1)
REFUSED = 1  # exit status of a start that says why it cannot be
LONG = fail_nth.TRIES == "all"
ENDS = [False, True]  # once, and lasting


@pytest.fixture(name="faults")
def make_faults(server, tmp_path):
    print(f"FAULT_SEED={fail_nth.SEED}")
    server.program = fail_nth.PROGRAM
    faults = fail_nth.Faults(tmp_path / "switch")
    server.environment = {"FAIL_NTH": str(tmp_path / "switch")}
    server.faults = faults
    return faults


def fill(server, qty=1):
    with server.client() as client:
        for key in CARTS:
            assert client.cmd(f"cset {key} SKU-1 {qty}") == "HD"


def check(server, qty=1):
    with server.client() as client:
        assert {key: client.qty(key, "SKU-1") for key in CARTS} == {key: qty for key in CARTS}


def make_template(server, folder):
    """Carts in all tiers, newer ones in the journal only; what each try begins with."""
    server.start(t=1)
    fill(server)
    server.wait_caught_up()
    fill(server, 2)
    server.kill9()
    shutil.copytree(server.data, folder)


def begin_with(server, template):
    shutil.rmtree(server.data)
    shutil.copytree(template, server.data)


def ask(server, line, seconds=WAIT_SECONDS):
    """The answer, or None when the connection is closed or left waiting instead."""
    try:
        with server.client() as client:
            client.socket.settimeout(seconds)
            return client.cmd(line)
    except (Closed, TimeoutError):
        return None


def is_code(answer):
    return answer is None or answer.startswith(("HD", "SERVER_ERROR ", "ERROR Too many"))


# ---- the start ----

def serves_or_ends(server, faults, kinds):
    """True: it serves; its exit status when it ended before."""
    def known():
        if kinds & KINDS["socket"] and faults.hits() and server.process.poll() is None:
            faults.disarm()  # who cannot accept cannot answer
        status = server.process.poll()
        if status is not None:
            server.process = None
            return (status,)
        return ask(server, "version", 1) is not None
    return wait_until(known, "it serves, or ends")


# A start may end with words when it lacks what nothing can be served without; not for these:
# Which call of files it is that makes the data directory, opens and locks it, lists the journal.
SPARE_FDS = 4  # that are opened first (net)
DATA_CALLS = {"mkdir": lambda path: SPARE_FDS + len(path.parts) - 1,
              "open": lambda path: SPARE_FDS + len(path.parts),
              "flock": lambda path: SPARE_FDS + len(path.parts) + 1,
              "scandir": lambda path: SPARE_FDS + 2 * len(path.parts) + 4}
NO_REASON = ("leveldb_", "x")  # a call of LevelDB, of SQLite


def start_once(server, faults, kinds):
    """A start, while the switch is on, and what must hold after it."""
    server.spawn()
    served = serves_or_ends(server, faults, kinds)
    if served is not True:
        assert served == (REFUSED,), f"{faults.last()}: {served}\n{server.log_end()}"
        assert not faults.last().startswith(NO_REASON), f"{faults.last()}: {server.log_end()}"
        faults.disarm()
        return False
    assert is_code(ask(server, f"cadd {CARTS[0]} other 1")), faults.last()
    faults.disarm()
    wait_until(lambda: server.stats()["carts_served"], f"carts are served after {faults.last()}")
    check(server, 2)
    assert not list(server.data.glob("l2.broken-*")), f"{faults.last()}: taken for damage"
    assert server.stop() == 0, f"{faults.last()}\n{server.log_end()}"
    return True


@pytest.mark.parametrize("lasting", ENDS, ids=["once", "lasting"])
@pytest.mark.parametrize("kinds", KINDS.values() if LONG else [ALL], ids=str)
def test_a_start(server, faults, tmp_path, kinds, lasting):
    template = tmp_path / "template"
    make_template(server, template)

    def start():
        server.spawn()
        wait_until(server.answers, "it serves")
        wait_until(lambda: server.stats()["carts_served"], "carts are served")

    begin_with(server, template)
    count = faults.count(kinds, start)
    server.kill9()
    for nth in each(count):
        begin_with(server, template)
        faults.arm(kinds, nth, lasting)
        if not start_once(server, faults, kinds):
            server.start(**server.options)
            check(server, 2)
            server.kill9()


@pytest.mark.parametrize("error", [errno.EIO, errno.EMFILE, errno.ENOSPC] if LONG else [errno.EIO])
def test_a_good_l2_that_does_not_open_at_once_stays(server, faults, tmp_path, error):
    template = tmp_path / "template"
    make_template(server, template)
    begin_with(server, template)
    faults.arm(KINDS["l2"], 1, False, error)
    assert start_once(server, faults, KINDS["l2"])
    assert faults.last().startswith("leveldb_open")


@pytest.mark.parametrize("call, error", itertools.product(
    DATA_CALLS, [errno.EIO, errno.ENOSPC, errno.EROFS]) if LONG else [
        ("mkdir", errno.EROFS), ("open", errno.EIO), ("scandir", errno.ENOSPC)])
def test_a_data_directory_that_fails_is_used_later(server, faults, tmp_path, call, error):
    template = tmp_path / "template"
    make_template(server, template)
    begin_with(server, template)
    faults.arm(KINDS["file"], DATA_CALLS[call](server.data), True, error)
    server.spawn()
    wait_until(lambda: ask(server, "version", 1), "it serves")
    with server.client() as client:
        assert client.store("set plain 0 0", "p") == "STORED"
        for line in (f"cadd {CARTS[0]} SKU-1 1", f"cadd {CARTS[0]} SKU-1 1 Dram",
                     f"cget {CARTS[0]}"):
            assert client.cmd(line).startswith("SERVER_ERROR NO_DISK"), line
    assert server.stats()["carts_served"] == 0
    assert faults.disarm()
    wait_until(lambda: server.stats()["carts_served"], "the disk is used again")
    check(server, 2)


@pytest.mark.parametrize("call, error", [("mkdir", errno.EACCES), ("open", errno.ENOTDIR)])
def test_a_data_directory_of_others_ends_the_start(server, faults, call, error):
    """That is no fault, but a mistake, and who made it is there to see it."""
    server.port = free_port()
    faults.arm(KINDS["file"], DATA_CALLS[call](server.data), False, error)
    server.spawn()
    assert serves_or_ends(server, faults, KINDS["file"]) == (REFUSED,)
    assert faults.last().startswith(call)
    assert f"data directory in {server.data}: not permitted, or no directory" in server.log_end()
    faults.disarm()


def test_a_start_that_is_tried_later_begins_its_threads(server, faults, tmp_path):
    """The disk failed at first; when it works, threads or memory do not at once."""
    template = tmp_path / "template"
    make_template(server, template)
    begin_with(server, template)
    faults.arm(KINDS["l2"], 1, True)
    server.spawn()
    wait_until(lambda: faults.hits() and ask(server, "version", 1), "it serves without carts")
    assert server.stats()["carts_served"] == 0
    faults.arm(KINDS["thread"], 3, False)  # journal, L2 writer, then one of the pool
    wait_until(faults.hits, "a thread cannot begin")
    wait_until(lambda: server.stats()["carts_served"], "it is tried again")
    check(server, 2)


# ---- the stop ----

@pytest.mark.parametrize("lasting", ENDS if LONG else [False])  # lasting ones wait 20 s
def test_a_stop(server, faults, lasting):
    server.start(t=1)

    def prepare(qty):
        fill(server, qty)

    def stop():
        server.process.terminate()
        assert server.wait() == 0, f"{faults.last()}\n{server.log_end()}"

    prepare(1)
    count = faults.count(ALL, stop)
    qty = 1
    for nth in each(count, 40 if lasting else fail_nth.MOST):
        server.start(**server.options)
        check(server, qty)
        qty += 1
        prepare(qty)
        faults.arm(ALL, nth, lasting)
        stop()
        faults.disarm()
    server.start(**server.options)
    check(server, qty)
    books.check(server, CARTS)


# ---- commands ----

# Each try has keys of its own: @ is its number.
BEFORE = ["cset cart:a@ A 5 P100 UEUR Dram", "cset cart:a@ B 2 Dram",
          "cset cart:g@ A 1 P100 UEUR Dram", "set plain@ 0 0 1\r\n7", "set text@ 0 0 3\r\nabc",
          "cadd cart:tok@ A 1 Ione Dram"]
READ = ["cget cart:a@", "cget cart:g@", "cget cart:new@", "cget cart:tok@", "mg plain@ v",
        "mg text@ v", "mg new@ v"]
BATCH = "cadd C 3\r\ncrem B\r\n"
DOCUMENT = '{"lines":[{"line":"A","qty":4},{"line":"Z","qty":1}]}'
COMMANDS = [
    "cadd cart:a@ A 2 x v", "cadd cart:new@ A 2 P5 UEUR Itok Gshop Eabcd T60 x",
    "cadd cart:tok@ A 1 Ione x", "cset cart:a@ B 9 x", "crem cart:a@ A x", "cchk cart:a@ * 0",
    "cswp cart:a@ A A2 x", "cclr cart:a@ v", "cmrg cart:a@ cart:g@ v",
    "cmrg cart:new@ cart:a@ Msum", f"cbat cart:a@ {len(BATCH)}\r\n{BATCH}", "cdel cart:a@",
    "cget cart:a@", "cget cart:a@ s", "cget cart:new@", "cget cart:a@ N1", "chst cart:a@",
    "cadd cart:a@ A x", "cset cart:a@ A 1 V1",
    "get cart:a@", "gets cart:a@ plain@ text@ cart:g@ new@", "get cart:a@/A", "get cart:a@/A/qty",
    "set cart:new@/A 0 0 1\r\n3", "set cart:a@/A/qty 0 0 1\r\n8", "incr cart:a@/A/qty 2",
    "decr cart:a@/B/qty 1", "delete cart:a@/A", "delete cart:a@", "touch cart:a@ 100",
    "gat 100 cart:a@", f"set cart:a@ 0 0 {len(DOCUMENT)}\r\n{DOCUMENT}", "mg cart:a@ v",
    "md cart:a@/A", "ms cart:a@/B 1\r\n4", "ma cart:a@/A/qty D3",
    "get plain@", "set new@ 5 0 4\r\nwxyz", f"set text@ 0 0 3000\r\n{'x' * 3000}",
    "add new@ 0 0 2\r\nzz", "replace text@ 0 0 2\r\nzz", "append text@ 0 0 2\r\nzz",
    "prepend text@ 0 0 2\r\nzz", "cas text@ 0 0 2 1\r\nzz", "incr plain@ 5", "decr plain@ 1",
    "touch text@ 50", "gat 50 text@", "delete text@", "mg text@ v t f", "ms new@ 3\r\nabc",
    "ma new@ N60 J3 v", "md plain@", "mn", "me text@", "version", "verbosity 1", "stats",
    "stats settings", "stats items", "stats reset", "stats cachedump 1 0", "nonsense",
]
VOLATILE = ("version", "cas", "added", "updated", "created", "ends", "changed")


def strip(value):
    """A cart's document without what time and repetition change."""
    if isinstance(value, dict):
        return {name: strip(part) for name, part in value.items() if name not in VOLATILE}
    return [strip(part) for part in value] if isinstance(value, list) else value


class Try:
    """One command on carts and items of its own."""

    def __init__(self, client):
        self.client, self.name = client, f".{next(NUMBERS)}"
        for line in BEFORE:
            answer = client.cmd(self.named(line))
            assert answer in ("HD", "STORED"), answer

    def named(self, line):
        return line.replace("@", self.name)

    def look(self):
        """What there is now."""
        found = {}
        for line in READ:
            data = self.client.value(self.named(line))[1]
            text = (data or b"").decode().replace(self.name, "")
            found[line] = strip(json.loads(text)) if text.startswith("{") else text
        return found


def first_line(server, command, faults=None, arm=None):
    """The first line of the answer on a connection of its own; None when it was closed instead."""
    try:
        with Client(server.port) as client:
            assert client.cmd("mn") == "MN"
            if arm:
                arm()
            client.send(command + "\r\n")
            answer = client.line()
            if faults:
                faults.disarm()
            return answer
    except Closed:
        return None
    finally:
        if faults:
            faults.disarm()


def is_refusal(answer):
    return answer is None or answer.startswith("SERVER_ERROR ")


def word(answer):
    return answer.split(" ")[0]


@pytest.mark.parametrize("lasting", ENDS, ids=["once", "lasting"])
@pytest.mark.parametrize("kinds", ["memory", "socket"])
def test_commands(server, faults, kinds, lasting):
    server.start(t=1)
    tried = 0
    with server.client() as client:
        for command in COMMANDS if LONG else CHANCE.sample(COMMANDS, 20):
            right = Try(client)
            before = right.look()
            answers = []

            def run(line=right.named(command)):
                answers.append(first_line(server, line))
            count = faults.count(KINDS[kinds], run, "worker")
            after = right.look()
            for nth in each(count):
                trial = Try(client)
                answer = first_line(server, trial.named(command), faults, lambda n=nth: faults.arm(
                    KINDS[kinds], n, lasting, errno.ECONNRESET, "worker"))
                found = trial.look()
                what = f"{command!r}, call {nth}, {faults.last()}: {answer}"
                if answer is None:
                    assert found in (before, after), what
                elif is_refusal(answer) and not is_refusal(answers[0]):
                    assert found == before, what
                else:
                    assert word(answer) == word(answers[0]), what
                    assert found == after, what
                tried += faults.hits() > 0
    assert tried


# In the second that a client waits. SQLite tries a lock of its own up to 100 times in each call,
# with pauses that grow (walTryBeginRead); without a pause there are tens of thousands.
SPINNING = 1000


def test_connections(server, faults):
    """A connection that cannot be had is closed; the next one is served."""
    server.start(t=1)
    count = faults.count(ALL, lambda: ask(server, "mn"))
    for lasting in ENDS:
        for nth in each(count):
            faults.arm(ALL, nth, lasting, errno.ENOBUFS)
            answer = ask(server, "mn", 1 if lasting else WAIT_SECONDS)
            assert faults.disarm() < SPINNING, f"{faults.last()} is tried without a pause"
            assert answer in (None, "MN") or answer.startswith(("SERVER_ERROR", "ERROR Too many"))
            assert ask(server, "mn") == "MN", faults.last()


def test_who_cannot_accept_pauses(server, faults):
    """A client that waits makes the listener ready again at once."""
    server.start(t=1)
    faults.arm(KINDS["socket"], 1, True, errno.ENOBUFS)
    assert ask(server, "mn", 1) is None
    assert faults.disarm() < 50, "it is tried without a pause"
    assert ask(server, "mn") == "MN"


# ---- the threads behind the replies ----

THREADS = ["l2-writer", "behind", "journal"]


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC] if LONG else [errno.EIO])
@pytest.mark.parametrize("thread", THREADS if LONG else [CHANCE.choice(THREADS)])
def test_writing_behind(server, faults, thread, error):
    """Every call of a turn that takes carts down a tier."""
    server.start(t=1)
    qty = 1

    def turn():
        fill(server, qty)
        server.wait_caught_up()

    turn()
    qty += 1
    count = faults.count(ALL, turn, thread)
    for lasting in ENDS:
        for nth in each(count):
            qty += 1
            faults.arm(ALL, nth, lasting, error, thread)
            with server.client() as client:
                refused = []
                for key in CARTS:
                    answer = client.cmd(f"cset {key} SKU-1 {qty}")
                    assert answer == "HD" or answer.startswith("SERVER_ERROR NO_DISK"), answer
                    refused += [key] if answer != "HD" else []
                wait_until(lambda: faults.hits() or caught_up(server), "the call comes")
                faults.disarm()
                for key in refused:
                    wait_until(lambda k=key: client.cmd(f"cset {k} SKU-1 {qty}") == "HD",
                               "the disk is used again")
            server.wait_caught_up()
            check(server, qty)
    books.check(server, CARTS)
    server.crash()
    check(server, qty)


def test_a_batch_that_l2_refuses_is_written_again(server, faults):
    """By itself: nobody changes these carts once more."""
    server.start(t=1)
    qty = 1

    def turn():
        fill(server, qty)
        server.wait_caught_up()
    turn()
    qty += 1
    count = faults.count(KINDS["l2"], turn, "l2-writer")
    for nth in range(1, count + 1):
        qty += 1
        faults.arm(KINDS["l2"], nth, thread="l2-writer")
        turn()
        faults.disarm()
        with server.client() as client:  # the journal need not have what L2 has when this is there
            assert client.cmd(f"cset cart:other SKU-1 {qty}") == "HD"
        server.wait_caught_up()
        server.crash()
        check(server, qty)


def caught_up(server):
    stats = server.stats()
    return not stats["dirty_carts"] and not stats["behind_age_ms"]


@pytest.mark.parametrize("lasting", ENDS, ids=["once", "lasting"])
@pytest.mark.parametrize("only_in", ["l2", "l3"])
def test_reading_through(server, faults, only_in, lasting):
    """A cart that is not in memory: found, or a code, and found the next time."""
    many = [f"cart:cold{number}" for number in range(40)]
    server.start(t=1)
    with server.client() as client:
        for key in many:
            assert client.cmd(f"cset {key} SKU-1 3") == "HD"
    server.wait_caught_up()

    def cold():
        assert server.stop() == 0
        if only_in == "l3":
            server.forget("l2", "journal")
        server.start(**server.options)
        yield from many

    keys = cold()
    next(keys)
    with server.client() as client:
        count = faults.count(ALL, lambda: client.cart(next(keys)), "fill")
    for nth in each(count):
        key = next(keys, None)
        if key is None:
            keys = cold()
            key = next(keys)
        faults.arm(ALL, nth, lasting, errno.EIO, "fill")
        answer = ask(server, f"cget {key}")
        faults.disarm()
        assert answer.startswith(("VA ", "SERVER_ERROR ")), f"{faults.last()}: {answer}"
        # L3 is asked again after a pause
        wait_until(lambda k=key: (ask(server, f"cget {k}") or "").startswith("VA "),
                   f"it is found after {faults.last()}")
        with server.client() as client:
            assert client.qty(key, "SKU-1") == 3, faults.last()


def test_a_full_table_of_read_throughs_refuses(server, faults):
    """The first read-through makes the table that all share."""
    server.start(t=1)
    fill(server)
    line = f"cget {CARTS[0]}"
    server.restart()
    count = faults.count(KINDS["memory"], lambda: ask(server, line), "worker")
    with server.client() as client:
        assert client.stat("cart_parked") == 1  # it was one
    for nth in range(1, count + 1):
        server.restart()
        faults.arm(KINDS["memory"], nth, False, thread="worker")
        answer = ask(server, line)
        faults.disarm()
        assert answer is None or answer.startswith(("VA ", "SERVER_ERROR ")), answer
        assert ask(server, line).startswith("VA "), faults.last()


def test_histories(server, faults):
    server.start(t=1)
    fill(server)
    key = CARTS[0]

    def history():
        with server.client() as client:
            first, data = client.value(f"chst {key}")
            assert first.startswith("VA") and b"SKU-1" in data
    count = faults.count(ALL, history, "history")
    for lasting in ENDS:
        for nth in each(count):
            faults.arm(ALL, nth, lasting, errno.EIO, "history")
            answer = ask(server, f"chst {key}")
            faults.disarm()
            assert answer.startswith(("VA ", "SERVER_ERROR ")), f"{faults.last()}: {answer}"
            history()


def test_ends_of_lives(server, faults):
    """The reaper, and with it events on their way to SQL."""
    server.start(t=1)
    number = 0

    def end_one():
        nonlocal number
        number += 1
        with server.client() as client:
            assert client.cmd(f"cset cart:life{number} SKU-1 1 T1") == "HD"

    def ended():
        return server.stats()["carts_expired"] >= number
    end_one()
    count = faults.count(ALL, lambda: wait_until(ended, "its life ends"), "reaper")
    for lasting in ENDS if LONG else [False]:
        for nth in each(count):
            faults.arm(ALL, nth, lasting, errno.EIO, "reaper")
            end_one()
            wait_until(lambda: faults.hits() or ended(), "the call comes")
            faults.disarm()
            wait_until(ended, f"its life ends after {faults.last()}")
    server.wait_caught_up()
    rows = server.sql("SELECT aggregateid FROM cart_event WHERE type = 'cart.expired'")
    assert len(rows) == number == len({row["aggregateid"] for row in rows})


def test_the_inbox(server, faults):
    """A row is done once, whatever failed on its way."""
    server.start(t=1, l3_inbox_ms=20)
    number = 0

    def put_row():
        nonlocal number
        number += 1
        server.change("INSERT INTO cart_inbox (cart_id, command, token) VALUES (%s, %s, %s)",
                      "cart:inbox", f"cadd line{number} 1", f"t{number}")

    def done():
        return not server.sql("SELECT id FROM cart_inbox")

    def take():
        put_row()
        wait_until(done, "the row is done")
    take()
    count = faults.count(ALL, take, "inbox")
    for lasting in ENDS if LONG else [False]:
        for nth in each(count):
            faults.arm(ALL, nth, lasting, errno.EIO, "inbox")
            put_row()
            wait_until(lambda: faults.hits() or done(), "the call comes")
            faults.disarm()
            wait_until(done, f"the row is done after {faults.last()}")
    with server.client() as client:
        lines = client.cart("cart:inbox")["lines"]
    assert {line["line"]: line["qty"] for line in lines} == \
        {f"line{one + 1}": 1 for one in range(number)}


def test_snapshots(server, faults, tmp_path):
    """One that fails says so and leaves nothing; the next one is whole."""
    server.start(t=1)
    fill(server)
    server.wait_caught_up()
    folders = (tmp_path / f"snap{number}" for number in itertools.count(1))

    def take():
        folder = next(folders)
        return ctl.run(server, "snapshot", folder)[0], folder

    count = faults.count(ALL, take, "operator")
    for lasting in ENDS if LONG else [False]:
        for nth in each(count):
            faults.arm(ALL, nth, lasting, errno.EIO, "operator")
            status, folder = take()
            faults.disarm()
            # what the disk does not let go stays
            assert status == ctl.OK or lasting or not folder.exists(), f"{faults.last()}: {status}"
            status, folder = take()
            assert status == ctl.OK, f"after {faults.last()}"
            shutil.rmtree(folder)
    check(server)


# ---- verify ----

@pytest.mark.parametrize("lasting", ENDS, ids=["once", "lasting"])
@pytest.mark.parametrize("kinds", [kind for name, kind in KINDS.items() if name not in (
    "thread", "socket")] if LONG else [ALL], ids=str)
def test_verify(server, faults, kinds, lasting):
    server.start(t=1)
    fill(server)
    assert server.stop() == 0

    def verify(*options):
        return subprocess.run([fail_nth.PROGRAM, "verify", server.data, *options], check=False,
                              env=os.environ | server.environment, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=WAIT_SECONDS)

    def good():
        done = verify()
        assert done.returncode == 0, done.stdout
    count = faults.count(kinds, good)
    for nth in each(count):
        faults.arm(kinds, nth, lasting)
        done = verify()
        faults.disarm()
        told = "cartd: " in done.stdout if done.returncode == 3 else "not looked at" in done.stdout
        assert done.returncode == 0 or told, f"{faults.last()}: {done.returncode} {done.stdout}"
        good()

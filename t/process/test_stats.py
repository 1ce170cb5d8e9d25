"""Statistics and management: memcached's tools and monitoring agents find what they look for."""
import os
import re
import select
import shutil
import socket
import struct
import subprocess
import threading
from contextlib import contextmanager
from functools import partial
from urllib.parse import quote, unquote

import pytest
from daemon import free_port
from transport import AnyServer, make_any_server, tcp  # noqa: F401  (the fixture `server`)
from waiting import WAIT_SECONDS, wait_until
from wire import Client, Closed

TOOL = "/usr/share/memcached/scripts/memcached-tool"
KEYS = 20000

# What prometheus/memcached_exporter parses; it leaves out a metric that is not there or no number.
EXPORTED = """
    uptime time rusage_user rusage_system bytes limit_maxbytes curr_items total_items bytes_read
    bytes_written curr_connections total_connections rejected_connections conn_yields
    listen_disabled_num evictions reclaimed store_too_large store_no_memory lru_crawler_starts
    direct_reclaims crawler_items_checked crawler_reclaimed moves_to_cold moves_to_warm
    moves_within_lru accepting_conns get_hits get_misses delete_hits delete_misses incr_hits
    incr_misses decr_hits decr_misses cas_hits cas_misses touch_hits touch_misses cas_badval
    cmd_flush cmd_set unexpected_napi_ids round_robin_fallback""".split()
EXPORTED_ITEMS = """
    number age hits_to_hot hits_to_warm hits_to_cold hits_to_temp crawler_reclaimed evicted
    evicted_nonzero evicted_time evicted_unfetched expired_unfetched outofmemory reclaimed
    tailrepairs mem_requested moves_to_cold moves_to_warm moves_within_lru number_hot number_warm
    number_cold age_hot age_warm""".split()
EXPORTED_SLABS = """
    get_hits delete_hits incr_hits decr_hits cas_hits touch_hits cas_badval cmd_set chunk_size
    chunks_per_page total_pages total_chunks used_chunks free_chunks free_chunks_end
    mem_requested""".split()
EXPORTED_SETTINGS = """
    maxconns lru_crawler_sleep lru_crawler_tocrawl hot_lru_pct warm_lru_pct hot_max_factor
    warm_max_factor""".split()


@contextmanager
def run_memcached(*options):
    """The real one; yields its port."""
    program = shutil.which("memcached")
    assert program, "memcached is not installed"
    port = free_port()
    command = [program, "-l", "127.0.0.1", "-p", str(port), "-U", "0", *options]
    if os.geteuid() == 0:
        command += ["-u", "root"]
    with subprocess.Popen(command) as process:
        def serves():
            assert process.poll() is None, "memcached ended while starting"
            try:
                with Client(port) as client:
                    return client.cmd("version")
            except Closed:
                return False

        try:
            wait_until(serves, "memcached serves")
            yield port
        finally:
            process.terminate()


@pytest.fixture(name="memcached", scope="module")
def make_memcached():
    with run_memcached() as port:
        yield port


@pytest.fixture(name="quiet_memcached", scope="module")
def make_quiet_memcached():
    """One without threads that remove what is over before a command meets it."""
    with run_memcached("-o", "no_lru_crawler,no_lru_maintainer") as port:
        yield port


@pytest.fixture(name="cartd", scope="module")
def make_cartd(tmp_path_factory):
    """One for all tests that only look."""
    server = AnyServer(tmp_path_factory.mktemp("stats"))
    server.begin("-p", "{port}")
    yield server
    assert server.stop() == 0, server.log_end()


def begin(server, *options):
    return server.begin("-p", "{port}", *options)


def store(client, keys, value="x", exptime=0):
    lines = "".join(f"set {key} 0 {exptime} {len(value)} noreply\r\n{value}\r\n" for key in keys)
    client.send(lines)
    assert client.cmd("mn") == "MN"


def form(value):
    """What a value looks like to a parser."""
    for name, pattern in (("number", r"\d+"), ("seconds", r"\d+\.\d{6}"), ("factor", r"\d+\.\d+"),
                          ("answer", r"yes|no"), ("switch", r"on|off")):
        if re.fullmatch(pattern, value):
            return name
    return "text"


# ---- names and forms -----------------------------------------------------------------------------

def test_every_name_of_memcached_is_there_in_its_order_and_form(cartd, memcached):
    with cartd.client() as client, Client(memcached) as other:
        ours, theirs = client.stats(), other.stats()
    assert list(ours)[:len(theirs)] == list(theirs)
    assert {name: form(ours[name]) for name in theirs} == \
        {name: form(value) for name, value in theirs.items()}


def test_no_name_comes_twice(cartd):
    with cartd.client() as client:
        client.send("stats\r\n")
        names = []
        while (line := client.line()) != "END":
            assert re.fullmatch(r"STAT \S+ \S.*", line), line
            names.append(line.split(" ")[1])
    assert len(names) == len(set(names))


def test_every_setting_of_memcached_is_there_and_as_parsable(cartd, memcached):
    with cartd.client() as client, Client(memcached) as other:
        ours, theirs = client.stats("settings"), other.stats("settings")
    assert set(theirs) <= set(ours), set(theirs) - set(ours)
    assert {name: form(ours[name]) for name in theirs} == \
        {name: form(value) for name, value in theirs.items()}


def test_an_exporter_finds_numbers_everywhere(cartd):
    with cartd.client() as client:
        store(client, ["exported"])
        found = {name: client.stats(name) for name in ("", "items", "slabs", "settings")}
    wanted = {"": EXPORTED, "items": [f"items:1:{name}" for name in EXPORTED_ITEMS],
              "slabs": [f"1:{name}" for name in EXPORTED_SLABS] + ["active_slabs",
                                                                  "total_malloced"],
              "settings": EXPORTED_SETTINGS}
    for what, names in wanted.items():
        for name in names:
            assert form(found[what][name]) in ("number", "seconds", "factor"), name
    assert found["settings"]["lru_crawler"] == "yes"


def test_items_and_slabs_have_memcacheds_names(cartd, memcached):
    for what in ("items", "slabs"):
        names = []
        for port in (cartd.port, memcached):
            with Client(port) as client:
                store(client, ["same"])
                names.append([name for name in client.stats(what)
                              if re.match(r"(items:)?1:|[a-z_]+$", name)])
        # memcached 1.6.18 has mem_requested among the items, its exporters look for it in both
        assert [name for name in names[0] if name != "1:mem_requested"] == names[1]


def test_binary_tells_the_same(cartd):
    with cartd.client() as client:
        for what in ("", "items", "slabs", "settings", "sizes"):
            assert set(client.stats(what)) == set(binary_stats(cartd.port, what)), what
    assert "conn_listening" in binary_stats(cartd.port, "conns").values()


def binary_stats(port, what):
    with socket.create_connection(("127.0.0.1", port), WAIT_SECONDS) as connection:
        connection.sendall(struct.pack(">BBHBBHIIQ", 0x80, 0x10, len(what), 0, 0, 0, len(what), 7,
                                       0) + what.encode())
        file, found = connection.makefile("rb"), {}
        while True:
            _, _, key_len, _, _, status, body, opaque, _ = struct.unpack(">BBHBBHIIQ",
                                                                         file.read(24))
            assert (status, opaque) == (0, 7)
            key, value = file.read(key_len).decode(), file.read(body - key_len).decode()
            if not key:
                return found
            found[key] = value


# ---- what is counted -----------------------------------------------------------------------------

COUNTED = """
    cmd_get cmd_set cmd_flush cmd_touch cmd_meta get_hits get_misses get_expired get_flushed
    delete_misses delete_hits incr_misses incr_hits decr_misses decr_hits cas_misses cas_hits
    cas_badval touch_hits touch_misses store_too_large store_no_memory auth_cmds auth_errors
    total_items""".split()
SET, NUMBER = "set k 0 0 1\r\nx\r\n", "set k 0 0 1\r\n9\r\n"
DEAD, FLUSHED = "set k 0 -1 1\r\n1\r\n", NUMBER + "flush_all\r\n"
LARGE = "x" * 2000000 + "\r\n"

# (what is there before, what is counted)
TEXT = [
    ("", SET), (SET, SET), ("", "set k 0 0 1 noreply\r\nx\r\n"),
    (SET, "get k\r\n"), ("", "get k\r\n"), (SET, "get k nil k\r\n"), (SET, "gets k\r\n"),
    (SET, "bget k\r\n"),
    (SET, "gat 0 k\r\n"), ("", "gat 0 k\r\n"), (SET, "gats 0 k nil\r\n"),
    (SET, "touch k 0\r\n"), ("", "touch k 0\r\n"),
    ("", "add k 0 0 1\r\nx\r\n"), (SET, "add k 0 0 1\r\nx\r\n"),
    (SET, "replace k 0 0 1\r\nx\r\n"), ("", "replace k 0 0 1\r\nx\r\n"),
    (SET, "append k 0 0 1\r\nx\r\n"), ("", "append k 0 0 1\r\nx\r\n"),
    (SET, "prepend k 0 0 1\r\nx\r\n"), ("", "prepend k 0 0 1\r\nx\r\n"),
    ("", "cas k 0 0 1 5\r\nx\r\n"), (SET, "cas k 0 0 1 99999999\r\nx\r\n"),
    (SET, "cas k 0 0 1 CAS\r\nx\r\n"), (SET, "delete k\r\n"), ("", "delete k\r\n"),
    (NUMBER, "incr k 1\r\n"), ("", "incr k 1\r\n"), (SET, "incr k 1\r\n"),
    (NUMBER, "decr k 1\r\n"), ("", "decr k 1\r\n"), (SET, "incr k x\r\n"),
    ("", "flush_all\r\n"), ("", "flush_all noreply\r\n"), (SET, "flush_all -1\r\n"),
    *[(DEAD, command) for command in (
        "get k\r\n", "gat 0 k\r\n", "touch k 0\r\n", "add k 0 0 1\r\nx\r\n", SET, "delete k\r\n",
        "append k 0 0 1\r\nx\r\n", "replace k 0 0 1\r\nx\r\n", "cas k 0 0 1 1\r\nx\r\n",
        "incr k 1\r\n", "mg k v\r\n", "me k\r\n", "md k\r\n", "ma k\r\n")],
    *[(FLUSHED, command) for command in ("get k\r\n", "delete k\r\n", SET, "touch k 0\r\n")],
    (SET, "mg k v\r\n"), ("", "mg k v\r\n"), (SET, "mg k\r\n"), (SET, "mg k T30 v\r\n"),
    (SET, "mg k T30\r\n"), ("", "mg k T30\r\n"), ("", "mg k N30 v\r\n"), ("", "mg k q v\r\n"),
    (SET, "mg k v u\r\n"), (SET, "mg k v v\r\n"), ("", f"mg {'k' * 251} v\r\n"),
    ("", "ms k 1\r\nx\r\n"), ("", "ms k 1 q\r\nx\r\n"), ("", "ms k 1 C5\r\nx\r\n"),
    (SET, "ms k 1 C5\r\nx\r\n"), (SET, "ms k 1 ME\r\nx\r\n"), (SET, "ms k 1 MA\r\nx\r\n"),
    ("", "ms k x\r\n"), ("", "ms k 1\r\nxyz\r\n"),
    (SET, "md k\r\n"), ("", "md k\r\n"), (SET, "md k I\r\n"), (SET, "md k C5\r\n"),
    (NUMBER, "ma k\r\n"), ("", "ma k\r\n"), (NUMBER, "ma k MD\r\n"), ("", "ma k MD\r\n"),
    ("", "ma k N0\r\n"), (NUMBER, "ma k T30\r\n"), (NUMBER, "ma k C5\r\n"), (SET, "ma k\r\n"),
    (SET, "me k\r\n"), ("", "me k\r\n"),
    ("", "set k 0 0 2000000\r\n" + LARGE), ("", "add k 0 0 2000000\r\n" + LARGE),
    ("", "ms k 2000000\r\n" + LARGE), ("", "set k 0 0 1\r\nxyz\r\n"), ("", "set k 0 0\r\n"),
    ("", "set k 0 0 -1\r\n"), ("", f"set {'k' * 251} 0 0 1\r\nx\r\n"),
    ("", f"get {'k' * 251}\r\n"), ("", "version\r\n"), ("", "verbosity 0\r\n"),
    ("", "nonsense\r\n"),
]


def frame(opcode, key=b"", extras=b"", value=b"", cas=0):
    return struct.pack(">BBHBBHIIQ", 0x80, opcode, len(key), len(extras), 0, 0,
                       len(key) + len(extras) + len(value), 0, cas) + extras + key + value


ZERO, ONE, NEVER = bytes(4), (1).to_bytes(8, "big"), b"\xff" * 4
BINARY = [
    ("", frame(0x01, b"k", ZERO * 2, b"x")), ("", frame(0x11, b"k", ZERO * 2, b"x")),
    (SET, frame(0x00, b"k")), ("", frame(0x00, b"k")), ("", frame(0x09, b"k")),
    (SET, frame(0x0d, b"k")), ("", frame(0x02, b"k", ZERO * 2, b"x")),
    (SET, frame(0x02, b"k", ZERO * 2, b"x")), ("", frame(0x03, b"k", ZERO * 2, b"x")),
    (SET, frame(0x04, b"k")), ("", frame(0x04, b"k")), (SET, frame(0x04, b"k", cas=5)),
    (NUMBER, frame(0x05, b"k", ONE + ZERO * 3)), ("", frame(0x05, b"k", ONE + ZERO * 3)),
    ("", frame(0x05, b"k", ONE + ZERO * 2 + NEVER)),
    ("", frame(0x06, b"k", ONE + ZERO * 2 + NEVER)),
    ("", frame(0x08)), ("", frame(0x08, b"", ZERO)), (SET, frame(0x0e, b"k", b"", b"y")),
    ("", frame(0x0e, b"k", b"", b"y")), (SET, frame(0x1c, b"k", ZERO)),
    ("", frame(0x1c, b"k", ZERO)), (SET, frame(0x1d, b"k", ZERO)), ("", frame(0x1d, b"k", ZERO)),
    ("", frame(0x1e, b"k", ZERO)), (SET, frame(0x01, b"k", ZERO * 2, b"x", 5)),
    ("", frame(0x01, b"k", ZERO * 2, b"x", 5)), (SET, frame(0x03, b"k", ZERO * 2, b"x", 5)),
    (SET, frame(0x0e, b"k", b"", b"x", 5)), (NUMBER, frame(0x05, b"k", ONE + ZERO * 3, cas=5)),
    ("", frame(0x01, b"k", ZERO * 2, b"x" * 2000000)), ("", frame(0x0a)), ("", frame(0x0b)),
    ("", frame(0x55)),
]


def sync(client):
    """Until all that was sent is answered; what it was is looked at elsewhere."""
    client.send("verbosity 0 1 2 3\r\nmn\r\n")
    while client.line() != "MN":
        pass


def run_text(client, command):
    if "CAS" in command:
        command = command.replace("CAS", client.gets("k")[1])
        before = client.stats()
    else:
        before = client.stats()
    client.send(command)
    sync(client)
    return before


def run_binary(port, client, request):
    before = client.stats()
    with socket.create_connection(("127.0.0.1", port), WAIT_SECONDS) as connection:
        connection.sendall(request + frame(0x0a))
        file, opcode = connection.makefile("rb"), None
        wanted = 2 if request == frame(0x0a) else 1
        while wanted:
            head = file.read(24)
            opcode = head[1]
            file.read(int.from_bytes(head[8:12], "big"))
            wanted -= opcode == 0x0a
    return before


def changes(port, prepare, command):
    """{name: by how much}"""
    with Client(port) as client:
        # memcached looks at the oldest five when it needs memory: k must not be one of them
        store(client, [f"older{n}" for n in range(10)])
        client.send("delete k\r\n" + prepare)
        sync(client)
        before = run_text(client, command) if isinstance(command, str) else \
            run_binary(port, client, command)
        after = client.stats()
    return {name: int(after[name]) - int(before[name]) for name in COUNTED
            if after[name] != before[name]}


@pytest.mark.parametrize("cases", [TEXT, BINARY], ids=["text", "binary"])
def test_commands_change_the_same_counters(cartd, quiet_memcached, cases):
    wrong = []
    for prepare, command in cases:
        ours, theirs = (changes(port, prepare, command) for port in (cartd.port, quiet_memcached))
        if ours != theirs:
            wrong.append(f"{prepare[:30]!r}, {command[:60]!r}: {ours} instead of {theirs}")
    assert not wrong, "\n".join(wrong)


def test_a_reset_begins_anew_where_memcached_does(server, memcached):
    begin(server)
    zeros = []
    for port in (server.port, memcached):
        with Client(port) as client, Client(port):
            for _, command in TEXT:
                client.send(command.replace("CAS", "1"))
            sync(client)
            assert client.cmd("stats reset") == "RESET"
            stats = client.stats()
        zeros.append({name for name in (*COUNTED, "total_connections", "evictions",
                                        "rejected_connections") if stats[name] == "0"})
        assert int(stats["bytes_read"]) < 100 and int(stats["bytes_written"]) < 100
    assert zeros[0] == zeros[1]


def test_a_store_without_memory_is_counted(server):
    begin(server, "-m", "8", "-I", "16m")
    with server.client() as client:
        assert client.store("set k 0 0", "x" * (9 << 20)).startswith("SERVER_ERROR out of memory")
        stats = client.stats()
        assert (stats["store_no_memory"], stats["store_too_large"]) == ("1", "0")
        store(client, [f"k{n}" for n in range(100)], "x" * 100000)
        stats = client.stats()
        assert int(stats["evictions"]) > 10
        assert stats["evicted_unfetched"] == stats["direct_reclaims"] == stats["evictions"]


def test_items_are_told_by_class(server):
    begin(server)
    with server.client() as client:
        assert client.stats("items") == {}
        slabs = client.stats("slabs")
        assert list(slabs) == ["active_slabs", "total_malloced"] and slabs["active_slabs"] == "0"
        store(client, [f"k{n}" for n in range(10)], "x" * 1000)
        assert client.cmd("cadd cart:1 SKU-1 1") == "HD"
        assert client.get("k1") == b"x" * 1000
        items, slabs = client.stats("items"), client.stats("slabs")
        assert (items["items:1:number"], items["items:2:number"]) == ("10", "1")
        assert 10 * 1000 < int(items["items:1:mem_requested"]) < 10 * 1200
        assert items["items:1:hits_to_cold"] == slabs["1:get_hits"] == "1"
        assert slabs["1:used_chunks"] == "10" and 1000 < int(slabs["1:chunk_size"]) < 1200
        assert slabs["active_slabs"] == "2"
        assert int(slabs["total_malloced"]) > 10 * 1000
        first = int(items["items:1:age"])
        wait_until(lambda: int(client.stats("items")["items:1:age"]) > first, "items grow old")


def test_connections_are_listed(cartd):
    with cartd.client() as client:
        conns = client.stats("conns")
        address = "tcp:%s:%d" % client.socket.getsockname()
    own = [name.split(":")[0] for name, value in conns.items() if value == address]
    assert len(own) == 1, conns
    assert conns[f"{own[0]}:listen_addr"] == f"tcp:127.0.0.1:{cartd.port}"
    assert re.fullmatch(r"conn_\w+", conns[f"{own[0]}:state"])
    assert conns[f"{own[0]}:secs_since_last_cmd"] == "0"
    assert "conn_listening" in conns.values()


# ---- tools ---------------------------------------------------------------------------------------

def run_tool(*command):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False,
                          timeout=WAIT_SECONDS)
    assert done.returncode == 0, done
    return done.stdout


@pytest.fixture(name="filled", scope="module")
def make_filled(tmp_path_factory):
    """A server with 100 items and a cart; its port."""
    server = AnyServer(tmp_path_factory.mktemp("tools"))
    begin(server)
    with server.client() as client:
        store(client, [f"tool{n}" for n in range(100)], "value")
        store(client, ["short"], "value", 1000)
        assert client.cmd("cadd cart:tool SKU-1 1") == "HD"
    yield server.port
    assert server.stop() == 0, server.log_end()


PLAIN_KEYS = {f"tool{n}" for n in range(100)} | {"short"}


def test_memcdump_lists_all_keys(filled):
    assert set(run_tool("memcdump", f"--servers=127.0.0.1:{filled}").split()) == \
        PLAIN_KEYS | {"cart:tool"}


def test_memcstat_tells_everything(filled):
    told = run_tool("memcstat", f"--servers=127.0.0.1:{filled}")
    with Client(filled) as client:
        for name in client.stats():
            assert re.search(rf"\b{name}: \S", told), name


def test_memcached_tool_shows_and_dumps(filled):
    address = f"127.0.0.1:{filled}"
    assert re.search(r"^  1 +\d+B +\d+s +1 +101 ", run_tool(TOOL, address), flags=re.M)
    assert re.search(r"^ +curr_items +102$", run_tool(TOOL, address, "stats"), flags=re.M)
    assert re.search(r"^ +maxbytes +67108864$", run_tool(TOOL, address, "settings"), flags=re.M)
    assert "sizes_status" in run_tool(TOOL, address, "sizes")
    keys = re.findall(r"^key=(\S+) ", run_tool(TOOL, address, "keys"), flags=re.M)
    assert set(keys) == PLAIN_KEYS | {"cart%3Atool"} and len(keys) == 102
    dump = run_tool(TOOL, address, "dump")
    for key in PLAIN_KEYS:
        assert re.search(rf"^add {key} 0 \d+ 5\r?\nvalue\r?$", dump, flags=re.M), key


# ---- dumps of keys -------------------------------------------------------------------------------

LINE = re.compile(r"key=(\S+) exp=(-1|\d+) la=(\d+) cas=(\d+) fetch=(yes|no) cls=(\d+) size=(\d+)")


def metadump(client, what="all"):
    """[(key, exp, la, cas, fetch, cls, size)]"""
    client.send(f"lru_crawler metadump {what}\r\n")
    found = []
    while (line := client.bytes_until(b"\n")) != b"END\r\n":
        match = LINE.fullmatch(line[:-1].decode())
        assert match, line
        found.append(match.groups())
    return found


class Dumper(Client):
    def bytes_until(self, end):
        while end not in self.unread:
            self._receive()
        line, _, self.unread = self.unread.partition(end)
        return line + end


def test_metadump_writes_what_memcached_writes(server, memcached):
    begin(server)
    key = "a%b,\x01\x7f/-_.~+:ÄZ9"
    told = []
    for port in (server.port, memcached):
        with Dumper(port) as client:
            assert client.cmd("flush_all") == "OK"
            for line, value in ((f"set {key} 7 0", "v"), ("set ends 0 1000", "four"),
                                ("set asked 0 0", "x"), ("set over 0 -1", "x")):
                client.send(f"{line} {len(value)}\r\n{value}\r\n".encode())
                assert client.line() == "STORED"
            assert client.cmd("ms c3BhY2VkIG91dA== 1 b\r\nx") == "HD"
            assert client.get("asked") == b"x"
            now = int(client.stats()["time"])
            rows = metadump(client)
        told.append({key: (exp if exp == "-1" else "ends", fetch)
                     for key, exp, _, _, fetch, _, _ in rows})
        for _, exp, used, cas, _, slab_class, size in rows:
            assert exp == "-1" or abs(int(exp) - now - 1000) <= 2
            assert abs(int(used) - now) <= 2
            assert int(cas) > 0 and slab_class == "1" and 40 < int(size) < 200
    assert told[0] == told[1]
    assert set(told[0]) == {quote(key, safe="-_.~"), "ends", "asked", "spaced%20out"}


def test_carts_are_listed_in_a_class_of_their_own(server):
    begin(server)
    with Dumper(server.port) as client:
        store(client, ["plain"])
        assert client.cmd("cadd cart:1 SKU-1 1") == "HD"
        assert client.cmd("cget cart:none") == "EN"  # remembered as absent, and no item
        assert {row[0]: row[5] for row in metadump(client)} == {"plain": "1", "cart%3A1": "2"}
        assert [row[0] for row in metadump(client, "2")] == ["cart%3A1"]
        assert [row[0] for row in metadump(client, "1,3")] == ["plain"]
        assert metadump(client, "3") == []
        assert len(metadump(client, "hash")) == 2


def test_mgdump_lists_keys_to_be_sent_back(server):
    begin(server)
    with server.client() as client:
        store(client, ["one", "two"])
        assert client.cmd("ms c3BhY2VkIG91dA== 1 b\r\nx") == "HD"
        client.send("lru_crawler mgdump all\r\n")
        lines = set(iter(client.line, "EN"))
        assert lines == {"mg one", "mg two", "mg c3BhY2VkIG91dA== b"}
        for line in lines:
            assert client.cmd(line) == "HD"


def test_cachedump_lists_as_many_as_asked_for(server, memcached):
    begin(server)
    ends = []
    for port in (server.port, memcached):
        with Client(port) as client:
            store(client, ["ends"], "value", 1000)
            ends.append(wait_until(partial(find_end, client), "it is listed"))
    assert abs(ends[0] - ends[1]) <= 2
    with server.client() as client:
        store(client, [f"k{n}" for n in range(KEYS)], "value")
        assert len(cachedump(client, 1, 10)) == 10
        assert len(cachedump(client, 1, 15000)) == 15000  # more than goes out at once
        assert len(set(cachedump(client, 1, 0))) == KEYS + 1
        assert cachedump(client, 2, 0) == []


def find_end(client):
    """When `ends` ends, as soon as it is listed (by memcached when it is no longer hot)."""
    lines = "\n".join(cachedump(client, 1, 0))
    found = re.search(r"^ITEM ends \[5 b; (\d+) s\]$", lines, flags=re.M)
    return found and int(found.group(1))


def cachedump(client, slab_class, limit):
    client.send(f"stats cachedump {slab_class} {limit}\r\n")
    return list(iter(client.line, "END"))


def keep_busy(port, name, stop):
    """A client that stores, reads and deletes keys of its own until it is told to stop."""
    with Client(port) as client:
        for n in range(1 << 30):
            if stop.is_set():
                return
            key = f"{name}-{n % 5000}"
            gone = f"{name}-{n * 7 % 5000}"
            client.send(f"set {key} 0 0 5\r\nvalue\r\nget {key}\r\ndelete {gone}\r\n")
            assert client.line() == "STORED"
            assert client.read_values()[key][0] == b"value"
            assert client.line() in ("DELETED", "NOT_FOUND")


def test_a_dump_of_many_keys_misses_none_while_clients_work(server):
    begin(server)
    stop = threading.Event()
    with Dumper(server.port) as client:
        store(client, [f"stays{n}" for n in range(KEYS)])
        threads = [threading.Thread(target=keep_busy, args=(server.port, f"busy{n}", stop))
                   for n in range(3)]
        for thread in threads:
            thread.start()
        try:
            dumps = [[row[0] for row in metadump(client)] for _ in range(3)]
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    for keys in dumps:
        stayed = [key for key in keys if key.startswith("stays")]
        assert len(stayed) == KEYS and len(set(stayed)) == KEYS
        assert len(keys) == len(set(keys)) and len(keys) > KEYS


def test_a_dump_that_nobody_reads_holds_no_memory_and_nobody_up(server):
    begin(server, "-t", "1")
    keys = {f"{n}-" + "k" * 240 for n in range(KEYS)}
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    with server.client() as client:
        store(client, keys)
        slow.connect(("127.0.0.1", server.port))
        slow.sendall(b"lru_crawler metadump all\r\nversion\r\n")
        wait_until(lambda: client.stats()["lru_crawler_starts"] == "1", "the dump has begun")
        for _ in range(100):
            assert client.cmd("version").startswith("VERSION ")
        checked = int(client.stats()["crawler_items_checked"])
        assert 0 < checked < KEYS  # 6 MB do not fit into the kernel
    with slow, slow.makefile("rb") as file:
        for _ in range(KEYS):
            keys.discard(unquote(LINE.fullmatch(file.readline().decode()[:-1]).group(1)))
        assert not keys
        assert file.readline() == b"END\r\n"
        assert file.readline().startswith(b"VERSION ")


def test_dumps_can_be_forbidden(server):
    begin(server, "-X")
    with server.client() as client:
        assert client.cmd("lru_crawler metadump all") == "ERROR metadump not allowed"
        assert client.cmd("lru_crawler mgdump all") == "ERROR key dump not allowed"
        assert client.cmd("stats cachedump 1 0") == "CLIENT_ERROR stats cachedump not allowed"


# ---- management ----------------------------------------------------------------------------------

def test_a_lower_limit_of_memory_is_kept_and_costs_no_cart(server):
    begin(server, "-m", "64")
    limit = 8 << 20
    with server.client() as client:
        for n in range(50):
            assert client.cmd(f"cadd cart:{n} SKU-{n} {n + 1}") == "HD"
        store(client, [f"k{n}" for n in range(30000)], "x" * 1000)
        assert int(client.stats()["bytes"]) > 30 << 20
        assert client.cmd("cache_memlimit 8") == "OK"
        stats = client.stats()
        assert int(stats["bytes"]) <= limit == int(stats["limit_maxbytes"])
        assert int(stats["evictions"]) > 20000
        assert client.stats("settings")["maxbytes"] == str(limit)
        store(client, [f"again{n}" for n in range(30000)], "x" * 1000)
        assert int(client.stats()["bytes"]) <= limit
        for n in range(50):
            assert client.qty(f"cart:{n}", f"SKU-{n}") == n + 1
        assert client.cmd("cache_memlimit 64") == "OK"
        store(client, [f"k{n}" for n in range(30000)], "x" * 1000)
        assert int(client.stats()["bytes"]) > 30 << 20


def test_other_clients_are_served_while_the_limit_is_lowered(server):
    begin(server, "-m", "200", "-t", "2")
    with server.client() as client, server.client() as other:
        store(client, [f"k{n}" for n in range(150000)], "x" * 1000)
        served = 0
        client.send("cache_memlimit 8\r\n")
        while not select.select([client.socket], [], [], 0)[0]:
            assert other.store("set other 0 0", "x") == "STORED"
            served += 1
        assert client.line() == "OK"
        assert served > 3  # one that had to wait for all of it would be the only one


@pytest.mark.parametrize("command", ["shutdown", "shutdown graceful"])
def test_shutdown_answers_and_stores_what_came_before(server, command):
    begin(server, "-A")
    with server.client() as client:
        assert client.cmd("shutdown now") == "CLIENT_ERROR invalid shutdown mode"
        client.send("cadd cart:last SKU-1 1\r\n" * 50 + command + "\r\nversion\r\n")
        assert client.rest() == ["HD"] * 50
    assert server.wait() == 0
    begin(server)
    with server.client() as client:
        assert client.qty("cart:last", "SKU-1") == 50
        assert client.cmd(command) == "ERROR: shutdown not enabled"


def test_flush_all_can_be_forbidden(server):
    begin(server, "-F")
    answers = []
    with run_memcached("-F") as memcached:
        for port in (server.port, memcached):
            with Client(port) as client, tcp(port) as binary:
                store(client, ["stays"])
                answers.append([client.cmd("flush_all"), client.cmd("flush_all 10")])
                client.send("flush_all noreply\r\n")
                assert client.get("stays") == b"x"
                assert client.stats()["cmd_flush"] == "3"
                for opcode in (0x08, 0x18):
                    binary.send(frame(opcode))
                    answers[-1].append(binary.bytes(37))
    assert answers[0] == answers[1]
    assert answers[0][0] == "CLIENT_ERROR flush_all not allowed"

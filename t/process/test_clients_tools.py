"""The tools of libmemcached and memcached see no difference: memccapable, the memc* commands, load
generators, memcached-tool."""
import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from clients import execute, make_pair  # noqa: F401
from wire import Client

TOOL = "/usr/share/memcached/scripts/memcached-tool"
TESTS_OF_MEMCCAPABLE = {"ascii": 27, "binary": 27}  # of libmemcached-tools 1.1.4


def port_of(place):
    return int(place.rpartition(":")[2])


def run_memccapable(place):
    done = subprocess.run(["memccapable", "-h", "127.0.0.1", "-p", str(port_of(place))],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=90,
                          check=False)
    return done.returncode, done.stdout.splitlines()


def test_memccapable_passes_all_that_memcached_passes(pair):
    with ThreadPoolExecutor(len(pair)) as pool:  # it sleeps a lot
        told = dict(zip(pair, pool.map(run_memccapable, pair.values())))
    assert told["cartd"] == told["memcached"]
    status, lines = told["cartd"]
    assert status == 0 and lines[-1] == "All tests passed"
    for protocol, count in TESTS_OF_MEMCCAPABLE.items():
        assert len([line for line in lines
                    if line.startswith(protocol) and line.endswith("[pass]")]) == count


# ---- the commands --------------------------------------------------------------------------------

def call(folder, place, tool, *arguments):
    """What a tool says and returns, the server's name left out."""
    host, port = place.split(":")
    done = subprocess.run([tool, f"--servers={place}", *arguments], capture_output=True,
                          timeout=90, check=False, cwd=folder)
    said = (done.stdout + done.stderr).replace(place.encode(), b"SERVER")
    return done.returncode, said.replace(f"{host} ({port})".encode(), b"SERVER")


@pytest.mark.parametrize("protocol", [[], ["--binary"]], ids=["text", "binary"])
def test_the_commands_of_libmemcached(pair, tmp_path, protocol):
    (tmp_path / "one").write_text("hello")
    (tmp_path / "two").write_bytes(os.urandom(900000))

    def talk(place):
        def tool(name, *arguments):
            return call(tmp_path, place, name, *protocol, *arguments)

        yield tool("memcflush")
        yield tool("memccp", "--flags=7", "--expire=1000", "one", "two")
        yield tool("memccat", "one")
        yield tool("memccat", "--flags", "one")
        yield tool("memccat", "two", "one", "absent")
        yield tool("memccp", "--add", "one")
        yield tool("memccp", "--replace", "one")
        yield tool("memctouch", "--expire=1000", "one")
        yield tool("memctouch", "--expire=1000", "absent")
        yield tool("memcexist", "one")
        yield tool("memcexist", "absent")
        yield tool("memcrm", "one")
        yield tool("memcrm", "one")
        yield tool("memcexist", "one")
        yield call(tmp_path, place, "memcping")
        yield tool("memcflush")
        yield tool("memccat", "two")

    told = {kind: list(talk(place)) for kind, place in pair.items()}
    assert told["cartd"] == told["memcached"]
    statuses = [status for status, _ in told["cartd"]]
    assert statuses[:4] == [0, 0, 0, 0] and told["cartd"][2][1] == b"hello\n"
    assert told["cartd"][4][1].startswith((tmp_path / "two").read_bytes())


def test_memcdump_lists_all_keys(pair, tmp_path):
    keys = [f"dumped-{number}" for number in range(300)]
    with Client(port_of(pair["cartd"])) as client:
        assert client.cmd("flush_all") == "OK"
        for key in keys:
            assert client.store(f"set {key} 0 0", "x") == "STORED"
    status, said = call(tmp_path, pair["cartd"], "memcdump")
    assert status == 0 and sorted(said.decode().split()) == sorted(keys)


def test_memcstat_shows_all_that_memcached_has(pair, tmp_path):
    names = {}
    for kind, place in pair.items():
        status, said = call(tmp_path, place, "memcstat")
        assert status == 0
        names[kind] = set(re.findall(r"^\s*(\w+):", said.decode(), flags=re.M))
    assert len(names["memcached"]) > 80
    assert names["cartd"] >= names["memcached"]


@pytest.mark.parametrize("arguments", [
    ["--test=get"], ["--test=set"], ["--test=mget"], ["--test=get", "-b"], ["--test=set", "-b"],
    ["--test=mget", "-b"], ["--test=set", "--noreply"], ["--test=set", "-B"],
    ["--test=set", "-n", "-N"],
], ids=" ".join)
def test_memcslap_runs(pair, arguments):
    said = execute(["memcslap", f"--servers={pair['cartd']}", "--concurrency=4",
                    "--execute-number=200", "--flush", *arguments])
    assert re.search(r"(800|200) keys", said), said


@pytest.mark.parametrize("protocol", [[], ["--binary"]], ids=["text", "binary"])
def test_memcaslap_finds_what_it_wrote(pair, protocol):
    said = execute(["memcaslap", f"--servers={pair['cartd']}", "--threads=2", "--concurrency=8",
                    "--execute_number=2000", "--verify=1.0", *protocol])
    figures = dict(re.findall(r"^(\w+): (\d+)", said, flags=re.M))
    assert figures["cmd_set"] == "200" and figures["cmd_get"] == "1800"
    assert figures["get_misses"] == figures["verify_misses"] == figures["verify_failed"] == "0"


# ---- memcached's own tool ------------------------------------------------------------------------

@pytest.mark.parametrize("mode", ["display", "stats", "settings", "sizes", "dump", "keys"])
def test_memcached_tool(pair, mode):
    with Client(port_of(pair["cartd"])) as client:
        assert client.cmd("flush_all") == "OK"
        assert client.store("set seen 5 0", "by the tool") == "STORED"
    told = {kind: execute([TOOL, place, mode]) for kind, place in pair.items()}
    if mode in ("stats", "settings"):
        names = {kind: set(re.findall(r"^ *(\w+) ", said, flags=re.M))
                 for kind, said in told.items()}
        assert names["cartd"] >= names["memcached"] and len(names["memcached"]) > 50
    elif mode == "display":
        heads = {said.splitlines()[0] for said in told.values()}
        assert len(heads) == 1 and re.search(r"^ +\d+ +[\d.]+[BK] ", told["cartd"], flags=re.M)
    elif mode == "sizes":
        assert told["cartd"].splitlines()[1:] == told["memcached"].splitlines()[1:]
    elif mode == "dump":
        assert told["cartd"] == "add seen 5 0 11\nby the tool\n"
    else:
        assert re.fullmatch(r"key=seen exp=-1 la=\d+ cas=\d+ fetch=no cls=\d+ size=\d+\n",
                            told["cartd"])

"""Where it listens: unix sockets, several TCP addresses; and how long it waits for a peer."""
import os
import socket
import stat
import subprocess

import pytest
from daemon import free_port
from transport import make_any_server, run_refused, tcp, unix
from waiting import wait_until
from wire import Closed

assert make_any_server  # the fixture `server`


def listens_on(server):
    with server.client() as client:
        found = client.stats("conns")
    return {found[key.replace(":state", ":addr")] for key, value in found.items()
            if value == "conn_listening"}


# ---- unix sockets --------------------------------------------------------------------------------

@pytest.fixture(name="path")
def make_path(tmp_path):
    return tmp_path / "cartd.sock"


def begin_unix(server, path, *arguments):
    return server.begin("-s", path, *arguments, reach=lambda: unix(path))


def test_a_unix_socket_serves_what_tcp_serves(server, path):
    begin_unix(server, path)
    value = os.urandom(900000)
    with server.client() as client:
        assert client.store("set k 7 0", value) == "STORED"
        assert client.cmd("cadd cart:u1 SKU-1 2 x") == "HD x2"
        client.send("get k\r\n" * 20 + "version\r\n")
        for _ in range(20):
            assert client.line() == f"VALUE k 7 {len(value)}"
            assert client.block(len(value)) == value
            assert client.line() == "END"
        assert client.line().startswith("VERSION ")
        client.send("get none\r\n" * 1000)
        client.half_close()
        assert client.rest() == ["END"] * 1000


def test_a_unix_socket_is_instead_of_tcp_unless_both_are_asked_for(server, path):
    port = free_port()
    begin_unix(server, path)
    assert listens_on(server) == {f"unix:{path}"}
    assert server.stop() == 0
    begin_unix(server, path, "-p", port)
    assert listens_on(server) == {f"unix:{path}", f"tcp:127.0.0.1:{port}"}
    with tcp(port) as client, server.client() as other:
        assert client.store("set k 0 0", "v") == "STORED"
        assert other.get("k") == b"v"


@pytest.mark.parametrize("mode", [None, "770", "0600", "777"])
def test_the_mode_is_that_asked_for(server, path, mode):
    before = os.umask(0o022)
    try:
        begin_unix(server, path, *(["-a", mode] if mode else []))
    finally:
        os.umask(before)
    info = path.lstat()
    assert stat.S_ISSOCK(info.st_mode)
    assert stat.S_IMODE(info.st_mode) == int(mode or "700", 8)


def test_a_stop_removes_the_file(server, path):
    begin_unix(server, path)
    assert server.stop() == 0
    assert not os.path.lexists(path)


def test_what_a_crash_has_left_is_no_obstacle(server, path):
    begin_unix(server, path)
    server.kill9()
    assert path.is_socket()
    begin_unix(server, path)


def test_a_socket_that_is_in_use_is_left_alone(server, path, tmp_path):
    begin_unix(server, path)
    said = run_refused("-s", path, "--data", tmp_path / "other")
    assert str(path) in said and "in use" in said
    with server.client() as client:
        assert client.cmd("version").startswith("VERSION ")


def test_what_is_no_socket_is_left_alone(path, tmp_path):
    path.write_text("precious")
    said = run_refused("-s", path, "--data", tmp_path / "data")
    assert str(path) in said and "no socket" in said
    assert path.read_text() == "precious"


def test_a_file_that_took_our_place_is_left_alone(server, path):
    begin_unix(server, path)
    path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        assert server.stop() == 0
        assert path.is_socket()


@pytest.mark.parametrize("name", ["x" * 108, "no-such-folder/cartd.sock"])
def test_a_path_that_can_not_be_is_told(tmp_path, name):
    said = run_refused("-s", name, "--data", tmp_path / "data")
    assert "unix socket" in said and name in said


def test_connections_over_the_limit_are_refused_in_words(server, path):
    begin_unix(server, path, "-c", 3)
    clients = [server.client()]
    wait_until(lambda: clients[0].stat("curr_connections") == 1, "nobody else is there")
    clients += [server.client(), server.client()]
    for client in clients:
        assert client.cmd("version").startswith("VERSION ")
    with server.client() as extra:
        assert extra.rest() == ["ERROR Too many open connections"]
    for client in clients:
        client.close()


# ---- TCP -----------------------------------------------------------------------------------------

@pytest.mark.parametrize("listen", [
    ["-l", "127.0.0.1,127.0.0.2:{other},[::1]:{other},::1"],
    ["-l", "127.0.0.1", "-l", "127.0.0.2:{other}", "-l", "[::1]:{other}", "-l", "[::1]"],
], ids=["with commas", "one by one"])
def test_all_addresses_of_the_list_serve(server, listen):
    server.begin("-p", "{port}", *listen)
    other = server.other_port
    clients = [tcp(server.port), tcp(other, "127.0.0.2"), tcp(other, "::1"),
               tcp(server.port, "::1")]
    for number, client in enumerate(clients):
        assert client.store(f"set k{number} 0 0", str(number)) == "STORED"
    for client in clients:
        assert [client.get(f"k{number}") for number in range(4)] == [b"0", b"1", b"2", b"3"]
        client.close()
    for port, host in ((other, "127.0.0.1"), (server.port, "127.0.0.2")):
        with pytest.raises(Closed):
            tcp(port, host)


def test_a_star_is_every_address(server):
    server.begin("-p", "{port}", "-l", "*")
    for host in ("127.0.0.1", "127.0.0.3", "::1"):
        with tcp(server.port, host) as client:
            assert client.cmd("version").startswith("VERSION ")


def test_port_0_leaves_only_addresses_with_a_port_of_their_own(server):
    server.begin("-p", "0", "-l", "127.0.0.1,127.0.0.2:{port},127.0.0.3:{port}",
                 reach=lambda: tcp(server.port, "127.0.0.2"))
    with tcp(server.port, "127.0.0.3") as client:
        assert client.cmd("version").startswith("VERSION ")
    assert listens_on(server) == {f"tcp:127.0.0.{number}:{server.port}" for number in (2, 3)}


@pytest.mark.parametrize("arguments, words", [
    (["-l", "no.such.host.invalid"], ["no.such.host.invalid"]),
    (["-l", "127.0.0.1,192.0.2.1"], ["192.0.2.1", "ssign"]),
    (["-l", "127.0.0.1:70000"], ["127.0.0.1:70000"]),
    (["-l", "127.0.0.1:"], ["127.0.0.1:"]),
    (["-l", "127.0.0.1:http"], ["127.0.0.1:http"]),
    (["-l", "127.0.0.1,,127.0.0.2"], ["address"]),
    (["-l", "[::1]8"], ["[::1]8"]),
    (["-l", "notls:"], ["notls:"]),
    (["-p", "0"], ["port"]),
    (["-l", ",".join(f"127.0.1.{number}" for number in range(17))], ["127.0.1.16", "too many"]),
], ids=lambda value: " ".join(value)[:40])
def test_an_address_that_can_not_be_is_named(tmp_path, arguments, words):
    if "-p" not in arguments:
        arguments = ["-p", free_port(), *arguments]
    said = run_refused(*arguments, "--data", tmp_path / "data")
    assert all(word in said for word in words), said


def test_an_address_in_use_is_named(server, tmp_path):
    server.begin("-p", "{port}")
    said = run_refused("-p", free_port(), "-l", f"127.0.0.2,127.0.0.1:{server.port}", "--data",
                       tmp_path / "other")
    assert f"127.0.0.1 port {server.port}" in said and "in use" in said


def test_connections_and_listeners_have_names(server, path):
    server.begin("-p", "{port}", "-l", "127.0.0.1,::1", "-s", path, "-U", "{port}")
    with tcp(server.port) as client, tcp(server.port, "::1") as v6, unix(path) as local:
        for each in (v6, local):
            assert each.cmd("version").startswith("VERSION ")
        wait_until(lambda: client.stat("curr_connections") == 3, "nobody else is there")
        found = client.stats("conns")
        own = client.socket.getsockname()[1]
        of_v6 = v6.socket.getsockname()[1]
    names = {value: key.partition(":")[0] for key, value in found.items() if key.endswith(":addr")}
    here, here6 = f"tcp:127.0.0.1:{server.port}", f"tcp6:[::1]:{server.port}"
    assert names.keys() == {here, here6, f"unix:{path}", f"udp:127.0.0.1:{server.port}",
                            f"udp6:[::1]:{server.port}", f"tcp:127.0.0.1:{own}",
                            f"tcp6:[::1]:{of_v6}"}
    assert found[names[here] + ":state"] == "conn_listening"
    assert found[names[f"tcp:127.0.0.1:{own}"] + ":listen_addr"] == here
    assert found[names[f"tcp6:[::1]:{of_v6}"] + ":listen_addr"] == here6
    assert found[names[f"tcp6:[::1]:{of_v6}"] + ":state"] == "conn_read"
    assert int(found[names[f"tcp6:[::1]:{of_v6}"] + ":secs_since_last_cmd"]) < 60
    assert sum(value == f"unix:{path}" for key, value in found.items() if "listen" in key) == 1


def test_stats_conns_while_connections_come_and_go(server):
    server.begin("-p", "{port}")
    with server.client() as client:
        for _ in range(30):
            others = [server.client() for _ in range(20)]
            client.send("stats conns\r\n")
            for other in others:
                other.close()
            while client.line() != "END":
                pass


# ---- idle time-out -------------------------------------------------------------------------------

def idle_kicks(server):
    with server.client() as client:
        return client.stat("idle_kicks")


def test_who_is_idle_is_closed_and_who_is_not_stays(server):
    """Bytes in either direction count, answered or not."""
    server.begin("-p", "{port}", "-o", "idle_timeout=1")
    talks, tells, reads, idle, half = clients = [server.client() for _ in range(5)]
    reads.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    assert reads.store("set big 0 0", b"x" * 1000000) == "STORED"
    reads.send("get big\r\n" * 100)
    assert idle.cmd("version").startswith("VERSION ")
    half.send("set k 0 0 100\r\nonly half")
    open_ones = {idle, half}
    for each in open_ones:
        each.socket.setblocking(False)

    def all_ended():
        assert talks.cmd("version").startswith("VERSION ")
        tells.send("set told 0 0 1 noreply\r\nx\r\n")
        assert reads.socket.recv(16384)
        for each in list(open_ones):
            try:
                assert each.socket.recv(100) == b""
                open_ones.remove(each)
            except BlockingIOError:
                pass
        return not open_ones
    for _ in range(2):
        wait_until(all_ended, "they are closed")
        open_ones.add(server.client())  # one round more
        for each in open_ones:
            each.socket.setblocking(False)
            clients.append(each)
    assert talks.stat("idle_kicks") == 3
    assert talks.get("k") is None
    assert tells.get("told") == b"x"
    for client in clients:
        client.close()


def test_a_peer_that_does_not_read_is_closed(server):
    server.begin("-p", "{port}", "--idle-timeout", "1")
    with server.client() as slow:
        assert slow.store("set big 0 0", b"x" * 1000000) == "STORED"
        slow.send("get big\r\n" * 100)
        wait_until(lambda: idle_kicks(server) == 1, "it is closed")


def test_without_a_time_out_nobody_is_closed(server):
    server.begin("-p", "{port}")
    with server.client() as client:
        assert client.cmd("version").startswith("VERSION ")
        client.socket.settimeout(3)
        with pytest.raises(TimeoutError):
            client.socket.recv(1)


def test_the_backlog_can_be_set(server):
    server.begin("-p", "{port}", "-b", "7")
    done = subprocess.run(["ss", "-Hltn", f"sport = :{server.port}"], check=True, text=True,
                          capture_output=True)
    assert done.stdout.split()[2] == "7"

"""UDP: each datagram is one request with memcached's frame, and what may answer it how."""
import random
import select
import signal
import struct
from collections import Counter

import pytest
from daemon import free_port
from transport import FRAME_BYTES, HEAD, Udp, make_any_server, run_refused
from waiting import wait_until

assert make_any_server  # the fixture `server`
BODY_BYTES = FRAME_BYTES - HEAD.size
TOO_LARGE = b"SERVER_ERROR answer too large for UDP\r\n"
NOOP = struct.pack(">BBHBBHIIQ", 0x80, 0x0a, 0, 0, 0, 0, 0, 7, 0)


def begin(server, *arguments):
    return server.begin("-p", "{port}", "-U", "{port}", *arguments)


@pytest.fixture(name="udp")
def make_udp(server):
    begin(server)
    with Udp(server.port) as client:
        yield client


# ---- requests ------------------------------------------------------------------------------------

def test_every_kind_of_request_is_answered(udp):
    for request, answer in [
            (b"get k\r\n", b"END\r\n"),
            (b"set k 5 0 3\r\nabc\r\n", b"STORED\r\n"),
            (b"add k 0 0 3\r\nxyz\r\n", b"NOT_STORED\r\n"),
            (b"add n 0 0 2\r\n10\r\n", b"STORED\r\n"),
            (b"incr n 5\r\n", b"15\r\n"),
            (b"get k n none\r\n", b"VALUE k 5 3\r\nabc\r\nVALUE n 0 2\r\n15\r\nEND\r\n"),
            (b"mg k v f\r\n", b"VA 3 f5\r\nabc\r\n"),
            (b"mn\r\n", b"MN\r\n"),
            (b"cadd cart:u1 SKU-1 2 x\r\n", b"HD x2\r\n"),
            (b"delete k\r\n", b"DELETED\r\n"),
            (b"unknown\r\n", b"ERROR\r\n"),
            (b"set k 0 0 x\r\n", b"CLIENT_ERROR bad command line format\r\n"),
            (NOOP, b"\x81" + NOOP[1:]),
            (b"get k\r\nget n\r\n", b"END\r\nVALUE n 0 2\r\n15\r\nEND\r\n")]:
        assert udp.ask(request) == answer, request
    assert udp.ask(b"version\r\n").startswith(b"VERSION ")


def test_what_asks_for_no_answer_gets_none(udp, server):
    udp.send(b"set k 0 0 1 noreply\r\nx\r\n")
    assert udp.silent()
    udp.send(b"quit\r\n")
    assert udp.silent()
    with server.client() as client:
        assert client.get("k") == b"x"


def test_the_frame_of_a_request_is_memcacheds(udp):
    """Neither the index nor the last two bytes are looked at."""
    udp.raw(HEAD.pack(9, 5, 1, 77) + b"mn\r\n")
    assert udp.frame() == (9, 0, 1, b"MN\r\n")


def test_the_largest_request_of_one_datagram(udp, server):
    value = b"v" * (65507 - HEAD.size - len("set k 0 0 65474\r\n\r\n"))
    assert udp.ask(b"set k 0 0 %d\r\n%b\r\n" % (len(value), value)) == b"STORED\r\n"
    with server.client() as client:
        assert client.get("k") == value


def test_many_requests_in_one_datagram(server):
    """More than a connection may run in one turn."""
    begin(server, "--udp-answer-max", 10000)
    with Udp(server.port) as udp:
        assert udp.ask(b"get none\r\n" * 1000) == b"END\r\n" * 1000


def test_each_datagram_stands_alone(udp):
    """memcached takes the second as the rest of the first."""
    udp.send(b"set k 0 0 10\r\nabc")
    assert udp.silent()
    assert udp.ask(b"get k\r\n") == b"END\r\n"
    assert udp.ask(NOOP)[:1] == b"\x81"
    assert udp.ask(b"mn\r\n") == b"MN\r\n"


@pytest.mark.parametrize("head, why", [((1, 0, 2, 0), "of two"), ((1, 1, 2, 0), "second of two"),
                                       ((1, 0, 0, 0), "of none"), ((1, 0, 256, 0), "of many")])
def test_a_request_of_several_datagrams_is_not_answered(udp, server, head, why):
    udp.raw(HEAD.pack(*head) + b"set k 0 0 1\r\nx\r\n")
    assert udp.silent(), why
    with server.client() as client:
        assert client.stat("udp_dropped") == 1
        assert client.get("k") is None


# ---- answers -------------------------------------------------------------------------------------

def answer_bytes(value_bytes):
    return len(f"VALUE k 0 {value_bytes}\r\n") + value_bytes + len("\r\nEND\r\n")


def test_an_answer_as_large_as_a_frame_fits_and_one_byte_more_does_not(udp, server):
    fits = 1369
    assert answer_bytes(fits) == BODY_BYTES
    with server.client() as client:
        client.store("set k 0 0", "x" * fits)
        answer = udp.ask(b"get k\r\n")
        assert len(answer) == BODY_BYTES and answer.endswith(b"xx\r\nEND\r\n")
        client.store("set k 0 0", "x" * (fits + 1))
        assert udp.ask(b"get k\r\n") == TOO_LARGE
        client.store("set k 0 0", "x" * 1000000)
        assert udp.ask(b"get k\r\n") == TOO_LARGE
        assert udp.ask(b"get " + b"k " * 20000 + b"\r\n") == TOO_LARGE
        assert client.stat("udp_too_large") == 3


def test_larger_answers_come_in_frames_when_they_may(server):
    begin(server, "--udp-answer-max", 3 * FRAME_BYTES + 100)
    body_max = 3 * BODY_BYTES + 100 - HEAD.size
    value = bytes(random.Random(1).choices(range(256), k=body_max))
    value = value[:len(value) - (answer_bytes(len(value)) - body_max)]
    with server.client() as client, Udp(server.port) as udp:
        client.store("set k 0 0", value)
        answer = udp.ask(b"get k\r\n")
        assert answer == b"VALUE k 0 %d\r\n%b\r\nEND\r\n" % (len(value), value)
        client.store("set k 0 0", value + b"x")
        assert udp.ask(b"get k\r\n") == TOO_LARGE


def test_too_large_an_answer_in_binary_is_a_binary_error(udp, server):
    with server.client() as client:
        client.store("set k 0 0", "x" * 2000)
    answer = udp.ask(struct.pack(">BBHBBHIIQ", 0x80, 0, 1, 0, 0, 0, 1, 42, 0) + b"k")
    magic, opcode, _, _, _, status, _, opaque, _ = struct.unpack(">BBHBBHIIQ", answer[:24])
    assert (magic, opcode, opaque) == (0x81, 0, 42)
    assert status != 0


def test_the_smallest_limit_still_tells_that_an_answer_is_too_large(server):
    begin(server, "--udp-answer-max", 64)
    with Udp(server.port) as udp:
        assert udp.ask(b"set k 0 0 50\r\n%b\r\n" % (b"x" * 50)) == b"STORED\r\n"
        assert udp.ask(b"get k\r\n") == TOO_LARGE
        assert udp.ask(b"get none\r\n") == b"END\r\n"


# ---- what must not be answered -------------------------------------------------------------------

def test_garbage_is_no_trouble(udp, server):
    chance = random.Random(2)
    for length in (0, 1, 7, 8, *range(9, 200), 1000, 65507):
        udp.raw(chance.randbytes(length))
        udp.raw(HEAD.pack(1, 0, 1, 0) + chance.randbytes(min(length, 60000)))
    with server.client() as client:
        assert client.cmd("version").startswith("VERSION ")
    with Udp(server.port) as other:
        assert other.ask(b"mn\r\n") == b"MN\r\n"


@pytest.mark.parametrize("text", [b"ERROR\r\n", b"CLIENT_ERROR line too long\r\n", TOO_LARGE,
                                  b"ERROR\r\nget k\r\n"])
def test_an_error_is_never_answered(udp, text):
    """Else two servers could be made to tell each other errors for ever."""
    udp.send(text)
    assert udp.silent()


def test_two_servers_do_not_talk_to_each_other(server):
    """All that this one says to anything is sent back to it, as another server's answer would be,
    until it is silent."""
    begin(server)
    with Udp(server.port) as udp:
        for first in (b"nonsense\r\n", b"version\r\n", b"set k 0 0 5\r\nget k\r\n", b"get k\r\n",
                      NOOP, b"set k 0 0 x\r\n", b"mn\r\n", b"x" * 9000):
            said = [udp.ask(first)]
            while len(said) < 10:
                udp.send(said[-1])
                if not select.select([udp.socket], [], [], 0.3)[0]:
                    break
                said.append(udp.frame()[3])
            assert len(said) <= 2, said


def test_datagrams_are_no_connections(udp, server):
    with server.client() as client:
        wait_until(lambda: client.stat("curr_connections") == 1, "nobody else is there")
        total = client.stat("total_connections")
        for _ in range(50):
            udp.ask(b"mn\r\n")
        assert client.stat("total_connections") == total
        assert client.stat("curr_connections") == 1


# ---- many ----------------------------------------------------------------------------------------

def send_all(server, payload, sockets=40, each=25):
    """(clients, Counter of answers): all is sent before anything is read."""
    clients = [Udp(server.port) for _ in range(sockets)]
    for _ in range(each):
        for client in clients:
            client.send(payload)
    return clients


def read_all(clients, count_wanted):
    """Counter of answers, once count_wanted() of them are there."""
    answers = Counter()
    for client in clients:
        client.socket.setblocking(False)

    def done():
        for ready in select.select([client.socket for client in clients], [], [], 0)[0]:
            while True:
                try:
                    answers[ready.recv(1 << 16)[HEAD.size:]] += 1
                except BlockingIOError:
                    break
        return answers.total() >= count_wanted()
    wait_until(done, "all answers")
    for client in clients:
        client.socket.close()
    return answers


def test_1000_datagrams_at_once_are_all_answered(server):
    begin(server)
    clients = send_all(server, b"get none\r\n")
    assert read_all(clients, lambda: 1000) == Counter({b"END\r\n": 1000})


def test_of_1000_writes_at_once_those_answered_and_only_those_took_effect(server):
    """How many may wait for the journal is limited; the others are dropped before they are run."""
    begin(server, "-t", 1)
    clients = send_all(server, b"cadd cart:u1 SKU-1 1\r\n")
    with server.client() as other:
        answers = read_all(clients, lambda: 1000 - other.stat("udp_dropped"))
    assert answers.keys() == {b"HD\r\n"}
    server.crash()
    with server.client() as client:
        assert client.qty("cart:u1", "SKU-1") == answers[b"HD\r\n"]


def test_an_answered_write_survives_a_kill_at_once(server):
    begin(server)
    for number in range(1, 6):
        with Udp(server.port) as udp:
            assert udp.ask(b"cadd cart:u1 SKU-1 1 x\r\n") == b"HD x%d\r\n" % number
        server.crash()


def test_a_write_to_a_cold_cart_waits_for_the_database(server):
    begin(server)
    with server.client() as client:
        assert client.cmd("cadd cart:cold SKU-1 3") == "HD"
    assert server.stop() == 0
    server.forget("l2", "journal")
    begin(server)
    with Udp(server.port) as udp:
        assert udp.ask(b"cadd cart:cold SKU-1 1 x\r\n") == b"HD x4\r\n"


def test_a_stop_answers_what_has_come(server):
    """Also what still lies in the socket: the daemon stands still until it all has come."""
    begin(server)
    with Udp(server.port) as udp:
        assert udp.ask(b"mn\r\n") == b"MN\r\n"
        server.process.send_signal(signal.SIGSTOP)
        for _ in range(250):
            udp.send(b"cadd cart:u1 SKU-1 1\r\n")
        server.process.terminate()
        server.process.send_signal(signal.SIGCONT)
        assert server.wait() == 0
        assert read_all([udp], lambda: 250) == Counter({b"HD\r\n": 250})


# ---- addresses -----------------------------------------------------------------------------------

def test_every_address_of_the_list_has_udp_and_answers_come_from_it(server):
    port = free_port()
    server.begin("-p", "{port}", "-U", port, "-l", "0.0.0.0,::1,0.0.0.0:{other}")
    for host in ("127.0.0.1", "127.0.0.2", "::1"):
        with Udp(port, host) as udp:
            for _ in range(5):
                assert udp.ask(b"mn\r\n") == b"MN\r\n"


def test_without_the_option_there_is_no_udp(server):
    server.begin("-p", "{port}")
    with Udp(server.port) as udp, pytest.raises(ConnectionRefusedError):
        udp.send(b"mn\r\n")
        udp.frame()


def test_a_udp_port_in_use_is_named(server, tmp_path):
    begin(server)
    said = run_refused("-p", free_port(), "-U", server.port, "--data", tmp_path / "other")
    assert f"127.0.0.1 port {server.port} (UDP)" in said and "in use" in said

"""Hostile input by the other ways in: UDP, TLS, unix socket, and from those who are not let in."""
import random
import socket
import ssl

import hostile_rows
import pytest
from hostile_rows import NOOP, NOOP_PROBE, PROBE_OPAQUE, frame, frames_of, header
from hostile_world import (MEGABYTE, SENTINEL, Pusher, World, exchange, raise_own_fd_limit,
                           read_all, reset, scaled, send_all, wait_stuck)
from transport import HEAD, AnyServer, Certificates, Udp, tcp, tls, unix
from waiting import wait_until
from wire import Closed

SEED = random.SystemRandom().randrange(1 << 32)
AUTH, AUTH_FAILED = "CLIENT_ERROR unauthenticated", "CLIENT_ERROR authentication failure"
AUTH_FORMAT = "CLIENT_ERROR bad authentication token format"
DENIED = "CLIENT_ERROR DENIED no right to do this"


def begun(tmp_path_factory, name, begin):
    """A fixture's life: a server begun by begin(server, folder), and the world around it."""
    raise_own_fd_limit()
    folder = tmp_path_factory.mktemp(name)
    server = AnyServer(folder)
    try:
        world = begin(server, folder)
        yield world
        world.end()
        assert server.stop() == 0, server.log_end()
    finally:
        if server.process:
            server.process.kill()


def after(world):
    yield
    world.check()


def seeded():
    print(f"seed {SEED}")
    return random.Random(SEED)


def by_name(rows):
    return pytest.mark.parametrize("row", [row[1:] for row in rows], ids=[row[0] for row in rows])


# ---- UDP -----------------------------------------------------------------------------------------

def begin_udp(server, _):
    server.begin("-p", "{port}", "-U", "{port}", "-c", 4096)
    return World(server)


@pytest.fixture(name="udp_world", scope="module")
def start_udp(tmp_path_factory):
    yield from begun(tmp_path_factory, "udp", begin_udp)


@pytest.fixture(name="udp")
def check_udp(udp_world):
    yield from after(udp_world)


def datagram(payload, request_id=1, index=0, count=1, reserved=0):
    return HEAD.pack(request_id, index, count, reserved) + payload


LARGE_UDP = "SERVER_ERROR answer too large for UDP"
DATAGRAMS = [  # name, datagram, answer; None: silence
    ("nothing", b"", None), ("one byte", b"\0", None), ("half a head", bytes(7), None),
    ("a head only", datagram(b""), None), ("a head and one byte", datagram(b"m"), None),
    ("a head and a line end", datagram(b"\r\n"), [b"ERROR"]),
    ("no head", b"mn\r\nmn\r\nmn\r\nmn\r\n", None),
    ("the first of two", datagram(b"mn\r\n", count=2), None),
    ("the second of two", datagram(b"mn\r\n", index=1, count=2), None),
    ("one of none", datagram(b"mn\r\n", count=0), None),
    ("one of 65535", datagram(b"mn\r\n", index=65534, count=65535), None),
    ("an index behind the count", datagram(b"mn\r\n", index=65535), [b"MN"]),
    ("all bits of the head", datagram(b"mn\r\n", 65535, 65535, 65535, 65535), None),
    ("half a command", datagram(b"get senti"), None),
    ("half a block", datagram(b"set h:u 0 0 100\r\nabc"), None),
    ("a length below zero", datagram(b"set h:u 0 0 -1\r\n"), [hostile_rows.FORMAT.encode()]),
    ("a length of 2147483645", datagram(b"set h:u 0 0 2147483645\r\n"),
     [hostile_rows.TOO_LARGE.encode()]),
    ("a binary set of 1 GiB", datagram(header(1, 3, 8, 1 << 30) + bytes(8) + b"h:u"), "binary"),
    ("half a binary header", datagram(NOOP_PROBE[:11]), None),
    ("a response's magic", datagram(b"\x81" + bytes(23)), None),
    ("an answer of another server: ERROR", datagram(b"ERROR\r\n"), None),
    ("an answer of another server: CLIENT_ERROR", datagram(b"CLIENT_ERROR x\r\n"), None),
    ("an answer of another server: SERVER_ERROR", datagram(b"SERVER_ERROR x\r\n"), None),
    ("an answer that is too large", datagram(b"get sentinel\r\n"), [LARGE_UDP.encode()]),
    ("answers that are too large together", datagram(b"get by:text\r\n" * 2000),
     [LARGE_UDP.encode()]),
    ("stats, which are too large", datagram(b"stats\r\n"), [LARGE_UDP.encode()]),
    ("60 kB of empty lines", datagram(b"\n" * 60000), [LARGE_UDP.encode()]),
    ("60 kB without a line end", datagram(b"x" * 60000), [hostile_rows.TOO_LONG.encode()]),
    ("65,499 bytes of a get line", datagram(b"get " + b"n " * 32747), None),
    ("quit", datagram(b"quit\r\nmn\r\n"), None),
    ("a NUL in front", datagram(b"\0mn\r\n"), [b"ERROR"]),
    ("text behind a frame", datagram(frame(NOOP) + b"mn\r\n"), "binary"),
]


@by_name(DATAGRAMS)
@pytest.mark.usefixtures("udp")
def test_a_datagram_gets_its_answer_or_none(udp_world, row):
    """Silence is seen by the answer to the next, which comes to the same worker."""
    data, wanted = row
    with Udp(udp_world.server.port) as udp:
        udp.raw(data)
        probe = udp.send(b"mn\r\n")
        # a long one may be second
        frames = [udp.frame() for _ in range(1 if wanted is None else 2)]
        assert (probe, 0, 1, b"MN\r\n") in frames
        frames.remove((probe, 0, 1, b"MN\r\n"))
        for *head, body in frames:
            assert head == [HEAD.unpack_from(data)[0], 0, 1]
            if wanted == "binary":
                assert frames_of(body)
            else:
                assert body == b"".join(line + b"\r\n" for line in wanted)


@pytest.mark.usefixtures("udp")
def test_datagrams_of_random_bytes(udp_world):
    chance = seeded()
    with Udp(udp_world.server.port) as udp:
        for _ in range(scaled(500, 20000)):
            payload = chance.randbytes(chance.choice([0, 5, 24, 100, 1000, 9000]))
            if chance.random() < .5:
                payload = b"\x80" + payload.replace(b"\x08", b"\0").replace(b"\x18", b"\0")
            udp.raw(chance.randbytes(4) + b"\0\1\0\0" + payload)
    with Udp(udp_world.server.port) as udp:
        assert udp.ask(b"mn\r\n") == b"MN\r\n"


@pytest.mark.usefixtures("udp")
def test_a_flood_of_datagrams_whose_answers_wait(udp_world):
    """Cart writes that wait for the disk; those over the limit of what may wait are dropped."""
    udp_world.begin_peak()
    with Udp(udp_world.server.port) as udp:
        for number in range(scaled(5000, 50000)):
            udp.raw(datagram(b"cadd cart:udp SKU 1\r\n", number & 0xffff))
    with udp_world.friend() as client:
        wait_until(lambda: client.qty("cart:udp", "SKU") >= 1, "one of them arrives")
        assert client.qty("cart:udp", "SKU") <= scaled(5000, 50000)
        assert client.cmd("cdel cart:udp") == "HD"
    udp_world.check_peak(16 * MEGABYTE, "datagrams that wait")


@pytest.mark.usefixtures("udp")
def test_an_answer_is_never_much_longer_than_its_limit(udp_world):
    """Who sends with a false address gets little out of it."""
    with Udp(udp_world.server.port) as udp:
        for payload in (b"stats\r\n", b"stats settings\r\n", b"stats items\r\n",
                        b"get sentinel\r\n" * 50,
                        b"cget cart:sentinel\r\n" * 60, b"version\r\n" * 500, b"mn\r\n" * 2000,
                        frame(0x10) * 10, NOOP_PROBE * 500):
            sent = udp.send(payload)
            assert len(udp.answer(sent)) <= 1400, payload[:20]


# ---- unix socket ---------------------------------------------------------------------------------

def begin_unix(server, folder):
    path = folder / "cartd.sock"
    server.begin("-s", path, "-p", "{port}", "-c", 4096)
    return World(server, stranger=lambda: unix(path))


@pytest.fixture(name="unix_world", scope="module")
def start_unix(tmp_path_factory):
    yield from begun(tmp_path_factory, "unix", begin_unix)


@pytest.fixture(name="by_unix")
def check_unix(unix_world):
    yield from after(unix_world)


@by_name([(row.name, row) for row in [*hostile_rows.length_rows(), *hostile_rows.nul_rows()]
          if len(row.sends) < 5000][::4])
@pytest.mark.usefixtures("by_unix")
def test_a_unix_socket_is_as_strict(unix_world, row):
    got = exchange(unix_world, hostile_rows.as_bytes(row[0].sends))
    hostile_rows.check_lines(got, row[0].answer)


@pytest.mark.usefixtures("by_unix")
def test_a_crowd_at_the_unix_socket(unix_world):
    for _ in range(scaled(1000, 3000)):
        send_all(unix_world.client(), b"get senti")
    unix_world.check_answers()


@pytest.mark.usefixtures("by_unix")
def test_slow_readers_at_the_unix_socket(unix_world):
    unix_world.begin_peak()
    pushers = [Pusher(unix_world.client(), b"get sentinel\r\n" * 20000) for _ in range(32)]
    wait_stuck(unix_world, "bytes_written")
    unix_world.check_answers()
    unix_world.check_peak(32 * MEGABYTE, "slow readers at the unix socket")
    for pusher in pushers:
        pusher.cut()


# ---- TLS -----------------------------------------------------------------------------------------

class Site(World):
    """The attacks come to the TLS port; friends have a plain one."""

    def __init__(self, server, folder):
        self.certificates = Certificates(folder)
        cert, key = self.certificates.issue("server")
        server.begin("-p", "{port}", "-Z", "-o", f"ssl_chain_cert={cert},ssl_key={key}", "-c", 4096,
                     "-l", "127.0.0.1,notls:127.0.0.1:{other}",
                     reach=lambda: tcp(server.other_port))
        super().__init__(server, stranger=lambda: tcp(server.port))
        self.context = self.certificates.context()

    def secure(self):
        self.clients.append(tls(self.server.port, self.context))
        return self.clients[-1]

    def hello(self):
        """The first bytes of a handshake."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        handshake = self.context.wrap_bio(incoming, outgoing, server_hostname="localhost")
        try:
            handshake.do_handshake()
        except ssl.SSLWantReadError:
            pass
        return outgoing.read()


@pytest.fixture(name="site", scope="module")
def start_site(tmp_path_factory):
    yield from begun(tmp_path_factory, "tls", Site)


@pytest.fixture(name="by_tls")
def check_site(site):
    before = site.stats()["ssl_handshake_errors"]
    yield
    site.check()
    assert site.stats()["ssl_handshake_errors"] >= before
    with site.secure() as client:
        assert client.cmd("mn") == "MN"


ALERT = b"\x15\x03"
NO_TLS = [
    ("text", b"get sentinel\r\n"), ("meta", b"mn\r\n"), ("a binary frame", NOOP_PROBE),
    ("HTTP", b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n"), ("SSH", b"SSH-2.0-OpenSSH_9.2\r\n"),
    ("NULs", bytes(1000)), ("high bytes", b"\xff" * 1000), ("a line end", b"\r\n"),
    ("an SSL 2 hello", b"\x80\x2e\1\0\2\0\x15\0\0\0\x10" + b"\7\0\xc0" * 7 + bytes(16)),
    ("a record of 65535", b"\x16\x03\x01\xff\xff" + b"x" * 70000),
    ("a hello of 16 MB", b"\x16\x03\x01\x40\0\1\xff\xff\xff" + b"x" * 20000),
    ("an alert", b"\x15\x03\x01\0\2\2\x28"), ("data before a hello", b"\x17\x03\x03\0\5hello"),
    ("an empty record", b"\x16\x03\x01\0\0" * 100),
    ("a change of cipher", b"\x14\x03\x03\0\1\1" * 100),
]


@by_name(NO_TLS)
@pytest.mark.usefixtures("by_tls")
def test_what_is_no_tls_gets_an_alert_at_most(site, row):
    got = exchange(site, row[0])
    assert got == b"" or got.startswith(ALERT), got[:100]


@pytest.mark.usefixtures("by_tls")
def test_a_hello_cut_at_each_byte(site):
    hello = site.hello()
    for length in range(len(hello)):
        got = exchange(site, hello[:length])
        assert got == b"" or got.startswith(ALERT), (length, got[:20])


@pytest.mark.usefixtures("by_tls")
def test_a_hello_with_a_bit_flipped(site):
    hello, chance = site.hello(), seeded()
    bits = range(8 * len(hello))
    for bit in chance.sample(bits, scaled(300, len(bits))):
        data = bytearray(hello)
        data[bit // 8] ^= 1 << bit % 8
        got = exchange(site, bytes(data))
        assert got == b"" or got[:1] in (b"\x15", b"\x16"), (bit, got[:20])


@pytest.mark.usefixtures("by_tls")
def test_a_crowd_in_the_middle_of_its_handshake(site):
    """Some begin, some say nothing, some leave: what a handshake needs is not more than 100 kB."""
    site.begin_peak()
    hello, count = site.hello(), scaled(500, 2000)
    for number in range(count):
        send_all(site.client(), (hello, hello[:100], b"")[number % 3])
    wait_until(lambda: site.connections() == count + site.conns, "all are connected")
    site.check_answers()
    with site.secure() as client:
        assert client.cmd("mn") == "MN"
    site.check_peak(count * 100 * 1024, "handshakes")


@pytest.mark.usefixtures("by_tls")
def test_handshakes_that_are_reset(site):
    hello = site.hello()
    for number in range(200):
        client = site.client()
        send_all(client, hello)
        if number % 2:
            client.socket.recv(100)
        reset(client)


@pytest.mark.usefixtures("by_tls")
def test_resets_behind_the_handshake(site):
    for data in (b"", b"get senti", b"get sentinel\r\n" * 100, b"cadd cart:tls SKU 1\r\n" * 20):
        for _ in range(10):
            client = site.secure()
            if data:
                send_all(client, data)
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.socket.close()
    with site.friend() as client:
        client.send("cdel cart:tls\r\n")
        client.line()


@pytest.mark.usefixtures("by_tls")
def test_a_record_that_is_damaged_ends_the_connection(site):
    for cut in (5, 20, 40):
        with site.secure() as client:
            assert client.cmd("mn") == "MN"
            raw = socket.socket(fileno=socket.dup(client.socket.fileno()))
            raw.sendall((b"\x17\x03\x03\0\x40" + bytes(64))[:cut] + b"\x17\x03\x03\0\x13" +
                        bytes(19) * 4)
            raw.shutdown(socket.SHUT_WR)
            raw.settimeout(60)
            while raw.recv(4096):
                pass
            raw.close()


@by_name([(row.name, row) for row in hostile_rows.length_rows() if len(row.sends) < 5000][::5])
@pytest.mark.usefixtures("by_tls")
def test_tls_is_as_strict(site, row):
    row = row[0]
    with site.secure() as client:
        client.send(hostile_rows.as_bytes(row.sends))
        if row.end == hostile_rows.OPEN:
            client.send(hostile_rows.PROBE)
            got = client.bytes(len(hostile_rows.PROBE_ANSWER))
            while not got.endswith(hostile_rows.PROBE_ANSWER):
                got += client.bytes(1)
            hostile_rows.check_lines(got[:-len(hostile_rows.PROBE_ANSWER)], row.answer)
        else:
            assert client.lines(len(row.answer)) == row.answer


@pytest.mark.usefixtures("by_tls")
def test_a_line_without_end_by_tls(site):
    site.begin_peak()
    with site.secure() as client:
        for _ in range(scaled(8, 100)):
            client.send(b"x" * MEGABYTE)
        assert client.line() == hostile_rows.TOO_LONG
        client.send("\r\nmn\r\n")
        assert client.line() == "MN"
    site.check_peak(8 * MEGABYTE, "a line without end")


@pytest.mark.usefixtures("by_tls")
def test_slow_readers_by_tls(site):
    """As without TLS, and a record of 16 kB more."""
    site.begin_peak()
    with site.friend() as owner:
        assert owner.store("set h:large 0 0", b"L" * 1000000) == "STORED"
    count = scaled(32, 64)
    for _ in range(count):
        site.secure().send(b"get h:large\r\n" * 100)
    wait_stuck(site, "bytes_written")
    site.check_answers()
    site.check_peak(count * (2 * MEGABYTE + 256 * 1024) + 4 * MEGABYTE, "slow readers by TLS")
    site.close_clients()
    with site.friend() as owner:
        assert owner.cmd("delete h:large") == "DELETED"


@pytest.mark.usefixtures("by_tls")
def test_a_long_pipeline_by_tls(site):
    count = scaled(10000, 100000)
    with site.friend() as owner:
        assert owner.store("set h:tls 0 0", "0") == "STORED"
    with site.secure() as client:
        for first in range(0, count, 1000):
            client.send(b"incr h:tls 1\r\n" * 1000)
            assert client.lines(1000) == [str(first + number) for number in range(1, 1001)]


# ---- those who are not let in --------------------------------------------------------------------

USERS = """
[user root]
password = let-me-in
rights = read, write, admin

[user reader]
password = only-looking
rights = read

[user shop]
password = own-things
rights = read, write
prefixes = cart:shop- h:
"""


def log_in(client, name, password):
    answer = client.store("set auth 0 0", f"{name} {password}")
    assert answer == "STORED", answer
    return client


def begin_guarded(server, folder):
    config = folder / "cartd.conf"
    config.write_text(USERS)

    def friend():
        return log_in(tcp(server.port), "root", "let-me-in")
    server.begin("-p", "{port}", "--config", config, "-S", "-c", 4096, reach=friend)
    return World(server, friend=friend, stranger=lambda: tcp(server.port))


@pytest.fixture(name="guarded", scope="module")
def start_guarded(tmp_path_factory):
    yield from begun(tmp_path_factory, "guarded", begin_guarded)


@pytest.fixture(name="by_strangers")
def check_guarded(guarded):
    yield from after(guarded)


TEXT_ATTACKS = [
    "set sentinel 0 0 2000000\r\n", "set sentinel 0 0 1048577 noreply\r\n",
    "ms sentinel 2000000\r\n",
    "ms sentinel 2000000 q\r\n", "set sentinel 0 0 -1\r\n", "delete sentinel\r\n",
    "delete sentinel noreply\r\n", "md sentinel q\r\n", "md c2VudGluZWw= b q\r\n",
    "touch sentinel -1\r\n",
    "gat -1 sentinel\r\n", "mg sentinel T-1\r\n", "mg sentinel v\r\n", "get sentinel\r\n",
    "gets sentinel\r\n", "me sentinel\r\n", "append sentinel 0 0 1\r\nx\r\n", "incr sentinel 1\r\n",
    "ma sentinel N0\r\n", "flush_all\r\n", "flush_all noreply\r\n", "cdel cart:sentinel\r\n",
    "cdel cart:sentinel q\r\n", "cget cart:sentinel\r\n", "cadd cart:sentinel SKU 1 q\r\n",
    "delete cart:sentinel/SKU-2\r\n", "set cart:sentinel 0 0 12\r\n{\"lines\":[]}\r\n",
    "incr cart:sentinel/SKU-2/qty 1\r\n", "stats\r\n", "stats conns\r\n", "verbosity 9\r\n",
    "cache_memlimit 1\r\n", "shutdown\r\n", "refresh_certs\r\n", "lru_crawler metadump all\r\n",
    "watch fetchers\r\n", "mn\r\n", "cas sentinel 0 0 2 1\r\nhi\r\n",
]


@pytest.mark.parametrize("data", TEXT_ATTACKS, ids=lambda data: data.strip()[:40])
@pytest.mark.usefixtures("by_strangers")
def test_a_stranger_by_text_gets_nothing_and_does_nothing(guarded, data):
    got = exchange(guarded, data.encode())
    lines = got.decode().splitlines()
    assert set(lines) <= {AUTH, AUTH_FAILED, AUTH_FORMAT}, lines


@pytest.mark.parametrize("data", [line for line in TEXT_ATTACKS if not line.startswith(
    ("get ", "gets ", "mg sentinel v", "me ", "cget", "mn", "stats\r"))],
    ids=lambda d: d.strip()[:40])
@pytest.mark.usefixtures("by_strangers")
def test_who_may_only_read_changes_nothing(guarded, data):
    with guarded.client() as client:
        log_in(client, "reader", "only-looking")
        send_all(client, data)
        client.half_close()
        got = read_all(client).decode()
        lines = got.splitlines()
        assert all(line.startswith(("CLIENT_ERROR ", "ERROR")) for line in lines), lines
        assert DENIED in lines or "noreply" in data or "-1" in data, lines


@pytest.mark.parametrize("line", [
    "get sentinel", "get h:x sentinel", "gets h:x h:y sentinel", "mg sentinel v",
    "mg c2VudGluZWw= v b",
    "cget cart:sentinel", "cget Y2FydDpzZW50aW5lbA== b", "get cart:sentinel/SKU-2", "get cart:shop",
    "cget cart:shop", "cadd cart:sentinel SKU 1", "delete sentinel", "md sentinel",
    "touch sentinel 1",
    "gat 1 h:x sentinel", "incr cart:sentinel/SKU-2/qty 1", "cdel cart:sentinel", "flush_all",
    "verbosity 1", "shutdown", "get H:x", "get h"])
@pytest.mark.usefixtures("by_strangers")
def test_who_has_a_prefix_stays_below_it(guarded, line):
    with guarded.client() as client:
        log_in(client, "shop", "own-things")
        assert client.cmd(line) == DENIED
        assert client.cmd("get h:x") == "END"
        assert client.cmd("cget cart:shop-1") == "EN"


LOGINS = [
    ("no password", b"root"), ("a password of nothing", b"root "), ("no name", b" x"),
    ("nothing", b""),
    ("NULs", b"\0\0\0 \0\0\0"), ("a NUL behind the password", b"root let-me-in\0"),
    ("a NUL behind the name", b"root\0 let-me-in"), ("a line end behind it", b"root let-me-in\r\n"),
    ("a space in front", b" root let-me-in"), ("upper case", b"ROOT let-me-in"),
    ("a part of the password", b"root let-me"), ("more than the password", b"root let-me-inn"),
    ("a name of 300", b"r" * 300 + b" let-me-in"), ("a password of 1000", b"root " + b"p" * 1000),
    ("high bytes", b"\xff" * 50 + b" " + b"\xfe" * 50), ("format characters", b"%s%n %s%n"),
    ("a path", b"../../etc/passwd x"), ("a hash for a password", b"root $6$salt$hash"),
]


@by_name(LOGINS)
@pytest.mark.usefixtures("by_strangers")
def test_a_wrong_login_is_none(guarded, row):
    data = row[0]
    with guarded.client() as client:
        client.send(b"set auth 0 0 %d\r\n%s\r\n" % (len(data), data))
        assert client.line().startswith("CLIENT_ERROR")
        assert client.cmd("get sentinel") == AUTH
        log_in(client, "root", "let-me-in")
        assert client.cmd("get h:none") == "END"


@pytest.mark.usefixtures("by_strangers")
def test_a_login_of_a_megabyte_is_not_kept(guarded):
    guarded.begin_peak()
    for length in (100000, MEGABYTE, 2147483645):
        for _ in range(50):
            send_all(guarded.client(), b"set auth 0 0 %d\r\n" % length + b"p" * 50000)
    guarded.check_answers()
    guarded.check_peak(150 * 64 * 1024, "logins of a megabyte")


@pytest.mark.usefixtures("by_strangers")
def test_a_thousand_wrong_logins_in_one_go(guarded):
    with guarded.client() as client:
        client.send(b"set auth 0 0 9\r\nroot nope\r\n" * 1000)
        assert set(client.lines(1000)) == {AUTH_FAILED}
        log_in(client, "root", "let-me-in")


@pytest.mark.usefixtures("by_strangers")
def test_logins_that_are_reset(guarded):
    for number in range(400):
        client = guarded.client()
        send_all(client, b"set auth 0 0 14\r\nroot let-me-in\r\n" if number % 2
                 else frame(0x21, b"PLAIN", b"\0root\0let-me-in"))
        reset(client)


@pytest.mark.usefixtures("by_strangers")
def test_what_waits_for_the_login_is_served_behind_it_in_order(guarded):
    with guarded.client() as client:
        client.send(b"get sentinel\r\nset auth 0 0 14\r\nroot let-me-in\r\n" + b"mn\r\n" * 500
                    + b"get h:none\r\n")
        assert client.line() == AUTH
        assert client.lines(502) == ["STORED"] + ["MN"] * 500 + ["END"]


@pytest.mark.usefixtures("by_strangers")
def test_no_opcode_helps_a_stranger(guarded):
    chance = seeded()
    for opcode in range(256):
        if opcode in (0x0b, 0x20, 0x21, 0x22):
            continue
        for extras in (b"", bytes(4), bytes(8), bytes(20), chance.randbytes(8)):
            key = SENTINEL.encode() if chance.random() < .7 else b""
            value = b"value" if chance.random() < .3 else b""
            got = exchange(guarded, frame(opcode, key, value, extras) + NOOP_PROBE)
            found = frames_of(got)
            assert all(each.status in (0x20, 0x04, 0x81, 0x03) or each.opcode in (0x07, 0x17)
                       for each in found), (opcode, found)
            assert SENTINEL.encode() not in got and b"intact" not in got


SASL = [
    ("a mechanism of none", frame(0x21, b"", b"\0root\0let-me-in")),
    ("a mechanism nobody knows", frame(0x21, b"MAGIC", b"open")),
    ("a mechanism of 250", frame(0x21, b"M" * 250, b"x")),
    ("a mechanism of 251", frame(0x21, b"M" * 251, b"x")),
    ("NULs for a mechanism", frame(0x21, b"\0" * 20, b"x")),
    ("two mechanisms", frame(0x21, b"PLAIN LOGIN", b"x")),
    ("no data", frame(0x21, b"PLAIN")), ("one byte", frame(0x21, b"PLAIN", b"\0")),
    ("no NUL", frame(0x21, b"PLAIN", b"rootlet-me-in")),
    ("many NULs", frame(0x21, b"PLAIN", b"\0" * 16384)),
    ("a wrong password", frame(0x21, b"PLAIN", b"\0root\0nope")),
    ("more behind the password", frame(0x21, b"PLAIN", b"\0root\0let-me-in\0")),
    ("another's name to act as", frame(0x21, b"PLAIN", b"admin\0reader\0nope")),
    ("16 kB of data", frame(0x21, b"PLAIN", b"\0root\0" + b"p" * 16000)),
    ("more than 16 kB of data", frame(0x21, b"PLAIN", b"\0root\0" + b"p" * 20000)),
    ("1 GiB of data", header(0x21, 5, 0, 1 << 30) + b"PLAIN"),
    ("high bytes", frame(0x21, b"PLAIN", b"\0\xff\xfe\0\xfd\xfc")),
    ("a step without a start", frame(0x22, b"PLAIN", b"x")),
    ("a step after a failure",
     frame(0x21, b"PLAIN", b"\0root\0nope") + frame(0x22, b"PLAIN", b"x")),
    ("a start after a start", frame(0x21, b"LOGIN", b"") + frame(0x21, b"LOGIN", b"")),
    ("extras", frame(0x21, b"PLAIN", b"\0root\0let-me-in", b"1234")),
    ("a list with a key", frame(0x20, b"PLAIN")),
    ("1000 wrong logins", frame(0x21, b"PLAIN", b"\0root\0nope") * 1000),
]


@by_name(SASL)
@pytest.mark.usefixtures("by_strangers")
def test_sasl_that_is_wrong_is_refused(guarded, row):
    """Not let in, and the login is no further than before."""
    found = frames_of(exchange(guarded, row[0] + frame(0, SENTINEL.encode()) + NOOP_PROBE))
    assert all(each.status != 0 for each in found), found
    assert all(b"intact" not in each.value for each in found)
    with guarded.client() as client:
        client.send(frame(0x21, b"PLAIN", b"\0root\0let-me-in") + NOOP_PROBE)
        good = frames_of(client.bytes(24 + len("Authenticated") + 24))
        assert [each.status for each in good] == [0, 0] and good[1].opaque == PROBE_OPAQUE


# ---- idle ----------------------------------------------------------------------------------------

IDLE_SECONDS = 1


def test_who_does_nothing_is_sent_away(tmp_path):
    """Half commands, half handshakes and answers that are not read; not who goes on."""
    raise_own_fd_limit()
    server = AnyServer(tmp_path)
    try:
        server.begin("-p", "{port}", "--idle-timeout", IDLE_SECONDS, "-c", 4096)
        with server.client() as client:
            assert client.store("set h:large 0 0", b"L" * 1000000) == "STORED"
            idle = [server.client() for _ in range(100)]
            for number, each in enumerate(idle):
                send_all(each, (b"", b"get senti", b"set h:k 0 0 100\r\nabc", NOOP_PROBE[:11],
                                b"get h:large\r\n" * 50)[number % 5])

            def alone():
                assert client.cmd("mn") == "MN"
                return client.stat("curr_connections") == 1
            wait_until(alone, "all others are sent away", 20 * IDLE_SECONDS)
            assert client.stat("idle_kicks") == 100
            for number, each in enumerate(idle):
                if number % 5 < 4:
                    with pytest.raises(Closed):
                        each.line()
                each.close()
        assert server.stop() == 0, server.log_end()
    finally:
        if server.process:
            server.process.kill()

"""TLS: what plain TCP does, encrypted; who is let in, and how certificates are renewed."""
import os
import random
import signal
import socket
import ssl
import subprocess

import pytest
from daemon import free_port
from transport import (Certificates, Trickle, Wired, make_any_server, run_refused, shown_name, tcp,
                       tls)
from waiting import wait_until
from wire import Closed

assert make_any_server  # the fixture `server`
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
with_versions = pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
HANDSHAKE_SECONDS = 10


class Site:
    """A server with a certificate of its own authority, and a plain port for its statistics."""

    def __init__(self, server, folder):
        self.server = server
        self.certificates = Certificates(folder)
        self.cert, self.key = self.certificates.issue("server")

    def begin(self, *arguments):
        extended = f"ssl_chain_cert={self.cert},ssl_key={self.key}"
        self.server.begin("-p", "{port}", "-Z", "-o", extended, "-l",
                          "127.0.0.1,notls:127.0.0.1:{other}", *arguments,
                          reach=self.plain)
        return self

    def plain(self):
        return tcp(self.server.other_port)

    def client(self, version=None, certificate=None):
        return tls(self.server.port, self.certificates.context(version, certificate))

    def trickle(self, version=None):
        return Trickle(self.server.port, self.certificates.context(version))

    def stat(self, name):
        with self.plain() as client:
            return client.stat(name)

    def install(self, cert, key):
        """Puts these where the server reads its own, as one does who renews them."""
        for source, target in ((cert, self.cert), (key, self.key)):
            fresh = target.with_suffix(".new")
            fresh.write_bytes(source.read_bytes())
            fresh.rename(target)


@pytest.fixture(name="site")
def make_site(server, tmp_path):
    return Site(server, tmp_path)


def is_refused(site, *arguments):
    """With TLS 1.3 a client learns only when it reads that its certificate was not wanted."""
    try:
        with site.client(*arguments) as client:
            client.cmd("version")
    except (ssl.SSLError, Closed):
        return True
    return False


# ---- as without TLS ------------------------------------------------------------------------------

@with_versions
def test_every_protocol_is_spoken(site, version):
    site.begin()
    with site.client(version) as client:
        assert client.socket.version() == version.name.replace("_", ".")
        assert client.store("set k 5 0", "abc") == "STORED"
        assert client.get("k") == b"abc"
        assert client.cmd("mn") == "MN"
        assert client.cmd("cadd cart:u1 SKU-1 2 x") == "HD x2"
    with site.client(version) as client:
        client.send(b"\x80\x0a" + bytes(22))
        assert client.bytes(24) == b"\x81\x0a" + bytes(22)
    with site.plain() as client:
        assert client.get("k") == b"abc"


@with_versions
def test_large_values_go_both_ways(site, version):
    site.begin("-I", "8m")
    value = os.urandom(7 << 20)
    with site.client(version) as client:
        assert client.store("set k 0 0", value) == "STORED"
        assert client.get("k") == value
        client.send("get k\r\n" * 5)
        for _ in range(5):
            assert client.read_values()["k"][0] == value


@with_versions
def test_10000_pipelined_commands(site, version):
    site.begin()
    chance = random.Random(1)
    with site.client(version) as client:
        commands, wanted = [], []
        for number in range(10000):
            if chance.random() < 0.3:
                commands.append(f"cadd cart:u{number % 7} SKU-1 1 O{number}\r\n")
                wanted.append(f"HD O{number}")
            else:
                commands.append(f"mg none{number} O{number} q\r\nmn\r\n")
                wanted.append("MN")
        client.send("".join(commands))
        assert client.lines(len(wanted)) == wanted


@with_versions
@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_records_in_pieces(site, version, piece):
    """A record that is not whole is waited for, and nothing else comes to a stop."""
    site.begin()
    with site.trickle(version) as client:
        client.shake(piece)
        for _ in range(3):
            client.tls.write(b"set k 0 0 500\r\n" + b"x" * 500 + b"\r\nget k\r\n")
            client.send_out(piece)
            wanted = b"STORED\r\nVALUE k 0 500\r\n" + b"x" * 500 + b"\r\nEND\r\n"
            assert client.read(len(wanted)) == wanted


@with_versions
@pytest.mark.parametrize("record", [100, 1500, 16384])
def test_what_came_at_once_is_all_answered(site, version, record):
    """Many records in one go, and then nothing more: what TLS has taken in makes no event."""
    site.begin()
    chance = random.Random(record)
    with site.trickle(version) as client:
        client.shake()
        for _ in range(60):
            count = chance.randrange(1, 100000) // record + 1
            for _ in range(count):
                client.tls.write(b"mn\r\n" * (record // 4))
            client.send_out()
            wanted = b"MN\r\n" * (record // 4) * count
            assert client.read(len(wanted)) == wanted


def test_who_reads_late_gets_everything(site):
    site.begin()
    value = os.urandom(1000000)
    with site.client() as client:
        assert client.store("set k 0 0", value) == "STORED"
        client.send("get k\r\n" * 30 + "version\r\n")
        with site.client() as other:  # meanwhile others are served
            assert other.cmd("mn") == "MN"
        for _ in range(30):
            assert client.read_values()["k"][0] == value
        assert client.line().startswith("VERSION ")


# ---- the end -------------------------------------------------------------------------------------

@with_versions
def test_the_server_says_that_it_ends(site, version):
    """The client here would take an end without close_notify as an error."""
    site.begin()
    with site.client(version) as client:
        assert client.store("set k 0 0", "x" * 500000) == "STORED"
        client.send("get k\r\nquit\r\n")
        assert client.read_values().keys() == {"k"}
        assert client.at_end()


@with_versions
def test_who_says_that_it_ends_still_gets_its_answers(site, version):
    site.begin()
    with site.trickle(version) as client:
        client.shake()
        client.tls.write(b"cadd cart:u1 SKU-1 1\r\n" * 1000)
        client.say_end()
        assert client.read(1 << 20) == b"HD\r\n" * 1000
        client.take_in()
        assert client.take_in() == 0


def test_who_just_shuts_down_still_gets_its_answers(site):
    site.begin()
    with site.client() as client:
        client.send("cadd cart:u1 SKU-1 1\r\n" * 1000)
        socket.socket.shutdown(client.socket, socket.SHUT_WR)
        assert client.lines(1000) == ["HD"] * 1000
        assert client.at_end()


def test_a_stop_answers_and_says_that_it_ends(site):
    site.begin()
    with site.client() as client, site.client() as idle:
        assert idle.cmd("mn") == "MN"
        client.send("cadd cart:u1 SKU-1 1\r\n" * 100)
        assert client.line() == "HD"
        assert site.server.stop() == 0
        assert client.rest() == ["HD"] * 99
        assert idle.at_end()


def test_the_idle_time_out_holds(site):
    site.begin("--idle-timeout", 1)
    with site.client() as idle:
        assert idle.cmd("mn") == "MN"
        assert idle.at_end()
    assert site.stat("idle_kicks") >= 1


# ---- while it goes on ----------------------------------------------------------------------------

class Openssl:
    """openssl s_client, where a line K asks for new keys and a line R for a new handshake."""

    def __init__(self, site, version):
        self.process = subprocess.Popen(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{site.server.port}", "-CAfile",
             site.certificates.ca, version], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def type(self, line):
        self.process.stdin.write(line)
        self.process.stdin.flush()

    def wait_for(self, line):
        """Reads on to this line; False when there is none up to the end."""
        return any(each.rstrip() == line for each in self.process.stdout)


def test_keys_can_be_renewed(site):
    site.begin()
    with Openssl(site, "-tls1_3") as client:
        for _ in range(3):
            client.type(b"mn\n")
            assert client.wait_for(b"MN")
            client.type(b"K\n")
            assert client.wait_for(b"KEYUPDATE")


def test_a_new_handshake_is_refused(site):
    site.begin()
    with Openssl(site, "-tls1_2") as client:
        client.type(b"mn\n")
        assert client.wait_for(b"MN")
        client.type(b"R\n")
        assert client.wait_for(b"RENEGOTIATING")
        assert any(b"no renegotiation" in line for line in client.process.stdout)
    with site.client() as other:
        assert other.cmd("mn") == "MN"


# ---- who is let in -------------------------------------------------------------------------------

def test_the_lowest_version_can_be_raised(site):
    site.begin("--tls-min-version", "tlsv1.3")
    assert is_refused(site, ssl.TLSVersion.TLSv1_2)
    assert not is_refused(site, ssl.TLSVersion.TLSv1_3)


def test_old_versions_are_refused(site):
    site.begin()
    done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{site.server.port}",
                           "-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], capture_output=True,
                          check=False, stdin=subprocess.DEVNULL)
    assert done.returncode != 0 and b"no peer certificate available" in done.stdout


def test_the_ciphers_can_be_chosen(site):
    site.begin("-o", "ssl_ciphers=ECDHE-ECDSA-AES256-GCM-SHA384")
    with site.client(ssl.TLSVersion.TLSv1_2) as client:
        assert client.socket.cipher()[0] == "ECDHE-ECDSA-AES256-GCM-SHA384"


@pytest.mark.parametrize("mode, without, good, stranger",
                         [(0, True, True, True), (1, True, True, False), (2, False, True, False)])
@with_versions
def test_certificates_of_clients(site, tmp_path, version, mode, without, good, stranger):
    known = site.certificates.issue("client")
    unknown = Certificates(tmp_path, "other-ca").issue("stranger")
    site.begin("-o", f"ssl_ca_cert={site.certificates.ca},ssl_verify_mode={mode}")
    for certificate, welcome in ((None, without), (known, good), (unknown, stranger)):
        assert is_refused(site, version, certificate) != welcome, certificate
    refused = [without, good, stranger].count(False)
    wait_until(lambda: site.stat("ssl_handshake_errors") == refused, "all refused are counted")


@with_versions
def test_a_session_can_be_taken_up_again(site, version):
    """Also one with a client's certificate."""
    known = site.certificates.issue("client")
    site.begin("-o", f"ssl_ca_cert={site.certificates.ca},ssl_verify_mode=2")
    context = site.certificates.context(version, known)
    with tls(site.server.port, context) as client:
        assert client.cmd("mn") == "MN"
        session = client.socket.session
    with tls(site.server.port, context, session) as client:
        assert client.cmd("mn") == "MN"
        assert client.socket.session_reused


def test_plain_text_to_a_tls_port_is_closed(site):
    site.begin()
    for text in (b"get k\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\x80\x0a" + bytes(22),
                 random.Random(3).randbytes(10000), b"\x16\x03\x01\xff\xff" + bytes(70000)):
        with tcp(site.server.port) as client:
            try:
                client.send(text)
                client.half_close()
                while client.socket.recv(1 << 16):  # a TLS alert
                    pass
            except (Closed, ConnectionError, OSError):
                pass
    wait_until(lambda: site.stat("ssl_handshake_errors") == 5, "all are counted")
    with site.client() as client:
        assert client.cmd("mn") == "MN"


def test_slow_handshakes_stop_nobody_and_end(site):
    site.begin("-c", 500)
    silent = [tcp(site.server.port) for _ in range(200)]
    cut = site.trickle()
    try:
        cut.tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    cut.send_out(100)
    cut_hello = tcp(site.server.port)
    cut_hello.send(b"\x16\x03\x01\x02\x00\x01")
    for _ in range(20):
        with site.client() as client:
            assert client.cmd("mn") == "MN"
    for client in [*silent, Wired(cut.socket), cut_hello]:
        try:
            while client.socket.recv(1 << 16):
                pass
        except ConnectionError:
            pass
        client.close()
    wait_until(lambda: site.stat("ssl_handshake_errors") == len(silent) + 2, "all are counted")


def test_a_refused_connection_is_closed(site):
    site.begin("-c", 2)
    with site.plain() as plain:
        wait_until(lambda: plain.stat("curr_connections") == 1, "nobody else is there")
        with site.client() as last:
            assert last.cmd("mn") == "MN"
            assert is_refused(site)
            assert plain.stat("rejected_connections") == 1


# ---- files ---------------------------------------------------------------------------------------

def read_again(site, how):
    """Asks for it; what the answer was, or None when there is none."""
    if how == "refresh_certs":
        with site.plain() as client:
            return client.cmd("refresh_certs")
    seen = site.server.log_end().count("reload: ")
    site.server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "certificates" in
               "".join(site.server.log_end().split("reload: ")[seen + 1:]), "it is done")
    return None


with_ways = pytest.mark.parametrize("how", ["SIGHUP", "refresh_certs"])


@with_ways
def test_new_certificates_are_for_new_connections(site, how):
    site.begin()
    with site.client() as before:
        assert shown_name(before) == "server"
        site.install(*site.certificates.issue("renewed"))
        assert read_again(site, how) in (None, "OK")
        with site.client() as after:
            assert shown_name(after) == "renewed"
            assert after.store("set k 0 0", "v") == "STORED"
            assert before.get("k") == b"v"


@with_ways
@pytest.mark.parametrize("wrong", ["no file", "not PEM", "another key"])
def test_with_wrong_files_the_old_stay(site, how, wrong):
    site.begin()
    if wrong == "no file":
        site.cert.rename(site.cert.with_suffix(".away"))
    elif wrong == "not PEM":
        site.cert.write_text("no certificate")
    else:
        site.install(site.cert, site.certificates.issue("another")[1])
    said = read_again(site, how)
    told = said or site.server.log_end()
    assert str(site.cert) in told or str(site.key) in told
    for _ in range(4):
        with site.client() as client:
            assert shown_name(client) == "server"
            assert client.cmd("mn") == "MN"


@with_ways
def test_reading_again_while_connections_come(site, how):
    site.begin()
    names = [site.certificates.issue(name) for name in ("one", "two")]
    for number in range(20):
        site.install(*names[number % 2])
        with site.client() as client:
            read_again(site, how)
            assert client.cmd("mn") == "MN"


@pytest.mark.parametrize("wrong", ["no certificate", "no key", "certificate not PEM",
                                   "key not PEM", "another key", "key with passphrase", "no CA",
                                   "CA not PEM", "ciphers"])
def test_wrong_files_at_the_start_are_named(site, tmp_path, wrong):
    cert, key, ca, more = site.cert, site.key, site.certificates.ca, ""
    missing, text = tmp_path / "missing.pem", tmp_path / "text.pem"
    text.write_text("no PEM at all")
    locked = tmp_path / "locked.key"
    subprocess.run(["openssl", "ec", "-aes128", "-passout", "pass:secret", "-in", site.key, "-out",
                    locked], check=True, capture_output=True)
    cert = {"no certificate": missing, "certificate not PEM": text}.get(wrong, cert)
    key = {"no key": missing, "key not PEM": text, "key with passphrase": locked,
           "another key": site.certificates.issue("another")[1]}.get(wrong, key)
    ca = {"no CA": missing, "CA not PEM": text}.get(wrong, ca)
    if wrong == "ciphers":
        more = ",ssl_ciphers=NO-SUCH"
    said = run_refused("-Z", "-p", free_port(), "--data", tmp_path / "data", "-o",
                       f"ssl_chain_cert={cert},ssl_key={key},ssl_ca_cert={ca}{more}")
    named = {"ciphers": "NO-SUCH", "no certificate": cert, "certificate not PEM": cert, "no CA": ca,
             "CA not PEM": ca}.get(wrong, key)
    assert str(named) in said, said


# ---- beside it -----------------------------------------------------------------------------------

def test_an_address_may_be_without_tls(site):
    site.begin()
    with site.plain() as plain, site.client() as client:
        assert plain.store("set k 0 0", "v") == "STORED"
        assert client.get("k") == b"v"


def test_a_unix_socket_is_without_tls(site, tmp_path):
    path = tmp_path / "cartd.sock"
    site.begin("-s", path)
    connected = socket.socket(socket.AF_UNIX)
    connected.connect(str(path))
    with Wired(connected) as client:
        assert client.cmd("mn") == "MN"

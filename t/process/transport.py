"""transport: servers with any arguments, reached by unix socket, UDP and TLS; certificates."""
import socket
import ssl
import struct
import subprocess

import pytest
from daemon import CARTD, Server, free_port
from waiting import WAIT_SECONDS
from wire import ANSWER_SECONDS, Client, Closed

HEAD = struct.Struct(">HHHH")  # request id, index, count, 0
FRAME_BYTES = 1400
SILENCE_SECONDS = 0.3  # long enough for an answer that must not come


def run_refused(*arguments):
    """What a start that must fail says; one line."""
    done = subprocess.run([CARTD, *map(str, arguments)], capture_output=True, text=True,
                          timeout=WAIT_SECONDS, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode > 0, done
    lines = [line for line in done.stderr.splitlines() if line.startswith("cartd: ")]
    assert len(lines) == 1, done.stderr
    return lines[0]


class Wired(Client):
    """A client on a socket that is connected already."""

    def __init__(self, connected):  # pylint: disable=super-init-not-called
        self.socket = connected
        self.unread = b""
        connected.settimeout(ANSWER_SECONDS)

    def at_end(self):
        """True when the other side closes without another word."""
        try:
            return self.unread == b"" and self.socket.recv(1) == b""
        except ConnectionError:
            return True


def tcp(port, host="127.0.0.1"):
    try:
        return Wired(socket.create_connection((host, port), timeout=ANSWER_SECONDS))
    except ConnectionError as error:
        raise Closed from error


def unix(path):
    connected = socket.socket(socket.AF_UNIX)
    try:
        connected.connect(str(path))
    except (ConnectionError, FileNotFoundError) as error:
        connected.close()
        raise Closed from error
    return Wired(connected)


class AnyServer(Server):
    """A server started with a list of arguments, where {port} is its port, and {other} another one
    that is free."""

    def __init__(self, folder):
        super().__init__(folder)
        self.arguments = []
        self.other_port = None
        self.reach = lambda: tcp(self.port)  # how it is asked whether it serves

    def begin(self, *arguments, reach=None):
        self.arguments = [str(argument) for argument in arguments]
        self.reach = reach or self.reach
        return self.start()

    def spawn(self):
        assert self.process is None
        command = [CARTD, "--data", str(self.data)]
        self.other_port = free_port()
        command += [argument.replace("{port}", str(self.port))
                    .replace("{other}", str(self.other_port)) for argument in self.arguments]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log)

    def client(self):
        return self.reach()

    def answers(self):
        if self.process.poll() is not None:
            self.process = None
            raise AssertionError(f"ended while starting:\n{self.log_end()}")
        try:
            with self.client() as client:  # it might be somebody else who has taken the port
                return client.cmd("stats") == f"STAT pid {self.process.pid}"
        except Closed:
            return False


@pytest.fixture(name="server")
def make_any_server(tmp_path):
    """In place of conftest's; what runs at the end must stop cleanly."""
    server = AnyServer(tmp_path)
    try:
        yield server
    finally:
        if server.process:
            assert server.stop() == 0, server.log_end()


# ---- UDP -----------------------------------------------------------------------------------------

class Udp:
    """A UDP client; it takes datagrams only from where it sends to."""

    def __init__(self, port, host="127.0.0.1"):
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET,
                                    socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.socket.connect((host, port))
        self.socket.settimeout(ANSWER_SECONDS)
        self.request_id = 0x1234

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, payload, index=0, count=1):
        """The id it was sent with."""
        self.request_id = (self.request_id + 1) & 0xffff
        self.raw(HEAD.pack(self.request_id, index, count, 0) + payload)
        return self.request_id

    def raw(self, datagram):
        self.socket.send(datagram)

    def frame(self):
        """(id, index, count, body) of the next datagram."""
        datagram = self.socket.recv(1 << 16)
        assert len(datagram) <= FRAME_BYTES
        request_id, index, count, zero = HEAD.unpack(datagram[:HEAD.size])
        assert zero == 0
        return request_id, index, count, datagram[HEAD.size:]

    def answer(self, request_id):
        """The whole answer; its frames come in order on this machine."""
        _, index, count, answer = first = self.frame()
        assert first[:2] == (request_id, 0), first
        for expected in range(1, count):
            got_id, index, got_count, body = self.frame()
            assert (got_id, index, got_count) == (request_id, expected, count)
            answer += body
        return answer

    def ask(self, payload):
        return self.answer(self.send(payload))

    def silent(self):
        """True when nothing comes."""
        self.socket.settimeout(SILENCE_SECONDS)
        try:
            return self.socket.recv(1 << 16) is None
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(ANSWER_SECONDS)


# ---- TLS -----------------------------------------------------------------------------------------

class Certificates:
    """Made by openssl: an authority, and who it vouches for."""

    def __init__(self, folder, name="ca"):
        self.folder = folder
        self.name = name
        self.ca = self._make(name, "-subj", f"/CN={name}")[0]

    def _make(self, name, *arguments):
        cert, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-keyout", key,
                        "-out", cert, *arguments], check=True, capture_output=True)
        return cert, key

    def issue(self, name):
        """(certificate, key)"""
        return self._make(name, "-subj", f"/CN={name}", "-addext",
                          "subjectAltName=DNS:localhost,IP:127.0.0.1", "-CA", self.ca, "-CAkey",
                          self.folder / f"{self.name}.key")

    def context(self, version=None, client=None):
        """What a client trusts and shows. An end without close_notify is an error to it."""
        context = ssl.create_default_context(cafile=str(self.ca))
        context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
        if version:
            context.minimum_version = context.maximum_version = version
        if client:
            context.load_cert_chain(*map(str, client))
        return context


def tls(port, context, session=None):
    plain = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS)
    try:
        return Wired(context.wrap_socket(plain, server_hostname="localhost", session=session,
                                         suppress_ragged_eofs=False))
    except ConnectionError as error:
        plain.close()
        raise Closed from error
    except ssl.SSLError:
        plain.close()
        raise


def shown_name(client):
    """The common name of the certificate that the server showed."""
    subject = dict(pair[0] for pair in client.socket.getpeercert()["subject"])
    return subject["commonName"]


class Trickle:
    """TLS by hand: what goes over the socket, and in what pieces, is up to the test."""

    def __init__(self, port, context):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send_out(self, piece=1 << 20):
        """Sends what TLS wants to say, in pieces of that size."""
        data = self.outgoing.read()
        for at in range(0, len(data), piece):
            self.socket.sendall(data[at:at + piece])

    def take_in(self):
        data = self.socket.recv(1 << 16)
        if data:
            self.incoming.write(data)
        else:
            self.incoming.write_eof()
        return len(data)

    def shake(self, piece=1 << 20):
        while True:
            try:
                self.tls.do_handshake()
                return self.send_out(piece)
            except ssl.SSLWantReadError:
                self.send_out(piece)
                self.take_in()

    def read(self, count):
        """That many bytes, or those until the other side says that no more will come."""
        data = b""
        while len(data) < count:
            try:
                got = self.tls.read(count - len(data))
                if not got:
                    break
                data += got
            except ssl.SSLWantReadError:
                self.take_in()
            except ssl.SSLZeroReturnError:
                break
        return data

    def say_end(self):
        """close_notify; reading goes on."""
        try:
            self.tls.unwrap()
        except ssl.SSLWantReadError:
            pass
        self.send_out()


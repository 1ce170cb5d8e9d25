"""wire: a client that sends just what it is told and reads just what comes."""
import json
import socket

ANSWER_SECONDS = 60


class Closed(Exception):
    """The other side has closed, or died."""


class Client:
    def __init__(self, port):
        try:
            self.socket = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS)
        except ConnectionError as error:
            raise Closed from error
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.unread = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, data):
        try:
            self.socket.sendall(data.encode() if isinstance(data, str) else data)
        except ConnectionError as error:
            raise Closed from error

    def half_close(self):
        self.socket.shutdown(socket.SHUT_WR)

    def _receive(self):
        try:
            data = self.socket.recv(1 << 16)
        except ConnectionError as error:
            raise Closed from error
        if not data:
            raise Closed
        self.unread += data

    def line(self):
        """The next line, without its end."""
        while b"\n" not in self.unread:
            self._receive()
        line, _, self.unread = self.unread.partition(b"\n")
        assert line.endswith(b"\r"), line
        return line[:-1].decode("latin-1")

    def lines(self, count):
        return [self.line() for _ in range(count)]

    def bytes(self, count):
        while len(self.unread) < count:
            self._receive()
        data, self.unread = self.unread[:count], self.unread[count:]
        return data

    def block(self, count):
        data = self.bytes(count + 2)
        assert data.endswith(b"\r\n"), data[-20:]
        return data[:-2]

    def rest(self):
        """All lines until the other side closes."""
        lines = []
        while True:
            try:
                lines.append(self.line())
            except Closed:
                assert self.unread == b"", self.unread
                return lines

    def cmd(self, line):
        self.send(line + "\r\n")
        return self.line()

    def store(self, line, value):
        """`set KEY 0 0` and the like; the length is added."""
        value = value.encode() if isinstance(value, str) else value
        self.send(f"{line} {len(value)}\r\n".encode() + value + b"\r\n")
        return self.line()

    def cas(self, key, unique, value):
        self.send(f"cas {key} 0 0 {len(value)} {unique}\r\n{value}\r\n")
        return self.line()

    def read_values(self):
        """{key: (value, cas or None)} up to END."""
        found = {}
        while (line := self.line()) != "END":
            words = line.split(" ")
            assert words[0] == "VALUE" and len(words) in (4, 5), line
            found[words[1]] = (self.block(int(words[3])), words[4] if len(words) == 5 else None)
        return found

    def get(self, key):
        self.send(f"get {key}\r\n")
        return self.read_values().get(key, (None, None))[0]

    def gets(self, key):
        self.send(f"gets {key}\r\n")
        return self.read_values().get(key, (None, None))

    def value(self, line):
        """(first line, data) of a command that answers VA; data is None for any other answer."""
        first = self.cmd(line)
        if not first.startswith("VA "):
            return first, None
        return first, self.block(int(first.split(" ")[1]))

    def cart(self, key):
        """The cart's document, or None when there is no such cart."""
        first, data = self.value(f"cget {key}")
        assert first == "EN" or data is not None, first
        return None if data is None else json.loads(data)

    def qty(self, key, line):
        """Quantity of a line, 0 when it is not there."""
        cart = self.cart(key) or {"lines": []}
        return sum(each["qty"] for each in cart["lines"] if each["line"] == line)

    def stats(self, what=""):
        self.send(f"stats {what}".strip() + "\r\n")
        found = {}
        while (line := self.line()) != "END":
            word, name, value = line.split(" ", 2)
            assert word == "STAT", line
            found[name] = value
        return found

    def stat(self, name):
        return int(self.stats()[name])


def flags(line):
    """{letter: rest} of an answer such as `HD x3 v7`."""
    return {word[0]: word[1:] for word in line.split(" ")[1:]}

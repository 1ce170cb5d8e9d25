"""shopper: adds to carts with tokens and knows what must be there."""
import books
from waiting import wait_until

CARTS = [f"cart:f{number}" for number in range(50)]
ADDS_MAX = 5000  # far more than find room in what a full disk has left in its last page


class Shopper:
    """Adds to carts, each time with a token, and knows what must be there."""

    def __init__(self, server):
        self.server = server
        self.held = {key: 0 for key in CARTS}
        self.open = []  # (key, command): refused, so not known; tried again by settle()
        self.tokens = 0

    def add(self, client, key):
        self.tokens += 1
        command = f"cadd {key} SKU-1 1 Ifault.{self.tokens}"
        answer = client.cmd(command)
        if answer == "HD":
            self.held[key] += 1
        else:
            self.open.append((key, command))
        return answer

    def add_all(self, client):
        for key in CARTS:
            assert self.add(client, key) == "HD"

    def add_until_refused(self, client):
        for number in range(ADDS_MAX):
            answer = self.add(client, CARTS[number % len(CARTS)])
            if answer != "HD":
                return answer
        raise AssertionError(f"{ADDS_MAX} adds were taken")

    def settle(self, client):
        """By itself the disk is used again; what was refused is there once."""
        def taken(command):
            answer = client.cmd(command)
            return answer if answer.startswith("HD") else None

        for key, command in self.open:
            assert wait_until(lambda c=command: taken(c), f"{command} is taken") in ("HD", "HD R")
            self.held[key] += 1
        self.open = []

    def check(self, client):
        found = {key: client.qty(key, "SKU-1") for key in CARTS}
        assert found == self.held

    def check_readable(self, client):
        """While some are open: at least what was acknowledged."""
        for key in CARTS:
            refused = sum(1 for each, _ in self.open if each == key)
            assert self.held[key] <= client.qty(key, "SKU-1") <= self.held[key] + refused

    def check_everywhere(self):
        """Now, in SQL, and after a crash and a clean stop."""
        with self.server.client() as client:
            self.settle(client)
            self.add_all(client)
            self.check(client)
        books.check(self.server, CARTS)
        self.server.crash()
        with self.server.client() as client:
            self.check(client)
        self.server.restart()
        with self.server.client() as client:
            self.check(client)


def start_cold(server, shopper, **options):
    """All carts are on disk, none is in memory."""
    server.start(**options)
    with server.client() as client:
        shopper.add_all(client)
    server.wait_caught_up()
    server.restart()

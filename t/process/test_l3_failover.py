"""PostgreSQL's primary goes away: cartd finds the standby that takes its place, without a human."""
import os

import books
import databases
import pytest
from waiting import wait_until

FULL = "L3_FAULTS_FULL" in os.environ  # in check-long
KEYS = [f"cart:u{number}" for number in range(50)]


@pytest.fixture(name="database")
def start_primary():
    database = databases.PostgreSQL()
    try:
        yield database.start()
    finally:
        database.remove()


@pytest.fixture(name="standby")
def start_standby(database):
    standby = databases.Standby(database)
    try:
        standby.start()
        # A commit is reported when the standby has it: what it has not, nobody would write again.
        database.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        database.execute("SELECT pg_reload_conf()")
        wait_until(lambda: database.execute(
            "SELECT 1 AS one FROM pg_stat_replication WHERE sync_state = 'sync'"), "it follows")
        yield standby
    finally:
        standby.remove()


def add(server, line):
    with server.client() as client:
        for key in KEYS:
            assert client.cmd(f"cadd {key} {line} 1 P5 UEUR") == "HD"


@pytest.mark.parametrize("end", ["stop", "kill9"] if FULL else ["kill9"])
def test_the_promoted_standby_gets_all(server, database, standby, end):
    both = server.l3_url().replace(f"@127.0.0.1:{database.port}/",
                                   f"@127.0.0.1:{standby.port},127.0.0.1:{database.port}/")
    server.start(l3=both + "&target_session_attrs=read-write")
    add(server, "SKU-1")
    books.check(server, KEYS)
    getattr(database, end)()
    add(server, "SKU-2")
    with server.client() as client:
        wait_until(lambda: "read-only" in client.stats("behind")["behind_last_error"], "it is told")
        assert client.stats("behind")["behind_breaker"] != "closed"
    standby.promote()
    add(server, "SKU-3")
    server.database = standby
    carts = books.check(server, KEYS)
    assert {cart["qty"] for cart in carts.values()} == {3}
    with server.client() as client:
        assert client.stats("behind")["behind_breaker"] == "closed"


if FULL:
    def test_a_standby_alone_is_told_and_waited_for(server, database, standby):
        server.start()
        add(server, "SKU-1")
        books.check(server, KEYS)
        assert server.stop() == 0
        server.start(l3=server.l3_url().replace(f":{database.port}/", f":{standby.port}/"))
        add(server, "SKU-2")
        wait_until(lambda: "the server is read-only" in server.log_end(), "the log says it")
        database.stop()
        standby.promote()
        server.database = standby
        books.check(server, KEYS)

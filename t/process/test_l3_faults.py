"""Whatever happens to the database server, SQL becomes what the carts are, without a human."""
import contextlib
import os
import socket
import threading

import books
import databases
import faults
import psycopg2
import pymysql
import pytest
from waiting import wait_until

FULL = "L3_FAULTS_FULL" in os.environ  # in check-long
KEYS = [f"cart:u{number}" for number in range(50)]


@pytest.fixture(name="database", scope="module")
def start_database():
    database = databases.KINDS[os.environ.get("CARTD_DB", "postgresql")]()
    try:
        yield database.start()
    finally:
        database.remove()


@pytest.fixture(autouse=True)
def serve_again(database):
    """One test that fails leaves a server that works to the next."""
    yield
    if database.process is None:
        database.start()


def add(server, keys, line="SKU-1"):
    with server.client() as client:
        for key in keys:
            assert client.cmd(f"cadd {key} {line} 1 P5 UEUR") == "HD"


def breaker(server):
    with server.client() as client:
        return client.stats("behind")


def wait_errors(server, words):
    """Write-behind has failed since, and the log says so with these words."""
    before = server.stats()["behind_errors"]
    wait_until(lambda: server.stats()["behind_errors"] > before, "write-behind fails")
    wait_until(lambda: words in server.log_end(), f"the log says {words}")


@pytest.mark.parametrize("end", ["stop", "kill9"] if FULL else ["kill9"])
def test_a_server_that_was_down_gets_all(server, database, end):
    server.start()
    add(server, KEYS)
    books.check(server, KEYS)
    getattr(database, end)()
    add(server, KEYS, "SKU-2")
    wait_errors(server, "database: ")
    told = breaker(server)
    assert told["behind_breaker"] != "closed" and told["behind_last_error"] != "none"
    assert int(told["behind_retry_ms"]) <= 5000
    database.start()
    books.check(server, KEYS)
    assert breaker(server)["behind_breaker"] == "closed"
    assert databases.PASSWORD_IN_URL not in server.log_end()
    assert databases.PASSWORD not in server.log_end()


def test_a_start_without_the_server_serves(server, database):
    server.start()
    add(server, KEYS[:1])
    assert server.stop() == 0
    database.stop()
    server.start()
    add(server, KEYS)
    database.start()
    books.check(server, KEYS)


class Proxy:
    """Hands on what cartd and the server say; when told, the connection ends between the server's
    COMMIT and its answer."""

    def __init__(self, port):
        self.port = port
        self.cuts = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.port))
            for args in ((client, server, True), (server, client, False)):
                threading.Thread(target=self.pump, args=args, daemon=True).start()

    def pump(self, source, target, is_request):
        """A commit that is cut gets as far as the server, and its answer no further than here."""
        try:
            while data := source.recv(65536):
                if is_request and data.endswith((b"COMMIT", b"COMMIT\0")) and self.cuts > 0:
                    self.cuts -= 1
                    source.shutdown(socket.SHUT_RDWR)
                target.sendall(data)
        except OSError:
            pass
        for end in (target, source):
            try:
                end.shutdown(socket.SHUT_WR)
            except OSError:
                pass

    def close(self):
        self.listener.close()


def test_a_commit_whose_answer_is_lost_is_no_second_change(server, database):
    proxy = Proxy(database.port)
    url = server.l3_url().replace(f":{database.port}/", f":{proxy.listener.getsockname()[1]}/")
    server.start(l3=url, l3_inbox_ms=0)  # whose commits are cut off, too
    add(server, KEYS)
    books.check(server, KEYS)
    for number in range(3):
        proxy.cuts = 1
        add(server, KEYS, f"SKU-{number}")
        wait_until(lambda: proxy.cuts == 0, "a commit is cut off")
        books.check(server, KEYS)
    stats = server.stats()
    assert stats["behind_errors"] >= 3 and stats["behind_conflicts"] > 0
    proxy.close()


def raise_error(server, database, condition, state, number):
    """Makes the database refuse rows of cart for which the condition holds."""
    if database.scheme == "postgresql":
        server.sql(f"""CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF {condition} THEN RAISE EXCEPTION 'refused here' USING ERRCODE = '{state}'; END IF;
            RETURN NEW; END $$""")
        server.sql("CREATE TRIGGER refuses BEFORE INSERT ON cart FOR EACH ROW "
                   "EXECUTE FUNCTION refuse()")
    else:
        server.sql(f"""CREATE TRIGGER refuses BEFORE INSERT ON cart FOR EACH ROW IF {condition} THEN
            SIGNAL SQLSTATE '{state}' SET MESSAGE_TEXT = 'refused here', MYSQL_ERRNO = {number};
            END IF""")


def allow_again(server, database):
    on = " ON cart" if database.scheme == "postgresql" else ""
    server.sql(f"DROP TRIGGER refuses{on}")


@pytest.mark.parametrize("state, number", [("40001", 1213), ("40P01", 1213)])
def test_a_deadlock_is_tried_again_at_once(server, database, state, number):
    server.start()
    add(server, ["cart:first"])
    books.check(server, ["cart:first"])
    condition = "nextval('twice') <= 2"  # neither is taken back with the transaction
    if database.scheme == "postgresql":
        server.sql("CREATE SEQUENCE twice")
    else:
        condition = "(@twice := COALESCE(@twice, 0) + 1) <= 2"
        state = "40001"
    raise_error(server, database, condition, state, number)
    add(server, KEYS)
    books.check(server, ["cart:first", *KEYS])
    assert server.stats()["behind_errors"] == 0
    allow_again(server, database)


def test_a_deadlock_with_somebody_else_loses_nothing(server, database):
    """Who of the two gives way is the server's choice."""
    server.start(l3_connections=1)
    add(server, KEYS)
    books.check(server, KEYS)
    other = database.connect(server.schema)
    cursor = other.cursor()
    cursor.execute("BEGIN")
    cursor.execute("UPDATE cart SET qty = qty WHERE cart_id = 'cart:u9'")
    add(server, ["cart:u1", "cart:u9"], "SKU-2")
    wait_until(lambda: server.stats()["behind_age_ms"] > 1500, "cartd waits for the row")
    with contextlib.suppress(psycopg2.Error, pymysql.Error):
        cursor.execute("UPDATE cart SET qty = qty WHERE cart_id = 'cart:u1'")
    with contextlib.suppress(psycopg2.Error, pymysql.Error):
        cursor.execute("ROLLBACK")
    other.close()
    books.check(server, KEYS)


CANCEL = {"postgresql": {"statement": "SELECT pg_cancel_backend({})",
                         "connection": "SELECT pg_terminate_backend({})"},
          "mysql": {"statement": "KILL QUERY {}", "connection": "KILL {}"}}


@pytest.mark.parametrize("what", ["statement", "connection"] if FULL else ["statement"])
def test_a_statement_that_is_cancelled_is_tried_again(server, database, what):
    """As a time limit does, and an operator who looks who waits for whom."""
    server.start()
    add(server, KEYS)
    books.check(server, KEYS)
    other = server.hold_lock()
    add(server, KEYS, "SKU-2")
    for identity in wait_until(database.waiting, "cartd waits for the lock"):
        database.execute(CANCEL[database.scheme][what].format(identity))
    wait_until(lambda: server.stats()["behind_errors"] > 0, "it is told")
    other.close()
    books.check(server, KEYS)


SLOW = {"postgresql": "PERFORM pg_sleep(20);", "mysql": "DO SLEEP(20);"}

if FULL:
    def test_a_statement_that_takes_too_long_is_ended_by_the_server(server, database):
        server.start()
        add(server, ["cart:first"])
        books.check(server, ["cart:first"])
        if database.scheme == "postgresql":
            server.sql("CREATE FUNCTION crawl() RETURNS trigger LANGUAGE plpgsql AS "
                       f"$$ BEGIN {SLOW['postgresql']} RETURN NEW; END $$")
            server.sql("CREATE TRIGGER refuses BEFORE INSERT ON cart FOR EACH ROW "
                       "EXECUTE FUNCTION crawl()")
        else:
            server.sql("CREATE TRIGGER refuses BEFORE INSERT ON cart FOR EACH ROW "
                       f"{SLOW['mysql'].rstrip(';')}")
        add(server, KEYS[:1])
        wait_errors(server, "the statement took too long")
        allow_again(server, database)
        books.check(server, ["cart:first", KEYS[0]])

    def test_a_lock_that_is_held_for_long_is_waited_for_again_and_again(server):
        server.start()
        add(server, KEYS)
        books.check(server, KEYS)
        other = server.hold_lock()
        add(server, KEYS, "SKU-2")
        wait_until(lambda: server.stats()["behind_errors"] > 2, "its limit is 5 s")
        other.close()
        books.check(server, KEYS)


DISK_MEGABYTES = 32  # more than the test needs once it is free again


@contextlib.contextmanager
def small_tables(database, schema):
    """Tables that are made now are on a disk of their own, which is small: its folder."""
    folder = database.folder / "small"
    if database.scheme == "postgresql":
        with faults.small_disk(folder, DISK_MEGABYTES):
            database.give(folder)
            database.execute(f"CREATE TABLESPACE small LOCATION '{folder}'")
            database.execute(f"ALTER ROLE {databases.USER} SET default_tablespace = small")
            try:
                yield folder
            finally:
                database.execute(f"ALTER ROLE {databases.USER} RESET default_tablespace")
                database.execute(f"DROP SCHEMA {schema} CASCADE")
                database.execute("DROP TABLESPACE small")
        return
    folder = database.data / schema  # where MariaDB keeps the tables of one database
    options = (folder / "db.opt").read_bytes()
    with faults.small_disk(folder, DISK_MEGABYTES):
        database.give(folder)
        (folder / "db.opt").write_bytes(options)
        try:
            yield folder
        finally:
            with contextlib.suppress(pymysql.Error):  # drops the tables, and can't the folder
                database.execute(f"DROP DATABASE {schema}")


def test_a_full_disk_is_told_and_waited_for(server, database):
    url = server.l3_url()
    with small_tables(database, server.schema) as folder:
        server.start(l3=url)
        add(server, KEYS)
        books.check(server, KEYS)
        faults.fill(folder)
        with server.client() as client:
            for key in KEYS:
                for line in range(20):
                    client.send(f"cadd {key} L{line} 1 E{'eHh4' * 100} q\r\n")
            client.send("mn\r\n")
            assert client.line() == "MN"
        wait_errors(server, "the server's disk is full")
        add(server, KEYS, "SKU-2")
        faults.free(folder)
        books.check(server, KEYS)
        assert server.stop() == 0


def test_one_row_that_always_fails_stops_no_other(server, database):
    server.start()
    add(server, ["cart:first"])
    books.check(server, ["cart:first"])
    raise_error(server, database, "NEW.cart_id = 'cart:u7'", "45000", 1644)
    add(server, KEYS)
    others = [key for key in KEYS if key != "cart:u7"]
    wait_until(lambda: len(server.sql("SELECT cart_id FROM cart")) == 1 + len(others),
               "the others are written")
    wait_until(lambda: server.stats()["behind_parked"] == 1, "it is told")
    assert "cart cart:u7 set aside: " in server.log_end() and "refused here" in server.log_end()
    add(server, others, "SKU-2")
    wait_until(lambda: server.stats()["behind_queue"] == 1, "changes of others are written")
    allow_again(server, database)
    books.check(server, ["cart:first", *KEYS])


def set_read_only(database, on):
    if database.scheme == "postgresql":
        database.execute(f"ALTER SYSTEM SET default_transaction_read_only = {on}")
        database.execute("SELECT pg_reload_conf()")
    else:
        database.execute(f"SET GLOBAL read_only = {on}")


def test_a_read_only_server_is_told_and_waited_for(server, database):
    server.start()
    add(server, KEYS)
    books.check(server, KEYS)
    set_read_only(database, "on")
    try:
        add(server, KEYS, "SKU-2")
        wait_errors(server, "the server is read-only")
    finally:
        set_read_only(database, "off")
    books.check(server, KEYS)


def test_a_newer_schema_is_left_alone_until_it_fits(server):
    server.start()
    version = server.sql("SELECT version FROM schema_version")[0]["version"]
    assert server.stop() == 0
    server.sql("UPDATE schema_version SET version = 99")
    server.start()
    add(server, KEYS)
    wait_errors(server, "the schema has version 99")
    assert server.sql("SELECT * FROM cart") == []
    server.sql(f"UPDATE schema_version SET version = {version}")
    books.check(server, KEYS)


CHANGES = [
    ("ALTER TABLE {} RENAME TO {}", ("cart_line", "cart_position"), "a table of cartd is missing"),
    ("ALTER TABLE cart RENAME COLUMN {} TO {}", ("cas", "unique_id"), "the tables are not")]


@pytest.mark.parametrize("sql, names, words", CHANGES if FULL else CHANGES[:1])
def test_a_schema_that_somebody_changed_is_told_and_waited_for(server, sql, names, words):
    server.start()
    add(server, KEYS)
    books.check(server, KEYS)
    server.sql(sql.format(*names))
    add(server, KEYS, "SKU-2")
    wait_errors(server, words)
    server.sql(sql.format(*reversed(names)))
    books.check(server, KEYS)


def test_a_server_that_hangs_delays_a_stop_no_longer_than_its_time_limit(server, database):
    server.start()
    add(server, KEYS)
    books.check(server, KEYS)
    database.freeze()
    try:
        add(server, KEYS, "SKU-2")
        wait_until(lambda: server.stats()["behind_age_ms"] > 1000, "the backlog is told")
        server.stop()  # within WAIT_SECONDS; what is not in SQL stays in L2, and the status says so
    finally:
        database.thaw()
    server.start(**server.options)
    books.check(server, KEYS)


FEW_RIGHTS = {
    "postgresql": ["CREATE ROLE few LOGIN PASSWORD 'se%cret'",
                   "GRANT USAGE ON SCHEMA {schema} TO few",
                   "GRANT SELECT, INSERT, UPDATE, DELETE ON {schema}.cart, {schema}.cart_line, "
                   "{schema}.cart_event TO few",
                   "GRANT SELECT, UPDATE, DELETE ON {schema}.cart_inbox TO few",
                   "GRANT SELECT ON {schema}.schema_version TO few"],
    "mysql": ["CREATE USER few@'%' IDENTIFIED BY 'se%cret'",
              *(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {{schema}}.{table} TO few@'%'"
                for table in ("cart", "cart_line", "cart_event")),
              "GRANT SELECT, UPDATE, DELETE ON {schema}.cart_inbox TO few@'%'",
              "GRANT SELECT ON {schema}.schema_version TO few@'%'"]}


def test_few_rights_and_a_password_file_are_enough(server, database, tmp_path):
    server.start()  # makes the tables, as its owner
    assert server.stop() == 0
    for sql in FEW_RIGHTS[database.scheme]:
        database.execute(sql.format(schema=server.schema))
    secret = tmp_path / "secret"
    secret.write_text("se%cret\n")
    url = server.l3_url().replace(f"{databases.USER}:{databases.PASSWORD_IN_URL}@", "few@")
    server.start(l3=url, l3_password_file=secret, l3_migrate="off")
    with server.client() as client:
        assert client.cmd("cadd cart:ends SKU-1 1 T1") == "HD"
    add(server, KEYS)
    carts = books.check(server, KEYS)
    assert len(carts) == len(KEYS)
    wait_until(lambda: server.sql("SELECT id FROM cart_event"), "an event")
    for command in ("cadd SKU-7 1", "nonsense"):
        server.change("INSERT INTO cart_inbox (cart_id, command) VALUES (%s, %s)", KEYS[0], command)
    wait_until(lambda: [row["status"] for row in server.sql("SELECT status FROM cart_inbox")]
               == ["failed"], "the inbox is read")
    books.check(server, KEYS)
    assert server.stats()["inbox_errors"] == 0
    assert "se%cret" not in server.log_end() and server.stats()["behind_errors"] == 0


def test_rows_changed_or_deleted_by_others_lose_no_change(server):
    server.start()
    add(server, KEYS)
    books.check(server, KEYS)
    server.sql("DELETE FROM cart WHERE cart_id = 'cart:u1'")
    server.sql("UPDATE cart SET rev = rev + 5, qty = 77 WHERE cart_id = 'cart:u2'")
    server.sql("DELETE FROM cart_line WHERE cart_id = 'cart:u3'")
    add(server, KEYS, "SKU-2")
    carts = books.check(server, KEYS)
    assert {cart["qty"] for cart in carts.values()} == {2}

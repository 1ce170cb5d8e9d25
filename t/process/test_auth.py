"""Users: who is let in, by text and by SASL, what they may do, and what a reload changes."""
import base64
import signal
import struct
import subprocess

import pytest
from waiting import wait_until
from wire import Client, Closed

USERS = """
[user shop]
password = secret-of-shop
rights = read, write
prefixes = cart: session:

[user reader]
password = {hash}
rights = read

[user ops]
password = secret-of-ops
rights = admin
"""
READER_HASH = subprocess.run(["openssl", "passwd", "-6", "secret-of-reader"], check=True, text=True,
                             capture_output=True).stdout.strip()
REFUSED = "CLIENT_ERROR unauthenticated"
FAILED = "CLIENT_ERROR authentication failure"
DENIED = "CLIENT_ERROR DENIED no right to do this"


@pytest.fixture(name="guarded")
def make_guarded(server, tmp_path):
    """A server with the users above; it is asked for its version only."""
    server.config = tmp_path / "cartd.conf"
    server.config.write_text(USERS.format(hash=READER_HASH))
    return server.start(config=server.config)


def login(server, name, password):
    client = Client(server.port)
    assert client.store("set auth 0 0", f"{name} {password}") == "STORED"
    return client


def shop(server):
    return login(server, "shop", "secret-of-shop")


def frame(opcode, key=b"", value=b"", extras=b"", cas=0):
    body = len(extras) + len(key) + len(value)
    return struct.pack(">BBHBBHIIQ", 0x80, opcode, len(key), len(extras), 0, 0, body, 7, cas) + \
        extras + key + value


def ask(client, *arguments, **named):
    """(status, value) of a binary request."""
    client.send(frame(*arguments, **named))
    head = struct.unpack(">BBHBBHIIQ", client.bytes(24))
    assert head[0] == 0x81 and head[7] == 7
    body = client.bytes(head[6])
    return head[5], body[head[4] + head[2]:]


# ---- nobody ----

@pytest.mark.parametrize("line", [
    "get cart:u1", "gets a", "gat 0 a", "delete a", "incr a 1", "touch a 0", "flush_all", "stats",
    "stats settings", "verbosity 1", "cget cart:u1", "cadd cart:u1 SKU-1 1", "cdel cart:u1",
    "chst cart:u1",
    "mg a v", "md a", "ma a", "me a", "mn", "shutdown", "nonsense", "", "cache_memlimit 64",
    "lru_crawler metadump all", "delete a noreply", "set a 0 0", "set a 0 0 x",
])
def test_nobody_may_do_anything(guarded, line):
    with guarded.client() as client:
        assert client.cmd(line) == REFUSED
        assert client.cmd("version").startswith("VERSION ")


def test_nobody_may_store(guarded):
    with guarded.client() as client:
        assert client.store("add a 0 0", "set b 0 0 1") == REFUSED
        client.send("ms a 11\r\nset b 0 0 1\r\n")
        assert client.line() == REFUSED
    with login(guarded, "ops", "secret-of-ops") as client:
        assert client.stat("curr_items") == 0


def test_a_large_block_of_nobody_is_refused_and_skipped(guarded):
    with guarded.client() as client:
        assert client.store("set a 0 0", b"x" * 100000) == REFUSED
        assert client.cmd("version").startswith("VERSION ")


@pytest.mark.parametrize("block, answer", [
    ("shop wrong", FAILED), ("nobody secret-of-shop", FAILED), ("shop ", None), ("shop", None),
    ("", None), (" secret-of-shop", None), ("shop secret-of-sho", FAILED),
    ("shop secret-of-shop ", FAILED), ("SHOP secret-of-shop", FAILED),
    (b"shop secret-of-shop\0", FAILED), ("reader secret-of-readex", FAILED),
], ids=repr)
def test_a_wrong_password_is_refused_and_may_be_tried_again(guarded, block, answer):
    with guarded.client() as client:
        told = client.store("set a 0 0", block)
        assert told == (answer or "CLIENT_ERROR bad authentication token format")
        assert client.cmd("get a") == REFUSED
        assert client.store("set a 0 0", "shop secret-of-shop") == "STORED"
        assert client.get("cart:u1") is None


def test_a_login_is_answered_whatever_noreply_says(guarded):
    with guarded.client() as client:
        client.send("set a 0 0 19 noreply\r\nshop secret-of-shop\r\n")
        assert client.line() == "STORED"


def test_a_login_and_what_follows_may_come_in_one_packet(guarded):
    with guarded.client() as client:
        client.send("set a 0 0 23\r\nreader secret-of-reader\r\nget a\r\nset a 0 0 1\r\nx\r\n")
        assert [client.line() for _ in range(3)] == ["STORED", "END", DENIED]


# ---- rights ----

@pytest.mark.parametrize("line, answer", [
    ("get cart:u1", "END"), ("get cart:u1 session:1", "END"), ("get other", DENIED),
    ("get cart:u1 other", DENIED), ("gets cart", DENIED), ("incr session:1 1", "NOT_FOUND"),
    ("incr other 1", DENIED), ("delete other", DENIED), ("touch other 0", DENIED),
    ("gat 0 other", DENIED), ("mg session:1 v", "EN"), ("mg other v", DENIED),
    (f"mg {base64.b64encode(b'session:1').decode()} b v", "EN"),
    (f"mg {base64.b64encode(b'other').decode()} b v", DENIED),
    ("md other", DENIED), ("ma other", DENIED), ("me other", DENIED),
    ("cadd cart:u1 SKU-1 1", "HD"), ("cget cart:none", "EN"),
    (f"cget {base64.b64encode(b'cart:none').decode()} b", "EN"),
    ("flush_all", DENIED), ("verbosity 1", DENIED), ("stats cachedump 1 1", DENIED),
    ("stats reset", DENIED), ("stats conns", DENIED), ("shutdown", DENIED),
    ("cache_memlimit 64", DENIED), ("lru_crawler metadump all", DENIED), ("mn", "MN"),
])
def test_a_user_may_do_what_his_rights_and_prefixes_say(guarded, line, answer):
    with shop(guarded) as client:
        assert client.cmd(line) == answer
        assert client.cmd("version").startswith("VERSION ")


def test_a_denied_store_costs_its_block_and_stores_nothing(guarded):
    with shop(guarded) as client:
        assert client.store("set other 0 0", "get cart:u1") == DENIED
        assert client.store("set session:1 0 0", "x") == "STORED"
        assert client.get("session:1") == b"x"
        client.send("set other 0 0 1 noreply\r\nx\r\n")
        assert client.cmd("mn") == "MN"


def test_a_denied_store_that_is_too_large_drops_nothing(guarded):
    guarded.config.write_text(USERS.format(hash=READER_HASH) + "[user all]\npassword = x\n")
    guarded.process.send_signal(signal.SIGHUP)

    def let_in():
        with guarded.client() as client:
            return client.store("set a 0 0", "all x") == "STORED"
    wait_until(let_in, "the new user is known")
    with login(guarded, "all", "x") as client:
        assert client.store("set other 0 0", "kept") == "STORED"
        with shop(guarded) as stranger:
            assert stranger.store("set other 0 0", b"x" * (2 << 20)) == DENIED
        assert client.get("other") == b"kept"


def test_a_reader_reads(guarded):
    with shop(guarded) as client:
        assert client.cmd("cadd cart:u1 SKU-1 2") == "HD"
    with login(guarded, "reader", "secret-of-reader") as client:
        assert client.qty("cart:u1", "SKU-1") == 2
        for line in ("cadd cart:u1 SKU-1 1", "cdel cart:u1", "incr cart:u1/qty/SKU-1 1", "gat 9 a",
                     "mg a T9", "mg a N9", "md a", "touch a 0"):
            assert client.cmd(line) == DENIED, line
        assert client.stats()["auth_cmds"] != "0"


def test_an_admin_without_read_sees_no_cart(guarded):
    with login(guarded, "ops", "secret-of-ops") as client:
        assert client.cmd("get cart:u1") == DENIED
        assert client.cmd("flush_all") == "OK"
        assert client.stats("conns")


# ---- SASL ----

def plain(name, password, authzid=b""):
    return authzid + b"\0" + name + b"\0" + password


def test_binary_clients_log_in_by_sasl(guarded):
    with guarded.client() as client:
        status, mechanisms = ask(client, 0x20)
        assert status == 0 and b"PLAIN" in mechanisms.split()
        assert ask(client, 0x0b)[0] == 0  # version
        assert ask(client, 0x21, b"PLAIN", plain(b"shop", b"wrong"))[0] == 0x20
        assert ask(client, 0x21, b"PLAIN", plain(b"shop", b"secret-of-shop")) == \
            (0, b"Authenticated")
        assert ask(client, 0x00, b"cart:u1")[0] == 1
        assert ask(client, 0x00, b"other")[0] == 0x24
        assert ask(client, 0x08)[0] == 0x24
        assert ask(client, 0x01, b"session:1", b"x", b"\0" * 8)[0] == 0


def test_hashed_passwords_work_by_sasl(guarded):
    with guarded.client() as client:
        assert ask(client, 0x21, b"PLAIN", plain(b"reader", b"secret-of-reader"))[0] == 0
        assert ask(client, 0x01, b"a", b"x", b"\0" * 8)[0] == 0x24


@pytest.mark.parametrize("opcode", [0x00, 0x01, 0x04, 0x08, 0x0a, 0x10, 0x99, 0xd0], ids=hex)
def test_an_unknown_binary_client_is_refused_and_closed(guarded, opcode):
    with guarded.client() as client:
        assert ask(client, opcode)[0] in (0x20, 0x04)
        with pytest.raises(Closed):
            client.bytes(1)


# ---- -Y, reload, log ----

def test_a_memcached_password_file_is_enough(server, tmp_path):
    users = tmp_path / "users"
    users.write_text("shop:one\nother:two\n")
    server.start(Y=users)
    with login(server, "other", "two") as client:
        assert client.store("set a 0 0", "x") == "STORED"
        assert client.cmd("flush_all") == "OK"
    with server.client() as client:
        assert ask(client, 0x21, b"PLAIN", plain(b"shop", b"one"))[0] == 0


def test_who_loses_his_password_is_out_at_once(guarded):
    with shop(guarded) as client, login(guarded, "ops", "secret-of-ops") as ops:
        assert client.get("cart:u1") is None
        guarded.config.write_text(USERS.format(hash=READER_HASH).replace("secret-of-shop", "new"))
        guarded.process.send_signal(signal.SIGHUP)
        wait_until(lambda: client.cmd("get cart:u1") == REFUSED or None,
                   "the old password is forgotten")
        assert ops.cmd("flush_all") == "OK"
        assert client.store("set a 0 0", "shop new") == "STORED"


def test_a_bad_file_at_a_reload_keeps_the_users(guarded):
    with shop(guarded) as client:
        guarded.config.write_text("[user shop]\nrights = fly\n")
        guarded.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "line 2" in guarded.log_end(), "the reload is told of")
        assert client.get("cart:u1") is None
    shop(guarded).close()


def test_no_password_is_in_the_log(guarded):
    with guarded.client() as client:
        client.store("set a 0 0", "shop wrong-secret")
        client.store("set a 0 0", "reader wrong-secret")
        ask_again = client.store("set a 0 0", "shop secret-of-shop")
        assert ask_again == "STORED"
    guarded.restart()
    assert "secret" not in guarded.log_end()
    assert "shop" in guarded.log_end()  # who failed is told

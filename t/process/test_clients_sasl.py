"""Client libraries that log in: by SASL as with memcached -S, by text as with memcached -Y."""
import subprocess

import pytest
from clients import check_steps, execute, run, serving_cartd, serving_memcached
from pymemcache.client.base import Client as Pymemcache
from pymemcache.exceptions import MemcacheError
from wire import Client

CASES = [  # program, options, how many steps of plain keys and of carts it does
    ("libmemcached", "binary", 60, 24),
    ("pylibmc", "binary", 55, 32),
    ("php", "binary", 60, 32),
    ("ruby", "binary", 65, 33),
    ("node", "memjs", 45, 30),
    ("java", "binary", 60, 33),
]
CLIENTS = [case[:2] for case in CASES]
USERS = {"shop": "secret-of-shop", "ops": "p\u00e4ssword-1"}
SHOP = ("shop", USERS["shop"])
WRONG = [("shop", "secret-of-sho"), ("shop", "secret-of-shop "), ("nobody", SHOP[1]),
         ("shop", USERS["ops"]), ("ops", SHOP[1])]
CYRUS = """mech_list: plain
pwcheck_method: auxprop
auxprop_plugin: sasldb
sasldb_path: {}
"""


def make_users(folder, hashed=()):
    """A file of the users, for cartd and memcached; memcached knows no hashes."""
    words = {name: make_hash(word) if name in hashed else word for name, word in USERS.items()}
    users = folder / "users"
    users.write_text("".join(f"{name}:{word}\n" for name, word in words.items()), encoding="utf-8")
    users.chmod(0o600)
    return users


def make_hash(word):
    return subprocess.run(["openssl", "passwd", "-6", "-stdin"], input=word + "\n", check=True,
                          text=True, capture_output=True).stdout.strip()


def make_cyrus(folder):
    """The same users in the way of memcached: the environment it needs."""
    database = folder / "sasldb"
    for name, word in USERS.items():
        subprocess.run(["/usr/sbin/saslpasswd2", "-p", "-c", "-a", "memcached", "-f", database,
                        name], input=word.encode(), check=True)
    (folder / "memcached.conf").write_text(CYRUS.format(database), encoding="utf-8")
    return {"SASL_CONF_PATH": str(folder)}


@pytest.fixture(name="sasl")
def make_sasl(tmp_path):
    """{"cartd": place, "memcached": place} of servers with SASL, fresh as in make_pair."""
    with serving_cartd(tmp_path, "-S", "-Y", make_users(tmp_path, ["ops"])) as cartd, \
            serving_memcached("-S", environment=make_cyrus(tmp_path)) as memcached:
        yield {"cartd": cartd, "memcached": memcached}


@pytest.fixture(name="listed", scope="module")
def make_listed(tmp_path_factory):
    """Servers with a file of users."""
    folder = tmp_path_factory.mktemp("listed")
    users = make_users(folder)
    with serving_cartd(folder, "-Y", users) as cartd, \
            serving_memcached("-Y", users) as memcached:
        yield {"cartd": cartd, "memcached": memcached}


@pytest.mark.parametrize("program, options", CLIENTS)
@pytest.mark.parametrize("name", USERS)
def test_a_user_logs_in(sasl, program, options, name):
    login = (name, USERS[name])
    told = {kind: run(program, "login", options, place, login=login)
            for kind, place in sasl.items()}
    assert told["cartd"] == told["memcached"]
    check_steps(told["cartd"], 2)


@pytest.mark.parametrize("program, options", CLIENTS)
@pytest.mark.parametrize("login", [*WRONG, ()], ids=repr)
def test_others_are_refused(sasl, program, options, login):
    told = {}
    for kind, place in sasl.items():
        lines = run(program, "login", options, place, login=login)
        told[kind] = [line.partition("\t")[0] for line in lines]
    assert told["cartd"] == told["memcached"]
    assert "login no" in told["cartd"]
    assert "login-get hello" not in told["cartd"]


@pytest.mark.parametrize("program, options, count, _", CASES)
def test_a_user_cannot_tell_cartd_from_memcached(sasl, program, options, count, _):
    told = {kind: run(program, "plain", options, place, login=SHOP)
            for kind, place in sasl.items()}
    assert told["cartd"] == told["memcached"]
    check_steps(told["cartd"], count)


@pytest.mark.parametrize("program, options, _, count", CASES)
def test_a_user_goes_shopping(tmp_path, program, options, _, count):
    with serving_cartd(tmp_path, "-S", "-Y", make_users(tmp_path)) as place:
        check_steps(run(program, "cart", options, place, login=SHOP), count)


@pytest.mark.parametrize("tool", [
    ["memcexist", "--binary", "k"], ["memcstat", "--binary"], ["memcslap", "-b", "--test=set"],
], ids=lambda tool: tool[0])
def test_tools_log_in(sasl, tool):
    assert run("libmemcached", "login", "binary", sasl["cartd"], login=SHOP)[0] == "login yes"
    execute([*tool, f"--servers={sasl['cartd']}", "-u", SHOP[0], "-p", SHOP[1]])


# ---- text ----------------------------------------------------------------------------------------

LOGIN = b"set x 0 0 19\r\nshop secret-of-shop\r\n"
WRONG_LOGIN = b"set x 0 0 19\r\nshop secret-of-shoP\r\n"
GET = b"get absent\r\n"
TEXT = [  # each is answered by one line before the next is sent
    [GET, LOGIN, GET],
    [WRONG_LOGIN, GET, LOGIN, GET],
    [WRONG_LOGIN, WRONG_LOGIN, LOGIN],
    [LOGIN, LOGIN, b"touch x 0\r\n"],
    [b"set x 5 100 19 noreply\r\nshop secret-of-shop\r\n", GET],
    [b"set x 0 0 15\r\nops p\xc3\xa4ssword-1\r\n", GET],
    [b"set x 0 0 4\r\nshop\r\n", GET, LOGIN],
    [b"set x 0 0 21\r\nshop secret-of-shop\r\n\r\n", GET],
    [b"set x 0 0 18\r\nshop secret-of-sho\r\n", GET],
    [b"mg k v\r\n", b"stats\r\n", b"nonsense\r\n", b"flush_all\r\n", b"incr k 1\r\n", LOGIN],
]


def ask(client, data):
    client.send(data)
    return client.line()


def converse(place, sent):
    with Client(int(place.rpartition(":")[2])) as client:
        return [ask(client, data) for data in sent]


@pytest.mark.parametrize("sent", TEXT, ids=repr)
def test_text_users_are_asked_as_by_memcached(listed, sent):
    told = {kind: converse(place, sent) for kind, place in listed.items()}
    assert told["cartd"] == told["memcached"]


def test_pymemcache_logs_in_with_a_set(listed):
    for place in listed.values():
        client = Pymemcache(place, default_noreply=False, connect_timeout=60, timeout=60)
        with pytest.raises(MemcacheError):
            client.get("k")
        client = Pymemcache(place, default_noreply=False, connect_timeout=60, timeout=60)
        assert client.set("any", " ".join(SHOP))
        assert client.set("k", "hello") and client.get("k") == b"hello"
        client.close()


def test_pymemcache_goes_shopping_as_a_user(listed):
    client = Pymemcache(listed["cartd"], default_noreply=False, connect_timeout=60, timeout=60)
    assert client.set("any", " ".join(SHOP))
    assert client.set("cart:u1/SKU-1", "2") and client.incr("cart:u1/SKU-1/qty", 3) == 5
    assert client.get("cart:u1/SKU-1/qty") == b"5"
    assert client.delete("cart:u1/SKU-1") and client.get("cart:u1/SKU-1") is None
    client.close()


def test_without_sasl_there_is_no_way_in_by_binary(listed):
    lines = run("libmemcached", "login", "binary", listed["cartd"])
    assert lines[0].startswith("login no")

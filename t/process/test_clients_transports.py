"""Client libraries over unix sockets, UDP and TLS."""
import pytest
from clients import check_steps, execute, run, serving_cartd, serving_memcached
from pymemcache.client.base import Client as Pymemcache
from transport import Certificates, tls
from waiting import wait_until
from wire import Client, Closed

UNIX = [  # program, options, how many steps it does
    ("libmemcached", "text", 60),
    ("libmemcached", "binary", 60),
    ("pylibmc", "text", 55),
    ("pylibmc", "binary", 55),
    ("pymemcache", "text", 70),
    ("php", "text", 60),
    ("php", "binary", 60),
    ("ruby", "binary", 65),
    ("perl", "text", 70),
]


@pytest.fixture(name="sockets", scope="module")
def make_sockets(tmp_path_factory):
    """{"cartd": path, "memcached": path} of servers on unix sockets."""
    folder = tmp_path_factory.mktemp("u")
    with serving_cartd(folder, path=folder / "c") as cartd, \
            serving_memcached(path=folder / "m") as memcached:
        yield {"cartd": cartd, "memcached": memcached}


@pytest.mark.parametrize("program, options, count", UNIX)
def test_a_client_uses_a_unix_socket(sockets, program, options, count):
    told = {kind: run(program, "plain", options, place) for kind, place in sockets.items()}
    assert told["cartd"] == told["memcached"]
    check_steps(told["cartd"], count)


@pytest.mark.parametrize("kind", ["cartd", "memcached"])
def test_libmemcached_writes_by_udp(tmp_path, kind):
    """It cannot read by UDP; it sends noreply to where TCP listens, too."""
    options = ["-U", "{port}"]
    with serving_cartd(tmp_path, *options) if kind == "cartd" \
            else serving_memcached(*options) as place:
        with Client(int(place.rpartition(":")[2])) as client:
            assert client.store("set old 0 0", "x") == "STORED"
            check_steps(run("libmemcached", "udp", "udp", place), 1)

            def all_there():
                client.send(f"get {' '.join(wanted)}\r\n")
                return {key: value for key, (value, _) in client.read_values().items()} == wanted

            wanted = {f"udp-{number}": b"%d" % number for number in range(100)}
            wait_until(all_there, "all datagrams have arrived")
            wait_until(lambda: client.get("old") is None, "the deletion has arrived")


# ---- TLS -----------------------------------------------------------------------------------------

def reach_by_tls(port, certificates):
    try:
        return tls(port, certificates.context())
    except ConnectionError as error:
        raise Closed from error


@pytest.fixture(name="secure", scope="module")
def make_secure(tmp_path_factory):
    """(place, certificates) of a cartd that speaks TLS only."""
    folder = tmp_path_factory.mktemp("tls")
    certificates = Certificates(folder)
    certificate, key = certificates.issue("server")
    with serving_cartd(folder, "-Z", "--tls-cert", certificate, "--tls-key", key,
                       reach=lambda port: reach_by_tls(port, certificates)) as place:
        yield place, certificates


def test_pymemcache_speaks_tls(secure):
    place, certificates = secure
    client = Pymemcache(place, default_noreply=False, timeout=60, connect_timeout=60,
                        tls_context=certificates.context())
    large = b"0123456789" * 90000
    assert client.set("large", large) and client.get("large") == large
    assert client.set("cart:u1/SKU-1", "2") and client.incr("cart:u1/SKU-1/qty", 3) == 5
    assert client.get("cart:u1/SKU-1/qty") == b"5"
    client.close()


RUBY = """
require 'dalli'
context = OpenSSL::SSL::SSLContext.new
context.ca_file = ARGV[1]
context.verify_mode = OpenSSL::SSL::VERIFY_PEER
dalli = Dalli::Client.new(ARGV[0], ssl_context: context, socket_timeout: 60, raise_errors: true)
large = '0123456789' * 90000
raw = { raw: true, compress: false }
dalli.set('large', large, 0, raw)
puts dalli.get('large', raw) == large
dalli.set('cart:u1/SKU-2', '2', 0, raw)
puts dalli.incr('cart:u1/SKU-2/qty', 3)
"""


def test_dalli_speaks_tls(secure):
    place, certificates = secure
    assert execute(["ruby", "-e", RUBY, place, certificates.ca]) == "true\n5\n"

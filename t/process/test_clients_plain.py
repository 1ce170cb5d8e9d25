"""Every client library does all it can with plain keys, and sees from cartd what it sees from
memcached: the same lines, with the library's own words for what went wrong."""
import pytest
from clients import check_steps, make_pair, run  # noqa: F401

CASES = [  # program, options, how many steps it does
    ("libmemcached", "text", 60),
    ("libmemcached", "binary", 60),
    ("libmemcached", "text+noblock+nodelay", 60),
    ("libmemcached", "binary+noblock+nodelay", 60),
    ("pylibmc", "text", 55),
    ("pylibmc", "binary", 55),
    ("pylibmc", "text+noblock+nodelay", 55),
    ("pylibmc", "binary+noblock+nodelay", 55),
    ("pymemcache", "text", 70),
    ("pymemcache", "text+nodelay", 70),
    ("php", "text", 60),
    ("php", "binary", 60),
    ("php", "text+noblock+nodelay", 60),
    ("php", "binary+igbinary", 60),
    ("ruby", "binary", 65),
    ("ruby", "gzip", 65),
    ("ruby", "namespace", 65),
    ("perl", "text", 70),
    ("perl", "nowait", 70),
    ("perl", "namespace", 70),
    ("node", "memcached", 50),
    ("node", "memjs", 45),
    ("java", "text", 60),
    ("java", "binary+nodelay", 60),
]


@pytest.mark.parametrize("program, options, count", CASES)
def test_a_client_cannot_tell_cartd_from_memcached(pair, program, options, count):
    told = {kind: run(program, "plain", options, place) for kind, place in pair.items()}
    assert told["cartd"] == told["memcached"]
    check_steps(told["cartd"], count)

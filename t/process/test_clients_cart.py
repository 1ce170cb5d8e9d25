"""Every client library goes shopping with keys that have a path, and SQL shows what is left."""
import books
import pytest
from clients import check_steps, run

CASES = [  # program, options, how many steps it does
    ("libmemcached", "text", 24),
    ("libmemcached", "binary", 24),
    ("pylibmc", "text", 32),
    ("pylibmc", "binary", 32),
    ("pymemcache", "text", 32),
    ("php", "text", 32),
    ("php", "binary", 32),
    ("ruby", "binary", 33),
    ("perl", "text", 33),
    ("perl", "nowait", 33),
    ("node", "memcached", 32),
    ("node", "memjs", 30),
    ("java", "text", 32),
    ("java", "binary", 33),
]


@pytest.mark.parametrize("program, options, count", CASES)
def test_a_stock_client_goes_shopping(server, program, options, count):
    server.start()
    lines = run(program, "cart", options, f"127.0.0.1:{server.port}")
    check_steps(lines, count)
    carts = books.check(server, ["cart:u1", "cart:left"])
    assert carts["cart:u1"] is None
    left = [(line["line"], line["qty"]) for line in carts["cart:left"]["lines"]]
    assert left == [("SKU-1", 2)]

"""Stock memcached clients go shopping, and SQL shows what they bought."""
import json
import subprocess

import books
import pylibmc
import pytest
from daemon import BUILD

SQL_SECONDS = 2  # what is promised to whoever looks into the database


@pytest.fixture(name="shop")
def connect(server):
    server.start()
    return pylibmc.Client([f"127.0.0.1:{server.port}"], behaviors={"cas": True})


def test_pylibmc_counts_a_line_up_and_down(server, shop):
    with pytest.raises(pylibmc.NotFound):
        shop.incr("cart:u1/SKU-1/qty", 2)
    assert shop.get("cart:u1") is None
    assert shop.set("cart:u1/SKU-1", "2")
    assert shop.incr("cart:u1/SKU-1/qty", 3) == 5
    assert shop.decr("cart:u1/SKU-1/qty", 1) == 4
    assert shop.get("cart:u1/SKU-1/qty") == b"4"
    assert shop.decr("cart:u1/SKU-1/qty", 4) == 0
    assert shop.get("cart:u1/SKU-1/qty") is None
    books.check(server, ["cart:u1"], SQL_SECONDS)


def test_pylibmc_writes_lines_as_digits_and_as_json(server, shop):
    assert shop.set("cart:u1/SKU-1;red", "2")
    assert shop.set("cart:u1/SKU-2", json.dumps(
        {"qty": 3, "price": 1999, "currency": "EUR", "shop": "s1", "checked": False,
         "ext": "gr\u00fc\u00dfe \"quoted\""}))
    assert shop.set("cart:u1/a%2Fb%25", "1")
    assert not shop.get("cart:u1/SKU-9")
    cart = json.loads(shop.get("cart:u1"))
    assert [(line["line"], line["sku"], line["qty"]) for line in cart["lines"]] == [
        ("SKU-1;red", "SKU-1", 2), ("SKU-2", "SKU-2", 3), ("a/b%", "a/b%", 1)]
    second = json.loads(shop.get("cart:u1/SKU-2"))
    assert (second["price"], second["shop"], second["checked"], second["ext"]) == (
        1999, "s1", False, "gr\u00fc\u00dfe \"quoted\"")
    assert (cart["currency"], cart["qty"], cart["checked_qty"], cart["count"]) == ("EUR", 6, 3, 3)
    assert "amount" not in cart  # two prices are unknown
    rows = server_rows(server, "cart:u1", 3)
    assert rows["SKU-2"]["add_price"] == 1999 and rows["SKU-2"]["checked"] == 0
    books.check(server, ["cart:u1"], SQL_SECONDS)


def server_rows(server, key, count):
    books.check(server, [key], SQL_SECONDS)
    rows = server.sql("SELECT * FROM cart_line WHERE cart_id = ?", key)
    assert len(rows) == count
    return {row["line"]: row for row in rows}


def test_pylibmc_removes_lines_and_carts(server, shop):
    for line in ("SKU-1", "SKU-2"):
        assert shop.set(f"cart:u1/{line}", "2")
    assert shop.delete("cart:u1/SKU-1")
    assert not shop.delete("cart:u1/SKU-1")
    assert [line["line"] for line in json.loads(shop.get("cart:u1"))["lines"]] == ["SKU-2"]
    server_rows(server, "cart:u1", 1)
    assert shop.delete("cart:u1")
    assert not shop.delete("cart:u1")
    assert shop.get("cart:u1") is None
    books.check(server, ["cart:u1"], SQL_SECONDS)
    assert server.sql("SELECT * FROM cart_line") == []


def test_pylibmc_add_and_replace_keep_their_conditions(server, shop):
    assert not shop.replace("cart:u1/SKU-1", "5")
    assert shop.get("cart:u1") is None
    assert shop.add("cart:u1/SKU-1", "1")
    assert not shop.add("cart:u1/SKU-1", "7")
    assert shop.replace("cart:u1/SKU-1", "5")
    assert shop.get("cart:u1/SKU-1/qty") == b"5"
    assert not shop.add("cart:u1", '{"lines":[]}')
    books.check(server, ["cart:u1"], SQL_SECONDS)


def test_pylibmc_cas_refuses_a_document_of_yesterday(server, shop):
    shop.set("cart:u1/SKU-1", "1")
    text, unique = shop.gets("cart:u1")
    shop.set("cart:u1/SKU-2", "1")  # somebody else was faster
    assert not shop.cas("cart:u1", text.decode(), unique)
    text, unique = shop.gets("cart:u1")
    cart = json.loads(text)
    assert cart["cas"] == str(unique)
    cart["lines"] = [dict(cart["lines"][0], qty=9)]
    assert shop.cas("cart:u1", json.dumps(cart), unique)
    lines = json.loads(shop.get("cart:u1"))["lines"]
    assert [(line["line"], line["qty"]) for line in lines] == [("SKU-1", 9)]
    books.check(server, ["cart:u1"], SQL_SECONDS)


def test_pylibmc_can_send_back_every_cas(server, shop):
    """libmemcached has no room for 20 digits, and many languages none for more than 63 bits."""
    for user in range(40):
        shop.set(f"cart:u{user}/SKU-1", "1")
        text, unique = shop.gets(f"cart:u{user}")
        assert 0 < unique < 1 << 63
        assert shop.cas(f"cart:u{user}", text.decode(), unique)
    books.check(server, [f"cart:u{user}" for user in range(40)])


def test_pylibmc_shops_in_several_carts_beside_plain_keys(server, shop):
    shop.set("session:1", "not a cart", time=100)
    for user in range(20):
        for sku in range(user):
            shop.set(f"cart:u{user}/SKU-{sku}", json.dumps({"qty": user, "price": 100 * sku}))
    carts = shop.get_multi([f"cart:u{user}" for user in range(20)])
    assert sorted(carts) == sorted(f"cart:u{user}" for user in range(1, 20))
    assert json.loads(carts["cart:u7"])["amount"] == 7 * 100 * sum(range(7))
    assert shop.get("session:1") == "not a cart"
    books.check(server, [f"cart:u{user}" for user in range(20)], SQL_SECONDS)


def test_libmemcached_does_a_shopping_session(server):
    server.start()
    program = BUILD / "t/process/shop_libmemcached"
    done = subprocess.run([program, str(server.port)], capture_output=True, text=True, timeout=60,
                          check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    carts = books.check(server, ["cart:c1", "cart:c2"], SQL_SECONDS)
    assert carts["cart:c2"] is None
    left = [(line["line"], line["qty"]) for line in carts["cart:c1"]["lines"]]
    assert left == [("SKU-1", 4), ("SKU-3", 1)]

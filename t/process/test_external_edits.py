"""Somebody changes rows of cart and cart_line in SQL. The customer's cart is what cartd says; after
its next change the rows are the cart again, whatever they had become (doc/sql.md)."""
import books
import pytest
from waiting import wait_until

EDITS = {
    "row deleted": ["DELETE FROM cart WHERE cart_id = {key}"],
    "all deleted": ["DELETE FROM cart WHERE cart_id = {key}",
                    "DELETE FROM cart_line WHERE cart_id = {key}"],
    "rev newer": ["UPDATE cart SET rev = rev + 5, qty = 77 WHERE cart_id = {key}"],
    "rev older": ["UPDATE cart SET rev = 1, qty = 77 WHERE cart_id = {key}"],
    "rev 0": ["UPDATE cart SET rev = 0 WHERE cart_id = {key}"],
    "rev negative": ["UPDATE cart SET rev = -7 WHERE cart_id = {key}"],
    "rev huge": ["UPDATE cart SET rev = 9000000000 WHERE cart_id = {key}"],
    "figures": ["UPDATE cart SET qty = 77, amount = NULL, currency = 'USD', lines_count = 9, "
                "cas = '5', version = 1 WHERE cart_id = {key}"],
    "state deleted": ["UPDATE cart SET state = 3, rev = rev + 1 WHERE cart_id = {key}"],
    "image older": ["UPDATE cart SET rev = rev + 1, image = (SELECT image FROM older "
                    "WHERE older.cart_id = cart.cart_id) WHERE cart_id = {key}"],
    "image is none": ["UPDATE cart SET image = {image} WHERE cart_id = {key}"],
    "image is none, rev newer": [
        "UPDATE cart SET image = {image}, rev = rev + 1 WHERE cart_id = {key}"],
    "lines deleted": ["DELETE FROM cart_line WHERE cart_id = {key}"],
    "lines changed": ["UPDATE cart_line SET qty = 99, checked = 0, add_price = 1, shop = 'x' "
                      "WHERE cart_id = {key}"],
    "line renamed": ["UPDATE cart_line SET line = 'OTHER', sku = 'OTHER' "
                     "WHERE cart_id = {key} AND line = 'SKU-1'"],
    "line added": ["INSERT INTO cart_line SELECT cart_id, 'MORE', 'MORE', qty, checked, add_price, "
                   "shop, ext, added_at, updated_at FROM cart_line "
                   "WHERE cart_id = {key} AND line = 'SKU-1'"],
}
IMAGES = {"sqlite": "X'6e6f6e65'", "postgresql": "'none'::bytea", "mysql": "'none'"}


def key_of(name):
    return "cart:" + name.replace(" ", "-").replace(",", "")


def edit(server, name):
    kind = server.database.scheme if server.database else "sqlite"
    for sql in EDITS[name]:
        server.change(sql.format(key=f"'{key_of(name)}'", image=IMAGES[kind]))


@pytest.mark.parametrize("in_memory", [True, False], ids=["in memory", "only in L2"])
def test_after_the_next_change_the_rows_are_the_cart_again(server, in_memory):
    server.start()
    keys = [key_of(name) for name in EDITS]
    with server.client() as client:
        for key in keys:
            assert client.cmd(f"cadd {key} SKU-1 1 P5 UEUR Gs1") == "HD"
        books.check(server, keys)
        server.change("CREATE TABLE older AS SELECT cart_id, image FROM cart")
        for key in keys:
            assert client.cmd(f"cset {key} SKU-1 2") == "HD"
            assert client.cmd(f"cadd {key} SKU-2 1 P7") == "HD"
        books.check(server, keys)
    if not in_memory:
        server.restart()
    for name in EDITS:
        edit(server, name)
    with server.client() as client:
        for key in keys:  # what the customer sees is not touched
            assert client.qty(key, "SKU-1") == 2 and client.qty(key, "SKU-2") == 1
        for key in keys:
            assert client.cmd(f"cadd {key} SKU-1 1 x") == "HD x3"
            assert client.cmd(f"crem {key} SKU-2") == "HD"
            assert client.cmd(f"cadd {key} SKU-3 1") == "HD"
    carts = books.check(server, keys)
    for key in keys:
        assert {line["line"]: line["qty"] for line in carts[key]["lines"]} == {
            "SKU-1": 3, "SKU-3": 1}, key
    stats = server.stats()
    assert stats["behind_parked"] == 0 and stats["behind_errors"] == 0
    assert stats["behind_conflicts"] > 0


def test_rows_that_nobody_changes_stay_as_they_were_edited(server):
    """What is not noticed is what doc/sql.md says: nothing, until the cart's next change."""
    server.start()
    with server.client() as client:
        assert client.cmd("cadd cart:u1 SKU-1 2") == "HD"
        books.check(server, ["cart:u1"])
        server.change("DELETE FROM cart_line WHERE cart_id = 'cart:u1'")
        server.change("UPDATE cart SET qty = 77 WHERE cart_id = 'cart:u1'")
        assert client.cmd("cadd cart:u2 SKU-1 1") == "HD"
        wait_until(lambda: server.sql("SELECT qty FROM cart WHERE cart_id = 'cart:u2'"),
                   "others are written")
    server.restart()
    assert server.sql("SELECT qty FROM cart WHERE cart_id = 'cart:u1'") == [{"qty": 77}]
    with server.client() as client:
        assert client.qty("cart:u1", "SKU-1") == 2


@pytest.mark.parametrize("sql", ["UPDATE cart SET rev = 0", "UPDATE cart SET rev = 9000000000"])
def test_a_cart_that_only_sql_has_is_read_with_any_rev(server, sql):
    server.start()
    with server.client() as client:
        assert client.cmd("cadd cart:u1 SKU-1 2") == "HD"
    assert server.stop() == 0
    server.forget("l2", "journal")
    server.change(sql)
    server.start(**server.options)
    with server.client() as client:
        assert client.qty("cart:u1", "SKU-1") == 2
        assert client.cmd("cadd cart:u1 SKU-1 1 x") == "HD x3"
    books.check(server, ["cart:u1"])

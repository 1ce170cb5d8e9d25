"""Rescue: shops that read a cart, change it and write it back, as they do with memcached. The lost
updates of shopware#8724 and woocommerce#11062, with the client libraries as they are."""
import json
import subprocess
import threading
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pylibmc
import pytest
from pymemcache.client.base import Client as Pymemcache

BUCKETS = """
[bucket carts]
prefixes = cart:
rescue = {rescue}

[bucket baskets]
class = cache
prefixes = basket:, sess:
rescue = {rescue}
"""
SHOP_PHP = Path(__file__).resolve().parent / "rescue_shop.php"
KEY = "basket:u1"


def start(server, folder, rescue="yes", **options):
    config = folder / "cartd.conf"
    config.write_text(BUCKETS.format(rescue=rescue))
    return server.start(config=config, **options)


@pytest.fixture(name="shop")
def make_shop(server, tmp_path):
    return start(server, tmp_path)


@pytest.fixture(name="clients")
def make_clients(shop):
    """Three connections of the raw protocol."""
    with ExitStack() as stack:
        yield [stack.enter_context(shop.client()) for _ in range(3)]


def basket(**lines):
    return json.dumps({"lines": [{"sku": sku, "qty": qty} for sku, qty in lines.items()]})


def quantities(text):
    return {line["sku"]: line["qty"] for line in json.loads(text)["lines"]}


def put(client, text, key=KEY, flags=0):
    assert client.store(f"set {key} {flags} 0", text) == "STORED"


# ---- the two bugs, with libraries as they are ----------------------------------------------------

def add_line(client, sku):
    """What a shop does: read, and later write."""
    cart = json.loads(client.get(KEY))
    cart["lines"].append({"sku": sku, "qty": 1})
    return lambda: client.set(KEY, json.dumps(cart), noreply=False)


def three_quick_adds(server):
    """shopware#8724: three requests at a time, each answered 200."""
    with ExitStack() as stack:
        clients = [stack.enter_context(closing(Pymemcache(("127.0.0.1", server.port))))
                   for _ in range(3)]
        clients[0].set(KEY, basket(first=1), noreply=False)
        writes = [add_line(client, sku) for client, sku in zip(clients, "abc")]
        assert all([write() for write in writes])
        return quantities(clients[0].get(KEY))


def test_shopware_8724_three_quick_adds_are_all_kept(shop):
    assert three_quick_adds(shop) == {"first": 1, "a": 1, "b": 1, "c": 1}
    assert shop.stats()["rescue_merged"] == 2


def test_off_by_default_the_last_write_wins_as_in_memcached(server):
    server.start()
    assert three_quick_adds(server) == {"first": 1, "c": 1}
    stats = server.stats()
    assert (stats["rescue_merged"], stats["rescue_unmerged"], stats["rescue_bytes"]) == (0, 0, 0)


def test_a_bucket_that_says_no_has_none(server, tmp_path):
    start(server, tmp_path, rescue="no")
    assert three_quick_adds(server) == {"first": 1, "c": 1}
    assert server.stats()["rescue_bytes"] == 0


def test_a_key_outside_of_the_bucket_is_memcacheds(shop, clients):
    one, two, _ = clients
    put(one, basket(a=1), "other")
    one.get("other"), two.get("other")
    put(one, basket(a=1, b=1), "other")
    put(two, basket(a=1, c=1), "other")
    assert quantities(one.get("other")) == {"a": 1, "c": 1}


def test_woocommerce_11062_a_stale_page_does_not_undo_an_add(shop):
    """A 404 page that never touches the cart saves the one it read."""
    with closing(Pymemcache(("127.0.0.1", shop.port))) as page, \
            closing(Pymemcache(("127.0.0.1", shop.port))) as adder:
        adder.set(KEY, basket(first=1), noreply=False)
        stale = page.get(KEY)
        add_line(adder, "a")()
        page.set(KEY, stale, noreply=False)
        assert quantities(page.get(KEY)) == {"first": 1, "a": 1}


# ---- PHP -----------------------------------------------------------------------------------------

class Page:
    """One page view of rescue_shop.php, which has read the cart."""

    def __init__(self, process):
        self.process = process
        assert self.answer() == "read"

    def answer(self):
        return self.process.stdout.readline().strip()

    def do(self, words):
        self.process.stdin.write(words + "\n")
        self.process.stdin.flush()
        assert self.answer() == "saved"


@contextmanager
def page_view(server, kind, form, name="u1"):
    command = ["php", SHOP_PHP, kind, form, f"127.0.0.1:{server.port}", name]
    with subprocess.Popen(list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True) as process:
        yield Page(process)
        process.stdin.close()
        assert process.wait() == 0


PHP_SHOPS = [("cart", "PHP", KEY), ("cart", "JSON_ARRAY", KEY), ("session", "php", "u1"),
             ("session", "php_serialize", "u1")]


@pytest.mark.parametrize("kind, form, name", PHP_SHOPS)
def test_a_php_shop_loses_no_add_and_keeps_what_is_removed_away(shop, kind, form, name):
    with page_view(shop, kind, form, name) as page:
        page.do("add first")
    with page_view(shop, kind, form, name) as one, page_view(shop, kind, form, name) as two, \
            page_view(shop, kind, form, name) as three, page_view(shop, kind, form, name) as stale:
        one.do("add a")
        two.do("add first")
        three.do("add first")
        stale.do("save")
    with page_view(shop, kind, form, name) as page:
        page.do("remove a")
    assert shop.stats()["rescue_unmerged"] == 0
    with shop.client() as client:
        text = client.get(KEY if kind == "cart" else "sess:u1").decode()
    if form == "JSON_ARRAY":
        assert quantities(text) == {"first": 3}
    else:
        assert text.endswith('a:1:{i:0;a:3:{s:3:"sku";s:5:"first";s:3:"qty";i:3;'
                             's:5:"price";d:19.9;}}' + ("}" if form != "php" else "")), text


# ---- what a client knows -------------------------------------------------------------------------

def test_quantities_add_up(clients):
    one, two, _ = clients
    put(one, basket(a=1))
    one.get(KEY), two.get(KEY)
    put(one, basket(a=3))
    put(two, basket(a=2))
    assert quantities(one.get(KEY)) == {"a": 4}


def test_a_line_removed_here_and_changed_there_stays_and_else_goes(clients):
    one, two, _ = clients
    put(one, basket(a=1, b=1))
    one.get(KEY), two.get(KEY)
    put(one, basket(a=5, b=1))
    put(two, basket(c=1))
    assert quantities(one.get(KEY)) == {"a": 5, "c": 1}


def test_two_that_found_nothing_do_not_overwrite_each_other(clients):
    one, two, three = clients
    assert one.get(KEY) is None and two.get(KEY) is None
    put(one, basket(a=1))
    put(two, basket(a=1, b=1))
    assert quantities(three.get(KEY)) == {"a": 2, "b": 1}


def test_who_has_never_read_the_key_overwrites_it(clients):
    one, two, _ = clients
    put(one, basket(a=1))
    put(two, basket(b=1))
    assert quantities(one.get(KEY)) == {"b": 1}


def test_who_writes_twice_is_understood_by_what_he_wrote(clients):
    """He does not know of `b`; the second write must not take it away, nor count `a` twice."""
    one, two, _ = clients
    put(one, basket(a=1))
    one.get(KEY), two.get(KEY)
    put(two, basket(a=1, b=1))
    put(one, basket(a=2))
    put(one, basket(a=3))
    assert quantities(two.get(KEY)) == {"a": 3, "b": 1}
    assert quantities(one.get(KEY)) == {"a": 3, "b": 1}
    put(one, basket(a=3))  # now he knows of it
    assert quantities(two.get(KEY)) == {"a": 3}


def test_cas_is_merged_and_the_answer_names_what_the_client_wrote(clients):
    one, two, three = clients
    put(one, basket(a=1))
    cas = one.gets(KEY)[1]
    two.get(KEY)
    put(two, basket(a=1, b=1))
    assert three.cas(KEY, cas, basket(a=1, c=1)) == "STORED"  # another connection, same cas
    assert quantities(two.get(KEY)) == {"a": 1, "b": 1, "c": 1}
    value = basket(a=2)
    one.send(f"ms {KEY} {len(value)} C{cas} c\r\n{value}\r\n")
    told = one.line().removeprefix("HD c")
    assert quantities(two.get(KEY)) == {"a": 2, "b": 1, "c": 1}
    assert three.cas(KEY, told, basket(a=3)) == "STORED"
    assert quantities(two.get(KEY)) == {"a": 3, "b": 1, "c": 1}
    assert three.cas(KEY, 2 ** 63, basket(d=1)) == "EXISTS"  # nobody was ever told this one
    assert three.cas("basket:none", cas, basket(d=1)) == "NOT_FOUND"


def test_what_is_not_understood_is_stored_as_it_is(shop, clients):
    one, two, _ = clients
    for number, (first, second, third) in enumerate((
            ("text", "text 2", "text 3"), (basket(a=1), basket(a=2), "text"),
            ("a:0:{}", 'O:8:"stdClass":0:{}', "a:1:{i:0;i:1;}"))):
        key = f"basket:{number}"
        put(one, first, key)
        cas = two.gets(key)[1]
        put(one, second, key)
        assert two.cas(key, cas, third) == "EXISTS"
        put(two, third, key)
        assert two.get(key) == third.encode()
    stats = shop.stats()
    assert (stats["rescue_merged"], stats["rescue_unmerged"]) == (0, 6)


def test_other_flags_are_another_form(shop, clients):
    one, two, _ = clients
    put(one, basket(a=1))
    one.get(KEY), two.get(KEY)
    put(one, basket(a=2), flags=4)
    put(two, basket(b=1))
    assert quantities(one.get(KEY)) == {"b": 1}
    assert shop.stats()["rescue_unmerged"] == 1


def test_meta_and_binary_clients_alike(shop):
    meta = shop.client()
    binary = pylibmc.Client([f"127.0.0.1:{shop.port}"], binary=True)
    with meta:
        put(meta, basket(a=1), flags=16)  # pylibmc's flag of a str
        meta.send(f"mg {KEY} v\r\n")
        meta.block(int(meta.line().removeprefix("VA ")))
        assert quantities(binary.get(KEY)) == {"a": 1}
        text = basket(a=1, b=1)
        meta.send(f"ms {KEY} {len(text)} F16\r\n{text}\r\n")
        assert meta.line() == "HD"
        assert binary.set(KEY, basket(a=2))
        assert quantities(meta.get(KEY)) == {"a": 2, "b": 1}
        meta.get(KEY)
        put(meta, basket(a=2, b=1, c=1), flags=16)
        assert binary.set(KEY, basket(a=3))  # he has not read since he wrote 2
        assert quantities(meta.get(KEY)) == {"a": 3, "b": 1, "c": 1}


def test_nobody_is_faster_than_all_others(shop):
    """Eight connections add line after line to one cart; none is lost."""
    def add(number):
        with closing(Pymemcache(("127.0.0.1", shop.port))) as client:
            for turn in range(25):
                add_line(client, f"{number}-{turn}")()

    with shop.client() as client:
        put(client, basket(first=1))
        threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wanted = {f"{number}-{turn}" for number in range(8) for turn in range(25)} | {"first"}
        assert set(quantities(client.get(KEY))) == wanted
    assert shop.stats()["rescue_unmerged"] == 0


def test_a_base_that_is_gone_is_a_plain_set_and_memory_has_a_limit(server, tmp_path):
    limit = 4 << 20  # of a small -m
    start(server, tmp_path, m=64)
    with server.client() as reader, server.client() as writer:
        put(writer, basket(a=1))
        reader.get(KEY)
        writer.get(KEY)
        put(writer, basket(a=1, b=1))
        for number in range(100):  # more than is kept
            put(writer, "x" * 100000, f"basket:{number}")
            assert server.stats()["rescue_bytes"] <= limit
        put(reader, basket(a=1, c=1))
        assert quantities(writer.get(KEY)) == {"a": 1, "c": 1}
    assert server.stats()["rescue_unmerged"] == 1


def test_who_changes_it_in_another_way_is_taken_as_one_who_has_not_read_it(clients):
    """What he knows then cannot be told; nothing may be counted twice."""
    one, two, _ = clients
    put(one, basket(a=1))
    one.get(KEY)
    assert one.store(f"append {KEY} 0 0", " ") == "STORED"
    two.get(KEY)
    put(two, basket(a=4))
    put(one, basket(a=2))
    assert quantities(one.get(KEY)) == {"a": 2}
    assert one.cmd(f"delete {KEY}") == "DELETED"  # now there is nothing that he knows of
    put(two, basket(a=5))
    put(one, basket(a=1))
    assert quantities(two.get(KEY)) == {"a": 6}


# ---- our own carts -------------------------------------------------------------------------------

def lines(client, key="cart:u1"):
    return {line["line"]: line["qty"] for line in client.cart(key)["lines"]}


def document(client, key="cart:u1"):
    return json.loads(client.get(key))


def write_document(client, cart, answer="STORED"):
    assert client.store("set cart:u1 0 0", json.dumps(cart)) == answer


def test_a_cart_document_is_merged_with_the_cart_of_now(shop, clients):
    one, two, three = clients
    assert one.cmd("cadd cart:u1 a 1 P100 UEUR") == "HD"
    assert one.cmd("cadd cart:u1 b 1") == "HD"
    stale = document(two)
    three.get("cart:u1")
    assert one.cmd("cadd cart:u1 c 2") == "HD"
    assert one.cmd("cadd cart:u1 a 4") == "HD"
    stale["lines"][0]["qty"] += 2
    del stale["lines"][1]
    stale["lines"].append({"line": "d", "qty": 1})
    write_document(two, stale)
    assert lines(one) == {"a": 7, "c": 2, "d": 1}
    stale["lines"][0]["qty"] += 1  # he has not read since
    write_document(two, stale)
    assert lines(one) == {"a": 8, "c": 2, "d": 1}
    assert one.cart("cart:u1")["lines"][0]["price"] == 100
    stats = shop.stats()
    assert (stats["rescue_merged"], stats["rescue_unmerged"]) == (2, 0)
    shop.wait_caught_up()
    rows = shop.sql("SELECT line, qty FROM cart_line WHERE cart_id = 'cart:u1' ORDER BY line")
    assert [(row["line"], row["qty"]) for row in rows] == [("a", 8), ("c", 2), ("d", 1)]


def test_a_cart_document_of_one_that_never_read_replaces_all(clients):
    one, two, _ = clients
    assert one.cmd("cadd cart:u1 a 1") == "HD"
    write_document(two, {"lines": [{"line": "b", "qty": 1}]})
    assert lines(one) == {"b": 1}


def test_two_first_documents_are_one_cart(clients):
    one, two, _ = clients
    assert one.get("cart:u1") is None and two.get("cart:u1") is None
    write_document(one, {"lines": [{"line": "a", "qty": 1}]})
    write_document(two, {"lines": [{"line": "a", "qty": 1}, {"line": "b", "qty": 1}]})
    assert lines(one) == {"a": 2, "b": 1}


def test_a_document_with_an_older_cas_is_merged(clients):
    one, two, _ = clients
    assert one.cmd("cadd cart:u1 a 1") == "HD"
    text, cas = two.gets("cart:u1")
    assert one.cmd("cadd cart:u1 b 1") == "HD"
    cart = json.loads(text)
    cart["lines"].append({"line": "c", "qty": 1})
    assert two.cas("cart:u1", cas, json.dumps(cart)) == "STORED"
    assert lines(one) == {"a": 1, "b": 1, "c": 1}
    assert two.cas("cart:u1", 5, json.dumps(cart)) == "EXISTS"
    assert two.cas("cart:none", 5, json.dumps(cart)) == "NOT_FOUND"


@pytest.mark.parametrize("other", ["cadd cart:u1 a 1", "incr cart:u1/a/qty 1", "cget cart:u1"])
def test_a_document_behind_other_commands_counts_nothing_twice(clients, other):
    one, two, _ = clients
    assert one.cmd("cadd cart:u1 a 1") == "HD"
    two.get("cart:u1")
    assert one.cmd("cadd cart:u1 a 3") == "HD"
    if other.startswith("cget"):
        two.cart("cart:u1")
    else:
        assert two.cmd(other) in ("HD", "5")
    write_document(two, {"lines": [{"line": "a", "qty": 6}]})
    assert lines(one) == {"a": 6}


def test_reading_a_line_changes_nothing(clients):
    one, two, _ = clients
    assert one.cmd("cadd cart:u1 a 1") == "HD"
    cart = document(two)
    assert one.cmd("cadd cart:u1 b 1") == "HD"
    assert two.get("cart:u1/a/qty") == b"1"
    assert two.cmd("touch cart:u1 0") == "TOUCHED"
    write_document(two, cart)
    assert lines(one) == {"a": 1, "b": 1}


def test_a_document_that_is_none_is_refused_as_ever(clients):
    one, two, _ = clients
    assert one.cmd("cadd cart:u1 a 1") == "HD"
    two.get("cart:u1")
    assert one.cmd("cadd cart:u1 b 1") == "HD"
    write_document(two, [1], "CLIENT_ERROR BAD_DOC value is no cart document")
    assert lines(one) == {"a": 1, "b": 1}

"""Buckets: each has limits, level and life of its own; a reload changes what can change."""
import base64
import re
import signal
import subprocess
import threading
from datetime import datetime
from pathlib import Path

import pytest
from daemon import CARTD
from waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
HOUR = 3600

SMALL = {"prefixes": "small:", "lines-max": 2, "qty-max": 5, "ext-bytes-max": 4, "ack": "ram"}
LARGE = {"prefixes": "large:", "lines-max": 3, "qty-max": 6, "ext-bytes-max": 5, "ack": "os"}


def write_config(path, cartd=None, **buckets):
    """Sections: [cartd], and a bucket for each name."""
    sections = [("cartd", cartd or {})]
    sections += [(f"bucket {name}", settings) for name, settings in buckets.items()]
    path.write_text("".join(
        f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in settings.items())
        for name, settings in sections))
    return path


@pytest.fixture(name="start")
def make_start(server, tmp_path):
    """start(name=settings, ...): the server with these buckets."""
    def start(cartd=None, options=None, **buckets):
        server.config = write_config(tmp_path / "cartd.conf", cartd, **buckets)
        return server.start(config=server.config, **(options or {}))
    return start


def reload(server, cartd=None, **buckets):
    """Another file and SIGHUP; what the log says of it."""
    write_config(server.config, cartd, **buckets)
    return hang_up(server, "reload: buckets read again")


def hang_up(server, end):
    seen = len(server.log.read_text())
    server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: end in server.log.read_text()[seen:], f"the log says {end}")
    return server.log.read_text()[seen:]


def life(client, key):
    """Seconds left, -1: no end."""
    answer = client.cmd(f"mg {key} t")
    assert answer.startswith("HD t"), answer
    return int(answer.split(" ")[1][1:])


# ---- limits and level ----

@pytest.mark.parametrize("name, bucket", [("small", SMALL), ("large", LARGE)])
def test_each_bucket_has_its_limits(start, name, bucket):
    with start(small=SMALL, large=LARGE).client() as client:
        qty, lines, ext = (bucket[f"{what}-max"] for what in ("qty", "lines", "ext-bytes"))
        for number, good in ((qty - 1, True), (qty, True), (qty + 1, False)):
            answer = client.cmd(f"cset {name}:q a {number} x")
            assert answer == f"HD x{number}" if good else "QTY_LIMIT" in answer, answer
            answer = client.store(f"set {name}:p/a 0 0", str(number))
            assert answer == "STORED" if good else "QTY_LIMIT" in answer, answer
        for number in range(1, lines + 2):
            answer = client.cmd(f"cadd {name}:l line-{number} 1 n")
            assert answer == f"HD n{number}" if number <= lines else "LINE_LIMIT" in answer
        for number, good in ((ext - 1, True), (ext, True), (ext + 1, False)):
            text = base64.b64encode(b"x" * number).decode()
            answer = client.cmd(f"cset {name}:e a 1 E{text}")
            assert answer == "HD" if good else "SIZE_LIMIT" in answer, answer


def test_each_bucket_has_its_size(start):
    text = base64.b64encode(b"x" * 500).decode()
    with start(small={"prefixes": "small:", "state-bytes-max": 1024},
               large={"prefixes": "large:", "state-bytes-max": "2k"}).client() as client:
        for name, lines in (("small", 1), ("large", 3)):  # each has 500 bytes and some
            for number in range(lines):
                assert client.cmd(f"cadd {name}:s line-{number} 1 E{text}") == "HD"
            answer = client.cmd(f"cadd {name}:s line-{lines} 1 E{text}")
            assert answer.startswith("CLIENT_ERROR SIZE_LIMIT"), answer


def test_each_bucket_has_its_level(start):
    with start(small=SMALL, large=LARGE, safe={"prefixes": "safe:"}).client() as client:
        for name, level in (("small", "ram"), ("large", "os"), ("safe", "sync")):
            assert client.cmd(f"cadd {name}:d a 1 d") == f"HD d{level}"
        assert client.cmd("cadd small:d a 1 d Dsync") == "HD d" + "sync"


def test_a_path_is_acknowledged_at_the_level_of_its_bucket(start):
    with start(small=SMALL, safe={"prefixes": "safe:"}).client() as client:
        for _ in range(5):  # what was only written is not waited for
            before = client.stat("journal_syncs")
            assert client.store("set safe:p/a 0 0", "1") == "STORED"
            assert client.stat("journal_syncs") > before
        assert client.stat("journal_pending_bytes") == 0
        with_syncs = client.stat("journal_syncs")
        for _ in range(50):
            assert client.store("set small:p/a 0 0", "1") == "STORED"
        assert client.stat("journal_syncs") - with_syncs < 50


def test_options_are_the_defaults_of_buckets(start):
    with start(cartd={"qty-max": 3}, options={"ack": "ram"}, shop={"prefixes": "shop:"},
               own={"prefixes": "own:", "qty-max": 4}).client() as client:
        for key, qty in (("shop:u", 3), ("cart:u", 3), ("own:u", 4)):
            assert client.cmd(f"cset {key} a {qty} d") == "HD dram"
            assert "QTY_LIMIT" in client.cmd(f"cset {key} a {qty + 1}")


# ---- which bucket ----

def test_the_longest_prefix_decides(start):
    with start(wide={"prefixes": "s", "qty-max": 1}, shop={"prefixes": "shop:", "qty-max": 2},
               vip={"prefixes": "shop:vip:", "qty-max": 3},
               tmp={"class": "cache", "prefixes": "shop:tmp:"}).client() as client:
        for key, qty in (("shop", 1), ("shopx", 1), ("shop:1", 2), ("shop:vip", 2),
                         ("shop:vip:1", 3)):
            assert client.cmd(f"cset {key} a {qty}") == "HD", key
            assert "QTY_LIMIT" in client.cmd(f"cset {key} a {qty + 1}"), key
        assert client.store("set shop:tmp:1 0 0", "no cart") == "STORED"
        assert client.get("shop:tmp:1") == b"no cart"
        assert client.cmd("cget shop:tmp:1").startswith("CLIENT_ERROR BAD_CART")
        assert client.cmd("cget shop:").startswith("CLIENT_ERROR BAD_CART")
        assert client.cmd("cget other:1").startswith("CLIENT_ERROR BAD_CART")


def test_without_buckets_all_is_as_ever(server):
    server.start()
    with server.client() as client:
        settings = client.stats("settings")
        assert {name: value for name, value in settings.items() if name.endswith("_prefixes")} \
            == {"bucket_cart_prefixes": "cart:", "bucket_checkout_prefixes": "checkout:"}
        assert client.cmd("cadd cart:u a 1") == "HD"
        assert life(client, "cart:u") == -1
        assert client.store("set checkout:u 0 0", "x") == "STORED"
        assert life(client, "checkout:u") == -1


def test_the_default_bucket_goes_when_its_prefix_is_taken(start):
    with start(shop={"prefixes": "cart:, basket:"}).client() as client:
        settings = client.stats("settings")
        assert settings["bucket_shop_prefixes"] == "basket: cart:"
        assert "bucket_cart_prefixes" not in settings
        assert client.cmd("cadd cart:u a 1") == client.cmd("cadd basket:u a 1") == "HD"


# ---- life ----

def test_a_new_cart_has_the_life_of_its_bucket(start):
    with start(shop={"prefixes": "shop:", "life": "1h", "guest-prefixes": "shop:g:",
                     "guest-life": "2h"}).client() as client:
        for key, seconds in (("shop:u", HOUR), ("shop:g:u", 2 * HOUR), ("cart:u", None)):
            client.cmd(f"cadd {key} a 1")
            client.store(f"set {key}p/a 0 0", "1")
            client.store(f"set {key}d 0 0", '{"lines":[]}')
            for end in ("", "p", "d"):
                left = life(client, key + end)
                assert left == -1 if seconds is None else seconds - 60 < left <= seconds, key + end


def test_a_life_that_is_asked_for_is_given(start):
    with start(shop={"prefixes": "shop:", "life": "1h"}).client() as client:
        assert client.cmd("cadd shop:a a 1 T100") == client.cmd("cadd shop:b a 1 T0") == "HD"
        assert client.store("set shop:c/a 0 100", "1") == "STORED"
        assert client.cmd("cadd shop:d a 1") == "HD" and client.cmd("touch shop:d 0") == "TOUCHED"
        assert client.cmd("cadd shop:d a 1") == "HD"  # it is no new one
        lives = [life(client, f"shop:{name}") for name in "abcd"]
        assert 40 < lives[0] <= 100 and 40 < lives[2] <= 100, lives
        assert (lives[1], lives[3]) == (-1, -1)


def times(server, key):
    """updated_at and expires_at of a cart in SQL."""
    server.wait_caught_up()
    row, = server.sql("SELECT updated_at, expires_at FROM cart WHERE cart_id = ?", key)
    return [datetime.fromisoformat(row[name].replace("Z", "+00:00"))
            for name in ("updated_at", "expires_at")]


def test_sliding_and_fixed_lives_stand_in_sql(start):
    server = start(slides={"prefixes": "slides:", "life": "1h"},
                   fixed={"prefixes": "fixed:", "life": "1h", "life-kind": "fixed",
                          "guest-prefixes": "fixed:g:", "guest-life-kind": "sliding"})
    with server.client() as client:
        for key, slides in (("slides:u", True), ("fixed:u", False), ("fixed:g:u", True)):
            assert client.cmd(f"cadd {key} a 1") == "HD"
            made, first_end = times(server, key)
            assert (first_end - made).total_seconds() == HOUR
            assert client.cmd(f"cadd {key} a 1") == "HD"
            written, end = times(server, key)
            assert written > made
            assert (end - written).total_seconds() == HOUR if slides else end == first_end, key


def test_a_fixed_life_ends_while_a_sliding_one_goes_on(start):
    """Both are written all the time; the fixed one begins anew, four times within the other."""
    with start(slides={"prefixes": "slides:", "life": 10, "ack": "ram"},
               fixed={"prefixes": "fixed:", "life": 1, "life-kind": "fixed", "ack": "ram"}
               ).client() as client:
        counts = {"slides": 0, "fixed": 0}
        begun = []

        def write():
            for name, count in counts.items():
                qty = int(client.cmd(f"cadd {name}:u a 1 x").removeprefix("HD x"))
                assert qty in (1, count + 1), name
                counts[name] = qty
                if qty == 1:
                    begun.append(name)
            return begun.count("fixed") == 4
        wait_until(write, "the fixed life ended three times")
        assert begun.count("slides") == 1
        assert life(client, "slides:u") > 0


def test_an_unwritten_cart_ends_with_its_life(start):
    with start(shop={"prefixes": "shop:", "life": HOUR, "guest-prefixes": "shop:g:",
                     "guest-life": 1}).client() as client:
        assert client.cmd("cadd shop:u a 1") == client.cmd("cadd shop:g:u a 1") == "HD"
        wait_until(lambda: client.cart("shop:g:u") is None, "the guest's cart ends")
        assert client.qty("shop:u", "a") == 1


def test_a_life_of_a_bucket_survives_a_crash(start):
    server = start(shop={"prefixes": "shop:", "life": "1h", "life-kind": "fixed"})
    with server.client() as client:
        assert client.cmd("cadd shop:u a 1") == "HD"
        before = times(server, "shop:u")
        assert client.cmd("cadd shop:v a 1") == "HD"
    server.crash()
    with server.client() as client:
        assert 0 < life(client, "shop:v") <= HOUR
    assert times(server, "shop:u") == before


def test_the_option_gives_carts_a_life(server):
    server.start(life="2h", life_kind="fixed")
    with server.client() as client:
        assert client.cmd("cadd cart:u a 1") == "HD"
        assert 2 * HOUR - 60 < life(client, "cart:u") <= 2 * HOUR
        assert client.stats("settings")["bucket_cart_life_kind"] == "fixed"
        assert client.store("set plain 0 0", "x") == "STORED"
        assert life(client, "plain") == -1


# The second one is so long that memcached takes its number for a date.
@pytest.mark.parametrize("seconds", [HOUR, 60 * 24 * HOUR])
def test_items_have_the_life_of_their_bucket(start, seconds):
    with start(checkout={"class": "checkout", "prefixes": "checkout:", "life": seconds}
               ).client() as client:
        made = {"set": "set checkout:a 0 0 1\r\nx", "add": "add checkout:b 0 0 1\r\nx",
                "ms": "ms checkout:c 1\r\nx", "ma": "ma checkout:d N0 J1",
                "mg": "mg checkout:e N0", "append": "ms checkout:f 1 MA N0\r\nx"}
        for letter, (name, command) in zip("abcdef", made.items()):
            client.cmd(command)
            assert seconds - 60 < life(client, f"checkout:{letter}") <= seconds, name
        client.store("set checkout:a 0 100", "x")
        assert 40 < life(client, "checkout:a") <= 100
        assert client.cmd("touch checkout:a 0") == "TOUCHED"
        assert life(client, "checkout:a") == -1
        client.store("set other 0 0", "x")
        assert life(client, "other") == -1


# ---- SIGHUP ----

def test_a_reload_changes_limits_level_and_life(start):
    server = start(shop={"prefixes": "shop:", "qty-max": 5})
    with server.client() as client:
        assert client.cmd("cset shop:u a 5 d") == "HD dsync"
        log = reload(server, shop={"prefixes": "shop:, new:", "qty-max": 6, "ack": "ram",
                                   "life": "1h", "rescue": "yes", "merge-policy": "sum",
                                   "currency-exponent": 0, "redirect-life": "1h"})
        assert "warn" not in log and "error" not in log
        assert client.cmd("cset shop:u a 6 d") == "HD dram"
        assert "QTY_LIMIT" in client.cmd("cset shop:u a 7")
        assert life(client, "shop:u") == -1  # it was there
        assert client.cmd("cadd new:u a 1") == "HD"
        assert 0 < life(client, "new:u") <= HOUR
        settings = client.stats("settings")
        assert [settings[f"bucket_shop_{name}"] for name in
                ("prefixes", "rescue", "merge_policy", "currency_exponent", "redirect_life")] \
            == ["new: shop:", "yes", "sum", "0", "3600"]


def test_a_reload_changes_the_defaults_of_buckets(start):
    server = start(cartd={"qty-max": 5})
    with server.client() as client:
        log = reload(server, cartd={"qty-max": 6, "threads": 3})
        assert "reload: threads has changed; that needs a restart" in log
        assert "qty-max" not in log
        assert client.cmd("cset cart:u a 6") == "HD"
        assert "QTY_LIMIT" in client.cmd("cset cart:u a 7")


def test_a_reload_does_not_change_a_class_and_does_the_rest(start):
    server = start(shop={"prefixes": "shop:", "qty-max": 5},
                   pages={"class": "cache", "prefixes": "page:"})
    with server.client() as client:
        assert client.cmd("cset shop:u a 5") == "HD"
        assert client.store("set page:1 0 0", "x") == "STORED"
        log = reload(server, cartd={"qty-max": 7}, shop={"class": "cache", "prefixes": "shop:"},
                     pages={"prefixes": "page:"})
        assert "reload: class of prefix shop: stays cart; cache needs a restart" in log
        assert "reload: class of prefix page: stays cache; cart needs a restart" in log
        assert client.qty("shop:u", "a") == 5
        assert "QTY_LIMIT" in client.cmd("cset shop:u a 6")
        assert client.get("page:1") == b"x"
        assert client.cmd("cset cart:u a 7") == "HD"
        assert "QTY_LIMIT" in client.cmd("cset cart:u a 8")
    server.restart()  # then it does
    with server.client() as client:
        assert client.cmd("cget shop:u").startswith("CLIENT_ERROR BAD_CART")


def test_a_reload_takes_no_prefix_from_carts(start):
    server = start(shop={"prefixes": "shop: basket:", "qty-max": 5})
    with server.client() as client:
        assert client.cmd("cset basket:u a 5") == "HD"
        log = reload(server, shop={"prefixes": "shop:", "qty-max": 6})
        assert "reload: prefix basket: stays in bucket shop; taking it away needs a restart" in log
        assert client.cmd("cset basket:u a 6") == "HD"
        log = reload(server, shop={"prefixes": "shop: basket:"},
                     tmp={"class": "cache", "prefixes": "basket:u"})
        assert "reload: keys below basket:u stay carts; cache needs a restart" in log
        assert client.qty("basket:u", "a") == 6


def test_a_bad_file_at_a_reload_keeps_the_buckets(start):
    server = start(shop={"prefixes": "shop:", "qty-max": 5})
    with server.client() as client:
        write_config(server.config, shop={"prefixes": "shop:", "qty-max": 0})
        log = hang_up(server, "of before stay")
        assert f"{server.config} line 4: qty-max has a bad value" in log
        assert client.cmd("cset shop:u a 5") == "HD"
        assert "QTY_LIMIT" in client.cmd("cset shop:u a 6")


def test_a_new_prefix_of_carts_finds_what_is_below_it(start):
    """An item of the cache does not hide a cart that an earlier run has made."""
    server = start(shop={"prefixes": "shop:"})
    with server.client() as client:
        assert client.cmd("cset shop:u a 5") == "HD"
    assert server.stop() == 0
    start()
    with server.client() as client:
        for key in ("shop:u", "shop:v"):
            assert client.store(f"set {key} 0 0", "an item") == "STORED"
        reload(server, shop={"prefixes": "shop:"})
        assert client.qty("shop:u", "a") == 5
        assert client.cmd("cget shop:v") == "EN"
        assert client.cmd("cadd shop:v a 1 x") == "HD x1"
        assert client.cmd("cadd shop:u a 1 x") == "HD x6"
    server.crash()
    with server.client() as client:
        assert (client.qty("shop:u", "a"), client.qty("shop:v", "a")) == (6, 1)


def test_reloads_while_all_write(start):
    """Each answer is that of the one file or that of the other."""
    server = start(options={"t": 4}, shop={"prefixes": "shop:", "qty-max": 5, "ack": "ram"})
    failed, rounds, writers = [], 30, 4

    def write(name):
        with server.client() as client:
            while not done.is_set():
                client.send(f"cset shop:{name} a 7\r\ncset shop:{name} a 5 x\r\n"
                            f"set tmp:{name} 0 0 1\r\n1\r\nget tmp:{name}/a/qty\r\n")
                answers = [client.line() for _ in range(3)]
                client.read_values()
                if not (answers[0] == "HD" or "QTY_LIMIT" in answers[0]) or answers[1] != "HD x5" \
                        or not (answers[2] == "STORED" or "BAD_DOC" in answers[2]):
                    failed.append(answers)
    done = threading.Event()
    threads = [threading.Thread(target=write, args=(number,)) for number in range(writers)]
    for thread in threads:
        thread.start()
    try:
        for number in range(rounds):
            prefixes = "shop: tmp:" if number > rounds // 2 else "shop:"
            reload(server, shop={"prefixes": prefixes, "qty-max": 5 + 5 * (number % 2),
                                 "ack": "ram"})
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert not failed, failed[:3]


# ---- the file and the documents ----

def test_a_bad_bucket_ends_the_start_in_one_line(tmp_path):
    config = write_config(tmp_path / "cartd.conf", shop={"prefixes": "shop:", "lifes": 1})
    done = subprocess.run([CARTD, "--config", config], capture_output=True, text=True, timeout=20,
                          check=False, stdin=subprocess.DEVNULL)
    assert done.returncode > 0 and done.stdout == ""
    assert done.stderr == f"cartd: {config} line 4: lifes is no setting of a bucket\n"


def settings_of_help():
    text = subprocess.run([CARTD, "--help"], capture_output=True, text=True, check=True).stdout
    _, _, rest = text.partition("Settings of a [bucket NAME]")
    return re.findall(r"^  ([a-z-]+) = ", rest, flags=re.M)


def test_the_document_has_every_setting():
    text = (ROOT / "doc" / "config.md").read_text()
    assert settings_of_help() == re.findall(r"^\| `([a-z-]+)` \| (?:all|cart)? ?\|", text,
                                            flags=re.M)


def examples():
    doc = (ROOT / "doc" / "config.md").read_text()
    contrib = (ROOT / "contrib" / "cartd.conf").read_text()
    yield "doc", re.search(r"^```\n(\[bucket.*?)^```", doc, flags=re.M | re.S).group(1)
    yield "contrib", re.sub(r"^; ", "", contrib[contrib.index("; [bucket"):], flags=re.M)


@pytest.mark.parametrize("text", [text for _, text in examples()], ids=[n for n, _ in examples()])
def test_the_examples_are_good(server, tmp_path, text):
    config = tmp_path / "cartd.conf"
    config.write_text(text)
    server.start(config=config)
    names = re.findall(r"^\[bucket (.*)\]$", text, flags=re.M)
    with server.client() as client:
        settings = client.stats("settings")
    assert len(names) >= 2 and all(f"bucket_{name}_prefixes" in settings for name in names)


# ---- merged carts ----

def test_what_is_written_through_a_redirect_is_as_safe_as_where_it_goes(start):
    guests = {"prefixes": "guest:", "ack": "ram"}
    with start(guests=guests, cartd={"ack": "sync"}).client() as client:
        assert client.cmd("cadd guest:1 a 1 d") == "HD dram"
        assert client.cmd("cmrg cart:1 guest:1 d") == "HD dsync"
        assert client.cmd("cadd guest:1 a 1 d").startswith("HD dsync m")
        assert client.cmd("cadd guest:1 a 1 Dram d").startswith("HD dram m")
        assert client.cmd("cadd guest:2 a 1 d") == "HD dram"
        assert client.cmd("cmrg guest:3 guest:2 d") == "HD dram"
        assert client.cmd("cadd cart:4 a 1 d") == "HD dsync"
        assert client.cmd("cmrg guest:4 cart:4 d") == "HD dsync"

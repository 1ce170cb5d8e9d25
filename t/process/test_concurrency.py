"""Carts under many clients at once. Each test is named after what it keeps from happening; where a
shop system has had that very error, its name and the number of the report end the name.

What must come out is computed by small_cart. The version that an answer tells is the place of its
step in the one order that there was, so a storm of any operations is done again in that order, step
by step, and every answer must be that of the model.

CONCURRENCY_ROUNDS: how much of everything; CONCURRENCY_SEED: draws the same again.
"""
import os
import random
import threading
import time

import pytest
from crowd import in_threads
from small_cart import POLICIES, Refused, SmallCart, without_volatile
from test_buckets import write_config
from waiting import wait_until
from wire import Client, Closed, flags

CONNECTIONS = 32
ROUNDS = int(os.environ.get("CONCURRENCY_ROUNDS", "2"))
SEED = int(os.environ.get("CONCURRENCY_SEED", str(random.SystemRandom().getrandbits(32))))
KEY = "cart:u1"


@pytest.fixture(name="seed", autouse=True)
def print_seed():
    print(f"CONCURRENCY_SEED={SEED}")
    return SEED


def fold(client, key):
    """{line: quantity} of a cart."""
    cart = client.cart(key) or {"lines": []}
    return {line["line"]: line["qty"] for line in cart["lines"]}


# ---- a storm, done again in its order ------------------------------------------------------------

class Step:
    """A command, and what it means to the model."""

    def __init__(self, command, *ops, block=None, source=None):
        self.text = f"{command} v n t" + ("" if ops[-1][0] in ("clear", "forget") or block
                                          or source else " x")
        self.ops, self.block, self.source = ops, block, source
        self.answer = None

    def sent(self):
        if self.block is None:
            return self.text + "\r\n"
        verb, key, rest = self.text.split(" ", 2)
        return f"{verb} {key} {len(self.block)} {rest}\r\n{self.block}\r\n"

    def told(self):
        """The version that the answer tells; None when it was refused."""
        assert self.answer == "NF" or self.answer.startswith(("HD", "NF ")), (
            f"{self.text}: {self.answer}")
        return None if self.answer.startswith("NF") else int(flags(self.answer)["v"])

    def tried(self, cart):
        """(the model behind it, or None when the answer is not the model's; changed?)"""
        after = cart.copy()
        try:
            qty = after.do(*self.ops)
        except Refused:
            return None, False
        given = flags(self.answer)
        same = (int(given["n"]), int(given["t"])) == (len(after.lines), after.qty())
        same = same and ("x" not in given or int(given["x"]) == qty)
        return (after if same else None), after.version > cart.version


def storm(server, draw, each, connections=CONNECTIONS):
    """Many clients do what draw(random, client number) gives; all steps with their answers."""
    done = [[] for _ in range(connections)]

    def run(number):
        chance = random.Random(SEED * 1000 + number)
        with server.client() as client:
            while len(done[number]) < each:
                steps = [draw(chance, number) for _ in range(chance.choice((1, 1, 4, 16)))]
                client.send("".join(step.sent() for step in steps))
                for step in steps:
                    step.answer = client.line()
                done[number] += steps

    in_threads(connections, run)
    return [step for steps in done for step in steps]


def advance(cart, steps):
    """The model behind the steps that told one version: one of them made it, the others came
    behind that one and found nothing to do."""
    for first in steps:
        after, changed = first.tried(cart)
        if not after or not changed:
            continue
        for other in steps:
            again, changed = (after, False) if other is first else other.tried(after)
            if not again or changed:
                break
        else:
            return after
    raise AssertionError(f"no order of these explains version {cart.version + 1}: " + ", ".join(
        f"{step.text} {step.block or ''}: {step.answer}" for step in steps) +
        f" behind {cart.shown()}")


def replay(steps, cart):
    """The model behind all steps. Versions rise by one for each step that does something."""
    told = {}
    for step in steps:
        version = step.told()
        if version is not None:
            told.setdefault(version, []).append(step)
    for step in told.pop(cart.version, []):
        after, changed = step.tried(cart)
        assert after and not changed, f"{step.text}: {step.answer}, and it came first"
    assert sorted(told) == list(range(cart.version + 1, cart.version + 1 + len(told)))
    for version in sorted(told):
        cart = advance(cart, told[version])
        assert cart.version == version
    return cart


def check_same(server, key, cart):
    with server.client() as client:
        document = client.cart(key)
    assert without_volatile(document) == cart.shown()
    assert document is None or document["version"] == cart.version


def begin(server, **lines):
    """A cart with these lines, and its model."""
    cart = SmallCart()
    with server.client() as client:
        for line, qty in lines.items():
            assert client.cmd(f"cadd {KEY} {line} {qty}") == "HD"
            cart.do(("add", line, qty))
    return cart


def add(line, n):
    return Step(f"cadd {KEY} {line} {n}", ("add", line, n))


def remove(line):
    return Step(f"crem {KEY} {line}", ("remove", line))


def swap(line, new):
    return Step(f"cswp {KEY} {line} {new}", ("swap", line, new))


def check(line, checked):
    return Step(f"cchk {KEY} {line} {checked:d}", ("check", line, bool(checked)))


def batch(*steps):
    verbs = [step.text.removesuffix(" v n t x").removesuffix(" v n t") for step in steps]
    return Step(f"cbat {KEY}", *(op for step in steps for op in step.ops),
                block="\r\n".join(verb.replace(f" {KEY}", "", 1) for verb in verbs))


def any_step(chance, _):
    line, other = chance.choices("abcdef", k=2)
    kind = chance.random()
    if kind < 0.35:
        return add(line, chance.randrange(-3, 6))
    if kind < 0.5:
        n = chance.randrange(8)
        return Step(f"cset {KEY} {line} {n}", ("set", line, n))
    if kind < 0.6:
        return remove(line)
    if kind < 0.7:
        return check(chance.choice((line, "*")), chance.random() < 0.5)
    if kind < 0.8:
        return swap(line, other)
    if kind < 0.84:
        scope = chance.choice(("all", "checked", "unchecked"))
        return Step(f"cclr {KEY} S{scope}", ("clear", scope))
    if kind < 0.86:
        return Step(f"cdel {KEY}", ("forget",))
    return batch(*(small_step(chance) for _ in range(chance.randrange(1, 5))))


def small_step(chance):
    """One that a batch may hold."""
    while True:
        step = any_step(chance, 0)
        if step.block is None and step.ops[0][0] != "forget":
            return step


# ---- counting ------------------------------------------------------------------------------------

def test_lost_update_of_three_quick_adds_shopware_8724(server):
    server.start()
    with server.client() as one, server.client() as two, server.client() as three:
        for number in range(200 * ROUNDS):
            for client in (one, two, three):
                client.send(f"cadd cart:quick{number} SKU-1 1\r\n")
            assert {client.line() for client in (one, two, three)} == {"HD"}
            assert one.qty(f"cart:quick{number}", "SKU-1") == 3


def test_lost_update_of_64_times_1000_adds(server):
    server.start()

    def run(_):
        with server.client() as client:
            client.send(f"cadd {KEY} SKU-1 1\r\n" * 1000)
            assert set(client.lines(1000)) == {"HD"}

    in_threads(64, run)
    with server.client() as client:
        assert fold(client, KEY) == {"SKU-1": 64000}
        assert client.cart(KEY)["version"] == 64000


def test_quantity_changed_by_racing_plus_and_minus_saleor_18087(server):
    server.start()
    cart = begin(server, a=10, b=1000)
    steps = storm(server, lambda chance, _: add(*chance.choice(
        (("b", 1), ("b", -1), ("a", 1), ("a", -1), ("c", 1), ("c", -1)))), 100 * ROUNDS)
    check_same(server, KEY, replay(steps, cart))


def test_plus_and_minus_in_a_storm_net_to_nothing(server):
    server.start()
    begin(server, a=500)

    def run(number):
        with server.client() as client:
            both = [f"cadd {KEY} a 1\r\n", f"cadd {KEY} a -1\r\n"]
            client.send("".join(both[::1 if number % 2 else -1]) * 250 * ROUNDS)
            assert set(client.lines(500 * ROUNDS)) == {"HD"}

    in_threads(CONNECTIONS, run)
    with server.client() as client:
        assert fold(client, KEY) == {"a": 500}
        assert client.cart(KEY)["version"] == 1 + CONNECTIONS * 500 * ROUNDS


def test_two_carts_for_one_user_broadleaf_2478(server):
    server.start()
    keys = [f"cart:first{i}" for i in range(50 * ROUNDS)]
    barrier = threading.Barrier(CONNECTIONS)

    def run(number):
        with server.client() as client:
            for key in keys:
                barrier.wait()
                assert client.cmd(f"cadd {key} mine{number} 1") == "HD"

    in_threads(CONNECTIONS, run)
    with server.client() as client:
        for key in keys:
            assert fold(client, key) == {f"mine{i}": 1 for i in range(CONNECTIONS)}
            assert client.cart(key)["version"] == CONNECTIONS


# ---- tokens --------------------------------------------------------------------------------------

def test_a_retry_that_adds_twice(server):
    """The same token from two connections at once, before and after a crash."""
    server.start(ack="os")
    count = 40 * ROUNDS

    def run(number):
        with server.client() as one, server.client() as two:
            commands = [f"cadd {KEY} a 1 I{number}.{i} v\r\n" for i in range(count)]
            one.send("".join(commands))
            two.send("".join(reversed(commands)))
            for pair in zip(one.lines(count), reversed(two.lines(count))):
                first, again = sorted(pair, key=len)
                assert again == first + " R" and first.startswith("HD v")

    def run_again(number):
        with server.client() as client:
            for i in range(count):
                assert client.cmd(f"cadd {KEY} a 1 I{number}.{i}") == "HD R"
                assert client.cmd(f"cadd {KEY} a 2 I{number}.{i}").startswith(
                    "CLIENT_ERROR TOKEN_REUSED")

    in_threads(CONNECTIONS, run)
    in_threads(CONNECTIONS, run_again)
    server.crash()
    in_threads(CONNECTIONS, run_again)
    server.restart()
    in_threads(CONNECTIONS, run_again)
    with server.client() as client:
        assert fold(client, KEY) == {"a": CONNECTIONS * count}
        assert client.cart(KEY)["version"] == CONNECTIONS * count


# ---- any operations ------------------------------------------------------------------------------

def test_a_version_is_skipped_or_told_twice(server):
    server.start()
    cart = begin(server, a=1)
    check_same(server, KEY, replay(storm(server, any_step, 120 * ROUNDS), cart))


def test_half_a_batch_is_seen_between_batches(server):
    server.start()
    lines = "abcde"
    cart = begin(server, **{line: 1 for line in lines})

    def draw(chance, number):
        if number % 4 == 0:
            return batch(*(Step(f"cset {KEY} {line} {number + 1}", ("set", line, number + 1))
                           for line in chance.sample(lines, len(lines))))
        return batch(*(add(line, 2) for line in chance.sample(lines, len(lines))))

    stop = threading.Event()
    seen = []

    def watch():
        with server.client() as client:
            while not stop.is_set():
                seen.append(set(fold(client, KEY).values()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        steps = storm(server, draw, 60 * ROUNDS)
    finally:
        stop.set()
        watcher.join()
    assert seen and all(len(quantities) == 1 for quantities in seen)
    after = replay(steps, cart)
    assert after.version == cart.version + len(steps)
    check_same(server, KEY, after)


def test_a_refused_batch_leaves_its_first_half_behind(server):
    server.start()
    cart = begin(server, a=1)

    def draw(chance, _):
        if chance.random() < 0.5:
            return batch(add("a", 1), add("b", 1))
        return batch(add("c", 1), swap("none", "a"), add("d", 1))

    steps = storm(server, draw, 60 * ROUNDS)
    after = replay(steps, cart)
    assert {step.answer for step in steps if step.ops[0][1] == "c"} == {"NF i1"}
    assert set(after.lines) == {"a", "b"}
    check_same(server, KEY, after)


def test_a_swap_and_a_remove_leave_a_line_twice_macrozheng_mall(server):
    server.start()
    cart = begin(server, a=5, b=7)

    def draw(chance, _):
        line, new = chance.sample("abc", 2)
        return chance.choice((swap(line, new), swap(line, new), remove(line), add(line, 3)))

    check_same(server, KEY, replay(storm(server, draw, 100 * ROUNDS), cart))


def test_an_emptied_cart_takes_concurrent_adds_with_it_opentelemetry_demo_3824(server):
    server.start()
    cart = begin(server, a=1)

    def draw(chance, number):
        if number % 8:
            return add(f"line{number}", 1)
        scope = chance.choice(("all", "checked", "unchecked"))
        return chance.choice((check("*", 0), Step(f"cclr {KEY} S{scope}", ("clear", scope))))

    check_same(server, KEY, replay(storm(server, draw, 80 * ROUNDS), cart))


@pytest.mark.parametrize("end", ["killed", "stopped", "l2 lost"])
def test_a_removed_line_comes_back_after_a_failover_woocommerce_61112(server, end):
    server.start(ack="os")
    cart = begin(server, a=1, b=1, c=1)

    def draw(chance, _):
        line, new = chance.sample("abcdef", 2)
        return chance.choice((remove(line), add(line, 1), swap(line, new),
                              Step(f"cclr {KEY} Sall", ("clear", "all"))))

    for _ in range(2 * ROUNDS):
        cart = replay(storm(server, draw, 30), cart)
        if end == "killed":
            server.crash()
        elif end == "stopped":
            server.restart()
        else:
            assert server.stop() == 0
            server.forget("l2", "journal")
            server.start(**server.options)
        check_same(server, KEY, cart)


# ---- lives ---------------------------------------------------------------------------------------

def test_an_add_to_an_expired_cart_brings_its_lines_back(server):
    """An add either continues a cart, or finds it ended and begins anew; and it ended in time."""
    server.start()
    keys = [f"cart:e{i}" for i in range(4)]
    done = {key: [] for key in keys}

    def run(number):
        key = keys[number % len(keys)]
        chance = random.Random(SEED + number)
        with server.client() as client:
            for _ in range(max(2, ROUNDS // 2)):
                for _ in range(chance.randrange(1, 30)):
                    sent = time.monotonic()
                    answer = client.cmd(f"cadd {key} line{number % 8} 1 T1 v x n t")
                    done[key].append((answer, f"line{number % 8}", sent, time.monotonic()))
                wait_until(lambda: client.cart(key) is None, "the cart ends")

    in_threads(CONNECTIONS, run)
    ends = 0
    for key in keys:
        lines, last_sent = {}, 0
        told = sorted(done[key], key=lambda step: int(flags(step[0])["v"]))
        assert [int(flags(step[0])["v"]) for step in told] == list(range(1, len(told) + 1))
        for answer, line, sent, answered in told:
            given = flags(answer)
            goes_on = dict(lines, **{line: lines.get(line, 0) + 1})
            anew = {line: 1}
            figures = (int(given["x"]), int(given["n"]), int(given["t"]))
            if figures != (goes_on[line], len(goes_on), sum(goes_on.values())):
                assert figures == (1, 1, 1), f"{answer} behind {lines}"
                assert answered - last_sent > 0.99, "it ended before its time"
                goes_on, ends = anew, ends + 1
            lines, last_sent = goes_on, sent
    assert ends >= len(keys)


# ---- merges --------------------------------------------------------------------------------------

def two_carts():
    """(what makes them, user, guest)"""
    guest, user = SmallCart(), SmallCart()
    guest.do(("add", "both", 5, {"price": 7}), ("add", "more", 1), ("add", "new", 2))
    user.do(("add", "both", 3), ("add", "more", 4), ("add", "own", 1))
    blocks = ("cadd both 5 P7\r\ncadd more 1\r\ncadd new 2",
              "cadd both 3\r\ncadd more 4\r\ncadd own 1")
    return blocks, user, guest


def make_pairs(client, names):
    """Carts cart:gNAME and cart:uNAME."""
    (guest, user), *_ = two_carts()
    for name in names:
        client.send(f"cbat cart:g{name} {len(guest)}\r\n{guest}\r\n"
                    f"cbat cart:u{name} {len(user)}\r\n{user}\r\n")
    assert set(client.lines(2 * len(names))) == {"HD"}


@pytest.mark.parametrize("policy", POLICIES)
def test_each_reload_doubles_the_quantities_vue_storefront_4220(server, policy):
    """Ten merges of each of 32 clients do what one does."""
    server.start()
    pairs = 10 * ROUNDS
    with server.client() as client:
        make_pairs(client, range(pairs))

    def run(_):
        with server.client() as client:
            for number in range(pairs):
                client.send(f"cmrg cart:u{number} cart:g{number} M{policy}\r\n" * 10)
            assert set(client.lines(10 * pairs)) == {"HD"}

    in_threads(CONNECTIONS, run)
    _, user, guest = two_carts()
    user.absorb(guest, policy)
    for number in range(pairs):
        check_same(server, f"cart:u{number}", user)


@pytest.mark.parametrize("policy", ["max", "sum", "src"])
def test_concurrent_logins_empty_the_cart_vendure_4481(server, policy):
    """Writers hold the guest key while it is merged, and the user's cart is merged on in turn;
    every add is retried at once by another connection, and counts once."""
    server.start()
    each = 60 * ROUNDS
    chain = ["cart:guest", "cart:user", "cart:family", "cart:firm"]
    begun = threading.Barrier(CONNECTIONS)

    def run(number):
        with server.client() as client, server.client() as other:
            begun.wait()
            if number < 3:
                for _ in range(each):
                    answer = client.cmd(f"cmrg {chain[number + 1]} {chain[number]} M{policy}")
                    assert answer.startswith("HD"), answer
                return
            for i in range(each):
                command = f"cadd cart:guest line{number} 1 I{number}.{i} x\r\n"
                client.send(command)
                if i % 2:
                    other.send(command)
                answers = [client.line()] + ([other.line()] if i % 2 else [])
                assert all(flags(answer)["x"] == str(i + 1) for answer in answers), answers
                assert sum("R" in flags(answer) for answer in answers) == len(answers) - 1

    in_threads(CONNECTIONS, run)
    with server.client() as client:
        for key, into in zip(chain, chain[1:]):
            assert client.cmd(f"cmrg {into} {key} M{policy}").startswith("HD")
        wanted = {f"line{number}": each for number in range(3, CONNECTIONS)}
        for key in chain:
            assert fold(client, key) == wanted
        assert client.cmd("cdel cart:guest") == "HD"
        assert fold(client, "cart:guest") == {}
        assert fold(client, "cart:firm") == wanted


def test_merges_in_circles_deadlock_or_lose_lines_magento_39417(server):
    """Carts become part of each other in all directions: whatever came of it, each add is in one
    cart, and only there."""
    server.start()
    keys = [f"cart:ring{i}" for i in range(5)]
    each = 40 * ROUNDS

    def run(number):
        chance = random.Random(SEED + number)
        with server.client() as client:
            for _ in range(each):
                assert client.cmd(f"cadd {chance.choice(keys)} line{number} 1").startswith("HD")
                into, source = chance.sample(keys, 2)
                answer = client.cmd(f"cmrg {into} {source} Msum")
                assert answer.startswith(("HD", "CLIENT_ERROR MERGED")), answer

    in_threads(CONNECTIONS, run)
    with server.client() as client:
        carts = {cart["cart"]: cart for cart in map(client.cart, keys) if cart}
        counts = {}
        for cart in carts.values():
            for line in cart["lines"]:
                counts[line["line"]] = counts.get(line["line"], 0) + line["qty"]
    assert counts == {f"line{number}": each for number in range(CONNECTIONS)}


def merge_until_killed(server, names, acks):
    """Many clients merge pairs, until so many merges are acknowledged; the names of those."""
    acknowledged = set()

    def run(number):
        try:
            with Client(server.port) as client:
                for name in names[number::CONNECTIONS]:
                    answer = client.cmd(f"cmrg cart:u{name} cart:g{name} Msum Im{name}")
                    assert answer == "HD", answer
                    acknowledged.add(name)
                    if len(acknowledged) == acks:
                        server.kill9()
        except Closed:
            pass

    in_threads(CONNECTIONS, run)
    if server.process:  # two came to be the last at once
        server.kill9()
    return acknowledged


def test_a_merge_is_half_done_after_a_crash_vendure_3153(server):
    """Killed at any moment: each pair is merged or not; a retry with its token merges it once."""
    server.start(ack="os")
    chance = random.Random(SEED)
    _, user, guest = two_carts()
    _, merged, source = two_carts()
    merged.absorb(source, "sum")
    for kill in range(3 * ROUNDS):
        names = [f"{kill}.{number}" for number in range(120)]
        with server.client() as client:
            make_pairs(client, names)
        acknowledged = merge_until_killed(server, names, chance.randrange(1, len(names)))
        server.start(**server.options)
        with server.client() as client:
            for name in names:
                there = without_volatile(client.cart(f"cart:u{name}"))
                done = there == merged.shown()
                if not done:
                    assert name not in acknowledged
                    assert there == user.shown()
                    assert without_volatile(client.cart(f"cart:g{name}")) == guest.shown()
                known = client.cmd(f"cmrg cart:u{name} cart:g{name} Msum Im{name}")
                assert known == ("HD R" if done else "HD")
                for key in "ug":
                    check_same(server, f"cart:{key}{name}", merged)


# ---- merges from bucket to bucket ----------------------------------------------------------------

BUCKETS = {"guests": {"prefixes": "guest:", "lines-max": 50, "qty-max": 1000},
           "users": {"prefixes": "user:", "lines-max": 4, "qty-max": 6, "ext-bytes-max": 2}}


def test_a_merge_blocks_the_login_at_a_limit_bagisto_2954(server, tmp_path):
    """A merge into a bucket with smaller limits cuts and skips, says so, and never fails."""
    server.start(config=write_config(tmp_path / "cartd.conf", **BUCKETS))
    block = "\r\n".join(["cadd old 1", "cadd both 5", "cadd long 1 EZm9v"]
                        + [f"cadd new{i} 9" for i in range(3)])
    guest = SmallCart(qty_max=1000)
    guest.do(("add", "old", 1), ("add", "both", 5), ("add", "long", 1, {"ext": b"foo"}),
             *(("add", f"new{i}", 9) for i in range(3)))
    user = SmallCart(qty_max=6, lines_max=4, ext_max=2)
    user.do(("add", "both", 4))
    skipped, cut = user.absorb(guest, "sum")
    assert (skipped, cut) == (2, 4)
    with server.client() as client:
        for number in range(20 * ROUNDS):
            client.send(f"cbat guest:{number} {len(block)}\r\n{block}\r\n")
            assert client.line() == "HD"
            assert client.cmd(f"cadd user:{number} both 4") == "HD"

    def run(_):
        with server.client() as client:
            for number in range(20 * ROUNDS):
                answer = client.cmd(f"cmrg user:{number} guest:{number} Msum")
                assert answer in ("HD", f"HD s{skipped} z{cut}"), answer

    in_threads(CONNECTIONS, run)
    for number in range(20 * ROUNDS):
        check_same(server, f"user:{number}", user)
        check_same(server, f"guest:{number}", user)
    with server.client() as client:
        assert client.cmd("cadd guest:0 more 1 x").startswith("CLIENT_ERROR LINE_LIMIT")

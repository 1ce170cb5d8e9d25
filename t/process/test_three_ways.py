"""Text commands, keys with a path and binary are three ways to say one thing: the same operations,
drawn once and said in each way to a cart of its own, leave three carts that are equal byte for
byte, and equal to the model. How each operation is said is three_ways.py.

THREE_WAYS_COMMANDS: how many; THREE_WAYS_SEED: draws the same again.
"""
import json
import os
import random
import re

import three_ways
from small_cart import Refused, SmallCart, without_volatile

COMMANDS = int(os.environ.get("THREE_WAYS_COMMANDS", "100000"))
SEED = int(os.environ.get("THREE_WAYS_SEED", str(random.SystemRandom().getrandbits(32))))
BLOCK = 100
LIMITS = {"qty_max": 50, "lines_max": 9}
KEYS = ("cart:text", "cart:path", "cart:binary")
OWN = re.compile(rb'("cart":"cart:\w+","version":\d+,"cas":"\d+",|,"(added|updated)":\d+)')


class Speakers:
    """A connection for each way."""

    def __init__(self, server):
        self.clients = [server.client() for _ in KEYS]
        self.sent = [b"", b"", b""]
        self.asked = [[], [], []]  # [(operation, code of its refusal, answers)]

    def say(self, way, request, what):
        data, answers = request
        self.sent[way] += data
        self.asked[way].append((what, answers))

    def hear(self):
        """Sends all and reads what came back; refused is what the model refuses, and no more."""
        for client, sent in zip(self.clients, self.sent):
            client.send(sent)
        for way, read in enumerate((self.read_text, self.read_path, self.read_binary)):
            for (what, code), answers in self.asked[way]:
                for number in range(answers):
                    read(self.clients[way], what, code if number == 0 else None, number)
        self.sent, self.asked = [b"", b"", b""], [[], [], []]

    @staticmethod
    def read_text(client, what, code, number):
        answer = client.line()
        if number:  # the source of a merge is taken away
            assert answer in ("HD", "NF"), answer
        elif code == "NF":
            assert answer.startswith(("NF", "EN")), f"{what}: {answer}"
        else:
            assert answer.startswith(f"CLIENT_ERROR {code} " if code else "HD"), f"{what}: {answer}"

    @staticmethod
    def read_path(client, what, code, _):
        answer = client.line()
        if code and "merge" not in str(what):
            assert answer.startswith(("CLIENT_ERROR", "NOT_STORED")), f"{what}: {answer}"
        else:
            good = re.fullmatch(r"STORED|DELETED|TOUCHED|NOT_FOUND|\d+", answer)
            assert good, f"{what}: {answer}"

    @staticmethod
    def read_binary(client, what, code, number):
        status = three_ways.read_status(client)
        assert number or bool(status) == bool(code), f"{what}: {status:04x}, {code}"


def draw_step(chance, cart):
    """(operations, currency, policy, source, model behind it, code); a batch that would go over a
    limit on its way only is none."""
    while True:
        ops, currency, policy, lines = three_ways.draw(chance)
        source = None
        if policy is not None:
            source = SmallCart(**LIMITS)
            source.do(("document", lines))
        after, code = three_ways.apply(cart, ops, currency, policy, source)
        try:
            now = cart.copy()
            for op in ops if len(ops) > 1 and not code else []:
                now.do(op)
        except Refused:
            continue
        return ops, currency, policy, source, lines, after, code


def say_step(speakers, chance, cart):
    ops, currency, policy, source, lines, after, code = draw_step(chance, cart)
    what = (f"{policy or ''} {ops} {currency} {lines or ''}", code)
    for way, key in enumerate(KEYS):
        source_key = f"{key}-source"
        if source is not None:
            speakers.say(way, three_ways.document(way, source_key, lines), ("a source", None))
        if way == 1:
            request = three_ways.paths(key, source_key, ops, currency, policy, cart, after, code)
        else:
            request = (three_ways.text, three_ways.binary)[way // 2](
                key, source_key, ops, currency, policy)
        speakers.say(way, request, what)
    return after


def check_equal(speakers, cart):
    documents = [speakers.clients[0].value(f"cget {key}")[1] for key in KEYS]
    shown = [document and OWN.sub(b"", document) for document in documents]
    assert shown[1] == shown[0] and shown[2] == shown[0]
    assert without_volatile(documents[0] and json.loads(documents[0])) == cart.shown()
    if documents[0]:
        versions = {json.loads(documents[way])["version"] for way in (0, 2)}
        assert versions == {cart.version}


def test_three_ways_of_saying_it_leave_equal_carts(server):
    print(f"THREE_WAYS_SEED={SEED}")
    server.start(**LIMITS)
    speakers, chance, cart = Speakers(server), random.Random(SEED), SmallCart(**LIMITS)
    for _ in range(COMMANDS // BLOCK):
        said = []
        for _ in range(BLOCK):
            cart = say_step(speakers, chance, cart)
            said.append(speakers.asked[0][-1][0])
        speakers.hear()
        try:
            check_equal(speakers, cart)
        except AssertionError as error:
            raise AssertionError(f"{error}\nbehind:\n" + "\n".join(map(str, said))) from None

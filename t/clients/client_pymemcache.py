#!/usr/bin/python3
"""client_pymemcache: the steps of pymemcache; see README.md.

usage: client_pymemcache.py PART OPTIONS SERVERS
options: nodelay
"""
import json
import re
import sys
import time
import zlib
from contextlib import closing

from pymemcache.client.base import Client
from pymemcache.client.hash import HashClient
from pymemcache.exceptions import MemcacheError, MemcacheIllegalInputError
from pymemcache.serde import PickleSerde

PART, OPTIONS, SERVERS = sys.argv[1], sys.argv[2].split("+"), sys.argv[3].split(",")
REFUSED = (MemcacheError, MemcacheIllegalInputError)
LARGE = bytes(number * number % 251 for number in range(1000)) * 1000


def step(name, answer, remark=""):
    if isinstance(answer, bool):
        answer = "yes" if answer else "no"
    if isinstance(answer, bytes):
        answer = answer.decode()
    print(name, "none" if answer is None else answer, end="")
    print(f"\t{remark}" if remark else "")


def same(name, answer, wanted):
    step(name, "same" if answer == wanted else f"not the same: {str(answer)[:60]}")


def refused(name, call, *arguments, **named):
    """A step that the server answers with an error, which the library raises."""
    try:
        step(name, call(*arguments, **named) or False)
    except REFUSED as error:
        step(name, False, f"{type(error).__name__} {error}")


class ZlibSerde:
    COMPRESSED = 1 << 4

    def serialize(self, _key, value):
        return zlib.compress(value.encode()), self.COMPRESSED

    def deserialize(self, _key, value, flags):
        assert flags == self.COMPRESSED
        return zlib.decompress(value).decode()


def server_of(name):
    if name.startswith("/"):
        return name
    host, port = name.rsplit(":", 1)
    return host, int(port)


def connect(**named):
    named.setdefault("default_noreply", False)
    named.setdefault("no_delay", "nodelay" in OPTIONS)
    return Client(server_of(SERVERS[0]), **named)


def do_one_key(mc):
    step("flush", mc.flush_all())
    step("version", re.match(rb"[\d.]+", mc.version()).group())
    step("get-absent", mc.get("k"))
    step("set", mc.set("k", "hello"))
    step("get", mc.get("k"))
    mc.set("empty", "")
    same("empty", mc.get("empty"), b"")
    step("add-present", mc.add("k", "other"))
    step("add-absent", mc.add("k2", "other"))
    step("replace-present", mc.replace("k", "hello"))
    step("replace-absent", mc.replace("k3", "other"))
    step("append", mc.append("k", ">"))
    step("prepend", mc.prepend("k", "<"))
    step("joined", mc.get("k"))
    step("append-absent", mc.append("k3", ">"))
    step("prepend-absent", mc.prepend("k3", "<"))
    step("delete", mc.delete("k"))
    step("delete-again", mc.delete("k"))
    step("deleted", mc.get("k"))


def do_counting(mc):
    mc.set("n", "10")
    step("incr", mc.incr("n", 5))
    step("decr", mc.decr("n", 1))
    step("incr-absent", mc.incr("n2", 1) or False)
    step("decr-floor", mc.decr("n", 100))
    mc.set("n", "10")
    mc.decr("n", 1)
    step("decr-padded", f"[{mc.get('n').decode()}]")
    mc.set("n", str(2**64 - 1))
    step("incr-wraps", mc.incr("n", 5))
    mc.set("n", "0")
    step("incr-big", mc.incr("n", 2**64 - 1))
    mc.set("n", "ten")
    refused("incr-text", mc.incr, "n", 1)


def do_cas(mc):
    mc.set("c", "first")
    _, cas = mc.gets("c")
    step("cas", mc.cas("c", "second", cas))
    step("cas-value", mc.get("c"))
    step("cas-stale", mc.cas("c", "other", cas))
    step("cas-absent", mc.cas("c2", "other", cas) or False)


def do_many(mc):
    step("multi-set", mc.set_many({"a": "1", "b": "2", "c": "3"}) == [])
    found = mc.get_many(["a", "absent", "c"])
    step("multi-get", " ".join(f"{key}={value.decode()}" for key, value in sorted(found.items())))
    step("multi-get-none", len(mc.get_many(["absent", "absent2"])))
    step("multi-get-cas", len(mc.gets_many(["a", "b", "absent", "c"])))
    step("multi-delete", mc.delete_many(["a", "b", "c", "absent"]))
    step("multi-deleted", len(mc.get_many(["a", "b", "c"])))
    values = {f"many-{number}": str(number) for number in range(1000)}
    mc.set_many(values)
    found = mc.get_many(values)
    step("multi-get-1000", sum(found[key].decode() == value for key, value in values.items()))


def do_values(mc):
    mc.set("large", LARGE)
    same("large", mc.get("large"), LARGE)
    refused("too-large", mc.set, "large", LARGE * 3)
    step("too-large-dropped", mc.get("large"))
    mc.set("k", "hello")
    step("after-too-large", mc.get("k"))
    everything = bytes(range(256)) * 4
    mc.set("bytes", everything)
    same("bytes", mc.get("bytes"), everything)
    key = "k" * 250
    step("key-250", mc.set(key, "long") and mc.get(key) == b"long")
    refused("key-251", mc.set, key + "k", "long")
    with closing(connect(allow_unicode_keys=True, encoding="utf-8")) as other:
        step("key-utf8", other.set("clé-☃", "☃") and other.get("clé-☃") == "☃".encode())
        other.set("utf8", "grüße ☃")
        same("utf8", other.get("utf8").decode(), "grüße ☃")
    with closing(connect(serde=PickleSerde())) as other:
        value = {"list": [1, 2.5, None], "text": "grüße"}
        other.set("object", value)
        same("object", other.get("object"), value)
        other.set("number", 42)
        step("number", other.get("number"))
    with closing(connect(serde=ZlibSerde())) as other:
        other.set("compressed", "again and " * 10000)
        same("compressed", other.get("compressed"), "again and " * 10000)
    with closing(connect(key_prefix=b"shop:")) as other:
        other.set("k", "prefixed")
        same("prefix", mc.get("shop:k"), b"prefixed")
    mc.set("flags", "x", flags=3735928559)
    with closing(connect(serde=FlagsSerde())) as other:
        step("flags", other.get("flags"))


class FlagsSerde:
    def serialize(self, _key, value):
        return value, 0

    def deserialize(self, _key, _value, flags):
        return flags


def do_time(mc):
    mc.set("k", "hello")
    step("touch", mc.touch("k", 100))
    step("touch-absent", mc.touch("absent", 100))
    step("touched", mc.get("k"))
    mc.set("past", "x", expire=-1)
    step("past", mc.get("past"))
    mc.set("past", "x", expire=1000000000)
    step("past-date", mc.get("past"))
    mc.set("future", "hello", expire=2592000)
    step("future", mc.get("future"))
    mc.set("future", "hello", expire=int(time.time()) + 3000000)
    step("future-date", mc.get("future"))
    mc.touch("future", -1)
    step("touch-past", mc.get("future"))
    mc.flush_all(delay=1000)
    step("flush-later", mc.get("k"))
    step("flush-again", mc.flush_all())
    step("flushed", mc.get("k"))


def do_silence(mc):
    for number in range(100):
        mc.set(f"quiet-{number}", str(number), noreply=True)
    found = mc.get_many([f"quiet-{number}" for number in range(100)])
    step("quiet-set", sum(found[f"quiet-{number}"] == b"%d" % number for number in range(100)))
    mc.set("q", "<", noreply=True)
    mc.append("q", "<", noreply=True)
    step("quiet-append", mc.get("q"))
    mc.set("n", "10", noreply=True)
    mc.incr("n", 5, noreply=True)
    mc.decr("n", 3, noreply=True)
    step("quiet-count", mc.get("n"))
    mc.touch("q", 100, noreply=True)
    mc.delete("q", noreply=True)
    step("quiet-delete", mc.get("q"))
    mc.replace("q", "x", noreply=True)
    mc.prepend("q", "x", noreply=True)
    mc.cas("q", "x", 1, noreply=True)
    step("quiet-replace-absent", mc.get("q"))
    mc.set("k", "hello", noreply=True)
    mc.add("k", "other", noreply=True)
    step("quiet-add-present", mc.get("k"))
    mc.flush_all(noreply=True)
    step("quiet-flush", mc.get("k"))


def do_server(mc):
    stats = mc.stats()
    step("stats", stats[b"pid"] > 0 and stats[b"curr_items"] >= 0 and stats[b"cmd_get"] > 0)
    settings = mc.stats("settings")
    step("stats-settings", settings[b"maxbytes"] == 64 << 20)
    step("cache-memlimit", mc.cache_memlimit(64))
    refused("shutdown", mc.shutdown)


def lines_of(text):
    lines = json.loads(text)["lines"]
    return " ".join(f"{line['line']}={line['qty']}" for line in lines) or "no lines"


def do_cart(mc, cart="cart:u1"):
    step("cart-absent", mc.get(cart))
    step("cart-incr-absent", mc.incr(f"{cart}/SKU-1/qty", 1) or False)
    step("cart-add", mc.add(f"{cart}/SKU-1", "2"))
    step("cart-add-again", mc.add(f"{cart}/SKU-1", "7"))
    step("cart-incr", mc.incr(f"{cart}/SKU-1/qty", 3))
    step("cart-decr", mc.decr(f"{cart}/SKU-1/qty", 1))
    step("cart-qty", mc.get(f"{cart}/SKU-1/qty"))
    line = {"qty": 3, "price": 1999, "currency": "EUR", "ext": "grüße"}
    step("cart-set", mc.set(f"{cart}/SKU-2", json.dumps(line)))
    line = json.loads(mc.get(f"{cart}/SKU-2"))
    whole = json.loads(mc.get(cart))
    step("cart-line", f"{line['qty']} x {line['price']} {whole['currency']} {line['ext']}")
    step("cart-lines", lines_of(mc.get(cart)))
    step("cart-replace", mc.replace(f"{cart}/SKU-2", "8"))
    step("cart-replace-absent", mc.replace(f"{cart}/SKU-3", "8"))
    mc.set("plain", "a plain value")
    found = mc.get_many([cart, "cart:absent", "plain"])
    step("cart-multi-get", f"{lines_of(found[cart])} and {found['plain'].decode()}")
    change_whole(mc, cart)
    refused("cart-append", mc.append, cart, "x")
    refused("cart-no-number", mc.incr, cart, 1)
    refused("cart-no-document", mc.set, cart, "no document")
    step("cart-touch", mc.touch(cart, 1000))
    mc.set(f"{cart}/SKU-2", "1")
    step("cart-remove", mc.delete(f"{cart}/SKU-2"))
    step("cart-remove-again", mc.delete(f"{cart}/SKU-2"))
    step("cart-removed", mc.get(f"{cart}/SKU-2/qty"))
    end_cart(mc, cart)


def change_whole(mc, cart):
    text, cas = mc.gets(cart)
    mc.set(f"{cart}/SKU-3", "1")
    step("cart-cas-stale", mc.cas(cart, text, cas))
    text, cas = mc.gets(cart)
    whole = json.loads(text)
    whole["lines"] = [dict(whole["lines"][0], qty=9)]
    step("cart-cas", mc.cas(cart, json.dumps(whole), cas))
    step("cart-cas-lines", lines_of(mc.get(cart)))


def end_cart(mc, cart):
    mc.set(f"{cart}/SKU-4", "1")
    mc.set(f"{cart}/SKU-4/qty", "0")
    step("cart-by-zero", mc.get(f"{cart}/SKU-4"))
    mc.flush_all()
    step("cart-after-flush", lines_of(mc.get(cart)))
    step("cart-decr-to-zero", mc.decr(f"{cart}/SKU-1/qty", 9))
    step("cart-empty", lines_of(mc.get(cart)))
    mc.set_many({f"{cart}/SKU-{number}": "2" for number in range(150)})
    whole = json.loads(mc.get(cart))
    step("cart-large", f"{whole['count']} lines, {whole['qty']} pieces")
    step("cart-delete", mc.delete(cart))
    step("cart-delete-again", mc.delete(cart))
    step("cart-deleted", mc.get(cart))
    step("cart-left", mc.set("cart:left/SKU-1", "2"))


def do_ring(mc):
    values = {f"ring-{number}": str(number) for number in range(300)}
    if PART == "ring":
        step("ring-put", len(values) - len(mc.set_many(values)))
    found = mc.get_many(values)
    step("ring-get", sum(found[key].decode() == value for key, value in values.items()))


def main():
    if PART in ("ring", "ring-get"):
        do_ring(HashClient([server_of(name) for name in SERVERS], default_noreply=False))
        return
    with closing(connect()) as mc:
        if PART == "cart":
            do_cart(mc)
        if PART == "plain":
            for part in (do_one_key, do_counting, do_cas, do_many, do_values, do_time, do_silence,
                         do_server):
                part(mc)


main()

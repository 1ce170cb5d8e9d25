#!/usr/bin/python3
"""client_pylibmc: the steps of pylibmc; see README.md.

usage: client_pylibmc.py PART OPTIONS SERVERS [USER PASSWORD]
options: binary noblock nodelay ketama
"""
import json
import sys
import time

import pylibmc

PART, OPTIONS, SERVERS = sys.argv[1], sys.argv[2].split("+"), sys.argv[3].split(",")
LOGIN = sys.argv[4:]
BINARY = "binary" in OPTIONS or bool(LOGIN)
LARGE = bytes(number * number % 251 for number in range(1000)) * 1000
REFUSED = (pylibmc.Error, ValueError)


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
    """A step that the library answers by raising an error."""
    try:
        step(name, call(*arguments, **named))
    except REFUSED as error:
        step(name, False, f"{type(error).__name__} {error}")


def connect(**behaviors):
    behaviors["cas"] = True
    if "noblock" in OPTIONS:
        behaviors["no_block"] = True
    if "nodelay" in OPTIONS:
        behaviors["tcp_nodelay"] = True
    if "ketama" in OPTIONS:
        behaviors["ketama_weighted"] = True
    named = dict(zip(("username", "password"), LOGIN))
    return pylibmc.Client(SERVERS, binary=BINARY, behaviors=behaviors, **named)


def do_one_key(mc):
    step("flush", mc.flush_all())
    step("get-absent", mc.get("k"))
    step("set", mc.set("k", "hello"))
    step("get", mc.get("k"))
    mc.set("empty", "")
    same("empty", mc.get("empty"), "")
    step("add-present", mc.add("k", "other"))
    step("add-absent", mc.add("k2", "other"))
    step("replace-present", mc.replace("k", "hello"))
    refused("replace-absent", mc.replace, "k3", "other")
    step("append", mc.append("k", ">"))
    step("prepend", mc.prepend("k", "<"))
    step("joined", mc.get("k"))
    refused("append-absent", mc.append, "k3", ">")
    refused("prepend-absent", mc.prepend, "k3", "<")
    step("delete", mc.delete("k"))
    step("delete-again", mc.delete("k"))
    step("deleted", mc.get("k"))


def do_counting(mc):
    mc.set("n", "10")
    step("incr", mc.incr("n", 5))
    step("decr", mc.decr("n", 1))
    refused("incr-absent", mc.incr, "n2", 1)
    step("decr-floor", mc.decr("n", 100))
    mc.set("n", "10")
    mc.decr("n", 1)
    step("decr-padded", f"[{mc.get('n')}]")
    mc.set("n", str(2**64 - 1))
    step("incr-wraps", mc.incr("n", 5))
    mc.set("n", "ten")
    refused("incr-text", mc.incr, "n", 1)


def do_cas(mc):
    mc.set("c", "first")
    _, cas = mc.gets("c")
    step("cas", mc.cas("c", "second", cas))
    step("cas-value", mc.get("c"))
    step("cas-stale", mc.cas("c", "other", cas))
    refused("cas-absent", mc.cas, "c2", "other", cas)


def do_many(mc):
    step("multi-set", mc.set_multi({"a": "1", "b": "2", "c": "3"}) == [])
    found = mc.get_multi(["a", "absent", "c"])
    step("multi-get", " ".join(f"{key}={value}" for key, value in sorted(found.items())))
    step("multi-get-none", len(mc.get_multi(["absent", "absent2"])))
    step("multi-add", mc.add_multi({"a": "1"}) == [])
    step("multi-delete", mc.delete_multi(["a", "b", "c"]))
    step("multi-deleted", len(mc.get_multi(["a", "b", "c"])))
    values = {f"many-{number}": str(number) for number in range(1000)}
    mc.set_multi(values)
    found = mc.get_multi(list(values))
    step("multi-get-1000", sum(found[key] == value for key, value in values.items()))


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
    mc.set("utf8", "grüße ☃")
    same("utf8", mc.get("utf8"), "grüße ☃")
    value = {"list": [1, 2.5, None], "text": "grüße"}
    mc.set("object", value)
    same("object", mc.get("object"), value)
    mc.set("number", 42)
    step("number", mc.get("number"))
    mc.set("compressed", "again and " * 10000, min_compress_len=100, compress_level=9)
    same("compressed", mc.get("compressed"), "again and " * 10000)
    key = "k" * 250
    step("key-250", mc.set(key, "long") and mc.get(key) == "long")
    refused("key-251", mc.set, key + "k", "long")
    step("key-utf8", mc.set("clé-☃", "x") and mc.get("clé-☃") == "x")
    if BINARY:
        key = b"a b\r\nc\0d"
        step("key-binary", mc.set(key, "x") and mc.get(key) == "x" and mc.get(b"a b") is None)
    mc.set_multi({"k": "prefixed"}, key_prefix="shop:")
    same("prefix", mc.get("shop:k"), "prefixed")


def do_time(mc):
    mc.set("k", "hello")
    step("touch", mc.touch("k", 100))
    step("touch-absent", mc.touch("absent", 100))
    step("touched", mc.get("k"))
    mc.set("past", "x", time=1000000000)
    step("past-date", mc.get("past"))
    mc.set("future", "hello", time=2592000)
    step("future", mc.get("future"))
    mc.set("future", "hello", time=int(time.time()) + 3000000)
    step("future-date", mc.get("future"))
    step("flush-again", mc.flush_all())
    step("flushed", mc.get("k"))


def do_silence():
    quiet, mc = connect(_noreply=True), connect()
    for number in range(100):
        quiet.set(f"quiet-{number}", str(number))
    quiet.get("k")  # an answer; by then the others have been served
    found = mc.get_multi([f"quiet-{number}" for number in range(100)])
    step("quiet-set", sum(found[f"quiet-{number}"] == str(number) for number in range(100)))
    quiet.set("q", "<")
    quiet.append("q", "<")
    step("quiet-append", quiet.get("q"))
    quiet.delete("q")
    step("quiet-delete", quiet.get("q"))
    quiet.set("k", "hello")
    quiet.add("k", "other")
    step("quiet-add-present", quiet.get("k"))


def do_server(mc):
    stats = mc.get_stats()[0][1]
    step("stats", int(stats["pid"]) > 0 and int(stats["cmd_get"]) > 0 and "curr_items" in stats)


def lines_of(text):
    lines = json.loads(text)["lines"]
    return " ".join(f"{line['line']}={line['qty']}" for line in lines) or "no lines"


def do_cart(mc, cart="cart:u1"):
    step("cart-absent", mc.get(cart))
    refused("cart-incr-absent", mc.incr, f"{cart}/SKU-1/qty", 1)
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
    refused("cart-replace-absent", mc.replace, f"{cart}/SKU-3", "8")
    mc.set("plain", "a plain value")
    found = mc.get_multi([cart, "cart:absent", "plain"])
    step("cart-multi-get", f"{lines_of(found[cart])} and {found['plain']}")
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
    step("cart-cas-stale", mc.cas(cart, text.decode(), cas))
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
    mc.set_multi({f"{cart}/SKU-{number}": "2" for number in range(150)})
    whole = json.loads(mc.get(cart))
    step("cart-large", f"{whole['count']} lines, {whole['qty']} pieces")
    step("cart-delete", mc.delete(cart))
    step("cart-delete-again", mc.delete(cart))
    step("cart-deleted", mc.get(cart))
    step("cart-left", mc.set("cart:left/SKU-1", "2"))


def do_ring(mc):
    # As bytes: a text has a flag that means something else to other libraries.
    values = {f"ring-{number}": b"%d" % number for number in range(300)}
    if PART == "ring":
        step("ring-put", len(values) - len(mc.set_multi(values)))
    found = mc.get_multi(list(values))
    step("ring-get", sum(found.get(key) == value for key, value in values.items()))


def do_login():
    refused("login", lambda: connect().set("k", "hello"))
    refused("login-get", lambda: connect().get("k"))


def main():
    mc = connect()
    if PART == "plain":
        for part in (do_one_key, do_counting, do_cas, do_many, do_values, do_time, do_server):
            part(mc)
        do_silence()
    elif PART == "cart":
        do_cart(mc)
    elif PART in ("ring", "ring-get"):
        do_ring(mc)
    elif PART == "login":
        do_login()


main()

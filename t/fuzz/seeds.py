#!/usr/bin/python3
"""seeds: writes the seeds of the corpora that hold steps (src/cart/cart_step.c) and cart commands.

usage: t/fuzz/seeds.py   (after the format of a step has changed; then look what git says)
"""
import struct
from pathlib import Path

CORPUS = Path(__file__).resolve().parent / "corpus"
FORMAT = 0xC6
ADD, SET, REMOVE, CHECK, SWAP, CLEAR, RETAIN, FORGET, TOUCH, MOVE = range(1, 11)
PRICE, SHOP, EXT, CHECKED = 1, 2, 4, 8
KEEP, NONE, FIXED, SLIDING = range(4)
USER, MERGE, EXPIRY, ADMIN = range(4)
CLAMPED, EXPIRED = 0x80, 0x40
NOW_US = 1790000000000000 - 1577836800000000  # from 2020 on


def varint(n):
    out = b""
    while n > 0x7f:
        out += bytes([n & 0x7f | 0x80])
        n >>= 7
    return out + bytes([n])


def text(data):
    return varint(len(data)) + data


def op(kind, line=b"", n=0, new=None, price=None, shop=None, ext=None, checked=None):
    flags = ((price is not None) * PRICE | (shop is not None) * SHOP | (ext is not None) * EXT
             | (checked is not None) * CHECKED)
    out = bytes([kind, flags, bool(checked)]) + varint(n * 2 if n >= 0 else -n * 2 - 1) + text(line)
    out += text(new) if new is not None else b""
    out += varint(price) if price is not None else b""
    out += text(shop) if shop is not None else b""
    return out + (text(ext) if ext is not None else b"")


def step(*ops, cause=USER, life=KEEP, life_us=0, currency=b"", token=b"", fold=2):
    out = bytes([FORMAT]) + struct.pack("<Q", 9) + varint(NOW_US) + bytes([fold, cause, life])
    out += varint(life_us) + text(currency) + text(token) + (bytes(8) if token else b"")
    return out + varint(len(ops)) + b"".join(ops)


STEPS = {
    "batch": step(op(ADD, b"b;x", 3, price=1999, shop=b"s1", ext=b"e\xff"), op(SET, b"c", 7),
                  op(REMOVE, b"a"), op(CHECK, n=1), currency=b"EUR", token=b"tok", fold=1),
    "clear": step(op(CLEAR, n=1), fold=1),
    "document": step(op(SET, b"a", 2, checked=False, price=5), op(RETAIN), life=SLIDING,
                     life_us=1000000),
    "swap": step(op(SWAP, b"a", 2, new=b"b", ext=b""), cause=USER | CLAMPED),
    "move": step(op(MOVE, new=b"cart:u1"), cause=MERGE, life=FIXED, life_us=NOW_US),
    "absorb": step(op(CLEAR), op(SET, b"a", 2, checked=True, shop=b"", ext=b"", price=1),
                   cause=MERGE, token=b"m1"),
    "forget": step(op(FORGET), cause=EXPIRY | EXPIRED),
    "touch": step(op(TOUCH), cause=ADMIN, life=NONE),
    "empty": step(token=b"t"),
}

BLOCK = b"\r\n".join([b"cadd a 1 P5 UEUR Gs EZm9v L", b"cset b 2", b"crem c", b"cchk * 0",
                      b"cswp a b", b"cclr Schecked"])
TEXT = {
    "cart-check": b"cchk cart:1 a 1 It v c n t a x d l k O1\r\ncchk cart:1 * 0 q\r\n",
    "cart-swap": b"cswp cart:1 a b P1 Gs E L V1\r\n",
    "cart-clear": b"cclr cart:1 Sunchecked T60\r\ncclr Y2FydDox b\r\n",
    "cart-merge": b"cmrg cart:1 cart:2 Msum It V0 Dos L\r\ncmrg Y2FydDox Y2FydDoy b Mreplace\r\n",
    "cart-batch": b"cbat cart:1 %d It UEUR v\r\n%s\r\n" % (len(BLOCK), BLOCK),
    "cart-since": b"cget cart:1 N7 s\r\ncget cart:1 N18446744073709551615 c\r\nchst cart:1\r\n",
}


def field(letter, data):
    return letter + struct.pack(">H", len(data)) + data


def frame(opcode, number=0, line=b"", fields=b"", bits=0):
    extras = struct.pack(">iHBB", number, bits, len(line), 0)
    return struct.pack(">BBHBBHIIQ", 0x80, opcode, 6, 8, 0, 0, 14 + len(line) + len(fields), 0, 0) \
        + extras + b"cart:1" + line + fields


def part(opcode, number, line, fields=b""):
    value = line + fields
    return struct.pack(">BHiHBB", opcode, len(value), number, 0, len(line), 0) + value


BINARY = {
    "cart-check": frame(0xc3, 1, b"a") + frame(0xd3, 0, b"*"),
    "cart-swap": frame(0xc4, 0, b"a", field(b"W", b"b") + field(b"E", b"\xff"), 1),
    "cart-clear": frame(0xc5, fields=field(b"S", b"checked")),
    "cart-merge": frame(0xc6, fields=field(b"K", b"cart:2") + field(b"M", b"replace")
                        + field(b"I", b"t")),
    "cart-batch": frame(0xc7, fields=field(b"U", b"EUR") + field(b"B", part(
        0xc0, 2, b"a", field(b"P", bytes(8))) + part(0xc4, 0, b"a", field(b"W", b"b"))
        + part(0xc5, 0, b"", field(b"S", b"all")) + part(0xc3, 1, b"*"))),
}


BYTES = {"bytes-any": b'J\x03\x04\x01k\xff\x00a\xc3\xa4"s\xff\xfe\x00"\\\n'}


def write(kind, seeds):
    for name, data in seeds.items():
        (CORPUS / kind / name).write_bytes(data)


def main():
    pair = (CORPUS / "cart" / "state-and-step").read_bytes()
    size = 3 + struct.unpack("<H", pair[1:3])[0]
    write("cart", {f"step-{name}": b"T" + data for name, data in STEPS.items()})
    write("cart", {"state-and-step": pair[:size] + STEPS["batch"],
                   "absorb-two": b"M" + pair[1:size] + pair[3:size]})
    write("cart", BYTES)
    write("text", TEXT)
    write("binary", BINARY)


if __name__ == "__main__":
    main()

"""three_ways: an operation on a cart as a text command, as requests on keys with a path, and in
binary. All three are bytes to send and the number of answers that come.

Where paths have no form of an operation, they get those that come to the same:
  add        incr or decr of a line that is there, when nothing but the quantity is given; else a
             set of the line with the sum and `checked`
  L          a set of the quantity that is cut off already
  check      a set of the line with its quantity and `checked`; of all lines one after the other
  swap       delete of the old line, set of the new one with all that it comes to hold
  clear      delete of each line that goes
  batch      those of its operations, one after the other, or none when it is refused
  merge      delete of the lines that go (replace), set of each line that the merge writes, delete
             of the source
  refused    the same refusal by a path: a quantity that is too large, a line that is not there
A document is `ms` in text, `set` on a path and opcode 01 in binary; a new life is `mg T`, `touch`
and opcode 1c.
"""
import base64
import json
import struct

from small_cart import POLICIES, Refused, without_none

VERBS = {name: 0xc0 + n for n, name in enumerate(
    "cadd cset crem cchk cswp cclr cmrg cbat cget cdel".split())}
NAMES = {"add": "cadd", "set": "cset", "remove": "crem", "check": "cchk", "swap": "cswp",
         "clear": "cclr", "forget": "cdel"}
CLAMP = 1
LIFE_S = 100000
QTY_TOO_LARGE = 2**31 - 1


def split(op):
    name, *arguments = op
    fields = arguments.pop() if arguments and isinstance(arguments[-1], dict) else {}
    return name, arguments, fields


def line_json(qty, fields, currency=""):
    members = without_none({"qty": qty, "price": fields.get("price"), "shop": fields.get("shop"),
                            "checked": fields.get("checked"), "currency": currency or None})
    ext = fields.get("ext")
    if ext is not None:
        try:
            members["ext"] = ext.decode()
        except UnicodeDecodeError:
            members["ext_b64"] = base64.b64encode(ext).decode()
    return members


def document_json(lines):
    return json.dumps({"lines": [dict(line_json(qty, fields), line=key)
                                 for key, qty, fields in lines]}).encode()


# ---- text ----------------------------------------------------------------------------------------

def text_op(op, key, currency=""):
    """Without an end of line; `key` is None within a batch."""
    name, arguments, fields = split(op)
    words = [NAMES[name]] + ([key] if key else [])
    if name == "check":
        arguments = [arguments[0], int(arguments[1])]
    if name == "clear":
        arguments = ["S" + arguments[0]]
    words += [str(argument) for argument in arguments]
    words += ["L"] if fields.get("clamp") else []
    if "price" in fields:
        words.append(f"P{fields['price']}")
    if "shop" in fields:
        words.append("G" + fields["shop"])
    if "ext" in fields:
        words.append("E" + base64.b64encode(fields["ext"]).decode())
    return " ".join(words + (["U" + currency] if currency else []))


def text(key, source, ops, currency, policy):
    """(bytes, answers)"""
    name, arguments, _ = split(ops[0])
    if policy is not None:
        return f"cmrg {key} {source} M{policy}\r\ncdel {source}\r\n".encode(), 2
    if name == "document":
        data = document_json(arguments[0])
        return f"ms {key} {len(data)}\r\n".encode() + data + b"\r\n", 1
    if name == "touch":
        return f"mg {key} T{LIFE_S}\r\n".encode(), 1
    if len(ops) == 1:
        return (text_op(ops[0], key, currency) + "\r\n").encode(), 1
    block = "\r\n".join(text_op(op, None) for op in ops).encode()
    return f"cbat {key} {len(block)}\r\n".encode() + block + b"\r\n", 1


# ---- binary --------------------------------------------------------------------------------------

def field(letter, data):
    return letter + struct.pack(">H", len(data)) + data


def binary_op(op, currency=""):
    """(opcode, extras, value)"""
    name, arguments, fields = split(op)
    number, line, value = 0, b"", b""
    if name != "clear" and arguments:
        line = arguments[0].encode()
    if name in ("add", "set", "check"):
        number = int(arguments[1])
    if name == "swap":
        value += field(b"W", arguments[1].encode())
    if name == "clear":
        value += field(b"S", arguments[0].encode())
    if "price" in fields:
        value += field(b"P", struct.pack(">q", fields["price"]))
    if "shop" in fields:
        value += field(b"G", fields["shop"].encode())
    if "ext" in fields:
        value += field(b"E", fields["ext"])
    if currency:
        value += field(b"U", currency.encode())
    bits = CLAMP if fields.get("clamp") else 0
    return VERBS[NAMES[name]], struct.pack(">iHBB", number, bits, len(line), 0), line + value


def frame(opcode, key, extras=b"", value=b""):
    key = key.encode()
    return struct.pack(">BBHBBHIIQ", 0x80, opcode, len(key), len(extras), 0, 0,
                       len(extras) + len(key) + len(value), 0, 0) + extras + key + value


def binary(key, source, ops, currency, policy):
    """(bytes, answers)"""
    name, arguments, _ = split(ops[0])
    if policy is not None:
        value = field(b"K", source.encode()) + field(b"M", policy.encode())
        return (frame(VERBS["cmrg"], key, bytes(8), value)
                + frame(VERBS["cdel"], source, bytes(8))), 2
    if name == "document":
        return frame(0x01, key, bytes(8), document_json(arguments[0])), 1
    if name == "touch":
        return frame(0x1c, key, struct.pack(">I", LIFE_S)), 1
    if len(ops) == 1:
        opcode, extras, value = binary_op(ops[0], currency)
        return frame(opcode, key, extras, value), 1
    block = b""
    for op in ops:
        opcode, extras, value = binary_op(op)
        block += struct.pack(">BH", opcode, len(value)) + extras + value
    return frame(VERBS["cbat"], key, bytes(8), field(b"B", block)), 1


def read_status(client):
    """Of a binary answer."""
    head = client.bytes(24)
    client.bytes(struct.unpack(">I", head[8:12])[0])
    return struct.unpack(">H", head[6:8])[0]


# ---- paths ---------------------------------------------------------------------------------------

def path_of(key, line):
    return f"{key}/{line.replace('%', '%25').replace('/', '%2F')}"


def store(verb, key, data):
    data = data if isinstance(data, bytes) else json.dumps(data).encode()
    return f"{verb} {key} 0 0 {len(data)}\r\n".encode() + data + b"\r\n"


def write_line(key, name, line, currency=""):
    """All that a line of the model holds."""
    fields = {"price": line.price, "shop": line.shop, "ext": line.ext, "checked": line.checked}
    return store("set", path_of(key, name), line_json(line.qty, fields, currency))


def take_away(key, name):
    return f"delete {path_of(key, name)}\r\n".encode()


def refusal(key, code, ops, currency, lines_max):
    """A request that is refused as well."""
    line = split(ops[0])[1][0] if split(ops[0])[1] else "a"
    if code == "NF":
        return [store("replace", path_of(key, "none"), b"1")]
    if code == "CURRENCY":
        return [store("set", path_of(key, line), {"qty": 1, "currency": currency})]
    if code == "LINE_LIMIT":
        lines = [(f"line{number}", 1, {}) for number in range(lines_max + 1)]
        return [store("set", key, document_json(lines))]
    return [store("set", path_of(key, line), str(QTY_TOO_LARGE).encode())]


def path_op(key, op, currency, before, after):
    """Requests of one operation that is not refused."""
    name, arguments, fields = split(op)
    fields = {letter: value for letter, value in fields.items() if letter != "clamp"}
    if name in ("add", "set") and not currency and not fields:
        line, n = arguments
        if name == "set" and line in after.lines:
            return [store("set", path_of(key, line), str(after.lines[line].qty).encode())]
        if name == "add" and line in before.lines and line in after.lines:
            n = after.lines[line].qty - before.lines[line].qty
            return [f"{'incr' if n >= 0 else 'decr'} {path_of(key, line)}/qty {abs(n)}\r\n"
                    .encode()]
    if name in ("add", "set", "remove"):
        line = arguments[0]
        if line in after.lines:
            return [write_line(key, line, after.lines[line], currency)]
        return [take_away(key, line)]
    if name == "check":
        lines = list(after.lines) if arguments[0] == "*" else [arguments[0]]
        return [store("set", path_of(key, line), line_json(
            after.lines[line].qty, {"checked": arguments[1]})) for line in lines]
    if name == "swap":
        old, new = arguments
        removal = [take_away(key, old)] if old != new else []
        return removal + [write_line(key, new, after.lines[new])]
    if name == "clear":
        return [take_away(key, line) for line in before.lines if line not in after.lines]
    if name == "document":
        return [store("set", key, document_json(arguments[0]))]
    return [f"touch {key} {LIFE_S}\r\n".encode() if name == "touch"
            else f"delete {key}\r\n".encode()]


def path_merge(key, source, policy, before, after):
    requests = []
    known = {} if policy == "replace" and before.version != after.version else before.lines
    if not known:
        requests = [take_away(key, line) for line in before.lines]
    for line, held in after.lines.items():
        if known.get(line) != held:
            requests.append(write_line(key, line, held, after.currency))
    return requests + [f"delete {source}\r\n".encode()]


def paths(key, source, ops, currency, policy, before, after, code):
    """(bytes, answers). `after` is the model behind the step; `code`: why it was refused."""
    if policy is not None:
        requests = ([f"delete {source}\r\n".encode()] if code
                    else path_merge(key, source, policy, before, after))
    elif code:
        requests = refusal(key, code, ops, currency, before.lines_max)
    else:
        requests, now = [], before
        for op in ops:
            then = now.copy()
            then.do(op, currency=currency)
            requests += path_op(key, op, currency, now, then)
            now = then
    return b"".join(requests), len(requests)


def document(way, key, lines):
    """(bytes, answers) of a whole cart, in text, on a path, in binary."""
    ops = [("document", lines)]
    if way == 1:
        return store("set", key, document_json(lines)), 1
    return (text, binary)[way // 2](key, None, ops, "", None)


# ---- drawing -------------------------------------------------------------------------------------

LINES = ["a", "b;red", "c;red;XL", "d/e", "f%2F", "g\u00e4\"\\", "h" * 40, "i", "j", "k", "l", "*m"]
EXTS = [b"", b"ext", b"\xff\x00\n", "\u20ac\"".encode()]


def draw_fields(chance):
    fields = {}
    if chance.random() < 0.3:
        fields["price"] = chance.choice((0, 1, 1999, 2**31, 2**40))
    if chance.random() < 0.15:
        fields["shop"] = chance.choice(("", "s1", "shop-2"))
    if chance.random() < 0.15:
        fields["ext"] = chance.choice(EXTS)
    return fields


def draw_op(chance):
    """One that a batch may hold."""
    line = chance.choice(LINES)
    kind = chance.random()
    if kind < 0.6:
        fields = draw_fields(chance)
        if chance.random() < 0.2:
            fields["clamp"] = True
        if kind < 0.4:
            return ("add", line, chance.choice((-50, -3, -1, 0, 1, 1, 1, 2, 5, 20, 999)), fields)
        return ("set", line, chance.choice((0, 1, 2, 7, 50, 51)), fields)
    if kind < 0.75:
        return ("remove", line)
    if kind < 0.87:
        return ("check", chance.choice((line, line, "*")), chance.random() < 0.5)
    if kind < 0.97:
        return ("swap", line, chance.choice(LINES), draw_fields(chance))
    return ("clear", chance.choice(("all", "checked", "unchecked")))


def draw_lines(chance):
    return [(line, chance.choice((0, 1, 2, 30)), dict(draw_fields(chance), **(
        {"checked": chance.random() < 0.5} if chance.random() < 0.5 else {})))
            for line in chance.sample(LINES, chance.randrange(8))]


def draw(chance):
    """(operations, currency, policy, lines of the source)"""
    kind = chance.random()
    if kind < 0.75:
        op = draw_op(chance)
        priced = op[0] in ("add", "set") and op[2] > 0
        currency = chance.choice(("EUR", "EUR", "USD")) if priced and chance.random() < 0.1 else ""
        return [op], currency, None, None
    if kind < 0.85:
        return [draw_op(chance) for _ in range(chance.randrange(2, 6))], "", None, None
    if kind < 0.91:
        return [("merge",)], "", chance.choice(POLICIES), draw_lines(chance)
    if kind < 0.95:
        return [("document", draw_lines(chance))], "", None, None
    return [("touch",) if kind < 0.99 else ("forget",)], "", None, None


def apply(cart, ops, currency, policy, source):
    """(model behind it, code of the refusal or None)"""
    after = cart.copy()
    try:
        if policy is not None:
            after.absorb(source.copy(), policy)
        else:
            after.do(*ops, currency=currency)
    except Refused as refused:
        return cart, refused.args[0]
    return after, None

"""Every limit of a cart at one less, at the limit and at one more, and numbers of every shape, in
text, on paths and in binary. What is refused changes nothing."""
import base64
import json

import pytest
import three_ways
from small_cart import without_none
from test_buckets import write_config

KEY = "cart:u1"
MONEY_MAX = 2**63 - 1
TEXT, PATH, BINARY = WAYS = ("text", "path", "binary")
CODES = {0: None, 0xc1: "BAD_LINE", 0xc2: "BAD_QTY", 0xc3: "BAD_FLAG", 0xc4: "BAD_DOC",
         0xc5: "LINE_LIMIT", 0xc6: "QTY_LIMIT", 0xc7: "SIZE_LIMIT", 0x04: "FORMAT"}


def code_of(answer):
    """None for a success."""
    if answer.startswith(("HD", "STORED")):
        return None
    assert answer.startswith("CLIENT_ERROR "), answer
    code = answer.split(" ")[1]
    return "FORMAT" if code == "bad" else code


def say(client, way, verb, line, number, **fields):
    """cadd or cset in one of the ways; the code of its refusal. `number` and `price` may be text
    that is no number of the daemon's."""
    if way == TEXT:
        words = [verb, KEY, line, str(number)]
        words += [f"P{fields['price']}"] if "price" in fields else []
        words += ["G" + fields["shop"]] if "shop" in fields else []
        words += ["E" + base64.b64encode(fields["ext"]).decode()] if "ext" in fields else []
        words += ["I" + fields["token"]] if "token" in fields else []
        words += ["O" + fields["opaque"]] if "opaque" in fields else []
        return code_of(client.cmd(" ".join(words)))
    if way == PATH:
        members = without_none(dict(fields, qty=0, price=0 if "price" in fields else None))
        if "ext" in members:
            members["ext"] = members["ext"].decode()
        data = json.dumps(members).replace('"qty": 0', f'"qty": {number}')
        if "price" in fields:
            data = data.replace('"price": 0', f'"price": {fields["price"]}')
        if not fields:
            data = str(number)
        return code_of(client.store(f"set {three_ways.path_of(KEY, line)} 0 0", data))
    given = {name: value for name, value in fields.items() if name in ("price", "shop", "ext")}
    opcode, extras, value = three_ways.binary_op(
        ("add" if verb == "cadd" else "set", line, int(number), given))
    if "token" in fields:
        value += three_ways.field(b"I", fields["token"].encode())
    client.send(three_ways.frame(opcode, KEY, extras, value))
    return CODES[three_ways.read_status(client)]


@pytest.fixture(name="at_limits")
def start_with_limits(server, tmp_path):
    """at_limits(name=value, ...) starts a daemon with these limits of a bucket."""
    def start(**limits):
        settings = {name.replace("_", "-"): value for name, value in limits.items()}
        return server.start(config=write_config(tmp_path / "cartd.conf", carts=dict(
            {"prefixes": "cart:"}, **settings)))
    return start


def check_edges(server, way, limit, refusal, try_one):
    """try_one(client, way, size) succeeds up to `limit`, and is refused above it."""
    for size in (limit - 1, limit, limit + 1):
        with server.client() as reader, server.client() as client:
            before = reader.cart(KEY)
            code = try_one(client, way, size)
            assert code == (refusal if size > limit else None), f"{size} of {limit}: {code}"
            assert (reader.cart(KEY) == before) == (size > limit)


# ---- sizes ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("limit", [1, 2, 200, 1000])
def test_lines_of_a_cart(at_limits, way, limit):
    with at_limits(lines_max=limit).client() as client:
        for number in range(limit):
            assert say(client, way, "cadd", f"line{number}", 1) is None
        assert say(client, way, "cadd", "more", 1) == "LINE_LIMIT"
        assert say(client, way, "cadd", "line0", 1) is None


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("limit", [1, 999, 1000000])
def test_quantity_of_a_line(at_limits, way, limit):
    server = at_limits(qty_max=limit)
    check_edges(server, way, limit, "QTY_LIMIT", lambda client, way, size:
                say(client, way, "cset", "a", size) if size else
                say(client, way, "cset", "a", 1))
    with server.client() as client:
        assert client.cmd(f"cset {KEY} a {limit}") == "HD"
        assert client.cmd(f"cadd {KEY} a 1").startswith("CLIENT_ERROR QTY_LIMIT")
        assert client.cmd(f"incr {KEY}/a/qty 1").startswith("CLIENT_ERROR QTY_LIMIT")
        assert client.cmd(f"cadd {KEY} a 1 L x") == f"HD x{limit}"
        assert client.cmd(f"cset {KEY} a 2147483647 L x") == f"HD x{limit}"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("limit", [0, 1, 512, 1024])
def test_ext_of_a_line(at_limits, way, limit):
    server = at_limits(ext_bytes_max=limit)
    for size in {max(limit - 1, 0), limit, limit + 1}:
        with server.client() as client:
            code = say(client, way, "cset", "a", 1, ext=b"e" * size)
            assert code == ("SIZE_LIMIT" if size > limit else None), size


@pytest.mark.parametrize("way", WAYS)
def test_state_of_a_cart(at_limits, way):
    """A line with an ext of 500 bytes takes 500 to 600: 16 KiB hold 28 to 32 of them."""
    server = at_limits(state_bytes_max=16384, lines_max=1000)
    with server.client() as client:
        codes = [say(client, way, "cadd", f"line{number}", 1, ext=b"e" * 500)
                 for number in range(40)]
    held = codes.index("SIZE_LIMIT")
    assert 28 <= held <= 32 and set(codes[:held]) == {None} and set(codes[held:]) == {"SIZE_LIMIT"}
    with server.client() as client:
        assert client.cart(KEY)["count"] == held


@pytest.mark.parametrize("way", WAYS)
def test_line_key(server, way):
    server.start()
    check_edges(server, way, 128, "BAD_LINE", lambda client, way, size:
                say(client, way, "cset", "k" * size, 1))


@pytest.mark.parametrize("way, refusal", [(TEXT, "BAD_FLAG"), (BINARY, "BAD_FLAG")])
def test_token_and_shop(server, way, refusal):
    server.start()
    check_edges(server, way, 32, refusal, lambda client, way, size:
                say(client, way, "cadd", "a", 1, token="t" * size))
    check_edges(server, way, 32, refusal, lambda client, way, size:
                say(client, way, "cset", "a", size, shop="s" * size))


def test_shop_on_a_path(server):
    server.start()
    for size in (31, 32, 33):
        with server.client() as client:
            code = say(client, PATH, "cset", "a", size, shop="s" * size)
            assert bool(code) == (size > 32), code


def test_opaque(server):
    server.start()
    check_edges(server, TEXT, 32, "BAD_FLAG", lambda client, way, size:
                say(client, way, "cadd", "a", 1, opaque="o" * size))


@pytest.mark.parametrize("way", WAYS)
def test_cart_key(server, way):
    server.start()
    for size in (249, 250, 251):
        key = "cart:" + "k" * (size - 5)
        with server.client() as client:
            if way == TEXT:
                answer = client.cmd(f"cadd {key} a 1")
                assert answer == ("HD" if size <= 250 else
                                  "CLIENT_ERROR bad command line format"), answer
            elif way == PATH:
                answer = client.store(f"set {key} 0 0", '{"lines":[]}')
                assert answer == "STORED" if size <= 250 else answer.startswith("CLIENT_ERROR")
            else:
                client.send(three_ways.frame(0xc0, key, b"\0\0\0\1\0\0\1\0", b"a"))
                assert bool(three_ways.read_status(client)) == (size > 250)


# ---- batches and documents -----------------------------------------------------------------------

@pytest.mark.parametrize("way", [TEXT, BINARY])
@pytest.mark.parametrize("count", [1, 249, 250, 251])
def test_operations_of_a_batch(server, way, count):
    server.start()
    ops = [("add", "a", 1)] * count
    with server.client() as client:
        if way == TEXT:
            block = "\r\n".join(three_ways.text_op(op, None) for op in ops)
            answer = client.store(f"cbat {KEY}", block)
            assert answer == ("HD" if count <= 250 else answer)
            assert count <= 250 or answer.startswith("CLIENT_ERROR SIZE_LIMIT"), answer
        else:
            block = b""
            for op in ops:
                opcode, extras, value = three_ways.binary_op(op)
                block += bytes([opcode]) + len(value).to_bytes(2, "big") + extras + value
            client.send(three_ways.frame(0xc7, KEY, bytes(8), three_ways.field(b"B", block)))
            assert CODES[three_ways.read_status(client)] == ("SIZE_LIMIT" if count > 250 else None)
    with server.client() as client:
        assert client.qty(KEY, "a") == (count if count <= 250 else 0)


@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_bytes_of_a_batch(server, extra):
    """250 additions and spaces; 256 KiB are the most."""
    server.start()
    size = (256 << 10) + extra
    block = "\r\n".join(["cadd a 1"] * 249)
    block += "\r\ncadd" + " " * (size - len(block) - len("\r\ncadda 1")) + "a 1"
    assert len(block) == size
    with server.client() as client:
        answer = client.store(f"cbat {KEY}", block)
        good = answer == "HD"
        assert good == (extra <= 0), answer
        assert good or answer.startswith("CLIENT_ERROR SIZE_LIMIT"), answer
        assert client.qty(KEY, "a") == (250 if good else 0)


@pytest.mark.parametrize("count", [999, 1000, 1001])
def test_lines_of_a_document(at_limits, count):
    server = at_limits(lines_max=1000)
    lines = [(f"line{number}", 1, {}) for number in range(count)]
    with server.client() as client:
        answer = client.store(f"set {KEY} 0 0", three_ways.document_json(lines))
        assert code_of(answer) == ("LINE_LIMIT" if count > 1000 else None)
        assert len((client.cart(KEY) or {"lines": []})["lines"]) == (count if count <= 1000 else 0)


# ---- numbers -------------------------------------------------------------------------------------

# What cadd and cset make of them on a line of 5: the quantity that is left, or the code.
NUMBERS = [("1", 6, 1), ("0", 5, 0), ("-0", 5, 0), ("007", 12, 7),
           ("00000000000000000000001", 6, 1),
           ("-1", 4, "BAD_QTY"), ("-5", 0, "BAD_QTY"), ("-6", 0, "BAD_QTY"),
           ("-2147483647", 0, "BAD_QTY"), ("2147483647", "QTY_LIMIT", "QTY_LIMIT"),
           ("2147483648", "BAD_QTY", "BAD_QTY"), ("-2147483649", "BAD_QTY", "BAD_QTY"),
           ("9223372036854775808", "BAD_QTY", "BAD_QTY"),
           ("18446744073709551616", "BAD_QTY", "BAD_QTY"),
           ("99999999999999999999", "BAD_QTY", "BAD_QTY"), ("+1", "BAD_QTY", "BAD_QTY"),
           ("1.0", "BAD_QTY", "BAD_QTY"), ("1e3", "BAD_QTY", "BAD_QTY"),
           ("0x1", "BAD_QTY", "BAD_QTY"), ("-", "BAD_QTY", "BAD_QTY"),
           ("--1", "BAD_QTY", "BAD_QTY"),
           ("1-", "BAD_QTY", "BAD_QTY"), ("a", "BAD_QTY", "BAD_QTY")]


@pytest.mark.parametrize("number, added, made", NUMBERS)
def test_numbers_in_text(server, number, added, made):
    server.start()
    with server.client() as client:
        for verb, wanted in (("cadd", added), ("cset", made)):
            assert client.cmd(f"cset {KEY} a 5") == "HD"
            answer = client.cmd(f"{verb} {KEY} a {number} x")
            if isinstance(wanted, str):
                assert answer.startswith(f"CLIENT_ERROR {wanted} "), answer
                wanted = 5
            else:
                assert answer == f"HD x{wanted}"
            assert client.qty(KEY, "a") == wanted


@pytest.mark.parametrize("number, made", [(number, made) for number, _, made in NUMBERS])
def test_numbers_on_a_path(server, number, made):
    """The same, but that a value of other than digits is no number but no document."""
    server.start()
    digits = number.removeprefix("-").isdigit()
    with server.client() as client:
        for data in (number, f'{{"qty":{number}}}') if digits else (number,):
            assert client.cmd(f"cset {KEY} a 5") == "HD"
            code = code_of(client.store(f"set {KEY}/a 0 0", data))
            json_number = data[0] == "{" and number.removeprefix("-")[0] == "0" and len(
                number.removeprefix("-")) > 1
            wanted = "BAD_DOC" if not digits or json_number else made
            assert code == (wanted if isinstance(wanted, str) else None), data
            assert client.qty(KEY, "a") == (5 if isinstance(wanted, str) else wanted)


@pytest.mark.parametrize("number, added, made", [
    (0, 5, 0), (1, 6, 1), (-1, 4, "BAD_QTY"), (-5, 0, "BAD_QTY"),
    (2**31 - 1, "QTY_LIMIT", "QTY_LIMIT"),
    (-2**31 + 1, 0, "BAD_QTY"), (-2**31, "BAD_QTY", "BAD_QTY")])
def test_numbers_in_binary(server, number, added, made):
    server.start()
    with server.client() as client, server.client() as reader:
        for verb, wanted in (("cadd", added), ("cset", made)):
            assert reader.cmd(f"cset {KEY} a 5") == "HD"
            code = say(client, BINARY, verb, "a", number)
            assert code == (wanted if isinstance(wanted, str) else None)
            assert reader.qty(KEY, "a") == (5 if isinstance(wanted, str) else wanted)


@pytest.mark.parametrize("way", WAYS)
def test_prices(server, way):
    server.start()
    for price, good in ((0, True), (1, True), (MONEY_MAX, True), (MONEY_MAX + 1, False)):
        with server.client() as client, server.client() as reader:
            code = say(client, way, "cset", "a", 1, price=price) if price <= MONEY_MAX or way != \
                BINARY else "BAD_FLAG"
            assert (code is None) == good, code
            if good:
                assert reader.cart(KEY)["amount"] == price


@pytest.mark.parametrize("price, good", [
    ("007", True), ("-1", False), ("-0", False), ("+1", False), ("1.5", False), ("", False),
    ("9223372036854775808", False), ("18446744073709551616", False),
    ("99999999999999999999", False), ("000000000000000000000000019", True)])
def test_prices_in_text(server, price, good):
    server.start()
    with server.client() as client:
        code = code_of(client.cmd(f"cset {KEY} a 1 P{price}"))
        assert code == (None if good else "BAD_FLAG")
        if good:
            assert client.cart(KEY)["amount"] == int(price)


@pytest.mark.parametrize("way", WAYS)
def test_an_amount_leaves_no_int64(server, way):
    """The sum over lines and quantities may reach the greatest amount, and not pass it."""
    server.start()
    with server.client() as client, server.client() as reader:
        assert say(client, way, "cset", "a", 3, price=MONEY_MAX // 3) is None
        rest = MONEY_MAX - 3 * (MONEY_MAX // 3)
        assert say(client, way, "cset", "b", 1, price=rest + 1) == "QTY_LIMIT"
        assert say(client, way, "cset", "b", 1, price=rest) is None
        assert reader.cart(KEY)["amount"] == MONEY_MAX
        assert say(client, way, "cset", "c", 1, price=1) == "QTY_LIMIT"
        assert say(client, way, "cset", "a", 4) == "QTY_LIMIT"
        assert say(client, way, "cset", "a", 1000000) == "QTY_LIMIT"
        assert say(client, way, "cset", "a", 2) is None
        assert reader.cart(KEY)["amount"] == MONEY_MAX - MONEY_MAX // 3


# ---- merges at limits ----------------------------------------------------------------------------

@pytest.mark.parametrize("policy", ["max", "sum", "src", "dst", "replace"])
def test_a_merge_at_every_limit_succeeds(server, tmp_path, policy):
    """A large guest cart becomes part of a full small one."""
    server.start(config=write_config(
        tmp_path / "cartd.conf",
        guests={"prefixes": "guest:", "lines-max": 1000, "ext-bytes-max": 4096,
                "state-bytes-max": "8m"},
        users={"prefixes": "user:", "lines-max": 30, "qty-max": 9, "ext-bytes-max": 600,
               "state-bytes-max": 16384}))
    with server.client() as client:
        for number in range(100):
            ext = base64.b64encode(b"g" * (number * 40)).decode()
            assert client.cmd(f"cadd guest:1 line{number} {1 + number * 7} E{ext}"
                              f" P{2**46 + number}") == "HD"
        for number in range(80, 106):
            ext = base64.b64encode(b"u" * 600).decode()
            client.cmd(f"cadd user:1 line{number} 9 E{ext} P{2**55}")
        before = client.cart("user:1")
        assert client.cmd("cadd user:1 more 1 E" + ext).startswith("CLIENT_ERROR")
        answer = client.cmd(f"cmrg user:1 guest:1 M{policy}")
        assert answer.startswith("HD"), answer
        after = client.cart("user:1")
        assert after["count"] <= 30 and all(line["qty"] <= 9 for line in after["lines"])
        assert client.cmd("cget guest:1 s").split(" ")[0] == "VA"
        if policy in ("max", "sum"):
            assert {line["line"] for line in before["lines"]} <= {
                line["line"] for line in after["lines"]}
        if policy == "dst":
            assert after == before


def test_tokens_take_no_room_from_a_merge(server, tmp_path):
    """A cart remembers its tokens for minutes; they are not among the bytes that it may have."""
    server.start(config=write_config(tmp_path / "cartd.conf", carts={
        "prefixes": "cart:", "state-bytes-max": 2048}))
    with server.client() as client:
        client.send("".join(f"cadd {KEY} a 1 Itoken{number}\r\n" for number in range(300)))
        assert set(client.lines(300)) == {"HD"}
        assert client.cmd("cadd cart:guest b 1") == "HD"
        assert client.cmd(f"cmrg {KEY} cart:guest n") == "HD n2"

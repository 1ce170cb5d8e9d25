"""books: are the rows in SQL the carts, field by field?"""
import base64
from datetime import datetime, timezone

from waiting import wait_until

ACTIVE, DELETED = 0, 3


def when(time_ms):
    if time_ms is None:
        return None
    moment = datetime.fromtimestamp(time_ms // 1000, timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + f".{time_ms % 1000:03d}Z"


def ext_of(line):
    if "ext_b64" in line:
        return base64.b64decode(line["ext_b64"])
    return line.get("ext", "").encode()


def cart_row(cart):
    """The row of `cart` that a document must have."""
    lines = cart["lines"]
    checked = [line for line in lines if line["checked"]]

    def amount(some):
        if any("price" not in line for line in some):
            return None
        return sum(line["qty"] * line["price"] for line in some)

    row = {"cart_id": cart["cart"], "state": ACTIVE, "currency": cart.get("currency", ""),
           "version": cart["version"], "cas": cart["cas"], "lines_count": len(lines),
           "qty": sum(line["qty"] for line in lines), "amount": amount(lines),
           "checked_qty": sum(line["qty"] for line in checked), "checked_amount": amount(checked)}
    assert cart["count"] == row["lines_count"] and cart["qty"] == row["qty"], cart
    assert cart.get("amount") == row["amount"], cart
    assert cart["checked_qty"] == row["checked_qty"], cart
    assert cart.get("checked_amount") == row["checked_amount"], cart
    return row


def line_row(cart, line):
    return {"cart_id": cart["cart"], "line": line["line"], "sku": line["line"].split(";")[0],
            "qty": line["qty"], "checked": int(line["checked"]), "add_price": line.get("price"),
            "shop": line.get("shop", ""), "ext": ext_of(line), "added_at": when(line["added"]),
            "updated_at": when(line["updated"])}


def differences(server, carts):
    """What is not the same in `carts` (key -> document or None) and in SQL."""
    cart_rows = {row["cart_id"]: row for row in server.sql("SELECT * FROM cart")}
    line_rows = {}
    for row in server.sql("SELECT * FROM cart_line"):
        line_rows.setdefault(row["cart_id"], {})[row["line"]] = row
    found = []

    def compare(what, wanted, row):
        if row is None:
            found.append(f"{what}: no row")
            return
        for name, value in wanted.items():
            if row[name] != value:
                found.append(f"{what}: {name} is {row[name]!r}, not {value!r}")

    for key, cart in carts.items():
        row, lines = cart_rows.pop(key, None), line_rows.pop(key, {})
        if cart is None:
            if row and (row["state"] != DELETED or lines):
                found.append(f"{key}: is there and should not be")
            continue
        compare(key, cart_row(cart), row)
        for line in cart["lines"]:
            compare(f"{key} {line['line']}", line_row(cart, line), lines.pop(line["line"], None))
        found += [f"{key} {line}: a row too many" for line in lines]
    found += [f"{key}: a row nobody knows" for key, row in cart_rows.items()
              if row["state"] != DELETED]
    found += [f"{key}: lines nobody knows" for key in line_rows]
    return found


def read_carts(server, keys):
    with server.client() as client:
        return {key: client.cart(key) for key in keys}


def check(server, keys, seconds=None):
    """The daemon runs: SQL comes to be what it says of these carts, and holds no other."""
    carts = read_carts(server, keys)
    last = []

    def equal():
        last[:] = differences(server, carts)
        return not last

    try:
        if seconds is None:
            wait_until(equal, "SQL is equal to the carts")
        else:
            wait_until(equal, "SQL is equal to the carts", seconds)
    except AssertionError as error:
        raise AssertionError(f"{error}\n" + "\n".join(last[:20])) from None
    return carts

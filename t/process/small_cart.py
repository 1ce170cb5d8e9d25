"""small_cart: a cart by the rules of doc/protocol-cart.md, written in the plainest way, so that
tests can say what must come out without looking at what came out."""
import base64
from copy import copy
from dataclasses import dataclass

BITS_32 = 2**31 - 1
AMOUNT_MAX = 2**63 - 1
QTY_HARD = 1000000
POLICIES = ("max", "sum", "src", "dst", "replace")
VOLATILE = ("cart", "version", "cas", "added", "updated")


class Refused(Exception):
    """The only argument is the code, as the daemon says it; NF for what is not there."""


@dataclass
class Line:
    qty: int
    price: int = None
    checked: bool = True
    shop: str = ""
    ext: bytes = b""

    def give(self, keep_price=False, price=None, shop=None, ext=None, checked=None):
        if price is not None and not (keep_price and self.price is not None):
            self.price = price
        self.shop = self.shop if shop is None else shop
        self.ext = self.ext if ext is None else ext
        self.checked = self.checked if checked is None else checked


def amount_of(lines):
    """None while a price is unknown."""
    if any(line.price is None for line in lines):
        return None
    amount = sum(line.qty * line.price for line in lines)
    return amount if amount <= AMOUNT_MAX else None


class SmallCart:
    """Operations are tuples: a name of the methods below, its arguments, and a dict of fields."""

    def __init__(self, qty_max=QTY_HARD, lines_max=200, ext_max=512):
        self.qty_max, self.lines_max, self.ext_max = qty_max, lines_max, ext_max
        self.lines, self.currency, self.made, self.version = {}, "", False, 0
        self.changed, self.moved = False, False

    def copy(self):
        other = copy(self)
        other.lines = {key: copy(line) for key, line in self.lines.items()}
        return other

    # ---- a step ----

    def do(self, *ops, currency=""):
        """All of them or none; the quantity of the last one's line. Refused."""
        before = self.copy().__dict__
        self.changed, qty = False, 0
        try:
            for name, *arguments in ops:
                fields = arguments.pop() if arguments and isinstance(arguments[-1], dict) else {}
                qty = getattr(self, name)(*arguments, **fields) or 0
            if self.changed:
                self.end(before, currency)
        except Refused:
            self.__dict__ = before
            raise
        return qty

    def end(self, before, currency):
        self.version += 1
        if len(self.lines) > max(self.lines_max, len(before["lines"])):
            raise Refused("LINE_LIMIT")
        then, now = (sum(line.qty * (line.price or 0) for line in lines.values())
                     for lines in (before["lines"], self.lines))
        if now > AMOUNT_MAX and now > then:
            raise Refused("QTY_LIMIT")
        if currency and self.currency not in ("", currency):
            raise Refused("CURRENCY")
        if self.exists():
            self.currency = self.currency or currency

    def exists(self):
        return bool(self.lines) or self.made

    def wrote(self):
        self.changed = self.made = True

    def limited(self, n, have, clamp):
        if n <= 0 or n + have <= self.qty_max:
            return n
        if not clamp:
            raise Refused("QTY_LIMIT")
        return max(self.qty_max - have, 0)

    def check_ext(self, fields):
        if len(fields.get("ext") or b"") > self.ext_max:
            raise Refused("SIZE_LIMIT")

    # ---- operations ----

    def add(self, key, n, clamp=False, if_present=False, **fields):
        if not -BITS_32 <= n <= BITS_32:
            raise Refused("BAD_QTY")
        self.check_ext(fields)
        if if_present and key not in self.lines:
            raise Refused("NF")
        have = self.lines[key].qty if key in self.lines else 0
        n = self.limited(n, have, clamp)
        if have + n <= 0:
            return self.remove(key)
        line = self.lines.setdefault(key, Line(0))
        line.qty += n
        line.give(keep_price=True, **{"checked": True, **fields})
        self.wrote()
        return line.qty

    def set(self, key, n, clamp=False, if_present=False, if_absent=False, **fields):
        if not 0 <= n <= BITS_32:
            raise Refused("BAD_QTY")
        self.check_ext(fields)
        if if_present and key not in self.lines or if_absent and key in self.lines:
            raise Refused("NF")
        n = self.limited(n, 0, clamp)
        if n == 0:
            return self.remove(key)
        line = self.lines.setdefault(key, Line(0))
        line.qty = n
        line.give(**fields)
        self.wrote()
        return n

    def remove(self, key, if_present=False):
        if if_present and key not in self.lines:
            raise Refused("NF")
        if self.lines.pop(key, None):
            self.changed = True

    def check(self, key, checked):
        if key != "*" and key not in self.lines or not self.exists():
            raise Refused("NF")
        for line in self.lines.values() if key == "*" else [self.lines[key]]:
            line.checked = checked
            self.wrote()
        return 0 if key == "*" else self.lines[key].qty

    def swap(self, key, new, clamp=False, **fields):
        self.check_ext(fields)
        if key not in self.lines:
            raise Refused("NF")
        old = self.lines[key]
        self.wrote()
        if new == key:
            old.give(**fields)
            return old.qty
        into = self.lines.get(new)
        n = self.limited(old.qty, into.qty if into else 0, clamp)
        del self.lines[key]
        if into:
            into.qty += n
            into.give(keep_price=True, **fields)
        else:
            into = self.lines[new] = old
            old.qty = n
            old.give(**fields)
        return into.qty

    def clear(self, scope="all"):
        gone = [key for key, line in self.lines.items()
                if scope == "all" or line.checked == (scope == "checked")]
        for key in gone:
            self.remove(key)

    def document(self, lines):
        """A whole cart is written: [(key, quantity, fields)]."""
        for key, qty, fields in lines:
            self.set(key, qty, **fields)
        for key in set(self.lines) - {key for key, qty, _ in lines if qty}:
            del self.lines[key]
        self.wrote()

    def forget(self):
        if not self.exists() and not self.moved:
            raise Refused("NF")
        self.lines, self.currency, self.made, self.moved = {}, "", False, False
        self.changed = True

    def touch(self):
        if not self.exists():
            raise Refused("NF")
        self.changed = True

    # ---- two carts ----

    def absorb(self, source, policy):
        """Makes `source` part of this cart; (lines skipped, lines cut)."""
        if not source.lines:
            return 0, 0
        if source.currency and self.currency not in ("", source.currency):
            raise Refused("CURRENCY")
        skipped, cut, self.changed = 0, 0, False
        if policy != "dst" or not self.lines:
            if policy == "replace":
                self.clear()
            new = [key for key in source.lines if key not in self.lines]
            skipped = max(len(self.lines) + len(new) - self.lines_max, 0)
            for key, line in source.lines.items():
                if key not in new[:skipped]:
                    cut += self.absorb_line(key, copy(line), policy)
        if self.changed:
            self.version += 1
            self.currency = self.currency or source.currency
        source.forget()
        source.version, source.moved = source.version + 1, True
        return skipped, cut

    def absorb_line(self, key, line, policy):
        """1 when not all of it fits."""
        there = self.lines.get(key)
        wanted = line.qty + there.qty if there and policy == "sum" else line.qty
        line.qty = min(wanted, self.qty_max)
        lost = line.qty < wanted or len(line.ext) > self.ext_max
        if there and policy != "src":
            lost = line.qty < wanted
            if line.qty > there.qty:
                there.qty = line.qty
                there.give(keep_price=True, price=line.price,
                           checked=there.checked or line.checked)
                self.wrote()
        elif there:
            self.wrote()
            there.qty = line.qty
            there.give(price=line.price, shop=line.shop, checked=line.checked,
                       ext=b"" if len(line.ext) > self.ext_max else line.ext)
        else:
            self.wrote()
            line.ext = b"" if len(line.ext) > self.ext_max else line.ext
            self.lines[key] = line
        return int(lost)

    # ---- what is seen ----

    def qty(self):
        return sum(line.qty for line in self.lines.values())

    def shown(self):
        """The document without what no model can know; None when there is no cart."""
        if not self.exists():
            return None
        checked = [line for line in self.lines.values() if line.checked]
        sums = {"currency": self.currency or None, "lines": [], "count": len(self.lines),
                "qty": self.qty(), "amount": amount_of(self.lines.values()),
                "checked_qty": sum(line.qty for line in checked),
                "checked_amount": amount_of(checked)}
        for key, line in self.lines.items():
            shown = {"line": key, "sku": key.split(";")[0], "qty": line.qty, "price": line.price,
                     "checked": line.checked, "shop": line.shop or None}
            try:
                shown["ext"] = line.ext.decode() or None
            except UnicodeDecodeError:
                shown["ext_b64"] = base64.b64encode(line.ext).decode()
            sums["lines"].append(without_none(shown))
        return without_none(sums)


def without_none(members):
    return {name: value for name, value in members.items() if value is not None}


def without_volatile(document):
    """The daemon's document, as `shown` has it."""
    if document is None:
        return None
    document = {name: value for name, value in document.items() if name not in VOLATILE}
    document["lines"] = [{name: value for name, value in line.items() if name not in VOLATILE}
                         for line in document["lines"]]
    return document

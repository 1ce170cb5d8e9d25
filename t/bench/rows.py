"""rows: what is measured. A row is one kind of work, ours beside a peer's, with its target."""
from collections import namedtuple

# protocol and work are those of `load`; keys: "items" or "carts".
Side = namedtuple("Side", "server protocol work")

# name: what --only selects, alone or by its group. settle: work is put off behind the reply, wait
# for it. rate: open loop at this part of the slower side's peak. seconds: a run takes so long.
# target: the ratio ours/peer of CPU per operation that must not be exceeded.
Row = namedtuple("Row", "group name ours peer depth keys settle rate seconds target",
                 defaults=(False, None, None, None))

# group: text, selected when nothing is named
GROUPS = {
    "floor": ("null server: sockets and events, nothing else", True),
    "get": ("GET, always a hit", True),
    "set": ("SET", True),
    "cadd-ram": ("cadd at ram / HINCRBY, appendonly no", True),
    "cadd-os": ("cadd at os / HINCRBY, appendfsync everysec", True),
    "cadd-sync": ("cadd at sync / HINCRBY, appendfsync always", True),
    "cget": ("cget as JSON / HGETALL of JSON lines", True),
    "token": ("cadd with a token at os / HINCRBY, appendfsync everysec", False),
    "latency": ("open loop at half of the peak: compare p99", False),
    "steady": ("60 s of cadd with L2 and SQLite / HINCRBY, everysec with rewrites", False),
    "memory": ("resident bytes", False),
}

GET = (Side("cartd-os", "text", "get"), Side("memcached", "text", "get"))
SET = (Side("cartd-os", "text", "set"), Side("memcached", "text", "set"))
ADD_RAM = (Side("cartd-ram", "text", "cadd"), Side("redis-none", "resp", "hincrby"))
ADD_OS = (Side("cartd-os", "text", "cadd"), Side("redis-everysec", "resp", "hincrby"))
ADD_SYNC = (Side("cartd-sync", "text", "cadd"), Side("redis-always", "resp", "hincrby"))
ADD_TOKEN = (Side("cartd-os", "text", "cadd-token"), Side("redis-everysec", "resp", "hincrby"))
ADD_ALL = (Side("cartd-l3", "text", "cadd"), Side("redis-rewrites", "resp", "hincrby"))
CGET = (Side("cartd-os", "text", "cget"), Side("redis-everysec", "resp", "hgetall"))
FLOOR = (Side("null", "null", "line"), None)


def pair(group, sides, keys, targets, settle=False, seconds=None):
    return [Row(group, f"{group}-d{depth}", *sides, depth, keys, settle, None, seconds, target)
            for depth, target in zip((1, 16), targets)]


def half(name, sides, keys):
    return Row("latency", f"{name}-half", *sides, 16, keys, False, 0.5, 5)


ROWS = [
    *pair("floor", FLOOR, "items", (None, None)),
    *pair("get", GET, "items", (1.00, 0.85)),
    *pair("set", SET, "items", (1.00, 0.85)),
    *pair("cadd-ram", ADD_RAM, "carts", (None, None), settle=True),
    *pair("cadd-os", ADD_OS, "carts", (0.95, 0.75), settle=True),
    *pair("cadd-sync", ADD_SYNC, "carts", (0.90, 0.70), settle=True),
    *pair("cget", CGET, "carts", (1.00, 0.90)),
    *pair("token", ADD_TOKEN, "carts", (None, None), settle=True),
    half("get", GET, "items"),
    half("set", SET, "items"),
    half("cadd-os", ADD_OS, "carts"),
    half("cadd-sync", ADD_SYNC, "carts"),
    *pair("steady", ADD_ALL, "steady carts", (1.1, 1.4), settle=True, seconds=60),
]

# name, ours, peer, keys, target. The work is the one whose preload writes what is weighed.
Weight = namedtuple("Weight", "name ours peer keys target")
WEIGHTS = [
    Weight("cart of 10 lines", Side("cartd-os", "text", "cget"),
           Side("redis-everysec", "resp", "hgetall"), 200_000, 0.55),
    Weight("item of 100 bytes", Side("cartd-os", "text", "get"), Side("memcached", "text", "get"),
           2_000_000, 1.00),
]


def select(only):
    """(rows, whether memory) of a comma-separated list of groups and rows; None = the usual."""
    names = only.split(",") if only else [name for name, (_, usual) in GROUPS.items() if usual]
    known = set(GROUPS) | {row.name for row in ROWS}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SystemExit(f"bench: no such row: {', '.join(unknown)}; see --list")
    return [row for row in ROWS if row.group in names or row.name in names], "memory" in names


def list_rows():
    for group, (text, usual) in GROUPS.items():
        names = " ".join(row.name for row in ROWS if row.group == group)
        print(f"{group:10} {'' if usual else '(only by name) '}{text}\n{'':10} {names}")

"""rows: what is measured. A row is one kind of work, ours beside a peer's, with its target."""
from collections import namedtuple

# protocol and work are those of `load`. keys, lines: where they are not those of the row.
Side = namedtuple("Side", "server protocol work keys lines", defaults=(None, None))

# name: what --only selects, alone or by its group. settle: work is put off behind the reply; wait
# for it, and show what it took. rate: open loop at this part of the slower side's peak. seconds: a
# run takes so long. target: the ratio ours/peer of `metric` that must not be exceeded; cpu_us_op is
# what was used while the run went on, total_us_op has what was put off, too.
Row = namedtuple("Row", "group name ours peer depth keys settle rate seconds target metric",
                 defaults=(False, None, None, None, "cpu_us_op"))

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
    "protocols": ("GET and SET in meta and binary", False),
    "growth": ("with ten million items or carts / with the usual number", False),
    "workers": ("CPU per operation of two workers / of one, on one core", False),
    "memory": ("resident bytes of a cart, of an item", False),
    "hits": ("hit ratio at equal memory, the application fills what it misses", False),
}

GET = (Side("cartd-os", "text", "get"), Side("memcached", "text", "get"))
SET = (Side("cartd-os", "text", "set"), Side("memcached", "text", "set"))
ADD_RAM = (Side("cartd-ram", "text", "cadd"), Side("redis-none", "resp", "hincrby"))
ADD_OS = (Side("cartd-os", "text", "cadd"), Side("redis-everysec", "resp", "hincrby"))
ADD_SYNC = (Side("cartd-sync", "text", "cadd"), Side("redis-always", "resp", "hincrby"))
ADD_TOKEN = (Side("cartd-os", "text", "cadd-token"), Side("redis-everysec", "resp", "hincrby"))
ADD_ALL = (Side("cartd-l3", "text", "cadd"), Side("redis-rewrites", "resp", "hincrby"))
CGET = (Side("cartd-os", "text", "cget"), Side("redis-everysec", "resp", "hgetall"))
META_GET, META_SET, BINARY_GET, BINARY_SET = (
    tuple(Side(server, protocol, work) for server in ("cartd-os", "memcached"))
    for protocol in ("meta", "binary") for work in ("get", "set"))
GROWN_GET = (Side("cartd-large", "text", "get", "many"), Side("cartd-os", "text", "get"))
GROWN_ADD = (Side("cartd-large", "text", "cadd", "many", 1),
             Side("cartd-os", "text", "cadd", None, 1))
TWO_GET, TWO_SET, TWO_ADD = ((Side("cartd-2", "text", work), Side("cartd-os", "text", work))
                             for work in ("get", "set", "cadd"))
FLOOR = (Side("null", "null", "line"), None)


def pair(group, sides, keys, targets, settle=False, seconds=None, metric="cpu_us_op"):
    return [Row(group, f"{group}-d{depth}", *sides, depth, keys, settle, None, seconds, target,
                metric)
            for depth, target in zip((1, 16), targets)]


def half(name, sides, keys):
    return Row("latency", f"{name}-half", *sides, 16, keys, False, 0.5, 5, 1.0, "p99_us")


def at_depth_16(group, name, sides, keys, target=None, settle=False):
    return Row(group, name, *sides, 16, keys, settle, None, None, target)


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
    at_depth_16("protocols", "meta-get", META_GET, "items", 0.85),
    at_depth_16("protocols", "meta-set", META_SET, "items", 0.85),
    at_depth_16("protocols", "binary-get", BINARY_GET, "items", 0.85),
    at_depth_16("protocols", "binary-set", BINARY_SET, "items", 0.85),
    at_depth_16("growth", "get-grown", GROWN_GET, "items", 1.3),
    at_depth_16("growth", "cadd-grown", GROWN_ADD, "carts", 1.3, True),
    at_depth_16("workers", "get-2", TWO_GET, "items", 1.11),
    at_depth_16("workers", "set-2", TWO_SET, "items", 1.11),
    at_depth_16("workers", "cadd-2", TWO_ADD, "carts", 1.11, True),
    *pair("steady", ADD_ALL, "steady carts", (1.1, 1.4), settle=True, seconds=60,
          metric="total_us_op"),
]

# Resident bytes per key. The work is the one whose preload writes what is weighed.
Weight = namedtuple("Weight", "group name ours peer keys target")
WEIGHTS = [
    Weight("memory", "memory-cart", Side("cartd-os", "text", "cget"),
           Side("redis-everysec", "resp", "hgetall"), 200_000, 0.55),
    Weight("memory", "memory-item", Side("cartd-os", "text", "get"),
           Side("memcached", "text", "get"), 2_000_000, 1.00),
]

# Hit ratio; dist and scan are options of `load`. target: ours/peer, not to be less.
Hits = namedtuple("Hits", "group name ours peer keys dist scan target")
SMALL = (Side("cartd-small", "text", "get"), Side("memcached-small", "text", "get"))
HITS = [
    Hits("hits", "hits-zipf-0.9", *SMALL, 2_000_000, "zipf:0.9", None, 1.00),
    Hits("hits", "hits-zipf-1.0", *SMALL, 2_000_000, "zipf:1.0", None, 1.00),
    Hits("hits", "hits-scan", *SMALL, 2_000_000, "zipf:0.9", 0.3, 1.05),
]


def select(only):
    """(rows, weights, hits) of a comma-separated list of groups and rows; None = the usual."""
    names = only.split(",") if only else [name for name, (_, usual) in GROUPS.items() if usual]
    tables = (ROWS, WEIGHTS, HITS)
    known = set(GROUPS) | {row.name for rows in tables for row in rows}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SystemExit(f"bench: no such row: {', '.join(unknown)}; see --list")
    return tuple([row for row in rows if row.group in names or row.name in names]
                 for rows in tables)


def list_rows():
    for group, (text, usual) in GROUPS.items():
        names = " ".join(row.name for row in (*ROWS, *WEIGHTS, *HITS) if row.group == group)
        print(f"{group:10} {'' if usual else '(only by name) '}{text}\n{'':10} {names}")

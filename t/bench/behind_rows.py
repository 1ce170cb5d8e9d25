"""behind_rows: the rows of behind_bench: what is measured, with its target."""
import sqlite3
import subprocess
import time
from collections import namedtuple
from statistics import median

from behind_rig import SCHEMA, measure_rate
import databases

CARTS, LINES = 200_000, 10
CLIENTS = 32
PEER_SECONDS = 15
HOT_CARTS, HOT_OPS, HOT_RATE = 10_000, 1_000_000, 20_000
STALL_CARTS, STALL_RATE, STALL_SECONDS, STALL_TURNS = 20_000, 5000, 8, 6

Row = namedtuple("Row", "name database measure limit target what")

# The statements of a shop that writes its tables itself, one transaction each.
COLUMNS = {"cart": "cart_id, state, currency, version, cas, lines_count, qty, amount, checked_qty, "
                   "checked_amount, updated_at, rev, image",
           "cart_line": "cart_id, line, sku, qty, checked, add_price, shop, ext, added_at, "
                        "updated_at"}
CHANGED = {"cart": ("version", "cas", "qty", "amount", "checked_qty", "checked_amount",
                    "updated_at", "rev", "image"),
           "cart_line": ("qty", "checked", "add_price", "updated_at")}
KEYS = {"cart": "cart_id", "cart_line": "cart_id, line"}


def upsert(table, values, new):
    """`new` is how the dialect names a new value."""
    sets = ", ".join(f"{name} = {new.format(name)}" for name in CHANGED[table])
    head = f"INSERT INTO {table} ({COLUMNS[table]}) VALUES ({values}) "
    if new.startswith("VALUES"):
        return f"{head} ON DUPLICATE KEY UPDATE {sets}"
    return f"{head} ON CONFLICT ({KEYS[table]}) DO UPDATE SET {sets}"


def statements(dialect, image_bytes):
    """(upsert of a cart, upsert of a line) with random keys among those of the drain."""
    key, line, image, now, new = {
        "postgresql": ("'peer:' || (random() * %d)::int" % CARTS,
                       "'SKU-' || (random() * %d)::int" % (LINES - 1),
                       f"decode(repeat('ab', {image_bytes}), 'hex')", "now()", "EXCLUDED.{}"),
        "mysql": ("CONCAT('peer:', FLOOR(RAND() * %d))" % CARTS,
                  "CONCAT('SKU-', FLOOR(RAND() * %d))" % LINES,
                  f"REPEAT('a', {image_bytes})", "NOW(3)", "VALUES({})"),
        "sqlite": ("'peer:' || abs(random() %% %d)" % CARTS,
                   "'SKU-' || abs(random() %% %d)" % LINES,
                   f"zeroblob({image_bytes})", "'2026-01-01T00:00:00.000Z'", "excluded.{}"),
    }[dialect]
    cart = upsert("cart", f"{key}, 0, 'EUR', 1, '1', 10, 10, 500, 10, 500, {now}, 1, {image}", new)
    return cart, upsert("cart_line", f"{key}, {line}, 'SKU', 1, 1, 500, '', '', {now}, {now}", new)


# ---- the peers: rows per second of one upsert a transaction -------------------------------------

def run_pgbench(rig, image_bytes):
    words = []
    for sql, weight in zip(statements("postgresql", image_bytes), (1, LINES)):
        path = rig.folder / f"upsert-{weight}.sql"
        path.write_text(sql + ";\n")
        words += ["-f", f"{path}@{weight}"]
    done = subprocess.run(
        ["pgbench", "-n", "-M", "prepared", "-c", str(CLIENTS), "-j", "2", "-T",
         str(PEER_SECONDS), *words, rig.server.l3_url()],
        capture_output=True, text=True, check=True)
    [rate] = [line.split()[2] for line in done.stdout.splitlines() if line.startswith("tps")]
    return float(rate)


def run_slap(rig, image_bytes):
    cart, line = statements("mysql", image_bytes)
    path = rig.folder / "upsert.sql"
    path.write_text(";\n".join([cart, *[line] * LINES]))
    rate, queries = 0, CLIENTS * 200
    while not rate:
        began = time.monotonic()
        subprocess.run(
            ["mariadb-slap", "--no-defaults", "--host=127.0.0.1", f"--port={rig.database.port}",
             f"--user={databases.ADMIN}", f"--password={databases.PASSWORD}", "--no-drop",
             f"--create-schema={SCHEMA}", f"--concurrency={CLIENTS}", "--delimiter=;",
             f"--query={path}", f"--number-of-queries={queries}"],
            capture_output=True, text=True, check=True)
        seconds = time.monotonic() - began
        if seconds > PEER_SECONDS / 2:
            rate = queries / seconds
        queries = int(queries * max(1.5, PEER_SECONDS / seconds))
    return rate


def run_sqlite(rig, image_bytes):
    cart, line = statements("sqlite", image_bytes)
    connection = sqlite3.connect(rig.server.sqlite, isolation_level=None)
    connection.execute("PRAGMA synchronous=FULL")
    mix, count = [cart, *[line] * LINES], 0
    end = time.monotonic() + PEER_SECONDS
    while time.monotonic() < end:
        connection.execute(mix[count % len(mix)])
        count += 1
    connection.close()
    return count / PEER_SECONDS


PEERS = {"postgresql": (run_pgbench, "pgbench, 32 clients"),
         "mysql": (run_slap, "mariadb-slap, 32 clients"),
         "sqlite": (run_sqlite, "one-row transactions")}


# ---- (a) drain ---------------------------------------------------------------------------------

def fill_while_down(rig):
    """All carts in L2, none of them in the database."""
    carts = rig.count(rig.part, CARTS)
    rig.start()
    rig.add_one("cart:first")  # so that the tables are there
    hold = None if rig.database else rig.server.hold_lock()
    if rig.database:
        rig.database.stop()
    rig.ask("--work", "cadd", "--preload", "--keys", carts, "--cart-lines", LINES)
    rig.wait(lambda: rig.stat("drain_pending") == 0 and rig.stat("behind_queue") >= carts,
               "L2 has all")
    return carts, hold


def drain(rig):
    carts, hold = fill_while_down(rig)
    if hold:
        hold.close()
    else:
        rig.database.start()
    done, seconds = measure_rate(lambda: rig.stat("behind_flushed"),
                                 lambda: rig.stat("behind_queue") == 0)
    ours = done * (1 + LINES) / seconds
    [row] = rig.server.sql("SELECT count(*) AS lines_count FROM cart_line")
    assert row["lines_count"] == 1 + carts * LINES, row
    [row] = rig.server.sql("SELECT avg(length(image)) AS bytes FROM cart")
    assert rig.server.stop() == 0
    run, name = PEERS[rig.kind]
    peer = run(rig, int(row["bytes"]))
    return ours / peer, (f"{ours:.0f} rows/s draining {carts} carts of {LINES} lines, "
                         f"{peer:.0f} rows/s by {name}")


KINDS = ("sqlite", "postgresql", "mysql")
DRAIN_TARGETS = {"sqlite": 20, "postgresql": 6, "mysql": 6}

ROWS = [Row(f"drain-{kind}", kind, drain, "at least", DRAIN_TARGETS[kind],
            f"rows/s of a drain / of one upsert at a time, {PEERS[kind][1]}") for kind in KINDS]


# ---- (b) hot carts -----------------------------------------------------------------------------

def hot(rig):
    """Rows of both tables: a cart has one line, so each time it is written that is two."""
    carts, ops = rig.count(rig.part, HOT_CARTS), rig.count(rig.part, HOT_OPS)
    rig.start()
    work = ("--work", "cadd", "--keys", carts, "--cart-lines", 1)
    rig.ask(*work, "--preload")
    rig.server.wait_caught_up()
    before = rig.stat("behind_flushed")
    rig.ask(*work, "--rate", HOT_RATE, "--seconds", ops / HOT_RATE, "--depth", 16)
    rig.server.wait_caught_up()
    rows = 2 * (rig.stat("behind_flushed") - before)
    return rows / ops, f"{rows} rows written for {ops} cadd at {HOT_RATE} a second"


# ---- (c) a database that does not answer -------------------------------------------------------

def stall(rig):
    """Open loop at a rate that both can hold; healthy and stalled in turns."""
    rig.start()
    rig.ask("--work", "cadd", "--preload", "--keys", STALL_CARTS, "--cart-lines", LINES)
    rig.server.wait_caught_up()
    ratios, pairs = [], []
    for turn in range(STALL_TURNS):
        p99 = {}
        for state in (("healthy", "stalled"), ("stalled", "healthy"))[turn % 2]:
            if state == "stalled":
                rig.stall()
            try:
                p99[state] = float(rig.ask(
                    "--work", "cadd", "--keys", STALL_CARTS, "--cart-lines", LINES, "--rate",
                    STALL_RATE, "--seconds", STALL_SECONDS, "--seed", turn)["p99_us"])
            finally:
                if state == "stalled":
                    assert rig.stat("behind_age_ms") > STALL_SECONDS * 500, "it was stalled"
                    rig.go_on()
            rig.server.wait_caught_up()
        ratios.append(p99["stalled"] / p99["healthy"])
        pairs.append(f"{p99['stalled']:.0f}/{p99['healthy']:.0f}")
    return median(ratios), f"middle of {STALL_TURNS} turns; p99 in us: {' '.join(pairs)}"


ROWS += [Row(f"hot-{kind}", kind, hot, "at most", 0.05,
             "rows written / cadd, to 10,000 carts") for kind in KINDS]
ROWS += [Row(f"stall-{kind}", kind, stall, "at most", 1.2,
             "p99 of cadd with the database stalled / with it healthy") for kind in KINDS]

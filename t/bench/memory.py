"""memory: what is measured of memory: resident bytes of a key, and hits at equal memory."""
from servers import Broken, Server

QUIET_SECONDS = 1.2
SETTLE_SECONDS_MAX = 300
HIT_DEPTH = 16
WARM_TIMES = 2  # as many requests as there are keys, before it counts


def weigh(bench, weight, side):
    """Resident bytes per key: what the process grew by, everything counted."""
    keys = int(weight.keys * bench.pace["part"])
    server = Server(bench, side.server)
    try:
        bench.ask(server, side, "--preload", keys=keys)
        server.settle(QUIET_SECONDS, SETTLE_SECONDS_MAX)
        grown = server.rss_bytes() - server.rss_empty
    finally:
        server.stop()
    return {"bytes_key": grown / keys, "work": side.work}


def count_hits(bench, hits, side):
    """Part of the requests that found something, when the cache has been full for a while."""
    keys = int(hits.keys * bench.pace["part"])
    how = ["--fill", "--depth", HIT_DEPTH, "--dist", hits.dist]
    if hits.scan:
        how += ["--scan", hits.scan]
    server = Server(bench, side.server)
    try:
        bench.ask(server, side, *how, "--seed", 1, "--ops", WARM_TIMES * keys, keys=keys)
        result = bench.ask(server, side, *how, "--seed", 2, "--ops", keys, keys=keys)
    finally:
        server.stop()
    result["hit_ratio"] = 1 - result["misses"] / result["ops"]
    return result


def run_pair(bench, row, column, take, digits):
    """One line: `column` of what `take` finds of ours and of the peer."""
    missing = [bench.missing(side.server) for side in (row.ours, row.peer)]
    if any(missing):
        print(f"{row.name}: skipped, no {missing[0] or missing[1]}")
        return
    values = []
    try:
        for side in (row.ours, row.peer):
            result = take(bench, row, side)
            bench.raw.append(dict(result, row=row.name, server=side.server, round=1))
            values.append(result[column])
    except Broken as problem:
        print(f"{row.name}: {problem}", flush=True)
        bench.broken = True
        return
    ratio = values[0] / values[1]
    good = ratio <= row.target if column == "bytes_key" else ratio >= row.target
    bench.summary.append((row.name, row.peer.server, column, ratio, row.target))
    print(f"{row.name:20}{values[0]:9.{digits}f}{values[1]:9.{digits}f}{ratio:7.2f}"
          f"{row.target:6.2f} {'ok' if good else '--'}   {row.peer.server}", flush=True)


def run_weights(bench, weights):
    if weights:
        print(f"\n{'resident bytes':20}{'cartd':>9}{'peer':>9}{'ratio':>7}{'target':>9}")
    for weight in weights:
        run_pair(bench, weight, "bytes_key", weigh, 0)


def run_hits(bench, rows):
    if rows:
        print(f"\n{'hit ratio':20}{'cartd':>9}{'peer':>9}{'ratio':>7}{'target':>9}")
    for row in rows:
        run_pair(bench, row, "hit_ratio", count_hits, 4)

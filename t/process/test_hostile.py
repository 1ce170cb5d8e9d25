"""Hostile input: whatever comes, it gets what the protocol says, and costs nobody else a thing.

Each case is one attack on the same daemon; World.check() says what must hold behind each.
"""
import hostile_attacks
import hostile_rows
import pytest
from daemon import Server, instrumented
from hostile_rows import CLOSED, NOOP_PROBE, OPEN, PROBE, PROBE_ANSWER, PROBE_OPAQUE
from hostile_world import World, raise_own_fd_limit, read_all, scaled, send_all

CONNS_MAX = 4096
ROUNDS = scaled(10, 200)
LEAK_BYTES = 256  # for each connection; whatever belongs to one is larger


@pytest.fixture(name="world", scope="module")
def start_world(tmp_path_factory):
    raise_own_fd_limit()
    server = Server(tmp_path_factory.mktemp("hostile"))
    try:
        server.start(c=CONNS_MAX)
        world = World(server)
        yield world
        world.end()
        assert server.stop() == 0, server.log_end()
    finally:
        if server.process:
            server.process.kill()


@pytest.fixture(name="harmless", autouse=True)
def check_world(world):
    yield
    world.check()


def named(rows):
    rows = list(rows)
    assert len({row.name for row in rows}) == len(rows)
    return pytest.mark.parametrize("row", rows, ids=[row.name for row in rows])


def send_row(world, row, probe):
    """The whole answer; behind it that of the probe, where the connection goes on."""
    with world.client() as client:
        send_all(client, hostile_rows.as_bytes(row.sends) + (probe if row.end == OPEN else b""))
        if row.end != CLOSED:
            client.half_close()
        return read_all(client)


@named(hostile_rows.text_rows())
def test_text_gets_its_answer(world, row):
    got = send_row(world, row, PROBE)
    if row.end == OPEN:
        assert got.endswith(PROBE_ANSWER), got[-200:]
        got = got[:-len(PROBE_ANSWER)]
    hostile_rows.check_lines(got, row.answer)


@named(hostile_rows.BINARY_ROWS)
def test_a_frame_gets_its_answer(world, row):
    found = hostile_rows.frames_of(send_row(world, row, NOOP_PROBE))
    if row.end == OPEN:
        assert found and found[-1].opaque == PROBE_OPAQUE, found
        found.pop()
    assert [(each.opcode, each.status) for each in found] == row.answer
    assert all(each.opaque == hostile_rows.OPAQUE for each in found)


@pytest.mark.parametrize("attack", hostile_attacks.ATTACKS, ids=lambda attack: attack.title)
def test_an_attack_comes_to_nothing(world, attack):
    attack(world)


def test_all_of_it_many_times_over_leaves_nothing(world):
    """What a single case may hide in the noise of the C library's heap, a leak of a few bytes for
    each connection or each error, adds up."""
    rows = [row for row in hostile_rows.text_rows() if len(row.sends) < 20000]
    rows += [row for row in hostile_rows.BINARY_ROWS if len(row.sends) < 20000]

    def one_turn():
        for row in rows:
            send_row(world, row, b"")
    one_turn()
    before = world.process.rss()
    for _ in range(ROUNDS):
        one_turn()
    grown = world.process.rss() - before
    each = len(rows) * ROUNDS
    assert instrumented() or grown < each * LEAK_BYTES, \
        f"{grown} bytes more after {each} connections"

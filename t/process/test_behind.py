"""Behind the reply the database becomes what the carts are; the stats say truly how far it is."""
import books
from waiting import wait_until

SQL_SECONDS = 2
BUSY_ROUNDS = 40


def test_sql_shows_each_change_within_two_seconds(server):
    server.start()
    with server.client() as client:
        for command in ("cadd cart:u1 SKU-1;red 2 P1999 UEUR Gs1 Eb3B0aW9ucw==",
                        "cadd cart:u1 SKU-2 1", "cset cart:u1 SKU-1;red 7 P5", "crem cart:u1 SKU-2",
                        "cadd cart:u1 SKU-1;red -7", "cadd cart:u1 SKU-3 1 T3600", "cdel cart:u1",
                        "cadd cart:u1 SKU-4 1"):
            assert client.cmd(command) == "HD"
            books.check(server, ["cart:u1"], SQL_SECONDS)


def test_stats_that_say_all_is_written_are_right(server):
    server.start()
    keys = [f"cart:u{number}" for number in range(50)]
    with server.client() as client:
        for count in range(1, 9):
            client.send("".join(f"cadd {key} SKU-1 1 Dram\r\n" for key in keys))
            assert client.lines(len(keys)) == ["HD"] * len(keys)
            server.wait_caught_up()
            rows = server.sql("SELECT DISTINCT qty FROM cart")
            assert rows == [{"qty": count}], f"{rows}, stats say all of {count} is written"


def test_while_clients_are_busy_more_changes_go_into_one_write(server):
    server.start(m=256)
    keys = [f"cart:u{number}" for number in range(20000)]
    request = "".join(f"cadd {key} SKU-1 1 Dram q\r\n" for key in keys) + "mn\r\n"
    with server.client() as client:
        for _ in range(BUSY_ROUNDS):
            client.send(request)
            assert client.line() == "MN"
        server.wait_caught_up()
        written = client.stat("behind_flushed")
    assert len(keys) <= written <= len(keys) * BUSY_ROUNDS / 4
    assert server.sql("SELECT DISTINCT qty FROM cart") == [{"qty": BUSY_ROUNDS}]


def test_carts_work_while_the_database_is_locked(server):
    server.start()
    keys = [f"cart:u{number}" for number in range(100)]
    with server.client() as client:
        for key in keys:
            assert client.cmd(f"cadd {key} SKU-1 1") == "HD"
        books.check(server, keys)
        other = server.hold_lock()
        for key in keys:
            assert client.cmd(f"cadd {key} SKU-1 1 x") == "HD x2"
        wait_until(lambda: client.stat("behind_age_ms") > 500, "the backlog is told")
        wait_until(lambda: client.stat("behind_queue") == len(keys), "all of it is told")
        other.close()
    carts = books.check(server, keys)
    assert {cart["qty"] for cart in carts.values()} == {2}


def test_a_cart_that_sql_had_is_marked_anew_when_it_changes(server):
    """L2 knows after a kill that SQL lacks the second change."""
    server.start()
    with server.client() as client:
        writes = client.stat("l2_writes")
        assert client.cmd("cadd cart:u0 SKU-1 1") == "HD"
        wait_until(lambda: client.stat("l2_writes") == writes + 2, "L2 has the cart, then no mark")
        other = server.hold_lock()
        assert client.cmd("cadd cart:u0 SKU-1 1") == "HD"
        wait_until(lambda: client.stat("l2_writes") > writes + 2, "L2 has the change")
        wait_until(lambda: client.stat("drain_pending") == 0, "and the checkpoint behind it")
    server.kill9()
    other.close()
    server.start()
    books.check(server, ["cart:u0"])
    assert server.stats()["replayed"] == 0


def test_a_kill_while_the_database_is_locked_loses_nothing(server):
    server.start()
    keys = [f"cart:u{number}" for number in range(100)]
    with server.client() as client:
        assert client.cmd("cadd cart:u0 SKU-1 1") == "HD"
    books.check(server, ["cart:u0"])
    other = server.hold_lock()
    with server.client() as client:
        for key in keys:
            assert client.cmd(f"cadd {key} SKU-2 2") == "HD"
        wait_until(lambda: client.stat("dirty_carts") == 0, "L2 has it and the journal need not")
    server.kill9()
    other.close()
    server.start()
    carts = books.check(server, keys)
    assert {key: cart["qty"] for key, cart in carts.items()} == {
        key: 3 if key == "cart:u0" else 2 for key in keys}


def test_carts_are_shared_out_among_connections(server):
    server.start(l3_connections=4, l3_batch=10)
    keys = [f"cart:u{number}" for number in range(400)]
    with server.client() as client:
        for line in ("SKU-1", "SKU-2"):
            client.send("".join(f"cadd {key} {line} 1 Dram q\r\n" for key in keys) + "mn\r\n")
            assert client.line() == "MN"
            server.wait_caught_up()
    books.check(server, keys)
    stats = server.stats()
    assert stats["behind_conflicts"] == 0 and stats["behind_errors"] == 0
    assert stats["behind_batches"] >= 2 * len(keys) / 10
    with server.client() as client:
        told = client.stats("behind")
    if server.database is None:
        assert told["behind_connections"] == "1"
        return
    assert told["behind_connections"] == "4"
    written = [int(told[f"behind_{number}_flushed"]) for number in range(1, 5)]
    assert sum(written) == stats["behind_flushed"] == 2 * len(keys)
    assert min(written) > len(keys) / 8  # a quarter of 2 * 400, but for chance


def test_another_number_of_connections_loses_nothing(server):
    server.start(l3_connections=1)
    keys = [f"cart:u{number}" for number in range(100)]
    with server.client() as client:
        assert client.cmd("cadd cart:u0 SKU-1 1") == "HD"
    books.check(server, ["cart:u0"])
    other = server.hold_lock()
    with server.client() as client:
        for key in keys:
            assert client.cmd(f"cadd {key} SKU-2 2") == "HD"
        wait_until(lambda: client.stat("dirty_carts") == 0, "L2 has it and the journal need not")
    server.kill9()
    other.close()
    server.start(l3_connections=3)
    books.check(server, keys)


def test_l_is_0_only_when_sql_has_all(server):
    """Also while the change waits in memory, where write-behind does not know of it yet."""
    server.start(l3_delay=500)

    def waits_ms(client):
        status, flag = client.cmd("crem cart:u1 SKU-none l").split()
        assert status == "HD" and flag[0] == "l"
        return int(flag[1:])

    with server.client() as client:
        for qty in (1, 2):
            assert int(client.cmd("cadd cart:u1 SKU-1 1 l").removeprefix("HD l")) >= 1
            wait_until(lambda: waits_ms(client) == 0, "SQL has all")
            assert [row["qty"] for row in server.sql("SELECT qty FROM cart")] == [qty]


def test_a_cart_waits_its_delay_for_more_changes(server):
    server.start(l3_delay=3000)
    with server.client() as client:
        assert client.cmd("cadd cart:u1 SKU-1 1") == "HD"
        wait_until(lambda: client.stat("behind_age_ms") > 1500, "the cart waits")
        assert client.cmd("cadd cart:u1 SKU-1 1") == "HD"
        server.wait_caught_up()
        assert client.stat("behind_flushed") == 1
    assert [row["qty"] for row in server.sql("SELECT qty FROM cart")] == [2]
def test_a_mark_outlives_the_write_of_an_older_state(server):
    """SQL gets the first state while L2 has the second already; what says so is not taken away."""
    server.start()
    with server.client() as client:
        assert client.cmd("cset cart:u1 SKU-1 1") == "HD"
        books.check(server, ["cart:u1"])
        other = server.hold_lock()
        assert client.cmd("cset cart:u1 SKU-1 2") == "HD"
        wait_until(lambda: client.stat("behind_age_ms") > 1500, "its write waits for the lock")
        assert client.cmd("cset cart:u1 SKU-1 3") == "HD"
        wait_until(lambda: client.stat("dirty_carts") == 0, "L2 has the second state")
        other.close()
        wait_until(lambda: server.sql("SELECT qty FROM cart")[0]["qty"] > 1, "SQL has the first")
        other = server.hold_lock()
        assert client.cmd("cset cart:u2 SKU-1 1") == "HD"
        wait_until(lambda: client.stat("dirty_carts") == 0, "L2 knows of that")
    server.kill9()
    other.close()
    server.start()
    carts = books.check(server, ["cart:u1", "cart:u2"])
    assert carts["cart:u1"]["qty"] == 3

"""cartctl: the operator's tool, and what it asks of the daemon: waiting for SQL, a new export."""
import subprocess

import books
import ctl
import pytest
from daemon import free_port
from waiting import wait_until
from wire import flags

WAITS_MAX = 1024  # TIER_SQL_WAITS_MAX


def keys_of(count):
    return [f"cart:u{number}" for number in range(count)]


def add_all(server, keys, qty=1):
    with server.client() as client:
        client.send("".join(f"cadd {key} SKU-1 {qty} P100\r\n" for key in keys))
        assert client.lines(len(keys)) == ["HD"] * len(keys)


# ---- the program ----

@pytest.mark.parametrize("arguments, word", [
    ([], "no command"), (["dance"], "no command"), (["wait", "cart:1"], "usage"),
    (["wait", "cart:1", "x"], "no version"), (["resync", "-t", "1"], "-t"),
    (["wait", "cart:1", "1", "-t", "x"], "--timeout"), (["stats", "a", "b"], "usage"),
    (["-u", "x", "stats"], "belong together"), (["--what"], "what"),
    (["wait", "cart:1\nflush_all", "1"], "end of a line")])
def test_wrong_use_is_told_in_one_line(server, arguments, word):
    server.start()
    status, lines, error = ctl.run(server, *arguments)
    assert (status, lines) == (ctl.USAGE, []) and word in error and "\n" not in error


def test_help_names_all_commands_and_options():
    done = subprocess.run([ctl.CARTCTL, "--help"], capture_output=True, text=True, check=True)
    for word in ("verify", "snapshot", "resync", "wait", "stats", "--server", "--user",
                 "--password-file", "--rate", "--timeout", "--repair"):
        assert word in done.stdout


def test_a_daemon_that_is_not_there_is_told():
    done = subprocess.run([ctl.CARTCTL, "-s", f"127.0.0.1:{free_port()}", "stats"],
                          capture_output=True, text=True, check=False)
    assert done.returncode == ctl.FAILED and "refused" in done.stderr.lower()


def test_stats_are_those_of_the_daemon(server):
    server.start()
    status, lines, _ = ctl.run(server, "stats")
    assert status == ctl.OK and "limit_maxbytes 67108864" in lines
    assert ctl.run(server, "stats", "settings")[0] == ctl.OK
    assert ctl.run(server, "stats", "nonsense")[0] == ctl.FAILED


def test_a_unix_socket_is_a_place(server, tmp_path):
    path = tmp_path / "socket"
    server.port = free_port()
    server.start(s=path)
    done = subprocess.run([ctl.CARTCTL, "-s", path, "stats"], capture_output=True, text=True,
                          check=False)
    assert done.returncode == ctl.OK and "curr_items 0" in done.stdout


def test_jobs_need_the_right_admin(server, tmp_path):
    for name in ("root", "shop"):
        (tmp_path / name).write_text(f"{name}-secret\n")
    (tmp_path / "config").write_text(
        "[user root]\npassword = root-secret\n"
        "[user shop]\npassword = shop-secret\nrights = read write\n")
    server.start(config=tmp_path / "config")

    def as_user(name, *arguments):
        return ctl.run(server, "-u", name, "-p", tmp_path / name, *arguments)

    assert ctl.run(server, "resync")[::2] == (ctl.FAILED, "cartctl: unauthenticated")
    assert as_user("root", "resync")[:2] == (ctl.OK, ["carts 0"])
    status, _, error = as_user("shop", "resync")
    assert status == ctl.FAILED and "DENIED" in error
    assert as_user("shop", "wait", "cart:1", 0)[0] == ctl.OK
    (tmp_path / "shop").write_text("wrong\n")
    status, _, error = as_user("shop", "stats")
    assert status == ctl.FAILED and "authentication failure" in error


# ---- wait ----

def test_wait_ends_when_sql_has_the_version(server):
    server.start()
    with server.client() as client:
        for _ in range(3):
            version = int(flags(client.cmd("cadd cart:u1 SKU-1 1 v"))["v"])
            status, lines, _ = ctl.run(server, "wait", "cart:u1", version)
            assert (status, lines) == (ctl.OK, [str(version)])
            assert server.sql("SELECT version FROM cart") == [{"version": version}]
    assert ctl.run(server, "wait", "cart:u1", 1)[1] == [str(version)]


def test_wait_is_over_in_time_and_says_what_there_is(server):
    server.start()
    add_all(server, ["cart:u1"])
    assert ctl.run(server, "wait", "cart:u1", 1)[0] == ctl.OK
    status, lines, error = ctl.run(server, "wait", "cart:u1", 2, "-t", 1)
    assert (status, lines) == (ctl.DIFFERS, []) and "version 1" in error


def test_many_wait_at_once_and_block_nobody(server):
    server.start(t=1)
    keys = keys_of(20)
    add_all(server, keys)
    server.wait_caught_up()
    lock = server.hold_lock()
    add_all(server, keys)
    clients = [server.client() for _ in range(3 * len(keys))]
    for number, client in enumerate(clients):
        client.send(f"cwait {keys[number % len(keys)]} 2 60000\r\nmn\r\n")
    with server.client() as other:
        wait_until(lambda: other.stat("sql_waiting") == len(clients), "all wait")
        assert other.cmd("cadd cart:x SKU-1 1") == "HD"
        lock.close()
        for client in clients:
            assert client.lines(2) == ["HD v2", "MN"]
            client.close()
        assert other.stat("sql_waiting") == 0


def test_so_many_may_wait(server):
    server.start(c=WAITS_MAX + 50)
    clients = [server.client() for _ in range(WAITS_MAX)]
    for client in clients:
        client.send("cwait cart:u1 1 60000\r\n")
    with server.client() as other:
        wait_until(lambda: other.stat("sql_waiting") == WAITS_MAX, "all wait")
        assert other.cmd("cwait cart:u2 1 10") == "SERVER_ERROR BUSY try again"
        add_all(server, ["cart:u1"])
        assert {client.line() for client in clients} == {"HD v1"}
        assert other.cmd("cwait cart:u2 1 10") == "NS v0"


def test_a_stop_ends_waits_at_once(server):
    server.start()
    with server.client() as client:
        client.send("cwait cart:u1 1 60000\r\n")
        with server.client() as other:
            wait_until(lambda: other.stat("sql_waiting") == 1, "it waits")
        assert server.stop() == 0
        assert client.rest() == ["SERVER_ERROR BUSY shutting down"]


def test_without_a_database_there_is_nothing_to_wait_for(server):
    server.start(l3="none")
    with server.client() as client:
        assert client.cmd("cwait cart:u1 1 10").startswith("SERVER_ERROR NOT_SAFE")
        assert client.cmd("tiers resync").startswith("SERVER_ERROR NOT_SAFE")


# ---- resync ----

def spoil(server, *statements):
    """What a DBA does to tables by hand."""
    if server.database:
        for statement in statements:
            server.database.execute(statement, (), server.schema)
        return
    import sqlite3
    with sqlite3.connect(server.sqlite, timeout=60) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def test_emptied_tables_are_filled_again(server):
    server.start()
    keys = keys_of(3000)
    add_all(server, keys)
    with server.client() as client:
        assert client.cmd("cdel cart:u7") == "HD"
    server.wait_caught_up()
    server.restart()  # what is not in memory is written, too
    spoil(server, "DELETE FROM cart_line", "DELETE FROM cart")
    status, lines, error = ctl.run(server, "resync", "--rate", 1000000)
    assert (status, ctl.rows(lines)) == (ctl.OK, {"carts": len(keys)}), error
    carts = books.check(server, keys)
    assert {cart["qty"] for cart in carts.values() if cart} == {1}
    assert carts["cart:u7"] is None


def test_what_was_changed_or_deleted_by_hand_is_put_right(server):
    server.start()
    keys = keys_of(50)
    add_all(server, keys)
    server.wait_caught_up()
    spoil(server, "UPDATE cart_line SET qty = 9 WHERE cart_id = 'cart:u1'",
          "DELETE FROM cart_line WHERE cart_id = 'cart:u2'",
          "DELETE FROM cart WHERE cart_id = 'cart:u3'",
          "INSERT INTO cart_line SELECT cart_id, 'SKU-9', 'SKU-9', qty, checked, add_price, shop, "
          "ext, added_at, updated_at FROM cart_line WHERE cart_id = 'cart:u4'")
    assert ctl.run(server, "resync")[0] == ctl.OK
    books.check(server, keys)


def test_a_kill_after_a_resync_forgets_nothing(server):
    server.start()
    keys = keys_of(500)
    add_all(server, keys)
    server.wait_caught_up()
    spoil(server, "DELETE FROM cart_line", "DELETE FROM cart")
    lock = server.hold_lock()
    assert ctl.run(server, "resync", "-r", 1000000)[0] == ctl.OK
    server.kill9()
    lock.close()
    assert server.sql("SELECT cart_id FROM cart") == []
    server.start()
    books.check(server, keys)


def test_one_job_at_a_time_at_its_rate_and_it_ends_with_its_asker(server):
    server.start()
    add_all(server, keys_of(400))
    server.wait_caught_up()
    with server.client() as slow, server.client() as other:
        slow.send("tiers resync 20\r\n")  # 20 s
        assert slow.line().startswith("INFO ")
        assert other.cmd("tiers resync") == "SERVER_ERROR BUSY try again"
        slow.close()

        def is_free():
            lines = [other.cmd("tiers resync 1000000")]
            while lines[-1] not in ("END", "SERVER_ERROR BUSY try again"):
                lines.append(other.line())
            return lines[-1] == "END"

        wait_until(is_free, "nobody wants the first any more")

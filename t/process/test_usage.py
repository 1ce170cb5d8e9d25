"""The command line: what is wrong is said in one line, what is asked for is told in full."""
import os
import pwd
import re
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest
from daemon import CARTD, Server, free_port
from waiting import wait_until
from wire import Client

# What the shops' scripts rely on: letter or None, long name.
OPTIONS = [("p", None), ("l", None), ("t", None), ("m", None), ("c", None), ("I", None),
           ("v", None), (None, "data"), (None, "l3"), (None, "ack"), (None, "help"),
           (None, "version"), ("s", "unix-socket"), ("a", "unix-mask"), ("U", "udp-port"),
           ("Z", "enable-ssl"), ("S", "enable-sasl"), ("Y", "auth-file"), ("d", "daemon"),
           ("u", "user"), ("P", "pidfile"), ("b", "listen-backlog"), (None, "idle-timeout"),
           (None, "config"), (None, "tls-cert"), ("A", "enable-shutdown"),
           ("F", "disable-flush-all"), ("o", "extended")]


def run(*arguments):
    return subprocess.run([CARTD, *map(str, arguments)], capture_output=True, text=True,
                          timeout=20, check=False, stdin=subprocess.DEVNULL)


def check_refused(done, word):
    assert done.returncode > 0, done
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("cartd: ") and word in lines[0], done.stderr


@pytest.mark.parametrize("arguments, word", [
    (["--nonsense"], "nonsense"), (["-?"], "?"), (["-p"], "p"), (["-p", "0x10"], "0x10"),
    (["-p", "70000"], "70000"), (["-p", "-1"], "-1"), (["-t", "0"], "0"), (["-m", "many"], "many"),
    (["-m", "0"], "0"), (["-I", "1x"], "1x"), (["--ack", "maybe"], "maybe"), (["--data"], "data"),
    (["--ack=quorum"], "quorum"), (["surprise"], "surprise"), (["-l", ""], "listen"),
], ids=" ".join)
def test_wrong_arguments_are_refused_in_one_line(arguments, word):
    check_refused(run(*arguments), word)


def test_help_is_complete():
    done = run("--help")
    assert (done.returncode, done.stderr) == (0, "")
    for letter, name in OPTIONS:
        pattern = rf"(^|\s)-{re.escape(letter)}\b" if letter else rf"--{name}\b"
        assert re.search(pattern, done.stdout, flags=re.M), (letter, name)
    assert "11211" in done.stdout and "127.0.0.1" in done.stdout
    assert run("-h").stdout == done.stdout


def test_every_option_of_the_help_is_one():
    found = re.findall(r"^\s*(-\w)?,?\s*(--[\w-]+)( [A-Z][\w:]*)?", run("--help").stdout,
                       flags=re.M)
    assert len(found) >= len(OPTIONS)
    for letter, name, value in found:
        for option in filter(None, (letter, name)):
            if value:
                check_refused(run(option), "value")
            else:
                assert run(option, "--help").returncode == 0, option


def test_version_is_one_line():
    done = run("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"cartd \d+\.\d+\S*\n", done.stdout)


def last_line(text):
    """The log may come first; the reason is the last word."""
    return text.strip().splitlines()[-1]


def check_start_fails(done, *words):
    assert done.returncode > 0, done
    line = last_line(done.stderr)
    assert line.startswith("cartd: ") and any(word in line for word in words), done.stderr


def test_a_port_in_use_is_told(server, tmp_path):
    server.start()
    check_start_fails(run("-p", server.port, "--data", tmp_path / "other"), str(server.port))


def test_a_folder_in_use_is_told_and_not_touched(server):
    server.start()
    with server.client() as client:
        assert client.cmd("cadd cart:u1 SKU-1 1") == "HD"
    check_start_fails(run("-p", free_port(), "--data", server.data), "use", "lock")
    with server.client() as client:
        assert client.cmd("cadd cart:u1 SKU-1 1 x") == "HD x2"
    server.restart()
    with server.client() as client:
        assert client.qty("cart:u1", "SKU-1") == 2


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    file = tmp_path / "file"
    file.write_text("not a folder")
    check_start_fails(run("-p", free_port(), "--data", file), str(file))


def test_a_database_nobody_knows_is_told(tmp_path):
    check_start_fails(run("-p", free_port(), "--data", tmp_path, "--l3", "oracle://x"),
                      "unknown kind of database")


def test_the_database_may_stand_elsewhere(tmp_path):
    server = Server(tmp_path)
    server.start(l3=f"sqlite:{tmp_path}/elsewhere.sqlite")
    with server.client() as client:
        assert client.cmd("cadd cart:u1 SKU-1 1") == "HD"
    assert server.stop() == 0
    assert (tmp_path / "elsewhere.sqlite").exists()
    assert not (server.data / "cartd.sqlite").exists()


# ---- the process itself ----

def pid_is_gone(pid):
    try:
        os.kill(pid, 0)
        return False
    except ProcessLookupError:
        return True


def run_in_background(tmp_path, *options):
    port = free_port()
    pid_file = tmp_path / "cartd.pid"
    done = run("-d", "-P", pid_file, "-p", port, "--data", tmp_path / "data", *options)
    assert done.returncode == 0, done.stderr
    return port, pid_file, int(pid_file.read_text())


def test_a_daemon_serves_when_the_command_returns(tmp_path):
    port, pid_file, pid = run_in_background(tmp_path)
    try:
        with Client(port) as client:  # no waiting: it must serve now
            assert client.cmd("cadd cart:d1 SKU-1 1") == "HD"
            assert client.stat("pid") == pid
    finally:
        os.kill(pid, signal.SIGTERM)
    wait_until(lambda: pid_is_gone(pid), "the daemon ends")
    assert not pid_file.exists()


def test_a_daemon_that_cannot_start_says_so(server, tmp_path):
    server.start()
    done = run("-d", "-p", server.port, "--data", tmp_path / "other")
    check_start_fails(done, str(server.port))


def test_a_pid_file_that_cannot_be_written_is_told(tmp_path):
    check_start_fails(run("-P", "/nowhere/cartd.pid", "-p", free_port(), "--data", tmp_path),
                      "/nowhere/cartd.pid")


@pytest.fixture(name="open_folder")
def make_open_folder():
    """For every user. Each pytest that starts closes the folder above all tmp_path again."""
    with tempfile.TemporaryDirectory(prefix="cartd-usage.") as name:
        folder = Path(name)
        folder.chmod(0o777)
        yield folder


def test_another_user_owns_the_process_and_its_files(open_folder):
    _, _, pid = run_in_background(open_folder, "-u", "nobody")
    try:
        nobody = pwd.getpwnam("nobody").pw_uid
        ids = re.search(r"^Uid:\s+(.*)$", open(f"/proc/{pid}/status", encoding="ascii").read(),
                        flags=re.M).group(1).split()
        assert set(ids) == {str(nobody)}
        assert (open_folder / "data" / "cartd.sqlite").stat().st_uid == nobody
    finally:
        os.kill(pid, signal.SIGTERM)
    wait_until(lambda: pid_is_gone(pid), "the daemon ends")


def test_an_unknown_user_is_told(tmp_path):
    check_start_fails(run("-u", "nobody-of-that-name", "-p", free_port(), "--data", tmp_path),
                      "nobody-of-that-name")


def test_options_stand_in_a_file_too(tmp_path):
    server = Server(tmp_path)
    config = tmp_path / "cartd.conf"
    config.write_text("[cartd]\nthreads = 3\nqty-max = 5\nmemory-limit = 99\n")
    server.start(config=config, t=2)
    with server.client() as client:
        settings = client.stats("settings")
        assert (settings["num_threads"], settings["maxbytes"]) == ("2", str(99 << 20))
        assert client.cmd("cadd cart:u1 SKU-1 6").startswith("CLIENT_ERROR QTY_LIMIT")
    assert server.stop() == 0


def test_a_bad_file_is_told_with_its_line(tmp_path):
    config = tmp_path / "cartd.conf"
    config.write_text("threads = 3\nthread = 4\n")
    check_refused(run("--config", config), "line 2")


def test_memcacheds_options_without_effect_are_named_in_the_log(tmp_path):
    server = Server(tmp_path)
    server.start(f="1.25", o="modern,no_lru_crawler")
    assert server.stop() == 0
    log = server.log_end()
    assert "-f has no effect" in log and "-o modern" in log

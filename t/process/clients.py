"""clients: stock client libraries as programs (t/clients), and memcached beside cartd."""
import fcntl
import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest
from daemon import BUILD, free_port
from transport import AnyServer, Closed, tcp, unix
from waiting import wait_until

HERE = Path(__file__).resolve().parent.parent / "clients"
FOLDER = BUILD / "clients"  # what must be made or fetched before it runs
NODE_PACKAGES = ("memjs@1.3.2", "memcached@2.2.2")
SPY = Path("/usr/share/java/spymemcached.jar")
PYTHON = "/usr/bin/python3"
RUN_SECONDS = 90


class Cartd(AnyServer):
    """Any server that may have users: who is nobody may ask for its version only."""

    def answers(self):
        if self.process.poll() is not None:
            self.process = None
            raise AssertionError(f"ended while starting:\n{self.log_end()}")
        try:
            with self.client() as client:
                return client.cmd("version").startswith("VERSION ")
        except Closed:
            return False


@contextmanager
def serving_cartd(folder, *arguments, path=None, reach=None):
    """A server, named as clients name it: 127.0.0.1:PORT, or a path. {port} is its port."""
    server = Cartd(folder)
    if path:
        server.begin("-s", path, *arguments, reach=lambda: unix(path))
    else:
        server.begin("-p", "{port}", *arguments, reach=reach and (lambda: reach(server.port)))
    try:
        yield str(path) if path else f"127.0.0.1:{server.port}"
    except BaseException:
        server.process.kill()
        raise
    assert server.stop() == 0, server.log_end()


@contextmanager
def serving_memcached(*arguments, path=None, environment=None):
    """The same with Debian's memcached."""
    program = shutil.which("memcached")
    assert program, "memcached is not installed"
    port = free_port()
    where = ["-s", path] if path else ["-l", "127.0.0.1", "-p", port]
    words = [str(word).replace("{port}", str(port)) for word in [*where, "-u", "root", *arguments]]
    with subprocess.Popen([program, *words], stderr=subprocess.DEVNULL,
                          env=dict(os.environ, **(environment or {}))) as process:

        def answers():
            assert process.poll() is None, "memcached ended while starting"
            try:
                with unix(path) if path else tcp(port):
                    return True
            except Closed:
                return False

        try:
            wait_until(answers, "memcached serves")
            yield str(path) if path else f"127.0.0.1:{port}"
        finally:
            process.terminate()


@pytest.fixture(name="pair")
def make_pair(tmp_path):
    """{"cartd": place, "memcached": place}, fresh: memcached's incr above 2^63 looks for a
    minus beyond the value, in what the memory held before."""
    with serving_cartd(tmp_path) as cartd, serving_memcached() as memcached:
        yield {"cartd": cartd, "memcached": memcached}


# ---- programs ------------------------------------------------------------------------------------

def command_of(program):
    """How the program of a library is called."""
    return {
        "libmemcached": lambda: [BUILD / "t/clients/client_libmemcached"],
        "pylibmc": lambda: [PYTHON, HERE / "client_pylibmc.py"],
        "pymemcache": lambda: [PYTHON, HERE / "client_pymemcache.py"],
        "php": lambda: ["php", HERE / "client.php"],
        "ruby": lambda: ["/usr/bin/ruby", HERE / "client.rb"],
        "perl": lambda: ["/usr/bin/perl", HERE / "client.pl"],
        "node": lambda: [find_node(), HERE / "client.js"],
        "java": lambda: ["java", "-XX:TieredStopAtLevel=1", "-cp", f"{SPY}:{compile_java()}",
                         "Client"],
    }[program]()


@contextmanager
def made_once():
    """Suites run side by side."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with open(FOLDER / "lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def find_node():
    """Node, with its packages installed; fetched when they are not there."""
    stamp = FOLDER / "node_modules" / ".made"
    wanted = " ".join(NODE_PACKAGES)
    with made_once():
        if not stamp.exists() or stamp.read_text(encoding="ascii") != wanted:
            execute(["npm", "install", "--prefix", FOLDER, "--no-save", "--no-package-lock",
                     "--no-audit", "--no-fund", "--ignore-scripts", *NODE_PACKAGES])
            stamp.write_text(wanted, encoding="ascii")
    return "node"


def compile_java():
    source, folder = HERE / "Client.java", FOLDER / "java"
    made = folder / "Client.class"
    with made_once():
        if not made.exists() or made.stat().st_mtime < source.stat().st_mtime:
            execute(["javac", "-encoding", "UTF-8", "-cp", SPY, "-d",
                     folder, source])
    return folder


def execute(command, **named):
    """What it printed; an error when it fails, with all that it said."""
    environment = dict(os.environ, NODE_PATH=str(FOLDER / "node_modules"), LC_ALL="C.UTF-8")
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                          timeout=RUN_SECONDS, check=False, env=environment,
                          stdin=subprocess.DEVNULL, **named)
    assert done.returncode == 0, f"{command[0]}: exit status {done.returncode}\n{done.stdout}\n" \
                                 f"{done.stderr}"
    return done.stdout


def run(program, part, options, *places, login=()):
    """The lines that a program prints, its servers' names left out."""
    out = execute([*command_of(program), part, options, ",".join(places), *login])
    for place in places:
        out = out.replace(place, "SERVER")
    return out.splitlines()


# ---- what they say -------------------------------------------------------------------------------

def read_steps():
    """{step: answer} of t/clients/steps.txt."""
    lines = (HERE / "steps.txt").read_text(encoding="utf-8").partition("\n----")[2].splitlines()
    pairs = [line.partition(" ")[::2] for line in lines[1:] if line and not line.startswith("----")]
    steps = dict(pairs)
    assert len(steps) == len(pairs), "a step stands twice in steps.txt"
    return steps


def check_steps(lines, count_min):
    """Each line is a step and its answer; no program may do fewer than it used to."""
    steps = read_steps()
    seen = dict(line.partition("\t")[0].partition(" ")[::2] for line in lines)
    wrong = {name: f"{answer!r}, not {steps.get(name)!r}" for name, answer in seen.items()
             if steps.get(name) != answer}
    assert not wrong, wrong
    assert len(lines) >= count_min, lines

"""ctl: cartctl as a program."""
import subprocess

from daemon import BUILD

CARTCTL = BUILD / "cartctl"
OK, DIFFERS, USAGE, FAILED = 0, 1, 2, 3
RUN_SECONDS = 90


def run(server, *arguments):
    """(status, lines, what it said of errors)"""
    done = subprocess.run([CARTCTL, "-s", f"127.0.0.1:{server.port}", *map(str, arguments)],
                          capture_output=True, text=True, timeout=RUN_SECONDS, check=False)
    return done.returncode, done.stdout.splitlines(), done.stderr.strip()


def begin(server, *arguments):
    """The running program."""
    return subprocess.Popen([CARTCTL, "-s", f"127.0.0.1:{server.port}", *map(str, arguments)],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def rows(lines):
    """{name: number} of what a job prints."""
    return {name: int(number) for name, number in (line.rsplit(" ", 1) for line in lines)}

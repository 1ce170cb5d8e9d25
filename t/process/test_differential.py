"""Random requests to cartd and to Debian's memcached side by side: t/proto/differ.py."""
import os
import subprocess
from pathlib import Path

from clients import PYTHON, serving_cartd, serving_memcached

DIFFER = Path(__file__).resolve().parents[1] / "proto/differ.py"
SECONDS = os.environ.get("DIFFER_SECONDS", "8")  # thousands make it a long run
MEMORY = ("-m", "1000")  # nothing is evicted
# One thread, and no other that holds items: whether a decr keeps the length of a number depends on
# who else holds it.
ALONE = ("-t", "1", "-o", "no_lru_maintainer,no_lru_crawler")


def port_of(place):
    return place.rpartition(":")[2]


def test_cartd_answers_as_memcached_does(tmp_path):
    with serving_cartd(tmp_path, *MEMORY) as cartd, serving_memcached(*MEMORY, *ALONE) as memcached:
        command = [PYTHON, "-B", DIFFER, "--seconds", SECONDS, port_of(cartd), port_of(memcached)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    assert int(done.stdout.splitlines()[-2].split()[0]) > 1000, "too few commands to tell anything"


def test_a_difference_is_found(tmp_path):
    """cartd against itself, where the one refuses what the other does."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    with serving_cartd(tmp_path / "a", *MEMORY) as left, \
            serving_cartd(tmp_path / "b", *MEMORY, "-I", "2k") as right:
        command = [PYTHON, "-B", DIFFER, "--seed", "1", port_of(left), port_of(right)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "SERVER_ERROR object too large for cache" in done.stdout

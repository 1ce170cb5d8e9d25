"""Clients that spread their keys over three servers: all of libmemcached's kin find a key at the
same place, and every other library finds its own again."""
from contextlib import ExitStack

import pytest
from clients import check_steps, run, serving_cartd
from wire import Client

KEYS = [f"ring-{number}" for number in range(300)]
KIN = [("libmemcached", "ketama"), ("libmemcached", "binary+ketama"), ("pylibmc", "ketama"),
       ("pylibmc", "binary+ketama"), ("php", "ketama"), ("php", "binary+ketama")]
OTHERS = [("pymemcache", "text"), ("ruby", "binary"), ("perl", "text"), ("perl", "ketama"),
          ("node", "memcached"), ("node", "memjs"), ("java", "ketama"), ("java", "binary+ketama"),
          ("libmemcached", "text"), ("php", "text")]


@pytest.fixture(name="ring", scope="module")
def make_ring(tmp_path_factory):
    with ExitStack() as stack:
        yield [stack.enter_context(serving_cartd(tmp_path_factory.mktemp(f"ring-{number}")))
               for number in range(3)]


def forget_all(ring):
    for place in ring:
        with Client(port_of(place)) as client:
            assert client.cmd("flush_all") == "OK"


def port_of(place):
    return int(place.rpartition(":")[2])


def find_keys(ring):
    """{key: number of the server that has it}; each has a share."""
    where = {}
    for number, place in enumerate(ring):
        with Client(port_of(place)) as client:
            client.send(f"get {' '.join(KEYS)}\r\n")
            found = client.read_values()
        assert len(found) > len(KEYS) / 10
        for key in found:
            assert key not in where
            where[key] = number
    assert sorted(where) == sorted(KEYS)
    return where


def test_ketama_finds_a_key_at_the_same_server_in_every_library(ring):
    places = {}
    for program, options in KIN:
        forget_all(ring)
        check_steps(run(program, "ring", options, *ring), 2)
        places[program, options] = find_keys(ring)
        for other, others_options in KIN:
            check_steps(run(other, "ring-get", others_options, *ring), 1)
    assert all(where == places[KIN[0]] for where in places.values())


@pytest.mark.parametrize("program, options", OTHERS)
def test_a_client_spreads_its_keys_and_finds_them_again(ring, program, options):
    forget_all(ring)
    check_steps(run(program, "ring", options, *ring), 2)
    find_keys(ring)

import os

import pytest

from daemon import CARTD, Server, instrumented


def pytest_sessionstart():
    if not CARTD.exists():
        pytest.exit(f"{CARTD} does not exist; set CARTD", 1)


def pytest_configure(config):
    config.addinivalue_line("markers", "servers: of databases that have a server; not of SQLite")
    config.addinivalue_line("markers", "faketime: not with sanitizers, whose library must be the "
                                       "first, and must see all waits")
    config.addinivalue_line("markers", "long: more of the same, in check-long (LONG_TESTS=1)")


def pytest_collection_modifyitems(config, items):
    """What SQLite does not have is no test of it, and none that was skipped."""
    left_out = [] if os.environ.get("CARTD_DB", "sqlite") != "sqlite" else ["servers"]
    left_out += [] if os.environ.get("LONG_TESTS") else ["long"]
    left_out += ["faketime"] if instrumented() else []
    others = [item for item in items if any(map(item.get_closest_marker, left_out))]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if item not in others]


@pytest.fixture(name="database", scope="session")
def start_database():
    """The database server that CARTD_DB names (databases.py); None is SQLite."""
    kind = os.environ.get("CARTD_DB", "sqlite")
    if kind == "sqlite":
        yield None
        return
    import databases  # its libraries are needed by such tests only
    database = databases.KINDS[kind]()
    try:
        yield database.start()
    finally:
        database.remove()


@pytest.fixture(name="server")
def make_server(tmp_path, database):
    """A server that is not started yet. What runs at the end must stop cleanly."""
    server = Server(tmp_path, database)
    try:
        yield server
    except BaseException:
        if server.process:
            server.process.kill()
        raise
    if server.process:
        assert server.stop() == 0, server.log_end()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """Shows what the daemon said when a test failed."""
    report = (yield).get_result()
    server = item.funcargs.get("server") if hasattr(item, "funcargs") else None
    if report.failed and server is not None:
        report.sections.append(("cartd", server.log_end()))

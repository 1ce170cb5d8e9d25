"""How cartd gets into a database server: passwords from everywhere, TLS that is checked."""
import os
import subprocess

import books
import databases
import pytest
from waiting import wait_until

FULL = "L3_FAULTS_FULL" in os.environ  # in check-long
KEYS = ["cart:u1", "cart:u2"]
SECRET = databases.PASSWORD


@pytest.fixture(name="database", scope="module")
def start_database():
    database = databases.KINDS[os.environ.get("CARTD_DB", "postgresql")]()
    try:
        make_certificates(database.folder)
        use_tls(database)
        yield database.start()
    finally:
        database.remove()


# ---- a CA of our own ----

def openssl(*words):
    done = subprocess.run(["openssl", *map(str, words)], capture_output=True, text=True,
                          check=False)
    assert done.returncode == 0, done.stderr


def make_certificates(folder):
    """A CA, a certificate of it for 127.0.0.1 (and no name), and a CA of somebody else."""
    new = ["-newkey", "rsa:2048", "-nodes"]
    for name in ("ca", "other"):
        openssl("req", "-x509", *new, "-keyout", folder / f"{name}.key", "-days", 2,
                "-out", folder / f"{name}.pem", "-subj", f"/CN={name} of cartd's tests")
    openssl("req", *new, "-keyout", folder / "server.key", "-out", folder / "server.csr",
            "-subj", "/CN=127.0.0.1")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1")
    openssl("x509", "-req", "-in", folder / "server.csr", "-CA", folder / "ca.pem", "-CAkey",
            folder / "ca.key", "-CAcreateserial", "-days", 2, "-out", folder / "server.pem",
            "-extfile", folder / "names")
    (folder / "server.key").chmod(0o600)
    databases.Database.give(folder / "server.key")


def use_tls(database):
    files = {"cert": database.folder / "server.pem", "key": database.folder / "server.key"}
    if database.scheme == "postgresql":
        database.more = ["-c", "ssl=on", *(word for name, path in files.items()
                                           for word in ("-c", f"ssl_{name}_file={path}"))]
    else:
        database.more = [f"--ssl-{name}={path}" for name, path in files.items()]


def with_tls(server, database, authority, verify=True):
    path = database.folder / f"{authority}.pem"
    if database.scheme == "postgresql":
        return f"{server.l3_url()}&sslmode={'verify-full' if verify else 'require'}" + \
            f"&sslrootcert={path}" * verify
    return f"{server.l3_url()}?" + (f"ssl-ca={path}" if verify else "ssl=1&ssl-verify=0")


def add(server, line="SKU-1"):
    with server.client() as client:
        for key in KEYS:
            assert client.cmd(f"cadd {key} {line} 1") == "HD"


def are_encrypted(database):
    """All connections of cartd use TLS, and there is one."""
    rows = database.execute("SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) "
                            "WHERE application_name = 'cartd'")
    return rows and all(row["ssl"] for row in rows)


@pytest.mark.parametrize("verify", [True, False] if FULL else [True])
def test_tls_is_used_when_it_is_asked_for(server, database, verify):
    url = with_tls(server, database, "ca", verify)
    if database.scheme == "mysql":  # which has no list of who uses it, but refuses who does not
        database.execute(f"ALTER USER {databases.USER}@'%' REQUIRE SSL")
    try:
        server.start(l3=url)
        add(server)
        books.check(server, KEYS)
        if database.scheme == "postgresql":
            assert are_encrypted(database)
    finally:
        if database.scheme == "mysql":
            database.execute(f"ALTER USER {databases.USER}@'%' REQUIRE NONE")


def refuses(server, url, words):
    """The database is not used, and `stats behind` says why."""
    server.start(l3=url)
    with server.client() as client:
        # a new L2 beside a database that may have carts: refused, not lost
        assert client.cmd("cadd cart:u1 SKU-1 1").startswith("SERVER_ERROR BUSY")
        wait_until(lambda: client.stats("behind")["behind_breaker"] != "closed", "it is told")
        said = client.stats("behind")["behind_last_error"]
    assert any(word in said for word in words), said
    assert SECRET not in server.log_end()
    server.kill9()  # a stop would wait for the database


BAD_CERTIFICATE = ["certificate verify failed", "certificate is not accepted"]
BAD_NAME = ["does not match host name", "certificate is not accepted"]


def test_a_server_of_another_authority_is_refused(server, database):
    refuses(server, with_tls(server, database, "other"), BAD_CERTIFICATE)


def test_a_server_with_another_name_is_refused(server, database):
    name = {"postgresql": "localhost", "mysql": "127.1"}[database.scheme]  # the same address
    url = with_tls(server, database, "ca").replace("@127.0.0.1:", f"@{name}:")
    refuses(server, url, BAD_NAME)


# ---- passwords ----

def without_password(server):
    return server.l3_url().replace(f":{databases.PASSWORD_IN_URL}@", "@")


def in_own_file(server, folder):
    """Where the server's own clients look for it."""
    path = folder / ".my.cnf"
    if server.database.scheme == "postgresql":
        path = folder / "pgpass"
        path.write_text(f"127.0.0.1:{server.database.port}:*:{databases.USER}:{SECRET}\n")
        server.environment = {"PGPASSFILE": str(path)}
    else:
        path.write_text(f"[client]\npassword = wrong\n[cartd]\npassword = \"{SECRET}\"\n")
        server.environment = {"HOME": str(folder)}
    path.chmod(0o600)
    return {}


def in_option(_server, folder):
    path = folder / "secret"
    path.write_text(f"{SECRET}\n")
    return {"l3_password_file": path}


@pytest.mark.parametrize("place", [in_own_file, in_option])
def test_a_password_from_a_file_is_used(server, tmp_path, place):
    options = place(server, tmp_path)
    server.start(l3=without_password(server), **options)
    add(server)
    books.check(server, KEYS)
    assert SECRET not in server.log_end()
    with open(f"/proc/{server.process.pid}/cmdline", "rb") as line:
        assert SECRET.encode() not in line.read()


def test_without_a_password_the_log_says_what_is_missing(server):
    server.environment = {"HOME": "/", "PGPASSFILE": "/dev/null"}
    refuses(server, without_password(server), ["no password supplied", "Access denied"])

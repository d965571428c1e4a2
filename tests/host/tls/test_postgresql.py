"""TLS to PostgreSQL, spoken by the forwarder, and the driver at its other end."""

import os
import select
import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic

import psycopg
import pytest

from carpool.host.handoff import NotShareable
from carpool.host.tls import Forwarder

ENCRYPTED = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
BIG = 8 << 20  # bytes


@pytest.fixture
def params(secure_postgres, postgres_authority):
    root = {"sslmode": "verify-full", "sslrootcert": str(postgres_authority.certificate)}
    return secure_postgres.params | {"host": "localhost"} | root


@pytest.fixture
def connect(forwarder):
    opened = []

    def connect(params, **more):
        route = forwarder.route("postgresql", params | more)
        opened.append(psycopg.connect(**route.login, autocommit=True, connect_timeout=20))
        return opened[-1]

    yield connect
    for connection in opened:
        connection.close()


def one(connection, sql, args=None):
    return connection.execute(sql, args).fetchone()[0]


def is_encrypted(server, connection):
    """Ask another session of the server."""
    sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = %s"
    return server.query(sql, [connection.info.backend_pid])[0].ssl


def open_descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


def rows_of(connection):
    """Count what a query has sent; libpq's own waiting would stop the forwarder in this process."""
    pgconn, rows = connection.pgconn, 0
    while True:
        while pgconn.is_busy():
            select.select([pgconn.socket], [], [])
            pgconn.consume_input()
        if not (result := pgconn.get_result()):
            return rows
        rows += result.ntuples


@pytest.mark.parametrize("mode", ["allow", "prefer", "require", "verify-ca", "verify-full"])
def test_every_mode_of_a_server_with_tls(forwarder, connect, secure_postgres, params, mode):
    connection = connect(params, sslmode=mode)
    assert is_encrypted(secure_postgres, connection)
    assert connection.pgconn.socket >= 0
    with socket.socket(fileno=os.dup(connection.pgconn.socket)) as lent:
        assert lent.family == socket.AF_UNIX
    assert forwarder.route("postgresql", params | {"sslmode": mode}).relayed


def test_without_tls_nothing_is_relayed(forwarder, connect, secure_postgres, params):
    for params_ in (params | {"sslmode": "disable"}, secure_postgres.unix_params):
        assert not forwarder.route("postgresql", params_).relayed
        assert not is_encrypted(secure_postgres, connect(params_))


@pytest.mark.parametrize("mode", ["allow", "prefer"])
def test_a_server_without_tls_is_asked(forwarder, connect, postgres, mode):
    params = postgres.params | {"sslmode": mode}
    route = forwarder.route("postgresql", params)
    assert not route.relayed
    assert route.login["sslmode"] == "disable"
    assert route.login["port"] == postgres.port
    assert one(connect(params), "SELECT 1") == 1


def test_tls_that_is_preferred_is_not_needed_later(forwarder, own_secure_postgres):
    route = forwarder.route("postgresql", own_secure_postgres.params | {"sslmode": "prefer"})
    assert route.relayed
    own_secure_postgres.settings["ssl"] = "off"
    own_secure_postgres.restart()
    with psycopg.connect(**route.login) as connection:
        assert not is_encrypted(own_secure_postgres, connection)


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
def test_a_server_without_tls_is_refused(connect, postgres, params, mode):
    with pytest.raises(psycopg.OperationalError, match=f"not offer TLS, but sslmode is {mode}"):
        connect(params, port=postgres.port, sslmode=mode)


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
def test_a_stranger_s_certificate_is_refused(connect, params, stranger, secure_postgres, mode):
    mark = secure_postgres.mark()
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed: "):
        connect(params, sslmode=mode, sslrootcert=str(stranger.certificate))
    assert secure_postgres.connections(mark) == 0


def test_libpq_refuses_the_same(params, stranger):
    for mode in ("require", "verify-ca", "verify-full"):
        with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
            psycopg.connect(**params | {"sslmode": mode, "sslrootcert": str(stranger.certificate)})
    with pytest.raises(psycopg.OperationalError, match="does not match host name"):
        psycopg.connect(**params | {"host": "127.0.0.1"})


def test_another_name_is_refused_if_names_are_verified(connect, params, secure_postgres):
    assert is_encrypted(secure_postgres, connect(params, host="127.0.0.1", sslmode="verify-ca"))
    with pytest.raises(
        psycopg.OperationalError, match=r"verify failed: .*not valid for '127.0.0.1'"
    ):
        connect(params, host="127.0.0.1")
    with pytest.raises(psycopg.OperationalError, match=r"not valid for 'db.internal'"):
        connect(params, host="db.internal", hostaddr="127.0.0.1")
    assert is_encrypted(secure_postgres, connect(params, hostaddr="127.0.0.1"))


def test_require_without_a_certificate_to_verify_by_verifies_nothing(connect, params):
    assert one(connect(params, sslmode="require", sslrootcert=None, host="127.0.0.1"), ENCRYPTED)


def test_the_certificate_in_the_home_counts(connect, params, home, stranger, postgres_authority):
    (home / ".postgresql").mkdir()
    root = home / ".postgresql" / "root.crt"
    root.write_bytes(postgres_authority.certificate.read_bytes())
    assert one(connect(params, sslrootcert=None), ENCRYPTED)
    root.write_bytes(stranger.certificate.read_bytes())
    for mode in ("require", "verify-full"):
        with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
            connect(params, sslrootcert=None, sslmode=mode)


def test_the_system_s_certificates(connect, params, monkeypatch, postgres_authority):
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        connect(params, sslrootcert="system")
    monkeypatch.setenv("SSL_CERT_FILE", str(postgres_authority.certificate))
    assert one(connect(params, sslrootcert="system"), ENCRYPTED)


def test_a_renewed_certificate_counts_at_once(connect, params, tmp_path, stranger):
    root = tmp_path / "root.pem"
    root.write_bytes(Path(params["sslrootcert"]).read_bytes())
    assert one(connect(params, sslrootcert=str(root)), ENCRYPTED)
    root.write_bytes(stranger.certificate.read_bytes())
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        connect(params, sslrootcert=str(root))
    root.unlink()
    with pytest.raises(NotShareable, match="does not exist"):
        connect(params, sslrootcert=str(root))


def test_a_revoked_certificate_is_refused(
    connect, params, postgres_authority, postgres_certificate
):
    nothing = postgres_authority.revocations()
    assert one(connect(params, sslcrl=str(nothing)), ENCRYPTED)
    revoked = postgres_authority.revocations(postgres_certificate)
    with pytest.raises(psycopg.OperationalError, match="certificate revoked"):
        connect(params, sslcrl=str(revoked))


@pytest.mark.parametrize("password", [None, "pass phrase"])
def test_a_client_s_certificate(connect, params, secure_postgres, postgres_authority, password):
    secure_postgres.query("DROP ROLE IF EXISTS certified")
    secure_postgres.query("CREATE ROLE certified LOGIN SUPERUSER")
    mine = postgres_authority.issue("certified", password)
    given = {"sslcert": str(mine.path), "sslkey": str(mine.key), "user": "certified"}
    if password:
        with pytest.raises(NotShareable, match="give sslpassword"):
            connect(params, **given)
        given["sslpassword"] = password
    assert one(connect(params, **given), "SELECT current_user") == "certified"
    with pytest.raises(psycopg.OperationalError, match="certificate"):
        connect(params, **given, sslcertmode="disable")


def test_a_password_goes_by_scram_without_binding(connect, params, secure_postgres):
    secure_postgres.query("DROP ROLE IF EXISTS shop")
    secure_postgres.create_role("shop", "its secret")
    connection = connect(params, user="shop", password="its secret")
    assert one(connection, "SELECT current_user") == "shop"
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        connect(params, user="shop", password="another")


def test_versions_of_tls(connect, params):
    version = "SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    assert one(connect(params, ssl_max_protocol_version="TLSv1.2"), version) == "TLSv1.2"
    assert one(connect(params, ssl_min_protocol_version="TLSv1.3"), version) == "TLSv1.3"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"channel_binding": "require"}, "channel_binding=require cannot .*: use channel_binding"),
        ({"gssencmode": "require"}, "gssencmode=require cannot"),
        ({"gssencmode": "require", "sslmode": "disable"}, "gssencmode=require cannot"),
        ({"sslcertmode": "require"}, "sslcertmode=require cannot"),
        ({"sslcrldir": "/nowhere"}, "sslcrldir=/nowhere cannot .*: put the lists into one file"),
        ({"sslkeylogfile": "keys"}, "sslkeylogfile=keys cannot"),
        ({"sslsni": "0"}, "use sslsni=1"),
        ({"sslmode": "verify"}, "sslmode 'verify' is none of disable, allow"),
        ({"sslrootcert": "system", "sslmode": "prefer"}, "too weak for sslrootcert=system"),
        ({"sslnegotiation": "direct", "sslmode": "prefer"}, "too weak for sslnegotiation=direct"),
        ({"sslrootcert": "/nowhere"}, "/nowhere does not exist: name one by sslrootcert"),
        ({"sslcrl": "/nowhere"}, "sslcrl /nowhere cannot be used: No such file"),
        ({"ssl_min_protocol_version": "SSLv3"}, "'SSLv3' is none of"),
        ({"host": "", "hostaddr": "127.0.0.1"}, "needs the name in the server's certificate"),
        ({"host": "a,b,c", "port": "1,2"}, "do not match"),
    ],
)
def test_what_cannot_be_had_is_said(forwarder, params, given, message):
    with pytest.raises(NotShareable, match=message):
        forwarder.route("postgresql", params | given)


def test_nobody_there(connect, params):
    with pytest.raises(psycopg.OperationalError, match=r"cannot reach localhost:1: .*refused"):
        connect(params, port=1)
    with pytest.raises(psycopg.OperationalError, match=r"cannot reach nowhere.invalid:1: "):
        connect(params, host="nowhere.invalid", port=1)


def test_the_next_of_several_servers_is_tried(connect, forwarder, params, secure_postgres):
    port = secure_postgres.port
    several = params | {"host": "localhost,localhost,localhost", "port": f"1,{port},2"}
    connection = connect(several)
    assert is_encrypted(secure_postgres, connection)
    local = f"{secure_postgres.folder},localhost"
    connection = connect(params, host=local, port=f"{port},{port}")
    assert not is_encrypted(secure_postgres, connection)  # a Unix socket
    with pytest.raises(psycopg.OperationalError, match="read-only"):
        connect(several, target_session_attrs="read-only")


@contextmanager
def tls_from_the_first_byte(server, certificate, protocol="postgresql"):
    """Speak TLS in front of a server, as PostgreSQL does from 17 on; yield the port."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.path, certificate.key)
    context.set_alpn_protocols([protocol])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve_once, args=[listener, context, server.port])
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            thread.join()


def serve_once(listener, context, port):
    plain, _ = listener.accept()
    with suppress(OSError), plain:
        copy_both_ways(context.wrap_socket(plain, server_side=True), port)


def copy_both_ways(client, port):
    with client, socket.create_connection(("127.0.0.1", port)) as server:
        while True:
            client.setblocking(False)
            with suppress(ssl.SSLWantReadError):
                if not (data := client.recv(65536)):
                    return
                server.sendall(data)
            client.setblocking(True)
            if server in select.select([client, server], [], [])[0]:
                client.sendall(server.recv(65536))


def test_tls_from_the_first_byte_on(connect, params, postgres, postgres_certificate):
    with tls_from_the_first_byte(postgres, postgres_certificate) as port:
        connection = connect(params, port=port, sslnegotiation="direct")
        assert one(connection, "SELECT 1") == 1
        connection.close()
    with (
        tls_from_the_first_byte(postgres, postgres_certificate, "h2") as port,
        pytest.raises(psycopg.OperationalError, match="needs PostgreSQL 17 or sslnegotiation"),
    ):
        connect(params, port=port, sslnegotiation="direct")


def test_much_data_both_ways(connect, params):
    connection = connect(params)
    assert len(one(connection, "SELECT repeat('x', %s)", [BIG])) == BIG
    assert one(connection, "SELECT length(%s)", ["y" * BIG]) == BIG
    connection.execute("CREATE TEMP TABLE copied (line text)")
    lines = [f"{number:06} {'z' * 1000}" for number in range(BIG // 1008)]
    with connection.cursor().copy("COPY copied FROM STDIN") as copy:
        for line in lines:
            copy.write_row([line])
    with connection.cursor().copy("COPY copied TO STDOUT") as copy:
        assert [row[0] for row in copy.rows()] == lines


def test_a_slow_client_slows_the_server_down(connect, params, secure_postgres):
    connection = connect(params)
    connection.pgconn.send_query(b"SELECT repeat('x', 1000000) FROM generate_series(1, 100)")
    connection.pgconn.flush()
    pid = connection.info.backend_pid
    secure_postgres.wait_for_sessions(1, pid=pid, wait_event="ClientWrite")
    assert rows_of(connection) == 100


def test_many_at_once(connect, params, secure_postgres):
    with ThreadPoolExecutor(50) as threads:
        connections = list(threads.map(lambda _: connect(params), range(50)))
        pids = set(threads.map(lambda c: one(c, "SELECT pg_backend_pid()"), connections))
    assert len(pids) == 50
    encrypted = secure_postgres.query("SELECT pid FROM pg_stat_ssl WHERE ssl")
    assert pids <= {row.pid for row in encrypted}


def test_a_cancel_goes_through(connect, params, secure_postgres):
    connection = connect(params)
    pid = connection.info.backend_pid
    with ThreadPoolExecutor() as thread:
        running = thread.submit(connection.execute, "SELECT pg_sleep(600)")
        secure_postgres.wait_for_sessions(1, pid=pid, wait_event="PgSleep")
        connection.cancel_safe(timeout=10)
        with pytest.raises(psycopg.errors.QueryCanceled):
            running.result()
    assert one(connection, "SELECT 1") == 1


def test_the_end_of_the_server_is_seen(connect, params, secure_postgres, own_secure_postgres):
    connection = connect(params)
    secure_postgres.kill_sessions(pid=connection.info.backend_pid)
    with pytest.raises(psycopg.errors.AdminShutdown):
        connection.execute("SELECT 1")
    connection = connect(params, port=own_secure_postgres.port)
    own_secure_postgres.kill()
    with pytest.raises(psycopg.OperationalError):
        connection.execute("SELECT 1")


def test_the_end_of_the_client_is_seen(connect, params, secure_postgres):
    connection = connect(params)
    pid = connection.info.backend_pid
    connection.close()
    secure_postgres.wait_for_sessions(0, pid=pid)
    connection = connect(params)
    pid = connection.info.backend_pid
    with socket.socket(fileno=os.dup(connection.pgconn.socket)) as same:
        same.shutdown(socket.SHUT_RDWR)  # without a word to the server
    secure_postgres.wait_for_sessions(0, pid=pid)


def test_who_says_no_more_hears_the_rest(connect, params, secure_postgres):
    connection = connect(params)
    pid = connection.info.backend_pid
    connection.pgconn.send_query(b"SELECT repeat('x', 1000000) FROM generate_series(1, 20)")
    connection.pgconn.flush()
    with socket.socket(fileno=os.dup(connection.pgconn.socket)) as same:
        same.shutdown(socket.SHUT_WR)
    assert rows_of(connection) == 20
    secure_postgres.wait_for_sessions(0, pid=pid)


def test_closing_ends_all(directory, params, secure_postgres):
    threads, descriptors = threading.active_count(), open_descriptors()
    forwarder = Forwarder(directory)
    route = forwarder.route("postgresql", params)
    connection = psycopg.connect(**route.login)
    pid = connection.info.backend_pid
    forwarder.close()
    forwarder.close()
    secure_postgres.wait_for_sessions(0, pid=pid)
    with pytest.raises(psycopg.OperationalError):
        connection.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(**route.login)
    with pytest.raises(RuntimeError, match="closed"):
        forwarder.route("postgresql", params | {"sslmode": "require"})
    connection.close()
    assert threading.active_count() == threads
    assert open_descriptors() == descriptors


def test_nothing_is_left_of_a_connection(connect, params, secure_postgres):
    connect(params).close()
    descriptors = open_descriptors()
    for _ in range(10):
        connection = connect(params)
        pid = connection.info.backend_pid
        connection.close()
        secure_postgres.wait_for_sessions(0, pid=pid)
    with pytest.raises(psycopg.OperationalError):
        connect(params, dbname="nowhere")
    deadline = monotonic() + 10
    while open_descriptors() > descriptors:
        assert monotonic() < deadline


def test_equal_ones_share_a_socket_that_is_ours_alone(forwarder, directory, params):
    routes = [forwarder.route("postgresql", params) for _ in range(3)]
    assert len({route.login["port"] for route in routes}) == 1
    (path,) = directory.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    other = forwarder.route("postgresql", params | {"sslmode": "verify-ca"})
    assert other.login["port"] != routes[0].login["port"]

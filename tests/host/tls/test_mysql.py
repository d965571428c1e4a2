"""TLS to MariaDB, spoken by the forwarder, and mysqlclient at its other end."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import MySQLdb
import pymysql
import pytest
from pymysql.constants import CLIENT

from carpool.host.handoff import NotShareable
from support.databases import fresh_database

CIPHER = "SHOW STATUS LIKE 'Ssl_cipher'"
BIG = 8 << 20  # bytes


@pytest.fixture
def ca(mariadb_authority):
    return str(mariadb_authority.certificate)


@pytest.fixture
def connect(forwarder):
    opened = []

    def connect(params, **more):
        route = forwarder.route("mysql", params | more)
        opened.append(MySQLdb.connect(**route.login, autocommit=True, connect_timeout=20))
        return opened[-1]

    yield connect
    for connection in opened:
        if connection.open:
            connection.close()


def rows(connection, sql, args=None):
    with connection.cursor() as cursor:
        cursor.execute(sql, args)
        return cursor.fetchall()


def is_encrypted(connection):
    ((_, cipher),) = rows(connection, CIPHER)
    return bool(cipher)


def outcome(connect, params):
    """Tell whether a way of connecting ends in TLS, in none, or not at all."""
    try:
        connection = connect(**params)
    except MySQLdb.OperationalError:
        return "refused"
    encrypted = is_encrypted(connection)
    connection.close()
    return "tls" if encrypted else "plain"


@pytest.fixture
def servers(secure_mariadb, mariadb):
    return secure_mariadb, mariadb


@pytest.fixture
def certificates(ca, stranger):
    return {"none": None, "right": {"ca": ca}, "wrong": {"ca": str(stranger.certificate)}}


STRENGTH = ["plain", "tls", "refused"]
MODES = [None, "DISABLED", "PREFERRED", "REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY"]


@pytest.mark.parametrize("trusted", ["none", "right", "wrong"])
@pytest.mark.parametrize("mode", MODES)
def test_never_weaker_than_the_client_library(forwarder, servers, certificates, mode, trusted):
    params = {"ssl_mode": mode, "ssl": certificates[trusted]}
    params = {name: value for name, value in params.items() if value}
    for server in servers:
        login = server.params | params
        alone = outcome(MySQLdb.connect, login)
        route = forwarder.route("mysql", login)
        through = outcome(MySQLdb.connect, route.login)
        assert STRENGTH.index(through) >= STRENGTH.index(alone), (server.title, alone, through)
        assert route.relayed or through == "plain"


@pytest.mark.parametrize(
    "ask", [{"ssl_mode": "REQUIRED"}, {"ssl_mode": "PREFERRED"}, {"ssl": True}]
)
def test_tls_that_is_asked_for(connect, forwarder, secure_mariadb, ask):
    assert is_encrypted(connect(secure_mariadb.params, **ask))
    assert forwarder.route("mysql", secure_mariadb.params | ask).relayed


def test_without_tls_nothing_is_relayed(connect, forwarder, secure_mariadb, mariadb):
    for params in (secure_mariadb.params, secure_mariadb.unix_params):
        assert not forwarder.route("mysql", params).relayed
        assert not is_encrypted(connect(params))
    preferred = mariadb.params | {"ssl_mode": "PREFERRED"}
    assert not forwarder.route("mysql", preferred).relayed
    assert not is_encrypted(connect(preferred))


@pytest.mark.parametrize("mode", ["REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY"])
def test_a_server_without_tls_is_refused(connect, mariadb, mode):
    with pytest.raises(MySQLdb.OperationalError, match="does not offer TLS, which is asked for"):
        connect(mariadb.params, ssl_mode=mode)


@pytest.mark.parametrize("mode", ["REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY"])
def test_a_stranger_s_certificate_is_refused(connect, secure_mariadb, stranger, mode):
    with pytest.raises(MySQLdb.OperationalError, match="certificate verify failed: "):
        connect(secure_mariadb.params, ssl_mode=mode, ssl={"ca": str(stranger.certificate)})


def test_names_are_verified_if_asked(connect, secure_mariadb, ca):
    params = secure_mariadb.params | {"ssl": {"ca": ca}}
    assert is_encrypted(connect(params, ssl_mode="REQUIRED"))  # for 127.0.0.1
    for mode in ("VERIFY_CA", "VERIFY_IDENTITY"):
        with pytest.raises(MySQLdb.OperationalError, match=r"not valid for '127.0.0.1'"):
            connect(params, ssl_mode=mode)


def test_tls_on_a_unix_socket(connect, secure_mariadb, ca):
    params = secure_mariadb.unix_params | {"ssl": {"ca": ca}}
    assert is_encrypted(connect(params, ssl_mode="VERIFY_IDENTITY"))  # for localhost
    del params["unix_socket"]
    with pytest.raises(NotShareable, match="name it by unix_socket"):
        connect(params)


def test_a_certificate_that_the_system_does_not_know(connect, secure_mariadb, ca, monkeypatch):
    params = secure_mariadb.unix_params | {"ssl_mode": "VERIFY_IDENTITY"}
    with pytest.raises(MySQLdb.OperationalError, match="certificate verify failed"):
        connect(params)
    monkeypatch.setenv("SSL_CERT_FILE", ca)
    assert is_encrypted(connect(params))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"ssl_mode": "SURE"}, "'SURE' is none of DISABLED"),
        ({"ssl": {"ca": "/nowhere"}}, "ca /nowhere.*No such file"),
        ({"ssl": True, "read_default_file": "/etc/my.cnf"}, "without read_default_file, name all"),
        ({"ssl": {"cipher": "TLS_AES_128_GCM_SHA256"}}, "TLS 1.2 alone"),
        ({"ssl": {"cipher": "NONESUCH"}}, "cipher NONESUCH"),
    ],
)
def test_what_cannot_be_had_is_said(forwarder, secure_mariadb, given, message):
    with pytest.raises(NotShareable, match=message):
        forwarder.route("mysql", secure_mariadb.params | given)


def test_a_client_s_certificate(connect, secure_mariadb, mariadb_authority):
    secure_mariadb.query("CREATE OR REPLACE USER certified REQUIRE SUBJECT '/CN=certified'")
    params = secure_mariadb.params | {"user": "certified", "database": "", "ssl_mode": "REQUIRED"}
    mine = mariadb_authority.issue("certified")
    files = {"cert": str(mine.path), "key": str(mine.key)}
    assert is_encrypted(connect(params, ssl=files))
    with pytest.raises(MySQLdb.OperationalError, match="Access denied"):
        connect(params)
    locked = mariadb_authority.issue("locked", "a password")
    with pytest.raises(NotShareable, match="decrypt it"):
        connect(secure_mariadb.params, ssl={"cert": str(locked.path), "key": str(locked.key)})


@pytest.mark.parametrize("plugin", ["mysql_native_password", "ed25519"])
def test_passwords(connect, secure_mariadb, plugin):
    if plugin == "ed25519":
        secure_mariadb.query("INSTALL PLUGIN IF NOT EXISTS ed25519 SONAME 'auth_ed25519'")
    secure_mariadb.query(
        f"CREATE OR REPLACE USER shop IDENTIFIED VIA {plugin} USING PASSWORD('its secret')"
        " REQUIRE SSL"
    )
    shop = secure_mariadb.params | {"user": "shop", "ssl_mode": "REQUIRED", "database": ""}
    assert rows(connect(shop, password="its secret"), "SELECT CURRENT_USER()") == (("shop@%",),)
    with pytest.raises(MySQLdb.OperationalError, match="Access denied"):
        connect(shop, password="another")


def test_nobody_there(connect, secure_mariadb):
    with pytest.raises(MySQLdb.OperationalError, match=r"cannot reach 127.0.0.1:1: .*refused"):
        connect(secure_mariadb.params, port=1, ssl_mode="REQUIRED")


def test_a_server_that_is_full_says_so_itself(connect, own_secure_mariadb):
    own_secure_mariadb.query("SET GLOBAL max_connections = 10")
    params = own_secure_mariadb.params | {"ssl_mode": "REQUIRED", "user": "shop"}
    own_secure_mariadb.create_role("shop", "")
    own_secure_mariadb.query("REVOKE ALL PRIVILEGES, GRANT OPTION FROM shop")
    params["database"] = ""
    for _ in range(10):
        connect(params)
    with pytest.raises(MySQLdb.OperationalError, match="Too many connections"):
        connect(params)


def test_much_data_both_ways(connect, secure_mariadb, tmp_path):
    with fresh_database(secure_mariadb) as database:
        params = database.params | {"ssl_mode": "REQUIRED", "local_infile": True}
        connection = connect(params)
        assert len(rows(connection, "SELECT REPEAT('x', %s)", [BIG])[0][0]) == BIG
        assert rows(connection, "SELECT LENGTH(%s)", ["y" * BIG]) == ((BIG,),)
        lines = tmp_path / "lines"
        lines.write_text("".join(f"{n:06} {'z' * 1000}\n" for n in range(BIG // 1008)))
        rows(connection, "CREATE TABLE loaded (line TEXT)")
        rows(connection, f"LOAD DATA LOCAL INFILE '{lines}' INTO TABLE loaded")
        assert rows(connection, "SELECT COUNT(*) FROM loaded") == ((BIG // 1008,),)
        read = "".join(f"{line}\n" for (line,) in rows(connection, "SELECT line FROM loaded"))
        assert read == lines.read_text()
        connection.close()


def test_many_at_once(connect, secure_mariadb):
    params = secure_mariadb.params | {"ssl_mode": "REQUIRED"}
    with ThreadPoolExecutor(50) as threads:
        connections = list(threads.map(lambda _: connect(params), range(50)))
        assert all(threads.map(is_encrypted, connections))
    assert len({connection.thread_id() for connection in connections}) == 50


def test_the_end_of_the_server_is_seen(connect, secure_mariadb, own_secure_mariadb):
    connection = connect(secure_mariadb.params, ssl_mode="REQUIRED")
    secure_mariadb.kill_sessions(pid=connection.thread_id())
    with pytest.raises(MySQLdb.OperationalError):
        rows(connection, "SELECT 1")
    connection = connect(own_secure_mariadb.params, ssl_mode="REQUIRED")
    own_secure_mariadb.kill()
    with pytest.raises(MySQLdb.OperationalError):
        rows(connection, "SELECT 1")


def test_the_end_of_the_client_is_seen(connect, secure_mariadb):
    connection = connect(secure_mariadb.params, ssl_mode="REQUIRED")
    pid = connection.thread_id()
    connection.close()
    secure_mariadb.wait_for_sessions(0, pid=pid)
    connection = connect(secure_mariadb.params, ssl_mode="REQUIRED")
    pid = connection.thread_id()
    with socket.socket(fileno=connection.fileno()) as same:
        same.shutdown(socket.SHUT_WR)  # without a word to the server
        secure_mariadb.wait_for_sessions(0, pid=pid)
        same.detach()


def test_a_kill_from_elsewhere_ends_a_query(connect, secure_mariadb):
    connection = connect(secure_mariadb.params, ssl_mode="REQUIRED")
    pid = connection.thread_id()
    with ThreadPoolExecutor() as thread:
        running = thread.submit(rows, connection, "SELECT SLEEP(600)")
        secure_mariadb.wait_for_sessions(1, pid=pid, command="Query")
        rows(connect(secure_mariadb.params, ssl_mode="REQUIRED"), f"KILL QUERY {pid}")
        with pytest.raises(MySQLdb.OperationalError, match="interrupted"):
            running.result()
    assert rows(connection, "SELECT 1") == ((1,),)


def test_a_client_that_hangs_up_during_the_login(forwarder, secure_mariadb):
    route = forwarder.route("mysql", secure_mariadb.params | {"ssl_mode": "REQUIRED"})
    before = threading.active_count()
    for said in (b"", b"\x01\0\0\x01x", b"\xff" * 100):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(route.login["unix_socket"])
            assert client.recv(5)[4] == 10
            client.sendall(said)
    with MySQLdb.connect(**route.login) as connection:
        assert is_encrypted(connection)
    assert threading.active_count() <= before + 1


@pytest.mark.parametrize("password", ["its secret", "another"])
def test_a_client_that_counts_packets_sees_a_login_without_tls(forwarder, secure_mariadb, password):
    secure_mariadb.query("CREATE OR REPLACE USER shop IDENTIFIED BY 'its secret' REQUIRE SSL")
    route = forwarder.route("mysql", secure_mariadb.params | {"ssl_mode": "REQUIRED"})
    who = {"user": "shop", "password": password}
    client = pymysql.connect(unix_socket=route.login["unix_socket"], **who, defer_connect=True)
    if password == "another":
        with pytest.raises(pymysql.err.OperationalError, match="Access denied"):
            client.connect()
        return
    client.connect()
    with client, client.cursor() as cursor:
        assert not client.server_capabilities & CLIENT.SSL
        cursor.execute("SELECT CURRENT_USER()")
        assert cursor.fetchall() == (("shop@%",),)

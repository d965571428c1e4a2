"""The servers and the proxy that other tests rely on."""

import shutil
import signal
import ssl
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import psycopg
import pymysql
import pytest

from support.databases import fresh_database
from support.guard import ended
from support.os_user import temporary_folder
from support.servers import MariaDB, NotInstalled, PostGIS, PostgreSQL, ServerError
from tests.conftest import running

COM_RESET_CONNECTION = 0x1F
LOST = (psycopg.OperationalError, pymysql.err.OperationalError)


def connect(params, **more):
    driver = psycopg if "dbname" in params else pymysql
    return driver.connect(**params | more, autocommit=True)


def run(connection, sql, args=None):
    with connection.cursor() as cursor:
        cursor.execute(sql, args)
        return list(cursor.fetchall()) if cursor.description else []


def pid_of(connection):
    postgres = isinstance(connection, psycopg.Connection)
    return connection.info.backend_pid if postgres else connection.thread_id()


@pytest.fixture(params=["postgres", "postgis", "mariadb"])
def server(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def database(server):
    with fresh_database(server) as database:
        yield database


@pytest.fixture(params=[PostgreSQL, PostGIS, MariaDB], ids=lambda server: server.__name__)
def kind(request):
    try:
        request.param.check_installed()
    except NotInstalled as missing:
        pytest.skip(str(missing))
    return request.param


@pytest.fixture
def own_server(kind):
    yield from running(kind)


def test_a_database_is_empty_and_private(database):
    schema = "public" if "dbname" in database.params else database.name
    tables = (
        "SELECT count(*) FROM information_schema.tables WHERE table_type = 'BASE TABLE'"
        " AND table_name <> 'spatial_ref_sys' AND table_schema = %s"
    )
    with connect(database.params) as connection:
        assert run(connection, tables, [schema]) == [(0,)]
    assert database.name != database.server.MAIN


def test_sessions_are_those_of_clients_alone(database):
    admin = database.server.admin(database.name)
    with admin, connect(database.params) as connection:
        (session,) = database.sessions()
        assert session.pid == pid_of(connection)
        assert (session.dbname, session.user) == (database.name, database.params["user"])
        (same,) = database.sessions(pid=session.pid, user=session.user)
        assert same.pid == session.pid
        assert database.sessions(user="other") == []
    assert database.wait_for_sessions(0) == []


def test_waiting_for_sessions_ends_with_a_list_of_them(database):
    with (
        connect(database.params),
        pytest.raises(AssertionError, match=f"(?s)1 sessions, not 0.*{database.name}"),
    ):
        database.wait_for_sessions(0, timeout=0)


def test_statements_are_counted_by_the_server(database):
    with connect(database.params) as first, connect(database.params) as second:
        mark = database.mark()
        run(first, "SELECT 1,\n  2")
        run(second, "SELECT 'app=x LOG:', '\u00e9'")
        database.query("SELECT 'ours, not counted'")
        later = database.mark()
        run(second, "SELECT 3")
        texts = [statement.text for statement in database.statements(mark)]
        assert texts == ["SELECT 1,\n  2", "SELECT 'app=x LOG:', '\u00e9'", "SELECT 3"]
        (last,) = database.statements(later, pid=pid_of(second))
        assert (last.dbname, last.text, last.user) == (
            *(database.name, "SELECT 3", database.params["user"]),
        )
        assert database.statements(mark, user="other") == []


def test_statements_have_the_names_of_applications(postgres):
    with connect(postgres.params, application_name="app=x LOG:") as connection:
        mark = postgres.mark()
        connection.execute("SELECT %s", [3])
        (statement,) = postgres.statements(mark, application_name="app=x LOG:")
        assert statement.text == "SELECT $1"


def test_logins_are_counted_by_the_server(database):
    mark = database.mark()
    for _ in range(3):
        connect(database.params).close()
    assert database.connections(mark) == 3
    assert database.connections(mark, user="other") == 0
    assert database.connections(database.mark()) == 0


def test_logins_are_counted_by_application(postgres):
    mark = postgres.mark()
    for name in ("a", "a", "b"):
        connect(postgres.params, application_name=name).close()
    assert postgres.connections(mark, application_name="a") == 2


def test_killed_sessions_are_gone(database):
    with connect(database.params) as connection:
        assert database.kill_sessions() == 1
        assert database.sessions() == []
        with pytest.raises(LOST):
            run(connection, "SELECT 1")


def test_a_dropped_database_takes_its_sessions_along(server):
    server.create_database("dropped")
    with connect(server.params | {server.DBNAME: "dropped"}) as connection:
        run(connection, "CREATE TABLE locked (number int)")
        run(connection, "BEGIN")
        run(connection, "SELECT * FROM locked")
        server.drop_database("dropped")
        with pytest.raises(LOST):
            run(connection, "SELECT 1")


def test_a_role_must_give_its_password(database):
    role = {"user": f"clerk_{database.name}", "password": "it's secret"}
    database.server.create_role(role["user"], role["password"])
    mark = database.mark()
    connect(database.params, **role).close()
    with pytest.raises(LOST, match=r"password authentication failed|Access denied"):
        connect(database.params, **role | {"password": "wrong"})
    assert database.connections(mark, user=role["user"]) == 1


def test_the_unix_socket_works_too(database):
    with connect(database.unix_params) as connection:
        (session,) = database.sessions(pid=pid_of(connection))
    if isinstance(database.server, MariaDB):
        assert session.host == "localhost"
    else:
        assert session.client_addr is None


def test_django_is_given_the_same_address(database):
    entry = database.django(CONN_MAX_AGE=0)
    assert (entry["NAME"], entry["PORT"]) == (database.name, database.server.port)
    assert (entry["USER"], entry["HOST"]) == (database.params["user"], "127.0.0.1")
    assert entry["CONN_MAX_AGE"] == 0


def test_data_survive_restart_and_kill(own_server):
    own_server.query("CREATE TABLE kept AS SELECT 1 AS number")
    for end in (own_server.restart, lambda: (own_server.kill(), own_server.start_again())):
        with connect(own_server.params) as connection:
            end()
            with pytest.raises(LOST):
                run(connection, "SELECT 1")
        mark = own_server.mark()
        with connect(own_server.params) as connection:
            assert run(connection, "SELECT number FROM kept") == [(1,)]
            assert own_server.statements(mark)[-1].text == "SELECT number FROM kept"


def test_a_paused_server_answers_when_resumed(own_server):
    with connect(own_server.params) as connection, ThreadPoolExecutor() as thread:
        own_server.pause()
        try:
            answer = thread.submit(run, connection, "SELECT 1")
            assert {p.status() for p in own_server.processes()} == {psutil.STATUS_STOPPED}
            assert not answer.done()
        finally:
            own_server.resume()
        assert answer.result(timeout=30) == [(1,)]


def test_a_stopped_server_leaves_nothing(own_server):
    processes = list(own_server.processes())
    own_server.pause()
    own_server.stop()
    assert not own_server.folder.exists()
    assert all(map(ended, processes))
    own_server.stop()  # once more does no harm


@pytest.mark.parametrize(
    ("server", "message"),
    [
        (PostgreSQL, 'unrecognized configuration parameter "no_such"'),
        (MariaDB, "unknown variable 'no_such=setting'"),
    ],
)
def test_a_server_that_cannot_start_says_why(server, message):
    with pytest.raises(ServerError, match=message):
        next(running(server, no_such="setting"))


@pytest.mark.parametrize(
    ("server", "hint"),
    [(MariaDB, "apt-get install mariadb-server-core"), (PostGIS, "apt-get install postgresql-")],
)
def test_a_server_that_is_not_installed_says_how_to_get_it(server, hint, monkeypatch, tmp_path):
    monkeypatch.setattr("support.servers.mariadb.shutil.which", lambda *_, **__: None)
    monkeypatch.setattr("support.servers.postgis._EXTENSIONS", tmp_path)
    with pytest.raises(NotInstalled, match=hint):
        server.start()


def test_new_databases_have_postgis(postgis):
    with fresh_database(postgis) as database, connect(database.params) as connection:
        assert run(connection, "SELECT ST_AsText(ST_Point(1, 2))") == [("POINT(1 2)",)]


def test_mariadb_shows_the_commands_it_does_not_log(mariadb, mariadb_database):
    with connect(mariadb_database.params) as connection, connect(mariadb.params) as elsewhere:
        before = mariadb_database.clock()
        elsewhere.ping()
        connection.ping()
        connection._execute_command(COM_RESET_CONNECTION, b"")
        connection._read_ok_packet()
        assert mariadb_database.unlogged(before) == ["Ping", "Reset connection"]
        assert mariadb_database.unlogged(mariadb_database.clock()) == []


def test_mariadb_follows_a_session_to_other_databases_and_users(mariadb, mariadb_database):
    mariadb.create_role("changed", "secret")
    with connect(mariadb.params) as connection:
        mark = mariadb.mark()
        connection.select_db(mariadb_database.name)
        run(connection, "USE mysql")
        run(connection, f"use `{mariadb_database.name}`")
        run(connection, "SELECT 1")
        assert [s.text for s in mariadb.statements(mark, dbname="mysql")] == ["USE mysql"]
        assert [s.text for s in mariadb_database.statements(mark)] == [
            f"Init DB {mariadb_database.name}",
            f"use `{mariadb_database.name}`",
            "SELECT 1",
        ]


def test_mariadb_speaks_tls(tls_mariadb):
    context = ssl.create_default_context(cadata=tls_mariadb.ca.read_text())
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    with connect(tls_mariadb.params, ssl=context) as connection:
        ((_, version),) = run(connection, "SHOW STATUS LIKE 'Ssl_version'")
        assert version.startswith("TLSv1.")


@pytest.fixture
def folder(kind):
    parent = temporary_folder(kind.os_user)
    yield parent / "server"
    shutil.rmtree(parent)


def test_a_named_folder_is_kept(kind, folder):
    for visits in (1, 2):
        with kind.start(folder) as server:
            server.query("CREATE TABLE IF NOT EXISTS visits (number int)")
            server.query("INSERT INTO visits VALUES (1)")
            assert len(server.query("SELECT * FROM visits")) == visits


@pytest.mark.parametrize(
    ("death", "state"),
    [
        (signal.SIGKILL, "running"),
        (signal.SIGKILL, "paused"),
        (signal.SIGTERM, "running"),
        (signal.SIGINT, "running"),
    ],
)
def test_the_server_ends_with_its_owner(kind, death, state):
    program = [sys.executable, "-c", OWNER, kind.__name__, state]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as owner:
        folder, *pids = owner.stdout.readline().split()
        processes = [psutil.Process(int(pid)) for pid in pids]
        owner.send_signal(death)
        owner.communicate()  # ends when the guard has ended, which shares the owner's output
    assert all(map(ended, processes))
    assert not Path(folder).exists()


OWNER = textwrap.dedent("""
    import signal, sys
    from support import servers
    server = getattr(servers, sys.argv[1]).start()
    if sys.argv[2] == "paused":
        server.pause()
    pids = [process.pid for process in server.processes()]
    print(server.folder, *pids, flush=True)
    signal.pause()
""")

"""The servers and the proxy that other tests rely on."""

import shutil
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import psycopg
import pytest

from support.guard import ended
from support.os_user import temporary_folder
from support.servers import PostgreSQL, ServerError


def connect(database, **more):
    return psycopg.connect(**database.params | more, autocommit=True)


def test_a_database_is_empty_and_private(postgres, database):
    with connect(database) as connection:
        tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
        assert connection.execute(tables).fetchone() == (0,)
    assert database.name not in {postgres.params["dbname"], "template1"}


def test_sessions_are_those_of_clients_alone(database):
    admin = database.server.admin(database.name)
    with admin, connect(database, application_name="shop") as connection:
        (session,) = database.sessions()
        assert session.pid == connection.info.backend_pid
        assert database.sessions(application_name="other") == []
    assert database.wait_for_sessions(0) == []


def test_waiting_for_sessions_ends_with_a_list_of_them(database):
    with (
        connect(database),
        pytest.raises(AssertionError, match=f"(?s)1 sessions, not 0.*{database.name}"),
    ):
        database.wait_for_sessions(0, timeout=0)


def test_statements_are_counted_by_the_server(database):
    mark = database.mark()
    with connect(database, application_name="app=x LOG:") as first, connect(database) as second:
        first.execute("SELECT 1,\n  2")
        second.execute("SELECT %s", [3])
        database.query("SELECT 'ours, not counted'")
        texts = [statement.text for statement in database.statements(mark)]
        assert texts == ["SELECT 1,\n  2", "SELECT $1"]
        (of_second,) = database.statements(mark, pid=second.info.backend_pid)
        assert (of_second.dbname, of_second.text) == (database.name, "SELECT $1")


def test_logins_are_counted_by_the_server(database):
    mark = database.mark()
    for name in ("a", "a", "b"):
        connect(database, application_name=name).close()
    assert database.connections(mark) == 3
    assert database.connections(mark, application_name="a") == 2


def test_killed_sessions_are_gone(database):
    with connect(database) as connection:
        assert database.kill_sessions() == 1
        assert database.sessions() == []
        with pytest.raises(psycopg.errors.AdminShutdown):
            connection.execute("SELECT 1")


def test_a_role_must_give_its_password(postgres, database):
    postgres.create_role("clerk", "it's secret")
    connect(database, user="clerk", password="it's secret").close()
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        connect(database, user="clerk", password="wrong")


def test_the_unix_socket_works_too(postgres):
    with psycopg.connect(**postgres.unix_params) as connection:
        assert connection.info.host == str(postgres.folder)


def test_data_survive_restart_and_kill(own_postgres):
    own_postgres.query("CREATE TABLE kept AS SELECT 1 AS number")
    for end in (own_postgres.restart, lambda: (own_postgres.kill(), own_postgres.start_again())):
        with psycopg.connect(**own_postgres.params) as connection:
            end()
            with pytest.raises(psycopg.OperationalError):
                connection.execute("SELECT 1")
        assert own_postgres.query("SELECT number FROM kept")[0].number == 1


def test_a_paused_server_answers_when_resumed(own_postgres):
    with psycopg.connect(**own_postgres.params) as connection, ThreadPoolExecutor() as thread:
        own_postgres.pause()
        answer = thread.submit(connection.execute, "SELECT 1")
        assert {p.status() for p in own_postgres.processes()} == {psutil.STATUS_STOPPED}
        assert not answer.done()
        own_postgres.resume()
        assert answer.result(timeout=30).fetchone() == (1,)


def test_a_stopped_server_leaves_nothing(own_postgres):
    processes = list(own_postgres.processes())
    own_postgres.pause()
    own_postgres.stop()
    assert not own_postgres.folder.exists()
    assert all(map(ended, processes))
    own_postgres.stop()  # once more does no harm


def test_a_server_that_cannot_start_says_why():
    with pytest.raises(ServerError, match='unrecognized configuration parameter "no_such"'):
        PostgreSQL.start(no_such="setting")


@pytest.fixture
def folder():
    parent = temporary_folder()
    yield parent / "server"
    shutil.rmtree(parent)


def test_a_named_folder_is_kept(folder):
    for visits in (1, 2):
        with PostgreSQL.start(folder) as server:
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
def test_the_server_ends_with_its_owner(death, state):
    program = [sys.executable, "-c", OWNER, state]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as owner:
        folder, *pids = owner.stdout.readline().split()
        processes = [psutil.Process(int(pid)) for pid in pids]
        owner.send_signal(death)
        owner.communicate()  # ends when the guard has ended, which shares the owner's output
    assert all(map(ended, processes))
    assert not Path(folder).exists()


OWNER = textwrap.dedent("""
    import signal, sys
    from support.servers import PostgreSQL
    server = PostgreSQL.start()
    if sys.argv[1] == "paused":
        server.pause()
    pids = [process.pid for process in server.processes()]
    print(server.folder, *pids, flush=True)
    signal.pause()
""")

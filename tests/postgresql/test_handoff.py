"""Shells: one connection object in turn on several sessions of a real server."""

import hashlib
import threading

import psycopg
import pytest
from psycopg import IsolationLevel
from psycopg.adapt import AdaptersMap
from psycopg.types.json import set_json_loads

from carpool.errors import StaleCursorError
from carpool.host.handoff import Shell
from carpool.postgresql.driver import PsycopgDriver
from carpool.wrapper.trail import Trail
from tests.postgresql.probing import pid_of
from tests.probing import eventually, run, value


def test_statements_go_to_the_session_below(worker, database):
    pids = {pid_of(worker.first), pid_of(worker.second)}
    mark = database.mark()
    for connection in (worker.first, worker.second, worker.first):
        shell = worker.lend(connection)
        pid = worker.broker.driver.server_id(connection)
        assert pid_of(shell) == pid == shell.info.backend_pid
        worker.give_back()
    assert len(database.statements(mark)) == 3
    assert database.connections(mark) == 0
    assert {session.pid for session in database.sessions()} == pids
    assert worker.broker.greeted == [Shell()]


def test_the_server_connections_stay_usable_where_they_came_from(worker):
    for connection in (worker.first, worker.second):
        run(worker.lend(connection), "SELECT 1")
        worker.give_back()
        assert worker.broker.driver.look(connection)
        assert value(connection, "SELECT 2") == 2


def test_a_shell_knows_what_the_server_tells_at_a_login(make_worker, database):
    worker = make_worker(settings={"TimeZone": "Asia/Tokyo"}, application_name="carpool-test")
    shell = worker.shell
    assert shell.info.server_version == worker.first.info.server_version
    assert shell.info.encoding == "utf-8"
    assert shell.info.parameter_status("TimeZone") == "Asia/Tokyo"
    assert shell.info.parameter_status("application_name") == "carpool-test"
    assert (shell.info.user, shell.info.dbname) == ("postgres", database.name)
    assert value(worker.lend(worker.first), "SELECT now()").utcoffset().total_seconds() == 9 * 3600


def test_every_report_of_the_server_is_passed_on(worker, monkeypatch):
    monkeypatch.delenv("PGAPPNAME", raising=False)
    told = {name.decode() for name, _ in worker.broker.facts.parameters}
    rows = run(worker.first, "SELECT name FROM pg_settings")
    reported = {name for (name,) in rows if worker.first.info.parameter_status(name) is not None}
    assert told - {"session_authorization", "is_superuser"} == reported - {"is_superuser"}
    assert {"session_authorization", "is_superuser"} <= told


def test_a_failed_statement_leaves_nothing_to_the_next_session(worker):
    shell = worker.lend(worker.first)
    with pytest.raises(psycopg.errors.DivisionByZero):
        run(shell, "SELECT 1/0")
    worker.give_back()
    assert value(worker.lend(worker.second), "SELECT 1") == 1


def test_a_failed_transaction_is_rolled_back_in_its_own_session(make_worker):
    worker = make_worker(autocommit=False)
    shell = worker.lend(worker.first)
    with pytest.raises(psycopg.errors.DivisionByZero):
        run(shell, "SELECT 1/0")
    assert not worker.driver.settle(shell)
    assert not worker.driver.broken(shell)
    shell.rollback()
    worker.lend(worker.second)
    assert value(worker.shell, "SELECT 1") == 1
    shell.rollback()
    assert worker.broker.driver.look(worker.first)


def test_transactions(worker, database):
    run(worker.first, "CREATE TABLE account (total int)")
    with worker.lend(worker.first).transaction():
        run(worker.shell, "INSERT INTO account VALUES (1)")
    worker.give_back()
    with worker.lend(worker.second).transaction(force_rollback=True):
        run(worker.shell, "INSERT INTO account VALUES (2)")
    assert database.query("SELECT total FROM account") == [(1,)]


def test_notices_reach_the_handlers(worker):
    heard = []
    for connection in (worker.first, worker.second):
        shell = worker.lend(connection)
        shell.add_notice_handler(lambda notice: heard.append(notice.message_primary))
        run(shell, "DO $$ BEGIN RAISE WARNING 'beware'; END $$")
        shell.session.effect = None  # a DO may do anything
        worker.give_back()
    assert heard == ["beware", "beware"]


def test_large_results(worker):
    expected = hashlib.sha256(b"carpool " * 2_000_000).hexdigest()
    for connection in (worker.first, worker.second):
        text = value(worker.lend(connection), "SELECT repeat('carpool ', 2000000)")
        assert hashlib.sha256(text.encode()).hexdigest() == expected
        worker.give_back()


def test_copy(worker, database):
    run(worker.first, "CREATE TABLE number (n int)")
    cursor = worker.lend(worker.first).cursor()
    with cursor.copy("COPY number FROM STDIN") as copy:
        for n in range(10_000):
            copy.write_row((n,))
    worker.shell.session.effect = None
    worker.give_back()
    cursor = worker.lend(worker.second).cursor()
    with cursor.copy("COPY number TO STDOUT") as copy:
        assert sum(int(row[0]) for row in copy.rows()) == sum(range(10_000))
    assert database.query("SELECT count(*) FROM number") == [(10_000,)]


def test_pipelines(worker):
    for connection in (worker.first, worker.second):
        with worker.lend(connection).pipeline():
            cursors = [worker.shell.execute("SELECT %s::int", [n]) for n in range(100)]
            assert [cursor.fetchone()[0] for cursor in cursors] == list(range(100))
        worker.shell.session.effect = None
        worker.give_back()


def test_server_side_cursors(worker):
    for connection in (worker.first, worker.second):
        shell = worker.lend(connection)
        with shell.transaction(), shell.cursor("numbers") as cursor:
            cursor.itersize = 10
            cursor.execute("SELECT generate_series(1, 1000)")
            assert sum(n for (n,) in cursor) == 500_500
        shell.session.effect = None
        worker.give_back()


def test_a_cursor_serves_no_later_session(worker):
    cursor = worker.lend(worker.first).cursor()
    cursor.execute("SELECT 1")
    worker.lend(worker.second)
    with pytest.raises(StaleCursorError):
        cursor.execute("SELECT 1")


def test_the_record_starts_anew_with_every_session(worker):
    shell = worker.lend(worker.first)
    trail = Trail()
    trail.enter(shell)
    run(shell, "SET work_mem = '1MB'")
    worker.driver.set_up_done(shell, "somebody")
    trail.leave(shell)
    worker.driver.settle(shell)
    trail.fresh = False
    trail.enter(shell)
    assert not trail.fresh  # the same session, and nobody has been there
    assert worker.driver.set_up_by(shell) == "somebody"
    run(shell, "SET work_mem = '2MB'")
    worker.lend(worker.second)
    trail.enter(shell)
    assert trail.fresh
    assert worker.driver.set_up_by(shell) is worker.driver.effect(shell) is None
    assert not worker.driver.set_up_left_traces(shell)
    assert not shell.session.by_hand


def test_a_reset_reaches_the_session_below(worker):
    shell = worker.lend(worker.first)
    run(shell, "SET work_mem = '1MB'")
    assert not worker.driver.settle(shell)
    worker.driver.begin_reset(shell, everything=True)
    worker.driver.finish_reset(shell, 10)
    assert worker.driver.settle(shell)
    assert value(worker.first, "SHOW work_mem") == value(worker.second, "SHOW work_mem")


def test_what_has_been_notified_to_one_is_not_told_to_the_next(worker):
    shell = worker.lend(worker.first)
    run(shell, "LISTEN news")
    run(worker.second, "NOTIFY news")
    run(shell, "SELECT 1")
    worker.lend(worker.second)
    assert list(shell.notifies(timeout=0)) == []


def test_the_object_is_as_the_driver_makes_them(make_worker, database):
    class Mine(psycopg.Cursor):
        pass

    context = AdaptersMap(psycopg.adapters)
    set_json_loads(lambda text: "read by mine", context)
    worker = make_worker(
        cursor_factory=Mine,
        context=type("Context", (), {"adapters": context, "connection": None})(),
        isolation_level=IsolationLevel.SERIALIZABLE,
        autocommit=False,
    )
    shell, own = worker.lend(worker.first), worker.driver.connect({})
    assert shell.session.baseline == own.session.baseline
    assert isinstance(shell.cursor(), Mine)
    assert value(shell, "SELECT '{}'::json") == "read by mine"
    assert value(shell, "SHOW transaction_isolation") == "serializable"
    shell.rollback()
    worker.driver.close(own, 1)


def test_nothing_is_prepared(worker):
    shell = worker.lend(worker.first)
    with pytest.raises(psycopg.NotSupportedError, match="prepare_threshold"):
        shell.prepare_threshold = 1
    for _ in range(10):
        shell.execute("SELECT %s::int", [1], prepare=True)
    assert run(worker.first, "SELECT * FROM pg_prepared_statements") == []


class Adapting(PsycopgDriver):
    """Asks the database for something, as PostGIS' does."""

    fails = False
    lesson = "SELECT 1"

    def adapt(self, connection):
        run(connection, self.lesson)
        connection.taught = [*getattr(connection, "taught", []), pid_of(connection)]
        if self.fails:
            raise psycopg.OperationalError("on purpose")


def test_a_subclass_teaches_a_shell_once_a_session_is_there(make_worker, database):
    worker = make_worker(Adapting)
    shell = worker.lend(worker.first)
    worker.lend(worker.second)
    assert shell.taught == [worker.first.info.backend_pid]


def test_a_lesson_that_failed_is_given_again(make_worker):
    worker = make_worker(Adapting)
    worker.driver.fails = True
    with pytest.raises(psycopg.OperationalError, match="on purpose"):
        worker.lend(worker.first)
    worker.driver.fails = False
    worker.lend(worker.second)
    assert len(worker.shell.taught) == 2


def test_a_lesson_leaves_no_trace(make_worker):
    worker = make_worker(Adapting)
    worker.driver.lesson = "SET work_mem = '8MB'"
    shell = worker.lend(worker.first)
    assert worker.driver.effect(shell) is None
    assert not shell.session.by_hand
    assert worker.driver.settle(shell)


def test_a_cancel_reaches_the_session_below(worker, database):
    shell = worker.lend(worker.first)
    worker.lend(worker.second)
    failed = []

    def sleep():
        try:
            run(shell, "SELECT pg_sleep(60)")
        except psycopg.errors.QueryCanceled as error:
            failed.append(error)

    thread = threading.Thread(target=sleep)
    thread.start()
    eventually(lambda: database.sessions(pid=worker.second.info.backend_pid)[0].state == "active")
    shell.cancel_safe(timeout=5)
    thread.join(10)
    assert len(failed) == 1
    assert value(shell, "SELECT 1") == 1


def test_cancelling_an_idle_session_harms_nobody(worker):
    worker.broker.driver.cancel(worker.first, 5)
    assert value(worker.first, "SELECT 1") == 1


def test_cancelling_a_session_that_has_gone_raises_nothing(worker, database):
    database.kill_sessions()
    worker.broker.driver.cancel(worker.first, 5)

"""What breaks behind PgBouncer in transaction mode, and works here: docs/modes.md, line by line.

Each request leaves something in its session, lets other threads take what connections they can
get, and then counts on what it has left.
"""

import re
from contextlib import closing
from pathlib import Path

import pytest
from django.db import connection as default
from django.db import connections, transaction
from django.db.backends.postgresql.psycopg_any import is_psycopg3

from tests.django.models import CREATE, Note
from tests.probing import run, value

PAGE = Path(__file__).parents[2] / "docs" / "modes.md"
MODE = {"mode": "transaction", "max_size": 2, "timeout": 5}


@pytest.fixture
def connection(use):
    options = {"prepare_threshold": 0} if is_psycopg3 else {}  # psycopg 2 prepares nothing
    connection = use(MODE, options)
    run(connection, "CREATE TABLE item (id serial PRIMARY KEY, n integer)")
    run(connection, "INSERT INTO item (n) SELECT generate_series(1, 500)")
    connection.close()
    return connection


@pytest.fixture
def others(in_thread):
    """Call it to have others use what connections they can get."""

    def use_all():
        with transaction.atomic():
            sessions = {value(default, "SELECT pg_backend_pid()")}
            if not connections["default"].pool.snapshot().idle:
                return
            sessions.add(in_thread(lambda: value(default, "SELECT pg_backend_pid()")))
        assert len(sessions) == 2

    return lambda: in_thread(use_all)


def case_set(connection, others):
    run(connection, "SET statement_timeout = '77s'")
    others()
    assert value(connection, "SHOW statement_timeout") == "77s"


def case_set_search_path(connection, others):
    run(connection, "CREATE SCHEMA mine CREATE TABLE item (n text)")
    connection.close()
    run(connection, "SET search_path = mine")
    others()
    assert value(connection, "SELECT count(*) FROM item") == 0


def case_set_role(connection, others):
    run(connection, "SET ROLE pg_monitor")
    others()
    assert value(connection, "SELECT current_user") == "pg_monitor"


def case_set_local(connection, others):
    with transaction.atomic():
        run(connection, "SET LOCAL statement_timeout = '77s'")
        others()
        assert value(connection, "SHOW statement_timeout") == "77s"
    assert connection.pinned is None


def case_listen(connection, others):
    run(connection, "LISTEN news")
    others()
    run(connection, "NOTIFY news, 'hello'")
    connection.ensure_connection()
    if hasattr(connection.connection, "notifies") and callable(connection.connection.notifies):
        payloads = [
            each.payload for each in connection.connection.notifies(timeout=5, stop_after=1)
        ]
    else:  # psycopg 2
        connection.connection.poll()
        payloads = [each.payload for each in connection.connection.notifies]
    assert payloads == ["hello"]


def case_with_hold_cursor(connection, others):
    run(connection, "DECLARE mine CURSOR WITH HOLD FOR SELECT id FROM item ORDER BY id")
    assert value(connection, "FETCH mine") == 1
    others()
    assert value(connection, "FETCH mine") == 2


def case_iterator(connection, others):
    run(connection, CREATE)
    run(connection, "INSERT INTO note (text) SELECT generate_series(1, 500)::text")
    connection.close()
    notes = iter(Note.objects.order_by("id").iterator(chunk_size=100))
    assert next(notes).text == "1"
    others()
    assert sum(1 for _ in notes) == 499


def case_prepare(connection, others):
    run(connection, "PREPARE mine AS SELECT 7")
    others()
    assert value(connection, "EXECUTE mine") == 7


def case_prepared_by_the_driver(connection, others):
    with closing(connection.cursor()) as cursor:
        for number in range(8):
            cursor.execute("SELECT n FROM item WHERE id = %s", [number + 1])
            assert cursor.fetchall() == [(number + 1,)]
            others()


def case_temporary_table(connection, others):
    run(connection, "CREATE TEMPORARY TABLE mine AS SELECT 7 AS n")
    others()
    assert value(connection, "SELECT n FROM mine") == 7


def case_on_commit_drop(connection, others):
    with transaction.atomic():
        run(connection, "CREATE TEMPORARY TABLE mine ON COMMIT DROP AS SELECT 7 AS n")
        others()
        assert value(connection, "SELECT n FROM mine") == 7
    assert connection.pinned is None


def case_load(connection, others):
    run(connection, "LOAD 'auto_explain'")
    others()
    assert value(connection, "SHOW auto_explain.log_min_duration") == "-1"


def case_advisory_lock(connection, others):
    run(connection, "SELECT pg_advisory_lock(7)")
    others()
    assert value(connection, "SELECT pg_advisory_unlock(7)") is True


def case_lock_of_a_transaction(connection, others):
    with transaction.atomic():
        run(connection, "SELECT pg_advisory_xact_lock(7)")
        others()
        assert value(connection, "SELECT count(*) FROM pg_locks WHERE objid = 7") == 1
    assert connection.pinned is None


def case_currval(connection, others):
    with transaction.atomic():
        run(connection, "INSERT INTO item (n) VALUES (501)")
        others()
        assert value(connection, "SELECT lastval()") == 501


def case_start_up_parameters(connection, others):
    others()
    assert value(connection, "SHOW TimeZone") == connection.timezone_name
    others()
    assert value(connection, "SHOW TimeZone") == connection.timezone_name


CASES = {
    name.removeprefix("case_"): case for name, case in globals().items() if name.startswith("case_")
}


@pytest.mark.parametrize("case", CASES)
def test_it_works_here(connection, others, case):
    CASES[case](connection, others)


def test_the_next_request_finds_nothing_of_it(connection, others):
    """After all of them, one after the other, on the same two connections."""
    before = run(connection, "SELECT name, setting FROM pg_settings ORDER BY name")
    for name in ("set", "set_role", "temporary_table", "prepare", "advisory_lock"):
        CASES[name](connection, others)
        connection.close()
    for _ in range(2):
        assert run(connection, "SELECT name, setting FROM pg_settings ORDER BY name") == before
        users_own = "SELECT count(*) FROM pg_prepared_statements WHERE from_sql"
        assert value(connection, users_own) == 0
        connection.close()


def test_the_page_names_each_of_these_and_no_other():
    named = re.findall(r"`(?:\.\.\.)?\[([a-z_]+)\]`", PAGE.read_text())
    assert sorted(named) == sorted(CASES)

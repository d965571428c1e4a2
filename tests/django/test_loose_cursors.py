"""Django's cursors in transaction mode, where they are more than execute and fetch."""

from unittest import mock

import pytest
from django.db import ProgrammingError
from django.db import connection as default
from django.db.backends.utils import CursorDebugWrapper, CursorWrapper
from django.test.utils import CaptureQueriesContext

import carpool
from carpool.wrapper.trail import Trail
from tests.conformance.leases import impatient, is_free
from tests.probing import run, value

try:
    from psycopg.types.string import TextLoader
except ImportError:  # psycopg 2
    TextLoader = None

MODE = {"mode": "transaction", "max_size": 1}


@pytest.fixture
def connection(use):
    return use(MODE)


def test_they_are_django_s(connection):
    with connection.cursor() as cursor:
        assert isinstance(cursor, CursorWrapper)
    with CaptureQueriesContext(connection) as captured, connection.cursor() as cursor:
        assert isinstance(cursor, CursorDebugWrapper)
        cursor.execute("SELECT %s", [7])
        assert cursor.fetchone() == (7,)
    assert [each["sql"] for each in captured] == ["SELECT 7"]


def test_one_that_nobody_has_used_goes_with_the_next_statement(connection):
    cursor = connection.cursor()
    assert value(connection, "SELECT 1") == 1
    assert is_free()
    cursor.execute("SELECT 2")
    assert cursor.fetchone() == (2,)


def test_a_closed_one_stays_closed(connection):
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    with pytest.raises(connection.features.closed_cursor_error_class):
        cursor.execute("SELECT 1")


def test_one_from_before_the_close_of_the_connection_is_refused(connection):
    cursor = connection.cursor()
    cursor.execute("SELECT 1")
    connection.close()
    with pytest.raises(carpool.StaleCursorError):
        cursor.execute("SELECT 1")


@pytest.mark.psycopg3  # the rows are with the client
def test_what_is_known_of_the_rows_outlasts_the_connection(connection, in_thread):
    cursor = connection.cursor()
    cursor.execute("SELECT 7 AS seven UNION SELECT 8")
    assert is_free()
    in_thread(lambda: run(default, "SELECT 'other' AS other"))
    assert cursor.rowcount == 2
    assert [column[0] for column in cursor.description] == ["seven"]
    assert sorted(cursor) == [(7,), (8,)]


@pytest.mark.psycopg3  # the rows are with the client
def test_its_connection_is_never_somebody_elses(connection):
    cursor = connection.cursor()
    cursor.execute("SELECT 1")
    assert is_free()
    assert cursor.connection is connection.connection  # a stand-in
    assert connection.pinned is None
    cursor.connection.cursor().close()
    assert connection.pinned == "raw connection"
    assert not is_free()


def test_what_was_set_on_it_stays_set(connection):
    with connection.cursor() as cursor:
        cursor.cursor.arraysize = 2
        for _ in range(3):
            cursor.execute("SELECT generate_series(1, 5)")
            assert len(cursor.fetchmany()) == 2


def test_callproc(connection):
    run(connection, "CREATE FUNCTION add(integer, integer) RETURNS integer RETURN $1 + $2")
    connection.close()
    with connection.cursor() as cursor:
        cursor.callproc("add", [1, 2])
        assert cursor.fetchone() == (3,)
    assert connection.pinned  # it may have done anything
    connection.close()


@pytest.mark.psycopg3
def test_copy_keeps_the_connection_until_the_cursor_is_closed(connection):
    run(connection, "CREATE TABLE item (n integer)")
    connection.close()
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        assert is_free()
        with cursor.copy("COPY item FROM STDIN") as copy:
            copy.write_row([7])
            assert not is_free()
        assert not is_free()
    assert is_free()
    assert value(connection, "SELECT n FROM item") == 7


@pytest.mark.psycopg3
def test_copy_with_queries_logged(connection):
    with (
        CaptureQueriesContext(connection) as captured,
        connection.cursor() as cursor,
        cursor.copy("COPY (SELECT 7) TO STDOUT") as copy,
    ):
        assert list(copy.rows()) == [("7",)]
    assert "COPY (SELECT 7) TO STDOUT" in captured[0]["sql"]


@pytest.mark.psycopg3
def test_stream_keeps_the_connection_until_the_cursor_is_closed(connection):
    with connection.cursor() as cursor:
        rows = cursor.stream("SELECT generate_series(1, 1000)")
        assert next(rows) == (1,)
        assert not is_free()
        assert sum(1 for _ in rows) == 999
    assert is_free()


def test_one_that_fails_gives_the_connection_back(connection):
    cursor = connection.cursor()
    for _ in range(3):
        with pytest.raises(ProgrammingError, match="nowhere"):
            cursor.execute("SELECT * FROM nowhere")
        assert is_free()


def test_the_pools_refusal_is_an_operational_error(connection):
    held = connection.pool.acquire()
    try:
        with impatient(connection.pool), pytest.raises(carpool.PoolTimeout):
            connection.cursor()
    finally:
        connection.pool.release(held)
    assert value(connection, "SELECT 1") == 1


def test_a_wrapper_shared_between_threads_keeps_its_connection(connection):
    connection.inc_thread_sharing()
    try:
        value(connection, "SELECT 1")
        assert not is_free()
    finally:
        connection.dec_thread_sharing()
    value(connection, "SELECT 1")
    assert is_free()


@pytest.mark.psycopg3
def test_what_is_registered_on_it_stays_until_it_is_closed(connection):
    with connection.cursor() as cursor:
        cursor.adapters.register_loader("int4", TextLoader)
        for _ in range(2):
            cursor.execute("SELECT 7")
            assert cursor.fetchone() == ("7",)
        assert not is_free()
    assert is_free()


def test_an_execute_wrapper_that_closes_the_connection(connection):
    def wrapper(execute, *args):
        answer = execute(*args)
        connection.close()
        return answer

    with connection.execute_wrapper(wrapper), connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    assert is_free()


def test_one_that_is_collected_while_another_gives_the_connection_back(connection):
    """A finalizer may come in the middle of anything."""
    leave = connection.trail.__class__.leave
    nested = []

    def interrupted(trail, given):
        if not nested:
            nested.append(connection.rest())
        return leave(trail, given)

    with mock.patch.object(Trail, "leave", interrupted):
        assert value(connection, "SELECT 1") == 1
    assert nested == [None]
    assert value(connection, "SELECT 1") == 1
    assert is_free()


def test_one_that_is_dropped_unused(connection):
    """Such as the usual check of whether the database is there."""
    connection.cursor()
    assert is_free()


def test_one_that_another_thread_closes_leaves_the_connection_to_its_owner(connection, in_thread):
    cursor = connection.cursor()
    in_thread(cursor.close)
    assert connection.pool.snapshot().leased == 1
    assert value(connection, "SELECT 1") == 1
    assert connection.pool.snapshot().leased == 0


def test_who_looks_at_the_connection_does_not_pin_it(connection):
    """As monitoring does before each statement."""
    with connection.cursor() as cursor:
        for _ in range(3):
            assert hasattr(cursor.connection, "get_dsn_parameters") in (True, False)
            assert cursor.connection.info.dbname == connection.settings_dict["NAME"]
            assert not cursor.connection.closed
            assert not hasattr(cursor.connection, "nothing")
            cursor.execute("SELECT 1")
            cursor.fetchall()
    assert connection.pinned is None
    assert is_free()


def test_rows_can_be_scrolled_through_again(connection):
    with connection.cursor() as cursor:
        cursor.execute("SELECT generate_series(1, 3)")
        assert len(cursor.fetchall()) == 3
        cursor.scroll(0, mode="absolute")
        assert len(cursor.fetchall()) == 3


def test_wrappers_of_others_are_used(connection):
    class Theirs(CursorWrapper):
        """As a toolbar's."""

    connection.make_cursor = lambda cursor: Theirs(cursor, connection)
    with connection.cursor() as cursor:
        assert isinstance(cursor, Theirs)
        cursor.execute("SELECT 1")
        cursor.fetchall()
        assert is_free()
        cursor.execute("SELECT 2")
        assert cursor.fetchall() == [(2,)]


def test_what_is_no_wrapper_of_django_s_keeps_the_connection(connection):
    connection.make_cursor = lambda cursor: cursor
    assert value(connection, "SELECT 1") == 1
    assert connection.pinned == "unknown kind of cursor"
    connection.close()
    assert is_free()

"""When PostgreSQL's connections may change hands between statements, and what looks back."""

import psycopg
import psycopg2
import psycopg2.sql
import pytest
from psycopg import sql

from carpool.postgresql.driver import PsycopgDriver
from tests.conformance.asking import shown
from tests.probing import run, value


@pytest.fixture
def psycopg3(request):
    """A pool of psycopg 3 connections, whose `driver_class` tests need not ask for."""
    from tests.postgresql.conftest import Pools  # noqa: PLC0415 - a class of fixtures

    pools = Pools(PsycopgDriver, request.getfixturevalue("database"))
    yield pools({"max_size": 1})
    for pool in pools.made:
        pool.close()


# Rest --------------------------------------------------------------------------------------------


def test_a_transaction_of_the_modules_own_counts(make_pool):
    pool = make_pool({"max_size": 1}, autocommit=False)
    connection = pool.acquire()
    assert pool.driver.at_rest(connection)
    run(connection, "SELECT 1")
    assert not pool.driver.at_rest(connection)
    connection.commit()
    assert pool.driver.at_rest(connection)
    pool.release(connection)


def test_autocommit_is_not_counted(make_pool):
    pool = make_pool({"max_size": 1})
    connection = pool.acquire()
    connection.autocommit = False
    assert pool.driver.at_rest(connection)
    pool.release(connection)
    connection = pool.acquire()
    assert connection.autocommit
    pool.release(connection)


def two_phase(connection):
    connection.autocommit = False
    connection.tpc_begin("mine")


ALTERED = {
    "isolation level": lambda c: setattr(c, "isolation_level", psycopg.IsolationLevel(2)),
    "read only": lambda c: setattr(c, "read_only", True),
    "deferrable": lambda c: c.set_deferrable(True),
    "threshold": lambda c: setattr(c, "prepare_threshold", 3),
    "prepared": lambda c: setattr(c, "prepared_max", 3),
    "rows": lambda c: setattr(c, "row_factory", psycopg.rows.dict_row),
    "cursors": lambda c: setattr(c, "cursor_factory", psycopg.ClientCursor),
    "named cursors": lambda c: setattr(c, "server_cursor_factory", psycopg.ServerCursor),
    "notices": lambda c: c.add_notice_handler(print),
    "notifications": lambda c: c.add_notify_handler(print),
    "closed": lambda c: c.close(),
    "two-phase": two_phase,
}


@pytest.mark.parametrize("name", ALTERED)
def test_what_was_done_to_the_connection_counts(psycopg3, name):
    connection = psycopg3.acquire()
    ALTERED[name](connection)
    assert not psycopg3.driver.at_rest(connection)
    psycopg3.release(connection)


def test_a_removed_handler_does_not_count(psycopg3):
    connection = psycopg3.acquire()
    connection.add_notice_handler(print)
    connection.remove_notice_handler(print)
    assert psycopg3.driver.at_rest(connection)
    psycopg3.release(connection)


def test_blocks_count_until_they_are_left(psycopg3):
    connection = psycopg3.acquire()
    for block in (connection.pipeline, connection.transaction):
        with block():
            assert not psycopg3.driver.at_rest(connection)
        assert psycopg3.driver.at_rest(connection)
    psycopg3.release(connection)


def test_a_copy_and_a_stream_count_until_they_are_over(psycopg3):
    connection = psycopg3.acquire()
    cursor = connection.cursor()
    with cursor.copy("COPY (SELECT generate_series(1, 9)) TO STDOUT") as copy:
        copy.read()
        assert not psycopg3.driver.at_rest(connection)
        assert len([*copy]) == 8
    assert psycopg3.driver.at_rest(connection)
    rows = cursor.stream("SELECT generate_series(1, 9)")
    next(rows)
    assert not psycopg3.driver.at_rest(connection)
    assert len([*rows]) == 8
    assert psycopg3.driver.at_rest(connection)
    psycopg3.release(connection)


def test_a_cursor_on_the_server_outlasts_its_statement_in_a_transaction_alone(make_pool):
    pool = make_pool({"max_size": 1}, autocommit=False)
    connection = pool.acquire()
    cursor = connection.cursor(name="mine")
    cursor.execute("SELECT generate_series(1, 9)")
    assert not pool.driver.at_rest(connection)
    cursor.close()
    connection.rollback()
    cursor = connection.cursor(name="mine", withhold=True)
    cursor.execute("SELECT generate_series(1, 9)")
    connection.commit()
    assert pool.driver.effect(connection) == "cursor WITH HOLD"
    pool.release(connection)


PSYCOPG2 = {
    "isolation level": lambda c: setattr(c, "isolation_level", 3),
    "read only": lambda c: c.set_session(readonly=True),
    "cursors": lambda c: setattr(c, "cursor_factory", psycopg2.extensions.cursor),
    "closed": lambda c: c.close(),
}


@pytest.mark.parametrize("name", PSYCOPG2)
def test_what_was_done_to_a_connection_of_psycopg2_counts(make_pool, driver_class, name):
    pool = make_pool({"max_size": 1})
    connection = pool.acquire()
    if driver_class is not PsycopgDriver:
        PSYCOPG2[name](connection)
        assert not pool.driver.at_rest(connection)
    pool.release(connection)


# By hand -----------------------------------------------------------------------------------------

BY_HAND = {
    "execute": lambda c: c.execute("SELECT 1"),
    "transaction": lambda c: c.transaction(),
    "pipeline": lambda c: c.pipeline(),
    "notifies": lambda c: c.notifies(timeout=0),
    "two-phase": two_phase,
    "server-side": lambda c: c.cursor(name="mine"),
}


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the named cursor, which has done nothing
@pytest.mark.parametrize("name", BY_HAND)
def test_whoever_asks_the_connection_itself_is_told_of(psycopg3, name):
    connection = psycopg3.acquire()
    BY_HAND[name](connection)
    assert connection.session.by_hand
    psycopg3.release(connection)
    connection = psycopg3.acquire()
    assert not connection.session.by_hand
    psycopg3.release(connection)


def test_a_cursor_made_by_its_class_is_not(psycopg3):
    """As the engine makes its own."""
    connection = psycopg3.acquire()
    connection.cursor_factory(connection).execute("SELECT 1")
    assert not connection.session.by_hand
    psycopg3.release(connection)


# Looking back ------------------------------------------------------------------------------------

LOOKS_BACK = [
    ("lastval", "SELECT lastval()"),
    ("lastval", 'SELECT "pg_catalog" . "lastval" /* x */ ( )'),
    ("currval", "SELECT currval('book_id_seq')"),
    ("currval", "SELECT \"currval\" -- x\n('book_id_seq')"),
]


@pytest.mark.parametrize(("reason", "statement"), LOOKS_BACK)
def test_what_looks_back_depends_on_an_insert_before(make_pool, reason, statement):
    pool = make_pool({"max_size": 2})
    first, second = pool.acquire(), pool.acquire()
    run(first, "CREATE TABLE book (id serial PRIMARY KEY, title text)")
    run(first, "INSERT INTO book (title) VALUES ('mine')")
    assert value(first, statement) == 1
    assert shown(second, statement) == "ObjectNotInPrerequisiteState"
    assert pool.driver.looks_back(statement) == reason
    pool.release(first)
    pool.release(second)


@pytest.mark.parametrize(
    "statement",
    [
        *("SELECT lastval, currval FROM t", 'SELECT "t"."currval" FROM "t"', "SELECT last_value"),
        *("INSERT INTO t (lastval) VALUES (1)", "SELECT nextval('s')"),
    ],
)
def test_columns_of_that_name_do_not(make_pool, statement):
    assert make_pool().driver.looks_back(statement) is None


@pytest.mark.parametrize(
    "statement",
    [
        b"SELECT lastval()",
        sql.SQL("SELECT lastval() AS {}").format(sql.Identifier("x")),
        psycopg2.sql.SQL("SELECT lastval() AS {}").format(psycopg2.sql.Identifier("x")),
    ],
)
def test_any_kind_of_statement_does(make_pool, statement):
    assert make_pool().driver.looks_back(statement) == "lastval"

"""Promise 1: transactions and locks that a user leaves open end, though nobody comes."""

import contextlib

import pymysql
import pytest

from tests.mysql.conftest import every_way
from tests.mysql.probing import id_of
from tests.probing import eventually, run, value

# Transactions and locks ---------------------------------------------------------------------------


def is_locked(database):
    """Tell whether somebody's transaction holds rows of the table."""
    try:
        database.query("SELECT * FROM note FOR UPDATE NOWAIT")
    except pymysql.OperationalError as error:
        assert error.args[0] == LOCKED  # noqa: PT017 - either way is an answer
        return True
    return False


LOCKED = 1205
NOTE = ("CREATE TABLE note (text text)", "INSERT INTO note VALUES ('there')")


@pytest.fixture
def note(database):
    for statement in NOTE:
        database.query(statement)


def by_text(connection):
    run(connection, "BEGIN")
    run(connection, "INSERT INTO note VALUES ('never')")


def by_begin(connection):
    connection.begin()
    run(connection, "INSERT INTO note VALUES ('never')")


def by_autocommit(connection):
    connection.autocommit(False)
    run(connection, "INSERT INTO note VALUES ('never')")


def by_autocommit_and_a_look(connection):
    connection.autocommit(False)
    run(connection, "SELECT * FROM note FOR UPDATE")


def with_a_failure(connection):
    by_text(connection)
    with pytest.raises(Exception, match="nowhere"):
        run(connection, "SELECT * FROM nowhere")


def after_another(connection):
    by_text(connection)
    connection.rollback()
    by_text(connection)


def chained(connection):
    by_text(connection)
    run(connection, "ROLLBACK AND CHAIN")
    run(connection, "INSERT INTO note VALUES ('never')")


def with_a_setting(connection):
    by_text(connection)
    run(connection, "SET @mine = 1")


TRANSACTIONS = [
    *(by_text, by_begin, by_autocommit, by_autocommit_and_a_look, with_a_failure),
    *(after_another, chained, with_a_setting),
]


@pytest.mark.parametrize("reset", ["auto", "rollback", "always"])
@pytest.mark.parametrize("begin", TRANSACTIONS)
def test_an_open_transaction_is_rolled_back_though_nobody_comes(
    make_pool, database, note, begin, reset
):
    pool = make_pool({"max_size": 1, "reset": reset})
    connection = pool.acquire()
    number = id_of(connection)
    begin(connection)
    assert is_locked(database)
    pool.release(connection)
    eventually(lambda: not is_locked(database))
    with pool.connection() as again:
        assert id_of(again) == number
        assert value(again, "SELECT count(*) FROM note") == 1
        assert value(again, "SELECT @@autocommit") == 1


@pytest.mark.parametrize("begin", TRANSACTIONS)
def test_without_a_reset_it_costs_the_connection(make_pool, note, begin):
    pool = make_pool({"max_size": 1, "reset": None})
    connection = pool.acquire()
    number = id_of(connection)
    begin(connection)
    pool.release(connection)
    with pool.connection() as again:
        assert id_of(again) != number
        assert value(again, "SELECT count(*) FROM note") == 1


def test_an_ended_transaction_costs_nothing(make_pool, database):
    database.query("CREATE TABLE note (n int)")
    pool, mark = make_pool(), None
    for end in ("COMMIT", "ROLLBACK"):
        with pool.connection() as connection:
            run(connection, "BEGIN")
            run(connection, "INSERT INTO note VALUES (1)")
            run(connection, end)
        mark = mark or database.mark()
    with pool.connection() as connection:
        connection.autocommit(False)
        run(connection, "INSERT INTO note VALUES (1)")
        connection.commit()
        connection.autocommit(True)
    with pool.connection() as connection:
        run(connection, "SELECT 1")
    texts = [each.text for each in database.statements(mark)]
    insert = "INSERT INTO note VALUES (1)"
    assert [text.upper().replace(" ", "") for text in texts] == [
        *("BEGIN", insert.upper().replace(" ", ""), "ROLLBACK"),
        *("SETAUTOCOMMIT=0", insert.upper().replace(" ", ""), "COMMIT", "SETAUTOCOMMIT=1"),
        "SELECT1",
    ]


@pytest.mark.parametrize("reset", ["auto", "rollback", "always", None])
def test_autocommit_that_was_switched_off_is_on_again(make_pool, reset):
    pool = make_pool({"max_size": 1, "reset": reset})
    with pool.connection() as connection:
        connection.autocommit(False)
    with pool.connection() as connection:
        assert value(connection, "SELECT @@autocommit") == 1


LOCKS = {
    "GET_LOCK": ("SELECT GET_LOCK('mine', 0)", "SELECT IS_FREE_LOCK('mine')"),
    "LOCK TABLES": (
        "LOCK TABLES note WRITE",
        "SELECT count(*) = 0 FROM information_schema.METADATA_LOCK_INFO",
    ),
    "global read lock": (
        "FLUSH TABLES WITH READ LOCK",
        "SELECT count(*) = 0 FROM information_schema.METADATA_LOCK_INFO",
    ),
}


@every_way
@pytest.mark.parametrize(("plant", "free"), LOCKS.values(), ids=LOCKS)
def test_locks_are_gone_though_nobody_comes(make_pool, database, plant, free):
    with contextlib.suppress(Exception):
        database.query("INSTALL SONAME 'metadata_lock_info'")
    database.query("CREATE TABLE note (text text)")
    pool = make_pool({"max_size": 1})
    with pool.connection() as connection:
        number = id_of(connection)
        run(connection, plant)
        assert not database.query(free)[0][0]
    eventually(lambda: database.query(free)[0][0])
    with pool.connection() as connection:
        assert id_of(connection) == number


# What no reset undoes -----------------------------------------------------------------------------

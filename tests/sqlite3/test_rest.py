"""When connections to a SQLite file may change hands between statements, and what looks back."""

import contextlib
import sqlite3

import pytest

from tests.probing import run, value

ROWS = "SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3"


@pytest.fixture
def pool(make_pool):
    """A pool of one connection."""
    return make_pool({"max_size": 1})


# Rest --------------------------------------------------------------------------------------------


def through(rows):
    for _ in rows:
        pass


READS = {
    "fetchall": lambda c: c.fetchall(),
    "fetchone": lambda c: [c.fetchone() for _ in range(4)],
    "fetchmany": lambda c: [c.fetchmany(2) for _ in range(3)],
    "a loop": through,
    "close": lambda c: c.close(),
    "another statement": lambda c: c.execute("UPDATE note SET number = 1"),
    "the wrapper's word": lambda c: setattr(c, "done", True),
}


@pytest.mark.parametrize("name", READS)
def test_a_cursor_counts_until_it_is_read(pool, name):
    connection = pool.acquire()
    cursor = connection.cursor()
    assert pool.driver.at_rest(connection)
    cursor.execute(ROWS)
    assert not pool.driver.at_rest(connection)
    cursor.fetchone()
    assert not pool.driver.at_rest(connection)
    READS[name](cursor)
    assert pool.driver.at_rest(connection)
    pool.release(connection)


def test_a_cursor_is_forgotten_when_it_is_collected(pool):
    connection = pool.acquire()
    cursor = connection.execute(ROWS)
    assert not pool.driver.at_rest(connection)
    del cursor
    assert pool.driver.at_rest(connection)
    pool.release(connection)


def test_what_counts_does_keep_the_file_locked(pool, file):
    """Until a SELECT is read to its end, nobody can write, unless in WAL mode."""
    file.query("PRAGMA journal_mode = DELETE")
    connection = pool.acquire()
    run(connection, "INSERT INTO note VALUES (1), (2)")
    cursor = connection.cursor()
    cursor.execute("SELECT number FROM note")
    assert not pool.driver.at_rest(connection)
    assert not writable(file)
    cursor.fetchall()
    assert pool.driver.at_rest(connection)
    assert writable(file)
    pool.release(connection)


def writable(file):
    other = sqlite3.connect(file.path, timeout=0)
    try:
        with other:
            other.execute("INSERT INTO note VALUES (3)")
    except sqlite3.OperationalError:
        return False
    finally:
        other.close()
    return True


def test_a_blob_counts_as_long_as_it_lives(pool):
    connection = pool.acquire()
    run(connection, "INSERT INTO note VALUES (zeroblob(9))")
    blob = connection.blobopen("note", "number", 1)
    assert not pool.driver.at_rest(connection)
    del blob
    assert pool.driver.at_rest(connection)
    pool.release(connection)


def test_an_untracked_cursor_counts(pool):
    connection = pool.acquire()
    cursor = sqlite3.Cursor(connection)
    cursor.execute("SELECT 1 AS nobody_has_asked_this_before")
    cursor.close()
    assert not pool.driver.at_rest(connection)
    pool.release(connection)


ALTERED = {
    "rows": lambda c: setattr(c, "row_factory", sqlite3.Row),
    "texts": lambda c: setattr(c, "text_factory", bytes),
    "a new one": lambda c: setattr(c, "mine", 1),
    "isolation level": lambda c: setattr(c, "isolation_level", "IMMEDIATE"),
    "closed": lambda c: c.close(),
}


@pytest.mark.parametrize("name", ALTERED)
def test_what_was_done_to_the_connection_counts(pool, name):
    connection = pool.acquire()
    ALTERED[name](connection)
    assert not pool.driver.at_rest(connection)
    pool.release(connection)


def test_djangos_switch_of_autocommit_does_not(pool):
    connection = pool.acquire()
    for each in ("", None):
        connection.isolation_level = each
        assert pool.driver.at_rest(connection)
    pool.release(connection)


def back_up(connection):
    with contextlib.closing(sqlite3.connect(":memory:")) as copy:
        connection.backup(copy)


BY_HAND = {
    "execute": lambda c: c.execute("SELECT 1"),
    "script": lambda c: c.executescript("SELECT 1"),
    "blob": lambda c: c.blobopen("note", "number", 1),
    "backup": back_up,
}


@pytest.mark.parametrize("name", BY_HAND)
def test_whoever_asks_the_connection_itself_is_told_of(pool, file, name):
    file.query("INSERT INTO note VALUES (zeroblob(9))")
    connection = pool.acquire()
    assert not connection.session.by_hand
    BY_HAND[name](connection)
    assert connection.session.by_hand
    pool.release(connection)


# Looking back ------------------------------------------------------------------------------------

LOOKS_BACK = [
    ("last_insert_rowid", "SELECT last_insert_rowid()"),
    ("last_insert_rowid", "SELECT Last_Insert_RowID /* x */ ()"),
    ("changes", "SELECT changes()"),
    ("changes", "SELECT changes -- x\n()"),
    ("changes", 'SELECT "changes" ( /* x */ )'),
    ("changes", "SELECT [changes]()"),
    ("total_changes", "SELECT total_changes()"),
]


@pytest.mark.parametrize(("reason", "statement"), LOOKS_BACK)
def test_what_looks_back_depends_on_the_statement_before(make_pool, reason, statement):
    pool = make_pool({"max_size": 2})
    first, second = pool.acquire(), pool.acquire()
    run(first, "INSERT INTO note VALUES (1), (2)")
    assert value(first, statement) == 2
    assert value(second, statement) == 0
    assert pool.driver.looks_back(statement) == reason
    pool.release(first)
    pool.release(second)


@pytest.mark.parametrize(
    "statement",
    [
        *('SELECT "log"."changes" FROM "log"', 'INSERT INTO "log" ("id", "changes") VALUES (?, ?)'),
        *('INSERT INTO "log_changes" ("id") VALUES (?)', "UPDATE log SET changes = 1"),
        *('INSERT INTO "changes" ("id") VALUES (?)', "SELECT id FROM log ORDER BY changes -- (x)"),
    ],
)
def test_columns_of_that_name_do_not(pool, statement):
    assert pool.driver.looks_back(statement) is None

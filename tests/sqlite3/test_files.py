"""Promises 2 and 9: a connection serves the file that is there now, under that very name."""

import contextlib
import sqlite3
import weakref
from pathlib import Path

import pytest

from carpool.sqlite3 import files
from carpool.sqlite3.driver import SQLiteDriver
from tests.probing import eventually, report_of, start_program
from tests.sqlite3.file import File, opened


def note(path, number):
    """Make a database with one note."""
    file = File(path)
    file.query("CREATE TABLE note (number int)")
    file.query("INSERT INTO note VALUES (?)", [number])
    return file


def read(pool):
    with pool.connection() as connection:
        return [row[0] for row in connection.execute("SELECT number FROM note")]


def test_one_connection_serves_all(make_pool, file):
    pool = make_pool()
    with opened() as names:
        for _ in range(5):
            assert read(pool) == []
    assert names == [str(file.path)]
    assert len(file.descriptors()) == 1


def test_another_file_in_its_place(make_pool, file, tmp_path):
    pool = make_pool()
    assert read(pool) == []
    note(tmp_path / "new.db", 7).path.replace(file.path)
    assert read(pool) == [7]
    eventually(lambda: len(file.descriptors()) == 1)  # the replaced one is closed


def test_a_deleted_file(make_pool, file):
    """As without a pool: a new, empty file."""
    pool = make_pool()
    assert read(pool) == []
    file.path.unlink()
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        read(pool)
    assert file.query("SELECT * FROM sqlite_master") == []


def test_a_file_moved_away(make_pool, file, tmp_path):
    pool = make_pool()
    file.query("INSERT INTO note VALUES (1)")
    assert read(pool) == [1]
    file.path.rename(tmp_path / "old.db")
    note(file.path, 2)
    assert read(pool) == [2]


def test_one_that_somebody_closes_who_has_given_it_back(make_pool):
    pool = make_pool()
    connection = pool.acquire()
    pool.release(connection)
    connection.close()
    assert read(pool) == []


def test_a_closed_connection_leaves_no_work_to_the_garbage_collector(file):
    driver = SQLiteDriver(file.path)
    connection = driver.connect({})
    session = weakref.ref(connection.session)
    driver.close(connection, 0)
    del connection
    assert session() is None


def test_a_folder_moved_away(make_pool, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    file = note(folder / "shop.db", 1)
    pool = make_pool(database=file.path)
    assert read(pool) == [1]
    folder.rename(tmp_path / "old")
    with pytest.raises(sqlite3.OperationalError, match="unable to open database file"):
        read(pool)
    (tmp_path / "old").rename(folder)
    assert eventually(lambda: _patiently(pool)) == [1]


def _patiently(pool):
    with contextlib.suppress(Exception):  # the pool may wait a moment before it tries again
        return read(pool)


def test_a_symbolic_link_turned_to_another_file(make_pool, tmp_path):
    link = tmp_path / "link.db"
    link.symlink_to(note(tmp_path / "one.db", 1).path)
    pool = make_pool(database=link)
    assert read(pool) == [1]
    link.unlink()
    link.symlink_to(note(tmp_path / "two.db", 2).path)
    assert read(pool) == [2]


@pytest.mark.parametrize("name", ["shop.db", "file:shop.db", "file:./shop.db?mode=rw"])
def test_a_relative_name_in_another_folder(make_pool, tmp_path, monkeypatch, name):
    for number in (1, 2):
        (tmp_path / str(number)).mkdir()
        note(tmp_path / str(number) / "shop.db", number)
    monkeypatch.chdir(tmp_path / "1")
    pool = make_pool(database=name, uri=True)
    assert read(pool) == [1]
    monkeypatch.chdir(tmp_path / "2")
    assert read(pool) == [2]


def test_a_replacement_while_it_is_being_opened(make_pool, file, tmp_path):
    """What was opened may be the former file; so it serves nobody after."""
    new = note(tmp_path / "new.db", 7)

    def open_slowly(*args, **kwargs):
        connection = sqlite3.connect(*args, **kwargs)
        if new.path.exists():
            new.path.replace(file.path)
        return connection

    pool = make_pool(open_by=open_slowly)
    pool.release(pool.acquire())
    assert read(pool) == [7]


def test_connections_of_a_lease_under_way_go_on(make_pool, file, tmp_path):
    pool = make_pool()
    with pool.connection() as connection:
        connection.execute("SELECT 1")
        note(tmp_path / "new.db", 7).path.replace(file.path)
        assert connection.execute("SELECT number FROM note").fetchall() == []
    assert read(pool) == [7]


NAMES = {
    "shop.db": "shop.db",
    "file:shop.db": "shop.db",
    "file:/tmp/shop.db?mode=ro": "/tmp/shop.db",
    "file:///tmp/shop.db": "/tmp/shop.db",
    "file://localhost/tmp/shop.db": "/tmp/shop.db",
    "file:shop%20one.db?cache=shared": "shop one.db",
    b"shop.db": "shop.db",
    ":memory:": None,
    "": None,
    "file:": None,
    "file::memory:": None,
    "file::memory:?cache=shared": None,
    "file:memorydb_default?mode=memory&cache=shared": None,
    "file:/shop.db?vfs=memdb": None,
}


@pytest.mark.parametrize("name", NAMES)
def test_which_file_a_name_means(name, tmp_path, monkeypatch):
    """SQLite itself says, in its list of databases."""
    path = NAMES[name]
    assert files.path_of(name) == path
    monkeypatch.chdir(tmp_path)
    if path and Path(path).is_absolute():
        return  # it is not there, nor made
    with contextlib.closing(sqlite3.connect(name, uri=True)) as connection:
        ((_, _, shown),) = connection.execute("PRAGMA database_list").fetchall()
    expected = "" if path is None else str(tmp_path / path)
    assert shown == expected or name == "file:/shop.db?vfs=memdb"


def test_a_database_in_memory_is_refused():
    with pytest.raises(ValueError, match="nothing to pool"):
        SQLiteDriver(":memory:")


def test_a_file_that_is_no_database(make_pool, tmp_path):
    (tmp_path / "garbage.db").write_bytes(b"no database at all" * 1000)
    pool = make_pool(database=tmp_path / "garbage.db")
    for _ in range(3):
        with pytest.raises(sqlite3.DatabaseError, match="file is not a database"):
            read(pool)


def test_a_file_that_cannot_be_written(make_pool, file):
    pool = make_pool(database=f"file:{file.path}?mode=ro", uri=True)
    with opened() as names:
        for _ in range(3):
            assert read(pool) == []
            with (
                pytest.raises(sqlite3.OperationalError, match="readonly"),
                pool.connection() as connection,
            ):
                connection.execute("INSERT INTO note VALUES (1)")
    assert len(names) == 1


def test_a_full_disk(make_pool, file):
    """The limit on the file's pages gives the error of a full disk."""

    def configure(connection):
        connection.execute("PRAGMA max_page_count = 4")

    pool = make_pool({"configure": configure})
    with opened() as names:
        for _ in range(3):
            connection = pool.acquire()
            connection.execute("BEGIN")
            with pytest.raises(sqlite3.OperationalError, match="full"):
                connection.execute("INSERT INTO note VALUES (zeroblob(100000))")
            pool.release(connection)
            assert file.refusal() == ""
            with pool.connection() as connection:
                connection.execute("INSERT INTO note VALUES (1)")
    assert file.query("SELECT * FROM note") == [(1,)] * 3
    assert len(names) == 1


def test_a_kept_connection_sees_a_changed_schema(make_pool, file):
    pool = make_pool()
    assert read(pool) == []
    file.query("ALTER TABLE note ADD COLUMN more int DEFAULT 5")
    file.query("INSERT INTO note (number) VALUES (1)")
    with pool.connection() as connection:
        assert connection.execute("SELECT * FROM note").fetchall() == [(1, 5)]


def test_the_journal_may_change_beside_an_idle_connection(make_pool, file):
    pool = make_pool()
    assert read(pool) == []
    assert file.query("PRAGMA journal_mode = WAL") == [("wal",)]
    file.query("INSERT INTO note VALUES (1)")
    assert read(pool) == [1]


def test_a_failing_set_up_leaves_nothing_open(make_pool, file):
    def open_badly(**params):
        sqlite3.connect(**params)
        raise sqlite3.OperationalError("on purpose")

    pool = make_pool(open_by=open_badly)
    with pytest.raises(sqlite3.OperationalError, match="on purpose"):
        pool.acquire()
    assert file.descriptors() == []


NO_ROOM = """
import json, os, resource, sqlite3
from carpool.sqlite3.driver import SQLiteDriver

path = json.loads(os.environ["PARAMS"])
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
driver, held = SQLiteDriver(path), []
try:
    while True:
        held.append(driver.connect({}))
except sqlite3.OperationalError as error:
    full = driver.no_room(error)
    refused = str(error)
for each in held:
    driver.close(each, 0)
try:
    SQLiteDriver("/nowhere/shop.db").connect({})
except sqlite3.OperationalError as error:
    missing = driver.no_room(error)
print(json.dumps([refused, full, missing]))
"""


def test_too_many_open_files(file, tmp_path):
    (found,) = report_of(start_program(tmp_path / "program.py", NO_ROOM, str(file.path)))
    assert found == ["unable to open database file", True, False]

"""A cursor that another thread is in the middle of is left alone: sqlite3 would crash."""

import sqlite3
import threading
from functools import partial

import pytest

from carpool import StaleCursorError
from tests.probing import eventually, report_of, start_program

HEAD = """
import json, os, threading
from carpool import Options, Pool
from carpool.sqlite3.driver import SQLiteDriver

pool = Pool(SQLiteDriver(json.loads(os.environ["PARAMS"])), Options(max_size=1))
connection = pool.acquire()
begun, released = threading.Event(), threading.Event()

def pause(number):
    if number == 2:
        begun.set()
        print(json.dumps(released.wait(5)), flush=True)
    return number

connection.create_function("pause", 1, pause)
cursor = connection.execute("SELECT pause(number) FROM note")

def read():
    try:
        %s
    except Exception as error:
        print(json.dumps(str(error)), flush=True)
"""
RELEASED = """
thread = threading.Thread(target=read)
thread.start()
begun.wait()
pool.release(connection)
released.set()
thread.join()
del connection
with pool.connection() as other:
    print(json.dumps(other.execute("SELECT count(*) FROM note").fetchone()[0]), flush=True)
pool.close()
"""
ENDED = """
released.wait = lambda _: threading.Event().wait()
threading.Thread(target=read, daemon=True).start()
begun.wait()
"""
STALE = "the cursor's connection has been given back to the pool"
READS = pytest.mark.parametrize(
    "read",
    ["for row in cursor: pass", "cursor.fetchone()", "cursor.fetchmany(9)", "cursor.fetchall()"],
)


@pytest.fixture
def run_program(tmp_path, file):
    """Run a program in which a thread reads from a cursor; return what it reported."""
    file.query("INSERT INTO note VALUES (1), (2), (3)")

    def run(read, text):
        return report_of(start_program(tmp_path / "p.py", HEAD % read + text, str(file.path)))

    return run


@READS
def test_given_back_while_another_thread_reads(run_program, read):
    """The release does not wait for it; the reader may still finish its call."""
    did_not_wait, *errors, count = run_program(read, RELEASED)
    assert did_not_wait
    assert errors in ([], ["interrupted"], [STALE])
    assert count == 3


@READS
def test_at_the_end_of_the_program_nobody_waits_for_it(run_program, read):
    assert run_program(read, ENDED) == []


def in_thread(function):
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


def test_a_cursor_at_rest_is_closed_whoever_has_used_it(make_pool, file):
    file.query("INSERT INTO note VALUES (1), (2), (3)")
    pool = make_pool({"max_size": 1})
    connection = pool.acquire()
    cursor = connection.execute("SELECT number FROM note")
    in_thread(cursor.fetchone)
    pool.release(connection)
    assert file.refusal() == ""
    assert pool.acquire() is connection
    with pytest.raises(StaleCursorError):
        cursor.fetchone()


def test_another_thread_s_cursor_counts_as_busy(make_pool):
    pool = make_pool()
    connection = pool.acquire()
    kept = [connection.execute("SELECT 1")]
    assert not pool.driver.busy(connection)
    in_thread(lambda: kept.append(connection.execute("SELECT 1")))
    assert pool.driver.busy(connection)
    kept.clear()
    assert not pool.driver.busy(connection)


def test_one_that_becomes_stale_as_a_call_begins_is_refused(make_pool):
    """Between the look-up of the method and its work another thread may have given back."""
    pool = make_pool()
    connection = pool.acquire()
    cursor = connection.execute("SELECT 1")
    fetch = type(cursor).fetchone
    pool.release(connection)
    with pytest.raises(StaleCursorError):
        fetch(cursor)


# Cursors that the connection did not make -----------------------------------------------------


def by_hand(connection):
    return sqlite3.Cursor(connection)


def by_a_function(connection):
    return connection.cursor(partial(sqlite3.Cursor))


@pytest.mark.parametrize("make", [by_hand, by_a_function])
def test_a_cursor_of_a_foreign_make_costs_the_connection(make_pool, file, make):
    file.query("INSERT INTO note VALUES (1), (2), (3)")
    pool = make_pool({"max_size": 1})
    connection = pool.acquire()
    kept = make(connection).execute("SELECT number FROM note")
    assert pool.driver.busy(connection), "nobody can tell what it is at"
    pool.release(connection)
    assert pool.acquire() is not connection
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        kept.fetchone()
    del kept
    assert eventually(lambda: file.refusal() == "")


def test_what_the_pool_itself_asks_costs_nothing(make_pool):
    pool = make_pool({"max_size": 1, "check_after": 0})
    first = pool.acquire()
    for _ in range(3):
        pool.release(first)
        assert pool.acquire() is first
    assert pool.driver.effect(first) is None

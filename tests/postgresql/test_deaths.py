"""Promise 7: whoever dies without releasing loses no slot."""

import asyncio
import gc
import threading

import pytest

from tests.postgresql.probing import pid_of
from tests.probing import run, value

# The drivers' own complaint about a connection that nobody closed is right, and not our subject.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def in_thread(function, *args):
    thread = threading.Thread(target=function, args=args)
    thread.start()
    thread.join()


@pytest.mark.parametrize("statement", ["SELECT 1", "SET work_mem = '77MB'"])
def test_a_thread_that_just_ends(make_pool, database, statement):
    pool, pids = make_pool({"max_size": 2}), []

    def take():
        connection = pool.acquire()
        pids.append(pid_of(connection))
        run(connection, statement)

    for _ in range(6):
        in_thread(take)
        gc.collect()
    leased = [pool.acquire(), pool.acquire()]
    assert {value(each, "SHOW work_mem") for each in leased} == {"4MB"}
    assert {row.pid for row in database.wait_for_sessions(2)} == {pid_of(each) for each in leased}
    for each in leased:
        pool.release(each)


def test_a_thread_that_dies_of_an_exception(make_pool, monkeypatch):
    monkeypatch.setattr(threading, "excepthook", lambda _: None)  # pytest's keeps the traceback
    pool = make_pool({"max_size": 1})

    def fail():
        connection = pool.acquire()
        connection.autocommit = False
        run(connection, "SELECT pg_advisory_lock(1)")
        raise RuntimeError("on purpose")

    for _ in range(3):
        in_thread(fail)
        gc.collect()
    with pool.connection() as connection:
        assert value(connection, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0


def test_who_waits_is_served_by_a_death(make_pool):
    pool, taken, got = make_pool({"max_size": 1}), threading.Event(), []
    go = threading.Event()

    def take():
        connection = pool.acquire()
        taken.set()
        go.wait()
        del connection

    dying = threading.Thread(target=take)
    dying.start()
    taken.wait()

    def ask():
        with pool.connection(timeout=30) as connection:
            got.append(value(connection, "SELECT 1"))

    asking = threading.Thread(target=ask)
    asking.start()
    go.set()
    dying.join()
    gc.collect()
    asking.join()
    assert got == [1]


def test_a_reference_cycle(make_pool):
    pool = make_pool({"max_size": 1})

    def take():
        cycle = [pool.acquire()]
        cycle.append(cycle)

    take()
    gc.collect()
    with pool.connection() as connection:
        assert value(connection, "SELECT 1") == 1


def test_a_cancelled_task(make_pool):
    """A task that is cancelled while its thread works: the thread goes on and gives back."""
    pool = make_pool({"max_size": 1})

    def work():
        with pool.connection() as connection:
            return value(connection, "SELECT pg_sleep(0.2)::text")

    async def main():
        task = asyncio.create_task(asyncio.to_thread(work))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    with pool.connection() as connection:
        assert value(connection, "SELECT 1") == 1


def test_an_exception_in_the_with_block(make_pool, database):
    database.query("CREATE TABLE note (text text)")
    pool = make_pool({"max_size": 1}, autocommit=False)
    with pytest.raises(RuntimeError), pool.connection() as connection:  # noqa: PT012 - the block is the test
        pid = pid_of(connection)
        run(connection, "INSERT INTO note VALUES ('never')")
        raise RuntimeError
    with pool.connection() as connection:
        assert pid_of(connection) == pid
        assert run(connection, "SELECT * FROM note") == []

"""Promises 4 and 5: never more than `max_size`, first come, first served, and an end to waiting."""

import random
import threading
from time import monotonic

import pytest

import carpool
from support.servers.base import read_from
from tests.postgresql.probing import pid_of
from tests.probing import eventually, run, value


@pytest.fixture
def narrow_role(postgres):
    """A role of which the server admits three sessions, not one more."""
    postgres.query("CREATE ROLE narrow LOGIN CONNECTION LIMIT 3")
    yield "narrow"
    postgres.kill_sessions(user="narrow")
    postgres.query("DROP ROLE narrow")


def use_well(connection):
    run(connection, "SELECT 1")


def make_dirty(connection):
    run(connection, "SET work_mem = '9MB'")


def leave_a_transaction(connection):
    connection.autocommit = False
    run(connection, "SELECT 1")


def break_it(connection):
    with pytest.raises(Exception, match=r"terminating connection|closed the connection"):
        run(connection, "SELECT pg_terminate_backend(pg_backend_pid())")


def close_it(connection):
    connection.close()


USES = {
    "good and bad manners": [use_well, use_well, make_dirty, leave_a_transaction, break_it],
    "closing it oneself": [use_well, close_it],
}


def churn(pool, uses, seed, errors):
    chance = random.Random(seed)
    try:
        for _ in range(40):
            connection = pool.acquire(timeout=30)
            chance.choice(uses)(connection)
            if chance.random() < 0.1:
                pool.discard(connection)
            else:
                pool.release(connection)
            if chance.random() < 0.1:
                pool.drain()
    except BaseException as error:
        errors.append(error)
        raise


@pytest.mark.parametrize("uses", USES.values(), ids=USES)
def test_never_more_than_max_size(make_pool, database, postgres, narrow_role, uses):
    """The server is the judge: it logs a refusal if there is ever one session too many."""
    pool = make_pool({"max_size": 3}, user=narrow_role)
    mark, errors, seen = postgres.mark(), [], set()
    users = [threading.Thread(target=churn, args=(pool, uses, seed, errors)) for seed in range(6)]
    for user in users:
        user.start()
    with postgres.admin() as watcher:
        while any(user.is_alive() for user in users):
            query = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'narrow'"
            seen.add(watcher.execute(query).fetchone()[0])
    for user in users:
        user.join()
    assert errors == []
    assert "too many connections for role" not in read_from(postgres.log, mark)
    assert max(seen) <= 3
    assert database.connections(mark) > 20, "there was no churn"


def test_the_server_would_have_noticed(make_pool, postgres, narrow_role):
    pool, mark = make_pool({"max_size": 4}, user=narrow_role), postgres.mark()
    leased = [pool.acquire() for _ in range(3)]
    with pytest.raises(carpool.PoolTimeout, match="too many connections for role"):
        pool.acquire(timeout=2)
    assert "too many connections for role" in read_from(postgres.log, mark)
    for connection in leased:
        pool.release(connection)


def test_first_come_first_served(make_pool, database):
    database.query("CREATE TABLE served (place serial, number int)")
    pool = make_pool({"max_size": 1})
    connection = pool.acquire()

    def ask(number):
        with pool.connection() as mine:
            run(mine, "INSERT INTO served (number) VALUES (%s)", [number])

    asking = []
    for number in range(8):
        asking.append(threading.Thread(target=ask, args=[number]))
        asking[-1].start()
        eventually(lambda number=number: pool.snapshot().waiting == number + 1)
    pool.release(connection)
    for thread in asking:
        thread.join()
    rows = database.query("SELECT number FROM served ORDER BY place")
    assert [row.number for row in rows] == [*range(8)]


def test_the_connection_used_last_is_the_next(make_pool):
    pool = make_pool({"max_size": 3})
    leased = [pool.acquire() for _ in range(3)]
    pids = [pid_of(connection) for connection in leased]
    for connection in leased:
        pool.release(connection)
    for _ in range(3):
        with pool.connection() as connection:
            assert pid_of(connection) == pids[-1]
    with pool.connection() as first, pool.connection() as second:
        assert [pid_of(first), pid_of(second)] == [pids[2], pids[1]]


def test_an_exhausted_pool_says_how_it_stands(make_pool, database):
    pool = make_pool({"max_size": 2, "timeout": 0.1})
    leased = [pool.acquire(timeout=10), pool.acquire(timeout=10)]
    with pytest.raises(carpool.PoolTimeout) as caught:
        pool.acquire()
    server = pool.driver.name
    assert server.endswith(database.name)
    assert str(caught.value) == (
        f"no connection to {server} within 0.1 s; size 2 of 2, leased 2, idle 0, opening 0, "
        "resetting 0, waiting 0; last connect error: none"
    )
    for connection in leased:
        pool.release(connection)
    with pool.connection(timeout=10) as connection:
        assert value(connection, "SELECT 1") == 1


def test_a_server_that_hangs_at_connect_ends_in_a_timeout(make_pool, database, proxy):
    pool = make_pool({"max_size": 2}, port=proxy.port)
    proxy.hang()
    with pytest.raises(carpool.PoolTimeout, match=r"within 0\.2 s; size 1 of 2, .*opening 1,"):
        pool.acquire(timeout=0.2)
    proxy.forward()
    with pool.connection() as connection:
        # Perhaps by a second one: who comes later does not depend on the one that hangs.
        eventually(lambda: pid_of(connection) in {row.pid for row in database.sessions()})
        assert len(database.sessions()) <= 2


def test_a_hanging_connect_serves_who_comes_later(make_pool, database, proxy):
    pool, got = make_pool({"max_size": 1}, port=proxy.port), []
    proxy.hang()
    with pytest.raises(carpool.PoolTimeout):
        pool.acquire(timeout=0.1)

    def ask():
        with pool.connection(timeout=30) as connection:
            got.append(pid_of(connection))

    asking = threading.Thread(target=ask)
    asking.start()
    eventually(lambda: pool.snapshot().waiting == 1)
    proxy.forward()
    asking.join()
    assert proxy.accepted == 1, "the connect under way was enough"
    assert [row.pid for row in database.sessions()] == got


def test_too_many_waiting(make_pool):
    pool = make_pool({"max_size": 1, "max_waiting": 1})
    connection = pool.acquire()
    waiting = threading.Thread(target=lambda: pool.release(pool.acquire()))
    waiting.start()
    eventually(lambda: pool.snapshot().waiting == 1)
    with pytest.raises(carpool.TooManyRequests, match="1 requests are waiting"):
        pool.acquire()
    pool.release(connection)
    waiting.join()


def test_shrinking_and_growing(make_pool, database):
    pool = make_pool({"min_size": 2, "max_size": 4, "max_idle": 0.1})
    pool.wait()
    assert len(database.sessions()) == 2
    leased = [pool.acquire() for _ in range(4)]
    assert len(database.sessions()) == 4
    for connection in leased:
        pool.release(connection)
    database.wait_for_sessions(2)
    pool.resize(3, 3)
    database.wait_for_sessions(3)
    pool.resize(0, 1)
    database.wait_for_sessions(1)
    pool.close()
    database.wait_for_sessions(0)


def test_a_drain_replaces_the_idle_now_and_the_leased_as_they_come(make_pool, database):
    pool = make_pool({"max_size": 2})
    leased, idle = pool.acquire(), pool.acquire()
    pids = {pid_of(leased), pid_of(idle)}
    pool.release(idle)
    pool.drain()
    assert [row.pid for row in database.wait_for_sessions(1)] == [pid_of(leased)]
    pool.release(leased)
    database.wait_for_sessions(0)
    with pool.connection() as connection:
        assert pid_of(connection) not in pids


def test_a_connection_is_replaced_before_its_lifetime_ends(make_pool, database):
    beside = []  # for each that is opened: all that are there by then

    def configure(_connection):
        beside.append({row.pid for row in database.sessions()})

    pool = make_pool({"min_size": 1, "max_size": 2, "configure": configure})
    pool.wait()
    (first,) = database.sessions()
    (entry,) = pool._ledger.entries
    entry.due_at = monotonic()  # the end itself is far off
    pool._crew.submit(pool._keeper.sweep)
    eventually(lambda: first.pid not in [row.pid for row in database.sessions()])
    assert database.sessions(), "the next one was there first"
    assert [first.pid in pids for pids in beside] == [True, True]

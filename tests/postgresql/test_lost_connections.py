"""Promise 2: what the server or the network has closed is never handed out, and no ping is paid."""

import contextlib
import threading

import pytest

import carpool
from support.databases import Database
from support.proxy import Proxy
from tests.postgresql.probing import pid_of
from tests.probing import eventually, run, value


def lease(pool, count):
    return [pool.acquire() for _ in range(count)]


def give_back(pool, connections):
    for connection in connections:
        pool.release(connection)


def fill(pool, count):
    """Have `count` idle connections in a pool."""
    leased = lease(pool, count)
    pids = {pid_of(connection) for connection in leased}
    give_back(pool, leased)
    assert len(pids) == count
    return pids


def test_every_idle_session_is_killed(make_pool, database):
    pool = make_pool({"max_size": 4})
    before = fill(pool, 4)
    assert database.kill_sessions() == 4
    mark = database.mark()
    leased = lease(pool, 4)
    after = {pid_of(connection) for connection in leased}
    give_back(pool, leased)
    assert len(after) == 4
    assert not after & before
    assert {each.text for each in database.statements(mark)} == {"SELECT pg_backend_pid()"}


def test_one_of_several_is_killed(make_pool, database):
    pool = make_pool({"max_size": 3})
    first, *others = fill(pool, 3)
    database.kill_sessions(pid=first)
    leased = lease(pool, 3)
    pids = {pid_of(connection) for connection in leased}
    assert pids >= set(others)
    assert first not in pids
    give_back(pool, leased)


def test_a_session_that_times_out_by_itself(make_pool, database):
    """The server says why before it hangs up: there is something to read, and then the end."""
    pool = make_pool({"reset": None})
    with pool.connection() as connection:
        pid = pid_of(connection)
        run(connection, "SET idle_session_timeout = '50ms'")
    database.wait_for_sessions(0)
    with pool.connection() as connection:
        assert pid_of(connection) != pid


def test_a_lease_that_breaks_is_replaced(make_pool, database):
    pool = make_pool({"max_size": 1})
    connection = pool.acquire()
    pid = pid_of(connection)
    database.kill_sessions(pid=pid)
    with pytest.raises(Exception, match=r"terminating connection|closed the connection"):
        run(connection, "SELECT 1")
    pool.release(connection)
    with pool.connection() as connection:
        assert pid_of(connection) != pid


def test_what_the_server_says_unasked_is_no_end(make_pool, database):
    """A notification makes an idle connection readable, and yet it is alive."""
    pool = make_pool({"reset": None})
    with pool.connection() as connection:
        pid, twin = pid_of(connection), connection
        run(connection, "LISTEN news")
    database.query("NOTIFY news")
    eventually(lambda: twin.session.readable(0))
    mark = database.mark()
    with pool.connection() as connection:
        assert pid_of(connection) == pid
    assert [each.text for each in database.statements(mark)] == ["SELECT pg_backend_pid()"]


@pytest.mark.parametrize("how", ["restart", "kill"])
def test_the_server_is_started_anew(make_pool, own_postgres, how):
    pool = make_pool({"max_size": 3}, **own_postgres.params)
    before = fill(pool, 3)
    if how == "kill":
        own_postgres.kill()
        own_postgres.start_again()
    else:
        own_postgres.restart()
    mark = own_postgres.mark()
    leased = lease(pool, 3)
    after = {pid_of(connection) for connection in leased}
    assert len(after) == 3
    assert not after & before
    give_back(pool, leased)
    texts = {each.text for each in own_postgres.statements(mark)}
    assert texts == {"SELECT pg_backend_pid()"}


@pytest.mark.parametrize("how", ["cut", "reset"])
def test_the_network_loses_the_connections(make_pool, database, proxy, how):
    pool = make_pool({"max_size": 3}, port=proxy.port)
    fill(pool, 3)
    assert getattr(proxy, how)() == 3
    database.wait_for_sessions(0)
    mark = database.mark()
    leased = lease(pool, 3)
    assert [value(connection, "SELECT 1") for connection in leased] == [1, 1, 1]
    give_back(pool, leased)
    assert {each.text for each in database.statements(mark)} == {"SELECT 1"}


def test_the_network_refuses_and_comes_back(make_pool, proxy):
    pool = make_pool({"max_size": 2}, port=proxy.port)
    fill(pool, 2)
    proxy.refuse()
    proxy.reset()
    eventually(lambda: all(entry.readable(0) for entry in pool._idle))
    with pytest.raises(Exception, match="refused"):
        pool.acquire()
    proxy.forward()

    def served():
        with contextlib.suppress(carpool.PoolUnavailable), pool.connection() as connection:
            return value(connection, "SELECT 1") == 1
        return False

    eventually(served)


@pytest.mark.parametrize("driver_class", ["psycopg"], indirect=True)  # psycopg 2 can't be hurried
def test_a_silent_connection_is_noticed_by_a_ping(make_pool, database, postgres):
    """Half open: nothing to read, nobody at the other end. Only idle time raises suspicion."""
    with Proxy("127.0.0.1", postgres.port) as proxy:
        pool = make_pool({"max_size": 2, "check_after": 0}, port=proxy.port)
        with pool.connection() as connection:
            pid = pid_of(connection)
        proxy.hang()
        got = []

        def ask():
            with pool.connection(timeout=30) as connection:
                got.append(pid_of(connection))

        asking = threading.Thread(target=ask)
        asking.start()
        eventually(lambda: proxy.accepted >= 2)  # the first has been given up (and is cancelled)
        proxy.forward()
        asking.join()
        assert got != [pid]


def test_no_ping_before_its_time_and_one_thereafter(make_pool, database):
    pool = make_pool({"check_after": 0})
    with pool.connection() as connection:
        pid = pid_of(connection)
    mark = database.mark()
    with pool.connection() as connection:
        assert pid_of(connection) == pid
    texts = [each.text for each in database.statements(mark)]
    assert texts[-1] == "SELECT pg_backend_pid()"
    assert texts[0] in {"", "SELECT 1"}  # the ping: an empty statement where the driver can


def test_its_own_database_is_dropped(make_pool, postgres):
    postgres.create_database("soon_gone")
    pool = make_pool({"max_size": 2}, dbname="soon_gone")
    fill(pool, 2)
    postgres.drop_database("soon_gone")
    with pytest.raises(Exception, match='database "soon_gone" does not exist'):
        pool.acquire()
    postgres.create_database("soon_gone")
    gone = Database(postgres, "soon_gone")
    eventually(lambda: serves(pool))  # who asks before the next attempt is due is told so
    with pool.connection(timeout=30) as connection:
        assert [row.pid for row in gone.sessions()] == [pid_of(connection)]
    pool.close()
    postgres.drop_database("soon_gone")


def serves(pool):
    try:
        with pool.connection(timeout=30):
            return True
    except carpool.PoolUnavailable:
        return False

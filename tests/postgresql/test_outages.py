"""Promise 8: while the database is down requests fail fast, and all comes back by itself."""

import threading

import psycopg
import psycopg2
import pytest
from django.db import OperationalError

import carpool
from support.servers import PostgreSQL
from support.servers.base import read_from
from tests.postgresql.probing import pid_of
from tests.probing import eventually, value

ALLOWED = (
    carpool.PoolError,
    psycopg.OperationalError,
    psycopg2.OperationalError,
    psycopg2.InterfaceError,
)


class Attempts:
    """Counts the attempts to connect: the pool asks for credentials at each."""

    def __init__(self):
        self.count = 0

    def __call__(self):
        self.count += 1
        return {}


@pytest.fixture
def attempts():
    return Attempts()


def fail(pool):
    with pytest.raises(Exception) as caught:  # noqa: PT011 - the driver's, or carpool's
        pool.acquire()
    return caught.value


def test_requests_fail_without_an_attempt_each(make_pool, own_postgres, attempts):
    pool = make_pool({"credentials": attempts}, **own_postgres.params)
    own_postgres.kill()
    errors = [fail(pool) for _ in range(300)]
    assert attempts.count < 100
    refused = [error for error in errors if isinstance(error, carpool.PoolUnavailable)]
    assert len(refused) > 200
    assert isinstance(refused[-1], OperationalError)
    assert "attempts to connect to" in str(refused[-1])
    assert "refused" in str(refused[-1])
    assert "refused" in str(refused[-1].__cause__)


def test_the_first_request_after_a_single_refusal_tries_again(make_pool, proxy, attempts):
    pool = make_pool({"credentials": attempts}, port=proxy.port)
    proxy.refuse()
    assert "refused" in str(fail(pool))
    proxy.forward()
    with pool.connection() as connection:
        assert value(connection, "SELECT 1") == 1
    assert attempts.count == 2


def test_the_pool_finds_the_server_again_by_itself(make_pool, own_postgres):
    pool = make_pool({"max_size": 2}, **own_postgres.params)
    with pool.connection() as connection:
        pid = pid_of(connection)
    own_postgres.kill()
    for _ in range(5):
        fail(pool)
    own_postgres.start_again()
    (session,) = own_postgres.wait_for_sessions(1, timeout=20)  # though nobody asks
    with pool.connection() as connection:
        assert pid_of(connection) == session.pid != pid


def test_a_minimum_is_filled_again(make_pool, own_postgres):
    pool = make_pool({"min_size": 2, "max_size": 3, "check_after": 0.2}, **own_postgres.params)
    own_postgres.wait_for_sessions(2)
    own_postgres.restart()
    own_postgres.wait_for_sessions(2, timeout=20)
    pool.close()


def test_many_requests_during_a_restart(make_pool, own_postgres):
    """While it lasts there are errors of the right kind; then all are served again."""
    pool = make_pool({"max_size": 4}, **own_postgres.params)
    done, wrong, served = threading.Event(), [], []

    def ask():
        while not done.is_set():
            try:
                with pool.connection(timeout=5) as connection:
                    served.append(value(connection, "SELECT 1"))
            except ALLOWED:
                pass
            except BaseException as error:
                wrong.append(error)
                raise

    askers = [threading.Thread(target=ask) for _ in range(6)]
    for asker in askers:
        asker.start()
    eventually(lambda: len(served) > 50)
    own_postgres.restart()
    before = len(served)
    eventually(lambda: len(served) > before + 200, timeout=30)
    done.set()
    for asker in askers:
        asker.join()
    assert wrong == []
    assert set(served) == {1}
    assert len(own_postgres.sessions()) <= 4


def test_no_room_on_the_server_is_waited_for(make_pool, database, postgres):
    postgres.query("CREATE ROLE lonely LOGIN CONNECTION LIMIT 1")
    pool, got = make_pool({"max_size": 2}, user="lonely"), []

    def ask():
        with pool.connection(timeout=30) as connection:
            got.append(value(connection, "SELECT 1"))

    asking = threading.Thread(target=ask)
    mark = postgres.mark()
    with psycopg.connect(**database.params | {"user": "lonely"}):
        asking.start()
        eventually(lambda: "too many connections for role" in read_from(postgres.log, mark))
    asking.join()
    assert got == [1]
    pool.close()
    database.wait_for_sessions(0)
    postgres.query("DROP ROLE lonely")


def test_no_room_for_ordinary_roles(make_pool, own_postgres_with_few_slots):
    """The server's own limit speaks another sentence than a role's."""
    server = own_postgres_with_few_slots
    server.query("CREATE ROLE ordinary LOGIN")
    params = server.params | {"user": "ordinary"}
    pool = make_pool({"max_size": 2, "timeout": 30}, **params)
    others = [psycopg.connect(**params) for _ in range(3)]
    got = []
    asking = threading.Thread(target=lambda: got.append(pool.acquire()))
    mark = server.mark()
    asking.start()
    eventually(lambda: "connection slots are reserved" in read_from(server.log, mark))
    others.pop().close()
    asking.join()
    assert value(got[0], "SELECT 1") == 1
    pool.release(got[0])
    for other in others:
        other.close()


@pytest.fixture
def own_postgres_with_few_slots():
    with PostgreSQL.start(max_connections=6, superuser_reserved_connections=3) as server:
        yield server

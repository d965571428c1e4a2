"""Promises 4, 5 and 9: never more than `max_size`, room is waited for, credentials change."""

import random
import threading

import pytest

from tests.mysql.conftest import every_way
from tests.mysql.probing import id_of
from tests.probing import eventually, run, value


@pytest.fixture
def narrow_user(database):
    """A user of whom the server admits three sessions, not one more."""
    server = database.server
    server.query("CREATE USER narrow@'%' WITH MAX_USER_CONNECTIONS 3")
    server.query("GRANT ALL ON *.* TO narrow@'%'")
    yield "narrow"
    server.kill_sessions(user="narrow")
    server.query("DROP USER narrow@'%'")


def use_well(connection):
    run(connection, "SELECT 1")


def make_dirty(connection):
    run(connection, "SET @mine = 1")


def take_a_role(connection):
    run(connection, "SET ROLE NONE")


def leave_a_transaction(connection):
    connection.autocommit(False)
    run(connection, "SELECT 1")


def break_it(connection):
    with pytest.raises(Exception, match=r"onnection|interrupted|gone"):
        run(connection, "KILL CONNECTION_ID()")


def close_it(connection):
    connection.close()


MANNERS = [use_well, use_well, make_dirty, take_a_role, leave_a_transaction, close_it]


def churn(pool, uses, seed, errors):
    chance = random.Random(seed)
    try:
        for _ in range(25):
            connection = pool.acquire(timeout=30)
            chance.choice(uses)(connection)
            if chance.random() < 0.1:
                pool.discard(connection)
            else:
                pool.release(connection)
            del connection
            if chance.random() < 0.1:
                pool.drain()
    except BaseException as error:
        errors.append(error)
        raise


@every_way
@pytest.mark.parametrize("killed", [False, True], ids=["good and bad manners", "and kills"])
def test_never_more_than_max_size(make_pool, database, narrow_user, killed):
    """The server is the judge: it refuses every session that is one too many.

    A session that it kills itself may count for a moment after the end of the connection.
    """
    uses = [*MANNERS, break_it] if killed else MANNERS
    server = database.server
    pool = make_pool({"max_size": 3}, user=narrow_user)
    mark, errors, seen = database.mark(), [], set()
    users = [threading.Thread(target=churn, args=(pool, uses, seed, errors)) for seed in range(6)]
    for user in users:
        user.start()
    while any(user.is_alive() for user in users):
        seen.add(len(server.sessions(user=narrow_user)))
    for user in users:
        user.join()
    assert errors == []
    assert max(seen) <= 3
    assert killed or pool.get_stats()["connections_errors"] == 0, "refused by the server"
    assert server.connections(mark, user=narrow_user) > 20, "there was no churn"


def is_served_as_soon_as_there_is_room(waiting, other, leased):
    """Have a pool wait for room on a server whose last connections another pool has leased."""
    got = []

    def ask():
        with waiting.connection() as connection:
            got.append(value(connection, "SELECT 1"))

    asking = threading.Thread(target=ask)
    asking.start()
    eventually(lambda: waiting.get_stats()["connections_errors"])
    other.discard(leased.pop())
    asking.join()
    assert got == [1]
    for each in leased:
        other.release(each)


def test_no_room_for_the_user_is_waited_for(make_pool, narrow_user):
    first = make_pool({"max_size": 3}, user=narrow_user)
    leased = [first.acquire() for _ in range(3)]
    second = make_pool({"max_size": 1, "timeout": 30}, user=narrow_user)
    is_served_as_soon_as_there_is_room(second, first, leased)


def test_no_room_on_the_server_is_waited_for(make_pool, own_mariadb):
    own_mariadb.query("CREATE USER ordinary@'%'")
    own_mariadb.query("GRANT SELECT ON *.* TO ordinary@'%'")
    own_mariadb.query("SET GLOBAL max_connections = 10")
    params = own_mariadb.params | {"user": "ordinary"}
    first = make_pool({"max_size": 10}, **params)
    leased = [first.acquire() for _ in range(10)]
    second = make_pool({"max_size": 1, "timeout": 30}, **params)
    is_served_as_soon_as_there_is_room(second, first, leased)


@pytest.mark.parametrize("kind", [str, dict])
@every_way
def test_a_rotated_password_serves_new_connections_and_resets(make_pool, database, kind):
    server, current = database.server, {"password": "first"}
    server.create_role("renewed", "first")
    try:

        def credentials():
            return current["password"] if kind is str else dict(current)

        pool = make_pool({"credentials": credentials}, user="renewed", password="never used")
        numbers = set()
        for _ in range(2):
            with pool.connection() as connection:
                assert value(connection, "SELECT @mine") is None
                run(connection, "SET @mine = 1")
                numbers.add(id_of(connection))
        assert len(numbers) == 1
        server.query("ALTER USER renewed IDENTIFIED BY 'second'")
        pool.drain()
        with pytest.raises(Exception, match="Access denied"):
            pool.acquire()
        current["password"] = "second"
        with pool.connection() as connection:
            assert value(connection, "SELECT CURRENT_USER()").startswith("renewed@")
    finally:
        pool.close()
        server.query("DROP USER renewed")


def test_a_wrong_password_is_told_but_never_shown(make_pool, mariadb, caplog):
    mariadb.create_role("somebody", "right")
    try:
        pool = make_pool(user="somebody", password="not-this-one")
        with pytest.raises(Exception, match="Access denied") as caught:
            pool.acquire()
        assert "not-this-one" not in f"{caught.value} {pool!r} {pool.name} {caplog.text}"
    finally:
        mariadb.query("DROP USER somebody")

"""Promise 2: what the server or the network has closed is never handed out, and no ping is paid."""

import threading

import pytest

from carpool import PoolUnavailable
from support.proxy import Proxy
from tests.mysql.conftest import every_way
from tests.mysql.probing import id_of
from tests.probing import eventually, run, value

ID = "SELECT connection_id()"


def fill(pool, count):
    """Have `count` idle connections in a pool."""
    leased = [pool.acquire() for _ in range(count)]
    numbers = {id_of(connection) for connection in leased}
    for connection in leased:
        pool.release(connection)
    assert len(numbers) == count
    return numbers


def texts(database, mark):
    return [each.text for each in database.statements(mark) if not each.text.startswith("SET ")]


@every_way
def test_every_idle_session_is_killed(make_pool, database):
    pool = make_pool({"max_size": 4})
    before = fill(pool, 4)
    assert database.kill_sessions() == 4
    mark = database.mark()
    after = fill(pool, 4)
    assert not after & before
    assert {text for text in texts(database, mark) if not text.startswith("SHOW ")} == {ID}


@every_way
def test_a_session_that_times_out_by_itself(make_pool, database):
    pool = make_pool({"max_size": 1}, init_command="SET wait_timeout = 1")
    (before,) = fill(pool, 1)
    database.wait_for_sessions(0)
    with pool.connection() as connection:
        assert id_of(connection) != before


def test_the_server_s_own_timeout(make_pool, own_mariadb):
    own_mariadb.query("SET GLOBAL wait_timeout = 1")
    pool = make_pool({"max_size": 2}, **own_mariadb.params)
    before = fill(pool, 2)
    own_mariadb.wait_for_sessions(0)
    assert not fill(pool, 2) & before


@every_way
def test_a_session_is_killed_in_use(make_pool, database):
    pool = make_pool({"max_size": 1})
    connection = pool.acquire()
    number = id_of(connection)
    database.kill_sessions(pid=number)
    with pytest.raises(Exception, match=r"gone away|Lost connection|was killed|TLS/SSL"):
        run(connection, "SELECT 1")
    pool.release(connection)
    del connection
    with pool.connection() as connection:
        assert id_of(connection) != number


@every_way
@pytest.mark.parametrize("statement", ["SELECT 1", "SET @mine = 1"])
def test_a_session_is_killed_just_before_its_release(make_pool, database, statement):
    pool = make_pool({"max_size": 1})
    connection = pool.acquire()
    number = id_of(connection)
    run(connection, statement)
    database.kill_sessions(pid=number)
    pool.release(connection)
    del connection
    with pool.connection() as connection:
        assert id_of(connection) != number


@pytest.mark.parametrize("how", ["restart", "kill"])
def test_the_server_is_started_anew(make_pool, own_mariadb, how):
    pool = make_pool({"max_size": 3}, **own_mariadb.params)
    before = fill(pool, 3)
    if how == "kill":
        own_mariadb.kill()
        own_mariadb.start_again()
    else:
        own_mariadb.restart()
    fill(pool, 3)  # without an error; the numbers begin anew, too
    assert before
    assert len(own_mariadb.sessions()) == 3


@pytest.mark.parametrize("how", ["cut", "reset"])
def test_the_network_loses_the_connections(make_pool, database, proxy, how):
    pool = make_pool({"max_size": 3}, port=proxy.port)
    before = fill(pool, 3)
    assert getattr(proxy, how)() == 3
    database.wait_for_sessions(0)
    assert not fill(pool, 3) & before


COMMANDS = (  # COM_PING among them, which the general log leaves out
    "SELECT VARIABLE_VALUE FROM information_schema.SESSION_STATUS "
    "WHERE VARIABLE_NAME = 'Com_admin_commands'"
)


@every_way
@pytest.mark.parametrize(("check_after", "pinged"), [(30, False), (0, True)])
def test_no_ping_before_its_time_and_one_thereafter(make_pool, check_after, pinged):
    pool, seen = make_pool({"check_after": check_after, "max_size": 1}), []
    for _ in range(2):
        with pool.connection() as connection:
            seen.append((id_of(connection), int(value(connection, COMMANDS))))
    (first, before), (second, after) = seen
    assert first == second
    assert (after > before) == pinged


@pytest.mark.parametrize("way", ["tcp", "tls"], indirect=True)
def test_a_silent_connection_is_noticed_by_a_ping(make_pool, database):
    """Half open: nothing to read, nobody at the other end. Only idle time raises suspicion."""
    with Proxy("127.0.0.1", database.server.port) as proxy:
        pool = make_pool({"max_size": 1, "check_after": 0}, port=proxy.port)
        (before,) = fill(pool, 1)
        proxy.hang()
        got = []

        def ask():
            with pool.connection(timeout=30) as connection:
                got.append(id_of(connection))

        asking = threading.Thread(target=ask)
        asking.start()
        eventually(lambda: proxy.accepted >= 2)  # the first has been given up
        proxy.forward()
        asking.join()
        assert got != [before]


@pytest.mark.parametrize("way", ["tcp", "tls"], indirect=True)
def test_a_reset_that_is_not_answered_is_given_up(make_pool, database):
    with Proxy("127.0.0.1", database.server.port) as proxy:
        pool = make_pool({"max_size": 1}, port=proxy.port)
        with pool.connection() as connection:
            before = id_of(connection)
            run(connection, "SET @mine = 1")
            proxy.hang()
        eventually(lambda: pool.snapshot().resetting == 0, timeout=30)
        proxy.forward()
        with pool.connection(timeout=30) as connection:
            assert id_of(connection) != before


def test_a_paused_server(make_pool, own_mariadb):
    """Nothing is wrong with a connection that waits for long; and what was asked is answered."""
    pool, got = make_pool({"max_size": 1}, **own_mariadb.params), []
    (before,) = fill(pool, 1)
    own_mariadb.pause()

    def ask():
        with pool.connection(timeout=30) as connection:
            got.append(id_of(connection))

    asking = threading.Thread(target=ask)
    asking.start()
    eventually(lambda: not pool.snapshot().idle)
    own_mariadb.resume()
    asking.join()
    assert got == [before]


def test_its_own_database_is_dropped(make_pool, mariadb):
    mariadb.create_database("soon_gone")
    pool = make_pool({"max_size": 2}, database="soon_gone")
    fill(pool, 2)
    mariadb.drop_database("soon_gone")
    with pytest.raises(Exception, match="Unknown database"):
        pool.acquire()
    mariadb.create_database("soon_gone")

    def served():
        try:
            with pool.connection(timeout=30) as connection:
                return value(connection, "SELECT DATABASE()") == "soon_gone"
        except PoolUnavailable:  # the pool has tried by itself meanwhile, and waits a moment
            return False

    eventually(served)
    pool.close()
    mariadb.drop_database("soon_gone")


def test_a_reset_into_a_dropped_database_costs_the_connection(make_pool, mariadb):
    mariadb.create_database("dropped")
    pool = make_pool({"max_size": 1}, database="dropped")
    with pool.connection() as connection:
        run(connection, "SET @mine = 1")
        run(connection, "DROP DATABASE dropped")
    with pytest.raises(Exception, match="Unknown database"):
        pool.acquire()

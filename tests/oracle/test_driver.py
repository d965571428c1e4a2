"""The driver's answers to the pool: liveness, closing, forks, names, keys, refusals."""

import gc
import json
import os
import threading
import weakref

import pytest

from carpool import PoolError
from tests.oracle.test_sessions import lease, run, session_of


def opened(driver, **params):
    return driver.OracleDriver(user="shop", password="secret", dsn="db/shop", **params).connect({})


# Liveness ----------------------------------------------------------------------------------------


def test_a_session_killed_while_idle_reaches_nobody(make_pool, server):
    pool = make_pool({"max_size": 1})
    killed = lease(pool, lambda connection: session_of(server, connection))
    server.kill(killed)
    found = lease(pool, lambda connection: session_of(server, connection))
    assert found is not killed
    assert "PING" not in killed.statements + found.statements


def test_a_session_killed_in_use_is_replaced(make_pool, server, oracledb):
    pool = make_pool({"max_size": 1})

    def use(connection):
        server.kill(session_of(server, connection))
        run(connection, "SELECT a FROM t")

    with pytest.raises(oracledb.OperationalError, match="DPY-4011"):
        lease(pool, use)
    lease(pool, lambda connection: run(connection, "SELECT a FROM t"))
    assert len(server.all) == 2


def test_a_connection_that_its_user_closed_is_replaced(make_pool, server):
    pool = make_pool({"max_size": 1})
    lease(pool, lambda connection: connection.close())
    lease(pool, lambda connection: run(connection, "SELECT a FROM t"))
    assert [each.statements for each in server.all] == [["LOGOFF"], ["SELECT a FROM t"]]


def test_a_ping_has_a_time_limit(driver, server, oracledb):
    connection = opened(driver)
    one = connection.session.lease
    a_driver = driver.OracleDriver(user="shop")
    a_driver.ping(connection, 5)
    assert (server.all[0].statements, connection.call_timeout) == (["PING"], 0)
    server.deaf = True
    with pytest.raises(oracledb.OperationalError, match="call timeout of 1 ms"):
        a_driver.ping(connection, 0)
    assert connection.session.lease == one
    assert a_driver.broken(connection)


def test_a_reset_has_a_time_limit(driver, server, oracledb):
    connection = opened(driver)
    run(connection, "INSERT INTO t VALUES (1)")
    a_driver = driver.OracleDriver(user="shop")
    assert a_driver.in_transaction(connection)
    assert not a_driver.settle(connection)
    server.deaf = True
    assert not a_driver.begin_reset(connection, everything=False)
    with pytest.raises(oracledb.OperationalError, match="call timeout of 20 ms"):
        a_driver.finish_reset(connection, 0.02)


def test_a_look_without_the_socket_asks_the_driver(driver, server, monkeypatch):
    monkeypatch.setattr("carpool.oracle.session.socket_of", lambda _connection: None)
    connection = opened(driver)
    a_driver = driver.OracleDriver(user="shop")
    look = a_driver.watch(connection)
    assert not look(0)
    assert a_driver.look(connection)
    server.kill(server.all[0])
    assert look(0)
    assert not a_driver.look(connection)
    alive = weakref.ref(connection)
    del connection
    gc.collect()
    assert alive() is None  # else a pool could not see that its user has dropped it


# The end -----------------------------------------------------------------------------------------


def test_closing_takes_leave_of_the_server(make_pool, server):
    pool = make_pool({"max_size": 1})
    lease(pool, lambda connection: run(connection, "SELECT a FROM t"))
    pool.close()
    assert server.all[0].statements == ["SELECT a FROM t", "LOGOFF"]
    assert not server.sessions


def _run_in_thread(connection, statement, errors):
    def work():
        try:
            run(connection, statement)
        except Exception as error:  # noqa: BLE001 - it is looked at
            errors.append(str(error).partition(":")[0])

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_closing_cancels_what_runs(driver, server):
    connection, errors = opened(driver), []
    thread = _run_in_thread(connection, "SELECT wait FROM t", errors)
    assert server.waiting.acquire(timeout=10)
    a_driver = driver.OracleDriver(user="shop")
    assert a_driver.busy(connection)
    a_driver.close(connection, 10)
    thread.join(10)
    assert errors == ["ORA-01013"]
    assert server.all[0].statements[-1] == "LOGOFF"


def test_closing_does_not_wait_for_a_server_that_does_not_answer(driver, server, oracledb):
    connection, errors = opened(driver), []
    oracledb.Connection.cancel = lambda _connection: None  # a break that goes unheard
    thread = _run_in_thread(connection, "SELECT wait FROM t", errors)
    assert server.waiting.acquire(timeout=10)
    driver.OracleDriver(user="shop").close(connection, 0.02)
    thread.join(10)
    assert not thread.is_alive()
    assert errors == ["DPY-4011"]


def test_closing_raises_nothing(driver, server):
    connection = opened(driver)
    server.deaf = True
    driver.OracleDriver(user="shop").close(connection, 0.02)
    assert connection._impl is None
    driver.OracleDriver(user="shop").close(connection, 0.02)


def test_a_child_says_nothing_on_its_parents_connection(make_pool, server, oracledb):
    pool = make_pool({"max_size": 1})
    connection = pool.acquire()
    cursor = connection.cursor()
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        tried = []
        for use in (
            lambda: cursor.execute("SELECT stale FROM t"),
            lambda: run(connection, "SELECT child FROM t"),
            connection.ping,
            connection.close,
        ):
            try:
                tried.append(str(use()))
            except Exception as error:  # noqa: BLE001 - it is looked at
                tried.append(type(error).__name__)
        os.write(writing, json.dumps(tried).encode())
        os._exit(0)
    os.waitpid(child, 0)
    tried = json.loads(os.read(reading, 10_000))
    os.close(reading)
    os.close(writing)
    assert tried == ["StaleCursorError", *["OperationalError"] * 3]
    assert run(connection, "SELECT parent FROM t")
    pool.release(connection)
    assert server.all[0].statements == ["SELECT parent FROM t"]


# Names, keys, credentials ------------------------------------------------------------------------

NAMES = {
    "oracle://shop@db:1521/shop": {"user": "shop", "password": "secret", "dsn": "db:1521/shop"},
    "oracle://db/shop": {"dsn": "scott/secret@db/shop?wallet_location=/secret"},
    "oracle://scott@tns_name": {"user": "scott/secret", "dsn": "tns_name"},
    "oracle://shop@db:1521/orcl": {
        "user": "shop",
        "dsn": "(DESCRIPTION=(ADDRESS=(PROTOCOL=TCP)(HOST=db)(PORT=1521))"
        "(CONNECT_DATA=(SID=orcl))(SECURITY=(MY_WALLET_DIRECTORY=/secret)))",
    },
    "oracle://shop@db:1522/s": {
        "user": "shop",
        "host": "db",
        "port": 1522,
        "service_name": "s",
        "wallet_location": "/secret",
        "wallet_password": "secret",
    },
    "oracle://local/": {},
}


@pytest.mark.parametrize("name", NAMES)
def test_the_name_tells_no_secret(driver, name):
    assert driver.OracleDriver(**NAMES[name]).name == name


def test_the_key_tells_pools_apart(driver):
    def key(**params):
        return driver.OracleDriver(**({"user": "shop", "password": "a"} | params)).key

    assert key() == key()
    assert hash(key()) == hash(key())
    different = [
        key(password="b"),
        key(autocommit=True),
        key(variant=True),
        key(dsn="db"),
        key(wallet_location="/w"),
    ]
    assert len({key(), *different}) == 6


def test_waiting_is_bounded_unless_told_otherwise(driver, server):
    opened(driver).close()
    opened(driver, expire_time=0, tcp_connect_timeout=1.5).close()
    told = [(each["tcp_connect_timeout"], each["expire_time"]) for each in server.logins]
    assert told == [(10.0, 2), (1.5, 0)]


def test_fresh_credentials_are_used(make_pool, server):
    passwords = iter(["first", "second"])
    pool = make_pool({"max_size": 1, "credentials": lambda: next(passwords)})
    lease(pool, lambda connection: run(connection, "BEGIN p; END;"))
    lease(pool, lambda connection: run(connection, "SELECT a FROM t"))
    assert [each["password"] for each in server.logins] == ["first", "second"]


def test_a_session_that_cannot_be_examined_is_closed(driver, server, oracledb, monkeypatch):
    monkeypatch.setattr(driver, "TEMPORARY_TABLES", "SELECT wrong FROM all_dictionary")
    with pytest.raises(oracledb.DatabaseError, match="ORA-00904"):
        opened(driver)
    assert server.all[0].statements[-1] == "LOGOFF"


# Refusals ----------------------------------------------------------------------------------------

NO_ROOM = [
    "ORA-00018: maximum number of sessions exceeded",
    "ORA-00019: maximum number of session licenses exceeded",
    "ORA-00020: maximum number of processes (300) exceeded",
    "ORA-02391: exceeded simultaneous SESSIONS_PER_USER limit",
    "DPY-6005: cannot connect to database.\nDPY-6000: ... (Similar to ORA-12516)",
    "DPY-6000: Listener refused connection. (Similar to ORA-12518)",
    "DPY-6000: Listener refused connection. (Similar to ORA-12519)",
    "DPY-6000: Listener refused connection. (Similar to ORA-12520)",
]
OTHER = [
    "ORA-01017: invalid credential or not authorized; logon denied",
    "ORA-00180: something else",
    "ORA-12514: no such service",
    "DPY-6005: cannot connect to database (CONNECTION_ID=x).\n[Errno 111] Connection refused",
]


def test_a_full_server_is_told_from_one_that_is_down(driver, oracledb):
    no_room = driver.OracleDriver(user="shop").no_room
    assert [text for text in NO_ROOM if not no_room(oracledb.failure(text))] == []
    assert [text for text in OTHER if no_room(oracledb.failure(text))] == []
    assert not no_room(ValueError("ORA-00018"))


def test_a_full_server_does_not_count_as_down(make_pool, server, oracledb):
    server.limit = 1
    pool = make_pool({"max_size": 2, "timeout": 10})
    first = pool.acquire()
    with pytest.raises((PoolError, oracledb.DatabaseError)):
        pool.acquire(timeout=0.05)
    pool.release(first)
    assert lease(pool, lambda connection: session_of(server, connection)) is server.all[0]

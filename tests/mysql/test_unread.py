"""What one user has not read, or has not been told, never reaches the next."""

import contextlib
import threading

import MySQLdb
import pymysql
import pytest

from carpool.mysql.driver import MysqlclientDriver
from tests.mysql.conftest import every_way
from tests.mysql.probing import id_of
from tests.probing import eventually, run, value

MANY = "SELECT seq FROM seq_1_to_300000"


@pytest.fixture
def module(driver_class):
    return MySQLdb if driver_class is MysqlclientDriver else pymysql


def unbuffered(connection, module):
    cursor = connection.cursor(module.cursors.SSCursor)
    cursor.execute(MANY)
    assert cursor.fetchone() == (1,)
    return cursor


def unbuffered_and_read(connection, module):
    cursor = connection.cursor(module.cursors.SSCursor)
    cursor.execute("SELECT 1")
    assert cursor.fetchall() in (((1,),), [(1,)])
    return cursor


def second_result(connection, _):
    cursor = connection.cursor()
    cursor.execute("SELECT 'mine'; SELECT 'mine, too'")
    return cursor


def second_result_that_takes_long(connection, _):
    cursor = connection.cursor()
    cursor.execute("SELECT 'mine'; SELECT SLEEP(60)")
    return cursor


def result_of_a_procedure(connection, _):
    cursor = connection.cursor()
    cursor.callproc("telling")
    return cursor


LEFT = [
    *(unbuffered, unbuffered_and_read, second_result, second_result_that_takes_long),
    result_of_a_procedure,
]


@pytest.mark.filterwarnings("ignore:Previous unbuffered result:UserWarning")
@every_way
@pytest.mark.parametrize("drop", [True, False], ids=["dropped", "kept"])
@pytest.mark.parametrize("leave", LEFT)
def test_what_is_left_unread(make_pool, database, module, leave, drop):
    database.query("CREATE PROCEDURE telling() BEGIN SELECT 'mine'; SELECT 'mine, too'; END")
    pool = make_pool({"max_size": 1}, client_flag=module.constants.CLIENT.MULTI_STATEMENTS)
    connection = pool.acquire()
    kept = leave(connection, module)
    if drop:
        kept = None
    pool.release(connection)
    for number in range(3):
        with pool.connection() as connection:
            assert value(connection, f"SELECT {number}") == number
    with contextlib.suppress(Exception):
        kept.fetchone()
    with pool.connection() as connection:
        assert value(connection, "SELECT 'theirs'") == "theirs"
        assert len(database.sessions()) == 1


class Interruption(BaseException):
    """What a signal handler may raise, at whatever point: also a timeout of gevent's."""


# What PyMySQL does in the course of a query.
STEPS = ("_write_bytes", "_read_bytes", "_read_packet", "_read_query_result", "_execute_command")
WORK = {
    "query": lambda connection: run(connection, "SELECT 'mine'"),
    "commit": lambda c: c.commit(),
}


@pytest.mark.parametrize("driver_class", ["pymysql"], indirect=True)
@pytest.mark.parametrize("turn", range(-4, 5))
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("work", WORK.values(), ids=WORK)
def test_an_exception_in_the_middle(make_pool, database, work, step, turn):
    """It comes before (-) or after (+) the so manieth of such steps."""
    pool = make_pool({"max_size": 1})
    connection = pool.acquire()
    step_of_class, count = getattr(type(connection), step), []

    def interrupted(*args, **kwargs):
        count.append(step)
        if len(count) == -turn:
            raise Interruption
        answer = step_of_class(connection, *args, **kwargs)
        if len(count) == turn:
            raise Interruption
        return answer

    setattr(connection, step, interrupted)
    with contextlib.suppress(Interruption):
        work(connection)
    delattr(connection, step)
    pool.release(connection)
    del connection
    for number in range(3):
        with pool.connection() as connection:
            assert value(connection, f"SELECT {number}") == number
    database.wait_for_sessions(1)


class Unreadable(Exception):
    pass


def test_a_row_that_cannot_be_converted(make_pool, driver_class, module):
    def refuse(_):
        raise Unreadable

    conv = {**module.converters.conversions, module.constants.FIELD_TYPE.LONG: refuse}
    pool = make_pool({"max_size": 1}, conv=conv)
    connection = pool.acquire()
    with pytest.raises(Unreadable):
        run(connection, "SELECT n FROM (SELECT CAST(1 AS INT) n UNION SELECT 2) AS t")
    pool.release(connection)
    del connection
    with pool.connection() as connection:
        assert value(connection, "SELECT 'theirs'") == "theirs"


@pytest.mark.parametrize("driver_class", ["pymysql"], indirect=True)
def test_a_text_that_cannot_be_sent_costs_nothing(make_pool):
    pool = make_pool({"max_size": 1})
    with pool.connection() as connection:
        number = id_of(connection)
        with pytest.raises(UnicodeEncodeError):
            run(connection, "SELECT '\ud800'")
    with pool.connection() as connection:
        assert id_of(connection) == number


# Statements under way --------------------------------------------------------------------------


@every_way
def test_a_timeout_of_the_client_s_own_stops_the_statement(make_pool, database, module):
    pool = make_pool({"max_size": 1}, read_timeout=1)
    connection = pool.acquire()
    number = id_of(connection)
    with pytest.raises(module.OperationalError):
        run(connection, "SELECT SLEEP(60)")
    pool.release(connection)
    del connection
    with pool.connection(timeout=20) as connection:
        assert id_of(connection) != number
        assert [row.pid for row in database.sessions()] == [id_of(connection)]


def test_a_discarded_connection_at_work_is_stopped(make_pool, database, module):
    pool, failed = make_pool({"max_size": 1}), []
    connection = pool.acquire()

    def work():
        try:
            run(connection, "SELECT SLEEP(60) + 77")
        except Exception as error:  # noqa: BLE001 - looked at below
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    eventually(lambda: [row for row in database.sessions() if row.query])
    pool.discard(connection)
    thread.join()
    assert len(failed) <= 1  # KILL may end SLEEP with an answer
    database.wait_for_sessions(0)


def test_only_the_same_session_is_stopped(make_pool, database):
    """Behind a load balancer the number may be that of another session on another server."""
    pool = make_pool({"max_size": 2})
    innocent, lost = pool.acquire(), pool.acquire()
    number = id_of(innocent)
    lost.session.thread_id = number
    # As after an error at which the module closes the socket, and the server may be at work.
    lost.session.lost = lost.session.running = True
    lost.session.descriptor = -1
    pool.release(lost)
    del lost
    database.wait_for_sessions(1)
    assert id_of(innocent) == number
    pool.release(innocent)

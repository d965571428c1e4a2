"""The bytes that go to a server, and MySQL 8.0 as far as its protocol tells.

The commands: https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_reset_connection.html,
.../page_protocol_com_init_db.html, .../page_protocol_com_ping.html
"""

import contextlib
import socket
import threading
import time

import pytest

from carpool import Options, Pool
from carpool.mysql import wire
from tests.mysql.fake_mysql import OK, FakeMySQL, packet
from tests.probing import eventually, run

SET_UP = (
    b"\x03SET NAMES utf8mb4, autocommit=1, sql_auto_is_null=0, "
    b"transaction_isolation='READ-COMMITTED'"
)
RESET, INIT_DB, PING, QUIT = b"\x1f", b"\x02shop", b"\x0e", b"\x01"
LEAVE = b"\x03SET @mine = 1"


@pytest.fixture
def mysql():
    server = FakeMySQL()
    yield server
    server.close()


@pytest.fixture
def make_pool(mysql, driver_class):
    made = []

    def make(**options):
        driver = driver_class(
            **mysql.params,
            database="shop",
            charset="utf8mb4",
            autocommit=True,
            isolation_level="read committed",
            settings={"sql_auto_is_null": 0},
        )
        made.append(Pool(driver, Options(**options)))
        return made[-1]

    yield make
    for pool in made:
        pool.close()


def leave_something(pool):
    with pool.connection() as connection:
        run(connection, "SET @mine = 1")


def test_a_reset(make_pool, mysql):
    pool = make_pool()
    leave_something(pool)
    with pool.connection():
        assert mysql.commands == [
            *(b"\x03SET NAMES utf8mb4", SET_UP, LEAVE),
            *(RESET, INIT_DB, SET_UP),
        ]


def test_a_ping(make_pool, mysql):
    pool = make_pool(check_after=0)
    with pool.connection():
        pass
    before = len(mysql.commands)
    with pool.connection():
        assert set(mysql.commands[before:]) == {PING}


def test_the_end(make_pool, mysql):
    pool = make_pool()
    with pool.connection():
        pass
    pool.close()
    assert mysql.commands[-1] == QUIT


def test_a_session_that_mysql_has_ended_for_idleness(make_pool, mysql):
    pool = make_pool()
    with pool.connection() as connection:
        first = connection.thread_id()
    mysql.say_farewell()
    before = len(mysql.commands)
    with pool.connection() as connection:
        run(connection, "SET @mine = 1")
        assert connection.thread_id() != first
    assert PING not in mysql.commands[before:]


ERROR = packet(1, b"\xff" + (1047).to_bytes(2, "little") + b"#08S01Unknown command")
BAD_ANSWERS = {
    "error": ERROR,
    "out of sequence": packet(2, OK),
    "a result": packet(1, b"\x01"),
    "half a packet, then silence": packet(1, OK)[:-2],
    "silence": b"\0",
}


@pytest.mark.parametrize("answer", BAD_ANSWERS.values(), ids=BAD_ANSWERS)
def test_a_reset_that_is_not_answered_well_costs_the_connection(make_pool, mysql, answer):
    pool = make_pool()
    mysql.answer = lambda command: answer if command == RESET else None
    with pool.connection() as connection:
        first = connection.thread_id()
        run(connection, "SET @mine = 1")
    with pool.connection() as connection:
        assert connection.thread_id() != first


@pytest.mark.parametrize("version", ["8.4.1", "10.11.6-MariaDB-log", "11.4.2-MariaDB"])
def test_the_isolation_level_bears_the_version_s_name(make_pool, mysql, version):
    mysql.version = version
    with make_pool().connection():
        old = version.startswith("10.")
        name = b"tx_isolation" if old else b"transaction_isolation"
        assert b" " + name + b"='READ-COMMITTED'" in mysql.commands[1]


# One exchange ------------------------------------------------------------------------------------


@pytest.fixture
def ends():
    mine, theirs = socket.socketpair()
    with mine, theirs:
        yield mine, theirs


def in_time(seconds=10.0):
    return time.monotonic() + seconds


def test_what_is_sent(ends):
    mine, theirs = ends
    theirs.sendall(packet(1, OK))
    wire.exchange(mine.fileno(), wire.RESET_CONNECTION, in_time())
    assert theirs.recv(100) == bytes.fromhex("01000000 1f")


def test_an_answer_that_comes_in_pieces(ends):
    mine, theirs = ends

    def dribble():
        for byte in packet(1, OK):
            theirs.sendall(bytes([byte]))

    thread = threading.Thread(target=dribble)
    thread.start()
    wire.exchange(mine.fileno(), wire.PING, in_time())
    thread.join()


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (ERROR, r"\(1047\) Unknown command"),
        (packet(1, b"\xff\x17\x04old"), r"\(1047\) old"),
        (packet(0, OK), "not in sync"),
        (packet(1, b""), "not in sync"),
        (packet(1, b"\xfe"), "not in sync"),
        (packet(1, OK) + packet(2, OK), "more than was asked"),
        (packet(1, OK)[:-1], "not answer in time"),
        (b"", "not answer in time"),
    ],
)
def test_what_is_refused(ends, answer, complaint):
    mine, theirs = ends
    theirs.sendall(answer)
    with pytest.raises(wire.WireError, match=complaint):
        wire.exchange(mine.fileno(), wire.PING, in_time(0.05))


def test_a_server_that_hangs_up(ends):
    mine, theirs = ends
    theirs.shutdown(socket.SHUT_WR)
    with pytest.raises(wire.WireError, match="hung up"):
        wire.exchange(mine.fileno(), wire.PING, in_time())
    theirs.close()
    with contextlib.suppress(wire.WireError), pytest.raises(OSError):  # noqa: PT011 - any will do
        wire.exchange(mine.fileno(), wire.PING, in_time())


def test_a_hurried_call_ends(ends):
    mine, _ = ends
    with wire.hurried(mine.fileno(), in_time(0.05)):
        assert mine.recv(1) == b""  # would wait for ever


def test_a_call_that_is_quick_enough_goes_on(ends):
    mine, theirs = ends
    with wire.hurried(mine.fileno(), in_time(0.05)):
        pass
    eventually(lambda: not any(t.name.startswith("Timer") for t in threading.enumerate()))
    theirs.sendall(b"x")
    assert mine.recv(1) == b"x"

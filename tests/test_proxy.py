"""The proxy that other tests put between driver and server."""

import os
import select
import socket
import time

import psycopg
import pytest


@pytest.fixture
def connect(database, proxy):
    """Connect through the proxy; closed at the end of the test."""
    opened = []

    def connect(**more):
        opened.append(
            psycopg.connect(**database.params | {"port": proxy.port} | more, autocommit=True)
        )
        return opened[-1]

    yield connect
    for connection in opened:
        connection.close()


def test_it_forwards_and_counts(connect, proxy):
    first, second = connect(), connect()
    assert first.execute("SELECT 1").fetchone() == second.execute("SELECT 1").fetchone() == (1,)
    assert (proxy.accepted, proxy.active) == (2, 2)


def test_both_sides_see_a_close(connect, proxy, database):
    connect().close()
    assert database.wait_for_sessions(0) == []


def test_refused_connections_leave_present_ones_alone(connect, proxy):
    present = connect()
    proxy.refuse()
    with pytest.raises(psycopg.OperationalError, match="refused"):
        connect()
    assert present.execute("SELECT 1").fetchone() == (1,)
    proxy.forward()
    connect()


def test_cut_is_an_end_of_stream(connect, proxy, database):
    connection = connect()
    assert proxy.cut() == 1
    with pytest.raises(psycopg.OperationalError, match="server closed the connection unexpectedly"):
        connection.execute("SELECT 1")
    assert database.wait_for_sessions(0) == []


def test_reset_is_a_reset(connect, proxy, database):
    connection = connect()
    assert proxy.reset() == 1
    assert readable(connection, 10)
    with (
        socket.socket(fileno=os.dup(connection.fileno())) as twin,
        pytest.raises(ConnectionResetError),
    ):
        twin.recv(1)
    assert database.wait_for_sessions(0) == []


def test_a_hanging_network_loses_nothing(connect, proxy):
    connection = connect()
    proxy.hang()
    connection.pgconn.send_query(b"SELECT 1")
    assert not readable(connection, 0.2)
    proxy.forward()
    assert readable(connection, 10)
    assert connection.pgconn.get_result().get_value(0, 0) == b"1"


def readable(connection, timeout):
    return bool(select.select([connection], [], [], timeout)[0])


def test_what_hangs_can_be_cut(connect, proxy):
    connection = connect()
    proxy.hang()
    proxy.cut()
    with pytest.raises(psycopg.OperationalError):
        connection.execute("SELECT 1")


def test_a_delay_delays_both_ways(connect, proxy):
    connection = connect()
    proxy.delay = 0.1
    begun = time.monotonic()
    connection.execute("SELECT 1")
    assert time.monotonic() - begun >= 0.2

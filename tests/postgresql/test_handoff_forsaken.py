"""Whoever had a server connection was killed: the broker ends what they had begun."""

import os
import subprocess
import sys

import pytest

from tests.probing import eventually

# What a borrower sends down a copy of the server connection's socket, and then it is killed.
BORROWER = """
import os, sys, threading
descriptor, query = int(sys.argv[1]), sys.argv[2].encode() + bytes(1)
os.set_blocking(descriptor, True)
half = sys.argv[3] == "half"
message = b"Q" + (4 + len(query) + half * 1000).to_bytes(4) + query
os.write(descriptor, message)
print("sent", flush=True)
threading.Event().wait()
"""
LEFT_BY_THE_DEAD = {
    "running": "BEGIN; UPDATE account SET total = 2; SELECT pg_sleep(60)",
    "in a transaction": "BEGIN; UPDATE account SET total = 2",
    "unread": "BEGIN; UPDATE account SET total = 2; "
    "SELECT repeat('x', 10000) FROM generate_series(1, 100000)",
}
LOCKS = "SELECT * FROM pg_locks WHERE relation = 'account'::regclass"


@pytest.fixture
def borrow():
    """Start a process that sends a query down a connection's socket; returns how to kill it."""
    started = []

    def borrow(connection, query, how="whole"):
        descriptor = connection.pgconn.socket
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", BORROWER, str(descriptor), query, how],
                pass_fds=[descriptor],
                stdout=subprocess.PIPE,
            )
        )
        assert started[-1].stdout.readline() == b"sent\n"
        return started[-1]

    yield borrow
    for program in started:
        program.kill()
        program.communicate()


@pytest.mark.parametrize("query", LEFT_BY_THE_DEAD.values(), ids=LEFT_BY_THE_DEAD)
def test_what_a_dead_borrower_did_is_undone(worker, database, borrow, query):
    database.query("CREATE TABLE account AS SELECT 1 AS total")
    program = borrow(worker.first, query)
    eventually(lambda: database.query(LOCKS))
    pid = worker.first.info.backend_pid
    program.kill()
    program.wait()
    worker.broker.driver.forsake(worker.first)
    assert worker.broker.driver.broken(worker.first)
    worker.broker.driver.close(worker.first, 5)
    assert database.query(LOCKS) == []
    assert database.sessions(pid=pid) == []
    assert database.query("SELECT total FROM account") == [(1,)]


def test_others_copies_of_the_socket_do_not_keep_the_session(worker, database, borrow):
    other = os.dup(worker.first.pgconn.socket)
    program = borrow(worker.first, "SELECT 1", "half")
    program.kill()
    program.wait()
    pid = worker.first.info.backend_pid
    worker.broker.driver.forsake(worker.first)
    worker.broker.driver.close(worker.first, 5)
    assert database.sessions(pid=pid) == []
    os.close(other)


def test_closing_what_is_not_forsaken_cancels_nothing(worker, database):
    mark = database.mark()
    pid = worker.first.info.backend_pid
    worker.broker.driver.close(worker.first, 5)
    assert database.sessions(pid=pid) == []
    log = database.server.statement_log.read_bytes()[mark:]
    assert b"unexpected EOF" not in log

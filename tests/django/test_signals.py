"""connection_created: once for a server connection, again where a reset wiped what was done."""

import pytest
from django.db import connection as default
from django.db.backends.signals import connection_created

from tests.django.asking import pid_of, run, texts, value


@pytest.fixture
def created():
    """The pids of the sessions that the signal was sent for; its receiver does nothing else."""
    pids = []

    def receive(connection, **_):
        pids.append(connection.connection.info.backend_pid)

    connection_created.connect(receive)
    yield pids
    connection_created.disconnect(receive)


@pytest.fixture
def setter():
    def receive(connection, **_):
        run(connection, "SET work_mem = '9MB'")

    connection_created.connect(receive)
    yield
    connection_created.disconnect(receive)


def test_once_for_a_server_connection(use, created):
    connection = use()
    for _ in range(3):
        run(connection, "SELECT 1")
        connection.close()
    assert created == [pid_of(connection)]


def test_not_again_after_a_reset_that_concerned_no_receiver(use, created):
    connection = use()
    for _ in range(3):
        run(connection, "SET work_mem = '77MB'")
        connection.close()
    assert created == [pid_of(connection)]


def test_once_for_each(use, created, database):
    connection = use()
    run(connection, "SELECT 1")
    connection.close()
    database.kill_sessions()
    run(connection, "SELECT 1")
    assert len(set(created)) == len(created) == 2


def test_what_a_receiver_sets_holds_for_every_lease(use, setter, database):
    connection = use()
    mark = database.mark()
    for _ in range(3):
        assert value(connection, "SHOW work_mem") == "9MB"
        connection.close()
    assert texts(database.statements(mark)) == ["SET work_mem = '9MB'", *["SHOW work_mem"] * 3]


def test_and_after_a_reset(use, setter, created):
    connection = use()
    for _ in range(3):
        assert value(connection, "SHOW work_mem") == "9MB"
        run(connection, "SET work_mem = '77MB'")
        connection.close()
    assert value(connection, "SHOW work_mem") == "9MB"
    assert created == [pid_of(connection)] * 4


def test_for_the_other_threads_too(use, setter, in_thread):
    use()
    for _ in range(3):
        assert in_thread(value, default, "SHOW work_mem") == "9MB"


def test_a_receiver_that_fails_leaves_no_half_made_connection(use, database):
    def receive(connection, **_):
        raise RuntimeError("on purpose")

    connection = use({"max_size": 1})
    connection_created.connect(receive)
    try:
        for _ in range(3):
            with pytest.raises(RuntimeError, match="on purpose"):
                run(connection, "SELECT 1")
    finally:
        connection_created.disconnect(receive)
    assert value(connection, "SELECT 1") == 1
    connection.close()
    database.wait_for_sessions(1)

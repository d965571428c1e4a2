"""Promise 1: nothing leaks from one user to the next on the same connection."""

import threading

import pytest

from tests.conformance.asking import run, shown, value


def probed(pool, subject, leak):
    """Return what the probe shows to a first user, and to one after the planter."""
    with pool.connection() as connection:
        before = shown(connection, leak.probe)
    with pool.connection() as connection:
        run(connection, leak.plant)
    with pool.connection() as connection:
        return before, shown(connection, leak.probe)


def test_the_next_user_finds_none_of_it(make_pool, subject, leak):
    pool = make_pool(subject, max_size=1)
    before, after = probed(pool, subject, subject.leaks[leak])
    assert after == before


def test_without_a_reset_the_next_user_would(make_pool, subject, leak):
    """The probes are able to see a leak; and `reset: None` does what it says."""
    pool = make_pool(subject, max_size=1, reset=None)
    before, after = probed(pool, subject, subject.leaks[leak])
    assert after != before


def test_an_open_transaction_is_rolled_back(make_pool, subject):
    pool = make_pool(subject, max_size=1)
    connection = pool.acquire()
    run(connection, "BEGIN")
    run(connection, "INSERT INTO note VALUES (1)")
    pool.release(connection)
    with pool.connection() as connection:
        assert value(connection, "SELECT count(*) FROM note") == 0
    assert subject.ask("SELECT count(*) FROM note") == 0


def test_a_transaction_holds_nobody_up_after_its_release(make_pool, subject):
    pool = make_pool(subject, max_size=2)
    first = pool.acquire()
    run(first, "INSERT INTO note VALUES (1)")
    run(first, "BEGIN")
    run(first, "UPDATE note SET n = 2")
    pool.release(first)
    # It waits for whoever has locked the row; in a thread, not to wait for ever.
    other = threading.Thread(target=subject.ask, args=["UPDATE note SET n = 3"], daemon=True)
    other.start()
    other.join(20)
    assert subject.ask("SELECT n FROM note") == 3


def test_an_aborted_statement_harms_nobody(make_pool, subject):
    pool = make_pool(subject, max_size=1)
    with pytest.raises(Exception, match="nowhere"), pool.connection() as connection:
        run(connection, "SELECT * FROM nowhere")
    with pool.connection() as connection:
        assert value(connection, "SELECT 1") == 1


def test_always_and_auto_keep_a_clean_session(make_pool, subject):
    pool = make_pool(subject, max_size=1)
    with pool.connection() as connection:
        first = subject.session_of(connection)
    for _ in range(3):
        with pool.connection() as connection:
            assert subject.session_of(connection) == first


def test_a_cursor_of_an_earlier_lease_is_refused(make_pool, strict_subject):
    pool = make_pool(strict_subject, max_size=1)
    with pool.connection() as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT 1")
    with pool.connection() as connection:
        with pytest.raises(Exception, match="given back"):
            cursor.execute("SELECT 2")
        assert value(connection, "SELECT 3") == 3


def test_a_transaction_begun_by_hand_is_committed(make_pool, subject):
    pool = make_pool(subject, max_size=1)
    with pool.connection() as connection:
        run(connection, "BEGIN")
        run(connection, "INSERT INTO note VALUES (1)")
    assert subject.ask("SELECT count(*) FROM note") == 1

"""A pool of the host answers what a pool of the process answers, on each of the databases.

`others` stands for another process: a pool of its own with the same broker.
"""

import gc
import inspect
import logging
import os
import threading
import weakref
from contextlib import contextmanager

import pytest

from carpool import Options, Pool, PoolClosed, PoolTimeout, TooManyRequests
from carpool.errors import OptionsError
from carpool.host.pool import HostPool
from tests.conformance.host import broker_directory
from tests.conformance.registered import subject_class
from tests.probing import eventually, run, value

__all__ = ["broker_directory"]


@pytest.fixture(params=["psycopg-host", "mysqlclient-host"])
def subject(request):
    with subject_class(request.param).fresh(request) as subject:
        yield subject


@pytest.fixture
def make(subject):
    """Call it with options for a pool; it is closed at the end."""
    made = []

    def make(**options):
        made.append(HostPool(subject.driver(), Options(**subject.pool_options, **options)))
        return made[-1]

    yield make
    for pool in made:
        pool.close()


def public(kind):
    return {name for name in vars(kind) if not name.startswith("_")}


def in_thread(function):
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


def waiting(pool, outcomes, timeout=20):
    """Have a thread wait for a connection; what comes of it is in `outcomes`."""

    def work():
        try:
            outcomes.append(pool.acquire(timeout))
        except Exception as error:  # noqa: BLE001 - looked at by the test
            outcomes.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    eventually(lambda: pool.snapshot().waiting)
    return thread


@contextmanager
def others_descriptors():
    """Open some, which get the numbers that have become free; see that they are left alone."""
    pipes = [os.pipe() for _ in range(5)]
    yield
    for read, write in pipes:
        os.write(write, b"x")
        assert os.read(read, 1) == b"x"
        os.close(read)
        os.close(write)


# The same questions -------------------------------------------------------------------------------


def test_it_has_every_method_of_a_pool_with_the_same_parameters():
    asked = public(Pool) - {"leave"}  # which is for the broker's own
    assert asked <= public(HostPool)
    for name in asked:
        ours, theirs = getattr(HostPool, name), getattr(Pool, name)
        assert inspect.signature(ours).parameters == inspect.signature(theirs).parameters, name


def test_it_has_the_same_attributes(make, subject):
    pool, other = make(name="mine"), Pool(subject.driver(), Options(name="mine"))
    assert (pool.name, pool.options.name) == (other.name, other.options.name) == ("mine", "mine")
    assert make().name == Pool(subject.driver()).name
    assert "mine" in repr(pool)
    other.close()


def test_its_statistics_have_psycopg_pool_s_keys(make, subject):
    pool = make(min_size=1, max_size=3)
    with pool.connection(), pool.connection():
        held = pool.get_stats()
    assert (held["pool_min"], held["pool_max"], held["pool_size"]) == (1, 3, 2)
    assert held["pool_available"] == 0
    for _ in range(3):
        with pool.connection() as connection:
            run(connection, "SELECT 1")
    with pool.connection() as connection:
        run(connection, next(iter(subject.leaks.values())).plant)
    stats = pool.get_stats()
    assert stats["requests_num"] == 6
    assert stats["requests_errors"] == 0
    assert stats["requests_queued"] <= 3
    assert stats["resets"] == 1
    assert stats["pool_available"] == 2
    about_the_server = {"connections_num", "connections_ms", "connections_errors"}
    missing = Pool(subject.driver()).get_stats().keys() - stats.keys()
    assert missing == about_the_server | {"connections_lost"}


def test_its_statistics_keep_what_lost_connections_did(make, subject):
    pool = make()
    for _ in range(3):
        with pool.connection() as connection:
            run(connection, "SELECT 1")
        subject.kill()
    assert pool.get_stats()["requests_num"] == 3
    with pytest.raises(PoolTimeout), pool.connection():
        make(max_size=1).acquire(0)
    assert pool.get_stats()["usage_ms"] >= 0


def test_a_snapshot_tells_where_the_connections_are(make):
    pool = make(max_size=2)
    one, two = pool.acquire(), pool.acquire()
    now = pool.snapshot()
    assert (now.max_size, now.size, now.leased, now.idle) == (2, 2, 2, 0)
    pool.release(one)
    now = pool.snapshot()
    assert (now.size, now.leased, now.idle) == (2, 1, 1)
    pool.release(two)


def test_a_snapshot_leaves_out_what_others_have_taken_away(make):
    pool, others = make(max_size=1), make(max_size=1)
    pool.release(pool.acquire())
    assert pool.snapshot().idle == 1
    with others.connection():
        assert pool.snapshot().size == 0


# Taking and giving back ---------------------------------------------------------------------------


def test_what_is_preferred_is_had_if_it_is_idle(make):
    pool = make(max_size=2)
    one, two = pool.acquire(), pool.acquire()
    pool.release(one)
    pool.release(two)
    assert pool.acquire(prefer=one) is one
    assert pool.acquire(prefer=one) is two
    pool.release(one)
    pool.release(two)


def test_what_is_given_back_twice_or_comes_from_elsewhere_is_refused(make, subject):
    pool, others = make(), make()
    connection = pool.acquire()
    pool.release(connection)
    for name in ("release", "discard"):
        with pytest.raises(ValueError, match="is not leased from the pool"):
            getattr(pool, name)(connection)
    with others.connection() as foreign, pytest.raises(ValueError, match="comes from elsewhere"):
        pool.release(foreign)


def test_what_is_discarded_ends_on_the_server(make, subject):
    pool = make(max_size=1)
    connection = pool.acquire()
    first = subject.session_of(connection)
    pool.discard(connection)
    eventually(lambda: first not in [each.pid for each in subject.sessions()])
    with pool.connection() as connection:
        assert subject.session_of(connection) != first


def test_what_the_user_closes_is_replaced(make, subject):
    pool = make(max_size=1)
    connection = pool.acquire()
    connection.close()
    with others_descriptors():
        pool.release(connection)
        with pool.connection(timeout=10) as connection:
            assert value(connection, "SELECT 1") == 1
    assert pool.get_stats()["returns_bad"] == 1


def test_a_lost_connection_takes_nobody_s_descriptor_along(make, subject):
    """Client libraries close their sockets at some errors; the numbers are given to others."""
    pool = make(max_size=1)
    connection = pool.acquire()
    subject.kill()
    with pytest.raises(Exception):  # noqa: B017, PT011 - each module has its own
        run(connection, "SELECT 1")
    with others_descriptors():
        pool.release(connection)
        with pool.connection(timeout=10) as connection:
            assert value(connection, "SELECT 1") == 1


def test_reclaimed_from_a_finalizer_it_serves_others_at_once(make):
    """Nobody else has to call this pool for it: others wait."""
    pool, others = make(max_size=1), make(max_size=1)

    class Owner:
        pass

    owner = Owner()
    weakref.finalize(owner, pool.reclaim, pool.acquire())
    del owner
    others.release(others.acquire(timeout=10))


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of the modules, which is right
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_is_dropped_serves_others_at_once(make):
    pool, others = make(max_size=1), make(max_size=1)
    value(pool.acquire(), "SELECT 1")
    gc.collect()
    others.release(others.acquire(timeout=10))
    assert pool.get_stats()["closed_lost"] == 1


def test_reset_cleans_a_leased_connection(make, subject):
    leak, pool = next(iter(subject.leaks.values())), make()
    with pool.connection() as connection:
        before = value(connection, leak.probe)
        run(connection, leak.plant)
        pool.reset(connection)
        assert value(connection, leak.probe) == before


def test_a_connection_held_too_long_is_told_of(make, caplog):
    pool = make(leak_warning=0.1)
    with caplog.at_level(logging.WARNING, "carpool.pool"), pool.connection():
        eventually(lambda: pool.get_stats()["leaks"])
    assert "test_a_connection_held_too_long_is_told_of" in caplog.text
    assert "came back after" in caplog.text


# Errors -------------------------------------------------------------------------------------------


def test_who_waits_too_long_is_told_the_state_of_the_host(make):
    pool, others = make(max_size=1), make(max_size=1, timeout=0.05)
    with pool.connection(), pytest.raises(PoolTimeout) as caught:
        others.acquire()
    assert f"no connection to {pool.name} within 0.05 s; " in str(caught.value)
    assert "size 1 of 1 on this host, leased 1, idle 0" in str(caught.value)
    assert others.get_stats()["requests_errors"] == 1


def test_who_comes_when_too_many_wait_is_told(make):
    pool, outcomes = make(max_size=1, max_waiting=1), []
    with pool.connection():
        thread = waiting(pool, outcomes)
        with pytest.raises(TooManyRequests, match="1 requests are waiting"):
            pool.acquire()
    thread.join()
    pool.release(outcomes[0])


def test_a_wrong_password_is_the_module_s_error(make, subject):
    wrong = subject.driver(user="nobody_we_know", password="wrong")
    pool = HostPool(wrong, Options(**subject.pool_options))
    with pytest.raises(wrong.errors.OperationalError, match="nobody_we_know"):
        pool.acquire()
    pool.close()


# Its owner ----------------------------------------------------------------------------------------


def test_resize_counts_for_all(make, subject):
    pool, others = make(max_size=1), make(max_size=1)
    others.release(others.acquire())
    pool.resize(0, 2)
    one, two = pool.acquire(), others.acquire(timeout=10)
    assert len(subject.sessions()) == 2
    pool.resize(0, 1)
    pool.release(one)
    others.release(two)
    eventually(lambda: len(subject.sessions()) == 1)
    assert pool.snapshot().max_size == 1
    with pytest.raises(OptionsError, match="'min_size' is 3"):
        pool.resize(3, 2)


def test_drain_counts_for_all(make, subject):
    pool, others = make(max_size=2), make(max_size=2)
    one, two = pool.acquire(), others.acquire()
    before = {subject.session_of(one), subject.session_of(two)}
    pool.release(one)
    pool.drain()
    others.release(two)
    eventually(lambda: not before & {each.pid for each in subject.sessions()})
    with others.connection() as connection:
        assert subject.session_of(connection) not in before


def test_check_finds_the_dead(make, subject):
    pool = make(max_size=2)
    one, two = pool.acquire(), pool.acquire()
    pool.release(one)
    pool.release(two)
    pool.check()
    assert pool.snapshot().idle == 2
    subject.kill()
    pool.check()
    assert pool.snapshot().idle == 0


def test_wait_is_for_a_connection(make):
    pool, others = make(max_size=1), make(max_size=1)
    pool.wait()
    with others.connection(), pytest.raises(PoolTimeout):
        pool.wait(timeout=0.05)
    pool.wait(timeout=10)


def test_a_closed_pool_gives_nothing(make, subject):
    pool = make(max_size=1)
    leased = pool.acquire()
    outcomes = []
    thread = waiting(pool, outcomes)
    pool.close()
    thread.join()
    assert isinstance(outcomes[0], PoolClosed)
    with pytest.raises(PoolClosed, match="is closed"):
        pool.acquire()
    assert value(leased, "SELECT 1") == 1
    pool.release(leased)
    with pytest.raises(PoolClosed):
        pool.acquire()
    pool.close()


def test_close_ends_the_sessions_that_nobody_else_may_need(make, subject):
    pool, others = make(max_size=1), make(max_size=1)
    pool.release(pool.acquire())
    others.release(others.acquire(timeout=10))
    pool.close()
    assert len(subject.sessions()) == 1
    others.close()
    eventually(lambda: subject.sessions() == [])
    with make(max_size=1).connection() as connection:
        assert value(connection, "SELECT 1") == 1


def test_close_without_patience_does_so_soon(make, subject):
    pool = make(max_size=1)
    pool.release(pool.acquire())
    pool.close(timeout=0)
    eventually(lambda: subject.sessions() == [])


def test_a_block_commits_or_rolls_back(make, subject):
    pool = make(max_size=1)
    with pool.connection() as connection:
        run(connection, "BEGIN")
        run(connection, "INSERT INTO note VALUES (1)")
    with pytest.raises(ZeroDivisionError), pool.connection() as connection:  # noqa: PT012 - the block is the test
        run(connection, "BEGIN")
        run(connection, "INSERT INTO note VALUES (2)")
        raise ZeroDivisionError
    with pool.connection() as connection:
        assert value(connection, "SELECT count(*) FROM note") == 1

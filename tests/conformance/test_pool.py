"""Promises 2 to 5, 7 and 8 on a pool without Django."""

import gc
import threading

import pytest

from carpool import PoolTimeout
from tests.conformance.asking import run, value
from tests.probing import eventually


def test_a_clean_lease_costs_one_statement(make_pool, subject):
    pool = make_pool(subject, max_size=1)
    with pool.connection() as connection:
        run(connection, "SELECT 0")
    with subject.statements() as seen:
        for number in (1, 2, 3):
            with pool.connection() as connection:
                run(connection, f"SELECT {number}")
    assert seen == ["SELECT 1", "SELECT 2", "SELECT 3"]


def test_nothing_is_opened_before_it_is_needed(make_pool, subject):
    pool = make_pool(subject, max_size=2)
    assert subject.sessions() == []
    pool.release(pool.acquire())
    assert len(subject.sessions()) == 1


def test_killed_sessions_are_never_handed_out(make_pool, subject):
    pool = make_pool(subject, max_size=3)
    for _ in range(3):
        leased = [pool.acquire() for _ in range(3)]
        for connection in leased:
            assert value(connection, "SELECT 1") == 1
            pool.release(connection)
        subject.kill()
    with pool.connection() as connection:
        assert value(connection, "SELECT 1") == 1


def test_a_session_killed_in_use_is_replaced(make_pool, subject):
    pool = make_pool(subject, max_size=1)
    connection = pool.acquire()
    first = subject.session_of(connection)
    subject.kill()
    pool.release(connection)
    del connection
    with pool.connection() as connection:
        assert subject.session_of(connection) != first
        assert value(connection, "SELECT 1") == 1


def test_never_more_than_max_size(make_pool, subject):
    pool = make_pool(subject, max_size=3, num_workers=4)
    most, stop = [], threading.Event()
    failures = []

    def work(number):
        try:
            for turn in range(20):
                with pool.connection() as connection:
                    run(connection, "SELECT 1")
                    if turn % 5 == number % 5:
                        run(connection, next(iter(subject.leaks.values())).plant)
                    if turn % 7 == number % 7:
                        run(connection, "BEGIN")
        except Exception as error:  # noqa: BLE001 - looked at below
            failures.append(error)

    def watch():
        while not stop.is_set():
            most.append(len(subject.sessions()))

    threads = [threading.Thread(target=work, args=[number]) for number in range(8)]
    watcher = threading.Thread(target=watch)
    watcher.start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    watcher.join()
    assert failures == []
    assert 1 <= max(most) <= 3


def test_who_waits_too_long_is_told(make_pool, subject):
    pool = make_pool(subject, max_size=1)
    connection = pool.acquire()
    with pytest.raises(PoolTimeout):
        pool.acquire(timeout=0.05)
    pool.release(connection)
    pool.release(pool.acquire(timeout=5))


def test_who_waits_gets_what_comes_back(make_pool, subject):
    pool = make_pool(subject, max_size=1)
    connection = pool.acquire()
    first = subject.session_of(connection)
    got = []
    waiting = threading.Thread(target=lambda: got.append(pool.acquire(timeout=20)))
    waiting.start()
    eventually(lambda: pool.snapshot().waiting)
    pool.release(connection)
    waiting.join()
    assert subject.session_of(got[0]) == first
    pool.release(got.pop())


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of the modules, which is right
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_is_dropped_costs_no_slot(make_pool, subject):
    pool = make_pool(subject, max_size=1)

    def drop():
        value(pool.acquire(timeout=20), "SELECT 1")
        gc.collect()

    for _ in range(3):
        drop()


def test_drain_replaces_every_session(make_pool, subject):
    pool = make_pool(subject, max_size=2)
    leased, idle = pool.acquire(), pool.acquire()
    before = {subject.session_of(leased), subject.session_of(idle)}
    pool.release(idle)
    del idle
    pool.drain()
    pool.release(leased)
    del leased
    eventually(lambda: pool.snapshot().size == 0)
    eventually(lambda: subject.sessions() == [])
    with pool.connection() as connection:
        assert subject.session_of(connection) not in before


def test_close_leaves_no_session(make_pool, subject):
    pool = make_pool(subject, min_size=2, max_size=3)
    pool.wait()
    with pool.connection() as connection:
        run(connection, "BEGIN")
    pool.close()
    assert subject.sessions() == []


def test_configure_outlives_a_reset(make_pool, hooked_subject):
    leak = next(iter(hooked_subject.leaks.values()))
    pool = make_pool(
        hooked_subject, max_size=1, configure=lambda connection: run(connection, leak.plant)
    )
    with pool.connection() as connection:
        configured = value(connection, leak.probe)
    with pool.connection() as connection:
        run(connection, [*hooked_subject.leaks.values()][1].plant)
    with pool.connection() as connection:
        assert value(connection, leak.probe) == configured


def test_attributes_that_configure_sets_stay_and_others_go(make_pool, hooked_subject):
    name, wanted = hooked_subject.attribute

    def seen(connection):
        return getattr(connection, name, None)

    for configure in (None, lambda connection: setattr(connection, name, wanted)):
        pool = make_pool(hooked_subject, max_size=1, configure=configure)
        with pool.connection() as connection:
            before = seen(connection)
            assert (before == wanted) == bool(configure)
            setattr(connection, name, None if configure else wanted)
        for _ in range(2):
            with pool.connection() as connection:
                assert seen(connection) == before
                run(connection, "SELECT 1")


def test_a_restart_is_survived(make_pool, own_server_subject):
    pool = make_pool(own_server_subject, max_size=2)
    with pool.connection() as connection:
        run(connection, "SELECT 1")
    own_server_subject.database.server.restart()
    with pool.connection() as connection:
        assert value(connection, "SELECT 1") == 1


def test_it_fails_fast_while_the_server_is_down_and_recovers(make_pool, own_server_subject):
    pool = make_pool(own_server_subject, max_size=2, timeout=20)
    with pool.connection() as connection:
        run(connection, "SELECT 1")
    own_server_subject.database.server.kill()
    for _ in range(3):
        with pytest.raises(Exception) as caught:  # noqa: PT011 - whatever the module raises
            pool.acquire()
        assert not isinstance(caught.value, PoolTimeout)
    own_server_subject.database.server.start_again()

    def served():
        try:
            with pool.connection() as connection:
                return value(connection, "SELECT 1")
        except Exception:  # noqa: BLE001 - the circuit is still open
            return None

    eventually(served)

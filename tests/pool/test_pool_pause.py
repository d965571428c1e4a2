"""A paused pool hands out and opens nothing, and keeps nothing open that nobody uses."""

import threading

import pytest

from carpool import PoolTimeout
from carpool.pool import hooks
from tests.pool.fake import eventually


def waiting(pool):
    return pool.snapshot().waiting


def in_thread(work):
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_idle_connections_are_closed_and_acquires_wait(make_pool, driver):
    pool = make_pool(max_size=3)
    pool.release(*[pool.acquire()])
    pool.pause()
    eventually(lambda: driver.sessions == 0)
    with pytest.raises(PoolTimeout, match=r"PAUSED \(`carpool resume` ends that\)"):
        pool.acquire(0.05)
    assert driver.sessions == 0
    pool.resume()
    pool.release(pool.acquire(5))


def test_what_is_leased_is_closed_as_it_comes_back(make_pool, driver):
    pool = make_pool(max_size=3)
    held = pool.acquire()
    pool.pause()
    assert driver.sessions == 1
    assert not driver.closed
    pool.release(held)
    eventually(lambda: driver.sessions == 0)
    assert pool.snapshot().idle == 0


def test_who_waits_is_served_in_turn_when_it_is_over(make_pool, driver):
    pool = make_pool(max_size=1)
    pool.pause()
    order = []

    def work(number):
        connection = pool.acquire(20)
        order.append(number)
        pool.release(connection)

    threads = []
    for number in range(4):
        threads.append(in_thread(lambda number=number: work(number)))
        eventually(lambda number=number: waiting(pool) == number + 1)
    assert driver.made == 0
    pool.resume()
    for each in threads:
        each.join(10)
    assert order == [0, 1, 2, 3]
    assert driver.most == 1


def test_what_is_being_opened_when_it_begins_is_lent_to_nobody(make_pool, driver):
    driver.does_connect.outcome = "slow"
    pool = make_pool(max_size=1)
    served = []
    thread = in_thread(lambda: served.append(pool.acquire(20)))
    driver.does_connect.wait_entered()
    pool.pause()
    driver.does_connect.outcome = "ok"
    driver.does_connect.gate.set()
    eventually(lambda: driver.closed == [1])
    assert waiting(pool) == 1
    assert not served
    pool.resume()
    thread.join(10)
    assert [each.number for each in served] == [2]
    pool.release(served[0])


def test_a_connect_that_fails_meanwhile_fails_nobody(make_pool, driver):
    driver.does_connect.outcome = "slow error"
    pool = make_pool(max_size=1)
    served = []
    thread = in_thread(lambda: served.append(pool.acquire(20)))
    driver.does_connect.wait_entered()
    pool.pause()
    driver.does_connect.outcome = "ok"
    driver.does_connect.gate.set()
    eventually(lambda: pool.snapshot().opening == 0)
    assert thread.is_alive()
    pool.resume()
    thread.join(10)
    assert len(served) == 1
    pool.release(served[0])


def test_a_server_that_is_down_makes_no_difference_meanwhile(make_pool, driver):
    driver.does_connect.outcome = "error"
    pool = make_pool(max_size=1)
    with pytest.raises(Exception, match="down"):
        pool.acquire(5)
    pool.pause()
    with pytest.raises(PoolTimeout):  # not PoolUnavailable: it waits for the end of the pause
        pool.acquire(0.05)


def test_min_size_is_not_filled_up_before_it_is_over(make_pool, driver):
    pool = make_pool(min_size=2, max_size=3)
    pool.wait(10)
    pool.pause()
    eventually(lambda: driver.sessions == 0)
    pool._keeper.sweep()
    assert driver.made == 2
    pool.resume()
    eventually(lambda: pool.snapshot().idle == 2)


def test_what_is_being_reset_is_closed_too(make_pool, driver):
    pool = make_pool(max_size=1)
    held = pool.acquire()
    held.dirty = True
    pool.pause()
    pool.release(held)
    eventually(lambda: driver.sessions == 0)


def test_it_may_be_told_twice(make_pool, driver):
    pool = make_pool(max_size=1)
    pool.pause()
    pool.pause()
    pool.resume()
    pool.resume()
    pool.release(pool.acquire(5))
    assert not pool.snapshot().paused


def test_a_connect_that_begins_as_it_does_is_lent_to_nobody(make_pool, driver, monkeypatch):
    pool = make_pool(max_size=1)
    reserve = pool._ledger.reserve_wanted

    def reserve_and_pause(now):
        reserved = reserve(now)
        if reserved:
            pool.pause()
        return reserved

    monkeypatch.setattr(pool._ledger, "reserve_wanted", reserve_and_pause)
    with pytest.raises(PoolTimeout):
        pool.acquire(0.2)
    eventually(lambda: driver.sessions == 0)


def test_only_who_finds_no_room_counts_as_waiting(make_pool, driver):
    pool = make_pool(max_size=2)
    first, second = pool.acquire(), pool.acquire()  # each has waited for its connect alone
    assert (pool.counts()["waits"], pool.counts()["peak_waiting"]) == (0, 0)
    with pytest.raises(PoolTimeout):
        pool.acquire(0.01)
    told = pool.counts()
    assert (told["waits"], told["timeouts"], told["peak_waiting"], told["peak_leased"]) == (
        1,
        1,
        1,
        2,
    )
    assert [seconds >= 0.01 for seconds in pool.meter.wait_time.settle()] == [True]
    pool.release(first)
    pool.release(second)


def test_a_listener_that_ends_the_thread_loses_no_slot_at_a_discard(make_pool, driver):
    def end(*_, **__):
        raise SystemExit

    pool = make_pool(max_size=1)
    connection = pool.acquire()
    hooks.released.add(end)
    try:
        with pytest.raises(SystemExit):
            pool.discard(connection)
    finally:
        hooks.released.remove(end)
    pool.release(pool.acquire(5))

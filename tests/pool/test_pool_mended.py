"""Defects that other tests here have found: they stay mended."""

import threading
from time import monotonic

import pytest

from carpool import OptionsError, PoolError, PoolTimeout
from carpool.pool.entry import Waiter
from tests.pool.fake import BOUND, eventually
from tests.pool.test_pool_exceptions import CASES, SURVIVES, throw_everywhere
from tests.pool.test_pool_life import in_thread


@pytest.mark.parametrize("hook", ["configure", "credentials"])
def test_a_hook_that_exits_loses_no_slot(make_pool, hook):
    """`open_reserved` catches Exception only: `opening` stays for SystemExit, CancelledError."""
    calls = []

    def exit_once(*_):
        calls.append(1)
        if len(calls) == 1:
            raise SystemExit
        return {}

    pool = make_pool(max_size=1, timeout=BOUND, **{hook: exit_once})
    with pytest.raises(PoolError):
        pool.acquire()
    pool.release(pool.acquire())


def test_a_connection_that_dies_before_it_is_watched_loses_no_slot(stepped, driver):
    """`_entry` calls `driver.watch` outside the `try` of `open_reserved`."""
    driver.does_watch.next.append("error")
    pool = stepped(max_size=1, timeout=0)
    with pytest.raises(Exception, match=r"down|within"):
        pool.acquire()
    pool.release(pool.acquire())


def test_a_connect_that_never_returns_keeps_one_slot_only(make_pool, driver):
    """`to_open` counts it as what the next one waits for, though there is room for another."""
    pool = make_pool(max_size=2)
    driver.does_connect.next.append("never")
    given_up = Waiter()
    pool._ledger.enlist(given_up, monotonic())
    pool._opener.order()
    driver.does_connect.wait_entered()  # on a busy machine a short timeout may be over before
    with pytest.raises(PoolTimeout):
        pool._ledger.too_late(given_up, 0)
    pool.release(pool.acquire(BOUND / 2))  # before the other one is let go


def test_wait_waits_again_after_a_resize(make_pool, driver):
    """`filled` is set once and for ever."""
    pool = make_pool(min_size=1)
    pool.wait(BOUND)
    driver.does_connect.outcome = "slow"
    pool.resize(3)
    with pytest.raises(PoolTimeout):
        pool.wait(0.05)


def test_a_death_is_noticed_in_the_parent_of_a_fork(make_pool):
    """`resume` starts no thread, and `post` needs one."""
    pool = make_pool(max_size=1, timeout=BOUND)
    held = [pool.acquire()]
    pool.before_fork(5)
    pool.after_fork_in_parent()
    held.clear()
    pool.release(pool.acquire())


def test_close_connects_no_more(make_pool, driver):
    """`finish` does the queued `open_reserved` too, in the thread that closes."""
    driver.does_connect.next.append("slow")
    pool = make_pool(max_size=3, num_workers=1)
    waiting = [in_thread(pool.acquire, BOUND) for _ in range(3)]
    eventually(lambda: pool.snapshot().waiting == 3)
    driver.does_connect.wait_entered()
    pool.close(0.05)
    for each in waiting:
        each()
    assert driver.does_connect.count == 1


def test_an_old_connection_serves_while_the_server_refuses_new_ones(stepped, driver, clock):
    """`renew` takes an open circuit for a full pool and closes what works."""
    pool = stepped(max_size=3, max_lifetime=1000, max_idle=5000)
    held = [pool.acquire()]
    clock.advance(745)
    driver.does_connect.outcome = "error"
    for _ in range(2):  # the circuit opens
        with pytest.raises(PoolTimeout):
            pool.acquire(0)
    clock.advance(0.05)
    entry = next(iter(pool._leased.values()))
    entry.due_at = clock.now
    pool.release(held.pop())
    assert driver.closed == []


def test_one_probe_at_a_time(make_pool, driver):
    """When an attempt is due after failures, one is made, not one for each who asks."""
    driver.does_connect.next.extend(["error"] * 2)
    pool = make_pool(max_size=3, reconnect_timeout=0)
    for _ in range(2):
        with pytest.raises(Exception, match="down"):
            pool.acquire(BOUND)
        driver.does_connect.wait_entered()
    eventually(lambda: driver.does_connect.running == 0)
    driver.does_connect.outcome = "slow"
    driver.does_connect.most_running = 0
    circuit = pool._ledger.circuit
    circuit.retry_at = 0.0
    waiting = [in_thread(pool.acquire, BOUND) for _ in range(3)]
    eventually(lambda: pool.snapshot().waiting == 3)
    driver.does_connect.wait_entered()
    assert pool.snapshot().opening == 1
    driver.does_connect.gate.set()
    assert {each().number for each in waiting} == {1, 2, 3}


@pytest.mark.parametrize("sends", [False, True])
@pytest.mark.parametrize("prepare", [each for each in CASES if each not in SURVIVES])
def test_no_slot_is_lost_on_the_long_way(stepped, driver, prepare, sends):
    """Windows in which the exception of a time limit costs a slot, or plants a None in `idle`.

    `_wait` between `entry.take()` and `waiter.entry = None`; `order` between reserving and
    submitting; `discard` between `close_begins` and submitting; resets announced, not submitted.
    """
    assert throw_everywhere(stepped, driver, prepare, sends) == []


def test_what_was_given_to_a_cancelled_one_and_drained_is_closed(stepped, driver):
    """What a request that ends with an exception had been given goes back, or is closed."""
    pool = stepped(max_size=1)
    connection = pool.acquire()
    waiter = type("W", (), {"entry": None, "error": None})()
    entry = pool._leased.pop(id(connection))
    entry.connection = connection
    del connection
    waiter.entry = entry
    pool.drain()
    del entry
    pool._abandon(waiter)
    pool._crew.run()
    assert driver.dropped == []
    assert driver.closed == [1]


def test_a_check_keeps_the_order_of_use(stepped):
    """Each pinged one goes to the left end in turn, so all of them end up reversed."""
    pool = stepped(max_size=3)
    held = [pool.acquire() for _ in range(3)]
    for connection in held:
        pool.release(connection)
    pool.check()
    assert pool.acquire() is held[-1]


def test_a_sweep_keeps_the_order_of_use(stepped, clock):
    pool = stepped(max_size=3, check_after=30)
    held = [pool.acquire() for _ in range(3)]
    for connection in held:
        pool.release(connection)
    clock.advance(31)
    pool._keeper.sweep()
    assert pool.acquire() is held[-1]


def test_resize_down_counts_what_is_being_opened(make_pool, driver):
    """`Ledger.resize` looks at `open` alone: what is being opened stays above the new size."""
    driver.does_connect.outcome = "slow"
    pool = make_pool(max_size=3)
    waiting = [in_thread(pool.acquire, BOUND) for _ in range(3)]
    eventually(lambda: pool.snapshot().opening == 3)
    pool.resize(0, 1)
    driver.does_connect.gate.set()
    for each in waiting:
        pool.release(each())
    eventually(lambda: pool.snapshot().size <= 1, BOUND)


def test_resize_to_nothing_is_refused(stepped):
    """`max_size or ...` takes 0 for "unchanged"."""
    with pytest.raises(OptionsError):
        stepped().resize(0, 0)


def test_release_in_a_finalizer_while_others_wait(make_pool):
    """Pool's docstring allows it; where a collection runs under the lock, it waits for itself."""
    pool = make_pool(max_size=1)
    held = pool.acquire()
    waiting = in_thread(pool.acquire, BOUND)
    eventually(lambda: pool.snapshot().waiting == 1)
    lock = pool._ledger.lock

    def collected_under_the_lock():
        with lock:
            pool.release(held)

    thread = threading.Thread(target=collected_under_the_lock, daemon=True)
    thread.start()
    thread.join(BOUND)
    stuck = thread.is_alive()
    while thread.is_alive():  # let it go on, so that the test can end
        if lock.locked():
            lock.release()
        thread.join(0.05)
    assert not stuck
    pool.release(waiting())


def test_a_timeout_beyond_all_bounds(make_pool):
    """threading.TIMEOUT_MAX is 292 years; 1e12 is how some write "no limit"."""
    pool = make_pool(timeout=1e12)
    pool.release(pool.acquire())

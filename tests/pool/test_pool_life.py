"""Drain, resize, check, wait and close, and what becomes of those who wait."""

import threading
from contextlib import suppress

import pytest

from carpool import PoolClosed, PoolTimeout, TooManyRequests
from carpool.pool import crew as crew_module
from carpool.pool import opener
from tests.pool.fake import BOUND, ServerDown, eventually


def lease(pool, count):
    return [pool.acquire(BOUND) for _ in range(count)]


def give_back(pool, connections):
    for connection in connections:
        pool.release(connection)


def in_thread(function, *args):
    """Run it in a thread; returns what it returned or raised, as a function to call."""
    results = []

    def run():
        try:
            results.append(function(*args))
        except Exception as error:  # noqa: BLE001 - told by `result`
            results.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def result():
        thread.join(BOUND)
        assert results, "it did not return"
        return results[0]

    return result


# ------------------------------------------------------------------------- reuse


def test_nothing_is_opened_before_it_is_needed(stepped, driver):
    pool = stepped()
    assert driver.made == 0
    pool.release(pool.acquire())
    assert driver.made == 1


def test_the_one_used_last_is_the_next(stepped):
    pool = stepped(max_size=3)
    held = lease(pool, 3)
    give_back(pool, held)
    assert lease(pool, 3) == held[::-1]


def test_giving_back_twice_is_refused(stepped):
    pool = stepped()
    connection = pool.acquire()
    pool.release(connection)
    with pytest.raises(ValueError, match="given back already, or comes from elsewhere"):
        pool.release(connection)
    with pytest.raises(ValueError, match="<fake 1> is not leased from the pool fake"):
        pool.discard(connection)
    assert pool.snapshot().idle == 1


def test_the_context_manager_commits(stepped):
    pool = stepped()
    with pool.connection() as connection:
        connection.in_transaction = True
    assert connection.seen == ["commit"]
    assert pool.snapshot().idle == 1


def test_the_context_manager_rolls_back(stepped):
    pool = stepped()
    with pytest.raises(KeyError), pool.connection() as connection:  # noqa: PT012 - the block is the test
        connection.in_transaction = True
        raise KeyError
    assert pool.acquire() is connection
    assert connection.seen == ["rollback", "finish"]


def test_a_dead_one_is_not_handed_out(stepped, driver):
    pool = stepped(max_size=2)
    first, second = lease(pool, 2)
    give_back(pool, [first, second])
    second.dead = True
    assert pool.acquire() is first
    assert driver.closed == [2]
    assert first.seen == []  # no ping was paid for it


def test_one_that_rested_long_is_pinged(stepped, clock):
    pool = stepped(check_after=30)
    connection = pool.acquire()
    pool.release(connection)
    clock.advance(29)
    pool.release(pool.acquire())
    assert connection.seen == []
    clock.advance(30)
    assert pool.acquire() is connection
    assert connection.seen == ["ping"]


# ------------------------------------------------------------------------- drain


def test_drain_replaces_idle_ones_now_and_leased_ones_as_they_come(stepped, driver):
    pool = stepped(max_size=2)
    leased, idle = lease(pool, 2)
    pool.release(idle)
    pool.drain()
    assert driver.closed == [2]
    pool.release(leased)
    assert driver.closed == [2, 1]
    assert pool.acquire().number == 3


def test_drain_catches_what_is_being_opened(make_pool, driver):
    pool = make_pool(max_size=1)
    driver.does_connect.next.append("slow")
    waiting = in_thread(pool.acquire, BOUND)
    driver.does_connect.wait_entered()
    pool.drain()
    driver.does_connect.gate.set()
    assert waiting().number == 2
    eventually(lambda: driver.closed == [1])
    assert driver.most == 1


def test_drain_catches_what_is_being_reset(make_pool, driver):
    driver.sends_resets = False
    pool = make_pool(max_size=1)
    connection = pool.acquire()
    connection.dirty = True
    driver.does_finish_reset.next.append("slow")
    pool.release(connection)
    driver.does_finish_reset.wait_entered()
    pool.drain()
    driver.does_finish_reset.gate.set()
    eventually(lambda: driver.closed == [1])


def test_drain_keeps_min_size(stepped, driver):
    pool = stepped(min_size=2)
    pool.drain()
    assert sorted(driver.closed) == [1, 2]
    assert pool.snapshot().idle == 2


# ------------------------------------------------------------------------ resize


def test_resize_up_serves_who_waits(make_pool, driver):
    pool = make_pool(max_size=1)
    held = pool.acquire()
    waiting = in_thread(pool.acquire, BOUND)
    eventually(lambda: pool.snapshot().waiting == 1)
    pool.resize(0, 2)
    assert waiting().number == 2
    pool.release(held)


def test_resize_down_closes_idle_ones_first(stepped, driver):
    pool = stepped(max_size=4)
    held = lease(pool, 4)
    give_back(pool, held[:2])
    pool.resize(0, 3)
    assert len(driver.closed) == 1
    pool.resize(0, 1)
    assert sorted(driver.closed) == [1, 2]
    give_back(pool, held[2:])
    assert pool.snapshot().size == 1


def test_resize_fills_to_the_new_minimum(stepped):
    pool = stepped()
    pool.resize(3)
    assert pool.snapshot().idle == 3
    assert pool.get_stats()["pool_max"] == 10


# ------------------------------------------------------------------ check and wait


def test_check_replaces_what_does_not_answer(stepped, driver):
    pool = stepped(min_size=3, max_size=3)
    pool._idle[1].connection.hung = True
    pool._idle[0].connection.dead = True
    pool.check()
    assert sorted(driver.closed) == [1, 2]
    assert pool.snapshot().idle == 3
    assert pool.get_stats()["connections_lost"] == 2


def test_wait_returns_when_the_minimum_is_there(make_pool, driver):
    driver.does_connect.outcome = "slow"
    pool = make_pool(min_size=2)
    with pytest.raises(PoolTimeout, match=r"fake does not have its 2 connections after 0.01 s"):
        pool.wait(0.01)
    waiting = in_thread(pool.wait, BOUND)
    driver.does_connect.gate.set()
    assert waiting() is None
    assert pool.snapshot().idle == 2


# ------------------------------------------------------------------------- close


def test_close_ends_idle_ones_now_and_leased_ones_as_they_come(stepped, driver):
    pool = stepped(max_size=2)
    leased, idle = lease(pool, 2)
    pool.release(idle)
    pool.close()
    assert driver.sessions == 1
    pool.close()
    pool.release(leased)
    assert driver.sessions == 0
    with pytest.raises(PoolClosed, match="the pool fake is closed"):
        pool.acquire()


def test_close_tells_who_waits(make_pool):
    pool = make_pool(max_size=1)
    held = pool.acquire()
    waiting = in_thread(pool.acquire, BOUND)
    eventually(lambda: pool.snapshot().waiting == 1)
    pool.close(0.1)
    assert isinstance(waiting(), PoolClosed)
    pool.release(held)


def test_what_is_opened_while_closing_does_not_stay(make_pool, driver):
    pool = make_pool(max_size=1)
    driver.does_connect.next.append("slow")
    waiting = in_thread(pool.acquire, BOUND)
    driver.does_connect.wait_entered()
    pool.close(0.05)
    assert isinstance(waiting(), PoolClosed)
    driver.does_connect.gate.set()
    eventually(lambda: driver.sessions == 0 and driver.made == 1)


def test_close_waits_once_for_a_server_that_hangs(make_pool, driver, monkeypatch):
    """Not once for each connection."""
    patience = []

    def close(connection, seconds, close=driver.close):
        patience.append(seconds)
        close(connection, seconds)

    monkeypatch.setattr(driver, "close", close)
    pool = make_pool(max_size=6, num_workers=2)
    give_back(pool, lease(pool, 6))
    driver.does_close.next += ["slow", "slow"]
    pool.close(0.1)
    assert patience == [opener.PATIENCE] * 2 + [opener.HURRY] * 4
    driver.does_close.gate.set()


def test_close_by_a_worker_does_not_wait_for_that_worker(make_pool):
    pool = make_pool(max_size=1, check=lambda _: None)
    give_back(pool, lease(pool, 1))
    pool._crew.submit(lambda: pool.close(BOUND))
    eventually(lambda: not pool._crew._threads, BOUND / 2)


def test_close_does_not_fill_the_minimum_again(stepped, driver):
    pool = stepped(min_size=2)
    pool.close()
    pool._keeper.sweep()
    assert driver.made == 2
    assert driver.sessions == 0


# ----------------------------------------------------------------------- waiting


def test_max_waiting(make_pool):
    pool = make_pool(max_size=1, max_waiting=2, timeout=BOUND)
    held = pool.acquire()
    waiting = [in_thread(pool.acquire) for _ in range(2)]
    eventually(lambda: pool.snapshot().waiting == 2)
    with pytest.raises(TooManyRequests, match=r"^2 requests are waiting .* 'max_waiting'"):
        pool.acquire()
    pool.release(held)
    pool.release(waiting[0]())
    pool.release(waiting[1]())


def test_who_timed_out_does_not_count_any_more(stepped):
    pool = stepped(max_size=1, max_waiting=1)
    held = pool.acquire()
    for _ in range(3):
        with pytest.raises(PoolTimeout):  # not TooManyRequests
            pool.acquire(0)
        stats = pool.get_stats()
        assert stats["requests_waiting"] == pool.snapshot().waiting == 0
    assert stats["requests_errors"] == 3
    pool.release(held)


def test_the_error_tells_the_pools_state(stepped, driver):
    driver.does_connect.next.extend(["ok", "error"])
    pool = stepped(max_size=2)
    held = pool.acquire()
    with pytest.raises(PoolTimeout) as caught:
        pool.acquire(0)
    assert str(caught.value) == (
        "no connection to fake within 0 s; size 1 of 2, leased 1, idle 0, opening 0, "
        "resetting 0, waiting 0; last connect error: the server is down"
    )
    pool.release(held)


def test_a_failed_connect_is_told_to_who_waits(stepped, driver):
    driver.does_connect.next.append("error")
    with pytest.raises(ServerDown, match="the server is down"):
        stepped().acquire()


# ---------------------------------------------------------- borrowers that die


def test_a_thread_that_dies_loses_no_slot(make_pool, driver, caplog):
    pool = make_pool(max_size=1)
    in_thread(lambda: bool(pool.acquire()))()
    pool.release(pool.acquire(BOUND))
    assert driver.dropped == [1]
    assert driver.most == 1
    assert "a connection was dropped without being given back" in caplog.text
    assert pool.get_stats()["closed_lost"] == 1


def test_reclaim_gives_back(stepped):
    pool = stepped(max_size=1)
    connection = pool.acquire()
    pool.reclaim(connection)
    pool._crew.run()
    assert pool.acquire() is connection


def test_a_worker_keeps_nothing_of_what_it_gave_back(make_pool, driver):
    pool = make_pool(max_size=1)
    pool.reclaim(pool.acquire())
    eventually(lambda: pool.snapshot().idle == 1)
    pool.acquire()  # and drop it
    eventually(lambda: pool.snapshot().size == 0)


class Trap:
    """Stands for the ledger's lock: runs a finalizer's work whenever it has just been taken."""

    def __init__(self, lock, work):
        self.lock = lock
        self.work = work

    def __enter__(self):
        self.lock.__enter__()
        self.work()

    def __exit__(self, *args):
        self.lock.__exit__(*args)


def give_up_at_once(pool):
    """Wait for nothing; a finalizer may have given something back all the same."""
    with suppress(PoolTimeout):
        pool.release(pool.acquire(0))


OPERATIONS = {
    "acquire": lambda pool: pool.release(pool.acquire()),
    "stats": lambda pool: pool.get_stats(),
    "drain": lambda pool: pool.drain(),
    "check": lambda pool: pool.check(),
    "resize": lambda pool: pool.resize(1, 4),
    "sweep": lambda pool: pool._keeper.sweep(),
    "timeout": give_up_at_once,
    "repr": repr,
    "close": lambda pool: pool.close(),
}


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("how", ["reclaim", "drop"])
def test_a_finalizer_within_any_operation(make_pool, driver, operation, how):
    pool = make_pool(max_size=4)
    held = lease(pool, 4)
    if operation != "timeout":
        pool.release(held.pop())

    def finalize():
        if held:
            connection = held.pop()
            if how == "reclaim":
                pool.reclaim(connection)

    ledger = pool._ledger
    ledger.lock = Trap(ledger.lock, finalize)
    in_thread(OPERATIONS[operation], pool)()
    in_thread(pool.get_stats)()
    in_thread(pool.get_stats)()
    in_thread(pool.get_stats)()
    assert held == []
    eventually(lambda: pool.snapshot().leased == 0 and driver.sessions == pool.snapshot().size)


# ------------------------------------------------------------------- no threads


def test_without_threads_the_pool_works(monkeypatch, make_pool, driver):
    def refuse(_thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(crew_module.threading.Thread, "start", refuse)
    pool = make_pool(max_size=2)
    first, second = lease(pool, 2)
    first.dirty = True
    give_back(pool, [first, second])
    assert {pool.acquire(), pool.acquire()} == {first, second}
    first.dead = True
    give_back(pool, [first, second])
    third = lease(pool, 2)[1]
    assert third.number == 3
    pool.release(third)
    pool.close()
    pool.release(second)
    assert driver.sessions == 0
    assert driver.most == 2


# ------------------------------------------------------------------------- forks


@pytest.mark.parametrize("may", [True, False])
def test_what_may_not_be_open_at_a_fork_is_closed(make_pool, driver, may):
    driver.may_be_forked = may
    pool = make_pool(max_size=2)
    leased, idle = lease(pool, 2)
    pool.release(idle)
    pool.before_fork(BOUND)
    assert driver.closed == ([] if may else [idle.number])
    pool.after_fork_in_parent()
    pool.release(leased)
    give_back(pool, lease(pool, 2))
    assert driver.most == 2


def test_what_is_asked_for_while_a_fork_is_prepared_is_done_after_it(make_pool, driver):
    driver.sends_resets = False
    driver.does_finish_reset.next.append("slow")
    pool = make_pool(max_size=2)
    first, second = lease(pool, 2)
    first.dirty = second.dirty = True
    pool.release(first)
    driver.does_finish_reset.wait_entered()
    forking = threading.Thread(target=pool.before_fork, args=[BOUND])
    forking.start()
    eventually(lambda: pool._crew._stopping)
    pool.release(second)  # it has to be reset as well
    both = [in_thread(pool.acquire, BOUND) for _ in range(2)]
    eventually(lambda: pool.snapshot().waiting == 2)
    driver.does_finish_reset.gate.set()
    forking.join()
    pool.after_fork_in_parent()
    assert {each() for each in both} == {first, second}

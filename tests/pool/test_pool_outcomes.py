"""Every outcome of every call of the driver, met by every way in which a waiter can end."""

import itertools
import threading

import pytest

from carpool import PoolError, PoolTimeout
from carpool.pool import entry as entry_module
from tests.pool.fake import BOUND, Abandoned, ServerDown, eventually

OUTCOMES = ("ok", "error", "slow", "slow error", "never")
CALLS = ("connect", "finish_reset", "begin_reset", "ping", "close", "look", "settle")
ENDS = ("timeout", "cancelled", "served")


class Cancelled(Exception):
    """Thrown into a thread that waits."""


class CancellingGate:
    """A waiter's gate at which an exception arrives, whether it has been opened or not.

    Exceptions at any other place: see test_pool_exceptions.py.
    """

    def __init__(self):
        self.lock = threading.Lock()
        self.release = self.lock.release

    def acquire(self, *, timeout=None):
        if timeout is None:
            return self.lock.acquire()
        self.lock.acquire(timeout=0.01)
        raise Cancelled


class Waiting(threading.Thread):
    """A thread that acquires, and what came of it."""

    def __init__(self, pool, timeout):
        super().__init__(daemon=True)
        self.pool = pool
        self.timeout = timeout
        self.outcome = None
        self.start()

    def run(self):
        try:
            self.pool.release(self.pool.acquire(self.timeout))
            self.outcome = "served"
        except (PoolError, ServerDown, Abandoned, Cancelled) as error:
            self.outcome = type(error).__name__

    def ended(self):
        self.join(BOUND)
        assert not self.is_alive()
        return self.outcome


def lead_to(call, pool, driver):
    """Have the pool make the call whose outcome is tried, on one of its two connections."""
    if call == "connect":
        return []
    held = [pool.acquire(BOUND), pool.acquire(BOUND)]
    if call in ("begin_reset", "finish_reset"):
        held[0].dirty = True
    if call == "close":
        held[0].dead = True
    pool.release(held.pop(0))
    if call == "ping":
        pool._idle[0].check_at = 0.0 if pool._idle else None
    return held


@pytest.mark.parametrize("sends_resets", [False, True])
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize(
    ("call", "outcome"),
    [
        pair
        for pair in itertools.product(CALLS, OUTCOMES)
        # These are on the request's path, where the driver's contract forbids waiting.
        if pair[0] not in ("look", "settle", "begin_reset") or pair[1] in ("ok", "error")
    ],
)
def test_no_slot_is_lost(monkeypatch, make_pool, driver, call, outcome, end, sends_resets):  # noqa: PLR0917 - the table
    driver.sends_resets = sends_resets
    pool = make_pool(max_size=2, num_workers=4)
    plan = driver.calls[call]
    if call in ("connect", "settle", "begin_reset", "close"):
        plan.next.append(outcome)
        held = lead_to(call, pool, driver)
    else:
        held = lead_to(call, pool, driver)
        plan.next.append(outcome)
    if end == "cancelled":
        monkeypatch.setattr(entry_module, "Lock", CancellingGate)
    waiter = Waiting(pool, 0.02 if end == "timeout" else 2.0)
    if end == "served" and held:
        pool.release(held.pop())
        if outcome != "never":
            plan.gate.set()
    plan.gate.set()
    if outcome == "never":
        plan.end.set()  # the call comes to an end only when its connection is given up
    result = waiter.ended()
    monkeypatch.undo()
    assert result in ("served", "PoolTimeout", "ServerDown", "Abandoned", "Cancelled")
    assert pool.snapshot().waiting == 0
    for connection in held or ():
        pool.release(connection)
    plan.next.clear()
    everything_can_be_had(pool, driver)


def everything_can_be_had(pool, driver):
    """See that no slot was lost, and that there never were too many sessions."""
    most = pool.options.max_size

    def had():
        try:
            held = [pool.acquire(0.2) for _ in range(most)]
        except (PoolError, ServerDown):
            return False
        for connection in held:
            pool.release(connection)
        return len(set(map(id, held))) == most

    eventually(had, BOUND)
    eventually(lambda: driver.sessions == pool.snapshot().size == most)
    assert driver.most <= most


def give_up_during_a_connect(pool, driver):
    """Ask in vain until a worker has begun to connect for it."""
    while not driver.does_connect.count:
        with pytest.raises(PoolTimeout):
            pool.acquire(0.01)


def test_what_comes_too_late_for_one_serves_the_next(make_pool, driver):
    pool = make_pool(max_size=1)
    driver.does_connect.next.append("slow")
    give_up_during_a_connect(pool, driver)
    assert pool.snapshot().waiting == 0
    assert pool.snapshot().opening == 1
    driver.does_connect.gate.set()
    pool.release(pool.acquire(BOUND))
    assert driver.does_connect.count == driver.made == 1


def test_what_fails_too_late_for_one_is_told_to_the_next(make_pool, driver):
    pool = make_pool(max_size=1)
    driver.does_connect.next.append("slow error")
    give_up_during_a_connect(pool, driver)
    waiter = Waiting(pool, BOUND)
    eventually(lambda: pool.snapshot().waiting == 1)
    driver.does_connect.gate.set()
    assert waiter.ended() == "ServerDown"
    assert Waiting(pool, BOUND).ended() == "served"


def test_closing_counts_until_the_server_let_go(make_pool, driver):
    pool = make_pool(max_size=1)
    connection = pool.acquire()
    driver.does_close.next.append("slow")
    pool.discard(connection)
    driver.does_close.wait_entered()
    with pytest.raises(PoolTimeout, match="size 1 of 1"):
        pool.acquire(0.01)
    assert driver.sessions == driver.most == 1
    waiter = Waiting(pool, BOUND)
    driver.does_close.gate.set()
    assert waiter.ended() == "served"
    assert driver.most == 1


def test_a_reset_counts_until_it_is_through(make_pool, driver):
    driver.sends_resets = False
    pool = make_pool(max_size=1)
    connection = pool.acquire()
    connection.dirty = True
    driver.does_finish_reset.next.append("slow")
    pool.release(connection)
    driver.does_finish_reset.wait_entered()
    with pytest.raises(PoolTimeout, match="resetting 1"):
        pool.acquire(0.01)
    driver.does_finish_reset.gate.set()
    assert pool.acquire(BOUND) is connection
    assert driver.most == 1
    pool.release(connection)

"""Every order in which two or three threads can get in each other's way, and mutants that show
that a mistake would be found.
"""

import inspect
import sys
import textwrap
from types import SimpleNamespace

import pytest

from carpool import Options, Pool, PoolTimeout
from carpool.pool import entry as entry_module
from carpool.pool import pool as pool_module
from carpool.pool.entry import Waiter
from carpool.pool.ledger import Ledger
from carpool.pool.opener import Opener
from tests.pool import interleave
from tests.pool.fake import FakeDriver
from tests.pool.stepped import SteppedCrew

WATCHED = [
    sys.modules[f"carpool.pool.{name}"] for name in ("pool", "ledger", "keeper", "opener", "entry")
]


class Cancelled(Exception):
    """What is thrown into a waiting thread."""


@pytest.fixture
def world(monkeypatch):
    """Make pools whose locks the scheduler knows."""
    monkeypatch.setattr(pool_module, "Crew", SteppedCrew)
    return lambda run, **options: World(monkeypatch, run, options)


class World:
    """A pool within one run of the scheduler, and what the threads of a scenario do with it."""

    def __init__(self, monkeypatch, run, options):
        self.run = run
        self.driver = FakeDriver()
        self.driver.sends_resets = False
        self.patient = True
        monkeypatch.setattr(entry_module, "Lock", lambda: Gate(self, run))
        self.pool = Pool(self.driver, Options(**{"max_size": 1} | options))
        self.crew = self.pool._crew
        self.ledger = self.pool._ledger
        self.ledger.lock = interleave.Lock(run)
        self.cancelling = False
        self.held = []
        self.dropped = 0

    def lease(self):
        """Lease a connection before the run begins."""
        self.held.append(self.pool.acquire())

    def begin(self):
        """From here on background work is for `work`."""
        self.crew.eager = False

    def acquire(self):
        try:
            connection = self.pool.acquire()
        except (PoolTimeout, Cancelled) as error:
            return type(error).__name__
        assert connection not in self.held, "leased twice"
        self.held.append(connection)
        return "got one"

    def release(self):
        self.pool.release(self.held.pop())

    def drop(self):
        self.dropped += 1
        self.held.pop()

    def work(self):
        """Do the pool's background work for as long as the scenario lasts."""
        while True:
            self.run.wait_for(lambda: self.crew.tasks)
            self.crew.run_one()

    def settle(self):
        """Hold the counts against the driver's when all is over."""
        self.crew.run()
        snapshot = self.pool.snapshot()
        assert self.crew.errors == []
        assert self.driver.most <= self.pool.options.max_size
        assert len(self.driver.dropped) == self.dropped
        assert snapshot.leased == len(self.held)
        assert snapshot.waiting == snapshot.opening == snapshot.closing == 0
        assert self.ledger.open == self.driver.sessions == snapshot.idle + snapshot.leased
        return snapshot

    def usable(self):
        """See that no slot was lost."""
        self.crew.eager = True
        self.patient = False
        while self.held:
            self.release()
        for _ in range(self.ledger.max_size):
            assert self.acquire() == "got one"
        return True


class Gate(interleave.Lock):
    """A waiter's gate: impatient when the scenario says so, or a place where one is cancelled."""

    def __init__(self, world, run):
        super().__init__(run)
        self.world = world

    def acquire(self, blocking=True, timeout=-1):
        if timeout >= 0 and self.world.cancelling and self.held:
            raise Cancelled
        self.patient = self.world.patient
        return super().acquire(blocking, timeout)


# ----------------------------------------------------------------------- scenarios


def release_and_acquire(world, run):
    """One gives back what the other waits for."""
    it = world(run)
    it.lease()
    it.begin()

    def verify(results):
        assert results["acquire"] == "got one"
        assert it.settle().leased == 1

    return {"release": it.release, "acquire": it.acquire}, (), verify


def reset_and_acquire(world, run):
    """The same, with a worker that resets the connection in between."""
    it = world(run)
    it.lease()
    it.held[0].dirty = True
    it.begin()

    def verify(results):
        assert results["acquire"] == "got one"
        assert it.settle().leased == 1
        assert it.driver.made == 1

    return {"release": it.release, "acquire": it.acquire, "work": it.work}, ("work",), verify


def release_and_drain(world, run):
    it = world(run)
    it.lease()
    it.begin()

    def verify(results):
        assert it.settle().idle == 0
        assert it.driver.closed == [1]
        assert it.usable()

    return {"release": it.release, "drain": it.pool.drain}, (), verify


def reset_and_drain(world, run):
    """The worker that puts a connection back meets a drain."""
    it = world(run)
    it.lease()
    it.held[0].dirty = True
    it.begin()
    it.release()

    def verify(results):
        assert it.settle().idle == 0
        assert it.driver.closed == [1]
        assert it.usable()

    return {"reset": it.crew.run_one, "drain": it.pool.drain}, (), verify


def open_and_drain(world, run):
    """A connection asked for before a drain never stays after it."""
    it = world(run)
    it.begin()
    stale = []
    connect = it.driver.connect

    def note(overrides):
        stale.append(it.ledger.generation)
        return connect(overrides)

    it.driver.connect = note
    assert it.ledger.reserve_one(0.0)

    def verify(results):
        assert it.settle().idle <= stale[0]  # begun in generation 0: closed; in 1: may stay
        assert it.usable()

    return {"open": it.pool._opener.open_reserved, "drain": it.pool.drain}, (), verify


def release_and_timeout(world, run):
    it = world(run)
    it.lease()
    it.begin()
    it.patient = False

    def verify(results):
        assert results["acquire"] in ("got one", "PoolTimeout")
        assert it.settle().leased == (results["acquire"] == "got one")
        assert it.usable()

    return {"release": it.release, "acquire": it.acquire}, (), verify


def release_and_cancel(world, run):
    it = world(run)
    it.lease()
    it.begin()
    it.cancelling = True

    def verify(results):
        assert results["acquire"] in ("got one", "Cancelled")
        assert it.settle().leased == (results["acquire"] == "got one")
        it.cancelling = False
        assert it.usable()

    return {"release": it.release, "acquire": it.acquire}, (), verify


def two_acquirers(world, run):
    """Two want the one idle connection."""
    it = world(run)
    it.lease()
    it.release()
    it.begin()
    it.patient = False

    def verify(results):
        assert sorted(results.values()) == ["PoolTimeout", "got one"]
        assert it.settle().leased == 1
        assert it.usable()

    return {"one": it.acquire, "two": it.acquire}, (), verify


def two_orders(world, run):
    """Two workers ask at once for the one connection that may be opened."""
    it = world(run)
    it.ledger.enlist(Waiter(), 0.0)
    it.ledger.enlist(Waiter(), 0.0)
    it.begin()
    it.patient = False
    reserved = []

    def reserve():
        reserved.append(it.ledger.reserve_wanted(0.0))

    def verify(results):
        assert sorted(reserved) == [False, True]

    return {"one": reserve, "two": reserve}, (), verify


def death_and_acquire(world, run):
    """A borrower dies while another waits."""
    it = world(run)
    it.lease()
    it.begin()

    def verify(results):
        assert results["acquire"] == "got one"
        assert it.settle().leased == 1

    return {"die": it.drop, "acquire": it.acquire, "work": it.work}, ("work",), verify


def _death_and(name):
    def scenario(world, run):
        it = world(run, max_size=2)
        it.lease()
        it.lease()
        it.begin()
        others = {
            "release": it.release,
            "drain": it.pool.drain,
            "close": lambda: it.pool._retire(it.ledger.close()),
            "resize": lambda: it.pool.resize(0, 1),
            "stats": it.pool.get_stats,
            "sweep": it.pool._keeper.sweep,
            "death": it.drop,
        }

        def verify(results):
            it.settle()
            assert it.pool.get_stats()["closed_lost"] == (2 if name == "death" else 1)
            assert name == "close" or it.usable()

        threads = {"die": it.drop, name: others[name], "work": it.work}
        return threads, ("work",), verify

    scenario.__name__ = f"death_and_{name}"
    return scenario


DEATHS = [
    _death_and(name) for name in ("release", "drain", "close", "resize", "stats", "sweep", "death")
]
SCENARIOS = [
    release_and_acquire,
    reset_and_acquire,
    release_and_drain,
    reset_and_drain,
    open_and_drain,
    release_and_timeout,
    release_and_cancel,
    two_acquirers,
    two_orders,
    death_and_acquire,
]


@pytest.mark.parametrize("scenario", SCENARIOS + DEATHS, ids=lambda each: each.__name__)
def test_no_schedule_goes_wrong(world, scenario):
    preemptions = 2 if scenario in (release_and_acquire, release_and_drain) else 1
    runs = interleave.explore(lambda run: scenario(world, run), WATCHED, preemptions)
    assert runs > 10  # else nothing was explored


# ------------------------------------------------------------------------- mutants


def mutant(name, scenario, owner, method, *texts):
    changes = list(zip(texts[::2], texts[1::2], strict=True))
    return pytest.param(
        scenario, SimpleNamespace(owner=owner, method=method, changes=changes), id=name
    )


def mutate(monkeypatch, change):
    """Change the text of a method, under the file name of the original, so that it is watched."""
    function = getattr(change.owner, change.method)
    source = textwrap.dedent(inspect.getsource(function))
    for old, new in change.changes:
        assert source.count(old) == 1, f"the mutant does not fit any more:\n{source}"
        source = source.replace(old, new)
    code = compile(
        f"from __future__ import annotations\n{source}", inspect.getsourcefile(function), "exec"
    )
    namespace = {}
    exec(code, function.__globals__, namespace)
    monkeypatch.setattr(change.owner, change.method, namespace[change.method])


SECOND_LOOK = "if (self._waiters or not entry.retire_at) and not self._ledger.reconsider(entry):"
MUTANTS = [
    mutant(
        "release-without-reconsider",
        release_and_acquire,
        Pool,
        "release",
        SECOND_LOOK,
        "if False:",
    ),
    mutant(
        "release-looks-for-waiters-first",
        release_and_acquire,
        Pool,
        "release",
        f"self._idle.append(entry)\n    {SECOND_LOOK}",
        "waiting = bool(self._waiters)\n    self._idle.append(entry)\n    "
        + SECOND_LOOK.replace("self._waiters", "waiting"),
    ),
    mutant(
        "enlist-looks-at-idle-first",
        release_and_acquire,
        Ledger,
        "enlist",
        "self.waiters.append(waiter)\n        self._match()",
        "if self.idle:\n            waiter.give(self.idle.pop())\n"
        "        else:\n            self.waiters.append(waiter)",
    ),
    mutant(
        "put-looks-for-waiters-first",
        reset_and_acquire,
        Ledger,
        "put",
        "if entry.resetting:",
        "waiting = bool(self.waiters)\n    if entry.resetting:",
        "if self.waiters or",
        "if waiting or",
    ),
    mutant(
        "drain-empties-idle-before-dating",
        release_and_drain,
        Ledger,
        "retire",
        "for entry in entries:\n        entry.due_at = entry.retire_at = 0.0\n"
        "    return [entry for entry in entries if self.take(entry)]",
        "mine = [entry for entry in entries if self.take(entry)]\n"
        "    for entry in entries:\n        entry.due_at = entry.retire_at = 0.0\n"
        "    return mine",
    ),
    mutant(
        "release-without-a-second-look-at-the-date",
        release_and_drain,
        Pool,
        "release",
        "(self._waiters or not entry.retire_at)",
        "self._waiters",
    ),
    mutant(
        "reset-without-a-second-look-at-the-date",
        reset_and_drain,
        Ledger,
        "put",
        "if self.waiters or not entry.retire_at",
        "if self.waiters",
    ),
    mutant(
        "opened-does-not-look-at-the-generation",
        open_and_drain,
        Ledger,
        "opened",
        "generation != self.generation",
        "False",
    ),
    mutant(
        "too-late-forgets-what-it-was-given",
        release_and_timeout,
        Ledger,
        "too_late",
        "if in_time and waiter.entry is not None:\n            return waiter.entry",
        "if in_time and waiter.entry is not None:\n            waiter.entry = None\n"
        "            raise PoolTimeout",
    ),
    mutant(
        "withdraw-forgets-what-it-was-given",
        release_and_cancel,
        Ledger,
        "withdraw",
        "entry, waiter.entry = waiter.entry, None",
        "entry, waiter.entry = None, None",
    ),
    mutant(
        "withdraw-stays-in-the-queue",
        release_and_cancel,
        Ledger,
        "withdraw",
        "self._leave(waiter)",
        "pass",
    ),
    mutant(
        "acquire-looks-before-it-takes",
        two_acquirers,
        Pool,
        "acquire",
        "entry = self._idle.pop()",
        "entry = self._idle[-1]\n            self._idle.clear()",
    ),
    mutant(
        "reserve-without-the-lock",
        two_orders,
        Ledger,
        "reserve_wanted",
        "with self.lock:",
        "if True:",
    ),
    mutant(
        "a-death-orders-no-successor",
        death_and_acquire,
        Opener,
        "_strike",
        "self.order()",
        "pass",
    ),
    mutant(
        "a-death-keeps-its-place",
        DEATHS[0],
        Opener,
        "_died",
        "self._ledger.leased.pop(ref.key, None)",
        "self._ledger.leased.get(ref.key)",
    ),
]


@pytest.mark.parametrize(("scenario", "change"), MUTANTS)
def test_a_mutant_is_caught(world, monkeypatch, scenario, change):
    mutate(monkeypatch, change)
    with pytest.raises((AssertionError, ValueError, IndexError)) as caught:
        interleave.explore(lambda run: scenario(world, run), WATCHED, preemptions=1)
    assert "does not fit" not in str(caught.value)
    assert "too many schedules" not in str(caught.value)

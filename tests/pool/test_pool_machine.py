"""Random actions on a pool, held against a model."""

import gc
import random

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from carpool import Options, Pool, PoolError
from carpool.pool import pool as pool_module
from tests.pool.fake import FakeDriver, ServerDown
from tests.pool.stepped import Clock, SteppedCrew


class Machine(RuleBasedStateMachine):
    """One thread does everything; background work is done at once, or when the rule says so."""

    def __init__(self):
        super().__init__()
        self.patched = pytest.MonkeyPatch()
        self.patched.setattr(pool_module, "Crew", SteppedCrew)
        self.clock = Clock()
        self.clock.rule(self.patched)
        random.seed(0)

    @initialize(
        min_size=st.integers(0, 2),
        more=st.integers(1, 3),
        reset=st.sampled_from(["auto", "always", "rollback", None]),
        sends=st.booleans(),
    )
    def begin(self, min_size, more, reset, sends):
        self.driver = FakeDriver()
        self.driver.sends_resets = sends
        options = Options(min_size=min_size, max_size=min_size + more, reset=reset, timeout=0)
        self.most = options.max_size
        self.pool = Pool(self.driver, options)
        self.crew = self.pool._crew
        self.held = []
        self.last_clean = None  # the connection given back last, as long as it must be the next

    def settled(self):
        return not self.crew.tasks

    @rule()
    def acquire(self):
        try:
            connection = self.pool.acquire()
        except (PoolError, ServerDown):
            assert self.last_clean is None
            return
        assert connection not in self.held, "leased twice"
        assert not connection.dead
        assert not connection.dirty or self.pool.options.reset in ("rollback", None)
        assert not connection.in_transaction
        assert self.last_clean in (None, connection), "not the one used last"
        self.last_clean = None
        self.held.append(connection)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), state=st.sampled_from(["clean", "dirty", "in_transaction", "dead"]))
    def release(self, data, state):
        connection = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        if state != "clean":
            setattr(connection, state, True)
        before = self.pool.snapshot().idle
        self.pool.release(connection)
        after = self.pool.snapshot().idle
        self.last_clean = connection if state == "clean" and after > before else None

    @precondition(lambda self: self.held)
    @rule()
    def discard(self):
        self.pool.discard(self.held.pop())
        self.last_clean = None

    @precondition(lambda self: self.held)
    @rule()
    def drop(self):
        """A borrower dies."""
        self.held.pop()

    @precondition(lambda self: self.held)
    @rule()
    def release_twice(self):
        connection = self.held[-1]
        self.release_clean(connection)
        with pytest.raises(ValueError, match="not leased from the pool"):
            self.pool.release(connection)

    def release_clean(self, connection):
        self.held.remove(connection)
        before = self.pool.snapshot().idle
        self.pool.release(connection)
        self.last_clean = connection if self.pool.snapshot().idle > before else None

    @precondition(lambda self: self.pool._idle)
    @rule(data=st.data(), how=st.sampled_from(["dead", "hung"]))
    def kill(self, data, how):
        idle = self.pool._idle
        entry = idle[data.draw(st.integers(0, len(idle) - 1))]
        setattr(entry.connection, how, True)
        self.last_clean = None

    @rule(call=st.sampled_from(["connect", "ping", "begin_reset", "finish_reset"]))
    def fail_next(self, call):
        self.driver.calls[call].next.append("error")
        self.last_clean = None

    @rule(seconds=st.sampled_from([0.1, 5, 31, 601, 4000]))
    def advance(self, seconds):
        self.clock.advance(seconds)
        self.last_clean = None

    @rule()
    def sweep(self):
        self.pool._keeper.sweep()
        self.last_clean = None

    @rule()
    def work(self):
        self.crew.run()

    @rule(eager=st.booleans())
    def hurry(self, eager):
        """From here on background work is done at once, or has to be asked for."""
        self.crew.eager = eager

    @rule()
    def drain(self):
        self.pool.drain()
        self.last_clean = None

    @rule()
    def check(self):
        self.pool.check()
        self.last_clean = None

    @rule(min_size=st.integers(0, 2), more=st.integers(0, 3))
    def resize(self, min_size, more):
        self.pool.resize(min_size, max(1, min_size + more))
        self.most = max(self.most, min_size + more)
        self.last_clean = None

    @invariant()
    def it_adds_up(self):
        if not hasattr(self, "pool"):
            return
        ledger, snapshot = self.pool._ledger, self.pool.snapshot()
        assert self.driver.most <= self.most
        assert min(ledger.open, ledger.opening, ledger.closing) >= 0
        assert snapshot.leased == len(self.held)
        assert snapshot.waiting == 0
        dead = len(self.driver.dropped) - self.pool.get_stats().get("closed_lost", 0)
        placed = snapshot.leased + snapshot.idle + snapshot.resetting + dead
        if self.crew.tasks:  # what a worker is to reset or close counts until it has begun
            assert placed <= ledger.open
        else:
            assert placed == ledger.open
        assert len({id(each) for each in ledger.idle}) == len(ledger.idle)
        assert self.driver.sessions == ledger.open - dead + ledger.closing
        if self.settled():
            assert dead == snapshot.opening == snapshot.closing == 0

    def teardown(self):
        if hasattr(self, "pool"):
            for call in self.driver.calls.values():
                call.next.clear()
            self.pool.close()
            while self.held:
                self.pool.release(self.held.pop())
            self.pool.close()
            gc.collect()
            assert self.driver.sessions == self.pool._ledger.open == 0
            with pytest.raises(PoolError, match="is closed"):
                self.pool.acquire()
        self.patched.undo()


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=40,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],  # shrinking takes minutes, and the sequences are short
    suppress_health_check=[HealthCheck.too_slow],
)

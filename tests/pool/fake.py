"""A driver without a server: every call can succeed, fail, be slow, or never return.

It counts sessions by itself, from the moment a connect begins until a close has really ended, so
that a test can hold the pool to what the "server" saw and not to the pool's own word.
"""

import threading
import time
import weakref
from collections import deque

BOUND = 20.0  # seconds after which a blocked call gives up, so that no test hangs


class ServerDown(Exception):
    """What the fake server says when it refuses."""


class Abandoned(Exception):
    """Ends a call that was never to return, when the test is over."""


class Connection:
    """One session. `dead`: the server ended it and a look can tell; `hung`: only a ping tells."""

    def __init__(self, number, overrides):
        self.number = number
        self.overrides = dict(overrides)
        self.in_transaction = self.dirty = self.dead = self.hung = False
        self.seen = []  # what the driver did to it

    def __repr__(self):
        return f"<fake {self.number}>"


class Call:
    """One kind of call: what it does next, how often it was made, and a gate to hold it at."""

    def __init__(self):
        self.outcome = "ok"
        self.next = deque()  # outcomes of the next calls, before `outcome` applies again
        self.count = 0
        self.running = 0
        self.most_running = 0
        self.entered = threading.Semaphore(0)
        self.gate = threading.Event()
        self.end = threading.Event()
        self.error = ServerDown("the server is down")

    def __call__(self):
        """Do as planned: return, raise, or wait at the gate."""
        outcome = self.next.popleft() if self.next else self.outcome
        self.count += 1
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        self.entered.release()
        try:
            self._do(outcome)
        finally:
            self.running -= 1

    def _do(self, outcome):
        if outcome == "error":
            raise self.error
        if outcome.startswith("slow"):
            assert self.gate.wait(BOUND), "nobody opened the gate of a slow call"
        if outcome == "slow error":
            raise self.error
        if outcome == "never":
            self.end.wait(BOUND)
            raise Abandoned

    def wait_entered(self):
        """Wait until it is called (once more since this was asked the last time)."""
        assert self.entered.acquire(timeout=BOUND), "it was not called"


class FakeDriver:
    """Implements `carpool.driver.Driver`."""

    name = "fake"
    key = "fake"
    CALLS = ("connect", "watch", "close", "ping", "begin_reset", "finish_reset", "look", "settle")

    def __init__(self):
        self.calls = {name: Call() for name in self.CALLS}
        self.lock = threading.RLock()  # a finalizer may come in while it is held
        self.sessions = 0  # connecting, open, or not yet quite closed
        self.most = 0  # of them, at any moment
        self.made = 0
        self.closed = []
        self.dropped = []  # numbers of those that were garbage-collected while open
        self.made_dirty_by_setting_up = False
        self.sends_resets = True
        self.may_be_forked = True
        self.server_full = False
        self.on_begin = None
        self._ends = {}

    def __getattr__(self, name):
        """Allow `driver.does_connect` for `driver.calls["connect"]`."""
        if name.startswith("does_"):
            return self.calls[name.removeprefix("does_")]
        raise AttributeError(name)

    def give_up(self):
        """End every call that is under way, for good."""
        for call in self.calls.values():
            call.gate.set()
            call.end.set()
            call.outcome = "ok"

    def _counts(self, change):
        with self.lock:
            self.sessions += change
            self.most = max(self.most, self.sessions)

    def _dropped(self, number):
        self.dropped.append(number)
        self._counts(-1)

    # ------------------------------------------------------------- the protocol

    def connect(self, overrides):
        self._counts(+1)
        try:
            self.does_connect()
        except BaseException:
            self._counts(-1)
            raise
        with self.lock:
            self.made += 1
            connection = Connection(self.made, overrides)
        self._ends[connection.number] = weakref.finalize(
            connection, self._dropped, connection.number
        )
        self._ends[connection.number].atexit = False
        return connection

    def close(self, connection, patience):
        try:
            self.does_close()
        finally:
            assert self._ends.pop(connection.number).detach(), "closed twice"
            self.closed.append(connection.number)
            connection.dead = True
            self._counts(-1)

    def watch(self, connection):
        self.does_watch()
        alive = weakref.ref(connection)  # the pool may not keep a leased connection alive
        look = self.does_look
        return lambda _timeout: alive().dead or look.next or look.outcome != "ok"

    def look(self, connection):
        try:
            self.does_look()
        except ServerDown:
            return False
        return not connection.dead

    def ping(self, connection, timeout):
        connection.seen.append("ping")
        self.does_ping()
        if connection.dead or connection.hung:
            raise ServerDown("no answer")

    def settle(self, connection):
        try:
            self.does_settle()
        except ServerDown:
            return False
        return not (connection.in_transaction or connection.dirty or connection.dead)

    modes = ("session", "transaction", "statement")

    def effect(self, connection):
        return "dirt" if connection.dirty else None

    def at_rest(self, connection):
        return not connection.in_transaction

    def looks_back(self, text):
        return "last" if "last" in text else None

    def broken(self, connection):
        return connection.dead

    def busy(self, connection):
        return False

    def commit(self, connection):
        connection.seen.append("commit")
        connection.in_transaction = False

    def in_transaction(self, connection):
        return connection.in_transaction

    def adopt(self, connection):
        connection.seen.append("adopt")
        connection.dirty = False
        return self.made_dirty_by_setting_up

    def may_fork(self, connection):
        return self.may_be_forked

    def set_up_by(self, connection):
        return None

    def set_up_left_traces(self, connection):
        return False

    def set_up_done(self, connection, by):
        pass

    def begin_reset(self, connection, *, everything):
        connection.seen.append("reset all" if everything else "rollback")
        if self.on_begin:
            self.on_begin(connection)
        self.does_begin_reset()
        return self.sends_resets

    def finish_reset(self, connection, timeout):
        connection.seen.append("finish")
        self.does_finish_reset()
        if connection.dead or connection.hung:
            raise ServerDown("no answer")
        connection.in_transaction = connection.dirty = False

    def disown(self, connection):
        connection.seen.append("disown")

    def no_room(self, error):
        return self.server_full


def eventually(predicate, seconds=5.0):
    """Wait for what no event tells."""
    deadline = time.monotonic() + seconds
    while not predicate():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.002)

"""The pool: what acquires and releases, and what its owner may ask of it.

How acquire and release do without a lock is told at the head of `ledger.py`.
"""

from __future__ import annotations

import logging
import threading
import weakref
from operator import attrgetter
from threading import TIMEOUT_MAX
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

from carpool.errors import PoolTimeout, TooManyRequests
from carpool.options import Options
from carpool.pool import fork, hooks, leaks
from carpool.pool.crew import Crew
from carpool.pool.entry import Entry, Waiter
from carpool.pool.keeper import PING_TIMEOUT, RESET_TIMEOUT, Keeper
from carpool.pool.ledger import Ledger
from carpool.pool.lessor import Held, Lessor
from carpool.pool.opener import HURRY, Opener
from carpool.sessions import never_end

if TYPE_CHECKING:
    from carpool.driver import Driver
    from carpool.pool.stats import Snapshot

C = TypeVar("C")
logger = logging.getLogger("carpool.pool")


class Pool(Lessor[C]):
    """A pool of the connections that `driver` opens. Times are in seconds.

    All methods may be called from any thread; `reclaim` also from a finalizer or signal handler.
    After a fork the child's pool is empty and usable, the parent's is untouched.
    """

    def __init__(self, driver: Driver[C], options: Options | None = None) -> None:
        self.driver = driver
        self.options = options = options or Options()
        self.name = options.name or driver.name
        self._settle = driver.settle
        self._check_after = options.check_after
        hooks.follow(self)  # which sets `_careful`, see `_fit`, and `_thorough`, `_release_slowly`
        self._ending = False  # the process
        self._start_over()
        fork.register(self)
        if options.min_size:
            fork.wake()  # nobody may ever have to wait for one
            self._opener.order()

    def _start_over(self) -> None:
        """Begin with no connection: at first, and in a forked child."""
        self._asleep = False  # whether the background threads wait to be needed, after a fork
        self._ledger: Ledger[C] = Ledger(self.name, self.options)
        self._idle, self._leased = self._ledger.idle, self._ledger.leased
        self._waiters = self._ledger.waiters
        self.meter = self._ledger.meter
        self._note_use = self.meter.use_time.note
        self._crew = crew = Crew(f"carpool {self.name}", self.options.num_workers, self._sweep)
        self._opener = Opener(self.driver, self.options, self._ledger, crew, weakref.ref(self))
        self._keeper = Keeper(self.driver, self.options, self._ledger, crew, self._opener)

    def _sweep(self) -> float | None:
        return self._keeper.sweep()

    def __repr__(self) -> str:
        return f"<carpool.Pool {self.name!r} {self.snapshot()}>"

    # ------------------------------------------------------------------ acquire

    def acquire(self, timeout: float | None = None, prefer: C | None = None) -> C:
        """Take a connection out, waiting up to `timeout` seconds (default: the option's).

        It is `prefer`, if that is idle; else the one that was used last.

        Raises `PoolTimeout`, `TooManyRequests`, `PoolUnavailable` or `PoolClosed`; and, when a
        connection has to be opened and that fails, what the database module raises.
        """
        if not self._waiters:
            try:
                entry = self._idle.pop()
            except IndexError:
                pass
            else:
                if prefer is not None and entry.connection is not prefer:
                    entry = self._exchange(entry, prefer)
                connection: C = entry.connection  # type: ignore[assignment] # idle: it has one
                entry.connection = None
                entry.since = now = monotonic()
                entry.uses += 1
                self._leased[id(connection)] = entry
                if now < entry.check_at and not (self._careful or entry.readable(0)):
                    return connection
                if timeout is None:
                    timeout = self.options.timeout
                if self._fit(entry, connection, now, now + timeout):
                    return connection
                return self._wait(timeout, now)
        return self._wait(self.options.timeout if timeout is None else timeout, monotonic())

    def _exchange(self, entry: Entry[C], wanted: C) -> Entry[C]:
        """Put an entry back for that of the wanted connection, if it is idle."""
        for each in self._idle.copy():
            if each.connection is wanted:
                try:
                    self._idle.remove(each)
                except (ValueError, IndexError):  # somebody else was faster
                    continue
                if not self._ledger.put(entry):
                    self._opener.discard(entry, entry.take(), "drained")
                return each
        return entry

    def _fit(self, entry: Entry[C], connection: C, start: float, deadline: float) -> bool:
        """Do what goes beyond a look; False: the connection was broken, and is being closed."""
        try:
            self._examine(entry, connection, max(0.0, deadline - entry.since))
            if hooks.acquired:
                waited, reused = monotonic() - start, entry.uses > 1
                hooks.acquired(self, connection=connection, waited=waited, reused=reused)
        except BaseException as error:
            self._opener.discard(entry, connection, "broken")
            self._leased.pop(id(connection), None)
            logger.info(
                "%s: dropping an idle connection: %s",
                self.name,
                error,
                extra={"pool": self.name, "reason": "broken"},
            )
            if not isinstance(error, Exception):
                raise
            return False
        if self.options.leak_warning:
            leaks.note(entry)
        return True

    def _examine(self, entry: Entry[C], connection: C, timeout: float) -> None:
        if entry.resetting:
            self._keeper.finish_reset(entry, connection, timeout)
        elif not self.driver.look(connection):
            raise ConnectionError("closed by the server or the network while idle")
        elif entry.since >= entry.check_at:
            self.driver.ping(connection, min(timeout, PING_TIMEOUT))
        if self.options.check:
            self.options.check(connection)

    def _wait(self, timeout: float, start: float) -> C:
        """Take the slow way: queue up, have a connection opened if there is room, wait."""
        deadline = start + timeout
        waiter: Waiter[C] = Waiter(start)
        try:
            self._ledger.enlist(waiter, start)
            while True:
                entry = self._await(waiter, timeout, deadline)
                connection: C = entry.connection  # type: ignore[assignment] # it was idle
                entry.since = now = monotonic()
                entry.uses += 1
                self._leased[id(connection)] = entry
                entry.connection = waiter.entry = None
                unfit = entry.resetting or now >= entry.check_at or self._careful
                if not (unfit or entry.readable(0)) or self._fit(
                    entry, connection, start, deadline
                ):
                    entry.waited += now - start
                    if waiter.scarce:
                        self.meter.wait_time.note(now - start)
                    return connection
                # That one was dead: keep the place in the queue.
                waiter = Waiter(start, scarce=waiter.scarce)
                self._ledger.enlist_again(waiter)
        except BaseException as error:
            self._abandon(waiter)
            if waiter.scarce:
                self.meter.wait_time.note(monotonic() - start)
            if self._ending:
                fork.park()
            if hooks.exhausted and isinstance(error, PoolTimeout | TooManyRequests):
                hooks.exhausted(self, waited=monotonic() - start, error=error)
            raise

    def _await(self, waiter: Waiter[C], timeout: float, deadline: float) -> Entry[C]:
        if waiter.entry is None:
            self._crew.attend()
            if fork.asleep:
                fork.wake()
            self._opener.order()
        waiter.gate.acquire(timeout=min(TIMEOUT_MAX, max(0.0, deadline - monotonic())))
        return waiter.entry or self._ledger.too_late(waiter, timeout)

    def _abandon(self, waiter: Waiter[C]) -> None:
        """Leave nothing behind of a request that ends with an exception, at whatever point."""
        entry = self._ledger.withdraw(waiter)
        if entry is None or entry.connection is None:
            return
        self._leased.pop(id(entry.connection), None)
        if not self._ledger.put(entry):
            self._opener.discard(entry, entry.take(), "drained")

    # ------------------------------------------------------------------ release

    def release(self, connection: C) -> None:
        """Give a connection back. Does not wait for the server; nobody may use it from here on.

        Raises ValueError for one that was not acquired here, or was given back already.
        """
        entry = self._leased.pop(id(connection), None)
        if entry is None:
            self.refuse(connection)
            return
        now = monotonic()
        held = now - entry.since
        entry.used += held
        self._note_use(held)
        clean = self._settle(connection)
        if not clean or now >= entry.due_at or self._thorough or self._asleep:
            self._release_slowly(entry, connection, now, clean=clean)
            return
        entry.since = now
        entry.check_at = now + self._check_after
        entry.connection = connection
        self._idle.append(entry)
        if (self._waiters or not entry.retire_at) and not self._ledger.reconsider(entry):
            self._opener.discard(entry, entry.take(), "drained")

    def _release_slowly(self, entry: Entry[C], connection: C, now: float, *, clean: bool) -> None:
        """Give back what has to be told of, reset, renewed, reported or closed."""
        try:
            if hooks.released:
                hooks.released(self, connection=connection, held=now - entry.since)
        finally:
            self._take_back(entry, connection, now, clean=clean)

    def _take_back(self, entry: Entry[C], connection: C, now: float, *, clean: bool) -> None:
        self._asleep = False
        self._crew.attend()
        if fork.asleep:
            fork.wake()
        reported = leaks.returned(entry, self.name, now - entry.since)
        if self.driver.broken(connection):
            with self._ledger.lock:
                self._ledger.tally.returns_bad += 1
            self._opener.discard(entry, connection, "broken")
        elif now >= entry.retire_at:
            reason = "lifetime" if entry.retire_at else "drained"
            self._opener.discard(entry, connection, reason)
        else:
            if now >= entry.due_at:
                entry.due_at = entry.retire_at
                if not reported:
                    self._crew.submit(lambda: self._keeper.renew(entry))
            self._keeper.give_back(entry, connection, clean=clean)

    def reclaim(self, connection: C) -> None:
        """Give back the connection of a thread or object that died. For finalizers: reentrant."""
        self._crew.post(lambda: self.release(connection))

    def discard(self, connection: C) -> None:
        """Take a leased connection out of service: it is closed instead of given back."""
        entry = self._leased.pop(id(connection), None)
        if entry is None:
            self.refuse(connection)
            return
        held = monotonic() - entry.since
        entry.used += held
        self._note_use(held)
        try:
            if hooks.released:
                hooks.released(self, connection=connection, held=held)
        finally:  # whatever a listener does, no slot is lost
            self._opener.discard(entry, connection, "discarded")

    def leave(self, connection: C) -> None:
        """Let go of a leased connection without a word to the server: another process uses it."""
        self._leased.pop(id(connection), None)
        self.driver.disown(connection)

    def reset(self, connection: C) -> None:
        """Reset a leased connection now, and wait for it.

        Raises what the driver raises, `NeedsNewSession` included.
        """
        self.driver.begin_reset(connection, everything=True)
        self.driver.finish_reset(connection, RESET_TIMEOUT)

    # ---------------------------------------------------------------- its owner

    def resize(self, min_size: int, max_size: int | None = None) -> None:
        """Change the sizes. What is too much goes as it comes back, what is too little is opened.

        Raises `carpool.errors.OptionsError`.
        """
        if max_size is None:
            max_size = max(min_size, self._ledger.max_size)
        sizes = Options(min_size=min_size, max_size=max_size)
        self._retire(self._ledger.resize(sizes.min_size, sizes.max_size))
        self._opener.order()

    def drain(self) -> None:
        """Have every present connection replaced: idle ones now, the others as they come back."""
        self._retire(self._ledger.drain())

    def pause(self) -> None:
        """Let acquires wait, within their timeouts, until `resume`; close what is or becomes idle.

        As PgBouncer's PAUSE, for the time in which a database moves. May be called again.
        """
        self._retire(self._ledger.pause())

    def resume(self) -> None:
        """End a pause: who waits is served."""
        self._ledger.resume()
        self._opener.order()

    def is_closed(self) -> bool:
        """Tell whether it has been closed for good."""
        return self._ledger.closed

    def _retire(self, entries: list[Entry[C]]) -> None:
        for entry in self._ledger.retire(entries):
            self._opener.discard(entry, entry.take(), "drained")

    def check(self) -> None:
        """Ping the idle connections now and replace those that do not answer."""
        for entry in reversed(self._idle.copy()):  # which keeps their order: see `ping`
            if self._ledger.take(entry):
                self._keeper.ping(entry)

    def wait(self, timeout: float = 30.0) -> None:
        """Wait until `min_size` connections are open. Raises `PoolTimeout`."""
        self._opener.order()
        ledger = self._ledger
        if ledger.open < ledger.min_size and not ledger.filled.wait(min(TIMEOUT_MAX, timeout)):
            raise PoolTimeout(
                f"{self.name} does not have its {ledger.min_size} connections "
                f"after {timeout:g} s; {self.snapshot()}"
            )

    def close(self, timeout: float = 5.0) -> None:
        """Close for good: the idle connections now, the leased ones as they come back.

        Who waits gets `PoolClosed`. Returns when the work under way is done, at most after about
        `timeout` seconds; with 0, at once, while workers do it. May be called again.
        """
        self._retire(self._ledger.close())
        if timeout:
            deadline = monotonic() + timeout
            if not self._crew.work_off(timeout):  # a server that hangs is waited for no longer
                self._opener.patience = HURRY
            self._crew.finish(max(HURRY, deadline - monotonic()))
        if self._leased:  # somebody has to be there for those whose borrowers die
            self._crew.submit(self._sweep)

    def count_pin(self, reason: str, connection: C | None = None) -> bool:
        """Count a lease that outlasts its statement; tells whether it is the first of its kind.

        `connection`: the leased one, if it has been acquired.
        """
        entry = self._leased.get(id(connection))
        if entry is not None:
            entry.pin(reason)
        if hooks.pinned:
            hooks.pinned(self, reason=reason)
        return self._ledger.count_pin(reason)

    def counts(self) -> dict[str, Any]:
        """Tell what the pool has done, as `carpool.telemetry.figures` calls it."""
        return self._ledger.counts()

    def leases(self) -> list[Held]:
        """Tell who has a connection, those who have had it longest first."""
        now = monotonic()
        held = [
            Held(key, now - entry.since, entry.why_pinned(), entry.borrower)
            for key, entry in self._leased.copy().items()
        ]
        return sorted(held, key=attrgetter("seconds"), reverse=True)

    def get_stats(self) -> dict[str, int]:
        """Tell what the pool is and has done, under psycopg_pool's keys; times in milliseconds."""
        return self._ledger.stats()

    def snapshot(self) -> Snapshot:
        """Tell where the connections are at this moment."""
        return self._ledger.snapshot()

    # -------------------------------------------------------- forks and the end

    def wake(self) -> None:
        """Has nothing to begin with: each need of its own starts its threads."""

    def before_fork(self, timeout: float) -> None:
        """Pause the background threads, so that none is in the middle of something."""
        self._crew.stop(timeout)
        for entry in [*self._idle.copy(), *self._ledger.resetting.copy()]:
            connection = entry.connection
            if connection is None or self.driver.may_fork(connection):
                continue
            if self._ledger.take(entry):
                self._opener.close(entry, entry.take(), "fork")

    def after_fork_in_parent(self) -> None:
        """Let the background threads go on, from the next need for them on.

        They are not started here without need: Python would count them as there at the fork, and
        warn. Who waits is a need, as are tasks of meanwhile; then there are other threads anyway.
        """
        self._crew.resume()
        self._asleep = True
        if self._waiters:
            self._crew.attend()

    def after_fork_in_child(self) -> None:
        """Let go of the parent's connections without a word to the server, and begin anew."""
        self._crew_of_parent = self._crew  # kept: threads that are not here wait at its addresses
        self.inherited = [*self._ledger.refs]
        for ref in self.inherited:
            connection = ref()
            if connection is not None:
                self.driver.disown(connection)
        self._start_over()

    def at_exit(self, timeout: float) -> None:
        """End the sessions that nobody uses; no others are opened."""
        self._ending = True
        self._opener.patience = HURRY
        self._retire(self._ledger.close())
        self._crew.finish(timeout)

    def let_go(self) -> None:
        """End the sessions that are still leased, as no thread but this one is left.

        Where there is one, it may be using them: then they end with the process.
        """
        alone = threading.active_count() == 1
        for entry in self._leased.copy().values():
            connection = entry.ref()
            if connection is None:
                continue
            if not alone:
                never_end(connection)  # a destructor would complain
            elif not self.driver.busy(connection):
                self.driver.close(connection, HURRY)

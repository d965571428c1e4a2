"""Where every connection of a pool is, who waits for one, and every move from place to place.

What guards what
----------------
`idle`, `resetting` and `leased` are two deques and a dict, whose single operations are atomic;
taking an entry out of one of them makes it one's own. So an acquire that finds an idle
connection, and a release that nobody waits for, take no lock: they are safe in finalizers and
signal handlers, and an exception thrown into them at any point loses no slot (a connection that
dies is noticed by its weak reference).

`lock` guards everything else: the waiters, the counts, the tally, the circuit. Nothing that can
block is done under it. It is reentrant, for a release in a finalizer that happens to run while
its thread holds the lock: every step under it leaves `_match` in order.

The two meet in one rule. A waiter is listed first and looks for an idle connection then; a
release puts its connection into `idle` first and looks for waiters then. Whatever the
interleaving, one of them sees the other: no lost wake-up. (`retire_at` follows the same rule:
`retire` dates the entries first and takes them out of `idle` then, a release looks at the date
once more after it has put its entry there.)
"""

from __future__ import annotations

import copy
import weakref
from collections import deque
from threading import Event, RLock
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from carpool.errors import PoolClosed, PoolTimeout, PoolUnavailable, TooManyRequests
from carpool.pool import decide
from carpool.pool.circuit import Circuit
from carpool.pool.meter import Meter
from carpool.pool.stats import Snapshot, Tally

if TYPE_CHECKING:
    from carpool.options import Options
    from carpool.pool.entry import Entry, Ref, Waiter

C = TypeVar("C")


def _own(error: BaseException) -> BaseException:
    """Give each who is told of an error a copy of their own: a raise writes its traceback there."""
    try:
        mine = copy.copy(error)
    except Exception:  # noqa: BLE001 - an exception class that cannot be copied
        return error
    return mine if type(mine) is type(error) and mine.args == error.args else error


class Ledger(Generic[C]):
    """The state of one pool and its transitions. Does no I/O, starts no thread, asks no clock."""

    def __init__(self, name: str, options: Options) -> None:
        self.name = name
        self.max_waiting = options.max_waiting
        self.idle: deque[Entry[C]] = deque()  # the one used last is at the right end
        self.resetting: deque[Entry[C]] = deque()  # the oldest is at the left end
        self.leased: dict[int, Entry[C]] = {}  # by the connection's id
        self.lock = RLock()
        self.min_size, self.max_size = options.min_size, options.max_size
        self.waiters: deque[Waiter[C]] = deque()
        self.open = self.opening = self.closing = 0
        # Of the open ones: in a worker's hands, to come back soon. Weakly, so that one whose
        # request is interrupted on the way there is not waited for.
        self.tended: weakref.WeakSet[Entry[C]] = weakref.WeakSet()
        self.forsaken = 0  # of those being opened: who ordered them gave up
        self.refs: set[Ref[C]] = set()  # one for every connection, until it has been closed
        self.entries: weakref.WeakSet[Entry[C]] = weakref.WeakSet()  # the same, for their counts
        self.generation = 0  # drains so far
        self.closed = False
        self.paused = False  # nothing is handed out or opened; what comes back is closed
        self.tally = Tally()
        self.meter = Meter()
        self.circuit = Circuit()
        self.filled = Event()  # `min_size` connections have been open

    # ------------------------------------------------------------------ waiters

    def enlist(self, waiter: Waiter[C], now: float) -> None:
        """Queue up. Raises what refuses the request: `PoolClosed` and its like."""
        with self.lock:
            refusal = self._refusal(now)
            if refusal:
                self.tally.request_errors += 1
                raise refusal
            self.tally.queued += 1
            self.circuit.wanted_at = now
            if waiter.scarce or self._is_scarce(now):
                waiter.scarce = True
                self.tally.note_scarcity(len(self.leased), len(self.waiters) + 1)
            self.waiters.append(waiter)
            self._match()

    def enlist_again(self, waiter: Waiter[C]) -> None:
        """Queue up at the head: what had been given turned out to be dead."""
        with self.lock:
            self.waiters.appendleft(waiter)
            self._match()
            if self.closed:
                self._fail_all(PoolClosed(f"the pool {self.name} is closed"))

    def _is_scarce(self, now: float) -> bool:
        """Tell whether whoever comes now has to wait for others, not for a connect alone."""
        full = self._counts().size >= self.max_size
        return full or self.paused or self.circuit.open(now)

    def _refusal(self, now: float) -> Exception | None:
        if self.closed:
            return PoolClosed(f"the pool {self.name} is closed")
        if self.idle or self.resetting:
            return None
        if self.max_waiting and len(self.waiters) >= self.max_waiting:
            return TooManyRequests(
                f"{self.max_waiting} requests are waiting for a connection to {self.name} "
                f"already, which is 'max_waiting'; {self._snapshot()}"
            )
        down = not (self.open or self.opening or self.paused or self.circuit.full)
        if down and self.circuit.open(now):
            refusal = PoolUnavailable(
                f"the last {self.circuit.failures} attempts to connect to {self.name} failed, "
                f"the next is due in {self.circuit.retry_at - now:.1f} s; {self._snapshot()}"
            )
            refusal.__cause__ = self.circuit.error
            return refusal
        return None

    def too_late(self, waiter: Waiter[C], timeout: float) -> Entry[C]:
        """Leave the queue as time is up, unless an entry arrived at the last moment.

        Raises `PoolTimeout`, or the error the waiter was given.
        """
        with self.lock:
            in_time = not self._leave(waiter)
            if in_time and waiter.entry is not None:
                return waiter.entry
            self.tally.request_errors += 1
            if waiter.error is not None:
                raise waiter.error
            self.tally.timeouts += 1
            message = f"no connection to {self.name} within {timeout:g} s; {self._snapshot()}"
        raise PoolTimeout(message)

    def withdraw(self, waiter: Waiter[C]) -> Entry[C] | None:
        """Leave the queue because the request itself is being abandoned.

        Returns an entry that it had been given already.
        """
        with self.lock:
            self._leave(waiter)
            entry, waiter.entry = waiter.entry, None
            return entry

    def _leave(self, waiter: Waiter[C]) -> bool:
        """Leave the queue; False: it has been served, or failed, already. Under the lock."""
        try:
            self.waiters.remove(waiter)
        except ValueError:
            return False
        self.forsaken = min(self.opening, self.forsaken + 1)
        return True

    def _match(self) -> None:
        """Hand what is idle to those who wait, first come, first served. Under the lock."""
        while self.waiters and not self.paused:
            try:
                entry = self.idle.pop()
            except IndexError:
                try:
                    entry = self.resetting.popleft()
                except IndexError:
                    return
            try:
                waiter = self.waiters.popleft()
            except IndexError:  # a release in a finalizer was faster
                (self.resetting if entry.resetting else self.idle).append(entry)
                return
            waiter.give(entry)

    def _fail_all(self, error: BaseException) -> None:
        """Fail all who wait. Under the lock."""
        waiters = [*self.waiters]
        for waiter in waiters:
            if self._leave(waiter):
                waiter.fail(_own(error))

    # ------------------------------------------------------- places of an entry

    def put(self, entry: Entry[C], *, last: bool = False) -> bool:
        """Put an entry that is one's own, its connection in it, where others find it.

        `last`: to be used after the other idle ones. False: the entry has been retired
        meanwhile and is still one's own, to be closed.
        """
        if entry.resetting:
            self.resetting.append(entry)
        elif last:
            self.idle.appendleft(entry)
        else:
            self.idle.append(entry)
        return self.reconsider(entry) if self.waiters or not entry.retire_at else True

    def reconsider(self, entry: Entry[C]) -> bool:
        """Do the second half of `put`: serve those who wait, or take a retired entry out again."""
        if not entry.retire_at and self.take(entry):
            return False
        with self.lock:
            self._match()
        return True

    def take(self, entry: Entry[C]) -> bool:
        """Make an idle entry one's own; False when somebody else was faster."""
        for place in (self.idle, self.resetting):
            try:
                place.remove(entry)
            except (ValueError, IndexError):  # IndexError: the deque changed meanwhile
                continue
            return True
        return False

    def retire(self, entries: list[Entry[C]]) -> list[Entry[C]]:
        """Have entries closed: returns the idle ones, to be closed; the others go as they come."""
        for entry in entries:
            entry.due_at = entry.retire_at = 0.0
        return [entry for entry in entries if self.take(entry)]

    # ------------------------------------------------- opening, closing, losing

    def wants_more(self, now: float) -> bool:
        """Tell whether a connection should be opened. Takes no lock: a hint.

        Should it be wrong, whoever changes what it looks at asks again.
        """
        if self.open + self.opening + self.closing >= self.max_size or self.closed:
            return False
        return self._wanted(now)

    def _wanted(self, now: float) -> bool:
        if self.closed or self.paused or self.circuit.open(now):
            return False
        if self.circuit.failures and self.opening:
            return False  # one attempt will tell whether the server is back
        return decide.to_open(self._counts(), self.min_size, self.max_size) > 0

    def reserve_wanted(self, now: float) -> bool:
        """Reserve room for a connection, if one is wanted and allowed."""
        with self.lock:
            wanted = self._wanted(now)
            self.opening += wanted
            return wanted

    def reserve_one(self, now: float) -> bool:
        """Reserve room for one connection more; False when there is none."""
        with self.lock:
            free = self._counts().size < self.max_size
            if self.closed or self.paused or self.circuit.open(now) or not free:
                return False
            self.opening += 1
            return True

    def opened(self, entry: Entry[C], generation: int, seconds: float) -> None:
        """Enter a connection that was opened in reserved room, `seconds` long."""
        with self.lock:
            self.tally.connections += 1
            self.tally.connect_time += seconds
            self.meter.create_time.note(seconds)
            self._opening_ends()
            self.open += 1
            self.refs.add(entry.ref)
            self.entries.add(entry)
            self.circuit.succeeded()
            surplus = self._counts().size > self.max_size
            if self.closed or self.paused or surplus or generation != self.generation:
                entry.due_at = entry.retire_at = 0.0
            if self.open >= self.min_size:
                self.filled.set()

    def open_failed(self, error: BaseException, began: float, now: float, *, full: bool) -> None:
        """Note that opening failed. Who waits is told, unless there is something to wait for.

        That is a connection that is open or being opened, or room on a server that is `full`.
        """
        with self.lock:
            self._opening_ends()
            self.tally.connections += 1
            self.tally.connect_errors += 1
            self.circuit.failed(error, began, now, full=full)
            if not (self.open or self.opening or self.paused or full):
                self._fail_all(error)

    def count_reset(self) -> None:
        """Count a reset that was begun."""
        with self.lock:
            self.tally.resets += 1

    def count_pin(self, reason: str) -> bool:
        """Count a lease that outlasts its statement; tells whether it is the first of its kind."""
        with self.lock:
            self.tally.pinned[reason] += 1
            return self.tally.pinned[reason] == 1

    def tend(self, entry: Entry[C]) -> None:
        """Note that a worker is going to take a connection in hand."""
        with self.lock:
            self.tended.add(entry)

    def tended_to(self, entry: Entry[C]) -> None:
        """Note that a worker is through with a connection."""
        with self.lock:
            self.tended.discard(entry)

    def _opening_ends(self) -> None:
        self.opening -= 1
        self.forsaken = min(self.forsaken, self.opening)

    def close_begins(self, entry: Entry[C], reason: str) -> None:
        """Note that an entry of one's own is being closed; it counts until `close_ends`."""
        with self.lock:
            self.open -= 1
            self.closing += 1
            self._strike(entry, reason)

    def close_ends(self, entry: Entry[C]) -> None:
        """Note that the server has let go of a closed connection."""
        with self.lock:
            self.closing -= 1
            self.refs.discard(entry.ref)

    def lost(self, ref: Ref[C], entry: Entry[C] | None) -> bool:
        """Note that a connection died without being given back; False if it was known."""
        with self.lock:
            if ref not in self.refs:
                return False
            self.open -= 1
            self.refs.discard(ref)
            self._strike(entry, "lost")
            return True

    def _strike(self, entry: Entry[C] | None, reason: str) -> None:
        self.tally.closed[reason] += 1
        if entry is not None:
            self.entries.discard(entry)
            self.tally.uses += entry.uses
            self.tally.used += entry.used
            self.tally.waited += entry.waited

    # -------------------------------------------------------------- its owner's

    def resize(self, min_size: int, max_size: int) -> list[Entry[C]]:
        """Change the sizes; returns the entries that are now too many, idle ones first."""
        with self.lock:
            self.min_size, self.max_size = min_size, max_size
            surplus = max(0, self.open - max_size)
            if self.open < min_size:
                self.filled.clear()
            return [*self.idle.copy(), *self.leased.copy().values()][:surplus]

    def drain(self) -> list[Entry[C]]:
        """Begin a new generation; returns the entries of the old one."""
        with self.lock:
            self.generation += 1
            return list(self.entries)

    def pause(self) -> list[Entry[C]]:
        """Hand out and open nothing more; returns the entries, which are to go."""
        with self.lock:
            self.paused = True
        return self.drain()

    def resume(self) -> None:
        """End a pause."""
        with self.lock:
            self.paused = False
            self._match()

    def close(self) -> list[Entry[C]]:
        """Close: who waits is told; returns all entries."""
        with self.lock:
            self.closed = True
            self._fail_all(PoolClosed(f"the pool {self.name} was closed"))
            return list(self.entries)

    def snapshot(self) -> Snapshot:
        """Tell where the connections are at this moment."""
        with self.lock:
            return self._snapshot()

    def stats(self) -> dict[str, int]:
        """Tell what the pool is and has done, under psycopg_pool's keys; times in milliseconds."""
        with self.lock:
            tally, now = self.tally, self._snapshot()
            live = list(self.entries)
            uses = tally.uses + sum(entry.uses for entry in live)
            used = tally.used + sum(entry.used for entry in live)
            waited = tally.waited + sum(entry.waited for entry in live)
            return {
                "pool_min": self.min_size,
                "pool_max": self.max_size,
                "pool_size": now.size,
                "pool_available": now.idle + len(self.resetting),
                "requests_waiting": now.waiting,
                "usage_ms": int(used * 1000),
                "requests_num": uses + tally.request_errors,
                "requests_queued": tally.queued,
                "requests_wait_ms": int(waited * 1000),
                "requests_errors": tally.request_errors,
                "returns_bad": tally.returns_bad,
                "connections_num": tally.connections,
                "connections_ms": int(tally.connect_time * 1000),
                "connections_errors": tally.connect_errors,
                "connections_lost": tally.closed["broken"],
                "resets": tally.resets,
                "leaks": tally.leaks,
                **{f"closed_{reason}": count for reason, count in sorted(tally.closed.items())},
                "pins": tally.pinned.total(),
                **{f"pinned_{reason}": count for reason, count in sorted(tally.pinned.items())},
            }

    def counts(self) -> dict[str, Any]:
        """Tell what the pool has done, as `carpool.telemetry.figures` calls it."""
        with self.lock:
            tally = self.tally
            failed = self.circuit.error if self.circuit.failures else None
            return {
                "acquires": tally.uses + sum(entry.uses for entry in self.entries),
                "waits": tally.scarce,
                "timeouts": tally.timeouts,
                "refusals": tally.request_errors - tally.timeouts,
                "opened": tally.connections - tally.connect_errors,
                "open_errors": tally.connect_errors,
                "resets": tally.resets,
                "leaks": tally.leaks,
                "returns_bad": tally.returns_bad,
                "closed": dict(tally.closed),
                "pins": dict(tally.pinned),
                "peak_leased": tally.peak_leased,
                "peak_waiting": tally.peak_waiting,
                "last_error": " ".join(str(failed).split()) if failed else "",
            }

    def _snapshot(self) -> Snapshot:
        return Snapshot(
            min_size=self.min_size,
            max_size=self.max_size,
            size=self._counts().size,
            leased=len(self.leased),
            idle=len(self.idle),
            resetting=len(self.resetting) + len(self.tended),
            opening=self.opening,
            closing=self.closing,
            waiting=len(self.waiters),
            last_error=self.circuit.error,
            waiting_since=self.waiters[0].since if self.waiters else None,
            paused=self.paused,
        )

    def _counts(self) -> decide.Counts:
        return decide.Counts(
            open=self.open,
            opening=self.opening,
            closing=self.closing,
            forsaken=self.forsaken,
            tended=len(self.tended),
            waiting=len(self.waiters),
        )

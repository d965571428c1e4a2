"""The pool of a process whose connections the broker lends: `Pool` for `share: host`.

An idle shell may still have its last lease; taking that again asks nobody (see `table.py`). Idle
shells lie in a deque, the one used last on top: whoever pops one owns it. So acquire and release
need no lock.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections import deque
from contextlib import suppress
from dataclasses import replace
from operator import attrgetter
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

from carpool.errors import PoolTimeout, TooManyRequests
from carpool.host import frames
from carpool.host.borrowing import Borrowing
from carpool.host.cleaner import Cleaner
from carpool.host.home import LONGEST, Lodging
from carpool.host.tally import Tally
from carpool.host.watcher import Watcher
from carpool.pool import fork, hooks, leaks
from carpool.pool.crew import Crew
from carpool.pool.keeper import RESET_TIMEOUT
from carpool.pool.lessor import Held
from carpool.pool.meter import Meter
from carpool.pool.opener import HURRY, PATIENCE
from carpool.pool.stats import Snapshot
from carpool.sessions import never_end

if TYPE_CHECKING:
    from carpool.host.handoff import Handoff
    from carpool.host.shell import Shell
    from carpool.options import Options

C = TypeVar("C")
logger = logging.getLogger("carpool.pool")


class HostPool(Borrowing[C]):
    """A process' part in the pool of its host. Times are in seconds.

    It answers what `Pool` answers, and may be used from any thread, in finalizers and around forks
    as that. Raises `NotShareable` for connection parameters that a broker cannot serve.
    """

    def __init__(self, driver: Handoff[C], options: Options) -> None:
        self.driver = driver
        self.options = options
        self.name = options.name or driver.name
        self._settle = driver.settle
        hooks.follow(self)
        self._ending = False  # the process
        self._start_over()
        fork.register(self)

    def _start_over(self) -> None:
        """Begin with no shell: at first, and in a forked child."""
        self._idle = deque()
        self._leased: dict[int, Shell[C]] = {}
        self._set_up = {}
        self._lodging = Lodging(self.driver, self.options, self.name)
        self._closed = False
        self.tally = Tally()
        self.meter = Meter()  # server connections are made by the broker, and counted there
        self.crew = Crew(f"carpool {self.name}", self.options.num_workers, self._sweep)
        self._cleaner = Cleaner(self)
        self._resetting = self._cleaner.resetting
        self._asking = set()
        self._asleep = False
        self._watcher = Watcher(self._lost, self.crew.attend, self.name)

    def __repr__(self) -> str:
        return f"<carpool.host.HostPool {self.name!r} {self.snapshot()}>"

    # ------------------------------------------------------------------ acquire

    def acquire(self, timeout: float | None = None, prefer: C | None = None) -> C:
        """Take a connection out, waiting up to `timeout` seconds (default: the option's).

        It is `prefer`, if that is idle here. Raises as `Pool.acquire`; and `PoolError` where no
        broker can be had.
        """
        shell = None
        try:
            shell = self._idle.pop()
        except IndexError:
            pass
        else:
            if prefer is not None and shell.connection is not prefer:
                shell = self._exchange(shell, prefer)
            if shell.take() and not self._careful:
                connection: C = shell.connection  # type: ignore[assignment] # idle: it has one
                shell.connection = None
                self._leased[shell.key] = shell
                return connection
        return self._acquire_slowly(shell, timeout)

    def _exchange(self, shell: Shell[C], wanted: C) -> Shell[C]:
        for each in self._idle.copy():
            if each.connection is wanted:
                try:
                    self._idle.remove(each)
                except (ValueError, IndexError):  # somebody else was faster
                    continue
                self._shelve(shell)
                return each
        return shell

    def _acquire_slowly(self, shell: Shell[C] | None, timeout: float | None) -> C:
        """Have the broker lend one, through a shell that is there or a new one."""
        timeout = min(self.options.timeout if timeout is None else timeout, LONGEST)
        start = monotonic()
        deadline = start + timeout
        at_once = shell if shell and shell.holds() else None
        try:
            shell = self._shell_with_lease(shell, deadline)
        except BaseException as error:
            timeouts = int(isinstance(error, PoolTimeout))
            self.tally.count(requests_errors=1, timeouts=timeouts)
            if self._ending:
                fork.park()
            told = self._told(error, timeout)
            if hooks.exhausted and isinstance(told, PoolTimeout | TooManyRequests):
                hooks.exhausted(self, waited=monotonic() - start, error=told)
            if told is error:
                raise
            raise told from None
        waited = monotonic() - start
        if shell is not at_once:
            self.meter.wait_time.note(waited)
            self.tally.count(requests_queued=1, requests_wait_us=int(waited * 1e6))
        connection = self._out(shell)
        if hooks.acquired:
            self._tell_of_acquire(shell, connection, waited)
        return connection

    def _told(self, error: BaseException, timeout: float) -> BaseException:
        """Tell of an error of the broker's in the words of the process that waited."""
        if not isinstance(error, PoolTimeout):
            return error
        _, _, state = str(error).partition("; ")
        return PoolTimeout(f"no connection to {self.name} within {timeout:g} s; {state or error}")

    def _tell_of_acquire(self, shell: Shell[C], connection: C, waited: float) -> None:
        reused = shell.is_reused()
        try:
            hooks.acquired(self, connection=connection, waited=waited, reused=reused)
        except BaseException:
            self.release(connection)
            raise

    def _out(self, shell: Shell[C]) -> C:
        connection: C = shell.connection  # type: ignore[assignment] # it has been taken or leased
        shell.since = monotonic()
        if self.options.leak_warning:
            leaks.note(shell)
            self.crew.attend()
        shell.connection = None
        self._leased[shell.key] = shell
        return connection

    # ------------------------------------------------------------------ release

    def release(self, connection: C) -> None:
        """Give a connection back. Does not wait for the server; nobody may use it from here on.

        Raises ValueError for one that was not acquired here, or was given back already.
        """
        shell = self._leased.pop(id(connection), None)
        if shell is None:
            self.refuse(connection)
            return
        clean = self._settle(connection)
        if connection.session.redo:  # type: ignore[attr-defined] # all such drivers keep one
            shell.leave_traces()
        shell.connection = connection
        if (
            not clean
            or self._thorough
            or shell.orphaned
            or self._closed
            or shell.warned
            or self._asleep
        ):
            self._release_slowly(shell, connection, clean=clean)
            return
        shell.give_back()
        self._idle.append(shell)
        if shell.orphaned:  # meanwhile, when it could not be found here
            self._lost(shell)
        elif self._closed:  # likewise
            self._give_all_back()

    def _release_slowly(self, shell: Shell[C], connection: C, *, clean: bool) -> None:
        try:
            if hooks.released:
                hooks.released(self, connection=connection, held=shell.held())
        finally:
            self._take_back(shell, connection, clean=clean)

    def _take_back(self, shell: Shell[C], connection: C, *, clean: bool) -> None:
        self._wake_up()
        leaks.returned(shell, self.name, monotonic() - shell.since)
        if self.driver.broken(connection):
            self.tally.count(returns_bad=1)
            self.bury(shell, frames.BROKEN)
        elif shell.orphaned:
            self.crew.submit(lambda: self._end(shell))
        else:
            self._cleaner.clean(shell, connection, clean=clean)

    def put(self, shell: Shell[C]) -> None:
        """Take a shell that is clean and idle, to be found by others. For `Cleaner`."""
        if self._closed:
            self.bury(shell, frames.BACK)
        elif shell.orphaned:
            self._end(shell)
        else:
            shell.give_back()
            self._shelve(shell)

    def reclaim(self, connection: C) -> None:
        """Give back the connection of a thread or object that died. For finalizers: reentrant."""
        self.crew.post(lambda: self.release(connection))
        self._call_watcher()

    def discard(self, connection: C) -> None:
        """Take a leased connection out of service: it is closed instead of given back."""
        shell = self._leased.pop(id(connection), None)
        if shell is None:
            self.refuse(connection)
            return
        shell.connection = connection
        try:
            if hooks.released:
                hooks.released(self, connection=connection, held=shell.held())
        finally:  # whatever a listener does, no slot is lost
            self.bury(shell, frames.BROKEN)

    def reset(self, connection: C) -> None:
        """Reset a leased connection now, and wait for it. Raises as `Pool.reset`."""
        self.driver.begin_reset(connection, everything=True)
        self.driver.finish_reset(connection, RESET_TIMEOUT)
        shell = self._leased.get(id(connection))
        if shell is not None:
            shell.clear_traces()

    # -------------------------------------------------------------- losing shells

    def bury(self, shell: Shell[C], kind: bytes) -> None:
        """Let go of a shell that is one's own; its connection goes back, or is closed."""
        self._forget(shell)
        shell.give_up(kind)
        shell.leave()

    def _forget(self, shell: Shell[C]) -> None:
        self.tally.retire(shell, self._watcher.forget)

    def _end(self, shell: Shell[C]) -> None:
        """Close a shell's server connection here, as there is no broker any more."""
        self._forget(shell)
        shell.end(PATIENCE)

    def _lost(self, shell: Shell[C]) -> None:
        """Hear from the watcher that the broker has gone."""
        self._lodging.lose()
        shell.orphaned = True  # first: whoever has it may be giving it back
        for place in (self._idle, self._resetting):
            with suppress(ValueError, IndexError):
                place.remove(shell)
                self.crew.submit(lambda: self._end(shell))  # which may wait for the server
                return

    def _died(self, key: int) -> None:
        """Notice a connection that died with its borrower. Runs in a finalizer: takes no lock."""
        shell = self._leased.pop(key, None)
        if shell is not None:
            self.crew.post(lambda: self._strike(shell))
            self._call_watcher()

    def _call_watcher(self) -> None:
        if not self._ending:  # there it has gone, and so may have all that modules name
            self._watcher.call()

    def _strike(self, shell: Shell[C]) -> None:
        logger.warning(
            "%s: a connection was dropped without being given back",
            self.name,
            extra={"pool": self.name, "reason": "lost"},
        )
        self.tally.count(closed_lost=1)
        self.bury(shell, frames.BROKEN)

    # ---------------------------------------------------------------- its owner

    def resize(self, min_size: int, max_size: int | None = None) -> None:
        """Change the sizes, for all processes. Raises `carpool.errors.OptionsError`."""
        sizes = replace(
            self.options,
            min_size=min_size,
            max_size=max_size or max(min_size, self.options.max_size),
        )
        self.options = sizes
        self._lodging.resize(sizes)

    def drain(self) -> None:
        """Have every present connection replaced, of all processes. Raises `PoolError`."""
        self._lodging.tell("drain")

    def pause(self) -> None:
        """Let acquires of all processes wait until `resume`. Raises `PoolError`."""
        self._lodging.tell("pause")

    def resume(self) -> None:
        """End a pause. Raises `PoolError`."""
        self._lodging.tell("resume")

    def check(self) -> None:
        """Ping this process' idle connections; the broker replaces those that do not answer."""
        for shell in self._idle.copy():  # oldest first, which keeps their order
            with suppress(ValueError, IndexError):  # it has been taken meanwhile
                self._idle.remove(shell)
                if shell.take():
                    self._cleaner.tend(shell, self._cleaner.ping)
                else:
                    self._shelve(shell)

    def wait(self, timeout: float = 30.0) -> None:
        """Wait until a connection can be had. Raises `PoolTimeout`."""
        self.release(self.acquire(timeout))

    def close(self, timeout: float = 5.0) -> None:
        """Close this process' part for good: leased connections go as they come back.

        Where no other process has a part, the server connections are closed as well. Returns when
        the work under way is done, at most after about `timeout` seconds; with 0, at once, while a
        worker does it. May be called again.
        """
        self._closed = True
        home = self._lodging.present  # before those who wait take the broker for lost
        self._give_all_back()
        for shell in self._asking.copy():
            shell.hang_up()
        if timeout:
            self.crew.finish(timeout)  # first: while somebody is connected, it is in use
            self._lodging.leave(home)
        else:
            self.crew.submit(lambda: self._lodging.leave(home))
        self._watcher.stop(timeout)

    def _give_all_back(self) -> None:
        while True:
            try:
                shell = self._idle.pop()
            except IndexError:
                return
            self._forget(shell)
            shell.close()

    def _sweep(self) -> float | None:
        patience, now = self.options.leak_warning, monotonic()
        if not patience or not self._leased:
            return None
        for shell in self._leased.copy().values():
            if now - shell.since >= patience and not shell.warned:
                leaks.warn(shell, self.name, now - shell.since)
                self.tally.count(leaks=1)
                if hooks.leaked:
                    self._tell_of_leak(shell)
        return patience / 2

    def _tell_of_leak(self, shell: Shell[C]) -> None:
        connection = shell.ref() if shell.ref else None
        hooks.leaked(self, connection=connection, held=shell.held(), stack=shell.borrower)

    def count_pin(self, reason: str, connection: C | None = None) -> bool:
        """See `Pool.count_pin`; the broker's status shows which connections these are."""
        shell = self._leased.get(id(connection))
        if shell is not None:
            shell.pin(reason)
        if hooks.pinned:
            hooks.pinned(self, reason=reason)
        return self.tally.count_pin(reason)

    def counts(self) -> dict[str, Any]:
        """Tell what this process has done, as `carpool.telemetry.figures` calls it."""
        return self.tally.counts(self._watcher.shells)

    def leases(self) -> list[Held]:
        """Tell who of this process has a connection, those who have had it longest first."""
        held = [
            Held(key, shell.held(), shell.why_pinned(), shell.borrower)
            for key, shell in self._leased.copy().items()
        ]
        return sorted(held, key=attrgetter("seconds"), reverse=True)

    @property
    def home(self) -> str:
        """The pool's id at its broker; "": there is none at present."""
        found = self._lodging.present
        return found.pool if found else ""

    def is_closed(self) -> bool:
        """Tell whether it has been closed for good."""
        return self._closed

    def get_stats(self) -> dict[str, int]:
        """Tell what this process has done, under psycopg_pool's keys; times in milliseconds.

        What is about server connections is the broker's: `carpool broker status` tells that.
        """
        return self.tally.stats(self.snapshot(), self.options, self._watcher.shells())

    def snapshot(self) -> Snapshot:
        """Tell where the connections are at this moment."""
        idle = sum(each.is_own() for each in self._idle.copy())  # others were taken away since
        leased, resetting = len(self._leased), len(self._resetting)
        return Snapshot(
            min_size=self.options.min_size,
            max_size=self.options.max_size,
            size=idle + leased + resetting,
            leased=leased,
            idle=idle,
            resetting=resetting,
            opening=0,
            closing=0,
            waiting=len(self._asking),
            last_error=None,
        )

    # -------------------------------------------------------- forks and the end

    def wake(self) -> None:
        """See `Pool.wake`."""

    def before_fork(self, timeout: float) -> None:
        """Give back what is idle, and pause the threads."""
        self.crew.stop(timeout)
        self._give_all_back()
        self._watcher.stop(timeout)

    def after_fork_in_parent(self) -> None:
        """Let the threads go on, from the next need for them on."""
        self.crew.resume()
        self._asleep = True

    def after_fork_in_child(self) -> None:
        """Let go of the parent's shells without a word to anybody, and begin anew."""
        # Kept: threads that are not here wait at their addresses.
        self._of_parent = self.crew, self._watcher
        shells = {*self._watcher.abandon(), *self._leased.values(), *self._idle, *self._resetting}
        self.inherited = []
        for shell in shells:
            connection = shell.connection or (shell.ref() if shell.ref else None)
            if connection is not None:
                self.inherited.append(weakref.ref(connection))
            shell.connection = connection
            shell.disown()
        self._start_over()

    def at_exit(self, timeout: float) -> None:
        """Give back what nobody uses."""
        self._ending = self._closed = True
        self._give_all_back()
        self.crew.finish(timeout)
        self._watcher.stop(HURRY)

    def let_go(self) -> None:
        """End the sessions that are still leased, as no thread but this one is left."""
        alone = threading.active_count() == 1
        for shell in self._leased.copy().values():
            connection = shell.ref() if shell.ref else None
            if connection is None:
                continue
            if alone and not self.driver.busy(connection):
                self.discard(connection)
            else:
                never_end(connection)  # a destructor would complain
                shell.channel.detach()  # likewise

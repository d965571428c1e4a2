"""How a process gets hold of a server connection: a shell, and a lease of the broker's under it."""

from __future__ import annotations

import logging
import weakref
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

from carpool.errors import PoolClosed, PoolError, PoolTimeout
from carpool.host import frames
from carpool.host.cleaner import Cleaner, Unfit
from carpool.host.shell import ChannelLost, NoAnswer, Shell
from carpool.pool import fork
from carpool.pool.lessor import Lessor

if TYPE_CHECKING:
    from collections import deque

    from carpool.host.handoff import Handoff
    from carpool.host.home import Lodging
    from carpool.host.tally import Tally
    from carpool.host.watcher import Watcher
    from carpool.options import Options
    from carpool.pool.crew import Crew
    from carpool.pool.meter import Meter

C = TypeVar("C")
logger = logging.getLogger("carpool.pool")


class Borrowing(Lessor[C]):
    """The part of `HostPool` that asks the broker, when what an idle shell has cannot be taken."""

    driver: Handoff[C]
    options: Options
    meter: Meter
    tally: Tally
    crew: Crew
    _idle: deque[Shell[C]]
    _resetting: deque[Shell[C]]
    _asking: set[Shell[C]]  # which wait for an answer of the broker
    _set_up: dict[int, object]  # see `Shell`
    _lodging: Lodging
    _cleaner: Cleaner[C]
    _watcher: Watcher
    _closed: bool
    _asleep: bool  # whether the watcher waits to be needed, after a fork

    def bury(self, shell: Shell[C], kind: bytes) -> None:
        """Let go of a shell that is one's own; its connection goes back, or is closed."""
        raise NotImplementedError

    def _end(self, shell: Shell[C]) -> None:
        raise NotImplementedError

    def _lost(self, shell: Shell[C]) -> None:
        raise NotImplementedError

    def _give_all_back(self) -> None:
        raise NotImplementedError

    def _died(self, key: int) -> None:
        raise NotImplementedError

    def _shell_with_lease(self, shell: Shell[C] | None, deadline: float) -> Shell[C]:
        """Return a shell with a connection that is fit for use: this one, another, or a new one.

        Raises `PoolError`, or what logging in to the server raises.
        """
        while True:
            shell = shell or self._waking() or self._new_shell(deadline)
            if self._prepare(shell, deadline):
                return shell
            shell = None

    def _waking(self) -> Shell[C] | None:
        """Return a shell whose reset is still to be completed, if there is one."""
        for place in (self._resetting, self._idle):
            with suppress(IndexError):
                return place.pop()
        return None

    def _prepare(self, shell: Shell[C], deadline: float) -> bool:
        """Have a connection under a shell that is fit for use; False: the shell is no more."""
        try:
            if shell.resetting:
                self._cleaner.complete(shell)
            self._have_lease(shell, deadline)
            self._check(shell)
        except ChannelLost:
            self._lodging.lose()
            self._end(shell)
            if monotonic() > deadline:
                raise PoolTimeout(f"{self.name}: the broker has gone") from None
            return False
        except Unfit as error:
            logger.info(
                "%s: dropping a connection: %s",
                self.name,
                error.__cause__,
                extra={"pool": self.name, "reason": "broken"},
            )
            self.bury(shell, frames.BROKEN)
            return False
        except NoAnswer:
            self.bury(shell, frames.BACK)
            raise
        except PoolError:
            self._shelve(shell)
            raise
        except BaseException:
            self.bury(shell, frames.BROKEN)
            raise
        return True

    def _shelve(self, shell: Shell[C]) -> None:
        """Put an idle shell where others find it, unless there is nobody left to look there."""
        self._idle.append(shell)
        if shell.orphaned:  # meanwhile, when it could not be found here
            self._lost(shell)
        elif self._closed:  # likewise
            self._give_all_back()

    def _have_lease(self, shell: Shell[C], deadline: float) -> None:
        while not shell.holds() and not shell.take():
            if shell.orphaned:
                raise ChannelLost
            if shell.spent or shell.is_closed():
                raise Unfit from ConnectionError("closed by the server or the network while idle")
            self._ask(shell, deadline)
            if shell.is_fit() and shell.has_traces():  # else it holds none any more
                self._cleaner.wash(shell)

    def _ask(self, shell: Shell[C], deadline: float) -> None:
        self._asking.add(shell)
        self.tally.note_waiting(len(self._asking))
        try:
            if self._closed:
                raise PoolClosed(f"the pool {self.name} is closed")
            self._wake_up()  # others' borrowers may die meanwhile
            shell.request(max(0.0, deadline - monotonic()))
        finally:
            self._asking.discard(shell)

    def _wake_up(self) -> None:
        if fork.asleep:
            fork.wake()
        if self._asleep:
            self._asleep = False
            self._watcher.resume()
            self.crew.attend()

    def _check(self, shell: Shell[C]) -> None:
        if self.options.check:
            try:
                self.options.check(shell.connection)
            except Exception as error:
                raise Unfit from error

    def _new_shell(self, deadline: float, attempts: int = 2) -> Shell[C]:
        """Connect to the broker. Raises `PoolError`, or what logging in to the server raises.

        `attempts`: how many more, as a broker may end between its answer and this.
        """
        if self._closed:
            raise PoolClosed(f"the pool {self.name} is closed")
        with self._lodging.kept(deadline) as found:
            try:
                connection = self.driver.make_shell(found.path)
            except self.driver.errors.Error:
                self._lodging.lose()
                if not attempts:
                    raise
                return self._new_shell(deadline, attempts - 1)
        note = self.meter.use_time.note
        shell = Shell(connection, self.driver, found.words, self._set_up, note)
        key = shell.key  # not the shell: one that is lost shall end, and not be its own keeper
        shell.ref = weakref.ref(connection, lambda _: self._died(key))
        if self._closed:  # while the broker was asked: nobody could find the shell, nor the home
            shell.close()
            self._lodging.leave(found)
            raise PoolClosed(f"the pool {self.name} is closed")
        self._watcher.watch(shell)
        return shell

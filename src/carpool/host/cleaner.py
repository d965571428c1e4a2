"""Cleaning sessions before others get them: by whoever used them, off the request's path."""

from __future__ import annotations

import logging
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, TypeVar

from carpool.driver import NeedsNewSession
from carpool.host import frames
from carpool.pool import hooks
from carpool.pool.keeper import PING_TIMEOUT, RESET_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable

    from carpool.host.pool import HostPool
    from carpool.host.shell import Shell

C = TypeVar("C")
logger = logging.getLogger("carpool.pool")


class Unfit(Exception):
    """A connection cannot be used; the cause says why."""


class Cleaner(Generic[C]):
    """Resets the shells of one pool as its options want.

    Those whose reset has begun lie in `resetting`: whoever pops one owns it, and completes that.
    """

    def __init__(self, pool: HostPool[C]) -> None:
        self._pool = pool
        self._driver, self._how = pool.driver, pool.options.reset
        self.resetting: deque[Shell[C]] = deque()

    def clean(self, shell: Shell[C], connection: C, *, clean: bool) -> None:
        """Take a shell whose lease is over; it goes back to the pool, or is given up."""
        how = self._how
        if callable(how):
            self._pool.crew.submit(lambda: self.tend(shell, self._reset_by_user))
            self._tell_of_reset()
        elif how == "always":
            self._begin(shell, connection, everything=True)
        elif clean:
            self._pool.put(shell)
        elif how == "auto":
            everything = self._driver.effect(connection) is not None
            self._begin(shell, connection, everything=everything)
        elif not self._driver.in_transaction(connection):
            self._driver.adopt(connection)  # what was done to the session is wanted to stay
            self._pool.put(shell)
        elif how == "rollback":
            self._begin(shell, connection, everything=False)
        else:
            self._pool.bury(shell, frames.BROKEN)

    def _begin(self, shell: Shell[C], connection: C, *, everything: bool) -> None:
        try:
            self._driver.begin_reset(connection, everything=everything)
        except Exception as error:  # noqa: BLE001 - a connection one cannot reset is closed
            if not isinstance(error, NeedsNewSession):
                self._tell(error)
            self._pool.bury(shell, frames.BROKEN)
            return
        self._pool.tally.count(resets=1)
        shell.resetting = True
        self.resetting.append(shell)
        self._pool.crew.submit(self._finish)  # unless somebody needs it before
        self._tell_of_reset()

    def _tell_of_reset(self) -> None:
        if hooks.reset:
            hooks.reset(self._pool)

    def _finish(self) -> None:
        with suppress(IndexError):
            self.tend(self.resetting.pop(), self.complete)

    def wash(self, shell: Shell[C]) -> None:
        """Clear a session that another process has set up for itself. Raises `Unfit`."""
        connection: C = shell.connection  # type: ignore[assignment] # it has just been lent
        try:
            self._driver.begin_reset(connection, everything=True)
        except Exception as error:
            raise Unfit from error
        self._pool.tally.count(resets=1)
        self.complete(shell)

    def complete(self, shell: Shell[C]) -> None:
        """Complete the reset of a shell that is one's own. Raises `Unfit`."""
        connection: C = shell.connection  # type: ignore[assignment] # it is idle
        try:
            self._driver.finish_reset(connection, RESET_TIMEOUT)
        except Exception as error:
            self._tell(error)
            raise Unfit from error
        shell.resetting = False
        if not connection.session.redo:  # type: ignore[attr-defined] # all such drivers keep one
            shell.clear_traces()

    def _reset_by_user(self, shell: Shell[C]) -> None:
        assert callable(self._how)
        assert shell.connection is not None
        self._pool.tally.count(resets=1)
        try:
            self._how(shell.connection)
            if self._driver.in_transaction(shell.connection):
                raise RuntimeError("the pool's 'reset' left a transaction open")  # noqa: TRY301 - one way out
        except BaseException as error:
            self._tell(error)
            raise Unfit from error
        self._driver.adopt(shell.connection)

    def _tell(self, error: BaseException) -> None:
        logger.warning(
            "%s: a reset failed, closing: %s",
            self._pool.name,
            error,
            extra={"pool": self._pool.name, "reason": "reset failed"},
        )

    def ping(self, shell: Shell[C]) -> None:
        """Ping an idle connection that is one's own. Raises `Unfit`."""
        connection: C = shell.connection  # type: ignore[assignment] # it is idle
        try:
            self._driver.ping(connection, PING_TIMEOUT)
        except Exception as error:
            raise Unfit from error

    def tend(self, shell: Shell[C], work: Callable[[Shell[C]], object]) -> None:
        """Do something with a shell, and put it where others find it."""
        try:
            work(shell)
        except Unfit:
            self._pool.bury(shell, frames.BROKEN)
        else:
            self._pool.put(shell)

"""What the pool of a process and a process' part in that of its host have in common."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from carpool.pool import hooks

if TYPE_CHECKING:
    import weakref
    from collections.abc import Iterator

    from carpool.options import Options

C = TypeVar("C")


class Held(NamedTuple):
    """A connection that somebody has."""

    key: int  # the connection's id
    seconds: float
    pinned: str  # why it is; "": it is not
    acquired: str  # the stack that acquired it, where leaks are watched; else ""


class Lessor(Generic[C]):
    """Leases the connections of a driver; what may be leased, and how, is its subclasses' part."""

    driver: Any
    options: Options
    name: str
    _careful: bool  # an acquire does more than look
    _thorough: bool  # a release does more than look
    inherited: list[weakref.ref[C]] = []  # noqa: RUF012 - replaced in forked children, never changed

    def acquire(self, timeout: float | None = None, prefer: C | None = None) -> C:
        """Take a connection out. Raises `carpool.PoolError`."""
        raise NotImplementedError

    def release(self, connection: C) -> None:
        """Give a connection back."""
        raise NotImplementedError

    @contextmanager
    def connection(self, timeout: float | None = None) -> Iterator[C]:
        """Lease a connection for a `with` block: commits at its end, rolls back on an exception."""
        connection = self.acquire(timeout)
        try:
            yield connection
            if self.driver.in_transaction(connection):
                self.driver.commit(connection)
        finally:
            self.release(connection)

    def heed_hooks(self) -> None:
        """Take the quick ways where neither the options nor those who listen want more."""
        options = self.options
        self._careful = bool(options.check or options.leak_warning or hooks.acquired)
        self._thorough = bool(
            options.reset == "always" or callable(options.reset) or hooks.released
        )

    def refuse(self, connection: C) -> None:
        """Raise ValueError for a connection that is not leased; not for one of before a fork."""
        if any(each() is connection for each in self.inherited):
            return  # acquired by the parent: nothing of ours
        raise ValueError(
            f"{connection!r} is not leased from the pool {self.name}: "
            "it was given back already, or comes from elsewhere"
        )

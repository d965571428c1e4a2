"""The pool's small records: a server connection's place in it, and a request waiting for one."""

from __future__ import annotations

import weakref
from threading import Lock
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

C = TypeVar("C")


class Ref(weakref.ref[C]):
    """A weak reference to a connection that knows its identity beyond its death."""

    __slots__ = ("key",)
    key: int

    def __new__(cls, connection: C, callback: Callable[[Ref[C]], None]) -> Ref[C]:
        """Take the identity while there is one."""
        self = super().__new__(cls, connection, callback)
        self.key = id(connection)
        return self

    def __init__(self, connection: C, callback: Callable[[Ref[C]], None]) -> None:
        super().__init__(connection, callback)  # type: ignore[call-arg] # the stubs know no callback


class Entry(Generic[C]):
    """One server connection's place in the pool.

    It belongs to one owner at a time and only that owner writes to it: the deque it lies in, the
    thread that leased it, or the worker that took it out. So it needs no lock of its own.
    While leased, `connection` is None: the pool then holds the connection weakly, so that one
    whose borrower died is noticed.
    """

    __slots__ = (
        "__weakref__",
        "borrower",
        "check_at",
        "connection",
        "due_at",
        "pinned",
        "readable",
        "ref",
        "resetting",
        "retire_at",
        "set_up",
        "since",
        "used",
        "uses",
        "waited",
        "warned",
    )

    def __init__(
        self,
        connection: C,
        ref: Ref[C],
        readable: Callable[[int], object],
        *,
        due_at: float,
        retire_at: float,
    ) -> None:
        self.connection: C | None = connection
        self.readable = readable  # called with 0: is there something to look at?
        self.ref = ref
        self.due_at = due_at  # from then on a release looks closer: renew or retire
        self.retire_at = retire_at  # from then on it is closed as it comes back
        self.check_at = 0.0  # from then on a ping is due
        self.since = 0.0  # when it was leased, or became idle
        self.uses = 0
        self.used = 0.0  # seconds
        self.waited = 0.0  # seconds, of those who got it after waiting
        self.resetting = False  # its answer to a reset is still to be read
        self.set_up = False  # `configure` left something that a reset wipes
        self.borrower = ""  # the stack that acquired it, when leaks are watched
        self.warned = False
        self.pinned = (0, "")  # the lease, by its number, that was pinned last, and why

    def pin(self, reason: str) -> None:
        """Note that the present lease outlasts its statement."""
        self.pinned = self.uses, reason

    def why_pinned(self) -> str:
        """Return why the present lease is pinned; "": it is not."""
        lease, reason = self.pinned
        return reason if lease == self.uses else ""

    def take(self) -> C:
        """Take the connection out, to hand it over or to close it."""
        connection = self.connection
        assert connection is not None
        self.connection = None
        return connection


class Waiter(Generic[C]):
    """A request that waits: its gate opens when it has been given an entry or an error."""

    __slots__ = ("entry", "error", "gate", "scarce", "since")

    def __init__(self, since: float = 0.0, *, scarce: bool = False) -> None:
        self.since = since  # when the request began
        self.scarce = scarce  # it waits for what others have, not for a connect alone
        self.entry: Entry[C] | None = None
        self.error: BaseException | None = None
        self.gate = Lock()
        self.gate.acquire()

    def give(self, entry: Entry[C]) -> None:
        """Hand an entry over. Under the pool's lock, once."""
        self.entry = entry
        self.gate.release()

    def fail(self, error: BaseException) -> None:
        """Tell it that there will be none. Under the pool's lock, once."""
        self.error = error
        self.gate.release()

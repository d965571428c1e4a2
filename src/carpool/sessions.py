"""The record that all drivers keep of a session, and the questions it answers."""

from __future__ import annotations

import ctypes
from threading import get_ident
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

from carpool.driver import AS_IT_IS
from carpool.errors import StaleCursorError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from carpool.driver import Limits
    from carpool.sockets import Farewell


ANY = 0  # in place of a thread's number


class Session:
    """What the pool knows of one server session. Belongs to whoever holds the connection."""

    def __init__(self, readable: Callable[[int], Any], baseline: dict[str, Any]) -> None:
        self.effect: str | None = None  # the first that may have left state behind
        self.lease = 0  # counts; cursors of earlier leases are refused
        self.by_hand = False  # in this lease the connection itself was asked for a cursor
        self.holder = ANY  # the thread that alone may do so
        self.everything = False  # the reset under way clears the session
        self.set_up_by: object = None  # who has set it up; None: nobody
        self.redo = False  # ... in a way that a reset wipes
        self.readable = readable  # look at the socket
        self.baseline = baseline  # the connection's attributes as a lease begins
        self.farewell: Farewell | None = None  # where the user closes the connection

    def take_by_hand(self) -> None:
        """Note that the connection itself is asked for a cursor, past Django.

        Raises as `check_holder`.
        """
        self.check_holder()
        self.by_hand = True

    def check_holder(self) -> None:
        """Raise StaleCursorError if the calling thread has no right to the connection any more.

        In transaction mode somebody may have got hold of it in an earlier lease.
        """
        if self.holder and self.holder != get_ident():
            raise StaleCursorError("the connection has been given back, and another thread has it")

    def settled(self) -> None:
        """Note that a lease has ended."""
        self.lease += 1
        self.by_hand, self.holder = False, ANY

    def cleared(self) -> None:
        """Note that a reset is complete; what could be looked back at has gone with it."""
        self.effect = None
        self.lease += 1
        self.by_hand = False  # a reset may need a cursor
        if self.everything and self.redo:
            self.set_up_by = None


#: The modes of a driver that knows its database's language.
EVERY_MODE = ("session", "transaction", "statement")


class HasSession(Protocol):
    """A connection that keeps a `Session`."""

    @property
    def session(self) -> Session:
        """What is known of it."""


C = TypeVar("C", bound=HasSession)


class SessionDriver(Generic[C]):
    """The part of a `Driver` that only asks the connection's `Session`.

    A driver that says no more serves session mode alone.
    """

    modes: ClassVar[tuple[str, ...]] = ("session",)
    buffers: ClassVar[bool] = False

    def watch(self, connection: C) -> Callable[[int], object]:
        """See `Driver`."""
        return connection.session.readable

    def effect(self, connection: C) -> str | None:
        """See `Driver`."""
        return connection.session.effect

    def at_rest(self, connection: C) -> bool:  # noqa: ARG002 - nothing is known
        """See `Driver`."""
        return False

    def looks_back(self, text: Any) -> str | None:  # noqa: ARG002 - nothing is known
        """See `Driver`."""
        return None

    def may_fork(self, connection: C) -> bool:  # noqa: ARG002 - a socket may
        """See `Driver`."""
        return True

    def adopt(self, connection: C) -> bool:
        """See `Driver`."""
        self.keep_attributes(connection)
        session = connection.session
        traces = session.effect is not None
        session.effect = None
        session.by_hand = False
        return traces

    def keep_attributes(self, connection: Any) -> None:
        """Take what has been done to the connection object for how a lease begins."""
        connection.keep_attributes()

    def set_up_by(self, connection: C) -> object:
        """See `Driver`."""
        return connection.session.set_up_by

    def set_up_left_traces(self, connection: C) -> bool:
        """See `Driver`."""
        return connection.session.redo

    def set_up_done(self, connection: C, by: object) -> None:
        """See `Driver`."""
        connection.session.redo = self.adopt(connection)
        connection.session.set_up_by = by

    def limits(self, overrides: Mapping[str, Any] = AS_IT_IS) -> Limits | None:  # noqa: ARG002 - nothing is known
        """See `Driver`."""
        return None


def never_end(connection: object) -> None:
    """Let a forked child never run a connection's destructor, whatever that would do to it."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))

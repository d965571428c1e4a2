"""A driver for any DB-API 2 module: what a pool needs, from what every such module has.

It knows nothing of the database's language. So every lease that was used counts as one that has
left something behind, and ends with a rollback and, if one is given, a reset statement, in one of
the pool's workers: the request does not wait for it, but the server has the work. Databases with a
room of their own here (`carpool.postgresql` and the others) do better.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Self

from carpool import sockets
from carpool.session import Session, SessionDriver, never_end

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping

    Connect = Callable[[Mapping[str, Any]], Any]


class UsedSession(Session):
    """What the pool knows of such a session besides."""

    open = False  # used since the last commit or rollback


class Connection:
    """Stands for a module's connection (`real`): passes everything on to it, taking note.

    For modules written in C do not always allow weak references to their connections.
    """

    __slots__ = ("__weakref__", "real", "session")

    real: Any
    session: UsedSession

    def __init__(self, real: Any, session: UsedSession) -> None:
        object.__setattr__(self, "real", real)
        object.__setattr__(self, "session", session)

    def commit(self) -> None:
        """As the module's."""
        self.real.commit()
        self.session.open = False

    def rollback(self) -> None:
        """As the module's."""
        self.real.rollback()
        self.session.open = False

    def _note(self) -> None:
        self.session.effect = "use"
        self.session.open = True

    def __getattr__(self, name: str) -> Any:
        self._note()
        return getattr(self.real, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._note()
        setattr(self.real, name, value)

    def __enter__(self) -> Self:
        self._note()
        self.real.__enter__()
        return self

    def __exit__(self, *exc: object) -> Any:
        return self.real.__exit__(*exc)

    @property  # type: ignore[misc] # what `isinstance` asks; nobody sets it here
    def __class__(self) -> Any:
        return type(self.real)


def no_look(_timeout: int) -> None:
    """Stand for a look at a socket that a module does not show: nothing is to be seen."""


class DBAPIDriver(SessionDriver[Connection]):
    """Pools the connections that `connect` opens.

    `connect` takes a mapping of parameters to use in place of its own (fresh credentials; empty
    unless the pool has the option `credentials`) and returns a DB-API 2 connection. `key` tells
    these connections from those to other places or of other kinds, `name` is for logs and errors.
    `ping` is a statement that any session answers, `reset` are the statements that clear one after
    the rollback; without them session state stays, as it does with a connection kept open.

    Cursors of an earlier lease are not refused, and neither a ping nor a reset has a time limit:
    the standard offers no means for that. https://peps.python.org/pep-0249/
    """

    def __init__(
        self,
        connect: Connect,
        *,
        key: Hashable,
        name: str,
        ping: str = "SELECT 1",
        reset: Iterable[str] = (),
    ) -> None:
        self._connect = connect
        self._ping = ping
        self._reset = (reset,) if isinstance(reset, str) else tuple(reset)
        self.key = (type(self), key, ping, self._reset)
        self.name = name

    # ---------------------------------------------------------- open and close

    def connect(self, overrides: Mapping[str, Any]) -> Connection:
        """See `Driver`."""
        real = self._connect(overrides)
        descriptor = self._descriptor(real)
        readable = no_look if descriptor is None else sockets.watch(descriptor)
        return Connection(real, UsedSession(readable, {}))

    @staticmethod
    def _descriptor(real: Any) -> int | None:
        """Return the number of the connection's socket, where the module tells it."""
        try:
            return int(real.fileno())
        except Exception:  # noqa: BLE001 - a module may have its own idea of that name
            return None

    def close(self, connection: Connection, patience: float) -> None:
        """See `Driver`."""
        descriptor = self._descriptor(connection.real)
        farewell = None
        with contextlib.suppress(Exception):
            farewell = None if descriptor is None else sockets.Farewell(descriptor)
        with contextlib.suppress(Exception):
            connection.real.close()
        if farewell:
            farewell.wait(patience)

    def disown(self, connection: Connection) -> None:
        """See `Driver`."""
        descriptor = self._descriptor(connection.real)
        if descriptor is not None:
            sockets.abandon(descriptor)
        never_end(connection.real)

    # ------------------------------------------------------------------- judge

    def look(self, connection: Connection) -> bool:
        """See `Driver`. Whatever an idle server says, it is not what a next user expects."""
        return not connection.session.readable(0)

    def ping(self, connection: Connection, timeout: float) -> None:  # noqa: ARG002 - no means
        """See `Driver`."""
        self._run(connection.real, [self._ping])
        connection.real.rollback()

    @staticmethod
    def _run(real: Any, statements: Iterable[str]) -> None:
        with contextlib.closing(real.cursor()) as cursor:
            for statement in statements:
                cursor.execute(statement)
                if cursor.description:
                    cursor.fetchall()

    def settle(self, connection: Connection) -> bool:
        """See `Driver`."""
        connection.session.lease += 1
        return connection.session.effect is None

    def broken(self, connection: Connection) -> bool:
        """See `Driver`: where the module has the usual attribute `closed`."""
        closed = getattr(connection.real, "closed", False)
        return closed is True or (type(closed) is int and closed != 0)

    def busy(self, connection: Connection) -> bool:  # noqa: ARG002 - no means to tell
        """See `Driver`."""
        return False

    def in_transaction(self, connection: Connection) -> bool:
        """See `Driver`: as the module tells, or else if used since the last commit or rollback."""
        told = getattr(connection.real, "in_transaction", None)
        if isinstance(told, bool):
            return told
        if getattr(connection.real, "autocommit", None) is True:
            return False
        return connection.session.open

    def commit(self, connection: Connection) -> None:
        """See `Driver`."""
        connection.commit()

    def no_room(self, error: BaseException) -> bool:  # noqa: ARG002 - no means to tell
        """See `Driver`."""
        return False

    # ------------------------------------------------------------------- reset

    def set_up_done(self, connection: Connection, by: object) -> None:
        """See `Driver`: a mere rollback leaves the set-up as it is."""
        super().set_up_done(connection, by)
        connection.session.redo = bool(self._reset)

    def begin_reset(self, connection: Connection, *, everything: bool) -> bool:
        """See `Driver`."""
        connection.session.everything = everything
        return False

    def finish_reset(self, connection: Connection, timeout: float) -> None:  # noqa: ARG002 - no means
        """See `Driver`."""
        connection.rollback()
        if connection.session.everything and self._reset:
            self._run(connection.real, self._reset)
            connection.real.commit()
        connection.session.cleared()

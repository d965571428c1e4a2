"""A driver for any DB-API 2 module: what a pool needs, from what every such module has.

It knows nothing of the database's language. So every lease that was used counts as one that has
left something behind, and ends with a rollback and, if one is given, a reset, in one of the pool's
workers: the request does not wait for it, but the server has the work. Databases with a room of
their own here (`carpool.postgresql` and the others) do better.
"""

from __future__ import annotations

import contextlib
import warnings
from typing import TYPE_CHECKING, Any

from carpool import sockets
from carpool.sessions import Session, SessionDriver, never_end

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping

    Connect = Callable[[Mapping[str, Any]], Any]
    Reset = Iterable[str] | Callable[[Any], object]


class UsedSession(Session):
    """What the pool knows of such a session besides."""

    def __init__(self, real: Any, readable: Callable[[int], Any]) -> None:
        super().__init__(readable, {})  # the baseline: what attributes were before users set them
        self.real = real  # the module's connection
        self.open = False  # used since the last commit or rollback
        self.closed = False  # by the user
        self.switched = False  # a method `autocommit`, as MySQL's modules have it, was asked for


class Connection:
    """Stands for a module's connection (`real`): passes everything on to it, taking note.

    For modules written in C do not always allow weak references to their connections.

    Its own names are `real` and `session`. Where the module's connection has one of these, too,
    `DBAPIDriver.connect` warns: the module's is behind `real`, as in `connection.real.session`.
    """

    __slots__ = ("__weakref__", "session")

    session: UsedSession

    def __init__(self, session: UsedSession) -> None:
        object.__setattr__(self, "session", session)

    @property
    def real(self) -> Any:
        """The module's own object, for those of its functions that accept nothing else."""
        self._note()
        return self.session.real

    def commit(self) -> None:
        """As the module's."""
        self.session.real.commit()
        self.session.open = False

    def rollback(self) -> None:
        """As the module's."""
        self.session.real.rollback()
        self.session.open = False

    def close(self) -> None:
        """As the module's; the pool then opens another."""
        self.session.closed = True
        self.session.real.close()

    def _note(self) -> None:
        self.session.effect = "use"
        self.session.open = True

    def __getattr__(self, name: str) -> Any:
        self._note()
        if name == "autocommit":
            self.session.switched = True
        return getattr(self.session.real, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._note()
        self.session.baseline.setdefault(name, getattr(self.session.real, name, None))
        setattr(self.session.real, name, value)

    def __enter__(self) -> Any:
        self._note()
        inner = self.session.real.__enter__()
        return self if inner is self.session.real else inner

    def __exit__(self, *exc: object) -> Any:
        return self.session.real.__exit__(*exc)

    @property  # type: ignore[misc] # what `isinstance` asks; nobody sets it here
    def __class__(self) -> Any:
        return type(self.session.real)


def file_number(real: Any) -> int | None:
    """Return the number of a connection's socket, where the module tells it as files do."""
    try:
        return int(real.fileno())
    except Exception:  # noqa: BLE001 - a module may have its own idea of that name
        return None


def _tell_of_hidden_names(real: Any) -> None:
    for name in ("real", "session"):
        if hasattr(real, name):
            warnings.warn(
                f"{type(real).__module__}.{type(real).__qualname__} has an attribute {name!r}, as "
                f"carpool's stand-in has: the module's is `connection.real.{name}`",
                RuntimeWarning,
                stacklevel=3,
            )


def no_look(_timeout: int) -> None:
    """Stand for a look at a socket that a module does not show: nothing is to be seen."""


class DBAPIDriver(SessionDriver[Connection]):
    """Pools the connections that `connect` opens.

    `connect` takes a mapping of parameters to use in place of its own (fresh credentials; empty
    unless the pool has the option `credentials`) and returns a DB-API 2 connection, which any
    thread may use. `key` tells these connections from those to other places or of other kinds,
    `name` is for logs and errors.

    `ping` is a statement that any session answers. `reset` clears a session after the rollback:
    statements, or a function of the module's connection; without it session state stays, as it
    does with a connection kept open. `socket` returns the number of a connection's socket, None
    if it is not known: then what the server has closed is noticed by a ping alone.

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
        reset: Reset = (),
        socket: Callable[[Any], int | None] = file_number,
    ) -> None:
        self._connect = connect
        self._ping = ping
        self._socket = socket
        self._reset = reset if callable(reset) else _statements(reset)
        self.key: Hashable = (type(self), key, ping, self._reset, socket)
        self.name = name

    # ---------------------------------------------------------- open and close

    def connect(self, overrides: Mapping[str, Any]) -> Connection:
        """See `Driver`."""
        real = self._connect(overrides)
        _tell_of_hidden_names(real)
        descriptor = self._socket(real)
        readable = no_look if descriptor is None else sockets.watch(descriptor)
        return Connection(UsedSession(real, readable))

    def close(self, connection: Connection, patience: float) -> None:
        """See `Driver`."""
        real, farewell = connection.session.real, None
        with contextlib.suppress(Exception):
            descriptor = self._socket(real)
            farewell = None if descriptor is None else sockets.Farewell(descriptor)
        with contextlib.suppress(Exception):
            real.close()
        if farewell:
            farewell.wait(patience)

    def disown(self, connection: Connection) -> None:
        """See `Driver`."""
        real = connection.session.real
        with contextlib.suppress(Exception):
            descriptor = self._socket(real)
            if descriptor is not None:
                sockets.abandon(descriptor)
        never_end(real)

    # ------------------------------------------------------------------- judge

    def look(self, connection: Connection) -> bool:
        """See `Driver`. Whatever an idle server says, it is not what a next user expects."""
        return not connection.session.readable(0)

    def ping(self, connection: Connection, timeout: float) -> None:  # noqa: ARG002 - no means
        """See `Driver`."""
        self._run(connection.session.real, [self._ping])
        connection.rollback()

    @staticmethod
    def _run(real: Any, statements: Iterable[str]) -> None:
        with contextlib.closing(real.cursor()) as cursor:
            for statement in statements:
                cursor.execute(statement)
                if cursor.description:
                    cursor.fetchall()

    def settle(self, connection: Connection) -> bool:
        """See `Driver`."""
        session = connection.session
        session.settled()
        return session.effect is None and not session.open and not session.closed

    def broken(self, connection: Connection) -> bool:
        """See `Driver`: as is known, or as modules usually tell by `closed` or `open`."""
        real = connection.session.real
        closed, opened = getattr(real, "closed", None), getattr(real, "open", None)
        return (
            connection.session.closed
            or (isinstance(closed, int) and closed != 0)
            or (isinstance(opened, int) and not opened)
        )

    def busy(self, connection: Connection) -> bool:  # noqa: ARG002 - no means to tell
        """See `Driver`."""
        return False

    def in_transaction(self, connection: Connection) -> bool:
        """See `Driver`: as the module tells, or else if used since the last commit or rollback."""
        told = getattr(connection.session.real, "in_transaction", None)
        if isinstance(told, bool):
            return told
        if getattr(connection.session.real, "autocommit", None) is True:
            return False
        return connection.session.open

    def commit(self, connection: Connection) -> None:
        """See `Driver`."""
        connection.commit()

    def no_room(self, error: BaseException) -> bool:  # noqa: ARG002 - no means to tell
        """See `Driver`."""
        return False

    # ------------------------------------------------------------------- reset

    def keep_attributes(self, connection: Connection) -> None:
        """See `SessionDriver`."""
        connection.session.baseline.clear()

    def set_up_done(self, connection: Connection, by: object) -> None:
        """See `Driver`: a mere rollback leaves the set-up as it is."""
        session = connection.session
        if self.in_transaction(connection):
            connection.commit()
        session.open = session.switched = False
        super().set_up_done(connection, by)
        session.redo &= bool(self._reset)

    def begin_reset(self, connection: Connection, *, everything: bool) -> bool:
        """See `Driver`."""
        connection.session.everything = everything
        return False

    def finish_reset(self, connection: Connection, timeout: float) -> None:  # noqa: ARG002 - no means
        """See `Driver`."""
        connection.rollback()
        self._restore(connection)
        if connection.session.everything and self._reset:
            self._clear(connection)
        connection.session.cleared()

    def _restore(self, connection: Connection) -> None:
        """Undo what users have set on the connection object; for modes such as autocommit."""
        session = connection.session
        for name, value in session.baseline.items():
            if getattr(session.real, name, None) != value:
                setattr(session.real, name, value)
        session.baseline.clear()

    def _clear(self, connection: Connection) -> None:
        """Clear the session, outside transactions."""
        real = connection.session.real
        if callable(self._reset):
            self._reset(real)
        else:
            self._run(real, self._reset)
            real.commit()


def _statements(reset: Iterable[str]) -> tuple[str, ...]:
    return (reset,) if isinstance(reset, str) else tuple(reset)

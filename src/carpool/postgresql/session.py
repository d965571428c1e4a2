"""psycopg 3 connections and cursors that notice what may leave state in the session.

Statements are seen where they enter psycopg: in the cursors' public methods, and, for cursors of
other classes, in `Connection.wait`, through which all of psycopg's exchanges with the server go.
What is sent through libpq directly (`connection.pgconn`) is not seen.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from carpool import sockets
from carpool.errors import StaleCursorError
from carpool.postgresql.effects import effect
from carpool.sessions import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

# Exchanges that carry no statement of the user's, by the names of psycopg's generators.
HARMLESS = frozenset(
    {
        "_commit_gen",
        "_rollback_gen",
        "_set_autocommit_gen",
        "_set_isolation_level_gen",
        "_set_read_only_gen",
        "_set_deferrable_gen",
        "_enter_gen",
        "_exit_gen",
        "_sync_gen",
        "_communicate_gen",
        "_fetch_many_gen",
        "_stream_fetchone_gen",
        "_read_gen",
        "_read_row_gen",
        "_end_copy_out_gen",
        "copy_from",
        "copy_to",
        "copy_end",
        "notifies",
    }
)


class PsycopgSession(Session):
    """What the pool knows of a psycopg 3 connection besides."""

    def __init__(self, readable: Callable[[int], Any], baseline: dict[str, Any]) -> None:
        super().__init__(readable, {})
        self.touched = False  # an attribute of the connection was set
        self.entered = 0  # psycopg's blocks (transaction, pipeline) that have not been left
        self.prepares = False  # or has done so
        self.handlers: list[tuple[Callable[[Any], None], Any]] = []  # how to remove each
        self.steps: list[bytes] = []  # statements of a reset still to be sent
        self.forsaken = False  # who had it died, and the server may be in the middle of anything
        self.begin_with(baseline)

    def begin_with(self, baseline: dict[str, Any]) -> None:
        """Take the connection's attributes for how a lease begins."""
        self.baseline = baseline
        self.prepares |= baseline["prepare_threshold"] is not None
        # Attributes whose change nothing announces:
        self.row_factory = baseline["row_factory"]
        self.cursor_factory = baseline["cursor_factory"]
        self.server_cursor_factory = baseline["server_cursor_factory"]

    def begin_anew(self) -> None:
        """Note that the connection leads to another session of the server, clean and idle."""
        self.effect = self.set_up_by = None
        self.everything = self.redo = False
        self.settled()


_PREPARE_THRESHOLD: Any = psycopg.Connection.prepare_threshold
_PREPARED_MAX: Any = psycopg.Connection.prepared_max


class Connection(psycopg.Connection[Any]):
    """A psycopg connection that keeps a `Session`."""

    session: PsycopgSession

    def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        """Let nothing pass unseen that a cursor of another class, or of another lease, sends."""
        if gen.__name__ not in HARMLESS:
            self._inspect(gen)
        return super().wait(gen, *args, **kwargs)

    def _inspect(self, gen: Any) -> None:
        frame = getattr(gen, "gi_frame", None)
        sender = frame.f_locals.get("self") if frame is not None else None
        if isinstance(sender, Tracked):
            sender.check_lease(self.session)
        elif self.session.effect is None:
            self.session.effect = "untracked cursor"

    def close(self) -> None:
        """As psycopg's; the pool then waits for the server to hang up."""
        if hasattr(self, "session") and self.session.farewell is None:
            with contextlib.suppress(psycopg.Error, OSError):
                self.session.farewell = sockets.Farewell(self.pgconn.socket)
        super().close()

    @contextlib.contextmanager
    def _entered(self, block: AbstractContextManager[Any]) -> Iterator[Any]:
        """Count a block of psycopg's: who gives a connection back within one breaks it."""
        session = self.session
        session.entered += 1
        with block as inner:
            yield inner
        session.entered -= 1

    def commit(self) -> None:
        """As psycopg's."""
        self.session.check_holder()
        super().commit()

    def rollback(self) -> None:
        """As psycopg's."""
        self.session.check_holder()
        super().rollback()

    def transaction(self, *args: Any, **kwargs: Any) -> Any:
        """As psycopg's."""
        self.session.take_by_hand()
        return self._entered(super().transaction(*args, **kwargs))

    def pipeline(self) -> Any:
        """As psycopg's."""
        self.session.take_by_hand()
        return self._entered(super().pipeline())

    def tpc_begin(self, xid: Any) -> None:
        """As psycopg's; the connection serves no lease after this one."""
        self.session.entered += 1
        self.session.take_by_hand()
        super().tpc_begin(xid)

    def notifies(self, *args: Any, **kwargs: Any) -> Any:
        """As psycopg's."""
        self.session.take_by_hand()
        return super().notifies(*args, **kwargs)

    def cursor(self, *args: Any, **kwargs: Any) -> Any:
        """As psycopg's, for the present lease."""
        cursor: Any = super().cursor(*args, **kwargs)
        session = self.session
        session.take_by_hand()
        if isinstance(cursor, Tracked):
            cursor.lease = session.lease
        return cursor

    def set_autocommit(self, value: bool) -> None:
        """As psycopg's, and take note."""
        self.session.touched = True
        super().set_autocommit(value)

    def set_isolation_level(self, value: psycopg.IsolationLevel | None) -> None:
        """As psycopg's, and take note."""
        self.session.touched = True
        super().set_isolation_level(value)

    def set_read_only(self, value: bool | None) -> None:
        """As psycopg's, and take note."""
        self.session.touched = True
        super().set_read_only(value)

    def set_deferrable(self, value: bool | None) -> None:
        """As psycopg's, and take note."""
        self.session.touched = True
        super().set_deferrable(value)

    def add_notice_handler(self, callback: Any) -> None:
        """As psycopg's, until the connection is given back."""
        self.session.touched = True
        self.session.handlers.append((super().remove_notice_handler, callback))
        super().add_notice_handler(callback)

    def remove_notice_handler(self, callback: Any) -> None:
        """As psycopg's."""
        super().remove_notice_handler(callback)
        self._forget_handler(callback)

    def add_notify_handler(self, callback: Any) -> None:
        """As psycopg's, until the connection is given back."""
        self.session.touched = True
        self.session.handlers.append((super().remove_notify_handler, callback))
        super().add_notify_handler(callback)

    def remove_notify_handler(self, callback: Any) -> None:
        """As psycopg's."""
        super().remove_notify_handler(callback)
        self._forget_handler(callback)

    def _forget_handler(self, callback: Any) -> None:
        handlers = self.session.handlers
        handlers[:] = [each for each in handlers if each[1] is not callback]

    @property
    def prepare_threshold(self) -> int | None:
        """As psycopg's, until the connection is given back."""
        return super().prepare_threshold

    @prepare_threshold.setter
    def prepare_threshold(self, value: int | None) -> None:
        self._touch(prepares=value is not None)
        _PREPARE_THRESHOLD.__set__(self, value)

    @property
    def prepared_max(self) -> int | None:
        """As psycopg's, until the connection is given back."""
        return super().prepared_max

    @prepared_max.setter
    def prepared_max(self, value: int | None) -> None:
        self._touch(prepares=False)
        _PREPARED_MAX.__set__(self, value)

    def _touch(self, *, prepares: bool) -> None:
        if hasattr(self, "session"):  # else psycopg is still making the connection
            self.session.touched = True
            self.session.prepares |= prepares

    def forget_notifications(self) -> None:
        """Drop what has been notified and not read: the channels were the last user's."""
        while self.pgconn.notifies():
            pass
        # psycopg's own store of those that came with other answers; it offers no way to empty it
        # that does not go to the server.
        backlog = getattr(self, "_notifies_backlog", None)
        if backlog:
            backlog.clear()

    def begin_session(self) -> None:
        """Start to keep a `Session`; what has been set until now is the baseline."""
        self.session = PsycopgSession(sockets.watch(self.pgconn.socket), self._attributes())

    def _attributes(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ATTRIBUTES}

    def keep_attributes(self) -> None:
        """Take what has been done to this object for how a lease begins."""
        self.session.begin_with(self._attributes())
        self.session.handlers.clear()
        self.session.touched = False

    def is_altered(self) -> bool:
        """Tell whether the user has set an attribute, other than `autocommit`, to a new value."""
        return any(
            getattr(self, name) != value
            for name, value in self.session.baseline.items()
            if name != "autocommit"
        )

    def restore_attributes(self) -> None:
        """Undo what was done to this object; only outside a transaction. No round trip."""
        session = self.session
        for remove, callback in session.handlers:
            remove(callback)
        session.handlers.clear()
        for name, value in session.baseline.items():
            if getattr(self, name) != value:
                setattr(self, name, value)
        session.touched = False


# What users set on a connection object, and the next one must not find.
ATTRIBUTES = (
    "autocommit",
    "isolation_level",
    "read_only",
    "deferrable",
    "prepare_threshold",
    "prepared_max",
    "row_factory",
    "cursor_factory",
    "server_cursor_factory",
)


def effect_of(query: Any, connection: psycopg.Connection[Any]) -> str | None:
    """Classify any kind of query that psycopg takes."""
    if isinstance(query, str):
        return effect(query)
    if isinstance(query, bytes):
        return effect(query.decode(errors="replace"))
    if isinstance(query, sql.Composable):
        return effect(query.as_string(connection))
    return "unknown kind of query"


if TYPE_CHECKING:
    Base = psycopg.Cursor[Any]
else:
    Base = object


class Tracked(Base):
    """A mixin for psycopg's cursor classes: classifies what they execute.

    A cursor serves the lease in which it was made; later its connection is somebody else's.
    """

    _conn: Connection
    # Set by who makes the cursor: the engine, or `Connection.cursor`. One made by its class
    # alone serves the lease of its first statement.
    lease: int | None = None

    def _observe(self, query: Any) -> None:
        session = self._conn.session
        if self.lease != session.lease:
            self.check_lease(session)
        if session.effect is None:
            session.effect = effect(query) if type(query) is str else effect_of(query, self._conn)

    def check_lease(self, session: Session) -> None:
        """Raise `StaleCursorError` unless the cursor belongs to the present lease."""
        if self.lease is None:
            self.lease = session.lease
        elif self.lease != session.lease:
            raise StaleCursorError("the cursor's connection has been given back to the pool")

    def execute(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        """As psycopg's. Raises `StaleCursorError` as well."""
        self._observe(query)
        return super().execute(query, *args, **kwargs)

    def executemany(self, query: Any, *args: Any, **kwargs: Any) -> None:
        """As psycopg's. Raises `StaleCursorError` as well."""
        self._observe(query)
        super().executemany(query, *args, **kwargs)

    def stream(self, query: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """As psycopg's. Raises `StaleCursorError` as well."""
        self._observe(query)
        yield from super().stream(query, *args, **kwargs)

    def copy(self, statement: Any, *args: Any, **kwargs: Any) -> Any:
        """As psycopg's. Raises `StaleCursorError` as well."""
        self._observe(statement)
        return super().copy(statement, *args, **kwargs)


class TrackedServerSide(Tracked):
    """The same for named cursors, which go back to the server for every batch of rows."""

    _withhold: bool

    def execute(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        """As psycopg's. Raises `StaleCursorError` as well."""
        self._observe("DECLARE c CURSOR WITH HOLD FOR SELECT 1" if self._withhold else query)
        return super().execute(query, *args, **kwargs)

    @property
    def closed(self) -> bool:
        """As psycopg's; a cursor of an earlier lease has ended with it."""
        return super().closed or self.lease not in (None, self._conn.session.lease)

    def close(self) -> None:
        """As psycopg's; nothing is sent for a cursor of an earlier lease."""
        if not self.closed:
            super().close()


class Cursor(Tracked, psycopg.Cursor[Any]):
    """psycopg's cursor, tracked."""


class ServerCursor(TrackedServerSide, psycopg.ServerCursor[Any]):
    """psycopg's named cursor, tracked."""


_tracked_classes: dict[type[Any], type[Any]] = {psycopg.Cursor: Cursor}


def tracked(cursor_class: type[Any]) -> type[Any]:
    """Return the tracked variety of a psycopg cursor class, always the same one."""
    if issubclass(cursor_class, Tracked):
        return cursor_class
    known = _tracked_classes.get(cursor_class)
    if known is None:
        mixin = TrackedServerSide if issubclass(cursor_class, psycopg.ServerCursor) else Tracked
        made = type(cursor_class.__name__, (mixin, cursor_class), {"__doc__": cursor_class.__doc__})
        known = _tracked_classes.setdefault(cursor_class, made)
    return known

"""python-oracledb's connections and cursors, made to notice what may leave state in the session.

Statements are seen where they enter the driver: in the public methods of connections and cursors.
A cursor that is made from `oracledb.Cursor` directly, not by the connection, is not seen.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import socket
import threading
import weakref
from typing import TYPE_CHECKING, Any, Self

import oracledb

from carpool import sockets
from carpool.errors import StaleCursorError
from carpool.oracle.effects import effect, filled
from carpool.oracle.transport import socket_of
from carpool.sessions import Session

if TYPE_CHECKING:
    from collections.abc import Callable

# What users set on a connection object and the next one must not find; kept in this process.
ATTRIBUTES = tuple(
    name
    for name in (
        "autocommit",
        "call_timeout",
        "inputtypehandler",
        "outputtypehandler",
        "stmtcachesize",
        "operation_callback",
        "round_trip_callback",
    )
    if hasattr(oracledb.Connection, name)
)

# What can be set but not read, and has no value in a new session. A change goes to the server with
# the next statement, so that to take it back costs nothing.
# https://python-oracledb.readthedocs.io/en/latest/user_guide/tracing.html
LABELS = ("action", "client_identifier", "clientinfo", "dbop", "econtext_id", "module")


# What a row holds of such a column goes back to the server when it is read.
READ_LATER = frozenset(
    getattr(oracledb, f"DB_TYPE_{kind}") for kind in ("BFILE", "BLOB", "CLOB", "CURSOR", "NCLOB")
)


class OracleSession(Session):
    """What the pool knows of an Oracle session besides; entered while a call is under way."""

    def __init__(self) -> None:
        super().__init__(lambda _timeout: None, {})
        self.socket: socket.socket | None = None  # None: not to be had
        self.labels: dict[str, Any] = {}  # as set in this lease ...
        self.own_labels: dict[str, Any] = {}  # ... and before it, by who set the session up
        self.touched = False  # an attribute or a label was set
        self.running = 0  # calls under way
        self.quiet: threading.Event | None = None  # set when they are over, for who waits
        self.failed = False  # a call has raised an error: the connection may be gone
        self.interrupted = False  # a call was left by a KeyboardInterrupt or its like
        self.closed = False
        self.temporary: frozenset[str] = frozenset()  # tables that keep rows for the session
        self.read_later = False  # in this lease values were asked for that read from the server
        self.dialect: Any = None  # what Django has found out about the server's LIKE

    def __enter__(self) -> Self:
        self.running += 1
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.running -= 1
        if kind is not None:
            self.failed = True
            self.interrupted |= not issubclass(kind, Exception)
        if self.quiet is not None and not self.running:
            self.quiet.set()

    def note(self, reason: str | None) -> None:
        """Take note of what may have left state in the session; the first reason stays."""
        if self.effect is None:
            self.effect = reason

    def observe(self, statement: Any) -> None:
        """Take note of what a statement may leave behind."""
        if self.effect is None:
            known = isinstance(statement, str)
            self.effect = self._effect(statement) if known else "unknown kind of statement"

    def _effect(self, sql: str) -> str | None:
        reason = effect(sql)
        if reason is None and not self.temporary.isdisjoint(filled(sql)):
            return "rows in a temporary table"
        return reason

    def wait_until_quiet(self, timeout: float) -> bool:
        """Wait `timeout` seconds at most until no call is under way; tell whether that is so."""
        self.quiet = threading.Event()
        return not self.running or self.quiet.wait(timeout)

    def cut_off(self) -> None:
        """End the conversation with the server, whoever is in the middle of it."""
        if self.socket is not None:
            with contextlib.suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)


class Connection(oracledb.Connection):
    """A connection of python-oracledb that keeps a `Session`."""

    session: OracleSession

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.__dict__["session"] = OracleSession()  # for what is done while connecting
        super().__init__(*args, **kwargs)

    def begin_session(self) -> None:
        """Start to take note; what has been set until now is the baseline."""
        session = self.session
        session.socket = socket_of(self)
        session.readable = self._watch()
        session.effect = None
        self.keep_attributes()

    def _watch(self) -> Callable[[int], Any]:
        if self.session.socket is not None:
            return sockets.watch(self.session.socket.fileno())
        alive = weakref.WeakMethod(self.is_healthy)

        def unhealthy(_timeout: int) -> bool:
            is_healthy = alive()
            return is_healthy is None or not is_healthy()

        return unhealthy

    def keep_attributes(self) -> None:
        """Take the present attributes and labels for those that every lease starts with."""
        session = self.session
        session.baseline = {name: getattr(self, name) for name in ATTRIBUTES}
        session.own_labels |= session.labels
        session.labels = {}
        session.touched = False

    def is_altered(self) -> bool:
        """Tell whether the user has set an attribute, other than `autocommit`, or a label."""
        session = self.session
        return bool(session.labels) or any(
            getattr(self, name) != value
            for name, value in session.baseline.items()
            if name != "autocommit"
        )

    def put_back(self) -> None:
        """Undo what was set on this object. No round trip."""
        session = self.session
        for name, value in session.baseline.items():
            if getattr(self, name) != value:
                setattr(self, name, value)
        for name in tuple(session.labels):
            setattr(self, name, session.own_labels.get(name))
        session.labels = {}
        session.touched = False

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        session = self.session
        if name in LABELS:
            session.labels[name] = value
            session.touched = True
        elif name in session.baseline or name == "callTimeout":  # its name of old
            session.touched = True
        elif name[0] != "_" and hasattr(oracledb.Connection, name):
            session.note(f"attribute {name}")

    def cursor(self, *args: Any, **kwargs: Any) -> Any:
        """As the driver's, for the present lease."""
        cursor: Any = super().cursor(*args, **kwargs)
        cursor.__class__ = tracked_cursor(cursor.__class__)
        session = self.session
        session.take_by_hand()
        cursor.lease = session.lease
        return cursor

    def close(self) -> None:
        """As the driver's; the pool then takes the connection out of service."""
        self.session.closed = True
        super().close()

    def commit(self) -> None:
        """As the driver's."""
        with self.session:
            super().commit()

    def rollback(self) -> None:
        """As the driver's."""
        with self.session:
            super().rollback()

    def ping(self) -> None:
        """As the driver's."""
        with self.session:
            super().ping()


# What else a connection offers. The first read, or make objects that last as long as their user
# holds them; the second take a statement; all others, also those of versions to come, count as
# leaving something behind.
HARMLESS = frozenset(
    {
        "cancel",
        "createlob",
        "decode_oson",
        "encode_oson",
        "gettype",
        "is_healthy",
        "msgproperties",
        "xid",
    }
)
TAKE_STATEMENTS = frozenset({"fetch_df_all", "fetch_df_batches"})


def _taking_note(name: str, method: Any) -> Any:
    @functools.wraps(method)
    def noted(self: Connection, *args: Any, **kwargs: Any) -> Any:
        if name in TAKE_STATEMENTS:
            self.session.take_by_hand()
            self.session.observe(kwargs["statement"] if "statement" in kwargs else args[0])
        else:
            self.session.note(f"connection.{name}")
        with self.session:
            return method(self, *args, **kwargs)

    return noted


for _name, _method in inspect.getmembers_static(oracledb.Connection, inspect.isfunction):
    if _name[0] != "_" and _name not in HARMLESS and _name not in vars(Connection):
        setattr(Connection, _name, _taking_note(_name, _method))


class Cursor(oracledb.Cursor):
    """A cursor of python-oracledb that classifies what it executes.

    It serves the lease in which it was made; later its connection is somebody else's.
    """

    lease = -1

    def _of_lease(self) -> OracleSession:
        session: OracleSession = self.connection.session  # type: ignore[attr-defined] # it is ours
        if self.lease != session.lease:
            raise StaleCursorError("the cursor's connection has been given back to the pool")
        return session

    def execute(self, statement: Any, *args: Any, **kwargs: Any) -> Any:
        """As the driver's. Raises `StaleCursorError` as well."""
        with self._of_lease() as session:
            session.observe(self.statement if statement is None else statement)
            answer = super().execute(statement, *args, **kwargs)
            if not session.read_later:
                columns = self.description or ()
                session.read_later = any(column[1] in READ_LATER for column in columns)
            return answer

    def executemany(self, statement: Any, *args: Any, **kwargs: Any) -> None:
        """As the driver's. Raises `StaleCursorError` as well."""
        with self._of_lease() as session:
            session.observe(self.statement if statement is None else statement)
            super().executemany(statement, *args, **kwargs)

    def parse(self, statement: str) -> None:
        """As the driver's. Raises `StaleCursorError` as well."""
        with self._of_lease() as session:
            session.observe(statement)
            super().parse(statement)

    def callproc(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """As the driver's. Raises `StaleCursorError` as well."""
        with self._of_lease() as session:
            session.note(f"procedure {name:.60}")
            return super().callproc(name, *args, **kwargs)

    def callfunc(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """As the driver's. Raises `StaleCursorError` as well."""
        with self._of_lease() as session:
            session.note(f"function {name:.60}")
            return super().callfunc(name, *args, **kwargs)

    def fetchone(self) -> Any:
        """As the driver's. Raises `StaleCursorError` as well."""
        with self._of_lease():
            return super().fetchone()

    def fetchmany(self, *args: Any, **kwargs: Any) -> Any:
        """As the driver's. Raises `StaleCursorError` as well."""
        with self._of_lease():
            return super().fetchmany(*args, **kwargs)

    def fetchall(self) -> Any:
        """As the driver's. Raises `StaleCursorError` as well."""
        with self._of_lease():
            return super().fetchall()

    def __next__(self) -> Any:
        self._of_lease()
        return super().__next__()  # type: ignore[no-untyped-call] # the driver's

    def scroll(self, *args: Any, **kwargs: Any) -> None:
        """As the driver's. Raises `StaleCursorError` as well."""
        with self._of_lease():
            super().scroll(*args, **kwargs)


@functools.cache
def tracked_cursor(cursor_class: Any) -> type[Any]:
    """Return the tracked variety of a cursor class, always the same one."""
    return _tracked(Cursor, cursor_class, oracledb.Cursor)


@functools.cache
def tracked_connection(connection_class: Any) -> type[Connection]:
    """Return the tracked variety of a connection class, always the same one."""
    return _tracked(Connection, connection_class, oracledb.Connection)


def _tracked(mixin: type[Any], given: type[Any], plain: type[Any]) -> type[Any]:
    if issubclass(given, mixin):
        return given
    if given is plain:
        return mixin

    class Tracked(mixin, given):  # type: ignore[misc] # any class of the driver's kind
        __doc__ = given.__doc__

    return Tracked

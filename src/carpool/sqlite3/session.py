"""Connections and cursors of `sqlite3` that notice what is done to them.

Statements are classified by the cursors, which also tell when a thread is in the middle of one:
to close it then would crash the interpreter, as sqlite3's own lock does not cover the fetching.

A cursor made by hand (`sqlite3.Cursor(connection)`) tells nothing. It is noticed by the connection,
which `sqlite3` calls to compile a text that it does not know yet, and costs the connection. What
nobody sees is one that executes only texts that are in the connection's cache of compiled
statements already: it stays usable after its lease.
"""

from __future__ import annotations

import contextlib
import sqlite3
import weakref
from threading import get_ident
from typing import TYPE_CHECKING, Any

from carpool.errors import StaleCursorError
from carpool.sessions import Session
from carpool.sqlite3.effects import effect
from carpool.sqlite3.files import Opened


def nothing_to_see(_timeout: int) -> bool:
    """Stand for the look at a file that is not open yet."""
    return False


class SQLiteSession(Session):
    """What the pool knows of a SQLite connection besides."""

    def __init__(self, opened: Opened) -> None:
        super().__init__(nothing_to_see, {})
        self.opened = opened
        self.touched = False  # an attribute of the connection was set
        self.untracked = False  # there was a cursor of which nobody knows what it is at
        self.maker: int | None = None  # the thread that made the last cursor
        # Weakly, what was made in this lease and may hold the file; by `id`, so that the dead give
        # way to the living.
        self.made: dict[int, weakref.ref[Any]] = {}


# What users set on a connection object, and the next one must not find.
ATTRIBUTES = ("row_factory", "text_factory", "isolation_level", "autocommit")
DJANGOS = (None, "")  # isolation levels, with and without autocommit

if TYPE_CHECKING:
    from collections.abc import Iterator

    ConnectionBase = sqlite3.Connection
    CursorBase = sqlite3.Cursor
else:
    ConnectionBase = CursorBase = object


class Noticing(ConnectionBase):
    """A mixin for `sqlite3.Connection`: keeps a `Session`."""

    session: SQLiteSession

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        object.__setattr__(self, "session", SQLiteSession(Opened(None)))
        super().__init__(*args, **kwargs)

    def begin_session(self, opened: Opened) -> None:
        """Start to take note; what has been done until now is how a session begins."""
        self.close_cursors()
        object.__setattr__(self, "session", SQLiteSession(opened))
        self.keep_attributes()

    def keep_attributes(self) -> None:
        """Take what has been done to this object for how a lease begins."""
        own = vars(self).keys() - {"session"}  # which would hold itself
        self.session.baseline = {
            name: getattr(self, name) for name in (*ATTRIBUTES, *own) if hasattr(self, name)
        }
        self.session.touched = False

    def restore_attributes(self) -> None:
        """Undo what was done to this object; only outside a transaction, which it would commit."""
        baseline = self.session.baseline
        for name in vars(self).keys() - baseline.keys() - {"session"}:
            delattr(self, name)
        for name, value in baseline.items():
            if getattr(self, name, self) != value:
                setattr(self, name, value)
        self.session.touched = False

    def roll_back(self) -> None:
        """End the transaction, whoever has begun it."""
        if getattr(self, "autocommit", None) is True:  # Python 3.12: then `rollback` does nothing
            self.ask("ROLLBACK")
        else:
            self.rollback()

    def is_altered(self) -> bool:
        """Tell whether the user has set an attribute, other than Django's switch of autocommit."""
        own = {
            name: getattr(self, name) for name in (*ATTRIBUTES, *vars(self)) if hasattr(self, name)
        }
        del own["session"]
        if own["isolation_level"] in DJANGOS:
            own["isolation_level"] = self.session.baseline["isolation_level"]
        return own != self.session.baseline

    def has_rows(self) -> bool:
        """Tell whether something made in this lease may have more to give."""
        for ref in self.session.made.values():
            each = ref()
            if each is not None and not getattr(each, "done", False):
                return True
        return False

    def in_use(self) -> bool:
        """Tell whether a transaction is open, or a cursor that may have more to give."""
        return self.in_transaction or any(True for _ in self._living())

    def close_cursors(self) -> bool:
        """End what was made in this lease: an unfinished SELECT keeps a lock on the file.

        Tells whether that was possible: another thread may be using one of them. That one is
        refused from its next call on.
        """
        session = self.session
        for ref in list(session.made.values()):
            each = ref()
            if each is not None and not _ended(each):
                return False
        session.made.clear()
        return True

    def _living(self) -> Iterator[Any]:
        return filter(None, [ref() for ref in list(self.session.made.values())])

    def under_way(self) -> bool:
        """Tell whether some thread is in the middle of a cursor's call."""
        return any(getattr(each, "at_work", False) for each in self._living())

    def held_elsewhere(self) -> bool:
        """Tell whether another thread may be in the middle of something, or about to go on."""
        session = self.session
        if session.untracked or self.under_way():
            return True
        return session.maker != get_ident() and any(True for _ in self._living())

    def __call__(self, *args: Any) -> Any:
        """Compile a statement; it is `sqlite3` that calls this."""
        if not self.under_way():
            self._note_untracked()
        if self.session.effect is None:
            self.session.effect = effect_of(*args)
        return super().__call__(*args)

    def __setattr__(self, name: str, value: Any) -> None:
        self.session.touched = True
        super().__setattr__(name, value)

    def _note(self, what: str) -> None:
        if self.session.effect is None:
            self.session.effect = what

    def _note_untracked(self) -> None:
        self.session.untracked = True
        self._note("untracked cursor")

    def close(self) -> None:
        """As sqlite3's."""
        super().close()
        self.session.opened.closed = True
        self._note("closed")

    def commit(self) -> None:
        """As sqlite3's."""
        self.session.check_holder()
        super().commit()

    def rollback(self) -> None:
        """As sqlite3's."""
        self.session.check_holder()
        super().rollback()

    def cursor(self, factory: Any = sqlite3.Cursor) -> Any:
        """As sqlite3's, for the present lease."""
        self.session.take_by_hand()
        return self._make_cursor(factory)

    def ask(self, sql: str) -> Any:
        """Execute a statement of ours, with a cursor that no subclass knows of; return that."""
        return self._make_cursor(sqlite3.Cursor).execute(sql)

    def _make_cursor(self, factory: Any) -> Any:
        variety = _varieties.get(factory)
        if variety is None and isinstance(factory, type):
            variety = tracked(factory)
        cursor: Any = super().cursor(variety or factory)
        if not isinstance(cursor, Tracked):
            self._note_untracked()
            return cursor
        self.session.maker = get_ident()
        self.session.made[id(cursor)] = weakref.ref(cursor)
        return cursor

    def execute(self, *args: Any) -> Any:
        """As sqlite3's, whose own would make a cursor that takes no note."""
        return self.cursor().execute(*args)

    def executemany(self, *args: Any) -> Any:
        """As sqlite3's."""
        return self.cursor().executemany(*args)

    def executescript(self, *args: Any) -> Any:
        """As sqlite3's."""
        return self.cursor().executescript(*args)

    def blobopen(self, *args: Any, **kwargs: Any) -> sqlite3.Blob:
        """As sqlite3's, for the present lease."""
        self.session.take_by_hand()
        blob = super().blobopen(*args, **kwargs)
        self.session.made[id(blob)] = weakref.ref(blob)
        return blob

    def backup(self, *args: Any, **kwargs: Any) -> None:
        """As sqlite3's."""
        self.session.take_by_hand()
        super().backup(*args, **kwargs)


def _ended(made: Any) -> bool:
    """Close a cursor or blob, for good; tells whether it could be closed."""
    if isinstance(made, sqlite3.Blob):
        made.close()
        return True
    # Made stale first, so that no call begins between the look and the closing: see `Tracked`.
    with contextlib.suppress(TypeError):  # its class has slots of its own: it just gets closed
        made.__class__ = Stale
    if made.at_work:
        return False
    try:
        sqlite3.Cursor.close(made)
    except sqlite3.ProgrammingError:  # a call that is not noted is in the middle of it
        return False
    return True


def _noting(name: str) -> Any:
    """Return the method of that name, taking note."""

    def noting(self: Noticing, *args: Any, **kwargs: Any) -> Any:
        self._note(name)
        return getattr(super(Noticing, self), name)(*args, **kwargs)

    noting.__name__ = name
    noting.__doc__ = "As sqlite3's; the connection serves no lease after this one."
    return noting


# What changes a connection for good. (`backup` changes its argument: one of ours may be it.)
CHANGES = (
    "create_aggregate",
    "create_collation",
    "create_function",
    "create_window_function",
    "deserialize",
    "enable_load_extension",
    "load_extension",
    "set_authorizer",
    "set_progress_handler",
    "set_trace_callback",
    "setconfig",  # Python 3.12
    "setlimit",
)
for _name in CHANGES:
    if hasattr(sqlite3.Connection, _name):  # extensions and `deserialize` depend on the build
        setattr(Noticing, _name, _noting(_name))


class Connection(Noticing, sqlite3.Connection):
    """sqlite3's connection, with a `Session`."""


def effect_of(*args: Any) -> str | None:
    """Classify any kind of query."""
    return effect(args[0]) if args and isinstance(args[0], str) else "unknown kind of query"


class Tracked(CursorBase):
    """A mixin for sqlite3's cursor classes: classifies what they execute, notes what goes on.

    In each call `super()` comes after the note: if the cursor has become `Stale` meanwhile, that
    leads to `Refusing`. So whoever makes it stale and finds no note may close it.
    """

    connection: Any
    at_work = False  # some thread is in a call
    done = True  # no row is to be had; who has read enough may say so

    def execute(self, sql: Any, *args: Any) -> Any:
        """As sqlite3's."""
        session = self.connection.session
        if session.effect is None:
            session.effect = effect(sql) if type(sql) is str else effect_of(sql)
        try:
            self.at_work = self.done = True
            answer = super().execute(sql, *args)
            if self.description is not None:
                self.done = False
            return answer
        finally:
            self.at_work = False

    def executemany(self, sql: Any, *args: Any) -> Any:
        """As sqlite3's."""
        session = self.connection.session
        if session.effect is None:
            session.effect = effect_of(sql)
        try:
            self.at_work = True
            return super().executemany(sql, *args)
        finally:
            self.at_work = False

    def executescript(self, *args: Any) -> Any:
        """As sqlite3's. Any script counts as an effect: it is more than one statement."""
        session = self.connection.session
        session.effect = session.effect or "script"
        try:
            self.at_work = True
            return super().executescript(*args)
        finally:
            self.at_work = False

    def __next__(self) -> Any:
        """As sqlite3's."""
        try:
            self.at_work = True
            return super().__next__()
        except StopIteration:
            self.done = True
            raise
        finally:
            self.at_work = False

    def fetchone(self) -> Any:
        """As sqlite3's."""
        try:
            self.at_work = True
            row = super().fetchone()
            if row is None:
                self.done = True
            return row
        finally:
            self.at_work = False

    def fetchmany(self, *args: Any, **kwargs: Any) -> Any:
        """As sqlite3's."""
        try:
            self.at_work = True
            rows = super().fetchmany(*args, **kwargs)
            if not rows:
                self.done = True
            return rows
        finally:
            self.at_work = False

    def fetchall(self) -> Any:
        """As sqlite3's."""
        try:
            self.at_work = True
            rows = super().fetchall()
            self.done = True
            return rows
        finally:
            self.at_work = False

    def close(self) -> None:
        """As sqlite3's."""
        try:
            self.at_work = True
            super().close()
            self.done = True
        finally:
            self.at_work = False


def _refuse(*_args: Any, **_kwargs: Any) -> Any:
    raise StaleCursorError("the cursor's connection has been given back to the pool")


class Refusing(sqlite3.Cursor):
    """What a call of `Tracked` comes to if the cursor becomes stale in the middle of it."""

    execute = executemany = executescript = _refuse
    fetchone = fetchmany = fetchall = __next__ = _refuse

    def close(self) -> None:
        """Leave it to the pool, which may be at it."""


class Stale(Tracked, Refusing):
    """What a cursor becomes when its connection is given back: closed for good."""

    execute = executemany = executescript = _refuse
    fetchone = fetchmany = fetchall = __next__ = _refuse
    close = Refusing.close


class Cursor(Tracked, sqlite3.Cursor):
    """sqlite3's cursor, tracked."""


_varieties: dict[type[Any], type[Any]] = {sqlite3.Connection: Connection, sqlite3.Cursor: Cursor}


def _variety(mixin: type[Any], base: type[Any]) -> type[Any]:
    if issubclass(base, mixin):
        return base
    known = _varieties.get(base)
    if known is None:
        made = type(base.__name__, (mixin, base), {"__doc__": base.__doc__})
        known = _varieties.setdefault(base, made)
    return known


def tracked(cursor_class: type[Any]) -> type[Any]:
    """Return the tracked variety of a cursor class, always the same one."""
    return _variety(Tracked, cursor_class)


def noticing(connection_class: type[Any]) -> type[Any]:
    """Return the variety of a connection class that keeps a `Session`, always the same one."""
    return _variety(Noticing, connection_class)

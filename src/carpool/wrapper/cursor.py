"""Django's cursors, made to outlast their connection: each statement gets one if it must."""

from __future__ import annotations

import contextlib
from functools import partial
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final

from django.apps import apps
from django.db.backends.utils import CursorWrapper

from carpool.errors import StaleCursorError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carpool.wrapper.leases import ShortLeases

# Of the databases' cursors: what neither asks the server nor changes how the cursor works.
_HARMLESS: Final = {
    *("arraysize", "closed", "description", "itersize", "lastrowid", "messages", "name", "query"),
    *("rowcount", "rownumber", "scrollable", "statement", "statusmessage", "warning_count"),
    *("close", "fetchall", "fetchmany", "fetchone", "mogrify", "nextset", "results", "scroll"),
    *("set_result", "setinputsizes", "setoutputsize"),
}
_CLOSED: Final = object()  # in place of a lease
_CARRIED: Final = ("arraysize", "itersize", "row_factory")  # from one cursor to the next


class LooseCursor(CursorWrapper):
    """A mixin for Django's wrappers of cursors.

    The database's cursor inside belongs to a lease. When that has ended, the next statement takes
    another connection, and a cursor of that. As all cursors, it is for one thread at a time.
    """

    db: ShortLeases
    lease: object = _CLOSED  # the one that `cursor` belongs to
    era: object  # of Django's connection, which ends with its `close`
    name: str | None = None  # of a server-side cursor
    kept = False  # the connection, until `close`

    def __init__(self, cursor: Any, db: ShortLeases) -> None:
        self.cursor, self.db = cursor, db
        self.lease, self.era = db.lease, db.era

    def _present(self) -> None:
        """Have a cursor of the present lease, or of a new one.

        Raises what the database does for a closed cursor, and StaleCursorError when Django's
        connection has been closed since.
        """
        db, former = self.db, self.cursor
        if self.lease is db.lease:
            return
        if self.lease is _CLOSED:
            raise db.features.closed_cursor_error_class("the cursor is closed")
        if self.era is not db.era:
            raise StaleCursorError("the cursor's connection has been closed")
        with contextlib.suppress(Exception):
            former.close()
        db.ready()
        self.cursor = cursor = db.database_cursor(self.name)
        self.lease = db.lease
        for name in _CARRIED:
            value = getattr(former, name, None)
            if value is not None and value != getattr(cursor, name):
                setattr(cursor, name, value)

    # -------------------------------------------------------------- statements

    # Few calls: this is done for every statement.

    def _execute_with_wrappers(self, sql: Any, params: Any, many: bool, executor: Any) -> Any:
        db = self.db
        db.holds += 1  # so that no finalizer gives the connection back meanwhile
        try:
            if self.lease is not db.lease:
                self._present()
            note = db.look(sql if type(sql) is str else str(sql))
            if note is not None:
                db.before(note, sql)
            if db.execute_wrappers:
                answer = super()._execute_with_wrappers(sql, params, many, executor)  # type: ignore[misc] # the stubs leave it out
            else:
                answer = executor(sql, params)
            db.trail.fresh = False
            if self._is_read():
                db.reading.discard(id(self))
            else:
                db.reading.add(id(self))
        except BaseException:
            db.holds -= 1
            self._let_go()
            raise
        db.holds -= 1
        if self.lease is not db.lease:  # an execute wrapper has closed the connection
            return answer
        if note is None and db.may_begin and db.connection.session.effect is None:
            db.rest()
        else:
            db.after(note, sql)
        return answer

    def _execute(self, sql: Any, params: Any, *more: Any) -> Any:
        db = self.db
        if db.needs_rollback or not apps.ready:
            return super()._execute(sql, params, *more)  # type: ignore[misc] # which raises, or warns
        try:
            if params is None:
                return self.cursor.execute(sql)
            return self.cursor.execute(sql, params)
        except Exception:
            with db.wrap_database_errors:
                raise

    def callproc(self, procname: Any, *args: Any, **kwargs: Any) -> Any:
        """As Django's; a procedure may do anything."""
        self._hold()
        answer = super().callproc(procname, *args, **kwargs)
        self.db.after(None, procname)
        return answer

    def _is_read(self) -> bool:
        """Tell whether nothing that belongs to a statement is left on the connection.

        A new key can be asked after by the next statement (`LAST_INSERT_ID()`), which comes with
        the same cursor if it is still open then.
        """
        if self.kept or self.name is not None:
            return False
        return not getattr(self.cursor, "lastrowid", None)

    def _let_go(self) -> None:
        """Do without the connection, if it is still the one."""
        db = self.db
        if self.lease is db.lease:
            db.reading.discard(id(self))
            db.rest()

    def close(self) -> None:
        """As the database's."""
        try:
            self.cursor.close()
        finally:
            if self.lease is self.db.lease:
                self._let_go()
            self.lease = _CLOSED

    def __del__(self) -> None:
        db = self.db
        if self.lease is not db.lease:
            return
        db.reading.discard(id(self))
        if db.thread_ident == get_ident():
            del self.cursor  # nobody else may have it
            with contextlib.suppress(Exception):
                db.rest()

    # -------------------------------------------------------------------- rows
    # As Django's, which makes a function anew for each call.

    def fetchone(self) -> Any:
        """As the database's."""
        try:
            return self.cursor.fetchone()
        except Exception:
            with self.db.wrap_database_errors:
                raise

    def fetchmany(self, *args: Any, **kwargs: Any) -> Any:
        """As the database's."""
        try:
            return self.cursor.fetchmany(*args, **kwargs)
        except Exception:
            with self.db.wrap_database_errors:
                raise

    def fetchall(self) -> Any:
        """As the database's."""
        try:
            return self.cursor.fetchall()
        except Exception:
            with self.db.wrap_database_errors:
                raise

    # --------------------------------------------------------------- the others

    @property
    def connection(self) -> Any:
        """A stand-in for the connection: the cursor's own may be somebody else's by now."""
        return self.db.stand_in()

    def __getattr__(self, attr: str) -> Any:
        value = super().__getattr__(attr)
        if attr in _HARMLESS or attr.startswith("_"):
            return value
        if self.lease is self.db.lease:
            self._hold()
        elif callable(value):
            return partial(self._call, attr)  # not now: who only looks shall lose no rows
        else:
            self.kept = True  # from the next statement on
        return value

    def _call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        self._hold()
        return getattr(self.cursor, method)(*args, **kwargs)

    def _hold(self) -> None:
        """Keep the connection, and the database's cursor, until `close`.

        Who knows how long COPY and its like take, or what has been registered in `adapters`.
        """
        db = self.db
        db.holds += 1
        try:
            self._present()
            self.kept = True
            db.reading.add(id(self))
        finally:
            db.holds -= 1

    def copy(self, *args: Any, **kwargs: Any) -> Any:
        """As Django's for psycopg, or the database's."""
        self._hold()
        method = getattr(super(), "copy", None) or self.cursor.copy
        return method(*args, **kwargs)


class StreamingCursor(LooseCursor):
    """The same where rows are not yet with the client when a statement has been executed."""

    over = False  # all of them have been read

    def _is_read(self) -> bool:
        self.over = False
        return self.cursor.description is None and super()._is_read()

    def fetchone(self) -> Any:
        """As the database's."""
        if self.over:
            return None
        row = super().fetchone()
        if row is None:
            self._read()
        return row

    def fetchmany(self, *args: Any, **kwargs: Any) -> Any:
        """As the database's."""
        if self.over:
            return []
        size = args[0] if args else kwargs.get("size", self.cursor.arraysize)
        rows = super().fetchmany(*args, **kwargs)
        if len(rows) < size:
            self._read()
        return rows

    def fetchall(self) -> Any:
        """As the database's."""
        if self.over:
            return []
        rows = super().fetchall()
        self._read()
        return rows

    def __iter__(self) -> Iterator[Any]:
        if not self.over:
            yield from super().__iter__()
            self._read()

    def _read(self) -> None:
        """Note that all rows have been read."""
        if id(self) in self.db.reading and self.lease is self.db.lease:
            if hasattr(self.cursor, "done"):  # else it gives its rows without the connection
                self.over = self.cursor.done = True
            self._let_go()


class _Varieties(dict[type[Any], type[Any]]):
    """The varieties of wrappers of cursors that have a mixin."""

    def __init__(self, mixin: type[LooseCursor]) -> None:
        super().__init__()
        self._mixin = mixin

    def __missing__(self, wrapper: type[Any]) -> type[Any]:
        members = {"__doc__": wrapper.__doc__}
        made = self[wrapper] = type(wrapper.__name__, (self._mixin, wrapper), members)
        return made


#: By whether all rows are with the client when a statement has been executed.
PLAIN: Final = {True: LooseCursor, False: StreamingCursor}
_LOOSE: Final = {buffers: _Varieties(mixin) for buffers, mixin in PLAIN.items()}


def become_loose(cursor: Any, *, buffers: bool) -> Any:
    """Make a cursor that somebody else has wrapped, in a CursorWrapper, one of these."""
    cursor.__class__ = _LOOSE[buffers][type(cursor)]
    cursor.lease, cursor.era = cursor.db.lease, cursor.db.era
    return cursor

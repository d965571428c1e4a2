"""The cursor that outlasts its connection: each statement gets one from the pool if it must."""

from __future__ import annotations

import contextlib
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final, Self

from carpool.errors import StaleCursorError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carpool.wrapper.transaction import Pooled

# Methods of the databases' cursors that ask nothing of the server.
_LOCAL: Final = {
    *("mogrify", "scroll", "nextset", "results", "set_result", "setinputsizes", "setoutputsize"),
    *("row_factory", "rowfactory", "tzinfo_factory", "inputtypehandler", "outputtypehandler"),
}


class LooseCursor:
    """Stands for a database's cursor, under Django's own wrappers of cursors.

    It belongs to a lease while its rows are being read. When that has ended, its next statement
    takes another connection, and a cursor of that. What was set on it (`arraysize`, `row_factory`)
    stays set. As all cursors, it is for one thread at a time.
    """

    _cursor: Any  # the database's
    _lease: object  # the one `_cursor` belongs to
    _over: bool  # all rows have been read from a database that keeps them
    _set: dict[str, Any]  # attributes, by the user

    def __init__(self, wrapper: Pooled, name: str | None) -> None:
        # Not by `self.x = x`, which is for the database's cursor.
        self.__dict__.update(_wrapper=wrapper, _name=name, _set={}, _over=False)
        self._renew()
        self.__dict__["_era"] = wrapper.era

    _wrapper: Pooled
    _name: str | None
    _era: object

    def _renew(self) -> Any:
        """Make a cursor for the present lease, or a new one."""
        wrapper = self._wrapper
        wrapper.ready()
        cursor = wrapper.database_cursor(self._name)
        for name, value in self._set.items():
            setattr(cursor, name, value)
        self.__dict__.update(_cursor=cursor, _lease=wrapper.lease, _over=False)
        return cursor

    def _present(self) -> Any:
        """Return the database's cursor, of the present lease.

        Raises StaleCursorError when Django's connection has been closed since.
        """
        if self._lease is self._wrapper.lease:
            return self._cursor
        if self._era is not self._wrapper.era:
            raise StaleCursorError("the cursor's connection has been closed")
        with contextlib.suppress(Exception):
            self._cursor.close()
        return self._renew()

    # -------------------------------------------------------------- statements

    def execute(self, sql: Any, *args: Any, **kwargs: Any) -> Any:
        """As the database's."""
        return self._run("execute", sql, args, kwargs)

    def executemany(self, sql: Any, *args: Any, **kwargs: Any) -> Any:
        """As the database's."""
        return self._run("executemany", sql, args, kwargs)

    def callproc(self, procname: Any, *args: Any, **kwargs: Any) -> Any:
        """As the database's."""
        return self._run("callproc", procname, args, kwargs)

    def _run(self, method: str, sql: Any, args: Any, kwargs: Any) -> Any:
        wrapper = self._wrapper
        wrapper.holds += 1  # so that no finalizer gives the connection back meanwhile
        try:
            cursor = self._cursor if self._lease is wrapper.lease else self._present()
            self.__dict__["_over"] = False
            wrapper.before(sql)
            wrapper.reading.add(id(self))
            answer = getattr(cursor, method)(sql, *args, **kwargs)
            if self._is_read(cursor):
                wrapper.reading.discard(id(self))
        except BaseException:
            wrapper.holds -= 1
            wrapper.reading.discard(id(self))
            wrapper.rest()
            raise
        wrapper.holds -= 1
        wrapper.after(sql)
        return self if answer is cursor else answer

    def _is_read(self, cursor: Any) -> bool:
        """Tell whether nothing that belongs to the statement is left on the connection.

        A new key can be asked after by the next statement (`LAST_INSERT_ID()`), which comes with
        the same cursor if it is still open then.
        """
        if self._name is not None:
            return False
        if cursor.description is None:
            return not getattr(cursor, "lastrowid", None)
        return self._wrapper.buffers

    # -------------------------------------------------------------------- rows

    def fetchone(self) -> Any:
        """As the database's."""
        if self._over:
            return None
        row = self._cursor.fetchone()
        if row is None:
            self._read()
        return row

    def fetchmany(self, *args: Any, **kwargs: Any) -> Any:
        """As the database's."""
        if self._over:
            return []
        size = args[0] if args else kwargs.get("size", self._cursor.arraysize)
        rows = self._cursor.fetchmany(*args, **kwargs)
        if len(rows) < size:
            self._read()
        return rows

    def fetchall(self) -> Any:
        """As the database's."""
        if self._over:
            return []
        rows = self._cursor.fetchall()
        self._read()
        return rows

    def __iter__(self) -> Iterator[Any]:
        if not self._over:
            yield from self._cursor
            self._read()

    def _read(self) -> None:
        """Note that all rows have been read."""
        if id(self) not in self._wrapper.reading or self._lease is not self._wrapper.lease:
            return
        if self._name is None:
            if not self._wrapper.buffers:
                self.__dict__["_over"] = self._cursor.done = True
            self._let_go()

    def _let_go(self) -> None:
        self._wrapper.reading.discard(id(self))
        self._wrapper.rest()

    def close(self) -> None:
        """As the database's."""
        try:
            self._cursor.close()
        finally:
            if self._lease is self._wrapper.lease:
                self._let_go()

    def __del__(self) -> None:
        wrapper = self.__dict__.get("_wrapper")
        if wrapper is None or self.__dict__.get("_lease") is not wrapper.lease:
            return
        wrapper.reading.discard(id(self))
        if wrapper.thread_ident == get_ident() and not wrapper.holds:
            with contextlib.suppress(Exception):
                if self._name is None:  # else to close it takes a round trip
                    self._cursor.close()
                wrapper.rest()

    # --------------------------------------------------------------- the others

    @property
    def connection(self) -> Any:
        """The connection as Django's wrapper has it: the one used here may be another's by now."""
        return self._wrapper.connection

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._cursor, name)
        if name in _LOCAL or not callable(value):
            return value
        # COPY and its like: who knows how long it takes. The connection stays until `close`.
        cursor = self._present()
        self._wrapper.reading.add(id(self))
        return getattr(cursor, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._cursor, name, value)
        self._set[name] = value

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property  # type: ignore[misc] # what `isinstance` asks; nobody sets it here
    def __class__(self) -> Any:
        return type(self._cursor)

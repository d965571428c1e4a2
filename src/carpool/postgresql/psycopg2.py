"""psycopg 2: connections and cursors that notice session effects, and their driver.

psycopg 2 cannot send a statement without waiting for its answer; so a reset, and what little else
needs the server, is done by the pool's workers. Cursors that are made from `psycopg2.extensions`
directly, not by the connection, are not seen.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import psycopg2
import psycopg2.extras
from psycopg2 import extensions as ext
from psycopg2 import sql

from carpool import sockets
from carpool.driver import AS_IT_IS, Limits
from carpool.errors import StaleCursorError
from carpool.keys import freeze
from carpool.postgresql import limits
from carpool.postgresql.common import PostgreSQLDriver
from carpool.postgresql.effects import effect
from carpool.postgresql.params import (
    database_name,
    patience,
    startup_options,
)
from carpool.sessions import Session
from carpool.telemetry.limits import visit

if TYPE_CHECKING:
    from collections.abc import Mapping

IDLE = ext.TRANSACTION_STATUS_IDLE
ACTIVE = ext.TRANSACTION_STATUS_ACTIVE
IN_TRANSACTION = (ext.TRANSACTION_STATUS_INTRANS, ext.TRANSACTION_STATUS_INERROR)


class Connection(ext.connection):  # type: ignore[misc] # untyped
    """A psycopg 2 connection that keeps a `Session`."""

    session: Session

    def cursor(self, *args: Any, **kwargs: Any) -> Any:
        """As psycopg's; a class given in `cursor_factory` is made to take note as well."""
        if kwargs.get("cursor_factory") is not None:
            kwargs["cursor_factory"] = tracked(kwargs["cursor_factory"])
        cursor = super().cursor(*args, **kwargs)
        session = self.session
        session.take_by_hand()
        cursor.lease = session.lease
        if cursor.withhold:
            session.effect = session.effect or "cursor WITH HOLD"
        return cursor

    def close(self) -> None:
        """As psycopg's; the pool then waits for the server to hang up."""
        if hasattr(self, "session") and self.session.farewell is None:
            with contextlib.suppress(psycopg2.Error, OSError):
                self.session.farewell = sockets.Farewell(self.fileno())
        super().close()

    def commit(self) -> None:
        """As psycopg's."""
        self.session.check_holder()
        super().commit()

    def rollback(self) -> None:
        """As psycopg's."""
        self.session.check_holder()
        super().rollback()

    def set_client_encoding(self, encoding: str) -> None:
        """As psycopg's, until the connection is given back."""
        self.session.effect = self.session.effect or "client encoding"
        super().set_client_encoding(encoding)

    def set_session(self, *args: Any, **kwargs: Any) -> None:
        """As psycopg's, until the connection is given back."""
        self.session.effect = self.session.effect or "SET"
        super().set_session(*args, **kwargs)

    def reset(self) -> None:
        """As psycopg's, until the connection is given back."""
        self.session.effect = self.session.effect or "RESET"
        super().reset()

    def begin_session(self) -> None:
        """Start to keep a `Session`; what has been set until now is the baseline."""
        self.session = Session(sockets.watch(self.fileno()), {})
        self.keep_attributes()

    def keep_attributes(self) -> None:
        """Take what has been done to this object for how a lease begins."""
        self.session.baseline = {name: getattr(self, name) for name in ATTRIBUTES}

    def changed_attributes(self) -> list[str]:
        """Tell which attributes users have set on this object."""
        return [
            name for name, value in self.session.baseline.items() if getattr(self, name) != value
        ]


ATTRIBUTES = ("autocommit", "isolation_level", "readonly", "deferrable", "cursor_factory")


class Tracked:
    """A mixin for psycopg 2's cursor classes: classifies what they execute."""

    connection: Connection
    name: str | None
    lease = -1

    def _check_lease(self) -> None:
        if self.lease != self.connection.session.lease:
            raise StaleCursorError("the cursor's connection has been given back to the pool")

    def _observe(self, query: Any) -> None:
        self._check_lease()
        session = self.connection.session
        if session.effect is None:
            session.effect = self._effect(query)

    def _effect(self, query: Any) -> str | None:
        if isinstance(query, sql.Composable):
            query = query.as_string(self.connection)
        if isinstance(query, bytes):
            query = query.decode(errors="replace")
        return effect(query) if isinstance(query, str) else "unknown kind of query"

    def execute(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        """As psycopg's. Raises `StaleCursorError` as well."""
        self._observe(query)
        return super().execute(query, *args, **kwargs)  # type: ignore[misc] # the mixin's base

    def executemany(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        """As psycopg's. Raises `StaleCursorError` as well."""
        self._observe(query)
        return super().executemany(query, *args, **kwargs)  # type: ignore[misc] # the mixin's base

    def callproc(self, procname: Any, *args: Any, **kwargs: Any) -> Any:
        """As psycopg's. Raises `StaleCursorError` as well."""
        self._observe("CALL")
        return super().callproc(procname, *args, **kwargs)  # type: ignore[misc] # the mixin's base

    def fetchone(self) -> Any:
        """As psycopg's. Raises `StaleCursorError` as well where it would ask the server."""
        if self.name:
            self._check_lease()
        return super().fetchone()  # type: ignore[misc] # the mixin's base

    def fetchmany(self, *args: Any, **kwargs: Any) -> Any:
        """As psycopg's. Raises `StaleCursorError` as well where it would ask the server."""
        if self.name:
            self._check_lease()
        return super().fetchmany(*args, **kwargs)  # type: ignore[misc] # the mixin's base

    def fetchall(self) -> Any:
        """As psycopg's. Raises `StaleCursorError` as well where it would ask the server."""
        if self.name:
            self._check_lease()
        return super().fetchall()  # type: ignore[misc] # the mixin's base

    def __next__(self) -> Any:
        if self.name:
            self._check_lease()
        return super().__next__()  # type: ignore[misc] # the mixin's base

    def scroll(self, *args: Any, **kwargs: Any) -> Any:
        """As psycopg's. Raises `StaleCursorError` as well where it would ask the server."""
        if self.name:
            self._check_lease()
        return super().scroll(*args, **kwargs)  # type: ignore[misc] # the mixin's base

    def close(self) -> None:
        """As psycopg's; nothing is sent for a named cursor of an earlier lease."""
        if not self.name or self.lease == self.connection.session.lease:
            super().close()  # type: ignore[misc] # the mixin's base

    def copy_expert(self, sql: Any, *args: Any, **kwargs: Any) -> Any:
        """As psycopg's. Raises `StaleCursorError` as well."""
        self._observe(sql)
        return super().copy_expert(sql, *args, **kwargs)  # type: ignore[misc] # the mixin's base


_tracked_classes: dict[type[Any], type[Any]] = {}


def tracked(cursor_class: type[Any]) -> type[Any]:
    """Return the tracked variety of a psycopg 2 cursor class, always the same one."""
    if issubclass(cursor_class, Tracked):
        return cursor_class
    known = _tracked_classes.get(cursor_class)
    if known is None:
        made = type(cursor_class.__name__, (Tracked, cursor_class), {})
        known = _tracked_classes.setdefault(cursor_class, made)
    return known


class Psycopg2Driver(PostgreSQLDriver[Connection]):
    """Opens and cleans psycopg 2 connections; see `PsycopgDriver` for the arguments."""

    operational_error = psycopg2.OperationalError
    buffers = False  # a cursor whose connection is closed gives no rows

    def __init__(
        self,
        dsn: str = "",
        *,
        settings: Mapping[str, str] | None = None,
        isolation_level: int | None = None,
        autocommit: bool = False,
        **params: Any,
    ) -> None:
        self._dsn = dsn
        self._autocommit = autocommit
        self._isolation_level = isolation_level
        params["cursor_factory"] = tracked(params.get("cursor_factory") or ext.cursor)
        parts = {**ext.parse_dsn(dsn), **params}
        if options := startup_options(settings or {}, parts.get("options")):
            params["options"] = options
        self._params = {**patience(parts), **params}
        self.key = (type(self), dsn, isolation_level, autocommit, freeze(self._params))
        self.name = database_name(parts)

    def connect(self, overrides: Mapping[str, Any]) -> Connection:
        """See `Driver`."""
        connection: Connection = psycopg2.connect(
            self._dsn, connection_factory=Connection, **{**self._params, **overrides}
        )
        # As Django's own engine: JSONField decodes by itself.
        psycopg2.extras.register_default_jsonb(conn_or_curs=connection, loads=lambda text: text)
        if self._isolation_level is not None:
            connection.isolation_level = self._isolation_level
        connection.autocommit = self._autocommit
        connection.begin_session()
        return connection

    def close(self, connection: Connection, patience: float) -> None:
        """See `Driver`."""
        with contextlib.suppress(psycopg2.Error, OSError):
            if self.busy(connection):
                connection.cancel()
        connection.close()
        if connection.session.farewell:
            connection.session.farewell.wait(patience)

    def disown(self, connection: Connection) -> None:
        """See `Driver`."""
        with contextlib.suppress(psycopg2.Error, OSError):
            sockets.abandon(connection.fileno())
        # It is not closed: for that psycopg waits for a lock, which a thread of the parent may have
        # held at the fork. The object's end does not touch what another process has opened.

    def limits(self, overrides: Mapping[str, Any] = AS_IT_IS) -> Limits:
        """See `Driver`."""
        with (
            visit(self, overrides) as connection,
            connection.cursor(cursor_factory=ext.cursor) as cursor,
        ):
            answer = limits.ask(cursor, connection.info.backend_pid)
            return answer._replace(tls=connection.info.ssl_in_use)

    # ------------------------------------------------------------------- judge

    def look(self, connection: Connection) -> bool:
        """See `Driver`. What is readable is left to a ping: psycopg 2 offers nothing smaller."""
        if not connection.session.readable(0):
            return True
        with contextlib.suppress(psycopg2.Error):
            connection.poll()
        return not connection.closed and not connection.session.readable(0)

    def ping(self, connection: Connection, timeout: float) -> None:  # noqa: ARG002 - no means
        """See `Driver`. How long it may take is up to the server: psycopg 2 cannot be hurried."""
        with self._outside_transactions(connection), connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        connection.session.by_hand = False  # nobody keeps that cursor

    def at_rest(self, connection: Connection) -> bool:
        """See `Driver`. Whether it commits by itself is not of interest."""
        return (
            not connection.closed
            and connection.status == ext.STATUS_READY
            and connection.get_transaction_status() == IDLE
            and connection.changed_attributes() in ([], ["autocommit"])
        )

    def settle(self, connection: Connection) -> bool:
        """See `Driver`."""
        session = connection.session
        session.settled()
        return (
            session.effect is None
            and not connection.closed
            and connection.info.transaction_status == IDLE
            and not connection.changed_attributes()
        )

    def broken(self, connection: Connection) -> bool:
        """See `Driver`."""
        return bool(connection.closed) or connection.info.transaction_status not in (
            IDLE,
            *IN_TRANSACTION,
        )

    def busy(self, connection: Connection) -> bool:
        """See `Driver`."""
        return not connection.closed and connection.info.transaction_status == ACTIVE

    def in_transaction(self, connection: Connection) -> bool:
        """See `Driver`."""
        return not connection.closed and connection.info.transaction_status in IN_TRANSACTION

    def commit(self, connection: Connection) -> None:
        """See `Driver`."""
        connection.commit()
        self._end_by_hand(connection, "COMMIT")

    def _end_by_hand(self, connection: Connection, statement: str) -> None:
        """End a transaction begun in autocommit mode: psycopg 2's own methods pass that over."""
        if self.in_transaction(connection):
            with connection.cursor() as cursor:
                cursor.execute(statement)

    def begin_reset(self, connection: Connection, *, everything: bool) -> bool:
        """See `Driver`."""
        connection.session.everything = everything
        return False

    def finish_reset(self, connection: Connection, timeout: float) -> None:  # noqa: ARG002 - no means
        """See `Driver`. How long it may take is up to the server: psycopg 2 cannot be hurried."""
        session = connection.session
        connection.rollback()
        self._end_by_hand(connection, "ROLLBACK")
        if session.everything:
            with self._outside_transactions(connection), connection.cursor() as cursor:
                cursor.execute("DISCARD ALL")
            del connection.notifies[:]
        for name in connection.changed_attributes():
            setattr(connection, name, session.baseline[name])
        session.cleared()

    @staticmethod
    @contextlib.contextmanager
    def _outside_transactions(connection: Connection) -> Any:
        before = connection.autocommit
        connection.autocommit = True
        try:
            yield
        finally:
            connection.autocommit = before

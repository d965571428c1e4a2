"""The driver for psycopg 3. Usable without Django: `carpool.Pool(PsycopgDriver(dbname="shop"))`."""

from __future__ import annotations

import contextlib
from time import monotonic
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import pq, sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import tuple_row

from carpool import sockets
from carpool.driver import AS_IT_IS, Limits
from carpool.keys import freeze
from carpool.postgresql import limits
from carpool.postgresql.handoff import PsycopgHandoff, hang_up
from carpool.postgresql.params import (
    database_name,
    patience,
    set_config,
    startup_options,
    uses_service,
)
from carpool.postgresql.session import Connection, ServerCursor, tracked
from carpool.sessions import ANY
from carpool.telemetry.limits import visit

if TYPE_CHECKING:
    from collections.abc import Mapping

PREPARED_BY_USERS = "SELECT name FROM pg_catalog.pg_prepared_statements WHERE from_sql"

# Plain numbers: they are compared on the request's path.
IDLE = int(pq.TransactionStatus.IDLE)
ACTIVE = int(pq.TransactionStatus.ACTIVE)
IN_TRANSACTION = (pq.TransactionStatus.INTRANS, pq.TransactionStatus.INERROR)
OK = pq.ConnStatus.OK


# DISCARD ALL less DEALLOCATE ALL: what psycopg has prepared by itself stays known to both sides.
# https://www.postgresql.org/docs/current/sql-discard.html lists the equivalents.
DISCARD_PIECEWISE = (
    b"CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; UNLISTEN *; "
    b"SELECT pg_advisory_unlock_all(); DISCARD PLANS; DISCARD TEMP; DISCARD SEQUENCES"
)


class PsycopgDriver(PsycopgHandoff):
    """Opens and cleans psycopg 3 connections.

    `params` go to `psycopg.connect`; `settings` are server settings that the session starts with
    and falls back to when it is reset (`{"TimeZone": "UTC", "role": "app"}`); `isolation_level`
    is the attribute of that name of every connection.
    """

    operational_error = psycopg.OperationalError
    buffers = True

    def __init__(
        self,
        conninfo: str = "",
        *,
        settings: Mapping[str, str] | None = None,
        isolation_level: psycopg.IsolationLevel | None = None,
        **params: Any,
    ) -> None:
        self._conninfo = conninfo
        self._isolation_level = isolation_level
        parts = {**conninfo_to_dict(conninfo), **params}
        params["cursor_factory"] = tracked(params.get("cursor_factory") or psycopg.Cursor)
        self._preamble: list[bytes] = []
        self._settings: Mapping[str, str] = {}
        if uses_service(parts):
            # The service file may have options of its own, which ours would displace.
            self._settings = settings or {}
            self._preamble = [set_config(*setting) for setting in self._settings.items()]
            self._params = params
        else:
            if options := startup_options(settings or {}, parts.get("options")):
                params["options"] = options
            self._params = {**patience(parts), **params}
        self.key = (type(self), conninfo, isolation_level, freeze((self._params, self._preamble)))
        self.name = database_name(parts)

    # ---------------------------------------------------------- open and close

    def connect(self, overrides: Mapping[str, Any]) -> Connection:
        """See `Driver`."""
        connection = Connection.connect(self._conninfo, **{**self._params, **overrides})
        self._begin(connection)
        try:
            for statement in self._preamble:
                self._raise_if_failed(connection.pgconn.exec_(statement))
            self.adapt(connection)
        except BaseException:
            connection.close()
            raise
        self.adopt(connection)
        return connection

    def _begin(self, connection: Connection) -> None:
        """Make an object that psycopg has connected what users get."""
        connection.server_cursor_factory = ServerCursor
        if self._isolation_level is not None:
            psycopg.Connection.set_isolation_level(connection, self._isolation_level)
        connection.begin_session()

    def adapt(self, connection: Connection) -> None:
        """Teach a new connection what it needs beyond psycopg's own types. For subclasses."""

    def close(self, connection: Connection, patience: float) -> None:
        """See `Driver`."""
        forsaken = connection.session.forsaken
        if forsaken or self.busy(connection):
            self.cancel(connection, patience)
        if forsaken:
            hang_up(connection)
        connection.close()
        if connection.session.farewell:
            connection.session.farewell.wait(patience)

    @staticmethod
    def _cancel(connection: Connection, patience: float) -> None:
        """Stop what is running: a server notices that a client has gone only between statements."""
        if hasattr(connection, "cancel_safe"):  # psycopg 3.2
            connection.cancel_safe(timeout=max(patience, 0.1))
        else:
            connection.cancel()

    def disown(self, connection: Connection) -> None:
        """See `Driver`."""
        with contextlib.suppress(psycopg.Error, OSError):
            sockets.abandon(connection.pgconn.socket)
        connection.session.farewell = None
        if not self.busy(connection):  # else another thread was in the middle of something
            connection.close()

    def limits(self, overrides: Mapping[str, Any] = AS_IT_IS) -> Limits:
        """See `Driver`."""
        with visit(self, overrides) as connection, connection.cursor(row_factory=tuple_row) as cur:
            answer = limits.ask(cur, connection.info.backend_pid)
            return answer._replace(tls=connection.pgconn.ssl_in_use)

    # ------------------------------------------------------------------- judge

    def look(self, connection: Connection) -> bool:
        """See `Driver`."""
        return not connection.session.readable(0) or self._listen(connection)

    @staticmethod
    def _listen(connection: Connection) -> bool:
        """Take in what an idle server has said: a notice, a changed setting, or its farewell."""
        pgconn = connection.pgconn
        for _ in range(3):
            try:
                pgconn.consume_input()
                pgconn.is_busy()  # parses what has come
                while pgconn.notifies():
                    pass
            except psycopg.Error:
                return False
            if not connection.session.readable(0):
                return pgconn.status == OK
        return False

    def ping(self, connection: Connection, timeout: float) -> None:
        """See `Driver`."""
        connection.pgconn.send_query(b"")
        self._read_answer(connection, monotonic() + timeout)

    def settle(self, connection: Connection) -> bool:
        """See `Driver`."""
        session = connection.session
        session.lease += 1  # what `settled` does, without a call
        session.by_hand, session.holder = False, ANY
        return (
            session.effect is None
            and connection.pgconn.transaction_status == IDLE
            and not session.entered
            and (not session.touched or self._settle_attributes(connection))
            and connection.row_factory is session.row_factory
            and connection.cursor_factory is session.cursor_factory
            and connection.server_cursor_factory is session.server_cursor_factory
        )

    def at_rest(self, connection: Connection) -> bool:
        """See `Driver`. Whether it commits by itself is not of interest."""
        session = connection.session
        return (
            connection.pgconn.transaction_status == IDLE
            and not session.entered
            and not session.handlers
            and connection.row_factory is session.row_factory
            and connection.cursor_factory is session.cursor_factory
            and connection.server_cursor_factory is session.server_cursor_factory
            and not (session.touched and connection.is_altered())
        )

    @staticmethod
    def _settle_attributes(connection: Connection) -> bool:
        connection.restore_attributes()
        return True

    def broken(self, connection: Connection) -> bool:
        """See `Driver`."""
        pgconn = connection.pgconn
        return (
            connection.closed
            or connection.session.entered > 0
            or connection.session.forsaken
            or pgconn.status != OK
            or pgconn.transaction_status not in (IDLE, *IN_TRANSACTION)
            or bool(pgconn.pipeline_status)
        )

    def busy(self, connection: Connection) -> bool:
        """See `Driver`."""
        return connection.pgconn.transaction_status == ACTIVE

    def in_transaction(self, connection: Connection) -> bool:
        """See `Driver`."""
        return connection.pgconn.transaction_status in IN_TRANSACTION

    def commit(self, connection: Connection) -> None:
        """See `Driver`."""
        connection.commit()

    # ------------------------------------------------------------------- reset

    def begin_reset(self, connection: Connection, *, everything: bool) -> bool:
        """See `Driver`."""
        session = connection.session
        session.everything = everything
        if session.prepares:
            session.steps = [DISCARD_PIECEWISE, *self._preamble] if everything else []
            return False
        steps = [b"DISCARD ALL", *self._preamble] if everything else []
        if self.in_transaction(connection):
            steps.insert(0, b"ROLLBACK")
        session.steps = steps
        self._send_step(connection)
        return not session.steps

    @staticmethod
    def _send_step(connection: Connection) -> None:
        steps = connection.session.steps
        if steps:
            connection.pgconn.send_query(steps.pop(0))
            connection.pgconn.flush()

    def finish_reset(self, connection: Connection, timeout: float) -> None:
        """See `Driver`."""
        session = connection.session
        if session.prepares:
            self._reset_in_step(connection)
        else:
            deadline = monotonic() + timeout
            while self.busy(connection):
                self._read_answer(connection, deadline)
                self._send_step(connection)
        if connection.pgconn.transaction_status != IDLE:
            raise psycopg.OperationalError("the session is not idle after its reset")
        if session.everything:
            connection.forget_notifications()
        connection.restore_attributes()
        session.cleared()

    @staticmethod
    def _reset_in_step(connection: Connection) -> None:
        """Reset through psycopg itself, which prepares statements and must hear of it all."""
        session = connection.session
        connection.rollback()
        connection.autocommit = True
        with connection.cursor(row_factory=tuple_row) as cursor:
            for step in session.steps:
                cursor.execute(step, prepare=False)
            if session.everything:
                names = cursor.execute(PREPARED_BY_USERS, prepare=False).fetchall()
                for name in names:
                    deallocate = sql.SQL("DEALLOCATE {}").format(sql.Identifier(*name))
                    cursor.execute(deallocate, prepare=False)

    @staticmethod
    def _read_answer(connection: Connection, deadline: float) -> None:
        """Read all results. Nothing of libpq's that would wait, and with it all of the process."""
        pgconn = connection.pgconn
        pgconn.flush()
        while True:
            while pgconn.is_busy():
                if not sockets.wait_readable(pgconn.socket, deadline - monotonic()):
                    raise psycopg.OperationalError("the server did not answer in time")
                pgconn.consume_input()
            result = pgconn.get_result()
            if result is None:
                return
            PsycopgDriver._raise_if_failed(result)

    @staticmethod
    def _raise_if_failed(result: pq.abc.PGresult) -> None:
        if result.status == pq.ExecStatus.FATAL_ERROR:
            raise psycopg.OperationalError(result.error_message.decode(errors="replace").strip())

"""The driver for psycopg 3. Usable without Django: `carpool.Pool(PsycopgDriver(dbname="shop"))`."""

from __future__ import annotations

import contextlib
import os
import re
from time import monotonic
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import pq

from carpool import sockets
from carpool.postgresql.session import Connection, ServerCursor, tracked

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

IDLE = pq.TransactionStatus.IDLE
ACTIVE = pq.TransactionStatus.ACTIVE
IN_TRANSACTION = (pq.TransactionStatus.INTRANS, pq.TransactionStatus.INERROR)
OK = pq.ConnStatus.OK

FAREWELL = 2.0  # seconds that closing waits for the server to end the session
CANCEL = 2.0  # seconds that closing waits for a statement to be cancelled

# DISCARD ALL less DEALLOCATE ALL: what psycopg has prepared by itself stays known to both sides.
# https://www.postgresql.org/docs/current/sql-discard.html lists the equivalents.
DISCARD_PIECEWISE = (
    "CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; UNLISTEN *; "
    "SELECT pg_advisory_unlock_all(); DISCARD PLANS; DISCARD TEMP; DISCARD SEQUENCES"
)

# libpq gives no SQLSTATE for a refused login; these are its two texts for 53300.
NO_ROOM = re.compile(r"FATAL: +(sorry, )?too many|FATAL: +remaining connection slots")

# An idle connection that is cut off silently is noticed within about two minutes.
KEEPALIVES = {"keepalives_idle": 60, "keepalives_interval": 15, "keepalives_count": 4}


def freeze(value: Any) -> Hashable:
    """Make connection parameters comparable and hashable; what cannot be is known by identity."""
    if isinstance(value, dict):
        return tuple(sorted((str(key), freeze(each)) for key, each in value.items()))
    if isinstance(value, list | tuple):
        return tuple(freeze(each) for each in value)
    if isinstance(value, str | int | float | bool | None):
        return value
    return _Identity(value)


class _Identity:
    """Compares equal to itself only, and sorts among its like."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Identity) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


def startup_options(settings: Mapping[str, str], options: str | None) -> str:
    """Add settings to libpq's `options`, so that they are defaults which every reset restores.

    >>> startup_options({"TimeZone": "UTC"}, "-c work_mem=8MB")
    '-c work_mem=8MB -c TimeZone=UTC'
    """
    given = os.environ.get("PGOPTIONS", "") if options is None else options
    # https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNECT-OPTIONS
    escaped = {name: re.sub(r"([\\\s])", r"\\\1", value) for name, value in settings.items()}
    return " ".join([given, *(f"-c {name}={value}" for name, value in escaped.items())]).strip()


class PsycopgDriver:
    """Opens and cleans psycopg 3 connections.

    `params` go to `psycopg.connect`; `settings` are server settings that the session starts with
    and falls back to when it is reset (`{"TimeZone": "UTC", "role": "app"}`); `isolation_level`
    is the attribute of that name of every connection.
    """

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
        self._params = params
        params["cursor_factory"] = tracked(params.get("cursor_factory") or psycopg.Cursor)
        if settings:
            params["options"] = startup_options(settings, params.get("options"))
        if "service" not in params and "PGSERVICE" not in os.environ:
            self._params = KEEPALIVES | params
        self.key = (type(self), conninfo, isolation_level, freeze(self._params))
        self.name = self._name()

    def _name(self) -> str:
        parts = psycopg.conninfo.conninfo_to_dict(self._conninfo)
        parts |= {key: value for key, value in self._params.items() if isinstance(value, str | int)}
        user, host, port = (parts.get(each) for each in ("user", "host", "port"))
        where = f"{host or 'local'}{f':{port}' if port else ''}"
        name = parts.get("dbname") or parts.get("service") or ""
        return f"postgresql://{f'{user}@' if user else ''}{where}/{name}"

    # ---------------------------------------------------------- open and close

    def connect(self, overrides: Mapping[str, Any]) -> Connection:
        """See `Driver`."""
        connection = Connection.connect(self._conninfo, **{**self._params, **overrides})
        connection.server_cursor_factory = ServerCursor
        if self._isolation_level is not None:
            psycopg.Connection.set_isolation_level(connection, self._isolation_level)
        connection.begin_session()
        return connection

    def close(self, connection: Connection) -> None:
        """See `Driver`."""
        with contextlib.suppress(psycopg.Error, OSError):
            if self.busy(connection):
                self._cancel(connection)
            farewell = sockets.Farewell(connection.pgconn.socket)
            connection.close()
            farewell.wait(FAREWELL)
        connection.close()

    @staticmethod
    def _cancel(connection: Connection) -> None:
        """Stop what is running: a server notices the end of a connection only between statements."""
        if hasattr(connection, "cancel_safe"):  # psycopg 3.2
            connection.cancel_safe(timeout=CANCEL)
        else:
            connection.cancel()

    def disown(self, connection: Connection, *, quiescent: bool) -> None:
        """See `Driver`."""
        with contextlib.suppress(psycopg.Error, OSError):
            sockets.abandon(connection.pgconn.socket)
        if quiescent:
            connection.close()

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

    def ping(self, connection: Connection) -> None:
        """See `Driver`."""
        with connection.lock:
            pgconn = connection.pgconn
            pgconn.send_query(b"")
            self._read_answer(connection, monotonic() + FAREWELL)

    def settle(self, connection: Connection) -> bool:
        """See `Driver`."""
        session = connection.session
        session.lease += 1
        return (
            session.effect is None
            and connection.pgconn.transaction_status == IDLE
            and (not session.touched or self._settle_attributes(connection))
            and connection.row_factory is session.baseline["row_factory"]
            and connection.cursor_factory is session.baseline["cursor_factory"]
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

    def no_room(self, error: BaseException) -> bool:
        """See `Driver`."""
        return isinstance(error, psycopg.OperationalError) and bool(NO_ROOM.search(str(error)))

    # ------------------------------------------------------------------- reset

    def adopt(self, connection: Connection) -> bool:
        """See `Driver`."""
        session = connection.session
        traces = session.effect is not None
        session.effect = None
        return traces

    def is_set_up(self, connection: Connection) -> bool:
        """See `Driver`."""
        return connection.session.ready

    def set_up_done(self, connection: Connection) -> None:
        """See `Driver`."""
        connection.session.redo = self.adopt(connection)
        connection.session.ready = True

    def begin_reset(self, connection: Connection, *, everything: bool) -> bool:
        """See `Driver`."""
        session = connection.session
        if connection.prepare_threshold is not None:
            session.steps = [DISCARD_PIECEWISE.encode()] if everything else []
            return False
        steps = [b"DISCARD ALL"] if everything else []
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
        if connection.prepare_threshold is not None:
            self._reset_in_step(connection)
        else:
            deadline = monotonic() + timeout
            while self.busy(connection):
                self._read_answer(connection, deadline)
                self._send_step(connection)
        if connection.pgconn.transaction_status != IDLE:
            raise psycopg.OperationalError("the session is not idle after its reset")
        connection.restore_attributes()
        session.effect = None
        session.ready = session.ready and not session.redo

    @staticmethod
    def _reset_in_step(connection: Connection) -> None:
        """Reset through psycopg itself, which prepares statements and must hear of it all."""
        connection.rollback()
        connection.autocommit = True
        for step in connection.session.steps:
            connection.execute(step, prepare=False)

    @staticmethod
    def _read_answer(connection: Connection, deadline: float) -> None:
        pgconn = connection.pgconn
        pgconn.flush()
        while pgconn.is_busy():
            if not sockets.wait_readable(pgconn.socket, deadline - monotonic()):
                raise psycopg.OperationalError("the server did not answer in time")
            pgconn.consume_input()
        while result := pgconn.get_result():
            if result.status == pq.ExecStatus.FATAL_ERROR:
                text = result.error_message.decode(errors="replace").strip()
                raise psycopg.OperationalError(text)

"""The driver for PyMySQL. Usable without Django: `Pool(PyMySQLDriver(database="shop"))`."""

from __future__ import annotations

import contextlib
from time import monotonic
from typing import TYPE_CHECKING, Any

import pymysql
from pymysql.connections import Connection as Base
from pymysql.cursors import Cursor

from carpool.driver import NeedsNewSession
from carpool.mysql import wire
from carpool.mysql.common import MySQLDriver
from carpool.mysql.session import Noticing

if TYPE_CHECKING:
    from collections.abc import Iterator


# What PyMySQL sets at work (to keep its socket in one more place would keep that open), and we.
_AT_WORK = dict.fromkeys(
    (
        *("_sock", "_rfile", "_closed", "_next_seq_id", "_current_timeout", "server_status"),
        *("_result", "_affected_rows", "session"),
    )
)


class Connection(Noticing, Base):  # type: ignore[misc] # untyped
    """A PyMySQL connection that keeps a `MySQLSession`."""

    at_work = (*_AT_WORK, "autocommit_mode")

    def attributes(self) -> dict[str, Any]:
        """See `Noticing`."""
        return vars(self) | _AT_WORK

    _read_timeout: float | None
    _write_timeout: float | None

    def connect(self, *args: Any, **kwargs: Any) -> None:
        """As PyMySQL's, which bounds but the TCP handshake; what follows is the login.

        Once it has been used, the connection serves no lease after this one.
        """
        self.session.lost = self.session.thread_id != 0
        with self.hurried(monotonic() + self.connect_timeout):
            super().connect(*args, **kwargs)

    def next_result(self, *args: Any, **kwargs: Any) -> Any:
        """As PyMySQL's, and note how it ends."""
        return self._exchange(super().next_result, *args, **kwargs)

    def show_warnings(self) -> Any:
        """As PyMySQL's, and note how it ends."""
        return self._exchange(super().show_warnings)

    def ping(self, *args: Any, **kwargs: Any) -> None:
        """As PyMySQL's, and note how it ends."""
        self._exchange(super().ping, *args, **kwargs)

    def close(self) -> None:
        """As PyMySQL's; the pool then waits for the server to hang up."""
        self.forget_result()
        super().close()

    def forget_result(self) -> None:
        """Let a result that is not read to its end not read on, when it is collected."""
        result = self._result
        if result is not None and result.unbuffered_active:
            result.unbuffered_active = False
            result.connection = None

    @contextlib.contextmanager
    def hurried(self, deadline: float) -> Iterator[None]:
        """Bound the time that each answer may take."""
        before = self._read_timeout, self._write_timeout
        self._read_timeout = self._write_timeout = max(0.001, deadline - monotonic())
        try:
            yield
        finally:
            self._read_timeout, self._write_timeout = before


class PyMySQLDriver(MySQLDriver[Connection]):
    """Opens and cleans PyMySQL connections; see `MySQLDriver` for the arguments."""

    connection_class = Connection
    module_error = pymysql.Error
    cursorclass = Cursor

    def _descriptor(self, connection: Connection) -> int:
        return int(connection._sock.fileno())  # noqa: SLF001 - PyMySQL has no other way to it

    def _is_wrapped(self, connection: Connection) -> bool:
        return hasattr(connection._sock, "cipher")  # noqa: SLF001 - see above

    def _run(self, connection: Connection, statement: str, deadline: float) -> None:
        with connection.hurried(deadline):
            Base.query(connection, statement)
            while self._unread(connection):
                connection.next_result()

    def _unread(self, connection: Connection) -> bool:
        result = connection._result  # noqa: SLF001 - see above
        return result is not None and bool(result.unbuffered_active or result.has_next)

    def ping(self, connection: Connection, timeout: float) -> None:
        """See `Driver`."""
        connection.session.lease += 1  # it sets back what ROW_COUNT() and its like tell
        with connection.hurried(monotonic() + timeout):
            connection.ping(reconnect=False)

    def begin_reset(self, connection: Connection, *, everything: bool) -> bool:
        """See `Driver`."""
        if everything and not connection.session.login["database"]:
            raise NeedsNewSession  # a session cannot leave the database it has chosen
        return super().begin_reset(connection, everything=everything)

    def _clear(self, connection: Connection, deadline: float) -> None:
        with connection.hurried(deadline):
            connection._execute_command(wire.RESET_CONNECTION[0], b"")  # noqa: SLF001 - see above
            connection._read_ok_packet()  # noqa: SLF001 - see above
            Base.select_db(connection, connection.session.login["database"])

    def disown(self, connection: Connection) -> None:
        """See `Driver`."""
        connection.forget_result()
        super().disown(connection)

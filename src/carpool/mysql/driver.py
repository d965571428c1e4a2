"""The driver for mysqlclient. Usable without Django: `Pool(MysqlclientDriver(database="shop"))`.

What an option file (`read_default_file`) tells the server at login no reset puts back: there a
session that needs one is replaced.
"""

from __future__ import annotations

from time import monotonic
from typing import Any

import MySQLdb
from MySQLdb.connections import Connection as Base
from MySQLdb.constants import CLIENT
from MySQLdb.cursors import Cursor

from carpool import sockets
from carpool.driver import NeedsNewSession
from carpool.mysql import wire
from carpool.mysql.common import MySQLDriver
from carpool.mysql.handoff import HandingOff, Masked, Mute
from carpool.mysql.session import Noticing

_OPTION_FILE = ("read_default_file", "read_default_group")
# Parameters that may lead to TLS, or to compression.
_MAY_WRAP = ("ssl", "ssl_mode", "compress", *_OPTION_FILE)
_ASK_WRAPPED = (
    "SHOW SESSION STATUS WHERE (Variable_name = 'Ssl_version' AND Value <> '')"
    " OR (Variable_name = 'Compression' AND Value = 'ON')"
)

# Before mysqlclient 2.3 only `next_result` tells, and waits for the result if there is one.
_MORE_RESULTS = getattr(Base, "more_results", None)


class Connection(Noticing, Base):  # type: ignore[misc] # untyped
    """A mysqlclient connection that keeps a `MySQLSession`."""

    at_work = ("session",)

    def attributes(self) -> dict[str, Any]:
        """See `Noticing`; of its C part one may be set."""
        return vars(self) | {"session": None, "converter": self.converter}

    def use_result(self) -> Any:
        """As mysqlclient's: what is left unread must not meet the next user."""
        self.session.effect = self.session.effect or "unbuffered result"
        self.session.unbuffered = True
        return super().use_result()

    def send_query(self, query: Any) -> None:
        """As mysqlclient's; the connection serves no lease after this one."""
        self.session.lost = True
        super().send_query(query)

    def change_user(self, *args: Any, **kwargs: Any) -> None:
        """As mysqlclient's; the connection serves no lease after this one."""
        self.session.lost = True
        super().change_user(*args, **kwargs)

    def ping(self, *reconnect: Any) -> None:
        """As mysqlclient's; once it may log in again, the connection serves no lease after this."""
        if any(reconnect):
            self.session.lost = True
        super().ping(*reconnect)

    def set_server_option(self, *args: Any) -> Any:
        """As mysqlclient's; the connection serves no lease after this one."""
        self.session.lost = True
        return super().set_server_option(*args)


class Shell(Masked, Connection, Mute):
    """A connection under which the sockets of server connections are laid."""


class MysqlclientDriver(HandingOff, MySQLDriver[Connection]):
    """Opens and cleans mysqlclient connections; see `MySQLDriver` for the arguments."""

    connection_class, shell_class = Connection, Shell
    module_error = MySQLdb.Error
    cursorclass = Cursor

    def _descriptor(self, connection: Connection) -> int:
        return int(connection.fileno())

    def _is_wrapped(self, connection: Connection) -> bool:
        """Ask the server, where what is known here does not rule it out."""
        if not any(self._params.get(name) for name in _MAY_WRAP):
            local = "unix socket" in connection.get_host_info().lower()
            if local or not connection.server_capabilities & CLIENT.SSL:
                return False
        with connection.cursor() as cursor:
            return bool(cursor.execute(_ASK_WRAPPED))

    def _run(self, connection: Connection, statement: str, deadline: float) -> None:
        Base.send_query(connection, statement.encode())
        if not sockets.wait_readable(connection.session.descriptor, deadline - monotonic()):
            raise wire.WireError("the server did not answer in time")
        connection.read_query_result()
        connection.discard_result()
        while connection.next_result() == 0:
            connection.discard_result()

    def _in_parts(self, connection: Connection) -> bool:
        # `next_result`, called within an unbuffered result, spoils that.
        return (
            connection.session.unbuffered
            or _MORE_RESULTS is None
            or bool(_MORE_RESULTS(connection))
        )

    def _unread(self, connection: Connection) -> bool:
        try:
            if _MORE_RESULTS is not None and _MORE_RESULTS(connection):
                return True
            return bool(connection.next_result() != -1)  # nothing is asked: it is a local look
        except MySQLdb.Error:  # not even the present one has been read
            return True

    def ping(self, connection: Connection, timeout: float) -> None:
        """See `Driver`."""
        connection.session.lease += 1  # it sets back what ROW_COUNT() and its like tell
        session, deadline = connection.session, monotonic() + timeout
        if session.wrapped:
            with wire.hurried(session.descriptor, deadline):
                connection.ping()
        else:
            wire.exchange(session.descriptor, wire.PING, deadline)

    def begin_reset(self, connection: Connection, *, everything: bool) -> bool:
        """See `Driver`."""
        if everything and any(self._params.get(name) for name in _OPTION_FILE):
            raise NeedsNewSession
        if everything and self._must_log_in(connection) and not connection.session.login["user"]:
            raise NeedsNewSession  # the system told who we are
        if everything and self._must_log_in(connection) and isinstance(connection, Shell):
            raise NeedsNewSession  # it would answer the challenge of another server
        return super().begin_reset(connection, everything=everything)

    @staticmethod
    def _must_log_in(connection: Connection) -> bool:
        """Tell whether only a login, in the same session, clears it.

        Without a database it does not begin again without one otherwise.
        """
        session = connection.session
        return bool(session.wrapped or not session.login["database"])

    def finish_reset(self, connection: Connection, timeout: float) -> None:
        """See `Driver`. The client library may have changed its character set with the server."""
        super().finish_reset(connection, timeout)
        if connection.character_set_name() != connection.session.charset:
            Base.set_character_set(connection, connection.session.charset)

    def _clear(self, connection: Connection, deadline: float) -> None:
        session = connection.session
        if self._must_log_in(connection):
            login = [each or "" for each in session.login.values()]
            with wire.hurried(session.descriptor, deadline):
                Base.change_user(connection, *login)
        else:
            database = session.login["database"].encode()
            wire.exchange(session.descriptor, wire.RESET_CONNECTION, deadline)
            wire.exchange(session.descriptor, wire.INIT_DB + database, deadline)

"""psycopg 3 connections whose sockets change hands: the shells of workers, the broker's own."""

from __future__ import annotations

import contextlib
import os
import socket
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import psycopg
from psycopg import pq

from carpool import sockets
from carpool.postgresql.common import PostgreSQLDriver
from carpool.postgresql.greeter import SHELL_OPTIONS, Facts, Greeter, facts_of
from carpool.postgresql.login import CLIENT_SIDE, SECRET, shareable_login
from carpool.postgresql.session import Connection

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Self

TO_NOWHERE = partial(os.open, os.devnull, os.O_RDWR)
SHELL_TIMEOUT = 10  # seconds for the broker, which is on this machine, to greet a shell


class Shell(Connection):
    """A connection without a server session of its own: others' are put under its descriptor.

    However it ends, it sends nothing to what lies there.
    """

    server_id = 0  # the server's process; 0: none has been there yet
    adapted = False

    @property
    def info(self) -> psycopg.ConnectionInfo:
        """As psycopg's, with the process of the session that lies below."""
        return ShellInfo(self.pgconn, self.server_id)

    def _touch(self, *, prepares: bool) -> None:
        if prepares:
            raise psycopg.NotSupportedError(
                "what one server connection has prepared, the next does not know: leave "
                "prepare_threshold at None where connections are shared between processes"
            )
        super()._touch(prepares=prepares)

    def close(self) -> None:
        """Close this end alone; the session's owner ends the session."""
        with contextlib.suppress(psycopg.Error, OSError):
            sockets.abandon(self.pgconn.socket)
        psycopg.Connection.close(self)  # there is no farewell to wait for

    def __del__(  # type: ignore[override] # psycopg's argument is for its own use
        self,
        *,
        to_nowhere: Callable[[], int] = TO_NOWHERE,
        dup2: Any = os.dup2,
        close: Any = os.close,
    ) -> None:
        # What it needs is at hand: as the interpreter ends, modules may be empty by now.
        try:
            descriptor = self.pgconn.socket
            nowhere = to_nowhere()
            dup2(nowhere, descriptor, False)
            close(nowhere)
        except Exception:  # noqa: BLE001, S110 - closed, or never made
            pass


class ShellInfo(psycopg.ConnectionInfo):
    """psycopg's, but for what a shell and the session below it differ in."""

    def __init__(self, pgconn: pq.abc.PGconn, server_id: int) -> None:
        super().__init__(pgconn)
        self._server_id = server_id

    @property
    def backend_pid(self) -> int:
        """The process of the server connection that was installed last; 0: none was."""
        return self._server_id


class PsycopgHandoff(PostgreSQLDriver[Connection]):
    """The part of the driver for psycopg 3 that makes it a `carpool.host.handoff.Handoff`."""

    kind = "postgresql"
    relayed = False
    errors = psycopg
    secret: ClassVar[frozenset[str]] = SECRET  # what of a login must not be shown

    _conninfo: str
    _params: dict[str, Any]
    _settings: Mapping[str, str]  # those that are not in `_params`

    # ---------------------------------------------------------------- in the worker

    def login(self) -> dict[str, Any]:
        """See `Handoff`. Raises psycopg's errors for parameters that libpq refuses."""
        return shareable_login(self._conninfo, self._params, self._settings)

    def make_shell(self, path: str) -> Connection:
        """See `Handoff`. What a subclass teaches its connections waits for a server connection."""
        object_side = {name: self._params[name] for name in CLIENT_SIDE if name in self._params}
        shell = Shell.connect(**shell_params(path, self.login()), **object_side)
        self._begin(shell)
        return shell

    def descriptor(self, connection: Connection) -> int:
        """See `Handoff`. Raises psycopg.OperationalError if the connection is closed."""
        return connection.pgconn.socket

    def installed(self, connection: Connection, server_id: int) -> None:
        """See `Handoff`. Raises psycopg's errors if a subclass' `adapt` does."""
        assert isinstance(connection, Shell)
        connection.server_id = server_id
        connection.forget_notifications()  # takes in all that libpq has read as well
        connection.session.begin_anew()
        if not connection.adapted:
            self.adapt(connection)
            self.adopt(connection)
            connection.adapted = True

    # ---------------------------------------------------------------- in the broker

    @classmethod
    def from_login(cls, login: Mapping[str, Any]) -> Self:
        """See `Handoff`. The environment must have none of libpq's variables."""
        make: Any = cls  # with the arguments of `PsycopgDriver`
        made: Self = make(**login, autocommit=True, prepare_threshold=None)
        return made

    def server_id(self, connection: Connection) -> int:
        """See `Handoff`."""
        return connection.info.backend_pid

    def facts(self, connection: Connection) -> Facts:
        """See `Handoff`."""
        return facts_of(connection)

    def greeter(self, facts: Facts, number: int, secret: bytes) -> Greeter:
        """See `Handoff`. `number` is below 2^30, `secret` has four bytes."""
        return Greeter(facts, number, secret)

    def forsake(self, connection: Connection) -> None:
        """See `Handoff`. Do not `look` at it any more."""
        connection.session.forsaken = True

    def cancel(self, connection: Connection, timeout: float) -> None:
        """See `Handoff`."""
        with contextlib.suppress(psycopg.Error, OSError):
            self._cancel(connection, timeout)

    # --------------------------------------------------- what the driver has for both

    def _begin(self, connection: Connection) -> None:
        raise NotImplementedError

    def adapt(self, connection: Connection) -> None:
        """Teach a connection what it needs beyond psycopg's own types."""
        raise NotImplementedError

    @staticmethod
    def _cancel(connection: Connection, patience: float) -> None:
        raise NotImplementedError


def shell_params(path: str, login: Mapping[str, str]) -> dict[str, Any]:
    """Return libpq's parameters for a shell; the environment must not lead it astray.

    `sslmode` is left as it is: libpq never speaks TLS on a Unix socket, and minds a weak mode.
    """
    known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
    wanted = {
        "host": path,
        "hostaddr": "",
        "port": "5432",
        "user": login.get("user", ""),
        "dbname": login.get("dbname", ""),
        "options": SHELL_OPTIONS,
        "sslnegotiation": "postgres",
        "gssencmode": "disable",
        "channel_binding": "disable",
        "require_auth": "",
        "requirepeer": "",
        "target_session_attrs": "any",
        "connect_timeout": SHELL_TIMEOUT,
    }
    return {name: value for name, value in wanted.items() if name in known}


def hang_up(connection: Connection) -> None:
    """Tell the server that nothing more will come, whoever else has a copy of the socket."""
    with contextlib.suppress(psycopg.Error, OSError):
        descriptor = os.dup(connection.pgconn.socket)
        with socket.socket(fileno=descriptor) as line:
            line.shutdown(socket.SHUT_WR)

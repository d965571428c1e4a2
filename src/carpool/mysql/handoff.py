"""mysqlclient connections whose sockets change hands: the additions of `Handoff` to the driver.

A worker's shell says nothing to the server at its login, and nothing to it at its end either: the
greeter's `outcome` is set with the OK to the login, and what follows is the broker's.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar, Final

import MySQLdb
from MySQLdb import _mysql

from carpool import sockets
from carpool.host.handoff import NotShareable
from carpool.mysql import framing
from carpool.mysql.common import MySQLDriver, ask
from carpool.mysql.greeter import COMPRESS, SHELL_USER, Facts, MySQLGreeter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from carpool.mysql.driver import Connection

    Base = Any
    Driver = MySQLDriver[Connection]
else:
    Base = Driver = object

SOCKET: Final = "mysql.sock"  # the broker's, in the pool's directory

# What only the process with the connection object needs to know.
_CLIENT_SIDE: Final = {
    *("conv", "cursorclass", "use_unicode", "binary_prefix", "executemany_fallback"),
    *("read_timeout", "write_timeout"),
}
# What only who talks to the server itself needs to know.
_SERVER_SIDE: Final = {
    *("host", "port", "ssl", "ssl_mode", "auth_plugin", "server_public_key_path"),
    *("password", "read_default_file", "read_default_group"),
}
_PATHS: Final = ("unix_socket", "read_default_file", "server_public_key_path", "local_infile_dir")
_SSL_PATHS: Final = ("ca", "capath", "cert", "key")
_OPTION_FILE: Final = ("read_default_file", "read_default_group")


class Mute(_mysql.connection):  # type: ignore[misc] # untyped
    """The client library's part of a shell: it does not send what mysqlclient sends at login.

    The broker's login has done so. `charset` alone has told the client library already.
    """

    def set_character_set(self, charset: str) -> None:
        """As mysqlclient's, once the login is over."""
        if self.session.descriptor >= 0:
            super().set_character_set(charset)


class Masked(Base):  # type: ignore[misc] # mysqlclient's class comes after it
    """A mixin for shells."""

    ends_session = False  # `close` is to end the session of the server

    def thread_id(self) -> int:
        """As mysqlclient's, of the server connection that lies underneath."""
        return self.session.thread_id or int(super().thread_id())

    def close(self) -> None:
        """As mysqlclient's. The server connection is the broker's, which ends it if need be."""
        if not self.ends_session:
            self.let_go()
        super().close()

    def let_go(self) -> None:
        """Have nothing underneath any more."""
        descriptor = self.live_descriptor()
        if descriptor >= 0:
            sockets.abandon(descriptor)

    def __del__(self) -> None:
        """Let the client library not take leave of the server, in the middle of anything."""
        with contextlib.suppress(Exception):  # such as AttributeError at the interpreter's end
            self.let_go()


class HandingOff(Driver):
    """The methods of `Handoff`; see there."""

    kind = "mysql"
    relayed = False
    errors = MySQLdb
    shell_class: ClassVar[Any]

    # ------------------------------------------------------------- in the worker

    def login(self) -> dict[str, Any]:
        """See `Handoff`."""
        given = {name: value for name, value in self.given.items() if name not in _CLIENT_SIDE}
        _check(given)
        settings = {name: _plain(value) for name, value in given["settings"].items()}
        more = {"settings": settings, "library": MySQLdb.get_client_info()}
        try:
            return dict(json.loads(json.dumps(_resolved(given) | more, sort_keys=True)))
        except TypeError as error:
            raise NotShareable(f"a parameter that cannot be told to a broker: {error}") from error

    def make_shell(self, path: str) -> Any:
        """See `Handoff`."""
        params = {name: each for name, each in self._params.items() if name not in _SERVER_SIDE}
        place = {"host": "localhost", "unix_socket": os.path.join(path, SOCKET)}  # noqa: PTH118 - a string, for the client library
        shell = self.shell_class(**params | place | {"user": SHELL_USER}, autocommit=None)
        try:
            self._note_login(shell, self._params)
            self._note_begun(shell)
        except BaseException:
            shell.close()
            raise
        shell.session.as_made = shell.session.baseline
        return shell

    def descriptor(self, connection: Any) -> int:
        """See `Handoff`. Raises MySQLdb.InterfaceError if the connection is closed."""
        if connection.session.lost:
            raise MySQLdb.InterfaceError(0, "the connection is closed")
        return int(connection.session.descriptor)

    def installed(self, connection: Any, server_id: int) -> None:
        """See `Handoff`."""
        session = connection.session
        session.inode = os.fstat(session.descriptor).st_ino
        session.port = _port(session.descriptor)
        session.thread_id = server_id
        session.running = session.unbuffered = session.indelible = False
        session.set_up_by, session.redo = None, False
        session.cleared()
        if session.baseline is not session.as_made or connection.attributes() != session.baseline:
            session.baseline = session.as_made
            connection.restore_attributes()
            connection.keep_attributes()
            session.as_made = session.baseline

    def close(self, connection: Any, patience: float) -> None:
        """See `Driver`. What lies under a shell is ended; what does not is somebody else's."""
        if isinstance(connection, Masked):
            connection.ends_session = True
        super().close(connection, patience)

    # ------------------------------------------------------------- in the broker

    @classmethod
    def from_login(cls, login: Mapping[str, Any]) -> Any:
        """See `Handoff`. Raises `NotShareable` where the client library is another one."""
        params = dict(login)
        library, own = params.pop("library"), MySQLdb.get_client_info()
        if library != own:
            raise NotShareable(
                f"the broker uses version {own} of MySQL's client library, this process {library};"
                " restart the broker from this environment"
            )
        return cls(**params)

    def server_id(self, connection: Any) -> int:
        """See `Handoff`."""
        return int(connection.session.thread_id)

    def facts(self, connection: Any) -> Facts:
        """See `Handoff`. Asks the server; the connection must be idle.

        Raises `NotShareable` where TLS or compression lies under it, OSError and the like where
        the server does not answer.
        """
        session = connection.session
        if session.wrapped:
            raise NotShareable(
                "the connection is encrypted or compressed by the client library; give the"
                " parameters of TLS in OPTIONS, not in an option file, and do not compress"
            )
        deadline = monotonic() + self._params["connect_timeout"]
        extended, charset = framing.probe(session.descriptor, deadline)
        capabilities = connection.server_capabilities
        return Facts(
            version=connection.get_server_info(),
            capabilities=capabilities,
            extended=framing.completed(extended, capabilities),
            client_flag=connection.client_flag & 0xFFFFFFFF,
            charset=charset,
            autocommit=session.autocommit,
        )

    def greeter(self, facts: Facts, number: int, secret: bytes) -> MySQLGreeter:  # noqa: ARG002 - MySQL cancels by a statement
        """See `Handoff`."""
        return MySQLGreeter(facts, number)

    def forsake(self, connection: Any) -> None:
        """See `Handoff`."""
        connection.session.lost = connection.session.running = True

    def cancel(self, connection: Any, timeout: float) -> None:
        """See `Handoff`."""
        session = connection.session
        with (
            contextlib.suppress(Exception),
            contextlib.closing(self._another(session.login, monotonic() + timeout)) as other,
        ):
            if self._is_there(other, session.thread_id, session.port):
                ask(other, f"KILL QUERY {session.thread_id:d}")


def _check(given: Mapping[str, Any]) -> None:
    """Raise `NotShareable` for what no broker can do for us."""
    flags = given.get("client_flag") or 0
    if "compress" in given or flags & COMPRESS:  # whatever its value, mysqlclient compresses
        raise NotShareable("compress: the state of the compression lies in one process")
    if any(given.get(name) for name in _OPTION_FILE) and not given.get("charset"):
        raise NotShareable("an option file may tell the character set; give `charset` as well")


def _resolved(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters that mean the same in another directory and environment."""
    params = {name: value for name, value in given.items() if value is not None}
    params.update(_from_environment(params))
    for name in _PATHS:
        if params.get(name):
            params[name] = _absolute(params[name])
    if isinstance(params.get("ssl"), dict):
        paths = {name: _absolute(params["ssl"][name]) for name in _SSL_PATHS & params["ssl"].keys()}
        params["ssl"] = params["ssl"] | paths
    return params


def _from_environment(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the client libraries take from the environment where nothing else tells.

    https://dev.mysql.com/doc/refman/8.4/en/environment-variables.html
    """
    if any(params.get(name) for name in _OPTION_FILE):
        return {}
    local = params.get("host") in (None, "", "localhost")
    names = {"password": "MYSQL_PWD"}
    names |= {"unix_socket": "MYSQL_UNIX_PORT"} if local else {"port": "MYSQL_TCP_PORT"}
    found = {
        name: os.environ[variable]
        for name, variable in names.items()
        if not params.get(name) and os.environ.get(variable)
    }
    return {name: int(each) if name == "port" else each for name, each in found.items()}


def _absolute(path: str | os.PathLike[str]) -> str:
    return os.path.abspath(os.path.expanduser(path))  # noqa: PTH100, PTH111 - a string, for the client library


def _plain(value: object) -> object:
    """Return the value of a session variable as JSON has it."""
    return int(value) if isinstance(value, int) else str(value)


def _port(descriptor: int) -> int:
    """Return the port at this end, 0: not TCP."""
    with socket.socket(fileno=os.dup(descriptor)) as same:
        is_tcp = same.family in (socket.AF_INET, socket.AF_INET6)
        return int(same.getsockname()[1]) if is_tcp else 0

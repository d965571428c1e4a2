"""What mysqlclient's parameters ask of TLS.

`ssl_mode` means what MySQL documents; where a client library asks for less (MariaDB's goes on
without TLS, whatever is required, if the server has none), TLS is had here all the same.

https://dev.mysql.com/doc/refman/8.4/en/connection-options.html#option_general_ssl-mode
https://mariadb.com/kb/en/mysql_optionsv/#tls-options
"""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from MySQLdb import _mysql, version_info

from carpool.host.handoff import NotShareable
from carpool.host.tls_stream import Address, cause
from carpool.mysql.tls_server import MySQLServer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

DEFAULT_PORT = 3306
MODES = ("DISABLED", "PREFERRED", "REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY")
FILES = ("ca", "capath", "cert", "key", "cipher")  # all that mysqlclient takes from `ssl`
ASKING = ("ssl", "ssl_mode")
OPTION_FILE = ("read_default_file", "read_default_group")
# Below mysqlclient 2.2.6 MariaDB's library from 3.4 on does TLS unasked, by rules of its own.
TLS_UNASKED, PUT_RIGHT = (3, 4), (2, 2, 6)


@dataclass(frozen=True)
class Terms:
    """What TLS with one server is to be like."""

    optional: bool  # whether a server without TLS will do
    verify: bool
    check_name: bool
    name: str  # the server's
    files: tuple[tuple[str, str], ...]  # of `ssl`

    def context(self) -> ssl.SSLContext:
        """Read the certificates, anew each time: they may be others now. Raises `NotShareable`."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.check_hostname = self.check_name
        context.verify_mode = ssl.CERT_REQUIRED if self.verify else ssl.CERT_NONE
        files = dict(self.files)
        try:
            _load(context, files)
        except OSError as error:
            given = ", ".join(f"{name} {path}" for name, path in files.items())
            raise NotShareable(
                f"the files of ssl cannot be used ({given}): {cause(error)}"
                " (if the key is encrypted, decrypt it: there is no parameter for its password)"
            ) from error
        return context


def _load(context: ssl.SSLContext, files: Mapping[str, str]) -> None:
    if "ca" in files or "capath" in files:
        context.load_verify_locations(files.get("ca"), files.get("capath"))
    elif context.verify_mode != ssl.CERT_NONE:
        context.load_default_certs()
    if cert := files.get("cert") or files.get("key"):
        # Without the last argument OpenSSL would ask for a password on the terminal.
        context.load_cert_chain(cert, files.get("key"), password="")
    if "cipher" in files:
        if "TLS_" in files["cipher"]:
            raise NotShareable("ssl cipher can choose among those of TLS 1.2 alone: leave it out")
        context.set_ciphers(files["cipher"])


@dataclass(frozen=True)
class Plan:
    """See `carpool.host.tls_plan.Plan`."""

    login: dict[str, Any]
    servers: Sequence[MySQLServer]

    def through(self, directory: Path, numbers: Sequence[int]) -> dict[str, Any]:
        """See `Plan`. Client libraries use a Unix socket for this host alone."""
        (server,), (number,) = self.servers, numbers
        local = {"host": "localhost", "unix_socket": str(directory / server.socket(number))}
        return {k: v for k, v in self.without().items() if k != "port"} | local

    def without(self) -> dict[str, Any]:
        """See `Plan`. What is not asked for MariaDB's library does not do; MySQL's must be told."""
        left = {name: value for name, value in self.login.items() if name not in ASKING}
        return left if _is_mariadb() else left | {"ssl_mode": "DISABLED"}


def plan(login: Mapping[str, Any]) -> Plan:
    """Read mysqlclient's parameters. Raises `NotShareable`."""
    files, mode = _files(login), _mode(login)
    wanted = mode != "DISABLED" or (files and _is_mariadb())
    local = login.get("unix_socket") or login.get("host") in (None, "", "localhost")
    if local and mode == "PREFERRED" and not files:
        wanted = False  # nobody does TLS on a Unix socket who need not
    if not wanted:
        return Plan(dict(login), ())
    for name in OPTION_FILE:
        if login.get(name):
            raise NotShareable(
                f"what an option file says of TLS is not read here: without {name}, name all"
                " parameters of the connection in the settings"
            )
    terms = _terms(mode, files, login.get("host") or "localhost")
    terms.context()  # raises here and now what would raise later
    return Plan(dict(login), (MySQLServer(_address(login), terms),))


def _terms(mode: str, files: Mapping[str, str], host: str) -> Terms:
    by_ca = "ca" in files or "capath" in files
    verify = mode.startswith("VERIFY")
    if verify and not by_ca and not _is_mariadb():
        raise NotShareable(f"ssl_mode {mode} needs a certificate to verify by: ssl={{'ca': ...}}")
    return Terms(
        # A certificate to verify by that does not matter when there is no TLS would be no use.
        optional=mode in ("DISABLED", "PREFERRED") and not by_ca,
        verify=verify or by_ca,
        # MariaDB's library checks the name with either mode.
        check_name=mode == "VERIFY_IDENTITY" or (verify and _is_mariadb()),
        name=host,
        files=tuple(sorted(files.items())),
    )


def _files(login: Mapping[str, Any]) -> dict[str, str]:
    given = login.get("ssl")
    files = given if isinstance(given, dict) else {}
    return {name: str(files[name]) for name in FILES if files.get(name)}


def _mode(login: Mapping[str, Any]) -> str:
    """Return the mode that counts, asked for or not."""
    if mode := login.get("ssl_mode"):
        if mode not in MODES:
            raise NotShareable(f"ssl_mode {mode!r} is none of {', '.join(MODES)}")
        return str(mode)
    given = login.get("ssl")
    if given is not None and not isinstance(given, dict):
        return "REQUIRED" if given else "DISABLED"
    return "DISABLED" if _is_mariadb() else "PREFERRED"


def _is_mariadb() -> bool:
    """Tell which client library is there: MySQL's are numbered from 5 to 9, MariaDB's 3 or 10."""
    numbers = tuple(int(each) for each in _mysql.get_client_info().split(".")[:2])
    mariadb = numbers < (5,) or numbers >= (10,)
    if mariadb and numbers >= TLS_UNASKED and version_info[:3] < PUT_RIGHT:
        raise NotShareable("this mysqlclient does not say when it uses TLS: get 2.2.6 or later")
    return mariadb


def _address(login: Mapping[str, Any]) -> Address:
    host, path = login.get("host"), login.get("unix_socket")
    port = int(login.get("port") or DEFAULT_PORT)
    if host not in (None, "", "localhost"):
        return Address(host, port, host, _keepalives())
    if path:
        return Address(str(path), port, "localhost")
    raise NotShareable("TLS on the default Unix socket cannot be had here: name it by unix_socket")


def _keepalives() -> tuple[tuple[int, int, int], ...]:
    """As for a connection without TLS: one that is cut off is noticed within two minutes."""
    times = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4))
    return (
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        *(
            (socket.IPPROTO_TCP, getattr(socket, name), value)
            for name, value in times
            if hasattr(socket, name)
        ),
    )

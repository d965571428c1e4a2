"""What libpq's parameters ask of TLS.

https://www.postgresql.org/docs/current/libpq-ssl.html
https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS
"""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carpool.host.handoff import NotShareable
from carpool.host.tls_stream import Address, cause
from carpool.postgresql.tls_server import ALPN, PostgreSQLServer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DEFAULT_PORT = "5432"
OPTIONAL, FULL = ("allow", "prefer"), "verify-full"
MODES = ("disable", *OPTIONAL, "require", "verify-ca", FULL)
VERSIONS = {
    "tlsv1": ssl.TLSVersion.TLSv1,
    "tlsv1.1": ssl.TLSVersion.TLSv1_1,
    "tlsv1.2": ssl.TLSVersion.TLSv1_2,
    "tlsv1.3": ssl.TLSVersion.TLSv1_3,
}
# What concerns TLS and can only be had where the driver itself speaks it, with the way out.
BEYOND_US = {
    ("channel_binding", "require"): "use channel_binding=prefer with sslmode=verify-full",
    ("gssencmode", "require"): "use TLS instead: sslmode=verify-full",
    ("sslcertmode", "require"): "use sslcertmode=allow",
    ("sslcrldir", None): "put the lists into one file and name it by sslcrl",
    ("sslkeylogfile", None): "leave it out",
}
# With a socket at hand nothing is left of TLS and of what names the server; "" also keeps libpq
# from asking its environment.
WITHOUT_TLS = {"sslmode": "disable", "gssencmode": "disable", "sslrootcert": ""}
LOCAL = {"hostaddr": "", "requirepeer": ""}
KEEPALIVES = {
    "keepalives_idle": "TCP_KEEPIDLE" if hasattr(socket, "TCP_KEEPIDLE") else "TCP_KEEPALIVE",
    "keepalives_interval": "TCP_KEEPINTVL",
    "keepalives_count": "TCP_KEEPCNT",
    "tcp_user_timeout": "TCP_USER_TIMEOUT",
}


@dataclass(frozen=True)
class Terms:
    """What TLS with one server is to be like."""

    mode: str  # libpq's sslmode
    direct: bool  # TLS from the first byte on
    name: str | None  # the server's, in TLS and maybe in its certificate
    params: tuple[tuple[str, str], ...] = field(repr=False)  # libpq's that begin with ssl

    @property
    def optional(self) -> bool:
        """Whether a server without TLS will do."""
        return self.mode in OPTIONAL

    def context(self) -> ssl.SSLContext:
        """Read the certificates, anew each time: they may be others now. Raises `NotShareable`."""
        params = dict(self.params)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols([ALPN])
        context.minimum_version = _version(params, "ssl_min_protocol_version", "tlsv1.2")
        if params.get("ssl_max_protocol_version"):
            context.maximum_version = _version(params, "ssl_max_protocol_version", "")
        if not self.optional:
            _trust(context, params, self.mode)
        _show_certificate(context, params)
        return context


@dataclass(frozen=True)
class Plan:
    """See `carpool.host.tls_plan.Plan`."""

    login: dict[str, Any]
    # Each server of the list in `host`: as given, and with TLS if that is wanted there.
    places: list[tuple[str, str, PostgreSQLServer | None]]

    @property
    def servers(self) -> Sequence[PostgreSQLServer]:
        """See `Plan`."""
        return [server for *_, server in self.places if server]

    def through(self, directory: Path, numbers: Sequence[int]) -> dict[str, Any]:
        """See `Plan`. libpq finds a local socket by a directory and a port."""
        ports = iter(numbers)
        local = [
            (str(directory), str(next(ports))) if server else (host, port)
            for host, port, server in self.places
        ]
        hosts, ports_of_all = zip(*local, strict=True)
        address = {"host": ",".join(hosts), "port": ",".join(ports_of_all)}
        return self.without() | address | LOCAL

    def without(self) -> dict[str, Any]:
        """See `Plan`."""
        left = {k: v for k, v in self.login.items() if not k.startswith(("ssl", "requiressl"))}
        if "sslnegotiation" in self.login:  # known since libpq 17
            left["sslnegotiation"] = "postgres"
        return left | WITHOUT_TLS


def plan(login: Mapping[str, Any]) -> Plan:
    """Read libpq's parameters. Raises `NotShareable`."""
    params = {name: str(value) for name, value in login.items() if value not in (None, "")}
    names = ("host", "hostaddr", "port")
    hosts, numbers, ports = (params.get(name, "").split(",") for name in names)
    count = max(len(hosts), len(numbers))
    lists = (_stretched(each, count) for each in (hosts, numbers, ports))
    return Plan(dict(login), [_place(params, *each) for each in zip(*lists, strict=True)])


def _stretched(values: list[str], count: int) -> list[str]:
    """Have one value count for all servers, as libpq does with the port."""
    if len(values) not in (1, count):
        raise NotShareable(f"host, hostaddr and port do not match: {count} servers, {len(values)}")
    return values * count if len(values) == 1 else values


def _place(
    params: Mapping[str, str], host: str, number: str, port: str
) -> tuple[str, str, PostgreSQLServer | None]:
    port = port or DEFAULT_PORT
    if not number and (not host or host.startswith(("/", "@"))):
        return host, port, None  # a Unix socket, on which libpq does no TLS
    _refuse_what_is_beyond_us(params)
    mode = _mode(params)
    if mode == "disable":
        return host, port, None
    terms = Terms(
        mode=mode,
        direct=params.get("sslnegotiation") == "direct",
        name=_server_name(params, mode, host),
        params=tuple(sorted((k, v) for k, v in params.items() if k.startswith("ssl"))),
    )
    terms.context()  # raises here and now what would raise later
    address = Address(number or host, int(port), host, _keepalives(params))
    return host, port, PostgreSQLServer(address, terms)


def _mode(params: Mapping[str, str]) -> str:
    system = params.get("sslrootcert") == "system"
    default = FULL if system else "require" if params.get("requiressl") == "1" else "prefer"
    mode = params.get("sslmode", default)
    if mode not in MODES:
        raise NotShareable(f"sslmode {mode!r} is none of {', '.join(MODES)}")
    if system and mode != FULL:
        raise NotShareable(f"sslmode={mode} is too weak for sslrootcert=system: use {FULL}")
    if params.get("sslnegotiation") == "direct" and mode in ("disable", *OPTIONAL):
        raise NotShareable(f"sslmode={mode} is too weak for sslnegotiation=direct: use require")
    return mode


def _refuse_what_is_beyond_us(params: Mapping[str, str]) -> None:
    for (name, value), way_out in BEYOND_US.items():
        given = params.get(name)
        if given and value in (None, given):
            raise NotShareable(
                f"{name}={given} cannot be had where TLS is spoken by a broker: {way_out}"
            )


def _server_name(params: Mapping[str, str], mode: str, host: str) -> str | None:
    """Return the name to check, and to tell the server unless it is a number."""
    if mode == FULL and not host:
        raise NotShareable(f"sslmode={FULL} needs the name in the server's certificate as host")
    if params.get("sslsni", "1") == "1" or _is_number(host):
        return host or None
    if mode == FULL:
        raise NotShareable(f"sslsni=0 cannot be had with sslmode={FULL} here: use sslsni=1")
    return None


def _is_number(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _keepalives(params: Mapping[str, str]) -> tuple[tuple[int, int, int], ...]:
    """Return the options of the socket that libpq would set."""
    if params.get("keepalives", "1") == "0":
        return ()
    wanted = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    for name, option in KEEPALIVES.items():
        value = int(params.get(name, 0))
        if value > 0 and hasattr(socket, option):
            wanted.append((socket.IPPROTO_TCP, getattr(socket, option), value))
    return tuple(wanted)


def _version(params: Mapping[str, str], name: str, default: str) -> ssl.TLSVersion:
    given = params.get(name, default)
    try:
        return VERSIONS[given.lower()]
    except KeyError:
        raise NotShareable(f"{name} {given!r} is none of {', '.join(VERSIONS)}") from None


def _default_file(name: str) -> str:
    return str(Path.home() / ".postgresql" / name)


def _trust(context: ssl.SSLContext, params: Mapping[str, str], mode: str) -> None:
    """Have certificates verified; with `require` only if there is one to verify them by."""
    root = params.get("sslrootcert") or _default_file("root.crt")
    if root == "system":
        context.load_default_certs()
    elif Path(root).exists():
        _load(context, "sslrootcert", root)
        _revoke(context, params)
    elif mode == "require":
        return
    else:
        raise NotShareable(
            f"sslmode={mode} needs a root certificate, but {root} does not exist:"
            " name one by sslrootcert, or use sslrootcert=system"
        )
    context.verify_mode = ssl.CERT_REQUIRED
    context.check_hostname = mode == FULL


def _revoke(context: ssl.SSLContext, params: Mapping[str, str]) -> None:
    path = params.get("sslcrl") or _default_file("root.crl")
    if "sslcrl" in params or Path(path).exists():
        _load(context, "sslcrl", path)
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN


def _load(context: ssl.SSLContext, name: str, path: str) -> None:
    try:
        context.load_verify_locations(path)
    except OSError as error:
        raise NotShareable(f"{name} {path} cannot be used: {cause(error)}") from error


def _show_certificate(context: ssl.SSLContext, params: Mapping[str, str]) -> None:
    """Have the client's certificate at hand, if there is one."""
    path = params.get("sslcert") or _default_file("postgresql.crt")
    if params.get("sslcertmode") == "disable" or not Path(path).exists():
        return
    key = params.get("sslkey") or _default_file("postgresql.key")
    try:
        # Without this OpenSSL would ask for the password on the terminal.
        context.load_cert_chain(path, key, password=lambda: params.get("sslpassword", ""))
    except OSError as error:
        hint = "" if "sslpassword" in params else " (if the key is encrypted, give sslpassword)"
        raise NotShareable(
            f"sslcert {path} with sslkey {key} cannot be used: {cause(error)}{hint}"
        ) from error

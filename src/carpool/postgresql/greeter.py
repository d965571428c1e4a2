"""The server's side of PostgreSQL's start-up, without I/O.

https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-START-UP says who says
what, https://www.postgresql.org/docs/current/protocol-message-formats.html how it is written.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from carpool.host.handoff import Cancel, Shell, Visitor

if TYPE_CHECKING:
    from collections.abc import Iterable

    import psycopg

#: What marks a shell's start-up; a server would take it for a setting nobody uses.
SHELL_OPTIONS: Final = "-c carpool.shell=on"

CANCEL_REQUEST: Final = 1234 << 16 | 5678
ENCRYPTION_REQUESTS: Final = (1234 << 16 | 5679, 1234 << 16 | 5680)  # TLS, GSSAPI
PROTOCOL: Final = 3
NEWEST_MINOR: Final = 2  # of PostgreSQL 18; the same as 3.0 but for the length of a secret
MAX_PACKET: Final = 10_000  # bytes, as in PostgreSQL itself (MAX_STARTUP_PACKET_LENGTH)

# Clients see a number as that of a process. Linux has none above 2^22; the field has 31 bits.
FIRST_PID: Final = 1 << 30

# https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-ASYNC, and one by which
# psycopg knows CockroachDB. libpq does not list what it has been told.
REPORTED: Final = (
    "application_name",
    "client_encoding",
    "crdb_version",
    "DateStyle",
    "default_transaction_read_only",
    "in_hot_standby",
    "integer_datetimes",
    "IntervalStyle",
    "is_superuser",
    "scram_iterations",
    "search_path",
    "server_encoding",
    "server_version",
    "session_authorization",
    "standard_conforming_strings",
    "TimeZone",
)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a server has told at a login. Logins to unequal servers tell unequal facts."""

    parameters: tuple[tuple[bytes, bytes], ...]


def facts_of(connection: psycopg.Connection[object]) -> Facts:
    """Return what the server has told a connection."""
    told = ((name.encode(), connection.pgconn.parameter_status(name.encode())) for name in REPORTED)
    return Facts(tuple((name, value) for name, value in told if value is not None))


class Greeter:
    """See `carpool.host.handoff.Greeter`. Asks nobody for a password: the socket's mode does.

    `number` is below 2^30, `secret` has four bytes.
    """

    def __init__(self, facts: Facts, number: int, secret: bytes) -> None:
        self.outcome: Shell | Visitor | Cancel | None = None
        self.rest = b""
        self._facts = facts
        self._key = struct.pack(">i4s", FIRST_PID + number, secret)
        self._received = bytearray()
        self._refused: set[int] = set()  # kinds of encryption

    def hello(self) -> bytes:
        """Say nothing: here the client speaks first."""
        return b""

    def receive(self, data: bytes) -> bytes:
        """See `carpool.host.handoff.Greeter`."""
        self._received += data
        answer = b""
        while self.outcome is None and (packet := self._next_packet()):
            answer += self._answer(packet)
        if self.outcome is not None:
            self._set_apart_the_rest()
        return answer

    def _next_packet(self) -> bytes | None:
        """Take a whole packet from what has come; return it without its length."""
        if len(self._received) < 4:  # noqa: PLR2004 - bytes that tell the length
            return None
        (length,) = struct.unpack_from(">i", self._received)
        if not 8 <= length <= 4 + MAX_PACKET:  # noqa: PLR2004 - length and code
            raise ValueError(f"not a start-up packet of PostgreSQL: {length} bytes long")
        if len(self._received) < length:
            return None
        packet = bytes(self._received[4:length])
        del self._received[:length]
        return packet

    def _set_apart_the_rest(self) -> None:
        self.rest += self._received
        self._received.clear()
        if len(self.rest) > MAX_PACKET:
            raise ValueError(f"{len(self.rest)} bytes were sent before the login was answered")

    def _answer(self, packet: bytes) -> bytes:
        (code,) = struct.unpack_from(">i", packet)
        if code in ENCRYPTION_REQUESTS:
            return self._refuse_encryption(code)
        if code == CANCEL_REQUEST:
            self.outcome = asked_cancel(packet)
            return b""
        major, minor = divmod(code, 1 << 16)
        if major != PROTOCOL:
            raise ValueError(f"version {major}.{minor} of PostgreSQL's protocol is not spoken here")
        parameters = start_up_parameters(packet)
        self.outcome = who_starts(parameters)
        return self._welcome(minor, (name for name in parameters if name.startswith("_pq_.")))

    def _refuse_encryption(self, code: int) -> bytes:
        if code in self._refused:
            raise ValueError("encryption was asked for again after it had been refused")
        self._refused.add(code)
        return b"N"

    def _welcome(self, minor: int, extensions: Iterable[str]) -> bytes:
        return b"".join(
            (
                negotiation(minor, list(extensions)),
                message(b"R", struct.pack(">i", 0)),  # AuthenticationOk
                *(message(b"S", b"%s\0%s\0" % each) for each in self._facts.parameters),
                message(b"K", self._key),
                message(b"Z", b"I"),  # ReadyForQuery, idle
            )
        )


def message(kind: bytes, body: bytes) -> bytes:
    r"""Write a message.

    >>> message(b"Z", b"I")
    b'Z\x00\x00\x00\x05I'
    """
    return kind + struct.pack(">i", 4 + len(body)) + body


def negotiation(minor: int, extensions: list[str]) -> bytes:
    """Write NegotiateProtocolVersion, if a client asks for more than is spoken here."""
    if minor <= NEWEST_MINOR and not extensions:
        return b""
    spoken = PROTOCOL << 16 | min(minor, NEWEST_MINOR)
    names = b"".join(name.encode() + b"\0" for name in extensions)
    return message(b"v", struct.pack(">ii", spoken, len(extensions)) + names)


def asked_cancel(packet: bytes) -> Cancel:
    """Read a CancelRequest. Raises ValueError."""
    if len(packet) < 12:  # noqa: PLR2004 - code, number and the shortest secret
        raise ValueError("a CancelRequest without a secret")
    (pid,) = struct.unpack_from(">i", packet, 4)
    if pid < FIRST_PID:
        raise ValueError(f"a CancelRequest for process {pid}, which is nobody's here")
    return Cancel(pid - FIRST_PID, packet[8:])


def start_up_parameters(packet: bytes) -> dict[str, str]:
    """Read the parameters of a StartupMessage. Raises ValueError."""
    *fields, last, end = packet[4:].decode().split("\0") if len(packet) > 4 else [""]  # noqa: PLR2004 - the version
    if last or end:
        raise ValueError("a StartupMessage without its end")
    parameters = dict(zip(fields[::2], fields[1::2], strict=True))
    if not all(parameters):
        raise ValueError("a StartupMessage with a parameter that has no name")
    return parameters


def who_starts(parameters: dict[str, str]) -> Shell | Visitor:
    """Tell who sends these start-up parameters. Raises ValueError."""
    user = parameters.get("user")
    if not user:
        raise ValueError("a StartupMessage without a user")
    if SHELL_OPTIONS in parameters.get("options", ""):
        return Shell()
    if parameters.get("replication", "").lower() not in ("", "false", "off", "no", "0"):
        raise ValueError("replication needs a connection of its own, to the server itself")
    settings = {
        name: value
        for name, value in parameters.items()
        if name not in ("user", "database", "replication") and not name.startswith("_pq_.")
    }
    return Visitor(user, parameters.get("database") or user, settings)

"""The server's part of a MySQL login, played for those who connect to a broker. Does no I/O.

What a client and a server agree on here decides how they talk from then on. So a client is offered
what the broker's own login has agreed on, and one that understands less is turned away.

Greeting: https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase_packets_protocol_handshake_v10.html
Response: https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase_packets_protocol_handshake_response.html
MariaDB's additions: https://mariadb.com/kb/en/connection/
"""

from __future__ import annotations

import os
import re
import struct
from dataclasses import dataclass
from typing import Final

from carpool.host.handoff import Cancel, Shell, Visitor
from carpool.mysql.wire import HEADER

SHELL_USER: Final = "carpool-shell"
LIMIT: Final = 1 << 16  # bytes of a packet; the longest part of a login are its attributes
PLUGIN: Final = b"mysql_native_password"

# Capabilities, the server's and the client's
LONG_PASSWORD: Final = 1 << 0  # never set by a MariaDB, nor by who knows its extended ones
CONNECT_WITH_DB: Final = 1 << 3
COMPRESS: Final = 1 << 5
PROTOCOL_41: Final = 1 << 9
SSL: Final = 1 << 11
SECURE_CONNECTION: Final = 1 << 15
PLUGIN_AUTH: Final = 1 << 19
CONNECT_ATTRS: Final = 1 << 20
LENENC_AUTH: Final = 1 << 21
SESSION_TRACK: Final = 1 << 23
DEPRECATE_EOF: Final = 1 << 24
OPTIONAL_METADATA: Final = 1 << 25
ZSTD: Final = 1 << 26
QUERY_ATTRIBUTES: Final = 1 << 27
SSL_VERIFY: Final = 1 << 30
REMEMBER_OPTIONS: Final = 1 << 31
# MariaDB's extended ones
PROGRESS: Final = 1 << 0
BULK: Final = 1 << 2
EXTENDED_METADATA: Final = 1 << 3
CACHE_METADATA: Final = 1 << 4

NOT_OFFERED: Final = SSL | COMPRESS | ZSTD
NEEDED: Final = PROTOCOL_41 | SECURE_CONNECTION | PLUGIN_AUTH
# Of the login alone, or of the client library alone: they change nothing later.
_OF_THE_LOGIN: Final = (
    *(CONNECT_WITH_DB, PLUGIN_AUTH, CONNECT_ATTRS, LENENC_AUTH),
    *(SSL, SSL_VERIFY, COMPRESS, ZSTD, REMEMBER_OPTIONS),
)
LASTING: Final = 0xFFFFFFFF & ~sum(_OF_THE_LOGIN)
# What packets look like by. (Without SESSION_TRACK a client reads a text that begins with a byte
# too many.)
FRAMING: Final = DEPRECATE_EOF | OPTIONAL_METADATA | QUERY_ATTRIBUTES
EXTENDED_FRAMING: Final = EXTENDED_METADATA | CACHE_METADATA

AUTOCOMMIT: Final = 2  # of the status flags
# What a server sets by the charset of a login.
OF_THE_CHARSET: Final = ("character_set_client", "character_set_results", "collation_connection")
ERROR: Final = 1105  # ER_UNKNOWN_ERROR: there is none for this
_TEN: Final = re.compile(r"10\.\d+\.\d+-MariaDB", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a real login has told and agreed on."""

    version: str
    capabilities: int  # the server's
    extended: int  # MariaDB's, of those in force
    client_flag: int  # the capabilities in force
    charset: int  # the number of a collation
    autocommit: bool


class MySQLGreeter:
    """See `Greeter`. A client is greeted as by the server that `facts` tell of."""

    def __init__(self, facts: Facts, number: int) -> None:
        self.outcome: Shell | Visitor | Cancel | None = None
        self._facts, self._number = facts, number
        # Any bytes but zeros, and printable as those of servers are.
        self._scramble = bytes(33 + byte % 94 for byte in os.urandom(20))
        self.rest = b""
        self._buffer = b""
        self._login: Login | None = None  # one whose client was asked for another password
        self._refused = False

    def hello(self) -> bytes:
        """See `Greeter`."""
        facts = self._facts
        low, high = struct.unpack("<HH", struct.pack("<I", offered(facts)))
        status = AUTOCOMMIT if facts.autocommit else 0
        length = len(self._scramble) + 1
        fields = struct.pack("<HBHHB", low, facts.charset & 0xFF, status, high, length)
        return as_packet(
            0,
            b"".join(
                (
                    b"\x0a" + as_sent(facts.version).encode() + b"\0",
                    struct.pack("<I", self._number & 0xFFFFFFFF),
                    self._scramble[:8] + b"\0" + fields,
                    struct.pack("<6xI", facts.extended),
                    self._scramble[8:] + b"\0" + PLUGIN + b"\0",
                )
            ),
        )

    def receive(self, data: bytes) -> bytes:
        """See `Greeter`."""
        if self.outcome or self._refused:
            raise ValueError("the login is over")
        self._buffer += data
        answer = b""
        while not (self.outcome or self._refused) and (packet := self._next_packet()) is not None:
            answer += self._answer(packet)
        if self.outcome:
            self.rest, self._buffer = self._buffer, b""
        return answer

    def _next_packet(self) -> bytes | None:
        """Take a packet's body out of the buffer, if it is whole."""
        if len(self._buffer) < HEADER:
            return None
        length, sequence = int.from_bytes(self._buffer[:3], "little"), self._buffer[3]
        if length > LIMIT:
            raise ValueError("a packet too long for a login")
        if sequence != self._sequence - 1:
            raise ValueError("a packet out of order")
        end = HEADER + length
        if len(self._buffer) < end:
            return None
        body, self._buffer = self._buffer[HEADER:end], self._buffer[end:]
        return body

    @property
    def _sequence(self) -> int:
        """The number of our next packet."""
        return 2 if self._login is None else 4

    def _answer(self, packet: bytes) -> bytes:
        """Answer the login, or the password that we have asked for: any will do.

        Nobody but the user of the broker can connect at all.
        """
        if self._login is not None:
            return self._accept(self._login)
        login = parse(packet)
        if reason := self._objection(login):
            self._refused = True
            return as_packet(self._sequence, _error(reason))
        if login.plugin in (b"", PLUGIN):
            return self._accept(login)
        request = b"\xfe" + PLUGIN + b"\0" + self._scramble + b"\0"
        answer = as_packet(self._sequence, request)
        self._login = login
        return answer

    def _objection(self, login: Login) -> str | None:
        """Tell why a client cannot talk to the server on the broker's connections; None: it can."""
        facts = self._facts
        lasting = LASTING if login.user == SHELL_USER else FRAMING
        differing = (login.flags ^ facts.client_flag) & lasting
        extended = (login.extended ^ facts.extended) & EXTENDED_FRAMING
        if not (differing or extended):
            return None
        return (
            "carpool: this client cannot use the pool's connections, which have been opened"
            f" with other capabilities (differing: {differing:#x}, {extended:#x});"
            " use the client library of the application, or connect to the server itself"
        )

    def _accept(self, login: Login) -> bytes:
        status = AUTOCOMMIT if self._facts.autocommit else 0
        answer = as_packet(self._sequence, b"\0\0\0" + struct.pack("<HH", status, 0))
        self.outcome = Shell() if login.user == SHELL_USER else self._visitor(login)
        return answer

    def _visitor(self, login: Login) -> Visitor:
        """Take the charset, which a login tells by its number, as a server would."""
        alike = login.charset == self._facts.charset & 0xFF
        settings = {} if alike else dict.fromkeys(OF_THE_CHARSET, str(login.charset))
        return Visitor(login.user, login.database, settings)


def offered(facts: Facts) -> int:
    """Return the capabilities that a client is told of.

    >>> hex(offered(Facts("8.0.36", 0xFFFFFFFF, 0, DEPRECATE_EOF, 45, True)))
    '0xf17ff7df'
    """
    never_agreed_on = (FRAMING | SESSION_TRACK) & ~facts.client_flag
    return (facts.capabilities & ~NOT_OFFERED & ~never_agreed_on) | NEEDED


def as_sent(version: str) -> str:
    """Return a version as the server's greeting has it, of which some clients drop a part.

    >>> as_sent("10.11.6-MariaDB"), as_sent("11.4.2-MariaDB"), as_sent("8.0.36")
    ('5.5.5-10.11.6-MariaDB', '11.4.2-MariaDB', '8.0.36')
    """
    return f"5.5.5-{version}" if _TEN.match(version) else version


@dataclass(frozen=True, slots=True)
class Login:
    """What a client's response to the greeting says. Nobody asks for the password."""

    flags: int
    extended: int
    user: str
    database: str
    plugin: bytes
    charset: int  # the number of a collation


def parse(packet: bytes) -> Login:
    """Take a HandshakeResponse41 apart; raises ValueError for anything else."""
    try:
        flags, charset, extended = struct.unpack_from("<I4xB19xI", packet)
    except struct.error as error:
        raise ValueError("a login too short") from error
    if flags & SSL or not flags & PROTOCOL_41:
        raise ValueError("a login with TLS, or of before MySQL 4.1")
    user, at = _text(packet, 32)
    at = _after_password(packet, at, flags)
    database, at = _text(packet, at) if flags & CONNECT_WITH_DB else (b"", at)
    plugin, at = _text(packet, at) if flags & PLUGIN_AUTH else (b"", at)
    extended = 0 if flags & LONG_PASSWORD else extended
    return Login(flags, extended, user.decode(), database.decode(), plugin, charset)


def _text(packet: bytes, at: int) -> tuple[bytes, int]:
    """Return a text that ends with a zero, and where the next field begins."""
    end = packet.index(b"\0", at)
    return packet[at:end], end + 1


def _after_password(packet: bytes, at: int, flags: int) -> int:
    """Return where a password ends."""
    if not flags & (LENENC_AUTH | SECURE_CONNECTION):
        return packet.index(b"\0", at) + 1
    # Without LENENC_AUTH it is one byte; what would be read as more is too long for any password.
    length, at = length_of(packet, at)
    if at + length > len(packet):
        raise ValueError("a password longer than its packet")
    return at + length


def length_of(packet: bytes, at: int) -> tuple[int, int]:
    """Read a length; return it, and where what is so long begins. Raises ValueError.

    https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_dt_integers.html

    >>> length_of(bytes([5]), 0), length_of(bytes([0xFC, 1, 2]), 0)
    ((5, 1), (513, 3))
    """
    first, start = packet[at : at + 1], at + 1
    size = {b"\xfc": 2, b"\xfd": 3, b"\xfe": 8}.get(first, 0)
    end = start + size
    if not first or first in b"\xfb\xff" or end > len(packet):
        raise ValueError("no length")
    return int.from_bytes(packet[start:end] if size else first, "little"), end


def as_packet(sequence: int, body: bytes) -> bytes:
    r"""Write a packet.

    >>> as_packet(1, b"OK")
    b'\x02\x00\x00\x01OK'
    """
    return len(body).to_bytes(3, "little") + bytes([sequence]) + body


def _error(text: str) -> bytes:
    return b"\xff" + struct.pack("<H", ERROR) + b"#HY000" + text.encode()

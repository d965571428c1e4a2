"""PostgreSQL's switch to TLS, done in place of its client.

https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-SSL
https://www.postgresql.org/docs/current/protocol-message-formats.html
"""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carpool.host.tls_stream import Address, Encrypted, Refused, Stream, dial, reaching

if TYPE_CHECKING:
    from contextlib import ExitStack

    from carpool.postgresql.tls import Terms

SSL_REQUEST = struct.pack("!ii", 8, 80877103)
LONGEST_STARTUP = 10000  # bytes, the server's own limit
LONGEST_MESSAGE = 1 << 20  # bytes of a message that is looked at
ALPN = "postgresql"
CANNOT_CONNECT = "08001"
AUTHENTICATION, ERROR = b"R", b"E"
SASL = struct.pack("!i", 10)
WITH_BINDING = b"SCRAM-SHA-256-PLUS\0"


@dataclass(frozen=True)
class PostgreSQLServer:
    """One server and the TLS that is wanted with it; see `carpool.host.tls_plan.Server`."""

    address: Address
    terms: Terms

    @property
    def optional(self) -> bool:
        """See `Server`."""
        return self.terms.optional

    def socket(self, number: int) -> str:
        """See `Server`."""
        return f".s.PGSQL.{number}"

    async def speaks_tls(self, closing: ExitStack) -> bool:
        """See `Server`."""
        async with reaching(self.address):
            return await self._agrees(await dial(self.address, closing))

    async def greet(self, client: Stream, closing: ExitStack) -> Stream | None:
        """See `Server`. A request to cancel is a connection like any other."""
        first = await _first_packet(client)
        try:
            async with reaching(self.address):
                server = await self._connect(closing)
        except Refused as refused:
            await client.write(_error(str(refused)))
            return None
        await server.write(first)
        await _pass_on_without_binding(server, client)
        return server

    async def _connect(self, closing: ExitStack) -> Stream:
        terms = self.terms
        plain = await dial(self.address, closing)
        if not terms.direct and not await self._agrees(plain):
            if terms.optional:
                return plain
            raise Refused(
                f"the server at {self.address} does not offer TLS, but sslmode is {terms.mode}"
            )
        server = await plain.encrypted(await asyncio.to_thread(terms.context), terms.name)
        self._check_protocol(server)
        return server

    async def _agrees(self, plain: Stream) -> bool:
        await plain.write(SSL_REQUEST)
        answer = await plain.read_exactly(1)
        if answer not in (b"S", b"N"):
            raise Refused(f"the server at {self.address} does not know how to switch to TLS")
        return answer == b"S"

    def _check_protocol(self, server: Encrypted) -> None:
        """Make sure that it is PostgreSQL that was agreed on; old servers agree on nothing."""
        if server.alpn != ALPN and (self.terms.direct or server.alpn):
            raise Refused(
                f"the server at {self.address} does not speak PostgreSQL's protocol from the first"
                " byte of TLS on: it needs PostgreSQL 17 or sslnegotiation=postgres"
            )


async def _first_packet(client: Stream) -> bytes:
    head = await client.read_exactly(4)
    (length,) = struct.unpack("!i", head)
    if not len(head) <= length <= LONGEST_STARTUP:
        raise ConnectionError("this is not PostgreSQL's protocol")
    return head + await client.read_exactly(length - len(head))


async def _pass_on_without_binding(server: Stream, client: Stream) -> None:
    """Pass on what the server says up to its first word on authentication, or the end.

    It may offer to bind a password to its TLS, which to a client without TLS is a sign of fraud.
    """
    kind = b""
    while kind not in (AUTHENTICATION, ERROR) and (kind := await server.read(1)):
        head = await server.read_exactly(4)
        (length,) = struct.unpack("!i", head)
        if not len(head) <= length <= LONGEST_MESSAGE:
            return await client.write(kind + head)
        body = await server.read_exactly(length - len(head))
        if kind == AUTHENTICATION and body.startswith(SASL):
            body = body.replace(WITH_BINDING, b"")
        await client.write(_message(kind, body))
    return None


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", 4 + len(body)) + body


def _error(text: str) -> bytes:
    fields = {"S": "FATAL", "V": "FATAL", "C": CANNOT_CONNECT, "M": text}
    body = "".join(f"{name}{value}\0" for name, value in fields.items())
    return _message(ERROR, body.encode() + b"\0")

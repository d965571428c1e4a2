"""MySQL's switch to TLS, done in place of its client.

The switch is a packet of its own, so from there on until the login is over the server counts one
packet more than the client.

https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase.html
https://mariadb.com/kb/en/connection/
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from carpool.host.tls_stream import Address, Refused, Stream, dial, reaching

if TYPE_CHECKING:
    from contextlib import ExitStack

    from carpool.mysql.tls import Terms

SSL = 0x0800  # the capability
VERSION_10 = 10
OK, ERR = b"\x00", b"\xff"
# ER_HANDSHAKE_ERROR. Client libraries do not believe a server that uses their own numbers.
BAD_HANDSHAKE = 1043
REQUEST = 32  # bytes of the client's answer that ask for TLS
LONGEST = 1 << 20  # bytes of a packet of a login


class Packet(NamedTuple):
    """One packet and its number."""

    number: int
    body: bytes

    def encoded(self, shift: int = 0) -> bytes:
        """Return what is sent, under another number."""
        number = (self.number + shift) % 256
        return len(self.body).to_bytes(3, "little") + bytes([number]) + self.body


@dataclass(frozen=True)
class MySQLServer:
    """One server and the TLS that is wanted with it; see `carpool.host.tls_plan.Server`."""

    address: Address
    terms: Terms

    @property
    def optional(self) -> bool:
        """See `Server`."""
        return self.terms.optional

    def socket(self, number: int) -> str:
        """See `Server`."""
        return f"mysql.{number}.sock"

    async def speaks_tls(self, closing: ExitStack) -> bool:
        """See `Server`."""
        async with reaching(self.address):
            greeting = await _read(await dial(self.address, closing))
        return bool(_capabilities(greeting.body) & SSL)

    async def greet(self, client: Stream, closing: ExitStack) -> Stream | None:
        """See `Server`."""
        said = 0  # by the client
        try:
            async with reaching(self.address):
                server = await dial(self.address, closing)
                greeting = await _read(server)
            if greeting.body.startswith(ERR):
                await client.write(greeting.encoded())
                return None
            offered = self._is_offered(greeting)
            await client.write(_without_tls(greeting).encoded())
            if not offered:
                return server
            answer = await _read(client)
            said = 1
            async with reaching(self.address):
                server = await self._switch(server, answer)
        except Refused as refused:
            await client.write(_error(refused, said))
            return None
        await _log_in(client, server)
        return server

    def _is_offered(self, greeting: Packet) -> bool:
        offered = bool(_capabilities(greeting.body) & SSL)
        if not offered and not self.optional:
            raise Refused(f"the server at {self.address} does not offer TLS, which is asked for")
        return offered

    async def _switch(self, plain: Stream, answer: Packet) -> Stream:
        """Ask for TLS and send the client's answer through it."""
        if len(answer.body) <= REQUEST:
            raise Refused("the client speaks a protocol from before MySQL 4.1")
        context = await asyncio.to_thread(self.terms.context)
        flags = int.from_bytes(answer.body[:4], "little") | SSL
        asking = answer._replace(body=flags.to_bytes(4, "little") + answer.body[4:])
        await plain.write(asking._replace(body=asking.body[:REQUEST]).encoded())
        server = await plain.encrypted(context, self.terms.name)
        await server.write(asking.encoded(+1))
        return server


async def _log_in(client: Stream, server: Stream) -> None:
    """Pass packets on under the number that the other side expects, until the login is over."""
    up = asyncio.create_task(_pass_on(client, server))
    down = asyncio.create_task(_outcome(server, client))
    try:
        await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
        if not down.done():
            await up  # which raises
    finally:
        up.cancel()  # it waits for the client, who says nothing until it knows the outcome
        down.cancel()
        await asyncio.wait({up, down})
    await client.write(down.result().encoded(-1))


async def _pass_on(client: Stream, server: Stream) -> None:
    while True:
        await server.write((await _read(client)).encoded(+1))


async def _outcome(server: Stream, client: Stream) -> Packet:
    """Pass on what the server asks; return the packet that ends the login."""
    while not (packet := await _read(server)).body.startswith((OK, ERR)):
        await client.write(packet.encoded(-1))
    return packet


async def _read(stream: Stream) -> Packet:
    head = await stream.read_exactly(4)
    length = int.from_bytes(head[:3], "little")
    if length > LONGEST:
        raise ConnectionError("this is not a login of MySQL's protocol")
    return Packet(head[3], await stream.read_exactly(length))


def _capabilities(greeting: bytes) -> int:
    """Return the lower half of what the server offers; 0 for an error in place of a greeting."""
    at = _place_of_capabilities(greeting)
    return int.from_bytes(greeting[at : at + 2], "little")


def _place_of_capabilities(greeting: bytes) -> int:
    """Skip the protocol's number, the version, the thread's number and half of the challenge."""
    if greeting.startswith(ERR):
        return len(greeting)
    if not greeting.startswith(bytes([VERSION_10])) or b"\0" not in greeting:
        raise Refused("the server does not speak version 10 of MySQL's protocol")
    return greeting.index(b"\0") + 1 + 4 + 8 + 1


def _without_tls(greeting: Packet) -> Packet:
    at = _place_of_capabilities(greeting.body)
    left = (_capabilities(greeting.body) & ~SSL).to_bytes(2, "little")
    return greeting._replace(body=greeting.body[:at] + left + greeting.body[at + 2 :])


def _error(refused: Refused, said: int) -> bytes:
    """Return an error as the server would send it, after that many packets of the client."""
    state = b"#08S01" if said else b""  # not before the client has said that it knows them
    body = ERR + BAD_HANDSHAKE.to_bytes(2, "little") + state + str(refused).encode()
    return Packet(2 * said, body).encoded()

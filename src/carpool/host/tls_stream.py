"""The bytes of one socket, plain or encrypted, in an asyncio loop; and how they are passed on.

TLS is done on memory buffers (`ssl.SSLObject`) and not by asyncio's transports: these cannot end
their own side of a conversation alone, and a protocol's switch to TLS in the middle is easier with
a socket of which nothing is read ahead.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carpool.host.handoff import NotShareable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import ExitStack

CHUNK = 65536  # bytes: the most that waits in one direction while the other end is slow
PATIENCE = 10.0  # seconds for reaching a server and for its handshake
LAST_WORDS = 60.0  # seconds: as long as systems wait for the end of a connection one side has left


class Refused(Exception):
    """No way to the server; the text, for whoever wanted to connect, names the cause."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is."""

    host: str  # a name or a number; from "/" on the path of a Unix socket
    port: int
    name: str  # as the user calls it, in messages and certificates; "" if there is none
    # Options of the socket: (level, option, value).
    options: tuple[tuple[int, int, int], ...] = ()

    def __str__(self) -> str:
        return self.host if self.host.startswith("/") else f"{self.name or self.host}:{self.port}"


class Stream:
    """A connected socket. One task may read and another write. Belongs to the running loop."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._loop = asyncio.get_running_loop()

    async def read(self, limit: int = CHUNK) -> bytes:
        """Return what there is, at least one byte; b"" at the end."""
        return await self._loop.sock_recv(self._socket, limit)

    async def read_exactly(self, count: int) -> bytes:
        """Return that many bytes; raises ConnectionError if the end comes before."""
        data = b""
        while len(data) < count:
            more = await self.read(count - len(data))
            if not more:
                raise ConnectionError("the connection was closed")
            data += more
        return data

    async def write(self, data: bytes) -> None:
        """Send it all; returns when the system has taken it."""
        await self._loop.sock_sendall(self._socket, data)

    def end_writing(self) -> None:
        """Let the other end read to the end of what was written; it may go on writing."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    async def encrypted(self, context: ssl.SSLContext, name: str | None) -> Encrypted:
        """Shake hands with a server, by that name; raises OSError (`ssl.SSLError`) or ValueError.

        The socket is that of the new stream from then on.
        """
        stream = Encrypted(self._socket, context, name)
        await stream.shake_hands()
        return stream


class Encrypted(Stream):
    """A socket with TLS, as a client."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, name: str | None) -> None:
        super().__init__(sock)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)

    @property
    def alpn(self) -> str | None:
        """The protocol that was agreed on."""
        return self._tls.selected_alpn_protocol()

    async def shake_hands(self) -> None:
        """See `Stream.encrypted`."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._send_pending()
                await self._receive()
            except ssl.SSLError:
                with contextlib.suppress(OSError):
                    await self._send_pending()  # the server's log shall have the cause too
                raise
            else:
                return await self._send_pending()

    async def read(self, limit: int = CHUNK) -> bytes:
        """See `Stream`. Sends nothing: an answer of TLS itself goes with the next `write`."""
        while True:
            parts = []
            try:
                while limit and (part := self._tls.read(limit)):
                    parts.append(part)
                    limit -= len(part)
            except ssl.SSLWantReadError:
                if not parts:
                    await self._receive()
                    continue
            return b"".join(parts)

    async def write(self, data: bytes) -> None:
        """See `Stream`."""
        self._tls.write(data)
        await self._send_pending()

    async def _receive(self) -> None:
        if data := await super().read():
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    async def _send_pending(self) -> None:
        if data := self._outgoing.read():
            await super().write(data)


async def dial(address: Address, closing: ExitStack) -> Stream:
    """Connect to a server, which `closing` will hang up. Raises `Refused`."""
    loop = asyncio.get_running_loop()
    try:
        if address.host.startswith("/"):
            return await _connect(socket.AF_UNIX, address.host, address, closing)
        found = await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise Refused(f"cannot reach {address}: {cause(error)}") from error
    for left, (family, *_, place) in zip(range(len(found), 0, -1), found, strict=True):
        try:
            async with asyncio.timeout(PATIENCE / len(found)):
                return await _connect(family, place, address, closing)
        except OSError as error:  # TimeoutError is one
            if left == 1:
                raise Refused(f"cannot reach {address}: {cause(error)}") from error
    raise Refused(f"cannot reach {address}: it has no address")


async def _connect(family: int, place: object, address: Address, closing: ExitStack) -> Stream:
    sock = socket.socket(family, socket.SOCK_STREAM)
    closing.callback(sock.close)
    stream = Stream(sock)
    if family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for option in address.options:
            sock.setsockopt(*option)
    await asyncio.get_running_loop().sock_connect(sock, place)  # type: ignore[arg-type] # its form is the family's
    return stream


@contextlib.asynccontextmanager
async def reaching(address: Address) -> AsyncIterator[None]:
    """Bound the time that reaching a server takes; raise `Refused` for what goes wrong."""
    try:
        async with asyncio.timeout(PATIENCE):
            yield
    except (NotShareable, OSError, ValueError) as error:  # ValueError: a name that cannot be one
        raise Refused(f"TLS with {address}: {cause(error)}") from error


async def pump(client: Stream, server: Stream) -> None:
    """Pass bytes on both ways, until the server has closed, or the client and nothing comes.

    Who is slow slows down the other end: at most `CHUNK` bytes wait here in either direction.
    """
    up = asyncio.create_task(_pass_on(client, server))
    down = asyncio.create_task(_pass_on(server, client))
    try:
        await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({down}, timeout=LAST_WORDS)
    finally:
        up.cancel()
        down.cancel()
        await asyncio.wait({up, down})  # nobody may wait for a socket that is closed next


async def _pass_on(source: Stream, sink: Stream) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read():
            await sink.write(data)
    sink.end_writing()


def cause(error: BaseException) -> str:
    """Say in words what went wrong with a connection or a certificate.

    >>> cause(ConnectionRefusedError(111, "Connection refused"))
    'Connection refused'
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate verify failed: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return (getattr(error, "reason", None) or str(error.args[-1])).replace("_", " ").lower()
    if isinstance(error, OSError) and error.errno and error.errno > 0:
        return os.strerror(error.errno)  # asyncio has put a text of its own beside it
    if isinstance(error, TimeoutError):
        return f"no answer within {PATIENCE:g} seconds"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__

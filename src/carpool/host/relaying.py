"""Passing on what a visitor and its server connection say to each other."""

from __future__ import annotations

import importlib
import os
import select
import selectors
import socket
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from carpool.host.handoff import Visitor
    from carpool.host.loop import Loop

CHUNK = 1 << 16  # bytes read at once
ENOUGH = 1 << 18  # bytes that wait to be written: nothing more is read then
LOOK = 0.5  # seconds between two looks at a client that is not read from
FAREWELL = 10.0  # seconds for a client to read the last words
_NOW = socket.MSG_DONTWAIT  # per call: O_NONBLOCK would change the driver's socket as well


class Kill(NamedTuple):
    """A client asks to stop what another visitor does."""

    number: int  # as the other was told at its login
    all: bool  # the session, not the statement alone


class Conversation(Protocol):
    """What a client and a server say, followed as far as is needed. Does no I/O.

    It begins when the client has logged in. What is to be written is in `to_client` and
    `to_server`; who writes takes it away there.
    """

    to_client: bytearray
    to_server: bytearray
    needs_server: bool  # `connected` or `refuse` is waited for
    listening: bool  # what the client says next is of use now
    over: bool  # nothing more is to be passed on
    kill: Kill | None  # to be answered by `killed` or by `not_ours`
    idle: bool  # the server is in no transaction, and both sides are in sync: others may go on

    def begin(self, rest: bytes) -> None:
        """Let the client in; `rest`: what it has said already. Raises ValueError."""

    def connected(self) -> None:
        """Note that there is a server connection now."""

    def client_said(self, data: bytes) -> None:
        """Take in what the client says. Raises ValueError for what no client says."""

    def server_said(self, data: bytes) -> None:
        """Take in what the server says. Raises ValueError for what no server says."""

    def refuse(self, why: str) -> None:
        """End it with an error, which the client is waiting for."""

    def killed(self) -> None:
        """Note that what `kill` asks for has been done."""

    def not_ours(self) -> None:
        """Note that `kill` means nobody here; maybe the server knows."""


def conversation(kind: str, visitor: Visitor, welcome: bytes) -> Conversation:
    """Follow a client's conversation; `welcome`: the answer to its login, not sent yet."""
    module = importlib.import_module(f"carpool.{kind}.conversation")
    made: Conversation = module.Conversation(visitor, welcome)
    return made


class Relay:
    """Passes bytes between a client and a server connection, in the broker's loop.

    However much it is, and however slow one side, little of it is in memory. `heard` is called
    whenever something has happened. The sockets are not made non-blocking, as others have them too.
    """

    def __init__(
        self, loop: Loop, client: socket.socket, talk: Conversation, heard: Callable[[], None]
    ) -> None:
        self.client_left = self.server_left = False
        self._loop = loop
        self._client = client
        self._server: socket.socket | None = None
        self._talk = talk
        self._heard = heard
        self._looking = self._closed = False

    def connect(self, descriptor: int) -> None:
        """Begin to talk to a server, by a copy of its socket. Raises OSError."""
        self._server = socket.socket(fileno=os.dup(descriptor))

    def disconnect(self) -> None:
        """Talk to the server no more; whose connection stays as it is."""
        server, self._server = self._server, None
        if server is not None:
            self._loop.unwatch(server)
            server.close()

    def pump(self) -> None:
        """Write what can be written, and watch for what is next."""
        if self._closed:
            return
        self.client_left |= not _write(self._client, self._talk.to_client)
        if self._server is not None:
            self.server_left |= not _write(self._server, self._talk.to_server)
        self._watch()

    def finish(self) -> None:
        """Hang up on the client, once it has read what there is for it."""
        self.disconnect()
        if self._closed:
            return
        self.client_left |= not _write(self._client, self._talk.to_client)
        if self.client_left or not self._talk.to_client:
            self.close()
        else:
            self._loop.watch(self._client, self.finish, selectors.EVENT_WRITE)
            self._loop.later(FAREWELL, self.close)

    def close(self) -> None:
        """Hang up on the client."""
        if not self._closed:
            self._closed = True
            self._loop.unwatch(self._client)
            self._client.close()

    # ------------------------------------------------------------------ the loop

    def _watch(self) -> None:
        talk = self._talk
        wanted = talk.listening and len(talk.to_server) < ENOUGH
        self._listen(self._client, self._from_client, wanted=wanted, tell=bool(talk.to_client))
        if not wanted and not self._looking:
            self._looking = True
            self._loop.later(LOOK, self._look)
        if self._server is not None:
            wanted = len(talk.to_client) < ENOUGH
            self._listen(self._server, self._from_server, wanted=wanted, tell=bool(talk.to_server))

    def _listen(
        self, source: socket.socket, function: Callable[[], None], *, wanted: bool, tell: bool
    ) -> None:
        events = selectors.EVENT_READ * wanted | selectors.EVENT_WRITE * tell
        if events:
            self._loop.watch(source, function, events)
        else:
            self._loop.unwatch(source)

    def _from_client(self) -> None:
        talk = self._talk
        if self._closed:
            return  # in the very round in which its events were seen
        if talk.listening and len(talk.to_server) < ENOUGH:
            self.client_left |= not _take(self._client, talk.client_said)
        self._go_on()

    def _from_server(self) -> None:
        talk = self._talk
        if self._server is None:
            return
        if len(talk.to_client) < ENOUGH:
            self.server_left |= not _take(self._server, talk.server_said)
        self._go_on()

    def _go_on(self) -> None:
        self.pump()
        self._heard()

    def _look(self) -> None:
        """See whether a client is still there whose words are not waited for."""
        self._looking = False
        if self._closed:
            return
        if has_left(self._client):
            self.client_left = True
            self._heard()
        else:
            self._watch()


def _take(source: socket.socket, said: Callable[[bytes], None]) -> bool:
    """Read once; False: that was the end, or nonsense."""
    try:
        data = source.recv(CHUNK, _NOW)
        said(data)
    except BlockingIOError:
        return True
    except (OSError, ValueError):
        return False
    return bool(data)


def _write(target: socket.socket, words: bytearray) -> bool:
    """Write as much as goes now; False: nobody reads any more."""
    try:
        while words:
            del words[: target.send(words, _NOW)]
    except BlockingIOError:
        return True
    except OSError:
        return False
    return True


def has_left(client: socket.socket) -> bool:
    """Tell whether the other end of a local socket is closed, whatever is unread."""
    poller = select.poll()
    poller.register(client, 0)
    return bool(poller.poll(0))

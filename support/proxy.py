"""A TCP proxy on the loopback that stands between a driver and its server and can misbehave.

    with Proxy("127.0.0.1", server.port) as proxy:
        connection = psycopg.connect(**server.params | {"port": proxy.port})
        proxy.cut()      # the network loses every connection
        proxy.refuse()   # and lets none in until `proxy.forward()`

Misbehaviour applies from the moment its method returns: to new connections, and with `hang` and
`delay` to what present ones have still to say. All methods are safe to call from any thread.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from typing import Self

CHUNK = 65536


class Proxy:
    """Forwards to one server until told otherwise.

    `port` is where it listens; `accepted` counts the connections that reached the server's side,
    `active` those that are still there. `delay` is in seconds.
    """

    def __init__(self, host: str, port: int) -> None:
        self.port = 0
        self.accepted = 0
        self.delay = 0.0
        self._target = (host, port)
        self._lock = threading.Lock()  # protects _links and accepted
        self._links: list[_Link] = []
        self._flow = threading.Event()  # clear: nothing is forwarded
        self._flow.set()
        self._listener: socket.socket | None = None
        self._listen()

    @property
    def active(self) -> int:
        """The number of connections through the proxy."""
        with self._lock:
            return len(self._links)

    # What it can be told

    def forward(self) -> None:
        """Be a good proxy again: accept, forward at once, also what was held back."""
        self.delay = 0.0
        self._flow.set()
        if self._listener is None:
            self._listen()

    def refuse(self) -> None:
        """Refuse new connections ("connection refused"); present ones go on."""
        if self._listener:
            # shutdown wakes the thread in accept(), which close alone would not
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None

    def hang(self) -> None:
        """Accept connections and keep all of them open, but forward nothing."""
        self._flow.clear()

    def cut(self) -> int:
        """Close all present connections in an orderly way (FIN); return how many."""
        return self._drop_all(reset=False)

    def reset(self) -> int:
        """Break all present connections (RST); return how many."""
        return self._drop_all(reset=True)

    def close(self) -> None:
        """Refuse new connections and break present ones."""
        self.refuse()
        self.reset()
        self._flow.set()  # lets the threads that hold something back end

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # Inside

    def _listen(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))  # the old port again
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=[self._listener], daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # refuse() closed the listener
            while True:
                self._connect(listener.accept()[0])

    def _connect(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self._target)
        except OSError:
            _drop(client, reset=True)
            return
        link = _Link(self, client, server)
        with self._lock:
            self._links.append(link)
            self.accepted += 1
        link.start()

    def _drop_all(self, *, reset: bool) -> int:
        with self._lock:
            links, self._links = self._links, []
        for link in links:
            link.drop(reset=reset)
        return len(links)

    def wait_for_flow(self, link: _Link) -> None:
        """Block while hanging, then for the delay; return early if the link is dropped."""
        self._flow.wait()
        if self.delay:
            link.dropped.wait(self.delay)

    def forget(self, link: _Link) -> None:
        """Take a connection that has ended off the list."""
        with self._lock, contextlib.suppress(ValueError):
            self._links.remove(link)


class _Link:
    """One connection: two sockets and a thread for each direction."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self.dropped = threading.Event()
        self._pumps_left = iter((1, 0))  # each pump that ends takes one
        self._proxy, self._client, self._server = proxy, client, server
        self._receiving = threading.Lock(), threading.Lock()  # each held by a pump in recv()

    def start(self) -> None:
        ways = (self._client, self._server), (self._server, self._client)
        for pair, receiving in zip(ways, self._receiving, strict=True):
            threading.Thread(target=self._pump, args=[*pair, receiving], daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, receiving: threading.Lock) -> None:
        def receive() -> bytes:
            with receiving:
                return source.recv(CHUNK)

        try:
            while data := receive():
                self._proxy.wait_for_flow(self)
                sink.sendall(data)
            self._proxy.wait_for_flow(self)  # the end of a stream is news too
            if not self.dropped.is_set():  # else drop() ended the stream, and may want an RST
                sink.shutdown(socket.SHUT_WR)
        except OSError:
            self.drop(reset=True)  # what broke on one side breaks on the other
        if next(self._pumps_left) == 0:
            self.drop(reset=False)

    def drop(self, *, reset: bool) -> None:
        if not self.dropped.is_set():
            self.dropped.set()
            self._proxy.forget(self)
            _drop(self._client, reset=reset)
            _drop(self._server, reset=reset)
            for receiving in self._receiving:  # until it has left recv(), nothing is said to a peer
                with receiving:
                    pass


def _drop(sock: socket.socket, *, reset: bool) -> None:
    with contextlib.suppress(OSError):
        if reset:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # A thread in recv() holds the socket open beyond close(): wake it. SHUT_RD says nothing
        # to the peer, so that close() can send its RST.
        sock.shutdown(socket.SHUT_RD if reset else socket.SHUT_RDWR)
    sock.close()

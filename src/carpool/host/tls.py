"""TLS to a database server, spoken here and not in the driver.

The state of TLS lives in the process that shook hands: such a socket cannot change hands. So the
driver connects, without TLS, to a local socket of the `Forwarder`, which speaks TLS with the
server and passes all bytes on; the driver's end of the local socket can be lent.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import socket
from functools import partial
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any, NamedTuple

from carpool.host.tls_stream import Refused, Stream, pump

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from carpool.host.tls_plan import Plan, Server

BACKLOG = 128
PAUSE = 0.1  # seconds until the next try when the system has no descriptor left


class Route(NamedTuple):
    """How to log in."""

    login: dict[str, Any]  # the parameters to make the driver from; they ask for no TLS
    relayed: bool  # whether all bytes pass through this process


class Forwarder:
    """Speaks TLS for drivers that do not. Thread-safe; does not survive a fork.

    `directory`: private to it, 0700, with a path short enough for a socket's. A thread is started
    when it is first needed.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._numbers: dict[Server, int] = {}
        self._lock = Lock()  # held over `_numbers` and the start and end of the thread
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: Thread | None = None
        self._closed = False

    def route(self, kind: str, login: Mapping[str, Any]) -> Route:
        """Return how to log in with these parameters, those of the driver of that kind.

        May ask the server whether it speaks TLS, and wait for that up to 10 seconds: ask for each
        login anew where it is not relayed. Raises `carpool.host.handoff.NotShareable` for what is
        asked of TLS and cannot be done here.
        """
        plan: Plan = importlib.import_module(f"carpool.{kind}.tls").plan(login)
        if not any(self._is_wanted(server) for server in plan.servers):
            return Route(plan.without(), relayed=False)
        numbers = [self._listen(server) for server in plan.servers]
        return Route(plan.through(self._directory, numbers), relayed=True)

    def close(self) -> None:
        """End all connections and the thread. Does nothing the second time."""
        with self._lock:
            self._closed = True
            loop, self._loop = self._loop, None
        if loop is None or self._thread is None:
            return
        asyncio.run_coroutine_threadsafe(_cancel_the_others(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        self._thread.join()
        loop.close()

    def _is_wanted(self, server: Server) -> bool:
        if not server.optional or server in self._numbers:
            return True
        with self._lock:
            asking = asyncio.run_coroutine_threadsafe(_speaks_tls(server), self._running())
        return asking.result()

    def _listen(self, server: Server) -> int:
        """Return the number of a server's local socket."""
        with self._lock:
            if server not in self._numbers:
                loop, number = self._running(), len(self._numbers) + 1
                listener = _listener(self._directory / server.socket(number))
                asyncio.run_coroutine_threadsafe(_serve(listener, server), loop)
                self._numbers[server] = number
            return self._numbers[server]

    def _running(self) -> asyncio.AbstractEventLoop:
        """Return the loop, started if need be. Call it with the lock."""
        if self._closed:
            raise RuntimeError("the forwarder is closed")
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            run = self._loop.run_forever
            self._thread = Thread(target=run, name="carpool-tls", daemon=True)
            self._thread.start()
        return self._loop


def _listener(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


async def _speaks_tls(server: Server) -> bool:
    with contextlib.ExitStack() as closing:
        try:
            return await server.speaks_tls(closing)
        except Refused:
            return True  # not known: each connection will ask


async def _serve(listener: socket.socket, server: Server) -> None:
    """Accept connections until cancelled."""
    loop, relays = asyncio.get_running_loop(), set()
    with listener:
        while True:
            try:
                client, _ = await loop.sock_accept(listener)
            except OSError:
                await asyncio.sleep(PAUSE)
                continue
            relay = loop.create_task(_relay(client, server))
            relays.add(relay)  # the loop itself keeps no task alive
            relay.add_done_callback(relays.discard)
            # Not left to the task, which does not even begin if it is cancelled first.
            relay.add_done_callback(partial(_close, client))


def _close(client: socket.socket, _relay: asyncio.Task[None]) -> None:
    client.close()


async def _relay(sock: socket.socket, server: Server) -> None:
    """Serve one connection, whatever becomes of it."""
    with contextlib.ExitStack() as closing, contextlib.suppress(OSError):
        client = Stream(sock)
        if stream := await server.greet(client, closing):
            await pump(client, stream)


async def _cancel_the_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)

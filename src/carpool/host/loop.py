"""The broker's event loop: sockets, timers, and what other threads have to say."""

from __future__ import annotations

import contextlib
import heapq
import logging
import selectors
import socket
from collections import deque
from itertools import count
from time import monotonic
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger("carpool.host")
_READ = selectors.EVENT_READ
LONGEST = 3600.0  # seconds of one wait: the system counts no further than some weeks


class Loop:
    """Calls functions in one thread. `post` may be called from any thread, the rest from its own.

    An exception in a function is logged and ends nothing else.
    """

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._posted: deque[Callable[[], object]] = deque()
        self._timers: list[tuple[float, int, Callable[[], object]]] = []
        self._number = count()
        self._ear, self._mouth = socket.socketpair()
        self._ear.setblocking(False)
        self._mouth.setblocking(False)
        self.watch(self._ear, self._hear)
        self._running = True

    def watch(
        self, source: Any, function: Callable[[], object], events: int = selectors.EVENT_READ
    ) -> None:
        """Call a function whenever there is something to read (or as `events` say)."""
        if source in self._selector.get_map():
            self._selector.modify(source, events, function)
        else:
            self._selector.register(source, events, function)

    def unwatch(self, source: Any) -> None:
        """Do no longer so."""
        if source in self._selector.get_map():
            self._selector.unregister(source)

    def post(self, function: Callable[[], object]) -> None:
        """Have a function called soon. Thread-safe; also for signal handlers."""
        self._posted.append(function)
        with contextlib.suppress(OSError):  # enough has been said, or it is all over
            self._mouth.send(b"\0")

    def later(self, seconds: float, function: Callable[[], object]) -> None:
        """Have a function called after so many seconds."""
        heapq.heappush(self._timers, (monotonic() + seconds, next(self._number), function))

    def stop(self) -> None:
        """Let `run` return."""
        self._running = False

    def run(self) -> None:
        """Work until `stop`."""
        while self._running:
            for key, _ in self._selector.select(self._pause()):
                self._safely(key.data)
            while self._posted:
                self._safely(self._posted.popleft())
            while self._timers and self._timers[0][0] <= monotonic():
                self._safely(heapq.heappop(self._timers)[2])

    def close(self) -> None:
        """Let go of everything. The sockets it was given are their owners' to close."""
        self._selector.close()
        self._ear.close()
        self._mouth.close()

    def _pause(self) -> float | None:
        if self._posted:
            return 0.0
        if not self._timers:
            return None
        return min(max(0.0, self._timers[0][0] - monotonic()), LONGEST)

    def _hear(self) -> None:
        try:
            while self._ear.recv(4096):
                pass
        except BlockingIOError:
            pass

    @staticmethod
    def _safely(function: Callable[[], object]) -> None:
        try:
            function()
        except Exception:
            logger.exception("the broker's %r failed", function, extra={"pool": ""})

"""Watches the channels of a process' shells: when the broker has gone, they have to know at once.

Else server connections would outlive it for as long as an idle process keeps a copy of a socket.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from typing import TYPE_CHECKING, Any

from carpool.host.shell import ENDED, HUNG_UP

if TYPE_CHECKING:
    from collections.abc import Callable

    from carpool.host.shell import Shell


class Watcher:
    """A daemon thread that waits for the end of channels, while there are some. Thread-safe."""

    def __init__(self, lost: Callable[[Shell[Any]], object]) -> None:
        self._lost = lost
        self._lock = threading.Lock()  # guards the three below
        self._shells: dict[int, Shell[Any]] = {}  # by their channels' descriptors
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._ear, self._mouth = socket.socketpair()
        self._ear.setblocking(False)

    def watch(self, shell: Shell[Any]) -> None:
        """Watch a new shell."""
        with self._lock:
            self._shells[shell.channel.fileno()] = shell
            if self._thread is None:
                self._stopping = False
                self._thread = threading.Thread(
                    target=self._work, name="carpool watcher", daemon=True
                )
                self._thread.start()
                return
        self._wake()

    def forget(self, shell: Shell[Any]) -> None:
        """Do no longer so; to be called before its channel is closed."""
        with self._lock:
            self._shells.pop(shell.channel.fileno(), None)
        self._wake()

    def stop(self, timeout: float) -> None:
        """End the thread, as before a fork; the next `watch` starts another."""
        with self._lock:
            thread, self._thread = self._thread, None
            self._stopping = True
        self._wake()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def abandon(self) -> None:
        """Let go of everything, in a forked child, where the thread does not exist."""
        self._ear.close()
        self._mouth.close()

    def _wake(self) -> None:
        with contextlib.suppress(OSError):
            self._mouth.send(b"\0", socket.MSG_DONTWAIT)

    def _work(self) -> None:
        me = threading.current_thread()
        while (poller := self._poller(me)) is not None:
            for descriptor, events in poller.poll():
                self._look_at(descriptor, events)

    def _poller(self, me: threading.Thread) -> select.poll | None:
        with self._lock:
            if self._stopping or not self._shells or self._thread is not me:
                if self._thread is me:
                    self._thread = None
                return None
            poller = select.poll()
            poller.register(self._ear.fileno(), select.POLLIN)
            for descriptor in self._shells:
                poller.register(descriptor, HUNG_UP)  # the answers are none of its business
            return poller

    def _look_at(self, descriptor: int, events: int) -> None:
        if descriptor == self._ear.fileno():
            with contextlib.suppress(OSError):
                self._ear.recv(4096)
            return
        with self._lock:
            shell = self._shells.get(descriptor)
            # One that was forgotten meanwhile may have left its number to another.
            if not events & ENDED or shell is None or not shell.is_lost():
                return
            del self._shells[descriptor]
        self._lost(shell)

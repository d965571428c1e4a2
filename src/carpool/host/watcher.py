"""Watches the channels of a process' shells: when the broker has gone, they have to know at once.

Else server connections would outlive it for as long as an idle process keeps a copy of a socket.
"""

from __future__ import annotations

import contextlib
import logging
import select
import socket
import threading
import weakref
from typing import TYPE_CHECKING, Any

from carpool import sockets
from carpool.host.shell import ENDED, HUNG_UP

if TYPE_CHECKING:
    from collections.abc import Callable

    from carpool.host.shell import Shell

logger = logging.getLogger("carpool.pool")

PAUSE = 0.1  # seconds between two looks where nothing else can wait for the end of channels
_LOOK, _CALL = b"\0", b"\1"  # what the thread is told: its shells have changed; see `call`


class Watcher:
    """A daemon thread that waits for the end of channels, while there are some. Thread-safe.

    It calls `lost` with a shell whose channel has ended, and `called` as `call` says.
    """

    def __init__(
        self, lost: Callable[[Shell[Any]], object], called: Callable[[], object], name: str
    ) -> None:
        self._lost, self._called = lost, called
        self._name = name  # of the pool, for logs
        self._lock = threading.RLock()  # guards those below; reentrant for finalizers
        # By their channels' descriptors. Weak: who is lost with an exception shall be no more.
        self._shells: dict[int, weakref.ref[Shell[Any]]] = {}
        self._thread: threading.Thread | None = None
        self._ends: tuple[socket.socket, ...] = ()  # the thread's ear, and what is heard there

    def watch(self, shell: Shell[Any]) -> None:
        """Watch a new shell."""
        with self._lock:
            self._shells[shell.channel.fileno()] = weakref.ref(shell)
            self._see_to_it()
        self._say(_LOOK)

    def forget(self, shell: Shell[Any]) -> None:
        """Do no longer so; to be called before its channel is closed."""
        with self._lock:
            self._shells.pop(shell.channel.fileno(), None)
        self._say(_LOOK)

    def shells(self) -> list[Shell[Any]]:
        """Return those that are being watched."""
        with self._lock:
            return self._living()

    def _living(self) -> list[Shell[Any]]:
        found = (each() for each in list(self._shells.values()))
        return [each for each in found if each is not None]

    def call(self) -> None:
        """Have `called` called in the thread, if there is one. Takes no lock: for finalizers."""
        self._say(_CALL)

    def stop(self, timeout: float) -> None:
        """End the thread, as before a fork; the next `watch` or `resume` starts another."""
        with self._lock:
            thread, self._thread = self._thread, None
        self._say(_LOOK)
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def resume(self) -> None:
        """Go on after `stop`."""
        with self._lock:
            self._see_to_it()

    def abandon(self) -> list[Shell[Any]]:
        """Let go of everything, in a forked child, where the thread does not exist.

        Returns the shells. Takes no lock: a thread that is not here may have it.
        """
        self._close_ends()
        return self._living()

    def _close_ends(self) -> None:
        for end in self._ends:
            end.close()

    def _see_to_it(self) -> None:
        if self._thread is None and self._shells:
            self._ends = socket.socketpair()
            thread = threading.Thread(
                target=self._work, args=self._ends, name="carpool watcher", daemon=True
            )
            try:
                thread.start()
            except RuntimeError:  # no more threads: at shutdown, or at a limit of the system
                self._close_ends()
            else:
                self._thread = thread

    def _say(self, what: bytes) -> None:
        with contextlib.suppress(OSError, IndexError):  # it has much to hear already, or has ended
            self._ends[1].send(what, socket.MSG_DONTWAIT)

    def _work(self, ear: socket.socket, mouth: socket.socket) -> None:
        me = threading.current_thread()
        with ear, mouth:
            while (poller := self._poller(me, ear)) is not None:
                for descriptor, events in _wait(poller, ear):
                    if descriptor != ear.fileno():
                        self._look_at(descriptor, events)
                    elif _CALL in ear.recv(4096):
                        self._called()

    def _poller(self, me: threading.Thread, ear: socket.socket) -> select.poll | None:
        with self._lock:
            if self._thread is not me:
                return None
            if not self._shells:
                self._thread = None
                return None
            poller = sockets.looker()
            poller.register(ear.fileno(), select.POLLIN)
            for descriptor in list(self._shells):
                poller.register(descriptor, HUNG_UP)  # the answers are none of its business
            return poller

    def _look_at(self, descriptor: int, events: int) -> None:
        with self._lock:
            known = self._shells.get(descriptor)
            shell = known() if known is not None else None
            # One that was forgotten meanwhile may have left its number to another.
            if shell is not None and not (events & ENDED and shell.is_lost()):
                return
            self._shells.pop(descriptor, None)
        if shell is not None:
            self._tell(shell)

    def _tell(self, shell: Shell[Any]) -> None:
        try:
            self._lost(shell)
        except Exception:  # the others are still to be watched
            logger.exception(
                "the end of a connection to the broker was not dealt with",
                extra={"pool": self._name},
            )


def _wait(poller: select.poll, ear: socket.socket) -> list[tuple[int, int]]:
    """Wait for an event. Under gevent this stops none but its own greenlet."""
    if sockets.gevent() is None:
        return poller.poll()
    while not (found := poller.poll(0)):
        sockets.wait_readable(ear.fileno(), PAUSE)
    return found

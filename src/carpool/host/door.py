"""How others get in: a socket for this user alone, and who lets in those who connect to it."""

from __future__ import annotations

import logging
import os
import socket
from typing import TYPE_CHECKING

from carpool.host.control import peer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from carpool.host.loop import Loop

logger = logging.getLogger("carpool.host")

FULL = 0.2  # seconds until somebody may be let in again, when there was no room


def listen(path: Path) -> socket.socket:
    """Listen on a Unix socket that is for this user alone; one left behind there is replaced."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)
    try:
        listener.bind(os.fspath(path))
    finally:
        os.umask(before)
    listener.listen(1024)
    listener.setblocking(False)
    return listener


class Door:
    """Lets in who connects; other users are turned away."""

    def __init__(
        self, listener: socket.socket, loop: Loop, enter: Callable[[socket.socket], object]
    ) -> None:
        self._listener, self._loop, self._enter = listener, loop, enter
        self._open()

    def _open(self) -> None:
        if self._listener.fileno() >= 0:  # else it has been closed meanwhile
            self._loop.watch(self._listener, self._accept)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:  # no descriptor is left: they wait, and this one sleeps
                extra = {"pool": "", "reason": type(error).__name__}
                logger.warning("nobody can be let in: %s", error, extra=extra)
                self._loop.unwatch(self._listener)
                self._loop.later(FULL, self._open)
                return
            if peer(connection)[1] == os.geteuid():
                self._enter(connection)
            else:
                connection.close()

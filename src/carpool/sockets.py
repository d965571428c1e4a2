"""What a look at a socket tells, and how to wait for the other side to hang up."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import sys
from time import monotonic
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def watch(descriptor: int) -> Callable[[int], Any]:
    """Return a function that, called with 0, tells whether anything is to be read or has ended.

    Truthy: data, end of file or an error. It costs one system call and never waits.
    Belongs to one thread at a time.
    """
    if hasattr(select, "poll"):
        poller = select.poll()
        poller.register(descriptor, select.POLLIN | getattr(select, "POLLRDHUP", 0))
        return poller.poll
    return lambda timeout: select.select([descriptor], [], [], timeout)[0]


def wait_readable(descriptor: int, timeout: float) -> bool:
    """Wait until there is something to read, `timeout` seconds at most; tell whether there is."""
    if hasattr(select, "poll"):
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        return bool(poller.poll(max(0.0, timeout) * 1000))
    return bool(select.select([descriptor], [], [], max(0.0, timeout))[0])


def gevent() -> Any:
    """Return gevent's `monkey`, if that has exchanged what waits in `select` for its own."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey if monkey is not None and monkey.is_module_patched("select") else None


def looker() -> select.poll:
    """Return a poll object to look with, never to wait.

    It is the system's: gevent's asks its hub, which takes longer and knows no POLLRDHUP.
    """
    monkey = gevent()
    poll: type[select.poll] = monkey.get_original("select", "poll") if monkey else select.poll
    return poll()


class Farewell:
    """Waits until the server has hung up on a connection that one is closing.

    Made before the connection is closed, it keeps a second descriptor of its socket; so the end
    of the session on the server is seen, and no other is opened in its place too early.
    """

    _descriptor = -1

    def __init__(self, descriptor: int) -> None:
        self._descriptor = os.dup(descriptor)

    def __del__(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def wait(self, timeout: float) -> bool:
        """Wait `timeout` seconds at most; tell whether the server has hung up. Once.

        If it has not, the line is cut.
        """
        descriptor, self._descriptor = self._descriptor, -1
        deadline = monotonic() + timeout
        with socket.socket(fileno=descriptor) as other_end:
            while wait_readable(descriptor, timeout):
                try:
                    if not other_end.recv(65536):
                        return True
                except OSError:  # reset: hung up as well
                    return True
                timeout = deadline - monotonic()
                if timeout <= 0:  # a server in the middle of a long answer may go on and on
                    break
            _cut(other_end)
        return False


def _cut(line: socket.socket) -> None:
    """Have the other end's next word answered by a reset, whoever has copies of this socket.

    That takes room for the word: what has come already is read.
    """
    with contextlib.suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)
        while line.recv(65536):
            pass


def abandon(descriptor: int) -> None:
    """Let a descriptor lead nowhere, so that what is written to it reaches nobody."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, descriptor, inheritable=False)
    os.close(nowhere)

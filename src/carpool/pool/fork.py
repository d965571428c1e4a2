"""What becomes of pools when a process forks, and when it ends.

After a fork parent and child must share no socket (promise 6): the child lets go of everything it
inherited, without a word to the server. Before it, the background threads are asked to pause: so
none of them holds a lock, or a half-made connection, in the child.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from typing import Protocol

from carpool import forks

PATIENCE = 1.0  # seconds that a fork waits for background work under way, in all
AT_EXIT = 1.0  # seconds that the end of a process may take, in all


class Pooling(Protocol):
    """What a pool answers for this module."""

    def wake(self) -> None:
        """Begin with background work, which is needed from now on."""

    def before_fork(self, timeout: float) -> None:
        """Pause the background threads."""

    def after_fork_in_parent(self) -> None:
        """Go on."""

    def after_fork_in_child(self) -> None:
        """Let go of everything inherited."""

    def at_exit(self, timeout: float) -> None:
        """End the sessions that nobody uses, and the background threads."""

    def let_go(self) -> None:
        """End the others."""


_pools: weakref.WeakSet[Pooling] = weakref.WeakSet()
asleep = True  # nobody has needed a connection yet, or since the last fork


def register(pool: Pooling) -> None:
    """Include a pool in what follows. Thread-safe."""
    _pools.add(pool)


def wake() -> None:
    """Have background work begin: somebody needs a connection. Thread-safe."""
    if forks.may_come_at_any_time():
        return  # it begins in the children
    global asleep  # noqa: PLW0603 - there is one process
    asleep = False
    for pool in list(_pools):
        pool.wake()


def _fall_asleep() -> None:
    global asleep  # noqa: PLW0603 - there is one process
    asleep = True


def _before() -> None:
    deadline = time.monotonic() + PATIENCE
    for pool in list(_pools):
        pool.before_fork(max(0.0, deadline - time.monotonic()))


def _in_parent() -> None:
    _fall_asleep()
    for pool in list(_pools):
        pool.after_fork_in_parent()


def _in_child() -> None:
    _fall_asleep()
    for pool in list(_pools):
        pool.after_fork_in_child()


def park() -> None:
    """Let a daemon thread wait for the process to end, of which nothing has told it."""
    if threading.current_thread() is not threading.main_thread():
        threading.Event().wait()


def _at_exit() -> None:
    deadline = time.monotonic() + AT_EXIT
    for pool in list(_pools):
        pool.at_exit(max(0.0, deadline - time.monotonic()))
    for pool in list(_pools):
        pool.let_go()


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent)
forks.after_in_child(_in_child)

"""Who wants to hear what the pools of this process do: functions, for each kind of event.

A pool does not ask on its quick ways whether anybody listens: `heed_hooks` has told it to take the
slow ones while somebody does, which end in the same.
"""

from __future__ import annotations

import logging
import weakref
from threading import RLock
from typing import TYPE_CHECKING, Protocol

from carpool import forks

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger("carpool.pool")


class Heeding(Protocol):
    """What a pool answers for this module."""

    def heed_hooks(self) -> None:
        """Look again who listens, and which ways to take."""


_lock = RLock()  # guards the change of listeners, and the pools; reentrant for finalizers
_pools: weakref.WeakSet[Heeding] = weakref.WeakSet()


class Hook:
    """One kind of event. Call it to tell who listens; true while anybody does.

    Listeners are called in the thread that calls, with the pool and what else is known as keywords.
    What they raise is logged, but for what is meant to end a thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self.listeners: tuple[Callable[..., object], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.listeners)

    def __call__(self, pool: object | None, **facts: object) -> None:
        """Tell of an event in a pool; of one that is no more, nothing is told."""
        for listener in self.listeners if pool is not None else ():
            try:
                listener(pool, **facts)
            except Exception:
                name = getattr(pool, "name", "")
                logger.exception(
                    "%s: %r failed, as it was told of: %s",
                    name,
                    listener,
                    self._name,
                    extra={"pool": name, "event": self._name},
                )

    def add(self, listener: Callable[..., object]) -> None:
        """Have a function called; once for each event, however often it is added. Thread-safe."""
        self.heed(listener, lambda: True)

    def remove(self, listener: Callable[..., object]) -> None:
        """Have it called no more. Thread-safe."""
        self.heed(listener, lambda: False)

    def heed(self, listener: Callable[..., object], wanted: Callable[[], bool]) -> None:
        """Have a function called or not, as `wanted` says at the moment of the change."""
        with _lock:
            others = tuple(each for each in self.listeners if each != listener)
            listeners = (*others, listener) if wanted() else others
            if len(listeners) != len(self.listeners):
                self.listeners = listeners
                for pool in list(_pools):
                    pool.heed_hooks()


opened = Hook("connection opened")  # connection, seconds: it took
acquired = Hook("connection acquired")  # connection, waited: seconds; reused: others have had it
released = Hook("connection released")  # connection, held: seconds
closed = Hook("connection closed")  # connection: None if it was dropped; reason
exhausted = Hook("pool exhausted")  # waited: seconds; error
leaked = Hook("leak detected")  # connection, held: seconds; stack: "" where that is not known
pinned = Hook("connection pinned")  # reason
reset = Hook("reset begun")  # of a connection that is given back


def follow(pool: Heeding) -> None:
    """Keep a pool told who listens, from now on. Thread-safe."""
    with _lock:
        _pools.add(pool)
        pool.heed_hooks()


def _in_child() -> None:
    global _lock  # noqa: PLW0603 - another thread of the parent may have held it
    _lock = RLock()


forks.after_in_child(_in_child)

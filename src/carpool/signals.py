"""Django signals of what the pools of this process do. `docs/hooks.md` tells of each.

Nobody listens: they cost nothing. Receivers are called where it happens, so they must not block,
and must not use the pool or the connection they hear of. What they raise is logged, and the pool
goes on. The sender is the pool's class, `carpool.Pool` or `carpool.host.pool.HostPool`.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from django.dispatch import Signal

from carpool.pool import hooks

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from carpool.pool.hooks import Hook

__all__ = [
    "connection_acquired",
    "connection_closed",
    "connection_opened",
    "connection_released",
    "leak_detected",
    "pool_exhausted",
]


class PoolSignal(Signal):
    """A signal that listens to a hook of the pools while it has receivers.

    Receivers that are held weakly may vanish; that is noticed at the next event.
    """

    def __init__(self, hook: Hook) -> None:
        super().__init__()
        # Reentrant, as a finalizer may give a connection back in the midst of it.
        self.lock = threading.RLock()  # type: ignore[assignment] # the stubs expect a plain one
        self._hook = hook

    def connect(
        self,
        receiver: Callable[..., Any],
        sender: object | None = None,
        weak: bool = True,
        dispatch_uid: Hashable | None = None,
    ) -> None:
        """As Django's."""
        super().connect(receiver, sender, weak, dispatch_uid)
        self._heed()

    def disconnect(
        self,
        receiver: Callable[..., Any] | None = None,
        sender: object | None = None,
        dispatch_uid: str | None = None,
    ) -> bool:
        """As Django's."""
        found = super().disconnect(receiver, sender, dispatch_uid)
        self._heed()
        return found

    def _heed(self) -> None:
        self._hook.heed(self._tell, lambda: bool(self.receivers))

    def _tell(self, pool: object, **facts: Any) -> None:
        self.send_robust(sender=type(pool), pool=pool, **facts)
        if not self.receivers:
            self._heed()


connection_opened = PoolSignal(hooks.opened)
connection_acquired = PoolSignal(hooks.acquired)
connection_released = PoolSignal(hooks.released)
connection_closed = PoolSignal(hooks.closed)
pool_exhausted = PoolSignal(hooks.exhausted)
leak_detected = PoolSignal(hooks.leaked)

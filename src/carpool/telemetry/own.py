"""What this process' pools have to tell."""

from __future__ import annotations

import os
import sys
import sysconfig
import threading
import traceback
from collections import deque
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from carpool.telemetry.figures import HISTOGRAMS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from carpool.pool.lessor import Held
    from carpool.registry import AnyPool
    from carpool.telemetry.figures import Lease, PoolFigures

OLD = 1.0  # seconds from which on a lease is told of by itself
MOST_LEASES = 10
DEPTH = 15  # frames of a stack
SECONDS = 60  # of recent figures
HERE = str(Path(__file__).parent.parent)
LIBRARIES = tuple(sysconfig.get_paths()[key] for key in ("stdlib", "platstdlib"))


class User(Protocol):
    """Who uses a pool: Django's wrapper of an alias in some thread."""

    alias: str
    vendor: str
    settings_dict: dict[str, Any]
    connection: Any
    thread_ident: int


class Watched:
    """One pool, and what is known of it from second to second. Guarded by its owner's lock."""

    def __init__(self, pool: AnyPool, user: User) -> None:
        self.pool = pool
        self.vendor = user.vendor
        self.database = str(user.settings_dict["NAME"])
        self.aliases: list[str] = []
        self.obeyed = 0  # the number of the last order that has been carried out
        self.paused = False  # by an order
        self.begin()

    def begin(self) -> None:
        """Begin with nothing done: at first, and in a forked child."""
        self._peak_leased = 0
        self._recent: deque[tuple[int, int, int]] = deque(maxlen=SECONDS)
        self._before = 0  # acquires

    def settle(self) -> dict[str, list[float]]:
        """Count the durations noted since the last call; returns them by kind."""
        return {kind: getattr(self.pool.meter, kind).settle() for kind in HISTOGRAMS}

    def remember(self) -> None:
        """Take note of this second's figures."""
        now, counts = self.pool.snapshot(), self.pool.counts()
        acquires = counts["acquires"]
        self._peak_leased = max(self._peak_leased, now.leased, counts["peak_leased"])
        self._recent.append((now.leased, now.waiting, acquires - self._before))
        self._before = acquires

    def tell(self, users: Iterable[User]) -> PoolFigures:
        """Tell all of it, as far as it has been settled; `users`: who may have a connection."""
        pool, now = self.pool, self.pool.snapshot()
        held = pool.leases()
        counts = pool.counts()
        self._peak_leased = max(self._peak_leased, now.leased, counts["peak_leased"])
        since = now.waiting_since
        return {
            "name": pool.name,
            "aliases": self.aliases,
            "vendor": self.vendor,
            "database": self.database,
            "mode": pool.options.mode,
            "share": pool.options.share,
            "home": getattr(pool, "home", ""),
            "min_size": now.min_size,
            "max_size": now.max_size,
            "timeout": pool.options.timeout,
            "paused": now.paused,
            "obeyed": self.obeyed,
            "open": now.size - now.opening,
            "idle": now.idle,
            "leased": now.leased,
            "resetting": now.resetting,
            "opening": now.opening,
            "closing": now.closing,
            "pinned": sum(bool(each.pinned) for each in held),
            "waiting": now.waiting,
            "longest_wait": 0.0 if since is None else max(0.0, monotonic() - since),
            **counts,  # type: ignore[typeddict-item] # a pool knows its keys
            "wait_time": self.pool.meter.wait_time.tell(),
            "use_time": self.pool.meter.use_time.tell(),
            "create_time": self.pool.meter.create_time.tell(),
            "peak_leased": self._peak_leased,
            "leases": leases(held, users),
            "recent": [*self._recent],
        }


def leases(held: list[Held], users: Iterable[User]) -> list[Lease]:
    """Tell of the oldest leases, and what their threads are at."""
    old = [each for each in held[:MOST_LEASES] if each.seconds >= OLD]
    if not old:
        return []
    by_connection = {id(each.connection): each for each in users}
    names = {each.ident: each.name for each in threading.enumerate()}
    frames = sys._current_frames()  # noqa: SLF001 - documented, for debuggers of threads
    try:
        return [_lease(each, by_connection.get(each.key), names, frames) for each in old]
    finally:
        del frames  # it knows this very frame


def _lease(held: Held, user: User | None, names: dict[int | None, str], frames: Any) -> Lease:
    thread = user.thread_ident if user else None
    return {
        "held": held.seconds,
        "pid": os.getpid(),
        "alias": user.alias if user else "",
        "thread": names.get(thread, ""),
        "pinned": held.pinned,
        "acquired": held.acquired,
        "now": stack(frames.get(thread)),
    }


def stack(frame: Any) -> str:
    """Return a thread's stack as text: the frames of the project's own, else all but carpool's."""
    if frame is None:
        return ""
    found = [each for each in traceback.extract_stack(frame) if not each.filename.startswith(HERE)]
    own = [each for each in found if _is_own(each.filename)]
    return "".join(traceback.format_list((own or found)[-DEPTH:]))


def _is_own(filename: str) -> bool:
    return not filename.startswith((*LIBRARIES, "<")) and not any(
        each in filename for each in ("/site-packages/", "/dist-packages/")
    )

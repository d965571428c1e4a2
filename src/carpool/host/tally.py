"""What a process' part in a shared pool has done, told under psycopg_pool's names."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from carpool.host.shell import Shell
    from carpool.options import Options
    from carpool.pool.stats import Snapshot

_AS_COUNTED = ("requests_errors", "returns_bad", "resets", "leaks", "closed_lost")


class Tally:
    """Counts what is over; what live shells did is counted in them. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # guards the three below; reentrant for finalizers
        self._counts: Counter[str] = Counter()
        self._pinned: Counter[str] = Counter()
        self._peak_waiting = 0

    def count(self, **counts: int) -> None:
        """Add to counts."""
        with self._lock:
            self._counts.update(counts)

    def retire(self, shell: Shell[Any], forget: Callable[[Shell[Any]], object]) -> None:
        """Count what a shell did that is forgotten now: it is counted once at any moment."""
        with self._lock:
            forget(shell)
            self._counts.update(uses=shell.uses, used=shell.used)

    def note_waiting(self, number: int) -> None:
        """Take note of how many wait for the broker's answer."""
        with self._lock:
            self._peak_waiting = max(self._peak_waiting, number)

    def count_pin(self, reason: str) -> bool:
        """Count a pin; tells whether it is the first of its kind."""
        with self._lock:
            self._pinned[reason] += 1
            return self._pinned[reason] == 1

    def counts(self, shells: Callable[[], Iterable[Shell[Any]]]) -> dict[str, Any]:
        """Tell it all as `carpool.telemetry.figures` calls it; connections are the broker's."""
        with self._lock:
            counts, pinned = Counter(self._counts), Counter(self._pinned)
            counts.update(uses=sum(each.uses for each in shells()))
        return {
            "acquires": counts["uses"],
            "waits": counts["requests_queued"],
            "timeouts": counts["timeouts"],
            "refusals": counts["requests_errors"] - counts["timeouts"],
            "opened": 0,
            "open_errors": 0,
            "resets": counts["resets"],
            "leaks": counts["leaks"],
            "returns_bad": counts["returns_bad"],
            "closed": {},
            "pins": dict(pinned),
            "peak_leased": 0,
            "peak_waiting": self._peak_waiting,
            "last_error": "",
        }

    def stats(
        self, now: Snapshot, options: Options, shells: Iterable[Shell[Any]]
    ) -> dict[str, int]:
        """Tell it all; times in milliseconds."""
        with self._lock:
            counts, pinned = Counter(self._counts), Counter(self._pinned)
        for shell in shells:
            counts.update(uses=shell.uses, used=shell.used)
        return {
            "pool_min": options.min_size,
            "pool_max": options.max_size,
            "pool_size": now.size,
            "pool_available": now.idle + now.resetting,
            "requests_waiting": now.waiting,
            "usage_ms": counts["used"] // 1_000_000,
            "requests_num": counts["uses"] + counts["requests_errors"],
            "requests_queued": counts["requests_queued"],
            "requests_wait_ms": counts["requests_wait_us"] // 1000,
            **{key: counts[key] for key in _AS_COUNTED},
            "pins": pinned.total(),
            **{f"pinned_{reason}": count for reason, count in sorted(pinned.items())},
        }

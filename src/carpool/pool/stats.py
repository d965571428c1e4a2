"""What a pool has done: counted under its lock, told under psycopg_pool's names."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Tally:
    """Counts of what is over. What live connections did is counted in their entries."""

    uses: int = 0
    used: float = 0.0  # seconds
    queued: int = 0
    waited: float = 0.0  # seconds
    request_errors: int = 0
    timeouts: int = 0  # of those, the ones that had waited in vain
    returns_bad: int = 0
    connections: int = 0  # attempts
    connect_time: float = 0.0  # seconds, of the attempts that succeeded
    connect_errors: int = 0
    resets: int = 0
    leaks: int = 0
    closed: Counter[str] = field(default_factory=Counter)  # by reason
    pinned: Counter[str] = field(default_factory=Counter)  # by reason
    scarce: int = 0  # of those queued, the ones for whom no connection could be opened at once
    peak_leased: int = 0  # when that was so
    peak_waiting: int = 0

    def note_scarcity(self, leased: int, waiting: int) -> None:
        """Take note of a request that has to wait for others."""
        self.scarce += 1
        self.peak_leased = max(self.peak_leased, leased)
        self.peak_waiting = max(self.peak_waiting, waiting)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A pool at one moment, for errors and statistics."""

    min_size: int
    max_size: int
    size: int
    leased: int
    idle: int
    resetting: int
    opening: int
    closing: int
    waiting: int
    last_error: BaseException | None
    waiting_since: float | None = None  # monotonic, of who has waited longest
    paused: bool = False

    def __str__(self) -> str:
        """Read as the end of an error message."""
        last = " ".join(str(self.last_error).split()) if self.last_error else "none"
        paused = "PAUSED (`carpool resume` ends that), " if self.paused else ""
        return (
            f"{paused}size {self.size} of {self.max_size}, leased {self.leased}, idle {self.idle}, "
            f"opening {self.opening}, resetting {self.resetting}, waiting {self.waiting}; "
            f"last connect error: {last}"
        )

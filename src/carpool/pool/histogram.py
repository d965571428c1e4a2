"""How long things took: counted by size."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from collections.abc import Iterable

# Seconds; each is the upper end of a bucket, included, as in Prometheus' `le`. One more bucket
# takes what is longer. OpenTelemetry's advice for these metrics begins at 1 ms; an acquire that
# had to wait for a hand-over in its process takes less.
BOUNDS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)


class Counted(TypedDict):
    """A histogram as it is told."""

    sum: float  # seconds
    buckets: list[int]  # one for each of BOUNDS and one more; each counts what is in it alone


class Histogram:
    """Counts durations. Belongs to one thread, or is guarded by its owner's lock."""

    __slots__ = ("buckets", "sum")

    def __init__(self) -> None:
        self.sum = 0.0
        self.buckets = [0] * (len(BOUNDS) + 1)

    def count(self, seconds: float) -> None:
        """Count one duration."""
        self.sum += seconds
        self.buckets[bisect_left(BOUNDS, seconds)] += 1

    def tell(self) -> Counted:
        """Return what has been counted so far."""
        return {"sum": self.sum, "buckets": self.buckets.copy()}


def nothing() -> Counted:
    """Return a histogram of nothing."""
    return Histogram().tell()


def together(several: Iterable[Counted]) -> Counted:
    """Add histograms up."""
    total = nothing()
    for each in several:
        total["sum"] += each["sum"]
        total["buckets"] = [
            sum(pair) for pair in zip(total["buckets"], each["buckets"], strict=True)
        ]
    return total


def quantile(counted: Counted, share: float) -> float | None:
    """Estimate what `share` (0 to 1) of all durations stay below; None where there are none.

    As Prometheus' histogram_quantile: linear within a bucket; what is longer than the last bound
    counts as that.
    """
    total = sum(counted["buckets"])
    if not total:
        return None
    rank, below = share * total, 0
    for number, count in enumerate(counted["buckets"]):
        if number == len(BOUNDS):
            break
        if count and below + count >= rank:
            lower = BOUNDS[number - 1] if number else 0.0
            return lower + (BOUNDS[number] - lower) * (rank - below) / count
        below += count
    return BOUNDS[-1]

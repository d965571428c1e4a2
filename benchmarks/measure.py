"""Times how long it takes to acquire and release a connection, and counts the calls it makes."""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

BATCH = 50  # cycles between two looks at the clock, where a cycle takes a microsecond or so
CALL_CYCLES = 200


@dataclass(frozen=True)
class Cycle:
    """What is measured: `give(take())`, or with a query `use` in between.

    `leave` is what each thread does at its end.
    """

    take: Callable[[], Any]
    use: Callable[[Any], object]
    give: Callable[[Any], object]
    leave: Callable[[], object] = bool


@dataclass(frozen=True)
class Load:
    """How many threads run the cycle at once, with or without a query, for how many seconds."""

    threads: int
    query: bool
    seconds: float
    batch: int = 1


@dataclass(frozen=True)
class Sample:
    """Nanoseconds per cycle, over all threads together; `share`: least-served to most-served."""

    wall: float
    cpu: float
    share: float


class Clock:
    """Lets the threads of one measurement begin together, and tells each when to end."""

    def __init__(self, load: Load) -> None:
        self.warm = threading.Barrier(load.threads + 1)
        self.go = threading.Barrier(load.threads + 1, action=self._start)
        self.seconds = load.seconds
        self.end = 0.0
        self.failure: BaseException | None = None

    def _start(self) -> None:
        self.end = time.perf_counter() + self.seconds

    def fail(self, failure: BaseException) -> None:
        """Keep the first failure of a thread, and let nobody wait for that thread."""
        self.failure = self.failure or failure
        self.warm.abort()
        self.go.abort()


def measure(cycle: Cycle, load: Load) -> Sample:
    """Run the cycle in new threads. Raises what a thread raised."""
    counts = [0] * load.threads
    clock = Clock(load)

    def work(number: int) -> None:
        run = _with_query if load.query else _without
        try:
            run(cycle, 1)  # every thread has had its first connection when the clock starts
            clock.warm.wait()
            clock.go.wait()
            while time.perf_counter() < clock.end:
                run(cycle, load.batch)
                counts[number] += load.batch
            cycle.leave()
        except BaseException as failure:  # noqa: BLE001 - told by the main thread
            clock.fail(failure)

    threads = [threading.Thread(target=work, args=[n], daemon=True) for n in range(load.threads)]
    wall, cpu = _run(threads, clock)
    if clock.failure:
        raise clock.failure
    cycles = sum(counts)
    return Sample(wall * 1e9 / cycles, cpu * 1e9 / cycles, min(counts) / max(counts))


def _run(threads: list[threading.Thread], clock: Clock) -> tuple[float, float]:
    """Return the seconds that the threads ran and those that all of the process computed."""
    for thread in threads:
        thread.start()
    try:
        clock.warm.wait()
        wall, cpu = time.perf_counter(), time.process_time()
        clock.go.wait()
    except threading.BrokenBarrierError:  # a thread failed: its failure says more
        wall = cpu = 0.0
    for thread in threads:
        thread.join()
    return time.perf_counter() - wall, time.process_time() - cpu


def _without(cycle: Cycle, times: int) -> None:
    take, give = cycle.take, cycle.give
    for _ in repeat(None, times):
        give(take())


def _with_query(cycle: Cycle, times: int) -> None:
    take, use, give = cycle.take, cycle.use, cycle.give
    for _ in repeat(None, times):
        connection = take()
        use(connection)
        give(connection)


def calls(cycle: Cycle) -> tuple[float, float]:
    """Count the calls of Python functions and of C functions that one cycle makes."""
    counts = {"call": 0, "c_call": 0}

    def count(_frame: FrameType, event: str, _arg: object) -> None:
        if event in counts:
            counts[event] += 1

    _without(cycle, 10)
    sys.setprofile(count)
    try:
        _without(cycle, CALL_CYCLES)
    finally:
        sys.setprofile(None)
    cycle.leave()
    # Less what is not the cycle's: the call of `_without`, of `repeat` and of `setprofile`.
    return (counts["call"] - 1) / CALL_CYCLES, (counts["c_call"] - 1) / CALL_CYCLES

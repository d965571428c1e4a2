"""Puts up what this process' pools do, once a second, and carries out what it is told there.

All of it is done by a thread of its own, from the first need for a connection on: a request pays
for nothing but a note of how long it had its connection.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
import weakref
from typing import TYPE_CHECKING

from carpool import __version__
from carpool.errors import PoolError
from carpool.pool import fork
from carpool.pool.crew import Crew
from carpool.telemetry.own import Watched

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from carpool.registry import AnyPool
    from carpool.telemetry.board import Board
    from carpool.telemetry.figures import PoolFigures, Process
    from carpool.telemetry.own import User

    # Called with a pool's name, the kind ("wait_time", "use_time", "create_time") and seconds.
    Listener = Callable[[str, str, Sequence[float]], object]

PERIOD = 1.0  # seconds
logger = logging.getLogger("carpool.telemetry")
listeners: list[Listener] = []  # told each second of new durations, in the publisher's thread
STARTED = time.time()


class Publisher:
    """The boards of this process: one for each directory that a pool names."""

    def __init__(self) -> None:
        self._start_over()
        fork.register(self)

    def _start_over(self) -> None:
        self._lock = threading.RLock()  # guards all that follows
        self._pools: dict[AnyPool, Watched] = {}
        self._users: weakref.WeakSet[User] = weakref.WeakSet()
        self._boards: dict[str | None, Board] = {}  # by the option broker_dir
        self._threads = 0
        self._complaint = ""
        self._asleep = True  # until somebody needs a connection; nothing happens meanwhile
        self._crew = Crew("carpool board", 1, self._tick)

    def watch(self, pool: AnyPool, user: User) -> None:
        """Tell of a pool from now on, and of who uses it. Costs nothing for one that is known."""
        with self._lock:
            self._users.add(user)
            watched = self._pools.get(pool)
            if watched is None:
                watched = self._pools[pool] = Watched(pool, user)
                self._safely(lambda: self._obey(watched, new=True))
            if user.alias not in watched.aliases:
                watched.aliases.append(user.alias)

    def figures(self) -> list[PoolFigures]:
        """Return what this process' pools do at this moment."""
        with self._lock:
            return [each.tell(self._users) for each in self._pools.values()]

    # --------------------------------------------------------------- each second

    def _tick(self) -> float | None:
        with self._lock:
            for watched in [*self._pools.values()]:
                watched.remember()
                self._safely(lambda each=watched: self._obey(each))  # type: ignore[misc] # mypy infers no default
        self.hand_on()
        self._safely(self.publish)
        return PERIOD if self._pools else None

    def hand_on(self) -> None:
        """Count what has been noted, and tell listeners; without the lock, as they may ask back."""
        with self._lock:
            fresh = [
                (each.pool.name, kind, seconds)
                for each in self._pools.values()
                for kind, seconds in each.settle().items()
            ]
        for name, kind, seconds in fresh:
            for listener in [*listeners] if seconds else ():
                try:
                    listener(name, kind, seconds)
                except Exception:
                    logger.exception("%s: a listener failed", name, extra={"pool": name})

    def publish(self) -> None:
        """Put up what the pools do at this moment. Raises OSError, PoolError."""
        self.hand_on()
        with self._lock:
            self._threads = max(self._threads, threading.active_count())
            by_directory: dict[str | None, list[PoolFigures]] = {each: [] for each in self._boards}
            for pool, watched in [*self._pools.items()]:
                figures = watched.tell(self._users)
                if pool.is_closed() and not figures["open"]:
                    self._keep(pool, figures)
                    del self._pools[pool]
                else:
                    by_directory.setdefault(pool.options.broker_dir, []).append(figures)
            for directory, pools in by_directory.items():
                self._board(directory).write(self._process(pools))
            self._complaint = ""

    def _keep(self, pool: AnyPool, figures: PoolFigures) -> None:
        from carpool.telemetry import board  # noqa: PLC0415 - it needs Unix

        board.depart(board.directory(pool.options.broker_dir), [figures])

    def _board(self, directory: str | None) -> Board:
        from carpool.telemetry import board  # noqa: PLC0415 - it needs Unix

        found = self._boards.get(directory)
        if found is None or not found.is_there():  # somebody has cleaned up
            if found is not None:
                found.abandon()
            found = self._boards[directory] = board.Board(board.directory(directory))
        return found

    def _process(self, pools: list[PoolFigures]) -> Process:
        return {
            "pid": os.getpid(),
            "command": " ".join(sys.orig_argv)[:300],
            "version": __version__,
            "settings": os.environ.get("DJANGO_SETTINGS_MODULE", ""),
            "started": STARTED,
            "at": time.time(),
            "threads": self._threads,
            "asleep": self._asleep,
            "pools": pools,
        }

    def _obey(self, watched: Watched, *, new: bool = False) -> None:
        if watched.pool.options.share == "host" or not hasattr(os, "geteuid"):
            return  # the broker is told
        from carpool.telemetry import orders  # noqa: PLC0415 - it needs Unix

        order = orders.of(watched.pool.options.broker_dir, watched.pool.name)
        if order is not None and order["number"] > watched.obeyed:
            orders.carry_out(order, watched.pool, since=order["number"] if new else watched.obeyed)
            watched.obeyed = order["number"]

    def _safely(self, work: Callable[[], object]) -> None:
        """Do what may fail for reasons outside of this process; say so once."""
        if not hasattr(os, "geteuid"):
            return  # Windows has no board
        try:
            work()
        except (OSError, PoolError, ValueError) as error:
            if str(error) != self._complaint:
                self._complaint = str(error)  # until something has been put up
                logger.warning(
                    "other processes cannot see this one's pools: %s",
                    error,
                    extra={"pool": "", "reason": type(error).__name__},
                )

    # -------------------------------------------------------- forks and the end

    def wake(self) -> None:
        """Begin, or go on after a fork."""
        self._asleep = False
        self._crew.attend()

    def before_fork(self, timeout: float) -> None:
        """Pause the thread; what is up meanwhile is of now."""
        self._crew.stop(timeout)
        self._asleep = True
        if self._boards:
            self._safely(self.publish)

    def after_fork_in_parent(self) -> None:
        """Let the thread go on from the next need on."""
        self._crew.resume()

    def after_fork_in_child(self) -> None:
        """Begin anew, with the pools that are here, too."""
        self._of_parent = self._crew  # kept: threads that are not here wait at its addresses
        pools, boards = self._pools, self._boards
        self._start_over()
        for board in boards.values():
            board.abandon()
        self._pools = pools

    def at_exit(self, timeout: float) -> None:
        """Take the boards down, and leave the counts to those who add them up."""
        self._crew.stop(timeout)
        self.hand_on()
        with self._lock:
            for directory, board in self._boards.items():
                last = [
                    watched.tell(())
                    for pool, watched in self._pools.items()
                    if pool.options.broker_dir == directory
                ]
                self._safely(lambda board=board, last=last: board.close(last))  # type: ignore[misc] # mypy infers no default
            self._boards.clear()
            self._pools.clear()

    def let_go(self) -> None:
        """Has nothing more."""


publisher = Publisher()
watch, figures, publish = publisher.watch, publisher.figures, publisher.publish

"""Puts up what this process' pools do, once a second, and carries out what it is told there.

All of it is done by a thread of its own, from the first need for a connection on: a request pays
for nothing but a note of how long it had its connection.
"""

from __future__ import annotations

import logging
import os
import re
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
BOARD = "other processes cannot see what this one's pools do"
ORDERS = "orders for this process' pools cannot be read"
ByDirectory = dict[str | None, list["PoolFigures"]]  # by the option broker_dir
SECRET = re.compile(
    r"(?i)((?:pass|pwd|secret|token|key|credential)[^=\s]*(?:=|\s+))\S+|(://[^:/@\s]*:)[^@/\s]+@"
)


class Publisher:
    """The boards of this process: one for each directory that a pool names."""

    def __init__(self) -> None:
        self._start_over()
        fork.register(self)

    def _start_over(self) -> None:
        self._lock = threading.RLock()  # guards the next three; nothing slow is done under it
        self._pools: dict[AnyPool, Watched] = {}
        self._users: weakref.WeakSet[User] = weakref.WeakSet()
        self._threads = 0
        self._writing = threading.RLock()  # guards the boards; it comes before the other
        self._boards: dict[str | None, Board] = {}  # by the option broker_dir
        self._complaints: dict[str, str] = {}  # what was logged last, by what could not be done
        self._asleep = True  # until somebody needs a connection; nothing happens meanwhile
        self._crew = Crew("carpool board", 1, self._tick)

    def watch(self, pool: AnyPool, user: User) -> None:
        """Tell of a pool from now on, and of who uses it. Costs nothing for one that is known."""
        with self._lock:
            self._users.add(user)
            watched = self._pools.get(pool)
            if new := watched is None:
                watched = self._pools[pool] = Watched(pool, user)
            if user.alias not in watched.aliases:
                watched.aliases.append(user.alias)
        if new:
            self._safely(ORDERS, lambda: self._obey(watched, new=True))
            if not self._asleep:
                self._crew.submit(_go_on)

    def figures(self) -> list[PoolFigures]:
        """Return what this process' pools do at this moment."""
        with self._lock:
            return [each.tell(self._users) for each in self._pools.values()]

    # --------------------------------------------------------------- each second

    def _tick(self) -> float | None:
        with self._lock:
            pools = [*self._pools.values()]
            for watched in pools:
                watched.remember()
        for watched in pools:
            self._safely(ORDERS, lambda each=watched: self._obey(each))  # type: ignore[misc] # mypy infers no default
        self.hand_on()
        self._safely(BOARD, self.publish)
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
        with self._writing:
            present, ended = self._take_stock()
            for directory in (gone := self._gone(present)):
                self._boards.pop(directory).abandon()
            for directory in {*self._boards, *present}:
                self._board(directory).write(self._process(present.get(directory, [])))
            for directory, figures in ended.items():  # now that no board shows them any more
                if directory not in gone:
                    depart(directory, figures)

    def _gone(self, present: ByDirectory) -> set[str | None]:
        """Return the directories that somebody has removed, and that no pool is in any more."""
        return {
            directory
            for directory, board in self._boards.items()
            if directory not in present and not board.is_there()
        }

    def _take_stock(self) -> tuple[ByDirectory, ByDirectory]:
        """Return the figures of pools, and those of pools that are no more, by their directory."""
        present: ByDirectory = {}
        ended: ByDirectory = {}
        with self._lock:
            mine = [each for each in threading.enumerate() if each.name.startswith("carpool ")]
            self._threads = max(self._threads, threading.active_count() - len(mine))
            for pool, watched in [*self._pools.items()]:
                figures = watched.tell(self._users)
                if gone := pool.is_closed() and not figures["open"]:
                    del self._pools[pool]
                kind = ended if gone else present
                kind.setdefault(pool.options.broker_dir, []).append(figures)
        return present, ended

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
            "command": unsecret(" ".join(sys.orig_argv))[:300],
            "version": __version__,
            "settings": os.environ.get("DJANGO_SETTINGS_MODULE", ""),
            "started": STARTED,
            "at": time.time(),
            "threads": self._threads,
            "asleep": self._asleep,
            "pools": pools,
        }

    def _obey(self, watched: Watched, *, new: bool = False) -> None:
        pool = watched.pool
        if pool.options.share == "host":
            return  # the broker is told
        from carpool.telemetry import orders  # noqa: PLC0415 - it needs Unix

        order = orders.of(pool.options.broker_dir, pool.name)
        if order is None or order["number"] <= watched.obeyed:
            return
        orders.carry_out(order, pool, None if new else watched.obeyed, paused=watched.paused)
        watched.obeyed, watched.paused = order["number"], order["paused"]

    def _safely(self, kind: str, work: Callable[[], object]) -> None:
        """Do what may fail for reasons outside of this process; say so once."""
        if not hasattr(os, "geteuid"):
            return  # Windows has no board
        try:
            work()
        except (OSError, PoolError, ValueError) as error:
            if str(error) != self._complaints.get(kind):
                self._complaints[kind] = str(error)
                logger.warning("%s: %s", kind, error, extra={"pool": ""})
        else:
            self._complaints.pop(kind, None)

    # -------------------------------------------------------- forks and the end

    def wake(self) -> None:
        """Begin, or go on after a fork."""
        self._asleep = False
        self._crew.submit(_go_on)

    def before_fork(self, timeout: float) -> None:
        """Pause the thread; what is up meanwhile is of now. A disk that hangs is not waited for."""
        deadline = time.monotonic() + timeout
        self._crew.stop(timeout)
        self._asleep = True
        if self._boards:
            self._in_time(deadline, self.publish)

    def after_fork_in_parent(self) -> None:
        """Let the thread go on from the next need on."""
        self._crew.resume()

    def after_fork_in_child(self) -> None:
        """Begin anew, with the pools that are here, too."""
        self._of_parent = self._crew  # kept: threads that are not here wait at its addresses
        pools, users, boards = self._pools, self._users, self._boards
        self._start_over()
        for board in boards.values():
            board.abandon()
        self._pools, self._users = pools, users
        for watched in pools.values():
            watched.begin()

    def at_exit(self, timeout: float) -> None:
        """Take the boards down, and leave the counts to those who add them up."""
        deadline = time.monotonic() + timeout
        self._crew.stop(timeout)
        self._in_time(deadline, self._take_down)

    def _in_time(self, deadline: float, work: Callable[[], object]) -> None:
        """Do what takes the boards, unless another thread is stuck with them."""
        if self._writing.acquire(timeout=max(0.0, deadline - time.monotonic())):
            try:
                self._safely(BOARD, work)
            finally:
                self._writing.release()

    def _take_down(self) -> None:
        self.hand_on()
        present, ended = self._take_stock()
        for directory, board in self._boards.items():
            board.close([*present.get(directory, ()), *ended.get(directory, ())])
        self._boards.clear()
        self._pools.clear()

    def let_go(self) -> None:
        """Has nothing more."""


def _go_on() -> None:
    """Do nothing: a task after which the thread looks around, though it was about to leave."""


def unsecret(command: str) -> str:
    """Return a command line without what looks like a secret.

    >>> unsecret("work --password=x --api-key y postgresql://shop:z@db/shop -v")
    'work --password=... --api-key ... postgresql://shop:...@db/shop -v'
    """
    return SECRET.sub(lambda found: f"{found[1]}..." if found[1] else f"{found[2]}...@", command)


def depart(directory: str | None, figures: list[PoolFigures]) -> None:
    """Keep the counts of pools that are no more. Raises OSError, PoolError."""
    from carpool.telemetry import board  # noqa: PLC0415 - it needs Unix

    board.depart(board.directory(directory), figures)


publisher = Publisher()
watch, figures, publish = publisher.watch, publisher.figures, publisher.publish

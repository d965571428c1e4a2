"""The threads of a pool's background work: started at need, gone when nothing is left to do."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable
from queue import Empty, SimpleQueue
from time import monotonic

logger = logging.getLogger("carpool.pool")

Task = Callable[[], object]
PATIENCE = 5.0  # seconds for which a thread without work stays


def _wake() -> None:
    """Do nothing: the task that makes a thread look what there is to do."""


class Crew:
    """Runs tasks in up to `limit` daemon threads, and `sweep` whenever its pause is over.

    `sweep()` does what has fallen due and returns the seconds until it wants to be called again,
    or None when there is nothing left to look after. It is also called after every task, by the
    thread that did it, which from then on is the keeper of the pauses.
    An exception in either is logged and ends nothing.
    `sweep` is a bound method, held weakly: threads do not keep a forgotten pool alive.
    """

    def __init__(self, name: str, limit: int, sweep: Callable[[], float | None]) -> None:
        self._name = name
        self._limit = limit
        self._sweep = weakref.WeakMethod(sweep)
        self._tasks: SimpleQueue[Task] = SimpleQueue()
        self._lock = threading.RLock()  # guards those below; reentrant for finalizers
        self._done = threading.Condition(self._lock)  # a task more
        self._threads: set[threading.Thread] = set()
        self._keeper: threading.Thread | None = None
        self._load = 0  # submitted tasks that are not done, and sweeps under way
        self._stopping = False

    def post(self, task: Task) -> None:
        """Leave a task for a thread that is there already. Reentrant: safe in a finalizer."""
        self._tasks.put(task)

    def submit(self, task: Task) -> None:
        """Leave a task and see to it that there is a thread for it.

        Where no thread can be started (at the interpreter's end), the caller does the work.
        """
        with self._lock:
            self._load += 1
        self._tasks.put(lambda: self._finish(task))
        if not self._staff():
            self._do_the_rest()

    def attend(self) -> None:
        """See to it that there is a thread, for those who wait for what may be posted."""
        if not self._threads:
            self.submit(_wake)

    def _finish(self, task: Task) -> object:
        try:
            return task()
        finally:
            with self._lock:
                self._load -= 1
                self._done.notify_all()

    def _staff(self) -> bool:
        """Start a thread if work waits and none is free for it; tells whether there is one."""
        with self._lock:
            if self._stopping or len(self._threads) >= min(self._limit, self._load):
                return True
            thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            try:
                thread.start()
            except RuntimeError:  # no more threads: at shutdown, or at a limit of the system
                return bool(self._threads)
            self._threads.add(thread)
            self._keeper = self._keeper or thread
            return True

    def stop(self, timeout: float) -> None:
        """End the threads once they have done what they are at, waiting up to `timeout` seconds."""
        deadline = monotonic() + timeout
        with self._lock:
            self._stopping = True
            threads = [each for each in self._threads if each is not threading.current_thread()]
        for _ in threads:
            self._tasks.put(_wake)
        for thread in threads:
            thread.join(max(0.0, deadline - monotonic()))

    def resume(self) -> None:
        """Work again after `stop`: at what was submitted meanwhile, or from the next task on."""
        with self._lock:
            self._stopping = False
            submitted = self._load
        for _ in range(submitted):
            self._staff()

    def work_off(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds for what has been submitted; tells whether all is done.

        In one of its own threads it does not wait: that would be for itself.
        """
        with self._lock:
            if threading.current_thread() in self._threads:
                return False
            return self._done.wait_for(lambda: not self._load, timeout)

    def finish(self, timeout: float) -> None:
        """End the threads and do here what they have left undone. Later tasks start new ones."""
        self.stop(timeout)
        self._do_the_rest()
        with self._lock:
            self._stopping = False

    def _do_the_rest(self) -> None:
        while (task := self._next(0.0)) is not None:
            self._safely(task)

    def _work(self) -> None:
        me = threading.current_thread()
        pause: float | None = PATIENCE
        while not self._leaves(me, pause):
            if self._keeper is me:
                pause = self._do_sweep()
            task = self._next(PATIENCE if pause is None else pause)
            if task is not None:
                self._safely(task)
                task = None  # it knows a connection, whose end must not go unnoticed
                pause = PATIENCE
                self._keeper = me
            elif self._keeper is not me:
                pause = None

    def _do_sweep(self) -> float | None:
        sweep = self._sweep()
        if sweep is None:
            return None
        with self._lock:
            self._load += 1
        return self._safely(lambda: self._finish(sweep))

    def _next(self, pause: float) -> Task | None:
        try:
            return self._tasks.get(block=pause > 0, timeout=pause or None)
        except Empty:
            return None

    def _leaves(self, me: threading.Thread, pause: float | None) -> bool:
        """Sign off, unless there is still something to do."""
        with self._lock:
            if not self._stopping and (pause is not None or not self._tasks.empty()):
                return False
            self._threads.discard(me)
            if self._keeper is me:
                self._keeper = None
            return True

    def _safely(self, task: Task) -> float | None:
        try:
            result = task()
        except BaseException:
            name = self._name.removeprefix("carpool ")
            logger.exception("%s: background work failed", name, extra={"pool": name})
            return PATIENCE
        return result if isinstance(result, float) else None

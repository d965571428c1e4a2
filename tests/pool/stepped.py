"""What makes a pool deterministic: a crew that works when told to, and a clock that stands."""

import logging
from collections import deque

from carpool.pool import keeper, opener, pool

logger = logging.getLogger("carpool.pool")


class SteppedCrew:
    """Stands in for `carpool.pool.crew.Crew`: does its tasks in the thread of who calls `run`.

    With `eager`, a task is done at once by who submits it, as when no thread can be started.
    """

    def __init__(self, name, limit, sweep):
        self.tasks = deque()
        self.eager = True
        self.errors = []
        self._sweep = sweep

    def post(self, task):
        self.tasks.append(task)

    def submit(self, task):
        self.tasks.append(task)
        if self.eager:
            self.run()

    def run(self):
        """Do all that waits, and what comes of it."""
        while self.tasks:
            self.run_one()

    def run_one(self):
        task = self.tasks.popleft()
        try:
            task()
        except Exception as error:
            self.errors.append(error)
            logger.exception("background work failed")

    def attend(self):
        pass

    def stop(self, timeout):
        pass

    def resume(self):
        pass

    def work_off(self, timeout):
        self.run()
        return True

    def finish(self, timeout):
        self.run()


class Clock:
    """A monotonic clock that moves when it is told to."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now

    def advance(self, seconds):
        self.now += seconds

    def rule(self, monkeypatch):
        """Have the pool's modules ask this clock."""
        for module in (pool, keeper, opener):
            monkeypatch.setattr(module, "monotonic", self)

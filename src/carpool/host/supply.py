"""Where a lender's connections come from: an ordinary `Pool`, for which a lent one is leased.

All methods are called in the broker's loop. What may wait for the server is done in other threads,
which post their results.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from carpool.errors import PoolTimeout
from carpool.host import decide
from carpool.host.generation import Tethers
from carpool.pool import Pool

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from carpool.host.generation import Generation
    from carpool.host.handoff import Handoff
    from carpool.host.loop import Loop
    from carpool.options import Options

logger = logging.getLogger("carpool.host")

ASK_FOR = 5.0  # seconds for which the pool is asked for a connection, before it is asked again
NO_ROOM = 1.0  # seconds for which what could not be done, but should have been, is left alone
ASKERS = 28  # threads at most that ask the pool at a time
AGAIN = 0.02  # seconds between two looks at what an earlier broker has left


class Arrival(NamedTuple):
    """A connection that can be lent, and what of it goes along."""

    connection: Any
    socket: int  # descriptors
    tether: int
    server_id: int


class Customer(Protocol):
    """Who is supplied."""

    def arrived(self, arrival: Arrival) -> None:
        """Take a connection in."""

    def failed(self, error: BaseException, began: float) -> None:
        """Hear why there was none, by an attempt that began at that `monotonic()`."""

    def resized(self, surplus: int) -> None:
        """Hear that there may be more or fewer; `surplus`: so many are too many."""


class Supply:
    """Asks the pool for connections, in as many threads as there are to be had."""

    def __init__(
        self,
        driver: Handoff[Any],
        options: Options,
        generation: Generation,
        loop: Loop,
        executor: Executor,
    ) -> None:
        self.facts: Any = None  # what the newest login has told of the server
        self.errors = 0
        self._told: BaseException | None = None
        self.customer: Customer
        self._driver = driver
        self._options = options
        self._generation = generation
        self._tethers = Tethers(generation)
        self._loop = loop
        self._executor = executor
        self._out = 0  # connections that the customer has
        self.seeking = 0  # threads that are asking the pool, for as many who wait
        self._no_room_until = 0.0
        self._ended = False
        self._foreign = generation.foreign()  # connections that an earlier broker has left
        self.pool: Pool[Any] = Pool(driver, self._pool_options())
        loop.later(AGAIN, self._watch_foreign)  # not now: there is no customer yet to tell

    # ---------------------------------------------------------------- the size

    def _pool_options(self) -> Options:
        size = max(1, self._options.max_size - self._foreign)
        return replace(
            self._options,
            share="process",
            min_size=0 if self._foreign else min(self._options.min_size, size),
            max_size=size,
            max_waiting=0,  # the queue is the lender's
            reserve=0,
        )

    def adopt(self, options: Options) -> None:
        """Heed the sizes of a process that has come: the newest one's count."""
        self._options = options
        self._resize()

    def _resize(self) -> None:
        sizes = self._pool_options()
        self.pool.resize(sizes.min_size, sizes.max_size)
        most = self._options.max_size - self._foreign
        self.customer.resized(max(0, self._out + self.seeking - most))

    def _watch_foreign(self) -> None:
        if not self._foreign or self._ended:
            return
        try:
            foreign = self._generation.foreign()
        except OSError as error:  # no descriptor is left, perhaps
            extra = {"pool": self.pool.name, "reason": type(error).__name__}
            logger.warning("%s: cannot see what is left: %s", self.pool.name, error, extra=extra)
            self._loop.later(NO_ROOM, self._watch_foreign)
            return
        self._loop.later(AGAIN, self._watch_foreign)
        if foreign != self._foreign:
            self._foreign = foreign
            self._resize()

    @property
    def last_error(self) -> BaseException | None:
        """What the last login failed of, though the pool may be trying again; None: of nothing."""
        return self.pool.snapshot().last_error or self._told

    def room(self, longest_wait: float) -> int:
        """Say how many connections more can be asked for; seconds."""
        if monotonic() < self._no_room_until:
            return 0
        return decide.room(
            max_size=self._options.max_size,
            reserve=self._options.reserve,
            lent=self._out,
            seeking=self.seeking,
            foreign=self._foreign,
            longest_wait=longest_wait,
            reserve_timeout=self._options.reserve_timeout,
        )

    # -------------------------------------------------------------- to and fro

    def seek(self, wanted: int, longest_wait: float) -> None:
        """Have so many connections come, those included that are on their way."""
        most = min(wanted, ASKERS) - self.seeking
        for _ in range(min(most, self.room(longest_wait))):
            self.seeking += 1
            self._executor.submit(self._ask)

    def _ask(self) -> None:
        """Run in a thread of its own."""
        connection, began = None, monotonic()
        try:
            connection = self.pool.acquire(ASK_FOR)
            facts = self._driver.facts(connection)
        except BaseException as error:  # noqa: BLE001 - whatever it is, those who wait are told
            failed = error
            if connection is not None:
                self.pool.discard(connection)
            self._loop.post(lambda: self._failed(failed, began))
        else:
            self._loop.post(lambda: self._arrived(connection, facts, began))

    def _arrived(self, connection: Any, facts: Any, began: float) -> None:
        self.seeking -= 1
        if self._ended:
            self.pool.release(connection)
            return
        self.facts = facts
        self._out += 1
        driver = self._driver
        try:
            socket, tether = driver.descriptor(connection), self._tethers.of(connection)
            self.customer.arrived(Arrival(connection, socket, tether, driver.server_id(connection)))
        except OSError as error:  # no more descriptors
            self.give_back(connection)
            self._tell(error, began)
        except Exception as error:  # noqa: BLE001 - it has broken meanwhile
            self.discard(connection)
            self._tell(error, began)

    def _failed(self, error: BaseException, began: float) -> None:
        self.seeking -= 1
        if isinstance(error, PoolTimeout):
            self._no_room_until = monotonic() + NO_ROOM
        else:
            self._tell(error, began)

    def _tell(self, error: BaseException, began: float) -> None:
        self.errors += 1
        self._told = error
        if self._out:  # else each who waits is told, or has an attempt of its own yet
            self._no_room_until = monotonic() + NO_ROOM
        self.customer.failed(error, began)

    def give_back(self, connection: Any) -> None:
        """Put a connection back into the pool, which cleans, renews or closes it at need."""
        self._out -= 1
        self.pool.release(connection)

    def discard(self, connection: Any) -> None:
        """Have a connection closed."""
        self._out -= 1
        self.pool.discard(connection)

    def end(self) -> None:
        """Have nothing more come."""
        self._ended = True

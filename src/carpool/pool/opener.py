"""Opening and closing a pool's connections: in its workers, never on the request's path."""

from __future__ import annotations

import logging
import random
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from carpool.errors import PoolError
from carpool.pool import decide, hooks
from carpool.pool.entry import Entry, Ref

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from carpool.driver import Driver
    from carpool.options import Options
    from carpool.pool.crew import Crew
    from carpool.pool.ledger import Ledger

C = TypeVar("C")
PATIENCE = 2.0  # seconds that closing waits for the server to end the session
HURRY = 0.1  # the same when the process ends
logger = logging.getLogger("carpool.pool")


class Opener(Generic[C]):
    """Opens what the ledger wants and closes what it has struck off."""

    def __init__(
        self,
        driver: Driver[C],
        options: Options,
        ledger: Ledger[C],
        crew: Crew,
        pool: Callable[[], object],
    ) -> None:
        self.pool = pool  # whose events these are; None if nobody has it any more
        self._driver = driver
        self._options = options
        self._ledger = ledger
        self._crew = crew
        self.patience = PATIENCE

    def order(self) -> None:
        """Have a connection opened if one is wanted and allowed. Does not wait for it.

        A worker makes sure again, so it does no harm to order too often.
        """
        if self._ledger.wants_more(monotonic()):
            self._crew.submit(self._open_if_wanted)

    def _open_if_wanted(self) -> None:
        if self._ledger.reserve_wanted(monotonic()):
            self.order()  # another worker may open the next one meanwhile
            self.open_reserved()

    def open_reserved(self) -> bool:
        """Open a connection in room reserved before; tells whether that worked."""
        generation, start = self._ledger.generation, monotonic()
        connection: C | None = None
        try:
            connection = self._driver.connect(self._credentials())
            entry = self._entry(connection, set_up=self._configure(connection))
        except BaseException as error:  # noqa: BLE001 - whatever it is, those who wait are told
            if connection is not None:
                self._driver.close(connection, self.patience)
            self._failed(error, start)
            return False
        seconds = monotonic() - start
        self._ledger.opened(entry, generation, seconds)
        try:
            if hooks.opened:
                hooks.opened(self.pool(), connection=connection, seconds=seconds)
        finally:
            if not self._ledger.put(entry):
                self.discard(entry, entry.take(), "drained")
        return True

    def _credentials(self) -> Mapping[str, Any]:
        ask = self._options.credentials
        fresh = ask() if ask else {}
        return {"password": fresh} if isinstance(fresh, str) else fresh

    def _entry(self, connection: C, *, set_up: bool) -> Entry[C]:
        now = monotonic()
        chance = random.random()  # noqa: S311 - spreads lifetimes, guards nothing
        renew, retire = decide.lifetime(self._options.max_lifetime, chance)
        ref = Ref(connection, self._died)
        readable = self._driver.watch(connection)
        entry = Entry(connection, ref, readable, due_at=now + renew, retire_at=now + retire)
        entry.since = now
        entry.check_at = now + self._options.check_after
        entry.set_up = set_up
        return entry

    def _configure(self, connection: C) -> bool:
        """Run the pool's `configure`; tells whether it left something that a reset wipes."""
        if not self._options.configure:
            return False
        self._options.configure(connection)
        if self._driver.in_transaction(connection):
            raise RuntimeError("the pool's 'configure' left a transaction open")
        return self._driver.adopt(connection)

    def _failed(self, error: BaseException, began: float) -> None:
        if not isinstance(error, Exception):  # an exit of a hook's is nothing for those who wait
            error = PoolError(f"opening a connection to {self._ledger.name} ended with {error!r}")
        now = monotonic()
        logger.warning(
            "%s: connecting failed: %s",
            self._ledger.name,
            error,
            extra={
                "pool": self._ledger.name,
                "reason": type(error).__name__,
                "seconds": now - began,
            },
        )
        full = self._driver.no_room(error)
        self._ledger.open_failed(error, began, now, full=full)

    def discard(self, entry: Entry[C], connection: C, reason: str) -> None:
        """Close a connection that is one's own, in a worker; then have others opened if wanted."""
        logger.debug(
            "%s: closing a connection: %s",
            self._ledger.name,
            reason,
            extra={"pool": self._ledger.name, "reason": reason},
        )
        self._crew.submit(lambda: self.close(entry, connection, reason))

    def close(self, entry: Entry[C], connection: C, reason: str) -> None:
        """Close a connection that is one's own, here and now."""
        self._ledger.leased.pop(id(connection), None)  # it is still there if an acquire failed
        self._ledger.close_begins(entry, reason)
        try:
            self._driver.close(connection, self.patience)
        finally:
            self._ledger.close_ends(entry)
            self.order()
        if hooks.closed:
            hooks.closed(self.pool(), connection=connection, reason=reason)

    def _died(self, ref: Ref[C]) -> None:
        """Notice a connection that died with its borrower. Runs in a finalizer: takes no lock."""
        entry = self._ledger.leased.pop(ref.key, None)
        self._crew.post(lambda: self._strike(ref, entry))

    def _strike(self, ref: Ref[C], entry: Entry[C] | None) -> None:
        if self._ledger.lost(ref, entry):
            logger.warning(
                "%s: a connection was dropped without being given back",
                self._ledger.name,
                extra={"pool": self._ledger.name, "reason": "lost"},
            )
            self.order()
            if hooks.closed:
                hooks.closed(self.pool(), connection=None, reason="lost")

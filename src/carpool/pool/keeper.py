"""Upkeep: resets, pings, renewal, shrinking, leak warnings, attempts to reach a lost server."""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING, Generic, TypeVar

from carpool.driver import NeedsNewSession
from carpool.pool import decide, hooks, leaks
from carpool.pool.decide import Upkeep

if TYPE_CHECKING:
    from collections.abc import Callable

    from carpool.driver import Driver
    from carpool.options import Options
    from carpool.pool.crew import Crew
    from carpool.pool.entry import Entry
    from carpool.pool.ledger import Ledger
    from carpool.pool.opener import Opener

C = TypeVar("C")
PING_TIMEOUT = 2.0  # seconds within which a server has to answer
logger = logging.getLogger("carpool.pool")
RESET_TIMEOUT = 2.0  # seconds that a reset may take once somebody waits for its answer


class Keeper(Generic[C]):
    """Looks after the connections that nobody uses, in the pool's workers."""

    def __init__(
        self,
        driver: Driver[C],
        options: Options,
        ledger: Ledger[C],
        crew: Crew,
        opener: Opener[C],
    ) -> None:
        self._driver = driver
        self._options = options
        self._ledger = ledger
        self._crew = crew
        self._opener = opener

    # ------------------------------------------------------------------- resets

    def give_back(self, entry: Entry[C], connection: C, *, clean: bool) -> None:
        """Take a connection back whose lease is over, resetting it as the options want."""
        how = self._options.reset
        if callable(how):
            self._ledger.tend(entry)
            self._crew.submit(lambda: self._in_worker(self._reset_by_user, entry, connection))
            self._tell_of_reset()
        elif how == "always":
            self._begin_reset(entry, connection, everything=True)
        elif clean:
            self._return(entry, connection)
        elif how == "auto":
            everything = self._driver.effect(connection) is not None
            self._begin_reset(entry, connection, everything=everything)
        elif not self._driver.in_transaction(connection):
            self._driver.adopt(connection)  # what was done to the session is wanted to stay
            self._return(entry, connection)
        elif how == "rollback":
            self._begin_reset(entry, connection, everything=False)
        else:
            self._opener.discard(entry, connection, "transaction")

    def _begin_reset(self, entry: Entry[C], connection: C, *, everything: bool) -> None:
        try:
            sent = self._driver.begin_reset(connection, everything=everything)
        except NeedsNewSession:
            self._opener.discard(entry, connection, "unclean")
            return
        except Exception as error:  # noqa: BLE001 - a connection one cannot reset is closed
            self._give_up(entry, connection, error)
            return
        self._ledger.count_reset()
        entry.resetting = True
        if sent:
            self._return(entry, connection)  # the next to acquire it, or a sweep, reads the answer
        else:
            self._ledger.tend(entry)
            self._crew.submit(lambda: self._in_worker(self.finish, entry, connection))
        self._tell_of_reset()

    def _tell_of_reset(self) -> None:
        if hooks.reset:
            hooks.reset(self._opener.pool())

    def _in_worker(
        self, reset: Callable[[Entry[C], C], None], entry: Entry[C], connection: C
    ) -> None:
        try:
            reset(entry, connection)
        except BaseException as error:  # noqa: BLE001 - see above; a hook may exit, too
            self._give_up(entry, connection, error)
        else:
            self._return(entry, connection)
        finally:
            self._ledger.tended_to(entry)

    def finish(self, entry: Entry[C], connection: C) -> None:
        """Complete a reset in the time that a worker grants it; raises if it fails."""
        self.finish_reset(entry, connection, RESET_TIMEOUT)

    def finish_reset(self, entry: Entry[C], connection: C, timeout: float) -> None:
        """Complete the reset of an entry that is one's own; raises if it fails."""
        self._driver.finish_reset(connection, min(timeout, RESET_TIMEOUT))
        entry.resetting = False
        if entry.set_up and self._options.configure:
            self._options.configure(connection)
            self._driver.adopt(connection)

    def _reset_by_user(self, _entry: Entry[C], connection: C) -> None:
        assert callable(self._options.reset)
        self._ledger.count_reset()
        self._options.reset(connection)
        if self._driver.in_transaction(connection):
            raise RuntimeError("the pool's 'reset' left a transaction open")
        self._driver.adopt(connection)

    def _give_up(self, entry: Entry[C], connection: C, error: BaseException) -> None:
        logger.warning(
            "%s: a reset failed, closing: %s",
            self._ledger.name,
            error,
            extra={"pool": self._ledger.name, "reason": "reset failed"},
        )
        self._opener.discard(entry, connection, "reset failed")

    def _return(self, entry: Entry[C], connection: C) -> None:
        """End a lease: the connection is idle from now on."""
        entry.since = monotonic()
        entry.check_at = entry.since + self._options.check_after
        self._put(entry, connection)

    def _put(self, entry: Entry[C], connection: C, *, last: bool = False) -> None:
        entry.connection = connection
        if not self._ledger.put(entry, last=last):
            self._opener.discard(entry, entry.take(), "drained")

    # -------------------------------------------------------------------- sweep

    def sweep(self) -> float | None:
        """Do what has fallen due; returns the seconds until the next look, None: not needed."""
        now = monotonic()
        for entry in self._ledger.resetting.copy():
            if self._ledger.take(entry):
                self._ledger.tend(entry)
                self._in_worker(self.finish, entry, entry.take())
        idle = self._ledger.idle.copy()
        for entry in idle:  # the one used longest ago first
            self._look_after(entry, now)
        for entry in reversed(idle):  # which keeps their order: see `ping`
            if entry.check_at <= now and self._ledger.take(entry):
                self.ping(entry)
        self._watch_leases(now)
        self._opener.order()
        if self._probe(now):
            self._opener.open_reserved()
        return self._pause(monotonic())

    def _look_after(self, entry: Entry[C], now: float) -> None:
        facts = decide.IdleFacts(
            retire=entry.retire_at - now,
            renew=entry.due_at - now,
            shrink=entry.since + self._options.max_idle - now,
        )
        need = decide.upkeep(facts, spare=self._ledger.open > self._ledger.min_size)
        if need is Upkeep.NOTHING or not self._ledger.take(entry):
            return
        if need is Upkeep.RENEW:
            self._put(entry, entry.take())
            self.renew(entry)
        else:
            reason = "idle" if need is Upkeep.CLOSE_IDLE else "lifetime"
            self._opener.discard(entry, entry.take(), reason)

    def ping(self, entry: Entry[C]) -> None:
        """Ping an idle connection that is one's own; it goes back, or is closed.

        It goes back to the far end: who pings several begins with the one used last.
        """
        connection = entry.take()
        try:
            if not self._driver.look(connection):
                raise ConnectionError("closed by the server or the network while idle")  # noqa: TRY301 - one way out
            self._driver.ping(connection, PING_TIMEOUT)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is of no use any more
            logger.info(
                "%s: dropping an idle connection: %s",
                self._ledger.name,
                error,
                extra={"pool": self._ledger.name, "reason": "broken"},
            )
            self._opener.discard(entry, connection, "broken")
        else:
            entry.check_at = monotonic() + self._options.check_after
            self._put(entry, connection, last=True)

    def renew(self, entry: Entry[C]) -> None:
        """Replace a connection that nears the end of its life, opening the new one first.

        Where `max_size` leaves no room for both, the old one goes first.
        """
        entry.due_at = entry.retire_at
        if self._ledger.circuit.failures:
            return  # better an old connection than none
        if self._ledger.reserve_one(monotonic()) and not self._opener.open_reserved():
            return
        for mine in self._ledger.retire([entry]):
            self._opener.discard(mine, mine.take(), "lifetime")

    def _watch_leases(self, now: float) -> None:
        patience = self._options.leak_warning
        for entry in self._ledger.leased.copy().values():
            held = now - entry.since
            if patience and held >= patience and not entry.warned:
                leaks.warn(entry, self._ledger.name, held)
                with self._ledger.lock:
                    self._ledger.tally.leaks += 1
                if hooks.leaked:
                    self._tell_of_leak(entry, held)

    def _tell_of_leak(self, entry: Entry[C], held: float) -> None:
        hooks.leaked(self._opener.pool(), connection=entry.ref(), held=held, stack=entry.borrower)

    def _probe(self, now: float) -> bool:
        """Decide whether to try by ourselves to reach a server that refused the last attempt."""
        ledger = self._ledger
        with ledger.lock:
            due = ledger.circuit.probing(now, self._options.reconnect_timeout)
            if not due or ledger.open or ledger.opening:
                return False
        return ledger.reserve_one(now)

    def _pause(self, now: float) -> float | None:
        ledger, options = self._ledger, self._options
        with ledger.lock:
            circuit = ledger.circuit
            wanted = ledger.waiters or circuit.probing(now, options.reconnect_timeout)
            if circuit.open(now) and wanted:
                return max(decide.TICK_LEAST, circuit.retry_at - now)
            if not (ledger.open or ledger.opening or ledger.closing or ledger.min_size):
                return None
        return decide.tick(
            options.max_idle,
            options.check_after,
            options.leak_warning,
            options.max_lifetime * decide.RENEW_SHARE,
        )

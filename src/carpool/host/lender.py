"""One pool's lending: its slots, who waits, and which connection goes to whom.

Where connections come from is `supply.py`'s business. All methods are called in the broker's loop;
what may wait for the server, as cancelling, is done in other threads, which post their results.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from time import monotonic
from typing import TYPE_CHECKING, Any

from carpool.errors import PoolError, PoolTimeout, TooManyRequests
from carpool.host import decide, table
from carpool.host.slots import Slot
from carpool.host.supply import Supply
from carpool.host.waiting import Curious, Waiting

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from carpool.host.generation import Generation
    from carpool.host.handoff import Handoff
    from carpool.host.loop import Loop
    from carpool.host.slots import Borrower
    from carpool.host.supply import Arrival
    from carpool.options import Options

logger = logging.getLogger("carpool.host")

SET_UP = "set-up"  # what a session has been through that is to be reset
CANCEL = 5.0  # seconds that a cancel may take
ENDING = 2.0  # seconds that the end of server connections is waited for
SWEEP = 1.0  # seconds between two looks at what is lent and not used
TICK = 0.001  # seconds between two looks while somebody waits
LIMBO = 0.05  # ... at most, while nobody does, at locks that are still held


class Lender:
    """Lends the connections of one pool, first come, first served."""

    def __init__(
        self,
        driver: Handoff[Any],
        options: Options,
        generation: Generation,
        loop: Loop,
        executor: Executor,
    ) -> None:
        self.options = options
        self.name = options.name or driver.name
        self.driver = driver
        self.paused = False
        self.steals = 0
        self.waits = self.peak_waiting = 0  # of those who found all connections taken
        self.generation = generation
        self.supply = Supply(driver, options, generation, loop, executor)
        self.supply.customer = self
        self._words = generation.words
        self._loop = loop
        self._executor = executor
        self._slots: list[Slot] = []  # all that there ever were, by number
        self._here: set[Slot] = set()  # those whose connections are at the broker,
        self._lent: dict[Borrower, Slot] = {}  # those that are not,
        self._lent_to: Counter[int] = Counter()  # how many by process
        self._limbo: set[Slot] = set()  # and those whose borrower has gone, but not yet its lock
        self._queue: deque[Waiting] = deque()
        self._lease = self._words[table.BROKER] << table.COUNTS  # the number of the last one
        self._leases_before = 0  # of connections that have gone
        self._ticking = False
        self._patience = TICK
        self._ended = False
        loop.later(SWEEP, self._sweep)

    def adopt(self, options: Options) -> None:
        """Heed the options of a process that has come: the newest one's count."""
        if options != self.options:
            self.options = options
            self.supply.adopt(options)

    # -------------------------------------------------------------- asking, lending

    def ask(self, borrower: Borrower, timeout: float) -> None:
        """Have somebody lent a connection, or told within `timeout` seconds that there is none."""
        had = self._lent.get(borrower)
        if had is not None:
            self._reclaim(had)
        if self.options.max_waiting and len(self._queue) >= self.options.max_waiting:
            borrower.refuse(
                TooManyRequests(
                    f"{self.options.max_waiting} requests are waiting for a connection to "
                    f"{self.name} already, which is 'max_waiting'; {self.state()}"
                )
            )
            return
        now = monotonic()
        waiting = Waiting(borrower, now, now + timeout)
        self._queue.append(waiting)
        self.match()
        if self._queue and self._queue[-1] is waiting and self._is_scarce():
            self.waits += 1
            self.peak_waiting = max(self.peak_waiting, len(self._queue))

    def _is_scarce(self) -> bool:
        """Tell whether who waits does so for others, not for a connect alone."""
        return self.paused or len(self._queue) > self.supply.seeking

    def forget(self, borrower: Borrower) -> None:
        """Take note that a borrower has gone, wherever it was."""
        self._queue = deque(each for each in self._queue if each.borrower is not borrower)
        had = self._lent.get(borrower)
        if had is not None:
            self._reclaim(had)
        self.match()

    def come_back(self, borrower: Borrower, *, broken: bool) -> None:
        """Take a connection back that its borrower gives back for good."""
        had = self._lent.get(borrower)
        if had is not None:
            self._reclaim(had, broken=broken)
        self.match()

    def give_back(self, borrower: Borrower) -> None:
        """Put a connection back into the pool that was used within the broker, and is idle now."""
        had = self._lent.get(borrower)
        if had is not None and not had.barred:
            self._give_to_pool(had)
        self.forget(borrower)

    def free(self, borrower: Borrower) -> None:
        """Hear that a borrower's connection is idle, while somebody waits or it is wanted."""
        had = self._lent.get(borrower)
        if had is not None and had.get(table.WANTED):
            self._steal(had)
        self.match()

    def match(self) -> None:
        """Give what is here, or can be taken away, to those who wait; ask the pool for more.

        Whatever is left here afterwards goes back to the pool.
        """
        self._words[table.WAITING] = len(self._queue)  # first; then the locks are tried
        if self._queue and not self.paused:
            self._serve()
            self._words[table.WAITING] = len(self._queue)
        for slot in [each for each in self._here if not each.barred]:
            self._give_to_pool(slot)
        if self._queue or self._limbo:
            self._tick_later()
        if self._queue and not self.paused:
            wanting = sum(not self._is_capped(each.borrower) for each in self._queue)
            self.supply.seek(wanting, self._longest_wait())

    def _serve(self) -> None:
        in_vain = set()  # processes for which there is nothing now: as with many of their threads
        for waiting in list(self._queue):
            if waiting.borrower.pid in in_vain:
                continue
            slot = self._find(waiting.borrower)
            if slot is not None:
                self._queue.remove(waiting)
                self._lend(slot, waiting.borrower)  # or it stays here, for the next one
            elif not self.options.max_per_process:
                return  # nor is there one for those who came later
            else:
                in_vain.add(waiting.borrower.pid)

    def _find(self, borrower: Borrower) -> Slot | None:
        """Find a connection for somebody: one that is here, or the best one to take away."""
        capped = self._is_capped(borrower)
        for slot in self._at_hand(capped=capped) or self._by_rank(borrower, capped=capped):
            if not slot.held and not self._steal(slot):
                continue  # it has been taken this very moment
            if not self.driver.look(slot.connection):
                self._drop(slot)
            elif slot.get(table.TRACES) and not borrower.cleans:
                self._give_to_pool(slot)  # which does it; then it comes back
            else:
                return slot
        return None

    def _at_hand(self, *, capped: bool) -> list[Slot]:
        return [] if capped else [each for each in self._here if not each.barred]

    def _by_rank(self, borrower: Borrower, *, capped: bool) -> list[Slot]:
        """Return what may be taken away, the best first."""
        now, waited = table.clock(), self._longest_wait()
        room = not capped and waited < decide.OPENING and self.supply.room(waited) > 0
        found = []
        for owner, slot in self._lent.items():
            if slot.get(table.USE) != table.IDLE or slot.barred:
                continue  # what is on its way will be used: its new owner waits for a processor
            if capped and owner.pid != borrower.pid:
                continue
            granted, released = now - slot.get(table.GRANTED), now - slot.get(table.RELEASED)
            rank = decide.rank(granted, released, own=owner is borrower, room=room)
            if rank >= 0:
                found.append((rank, slot.number, slot))
        found.sort(reverse=True)
        return [slot for _, _, slot in found]

    def _is_capped(self, borrower: Borrower) -> bool:
        """Tell whether a process has all that it may, so that one of its own must change hands.

        Those of another container's pid namespace cannot be told apart: they have no limit.
        """
        most = self.options.max_per_process if borrower.pid else 0
        return bool(most) and self._lent_to[borrower.pid] >= most

    def _lend(self, slot: Slot, borrower: Borrower) -> None:
        self._lease += 1
        try:
            slot.lend(self._lease)
        except OSError as error:
            borrower.refuse(PoolError(f"the broker cannot lend a connection: {error}"))
            return
        if borrower.lend(slot, self._lease):
            slot.borrower = borrower
            self._lent[borrower] = slot
            self._lent_to[borrower.pid] += 1
            self._here.discard(slot)
        else:
            slot.not_sent()

    # --------------------------------------------------------------- taking back

    def _steal(self, slot: Slot) -> bool:
        """Take an idle connection away from its owner, who notices when it wants it again."""
        if not slot.seize():
            return False
        if slot.get(table.USE) == table.USED:  # its owner has died; the news is on its way
            self._forsake(slot)
            return False
        self._take_back(slot)
        self.steals += 1
        return True

    def _reclaim(self, slot: Slot, *, broken: bool = False) -> None:
        """Take back what belonged to somebody who has gone, gives it back or asks for another."""
        if not slot.seize():  # its lock is freed a moment later, or another process has a copy
            self._unlend(slot)
            self._limbo.add(slot)
        elif broken or slot.get(table.USE) == table.USED:
            self._forsake(slot)
        else:
            self._take_back(slot)

    def _take_back(self, slot: Slot) -> None:
        self._unlend(slot)
        slot.take_back()
        self._here.add(slot)

    def _unlend(self, slot: Slot) -> None:
        self._limbo.discard(slot)
        if slot.borrower is not None and self._lent.get(slot.borrower) is slot:
            del self._lent[slot.borrower]
            self._lent_to[slot.borrower.pid] -= 1
            if not self._lent_to[slot.borrower.pid]:  # processes come and go
                del self._lent_to[slot.borrower.pid]

    def _forsake(self, slot: Slot) -> None:
        """Close a connection whose borrower has died with it in use, or has found it broken."""
        pid = slot.borrower.pid if slot.borrower else 0
        logger.info(
            "%s: closing a connection: process %d has died with it, or found it broken",
            self.name,
            pid,
            extra={"pool": self.name, "pid": pid, "reason": "forsaken"},
        )
        self.driver.forsake(slot.connection)
        self._drop(slot)

    def _drop(self, slot: Slot) -> None:
        self.supply.discard(self._vacate(slot))

    def _give_to_pool(self, slot: Slot) -> None:
        if slot.get(table.TRACES):  # which the next to have it would not hear of
            slot.connection.session.effect = SET_UP
        self.supply.give_back(self._vacate(slot))

    def _vacate(self, slot: Slot) -> Any:
        self._unlend(slot)
        self._here.discard(slot)
        self._leases_before += slot.get(table.LEASES)
        return slot.vacate()

    # -------------------------------------------------------------- as `Customer`

    def arrived(self, arrival: Arrival) -> None:
        """See `Customer`. Raises OSError where descriptors run out."""
        slot = self._vacant()
        slot.seat(arrival)
        self._here.add(slot)
        self._loop.post(self.match)  # what may fail there is not the connection's fault

    def failed(self, error: BaseException, began: float) -> None:
        """See `Customer`. Who waits is told, unless there is something to wait for.

        Who has come later than the attempt began may have more luck with the next.
        """
        if not self.slots():
            waiting = list(self._queue)
            self._queue = deque(each for each in waiting if each.since > began)
            for each in waiting:
                if each.since <= began:
                    each.borrower.refuse(error)
        self.match()

    def resized(self, surplus: int) -> None:
        """See `Customer`."""
        for slot in self.slots()[:surplus]:
            slot.put(table.WANTED, 1)
        self.match()

    def _vacant(self) -> Slot:
        for slot in self._slots:
            if slot.connection is None and slot.seize():
                return slot
        if len(self._slots) >= self._words[table.SLOTS]:
            raise OSError(f"the lease table has no more than {len(self._slots)} slots")
        slot = Slot(len(self._slots), self.generation.lock_file(len(self._slots)), self._words)
        slot.seize()
        self._slots.append(slot)
        return slot

    def once_known(
        self, function: Callable[[BaseException | None], object], timeout: float
    ) -> None:
        """Call a function when a login has told what the server is like, or has failed.

        Or, with `PoolTimeout`, after so many seconds.
        """
        if self.supply.facts is not None:
            function(None)
            return
        self._queue.append(Curious(function).waiting(timeout))
        self.match()

    def _longest_wait(self) -> float:
        return monotonic() - self._queue[0].since if self._queue else 0.0

    # ------------------------------------------------------------------- upkeep

    def _tick_later(self) -> None:
        if not self._ticking:
            self._ticking = True
            # A lock may stay for as long as a forked child has a copy: ever more patience then.
            self._patience = TICK if self._queue else min(2 * self._patience, LIMBO)
            self._loop.later(self._patience, self._tick)

    def _tick(self) -> None:
        self._ticking = False
        if self._ended:
            return
        now = monotonic()
        for late in [each for each in self._queue if each.deadline <= now]:
            self._queue.remove(late)
            late.borrower.refuse(
                PoolTimeout(
                    f"no connection to {self.name} within {now - late.since:.3g} s; {self.state()}"
                )
            )
        for slot in list(self._limbo):
            self._reclaim(slot)
        self.match()

    def _sweep(self) -> None:
        if self._ended:
            return
        self._loop.later(SWEEP, self._sweep)  # first, as the rest may fail
        now = table.clock()
        longest = min(decide.LONGEST_LEASE, self.options.max_lifetime / 10)
        for slot in list(self._lent.values()):
            if not decide.is_due(
                now - slot.get(table.GRANTED),
                now - slot.get(table.RELEASED),
                check_after=min(self.options.check_after, self.options.max_idle or 1e9),
                longest=longest,
            ):
                continue
            if slot.get(table.USE) == table.USED or not self._steal(slot):
                slot.put(table.WANTED, 1)
        self.match()

    def _recall(self) -> None:
        """Take back what is idle now; the rest when it is given back."""
        for slot in list(self._lent.values()):
            if slot.get(table.USE) == table.USED or not self._steal(slot):
                slot.put(table.WANTED, 1)
        self.match()

    # ---------------------------------------------------------------- its owner

    def drain(self) -> None:
        """Have every connection replaced: idle ones now, the others as they come back."""
        self.supply.pool.drain()
        self._recall()

    def pause(self) -> None:
        """Lend nothing more until `resume`, and close what is idle; who asks waits."""
        self.paused = True
        self.supply.pool.pause()
        self._recall()

    def resume(self) -> None:
        """Lend again."""
        self.paused = False
        self.supply.pool.resume()
        self.match()

    def cancel(self, borrower: Borrower, done: Callable[[], object]) -> None:
        """Cancel what a borrower's connection runs, if it has one now; then call `done`."""
        slot = self._lent.get(borrower)
        if slot is None or slot.get(table.USE) != table.USED:
            done()
            return
        # So that its owner cannot take it again, for other work, before the cancel is over.
        slot.put(table.OWNER, 0)
        slot.barred += 1
        connection = slot.connection

        def work() -> None:
            self.driver.cancel(connection, CANCEL)
            self._loop.post(over)

        def over() -> None:
            slot.barred -= 1
            self.match()
            done()

        self._executor.submit(work)

    def close(self) -> None:
        """End, but for the connections that are in use: their processes end those. Waits."""
        self._end()
        self.supply.pool.close(ENDING)
        self._clear_away()

    def close_in_background(self, done: Callable[[], object]) -> None:
        """Do the same in another thread; then `done` is called."""
        self._end()
        self.supply.pool.close(0)  # so that no thread waits for it any more

        def work() -> None:
            self.supply.pool.close(ENDING)
            self._loop.post(over)

        def over() -> None:
            self._clear_away()
            done()

        self._executor.submit(work)

    def _end(self) -> None:
        self._ended = True
        for each in self._queue:
            each.borrower.refuse(ConnectionError("the broker is ending"))
        self._queue.clear()
        for slot in list(self._lent.values()):
            self._steal(slot)
        for slot in list(self._here):
            self._give_to_pool(slot)
        self.supply.end()

    def _clear_away(self) -> None:
        pool, in_use = self.supply.pool, self.slots()
        for slot in in_use:
            pool.leave(slot.connection)
        for slot in self._slots:
            slot.close()
        self.generation.close(in_use=bool(in_use or pool.snapshot().size))
        self._executor.shutdown(wait=False, cancel_futures=True)

    # ---------------------------------------------------------------- to be seen

    def waiting(self) -> list[Waiting]:
        """Return those who wait, in their order."""
        return list(self._queue)

    def state(self) -> str:
        """Tell the state of things as the end of an error message."""
        slots, inner = self.slots(), self.supply.pool.snapshot()
        used = sum(each.get(table.USE) == table.USED for each in slots)
        idle = inner.idle + len(slots) - used
        last = " ".join(str(self.supply.last_error).split()) if self.supply.last_error else "none"
        paused = "PAUSED (`carpool broker resume` ends that), " if self.paused else ""
        return (
            f"{paused}size {inner.size} of {self.options.max_size} on this host, "
            f"leased {used}, idle {idle}, waiting {len(self._queue)}; last connect error: {last}"
        )

    def slots(self) -> list[Slot]:
        """Return the slots that have a connection."""
        return [*self._lent.values(), *self._here, *self._limbo]

    def leases(self) -> int:
        """Count what has been acquired."""
        return self._leases_before + sum(each.get(table.LEASES) for each in self.slots())

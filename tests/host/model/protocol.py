"""The lease protocol as a model: workers, broker, kernel and server, and what must always hold.

SPEC.md beside this file tells it in words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.host.model.broker import TheBroker
from tests.host.model.explorer import Explorer, Step
from tests.host.model.rules import Rules
from tests.host.model.state import BROKER, FREE, GONE, NOTHING, OVER, Broker, Slot, State, Worker
from tests.host.model.worker import Workers

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.host.model.state import Bounds


class Protocol:
    """The model of one size, with the rules or with some left out."""

    def __init__(self, bounds: Bounds, rules: Rules = Rules()):  # noqa: B008 - frozen, shared
        self.bounds = bounds
        self.workers = Workers(rules, bounds.processes)
        self.broker = TheBroker(rules, self.workers, bounds.slots)

    def explorer(self, limit: int) -> Explorer:
        """Return who explores it."""
        return Explorer(self.steps, self.wrong, self.wrong_at_rest, limit)

    def first(self) -> State:
        """Return the first state: every connection at the broker, every shell connected."""
        bounds = self.bounds
        generations = bounds.broker_kills + 1
        later = (Slot(lock=FREE, session=""),) * (bounds.slots * bounds.broker_kills)
        lives = generations + bounds.give_ups
        count = len(bounds.processes)
        return State(
            workers=tuple(Worker(index + 1) for index in range(count)),
            slots=(Slot(),) * bounds.slots + later,
            broker=Broker(),
            waiters=(0,) * generations,
            inbox=((),) * (1 + count * lives),
            left=bounds,
        )

    # ------------------------------------------------------------- what can come next

    def steps(self, state: State) -> list[Step]:
        """Return all that can come next."""
        steps = list(self.broker.steps(state))
        for index in range(len(state.workers)):
            steps += self.workers.steps(state, index)
        return [*steps, *self._kernel(state), *self._server(state), *self._mishaps(state)]

    def _kernel(self, state: State) -> Iterable[Step]:
        """Close what the dead had open, one by one: the order is not ours."""
        for index, worker in enumerate(state.workers):
            broker = state.broker
            lost = not broker.alive or broker.generation != worker.generation
            if lost and not worker.eof and worker.place not in (*GONE, "connect"):
                yield Step(
                    "kernel",
                    f"closes worker {index}'s channel at the broker's end",
                    state.worker(index, eof=True),
                )
            if worker.place in ("dying", "dying, locks free"):
                after = state.post(worker.number, "eof")
                yield Step(
                    "kernel",
                    f"closes worker {index}'s channel",
                    after.worker(index, place="dying, channel closed"),
                )
            if worker.place == "dying":
                freed = self.workers.let_go(state, index, worker.slot)
                yield Step(
                    "kernel",
                    f"frees worker {index}'s socket and lock",
                    freed.worker(index, slot=NOTHING, place="dying, locks free"),
                )
            if worker.place == "dying, channel closed":
                freed = self.workers.close_all(state, index)
                yield Step(
                    "kernel",
                    f"frees all that worker {index} had",
                    freed.worker(index, place="dead"),
                )

    def _server(self, state: State) -> Iterable[Step]:
        """Have cancels arrive, at any time."""
        for index, slot in enumerate(state.slots):
            if slot.cancel > 0:
                living = state.broker.alive and index in self.broker.mine(state)
                users = [state.workers[user].number for user in state.users(index)]
                wrong = "a cancel hits another's statement" if set(users) - {slot.cancel} else ""
                after = state.slot(index, cancel=OVER if living else 0)
                yield Step("server", f"has the cancel on slot {index}", after._replace(wrong=wrong))

    def _mishaps(self, state: State) -> Iterable[Step]:
        left, workers = state.left, state.workers
        living = [index for index, worker in enumerate(workers) if worker.place not in GONE]
        if left.kills:
            for process in sorted({self.bounds.processes[index] for index in living}):
                yield Step(
                    "somebody", f"kills process {process}", self._killed(state, process), must=False
                )
        if left.broker_kills and state.broker.alive:
            yield Step("somebody", "kills the broker", self._broker_killed(state), must=False)
        if left.stops:
            for index in living:
                yield Step(
                    "somebody",
                    f"stops worker {index}",
                    state.spend("stops").worker(index, stopped=True),
                    must=False,
                )

    def _killed(self, state: State, process: int) -> State:
        state = state.spend("kills")
        for index, worker in enumerate(state.workers):
            if self.bounds.processes[index] == process and worker.place not in GONE:
                state = state.worker(index, place="dying", stopped=False)
        return state

    def _broker_killed(self, state: State) -> State:
        state = state.spend("broker_kills").at_broker(alive=False, place="idle")
        for slot in self.broker.mine(state):
            state = self.broker.drop_copy(state, slot).slot(slot, lent=0)
            if state.slots[slot].lock == BROKER:
                state = state.slot(slot, lock=FREE)
        return state._replace(inbox=((),) * len(state.inbox), cancelling=0)

    # ------------------------------------------------------------- what must hold

    def wrong(self, state: State) -> str:
        """Return what is wrong with a state, if anything."""
        if state.wrong:
            return state.wrong
        count = sum(state.open_at_server(slot) for slot in range(len(state.slots)))
        return "more server connections than max_size" if count > self.bounds.slots else ""

    def wrong_at_rest(self, state: State) -> str:
        """Return what must not stay so when nobody goes on by himself."""
        held = {slot for slot in range(len(state.slots)) if self._held_by_stopped(state, slot)}
        waiting = any(worker.place == "wait" and not worker.stopped for worker in state.workers)
        if waiting and len(held) < self.bounds.slots:
            return "somebody waits though a connection is free: a lost wake-up"
        for index, slot in enumerate(state.slots):
            if wrong := index not in held and self._left_behind(state, index, slot):
                return wrong
        return ""

    def _left_behind(self, state: State, index: int, slot: Slot) -> str:
        if index not in self.broker.mine(state):
            lingers = state.open_at_server(index)
            return "a connection of the dead broker lingers" if lingers else ""
        if slot.session and (slot.session == "dirty" or (slot.use == 1 and slot.lock == FREE)):
            return "a dead worker's transaction stays open"
        if slot.lock not in (FREE, BROKER):
            return "a connection is lost: locked, and nobody has it"
        return ""

    def _held_by_stopped(self, state: State, index: int) -> bool:
        return any(
            worker.stopped
            and (
                state.slots[index].lock == self.workers.label(state, number)
                or (
                    index not in self.broker.mine(state)
                    and state.open_at_server(index)
                    and index in (worker.slot, worker.coming)
                )
            )
            for number, worker in enumerate(state.workers)
        )

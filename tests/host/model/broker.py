"""The broker's half of the protocol: each method is one system call or one word of the table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.host.model.explorer import Step
from tests.host.model.state import BROKER, FREE, GONE, OVER

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.host.model.rules import Rules
    from tests.host.model.state import State
    from tests.host.model.worker import Workers

CLOSED = ("dying, channel closed", "dead", "closed")


class TheBroker:
    """What the broker can do next."""

    def __init__(self, rules: Rules, workers: Workers, size: int):
        self.rules, self.workers, self.size = rules, workers, size

    def steps(self, state: State) -> Iterable[Step]:
        """Return the steps that the broker can take."""
        if not state.broker.alive:
            yield Step("new broker", "starts", self._started(state))
            return
        method = getattr(self, "at_" + state.broker.place)
        for text, after, *event in method(state):
            yield Step("broker", text, after, event="".join(event))

    def _started(self, state: State) -> State:
        generation = state.broker.generation + 1
        return state.at_broker(
            place="idle", at=0, queue=(), orphans=frozenset(), alive=True, generation=generation
        )

    def mine(self, state: State) -> range:
        """Return the slots of the living generation."""
        return range(state.broker.generation * self.size, (state.broker.generation + 1) * self.size)

    def room(self, state: State) -> bool:
        """Tell whether one more server connection may be opened."""
        count = sum(bool(state.slots[slot].session) for slot in self.mine(state))
        for slot in range(self.mine(state).start):
            if self.rules.old_tethers_count:
                count += state.open_at_server(slot)
            elif self.rules.old_locks_count:
                count += bool(state.slots[slot].session) and state.slots[slot].lock != FREE
        return count < self.size

    # ------------------------------------------------------------- the loop

    def at_idle(self, state: State):
        for number, messages in enumerate(state.inbox):
            if messages:
                yield (*self._received(state, number, messages), f"reads from shell {number}")
        if state.cancelling:
            yield self._cancel(state)
        for slot in self.mine(state):
            if state.slots[slot].cancel == OVER:
                after = state.slot(slot, cancel=0)
                if self.rules.end_of_cancel_is_an_event:
                    after = self.scan(after)
                yield f"hears that the cancel on slot {slot} is over", after
        if self._worth_a_try(state):
            yield "tries again, its timer is due", self.scan(state)

    def _worth_a_try(self, state: State) -> bool:
        """Tell whether a timer would find something; its vain tries change nothing."""
        broker, slots = state.broker, state.slots
        orphaned = self.rules.orphans_are_tried_again and any(
            slots[slot].lock == FREE and not slots[slot].cancel for slot in broker.orphans
        )
        old = bool(broker.queue and broker.generation) and self.room(state)
        empty = old and any(not slots[slot].session for slot in self.mine(state))
        ticked = (
            state.left.tick
            and broker.queue
            and any(
                slots[slot].lock == FREE and not slots[slot].cancel for slot in self.mine(state)
            )
        )
        return bool(orphaned or empty or ticked)

    def _received(self, state: State, number: int, messages: tuple[str, ...]) -> tuple[str, State]:
        message, *rest = messages
        state = state._replace(
            inbox=(*state.inbox[:number], tuple(rest), *state.inbox[number + 1 :])
        )
        text = f"reads {message!r} from shell {number}"
        if message == "notify":
            return text, self.scan(state)
        queue = state.broker.queue
        if message == "ask":
            state = state.at_broker(queue=(*queue, number))
        else:
            lent = self._lent_to(state, number)
            queue = tuple(other for other in queue if other != number)
            state = state.at_broker(queue=queue, orphans=state.broker.orphans | lent)
        if self.rules.waiters_are_written_before_locks_are_tried:
            return text, state.at_broker(place="publish")
        return text, self.scan(state)

    def _lent_to(self, state: State, number: int) -> frozenset[int]:
        word = "lent" if self.rules.orphans_go_by_the_book else "owner"
        return frozenset(
            slot for slot in self.mine(state) if getattr(state.slots[slot], word) == number
        )

    def at_publish(self, state: State):
        if self.rules.waiters_are_written_before_locks_are_tried:
            yield self._published(state, self.scan)
        else:
            yield from self.at_publish_only(state)

    def at_publish_only(self, state: State):
        yield self._published(state, lambda state: state.at_broker(place="idle", at=0))

    def _published(self, state: State, then) -> tuple[str, State]:
        count = len(state.broker.queue)
        waiters = list(state.waiters)
        waiters[state.broker.generation] = count
        return f"writes waiters = {count}", then(state._replace(waiters=tuple(waiters)))

    # ------------------------------------------------------------- from slot to slot

    def scan(self, state: State, start: int | None = None) -> State:
        """Go to the next slot worth a try, or back to the loop."""
        for slot in self.mine(state):
            if (start is None or slot >= start) and self._worth(state, slot):
                return state.at_broker(place="scan", at=slot)
        late = len(state.broker.queue) != state.waiters[state.broker.generation]
        return state.at_broker(place="publish_only" if late else "idle", at=0)

    def _worth(self, state: State, index: int) -> bool:
        slot, wanted = state.slots[index], bool(state.broker.queue)
        if slot.cancel and self.rules.cancelled_slot_stays:
            return False
        if not slot.session:
            return wanted and self.room(state)
        if slot.lock == BROKER:
            return wanted
        return wanted or index in state.broker.orphans

    def at_scan(self, state: State):
        at = state.broker.at
        slot = state.slots[at]
        kept = not self.rules.steals_by_a_fresh_description and slot.copy
        if not slot.session:
            after = state.slot(at, session="clean", lock=BROKER, owner=0, use=0, lent=0)
            for index, worker in enumerate(state.workers):
                after = after.worker(index, closed=worker.closed or worker.slot == at)
            yield f"opens a connection for slot {at}", after.at_broker(place="lend")
        elif slot.lock == BROKER:
            yield f"has slot {at} at hand", state.at_broker(place="lend")
        elif slot.lock == FREE or kept:
            yield f"locks slot {at}", state.slot(at, lock=BROKER).at_broker(place="look")
        elif self.rules.tries_without_waiting:
            yield f"finds slot {at} locked", self.scan(state, at + 1)

    def at_look(self, state: State):
        at = state.broker.at
        slot, orphans = state.slots[at], state.broker.orphans - {at}
        if slot.use == 1 and self.rules.use_is_examined:
            after = state.slot(at, session="", use=0, owner=0, lent=0).at_broker(orphans=orphans)
            yield (
                f"reads use of slot {at} = 1: cancels and closes",
                self.scan(after, at)._replace(wrong=self._alive(state, at)),
            )
            return
        text = f"reads use of slot {at} = {slot.use}"
        back = state.slot(at, lent=0).at_broker(orphans=orphans)
        if state.broker.queue:
            yield text, back.at_broker(place="lend")
        else:
            yield text + ": it stays here", self.scan(back.slot(at, owner=0, use=0), at + 1)

    def _alive(self, state: State, slot: int) -> str:
        owner = state.slots[slot].owner
        for worker in state.workers:
            lives = worker.place not in (*GONE, "closed")
            if lives and (worker.slot, worker.number) == (slot, owner):
                return "the connection of a living worker is taken for a dead one's"
        return ""

    # ------------------------------------------------------------- lend

    def at_lend(self, state: State):
        at, number = state.broker.at, state.broker.queue[0]
        place = "grant" if self.rules.granted_is_marked_before_sending else "send"
        yield (
            f"writes owner of slot {at} = {number}",
            state.slot(at, owner=number).at_broker(place=place),
        )

    def at_grant(self, state: State):
        at = state.broker.at
        place = "send" if self.rules.granted_is_marked_before_sending else "close"
        yield f"writes use of slot {at} = 2", state.slot(at, use=2).at_broker(place=place)

    def at_send(self, state: State):
        at, (number, *queue) = state.broker.at, state.broker.queue
        index = (number - 1) % len(state.workers)
        worker = state.workers[index]
        after = state.at_broker(queue=tuple(queue))
        gone = worker.number != number or worker.generation != state.broker.generation
        if gone or worker.place in CLOSED:
            yield (
                f"cannot send slot {at}: shell {number} is closed",
                after.slot(at, owner=0, use=0).at_broker(place="publish"),
            )
            return
        label = self.workers.label(state, index)
        after = after.slot(at, lock=label, copy=number, lent=number).worker(index, coming=at)
        place = "close" if self.rules.granted_is_marked_before_sending else "grant"
        yield f"sends slot {at} to shell {number}", after.at_broker(place=place)

    def at_close(self, state: State):
        at = state.broker.at
        after = state
        if self.rules.copy_is_closed_after_sending:
            after = self.drop_copy(state, at)
        yield f"closes its copy of slot {at}'s description", after.at_broker(place="publish")

    def drop_copy(self, state: State, at: int) -> State:
        """Close the broker's copy of a description that it has sent: free, if it was the last."""
        slot = state.slots[at]
        if not slot.copy:
            return state
        index = (slot.copy - 1) % len(state.workers)
        worker = state.workers[index]
        kept = worker.number == slot.copy and at in (worker.slot, worker.coming)
        lock = slot.lock
        if lock == self.workers.label_of(slot.copy, index) and not kept:
            lock = FREE
        return state.slot(at, copy=0, lock=lock)

    # ------------------------------------------------------------- cancel

    def _cancel(self, state: State) -> tuple[str, State]:
        number = state.cancelling
        for slot in self.mine(state):
            if state.slots[slot].owner == number and state.slots[slot].use == 1:
                place = "disown" if self.rules.cancel_disowns else "forward"
                return (
                    f"reads a cancel of shell {number}, which uses slot {slot}",
                    state.at_broker(place=place, at=slot),
                )
        return (
            f"reads a cancel of shell {number}, which uses nothing",
            state._replace(cancelling=0),
        )

    def at_disown(self, state: State):
        at = state.broker.at
        yield (f"writes owner of slot {at} = 0", state.slot(at, owner=0).at_broker(place="forward"))

    def at_forward(self, state: State):
        at = state.broker.at
        yield (
            "sends the cancel to the server",
            state.slot(at, cancel=state.cancelling)
            ._replace(cancelling=0)
            .at_broker(place="idle", at=0),
        )

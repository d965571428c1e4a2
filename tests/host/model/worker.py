"""The worker's half of the protocol: each method is one system call or one word of the table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.host.model.explorer import Step
from tests.host.model.state import FREE, NOTHING, USING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.host.model.rules import Rules
    from tests.host.model.state import State


class Workers:
    """What any worker can do next."""

    def __init__(self, rules: Rules, processes: tuple[int, ...]):
        self.rules, self.processes = rules, processes

    def steps(self, state: State, index: int) -> Iterable[Step]:
        """Return the steps that one worker can take."""
        worker = state.workers[index]
        method = getattr(self, "at_" + worker.place.replace(" ", "_"), None)
        if method is None or worker.stopped:
            return
        who = f"worker {index}"
        for text, after, *may in method(state, index):
            yield Step(who, text, after, not may)
        if not self.rules.watcher_takes_the_shell_out and worker.eof and worker.place in USING:
            yield Step(
                who,
                "its watcher locks the same description, ends the connection",
                state.slot(worker.slot, session="")._replace(
                    wrong="a connection is ended while in use"
                ),
            )

    def label(self, state: State, index: int) -> int:
        """Return what a lock says that this worker holds."""
        return self.label_of(state.workers[index].number, index)

    def label_of(self, number: int, index: int) -> int:
        """Return what a lock says that one of a worker's shells holds."""
        return number if self.rules.lock_belongs_to_description else 100 + self.processes[index]

    def let_go(self, state: State, index: int, slot: int) -> State:
        """Close the worker's description of a slot's lock: free, unless there is a copy of it."""
        number, lock = state.workers[index].number, state.slots[slot].lock
        if slot == NOTHING or lock != self.label(state, index) or state.slots[slot].copy == number:
            return state
        return state.slot(slot, lock=FREE)

    def close_all(self, state: State, index: int) -> State:
        """Close socket, lock and what has come unread."""
        worker = state.workers[index]
        for slot in {worker.slot, worker.coming} - {NOTHING}:
            state = self.let_go(state, index, slot)
        return state.worker(index, slot=NOTHING, closed=False, coming=NOTHING)

    def go(self, state: State, index: int) -> State:
        """Begin to talk to the server."""
        worker = state.workers[index]
        slot = worker.slot
        wrong = ""
        if state.users(slot):
            wrong = "two use one connection at once"
        elif worker.closed or not state.slots[slot].session:
            wrong = "a closed connection is used"
        elif state.slots[slot].session != "clean":
            wrong = "a dirty connection is handed over"
        elif state.slots[slot].owner not in (0, worker.number):
            wrong = "a connection is used that was lent to another"
        elif state.slots[slot].cancel > 0:
            wrong = "a connection is used anew while a cancel for its former use is on its way"
        return state.worker(index, place="work")._replace(wrong=wrong)

    # ------------------------------------------------------------- acquire

    def at_idle(self, state: State, index: int):
        worker = state.workers[index]
        if worker.eof:
            yield (
                "its watcher sees that the broker is gone",
                state.worker(index, place="end", then="idle"),
            )
            return
        place = "turn" if self.rules.acquire_reads_waiters else "owner"
        if worker.slot == NOTHING:
            place = "ask"
        yield "wants a connection", state.worker(index, place=place), "may"

    def at_turn(self, state: State, index: int):
        waiters = state.waiters[state.workers[index].generation]
        if not waiters or state.left.quantum:
            yield (
                f"reads waiters = {waiters}" + ", its quantum is not over" * bool(waiters),
                state.worker(index, place="owner"),
            )
        if waiters:
            yield (
                f"reads waiters = {waiters}, its quantum is over",
                state.worker(index, place="ask"),
            )

    def at_owner(self, state: State, index: int):
        worker = state.workers[index]
        owner = state.slots[worker.slot].owner
        place = "lock" if owner == worker.number else "ask"
        yield f"reads owner of slot {worker.slot} = {owner}", state.worker(index, place=place)

    def at_lock(self, state: State, index: int):
        worker = state.workers[index]
        mine = self.label(state, index)
        if state.slots[worker.slot].lock not in (FREE, mine):
            yield f"finds slot {worker.slot} locked", state.worker(index, place="ask")
            return
        place = "owner again" if self.rules.owner_is_read_again else "use"
        if not self.rules.use_is_marked:
            place = "poll"
        yield (
            f"locks slot {worker.slot}",
            state.slot(worker.slot, lock=mine).worker(index, place=place),
        )

    def at_owner_again(self, state: State, index: int):
        worker = state.workers[index]
        owner = state.slots[worker.slot].owner
        mine = "use" if self.rules.use_is_marked else "poll"
        place = mine if owner == worker.number else "drop"
        yield f"reads owner of slot {worker.slot} again = {owner}", state.worker(index, place=place)

    def at_drop(self, state: State, index: int):
        worker = state.workers[index]
        freed = state
        if state.slots[worker.slot].lock == self.label(state, index):
            freed = state.slot(worker.slot, lock=FREE)
        text = f"unlocks slot {worker.slot}, locked in vain"
        yield text, freed.worker(index, place="ask")
        place = "read" if self.rules.locked_in_vain_tells else "idle"
        yield f"{text}, and has no time to wait", freed.worker(index, place=place)

    def at_use(self, state: State, index: int):
        slot = state.workers[index].slot
        yield f"writes use of slot {slot} = 1", state.slot(slot, use=1).worker(index, place="poll")

    def at_poll(self, state: State, index: int):
        if state.workers[index].eof:
            yield ("polls: the broker is gone", state.worker(index, place="end mine", then="ask"))
        else:
            yield "polls, and goes", self.go(state, index)

    # ------------------------------------------------------------- use and release

    def at_work(self, state: State, index: int):
        slot = state.workers[index].slot
        yield (
            "begins a transaction",
            state.slot(slot, session="dirty").worker(index, place="settle"),
        )
        if state.left.cancels and state.broker.alive and not state.cancelling:
            number = state.workers[index].number
            yield (
                "has its statement cancelled",
                state.spend("cancels")._replace(cancelling=number),
                "may",
            )

    def at_settle(self, state: State, index: int):
        worker = state.workers[index]
        if state.cancelling == worker.number:
            return  # it takes part in the cancel until the broker has forwarded it
        place = "unmark" if self.rules.use_is_unmarked_before_unlock else "unlock"
        yield (
            "ends its transaction, the session is clean",
            state.slot(worker.slot, session="clean").worker(index, place=place),
        )

    def at_unmark(self, state: State, index: int):
        slot = state.workers[index].slot
        place = "unlock" if self.rules.waiters_are_read_after_unlock else "read"
        if not self.rules.use_is_unmarked_before_unlock:
            place = "read"
        yield f"writes use of slot {slot} = 0", state.slot(slot, use=0).worker(index, place=place)

    def at_unlock(self, state: State, index: int, then: str = "read"):
        slot = state.workers[index].slot
        if not self.rules.use_is_unmarked_before_unlock:
            then = "unmark"
        elif not self.rules.waiters_are_read_after_unlock and then == "read":
            then = "idle"
        freed = state
        if state.slots[slot].lock == self.label(state, index):
            freed = state.slot(slot, lock=FREE)
        yield f"unlocks slot {slot}", freed.worker(index, place=then)

    def at_unlock_and_notify(self, state: State, index: int):
        yield from self.at_unlock(state, index, "notify")

    def at_read(self, state: State, index: int):
        worker = state.workers[index]
        waiters = state.waiters[worker.generation]
        after, told = ("idle", "notify")
        if not self.rules.waiters_are_read_after_unlock and (
            state.slots[worker.slot].lock == self.label(state, index)
        ):
            after, told = ("unlock", "unlock and notify")
        if not waiters or state.left.quantum:
            yield (
                f"reads waiters = {waiters}" + ", its quantum is not over" * bool(waiters),
                state.worker(index, place=after),
            )
        if waiters:
            yield f"reads waiters = {waiters}", state.worker(index, place=told)

    def at_notify(self, state: State, index: int):
        number = state.workers[index].number
        yield "notifies the broker", state.post(number, "notify").worker(index, place="idle")

    # ------------------------------------------------------------- ask and wait

    def at_ask(self, state: State, index: int):
        worker = state.workers[index]
        if worker.eof:
            yield "finds the broker gone", state.worker(index, place="end", then="ask")
        else:
            yield "asks the broker", state.post(worker.number, "ask").worker(index, place="wait")

    def at_wait(self, state: State, index: int):
        worker = state.workers[index]
        if worker.coming != NOTHING:
            after = state
            if worker.slot not in (NOTHING, worker.coming):
                after = self.let_go(state, index, worker.slot)
            yield (
                f"receives slot {worker.coming}",
                after.worker(index, slot=worker.coming, closed=False, coming=NOTHING, place="take"),
            )
        elif worker.eof:
            yield "sees that the broker is gone", state.worker(index, place="end", then="ask")
        if state.left.give_ups and not worker.eof:
            after = state.spend("give_ups")
            if self.rules.giving_up_closes_the_channel:
                after = after.post(worker.number, "eof").worker(index, place="closed")
            else:
                after = after.worker(index, place="idle")
            yield "gives up", after, "may"

    def at_closed(self, state: State, index: int):
        number = state.workers[index].number + len(state.workers)
        yield (
            "has closed its shell; connects another",
            self.close_all(state, index).worker(index, number=number, place="idle"),
        )

    def at_take(self, state: State, index: int):
        slot = state.workers[index].slot
        after = state.slot(slot, use=1) if self.rules.use_is_marked else state
        yield f"writes use of slot {slot} = 1, and goes", self.go(after, index)

    # ------------------------------------------------------------- after the broker's end

    def at_end(self, state: State, index: int):
        slot = state.workers[index].slot
        mine = self.label(state, index)
        if slot == NOTHING:
            yield "has no connection to end", state.worker(index, place="shut")
        elif not self.rules.only_the_owner_terminates:
            yield "looks at nothing", state.worker(index, place="end mine")
        elif state.slots[slot].lock not in (FREE, mine):
            yield f"finds slot {slot} locked", state.worker(index, place="shut")
        else:
            yield (
                f"locks slot {slot} to end it",
                state.slot(slot, lock=mine).worker(index, place="end owner"),
            )

    def at_end_owner(self, state: State, index: int):
        worker = state.workers[index]
        owner = state.slots[worker.slot].owner
        place = "end mine" if owner == worker.number else "shut"
        yield f"reads owner of slot {worker.slot} = {owner}", state.worker(index, place=place)

    def at_end_mine(self, state: State, index: int):
        slot = state.workers[index].slot
        after = state.slot(slot, session="").worker(index, place="shut")
        if state.users(slot):
            after = after._replace(wrong="Terminate is sent into the midst of another's work")
        yield f"sends Terminate to slot {slot}'s server", after

    def at_shut(self, state: State, index: int):
        yield (
            "closes socket, lock and shell",
            self.close_all(state, index).worker(index, place="connect"),
        )

    def at_connect(self, state: State, index: int):
        worker = state.workers[index]
        if not state.broker.alive or state.broker.generation == worker.generation:
            return
        number, generation = worker.number + len(state.workers), state.broker.generation
        after = state.worker(
            index, number=number, generation=generation, eof=False, place=worker.then, then="idle"
        )
        yield "connects to the new broker", after.forget()

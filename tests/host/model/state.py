"""What a state is made of: words in shared memory, locks, each party's place."""

from __future__ import annotations

from typing import NamedTuple

FREE, BROKER, OVER = 0, -1, -1
NOTHING = -1
USING = ("work", "settle")  # the places between "go" and "release"
GONE = ("dying", "dying, channel closed", "dying, locks free", "dead")


class Slot(NamedTuple):
    """One server connection's place. Shell numbers start at 1."""

    owner: int = 0  # in the table: the shell that may take it without asking, 0: the broker
    use: int = 0  # in the table: 0 idle, 1 in use, 2 granted and not yet taken
    lock: int = BROKER  # whose open file description holds the lock: FREE, BROKER or a shell's
    copy: int = 0  # the shell to whom a description went of which the broker still has a copy
    session: str = "clean"  # the server connection: "" none, "clean", "dirty": in the middle
    cancel: int = 0  # the shell for whom a cancel is on its way to the server; OVER: has landed
    lent: int = 0  # in the broker's book: the shell it was lent to last, 0: it is at the broker


class Worker(NamedTuple):
    """One shell and the thread that uses it."""

    number: int
    place: str = "idle"  # what it does next
    slot: int = (
        NOTHING  # the slot whose socket lies under the shell, with a description of its lock
    )
    closed: bool = False  # that socket is of a connection which the broker has closed since
    coming: int = NOTHING  # the slot whose grant is in the channel, unread
    generation: int = 0
    eof: bool = False  # the channel says that the broker is gone
    then: str = "idle"  # what to do when connected to the next broker
    stopped: bool = False  # by SIGSTOP


class Broker(NamedTuple):
    """The broker's place, its queue and its book."""

    place: str = "idle"
    at: int = 0  # the slot it is busy with
    queue: tuple[int, ...] = ()
    orphans: frozenset[int] = frozenset()  # slots of which the lessee's channel has closed
    generation: int = 0
    alive: bool = True


class Bounds(NamedTuple):
    """How large a model is, and how often what may happen does happen."""

    slots: int = 1
    processes: tuple[int, ...] = (0, 1)  # the process of each worker
    kills: int = 0  # of workers
    give_ups: int = 0
    broker_kills: int = 0
    stops: int = 0
    cancels: int = 0
    quantum: bool = False  # False: always over; True: over or not
    tick: bool = False  # the broker tries again from time to time while somebody waits


class State(NamedTuple):
    """All of it."""

    workers: tuple[Worker, ...]
    slots: tuple[Slot, ...]  # of all generations, one after the other
    broker: Broker
    waiters: tuple[int, ...]  # in the table of each generation
    inbox: tuple[tuple[str, ...], ...]  # the broker's, by shell number
    left: Bounds  # what may happen yet
    cancelling: int = 0  # the shell that has asked for a cancel
    wrong: str = ""

    def worker(self, index: int, **changes: object) -> State:
        """Return the state with one worker changed."""
        changed = self.workers[index]._replace(**changes)
        return self._replace(workers=(*self.workers[:index], changed, *self.workers[index + 1 :]))

    def slot(self, index: int, **changes: object) -> State:
        """Return the state with one slot changed."""
        changed = self.slots[index]._replace(**changes)
        return self._replace(slots=(*self.slots[:index], changed, *self.slots[index + 1 :]))

    def at_broker(self, **changes: object) -> State:
        """Return the state with the broker changed."""
        return self._replace(broker=self.broker._replace(**changes))

    def post(self, number: int, message: str) -> State:
        """Return the state with one more message from a shell to the broker, if it lives."""
        worker = self.workers[(number - 1) % len(self.workers)]
        if not self.broker.alive or worker.generation != self.broker.generation:
            return self
        if message in self.inbox[number]:
            return self
        messages = (*self.inbox[number], message)
        return self._replace(inbox=(*self.inbox[:number], messages, *self.inbox[number + 1 :]))

    def spend(self, what: str) -> State:
        """Return the state with one less of what may happen."""
        return self._replace(left=self.left._replace(**{what: getattr(self.left, what) - 1}))

    def forget(self) -> State:
        """Return the state without what nobody can see any more of generations before."""
        now = self.broker.generation
        if any(worker.generation < now and worker.place != "dead" for worker in self.workers):
            return self
        if any(self.open_at_server(slot) or self.slots[slot].cancel for slot in self.old()):
            return self
        slots = (Slot(lock=FREE, session=""),) * len(self.old()) + self.slots[len(self.old()) :]
        return self._replace(slots=slots, waiters=(0,) * now + self.waiters[now:])

    def old(self) -> range:
        """Return the slots of generations before the broker's."""
        return range(self.broker.generation * len(self.slots) // len(self.waiters))

    def users(self, index: int) -> list[int]:
        """Return the workers that talk to the server through a slot."""
        return [
            i
            for i, worker in enumerate(self.workers)
            if worker.slot == index and worker.place in USING
        ]

    def open_at_server(self, index: int) -> bool:
        """Tell whether the server connection of a slot is there: until the last copy is closed."""
        if not self.slots[index].session:
            return False
        generation = index * len(self.waiters) // len(self.slots)
        if self.broker.alive and self.broker.generation == generation:
            return True
        return any(index in (worker.slot, worker.coming) for worker in self.workers)

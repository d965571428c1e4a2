"""Explores every state that a model can get into, breadth first; knows no particular model.

A model gives its first state and, for any state, the steps that can come next. States are
hashable. A step is one that must come, sooner or later (the next system call of a running process),
or one that may come or never (somebody begins, somebody is killed). A state in which no step
must come is at rest.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

State = Any


class Step(NamedTuple):
    """What one party does next."""

    who: str
    text: str
    after: State
    must: bool = True
    event: str = ""  # what can come again and again comes, as no ready channel is passed over

    def __str__(self):
        return f"{self.who}: {self.text}"


class TooManyStates(Exception):
    """The model is larger than the bound that was given."""


class Found(NamedTuple):
    """What an exploration found: `wrong` says which property does not hold, `trace` how come."""

    states: int
    wrong: str = ""
    trace: tuple[str, ...] = ()

    def __str__(self):
        if not self.wrong:
            return f"all well in {self.states:,} states"
        lines = [f"{number:3}. {line}" for number, line in enumerate(self.trace, 1)]
        return "\n".join([f"{self.wrong} (after {self.states:,} states)", *lines])


class Explorer:
    """The states seen, each with the step that first led there."""

    def __init__(
        self,
        steps: Callable[[State], Collection[Step]],
        wrong: Callable[[State], str],
        wrong_at_rest: Callable[[State], str],
        limit: int,
    ):
        self.steps, self.wrong, self.wrong_at_rest, self.limit = steps, wrong, wrong_at_rest, limit
        self.came: dict[State, tuple[State, Step] | None] = {}

    def explore(self, first: State) -> Found:
        """Visit every state, or those up to the first that is wrong: its trace is a shortest."""
        self.came = {first: None}
        ahead = deque([first])
        while ahead:
            state = ahead.popleft()
            steps = self.steps(state)
            wrong = self.wrong(state)
            if not wrong and not any(step.must for step in steps):
                wrong = self.wrong_at_rest(state)
            if wrong:
                return Found(len(self.came), wrong, tuple(map(str, self.trace(state))))
            ahead.extend(self._new(state, steps))
        return Found(len(self.came))

    def _new(self, state: State, steps: Iterable[Step]) -> Iterable[State]:
        for step in steps:
            if step.after not in self.came:
                self.came[step.after] = (state, step)
                if len(self.came) > self.limit:
                    raise TooManyStates(f"more than {self.limit:,} states")
                yield step.after

    def trace(self, state: State) -> list[Step]:
        """Return the steps from the first state to this one."""
        steps: list[Step] = []
        while came := self.came[state]:
            state, step = came
            steps.append(step)
        return steps[::-1]

    # ------------------------------------------------------------- what goes on for ever

    def starving(self, waits: Callable[[State], bool]) -> Found:
        """Look, after `explore`, for a way to wait for ever although everybody goes on.

        That is a circle of states, all of them waiting, in which each party that must take a step
        all the time takes one, and each event comes that can come again and again.
        """
        rest = [{state for state in self.came if waits(state)}]
        while rest:
            for circle in components(rest.pop(), self.steps):
                passed_over = self._passed_over(circle)
                if passed_over:
                    rest.append(circle - passed_over)
                elif self._fair(circle):
                    return Found(len(self.came), "somebody waits for ever", self._round(circle))
        return Found(len(self.came))

    def _passed_over(self, circle: set[State]) -> set[State]:
        """Return the states in which an event can come that never comes within the circle."""
        can: dict[str, set[State]] = {}
        comes: set[str] = set()
        for state in circle:
            for step in self.steps(state):
                can.setdefault(step.event, set()).add(state)
                if step.after in circle:
                    comes.add(step.event)
        return set().union(*(states for event, states in can.items() if event not in {"", *comes}))

    def _fair(self, circle: set[State]) -> bool:
        stuck: set[str] | None = None  # those who must take a step in every state of it
        moved: set[str] = set()
        for state in circle:
            steps = [step for step in self.steps(state) if step.must]
            due = {step.who for step in steps}
            stuck = due if stuck is None else stuck & due
            moved.update(step.who for step in steps if step.after in circle)
        return not (stuck or set()) - moved

    def _round(self, circle: set[State]) -> tuple[str, ...]:
        first = min(circle, key=lambda state: len(self.trace(state)))
        lines = [*map(str, self.trace(first)), "and from here round and round:"]
        here = first
        for who in sorted({step.who for state in circle for step in self._inside(state, circle)}):
            walk = self._walk(here, circle, lambda _from, step, who=who: step.who == who)
            lines += map(str, walk)
            here = walk[-1].after
        lines += map(str, self._walk(here, circle, lambda _from, step: step.after == first))
        return tuple(lines)

    def _inside(self, state: State, circle: set[State]) -> list[Step]:
        return [step for step in self.steps(state) if step.after in circle]

    def _walk(
        self, start: State, circle: set[State], wanted: Callable[[State, Step], bool]
    ) -> list[Step]:
        """Return the shortest walk within the circle that ends with a wanted step."""
        ways: deque[tuple[State, list[Step]]] = deque([(start, [])])
        seen = {start}
        while ways:
            state, walk = ways.popleft()
            for step in self._inside(state, circle):
                if wanted(state, step):
                    return [*walk, step]
                if step.after not in seen:
                    seen.add(step.after)
                    ways.append((step.after, [*walk, step]))
        return []


def components(
    states: set[State], steps: Callable[[State], Iterable[Step]]
) -> Iterable[set[State]]:
    """Yield the sets of states from each of which all others of the set can be reached.

    Those of two states or more, and single states with a step to themselves: Tarjan's strongly
    connected components, without recursion.
    """
    search = _Components(states, steps)
    for root in states:
        if root not in search.number:
            yield from search.below(root)


class _Components:
    def __init__(self, states: set[State], steps: Callable[[State], Iterable[Step]]):
        self.states, self.steps = states, steps
        self.number: dict[State, int] = {}
        self.low: dict[State, int] = {}
        self.stack: dict[State, None] = {}  # in the order in which they came

    def _enter(self, state: State) -> tuple[State, Iterable[State]]:
        self.number[state] = self.low[state] = len(self.number)
        self.stack[state] = None
        return state, iter([step.after for step in self.steps(state) if step.after in self.states])

    def below(self, root: State) -> Iterable[set[State]]:
        path = [self._enter(root)]
        while path:
            state, ahead = path[-1]
            new = self._next_new(state, ahead)
            if new is not None:
                path.append(self._enter(new))
                continue
            path.pop()
            if path:
                above = path[-1][0]
                self.low[above] = min(self.low[above], self.low[state])
            if self.low[state] == self.number[state]:
                yield from self._cut(state)

    def _next_new(self, state: State, ahead: Iterable[State]) -> State | None:
        for after in ahead:
            if after not in self.number:
                return after
            if after in self.stack:
                self.low[state] = min(self.low[state], self.number[after])
        return None

    def _cut(self, state: State) -> Iterable[set[State]]:
        component = {state}
        while (last := self.stack.popitem()[0]) != state:
            component.add(last)
        if len(component) > 1 or any(step.after == state for step in self.steps(state)):
            yield component

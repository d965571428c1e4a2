"""The lease protocol explored, and each of its rules shown to be needed. SPEC.md tells more.

LEASE_MODEL_LARGE=1 in the environment explores larger models too: some minutes, 2 GB.
"""

import os

import pytest

from tests.host.model.explorer import Explorer, Step
from tests.host.model.protocol import Protocol
from tests.host.model.rules import Rules
from tests.host.model.state import Bounds

ASKED_FOR_LARGE = "LEASE_MODEL_LARGE" in os.environ
LIMIT = 6_000_000 if ASKED_FOR_LARGE else 600_000  # states
CALM = Bounds()
THREE = Bounds(processes=(0, 1, 2))
KILLS = Bounds(kills=1, tick=True)
TWINS = Bounds(processes=(0, 0))
CANCELS = Bounds(cancels=1)
BROKER_KILLS = Bounds(broker_kills=1)

MODELS = {
    "nothing happens": CALM,
    "three workers": THREE,
    "two connections": Bounds(slots=2),
    "quantum over or not": Bounds(quantum=True, tick=True),
    "a worker is killed": KILLS,
    "two shells of one process are killed": Bounds(processes=(0, 0), kills=1, tick=True),
    "a waiter gives up": Bounds(give_ups=1),
    "a worker is stopped": Bounds(stops=1, tick=True),
    "a worker is stopped, two connections": Bounds(slots=2, stops=1, tick=True),
    "a statement is cancelled": CANCELS,
    "a statement is cancelled, a worker killed": Bounds(cancels=1, kills=1, tick=True),
    "the broker is killed": BROKER_KILLS,
}
LARGE = {  # only if asked for
    "a worker is killed, two connections": Bounds(slots=2, kills=1, tick=True),
    "two shells of one process are killed, two connections": TWINS._replace(
        slots=2, kills=1, tick=True
    ),
    "three workers, one is stopped": THREE._replace(stops=1, tick=True),
    "a cancel and a waiter who gives up": Bounds(cancels=1, give_ups=1),
    "a kill and a waiter who gives up": Bounds(kills=1, give_ups=1, tick=True),
    "a kill and one who is stopped": Bounds(kills=1, stops=1, tick=True),
    "two connections, a cancel": Bounds(slots=2, cancels=1),
    "broker and worker are killed": Bounds(broker_kills=1, kills=1, tick=True),
    "broker killed, two connections": Bounds(broker_kills=1, slots=2),
}

CHOSEN = MODELS | LARGE if ASKED_FOR_LARGE else MODELS

LOST_WAKE_UP = "somebody waits though a connection is free: a lost wake-up"
FOR_EVER = "somebody waits for ever"
LOST = "a connection is lost: locked, and nobody has it"
STAYS_OPEN = "a dead worker's transaction stays open"
TAKEN_FOR_DEAD = "the connection of a living worker is taken for a dead one's"
LENT_TO_ANOTHER = "a connection is used that was lent to another"
CANCELLED_STILL = "a connection is used anew while a cancel for its former use is on its way"
TOO_MANY = "more server connections than max_size"

# The rules left out, the model that notices, the property that does not hold.
MUTANTS = {
    "owner not read again": (["owner_is_read_again"], CALM, LENT_TO_ANOTHER),
    "use not marked": (["use_is_marked"], KILLS, STAYS_OPEN),
    "unlock before use = 0": (["use_is_unmarked_before_unlock"], CALM, TAKEN_FOR_DEAD),
    "waiters read before unlock": (["waiters_are_read_after_unlock"], CALM, LOST_WAKE_UP),
    "acquire heeds no waiters": (["acquire_reads_waiters"], CALM, FOR_EVER),
    "locked in vain, tells nobody": (["locked_in_vain_tells"], CALM, LOST_WAKE_UP),
    "gives up, channel open": (["giving_up_closes_the_channel"], Bounds(give_ups=1), LOST),
    "a robbed shell says Terminate": (
        ["only_the_owner_terminates"],
        BROKER_KILLS,
        "Terminate is sent into the midst of another's work",
    ),
    "watcher trusts the lock": (
        ["watcher_takes_the_shell_out"],
        BROKER_KILLS,
        "a connection is ended while in use",
    ),
    "locks of a process": (["lock_belongs_to_description"], TWINS, TAKEN_FOR_DEAD),
    "locks tried before waiters are written": (
        ["waiters_are_written_before_locks_are_tried"],
        CALM,
        LOST_WAKE_UP,
    ),
    "use not examined": (["use_is_examined"], KILLS, STAYS_OPEN),
    "marked granted after sending": (["granted_is_marked_before_sending"], KILLS, STAYS_OPEN),
    "copy kept": (["copy_is_closed_after_sending"], KILLS, LOST),
    "copy kept and used to steal": (
        ["copy_is_closed_after_sending", "steals_by_a_fresh_description"],
        CALM,
        TAKEN_FOR_DEAD,
    ),
    "broker waits for a lock": (
        ["tries_without_waiting"],
        Bounds(slots=2, stops=1, tick=True),
        LOST_WAKE_UP,
    ),
    "lent before the cancel is over": (["cancelled_slot_stays"], CANCELS, CANCELLED_STILL),
    "taken again before the cancel is over": (["cancel_disowns"], CANCELS, CANCELLED_STILL),
    "end of the cancel unheard": (["end_of_cancel_is_an_event"], CANCELS, LOST_WAKE_UP),
    "orphans tried once": (["orphans_are_tried_again"], KILLS, STAYS_OPEN),
    "orphans by the word owner": (
        ["orphans_go_by_the_book"],
        Bounds(cancels=1, kills=1, tick=True),
        STAYS_OPEN,
    ),
    "old generation ignored": (["old_locks_count", "old_tethers_count"], BROKER_KILLS, TOO_MANY),
    "old generation: only what is locked": (["old_tethers_count"], BROKER_KILLS, TOO_MANY),
}


def first_waits(state):
    return state.workers[0].place == "wait"


def explored(bounds, off=(), *, starving=False):
    """Return what an exploration with some rules left out found."""
    model = Protocol(bounds, Rules(**dict.fromkeys(off, False)))
    explorer = model.explorer(LIMIT)
    found = explorer.explore(model.first())
    return explorer.starving(first_waits) if starving and not found.wrong else found


@pytest.mark.parametrize("name", CHOSEN)
def test_the_protocol_holds(name):
    found = explored(CHOSEN[name])
    assert not found.wrong, str(found)


def test_nobody_waits_for_ever():
    found = explored(CALM, starving=True)
    assert not found.wrong, str(found)


@pytest.mark.parametrize("name", MUTANTS)
def test_each_rule_is_needed(name):
    off, bounds, wrong = MUTANTS[name]
    found = explored(bounds, off, starving=wrong == FOR_EVER)
    assert found.wrong == wrong, str(found)


def test_every_rule_is_left_out_once():
    assert {rule for off, _, _ in MUTANTS.values() for rule in off} == set(vars(Rules()))


@pytest.mark.parametrize("bounds", [Bounds(stops=1), Bounds(kills=1)], ids=["stop", "kill"])
def test_the_tick_is_needed_when_one_stops_short_of_reading_waiters(bounds):
    found = explored(bounds)
    assert found.wrong == LOST_WAKE_UP
    assert not explored(bounds._replace(tick=True)).wrong


# ------------------------------------------------------------- the explorer


def explorer_of(graph, bad=None, *, must=True):
    """Explore a graph of numbers; the party that goes is named after the number."""
    return Explorer(
        lambda state: [Step(f"p{state}", f"to {n}", n, must) for n in graph[state]],
        lambda state: "bad" if state == bad else "",
        lambda state: f"{state} is at rest",
        limit=100,
    )


def test_the_trace_is_a_shortest():
    found = explorer_of({0: [1, 2], 1: [3], 2: [4], 3: [4], 4: [0]}, bad=4).explore(0)
    assert found.trace == ("p0: to 2", "p2: to 4")
    assert "  2. p2: to 4" in str(found)


def test_rest_is_where_nothing_must_come():
    assert explorer_of({0: [1], 1: []}).explore(0).wrong == "1 is at rest"
    assert explorer_of({0: [1], 1: [0]}, must=False).explore(0).wrong == "0 is at rest"


def test_a_circle_is_unfair_to_who_could_always_go_and_never_does():
    def steps(state):
        yield Step("a", "turns", (state + 1) % 2 if state < 2 else 2)
        if with_b and state < 2:
            yield Step("b", "ends it", 2)

    for with_b in (False, True):
        explorer = Explorer(lambda s: list(steps(s)), lambda _: "", lambda _: "", limit=100)
        explorer.explore(0)
        assert bool(explorer.starving(lambda state: state < 2).wrong) is not with_b

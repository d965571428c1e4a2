"""How far orders have come, told from made-up figures."""

import pytest

from carpool.errors import OptionsError
from carpool.telemetry.progress import Order, Undone, outcome, sizes, waits_for
from tests.telemetry.samples import sample_part, sample_pool

NAME = "shop on db.internal as shop"


def pool_of(*parts, **changes):
    return {**sample_pool(**changes), "parts": [*parts]}


def test_an_order_waits_for_all_processes():
    pool = pool_of(
        sample_part(1, obeyed=7), sample_part(2, obeyed=6), sample_part(3), sample_part(4, obeyed=8)
    )
    assert waits_for(Order("drain", NAME, 7), pool) == "2 of 4 processes told, waiting for 2, 3"
    assert waits_for(Order("drain", NAME, 7), pool_of(sample_part(3))) == "waiting for process 3"
    assert waits_for(Order("drain", NAME, 0), pool) == ""
    assert waits_for(Order("drain", NAME, 7), pool_of()) == ""


def test_a_pause_waits_for_connections_too():
    parts = [sample_part(n, obeyed=7, paused=True, open=n + 1, leased=n) for n in range(3)]
    order = Order("pause", NAME, 7)
    assert waits_for(order, pool_of(*parts)) == "waiting for 3 connections in use in 2 processes"
    assert (
        waits_for(order, pool_of(parts[0])) == "waiting for 1 connection being closed in 1 process"
    )
    over = sample_part(4, obeyed=7, paused=True, open=0, leased=0)
    assert waits_for(order, pool_of(over)) == ""


def test_a_pause_that_somebody_ends_is_undone():
    parts = [sample_part(1, obeyed=8, open=1), sample_part(2, obeyed=7, paused=True, open=0)]
    with pytest.raises(Undone, match=f"^somebody has resumed {NAME}: pid 1$"):
        waits_for(Order("pause", NAME, 7), pool_of(*parts))


def test_a_pause_of_the_broker_waits_for_its_connections_too():
    order, paused = Order("pause", NAME, 0), {"paused": True}
    lent = pool_of(sample_part(1, open=5), leased=1, open=3, broker=paused)
    assert waits_for(order, lent) == "waiting for 1 connection in use"
    idle = pool_of(leased=0, open=4, broker=paused)
    assert waits_for(order, idle) == "waiting for 4 connections being closed"
    shells = sample_part(1, open=5)  # no connections, those are the broker's
    assert waits_for(order, pool_of(shells, leased=0, open=0, broker=paused)) == ""
    assert waits_for(order, pool_of(leased=0, open=5)) == ""  # with the broker they are gone
    with pytest.raises(Undone, match=f"^somebody has resumed {NAME}$"):
        waits_for(order, pool_of(leased=1, broker={"paused": False}))


@pytest.mark.parametrize(
    ("order", "said"),
    [
        (
            Order("pause", NAME, 1),
            f"Paused: no connection of {NAME} is open; resume lets acquires go on",
        ),
        (Order("resume", NAME, 1), f"Resumed: {NAME} in 2 processes"),
        (Order("resume", NAME, 1, was_paused=True), f"Resumed: {NAME} in 2 processes"),
        (
            Order("resume", NAME, 1, was_paused=False),
            f"{NAME} was not paused: nothing has changed in 2 processes",
        ),
        (
            Order("drain", NAME, 1),
            f"Drained: {NAME} in 2 processes; 3 connections in use: replaced once given back",
        ),
        (Order("resize", NAME, 1, (2, 20)), f"Resized: {NAME} to min 2, max 20 in 2 processes"),
    ],
)
def test_the_outcome(order, said):
    assert outcome(order, sample_pool()) == said


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        (("", "2"), "whole numbers"),
        (("1", "many"), "whole numbers"),
        (("3", "2"), "above 'max_size'"),
        (("0", "0"), "'max_size' is 0"),
        (("-1", "5"), "'min_size' is -1"),
        (("1", "999999999999"), "'max_size' is 999,999,999,999; allowed: at most 100,000"),
    ],
)
def test_sizes_that_cannot_be(given, wrong):
    with pytest.raises(OptionsError, match=wrong):
        sizes(*given)

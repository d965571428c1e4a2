"""Pools over a fake driver. Each is closed after its test and must have left nothing open."""

import gc

import pytest

from carpool import Options, Pool
from carpool.pool import pool as pool_module
from tests.pool.fake import FakeDriver, eventually
from tests.pool.stepped import Clock, SteppedCrew


@pytest.fixture
def driver():
    return FakeDriver()


@pytest.fixture
def make_pool(driver):
    """Make a pool over `driver`, with real threads; options as keywords."""
    pools = []

    def make(**options):
        pools.append(Pool(driver, Options(**options)))
        return pools[-1]

    yield make
    driver.give_up()
    for pool in pools:
        pool.close(10)
        for connection in [entry.ref() for entry in pool._leased.copy().values()]:
            if connection is not None:
                pool.release(connection)
        pool.close(10)
    gc.collect()
    eventually(lambda: driver.sessions == 0)


@pytest.fixture
def clock(monkeypatch):
    """A clock for the pool that stands still until the test advances it."""
    clock = Clock()
    clock.rule(monkeypatch)
    return clock


@pytest.fixture
def stepped(monkeypatch, make_pool, clock):
    """Make a pool that does its background work in the test's thread, by a clock that stands."""
    monkeypatch.setattr(pool_module, "Crew", SteppedCrew)
    return make_pool

"""The pool on its own, without Django, with each of the two drivers."""

import pytest

from carpool import Options, Pool
from carpool.postgresql.driver import PsycopgDriver
from carpool.postgresql.psycopg2 import Psycopg2Driver
from tests.postgresql.handing import make_worker, worker

__all__ = ["make_worker", "worker"]
DRIVERS = {"psycopg": PsycopgDriver, "psycopg2": Psycopg2Driver}


@pytest.fixture(params=DRIVERS)
def driver_class(request):
    """Each of the drivers in turn, for the tests that ask for a pool without naming one."""
    return DRIVERS[request.param]


class Pools:
    """Makes pools of autocommit connections to the test's database, and closes them."""

    def __init__(self, driver_class, database):
        self.driver_class, self.database = driver_class, database
        self.made = []

    def __call__(self, options=None, /, **params):
        """Make a pool with these options, a dict; `params` are the driver's."""
        params = self.database.params | {"autocommit": True} | params
        self.made.append(Pool(self.driver_class(**params), Options(**options or {})))
        return self.made[-1]


@pytest.fixture
def make_pool(driver_class, database):
    pools = Pools(driver_class, database)
    yield pools
    for pool in pools.made:
        pool.close()


@pytest.fixture
def make_psycopg_pool(database):
    pools = Pools(PsycopgDriver, database)
    yield pools
    for pool in pools.made:
        pool.close()

"""Oracle without a server: `oracledb` is a stand-in here, but for tests that say otherwise."""

import importlib
import importlib.util
import sys
from pathlib import Path

import pytest

from carpool import Options, Pool

ON_TOP = ("oracledb", "carpool.oracle", "django.db.backends.oracle")


def _forget_modules():
    """Let whatever is made from `oracledb` be imported anew; return what was there."""
    found = [
        name
        for name in sys.modules
        if any(name == each or name.startswith(f"{each}.") for each in ON_TOP)
    ]
    return {name: sys.modules.pop(name) for name in found}


@pytest.fixture
def oracledb():
    """The stand-in, fresh, as the module `oracledb` while the test lasts."""
    before = _forget_modules()
    spec = importlib.util.spec_from_file_location("oracledb", Path(__file__).parent / "standin.py")
    module = sys.modules["oracledb"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    module.server.go.set()
    _forget_modules()
    sys.modules.update(before)


@pytest.fixture
def server(oracledb):
    """The stand-in's server: what it saw, and how it shall misbehave."""
    return oracledb.server


@pytest.fixture
def driver(oracledb):
    """The module `carpool.oracle.driver`, on the stand-in."""
    return importlib.import_module("carpool.oracle.driver")


@pytest.fixture
def make_pool(driver):
    """Call it with the options of a pool, a dict, and with the driver's parameters."""
    made = []

    def make(options=None, /, **params):
        params = {"user": "shop", "password": "secret", "dsn": "db/shop", **params}
        made.append(Pool(driver.OracleDriver(**params), Options(**options or {})))
        return made[-1]

    yield make
    for pool in made:
        pool.close()

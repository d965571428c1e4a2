"""The pool on its own, without Django, on a SQLite file of the test's own."""

import sqlite3

import pytest

from carpool import Options, Pool
from carpool.sqlite3.driver import SQLiteDriver
from tests.sqlite3.file import File


class Tidy(Pool):
    """Closes what a test has acquired and kept: Python warns of connections left open."""

    def __init__(self, *args):
        super().__init__(*args)
        self.handed_out = []

    def acquire(self, timeout=None):
        self.handed_out.append(super().acquire(timeout))
        return self.handed_out[-1]

    def close(self, timeout=5.0):
        super().close(timeout)
        for connection in self.handed_out:
            connection.close()


@pytest.fixture
def file(tmp_path):
    """A fresh database file, with the table `note`."""
    file = File(tmp_path / "shop.db")
    file.query("CREATE TABLE note (number int)")
    return file


@pytest.fixture
def make_pool(file):
    """Call it with options, and parameters of the driver, for a pool of autocommit connections."""
    made = []

    def make(options=None, database=None, **params):
        params = {"isolation_level": None} | params
        driver = SQLiteDriver(database or file.path, **params)
        made.append(Tidy(driver, Options(**options or {})))
        return made[-1]

    yield make
    for pool in made:
        pool.close()


@pytest.fixture
def plain(file):
    """A connection that is nobody's but the test's."""
    connection = sqlite3.connect(file.path, isolation_level=None, timeout=0)
    yield connection
    connection.close()

"""The examples in docs/third-party-engines.md work."""

import re
import sys
from functools import partial
from types import ModuleType

import pymysql
import pytest
from django.db.backends.postgresql.base import DatabaseWrapper as PostgreSQL

from carpool.wrapper import Pooled
from support.databases import fresh_database
from tests.probing import ROOT

TEXT = (ROOT / "docs" / "third-party-engines.md").read_text()
RECIPE, OVER_SQLITE, WITHOUT_DJANGO, _TENANTS, PROMETHEUS = re.findall(
    r"```python\n(.*?)```", TEXT, re.DOTALL
)


def executed(code):
    names = {}
    exec(code, names)
    return names


@pytest.fixture
def some_engine(monkeypatch):
    module = ModuleType("some_engine.base")
    module.DatabaseWrapper = PostgreSQL
    monkeypatch.setitem(sys.modules, "some_engine", ModuleType("some_engine"))
    monkeypatch.setitem(sys.modules, "some_engine.base", module)


def test_the_recipe(some_engine):
    assert len(RECIPE.splitlines()) <= 10
    engine = executed(RECIPE)["DatabaseWrapper"]
    assert issubclass(engine, Pooled)
    assert issubclass(engine, PostgreSQL)
    arguments = executed(RECIPE)["driver"].keywords
    assert arguments == {"reset": ["RESET ALL"]}


def test_over_sqlite():
    tested = (ROOT / "tests/engines/over_sqlite3/base.py").read_text()
    assert OVER_SQLITE.split("\n\n\n")[1].strip() in tested


def test_without_django(mariadb, monkeypatch):
    with fresh_database(mariadb) as database:
        connect = partial(pymysql.connect, **database.params)
        monkeypatch.setattr(pymysql, "connect", lambda **_: connect())
        names = executed(WITHOUT_DJANGO)
        assert names["pool"].get_stats()["connections_num"] == 1
        names["pool"].close()


def test_prometheus():
    tested = (ROOT / "tests/engines/counted_postgresql/base.py").read_text()
    assert PROMETHEUS.strip() in tested

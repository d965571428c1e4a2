"""The examples in docs/third-party-engines.md work."""

import re
import sys
from types import ModuleType

import pytest
from django.db.backends.postgresql.base import DatabaseWrapper as PostgreSQL

from carpool.wrapper import Pooled
from tests.probing import ROOT

TEXT = (ROOT / "docs" / "third-party-engines.md").read_text()
RECIPE, WITHOUT_DJANGO, _TENANTS, PROMETHEUS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


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


def test_without_django(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = executed(WITHOUT_DJANGO)
    assert (tmp_path / "shop.db").exists()
    names["pool"].close()


def test_prometheus():
    tested = (ROOT / "tests/engines/counted_postgresql/base.py").read_text()
    assert PROMETHEUS.strip() in tested

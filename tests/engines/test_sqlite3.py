"""Engines for SQLite: the recipe refuses their files, `carpool.sqlite3` takes them."""

import re

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection as default

from tests.django.asking import run, value
from tests.engines.kinds import SQLite
from tests.probing import report_of, start_program

FORK = """
import json, os
import django
from django.conf import settings

entry = json.loads(os.environ["PARAMS"])
settings.configure(DATABASES={"default": entry}, USE_TZ=True)
django.setup()
from django.db import connection

def add(number):
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO note VALUES (%s)", [number])

add(1)
back, word = os.pipe()
child = os.fork()
if not child:
    add(2)
    os.write(word, b"x")
    raise SystemExit
os.read(back, 1)
connection.close()
connection.pool.close()
_, status = os.waitpid(child, 0)
assert status == 0
"""


@pytest.fixture
def kind(tmp_path):
    kind = SQLite(tmp_path / "db.sqlite3")
    kind.query("CREATE TABLE note (n integer)")
    return kind


def refusal(use, which):
    with pytest.raises(ImproperlyConfigured) as refused:
        run(use(which), "SELECT 1")
    return str(refused.value)


@pytest.mark.parametrize("which", ["plain", "clearing"])
def test_the_recipe_is_refused(use, kind, which):
    """Forks would lose what was written, and nobody would look whether a file is replaced."""
    text = refusal(use, which)
    assert "carpool.sqlite3.base.DatabaseWrapper" in text
    assert re.search(r"engine = .*sqlite3\.base\.DatabaseWrapper", text)
    assert "docs/third-party-engines.md" in text
    assert kind.sessions() == []


def test_without_a_pool_it_works(use):
    assert value(use("plain", pool=False), "SELECT 7") == 7


def test_the_way_out(use, kind, in_thread):
    connection = use("over", {"max_size": 1})
    for _ in range(2):
        assert value(connection, "SELECT third_party()") == "yes"
        assert connection.seen
        session = kind.session_of(connection)
        connection.close()
    assert in_thread(kind.session_of, default) is session
    run(connection, kind.plant)
    connection.close()
    assert value(connection, kind.probe) == 0


def test_a_replaced_file(use, kind, tmp_path):
    connection = use("over", {"max_size": 1})
    assert value(connection, "SELECT count(*) FROM note") == 0
    connection.close()
    other = SQLite(tmp_path / "new")
    other.query("CREATE TABLE note (n integer)")
    other.query("INSERT INTO note VALUES (1)")
    other.path.replace(kind.path)
    assert value(connection, "SELECT count(*) FROM note") == 1


def test_forks(kind, tmp_path):
    kind.query("PRAGMA journal_mode = WAL")
    entry = kind.entry() | {"ENGINE": "tests.engines.over_sqlite3"}
    report_of(start_program(tmp_path / "program.py", FORK, entry))
    assert kind.query("SELECT n FROM note ORDER BY n") == [(1,), (2,)]

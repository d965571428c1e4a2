"""Forks in the midst of requests on SQLite files."""

import pytest

from tests.probing import report_of, start_program
from tests.sqlite3.file import NOTE, File


@pytest.fixture
def file(tmp_path):
    file = File(tmp_path / "shop.db")
    file.query(NOTE)
    return file


PROGRAM = """
import json, os, warnings
import django
from django.conf import settings
from tests.sqlite3.file import File

path = json.loads(os.environ["PARAMS"])
settings.configure(DATABASES={"default": {"ENGINE": "carpool.sqlite3", "NAME": path}})
django.setup()
from django.db import connection, connections, transaction


def write(text):
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO note (text) VALUES (%s)", [text])


def fork(first):
    pid = os.fork()
    if not pid:
        first()
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert status == 0
"""
FORKS = {
    "connection kept by the request": """
write("parent")
fork(lambda: write("child"))
connection.close_pool()  # as the last to close it takes the WAL file away
write("parent again")
""",
    "within a transaction begun by hand": """
connection.cursor().execute("BEGIN")
write("parent")
fork(lambda: None)
write("parent again")
connection.cursor().execute("COMMIT")
fork(lambda: write("child"))
""",
    "within a transaction": """
with transaction.atomic():
    write("parent")
    fork(lambda: None)
    write("parent again")
fork(lambda: write("child"))
""",
}


@pytest.mark.parametrize("text", FORKS.values(), ids=FORKS)
def test_forks(file, tmp_path, text):
    file.query("PRAGMA journal_mode = WAL")
    flags = ["-X", "dev", "-W", "error"]
    program = start_program(tmp_path / "program.py", PROGRAM + text, str(file.path), *flags)
    assert report_of(program) == []
    assert sorted(file.query("SELECT text FROM note")) == [
        ("child",),
        ("parent",),
        ("parent again",),
    ]


CHILD = """
import time
write("parent")
r, w = os.pipe()
back, word = os.pipe()
pid = os.fork()
if not pid:
    write("child")
    os.write(w, b"x")
    os.read(back, 1)
    write("child again")
    connections.close_all()
    connection.close_pool()
    os._exit(0)
os.read(r, 1)
connection.close()
connection.close_pool()
File(path).query("SELECT 1 FROM note")
os.write(word, b"x")
assert os.waitpid(pid, 0)[1] == 0
"""


def test_a_child_goes_on_as_its_parent_closes(file, tmp_path):
    """A connection that the parent has in its hand at the fork is given back just before."""
    file.query("PRAGMA journal_mode = WAL")
    assert report_of(start_program(tmp_path / "p.py", PROGRAM + CHILD, str(file.path))) == []
    assert sorted(file.query("SELECT text FROM note")) == [
        ("child",),
        ("child again",),
        ("parent",),
    ]

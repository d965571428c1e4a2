"""Django in processes of its own: forks, the test runner, management commands, exits."""

import pytest

from support.databases import fresh_database
from tests.django.conftest import ENGINE
from tests.probing import finish, report_of, start_program

HEAD = """
import json, os, sys

import django
from django.conf import settings

settings.configure(
    DATABASES=json.loads(os.environ["PARAMS"]),
    INSTALLED_APPS=["django.contrib.contenttypes", "notes"],
    USE_TZ=True,
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    MIGRATION_MODULES={"notes": None},
)
django.setup()

from django.core.management import call_command
from django.db import connection, connections, transaction


def ask(sql, using="default"):
    with connections[using].cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0]


def pid():
    return ask("SELECT pg_backend_pid()")


def report(**facts):
    os.write(1, (json.dumps(facts) + "\\n").encode())
"""
NOTES = {
    "__init__.py": "",
    "models.py": """
from django.db import models


class Note(models.Model):
    text = models.TextField()
""",
    "tests.py": """
from django.db import connection, connections, transaction
from django.test import LiveServerTestCase, TestCase, TransactionTestCase

from notes.models import Note


class InTransaction(TestCase):
    databases = "__all__"

    @classmethod
    def setUpTestData(cls):
        Note.objects.create(text="of the class")

    def test_one(self):
        Note.objects.create(text="x")
        self.assertEqual(Note.objects.count(), 2)

    def test_two(self):
        self.assertEqual(Note.objects.count(), 1)

    def test_close(self):
        with connection.cursor() as cursor:
            cursor.execute("SELECT current_database()")
            self.assertIn("test_", cursor.fetchone()[0])


class Flushing(TransactionTestCase):
    databases = "__all__"

    def test_one(self):
        Note.objects.create(text="x")
        connection.close()
        self.assertEqual(Note.objects.count(), 1)
        if "mirror" in connections:
            self.assertEqual(Note.objects.using("mirror").count(), 1)

    def test_two(self):
        self.assertEqual(Note.objects.count(), 0)
        with self.assertRaises(RuntimeError), transaction.atomic():
            Note.objects.create(text="x")
            raise RuntimeError
        self.assertEqual(Note.objects.count(), 0)


class Second(TestCase):
    def test_one(self):
        Note.objects.create(text="x")
        self.assertEqual(Note.objects.count(), 1)
""",
}


@pytest.fixture
def start(tmp_path, database):
    """Start a program with this text after the head; `other` are further aliases."""
    (tmp_path / "notes").mkdir()
    for name, text in NOTES.items():
        (tmp_path / "notes" / name).write_text(text)

    def start(text, *flags, pool=True, test=None, **other):
        entry = database.django(ENGINE=ENGINE, OPTIONS={"pool": pool}, TEST=test or {})
        databases = {"default": entry, **other}
        return start_program(tmp_path / "program.py", HEAD + text, databases, *flags)

    return start


STRICT = ("-X", "dev", "-W", "error")


# Commands -----------------------------------------------------------------------------------------

COMMANDS = {
    "check": "call_command('check', databases=['default'], verbosity=0)",
    "migrate": "call_command('migrate', run_syncdb=True, verbosity=0)",
    "shell": "call_command('shell', command='from django.db import connection; "
    "connection.ensure_connection()', verbosity=0)",
    "nothing": "",
    "thread": "import threading; t = threading.Thread(target=pid); t.start(); t.join()",
    "within atomic": "transaction.atomic().__enter__(); pid()",
    "close_all": "pid(); connections.close_all()",
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_command_ends_silently(start, database, command):
    program = start(command, *STRICT)
    _, err = finish(program)
    assert (program.returncode, err) == (0, "")
    database.wait_for_sessions(0)


def test_migrate_did_something(start, database):
    finish(start(COMMANDS["migrate"]))
    assert database.query("SELECT to_regclass('notes_note')::text AS name")[0].name == "notes_note"


# Forks --------------------------------------------------------------------------------------------


def test_a_fork_between_requests(start):
    (found, other) = report_of(
        start(
            """
mine = pid()
connection.close()
child = os.fork()
if not child:
    pids = set()
    for number in range(200):
        assert ask(f"SELECT {number}") == number
        pids.add(pid())
        connection.close()
    report(pids=sorted(pids))
    os._exit(0)
for number in range(200, 400):
    assert ask(f"SELECT {number}") == number
    assert pid() == mine
    connection.close()
_, status = os.waitpid(child, 0)
report(pids=[mine], status=status)
""",
            *STRICT,
        )
    )
    assert not set(found["pids"]) & set(other["pids"])


def test_a_fork_in_the_middle_of_a_request(start):
    """Neither closes anything: the child's next query opens a session of its own."""
    (child, parent) = report_of(
        start(
            """
mine = pid()
child = os.fork()
if not child:
    report(pids=[pid(), pid()])
    os._exit(0)
_, status = os.waitpid(child, 0)
report(pids=[mine, pid()], status=status)
"""
        )
    )
    assert len(set(child["pids"])) == len(set(parent["pids"])) == 1
    assert child["pids"] != parent["pids"]


@pytest.mark.parametrize("close", [True, False])
def test_a_fork_within_atomic(start, database, close):
    finish(start(COMMANDS["migrate"]))
    found = report_of(
        start(
            f"""
from notes.models import Note

with transaction.atomic():
    Note.objects.create(text="of the parent")
    mine = pid()
    child = os.fork()
    if not child:
        try:
            pid()
            report(who="child", said="went on in the parent's transaction")
        except Exception as error:
            report(who="child", said=type(error).__name__)
        if {close}:
            connection.close()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    report(who="parent", same=pid() == mine, status=status)
report(who="after", same=pid() == mine, count=Note.objects.count())
""",
            *STRICT,
        )
    )
    facts = {each["who"]: each for each in found}
    assert "Error" in facts["child"]["said"]
    assert facts["parent"] == {"who": "parent", "same": True, "status": 0}
    assert facts["after"] == {"who": "after", "same": True, "count": 1}
    assert len(database.query("SELECT * FROM notes_note")) == 1


def test_a_fork_that_leaves_the_atomic_block(start, database):
    """The child goes on through the block's end: the parent's transaction is not its to end."""
    finish(start(COMMANDS["migrate"]))
    found = report_of(
        start(
            """
from notes.models import Note

child = -1
try:
    with transaction.atomic():
        Note.objects.create(text="of the parent")
        mine = pid()
        child = os.fork()
        if child:
            os.waitpid(child, 0)
except Exception as error:
    report(who="child", error=type(error).__name__)
if child:
    report(who="parent", same=pid() == mine, count=Note.objects.count())
else:
    connection.close()
    report(who="later", other=pid() != mine, count=Note.objects.count())
    os._exit(0)
""",
        )
    )
    facts = {each["who"]: each for each in found}
    assert facts["parent"]["same"] is True
    assert facts["parent"]["count"] == 1
    assert facts["later"]["other"] is True
    assert facts["later"]["count"] == 0  # not yet committed then


def test_the_end_of_a_child(start):
    (found,) = report_of(
        start(
            """
mine = pid()
child = os.fork()
if not child:
    sys.exit(0)
_, status = os.waitpid(child, 0)
report(status=status, same=pid() == mine)
""",
            *STRICT,
        )
    )
    assert found == {"status": 0, "same": True}


# Test runner --------------------------------------------------------------------------------------


def run_tests(start, database, **options):
    given = {"parallel": 1, "keepdb": False} | options.pop("runner", {})
    text = f"""
from django.test.runner import DiscoverRunner

if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(__file__))
    runner = DiscoverRunner(verbosity=1, interactive=False, **{given!r})
    sys.exit(runner.run_tests(["notes"]))
"""
    program = start(text, "-W", "error::ResourceWarning", **options)
    out, err = finish(program)
    return program.returncode, out + err


def databases_of(postgres):
    rows = postgres.query("SELECT datname FROM pg_database WHERE datname LIKE 'test_test_%'")
    return {row.datname for row in rows}


@pytest.mark.parametrize("pool", [True, {"max_size": 2}, {"min_size": 1}], ids=str)
@pytest.mark.parametrize("parallel", [1, 2])
def test_the_runner(start, database, postgres, parallel, pool):
    code, said = run_tests(start, database, runner={"parallel": parallel}, pool=pool)
    assert code == 0, said
    assert "Ran 6 tests" in said
    assert databases_of(postgres) == set()
    assert database.query("SELECT to_regclass('notes_note')::text AS name")[0].name is None


def test_keepdb(start, database, postgres):
    try:
        for _ in range(2):
            runner = {"keepdb": True, "parallel": 2}
            code, said = run_tests(start, database, runner=runner)
            assert code == 0, said
            names = databases_of(postgres)
            assert f"test_{database.name}" in names
    finally:
        for name in databases_of(postgres):
            postgres.drop_database(name)


def test_a_mirror(start, database, postgres):
    mirror = database.django(ENGINE=ENGINE, OPTIONS={}, TEST={"MIRROR": "default"})
    code, said = run_tests(start, database, mirror=mirror)
    assert code == 0, said


def test_a_second_database(start, database, postgres):
    with fresh_database(postgres) as second:
        entry = second.django(ENGINE=ENGINE, OPTIONS={})
        code, said = run_tests(start, database, second=entry)
        assert code == 0, said
    assert databases_of(postgres) == set()

"""Transaction mode in programs of their own: Django's test runner, forks, and the end."""

import json

import pytest

from tests.probing import finish, report_of, start_program

pytestmark = pytest.mark.modes(
    "transaction", reason="session mode's are in tests/django/test_programs.py"
)

HEAD = """
import json, os, sys

import django
from django.conf import settings

settings.configure(
    DATABASES={"default": json.loads(os.environ["PARAMS"])},
    INSTALLED_APPS=["django.contrib.contenttypes", "notes"],
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    MIGRATION_MODULES={"notes": None},
    ROOT_URLCONF="notes.urls",
    ALLOWED_HOSTS=["*"],
    MIDDLEWARE=[],
    STATIC_URL="static/",
    MEDIA_URL="media/",
    USE_TZ=True,
)
django.setup()

import carpool
from django.db import connection, transaction


def ask(sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0]


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
    "urls.py": """
from django.db import transaction
from django.http import JsonResponse
from django.urls import path

from notes.models import Note


def add(request):
    with transaction.atomic():
        Note.objects.create(text="of the server")
    return JsonResponse({"count": Note.objects.count()})


urlpatterns = [path("add", add)]
""",
    "tests.py": """
import json
from urllib.request import urlopen

from django.db import connection, transaction
from django.test import LiveServerTestCase, TestCase, TransactionTestCase

from notes.models import Note


def leased():
    return connection.pool.snapshot().leased


class InTransaction(TestCase):
    @classmethod
    def setUpTestData(cls):
        Note.objects.create(text="of the class")

    def test_one(self):
        Note.objects.create(text="x")
        self.assertEqual(Note.objects.count(), 2)
        self.assertEqual(leased(), 1)

    def test_two(self):
        with self.captureOnCommitCallbacks(execute=True) as hooks, transaction.atomic():
            transaction.on_commit(lambda: Note.objects.create(text="of the hook"))
        self.assertEqual((len(hooks), Note.objects.count()), (1, 2))

    def test_three(self):
        self.assertEqual(Note.objects.count(), 1)
        self.assertEqual(self.client.get("/add").json(), {"count": 2})
        self.assertEqual(Note.objects.count(), 2)


class Flushing(TransactionTestCase):
    def test_one(self):
        Note.objects.create(text="x")
        self.assertEqual(leased(), 0)
        self.assertEqual(self.client.get("/add").json(), {"count": 2})
        connection.close()
        self.assertEqual(Note.objects.count(), 2)

    def test_two(self):
        self.assertEqual(Note.objects.count(), 0)
        with self.assertRaises(ZeroDivisionError), transaction.atomic():
            Note.objects.create(text="x")
            raise ZeroDivisionError
        self.assertEqual(Note.objects.count(), 0)


class Served(LiveServerTestCase):
    def test_one(self):
        Note.objects.create(text="x")
        for count in (2, 3):
            with urlopen(f"{self.live_server_url}/add") as answer:
                self.assertEqual(json.load(answer), {"count": count})
        self.assertEqual(Note.objects.count(), 3)
        self.assertEqual(leased(), 0)

    def test_two(self):
        self.assertEqual(Note.objects.count(), 0)
""",
}
STRICT = ("-X", "dev", "-W", "error")


@pytest.fixture
def start(tmp_path, django_subject, mode):
    """Start a program with this text after the head, with the subject's database as `default`."""
    (tmp_path / "notes").mkdir()
    for name, text in NOTES.items():
        (tmp_path / "notes" / name).write_text(text)

    def start(text, *flags, max_size=2):
        entry = json.loads(json.dumps(django_subject.django(), default=str))
        if "factory" in entry.get("OPTIONS", {}):  # SQLite's, which is for this process
            entry["TEST"] = {"NAME": str(tmp_path / "test.db")}
            entry["OPTIONS"] = {}
        entry["ENGINE"] = django_subject.engine
        pool = {"mode": mode, "max_size": max_size, **django_subject.pool_options}
        entry["OPTIONS"] = {**entry.get("OPTIONS", {}), "pool": pool}
        return start_program(tmp_path / "program.py", HEAD + text, entry, *flags)

    return start


def test_the_test_runner(start, django_subject):
    program = start(
        """
from django.test.runner import DiscoverRunner

if __name__ == "__main__":
    runner = DiscoverRunner(verbosity=1, interactive=False)
    sys.exit(runner.run_tests(["notes"]))
""",
        *("-W", "error::ResourceWarning"),
        max_size=4,
    )
    out, err = finish(program)
    assert program.returncode == 0, out + err
    assert "Ran 7 tests" in out + err
    assert django_subject.ask("SELECT count(*) FROM note") == 0
    django_subject.wait_for_sessions(0)


STATES = {
    "resting": "ask('SELECT 1')",
    "read in part": "cursor = connection.cursor(); cursor.execute('SELECT 1')",
    "begun": "transaction.atomic().__enter__()",
    "within atomic": "transaction.atomic().__enter__(); ask('SELECT 1')",
    "on purpose": "carpool.session().__enter__(); ask('SELECT 1')",
    "pinned": "connection.cursor().execute({plant})",
}


@pytest.mark.parametrize("state", STATES)
def test_the_end_is_silent_and_leaves_no_session(start, django_subject, state):
    plant = next(iter(django_subject.leaks.values())).plant
    program = start(STATES[state].replace("{plant}", repr(plant)), *STRICT)
    assert finish(program) == ("", "")
    assert program.returncode == 0
    django_subject.wait_for_sessions(0)


FORK = """
{state}
child = os.fork()
found = [ask(f"SELECT {number}") for number in range(50)]
if not child:
    connection.close()
    report(who="child", good=found == list(range(50)))
    sys.exit(0)
_, status = os.waitpid(child, 0)
report(who="parent", good=found == list(range(50)), status=status)
"""


@pytest.mark.parametrize("state", ["resting", "pinned"])
def test_parent_and_child_each_have_their_own(start, django_subject, state):
    plant = next(iter(django_subject.leaks.values())).plant
    text = FORK.replace("{state}", STATES[state].replace("{plant}", repr(plant)))
    program = start(text, "-W", "ignore::DeprecationWarning")
    assert sorted(report_of(program), key=str) == [
        {"who": "child", "good": True},
        {"who": "parent", "good": True, "status": 0},
    ]
    django_subject.wait_for_sessions(0)

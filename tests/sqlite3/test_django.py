"""Django on the engine `carpool.sqlite3`, each test with a file of its own."""

import contextlib
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor

import django
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, OperationalError, connection, connections, models, transaction
from django.test import override_settings

from carpool import PoolTimeout, StaleCursorError
from tests.django.asking import run, value
from tests.django.models import Note
from tests.probing import eventually, report_of, start_program
from tests.sqlite3.file import NOTE as CREATE
from tests.sqlite3.file import File, opened

FILES = {"str": str, "Path": lambda path: path, "URI": lambda path: f"file:{path}?cache=private"}


@pytest.fixture
def file(tmp_path):
    file = File(tmp_path / "shop.db")
    file.query(CREATE)
    return file


@pytest.fixture
def use(django_databases, file):
    """Call it to have django.db use the test's file; returns the wrapper of `default`."""
    handlers = []

    def use(pool=True, engine="carpool.sqlite3", **more):
        options = {"pool": pool, **more.pop("OPTIONS", {})}
        if engine != "carpool.sqlite3":
            del options["pool"]
        entry = {"ENGINE": engine, "NAME": file.path, **more, "OPTIONS": options}
        handlers.append(django_databases(default=entry))
        return handlers[-1]["default"]

    yield use
    for each in handlers[-1].all(initialized_only=True) if handlers else ():
        each.close()
        if hasattr(each, "close_pool"):
            each.close_pool()


@pytest.fixture
def site():
    """Serve the views of the tests' site; returns a function to get a page."""
    from tests.django.site import get  # noqa: PLC0415 - needs the settings

    with override_settings(
        ROOT_URLCONF="tests.django.site",
        ALLOWED_HOSTS=["*"],
        MIDDLEWARE=[],
        DEBUG_PROPAGATE_EXCEPTIONS=True,
    ):
        yield get


def watched(wrapper):
    """Have SQLite itself list what it executes on the connections that a wrapper gets."""
    seen = []
    pool = wrapper.pool
    connection = pool.acquire()
    sqlite3.Connection.set_trace_callback(connection, seen.append)  # past our own record
    pool.release(connection)
    return seen


@pytest.mark.parametrize("name", FILES.values(), ids=FILES)
def test_a_clean_request_is_one_statement_and_opens_nothing(use, site, file, name):
    seen = watched(use(NAME=name(file.path)))
    with opened() as names:
        for _ in range(5):
            assert site("one-query") == (200, "[]")
    assert names == []
    assert [each.replace(' AS "text"', "") for each in seen] == [
        'SELECT "note"."text" FROM "note"'
    ] * 5
    assert connection.connection is None
    assert len(file.descriptors()) == 1


def test_so_is_one_that_writes_but_for_its_transaction(use, site, file):
    seen = watched(use(ATOMIC_REQUESTS=True))
    with opened() as names:
        assert site("statement", sql="INSERT INTO note (text) VALUES ('x')") == (200, "[]")
    assert names == []
    assert seen == ["BEGIN", "INSERT INTO note (text) VALUES ('x')", "COMMIT"]
    assert file.query("SELECT text FROM note") == [("x",)]


INTROSPECTION = {
    "table_names": lambda of, cursor: of.table_names(cursor),
    "get_table_description": lambda of, cursor: of.get_table_description(cursor, "note"),
    "get_constraints": lambda of, cursor: of.get_constraints(cursor, "note"),
    "get_sequences": lambda of, cursor: of.get_sequences(cursor, "note"),
    "get_relations": lambda of, cursor: of.get_relations(cursor, "note"),
    "get_primary_key_columns": lambda of, cursor: of.get_primary_key_columns(cursor, "note"),
    "check_constraints": lambda of, cursor: of.connection.check_constraints(),
}


@pytest.mark.parametrize("ask", INTROSPECTION.values(), ids=INTROSPECTION)
def test_introspection_is_clean(use, ask):
    wrapper = use()
    with opened() as names:
        for _ in range(3):
            with wrapper.cursor() as cursor:
                ask(wrapper.introspection, cursor)
            wrapper.close()
    assert len(names) == 1


def test_the_orm_as_a_whole(use):
    """Functions of Django's, transactions, savepoints, bulk writes, streams: on one connection."""
    use()
    with opened() as names:
        for number in range(3):
            with transaction.atomic(), contextlib.suppress(DatabaseError), transaction.atomic():
                Note.objects.create(text="lost")
                run(connection, "SELECT * FROM nowhere")
            Note.objects.bulk_create([Note(text=f"{number}-{each}") for each in range(300)])
            assert Note.objects.filter(text__iregex=f"^{number}-.9").count() == 29
            next(Note.objects.iterator(chunk_size=10))
            Note.objects.update(text=models.functions.MD5("text"))
            Note.objects.all().delete()
            connection.close()
    assert len(names) == 1


def test_settings_of_the_connection_are_those_of_django(use, site):
    options = {
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;PRAGMA cache_size=-77",
        "timeout": 3,
    }
    pragmas = ["foreign_keys", "journal_mode", "synchronous", "cache_size", "busy_timeout"]
    found = {}
    for engine in ("django.db.backends.sqlite3", "carpool.sqlite3"):
        wrapper = use(engine=engine, OPTIONS=dict(options))
        found[engine] = [value(wrapper, f"PRAGMA {each}") for each in pragmas]
        wrapper.close()
    assert [*found.values()] == [[1, "wal", 1, -77, 3000]] * 2


def test_they_are_put_back(use):
    wrapper = use(OPTIONS={"init_command": "PRAGMA cache_size=-77"})
    run(wrapper, "PRAGMA cache_size = -5")
    run(wrapper, "PRAGMA foreign_keys = OFF")
    wrapper.close()
    assert value(wrapper, "PRAGMA cache_size") == -77
    assert value(wrapper, "PRAGMA foreign_keys") == 1


def test_connection_created_may_set_up(use):
    from django.db.backends.signals import connection_created  # noqa: PLC0415 - beside its use

    calls = []

    def receiver(connection, **_):
        calls.append(1)
        run(connection, "PRAGMA cache_size = -77")
        run(connection, "PRAGMA foreign_keys = OFF")

    connection_created.connect(receiver)
    try:
        wrapper = use()
        for _ in range(3):
            assert value(wrapper, "PRAGMA cache_size") == -77
            wrapper.close()
        assert len(calls) == 1
        run(wrapper, "PRAGMA foreign_keys = ON")  # a text that the set-up has used, too
        wrapper.close()
        assert value(wrapper, "PRAGMA foreign_keys") == 0
    finally:
        connection_created.disconnect(receiver)


@pytest.mark.parametrize("mode", [None, "DEFERRED", "immediate", "EXCLUSIVE"])
def test_transaction_mode(use, file, mode):
    wrapper = use(OPTIONS={"transaction_mode": mode})
    seen = watched(wrapper)
    with transaction.atomic():
        pass
    wrapper.close()
    assert seen == [f"BEGIN {mode.upper()}" if mode else "BEGIN", "COMMIT"]


def test_a_wrong_transaction_mode_is_named(use):
    wrapper = use(OPTIONS={"transaction_mode": "LATER"})
    with pytest.raises(ImproperlyConfigured, match="LATER"):
        wrapper.ensure_connection()


def test_autocommit_off(use, file):
    wrapper = use(AUTOCOMMIT=False)
    run(wrapper, "INSERT INTO note (text) VALUES ('lost')")
    wrapper.close()
    run(wrapper, "INSERT INTO note (text) VALUES ('kept')")
    wrapper.commit()
    wrapper.close()
    assert file.query("SELECT text FROM note") == [("kept",)]


def test_set_autocommit(use, file):
    wrapper = use()
    wrapper.set_autocommit(False)
    run(wrapper, "INSERT INTO note (text) VALUES ('lost')")
    wrapper.close()
    assert file.refusal() == ""
    run(wrapper, "INSERT INTO note (text) VALUES ('kept')")
    wrapper.close()
    assert file.query("SELECT text FROM note") == [("kept",)]


def test_a_request_that_leaves_a_transaction_open(use, site, file):
    use()
    site("statement", sql="BEGIN IMMEDIATE")
    assert file.refusal() == ""
    with opened() as names:
        assert site("one-query") == (200, "[]")
    assert names == []


def test_a_stream_that_nobody_reads_to_its_end(use, file):
    use()
    Note.objects.bulk_create([Note(text="x") for _ in range(5000)])
    rows = Note.objects.iterator(chunk_size=10)
    next(rows)
    assert file.refusal() == "database is locked"
    connection.close()
    assert file.refusal() == ""
    with pytest.raises(StaleCursorError):
        list(rows)


IN_MEMORY = [":memory:", "file:memorydb_default?mode=memory&cache=shared", "file::memory:"]


@pytest.mark.parametrize("name", IN_MEMORY)
def test_databases_in_memory_behave_as_without_a_pool(use, name):
    wrapper = use(NAME=name)
    run(wrapper, CREATE)
    run(wrapper, "INSERT INTO note (text) VALUES ('x')")
    before = wrapper.connection
    wrapper.close()
    wrapper.close_if_unusable_or_obsolete()
    assert wrapper.pool is None
    if wrapper.is_in_memory_db():
        assert wrapper.connection is before
        assert value(wrapper, "SELECT text FROM note") == "x"
    end(wrapper)


def end(wrapper):
    """Close what Django never closes: it would be the end of a database in memory."""
    if wrapper.connection is not None:
        wrapper.connection.close()
        wrapper.connection = None


IN_MEMORY_FORKED = """
import gc, os
import django
from django.conf import settings
name = "file:shared?mode=memory&cache=shared"
settings.configure(DATABASES={"default": {"ENGINE": "carpool.sqlite3", "NAME": name}})
django.setup()
from django.db import connection
connection.cursor().execute("CREATE TABLE note (text text)")
pid = os.fork()
gc.collect()
connection.cursor().execute("INSERT INTO note VALUES ('x')")  # no such table, were it another one
if pid:
    assert os.waitpid(pid, 0)[1] == 0
    assert connection.cursor().execute("SELECT text FROM note").fetchall() == [("x",)]
"""


def test_a_forked_child_keeps_its_copy_of_a_database_in_memory(tmp_path):
    """As without a pool: Django's tests in parallel live by it."""
    assert report_of(start_program(tmp_path / "program.py", IN_MEMORY_FORKED, None)) == []


def test_without_a_pool_it_is_django_s(use, file):
    wrapper = use(pool=False)
    with opened() as names:
        for _ in range(2):
            run(wrapper, "SELECT 1")
            assert type(wrapper.connection) is sqlite3.Connection
            wrapper.close()
    assert len(names) == 2


def test_another_name_is_another_file(use, file, tmp_path):
    wrapper = use()
    assert value(wrapper, "SELECT count(*) FROM note") == 0
    wrapper.close()
    other = File(tmp_path / "other.db")
    other.query(CREATE)
    other.query("INSERT INTO note (text) VALUES ('x')")
    wrapper.settings_dict["NAME"] = other.path
    assert value(wrapper, "SELECT text FROM note") == "x"
    wrapper.close()
    eventually(lambda: file.descriptors() == [])  # nobody wants that pool any more


@pytest.mark.parametrize("test_name", ["test.db", None])
def test_a_test_database_and_its_clones(use, file, tmp_path, test_name):
    name = test_name and str(tmp_path / test_name)
    wrapper = use(TEST={"NAME": name, "MIGRATE": False})
    file.query("INSERT INTO note (text) VALUES ('production')")
    assert value(wrapper, "SELECT text FROM note") == "production"
    wrapper.close()
    old = wrapper.settings_dict["NAME"]
    with override_settings(INSTALLED_APPS=[]):
        wrapper.creation.create_test_db(verbosity=0, autoclobber=True)
    with pytest.raises(OperationalError, match="no such table"):
        run(wrapper, "SELECT text FROM note")
    if name:
        run(wrapper, CREATE)
        wrapper.close()
        wrapper.creation.clone_test_db("1", verbosity=0, autoclobber=True)
        clone = wrapper.copy(alias="clone")
        clone.settings_dict["NAME"] = str(tmp_path / "test_1.db")
        run(clone, "INSERT INTO note (text) VALUES ('clone')")
        assert value(wrapper, "SELECT count(*) FROM note") == 0
        clone.close()
        clone.close_pool()
        wrapper.creation.destroy_test_db(suffix="1", verbosity=0)
    wrapper.creation.destroy_test_db(old, verbosity=0)
    assert file.query("SELECT text FROM note") == [("production",)]
    assert [each.name for each in tmp_path.iterdir()] == ["shop.db"]


def test_never_more_than_max_size(use, site, file):
    use(pool={"max_size": 2})
    most = []

    def request(_):
        status, _ = site("one-query")
        most.append(len(file.descriptors()))
        return status

    with ThreadPoolExecutor(6) as workers:
        assert set(workers.map(request, range(200))) == {200}
    assert max(most) <= 2


def test_who_waits_too_long_is_told(use):
    wrapper = use(pool={"max_size": 1, "timeout": 0.05})
    run(wrapper, "SELECT 1")
    errors = []

    def other():
        try:
            run(connections["default"], "SELECT 1")
        except OperationalError as error:
            errors.append(error)

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert [type(each) for each in errors] == [PoolTimeout]


def test_a_thread_that_ends_gives_back(use, file):
    wrapper = use(pool={"max_size": 1})
    for _ in range(3):
        thread = threading.Thread(target=lambda: run(connections["default"], "SELECT 1"))
        thread.start()
        thread.join()
    assert value(wrapper, "SELECT 2") == 2


def test_schema_changes(use, file):
    """Migrations switch foreign keys off and on again around what they do."""
    wrapper = use()

    class Later(models.Model):  # noqa: DJ008 - nobody reads its name
        number = models.IntegerField()

        class Meta:
            app_label = "notes"

    for _ in range(2):
        with wrapper.schema_editor() as editor:
            editor.create_model(Later)
        wrapper.close()
        assert value(wrapper, "PRAGMA foreign_keys") == 1
        with wrapper.schema_editor() as editor:
            editor.delete_model(Later)
        wrapper.close()


def test_a_cursor_factory_of_django_s_is_used(use):
    wrapper = use()
    with wrapper.cursor() as cursor:
        cursor.execute("SELECT %(a)s, '100%%'", {"a": 1})
        assert cursor.fetchall() == [(1, "100%")]
    assert django.VERSION >= (5, 2)

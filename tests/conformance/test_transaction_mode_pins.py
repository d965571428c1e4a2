"""Transaction mode: a request keeps the session in which it has left something, to its end."""

import logging
from contextlib import suppress

import pytest
from django.db import connections, transaction

import carpool
from tests.conformance.asking import in_thread, run, shown, value
from tests.conformance.leases import is_free
from tests.conformance.site import Note, get, keep
from tests.probing import eventually

pytestmark = pytest.mark.modes(
    "transaction", reason="what all modes have in common is in test_engine.py"
)


# What a session remembers -------------------------------------------------------------------------


def test_a_request_sees_what_it_has_left_in_its_session_and_the_next_does_not(
    connection, django_subject
):
    for name, leak in django_subject.leaks.items():
        before = shown(connection, leak.probe)
        connection.close()
        run(connection, leak.plant)
        assert connection.pinned, name
        assert not is_free(), name
        value(connection, "SELECT 1")
        assert shown(connection, leak.probe) != before, name
        assert not is_free(), name
        connection.close()
        assert connection.pinned is None, name
        assert is_free(), name
        assert shown(connection, leak.probe) == before, name
        connection.close()


def test_what_is_left_within_atomic_stays_after_it(connection, django_subject):
    leak = next(iter(django_subject.leaks.values()))
    before = shown(connection, leak.probe)
    connection.close()
    with transaction.atomic():
        run(connection, leak.plant)
    assert connection.pinned
    assert not is_free()
    assert shown(connection, leak.probe) != before
    connection.close()
    assert is_free()
    assert shown(connection, leak.probe) == before


@pytest.mark.usefixtures("site")
def test_a_pinned_request_ends_so(connection, django_subject):
    plant = next(iter(django_subject.leaks.values())).plant
    get("/statement", sql=plant)
    assert connection.pinned is None
    assert is_free()


def test_pins_are_counted_and_the_first_of_a_kind_is_logged(connection, django_subject, caplog):
    plant = next(iter(django_subject.leaks.values())).plant
    with caplog.at_level(logging.INFO, "carpool"):
        for _ in range(3):
            run(connection, plant)
            reason = connection.pinned
            connection.close()
    logged = [each.getMessage() for each in caplog.records if "pins" in each.getMessage()]
    assert len(logged) == 1
    assert reason in logged[0]


def test_what_is_local_to_a_transaction_does_not_pin(connection):
    if connection.vendor != "postgresql":
        return  # the others have no such statements
    for statement in LOCAL:
        with transaction.atomic():
            run(connection, statement)
        assert connection.pinned is None, statement
        assert is_free(), statement


LOCAL = (
    "SET LOCAL work_mem = '77MB'",
    "SELECT set_config('work_mem', '77MB', true)",
    "SELECT pg_advisory_xact_lock(4711)",
    "CREATE TEMPORARY TABLE mine ON COMMIT DROP AS SELECT 1",
    "LOCK TABLE note",
)


@pytest.fixture
def last_key(connection, django_subject):
    """A table whose keys the server counts, and the query for the one it gave out last."""
    made, asked = {
        "postgresql": ("id serial PRIMARY KEY", "SELECT lastval()"),
        "mysql": ("id integer AUTO_INCREMENT PRIMARY KEY", "SELECT LAST_INSERT_ID()"),
        "sqlite": ("id integer PRIMARY KEY AUTOINCREMENT", "SELECT last_insert_rowid()"),
    }[connection.vendor]
    django_subject.ask("DROP TABLE IF EXISTS numbered")
    django_subject.ask(f"CREATE TABLE numbered ({made}, n integer)")
    return asked


def insert(cursor):
    cursor.execute("INSERT INTO numbered (n) VALUES (7)")


def test_the_last_key_by_the_same_cursor(connection, last_key):
    with connection.cursor() as cursor:
        for key in (1, 2):
            insert(cursor)
            cursor.execute(last_key)
            assert list(cursor.fetchall()) == [(key,)]
    connection.close()
    assert is_free()


def test_the_last_key_by_another_cursor(connection, last_key):
    for key in (1, 2):
        with connection.cursor() as cursor:
            insert(cursor)
        assert value(connection, last_key) == key
    connection.close()
    assert is_free()


def test_the_last_key_within_atomic(connection, last_key):
    with transaction.atomic():
        with connection.cursor() as cursor:
            insert(cursor)
        assert Note.objects.count() == 0
        assert not is_free()
        assert value(connection, last_key) == 1
    assert value(connection, "SELECT count(*) FROM numbered") == 1


def test_the_last_key_of_a_session_that_others_have_used_since_is_refused(connection, last_key):
    """It would be theirs, or none."""

    def insert_as_another():
        with connections["default"].cursor() as cursor:
            insert(cursor)
            insert(cursor)
        connections["default"].close()

    with connection.cursor() as cursor:
        insert(cursor)
    in_thread(insert_as_another)
    with pytest.raises(carpool.NotTheSameSession, match=r"carpool\.session\(\)"):
        value(connection, last_key)
    connection.close()
    assert is_free()


# On purpose ---------------------------------------------------------------------------------------


def test_a_session_on_purpose(connection, django_subject):
    with carpool.session():
        assert is_free()
        mine = django_subject.session_of(connection)
        assert "session" in connection.pinned
        assert not is_free()
        with carpool.session("default"), transaction.atomic():
            keep(1)
        assert not is_free()
        assert django_subject.session_of(connection) == mine
    assert is_free()
    assert connection.pinned is None
    with suppress(ZeroDivisionError), carpool.session():
        value(connection, "SELECT 1")
        raise ZeroDivisionError
    assert is_free()


def test_a_session_on_purpose_as_a_decorator(connection):
    @carpool.session()
    def work(times):
        value(connection, "SELECT 1")
        assert not is_free()
        if times > 1:
            work(times - 1)
            assert not is_free()
        return times

    for _ in range(2):
        assert work(times=2) == 2
        assert is_free()
    assert work.__name__ == "work"


def test_what_is_left_in_a_session_on_purpose_stays_after_it(connection, django_subject):
    leak = next(iter(django_subject.leaks.values()))
    with carpool.session():
        run(connection, leak.plant)
    assert connection.pinned
    assert not is_free()
    connection.close()
    assert is_free()


def test_the_end_of_a_request_within_a_session_on_purpose(connection):
    with carpool.session():
        value(connection, "SELECT 1")
        connection.close()
        assert is_free()
        value(connection, "SELECT 1")
        assert not is_free()
    assert is_free()


def test_the_connection_of_the_module_stays(connection):
    connection.ensure_connection()
    assert is_free()
    raw = connection.connection
    cursor = raw.cursor()
    cursor.execute("SELECT 1")
    assert tuple(cursor.fetchone()) == (1,)
    assert connection.pinned
    assert not is_free()
    cursor.execute("INSERT INTO note VALUES (1)")
    assert Note.objects.count() == 1
    cursor.close()
    connection.close()
    assert connection.connection is None
    assert is_free()


def test_the_connection_of_the_module_taken_within_atomic_stays_after_it(connection):
    with transaction.atomic():
        assert Note.objects.count() == 0
        raw = connection.connection
        raw.cursor().execute("INSERT INTO note VALUES (1)")
    assert connection.pinned
    assert not is_free()
    cursor = raw.cursor()
    cursor.execute("SELECT count(*) FROM note")
    assert tuple(cursor.fetchone()) == (1,)
    cursor.close()
    connection.close()
    assert is_free()


@pytest.fixture
def raw(connection):
    """The real connection of a lease that is over."""
    with transaction.atomic():
        value(connection, "SELECT 1")
        return connection.connection


def test_by_the_modules_own_connection_nobody_gets_into_anothers_lease(connection, raw):
    def refuse(act):
        with pytest.raises(carpool.StaleCursorError, match="another thread has it"):
            act()

    def use_it():
        with transaction.atomic():
            keep(1)
            assert connections["default"].connection is raw
            in_thread(lambda: refuse(raw.cursor))
            in_thread(lambda: refuse(raw.rollback))
        connections["default"].close()

    in_thread(use_it)
    assert value(connection, "SELECT count(*) FROM note") == 1


def test_what_is_done_to_an_idle_connection_by_hand_reaches_nobody(connection, raw, django_subject):
    leak = next(iter(django_subject.leaks.values()))
    before = shown(connection, leak.probe)
    connection.close()
    eventually(lambda: connection.pool.snapshot().idle)  # the probe has cost a reset
    run(raw, leak.plant)
    assert in_thread(lambda: shown(connections["default"], leak.probe)) == before


def test_a_transaction_begun_by_hand_on_an_idle_connection_takes_nobody_in(raw, django_subject):
    run(raw, "BEGIN")
    in_thread(lambda: keep(1))
    assert django_subject.ask("SELECT count(*) FROM note") == 1

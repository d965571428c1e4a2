"""Transaction mode: a connection is held only while a statement needs it.

That it has been given back is proved by another thread, which gets the pool's only connection.
"""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from django.db import DatabaseError, InterfaceError, OperationalError, connections, transaction
from django.db.backends.signals import connection_created

import carpool
from tests.conformance.asking import run, value
from tests.conformance.leases import committed, connect, impatient, is_free
from tests.conformance.site import Note, get, keep, numbers

pytestmark = pytest.mark.modes(
    "transaction", reason="what all modes have in common is in test_engine.py"
)


# A statement outside of a transaction -------------------------------------------------------------


STATEMENTS = {
    "all": lambda: list(Note.objects.all()),
    "first": Note.objects.first,
    "exists": Note.objects.exists,
    "count": Note.objects.count,
    "create": lambda: Note.objects.create(n=1),
    "save": lambda: Note(n=2).save(),
    "bulk_create": lambda: Note.objects.bulk_create([Note(n=3), Note(n=4)]),
    "get_or_create": lambda: Note.objects.get_or_create(n=5),
    "update": lambda: Note.objects.filter(n=1).update(n=7),
    "delete": lambda: Note.objects.all().delete(),
}


def test_it_is_given_back_after_each_statement(connection):
    for name, statement in STATEMENTS.items():
        statement()
        assert is_free(), name
        assert connection.pinned is None, name


def test_it_is_given_back_when_the_rows_are_read_and_the_cursor_is_open(connection):
    keep(1)
    cursor = connection.cursor()
    cursor.execute("SELECT n FROM note")
    assert list(cursor.fetchall()) == [(1,)]
    assert is_free()
    cursor.execute("SELECT n FROM note")
    assert cursor.fetchone() == (1,)
    assert cursor.fetchone() is None
    assert is_free()
    cursor.execute("SELECT n FROM note")
    assert list(cursor) == [(1,)]
    assert is_free()
    cursor.execute("SELECT n FROM note")
    assert list(cursor.fetchmany(2)) == [(1,)]
    assert is_free()


def test_it_is_given_back_when_a_cursor_is_closed_before_its_rows_are_read(connection):
    Note.objects.bulk_create([Note(n=1), Note(n=2)])
    with connection.cursor() as cursor:
        cursor.execute("SELECT n FROM note")
        cursor.fetchone()
    assert is_free()
    cursor = connection.cursor()
    cursor.execute("SELECT n FROM note")
    cursor.fetchone()
    del cursor
    assert is_free()


def test_it_is_given_back_after_a_statement_that_fails(connection):
    with pytest.raises(DatabaseError):
        run(connection, "SELECT * FROM nowhere")
    assert is_free()
    assert value(connection, "SELECT 1") == 1


def test_the_next_statement_costs_itself_alone(connection, django_subject):
    value(connection, "SELECT 0")
    with django_subject.statements() as seen:
        for number in (1, 2, 3):
            assert value(connection, f"SELECT {number}") == number
        connection.close()
        assert value(connection, "SELECT 4") == 4
    assert seen == ["SELECT 1", "SELECT 2", "SELECT 3", "SELECT 4"]


def test_the_receivers_of_connection_created_hear_of_a_session_once(use, django_subject):
    heard = []

    def receiver(connection, **_kwargs):
        heard.append(connection.alias)

    connection_created.connect(receiver)
    try:
        connection = use(django_subject, {"max_size": 1})
        for _ in range(3):
            value(connection, "SELECT 1")
            keep(len(heard) + committed(django_subject))
        with transaction.atomic():
            keep(99)
    finally:
        connection_created.disconnect(receiver)
    assert heard == ["default"]
    assert len(django_subject.sessions()) == 1


def test_the_connection_used_last_is_preferred(use, django_subject):
    connection = use(django_subject, {"min_size": 2, "max_size": 2})
    connection.pool.wait()
    mine = django_subject.session_of(connection)
    leased = [connection.pool.acquire(), connection.pool.acquire()]
    leased.sort(key=lambda each: django_subject.session_of(each) == mine)
    while leased:  # mine before the other, which a pool would take first
        connection.pool.release(leased.pop())
    assert django_subject.session_of(connection) == mine


def test_a_cursor_for_several_statements_with_other_users_in_between(connection):
    cursor = connection.cursor()
    cursor.execute("INSERT INTO note VALUES (%s)", [1])
    assert cursor.rowcount == 1
    del cursor
    assert is_free()
    cursor = connection.cursor()
    for n in (2, 3):
        cursor.execute("SELECT %s", [n])
        assert list(cursor.fetchall()) == [(n,)]
        assert is_free()
    cursor.executemany("INSERT INTO note VALUES (%s)", [[n] for n in (4, 5)])
    assert cursor.rowcount == 2
    cursor.execute("SELECT n FROM note ORDER BY n")
    assert [row[0] for row in cursor] == [1, 4, 5]
    assert is_free()


def test_killed_while_it_is_given_back(connection, django_subject):
    """The same request goes on with another: nothing of it was in the one that is gone."""
    for n in (1, 2):
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            assert list(cursor.fetchall()) == [(1,)]
            django_subject.kill()
            cursor.execute("INSERT INTO note VALUES (%s)", [n])
        assert committed(django_subject) == n
        with transaction.atomic():
            django_subject.kill()
            assert Note.objects.count() == n
        django_subject.kill()


@pytest.mark.usefixtures("site")
def test_a_request_gives_it_back_between_its_statements(connection, django_subject):
    with django_subject.statements() as seen:
        assert get("/no-query") == "nothing"
    assert seen == []
    assert get("/write", n=1) == "written"
    assert get("/one-query") == "[1]"
    assert is_free()


# close(), and cursors read in pieces --------------------------------------------------------------


def test_close_in_the_middle_of_a_statement(connection):
    Note.objects.bulk_create([Note(n=n) for n in range(300)])
    cursor = connection.cursor()
    cursor.execute("SELECT n FROM note")
    cursor.fetchone()
    connection.close()
    assert is_free()
    with pytest.raises(InterfaceError):
        cursor.execute("SELECT 1")
    cursor.close()
    assert value(connection, "SELECT 1") == 1
    assert is_free()


def test_close_in_the_middle_of_atomic(connection, django_subject):
    heard = []
    with pytest.raises((InterfaceError, OperationalError), match="closed"), transaction.atomic():  # noqa: PT012 - the block is the test
        keep(1)
        transaction.on_commit(lambda: heard.append("never"))
        connection.close()
        keep(2)
    assert is_free()
    with transaction.atomic():
        assert Note.objects.count() == 0
    assert heard == []
    assert committed(django_subject) == 0


def test_close_in_atomic_before_its_first_statement(connection, django_subject):
    with pytest.raises((InterfaceError, OperationalError), match="closed"), transaction.atomic():  # noqa: PT012 - the block is the test
        connection.close()
        keep(1)
    assert is_free()
    keep(2)
    assert committed(django_subject) == 1


@pytest.mark.parametrize("atomic", [False, True])
def test_iterator(connection, django_subject, atomic):
    Note.objects.bulk_create([Note(n=n) for n in range(250)])

    def read():
        notes = Note.objects.order_by("n").iterator(chunk_size=100)
        assert [note.n for note in notes] == list(range(250))

    if atomic:
        with transaction.atomic():
            read()
            assert not is_free()
        assert connection.pinned is None
    else:
        read()
        assert bool(connection.pinned) is in_pieces(connection)
    connection.close()
    assert is_free()


def in_pieces(connection):
    """Tell whether the server keeps the rows of an iterator, in a cursor that pins."""
    return connection.vendor == "postgresql"


@pytest.mark.parametrize("atomic", [False, True])
def test_an_iterator_that_is_abandoned(connection, atomic):
    Note.objects.bulk_create([Note(n=n) for n in range(250)])

    def begin():
        notes = Note.objects.order_by("n").iterator(chunk_size=100)
        assert next(notes).n == 0
        assert Note.objects.count() == 250
        return notes

    if atomic:
        with transaction.atomic():
            begin()
        assert is_free()
    else:
        begin()
        assert is_free() is not in_pieces(connection)
    notes = begin()
    connection.close()
    assert is_free()
    with suppress(InterfaceError):  # what Django would raise: the rows have gone
        list(notes)
    assert Note.objects.count() == 250
    assert is_free()


def test_writing_while_an_iterator_is_read(connection, django_subject):
    Note.objects.bulk_create([Note(n=n) for n in range(250)])
    with transaction.atomic():
        for note in Note.objects.filter(n__lt=250).order_by("n").iterator(chunk_size=100):
            keep(note.n + 1000)
    assert is_free()
    assert committed(django_subject) == 500


def test_transactions_while_an_iterator_is_read(connection, django_subject):
    Note.objects.bulk_create([Note(n=n) for n in range(250)])
    read = []
    for note in Note.objects.filter(n__lt=250).order_by("n").iterator(chunk_size=100):
        with transaction.atomic():
            keep(note.n + 1000)
        read.append(note.n)
    assert read == list(range(250))
    connection.close()
    assert is_free()
    assert committed(django_subject) == 500


def test_two_iterators_at_once(connection):
    Note.objects.bulk_create([Note(n=n) for n in range(250)])
    one = Note.objects.order_by("n").iterator(chunk_size=100)
    other = Note.objects.order_by("-n").iterator(chunk_size=100)
    assert [(a.n, b.n) for a, b in zip(one, other, strict=True)] == [
        (n, 249 - n) for n in range(250)
    ]
    assert is_free() is not in_pieces(connection)
    connection.close()
    assert is_free()


def test_execute_wrappers(connection):
    seen = []

    def wrapper(execute, sql, params, many, context):
        seen.append((sql, params, many, context["connection"].alias))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(wrapper):
        with connection.cursor() as cursor:
            cursor.execute("SELECT %s", [1])
            assert list(cursor.fetchall()) == [(1,)]
            assert is_free()
            cursor.executemany("INSERT INTO note VALUES (%s)", [[1], [2]])
        connection.close()
        value(connection, "SELECT 2")
    value(connection, "SELECT 3")
    assert seen == [
        ("SELECT %s", [1], False, "default"),
        ("INSERT INTO note VALUES (%s)", [[1], [2]], True, "default"),
        ("SELECT 2", None, False, "default"),
    ]


# Two at once --------------------------------------------------------------------------------------


def test_a_thread_that_waits_for_itself_is_told(use, django_subject):
    connection = connect(use, django_subject, aliases=("default", "mirror"))
    mirror = connections["mirror"]
    assert mirror.pool is connection.pool
    with transaction.atomic():
        keep(1)
        told = pytest.raises(carpool.PoolTimeout, match=r"'default' \(in atomic\).*'mirror'")
        with impatient(connection.pool), told:
            value(mirror, "SELECT 1")
        keep(2)
    assert committed(django_subject) == 2
    assert value(mirror, "SELECT count(*) FROM note") == 2
    mirror.close()


def test_aliases_take_turns_outside_of_transactions(use, django_subject):
    connect(use, django_subject, aliases=("default", "mirror"))
    for n in (1, 2):
        keep(n)
        assert Note.objects.using("mirror").count() == n
    with transaction.atomic(), transaction.atomic("mirror"):
        keep(3)
    connections["mirror"].close()
    assert is_free()
    assert len(django_subject.sessions()) == 1


def test_threads_take_turns_and_never_see_one_another(use, django_subject):
    connection = use(django_subject, {"max_size": 2, "timeout": 30})

    def work(number):
        mine = connections["default"]
        for _ in range(5):
            with suppress(ZeroDivisionError), transaction.atomic():
                keep(number)
                assert numbers() == [number]
                raise ZeroDivisionError
            with mine.cursor() as cursor:
                for _ in range(3):
                    cursor.execute("SELECT %s", [number])
                    assert list(cursor.fetchall()) == [(number,)]
        assert len(django_subject.sessions()) <= 2

    at_once(work, 6)
    assert Note.objects.count() == 0
    connection.close()


def at_once(work, count):
    """Run it in so many threads at once, each with its number."""
    with ThreadPoolExecutor(count) as threads:
        for done in [threads.submit(work, number) for number in range(count)]:
            done.result()

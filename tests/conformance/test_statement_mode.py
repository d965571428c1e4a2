"""Statement mode: as transaction mode, and what would open a transaction is an error."""

from contextlib import suppress

import pytest
from django.db import NotSupportedError, transaction

import carpool
from tests.conformance.asking import run, shown, value
from tests.conformance.leases import committed, is_free
from tests.conformance.site import Note, keep, numbers

pytestmark = pytest.mark.modes("statement", reason="the others have transactions")

refused = pytest.raises(carpool.NoTransactions, match="statement mode")


@pytest.fixture(autouse=True)
def nothing_is_left(connection, django_subject):
    """See that the request goes on, and ends, as if nothing had been tried."""
    yield
    assert is_free()
    assert transaction.get_autocommit()
    assert not connection.in_atomic_block
    assert not connection.needs_rollback
    before = committed(django_subject)
    keep(before + 1000)
    assert is_free()
    assert committed(django_subject) == before + 1
    connection.close()
    assert is_free()
    assert len(django_subject.sessions()) == 1


def test_the_error_is_django_s(connection):
    assert issubclass(carpool.NoTransactions, NotSupportedError)


def test_atomic(connection, django_subject):
    ran = []
    with refused, transaction.atomic():
        ran.append("never")
    with refused, transaction.atomic(durable=True):
        ran.append("never")
    value(connection, "SELECT 1")
    with refused, transaction.atomic():
        ran.append("never")
    assert ran == []
    assert committed(django_subject) == 0


def test_atomic_as_a_decorator(connection, django_subject):
    with refused:
        transaction.atomic(keep)(1)
    assert committed(django_subject) == 0


def test_set_autocommit(connection):
    for _ in range(2):
        with refused:
            transaction.set_autocommit(False)
        assert transaction.get_autocommit()
        value(connection, "SELECT 1")
    transaction.set_autocommit(True)


def test_begin_by_hand(connection, django_subject):
    for begin in ("BEGIN", " begin -- now"):
        with refused:
            run(connection, begin)
        assert is_free()
        keep(committed(django_subject))
    assert numbers() == [0, 1]


def test_begin_by_a_cursor_that_is_used_on(connection, django_subject):
    with connection.cursor() as cursor:
        with refused:
            cursor.execute("BEGIN")
        assert is_free()
        cursor.execute("INSERT INTO note VALUES (1)")
        assert committed(django_subject) == 1


def test_begin_by_hand_in_a_session_that_is_held(connection, django_subject):
    with carpool.session():
        with refused:
            run(connection, "BEGIN")
        keep(1)
        assert committed(django_subject) == 1
    run(connection, next(iter(django_subject.leaks.values())).plant)
    assert connection.pinned
    with refused:
        run(connection, "BEGIN")
    keep(2)
    connection.close()
    assert committed(django_subject) == 2


def test_what_opens_a_transaction_within_django(connection, django_subject):
    """Some calls of the ORM are transactions of several statements."""
    with refused:
        Note.objects.get_or_create(n=1)
    assert committed(django_subject) == 0


def test_hooks_run_at_once(connection):
    heard = []
    transaction.on_commit(lambda: heard.append(is_free()))
    assert heard == [True]


def test_what_is_left_in_a_session_pins_it(connection, django_subject):
    leak = next(iter(django_subject.leaks.values()))
    before = shown(connection, leak.probe)
    connection.close()
    run(connection, leak.plant)
    assert connection.pinned
    assert not is_free()
    assert shown(connection, leak.probe) != before
    with suppress(carpool.NoTransactions), transaction.atomic():
        pass
    assert connection.pinned
    connection.close()
    assert shown(connection, leak.probe) == before
    connection.close()


def test_a_session_on_purpose(connection):
    with carpool.session():
        value(connection, "SELECT 1")
        assert not is_free()
        with refused, transaction.atomic():
            pass
        assert not is_free()

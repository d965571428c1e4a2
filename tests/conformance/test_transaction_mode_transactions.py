"""Transaction mode: a transaction holds its connection, and is in all else as in Django."""

import logging
from contextlib import suppress

import pytest
from django.db import DatabaseError, OperationalError, transaction

import carpool
from tests.conformance.asking import run
from tests.conformance.leases import committed, connect, impatient, is_free
from tests.conformance.site import Note, get, keep, numbers

pytestmark = pytest.mark.modes(
    "transaction", reason="what all modes have in common is in test_engine.py"
)


# Transactions -------------------------------------------------------------------------------------


def test_atomic_holds_it_from_its_first_statement_to_its_end(connection, django_subject):
    with transaction.atomic():
        assert is_free()
        keep(1)
        assert not is_free()
        with transaction.atomic():
            keep(2)
        assert not is_free()
        with suppress(ZeroDivisionError), transaction.atomic():
            keep(3)
            raise ZeroDivisionError
        assert not is_free()
        point = connection.savepoint()
        keep(4)
        connection.savepoint_rollback(point)
        connection.savepoint_commit(connection.savepoint())
        assert not is_free()
        assert committed(django_subject) == 0
        assert connection.in_atomic_block
    assert is_free()
    assert committed(django_subject) == 2
    assert numbers() == [1, 2]


@pytest.mark.parametrize("durable", [False, True])
def test_atomic_rolls_back(connection, django_subject, durable):
    with suppress(ZeroDivisionError), transaction.atomic(durable=durable):
        keep(1)
        raise ZeroDivisionError
    assert is_free()
    assert committed(django_subject) == 0
    with transaction.atomic(durable=durable):
        keep(2)
        transaction.set_rollback(True)
    assert is_free()
    assert committed(django_subject) == 0
    assert transaction.get_autocommit()


def test_durable_within_atomic_is_refused(connection):
    with (
        transaction.atomic(),
        pytest.raises(RuntimeError, match="durable"),
        transaction.atomic(durable=True),
    ):
        pass
    assert is_free()


def test_atomic_without_a_statement_asks_nothing(connection, django_subject):
    with django_subject.statements() as seen:
        with transaction.atomic():
            pass
        with suppress(ZeroDivisionError), transaction.atomic():
            raise ZeroDivisionError
        with transaction.atomic(durable=True):
            transaction.set_rollback(True)
    assert seen == []


def test_a_savepoint_is_the_first_statement(connection, django_subject):
    with transaction.atomic():
        with suppress(ZeroDivisionError), transaction.atomic():
            keep(1)
            raise ZeroDivisionError
        with transaction.atomic():
            keep(2)
        with transaction.atomic():
            pass
    assert is_free()
    assert committed(django_subject) == 1
    assert numbers() == [2]


def test_a_cursor_from_before_atomic_within_and_after_it(connection, django_subject):
    cursor = connection.cursor()
    with transaction.atomic():
        cursor.execute("INSERT INTO note VALUES (1)")
        assert committed(django_subject) == 0
        cursor.execute("SELECT count(*) FROM note")
        assert cursor.fetchone() == (1,)
        assert not is_free()
    cursor.execute("SELECT count(*) FROM note")
    assert list(cursor.fetchall()) == [(1,)]
    assert is_free()
    with suppress(ZeroDivisionError), transaction.atomic():
        cursor.execute("INSERT INTO note VALUES (2)")
        raise ZeroDivisionError
    cursor.execute("SELECT count(*) FROM note")
    assert list(cursor.fetchall()) == [(1,)]
    assert is_free()


def test_a_cursor_used_before_atomic_within_and_after_it(connection, django_subject):
    cursor = connection.cursor()
    cursor.execute("INSERT INTO note VALUES (1)")
    with transaction.atomic():
        cursor.execute("INSERT INTO note VALUES (2)")
        inner = connection.cursor()
        assert committed(django_subject) == 1
    cursor.execute("INSERT INTO note VALUES (3)")
    inner.execute("INSERT INTO note VALUES (4)")
    cursor.close()
    inner.close()
    assert is_free()
    assert committed(django_subject) == 4


def test_rows_left_over_from_before_atomic(connection, django_subject):
    Note.objects.bulk_create([Note(n=1), Note(n=2)])
    cursor = connection.cursor()
    cursor.execute("SELECT n FROM note ORDER BY n")
    assert cursor.fetchone() == (1,)
    with transaction.atomic():
        keep(3)
        assert cursor.fetchone() == (2,)
    cursor.close()
    assert is_free()
    assert committed(django_subject) == 3


def test_one_that_fails_within_atomic(connection, django_subject):
    with suppress(DatabaseError), transaction.atomic():
        keep(1)
        run(connection, "SELECT * FROM nowhere")
    assert is_free()
    assert committed(django_subject) == 0
    with transaction.atomic():
        with suppress(DatabaseError), transaction.atomic():
            run(connection, "SELECT * FROM nowhere")
        keep(2)
    assert committed(django_subject) == 1


def test_a_broken_transaction_stays_broken_to_its_end(connection, django_subject):
    with transaction.atomic():
        keep(1)
        with suppress(DatabaseError), transaction.atomic(savepoint=False):
            run(connection, "SELECT * FROM nowhere")
        assert connection.needs_rollback
        with pytest.raises(transaction.TransactionManagementError, match="end of the 'atomic'"):
            keep(2)
        assert not is_free()
    assert is_free()
    assert committed(django_subject) == 0
    keep(3)
    assert committed(django_subject) == 1


def test_broken_before_its_first_statement(connection):
    with transaction.atomic():
        transaction.set_rollback(True)
        with pytest.raises(transaction.TransactionManagementError, match="end of the 'atomic'"):
            keep(1)
    assert is_free()
    keep(1)


def test_the_server_ends_the_session_within_atomic(use, django_server_subject):
    connect(use, django_server_subject)
    with pytest.raises(OperationalError), transaction.atomic():  # noqa: PT012 - the block is the test
        keep(1)
        django_server_subject.kill()
        keep(2)
    assert is_free()
    keep(3)
    assert committed(django_server_subject) == 1


def test_atomic_whose_first_statement_gets_no_connection(use, django_subject):
    connection = connect(use, django_subject)
    pool = connection.pool
    others = pool.acquire()
    with impatient(pool), pytest.raises(carpool.PoolTimeout), transaction.atomic():
        keep(1)
    assert transaction.get_autocommit()
    with transaction.atomic():
        with impatient(pool), pytest.raises(carpool.PoolTimeout):
            run(connection, "INSERT INTO note VALUES (2)")
        pool.release(others)
        del others
        run(connection, "INSERT INTO note VALUES (3)")
        assert committed(django_subject) == 0
    assert is_free()
    assert numbers() == [3]


def test_manual_transactions(connection, django_subject):
    transaction.set_autocommit(False)
    assert is_free()
    keep(1)
    assert not is_free()
    assert committed(django_subject) == 0
    transaction.commit()
    assert is_free()
    assert committed(django_subject) == 1
    keep(2)
    transaction.rollback()
    assert is_free()
    assert not transaction.get_autocommit()
    assert Note.objects.count() == 1
    transaction.rollback()
    transaction.set_autocommit(True)
    assert is_free()
    keep(3)
    assert committed(django_subject) == 2


def test_atomic_within_a_manual_transaction(connection, django_subject):
    transaction.set_autocommit(False)
    keep(0)  # to SQLite's module a savepoint alone is no transaction
    with transaction.atomic():
        keep(1)
    assert committed(django_subject) == 0
    assert not is_free()
    with suppress(ZeroDivisionError), transaction.atomic():
        keep(2)
        raise ZeroDivisionError
    transaction.commit()
    assert is_free()
    transaction.set_autocommit(True)
    assert numbers() == [0, 1]


def test_the_end_of_a_request_rolls_a_manual_transaction_back(connection, django_subject):
    transaction.set_autocommit(False)
    keep(1)
    connection.close()
    assert is_free()
    assert committed(django_subject) == 0
    assert transaction.get_autocommit()


def test_autocommit_off_by_settings(use, django_subject):
    connection = connect(use, django_subject, AUTOCOMMIT=False)
    for n in (1, 2):
        assert not transaction.get_autocommit()
        keep(n)
        assert not is_free()
        transaction.commit()
        assert is_free()
        keep(9)
        connection.close()
    assert is_free()
    assert committed(django_subject) == 2


def test_a_transaction_begun_by_hand(connection, django_subject):
    for end, left in (("COMMIT", 1), ("ROLLBACK", 1)):
        with connection.cursor() as cursor:
            cursor.execute("BEGIN")
            assert not is_free()
            cursor.execute("INSERT INTO note VALUES (1)")
        assert not is_free()
        assert Note.objects.count() == left if end == "COMMIT" else 2
        run(connection, end)
        assert is_free()
        assert committed(django_subject) == left


def test_a_transaction_begun_by_hand_ends_with_the_request(connection, django_subject):
    run(connection, "BEGIN")
    keep(1)
    connection.close()
    assert is_free()
    assert committed(django_subject) == 0


def test_select_for_update(use, django_server_subject):
    connect(use, django_server_subject)
    keep(1)
    with transaction.atomic():
        assert [note.n for note in Note.objects.select_for_update()] == [1]
        assert not is_free()
        with pytest.raises(Exception, match=r"(?i)lock"):
            django_server_subject.ask("SELECT n FROM note FOR UPDATE NOWAIT")
    assert django_server_subject.ask("SELECT n FROM note FOR UPDATE NOWAIT") == 1
    with pytest.raises(transaction.TransactionManagementError):
        list(Note.objects.select_for_update())
    assert is_free()


@pytest.mark.usefixtures("site")
def test_atomic_requests(use, django_subject):
    connect(use, django_subject, ATOMIC_REQUESTS=True)
    assert get("/write", n=1) == "written"
    with pytest.raises(ZeroDivisionError):
        get("/write-and-fail", n=2)
    assert is_free()
    assert committed(django_subject) == 1
    with django_subject.statements() as seen:
        assert get("/no-query") == "nothing"
    assert seen == []


# on_commit ----------------------------------------------------------------------------------------


def test_hooks_run_in_order_after_it_was_given_back(connection, django_subject):
    heard = []

    def hook(name):
        heard.append((name, committed(django_subject), is_free(), Note.objects.count()))
        assert is_free()

    with transaction.atomic():
        transaction.on_commit(lambda: hook("first"))
        keep(1)
        with transaction.atomic():
            transaction.on_commit(lambda: hook("inner"))
        with suppress(ZeroDivisionError), transaction.atomic():
            transaction.on_commit(lambda: heard.append("never"))
            raise ZeroDivisionError
        transaction.on_commit(lambda: hook("last"), robust=True)
        assert heard == []
    assert heard == [(name, 1, True, 1) for name in ("first", "inner", "last")]
    transaction.on_commit(lambda: heard.append("at once"))
    assert heard[-1] == "at once"


def test_a_hook_with_a_transaction_and_a_hook_of_its_own(connection, django_subject):
    heard = []

    def hook():
        with transaction.atomic():
            keep(2)
            transaction.on_commit(lambda: heard.append((numbers(), is_free())))
            assert not is_free()
        assert is_free()

    with transaction.atomic():
        keep(1)
        transaction.on_commit(hook)
    assert heard == [([1, 2], True)]
    assert committed(django_subject) == 2


def test_hooks_of_a_rolled_back_transaction_never_run(connection):
    heard = []
    with suppress(ZeroDivisionError), transaction.atomic():
        transaction.on_commit(lambda: heard.append("never"))
        raise ZeroDivisionError
    with suppress(ZeroDivisionError), transaction.atomic():
        keep(1)
        transaction.on_commit(lambda: heard.append("never"))
        raise ZeroDivisionError
    with transaction.atomic():
        keep(1)
    assert heard == []


def test_hooks_that_fail(connection, caplog):
    heard = []

    def fail():
        raise ZeroDivisionError

    with caplog.at_level(logging.ERROR, "django.db.backends.base"), transaction.atomic():
        keep(1)
        transaction.on_commit(fail, robust=True)
        transaction.on_commit(lambda: heard.append("after"))
    assert heard == ["after"]
    assert "Error calling" in caplog.text
    with pytest.raises(ZeroDivisionError), transaction.atomic():  # noqa: PT012 - the block is the test
        keep(2)
        transaction.on_commit(fail)
        transaction.on_commit(lambda: heard.append("never"))
    assert is_free()
    with transaction.atomic():
        keep(3)
    assert heard == ["after"]
    assert numbers() == [1, 2, 3]


def test_a_hook_outside_of_atomic_in_a_manual_transaction_is_refused(connection):
    transaction.set_autocommit(False)
    with pytest.raises(transaction.TransactionManagementError, match="on_commit"):
        transaction.on_commit(lambda: None)

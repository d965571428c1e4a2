"""The engine of each database, through Django."""

import threading
from contextlib import suppress

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, connection, transaction
from django.db.backends.signals import connection_created

import carpool
from tests.conformance.asking import in_thread, run, shown, value
from tests.conformance.leases import connect, impatient
from tests.conformance.site import Note, get

WITH_TRANSACTIONS = ("session", "transaction")
NO_TRANSACTIONS = "statement mode has no transactions: see test_statement_mode.py"


def outcome_in_thread():
    """Return what a query in another thread comes to: 1, or the error's text."""

    def ask():
        try:
            return value(connection, "SELECT 1")
        except OperationalError as error:
            return str(error)
        finally:
            connection.close()

    return in_thread(ask)


@pytest.mark.usefixtures("site")
def test_one_query_is_one_statement(use, django_subject):
    use(django_subject)
    get("/one-query")
    with django_subject.statements() as seen:
        for _ in range(3):
            assert get("/one-query") == "[]"
    assert len(seen) == 3
    assert all(each.startswith("SELECT") for each in seen)
    assert len(django_subject.sessions()) == 1


@pytest.mark.usefixtures("site")
def test_killed_sessions_cost_no_request(use, django_subject):
    use(django_subject)
    for _ in range(5):
        assert get("/one-query") == "[]"
        django_subject.kill()


def test_connection_created_is_sent_once_a_session(use, django_subject):
    default = use(django_subject)
    seen = []

    def receiver(connection, **_kwargs):
        seen.append(connection.alias)

    connection_created.connect(receiver)
    try:
        for _ in range(3):
            value(default, "SELECT 1")
            default.close()
        in_thread(lambda: (value(connection, "SELECT 1"), connection.close()))
    finally:
        connection_created.disconnect(receiver)
    assert seen == ["default"]


def test_threads_share_the_pool(use, django_subject):
    use(django_subject, {"max_size": 2})
    failures = []

    def work():
        try:
            for turn in range(20):
                value(connection, "SELECT 1")
                if turn % 5 == 0:
                    assert len(django_subject.sessions()) <= 2
                connection.close()
        except Exception as error:  # noqa: BLE001 - looked at below
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_thread_that_never_closes_costs_no_slot(use, django_subject):
    use(django_subject, {"max_size": 1})
    for _ in range(4):
        assert in_thread(lambda: value(connection, "SELECT 1")) == 1


@pytest.mark.modes(*WITH_TRANSACTIONS, reason=NO_TRANSACTIONS)
def test_one_that_dies_within_atomic(use, django_subject):
    use(django_subject, {"max_size": 1})

    def die():
        transaction.atomic().__enter__()
        Note.objects.create(n=1)

    in_thread(die)
    assert in_thread(lambda: value(connection, "SELECT count(*) FROM note")) == 0


def create_in_vain(number):
    with suppress(ZeroDivisionError), transaction.atomic():
        Note.objects.create(n=number)
        raise ZeroDivisionError


@pytest.mark.modes(*WITH_TRANSACTIONS, reason=NO_TRANSACTIONS)
def test_transactions(use, django_subject):
    use(django_subject)
    with transaction.atomic():
        Note.objects.create(n=1)
        create_in_vain(2)
    connection.close()
    create_in_vain(3)
    assert list(Note.objects.values_list("n", flat=True)) == [1]
    transaction.set_autocommit(False)
    Note.objects.create(n=4)
    connection.close()  # without a commit
    assert transaction.get_autocommit()
    assert list(Note.objects.values_list("n", flat=True)) == [1]


def test_what_was_given_back_is_not_usable(use, django_subject):
    """Django's health check may ask when the connection has just been closed."""
    default = use(django_subject)
    value(default, "SELECT 1")
    assert default.is_usable()
    default.close()
    assert not default.is_usable()


def test_nothing_is_left_to_the_next_user(use, django_subject):
    default = use(django_subject, {"max_size": 1})
    for leak in django_subject.leaks.values():
        before = shown(default, leak.probe)
        default.close()
        with suppress(carpool.NoTransactions):  # that there is none follows one in statement mode
            run(default, leak.plant)
        default.close()
        assert shown(default, leak.probe) == before, leak
        default.close()


def test_how_long_a_query_holds_its_connection(use, django_subject, mode):
    default = connect(use, django_subject)
    value(default, "SELECT 1")
    if mode == "session":
        with impatient(default.pool):
            assert "within 0.05 s" in outcome_in_thread()
    else:
        assert outcome_in_thread() == 1
    default.close()
    assert outcome_in_thread() == 1


def test_exhaustion_is_an_operational_error(use, django_subject):
    default = connect(use, django_subject)
    with carpool.session():  # which holds one in every mode
        value(default, "SELECT 1")
        with impatient(default.pool):
            assert "within 0.05 s" in outcome_in_thread()


@pytest.mark.modes("session", reason="without a pool there is no mode")
def test_without_a_pool_it_is_plain_django(use, django_subject):
    default = use(django_subject, pool=False)
    assert value(default, "SELECT 1") == 1
    assert default.pool is None
    assert len(django_subject.sessions()) == 1
    default.close()
    django_subject.wait_for_sessions(0)


def test_wrong_options_are_named(use, django_subject):
    with pytest.raises(ImproperlyConfigured, match=r"'default'.*'max_sise'"):
        value(use(django_subject, {"max_sise": 3}), "SELECT 1")


def test_persistent_connections_are_refused(use, django_subject):
    with pytest.raises(ImproperlyConfigured, match="'CONN_MAX_AGE' is 60"):
        value(use(django_subject, CONN_MAX_AGE=60), "SELECT 1")


def test_changed_options_mean_another_pool(use, django_subject):
    default = use(django_subject, {"max_size": 1})
    value(default, "SELECT 1")
    default.close()
    first = default.pool
    options = default.settings_dict["OPTIONS"]
    options["pool"] = options["pool"] | {"max_size": 2}
    value(default, "SELECT 1")
    assert default.pool is not first
    default.close()
    django_subject.wait_for_sessions(1)

"""The engine of each database, through Django."""

import threading
from contextlib import suppress

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.wsgi import WSGIHandler
from django.db import OperationalError, connection, connections, transaction
from django.db.backends.signals import connection_created
from django.db.models import IntegerField, Model
from django.http import JsonResponse
from django.test import RequestFactory, override_settings
from django.urls import path

from tests.conformance.asking import run, shown, value


class Note(Model):
    n = IntegerField(primary_key=True)

    class Meta:
        app_label = "conformance"
        db_table = "note"
        managed = False

    def __str__(self):
        return str(self.n)


def one_query(_request):
    return JsonResponse(list(Note.objects.values_list("n", flat=True)), safe=False)


class Urls:
    urlpatterns = (path("one-query", one_query),)


@pytest.fixture
def request_page():
    """Ask for a page as a WSGI server would; returns its body. The request is over then."""

    def ask(url):
        request = RequestFactory().get(url)
        response = WSGIHandler()(request.environ, lambda _status, _headers: None)
        try:
            return b"".join(response).decode()
        finally:
            response.close()

    with override_settings(
        ROOT_URLCONF=Urls, ALLOWED_HOSTS=["*"], MIDDLEWARE=[], DEBUG_PROPAGATE_EXCEPTIONS=True
    ):
        yield ask


def in_thread(function):
    """Run it in a thread of its own, as a server's worker would; return its result."""
    results = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    thread.join()
    return results.pop()


def test_one_query_is_one_statement(use, django_subject, request_page):
    use(django_subject)
    request_page("/one-query")
    with django_subject.statements() as seen:
        for _ in range(3):
            assert request_page("/one-query") == "[]"
    assert len(seen) == 3
    assert all(each.startswith("SELECT") for each in seen)
    assert len(django_subject.sessions()) == 1


def test_killed_sessions_cost_no_request(use, django_subject, request_page):
    use(django_subject)
    for _ in range(5):
        assert request_page("/one-query") == "[]"
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
            for _ in range(20):
                value(connection, "SELECT 1")
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
        run(default, leak.plant)
        default.close()
        assert shown(default, leak.probe) == before, leak
        default.close()


def test_exhaustion_is_an_operational_error(use, django_subject):
    default = use(django_subject, {"min_size": 1, "max_size": 1, "timeout": 0.05})
    default.pool.wait()
    value(connection, "SELECT 1")

    def fails():
        try:
            value(connections["default"], "SELECT 1")
        except OperationalError as error:
            return str(error)

    assert "within 0.05 s" in in_thread(fails)


def test_without_a_pool_it_is_plain_django(use, django_subject):
    default = use(django_subject, pool=False)
    assert value(default, "SELECT 1") == 1
    assert default.pool is None
    assert len(django_subject.sessions()) == 1
    default.close()
    django_subject.wait_for_sessions(0)


def test_wrong_options_are_named(use, django_subject):
    with pytest.raises(ImproperlyConfigured, match=r"'default'.*'max_sise'"):
        use(django_subject, {"max_sise": 3})


def test_persistent_connections_are_refused(use, django_subject):
    with pytest.raises(ImproperlyConfigured, match="'CONN_MAX_AGE' is 60"):
        use(django_subject, CONN_MAX_AGE=60)


def test_changed_options_mean_another_pool(use, django_subject):
    default = use(django_subject, {"max_size": 1})
    value(default, "SELECT 1")
    default.close()
    first = default.pool
    default.settings_dict["OPTIONS"]["pool"] = {"max_size": 2}
    value(default, "SELECT 1")
    assert default.pool is not first
    default.close()
    django_subject.wait_for_sessions(1)

"""The admin in the process of the test, on a SQLite file, with figures that the test makes up."""

import json

import pytest
from django.core.management import call_command
from django.test import Client, override_settings

from tests.telemetry.samples import sample_report
from tests.web import settings, users

SITE = {
    name: getattr(settings, name)
    for name in (
        *("ALLOWED_HOSTS", "ROOT_URLCONF", "STATIC_URL", "INSTALLED_APPS", "MIDDLEWARE"),
        *("TEMPLATES", "PASSWORD_HASHERS"),
    )
}


@pytest.fixture(scope="session")
def tables(tmp_path_factory):
    """Where a file with the site's tables and users is to be, or is."""
    return tmp_path_factory.mktemp("site") / "site.sqlite3"


@pytest.fixture
def site(tables, django_databases):
    """The site's apps, tables and users, for the time of a test."""
    with override_settings(**SITE):
        new = not tables.exists()
        entry = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tables)}
        connections = django_databases(default=entry)
        if new:
            call_command("migrate", verbosity=0)
            users.make()
        yield
        connections.close_all()


class Host:
    """What the page is told of the host, and what it has ordered; `names`: the project's pools."""

    def __init__(self):
        self.names = None
        self.report = sample_report()
        self.orders = []
        self.error = None

    def gather(self, directory=None):
        if self.error:
            raise self.error
        return json.loads(json.dumps(self.report))

    def give(self, directory, verb, pool, *, sizes=None):
        if self.error:
            raise self.error
        self.orders.append((verb, pool, sizes))
        return len(self.orders)


@pytest.fixture
def host(monkeypatch):
    host = Host()
    monkeypatch.setattr("carpool.telemetry.gather.gather", host.gather)
    monkeypatch.setattr("carpool.telemetry.orders.give", host.give)
    monkeypatch.setattr("carpool.telemetry.ours.names", lambda: host.names)
    return host


@pytest.fixture
def browse(site):
    """Return a client for a user of `users`, or for nobody."""

    def browse(name=None, **more):
        client = Client(**more)
        if name:
            assert client.login(username=name, password=users.PASSWORD)
        return client

    return browse

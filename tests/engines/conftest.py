"""Engines pooled by the recipe, each on a real database of its kind."""

import pytest
from django.db.backends.signals import connection_created

from support.databases import fresh_database
from tests.django.asking import run
from tests.django.conftest import in_thread
from tests.engines.kinds import KINDS, POOLED, SQLite

__all__ = ["in_thread"]


@pytest.fixture(params=POOLED)
def kind(request, tmp_path):
    """A `Kind` of database, with an empty table `note (n integer)`."""
    kind = KINDS[request.param]
    if kind is SQLite:
        yield ready(SQLite(tmp_path / "db.sqlite3"))
        return
    with fresh_database(request.getfixturevalue(kind.fixture)) as database:
        yield ready(kind(database))


def ready(kind):
    kind.query("CREATE TABLE note (n integer)")
    return kind


@pytest.fixture
def use(kind, django_databases):
    """Call it with "plain" or "clearing" to use that engine; returns the wrapper of `default`."""
    handlers = []

    def use(which="plain", pool=True, options=None, **more):
        entry = {**kind.entry(), **more, "ENGINE": f"tests.engines.{which}_{kind.name}"}
        entry["OPTIONS"] = {**(options or {}), "pool": pool}
        handlers.append(django_databases(default=entry))
        return handlers[-1]["default"]

    yield use
    for connection in handlers[-1].all(initialized_only=True) if handlers else ():
        connection.close()
        connection.close_pool()


@pytest.fixture
def created():
    """The wrappers' aliases for which the signal was sent, in order."""
    sent = []

    def receive(connection, **_):
        sent.append(connection.alias)

    connection_created.connect(receive)
    yield sent
    connection_created.disconnect(receive)


@pytest.fixture
def leaving():
    """Have `connection_created` run a statement; call it with one."""
    receivers = []

    def leave(statement):
        def receive(connection, **_):
            run(connection, statement)

        receivers.append(receive)
        connection_created.connect(receive)

    yield leave
    for receive in receivers:
        connection_created.disconnect(receive)

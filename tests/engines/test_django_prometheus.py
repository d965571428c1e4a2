"""django-prometheus' counters: queries, and the connections that the server has seen."""

import pytest
from django.db import DatabaseError
from django.db import connection as default
from prometheus_client import REGISTRY

from tests.django.asking import run
from tests.engines.kinds import KINDS, SQLite


class Counts:
    """What has been counted since it was made."""

    def __init__(self, vendor):
        self.labels = {"alias": "default", "vendor": vendor}
        self.before = {}
        self.before = {name: self[name] for name in ("new_connections", "execute", "execute_many")}

    def __getitem__(self, name):
        found = REGISTRY.get_sample_value(f"django_db_{name}_total", self.labels) or 0
        return found - self.before.get(name, 0)


OVER = [pytest.param("counted", kind, id=f"over {kind}") for kind in KINDS]
UNDER = [pytest.param("prometheus", "postgresql", id="under")]
ENGINES = pytest.mark.parametrize(("which", "kind"), OVER + UNDER, indirect=["kind"])


@ENGINES
def test_connections(use, kind, which, in_thread, leaving):
    leaving(kind.receiver)  # so sessions are set up again after a reset
    connection = use(which, {"max_size": 2})
    counts = Counts(connection.vendor)
    for _ in range(4):
        run(connection, "SELECT 1")
        in_thread(run, default, "SELECT 1")
        connection.close()
        run(connection, kind.plant)
        connection.close()
    connection.pool.drain()
    run(connection, "SELECT 1")
    assert counts["new_connections"] == connection.pool.get_stats()["connections_num"] >= 3
    if kind.name != SQLite.name:
        assert counts["new_connections"] == kind.database.connections() == 3


@ENGINES
def test_queries(use, which):
    connection = use(which, {"max_size": 1})
    run(connection, "SELECT 1")
    counts = Counts(connection.vendor)
    for _ in range(3):
        run(connection, "SELECT 1")
        connection.close()
    with connection.cursor() as cursor:
        cursor.executemany("INSERT INTO note VALUES (%s)", [[1], [2]])
    with pytest.raises(DatabaseError):
        run(connection, "SELECT * FROM nowhere")
    connection.close()
    assert counts["execute"] == 3 + 2 + 1
    assert counts["execute_many"] == 2
    assert counts["new_connections"] == 0


@ENGINES
def test_threads_share_a_pool(use, which, in_thread):
    pool = use(which).pool
    assert in_thread(lambda: default.pool) is pool


def test_without_a_pool(use):
    connection = use("counted", pool=False)
    counts = Counts(connection.vendor)
    for _ in range(2):
        run(connection, "SELECT 1")
        connection.close()
    assert counts["new_connections"] == 2

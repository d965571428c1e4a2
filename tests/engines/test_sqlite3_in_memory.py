"""Databases in memory are no pool's business."""

import pytest

from tests.django.asking import run, value


@pytest.mark.parametrize("name", [":memory:", "file:shared_one?mode=memory&cache=shared"])
def test_as_stock(django_databases, name):
    entry = {"ENGINE": "tests.engines.plain_sqlite3", "NAME": name}
    connection = django_databases(default=entry)["default"]
    assert connection.pool is None
    run(connection, "CREATE TABLE note (n integer)")
    connection.close()
    assert value(connection, "SELECT count(*) FROM note") == 0
    connection.connection.close()

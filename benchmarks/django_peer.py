"""Pooling through Django: one process for each way of it, and its side of the conversation.

    python -m benchmarks.django_peer SETTINGS QUERY TIMES

SETTINGS is an entry of DATABASES, as JSON; TIMES says how often a request runs the query.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from benchmarks import measure, processes

PERSISTENT = "CONN_MAX_AGE=600"
EVERY_TIME = "CONN_MAX_AGE=0"
SELECT_1 = "SELECT 1"


def process(
    name: str, database: dict[str, Any], query: str = SELECT_1, times: int = 1
) -> processes.PeerProcess:
    """Start a process with Django and one way to pool."""
    arguments = (json.dumps(database), query, str(times))
    return processes.PeerProcess(name, "benchmarks.django_peer", *arguments)


def plain_ways(backend: str, database: dict[str, Any], size: int) -> dict[str, dict[str, Any]]:
    """Return the entries of DATABASES to compare on any database, by name."""
    pool = {"min_size": size, "max_size": size}
    stock = database | {"ENGINE": f"django.db.backends.{backend}"}
    return {
        "carpool": database | {"ENGINE": f"carpool.{backend}", "OPTIONS": {"pool": pool}},
        PERSISTENT: stock | {"CONN_MAX_AGE": 600},
        EVERY_TIME: stock,
    }


def ways(database: dict[str, Any], size: int) -> dict[str, dict[str, Any]]:
    """Return those to compare on PostgreSQL."""
    plain = plain_ways("postgresql", database, size)
    native = plain[EVERY_TIME] | {"OPTIONS": plain["carpool"]["OPTIONS"]}
    checked = {"CONN_HEALTH_CHECKS": True}
    return plain | {
        f"{PERSISTENT}, health checks": plain[PERSISTENT] | checked,
        "native pool": native,
        "native pool, health checks": native | checked,
    }


def modes(backend: str, database: dict[str, Any], size: int) -> dict[str, dict[str, Any]]:
    """Return the entries of DATABASES to compare carpool's modes, by mode."""
    pool = {"min_size": size, "max_size": size}
    engine = database | {"ENGINE": f"carpool.{backend}"}
    return {
        mode: engine | {"OPTIONS": {"pool": pool | {"mode": mode}}}
        for mode in ("session", "transaction")
    }


def cycle(database: dict[str, Any], query: str, times: int) -> measure.Cycle:
    """Set Django up; the cycle is a view's cursors, and what the end of the request does."""
    import django  # noqa: PLC0415 - only the process that runs it needs it
    from django.conf import settings  # noqa: PLC0415 - see above

    settings.configure(DATABASES={"default": database}, USE_TZ=True, TIME_ZONE="UTC")
    django.setup()
    from django.db import connection  # noqa: PLC0415 - see above

    def take() -> Any:
        return connection.cursor()

    def use(cursor: Any) -> None:
        cursor.execute(query)
        cursor.fetchall()
        for _ in range(times - 1):  # as the ORM does
            cursor.close()
            cursor = connection.cursor()
            cursor.execute(query)
            cursor.fetchall()

    def give(cursor: Any) -> None:
        cursor.close()
        connection.close_if_unusable_or_obsolete()

    def leave() -> None:
        connection.close()  # `connection` is another one in each thread

    return measure.Cycle(take, use, give, leave)


if __name__ == "__main__":
    entry, query, times = sys.argv[1:]
    processes.answer(cycle(json.loads(entry), query, int(times)))

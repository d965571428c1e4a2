"""Pooling through Django: one process for each way of it, and its side of the conversation.

    python -m benchmarks.django_peer SETTINGS QUERY TIMES

SETTINGS is an entry of DATABASES, as JSON; TIMES says how often a request runs the query. It reads
one JSON object per line (a `Load`, or {} to count calls) and answers each with one line.
"""

from __future__ import annotations

import gc
import json
import signal
import subprocess
import sys
from dataclasses import asdict
from typing import Any

from benchmarks import measure

PERSISTENT = "CONN_MAX_AGE=600"
EVERY_TIME = "CONN_MAX_AGE=0"
SELECT_1 = "SELECT 1"


class DjangoProcess:
    """A process with Django and one way to pool; measures when asked, idle meanwhile."""

    def __init__(
        self, name: str, database: dict[str, Any], query: str = SELECT_1, times: int = 1
    ) -> None:
        self.name = name
        arguments = (json.dumps(database), query, str(times))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.django_peer", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def measure(self, load: measure.Load) -> measure.Sample:
        """Return what a cycle costs under this load."""
        return measure.Sample(**self._ask(asdict(load)))

    def calls(self) -> tuple[float, float]:
        """Return the Python and the C calls of a cycle without a query."""
        python, c = self._ask({})
        return python, c

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def _ask(self, question: dict[str, Any]) -> Any:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the process for {self.name!r} has died: see its message above")
        return json.loads(answer)


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


def main(database: str, query: str, times: str) -> None:
    """Answer until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the end of the input is what ends us
    measured = cycle(json.loads(database), query, int(times))
    gc.freeze()
    for line in sys.stdin:
        load = json.loads(line)
        answer = (
            asdict(measure.measure(measured, measure.Load(**load)))
            if load
            else measure.calls(measured)
        )
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

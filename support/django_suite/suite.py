"""The runs of Django's tests with both engines on one server."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from support.django_suite import environment, outcomes, plan, report, server
from support.django_suite.comparison import Comparison
from support.django_suite.supervision import Execution

if TYPE_CHECKING:
    from support.django_suite.outcomes import Outcomes
    from support.django_suite.plan import Run
    from support.servers import PostgreSQL

STOCK = "django.db.backends.postgresql"
_DECISIVE = ("environment", "recorder", "server", "settings", "supervision")  # for the outcomes


class Suite:
    """Makes runs with both engines; stock Django's outcomes are kept in the cache for later."""

    def __init__(self, postgresql: PostgreSQL, folder: Path, engine: str) -> None:
        self._server = postgresql
        self._folder = folder
        self._engine = engine
        self._version = postgresql.query("SELECT version() AS text")[0].text

    def compare(self, run: Run) -> Comparison:
        """Make one run with both engines and print its table."""
        stock = self._stock(run)
        comparison = Comparison(run.name, stock, self._run(run, self._engine, "ours"))
        print(*report.table(comparison, self._engine), sep="\n", flush=True)
        return comparison

    def _stock(self, run: Run) -> Outcomes:
        kept = environment.CACHE / "stock" / f"{self._key(run)}.json"
        if kept.exists():
            print(f"{run.name}, {STOCK}: the outcomes of an earlier run")
            return outcomes.from_json(json.loads(kept.read_text()))
        found = self._run(run, STOCK, "stock")
        kept.parent.mkdir(exist_ok=True)
        kept.write_text(json.dumps(outcomes.to_json(found)))
        return found

    def _key(self, run: Run) -> str:
        """Return a name that changes with whatever may change the outcomes."""
        sources = [Path(__file__).with_name(f"{name}.py").read_text() for name in _DECISIVE]
        facts = [self._version, environment.versions(), asdict(run), plan.IN_PARTS, sources]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]

    def _run(self, run: Run, engine: str, side: str) -> Outcomes:
        print(f"{run.name}, {engine}: {' '.join(run.labels) or 'nearly all tests'}", flush=True)
        begun = time.monotonic()
        folder = self._folder / run.name.replace(" ", "-") / side
        found: Outcomes = {}
        for number in range(run.times):
            execution = self._execution(run, engine, folder / str(number))
            found = outcomes.worst(found, execution.finish())
            left = server.left_behind(self._server, run.keeps_databases)
            found = outcomes.worst(found, left)
        server.clean(self._server)
        print(f"  {len(found)} outcomes after {time.monotonic() - begun:.0f} s", flush=True)
        return found

    def _execution(self, run: Run, engine: str, folder: Path) -> Execution:
        return Execution(
            title=f"{run.name}, {engine}",
            command=[
                *(str(environment.interpreter()), "runtests.py", "--noinput", "--timing"),
                *("--settings=support.django_suite.settings", *run.options),
                *(run.labels or plan.nearly_all(environment.test_packages())),
            ],
            cwd=environment.tests_folder(),
            variables={
                "PYTHONPATH": str(environment.ROOT),
                "SUITE_ENGINE": engine,
                "SUITE_SERVER": json.dumps(self._server.django()),
            },
            folder=folder,
        )

"""The runs of Django's tests with both engines in one place."""

from __future__ import annotations

import hashlib
import inspect
import json
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.brokers import broker_directory
from support.django_suite import environment, outcomes, plan, report
from support.django_suite.comparison import Comparison
from support.django_suite.environment import SuiteError
from support.django_suite.home import left_behind
from support.django_suite.names import REAL_DATABASES
from support.django_suite.supervision import Execution

if TYPE_CHECKING:
    from support.django_suite.home import Home
    from support.django_suite.outcomes import Outcomes
    from support.django_suite.plan import Database, Run

_DECISIVE = ("environment", "home", "recorder", "settings", "supervision")  # for the outcomes


class Suite:
    """Makes runs with both engines; stock Django's outcomes are kept in the cache for later."""

    def __init__(
        self, database: Database, home: Home, folder: Path, engine: str, *, share: str = "process"
    ) -> None:
        self._database = database
        self._home = home
        self._folder = folder
        self._engine = engine
        self._share = share

    def compare(self, run: Run, mode: str) -> Comparison:
        """Make one run with stock Django, unless that has been done, and one in a mode of ours."""
        stock = self._stock(run)
        ours = self._run(run, self._engine, mode)
        comparison = Comparison(
            f"{self._database.name}, {run.name}, {named(mode, self._share)}", stock, ours
        )
        print(*report.table(comparison, self._engine), "", sep="\n", flush=True)
        return comparison

    def _stock(self, run: Run) -> Outcomes:
        kept = environment.CACHE / "stock" / f"{self._key(run)}.json"
        if kept.exists():
            print(f"{run.name}, {self._database.stock}: the outcomes of an earlier run")
            return outcomes.from_json(json.loads(kept.read_text()))
        found = self._run(run, self._database.stock)
        if (ending := found["the_run.ends_by_itself"]).verdict == "failed":
            raise SuiteError(f"stock Django could not finish {run.name!r}:\n{ending.detail}")
        kept.parent.mkdir(exist_ok=True)
        kept.write_text(json.dumps(outcomes.to_json(found)))
        return found

    def _key(self, run: Run) -> str:
        """Return a name that changes with whatever may change the outcomes."""
        sources = [Path(__file__).with_name(f"{name}.py").read_text() for name in _DECISIVE]
        home = inspect.getsource(type(self._home)), self._home.version, self._database.stock
        tests = asdict(replace(run, modes=())), plan.IN_PARTS, sorted(self._database.left_out)
        facts = [*home, environment.versions(), *tests, sources]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]

    def _run(self, run: Run, engine: str, mode: str = "") -> Outcomes:
        title = ", ".join(filter(None, (run.name, engine, mode and named(mode, self._share))))
        print(f"{title}: {' '.join(run.labels) or 'nearly all tests'}", flush=True)
        begun = time.monotonic()
        folder = self._folder / self._database.name / title.replace(", ", "-").replace(" ", "-")
        found: Outcomes = {}
        for number in range(run.times):
            entries = self._entries(run, engine, mode)
            with broker_directory() as directory:
                execution = self._execution(run, title, entries, folder / str(number), directory)
                found = outcomes.worst(found, execution.finish())
            left = left_behind(self._home, run.keeps_databases)
            found = outcomes.worst(found, left)
        self._home.clean()
        print(f"  {len(found)} outcomes after {time.monotonic() - begun:.0f} s", flush=True)
        return found

    def _entries(self, run: Run, engine: str, mode: str) -> dict[str, Any]:
        def entry(name: str) -> dict[str, Any]:
            plain: dict[str, Any] = {**self._home.django(name), **run.settings}
            options = {**plain.get("OPTIONS", {}), **plan.MODES.get(mode, {})}
            if mode and (shared := plan.SHARES[self._share]):
                options["pool"] = {**options.get("pool", {}), **shared}
            return {"ENGINE": engine, **plain, "OPTIONS": options}

        return {alias: entry(name) for alias, name in REAL_DATABASES.items()}

    def _execution(
        self, run: Run, title: str, entries: dict[str, Any], folder: Path, broker: str
    ) -> Execution:
        return Execution(
            title=title,
            command=[
                *(str(environment.interpreter()), "runtests.py", "--noinput", "--timing"),
                *("--settings=support.django_suite.settings", *run.options),
                *(run.labels or plan.nearly_all(environment.test_packages())),
            ],
            cwd=environment.tests_folder(),
            variables={
                "PYTHONPATH": str(environment.ROOT),
                "SUITE_DATABASES": json.dumps(entries),
                "SUITE_LEFT_OUT": " ".join(self._database.left_out),
                "SUITE_PYMYSQL": "yes" if run.pymysql else "",
                "CARPOOL_DIR": broker,
            },
            folder=folder,
        )


def named(mode: str, share: str) -> str:
    """Name a way in which carpool runs.

    >>> named("session", "process"), named("session", "host")
    ('session', 'session by host')
    """
    return mode if share == "process" else f"{mode} by {share}"

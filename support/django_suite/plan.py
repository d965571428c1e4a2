"""Which of Django's tests are run, and how: what the databases choose from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from contextlib import AbstractContextManager

    from support.django_suite.home import Home

MODES: Mapping[str, Mapping[str, object]] = {
    "session": {},
    "transaction": {"pool": {"mode": "transaction"}},
}
"""The modes of the pool, and the OPTIONS that choose them. In statement mode hardly a test of
Django's could run: each `TestCase` is a transaction."""

SHARES: Mapping[str, Mapping[str, object]] = {"process": {}, "host": {"share": "host"}}
"""Who shares a pool, and the options of the pool that say so."""


@dataclass(frozen=True)
class Run:
    """One call of Django's test runner; no labels stand for `nearly_all`."""

    name: str
    labels: tuple[str, ...]
    options: tuple[str, ...] = ("--parallel=1",)
    times: int = 1  # one after another, the worst outcome of each test counts
    settings: Mapping[str, object] = field(default_factory=dict)  # more for each of DATABASES
    pymysql: bool = False  # installed as MySQLdb, which is otherwise mysqlclient
    modes: tuple[str, ...] = tuple(MODES)  # of the pool, those that it is to be run in

    @property
    def is_shareable(self) -> bool:
        """Tell whether the driver's connections can change hands."""
        return not self.pymysql

    @property
    def keeps_databases(self) -> bool:
        """Tell whether the test databases are meant to be there afterwards."""
        return "--keepdb" in self.options


@dataclass(frozen=True)
class Database:
    """A database that Django's tests are run on, with stock Django's engine and with ours."""

    name: str
    engine: str
    stock: str
    home: Callable[[], AbstractContextManager[Home]]
    quick: tuple[Run, ...]
    full: tuple[Run, ...]
    accepted: Mapping[str, str]
    """Tests that stock Django passes and carpool is not meant to: the test's id, and the reason."""
    accepted_in: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """The same of one mode alone, or of one way to share, by its name."""
    shareable: bool = False  # whether the processes of a host can share its connections
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Tests that are of no use here with either engine: the test's id, and the reason."""

    def differences(self, *ways: str) -> dict[str, str]:
        """Return the accepted differences of a mode, and a way to share."""
        accepted = dict(self.accepted)
        for way in ways:
            accepted |= self.accepted_in.get(way, {})
        return accepted

    def runs(self, quick: bool, labels: tuple[str, ...], workers: int) -> tuple[Run, ...]:
        """Return the runs to make: the quick or the full set, or one run of the labels given."""
        if labels:
            return (Run("chosen labels", labels, (f"--parallel={workers}",)),)
        return self.quick if quick else self.full

    def shared_runs(self, share: str, runs: tuple[Run, ...]) -> tuple[Run, ...]:
        """Return those of the runs that can be made with such a pool."""
        if share == "process":
            return runs
        return tuple(run for run in runs if self.shareable and run.is_shareable)


IN_PARTS = {
    "auth_tests": tuple(
        f"auth_tests.{name}"
        for name in ("test_auth_backends", "test_basic", "test_management", "test_models")
    ),
    "cache": ("cache.tests.DBCacheTests", "cache.tests.DBCacheWithTimeZoneTests"),
    # Much time and hardly a connection:
    **dict.fromkeys(("admin_scripts", "dispatch", "staticfiles_tests"), ()),
    **dict.fromkeys(("template_tests", "user_commands", "view_tests"), ()),
    # Not for these engines; not tests by themselves:
    **dict.fromkeys(("gis_tests", "import_error_package", "test_runner_apps"), ()),
}
"""The labels that stand for a package of Django's tests, where that is not its own name."""


def nearly_all(packages: Iterable[str]) -> tuple[str, ...]:
    """Return the labels that a run without labels of its own stands for."""
    return tuple(label for name in sorted(packages) for label in IN_PARTS.get(name, (name,)))


# What finds most faults of a pool, by experience, in little time.
CLOSE = ("backends", "transactions", "transaction_hooks", "servers", "async")
NEAR = ("test_utils", "db_utils", "basic", "delete", "get_or_create", "introspection")
MORE = ("multiple_database", "raw_query", "timezones")
FORKED = (
    *("backends", "transactions", "transaction_hooks", "select_for_update", "test_utils"),
    *("migrations.test_executor", "migrations.test_operations"),
)
KEPT = ("basic", "transactions", "multiple_database", "migrations.test_executor")

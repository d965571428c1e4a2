"""Which of Django's tests are run, and how."""

from collections.abc import Iterable
from dataclasses import dataclass

ENGINE = "carpool.postgresql"

ACCEPTED: dict[str, str] = {
    "backends.postgresql.tests.Tests.test_connect_pool": (
        "wants psycopg_pool.PoolTimeout; here it is carpool.PoolTimeout, "
        "which unlike that one is a django.db.OperationalError"
    ),
    "backends.postgresql.tests.Tests.test_pool_check_can_be_overridden": (
        "reads psycopg_pool's private attribute _check"
    ),
    "backends.postgresql.tests.Tests.test_pooling_health_checks": (
        "reads psycopg_pool's private attribute _check"
    ),
}
"""Tests that stock Django passes and carpool is not meant to: the test's id, and the reason."""


@dataclass(frozen=True)
class Run:
    """One call of Django's test runner; no labels stand for `nearly_all`."""

    name: str
    labels: tuple[str, ...]
    options: tuple[str, ...] = ("--parallel=1",)
    times: int = 1  # one after another, the worst outcome of each test counts

    @property
    def keeps_databases(self) -> bool:
        """Tell whether the test databases are meant to be there afterwards."""
        return "--keepdb" in self.options


IN_PARTS = {
    "auth_tests": tuple(
        f"auth_tests.{name}"
        for name in ("test_auth_backends", "test_basic", "test_management", "test_models")
    ),
    "cache": ("cache.tests.DBCacheTests", "cache.tests.DBCacheWithTimeZoneTests"),
    # Much time and hardly a connection:
    **dict.fromkeys(("admin_scripts", "dispatch", "staticfiles_tests"), ()),
    **dict.fromkeys(("template_tests", "user_commands", "view_tests"), ()),
    # Not for this engine; not tests by themselves:
    **dict.fromkeys(("gis_tests", "import_error_package", "test_runner_apps"), ()),
}
"""The labels that stand for a package of Django's tests, where that is not its own name."""


def nearly_all(packages: Iterable[str]) -> tuple[str, ...]:
    """Return the labels that a run without labels of its own stands for."""
    return tuple(label for name in sorted(packages) for label in IN_PARTS.get(name, (name,)))


# What finds most faults of a pool, by experience, in little time.
_CLOSE = ("backends", "transactions", "transaction_hooks", "servers", "async", "asgi.tests")
_NEAR = ("test_utils", "db_utils", "basic", "delete", "get_or_create", "introspection")
_MORE = ("multiple_database", "raw_query")
_FORKED = (
    *("backends", "transactions", "transaction_hooks", "select_for_update", "test_utils"),
    *("migrations.test_executor", "migrations.test_operations"),
)
_KEPT = ("basic", "transactions", "multiple_database", "migrations.test_executor")

QUICK = (
    Run("serial", (*_CLOSE, *_NEAR, *_MORE)),
    Run("two workers", _FORKED, ("--parallel=2",)),
)
FULL = (
    Run("nearly all", ()),
    Run("two workers", _FORKED, ("--parallel=2",)),
    Run("kept databases", _KEPT, ("--parallel=1", "--keepdb"), times=2),
    Run("reverse", _CLOSE, ("--parallel=1", "--reverse")),
)


def runs(quick: bool, labels: tuple[str, ...], workers: int) -> tuple[Run, ...]:
    """Return the runs to make: the quick or the full set, or one run of the labels given."""
    if labels:
        return (Run("chosen labels", labels, (f"--parallel={workers}",)),)
    return QUICK if quick else FULL

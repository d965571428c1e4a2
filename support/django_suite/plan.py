"""Which of Django's tests are run, and how."""

from dataclasses import dataclass

ENGINE = "carpool.postgresql"

ACCEPTED: dict[str, str] = {}
"""Tests that stock Django passes and carpool is not meant to: the test's id, and the reason."""


@dataclass(frozen=True)
class Run:
    """One call of Django's test runner; no labels stand for the whole suite."""

    name: str
    labels: tuple[str, ...]
    options: tuple[str, ...] = ("--parallel=1",)
    times: int = 1  # one after another, the worst outcome of each test counts

    @property
    def keeps_databases(self) -> bool:
        """Tell whether the test databases are meant to be there afterwards."""
        return "--keepdb" in self.options


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
    Run("whole suite", ()),
    Run("two workers", _FORKED, ("--parallel=2",)),
    Run("kept databases", _KEPT, ("--parallel=1", "--keepdb"), times=2),
    Run("reverse", _CLOSE, ("--parallel=1", "--reverse")),
)


def runs(quick: bool, labels: tuple[str, ...], workers: int) -> tuple[Run, ...]:
    """Return the runs to make: the quick or the full set, or one run of the labels given."""
    if labels:
        return (Run("chosen labels", labels, (f"--parallel={workers}",)),)
    return QUICK if quick else FULL

"""SQLite: a folder of files, and what is run on it."""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from support.django_suite.names import REAL_DATABASES
from support.django_suite.plan import CLOSE, FORKED, KEPT, MORE, NEAR, Database, Run

if TYPE_CHECKING:
    from collections.abc import Iterator

_MEMORY = {"TEST": {"NAME": None}}  # Django's own choice for tests; such a database is not pooled
_NOT_POOLED = ("session",)  # so it is the same in every mode


class SQLiteHome:
    """A folder in which the databases, also those of the tests, are files."""

    version = sqlite3.sqlite_version

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._real = [folder / f"{name}.sqlite3" for name in REAL_DATABASES.values()]
        for path in self._real:
            path.touch()

    def django(self, name: str) -> dict[str, object]:
        """Return the paths of a database and of the one for its tests.

        Like the servers here, SQLite need not wait for the disk: that takes longer than the tests.
        """
        return {
            "NAME": str(self._folder / f"{name}.sqlite3"),
            "TEST": {"NAME": str(self._folder / f"test_{name}.sqlite3")},
            "OPTIONS": {"init_command": "PRAGMA synchronous = OFF"},
        }

    def sessions(self) -> list[str]:
        """Return the files that only an unfinished transaction leaves."""
        unfinished = ("-journal", "-wal", "-shm")
        return [path.name for path in self._files() if path.name.endswith(unfinished)]

    def real_tables(self) -> Iterator[str]:
        """Yield the names of tables, with that of their file."""
        for path in self._real:
            with closing(sqlite3.connect(path)) as connection:
                for (name,) in connection.execute("SELECT name FROM sqlite_master"):
                    yield f"{path.name}: {name}"

    def test_databases(self) -> list[str]:
        """Return the names of all other files."""
        return [path.name for path in self._files() if path not in self._real]

    def clean(self) -> None:
        """Delete all other files."""
        for name in self.test_databases():
            (self._folder / name).unlink()

    def _files(self) -> list[Path]:
        return sorted(self._folder.iterdir())


@contextmanager
def _home() -> Iterator[SQLiteHome]:
    with tempfile.TemporaryDirectory(prefix="carpool-") as folder:
        yield SQLiteHome(Path(folder))


SQLITE = Database(
    name="sqlite",
    engine="carpool.sqlite3",
    stock="django.db.backends.sqlite3",
    home=_home,
    quick=(
        Run("files", (*CLOSE, *NEAR, *MORE)),
        Run("files, two workers", FORKED, ("--parallel=2",)),
        Run(
            "in memory, two workers",
            (*FORKED, "servers"),
            ("--parallel=2",),
            settings=_MEMORY,
            modes=_NOT_POOLED,
        ),
    ),
    full=(
        Run("files, nearly all", ()),
        Run("files, two workers", FORKED, ("--parallel=2",)),
        Run("files, kept databases", KEPT, ("--parallel=1", "--keepdb"), times=2),
        Run("in memory, two workers", (), ("--parallel=2",), settings=_MEMORY, modes=_NOT_POOLED),
    ),
    accepted={},
    accepted_in={
        "transaction": {
            f"backends.sqlite.tests.TestTransactionMode.{test}": (
                "wants BEGIN and COMMIT of a transaction without a statement, which here asks "
                "for no connection"
            )
            for test in ("test_default_transaction_mode", "test_valid_transaction_modes")
        }
    },
    left_out={
        "backends.sqlite.tests.ThreadSharing.test_database_sharing_in_threads": (
            "meant for databases in memory: with a file it closes the connection of its own "
            "thread, unless an earlier test has left one open, and all that follow fail"
        ),
    },
)

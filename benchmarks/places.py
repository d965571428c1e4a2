"""Where the benchmark's databases are: started when a section asks for one, until the end."""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import ExitStack, closing
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from support.servers import MariaDB, PostgreSQL

TABLES = 150  # of a middling Django project; SQLite reads the schema anew for each connection
FIRST_TABLE = "SELECT count(*) FROM table_0"


class Places:
    """The databases that Django can be compared on."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    @cached_property
    def postgresql(self) -> PostgreSQL:
        """Start a PostgreSQL."""
        return self._stack.enter_context(PostgreSQL.start())

    @cached_property
    def mariadb(self) -> MariaDB:
        """Start a MariaDB. Raises support.servers.NotInstalled."""
        return self._stack.enter_context(MariaDB.start())

    def django(self, backend: str) -> dict[str, Any]:
        """Return an entry of DATABASES, but for ENGINE, by Django's name of the backend."""
        match backend:
            case "postgresql":
                return self.postgresql.django()
            case "mysql":
                return self.mariadb.django()
            case _:
                return {"NAME": str(self.sqlite)}

    @cached_property
    def sqlite(self) -> Path:
        """Make a file with a schema of some size."""
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="carpool-"))
        path = Path(folder) / "db.sqlite3"
        with closing(sqlite3.connect(path)) as connection:
            for number in range(TABLES):
                columns = ", ".join(f"column_{each} varchar(100) NOT NULL" for each in range(8))
                connection.execute(
                    f"CREATE TABLE table_{number} (id integer PRIMARY KEY, {columns})"
                )
                connection.execute(f"CREATE INDEX index_{number} ON table_{number} (column_0)")
        return path

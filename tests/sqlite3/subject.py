"""SQLite for the conformance suite."""

import itertools
import shutil
import sqlite3
import weakref
from contextlib import closing, contextmanager
from typing import ClassVar

from tests.conformance.subject import TABLE, Leak, Subject
from tests.sqlite3.file import File


class Traced(sqlite3.Connection):
    """A connection that shows what SQLite executes on it."""

    statements: ClassVar = []

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        sqlite3.Connection.set_trace_callback(self, self.statements.append)


class SQLite(Subject):
    engine = "carpool.sqlite3"
    attribute = ("row_factory", sqlite3.Row)
    leaks: ClassVar = {
        "PRAGMA": Leak("PRAGMA cache_size = -77", "PRAGMA cache_size"),
        "PRAGMA by call": Leak("PRAGMA recursive_triggers(ON)", "PRAGMA recursive_triggers"),
        "temporary table": Leak(
            "CREATE TEMP TABLE mine AS SELECT 1",
            "SELECT count(*) FROM temp.sqlite_master",
        ),
        "ATTACH": Leak(
            "ATTACH ':memory:' AS mine",
            "SELECT count(*) FROM pragma_database_list WHERE name = 'mine'",
        ),
    }

    def __init__(self, path):
        self.file = File(path)
        self.file.query(TABLE)
        self.numbers, self.next_number = weakref.WeakKeyDictionary(), itertools.count()

    @classmethod
    @contextmanager
    def fresh(cls, request):
        yield cls(request.getfixturevalue("tmp_path_factory").mktemp("shop") / "shop.db")

    def recipe(self):
        return "carpool.sqlite3.driver:SQLiteDriver", {
            "database": str(self.file.path),
            "isolation_level": None,
        }

    def driver(self, **more):
        return super().driver(factory=Traced, **more)

    def django(self):
        return {"NAME": self.file.path, "OPTIONS": {"factory": Traced}}

    def sessions(self):
        return self.file.descriptors(replaced=False)

    def session_of(self, connection):
        """Number the objects: SQLite has no name for its sessions."""
        if hasattr(connection, "connection"):  # Django's wrapper
            with closing(connection.cursor()):  # it has the module's connection then
                return self.session_of(connection.connection)
        return self.numbers.setdefault(connection, next(self.next_number))

    def kill(self):
        """Put a copy in the file's place: the nearest to what a server's administrator does."""
        copy = self.file.path.with_name("copy.db")
        shutil.copy(self.file.path, copy)
        copy.replace(self.file.path)

    def ask(self, sql):
        rows = self.file.query(sql)
        return rows[0][0] if rows else None

    @contextmanager
    def statements(self):
        seen = Traced.statements
        del seen[:]
        found = []
        yield found
        found += seen

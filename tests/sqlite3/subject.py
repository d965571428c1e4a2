"""A file of SQLite for the conformance suite; its sessions are the open descriptors."""

import itertools
import shutil
import sqlite3
import tempfile
import weakref
from contextlib import closing, contextmanager
from pathlib import Path
from typing import ClassVar

from django.db.backends.signals import connection_created

from carpool.sqlite3.driver import SQLiteDriver
from tests.conformance.subject import TABLE, Leak, Subject

_numbers = itertools.count(1)
_number_of = weakref.WeakKeyDictionary()  # of each connection seen


class SQLite(Subject):
    engine = "carpool.sqlite3"
    leaks: ClassVar = {
        "temporary table": Leak(
            "CREATE TEMPORARY TABLE mine (n integer)", "SELECT count(*) FROM temp.sqlite_master"
        ),
        "temporary view": Leak(
            "CREATE TEMP VIEW view_of_mine AS SELECT 1", "SELECT count(*) FROM temp.sqlite_master"
        ),
        "ATTACH": Leak(
            "ATTACH ':memory:' AS mine",
            "SELECT count(*) FROM pragma_database_list WHERE name = 'mine'",
        ),
        "case_sensitive_like": Leak("PRAGMA case_sensitive_like = ON", "SELECT 'a' LIKE 'A'"),
        **{
            name: Leak(f"PRAGMA {name} = {setting}", f"PRAGMA {name}")
            for name, setting in {
                "foreign_keys": "ON",
                "recursive_triggers": "ON",
                "cache_size": "77",
                "busy_timeout": "77",
                "synchronous": "OFF",
                "temp_store": "MEMORY",
                "query_only": "ON",
                "locking_mode": "EXCLUSIVE",
                "read_uncommitted": "ON",
                "reverse_unordered_selects": "ON",
                "ignore_check_constraints": "ON",
            }.items()
        },
    }

    def __init__(self, folder):
        self.path = folder / "file.sqlite3"
        self.log = []
        with closing(sqlite3.connect(self.path)) as connection:
            connection.execute(TABLE)

    @classmethod
    @contextmanager
    def fresh(cls, request):
        with tempfile.TemporaryDirectory() as folder:
            subject = cls(Path(folder))
            connection_created.connect(subject._trace_djangos)
            try:
                yield subject
            finally:
                connection_created.disconnect(subject._trace_djangos)

    def recipe(self):
        arguments = {"database": str(self.path), "isolation_level": None}
        return "carpool.sqlite3.driver:SQLiteDriver", arguments

    def driver(self, **more):
        _, arguments = self.recipe()
        return SQLiteDriver(open_by=self._open, **arguments | more)

    def _open(self, **params):
        connection = sqlite3.connect(**params)
        self._trace(connection)
        return connection

    def _trace(self, connection):
        # Not by the connection's own method: this is no doing of a user's.
        sqlite3.Connection.set_trace_callback(connection, self.log.append)

    def _trace_djangos(self, connection, **_):
        self._trace(connection.connection)

    def django(self):
        return {"NAME": str(self.path)}

    def sessions(self):
        descriptors = Path("/proc").glob("[0-9]*/fd/*")
        return [each for each in descriptors if _target(each) == str(self.path)]

    def session_of(self, connection):
        connection = getattr(connection, "connection", connection)  # a wrapper of Django's
        return _number_of.setdefault(connection, next(_numbers))

    def kill(self):
        copy = self.path.with_suffix(".copy")
        shutil.copy(self.path, copy)
        copy.replace(self.path)

    def ask(self, sql):
        with closing(sqlite3.connect(self.path, isolation_level=None, timeout=20)) as connection:
            row = connection.execute(sql).fetchone()
            return row[0] if row else None

    @contextmanager
    def statements(self):
        before, found = len(self.log), []
        yield found
        found += self.log[before:]


def _target(link):
    try:
        return str(link.readlink())
    except OSError:  # closed, or not ours to see
        return None

"""The databases for which the recipe is tried, and what each shows of itself."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import ClassVar

from tests.django.asking import value


class PostgreSQL:
    """A database on a server, seen by its administrator."""

    name, fixture = "postgresql", "postgres"
    session, user = "SELECT pg_backend_pid()", "SELECT session_user"
    plant, probe = "SET work_mem = '77MB'", "SHOW work_mem"
    set_up: ClassVar = {"TIME_ZONE": "Asia/Tokyo"}
    set_up_shown = ("SHOW TimeZone", "Asia/Tokyo")
    receiver = "SET statement_timeout = '7min'"
    received = ("SHOW statement_timeout", "7min")

    def __init__(self, database):
        self.database = database

    def entry(self):
        return self.database.django()

    def query(self, sql):
        return [tuple(row) for row in self.database.query(sql)]

    def session_of(self, connection):
        return value(connection, self.session)

    def sessions(self):
        return [row.pid for row in self.database.sessions()]

    def wait_for_sessions(self, count):
        self.database.wait_for_sessions(count)

    def statements(self, mark):
        return [each.text for each in self.database.statements(mark)]


class MySQL(PostgreSQL):
    name, fixture = "mysql", "mariadb"
    session, user = "SELECT CONNECTION_ID()", "SELECT USER()"
    plant, probe = "SET @plant = 7", "SELECT @plant"
    set_up: ClassVar = {}
    set_up_shown = ("SELECT @@tx_isolation", "READ-COMMITTED")  # the server's: REPEATABLE-READ
    receiver = "SET @received = 7"
    received = ("SELECT @received", 7)


class SQLite:
    """A file; its sessions are this process's descriptors of it."""

    name = "sqlite3"
    plant = "CREATE TEMP TABLE plant (n)"
    probe = "SELECT count(*) FROM sqlite_temp_master WHERE name = 'plant'"
    set_up: ClassVar = {}
    set_up_shown = ("PRAGMA foreign_keys", 1)
    receiver = "PRAGMA cache_size = 777"
    received = ("PRAGMA cache_size", 777)

    def __init__(self, path):
        self.path = path

    def entry(self):
        return {"NAME": str(self.path)}

    def query(self, sql):
        with closing(sqlite3.connect(self.path, timeout=1)) as connection, connection:
            return connection.execute(sql).fetchall()

    def session_of(self, connection):
        connection.ensure_connection()
        return connection.connection.session

    def sessions(self):
        return [fd for fd in Path("/proc/self/fd").iterdir() if self._is_ours(fd)]

    def _is_ours(self, fd):
        try:
            return fd.readlink() == self.path
        except OSError:
            return False


POOLED = {kind.name: kind for kind in (PostgreSQL, MySQL)}  # by the recipe
KINDS = {SQLite.name: SQLite, **POOLED}

"""The one server both engines are tried on, and what a run of the tests left on it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from support.django_suite.names import REAL_DATABASES
from support.django_suite.outcomes import Outcome, Outcomes
from support.servers import PostgreSQL

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

_SETTINGS = {"shared_buffers": "256MB", "max_connections": 300}
_GRACE = 5.0  # seconds in which the server notices that a process is gone


def start() -> AbstractContextManager[PostgreSQL]:
    """Start a server that Django's tests can run on."""
    server = PostgreSQL.start(None, **_SETTINGS)
    try:
        _add_collation(server)
        _add_extensions(server)
        for name in REAL_DATABASES.values():
            server.create_database(name)
    except BaseException:
        server.stop()
        raise
    return server


def _add_collation(server: PostgreSQL) -> None:
    """Give Django's test models the Swedish collation they name, where the server has no ICU.

    It sorts otherwise, so the few tests about its order fail, with stock Django too; without it
    not one table could be made.
    """
    collations = "SELECT 1 FROM pg_collation WHERE collname = 'sv-x-icu'"
    if not server.query(collations, dbname="template1"):
        server.query(
            "CREATE COLLATION \"sv-x-icu\" (provider = libc, locale = 'C')", dbname="template1"
        )


def _add_extensions(server: PostgreSQL) -> None:
    """Put empty extensions in the place of those that Django's tests create and pip's server lacks.

    The tests use nothing of them; their migrations create them.
    """
    folder = server.folder / "extension"
    folder.mkdir(mode=0o755)
    available = {row.name for row in server.query("SELECT name FROM pg_available_extensions")}
    for name in {"pgcrypto", "uuid-ossp"} - available:
        (folder / f"{name}.control").write_text("default_version = '0'\n")
        (folder / f"{name}--0.sql").write_text("-- nothing\n")
    server.query(f"ALTER SYSTEM SET extension_control_path = '$system:{server.folder}'")
    server.query("SELECT pg_reload_conf()")


def left_behind(server: PostgreSQL, keeps_databases: bool) -> Outcomes:
    """Return, as outcomes of checks, whether a finished run left the server as it should."""
    checks = {
        "sessions left on the server": _sessions(server),
        "tables in the real databases": list(_tables(server)),
        "test databases left": [] if keeps_databases else _test_databases(server),
    }
    return {
        f"the_run.{name}": Outcome("failed", "\n".join(found)) if found else Outcome("passed")
        for name, found in checks.items()
    }


def clean(server: PostgreSQL) -> None:
    """Drop all test databases, with the sessions in them, and all other sessions."""
    server.kill_sessions()
    for name in _test_databases(server):
        server.drop_database(name)


def _sessions(server: PostgreSQL) -> list[str]:
    deadline = time.monotonic() + _GRACE
    while (found := server.sessions()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return [f"pid {s.pid} in {s.datname}, {s.state}, last: {s.query}" for s in found]


def _tables(server: PostgreSQL) -> Iterator[str]:
    for database in REAL_DATABASES.values():
        tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        for row in server.query(tables, dbname=database):
            yield f"{database}: {row.tablename}"


def _test_databases(server: PostgreSQL) -> list[str]:
    expected = ["postgres", "template0", "template1", *REAL_DATABASES.values()]
    databases = "SELECT datname FROM pg_database WHERE datname <> ALL(%s) ORDER BY datname"
    return [row.datname for row in server.query(databases, [expected])]

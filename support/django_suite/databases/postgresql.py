"""PostgreSQL: its server, and what is run on it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from support.django_suite.home import ServerHome
from support.django_suite.plan import CLOSE, FORKED, KEPT, MORE, NEAR, Database, Run
from support.servers import PostgreSQL

if TYPE_CHECKING:
    from collections.abc import Iterator

_SETTINGS = {"shared_buffers": "256MB", "max_connections": 300}


class PostgreSQLHome(ServerHome):
    """A PostgreSQL that Django's tests can run on."""

    TABLES = "SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public'"
    DATABASES = "SELECT datname AS name FROM pg_database"
    OWN = frozenset({"postgres", "template0", "template1"})


@contextmanager
def _home() -> Iterator[PostgreSQLHome]:
    with PostgreSQL.start(None, **_SETTINGS) as server:
        _add_collation(server)
        _add_extensions(server)
        yield PostgreSQLHome(server)


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


SKIPPED = {
    f"backends.base.test_base.ConnectionHealthChecksTests.{test}": (
        "is skipped by Django where OPTIONS has a pool, and here that says the mode, or who shares"
    )
    for test in ("test_health_checks_enabled", "test_set_autocommit_health_checks_enabled")
}

POSTGRESQL = Database(
    name="postgresql",
    engine="carpool.postgresql",
    stock="django.db.backends.postgresql",
    home=_home,
    quick=(
        Run("serial", (*CLOSE, "asgi.tests", *NEAR, *MORE)),
        Run("two workers", FORKED, ("--parallel=2",)),
    ),
    full=(
        Run("nearly all", ()),
        Run("two workers", FORKED, ("--parallel=2",)),
        Run("kept databases", KEPT, ("--parallel=1", "--keepdb"), times=2),
        Run("reverse", (*CLOSE, "asgi.tests"), ("--parallel=1", "--reverse")),
    ),
    shareable=True,
    accepted={
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
    },
    accepted_in={"transaction": SKIPPED, "host": SKIPPED},
)

"""MariaDB: its server, and what is run on it, with mysqlclient and with PyMySQL in its place."""

from __future__ import annotations

import importlib.util
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

from support.django_suite.environment import SuiteError
from support.django_suite.home import ServerHome
from support.django_suite.plan import CLOSE, FORKED, KEPT, MORE, NEAR, Database, Run
from support.servers import MariaDB

if TYPE_CHECKING:
    from collections.abc import Iterator

_SETTINGS = {"innodb_buffer_pool_size": "256M", "max_connections": 300}
_PYMYSQL = ("backends", "transactions", "transaction_hooks", "test_utils", "basic")


class MariaDBHome(ServerHome):
    """A MariaDB that Django's tests can run on."""

    TABLES = (
        "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = DATABASE()"
    )
    DATABASES = "SELECT schema_name AS name FROM information_schema.schemata"
    OWN = frozenset({MariaDB.MAIN, "information_schema", "performance_schema", "mysql", "sys"})

    def django(self, name: str) -> dict[str, object]:
        """Add the character set of the test databases: the server's own is latin1."""
        return super().django(name) | {"TEST": {"CHARSET": "utf8mb4"}}


@contextmanager
def _home() -> Iterator[MariaDBHome]:
    if importlib.util.find_spec("MySQLdb") is None:
        raise SuiteError("mysqlclient is not installed: see support/system-packages")
    if shutil.which("mysqldump") is None:
        raise SuiteError(
            "mysqldump, by which Django clones databases, is not installed: "
            "apt-get install mariadb-client"
        )
    with MariaDB.start(None, **_SETTINGS) as server:
        yield MariaDBHome(server)


MARIADB = Database(
    name="mariadb",
    engine="carpool.mysql",
    stock="django.db.backends.mysql",
    home=_home,
    quick=(
        Run("serial", (*CLOSE, *NEAR, *MORE)),
        Run("two workers", FORKED, ("--parallel=2",)),
        Run("PyMySQL", _PYMYSQL, pymysql=True),
    ),
    full=(
        Run("nearly all", ()),
        Run("two workers", FORKED, ("--parallel=2",)),
        Run("kept databases", KEPT, ("--parallel=1", "--keepdb"), times=2),
        Run("PyMySQL", (*CLOSE, *NEAR), pymysql=True),
    ),
    shareable=True,
    accepted={
        "backends.mysql.tests.IsolationLevelTests.test_auto_is_null_auto_config": (
            "looks for the statements by which Django sets up a new connection; here the pool has "
            "set it up as it was opened"
        ),
    },
)

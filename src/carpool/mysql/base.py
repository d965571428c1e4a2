"""The Django engine `carpool.mysql`: Django's own, with its connections from the pool.

It takes mysqlclient, or PyMySQL where `pymysql.install_as_MySQLdb()` has been called before Django
loads its database engines, for instance in the settings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.mysql import base as stock
from django.db.backends.mysql.creation import DatabaseCreation as StockCreation

from carpool.wrapper import Pooled
from carpool.wrapper.databases import Vacating

if TYPE_CHECKING:
    from carpool.driver import Driver

if TYPE_CHECKING or stock.Database.__name__ == "MySQLdb":
    from carpool.mysql.driver import MysqlclientDriver as PooledDriver
else:
    from carpool.mysql.pymysql import PyMySQLDriver as PooledDriver


class DatabaseCreation(Vacating, StockCreation):
    """Django's maker of test databases."""


class DatabaseWrapper(Pooled, stock.DatabaseWrapper):
    """Django's MySQL wrapper on pooled connections."""

    creation_class = DatabaseCreation

    def pool_driver(self) -> Driver[Any]:
        """Return a driver that makes connections as Django's wrapper would."""
        params = self.get_connection_params()
        params["autocommit"] = self.settings_dict["AUTOCOMMIT"]
        # What Django sends on every new connection.
        return PooledDriver(
            settings={"sql_auto_is_null": 0}, isolation_level=self.isolation_level, **params
        )

    def init_connection_state(self) -> None:
        """Set up a connection; a pooled one starts as Django wants it."""
        if self._lessor is None:
            super().init_connection_state()
        else:
            BaseDatabaseWrapper.init_connection_state(self)

"""The Django engine `carpool.oracle`: Django's own, with its connections from the pool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db.backends.oracle import base as stock
from django.db.backends.oracle.utils import dsn

from carpool.oracle.driver import OracleDriver
from carpool.wrapper import Pooled

if TYPE_CHECKING:
    from carpool.driver import Driver


class DatabaseWrapper(Pooled, stock.DatabaseWrapper):
    """Django's Oracle wrapper on connections pooled by carpool, not by python-oracledb."""

    def pool_driver(self) -> Driver[Any]:
        """Return a driver that makes connections as Django's wrapper would."""
        return OracleDriver(
            user=self.settings_dict["USER"],
            password=self.settings_dict["PASSWORD"],
            dsn=dsn(self.settings_dict),
            autocommit=self.settings_dict["AUTOCOMMIT"],
            variant=("TIME_ZONE", settings.USE_TZ),  # which Django sets the session up with
            **self.get_connection_params(),
        )

    def connect(self) -> None:
        """Acquire a connection, and know of it what Django finds out on each new one."""
        super().connect()
        if self._lessor is None:
            return
        session = self.connection.session
        if "operators" not in self.__dict__:
            self.operators, self.pattern_ops = session.dialect

    def init_connection_state(self) -> None:
        """Set up a connection as Django does, once for a server connection."""
        super().init_connection_state()
        if self._lessor is not None:
            self.connection.session.dialect = (self.operators, self.pattern_ops)

    @property
    def is_pool(self) -> bool:
        """Tell Django whether OPTIONS["pool"] asks for a pool; absent, it does."""
        return self.settings_dict["OPTIONS"].get("pool", True) is not False

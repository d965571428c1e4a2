"""The Django engine `carpool.postgresql`: Django's own, with its connections from the pool."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Any, ClassVar

from django.core.exceptions import ImproperlyConfigured
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.postgresql import base as stock
from django.db.backends.postgresql.creation import DatabaseCreation as StockCreation
from django.db.backends.postgresql.psycopg_any import IsolationLevel, is_psycopg3

from carpool.wrapper import Pooled
from carpool.wrapper.databases import Vacating

if TYPE_CHECKING or is_psycopg3:
    from django.db.backends.postgresql.psycopg_any import register_tzloader
    from psycopg import adapters
    from psycopg.pq import Format

    from carpool.postgresql.driver import PsycopgDriver as PooledDriver
    from carpool.postgresql.session import tracked
else:
    from carpool.postgresql.psycopg2 import Psycopg2Driver as PooledDriver

if TYPE_CHECKING:
    from carpool.driver import Driver


# Django makes one template of adapters for all connections, but two if two threads ask for it at
# once for the first time; drivers are told apart by it.
_making_template = Lock()


class DatabaseCreation(Vacating, StockCreation):
    """Django's maker of test databases."""


class DatabaseWrapper(Pooled, stock.DatabaseWrapper):
    """Django's PostgreSQL wrapper on pooled connections."""

    creation_class = DatabaseCreation

    driver_class: ClassVar[Any] = PooledDriver

    def pool_driver(self) -> Driver[Any]:
        """Return a driver that makes connections as Django's wrapper would."""
        self.isolation_level, explicit = self._wanted_isolation()
        with _making_template:
            params = self.get_connection_params()
        params["autocommit"] = self.settings_dict["AUTOCOMMIT"]
        return self.driver_class(  # type: ignore[no-any-return] # of either psycopg
            settings=self._session_settings(),
            isolation_level=self.isolation_level if explicit else None,
            **params,
        )

    def _wanted_isolation(self) -> tuple[Any, bool]:
        """Return the isolation level, and whether the settings ask for it."""
        given = self.settings_dict["OPTIONS"].get("isolation_level")
        if given is None:
            return IsolationLevel.READ_COMMITTED, False
        try:
            return IsolationLevel(given), True
        except ValueError:
            raise ImproperlyConfigured(
                f"Invalid transaction isolation level {given} "
                f"specified. Use one of the psycopg.IsolationLevel values."
            ) from None

    def _session_settings(self) -> dict[str, str]:
        """Tell what Django would SET on every new connection."""
        wanted = {
            "TimeZone": self.timezone_name,
            "role": self.settings_dict["OPTIONS"].get("assume_role"),
        }
        return {name: value for name, value in wanted.items() if value}

    def ensure_timezone(self) -> bool:
        """Set the time zone of the present connection; the next one comes from another pool."""
        self._chosen_for = self._chosen_zone = None
        if self.connection is None or self.is_resting():
            return False
        return bool(self._configure_timezone(self.connection))  # type: ignore[attr-defined] # not in the stubs

    def init_connection_state(self) -> None:
        """Set up a connection; a pooled one starts with its time zone and role."""
        if self._lessor is None:
            super().init_connection_state()
        else:
            BaseDatabaseWrapper.init_connection_state(self)

    if TYPE_CHECKING or is_psycopg3:

        def create_cursor(self, name: str | None = None) -> Any:
            """Return a cursor that notices session effects; a named one is server-side."""
            if self._lessor is None:
                return super().create_cursor(name)
            if name is None and self.timezone is self._chosen_zone:
                connection = self.connection
                # What `connection.cursor()` comes to, without its ways to other kinds of cursor.
                if connection.closed:
                    return connection.cursor()  # which raises
                cursor = connection.cursor_factory(connection)
                cursor.lease = connection.session.lease
                return cursor
            if name is None:
                return super().create_cursor(None)
            return self._server_side_cursor(name)

        def _server_side_cursor(self, name: str) -> Any:
            connection = self.connection
            server_binding = self.settings_dict["OPTIONS"].get("server_side_binding") is True
            cursor_class = (
                connection.server_cursor_factory if server_binding else SERVER_SIDE_CURSOR
            )
            # Outside a transaction only a holdable cursor outlives its own statement.
            cursor = cursor_class(
                connection, name=name, scrollable=False, withhold=connection.autocommit
            )
            cursor.lease = connection.session.lease
            loader = connection.adapters.get_loader(adapters.types["timestamptz"].oid, Format.TEXT)
            if self.timezone != loader.timezone:
                register_tzloader(self.timezone, cursor)
            return cursor


if TYPE_CHECKING or is_psycopg3:
    SERVER_SIDE_CURSOR = tracked(stock.ServerSideCursor)

"""The Django engine `carpool.sqlite3`: Django's own, with its connections from the pool."""

from __future__ import annotations

import copy
import os
from functools import partial
from typing import TYPE_CHECKING, Any

from django.db import connections
from django.db.backends.sqlite3 import base as stock
from django.db.backends.sqlite3.features import DatabaseFeatures as StockFeatures

from carpool.keys import freeze
from carpool.sqlite3 import files
from carpool.sqlite3.driver import SQLiteDriver
from carpool.wrapper import Pooled

if TYPE_CHECKING:
    import sqlite3

    from carpool.driver import Driver


class DatabaseFeatures(StockFeatures):
    """Django's, asking no connection by hand, which would be kept for the rest of the request."""

    connection: DatabaseWrapper

    @property
    def max_query_params(self) -> Any:  # type: ignore[override] # a number in Django 5.2
        """As Django's, which asks the connection from 6.0 on."""
        with self.connection.cursor():  # so there is a connection to be asked
            return super().max_query_params


class DatabaseWrapper(Pooled, stock.DatabaseWrapper):
    """Django's SQLite wrapper on pooled connections; databases in memory are left to Django."""

    features_class = DatabaseFeatures
    engine: type[Any] = stock.DatabaseWrapper  # what makes the connections
    # Django's here spares databases in memory, which are not pooled.
    plain_closes = (*Pooled.plain_closes, stock.DatabaseWrapper.close)

    def pool_driver(self) -> Driver[Any] | None:
        """Return a driver that makes connections as Django's wrapper would."""
        params = self.get_connection_params()
        if files.path_of(params["database"]) is None:
            return None
        if not isinstance(params.get("factory", object), type):
            return None  # a function that makes connections: what it makes is not known before
        settings = copy.deepcopy(self.settings_dict)
        for option in ("pool", "check_same_thread"):  # not Django's; judged above, with a warning
            settings["OPTIONS"].pop(option, None)
        return SQLiteDriver(
            open_by=partial(_open, self.engine, settings, self.alias),
            key=(self.engine, settings["AUTOCOMMIT"], freeze(settings["OPTIONS"])),
            **params,
        )

    def rest_before_fork(self) -> None:
        """Give the connection back if that can be done unnoticed; the next query takes another."""
        connection = self.connection
        if self._lessor is None or connection is None or self.in_atomic_block:
            return
        if self._mode != "session":
            self.rest()
        elif connection.session.effect is None and not connection.in_use():
            self.close()


def _open(
    engine: type[Any], settings: dict[str, Any], alias: str, **params: Any
) -> sqlite3.Connection:
    """Open a connection as Django does, functions and foreign keys included."""
    wrapper = engine(settings, alias)
    params = {**wrapper.get_connection_params(), **params}  # the call reads `init_command`, too
    wrapper.connection = wrapper.get_new_connection(params)
    wrapper._set_autocommit(settings["AUTOCOMMIT"])  # noqa: SLF001 - an engine's duty
    connection: sqlite3.Connection = wrapper.connection
    return connection


def _before_fork() -> None:
    """Leave as little open as can be: see `SQLiteDriver.may_fork`."""
    for wrapper in connections.all(initialized_only=True):
        if isinstance(wrapper, DatabaseWrapper):
            wrapper.rest_before_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork)

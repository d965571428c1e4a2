"""Pools for any Django database engine: `pooled`, and the driver that opens as the engine does."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from carpool.dbapi import DBAPIDriver
from carpool.keys import freeze
from carpool.wrapper import Pooled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from django.db.backends.base.base import BaseDatabaseWrapper

    from carpool.dbapi import Connection
    from carpool.driver import Driver


class EngineDriver(DBAPIDriver):
    """Opens and pings connections as an engine of Django's does, and cleans them as asked.

    `wrapper` is an instance of a class that `pooled` has made. `ping` is a statement to ask for a
    sign of life with, instead of the engine's own way; `reset` are those that clear a session.
    """

    def __init__(self, wrapper: Any, *, ping: str | None = None, reset: Iterable[str] = ()) -> None:
        engine = wrapper.engine
        settings = copy.deepcopy(wrapper.settings_dict)
        settings["OPTIONS"].pop("pool", None)
        self._settings, self._alias, self._engine = settings, wrapper.alias, engine
        place = {name: settings[name] for name in ("USER", "HOST", "PORT", "NAME")}
        who = f"{place['USER']}@" if place["USER"] else ""
        port = f":{place['PORT']}" if place["PORT"] else ""
        super().__init__(
            self._open,
            key=(engine, freeze(settings)),
            name=f"{wrapper.vendor}://{who}{place['HOST'] or 'local'}{port}/{place['NAME']}",
            ping=ping or "",
            reset=reset,
        )

    def _stock(self) -> Any:
        """Return a wrapper of the engine's own, for one use by one thread."""
        return self._engine(self._settings, self._alias)

    def _open(self, overrides: Mapping[str, Any]) -> Any:
        stock = self._stock()
        stock.connection = stock.get_new_connection({**stock.get_connection_params(), **overrides})
        stock._set_autocommit(self._settings["AUTOCOMMIT"])  # noqa: SLF001 - an engine's duty
        return stock.connection

    def ping(self, connection: Connection, timeout: float) -> None:
        """See `Driver`."""
        if self._ping:
            super().ping(connection, timeout)
            return
        stock = self._stock()
        stock.connection = connection.real
        if not stock.is_usable():
            raise ConnectionError("the connection is not usable any more")


def pooled(
    engine: type[BaseDatabaseWrapper],
    driver: Callable[[Any], Driver[Any] | None] | None = None,
) -> type[Any]:
    """Return the DatabaseWrapper of a third-party engine, with its connections from a pool.

    `driver` makes the `Driver` for a wrapper and its present settings; without it, an
    `EngineDriver` rolls back what was left open. To have session state cleared as well:

        from functools import partial
        from carpool.engine import EngineDriver, pooled
        from some_engine.base import DatabaseWrapper as Engine

        DatabaseWrapper = pooled(Engine, driver=partial(EngineDriver, reset=["RESET ALL"]))

    Such a line in `myproject/some_engine/base.py` makes the engine `myproject.some_engine`. The
    options are those of every engine here, in `OPTIONS["pool"]`.
    """

    class DatabaseWrapper(Pooled, engine):  # type: ignore[valid-type, misc] # any engine
        __doc__ = engine.__doc__
        engine: type[BaseDatabaseWrapper]  # what is pooled here

        def pool_driver(self) -> Driver[Any] | None:
            return EngineDriver(self) if driver is None else driver(self)

    DatabaseWrapper.engine = engine
    DatabaseWrapper.__qualname__ = "DatabaseWrapper"
    return DatabaseWrapper

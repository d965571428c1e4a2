"""Pools for any Django database engine: `pooled`, and the driver that opens as the engine does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from django.core.exceptions import ImproperlyConfigured
from django.db.backends.base.base import BaseDatabaseWrapper

from carpool.dbapi import DBAPIDriver, file_number
from carpool.keys import freeze
from carpool.wrapper import Pooled, copied

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from carpool.dbapi import Connection, Reset
    from carpool.driver import Driver

# What Django, not the connection, goes by.
_IRRELEVANT = {"ATOMIC_REQUESTS", "CONN_HEALTH_CHECKS", "CONN_MAX_AGE", "ENGINE", "TEST"}


class EngineDriver(DBAPIDriver):
    """Opens, sets up and pings connections as an engine of Django's does, and cleans them as asked.

    `wrapper` is an instance of a class that `pooled` has made. `ping` is a statement to ask for a
    sign of life with, instead of the engine's own way. For the others see `DBAPIDriver`; after a
    `reset` the engine sets up the session again.

    Raises ImproperlyConfigured for an engine of vendor "sqlite": see `_refuse_sqlite`.
    """

    def __init__(
        self,
        wrapper: Any,
        *,
        ping: str = "",
        reset: Reset = (),
        socket: Callable[[Any], int | None] = file_number,
    ) -> None:
        if wrapper.vendor == "sqlite":
            _refuse_sqlite(wrapper.engine)
        settings = copied(wrapper.settings_dict)
        settings["OPTIONS"].pop("pool", None)
        self._settings, self._alias, self._engine = settings, wrapper.alias, wrapper.engine
        self._zone = {"timezone": wrapper.timezone, "timezone_name": wrapper.timezone_name}
        relevant = {name: each for name, each in settings.items() if name not in _IRRELEVANT}
        super().__init__(
            self._open,
            key=None,
            name=_name(wrapper.vendor, settings),
            ping=ping,
            reset=reset,
            socket=socket,
        )
        # Who made this driver is known by the wrapper's class, and so are the arguments.
        self.key = (type(self), type(wrapper), self._alias, freeze((relevant, self._zone)))

    def _stock(self, real: Any = None) -> Any:
        """Return a wrapper of the engine's own around a connection, for one use by one thread."""
        stock = self._engine(self._settings, self._alias)
        stock.__dict__.update(self._zone)
        stock.get_connection_params()  # engines keep some of them
        stock.connection = real
        return stock

    def _open(self, overrides: Mapping[str, Any]) -> Any:
        stock = self._stock()
        params = {**stock.get_connection_params(), **overrides}
        stock.connection = stock.get_new_connection(params)
        try:
            self._set_up(stock)
        except BaseException:
            stock.connection.close()
            raise
        return stock.connection

    def _set_up(self, stock: Any) -> None:
        """Do what Django's `connect` does with a new connection, but for its signal."""
        stock.set_autocommit(self._settings["AUTOCOMMIT"])
        stock.init_connection_state()
        if not self._settings["AUTOCOMMIT"]:
            stock.connection.commit()

    def ping(self, connection: Connection, timeout: float) -> None:
        """See `Driver`."""
        if self._ping:
            super().ping(connection, timeout)
            return
        if not self._stock(connection.session.real).is_usable():
            raise ConnectionError("the connection is not usable any more")
        if not self._settings["AUTOCOMMIT"]:
            connection.rollback()

    def _restore(self, connection: Connection) -> None:
        super()._restore(connection)
        session = connection.session
        if session.switched:
            self._stock(session.real)._set_autocommit(self._settings["AUTOCOMMIT"])  # noqa: SLF001 - an engine's duty
            session.switched = False

    def _clear(self, connection: Connection) -> None:
        super()._clear(connection)
        self._set_up(self._stock(connection.session.real))


def _refuse_sqlite(engine: type[Any]) -> NoReturn:
    """Files need more than a driver that knows nothing of them.

    What a forked child writes is lost if the file was open at the fork, and nobody would look
    whether another file has taken its place.
    """
    raise ImproperlyConfigured(
        "EngineDriver does not pool SQLite files. Derive the engine from "
        f"carpool.sqlite3.base.DatabaseWrapper and {engine.__module__}.{engine.__qualname__}, with "
        f"`engine = {engine.__module__}.{engine.__qualname__}`: see docs/third-party-engines.md"
    )


def _name(vendor: str, settings: Mapping[str, Any]) -> str:
    user, host, port = (settings[each] for each in ("USER", "HOST", "PORT"))
    where = f"{host or 'local'}{f':{port}' if port else ''}"
    return f"{vendor}://{f'{user}@' if user else ''}{where}/{settings['NAME']}"


def pooled(
    engine: type[BaseDatabaseWrapper],
    driver: Callable[[Any], Driver[Any] | None] = EngineDriver,
) -> type[Any]:
    """Return the DatabaseWrapper of a third-party engine, with its connections from a pool.

    `driver` makes the `Driver` for a wrapper and its present settings; an `EngineDriver` rolls
    back what was left open. To have session state cleared as well:

        from functools import partial
        from carpool.engine import EngineDriver, pooled
        from some_engine.base import DatabaseWrapper as Engine

        DatabaseWrapper = pooled(Engine, driver=partial(EngineDriver, reset=["RESET ALL"]))

    Such lines in `myproject/some_engine/base.py` make the engine `myproject.some_engine`. The
    options are those of every engine here, in `OPTIONS["pool"]`. `EngineDriver` refuses SQLite
    files with ImproperlyConfigured; `carpool.sqlite3` takes them.
    """

    class DatabaseWrapper(Pooled, engine):  # type: ignore[valid-type, misc] # any engine
        engine: type[BaseDatabaseWrapper]  # what is pooled here

        def pool_driver(self) -> Driver[Any] | None:
            self.get_connection_params()  # engines keep some of them: isolation level and such
            in_memory = getattr(self, "is_in_memory_db", None)  # SQLite's, and of its like
            return None if in_memory and in_memory() else driver(self)

        def init_connection_state(self) -> None:
            """Set up a connection, unless the driver has done so when it opened it."""
            if self._lessor is not None and isinstance(self._lessor.driver, EngineDriver):
                BaseDatabaseWrapper.init_connection_state(self)
            else:
                super().init_connection_state()

    DatabaseWrapper.engine = engine
    DatabaseWrapper.__doc__ = engine.__doc__
    DatabaseWrapper.__qualname__ = "DatabaseWrapper"
    return DatabaseWrapper

"""The driver for psycopg 3 whose connections know the types of PostGIS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib.gis.db.backends.postgis.base import DatabaseWrapper as Stock

from carpool.postgresql.driver import PsycopgDriver

if TYPE_CHECKING:
    from carpool.postgresql.session import Connection


class Adapters:
    """Registers adapters as Django's wrapper does, but knows their types for one database.

    Django's knows them for an alias, in whatever database that is.
    """

    alias: ClassVar[str] = "the database"
    register: Any = Stock.register_geometry_adapters
    _register_type: Any = Stock._register_type  # type: ignore[attr-defined] # noqa: SLF001 - what `register` calls

    def __init__(self) -> None:
        self._type_infos: dict[str, dict[str, Any]] = {
            name: {}
            for name in Stock._type_infos  # type: ignore[attr-defined] # noqa: SLF001 - see above
        }

    @property
    def known(self) -> bool:
        """Whether the database was seen to have PostGIS."""
        return bool(self._type_infos["geometry"].get(self.alias))


class PostGISDriver(PsycopgDriver):
    """Opens connections that read and write geometries.

    The types' numbers are asked for once; in a database that does not have PostGIS yet, by every
    new connection.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._adapters = Adapters()

    def adapt(self, connection: Connection) -> None:
        """See `PsycopgDriver`."""
        if not self._adapters.known:
            self._adapters = Adapters()
        self._adapters.register(connection)

    def adapt_again(self, connection: Connection) -> None:
        """Teach a connection that the types have changed, and all that are opened from now on."""
        self._adapters = Adapters()
        self.adapt(connection)

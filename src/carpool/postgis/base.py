"""The Django engine `carpool.postgis`: GeoDjango's own, with its connections from the pool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib.gis.db.backends.postgis import base as stock
from django.db.backends.postgresql.psycopg_any import is_psycopg3

from carpool.postgresql import base as postgresql

if TYPE_CHECKING or is_psycopg3:
    from carpool.postgis.driver import PostGISDriver


class DatabaseWrapper(postgresql.DatabaseWrapper, stock.DatabaseWrapper):
    """Django's PostGIS wrapper on pooled connections. psycopg 2 needs nothing of what follows."""

    if TYPE_CHECKING or is_psycopg3:
        driver_class = PostGISDriver

        def register_geometry_adapters(
            self, pg_connection: Any, clear_caches: bool = False
        ) -> None:
            """Have a connection know the types; Django calls this when it has made the extension.

            The pool's other connections were opened before that: they are replaced.
            """
            pool = self._lessor
            if pool is None:
                super().register_geometry_adapters(pg_connection, clear_caches)
            else:
                driver: Any = pool.driver
                driver.adapt_again(pg_connection)
                pool.drain()

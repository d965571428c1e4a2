"""An engine that builds on Django's for SQLite, and what the documentation says to pool it."""

from django.db.backends.sqlite3.base import DatabaseWrapper as Stock


class Engine(Stock):
    """A third-party engine: it has something of its own on its connections and wrappers."""

    def get_new_connection(self, conn_params):
        connection = super().get_new_connection(conn_params)
        connection.create_function("third_party", 0, lambda: "yes")
        return connection

    def init_connection_state(self):
        super().init_connection_state()
        self.seen = True


from carpool.sqlite3 import base  # noqa: E402 - the recipe begins here


class DatabaseWrapper(base.DatabaseWrapper, Engine):
    engine = Engine

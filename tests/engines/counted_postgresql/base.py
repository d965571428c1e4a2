"""django-prometheus over `carpool.postgresql`."""

from functools import cache

from django_prometheus.db.common import DatabaseWrapperMixin, ExportingCursorWrapper

from carpool.postgresql import base

counting = cache(ExportingCursorWrapper)  # always the same class, so that all share one pool


class DatabaseWrapper(DatabaseWrapperMixin, base.DatabaseWrapper):
    def get_connection_params(self):
        params = super().get_connection_params()
        params["cursor_factory"] = counting(params["cursor_factory"], self.alias, self.vendor)
        return params

    def create_cursor(self, name=None):
        return base.DatabaseWrapper.create_cursor(self, name)

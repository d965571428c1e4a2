"""django-prometheus over `carpool.mysql`."""

from django.db.backends.mysql.base import CursorWrapper
from django_prometheus.db.common import DatabaseWrapperMixin, ExportingCursorWrapper

from carpool.mysql import base


class DatabaseWrapper(DatabaseWrapperMixin, base.DatabaseWrapper):
    def create_cursor(self, name=None):
        counting = ExportingCursorWrapper(CursorWrapper, self.alias, self.vendor)
        return counting(self.connection.cursor())

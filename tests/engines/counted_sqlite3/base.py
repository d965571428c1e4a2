"""django-prometheus over `carpool.sqlite3`."""

from django.db.backends.sqlite3.base import SQLiteCursorWrapper
from django_prometheus.db.common import DatabaseWrapperMixin

from carpool.sqlite3 import base


class DatabaseWrapper(DatabaseWrapperMixin, base.DatabaseWrapper):
    CURSOR_CLASS = SQLiteCursorWrapper

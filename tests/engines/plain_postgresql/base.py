"""The whole recipe, for an engine that shall only be rolled back."""

from django.db.backends.postgresql.base import DatabaseWrapper as Engine

from carpool import pooled

DatabaseWrapper = pooled(Engine)

"""django-prometheus under the pool: its own engine, by the recipe."""

from django_prometheus.db.backends.postgresql.base import DatabaseWrapper as Engine

from carpool import pooled

DatabaseWrapper = pooled(Engine)

"""`"carpool"` in INSTALLED_APPS: for `manage.py carpool`, and to have settings checked always."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import register


class CarpoolConfig(AppConfig):
    """Has no models."""

    name = "carpool"
    verbose_name = "Connection pools"

    def ready(self) -> None:
        """Have every `manage.py check` look at DATABASES, without connecting."""
        from carpool.checks import of_settings  # noqa: PLC0415 - it imports django.db

        register(of_settings)

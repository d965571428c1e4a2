"""`"carpool"` in INSTALLED_APPS: needed for `manage.py carpool`, and for nothing else."""

from __future__ import annotations

from django.apps import AppConfig


class CarpoolConfig(AppConfig):
    """Has no models."""

    name = "carpool"
    verbose_name = "Connection pools"

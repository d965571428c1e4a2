"""The app: a label of its own, as its name ends in a word that other apps may have too."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy


class WebConfig(AppConfig):
    """Has one model, without a table."""

    name = "carpool.web"
    label = "carpool_web"
    verbose_name = gettext_lazy("Connection pools")

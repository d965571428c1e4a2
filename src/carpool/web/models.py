"""What the admin needs to list the page and Django to have permissions for it; no table."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy


class Nothing(models.Manager["Pool"]):
    """Finds no rows without asking: `dumpdata` visits every model, also those without a table."""

    def get_queryset(self) -> models.QuerySet[Pool]:
        """Return no rows."""
        return super().get_queryset().none()


class Pool(models.Model):
    """A pool by its name. The admin's log refers to it so."""

    name: models.CharField[str, str] = models.CharField(max_length=200, primary_key=True)

    objects = Nothing()

    class Meta:
        """Two permissions, and no table."""

        managed = False
        base_manager_name = "objects"
        default_permissions = ("view", "change")
        verbose_name = gettext_lazy("pool")
        verbose_name_plural = gettext_lazy("pools")

    def __str__(self) -> str:
        return self.name

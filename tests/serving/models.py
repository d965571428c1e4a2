"""The tables of the site; `shown.py` makes them."""

from django.db import models


class Token(models.Model):
    text = models.TextField()

    class Meta:
        app_label = "serving"
        db_table = "token"

    def __str__(self):
        return self.text


class Gate(models.Model):
    """One row: a test that holds it locked sees who comes, and lets them pass."""

    class Meta:
        app_label = "serving"
        db_table = "gate"

    def __str__(self):
        return "the gate"

"""What each tenant has for itself."""

from django.db import models


class Item(models.Model):
    owner = models.TextField()

    def __str__(self):
        return self.owner

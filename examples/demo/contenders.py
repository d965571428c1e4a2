"""The three ways of connecting that are compared: what differs is these settings alone."""

from dataclasses import dataclass

DJANGO = "django.db.backends.postgresql"


@dataclass(frozen=True)
class Contender:
    title: str
    engine: str
    max_age: int = 0

    def environment(self, database):
        """Return what the settings of the shop read; `database` is an entry of DATABASES."""
        entry = {f"SHOP_DB_{key}": str(value) for key, value in database.items()}
        return entry | {
            "DJANGO_SETTINGS_MODULE": "examples.shop.settings",
            "SHOP_ENGINE": self.engine,
            "SHOP_CONN_MAX_AGE": str(self.max_age),
        }


STOCK = Contender("stock Django", DJANGO)
PERSISTENT = Contender("persistent", DJANGO, max_age=600)
CARPOOL = Contender("carpool", "carpool.postgresql")
CONTENDERS = (STOCK, PERSISTENT, CARPOOL)

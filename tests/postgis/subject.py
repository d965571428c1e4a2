"""PostGIS for the conformance suite."""

import os

import django

from tests.postgresql.subject import Psycopg


class PostGIS(Psycopg):
    engine = "carpool.postgis" if Psycopg.engine else None
    fixture, own_fixture = "postgis", None  # its server is one of PostgreSQL's
    driver_path = "tests.postgis.subject:make_driver"


def make_driver(**params):
    """Return the driver, also in a program that has not set Django up: GeoDjango wants that."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    from carpool.postgis.driver import PostGISDriver  # noqa: PLC0415 - see above

    return PostGISDriver(**params)

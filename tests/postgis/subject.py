"""PostGIS for the conformance suite."""

from tests.postgresql.subject import Psycopg


class PostGIS(Psycopg):
    engine = "carpool.postgis" if Psycopg.engine else None
    fixture, own_fixture = "postgis", None  # its server is one of PostgreSQL's
    driver_path = "carpool.postgis.driver:PostGISDriver"

"""PostgreSQL for the conformance suite, with psycopg 3 and psycopg 2."""

from typing import ClassVar

from django.db.backends.postgresql.psycopg_any import is_psycopg3
from psycopg.rows import dict_row
from psycopg2.extensions import ISOLATION_LEVEL_SERIALIZABLE

from tests.conformance.subject import Leak, ServerSubject
from tests.postgresql.test_leaks import LEAKS, SPOIL


class Psycopg(ServerSubject):
    engine = "carpool.postgresql" if is_psycopg3 else None
    fixture, own_fixture = "postgres", "own_postgres"
    attribute = ("row_factory", dict_row)
    own_session = "SELECT pg_backend_pid()"
    driver_path = "carpool.postgresql.driver:PsycopgDriver"
    leaks: ClassVar = {name: Leak(*leak) for name, leak in LEAKS.items()}

    def __init__(self, database):
        super().__init__(database)
        database.query(SPOIL)

    def recipe(self):
        return self.driver_path, self.database.params | {"autocommit": True}


class Psycopg2(Psycopg):
    attribute = ("isolation_level", ISOLATION_LEVEL_SERIALIZABLE)
    engine = None if is_psycopg3 else "carpool.postgresql"
    driver_path = "carpool.postgresql.psycopg2:Psycopg2Driver"

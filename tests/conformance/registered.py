"""The databases that the suite runs for: to register one is all that it takes."""

import importlib

SUBJECTS = {
    "psycopg": "tests.postgresql.subject:Psycopg",
    "psycopg2": "tests.postgresql.subject:Psycopg2",
    "postgis": "tests.postgis.subject:PostGIS",
    "mysqlclient": "tests.mysql.subject:Mysqlclient",
    "pymysql": "tests.mysql.subject:PyMySQL",
    "sqlite3": "tests.sqlite3.subject:SQLite",
    "psycopg-host": "tests.conformance.host:PsycopgOfTheHost",
    "mysqlclient-host": "tests.conformance.host:MysqlclientOfTheHost",
}


def subject_class(name):
    """Return the `Subject` registered under a name."""
    module, _, attribute = SUBJECTS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)

"""How tests ask a PostgreSQL about its sessions."""

from tests.probing import value


def pid_of(connection):
    return value(connection, "SELECT pg_backend_pid()")

"""How tests ask a MariaDB about its sessions; the rest is as in tests/probing.py."""

from tests.probing import value


def id_of(connection):
    return value(connection, "SELECT connection_id()")

"""Connection parameters of MySQL's drivers, and the statements a session is set up with."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

CONNECT_TIMEOUT = 10  # seconds after which a server that does not answer counts as down
ALIASES = {"db": "database", "passwd": "password"}  # mysqlclient's old names, and PyMySQL's
_MARIADB = re.compile(r"(\d+)\.(\d+)\.\d+-MariaDB", re.IGNORECASE)


def canonical(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters under their present names."""
    return {ALIASES.get(name, name): value for name, value in params.items()}


def quoted(value: object) -> str:
    r"""Return a value for a SET statement, whatever the sql_mode in which it is read.

    >>> quoted(1), quoted("STRICT_ALL_TABLES"), quoted("it's")
    ('1', "'STRICT_ALL_TABLES'", "'it''s'")
    """
    if isinstance(value, int):
        return str(int(value))
    text = str(value)
    if "\\" in text:
        raise ValueError(f"no backslash may be in the value of a session variable: {text!r}")
    return "'" + text.replace("'", "''") + "'"


@dataclass(frozen=True)
class SetUp:
    """What a session begins with, and again after a reset; `variables` by their SQL names."""

    autocommit: bool | None = False  # None: as the server has it
    isolation_level: str | None = None
    collation: str | None = None
    init_command: str | None = None
    variables: dict[str, object] = field(default_factory=dict)

    @classmethod
    def taken_from(cls, params: dict[str, Any], settings: Mapping[str, object]) -> SetUp:
        """Take out of connection parameters what is done by statements."""
        sql_mode = params.pop("sql_mode", None)
        return cls(
            autocommit=params.pop("autocommit", False),
            isolation_level=params.pop("isolation_level", None),
            collation=params.pop("collation", None),
            init_command=params.pop("init_command", None),
            variables={**settings, **({"sql_mode": sql_mode} if sql_mode else {})},
        )

    def statements(self, charset: str, server: str) -> list[str]:
        """Return the statements for a server of that version; one, and the `init_command`.

        >>> SetUp(autocommit=True, isolation_level="read committed").statements("utf8mb4", "8.0.36")
        ["SET NAMES utf8mb4, autocommit=1, transaction_isolation='READ-COMMITTED'"]
        """
        wanted = dict(self.variables)
        if self.isolation_level:
            level = self.isolation_level.upper().replace(" ", "-")
            wanted[isolation_variable(server)] = level
        if self.autocommit is not None:
            wanted = {"autocommit": bool(self.autocommit), **wanted}
        names = f"NAMES {charset}" + (f" COLLATE {self.collation}" if self.collation else "")
        assignments = [f"{name}={quoted(value)}" for name, value in wanted.items()]
        first = [self.init_command] if self.init_command else []
        return [*first, "SET " + ", ".join([names, *assignments])]


def isolation_variable(server: str) -> str:
    """Return the name under which a server's version knows the isolation level.

    >>> isolation_variable("10.11.6-MariaDB"), isolation_variable("11.4.2-MariaDB")
    ('tx_isolation', 'transaction_isolation')
    """
    mariadb = _MARIADB.search(server)
    if mariadb and (int(mariadb[1]), int(mariadb[2])) < (11, 1):
        return "tx_isolation"
    return "transaction_isolation"


def database_name(params: Mapping[str, Any]) -> str:
    """Name a database and who connects to it; nothing secret.

    >>> database_name({"host": "db", "user": "shop", "password": "x", "database": "shop"})
    'mysql://shop@db/shop'
    """
    user, host, port = (params.get(each) for each in ("user", "host", "port"))
    local = params.get("unix_socket") or not host
    where = "local" if local else f"{host}{f':{port}' if port else ''}"
    return f"mysql://{f'{user}@' if user else ''}{where}/{params.get('database') or ''}"

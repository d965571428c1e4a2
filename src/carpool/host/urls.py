"""How any client gets a connection out of a pool."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from carpool.host import places

if TYPE_CHECKING:
    from collections.abc import Mapping


def command_for(pool: Mapping[str, Any]) -> str:
    """Return psql's URL of a pool, as its status describes it, or the command line of `mysql`."""
    database, user = pool.get("database") or "", pool.get("user") or ""
    if pool["kind"] == "postgresql":
        return postgresql(pool["path"], database, user)
    return mysql(pool["path"], database, user)


def postgresql(directory: str, database: str, user: str) -> str:
    """Return a URL for libpq, which takes a directory for a host.

    https://www.postgresql.org/docs/current/libpq-connect.html

    >>> postgresql("/run/user/1000/carpool/0.1.0/3f2a", "shop", "me")
    'postgresql:///shop?host=/run/user/1000/carpool/0.1.0/3f2a&user=me'
    """
    user = f"&user={quote(user)}" if user else ""
    return f"postgresql:///{quote(database, safe='')}?host={quote(directory)}{user}"


def mysql(directory: str, database: str, user: str) -> str:
    """Return a command line, quoted for a shell.

    >>> mysql("/run/user/1000/carpool/0.1.0/3f2a", "shop", "me")
    'mysql --socket=/run/user/1000/carpool/0.1.0/3f2a/mysql.sock --user=me shop'
    """
    words = ["mysql", f"--socket={directory}/{places.MYSQL_SOCKET}"]
    if user:
        words.append(f"--user={user}")
    if database:
        words.append(database)
    return shlex.join(words)

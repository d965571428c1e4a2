"""Connection parameters of libpq: what both drivers do with them."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

# Seconds. A server that does not answer is known to be down after ten; an idle connection that is
# cut off silently is noticed within about two minutes.
PATIENCE = {
    "connect_timeout": 10,
    "keepalives_idle": 60,
    "keepalives_interval": 15,
    "keepalives_count": 4,
}


def startup_options(settings: Mapping[str, str], options: str | None) -> str:
    """Add settings to libpq's `options`, so that they are defaults which every reset restores.

    >>> startup_options({"TimeZone": "UTC"}, "-c work_mem=8MB")
    '-c work_mem=8MB -c TimeZone=UTC'
    """
    given = os.environ.get("PGOPTIONS", "") if options is None else options
    # https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNECT-OPTIONS
    escaped = {name: re.sub(r"([\\\s])", r"\\\1", value) for name, value in settings.items()}
    return " ".join([given, *(f"-c {name}={value}" for name, value in escaped.items())]).strip()


def patience(parts: Mapping[str, Any]) -> dict[str, int]:
    """Return the parameters that bound waiting, those that the user has not set."""
    unset = {name: value for name, value in PATIENCE.items() if name not in parts}
    if "PGCONNECT_TIMEOUT" in os.environ:
        unset.pop("connect_timeout", None)
    return unset


def set_config(name: str, value: str) -> bytes:
    """Return the statement that does the same when a session has begun.

    >>> set_config("role", "o'neil")
    b"SELECT pg_catalog.set_config('role', 'o''neil', false)"
    """
    quoted = value.replace("'", "''")
    return f"SELECT pg_catalog.set_config('{name}', '{quoted}', false)".encode()


def uses_service(parts: Mapping[str, Any]) -> bool:
    """Tell whether libpq takes parameters from a service file."""
    return bool(parts.get("service") or os.environ.get("PGSERVICE"))


def database_name(parts: Mapping[str, Any]) -> str:
    """Name a database and who connects to it; nothing secret.

    >>> database_name({"host": "db", "user": "shop", "password": "x", "dbname": "shop"})
    'postgresql://shop@db/shop'
    """
    user, host, port = (parts.get(each) for each in ("user", "host", "port"))
    where = f"{host or 'local'}{f':{port}' if port else ''}"
    name = parts.get("dbname") or parts.get("service") or ""
    return f"postgresql://{f'{user}@' if user else ''}{where}/{name}"

"""What libpq would log in with from here, so that another process can do the same."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg import pq
from psycopg.conninfo import make_conninfo

from carpool.host.handoff import NotShareable
from carpool.postgresql.params import patience, startup_options

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Arguments of `psycopg.connect` that change the object, not what the server is told.
CLIENT_SIDE: Final = ("autocommit", "context", "cursor_factory", "prepare_threshold", "row_factory")

#: Parameters that must not be shown.
SECRET: Final = frozenset(
    {"password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key"}
)

FILES: Final = ("passfile", "sslcert", "sslkey", "sslrootcert", "sslcrl", "sslcrldir")

# Where libpq looks if it is not told; it takes the home folder from the environment.
# https://www.postgresql.org/docs/current/libpq-ssl.html#LIBPQ-SSL-FILE-USAGE
IN_THE_HOME: Final = {
    "sslcert": "~/.postgresql/postgresql.crt",
    "sslkey": "~/.postgresql/postgresql.key",
    "sslrootcert": "~/.postgresql/root.crt",
    "sslcrl": "~/.postgresql/root.crl",
}

# Settings that libpq takes from the environment, and sends so that they win over `options`.
# https://www.postgresql.org/docs/current/libpq-envars.html
SENT_FROM_ENVIRONMENT: Final = {"PGDATESTYLE": "DateStyle", "PGTZ": "TimeZone", "PGGEQO": "geqo"}


def shareable_login(
    conninfo: str, params: Mapping[str, Any], settings: Mapping[str, str]
) -> dict[str, Any]:
    """Return all that libpq would use here, defaults and environment included; texts only.

    `settings` are the session's, beside `options`. Raises NotShareable, and psycopg's errors for
    parameters that libpq refuses.
    """
    if params.get("prepare_threshold", 5) is not None:
        raise NotShareable(
            "prepared statements belong to one server connection, and a shared one changes hands "
            "between processes: set prepare_threshold to None (the default in Django)"
        )
    sent = {name: value for name, value in params.items() if name not in CLIENT_SIDE}
    login = resolve(make_conninfo(conninfo, **sent))
    refuse_what_cannot_be_shared(login)
    login |= files(login)
    options = startup_options({**settings, **from_environment()}, login.get("options", ""))
    login |= {name: str(value) for name, value in patience(login).items()}
    return login | {"gssencmode": "disable"} | ({"options": options} if options else {})


def resolve(conninfo: str) -> dict[str, str]:
    """Have libpq complete parameters from its defaults, the environment and the service file.

    libpq tells what it has found only of a connection, and completes the parameters before it
    looks at any of them: one that makes no sense keeps it from connecting, and another time
    another one.
    """
    found = _completed(conninfo, "target_session_attrs")
    return found | {
        name: value
        for name, value in _completed(conninfo, "sslmode").items()
        if name == "target_session_attrs"
    }


def _completed(conninfo: str, spoilt: str) -> dict[str, str]:
    pgconn = pq.PGconn.connect_start(make_conninfo(conninfo, **{spoilt: "?"}).encode())
    try:
        found = {each.keyword.decode(): each.val.decode() for each in pgconn.info if each.val}
        if spoilt not in found:
            raise psycopg.OperationalError(pgconn.error_message.decode(errors="replace").strip())
    finally:
        pgconn.finish()
    del found[spoilt]
    found.pop("service", None)  # what it stands for is all there
    return found


def refuse_what_cannot_be_shared(login: Mapping[str, str]) -> None:
    """Raise NotShareable for parameters that tie a connection to the process that made it."""
    if login.get("gssencmode") == "require":
        raise NotShareable(
            "GSSAPI encryption lives in the process that logged in: use TLS (sslmode) instead of "
            "gssencmode=require"
        )
    if login.get("client_encoding") == "auto":
        raise NotShareable(
            "client_encoding=auto asks each process' locale: name the encoding, such as UTF8"
        )
    if "replication" in login:
        raise NotShareable("a replication connection is no session to be shared: drop replication")
    if "oauth_issuer" in login:
        raise NotShareable(
            "a login by OAuth may ask somebody at a terminal, and the broker has none: use another "
            "way to log in"
        )


def files(login: Mapping[str, str]) -> dict[str, str]:
    """Return the paths of files, absolute, and of those that libpq would find by itself."""
    at_home = {name: os.path.expanduser(path) for name, path in IN_THE_HOME.items()}  # noqa: PTH111 - a path for libpq
    used = {name: path for name, path in at_home.items() if os.path.exists(path)}  # noqa: PTH110 - the same
    return used | {name: _absolute(login[name]) for name in FILES if name in login}


def _absolute(path: str) -> str:
    """Make a path absolute, but not the word `system` nor the name of a key in some device."""
    return path if path == "system" or ":" in path else os.path.abspath(path)  # noqa: PTH100 - a path for libpq


def from_environment() -> dict[str, str]:
    """Return the settings that libpq sends because of the environment."""
    given = {name: os.environ.get(variable) for variable, name in SENT_FROM_ENVIRONMENT.items()}
    return {name: value for name, value in given.items() if value and value.lower() != "default"}

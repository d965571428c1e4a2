"""What the servers themselves say of the sessions that there are and may be."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from carpool.driver import Limits

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from carpool.driver import Driver
    from carpool.options import Options

__all__ = ["Answer", "Limits", "address", "asked", "visit"]
PATIENCE = 1.0  # seconds that closing waits for the server to end the session
USUAL_PORTS = {"postgresql": "5432", "mysql": "3306", "oracle": "1521"}
LOCAL = {"", "local", "localhost", "127.0.0.1", "::1", "[::1]"}


class Answer(Limits):
    """What the server of a project's pool says, and which it is."""

    login: str = ""  # the driver's name: who connects to which database, where

    @property
    def address(self) -> str:
        """The server's: pools of one address share what it has room for. "": not known."""
        return address(self.login)


def address(login: str) -> str:
    """Return which server a driver connects to, from its name; "" if that does not tell.

    >>> address("postgresql://shop@db.internal:5432/shop"), address("mysql://root@localhost/shop")
    ('postgresql://db.internal', 'mysql://local')
    """
    kind, separator, rest = login.partition("://")
    place = rest.rpartition("/")[0].rpartition("@")[2].lower()
    host, _, port = place.rpartition(":")
    if place in LOCAL or not port.isdigit():
        host, port = place, ""
    if not separator:
        return ""
    port = "" if port == USUAL_PORTS.get(kind, "") else port
    return f"{kind}://{'local' if host in LOCAL else host}{f':{port}' if port else ''}"


@contextmanager
def visit(driver: Driver[Any], overrides: Mapping[str, Any]) -> Iterator[Any]:
    """Open a session of a driver's for a question; raises as `Driver.connect`."""
    connection = driver.connect(overrides)
    try:
        yield connection
    finally:
        driver.close(connection, PATIENCE)


def asked(driver: Driver[Any], options: Options) -> Answer | None:
    """Ask the server of a pool with these options; raises as `Driver.limits`."""
    fresh = options.credentials() if options.credentials else {}
    said = driver.limits({"password": fresh} if isinstance(fresh, str) else fresh)
    if said is None:
        return None
    answer = Answer(*said)
    answer.login = driver.name
    return answer

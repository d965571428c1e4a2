"""What the servers themselves say of the sessions that there are and may be."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from carpool.driver import Limits

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from carpool.driver import Driver
    from carpool.options import Options

__all__ = ["Limits", "asked", "visit"]
PATIENCE = 1.0  # seconds that closing waits for the server to end the session


@contextmanager
def visit(driver: Driver[Any], overrides: Mapping[str, Any]) -> Iterator[Any]:
    """Open a session of a driver's for a question; raises as `Driver.connect`."""
    connection = driver.connect(overrides)
    try:
        yield connection
    finally:
        driver.close(connection, PATIENCE)


def asked(driver: Driver[Any], options: Options) -> Limits | None:
    """Ask the server of a pool with these options; raises as `Driver.limits`."""
    fresh = options.credentials() if options.credentials else {}
    return driver.limits({"password": fresh} if isinstance(fresh, str) else fresh)

"""What the servers of some pools say of their sessions, asked all at once."""

from __future__ import annotations

from threading import Thread
from time import monotonic
from typing import TYPE_CHECKING, Any

from carpool.telemetry import limits

if TYPE_CHECKING:
    from collections.abc import Iterable

    from carpool.driver import Driver, Limits
    from carpool.options import Options

PATIENCE = 5.0  # seconds; a probe must not hang on a server that does


def ask(
    drivers: Iterable[tuple[Driver[Any] | None, Options]], only: str | None = None
) -> dict[str, Limits | str]:
    """Return by pool what its server says, or why it says nothing; of one pool with `only`.

    What has no server (SQLite) is left out.
    """
    found: dict[str, Limits | str | None] = {}
    asking = []
    for driver, options in drivers:
        name = driver and (options.name or driver.name)
        if driver and name and name not in found and only in (None, name):
            found[name] = f"no answer within {PATIENCE:g} s"
            # A daemon: the driver may wait far longer, and this program ends before.
            asking.append(Thread(target=_ask, args=(found, name, driver, options), daemon=True))
            asking[-1].start()
    deadline = monotonic() + PATIENCE
    for each in asking:
        each.join(max(0, deadline - monotonic()))
    return {name: said for name, said in found.items() if said is not None}


def _ask(
    found: dict[str, Limits | str | None], name: str, driver: Driver[Any], options: Options
) -> None:
    try:
        found[name] = limits.asked(driver, options)
    except Exception as error:  # noqa: BLE001 - also the user's function of credentials may fail
        found[name] = " ".join(str(error).split()) or type(error).__name__

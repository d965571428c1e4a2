"""Where a pool of this process lives: the broker that serves it, found or started."""

from __future__ import annotations

import os
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

from carpool import __version__
from carpool.host import control, places, start, table
from carpool.host.handoff import OPTIONS
from carpool.host.shell import error_of

if TYPE_CHECKING:
    from carpool.host.handoff import Handoff
    from carpool.options import Options


class Home(NamedTuple):
    """What one broker has answered."""

    pool: str  # its id there
    path: str  # where shells connect
    words: memoryview  # the lease table


def find(driver: Handoff[Any], options: Options, login: dict[str, Any], patience: float) -> Home:
    """Ask the broker for a pool; starts the broker if there is none.

    Takes `patience` seconds at most. Raises `carpool.PoolError`, or what logging in to the server
    raises.
    """
    deadline = monotonic() + patience
    while True:
        try:
            return _ask(driver, options, login, deadline - monotonic())
        except ConnectionError:  # it has ended meanwhile: there will be another
            if monotonic() > deadline:
                raise


def _ask(driver: Handoff[Any], options: Options, login: dict[str, Any], patience: float) -> Home:
    place = places.find(options.broker_dir)
    request = {
        "version": __version__,
        "want": "pool",
        "kind": driver.kind,
        "login": login,
        "options": {name: getattr(options, name) for name in OPTIONS},
    }
    with start.connect(place, options.broker_linger, patience) as connection:
        answer, descriptors = control.ask_with_descriptors(connection, request, patience)
    try:
        if not answer.get("ok"):
            raise error_of(driver, answer["error"]["class"], answer["error"]["args"])
        return Home(answer["pool"], answer["path"], table.attach(descriptors[0]))
    finally:
        for each in descriptors:
            os.close(each)


def command(options: Options, want: str, home: Home) -> dict[str, Any]:
    """Have the broker do something with a pool. Raises OSError, ValueError."""
    request = {"version": __version__, "want": want, "pool": home.pool}
    return control.ask(places.find(options.broker_dir), request, 10.0)

"""Brokers of carpool (`share: host`) that are nobody else's: a directory, and their end."""

from __future__ import annotations

import shutil
import tempfile
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from carpool import __version__
from carpool.errors import PoolError
from carpool.host import control, lock, places
from carpool.telemetry.publisher import publish

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 60.0  # seconds that a broker may take to end


@contextmanager
def broker_directory() -> Iterator[str]:
    """Yield a directory for a broker, in a path as short as sockets want it; ends what is there."""
    directory = tempfile.mkdtemp(prefix="carpool-")
    try:
        yield directory
        end_broker(directory)
    finally:
        take_leave()
        shutil.rmtree(directory)


def take_leave() -> None:
    """Have this process write of its closed pools now, and not while their files are removed."""
    with suppress(OSError, PoolError):
        publish()


def end_broker(directory: str) -> None:
    """Have the broker end, if there is one; returns when it is gone. Raises TimeoutError."""
    place = places.find(directory)
    if lock.holder(place) is None:
        return
    control.ask(place, {"version": __version__, "want": "stop"}, PATIENCE)
    deadline = time.monotonic() + PATIENCE
    while (pid := lock.holder(place)) is not None:  # held by the kernel for the process' life
        if time.monotonic() > deadline:
            raise TimeoutError(f"the broker with pid {pid} does not end; see {place.log}")
        time.sleep(0.01)

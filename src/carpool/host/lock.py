"""The lock that makes one process the broker: held by the kernel, it ends with the process."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import TYPE_CHECKING

from carpool.host import start
from carpool.host.places import NoBroker

if TYPE_CHECKING:
    from carpool.host.places import Place

PATIENCE = 10.0  # seconds for a broker that is ending to let go


class Taken(NoBroker):
    """Another broker is at work already."""


def take(place: Place, *, activated: bool) -> None:
    """Take the lock for as long as this process lives; a broker that is ending is waited for.

    `activated`: the control socket is systemd's, so that somebody listens there says nothing.
    Raises `Taken`, or `NoBroker` for one that neither answers nor ends.
    """
    lock = os.open(place.lock, os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + PATIENCE
    while not _locked(lock, fcntl.LOCK_EX):
        if not activated and (connection := start.reach(place, deadline)):
            connection.close()
            raise Taken(f"{_named(lock)} is at work in {place.folder} already")
        if time.monotonic() > deadline:
            raise NoBroker(f"{_named(lock)} holds {place.lock}, but cannot be reached; end it")
        time.sleep(start.PAUSE)
    os.truncate(lock, 0)
    os.write(lock, f"{os.getpid()}\n".encode())
    # tmpfiles.d(5): with a lock on a directory, what is in it is not cleaned up for being old.
    with contextlib.suppress(OSError):
        _locked(os.open(place.folder, os.O_RDONLY), fcntl.LOCK_SH)


def holder(place: Place) -> int | None:
    """Return the pid of the broker that has the lock; None if nobody has."""
    try:
        lock = os.open(place.lock, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        return None if _locked(lock, fcntl.LOCK_SH) else int(_written(lock) or 0)
    finally:
        os.close(lock)


def _locked(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _written(lock: int) -> bytes:
    return os.pread(lock, 20, 0).strip()


def _named(lock: int) -> str:
    return f"The broker with pid {_written(lock).decode(errors='replace')}"

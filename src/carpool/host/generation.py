"""The lease table and lock files of one broker, for one pool; and what is left of earlier ones."""

from __future__ import annotations

import fcntl
import os
import shutil
import weakref
from itertools import count
from typing import TYPE_CHECKING, Any

from carpool.host import decide, table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_TETHER = ".tether"


class Generation:
    """A directory beside those of earlier brokers, whose connections may not have ended yet.

    Where a broker has been killed, processes go on with what they have and end it then. Until then
    those connections count; their tethers tell how many they are.
    """

    def __init__(self, pool_directory: Path, capacity: int, above: int = 0) -> None:
        # Above one whose files may be gone already: who lets go of that late takes them along.
        there = (int(each.name) for each in _generations(pool_directory))
        self.number = 1 + max([above, *there])
        self.directory = pool_directory / str(self.number)
        self.directory.mkdir(mode=0o700)
        self.descriptor, self.words = table.create(
            self.directory / "table", max(capacity, table.CAPACITY), decide.QUANTUM
        )

    def lock_file(self, slot: int) -> Path:
        """Return the path of a slot's lock file."""
        return self.directory / f"{slot}.lock"

    def foreign(self) -> int:
        """Count the connections that earlier brokers have left, and clear away the rest.

        Raises OSError, such as where this process has as many open files as it may have.
        """
        count = 0
        for each in _generations(self.directory.parent):
            if each != self.directory:
                # Not `glob`, which finds nothing where it cannot look.
                tethers = [each / name for name in os.listdir(each) if name.endswith(_TETHER)]  # noqa: PTH208 - names
                held = sum(map(_is_locked, tethers))
                count += held
                if not held:
                    shutil.rmtree(each, ignore_errors=True)
        return count

    def tether_file(self, number: int) -> Path:
        """Return the path of a connection's tether."""
        return self.directory / f"{number}{_TETHER}"

    def close(self, *, in_use: bool) -> None:
        """Let go of the table; the files stay for the next broker where some are in use."""
        os.close(self.descriptor)
        if not in_use:
            shutil.rmtree(self.directory, ignore_errors=True)


class Tethers:
    """A locked file for each server connection, of which one open file description goes along.

    Whoever has a copy of the socket has one of the tether, and lets go of that last: so its lock is
    free when no copy is left anywhere, also with a process that is robbed and has not noticed.
    """

    def __init__(self, generation: Generation) -> None:
        self._generation = generation
        self._numbers = count()
        self._known: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()

    def of(self, connection: Any) -> int:
        """Return the descriptor of a connection's tether. Raises OSError."""
        descriptor = self._known.get(connection)
        if descriptor is None:
            path = self._generation.tether_file(next(self._numbers))
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            self._known[connection] = descriptor
            weakref.finalize(connection, _cut, descriptor, path).atexit = False
        return descriptor


def _cut(descriptor: int, path: Path) -> None:
    os.close(descriptor)
    path.unlink(missing_ok=True)


def _generations(pool_directory: Path) -> Iterator[Path]:
    return (each for each in pool_directory.iterdir() if each.name.isdigit())


def _is_locked(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError:  # it cannot be told, so it counts
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False

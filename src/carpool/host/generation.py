"""The lease table and lock files of one broker, for one pool; and what is left of earlier ones."""

from __future__ import annotations

import fcntl
import os
import shutil
from typing import TYPE_CHECKING

from carpool.host import decide, table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Generation:
    """A directory beside those of earlier brokers, whose connections may still be in use.

    Where a broker has been killed, processes go on with what they have and end it then. Until then
    those connections count, and the locks of their slots tell which they are.
    """

    def __init__(self, pool_directory: Path, capacity: int) -> None:
        number = 1 + max((int(each.name) for each in _generations(pool_directory)), default=0)
        self.directory = pool_directory / str(number)
        self.directory.mkdir(mode=0o700)
        self.descriptor, self.words = table.create(
            self.directory / "table", max(capacity, table.CAPACITY), decide.QUANTUM
        )

    def lock_file(self, slot: int) -> Path:
        """Return the path of a slot's lock file."""
        return self.directory / f"{slot}.lock"

    def foreign(self) -> int:
        """Count the connections of earlier brokers that are in use, and clear away the rest."""
        count = 0
        for each in _generations(self.directory.parent):
            if each != self.directory:
                held = sum(map(_is_locked, each.glob("*.lock")))
                count += held
                if not held:
                    shutil.rmtree(each, ignore_errors=True)
        return count

    def close(self, *, in_use: bool) -> None:
        """Let go of the table; the files stay for the next broker where some are in use."""
        os.close(self.descriptor)
        if not in_use:
            shutil.rmtree(self.directory, ignore_errors=True)


def _generations(pool_directory: Path) -> Iterator[Path]:
    return (each for each in pool_directory.iterdir() if each.name.isdigit())


def _is_locked(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False

"""The lease table: what the broker and the processes it lends to tell each other without a message.

Each server connection of a pool has a slot, which is a few words in shared memory and a lock file.
Whoever holds the lock (`flock`, which belongs to an open file description) has the connection: the
broker, or the process that uses it. Where nobody holds it, the connection is idle at the process
that had it last, its owner, which may take it again without a word; and the broker may take it away
for another.

- The broker lends by sending its own locked description, and keeps no copy of that.
- It writes `WAITING` first and tries the locks then; who gives back unlocks first and reads
  `WAITING` then. So one of the two sees the other.
- The kernel frees the locks of a process that dies; `USE` tells whether it died in the middle.

Who may write a slot's words: whoever holds its lock; `OWNER` and `WANTED` the broker alone. A word
is written and read in one piece, and a system call stands between any two whose order matters.
"""

from __future__ import annotations

import mmap
import os
from time import monotonic_ns
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_WORD: Final = 8  # bytes
_LINE: Final = 8  # words: a slot is as long as a line of the processor's cache

# The table's first line.
FORMAT, SLOTS, WAITING, QUANTUM, BROKER = range(5)
# A slot's line.
OWNER = 0  # the number of the lease, 0: at the broker
USE = 1  # see below
GRANTED = 2  # when it was lent, in nanoseconds of the system's monotonic clock
RELEASED = 3  # when its owner last gave it back
WANTED = 4  # the broker wants it back at the next opportunity
LEASES = 5  # how often it has been acquired
TRACES = 6  # the session has been set up in a way that a reset wipes
PINNED = 7  # its lease outlasts its statement

IDLE, USED, ON_ITS_WAY = 0, 1, 2  # what USE says

_FORMAT = 1
COUNTS = 32  # bits of a lease's number that count; those above are BROKER, each broker's own
CAPACITY = 1024  # slots, at least


def line(slot: int) -> int:
    """Return the index of a slot's first word."""
    return (slot + 1) * _LINE


def create(path: Path, slots: int, quantum: int) -> tuple[int, memoryview]:
    """Make a table; returns its descriptor and its words. `quantum` in nanoseconds.

    Raises OSError, such as for a full disk.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        size = line(slots) * _WORD
        # Written out, not a hole: a full disk would otherwise kill whoever writes there later.
        os.write(descriptor, bytes(size))
        words = _map(descriptor, size)
    except BaseException:
        os.close(descriptor)
        raise
    words[FORMAT], words[SLOTS], words[QUANTUM] = _FORMAT, slots, quantum
    words[BROKER] = int.from_bytes(os.urandom(3)) + 1
    return descriptor, words


def attach(descriptor: int) -> memoryview:
    """Return the words of a table that another process has made. Raises ValueError, OSError."""
    words = _map(descriptor, os.fstat(descriptor).st_size)
    if len(words) < _LINE or words[FORMAT] != _FORMAT or len(words) < line(words[SLOTS]):
        raise ValueError("this is no lease table of this version")
    return words


def _map(descriptor: int, size: int) -> memoryview:
    return memoryview(mmap.mmap(descriptor, size)).cast("Q")


def clock() -> int:
    """Return the time that all processes of this machine agree on, in nanoseconds."""
    return monotonic_ns()

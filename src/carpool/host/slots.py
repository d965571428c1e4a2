"""A slot: a server connection that can be lent, as the broker sees it."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING, Any, Protocol

from carpool.host import table

if TYPE_CHECKING:
    from pathlib import Path

    from carpool.host.supply import Arrival


class Borrower(Protocol):
    """Who may be lent a connection."""

    pid: int  # 0: not known
    cleans: bool  # it resets a session that others have set up for themselves

    def lend(self, slot: Slot, lease: int) -> bool:
        """Take a connection over; False: it is gone."""

    def refuse(self, error: BaseException) -> None:
        """Hear that there will be none."""


class Slot:
    """One place in the lease table, with its lock file. Used by the broker's loop alone.

    `lock` is the broker's own open file description of the lock file: `held` tells whether the
    lock is taken through it. To lend is to send it away.
    """

    def __init__(self, number: int, path: Path, words: memoryview) -> None:
        self.number = number
        self.line = table.line(number)
        self.words = words
        self.connection: Any = None
        self.socket = self.tether = -1  # see `generation.Tethers`
        self.server_id = 0
        self.borrower: Borrower | None = None
        self.barred = 0  # cancels under way: it may be lent to nobody before they are over
        self.held = False
        self._path = path
        self.lock = self._open()
        self._fresh = -1  # the next description, while this one is being sent

    def _open(self) -> int:
        return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def get(self, word: int) -> int:
        """Read a word."""
        value: int = self.words[self.line + word]
        return value

    def put(self, word: int, value: int) -> None:
        """Write a word."""
        self.words[self.line + word] = value

    def seize(self) -> bool:
        """Take the lock, if nobody has it."""
        if not self.held:
            try:
                fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            self.held = True
        return True

    def seat(self, arrival: Arrival) -> None:
        """Begin with a connection that came from the pool. The lock is held."""
        self.connection, self.socket, self.tether, self.server_id = arrival
        for word in range(table.PINNED + 1):
            self.put(word, 0)

    def lend(self, lease: int) -> None:
        """Write down that it is lent, before it is sent. The lock is held. Raises OSError."""
        self._fresh = self._open()  # while nothing has been sent: descriptors may run out
        now = table.clock()
        self.put(table.USE, table.ON_ITS_WAY)
        self.put(table.GRANTED, now)
        self.put(table.RELEASED, now)
        self.put(table.WANTED, 0)
        self.put(table.PINNED, 0)
        self.put(table.OWNER, lease)

    def sent(self) -> None:
        """Let go of the description that has been sent, so that the other end alone has it."""
        os.close(self.lock)
        self.lock, self._fresh = self._fresh, -1
        self.held = False

    def stay(self) -> None:
        """Note that it is used from within the broker, which keeps the lock: nothing is sent."""
        os.close(self._fresh)
        self._fresh = -1
        self.put(table.USE, table.USED)
        self.put(table.LEASES, self.get(table.LEASES) + 1)

    def not_sent(self) -> None:
        """Go back to where it was before `lend`."""
        os.close(self._fresh)
        self._fresh = -1
        self.take_back()

    def take_back(self) -> None:
        """Write down that it is at the broker. The lock is held."""
        self.put(table.OWNER, 0)
        self.put(table.USE, table.IDLE)
        self.borrower = None

    def close(self) -> None:
        """Let go of the lock file; of use no more."""
        os.close(self.lock)
        self.lock = -1

    def vacate(self) -> Any:
        """Take the connection out, for the pool; the slot is free then."""
        connection, self.connection = self.connection, None
        self.put(table.OWNER, 0)
        self.borrower = None
        if self.held:
            fcntl.flock(self.lock, fcntl.LOCK_UN)
            self.held = False
        return connection

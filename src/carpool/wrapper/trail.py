"""Whether a statement may ask for what an earlier one has left in its session."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from carpool.errors import NotTheSameSession
from carpool.known import known
from carpool.looking import ABOUT_THE_LAST

if TYPE_CHECKING:
    from collections.abc import Callable

    from carpool.driver import Driver

_MAKES_KEYS: Final = re.compile("insert|replace|merge|copy|load", re.IGNORECASE)


class Note(NamedTuple):
    """What is to be known of a statement."""

    looks_back: str | None  # at what
    makes_keys: bool  # it may


def reader(driver: Driver[Any]) -> Callable[[str], Note | None]:
    """Return a function that takes note of a text; None: nothing to be noted. Thread-safe."""

    def read(sql: str) -> Note | None:
        note = Note(driver.looks_back(sql), _MAKES_KEYS.search(sql) is not None)
        return note if any(note) else None

    return known(read)


class Trail:
    """A request's way through the sessions of a pool.

    `LAST_INSERT_ID()` and its like are about an earlier statement of the same session. If others
    have had that since, or the request has another one now, they would answer with somebody
    else's values.
    """

    __slots__ = ("_adrift", "_last", "_left_at", "_made_keys", "fresh")

    def __init__(self) -> None:
        self._last: Any = None  # the connection that was used last
        self._left_at = 0  # how many leases it had seen when it was given back
        self.fresh = False  # nothing has been executed yet since the session has changed
        self._made_keys = False
        self._adrift = False  # the session has changed since keys were made

    def enter(self, connection: Any) -> None:
        """Note that a lease begins."""
        last = self._last
        if connection is not last or connection.session.lease != self._left_at:
            self.fresh = last is not None
            self._adrift = self._made_keys

    def leave(self, connection: Any) -> None:
        """Note that a lease is about to end."""
        self._last, self._left_at = connection, connection.session.lease + 1

    def check(self, reason: str) -> None:
        """Raise NotTheSameSession if what a statement looks back at is not in this session."""
        if self.fresh if reason in ABOUT_THE_LAST else self._adrift:
            raise NotTheSameSession(
                f"{reason} asks for what an earlier statement has left in its session, which is "
                "not the one at hand, or has been used by others since. Put both statements into "
                "one transaction.atomic() or carpool.session()"
            )

    def made_keys(self) -> None:
        """Note that a statement has been executed that may have made a key."""
        self._made_keys, self._adrift = True, False

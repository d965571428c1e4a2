"""Whether a statement may ask for what an earlier one has left in its session."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from carpool.errors import NotTheSameSession
from carpool.known import known
from carpool.looking import ABOUT_KEYS

if TYPE_CHECKING:
    from collections.abc import Callable

_MAKES_KEYS: Final = re.compile("insert|replace|merge|copy|load", re.IGNORECASE)
_makes_keys: Final[Callable[[str], bool]] = known(lambda sql: bool(_MAKES_KEYS.search(sql)))


class Trail:
    """A request's way through the sessions of a pool.

    `LAST_INSERT_ID()` and its like are about an earlier statement of the same session. If others
    have had that since, or the request has another one now, they would answer with somebody
    else's values.
    """

    __slots__ = ("_adrift", "_fresh", "_last", "_left_at", "_made_keys")

    def __init__(self) -> None:
        self._last: Any = None  # the connection that was used last
        self._left_at = 0  # how many leases it had seen when it was given back
        self._fresh = False  # nothing has been executed yet since the session has changed
        self._made_keys = False
        self._adrift = False  # the session has changed since keys were made

    @property
    def last(self) -> Any:
        """The connection that was used last; None: none yet."""
        return self._last

    def enter(self, connection: Any) -> None:
        """Note that a lease begins."""
        last = self._last
        if last is not None and (
            connection is not last or connection.session.lease != self._left_at
        ):
            self._fresh = True
            self._adrift = self._made_keys

    def leave(self, connection: Any) -> None:
        """Note that a lease is about to end."""
        self._last, self._left_at = connection, connection.session.lease + 1

    def check(self, reason: str) -> None:
        """Raise NotTheSameSession if what a statement looks back at is not in this session."""
        if self._adrift if reason in ABOUT_KEYS else self._fresh:
            raise NotTheSameSession(
                f"{reason} asks for what an earlier statement has left in its session, which is "
                "not the one at hand, or has been used by others since. Put both statements into "
                "one transaction.atomic() or carpool.session()"
            )

    def executed(self, sql: Any) -> None:
        """Note that a statement has been executed."""
        self._fresh = False
        if _makes_keys(sql if type(sql) is str else str(sql)):
            self._made_keys, self._adrift = True, False

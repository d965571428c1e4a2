"""Whether a statement may ask for what an earlier one has left in its session."""

from __future__ import annotations

import re
import weakref
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from carpool.errors import NotTheSameSession
from carpool.known import known
from carpool.looking import ABOUT_THE_LAST

if TYPE_CHECKING:
    from collections.abc import Callable

    from carpool.registry import AnyPool

_MAKES_KEYS: Final = re.compile("insert|replace|merge|copy|load", re.IGNORECASE)
_ONE_STATEMENT: Final = re.compile(
    r"[\s(]*(?:select|insert|update|delete|replace|values|with|show|get)\b[^;]*+[\s;]*\Z",
    re.IGNORECASE,
)


class Note(NamedTuple):
    """What is to be known of a statement."""

    looks_back: str | None  # at what
    surely: bool  # and no definition, nor a script that may have made what it looks at
    makes_keys: bool  # it may


def reader(pool: AnyPool) -> Callable[[str], Note | None]:
    """Return a pool's function that takes note of a text; None: nothing to be noted. Thread-safe.

    All users of a pool share what is known of texts.
    """
    found = _readers.get(pool)
    if found is None:
        looks_back = pool.driver.looks_back

        def read(sql: str) -> Note | None:
            reason = looks_back(sql)
            makes_keys = _MAKES_KEYS.search(sql) is not None
            surely = _ONE_STATEMENT.match(sql) is not None and "nextval" not in sql.lower()
            return Note(reason, surely, makes_keys) if reason or makes_keys else None

        found = _readers[pool] = known(read)
    return found


_readers: weakref.WeakKeyDictionary[AnyPool, Callable[[str], Note | None]] = (
    weakref.WeakKeyDictionary()
)


class Trail:
    """A request's way through the sessions of a pool.

    `LAST_INSERT_ID()` and its like are about an earlier statement of the same session. If others
    have had that since, or the request has another one now, they would answer with somebody
    else's values.
    """

    __slots__ = ("_adrift", "_last", "_left_at", "fresh")

    def __init__(self) -> None:
        self._last: weakref.ref[Any] | None = None  # the connection that was used last
        self._left_at = 0  # how many leases it had seen when it was given back
        self.fresh = True  # nothing of this request has been executed yet in this session
        self._adrift = True  # nor has a key been made

    def enter(self, connection: Any) -> None:
        """Note that a lease begins."""
        if self._last is None:
            return
        last: Any = self._last()
        if last is not connection or connection.session.lease != self._left_at:
            self.fresh = self._adrift = True

    def leave(self, connection: Any) -> weakref.ref[Any]:
        """Note that a lease is about to end; returns its connection, weakly.

        So that one which is lost on its way back to the pool is not kept alive.
        """
        self._last, self._left_at = weakref.ref(connection), connection.session.lease + 1
        return self._last

    def lose(self) -> None:
        """Note that somebody else has been in the session since the last lease."""
        self._left_at = -1

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
        self._adrift = False

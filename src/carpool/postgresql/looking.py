"""Tells whether a text asks PostgreSQL for what an earlier statement has left in the session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from carpool.looking import calls, contains, reader

if TYPE_CHECKING:
    from collections.abc import Callable

#: Answers as `Driver.looks_back`, for a str.
#: https://www.postgresql.org/docs/current/functions-sequence.html
looks_back: Final[Callable[[str], str | None]] = reader(
    {
        "currval": calls("currval"),
        "lastval": calls("lastval"),
        "U&": contains('u&"'),  # a quoted name, in which each letter may be written by its number
    }
)

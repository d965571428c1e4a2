"""Tells whether a text asks PostgreSQL for what an earlier statement has left in the session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from carpool.looking import calls, calls_with_arguments, reader

if TYPE_CHECKING:
    from collections.abc import Callable

#: Answers as `Driver.looks_back`, for a str. A name whose letters are written by their numbers, as
#: in U&"l\0061stval"(), is not recognized.
#: https://www.postgresql.org/docs/current/functions-sequence.html
looks_back: Final[Callable[[str], str | None]] = reader(
    {"currval": calls_with_arguments("currval"), "lastval": calls("lastval")}
)

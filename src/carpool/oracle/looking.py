"""Tells whether a text asks Oracle for what an earlier statement has left in the session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from carpool.looking import member, reader

if TYPE_CHECKING:
    from collections.abc import Callable

#: Answers as `Driver.looks_back`, for a str. An identity column draws from a sequence unasked.
#: https://docs.oracle.com/en/database/oracle/oracle-database/19/sqlrf/Sequence-Pseudocolumns.html
looks_back: Final[Callable[[str], str | None]] = reader({"currval": member("currval")})

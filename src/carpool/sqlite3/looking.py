"""Tells whether a text asks SQLite for what an earlier statement has left in the connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from carpool.looking import calls, reader

if TYPE_CHECKING:
    from collections.abc import Callable

#: Answers as `Driver.looks_back`, for a str. https://www.sqlite.org/lang_corefunc.html
looks_back: Final[Callable[[str], str | None]] = reader(
    {name: calls(name) for name in ("last_insert_rowid", "changes", "total_changes")}
)

"""Tells whether a text asks MySQL for what an earlier statement has left in the session.

See the manual on "Information Functions" and on the diagnostics area; MariaDB adds sequences.
https://dev.mysql.com/doc/refman/8.4/en/information-functions.html
https://dev.mysql.com/doc/refman/8.4/en/diagnostics-area.html
https://mariadb.com/kb/en/previous-value-for-sequence_name/
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from carpool.looking import (
    AFTER,
    BEFORE,
    BEGINS,
    Look,
    calls,
    calls_with_arguments,
    member,
    phrase,
    reader,
)

if TYPE_CHECKING:
    from collections.abc import Callable

# With an argument, LAST_INSERT_ID(n) sets what the next one without will answer.
_FUNCTIONS: Final = ("last_insert_id", "row_count", "found_rows")
_VARIABLES: Final = (
    *("identity", "last_insert_id", "insert_id"),
    *("warning_count", "error_count", "last_gtid"),
)

# See `carpool.looking.COMMENTS`. Here a backslash may stand before a quote, and what is in an
# executable comment is part of the statement.
_QUOTED: Final = "|".join(
    rf"{quote}[^{quote}\\]*+(?:\\.?[^{quote}\\]*+)*+(?:{quote}|\Z)" for quote in ("'", '"')
)
_EXECUTABLE: Final = r"/\*m?!\d*+|\*/"
_COMMENT: Final = r"/\*.*?(?:\*/|\Z)|(?:--|\#)[^\n]*+"
_COMMENTS: Final = re.compile(rf"({_QUOTED}|`[^`]*+(?:`|\Z))|{_EXECUTABLE}|{_COMMENT}", re.DOTALL)


def _variable(name: str) -> Look:
    """Return the look of a system variable, read by @@ or by SHOW VARIABLES."""
    read = rf"@@(?:(?:session|local)\s*+\.\s*+)?+`?{name}{AFTER}"
    shown = rf"{_shows('variables')}[^;]*?{BEFORE}{name}{AFTER}"
    return Look(name, re.compile(f"{read}|{shown}"))


def _shows(what: str) -> str:
    return rf"{BEGINS}show\s++(?:(?:session|local)\s++|count\s*+\(\s*+\*\s*+\)\s*+)?+{what}{AFTER}"


def _diagnostics() -> Look:
    """Return the look of GET DIAGNOSTICS."""
    return Look("diagnostics", re.compile(rf"{BEGINS}get\s++(?:current\s++)?+diagnostics{AFTER}"))


#: Answers as `Driver.looks_back`, for a str.
looks_back: Final[Callable[[str], str | None]] = reader(
    {name.upper(): calls(name) for name in _FUNCTIONS}
    | {f"@@{name}": _variable(name) for name in _VARIABLES}
    | {
        "SHOW WARNINGS": Look("warnings", re.compile(_shows("warnings"))),
        "SHOW ERRORS": Look("errors", re.compile(_shows("errors"))),
        "GET DIAGNOSTICS": _diagnostics(),
        "LASTVAL": calls_with_arguments("lastval"),
        "PREVIOUS VALUE": phrase("previous", "value", "for"),
        "CURRVAL": member("currval"),  # in MariaDB's Oracle mode
    },
    _COMMENTS,
)

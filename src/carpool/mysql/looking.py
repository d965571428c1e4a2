"""Tells whether a text asks MySQL for what an earlier statement has left in the session.

See the manual on "Information Functions" and on the diagnostics area; MariaDB adds sequences.
https://dev.mysql.com/doc/refman/8.4/en/information-functions.html
https://dev.mysql.com/doc/refman/8.4/en/diagnostics-area.html
https://mariadb.com/kb/en/previous-value-for-sequence_name/
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from carpool.looking import calls, reader, words

if TYPE_CHECKING:
    from collections.abc import Callable

    from carpool.looking import Ask

_FUNCTIONS: Final = ("last_insert_id", "row_count", "found_rows", "lastval")
_VARIABLES: Final = (
    *("identity", "last_insert_id", "insert_id"),
    *("warning_count", "error_count", "last_gtid"),
)


def _shows(variable: str) -> Ask:
    """Return what tells whether a text may read a system variable."""
    named = words(variable)
    return lambda text: ("@@" in text or "show" in text) and named(text)


#: Answers as `Driver.looks_back`, for a str.
looks_back: Final[Callable[[str], str | None]] = reader(
    {name.upper(): calls(name) for name in _FUNCTIONS}
    | {f"@@{name}": _shows(name) for name in _VARIABLES}
    | {
        "SHOW WARNINGS": words("show", "warnings"),
        "SHOW ERRORS": words("show", "errors"),
        "GET DIAGNOSTICS": words("get", "diagnostics"),
        "PREVIOUS VALUE": words("previous", "value"),
        "CURRVAL": words("currval"),  # in MariaDB's Oracle mode
    }
)

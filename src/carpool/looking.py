"""What the drivers' `looks_back` have in common: to find words in a text, whatever is around them.

A statement may look back at what an earlier one of its session has left without being asked to,
such as MySQL's LAST_INSERT_ID(). To overlook that would answer with somebody else's value; to see
it where it is not, in a string or a comment, costs a moment of a connection's time. So a text is
searched, not parsed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from carpool.known import known

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Ask = Callable[[str], bool]  # of a text in lower case

# Digits may stand before a word: MySQL runs what is in /*!50000LAST_INSERT_ID()*/.
_BEFORE = r"(?<![a-z_$])"
_AFTER = r"(?![a-z0-9_$])"
# A function's parenthesis, or a comment that may stand before it.
_OPENS = r'["`\]]?\s*+(?:\(|--|/\*|\#)'


# What is about the last statement, whatever that was; all else is about the last key made.
ABOUT_THE_LAST = frozenset(
    {
        *("ROW_COUNT", "FOUND_ROWS", "SHOW WARNINGS", "SHOW ERRORS", "GET DIAGNOSTICS"),
        *("@@warning_count", "@@error_count", "changes", "total_changes"),
    }
)


def text_of(query: Any) -> str:
    """Return what a module takes for a statement as a text to be searched.

    What is composed from parts (`psycopg.sql`, templates) shows them.
    """
    return query.decode(errors="replace") if isinstance(query, bytes | bytearray) else str(query)


def contains(part: str) -> Ask:
    """Return what tells whether a text contains `part`."""
    return lambda text: part in text


def calls(name: str) -> Ask:
    """Return what tells whether a text may call a function of that name, quoted or not.

    A column or a table of that name is no call, unless a parenthesis follows.
    """
    call = re.compile(_BEFORE + name + _OPENS)
    return lambda text: name in text and call.search(text) is not None


def words(*names: str) -> Ask:
    """Return what tells whether a text has all these words, in any order."""
    each = [re.compile(_BEFORE + name + _AFTER) for name in names]

    def ask(text: str) -> bool:
        # Most texts have none of them; that is told at the speed of a search in memory.
        return all(name in text for name in names) and all(word.search(text) for word in each)

    return ask


def reader(asks: Mapping[str, Ask]) -> Callable[[str], str | None]:
    """Return a function that tells the name of the first of `asks` that fits a text; None: none.

    Linear in the length of the text. A text seen before costs one look-up. Thread-safe.
    """

    def read(text: str) -> str | None:
        text = text.lower()
        return next((reason for reason, ask in asks.items() if ask(text)), None)

    return known(read)

"""What the drivers' `looks_back` have in common: to find a few turns of phrase in a text.

A statement may look back at what an earlier one of its session has left without being asked to,
such as MySQL's LAST_INSERT_ID(). To overlook that would answer with somebody else's value. To see
it where it is not makes a statement fail whose session is another one by then, which in
transaction mode is an everyday affair: a column called `changes` is no call of changes(). So the
syntax decides, not the word.

Texts are searched, not parsed: what stands in a string or in a comment may be taken for a
statement's own. Comments between the words are left out first, other than comments in comments,
as PostgreSQL has them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from carpool.known import known

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Look(NamedTuple):
    """A way to look back, as it is written in lower case and without comments."""

    word: str  # no text is searched without it: that is told at the speed of a search in memory
    pattern: re.Pattern[str]


BEFORE: Final = r"(?<![\w$])"  # a word
AFTER: Final = r"(?![\w$])"
BEGINS: Final = r"(?:\A|;)\s*+"  # a statement

# What was left out of a text leaves a space; what is to be kept is in the group. Whatever is not
# closed goes on to the text's end, for the time to be linear.
_QUOTED: Final = r""""[^"]*+(?:"|\Z)|`[^`]*+(?:`|\Z)|'[^']*+(?:'|\Z)"""
_COMMENT: Final = r"/\*.*?(?:\*/|\Z)|--[^\n]*+"
COMMENTS: Final = re.compile(rf"({_QUOTED})|{_COMMENT}", re.DOTALL)

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


def phrase(*names: str) -> Look:
    """Return the look at a value that is asked for by these words in a row."""
    return Look(names[0], re.compile(BEFORE + r"\s++".join(names) + AFTER))


def calls(name: str) -> Look:
    """Return the look of a function, quoted or not, that is called without arguments."""
    return Look(name, re.compile(BEFORE + name + r'["`\]]?\s*+\(\s*+\)'))


def calls_with_arguments(name: str) -> Look:
    """Return the look of a function, quoted in the standard's way or not, that is called."""
    return Look(name, re.compile(BEFORE + name + r'"?\s*+\('))


def member(name: str) -> Look:
    """Return the look of what is asked for as a sequence's: a column so called is quoted."""
    return Look(name, re.compile(rf"\.\s*+{name}{AFTER}"))


def reader(
    looks: Mapping[str, Look], comments: re.Pattern[str] = COMMENTS
) -> Callable[[str], str | None]:
    """Return a function that tells the name of the first of `looks` that is in a text; None: none.

    Linear in the length of the text. A text seen before costs one look-up. Thread-safe.
    """

    def read(text: str) -> str | None:
        text = text.lower()
        near = {reason: look.pattern for reason, look in looks.items() if look.word in text}
        if not near:
            return None
        # First as it is: what opens a comment may be part of a string that is not known as one.
        return _first(near, text) or _first(near, comments.sub(r"\1 ", text))

    return known(read)


def _first(patterns: Mapping[str, re.Pattern[str]], text: str) -> str | None:
    return next((reason for reason, each in patterns.items() if each.search(text)), None)

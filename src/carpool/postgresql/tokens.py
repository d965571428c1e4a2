"""SQL text to tokens, as PostgreSQL reads it: enough to tell code from strings and comments."""

import re
from typing import Final


def _comment(depth: int) -> str:
    """Return a pattern for a comment with comments inside, nested up to `depth` times."""
    inner = rf"|{_comment(depth - 1)}" if depth else ""
    return rf"/\*(?:[^*/]++|\*(?!/)|/(?!\*){inner})*\*/"


# No text takes more than linear time: simple quantifiers are possessive, and the alternatives of
# a repeated group begin differently. (Such groups are not possessive themselves: Python before
# 3.11.8 gets those wrong.)
_SPACE = r"[ \t\n\r\f\v]"
_SKIP = rf"{_SPACE}*+(?:(?:--[^\n\r]*+|{_comment(8)}){_SPACE}*+)*"
_NOT_IN_WORD = r"\x00-\x23\x25-\x2f\x3a-\x40\x5b-\x5e\x60\x7b-\x7f"  # of ASCII; $ is
_LETTER = rf"[^{_NOT_IN_WORD}]"
_WORD = rf"""(?![eE]'|[uU]&")[^$0-9{_NOT_IN_WORD}]{_LETTER}*+"""
_QUOTED = r'"(?:[^"]++|"")*"(?!")'
_STRING = r"'(?:[^']++|'')*'(?!')"
# A backslash string goes on with backslashes in a string on the next line: no token at all.
_ESCAPED = rf"[eE]'(?:[^'\\]++|\\.|'')*'(?!{_SKIP}')"
_DOLLAR = r"\$((?![0-9])\w*+)\$.*?\$\2\$"
# What psycopg fills in; before a longer word the `%` is an operator.
_PLACEHOLDER = rf"%(?:\([A-Za-z0-9_]++\))?[sbt](?!{_LETTER})"
_VALUE = rf"[ \t\n\r\f\v,0-9]|{_PLACEHOLDER}|\$[0-9]++|\.[0-9]++"
_OPERATOR = r"[+*<>=~!@#^&|`?:\[\]{}\\%]|-(?!-)|/(?!\*)"
_PUNCTUATION = r"[().;]"

# (token, tag of its dollar quotes, junk); all three are empty for white space at the end.
# Junk is what no rule explains, from there to the end of the text: an open string, a stray byte.
_ITEM: Final = re.compile(
    rf"{_SKIP}("
    rf"\((?:{_VALUE})*\)|{_WORD}|{_QUOTED}|{_PUNCTUATION}|(?:{_VALUE}|{_OPERATOR})+"
    rf"|{_STRING}|{_ESCAPED}|{_DOLLAR}"
    rf")|(?=.){_SKIP}\Z|(.++)",
    re.DOTALL,
)


def tokenize(sql: str) -> list[str] | None:
    """Split SQL into tokens, or return None if it cannot be read to its end.

    Comments and white space are gone. Words are in lower case, and so are strings and quoted
    names: tell those by their first character. Operators, numbers, commas and placeholders that
    stand together are one token, and so is a pair of parentheses with only values inside.
    """
    items = _ITEM.findall(sql)
    if items and items[-1][2]:
        return None
    # like PostgreSQL, fold ASCII alone: Python would make the Kelvin sign a "k"
    return [token.lower() if token.isascii() else token for token, _, _ in items if token]

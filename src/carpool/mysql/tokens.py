r"""SQL text to tokens, as MySQL and MariaDB read it: enough to tell code from strings and comments.

How a server reads a text depends on `sql_mode`. `ANSI_QUOTES` makes a name of what is between
double quotes: opaque, like a string. `NO_BACKSLASH_ESCAPES` moves the end of a string where a
quote follows an odd number of backslashes: such a text is not read at all. In any other string
the backslashes come in pairs or before a harmless character, and both readings end together.
"""

import re
from typing import Final

# No text takes more than linear time: simple quantifiers are possessive, and the alternatives of
# a repeated group begin differently. (Such groups are not possessive themselves: Python before
# 3.11.8 gets those wrong.)
_SPACE = r"[ \t\n\r\f\v]"
_BACKTICKS = r"`(?:[^`]++|``)*`(?!`)"
_QUOTED = r"""'(?:[^'\\]++|\\[^']|'')*'(?!')|"(?:[^"\\]++|\\[^"]|"")*"(?!")"""
# Only white space, a control character or the text's end make a comment of two hyphens. Nothing
# but a line feed ends it.
_LINE = r"(?:#|--(?:(?=[\x00-\x20\x7f])|\Z))[^\n\x00]*+"
_BLOCK = r"/\*(?![!+]|[mM]!)(?:[^*]++|\*(?!/))*\*/"
# Optimizer hints; a star in quotes could end them on one server and not on another.
_HINT = r"""/\*\+(?:[^*'"`]++|\*(?!/)|'[^'*\\]*+'|"[^"*\\]*+"|`[^`*]*+`)*\*/"""
_SKIP = rf"{_SPACE}*+(?:(?:{_LINE}|{_BLOCK}|{_HINT}){_SPACE}*+)*"
_EXECUTABLE = r"/\*[mM]?!"
_LETTER = r"[^\x00-\x23\x25-\x2f\x3a-\x40\x5b-\x5e\x60\x7b-\x7f]"  # of names; $ is, too
# Before a parenthesis, digits and what looks like a placeholder are the name of a function.
_AT_END = rf"(?!{_LETTER}|{_SKIP}\()"
_NUMBER = rf"[0-9]++{_AT_END}"
_WORD = rf"(?!\$|{_NUMBER}){_LETTER}++"
_SYSTEM_VARIABLE = rf"@@(?:{_LETTER}++|`[^`]++`)"
_PLACEHOLDER = rf"%(?:\([A-Za-z0-9_]++\))?s{_AT_END}"  # what the driver fills in
_VALUE = rf"[ \t\n\r\f\v,]|{_NUMBER}|\.{_NUMBER}|{_PLACEHOLDER}"
_OPERATOR = r"[+*<>=~!&|^:?{}]|%%|%(?!\()|-(?!-(?:[^\x21-\x7e]|\Z))|/(?!\*)"
_PUNCTUATION = r"[().;@]"

# (token, junk); both are empty for white space at the end.
# Junk is what no rule explains, from there to the end of the text: an open string, a stray byte.
_ITEM: Final = re.compile(
    rf"{_SKIP}("
    rf"\((?:{_VALUE})*\)|{_WORD}|{_BACKTICKS}|{_SYSTEM_VARIABLE}|(?:{_VALUE}|{_OPERATOR})+"
    rf"|{_PUNCTUATION}|{_QUOTED}|{_EXECUTABLE}"
    rf")|(?=.){_SKIP}\Z|(.++)",
    re.DOTALL,
)


def tokenize(sql: str) -> list[str] | None:
    """Split SQL into tokens, or return None if it cannot be read to its end.

    Comments and white space are gone; what opens an executable comment is a token. Words are in
    lower case, and so are strings and quoted names: tell those by their first character.
    Operators, numbers, commas and placeholders that stand together are one token, and so is a
    pair of parentheses with only values inside.
    """
    items = _ITEM.findall(sql)
    if items and items[-1][1]:
        return None
    # like the server, fold ASCII alone: Python would make the Kelvin sign a "k"
    return [token.lower() if token.isascii() else token for token, _ in items if token]

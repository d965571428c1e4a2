"""Tells whether a SQL text may leave state in the Oracle session.

`effect(sql)` answers None when the text proves itself clean, else a short reason ("ALTER SESSION",
"PL/SQL", "function foo"). Whatever is not known counts as an effect: a wrong "clean" would hand one
user's state to the next, a wrong "dirty" costs a new session.

`filled(sql)` names the tables that get rows: a temporary table may keep them for the session.

What a text does not show is not seen: functions that views, triggers and column defaults call;
functions of the user's own that are called without parentheses, which look like columns, or that
bear the name of a harmless one; temporary tables behind views and synonyms.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from carpool.known import known
from carpool.oracle.harmless import FUNCTIONS, KEYWORDS, PACKAGED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    _Rule = Callable[[list[str]], str | None]  # (a statement's tokens) -> what `effect` answers

# Tokens ----------------------------------------------------------------------------------------

# No text takes more than linear time: what has no end is junk, up to the end of the text. (The
# group of a string is not possessive: Python before 3.11.8 gets such groups wrong.)
_ITEM: Final = re.compile(
    r"""
      \s++ | --[^\n]*+ | /\*.*?\*/
    | (?P<string>
        n?q'(?: \[.*?\]' | \{.*?\}' | \(.*?\)' | <.*?>' | (?P<mark>[^\s\[{(<]).*?(?P=mark)' )
      | (?<!q)'(?:[^']++|'')*'(?!')
      )
    | (?P<token> "[^"]++" | [^\W\d][\w$\#]*+ | :\s*+\w++ | \d[\w.]*+ )
    | (?P<junk> (?: ['"] | /\* ) .*+ )
    | (?P<sign> . )
    """,
    re.DOTALL | re.IGNORECASE | re.VERBOSE,
)


def tokenize(sql: str) -> list[str] | None:
    """Split SQL into tokens, or return None if it cannot be read to its end.

    Comments and white space are gone, strings are "''", words are in lower case, and quoted
    names keep their quotes.
    """
    tokens = []
    for item in _ITEM.finditer(sql):
        kind = item.lastgroup
        if kind == "junk":
            return None
        if kind is not None:
            text = item[0]
            tokens.append("''" if kind == "string" else _folded(text))
    return tokens


def _folded(token: str) -> str:
    return token if token[0] == '"' else token.lower()


# Calls -----------------------------------------------------------------------------------------

# Oracle's own packages. A user's cannot be told from tables where there are no parentheses.
_PACKAGES: Final = ("dbms_", "utl_", "owa_", "apex_", "ctx_", "htp", "htf")


def _query(tokens: list[str]) -> str | None:
    """Classify a statement that may call functions."""
    if "@" in tokens:
        return "database link"
    return next(_effects_of_calls(tokens), None)


def _effects_of_calls(tokens: list[str]) -> Iterator[str]:
    for at, (name, after) in enumerate(pairwise(tokens), 1):
        if after == "(" and _may_be_called(name) and (reason := _call(tokens, at)):
            yield reason
        elif after == "." and name.startswith(_PACKAGES):
            if "".join(tokens[at - 1 : at + 2]) not in PACKAGED:
                yield f"package {name:.60}"
        elif name == "." and after in {"nextval", "currval"}:
            yield "sequence"


def _may_be_called(name: str) -> bool:
    return name[0] == '"' or name[0].isalpha()


def _call(tokens: list[str], at: int) -> str | None:
    """Tell what is left behind by the call, if it is one, whose parenthesis opens at `at`."""
    start = at - 1
    while start > 1 and tokens[start - 1] == ".":
        start -= 2
    name = "".join(tokens[start:at])
    if name in KEYWORDS or name in FUNCTIONS or name in PACKAGED:
        return None
    if tokens[start - 1] in {"into", "with"} and start:
        return None  # a table's columns, or those of a query with a name
    if tokens[at : at + 3] == ["(", "+", ")"]:
        return None  # an outer join of old
    return f"function {name:.60}"


# Statements ------------------------------------------------------------------------------------


def _clean(_tokens: list[str]) -> None:
    """Classify a statement that leaves nothing behind."""


def _set(tokens: list[str]) -> str | None:
    """Classify SET: of a transaction and its constraints, or of the session's roles."""
    if tokens[1:2] in (["transaction"], ["constraint"], ["constraints"]):
        return None
    return " ".join(["SET", *tokens[1:2]]).upper()


def _alter(tokens: list[str]) -> str:
    return "ALTER SESSION" if tokens[1:2] == ["session"] else "ALTER"


def _plsql(_tokens: list[str]) -> str:
    return "PL/SQL"


def _unknown(tokens: list[str]) -> str:
    head = tokens[0]
    return f"statement {head.upper():.30}" if head[0].isalpha() else "unreadable"


_RULES: Final[dict[str, _Rule]] = {
    **dict.fromkeys(("select", "with", "insert", "update", "delete", "merge"), _query),
    **dict.fromkeys(("commit", "rollback", "savepoint", "lock", "truncate", "comment"), _clean),
    **dict.fromkeys(("begin", "declare", "call", "<"), _plsql),
    "(": _query,
    "alter": _alter,
    "set": _set,
}

# Tables that are filled ------------------------------------------------------------------------


def _tables_filled(sql: str) -> frozenset[str]:
    """Answer as `filled` does, by reading the text each time."""
    tokens = tokenize(sql) or [""]
    if tokens[0] not in {"insert", "merge"}:
        return frozenset()
    return frozenset(_names_after_into(tokens))


def _names_after_into(tokens: list[str]) -> Iterator[str]:
    for at, part in enumerate(tokens):
        if part == "into":
            end = at + 1
            while tokens[end + 1 : end + 2] == ["."]:
                end += 2
            yield from (_in_dictionary(name) for name in tokens[end : end + 1])


def _in_dictionary(name: str) -> str:
    """Return a name as Oracle keeps it: in upper case unless it was quoted."""
    return name[1:-1] if name[0] == '"' else name.upper()


# Texts -----------------------------------------------------------------------------------------


def classify(sql: str) -> str | None:
    """Answer as `effect` does, by reading the text each time."""
    tokens = tokenize(sql)
    if not tokens:
        return "unreadable"
    if tokens[-1] == ";":
        tokens.pop()
    rule = _RULES.get(tokens[0], _unknown) if tokens else _unknown
    if ";" in tokens and rule is not _plsql:
        return "unreadable"
    return rule(tokens) if tokens else "unreadable"


#: Tells what a SQL text may leave in the session: None for nothing, else a short, stable reason.
#: Never raises. A text seen before costs one look-up.
effect: Final[Callable[[str], str | None]] = known(classify)

#: Returns the names, without their schemas, of the tables that a text adds rows to.
filled: Final[Callable[[str], frozenset[str]]] = known(_tables_filled)

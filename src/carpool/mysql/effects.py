"""Tells what a SQL text may do to a MySQL or MariaDB session.

`effect(sql)` answers None when the text proves itself to leave nothing behind, else a short reason
("SET", "temporary table", "function foo"). Whatever is not known counts as an effect: a wrong
"clean" would hand one user's state to the next, a wrong "dirty" costs one reset. `transaction(sql)`
tells whether the text begins or ends a transaction.

A statement is clean when its kind is known to leave nothing behind, or nothing that outlives its
transaction, and each function it calls is on the lists of `harmless`. Data definition is dirty
without a closer look, and so is a text of several statements, whose results may remain unread.

What a text does not show is not seen: functions that views, triggers and column defaults call;
a function of the user's own that bears the name of a harmless one; `s.nextval` in the sql_mode
ORACLE; what a placeholder lets out of the quotes that somebody has put around it.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Final

from carpool.known import known
from carpool.mysql.harmless import FUNCTIONS, KEYWORDS
from carpool.mysql.tokens import tokenize

_Rule = Callable[[list[str]], str | None]  # (a statement's tokens) -> what `effect` answers

# Calls -----------------------------------------------------------------------------------------

_HARMLESS: Final = KEYWORDS | FUNCTIONS
_REASONS: Final = {
    "get_lock": "advisory lock",
    "release_lock": "advisory lock",
    "release_all_locks": "advisory lock",
    "found_rows": "FOUND_ROWS",
    "last_insert_id": "LAST_INSERT_ID",
    "nextval": "sequence",
    "lastval": "sequence",
    "setval": "sequence",
}
_ENDS_NO_NAME: Final = frozenset(" \t\n\r\f\v,+*<>=~!&|^:?{}%-/().;@'")
_ENDS_VALUE: Final = (")", "'", '"', "`")
_NO_CALL_AFTER: Final = {"as", "ignore", "insert", "into", "recursive", "replace", "with"}
_PHRASES: Final = {"for columns", "member of"}


def _expressions(tokens: list[str]) -> str | None:
    """Classify a statement that may call functions and use variables."""
    if "@" in tokens:
        return "user variable"
    if "sql_calc_found_rows" in tokens:
        return "FOUND_ROWS"
    if "value" in tokens and ("value", "for") in pairwise(tokens):
        return "sequence"
    return next((why for at in _unknown_calls(tokens) if (why := _call(tokens, at))), None)


def _unknown_calls(tokens: list[str]) -> Iterator[int]:
    """Yield where a parenthesis opens after a name that is not known to be harmless."""
    for at, (name, part) in enumerate(pairwise(tokens), 1):
        if (
            part[0] == "("
            and name[-1] not in _ENDS_NO_NAME
            and (name not in _HARMLESS or tokens[at - 2] == ".")
        ):
            yield at


def _call(tokens: list[str], at: int) -> str | None:
    """Tell what is left behind by the call, if it is one, whose parenthesis opens at `at`."""
    start = at - 1
    while start > 1 and tokens[start - 1] == ".":
        start -= 2
    if _is_no_call(tokens, start, at) or _is_column_list(tokens, at):
        return None
    name = "".join(tokens[start:at])
    if name == "last_insert_id" and not tokens[at].strip("() \t\n\r\f\v") and tokens[at] != "(":
        return None  # without an argument it only reads
    return _REASONS.get(name) or f"function {name:.60}"


def _is_no_call(tokens: list[str], start: int, at: int) -> bool:
    """Tell whether the name from `start` to `at` proves by its place that it is no function."""
    before = tokens[start - 1].rstrip() if start else ""
    return (
        before in _NO_CALL_AFTER
        or before.endswith(_ENDS_VALUE)
        or _is_placeholder(before)
        or f"{before} {tokens[at - 1]}" in _PHRASES
    )


def _is_placeholder(token: str) -> bool:
    return token.endswith(("%s", ")s"))


def _is_column_list(tokens: list[str], at: int) -> bool:
    """Tell whether `AS (` follows the parentheses that open at `at`, as in a WITH clause."""
    for end in range(at + 1, len(tokens)):
        if tokens[end] == ")":
            return tokens[end + 1 : end + 2] == ["as"] and tokens[end + 2 : end + 3] == ["("]
        if tokens[end][0] == "(":
            return False
    return False


# Statements ------------------------------------------------------------------------------------


def _dirty(tokens: list[str]) -> str:
    """Classify a statement by its first word, which is reason enough."""
    return tokens[0].upper()


def _unknown(tokens: list[str]) -> str:
    head = tokens[0]
    return f"unknown statement {head.upper():.30}" if head.isidentifier() else "unreadable"


def _create(tokens: list[str]) -> str:
    return "temporary table" if "temporary" in tokens[1:4] else "CREATE"


def _begin(tokens: list[str]) -> str | None:
    return None if tokens[1:] in ([], ["work"]) else "compound statement"


def _start(tokens: list[str]) -> str | None:
    return _expressions(tokens) if tokens[1:2] == ["transaction"] else "START"


def _end(tokens: list[str]) -> str | None:
    if tokens[-1] in {"chain", "release"} and tokens[-2] != "no":
        return tokens[-1].upper()
    return "CHAIN" if _chains(tokens) else _expressions(tokens)


def _chains(tokens: list[str]) -> bool:
    """Tell whether the end of this transaction begins another."""
    return ("and", "chain") in pairwise(tokens)


def _each(words: str, rule: _Rule) -> dict[str, _Rule]:
    return dict.fromkeys(words.split(), rule)


_RULES: Final = {
    **_each("( select values table with insert replace update delete", _expressions),
    **_each("show explain describe desc analyze check checksum optimize repair", _expressions),
    **_each("savepoint release truncate", _expressions),
    **_each("set use lock unlock flush reset call do handler xa", _dirty),
    **_each("prepare execute deallocate load import install uninstall", _dirty),
    **_each("alter drop rename grant revoke kill backup", _dirty),
    **_each("commit rollback", _end),
    "begin": _begin,
    "create": _create,
    "start": _start,
}

# Texts -----------------------------------------------------------------------------------------

_DROPPED_AT_END: Final = "; \t\n\r\f\v"  # by the server, before it reads a text


def _read(sql: str) -> list[str] | None:
    return tokenize(sql.rstrip(_DROPPED_AT_END))


def classify(sql: str) -> str | None:
    """Answer as `effect` does, by reading the text each time."""
    tokens = _read(sql)
    if tokens is None:
        return "unreadable"
    if "/*!" in tokens or "/*m!" in tokens:
        return "executable comment"
    if ";" in tokens:
        return "several statements"
    return _RULES.get(tokens[0], _unknown)(tokens) if tokens else None


def classify_transaction(sql: str) -> bool | None:
    """Answer as `transaction` does, by reading the text each time."""
    answer = None
    for statement in _statements(_read(sql) or []):
        match statement:
            case ["begin", *_] | ["start", "transaction", *_]:
                answer = True
            case ["commit" | "rollback", *_] if "to" not in statement[1:3]:
                answer = _chains(statement)
    return answer


def _statements(tokens: list[str]) -> Iterator[list[str]]:
    start = 0
    for end in [at for at, part in enumerate(tokens) if part == ";"] + [len(tokens)]:
        yield tokens[start:end]
        start = end + 1


#: Tells what a SQL text may leave in the session: None for nothing, else a short, stable reason.
#: Never raises. A text seen before costs one look-up.
effect: Final[Callable[[str], str | None]] = known(classify)

#: Tells whether a transaction is open after the text: True if it begins one, False if it ends
#: one, None if it does neither in so many words. (Some statements commit without saying so:
#: `effect` knows them, except ANALYZE, CHECK, OPTIMIZE, REPAIR and TRUNCATE.) Never raises.
transaction: Final[Callable[[str], bool | None]] = known(classify_transaction)

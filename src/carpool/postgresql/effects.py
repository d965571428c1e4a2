"""Tells whether a SQL text may leave state in the PostgreSQL session.

`effect(sql)` answers None when the text proves itself clean, else a short reason ("SET",
"temporary table", "function foo"). Whatever is not known counts as an effect: a wrong "clean"
would hand one user's state to the next, a wrong "dirty" costs one `DISCARD ALL`.

A statement is clean when its kind is known to leave nothing behind, or nothing that outlives its
transaction, and each function it calls is on the lists of `harmless`. `CREATE TABLE` and its like
are dirty: a `search_path` set for the transaction may turn them into temporary ones.

What a text does not show is not seen: functions that views, triggers, rules, column defaults,
operators and casts call, also `row.function` without parentheses; a function of the user's own
that bears the name of a harmless one, or is called `over` or `conflict`. Plain strings are read
with `standard_conforming_strings` on, as is the default since PostgreSQL 9.1.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Final

from carpool.known import known
from carpool.postgresql.harmless import FUNCTIONS, KEYWORDS
from carpool.postgresql.tokens import tokenize

_Rule = Callable[[list[str]], str | None]  # (a statement's tokens) -> what `effect` answers

# Calls -----------------------------------------------------------------------------------------

_HARMLESS: Final = KEYWORDS | FUNCTIONS
_SEQUENCE: Final = {"nextval", "currval", "lastval", "setval"}
_NOT_IN_NAMES: Final = frozenset(" \t\n\r\f\v()[]{}<>=+-*/%^&|~!?@#`,.:;'\\$0123456789")
_NO_CALL_AFTER: Final = {"as", "into", "references", "with"}
_NO_ARGUMENT: Final = {"select", "with", "where", "order"}
# Words that can name a function, but not after these others.
_PHRASES: Final = frozenset(
    f"{before} {word}"
    for word, places in {
        "by": "order group partition",
        "conflict": "on",
        "join": "inner outer left right full cross natural",
        "key": "primary foreign",
        "set": "update",
        "sets": "grouping",
        "varying": "character char bit",
        "zone": "time",
    }.items()
    for before in places.split()
)
_LONGER_PHRASES: Final = frozenset(
    {
        "as not materialized",
        "exclude using gist",
        "exclude using spgist",
        "group by cube",
        "group by rollup",
    },
)
_ARGUMENTS: Final = 100  # tokens: how far set_config's last argument is looked for


def _expressions(tokens: list[str]) -> str | None:
    """Classify a statement that may call functions."""
    if "into" in tokens and _makes_table(tokens):
        return "SELECT INTO"
    if "update" in tokens and ("pg_settings" in tokens or '"pg_settings"' in tokens):
        return "SET"  # what a view's rule makes of it
    effects = {at: why for at in _unknown_calls(tokens) if (why := _call(tokens, at))}
    if effects and "with" in tokens:
        for at in _column_lists(tokens):
            effects.pop(at, None)
    return next(iter(effects.values()), None)


def _unknown_calls(tokens: list[str]) -> Iterator[int]:
    """Yield where a parenthesis opens after a name that is not known to be harmless."""
    for at, (name, part) in enumerate(pairwise(tokens), 1):
        if (
            part[0] == "("
            and name[0] not in _NOT_IN_NAMES
            and (name not in _HARMLESS or tokens[at - 2] == ".")
        ):
            yield at


def _call(tokens: list[str], at: int) -> str | None:
    """Tell what is left behind by the call, if it is one, whose parenthesis opens at `at`."""
    start = at - 1
    while start > 1 and tokens[start - 1] == ".":
        start -= 2
    name = "".join(tokens[start:at]).removeprefix("pg_catalog.")
    if name in FUNCTIONS or _is_no_call(tokens, start, at):
        return None
    if name == "set_config":
        return None if _is_local(tokens, at) else "SET"
    if name in _SEQUENCE:
        return "sequence"
    if name.startswith(("pg_advisory_", "pg_try_advisory_")):
        return "advisory lock"
    return f"function {name:.60}"


def _is_no_call(tokens: list[str], start: int, at: int) -> bool:
    """Tell whether the name from `start` to `at` proves by its place that it is no function."""
    before = tokens[start - 1].rstrip() if start else ""
    if before in _NO_CALL_AFTER or before.endswith("::"):
        return True
    if before == "recursive" and tokens[start - 2] == "with":
        return True
    if tokens[at] == "(" and tokens[at + 1 : at + 2] and tokens[at + 1] in _NO_ARGUMENT:
        return True
    match tokens[start:at]:
        case ["over"]:
            return before.endswith(")")
        case ["insert"]:
            return before == "then" and tokens[0] == "merge"
    phrase = f"{before} {tokens[at - 1]}"
    return phrase in _PHRASES or f"{tokens[start - 2]} {phrase}" in _LONGER_PHRASES


def _is_local(tokens: list[str], at: int) -> bool:
    """Tell whether the arguments that open at `at` end with the literal `true`."""
    depth = 0
    for end in range(at, min(at + _ARGUMENTS, len(tokens))):
        depth += {"(": 1, ")": -1}.get(tokens[end], 0)
        if depth == 0:
            return tokens[end - 1] == "true" and tokens[end - 2].rstrip().endswith(",")
    return False


def _column_lists(tokens: list[str]) -> Iterator[int]:
    """Yield where a parenthesis opens in a WITH clause itself: columns or a query, never a call."""
    inside = [False]  # for each open parenthesis: directly in the list of a WITH clause?
    for at, part in enumerate(tokens):
        if part[0] == "(" and inside[-1]:
            yield at
        if part == "(":
            inside.append(False)
        elif part == ")" and len(inside) > 1:
            inside.pop()
        elif part == "with":
            inside[-1] = at == 0 or tokens[at - 1] == "("
        elif part in _ENDS_WITH_CLAUSE:
            inside[-1] = False


_ENDS_WITH_CLAUSE: Final = KEYWORDS - {"as", "not"} | {"insert", "update", "delete", "merge"}


def _makes_table(tokens: list[str]) -> bool:
    """Tell whether some INTO may be that of SELECT INTO."""
    return any(part == "into" and not _is_filled(tokens, at + 1) for at, part in enumerate(tokens))


def _is_filled(tokens: list[str], at: int) -> bool:
    """Tell whether the table named at `at` must exist: what follows is for INSERT or MERGE only."""
    if tokens[at : at + 1] and tokens[at] in _KINDS_OF_TABLE and not _is_insert(tokens, at - 2):
        return False
    at += 1
    while tokens[at : at + 1] == ["."]:
        at += 2
    match tokens[at : at + 3]:
        case ["as", _, after] | [after, *_] if after[0] == "(" or after in _FILLS:
            return True
        case [_, "using", *_]:
            return True
    return False


def _is_insert(tokens: list[str], at: int) -> bool:
    """Tell whether the word at `at` is an INSERT and no column's alias."""
    return tokens[at] == "insert" and (at == 0 or tokens[at - 1] in {"(", ")"})


_KINDS_OF_TABLE: Final = {"temp", "temporary", "unlogged", "table"}  # that SELECT INTO may name
_FILLS: Final = {"values", "select", "default", "overriding", "with", "using"}

# Statements ------------------------------------------------------------------------------------


def _clean(_tokens: list[str]) -> None:
    """Classify a statement without function calls that leaves nothing behind."""


def _dirty(tokens: list[str]) -> str:
    """Classify a statement by its first word, which is reason enough."""
    return tokens[0].upper()


def _unknown(tokens: list[str]) -> str:
    head = tokens[0]
    return "unreadable" if head[0] in _NOT_IN_NAMES else f"unknown statement {head.upper():.30}"


def _query(tokens: list[str]) -> str | None:
    """Classify what EXPLAIN, DECLARE and COPY may have inside."""
    return _expressions(tokens) if tokens and tokens[0] in _QUERIES else "no plain query"


def _set(tokens: list[str]) -> str | None:
    # `SET local.x = 1` and `SET local TO 1` are about variables of that name
    match tokens:
        case ["set", "local" | "transaction" | "constraints", name, *_]:
            return "SET" if name == "to" or name[0] in _NOT_IN_NAMES else None
    return "SET"


def _prepare(tokens: list[str]) -> str | None:
    match tokens:
        case ["prepare", "transaction", name] if name[0] in "'%":
            return None
    return "PREPARE"


def _create(tokens: list[str]) -> str | None:
    index = tokens[1:2] == ["index"] or tokens[1:3] == ["unique", "index"]
    if index and "(" in tokens:
        return _expressions(tokens[tokens.index("(") :])
    if not {"temp", "temporary"}.isdisjoint(tokens[1:5]):
        return _expressions(_after_name(tokens)) if _is_dropped(tokens) else "temporary table"
    return "CREATE"


def _is_dropped(tokens: list[str]) -> bool:
    """Tell whether a temporary table goes with its transaction, which may be this statement."""
    places = zip(tokens, tokens[1:], tokens[2:], strict=False)
    return tokens[2:3] == ["table"] and ("on", "commit", "drop") in places


def _after_name(tokens: list[str]) -> list[str]:
    """Return what follows the name of a table that is made: its columns, or AS and a query."""
    starts = [tokens.index(word) for word in ("(", "as") if word in tokens]
    return tokens[min(starts, default=len(tokens)) :]


def _declare(tokens: list[str]) -> str | None:
    start = tokens.index("for") if "for" in tokens else len(tokens)
    if ("with", "hold") in pairwise(tokens[:start]):
        return "cursor WITH HOLD"
    return _query(tokens[start + 1 :])


def _explain(tokens: list[str]) -> str | None:
    start = 1
    if tokens[1:2] == ["("] and tokens[2:3] and tokens[2] not in _QUERIES and ")" in tokens:
        start = tokens.index(")") + 1
    while tokens[start : start + 1] in (["analyze"], ["analyse"], ["verbose"]):
        start += 1
    return _query(tokens[start:])


def _copy(tokens: list[str]) -> str | None:
    if tokens[1:2] != ["("]:  # a table: only WHERE may call functions
        return _expressions(tokens[tokens.index("where") :]) if "where" in tokens else None
    if tokens[-1] == ")":
        options = len(tokens) - tokens[::-1].index("(") - 1
        if tokens[options - 1] in {"stdin", "stdout"}:
            tokens = tokens[:options]
    return _query(tokens[1:])


def _each(words: str, rule: _Rule) -> dict[str, _Rule]:
    return dict.fromkeys(words.split(), rule)


_QUERIES: Final = _each("( select values table with insert update delete merge", _expressions)
_RULES: Final = {
    **_QUERIES,
    **_each("begin start commit end rollback abort savepoint release", _clean),
    **_each("show fetch move close notify lock truncate comment drop grant revoke", _clean),
    **_each("analyze analyse vacuum reindex cluster checkpoint refresh", _clean),
    **_each("reset discard listen unlisten load do call import execute deallocate", _dirty),
    "alter": _expressions,
    "copy": _copy,
    "create": _create,
    "declare": _declare,
    "explain": _explain,
    "prepare": _prepare,
    "set": _set,
}

# Texts -----------------------------------------------------------------------------------------


def classify(sql: str) -> str | None:
    """Answer as `effect` does, by reading the text each time."""
    tokens = tokenize(sql)
    if tokens is None:
        return "unreadable"
    for statement in _statements(tokens):
        if statement and (reason := _RULES.get(statement[0], _unknown)(statement)):
            return reason
    return None


def _statements(tokens: list[str]) -> Iterator[list[str]]:
    if ";" not in tokens:
        yield tokens
        return
    start = 0
    for end in [at for at, part in enumerate(tokens) if part == ";"] + [len(tokens)]:
        yield tokens[start:end]
        start = end + 1


#: Tells what a SQL text may leave in the session: None for nothing, else a short, stable reason.
#: Never raises. A text seen before costs one look-up.
effect: Final[Callable[[str], str | None]] = known(classify)

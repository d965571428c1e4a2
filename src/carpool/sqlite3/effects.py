"""Tells whether a SQL text may leave state in a SQLite connection.

`effect(sql)` answers None when the text proves itself clean, else a short reason ("ATTACH",
"PRAGMA cache_size"). Whatever is not known counts as an effect: a wrong "clean" would hand one
user's state to the next, a wrong "dirty" costs the opening of a file.

One text is one statement, as sqlite3's `execute` insists, so its first word decides: queries and
writes touch what is in the file, and transactions are asked after in other ways. Only functions
could do more, and of SQLite's own two do: https://www.sqlite.org/lang_corefunc.html#load_extension
and fts3_tokenizer; with the ICU extension built in, icu_load_collation, too. What an application
has registered with `create_function` is not judged.
The counters `last_insert_rowid()`, `changes()` and `total_changes()` keep their values.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from carpool.known import known

if TYPE_CHECKING:
    from collections.abc import Callable


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_CLEAN: Final = _words(
    "select insert update delete replace with values begin commit end rollback savepoint release"
)
# Pragmas that only report, whatever their argument. https://www.sqlite.org/pragma.html
_REPORTS: Final = _words(
    "collation_list compile_options database_list foreign_key_check foreign_key_list "
    "function_list index_info index_list index_xinfo integrity_check module_list pragma_list "
    "quick_check table_info table_list table_xinfo"
)
# Pragmas that report as long as no value is given.
_SETTINGS: Final = _words(
    "analysis_limit application_id auto_vacuum automatic_index busy_timeout cache_size cache_spill "
    "cell_size_check checkpoint_fullfsync data_version defer_foreign_keys encoding foreign_keys "
    "freelist_count fullfsync ignore_check_constraints journal_mode journal_size_limit "
    "legacy_alter_table locking_mode max_page_count mmap_size page_count page_size query_only "
    "read_uncommitted recursive_triggers reverse_unordered_selects schema_version secure_delete "
    "soft_heap_limit synchronous temp_store threads trusted_schema user_version "
    "wal_autocheckpoint writable_schema"
)

# The alternatives begin differently and none matches in two ways: linear time on any text.
_SKIP: Final = r"(?:[ \t\n\f\r]|--[^\n]*(?:\n|\Z)|/\*(?:[^*]|\*(?!/))*\*/)*"
_EXPLAIN: Final = rf"(?:explain\b{_SKIP}(?:query\b{_SKIP}plan\b{_SKIP})?)?"
_HEAD: Final = re.compile(rf"{_SKIP}{_EXPLAIN}([a-z]+)\b", re.IGNORECASE | re.ASCII)
_PRAGMA: Final = re.compile(
    r"\s+(?:\w+\s*\.\s*)?(\w+)\s*(?:(;?\s*\Z)|[(=])", re.IGNORECASE | re.ASCII
)
_FUNCTIONS: Final = ("load_extension", "fts3_tokenizer", "icu_load_collation")


def classify(sql: str) -> str | None:
    """Answer as `effect` does, by reading the text each time."""
    head = _HEAD.match(sql)
    if head is None:
        return "unreadable"
    word = head[1].lower()
    if word == "pragma":
        return _pragma(sql[head.end() :])
    if word not in _CLEAN:
        return word.upper()[:30]
    text = sql.lower()
    return next((f"function {name}" for name in _FUNCTIONS if name in text), None)


def _pragma(rest: str) -> str | None:
    """Classify what follows the word PRAGMA. It may act while compiled: EXPLAIN is no excuse."""
    found = _PRAGMA.match(rest)
    if found is None:
        return "PRAGMA"
    name, bare = found[1].lower(), found[2] is not None
    clean = name in _REPORTS or (bare and name in _SETTINGS)
    return None if clean else f"PRAGMA {name:.30}"


#: Tells what a SQL text may leave in the connection: None for nothing, else a short reason.
#: Never raises. A text seen before costs one look-up.
effect: Final[Callable[[str], str | None]] = known(classify)

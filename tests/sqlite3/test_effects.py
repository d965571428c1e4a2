"""What a statement's text tells, judged by what it does to a connection."""

import pytest

from carpool.sqlite3.effects import effect

CLEAN = [
    "SELECT 1",
    "select * from note where number = %s",
    "  \n\t-- a comment\n/* another * / */ SELECT 1 -- the end",
    "WITH n AS (SELECT 1) SELECT * FROM n",
    "VALUES (1)",
    "INSERT INTO note VALUES (?) RETURNING number",
    "INSERT OR REPLACE INTO note VALUES (:number)",
    "REPLACE INTO note VALUES (1)",
    'UPDATE "note" SET "number" = 1',
    "DELETE FROM note",
    "EXPLAIN SELECT 1",
    "EXPLAIN QUERY PLAN SELECT 1",
    "explain/**/query plan\ndelete from note",
    "BEGIN",
    "BEGIN IMMEDIATE",
    "COMMIT",
    "END TRANSACTION",
    "ROLLBACK TO SAVEPOINT s1",
    "SAVEPOINT s1",
    "RELEASE SAVEPOINT s1;",
    "PRAGMA foreign_keys",
    "PRAGMA foreign_keys;",
    "PRAGMA main . journal_mode ;",
    'PRAGMA table_info("note")',
    "PRAGMA main.table_xinfo('note')",
    "PRAGMA foreign_key_check",
    "PRAGMA foreign_key_check(note)",
    "pragma index_list = note",
]
DIRTY = {
    "PRAGMA foreign_keys = ON": "PRAGMA foreign_keys",
    "PRAGMA foreign_keys(0)": "PRAGMA foreign_keys",
    "PRAGMA main.cache_size=5": "PRAGMA cache_size",
    "PRAGMA/**/cache_size=5": "PRAGMA",
    "PRAGMA foreign_keys/**/=ON": "PRAGMA",
    "PRAGMA optimize": "PRAGMA optimize",
    "PRAGMA wal_checkpoint": "PRAGMA wal_checkpoint",
    "PRAGMA nobody_knows": "PRAGMA nobody_knows",
    'PRAGMA "foreign_keys" = ON': "PRAGMA",
    "PRAGMA": "PRAGMA",
    "EXPLAIN PRAGMA foreign_keys = ON": "PRAGMA foreign_keys",
    "EXPLAIN QUERY PLAN PRAGMA foreign_keys = ON": "PRAGMA foreign_keys",
    "ATTACH 'x' AS y": "ATTACH",
    "DETACH y": "DETACH",
    "CREATE TEMP TABLE t (a)": "CREATE",
    "CREATE TABLE temp.t (a)": "CREATE",
    "DROP TABLE t": "DROP",
    "ALTER TABLE t RENAME TO u": "ALTER",
    "VACUUM": "VACUUM",
    "VACUUM INTO 'x'": "VACUUM",
    "ANALYZE": "ANALYZE",
    "REINDEX": "REINDEX",
    "SELECT load_extension('x')": "function load_extension",
    "SELECT icu_load_collation('de_DE', 'mine')": "function icu_load_collation",
    "SELECT \"LOAD_Extension\"('x')": "function load_extension",
    "SELECT fts3_tokenizer('x', y)": "function fts3_tokenizer",
    "": "unreadable",
    ";": "unreadable",
    "-- nothing": "unreadable",
    "/* open": "unreadable",
    "SELECT_1": "unreadable",
    "\x00SELECT 1": "unreadable",
    "(SELECT 1)": "unreadable",
    "EXPLAIN": "EXPLAIN",
    "\u017fELECT 1": "unreadable",
}


@pytest.mark.parametrize("sql", CLEAN)
def test_what_proves_itself_clean(sql):
    assert effect(sql) is None


@pytest.mark.parametrize(("sql", "reason"), DIRTY.items())
def test_what_does_not(sql, reason):
    assert effect(sql) == reason
    assert effect(sql) == reason  # from memory


@pytest.mark.parametrize(
    "sql", [" " * 200_000, "/* x */" * 50_000 + "!", "--\n" * 100_000, "/*" + "*" * 200_000]
)
def test_no_text_takes_long(sql):
    """The test's own time limit is the reader's patience: a bad pattern would take for ever."""
    assert effect(sql) == "unreadable"

"""What a statement may leave in an Oracle session, told from its text."""

import pytest

from carpool.oracle.effects import classify, effect, tokenize

CLEAN = [
    "SELECT 1 FROM dual",
    "select a.b, count(*) from t a where a.x = :1 group by a.b having count(*) > 1 -- comment",
    "SELECT /*+ INDEX(t i) */ a FROM t /* f(1) */",
    'SELECT "T"."ID" FROM "T" WHERE "T"."A" IN (:arg0, :arg1) FETCH FIRST 21 ROWS ONLY',
    """SELECT 1 FROM DUAL WHERE DUMMY LIKE TRANSLATE(:arg0 USING NCHAR_CS)
       ESCAPE TRANSLATE('\\' USING NCHAR_CS)""",
    'SELECT DBMS_LOB.SUBSTR("T"."A", 4000, 1) FROM "T" ORDER BY DBMS_RANDOM.VALUE',
    'SELECT CAST("A" AS NUMBER(10, 2)), EXTRACT(YEAR FROM "D"), TO_CHAR("D", \'D\') FROM "T"',
    "SELECT SUM(a) OVER (PARTITION BY b ORDER BY c ROWS 1 PRECEDING) FROM t",
    "SELECT a.x FROM a, b WHERE a.id = b.id (+)",
    "SELECT q'[it's (f(1)]', nq'!x'y!', 'f(1)', N'a''b' FROM dual",
    "SELECT INTERVAL '5' DAY(9) TO SECOND(6) FROM dual",
    "SELECT SYS_CONTEXT('USERENV', 'SID') FROM dual",
    "SELECT JSON_VALUE(a, '$.b') FROM t, JSON_TABLE(t.a, '$' COLUMNS (x NUMBER PATH '$.x'))",
    "WITH x (a) AS (SELECT 1 FROM dual) SELECT a FROM x",
    'INSERT INTO "S"."T" ("A", "B") VALUES (:a, :b) RETURNING "T"."ID" INTO :c',
    'INSERT INTO "T" ("A") SELECT * FROM (SELECT TO_NUMBER(:a) col_0 FROM DUAL UNION ALL SELECT 1)',
    "MERGE INTO t USING s ON (t.id = s.id) WHEN NOT MATCHED THEN INSERT (a) VALUES (s.a)",
    "UPDATE t SET (a, b) = (SELECT c, d FROM u) WHERE x = 1",
    "DELETE FROM t",
    "(SELECT 1 FROM dual)",
    "SELECT 1 FROM dual;",
    "COMMIT",
    "ROLLBACK TO SAVEPOINT x",
    "SAVEPOINT x",
    "SET TRANSACTION READ ONLY",
    "SET CONSTRAINTS ALL IMMEDIATE",
    "LOCK TABLE t IN SHARE MODE",
    "TRUNCATE TABLE t",
]

DIRTY = {
    "ALTER SESSION SET TIME_ZONE = 'UTC'": "ALTER SESSION",
    "/* x */ alter /* y */ session set current_schema = other": "ALTER SESSION",
    "ALTER TABLE t ADD (a NUMBER)": "ALTER",
    "ALTER PACKAGE p COMPILE": "ALTER",
    "SET ROLE ALL": "SET ROLE",
    "BEGIN NULL; END;": "PL/SQL",
    "DECLARE x NUMBER; BEGIN x := 1; END;": "PL/SQL",
    "<<label>> BEGIN NULL; END;": "PL/SQL",
    "CALL p()": "PL/SQL",
    "WITH FUNCTION f RETURN NUMBER IS BEGIN RETURN 1; END; SELECT f FROM dual": "unreadable",
    "CREATE PRIVATE TEMPORARY TABLE ora$ptt_t (a NUMBER)": "statement CREATE",
    "EXPLAIN PLAN FOR SELECT 1 FROM dual": "statement EXPLAIN",
    "GRANT SELECT ON t TO u": "statement GRANT",
    "SELECT my_function(1) FROM dual": "function my_function",
    "SELECT pkg.f(1) FROM dual": "function pkg.f",
    "SELECT s.pkg.f (1) FROM dual": "function s.pkg.f",
    'SELECT "Pkg"."F"(1) FROM dual': 'function "Pkg"."F"',
    "SELECT t.count(1) FROM dual": "function t.count",
    "SELECT a FROM t WHERE x = f(/* nothing */)": "function f",
    "INSERT INTO t VALUES (f(1))": "function f",
    "SELECT dbms_lock.request(1) FROM dual": "package dbms_lock",
    "SELECT DBMS_SESSION.UNIQUE_SESSION_ID FROM dual": "package dbms_session",
    "SELECT sys.dbms_random.seed FROM dual": "package dbms_random",
    "SELECT s.NEXTVAL FROM dual": "sequence",
    "SELECT s.currval FROM dual": "sequence",
    "INSERT INTO t VALUES (s.nextval)": "sequence",
    "SELECT a FROM t@far": "database link",
    "SELECT 1 FROM dual; ALTER SESSION SET a = 'b'": "unreadable",
    "SELECT 'open": "unreadable",
    'SELECT "open': "unreadable",
    "SELECT 1 /* open": "unreadable",
    "SELECT q'[open'": "unreadable",
    "SELECT '' f('": "unreadable",
    "": "unreadable",
    ";": "unreadable",
    "-- nothing": "unreadable",
    ":x": "unreadable",
}


@pytest.mark.parametrize("sql", CLEAN)
def test_clean(sql):
    assert effect(sql) is None


@pytest.mark.parametrize("sql", DIRTY)
def test_dirty(sql):
    assert effect(sql) == DIRTY[sql]


def test_strings_and_comments_hide_nothing_behind_them():
    assert classify("SELECT 'it''s', f(1) FROM dual") == "function f"
    assert classify("SELECT q'(a)', f(1) FROM dual") == "function f"
    assert classify("SELECT q'xax', f(1) FROM dual") == "function f"
    assert classify("SELECT 1 -- a\n, f(1) FROM dual") == "function f"
    assert classify("SELECT '/*', f(1), '*/' FROM dual") == "function f"
    assert classify('SELECT "\'", f(1), "\'" FROM t') == "function f"


def test_tokens():
    assert tokenize("Select \"A\".b1$ , :x+1.5e3 -- c\n || n'd' /**/ ;") == [
        "select", '"A"', ".", "b1$", ",", ":x", "+", "1.5e3", "|", "|", "n", "''", ";",
    ]  # fmt: skip


@pytest.mark.parametrize("part", ["'", "/*", "q'[", '"', "(", "''", "a.", "--\n", "q'x", ": "])
def test_a_long_text_is_read_in_linear_time(part):
    """Were it quadratic, this would take minutes."""
    classify(part * 50_000)
    classify("SELECT " + part * 50_000)


def test_what_follows_a_long_text_is_seen():
    assert effect(f"SELECT {'1, ' * 20_000} f(1) FROM dual") == "function f"

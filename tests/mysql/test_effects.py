# ruff: noqa: E501 - a statement is easier to check unbroken
"""What the classifier says of statements, and what a real server says of the same."""

import re
from contextlib import suppress
from itertools import product

import pymysql
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool.mysql import effects
from carpool.mysql.effects import classify, classify_transaction, effect, transaction
from carpool.mysql.harmless import KEYWORDS

# Statements that the server of the differential test can run as they are.
SCHEMA = [
    "CREATE TABLE author (id int AUTO_INCREMENT PRIMARY KEY, name varchar(20))",
    (
        "CREATE TABLE book (id int AUTO_INCREMENT PRIMARY KEY, name varchar(20) UNIQUE, price decimal(9, 2),"
        " day datetime(6) DEFAULT now(6), data json, author_id int, FULLTEXT (name), KEY by_author (author_id))"
    ),
    "CREATE TABLE parts (a int, b int) PARTITION BY RANGE (a) (PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN MAXVALUE)",
    "CREATE SEQUENCE numbers",
    "CREATE FUNCTION foo(a int) RETURNS int BEGIN SET @foo = a; RETURN a; END",
    "INSERT INTO author (name) VALUES ('Ann'), ('Bob')",
    """INSERT INTO book (name, price, data, author_id) VALUES ('x', 1, '{"a": [1, 2]}', 1)""",
]
RUNNABLE = [
    "SELECT 1",
    "select 1 -- SET x = 1",
    "SELECT 1--1, 2---2, 3 # get_lock('a', 1)",
    "/* SET a ' /* ; USE x */ SELECT 1;",
    " ( SELECT 1 ) UNION ALL (SELECT 2) ORDER BY 1 ; ; ",
    "SELECT 'get_lock(''a'', 1)', \"@a := ''1'' --\", 1 AS `@a``; foo(`",
    r"SELECT '\\', '\\\\', 'a\nb', 'a\\\nb', '\%'",
    r'SELECT "\\", "a\nb"',
    "SELECT _utf8mb4'x', N'y', x'41', 0x41, b'01', 0b01, 1.5, .5, 1e3, 1.5e-3, _binary 'a', DATE '2020-01-01'",
    "VALUES (1, 2), (3, 4)",
    "SHOW TABLES",
    "SHOW VARIABLES WHERE lower(variable_name) = 'sql_mode'",
    "SHOW FULL COLUMNS FROM book LIKE 'n%'",
    "SHOW WARNINGS",
    "EXPLAIN SELECT * FROM book",
    "EXPLAIN FORMAT=JSON UPDATE book SET price = price * (1 + 2)",
    "ANALYZE FORMAT=JSON SELECT count(*) FROM book",
    "ANALYZE TABLE book PERSISTENT FOR COLUMNS (name) INDEXES (by_author)",
    "DESCRIBE book name",
    "desc author",
    "CHECK TABLE author",
    "OPTIMIZE TABLE author",
    "TRUNCATE TABLE parts",
    "SELECT @@sql_mode, @@session.autocommit, @@global.max_connections, @@`time_zone`",
    "SELECT LAST_INSERT_ID(), last_insert_id( ), ROW_COUNT(), SLEEP(0), VERSION(), DATABASE(), CONNECTION_ID(), UUID(), RAND(), RAND(5)",
    "SELECT IS_FREE_LOCK('a'), IS_USED_LOCK('a'), BENCHMARK(2, 1 + 1)",
    "SELECT /*+ SET_VAR(sql_mode='') QB_NAME(`q`) */ /* and */ STRAIGHT_JOIN SQL_NO_CACHE name FROM book",
    "INSERT INTO author (name) VALUES (DEFAULT(name)), (upper('x'))",
    "INSERT author (name) VALUES ('c')",
    "INSERT IGNORE INTO `author` (`id`, `name`) VALUES (1, 'c') ON DUPLICATE KEY UPDATE name = VALUES(name), id = (id)",
    "INSERT IGNORE author (id) VALUE (1)",
    "INSERT INTO author () VALUES ()",
    "INSERT INTO author (name) SELECT name FROM book ON DUPLICATE KEY UPDATE author.name = VALUE(author.name)",
    "INSERT INTO author SET name = concat('a', 'b')",
    "INSERT INTO author (name) VALUES ('d') RETURNING id, (name)",
    "INSERT INTO parts PARTITION (p0) (a, b) VALUES (1, 2)",
    "REPLACE INTO author (id, name) VALUES (1, REPLACE('a', 'b', INSERT('c', 1, 1, 'd')))",
    "REPLACE author (id) VALUES (1)",
    "UPDATE author a JOIN book b ON (a.id = b.author_id) SET a.name = IF(b.price > 0, LEFT(b.name, 1), RIGHT('x', 1))",
    "DELETE FROM parts PARTITION (p0) WHERE a IN (1, 2) OR a IN(SELECT 3)",
    "DELETE author FROM author LEFT JOIN book ON author.id = book.author_id WHERE book.id IS NULL",
    "WITH a (x) AS (SELECT 1), b (y, z) AS (SELECT x, 2 FROM a) SELECT max(y) FROM b",
    "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 5) SELECT sum(n) FROM t",
    "SELECT name FROM book USE INDEX (by_author) IGNORE KEY FOR ORDER BY (name) JOIN author USING (name)",
    "SELECT name FROM book FORCE INDEX (PRIMARY) WHERE (id, name) IN ((1, 'x')) AND NOT (id = ANY(SELECT 1))",
    "SELECT t.a FROM JSON_TABLE('[1]', '$[*]' COLUMNS (a int(11) PATH '$', NESTED PATH '$.b' COLUMNS (b varchar(9) PATH '$'))) AS t",
    "SELECT name, ROW_NUMBER() OVER (PARTITION BY author_id ORDER BY price), SUM(price) OVER w FROM book WINDOW w AS (ORDER BY id)",
    "SELECT MATCH (name) AGAINST ('x' IN BOOLEAN MODE) FROM book WHERE MATCH(name) AGAINST('x')",
    "SELECT CAST(1 AS CHAR(10)), CAST(1 AS DECIMAL(9, 2)), CONVERT('a' USING utf8mb4), CONVERT(1, CHAR(3)), CAST(now() AS DATETIME(6)), CAST('a' AS BINARY(3))",
    "SELECT GROUP_CONCAT(DISTINCT name ORDER BY id SEPARATOR '; '), COUNT(DISTINCT name, id) FROM book GROUP BY author_id WITH ROLLUP",
    "SELECT now() + INTERVAL (1 + 1) DAY, DATE_ADD(now(6), INTERVAL 5 MINUTE), INTERVAL(1, 2, 3), TIMESTAMP(now()), EXTRACT(YEAR FROM now())",
    "SELECT PERCENTILE_CONT(0.5) WITHIN GROUP (ORDER BY price) OVER () FROM book",
    "SELECT SUBSTRING('abc' FROM 2 FOR 1), TRIM(BOTH 'a' FROM 'aba'), POSITION('a' IN 'b'), MOD(5, 2), 5 MOD (2), 5 DIV (2), CHAR(65 USING utf8mb4)",
    "SELECT CASE WHEN (1 = 1) THEN (2) ELSE (3) END, (1) AND (2) XOR (0) OR (1), BINARY ('a'), 'a' LIKE ('b'), 'a' REGEXP ('b'), 'a' RLIKE ('b')",
    "SELECT {fn now()}, {d '2020-01-01'}",
    "SELECT x.a FROM (SELECT 1 AS a) x WHERE EXISTS(SELECT 1) FOR UPDATE",
    "SELECT 1 LOCK IN SHARE MODE",
    "SELECT ST_AsText(ST_GeomFromText('POINT(1 1)', 4326)), POINT(1, 2), MBRContains(POINT(1, 1), POINT(1, 1))",
    "SELECT JSON_UNQUOTE(JSON_EXTRACT(data, '$.a')), JSON_CONTAINS(data, '1', '$.a') FROM book",
]
TRANSACTIONS = [
    ["BEGIN", "SELECT 1", "COMMIT"],
    ["begin work", "SAVEPOINT a", "RELEASE SAVEPOINT a", "rollback work"],
    ["START TRANSACTION READ ONLY", "COMMIT AND NO CHAIN NO RELEASE"],
    [
        "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ WRITE",
        "SAVEPOINT a",
        "ROLLBACK TO a",
        "ROLLBACK",
    ],
    [
        "BEGIN",
        "SAVEPOINT `a`",
        "ROLLBACK WORK TO SAVEPOINT `a`",
        "INSERT INTO author () VALUES ()",
        "COMMIT",
    ],
]
# What people send to MySQL, or with placeholders.
OTHERS = [
    "",
    " -- nothing",
    "SELECT '%%', 7 %% 2, 7 % 2, %s, %(a)s, %(b_2)s, -%s, (%s), (%s, %s) FROM t WHERE a=%s AND b IN %s",
    "SELECT DATE_FORMAT(a, '%%Y-%%m-%%d'), DATE_FORMAT(a, '%Y %s') FROM t WHERE a LIKE CONCAT('%%', %s)",
    r"SELECT 1 FROM t WHERE a LIKE BINARY CONCAT('%%', REPLACE(REPLACE(REPLACE((b), '\\', '\\\\'), '%%', '\%%'), '_', '\_'), '%%')",
    "INSERT INTO t (a, b) VALUES (%s, _binary %s), (DEFAULT, NULL) AS new ON DUPLICATE KEY UPDATE a = new.a",
    "INSERT INTO t (a) VALUES ROW(1), ROW(2) AS new(m) ON DUPLICATE KEY UPDATE a = m",
    "SELECT a->'$.b', a->>'$.c', 1 MEMBER OF ('[1]'), REGEXP_LIKE(a, %s, 'c'), ANY_VALUE(b) FROM t",
    "SELECT * FROM t, LATERAL (SELECT 1) x JOIN JSON_TABLE(%s, %s COLUMNS (a int PATH '$')) y",
    "INSERT INTO g (p) VALUES (ST_GeomFromText(%s, 4326, 'axis-order=long-lat'))",
    "SELECT ST_AsBinary(`g`.`p`), ST_Collect(p), ST_GeoHash(p, 5) FROM g WHERE MBRCoveredBy(p, ST_GeomFromWKB(%s)) AND ST_Distance_Sphere(p, q) < 5",
    "EXPLAIN FORMAT=TREE SELECT 1",
    "EXPLAIN ANALYZE SELECT `a`.`b` FROM `a` WHERE `a`.`c` = %s",
    "SELECT 1 FROM t FOR UPDATE OF `t` SKIP LOCKED",
    "SELECT * FROM t INTO OUTFILE '/tmp/x' FIELDS TERMINATED BY ','",
    "TABLE t ORDER BY a LIMIT 1",
    "CHECKSUM TABLE t",
    "REPAIR TABLE t",
]
CLEAN = RUNNABLE + [sql for texts in TRANSACTIONS for sql in texts] + OTHERS

DIRTY = {
    "SET x = 1": "SET",
    "set names utf8mb4": "SET",
    "SET @x = 1": "SET",
    "SET PASSWORD = ''": "SET",
    "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE": "SET",
    "SET SESSION TRANSACTION READ ONLY": "SET",
    "SET STATEMENT max_statement_time=1 FOR SELECT 1": "SET",
    "-- \nSET x = 1": "SET",
    "--\tx\nSET x = 1": "SET",
    "#\nSET x = 1": "SET",
    "/* /* */ sEt x = 1": "SET",
    "/**/SET/**/x = 1": "SET",
    "SELECT @x": "user variable",
    "SELECT @x := 1": "user variable",
    "SELECT @ x": "user variable",
    "SELECT @'x' := 1, @@sql_mode": "user variable",
    "SELECT @`x` := 1": "user variable",
    "SELECT 1 INTO @x": "user variable",
    "EXPLAIN FORMAT=JSON INTO @x SELECT 1": "user variable",
    "UPDATE t SET a = (@n := @n + 1)": "user variable",
    "SHOW TABLES WHERE (@x := 1)": "user variable",
    "SELECT 5--@x:=1": "user variable",
    "SELECT '\\\\', @x": "user variable",
    "USE shop": "USE",
    "LOCK TABLES t WRITE": "LOCK",
    "UNLOCK TABLES": "UNLOCK",
    "FLUSH TABLES t WITH READ LOCK": "FLUSH",
    "BACKUP LOCK t": "BACKUP",
    "SELECT GET_LOCK('a', 1)": "advisory lock",
    "SELECT get_lock /* */ ('a', 1)": "advisory lock",
    "SELECT 1 WHERE release_lock(%s)": "advisory lock",
    "SELECT RELEASE_ALL_LOCKS()": "advisory lock",
    "INSERT INTO t (a) VALUES (GET_LOCK('a', 1))": "advisory lock",
    "INSERT INTO t (a) SELECT GET_LOCK('a', 1)": "advisory lock",
    "EXPLAIN SELECT GET_LOCK('a', 1)": "advisory lock",
    "SHOW TABLES WHERE GET_LOCK('a', 1)": "advisory lock",
    "WITH a (b) AS (SELECT GET_LOCK('a', 1)) SELECT 1": "advisory lock",
    "WITH a AS (SELECT 1) SELECT GET_LOCK('a', 1) AS b, (1)": "advisory lock",
    "SELECT {fn GET_LOCK('a', 1)}": "advisory lock",
    "SELECT 1 /*+ '*/ , get_lock('a', 1) -- '": "unreadable",
    "CREATE TEMPORARY TABLE t (a int)": "temporary table",
    "create or replace temporary table t (a int)": "temporary table",
    "CREATE TABLE t (a int)": "CREATE",
    "ALTER TABLE t ADD a int": "ALTER",
    "DROP TABLE t": "DROP",
    "RENAME TABLE t TO u": "RENAME",
    "GRANT ALL ON t TO a": "GRANT",
    "SELECT SQL_CALC_FOUND_ROWS * FROM t": "FOUND_ROWS",
    "SELECT FOUND_ROWS()": "FOUND_ROWS",
    "PREPARE p FROM 'SELECT 1'": "PREPARE",
    "EXECUTE p": "EXECUTE",
    "EXECUTE IMMEDIATE 'SET x = 1'": "EXECUTE",
    "DEALLOCATE PREPARE p": "DEALLOCATE",
    "HANDLER t OPEN": "HANDLER",
    "CALL p()": "CALL",
    "DO GET_LOCK('a', 1)": "DO",
    "XA START 'a'": "XA",
    "LOAD DATA INFILE 'a' INTO TABLE t": "LOAD",
    "INSTALL SONAME 'a'": "INSTALL",
    "KILL 5": "KILL",
    "SELECT LAST_INSERT_ID(5)": "LAST_INSERT_ID",
    "SELECT LAST_INSERT_ID(a + 1)": "LAST_INSERT_ID",
    "UPDATE t SET a = LAST_INSERT_ID(a + 1)": "LAST_INSERT_ID",
    "SELECT NEXTVAL(s)": "sequence",
    "SELECT setval(s, 5), 1": "sequence",
    "SELECT LASTVAL(s)": "sequence",
    "SELECT NEXT VALUE FOR s": "sequence",
    "SELECT PREVIOUS VALUE FOR s": "sequence",
    "SELECT 1; SELECT 2": "several statements",
    "SELECT 1; -- two": "several statements",
    "BEGIN; SELECT 1": "several statements",
    "BEGIN NOT ATOMIC SET @x = 1": "compound statement",
    "COMMIT AND CHAIN": "CHAIN",
    "COMMIT AND CHAIN NO RELEASE": "CHAIN",
    "ROLLBACK RELEASE": "RELEASE",
    "START SLAVE": "START",
    "SELECT 1 /*! , get_lock('a', 1) */": "executable comment",
    "SELECT 1 /*!40001 , foo(2) */, 3": "executable comment",
    "SELECT 1 /*M!100000 , foo(2) */, 3": "executable comment",
    "/*!99999 SET x = 1 */": "executable comment",
    "SELECT foo(1)": "function foo",
    "SELECT foo (1)": "function foo",
    "SELECT db.foo(1)": "function db.foo",
    "SELECT db.abs(1)": "function db.abs",
    "SELECT db . in(1)": "function db.in",
    "SELECT `abs`(1)": "function `abs`",
    "SELECT `db`.`foo`(1)": "function `db`.`foo`",
    'SELECT "abs"(1)': 'function "abs"',
    "SELECT db.5(1)": "function db.5",
    "SELECT 5f(1), db.`x`(1)": "function 5f",
    "SELECT 5 %s(1)": "function s",
    "SELECT 5 %s/* */(1)": "function s",
    "SELECT 5 %sabs(1)": "function sabs",
    "SELECT 5%%s(1)": "function s",
    "SELECT mas\u212a(1)": "function mas\u212a",
    r"SELECT `\`, foo(1), ` -- `": "function foo",
    "SELECT 1 -- \r'\n, foo(1) -- '": "function foo",
    "SELECT EXTRACTVALUE(a, '$@x')": "function extractvalue",
    "SELECT of(1)": "function of",
    "SELECT * FROM t PROCEDURE ANALYSE(1)": "function analyse",
    "FROBNICATE": "unknown statement FROBNICATE",
    "SELECT 'open": "unreadable",
    'SELECT "open': "unreadable",
    "SELECT `open": "unreadable",
    "SELECT 1 /* open": "unreadable",
    r"SELECT 'a\', get_lock('a', 1) -- '": "unreadable",
    r"SELECT '\', @x := 1, ' -- ": "unreadable",
    r"SELECT 'a\\\' , foo(1), ' -- ": "unreadable",
    r'SELECT "a\", foo(1), " -- ': "unreadable",
    "SELECT %(a'b)s, foo(1), %(a'b)s": "unreadable",
    "SELECT $$ ' $$, foo(1), $$ ' $$": "unreadable",
    "SELECT 1 -- \x00, foo(1)": "unreadable",
    "SELECT 1 --\u00a0, foo(1)": "unreadable",
    "SELECT \\N": "unreadable",
    "SELECT 1 \x01": "unreadable",
    "%s": "unreadable",
}


@pytest.mark.parametrize("sql", CLEAN)
def test_clean(sql):
    assert classify(sql) is None


@pytest.mark.parametrize(("sql", "reason"), DIRTY.items())
def test_dirty(sql, reason):
    assert classify(sql) == reason


@pytest.mark.parametrize(
    ("sql", "answer"),
    [
        ("BEGIN", True),
        ("/* x */ begin work;", True),
        ("START TRANSACTION READ ONLY", True),
        ("SELECT 1; BEGIN; SELECT 2", True),
        ("COMMIT AND CHAIN", True),
        ("COMMIT", False),
        ("rollback work", False),
        ("COMMIT AND NO CHAIN", False),
        ("BEGIN; ROLLBACK;", False),
        ("ROLLBACK TO a", None),
        ("ROLLBACK WORK TO SAVEPOINT a", None),
        ("SAVEPOINT begin", None),
        ("START SLAVE", None),
        ("SELECT 'BEGIN'", None),
        ("SELECT 'open", None),
        ("", None),
    ],
)
def test_transaction(sql, answer):
    assert classify_transaction(sql) is transaction(sql) is transaction(sql) is answer


NOISE = st.lists(
    st.sampled_from([" ", "\n", "/* SELECT ' */", "/* /* ; */", "-- '\n", "#`\n", "\t\f"])
).map("".join)
READABLE = [sql for sql, reason in DIRTY.items() if reason != "unreadable"]


@given(before=NOISE, sql=st.sampled_from(READABLE), after=NOISE)
def test_noise_hides_nothing(before, sql, after):
    assert classify(f"{before}{sql}\n{after}") is not None


@given(before=st.sampled_from(CLEAN), sql=st.sampled_from(READABLE))
def test_a_clean_statement_hides_no_dirty_one(before, sql):
    assert classify(f"{before}\n;{sql}") is not None


DANGER = st.one_of(st.text(), st.sampled_from(list(DIRTY)), st.sampled_from(["'", "''", "/*", '"']))


@given(DANGER)
def test_what_strings_names_and_comments_contain_does_not_count(text):
    escaped = text.replace("\\", "\\\\").replace("'", "''")
    quoted, name = escaped.replace('"', '""'), text.replace("`", "``")
    comment = re.sub(r"[\n\0]", "", text)
    sql = f"SELECT '{escaped}', \"{quoted}\" AS `{name}` -- {comment}\n, # {comment}\nlower('')"
    assert classify(sql) is None


FRAGMENTS = st.sampled_from(
    [
        *"()'\"`;\\,.%@#-",
        *(
            "/*",
            "*/",
            "/*!",
            "/*+",
            "--",
            "-- ",
            "\n",
            "%s",
            "%(a)s",
            "@@a",
            "1",
            ".5",
            "foo",
            "`a`",
        ),
        *KEYWORDS,
        *effects._RULES,
        *effects._REASONS,
        *effects._NO_CALL_AFTER,
        *("chain", "transaction", "work", "columns", "against"),
    ]
)


@given(st.one_of(st.text(), st.lists(FRAGMENTS).map(" ".join), st.lists(FRAGMENTS).map("".join)))
def test_no_text_raises(text):
    assert classify(text) is None or classify(text)
    assert classify_transaction(text) in {True, False, None}


def test_effect_answers_like_classify():
    assert effect("SET x = 1") == effect("SET x = 1") == "SET"
    assert effect("SELECT 1") is None


@pytest.mark.parametrize(
    "part",
    [
        *(
            "(",
            "f(",
            "f(a,",
            "a as (",
            "/*",
            "/**/",
            "/*+ '",
            "/*+",
            "/*!",
            "-",
            "-- ",
            "#",
            "'",
            "''",
        ),
        *(
            "'\\\\' ",
            "\\",
            '"',
            "`",
            ";",
            "a.",
            "a(",
            ".5",
            "5 ",
            "%s",
            "%s /**/",
            "%(a",
            "%(a)s ",
            "@",
            "@@a",
        ),
        *("with a(b) as (", "value for ", "1,"),
    ],
)
def test_a_long_text_is_read_in_linear_time(part):
    """Were it quadratic, this would take minutes."""
    classify(part * 50_000)
    classify("SELECT " + part * 50_000)
    classify_transaction(part * 50_000)


# The real server ---------------------------------------------------------------------------------

# Of the session's variables, those that tell of the last statement or of the time.
PASSING = {
    "timestamp",
    "last_insert_id",
    "identity",
    "last_gtid",
    "error_count",
    "warning_count",
    "in_transaction",
}
PASSING |= {"rand_seed1", "rand_seed2", "insert_id"}
# Commands that the server counts for each session as it runs them.
COUNTED = re.compile(
    "Com_(set_option|change_db|lock_tables|flush|create_temporary_table|create_table|prepare_sql"
    "|execute_sql|execute_immediate|ha_open|call_procedure|do|xa_start|load)"
)
MODES = [
    "",
    "NO_BACKSLASH_ESCAPES",
    "ANSI_QUOTES",
    "IGNORE_SPACE",
    "NO_BACKSLASH_ESCAPES,ANSI_QUOTES",
]


@pytest.fixture(scope="module")
def books(mariadb):
    mariadb.create_database("books")
    yield mariadb.params | {"database": "books", "autocommit": True}
    mariadb.drop_database("books")


@pytest.fixture(scope="module")
def kept(books):
    """A session for all examples of a test, in a database as new."""
    with pymysql.connect(**books) as maker:
        names = run(
            maker,
            "SELECT table_name, table_type FROM information_schema.tables WHERE table_schema = 'books'",
        )
        for name, kind in names:
            run(maker, f"DROP {'SEQUENCE' if kind == 'SEQUENCE' else 'TABLE'} {name}")
        run(maker, "DROP FUNCTION IF EXISTS foo")
        for sql in SCHEMA:
            run(maker, sql)
    with pymysql.connect(**books) as connection:
        yield connection


@pytest.fixture
def session(kept, books):
    """A new session in that database."""
    with pymysql.connect(**books) as connection:
        yield connection


def run(session, sql):
    with session.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


def state(session):
    variables = [row for row in run(session, "SHOW SESSION VARIABLES") if row[0] not in PASSING]
    counters = [
        row
        for row in run(session, "SHOW SESSION STATUS LIKE 'Com\\_%'")
        if COUNTED.fullmatch(row[0])
    ]
    return variables, counters, small_state(session)


def small_state(session):
    """Return what the examples of Hypothesis could plant; looking at everything takes longer."""
    user_variables = run(
        session, "SELECT variable_name, variable_value FROM information_schema.user_variables"
    )
    where = "SELECT database(), current_role(), is_used_lock('a') = connection_id(), @@sql_mode, @@in_transaction"
    return user_variables, run(session, where)


@pytest.mark.parametrize("sql", RUNNABLE)
def test_the_server_agrees_that_it_is_clean(session, sql):
    before = state(session)
    run(session, sql)
    assert state(session) == before


@pytest.mark.parametrize("texts", TRANSACTIONS)
def test_the_server_agrees_on_transactions(session, texts):
    before, open_ = state(session), False
    for sql in texts:
        run(session, sql)
        answer = transaction(sql)
        open_ = open_ if answer is None else answer
        assert run(session, "SELECT @@in_transaction") == ((int(open_),),)
    assert state(session) == before


@pytest.mark.parametrize(
    "sql",
    [
        "SET max_statement_time = 10",
        "SET NAMES latin1",
        "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "SELECT @x := 1",
        "SELECT 1 INTO @x",
        "SELECT GET_LOCK('a', 1)",
        "SELECT 1 /*! , GET_LOCK('a', 1) */",
        "SELECT foo(1)",
        "SELECT books . `foo` (1)",
        "USE mysql",
        "LOCK TABLES book READ",
        "HANDLER book OPEN",
        "PREPARE p FROM 'SELECT 1'",
        "CREATE TEMPORARY TABLE t (a int)",
        "DO GET_LOCK('a', 1)",
        "BEGIN NOT ATOMIC SET @x = 1; END",
        "COMMIT AND CHAIN",
    ],
)
def test_the_server_would_show_an_effect(session, sql):
    """The tests around can fail: what is dirty does change what they look at."""
    before = state(session)
    run(session, sql)
    assert classify(sql)
    assert state(session) != before


# Pieces that open or close what hides other pieces, and pieces that would leave something.
PLANTS = [
    "@v:=1",
    "GET_LOCK('a',0)",
    "foo(1)",
    "foo (1)",
    "`foo`(1)",
    "books.foo(1)",
    '"foo"(1)',
    "5.foo(1)",
]
SHELLS = [
    ("'", "'"),
    ('"', '"'),
    ("1 `", "`"),
    ("/*", "*/1"),
    ("/*+", "*/1"),
    ("-- ", "\n1"),
    ("#", "\n1"),
]
SHELLS += [("--", "1"), ("-", "-1"), ("", "1"), ("x ", ""), ("/*!", "*/1"), ("/*M!", "*/1")]
CRACKS = [
    "\\",
    "\\\\",
    "'",
    "''",
    '"',
    "`",
    "/*",
    "*/",
    "\n",
    "\r",
    "-- ",
    "--",
    "#",
    ",",
    "1",
    "1,",
    ",1",
    "%",
    "(",
    ")",
    "a.",
]
CRACKS += [f",{plant}," for plant in PLANTS[:4]]
SHELL = st.sampled_from(SHELLS)
BODY = st.lists(st.sampled_from([*CRACKS, *PLANTS]), max_size=4).map("".join)
ITEM = st.builds(lambda shell, body: shell[0] + body + shell[1], SHELL, BODY)
ITEMS = st.lists(ITEM, min_size=1, max_size=4)


def closed(items):
    """Return texts of these items, of which some the server can read to their end."""
    text = "SELECT 1," + ",".join(items)
    return [
        text,
        *(text + end for end in ("'", '"', "`", " -- '", ' -- "', " -- `", "\n*/", ",1 -- '\\''")),
    ]


@given(st.sampled_from(MODES), ITEMS)
def test_no_sql_mode_lets_anything_out_of_a_clean_text(kept, mode, items):
    run(kept, f"SET sql_mode = '{mode}'")
    before = small_state(kept)
    for sql in closed(items):
        if classify(sql) is None:
            try:
                run(kept, sql)
            except pymysql.MySQLError:
                continue  # the server could not make sense of it
            assert small_state(kept) == before, sql


# All of these: what opens, twice what may close or continue it, a plant, what makes it whole.
OPENINGS = ["'", '"', "1 `", "1 /*", "1 /*+", "1 -- ", "1 --", "1 #"]
TWICE = ["", "\\", "'", "''", '"', "`", "/*", "*/", "\n", "\r"]
ENDS = [
    "1",
    "'",
    '"',
    "`",
    " -- '",
    "' -- '",
    '" -- "',
    "` -- `",
    "'\n",
    "1\n,1",
    "*/,1",
    "1 -- */",
]


def test_no_way_of_hiding_a_call_is_clean_and_runs_it(kept):
    """Every short text around a call of `foo`, in every sql_mode that tells where a string ends."""
    parts = enumerate(product(OPENINGS, TWICE, TWICE, ENDS))
    texts = {n: f"SELECT 1, {a}{b}{c},foo({n}),{end}" for n, (a, b, c, end) in parts}
    clean = [sql for sql in texts.values() if classify(sql) is None]
    ran = 0
    for mode in MODES[:3]:
        run(kept, f"SET sql_mode = '{mode}', @foo = NULL")
        for sql in clean:
            with suppress(pymysql.MySQLError):  # some it cannot make sense of
                run(kept, sql)
                ran += 1
        ((number,),) = run(kept, "SELECT @foo")
        assert number is None, texts[number]
    assert ran > 1_000


def test_such_texts_would_let_things_out(kept):
    """The test above can fail: all of its plants take root where nothing hides them."""
    for plant in PLANTS[:-1]:
        mode = "ANSI_QUOTES" if plant[0] == '"' else ""
        run(kept, f"SET sql_mode = '{mode}'")
        before = small_state(kept)
        run(kept, f"SELECT 1, {plant}")
        assert small_state(kept) != before
        run(kept, "SET @v = NULL, @foo = NULL")
        run(kept, "DO RELEASE_ALL_LOCKS()")

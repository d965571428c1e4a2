# ruff: noqa: E501 - a statement is easier to check unbroken
"""What the classifier says of statements, and what a real server says of the same."""

import re

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool.postgresql import effects
from carpool.postgresql.effects import classify, effect
from carpool.postgresql.harmless import KEYWORDS

# Statements that the server of the differential test can run as they are.
SCHEMA = """
    CREATE TABLE book (id serial PRIMARY KEY, name text UNIQUE, price numeric(9, 2), day timestamptz
                       DEFAULT now(), data jsonb, author_id int);
    CREATE TABLE author (id serial PRIMARY KEY, name text);
    CREATE TABLE temp (a int);
    INSERT INTO author (name) VALUES ('Ann'), ('Bob');
    INSERT INTO book (name, price, data, author_id) VALUES ('x', 1, '{"a": {"b": [1]}}', 1);
"""
RUNNABLE = [
    "SELECT 1",
    "select 1 -- SET x = 1",
    "/* SET a /* nested */ ; LISTEN x */ SELECT 1",
    "SELECT 'SET x; pg_advisory_lock(1)', E'\\'; LISTEN y; --', $$; SET z = 1$$, $a$ $b$ ; $a$",
    'SELECT 1 AS "SET ; nextval(", 2 AS "a""; LOAD"',
    "SELECT U&'\\0041 set_config('",
    "VALUES (1, 2), (3, 4)",
    "TABLE book",
    "(SELECT 1) UNION ALL (SELECT 2) ORDER BY 1",
    ";;  SELECT 1 ; ; ",
    "",
    " -- nothing",
    "SHOW search_path",
    "BEGIN; SELECT 1; COMMIT",
    "BEGIN ISOLATION LEVEL SERIALIZABLE; ROLLBACK",
    "START TRANSACTION READ ONLY; END",
    "BEGIN; SAVEPOINT a; RELEASE SAVEPOINT a; SAVEPOINT b; ROLLBACK TO SAVEPOINT b; ABORT",
    "BEGIN; SET LOCAL statement_timeout = 1000; SET TRANSACTION READ ONLY; COMMIT",
    "BEGIN; SET CONSTRAINTS ALL DEFERRED; COMMIT",
    "BEGIN; LOCK TABLE book IN SHARE MODE; COMMIT",
    "BEGIN; DECLARE c NO SCROLL CURSOR FOR SELECT * FROM book; FETCH 1 FROM c; MOVE 1 c; COMMIT",
    "BEGIN; DECLARE c CURSOR WITHOUT HOLD FOR SELECT 1; CLOSE c; COMMIT",
    "BEGIN; SELECT pg_advisory_xact_lock(1), pg_try_advisory_xact_lock(2, 3); COMMIT",
    "SELECT set_config('app.user', lower('X'), true)",
    "SELECT pg_catalog.set_config('app.user', 'x', TRUE), pg_catalog.lower('A')",
    "SELECT pg_sleep(0), pg_backend_pid(), version(), current_setting('TimeZone')",
    "NOTIFY news, 'hello'",
    "SELECT pg_notify('news', 'x')",
    "EXPLAIN SELECT 1",
    "EXPLAIN ANALYZE VERBOSE SELECT COUNT(*) FROM book",
    "EXPLAIN (ANALYZE, FORMAT JSON) UPDATE book SET price = 3",
    "EXPLAIN (SELECT 1)",
    "ANALYZE book (name)",
    "VACUUM (ANALYZE) book",
    "TRUNCATE author",
    "REINDEX TABLE book",
    "COMMENT ON TABLE book IS 'SET'",
    "GRANT SELECT ON book TO PUBLIC",
    "ALTER TABLE book ADD COLUMN isbn varchar(13) DEFAULT lower('X') NOT NULL CHECK (isbn <> 'y')",
    "ALTER TABLE book ADD CONSTRAINT r FOREIGN KEY (author_id) REFERENCES author (id) DEFERRABLE",
    "CREATE INDEX price_index ON book USING btree (price, upper(name)) WHERE (price > 1)",
    "CREATE UNIQUE INDEX ON book (author_id)",
    "DROP TABLE author, temp",
    "INSERT INTO temp VALUES (1)",
    "INSERT INTO author AS a (id, name) VALUES (default, 'x') RETURNING (a.id)",
    "INSERT INTO public.author (id, name) OVERRIDING SYSTEM VALUE (SELECT 77, 'q')",
    (
        'INSERT INTO "book" ("name", "price") SELECT * FROM UNNEST((ARRAY[\'a\'])::text[], '
        '(ARRAY[1])::numeric(9, 2)[]) ON CONFLICT ("name") DO UPDATE SET "price" = EXCLUDED.price '
        'RETURNING "book"."id"'
    ),
    (
        "MERGE INTO author a USING book b ON (a.id = b.author_id) WHEN MATCHED THEN UPDATE SET name = "
        "upper(b.name) WHEN NOT MATCHED THEN INSERT (id, name) VALUES (b.id, b.name)"
    ),
    "WITH gone AS (DELETE FROM book WHERE id IN (5, 6) RETURNING *) SELECT count(*) FROM gone",
    (
        "WITH a (x) AS MATERIALIZED (SELECT 1), b (y) AS NOT MATERIALIZED (SELECT x FROM a) "
        "SELECT max(y) FROM b"
    ),
    (
        "WITH RECURSIVE t(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM t WHERE n < 5) "
        "SELECT sum(n) FROM t AS u(n)"
    ),
    (
        "SELECT x::varchar(3), CAST('1' AS numeric(4, 1)), '1'::character varying(5), "
        "TIMESTAMP(3) WITH TIME ZONE '2020-01-01', INTERVAL '1' DAY FROM (VALUES ('a')) AS v(x)"
    ),
    (
        "SELECT EXTRACT('year' FROM now()), SUBSTRING('abc', 1, 2), POSITION('a' IN 'b'), "
        "TRIM(BOTH FROM ' a '), OVERLAY('abc' PLACING 'x' FROM 1), COALESCE(NULL, 1), NULLIF(1, 2), "
        "GREATEST(1, 2), LEAST(1, 2), ROW(1, 2), ARRAY(SELECT 1)"
    ),
    "SELECT 1 WHERE (1 = ANY(ARRAY[1])) AND EXISTS(SELECT 1) AND NOT (2 IN (3, 4))",
    "SELECT name FROM book JOIN (SELECT 1 AS id) x USING (id) CROSS JOIN LATERAL (SELECT 2) y",
    "SELECT name, count(*) FROM book GROUP BY GROUPING SETS ((name), ())",
    "SELECT author_id, count(*) FROM book GROUP BY ROLLUP (author_id)",
    "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY price) FILTER (WHERE price > 0) FROM book",
    "SELECT similar_to_escape('a'), 'a' LIKE ('b'), 'a' ~* ('c')",
    "COPY (SELECT lower(name) FROM book) TO STDOUT (FORMAT csv)",
]
# What Django's ORM sends, with its placeholders.
BOOK = '"book"."id", "book"."name", "book"."price"'
DJANGO = [
    (
        f'SELECT {BOOK} FROM "book" WHERE ("book"."name"::text LIKE UPPER(%s) AND NOT "book"."id" IN '
        "(%s, %s, %s)) ORDER BY 1 DESC LIMIT 21"
    ),
    (
        f'SELECT {BOOK}, COUNT("x"."id") FILTER (WHERE "x"."ok") AS "n" FROM "book" LEFT OUTER JOIN '
        '"x" ON ("book"."id" = "x"."book_id") GROUP BY "book"."id" HAVING COUNT("x"."id") > %s'
    ),
    (
        f'SELECT {BOOK}, ROW_NUMBER() OVER (PARTITION BY "book"."author_id" ORDER BY "book"."price" '
        "DESC ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS r, SUM(price) OVER () FROM book"
    ),
    'SELECT CASE WHEN ("a"."b" > %s) THEN %s ELSE LOWER("a"."c") END AS "d" FROM "a"',
    (
        f'SELECT {BOOK}, (SELECT MAX(U0."day") AS "m" FROM "sale" U0 WHERE U0."b" = ("book"."id")) AS '
        '"last" FROM "book" WHERE EXISTS(SELECT 1 AS "a" FROM "x" V0 WHERE V0."id" = ("book"."id"))'
    ),
    f'SELECT {BOOK} FROM "book" WHERE "book"."id" = %s LIMIT 21 FOR NO KEY UPDATE OF "book" NOWAIT',
    'INSERT INTO "book" ("name", "price") VALUES (%s, %s), (%s, %s) ON CONFLICT DO NOTHING',
    (
        'INSERT INTO "book" ("name") VALUES (%s) ON CONFLICT("name") DO UPDATE SET "name" = '
        'EXCLUDED."name" RETURNING "book"."id"'
    ),
    (
        'UPDATE "book" SET "price" = CASE WHEN ("book"."id" = %s) THEN (%s)::numeric(9, 2) ELSE NULL '
        'END WHERE "book"."id" IN (%s)'
    ),
    'DELETE FROM "book" WHERE "book"."id" IN (SELECT U0."id" FROM "book" U0)',
    'SELECT COUNT(*) FROM (SELECT DISTINCT ON ("book"."name") "book"."id" AS "c" FROM "book") sub',
    (
        'SELECT ("book"."data" #>> %s) AS "x" FROM "book" WHERE ("book"."data" -> %s) = %s::jsonb AND '
        '"book"."data" @> %s::jsonb AND "book"."data" ? %s'
    ),
    'SELECT JSONB_BUILD_OBJECT((%s)::text, "a"."b"), JSON_OBJECT(%s VALUE 1 RETURNING JSONB)',
    (
        'SELECT DATE_TRUNC(%s, "book"."day" AT TIME ZONE %s) AS "m", EXTRACT(YEAR FROM '
        '"book"."day" AT TIME ZONE \'Europe/Berlin\'), ("day" AT TIME ZONE \'UTC\')::date FROM book'
    ),
    (
        'SELECT ts_rank(to_tsvector(%s::regconfig, COALESCE("a"."b", %s)), plainto_tsquery(%s)) AS r, '
        'setweight(to_tsvector(\'x\'), \'A\'), SIMILARITY("a"."b", %s), UNACCENT("a"."b") FROM a'
    ),
    (
        'SELECT STRING_AGG("a"."b", \', \' ORDER BY "a"."b"), ARRAY_AGG(DISTINCT "a"."c"), '
        'JSONB_AGG("a"."d"), ST_DWithin("a"."p"::geography, ST_GeomFromEWKB(%s), %s) FROM a'
    ),
    "SELECT %(a)s, %(b_2)s, '100%%', 7 %% 2, 7 % 2, %b, %t, $1 || $2",
    'DECLARE "_django_curs_1" NO SCROLL CURSOR FOR SELECT 1',
    "EXPLAIN (ANALYZE true, FORMAT JSON) SELECT MAX(a) FROM b",
    'SAVEPOINT "s1_x1"',
    "SELECT c.relname FROM pg_catalog.pg_class c WHERE pg_catalog.pg_table_is_visible(c.oid)",
    "SELECT a.attname, pg_get_expr(ad.adbin, ad.adrelid) FROM pg_attribute a",
    'ALTER TABLE "a" ADD COLUMN "p" geometry(POINT,4326) NULL',
    'ALTER TABLE "a" ALTER COLUMN "b" TYPE integer USING "b"::integer',
    'ALTER TABLE "a" ADD CONSTRAINT "e" EXCLUDE USING gist ("b" WITH =)',
    'CREATE INDEX CONCURRENTLY IF NOT EXISTS "i" ON "a" USING gin ("b" gin_trgm_ops)',
    'COPY "book" ("id", "name") FROM STDIN WITH (FORMAT csv, DELIMITER %s)',
    "COPY book (id) FROM STDIN (FORMAT BINARY) WHERE lower('a') = 'a'",
    "PREPARE TRANSACTION 'x'",
    "COMMIT PREPARED 'x'",
    "SELECT hashtext('a'), pg_advisory_xact_lock(hashtext(%s))",
    "FETCH ALL c",
]
CLEAN = RUNNABLE + DJANGO

DIRTY = {
    "SET x = 1": "SET",
    "set search_path to a, b": "SET",
    "SET SESSION x = 1": "SET",
    "SET ROLE joe": "SET",
    "SET SESSION AUTHORIZATION joe": "SET",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY": "SET",
    "SET TIME ZONE 'UTC'": "SET",
    "SET local.x = 1": "SET",
    "SET local TO 1": "SET",
    "SET transaction.x = 1": "SET",
    "RESET ALL": "RESET",
    "DISCARD TEMP": "DISCARD",
    "/* a */ SET x = 1": "SET",
    "/* /* */ */ sEt x = 1": "SET",
    "--\nSET x = 1": "SET",
    "SELECT 1; SET x = 1": "SET",
    "SELECT ';'; SET x = 1": "SET",
    "SELECT 'a\\'; SET x = 1; --'": "SET",
    "SELECT $a$ $A$ $a$; SET x = 1; SELECT $$ $A$ $$": "SET",
    "BEGIN; SET x = 1": "SET",
    "SELECT set_config('x', '1', false)": "SET",
    "SELECT set_config('x', '1', %s)": "SET",
    "SELECT set_config('x', 'true', false or true)": "SET",
    "SELECT set_config('a', is_local => false, new_value => true)": "SET",
    "SELECT pg_catalog . Set_Config /* */ ('x', '1', false)": "SET",
    "SELECT set_config('x', '1', true), set_config('y', '1', false)": "SET",
    "WITH a AS (SELECT 1) (SELECT 2) ORDER BY set_config('x', '1', false)": "SET",
    "WITH a (b) AS (SELECT 1), c AS (SELECT set_config('x', '1', false)) SELECT 1": "SET",
    "SELECT * FROM a JOIN b ON set_config('x', '1', false) = ''": "SET",
    "DELETE FROM a USING set_config('x', '1', false)": "SET",
    "SELECT DISTINCT ON (a) set_config('x', '1', false) FROM b": "SET",
    "SELECT E'a'\n'\\'' , set_config('x', '1', false) --'": "unreadable",
    "EXPLAIN ANALYZE SELECT set_config('x', '1', false)": "SET",
    "EXPLAIN ANALYZE EXECUTE p": "no plain query",
    "COPY (SELECT set_config('x', '1', false)) TO STDOUT": "SET",
    "COPY t (a) FROM STDIN WHERE set_config('x', a, false) = ''": "SET",
    "INSERT INTO a (b) VALUES (set_config('x', '1', false))": "SET",
    "INSERT INTO a VALUES (1) RETURNING pg_advisory_lock(1)": "advisory lock",
    "UPDATE a SET b = pg_try_advisory_lock_shared(1)": "advisory lock",
    "SELECT pg_advisory_unlock_all()": "advisory lock",
    "SELECT nextval('s')": "sequence",
    "SELECT LASTVAL ()": "sequence",
    "SELECT setseed(0.5)": "function setseed",
    "SELECT set_limit(0.5)": "function set_limit",
    "SELECT foo(1)": "function foo",
    "SELECT app.lower('a')": "function app.lower",
    'SELECT "lower"(1)': 'function "lower"',
    'SELECT "select"(1)': 'function "select"',
    "SELECT trun\u212a(1), mas\u212alen(1)": "function trun\u212a",
    "SELECT 5 %sabs(1)": "function sabs",
    "SELECT by(1), key(2)": "function by",
    "SELECT query_to_xml('SET x = 1', true, true, '')": "function query_to_xml",
    "SELECT 1 INTO TEMP t": "SELECT INTO",
    "SELECT 1 insert INTO TEMP TABLE t": "SELECT INTO",
    "SELECT * INTO t FROM a": "SELECT INTO",
    "CREATE TEMP TABLE t (a int)": "temporary table",
    "create local temporary view v AS SELECT 1": "temporary table",
    "CREATE OR REPLACE TEMP VIEW v AS SELECT 1": "temporary table",
    "CREATE TABLE pg_temp.t (a int)": "CREATE",
    "CREATE UNIQUE INDEX": "CREATE",
    "CREATE INDEX ON a (foo(b))": "function foo",
    "ALTER TABLE a ALTER b TYPE int USING foo(b)": "function foo",
    "DECLARE c CURSOR WITH HOLD FOR SELECT 1": "cursor WITH HOLD",
    "DECLARE c CURSOR FOR SELECT foo(1)": "function foo",
    "LISTEN news": "LISTEN",
    "UNLISTEN *": "UNLISTEN",
    "PREPARE p AS SELECT 1": "PREPARE",
    "PREPARE transaction AS SELECT 1": "PREPARE",
    "EXECUTE p": "EXECUTE",
    "DEALLOCATE ALL": "DEALLOCATE",
    "LOAD 'auto_explain'": "LOAD",
    "DO $$ BEGIN END $$": "DO",
    "CALL p()": "CALL",
    "IMPORT FOREIGN SCHEMA a FROM SERVER b INTO c": "IMPORT",
    "FROBNICATE": "unknown statement FROBNICATE",
    "SELECT 'open": "unreadable",
    'SELECT "open': "unreadable",
    "SELECT $x$ open": "unreadable",
    "SELECT 1 /* open /* */": "unreadable",
    "SELECT E'open\\'": "unreadable",
    'SELECT U&"\\0073et_config"(1)': "unreadable",
    "SELECT 1 \x01": "unreadable",
    "%s": "unreadable",
}


@pytest.mark.parametrize("sql", CLEAN)
def test_clean(sql):
    assert classify(sql) is None


@pytest.mark.parametrize(("sql", "reason"), DIRTY.items())
def test_dirty(sql, reason):
    assert classify(sql) == reason


NOISE = st.lists(
    st.sampled_from([" ", "\n", ";", "/* SELECT ' */", '/* /* ; */ " */', "-- '\n", "\t;\f"])
).map("".join)
READABLE = [sql for sql, reason in DIRTY.items() if reason != "unreadable"]


@given(before=NOISE, sql=st.sampled_from(READABLE), after=NOISE)
def test_noise_hides_nothing(before, sql, after):
    assert classify(f"{before}{sql}\n{after}") is not None


@given(before=st.sampled_from(CLEAN), sql=st.sampled_from(READABLE))
def test_a_clean_statement_hides_no_dirty_one(before, sql):
    assert classify(f"{before}\n;{sql}") is not None


DANGER = st.one_of(
    st.text(), st.sampled_from(list(DIRTY)), st.sampled_from(["'", "\\", "''", "$$", '"'])
)


@given(DANGER)
def test_what_strings_names_and_comments_contain_does_not_count(text):
    plain, escaped = text.replace("'", "''"), text.replace("\\", "\\\\").replace("'", "\\'")
    name, comment = text.replace('"', '""'), re.sub(r"[\r\n]", "", text)
    sql = (
        f"SELECT '{plain}', E'{escaped}', $tag_${text}$tag_$, \"{name}\" -- {comment}\n, lower('')"
    )
    assert classify(sql) is None


FRAGMENTS = st.sampled_from(
    [
        *"()';\",.$%",
        "/*",
        "*/",
        "--",
        "e'",
        "$a$",
        "%s",
        "%(a)s",
        "::",
        *KEYWORDS,
        *effects._RULES,
        "hold",
        "by",
        "index",
        "temp",
        "set_config",
        "true",
        "foo",
        '"a"',
        "recursive",
        "over",
    ]
)


@given(st.one_of(st.text(), st.lists(FRAGMENTS).map(" ".join), st.lists(FRAGMENTS).map("".join)))
def test_no_text_raises(text):
    assert classify(text) is None or classify(text)


def test_effect_answers_like_classify():
    assert effect("SET x = 1") == effect("SET x = 1") == "SET"
    assert effect("SELECT 1") is None


@pytest.mark.parametrize(
    "part",
    [
        "(",
        "f(",
        "/*",
        "/**/",
        "$a$ $b$",
        "'",
        "e'a' ",
        ";",
        "a.",
        "a(",
        "set_config(",
        "into ",
        "with a(",
        "explain ",
        "::f(",
        "%(a",
    ],
)
def test_a_long_text_is_read_in_linear_time(part):
    """Were it quadratic, this would take minutes."""
    classify(part * 50_000)
    classify("SELECT " + part * 50_000)


# The real server ---------------------------------------------------------------------------------

STATE = """
    SELECT 'setting', name, setting FROM pg_settings WHERE source = 'session'
        AND name NOT LIKE 'transaction%' -- these are a transaction's, though shown as the session's
    UNION ALL SELECT 'lock', mode, objid::text FROM pg_locks
        WHERE pid = pg_backend_pid() AND locktype = 'advisory'
    UNION ALL SELECT 'listens', pg_listening_channels(), ''
    UNION ALL SELECT 'prepared', name, statement FROM pg_prepared_statements
    UNION ALL SELECT 'cursor', name, '' FROM pg_cursors WHERE name <> ''
    UNION ALL SELECT 'temporary', relname, '' FROM pg_class WHERE relpersistence = 't'
    UNION ALL SELECT 'user', current_user, session_user
    ORDER BY 1, 2, 3
"""


@pytest.fixture(scope="module")
def books(postgres):
    with postgres.admin() as admin:
        admin.execute("DROP DATABASE IF EXISTS books WITH (FORCE)")
        admin.execute("CREATE DATABASE books")
    params = {**postgres.params, "dbname": "books", "autocommit": True, "prepare_threshold": None}
    yield params
    with postgres.admin() as admin:
        admin.execute("DROP DATABASE books WITH (FORCE)")


@pytest.fixture
def session(books):
    """A session in a database with the tables of `SCHEMA` as new."""
    with psycopg.connect(**books) as maker:
        maker.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public; " + SCHEMA)
    with psycopg.connect(**books) as connection:
        yield connection


def run(session, sql):
    cursor = session.cursor()
    if sql.startswith("COPY"):
        with cursor.copy(sql) as copy:
            list(copy)
    else:
        cursor.execute(sql)


@pytest.mark.parametrize("sql", RUNNABLE)
def test_the_server_agrees_that_it_is_clean(session, sql):
    before = session.execute(STATE).fetchall()
    run(session, sql)
    assert session.execute(STATE).fetchall() == before


@pytest.mark.parametrize(
    "sql",
    [
        "SET statement_timeout = 1000",
        "SELECT set_config('statement_timeout', '1000', false)",
        "SELECT pg_advisory_lock(1)",
        "LISTEN news",
        "PREPARE p AS SELECT 1",
        "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
        "CREATE TEMP TABLE t (a int)",
        "SELECT 1 insert INTO TEMP TABLE t",
        "SET ROLE pg_monitor",
    ],
)
def test_the_server_would_show_an_effect(session, sql):
    """The test above can fail: what is dirty does change what it looks at."""
    before = session.execute(STATE).fetchall()
    run(session, sql)
    assert classify(sql)
    assert session.execute(STATE).fetchall() != before

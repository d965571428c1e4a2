# ruff: noqa: E501 - a statement is easier to check unbroken
"""What a real server says of the statements that the classifier has judged."""

import re
from contextlib import suppress
from itertools import product

import pymysql
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool.mysql.effects import classify, transaction
from tests.mysql.statements import RUNNABLE, SCHEMA, TRANSACTIONS

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

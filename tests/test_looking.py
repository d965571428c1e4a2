"""Which texts look back at an earlier statement: what the databases' lists have in common."""

import threading

import pytest

from carpool.looking import (
    ABOUT_THE_LAST,
    calls,
    calls_with_arguments,
    member,
    phrase,
    reader,
    text_of,
)
from carpool.mysql import looking as mysql
from carpool.oracle import looking as oracle
from carpool.postgresql import looking as postgresql
from carpool.sqlite3 import looking as sqlite3
from tests.named_alike import NAMES, texts_of, work

LISTS = {each.__name__: each.looks_back for each in (mysql, oracle, postgresql, sqlite3)}
looks_back = reader(
    {
        "LAST": calls("last"),
        "NTH": calls_with_arguments("nth"),
        "SHOW ALL": phrase("show", "all"),
        "NOW": member("now"),
    }
)

SEEN = {
    "LAST": [
        *("SELECT last()", "select LAST ( )", "SELECT Last\n\t (\n)", "SELECT 1; SELECT last()"),
        *("SELECT last/* x */()", "SELECT last /**/ ()", "SELECT last (/* x */)"),
        *("SELECT last -- x\n ()", "SELECT last(--\n)", "SELECT last /* don't */ ( /* ' */ )"),
        *('SELECT "last"()', "SELECT `last` ()", "SELECT [last]()", "SELECT a.last()"),
        *("SELECT 1+last()", "SELECT 'last()'", "SELECT 1 -- last()", "SELECT /* last() */ 1"),
        *("SELECT '/*', last()", "SELECT '--', last()", "SELECT 'a\\', '/*', last/**/()"),
        *("SELECT '--', last/**/()", "SELECT '/*', last(/**/), '*/'", 'SELECT "/*", last/**/()'),
    ],
    "NTH": ["SELECT nth()", "SELECT nth (last)", 'SELECT "nth"(1)', "SELECT nth/**/--\n('s')"],
    "SHOW ALL": ["SHOW ALL", "show/**/all", "x show --\n all y"],
    "NOW": ["SELECT s.now", "SELECT s . /* x */ NOW", "SELECT 's'.now+1"],
}
OTHERS = [
    *("", "SELECT 1", "SELECT last FROM t", 'SELECT "last", 1', "SELECT t.last AS x FROM t"),
    *("SELECT the_last()", "SELECT last_one()", "SELECT blast(1)", "SELECT last2()"),
    *("SELECT last(1)", "SELECT a FROM t WHERE last IN ()", "SELECT \xe9last()", "SELECT last$()"),
    *("SELECT a FROM t ORDER BY last /* x */", "SELECT last -- ()", "SELECT last /* () */"),
    *("SELECT nth /* ( */", 'SELECT "t"."nth", (1)', "SELECT `nth` (1)", "SELECT tenth(1)"),
    *("SHOW tables", "SELECT all", "SHOW allowed", "SELECT show_all", "SHOW_ALL", "show, all"),
    *("SELECT now", 'SELECT "s"."now"', "SELECT s.nowhere", "SELECT s.now_ FROM s", "s.now$"),
]


@pytest.mark.parametrize(
    ("reason", "text"), [(reason, text) for reason, texts in SEEN.items() for text in texts]
)
def test_what_looks_back_is_seen_whatever_is_around_it(reason, text):
    assert looks_back(text) == reason


@pytest.mark.parametrize("text", OTHERS)
def test_words_alone_do_not(text):
    assert looks_back(text) is None


# Each database's own ------------------------------------------------------------------------------

MYSQL = {
    "LAST_INSERT_ID": [
        *("SELECT LAST_INSERT_ID ( )", "SELECT last_insert_id(# x\n)", "SELECT `last_insert_id`()"),
        *("SELECT/*!50000LAST_INSERT_ID()*/", "SELECT LAST_INSERT_ID/*!50000()*/"),
        *("SELECT LAST_INSERT_ID/*M!100100 ( */)", "SELECT '# it\\'s', LAST_INSERT_ID/**/()"),
    ],
    "ROW_COUNT": ["SELECT ROW_COUNT()", "SELECT '#', row_count()", "SELECT '#', row_count/**/()"],
    "FOUND_ROWS": ["SELECT FOUND_ROWS()"],
    "LASTVAL": ["SELECT LASTVAL(s)", "SELECT lastval /* x */ (a.s)"],
    "PREVIOUS VALUE": ["SELECT PREVIOUS VALUE FOR s", "SELECT previous # x\n value\nfor s"],
    "CURRVAL": ["SELECT s.CURRVAL", "SELECT a . `s` . currval", "SELECT s./**/currval"],
    "SHOW WARNINGS": [
        *(
            "SHOW WARNINGS",
            " show\nwarnings LIMIT 1",
            "/* x */ SHOW WARNINGS",
            "# x\nSHOW WARNINGS",
        ),
        *("SELECT 1; SHOW WARNINGS", "SHOW COUNT(*) WARNINGS", "SHOW COUNT( * )WARNINGS"),
        *("/*!50000 SHOW */ WARNINGS", "-- don't\nSHOW/**/COUNT(*)/**/WARNINGS"),
    ],
    "SHOW ERRORS": ["SHOW ERRORS", "SELECT 1;\n-- x\nSHOW COUNT(*) ERRORS"],
    "GET DIAGNOSTICS": [
        *("GET DIAGNOSTICS @x = NUMBER", "get current/**/diagnostics @x = number"),
        "SELECT 1; GET DIAGNOSTICS CONDITION 1 @x = MESSAGE_TEXT",
    ],
    "@@identity": [
        *("SELECT @@identity", "SELECT @@SESSION.identity+1", "SELECT @@local . `identity`"),
        *("SHOW VARIABLES LIKE 'identity'", "SHOW SESSION VARIABLES WHERE a IN ('x', 'identity')"),
    ],
    "@@last_insert_id": ["SELECT @@last_insert_id", "SELECT(@@`last_insert_id`)"],
    "@@insert_id": ["SELECT @@insert_id", "/* x */ show local variables like '%insert_id'"],
    "@@warning_count": ["SELECT @@warning_count>0"],
    "@@error_count": ["SELECT @@error_count"],
    "@@last_gtid": ["SELECT @@last_gtid"],
}
LOOK_BACK = {
    mysql: MYSQL,
    postgresql: {
        "currval": [
            *("SELECT currval('s')", "SELECT \"currval\" ('s')", "SELECT pg_catalog.currval('s')"),
            'SELECT "pg_catalog" . "currval"(%s::regclass)',
        ],
        "lastval": ["SELECT lastval()", "SELECT pg_catalog.lastval/* x */()", 'TABLE "lastval"( )'],
    },
    sqlite3: {
        "last_insert_rowid": ["SELECT last_insert_rowid()", 'SELECT "last_insert_rowid" ( )'],
        "changes": ["SELECT changes()", "SELECT [changes] (-- x\n)", "SELECT `changes`()"],
        "total_changes": ["SELECT total_changes()", 'SELECT "total_changes"()'],
    },
    oracle: {"currval": ["SELECT s.currval FROM dual", "SELECT s . -- x\n CURRVAL FROM dual"]},
}
DO_NOT = {
    mysql: [
        *("SELECT LAST_INSERT_ID(n + 1)", "UPDATE t SET n = LAST_INSERT_ID(n + 1)"),
        *("INSERT INTO `lastval` (`id`) VALUES (1)", "INSERT INTO `row_count` (`id`) VALUES (1)"),
        *("SHOW TABLES LIKE 'warnings'", "SHOW CREATE TABLE errors", "SHOW INDEX FROM warnings"),
        *("SELECT show, warnings FROM t", "SELECT show warnings FROM t", "SHOW WARNINGS_SEEN"),
        *("SELECT get diagnostics", "SELECT `get`, `diagnostics` FROM t", "GET DIAGNOSTICS_"),
        *("SELECT @@identity_x", "SELECT @@sql_mode, identity FROM t", "SELECT @identity"),
        *("SHOW VARIABLES LIKE 'sql_mode'", "SHOW COLUMNS FROM t LIKE 'identity'", "SHOW WARNING"),
        *(
            "SHOW VARIABLES LIKE 'x'; SELECT identity FROM t",
            "SELECT x, variables, identity FROM t",
        ),
        *("SELECT `t`.`currval` FROM t", "SELECT currval FROM t", "SELECT s.currval_ FROM s"),
        *("SELECT `previous`, `value` FROM t FOR UPDATE", "SELECT previous value FROM t"),
        *("SELECT previous value FROM t FOR UPDATE", "SELECT previous FROM t WHERE value > 0"),
    ],
    postgresql: [
        *(
            'SELECT U&"a\\0061" FROM t',
            "SELECT lastval, currval FROM t",
            "SELECT last_value FROM s",
        ),
        *('INSERT INTO "lastval" ("id") VALUES (1)', "SELECT setval('s', 1), nextval('s')"),
    ],
    sqlite3: ['INSERT INTO "changes" ("id") VALUES (1)', "SELECT changes FROM t -- ()"],
    oracle: ['SELECT "T"."CURRVAL" FROM "T"', "SELECT currval FROM t", "SELECT s.currvals FROM s"],
}


@pytest.mark.parametrize(
    ("of", "reason", "text"),
    [
        pytest.param(of, reason, text, id=f"{of.__name__}-{text}")
        for of, reasons in LOOK_BACK.items()
        for reason, texts in reasons.items()
        for text in texts
    ],
)
def test_each_way_to_look_back_is_seen(of, reason, text):
    assert of.looks_back(text) == reason


@pytest.mark.parametrize(
    ("of", "text"),
    [
        pytest.param(of, text, id=f"{of.__name__}-{text}")
        for of, texts in DO_NOT.items()
        for text in texts
    ],
)
def test_what_looks_like_it_is_not(of, text):
    assert of.looks_back(text) is None


def test_what_is_about_the_last_statement_goes_by_the_same_names():
    assert {reason for of in LOOK_BACK.values() for reason in of} > ABOUT_THE_LAST


# What the ORM makes -------------------------------------------------------------------------------

ENTRIES = {
    "mysql": lambda get: get("mariadb_database").django(),
    "postgresql": lambda get: get("database").django(),
    "sqlite3": lambda get: {"NAME": get("tmp_path") / "shop.sqlite3"},
}


@pytest.mark.parametrize("vendor", ENTRIES)
def test_columns_of_these_names_do_not(vendor, request, django_databases):
    entry = {"ENGINE": f"django.db.backends.{vendor}", **ENTRIES[vendor](request.getfixturevalue)}
    connection = django_databases(default=entry)["default"]
    looks_back = LISTS[f"carpool.{vendor}.looking"]
    with texts_of(connection) as texts:
        work(connection)
    connection.close()
    assert len(texts) > 15 * len(NAMES)
    assert [text for text in texts if looks_back(text)] == []
    assert [text for text in texts if looks_back(f"{text} /* path='/book(s)/' */")] == []


# How they read ------------------------------------------------------------------------------------


def test_any_kind_of_statement_is_read():
    assert text_of(b"SELECT last()") == "SELECT last()"
    assert text_of(bytearray(b"\xff last()")) == "\ufffd last()"
    assert "last()" in text_of(["SELECT ", "last()"])


@pytest.mark.parametrize("name", LISTS)
def test_each_text_is_read_once(name):
    text = "SELECT note FROM book"
    assert LISTS[name](text) is None
    assert text in LISTS[name].__self__


PARTS = [
    *("changes ", "changes/*", "changes`", "show ", "warnings ", "get ", "@@", "previous ", "--"),
    *("currval", "lastval ", 'u&"', "last_insert_id", "\n", "(", "'", "changes -", "changes()"),
    *("changes(", "changes /**/", "'\\", "\\", '"', "#", "/*!5", "*/", "/*", ";", "; ", ". ", "."),
    *("show variables ", ";show variables identity", "show count(*) ", "@@session.", "previous\n"),
    *("last_insert_id (", "currval (", "currval/*", "/*'*/", "currval--\n", "$", "9", "identity"),
]


@pytest.mark.parametrize("part", PARTS)
def test_a_long_text_is_read_in_linear_time(part):
    """Were it quadratic, this would take minutes."""
    for read in LISTS.values():
        for around in ("%s", "changes%s", "%sshow warnings", "show variables %s identity_"):
            read(around % (part * 100_000))
        read("identity warnings currval " + "'\\" * 100_000 + "\\")


def test_many_threads_may_ask():
    texts = [f"SELECT {each}, last()" for each in range(500)]
    answers = []

    def ask():
        answers.extend(looks_back(each) for each in texts)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == ["LAST"] * 2000

"""The lists of harmless words against a real server."""

import re

import pymysql
import pytest

from carpool.mysql.harmless import BUILT_IN, ELSEWHERE, FUNCTIONS, KEYWORDS

NO_SUCH_FUNCTION = {1305, 1630}
ARGUMENTS = ["", "1", "1, 1", "1, 1, 1"]
# Where the server knows these, it is by their place or by the number of their arguments.
BY_PLACE = {
    *("geometrycollection", "linestring", "multilinestring", "multipoint", "multipolygon"),
    *("json_table", "lateral", "point", "polygon"),
}
# Looked at and not trusted: they leave something in the session, tell what was left there, or
# belong to replication, to Oracle's dialect, to ciphers long abandoned.
NOT_TRUSTED = re.compile(
    r"(get|release|release_all)_locks?|last_insert_id|found_rows|extractvalue|updatexml"
    r"|(binlog_gtid|(master|wsrep)_).*|.*_oracle|nvl2?|chr|to_char|add_months|lengthb|sys_guid"
    r"|encode|decode|encrypt|des_.*|old_password|decode_histogram|schemas"
)


@pytest.fixture(scope="module")
def cursor(mariadb):
    mariadb.create_database("words")
    with mariadb.admin("words") as connection, connection.cursor() as cursor:
        yield cursor
    mariadb.drop_database("words")


def ask(cursor, sql):
    """Return the statement's first value, or the number of its error."""
    try:
        cursor.execute(sql)
    except pymysql.MySQLError as error:
        return error.args[0]
    return (cursor.fetchone() or [None])[0]


def test_the_list_has_no_name_that_the_server_does_not_know(cursor):
    unknown = {
        name
        for name in BUILT_IN
        if all(ask(cursor, f"SELECT {name}({a})") in NO_SUCH_FUNCTION for a in ARGUMENTS)
    }
    assert unknown == {"json_table"}


def test_no_function_of_the_user_s_own_answers_to_a_harmless_word(cursor):
    """Unless there is a blank before the parenthesis, or the server does not have the word."""
    answering = set()
    for count, arguments in enumerate(ARGUMENTS):
        names = ", ".join(f"a{number} int" for number in range(count))
        for word in KEYWORDS | BUILT_IN:
            cursor.execute(
                f"CREATE OR REPLACE FUNCTION `{word}`({names}) RETURNS text RETURN 'hers'"
            )
            if ask(cursor, f"SELECT {word}({arguments})") in ("hers", b"hers"):
                answering.add(word)
            cursor.execute(f"DROP FUNCTION `{word}`")
    assert answering <= BY_PLACE


def test_every_built_in_function_is_decided(cursor):
    cursor.execute("SELECT lower(FUNCTION) FROM information_schema.SQL_FUNCTIONS")
    names = {name for (name,) in cursor.fetchall()} - KEYWORDS - FUNCTIONS
    assert not {name for name in names if not NOT_TRUSTED.fullmatch(name)}
    assert not [name for name in KEYWORDS | FUNCTIONS if NOT_TRUSTED.fullmatch(name)]


def test_no_name_is_in_two_lists():
    assert not BUILT_IN & ELSEWHERE

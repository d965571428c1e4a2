"""Which texts look back at an earlier statement: what the databases' lists have in common."""

import threading

import pytest

from carpool.looking import calls, contains, reader, text_of, words
from carpool.mysql import looking as mysql
from carpool.oracle import looking as oracle
from carpool.postgresql import looking as postgresql
from carpool.sqlite3 import looking as sqlite3

LISTS = {each.__name__: each.looks_back for each in (mysql, oracle, postgresql, sqlite3)}
looks_back = reader({"LAST": calls("last"), "SHOW ALL": words("show", "all"), "?": contains("?!")})

CALLS = [
    "SELECT last()",
    "select LAST ()",
    "SELECT Last\n\t (7)",
    "SELECT last/* x */()",
    "SELECT last /**/ ()",
    "SELECT last -- x\n ()",
    "SELECT last # x\n ()",
    'SELECT "last"()',
    "SELECT `last` ()",
    "SELECT [last]()",
    "SELECT a.last()",
    "SELECT 1+last()",
    "/*!50000LAST()*/",
    "SELECT 1; SELECT last()",
    "SELECT 'last()'",
]


@pytest.mark.parametrize("text", CALLS)
def test_a_call_is_seen_whatever_is_around_it(text):
    assert looks_back(text) == "LAST"


@pytest.mark.parametrize(
    "text",
    [
        *("", "SELECT 1", "SELECT last FROM t", 'SELECT "last", 1', "SELECT t.last AS x FROM t"),
        *("SELECT the_last()", "SELECT last_one()", "SELECT blast(1)", "SELECT last2()"),
        *("SHOW tables", "SELECT all", "SHOW allowed", "SELECT show_all", "SHOW_ALL"),
    ],
)
def test_other_texts_are_not(text):
    assert looks_back(text) is None


@pytest.mark.parametrize("text", ["SHOW ALL", "show/**/all", "SHOW COUNT(*) ALL", "/*!5SHOW*/ ALL"])
def test_words_are_seen_in_any_company(text):
    assert looks_back(text) == "SHOW ALL"


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
    *("currval", "lastval ", 'u&"', "last_insert_id", "\n", "(", "'", "changes -"),
]


@pytest.mark.parametrize("part", PARTS)
def test_a_long_text_is_read_in_linear_time(part):
    """Were it quadratic, this would take minutes."""
    for read in LISTS.values():
        read(part * 100_000)
        read("changes" + part * 100_000)
        read(part * 100_000 + "show warnings")


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

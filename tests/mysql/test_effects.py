"""What the classifier says of statements."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool.mysql import effects
from carpool.mysql.effects import classify, classify_transaction, effect, transaction
from carpool.mysql.harmless import KEYWORDS
from tests.mysql.statements import CLEAN, DIRTY


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

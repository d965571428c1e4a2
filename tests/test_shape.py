"""What is logged of a statement tells its shape, and none of its values."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool.shape import LENGTH, shape

SHAPES = {
    "SELECT pg_advisory_lock(%s)": "SELECT pg_advisory_lock(%s)",
    "SET work_mem = '77MB'": "SET work_mem = ?",
    "SELECT  set_config('app.user',\n 'O''Brien', false)": "SELECT set_config(?, ?, false)",
    "SELECT 1, 2.5, 1e6, t1.c2 FROM t1 WHERE a=0x1F": "SELECT ?, ?, ?, t1.c2 FROM t1 WHERE a=?",
    'CREATE TEMP TABLE "secret" (n int)': "CREATE TEMP TABLE ? (n int)",
    "SELECT @mine := 'x'": "SELECT @mine := ?",
    "SET a = 'open": "SET a = ?",
    "SET a = 'it\\'s'": "SET a = ...",
    "SET a = $tag$secret$tag$": "SET a = ...",
    "SELECT 'a' -- it's secret": "SELECT ...",
    "SELECT /* 'user' */ 1": "SELECT ...",
    "": "",
}


@pytest.mark.parametrize("sql", SHAPES)
def test_the_shape_of(sql):
    assert shape(sql) == SHAPES[sql]


def test_a_long_text_is_cut_off():
    shown = shape("SELECT " + "column, " * 500)
    assert shown.endswith(" ...")
    assert len(shown) <= LENGTH + 4


@given(st.text(), st.text(alphabet="ab '\"\\$-/*#\n`", max_size=30))
def test_no_value_is_told(value, noise):
    """Whatever stands around it: a quoted value's letters do not come through."""
    secret = "S" + re.sub(r"[^a-z]", "", value.lower()) + "Z9secret"
    quoted = "'" + secret + "'"
    assert secret not in shape(f"SET x = {quoted} {noise}")


@given(st.text(max_size=5000))
def test_any_text_has_a_shape_in_one_line(text):
    assert "\n" not in shape(text)

"""SQL texts are read once, and not too many are remembered."""

from carpool import known as module
from carpool.known import _Known


def test_a_text_is_read_once():
    read = []
    known = _Known(read.append)
    long = "SELECT 1" + " " * known.LENGTH
    for sql in ("SELECT 1", "SELECT 1", long, long):
        known[sql]
    assert read == ["SELECT 1", long, long]
    assert list(known) == ["SELECT 1"]


def test_few_texts_are_kept():
    known = _Known(str.lower)
    for number in range(3 * known.TEXTS):
        assert known[f"SET x = {number}"] == f"set x = {number}"
        assert len(known) <= known.TEXTS


def test_the_function_answers_as_the_reader():
    lower = module.known(str.lower)
    assert lower("SELECT") == lower("SELECT") == "select"

"""All of the engine's tests that are not about psycopg 3 pass with psycopg 2 as well."""

from tests.probing import pytest_with

FILES = ["requests", "transactions", "settings", "signals", "threads"]
FILES += ["pins", "which_mode", "loose_cursors", "share"]


def test_psycopg2():
    files = [f"tests/django/test_{name}.py" for name in FILES]
    printed = pytest_with("tests.django.with_psycopg2", "-m", "not psycopg3", *files)
    assert " passed" in printed

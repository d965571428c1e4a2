"""What is not about psycopg 3 passes with psycopg 2 as well."""

from tests.probing import pytest_with


def test_psycopg2(postgis):
    files = ("tests/postgis/test_geometries.py", "tests/postgis/test_extension.py")
    printed = pytest_with("tests.django.with_psycopg2", "-m", "not psycopg3", *files)
    assert " passed" in printed

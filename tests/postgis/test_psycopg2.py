"""What is not about psycopg 3 passes with psycopg 2 as well."""

import subprocess
import sys

import pytest

from tests.probing import ROOT


def test_psycopg2(postgis):
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "tests.django.with_psycopg2"),
            *("-m", "not psycopg3", "-q", "-p", "no:cacheprovider", "--tb=short"),
            *("tests/postgis/test_geometries.py", "tests/postgis/test_extension.py"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode:
        pytest.fail(done.stdout + done.stderr, pytrace=False)
    assert " passed" in done.stdout

"""All of the engine's tests that are not about psycopg 3 pass with psycopg 2 as well."""

import subprocess
import sys

import pytest

from tests.probing import ROOT

FILES = ["requests", "transactions", "settings", "signals", "threads"]


def test_psycopg2():
    files = [f"tests/django/test_{name}.py" for name in FILES]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "tests.django.with_psycopg2"),
            *("-m", "not psycopg3", "-q", "-p", "no:cacheprovider", "--tb=short", *files),
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

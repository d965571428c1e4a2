"""The engines again, in processes of their own, with the modules that Django does not take here."""

import subprocess
import sys

import pytest

from tests.probing import ROOT

PLUGINS = {"psycopg2": "tests.django.with_psycopg2", "pymysql": "tests.mysql.with_pymysql"}


@pytest.mark.parametrize("module", PLUGINS)
def test_the_engine_with(module):
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", PLUGINS[module], "-k", module, "-q", "-rA"),
            *("-p", "no:cacheprovider", "--tb=short", "tests/conformance/test_engine.py"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode:
        pytest.fail(done.stdout + done.stderr, pytrace=False)
    assert f"test_transactions[{module}]" in done.stdout

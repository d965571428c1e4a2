"""The engines again, in processes of their own, with the modules that Django does not take here."""

import pytest

from tests.probing import pytest_with

PLUGINS = {"psycopg2": "tests.django.with_psycopg2", "pymysql": "tests.mysql.with_pymysql"}


@pytest.mark.parametrize("module", PLUGINS)
def test_the_engine_with(module):
    printed = pytest_with(PLUGINS[module], "-k", module, "tests/conformance/test_engine.py")
    for mode in ("session", "transaction"):
        assert f"test_transactions[{module}-{mode}]" in printed

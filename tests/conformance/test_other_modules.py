"""The engines again, in processes of their own, with the modules that Django does not take here."""

import pytest

from tests.probing import pytest_with

PLUGINS = {"psycopg2": "tests.django.with_psycopg2", "pymysql": "tests.mysql.with_pymysql"}
THROUGH_DJANGO = [
    f"tests/conformance/test_{name}.py"
    for name in (
        "engine",
        "statement_mode",
        "transaction_mode",
        "transaction_mode_pins",
        "transaction_mode_transactions",
    )
]


@pytest.mark.parametrize("module", PLUGINS)
def test_the_engine_with(module):
    printed = pytest_with(PLUGINS[module], "-k", module, *THROUGH_DJANGO)
    for mode in ("session", "transaction"):
        assert f"test_transactions[{module}-{mode}]" in printed

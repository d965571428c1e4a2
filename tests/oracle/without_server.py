"""Runs Django's own tests with an Oracle engine where there is no server.

Settings and test runner at once, for Django's `runtests.py`. No database is made and none is
expected: a test that asks the server for something gets the refusal of a port where nobody
listens, and is reported as one that needs a server.
"""

import json
import os

from django.test import TestCase, TransactionTestCase
from django.test.runner import DiscoverRunner

PLACE = {"ENGINE": os.environ["SUITE_ENGINE"], "NAME": "x", "USER": "a", "PASSWORD": "b"}
DATABASES = {
    alias: {**PLACE, "HOST": "127.0.0.1", "PORT": os.environ["SUITE_PORT"]}
    for alias in ("default", "other")
}
SECRET_KEY = "nothing to hide"
USE_TZ = False
TEST_RUNNER = "tests.oracle.without_server.Runner"

REFUSED = "DPY-6005"  # the driver cannot connect
NOT_TRIED = "is not tried again"  # a pool has found that out before


class Runner(DiscoverRunner):
    """Makes no databases, begins no transactions; writes the outcomes down as JSON."""

    def setup_databases(self, **kwargs):
        for each in (TransactionTestCase, TestCase):
            each._fixture_setup = each._fixture_teardown = lambda *_: None
        TestCase._enter_atomics = classmethod(lambda cls: {})
        TestCase._rollback_atomics = classmethod(lambda cls, atomics: None)
        TestCase.setUpTestData = classmethod(lambda cls: None)
        return []

    def teardown_databases(self, old_config, **kwargs):
        """Nothing was made."""

    def run_checks(self, databases):
        """They ask the server."""

    def run_suite(self, suite, **kwargs):
        ids = [test.id() for test in suite]
        result = super().run_suite(suite, **kwargs)
        outcomes = {test.id(): "skipped" for test, _ in result.skipped}
        for test, error in result.errors + result.failures:
            whole = getattr(test, "test_case", test)
            needs_server = REFUSED in error or NOT_TRIED in error
            outcomes[whole.id()] = "needs a server" if needs_server else error
        with open(os.environ["SUITE_OUTCOMES"], "w") as file:  # noqa: PTH123 - Django's own way
            json.dump({"tests": ids, "not passed": outcomes}, file)
        return result

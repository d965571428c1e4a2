"""Django's own tests that need no server, run with stock Django's engine and with ours."""

import json
import os
import re
import socket
import subprocess
import sys

import django
import pytest

from support.django_suite import environment

pytest.importorskip("oracledb", reason="python-oracledb is not installed")

PACKAGES = ("backends", "dbshell", "db_utils")
NEEDS_SERVER = "needs a server"


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What came of each test that did not pass, by engine: a reason or the error's text."""
    folder = tmp_path_factory.mktemp("suite")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]  # free, and nobody listens there afterwards

    def run(engine):
        folders = [str(environment.ROOT), os.environ.get("PYTHONPATH", "")]
        variables = {
            "PYTHONPATH": os.pathsep.join(folders),
            "SUITE_ENGINE": engine,
            "SUITE_PORT": str(port),
            "SUITE_OUTCOMES": str(folder / engine),
        }
        settings = ("--noinput", "--parallel=1", "--settings=tests.oracle.without_server")
        subprocess.run(
            [sys.executable, "runtests.py", *settings, *PACKAGES],
            cwd=environment.tests_folder(),
            env=os.environ | variables,
            capture_output=True,
            timeout=600,
            check=False,  # tests that need a server fail
        )
        return json.loads((folder / engine).read_text())

    return {engine: run(engine) for engine in ("django.db.backends.oracle", "carpool.oracle")}


# Given options of python-oracledb's own pool, which are not those of carpool's.
OPTIONS = "backends.oracle.tests.Tests.test_pool_reuse"


def test_what_passes_with_stock_passes_with_ours(outcomes):
    stock, ours = outcomes.values()
    assert stock["tests"] == ours["tests"]
    last_lines = [
        {name: error.splitlines()[-1] for name, error in found["not passed"].items()}
        for found in (stock, ours)
    ]
    different = {name for name, _ in set(last_lines[0].items()) ^ set(last_lines[1].items())}
    assert different == {OPTIONS}
    assert stock["not passed"][OPTIONS] == NEEDS_SERVER
    assert "'min' is not an option" in ours["not passed"][OPTIONS]


def test_the_docs_name_the_oracle_tests_that_pass(outcomes):
    found = outcomes["carpool.oracle"]
    of_oracle = {each for each in found["tests"] if each.startswith("backends.oracle.")}
    text = (environment.ROOT / "docs" / "oracle.md").read_text()
    named = {f"backends.oracle.{each}" for each in re.findall(r"`(test\w+\.\w+\.test_\w+)`", text)}
    passed = of_oracle - found["not passed"].keys()
    assert named & of_oracle <= passed
    if "of Django {}.{}'s own tests".format(*django.VERSION) in text:
        assert named == passed

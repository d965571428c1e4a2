"""`manage.py check`, `migrate` and `runserver` as people start them."""

import json
import os
import subprocess
import sys

import pytest

from support.servers.base import free_port

PROGRAM = """
import json, sys
from django.conf import settings
from django.core.management import execute_from_command_line
given = json.loads(sys.argv.pop(1))
settings.configure(USE_TZ=True, ROOT_URLCONF=[], ALLOWED_HOSTS=["*"], **given)
execute_from_command_line(sys.argv)
"""


@pytest.fixture
def manage(database, tmp_path):
    """Call it with a pool's options and a command; returns exit status, output and errors."""

    def manage(pool, *command, apps=(), **settings):
        entry = database.django(ENGINE="carpool.postgresql", OPTIONS={"pool": pool})
        given = {"DATABASES": {"default": {**entry, **settings}}, "INSTALLED_APPS": list(apps)}
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", PROGRAM, json.dumps(given), *command],
            env=os.environ | {"CARPOOL_DIR": str(tmp_path), "PYTHONWARNINGS": ""},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout, " ".join(done.stderr.split())

    return manage


def test_all_is_well(manage):
    code, out, _ = manage({"max_size": 4}, "check", "--database", "default")
    assert (code, out) == (0, "System check identified no issues (0 silenced).\n")


def test_wrong_options_with_a_database(manage):
    code, _, errors = manage({"max_sise": 4}, "check", "--database", "default")
    assert code == 1
    assert "(carpool.E001) DATABASES['default']['OPTIONS']['pool']: 'max_sise' is not" in errors
    assert "did you mean 'max_size'?" in errors
    assert "Traceback" not in errors


def test_wrong_options_without_a_database(manage):
    code, _, errors = manage({"max_sise": 4}, "check", apps=["carpool"])
    assert code == 1
    assert errors.count("carpool.E001") == 1
    both = manage({"max_sise": 4}, "check", "--database", "default", apps=["carpool"])
    assert both[2].count("carpool.E001") == 1
    assert manage({"max_sise": 4}, "check")[0] == 0  # nobody asks
    useless = manage({"max_per_process": 4}, "check", "--database", "default", apps=["carpool"])
    assert useless[2].count("carpool.W001") == 1


def test_persistent_connections(manage):
    code, _, errors = manage(True, "check", "--database", "default", CONN_MAX_AGE=60)
    assert code == 1
    assert "(carpool.E002) Pooling doesn't support persistent connections." in errors


def test_no_room(manage):
    code, _, errors = manage({"max_size": 400}, "check", "--database", "default")
    assert code == 0
    assert "(carpool.W005) DATABASES['default']: 'max_size' 400 = 400 connections, but" in errors
    strict = ("check", "--database", "default", "--fail-level", "WARNING")
    assert manage({"max_size": 400}, *strict)[0] == 1


def test_a_server_that_is_away(manage):
    code, _, errors = manage(True, "check", "--database", "default", PORT=free_port())
    assert code == 0
    assert "(carpool.W008) DATABASES['default']: postgresql://postgres@127.0.0.1:" in errors
    assert "Traceback" not in errors


def test_migrate(manage):
    code, _, errors = manage({"max_sise": 4}, "migrate")
    assert code == 1
    assert "(carpool.E001) DATABASES['default']['OPTIONS']['pool']: 'max_sise' is not" in errors
    assert manage({"max_size": 4}, "migrate")[0] == 0


def test_runserver(manage):
    server = ("runserver", "--noreload", f"127.0.0.1:{free_port()}")
    code, _, errors = manage({"max_sise": 4}, *server, apps=["carpool"])
    assert code == 1
    assert "(carpool.E001) DATABASES['default']['OPTIONS']['pool']: 'max_sise' is not" in errors


def test_the_first_query_says_it_too(manage):
    code, _, errors = manage({"max_sise": 4}, "inspectdb")
    assert code == 1
    assert "ImproperlyConfigured: DATABASES['default']['OPTIONS']['pool']: 'max_sise' is" in errors

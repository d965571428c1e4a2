"""Processes with pools of a project's, which do as they are told, and where their boards are."""

import shutil
import tempfile
from pathlib import Path

import pytest

from tests.host.nursery import Nursery

PROJECT = """
import os, threading, time
os.environ["CARPOOL_DIR"] = {directory!r}
import django
from django.conf import settings
settings.configure(DATABASES={databases!r})
django.setup()
from django.db import connection, connections
from carpool.telemetry import gather, orders, publisher

def ask(sql="SELECT 1", using="default"):
    with connections[using].cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0]

def request(times=1):
    for _ in range(times):
        ask()
        connection.close()
"""


def named_by(params):
    """Return what DATABASES says of a PostgreSQL with these parameters of psycopg's."""
    return {
        "NAME": params["dbname"],
        "USER": params["user"],
        "PASSWORD": params.get("password", ""),
        "HOST": params["host"],
        "PORT": params["port"],
    }


@pytest.fixture(scope="session")
def nursery():
    nursery = Nursery()
    yield nursery
    nursery.close()


@pytest.fixture
def directory():
    """The runtime directory of a test's processes; its path is short, as sockets want it."""
    path = Path(tempfile.mkdtemp(prefix="carpool-"))
    yield path
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@pytest.fixture
def project(nursery, directory, tmp_path):
    """Start a process with a project; keywords are options of its pool of an SQLite file."""
    started = []

    def start(databases=None, **options):
        sqlite = {"ENGINE": "carpool.sqlite3", "NAME": str(tmp_path / "db.sqlite3")}
        default = sqlite | {"OPTIONS": {"pool": options or True}}
        process = nursery.start()
        started.append(process)
        process.do(
            PROJECT.format(directory=str(directory), databases=databases or {"default": default})
        )
        return process

    yield start
    for each in started:
        each.close()


@pytest.fixture
def look(directory):
    """Return the report of all processes; by another one than they are."""
    from carpool.telemetry import gather  # noqa: PLC0415 - it needs Unix

    return lambda: gather.gather(str(directory))

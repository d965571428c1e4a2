"""Test databases with `share: host`: Django drops and copies them behind the broker's back."""

from contextlib import contextmanager
from dataclasses import replace

import pytest
from django.db.utils import OperationalError

from support.databases import fresh_database
from tests.django.conftest import ENGINE
from tests.host.brokers import own_place
from tests.probing import finish, start_program

pytestmark = pytest.mark.psycopg3
KINDS = {"postgresql": ("postgres", ENGINE), "mariadb": ("mariadb", "carpool.mysql")}
PROGRAM = """
import json, os, signal

import django
from django.conf import settings

settings.configure(DATABASES=json.loads(os.environ["PARAMS"]))
django.setup()

from django.db import connection

connection.ensure_connection()
connection.close()
print("connected", flush=True)
if "STAY" in os.environ:
    signal.pause()
os._exit(0)  # as Django's workers end: what is open stays so
"""


class Project:
    """The test's process and others, on one server by way of one broker."""

    def __init__(self, server, engine, place, path):
        self.server, self._engine, self._place, self._path = server, engine, place, path

    def entry(self, database):
        """Return the entry of DATABASES; the database is also the one to make for tests."""
        pool = {"share": "host", "broker_dir": str(self._place.root)}
        return database.django(
            ENGINE=self._engine, OPTIONS={"pool": pool}, TEST={"NAME": database.name}
        )

    def leave_session(self, database):
        """Have a process use a database, and exit; its session stays with the broker."""
        program = start_program(self._path, PROGRAM, {"default": self.entry(database)})
        assert finish(program) == ("connected\n", "")
        return database.sessions()[-1].pid

    @contextmanager
    def other(self, database):
        """Have a process use a database meanwhile; gives the number of its session."""
        program = start_program(self._path, PROGRAM, {"default": self.entry(database)}, STAY="1")
        assert program.stdout.readline() == "connected\n"
        try:
            yield database.sessions()[-1].pid
        finally:
            program.kill()
            finish(program)


@pytest.fixture(params=KINDS)
def project(request, tmp_path):
    """A project on each of the databases in turn."""
    fixture, engine = KINDS[request.param]
    with own_place() as place:
        yield Project(request.getfixturevalue(fixture), engine, place, tmp_path / "program.py")


@pytest.fixture
def database(project):
    with fresh_database(project.server) as database:
        yield database


@pytest.fixture
def connection(project, database, django_databases):
    """The wrapper of `default` in the test's own process."""
    connection = django_databases(default=project.entry(database))["default"]
    yield connection
    connection.close()
    connection.close_pool()


postgresql_only = pytest.mark.parametrize("project", ["postgresql"], indirect=True)


def test_a_database_is_dropped_that_processes_have_left(project, database, connection):
    pid = project.leave_session(database)
    connection.creation.destroy_test_db(database.name, verbosity=0)
    project.server.wait_for_sessions(0, pid=pid)
    with pytest.raises(OperationalError):  # there is no such database any more
        connection.ensure_connection()


def test_a_database_is_made_anew_that_processes_have_left(project, database, connection):
    database.query("CREATE TABLE of_an_earlier_run (id int)")
    pid = project.leave_session(database)
    connection.ensure_connection()
    connection.creation._create_test_db(verbosity=0, autoclobber=True)
    project.server.wait_for_sessions(0, pid=pid)
    assert "of_an_earlier_run" not in connection.introspection.table_names()


@postgresql_only
def test_a_database_is_cloned_that_processes_have_left(project, database, connection):
    clone = replace(database, name=f"{database.name}_1")
    project.server.create_database(clone.name)
    try:
        pids = project.leave_session(database), project.leave_session(clone)
        connection.creation.clone_test_db("1", verbosity=0, autoclobber=True)
        for pid in pids:
            project.server.wait_for_sessions(0, pid=pid)
    finally:
        project.server.drop_database(clone.name)


@postgresql_only
def test_a_database_that_others_are_connected_to_is_left_to_the_server(
    project, database, connection
):
    with project.other(database) as pid:
        with pytest.raises(OperationalError, match="is being accessed by other users"):
            connection.creation.destroy_test_db(database.name, verbosity=0)
        assert [each.pid for each in database.sessions()] == [pid]

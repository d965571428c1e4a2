"""A database that gets its extension while connections are open, as every test database does."""

import threading

import pytest
from django.db import connection as default

from support.databases import Database
from tests.django.asking import pid_of, run, value
from tests.postgis.models import assert_place, create_tables, make_place
from tests.postgis.test_geometries import area_of

SERVER_BINDING = {"server_side_binding": True}

pytestmark = pytest.mark.psycopg3


def knows_geometries(connection):
    """Tell whether the connection object knows the type by its present number."""
    number = value(connection, "SELECT 'geometry'::regtype::oid::int")
    return connection.connection.adapters.types.get(number) is not None


def test_all_connections_learn_of_it(use_in, bare_database, in_thread):
    connection = use_in(bare_database, {"max_size": 2}, **SERVER_BINDING)
    before = {pid_of(connection), in_thread(pid_of, default)}
    assert len(before) == 2
    connection.prepare_database()
    create_tables(connection)
    make_place(3)  # on the connection that made the extension
    assert area_of(3) == 9
    assert knows_geometries(connection)
    for _ in range(2):
        assert in_thread(area_of, 3) == 9
        assert in_thread(knows_geometries, default)
        connection.close()
        assert area_of(3) == 9
    assert len(bare_database.sessions()) <= 2


def test_also_those_leased_at_the_time(use_in, bare_database):
    connection = use_in(bare_database, {"max_size": 2}, **SERVER_BINDING)
    taken, made, known = threading.Event(), threading.Event(), []

    def other():
        run(default, "SELECT 1")
        taken.set()
        made.wait()
        default.close()  # the request is over
        known.append(knows_geometries(default))

    thread = threading.Thread(target=other)
    thread.start()
    taken.wait()
    connection.prepare_database()
    connection.close()
    made.set()
    thread.join()
    assert known == [True]


def test_it_comes_from_elsewhere(use_in, bare_database):
    """By a migration of another process, say: who connects after that knows the types."""
    connection = use_in(bare_database)
    run(connection, "SELECT 1")
    connection.close()
    bare_database.query("CREATE EXTENSION postgis")
    connection.pool.drain()
    assert knows_geometries(connection)


def test_made_anew_its_types_have_new_numbers(use, database):
    connection = use(**SERVER_BINDING)
    make_place(3)
    run(connection, "DROP EXTENSION postgis CASCADE")
    run(connection, "DROP TABLE places_place")
    connection.prepare_database()
    create_tables(connection)
    connection.close()
    make_place(4)
    assert knows_geometries(connection)
    assert area_of(3) == 9


@pytest.mark.parametrize("template", ["template0", "template1"])
def test_a_test_database(use, postgis, database, template):
    connection = use(**SERVER_BINDING)
    make_place(1)
    connection.close()
    connection.settings_dict["TEST"]["TEMPLATE"] = template
    name = connection.creation.create_test_db(verbosity=0, autoclobber=True)
    try:
        create_tables(connection)
        make_place(2)
        connection.close()
        assert_place(2)
        assert area_of(3) == 9
        assert knows_geometries(connection)
        assert value(connection, "SELECT current_database()") == name
        connection.close()
    finally:
        connection.creation.destroy_test_db(database.name, verbosity=0)
    assert Database(postgis, name).sessions() == []
    assert_place(1)
    assert area_of(3) == 9
    assert knows_geometries(connection)

"""Geometries go to the server and back on every connection of a pool."""

import struct
import threading
from contextlib import contextmanager

import pytest
from django.contrib.gis.db.models.functions import Area, GeometryDistance
from django.contrib.gis.geos import Point
from django.db import connection as default
from django.db import connections
from django.db.models import Value

from tests.django.asking import pid_of, run, value
from tests.postgis.models import (
    Picture,
    Place,
    a_raster,
    a_square,
    assert_place,
    create_tables,
    make_place,
)


@contextmanager
def lookups(database):
    """Collect the statements that ask for the numbers of types."""
    mark, found = database.mark(), []
    yield found
    found += [s.text for s in database.statements(mark) if "to_regtype" in s.text]


def area_of(side):
    """Have the server take a geometry that no column gives a type."""
    areas = Place.objects.annotate(given=Area(Value(a_square(side)))).values_list("given")
    return areas[0][0].sq_m


BINDING = [False, pytest.param(True, marks=pytest.mark.psycopg3)]


@pytest.fixture(params=BINDING, ids=["client", "server"])
def binding(request):
    """Where values are put into statements; where it is the server, it must know their types."""
    return {"server_side_binding": True} if request.param else {}


def test_round_trips(use, binding):
    connection = use({"max_size": 1}, **binding)
    pids = set()
    for number in range(4):
        make_place(number)
        connection.close()
        assert_place(number)
        assert area_of(number) == number**2
        pids.add(pid_of(connection))
        connection.close()
    assert len(pids) == 1
    nearest = Place.objects.order_by(GeometryDistance("at", Point(2.9, 1.5, srid=4326)))
    assert [place.name for place in nearest] == ["3", "2", "1", "0"]


def test_in_threads(use, binding):
    use({"max_size": 4}, **binding)
    start, wrong = threading.Barrier(4), []

    def work(number):
        try:
            start.wait()
            make_place(number)
            start.wait()  # each has a connection of its own
            default.close()
            for each in range(4):
                assert_place(each)
                assert area_of(each) == each**2
                default.close()
        except BaseException as error:  # noqa: BLE001 - looked at below
            wrong.append(error)
            start.abort()

    threads = [threading.Thread(target=work, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_after_a_reset(use, binding):
    connection = use({"max_size": 1}, **binding)
    make_place(3)
    pid = pid_of(connection)
    for _ in range(2):
        run(connection, "SET work_mem = '77MB'")
        connection.close()
        assert value(connection, "SHOW work_mem") == "4MB", "there has been a reset"
        assert_place(3)
        assert area_of(3) == 9
    assert pid_of(connection) == pid


def test_after_a_drain(use, binding):
    connection = use(**binding)
    make_place(3)
    pid = pid_of(connection)
    connection.close()
    connection.pool.drain()
    assert_place(3)
    assert area_of(3) == 9
    assert pid_of(connection) != pid


@pytest.mark.psycopg3
def test_types_are_asked_for_once(use_in, database, in_thread):
    with lookups(database) as asked:
        connection = use_in(database, {"max_size": 3})
        create_tables(connection)
        connection.close()
        for number in range(3):
            make_place(number)
            in_thread(assert_place, number)  # takes a second connection
            connection.close()
        connection.pool.drain()
        assert_place(1)
    assert len(asked) == 3, "geometry, geography, raster"


@pytest.mark.psycopg3
def test_asking_leaves_nothing_to_reset(use, database):
    connection = use()
    run(connection, "SELECT 1")  # the reset after the tables were made is over
    connection.close()
    mark = database.mark()
    connection.pool.drain()
    for number in range(2):
        assert value(connection, f"SELECT {number}") == number
        connection.close()
    seen = [s.text for s in database.statements(mark)]
    assert seen[-2:] == ["SELECT 0", "SELECT 1"]
    assert "DISCARD ALL" not in seen


def test_rasters(use, database):
    database.query("CREATE EXTENSION postgis_raster")
    connection = use({"max_size": 1})
    create_tables(connection, Picture)
    Picture.objects.create(rast=a_raster())
    connection.close()
    raster = Picture.objects.get().rast
    assert list(struct.unpack("<4f", raster.bands[0].data(as_memoryview=True))) == [1, 2, 3, 4]
    assert raster.srid == 4326


def test_without_a_pool_it_is_plain_geodjango(use):
    connection = use(pool=False)
    make_place(3)
    connection.close()
    assert_place(3)
    assert connection.pool is None


def test_connections_without_a_database_need_no_postgis(use, database):
    connection = use()
    with connection._nodb_cursor() as cursor:
        cursor.execute("SELECT current_database()")
        assert cursor.fetchone() == ("postgres",)
    nodb = type(connection)({**connection.settings_dict, "NAME": None}, alias="__no_db__")
    assert type(nodb.ops).__name__ == "DatabaseOperations"
    assert type(connections["default"].ops).__name__ == "PostGISOperations"

"""Shells know the geometry types once they have led to a server connection."""

from carpool.postgis.driver import PostGISDriver
from tests.postgis.test_geometries import lookups
from tests.postgresql.handing import Worker
from tests.probing import value


def test_shells_know_geometries(database, tmp_path):
    driver = PostGISDriver(**database.params, autocommit=True, prepare_threshold=None)
    worker = Worker(tmp_path, driver)
    other = driver.make_shell(worker.broker.path)
    with lookups(database) as looked_up:
        for connection in (worker.first, worker.second):
            shell = worker.lend(connection)
            number = value(shell, "SELECT 'geometry'::regtype::oid::int")
            assert shell.adapters.types.get(number) is not None
            worker.give_back()
        worker.broker.lend(driver, other, worker.first)
        assert other.adapters.types.get(number) is not None
    assert len(looked_up) == 3  # geometry, geography, raster; once for all
    for shell in (worker.shell, other):
        shell.close()
    worker.broker.close()

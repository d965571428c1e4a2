"""The pool on its own, without Django, with each of the two drivers, on each way to a server."""

import pytest

from carpool import Options, Pool
from carpool.mysql.driver import MysqlclientDriver
from carpool.mysql.pymysql import PyMySQLDriver
from support.databases import fresh_database
from support.proxy import Proxy

DRIVERS = {"mysqlclient": MysqlclientDriver, "pymysql": PyMySQLDriver}


@pytest.fixture(params=DRIVERS)
def driver_class(request):
    """Each of the drivers in turn, for the tests that ask for a pool without naming one."""
    return DRIVERS[request.param]


@pytest.fixture
def way(request):
    """How to reach the server: "tcp", or what a test is parametrized with: "unix", "tls"."""
    return getattr(request, "param", "tcp")


every_way = pytest.mark.parametrize("way", ["tcp", "unix", "tls"], indirect=True)


@pytest.fixture
def database(request, way):
    """A fresh, empty database of MariaDB: a support.databases.Database."""
    server = request.getfixturevalue("tls_mariadb" if way == "tls" else "mariadb")
    with fresh_database(server) as database:
        yield database


def connect_params(database, way, driver_class):
    if way == "unix":
        return database.unix_params
    if way != "tls":
        return database.params
    ca = str(database.server.ca)
    if driver_class is MysqlclientDriver:
        return database.params | {"ssl_mode": "REQUIRED", "ssl": {"ca": ca}}
    return database.params | {"ssl_ca": ca, "ssl_verify_cert": True}


class Pools:
    """Makes pools of autocommit connections to the test's database, and closes them."""

    def __init__(self, driver_class, params):
        self.driver_class, self.params = driver_class, params
        self.made = []

    def __call__(self, options=None, /, **params):
        """Make a pool with these options, a dict; `params` are the driver's."""
        params = self.params | {"autocommit": True} | params
        self.made.append(Pool(self.driver_class(**params), Options(**options or {})))
        return self.made[-1]


@pytest.fixture
def make_pool(driver_class, database, way):
    pools = Pools(driver_class, connect_params(database, way, driver_class))
    yield pools
    for pool in pools.made:
        pool.close()


@pytest.fixture
def proxy(mariadb):
    """A proxy in front of `mariadb`: connect to `proxy.port`."""
    with Proxy("127.0.0.1", mariadb.port) as proxy:
        yield proxy

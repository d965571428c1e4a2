"""Servers with TLS, and the forwarder that speaks it for drivers that do not."""

import shutil
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from carpool.host.tls import Forwarder
from support.servers import MariaDB, NotInstalled
from support.tls import Authority, SystemPostgreSQL
from tests.conftest import running


@contextmanager
def authority_for(server):
    try:
        with Authority.made(server.os_user) as authority:
            yield authority
    except NotInstalled as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def postgres_authority():
    with authority_for(SystemPostgreSQL) as authority:
        yield authority


@pytest.fixture(scope="session")
def stranger():
    """An authority that has issued nothing that is used."""
    with authority_for(SystemPostgreSQL) as authority:
        yield authority


@pytest.fixture(scope="session")
def mariadb_authority():
    with authority_for(MariaDB) as authority:
        yield authority


@pytest.fixture(scope="session")
def postgres_certificate(postgres_authority):
    return postgres_authority.issue("localhost")


@pytest.fixture(scope="session")
def secure_postgres(postgres_authority, postgres_certificate):
    settings = postgres_authority.of_postgresql(postgres_certificate)
    yield from running(SystemPostgreSQL, max_connections=200, **settings)


@pytest.fixture
def own_secure_postgres(postgres_authority, postgres_certificate):
    yield from running(SystemPostgreSQL, **postgres_authority.of_postgresql(postgres_certificate))


@pytest.fixture(scope="session")
def secure_mariadb(mariadb_authority):
    settings = mariadb_authority.of_mariadb(mariadb_authority.issue("localhost"))
    yield from running(MariaDB, local_infile="ON", **settings)


@pytest.fixture
def own_secure_mariadb(mariadb_authority):
    yield from running(
        MariaDB, **mariadb_authority.of_mariadb(mariadb_authority.issue("localhost"))
    )


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    """No certificates of whoever runs the tests count."""
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def directory():
    """A directory with a path short enough for sockets."""
    path = Path(tempfile.mkdtemp(prefix="carpool-", dir="/tmp"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def forwarder(directory):
    with closing(Forwarder(directory)) as forwarder:
        yield forwarder

"""Other clients than shells, real ones, at the broker's socket."""

import psycopg
import pytest
from psycopg import pq

from carpool.host.handoff import Cancel, Visitor
from tests.postgresql.probing import pid_of
from tests.probing import run, value


@pytest.fixture
def visit(worker, database):
    def visit(**params):
        given = {"host": worker.broker.path, "user": "somebody", "dbname": database.name}
        return psycopg.connect(**given | params, autocommit=True)

    return visit


def test_a_visitor_is_known_by_name_and_served(visit, worker, database):
    with visit() as visitor:
        assert pid_of(visitor) in {session.pid for session in database.sessions()}
        assert visitor.info.server_version == worker.first.info.server_version
        run(visitor, "SELECT repeat('x', 1000000)")
    assert worker.broker.greeted[-1] == Visitor("somebody", database.name)


def test_the_database_is_the_users_own_by_default(visit, worker):
    with visit(dbname="") as visitor:
        assert value(visitor, "SELECT 1") == 1
    assert worker.broker.greeted[-1] == Visitor("somebody", "somebody")


def test_who_would_like_tls_goes_on_without(visit, worker):
    with visit(host="127.0.0.1", port=worker.broker.port) as visitor:
        assert value(visitor, "SELECT 1") == 1
        assert not visitor.pgconn.ssl_in_use


def test_who_insists_on_tls_is_refused(visit, worker):
    with pytest.raises(psycopg.OperationalError, match="does not support SSL"):
        visit(host="127.0.0.1", port=worker.broker.port, sslmode="require")


@pytest.mark.parametrize("version", ["3.0", "3.2", "latest"])
def test_versions_of_the_protocol(visit, version):
    if pq.version() < 180000:
        pytest.skip("libpq before 18 speaks version 3.0 of the protocol only")
    with visit(max_protocol_version=version) as visitor:
        assert value(visitor, "SELECT 1") == 1
        assert visitor.info.full_protocol_version == (30000 if version == "3.0" else 30002)


def test_a_visitors_number_is_nobodys(visit, database):
    with visit() as visitor:
        seen = visitor.info.backend_pid
    assert 2**22 < seen < 2**31


def test_a_shells_number_comes_back_with_its_cancel_request(worker):
    worker.lend(worker.first)
    worker.shell.cancel_safe(timeout=5)
    (cancelled,) = [each for each in worker.broker.greeted if isinstance(each, Cancel)]
    assert worker.broker._below[cancelled.number] is worker.first

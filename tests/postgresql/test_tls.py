"""The look at a socket, resets, kills and forks with TLS between driver and server."""

import psycopg
import pytest

from tests.postgresql.probing import pid_of
from tests.postgresql.test_forks import HEAD
from tests.postgresql.tls import make_certificate, terminator
from tests.probing import eventually, report_of, run, start_program, value


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(params=["TLSv1_3", "TLSv1_2"])
def tls(request, postgres, certificate):
    with terminator(postgres.port, *certificate, request.param) as port:
        yield {"port": port, "sslmode": "verify-full", "sslrootcert": str(certificate[0])}


def uses_tls(connection):
    if isinstance(connection, psycopg.Connection):
        return connection.pgconn.ssl_in_use
    return connection.info.ssl_in_use


def test_an_idle_connection_is_used_again_without_a_ping(make_pool, database, tls):
    pool, mark = make_pool({}, **tls), database.mark()
    for _ in range(4):
        with pool.connection() as connection:
            assert uses_tls(connection)
            run(connection, "SELECT 1")
    assert [each.text for each in database.statements(mark)] == ["SELECT 1"] * 4
    assert database.connections(mark) == 1


def test_the_limits_tell_of_it(driver_class, database, tls):
    assert driver_class(**database.params | tls).limits().tls
    assert not driver_class(**database.params).limits().tls


def test_killed_sessions_are_noticed(make_pool, database, tls):
    pool = make_pool({"max_size": 3}, **tls)
    leased = [pool.acquire() for _ in range(3)]
    before = {pid_of(each) for each in leased}
    for each in leased:
        pool.release(each)
    assert database.kill_sessions() == 3
    idle = [entry.connection for entry in pool._idle]
    eventually(lambda: all(each.session.readable(0) for each in idle))  # it travels through us
    mark = database.mark()
    leased = [pool.acquire() for _ in range(3)]
    assert not {pid_of(each) for each in leased} & before
    for each in leased:
        pool.release(each)
    assert {each.text for each in database.statements(mark)} == {"SELECT pg_backend_pid()"}


def test_resets(make_pool, database, tls):
    pool = make_pool({}, **tls)
    with pool.connection() as connection:
        pid = pid_of(connection)
        run(connection, "SELECT pg_advisory_lock(1)")
        run(connection, "SET work_mem = '77MB'")
    locks = "SELECT * FROM pg_locks WHERE locktype = 'advisory' AND pid = %s"
    eventually(lambda: not database.query(locks, [pid]))
    with pool.connection() as connection:
        assert pid_of(connection) == pid
        assert value(connection, "SHOW work_mem") == "4MB"


def test_a_large_answer_and_a_large_question(make_pool, tls):
    pool = make_pool({}, **tls)
    for _ in range(3):
        with pool.connection() as connection:
            (row,) = run(connection, "SELECT repeat('x', 300000), length(%s)", ["y" * 300000])
            assert (len(row[0]), row[1]) == (300000, 300000)


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_a_fork(tmp_path, database, tls, driver):
    """TLS has state that a word of the child to the server would spoil for the parent."""
    text = """
pool = make_pool()
leased, other = pool.acquire(), pool.acquire()
before = [ask(each, "SELECT pg_backend_pid()")[0] for each in (leased, other)]
pool.release(other)
child = os.fork()
if not child:
    report(who="child", pids=query(pool, 100), sockets=sockets())
    pool.close()
    os._exit(0)
report(who="parent", before=before, pids=query(pool, 100), sockets=sockets())
assert join(child) == 0
assert ask(leased, "SELECT pg_backend_pid()")[0] == before[0]
pool.release(leased)
"""
    given = {"driver": driver, "params": database.params | tls}
    program = start_program(tmp_path / "program.py", HEAD + text, given, "-X", "dev", "-W", "error")
    found = {each["who"]: each for each in report_of(program)}
    parent, child = found["parent"], found["child"]
    assert parent["pids"] == parent["before"][1:]
    assert not set(child["pids"]) & set(parent["before"])
    assert not set(child["sockets"]) & set(parent["sockets"])
    database.wait_for_sessions(0)


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_an_exit(tmp_path, database, tls, driver):
    text = "pool = make_pool()\nleased = pool.acquire()\nquery(pool)\n"
    given = {"driver": driver, "params": database.params | tls}
    program = start_program(tmp_path / "program.py", HEAD + text, given, "-X", "dev", "-W", "error")
    assert report_of(program) == []
    database.wait_for_sessions(0)

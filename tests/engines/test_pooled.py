"""`carpool.pooled` with Django's own engines in the place of third-party ones."""

import ssl
import threading

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import Error, transaction
from django.db import connection as default
from django.test import override_settings

import carpool
from tests.django.asking import run, value
from tests.probing import eventually

BOTH = pytest.mark.parametrize("which", ["plain", "clearing"])


def count(kind):
    return kind.query("SELECT count(*) FROM note")[0][0]


# Leases -------------------------------------------------------------------------------------------


@BOTH
def test_the_connection_is_kept(use, kind, which, in_thread):
    connection = use(which, {"max_size": 1})
    first = kind.session_of(connection)
    connection.close()
    assert in_thread(kind.session_of, default) == first
    assert kind.session_of(connection) == first
    assert len(kind.sessions()) == 1


@BOTH
def test_threads_share_what_there_is(use, kind, which):
    use(which, {"max_size": 2, "timeout": 30})
    most, wrong = [], []

    def work(number):
        if value(default, "SELECT %s + 0", [number]) != number:
            wrong.append(number)
        most.append(len(kind.sessions()))
        if number % 2:
            default.close()

    threads = [threading.Thread(target=work, args=[number]) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert max(most) <= 2
    assert len(most) == 20


@BOTH
def test_what_is_left_open_is_rolled_back(use, kind, which):
    connection = use(which, {"max_size": 1})
    for _ in range(2):
        connection.set_autocommit(False)
        run(connection, "INSERT INTO note VALUES (1)")
        connection.close()
        eventually(lambda: connection.pool.snapshot().idle == 1)
        kind.query("INSERT INTO note VALUES (2)")  # nobody holds a lock
    assert kind.query("SELECT DISTINCT n FROM note") == [(2,)]
    run(connection, "INSERT INTO note VALUES (3)")
    connection.close()
    assert count(kind) == 3, "autocommit is back"


def test_a_thread_that_dies_within_atomic(use, kind, in_thread):
    use(pool={"max_size": 1})

    def die():
        transaction.atomic().__enter__()
        run(default, "INSERT INTO note VALUES (1)")

    for _ in range(3):
        in_thread(die)
        assert in_thread(value, default, "SELECT count(*) FROM note") == 0


def test_transactions_commit(use, kind):
    connection = use(pool={"max_size": 1})
    for number in range(3):
        with transaction.atomic():
            run(connection, "INSERT INTO note VALUES (%s)", [number])
            with pytest.raises(ZeroDivisionError), transaction.atomic():  # noqa: PT012 - the block raises
                run(connection, "INSERT INTO note VALUES (9)")
                raise ZeroDivisionError
        connection.close()
    assert kind.query("SELECT n FROM note ORDER BY n") == [(0,), (1,), (2,)]


def test_closed_within_atomic(use, kind):
    connection = use(pool={"max_size": 1})
    with pytest.raises(Error), transaction.atomic():  # noqa: PT012 - as above
        run(connection, "INSERT INTO note VALUES (1)")
        connection.close()
        run(connection, "SELECT 1")
    assert value(connection, "SELECT count(*) FROM note") == 0


def test_an_error_harms_nobody(use):
    connection = use(pool={"max_size": 1})
    with pytest.raises(Exception, match="nowhere"):
        run(connection, "SELECT * FROM nowhere")
    connection.close()
    assert value(connection, "SELECT 1") == 1


def test_without_autocommit(use, kind):
    connection = use(pool={"max_size": 1}, AUTOCOMMIT=False)
    for number in range(2):
        run(connection, "INSERT INTO note VALUES (%s)", [number])
        assert not connection.get_autocommit()
        connection.close()
        connection.set_autocommit(True)  # for once
        connection.close()
    assert value(connection, "SELECT count(*) FROM note") == 0
    run(connection, "INSERT INTO note VALUES (7)")
    connection.commit()
    connection.close()
    assert kind.query("SELECT n FROM note") == [(7,)]


# What stays and what goes -------------------------------------------------------------------------


def test_without_a_reset_session_state_stays(use, kind):
    connection = use(pool={"max_size": 1})
    before = value(connection, kind.probe)
    run(connection, kind.plant)
    connection.close()
    assert value(connection, kind.probe) != before


def test_with_one_it_goes(use, kind):
    connection = use("clearing", {"max_size": 1})
    before, session = value(connection, kind.probe), kind.session_of(connection)
    run(connection, kind.plant)
    connection.close()
    assert value(connection, kind.probe) == before
    assert kind.session_of(connection) == session


@BOTH
def test_what_django_sets_up_is_there_always(use, kind, which):
    connection = use(which, {"max_size": 1}, **kind.set_up)
    probe, expected = kind.set_up_shown
    for _ in range(3):
        assert value(connection, probe) == expected
        run(connection, kind.plant if which == "clearing" else "SELECT 1")
        connection.close()


def test_the_character_set_survives_a_reset(use, kind):
    connection = use("clearing", {"max_size": 1})
    for _ in range(2):
        assert value(connection, "SELECT %s", ["é€😀"]) == "é€😀"
        connection.close()


@BOTH
def test_connection_created_once(use, which, created):
    connection = use(which, {"max_size": 1})
    for _ in range(3):
        run(connection, "SELECT 1")
        connection.close()
    assert created == ["default"]


@BOTH
def test_what_its_receivers_do_is_there_always(use, kind, which, leaving, created):
    leaving(kind.receiver)
    connection = use(which, {"max_size": 1})
    probe, expected = kind.received
    for _ in range(3):
        assert value(connection, probe) == expected
        connection.close()
    assert created == ["default"] * (1 if which == "plain" else 3)


def test_also_without_autocommit(use, kind, leaving):
    """The rollback at the end of a lease does not undo what was done before it began."""
    leaving(kind.receiver)
    connection = use(pool={"max_size": 1}, AUTOCOMMIT=False)
    probe, expected = kind.received
    for _ in range(2):
        assert value(connection, probe) == expected
        connection.close()


def test_an_unused_lease_costs_nothing(use, kind):
    connection = use(pool={"max_size": 1})
    for _ in range(2):
        connection.ensure_connection()
        connection.close()
    mark = kind.database.mark()
    for _ in range(2):
        connection.ensure_connection()
        connection.close()
    assert kind.statements(mark) == []


# Settings -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("pool", [True, {}, {"max_size": 3}])
def test_pooled(use, kind, pool):
    connection = use(pool=pool)
    assert isinstance(connection.pool, carpool.Pool)
    assert value(connection, "SELECT 1") == 1
    connection.close()
    assert len(kind.sessions()) == 1
    assert connection.vendor in connection.pool.name


def test_without_a_pool_it_is_plain_django(use, kind):
    connection = use(pool=False)
    assert value(connection, "SELECT 1") == 1
    assert connection.pool is None
    connection.close()
    eventually(lambda: kind.sessions() == [])


def test_persistent_connections_are_refused(use):
    with pytest.raises(ImproperlyConfigured, match="'CONN_MAX_AGE' is 60; allowed: 0"):
        value(use(CONN_MAX_AGE=60), "SELECT 1")


def test_threads_share_a_pool_whatever_the_options_hold(use, kind, in_thread, monkeypatch):
    """Objects that can be neither copied nor compared, such as an SSL context."""
    connection = use(options={"anything": ssl.create_default_context()})
    engine = type(connection).engine
    stock = engine.get_connection_params

    def without_anything(self):
        params = stock(self)
        assert isinstance(params.pop("anything"), ssl.SSLContext)
        return params

    monkeypatch.setattr(engine, "get_connection_params", without_anything)
    assert in_thread(lambda: default.pool) is connection.pool
    assert in_thread(value, default, "SELECT 1") == 1


@BOTH
def test_threads_share_a_pool(use, which, in_thread):
    pool = use(which).pool
    assert in_thread(lambda: default.pool) is pool


def test_what_django_alone_goes_by_makes_no_other_pool(use):
    connection = use()
    pool = connection.pool
    for key in ("ATOMIC_REQUESTS", "CONN_HEALTH_CHECKS", "TEST"):
        connection.settings_dict[key] = {"NAME": "other"} if key == "TEST" else True
        connection._chosen_for = None
        assert connection.pool is pool


def test_another_time_zone_is_another_pool(use):
    connection = use()
    pool = connection.pool
    connection.settings_dict["TIME_ZONE"] = "Asia/Tokyo"
    if connection.vendor == "postgresql":
        assert value(connection, "SHOW TimeZone") == "Asia/Tokyo"
    assert connection.pool is not pool


@pytest.mark.parametrize("kind", ["postgresql"], indirect=True)
def test_a_pool_keeps_the_time_zone_that_it_was_made_for(use):
    driver = use().pool.driver
    with override_settings(USE_TZ=False, TIME_ZONE="Asia/Tokyo"):
        session = driver.connect({})
    assert session.execute("SHOW TimeZone").fetchone() == ("UTC",)
    driver.close(session, 1)


def test_fresh_credentials(use, kind):
    """They go to the module's connect, under its own names."""
    server, asked = kind.database.server, []
    server.create_role(f"fresh_{kind.name}", "secret")

    def credentials():
        asked.append(1)
        return {"user": f"fresh_{kind.name}", "password": "secret"}

    connection = use(pool={"credentials": credentials}, USER="nobody", PASSWORD="wrong")
    assert f"fresh_{kind.name}" in value(connection, kind.user)
    assert asked == [1]


@BOTH
def test_a_test_database(use, kind, which):
    connection = use(which)
    run(connection, "INSERT INTO note VALUES (1)")
    connection.close()
    former = connection.settings_dict["NAME"]
    connection.creation.create_test_db(verbosity=0, autoclobber=True)
    try:
        run(connection, "CREATE TABLE note (n integer)")
        connection.close()
        assert value(connection, "SELECT count(*) FROM note") == 0
        connection.close()
        assert eventually(lambda: kind.sessions() == []), "the pool of the real one is closed"
    finally:
        connection.creation.destroy_test_db(former, verbosity=0)
    assert value(connection, "SELECT count(*) FROM note") == 1


# Connections that break ---------------------------------------------------------------------------


def test_killed_sessions_are_never_handed_out(use, kind):
    connection = use()
    for _ in range(3):
        assert value(connection, "SELECT 1") == 1
        connection.close()
        eventually(lambda: connection.pool.snapshot().idle == 1)
        kind.database.kill_sessions()


def test_one_killed_in_use_is_replaced(use, kind):
    connection = use(pool={"max_size": 1})
    run(connection, "SELECT 1")
    kind.database.kill_sessions()
    with pytest.raises(Exception, match=r"terminat|gone away|server|Lost"):
        run(connection, "SELECT 1")
    connection.close()
    assert value(connection, "SELECT 1") == 1


def test_pings_as_the_engine_does(use, kind, monkeypatch):
    connection = use(pool={"max_size": 1, "check_after": 0})
    answers = [True, False]
    monkeypatch.setattr(type(connection).engine, "is_usable", lambda _: answers.pop(0))
    first = kind.session_of(connection)  # asked once, and answered
    connection.close()
    answers += [True] * 9
    assert kind.session_of(connection) != first


def test_pings_of_ones_own(use, kind):
    connection = use("clearing", {"max_size": 1, "check_after": 0})
    session = kind.session_of(connection)
    connection.close()
    mark = kind.database.mark()
    assert kind.session_of(connection) == session
    assert "SELECT 'alive'" in kind.statements(mark)


def test_one_that_the_user_closes(use, kind, caplog):
    connection = use(pool={"max_size": 1})
    run(connection, "SELECT 1")
    connection.connection.close()
    connection.close()
    assert value(connection, "SELECT 1") == 1
    assert len(kind.sessions()) == 1
    assert caplog.records == [], "it is no failure"

"""What keeps a connection in transaction mode, and who hears of it."""

import logging

import pytest
from django.db import connection as default
from django.db import connections, transaction
from django.db.backends.signals import connection_created

import carpool
from tests.conformance.leases import impatient, is_free
from tests.probing import run, value

MODE = {"mode": "transaction", "max_size": 1}


@pytest.fixture
def connection(use):
    return use(MODE)


@pytest.fixture
def told(caplog):
    """Return what carpool has logged at INFO of pins."""
    caplog.set_level(logging.INFO, "carpool.pool")
    return lambda: [each.getMessage() for each in caplog.records if "pins" in each.getMessage()]


def test_the_first_of_each_kind_is_told_with_its_shape(connection, told):
    for _ in range(2):
        run(connection, "SELECT set_config('app.user', %s, false)", ["secret"])
        run(connection, "SELECT pg_advisory_lock(4711)")
        connection.close()
        run(connection, "SELECT pg_advisory_lock(4712)")
        connection.close()
    shapes = [each.partition("request ends: ")[2] for each in told()]
    assert shapes == ["SELECT set_config(?, %s, false)", "SELECT pg_advisory_lock(?)"]
    assert not any("secret" in each or "471" in each for each in told())


def test_they_are_counted_by_reason(connection):
    for _ in range(3):
        run(connection, "SET work_mem = '77MB'")
        run(connection, "SELECT pg_advisory_lock(1)")  # it is pinned already
        connection.close()
    stats = connection.pool.get_stats()
    assert (stats["pins"], stats["pinned_SET"]) == (3, 3)


def test_the_connection_tells_why(connection):
    assert connection.pinned is None
    assert value(connection, "SELECT 1") == 1
    assert connection.pinned is None
    run(connection, "CREATE TEMPORARY TABLE mine (n integer)")
    assert connection.pinned == "temporary table"
    run(connection, "DROP TABLE mine")
    assert connection.pinned == "temporary table"  # until the request ends
    connection.close()
    assert connection.pinned is None


@pytest.mark.parametrize(
    "local",
    [
        "SET LOCAL work_mem = '77MB'",
        "SELECT pg_advisory_xact_lock(1)",
        "SELECT set_config('work_mem', '77MB', true)",
        "CREATE TEMPORARY TABLE mine (n integer, m numeric(10, 2)) ON COMMIT DROP",
        "CREATE TEMP TABLE mine ON COMMIT DROP AS SELECT 1 AS n",
    ],
)
def test_what_ends_with_the_transaction_does_not_pin(connection, local, in_thread):
    with transaction.atomic():
        run(connection, local)
    assert connection.pinned is None
    assert in_thread(lambda: value(default, "SELECT 1")) == 1


def test_session_mode_knows_no_pins(use):
    connection = use({"max_size": 1})
    run(connection, "SET work_mem = '77MB'")
    assert connection.pinned is None


# ---------------------------------------------------------------------- on purpose


def sessions_of(connection, times=2):
    return {value(connection, "SELECT pg_backend_pid()") for _ in range(times)}


def test_session_keeps_the_connection_for_a_block(connection):
    value(connection, "SELECT 1")
    with carpool.session():
        value(connection, "SELECT 1")
        assert connection.pinned == "carpool.session()"
        assert not is_free()
        with carpool.session("default"):
            value(connection, "SELECT 1")
        assert not is_free()
    assert connection.pinned is None
    assert is_free()
    assert connection.pool.get_stats()["pinned_carpool.session()"] == 2


def test_session_takes_none_before_the_first_statement(connection):
    value(connection, "SELECT 1")
    with carpool.session():
        assert is_free()


def test_session_as_a_decorator(connection, in_thread):
    @carpool.session()
    def report(depth=1):
        """Return what it returns."""
        if depth:
            report(depth - 1)
        assert connection.pinned == "carpool.session()"
        return sessions_of(connection)

    assert len(report()) == 1
    assert connection.pinned is None
    assert report.__doc__ == "Return what it returns."


def test_session_ends_with_an_exception(connection):
    with pytest.raises(ZeroDivisionError), carpool.session():
        raise ZeroDivisionError
    assert connection.pinned is None


def test_session_refuses_asynchronous_functions():
    async def report():
        """Run statements in another thread."""

    with pytest.raises(TypeError, match=r"report is asynchronous.*sync_to_async"):
        carpool.session()(report)


@pytest.mark.parametrize("pool", [True, False])
def test_session_changes_nothing_elsewhere(use, pool):
    connection = use(pool)
    with carpool.session():
        assert value(connection, "SELECT 1") == 1
    assert connection.pinned is None


# -------------------------------------------------- one thread, two connections


def test_a_thread_that_holds_what_it_waits_for_is_told(django_databases, database):
    """Two aliases with equal parameters share a pool."""
    entry = database.django(ENGINE="carpool.postgresql")
    both = {name: {**entry, "OPTIONS": {"pool": MODE}} for name in ("default", "other")}
    django_databases(**both)
    try:
        value(connections["default"], "SELECT 1")
        with transaction.atomic():
            value(connections["default"], "SELECT 1")
            pool = connections["default"].pool
            with impatient(pool), pytest.raises(carpool.PoolTimeout) as caught:
                value(connections["other"], "SELECT 1")
        text = str(caught.value)
        assert "This thread holds 1 of them itself, by the alias 'default' (in atomic)" in text
        assert "one more by the alias 'other'" in text
        assert value(connections["other"], "SELECT 1") == 1
    finally:
        connections["default"].close_pool()
        connections.close_all()


def test_one_session_object_for_nested_blocks_and_threads(use, in_thread):
    connection = use({**MODE, "max_size": 2})
    hold = carpool.session()
    with hold:
        value(connection, "SELECT 1")
        with hold:
            value(connection, "SELECT 1")
        assert connection.pinned

        def elsewhere():
            with hold:
                value(default, "SELECT 1")

        in_thread(elsewhere)
        assert connection.pinned == "carpool.session()"
        assert len(sessions_of(connection)) == 1
        assert connection.pool.snapshot().leased == 1
    assert connection.pinned is None


def test_receivers_that_leave_something_do_not_pin(use, in_thread):
    connection = use(MODE)

    def receiver(connection, **_):
        with connection.cursor() as cursor:
            cursor.execute("SET work_mem = '77MB'")

    connection_created.connect(receiver)
    try:
        assert value(connection, "SHOW work_mem") == "77MB"
        assert connection.pinned is None
        assert in_thread(lambda: value(default, "SHOW work_mem")) == "77MB"
    finally:
        connection_created.disconnect(receiver)
    assert connection.pool.get_stats()["pins"] == 0


def discard_all(connection):
    connection.execute("DISCARD ALL")


@pytest.mark.psycopg3
@pytest.mark.parametrize("reset", ["always", "rollback", None, discard_all])
def test_a_pinned_connection_is_lent_again_whatever_the_reset(use, reset, in_thread, database):
    connection = use({**MODE, "reset": reset})
    for _ in range(2):
        run(connection, "SET work_mem = '77MB'")
        connection.close()
    kept = reset in ("rollback", None)
    assert (in_thread(lambda: value(default, "SHOW work_mem")) == "77MB") is kept
    assert connection.pool.snapshot().leased == 0
    assert len(database.sessions()) == 1

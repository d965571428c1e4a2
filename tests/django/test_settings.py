"""What the settings of an alias mean for its pool, also when they change (promise 9)."""

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, connections, transaction
from django.db.backends.postgresql.psycopg_any import IsolationLevel
from django.test import override_settings

import carpool
from support.databases import fresh_database
from tests.django.asking import pid_of, run, texts, value
from tests.django.conftest import ENGINE

# OPTIONS["pool"] ----------------------------------------------------------------------------------


@pytest.mark.parametrize("pool", [True, {}, {"max_size": 3}, "absent"])
def test_pooled(use, database, pool):
    connection = use(pool)
    assert ("pool" in connection.settings_dict["OPTIONS"]) is not (pool == "absent")
    pid = pid_of(connection)
    connection.close()
    assert [row.pid for row in database.sessions()] == [pid]
    assert pid_of(connection) == pid
    assert isinstance(connection.pool, carpool.Pool)


def test_without_a_pool_it_is_plain_django(use, database):
    connection = use(pool=False)
    pid = pid_of(connection)
    connection.close()
    database.wait_for_sessions(0)
    assert pid_of(connection) != pid
    assert connection.pool is None
    connection.close()
    connection.close_pool()


def test_without_a_pool_connections_may_be_kept(use, database):
    connection = use(pool=False, CONN_MAX_AGE=60)
    pid = pid_of(connection)
    connection.close_if_unusable_or_obsolete()
    assert pid_of(connection) == pid
    connection.close()


ERRORS = {
    "unknown key": (
        {"max_sise": 3},
        r"^DATABASES\['default'\]\['OPTIONS'\]\['pool'\]: 'max_sise' is not an option; did you",
    ),
    "unknown key, known ones": ({"max_sise": 3}, "'max_size'[?]; allowed: min_size, .*, share"),
    "SQLAlchemy's": ({"pool_size": 3}, r"'pool_size' is not an option; here it is 'max_size'"),
    "SQLAlchemy's overflow": ({"max_overflow": 3}, r"'max_overflow' .* 'max_size'"),
    "SQLAlchemy's recycle": ({"recycle": 3}, r"'recycle' .* 'max_lifetime'"),
    "SQLAlchemy's ping": ({"pre_ping": True}, r"'pre_ping' .*'check_after'"),
    "wrong type": ({"max_size": "3"}, r"'max_size' is '3'; allowed: a whole number of at least 1"),
    "a bool is no number": ({"max_size": True}, r"'max_size' is True; allowed: a whole number"),
    "negative time": ({"timeout": -1}, r"'timeout' is -1; allowed: a number of seconds, 0 or more"),
    "sizes": ({"min_size": 11}, r"'min_size' is 11, above 'max_size', which is 10; allowed: at "),
    "no dict": ("yes", r"it is 'yes'; allowed: True, False, or a dict"),
    "mode": ({"mode": "trip"}, r"'mode' is 'trip'; allowed: 'session', 'transaction', 'stat"),
    "share": ({"share": "hosts"}, r"'share' is 'hosts'; allowed: 'process', 'host'"),
    "reset": ({"reset": "often"}, r"'reset' is 'often'; allowed: 'auto', 'always', 'rollback'"),
    "path": ({"reset": "no.such"}, r"'reset' is 'no.such'; allowed: .*\(importing it failed: "),
}


@pytest.mark.parametrize(("pool", "message"), ERRORS.values(), ids=ERRORS)
def test_what_is_wrong_is_named(use, pool, message):
    connection = use(pool)  # so that `manage.py check` can tell of it as well
    for _ in range(2):
        with pytest.raises(ImproperlyConfigured, match=message):
            run(connection, "SELECT 1")
    with pytest.raises(ImproperlyConfigured, match=message), transaction.atomic():
        pass
    with pytest.raises(ImproperlyConfigured, match=message):
        connection.pool  # noqa: B018 - it raises
    assert connection.connection is None


def test_what_has_been_put_right_works(use):
    connection = use({"max_sise": 3})
    with pytest.raises(ImproperlyConfigured):
        run(connection, "SELECT 1")
    connection.settings_dict["OPTIONS"]["pool"] = {"max_size": 3}
    assert value(connection, "SELECT 1") == 1
    assert connection.pool.options.max_size == 3
    connection.close()
    connection.settings_dict["CONN_MAX_AGE"] = 60  # from now on that is heeded, as Django would
    connection.settings_dict["OPTIONS"]["pool"] = {"max_size": 4}
    assert value(connection, "SELECT 1") == 1
    connection.settings_dict["CONN_MAX_AGE"] = 0


@pytest.mark.parametrize("age", [None, 60])
def test_persistent_connections_are_refused(use, age):
    with pytest.raises(
        ImproperlyConfigured,
        match=rf"DATABASES\['default'\]: 'CONN_MAX_AGE' is {age}; allowed: 0.*'pool': False",
    ):
        run(use(CONN_MAX_AGE=age), "SELECT 1")


# The session's settings ---------------------------------------------------------------------------


@pytest.mark.parametrize("reset", [False, True])
def test_time_zone(use, reset):
    connection = use(TIME_ZONE="Asia/Tokyo")
    for _ in range(2):
        assert value(connection, "SHOW TimeZone") == "Asia/Tokyo"
        if reset:
            run(connection, "SET TimeZone = 'Europe/Rome'")
        connection.close()


def test_without_time_zones(use, database):
    with override_settings(USE_TZ=False, TIME_ZONE="Europe/Rome"):
        connection = use()
        for _ in range(2):
            assert value(connection, "SHOW TimeZone") == "Europe/Rome"
            stamp = value(connection, "SELECT '2020-06-01 12:00'::timestamp")
            assert stamp.tzinfo is None
            connection.close()


@pytest.mark.parametrize("reset", [False, True])
def test_assume_role(use, database, reset):
    connection = use(options={"assume_role": "pg_monitor"})
    mark = database.mark()
    for _ in range(3):
        assert value(connection, "SELECT current_user") == "pg_monitor"
        if reset:
            run(connection, "SET ROLE pg_read_all_data")
        connection.close()
    if not reset:
        assert set(texts(database.statements(mark))) == {"SELECT current_user"}


@pytest.mark.parametrize("reset", [False, True])
def test_isolation_level(use, reset):
    connection = use(options={"isolation_level": IsolationLevel.SERIALIZABLE})
    for _ in range(2):
        with transaction.atomic():
            assert value(connection, "SHOW transaction_isolation") == "serializable"
        if reset:
            run(connection, "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
        connection.close()


def test_a_wrong_isolation_level(use):
    connection = use(options={"isolation_level": 17})
    with pytest.raises(ImproperlyConfigured, match="Invalid transaction isolation level 17"):
        run(connection, "SELECT 1")


def test_libpq_options(use):
    connection = use(options={"options": "-c work_mem=9MB"})
    for _ in range(2):
        assert value(connection, "SHOW work_mem") == "9MB"
        assert value(connection, "SHOW client_encoding") == "UTF8"
        run(connection, "SET work_mem = '77MB'")
        connection.close()


@pytest.mark.psycopg3
@pytest.mark.parametrize("options", [{"server_side_binding": True}, {"prepare_threshold": 0}])
def test_binding_and_preparing(use, database, options):
    connection = use(options=options)
    for number in range(8):
        assert value(connection, "SELECT %s::int + 1", [number]) == number + 1
        if number % 3 == 2:
            run(connection, "SET work_mem = '77MB'")
        connection.close()
    assert value(connection, "SHOW work_mem") == "4MB"
    assert len(database.sessions()) == 1


@pytest.mark.psycopg3
def test_nothing_is_prepared_by_default(use):
    connection = use()
    for number in range(8):
        value(connection, "SELECT %s", [number])
    assert value(connection, "SELECT count(*) FROM pg_prepared_statements") == 0


# Changes while the process runs -------------------------------------------------------------------


def test_another_name(use, postgres, database):
    connection = use()
    run(connection, "SELECT 1")
    connection.close()
    with fresh_database(postgres) as other:
        connection.settings_dict["NAME"] = other.name
        assert value(connection, "SELECT current_database()") == other.name
        database.wait_for_sessions(0)  # the pool of the old one has gone
        connection.close()
        connection.settings_dict["NAME"] = database.name
        assert value(connection, "SELECT current_database()") == database.name
        other.wait_for_sessions(0)


CHANGES = {
    "TIME_ZONE": ("Asia/Tokyo", "SHOW TimeZone", "UTC"),
    "OPTIONS": ({"options": "-c work_mem=9MB"}, "SHOW work_mem", "4MB"),
    "USER": ("someone", "SELECT session_user", "postgres"),
}


@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("key", CHANGES)
def test_another_value(use, postgres, key, in_place):
    postgres.query("DROP ROLE IF EXISTS someone")
    postgres.query("CREATE ROLE someone LOGIN")
    new, probe, before = CHANGES[key]
    connection = use()
    assert value(connection, probe) == before
    connection.close()
    if key == "OPTIONS" and in_place:
        connection.settings_dict["OPTIONS"].update(new)
    elif in_place:
        connection.settings_dict[key] = new
    else:
        connection.settings_dict = {**connection.settings_dict, key: new}
    if key == "TIME_ZONE":  # what Django does when a time zone is changed
        connection.__dict__.pop("timezone", None)
        connection.__dict__.pop("timezone_name", None)
        connection.ensure_timezone()
    assert value(connection, probe) == (new if isinstance(new, str) else "9MB")
    connection.close()


def test_a_rotated_password_in_the_settings(use, postgres):
    postgres.query("DROP ROLE IF EXISTS rotated")
    postgres.create_role("rotated", "first")
    connection = use(USER="rotated", PASSWORD="first")
    pid = pid_of(connection)
    connection.close()
    postgres.query("ALTER ROLE rotated PASSWORD 'second'")
    connection.settings_dict["PASSWORD"] = "second"
    assert pid_of(connection) != pid
    connection.close()
    connection.settings_dict["PASSWORD"] = "third"
    with pytest.raises(OperationalError, match="password authentication failed"):
        run(connection, "SELECT 1")


def test_a_rotated_password_by_credentials(use, postgres):
    postgres.query("DROP ROLE IF EXISTS rotated")
    postgres.create_role("rotated", "first")
    current = ["first"]
    connection = use({"credentials": lambda: current[0]}, USER="rotated", PASSWORD="never used")
    pid = pid_of(connection)
    connection.close()
    postgres.query("ALTER ROLE rotated PASSWORD 'second'")
    current[0] = "second"
    assert pid_of(connection) == pid
    connection.close()
    postgres.kill_sessions(user="rotated")
    assert pid_of(connection) != pid
    connection.close()


# Aliases ------------------------------------------------------------------------------------------


@pytest.fixture
def use_two(django_databases, database):
    def use(**other):
        first = database.django(ENGINE=ENGINE, OPTIONS={"pool": {"max_size": 2}})
        second = {**database.django(ENGINE=ENGINE, OPTIONS={"pool": {"max_size": 2}}), **other}
        handler = django_databases(default=first, other=second)
        return handler["default"], handler["other"]

    yield use
    for alias in ("default", "other"):
        connections[alias].close()
        connections[alias].close_pool()


def test_aliases_alike_share_a_pool(use_two, database):
    first, second = use_two()
    assert first.pool is second.pool
    pid = pid_of(first)
    assert pid_of(second) != pid
    first.close()
    second.close()
    assert len(database.sessions()) == 2
    pid_of(first)
    first.close()
    assert len(database.sessions()) == 2


def test_one_that_leaves_takes_the_pool_from_nobody(use_two, database):
    first, second = use_two()
    pid = pid_of(second)
    second.close()
    pool = second.pool
    first.settings_dict["NAME"] = "postgres"
    run(first, "SELECT 1")
    assert second.pool is pool
    assert pid_of(second) == pid


@pytest.mark.parametrize(
    "other",
    [
        {"TIME_ZONE": "Asia/Tokyo"},
        {"AUTOCOMMIT": False},
        {"OPTIONS": {"pool": {"max_size": 3}}},
        {"OPTIONS": {"pool": {"max_size": 2}, "connect_timeout": 7}},
        {"OPTIONS": {"pool": {"max_size": 2}, "assume_role": "pg_monitor"}},
    ],
    ids=str,
)
def test_aliases_that_differ_do_not(use_two, database, other):
    first, second = use_two(**other)
    assert first.pool is not second.pool
    pid = pid_of(first)
    first.close()
    assert pid_of(second) != pid

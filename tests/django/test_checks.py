"""The system checks: each id seen, and seen to be silent."""

import os
import re
import shutil
import tempfile
from pathlib import Path

import pytest
from django.core.checks import run_checks
from django.core.management import call_command
from django.core.management.base import SystemCheckError

from benchmarks.pgbouncer import PgBouncer
from carpool import checks
from carpool.driver import Limits
from carpool.postgresql.psycopg2 import Psycopg2Driver
from support.servers import NotInstalled
from tests.django.asking import run
from tests.django.models import Note
from tests.telemetry.samples import sample_part, sample_pool, sample_report

ENGINE = "carpool.postgresql"
DOCS = Path(__file__).parents[2] / "docs" / "checks.md"


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """No other process of this machine has a say here, nor has its environment."""
    directory = tempfile.mkdtemp()  # a short path, as sockets want it
    monkeypatch.setenv("CARPOOL_DIR", directory)
    for name in ("GUNICORN_CMD_ARGS", "WEB_CONCURRENCY", "ASGI_THREADS"):
        monkeypatch.delenv(name, raising=False)
    yield
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def found(use):
    """Call it with what `use` takes to get the messages by id, as `check --database` has them."""

    def found(*args, **kwargs):
        use(*args, **kwargs)
        return by_id(run_checks(databases=["default"]))

    return found


def by_id(messages):
    found = {}
    for each in messages:
        if str(each.id).startswith("carpool."):
            found.setdefault(each.id.removeprefix("carpool."), []).append(each)
    for several in found.values():
        for each in several:
            assert "DATABASES['" in each.msg
            assert each.hint.endswith(".")
    return {
        check: " ".join(f"{each.msg} HINT {each.hint}" for each in several)
        for check, several in found.items()
    }


def test_nothing_to_find(found, database):
    assert found("absent") == {}
    assert found({"min_size": 1, "max_size": 4, "mode": "transaction"}) == {}
    assert database.sessions() == []  # no pool has been opened


def test_without_a_pool_nothing_is_asked(found, database):
    mark = database.mark()
    assert found(False, CONN_MAX_AGE=60, CONN_HEALTH_CHECKS=True) == {}
    assert database.connections(mark) == 0


# What is wrong ------------------------------------------------------------------------------------


def test_wrong_options(found, database):
    mark = database.mark()
    assert "'max_sise' is not an option; did you mean 'max_size'?" in found({"max_sise": 3})["E001"]
    assert "'timeout' is -1; allowed" in found({"timeout": -1})["E001"]
    assert list(found({"mode": "trip"}, CONN_HEALTH_CHECKS=True)) == ["E001"]
    assert "'AUTOCOMMIT' is False" in found({"mode": "statement"}, AUTOCOMMIT=False)["E001"]
    assert database.connections(mark) == 0
    assert "isolation level 17" in found(True, {"isolation_level": 17})["E001"]


def test_persistent_connections(found):
    text = found(CONN_MAX_AGE=60)["E002"]
    assert "DATABASES['default']: 'CONN_MAX_AGE' is 60; allowed: 0" in text
    assert "E002" not in found(CONN_MAX_AGE=0)


def test_a_mode_that_the_driver_has_not(found, database, django_databases):
    entry = database.django(ENGINE="tests.engines.plain_postgresql")
    django_databases(default={**entry, "OPTIONS": {"pool": {"mode": "transaction"}}})
    messages = by_id(run_checks(databases=["default"]))
    assert "'mode' is 'transaction'; allowed with EngineDriver: 'session'" in messages["E001"]
    django_databases(default=entry)
    assert by_id(run_checks(databases=["default"])) == {}


@pytest.mark.psycopg3
def test_what_cannot_be_shared(found, database, django_databases):
    text = found({"share": "host"}, {"prepare_threshold": 5})["E003"]
    assert "'share' is 'host', which cannot be here: " in text
    assert "set prepare_threshold to None" in text
    assert found({"share": "host"}) == {}
    entry = database.django(ENGINE="tests.engines.plain_postgresql")
    django_databases(default={**entry, "OPTIONS": {"pool": {"share": "host"}}})
    assert "EngineDriver cannot hand" in by_id(run_checks(databases=["default"]))["E003"]


# What is useless ----------------------------------------------------------------------------------

HOST = {"share": "host", "max_size": 4}
USELESS = {
    "reserve": ({"reserve": 2}, "'reserve' is for 'share': 'host' alone"),
    "reserve_timeout": ({"reserve_timeout": 2}, "'reserve_timeout' is for 'share': 'host' alone"),
    "max_per_process": ({"max_per_process": 2}, "'max_per_process' is for 'share': 'host' alone"),
    "broker_linger": ({"broker_linger": 2}, "'broker_linger' is for 'share': 'host' alone"),
    "no reserve": ({**HOST, "reserve_timeout": 2}, "'reserve_timeout' does nothing: 'reserve' is"),
    "no limit": ({**HOST, "max_per_process": 4}, "'max_per_process' is 4, no less than 'max_size'"),
    "nobody waits": ({"max_waiting": 2, "timeout": 0}, "'max_waiting' does nothing: 'timeout' is"),
    "all stay": ({"max_idle": 9, "min_size": 10}, "'max_idle' does nothing: as many as"),
    "pings": ({"check_after": 0}, "'check_after' is 0: a round trip to the server at every acq"),
}


@pytest.mark.parametrize(("pool", "text"), USELESS.values(), ids=USELESS)
def test_what_is_useless_is_named(use, pool, text):
    use(pool)
    assert text in by_id(checks.of_settings())["W001"]


@pytest.mark.parametrize(
    "pool",
    [
        {**HOST, "reserve": 2, "reserve_timeout": 2, "max_per_process": 3, "broker_linger": 2},
        {"max_waiting": 2, "timeout": 1, "max_idle": 9, "min_size": 9, "check_after": 0.1},
        {"configure": None, "check": None, "reset": None, "broker_dir": None},
    ],
)
def test_what_is_of_use_is_not(use, pool):
    use(pool)
    assert by_id(checks.of_settings()) == {}


def test_health_checks(found):
    assert "'CONN_HEALTH_CHECKS' does nothing with a pool" in found(CONN_HEALTH_CHECKS=True)["W002"]
    assert found(CONN_HEALTH_CHECKS=False) == {}


STOCK = "django.db.backends.postgresql"


@pytest.mark.parametrize(
    ("engine", "change", "told"),
    [
        (STOCK, {}, True),
        (STOCK, {"HOST": "localhost", "USER": "other"}, True),
        (STOCK, {"NAME": "another"}, False),
        (STOCK, {"PORT": 1}, False),
        (STOCK, {"HOST": "db.internal"}, False),
        (ENGINE, {}, False),
        ("no.such.engine", {"NAME": "another"}, False),
    ],
)
def test_a_stock_engine_beside(database, django_databases, engine, change, told):
    first, second = database.django(ENGINE=ENGINE), database.django(ENGINE=engine, **change)
    django_databases(default=first, reports=second)
    messages = by_id(checks.of_settings())
    assert list(messages) == (["W003"] if told else [])
    if told:
        assert (
            f"DATABASES['reports'] connects to the same database with '{STOCK}'" in messages["W003"]
        )
        assert f"Give DATABASES['reports'] the engine '{ENGINE}'" in messages["W003"]


def test_databases_in_memory_are_not_the_same(django_databases):
    memory = {"NAME": ":memory:"}
    stock = {"ENGINE": "django.db.backends.sqlite3", **memory}
    django_databases(default={"ENGINE": "carpool.sqlite3", **memory}, other=stock)
    assert by_id(run_checks(databases=["default"])) == {}


# The deployment -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("GUNICORN_CMD_ARGS", "--threads 11", "11 threads (--threads in GUNICORN_CMD_ARGS)"),
        ("GUNICORN_CMD_ARGS", "-w 4 --threads=12 -b '[::]:80'", "12 threads (--threads in"),
        ("ASGI_THREADS", "40", "40 threads (ASGI_THREADS in the environment)"),
        ("GUNICORN_CMD_ARGS", "--backlog 2048 --threads 10 --timeout=30", None),
        ("GUNICORN_CMD_ARGS", "--threads", None),
        ("GUNICORN_CMD_ARGS", "--threads 'open", None),
        ("ASGI_THREADS", "many", None),
    ],
)
def test_more_threads_than_connections(use, monkeypatch, name, value, told):
    use()
    monkeypatch.setenv(name, value)
    assert told is None or told in by_id(checks.of_settings())["W004"]
    assert told is not None or by_id(checks.of_settings()) == {}
    use({"mode": "transaction"})
    assert by_id(checks.of_settings()) == {}
    use({"share": "host"})
    assert by_id(checks.of_settings()) == {}


@pytest.fixture
def board(monkeypatch):
    """Call it with parts to have them seen as this project's processes."""

    def board(*parts):
        report = sample_report({**sample_pool(), "parts": list(parts)})
        monkeypatch.setattr("carpool.telemetry.gather.gather", lambda directory: report)

    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "shop.settings")
    return board


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, True),
        ({"threads": 10}, False),
        ({"settings": "other.settings"}, False),
        ({"pid": os.getpid()}, False),
    ],
)
def test_more_threads_have_run_than_there_are_connections(use, board, change, told):
    use()
    short = sample_part(7, peak_leased=10, peak_waiting=4) | {"threads": 30}
    board(sample_part(8), short | change)
    messages = by_id(checks.of_settings())
    assert list(messages) == (["W004"] if told else [])
    assert not told or "there are 14 threads (process 7)" in messages["W004"]


def test_threads_that_never_waited_are_no_trouble(use, board):
    use()
    board(sample_part(7, peak_leased=9, peak_waiting=4) | {"threads": 30})
    assert by_id(checks.of_settings()) == {}
    board(sample_part(7, peak_leased=10, peak_waiting=4, aliases=["other"]) | {"threads": 30})
    assert by_id(checks.of_settings()) == {}


# The server ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        (
            "WEB_CONCURRENCY",
            "20",
            "20 processes (WEB_CONCURRENCY in the environment) x 'max_size' ",
        ),
        ("GUNICORN_CMD_ARGS", "--workers=20", "20 processes (--workers in GUNICORN_CMD_ARGS) x 'm"),
        ("GUNICORN_CMD_ARGS", "-w 20", "20 processes (-w in GUNICORN_CMD_ARGS) x 'max_size' 10 = "),
        ("WEB_CONCURRENCY", "19", None),
    ],
)
def test_more_processes_than_the_server_has_room_for(found, monkeypatch, name, value, told):
    monkeypatch.setenv(name, value)
    messages = found()
    if told is None:
        assert messages == {}
        return
    assert told in messages["W005"]
    assert (
        "= 200 connections, but the server has room for 197 (max_connections 200 - 3 reserved)"
        in (messages["W005"])
    )
    if name == "WEB_CONCURRENCY":
        assert found({"share": "host"}) == {}


def test_processes_that_run_are_counted(found, board):
    board(*(sample_part(each) for each in range(20)))
    assert "20 processes (that run now) x 'max_size' 10 = 200" in found()["W005"]
    board(*(sample_part(each) for each in range(19)))
    assert found() == {}


def test_a_size_that_does_not_fit(found, database):
    assert (
        "DATABASES['default']: 'max_size' 198 = 198 connections" in found({"max_size": 198})["W005"]
    )
    assert found({"max_size": 197}) == {}
    assert "W005" in found({"max_size": 198, "share": "host"})
    database.server.create_role("few", "only for this test")
    try:
        database.query('ALTER ROLE "few" CONNECTION LIMIT 9')
        text = found(USER="few", PASSWORD="only for this test")["W005"]
        assert "room for 9 (max_connections 200 - 3 reserved, at most 9 for the user)" in text
    finally:
        database.query('DROP ROLE "few"')


def test_pools_of_one_server_are_added_up(database, django_databases):
    def found(other, **reports):
        first = database.django(ENGINE=ENGINE, OPTIONS={"pool": {"max_size": 120}})
        second = {**database.django(ENGINE=ENGINE), **reports, "OPTIONS": {"pool": other}}
        django_databases(default=first, reports=second)
        return by_id(run_checks(databases=["default"]))

    assert (
        "DATABASES['default']: with the other pools of this server that is 120 + 78 ('reports') = "
        "198 connections, but the server has room for 197 (max_connections 200 - 3 reserved)"
    ) in found({"max_size": 78}, NAME="postgres", HOST="localhost")["W005"]
    assert found({"max_size": 77}, NAME="postgres") == {}
    assert found({"max_size": 78}, PORT=1) == {}
    assert found({"max_size": 120}) == {}  # it is the same pool
    assert found(False, NAME="postgres") == {}
    assert found({"max_sise": 78}, NAME="postgres") == {}


def test_tls_and_a_host_that_shares(django_databases, tls_mariadb):
    pytest.importorskip("MySQLdb", reason="mysqlclient is not installed")
    entry = tls_mariadb.django(ENGINE="carpool.mysql", NAME=tls_mariadb.MAIN)
    for share, tls, told in (
        ("host", True, True),
        ("process", True, False),
        ("host", False, False),
    ):
        ssl = {"ssl_mode": "REQUIRED", "ssl": {"ca": str(tls_mariadb.ca)}} if tls else {}
        ssl = ssl or {"ssl_mode": "DISABLED"}
        pool = {"share": share} | ({"broker_linger": 0} if share == "host" else {})
        django_databases(default={**entry, "OPTIONS": {"pool": pool, **ssl}})
        messages = by_id(run_checks(databases=["default"]))
        assert list(messages) == (["W006"] if told else []), (share, tls, messages)
    assert not told or "the broker has to relay" in messages["W006"]


@pytest.mark.parametrize("pooler", ["", "ProxySQL"])
def test_a_pooler_that_shows(found, monkeypatch, pooler):
    said = Limits(sessions=0, max_connections=100, pooler=pooler)
    monkeypatch.setattr("carpool.telemetry.limits.asked", lambda driver, options: said)
    messages = found()
    assert list(messages) == (["W007"] if pooler else [])
    assert not pooler or "this pool and the server stands ProxySQL HINT" in messages["W007"]


def test_behind_pgbouncer(found, postgres):
    """It shows, or refuses the start-up parameters: see its `ignore_startup_parameters`."""
    try:
        pgbouncer = PgBouncer(postgres, 3)
    except NotInstalled as missing:
        pytest.skip(str(missing))
    with pgbouncer:
        limits = Psycopg2Driver(**pgbouncer.params, password="").limits()
        assert (limits.pooler, limits.max_connections) == ("a connection pooler", 200)
        place = {"HOST": pgbouncer.params["host"], "PORT": pgbouncer.params["port"]}
        text = found(NAME=pgbouncer.params["dbname"], **place)["W007"]
        assert "between this pool and the server stands a connection pooler" in text
        assert "SILENCED_SYSTEM_CHECKS = ['carpool.W007']" in text
        assert found(False, NAME=pgbouncer.params["dbname"], **place) == {}


def test_a_pooler_that_refuses_our_parameters(use, monkeypatch):
    def refuse(driver, overrides):
        raise RuntimeError('FATAL:  unsupported startup parameter in options: "work_mem"')

    connection = use()
    monkeypatch.setattr(
        f"{connection.driver_class.__module__}.{connection.driver_class.__name__}.connect", refuse
    )
    messages = by_id(checks.of_database(connection)[0])
    assert list(messages) == ["W007"]
    assert "which refuses to connect: FATAL: unsupported startup" in messages["W007"]


def test_a_server_that_is_away(found, database):
    text = found(PORT=1)["W008"]
    assert "postgresql://postgres@127.0.0.1:1/" in text
    assert "could not be asked, so nothing was checked there: " in text
    assert "refused" in text.lower()
    assert list(found(PASSWORD="x", USER="nobody at all")) == ["W008"]


def test_a_function_of_credentials_that_fails(found):
    def fail():
        raise OSError

    assert "checked there: OSError HINT" in found({"credentials": fail})["W008"]


def test_mysql_that_is_away_or_refused(django_databases):
    """Django's own checks of MySQL would ask the server, and end in a traceback."""
    pytest.importorskip("MySQLdb", reason="mysqlclient is not installed")
    entry = {"ENGINE": "carpool.mysql", "NAME": "shop", "HOST": "127.0.0.1", "PORT": 1}
    for pool, expected in ((True, ["W008"]), ({"max_sise": 1}, ["E001"])):
        wrapper = django_databases(default={**entry, "OPTIONS": {"pool": pool}})["default"]
        assert list(by_id(run_checks(databases=["default"]))) == expected
        assert wrapper.validation.check_field(Note._meta.get_field("text")) == []


def test_mysql_is_still_checked_as_django_does(django_databases, mariadb_database):
    pytest.importorskip("MySQLdb", reason="mysqlclient is not installed")
    loose = {"sql_mode": "ANSI"}
    entry = mariadb_database.django(ENGINE="carpool.mysql", OPTIONS=loose)
    wrapper = django_databases(default=entry)["default"]
    assert [each.id for each in wrapper.validation.check()] == ["mysql.W002"]
    wrapper.close()
    wrapper.close_pool()


def test_any_engine_and_sqlite(database, tmp_path, django_databases):
    plain = database.django(ENGINE="tests.engines.plain_postgresql")
    file = {"ENGINE": "carpool.sqlite3", "NAME": tmp_path / "file.db"}
    django_databases(default=plain, file=file)
    assert by_id(run_checks(databases=["default", "file"])) == {}
    django_databases(default=plain | {"CONN_MAX_AGE": 5}, file=file | {"CONN_MAX_AGE": 5})
    assert list(by_id(run_checks(databases=["default", "file"]))) == ["E002"]


# How they are run ---------------------------------------------------------------------------------


def test_migrate_says_what_is_wrong(use):
    use({"max_sise": 3})
    with pytest.raises(SystemCheckError, match=r"carpool\.E001.*'max_sise' is not an option"):
        call_command("migrate", skip_checks=False, verbosity=0)


def test_silence(use, settings_silenced):
    use(CONN_HEALTH_CHECKS=True)
    call_command("check", databases=["default"], fail_level="WARNING")


@pytest.fixture
def settings_silenced():
    from django.test import override_settings  # noqa: PLC0415 - only here

    with override_settings(SILENCED_SYSTEM_CHECKS=["carpool.W002"]):
        yield


def test_what_is_checked_still_works(use):
    connection = use()
    assert connection.validation.check() == []
    run(connection, "SELECT 1")


def test_the_docs_have_every_id():
    code = "".join(each.read_text() for each in Path(checks.__file__).parent.rglob("*.py"))
    in_code = set(re.findall(r'"(carpool\.[EW]\d{3})"', code))
    rows = re.findall(r"^\| `(carpool\.[EW]\d{3})` \|", DOCS.read_text(), re.MULTILINE)
    assert rows == sorted(in_code, key=lambda each: (each[8], each))

"""What a worker's driver tells the broker to log in with."""

import json
import os
import socket

import psycopg
import pytest

from carpool.host.handoff import NotShareable
from carpool.postgresql.driver import PsycopgDriver
from tests.probing import value


@pytest.fixture(autouse=True)
def bare(monkeypatch, tmp_path):
    """Have no variable of libpq's, and an empty home."""
    for name in [name for name in os.environ if name.startswith("PG")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def there(monkeypatch):
    """Do something where the environment is another."""

    def there(function, **environment):
        with monkeypatch.context() as patch:
            for name, text in environment.items():
                patch.setenv(name, text)
            return function()

    return there


def driver(conninfo="", **params):
    return PsycopgDriver(conninfo, **{"prepare_threshold": None} | params)


def login(conninfo="", **params):
    """Return a login as it reaches the broker."""
    return json.loads(json.dumps(driver(conninfo, **params).login()))


def shown(login, *settings):
    """Log in as the broker does; return what the server shows."""
    broker = PsycopgDriver.from_login(login)
    connection = broker.connect({})
    try:
        return [value(connection, f"SHOW {name}") for name in settings]
    finally:
        broker.close(connection, 1)


def variables(database):
    params = database.params
    return {
        "PGHOST": params["host"],
        "PGPORT": str(params["port"]),
        "PGUSER": params["user"],
        "PGDATABASE": params["dbname"],
        "PGAPPNAME": "from there",
    }


def test_the_environment_is_told(there, database):
    given = there(login, **variables(database), PGOPTIONS="-c work_mem=8MB", PGPASSWORD="secret")
    assert given["password"] == "secret"
    assert shown(given, "application_name", "work_mem") == ["from there", "8MB"]


def test_settings_that_libpq_sends_from_the_environment_win(there, database):
    def ask():
        return login(
            **database.params, settings={"TimeZone": "Asia/Tokyo", "DateStyle": "ISO, DMY"}
        )

    def connect():
        with psycopg.connect(**database.params, options="-c DateStyle=ISO") as connection:
            return value(connection, "SHOW DateStyle")

    environment = {"PGDATESTYLE": "SQL, MDY", "PGGEQO": "off", "PGTZ": "default"}
    assert there(connect, **environment) == "SQL, MDY"
    shows = shown(there(ask, **environment), "TimeZone", "geqo", "DateStyle")
    assert shows == ["Asia/Tokyo", "off", "SQL, MDY"]


@pytest.mark.parametrize("by", ["parameter", "variable"])
def test_service_files(there, database, tmp_path, by):
    params = database.params
    (tmp_path / "services").write_text(
        f"[shop]\nhost={params['host']}\nport={params['port']}\nuser={params['user']}\n"
        f"dbname={params['dbname']}\noptions=-c work_mem=8MB\ntarget_session_attrs=read-write\n"
    )
    named = {"service": "shop"} if by == "parameter" else {}
    environment = {"PGSERVICEFILE": str(tmp_path / "services")}
    if by == "variable":
        environment["PGSERVICE"] = "shop"
    given = there(lambda: login(**named, settings={"TimeZone": "Asia/Tokyo"}), **environment)
    assert "service" not in given
    assert given["target_session_attrs"] == "read-write"
    assert shown(given, "work_mem", "TimeZone") == ["8MB", "Asia/Tokyo"]


def test_an_unknown_service(there):
    with pytest.raises(psycopg.OperationalError, match="nope"):
        login(service="nope")


def test_nobody_is_asked():
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        login(host="127.0.0.1", port=nobody.getsockname()[1])
        nobody.setblocking(False)
        with pytest.raises(BlockingIOError):
            nobody.accept()


def test_relative_paths_are_made_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    given = login(sslrootcert="ca.crt", sslkey="engine:key", passfile="pass")
    assert given["sslrootcert"] == str(tmp_path / "ca.crt")
    assert given["passfile"] == str(tmp_path / "pass")
    assert given["sslkey"] == "engine:key"
    assert login(sslrootcert="system", sslmode="verify-full")["sslrootcert"] == "system"


def test_what_libpq_finds_at_home_is_named(tmp_path):
    assert "sslrootcert" not in login()
    (tmp_path / ".postgresql").mkdir()
    (tmp_path / ".postgresql/root.crt").touch()
    assert login()["sslrootcert"] == str(tmp_path / ".postgresql/root.crt")
    assert login(sslrootcert="/other")["sslrootcert"] == "/other"
    assert login()["passfile"] == str(tmp_path / ".pgpass")


def test_tls_is_as_asked(there):
    assert login()["sslmode"] == "prefer"
    assert login(sslmode="verify-full")["sslmode"] == "verify-full"
    assert there(login, PGSSLMODE="require")["sslmode"] == "require"


def test_what_the_object_alone_knows_is_not_told(database):
    plain = login(**database.params)
    more = login(
        **database.params,
        autocommit=True,
        cursor_factory=psycopg.ClientCursor,
        row_factory=psycopg.rows.dict_row,
        context=None,
        isolation_level=psycopg.IsolationLevel.SERIALIZABLE,
    )
    assert plain == more


def test_equal_logins_are_one_pool(database):
    def key(**params):
        return PsycopgDriver.from_login(login(**database.params | params)).key

    assert key() == key(autocommit=True) == key(connect_timeout=10)
    assert key() != key(user="other")
    assert key() != key(password="other")
    assert key() != key(settings={"TimeZone": "Asia/Tokyo"})


def test_no_secret_is_in_the_name():
    broker = PsycopgDriver.from_login(login(user="shop", host="db", password="hush"))
    assert broker.name == "postgresql://shop@db:5432/shop"
    assert "password" in broker.secret


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"prepare_threshold": 5}, "prepare_threshold to None"),
        ({"gssencmode": "require"}, "sslmode"),
        ({"client_encoding": "auto"}, "name the encoding"),
        ({"replication": "database"}, "replication"),
        ({"oauth_issuer": "https://example.org", "oauth_client_id": "x"}, "OAuth"),
    ],
)
def test_what_cannot_be_shared(params, says):
    with pytest.raises(NotShareable, match=says):
        login(**params)


def test_psycopgs_own_default_cannot_be_shared():
    with pytest.raises(NotShareable, match="prepare_threshold"):
        PsycopgDriver(dbname="shop").login()


MISLEADING = {
    "PGHOSTADDR": "203.0.113.1",
    "PGSSLMODE": "verify-full",
    "PGSSLNEGOTIATION": "direct",
    "PGSSLROOTCERT": "system",
    "PGREQUIREAUTH": "scram-sha-256",
    "PGREQUIREPEER": "postgres-of-another-user",
    "PGCHANNELBINDING": "require",
    "PGTARGETSESSIONATTRS": "standby",
    "PGOPTIONS": "-c work_mem=8MB",
    "PGTZ": "Asia/Tokyo",
    "PGMINPROTOCOLVERSION": "3.2",
    "PGMAXPROTOCOLVERSION": "3.2",
}


def test_the_environment_leads_no_shell_astray(there, worker):
    shell = there(lambda: worker.driver.make_shell(worker.broker.path), **MISLEADING)
    worker.broker.lend(worker.driver, shell, worker.first)
    assert value(shell, "SELECT 1") == 1
    shell.close()

"""What a session is opened with survives a reset; and what it costs."""

import pytest

from tests.mysql.conftest import every_way
from tests.mysql.probing import id_of
from tests.probing import run, value

# The parameters, the query, what it shows, and how a user changes it.
DEFAULTS = {
    "character set": (
        {"charset": "latin1"},
        "SELECT @@character_set_client",
        "latin1",
        "SET NAMES utf8mb4",
    ),
    "Django's character set": (
        {"charset": "utf8mb4"},
        "SELECT @@character_set_results",
        "utf8mb4",
        "SET NAMES latin1",
    ),
    "collation": (
        {"charset": "utf8mb4", "collation": "utf8mb4_bin"},
        "SELECT @@collation_connection",
        "utf8mb4_bin",
        "SET NAMES utf8mb4 COLLATE utf8mb4_general_ci",
    ),
    "autocommit on": ({"autocommit": True}, "SELECT @@autocommit", 1, "SET autocommit=0"),
    "autocommit off": ({"autocommit": False}, "SELECT @@autocommit", 0, "SET autocommit=1"),
    "time zone": (
        {"init_command": "SET time_zone='+09:00'"},
        "SELECT @@time_zone",
        "+09:00",
        "SET time_zone='+00:00'",
    ),
    "time zone as a setting": (
        {"settings": {"time_zone": "+09:00"}},
        "SELECT @@time_zone",
        "+09:00",
        "SET time_zone='+00:00'",
    ),
    "sql_mode": (
        {"sql_mode": "ANSI_QUOTES"},
        "SELECT @@sql_mode",
        "ANSI_QUOTES",
        "SET sql_mode=''",
    ),
    "isolation": (
        {"isolation_level": "serializable"},
        "SELECT @@tx_isolation",
        "SERIALIZABLE",
        "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    ),
    "is null": (
        {"settings": {"sql_auto_is_null": 1}},
        "SELECT @@sql_auto_is_null",
        1,
        "SET sql_auto_is_null=0",
    ),
    "init_command": (
        {"init_command": "SET @welcome = 'hello'"},
        "SELECT @welcome",
        "hello",
        "SET @welcome = NULL",
    ),
    "database": ({}, "SELECT DATABASE() LIKE 'test_%'", 1, "USE mysql"),
    "no database": ({"database": ""}, "SELECT DATABASE()", None, "USE mysql"),
}


@every_way
@pytest.mark.parametrize("change_it", [True, False], ids=["changed", "something else changed"])
@pytest.mark.parametrize("name", DEFAULTS)
def test_a_default_survives_a_reset(make_pool, name, change_it):
    params, query, default, change = DEFAULTS[name]
    pool = make_pool({"max_size": 1}, **params)
    with pool.connection() as connection:
        number = id_of(connection)
        assert value(connection, query) == default
        if change_it:
            run(connection, change)
            assert value(connection, query) != default
        run(connection, "SET @mine = 1")
    with pool.connection() as connection:
        assert value(connection, "SELECT @mine") is None
        assert id_of(connection) == number or name == "no database"
        assert value(connection, query) == default
        assert value(connection, "SELECT 'ä'") == "ä"


@pytest.mark.parametrize("driver_class", ["mysqlclient"], indirect=True)
@every_way
def test_what_an_option_file_sets_survives_what_a_user_does(make_pool, tmp_path):
    file = tmp_path / "my.cnf"
    file.write_text("[client]\ninit-command = SET time_zone = '+09:00'\n")
    pool = make_pool({"max_size": 1}, read_default_file=str(file))
    for change in ("SELECT 1", "SET time_zone = '+00:00'", "SET @mine = 1", "BEGIN", "SELECT 1"):
        with pool.connection() as connection:
            assert value(connection, "SELECT @@time_zone") == "+09:00"
            run(connection, change)
            last = id_of(connection)
    with pool.connection() as connection:
        assert id_of(connection) == last


@every_way
def test_the_server_sees_the_query_alone(make_pool, database):
    pool = make_pool()
    with pool.connection() as connection:
        run(connection, "SELECT 0")
    mark = database.mark()
    for number in range(5):
        with pool.connection() as connection:
            run(connection, f"SELECT {number}")
    assert [each.text for each in database.statements(mark)] == [f"SELECT {n}" for n in range(5)]
    assert database.connections(mark) == 0


SET_UP = "SET NAMES utf8mb4, autocommit=1"


def test_what_a_reset_costs(make_pool, database):
    """COM_RESET_CONNECTION itself is not in the server's log."""
    pool = make_pool({"max_size": 1}, charset="utf8mb4")
    with pool.connection() as connection:
        run(connection, "SELECT 0")
    mark = database.mark()
    for _ in range(2):
        with pool.connection() as connection:
            run(connection, "SET @mine = 1")
    with pool.connection() as connection:
        run(connection, "SELECT 1")
    reset = [f"Init DB {database.name}", SET_UP]
    texts = [each.text for each in database.statements(mark)]
    assert texts == ["SET @mine = 1", *reset, "SET @mine = 1", *reset, "SELECT 1"]


@pytest.mark.parametrize("way", ["tls"], indirect=True)
@pytest.mark.parametrize("driver_class", ["mysqlclient"], indirect=True)
def test_what_it_costs_with_tls(make_pool, database):
    pool = make_pool({"max_size": 1}, charset="utf8mb4")
    with pool.connection() as connection:
        run(connection, "SELECT 0")
    mark = database.mark()
    with pool.connection() as connection:
        run(connection, "SET @mine = 1")
    with pool.connection() as connection:
        run(connection, "SELECT 1")
    texts = [each.text for each in database.statements(mark)]
    login = texts.pop(1)
    assert login.startswith("Change user root@")
    assert texts == ["SET @mine = 1", SET_UP, "SELECT 1"]


@pytest.mark.parametrize("driver_class", ["mysqlclient"], indirect=True)
@pytest.mark.parametrize("way", ["tcp", "unix"], indirect=True)
def test_compression(make_pool, database):
    pool = make_pool({"max_size": 1, "check_after": 0}, compress=True)
    for _ in range(3):
        with pool.connection() as connection:
            assert value(connection, "SELECT @mine") is None
            run(connection, "SET @mine = 1")
            assert value(connection, "SHOW SESSION STATUS LIKE 'Compression'") == "Compression"
    assert database.connections() == 1

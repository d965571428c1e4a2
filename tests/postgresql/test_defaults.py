"""What every session starts with survives a reset; and the four kinds of reset."""

import pytest

from tests.postgresql.probing import pid_of
from tests.probing import eventually, run, value

DEFAULTS = {
    "TimeZone": ("Asia/Tokyo", "SET TimeZone = 'UTC'"),
    "role": ("pg_monitor", "SET ROLE pg_read_all_data"),
    "work_mem": ("9MB", "SET work_mem = '77MB'"),
    "app.colour": ("dark blue", "SET app.colour = 'red'"),
    "client_encoding": ("LATIN1", "SET client_encoding = 'UTF8'"),
    "search_path": ("pg_catalog, public", "SET search_path = public"),
    "statement_timeout": ("50s", "SET statement_timeout = 0"),
}


@pytest.fixture
def pool_with_defaults(make_pool):
    return make_pool(
        settings={name: DEFAULTS[name][0] for name in ("TimeZone", "role", "search_path")},
        options=r"-c work_mem=9MB -c app.colour=dark\ blue -c statement_timeout=50s",
        client_encoding="LATIN1",
    )


@pytest.mark.parametrize("name", DEFAULTS)
def test_a_default_survives_a_reset(pool_with_defaults, name):
    default, change = DEFAULTS[name]
    pool = pool_with_defaults
    with pool.connection() as connection:
        pid = pid_of(connection)
        assert value(connection, f"SHOW {name}") == default
        run(connection, change)
        assert value(connection, f"SHOW {name}") != default
    with pool.connection() as connection:
        assert pid_of(connection) == pid
        assert value(connection, f"SHOW {name}") == default


@pytest.mark.parametrize("name", DEFAULTS)
def test_it_survives_the_reset_of_something_else(pool_with_defaults, name):
    pool = pool_with_defaults
    with pool.connection() as connection:
        pid = pid_of(connection)
        run(connection, "SET lock_timeout = 1000")
    with pool.connection() as connection:
        assert pid_of(connection) == pid
        assert value(connection, f"SHOW {name}") == DEFAULTS[name][0]
        assert value(connection, "SHOW lock_timeout") == "0"


def resets_in(statements):
    return [each.text for each in statements if "DISCARD" in each.text or "RESET" in each.text]


def test_auto_resets_only_what_was_touched(make_pool, database):
    pool, mark = make_pool(), database.mark()
    for _ in range(3):
        with pool.connection() as connection:
            run(connection, "SELECT 1")
    assert resets_in(database.statements(mark)) == []
    with pool.connection() as connection:
        run(connection, "SET work_mem = '77MB'")
    eventually(lambda: len(resets_in(database.statements(mark))) == 1)


def test_always_resets_whatever_happened(make_pool, database):
    pool, mark = make_pool({"reset": "always"}), database.mark()
    for count in range(1, 4):
        with pool.connection() as connection:
            run(connection, "SELECT 1")
        eventually(lambda count=count: len(resets_in(database.statements(mark))) == count)


def test_rollback_ends_the_transaction_and_nothing_else(make_pool, database):
    database.query("CREATE TABLE note (text text)")
    pool = make_pool({"reset": "rollback"}, autocommit=False)
    connection = pool.acquire()
    pid = pid_of(connection)
    run(connection, "SET work_mem = '77MB'")
    connection.commit()
    run(connection, "INSERT INTO note VALUES ('never')")
    pool.release(connection)
    connection = pool.acquire()
    assert pid_of(connection) == pid
    assert value(connection, "SHOW work_mem") == "77MB"
    assert run(connection, "SELECT * FROM note") == []
    pool.release(connection)


def test_none_gives_on_but_never_an_open_transaction(make_pool, database):
    pool = make_pool({"reset": None}, autocommit=False)
    connection = pool.acquire()
    pid = pid_of(connection)  # which has begun a transaction
    pool.release(connection)
    eventually(lambda: pid not in [row.pid for row in database.sessions()])
    connection = pool.acquire()
    assert pid_of(connection) != pid
    pool.release(connection)


def test_a_reset_of_ones_own(make_pool, database):
    seen = []

    def reset(connection):
        seen.append(pid_of(connection))
        run(connection, "RESET work_mem")

    pool = make_pool({"reset": reset})
    with pool.connection() as connection:
        pid = pid_of(connection)
        run(connection, "SET work_mem = '77MB'")
        run(connection, "SET lock_timeout = 1000")
    with pool.connection() as connection:
        assert (pid_of(connection), seen[:1]) == (pid, [pid])
        assert value(connection, "SHOW work_mem") == "4MB"
        assert value(connection, "SHOW lock_timeout") == "1s"  # as ours left it alone


def test_a_reset_of_ones_own_that_fails_costs_the_connection(make_pool, database):
    def reset(connection):
        run(connection, "SELECT 1/0")

    pool = make_pool({"reset": reset})
    with pool.connection() as connection:
        pid = pid_of(connection)
    eventually(lambda: pid not in [row.pid for row in database.sessions()])
    with pool.connection() as connection:
        assert pid_of(connection) != pid


def test_configure_is_done_again_after_a_reset_that_wiped_it(make_pool, database):
    pool = make_pool({"configure": lambda connection: run(connection, "SET work_mem = '9MB'")})
    mark = database.mark()
    for _ in range(2):
        with pool.connection() as connection:
            assert value(connection, "SHOW work_mem") == "9MB"
            run(connection, "SET work_mem = '77MB'")
    with pool.connection() as connection:
        assert value(connection, "SHOW work_mem") == "9MB"
    assert database.connections(mark) == 1


def test_configure_is_done_once_where_nothing_wiped_it(make_pool, database):
    pool = make_pool({"configure": lambda connection: run(connection, "SET work_mem = '9MB'")})
    mark = database.mark()
    for _ in range(3):
        with pool.connection() as connection:
            assert value(connection, "SHOW work_mem") == "9MB"
    texts = [each.text for each in database.statements(mark)]
    assert texts == ["SET work_mem = '9MB'", *["SHOW work_mem"] * 3]


def test_a_failing_configure_opens_nothing(make_pool, database):
    pool = make_pool({"configure": lambda connection: run(connection, "SELECT 1/0")})
    with pytest.raises(Exception, match="division by zero"):
        pool.acquire(timeout=10)
    database.wait_for_sessions(0)

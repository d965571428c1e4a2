"""Promise 3: a clean lease costs the server nothing extra."""

import pytest

from tests.probing import run


def test_the_server_sees_the_query_alone(make_pool, database):
    pool, mark = make_pool(), database.mark()
    for number in range(5):
        with pool.connection() as connection:
            run(connection, f"SELECT {number}")
    assert [each.text for each in database.statements(mark)] == [f"SELECT {n}" for n in range(5)]
    assert database.connections(mark) == 1


def test_a_transaction_costs_what_it_costs_without_a_pool(make_pool, database):
    database.query("CREATE TABLE note (number int)")
    pool, mark = make_pool(autocommit=False), database.mark()
    for _ in range(2):
        with pool.connection() as connection:
            run(connection, "INSERT INTO note VALUES (1)")
    texts = [each.text for each in database.statements(mark)]
    assert texts == ["BEGIN", "INSERT INTO note VALUES (1)", "COMMIT"] * 2


@pytest.mark.parametrize("setting", ["TimeZone", "role"])
def test_nor_do_the_session_s_settings_cost_a_statement(make_pool, database, setting):
    pool = make_pool(settings={"TimeZone": "Asia/Tokyo", "role": "pg_monitor"})
    mark = database.mark()
    for _ in range(2):
        with pool.connection() as connection:
            run(connection, f"SHOW {setting}")
    assert [each.text for each in database.statements(mark)] == [f"SHOW {setting}"] * 2


def test_one_reset_is_one_statement(make_psycopg_pool, database):
    pool, mark = make_psycopg_pool(prepare_threshold=None), database.mark()
    for _ in range(3):
        with pool.connection() as connection:
            run(connection, "SET work_mem = '9MB'")
    with pool.connection() as connection:
        run(connection, "SELECT 1")
    texts = [each.text for each in database.statements(mark)]
    assert texts == ["SET work_mem = '9MB'", "DISCARD ALL"] * 3 + ["SELECT 1"]

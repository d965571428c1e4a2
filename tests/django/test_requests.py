"""What a request costs and leaves behind, and what it survives, by a real WSGI handler."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection, connections

from tests.django.asking import run, texts
from tests.django.models import CREATE, Note


@pytest.fixture
def shop(use, database):
    database.query(CREATE)
    use()
    return database


def test_one_query_is_one_statement(shop, site):
    mark = shop.mark()
    for _ in range(5):
        assert site("one-query") == (200, "[]")
    found = [each.replace(' AS "text"', "") for each in texts(shop.statements(mark))]
    assert found == ['SELECT "note"."text" FROM "note"'] * 5
    assert shop.connections(mark) == 1


def test_no_query_is_no_connection(shop, site):
    mark = shop.mark()
    assert site("no-query") == (200, "nothing")
    assert shop.connections(mark) == 0


def test_the_connection_is_given_back_after_each_request(shop, site):
    site("pid")
    assert connection.connection is None
    (row,) = shop.sessions()
    assert row.state == "idle"


def test_killed_sessions_cost_no_request(shop, site, in_thread):
    seen = set()
    for _ in range(10):
        status, body = in_thread(site, "pid")
        assert status == 200
        seen.add(body)
        assert shop.kill_sessions() == 1
    assert len(seen) == 10


def test_nothing_is_left_to_the_next_request(shop, site):
    pids = {site("pid")[1]}
    for spoil in (
        "SET work_mem = '77MB'",
        "SET search_path = nowhere",
        "SET TimeZone = 'Asia/Tokyo'",
    ):
        site("statement", sql=spoil)
        pids.add(site("pid")[1])
        assert site("one-query")[0] == 200
        assert site("statement", sql="SHOW work_mem")[1] == '[["4MB"]]'
        assert site("statement", sql="SHOW TimeZone")[1] == '[["UTC"]]'
    assert len(pids) == 1


def test_a_session_effect_costs_one_statement_more(shop, site):
    site("statement", sql="SELECT 1")
    mark = shop.mark()
    for _ in range(2):
        site("statement", sql="SET work_mem = '77MB'")
    site("statement", sql="SELECT 2")
    found = texts(shop.statements(mark))
    assert found[-1] == "SELECT 2"
    assert [each for each in found if "DISCARD" not in each and each != "ROLLBACK"] == [
        "SET work_mem = '77MB'"
    ] * 2 + ["SELECT 2"]
    assert len(found) == 5


def test_a_failing_request(use, database, site):
    database.query(CREATE)
    use(ATOMIC_REQUESTS=True)
    with pytest.raises(RuntimeError, match="on purpose"):
        site("write-and-fail")
    site("pid")
    assert database.query("SELECT * FROM note") == []


def test_atomic_requests(use, database, site):
    database.query(CREATE)
    use(ATOMIC_REQUESTS=True)
    site("pid")
    mark = database.mark()
    assert site("statement", sql="INSERT INTO note (text) VALUES ('x')") == (200, "[]")
    assert texts(database.statements(mark)) == [
        "BEGIN",
        "INSERT INTO note (text) VALUES ('x')",
        "COMMIT",
    ]
    assert [row.text for row in database.query("SELECT text FROM note")] == ["x"]


def test_a_request_that_leaves_a_transaction_open(shop, site):
    site("statement", sql="BEGIN")
    assert json.loads(site("statement", sql="SELECT pg_current_xact_id_if_assigned()")[1]) == [
        [None]
    ]
    mark = shop.mark()
    site("one-query")
    assert len(shop.statements(mark)) == 1


def test_requests_of_many_threads(shop, site):
    """More workers than connections: all are served, by no more sessions than allowed."""
    connections.settings["default"]["OPTIONS"]["pool"] = {"max_size": 3}
    with ThreadPoolExecutor(8) as workers:
        answers = list(workers.map(lambda _: site("pid"), range(200)))
    assert {status for status, _ in answers} == {200}
    assert len({body for _, body in answers}) <= 3
    assert len(shop.sessions()) <= 3


def test_orm_writes(shop, site):
    Note.objects.bulk_create([Note(text="a"), Note(text="b")])
    run(connection, "SELECT 1")
    connection.close()
    assert json.loads(site("one-query")[1]) == ["a", "b"]

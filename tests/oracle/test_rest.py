"""When Oracle's connections may change hands between statements: what the driver tells of that."""

import pytest

from carpool.oracle.looking import looks_back
from tests.named_alike import NAMES, texts_of, work


def run(connection, statement):
    cursor = connection.cursor()
    cursor.execute(statement)
    return cursor.fetchall()


@pytest.fixture
def pool(make_pool):
    """A pool of one connection, in autocommit mode."""
    return make_pool({"max_size": 1}, autocommit=True)


def test_what_is_over_is_at_rest(pool):
    connection = pool.acquire()
    assert not connection.session.by_hand
    run(connection, "SELECT name FROM shelf")
    assert connection.session.by_hand
    assert pool.driver.at_rest(connection)
    assert pool.driver.effect(connection) is None
    pool.release(connection)
    assert not pool.acquire().session.by_hand


def test_a_transaction_is_not(make_pool):
    pool = make_pool({"max_size": 1})
    connection = pool.acquire()
    run(connection, "INSERT INTO shelf VALUES ('mine')")
    assert not pool.driver.at_rest(connection)
    connection.commit()
    assert pool.driver.at_rest(connection)
    pool.release(connection)


def test_a_lob_may_be_read_until_the_end(pool):
    connection = pool.acquire()
    run(connection, "SELECT note FROM lobs")
    assert not pool.driver.at_rest(connection)
    pool.release(connection)
    assert pool.driver.at_rest(pool.acquire())


ALTERED = {
    "attribute": lambda c: setattr(c, "call_timeout", 7),
    "label": lambda c: setattr(c, "module", "mine"),
    "closed": lambda c: c.close(),
}


@pytest.mark.parametrize("name", ALTERED)
def test_what_was_done_to_the_connection_counts(pool, name):
    connection = pool.acquire()
    ALTERED[name](connection)
    assert not pool.driver.at_rest(connection)
    pool.release(connection)


def test_autocommit_does_not(pool):
    connection = pool.acquire()
    connection.autocommit = False
    assert pool.driver.at_rest(connection)
    pool.release(connection)


def test_an_effect_is_told(pool):
    connection = pool.acquire()
    run(connection, "SELECT shelf_seq.NEXTVAL FROM dual")
    assert pool.driver.effect(connection) == "sequence"
    pool.release(connection)


def test_data_frames_are_taken_by_hand(pool):
    connection = pool.acquire()
    connection.fetch_df_all("SELECT name FROM shelf")
    assert connection.session.by_hand
    pool.release(connection)


@pytest.mark.parametrize("text", ["SELECT s.currval FROM dual", "SELECT s . /**/ CURRVAL"])
def test_the_present_value_of_a_sequence_looks_back(text):
    assert looks_back(text) == "currval"


@pytest.mark.parametrize("text", ["SELECT s.nextval FROM dual", "SELECT currvals FROM t"])
def test_others_do_not(text):
    assert looks_back(text) is None


def test_columns_of_these_names_do_not(oracledb, django_databases, monkeypatch):
    """The stand-in does not know such statements, so it is given another in their place."""
    monkeypatch.setattr(oracledb.Cursor, "rowcount", 0, raising=False)
    entry = {"ENGINE": "django.db.backends.oracle", "NAME": "db/shop"}
    connection = django_databases(default=entry)["default"]
    from django.db.backends.oracle import utils  # noqa: PLC0415 - after the backend itself

    variable = utils.BoundVar if hasattr(utils, "BoundVar") else utils.InsertVar  # Django 5.2's
    monkeypatch.setattr(variable, "get_value", lambda _key: [1])
    with texts_of(connection, instead=("BEGIN NULL; END;", None, False)) as texts:
        work(connection)
    connection.close()
    assert len(texts) > 15 * len(NAMES)
    assert [text for text in texts if looks_back(text)] == []

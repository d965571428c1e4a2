"""What one user sets on the connection object itself, the next one does not find."""

import MySQLdb
import pymysql
import pytest

from carpool.mysql.driver import MysqlclientDriver
from tests.probing import run


def test_attributes_are_as_before(make_pool, driver_class):
    module = MySQLdb if driver_class is MysqlclientDriver else pymysql
    pool = make_pool({"max_size": 1}, charset="utf8mb4")
    for change in (
        lambda c: setattr(c, "cursorclass", module.cursors.DictCursor),
        lambda c: c.set_character_set("latin1"),
        lambda c: c.select_db("mysql"),
    ):
        with pool.connection() as connection:
            before = run(connection, "SELECT 'ä', DATABASE()")
        with pool.connection() as again:
            assert again is connection
            change(again)
            assert run(again, "SELECT 'ä', DATABASE()")
        with pool.connection() as again:
            assert again is connection
            assert run(again, "SELECT 'ä', DATABASE()") == before
            assert again.character_set_name() == "utf8mb4"


def another_encoder(connection):
    connection.encoders = {**connection.encoders, int: lambda *_: "42"}


def another_decoder(connection):
    name = "converter" if isinstance(connection, MySQLdb.connections.Connection) else "decoders"
    setattr(connection, name, {**getattr(connection, name), 3: lambda _: "mine"})


def encoder_in_place(connection):
    connection.encoders[int] = lambda *_: "42"


def decoder_in_place(connection):
    is_mysqlclient = isinstance(connection, MySQLdb.connections.Connection)
    (connection.converter if is_mysqlclient else connection.decoders)[3] = lambda _: "mine"


def attribute_gone(connection):
    del vars(connection)["encoding"]


CHANGES = {
    "cursorclass": lambda c: setattr(c, "cursorclass", None),
    "encoding": lambda c: setattr(c, "encoding", "latin1"),
    "executemany_fallback": lambda c: setattr(c, "executemany_fallback", "multi"),
    "autocommit_mode": lambda c: setattr(c, "autocommit_mode", "mine"),
    "an attribute of one's own": lambda c: setattr(c, "mine", "mine"),
    "a method": lambda c: setattr(c, "commit", None),
    **{each.__name__: each for each in (another_encoder, another_decoder)},
    **{each.__name__: each for each in (encoder_in_place, decoder_in_place, attribute_gone)},
}


@pytest.mark.parametrize("reset", ["auto", None])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_next_user_finds_the_attributes_as_before(make_pool, database, change, reset):
    pool = make_pool({"max_size": 1, "reset": reset}, charset="utf8mb4")
    names = ("cursorclass", "encoding", "executemany_fallback", "autocommit_mode", "mine", "commit")
    seen = []
    for step in (lambda _: None, change, lambda _: None):
        with pool.connection() as connection:
            facts = [getattr(connection, name, None) for name in names]
            row = run(connection, "SELECT 'ä', CAST(5 AS INT), %s, CONNECTION_ID()", [7])[0]
            seen.append((facts, row))
            mark = database.mark()
            step(connection)
    assert seen[2] == seen[0]
    assert [each for each in database.statements(mark) if "SELECT" not in each.text] == []


def test_an_attribute_that_belongs_to_the_set_up_stays(make_pool):
    pool = make_pool({"max_size": 1, "configure": encoder_in_place})
    for _ in range(3):
        with pool.connection() as connection:
            assert run(connection, "SELECT %s", [7]) in (((42,),), [(42,)])
            run(connection, "SET @mine = 1")
    for _ in range(2):
        with pool.connection() as connection:
            assert run(connection, "SELECT %s", [7]) in (((42,),), [(42,)])

"""When MySQL's connections may change hands between statements, and what looks back."""

import MySQLdb
import pymysql
import pytest
from pymysql.constants import CLIENT

from carpool.mysql.driver import MysqlclientDriver
from tests.probing import run


@pytest.fixture
def pool(make_pool):
    """A pool of one connection."""
    return make_pool({"max_size": 1})


@pytest.fixture
def unbuffered(driver_class):
    """The module's cursor that reads as it goes."""
    return (MySQLdb if driver_class is MysqlclientDriver else pymysql).cursors.SSCursor


# Rest --------------------------------------------------------------------------------------------


def test_a_transaction_of_the_modules_own_counts(make_pool):
    pool = make_pool({"max_size": 1}, autocommit=False)
    connection = pool.acquire()
    assert pool.driver.at_rest(connection)
    run(connection, "SELECT 1")
    assert not pool.driver.at_rest(connection)
    connection.commit()
    assert pool.driver.at_rest(connection)
    connection.begin()
    assert not pool.driver.at_rest(connection)
    connection.rollback()
    assert pool.driver.at_rest(connection)
    pool.release(connection)


def test_autocommit_is_not_counted_until_something_is_sent(pool):
    connection = pool.acquire()
    connection.autocommit(False)
    assert pool.driver.at_rest(connection)
    run(connection, "SELECT 1")
    assert not pool.driver.at_rest(connection)
    connection.commit()
    connection.autocommit(True)
    assert pool.driver.at_rest(connection)
    pool.release(connection)


def test_an_unbuffered_result_counts(pool, unbuffered):
    """Whether it has been read only PyMySQL tells."""
    connection = pool.acquire()
    cursor = connection.cursor(unbuffered)
    cursor.execute("SELECT seq FROM seq_1_to_300000")
    cursor.fetchone()
    assert not pool.driver.at_rest(connection)
    assert pool.driver.effect(connection) == "unbuffered result"
    assert cursor.fetchone() == (2,)  # the look has taken nothing away
    cursor.close()
    assert pool.driver.at_rest(connection) == (unbuffered is pymysql.cursors.SSCursor)
    pool.release(connection)


def test_several_results_count_until_they_are_read(make_pool):
    pool = make_pool({"max_size": 1}, client_flag=CLIENT.MULTI_STATEMENTS)
    connection = pool.acquire()
    cursor = connection.cursor()
    cursor.execute("SELECT 'one'; SELECT 'two'")
    assert not pool.driver.at_rest(connection)
    assert pool.driver.effect(connection) is not None
    assert cursor.fetchall() == (("one",),)
    assert cursor.nextset()
    assert cursor.fetchall() == (("two",),)  # the look has taken nothing away
    cursor.close()
    assert pool.driver.at_rest(connection)
    pool.release(connection)


ALTERED = {
    "new": lambda c: setattr(c, "mine", 1),
    "cursors": lambda c: setattr(c, "cursorclass", None),
    "deleted": lambda c: c.__dict__.pop("encoders"),
    "closed": lambda c: c.close(),
}


@pytest.mark.parametrize("name", ALTERED)
def test_what_was_done_to_the_connection_counts(pool, name):
    connection = pool.acquire()
    ALTERED[name](connection)
    assert not pool.driver.at_rest(connection)
    pool.release(connection)


def test_work_does_not_look_like_an_attribute(pool):
    """All that the modules and Django do to a connection."""
    connection = pool.acquire()
    run(connection, "CREATE TABLE book (id integer AUTO_INCREMENT PRIMARY KEY, title text)")
    for each in (False, True):
        connection.autocommit(each)
        run(connection, "INSERT INTO book (title) VALUES ('mine')")
        run(connection, "SELECT * FROM book, book AS other")
        with pytest.raises(Exception, match="nowhere"):
            run(connection, "SELECT * FROM nowhere")
        connection.ping()
        connection.commit()
        assert pool.driver.at_rest(connection)
    pool.release(connection)


def test_whoever_queries_the_connection_itself_is_told_of(pool):
    connection = pool.acquire()
    connection.query("SELECT 1")
    assert connection.session.by_hand
    pool.release(connection)


# Looking back ------------------------------------------------------------------------------------

INSERT = "INSERT INTO book (title) VALUES ('mine')"
WARN = "SELECT CAST('x' AS integer)"
DRAW = "INSERT INTO drawn (title) VALUES ('mine')"
LOOKS_BACK = [
    ("LAST_INSERT_ID", INSERT, "SELECT LAST_INSERT_ID()"),
    ("LAST_INSERT_ID", INSERT, "SELECT last_insert_id /* x */ ()"),
    ("LAST_INSERT_ID", INSERT, "SELECT /*!50000LAST_INSERT_ID()*/"),
    ("LAST_INSERT_ID", INSERT, "SELECT LAST_INSERT_ID/*M!100100(*/ # x\n)"),
    ("LAST_INSERT_ID", INSERT, "SELECT `last_insert_id`()"),
    ("ROW_COUNT", "UPDATE book SET title = 'other'", "SELECT ROW_COUNT ()"),
    ("FOUND_ROWS", "SELECT * FROM book LIMIT 1", "SELECT FOUND_ROWS()"),
    ("LASTVAL", DRAW, "SELECT LASTVAL(s)"),
    ("PREVIOUS VALUE", DRAW, "SELECT PREVIOUS/**/VALUE FOR s"),
    ("@@identity", INSERT, "SELECT @@identity"),
    ("@@identity", INSERT, "SELECT @@session . /* x */ `identity`"),
    ("@@identity", INSERT, "SELECT @@local.identity"),
    ("@@identity", INSERT, "SHOW VARIABLES LIKE 'identity'"),
    ("@@identity", INSERT, "/* x */ SHOW LOCAL VARIABLES WHERE Variable_name = 'identity'"),
    ("@@last_insert_id", INSERT, "SELECT @@last_insert_id"),
    ("@@warning_count", WARN, "SELECT @@warning_count"),
    ("@@error_count", "SELECT * FROM nowhere", "SELECT @@ERROR_COUNT"),
    ("SHOW WARNINGS", WARN, "SHOW/**/WARNINGS"),
    ("SHOW WARNINGS", WARN, "SHOW COUNT(*) WARNINGS"),
    ("SHOW WARNINGS", WARN, "-- don't\n/*!50000SHOW*/ WARNINGS"),
    ("SHOW ERRORS", "SELECT * FROM nowhere", "SHOW ERRORS LIMIT 1"),
    ("GET DIAGNOSTICS", WARN, "GET DIAGNOSTICS @x = NUMBER"),
    ("GET DIAGNOSTICS", WARN, "GET CURRENT DIAGNOSTICS @x = NUMBER"),
]


@pytest.mark.parametrize(("reason", "earlier", "statement"), LOOKS_BACK)
def test_what_looks_back_depends_on_the_statement_before(make_pool, reason, earlier, statement):
    pool = make_pool({"max_size": 2})
    first, second = pool.acquire(), pool.acquire()
    prepare(first)
    tell(second, "SELECT 1 FROM dual WHERE false")  # MariaDB's new sessions show others' FOUND_ROWS
    tell(first, earlier)
    assert answer(first, statement) != answer(second, statement)
    assert pool.driver.looks_back(statement) == reason
    pool.release(first)
    pool.release(second)


def test_a_sequence_in_the_mode_of_oracle_looks_back(pool):
    connection, statement = pool.acquire(), "SELECT s . /* x */ CURRVAL"
    run(connection, "CREATE SEQUENCE s")
    run(connection, "SET sql_mode = 'ORACLE'")
    assert answer(connection, statement) == ((None,),)
    run(connection, "SELECT s.nextval")
    assert answer(connection, statement) == ((1,),)
    assert pool.driver.looks_back(statement) == "CURRVAL"
    pool.release(connection)


def prepare(connection):
    run(connection, "CREATE SEQUENCE s")
    run(connection, "CREATE TABLE drawn (id integer DEFAULT nextval(s), title text)")
    run(connection, "CREATE TABLE book (id integer AUTO_INCREMENT PRIMARY KEY, title text)")
    run(connection, INSERT)
    run(connection, INSERT)
    connection.cursor().execute("COMMIT")


def tell(connection, statement):
    """Execute a statement, whatever comes of it, and nothing else after it."""
    cursor = connection.cursor()
    try:
        cursor.execute(statement)
        cursor.fetchall()
    except (MySQLdb.Error, pymysql.Error):
        pass


def answer(connection, statement):
    cursor = connection.cursor()
    cursor.execute(statement)
    if statement.startswith("GET"):
        cursor.execute("SELECT @x")
    return cursor.fetchall()


@pytest.mark.parametrize(
    "statement",
    [
        *("SELECT `row_count`, `found_rows` FROM `t`", "SELECT SQL_CALC_FOUND_ROWS * FROM t"),
        *("SELECT * FROM warnings", "SELECT * FROM `errors`", "SHOW TABLES", "SHOW CREATE TABLE t"),
        *("SELECT identity FROM t", "SELECT @@version", "SELECT previous FROM t", "SELECT value"),
        *("UPDATE t SET n = LAST_INSERT_ID(n + 1)", "SELECT show_email, warnings FROM t"),
    ],
)
def test_names_alike_do_not(pool, statement):
    assert pool.driver.looks_back(statement) is None


def test_bytes_do(pool):
    assert pool.driver.looks_back(b"SELECT LAST_INSERT_ID()") == "LAST_INSERT_ID"

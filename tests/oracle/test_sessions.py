"""What one lease leaves in a session, and what the next one finds: asked of the server's side."""

import threading

import pytest

from carpool import StaleCursorError


def run(connection, statement):
    cursor = connection.cursor()
    cursor.execute(statement)
    return cursor.fetchall()


def lease(pool, use):
    """Lease a connection for one use; return what the use returns."""
    connection = pool.acquire()
    try:
        return use(connection)
    finally:
        pool.release(connection)


def session_of(server, connection):
    return server.all[run(connection, "SELECT number FROM dual")[0][0] - 1]


def test_a_clean_lease_costs_the_server_its_statement_alone(make_pool, server):
    pool = make_pool({"max_size": 1})
    for _ in range(3):
        lease(pool, lambda connection: run(connection, "SELECT name FROM shelf"))
    assert [each.statements for each in server.all] == [["SELECT name FROM shelf"] * 3]
    assert server.dictionary_queries == 1  # one for a new session


DIRTY = {
    "alter session": lambda c: run(c, "ALTER SESSION SET NLS_LANGUAGE = 'FRENCH'"),
    "block": lambda c: run(c, "BEGIN pkg.remember(1); END;"),
    "declare": lambda c: run(c, "DECLARE x NUMBER; BEGIN pkg.remember(1); END;"),
    "call": lambda c: run(c, "CALL pkg.remember(1)"),
    "callproc": lambda c: c.cursor().callproc("pkg.remember", [1]),
    "callfunc": lambda c: c.cursor().callfunc("pkg.remember", int),
    "executemany": lambda c: c.cursor().executemany("BEGIN pkg.remember(:1); END;", [[1], [2]]),
    "parse": lambda c: c.cursor().parse("CREATE TABLE t (a NUMBER)"),
    "set role": lambda c: run(c, "SET ROLE boss"),
    "package function": lambda c: run(c, "SELECT pkg.get(1) FROM dual"),
    "lock": lambda c: run(c, "SELECT dbms_lock.request(1) FROM dual"),
    "temporary table": lambda c: run(c, "CREATE PRIVATE TEMPORARY TABLE ora$ptt_t (a NUMBER)"),
    "explain": lambda c: run(c, "EXPLAIN PLAN FOR SELECT 1 FROM dual"),
    "sequence": lambda c: run(c, "SELECT shelf_seq.NEXTVAL FROM dual"),
    "link": lambda c: run(c, "SELECT a FROM t@far"),
    "schema": lambda c: setattr(c, "current_schema", "OTHER"),
    "tag": lambda c: setattr(c, "tag", "a=b"),
    "context": lambda c: c.set_app_context("ns", a="b"),
    "subscription": lambda c: c.subscribe(),
    "data frame": lambda c: c.fetch_df_all("SELECT pkg.get(1) FROM dual"),
    "no text": lambda c: c.cursor().execute(b"SELECT 1"),
}


def _prepared(connection):
    cursor = connection.cursor()
    cursor.prepare("BEGIN pkg.remember(1); END;")
    cursor.execute(None)


DIRTY["prepared"] = _prepared


@pytest.mark.parametrize("how", DIRTY)
def test_a_session_with_traces_is_replaced(make_pool, server, how):
    pool = make_pool({"max_size": 1})
    used = lease(pool, lambda connection: session_of(server, connection))

    def leave_traces(connection):
        try:
            DIRTY[how](connection)
        except TypeError:  # the stand-in cannot send bytes
            assert how == "no text"

    lease(pool, leave_traces)
    found = lease(pool, lambda connection: session_of(server, connection))
    assert found is not used
    assert used.gone.wait(10)
    assert (found.state, found.package, found.labels) == ({}, [], {})
    assert server.most == 1  # the old one has gone before the new one came


CLEAN = (
    'INSERT INTO "T" ("A", "B") VALUES (:arg0, TRUNC(:arg1))',
    "SELECT COUNT(*) FROM (SELECT UPPER(a) b FROM t WHERE x IN (1, 2))",
    "UPDATE t SET a = 1",
    "SAVEPOINT s",
    "SET TRANSACTION READ ONLY",
    "LOCK TABLE t IN EXCLUSIVE MODE",
)


@pytest.mark.parametrize("statement", CLEAN)
def test_a_session_without_traces_stays(make_pool, server, statement):
    pool = make_pool({"max_size": 1})
    lease(pool, lambda connection: run(connection, statement))
    lease(pool, lambda connection: run(connection, "SELECT a FROM t"))
    assert len(server.all) == 1


def test_a_prepared_statement_is_known_when_it_is_executed(make_pool, server):
    def use(connection):
        cursor = connection.cursor()
        cursor.prepare("SELECT a FROM t")
        cursor.execute(None)

    pool = make_pool({"max_size": 1})
    lease(pool, use)
    lease(pool, use)
    assert [each.statements for each in server.all] == [["SELECT a FROM t"] * 2]


FILLING = (
    "INSERT INTO basket VALUES (1)",
    'insert into "SHOP"."BASKET" (a) values (1)',
    "INSERT ALL INTO t VALUES (1) INTO shop.Basket VALUES (2) SELECT 1 FROM dual",
    "MERGE INTO basket USING t ON (1 = 2) WHEN NOT MATCHED THEN INSERT VALUES (1)",
)


@pytest.mark.parametrize("statement", FILLING)
def test_rows_of_a_temporary_table_reach_nobody(make_pool, server, statement):
    server.temporary = ["BASKET"]
    pool = make_pool({"max_size": 1}, autocommit=True)
    lease(pool, lambda connection: run(connection, statement))
    lease(pool, lambda connection: run(connection, 'INSERT INTO "basket" SELECT a FROM basket'))
    lease(pool, lambda connection: run(connection, "SELECT a FROM t"))
    assert len(server.all) == 2


def test_an_open_transaction_is_rolled_back(make_pool, server):
    pool = make_pool({"max_size": 1})
    lease(pool, lambda connection: run(connection, "INSERT INTO t VALUES (1)"))
    session = lease(pool, lambda connection: session_of(server, connection))
    assert session.statements[:2] == ["INSERT INTO t VALUES (1)", "ROLLBACK"]
    assert (server.committed, len(server.all)) == ([], 1)


def test_a_pool_that_never_resets_closes_an_open_transaction(make_pool, server):
    pool = make_pool({"max_size": 1, "reset": None})
    lease(pool, lambda connection: run(connection, "INSERT INTO t VALUES (1)"))
    lease(pool, lambda connection: run(connection, "SELECT a FROM t"))
    assert (server.committed, len(server.all)) == ([], 2)


def test_a_block_commits(make_pool, server):
    pool = make_pool()
    with pool.connection() as connection:
        run(connection, "INSERT INTO t VALUES (1)")
    assert server.committed == ["INSERT INTO t VALUES (1)"]


def handler(*_):
    """Stand for a type handler."""


ATTRIBUTES = {
    "autocommit": True,
    "call_timeout": 5000,
    "callTimeout": 5000,
    "inputtypehandler": handler,
    "outputtypehandler": handler,
    "stmtcachesize": 7,
}


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_attributes_are_put_back(make_pool, server, name):
    pool = make_pool({"max_size": 1})
    before = lease(pool, lambda connection: getattr(connection, name))
    lease(pool, lambda connection: setattr(connection, name, ATTRIBUTES[name]))
    assert lease(pool, lambda connection: getattr(connection, name)) == before
    assert [each.statements for each in server.all] == [[]]  # no round trip is made for it


LABELS = ("action", "client_identifier", "clientinfo", "dbop", "econtext_id", "module")


@pytest.mark.parametrize("name", LABELS)
def test_labels_reach_no_statement_of_the_next_lease(make_pool, server, name):
    pool = make_pool({"max_size": 1})

    def use_label(connection):
        setattr(connection, name, "mine")
        run(connection, "SELECT mine FROM t")

    lease(pool, use_label)
    lease(pool, lambda connection: run(connection, "SELECT next FROM t"))
    assert server.all[0].statements == [
        f"label {name}=mine",
        "SELECT mine FROM t",
        f"label {name}=",
        "SELECT next FROM t",
    ]


def test_labels_of_the_set_up_are_put_back(make_pool, server):
    pool = make_pool({"max_size": 1, "configure": lambda c: setattr(c, "module", "shop")})
    lease(pool, lambda connection: setattr(connection, "module", "mine"))
    session = lease(pool, lambda connection: session_of(server, connection))
    assert session.labels == {"module": "shop"}


def test_what_configure_does_to_the_session_is_no_trace(make_pool, server):
    pool = make_pool(
        {"max_size": 1, "configure": lambda c: run(c, "ALTER SESSION SET TIME_ZONE = 'UTC'")}
    )
    for _ in range(3):
        session = lease(pool, lambda connection: session_of(server, connection))
        assert session.state == {"TIME_ZONE": "UTC"}
    assert len(server.all) == 1


USES = {
    "execute": lambda cursor: cursor.execute("SELECT 1 FROM t"),
    "executemany": lambda cursor: cursor.executemany("DELETE FROM t", [[]]),
    "parse": lambda cursor: cursor.parse("SELECT 1 FROM t"),
    "callproc": lambda cursor: cursor.callproc("p"),
    "callfunc": lambda cursor: cursor.callfunc("f", int),
    "fetchone": lambda cursor: cursor.fetchone(),
    "fetchmany": lambda cursor: cursor.fetchmany(2),
    "fetchall": lambda cursor: cursor.fetchall(),
    "next": next,
    "scroll": lambda cursor: cursor.scroll(1),
}


@pytest.mark.parametrize("how", USES)
def test_a_cursor_of_an_earlier_lease_is_refused(make_pool, server, how):
    pool = make_pool({"max_size": 1})
    connection = pool.acquire()
    cursor = connection.cursor()
    cursor.execute("SELECT early FROM t")
    pool.release(connection)
    second = pool.acquire()
    with pytest.raises(StaleCursorError):
        USES[how](cursor)
    pool.release(second)
    assert [each.statements for each in server.all] == [["SELECT early FROM t"]]


def test_cursors_of_a_class_of_the_users_are_tracked(make_pool, server, oracledb):
    class MyCursor(oracledb.Cursor):
        pass

    class MyConnection(oracledb.Connection):
        def cursor(self):
            return MyCursor(self)

    pool = make_pool({"max_size": 1}, conn_class=MyConnection)
    assert lease(pool, lambda connection: isinstance(connection, MyConnection))
    assert lease(pool, lambda connection: isinstance(connection.cursor(), MyCursor))
    lease(pool, lambda connection: run(connection, "BEGIN p; END;"))
    lease(pool, lambda connection: run(connection, "SELECT a FROM t"))
    assert len(server.all) == 2


def test_an_error_in_a_statement_costs_no_session(make_pool, server, oracledb):
    pool = make_pool({"max_size": 1})
    with pytest.raises(oracledb.DatabaseError, match="ORA-00904"):
        lease(pool, lambda connection: run(connection, "SELECT wrong FROM t"))
    lease(pool, lambda connection: run(connection, "SELECT a FROM t"))
    assert len(server.all) == 1


def test_a_session_that_an_interrupt_has_left_in_the_middle_is_replaced(
    make_pool, server, oracledb, monkeypatch
):
    pool = make_pool({"max_size": 1})

    def interrupted(connection):
        monkeypatch.setattr(oracledb.Cursor, "_run", lambda *_: (_ for _ in ()).throw(SystemExit))
        with pytest.raises(SystemExit):
            run(connection, "SELECT a FROM t")
        monkeypatch.undo()

    lease(pool, interrupted)
    lease(pool, lambda connection: run(connection, "SELECT a FROM t"))
    assert len(server.all) == 2


def test_a_session_with_a_running_call_is_replaced(make_pool, server):
    pool = make_pool({"max_size": 1})
    connection = pool.acquire()
    errors = []

    def wait():
        try:
            run(connection, "SELECT wait FROM t")
        except Exception as error:  # noqa: BLE001 - it is looked at
            errors.append(str(error))

    thread = threading.Thread(target=wait)
    thread.start()
    assert server.waiting.acquire(timeout=10)
    pool.release(connection)
    thread.join(10)
    assert errors == ["ORA-01013: user requested cancel of current operation"]
    lease(pool, lambda connection: run(connection, "SELECT a FROM t"))
    assert len(server.all) == 2

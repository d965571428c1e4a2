"""Promise 1: nothing leaks from one user to the next on the same server connection."""

import contextlib

import psycopg
import pytest
from psycopg import sql

from carpool import StaleCursorError
from carpool.postgresql.driver import PsycopgDriver
from tests.postgresql.probing import pid_of
from tests.probing import eventually, run, value

# What one user leaves behind, and the query by which the next one would notice.
LEAKS = {
    "SET": ("SET work_mem = '77MB'", "SHOW work_mem"),
    "set_config": ("SELECT set_config('work_mem', '77MB', false)", "SHOW work_mem"),
    "second statement": ("SELECT 1; SET work_mem = '77MB'", "SHOW work_mem"),
    "DO": (
        "DO $$ BEGIN PERFORM set_config('work_mem', '77MB', false); END $$",
        "SHOW work_mem",
    ),
    "function": ("SELECT spoil()", "SHOW work_mem"),
    "search_path": ("SET search_path = pg_catalog", "SHOW search_path"),
    "characteristics": (
        "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "SHOW default_transaction_isolation",
    ),
    "role": ("SET ROLE pg_monitor", "SELECT current_user"),
    "session authorization": ("SET SESSION AUTHORIZATION pg_monitor", "SELECT session_user"),
    "temporary table": (
        "CREATE TEMPORARY TABLE mine AS SELECT 1",
        "SELECT to_regclass('pg_temp.mine')::text",
    ),
    "SELECT INTO": (
        "SELECT 1 INTO TEMP mine",
        "SELECT to_regclass('pg_temp.mine')::text",
    ),
    "advisory lock": (
        "SELECT pg_advisory_lock(4711)",
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()",
    ),
    "LISTEN": ("LISTEN news", "SELECT count(*) FROM pg_listening_channels()"),
    "PREPARE": (
        "PREPARE mine AS SELECT 1",
        "SELECT count(*) FROM pg_prepared_statements WHERE from_sql",
    ),
    "cursor WITH HOLD": (
        "DECLARE mine CURSOR WITH HOLD FOR SELECT 1",
        "SELECT count(*) FROM pg_cursors WHERE is_holdable",
    ),
}
SPOIL = (
    "CREATE FUNCTION spoil() RETURNS text LANGUAGE sql AS "
    "$$ SELECT set_config('work_mem', '77MB', false) $$"
)
leaks = pytest.mark.parametrize(("plant", "probe"), LEAKS.values(), ids=LEAKS)


def probe_of_both(pool, plant, probe):
    """Return what a probe shows before anything was planted, and to the user after the planter."""
    with pool.connection() as connection:
        pid, before = pid_of(connection), value(connection, probe)
        run(connection, "DISCARD ALL")  # so that the next lease begins without a trace
    with pool.connection() as connection:
        assert pid_of(connection) == pid
        plant(connection)
    with pool.connection() as connection:
        assert pid_of(connection) == pid, "another server connection shows nothing"
        return before, value(connection, probe)


@leaks
def test_the_next_user_finds_none_of_it(make_pool, database, plant, probe):
    database.query(SPOIL)
    before, after = probe_of_both(make_pool(), lambda connection: run(connection, plant), probe)
    assert after == before


@leaks
def test_without_a_reset_the_next_user_would(make_pool, database, plant, probe):
    """The probes are able to see a leak; and `reset: None` does what it says."""
    database.query(SPOIL)
    pool = make_pool({"reset": None})
    before, after = probe_of_both(pool, lambda connection: run(connection, plant), probe)
    assert after != before


@leaks
@pytest.mark.parametrize("threshold", [0, 5, None])
def test_nor_with_prepared_statements(make_psycopg_pool, database, plant, probe, threshold):
    database.query(SPOIL)
    pool = make_psycopg_pool(prepare_threshold=threshold)

    def by_a_busy_user(connection):
        for number in range(7):
            run(connection, "SELECT %s::int", [number])
        run(connection, plant.removeprefix("SELECT 1; "))  # it takes single statements only

    before, after = probe_of_both(pool, by_a_busy_user, probe)
    assert after == before
    with pool.connection() as connection:  # what psycopg has prepared still works, or again
        assert [run(connection, "SELECT %s::int", [n])[0][0] for n in range(7)] == [*range(7)]


# The same leak, planted in every way that psycopg has.
SET = "SET work_mem = '77MB'"
CALL = "SELECT set_config('work_mem', '77MB', false)"


def pipeline(connection, statement):
    with connection.pipeline():
        connection.execute(statement)


def pipeline_with_foreign_cursor(connection, statement):
    with connection.pipeline():
        psycopg.Cursor(connection).execute(statement)


def copy_out(cursor):
    with cursor.copy(f"COPY ({CALL}) TO STDOUT") as copy:
        assert copy.read_row() == ("77MB",)
        assert copy.read_row() is None


def copy_in(connection):
    connection.execute("CREATE TABLE IF NOT EXISTS target (value text DEFAULT spoil(), n int)")
    with connection.cursor().copy("COPY target (n) FROM STDIN") as copy:
        copy.write_row([1])


def with_cursor_factory(connection, factory):
    connection.cursor_factory = factory
    connection.execute(SET)


def in_transaction(connection, cursor):
    with connection.transaction(), cursor:
        cursor.execute(CALL)
        assert cursor.fetchall() == [("77MB",)]


WAYS = {
    "cursor.execute": lambda c: c.cursor().execute(SET),
    "cursor.execute, binary": lambda c: c.cursor(binary=True).execute(CALL),
    "cursor.executemany": lambda c: c.cursor().executemany(
        "SELECT set_config('work_mem', %s, false)", [["66MB"], ["77MB"]]
    ),
    "cursor.executemany, returning": lambda c: c.cursor().executemany(
        "SELECT set_config('work_mem', %s, false)", [["66MB"], ["77MB"]], returning=True
    ),
    "connection.execute": lambda c: c.execute(SET),
    "bytes": lambda c: c.execute(SET.encode()),
    "sql.SQL": lambda c: c.execute(sql.SQL(SET)),
    "sql.Composed": lambda c: c.execute(
        sql.SQL("SET {} = '77MB'").format(sql.Identifier("work_mem"))
    ),
    "cursor.stream": lambda c: list(c.cursor().stream(CALL)),
    "cursor.copy": lambda c: copy_out(c.cursor()),
    "cursor.copy of a foreign cursor": lambda c: copy_out(psycopg.Cursor(c)),
    "pipeline": lambda c: pipeline(c, SET),
    "pipeline and foreign cursor": lambda c: pipeline_with_foreign_cursor(c, SET),
    "transaction": lambda c: in_transaction(c, c.cursor()),
    "psycopg.Cursor": lambda c: psycopg.Cursor(c).execute(SET),
    "psycopg.ClientCursor": lambda c: psycopg.ClientCursor(c).execute(SET),
    "psycopg.RawCursor": lambda c: psycopg.RawCursor(c).execute(SET),
    "stream of a foreign cursor": lambda c: list(psycopg.Cursor(c).stream(CALL)),
    "executemany of a foreign cursor": lambda c: psycopg.Cursor(c).executemany(
        "SELECT set_config('work_mem', %s, false)", [["66MB"], ["77MB"]]
    ),
    "named cursor": lambda c: in_transaction(c, c.cursor("named")),
    "psycopg.ServerCursor": lambda c: in_transaction(c, psycopg.ServerCursor(c, "named")),
    "psycopg.RawServerCursor": lambda c: in_transaction(c, psycopg.RawServerCursor(c, "named")),
    "cursor_factory": lambda c: with_cursor_factory(c, psycopg.ClientCursor),
}


@pytest.mark.parametrize("threshold", [5, None])
@pytest.mark.parametrize("plant", WAYS.values(), ids=WAYS)
def test_however_it_was_planted(make_psycopg_pool, plant, threshold):
    pool = make_psycopg_pool(prepare_threshold=threshold)
    before, after = probe_of_both(pool, plant, "SHOW work_mem")
    assert after == before


@pytest.mark.parametrize("plant", WAYS.values(), ids=WAYS)
def test_every_way_plants_something(make_psycopg_pool, plant):
    _, after = probe_of_both(make_psycopg_pool({"reset": None}), plant, "SHOW work_mem")
    assert after == "77MB"


# Transactions and locks ---------------------------------------------------------------------------


def locks_of(database, pid):
    return database.query(
        "SELECT locktype, relation::regclass, mode FROM pg_locks WHERE pid = %s "
        "AND locktype IN ('relation', 'advisory', 'transactionid')",
        [pid],
    )


TRANSACTIONS = {
    "insert": ["INSERT INTO note VALUES ('never')"],
    "failed": ["INSERT INTO note VALUES ('never')", "SELECT 1/0"],
    "lock": ["LOCK TABLE note IN ACCESS EXCLUSIVE MODE"],
    "SET in it": ["INSERT INTO note VALUES ('never')", "SET work_mem = '77MB'"],
    "savepoint": ["SAVEPOINT a", "INSERT INTO note VALUES ('never')"],
}


@pytest.mark.parametrize("threshold", [5, None])
@pytest.mark.parametrize("statements", TRANSACTIONS.values(), ids=TRANSACTIONS)
def test_an_open_transaction_is_rolled_back_though_nobody_comes(
    make_pool, database, statements, threshold
):
    database.query("CREATE TABLE note (text text)")
    psycopg3 = make_pool.driver_class is PsycopgDriver
    more = {"prepare_threshold": threshold} if psycopg3 else {}
    pool = make_pool(autocommit=False, **more)
    connection = pool.acquire()
    pid = pid_of(connection)
    for statement in statements[:-1]:
        run(connection, statement)
    failing = pytest.raises(Exception, match="division by zero")
    with failing if statements[-1] == "SELECT 1/0" else contextlib.nullcontext():
        run(connection, statements[-1])
    pool.release(connection)
    eventually(lambda: [row.state for row in database.sessions()] == ["idle"])
    eventually(lambda: not locks_of(database, pid))
    again = pool.acquire()
    assert pid_of(again) == pid
    assert run(again, "SELECT * FROM note") == []
    assert value(again, "SHOW work_mem") == "4MB"
    pool.release(again)


def test_locks_are_gone_though_nobody_comes(make_pool, database):
    pool = make_pool()
    with pool.connection() as connection:
        pid = pid_of(connection)
        run(connection, "SELECT pg_advisory_lock(1), pg_advisory_lock_shared(2)")
        assert len(locks_of(database, pid)) >= 2
    eventually(lambda: not locks_of(database, pid))


def test_a_value_drawn_from_a_sequence_is_not_known_to_the_next(make_pool, database):
    database.query("CREATE SEQUENCE number")
    pool = make_pool()
    with pool.connection() as connection:
        pid = pid_of(connection)
        run(connection, "SELECT nextval('number')")
    with pool.connection() as connection:
        assert pid_of(connection) == pid
        with pytest.raises(Exception, match="lastval is not yet defined"):
            run(connection, "SELECT lastval()")


# What is set on the connection object -------------------------------------------------------------

ATTRIBUTES = {
    "autocommit": False,
    "isolation_level": psycopg.IsolationLevel.SERIALIZABLE,
    "read_only": True,
    "deferrable": True,
    "row_factory": psycopg.rows.dict_row,
    "cursor_factory": psycopg.ClientCursor,
    "server_cursor_factory": psycopg.ServerCursor,
    "prepare_threshold": 0,
    "prepared_max": 3,
}


@pytest.mark.parametrize("statement", [None, "SELECT 1", "SET work_mem = '77MB'"])
@pytest.mark.parametrize(("name", "setting"), ATTRIBUTES.items(), ids=ATTRIBUTES)
def test_attributes_are_as_before(make_psycopg_pool, name, setting, statement):
    pool = make_psycopg_pool(prepare_threshold=None)
    connection = pool.acquire()
    before = getattr(connection, name)
    assert before != setting
    setattr(connection, name, setting)
    if statement:
        run(connection, statement)
    pool.release(connection)
    again = pool.acquire()
    assert again is connection
    assert getattr(again, name) == before
    pool.release(again)


ATTRIBUTES_OF_2 = {
    "autocommit": False,
    "isolation_level": 3,  # serializable
    "readonly": True,
    "deferrable": True,
}


@pytest.mark.parametrize("driver_class", ["psycopg2"], indirect=True)
@pytest.mark.parametrize("statement", [None, "SELECT 1", "SET work_mem = '77MB'"])
@pytest.mark.parametrize(("name", "setting"), ATTRIBUTES_OF_2.items(), ids=ATTRIBUTES_OF_2)
def test_attributes_of_psycopg2_are_as_before(make_pool, name, setting, statement):
    pool = make_pool()
    connection = pool.acquire()
    before = getattr(connection, name)
    setattr(connection, name, setting)
    if statement:
        run(connection, statement)
    pool.release(connection)
    again = pool.acquire()
    assert again is connection
    assert getattr(again, name) == before
    pool.release(again)


def test_a_read_only_user_does_not_hinder_the_next(make_psycopg_pool, database):
    """What the server says of the attributes above: they end in BEGIN's options."""
    database.query("CREATE TABLE note (text text)")
    pool = make_psycopg_pool(autocommit=False)
    with pool.connection() as connection:
        connection.read_only = True
        connection.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
        assert value(connection, "SHOW transaction_read_only") == "on"
    with pool.connection() as connection:
        assert value(connection, "SHOW transaction_read_only") == "off"
        assert value(connection, "SHOW transaction_isolation") == "read committed"
        run(connection, "INSERT INTO note VALUES ('x')")


def test_handlers_end_with_the_lease(make_psycopg_pool):
    pool, heard = make_psycopg_pool(), []
    with pool.connection() as connection:
        connection.add_notice_handler(lambda notice: heard.append(notice.message_primary))
        connection.add_notify_handler(lambda notify: heard.append(notify.payload))
        shout = "DO $$ BEGIN RAISE NOTICE 'mine'; END $$"
        run(connection, shout)
        assert heard == ["mine"]
    with pool.connection() as again:
        assert again is connection
        run(again, shout)
        run(again, "LISTEN here")
        run(again, "NOTIFY here, 'theirs'")
        run(again, "SELECT 1")
    assert heard == ["mine"]


@pytest.mark.parametrize("last", ["LISTEN news", "SELECT 1"])
def test_a_notification_does_not_reach_the_next_user(make_psycopg_pool, database, last):
    pool = make_psycopg_pool(prepare_threshold=None)
    with pool.connection() as connection:
        run(connection, "LISTEN news")
        database.query("NOTIFY news, 'for the first'")
        run(connection, last)
    with pool.connection() as again:
        assert again is connection
        assert list(again.notifies(timeout=0)) == []


# Cursors that outlive their lease -----------------------------------------------------------------


def test_a_kept_cursor_is_refused(make_pool, database):
    pool = make_pool()
    with pool.connection() as connection:
        kept = connection.cursor()
        kept.execute("SELECT 1")
    with pool.connection() as again:
        assert again is connection
        mark = database.mark()
        with pytest.raises(StaleCursorError):
            kept.execute("SELECT 'mine'")
        with pytest.raises(StaleCursorError):
            kept.executemany("SELECT %s", [["mine"]])
        assert database.statements(mark) == []


USES = {
    "fetchone": lambda cursor: cursor.fetchone(),
    "fetchmany": lambda cursor: cursor.fetchmany(),
    "fetchall": lambda cursor: cursor.fetchall(),
    "iteration": lambda cursor: next(iter(cursor)),
    "scroll": lambda cursor: cursor.scroll(1),
    "execute": lambda cursor: cursor.execute("SELECT 1"),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_a_kept_named_cursor_sends_nothing(make_psycopg_pool, database, use):
    pool = make_psycopg_pool()
    connection = pool.acquire()
    kept = connection.cursor("kept", withhold=True)
    kept.execute("SELECT generate_series(1, 1000)")
    assert kept.fetchone() == (1,)
    pool.release(connection)
    with pool.connection() as again:
        assert again is connection
        mark = database.mark()
        with pytest.raises(StaleCursorError):
            use(kept)
        kept.close()
        assert database.statements(mark) == []

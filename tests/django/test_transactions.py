"""Everything that Django promises of transactions, cursors and queries."""

import pytest
from django.db import connection as default
from django.db import transaction
from django.db.utils import InterfaceError, OperationalError
from django.test.utils import CaptureQueriesContext

import carpool
from tests.django.asking import pid_of, run, texts, value
from tests.django.models import CREATE, Note


@pytest.fixture
def connection(use, database):
    database.query(CREATE)
    connection = use({"max_size": 2, "timeout": 5})
    yield connection
    connection.close()


def committed(database):
    return [row.text for row in database.query("SELECT text FROM note ORDER BY id")]


def test_atomic_commits(connection, database):
    with transaction.atomic():
        Note.objects.create(text="a")
        assert committed(database) == []
    assert committed(database) == ["a"]


def test_atomic_rolls_back(connection, database):
    with pytest.raises(RuntimeError), transaction.atomic():  # noqa: PT012 - the block is the test
        Note.objects.create(text="a")
        raise RuntimeError
    assert committed(database) == []
    assert connection.get_autocommit()


def test_savepoints(connection, database):
    with transaction.atomic():
        Note.objects.create(text="a")
        with pytest.raises(RuntimeError), transaction.atomic():  # noqa: PT012 - the block is the test
            Note.objects.create(text="b")
            raise RuntimeError
        point = connection.savepoint()
        Note.objects.create(text="c")
        connection.savepoint_rollback(point)
        with transaction.atomic():
            Note.objects.create(text="d")
    assert committed(database) == ["a", "d"]


def test_durable(connection):
    with (
        transaction.atomic(),
        pytest.raises(RuntimeError, match="durable"),
        transaction.atomic(durable=True),
    ):
        pass


def test_on_commit(connection, database):
    heard = []
    with transaction.atomic():
        Note.objects.create(text="a")
        transaction.on_commit(lambda: heard.append(committed(database)))
        with pytest.raises(RuntimeError), transaction.atomic():  # noqa: PT012 - the block is the test
            transaction.on_commit(lambda: heard.append("never"))
            raise RuntimeError
        assert heard == []
    assert heard == [["a"]]


def test_without_autocommit(connection, database):
    connection.set_autocommit(False)
    Note.objects.create(text="a")
    assert committed(database) == []
    transaction.commit()
    Note.objects.create(text="b")
    transaction.rollback()
    connection.close()
    assert committed(database) == ["a"]
    assert connection.get_autocommit()
    Note.objects.create(text="c")
    assert committed(database) == ["a", "c"]


def test_autocommit_off_by_settings(use, database):
    database.query(CREATE)
    connection = use(AUTOCOMMIT=False)
    for _ in range(2):
        Note.objects.create(text="never")
        assert not connection.get_autocommit()
        connection.close()
    Note.objects.create(text="a")
    transaction.commit()
    connection.close()
    assert committed(database) == ["a"]


def test_a_broken_transaction_stays_broken(connection):
    broken = pytest.raises(transaction.TransactionManagementError, match="end of the 'atomic'")
    with broken, transaction.atomic():
        with pytest.raises(Exception, match="division by zero"):
            run(connection, "SELECT 1/0")
        transaction.set_rollback(True)
        run(connection, "SELECT 1")


# Cursors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("atomic", [True, False])
def test_iterator(connection, database, atomic):
    Note.objects.bulk_create([Note(text=str(number)) for number in range(500)])
    mark = database.mark()
    if atomic:
        with transaction.atomic():
            found = [note.text for note in Note.objects.order_by("id").iterator(chunk_size=100)]
    else:
        found = [note.text for note in Note.objects.order_by("id").iterator(chunk_size=100)]
    assert found == [str(number) for number in range(500)]
    declared = [each for each in texts(database.statements(mark)) if each.startswith("DECLARE")]
    assert len(declared) == 1
    assert ("WITH HOLD" in declared[0]) is not atomic


def test_an_iterator_that_is_left_lying(connection, database):
    Note.objects.bulk_create([Note(text=str(number)) for number in range(500)])
    pid = pid_of(connection)
    notes = Note.objects.order_by("id").iterator(chunk_size=100)
    assert next(notes).text == "0"
    connection.close()
    assert pid_of(connection) == pid
    assert value(connection, "SELECT count(*) FROM pg_cursors WHERE is_holdable") == 0
    mark = database.mark()
    with pytest.raises(InterfaceError):
        list(notes)
    notes.close()
    assert database.statements(mark) == []


def test_a_kept_cursor_touches_nobody_else_s_session(connection, database):
    pid = pid_of(connection)
    kept = connection.cursor()
    kept.execute("SELECT 1")
    connection.close()
    assert pid_of(connection) == pid
    mark = database.mark()
    with pytest.raises(InterfaceError):
        kept.execute("SELECT 'mine'")
    with pytest.raises(InterfaceError):
        kept.executemany("SELECT %s", [["mine"]])
    assert database.statements(mark) == []
    kept.close()


def test_a_kept_cursor_names_the_reason(connection):
    kept = connection.cursor()
    connection.close()
    with pytest.raises(carpool.StaleCursorError, match="given back to the pool"):
        kept.execute("SELECT 1")


def test_chunked_cursor_and_callproc(connection, database):
    database.query("CREATE FUNCTION double(n int) RETURNS int LANGUAGE sql AS 'SELECT n * 2'")
    with connection.cursor() as cursor:
        cursor.callproc("double", [21])
        assert cursor.fetchone() == (42,)


def test_queries_are_recorded(connection):
    connection.force_debug_cursor = True
    try:
        with CaptureQueriesContext(connection) as queries:
            run(connection, "SELECT 1")
            connection.close()
            run(connection, "SELECT %s", [2])
        assert [query["sql"] for query in queries] == ["SELECT 1", "SELECT 2"]
        assert len(connection.queries) >= 2
    finally:
        connection.force_debug_cursor = False


def test_execute_wrappers(connection):
    seen = []

    def wrapper(execute, sql, params, many, context):
        seen.append((sql, params, context["connection"].alias))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(wrapper):
        run(connection, "SELECT %s", [1])
        connection.close()
        run(connection, "SELECT 2")
    run(connection, "SELECT 3")
    assert seen == [("SELECT %s", [1], "default"), ("SELECT 2", None, "default")]


def test_temporary_connection_and_chunks(connection, database):
    with connection.temporary_connection() as cursor:
        cursor.execute("SELECT 1")
    assert connection.connection is None
    assert len(database.sessions()) == 1


def test_is_usable(connection, database):
    connection.ensure_connection()
    assert connection.is_usable()
    database.kill_sessions()
    assert not connection.is_usable()
    connection.close()
    assert value(connection, "SELECT 1") == 1


# Closing in the middle ----------------------------------------------------------------------------


def test_close_within_atomic(connection, database):
    pid = pid_of(connection)
    heard = []
    closed = pytest.raises((InterfaceError, OperationalError), match="closed")
    with closed, transaction.atomic():
        Note.objects.create(text="never")
        transaction.on_commit(lambda: heard.append("never"))
        connection.close()
        run(connection, "SELECT 1")
    assert connection.connection is None
    assert pid_of(connection) != pid
    with transaction.atomic():
        assert committed(database) == heard == []
    assert heard == []


def test_the_server_ends_the_session_within_atomic(connection, database):
    with pytest.raises((OperationalError, InterfaceError)), transaction.atomic():  # noqa: PT012 - the block is the test
        Note.objects.create(text="never")
        database.kill_sessions()
        run(connection, "SELECT 1")
    connection.close_if_unusable_or_obsolete()
    Note.objects.create(text="a")
    assert committed(database) == ["a"]


def test_exhaustion_is_an_operational_error(connection, in_thread):
    pool = connection.pool
    leased = [pool.acquire(), pool.acquire()]
    for ask in (connection.cursor, Note.objects.count, transaction.atomic().__enter__):
        with pytest.raises(OperationalError) as caught:
            ask()
        assert isinstance(caught.value, carpool.PoolTimeout)
        assert "size 2 of 2, leased 2" in str(caught.value)
    for each in leased:
        pool.release(each)
    assert value(connection, "SELECT 1") == 1


def test_a_refused_connection_is_django_s_error(use):
    with pytest.raises(OperationalError, match="does not exist"):
        run(use(NAME="nowhere"), "SELECT 1")


# The pool of an alias -----------------------------------------------------------------------------


def test_close_pool(connection, database):
    pid = pid_of(connection)
    first = connection.pool
    connection.close()
    connection.close_pool()
    database.wait_for_sessions(0)
    assert pid_of(connection) != pid
    assert connection.pool is not first


def test_close_pool_with_a_lease(connection, database):
    pid = pid_of(connection)
    connection.close_pool()
    assert pid_of(connection) == pid
    connection.close()
    database.wait_for_sessions(0)
    assert pid_of(default) != pid


def test_pool_is_carpool_s(connection):
    assert isinstance(connection.pool, carpool.Pool)
    assert connection.pool is connection.pool

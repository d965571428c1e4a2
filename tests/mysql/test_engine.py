"""Django on `carpool.mysql`, in a program of its own for each module, as Django loads but one."""

import pytest

from tests.probing import finish, report_of, start_program

HEAD = """
import json, os, threading
given = json.loads(os.environ["PARAMS"])
if given["module"] == "pymysql":
    import pymysql
    pymysql.install_as_MySQLdb()
import django
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
entry = given["entry"]
settings.configure(DATABASES={"default": entry}, USE_TZ=True)
django.setup()
from django.db import connection, transaction, OperationalError
from django.db.backends.signals import connection_created


def report(*facts):
    os.write(1, (json.dumps(facts) + "\\n").encode())


def ask(sql, args=None):
    with connection.cursor() as cursor:
        cursor.execute(sql, args)
        return cursor.fetchone()


def request(sql, args=None):
    try:
        return ask(sql, args)
    finally:
        connection.close()


def in_thread(function):
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()
"""


@pytest.fixture(params=["mysqlclient", "pymysql"])
def start(request, tmp_path, mariadb_database):
    """Start a program after the head above, with these OPTIONS."""

    def start(text, pool=True, **options):
        entry = mariadb_database.django(ENGINE="carpool.mysql", OPTIONS={"pool": pool, **options})
        given = {"module": request.param, "entry": entry}
        return start_program(tmp_path / "program.py", HEAD + text, given)

    return start


@pytest.fixture
def run_program(start):
    return lambda text, *args, **options: report_of(start(text, *args, **options))


def texts(database):
    return [each.text for each in database.statements()]


def test_a_request_is_one_statement(run_program, mariadb_database):
    run_program("""
request("SELECT 0")
for number in range(3):
    in_thread(lambda: request("SELECT %s", [number]))
""")
    found = texts(mariadb_database)
    assert found[-5:] == ["SELECT 0", "SELECT 0", "SELECT 1", "SELECT 2", "Quit"]
    assert sum("ISOLATION" in each.upper() for each in found) == 1
    assert mariadb_database.connections() == 1


def test_the_session_is_as_django_wants_it(run_program):
    query = (
        "SELECT @@autocommit, @@character_set_client, @@tx_isolation, @@sql_auto_is_null, "
        "@@sql_mode, @@time_zone, @mine IS NULL"
    )
    found = run_program(
        f"""
for _ in range(2):
    report(*request("{query}"))
    request("SET @mine = 1, sql_auto_is_null = 1, autocommit = 0, NAMES latin1")
    request("SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE")
""",
        isolation_level="repeatable read",
        sql_mode="STRICT_ALL_TABLES",
        init_command="SET time_zone = '+01:00'",
    )
    assert found == [[1, "utf8mb4", "REPEATABLE-READ", 0, "STRICT_ALL_TABLES", "+01:00", 1]] * 2


def test_atomic(run_program, mariadb_database):
    mariadb_database.query("CREATE TABLE note (n int)")
    found = run_program("""
for _ in range(2):
    with transaction.atomic():
        ask("INSERT INTO note VALUES (1)")
    connection.close()
try:
    with transaction.atomic():
        ask("INSERT INTO note VALUES (2)")
        raise KeyError
except KeyError:
    connection.close()
report(*request("SELECT count(*) FROM note"))
report(connection.pool.get_stats()["resets"])
""")
    assert found == [[2], [0]]


def test_signals(run_program):
    found = run_program("""
seen = []
def receive(sender, connection, **kwargs):
    seen.append(1)
    with connection.cursor() as cursor:
        cursor.execute("SET @of_the_project = 1")
connection_created.connect(receive)
for _ in range(3):
    report(*request("SELECT @of_the_project"))
request("SET @mine = 1")
report(*request("SELECT @of_the_project, @mine"))
""")
    assert found == [[1], [1], [1], [1, None]]


def test_wrong_options(run_program):
    found = run_program(
        """
try:
    request("SELECT 1")
except ImproperlyConfigured as error:
    report(str(error).splitlines()[0])
""",
        isolation_level="very read",
    )
    assert found == [["Invalid transaction isolation level 'very read' specified."]]


def test_without_a_pool_it_is_django_s_own(run_program, mariadb_database):
    found = run_program(
        """
for _ in range(2):
    report(*request("SELECT 1"))
report(connection.pool is None)
""",
        pool=False,
    )
    assert found == [[1], [1], [True]]
    assert mariadb_database.connections() == 2
    assert "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED" in texts(mariadb_database)


def test_persistent_connections_are_refused(start, mariadb_database):
    program = start("""
settings.DATABASES["default"]["CONN_MAX_AGE"] = 60
try:
    connection.ensure_connection()
except ImproperlyConfigured as error:
    report("persistent" in str(error))
""")
    assert finish(program) == ("[true]\n", "")


def test_checks_off_do_not_stay_off(run_program):
    found = run_program("""
with connection.constraint_checks_disabled():
    pass
connection.disable_constraint_checking()
connection.close()
report(*request("SELECT @@foreign_key_checks"))
""")
    assert found == [[1]]


def test_a_kill_is_not_noticed(run_program, mariadb_database):
    found = run_program("""
numbers = [request("SELECT CONNECTION_ID()")[0]]
other = connection.copy()
with other.cursor() as cursor:
    cursor.execute("SELECT CONNECTION_ID()")
    if cursor.fetchone()[0] != numbers[0]:
        raise AssertionError
with connection.cursor() as cursor:
    cursor.execute(f"KILL {numbers[0]}")
other.close()
connection.close()
numbers += [request("SELECT CONNECTION_ID()")[0] for _ in range(3)]
report(len(set(numbers)), numbers[0] in numbers[1:])
""")
    assert found[0][1] is False

"""Promises 6, 7 and 10 with both drivers: forks, threads that die, the end of the program."""

import pytest

from tests.mysql.conftest import DRIVERS, connect_params, every_way
from tests.probing import finish, report_of, start_program

HEAD = '''
import gc, json, os, sys, threading
from carpool import Options, Pool
given = json.loads(os.environ["PARAMS"])
if given["driver"] == "pymysql":
    from carpool.mysql.pymysql import PyMySQLDriver as driver
else:
    from carpool.mysql.driver import MysqlclientDriver as driver


def make_pool(**options):
    options = {"max_size": 4} | options
    return Pool(driver(autocommit=True, **given["params"]), Options(**options))


def ask(connection, sql, args=None):
    with connection.cursor() as cursor:
        cursor.execute(sql, args)
        return cursor.fetchone()


def query(pool, times=1):
    """Return the numbers of the sessions that answered; every row must be the one asked for."""
    numbers = set()
    for number in range(times):
        with pool.connection() as connection:
            row = ask(connection, "SELECT %s, connection_id(), repeat('x', 1000)", [number])
            assert row[0] == number, (row, number)
            numbers.add(row[1])
    return sorted(numbers)


def sockets():
    found = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            name = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue
        if name.startswith("socket:"):
            found.append(name)
    return found


def report(**facts):
    os.write(1, (json.dumps(facts) + "\\n").encode())


def join(child):
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)
'''


@pytest.fixture(params=DRIVERS)
def start(request, tmp_path, database, way):
    """Start a program after the head above."""

    def start(text, *flags):
        params = connect_params(database, way, DRIVERS[request.param])
        given = {"driver": request.param, "params": params}
        return start_program(tmp_path / "program.py", HEAD + text, given, *flags)

    return start


STRICT = ("-X", "dev", "-W", "error")


@every_way
def test_a_fork(start, database):
    text = """
pool = make_pool()
leased, other = pool.acquire(), pool.acquire()
before = [ask(each, "SELECT connection_id()")[0] for each in (leased, other)]
ask(leased, "SELECT @mine := 77")
pool.release(other)
child = os.fork()
if not child:
    report(who="child", numbers=query(pool, 100), sockets=sockets())
    sys.exit(0)
report(who="parent", before=before, numbers=query(pool, 100), sockets=sockets())
assert join(child) == 0
assert ask(leased, "SELECT connection_id(), @mine") == (before[0], 77)
assert query(pool) == [before[1]]
pool.release(leased)
"""
    found = {each["who"]: each for each in report_of(start(text, *STRICT))}
    parent, child = found["parent"], found["child"]
    assert parent["numbers"] == parent["before"][1:]
    assert not set(child["numbers"]) & set(parent["before"])
    assert not set(child["sockets"]) & set(parent["sockets"])
    database.wait_for_sessions(0)


@every_way
def test_a_child_cannot_speak_on_what_its_parent_has_leased(start, database):
    text = """
pool = make_pool()
leased = pool.acquire()
child = os.fork()
if not child:
    try:
        ask(leased, "SELECT 'of the child'")
        report(who="child", error=None)
    except Exception as error:
        report(who="child", error=type(error).__name__)
    try:
        leased.close()
    except Exception:
        pass
    del leased
    gc.collect()
    query(pool)
    os._exit(0)
assert join(child) == 0
report(who="parent", answer=ask(leased, "SELECT 'of the parent'")[0])
pool.release(leased)
"""
    found = {each["who"]: each for each in report_of(start(text))}
    assert found["child"]["error"]
    assert found["parent"]["answer"] == "of the parent"
    assert "SELECT 'of the child'" not in [each.text for each in database.statements()]


def test_threads_that_use_the_pool_during_the_fork(start):
    text = """
import warnings
warnings.simplefilter("ignore")  # Python's, of forks beside threads
pool, stop, failed = make_pool(max_size=3), threading.Event(), []


def busy():
    try:
        while not stop.is_set():
            query(pool, 5)
    except BaseException as error:
        failed.append(repr(error))


threads = [threading.Thread(target=busy) for _ in range(3)]
for thread in threads:
    thread.start()
while pool.get_stats()["requests_num"] < 50:
    pass
children = []
for _ in range(5):
    child = os.fork()
    if not child:
        report(who=f"child {os.getpid()}", numbers=query(pool, 20), sockets=sockets())
        os._exit(0)
    children.append(child)
codes = [join(child) for child in children]
stop.set()
for thread in threads:
    thread.join()
report(who="parent", codes=codes, failed=failed, sockets=sockets(), numbers=query(pool))
"""
    found = {each["who"]: each for each in report_of(start(text))}
    parent = found.pop("parent")
    assert parent["codes"] == [0] * 5
    assert parent["failed"] == []
    for child in found.values():
        assert not set(child["sockets"]) & set(parent["sockets"])
        assert not set(child["numbers"]) & set(parent["numbers"])


STATES = {
    "idle": "query(pool, 3)",
    "leased": "leased = pool.acquire(); ask(leased, 'SELECT 1')",
    "in a transaction": "leased = pool.acquire(); leased.begin(); ask(leased, 'SELECT 1')",
    "resetting": "\nwith pool.connection() as connection: ask(connection, 'SELECT @mine := 1')",
    "unread": "leased = pool.acquire(); cursor = leased.cursor(); "
    "cursor.callproc('telling'); del cursor",
    "closed": "query(pool); pool.close()",
    "a thread that is gone": "thread = threading.Thread(target=lambda: query(pool)); "
    "thread.start(); thread.join()",
    "in a daemon that reads unbuffered": """
cursors = sys.modules[driver.cursorclass.__module__]
reading = threading.Event()


def read():
    cursor = pool.acquire().cursor(cursors.SSCursor)
    cursor.execute("SELECT seq FROM seq_1_to_3000000")
    for row in cursor:
        reading.set()


threading.Thread(target=read, daemon=True).start()
reading.wait()
""",
    "in a daemon at rest": (
        "taken = threading.Event(); "
        "hold = lambda c: (ask(c, 'SELECT 1'), taken.set(), threading.Event().wait()); "
        "threading.Thread(target=lambda: hold(pool.acquire()), daemon=True).start(); taken.wait()"
    ),
}


@every_way
@pytest.mark.parametrize("state", STATES.values(), ids=STATES)
def test_the_end_of_the_program(start, database, state):
    database.query("CREATE PROCEDURE telling() BEGIN SELECT 'mine'; SELECT 'mine, too'; END")
    program = start(f"pool = make_pool()\n{state}\n", *STRICT)
    assert finish(program) == ("", "")
    assert program.returncode == 0
    database.wait_for_sessions(0)


def test_threads_that_just_end(start):
    text = """
pool, numbers = make_pool(max_size=2), []


def take(statement):
    connection = pool.acquire(timeout=30)
    numbers.append(ask(connection, "SELECT connection_id()")[0])
    ask(connection, statement)


for statement in ["SELECT 1", "SELECT @mine := 77", "SELECT GET_LOCK('mine', 0)"] * 3:
    thread = threading.Thread(target=take, args=[statement])
    thread.start()
    thread.join()
    gc.collect()
leased = [pool.acquire(timeout=30), pool.acquire(timeout=30)]
report(found=[ask(each, "SELECT @mine, IS_FREE_LOCK('mine')") for each in leased])
for each in leased:
    pool.release(each)
"""
    program = start(text)
    out, err = finish(program)
    assert program.returncode == 0, err
    assert "[null, 1], [null, 1]" in out

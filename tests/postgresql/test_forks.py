"""Promise 6: after a fork, parent and child share no socket, whatever becomes of either."""

import os

import pytest

from tests.probing import report_of, start_program

HEAD = '''
import json, os, sys, threading
from carpool import Options, Pool
from carpool.postgresql.driver import PsycopgDriver
from carpool.postgresql.psycopg2 import Psycopg2Driver

given = json.loads(os.environ["PARAMS"])
driver = {"psycopg": PsycopgDriver, "psycopg2": Psycopg2Driver}[given["driver"]]


def make_pool(**options):
    options = {"max_size": 4} | options
    return Pool(driver(autocommit=True, **given["params"]), Options(**options))


def ask(connection, sql, args=None):
    with connection.cursor() as cursor:
        cursor.execute(sql, args)
        return cursor.fetchone()


def query(pool, times=1):
    """Return the pids of the sessions that answered; every row must be the one asked for."""
    pids = set()
    for number in range(times):
        with pool.connection() as connection:
            row = ask(connection, "SELECT %s::int, pg_backend_pid(), repeat('x', 1000)", [number])
            assert row[0] == number, (row, number)
            pids.add(row[1])
    return sorted(pids)


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


@pytest.fixture(params=["psycopg", "psycopg2"])
def run_program(request, tmp_path, database):
    """Run a program after the head above, in Python's strict mode; return what it reported."""

    def run(text, **more):
        given = {"driver": request.param, "params": database.params} | more
        flags = ["-X", "dev", "-W", "error"]
        return report_of(start_program(tmp_path / "program.py", HEAD + text, given, *flags))

    return run


def by_role(reports):
    return {each.pop("who"): each for each in reports}


@pytest.mark.parametrize("leased", [0, 1])
@pytest.mark.parametrize("idle", [0, 2])
def test_both_go_on_with_sessions_of_their_own(run_program, database, idle, leased):
    reports = run_program(
        """
pool = make_pool()
connections = [pool.acquire() for _ in range(given["idle"] + given["leased"])]
before = [ask(each, "SELECT pg_backend_pid()")[0] for each in connections]
for each in connections[:given["idle"]]:
    pool.release(each)
child = os.fork()
if not child:
    report(who="child", pids=query(pool, 200), sockets=sockets())
    os._exit(0)
report(who="parent", pids=query(pool, 200), sockets=sockets(), before=before)
assert join(child) == 0
query(pool)
for each in connections[given["idle"]:]:
    ask(each, "SELECT 1")
    pool.release(each)
""",
        idle=idle,
        leased=leased,
    )
    found = by_role(reports)
    parent, child = found["parent"], found["child"]
    assert len(child["pids"]) == 1
    assert not set(child["pids"]) & {*parent["pids"], *parent["before"]}
    assert not set(parent["sockets"]) & set(child["sockets"])
    if idle:
        assert set(parent["pids"]) <= set(parent["before"])
    database.wait_for_sessions(0)


ENDS = {
    "os._exit": "os._exit(0)",
    "sys.exit": "sys.exit(0)",
    "end of the program": "pass",
    "exception": "sys.excepthook = lambda *_: None; raise RuntimeError",
}


@pytest.mark.parametrize("used", [True, False])
@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_the_child_s_end_leaves_the_parent_s_sessions_alone(run_program, database, end, used):
    (found,) = run_program(
        f"""
pool = make_pool()
leased, other = pool.acquire(), pool.acquire()
before = [ask(each, "SELECT pg_backend_pid()")[0] for each in (leased, other)]
ask(leased, "SELECT set_config('app.mine', 'yes', false)")
pool.release(other)
child = os.fork()
if not child:
    if given["used"]:
        query(pool)
    {end}
else:
    join(child)
    report(
        before=before,
        leased=ask(leased, "SELECT pg_backend_pid()")[0],
        mine=ask(leased, "SELECT current_setting('app.mine')")[0],
        idle=query(pool)[0],
    )
    pool.release(leased)
""",
        used=used,
    )
    assert [found["leased"], found["idle"]] == found["before"]
    assert found["mine"] == "yes"


def test_a_child_cannot_speak_on_what_its_parent_has_leased(run_program, database):
    found = by_role(
        run_program(
            """
pool = make_pool()
leased = pool.acquire()
child = os.fork()
if not child:
    try:
        ask(leased, "SELECT 'of the child'")
        report(who="child", error=None)
    except Exception as error:
        report(who="child", error=type(error).__name__)
    pool.release(leased)  # as a `with` block does that the fork went through
    query(pool)
    os._exit(0)
assert join(child) == 0
report(who="parent", answer=ask(leased, "SELECT 'of the parent'")[0])
pool.release(leased)
"""
        )
    )
    assert found["child"]["error"]
    assert found["parent"]["answer"] == "of the parent"
    assert "SELECT 'of the child'" not in [each.text for each in database.statements()]


def test_a_fork_within_a_fork(run_program):
    found = run_program(
        """
pool = make_pool()
query(pool)
for generation in range(3):
    child = os.fork()
    if child:
        code = join(child)
        report(generation=generation, pids=query(pool, 5), code=code)
        os._exit(0)
    query(pool)
report(generation=3, pids=query(pool, 5), code=0)
os._exit(0)
"""
    )
    pids = [pid for each in found for pid in each["pids"]]
    assert len(found) == 4
    assert len(set(pids)) == 4
    assert {each["code"] for each in found} == {0}


def test_resets_under_way_at_the_fork(run_program, database):
    found = by_role(
        run_program(
            """
pool = make_pool()
connections = [pool.acquire() for _ in range(4)]
for each in connections:
    ask(each, "SELECT set_config('work_mem', '77MB', false)")
for each in connections:
    pool.release(each)
child = os.fork()
who = "parent" if child else "child"
connections = [pool.acquire() for _ in range(4)]
pids = [ask(each, "SELECT pg_backend_pid()")[0] for each in connections]
memory = {ask(each, "SHOW work_mem")[0] for each in connections}
report(who=who, pids=pids, memory=sorted(memory), sockets=sockets())
for each in connections:
    pool.release(each)
if not child:
    os._exit(0)
assert join(child) == 0
"""
        )
    )
    parent, child = found["parent"], found["child"]
    assert parent["memory"] == child["memory"] == ["4MB"]
    assert len({*parent["pids"], *child["pids"]}) == 8
    assert not set(parent["sockets"]) & set(child["sockets"])


def test_a_connect_under_way_at_the_fork(run_program, database):
    """The proxy holds the login back; so the fork finds a worker in the middle of it."""
    found = by_role(
        run_program(
            """
import warnings
from support.proxy import Proxy
proxy = Proxy("127.0.0.1", given["params"]["port"])
given["params"]["port"] = proxy.port
proxy.hang()
pool, got = make_pool(), []
asking = threading.Thread(target=lambda: got.extend(query(pool)))
asking.start()
while not proxy.accepted:
    pass
warnings.simplefilter("ignore")  # Python's, of forks beside threads
child = os.fork()
if not child:
    given["params"]["port"] = given["port"]
    report(who="child", pids=query(make_pool(), 20))
    os._exit(0)
proxy.forward()
asking.join()
report(who="parent", pids=got, again=query(pool, 20))
assert join(child) == 0
pool.close()
proxy.close()
""",
            port=database.params["port"],
        )
    )
    parent, child = found["parent"], found["child"]
    assert parent["pids"] == parent["again"]
    assert not set(parent["pids"]) & set(child["pids"])


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(run_program, method):
    found = run_program(
        """
import multiprocessing

pool = make_pool()


def work(number):
    return query(pool, 20) + [os.getpid()]


if __name__ == "__main__":
    mine = query(pool)
    context = multiprocessing.get_context(given["method"])
    with context.Pool(2) as workers:
        answers = workers.map(work, range(6), chunksize=1)
        workers.close()
        workers.join()
    report(mine=mine, after=query(pool), answers=answers)
""",
        method=method,
    )
    (facts,) = found
    assert facts["after"] == facts["mine"]
    sessions = {process: pid for pid, process in facts["answers"]}
    assert len(set(sessions.values())) == len(sessions)
    assert not set(sessions.values()) & set(facts["mine"])


def test_threads_that_use_the_pool_during_the_fork(run_program, database):
    """Their connections are theirs: the child opens its own and breaks none of theirs."""
    found = by_role(
        run_program(
            """
import warnings
warnings.simplefilter("ignore")  # Python's, of forks beside threads
pool, stop, failed, counts = make_pool(max_size=3), threading.Event(), [], []


def busy():
    count = 0
    try:
        while not stop.is_set():
            count += len(query(pool, 5))
    except BaseException as error:
        failed.append(repr(error))
    counts.append(count)


threads = [threading.Thread(target=busy) for _ in range(3)]
for thread in threads:
    thread.start()
while pool.get_stats()["requests_num"] < 50:
    pass
children = []
for _ in range(5):
    child = os.fork()
    if not child:
        report(who=f"child {os.getpid()}", pids=query(pool, 20), sockets=sockets())
        os._exit(0)
    children.append(child)
codes = [join(child) for child in children]
stop.set()
for thread in threads:
    thread.join()
report(who="parent", codes=codes, failed=failed, counts=counts, sockets=sockets(), pids=query(pool))
"""
        )
    )
    parent = found.pop("parent")
    assert parent["codes"] == [0] * 5
    assert parent["failed"] == []
    assert all(parent["counts"])
    for child in found.values():
        assert not set(child["sockets"]) & set(parent["sockets"])
        assert not set(child["pids"]) & set(parent["pids"])


def test_sessions_of_a_killed_child_end_with_it(run_program, database, tmp_path):
    program = start_program(
        tmp_path / "child.py",
        HEAD
        + """
import signal
pool = make_pool()
query(pool)
child = os.fork()
if not child:
    query(pool)
    signal.pause()
print(child, flush=True)
join(child)
print(*query(pool), flush=True)
signal.pause()
""",
        {"driver": "psycopg", "params": database.params},
    )
    child = int(program.stdout.readline())
    database.wait_for_sessions(2)
    os.kill(child, 9)
    (session,) = database.wait_for_sessions(1)
    assert int(program.stdout.readline()) == session.pid
    program.kill()
    program.communicate()
    database.wait_for_sessions(0)

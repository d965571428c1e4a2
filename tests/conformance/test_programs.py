"""Promises 6 and 10, each in a program of its own: forks and the end."""

import pytest

from tests.probing import finish, report_of, start_program

HEAD = """
import importlib, json, os, sys, threading
from carpool import Options
from carpool.registry import make
from tests.conformance.asking import run, value

given = json.loads(os.environ["PARAMS"])
module, _, name = given["path"].partition(":")
make_driver = getattr(importlib.import_module(module), name)


def make_pool(**options):
    options = given["options"] | {"max_size": 4} | options
    return make(make_driver(**given["arguments"]), Options(**options))


def query(pool, times):
    for number in range(times):
        with pool.connection() as connection:
            found = value(connection, f"SELECT {number}")
            assert found == number, (found, number)


def report(**facts):
    os.write(1, (json.dumps(facts) + "\\n").encode())


def join(child):
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)
"""


def start(tmp_path, subject, text, *flags):
    path, arguments = subject.recipe()
    given = {"path": path, "arguments": arguments, "options": dict(subject.pool_options)}
    return start_program(tmp_path / "program.py", HEAD + text, given, *flags)


FORK = """
pool = make_pool()
query(pool, 3)
leased = pool.acquire()
run(leased, "SELECT 1")
child = os.fork()
query(pool, 100)
if child == 0:
    {ending}
report(child=join(child), leased=value(leased, "SELECT 42"))
pool.release(leased)
query(pool, 10)
"""
ENDINGS = {"os._exit": "os._exit(0)", "sys.exit": "sys.exit(0)"}


@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
def test_parent_and_child_each_have_their_own(tmp_path, subject, ending):
    text = FORK.replace("{ending}", ending)
    # Python itself warns of a fork beside threads; who forks so is served all the same
    program = start(tmp_path, subject, text, "-W", "ignore::DeprecationWarning")
    assert report_of(program) == [{"child": 0, "leased": 42}]
    subject.wait_for_sessions(0)


def test_a_transaction_of_the_parents_survives_the_child(tmp_path, subject):
    text = """
pool = make_pool()
leased = pool.acquire()
run(leased, "BEGIN")
run(leased, "INSERT INTO note VALUES (1)")
child = os.fork()
if child == 0:
    sys.exit(0)
report(child=join(child))
run(leased, "COMMIT")
pool.release(leased)
"""
    program = start(tmp_path, subject, text, "-W", "ignore::DeprecationWarning")
    assert report_of(program) == [{"child": 0}]
    assert subject.ask("SELECT count(*) FROM note") == 1


STATES = {
    "unused": "",
    "idle": "query(pool, 3)",
    "leased": "leased = pool.acquire(); run(leased, 'SELECT 1')",
    "in a transaction": "leased = pool.acquire(); run(leased, 'BEGIN')",
    "resetting": "leased = pool.acquire(); run(leased, {plant}); pool.release(leased)",
    "closed": "query(pool, 1); pool.close()",
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("flags", [(), ("-X", "dev", "-W", "error")], ids=["", "strict"])
def test_the_end_is_silent_and_leaves_no_session(tmp_path, subject, state, flags):
    plant = next(iter(subject.leaks.values())).plant
    text = f"pool = make_pool()\n{STATES[state].replace('{plant}', repr(plant))}\n"
    program = start(tmp_path, subject, text, *flags)
    assert finish(program) == ("", "")
    assert program.returncode == 0
    subject.wait_for_sessions(0)


WORKERS = """
pool = make_pool(max_size=2)
started = threading.Semaphore(0)


def work():
    while True:
        with pool.connection() as connection:
            run(connection, "SELECT 1")
        started.release()


for _ in range(4):
    threading.Thread(target=work, daemon=True).start()
for _ in range(20):
    started.acquire()
"""


def test_daemon_threads_at_work_hear_nothing_of_the_end(tmp_path, subject):
    for _ in range(5):
        program = start(tmp_path, subject, WORKERS)
        assert finish(program) == ("", "")
        assert program.returncode == 0
    subject.wait_for_sessions(0)

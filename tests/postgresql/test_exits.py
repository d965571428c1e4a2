"""Promise 10: the interpreter exits promptly and silently, leaving no session on the server."""

import signal

import psutil
import pytest

from tests.postgresql.test_forks import HEAD
from tests.probing import eventually, finish, start_program

STATES = {
    "unused": "",
    "idle": "query(pool, 3)",
    "leased": "leased = pool.acquire(); ask(leased, 'SELECT 1')",
    "in a transaction": "leased = pool.acquire(); leased.cursor().execute('BEGIN')",
    "resetting": (
        "with pool.connection() as connection: connection.cursor().execute('SET work_mem = 9999')"
    ),
    "closed": "query(pool); pool.close()",
    "in a daemon at rest": (
        "taken = threading.Event(); "
        "hold = lambda c: (ask(c, 'SELECT 1'), taken.set(), threading.Event().wait()); "
        "threading.Thread(target=lambda: hold(pool.acquire()), daemon=True).start(); taken.wait()"
    ),
    "several pools": "others = [make_pool(name=str(n)) for n in range(5)]; "
    "[query(other) for other in others]",
}
ENDS = {
    "end of the program": "",
    "sys.exit": "sys.exit(0)",
    "exception": "raise RuntimeError('on purpose')",
    "sys.exit in a thread": (
        "thread = threading.Thread(target=lambda: (query(pool), sys.exit(0))); thread.start()"
    ),
    "exception in a thread": (
        "def fail(): raise RuntimeError('on purpose')\n"
        "thread = threading.Thread(target=fail); thread.start(); thread.join()"
    ),
}


@pytest.fixture(params=["psycopg", "psycopg2"])
def driver_name(request):
    return request.param


def start(tmp_path, database, driver_name, text, *flags):
    given = {"driver": driver_name, "params": database.params}
    return start_program(tmp_path / "program.py", HEAD + text, given, *flags)


@pytest.mark.parametrize("state", STATES.values(), ids=STATES)
@pytest.mark.parametrize("flags", [(), ("-X", "dev", "-W", "error")], ids=["", "strict"])
def test_any_state(tmp_path, database, driver_name, state, flags):
    text = f"pool = make_pool()\n{state}\n"
    program = start(tmp_path, database, driver_name, text, *flags)
    assert finish(program) == ("", "")
    assert program.returncode == 0
    database.wait_for_sessions(0)


FORGOTTEN = {
    "at once": "pool.acquire()",
    "by a thread": "thread = threading.Thread(target=pool.acquire); thread.start(); thread.join()",
}


@pytest.mark.parametrize("state", FORGOTTEN.values(), ids=FORGOTTEN)
def test_a_forgotten_connection_is_complained_of(tmp_path, database, driver_name, state):
    program = start(tmp_path, database, driver_name, f"pool = make_pool()\n{state}\n")
    _, err = finish(program)
    assert program.returncode == 0
    assert err.endswith(f"/{database.name}: a connection was dropped without being given back\n")
    assert err.count("\n") == 1
    database.wait_for_sessions(0)


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_any_end(tmp_path, database, driver_name, end):
    text = f"pool = make_pool(min_size=1)\nleased = pool.acquire()\nquery(pool)\n{end}\n"
    program = start(tmp_path, database, driver_name, text, "-X", "dev", "-W", "error")
    _, err = finish(program)
    assert program.returncode == (1 if "raise" in end and "Thread" not in end else 0)
    if "raise" in end:
        assert err.count("Traceback") == 1
        assert err.endswith("RuntimeError: on purpose\n")
    else:
        assert err == ""
    database.wait_for_sessions(0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_a_signal(tmp_path, database, driver_name, number):
    text = (
        "pool = make_pool()\nleased = pool.acquire()\nquery(pool)\n"
        "print('ready', flush=True)\nthreading.Event().wait()"
    )
    program = start(tmp_path, database, driver_name, text)
    assert program.stdout.readline() == "ready\n"
    assert len(database.sessions()) == 2
    program.send_signal(number)
    _, err = finish(program)
    assert program.returncode == -number
    assert err == "" or (number == signal.SIGINT and err.endswith("KeyboardInterrupt\n"))
    database.wait_for_sessions(0)


def test_while_a_connect_hangs(tmp_path, database, driver_name):
    """The end of the program waits for nobody who may never answer."""
    text = """
from support.proxy import Proxy
proxy = Proxy("127.0.0.1", given["params"]["port"])
given["params"]["port"] = proxy.port
pool = make_pool()
query(pool)
proxy.hang()
leased = pool.acquire()
try:
    pool.acquire(timeout=0.1)
except Exception as error:
    assert "within 0.1 s" in str(error)
"""
    program = start(tmp_path, database, driver_name, text)
    _, err = finish(program)
    assert (program.returncode, err) == (0, "")
    database.wait_for_sessions(0)


def test_while_the_server_is_down(tmp_path, driver_name, own_postgres):
    text = """
import signal
pool = make_pool(min_size=2)
pool.wait()
print("ready", flush=True)
os.kill(os.getpid(), signal.SIGSTOP)  # stops until told to go on
"""
    given = {"driver": driver_name, "params": own_postgres.params}
    program = start_program(tmp_path / "program.py", HEAD + text, given)
    assert program.stdout.readline() == "ready\n"
    eventually(lambda: psutil.Process(program.pid).status() == psutil.STATUS_STOPPED)
    own_postgres.kill()
    program.send_signal(signal.SIGCONT)
    _, err = finish(program)
    assert (program.returncode, err) == (0, "")

"""Threads of one's own that never call `close`."""

import pytest

from tests.serving.programs import program


@pytest.fixture
def run_program(postgres, mode, tmp_path):
    """Run a program whose pool has three connections, of which the server admits no more."""

    def run(text):
        return program(postgres, mode, tmp_path / "program.py", text, size=3, limit=3)

    return run


def test_threads_that_end(run_program):
    text = """
for turn in range(5):
    check(in_threads(write, [f"{turn} {number}" for number in range(12)]))
all_at_once("after")
"""
    with run_program(text) as (_, shown):
        assert len(shown.tokens()) == 5 * 12 + 3


def test_threads_see_nothing_of_another_s_session(run_program):
    text = """
found = in_threads(leave_marks, [str(number) for number in range(12)])
for token, seen in found.items():
    expected = {"before": None, "after": token, "locked": 1, "table": [(token,)]}
    assert seen == expected, seen
all_at_once("after")
"""
    with run_program(text):
        pass


BEGINNINGS = {
    "atomic": "transaction.atomic().__enter__(); Token.objects.create(text=token)",
    "autocommit": "transaction.set_autocommit(False); Token.objects.create(text=token)",
    "by hand": "begin_by_hand(token)",
    "exception": "transaction.atomic().__enter__(); Token.objects.create(text=token); sys.exit()",
}


@pytest.mark.parametrize("begin", BEGINNINGS.values(), ids=BEGINNINGS)
def test_threads_that_end_in_the_midst_of_a_transaction(run_program, begin):
    text = f"""
import sys

def begin(token):
    {begin}

for turn in range(4):
    in_threads(begin, [f"lost {{turn}} {{number}}" for number in range(3)])
all_at_once("after")
report(run("SELECT count(*) FROM pg_stat_activity WHERE usename = current_user"
           " AND state LIKE 'idle in transaction%'"))
"""
    with run_program(text) as (reports, shown):
        assert reports == [[[0]]]
        assert shown.tokens() == ["after 0", "after 1", "after 2"]


def test_threads_that_live_on(run_program, mode):
    """In session mode each holds a connection until it ends, in transaction mode none does."""
    count = 12 if mode == "transaction" else 3
    text = f"""
with ThreadPoolExecutor({count}) as threads:
    for turn in range(5):
        together = threading.Barrier({count})

        def work(token):
            together.wait(30)
            return write(token)

        tokens = [f"{{turn}} {{number}}" for number in range({count})]
        check(dict(zip(tokens, threads.map(work, tokens))))
all_at_once("after")
"""
    with run_program(text) as (_, shown):
        assert len(shown.tokens()) == 5 * count + 3


def test_what_threads_that_live_on_hold(run_program, mode):
    """In session mode the next one is told so, if it does not get to wait until they end."""
    text = """
stay = threading.Event()
used = threading.Barrier(4)

def hold():
    run("SELECT 1")
    used.wait(30)
    stay.wait(30)

threads = [threading.Thread(target=hold) for _ in range(3)]
for each in threads:
    each.start()
used.wait(30)
pool = connection.pool
try:
    pool.release(pool.acquire(timeout=0.01))
except OperationalError as error:
    report(type(error).__name__)
else:
    report("acquired")
stay.set()
for each in threads:
    each.join()
all_at_once("after")
"""
    with run_program(text) as (reports, _):
        assert reports == ["PoolTimeout" if mode == "session" else "acquired"]


@pytest.mark.parametrize("last", ["run('SELECT 1')", "begin_by_hand('lost')", "run(SLOW)"])
def test_daemon_threads_at_the_end_of_the_program(run_program, last):
    text = f"""
SLOW = "SELECT pg_sleep(0.5)"
begun = threading.Barrier(4)

def work():
    run("SELECT 1")
    begun.wait(30)
    {last}
    begun.wait(30)

for _ in range(3):
    threading.Thread(target=work, daemon=True).start()
begun.wait(30)
"""
    with run_program(text) as (_, shown):
        shown.wait_until_nobody_is_there()
        assert shown.tokens() == []

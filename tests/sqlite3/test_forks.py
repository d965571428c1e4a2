"""Promise 6: after a fork, parent and child share no connection, and no lock is missing."""

import pytest

from tests.probing import report_of, start_program

HEAD = '''
import json, os, sys, threading
from pathlib import Path
from carpool import Options, Pool
from carpool.sqlite3.driver import SQLiteDriver
from tests.sqlite3.file import File

file = File(json.loads(os.environ["PARAMS"]))


def make_pool(**options):
    return Pool(SQLiteDriver(file.path, isolation_level=None), Options(**options))


def write(pool, number):
    with pool.connection() as connection:
        connection.execute("INSERT INTO note VALUES (?)", [number])
        return sorted(row[0] for row in connection.execute("SELECT number FROM note"))


def report(**facts):
    os.write(1, (json.dumps(facts) + "\\n").encode())


class Child:
    """A forked child that does one thing, and then another when it is told to."""

    def __init__(self, first, then=lambda: None):
        back, self._word = os.pipe()
        self._done, done = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            try:
                first()
                os.write(done, b"x")
                os.read(back, 1)
                then()
                os._exit(0)
            except BaseException as error:
                print(error, file=sys.stderr, flush=True)
                os._exit(1)
        os.read(self._done, 1)

    def go_on(self):
        os.write(self._word, b"x")
        _, status = os.waitpid(self.pid, 0)
        assert status == 0, status
'''
JOURNALS = pytest.mark.parametrize("journal", ["DELETE", "WAL"])


@pytest.fixture
def run_program(tmp_path, file):
    """Run a program after the head above, in Python's strict mode; return what it reported."""

    def run(text):
        flags = ["-X", "dev", "-W", "error"]
        return report_of(start_program(tmp_path / "p.py", HEAD + text, str(file.path), *flags))

    return run


@JOURNALS
def test_what_the_child_writes_stays_when_the_parent_closes(run_program, file, journal):
    """With the parent's connection open at the fork, SQLite loses the second write."""
    file.query(f"PRAGMA journal_mode = {journal}")
    run_program("""
pool = make_pool()
write(pool, 1)
child = Child(lambda: write(pool, 2), lambda: write(pool, 3))
assert write(pool, 4) == [1, 2, 4]
pool.close()
assert file.query("SELECT count(*) FROM note") == [(3,)]  # a process that opens and closes
child.go_on()
""")
    assert file.query("SELECT number FROM note ORDER BY 1") == [(1,), (2,), (3,), (4,)]
    assert file.query("PRAGMA integrity_check") == [("ok",)]


def test_the_child_has_locks_of_its_own(run_program, file):
    file.query("PRAGMA journal_mode = WAL")
    (found,) = run_program("""
pool = make_pool(min_size=1)
pool.wait()
write(pool, 1)
def first():
    write(pool, 2)
    report(locks=file.locks(os.getpid()), descriptors=len(file.descriptors()))
Child(first).go_on()
pool.close()
""")
    assert [kind for _, kind in found["locks"]] == ["READ"]
    assert found["descriptors"] == 1


@JOURNALS
def test_both_write_at_once(run_program, file, journal):
    file.query(f"PRAGMA journal_mode = {journal}")
    run_program("""
pool = make_pool(max_size=2)
write(pool, 0)
def many(first):
    for number in range(100):
        write(pool, first + number)
children = [Child(lambda: None, lambda first=first: many(first)) for first in (1000, 2000)]
for child in children:
    os.write(child._word, b"x")
many(3000)
for child in children:
    assert os.waitpid(child.pid, 0)[1] == 0
pool.close()
""")
    assert file.query("SELECT count(DISTINCT number) FROM note") == [(301,)]
    assert file.query("PRAGMA integrity_check") == [("ok",)]


def test_a_transaction_of_the_parent_outlives_the_child(run_program, file):
    run_program("""
import gc
pool = make_pool()
connection = pool.acquire()
connection.execute("BEGIN IMMEDIATE")
connection.execute("INSERT INTO note VALUES (1)")
cursor = connection.execute("SELECT 1 UNION SELECT 2")
cursor.fetchone()
def first():
    global connection, cursor
    pool.release(connection)
    del connection, cursor
    gc.collect()
Child(first).go_on()
assert "locked" in file.refusal()
assert cursor.fetchone() == (2,)
connection.execute("COMMIT")
pool.release(connection)
pool.close()
""")
    assert file.query("SELECT number FROM note") == [(1,)]


@pytest.mark.parametrize("end", ["sys.exit(0)", "os._exit(0)"])
def test_the_end_of_the_child_closes_nothing_of_the_parent_s(run_program, file, end):
    file.query("PRAGMA journal_mode = WAL")
    run_program(f"""
pool = make_pool()
connection = pool.acquire()
connection.execute("INSERT INTO note VALUES (1)")
pid = os.fork()
if not pid:
    {end}
assert os.waitpid(pid, 0)[1] == 0
assert [kind for _, kind in file.locks(os.getpid())] == ["READ"]
connection.execute("INSERT INTO note VALUES (2)")
pool.release(connection)
pool.close()
""")
    assert file.query("SELECT number FROM note") == [(1,), (2,)]


def test_other_threads_may_hold_connections(run_program, file):
    """... at rest: what a thread computes at the fork locks the child out, as without a pool."""
    run_program("""
import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # Python's, of forks beside threads
pool = make_pool(max_size=3)
held, done = threading.Barrier(3), threading.Event()
def work():
    with pool.connection() as connection:
        connection.execute("SELECT count(*) FROM note").fetchone()
        held.wait()
        done.wait()
        connection.execute("INSERT INTO note VALUES (0)")
threads = [threading.Thread(target=work) for _ in range(2)]
for thread in threads:
    thread.start()
held.wait()
child = Child(lambda: write(pool, 1), lambda: write(pool, 2))
write(pool, 3)
done.set()
for thread in threads:
    thread.join()
child.go_on()
pool.close()
""")
    assert file.query("SELECT number FROM note ORDER BY 1") == [(0,), (0,), (1,), (2,), (3,)]


def test_a_program_ends_without_a_word_and_leaves_no_wal(run_program, file):
    file.query("PRAGMA journal_mode = WAL")
    run_program("""
pool = make_pool(min_size=2)
pool.wait()
write(pool, 1)
kept = pool.acquire()
""")
    assert [each.name for each in file.path.parent.glob("shop.db*")] == ["shop.db"]
    assert file.query("SELECT number FROM note") == [(1,)]

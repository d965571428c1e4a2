"""The broker is killed, ended or replaced: no request notices, and nothing of it lingers."""

import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

from carpool.host import lock
from tests.host.brokers import processes_of
from tests.host.hosts import SOON
from tests.host.nursery import Failed
from tests.probing import eventually, finish

USE = "with pool.connection() as c: run(c, 'SELECT 1')"
ACQUIRE = "c = pool.acquire()"
RELEASE = "pool.release(c)"
LINGERING = 10.0  # seconds: what the old broker's sessions may take to end after their last use
WRITE = ("BEGIN", "UPDATE account SET total = total + 1 WHERE id = {}", "COMMIT")


@contextmanager
def load(host, count):
    """Have processes execute transactions meanwhile; yields them. None may fail."""
    workers = [host.start() for _ in range(count)]
    ids = range(count)
    workers[0].do("c = pool.acquire()")
    workers[0].do("run(c, 'CREATE TABLE account (id int primary key, total int)')")
    for number in ids:
        workers[0].do(f"run(c, 'INSERT INTO account VALUES ({number}, 0)')")
    workers[0].do("pool.release(c)")
    for number, each in zip(ids, workers, strict=True):
        each.do(f"load = Load(pool, *{[text.format(number) for text in WRITE]!r})")
    goes_on(workers)
    yield workers
    done = 0
    for each in workers:
        leases, errors = each.do("load.stop()")
        assert errors == []
        done += leases
    assert host.database.query("SELECT SUM(total) FROM account")[0][0] == done


def goes_on(workers):
    """Wait until every process has done some more."""
    before = [each.do("load.done") for each in workers]
    for worker, done in zip(workers, before, strict=True):
        eventually(lambda worker=worker, done=done: worker.do("load.done") > done + 2)


def nothing_is_left_of(host, sessions):
    eventually(lambda: not sessions & host.ids(), LINGERING)


def kill(host):
    host.kill_broker()


def terminate(host):
    host.kill_broker(signal.SIGTERM)


def restart(host):
    program = "import sys; from carpool.__main__ import main; sys.exit(main())"
    command = ["broker", "restart", f"--directory={host.place.root}"]
    done = subprocess.Popen(
        [sys.executable, "-c", program, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    out, _ = finish(done)
    assert done.returncode == 0, out


ends = pytest.mark.parametrize("end", [kill, terminate, restart], ids=lambda end: end.__name__)


# -------------------------------------------------------------------- under load


@ends
def test_no_request_fails_and_another_takes_over(make_host, end):
    host = make_host(3)
    with load(host, 5) as workers:
        for _ in range(2):
            old, sessions = host.broker.pid, host.ids()
            end(host)
            goes_on(workers)
            assert host.broker.pid != old
            nothing_is_left_of(host, sessions)
    assert [each.pid for each in processes_of(host.place)] == [host.broker.pid]


@ends
def test_a_transaction_goes_on_and_its_session_ends_with_it(make_host, end):
    host = make_host(2)
    worker, other = host.start(), host.start()
    other.do(USE)
    worker.do(ACQUIRE)
    worker.do("run(c, 'CREATE TABLE kept (number int)')")
    worker.do("run(c, 'BEGIN')")
    worker.do("run(c, 'INSERT INTO kept VALUES (1)')")
    (session,) = [worker.do(f"value(c, {host.session_id!r})")]
    end(host)
    worker.do("run(c, 'INSERT INTO kept VALUES (2)')")
    worker.do("run(c, 'COMMIT')")
    assert session in host.ids()
    other.do(USE, SOON + 1)
    worker.do(RELEASE)
    nothing_is_left_of(host, {session})
    assert host.database.query("SELECT COUNT(*) FROM kept")[0][0] == 2
    worker.do(USE, SOON)


# ----------------------------------------------------------- nobody asks for more


@ends
def test_sessions_of_idle_processes_end_too(make_host, end):
    host = make_host(2)
    workers = [host.start() for _ in range(3)]
    workers[0].do(ACQUIRE)
    workers[1].do(ACQUIRE)
    for each in workers[:2]:
        each.do(RELEASE)
    workers[2].do(USE)  # robs one of them
    sessions = host.ids()
    assert len(sessions) == 2
    end(host)
    nothing_is_left_of(host, sessions)
    for each in workers:
        each.do(USE, SOON + 1)


def test_who_is_robbed_harms_nobody_at_the_end_of_a_broker(make_host):
    host = make_host(1)
    robbed, user = host.start(), host.start()
    robbed.do(USE)
    user.do(ACQUIRE)
    user.tell(f"run(c, {host.sleeps_shortly!r})")
    eventually(host.working)
    host.kill_broker()
    user.answer()
    user.do("run(c, 'SELECT 1')")
    user.do(RELEASE)
    robbed.do(USE, SOON + 1)


# -------------------------------------------------------------- one stands still


def test_what_one_that_stands_still_has_counts(make_host):
    host = make_host(2)
    stopped, first, second = (host.start() for _ in range(3))
    stopped.do(USE)
    (session,) = host.ids()
    stopped.freeze()
    host.kill_broker()
    first.do(ACQUIRE)
    with pytest.raises(Failed, match="PoolTimeout"):
        second.do("pool.acquire(0.3)")
    assert session in host.ids()
    stopped.thaw()
    nothing_is_left_of(host, {session})
    second.do(ACQUIRE)
    stopped.tell(ACQUIRE)
    host.waiting(1)
    first.do(RELEASE)
    stopped.answer(SOON)


def test_one_that_stands_still_and_was_robbed_holds_up_nobody_once_it_goes_on(make_host):
    host = make_host(1)
    stopped, other = host.start(), host.start()
    stopped.do(USE)
    other.do(USE)
    stopped.freeze()
    host.kill_broker()
    other.do("eventually(lambda: not pool._lodging.present)")  # else it could do without a broker
    other.tell(USE)
    eventually(lambda: lock.holder(host.place))
    stopped.thaw()
    other.answer(SOON)


def test_in_use_at_one_that_stands_still_counts(make_host):
    host = make_host(1)
    stopped, other = host.start(), host.start()
    stopped.do(ACQUIRE)
    stopped.do("run(c, 'BEGIN')")
    stopped.freeze()
    host.kill_broker()
    other.tell(USE)
    host.waiting(1)
    stopped.thaw()
    stopped.do("run(c, 'COMMIT')")
    stopped.do(RELEASE)
    other.answer(SOON)


def test_one_killed_after_the_broker_leaves_nothing(make_host):
    host = make_host(1)
    victim, other = host.start(), host.start()
    other.do(USE)
    victim.do(ACQUIRE)
    victim.do("run(c, 'BEGIN')")
    host.kill_broker()
    other.tell(USE)
    host.waiting(1)
    victim.kill()
    other.answer(SOON)


def test_one_that_had_nothing_at_its_death_is_not_taken_in_by_what_it_left(make_host):
    host = make_host(1)
    victim, other = host.start(), host.start()
    victim.do(ACQUIRE)
    victim.do("pool.discard(c); del c")  # it knows the broker, and has nobody to watch
    host.kill_broker()
    other.do(USE)
    victim.do(ACQUIRE)
    victim.do("run(c, 'BEGIN')")
    victim.kill()
    other.do(USE, SOON)
    assert not host.working()


# ------------------------------------------------------------- its start, its end


def test_of_processes_that_race_one_broker_comes(make_host):
    host = make_host(2)
    workers = [host.start() for _ in range(8)]
    for each in workers:
        each.tell(USE)
    for each in workers:
        each.answer()
    assert [each.pid for each in processes_of(host.place)] == [host.broker.pid]


def test_processes_that_race_after_its_death_are_all_served(make_host):
    host = make_host(2)
    workers = [host.start() for _ in range(8)]
    for each in workers:
        each.do(USE)
    host.kill_broker()
    for each in workers:
        each.tell(USE)
    for each in workers:
        each.answer()
    assert [each.pid for each in processes_of(host.place)] == [host.broker.pid]


def test_it_leaves_after_the_last_client(make_host):
    host = make_host(1, broker_linger=0.2)
    worker = host.start()
    worker.do(USE)
    broker = host.broker
    worker.close()
    eventually(lambda: not broker.is_running())
    nothing_is_left_of(host, host.ids())


def test_a_rolling_restart_finds_warm_connections(make_host):
    host = make_host(2)
    with load(host, 4) as workers:
        sessions, mark = host.ids(), host.database.mark()
        assert len(sessions) == 2
        for number in range(4):
            new = host.start()
            done, errors = workers[number].do("load.stop()")
            assert (done > 0, errors) == (True, [])
            workers[number].close()
            new.do(f"load = Load(pool, *{[text.format(number) for text in WRITE]!r})")
            new.do(f"load.done = {done}")
            workers[number] = new
            goes_on([new])
        assert host.database.connections(mark, user=host.user) == 0
        assert host.ids() == sessions

"""What comes at an awkward moment: an exception, a late answer, a fork, somebody's `close`."""

import os
import signal
import socket
import threading
from contextlib import closing, suppress
from itertools import count
from pathlib import Path

import pytest

from tests.host.hosts import kind_of
from tests.host.nursery import Failed
from tests.probing import eventually

USE = "with pool.connection() as c: run(c, 'SELECT 1')"
ACQUIRE = "c = pool.acquire()"
RELEASE = "pool.release(c)"
GRANT_LOST = {  # what may fail once the broker has lent a connection
    "its answer": "from carpool.host import frames as owner; name = 'answer'",
    "its file": "owner = os; name = 'fstat'",
    "its place": "owner = os; name = 'dup2'",
}
INTERRUPTED = """
import sys

class Interrupt(BaseException):
    pass

kept = []  # connection objects, whose end would close what lies under them

def interrupted(after, receive=Shell._receive):
    left = after

    def note(frame, event, arg):
        nonlocal left
        if frame.f_code.co_name == "installed":  # the driver's: it is at its end
            sys.setprofile(None)
        elif event in ("call", "c_return"):  # it is there that Python calls signals' handlers
            left -= 1
            if not left:
                raise Interrupt

    def receiving(*args):
        Shell._receive = receive
        kept.append(args[0].connection)
        found = receive(*args)
        sys.setprofile(note)
        return found

    Shell._receive = receiving
    try:
        pool.release(pool.acquire())
    except Interrupt:
        return True
    finally:
        sys.setprofile(None)
    return False
"""
AWKWARD = """
from collections import deque

class Awkward(deque):
    def append(self, shell):
        pool._idle = deque(self)
        happen(shell)
        pool._idle.append(shell)
        happened.append(shell.key)

happened = []
pool._idle = Awkward(pool._idle)
"""
MEANWHILE = {  # as a shell is put where others find it
    "the pool is closed": "pool.close()",
    "the broker dies": "os.kill(broker, 9); eventually(lambda: shell.orphaned)",
}
PUT_BACK = {  # ways for a shell to get there
    "answer": "try: pool.acquire(0.05)\nexcept Exception: pass",
    "reset": "with pool.connection() as c: run(c, traces)",
    "check": "pool.check()",
    "exchange": "try: pool.release(pool.acquire(prefer=first))\nexcept Exception: pass",
}


def descriptors(process):
    """Return what a process has open and leads somewhere; a lease table stays with its pool."""
    found = []
    for each in Path(f"/proc/{process.pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            found.append(kind_of(str(each.readlink())))
    return sorted(each for each in found if each not in ("null", "table"))


def has_only(process, expected):
    """Wait until a process has that open and nothing else, once its objects have been collected."""
    process.do("import gc; gc.collect()")
    eventually(lambda: descriptors(process) == expected)


def close_alone(worker, host):
    """Close the pool of the last process that is to have a part in it; all ends with it."""
    (pool,) = host.ask("status")["pools"]
    worker.do("pool.close()")
    eventually(lambda: host.ask("close", pool=pool["id"])["in_use"] == [])
    eventually(lambda: not host.ids())


def test_an_exception_in_the_middle_of_an_acquire_loses_no_connection(make_host):
    """Such as a signal handler's, which comes between any two instructions."""
    worker = make_host(1).start(timeout=3)
    worker.do(USE)
    worker.do(
        "def interrupted(shell, take=Shell.take):\n"
        "    Shell.take = take\n"
        "    take(shell)\n"
        "    raise KeyError('interrupted')\n"
        "Shell.take = interrupted"
    )
    with pytest.raises(Failed, match="interrupted"):
        worker.do(ACQUIRE)
    worker.do(USE)


def test_an_exception_in_the_middle_of_a_release_loses_no_connection(make_host):
    worker = make_host(1).start(timeout=3)
    worker.do(ACQUIRE)
    worker.do(
        "def interrupted(shell, give_back=Shell.give_back):\n"
        "    Shell.give_back = give_back\n"
        "    raise KeyError('interrupted')\n"
        "Shell.give_back = interrupted"
    )
    with pytest.raises(Failed, match="interrupted"):
        worker.do(RELEASE)
    worker.do(USE)


def test_an_exception_wherever_a_grant_is_taken_in_loses_no_connection(make_host):
    """A connection that was lent, whose lock nobody remembers, would be lost to the whole host."""
    host = make_host(1)
    worker, other = host.start(timeout=5), host.start(timeout=5)
    worker.do(INTERRUPTED)
    before = descriptors(worker)
    for point in count(1):
        worker.do(USE)
        other.do("pool.discard(pool.acquire())")  # so that the next is another
        if not worker.do(f"interrupted({point})"):
            break
        other.do(USE)
        has_only(worker, before)
    assert point > 10
    other.do(USE)


@pytest.mark.parametrize("what", GRANT_LOST)
def test_a_grant_that_cannot_be_taken_in_is_given_back(make_host, what):
    host = make_host(1)
    worker, other = host.start(timeout=5), host.start(timeout=5)
    before = descriptors(worker)
    worker.do(USE)
    other.do(USE)
    worker.do(GRANT_LOST[what])
    worker.do(
        "def fail(*args, original=getattr(owner, name), **more):\n"
        "    setattr(owner, name, original)\n"
        "    raise OSError('it fails')\n"
        "setattr(owner, name, fail)"
    )
    with pytest.raises(Failed, match="it fails"):
        worker.do(ACQUIRE)
    other.do(USE)
    has_only(worker, before)
    worker.do(USE)


def test_an_answer_that_comes_too_late_is_taken_by_nobody(make_host):
    host = make_host(1)
    worker, other = host.start(), host.start()
    worker.do(USE)
    other.do(ACQUIRE)
    host.broker.suspend()
    with pytest.raises(Failed, match="answer"):
        worker.do("c = pool.acquire(0.1)")
    host.broker.resume()
    other.do(RELEASE)
    for each in (worker, other) * 3:
        each.do(USE)
    assert (host.status()["waiting"], host.status()["leased"]) == (0, 0)


def test_what_is_closed_after_its_lease_takes_nobody_s_descriptor_along(make_host):
    """Its number is another file's by then."""
    host = make_host(1)
    worker, other = host.start(), host.start()
    worker.do(ACQUIRE)
    worker.do(RELEASE)
    other.do(USE)
    worker.do("c.close(); pipes = [os.pipe() for _ in range(5)]")
    worker.do(USE)
    worker.do("[os.write(write, b'x') for _, write in pipes]")
    assert worker.do("[os.read(read, 1).decode() for read, _ in pipes]") == ["x"] * 5


def test_who_waits_for_a_connection_at_a_fork_leaves_the_child_nothing(make_host):
    """Else the broker would not see the parent's end before the child's."""
    host = make_host(1)
    worker, other = host.start(), host.start()
    worker.do(USE)
    other.do(ACQUIRE)
    worker.do("import threading; threading.Thread(target=pool.acquire, daemon=True).start()")
    host.waiting(1)
    child = worker.do("os.fork() or __import__('signal').pause()")
    try:
        worker.kill()
        eventually(lambda: host.status()["waiting"] == 0)
    finally:
        os.kill(child, signal.SIGKILL)


def test_each_of_many_waits_as_long_as_it_wants_for_a_server_that_hangs(make_host):
    """Not one after the other, though one of them alone asks the broker."""
    host = make_host(1)
    with closing(socket.create_server(("127.0.0.1", 0))) as hanging:
        where = {"host": "127.0.0.1", "port": hanging.getsockname()[1]}
        worker = host.start(params=where, timeout=3)
        worker.do(
            "import threading, time\n"
            "def acquire():\n"
            "    start = time.monotonic()\n"
            "    try: pool.acquire()\n"
            "    except Exception as error: told.append((type(error).__name__, "
            "time.monotonic() - start))\n"
            "told = []"
        )
        worker.do("acquire()")
        worker.do(
            "threads = [threading.Thread(target=acquire) for _ in range(4)]\n"
            "for each in threads: each.start()\n"
            "for each in threads: each.join()"
        )
        outcomes = worker.do("told")
        assert {kind for kind, _ in outcomes} == {"PoolTimeout"}
        assert max(seconds for _, seconds in outcomes[1:]) < 9  # one after the other: 12


@pytest.mark.parametrize("timeout", [float("inf"), threading.TIMEOUT_MAX])
def test_who_has_all_the_time_in_the_world_may_say_so(make_host, timeout):
    make_host(1).start().do(f"from math import inf\npool.release(pool.acquire({timeout!r}))")


def test_a_pool_whose_broker_has_gone_has_nothing_to_drain(make_host):
    host = make_host(1)
    worker = host.start()
    worker.do(USE)
    host.kill_broker()
    worker.do("pool.drain()")
    worker.do(USE)


def test_who_waits_for_the_first_answer_as_the_pool_is_closed_leaves_nothing(make_host):
    host = make_host(1)
    worker, other = host.start(), host.start()
    before = descriptors(worker)
    other.do(USE)
    close_alone(other, host)
    host.broker.suspend()
    worker.do(
        "import threading\n"
        "thread, told = acquire_in_vain(pool)\n"
        "eventually(pool._lodging._finding.locked)\n"
        "pool.close()"
    )
    host.broker.resume()
    worker.do("thread.join()")
    assert worker.do("told") == ["PoolClosed"]
    eventually(lambda: not host.ask("status")["pools"])
    assert not host.ids()
    has_only(worker, before)
    assert worker.do("[each.name for each in threading.enumerate()]") == ["MainThread"]


@pytest.mark.parametrize("way", PUT_BACK)
@pytest.mark.parametrize("meanwhile", MEANWHILE)
def test_what_is_put_back_too_late_is_kept_by_nobody(make_host, meanwhile, way):
    """In a pool that is closed nobody looks for it; nor would one whose broker has gone be used."""
    host = make_host(2)
    worker, other = host.start(), host.start()
    before = descriptors(worker)
    worker.do("first, c = pool.acquire(), pool.acquire(); pool.release(first); pool.release(c)")
    if way in ("answer", "check"):
        other.do("first, c = pool.acquire(), pool.acquire()")
    if way == "check":
        other.do("pool.release(first); pool.release(c)")
    sessions = host.ids()
    worker.do(f"traces, broker = {host.leaves_traces!r}, {host.broker.pid}")
    worker.do(f"def happen(shell): {MEANWHILE[meanwhile]}")
    worker.do(AWKWARD)
    worker.do(PUT_BACK[way])
    worker.do("eventually(lambda: happened)")
    if way == "answer":
        other.do("pool.release(first); pool.release(c)")
    if meanwhile == "the broker dies":
        eventually(lambda: not sessions & host.ids())
    else:
        other.do(USE)
        close_alone(other, host)
        has_only(worker, before)

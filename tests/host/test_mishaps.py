"""What comes at an awkward moment: an exception, a late answer, a fork, somebody's `close`."""

import os
import signal
import socket
import threading
from contextlib import closing

import pytest

from tests.host.nursery import Failed
from tests.probing import eventually

USE = "with pool.connection() as c: run(c, 'SELECT 1')"
ACQUIRE = "c = pool.acquire()"
RELEASE = "pool.release(c)"


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


def test_an_answer_that_comes_too_late_is_taken_by_nobody(make_host):
    host = make_host(1)
    worker, other = host.start(timeout=0.1), host.start()
    worker.do(USE)
    other.do(ACQUIRE)
    host.broker.suspend()
    with pytest.raises(Failed, match="answer"):
        worker.do(ACQUIRE)
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
        worker = host.start(params=where, timeout=1)
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
        assert max(seconds for _, seconds in outcomes[1:]) < 2.5


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

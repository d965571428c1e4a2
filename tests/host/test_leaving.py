"""A pool stays for who is on its way in, and no longer, whoever leaves it; and so does a pause."""

import os
import signal
import socket

import pytest

from carpool import Options, __version__
from carpool.host import control, lock, start
from carpool.host.handoff import OPTIONS
from carpool.host.house import SOCKETS
from support.proxy import Proxy
from tests.host.nursery import Failed, open_pool
from tests.probing import STUCK, eventually

USE = "with pool.connection() as c: run(c, 'SELECT 1')"
ROUNDS = 30


def asks_for_its_pool(host):
    """Return what a process of the host asks the broker before all else."""
    pool = open_pool(host.driver, host.params(), host.options)
    options = Options(**host.options)
    return {
        "version": __version__,
        "want": "pool",
        "kind": pool.driver.kind,
        "login": pool.driver.login(),
        "options": {name: getattr(options, name) for name in OPTIONS},
        "timeout": STUCK,
    }


def ends(host, name):
    """Tell whether the broker lets go of a pool, as nobody has a part in it."""
    return host.ask("close", pool=name)["in_use"] == []


def leave(worker, host):
    """Have a process leave its pool; it is in use then, its sessions are still there."""
    worker.do("pool.close()")
    assert host.ask("close", pool=host.status()["id"])["in_use"] == [host.status()["id"]]
    assert len(host.ids()) == 1


def test_a_pool_stays_for_who_has_asked_for_it_and_is_not_there_yet(make_host):
    host = make_host(1)
    worker = host.start()
    worker.do(USE)
    with start.connect(host.place, STUCK, STUCK) as asking:
        answer, descriptors = control.ask_with_descriptors(asking, asks_for_its_pool(host), STUCK)
        for each in descriptors:
            os.close(each)
        leave(worker, host)
    eventually(lambda: ends(host, answer["pool"]))
    eventually(lambda: not host.ids())


def test_a_pool_stays_for_who_logs_in(make_host, kind):
    host = make_host(1)
    worker = host.start()
    worker.do(USE)
    name, path = host.status()["id"], host.status()["path"]
    with socket.socket(socket.AF_UNIX) as guest:
        guest.settimeout(STUCK)
        guest.connect(f"{path}/{SOCKETS[kind]}")
        leave(worker, host)
    eventually(lambda: ends(host, name))
    eventually(lambda: not host.ids())


def test_processes_that_come_while_others_leave_are_served(make_host):
    host = make_host(3)
    workers = [host.start(timeout=STUCK) for _ in range(3)]
    for each in workers:
        each.tell(
            f"for n in range({ROUNDS}):\n"
            f"    pool = open_pool({host.driver!r}, {host.params()!r}, {host.options!r})\n"
            f"    {USE}\n"
            "    pool.close()"
        )
    for each in workers:
        each.answer()


def test_a_child_forked_while_the_broker_is_asked_keeps_no_pool(make_host):
    """It has a copy of the socket by which a thread of its parent asks, and knows nothing of it."""
    host = make_host(1)
    with Proxy("127.0.0.1", host.database.server.port) as proxy:
        proxy.hang()
        worker = host.start(params={"port": proxy.port})
        worker.do(
            "import threading\n"
            "def work(): pool.release(pool.acquire())\n"
            "thread = threading.Thread(target=work); thread.start()"
        )
        host.waiting(1)
        child = worker.do("os.fork() or __import__('signal').pause()")
        proxy.forward()
        worker.do("thread.join()")
        name = host.status()["id"]
        worker.do("pool.close()")
        try:
            eventually(lambda: ends(host, name))
        finally:
            os.kill(child, signal.SIGKILL)


def test_the_broker_leaves_after_a_guest_that_was_the_last(make_host, kind):
    host = make_host(1, broker_linger=1)
    worker = host.start()
    worker.do(USE)
    path, status = host.status()["path"], {"version": __version__, "want": "status"}
    with socket.socket(socket.AF_UNIX) as guest:
        guest.connect(f"{path}/{SOCKETS[kind]}")
        with start.connect(host.place, STUCK, STUCK) as asking:
            worker.close()

            def is_left_alone():
                told = control.ask_with_descriptors(asking, status, STUCK)[0]["broker"]
                return not told["clients"] and told["uptime"] > 2  # when it last looked by itself

            eventually(is_left_alone)
            before = host.descriptors().count("socket")
        eventually(lambda: host.descriptors().count("socket") < before)
    eventually(lambda: lock.holder(host.place) is None)


def test_who_waits_in_the_pool_that_is_closed_keeps_it_no_longer(make_host):
    host = make_host(1)
    with Proxy("127.0.0.1", host.database.server.port) as proxy:
        worker = host.start(params={"port": proxy.port})
        worker.do(USE)
        proxy.hang()
        proxy.cut()
        worker.do("thread, told = acquire_in_vain(pool)")
        host.waiting(1)
        worker.do("pool.close(); thread.join()")
        eventually(lambda: not host.ask("status")["pools"])
        assert worker.do("told") == ["PoolClosed"]


def test_who_is_in_a_hurry_leaves_the_first_login_to_those_who_come_later(make_host):
    host = make_host(1)
    host.limit_to(3)  # of two pools
    host.start(params={host.database.server.DBNAME: host.database.server.MAIN}).do(USE)
    with Proxy("127.0.0.1", host.database.server.port) as proxy:
        proxy.hang()
        worker = host.start(params={"port": proxy.port})
        with pytest.raises(Failed, match="within"):
            worker.do("pool.acquire(0.1)")
        assert [each["opening"] for each in host.ask("status")["pools"]] == [0, 1]
        proxy.forward()
        eventually(lambda: host.ask("status")["pools"][1]["idle"])


# ------------------------------------------------------------------------------ a pause


def is_paused(worker):
    """Tell whether a process is lent nothing, as its pool is paused."""
    with pytest.raises(Failed, match="PAUSED") as caught:
        worker.do("pool.acquire(0.1)")
    return caught.value.kind == "PoolTimeout"


def test_a_pause_outlasts_the_processes(make_host):
    host = make_host(1)
    worker, late = host.start(), host.start()
    worker.do(USE)
    host.ask("pause")
    worker.do("pool.close()")
    assert is_paused(late)
    host.ask("resume")
    late.do(USE)


def test_a_pause_is_told_where_the_pool_has_gone_meanwhile(make_host):
    """The process knows of a pool that the broker has let go of, as it had no part in it."""
    host = make_host(1)
    worker, other = host.start(), host.start()
    worker.do(USE)
    worker.do("os.waitpid(os.fork() or os._exit(0), 0)")  # before which it gives all back
    other.do(USE)
    other.do("pool.close()")
    worker.do("pool.pause()")
    assert is_paused(worker)


def test_a_pause_is_told_the_next_broker(make_host):
    host = make_host(1)
    worker = host.start()
    worker.do(USE)
    host.kill_broker()
    worker.do("pool.pause()")
    assert is_paused(worker)
    worker.do("pool.resume()")
    worker.do(USE)


def test_who_waits_for_the_first_login_is_told_what_it_waits_for(make_host):
    """Here: for connections that processes have from a broker that has died."""
    host = make_host(1)
    holder, worker = host.start(), host.start()
    holder.do("c = pool.acquire()")
    host.kill_broker()
    for _ in range(2):
        with pytest.raises(Failed, match="within 1 s; size") as caught:
            worker.do("pool.acquire(1)")
        assert caught.value.kind == "PoolTimeout"
    holder.do("pool.release(c)")
    worker.do(USE)

"""A pool that one process leaves stays for another that is on its way in, at whatever point."""

import os
import socket

from carpool import Options, __version__
from carpool.host import control, start
from carpool.host.handoff import OPTIONS
from carpool.host.house import SOCKETS
from tests.host.nursery import open_pool
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

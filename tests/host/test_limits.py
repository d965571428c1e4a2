"""What runs out or goes away, and comes back: servers, sessions, descriptors, room on the disk."""

import resource
from contextlib import contextmanager

import psutil
import pytest

from support.proxy import Proxy
from tests.host.hosts import HOSTS, SOON, host_on
from tests.host.nursery import Failed
from tests.probing import eventually

USE = "with pool.connection() as c: run(c, 'SELECT 1')"
ACQUIRE = "c = pool.acquire()"
RELEASE = "pool.release(c)"
NOTICED = "all(each._poll(0) for each in pool._idle if each.is_own())"


def works_again(worker):
    """Wait until requests are served again; what fails until then says why."""

    def works():
        try:
            worker.do(USE)
        except Failed:
            return False
        return True

    eventually(works, 20)


# -------------------------------------------------------------------- the server


@pytest.fixture
def own_host(request, kind):
    """A host whose server is its own."""
    own = {"postgresql": "own_postgres", "mysql": "own_mariadb"}[kind]
    with host_on(kind, request, 2, server=own) as host:
        yield host


def test_a_restart_of_the_server(own_host):
    idle, busy = own_host.start(), own_host.start()
    idle.do(USE)
    busy.do(ACQUIRE)
    own_host.database.server.restart()
    with pytest.raises(Failed, match=r"AdminShutdown|OperationalError"):
        busy.do("run(c, 'SELECT 1')")
    busy.do(RELEASE)
    idle.do(USE)  # what is dead is not handed out
    busy.do(USE)


@contextmanager
def through_a_proxy(host):
    with Proxy("127.0.0.1", host.database.server.port) as proxy:
        yield proxy, {"port": proxy.port}


def test_a_server_that_cannot_be_reached_for_a_while(make_host):
    host = make_host(2)
    with through_a_proxy(host) as (proxy, params):
        workers = [host.start(params=params, timeout=2) for _ in range(2)]
        for each in workers:
            each.do(USE)
        proxy.refuse()
        proxy.cut()
        for each in workers:  # it takes a moment to arrive
            each.do(f"eventually(lambda: {NOTICED})")
        for each in workers:
            with pytest.raises(Failed, match=r"OperationalError|PoolUnavailable"):
                each.do(ACQUIRE)
        proxy.forward()
        for each in workers:
            works_again(each)


def test_a_server_that_is_not_there_from_the_start(make_host):
    host = make_host(1)
    with through_a_proxy(host) as (proxy, params):
        proxy.refuse()
        worker = host.start(params=params, timeout=2)
        with pytest.raises(Failed, match=r"refused|Can't connect"):
            worker.do(ACQUIRE)
        proxy.forward()
        works_again(worker)


def test_connections_that_break_are_replaced(make_host):
    host = make_host(2)
    with through_a_proxy(host) as (proxy, params):
        workers = [host.start(params=params) for _ in range(3)]
        for _ in range(3):
            for each in workers:
                each.do(USE)
            proxy.reset()
            for each in workers:  # it takes a moment to arrive
                each.do(f"eventually(lambda: {NOTICED})")
        for each in workers:
            each.do(USE)


def test_what_the_server_does_not_give_is_waited_for(make_host):
    host = make_host(3)
    host.limit_to(1)
    host.refusals = lambda: 0  # they are what this is about
    holder, other = host.start(), host.start()
    holder.do(ACQUIRE)
    other.tell(USE)
    host.waiting(1)
    eventually(lambda: "too many connections" in last_error(host) or "1226" in last_error(host))
    holder.do(RELEASE)
    other.answer(SOON)


def last_error(host):
    return host.status()["last_error"]


def test_a_server_that_is_full_says_so(make_host):
    host = make_host(1, timeout=2)
    host.limit_to(1)
    host.refusals = lambda: 0  # as above
    squatter, worker = host.start(name="squatter"), host.start()
    squatter.do("other = driver.connect({})")
    with pytest.raises(Failed, match=r"too many connections|max_user_connections"):
        worker.do(ACQUIRE)
    squatter.do("driver.close(other, 5)")
    works_again(worker)


# --------------------------------------------------------------- descriptors, disk


@contextmanager
def limited(process, what, most):
    """Have the kernel limit a process; that it may be raised again needs the hard limit kept."""
    before = resource.prlimit(process.pid, what)
    resource.prlimit(process.pid, what, (most, before[1]))
    try:
        yield
    finally:
        resource.prlimit(process.pid, what, before)


def test_a_broker_without_descriptors_serves_those_it_has(make_host):
    host = make_host(2)
    workers = [host.start() for _ in range(2)]
    for each in workers:
        each.do(ACQUIRE)
    for each in workers:
        each.do(RELEASE)
    late = host.start(timeout=20)
    with limited(host.broker, resource.RLIMIT_NOFILE, 3):
        late.tell(USE)
        eventually(lambda: "Too many open files" in host.log())
        used = sum(host.broker.cpu_times()[:2])
        for each in workers * 5:
            each.do(USE, SOON)
        lines = host.log().count("Too many open files")
        assert lines < 50, "the log is flooded"
        assert sum(host.broker.cpu_times()[:2]) - used < 0.5, "the broker turns in circles"
    late.answer()
    for each in workers:
        each.do(USE, SOON)


def test_a_worker_without_descriptors_loses_no_connection(make_host):
    host = make_host(1)
    poor, other = host.start(), host.start()
    poor.do(USE)
    other.do(USE)
    with limited(psutil.Process(poor.pid), resource.RLIMIT_NOFILE, 3), pytest.raises(Failed):
        poor.do(ACQUIRE)
    for each in (other, poor, other):
        each.do(USE, SOON)


def test_no_room_for_the_lease_table(make_host):
    host = make_host(1)
    host.start().do(USE)
    other = host.start(params={host.database.server.DBNAME: host.database.server.MAIN})
    with (
        limited(host.broker, resource.RLIMIT_FSIZE, 0),
        pytest.raises(Failed, match=r"PoolError|OperationalError") as caught,
    ):
        other.do(ACQUIRE)
    assert "too large" in caught.value.text or "space" in caught.value.text
    host.start().do(USE, SOON)


# ------------------------------------------------------------------ what is told to it


def test_pause_and_resume(make_host):
    host = make_host(2)
    idle, busy = host.start(), host.start()
    idle.do(USE)
    busy.do(ACQUIRE)
    assert host.ask("pause")["ok"]
    idle.tell(USE)
    host.waiting(1)
    busy.do("run(c, 'SELECT 1')")
    busy.do(RELEASE)
    busy.tell(USE)
    host.waiting(2)
    assert host.status()["paused"]
    assert host.status()["leased"] == 0
    assert host.ask("resume")["ok"]
    idle.answer(SOON)
    busy.answer(SOON)


def test_drain_replaces_every_connection(make_host):
    host = make_host(2)
    idle, busy = host.start(), host.start()
    busy.do(ACQUIRE)
    idle.do(USE)
    before = host.ids()
    assert len(before) == 2
    kept = busy.do(f"value(c, {host.session_id!r})")
    assert host.ask("drain")["ok"]
    eventually(lambda: host.ids() & before == {kept})
    busy.do("run(c, 'SELECT 1')")
    busy.do(RELEASE)
    eventually(lambda: not host.ids() & before)
    for each in (idle, busy):
        each.do(USE)


def test_kinds_are_all_tested():
    assert set(HOSTS) == {"postgresql", "mysql"}

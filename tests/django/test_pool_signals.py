"""`carpool.signals`: what receivers hear, by way of real requests to a real server."""

import gc
import os
import re
import threading
import weakref
from types import SimpleNamespace

import pytest
from django.db.utils import OperationalError
from django.dispatch import receiver

from carpool import Pool, PoolTimeout, signals
from carpool.host.pool import HostPool
from carpool.pool import hooks
from tests.conformance.host import broker_directory
from tests.django.asking import pid_of, run, texts
from tests.django.models import CREATE
from tests.pool.fake import eventually
from tests.probing import ROOT

__all__ = ["broker_directory"]
SIGNALS = {name: getattr(signals, name) for name in signals.__all__}
DOCS = (ROOT / "docs" / "hooks.md").read_text()
QUICK = ("connection_acquired", "connection_released")


@pytest.fixture
def heard():
    """What receivers of all signals are told, in order: name, sender, and the rest.

    Of the test's own pools alone: those that are there already may be closing what idles there.
    """
    seen, others = [], weakref.WeakSet(hooks._pools)
    receivers = {}
    for name, signal in SIGNALS.items():

        def hear(sender, name=name, **facts):
            del facts["signal"]
            if facts["pool"] not in others:
                seen.append((name, sender, facts))

        receivers[name] = hear
        signal.connect(hear)
    yield seen
    for name, hear in receivers.items():
        assert SIGNALS[name].disconnect(hear)
    assert nobody_listens()


def nobody_listens():
    return not (hooks.opened or hooks.acquired or hooks.released or hooks.closed)


def names(heard):
    return [name for name, *_ in heard]


@pytest.fixture(params=["process", "host"])
def share(request):
    """Options of the pool for each way to share."""
    if request.param == "process":
        return {}
    directory = request.getfixturevalue("broker_directory")
    return {"share": "host", "broker_dir": directory}


# ------------------------------------------------------------------- what is told


def test_a_request(use, database, site, heard):
    wrapper = use()
    site("pid")
    wrapper.close_pool()
    assert names(heard) == [
        "connection_opened",
        "connection_acquired",
        "connection_released",
        "connection_closed",
    ]
    assert {sender for _, sender, _ in heard} == {Pool}
    told = {name: facts for name, _, facts in heard}
    (opened, acquired, released, closed) = told.values()
    assert len({facts["pool"] for facts in told.values()}) == 1
    assert len({id(facts["connection"]) for facts in told.values()}) == 1
    assert 0 < opened["seconds"] <= acquired["waited"]
    assert acquired["reused"] is False
    assert released["held"] > 0
    assert closed["reason"] == "drained"


@pytest.mark.psycopg3
def test_with_a_pool_of_the_host_no_openings_are_told(use, database, heard, broker_directory):
    connection = use({"share": "host", "broker_dir": broker_directory})
    for _ in range(2):
        pid_of(connection)
        connection.close()
    assert names(heard) == ["connection_acquired", "connection_released"] * 2
    assert {sender for _, sender, _ in heard} == {HostPool}
    assert [facts["reused"] for name, _, facts in heard if name == QUICK[0]] == [False, True]
    assert all(facts["held"] > 0 for name, _, facts in heard if name == QUICK[1])
    assert all(facts["waited"] > 0 for name, _, facts in heard if name == QUICK[0])


@pytest.mark.psycopg3
def test_an_exhausted_pool(use, database, heard, in_thread, share):
    connection = use({"max_size": 1, **share})
    pid_of(connection)
    with pytest.raises(OperationalError) as raised:
        in_thread(connection.pool.acquire, 0.05)
    ((_, _, facts),) = [each for each in heard if each[0] == "pool_exhausted"]
    assert isinstance(facts["error"], PoolTimeout)
    assert facts["waited"] > 0
    assert str(facts["error"]) == str(raised.value)
    assert facts["pool"] is connection.pool


@pytest.mark.psycopg3
def test_a_leak(use, database, heard, share):
    connection = use({"leak_warning": 0.05, **share})
    held_too_long(connection)
    eventually(lambda: "leak_detected" in names(heard))
    ((_, _, facts),) = [each for each in heard if each[0] == "leak_detected"]
    assert facts["connection"] is connection.connection
    assert facts["held"] >= 0.05
    assert "held_too_long" in facts["stack"]


def held_too_long(connection):
    run(connection, "SELECT 1")


def test_the_example_of_the_docs(use, database, monkeypatch):
    monkeypatch.setattr(signals.connection_acquired, "receivers", [])
    (code,) = re.findall(r"```python\n(from django.*?)```", DOCS, re.DOTALL)
    counted = []
    metrics = SimpleNamespace(count=lambda name, pool: counted.append(pool))
    names = {"metrics": metrics}
    exec(code.replace("0.1", "0"), names)
    connection = use()
    pid_of(connection)
    assert counted == [connection.pool.name]
    assert signals.connection_acquired.disconnect(names["note_long_waits"])


@pytest.mark.parametrize("name", SIGNALS)
def test_the_docs_name_what_is_told(use, database, heard, in_thread, name):
    (row,) = re.findall(rf"^\| `{name}` \|(.*)$", DOCS, re.MULTILINE)
    connection = use({"max_size": 1, "leak_warning": 0.05})
    pid_of(connection)
    with pytest.raises(OperationalError):
        in_thread(connection.pool.acquire, 0.05)
    eventually(lambda: "leak_detected" in names(heard))
    connection.close()
    connection.close_pool()
    facts = next(facts for each, _, facts in heard if each == name)
    assert {each for each in facts if f"`{each}`" not in row} == {"pool"}


# ---------------------------------------------------------------- what it changes


@pytest.fixture(params=["session", "transaction"])
def connection(request, use, database, share):
    """Django's connection, in each mode and of each way to share."""
    database.query(CREATE)
    return use({"mode": request.param, **share})


@pytest.fixture(params=["nobody", "somebody"])
def listening(request):
    """Who listens."""
    if request.param == "somebody":
        request.getfixturevalue("heard")


@pytest.mark.psycopg3
@pytest.mark.usefixtures("listening")
def test_a_clean_request_costs_no_statement_more(database, site, connection):
    site("one-query")
    mark = database.mark()
    for _ in range(3):
        assert site("one-query") == (200, "[]")
    connection.close()
    connection.pool.release(connection.pool.acquire())  # which reads what is still to be read
    assert len(texts(database.statements(mark))) == 3
    assert database.connections(mark) == 0
    stats = connection.pool.get_stats()
    assert stats["resets"] == 0
    assert stats["requests_queued"] <= 1  # the first, for which there was none


def test_receivers_that_fail(use, database, site, caplog):
    def fail(**_kwargs):
        raise RuntimeError("on purpose")

    for signal in SIGNALS.values():
        signal.connect(fail)
    try:
        connection = use({"max_size": 1, "timeout": 5})
        assert len({site("pid") for _ in range(3)}) == 1
        connection.close_pool()
    finally:
        for signal in SIGNALS.values():
            assert signal.disconnect(fail)
    assert caplog.text.count("on purpose") >= 2 * 3 + 2
    assert database.sessions() == []


def test_a_receiver_that_fails_keeps_nothing_from_the_others(use, database, heard):
    def fail(**_kwargs):
        raise RuntimeError("on purpose")

    signal = signals.connection_acquired
    signal.receivers.reverse()
    signal.connect(fail)
    signal.receivers.reverse()  # the one that fails is first
    pid_of(use())
    assert signal.disconnect(fail)
    assert names(heard) == ["connection_opened", "connection_acquired"]


def use_once(connection):
    pid_of(connection)
    connection.close()


class Hard(BaseException):
    """What ends a greenlet, or a program."""


@pytest.mark.psycopg3
@pytest.mark.parametrize("name", QUICK)
def test_what_ends_a_thread_costs_the_pool_nothing(use, database, share, name):
    def end(**_kwargs):
        raise Hard

    connection = use({"max_size": 1, "timeout": 5, **share})
    pid_of(connection)
    connection.close()
    SIGNALS[name].connect(end)
    try:
        with pytest.raises(Hard) as _kept:  # and all that its frames know
            use_once(connection)
    finally:
        assert SIGNALS[name].disconnect(end)
    pid_of(connection)
    connection.close()
    assert len(database.sessions()) == 1


# ------------------------------------------------------------ who listens, and when


def quick(pool):
    return not (pool._careful or pool._thorough)


def test_slow_only_while_somebody_listens(use, database):
    pool = use().pool
    assert quick(pool)

    def hear(**_kwargs):
        pass

    for name in QUICK:
        SIGNALS[name].connect(hear, dispatch_uid="here")
        SIGNALS[name].connect(hear, sender=HostPool)
    assert not quick(pool)
    for name in QUICK:
        assert SIGNALS[name].disconnect(dispatch_uid="here")
        assert not SIGNALS[name].disconnect(dispatch_uid="here")
    assert not quick(pool)  # the other one is still there
    for name in QUICK:
        assert SIGNALS[name].disconnect(hear, sender=HostPool)
    assert quick(pool)


def test_a_receiver_that_vanishes(use, database):
    class Listener:
        def hear(self, **_kwargs):
            seen.append(1)

    seen = []
    listener = Listener()
    for name in QUICK:
        SIGNALS[name].connect(listener.hear)
    connection = use()
    pid_of(connection)
    assert seen == [1]
    connection.close()
    assert seen == [1, 1]
    del listener
    gc.collect()
    pid_of(connection)
    connection.close()
    assert seen == [1, 1]
    assert quick(connection.pool)


def test_one_of_another_kind_vanishes(use, database):
    def hear(**_kwargs):
        pass

    SIGNALS[QUICK[0]].connect(hear, sender=HostPool)
    pool = use().pool
    assert not quick(pool)
    del hear
    gc.collect()
    pool.release(pool.acquire())
    assert quick(pool)


def test_the_decorator(use, database):
    @receiver([signals.connection_acquired, signals.connection_released], sender=Pool)
    def hear(sender, pool, **_kwargs):
        seen.append(pool)

    seen = []
    connection = use()
    pid_of(connection)
    connection.close()
    assert seen == [connection.pool] * 2
    for name in QUICK:
        assert SIGNALS[name].disconnect(hear, sender=Pool)


def test_an_asynchronous_receiver(use, database):
    async def hear(pool, **_kwargs):
        seen.append(pool)

    seen = []
    signals.connection_acquired.connect(hear)
    try:
        connection = use()
        pid_of(connection)
        assert seen == [connection.pool]
    finally:
        assert signals.connection_acquired.disconnect(hear)


def test_who_listens_before_a_fork_hears_the_child_as_well(use, database, heard):
    connection = use()
    pid_of(connection)
    connection.close()
    reading, writing = os.pipe()
    before = len(heard)
    child = os.fork()
    if not child:
        pid_of(connection)
        os.write(writing, " ".join(names(heard[before:])).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with os.fdopen(reading) as told:
        assert told.read() == "connection_opened connection_acquired"
    assert names(heard[before:]) == []


def test_from_many_threads(use, database):
    seen = []
    signals.connection_released.connect(hear := lambda **_: seen.append(threading.get_ident()))
    pool = use({"max_size": 2}).pool

    def work():
        for _ in range(50):
            pool.release(pool.acquire())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for each in threads:
        each.start()
    idents = {each.ident for each in threads}
    for each in threads:
        each.join()
    assert signals.connection_released.disconnect(hear)
    assert len(seen) == 200
    assert set(seen) == idents

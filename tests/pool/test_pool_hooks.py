"""Who listens hears of all that a pool does, and changes nothing of it."""

import gc
import logging
import threading
import weakref

import pytest

from carpool import Options, Pool, PoolClosed, PoolTimeout, TooManyRequests
from carpool.pool import hooks
from tests.pool.fake import ServerDown, eventually
from tests.probing import calls_of

EVENTS = ("opened", "acquired", "released", "closed", "exhausted", "leaked", "pinned", "reset")


class Hard(BaseException):
    """What ends a greenlet, or a program."""


@pytest.fixture
def listen(driver):
    """Call it to have a function called with the event's name, the pool and the facts.

    It hears of the test's own pools alone: others may be closing what idles there.
    """
    added = []

    def listen(function, *events):
        for event in events or EVENTS:

            def listener(pool, event=event, **facts):
                if pool.driver is driver:
                    function(event, pool, **facts)

            getattr(hooks, event).add(listener)
            added.append((event, listener))

    yield listen
    for event, listener in added:
        getattr(hooks, event).remove(listener)
    assert not any(getattr(hooks, event) for event in EVENTS)


@pytest.fixture
def heard(listen):
    """All events, in their order: name, pool, facts, and the thread's name."""
    seen = []
    listen(lambda *args, **facts: seen.append((*args, facts, threading.current_thread().name)))
    return seen


def names(heard):
    return [event for event, *_ in heard]


def facts(heard, event):
    return [each[2] for each in heard if each[0] == event]


# ------------------------------------------------------------------ what is told


def test_a_life(stepped, clock, heard):
    pool = stepped()
    connection = pool.acquire()
    clock.advance(3)
    pool.release(connection)
    pool.acquire()
    pool.release(connection)
    pool.close()
    events = ["opened", *["acquired", "released"] * 2, "closed"]
    assert names(heard) == events
    assert {each[1] for each in heard} == {pool}
    assert all(each["connection"] is connection for each in (each[2] for each in heard))
    assert facts(heard, "opened")[0]["seconds"] == 0.0
    assert [each["reused"] for each in facts(heard, "acquired")] == [False, True]
    assert [each["waited"] for each in facts(heard, "acquired")] == [0.0, 0.0]
    assert [each["held"] for each in facts(heard, "released")] == [3.0, 0.0]
    assert facts(heard, "closed")[0]["reason"] == "drained"


def test_how_long_was_waited(make_pool, heard):
    pool = make_pool(max_size=1)
    connection = pool.acquire()
    taken = []

    def work():
        pool.release(pool.acquire())
        taken.append(1)

    other = threading.Thread(target=work)
    other.start()
    eventually(lambda: pool.snapshot().waiting)
    began = pool._waiters[0].since
    pool.release(connection)
    other.join()
    (first, second) = facts(heard, "acquired")
    held = facts(heard, "released")[0]["held"]
    assert began > 0
    assert 0 < second["waited"] < held + second["waited"]
    assert (first["reused"], second["reused"]) == (False, True)


def test_in_which_threads(make_pool, heard):
    pool = make_pool(name="shop")
    pool.release(pool.acquire())
    pool.close()
    me = threading.current_thread().name
    threads = {event: thread for event, *_, thread in heard}
    assert (threads["acquired"], threads["released"]) == (me, me)
    assert threads["opened"] == "carpool shop"


def test_a_discarded_one_is_released_and_closed(stepped, heard):
    pool = stepped()
    pool.discard(pool.acquire())
    assert names(heard) == ["opened", "acquired", "released", "closed"]
    assert facts(heard, "closed")[0]["reason"] == "discarded"


def test_a_dropped_one_is_lost(make_pool, listen):
    seen = []
    listen(lambda _event, _pool, **facts: seen.append(facts), "closed")
    make_pool().acquire()
    gc.collect()
    eventually(lambda: seen)
    assert seen == [{"connection": None, "reason": "lost"}]


def test_a_broken_one(stepped, heard):
    pool = stepped()
    connection = pool.acquire()
    pool.release(connection)
    connection.dead = True
    pool.acquire()
    assert [each["reason"] for each in facts(heard, "closed")] == ["broken"]
    assert names(heard).count("acquired") == 2  # nobody has got the dead one


def test_resets_and_pins(stepped, heard):
    pool = stepped()
    connection = pool.acquire()
    assert pool.count_pin("SET", connection)
    connection.dirty = True
    pool.release(connection)
    pool.release(pool.acquire())
    assert facts(heard, "pinned") == [{"reason": "SET"}]
    assert facts(heard, "reset") == [{}]


def test_a_reset_of_ones_own(stepped, heard):
    pool = stepped(reset=lambda _connection: None)
    pool.release(pool.acquire())
    assert names(heard).count("reset") == 1


def test_exhausted_by_a_timeout(stepped, heard):
    pool = stepped(max_size=1)
    connection = pool.acquire()
    with pytest.raises(PoolTimeout) as raised:
        pool.acquire(0.0)
    assert facts(heard, "exhausted") == [{"waited": 0.0, "error": raised.value}]
    pool.release(connection)


def test_exhausted_by_too_many(make_pool, heard):
    pool = make_pool(max_size=1, max_waiting=1)
    connection = pool.acquire()
    other = threading.Thread(target=lambda: pool.release(pool.acquire()))
    other.start()
    eventually(lambda: pool.snapshot().waiting)
    with pytest.raises(TooManyRequests):
        pool.acquire()
    pool.release(connection)
    other.join()
    assert [type(each["error"]) for each in facts(heard, "exhausted")] == [TooManyRequests]


def test_a_server_that_is_down_exhausts_nothing(stepped, driver, heard):
    driver.does_connect.outcome = "error"
    pool = stepped()
    with pytest.raises(ServerDown):
        pool.acquire()
    driver.does_connect.outcome = "ok"
    pool.close()
    with pytest.raises(PoolClosed):
        pool.acquire()
    assert heard == []


def test_a_leak(stepped, clock, heard):
    pool = stepped(leak_warning=10)
    connection = pool.acquire()
    clock.advance(15)
    pool._sweep()
    pool._sweep()
    (leak,) = facts(heard, "leaked")
    assert (leak["connection"], leak["held"]) == (connection, 15.0)
    assert "test_a_leak" in leak["stack"]
    pool.release(connection)


# -------------------------------------------------- nothing is changed by listening


@pytest.mark.parametrize("state", ["clean", "dirty", "in_transaction"])
@pytest.mark.parametrize("reset", ["auto", "always", "rollback", None])
def test_the_server_sees_the_same(stepped, driver, listen, reset, state):
    def seen(event="", *_args, **_facts):
        pool = stepped(reset=reset, max_size=1)
        for _ in range(2):
            connection = pool.acquire()
            setattr(connection, state, True)
            pool.release(connection)
        counts = pool.get_stats()
        closed = len(driver.closed)
        return connection.seen, {key: counts[key] for key in counts if "ms" not in key}, closed

    alone = seen()
    driver.closed.clear()
    listen(lambda *_, **__: None)
    assert seen() == alone


def test_quick_until_somebody_listens_and_again_afterwards(make_pool, listen):
    pool = make_pool()
    pool.release(pool.acquire())

    def round_trip():
        return calls_of(lambda: pool.release(pool.acquire()))

    alone = round_trip()
    hooks.acquired.add(print_nothing)
    hooks.released.add(print_nothing)
    assert round_trip()["print_nothing"] == 2
    hooks.acquired.remove(print_nothing)
    hooks.released.remove(print_nothing)
    assert round_trip() == alone


def print_nothing(pool, **_facts):
    pass


def test_a_pool_made_later_tells_as_well(make_pool, heard):
    assert heard == []
    pool = make_pool()
    pool.release(pool.acquire())
    assert names(heard) == ["opened", "acquired", "released"]


def test_options_stay_in_force_when_the_last_one_goes(stepped):
    checked = []
    pool = stepped(check=checked.append, reset="always")
    hooks.acquired.add(print_nothing)
    hooks.released.add(print_nothing)
    hooks.acquired.remove(print_nothing)
    hooks.released.remove(print_nothing)
    connection = pool.acquire()
    pool.release(connection)
    pool.release(pool.acquire())
    assert checked == [connection, connection]
    assert connection.seen.count("reset all") == 2


def test_added_twice_is_told_once(make_pool):
    seen = []
    hooks.acquired.add(told := lambda _pool, **_: seen.append(1))
    hooks.acquired.add(told)
    try:
        pool = make_pool()
        pool.release(pool.acquire())
    finally:
        hooks.acquired.remove(told)
    assert seen == [1]


def test_hooks_keep_no_pool_alive(driver):
    pool = Pool(driver, Options())
    gone = weakref.ref(pool)
    del pool
    gc.collect()
    assert gone() is None


# ------------------------------------------------------------ listeners that fail


@pytest.mark.parametrize("event", EVENTS)
def test_what_a_listener_raises_is_logged_and_nothing_else(stepped, clock, listen, caplog, event):
    def fail(*_args, **_facts):
        raise RuntimeError("on purpose")

    listen(fail, event)
    pool = stepped(max_size=1, leak_warning=10, name="shop")
    connection = pool.acquire()
    with pytest.raises(PoolTimeout):
        pool.acquire(0.0)
    pool.count_pin("SET", connection)
    clock.advance(15)
    pool._sweep()
    connection.dirty = True
    pool.release(connection)
    pool.release(pool.acquire())
    pool.drain()
    assert pool.snapshot().size == 0
    told = [each for each in caplog.records if each.exc_info]
    assert told
    assert {(each.pool, str(each.exc_info[1])) for each in told} == {("shop", "on purpose")}
    assert pool._crew.errors == []


@pytest.mark.parametrize("event", ["opened", "acquired", "released", "closed", "reset", "pinned"])
def test_what_ends_a_thread_loses_no_slot(make_pool, driver, listen, event, caplog):
    """Thrown at every kind of event, once."""
    caplog.set_level(logging.CRITICAL, "carpool")
    ends = iter([Hard()])

    def fail(*_args, **_facts):
        for end in ends:
            raise end

    listen(fail, event)
    pool = make_pool(max_size=1, timeout=5)
    for _ in range(3):
        try:
            connection = pool.acquire()
            connection.dirty = True
            pool.count_pin("SET", connection)
            pool.release(connection)
        except Hard as end:
            end.__traceback__ = None
        connection = None
        gc.collect()
        pool.drain()
    assert list(ends) == []
    pool.release(pool.acquire())
    eventually(lambda: pool.snapshot().size == driver.sessions == 1)
    assert driver.most == 1


def test_what_ends_a_thread_at_a_release_comes_after_it(stepped, listen):
    def end(*_args, **_facts):
        raise Hard

    listen(end, "released")
    pool = stepped()
    connection = pool.acquire()
    with pytest.raises(Hard):
        pool.release(connection)
    assert pool.acquire() is connection
    with pytest.raises(Hard):
        pool.release(connection)


def test_who_comes_and_goes_under_load(make_pool):
    pool = make_pool(max_size=2)
    done = []

    def work():  # an error here is the test's
        while len(done) < 2000:
            pool.release(pool.acquire())
            done.append(1)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for each in workers:
        each.start()
    while any(each.is_alive() for each in workers):
        hooks.acquired.add(print_nothing)
        hooks.released.add(print_nothing)
        hooks.released.remove(print_nothing)
        hooks.acquired.remove(print_nothing)
    assert pool.snapshot().leased == 0
    assert pool.get_stats()["requests_num"] == len(done)
    assert not pool._careful
    assert not pool._thorough

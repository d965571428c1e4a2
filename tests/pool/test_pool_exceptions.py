"""An exception thrown into an acquire or a release, at every line: no slot is lost.

Such exceptions are Ctrl-C, Celery's soft time limit, a greenlet's kill.
"""

import contextlib
import gc
import inspect
import linecache
import sys
import threading

import pytest

from carpool import PoolTimeout
from carpool.pool import keeper, ledger, opener, pool
from tests.pool.fake import BOUND

FILES = {inspect.getsourcefile(module) for module in (pool, ledger, opener, keeper)}


class Thrown(BaseException):
    """What is thrown."""


class Thrower:
    """Throws before the `count`th line of the pool's own code that is run."""

    def __init__(self, count):
        self.left = count

    def trace(self, frame, event, _arg):
        if frame.f_code.co_filename not in FILES or frame.f_code.co_name == "_died":
            return None  # what is thrown in a finalizer goes nowhere
        line = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
        # A `with` is passed again as it is left; there the interpreter lets no exception in.
        if event == "line" and not line.strip().startswith("with "):
            self.left -= 1
            if not self.left:
                sys.settrace(None)
                raise Thrown(f"before line {frame.f_lineno} of {frame.f_code.co_qualname}")
        return self.trace


def throw_into(count, function):
    """Run it in a thread; returns where an exception was thrown, None: the function is shorter."""
    places = []

    def run():
        sys.settrace(Thrower(count).trace)
        try:
            function()
        except Thrown as thrown:
            places.append(str(thrown))
        finally:
            sys.settrace(None)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(BOUND)
    return places[0] if places else None


def idle(pool):
    pool.release(pool.acquire())
    return pool.acquire


def resting(pool):
    """One whose reset is to be completed by who acquires it: the slow way."""
    connection = pool.acquire()
    connection.dirty = True
    pool.release(connection)
    return pool.acquire


def clean(pool):
    connection = pool.acquire()
    return lambda: pool.release(connection)


def dirty(pool):
    connection = pool.acquire()
    connection.dirty = True
    return lambda: pool.release(connection)


def dead(pool):
    connection = pool.acquire()
    connection.dead = True
    return lambda: pool.release(connection)


def broken_idle(pool):
    pool.release(pool.acquire())
    pool._idle[0].connection.dead = True

    def acquire():
        with contextlib.suppress(PoolTimeout):  # the dead one has to be closed first
            return pool.acquire()

    return acquire


def empty(pool):
    def acquire():
        with pytest.raises(PoolTimeout):
            pool.acquire(0)

    return acquire


SURVIVES = [idle, clean]
CASES = [idle, resting, clean, dirty, dead, broken_idle, empty]


def throw_everywhere(make, driver, prepare, sends):
    """Returns where throwing an exception cost a slot."""
    lost = []
    driver.sends_resets = sends
    for count in range(1, 500):
        pool = make(max_size=1, timeout=0)
        act = prepare(pool)
        pool._crew.eager = False
        place = throw_into(count, act)
        del act
        gc.collect()
        pool._crew.run()
        pool._crew.eager = True
        if place is None:
            break
        try:
            pool.release(pool.acquire(0))
        except Exception as error:  # noqa: BLE001 - whatever it is, there was no connection
            lost.append(f"{place}: {type(error).__name__}: {error}")
            pool._ledger.idle.clear()  # for the end of the test: it may hold None
            pool._ledger.entries.clear()
    else:
        pytest.fail("it never ended")
    assert count > 3
    return lost


@pytest.mark.parametrize("prepare", SURVIVES)
def test_no_slot_is_lost_on_the_short_way(stepped, driver, prepare):
    assert throw_everywhere(stepped, driver, prepare, sends=True) == []

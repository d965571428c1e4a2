"""What an acquire and a release cost, in calls: the figures do not depend on the machine."""

import time

import pytest

from tests.probing import calls_of


class Forbidden:
    """Stands where a lock was."""

    def __enter__(self):
        pytest.fail("a lock was taken")

    def __exit__(self, *_):
        pass

    def acquire(self, *_args, **_kwargs):
        pytest.fail("a lock was taken")


@pytest.fixture
def idle(make_pool, driver):
    """A pool with one idle connection; the driver's methods make no calls of their own."""
    pool = make_pool()
    pool.release(pool.acquire())
    pool._idle[0].readable = lambda _timeout: None
    pool._settle = lambda _connection: True
    return pool


def test_acquire(idle):
    held = []
    seen = calls_of(lambda: held.append(idle.acquire()))
    python = {name for name in seen if "lambda" in name or name.startswith("Pool")}
    assert seen.pop("list.append") == 1  # the test's own
    assert sum(seen[name] for name in python) == 3, seen  # the test's, acquire, readable
    assert {name: seen[name] for name in seen if name not in python} == {
        "deque.pop": 1,
        "monotonic": 1,
        "id": 1,
    }
    idle.release(*held)


def test_release(idle):
    connection = idle.acquire()
    seen = calls_of(lambda: idle.release(connection))
    python = {name for name in seen if "lambda" in name or name.startswith("Pool")}
    assert sum(seen[name] for name in python) == 3, seen  # the test's, release, settle
    assert {name: seen[name] for name in seen if name not in python} == {
        "id": 1,
        "dict.pop": 1,
        "monotonic": 1,
        "deque.append": 2,  # the entry, and for how long it was used
    }


def test_no_lock_is_taken(idle):
    ledger, crew = idle._ledger, idle._crew
    locks = ledger.lock, crew._lock
    ledger.lock = Forbidden()
    try:
        for _ in range(3):
            idle.release(idle.acquire())
    finally:
        ledger.lock = locks[0]
    assert idle.snapshot().idle == 1
    assert time.monotonic() > 0

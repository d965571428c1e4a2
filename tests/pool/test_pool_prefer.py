"""Who asks for a connection again gets the one used last, if that is there."""

import threading

import pytest

from tests.pool.fake import BOUND, eventually


def lease(pool, count):
    return [pool.acquire(BOUND) for _ in range(count)]


@pytest.fixture
def three(make_pool):
    """A pool of three, all idle, the last of them on top; and its connections."""
    pool = make_pool(max_size=3)
    connections = lease(pool, 3)
    for each in connections:
        pool.release(each)
    return pool, connections


@pytest.mark.parametrize("place", range(3))
def test_the_preferred_one_wherever_it_lies(three, place):
    pool, connections = three
    assert pool.acquire(BOUND, connections[place]) is connections[place]
    rest = [each for each in connections if each is not connections[place]]
    assert lease(pool, 2) == rest[::-1]  # in their order


def test_another_if_it_is_leased(three):
    pool, connections = three
    assert pool.acquire(BOUND, connections[0]) is connections[0]
    assert pool.acquire(BOUND, connections[0]) is connections[2]


def test_another_if_it_is_gone(three):
    pool, connections = three
    pool.discard(pool.acquire(BOUND, connections[1]))
    assert pool.acquire(BOUND, connections[1]) is connections[2]


def test_one_that_died_is_not_insisted_on(three):
    pool, connections = three
    connections[0].dead = True
    assert pool.acquire(BOUND, connections[0]) is not connections[0]


def test_nobody_gets_ahead_of_who_waits(make_pool):
    pool = make_pool(max_size=1)
    first = pool.acquire(BOUND)
    got = []
    other = threading.Thread(target=lambda: got.append(pool.acquire(BOUND)))
    other.start()
    eventually(lambda: pool.snapshot().waiting)
    pool.release(first)
    other.join(BOUND)
    assert got == [first]
    pool.release(first)
    assert pool.acquire(BOUND, first) is first


def test_threads_that_all_prefer_the_same(three):
    """No entry is lost or doubled in the exchange."""
    pool, connections = three
    failures = []

    def work():
        try:
            for turn in range(300):
                held = pool.acquire(BOUND, connections[turn % 3])
                assert not hasattr(held, "holder")
                held.holder = True
                del held.holder
                pool.release(held)
        except Exception as error:  # noqa: BLE001 - looked at below
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(BOUND)
    assert not failures
    assert sorted(each.number for each in lease(pool, 3)) == [1, 2, 3]


def test_what_was_drained_meanwhile_is_not_put_back(three):
    pool, connections = three
    held = pool.acquire(BOUND, connections[0])
    pool.drain()
    pool.release(held)
    assert pool.acquire(BOUND, connections[0]) not in connections

"""Processes that compete are served in their order, alike, and as their options say."""

import pytest

from tests.host.hosts import SOON
from tests.host.nursery import Failed
from tests.probing import eventually

USE = "with pool.connection() as c: run(c, 'SELECT 1')"
ACQUIRE = "c = pool.acquire()"
RELEASE = "pool.release(c)"
TURN = "c = pool.acquire(); turn = next_turn(); pool.release(c)"
COUNTER = """
def next_turn():
    with open({path!r}, "a") as turns:
        turns.write(f"{name} ")
"""


def test_they_are_served_in_the_order_in_which_they_came(make_host, tmp_path):
    host = make_host(1)
    holder, *others = (host.start() for _ in range(6))
    path = tmp_path / "turns"
    for number, each in enumerate(others):
        each.do(COUNTER.format(path=str(path), name=number).replace("{name}", str(number)))
        if number % 2:
            each.do(USE)  # who has been here before has no advantage
    holder.do(ACQUIRE)
    order = [3, 0, 4, 1, 2]
    for place, number in enumerate(order, start=1):
        others[number].tell(TURN)
        host.waiting(place)
    holder.do(RELEASE)
    for each in others:
        each.answer(SOON)
    assert path.read_text().split() == [str(number) for number in order]


def test_who_waited_in_vain_gives_the_turn_to_the_next(make_host):
    host = make_host(1)
    holder, impatient, patient = (host.start() for _ in range(3))
    patient.do(USE)
    holder.do(ACQUIRE)
    impatient.tell("pool.acquire(3)")
    host.waiting(1)
    patient.tell(USE)
    host.waiting(2)
    with pytest.raises(Failed, match="PoolTimeout"):
        impatient.answer()
    host.waiting(1)
    holder.do(RELEASE)
    patient.answer(SOON)
    impatient.do(USE, SOON)


TURNS = "pool.get_stats()['requests_queued']"


def test_under_saturation_all_get_alike(make_host):
    """In turns: how much one gets done in its turn is the system's scheduler's to say."""
    host = make_host(2)
    workers = [host.start() for _ in range(6)]
    for each in workers:
        each.do("load = Load(pool, 'SELECT 1')")
    for each in workers:
        eventually(lambda each=each: each.do("load.done") > 20)
    before = [each.do(TURNS) for each in workers]
    eventually(lambda: workers[0].do(TURNS) > before[0] + 20, 60)
    turns = [each.do(TURNS) - begun for each, begun in zip(workers, before, strict=True)]
    for each in workers:
        assert each.do("load.stop()")[1] == []
    assert min(turns) >= 0.8 * max(turns), turns


def test_a_process_has_no_more_than_it_may(make_host):
    host = make_host(3, max_per_process=2)
    greedy, other = host.start(), host.start()
    greedy.do("first = pool.acquire()")
    greedy.do("second = pool.acquire()")
    with pytest.raises(Failed, match="PoolTimeout"):
        greedy.do("pool.acquire(0.1)")
    other.do(USE, SOON)
    greedy.do("pool.release(first)")
    greedy.do(USE, SOON)
    assert len(host.sessions()) <= 3


def test_who_is_at_its_limit_does_not_hold_up_those_behind(make_host):
    host = make_host(2, max_per_process=1)
    greedy, other = host.start(), host.start()
    greedy.do("first = pool.acquire()")
    greedy.tell("second = pool.acquire(30)")
    host.waiting(1)
    other.do(USE, SOON)
    host.waiting(1)
    greedy.close()


def test_the_reserve_is_for_those_who_have_waited_long(make_host):
    host = make_host(2, reserve=1, reserve_timeout=3)
    first, second = host.start(), host.start()
    first.do(ACQUIRE)
    with pytest.raises(Failed, match="PoolTimeout"):
        second.do("pool.acquire(0.1)")
    assert len(host.sessions()) == 1
    second.do("c = pool.acquire(10)")
    assert len(host.sessions()) == 2


def test_a_timeout_tells_the_state_of_the_pool(make_host):
    host = make_host(1)
    holder, other = host.start(), host.start()
    holder.do(ACQUIRE)
    with pytest.raises(Failed) as caught:
        other.do("pool.acquire(0.1)")
    assert caught.value.kind == "PoolTimeout"
    assert "no connection to " in caught.value.text
    assert "size 1 of 1 on this host, leased 1, idle 0" in caught.value.text
    assert "secret" not in caught.value.text


def test_errors_are_those_of_the_pool_of_a_process(make_host):
    host = make_host(1)
    holder, other = host.start(), host.start()
    holder.do(ACQUIRE)
    other.do("from django.db.utils import OperationalError")
    other.do("from carpool import PoolTimeout")
    other.do("try: pool.acquire(0.1)\nexcept OperationalError as e: error = e")
    assert other.do("type(error) is PoolTimeout and isinstance(error, OperationalError)")


def test_too_many_are_told_so_at_once(make_host):
    host = make_host(1, max_waiting=1)
    holder, waiting, other = (host.start() for _ in range(3))
    holder.do(ACQUIRE)
    waiting.tell(USE)
    host.waiting(1)
    with pytest.raises(Failed, match="TooManyRequests") as caught:
        other.do("pool.acquire(30)", SOON)
    assert "'max_waiting'" in caught.value.text
    holder.do(RELEASE)
    waiting.answer(SOON)
    other.do(USE, SOON)

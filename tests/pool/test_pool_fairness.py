"""Who waits is served in the order of coming, and nobody starves."""

import threading
import time
from collections import Counter

from carpool import PoolTimeout
from tests.pool.fake import BOUND, eventually

THREADS, CYCLES, QUERY = 8, 4000, 0.0002


def test_under_saturation_all_get_their_share(make_pool, driver):
    pool = make_pool(max_size=2, timeout=BOUND)
    served = Counter()
    left = iter(range(CYCLES))  # `next` of it is atomic
    finished = []

    def cycle(me):
        for _ in left:
            connection = pool.acquire()
            served[me] += 1
            time.sleep(
                QUERY
            )  # gives up the GIL, as a query does: else it is the GIL that is unfair
            pool.release(connection)
        finished.append(me)

    held = [pool.acquire(), pool.acquire()]  # until all have come
    threads = [threading.Thread(target=cycle, args=(me,)) for me in range(THREADS)]
    for thread in threads:
        thread.start()
    eventually(lambda: pool.snapshot().waiting == THREADS)
    for connection in held:
        pool.release(connection)
    for thread in threads:
        thread.join(BOUND)
    assert len(finished) == THREADS
    assert driver.most == 2
    assert min(served.values()) >= 0.9 * max(served.values()), served


def test_first_come_first_served(make_pool):
    pool = make_pool(max_size=1, timeout=BOUND)
    held = pool.acquire()
    order = []

    def wait(me):
        connection = pool.acquire()
        order.append(me)
        pool.release(connection)

    threads = [threading.Thread(target=wait, args=(me,)) for me in range(10)]
    for count, thread in enumerate(threads, 1):
        thread.start()
        eventually(lambda count=count: pool.snapshot().waiting == count)
    pool.release(held)
    for thread in threads:
        thread.join(BOUND)
    assert order == list(range(10))


def test_who_gives_up_leaves_the_order_of_the_others(make_pool):
    pool = make_pool(max_size=1, timeout=BOUND)
    held = pool.acquire()
    order = []

    def wait(me, timeout):
        try:
            connection = pool.acquire(timeout)
        except PoolTimeout:
            order.append(f"{me} gave up")
            return
        order.append(me)
        pool.release(connection)

    threads = [
        threading.Thread(target=wait, args=(me, 0.05 if me == 1 else BOUND)) for me in range(4)
    ]
    for count, thread in enumerate(threads, 1):
        thread.start()
        eventually(lambda count=count: count - len(order) == pool.snapshot().waiting)
    threads[1].join(BOUND)
    pool.release(held)
    for thread in threads:
        thread.join(BOUND)
    assert order == ["1 gave up", 0, 2, 3]

"""Threads that end without closing, as in Celery, in servers and in people's own code."""

import asyncio
import functools
import gc
import threading
from contextlib import suppress

import pytest
from asgiref.sync import sync_to_async
from django.db import connection as default
from django.db import connections, transaction
from django.db.backends.postgresql import base as stock

from tests.django.asking import pid_of, run, value
from tests.django.models import CREATE, Note


def test_a_thread_that_never_closes(use, database, in_thread):
    use({"max_size": 1})
    pids = {in_thread(pid_of, default) for _ in range(5)}
    assert len(pids) == 1, "it comes back whole: the next thread gets the same"
    (row,) = database.sessions()
    assert row.state == "idle"


def test_one_that_dies_within_atomic(use, database, in_thread):
    database.query(CREATE)
    use({"max_size": 1})

    def die():
        atomic = transaction.atomic()
        atomic.__enter__()
        Note.objects.create(text="never")
        return pid_of(default)

    for _ in range(3):
        in_thread(die)
        assert in_thread(value, default, "SELECT count(*) FROM note") == 0


def test_one_that_leaves_session_state(use, in_thread):
    use({"max_size": 1})
    pid = in_thread(pid_of, default)
    in_thread(run, default, "SET work_mem = '77MB'")
    in_thread(run, default, "SELECT pg_advisory_lock(1)")
    assert in_thread(value, default, "SHOW work_mem") == "4MB"
    assert in_thread(pid_of, default) == pid


def test_one_that_keeps_a_reference_cycle(use, in_thread):
    use({"max_size": 1})

    def take():
        cycle = [connections["default"]]
        cycle.append(cycle)
        run(default, "SELECT 1")

    for _ in range(3):
        in_thread(take)
    assert in_thread(value, default, "SELECT 1") == 1


def test_threads_of_all_kinds_share_what_there_is(use, database):
    use({"max_size": 3, "timeout": 30})
    wrong = []

    def work(number):
        if value(default, "SELECT %s::int", [number]) != number:
            wrong.append(number)
        if number % 3:
            default.close()

    threads = [threading.Thread(target=work, args=[number]) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(database.sessions()) <= 3


def test_a_wrapper_shared_between_threads_stays_with_its_owner(use, in_thread):
    connection = use({"max_size": 1})
    connection.inc_thread_sharing()
    try:
        pid = pid_of(connection)
        assert in_thread(pid_of, connection) == pid
        gc.collect()
        assert pid_of(connection) == pid
    finally:
        connection.dec_thread_sharing()
        connection.close()


def test_another_thread_may_not_use_it(use, in_thread):
    connection = use()
    run(connection, "SELECT 1")
    with pytest.raises(Exception, match="created in a thread"):
        in_thread(run, connection, "SELECT 1")
    connection.close()


def test_a_copy_of_a_wrapper(use, database):
    connection = use({"max_size": 2})
    copy = connection.copy()
    assert pid_of(copy) != pid_of(connection)
    copy.close()
    connection.close()
    del copy
    assert len(database.sessions()) == 2


def test_async_views_in_a_thread_each(use, database):
    use({"max_size": 2, "timeout": 30})

    def work():
        try:
            return pid_of(default)
        finally:
            default.close()

    async def main():
        tasks = [sync_to_async(work, thread_sensitive=False)() for _ in range(20)]
        return await asyncio.gather(*tasks)

    assert len(set(asyncio.run(main()))) <= 2


@pytest.mark.psycopg3
def test_threads_that_come_first_at_once_choose_one_pool(use, monkeypatch):
    """Django's `lru_cache` makes two templates if two threads find none: see `pool_driver`."""
    use({"max_size": 2})
    make = stock.get_adapters_template.__wrapped__
    both = threading.Barrier(2)

    @functools.lru_cache
    def get_adapters_template(*args):
        with suppress(threading.BrokenBarrierError):
            both.wait(0.5)
        return make(*args)

    monkeypatch.setattr(stock, "get_adapters_template", get_adapters_template)
    pools = []
    threads = [threading.Thread(target=lambda: pools.append(default.pool)) for _ in range(2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert pools[0] is pools[1]

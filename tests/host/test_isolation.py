"""The trouble of one pool is no trouble of the others that the broker has."""

import socket
import threading
from contextlib import closing

import pytest

from support.proxy import Proxy
from tests.host.hosts import SOON
from tests.host.nursery import Failed
from tests.probing import eventually

USE = "with pool.connection() as c: run(c, 'SELECT 1')"
MANY = 40  # requests: more than the broker has threads for one pool


def test_a_server_that_hangs_leaves_room_for_other_pools(make_host):
    host = make_host(1)
    with Proxy("127.0.0.1", host.database.server.port) as proxy:
        far = host.start(params={"port": proxy.port}, max_size=MANY)
        far.do(USE)
        proxy.hang()
        proxy.cut()
        far.do(
            "import threading\n"
            f"for _ in range({MANY}): threading.Thread(target=pool.acquire, daemon=True).start()"
        )
        eventually(lambda: sum(each["waiting"] for each in host.ask("status")["pools"]) >= MANY - 1)
        host.start().do(USE, 2 * SOON)


def test_a_pool_whose_server_hangs_is_closed_beside_others_work(make_host):
    host = make_host(1)
    host.start().do(USE)
    with closing(socket.create_server(("127.0.0.1", 0))) as hanging:
        where = {"host": "127.0.0.1", "port": hanging.getsockname()[1]}
        far = host.start(params=where, timeout=5)
        far.tell("pool.acquire()")
        waits = eventually(lambda: [p for p in host.ask("status")["pools"] if p["opening"]])
        far.kill()  # as a pool that somebody waits for is not closed
        closed = []

        def close_it():
            while (answer := host.ask("close", pool=waits[0]["id"]))["in_use"]:
                pass  # its end has not been noticed yet
            closed.append(answer)

        close = threading.Thread(target=close_it)
        close.start()
        eventually(lambda: "nobody needs pool" in host.log())
        assert host.ask("status")["ok"]
        assert not closed
        close.join()
        assert [each["ok"] for each in closed] == [True]


def test_a_pool_that_is_closed_leaves_no_lock_file_open_in_the_broker(make_host):
    host = make_host(2)
    host.start().do(USE)
    main = {host.database.server.DBNAME: host.database.server.MAIN}
    opened = []
    for _ in range(3):
        visitor = host.start(params=main)
        visitor.do(USE)
        visitor.do("pool.close()")
        visitor.close()
        eventually(lambda: host.ask("status")["broker"]["clients"] == 1)
        opened.append([each for each in host.descriptors() if ".lock" in each])
    assert opened[0] == opened[-1]


LEFT = {
    "postgresql": "SELECT count(*) FROM pg_settings WHERE source = 'session'",
    "mysql": "SELECT @mine IS NOT NULL",
}


def set_up(worker, host):
    """Have a process set a session up for itself, as connection_created's receivers do."""
    worker.do(
        "c = pool.acquire()\n"
        f"run(c, {host.leaves_traces!r})\n"
        "driver.set_up_done(c, by='me')\n"
        "pool.release(c)"
    )


def test_what_a_process_has_set_up_is_gone_when_the_broker_has_had_the_session(make_host, kind):
    """Else other projects met it, such as the search path of a tenant."""
    host = make_host(1)
    worker, other = host.start(), host.start()
    other.do(USE)
    set_up(worker, host)
    assert worker.do(f"value(c := pool.acquire(), {LEFT[kind]!r})") > 0
    worker.do("pool.release(c); pool.close(0)")
    assert other.do(f"value(c := pool.acquire(), {LEFT[kind]!r})") == 0


def test_what_a_process_has_set_up_is_gone_where_another_takes_the_session_over(make_host, kind):
    host = make_host(1)
    worker, other = host.start(), host.start()
    other.do(USE)
    set_up(worker, host)
    session = worker.do(f"value(c := pool.acquire(), {host.session_id!r})")
    worker.do("pool.release(c)")
    assert other.do(f"value(c := pool.acquire(), {host.session_id!r})") == session
    assert other.do(f"value(c, {LEFT[kind]!r})") == 0


def test_nothing_is_kept_of_a_pool_whose_login_never_worked(make_host):
    host = make_host(1)
    host.start().do(USE)
    wrong = host.start(params={"password": "wrong"})
    with pytest.raises(Failed, match=r"password authentication failed|Access denied"):
        wrong.do(USE)
    eventually(lambda: len(host.ask("status")["pools"]) == 1)

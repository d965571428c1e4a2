"""Clients that are none of ours have sessions out of the pool: psql, mysql, any driver."""

import hashlib
import os
import select
import shlex
import signal
import socket
import subprocess
import sys
from contextlib import closing, contextmanager

import psutil
import pytest

from tests.host.hosts import SOON, host_on
from tests.host.visits import CLIENTS, end_all, end_of, kill, start
from tests.probing import STUCK, eventually, run, value

USE = "with pool.connection() as c: run(c, 'SELECT 1')"
MEGABYTE = 1 << 20


@pytest.fixture(scope="module")
def host(request, kind):
    """A host with two server connections."""
    with host_on(kind, request, 2) as host:
        yield host


@pytest.fixture(scope="module")
def worker(host):
    """A process that uses the pool."""
    worker = host.start()
    worker.do("with pool.connection() as c: run(c, 'CREATE TABLE account AS SELECT 0 AS total')")
    worker.do("with pool.connection() as c: run(c, 'CREATE TABLE heap (line varchar(2000))')")
    return worker


@pytest.fixture
def client(host, worker, kind):
    """The clients of that database."""
    yield CLIENTS[kind](host)
    end_all()
    eventually(lambda: not host.status()["relayed"])
    assert len(host.sessions()) <= host.max_size


@pytest.fixture
def full(worker):
    """The worker has all connections; call it to have it give one back."""
    names = ["first", "second"]
    for name in names:
        worker.do(f"{name} = pool.acquire()")
    yield lambda: worker.do(f"pool.release({names.pop()})")
    for name in names:
        worker.do(f"pool.release({name})")


def is_over(host):
    """Wait until nothing is left of a session, within the time that is promised."""
    eventually(lambda: not host.working(), SOON)
    eventually(lambda: not host.status()["relayed"], SOON)


# ------------------------------------------------------------------------- served


def test_what_the_command_prints_is_how_to_connect(host, client):
    code = "import sys; from carpool.__main__ import main; sys.exit(main())"
    words = [sys.executable, "-c", code, "broker", "url", f"--directory={host.place.root}"]
    status, printed, _ = end_of(start([*words, host.status()["id"]]))
    assert status == 0
    assert set(shlex.split(printed)[1:] or [printed.strip()]) <= set(client.command())
    assert end_of(start(client.script("SELECT 6*7"))) == (0, "42\n", "")


def test_statements_and_their_errors(client):
    code, out, err = end_of(start(client.script("SELECT 1", "SELECT nonsense", "SELECT 2")))
    assert (code, out) == (1, "1\n")
    assert "nonsense" in err


def test_it_is_seen(host, client):
    before = host.ask("status")["broker"]["clients"]
    visitor = start(client.script(host.sleeps))
    eventually(host.working)
    (process,) = [each for each in host.status()["processes"] if each["pid"] == visitor.pid]
    assert (process["leased"], process["biased"]) == (1, 0)
    assert process["leases"] >= 1  # its session may have served others before
    assert host.sleeps in process["command"]
    assert host.status()["relayed"] == 1
    assert host.ask("status")["broker"]["clients"] == before + 1
    kill(visitor)
    is_over(host)


@pytest.mark.parametrize("what", ["database", "user"])
def test_a_database_or_user_that_is_not_the_pools_is_refused(host, client, what):
    name = client.database if what == "database" else what
    with pytest.raises(client.Error, match=f"this pool's {what} is .*, not other; .*broker url"):
        client.connect(**{name: "other"})
    assert host.status()["relayed"] == 0


def test_the_encoding_is_the_clients(client):
    name, look, encoding = client.encodings
    with closing(client.connect()) as visitor:
        usual = value(visitor, look)
    with closing(client.connect(**{name: encoding})) as visitor:
        assert value(visitor, look) == encoding != usual
        assert value(visitor, "SELECT 'é'") == "é"


# --------------------------------------------------------------- much, and slowly


def digest(data):
    return hashlib.sha256(data).hexdigest()


def memory(host):
    return psutil.Process(host.broker.pid).memory_info().rss


def test_much_goes_both_ways_and_little_of_it_is_in_memory(host, worker, client):
    lines = "".join(f"{number:01000}\n" for number in range(40_000))
    end_of(start(client.script("SELECT 1")))
    before = memory(host)
    loading = start(client.script(client.load), stdin=subprocess.PIPE)
    loading.communicate(lines, timeout=STUCK)
    assert loading.returncode == 0
    loaded = memory(host)
    code, out, err = end_of(start(client.script("SELECT line FROM heap ORDER BY line")))
    assert (code, err) == (0, "")
    assert digest(out.encode()) == digest(lines.encode())
    assert max(loaded, memory(host)) - before < 8 * MEGABYTE
    worker.do("with pool.connection() as c: run(c, 'TRUNCATE TABLE heap')")


@pytest.fixture
def blocked():
    """The end of a pipe that has no room."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    while writes(writer):
        pass
    os.set_blocking(writer, True)
    yield writer
    os.close(reader)
    os.close(writer)


def writes(descriptor):
    try:
        return os.write(descriptor, bytes(65536))
    except BlockingIOError:
        return 0


def stands_still(host, visitor):
    """Wait until neither the client nor the broker works any more; return the broker's memory."""
    processes = [psutil.Process(visitor.pid), psutil.Process(host.broker.pid)]
    seen = []

    def unchanged():
        seen.append(sum(sum(each.cpu_times()[:2]) for each in processes))
        return len(seen) > 20 and seen[-1] - seen[-20] < 0.011

    eventually(unchanged, STUCK)
    return memory(host)


def reading_nothing(host, client, blocked):
    visitor = start(client.script(client.many_rows.format(1_000_000)), stdout=blocked)
    eventually(host.working)
    return visitor


def test_a_client_that_does_not_read_fills_no_memory(host, client, blocked):
    before = memory(host)
    visitor = reading_nothing(host, client, blocked)
    assert stands_still(host, visitor) - before < 8 * MEGABYTE
    kill(visitor)
    is_over(host)


# ------------------------------------------------------------ nothing stays behind


def test_a_transaction_that_is_left_open_is_rolled_back(host, worker, client):
    with closing(client.connect()) as visitor:
        run(visitor, "BEGIN")
        run(visitor, "UPDATE account SET total = total + 1")
        eventually(host.working)
    is_over(host)
    worker.do("with pool.connection() as c: run(c, 'UPDATE account SET total = total + 2')", SOON)
    assert host.database.query("SELECT total FROM account")[0].total == 2
    host.database.query("UPDATE account SET total = 0")


def test_the_session_is_clean_for_the_next(host, worker, client):
    with closing(client.connect()) as visitor:
        run(visitor, client.sets)
        run(visitor, client.lock)
        run(visitor, "CREATE TEMPORARY TABLE mine (x int)")
    for name in ("first", "second"):
        worker.do(f"{name} = pool.acquire()")
        assert not worker.do(f"value({name}, {client.look!r})")
        worker.do(f"run({name}, 'CREATE TEMPORARY TABLE mine (x int)')")
        worker.do(f"run({name}, {client.lock!r})", SOON)
        worker.do(f"run({name}, {client.unlock!r})", SOON)
    for name in ("first", "second"):
        worker.do(f"pool.release({name})")


# ------------------------------------------------------------------- interrupted


def in_a_statement(host, client, blocked):
    visitor = start(client.script(host.sleeps))
    eventually(host.working)
    return visitor


def accepts(end, data):
    """Send what goes; False: for some time nothing does."""
    writable = select.select([], [end], [], 0.5)[1]
    return bool(writable) and end.send(data)


@contextmanager
def raw(connection):
    """Give the socket of a connection, to be closed without a word."""
    with socket.socket(fileno=os.dup(connection.fileno())) as end:
        end.setblocking(False)
        yield end
        end.setblocking(True)
        os.dup2(os.open(os.devnull, os.O_RDWR), connection.fileno())


def test_a_client_that_leaves_while_the_server_takes_nothing_in(host, client):
    """It has said more than the broker holds, so that nobody reads from it any more."""
    before = memory(host)
    with closing(client.connect()) as visitor, raw(visitor) as end:
        session = value(visitor, host.session_id)
        end.send(client.words(host.sleeps))
        eventually(host.working)
        while accepts(end, client.words("SELECT 1") * 10_000):
            pass
        assert memory(host) - before < 8 * MEGABYTE
    is_over(host)
    eventually(lambda: session not in host.ids())  # though much is there for it to answer


def in_a_transaction(host, client, blocked):
    visitor = start(client.script("BEGIN", "UPDATE account SET total = total + 1", host.sleeps))
    eventually(lambda: host.database.query(client.who_sleeps))
    return visitor


@pytest.mark.parametrize("point", [in_a_statement, in_a_transaction, reading_nothing])
def test_a_client_that_is_killed_leaves_nothing(host, worker, client, blocked, point):
    visitor = point(host, client, blocked)
    kill(visitor)
    is_over(host)
    worker.do("with pool.connection() as c: run(c, 'UPDATE account SET total = total')", SOON)


def test_ctrl_c_ends_the_statement(host, client, full):
    full()
    visitor = start(client.script(host.sleeps))  # there is no connection for another
    eventually(host.working)
    visitor.send_signal(signal.SIGINT)
    code, _, err = end_of(visitor)
    assert (code, client.interrupted in err) == (1, True), err
    is_over(host)


def test_the_server_ends_the_session(host, worker, client):
    with closing(client.connect()) as visitor:
        run(visitor, "SELECT 1")
        host.database.kill_sessions(user=host.user)
        with pytest.raises(client.Error):
            run(visitor, "SELECT 1")
    eventually(lambda: not host.status()["relayed"])
    worker.do(USE, SOON)


# --------------------------------------------------------------------- in the queue


def test_who_comes_first_is_served_first(host, worker, client, full):
    one = start(client.script(host.session_id, host.sleeps))
    host.waiting(1)
    third = host.start()
    third.tell(USE)
    host.waiting(2)
    other = start(client.script("SELECT 1"))
    host.waiting(3)
    full()
    eventually(lambda: one.pid in leased(host))
    assert host.status()["waiting"] == 2
    kill(one)
    third.answer(SOON)
    assert end_of(other) == (0, "1\n", "")
    third.close()


def leased(host):
    return {each["pid"] for each in host.status()["processes"] if each["leased"]}


def test_who_is_killed_while_waiting_is_not_waited_for(host, client, full):
    visitor = start(client.script("SELECT 1"))
    host.waiting(1)
    kill(visitor)
    host.waiting(0)
    full()
    assert end_of(start(client.script("SELECT 2"))) == (0, "2\n", "")


def test_who_waits_in_vain_is_told_why(make_host, kind):
    host = make_host(1, timeout=1)
    worker = host.start()
    worker.do("held = pool.acquire()")
    code, _, err = end_of(start(CLIENTS[kind](host).script("SELECT 1")))
    assert code != 0
    assert "carpool: no connection to" in err, err
    assert "within 1 s; size 1 of 1 on this host" in err
    worker.do("pool.release(held)")
    assert end_of(start(CLIENTS[kind](host).script("SELECT 2"))) == (0, "2\n", "")


# ------------------------------------------------------------------------ the end


def test_visitors_go_with_the_broker(make_host, kind):
    host = make_host(1)
    host.start().do(USE)
    client = CLIENTS[kind](host)
    with closing(client.connect()) as visitor:
        run(visitor, "BEGIN")
        run(visitor, "SELECT 1")
        host.kill_broker(signal.SIGTERM)
        with pytest.raises(client.Error):
            run(visitor, "SELECT 1")
    eventually(lambda: not host.working(), SOON)

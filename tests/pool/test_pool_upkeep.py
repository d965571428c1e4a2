"""What the pool does by itself: resets, hooks, renewal, shrinking, pings, leaks, the circuit."""

import logging
import threading

import pytest

from carpool import PoolTimeout, PoolUnavailable
from carpool.pool import decide
from tests.pool.fake import BOUND, ServerDown, eventually


@pytest.fixture(autouse=True)
def no_jitter(monkeypatch):
    """Make dates exact."""
    monkeypatch.setattr(decide, "JITTER", 0.0)


def one(pool):
    """Acquire and give back, untouched; returns the connection."""
    connection = pool.acquire()
    pool.release(connection)
    return connection


# ------------------------------------------------------------------------ resets

TRACES = {
    # (reset, state): (what the driver was asked, is the connection kept)
    ("auto", "clean"): ([], True),
    ("auto", "dirty"): (["reset all", "finish"], True),
    ("auto", "in_transaction"): (["rollback", "finish"], True),
    ("always", "clean"): (["reset all", "finish"], True),
    ("always", "in_transaction"): (["reset all", "finish"], True),
    ("rollback", "clean"): ([], True),
    ("rollback", "dirty"): (["adopt"], True),
    ("rollback", "in_transaction"): (["rollback", "finish"], True),
    (None, "clean"): ([], True),
    (None, "dirty"): (["adopt"], True),
    (None, "in_transaction"): ([], False),
}


@pytest.mark.parametrize("sends", [False, True])
@pytest.mark.parametrize(("reset", "state"), TRACES)
def test_reset(stepped, driver, reset, state, sends):
    driver.sends_resets = sends
    pool = stepped(reset=reset, max_size=1)
    connection = pool.acquire()
    setattr(connection, state, True)
    pool.release(connection)
    again = pool.acquire()
    calls, kept = TRACES[reset, state]
    assert connection.seen == calls
    assert (again is connection) == kept
    assert driver.closed == ([] if kept else [1])


def test_the_answer_to_a_reset_is_read_later(stepped):
    pool = stepped()
    connection = pool.acquire()
    connection.dirty = True
    pool.release(connection)
    assert connection.seen == ["reset all"]
    assert pool.snapshot().resetting == 1
    assert pool.acquire() is connection
    assert connection.seen == ["reset all", "finish"]


def test_a_sweep_reads_the_answer_too(stepped):
    pool = stepped()
    connection = pool.acquire()
    connection.dirty = True
    pool.release(connection)
    pool._keeper.sweep()
    assert (pool.snapshot().resetting, pool.snapshot().idle) == (0, 1)
    assert connection.seen == ["reset all", "finish"]


@pytest.mark.parametrize("sends", [False, True])
@pytest.mark.parametrize("call", ["begin_reset", "finish_reset"])
def test_what_cannot_be_reset_is_closed(stepped, driver, call, sends):
    driver.sends_resets = sends
    pool = stepped(max_size=1)
    connection = pool.acquire()
    connection.dirty = True
    driver.calls[call].next.append("error")
    pool.release(connection)
    assert pool.acquire().number == 2
    assert driver.closed == [1]
    assert not pool._ledger.tended


def test_a_reset_of_ones_own(stepped):
    seen = []
    pool = stepped(reset=seen.append)
    connection = one(pool)
    assert seen == [connection]
    assert pool.acquire() is connection


def test_a_reset_of_ones_own_that_raises(stepped, driver):
    def reset(_connection):
        raise KeyError

    pool = stepped(reset=reset, max_size=1)
    assert one(pool).number == 1
    assert pool.acquire().number == 2
    assert driver.closed == [1]


def test_a_reset_of_ones_own_that_leaves_a_transaction(stepped, driver, caplog):
    def reset(connection):
        connection.in_transaction = True

    pool = stepped(reset=reset)
    one(pool)
    assert driver.closed == [1]
    assert "'reset' left a transaction open" in caplog.text


# ------------------------------------------------------------------------- hooks


def test_configure_is_called_once_per_connection(stepped):
    seen = []
    pool = stepped(configure=seen.append)
    assert [one(pool), one(pool)] == seen * 2
    assert len(seen) == 1


def test_configure_is_called_again_after_a_reset_that_wiped_it(stepped, driver):
    driver.made_dirty_by_setting_up = True
    seen = []
    pool = stepped(configure=seen.append)
    connection = pool.acquire()
    connection.dirty = True
    pool.release(connection)
    pool.acquire()
    assert seen == [connection, connection]


def test_configure_that_raises(stepped, driver):
    def configure(_connection):
        raise KeyError("configure")

    with pytest.raises(KeyError, match="configure"):
        stepped(configure=configure).acquire()
    assert driver.sessions == 0
    assert driver.closed == [1]


def test_configure_that_leaves_a_transaction(stepped, driver):
    def configure(connection):
        connection.in_transaction = True

    with pytest.raises(RuntimeError, match="'configure' left a transaction open"):
        stepped(configure=configure).acquire()
    assert driver.sessions == 0


def test_check_decides(stepped, driver):
    def check(connection):
        if connection.number < 3:
            raise KeyError

    pool = stepped(check=check, max_size=1, timeout=1)
    assert pool.acquire().number == 3
    assert driver.closed == [1, 2]
    assert driver.most == 1


def test_credentials_are_asked_at_every_connect(stepped):
    fresh = iter(["one", {"user": "u", "password": "two"}, {}])
    pool = stepped(credentials=lambda: next(fresh))
    overrides = [pool.acquire().overrides for _ in range(3)]
    assert overrides == [{"password": "one"}, {"user": "u", "password": "two"}, {}]


def test_credentials_that_raise(stepped, driver):
    def credentials():
        raise KeyError("vault")

    pool = stepped(credentials=credentials)
    with pytest.raises(KeyError, match="vault"):
        pool.acquire()
    assert driver.does_connect.count == 0
    assert pool.snapshot().opening == 0


# ---------------------------------------------------------- renewal and shrinking


def test_renewed_before_its_time_without_anybody_waiting(stepped, driver, clock):
    pool = stepped(max_size=2, max_lifetime=1000, max_idle=5000)
    one(pool)
    clock.advance(969)
    pool._keeper.sweep()
    assert driver.made == 1
    clock.advance(2)
    driver.does_close.next.append("error")  # whatever becomes of the old one
    pool._keeper.sweep()
    assert driver.made == 2  # opened while the old one was still there
    assert driver.closed == [1]
    assert driver.most == 2
    assert one(pool).number == 2


def test_renewed_as_it_comes_back(stepped, driver, clock):
    pool = stepped(max_size=2, max_lifetime=1000)
    connection = pool.acquire()
    clock.advance(980)
    pool.release(connection)
    assert one(pool).number == 2
    assert driver.closed == [1]


def test_the_old_one_stays_when_the_new_one_cannot_be_opened(stepped, driver, clock):
    pool = stepped(max_size=2, max_lifetime=1000, max_idle=5000)
    one(pool)
    clock.advance(980)
    driver.does_connect.next.append("error")
    pool._keeper.sweep()
    assert one(pool).number == 1


def test_retired_at_the_end_of_its_life(stepped, driver, clock):
    pool = stepped(max_size=1, max_lifetime=1000)
    connection = pool.acquire()
    clock.advance(1000)
    pool.release(connection)
    assert driver.closed == [1]
    assert pool.get_stats()["closed_lifetime"] == 1


def test_lifetimes_are_jittered_down(monkeypatch):
    monkeypatch.setattr(decide, "JITTER", 0.25)
    assert decide.lifetime(1000, 0.0)[1] == 1000
    assert decide.lifetime(1000, 0.999)[1] == pytest.approx(750, abs=1)


def test_shrinks_to_the_minimum_only(stepped, driver, clock):
    pool = stepped(min_size=1, max_size=4, max_idle=600, check_after=10_000)
    held = [pool.acquire() for _ in range(4)]
    for connection in held:
        pool.release(connection)
    clock.advance(599)
    pool._keeper.sweep()
    assert driver.closed == []
    clock.advance(1)
    pool._keeper.sweep()
    assert driver.closed == [1, 2, 3]  # the one used last stays
    assert pool.get_stats()["closed_idle"] == 3


def test_idle_ones_are_pinged(stepped, driver, clock):
    pool = stepped(min_size=2, check_after=30)
    clock.advance(31)
    pool._idle[0].connection.hung = True
    pool._keeper.sweep()
    assert driver.closed == [1]
    assert driver.does_ping.count == 2
    assert pool.snapshot().idle == 2
    pool._keeper.sweep()
    assert driver.does_ping.count == 2  # not again before 30 s are over


def test_the_minimum_is_opened_in_the_background(make_pool, driver):
    driver.does_connect.next.append("slow")
    pool = make_pool(min_size=3)
    driver.does_connect.wait_entered()  # the constructor has not waited
    driver.does_connect.gate.set()
    pool.wait(BOUND)
    assert driver.made == 3


# ------------------------------------------------------------------------- leaks


def borrow_and_forget(pool):
    return pool.acquire()


def test_a_leak_is_told_once_and_its_return_once(stepped, clock, caplog):
    caplog.set_level(logging.WARNING, "carpool.pool")
    pool = stepped(leak_warning=10)
    connection = borrow_and_forget(pool)
    clock.advance(9)
    pool._keeper.sweep()
    assert caplog.messages == []
    for _ in range(3):
        clock.advance(1)
        pool._keeper.sweep()
    (told,) = caplog.messages
    assert told.startswith("fake: a connection has been held for 10.0 s; it was acquired here:")
    assert "borrow_and_forget" in told
    assert "carpool/pool/pool.py" not in told
    pool.release(connection)
    one(pool)
    assert caplog.messages[1:] == [
        "fake: a connection reported as held too long came back after 12.0 s"
    ]
    assert pool.get_stats()["leaks"] == 1


def test_a_leak_that_waited_for_its_connection(make_pool):
    pool = make_pool(leak_warning=60, max_size=1)
    connection = borrow_and_forget(pool)  # opened for it, so it came the slow way
    (entry,) = pool._leased.values()
    pool.release(connection)
    assert "borrow_and_forget" in entry.borrower


# ----------------------------------------------------------------------- circuit


def fail(pool, times):
    for _ in range(times):
        with pytest.raises(ServerDown):
            pool.acquire()


def test_with_the_server_down_requests_fail_at_once(stepped, driver, clock):
    driver.does_connect.outcome = "error"
    pool = stepped(timeout=BOUND)
    fail(pool, 2)
    with pytest.raises(PoolUnavailable) as caught:
        pool.acquire()
    assert "the last 2 attempts to connect to fake failed, the next is due in 0.1 s" in str(
        caught.value
    )
    assert str(caught.value).endswith("last connect error: the server is down")
    assert isinstance(caught.value.__cause__, ServerDown)
    assert driver.does_connect.count == 2


def test_attempts_back_off(stepped, driver, clock):
    driver.does_connect.outcome = "error"
    pool = stepped()
    fail(pool, 1)
    pauses = []
    for _ in range(9):
        clock.now = max(clock.now, pool._ledger.circuit.retry_at)
        fail(pool, 1)
        pauses.append(round(pool._ledger.circuit.retry_at - clock.now, 3))
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]


def test_it_recovers_by_itself(stepped, driver, clock):
    driver.does_connect.outcome = "error"
    pool = stepped()
    fail(pool, 2)
    clock.advance(0.2)
    driver.does_connect.outcome = "ok"
    pool._keeper.sweep()
    assert pool.snapshot().idle == 1  # before anybody asked
    assert one(pool).number == 1
    assert pool._ledger.circuit.failures == 0


def test_it_recovers_without_a_push(make_pool, driver):
    driver.does_connect.next.extend(["error"] * 3)
    pool = make_pool()
    fail(pool, 2)
    eventually(lambda: pool.snapshot().idle == 1)
    assert driver.does_connect.count == 4


def test_it_gives_up_after_a_while(stepped, driver, clock):
    driver.does_connect.outcome = "error"
    pool = stepped(reconnect_timeout=60)
    fail(pool, 2)
    clock.advance(59)
    pool._keeper.sweep()
    assert driver.does_connect.count == 3
    clock.advance(2)
    pool._keeper.sweep()
    assert driver.does_connect.count == 3
    driver.does_connect.outcome = "ok"
    assert one(pool).number == 1  # but a request is always a reason to try


def test_who_is_leased_is_waited_for_while_the_server_refuses(stepped, driver):
    pool = stepped(max_size=2)
    held = pool.acquire()
    driver.does_connect.outcome = "error"
    for _ in range(3):
        with pytest.raises(PoolTimeout):
            pool.acquire(0)
    assert driver.does_connect.count == 3  # one succeeded, two failed; then the circuit was open
    pool.release(held)


def test_a_server_without_room_is_waited_for(make_pool, driver):
    driver.server_full = True
    driver.does_connect.next.extend(["error"] * 3)
    pool = make_pool(timeout=BOUND)
    assert one(pool).number == 1
    assert driver.does_connect.count == 4


# -------------------------------------------------------------------- exceptions


def test_an_exception_in_background_work_ends_no_worker(make_pool, driver, caplog):
    pool = make_pool(num_workers=1, max_size=1)
    done = threading.Event()

    def fail_hard():
        raise SystemExit

    for _ in range(3):
        pool._crew.submit(fail_hard)
    pool._crew.submit(done.set)
    assert done.wait(BOUND)
    assert caplog.text.count("background work failed") == 3
    assert one(pool).number == 1


def test_an_exception_in_a_sweep_ends_no_worker(make_pool, driver, monkeypatch):
    pool = make_pool(num_workers=1, max_size=1)
    called = threading.Semaphore(0)

    def sweep():
        called.release()
        raise KeyError("sweep")

    monkeypatch.setattr(pool._keeper, "sweep", sweep)
    for _ in range(3):
        pool._crew.submit(lambda: None)
        assert called.acquire(timeout=BOUND)
    assert one(pool).number == 1


def test_a_close_that_raises_keeps_no_slot(stepped, driver):
    pool = stepped(max_size=1)
    for _ in range(3):
        connection = pool.acquire()
        driver.does_close.next.append("error")
        pool.discard(connection)
    assert one(pool).number == 4

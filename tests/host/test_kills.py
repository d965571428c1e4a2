"""A process is killed, or stands still, at every named point: the others go on."""

import os
import signal
from collections import Counter

import pytest

from tests.host.hosts import SOON, host_on
from tests.probing import eventually

USE = "with pool.connection() as c: run(c, 'SELECT 1')"
ACQUIRE = "c = pool.acquire()"
WRITE = "with pool.connection() as c: run(c, 'UPDATE account SET total = total + 1')"


@pytest.fixture(scope="module")
def host(request, kind):
    """A host with one server connection, for which all those tests compete."""
    with host_on(kind, request, 1) as host:
        yield host


@pytest.fixture(scope="module")
def witness(host):
    """Another process, which has used the pool."""
    witness = host.start()
    witness.do("with pool.connection() as c: run(c, 'CREATE TABLE account AS SELECT 0 AS total')")
    return witness


@pytest.fixture
def victim(host):
    victim = host.start()
    yield victim
    victim.close()


# ------------------------------------------------------------------- the points

# Where the victim has the connection, or it is on the way there.


def acquired(victim, host):
    victim.do(ACQUIRE)


def in_a_query(victim, host):
    victim.do(ACQUIRE)
    victim.tell(f"run(c, {host.sleeps!r})")
    eventually(host.working)


def in_a_transaction_with_locks(victim, host):
    victim.do(ACQUIRE)
    victim.do("run(c, 'BEGIN')")
    victim.do("run(c, 'UPDATE account SET total = total + 1')")


def with_the_grant_unread(victim, host):
    victim.do("halt(Shell, '_receive')")
    stands(victim, ACQUIRE, "_receive")
    eventually(lambda: [p for p in processes(host) if p["biased"] and p["pid"] == victim.pid])


def before_the_socket_is_in_its_place(victim, host):
    victim.do("halt(Shell, '_install')")
    stands(victim, ACQUIRE, "_install")


def when_the_socket_is_in_its_place(victim, host):
    victim.do("halt(Shell, '_install', after=True)")
    stands(victim, ACQUIRE, "_install")


def with_the_lock_taken_again(victim, host):
    victim.do(USE)
    victim.do("halt(fcntl, 'flock', after=True)")
    stands(victim, ACQUIRE, "flock")


def with_the_lease_taken_again(victim, host):
    victim.do(USE)
    victim.do("halt(Shell, 'take', after=True)")
    stands(victim, ACQUIRE, "take")


def before_it_gives_back(victim, host):
    victim.do("halt(Shell, 'give_back')")
    stands(victim, USE, "give_back")


def before_it_unlocks(victim, host):
    victim.do(ACQUIRE)
    victim.do("halt(fcntl, 'flock')")
    stands(victim, "pool.release(c)", "flock")


def before_it_resets(victim, host):
    victim.do("halt(Cleaner, '_begin')")
    leave_traces(victim, host)
    assert victim.answer() == "at _begin"


def during_a_reset(victim, host):
    victim.do("halt(Cleaner, 'complete')")
    leave_traces(victim, host)
    assert {victim.answer(), victim.answer()} == {None, "at complete"}


# Where it has not.


def idle(victim, host):
    victim.do(USE)


def without_having_asked(victim, host):
    victim.do("halt(Shell, 'request')")
    stands(victim, ACQUIRE, "request")


def when_it_has_unlocked(victim, host):
    victim.do(ACQUIRE)
    victim.do("halt(fcntl, 'flock', after=True)")
    stands(victim, "pool.release(c)", "flock")


def when_it_is_robbed(victim, host):
    victim.do(USE)
    other = host.start()
    other.do(USE)
    other.close()


HOLDING = (
    acquired,
    in_a_query,
    in_a_transaction_with_locks,
    with_the_grant_unread,
    before_the_socket_is_in_its_place,
    when_the_socket_is_in_its_place,
    with_the_lock_taken_again,
    with_the_lease_taken_again,
    before_it_gives_back,
    before_it_unlocks,
    before_it_resets,
    during_a_reset,
)
FREE = (idle, without_having_asked, when_it_has_unlocked, when_it_is_robbed)
named = pytest.mark.parametrize("point", [*HOLDING, *FREE], ids=lambda point: point.__name__)
holding = pytest.mark.parametrize("point", HOLDING, ids=lambda point: point.__name__)
free = pytest.mark.parametrize("point", FREE, ids=lambda point: point.__name__)


def stands(victim, text, where):
    victim.tell(text)
    assert victim.answer() == f"at {where}"


def leave_traces(victim, host):
    victim.do(ACQUIRE)
    victim.do(f"run(c, {host.leaves_traces!r})")
    victim.tell("pool.release(c)")


def processes(host):
    return host.status()["processes"]


def is_as_before(host, before):
    eventually(lambda: not host.working(), SOON)
    # At first it may have had one open that was about to be closed, as of an earlier victim's.
    eventually(lambda: not Counter(host.descriptors()) - Counter(before), SOON)
    assert len(host.sessions()) <= host.max_size


# ------------------------------------------------------------------------ killed


@pytest.fixture
def before(host, witness):
    """What the broker has open before the victim comes."""
    witness.do(USE)
    return host.descriptors()


@named
def test_the_next_is_served_when_one_is_killed(host, witness, before, victim, point):
    point(victim, host)
    victim.kill()
    witness.do(WRITE, SOON)
    is_as_before(host, before)


@holding
def test_who_waits_is_served_when_one_is_killed(host, witness, before, victim, point):
    point(victim, host)
    witness.tell(WRITE)
    host.waiting(1)
    victim.kill()
    witness.answer(SOON)
    is_as_before(host, before)


@holding
def test_a_transaction_ends_with_its_process_though_nobody_waits(host, witness, victim, point):
    point(victim, host)
    victim.kill()
    eventually(lambda: not host.working(), SOON)
    eventually(lambda: host.status()["leased"] == 0, SOON)


def test_who_waits_is_served_once_the_last_copy_of_a_lock_is_gone(host, witness, before, victim):
    victim.do(ACQUIRE)
    victim.do("(shell,) = pool._leased.values()")
    heir = victim.do("subprocess.Popen(['sleep', '60'], pass_fds=[shell._lock]).pid")
    witness.tell(WRITE)
    host.waiting(1)
    victim.kill()
    eventually(lambda: victim.pid not in [each["pid"] for each in processes(host)])
    assert host.status()["waiting"] == 1
    os.kill(heir, signal.SIGKILL)
    witness.answer(SOON)
    is_as_before(host, before)


def test_who_waits_is_killed_and_those_behind_are_served(host, witness, before, victim):
    witness.do(ACQUIRE)
    other = host.start()
    victim.tell(ACQUIRE)
    host.waiting(1)
    other.tell(USE)
    host.waiting(2)
    victim.kill()
    host.waiting(1)
    witness.do("pool.release(c)")
    other.answer(SOON)
    other.close()
    is_as_before(host, before)


def test_all_of_a_process_ends_with_it(make_host):
    host = make_host(4)
    victim, witness = host.start(), host.start()
    witness.do(USE)
    use_four(witness)
    before = host.descriptors()
    for name in "abc":
        victim.do(f"{name} = pool.acquire()")
        victim.do(f"run({name}, 'BEGIN')")
    victim.do("halt(Shell, '_install')")
    stands(victim, ACQUIRE, "_install")
    victim.kill()
    use_four(witness)
    is_as_before(host, before)


def use_four(process):
    """Have four connections at once."""
    for name in "abcd":
        process.do(f"{name} = pool.acquire(); run({name}, 'SELECT 1')", SOON)
    for name in "abcd":
        process.do(f"pool.release({name})")


# ---------------------------------------------------------------- standing still


@pytest.fixture(scope="module")
def pair(request, kind):
    """A host with two server connections."""
    with host_on(kind, request, 2) as host:
        yield host


@pytest.fixture(scope="module")
def others(pair):
    """Two processes that use the pool."""
    others = [pair.start(), pair.start()]
    others[0].do("with pool.connection() as c: run(c, 'CREATE TABLE account (total int)')")
    others[1].do(USE)
    return others


@holding
def test_one_that_stands_still_blocks_its_connection_alone(pair, others, point):
    stopped = pair.start()
    point(stopped, pair)
    stopped.freeze()
    for each in others * 3:
        each.do(USE, SOON)
    assert pair.status()["waiting"] == 0
    stopped.close()


@free
def test_one_that_stands_still_with_nothing_in_use_blocks_nobody(pair, others, point):
    stopped = pair.start()
    point(stopped, pair)
    stopped.freeze()
    for each in others:
        each.do(ACQUIRE, SOON)
    for each in others:
        each.do("pool.release(c)")
    stopped.close()


def test_what_was_granted_to_one_that_stood_still_is_used_when_it_goes_on(pair, others):
    stopped = pair.start()
    others[0].do(ACQUIRE)
    others[1].do(ACQUIRE)
    stopped.tell(USE)
    pair.waiting(1)
    stopped.freeze()
    others[0].do("pool.release(c)")
    pair.waiting(0)
    stopped.thaw()
    stopped.answer(SOON)
    others[1].do("pool.release(c)")
    stopped.close()

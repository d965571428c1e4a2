"""Lending by itself: what comes at an awkward moment, too much at a time, or not at all."""

import errno
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from carpool.host.generation import Generation
from carpool.host.lender import Lender
from carpool.host.loop import Loop
from carpool.host.slots import Slot
from carpool.host.supply import ASKERS
from carpool.options import Options
from tests.pool.fake import FakeDriver
from tests.probing import STUCK

CROWD = 1000  # more than functions may call each other


class Handing(FakeDriver):
    """A driver whose connections are handed over."""

    relayed = False

    def descriptor(self, connection):
        return -1

    def server_id(self, connection):
        return connection.number

    def facts(self, connection):
        return "facts"

    def forsake(self, connection):
        """See `Handoff`."""


class Borrower:
    """Notes what it is told: a connection, or why there is none. One that has `gone` takes none."""

    cleans = True

    def __init__(self, told, pid=1, *, gone=False):
        self.told, self.pid, self.gone = told, pid, gone

    def lend(self, slot, lease):
        if self.gone:
            return False
        slot.stay()
        self.told.append(slot.connection)
        return True

    def refuse(self, error):
        self.told.append(error)


class Lending:
    """A lender in a loop of its own; what its borrowers are told is in `told`."""

    def __init__(self, lender, loop):
        self.lender, self.loop, self.told = lender, loop, []

    def ask(self, pid=1, **more):
        """Have somebody ask, once the loop runs."""
        borrower = Borrower(self.told, pid, **more)
        self.loop.post(lambda: self.lender.ask(borrower, STUCK))

    def until_told(self, count):
        """Run until that many have been told something."""

        def look():
            if len(self.told) >= count:
                self.loop.stop()
            self.loop.later(0.01, look)

        self.loop.later(STUCK, self.loop.stop)
        look()
        self.loop.run()
        assert len(self.told) == count


@pytest.fixture
def lending(tmp_path):
    """Call it with options: a context with a `Lending`."""

    @contextmanager
    def lend(generation=Generation, **options):
        loop, given = Loop(), Options(**options)
        with ThreadPoolExecutor(ASKERS + 1) as executor:
            there = generation(tmp_path, given.max_size)
            lender = Lender(Handing(), given, there, loop, executor)
            yield Lending(lender, loop)
            lender.close()
        loop.close()

    return lend


def test_what_cannot_be_lent_for_want_of_descriptors_is_lent_to_one_later(lending, monkeypatch):
    with lending(max_size=2) as it:

        def fail(slot, lease):
            monkeypatch.undo()
            for _ in range(2):
                it.ask()
            raise OSError(errno.EMFILE, "Too many open files")

        monkeypatch.setattr(Slot, "lend", fail)
        it.ask()
        it.until_told(3)
    error, *connections = it.told
    assert "Too many open files" in str(error)
    assert len(set(connections)) == 2


def test_processes_that_cannot_be_told_apart_are_not_one(lending):
    """Of other containers the kernel tells no pids."""
    with lending(max_size=2, max_per_process=1) as it:
        it.ask(pid=0)
        it.ask(pid=0)
        it.until_told(2)
    assert len(set(it.told)) == 2
    assert not any(isinstance(each, Exception) for each in it.told)


def test_where_many_wait_what_is_lent_is_looked_through_once_a_process(lending, monkeypatch):
    """Each millisecond; not once for each who waits, where a process may have so many only."""
    looks = []
    with lending(max_size=6, max_per_process=2) as it:
        for pid in range(1, 5):
            for _ in range(20):
                it.ask(pid)
        it.until_told(6)
        find = Lender._by_rank
        monkeypatch.setattr(
            Lender, "_by_rank", lambda *args, **more: looks.append(args) or find(*args, **more)
        )
        it.lender.match()
        assert len(it.lender.waiting()) == 74
    assert len(looks) <= 4


def test_all_of_a_crowd_that_waits_for_the_first_login_hear_of_it(lending):
    told = []
    with lending(max_size=1) as it:
        for _ in range(CROWD):
            it.loop.post(lambda: it.lender.once_known(told.append, STUCK))
        it.ask()
        it.until_told(1)
    assert told == [None] * CROWD


def test_who_comes_after_a_crowd_that_has_gone_is_served(lending):
    with lending(max_size=1) as it:
        for _ in range(CROWD):
            it.ask(gone=True)
        it.ask()
        it.until_told(1)
    assert not isinstance(it.told[0], Exception)


def test_logins_leave_a_thread_to_cancel(lending):
    with lending(max_size=2 * ASKERS) as it:
        connect, seeking = it.lender.driver.calls["connect"], []
        connect.outcome = "slow"

        def see():
            seeking.append(it.lender.supply.seeking)
            connect.gate.set()

        for _ in range(2 * ASKERS):
            it.ask()
        it.loop.post(see)
        it.until_told(2 * ASKERS)
    assert seeking == [ASKERS]


class Left(Generation):
    """A generation that an earlier one has left a connection; `looks` are at how many there are."""

    def __init__(self, *args):
        super().__init__(*args)
        self.looks = iter(self.found)

    def foreign(self):
        found = next(self.looks, 0)
        if isinstance(found, Exception):
            raise found
        return found


class Ends(Left):
    found = (1,)


class CannotBeSeen(Left):
    found = (1, OSError(errno.EMFILE, "Too many open files"))


@pytest.mark.parametrize("generation", [Ends, CannotBeSeen])
def test_what_an_earlier_pool_has_left_may_end_at_any_moment(lending, generation):
    with lending(generation, max_size=1) as it:
        it.ask()
        it.until_told(1)
    assert not isinstance(it.told[0], Exception)


def test_a_generation_never_has_the_number_of_one_before(tmp_path):
    """Who lets go of that late, as its server hung, would take the other's files along."""
    first = Generation(tmp_path, 1)
    first.close(in_use=False)
    second = Generation(tmp_path, 1, above=first.number)
    assert second.directory != first.directory
    second.close(in_use=False)

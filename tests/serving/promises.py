"""What is promised of every way to serve: a module of tests has but to say how, and to inherit."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.serving.work import BAD

_numbers = itertools.count(1)


def token():
    """Return a token that nobody has had."""
    return f"token{next(_numbers)}."


def tokens(count):
    return [token() for _ in range(count)]


def all_at_once(site):
    """Have requests hold every slot at the same moment, and others wait for one; all get theirs."""
    kind = site.kind
    wanted = tokens(kind.processes * kind.at_once)
    with ThreadPoolExecutor(len(wanted)) as clients:
        with site.shown.closed_gate():
            asked = [clients.submit(site.answer, "write-at-gate", token=each) for each in wanted]
            site.shown.wait_at_gate(kind.slots)
            site.check_sessions()
        answers = [each.result() for each in asked]
    assert [each["after"] for each in answers] == [[each] * 2 for each in wanted]
    return {each["process"] for each in answers}


class Promises:
    """What holds of pages and tasks. Needs the fixture `site`, a running server."""

    def test_a_request_reads_what_it_wrote(self, site):
        wanted = tokens(40)
        with ThreadPoolExecutor(8) as clients:
            answers = list(clients.map(lambda each: site.answer("write", token=each), wanted))
        for each, answer in zip(wanted, answers, strict=True):
            assert answer["within"] == answer["after"] == [each]
        assert set(wanted) <= set(site.shown.tokens())
        site.check_sessions()
        site.shown.wait_until_nothing_is_open()

    def test_a_request_sees_nothing_of_another_s_session(self, site):
        wanted = tokens(20)
        with ThreadPoolExecutor(4) as clients:
            answers = list(clients.map(lambda each: site.answer("leave-marks", token=each), wanted))
        for each, answer in zip(wanted, answers, strict=True):
            assert answer == {"before": None, "after": each, "locked": 1, "table": [[each]]}
        site.shown.wait_until_nothing_is_open()

    def test_every_slot_can_be_used_at_once(self, site):
        assert len(all_at_once(site)) == site.kind.processes

    @pytest.mark.parametrize("bad", BAD)
    def test_bad_manners_cost_no_slot(self, site, bad):
        wanted = tokens(2 * site.kind.slots)
        statuses = {site.ask(f"bad/{bad}", token=each)[0] for each in wanted}
        assert statuses == ({500} if bad == "fail" else {200})
        all_at_once(site)
        site.shown.wait_until_nothing_is_open()
        if bad != "leave-iterator":
            assert not set(wanted) & set(site.shown.tokens())

    def test_threads_that_never_close_cost_no_slot(self, site):
        for each in tokens(2 * site.kind.slots):
            assert site.answer("in-thread", token=each)["after"] == [each]
        all_at_once(site)


class WebPromises(Promises):
    """The same and what holds of streams."""

    def test_a_stream(self, site):
        wanted = token()
        with site.events(wanted, count=5) as events:
            assert list(events) == [wanted] * 5
        site.shown.wait_until_nothing_is_open()

    def test_clients_that_leave_in_the_midst_of_a_stream_cost_no_slot(self, site):
        for each in tokens(2 * site.kind.slots):
            with site.events(each, count=0) as events:
                assert [next(events) for _ in range(3)] == [each] * 3
        all_at_once(site)
        site.shown.wait_until_nothing_is_open()

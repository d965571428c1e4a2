"""uvicorn (ASGI): async views, `asyncio.gather`, clients that hang up, streams of events."""

from contextlib import ExitStack

import pytest

from tests.probing import eventually
from tests.serving.promises import WebPromises, all_at_once, token, tokens
from tests.serving.server import Kind, Site, module

KIND = Kind(
    module("uvicorn", "tests.serving.asgi:application", "--port={port}", "--no-access-log"),
    at_once=8,
    max_size=3,
)


@pytest.fixture(scope="module")
def site(run_kind):
    with run_kind(Site, KIND) as site:
        yield site


class TestPromises(WebPromises):
    """The pages that are no coroutines, and the streams, which are."""


def test_a_coroutine_reads_what_it_wrote(site):
    wanted = token()
    assert site.answer("async/write", token=wanted) == [wanted]


@pytest.mark.parametrize(("page", "count"), [("gather", 5), ("gather_in_threads", 8)])
def test_much_at_once_in_one_request(site, page, count):
    wanted = token()
    expected = [f"{wanted} {number}" for number in range(count)]
    assert site.answer(f"async/{page}", token=wanted) == expected
    assert site.shown.tokens(wanted) == expected
    all_at_once(site)


# Clients that hang up -----------------------------------------------------------------------------


def hang_up_at_gate(site, page):
    """Have requests wait in the database, all of whose clients hang up; return their tokens."""
    wanted = tokens(site.kind.slots)
    with site.shown.closed_gate():
        with ExitStack() as clients:
            for each in wanted:
                clients.enter_context(site.request(page, token=each))
            site.shown.wait_at_gate(site.kind.slots)
        assert site.ask("ready")[0] == 200  # the loop has gone round since
    return wanted


def test_in_the_midst_of_a_query(site):
    hang_up_at_gate(site, "async/slow_query")
    all_at_once(site)
    site.shown.wait_until_nothing_is_open()


def test_in_the_midst_of_a_transaction(site):
    """Its thread goes on, as always in Python: all of it is done, or nothing."""
    wanted = hang_up_at_gate(site, "async/slow_transaction")
    all_at_once(site)
    site.shown.wait_until_nothing_is_open()
    for each in wanted:
        assert site.shown.tokens(each) in ([], [each] * 2)


@pytest.mark.parametrize("page", ["half_done", "half_done_by_django"])
def test_in_the_midst_of_a_transaction_that_is_half_done(site, page):
    """What no block ends is rolled back, and what it held is there for others."""
    for _ in range(2):
        with ExitStack() as clients:
            wanted = tokens(site.kind.slots)
            for each in wanted:
                clients.enter_context(site.request(f"async/{page}", token=each))
            eventually(lambda: site.shown.in_transaction() == site.kind.slots)
        site.shown.wait_until_nothing_is_open()
        assert not set(wanted) & set(site.shown.tokens())
    all_at_once(site)
    site.check_sessions()


# Streams ------------------------------------------------------------------------------------------


def test_many_streams(site, mode):
    """In transaction mode an open stream holds no connection while it does not ask."""
    count = 20 if mode == "transaction" else site.kind.slots - 1
    with ExitStack() as stack:
        wanted = tokens(count)
        streams = [stack.enter_context(site.events(each, count=0)) for each in wanted]
        for _ in range(3):
            assert [next(each) for each in streams] == wanted
        site.check_sessions()
        if mode == "transaction":
            all_at_once(site)
    all_at_once(site)
    site.shown.wait_until_nothing_is_open()

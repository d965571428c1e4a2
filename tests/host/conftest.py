"""Processes of one host, with a broker of their own, on each of the databases."""

from contextlib import ExitStack

import pytest

from tests.host.hosts import HOSTS, host_on
from tests.host.nursery import Nursery


@pytest.fixture(scope="session")
def nursery():
    nursery = Nursery()
    yield nursery
    nursery.close()


@pytest.fixture(scope="module", params=HOSTS)
def kind(request):
    """Each of the databases in turn."""
    return request.param


@pytest.fixture
def make_host(request, kind):
    """Call it with `max_size` and other options of the pool: a `tests.host.hosts.Host`."""
    with ExitStack() as stack:
        yield lambda max_size=1, **options: stack.enter_context(
            host_on(kind, request, max_size, **options)
        )

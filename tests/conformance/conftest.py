"""Fixtures of the conformance suite: each test runs for every database that can serve it.

A test through Django (by the fixture `use`) runs in every mode as well, unless the marker `modes`
names some, and the reason.
"""

from copy import deepcopy

import pytest
from django.test import override_settings

from carpool import Options
from carpool.options import MODES
from carpool.registry import make
from tests.conformance.host import broker_directory
from tests.conformance.leases import connect
from tests.conformance.registered import SUBJECTS, subject_class
from tests.conformance.subject import ServerSubject

__all__ = ["broker_directory"]


def pytest_configure(config):
    config.addinivalue_line("markers", "modes(*names, reason): the modes that a test is about")


def pytest_generate_tests(metafunc):
    if "leak" in metafunc.fixturenames:
        pairs = [(name, leak) for name in SUBJECTS for leak in subject_class(name).leaks]
        ids = [f"{name}-{leak}" for name, leak in pairs]
        metafunc.parametrize(("subject", "leak"), pairs, ids=ids, indirect=["subject"])
        return
    for fixture, wanted in WANTED.items():
        if fixture in metafunc.fixturenames:
            chosen = [name for name in SUBJECTS if wanted(subject_class(name))]
            metafunc.parametrize(fixture, chosen, indirect=True)
    if "mode" in metafunc.fixturenames:
        metafunc.parametrize("mode", modes_of(metafunc.definition), indirect=True)


def modes_of(test):
    """Return the modes that a test runs in: all, or those of its marker `modes`."""
    marker = test.get_closest_marker("modes")
    if marker is None:
        return MODES
    assert set(marker.args) <= set(MODES), f"{test.nodeid}: there is no such mode"
    assert marker.kwargs.get("reason"), f"{test.nodeid}: why not in the other modes?"
    return marker.args


WANTED = {
    "subject": lambda _: True,
    "server_subject": lambda subject: issubclass(subject, ServerSubject),
    "own_server_subject": lambda subject: (
        issubclass(subject, ServerSubject) and subject.own_fixture
    ),
    "lasting_subject": lambda subject: subject.engine,
    "django_server_subject": lambda subject: subject.engine and issubclass(subject, ServerSubject),
    "strict_subject": lambda subject: subject.refuses_stale_cursors,
    "hooked_subject": lambda subject: subject.runs_hooks,
}


@pytest.fixture
def subject(request):
    """A database of each kind."""
    with subject_class(request.param).fresh(request) as subject:
        yield subject


server_subject = subject  # of each kind that has a server
django_server_subject = subject  # of each kind that has an engine in this process, and a server
strict_subject = subject  # of each kind whose driver sees its cursors
hooked_subject = subject  # of each kind that runs code of the project's on new connections


@pytest.fixture(scope="module")
def lasting_subject(request):
    """A database of each kind that has an engine in this process; one for all tests of a file."""
    with subject_class(request.param).fresh(request) as subject:
        yield subject


@pytest.fixture
def django_subject(lasting_subject):
    """The same, as if it were new: there are no notes and no sessions."""
    lasting_subject.wait_for_sessions(0)
    lasting_subject.ask("DELETE FROM note")
    return lasting_subject


@pytest.fixture
def own_server_subject(request):
    """A database of each kind on a server that the test may restart."""
    with subject_class(request.param).fresh(request, own=True) as subject:
        yield subject


@pytest.fixture
def make_pool():
    """Call it with a subject and options for a pool; it is closed at the end."""
    made = []

    def make_for(subject, **options):
        made.append(make(subject.driver(), Options(**{**subject.pool_options, **options})))
        return made[-1]

    yield make_for
    for pool in made:
        pool.close()


@pytest.fixture
def mode(request):
    """The mode of the pools that `use` gives Django."""
    return request.param


@pytest.fixture
def use(django_databases, mode):
    """Call it with a subject and OPTIONS["pool"] to have django.db use it; returns `default`.

    `aliases` are all that lead there; `more` goes beside NAME. The mode is the test's.
    """
    handlers = []

    def use(subject, pool=True, aliases=("default",), **more):
        entry = {"ENGINE": subject.engine, **subject.django(), **more}
        if pool:
            pool = {"mode": mode, **subject.pool_options, **({} if pool is True else pool)}
        entry["OPTIONS"] = {**entry.get("OPTIONS", {}), "pool": pool}
        entries = {alias: deepcopy(entry) for alias in aliases}
        handlers.append(django_databases(**entries))
        return handlers[-1]["default"]

    yield use
    for connection in handlers[-1].all(initialized_only=True) if handlers else ():
        connection.close()
        connection.close_pool()


@pytest.fixture
def connection(use, django_subject):
    """Django's connection to a database with a pool of one, which is open."""
    return connect(use, django_subject)


@pytest.fixture
def site():
    """Serve the pages of `site.py`."""
    with override_settings(
        ROOT_URLCONF="tests.conformance.site",
        ALLOWED_HOSTS=["*"],
        MIDDLEWARE=[],
        DEBUG_PROPAGATE_EXCEPTIONS=True,
    ):
        yield

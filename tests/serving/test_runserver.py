"""`runserver`: a thread for each request, and a reloader."""

import pytest

from tests.serving.promises import WebPromises, all_at_once
from tests.serving.server import Kind, Site, module

RUNSERVER = module("django", "runserver", "--skip-checks", "127.0.0.1:{port}")


@pytest.fixture(scope="module")
def site(run_kind):
    with run_kind(Site, Kind(RUNSERVER, at_once=8, max_size=3)) as site:
        yield site


class TestPromises(WebPromises):
    pass


def test_the_reloader(run_kind):
    """A change of a file ends the process in the midst of things; so do its sessions."""
    # The new process begins while the old one's sessions may still be ending.
    kind = Kind(RUNSERVER, at_once=8, max_size=3, spare=3)
    with run_kind(Site, kind) as site:
        before = all_at_once(site)
        (site.folder / "watched.py").touch()
        site.wait_until(lambda: site.process_now() not in {None, *before}, "reload")
        after = all_at_once(site)
        assert len(after) == 1
        assert set(site.check_sessions()) == after

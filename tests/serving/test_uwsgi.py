"""uWSGI, built from source: processes with threads, loaded in each, or once before the fork.

uWSGI forks without Python's knowledge: no function that `os.register_at_fork` knows is called. (Its
option `py-call-osafterfork` aborts every worker in uWSGI 2.0.31 on Python 3.13, with any program.)
"""

import shutil
import sys
from pathlib import Path

import pytest

from support.servers import NotInstalled
from tests.serving.promises import WebPromises
from tests.serving.server import Kind, Site


def uwsgi():
    """Return the path of uWSGI. Raises NotInstalled."""
    found = shutil.which("uwsgi", path=Path(sys.executable).parent)
    if not found:
        raise NotInstalled(
            "uWSGI is not installed: pip builds it where a C compiler and Python's headers are "
            "(support/system-packages)"
        )
    return found


ARGUMENTS = (
    *("--master", "--die-on-term", "--need-app", "--module=tests.serving.wsgi", "--pythonpath=."),
    *(f"--home={sys.prefix}", "--http-socket=127.0.0.1:{port}", "--enable-threads"),
    *("--processes=2", "--threads=2", "--disable-logging"),
)
KINDS = {"lazy-apps": ("--lazy-apps",), "forked": ()}
# What it says of clients that hang up, and of root.
HARMLESS = r"OSError: write error\n|.*WARNING: you are running uWSGI as root.*\n"


def kind(name, **more):
    """Return one of `KINDS`; skips the test where there is no uWSGI."""
    try:
        command = (uwsgi(), *ARGUMENTS, *KINDS[name])
    except NotInstalled as missing:
        pytest.skip(str(missing))
    return Kind(command, 2, processes=2, early=name != "lazy-apps", harmless=HARMLESS, **more)


@pytest.fixture(scope="module", params=KINDS)
def site(request, run_kind):
    with run_kind(Site, kind(request.param, max_size=2)) as site:
        yield site


class TestPromises(WebPromises):
    pass
